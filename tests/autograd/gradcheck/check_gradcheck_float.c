/* SPDX-License-Identifier: MIT
 *
 * check_gradcheck_float.c - plain C code in single precision, as in training code written by hand: right backwards do
 * not fail and nearly all pass with the default options; an error of 1 % in any of their parts does not pass. The same
 * code behind a wrapper in double is noticed by its noise.
 */
#include "tests/test.h"

enum { ROWS = 4, COLS = 8, HEAD = 4, SEEDS = 200 };

/* `wrong`: the gradient of that input is 1 % too large; -1: none. */
typedef struct float_code {
    const char *name;
    void (*forward)(const float *const *x, float *const *y);
    void (*backward)(const float *const *x, const float *const *gy, float *const *gx);
    int inputs;
    ag_array input[3], output; /* shapes */
} float_code;

typedef struct float_run {
    const float_code *code;
    int wrong;
} float_run;

static void run_forward(const float *const *x, float *const *y, void *user)
{
    ((const float_run *)user)->code->forward(x, y);
}

static int64_t numel_of(const ag_array *a)
{
    int64_t n = 1;
    for (int d = 0; d < a->ndim; d++)
        n *= a->shape[d];
    return n;
}

static void run_backward(const float *const *x, const float *const *gy, float *const *gx, void *user)
{
    const float_run *r = user;
    r->code->backward(x, gy, gx);
    for (int64_t i = 0; r->wrong >= 0 && i < numel_of(&r->code->input[r->wrong]); i++)
        gx[r->wrong][i] *= 1.01f;
}

/* ---- The functions ---- */

static float norm_row(const float *row, float *scale) /* returns the mean */
{
    float mean = 0, variance = 0;
    for (int i = 0; i < COLS; i++)
        mean += row[i];
    mean /= COLS;
    for (int i = 0; i < COLS; i++)
        variance += (row[i] - mean) * (row[i] - mean);
    *scale = 1.0f / sqrtf(variance / COLS + 1e-5f);
    return mean;
}

static void norm_forward(const float *const *x, float *const *y)
{
    for (int r = 0; r < ROWS; r++) {
        const float *row = x[0] + r * COLS;
        float scale, mean = norm_row(row, &scale);
        for (int i = 0; i < COLS; i++)
            y[0][r * COLS + i] = (row[i] - mean) * scale * x[1][i] + x[2][i];
    }
}

static void norm_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    for (int r = 0; r < ROWS; r++) {
        const float *row = x[0] + r * COLS, *g = gy[0] + r * COLS;
        float a = 0, b = 0, scale, mean = norm_row(row, &scale);
        for (int i = 0; i < COLS; i++) {
            float unit = (row[i] - mean) * scale;
            gx[1][i] += g[i] * unit;
            gx[2][i] += g[i];
            a += g[i] * x[1][i] / COLS;
            b += g[i] * x[1][i] * unit / COLS;
        }
        for (int i = 0; i < COLS; i++)
            gx[0][r * COLS + i] = scale * (g[i] * x[1][i] - a - (row[i] - mean) * scale * b);
    }
}

static void softmax_row(const float *x, float *y, int n)
{
    float most = x[0], sum = 0;
    for (int i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int i = 0; i < n; i++)
        sum += y[i] = expf(x[i] - most);
    for (int i = 0; i < n; i++)
        y[i] /= sum;
}

static void softmax_row_backward(const float *y, const float *gy, float *gx, int n)
{
    float dot = 0;
    for (int i = 0; i < n; i++)
        dot += y[i] * gy[i];
    for (int i = 0; i < n; i++)
        gx[i] = y[i] * (gy[i] - dot);
}

static void softmax_forward(const float *const *x, float *const *y)
{
    for (int r = 0; r < ROWS; r++)
        softmax_row(x[0] + r * COLS, y[0] + r * COLS, COLS);
}

static void softmax_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    float y[COLS];
    for (int r = 0; r < ROWS; r++) {
        softmax_row(x[0] + r * COLS, y, COLS);
        softmax_row_backward(y, gy[0] + r * COLS, gx[0] + r * COLS, COLS);
    }
}

/* The mean over the rows; the target of row r is column 3 r % COLS. */
static void loss_forward(const float *const *x, float *const *y)
{
    float p[COLS], sum = 0;
    for (int r = 0; r < ROWS; r++) {
        softmax_row(x[0] + r * COLS, p, COLS);
        sum -= logf(p[3 * r % COLS]);
    }
    y[0][0] = sum / ROWS;
}

