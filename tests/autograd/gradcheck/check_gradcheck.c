/* SPDX-License-Identifier: MIT
 *
 * check_gradcheck.c - the gradient check itself: what it passes, what it fails, what it calls inconclusive and why, and
 * what it leaves behind. The op under test is y = x^2 + x with a backward that can be made wrong. What is said of a
 * failure is in check_gradcheck_together.c, check_explain.c, check_locate.c and check_report.c.
 */
#include "autograd/op_impl.h"
#include "tests/test.h"

#include <string.h>

/* ---- An op with faults ---- */

typedef enum fault {
    RIGHT,
    SIGN,
    TWICE,
    SLIGHTLY,        /* a factor of 1.001 */
    MISSING_TERM,
    ZERO,
    NOTHING,         /* no contribution at all */
    NOT_A_NUMBER,
    INFINITE,
    GRADIENT_IGNORED, /* as if gy were 1 */
    ONE_ELEMENT,      /* 10 percent off in one element alone */
    ONE_ELEMENT_HAIR, /* 1e-8 off there */
    FAULTS
} fault;

/* The op's attributes: the fault, and which element has it. */
typedef struct plan {
    fault what;
    int64_t at;
} plan;

static void faulty_vjp(ag_vjp *v)
{
    const plan *p = v->attr;
    fault what = p->what;
    ag_tensor *slope = ag_add_scalar(ag_scale(v->input[0], 2), what == MISSING_TERM ? 0 : 1);
    ag_tensor *gx = ag_mul(v->gy, slope);
    ag_tensor *one = ag_slice(ag_reshape(gx, AG_SHAPE(-1)), 0, p->at, p->at + 1, 1);
    switch (what) {
    case SIGN:
        gx = ag_neg(gx);
        break;
    case TWICE:
        gx = ag_scale(gx, 2);
        break;
    case SLIGHTLY:
        gx = ag_scale(gx, 1.001);
        break;
    case ZERO:
        gx = ag_scale(gx, 0);
        break;
    case NOTHING:
        return;
    case NOT_A_NUMBER:
        gx = ag_scale(gx, (double)NAN);
        break;
    case INFINITE:
        gx = ag_scale(gx, (double)INFINITY);
        break;
    case GRADIENT_IGNORED:
        gx = slope;
        break;
    case ONE_ELEMENT:
        ag_copy_into(one, ag_scale(one, 1.1));
        break;
    case ONE_ELEMENT_HAIR:
        ag_copy_into(one, ag_scale(one, 1 + 1e-8));
        break;
    default:
        break;
    }
    ag_vjp_add(v, 0, gx);
}

static const ag_op faulty_op = { "faulty", 1, AG_KEEP_INPUT, faulty_vjp };

static void faulty(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    ag_tensor *result = ag_add(ag_mul(ag_detach(x[0]), ag_detach(x[0])), ag_detach(x[0]));
    y[0] = ag_record(&faulty_op, result, x, 1, user, sizeof(plan), NULL);
}

/* ---- Helpers ---- */

static ag_tensor *values(ag_ctx *ctx, int64_t n)
{
    return ag_require_grad(ag_add_scalar(ag_rand(ctx, AG_F64, 1, &n), 0.25));
}

static ag_gradcheck_result run(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *x, void *user)
{
    return ag_gradcheck(ctx, f, &x, 1, user, (ag_gradcheck_config){ 0 });
}

/* ---- Verdicts ---- */

START_TEST(faults_fail)
{
    ag_ctx *ctx = test_begin();
    plan p = { (fault)_i, 3 };
    ag_gradcheck_result r = run(ctx, faulty, values(ctx, 5), &p);
    bool passes = p.what == RIGHT || p.what == ONE_ELEMENT_HAIR;
    ck_assert_msg(r.verdict == (passes ? AG_PASS : AG_FAIL), "fault %d: verdict %d, error %g", _i, (int)r.verdict,
                  r.max_error);
    ck_assert_int_eq(r.checked, 5);
    ck_assert_int_eq(r.failed, passes ? 0 : p.what == ONE_ELEMENT ? 1 : 5);
    ck_assert_int_eq(r.inconclusive, 0);
    ck_assert_int_eq(r.input, 0);
    ck_assert((r.worst.cause == AG_CAUSE_NONE) == passes);
    if (passes)
        ck_assert(r.max_error < (p.what == RIGHT ? 1e-10 : 2e-8));
    if (p.what == SIGN)
        ck_assert_double_eq_tol(r.max_error, 2, 1e-9);
    if (p.what == ONE_ELEMENT) {
        ck_assert_int_eq(r.worst.index, 3);
        ck_assert_double_eq_tol(r.worst.analytic, 1.1 * r.worst.numeric, 1e-9);
        ck_assert_double_eq_tol(r.max_error, 0.1 / 1.1, 1e-9);
    }
    if (p.what == NOT_A_NUMBER || p.what == INFINITE) {
        ck_assert(!isfinite(r.worst.analytic) && isfinite(r.worst.numeric));
        ck_assert_double_eq(r.max_error, (double)INFINITY);
    }
    test_end(ctx);
}
END_TEST

