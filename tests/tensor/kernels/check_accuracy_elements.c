/* SPDX-License-Identifier: MIT
 *
 * check_accuracy_elements.c - the bounds of kernels whose elements depend on few others: functions, their gradients,
 * arithmetic, choice, the ends of products, embedding, dropout, rope, optimizers. See check_accuracy.h.
 *
 * A bound function lists the roundings by their size; x and y are the exact input and result. A factor of the result
 * that is known to r roundings adds r times the result.
 */
#include "tests/tensor/kernels/check_accuracy.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { N = 10007 }; /* more than a grain, and no multiple of any vector */

static double ulp_of(double y)
{
    int exponent = 0;
    if (y == 0 || !isfinite(y))
        return 0x1p-149;
    frexp(y, &exponent);
    return ldexp(1, exponent - FLT_MANT_DIG < -149 ? -149 : exponent - FLT_MANT_DIG);
}

/* No typical part: single roundings come near to the worst. */
static bound ulps(double count, double y)
{
    return (bound){ count * ulp_of(y), 0 };
}

/* `count` roundings of one size. */
static bound roundings(int count, double size)
{
    const bound one = rounding(size);
    return (bound){ count * one.worst, count * one.square };
}

/* b plus the error of underflow, in units of FLT_MIN. */
static bound with_floor(bound b, double floor)
{
    return (bound){ b.worst + floor * (double)FLT_MIN, b.square + pow(floor * (double)FLT_MIN, 2) / 3 };
}

/* ---- Functions ------------------------------------------------------------------------------- */

static bound exact(const double *p, double x, double dy, double y)
{
    (void)p, (void)x, (void)dy, (void)y;
    return (bound){ 0, 0 };
}

/* p[0] ulps, of a kernel that has no parameters. */
static bound in_ulps(const double *p, double x, double dy, double y)
{
    (void)x, (void)dy;
    return ulps(p[0], y);
}

static bound one_rounding(const double *p, double x, double dy, double y)
{
    (void)p, (void)x, (void)dy;
    return ulps(0.5, y);
}

/* p0 is rounded, then the result. */
static bound scale_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)x, (void)dy;
    return roundings(2, y);
}

static bound add_scalar_bound(const double *p, double x, double dy, double y)
{
    (void)x, (void)dy;
    return plus(rounding(p[0]), rounding(y));
}

static bound exp_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)x, (void)dy;
    return ulps(1.1, y);
}

static bound tanh_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)x, (void)dy;
    return ulps(2.7, y);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* s = 1 / (1 + exp(-x)): exp, by its share in the sum; sum; division. exp(-x) overflows before s vanishes. */
static bound sigmoid_error(double x)
{
    const double s = sigmoid(x);
    return with_floor(plus(rounding(EXP * s * sigmoid(-x)), roundings(2, s)), 1);
}

static bound sigmoid_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)dy, (void)y;
    return sigmoid_error(x);
}

static bound silu_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)dy;
    return plus(times(sigmoid_error(x), x), rounding(y));
}

/* s (1 + x (1 - s)): its slope in s; 1 - s, x (1 - s), the sum and two products. */
static bound silu_vjp_bound(const double *p, double x, double dy, double y)
{
    (void)p;
    const double s = sigmoid(x), rest = s * x * sigmoid(-x);
    const bound slope = plus(times(sigmoid_error(x), 1 + x * (1 - 2 * s)), roundings(2, rest));
    return plus(times(slope, dy), roundings(3, y));
}

/* The tail Phi(-a) = bell ratio, bell = exp(-a^2 / 2), for 0 <= a <= 6. Relative errors: of bell its exponent
 * (constant, square, product) and two more; of the ratio 1/2 - g, g = a u / q with polynomials of positive terms, the
 * fit (2^-25.3 (1 + 0.36 a^2)), ten roundings of g, the difference, and the product with bell. */
typedef struct normal_tail {
    double tail, bell;
    bound of_bell, of_ratio;
} normal_tail;

static normal_tail tail_of(double a)
{
    normal_tail t = { 0.5 * erfc(a * sqrt(0.5)), exp(-a * a / 2), { 0, 0 }, { 0, 0 } };
    const double ratio = t.bell > 0 ? t.tail / t.bell : 1;
    t.of_bell = plus(roundings(3, a * a / 2), roundings(2, 1));
    t.of_ratio = plus(plus(rounding(0.41 * (1 + 0.36 * a * a)), roundings(10, 0.5 / ratio - 1)), roundings(2, 1));
    return t;
}

