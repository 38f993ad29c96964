/* SPDX-License-Identifier: MIT
 *
 * check_accuracy_rows.c - the bounds of sums, maxima, softmax and its kin, cross-entropy and the normalisations. See
 * check_accuracy.h. Sums along a row go by 16 lanes; so a term's worst share grows with a sixteenth of the row.
 */
#include "tests/tensor/kernels/check_accuracy.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Inputs: M rows of N. -------------------------------------------------------------------- */

typedef struct shape {
    int64_t M, N;
} shape;

static const shape ordinary[] = { { 64, 1 }, { 257, 65 }, { 48, 1536 }, { 3, 100003 } };
enum { ORDINARY = (int)(sizeof ordinary / sizeof *ordinary) };

typedef enum special_rows { WIDE, FAR, TIES, MASKED, TINY, CANCELLING, SPECIALS } special_rows;
static const char *const special_name[] = { "wide", "far from 0", "near ties", "with -inf", "tiny", "cancelling" };

static numbers draw_special(accuracy *a, special_rows kind, shape s)
{
    numbers x = draw_uniform(a, s.M * s.N, 9, -4, 4);
    for (int64_t i = 0; i < s.M * s.N; i++) {
        const double v = x.f64[i];
        const double partner = i % 2 == 1 ? -x.f64[i - 1] * (1 + 0x1p-20) : v * 1000;
        set_number(x, i, kind == WIDE         ? v * 25
                         : kind == FAR        ? v + 20000
                         : kind == TIES       ? 3 + floor(v) * 0x1p-22
                         : kind == MASKED     ? (i % 3 == 1 ? -HUGE_VAL : v)
                         : kind == TINY       ? v * 0x1p-70
                                              : partner);
    }
    return x;
}

/* ---- Reductions ------------------------------------------------------------------------------ */

/* x[A,R,B] over R. A contiguous row: 16 lanes of blocks of 4096, columns: chains of 256; then double, and one rounding
 * to float32. */
static void one_sum(accuracy *a, const char *input, bool random, int64_t A, int64_t R, int64_t B, numbers x)
{
    numbers y = take_numbers(a, A * B);
    bound *bounds = take_bounds(a, A * B);
    const sum_order along = lanes_of(R < 4096 ? R : 4096), down = { .chain = (double)(R < 256 ? R : 256) };
    a->f32->sum(AG_TEAM(1), A, R, B, x.f32, y.f32);
    a->f64->sum(AG_TEAM(1), A, R, B, x.f64, y.f64);
    for (int64_t i = 0; i < A * B; i++) {
        terms t = { 0 };
        for (int64_t r = 0; r < R; r++)
            add_term(&t, x.f64[(i / B * R + r) * B + i % B]);
        bounds[i] = plus(sum_bound(B == 1 ? along : down, t), rounding(y.f64[i]));
    }
    judge(a, input, random ? A * B : 0, A * B, y.f32, y.f64, bounds);
}

static void sum(accuracy *a)
{
    static const int64_t sizes[][3] = { { 300, 17, 1 }, { 100, 4097, 1 }, { 12, 100003, 1 }, { 1, 100003, 1 },
                                        { 2, 1000, 100 }, { 1, 20000, 33 } };
    for (int k = 0; k < (int)(sizeof sizes / sizeof *sizes); k++) {
        const int64_t A = sizes[k][0], R = sizes[k][1], B = sizes[k][2];
        one_sum(a, "either sign", A * B > 1, A, R, B, draw_uniform(a, A * R * B, 1, -1, 1));
        one_sum(a, "positive", A * B > 1, A, R, B, draw_uniform(a, A * R * B, 2, 0, 1));
    }
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        one_sum(a, special_name[kind], false, 20, 5003, 1, draw_special(a, kind, (shape){ 20, 5003 }));
}

static void max(accuracy *a)
{
    enum { A = 100, R = 1003 };
    for (special_rows kind = 0; kind < SPECIALS; kind++) {
        const numbers x = draw_special(a, kind, (shape){ A, R });
        numbers y = take_numbers(a, A);
        a->f32->max(AG_TEAM(1), A, R, 1, x.f32, y.f32);
        a->f64->max(AG_TEAM(1), A, R, 1, x.f64, y.f64);
        judge(a, special_name[kind], 0, A, y.f32, y.f64, take_bounds(a, A));
    }
}

