/* SPDX-License-Identifier: MIT
 *
 * check_difference.c - numeric derivatives against known ones: smooth functions on every scale, edges of domains,
 * kinks at the point and near it, noise; and that the error they claim is the error they have.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "tests/test.h"

#include <string.h>

/* ---- A function of doubles as an ag_check ---- */

typedef double function(double x);

enum { MOST = 8 };

typedef struct subject {
    ag_check check;
    ag_check_input input;
    ag_check_output output;
    double x[MOST], y[MOST], one[MOST];
    function *f;
    int evaluations;
} subject;

static bool evaluate(ag_check *check, double *y)
{
    subject *s = check->function;
    s->evaluations++;
    for (int64_t i = 0; i < check->output_numel; i++)
        y[i] = s->f(s->x[i]);
    return true;
}

/* Only its calls count here. */
static bool backward(ag_check *check, const double *cotangent, double *const *grad)
{
    for (int64_t i = 0; i < check->input[0].numel; i++)
        grad[0][i] = cotangent[i];
    return true;
}

/* y[i] = f(x[i]) for n elements, all of value x, with its noise measured. */
static void subject_begin(subject *s, ag_ctx *ctx, function *f, int64_t n, double x)
{
    memset(s, 0, sizeof *s);
    s->f = f;
    for (int64_t i = 0; i < n; i++) {
        s->x[i] = x;
        s->one[i] = 1;
    }
    s->input = (ag_check_input){ .x = { .value = s->x, .ndim = 1, .shape = { n } }, .numel = n, .checked = true,
                                  .analytic = s->one };
    s->output = (ag_check_output){ .y = { .value = s->y, .ndim = 1, .shape = { n } }, .numel = n };
    s->check = (ag_check){
        .ctx = ctx, .config = { .step = 0x1p-6, .rtol = 1e-6, .atol = 1e-9 }, .input_count = 1, .output_count = 1,
        .input = &s->input, .output = &s->output, .output_numel = n, .y = s->y, .evaluate = evaluate,
        .backward = backward, .function = s, .cotangent = s->one, .atol_given = true,
    };
    evaluate(&s->check, s->y);
    ck_assert(ag_check_measure_noise(&s->check));
    s->evaluations = 0;
}

static const ag_direction first_element = { .input = 0, .index = 0 };

static ag_derivative derivative_with(function *f, double x, double rtol, double atol)
{
    ag_ctx *ctx = test_begin();
    subject s;
    subject_begin(&s, ctx, f, 1, x);
    s.check.config.rtol = rtol;
    s.check.config.atol = atol;
    ag_derivative d = ag_check_derivative(&s.check, &first_element, (const double[]){ 1 });
    ck_assert(memcmp(s.x, &x, sizeof x) == 0);
    test_end(ctx);
    return d;
}

static ag_derivative derivative(function *f, double x)
{
    return derivative_with(f, x, 1e-6, 1e-9);
}

/* ---- Smooth functions ---- */

#define SMOOTH(name, value, slope)                                     \
    static double name(double x) { return value; }                      \
    static double name##_slope(double x) { (void)x; return slope; }
SMOOTH(constant, 0 * x + 3, 0)
SMOOTH(line, 3 * x - 2, 3)
SMOOTH(square, (x * x + x), 2 * x + 1)
SMOOTH(cube, (x * x * x), 3 * x * x)
SMOOTH(fifth, (x * x * x * x * x - x), 5 * x * x * x * x - 1)
SMOOTH(exponential, exp(x), exp(x))
SMOOTH(logarithm, log(x), 1 / x)
SMOOTH(root, sqrt(x), 0.5 / sqrt(x))
SMOOTH(inverse, 1 / x, -1 / (x * x))
SMOOTH(sine, sin(x), cos(x))
SMOOTH(wave, sin(100 * x), 100 * cos(100 * x))
SMOOTH(ripple, sin(1e4 * x), 1e4 * cos(1e4 * x))
SMOOTH(tangent, tanh(x), 1 / (cosh(x) * cosh(x)))
SMOOTH(bell, exp(-pow(x, 2)), -2 * x * exp(-x * x))
SMOOTH(entropy, (x * log(x)), log(x) + 1)
SMOOTH(narrow_cube, pow(x * 1e8, 3), 3e8 * pow(x * 1e8, 2))
SMOOTH(offset, 1e6 + sin(x), cos(x))
SMOOTH(runge, 1 / (1 + 25 * x * x), -50 * x / ((1 + 25 * x * x) * (1 + 25 * x * x)))
SMOOTH(step_like, 1 / (1 + exp(-500 * x)), 500 * exp(-500 * x) / ((1 + exp(-500 * x)) * (1 + exp(-500 * x))))
#undef SMOOTH