/* Inputs of more than 4096 elements are checked along random directions of signs. Each sees the sum of all gradient
 * elements with signs, about sqrt(n) times one of them, to a relative 1e-6: among 10,000 elements one that is off by
 * 1e-4 of the usual size shows; 1e-8 does not. The direction that fails is narrowed down to an element. */
START_TEST(faults_fail_in_a_large_input)
{
    ag_ctx *ctx = test_begin();
    const int64_t at[] = { 0, 6421, 9999 };
    const int places = _i == ONE_ELEMENT || _i == ONE_ELEMENT_HAIR ? 3 : 1; /* else the fault is everywhere */
    for (int k = 0; k < places; k++) {
        plan p = { (fault)_i, at[k] };
        ag_tensor *x = values(ctx, 10000);
        ag_gradcheck_result r = run(ctx, faulty, x, &p);
        bool passes = p.what == RIGHT || p.what == ONE_ELEMENT_HAIR;
        ck_assert_msg(r.verdict == (passes ? AG_PASS : AG_FAIL), "fault %d: verdict %d, error %g", _i, (int)r.verdict,
                      r.max_error);
        ck_assert_int_eq(r.checked, 16);
        ck_assert_int_eq(r.failed, passes ? 0 : 16);
        ck_assert_int_eq(r.inconclusive, 0);
        ck_assert((r.worst.index == -1) == passes);
        if (p.what == ONE_ELEMENT)
            ck_assert_int_eq(r.worst.index, at[k]);
        if (p.what == ONE_ELEMENT || p.what == TWICE)
            ck_assert_double_eq_tol(r.worst.analytic, (p.what == TWICE ? 2 : 1.1) * r.worst.numeric, 1e-9);
        if (!passes)
            ck_assert_double_eq_tol(fabs(r.worst.numeric) / (2 * test_at(x, r.worst.index) + 1), 1, 0.51);
    }
    test_end(ctx);
}
END_TEST

/* ---- Kinks and other points where it can not be decided ---- */

static void relu(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_relu(x[0]);
}

static void absolute(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_abs(x[0]);
}

/* Its gradient at 0 is half of gy, which is the central difference too. */
static void tied(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)user;
    y[0] = ag_maximum(x[0], ag_zeros(ctx, AG_F64, AG_SHAPE(1)));
}

START_TEST(kinks_are_inconclusive)
{
    ag_ctx *ctx = test_begin();
    ag_gradcheck_fn *const f[] = { relu, absolute, tied };
    for (int i = 0; i < 3; i++) {
        ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (const double[]){ -1, 0, 2 }));
        ag_gradcheck_result r = run(ctx, f[i], x, NULL);
        ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
        ck_assert_int_eq(r.checked, 3);
        ck_assert_int_eq(r.inconclusive, 1);
        ck_assert_int_eq(r.worst.index, 1);
        ck_assert_int_eq(r.worst.cause, AG_CAUSE_KINK);
        ck_assert_ptr_nonnull(strstr(r.explanation, "a kink"));
        /* Near the kink, but not at it: a finer step decides. */
        for (int side = -1; side <= 1; side += 2) {
            ag_tensor *near = ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(1), side * 5e-6));
            ck_assert_int_eq(run(ctx, f[i], near, NULL).verdict, AG_PASS);
        }
    }
    test_end(ctx);
}
END_TEST

static void half_square(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_mul(ag_relu(x[0]), x[0]);
}

