/* SPDX-License-Identifier: MIT
 *
 * explain_functions.h - the functions on arrays with their backwards, in which check_explain.c plants faults.
 */
#ifndef TESTS_EXPLAIN_FUNCTIONS_H
#define TESTS_EXPLAIN_FUNCTIONS_H

#include "tests/autograd/gradcheck/explain_faults.h"

/* ---- cube: y = x^3, of any shape; total: y[] = sum x^3; absolute: y = |x|; constant: y = 1 ---- */

static void cube(const problem *p, const double *const *x, double *const *y)
{
    for (int64_t i = 0; i < numel(p); i++)
        y[0][i] = x[0][i] * x[0][i] * x[0][i];
}

static void cube_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    const int64_t n = numel(p), columns = p->ndim > 0 ? p->shape[p->ndim - 1] : 1, rows = n / columns;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += gy[0][i];
    for (int64_t i = 0; i < n; i++) {
        double g = p->fault == UPSTREAM_ONES         ? 1
                   : p->fault == UPSTREAM_MEAN       ? sum / (double)n
                   : p->fault == UPSTREAM_SUM        ? sum
                   : p->fault == UPSTREAM_TRANSPOSED ? gy[0][i % rows * columns + i / rows]
                                                     : gy[0][i];
        gx[0][i] = 3 * x[0][i] * x[0][i] * g;
    }
}

static void total(const problem *p, const double *const *x, double *const *y)
{
    y[0][0] = 0;
    for (int64_t i = 0; i < numel(p); i++)
        y[0][0] += x[0][i] * x[0][i] * x[0][i];
}

static void total_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int64_t i = 0; i < numel(p); i++)
        gx[0][i] = 3 * x[0][i] * x[0][i] * gy[0][0];
}

static void absolute(const problem *p, const double *const *x, double *const *y)
{
    for (int64_t i = 0; i < numel(p); i++)
        y[0][i] = fabs(x[0][i]);
}

static void absolute_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int64_t i = 0; i < numel(p); i++)
        gx[0][i] = gy[0][i] * (x[0][i] > 0 ? 1 : x[0][i] < 0 ? -1 : p->factor);
}

static void constant(const problem *p, const double *const *x, double *const *y)
{
    (void)x;
    for (int64_t i = 0; i < numel(p); i++)
        y[0][i] = 1;
}

static void constant_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    (void)p, (void)x, (void)gy, (void)gx;
}

/* ---- triangle: y = x^3 on and below the diagonal, 0 above ---- */

static bool is_masked(const problem *p, int64_t i)
{
    return i % p->shape[1] > i / p->shape[1];
}

static void triangle(const problem *p, const double *const *x, double *const *y)
{
    for (int64_t i = 0; i < numel(p); i++)
        y[0][i] = is_masked(p, i) ? 0 : x[0][i] * x[0][i] * x[0][i];
}

static void triangle_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int64_t i = 0; i < numel(p); i++) {
        double g = 3 * x[0][i] * x[0][i] * gy[0][i];
        if (p->fault == LEAK)
            gx[0][i] = g;
        else if (p->fault == LEAK_INVERTED)
            gx[0][i] = is_masked(p, i) ? g : 0;
        else if (p->fault == LEAK_AND_SCALE)
            gx[0][i] = is_masked(p, i) ? g : 0.9 * g;
        else if (p->fault == LEAK_AND_NOISE)
            gx[0][i] = is_masked(p, i) ? g : g + 0.1 * x[0][i];
        else
            gx[0][i] = is_masked(p, i) ? 0 : g;
    }
}

/* ---- broadcast: y[3,4] = x z, x of shape [4], [3,1], [1,1] or [], z[3,4] ---- */

static int64_t broadcast_index(const problem *p, int64_t i)
{
    return p->ndim == 1 ? i % 4 : p->ndim == 2 && p->shape[0] == 3 ? i / 4 : 0;
}

static void broadcast(const problem *p, const double *const *x, double *const *y)
{
    for (int64_t i = 0; i < 12; i++)
        y[0][i] = x[0][broadcast_index(p, i)] * x[1][i];
}

