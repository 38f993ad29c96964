/* SPDX-License-Identifier: MIT
 *
 * check_gradcheck.c - the gradient check itself: what it passes, what it fails, what it calls inconclusive, and what
 * it leaves behind. The op under test is y = x^2 + x with a backward that can be made wrong.
 */
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
    ONE_ELEMENT,      /* 10 percent off in the last element alone */
    ONE_ELEMENT_HAIR, /* 1e-8 off there */
    FAULTS
} fault;

static void faulty_vjp(ag_vjp *v)
{
    fault what = *(const fault *)v->attr;
    ag_tensor *slope = ag_add_scalar(ag_scale(v->input[0], 2), what == MISSING_TERM ? 0 : 1);
    ag_tensor *gx = ag_mul(v->gy, slope);
    ag_tensor *last = ag_slice(ag_reshape(gx, AG_SHAPE(-1)), 0, -1, ag_numel(gx), 1);
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
        ag_copy_into(last, ag_scale(last, 1.1));
        break;
    case ONE_ELEMENT_HAIR:
        ag_copy_into(last, ag_scale(last, 1 + 1e-8));
        break;
    default:
        break;
    }
    ag_vjp_add(v, 0, gx);
}

static const ag_op faulty_op = { "faulty", 1, AG_KEEP_INPUT, faulty_vjp };

static ag_tensor *faulty(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count;
    ag_tensor *y = ag_add(ag_mul(ag_detach(x[0]), ag_detach(x[0])), ag_detach(x[0]));
    return ag_record(&faulty_op, y, x, 1, user, sizeof(fault), NULL);
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

/* The report's text, in a buffer of the caller. */
static ag_gradcheck_result run_report(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *x, int count, void *user,
                                      char *text, size_t size)
{
    FILE *file = tmpfile();
    ag_gradcheck_result result = ag_gradcheck(ctx, f, x, count, user, (ag_gradcheck_config){ .report = file });
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
    return result;
}

#define assert_contains(text, part) ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text)

/* ---- Verdicts ---- */

START_TEST(faults_fail)
{
    ag_ctx *ctx = test_begin();
    fault what = (fault)_i;
    ag_gradcheck_result r = run(ctx, faulty, values(ctx, 5), &what);
    bool passes = what == RIGHT || what == ONE_ELEMENT_HAIR;
    ck_assert_msg(r.verdict == (passes ? AG_PASS : AG_FAIL), "fault %d: verdict %d, error %g", _i, (int)r.verdict,
                  r.max_error);
    ck_assert_int_eq(r.checked, 5);
    ck_assert_int_eq(r.failed, passes ? 0 : what == ONE_ELEMENT ? 1 : 5);
    ck_assert_int_eq(r.inconclusive, 0);
    if (passes)
        ck_assert(r.max_error < 1e-7);
    if (what == SIGN)
        ck_assert_double_eq_tol(r.max_error, 2, 1e-6);
    if (what == ONE_ELEMENT)
        ck_assert_int_eq(r.index, 4);
    if (what == NOT_A_NUMBER || what == INFINITE)
        ck_assert(!isfinite(r.analytic) && isfinite(r.numeric));
    test_end(ctx);
}
END_TEST

/* Inputs of more than 4096 elements are checked along random directions of signs. Each sees the sum of all gradient
 * elements with signs, about sqrt(n) times one of them, to a relative 1e-6: among 10,000 elements one that is off by
 * 1e-4 of the usual size shows; 1e-8 does not. */
START_TEST(faults_fail_in_a_large_input)
{
    ag_ctx *ctx = test_begin();
    fault what = (fault)_i;
    ag_tensor *x = values(ctx, 10000);
    ag_gradcheck_result r = run(ctx, faulty, x, &what);
    bool passes = what == RIGHT || what == ONE_ELEMENT_HAIR;
    ck_assert_msg(r.verdict == (passes ? AG_PASS : AG_FAIL), "fault %d: verdict %d, error %g", _i, (int)r.verdict,
                  r.max_error);
    ck_assert_int_eq(r.checked, 16);
    ck_assert_int_eq(r.index, -1);
    test_end(ctx);
}
END_TEST

static ag_tensor *relu(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_relu(x[0]);
}

static ag_tensor *absolute(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_abs(x[0]);
}

START_TEST(kinks_are_inconclusive)
{
    ag_ctx *ctx = test_begin();
    ag_gradcheck_fn *const f[] = { relu, absolute };
    for (int i = 0; i < 2; i++) {
        ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (const double[]){ -1, 0, 2 }));
        char text[500];
        ag_gradcheck_result r = run_report(ctx, f[i], &x, 1, NULL, text, sizeof text);
        if (i == 0) { /* relu's 0 is one side's slope, abs's 0 the mean of both and so the central difference */
            ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
            ck_assert_int_eq(r.inconclusive, 1);
            ck_assert_int_eq(r.index, 1);
            assert_contains(text, "gradcheck relu: INCONCLUSIVE, 3 checked, 0 failed, 1 inconclusive");
            assert_contains(text, "a kink; move the input away from it");
        } else {
            ck_assert_int_ne(r.verdict, AG_FAIL);
        }
        /* Near the kink, but not at it: a finer step decides. */
        for (int side = -1; side <= 1; side += 2) {
            ag_tensor *near = ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(1), side * 5e-6));
            ck_assert_int_eq(run(ctx, f[i], near, NULL).verdict, AG_PASS);
        }
    }
    test_end(ctx);
}
END_TEST