static void loss_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    for (int r = 0; r < ROWS; r++) {
        float *g = gx[0] + r * COLS;
        softmax_row(x[0] + r * COLS, g, COLS);
        g[3 * r % COLS] -= 1;
        for (int i = 0; i < COLS; i++)
            g[i] *= gy[0][0] / ROWS;
    }
}

static void gelu_forward(const float *const *x, float *const *y)
{
    for (int i = 0; i < ROWS * COLS; i++) {
        float v = x[0][i];
        y[0][i] = 0.5f * v * (1 + tanhf(0.79788456f * (v + 0.044715f * v * v * v)));
    }
}

static void gelu_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    for (int i = 0; i < ROWS * COLS; i++) {
        float v = x[0][i], t = tanhf(0.79788456f * (v + 0.044715f * v * v * v));
        gx[0][i] = gy[0][i] * (0.5f * (1 + t) + 0.5f * v * (1 - t * t) * 0.79788456f * (1 + 3 * 0.044715f * v * v));
    }
}

/* A matrix: its elements, and the strides of rows and of columns. */
typedef struct float_matrix {
    const float *at;
    int row, col;
} float_matrix;

/* c[m,n] += a[m,k] b[k,n] */
static void add_product(int m, int n, int k, float_matrix a, float_matrix b, float *c)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            for (int l = 0; l < k; l++)
                c[i * n + j] += a.at[i * a.row + l * a.col] * b.at[l * b.row + j * b.col];
}

static void product_forward(const float *const *x, float *const *y)
{
    for (int i = 0; i < ROWS * HEAD; i++)
        y[0][i] = 0;
    add_product(ROWS, HEAD, COLS, (float_matrix){ x[0], COLS, 1 }, (float_matrix){ x[1], HEAD, 1 }, y[0]);
}

static void product_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    add_product(ROWS, COLS, HEAD, (float_matrix){ gy[0], HEAD, 1 }, (float_matrix){ x[1], 1, HEAD }, gx[0]);
    add_product(COLS, HEAD, ROWS, (float_matrix){ x[0], 1, COLS }, (float_matrix){ gy[0], HEAD, 1 }, gx[1]);
}

/* O = softmax(Q K^T / 2) V, one causal head of ROWS positions. */
static void attention_weights(const float *const *x, float *p)
{
    for (int i = 0; i < ROWS * ROWS; i++)
        p[i] = 0;
    add_product(ROWS, ROWS, HEAD, (float_matrix){ x[0], HEAD, 1 }, (float_matrix){ x[1], 1, HEAD }, p);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < ROWS; i++)
            p[r * ROWS + i] *= 0.5f;
        softmax_row(p + r * ROWS, p + r * ROWS, r + 1);
        for (int i = r + 1; i < ROWS; i++)
            p[r * ROWS + i] = 0;
    }
}

static void attention_forward(const float *const *x, float *const *y)
{
    float p[ROWS * ROWS];
    attention_weights(x, p);
    for (int i = 0; i < ROWS * HEAD; i++)
        y[0][i] = 0;
    add_product(ROWS, HEAD, ROWS, (float_matrix){ p, ROWS, 1 }, (float_matrix){ x[2], HEAD, 1 }, y[0]);
}

static void attention_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    float p[ROWS * ROWS], gp[ROWS * ROWS] = { 0 }, gs[ROWS * ROWS] = { 0 };
    attention_weights(x, p);
    add_product(ROWS, HEAD, ROWS, (float_matrix){ p, 1, ROWS }, (float_matrix){ gy[0], HEAD, 1 }, gx[2]);
    add_product(ROWS, ROWS, HEAD, (float_matrix){ gy[0], HEAD, 1 }, (float_matrix){ x[2], 1, HEAD }, gp);
    for (int r = 0; r < ROWS; r++)
        softmax_row_backward(p + r * ROWS, gp + r * ROWS, gs + r * ROWS, r + 1);
    for (int i = 0; i < ROWS * ROWS; i++)
        gs[i] *= 0.5f;
    add_product(ROWS, HEAD, ROWS, (float_matrix){ gs, ROWS, 1 }, (float_matrix){ x[1], HEAD, 1 }, gx[0]);
    add_product(ROWS, HEAD, ROWS, (float_matrix){ gs, 1, ROWS }, (float_matrix){ x[0], HEAD, 1 }, gx[1]);
}