/* At 0 only the second derivative jumps, which is no fault. */
START_TEST(smooth_enough)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (const double[]){ -1, 0, 2 }));
    ag_gradcheck_result r = run(ctx, half_square, x, NULL);
    ck_assert_int_eq(r.verdict, AG_PASS);
    ck_assert_int_eq(r.failed + r.inconclusive, 0);
    test_end(ctx);
}
END_TEST

static void clumsy_relu(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    faulty(ctx, x, y, user);
    y[0] = ag_add(ag_relu(x[0]), y[0]);
}

/* A kink somewhere does not excuse a fault elsewhere. */
START_TEST(a_fault_outweighs_a_kink)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (const double[]){ 0, 1, 2 }));
    plan p = { SIGN, 0 };
    ag_gradcheck_result r = run(ctx, clumsy_relu, x, &p);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.failed, 2);
    ck_assert_int_eq(r.inconclusive, 1);
    ck_assert_int_ne(r.worst.index, 0);
    p.what = NOT_A_NUMBER; /* wrong at the kink too, whatever the derivative there */
    r = run(ctx, clumsy_relu, x, &p);
    ck_assert_int_eq(r.failed, 3);
    p.what = RIGHT;
    ck_assert_int_eq(run(ctx, clumsy_relu, x, &p).verdict, AG_INCONCLUSIVE);
    test_end(ctx);
}
END_TEST

static void restless(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    int *calls = user;
    y[0] = ag_scale(x[0], ++*calls);
}

START_TEST(a_function_that_does_not_repeat)
{
    ag_ctx *ctx = test_begin();
    int calls = 0;
    ag_gradcheck_result r = run(ctx, restless, values(ctx, 3), &calls);
    ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_NOT_REPEATABLE);
    ck_assert_int_eq(r.checked, 0);
    ck_assert_int_eq(r.input, -1);
    ck_assert_str_eq(r.explanation, "The function does not repeat itself: two runs on the same inputs differ.");
    test_end(ctx);
}
END_TEST

static void logarithm(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_log(x[0]);
}

START_TEST(values_that_are_not_finite)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (const double[]){ 1e-3, 0, -1 }));
    ag_gradcheck_result r = run(ctx, logarithm, x, NULL);
    ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_NON_FINITE);
    ck_assert_int_eq(r.checked, 3);
    ck_assert_int_ge(r.inconclusive, 1);
    ag_tensor *edge = ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(1), 1e-3)); /* the first steps reach below 0 */
    ck_assert_int_eq(run(ctx, logarithm, edge, NULL).verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

static void float_inside(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    faulty(ctx, x, y, user);
    y[0] = ag_cast(ag_cast(y[0], AG_F32), AG_F64);
}

/* Rounding inside is noise: derivatives are compared as exactly as it allows, and an error of 1 % shows. */
START_TEST(rounding_inside_is_noise)
{
    ag_ctx *ctx = test_begin();
    plan p = { RIGHT, 0 };
    ag_tensor *x = values(ctx, 50);
    ag_gradcheck_result r = run(ctx, float_inside, x, &p);
    ck_assert_msg(r.verdict == AG_PASS && r.worst.uncertainty > 1e-7, "%s", r.explanation);
    p.what = SIGN;
    r = run(ctx, float_inside, x, &p);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.failed, 50);
    p.what = ONE_ELEMENT;
    r = run(ctx, float_inside, x, &p);
    ck_assert(r.verdict == AG_FAIL && r.failed == 1 && r.worst.index == 0);
    test_end(ctx);
}
END_TEST

static void sum_of_both(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_add(ag_sum(ag_exp(x[0]), AG_ALL_DIMS, false), ag_sum(x[1], AG_ALL_DIMS, false));
}

/* What has no elements is not passed for it; beside an input that has some it does not count. */
START_TEST(nothing_to_check)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *empty = ag_require_grad(ag_zeros(ctx, AG_F64, AG_SHAPE(0, 3)));
    ag_tensor *x[] = { empty, ag_require_grad(ag_zeros(ctx, AG_F64, AG_SHAPE(2, 0))) };
    ag_gradcheck_input inputs[2];
    ag_gradcheck_config config = { .inputs = inputs };
    ag_gradcheck_result r = ag_gradcheck(ctx, sum_of_both, x, 2, NULL, config);
    ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_NOTHING_CHECKED);
    ck_assert(r.input == -1 && r.checked == 0);
    x[1] = values(ctx, 4);
    r = ag_gradcheck(ctx, sum_of_both, x, 2, NULL, config);
    ck_assert_int_eq(r.verdict, AG_PASS);
    ck_assert_str_eq(r.explanation, "");
    ck_assert(r.input == 1 && r.checked == 4);
    ck_assert(inputs[0].verdict == AG_INCONCLUSIVE && inputs[0].cause == AG_CAUSE_NOTHING_CHECKED);
    ck_assert(inputs[1].verdict == AG_PASS && inputs[1].checked == 4);
    test_end(ctx);
}
END_TEST

