/* SPDX-License-Identifier: MIT
 *
 * check_gradient.c - ag_gradient: gradients of chosen tensors, which leave the accumulated ones alone.
 */
#include "tests/test.h"

#include <string.h>

static ag_tensor *random_leaf(ag_ctx *ctx, int64_t rows, int64_t columns)
{
    return ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(rows, columns)));
}

/* A small network with shared leaves, views, and gradients that go to several places at once. */
typedef struct network {
    ag_tensor *x, *w, *b, *unused;  /* leaves */
    ag_tensor *hidden, *part, *out; /* recorded */
} network;

static network build(ag_ctx *ctx)
{
    network n = { .x = random_leaf(ctx, 5, 3), .w = random_leaf(ctx, 4, 3), .b = random_leaf(ctx, 1, 4) };
    n.unused = random_leaf(ctx, 2, 2);
    return n;
}

static void run(network *n)
{
    n->hidden = ag_gelu(ag_add(ag_linear(n->x, n->w, NULL), n->b));
    n->part = ag_slice(n->hidden, 0, 1, 4, 1);
    ag_tensor *back = ag_matmul(n->hidden, n->w);
    n->out = ag_add(ag_mul(back, n->x), ag_sum(ag_exp(n->part), AG_DIMS(0, 1), false));
    ag_mul(n->out, test_total(n->unused)); /* behind the output */
}

START_TEST(same_bits_as_backward)
{
    ag_ctx *ctx = test_begin();
    network n = build(ctx);
    ag_tensor *cotangent = ag_randn(ctx, AG_F32, AG_SHAPE(5, 3));
    ag_tape *tape = ag_tape_begin(ctx);
    run(&n);
    ag_tensor *const wrt[] = { n.b, n.hidden, n.x, n.out, n.part, n.w };
    enum { COUNT = sizeof wrt / sizeof *wrt };
    ag_tensor *grad[COUNT];
    ck_assert_int_eq(ag_gradient(tape, n.out, cotangent, wrt, COUNT, grad), AG_OK);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_ptr_null(ag_grad(wrt[i]));
        ck_assert_int_eq(ag_retain_grad(wrt[i]), AG_OK);
    }
    ck_assert_int_eq(ag_backward_from(tape, n.out, cotangent), AG_OK);
    for (int i = 0; i < COUNT; i++)
        assert_same_bits(grad[i], ag_grad(wrt[i]));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(accumulated_gradients_stay)
{
    ag_ctx *ctx = test_begin();
    network n = build(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    run(&n);
    ag_tensor *loss = test_total(n.out), *grad[2];
    ag_retain_grad(n.part);
    ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
    ag_tensor *before[] = { ag_grad(n.x), ag_grad(n.w), ag_grad(n.part) };
    ag_tensor *copy[] = { ag_tensor_clone(before[0]), ag_tensor_clone(before[1]), ag_tensor_clone(before[2]) };
    ck_assert_int_eq(ag_gradient(tape, loss, NULL, (ag_tensor *[]){ n.x, n.hidden }, 2, grad), AG_OK);
    ag_tensor *const of[] = { n.x, n.w, n.part };
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_eq(ag_grad(of[i]), before[i]);
        assert_same_bits(before[i], copy[i]);
    }
    assert_same_bits(grad[0], copy[0]);
    ck_assert_ptr_null(ag_grad(n.hidden));
    ck_assert_int_eq(ag_backward(tape, loss), AG_OK); /* and backward goes on accumulating as before */
    assert_same(ag_grad(n.x), ag_scale(copy[0], 2));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Two tensors get the same gradient, one is named twice, and the output's is the cotangent: all are apart. */
START_TEST(results_are_nobody_elses)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 1, 2), *b = random_leaf(ctx, 1, 2);
    ag_tensor *cotangent = ag_full(ctx, AG_F32, AG_SHAPE(1, 2), 7);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_add(a, b), *wrt[] = { a, b, y, a, y }, *grad[5];
    ag_retain_grad(y);
    ck_assert_int_eq(ag_gradient(tape, y, cotangent, wrt, 5, grad), AG_OK);
    for (int i = 0; i < 5; i++) {
        assert_values(grad[i], 0, 7.0, 7.0);
        ck_assert_int_eq(ag_fill(grad[i], i), AG_OK);
    }
    for (int i = 0; i < 5; i++)
        assert_values(grad[i], 0, (double)i, (double)i);
    assert_values(cotangent, 0, 7.0, 7.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(results_belong_to_the_scope)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 1, 2), *grad = NULL;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *loss = test_total(ag_exp(a));
    ag_scope_begin(ctx, NULL);
    ck_assert_int_eq(ag_gradient(tape, loss, NULL, &a, 1, &grad), AG_OK);
    ag_retain(ag_scope_end(ctx, grad));
    ag_tape_end(tape);
    assert_close(grad, ag_exp(a), 0, 0);
    ag_release(grad);
    test_end(ctx);
}
END_TEST

