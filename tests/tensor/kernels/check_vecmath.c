/* SPDX-License-Identifier: MIT
 *
 * check_vecmath.c - the library's float exp, log, tanh and gelu against double precision, over all floats (every
 * STEP-th bit pattern, both signs, subnormals too): first the functions themselves, built as this file is, then
 * the kernels around them in every instruction set's table. Errors in units in the last place of the result; those of
 * gelu's slope absolute, and relative to the result.
 */
#include "tensor/kernels/kernels.h"
#include "tests/suites.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define real float
#define REAL_IS_FLOAT 1
#define FN(name) vecmath_##name
#include "tensor/kernels/vecmath.inc"

#ifndef STEP
#define STEP 997
#endif

enum { CHUNK = 4096 };

static float exp_here(float x) { return vecmath_vexp(x); }
static float log_here(float x) { return vecmath_vlog(x); }
static float tanh_here(float x) { return vecmath_vtanh(x); }
static float tail_here(float x) { return vecmath_tail_bell(x) * vecmath_tail_ratio(x); }

static double tail_of(double x) { return 0.5 * erfc(x * sqrt(0.5)); }
static double gelu_of(double x) { return x * tail_of(-x); }
static double gelu_slope_of(double x) { return tail_of(-x) + x * exp(-0.5 * x * x) * 0.39894228040143267794; }

typedef struct function_case {
    const char *name;
    float (*here)(float x);  /* NULL: none */
    double (*exact)(double x);
    size_t kernel;    /* offset in ag_real_kernels, 0: none */
    double bound;     /* in ulp; stated in vecmath.inc and elementwise.inc */
    double low, high; /* only there; both 0: everywhere, NaN too */
} function_case;

static const function_case cases[] = {
    { "exp", exp_here, exp, offsetof(ag_real_kernels, exp), 1.1, 0, 0 },
    { "log", log_here, log, offsetof(ag_real_kernels, log), 1.1, 0, 0 },
    { "tanh", tanh_here, tanh, offsetof(ag_real_kernels, tanh), 2.7, 0, 0 },
    { "normal_tail", tail_here, tail_of, 0, 4, 0, 1 },
    { "normal_tail", tail_here, tail_of, 0, 60, 1, 6 },
    { "normal_tail", tail_here, tail_of, 0, 1200, 6, 13 },
    { "gelu", NULL, gelu_of, offsetof(ag_real_kernels, gelu), 2.5, 0, FLT_MAX },
    { "gelu", NULL, gelu_of, offsetof(ag_real_kernels, gelu), 4, -1, 0 },
    { "gelu", NULL, gelu_of, offsetof(ag_real_kernels, gelu), 60, -6, -1 },
    { "gelu", NULL, gelu_of, offsetof(ag_real_kernels, gelu), 1200, -13, -6 },
};
enum { CASES = (int)(sizeof cases / sizeof *cases) };

static const char *const isas[] = { "baseline", "x86-64-v3", "x86-64-v4", "reference" };
enum { ISAS = (int)(sizeof isas / sizeof *isas) };

/* How far `got` is from `want`, in units of the last place of a float of that size. inf where only one is
 * NaN, or infinite. */
static double ulps_off(float got, double want)
{
    const float rounded = (float)want;
    if (isnan(got) || isnan(rounded))
        return isnan(got) && isnan(rounded) ? 0 : HUGE_VAL;
    if (isinf(got) || isinf(rounded))
        return got == rounded ? 0 : HUGE_VAL;
    int exponent = 0;
    frexp(want, &exponent);
    const double ulp = ldexp(1, exponent - FLT_MANT_DIG < -149 ? -149 : exponent - FLT_MANT_DIG);
    return fabs((double)got - want) / ulp;
}

typedef struct worst_case {
    double ulps;
    float x, got;
} worst_case;

static void compare(const function_case *c, int64_t n, const float *x, const float *y, worst_case *worst)
{
    const bool everywhere = c->low == 0 && c->high == 0;
    for (int64_t i = 0; i < n; i++) {
        if (!everywhere && !(c->low <= (double)x[i] && (double)x[i] <= c->high))
            continue;
        double off = ulps_off(y[i], c->exact((double)x[i]));
        if (off > worst->ulps)
            *worst = (worst_case){ off, x[i], y[i] };
    }
}

static void expect_within_bound(const function_case *c, const char *isa, const worst_case *worst)
{
    if (!(worst->ulps < c->bound)) {
        char text[200];
        snprintf(text, sizeof text, "%s (%s): %.3f ulp off at x = %a: %a, not %a", c->name, isa, worst->ulps,
                 (double)worst->x, (double)worst->got, c->exact((double)worst->x));
        ck_abort_msg("%s", text);
    }
}

/* The next CHUNK inputs; returns how many there are, 0 after the last. */
static int next_inputs(uint64_t *bits, float *x)
{
    int n = 0;
    for (; n < CHUNK && *bits <= UINT32_MAX; n++, *bits += STEP) {
        const uint32_t pattern = (uint32_t)*bits;
        memcpy(x + n, &pattern, sizeof pattern);
    }
    return n;
}