/* ---- Randomness, cotangents, views ---- */

static void dropped(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_mul(ag_dropout(x[0], 0.5), ag_dropout(x[0], 0.25));
}

START_TEST(dropout_repeats)
{
    ag_ctx *ctx = test_begin();
    ck_assert_int_eq(run(ctx, dropped, values(ctx, 40), NULL).verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

static void softmax(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_softmax(x[0], -1);
}

static void softmax_of_all_vjp(ag_vjp *v) /* wrong: the sum over everything, not per row */
{
    ag_tensor *y = v->output;
    ag_vjp_add(v, 0, ag_mul(y, ag_sub(v->gy, ag_sum(ag_mul(v->gy, y), AG_ALL_DIMS, false))));
}
static const ag_op softmax_of_all = { "softmax_of_all", 1, AG_KEEP_OUTPUT, softmax_of_all_vjp };

static void no_softmax_vjp(ag_vjp *v) /* wrong, but right for an all-ones cotangent */
{
    ag_vjp_add(v, 0, ag_scale(v->gy, 0));
}
static const ag_op no_softmax = { "no_softmax", 1, AG_KEEP_NONE, no_softmax_vjp };

static void wrong_softmax(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    y[0] = ag_record(user, ag_softmax(ag_detach(x[0]), -1), x, 1, NULL, 0, NULL);
}

START_TEST(softmax_needs_a_random_cotangent)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 4)));
    ag_op all = softmax_of_all, none = no_softmax;
    ck_assert_int_eq(run(ctx, softmax, x, NULL).verdict, AG_PASS);
    ck_assert_int_eq(run(ctx, wrong_softmax, x, &all).verdict, AG_FAIL);
    ck_assert_int_eq(run(ctx, wrong_softmax, x, &none).verdict, AG_FAIL);
    test_end(ctx);
}
END_TEST

static void view(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    int kind = *(int *)user;
    y[0] = kind == 0 ? ag_reshape(x[0], AG_SHAPE(4, 2)) : kind == 1 ? ag_transpose(x[0], 0, 1) : x[0];
}

/* Results that share memory with the input, that are not contiguous, and the input itself. */
START_TEST(views_pass)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 4)));
    for (int kind = 0; kind < 3; kind++)
        ck_assert_int_eq(run(ctx, view, x, &kind).verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

/* ---- Several inputs and outputs ---- */

/* A matrix, a strided view, a scalar and a constant. */
static void four_outputs(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    ag_tensor *product = ag_matmul(x[0], x[1]);
    y[0] = product;
    y[1] = ag_transpose(ag_exp(x[0]), 0, 1);
    faulty(ctx, &x[1], &y[2], user);
    y[2] = ag_sum(ag_embedding(y[2], x[2]), AG_ALL_DIMS, false);
    y[3] = ag_full(ctx, AG_F64, AG_SHAPE(2), 7);
}

START_TEST(several_outputs)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x[] = { ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 3))),
                       ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 2))),
                       ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 1, 1 }) };
    ag_gradcheck_input inputs[3];
    ag_gradcheck_config config = { .outputs = 4, .inputs = inputs };
    plan p = { RIGHT, 0 };
    ag_gradcheck_result r = ag_gradcheck(ctx, four_outputs, x, 3, &p, config);
    ck_assert_msg(r.verdict == AG_PASS, "%s", r.explanation);
    ck_assert_int_eq(r.checked, 12);
    ck_assert(inputs[0].checked == 6 && inputs[1].checked == 6 && inputs[2].checked == 0);
    p = (plan){ ONE_ELEMENT, 3 }; /* element [1,1] of x[1], through output 2, which is element 10 of all */
    r = ag_gradcheck(ctx, four_outputs, x, 3, &p, config);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.failed, 1);
    ck_assert_int_eq(r.input, 1);
    ck_assert_int_eq(r.worst.index, 3);
    ck_assert(r.worst.output_index == 10 || r.worst.output_index == -1);
    ck_assert(inputs[0].verdict == AG_PASS && inputs[1].verdict == AG_FAIL && inputs[1].failed == 1);
    test_end(ctx);
}
END_TEST

