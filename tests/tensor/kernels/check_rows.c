/* SPDX-License-Identifier: MIT
 *
 * check_rows.c - the reductions and the kernels that normalise rows, in every setting (see kernel_settings.h), against
 * formulas in double; gradients against central differences.
 */
#include "tests/tensor/kernels/kernel_settings.h"

/* ---- Reductions ------------------------------------------------------------------------------ */

static const int64_t middles[][3] = { /* A, R, B */
    { 1, 0, 1 }, { 3, 0, 2 }, { 0, 4, 2 }, { 2, 3, 0 }, { 1, 1, 1 }, { 1, 15, 1 }, { 1, 4097, 1 }, { 1, 65537, 1 },
    { 5, 33, 1 }, { 700, 65, 1 }, { 1, 600, 33 }, { 3, 7, 64 }, { 2, 260, 100 }, { 1, 3, 1000 },
};
enum { MIDDLES = (int)(sizeof middles / sizeof *middles) };

START_TEST(reductions_match_their_formulas)
{
    setting s;
    if (!setting_at(_i / MIDDLES, &s))
        return;
    const int64_t A = middles[_i % MIDDLES][0], R = middles[_i % MIDDLES][1], B = middles[_i % MIDDLES][2];
    double *x = draw(number[0], A * R * B, 1, -1, 1.5), *sum = number[1], *max = number[2], squares = 0;
    for (int64_t a = 0; a < A; a++)
        for (int64_t b = 0; b < B; b++) {
            sum[a * B + b] = 0;
            max[a * B + b] = -HUGE_VAL;
            for (int64_t r = 0; r < R; r++) {
                sum[a * B + b] += x[(a * R + r) * B + b];
                max[a * B + b] = fmax(max[a * B + b], x[(a * R + r) * B + b]);
            }
        }
    for (int64_t i = 0; i < A * R * B; i++)
        squares += x[i] * x[i];
    put(&s, memory[0], A * R * B, x);
    s.k->sum(AG_TEAM(1), A, R, B, memory[0], memory[1]);
    expect(&s, "sum", A * B, memory[1], sum, 8, 1e-11);
    s.k->max(AG_TEAM(1), A, R, B, memory[0], memory[2]);
    expect(&s, "max", A * B, memory[2], max, 0, 0);
    const double norm = s.k->sum_squares(AG_TEAM(1), A * R * B, memory[0]);
    ck_assert(fabs(norm - squares) <= 1e-13 * squares);
    for (int threads = 2; threads <= 3; threads++) {
        s.k->sum(AG_TEAM(threads), A, R, B, memory[0], memory[3]);
        expect_same_bits(&s, "sum", A * B, memory[1], memory[3]);
        s.k->max(AG_TEAM(threads), A, R, B, memory[0], memory[3]);
        expect_same_bits(&s, "max", A * B, memory[2], memory[3]);
        ck_assert(s.k->sum_squares(AG_TEAM(threads), A * R * B, memory[0]) == norm);
    }
}
END_TEST

START_TEST(max_passes_nan_on)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    for (int64_t place = 0; place < 40; place++) {
        double *x = draw(number[0], 80, 1, -1, 1);
        x[place] = nan("");
        put(&s, memory[0], 80, x);
        s.k->max(AG_TEAM(1), 2, 40, 1, memory[0], memory[1]);
        ck_assert(isnan(at(&s, memory[1], 0)) && !isnan(at(&s, memory[1], 1)));
        s.k->max(AG_TEAM(1), 1, 2, 40, memory[0], memory[1]);
        for (int64_t i = 0; i < 40; i++)
            ck_assert(!isnan(at(&s, memory[1], i)) == (i != place));
    }
}
END_TEST

/* ---- Rows ------------------------------------------------------------------------------------ */

enum { GRAD_ROWS = 3, GRAD_SIZE = 37 };

static void softmax_row(int64_t N, const double *x, double *y)
{
    double max = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < N; j++)
        max = fmax(max, x[j]);
    for (int64_t j = 0; j < N; j++)
        sum += exp(x[j] - max);
    for (int64_t j = 0; j < N; j++)
        y[j] = exp(x[j] - max) / sum;
}