/* max(x, 0) - a tail, a = |x|: the tail, the product, the difference. */
static bound gelu_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)dy;
    const normal_tail t = tail_of(fabs(x));
    const bound of_tail = plus(plus(t.of_bell, t.of_ratio), rounding(1));
    return plus(times(of_tail, x * t.tail), rounding(x > 0 ? y : 0));
}

/* left = tail - a c bell, in which an error of bell is one of left; the slope is left or 1 - left. The tail's ratio;
 * constant and two products; both differences; dy. */
static bound gelu_vjp_bound(const double *p, double x, double dy, double y)
{
    (void)p;
    const normal_tail t = tail_of(fabs(x));
    const double part = fabs(x) * 0.3989422804014327 * t.bell, left = t.tail - part;
    bound b = plus(times(t.of_bell, left), times(t.of_ratio, t.tail));
    b = plus(b, plus(roundings(3, part), rounding(left)));
    return plus(times(b, dy), roundings(x < 0 ? 1 : 2, y));
}

/* v = c (x + d x^3): c, product, sum on all of it, d and three products on the cube. */
static bound gelu_tanh_argument(double x, double *v)
{
    const double linear = 1.5957691216057308 * x, cube = linear * 0.044715 * x * x;
    *v = linear + cube;
    return plus(roundings(3, *v), roundings(4, cube));
}

/* x sigmoid(v). */
static bound gelu_tanh_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)dy;
    double v;
    const bound argument = gelu_tanh_argument(x, &v);
    const bound s = plus(times(argument, sigmoid(v) * sigmoid(-v)), sigmoid_error(v));
    return plus(times(s, x), rounding(y));
}

/* left = s (1 - T) with s = e / (1 + e), e = exp(-v), T = a v' / (1 + e), all at a = |x|; the slope is left or
 * 1 - left. e moves s and T; so does 1 / (1 + e) by its two roundings; product with e; of T constant, sum, three
 * products, and three of the square in v'; difference, product; difference; dy. */
static bound gelu_tanh_vjp_bound(const double *p, double x, double dy, double y)
{
    (void)p;
    double v;
    const bound argument = gelu_tanh_argument(fabs(x), &v);
    const double s = sigmoid(-v), square = 0.134145 * x * x;
    const double T = fabs(x) * 1.5957691216057308 * (1 + square) * sigmoid(v), rest = 1 - T;
    bound b = times(plus(argument, rounding(EXP)), s * sigmoid(v) * rest + s * s * T);
    b = plus(b, plus(roundings(2, s * (rest - T)), roundings(3, s * rest)));
    b = plus(b, plus(roundings(5, s * T), roundings(3, s * T * square / (1 + square))));
    return with_floor(plus(times(b, dy), roundings(x < 0 ? 1 : 2, y)), 1 + fabs(x * x * x * dy));
}

/* 1 - y^2, and dy times it. */
static bound tanh_vjp_bound(const double *p, double x, double dy, double y)
{
    (void)p;
    return plus(rounding(dy * x * x), roundings(2, y));
}

static bound sigmoid_vjp_bound(const double *p, double x, double dy, double y)
{
    (void)p, (void)x, (void)dy;
    return roundings(3, y);
}

/* Whole exponents: products or one division. Others: p0 is rounded, then libm's result. */
static bound pow_bound(const double *p, double x, double dy, double y)
{
    (void)dy;
    if (p[0] == 0 || p[0] == 1)
        return (bound){ 0, 0 };
    if (p[0] == 2 || p[0] == -1 || p[0] == 0.5)
        return ulps(0.5, y);
    return p[0] == 3 ? roundings(2, y) : plus(rounding(p[0] * log(x) * y), rounding(y));
}

/* dy p x^(p-1), p - 1 rounded after p is. */
static bound pow_vjp_bound(const double *p, double x, double dy, double y)
{
    (void)dy;
    if (p[0] == 0 || p[0] == 1)
        return (bound){ 0, 0 };
    if (p[0] == 2)
        return ulps(0.5, y);
    if (p[0] == 3 || p[0] == -1 || p[0] == 0.5)
        return roundings(p[0] == 3 ? 3 : 2, y);
    return plus(plus(rounding(p[0] * log(x) * y), rounding((p[0] - 1) * log(x) * y)), roundings(4, y));
}

