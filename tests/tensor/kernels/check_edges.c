/* SPDX-License-Identifier: MIT
 *
 * check_edges.c - the elementwise kernels and their slopes at 0, -0, infinity, NaN, the largest and smallest numbers,
 * in every setting (see kernel_settings.h), against the limits of edge_cases.def; variances that divide by 0;
 * means, variances and their gradients where the result is representable and a sum on the way is not.
 */
#include "attngrad.h"
#include "tests/tensor/kernels/kernel_settings.h"

typedef long double edge_function(long double x);

#define EDGE(op, p0, p1, y, dx, ...) EDGE_FUNCTIONS(op, __LINE__, y, dx)
#define EDGE_FUNCTIONS(op, line, y, dx) EDGE_FUNCTIONS_(op, line, y, dx)
#define EDGE_FUNCTIONS_(op, line, y, dx)                                                                     \
    static long double op##_##line(long double x)                                                            \
    {                                                                                                        \
        (void)x;                                                                                             \
        return y;                                                                                            \
    }                                                                                                        \
    static long double op##_slope_##line(long double x)                                                      \
    {                                                                                                        \
        (void)x;                                                                                             \
        return dx;                                                                                           \
    }
#include "tests/tensor/kernels/edge_cases.def"

#define FIELD(name) offsetof(ag_real_kernels, name)
#define EDGE_NAME(op, line) EDGE_NAME_(op, line)
#define EDGE_NAME_(op, line) op##_##line

typedef struct edge {
    const char *name;
    size_t kernel, vjp; /* fields of ag_real_kernels */
    double p[2];
    edge_function *y, *dx;
    double limits[6]; /* y, dx at -inf; at inf; at NaN */
    double units;
} edge;

static const edge edges[] = {
#define EDGE(op, p0, p1, y, dx, ya, da, yb, db, yn, dn, units)                                               \
    { #op, FIELD(op), FIELD(op##_vjp), { p0, p1 }, EDGE_NAME(op, __LINE__), EDGE_NAME(op##_slope, __LINE__), \
      { (double)ya, (double)da, (double)yb, (double)db, (double)yn, (double)dn }, units },
#include "tests/tensor/kernels/edge_cases.def"
};
enum { EDGES = (int)(sizeof edges / sizeof *edges) };

/* The ops of unary.def, and whether their gradients read y. */
static const struct {
    const char *name;
    size_t kernel;
    bool reads_y;
} edge_ops[] = {
#define READS_NONE false
#define READS_INPUT false
#define READS_OUTPUT true
#define AG_UNARY(op, y, cost, kept, ...) { #op, FIELD(op), READS_##kept },
#include "tensor/kernels/unary.def"
};
enum { EDGE_OPS = (int)(sizeof edge_ops / sizeof *edge_ops) };

/* Numbers at and around the edges, each with both signs, then infinity and NaN: returns how many. */
static int points(const setting *s, double *x)
{
    const bool single = s->size == sizeof(float);
    const double most = single ? (double)FLT_MAX : DBL_MAX, least = single ? (double)FLT_MIN : DBL_MIN;
    const double point[] = { 0, least * s->eps, least, 1 / most, 0.9 * sqrt(least), 1e-10, 0.5, 1, 2, 6, 12.9, 13.1, 20,
                             38.9, 39.1, 80, 95, 110, 650, 720, 760, 1e4, 1e10, 0.9 * cbrt(most), 1.1 * cbrt(most),
                             0.9 * sqrt(most), 1.1 * sqrt(most), most / 4, most, INFINITY, NAN };
    int n = 0;
    for (int i = 0; i < (int)(sizeof point / sizeof *point); i++) {
        x[n++] = single ? (double)(float)point[i] : point[i];
        x[n] = -x[n - 1];
        n++;
    }
    return n;
}

static long double limit(const setting *s, const edge *e, double x, int slope)
{
    if (isnan(x) || isinf(x))
        return (long double)e->limits[(isnan(x) ? 4 : x > 0 ? 2 : 0) + slope];
    long double want = slope == 0 ? e->y((long double)x) : e->dx((long double)x);
    long double most = s->size == sizeof(float) ? (long double)FLT_MAX : (long double)DBL_MAX;
    return want > most ? (long double)INFINITY : want < -most ? -(long double)INFINITY : want;
}