static void log_softmax_row(int64_t N, const double *x, double *y)
{
    double max = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < N; j++)
        max = fmax(max, x[j]);
    for (int64_t j = 0; j < N; j++)
        sum += exp(x[j] - max);
    for (int64_t j = 0; j < N; j++)
        y[j] = x[j] - max - log(sum);
}

static void logsumexp_row(int64_t N, const double *x, double *y)
{
    double first[MOST / SLOTS];
    log_softmax_row(N, x, first);
    y[0] = x[0] - first[0];
}

/* dx = the central difference of sum_i dy[i] f(x)[i], f from N to `outputs` numbers. */
static void difference(void (*f)(int64_t, const double *, double *), int64_t N, int64_t outputs, double *x,
                       const double *dy, double *dx)
{
    double up[GRAD_SIZE] = { 0 }, down[GRAD_SIZE] = { 0 };
    for (int64_t j = 0; j < N; j++) {
        const double old = x[j], h = 1e-5;
        x[j] = old + h;
        f(N, x, up);
        x[j] = old - h;
        f(N, x, down);
        x[j] = old;
        dx[j] = 0;
        for (int64_t i = 0; i < outputs; i++)
            dx[j] += dy[i] * (up[i] - down[i]) / (2 * h);
    }
}

static const int64_t row_sizes[][2] = { { 0, 5 }, { 1, 1 }, { 3, 7 }, { 2, 16 }, { 5, 33 }, { 300, 65 }, { 3, 4097 } };
enum { ROW_SIZES = (int)(sizeof row_sizes / sizeof *row_sizes) };

static const double offsets[] = { 0, -20000, 50 };

START_TEST(softmax_family_matches_formulas)
{
    setting s;
    if (!setting_at(_i / ROW_SIZES, &s))
        return;
    const int64_t M = row_sizes[_i % ROW_SIZES][0], N = row_sizes[_i % ROW_SIZES][1];
    for (int k = 0; k < 3; k++) {
        double *x = draw(number[0], M * N, 1, offsets[k] - 4, offsets[k] + 4);
        for (int64_t i = 0; i < M; i++) {
            softmax_row(N, x + i * N, number[1] + i * N);
            log_softmax_row(N, x + i * N, number[2] + i * N);
            logsumexp_row(N, x + i * N, number[3] + i);
        }
        put(&s, memory[0], M * N, x);
        s.k->softmax(AG_TEAM(1), M, N, memory[0], memory[1]);
        expect(&s, "softmax", M * N, memory[1], number[1], 4, 0);
        s.k->log_softmax(AG_TEAM(1), M, N, memory[0], memory[2]);
        expect(&s, "log_softmax", M * N, memory[2], number[2], 4, 0);
        s.k->logsumexp(AG_TEAM(1), M, N, memory[0], memory[3]);
        expect(&s, "logsumexp", M, memory[3], number[3], 4, 0);
        for (int threads = 2; threads <= 3; threads++) {
            put(&s, memory[4], M * N, x); /* in place, too */
            s.k->softmax(AG_TEAM(threads), M, N, memory[4], memory[4]);
            expect_same_bits(&s, "softmax", M * N, memory[1], memory[4]);
            s.k->log_softmax(AG_TEAM(threads), M, N, memory[0], memory[4]);
            expect_same_bits(&s, "log_softmax", M * N, memory[2], memory[4]);
            s.k->logsumexp(AG_TEAM(threads), M, N, memory[0], memory[4]);
            expect_same_bits(&s, "logsumexp", M, memory[3], memory[4]);
        }
    }
}
END_TEST