static void broadcast_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    const bool down = p->ndim == 1; /* summed over rows, not over columns */
    for (int64_t i = 0; i < 12; i++) {
        int64_t along = down ? i / 4 : i % 4, end = down ? 2 : 3;
        gx[1][i] += gy[0][i] * x[0][broadcast_index(p, i)];
        if ((p->fault == FIRST_SLICE && along != 0) || (p->fault == LAST_SLICE && along != end))
            continue;
        if (p->fault == FIRST_USE && i > 0)
            continue;
        gx[0][broadcast_index(p, i)] += gy[0][i] * x[1][i];
    }
}

/* ---- linear: y[5,3] = v w^T, w[3,4], v[5,4] ---- */

static void linear(const problem *p, const double *const *x, double *const *y)
{
    (void)p;
    for (int b = 0; b < 5; b++)
        for (int o = 0; o < 3; o++) {
            y[0][b * 3 + o] = 0;
            for (int i = 0; i < 4; i++)
                y[0][b * 3 + o] += x[0][o * 4 + i] * x[1][b * 4 + i];
        }
}

static void linear_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int b = 0; b < 5; b++)
        for (int o = 0; o < 3; o++)
            for (int i = 0; i < 4; i++) {
                double g = gy[0][b * 3 + o] * x[1][b * 4 + i];
                gx[0][o * 4 + i] = (p->fault == LAST_SLICE ? 0 : gx[0][o * 4 + i]) + g;
                gx[1][b * 4 + i] += gy[0][b * 3 + o] * x[0][o * 4 + i];
            }
}

/* ---- matmul: y[3,3] = x z, both [3,3] ---- */

static void matmul(const problem *p, const double *const *x, double *const *y)
{
    (void)p;
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 3; c++) {
            y[0][r * 3 + c] = 0;
            for (int i = 0; i < 3; i++)
                y[0][r * 3 + c] += x[0][r * 3 + i] * x[1][i * 3 + c];
        }
}

/* gx = gy z^T, gz = x^T gy */
static void matmul_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 3; i++) {
                gx[0][r * 3 + c] += gy[0][r * 3 + i] * x[1][p->fault == OPERAND_TRANSPOSED ? i * 3 + c : c * 3 + i];
                gx[1][r * 3 + c] += x[0][i * 3 + r] * gy[0][i * 3 + c];
            }
}

/* ---- embedding: y[6,2] = the rows token[6] of x[4,2]; row 3 is not used, rows 0 and 2 more than once ---- */

static const int token[6] = { 2, 0, 2, 1, 0, 2 };

static void embedding(const problem *p, const double *const *x, double *const *y)
{
    (void)p;
    for (int t = 0; t < 12; t++)
        y[0][t] = x[0][token[t / 2] * 2 + t % 2];
}

static void embedding_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    (void)x;
    for (int t = 0; t < 12; t++) {
        double *g = &gx[0][token[t / 2] * 2 + t % 2];
        if (p->fault != FIRST_USE || *g == 0)
            *g = gy[0][t] + (p->fault == LAST_USE ? 0 : *g);
    }
}

/* ---- softmax and log_softmax over the last dim; attention: y[rows,2] = softmax(x) v, v fixed, causal when x is
 * square ---- */

static forward_fn attention;

static void softmax_rows(const problem *p, const double *x, double *y)
{
    const int64_t n = p->shape[p->ndim - 1];
    const bool causal = p->forward == attention && p->shape[0] == n;
    for (int64_t r = 0; r < numel(p) / n; r++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += causal && i > r ? 0 : exp(x[r * n + i]);
        for (int64_t i = 0; i < n; i++)
            y[r * n + i] = causal && i > r ? 0 : exp(x[r * n + i]) / sum;
    }
}