/* ---- Measuring functions --------------------------------------------------------------------- */

static void one_unary(accuracy *a, const char *input, bool random, numbers x)
{
    const accuracy_row *row = a->row;
    ag_unary_kernel *f32 = NULL, *f64 = NULL;
    memcpy(&f32, (const char *)a->f32 + row->field, sizeof f32);
    memcpy(&f64, (const char *)a->f64 + row->field, sizeof f64);
    numbers y = take_numbers(a, x.count);
    bound *bounds = take_bounds(a, x.count);
    f32(AG_TEAM(1), x.count, row->p, x.f32, y.f32);
    f64(AG_TEAM(1), x.count, row->p, x.f64, y.f64);
    for (int64_t i = 0; i < x.count; i++)
        bounds[i] = row->of(row->p, x.f64[i], 0, y.f64[i]);
    judge(a, input, random ? x.count : 0, x.count, y.f32, y.f64, bounds);
}

static void unary(accuracy *a)
{
    const double low = a->row->low, high = a->row->high, most = fmax(-low, high);
    one_unary(a, "uniform", true, draw_uniform(a, N, 1, low, high));
    one_unary(a, "magnitudes", true, draw_magnitudes(a, N, 2, low < 0, a->row->least, most));
    one_unary(a, "near 1", false, draw_uniform(a, N, 3, 0.999, 1.001));
}

/* v is what the kernel reads, x or y. */
static void one_unary_vjp(accuracy *a, const char *input, bool random, numbers v, numbers dy)
{
    const accuracy_row *row = a->row;
    ag_unary_vjp_kernel *f32 = NULL, *f64 = NULL;
    memcpy(&f32, (const char *)a->f32 + row->field, sizeof f32);
    memcpy(&f64, (const char *)a->f64 + row->field, sizeof f64);
    numbers dx = take_numbers(a, v.count);
    bound *bounds = take_bounds(a, v.count);
    f32(AG_TEAM(1), v.count, row->p, v.f32, dy.f32, dx.f32);
    f64(AG_TEAM(1), v.count, row->p, v.f64, dy.f64, dx.f64);
    for (int64_t i = 0; i < v.count; i++)
        bounds[i] = row->of(row->p, v.f64[i], dy.f64[i], dx.f64[i]);
    judge(a, input, random ? v.count : 0, v.count, dx.f32, dx.f64, bounds);
}

static void unary_vjp(accuracy *a)
{
    const double low = a->row->low, high = a->row->high, most = fmax(-low, high);
    const numbers dy = draw_magnitudes(a, N, 4, true, 0x1p-20, 0x1p20);
    one_unary_vjp(a, "uniform", true, draw_uniform(a, N, 1, low, high), dy);
    one_unary_vjp(a, "magnitudes", true, draw_magnitudes(a, N, 2, low < 0, a->row->least, most), dy);
    one_unary_vjp(a, "near 1", false, draw_uniform(a, N, 3, 0.999, fmin(high, 1.001)), dy);
}

/* ---- Two operands ---------------------------------------------------------------------------- */

static void one_binary(accuracy *a, const char *input, numbers x, numbers y)
{
    const accuracy_row *row = a->row;
    const int64_t n = x.count;
    ag_binary_kernel *f32 = NULL, *f64 = NULL;
    memcpy(&f32, (const char *)a->f32 + row->field, sizeof f32);
    memcpy(&f64, (const char *)a->f64 + row->field, sizeof f64);
    numbers z = take_numbers(a, n);
    bound *bounds = take_bounds(a, n);
    f32(AG_TEAM(1), n, (ag_operand){ x.f32, 1 }, (ag_operand){ y.f32, 1 }, z.f32);
    f64(AG_TEAM(1), n, (ag_operand){ x.f64, 1 }, (ag_operand){ y.f64, 1 }, z.f64);
    for (int64_t i = 0; i < n; i++)
        bounds[i] = row->of(row->p, x.f64[i], y.f64[i], z.f64[i]);
    judge(a, input, n, n, z.f32, z.f64, bounds);
}

/* Numbers equal to x, or up to two ulps above or below. */
static numbers near_ties(accuracy *a, numbers x)
{
    numbers y = take_numbers(a, x.count);
    for (int64_t i = 0; i < x.count; i++)
        set_number(y, i, x.f64[i] * (1 + (double)(i % 5 - 2) * 0x1p-23));
    return y;
}