START_TEST(softmax_family_gradients_match_differences)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    const int64_t M = GRAD_ROWS, N = GRAD_SIZE;
    double *x = draw(number[0], M * N, 1, -2, 2), *dy = draw(number[1], M * N, 2, -1, 1), *dx = number[2];
    put(&s, memory[0], M * N, x);
    put(&s, memory[1], M * N, dy);
    for (int64_t i = 0; i < M; i++)
        difference(softmax_row, N, N, x + i * N, dy + i * N, dx + i * N);
    s.k->softmax(AG_TEAM(1), M, N, memory[0], memory[2]);
    s.k->softmax_vjp(AG_TEAM(1), M, N, memory[2], memory[1], memory[3]);
    expect(&s, "softmax_vjp", M * N, memory[3], dx, 8, 1e-9);
    for (int64_t i = 0; i < M; i++)
        difference(log_softmax_row, N, N, x + i * N, dy + i * N, dx + i * N);
    s.k->log_softmax(AG_TEAM(1), M, N, memory[0], memory[2]);
    s.k->log_softmax_vjp(AG_TEAM(1), M, N, memory[2], memory[1], memory[3]);
    expect(&s, "log_softmax_vjp", M * N, memory[3], dx, 8, 1e-9);
    for (int64_t i = 0; i < M; i++)
        difference(logsumexp_row, N, 1, x + i * N, dy + i, dx + i * N);
    s.k->logsumexp(AG_TEAM(1), M, N, memory[0], memory[2]);
    s.k->logsumexp_vjp(AG_TEAM(1), M, N, memory[0], memory[2], memory[1], memory[3]);
    expect(&s, "logsumexp_vjp", M * N, memory[3], dx, 8, 1e-9);
}
END_TEST

START_TEST(softmax_family_at_special_rows)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    enum { M = 5, N = 19 };
    double *x = draw(number[0], (int64_t)M * N, 1, -2, 2), *dy = draw(number[1], (int64_t)M * N, 2, -1, 1);
    for (int j = 0; j < N; j++)
        x[N + j] = -HUGE_VAL; /* row 1 sees nothing */
    x[2 * N + 17] = nan(""); /* row 2 holds a NaN */
    for (int j = 0; j < N; j++) /* row 3 spans all floats */
        x[3 * N + j] = j % 2 == 0 ? 3e38 : -3e38;
    put(&s, memory[0], M * N, x);
    put(&s, memory[1], M * N, dy);
    s.k->softmax(AG_TEAM(1), M, N, memory[0], memory[2]);
    s.k->softmax_vjp(AG_TEAM(1), M, N, memory[2], memory[1], memory[3]);
    s.k->log_softmax(AG_TEAM(1), M, N, memory[0], memory[4]);
    s.k->logsumexp(AG_TEAM(1), M, N, memory[0], memory[5]);
    s.k->logsumexp_vjp(AG_TEAM(1), M, N, memory[0], memory[5], memory[1], memory[6]);
    for (int j = 0; j < N; j++) {
        ck_assert(at(&s, memory[2], N + j) == 0 && at(&s, memory[3], N + j) == 0 && at(&s, memory[6], N + j) == 0);
        ck_assert(isnan(at(&s, memory[2], 2 * N + j)) && isnan(at(&s, memory[4], 2 * N + j)));
        ck_assert(isfinite(at(&s, memory[2], 3 * N + j)) && !isnan(at(&s, memory[4], 3 * N + j)));
        ck_assert(at(&s, memory[2], 4 * N + j) > 0 && at(&s, memory[2], j) > 0 && isfinite(at(&s, memory[4], j)));
    }
    ck_assert(at(&s, memory[5], 1) == -HUGE_VAL && isnan(at(&s, memory[5], 2)));
    s.k->logsumexp(AG_TEAM(1), 1, 0, memory[0], memory[5]);
    ck_assert(at(&s, memory[5], 0) == -HUGE_VAL);
}
END_TEST

/* ---- layer_norm ------------------------------------------------------------------------------ */

static const double *norm_w, *norm_b;