typedef struct smooth_case {
    const char *name;
    function *f, *slope;
    double x;
    double wanted; /* relative error that must be reached; 0: the tolerance alone */
} smooth_case;

#define AT(name, x, wanted) { #name, name, name##_slope, x, wanted }
static const smooth_case smooth_cases[] = {
    AT(constant, 0.3, 1e-12), AT(line, 0.3, 1e-12), AT(line, 1e8, 1e-12), AT(line, 1e-8, 1e-12), AT(square, 0.7, 1e-12),
    AT(square, -0.5, 1e-11), AT(square, 1e8, 1e-12), AT(cube, 1.3, 1e-12), AT(fifth, 0.9, 1e-12), AT(fifth, 0, 1e-12),
    AT(exponential, 0, 1e-10), AT(exponential, 5, 1e-10), AT(exponential, 300, 1e-10), AT(exponential, -20, 0),
    AT(logarithm, 1, 1e-10), AT(logarithm, 0.02, 1e-8), AT(logarithm, 1e-3, 1e-8), AT(logarithm, 1e-8, 1e-7),
    AT(logarithm, 1e8, 1e-7), AT(root, 2, 1e-10), AT(root, 1e-6, 1e-8), AT(inverse, 0.5, 1e-10),
    AT(inverse, 1e-4, 1e-7), AT(inverse, -0.01, 1e-8), AT(sine, 1, 1e-10), AT(sine, 1e3, 1e-8), AT(wave, 0.4, 1e-8),
    AT(ripple, 0.37, 1e-6), AT(tangent, 0.3, 1e-10), AT(tangent, 30, 0), AT(bell, 0, 1e-10), AT(bell, 1.5, 1e-10),
    AT(entropy, 0.2, 1e-8), AT(narrow_cube, 1e-8, 1e-6), AT(offset, 0.4, 1e-6), AT(runge, 0.21, 1e-7),
    AT(step_like, 0.001, 1e-6), AT(step_like, 0.03, 1e-6),
};
enum { SMOOTH_CASES = sizeof smooth_cases / sizeof *smooth_cases };

START_TEST(smooth_functions)
{
    const smooth_case *c = &smooth_cases[_i];
    ag_derivative d = derivative(c->f, c->x);
    double want = c->slope(c->x), error = fabs(d.value - want), wanted = c->wanted == 0 ? 1e-6 : c->wanted;
    ck_assert_msg(d.trouble == AG_CAUSE_NONE && error <= 1e-9 * (wanted / 1e-6) + wanted * fabs(want),
                  "%s at %g: %.17g, wanted %.17g; uncertainty %g, trouble %d", c->name, c->x, d.value, want,
                  d.uncertainty, (int)d.trouble);
    ck_assert_msg(error <= 2 * d.uncertainty + 1e-15 * fabs(want) + 1e-24, "%s at %g is off by %g, claims %g",
                  c->name, c->x, error, d.uncertainty);
}
END_TEST

/* Over many points, and with tolerances that can not be had: the error is what it is claimed to be. (ripple is itself
 * off by hundreds of units in the last place.) */