static void binary(accuracy *a)
{
    const numbers x = draw_uniform(a, N, 1, -3, 3), large = draw_magnitudes(a, N, 2, true, 0x1p-60, 0x1p60);
    one_binary(a, "uniform", x, draw_uniform(a, N, 3, 0.5, 3));
    one_binary(a, "magnitudes", large, draw_magnitudes(a, N, 4, true, 0x1p-60, 0x1p60));
    one_binary(a, "near ties", x, near_ties(a, x));
}

static void binary_vjp(accuracy *a)
{
    const numbers x = draw_uniform(a, N, 1, -3, 3), y = near_ties(a, x), dy = draw_uniform(a, N, 2, -1, 1);
    numbers dx = take_numbers(a, N);
    ag_binary_vjp_kernel *f32 = NULL, *f64 = NULL;
    memcpy(&f32, (const char *)a->f32 + a->row->field, sizeof f32);
    memcpy(&f64, (const char *)a->f64 + a->row->field, sizeof f64);
    f32(AG_TEAM(1), N, (ag_operand){ x.f32, 1 }, (ag_operand){ y.f32, 1 }, dy.f32, dx.f32);
    f64(AG_TEAM(1), N, (ag_operand){ x.f64, 1 }, (ag_operand){ y.f64, 1 }, dy.f64, dx.f64);
    judge(a, "near ties", N, N, dx.f32, dx.f64, take_bounds(a, N));
}

static void where(accuracy *a)
{
    const numbers x = draw_uniform(a, N, 1, -3, 3), y = draw_uniform(a, N, 2, -3, 3);
    numbers z = take_numbers(a, N);
    int32_t *cond = take(a, N * sizeof *cond);
    for (int i = 0; i < N; i++)
        cond[i] = i % 3;
    const ag_operand chosen = { cond, 1 };
    a->f32->where(AG_TEAM(1), N, chosen, (ag_operand){ x.f32, 1 }, (ag_operand){ y.f32, 1 }, z.f32);
    a->f64->where(AG_TEAM(1), N, chosen, (ag_operand){ x.f64, 1 }, (ag_operand){ y.f64, 1 }, z.f64);
    judge(a, "uniform", N, N, z.f32, z.f64, take_bounds(a, N));
}

/* ---- The ends of products: c is row by row what the plain kernels make of it, `other` the slope ---- */

enum { FINISH_ROWS = 101, FINISH_COLUMNS = 99 };

/* p[0]: whether `of` bounds the slope, which `other` gets; else it bounds c. For add `other` is read. */
static void one_epilogue(accuracy *a, const char *input, numbers x)
{
    const accuracy_row *row = a->row;
    const numbers other = draw_uniform(a, x.count, 7, -3, 3);
    numbers c = take_numbers(a, x.count), slope = take_numbers(a, x.count);
    bound *bounds = take_bounds(a, x.count);
    ag_epilogue_kernel *f32 = NULL, *f64 = NULL;
    memcpy(&f32, (const char *)a->f32 + row->field, sizeof f32);
    memcpy(&f64, (const char *)a->f64 + row->field, sizeof f64);
    for (int64_t i = 0; i < x.count; i++) {
        set_number(c, i, x.f64[i]);
        set_number(slope, i, other.f64[i]);
    }
    f32(FINISH_ROWS, FINISH_COLUMNS, c.f32, FINISH_COLUMNS, slope.f32);
    f64(FINISH_ROWS, FINISH_COLUMNS, c.f64, FINISH_COLUMNS, slope.f64);
    const numbers result = row->p[0] != 0 ? slope : c;
    for (int64_t i = 0; i < x.count; i++)
        bounds[i] = row->of(row->p, x.f64[i], 1, result.f64[i]);
    judge(a, input, x.count, x.count, result.f32, result.f64, bounds);
}

static void epilogue(accuracy *a)
{
    const int64_t count = FINISH_ROWS * FINISH_COLUMNS;
    const double most = fmax(-a->row->low, a->row->high);
    one_epilogue(a, "uniform", draw_uniform(a, count, 1, a->row->low, a->row->high));
    one_epilogue(a, "magnitudes", draw_magnitudes(a, count, 2, true, a->row->least, most));
}

/* ---- Embedding, dropout, rope ---------------------------------------------------------------- */