static void layer_norm_row(int64_t N, const double *x, double *y)
{
    double offset = 0, variance = 0; /* mean - x[0] */
    for (int64_t j = 0; j < N; j++)
        offset += (x[j] - x[0]) / (double)N;
    for (int64_t j = 0; j < N; j++)
        variance += (x[j] - x[0] - offset) * (x[j] - x[0] - offset) / (double)N;
    for (int64_t j = 0; j < N; j++)
        y[j] = (x[j] - x[0] - offset) / sqrt(variance + 1e-5) * (norm_w != NULL ? norm_w[j] : 1) +
               (norm_b != NULL ? norm_b[j] : 0);
}

START_TEST(layer_norm_matches_its_formula)
{
    setting s;
    if (!setting_at(_i / ROW_SIZES, &s))
        return;
    const int64_t M = row_sizes[_i % ROW_SIZES][0], N = row_sizes[_i % ROW_SIZES][1];
    const double *w = draw(number[1], N, 2, 0.5, 2), *b = draw(number[2], N, 3, -1, 1);
    put(&s, memory[1], N, w);
    put(&s, memory[2], N, b);
    for (int k = 0; k < 8; k++) { /* k & 4: around 1e4 */
        double *x = draw(number[0], M * N, 1, k & 4 ? 9998 : -2, k & 4 ? 10002 : 2);
        norm_w = k & 1 ? w : NULL;
        norm_b = k & 2 ? b : NULL;
        for (int64_t i = 0; i < M; i++)
            layer_norm_row(N, x + i * N, number[3] + i * N);
        put(&s, memory[0], M * N, x);
        s.k->layer_norm(AG_TEAM(1), &(ag_norm_args){ M, N, .eps = 1e-5, .x = memory[0], .w = k & 1 ? memory[1] : NULL,
            .b = k & 2 ? memory[2] : NULL, .y = memory[3], .mean = memory[4], .rstd = memory[5] });
        expect(&s, "layer_norm", M * N, memory[3], number[3], 8, 2e-11);
        s.k->layer_norm(AG_TEAM(3), &(ag_norm_args){ M, N, .eps = 1e-5, .x = memory[0], .w = k & 1 ? memory[1] : NULL,
            .b = k & 2 ? memory[2] : NULL, .y = memory[6], .mean = memory[4], .rstd = memory[5] });
        expect_same_bits(&s, "layer_norm", M * N, memory[3], memory[6]);
    }
}
END_TEST

START_TEST(layer_norm_of_a_constant_row_is_the_bias)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    enum { N = 37 };
    double scratch[4 * N];
    const double *b = draw(number[1], N, 3, -1, 1);
    for (int j = 0; j < N; j++)
        number[0][j] = (double)(float)12345.678;
    put(&s, memory[0], N, number[0]);
    put(&s, memory[1], N, b);
    ck_assert(s.k->norm_vjp_scratch(1, N) <= sizeof scratch);
    s.k->layer_norm(AG_TEAM(1), &(ag_norm_args){ 1, N, .eps = 1e-5, .x = memory[0], .w = memory[1], .b = memory[1],
        .y = memory[2], .mean = memory[3], .rstd = memory[4] });
    expect(&s, "layer_norm", N, memory[2], b, 0, 0);
    s.k->layer_norm_vjp(AG_TEAM(1), &(ag_norm_args){ 1, N, .x = memory[0], .mean = memory[3], .rstd = memory[4],
        .dy = memory[1], .dx = memory[5], .dw = memory[6], .scratch = scratch });
    for (int j = 0; j < N; j++)
        ck_assert(isfinite(at(&s, memory[5], j)) && at(&s, memory[6], j) == 0);
}
END_TEST

