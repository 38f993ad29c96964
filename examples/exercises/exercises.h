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

/* One head of attention: T positions, head size D. q, k, v [T,D] */
typedef struct attention_head {
    int T, D;
    const double *q, *k, *v;
} attention_head;

/* 6. p = softmax(q k^T / sqrt(D)) in each row, o = p v. p[T,T], o[T,D] */
void attention_forward(double *o, double *p, attention_head h);

/* 7. The same attention; dout is the gradient of o, and p is given. dq, dk, dv, dout [T,D] */
void attention_backward(double *dq, double *dk, double *dv, const double *dout, const double *p, attention_head h);

/* 8. The same with a causal mask: position i sees positions j <= i, and p[i,j] is exactly 0 for the others. The
 * backward gets no p. */
void causal_attention_forward(double *o, double *p, attention_head h);
void causal_attention_backward(double *dq, double *dk, double *dv, const double *dout, attention_head h);

/* 9. heads[h,t,d] = x[t, h D + d], and back. x[T,H*D], heads[H,T,D] */
void split_heads(double *heads, const double *x, int T, int H, int D);
void join_heads(double *x, const double *heads, int T, int H, int D);

/* 10. velocity = momentum velocity + g, then w = w - rate velocity. w, velocity, g [n] */
void sgd_step(double *w, double *velocity, const double *g, int n, double rate, double momentum);

/* 11. The norm of all elements of g[0][n[0]] .. g[count-1][..] together. Where it is above max_norm, all elements are
 * scaled so that it becomes max_norm. Returns the norm before. */
double clip_gradients(double *const *g, const int *n, int count, double max_norm);

/* 12. In row t, channels n and n + D/2 turn by the angle a = t 10000^(-2n/D), n = 0 .. D/2 - 1:
 *     y[n] = x[n] cos a - x[n + D/2] sin a    y[n + D/2] = x[n] sin a + x[n + D/2] cos a        x, y [T,D] */
void rotary(double *y, const double *x, int T, int D);
void rotary_backward(double *dx, const double *dy, int T, int D);

/* 13. Causal attention, a position at a time: called for t = 0, 1, .. with q, k, v [D] of position t. Keeps k and v in
 * row t of the caches, whose rows 0 .. t-1 are those of the calls before; writes o[D]. */
void cached_attention(double *o, double *k_cache, double *v_cache, const double *q, const double *k, const double *v,
                      int t, int D);

/* w[out,in], b[out], and their velocities. */
typedef struct training {
    linear_sizes n;
    double *w, *b, *w_velocity, *b_velocity;
    double rate, momentum, max_norm;
} training;

/* 14. One step: the cross-entropy of linear(x), backward, clipping of dw and db together, SGD. Returns the loss before
 * the step. x[rows,in], target[rows]. For at most 64 elements an array. */
double training_step(const training *t, const double *x, const int *target);

#endif