enum { TOKENS = 4001, VOCAB = 37, C = 33 };

static int32_t *draw_tokens(accuracy *a)
{
    int32_t *index = take(a, TOKENS * sizeof *index);
    uint32_t state = 7;
    for (int i = 0; i < TOKENS; i++)
        index[i] = (int32_t)(VOCAB * uniform(&state) * uniform(&state)); /* low indices are frequent */
    return index;
}

static void embedding(accuracy *a)
{
    const numbers table = draw_uniform(a, VOCAB * C, 1, -1, 1);
    const int32_t *index = draw_tokens(a);
    numbers y = take_numbers(a, TOKENS * C);
    a->f32->embedding(AG_TEAM(1), TOKENS, C, index, table.f32, y.f32);
    a->f64->embedding(AG_TEAM(1), TOKENS, C, index, table.f64, y.f64);
    judge(a, "uniform", TOKENS * C, TOKENS * C, y.f32, y.f64, take_bounds(a, TOKENS * C));
}

/* Each row is a chain of as many terms as its index has places. */
static void one_embedding_vjp(accuracy *a, const char *input, numbers dy)
{
    const int32_t *index = draw_tokens(a);
    numbers dtable = draw_uniform(a, VOCAB * C, 3, -1, 1);
    terms *sums = take(a, VOCAB * C * sizeof *sums);
    bound *bounds = take_bounds(a, VOCAB * C);
    for (int64_t i = 0; i < VOCAB * C; i++)
        add_term(&sums[i], dtable.f64[i]);
    for (int64_t i = 0; i < TOKENS * C; i++)
        add_term(&sums[index[i / C] * C + i % C], dy.f64[i]);
    for (int64_t i = 0; i < VOCAB * C; i++)
        if (sums[i].count > 1)
            bounds[i] = sum_bound((sum_order){ .chain = sums[i].count }, sums[i]);
    a->f32->embedding_vjp(AG_TEAM(1), TOKENS, C, index, dy.f32, dtable.f32);
    a->f64->embedding_vjp(AG_TEAM(1), TOKENS, C, index, dy.f64, dtable.f64);
    judge(a, input, VOCAB * C, VOCAB * C, dtable.f32, dtable.f64, bounds);
}

static void embedding_vjp(accuracy *a)
{
    one_embedding_vjp(a, "uniform", draw_uniform(a, TOKENS * C, 1, -1, 1));
    one_embedding_vjp(a, "positive", draw_uniform(a, TOKENS * C, 2, 0, 1));
}

/* 1 / (1 - p) is rounded, then the product. */
static void dropout(accuracy *a)
{
    const ag_dropout_stream stream = { .p = 0.3, .seed = 3, .counter = 5 };
    const numbers x = draw_magnitudes(a, N, 1, true, 0x1p-60, 0x1p60);
    numbers y = take_numbers(a, N);
    bound *bounds = take_bounds(a, N);
    a->f32->dropout(AG_TEAM(1), N, &stream, x.f32, y.f32);
    a->f64->dropout(AG_TEAM(1), N, &stream, x.f64, y.f64);
    for (int64_t i = 0; i < N; i++)
        bounds[i] = roundings(2, y.f64[i]);
    judge(a, "magnitudes", N, N, y.f32, y.f64, bounds);
}

/* y[c] = x[c] cos - x[c'] sin: two products and their sum. */
static void rope(accuracy *a)
{
    enum { T = 61, D = 37, R = 34, P = T };
    const numbers x = draw_uniform(a, T * D, 1, -2, 2);
    numbers table = take_numbers(a, P * R), y = take_numbers(a, T * D);
    bound *bounds = take_bounds(a, T * D);
    for (int i = 0; i < P * R; i++) {
        const double angle = (double)(i / R) * pow(10000, -2.0 * (i % (R / 2)) / R);
        set_number(table, i, i % R < R / 2 ? cos(angle) : sin(angle));
    }
    ag_rope_args args = { .B = 1, .H = 1, .T = T, .D = D, .R = R, .x_time = D, .y_time = D };
    for (int kind = 0; kind < 4; kind++) {
        args.neighbours = kind & 1, args.back = kind & 2;
        args.x = x.f32, args.y = y.f32, args.table = table.f32;
        a->f32->rope(AG_TEAM(1), &args);
        args.x = x.f64, args.y = y.f64, args.table = table.f64;
        a->f64->rope(AG_TEAM(1), &args);
        for (int i = 0; i < T * D; i++) {
            const int c = i % D, half = R / 2, pair = args.neighbours ? c / 2 : c % half;
            const int other = args.neighbours ? c ^ 1 : (c + half) % R;
            const double *turn = table.f64 + i / D * R;
            if (c >= R)
                bounds[i] = (bound){ 0, 0 };
            else
                bounds[i] = plus(plus(rounding(x.f64[i] * turn[pair]),
                                      rounding(x.f64[i - c + other] * turn[half + pair])), rounding(y.f64[i]));
        }
        judge(a, "uniform", T * D, T * D, y.f32, y.f64, bounds);
    }
}