START_TEST(functions_are_within_their_bounds)
{
    const function_case *c = &cases[_i];
    if (c->here == NULL)
        return;
    float x[CHUNK], y[CHUNK];
    worst_case worst = { 0, 0, 0 };
    int n = 0;
    for (uint64_t bits = 0; (n = next_inputs(&bits, x)) > 0;) {
        for (int i = 0; i < n; i++)
            y[i] = c->here(x[i]);
        compare(c, n, x, y, &worst);
    }
    expect_within_bound(c, "here", &worst);
}
END_TEST

START_TEST(kernels_are_within_their_bounds)
{
    const function_case *c = &cases[_i % CASES];
    const ag_kernel_table *table = ag_kernels_find(isas[_i / CASES]);
    if (table == NULL || c->kernel == 0)
        return;
    ag_unary_kernel *kernel = NULL;
    memcpy(&kernel, (const char *)&table->f32 + c->kernel, sizeof kernel);
    float x[CHUNK], y[CHUNK];
    worst_case worst = { 0, 0, 0 };
    int n = 0;
    for (uint64_t bits = 0; (n = next_inputs(&bits, x)) > 0;) {
        kernel(AG_TEAM(1), n, NULL, x, y);
        compare(c, n, x, y, &worst);
    }
    expect_within_bound(c, table->isa, &worst);
}
END_TEST

/* Everywhere below 1.5e-7, and where the slope is small relative to it. */
START_TEST(gelu_slope_is_within_its_bounds)
{
    const ag_kernel_table *table = ag_kernels_find(isas[_i]);
    if (table == NULL)
        return;
    float x[CHUNK], one[CHUNK], y[CHUNK];
    for (int i = 0; i < CHUNK; i++)
        one[i] = 1;
    int n = 0;
    for (uint64_t bits = 0; (n = next_inputs(&bits, x)) > 0;) {
        table->f32.gelu_vjp(AG_TEAM(1), n, NULL, x, one, y);
        for (int i = 0; i < n; i++) {
            const double v = (double)x[i], want = v < -40 ? 0 : v > 40 ? 1 : gelu_slope_of(v), got = (double)y[i];
            const double bound = v >= -13 && v <= -1 ? 1e-5 * fabs(want) : 1.5e-7;
            if (isnan(v) ? !isnan(got) : !(fabs(got - want) < bound))
                ck_abort_msg("gelu's slope (%s) at %a is %a, not %a", table->isa, v, got, want);
        }
    }
}
END_TEST

START_TEST(gelu_at_special_values)
{
    const ag_kernel_table *table = ag_kernels_find(isas[_i]);
    if (table == NULL)
        return;
    const float x[] = { 0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e30f, -1e30f, -14 };
    const float one[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    float y[8], dx[8];
    table->f32.gelu(AG_TEAM(1), 8, NULL, x, y);
    table->f32.gelu_vjp(AG_TEAM(1), 8, NULL, x, one, dx);
    ck_assert(y[0] == 0 && !signbit(y[0]) && y[1] == 0 && signbit(y[1]));
    ck_assert(y[2] == INFINITY && y[3] == 0 && isnan(y[4]));
    ck_assert(y[5] == (float)1e30f && y[6] == 0 && fabsf(y[7]) < 1e-37f);
    ck_assert(dx[0] == 0.5f && dx[1] == 0.5f);
    ck_assert(dx[2] == 1 && dx[3] == 0 && isnan(dx[4]) && dx[5] == 1 && dx[6] == 0 && fabsf(dx[7]) < 1e-36f);
}
END_TEST

START_TEST(special_values_are_exact)
{
    ck_assert(vecmath_vexp(-INFINITY) == 0 && !signbit(vecmath_vexp(-INFINITY)));
    ck_assert(vecmath_vexp(0) == 1 && vecmath_vexp(-0.0f) == 1);
    ck_assert(vecmath_vexp(INFINITY) == INFINITY && vecmath_vexp(FLT_MAX) == INFINITY);
    ck_assert(vecmath_vexp(-FLT_MAX) == 0);
    ck_assert(isnan(vecmath_vexp(NAN)));

    ck_assert(vecmath_vlog(1) == 0 && vecmath_vlog(0) == -INFINITY && vecmath_vlog(-0.0f) == -INFINITY);
    ck_assert(vecmath_vlog(INFINITY) == INFINITY);
    ck_assert(isnan(vecmath_vlog(-1)) && isnan(vecmath_vlog(-INFINITY)) && isnan(vecmath_vlog(NAN)));

    ck_assert(vecmath_vtanh(INFINITY) == 1 && vecmath_vtanh(-INFINITY) == -1 && vecmath_vtanh(20) == 1);
    ck_assert(vecmath_vtanh(0) == 0 && signbit(vecmath_vtanh(-0.0f)));
    ck_assert(isnan(vecmath_vtanh(NAN)));
}
END_TEST

Suite *vecmath_suite(void)
{
    Suite *suite = suite_create("vecmath");
    TCase *tests = tcase_create("vecmath");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, special_values_are_exact);
    tcase_add_loop_test(tests, gelu_at_special_values, 0, ISAS);
    tcase_add_loop_test(tests, gelu_slope_is_within_its_bounds, 0, ISAS);
    tcase_add_loop_test(tests, functions_are_within_their_bounds, 0, CASES);
    tcase_add_loop_test(tests, kernels_are_within_their_bounds, 0, CASES * ISAS);
    suite_add_tcase(suite, tests);
    return suite;
}
