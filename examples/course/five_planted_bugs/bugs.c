/* SPDX-License-Identifier: MIT
 *
 * bugs.c - five functions, right, and their five backward passes, with a mistake each.
 *
 * x[0], x[1], .. are the inputs, row-major [T,D] but for the w[D,D] and b[D]; gx[..] is 0 when a backward begins.
 */
#include "examples/course/five_planted_bugs/bugs.h"

#include <math.h>
#include <string.h>

/* ---- 1. y = x w^T + b ---- */

static void linear(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++)
        for (int o = 0; o < D; o++) {
            y[0][t * D + o] = x[2][o];
            for (int i = 0; i < D; i++)
                y[0][t * D + o] += x[0][t * D + i] * x[1][o * D + i];
        }
}

static void linear_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++)
        for (int o = 0; o < D; o++) {
            const double g = gy[0][t * D + o];
            for (int i = 0; i < D; i++) {
                gx[0][t * D + i] += g * x[1][o * D + i];
                gx[1][o * D + i] += g * x[0][t * D + i];
            }
            gx[2][o] += g / T;
        }
}

/* ---- 2. y = (x - mean) / sqrt(variance + eps), row by row ---- */

static const double eps = 1e-5;

static double mean_and_rstd(const double *row, double *mean)
{
    double variance = 0;
    *mean = 0;
    for (int c = 0; c < D; c++)
        *mean += row[c] / D;
    for (int c = 0; c < D; c++)
        variance += (row[c] - *mean) * (row[c] - *mean) / D;
    return 1 / sqrt(variance + eps);
}

static void layer_norm(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++) {
        double mean;
        const double rstd = mean_and_rstd(x[0] + t * D, &mean);
        for (int c = 0; c < D; c++)
            y[0][t * D + c] = (x[0][t * D + c] - mean) * rstd;
    }
}

static void layer_norm_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++) {
        double mean, g_mean = 0;
        const double rstd = mean_and_rstd(x[0] + t * D, &mean);
        for (int c = 0; c < D; c++)
            g_mean += gy[0][t * D + c] / D;
        for (int c = 0; c < D; c++)
            gx[0][t * D + c] = (gy[0][t * D + c] - g_mean) * rstd;
    }
}

/* ---- 3. and 4. o = softmax(q k^T / sqrt(D)) v; causal: position i sees positions 0 to i ---- */

static void weights(double p[T][T], const double *q, const double *k, bool causal)
{
    for (int i = 0; i < T; i++) {
        double sum = 0;
        for (int j = 0; j < T; j++) {
            double s = 0;
            for (int c = 0; c < D; c++)
                s += q[i * D + c] * k[j * D + c] / sqrt(D);
            sum += p[i][j] = j <= i || !causal ? exp(s) : 0;
        }
        for (int j = 0; j < T; j++)
            p[i][j] /= sum;
    }
}

static void mix(double *y, double p[T][T], const double *v)
{
    memset(y, 0, N * sizeof(double));
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            for (int c = 0; c < D; c++)
                y[i * D + c] += p[i][j] * v[j * D + c];
}

static void attention(const double *const *x, double *const *y, void *user)
{
    (void)user;
    double p[T][T];
    weights(p, x[0], x[1], false);
    mix(y[0], p, x[2]);
}

static void causal_attention(const double *const *x, double *const *y, void *user)
{
    (void)user;
    double p[T][T];
    weights(p, x[0], x[1], true);
    mix(y[0], p, x[2]);
}

static void value_backward(double ds[T][T], double p[T][T], const double *v, const double *go, double *gv)
{
    for (int i = 0; i < T; i++) {
        double delta = 0;
        for (int j = 0; j < T; j++) {
            ds[i][j] = 0;
            for (int c = 0; c < D; c++) {
                ds[i][j] += go[i * D + c] * v[j * D + c];
                gv[j * D + c] += p[i][j] * go[i * D + c];
            }
            delta += p[i][j] * ds[i][j];
        }
        for (int j = 0; j < T; j++)
            ds[i][j] = p[i][j] * (ds[i][j] - delta);
    }
}

static void attention_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    double p[T][T], ds[T][T];
    weights(p, x[0], x[1], false);
    value_backward(ds, p, x[2], gy[0], gx[2]);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            for (int c = 0; c < D; c++) {
                gx[0][i * D + c] += ds[i][j] * x[1][j * D + c] / sqrt(D);
                gx[1][i * D + c] += ds[i][j] * x[0][j * D + c] / sqrt(D);
            }
}

static void causal_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    double p[T][T], ds[T][T];
    weights(p, x[0], x[1], false);
    value_backward(ds, p, x[2], gy[0], gx[2]);
    for (int i = 0; i < T; i++)
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < D; c++) {
                gx[0][i * D + c] += ds[i][j] * x[1][j * D + c] / sqrt(D);
                gx[1][j * D + c] += ds[i][j] * x[0][i * D + c] / sqrt(D);
            }
}

/* ---- 5. y = x + tanh(x w^T) ---- */

static void residual(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++)
        for (int o = 0; o < D; o++) {
            double u = 0;
            for (int i = 0; i < D; i++)
                u += x[0][t * D + i] * x[1][o * D + i];
            y[0][t * D + o] = x[0][t * D + o] + tanh(u);
        }
}

static void residual_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    double y[N];
    residual(x, (double *[]){ y }, user);
    memcpy(gx[0], gy[0], N * sizeof(double));
    for (int t = 0; t < T; t++)
        for (int i = 0; i < D; i++) {
            double sum = 0;
            for (int o = 0; o < D; o++) {
                const double a = y[t * D + o] - x[0][t * D + o], gu = gy[0][t * D + o] * (1 - a * a);
                sum += gu * x[1][o * D + i];
                gx[1][o * D + i] += gu * x[0][t * D + i];
            }
            gx[0][t * D + i] = sum;
        }
}

const planted bugs[BUGS] = {
    { "linear", { .forward = linear, .backward = linear_backward }, { "x", "w", "b" }, { T, D, 1 } },
    { "layer norm", { .forward = layer_norm, .backward = layer_norm_backward }, { "x" }, { T } },
    { "attention", { .forward = attention, .backward = attention_backward }, { "q", "k", "v" }, { T, T, T } },
    { "causal attention", { causal_attention, causal_backward }, { "q", "k", "v" }, { T, T, T } },
    { "residual", { .forward = residual, .backward = residual_backward }, { "x", "w" }, { T, D } },
};