START_TEST(layer_norm_gradients_match_differences)
{
    static double scratch[2 * MOST];
    setting s;
    if (!setting_at(_i, &s))
        return;
    for (int k = 0; k < 2; k++) { /* without and with w; M over several row blocks */
        const int64_t M = 40, N = GRAD_SIZE;
        double *x = draw(number[0], M * N, 1, -2, 2), *dy = draw(number[1], M * N, 2, -1, 1), *dx = number[2];
        double *dw = number[4], *db = number[5], xhat[GRAD_SIZE];
        const double *w = draw(number[3], N, 3, 0.5, 2);
        memset(dw, 0, GRAD_SIZE * sizeof *dw);
        memset(db, 0, GRAD_SIZE * sizeof *db);
        norm_b = NULL;
        for (int64_t i = 0; i < M; i++) {
            norm_w = k == 1 ? w : NULL;
            difference(layer_norm_row, N, N, x + i * N, dy + i * N, dx + i * N);
            norm_w = NULL;
            layer_norm_row(N, x + i * N, xhat);
            for (int64_t j = 0; j < N; j++) {
                dw[j] += dy[i * N + j] * xhat[j];
                db[j] += dy[i * N + j];
            }
        }
        void *weight = k == 1 ? put(&s, memory[2], N, w) : NULL;
        put(&s, memory[0], M * N, x);
        put(&s, memory[1], M * N, dy);
        s.k->layer_norm(AG_TEAM(1), &(ag_norm_args){ M, N, .eps = 1e-5, .x = memory[0], .w = weight, .y = memory[3],
            .mean = memory[4], .rstd = memory[5] });
        ck_assert(s.k->norm_vjp_scratch(M, N) <= sizeof scratch);
        s.k->layer_norm_vjp(AG_TEAM(1), &(ag_norm_args){ M, N, .x = memory[0], .w = weight, .mean = memory[4],
            .rstd = memory[5], .dy = memory[1], .dx = memory[3], .dw = memory[6], .db = memory[7],
            .scratch = scratch });
        expect(&s, "layer_norm dx", M * N, memory[3], dx, 16, 1e-8);
        expect(&s, "layer_norm dw", N, memory[6], dw, 16, 1e-12);
        expect(&s, "layer_norm db", N, memory[7], db, 16, 1e-12);
        s.k->layer_norm_vjp(AG_TEAM(1), &(ag_norm_args){ M, N, .x = memory[0], .w = weight, .mean = memory[4],
            .rstd = memory[5], .dy = memory[1], .add = true, .dx = memory[3], .scratch = scratch });
        for (int64_t i = 0; i < M * N; i++)
            dx[i] *= 2;
        expect(&s, "layer_norm dx, added", M * N, memory[3], dx, 16, 1e-8);
    }
}
END_TEST

START_TEST(layer_norm_gradients_do_not_depend_on_threads)
{
    static double scratch[2 * MOST];
    setting s;
    if (!setting_at(_i, &s))
        return;
    const int64_t M = 301, N = 65;
    put(&s, memory[0], M * N, draw(number[0], M * N, 1, -2, 2));
    put(&s, memory[1], M * N, draw(number[0], M * N, 2, -1, 1));
    put(&s, memory[2], N, draw(number[0], N, 3, -1, 1));
    s.k->layer_norm(AG_TEAM(1), &(ag_norm_args){ M, N, .eps = 1e-5, .x = memory[0], .w = memory[2], .y = memory[3],
        .mean = memory[4], .rstd = memory[5] });
    double *dw = number[1], *db = number[2], *dx = number[3];
    for (int threads = 1; threads <= 3; threads++) {
        s.k->layer_norm_vjp(AG_TEAM(threads), &(ag_norm_args){ M, N, .x = memory[0], .w = memory[2],
            .mean = memory[4], .rstd = memory[5], .dy = memory[1], .dx = threads == 1 ? memory[6] : dx,
            .dw = threads == 1 ? memory[7] : dw, .db = threads == 1 ? memory[7] + N : db, .scratch = scratch });
        if (threads == 1)
            continue;
        expect_same_bits(&s, "layer_norm dx", M * N, memory[6], dx);
        expect_same_bits(&s, "layer_norm dw", N, memory[7], dw);
        expect_same_bits(&s, "layer_norm db", N, memory[7] + N, db);
    }
}
END_TEST

/* ---- rms_norm -------------------------------------------------------------------------------- */

static double rms_eps;