static void check(const setting *s, const edge *e, const char *what, const double *x, int n, const void *got, int slope)
{
    const bool single = s->size == sizeof(float);
    const long double relative = single ? 1e-4L : 1e-10L, tiny = 200 * (long double)(single ? FLT_MIN : DBL_MIN);
    for (int i = 0; i < n; i++) {
        const long double want = limit(s, e, x[i], slope), value = (long double)at(s, got, i);
        const long double most = relative * fabsl(want) + (long double)(slope * e->units * s->eps) + tiny;
        bool good = isnan(want) ? isnan(value) : isinf(want) ? value == want : fabsl(value - want) <= most;
        ck_assert_msg(good, "%s of %s p0 %g at %g (%s, %d bytes): %Lg, not %Lg", what, e->name, e->p[0], x[i], s->isa,
                      (int)s->size, value, want);
    }
}

/* Every point at a vector's and at the tail's place: as many rounds as there are points. */
static void check_setting(const setting *s)
{
    double *x = number[0], *ones = number[1];
    const int n = points(s, x);
    for (int i = 0; i < n; i++)
        ones[i] = 1;
    for (int round = 0; round < n; round += 7) {
        const double first = x[0];
        memmove(x, x + 1, (size_t)(n - 1) * sizeof *x);
        x[n - 1] = first;
        for (int i = 0; i < EDGES; i++) {
            const edge *e = &edges[i];
            ag_unary_kernel *kernel;
            ag_unary_vjp_kernel *vjp;
            memcpy(&kernel, (const char *)s->k + e->kernel, sizeof kernel);
            memcpy(&vjp, (const char *)s->k + e->vjp, sizeof vjp);
            int op = 0;
            while (edge_ops[op].kernel != e->kernel)
                op++;
            const void *from = put(s, memory[0], n, x), *dy = put(s, memory[1], n, ones);
            kernel(NULL, n, e->p, from, memory[2]);
            vjp(NULL, n, e->p, edge_ops[op].reads_y ? memory[2] : from, dy, memory[3]);
            check(s, e, "the value", x, n, memory[2], 0);
            check(s, e, "the slope", x, n, memory[3], 1);
        }
    }
}

START_TEST(values_and_slopes)
{
    setting s;
    if (setting_at(_i, &s))
        check_setting(&s);
}
END_TEST

START_TEST(every_op_has_its_edges)
{
    for (int op = 0; op < EDGE_OPS; op++) {
        bool found = false;
        for (int i = 0; i < EDGES; i++)
            found = found || edges[i].kernel == edge_ops[op].kernel;
        ck_assert_msg(found, "the op '%s' has no line in edge_cases.def", edge_ops[op].name);
    }
}
END_TEST

/* The activations at the end of a product: the same limits. */
START_TEST(epilogues)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    double *x = number[0];
    const int n = points(&s, x);
    for (int i = 0; i < EDGES; i++) {
        const edge *e = &edges[i];
        ag_epilogue_kernel *kernel = e->kernel == FIELD(relu)        ? s.k->relu_epilogue
                                     : e->kernel == FIELD(gelu)      ? s.k->gelu_epilogue
                                     : e->kernel == FIELD(gelu_tanh) ? s.k->gelu_tanh_epilogue
                                     : e->kernel == FIELD(silu)      ? s.k->silu_epilogue
                                                                     : NULL;
        if (kernel == NULL)
            continue;
        put(&s, memory[0], n, x);
        kernel(1, n, memory[0], n, memory[1]);
        check(&s, e, "the epilogue", x, n, memory[0], 0);
        if (e->kernel != FIELD(relu))
            check(&s, e, "the epilogue's slope", x, n, memory[1], 1);
    }
}
END_TEST

/* ---- Two operands: the arithmetic of IEEE 754; NaN passes through maximum and minimum --------- */