/* ---- Optimizers ------------------------------------------------------------------------------ */

/* d = scale g + decay w; b = momentum b + take d; w - lr t, t = d + momentum b or b. Every constant is rounded. */
static void one_sgd(accuracy *a, const ag_sgd_step_args *s)
{
    const numbers g = draw_magnitudes(a, N, 1, true, 0x1p-10, 1);
    numbers buf = draw_uniform(a, N, 2, -1, 1), w = draw_uniform(a, N, 3, -1, 1);
    bound *of_buf = take_bounds(a, N), *of_w = take_bounds(a, N);
    for (int i = 0; i < N; i++) {
        const double pull = s->grad_scale * g.f64[i], decay = s->weight_decay * w.f64[i], d = pull + decay;
        const double keep = s->momentum * buf.f64[i], part = (1 - s->dampening) * d;
        const bound of_d = plus(plus(roundings(2, pull), roundings(2, decay)), rounding(d));
        of_buf[i] = of_d;
        if (!s->first)
            of_buf[i] = plus(plus(times(of_d, 1 - s->dampening), roundings(2, part)),
                             plus(roundings(2, keep), rounding(keep + part)));
        const double b = s->first ? d : keep + part, ahead = s->momentum * b;
        const double step = s->momentum == 0 ? d : s->nesterov ? d + ahead : b;
        bound of_step = s->momentum == 0 ? of_d : of_buf[i];
        if (s->nesterov)
            of_step = plus(plus(of_d, times(of_buf[i], s->momentum)), plus(roundings(2, ahead), rounding(step)));
        of_w[i] = plus(plus(times(of_step, s->lr), roundings(2, s->lr * step)), rounding(w.f64[i] - s->lr * step));
    }
    a->f32->sgd(AG_TEAM(1), 1, &(ag_step){ N, g.f32, w.f32, { buf.f32, NULL }, s });
    a->f64->sgd(AG_TEAM(1), 1, &(ag_step){ N, g.f64, w.f64, { buf.f64, NULL }, s });
    judge(a, "w", N, N, w.f32, w.f64, of_w);
    if (s->momentum != 0)
        judge(a, "buffer", N, N, buf.f32, buf.f64, of_buf);
}

static void sgd(accuracy *a)
{
    one_sgd(a, &(ag_sgd_step_args){ .lr = 0.1, .grad_scale = 0.7 });
    one_sgd(a, &(ag_sgd_step_args){ .lr = 0.1, .momentum = 0.9, .grad_scale = 1, .first = true });
    one_sgd(a, &(ag_sgd_step_args){ .lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.1,
                                    .grad_scale = 0.7 });
    one_sgd(a, &(ag_sgd_step_args){ .lr = 3, .momentum = 0.9, .weight_decay = 0.1, .grad_scale = 0.7,
                                    .nesterov = true });
}

/* m and v: two roundings (constant, product) of what is kept, of what is added also those of d = scale g; the sum.
 * w: two of what is kept; of the step those of m, half of those of v, and root, constant, product, sum with eps,
 * division, step size, product; the difference. */