/* Its backward is right but for rounding that is far coarser than forward's. */
static void coarse_forward(const float *const *x, float *const *y)
{
    for (int i = 0; i < COLS; i++)
        y[0][i] = 1.5f * x[0][i];
}

static void coarse_backward(const float *const *x, const float *const *gy, float *const *gx)
{
    (void)x;
    for (int i = 0; i < COLS; i++) {
        volatile float sum = 1000 + 1.5f * gy[0][i];
        gx[0][i] = sum - 1000;
    }
}

#define MATRIX(rows, cols) { .ndim = 2, .shape = { rows, cols } }
#define VECTOR(n) { .ndim = 1, .shape = { n } }
static const float_code codes[] = {
    { "layer norm", norm_forward, norm_backward, 3, { MATRIX(ROWS, COLS), VECTOR(COLS), VECTOR(COLS) },
      MATRIX(ROWS, COLS) },
    { "softmax", softmax_forward, softmax_backward, 1, { MATRIX(ROWS, COLS) }, MATRIX(ROWS, COLS) },
    { "cross-entropy", loss_forward, loss_backward, 1, { MATRIX(ROWS, COLS) }, { .ndim = 0 } },
    { "gelu", gelu_forward, gelu_backward, 1, { MATRIX(ROWS, COLS) }, MATRIX(ROWS, COLS) },
    { "product", product_forward, product_backward, 2, { MATRIX(ROWS, COLS), MATRIX(COLS, HEAD) },
      MATRIX(ROWS, HEAD) },
    { "coarse backward", coarse_forward, coarse_backward, 1, { VECTOR(COLS) }, VECTOR(COLS) },
    { "attention head", attention_forward, attention_backward, 3,
      { MATRIX(ROWS, HEAD), MATRIX(ROWS, HEAD), MATRIX(ROWS, HEAD) }, MATRIX(ROWS, HEAD) },
};
enum { CODES = sizeof codes / sizeof *codes };

/* ---- The checks ---- */

static ag_verdict check_seed(const float_code *code, uint64_t seed, int wrong)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = 1 });
    float value[3][ROWS * COLS];
    ag_array input[3];
    for (int k = 0; k < code->inputs; k++) {
        input[k] = code->input[k];
        input[k].value_f32 = value[k];
        for (int i = 0; i < numel_of(&input[k]); i++)
            value[k][i] = (float)(3 * ag_random(ctx) - 1.5);
    }
    float_run run = { code, wrong };
    ag_array_function f = { .forward_f32 = run_forward, .backward_f32 = run_backward, .user = &run };
    ag_verdict verdict = ag_gradcheck_arrays(ctx, f, input, code->inputs, &code->output, 1,
                                             (ag_gradcheck_config){ .seed = seed }).verdict;
    ck_assert_int_eq(ag_ctx_free(ctx), 0);
    return verdict;
}

START_TEST(right_code_passes)
{
    const float_code *code = &codes[_i];
    int passed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        ag_verdict v = check_seed(code, seed, -1);
        ck_assert_msg(v != AG_FAIL, "%s, seed %d", code->name, (int)seed);
        passed += v == AG_PASS;
    }
    ck_assert_msg(passed * 100 >= SEEDS * 95, "%s: %d of %d pass", code->name, passed, SEEDS);
}
END_TEST

START_TEST(wrong_code_does_not_pass)
{
    const float_code *code = &codes[_i];
    int failed = 0;
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++)
        for (int k = 0; k < code->inputs; k++) {
            ag_verdict v = check_seed(code, seed, k);
            ck_assert_msg(v != AG_PASS, "%s, seed %d, input %d", code->name, (int)seed, k);
            failed += v == AG_FAIL;
        }
    ck_assert_msg(failed * 100 >= SEEDS / 4 * code->inputs * 95, "%s: %d fail", code->name, failed);
}
END_TEST

/* ---- Right code that is hard to judge ---- */

/* f(x) and its slope in plain float, at start + i step. */
typedef struct hard_code {
    const char *what;
    float (*value)(float), (*slope)(float);
    float start, step;
} hard_code;

static float silu(float x)
{
    return x / (1 + expf(-x));
}