static double binary_want(const setting *s, int op, double a, double b)
{
    if (op >= 4)
        return isnan(a) || isnan(b) ? (double)NAN : op == 4 ? fmax(a, b) : fmin(a, b);
    if (s->size == sizeof(float)) {
        const volatile float p = (float)a, q = (float)b;
        const volatile float y = op == 0 ? p + q : op == 1 ? p - q : op == 2 ? p * q : p / q;
        return (double)y;
    }
    const volatile double p = a, q = b, y = op == 0 ? p + q : op == 1 ? p - q : op == 2 ? p * q : p / q;
    return y;
}

static bool same(double got, double want)
{
    return got == want || (isnan(got) && isnan(want));
}

START_TEST(pairs)
{
    static const char *const name[] = { "add", "sub", "mul", "div", "maximum", "minimum" };
    setting s;
    if (!setting_at(_i, &s))
        return;
    ag_binary_kernel *const kernel[] = { s.k->add, s.k->sub, s.k->mul, s.k->div, s.k->maximum, s.k->minimum };
    double *x = number[0], *ones = number[1], *turned = number[2];
    const int n = points(&s, x);
    for (int shift = 0; shift < n; shift++) {
        for (int i = 0; i < n; i++) {
            turned[i] = x[(i + shift) % n];
            ones[i] = 1;
        }
        const ag_operand a = { put(&s, memory[0], n, x), 1 }, b = { put(&s, memory[1], n, turned), 1 };
        for (int op = 0; op < 6; op++) {
            kernel[op](NULL, n, a, b, memory[2]);
            for (int i = 0; i < n; i++)
                ck_assert_msg(same(at(&s, memory[2], i), binary_want(&s, op, x[i], turned[i])), "%s of %g and %g: %g",
                              name[op], x[i], turned[i], at(&s, memory[2], i));
        }
        for (int least = 0; least < 2; least++) {
            (least ? s.k->minimum_vjp : s.k->maximum_vjp)(NULL, n, a, b, put(&s, memory[3], n, ones), memory[2]);
            for (int i = 0; i < n; i++) {
                const bool behind = least ? x[i] > turned[i] : x[i] < turned[i];
                ck_assert_msg(at(&s, memory[2], i) == (behind ? 0 : x[i] == turned[i] ? 0.5 : 1), "%s_vjp of %g and %g",
                              name[4 + least], x[i], turned[i]);
            }
        }
    }
}
END_TEST

/* ---- Variance: no degrees of freedom left ----------------------------------------------------- */

START_TEST(variance)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    ag_tensor *x = ag_tensor_reshape(ag_arange(ctx, AG_F32, 0, 1, 12), AG_SHAPE(1, 3, 2, 2));
    static const struct {
        int dim;
        double correction, want;
    } at_[] = { { 0, 0, 0 }, { 2, 0, 1 }, { 2, 1, 2 }, { 2, 1.5, 4 }, { 2, 2, INFINITY }, { 2, 3, INFINITY },
                { 2, 1e300, INFINITY }, { 0, 1, (double)NAN }, { 0, 2, (double)NAN } };
    for (int i = 0; i < (int)(sizeof at_ / sizeof *at_); i++) {
        double value = -1;
        ag_tensor *y = ag_var(x, 1, (const int[]){ at_[i].dim }, at_[i].correction, true);
        ck_assert_int_eq(ag_get(y, (const int64_t[]){ 0, 0, 0, 1 }, &value), AG_OK);
        ck_assert_msg(same(value, at_[i].want), "var over dim %d with correction %g: %g, not %g", at_[i].dim,
                      at_[i].correction, value, at_[i].want);
    }
    ck_assert_int_eq(ag_ctx_free(ctx), 0);
}
END_TEST

/* ---- Sums beyond the range of a type, whose mean is not ---------------------------------------- */

/* What `y` has at i, against `want`: equal to eight roundings of the type. */
static void check_result(const char *what, const ag_tensor *y, int64_t i, double want)
{
    double value = -1;
    const double unit = ag_dtype_of(y) == AG_F32 ? (double)FLT_EPSILON : DBL_EPSILON;
    ck_assert_int_eq(ag_get(y, &i, &value), AG_OK);
    ck_assert_msg(same(value, want) || fabs(value - want) <= 8 * unit * fabs(want),
                  "%s: element %d is %.17g, not %.17g", what, (int)i, value, want);
}