static void rms_norm_row(int64_t N, const double *x, double *y)
{
    double mean = 0;
    for (int64_t j = 0; j < N; j++)
        mean += x[j] * x[j] / (double)N;
    for (int64_t j = 0; j < N; j++)
        y[j] = x[j] / sqrt(mean + rms_eps) * (norm_w != NULL ? norm_w[j] : 1);
}

START_TEST(rms_norm_matches_its_formula)
{
    setting s;
    if (!setting_at(_i / ROW_SIZES, &s))
        return;
    const int64_t M = row_sizes[_i % ROW_SIZES][0], N = row_sizes[_i % ROW_SIZES][1];
    const double *w = draw(number[1], N, 2, 0.5, 2);
    put(&s, memory[1], N, w);
    /* Ordinary rows, rows far from 0, rows whose squares float has not: too small, too large. */
    static const double scales[] = { 1, 1e4, 1e-25, 1e25 };
    for (int k = 0; k < 8; k++) {
        double *x = draw(number[0], M * N, 1, (k / 2 == 1 ? 0.5 : -2) * scales[k / 2], 2 * scales[k / 2]);
        rms_eps = k / 2 == 0 ? 1e-5 : 0;
        norm_w = k % 2 == 1 ? w : NULL;
        for (int64_t i = 0; i < M; i++)
            rms_norm_row(N, x + i * N, number[3] + i * N);
        put(&s, memory[0], M * N, x);
        for (int threads = 1; threads <= 3; threads += 2)
            s.k->rms_norm(AG_TEAM(threads), &(ag_norm_args){ M, N, .eps = rms_eps, .x = memory[0],
                .w = norm_w != NULL ? memory[1] : NULL, .y = memory[threads == 1 ? 3 : 4], .rstd = memory[5] });
        expect(&s, "rms_norm", M * N, memory[3], number[3], 4, 1e-13); /* the sum of squares here is plain */
        expect_same_bits(&s, "rms_norm", M * N, memory[3], memory[4]);
    }
}
END_TEST

START_TEST(rms_norm_gradients_match_differences)
{
    static double scratch[2 * MOST];
    setting s;
    if (!setting_at(_i, &s))
        return;
    for (int k = 0; k < 2; k++) { /* without and with w; M over several row blocks */
        const int64_t M = 40, N = GRAD_SIZE;
        double *x = draw(number[0], M * N, 1, -2, 2), *dy = draw(number[1], M * N, 2, -1, 1), *dx = number[2];
        double *dw = number[4], xhat[GRAD_SIZE];
        const double *w = draw(number[3], N, 3, 0.5, 2);
        memset(dw, 0, GRAD_SIZE * sizeof *dw);
        rms_eps = 1e-5;
        for (int64_t i = 0; i < M; i++) {
            norm_w = k == 1 ? w : NULL;
            difference(rms_norm_row, N, N, x + i * N, dy + i * N, dx + i * N);
            norm_w = NULL;
            rms_norm_row(N, x + i * N, xhat);
            for (int64_t j = 0; j < N; j++)
                dw[j] += dy[i * N + j] * xhat[j];
        }
        void *weight = k == 1 ? put(&s, memory[2], N, w) : NULL;
        put(&s, memory[0], M * N, x);
        put(&s, memory[1], M * N, dy);
        s.k->rms_norm(AG_TEAM(1), &(ag_norm_args){ M, N, .eps = rms_eps, .x = memory[0], .w = weight, .y = memory[3],
            .rstd = memory[5] });
        ck_assert(s.k->norm_vjp_scratch(M, N) <= sizeof scratch);
        s.k->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ M, N, .x = memory[0], .w = weight, .rstd = memory[5],
            .dy = memory[1], .dx = memory[3], .dw = memory[6], .scratch = scratch });
        expect(&s, "rms_norm dx", M * N, memory[3], dx, 16, 1e-8);
        expect(&s, "rms_norm dw", N, memory[6], dw, 16, 1e-12);
        s.k->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ M, N, .x = memory[0], .w = weight, .rstd = memory[5],
            .dy = memory[1], .dw = memory[4], .scratch = scratch });
        expect_same_bits(&s, "rms_norm dw alone", N, memory[6], memory[4]);
        s.k->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ M, N, .x = memory[0], .w = weight, .rstd = memory[5],
            .dy = memory[1], .dx = memory[4] });
        expect_same_bits(&s, "rms_norm dx alone", M * N, memory[3], memory[4]);
        s.k->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ M, N, .x = memory[0], .w = weight, .rstd = memory[5],
            .dy = memory[1], .add = true, .dx = memory[3] });
        for (int64_t i = 0; i < M * N; i++)
            dx[i] *= 2;
        expect(&s, "rms_norm dx, added", M * N, memory[3], dx, 16, 1e-8);
    }
}
END_TEST