static float silu_slope(float x)
{
    float s = 1 / (1 + expf(-x));
    return s + x * s * (1 - s);
}

static float log_cosh(float x)
{
    return logf(coshf(x));
}

static float wave(float x)
{
    return x + sinf(1.3f * x) * sinf(1.3f * x) / 1.3f;
}

static float wave_slope(float x)
{
    return 1 + sinf(2.6f * x);
}

static float gelu_of(float x)
{
    return x * (1 + erff(x * 0.70710678f)) / 2;
}

static float gelu_slope(float x)
{
    return (1 + erff(x * 0.70710678f)) / 2 + x * expf(-x * x / 2) * 0.39894228f;
}

static const hard_code hard_codes[] = {
    { "s(x) is below the normal numbers, and has few bits", silu, silu_slope, -3.9f, -14 },
    { "cosh(x) rounds to 1: f is 0, and rounded more coarsely further away", log_cosh, tanhf, 1e-7f, 3e-7f },
    { "f bends within a few units in the last place of x", wave, wave_slope, -444497.25f, 1234.5f },
    { "1 + erf(x) rounds to 0, x phi(x) does not", gelu_of, gelu_slope, -6.4f, 1.1f },
};
enum { HARD_CODES = sizeof hard_codes / sizeof *hard_codes };

static void hard_forward(const float *const *x, float *const *y, void *user)
{
    for (int i = 0; i < COLS; i++)
        y[0][i] = ((const hard_code *)user)->value(x[0][i]);
}

static void hard_backward(const float *const *x, const float *const *gy, float *const *gx, void *user)
{
    for (int i = 0; i < COLS; i++)
        gx[0][i] = gy[0][i] * ((const hard_code *)user)->slope(x[0][i]);
}

START_TEST(right_code_does_not_fail)
{
    hard_code code = hard_codes[_i];
    float value[COLS];
    for (int i = 0; i < COLS; i++)
        value[i] = code.start + code.step * (float)i;
    for (uint64_t seed = 1; seed <= SEEDS / 8; seed++) {
        ag_ctx *ctx = test_begin();
        ag_array x = { .ndim = 1, .shape = { COLS }, .value_f32 = value }, y = { .ndim = 1, .shape = { COLS } };
        ag_array_function f = { .forward_f32 = hard_forward, .backward_f32 = hard_backward, .user = &code };
        ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, &x, 1, &y, 1, (ag_gradcheck_config){ .seed = seed });
        ck_assert_msg(r.verdict != AG_FAIL, "%s, seed %d: input %d at %d, output %d: analytic %g, numeric %g: %s",
                      code.what, (int)seed, r.input, (int)r.worst.index, (int)r.worst.output_index, r.worst.analytic,
                      r.worst.numeric, r.explanation);
        test_end(ctx);
    }
}
END_TEST

/* y = slope x, compiled so that numbers below the normal ones become 0, as by -ffast-math. */
static void flushed_forward(const float *const *x, float *const *y, void *slope)
{
    y[0][0] = *(const float *)slope * x[0][0];
}

static void flushed_backward(const float *const *x, const float *const *gy, float *const *gx, void *slope)
{
    (void)x;
    float g = *(const float *)slope * gy[0][0];
    gx[0][0] = fabsf(g) < 0x1p-126f ? 0 : g;
}

START_TEST(right_code_may_flush_what_is_below_the_normal_numbers)
{
    ag_ctx *ctx = test_begin();
    for (float slope = 3e-38f; slope > 0; slope /= 10) {
        float value = 1e37f;
        ag_array x = { .ndim = 0, .value_f32 = &value }, y = { .ndim = 0 };
        ag_array_function f = { .forward_f32 = flushed_forward, .backward_f32 = flushed_backward, .user = &slope };
        ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, &x, 1, &y, 1, (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.verdict != AG_FAIL, "slope %g: %s", (double)slope, r.explanation);
    }
    test_end(ctx);
}
END_TEST

Suite *gradcheck_float_suite(void)
{
    Suite *suite = suite_create("gradcheck_float");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, right_code_passes, 0, CODES);
    tcase_add_loop_test(all, wrong_code_does_not_pass, 0, CODES);
    tcase_add_loop_test(all, right_code_does_not_fail, 0, HARD_CODES);
    tcase_add_test(all, right_code_may_flush_what_is_below_the_normal_numbers);
    suite_add_tcase(suite, all);
    return suite;
}