static ag_tensor *clumsy_relu(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    return ag_add(ag_relu(x[0]), faulty(ctx, x, count, user));
}

/* A kink somewhere does not excuse a fault elsewhere. */
START_TEST(a_fault_outweighs_a_kink)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (const double[]){ 0, 1, 2 }));
    fault what = SIGN;
    ag_gradcheck_result r = run(ctx, clumsy_relu, x, &what);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.failed, 2);
    ck_assert_int_eq(r.inconclusive, 1);
    what = RIGHT;
    ck_assert_int_eq(run(ctx, clumsy_relu, x, &what).verdict, AG_INCONCLUSIVE);
    test_end(ctx);
}
END_TEST

static ag_tensor *restless(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count;
    int *calls = user;
    return ag_scale(x[0], ++*calls);
}

START_TEST(a_function_that_does_not_repeat)
{
    ag_ctx *ctx = test_begin();
    int calls = 0;
    char text[500];
    ag_tensor *x = values(ctx, 3);
    ag_gradcheck_result r = run_report(ctx, restless, &x, 1, &calls, text, sizeof text);
    ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
    ck_assert_int_eq(r.checked, 0);
    assert_contains(text, "the function does not repeat itself: two runs on the same inputs differ");
    test_end(ctx);
}
END_TEST

static ag_tensor *dropped(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_mul(ag_dropout(x[0], 0.5), ag_dropout(x[0], 0.25));
}

START_TEST(dropout_repeats)
{
    ag_ctx *ctx = test_begin();
    ck_assert_int_eq(run(ctx, dropped, values(ctx, 40), NULL).verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

static ag_tensor *softmax(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_softmax(x[0], -1);
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

static ag_tensor *wrong_softmax(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count;
    return ag_record(user, ag_softmax(ag_detach(x[0]), -1), x, 1, NULL, 0, NULL);
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

static ag_tensor *view(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count;
    return *(int *)user == 0 ? ag_reshape(x[0], AG_SHAPE(4, 2)) : ag_transpose(x[0], 0, 1);
}

/* Results that share memory with the input, and results that are not contiguous. */
START_TEST(views_pass)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 4)));
    for (int kind = 0; kind < 2; kind++)
        ck_assert_int_eq(run(ctx, view, x, &kind).verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

/* ---- Arguments ---- */

static ag_tensor *sum_of_two(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)user;
    return count == 2 ? ag_mul(x[0], x[1]) : ag_exp(x[0]);
}

static void expect_error(ag_ctx *ctx, ag_tensor *a, ag_tensor *b, ag_status status, const char *message)
{
    ag_tensor *x[] = { a, b };
    char text[500];
    ag_gradcheck_result r = run_report(ctx, sum_of_two, x, b == NULL ? 1 : 2, NULL, text, sizeof text);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    assert_contains(text, message);
    assert_error(ctx, status, message);
}

START_TEST(inputs_that_can_not_be_checked)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 3)));
    ag_tensor *view_of_x = ag_require_grad(ag_tensor_reshape(x, AG_SHAPE(2, 3)));
    ag_tensor *strided = ag_require_grad(ag_tensor_transpose(ag_randn(ctx, AG_F64, AG_SHAPE(3, 2)), 0, 1));
    ag_tensor *repeated = ag_require_grad(ag_tensor_expand(ag_randn(ctx, AG_F64, AG_SHAPE(1, 3)), AG_SHAPE(2, 3)));
    ag_tensor *narrow = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(2, 3)));
    expect_error(ctx, x, x, AG_ERR_ARGUMENT, "gradcheck: inputs 0 and 1 share memory");
    expect_error(ctx, x, view_of_x, AG_ERR_ARGUMENT, "gradcheck: inputs 0 and 1 share memory");
    expect_error(ctx, strided, NULL, AG_ERR_ARGUMENT, "gradcheck: input 0 [2,3] is a strided view");
    expect_error(ctx, repeated, NULL, AG_ERR_ARGUMENT, "gradcheck: input 0 [2,3] is a strided view");
    expect_error(ctx, narrow, NULL, AG_ERR_DTYPE, "gradcheck: input 0 is float32; differences need float64");
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

static ag_tensor *bad_result(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count;
    return user == NULL ? NULL : ag_cast(x[0], AG_F32);
}

START_TEST(results_that_can_not_be_checked)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = values(ctx, 3);
    ck_assert_int_eq(run(ctx, bad_result, x, NULL).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_ARGUMENT, "gradcheck: the function returned NULL");
    ck_assert_int_eq(run(ctx, bad_result, x, x).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_DTYPE, "gradcheck: the function returned float32, must be float64");
    test_end(ctx);
}
END_TEST