/* A double: the squares of floats are exact in it, and its rounding is 2^-29 of UNIT. What is compared with has the
 * same error, so twice a chain's. */
static void sum_squares(accuracy *a)
{
    static const int64_t sizes[] = { 1, 1000, 100003 };
    for (int k = 0; k < 3; k++) {
        const numbers x = draw_magnitudes(a, sizes[k], 3, true, 0x1p-70, 0x1p70);
        const double got = a->f32->sum_squares(AG_TEAM(1), sizes[k], x.f32);
        const double want = a->f64->sum_squares(AG_TEAM(1), sizes[k], x.f64);
        const float rest = (float)((got - want) * 0x1p29 / want); /* in units that float32 can hold */
        const bound b = { 2 * 321 * UNIT, 0 };
        judge(a, "magnitudes", 0, 1, &rest, &(double){ 0 }, &b);
    }
}

/* ---- softmax and its kin --------------------------------------------------------------------- */

/* What a row's exponentials and their sum are: m the maximum, p their shares, `of_sum` the relative error of the sum:
 * the differences x - m, exp, the lanes. */
typedef struct soft_row {
    double m, log_sum;
    bound of_sum;
} soft_row;

static soft_row soften(int64_t N, const double *x)
{
    soft_row s = { -HUGE_VAL, 0, { 0, 0 } };
    terms t = { 0 };
    bound b = { 0, 0 };
    for (int64_t j = 0; j < N; j++)
        s.m = fmax(s.m, x[j]);
    if (s.m == -HUGE_VAL)
        return s;
    for (int64_t j = 0; j < N; j++) {
        const double e = exp(x[j] - s.m);
        add_term(&t, e);
        if (e > 0)
            b = plus(b, plus(rounding((x[j] - s.m) * e), rounding(EXP * e)));
    }
    s.of_sum = times(plus(b, sum_bound(lanes_of(N), t)), 1 / t.sum);
    s.log_sum = log(t.sum);
    return s;
}

/* y = exp(x - m) (1 / sum): difference, exp, sum, division, product. */
static bound softmax_element(const soft_row *s, double x, double y)
{
    if (y == 0)
        return (bound){ 0, 0 };
    bound b = plus(plus(rounding(x - s->m), rounding(EXP)), plus(s->of_sum, plus(rounding(1), rounding(1))));
    return times(b, y);
}

/* (x - m) - log sum: both differences, log. */
static bound log_softmax_element(const soft_row *s, double x, double y)
{
    if (isinf(x))
        return (bound){ 0, 0 };
    return plus(plus(rounding(x - s->m), rounding(y)), plus(s->of_sum, rounding(LOG * s->log_sum)));
}

static void one_softmax(accuracy *a, const char *input, bool random, shape s, numbers x)
{
    const bool logarithm = a->row->field == offsetof(ag_real_kernels, log_softmax);
    numbers y = take_numbers(a, s.M * s.N);
    bound *bounds = take_bounds(a, s.M * s.N);
    (logarithm ? a->f32->log_softmax : a->f32->softmax)(AG_TEAM(1), s.M, s.N, x.f32, y.f32);
    (logarithm ? a->f64->log_softmax : a->f64->softmax)(AG_TEAM(1), s.M, s.N, x.f64, y.f64);
    for (int64_t i = 0; i < s.M; i++) {
        const soft_row row = soften(s.N, x.f64 + i * s.N);
        for (int64_t j = i * s.N; j < (i + 1) * s.N; j++)
            bounds[j] = (logarithm ? log_softmax_element : softmax_element)(&row, x.f64[j], y.f64[j]);
    }
    judge(a, input, random ? s.M : 0, s.M * s.N, y.f32, y.f64, bounds);
}

