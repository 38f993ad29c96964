/* SPDX-License-Identifier: MIT
 *
 * exercises.h - the functions that the exercises ask for; docs/course/exercises.md is the list, `make exercise N=1` the
 * judge. Arrays are dense and row-major: x[rows,cols] has element [r,c] at x[r * cols + c]. Arrays that begin with d
 * are gradients: dx is the loss's gradient with respect to x. A backward gets dy and writes dx, which is 0 before.
 */
#ifndef EXERCISES_H
#define EXERCISES_H

#include <math.h>

/* 1. y = softmax(x) in each row; y is given. y[rows,cols] */
void softmax_backward(double *dx, const double *dy, const double *y, int rows, int cols);

/* 2. y = xhat w + b, xhat = (x - mean) / sqrt(variance + 1e-5), mean and variance (a mean too) of each row.
 * x, y [rows,cols]; w, b [cols] */
void layer_norm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                         int rows, int cols);

/* 3. y = x (1 + tanh(u)) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3). x, y [n] */
void gelu_backward(double *dx, const double *dy, const double *x, int n);

/* 4. loss = mean over the rows of -log(softmax(logits)[target]); dloss is the loss's own gradient.
 * logits[rows,classes], target[rows] */
void cross_entropy_backward(double *dlogits, double dloss, const double *logits, const int *target, int rows,
                            int classes);

typedef struct linear_sizes {
    int rows, in, out;
} linear_sizes;

/* 5. y = x w^T + b. x[rows,in], w[out,in], b[out], y[rows,out] */
void linear_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                     linear_sizes n);

#endif