/* gx = y (gy - sum(gy y)) */
static void softmax_rows_backward(const problem *p, const double *y, const double *gy, double *gx)
{
    const int64_t n = p->shape[p->ndim - 1];
    double all = 0;
    for (int64_t i = 0; i < numel(p); i++)
        all += gy[i] * y[i];
    for (int64_t r = 0; r < numel(p) / n; r++) {
        double sum = 0;
        for (int64_t i = r * n; i < r * n + n; i++)
            sum += gy[i] * y[i];
        sum = p->fault == NO_SUM ? 0 : p->fault == SUM_ADDED ? -sum : p->fault == SUM_OF_ALL ? all : sum;
        for (int64_t i = r * n; i < r * n + n; i++)
            gx[i] = y[i] * (gy[i] - sum);
    }
}

static void softmax(const problem *p, const double *const *x, double *const *y)
{
    softmax_rows(p, x[0], y[0]);
}

static void softmax_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    double y[MOST];
    softmax_rows(p, x[0], y);
    softmax_rows_backward(p, y, gy[0], gx[0]);
}

static void log_softmax(const problem *p, const double *const *x, double *const *y)
{
    softmax_rows(p, x[0], y[0]);
    for (int64_t i = 0; i < numel(p); i++)
        y[0][i] = log(y[0][i]);
}

static void log_softmax_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    const int64_t n = p->shape[p->ndim - 1];
    double y[MOST];
    softmax_rows(p, x[0], y);
    for (int64_t i = 0; i < numel(p); i++) {
        double sum = 0;
        for (int64_t j = i / n * n; j < i / n * n + n; j++)
            sum += gy[0][j];
        gx[0][i] = gy[0][i] - (p->fault == NO_SUM ? 0 : y[i] * sum);
    }
}

static double value_at(int64_t i, int64_t d)
{
    return sin(1.7 * (double)i + (double)d);
}

static void attention(const problem *p, const double *const *x, double *const *y)
{
    const int64_t n = p->shape[1];
    double weight[MOST];
    softmax_rows(p, x[0], weight);
    for (int64_t r = 0; r < p->shape[0]; r++)
        for (int64_t d = 0; d < 2; d++) {
            y[0][r * 2 + d] = 0;
            for (int64_t i = 0; i < n; i++)
                y[0][r * 2 + d] += weight[r * n + i] * value_at(i, d);
        }
}

static void attention_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    const int64_t n = p->shape[1];
    double weight[MOST], g[MOST];
    softmax_rows(p, x[0], weight);
    for (int64_t i = 0; i < numel(p); i++)
        g[i] = gy[0][i / n * 2] * value_at(i % n, 0) + gy[0][i / n * 2 + 1] * value_at(i % n, 1);
    softmax_rows_backward(p, weight, g, gx[0]);
}

/* ---- query: y[3,2] = softmax(x k^T) v, x[3,2]; k[5,2] and v fixed ---- */

static double key_at(int64_t i, int64_t d)
{
    return cos(1.1 * (double)i - (double)d);
}

static void query_weights(const double *x, double weight[3][5])
{
    for (int r = 0; r < 3; r++) {
        double sum = 0;
        for (int i = 0; i < 5; i++)
            sum += weight[r][i] = exp(x[2 * r] * key_at(i, 0) + x[2 * r + 1] * key_at(i, 1));
        for (int i = 0; i < 5; i++)
            weight[r][i] /= sum;
    }
}

static void query(const problem *p, const double *const *x, double *const *y)
{
    (void)p;
    double weight[3][5];
    query_weights(x[0], weight);
    for (int r = 0; r < 3; r++)
        for (int d = 0; d < 2; d++) {
            y[0][2 * r + d] = 0;
            for (int i = 0; i < 5; i++)
                y[0][2 * r + d] += weight[r][i] * value_at(i, d);
        }
}

static void query_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    double weight[3][5];
    query_weights(x[0], weight);
    for (int r = 0; r < 3; r++) {
        double sum = 0, g[5];
        for (int i = 0; i < 5; i++) {
            g[i] = gy[0][2 * r] * value_at(i, 0) + gy[0][2 * r + 1] * value_at(i, 1);
            sum += weight[r][i] * g[i];
        }
        for (int i = 0; i < 5; i++)
            for (int d = 0; d < 2; d++)
                gx[0][2 * r + d] += weight[r][i] * (g[i] - (p->fault == NO_SUM ? 0 : sum)) * key_at(i, d);
    }
}