/* ---- Arguments ---- */

static void sum_of_two(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    y[0] = user != NULL ? ag_mul(x[0], x[1]) : ag_exp(x[0]);
}

static void expect_error(ag_ctx *ctx, ag_tensor *a, ag_tensor *b, ag_status status, const char *message)
{
    ag_tensor *x[] = { a, b };
    ag_gradcheck_result r = ag_gradcheck(ctx, sum_of_two, x, b == NULL ? 1 : 2, b, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_ERROR);
    ck_assert_str_eq(r.explanation, ag_error_message(ctx));
    assert_error(ctx, status, message);
}

START_TEST(configs_that_make_no_sense)
{
    static const ag_gradcheck_config configs[] = { { .rtol = -1 },       { .atol = (double)NAN }, { .step = -0.5 },
                                                   { .elements = -1 },   { .directions = -1 },    { .outputs = -1 } };
    static const char *const messages[] = { "rtol -1", "atol nan", "step is -0.5",
                                            "elements is -1", "directions -1", "outputs -1" };
    ag_ctx *ctx = test_begin();
    fault what = RIGHT;
    ag_tensor *x = values(ctx, 3);
    for (int i = 0; i < 6; i++) {
        ag_gradcheck_result r = ag_gradcheck(ctx, faulty, &x, 1, &what, configs[i]);
        ck_assert_int_eq(r.verdict, AG_FAIL);
        ck_assert_int_eq(r.worst.cause, AG_CAUSE_ERROR);
        assert_error(ctx, AG_ERR_ARGUMENT, messages[i]);
    }
    test_end(ctx);
}
END_TEST

START_TEST(inputs_that_can_not_be_checked)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 3)));
    ag_tensor *view_of_x = ag_require_grad(ag_tensor_reshape(x, AG_SHAPE(2, 3)));
    ag_tensor *strided = ag_require_grad(ag_tensor_transpose(ag_randn(ctx, AG_F64, AG_SHAPE(3, 2)), 0, 1));
    ag_tensor *repeated = ag_require_grad(ag_tensor_expand(ag_randn(ctx, AG_F64, AG_SHAPE(1, 3)), AG_SHAPE(2, 3)));
    expect_error(ctx, x, x, AG_ERR_ARGUMENT, "gradcheck: inputs 0 and 1 share memory");
    expect_error(ctx, x, view_of_x, AG_ERR_ARGUMENT, "gradcheck: inputs 0 and 1 share memory");
    expect_error(ctx, strided, NULL, AG_ERR_ARGUMENT, "gradcheck: input 0 [2,3] is a strided view");
    expect_error(ctx, repeated, NULL, AG_ERR_ARGUMENT, "gradcheck: input 0 [2,3] is a strided view");
    expect_error(ctx, x, ag_randn(ctx, AG_F64, AG_SHAPE(3)), AG_ERR_ARGUMENT, "gradcheck: input 1 needs no gradient");
    expect_error(ctx, NULL, NULL, AG_ERR_ARGUMENT, "gradcheck: input 0 is NULL");
    ag_tensor *misfit = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(5)));
    expect_error(ctx, x, misfit, AG_ERR_SHAPE, "mul: [2,3] and [5] do not broadcast"); /* an error inside f */
    ag_tape *tape = ag_tape_begin(ctx);
    expect_error(ctx, x, NULL, AG_ERR_STATE, "a tape of 0 nodes is running");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static void bad_result(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    y[0] = user == NULL ? NULL : ag_cast(x[0], AG_I32);
}

static void growing(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    int *calls = user;
    y[0] = ag_slice(x[0], 0, 0, ++*calls, 1);
}

START_TEST(results_that_can_not_be_checked)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = values(ctx, 3);
    int calls = 0;
    ck_assert_int_eq(run(ctx, bad_result, x, NULL).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_ARGUMENT, "gradcheck: the function gave no output 0");
    ck_assert_int_eq(run(ctx, bad_result, x, x).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_DTYPE, "gradcheck: output 0 is int32, must be float32 or float64");
    ck_assert_int_eq(run(ctx, growing, x, &calls).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_SHAPE, "gradcheck: output 0 is [2] now, was [1]");
    test_end(ctx);
}
END_TEST

