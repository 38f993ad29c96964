/* SPDX-License-Identifier: MIT
 *
 * answers.c - the solutions of exercises 1 to 5. TYPICAL(n, mistake, right) is `right`, which is the solution, unless
 * the test asks for mistake n.
 */
#include "tests/exercises/answers.h"

#include "examples/exercises/exercises.h"

int mistake_number;

void softmax_backward(double *dx, const double *dy, const double *y, int rows, int cols)
{
    double all = 0;
    for (int i = 0; i < rows * cols; i++)
        all += dy[i] * y[i];
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int i = r * cols; i < (r + 1) * cols; i++)
            sum += dy[i] * TYPICAL(4, 1, y[i]);
        sum = TYPICAL(1, 0, TYPICAL(3, all, sum));
        for (int i = r * cols; i < (r + 1) * cols; i++)
            dx[i] = TYPICAL(2, y[i] * (1 - y[i]) * dy[i], TYPICAL(5, 1, y[i]) * (dy[i] - sum));
    }
}

void layer_norm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                         int rows, int cols)
{
    for (int r = 0; r < rows; r++) {
        double mean = 0, variance = 0, g_mean = 0, gx_mean = 0;
        for (int c = 0; c < cols; c++)
            mean += x[r * cols + c] / cols;
        for (int c = 0; c < cols; c++)
            variance += (x[r * cols + c] - mean) * (x[r * cols + c] - mean) / cols;
        double rstd = 1 / sqrt(variance + 1e-5);
        for (int c = 0; c < cols; c++) {
            double xhat = (x[r * cols + c] - mean) * rstd, g = dy[r * cols + c] * TYPICAL(3, 1, w[c]);
            g_mean += g / cols;
            gx_mean += g * xhat / cols;
            dw[c] = TYPICAL(4, 0, dw[c]) + dy[r * cols + c] * TYPICAL(6, x[r * cols + c], xhat);
            db[c] = TYPICAL(5, 0, db[c]) + dy[r * cols + c];
        }
        for (int c = 0; c < cols; c++) {
            double xhat = (x[r * cols + c] - mean) * rstd;
            dx[r * cols + c] = TYPICAL(7, 1, rstd) * (dy[r * cols + c] * TYPICAL(3, 1, w[c]) - TYPICAL(1, 0, g_mean) -
                                                      TYPICAL(2, 0, xhat * gx_mean));
        }
    }
}

void gelu_backward(double *dx, const double *dy, const double *x, int n)
{
    static const double pi = 3.14159265358979323846;
    double a = sqrt(TYPICAL(2, 1 / (2 * pi), 2 / pi));
    for (int i = 0; i < n; i++) {
        double t = tanh(sqrt(2 / pi) * (x[i] + 0.044715 * x[i] * x[i] * x[i]));
        double du = a * (1 + TYPICAL(3, 1, 3) * 0.044715 * x[i] * x[i]);
        double slope = (1 + t) / 2 + TYPICAL(1, 0, x[i] / 2 * (1 - TYPICAL(4, t, t * t)) * du);
        double erf_slope = (1 + erf(x[i] / sqrt(2))) / 2 + x[i] * exp(-x[i] * x[i] / 2) / sqrt(2 * pi);
        dx[i] = TYPICAL(5, 1, dy[i]) * TYPICAL(6, erf_slope, slope);
    }
}

void cross_entropy_backward(double *dlogits, double dloss, const double *logits, const int *target, int rows,
                            int classes)
{
    for (int r = 0; r < rows; r++) {
        const double *z = logits + r * classes;
        double max = z[0], sum = 0;
        for (int c = 1; c < classes; c++)
            max = z[c] > max ? z[c] : max;
        for (int c = 0; c < classes; c++)
            sum += exp(z[c] - max);
        for (int c = 0; c < classes; c++) {
            double p = exp(z[c] - max) / sum, one_hot = c == target[r];
            double g = TYPICAL(3, z[c], p) - TYPICAL(2, 0, one_hot);
            g = TYPICAL(6, -one_hot / p, g);
            dlogits[r * classes + c] = TYPICAL(4, 1, dloss) * TYPICAL(5, -1, 1) * g / TYPICAL(1, 1, rows);
        }
    }
}

void linear_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                     linear_sizes n)
{
    for (int r = 0; r < n.rows; r++)
        for (int o = 0; o < n.out; o++) {
            double g = dy[r * n.out + o];
            for (int i = 0; i < n.in; i++) {
                int k = TYPICAL(1, i * n.out + o, o * n.in + i);
                dx[r * n.in + i] = TYPICAL(3, 0, dx[r * n.in + i]) + g * w[TYPICAL(2, i * n.out + o, o * n.in + i)];
                dw[k] = TYPICAL(4, 0, dw[k]) + g * x[r * n.in + i];
            }
            db[o] = TYPICAL(5, 0, db[o]) + g;
        }
}