static void softmax(accuracy *a)
{
    for (int k = 0; k < ORDINARY; k++)
        one_softmax(a, "uniform", true, ordinary[k], draw_uniform(a, ordinary[k].M * ordinary[k].N, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        one_softmax(a, special_name[kind], false, (shape){ 20, 1003 }, draw_special(a, kind, (shape){ 20, 1003 }));
}

static void one_logsumexp(accuracy *a, const char *input, bool random, shape s, numbers x)
{
    numbers y = take_numbers(a, s.M);
    bound *bounds = take_bounds(a, s.M);
    a->f32->logsumexp(AG_TEAM(1), s.M, s.N, x.f32, y.f32);
    a->f64->logsumexp(AG_TEAM(1), s.M, s.N, x.f64, y.f64);
    for (int64_t i = 0; i < s.M; i++) {
        const soft_row row = soften(s.N, x.f64 + i * s.N);
        bounds[i] = plus(plus(row.of_sum, rounding(LOG * row.log_sum)), rounding(y.f64[i]));
    }
    judge(a, input, random ? s.M : 0, s.M, y.f32, y.f64, bounds);
}

static void logsumexp(accuracy *a)
{
    static const shape shapes[] = { { 1000, 7 }, { 257, 65 }, { 100, 1536 }, { 6, 100003 } };
    for (int k = 0; k < 4; k++)
        one_logsumexp(a, "uniform", true, shapes[k], draw_uniform(a, shapes[k].M * shapes[k].N, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        one_logsumexp(a, special_name[kind], false, (shape){ 20, 1003 }, draw_special(a, kind, (shape){ 20, 1003 }));
}

/* softmax: y (dy - dot): dot's products and lanes; difference; product.
 * log_softmax: dy - exp(y) total: total's blocks and its rounding, exp, product; difference. */
static void one_softmax_vjp(accuracy *a, const char *input, bool random, shape s, numbers x, numbers dy)
{
    const bool logarithm = a->row->field == offsetof(ag_real_kernels, log_softmax_vjp);
    numbers y = take_numbers(a, s.M * s.N), dx = take_numbers(a, s.M * s.N);
    bound *bounds = take_bounds(a, s.M * s.N);
    (logarithm ? a->f32->log_softmax : a->f32->softmax)(AG_TEAM(1), s.M, s.N, x.f32, y.f32);
    y = widened(y);
    (logarithm ? a->f32->log_softmax_vjp : a->f32->softmax_vjp)(AG_TEAM(1), s.M, s.N, y.f32, dy.f32, dx.f32);
    (logarithm ? a->f64->log_softmax_vjp : a->f64->softmax_vjp)(AG_TEAM(1), s.M, s.N, y.f64, dy.f64, dx.f64);
    for (int64_t i = 0; i < s.M; i++) {
        const double *ys = y.f64 + i * s.N, *dys = dy.f64 + i * s.N, *dxs = dx.f64 + i * s.N;
        terms t = { 0 };
        for (int64_t j = 0; j < s.N; j++)
            add_term(&t, logarithm ? dys[j] : ys[j] * dys[j]);
        bound of_sum = plus(sum_bound(lanes_of(logarithm && s.N > 4096 ? 4096 : s.N), t),
                            (bound){ t.size * UNIT, t.squares * UNIT * UNIT / 3 });
        if (logarithm)
            of_sum = plus(of_sum, rounding(t.sum));
        for (int64_t j = 0; j < s.N; j++) {
            const double p = logarithm ? exp(ys[j]) : ys[j], part = p * t.sum;
            const bound rest = logarithm ? plus(rounding(EXP * part), rounding(part)) : rounding(dxs[j]);
            bounds[i * s.N + j] = plus(times(of_sum, p), plus(rest, rounding(dxs[j])));
        }
    }
    judge(a, input, random ? s.M : 0, s.M * s.N, dx.f32, dx.f64, bounds);
}

static void softmax_vjp(accuracy *a)
{
    for (int k = 0; k < ORDINARY; k++) {
        const int64_t n = ordinary[k].M * ordinary[k].N;
        one_softmax_vjp(a, "uniform", true, ordinary[k], draw_uniform(a, n, 1, -4, 4), draw_uniform(a, n, 2, -1, 1));
    }
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        one_softmax_vjp(a, special_name[kind], false, (shape){ 20, 1003 }, draw_special(a, kind, (shape){ 20, 1003 }),
                        draw_special(a, CANCELLING, (shape){ 20, 1003 }));
}

/* dy exp(x - y): difference, exp, product. */
static void one_logsumexp_vjp(accuracy *a, const char *input, bool random, shape s, numbers x)
{
    numbers y = take_numbers(a, s.M), dx = take_numbers(a, s.M * s.N), dy = draw_uniform(a, s.M, 2, -1, 1);
    bound *bounds = take_bounds(a, s.M * s.N);
    a->f32->logsumexp(AG_TEAM(1), s.M, s.N, x.f32, y.f32);
    y = widened(y);
    a->f32->logsumexp_vjp(AG_TEAM(1), s.M, s.N, x.f32, y.f32, dy.f32, dx.f32);
    a->f64->logsumexp_vjp(AG_TEAM(1), s.M, s.N, x.f64, y.f64, dy.f64, dx.f64);
    for (int64_t i = 0; i < s.M * s.N; i++)
        if (dx.f64[i] != 0)
            bounds[i] = times(plus(rounding(x.f64[i] - y.f64[i / s.N]), plus(rounding(EXP), rounding(1))), dx.f64[i]);
    judge(a, input, random ? s.M : 0, s.M * s.N, dx.f32, dx.f64, bounds);
}

static void logsumexp_vjp(accuracy *a)
{
    one_logsumexp_vjp(a, "uniform", true, (shape){ 257, 65 }, draw_uniform(a, 257 * 65, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        one_logsumexp_vjp(a, special_name[kind], false, (shape){ 20, 1003 },
                          draw_special(a, kind, (shape){ 20, 1003 }));
}

/* ---- cross_entropy --------------------------------------------------------------------------- */

/* log sum + (1-s) (m - x[t]) + s/V sum (m - x): as for log-sum-exp; of the target's part constant, difference and
 * product; of the smoothing's, summed in double, differences and the rounding; two sums of what is positive. */
static bound cross_entropy_element(int64_t V, const double *x, int32_t target, double smoothing, double loss)
{
    const soft_row row = soften(V, x);
    terms below = { 0 };
    for (int64_t v = 0; v < V; v++)
        add_term(&below, row.m - x[v]);
    const double share = smoothing / (double)V, chosen = (1 - smoothing) * (row.m - x[target]);
    bound b = plus(row.of_sum, rounding(LOG * row.log_sum));
    b = plus(b, times(rounding(chosen), smoothing > 0 ? 3 : 1)); /* without smoothing the factor is 1 */
    if (smoothing > 0) {
        b = plus(b, (bound){ share * below.size * UNIT, share * share * below.squares * UNIT * UNIT / 3 });
        b = plus(b, plus(rounding(share * below.sum), rounding(loss)));
    }
    return plus(b, rounding(loss));
}

/* dloss (softmax - s/V, and at the target - (1-s)): constants, differences, dloss, product. */
static bound cross_entropy_slope(const soft_row *s, double x, double floor, double target, double dloss, double dx)
{
    const double p = exp(x - s->m - s->log_sum);
    bound b = softmax_element(s, x, p);
    if (floor > 0)
        b = plus(b, plus(plus(rounding(floor), rounding(p - floor)), rounding(target)));
    return plus(plus(times(b, dloss), rounding(dx)), plus(rounding(dx), rounding(target == 0 ? 0 : dx)));
}

static void one_cross_entropy(accuracy *a, const char *input, bool random, shape s, double smoothing, numbers x)
{
    numbers loss = take_numbers(a, s.M), dx = take_numbers(a, s.M * s.N);
    bound *bounds = take_bounds(a, s.M), *of_dx = take_bounds(a, s.M * s.N);
    int32_t *target = take(a, (size_t)s.M * sizeof *target);
    const double dloss = 1.0 / 3 / (double)s.M, floor = smoothing / (double)s.N;
    for (int64_t i = 0; i < s.M; i++)
        target[i] = i % 5 == 4 ? -1 : (int32_t)(i * 7 % s.N);
    a->f32->cross_entropy(AG_TEAM(1), &(ag_cross_entropy_args){ s.M, s.N, .logits = x.f32, .target = target,
        .ignore = -1, .smoothing = smoothing, .dloss = dloss, .loss = loss.f32, .dlogits = dx.f32 });
    a->f64->cross_entropy(AG_TEAM(1), &(ag_cross_entropy_args){ s.M, s.N, .logits = x.f64, .target = target,
        .ignore = -1, .smoothing = smoothing, .dloss = dloss, .loss = loss.f64, .dlogits = dx.f64 });
    for (int64_t i = 0; i < s.M; i++) {
        if (target[i] < 0)
            continue;
        const soft_row row = soften(s.N, x.f64 + i * s.N);
        bounds[i] = cross_entropy_element(s.N, x.f64 + i * s.N, target[i], smoothing, loss.f64[i]);
        for (int64_t v = 0, j = i * s.N; v < s.N; v++, j++)
            of_dx[j] = cross_entropy_slope(&row, x.f64[j], floor, v == target[i] ? 1 - smoothing : 0, dloss,
                                           dx.f64[j]);
    }
    judge(a, input, random ? s.M : 0, s.M, loss.f32, loss.f64, bounds);
    judge(a, "dx", random ? s.M : 0, s.M * s.N, dx.f32, dx.f64, of_dx);
}

static void cross_entropy(accuracy *a)
{
    static const shape shapes[] = { { 1000, 7 }, { 257, 65 }, { 100, 1536 }, { 8, 50257 } };
    for (int k = 0; k < 4; k++)
        for (int smooth = 0; smooth < 2; smooth++)
            one_cross_entropy(a, smooth ? "uniform, smoothed" : "uniform", true, shapes[k], smooth * 0.5,
                              draw_uniform(a, shapes[k].M * shapes[k].N, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        for (int smooth = 0; kind != MASKED && smooth < 2; smooth++)
            one_cross_entropy(a, special_name[kind], false, (shape){ 20, 1003 }, smooth * 0.5,
                              draw_special(a, kind, (shape){ 20, 1003 }));
}

/* ---- layer_norm ------------------------------------------------------------------------------ */

/* The mean is x0 + offset, offset = sum (x - x0) / N. Errors: of offset, and of rstd relative to it. */
typedef struct norm_row {
    double offset, rstd;
    bound of_offset, of_rstd;
} norm_row;

/* offset: differences, lanes, division. The variance: each deviation's two differences, which count twice in its
 * square, the square, lanes, division; sum with eps; half of all that for the root, which rounds itself; division. */
static norm_row normalise(int64_t N, const double *x, double eps)
{
    const double count = (double)N;
    norm_row r = { 0, 0, { 0, 0 }, { 0, 0 } };
    terms differences = { 0 }, squares = { 0 };
    for (int64_t j = 0; j < N; j++)
        add_term(&differences, x[j] - x[0]);
    r.offset = differences.sum / count;
    r.of_offset = plus(sum_bound(lanes_of(N), differences),
                       (bound){ differences.size * UNIT, differences.squares * UNIT * UNIT / 3 });
    r.of_offset = plus(times(r.of_offset, 1 / count), rounding(r.offset));
    bound b = { 0, 0 };
    for (int64_t j = 0; j < N; j++) {
        const double dev = x[j] - x[0] - r.offset;
        add_term(&squares, dev * dev);
        b = plus(b, plus(plus(rounding(2 * dev * (x[j] - x[0])), rounding(2 * dev * dev)), rounding(dev * dev)));
    }
    const double total = squares.sum / count + eps;
    b = plus(times(plus(b, sum_bound(lanes_of(N), squares)), 1 / count), rounding(squares.sum / count));
    b.worst += r.of_offset.worst * r.of_offset.worst;
    b = times(plus(b, plus(rounding(total), rounding(eps))), 0.5 / total);
    r.of_rstd = plus(b, plus(rounding(1), rounding(1)));
    r.rstd = 1 / sqrt(total);
    return r;
}

static void one_layer_norm(accuracy *a, const char *input, bool random, shape s, bool scaled, numbers x)
{
    const double eps = 1e-5;
    const numbers w = draw_uniform(a, s.N, 11, -2, 2), b = draw_uniform(a, s.N, 12, -1, 1);
    numbers y = take_numbers(a, s.M * s.N), mean = take_numbers(a, s.M), rstd = take_numbers(a, s.M);
    bound *bounds = take_bounds(a, s.M * s.N), *of_mean = take_bounds(a, s.M), *of_rstd = take_bounds(a, s.M);
    a->f32->layer_norm(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .eps = eps, .x = x.f32, .w = scaled ? w.f32 : NULL,
        .b = scaled ? b.f32 : NULL, .y = y.f32, .mean = mean.f32, .rstd = rstd.f32 });
    a->f64->layer_norm(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .eps = eps, .x = x.f64, .w = scaled ? w.f64 : NULL,
        .b = scaled ? b.f64 : NULL, .y = y.f64, .mean = mean.f64, .rstd = rstd.f64 });
    for (int64_t i = 0; i < s.M; i++) {
        const double *row = x.f64 + i * s.N;
        const norm_row r = normalise(s.N, row, eps);
        of_mean[i] = plus(r.of_offset, rounding(mean.f64[i]));
        of_rstd[i] = times(r.of_rstd, r.rstd);
        for (int64_t j = 0; j < s.N; j++) {
            const double weight = scaled ? w.f64[j] : 1, dev = row[j] - row[0] - r.offset;
            const bound of_dev = plus(r.of_offset, plus(rounding(row[j] - row[0]), rounding(dev)));
            const double part = dev * r.rstd * weight;
            bound of_y = plus(times(of_dev, r.rstd * weight), plus(times(r.of_rstd, part), rounding(part)));
            if (scaled)
                of_y = plus(of_y, plus(rounding(part), rounding(y.f64[i * s.N + j])));
            bounds[i * s.N + j] = of_y;
        }
    }
    judge(a, input, random ? s.M : 0, s.M * s.N, y.f32, y.f64, bounds);
    judge(a, "mean", random ? s.M : 0, s.M, mean.f32, mean.f64, of_mean);
    judge(a, "rstd", random ? s.M : 0, s.M, rstd.f32, rstd.f64, of_rstd);
}

static const shape norm_shapes[] = { { 257, 65 }, { 100, 512 }, { 48, 1536 }, { 3, 100003 } };
enum { NORM_SHAPES = (int)(sizeof norm_shapes / sizeof *norm_shapes) };

static void layer_norm(accuracy *a)
{
    for (int k = 0; k < NORM_SHAPES; k++)
        one_layer_norm(a, "uniform", true, norm_shapes[k], k % 2 == 0,
                       draw_uniform(a, norm_shapes[k].M * norm_shapes[k].N, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        if (kind != MASKED)
            one_layer_norm(a, special_name[kind], false, (shape){ 20, 1003 }, true,
                           draw_special(a, kind, (shape){ 20, 1003 }));
    one_layer_norm(a, "constant", false, (shape){ 3, 65 }, true, draw_uniform(a, 3 * 65, 1, 0.3, 0.3));
}

/* ---- rms_norm: the mean square is taken in double, and rstd rounded once. --------------------- */

static void one_rms_norm(accuracy *a, const char *input, bool random, shape s, bool scaled, numbers x)
{
    const double eps = 1e-6;
    const numbers w = draw_uniform(a, s.N, 11, -2, 2);
    numbers y = take_numbers(a, s.M * s.N), rstd = take_numbers(a, s.M);
    bound *bounds = take_bounds(a, s.M * s.N), *of_rstd = take_bounds(a, s.M);
    a->f32->rms_norm(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .eps = eps, .x = x.f32, .w = scaled ? w.f32 : NULL,
        .y = y.f32, .rstd = rstd.f32 });
    a->f64->rms_norm(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .eps = eps, .x = x.f64, .w = scaled ? w.f64 : NULL,
        .y = y.f64, .rstd = rstd.f64 });
    for (int64_t i = 0; i < s.M; i++)
        of_rstd[i] = rounding(rstd.f64[i]);
    for (int64_t i = 0; i < s.M * s.N; i++) {
        const bound once = rounding(y.f64[i]);
        bounds[i] = scaled ? plus(plus(once, once), once) : plus(once, once);
    }
    judge(a, input, random ? s.M : 0, s.M * s.N, y.f32, y.f64, bounds);
    judge(a, "rstd", random ? s.M : 0, s.M, rstd.f32, rstd.f64, of_rstd);
}

static void rms_norm(accuracy *a)
{
    for (int k = 0; k < NORM_SHAPES; k++)
        one_rms_norm(a, "uniform", true, norm_shapes[k], k % 2 == 0,
                     draw_uniform(a, norm_shapes[k].M * norm_shapes[k].N, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        if (kind != MASKED)
            one_rms_norm(a, special_name[kind], false, (shape){ 20, 1003 }, true,
                         draw_special(a, kind, (shape){ 20, 1003 }));
}

/* ---- Gradients of both ----------------------------------------------------------------------- */

/* A row's dx = rstd (g - mean(g) - d slope), g = dy w, d = x - mean, slope = rstd^2 mean(g d); for rms_norm (mean_of
 * NULL) dx = rstd (g - xhat mean(g xhat)), d = x, without the mean of g. Roundings: g; d; both means' products, lanes,
 * division; two of slope's factors or xhat's; d slope; two differences; rstd. */
static void norm_dx(int64_t N, const double *x, const double *w, const double *mean_of, double rstd, const double *dy,
                    const double *dx, bound *of_dx)
{
    const bool centred = mean_of != NULL;
    const double mean = centred ? *mean_of : 0;
    const double count = (double)N;
    terms of_g = { 0 }, of_gd = { 0 };
    for (int64_t j = 0; j < N; j++) {
        add_term(&of_g, dy[j] * w[j]);
        add_term(&of_gd, dy[j] * w[j] * (x[j] - mean));
    }
    const double mean_g = centred ? of_g.sum / count : 0, slope = of_gd.sum / count * rstd * rstd;
    bound b_g = plus(sum_bound(lanes_of(N), of_g), (bound){ of_g.size * UNIT, of_g.squares * UNIT * UNIT / 3 });
    b_g = centred ? plus(times(b_g, 1 / count), rounding(mean_g)) : (bound){ 0, 0 };
    bound b_slope = plus(sum_bound(lanes_of(N), of_gd),
                         (bound){ 3 * of_gd.size * UNIT, 3 * of_gd.squares * UNIT * UNIT / 3 });
    b_slope = plus(times(b_slope, rstd * rstd / count), plus(rounding(slope), plus(rounding(slope), rounding(slope))));
    for (int64_t j = 0; j < N; j++) {
        const double g = dy[j] * w[j], d = x[j] - mean, part = d * slope;
        bound b = plus(plus(b_g, times(b_slope, d)), plus(rounding(g), rounding(part)));
        b = plus(b, plus(rounding(part), rounding(centred ? g - mean_g : 0)));
        b = plus(times(b, rstd), plus(rounding(dx[j]), rounding(dx[j])));
        of_dx[j] = b;
    }
}

/* dw = sum over rows of dy xhat: d, xhat and the product; rows in chains of max(8, M / 32), then double; the rounding.
 * db the same without products. */
static bound norm_dw(int64_t M, terms t, int products, double dw)
{
    const int64_t rows = (M + 31) / 32 > 8 ? (M + 31) / 32 : 8;
    const bound own = { products * t.size * UNIT, products * t.squares * UNIT * UNIT / 3 };
    return plus(plus(sum_bound((sum_order){ .chain = (double)(rows < M ? rows : M) }, t), own), rounding(dw));
}

typedef struct norm_gradient {
    shape s;
    numbers x, w, mean, rstd, dy, dx, dw, db;
} norm_gradient;

static void judge_norm_gradient(accuracy *a, const char *input, bool random, bool centred, const norm_gradient *n)
{
    const int64_t M = n->s.M, N = n->s.N;
    bound *of_dx = take_bounds(a, M * N), *of_dw = take_bounds(a, N), *of_db = take_bounds(a, N);
    for (int64_t i = 0; i < M; i++)
        norm_dx(N, n->x.f64 + i * N, n->w.f64, centred ? n->mean.f64 + i : NULL, n->rstd.f64[i],
                n->dy.f64 + i * N, n->dx.f64 + i * N, of_dx + i * N);
    for (int64_t j = 0; j < N; j++) {
        terms w = { 0 }, b = { 0 };
        for (int64_t i = 0; i < M; i++) {
            const double d = n->x.f64[i * N + j] - (centred ? n->mean.f64[i] : 0);
            add_term(&w, n->dy.f64[i * N + j] * d * n->rstd.f64[i]);
            add_term(&b, n->dy.f64[i * N + j]);
        }
        of_dw[j] = norm_dw(M, w, 3, n->dw.f64[j]);
        of_db[j] = norm_dw(M, b, 0, n->db.f64[j]);
    }
    judge(a, input, random ? M : 0, M * N, n->dx.f32, n->dx.f64, of_dx);
    judge(a, "dw", random ? N : 0, N, n->dw.f32, n->dw.f64, of_dw);
    if (centred)
        judge(a, "db", random ? N : 0, N, n->db.f32, n->db.f64, of_db);
}

/* In float32 and in float64; the forward's mean and rstd are float32's for both. */
static void one_norm_vjp(accuracy *a, const char *input, bool random, shape s, numbers x)
{
    const bool centred = a->row->field == offsetof(ag_real_kernels, layer_norm_vjp);
    norm_gradient n = { s, x, draw_uniform(a, s.N, 11, -2, 2), take_numbers(a, s.M), take_numbers(a, s.M),
                        draw_uniform(a, s.M * s.N, 13, -1, 1), take_numbers(a, s.M * s.N), take_numbers(a, s.N),
                        take_numbers(a, s.N) };
    float *y = take(a, (size_t)(s.M * s.N) * sizeof *y);
    void *scratch = take(a, a->f64->norm_vjp_scratch(s.M, s.N));
    if (centred)
        a->f32->layer_norm(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .eps = 1e-5, .x = x.f32, .y = y, .mean = n.mean.f32,
            .rstd = n.rstd.f32 });
    else
        a->f32->rms_norm(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .eps = 1e-5, .x = x.f32, .y = y, .rstd = n.rstd.f32 });
    n.mean = widened(n.mean);
    n.rstd = widened(n.rstd);
    if (centred) {
        a->f32->layer_norm_vjp(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .x = x.f32, .w = n.w.f32, .mean = n.mean.f32,
            .rstd = n.rstd.f32, .dy = n.dy.f32, .dx = n.dx.f32, .dw = n.dw.f32, .db = n.db.f32, .scratch = scratch });
        a->f64->layer_norm_vjp(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .x = x.f64, .w = n.w.f64, .mean = n.mean.f64,
            .rstd = n.rstd.f64, .dy = n.dy.f64, .dx = n.dx.f64, .dw = n.dw.f64, .db = n.db.f64, .scratch = scratch });
    } else {
        a->f32->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .x = x.f32, .w = n.w.f32, .rstd = n.rstd.f32,
            .dy = n.dy.f32, .dx = n.dx.f32, .dw = n.dw.f32, .scratch = scratch });
        a->f64->rms_norm_vjp(AG_TEAM(1), &(ag_norm_args){ s.M, s.N, .x = x.f64, .w = n.w.f64, .rstd = n.rstd.f64,
            .dy = n.dy.f64, .dx = n.dx.f64, .dw = n.dw.f64, .scratch = scratch });
    }
    judge_norm_gradient(a, input, random, centred, &n);
}

static void norm_vjp(accuracy *a)
{
    static const shape shapes[] = { { 257, 65 }, { 700, 33 }, { 48, 1536 }, { 2, 100003 } };
    for (int k = 0; k < 4; k++)
        one_norm_vjp(a, "uniform", true, shapes[k], draw_uniform(a, shapes[k].M * shapes[k].N, 1, -4, 4));
    for (special_rows kind = 0; kind < SPECIALS; kind++)
        if (kind != MASKED)
            one_norm_vjp(a, special_name[kind], false, (shape){ 20, 1003 }, draw_special(a, kind, (shape){ 20, 1003 }));
}

/* ---- The table ------------------------------------------------------------------------------- */

const accuracy_row accuracy_rows[] = {
    { KERNEL(sum), .measure = sum },
    { KERNEL(max), .measure = max },
    { KERNEL(sum_squares), .measure = sum_squares },
    { KERNEL(softmax), .measure = softmax },
    { KERNEL(log_softmax), .measure = softmax },
    { KERNEL(softmax_vjp), .measure = softmax_vjp },
    { KERNEL(log_softmax_vjp), .measure = softmax_vjp },
    { KERNEL(logsumexp), .measure = logsumexp },
    { KERNEL(logsumexp_vjp), .measure = logsumexp_vjp },
    { KERNEL(cross_entropy), .measure = cross_entropy },
    { KERNEL(layer_norm), .measure = layer_norm },
    { KERNEL(layer_norm_vjp), .measure = norm_vjp },
    { KERNEL(norm_vjp_scratch), .measure = NULL },
    { KERNEL(rms_norm), .measure = rms_norm },
    { KERNEL(rms_norm_vjp), .measure = norm_vjp },
};
const int accuracy_row_count = (int)(sizeof accuracy_rows / sizeof *accuracy_rows);