/* ---- What it leaves ---- */

static void with_another_leaf(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    y[0] = ag_mul(ag_dropout(x[0], 0.5), user);
}

START_TEST(inputs_are_left_as_they_were)
{
    ag_ctx *ctx = test_begin();
    for (int64_t n = 7; n < 10000; n += 5000) {
        ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, 1, &n)), *before = ag_tensor_clone(x);
        ag_tape *tape = ag_tape_begin(ctx);
        ck_assert_int_eq(ag_backward(tape, ag_sum(ag_scale(x, 3), AG_ALL_DIMS, false)), AG_OK);
        ag_tape_end(tape);
        ag_tensor *gradient = ag_grad(x), *copy = ag_tensor_clone(gradient);
        plan p = { RIGHT, 0 };
        for (int i = 0; i < 3; i++) { /* passes, fails, and fails to run */
            p.what = i == 0 ? RIGHT : SIGN;
            run(ctx, i == 2 ? bad_result : faulty, x, i == 2 ? NULL : &p);
            ag_error_clear(ctx);
            ck_assert(memcmp(ag_data(x), ag_data(before), (size_t)n * sizeof(double)) == 0);
            ck_assert_ptr_eq(ag_grad(x), gradient);
            assert_same(gradient, copy);
        }
        ag_zero_grad(x);
        run(ctx, faulty, x, &p);
        ck_assert_ptr_null(ag_grad(x));
    }
    ag_tensor *x = values(ctx, 3), *other = values(ctx, 3);
    ag_rng rng = ag_rng_get(ctx);
    ck_assert_int_eq(run(ctx, with_another_leaf, x, other).verdict, AG_PASS);
    ck_assert_ptr_null(ag_grad(other)); /* a leaf that f uses but that is not checked */
    ck_assert_uint_eq(ag_rng_get(ctx).counter, rng.counter);
    test_end(ctx);
}
END_TEST

/* Scopes inside are closed: nothing piles up from one evaluation to the next. */
START_TEST(memory_does_not_grow)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = values(ctx, 100);
    for (int i = 0; i < 2; i++) {
        plan p = { i == 0 ? RIGHT : TWICE, 0 };
        run(ctx, faulty, x, &p);
        size_t bytes = ag_ctx_bytes(ctx);
        for (int k = 0; k < 3; k++)
            run(ctx, faulty, x, &p);
        ck_assert_uint_eq(ag_ctx_bytes(ctx), bytes);
    }
    test_end(ctx);
}
END_TEST

Suite *gradcheck_suite(void)
{
    Suite *suite = suite_create("gradcheck");
    TCase *verdicts = tcase_create("verdicts");
    tcase_set_timeout(verdicts, 60);
    tcase_add_loop_test(verdicts, faults_fail, 0, FAULTS);
    tcase_add_test(verdicts, kinks_are_inconclusive);
    tcase_add_test(verdicts, smooth_enough);
    tcase_add_test(verdicts, a_fault_outweighs_a_kink);
    tcase_add_test(verdicts, a_function_that_does_not_repeat);
    tcase_add_test(verdicts, values_that_are_not_finite);
    tcase_add_test(verdicts, rounding_inside_is_noise);
    tcase_add_test(verdicts, nothing_to_check);
    tcase_add_test(verdicts, dropout_repeats);
    tcase_add_test(verdicts, softmax_needs_a_random_cotangent);
    tcase_add_test(verdicts, views_pass);
    tcase_add_test(verdicts, several_outputs);
    suite_add_tcase(suite, verdicts);
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, configs_that_make_no_sense);
    tcase_add_test(rules, inputs_that_can_not_be_checked);
    tcase_add_test(rules, results_that_can_not_be_checked);
    tcase_add_test(rules, inputs_are_left_as_they_were);
    tcase_add_test(rules, memory_does_not_grow);
    suite_add_tcase(suite, rules);
    TCase *large = tcase_create("large"); /* last: it takes most of the time */
    tcase_add_loop_test(large, faults_fail_in_a_large_input, 0, FAULTS);
    suite_add_tcase(suite, large);
    return suite;
}