START_TEST(uncertainty_is_honest)
{
    const smooth_case *c = &smooth_cases[_i];
    if (c->f == narrow_cube || c->f == ripple || fabs(c->x) > 1e3 || fabs(c->x) < 1e-5)
        return;
    for (int k = 0; k < 50; k++)
        for (double rtol = 1e-14; rtol < 1e-2; rtol *= 1e4) {
            double x = c->x * (1 + 0.002 * k), want = c->slope(x);
            ag_derivative d = derivative_with(c->f, x, rtol, rtol / 1e3);
            double error = fabs(d.value - want);
            ck_assert_msg(error <= 5 * d.uncertainty + 1e-15 * fabs(want) + 1e-24,
                          "%s at %.17g, rtol %g: off by %g, claims %g", c->name, x, rtol, error, d.uncertainty);
            bool good = d.uncertainty <= fmax(rtol * fabs(d.value) + rtol / 1e3, AG_CHECK_BLUR * fabs(d.value));
            ck_assert(good == (d.trouble == AG_CAUSE_NONE));
        }
}
END_TEST

/* A well-behaved function costs three steps and a probe, no more. */
START_TEST(eight_evaluations)
{
    ag_ctx *ctx = test_begin();
    function *const f[] = { constant, line, square, exponential, sine, tangent };
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        subject s;
        subject_begin(&s, ctx, f[i], 1, 0.3);
        ag_check_derivative(&s.check, &first_element, (const double[]){ 1 });
        ck_assert_int_eq(s.evaluations, 8);
    }
    test_end(ctx);
}
END_TEST

/* ---- Kinks ---- */

static double kink_at;

static double relu(double x)
{
    return x > kink_at ? x - kink_at : 0;
}

static double absolute(double x)
{
    return fabs(x - kink_at);
}

static double bent(double x) /* a small corner on a curve */
{
    return exp(x) + 1e-4 * fabs(x - kink_at);
}

static double cusp(double x)
{
    return sqrt(fabs(x - kink_at));
}

static double upright(double x) /* the tangent is vertical */
{
    return cbrt(x - kink_at);
}

static double jump(double x)
{
    return x > kink_at ? 1 : 0;
}

START_TEST(kinks_at_the_point)
{
    function *const corner[] = { relu, absolute, bent }, *const worse[] = { cusp, upright, jump };
    const double at[] = { 0, 0.3, -1.7, 1000 };
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        kink_at = at[k];
        for (size_t i = 0; i < 3; i++) {
            ag_derivative d = { 0, 0, AG_CAUSE_KINK };
            if (!(corner[i] == bent && fabs(at[k]) > 1)) /* exp(1000) hides it */
                d = derivative(corner[i], at[k]);
            ck_assert_msg(d.trouble == AG_CAUSE_KINK, "corner %zu at %g: trouble %d, %g +- %g", i, at[k],
                          (int)d.trouble, d.value, d.uncertainty);
            ck_assert_int_ne(derivative(worse[i], at[k]).trouble, AG_CAUSE_NONE);
        }
    }
}
END_TEST

/* However near, a kink beside the point is stepped inside of. */
START_TEST(kinks_near_the_point)
{
    for (double distance = 0.02; distance > 2e-7; distance /= 1.7)
        for (int side = -1; side <= 1; side += 2)
            for (double at = 0; at < 3; at += 1.3) {
                kink_at = at + side * distance;
                ag_derivative r = derivative(relu, at), a = derivative(absolute, at), b = derivative(bent, at);
                ck_assert_msg(r.uncertainty <= 1e-7 && fabs(r.value - (side < 0)) < 1e-7, "%g from relu's: %.12g",
                              side * distance, r.value);
                ck_assert_msg(a.trouble == AG_CAUSE_NONE && fabs(a.value + side) < 2e-6, "%g from abs's: %.12g",
                              side * distance, a.value);
                double want = exp(at) - side * 1e-4;
                ck_assert_msg(b.trouble == AG_CAUSE_NONE ? fabs(b.value - want) < 1e-6 * (1 + want) : distance < 1e-4,
                              "%g from bent's: %.12g, not %.12g", side * distance, b.value, want);
            }
}
END_TEST

