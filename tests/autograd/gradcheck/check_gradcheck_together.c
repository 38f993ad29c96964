/* SPDX-License-Identifier: MIT
 *
 * check_gradcheck_together.c - what the gradient check says when every op is right by itself and the gradient is wrong.
 */
#include "autograd/op_impl.h"
#include "tests/test.h"

#include <string.h>

/* y = x / 2. Of nodes side by side the vjp does the first alone. */
static void half_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_scale(v->gy, 0.5));
}

static const ag_op half_op = { "half", 1, AG_KEEP_NONE, half_vjp, .list = true };

static ag_tensor *half(ag_tensor *x)
{
    return ag_record(&half_op, ag_scale(ag_detach(x), 0.5), &x, 1, NULL, 0, NULL);
}

static void two_halves(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *first = half(x[0]);
    y[0] = ag_mul(first, half(x[1]));
}

START_TEST(a_vjp_that_is_wrong_for_nodes_side_by_side_is_named)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x[] = { ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3))),
                       ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3))) };
    ag_gradcheck_result r = ag_gradcheck(ctx, two_halves, x, 2, NULL, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_msg(strstr(r.explanation, "Every op is right by itself; the gradient of input 0 is wrong when the vjp of "
                                        "'half' takes several nodes") != NULL, "%s", r.explanation);
    test_end(ctx);
}
END_TEST

/* y = x, whose vjp is wrong unless the tape is observed. */
static void shy_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_observed(v->ctx) ? v->gy : ag_scale(v->gy, 2));
}

static const ag_op shy_op = { "shy", 1, AG_KEEP_NONE, shy_vjp };

static void run_shy(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_record(&shy_op, ag_tensor_clone(x[0]), x, 1, NULL, 0, NULL);
}

START_TEST(without_nodes_side_by_side_none_are_suspected)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3)));
    ag_gradcheck_result r = ag_gradcheck(ctx, run_shy, &x, 1, NULL, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_msg(strstr(r.explanation, "It does not repeat itself.") != NULL, "%s", r.explanation);
    test_end(ctx);
}
END_TEST

/* y = x^2 with a vjp that is wrong when the function ran unobserved. */
static void once_observed_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_mul(v->gy, ag_scale(v->input[0], *(const bool *)v->attr ? 2 : 4)));
}

static const ag_op once_observed_op = { "once_observed", 1, AG_KEEP_INPUT, once_observed_vjp };

typedef struct product {
    bool linear;
    int outputs;
} product;

/* The square of w x. A second output is w x. */
static void run_product(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    const product *p = user;
    bool observed = ag_observed(ctx);
    ag_tensor *h = p->linear ? ag_linear(x[0], x[1], NULL) : ag_mul(x[0], x[1]);
    ag_tensor *square = ag_mul(ag_detach(h), ag_detach(h));
    y[0] = ag_record(&once_observed_op, square, &h, 1, &observed, sizeof observed, NULL);
    if (p->outputs == 2)
        y[1] = h;
}

START_TEST(a_gradient_that_is_wrong_only_unobserved_is_told)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x[] = { ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 3))),
                       ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 3))) };
    product p = { .linear = _i == 1, .outputs = _i == 2 ? 2 : 1 };
    ag_gradcheck_result r = ag_gradcheck(ctx, run_product, x, 2, &p, (ag_gradcheck_config){ .outputs = p.outputs });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_msg(strstr(r.explanation, "each op by itself, the gradient of input 0 is right.") != NULL, "%s",
                  r.explanation);
    ck_assert_msg((strstr(r.explanation, "ag_linear_list") != NULL) == p.linear, "%s", r.explanation);
    test_end(ctx);
}
END_TEST

Suite *gradcheck_together_suite(void)
{
    Suite *suite = suite_create("gradcheck_together");
    TCase *all = tcase_create("all");
    tcase_add_test(all, a_vjp_that_is_wrong_for_nodes_side_by_side_is_named);
    tcase_add_test(all, without_nodes_side_by_side_none_are_suspected);
    tcase_add_loop_test(all, a_gradient_that_is_wrong_only_unobserved_is_told, 0, 3);
    suite_add_tcase(suite, all);
    return suite;
}