START_TEST(no_dependence_gives_null)
{
    ag_ctx *ctx = test_begin();
    network n = build(ctx);
    ag_tensor *never = random_leaf(ctx, 1, 1);
    ag_tape *tape = ag_tape_begin(ctx);
    run(&n);
    ag_tensor *late = ag_exp(n.out), *wrt[] = { n.unused, n.b, late, never }, *grad[4];
    grad[0] = grad[2] = grad[3] = n.x;
    ck_assert_int_eq(ag_gradient(tape, test_total(n.out), NULL, wrt, 4, grad), AG_OK);
    ck_assert_ptr_null(grad[0]);
    ck_assert_ptr_nonnull(grad[1]);
    ck_assert_ptr_null(grad[2]);
    ck_assert_ptr_null(grad[3]);
    ck_assert_int_eq(ag_gradient(tape, test_total(n.out), NULL, NULL, 0, NULL), AG_OK);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static ag_tensor *times_ten(void *user, ag_tensor *grad)
{
    ++*(int *)user;
    return ag_scale(grad, 10);
}

static ag_tensor *differentiate(void *user, ag_tensor *grad)
{
    ag_tensor **call = user, *none = call[0]; /* output, wrt */
    ag_tape *tape = (ag_tape *)call[1];
    ck_assert_int_eq(ag_gradient(tape, call[0], grad, &call[0], 1, &none), AG_ERR_STATE);
    ck_assert_ptr_null(none);
    return NULL;
}

START_TEST(hooks_run)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 1, 2), *grad[2];
    int calls = 0;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_scale(a, 3), *loss = test_total(y);
    ag_hook(y, times_ten, &calls);
    ag_hook(a, times_ten, &calls);
    ck_assert_int_eq(ag_gradient(tape, loss, NULL, (ag_tensor *[]){ a, y }, 2, grad), AG_OK);
    ck_assert_int_eq(calls, 2);
    assert_values(grad[0], 0, 300.0, 300.0);
    assert_values(grad[1], 0, 10.0, 10.0);
    ag_hook(a, NULL, NULL);
    ag_tensor *call[] = { loss, (ag_tensor *)tape };
    ag_hook(y, differentiate, call);
    grad[0] = a;
    ck_assert_int_eq(ag_gradient(tape, loss, NULL, &a, 1, grad), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "gradient: called from inside backward");
    ck_assert_ptr_null(grad[0]);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static void failing_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
    ag_fail(v->ctx, AG_ERR_NUMBER, "failing", "on purpose");
}
static const ag_op failing = { "failing", 1, AG_KEEP_NONE, failing_vjp };

START_TEST(errors_give_nothing)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 1, 2), *b = random_leaf(ctx, 3, 2), *constant = ag_zeros(ctx, AG_F32, AG_SHAPE(4));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_mul(a, b), *loss = test_total(y), *grad[3] = { a, a, a };
    const struct {
        ag_tensor *output, *cotangent, *last;
        ag_status status;
        const char *message;
    } bad[] = {
        { loss, NULL, constant, AG_ERR_STATE, "gradient: wrt 2 [4] is neither a leaf nor recorded on the tape" },
        { loss, NULL, NULL, AG_ERR_ARGUMENT, "gradient: wrt 2 is NULL" },
        { y, NULL, a, AG_ERR_SHAPE, "gradient: the loss is [3,2]; it must have one element, or be given a cotangent" },
        { y, constant, a, AG_ERR_SHAPE, "gradient: the cotangent is float32 [4], the output float32 [3,2]" },
        { constant, NULL, a, AG_ERR_STATE, "gradient: the tape does not know [4]" },
        { NULL, NULL, a, AG_ERR_ARGUMENT, "gradient: the loss is NULL" },
        { test_total(ag_record(&failing, ag_tensor_clone(y), &y, 1, NULL, 0, NULL)), NULL, a, AG_ERR_NUMBER,
          "failing: on purpose" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ag_tensor *wrt[] = { y, b, bad[i].last };
        grad[0] = grad[1] = grad[2] = a;
        ck_assert_int_eq(ag_gradient(tape, bad[i].output, bad[i].cotangent, wrt, 3, grad), bad[i].status);
        assert_error(ctx, bad[i].status, bad[i].message);
        for (int g = 0; g < 3; g++)
            ck_assert_ptr_null(grad[g]);
    }
    ck_assert_int_eq(ag_gradient(NULL, loss, NULL, &a, 1, grad), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "gradient: there is no tape");
    ck_assert_int_eq(ag_gradient(tape, loss, NULL, &a, 1, grad), AG_OK); /* nothing stale is left */
    assert_close(grad[0], ag_sum(b, AG_DIMS(0), true), 1e-6, 1e-6);
    ck_assert_ptr_null(ag_grad(a));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

Suite *gradient_suite(void)
{
    Suite *suite = suite_create("gradient");
    TCase *tests = tcase_create("gradient");
    tcase_add_test(tests, same_bits_as_backward);
    tcase_add_test(tests, accumulated_gradients_stay);
    tcase_add_test(tests, results_are_nobody_elses);
    tcase_add_test(tests, results_belong_to_the_scope);
    tcase_add_test(tests, no_dependence_gives_null);
    tcase_add_test(tests, hooks_run);
    tcase_add_test(tests, errors_give_nothing);
    suite_add_tcase(suite, tests);
    return suite;
}