static double half_square(double x)
{
    return x > kink_at ? (x - kink_at) * (x - kink_at) : 0;
}

/* Where only the second derivative jumps the first is known, if less exactly: never a wrong value. */
START_TEST(second_derivative_jumps)
{
    const double at[] = { 0, 0.3, 5 };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        kink_at = at[i];
        ag_derivative d = derivative(half_square, at[i]);
        ck_assert_msg(fabs(d.value) <= 2 * d.uncertainty && d.trouble != AG_CAUSE_KINK, "at %g: %g +- %g, trouble %d",
                      at[i], d.value, d.uncertainty, (int)d.trouble);
        if (at[i] == 0)
            ck_assert_int_eq(d.trouble, AG_CAUSE_NONE);
    }
}
END_TEST

/* ---- Not finite, and noisy ---- */

static double edge(double x) /* ends 1e-4 behind 1 */
{
    return x > 1.0001 ? (double)NAN : x * x;
}

static double nowhere(double x)
{
    return x * (double)NAN;
}

static double infinite(double x)
{
    return x > -5 ? (double)INFINITY : 0;
}

static double masked(double x) /* minus infinity everywhere around the point: a constant */
{
    return x > 100 ? x : -(double)INFINITY;
}

START_TEST(values_that_are_not_finite)
{
    ag_derivative d = derivative(edge, 1);
    ck_assert_int_eq(d.trouble, AG_CAUSE_NONE);
    ck_assert_double_eq_tol(d.value, 2, 1e-8);
    ck_assert_int_eq(derivative(logarithm, 0).trouble, AG_CAUSE_NON_FINITE);
    ck_assert_int_eq(derivative(root, 0).trouble, AG_CAUSE_NON_FINITE);
    ck_assert_int_eq(derivative(logarithm, -1).trouble, AG_CAUSE_NON_FINITE);
    ck_assert_int_eq(derivative(nowhere, 1).trouble, AG_CAUSE_NON_FINITE);
    ck_assert_int_eq(derivative(infinite, 1).value == 0, true);
    ck_assert_int_eq(derivative(infinite, -5).trouble, AG_CAUSE_NON_FINITE);
    ck_assert_int_eq(derivative(masked, 1).trouble, AG_CAUSE_NONE);
    ck_assert_double_eq(derivative(masked, 1).value, 0);
}
END_TEST

static double in_float(double x)
{
    return (double)(float)(x * x + x);
}

/* Rounding to float32 hides the slope from narrow steps, which see stairs. The measured noise keeps the steps wide, and
 * the uncertainty is what the error can be. */
START_TEST(float_inside)
{
    for (int k = 0; k < 2000; k++) {
        double x = 0.1 + 0.00098 * k, want = 2 * x + 1;
        ag_derivative d = derivative(in_float, x);
        ck_assert_msg(d.trouble == AG_CAUSE_NONE && fabs(d.value - want) <= 2 * d.uncertainty,
                      "at %g: %.9g, wanted %.9g; uncertainty %g, trouble %d", x, d.value, want, d.uncertainty,
                      (int)d.trouble);
        ck_assert_msg(d.uncertainty < 1e-3 * want, "at %g: uncertainty %g", x, d.uncertainty);
    }
}
END_TEST

/* ---- Directions, weights, single outputs ---- */