/* ---- join: y[6,2] = x[2,2] above z[4,2] ---- */

static void join(const problem *p, const double *const *x, double *const *y)
{
    (void)p;
    memcpy(y[0], x[0], 4 * sizeof(double));
    memcpy(y[0] + 4, x[1], 8 * sizeof(double));
}

static void join_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    (void)x;
    memcpy(gx[0], gy[0] + (p->fault == EXCHANGED ? 4 : 0), 4 * sizeof(double));
    memcpy(gx[1], gy[0] + 4, 8 * sizeof(double));
}

/* ---- norms over the last dim: layer norm with a weight, RMS norm ---- */

static double weight_at(int64_t i)
{
    return 1 + 0.5 * cos(2.3 * (double)i);
}

static void moments(const problem *p, const double *row, bool centered, double *mean, double *scale)
{
    const int64_t n = p->shape[p->ndim - 1];
    double square = 0;
    *mean = 0;
    for (int64_t i = 0; i < n && centered; i++)
        *mean += row[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (row[i] - *mean) * (row[i] - *mean) / (double)n;
    *scale = 1 / sqrt(square + 1e-5);
}

static void norm(const problem *p, const double *x, bool centered, double *y)
{
    const int64_t n = p->shape[p->ndim - 1];
    for (int64_t r = 0; r < numel(p) / n; r++) {
        double mean, scale;
        moments(p, x + r * n, centered, &mean, &scale);
        for (int64_t i = 0; i < n; i++)
            y[r * n + i] = (x[r * n + i] - mean) * scale * weight_at(i);
    }
}

static void norm_backward(const problem *p, const double *x, bool centered, const double *gy, double *gx)
{
    const int64_t n = p->shape[p->ndim - 1];
    for (int64_t r = 0; r < numel(p) / n; r++) {
        double mean, scale, mean_g = 0, mean_gh = 0;
        moments(p, x + r * n, centered, &mean, &scale);
        for (int64_t i = 0; i < n; i++) {
            double g = gy[r * n + i] * weight_at(i);
            mean_g += g / (double)n;
            mean_gh += g * (x[r * n + i] - mean) * scale / (double)n;
        }
        if (!centered || p->fault == NO_MEAN || p->fault == NO_MEAN_NO_VARIANCE)
            mean_g = 0;
        if (p->fault == NO_VARIANCE || p->fault == NO_MEAN_NO_VARIANCE)
            mean_gh = 0;
        for (int64_t i = r * n; i < r * n + n; i++)
            gx[i] = scale * (gy[i] * weight_at(i - r * n) - mean_g - (x[i] - mean) * scale * mean_gh);
    }
}

static void layer_norm(const problem *p, const double *const *x, double *const *y)
{
    norm(p, x[0], true, y[0]);
}

static void layer_norm_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    norm_backward(p, x[0], true, gy[0], gx[0]);
}

static void rms_norm(const problem *p, const double *const *x, double *const *y)
{
    norm(p, x[0], false, y[0]);
}

static void rms_norm_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    norm_backward(p, x[0], false, gy[0], gx[0]);
}

/* ---- product: y = x z^2, both of input 0's shape; split: x -> x^2, x^3, two outputs ---- */

static void multiply(const problem *p, const double *const *x, double *const *y)
{
    for (int64_t i = 0; i < numel(p); i++)
        y[0][i] = x[0][i] * x[1][i] * x[1][i];
}

static void multiply_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int64_t i = 0; i < numel(p); i++) {
        gx[p->fault == EXCHANGED ? 1 : 0][i] = gy[0][i] * x[1][i] * x[1][i];
        gx[p->fault == EXCHANGED ? 0 : 1][i] = gy[0][i] * 2 * x[0][i] * x[1][i];
    }
}