static void one_adamw(accuracy *a, const char *input, int step, double lr, numbers m, numbers v)
{
    const ag_adamw_step_args s = { .lr = lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1,
                                   .grad_scale = 0.7, .correction1 = 1 - pow(0.9, step),
                                   .correction2 = 1 - pow(0.999, step) };
    const numbers g = draw_magnitudes(a, N, 1, true, 0x1p-10, 1);
    numbers w = draw_uniform(a, N, 2, -1, 1);
    bound *of_m = take_bounds(a, N), *of_v = take_bounds(a, N), *of_w = take_bounds(a, N);
    for (int i = 0; i < N; i++) {
        const double d = s.grad_scale * g.f64[i], keep_m = s.beta1 * m.f64[i], keep_v = s.beta2 * v.f64[i];
        const double new_m = keep_m + (1 - s.beta1) * d, new_v = keep_v + (1 - s.beta2) * d * d;
        of_m[i] = plus(plus(roundings(2, keep_m), roundings(4, new_m - keep_m)), rounding(new_m));
        of_v[i] = plus(plus(roundings(2, keep_v), roundings(3, new_v - keep_v)),
                       plus(roundings(2, 2 * (new_v - keep_v)), rounding(new_v)));
        const double root = sqrt(new_v) / sqrt(s.correction2), size = s.lr / s.correction1 / (root + s.eps);
        const double change = size * new_m, keep = (1 - s.lr * s.weight_decay) * w.f64[i];
        of_w[i] = plus(plus(times(of_m[i], size), times(of_v[i], change / (2 * new_v))), roundings(8, change));
        of_w[i] = plus(of_w[i], plus(roundings(2, keep), rounding(keep - change)));
    }
    a->f32->adamw(AG_TEAM(1), 1, &(ag_step){ N, g.f32, w.f32, { m.f32, v.f32 }, &s });
    a->f64->adamw(AG_TEAM(1), 1, &(ag_step){ N, g.f64, w.f64, { m.f64, v.f64 }, &s });
    judge(a, input, N, N, w.f32, w.f64, of_w);
    judge(a, "m", N, N, m.f32, m.f64, of_m);
    judge(a, "v", N, N, v.f32, v.f64, of_v);
}

static void adamw(accuracy *a)
{
    one_adamw(a, "first step", 1, 1e-3, take_numbers(a, N), take_numbers(a, N));
    one_adamw(a, "later step", 1000, 1e-3, draw_uniform(a, N, 5, -1, 1), draw_uniform(a, N, 6, 0, 1));
    one_adamw(a, "long step", 10, 10, draw_uniform(a, N, 5, -1, 1), draw_magnitudes(a, N, 6, false, 0x1p-20, 1));
}

/* ---- The table ------------------------------------------------------------------------------- */