/* The gradient of a tiny row is as much larger as the row is smaller. */
START_TEST(rms_norm_gradients_of_tiny_rows)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    const int64_t N = 37;
    const double scale = 0x1p-80;
    double *x = draw(number[0], N, 1, -2, 2), *dy = draw(number[1], N, 2, -1, 1), *dx = number[2];
    put(&s, memory[1], N, dy);
    for (int tiny = 0; tiny < 2; tiny++) {
        for (int64_t j = 0; j < N; j++)
            number[3][j] = x[j] * (tiny ? scale : 1);
        put(&s, memory[0], N, number[3]);
        s.k->rms_norm(AG_TEAM(1), &(ag_norm_args){ 1, N, .eps = 0, .x = memory[0], .y = memory[2], .rstd = memory[3] });
        s.k->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ 1, N, .x = memory[0], .rstd = memory[3], .dy = memory[1],
            .dx = memory[4 + tiny] });
    }
    for (int64_t j = 0; j < N; j++) {
        dx[j] = at(&s, memory[4], j);
        number[4][j] = at(&s, memory[5], j) * scale;
    }
    put(&s, memory[6], N, number[4]);
    expect(&s, "rms_norm dx of a tiny row", N, memory[6], dx, 4, 0);
}
END_TEST

START_TEST(rms_norm_gradients_do_not_depend_on_threads)
{
    static double scratch[2 * MOST];
    setting s;
    if (!setting_at(_i, &s))
        return;
    const int64_t M = 301, N = 65;
    put(&s, memory[0], M * N, draw(number[0], M * N, 1, -2, 2));
    put(&s, memory[1], M * N, draw(number[0], M * N, 2, -1, 1));
    put(&s, memory[2], N, draw(number[0], N, 3, -1, 1));
    s.k->rms_norm(AG_TEAM(1), &(ag_norm_args){ M, N, .eps = 1e-5, .x = memory[0], .w = memory[2], .y = memory[3],
        .rstd = memory[5] });
    double *dw = number[1], *dx = number[3];
    for (int threads = 1; threads <= 3; threads++) {
        s.k->rms_norm_vjp(AG_TEAM(threads), &(ag_norm_args){ M, N, .x = memory[0], .w = memory[2], .rstd = memory[5],
            .dy = memory[1], .dx = threads == 1 ? memory[6] : dx, .dw = threads == 1 ? memory[7] : dw,
            .scratch = scratch });
        if (threads == 1)
            continue;
        expect_same_bits(&s, "rms_norm dx", M * N, memory[6], dx);
        expect_same_bits(&s, "rms_norm dw", N, memory[7], dw);
    }
}
END_TEST

/* ---- cross_entropy --------------------------------------------------------------------------- */