static void split(const problem *p, const double *const *x, double *const *y)
{
    for (int64_t i = 0; i < numel(p); i++) {
        y[0][i] = x[0][i] * x[0][i];
        y[1][i] = y[0][i] * x[0][i];
    }
}

static void split_backward(const problem *p, const double *const *x, const double *const *gy, double *const *gx)
{
    for (int64_t i = 0; i < numel(p); i++) {
        double g = p->fault == SECOND_LOST ? 0 : p->fault == SECOND_ONES ? 1 : gy[1][i];
        gx[0][i] = gy[0][i] * 2 * x[0][i] + g * 3 * x[0][i] * x[0][i];
    }
}

/* ---- Running one ---- */

static void run_forward(const double *const *x, double *const *y, void *user)
{
    const problem *p = user;
    p->forward(p, x, y);
}

static void run_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const problem *p = user;
    double y[2][MOST];
    calls++;
    p->backward(p, x, gy, gx);
    if (p->fault < UPSTREAM_ONES) {
        p->forward(p, x, (double *[]){ y[0], y[1] });
        damage(p, y[0], gy[0], gx[0]);
    }
}

/* The shapes around input 0's. */
static int shapes(const problem *p, ag_array *input, ag_array *output, int *outputs)
{
    int inputs = 1;
    *outputs = 1;
    input[0].ndim = output[0].ndim = p->ndim;
    for (int d = 0; d < p->ndim; d++)
        input[0].shape[d] = output[0].shape[d] = p->shape[d];
    if (p->forward == broadcast) {
        inputs = 2;
        output[0] = input[1] = (ag_array){ .ndim = 2, .shape = { 3, 4 } };
    } else if (p->forward == linear) {
        inputs = 2;
        input[1] = (ag_array){ .ndim = 2, .shape = { 5, 4 } };
        output[0] = (ag_array){ .ndim = 2, .shape = { 5, 3 } };
    } else if (p->forward == embedding) {
        output[0] = (ag_array){ .ndim = 2, .shape = { 6, 2 } };
    } else if (p->forward == join) {
        inputs = 2;
        input[1] = (ag_array){ .ndim = 2, .shape = { 4, 2 } };
        output[0] = (ag_array){ .ndim = 2, .shape = { 6, 2 } };
    } else if (p->forward == attention) {
        output[0] = (ag_array){ .ndim = 2, .shape = { p->shape[0], 2 } };
    } else if (p->forward == total) {
        output[0] = (ag_array){ .ndim = 0 };
    } else if (p->forward == multiply || p->forward == matmul) {
        inputs = 2;
        input[1] = input[0];
        input[1].name = "z";
    } else if (p->forward == split) {
        *outputs = 2;
        output[1] = output[0];
    }
    return inputs;
}

/* The check of it, which leaves the inputs as they were. */
static ag_gradcheck_result run(ag_ctx *ctx, problem p, ag_gradcheck_config config)
{
    double value[2][MOST], before[2][MOST];
    ag_array input[2] = { { .name = "x" } }, output[2] = { { .name = "y" } };
    int outputs, inputs = shapes(&p, input, output, &outputs);
    uint64_t state = p.seed + 77;
    for (int i = 0; i < inputs; i++) {
        input[i].value = value[i];
        for (int64_t k = 0; k < MOST; k++) {
            double u = draw(&state);
            value[i][k] = u < 0 ? u - 0.3 : u + 0.3; /* away from 0, where powers have no slope */
        }
    }
    if (p.forward == absolute)
        value[0][4] = 0; /* a kink */
    for (int64_t k = 0; k < 16 && p.forward == total; k++)
        value[0][k] = cos((double)(k / 4 + k % 4)) + 2; /* symmetric */
    calls = 0;
    memcpy(before, value, sizeof value);
    ag_array_function function = { run_forward, run_backward, &p };
    ag_gradcheck_result r = ag_gradcheck_arrays(ctx, function, input, inputs, output, outputs, config);
    for (int i = 0; i < inputs; i++)
        ck_assert_mem_eq(value[i], before[i], sizeof value[i]);
    return r;
}

#endif