START_TEST(directions)
{
    ag_direction element = { .index = 3 }, some = { .index = -1, .first = 2, .end = 1000, .seed = 5 };
    int64_t ups = 0;
    for (int64_t i = 0; i < 1100; i++) {
        ck_assert_double_eq(ag_direction_at(&element, i), i == 3);
        double u = ag_direction_at(&some, i);
        ck_assert(fabs(u) == (i >= 2 && i < 1000));
        ups += u > 0;
    }
    ck_assert(ups > 400 && ups < 600);

    ag_ctx *ctx = test_begin();
    subject s;
    subject_begin(&s, ctx, sine, MOST, 0.4);
    double c[MOST], want = 0;
    some.end = 6;
    for (int i = 0; i < MOST; i++) {
        s.x[i] = 0.1 + 0.3 * i;
        s.y[i] = sin(s.x[i]);
        c[i] = i == 4 ? 0 : 1 - 0.4 * i;
        want += c[i] * ag_direction_at(&some, i) * cos(s.x[i]);
    }
    ag_derivative d = ag_check_derivative(&s.check, &some, c);
    ck_assert_double_eq_tol(d.value, want, 1e-11);
    ag_derivative sum, each[MOST];
    ck_assert(ag_check_derivatives(&s.check, &some, c, &sum, each, true));
    ck_assert_double_eq(sum.value, d.value);
    for (int i = 0; i < MOST; i++)
        ck_assert_double_eq_tol(each[i].value, ag_direction_at(&some, i) * cos(s.x[i]), 1e-11);
    test_end(ctx);
}
END_TEST

/* The gradient for any cotangent, by differences and from a Jacobian. */
START_TEST(gradients)
{
    ag_ctx *ctx = test_begin();
    subject s;
    subject_begin(&s, ctx, exponential, 3, 0.5);
    double c[] = { 2, -1, 0.5 }, g[3], jacobian[9] = { 1, 2, 3, 4, 5, 6, 7, 8, (double)NAN }, *rows = jacobian;
    ck_assert(ag_check_gradient(&s.check, 0, c, g));
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(g[i], c[i] * exp(0.5), 1e-11);
    s.check.jacobian = &rows;
    c[2] = 0; /* outputs that do not count may have no derivative */
    ck_assert(ag_check_gradient(&s.check, 0, c, g));
    ck_assert(g[0] == 0 && g[1] == 3 && g[2] == 6);
    c[2] = 1;
    ck_assert(!ag_check_gradient(&s.check, 0, c, g));
    s.check.jacobian = NULL;
    s.f = nowhere;
    ck_assert(!ag_check_gradient(&s.check, 0, c, g));
    test_end(ctx);
}
END_TEST

START_TEST(closeness)
{
    ag_check check = { .config = { .rtol = 1e-6, .atol = 1e-9 } };
    ck_assert(ag_check_is_close(&check, 0, 1e-9));
    ck_assert(!ag_check_is_close(&check, 0, 2e-9));
    ck_assert(ag_check_is_close(&check, -1000, -1000.0009));
    ck_assert(!ag_check_is_close(&check, 1000, 1000.002));
    ck_assert(!ag_check_is_close(&check, 1, -1));
    ck_assert(!ag_check_is_close(&check, (double)NAN, 1));
    ck_assert(!ag_check_is_close(&check, (double)NAN, (double)NAN));
    ck_assert(!ag_check_is_close(&check, (double)INFINITY, (double)INFINITY));
    ck_assert(!ag_check_is_close(&check, 1, (double)INFINITY));
}
END_TEST

Suite *difference_suite(void)
{
    Suite *suite = suite_create("difference");
    TCase *smooth = tcase_create("smooth");
    tcase_add_loop_test(smooth, smooth_functions, 0, SMOOTH_CASES);
    tcase_add_loop_test(smooth, uncertainty_is_honest, 0, SMOOTH_CASES);
    tcase_add_test(smooth, eight_evaluations);
    suite_add_tcase(suite, smooth);
    TCase *rough = tcase_create("rough");
    tcase_add_test(rough, kinks_at_the_point);
    tcase_add_test(rough, kinks_near_the_point);
    tcase_add_test(rough, second_derivative_jumps);
    tcase_add_test(rough, values_that_are_not_finite);
    tcase_add_test(rough, float_inside);
    suite_add_tcase(suite, rough);
    TCase *forms = tcase_create("forms");
    tcase_add_test(forms, directions);
    tcase_add_test(forms, gradients);
    tcase_add_test(forms, closeness);
    suite_add_tcase(suite, forms);
    return suite;
}