/* Of rows (1, 2, 4) 2^k the squares' sum is 14/3 2^2k, the variance half of that. */
START_TEST(sums_beyond_the_range)
{
    enum { ROWS = 5 };
    const ag_dtype dtype = AG_F32;
    const int half = 63; /* 2^(2 half + 1) is representable, twice that is not */
    const double big = ldexp(1, half), most = ldexp(1, 2 * half + 1), none = (double)NAN, infinite = (double)INFINITY;
    const double row[] = { big, 2 * big, 4 * big, 1, 2, 4, most, most, most, none, 1, 2, infinite, 1, 2 };
    const double var[] = { 7 * ldexp(1, 2 * half) / 3, 7.0 / 3, 0, none, none };
    const double mean[] = { 7 * big / 3, 7.0 / 3, most, none, infinite };
    const double slope[] = { -4 * big / 3, -big / 3, 5 * big / 3, -4.0 / 3, -1.0 / 3, 5.0 / 3, 0, 0, 0, none, none,
                             none, none, -infinite, -infinite };
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    ag_tensor *x = ag_tensor_cast(ag_from_data(ctx, AG_F64, AG_SHAPE(ROWS, 3), row), dtype);
    ag_require_grad(x);
    for (int down = 0; down < 2; down++) { /* along rows of x, or columns of its transpose */
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *in = down == 0 ? x : ag_transpose(x, 0, 1);
        ag_tensor *v = ag_var(in, AG_DIMS(1 - down), 1, false), *m = ag_mean(in, AG_DIMS(1 - down), false);
        for (int64_t i = 0; i < ROWS; i++) {
            check_result("var", v, i, var[i]);
            check_result("mean", m, i, mean[i]);
        }
        ag_zero_grad(x);
        ck_assert_int_eq(ag_backward_from(tape, v, ag_full(ctx, dtype, AG_SHAPE(ROWS), 1)), AG_OK);
        ag_tape_end(tape);
        ag_tensor *gx = ag_tensor_reshape(ag_grad(x), AG_SHAPE(3 * ROWS));
        for (int64_t i = 0; i < 3 * ROWS; i++)
            check_result("var's gradient", gx, i, slope[i]);
    }
    ck_assert_int_eq(ag_ctx_free(ctx), 0);
}
END_TEST

/* 2/N (x - target) is representable where 2 (x - target) is not. */
START_TEST(squares_beyond_the_range)
{
    const ag_dtype dtype = _i == 0 ? AG_F32 : AG_F64;
    const double most = dtype == AG_F32 ? (double)FLT_MAX : DBL_MAX;
    const double value[] = { most, -most, most / 2, 1 }, target[] = { 0, 0, -most / 4, 0 };
    const double slope[] = { most / 2, -most / 2, 3 * (most / 8), 0.5 };
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    ag_tensor *x = ag_require_grad(ag_tensor_cast(ag_from_data(ctx, AG_F64, AG_SHAPE(4), value), dtype));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *to = ag_tensor_cast(ag_from_data(ctx, AG_F64, AG_SHAPE(4), target), dtype);
    ck_assert_int_eq(ag_backward(tape, ag_mse(x, to)), AG_OK);
    ag_tape_end(tape);
    for (int64_t i = 0; i < 4; i++)
        check_result("mse's gradient", ag_grad(x), i, slope[i]);
    ck_assert_int_eq(ag_ctx_free(ctx), 0);
}
END_TEST

Suite *edges_suite(void)
{
    Suite *suite = suite_create("edges");
    TCase *tests = tcase_create("edges");
    tcase_add_test(tests, every_op_has_its_edges);
    tcase_add_loop_test(tests, values_and_slopes, 0, SETTINGS);
    tcase_add_loop_test(tests, epilogues, 0, SETTINGS);
    tcase_add_loop_test(tests, pairs, 0, SETTINGS);
    tcase_add_test(tests, variance);
    tcase_add_test(tests, sums_beyond_the_range);
    tcase_add_loop_test(tests, squares_beyond_the_range, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