/* name, how measured, bound, parameters, low, high, least magnitude */
const accuracy_row accuracy_elements[] = {
#define UNARY_CASE(op, formula, low, high, y, dx)                         \
    { KERNEL(op), unary, in_ulps, { y, 0 }, low, high, 0x1p-60 },         \
    { KERNEL(op##_vjp), unary_vjp, in_ulps, { dx, 0 }, low, high, 0x1p-60 },
#define UNARY_CASE_OWN(...)
#include "tests/tensor/kernels/unary_cases.def"
    { KERNEL(scale), unary, scale_bound, { 1.1, 0 }, -5, 5, 0x1p-60 },
    { KERNEL(add_scalar), unary, add_scalar_bound, { -0.3, 0 }, -5, 5, 0x1p-60 },
    { KERNEL(exp), unary, exp_bound, { 0, 0 }, -104, 89, 0x1p-30 },
    { KERNEL(log), unary, exp_bound, { 0, 0 }, 0, 0x1p100, 0x1p-140 },
    { KERNEL(sqrt), unary, one_rounding, { 0, 0 }, 0, 0x1p60, 0x1p-140 },
    { KERNEL(tanh), unary, tanh_bound, { 0, 0 }, -12, 12, 0x1p-60 },
    { KERNEL(sigmoid), unary, sigmoid_bound, { 0, 0 }, -100, 100, 0x1p-30 },
    { KERNEL(gelu), unary, gelu_bound, { 0, 0 }, -6, 6, 0x1p-60 },
    { KERNEL(gelu_tanh), unary, gelu_tanh_bound, { 0, 0 }, -12, 12, 0x1p-60 },
    { KERNEL(silu), unary, silu_bound, { 0, 0 }, -100, 100, 0x1p-60 },
    { KERNEL(pow), unary, pow_bound, { 0, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow), unary, pow_bound, { 1, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow), unary, pow_bound, { 2, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow), unary, pow_bound, { 3, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow), unary, pow_bound, { -1, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow), unary, pow_bound, { 0.5, 0 }, 0, 3, 0x1p-20 },
    { KERNEL(pow), unary, pow_bound, { 2.7, 0 }, 0, 3, 0x1p-20 },
    { KERNEL(clamp), unary, exact, { -1, 2 }, -5, 5, 0x1p-60 },

    { KERNEL(scale_vjp), unary_vjp, scale_bound, { 1.1, 0 }, -5, 5, 0x1p-60 },
    { KERNEL(add_scalar_vjp), unary_vjp, exact, { -0.3, 0 }, -5, 5, 0x1p-60 },
    { KERNEL(exp_vjp), unary_vjp, one_rounding, { 0, 0 }, 0, 50, 0x1p-60 },
    { KERNEL(log_vjp), unary_vjp, one_rounding, { 0, 0 }, 0, 50, 0x1p-60 },
    { KERNEL(sqrt_vjp), unary_vjp, one_rounding, { 0, 0 }, 0, 50, 0x1p-60 },
    { KERNEL(tanh_vjp), unary_vjp, tanh_vjp_bound, { 0, 0 }, -1, 1, 0x1p-60 },
    { KERNEL(sigmoid_vjp), unary_vjp, sigmoid_vjp_bound, { 0, 0 }, 0, 1, 0x1p-60 },
    { KERNEL(gelu_vjp), unary_vjp, gelu_vjp_bound, { 0, 0 }, -6, 6, 0x1p-60 },
    { KERNEL(gelu_tanh_vjp), unary_vjp, gelu_tanh_vjp_bound, { 0, 0 }, -12, 12, 0x1p-60 },
    { KERNEL(silu_vjp), unary_vjp, silu_vjp_bound, { 0, 0 }, -30, 30, 0x1p-60 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { 0, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { 1, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { 2, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { 3, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { -1, 0 }, -3, 3, 0x1p-20 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { 0.5, 0 }, 0, 3, 0x1p-20 },
    { KERNEL(pow_vjp), unary_vjp, pow_vjp_bound, { 2.7, 0 }, 0, 3, 0x1p-20 },
    { KERNEL(clamp_vjp), unary_vjp, exact, { -1, 2 }, -5, 5, 0x1p-60 },

    { KERNEL(add), binary, one_rounding, { 0, 0 }, 0, 0, 0 },
    { KERNEL(sub), binary, one_rounding, { 0, 0 }, 0, 0, 0 },
    { KERNEL(mul), binary, one_rounding, { 0, 0 }, 0, 0, 0 },
    { KERNEL(div), binary, one_rounding, { 0, 0 }, 0, 0, 0 },
    { KERNEL(maximum), binary, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(minimum), binary, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(equal), binary, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(maximum_vjp), binary_vjp, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(minimum_vjp), binary_vjp, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(where), where, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(add_epilogue), epilogue, one_rounding, { 0, 0 }, -5, 5, 0x1p-60 },
    { KERNEL(relu_epilogue), epilogue, exact, { 0, 0 }, -5, 5, 0x1p-60 },
    { KERNEL(gelu_epilogue), epilogue, gelu_bound, { 0, 0 }, -6, 6, 0x1p-60 },
    { KERNEL(gelu_epilogue), epilogue, gelu_vjp_bound, { 1, 0 }, -6, 6, 0x1p-60 },
    { KERNEL(gelu_tanh_epilogue), epilogue, gelu_tanh_bound, { 0, 0 }, -12, 12, 0x1p-60 },
    { KERNEL(gelu_tanh_epilogue), epilogue, gelu_tanh_vjp_bound, { 1, 0 }, -12, 12, 0x1p-60 },
    { KERNEL(silu_epilogue), epilogue, silu_bound, { 0, 0 }, -100, 100, 0x1p-60 },
    { KERNEL(silu_epilogue), epilogue, silu_vjp_bound, { 1, 0 }, -30, 30, 0x1p-60 },
    { KERNEL(embedding), embedding, exact, { 0, 0 }, 0, 0, 0 },
    { KERNEL(embedding_vjp), embedding_vjp, NULL, { 0, 0 }, 0, 0, 0 },
    { KERNEL(dropout), dropout, NULL, { 0, 0 }, 0, 0, 0 },
    { KERNEL(rope), rope, NULL, { 0, 0 }, 0, 0, 0 },
    { KERNEL(sgd), sgd, NULL, { 0, 0 }, 0, 0, 0 },
    { KERNEL(adamw), adamw, NULL, { 0, 0 }, 0, 0, 0 },
};
const int accuracy_element_count = (int)(sizeof accuracy_elements / sizeof *accuracy_elements);