START_TEST(cross_entropy_matches_its_formula)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    enum { M = 200, V = 65, IGNORE = -100 };
    int32_t target[M];
    for (int i = 0; i < M; i++)
        target[i] = i % 7 == 3 ? IGNORE : i % V;
    for (int k = 0; k < 3; k++) {
        const double smoothing = k == 1 ? 0.1 : 0, dloss = 0.75;
        double *x = draw(number[0], (int64_t)M * V, 1, -3, 3), *loss = number[1], *dx = number[2], p[V];
        for (int64_t i = 0; i < (int64_t)M * V; i++)
            x[i] = (double)(float)(x[i] - (k == 2 ? 20000 : 0));
        for (int i = 0; i < M; i++) {
            softmax_row(V, x + i * V, p);
            loss[i] = 0;
            for (int v = 0; v < V; v++) {
                const double q = (v == target[i] ? 1 - smoothing : 0) + smoothing / V;
                loss[i] -= target[i] == IGNORE || q == 0 ? 0 : q * log(p[v]);
                dx[i * V + v] = target[i] == IGNORE ? 0 : dloss * (p[v] - q);
            }
        }
        put(&s, memory[0], (int64_t)M * V, x);
        const double total = s.k->cross_entropy(AG_TEAM(1), &(ag_cross_entropy_args){ M, V, .logits = memory[0],
            .target = target, .ignore = IGNORE, .smoothing = smoothing, .dloss = dloss, .loss = memory[1],
            .dlogits = memory[3] });
        expect(&s, "cross_entropy", M, memory[1], loss, 4, 0);
        expect(&s, "cross_entropy dx", (int64_t)M * V, memory[3], dx, 8, 0);
        double sum = 0;
        for (int i = 0; i < M; i++)
            sum += at(&s, memory[1], i);
        ck_assert_double_eq(total, sum);
        for (int i = 0; i < M * V; i++)
            ck_assert(target[i / V] != IGNORE || at(&s, memory[3], i) == 0);
        for (int threads = 2; threads <= 3; threads++) {
            s.k->cross_entropy(AG_TEAM(threads), &(ag_cross_entropy_args){ M, V, .logits = memory[0],
                .target = target, .ignore = IGNORE, .smoothing = smoothing, .dloss = dloss, .loss = memory[4],
                .dlogits = memory[5] });
            expect_same_bits(&s, "cross_entropy", M, memory[1], memory[4]);
            expect_same_bits(&s, "cross_entropy dx", (int64_t)M * V, memory[3], memory[5]);
        }
        s.k->cross_entropy(AG_TEAM(1), &(ag_cross_entropy_args){ M, V, .logits = memory[0], .target = target,
            .ignore = IGNORE, .smoothing = smoothing, .dloss = dloss, .loss = memory[4] });
        expect_same_bits(&s, "cross_entropy alone", M, memory[1], memory[4]);
    }
}
END_TEST

Suite *rows_suite(void)
{
    Suite *suite = suite_create("rows");
    TCase *tests = tcase_create("rows");
    tcase_add_loop_test(tests, reductions_match_their_formulas, 0, MIDDLES * SETTINGS);
    tcase_add_loop_test(tests, max_passes_nan_on, 0, SETTINGS);
    tcase_add_loop_test(tests, softmax_family_matches_formulas, 0, ROW_SIZES * SETTINGS);
    tcase_add_loop_test(tests, softmax_family_gradients_match_differences, 0, SETTINGS);
    tcase_add_loop_test(tests, softmax_family_at_special_rows, 0, SETTINGS);
    tcase_add_loop_test(tests, layer_norm_matches_its_formula, 0, ROW_SIZES * SETTINGS);
    tcase_add_loop_test(tests, layer_norm_of_a_constant_row_is_the_bias, 0, SETTINGS);
    tcase_add_loop_test(tests, layer_norm_gradients_match_differences, 0, SETTINGS);
    tcase_add_loop_test(tests, layer_norm_gradients_do_not_depend_on_threads, 0, SETTINGS);
    tcase_add_loop_test(tests, rms_norm_matches_its_formula, 0, ROW_SIZES * SETTINGS);
    tcase_add_loop_test(tests, rms_norm_gradients_match_differences, 0, SETTINGS);
    tcase_add_loop_test(tests, rms_norm_gradients_of_tiny_rows, 0, SETTINGS);
    tcase_add_loop_test(tests, rms_norm_gradients_do_not_depend_on_threads, 0, SETTINGS);
    tcase_add_loop_test(tests, cross_entropy_matches_its_formula, 0, SETTINGS);
    suite_add_tcase(suite, tests);
    return suite;
}