/* ---- What it says and what it leaves ---- */

static ag_tensor *scaled_and_faulty(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)count;
    ag_tensor *wrong = faulty(ctx, &x[1], 1, user);
    return wrong == NULL ? NULL : ag_add(ag_exp(x[0]), wrong);
}

START_TEST(the_report_names_the_place)
{
    ag_ctx *ctx = test_begin();
    fault what = ONE_ELEMENT;
    ag_tensor *a = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 3)));
    ag_tensor *b = ag_set_name(ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(2, 3), 1)), "blocks.0.w");
    ag_tensor *x[] = { a, b };
    char text[500], wanted[200];
    ag_gradcheck_result r = run_report(ctx, scaled_and_faulty, x, 2, &what, text, sizeof text);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.input, 1);
    ck_assert_int_eq(r.index, 5);
    ck_assert_double_eq_tol(r.analytic, 1.1 * r.numeric, 1e-8);
    assert_contains(text, "gradcheck add: FAIL, 12 checked, 1 failed, 0 inconclusive, worst relative error 9.1e-02\n");
    snprintf(wanted, sizeof wanted, "  worst: input 1 'blocks.0.w' [2,3] at [1,2]: analytic %.10g, numeric %.10g\n",
             r.analytic, r.numeric);
    assert_contains(text, wanted);
    what = NOTHING;
    run_report(ctx, scaled_and_faulty, x, 2, &what, text, sizeof text);
    assert_contains(text, "  backward gave this input no gradient at all\n");
    what = RIGHT;
    run_report(ctx, scaled_and_faulty, x, 2, &what, text, sizeof text);
    assert_contains(text, "gradcheck add: PASS, 12 checked, 0 failed, 0 inconclusive, worst relative error ");
    test_end(ctx);
}
END_TEST

START_TEST(inputs_are_left_as_they_were)
{
    ag_ctx *ctx = test_begin();
    fault what = RIGHT;
    for (int64_t n = 7; n < 10000; n += 5000) {
        ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, 1, &n)), *before = ag_tensor_clone(x);
        ag_tape *tape = ag_tape_begin(ctx);
        ck_assert_int_eq(ag_backward(tape, ag_sum(ag_scale(x, 3), AG_ALL_DIMS, false)), AG_OK);
        ag_tape_end(tape);
        ag_tensor *gradient = ag_grad(x), *copy = ag_tensor_clone(gradient);
        for (int i = 0; i < 3; i++) { /* passes, fails, and fails to run */
            what = i == 0 ? RIGHT : SIGN;
            run(ctx, i == 2 ? bad_result : faulty, x, i == 2 ? NULL : &what);
            ag_error_clear(ctx);
            ck_assert(memcmp(ag_data(x), ag_data(before), (size_t)n * sizeof(double)) == 0);
            ck_assert_ptr_eq(ag_grad(x), gradient);
            assert_same(gradient, copy);
        }
        ag_zero_grad(x);
        run(ctx, faulty, x, &what);
        ck_assert_ptr_null(ag_grad(x));
    }
    test_end(ctx);
}
END_TEST

/* Scopes inside are closed: nothing piles up from one evaluation to the next. */
START_TEST(memory_does_not_grow)
{
    ag_ctx *ctx = test_begin();
    fault what = RIGHT;
    ag_tensor *x = values(ctx, 100);
    run(ctx, faulty, x, &what);
    size_t bytes = ag_ctx_bytes(ctx);
    for (int i = 0; i < 3; i++)
        run(ctx, faulty, x, &what);
    ck_assert_uint_eq(ag_ctx_bytes(ctx), bytes);
    test_end(ctx);
}
END_TEST

Suite *gradcheck_suite(void)
{
    Suite *suite = suite_create("gradcheck");
    TCase *verdicts = tcase_create("verdicts");
    tcase_set_timeout(verdicts, 60);
    tcase_add_loop_test(verdicts, faults_fail, 0, FAULTS);
    tcase_add_loop_test(verdicts, faults_fail_in_a_large_input, 0, FAULTS);
    tcase_add_test(verdicts, kinks_are_inconclusive);
    tcase_add_test(verdicts, a_fault_outweighs_a_kink);
    tcase_add_test(verdicts, a_function_that_does_not_repeat);
    tcase_add_test(verdicts, dropout_repeats);
    tcase_add_test(verdicts, softmax_needs_a_random_cotangent);
    tcase_add_test(verdicts, views_pass);
    suite_add_tcase(suite, verdicts);
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, inputs_that_can_not_be_checked);
    tcase_add_test(rules, results_that_can_not_be_checked);
    tcase_add_test(rules, the_report_names_the_place);
    tcase_add_test(rules, inputs_are_left_as_they_were);
    tcase_add_test(rules, memory_does_not_grow);
    suite_add_tcase(suite, rules);
    return suite;
}
