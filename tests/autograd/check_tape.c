/* SPDX-License-Identifier: MIT
 *
 * check_tape.c - the tape: what is recorded, calls at the wrong time, errors that leave everything as it was, hooks,
 * depth.
 */
#include "tests/test.h"

#include "autograd/tape_impl.h"

#include <time.h>

/* ---- What is recorded ---- */

START_TEST(nothing_is_recorded_without_need)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *constant = ag_zeros(ctx, AG_F64, AG_SHAPE(2));
    ck_assert(!ag_recording(ctx));
    ag_tensor *before = ag_mul(a, a);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert(ag_recording(ctx));
    ag_exp(constant);
    ag_exp(before);
    ag_contiguous(a);
    ck_assert_int_eq(ag_tape_size(tape), 0);
    ck_assert_int_eq(ag_node_of(tape, a), -1);
    ag_tensor *y = ag_add(a, constant), *cut = ag_exp(ag_detach(y));
    ck_assert_int_eq(ag_tape_size(tape), 2);
    ck_assert_int_eq(ag_node_of(tape, a), 0);
    ck_assert_int_eq(ag_node_of(tape, y), 1);
    ck_assert_int_eq(ag_node_of(tape, cut), -1);
    ck_assert_ptr_eq(ag_data(ag_detach(y)), ag_data(y));
    ag_cast(y, AG_I32);
    ck_assert_int_eq(ag_tape_size(tape), 2);
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(y, ag_detach(y)))));
    assert_values(ag_grad(a), 0, 1.0, 2.0); /* not 2 y */
    ag_tape_end(tape);
    ck_assert(!ag_recording(ctx));
    test_end(ctx);
}
END_TEST

START_TEST(calls_at_the_wrong_time)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *constant = ag_zeros(ctx, AG_F64, AG_SCALAR);
    ag_tensor *one = ag_full(ctx, AG_F64, AG_SHAPE(2), 1), *narrow = ag_full(ctx, AG_F32, AG_SHAPE(2), 1);
    ck_assert_int_eq(ag_backward(NULL, a), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "backward: there is no tape; call ag_tape_begin before the forward pass");
    ck_assert_int_eq(ag_backward(NULL, NULL), AG_ERR_ARGUMENT);
    ag_tape_end(NULL);
    ck_assert_ptr_null(ag_tape_begin(NULL));
    ck_assert_int_eq(ag_retain_grad(one), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "retain_grad: [2] is neither recorded on the running tape nor a leaf");
    ck_assert_ptr_null(ag_require_grad(ag_zeros(ctx, AG_I32, AG_SHAPE(2))));
    assert_error(ctx, AG_ERR_DTYPE, "require_grad: [2] is int32");

    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_exp(a);
    ck_assert_ptr_null(ag_tape_begin(ctx));
    assert_error(ctx, AG_ERR_STATE, "tape_begin: a tape of 2 nodes is running; end it first");
    ck_assert_int_eq(ag_backward(tape, y), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "backward: the loss is [2]; it must have one element, or be given a cotangent");
    ck_assert_int_eq(ag_backward(tape, constant), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "backward: the tape does not know []");
    ck_assert_int_eq(ag_backward(tape, NULL), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "backward: the loss is NULL");
    ck_assert_int_eq(ag_backward_from(tape, y, constant), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "the cotangent is float64 [], the output float64 [2]");
    ck_assert_int_eq(ag_backward_from(tape, y, narrow), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "the cotangent is float32 [2], the output float64 [2]");
    ck_assert_int_eq(ag_backward_from(tape, y, NULL), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "the cotangent is NULL");
    ck_assert_ptr_null(ag_require_grad(y));
    assert_error(ctx, AG_ERR_STATE, "require_grad: [2] is the result of 'exp', not a leaf; see ag_retain_grad");
    ck_assert_ptr_null(ag_grad(a));
    ag_tape_end(tape);

    tape = ag_tape_begin(ctx); /* a result of another tape */
    ag_exp(a);
    ag_tensor *kept = ag_retain(test_total(ag_exp(a)));
    ag_tape_end(tape);
    tape = ag_tape_begin(ctx);
    ck_assert_int_eq(ag_backward(tape, kept), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "the tape does not know []");
    ag_release(kept);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* An error of the forward pass is what backward returns. */
START_TEST(backward_is_the_steps_one_check)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *b = LEAF(ctx, 1, 2, 3);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_int_eq(ag_backward(tape, test_total(ag_exp(ag_add(a, b)))), AG_ERR_SHAPE);
    ag_tensor *fine = test_total(a);
    ck_assert_int_eq(ag_backward(tape, fine), AG_ERR_SHAPE); /* sticky */
    ck_assert_ptr_null(ag_grad(a));
    ag_tape_end(tape);
    assert_error(ctx, AG_ERR_SHAPE, "add: [2] and [3]");
    test_end(ctx);
}
END_TEST

START_TEST(tape_of_a_freed_context)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2);
    ag_tape_begin(ctx);
    ag_scope_begin(ctx, "open");
    ag_exp(a);
    test_end(ctx);
}
END_TEST

START_TEST(tape_end_closes_scopes_left_open)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_scope_begin(ctx, "left");
    ag_scope_begin(ctx, "open");
    ag_exp(a);
    ag_tape_end(tape);
    ck_assert_str_eq(ag_module_path(ctx), "");
    test_end(ctx);
}
END_TEST

START_TEST(names)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2);
    char name[] = "first";
    ck_assert_ptr_null(ag_name(a));
    ck_assert_ptr_eq(ag_set_name(a, name), a);
    name[0] = 'x';
    ck_assert_str_eq(ag_name(a), "first");
    ck_assert_ptr_eq(ag_set_name(a, NULL), a);
    ck_assert_ptr_null(ag_name(a));
    ck_assert_ptr_null(ag_set_name(NULL, "none"));
    ck_assert_ptr_null(ag_name(NULL));
    test_end(ctx);
}
END_TEST

/* ---- Errors in the middle ---- */

static void failing_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
    ag_fail(v->ctx, AG_ERR_NUMBER, "failing", "on purpose");
}
static const ag_op failing = { "failing", 1, AG_KEEP_NONE, failing_vjp };

static void misshapen_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_zeros(v->ctx, AG_F64, AG_SHAPE(3, 5)));
}
static const ag_op misshapen = { "misshapen", 1, AG_KEEP_NONE, misshapen_vjp };

static void mistyped_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_zeros(v->ctx, AG_F32, AG_SHAPE(2)));
}
static const ag_op mistyped = { "mistyped", 1, AG_KEEP_NONE, mistyped_vjp };

START_TEST(error_on_the_way_changes_no_gradient)
{
    static const struct {
        const ag_op *op;
        ag_status status;
        const char *message;
    } bad[] = {
        { &failing, AG_ERR_NUMBER, "failing: on purpose" },
        { &misshapen, AG_ERR_SHAPE,
          "misshapen: backward: the gradient [3,5] does not fit the input's shape [2]" },
        { &mistyped, AG_ERR_DTYPE, "mistyped: backward: input 0 is float64, its gradient float32" },
    };
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *b = LEAF(ctx, 3, 4);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(a, b))));
    ag_tape_end(tape);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tape = ag_tape_begin(ctx);
        ag_tensor *x = ag_exp(a), *y = ag_tensor_clone(x);
        y = ag_record(bad[i].op, y, &x, 1, NULL, 0, NULL);
        ag_tensor *loss = test_total(ag_mul(ag_add(y, a), b)), *fine = test_total(ag_mul(a, b));
        ck_assert_int_eq(ag_backward(tape, loss), bad[i].status);
        assert_error(ctx, bad[i].status, bad[i].message);
        assert_values(ag_grad(a), 0, 3.0, 4.0);
        assert_values(ag_grad(b), 0, 1.0, 2.0);
        assert_ok(ctx, ag_backward(tape, fine)); /* nothing stale is left on the tape */
        assert_values(ag_grad(a), 0, 6.0, 8.0);
        ag_zero_grad(a), ag_zero_grad(b);
        assert_ok(ctx, ag_backward(tape, fine));
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* ---- Hooks ---- */

typedef struct seen {
    int calls;
    double first;
    int action; /* 0: look; 1: replace by 10 g; 2: a wrong shape; 3: write in place; 4: run backward */
    ag_tape *tape;
    ag_tensor *loss;
    bool recording;
} seen;

static ag_tensor *look(void *user, ag_tensor *grad)
{
    seen *s = user;
    s->calls++;
    s->first = test_at(grad, 0);
    s->recording = ag_recording(ag_ctx_of(grad));
    switch (s->action) {
    case 1:
        return ag_scale(grad, 10);
    case 2:
        return ag_zeros(ag_ctx_of(grad), AG_F64, AG_SHAPE(7));
    case 3:
        ag_fill(grad, 100);
        return NULL;
    case 4:
        ck_assert_int_eq(ag_backward(s->tape, s->loss), AG_ERR_STATE);
        return NULL;
    default:
        return NULL;
    }
}

START_TEST(hooks_see_and_replace)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 2, 3), *b = LEAF(ctx, 5, 7);
    seen on_leaf = { .calls = 0 }, on_middle = { .calls = 0 };
    ck_assert_int_eq(ag_hook(a, look, &on_leaf), AG_OK); /* before its first use */
    for (int action = 0; action < 2; action++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *m = ag_mul(a, b), *y = ag_add(m, m);
        ck_assert_int_eq(ag_hook(m, look, &on_middle), AG_OK);
        ck_assert_int_eq(ag_retain_grad(m), AG_OK);
        on_middle.action = action;
        on_leaf.action = action;
        assert_ok(ctx, ag_backward(tape, test_total(y)));
        ck_assert_int_eq(on_middle.calls, action + 1); /* once, when it is complete */
        ck_assert_int_eq(on_leaf.calls, action + 1);
        ck_assert(!on_leaf.recording);
        ck_assert_double_eq(on_middle.first, 2);
        ck_assert_double_eq(on_leaf.first, action == 0 ? 10 : 100);
        assert_values(ag_grad(m), 0, action == 0 ? 2.0 : 20.0, action == 0 ? 2.0 : 20.0);
        assert_values(ag_grad(a), 0, action == 0 ? 10.0 : 1000.0, action == 0 ? 14.0 : 1400.0);
        assert_values(ag_grad(b), 0, action == 0 ? 4.0 : 40.0, action == 0 ? 6.0 : 60.0);
        ag_zero_grad(a), ag_zero_grad(b);
        ag_tape_end(tape);
    }
    ck_assert_int_eq(ag_hook(a, NULL, NULL), AG_OK);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, test_total(a)));
    ck_assert_int_eq(on_leaf.calls, 2);
    ag_tape_end(tape);
    ck_assert_int_eq(ag_hook(NULL, look, NULL), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_hook(ag_zeros(ctx, AG_F64, AG_SHAPE(2)), look, NULL), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "hook: [2] is neither recorded on the running tape nor a leaf");
    test_end(ctx);
}
END_TEST

START_TEST(hook_that_does_wrong)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 2, 3), *b = LEAF(ctx, 5, 7);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_add(a, b), *loss = test_total(y);
    seen s = { .action = 2, .tape = tape, .loss = loss };
    ag_hook(y, look, &s);
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "hook: returned float64 [7] for the gradient float64 [2]");
    s.action = 4;
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "backward: called from inside backward");
    ck_assert_ptr_null(ag_grad(a));
    /* add gives both inputs the same gradient; what a hook writes into one must not reach the other */
    ag_hook(y, NULL, NULL);
    s.action = 3;
    ag_hook(a, look, &s);
    ag_hook(b, look, &s);
    ag_retain_grad(y);
    assert_ok(ctx, ag_backward(tape, loss));
    ck_assert_double_eq(s.first, 1);
    assert_values(ag_grad(y), 0, 1.0, 1.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* A hook on the attention's result sees and replaces the same gradient whether attention is one fused op or built of
 * matmul and softmax. */
START_TEST(hooks_on_fused_and_unfused_paths)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *q = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 4, 3)));
    ag_tensor *gradient[2];
    double first[2];
    for (int fused = 0; fused < 2; fused++) {
        seen s = { .action = 1 }, at_leaf = { .action = 0 };
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *scores = fused ? NULL : ag_scale(ag_matmul(q, ag_transpose(q, 2, 3)), 1 / sqrt(3));
        ag_tensor *o = fused ? ag_sdpa(q, q, q, (ag_sdpa_config){ 0 }) : ag_matmul(ag_softmax(scores, -1), q);
        ag_hook(o, look, &s);
        ag_hook(q, look, &at_leaf);
        assert_ok(ctx, ag_backward(tape, test_total(ag_mul(o, o))));
        ck_assert_int_eq(s.calls, 1);
        ck_assert_int_eq(at_leaf.calls, 1);
        first[fused] = s.first;
        gradient[fused] = ag_retain(ag_tensor_clone(ag_grad(q)));
        ag_zero_grad(q);
        ag_tape_end(tape);
    }
    ck_assert_double_eq_tol(first[0], first[1], 1e-14);
    assert_close(gradient[0], gradient[1], 1e-13, 1e-13);
    ag_release(gradient[0]);
    ag_release(gradient[1]);
    test_end(ctx);
}
END_TEST

/* ---- Depth and length ---- */

static double chain_seconds(int64_t length, double *gradient)
{
    clock_t start = clock();
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1 });
    ag_tensor *a = LEAF(ctx, 1);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *x = a;
    for (int64_t i = 0; i < length; i++) {
        ag_scope_begin(ctx, NULL);
        x = ag_scope_end(ctx, i % 2 == 0 ? ag_add(x, a) : ag_neg(x));
    }
    ck_assert_int_ge(ag_tape_size(tape), length);
    assert_ok(ctx, ag_backward(tape, x));
    *gradient = test_item(ag_grad(a));
    ag_tape_end(tape);
    test_end(ctx);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

START_TEST(deep_chains_are_linear)
{
    double gradient, want = 1;
    double small = chain_seconds(100000, &gradient);
    for (int64_t i = 0; i < 100000; i++)
        want = i % 2 == 0 ? want + 1 : -want;
    ck_assert_double_eq(gradient, want);
    double large = chain_seconds(1000000, &gradient);
    ck_assert_msg(large < 40 * small + 1, "100,000 ops take %.3f s, 1,000,000 %.3f s", small, large);
}
END_TEST

/* ---- Scopes ---- */

START_TEST(results_can_outlive_the_tape)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_retain(ag_exp(a));
    ag_retain_grad(y);
    assert_ok(ctx, ag_backward(tape, test_total(y)));
    ag_tape_end(tape);
    assert_values(y, 1e-15, exp(1), exp(2));
    assert_values(ag_grad(y), 0, 1.0, 1.0);
    ag_release(y);
    test_end(ctx);
}
END_TEST

Suite *tape_suite(void)
{
    Suite *suite = suite_create("tape");
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, nothing_is_recorded_without_need);
    tcase_add_test(rules, names);
    tcase_add_test(rules, calls_at_the_wrong_time);
    tcase_add_test(rules, backward_is_the_steps_one_check);
    tcase_add_test(rules, tape_of_a_freed_context);
    tcase_add_test(rules, tape_end_closes_scopes_left_open);
    tcase_add_test(rules, error_on_the_way_changes_no_gradient);
    tcase_add_test(rules, results_can_outlive_the_tape);
    suite_add_tcase(suite, rules);
    TCase *hooks = tcase_create("hooks");
    tcase_add_test(hooks, hooks_see_and_replace);
    tcase_add_test(hooks, hook_that_does_wrong);
    tcase_add_test(hooks, hooks_on_fused_and_unfused_paths);
    suite_add_tcase(suite, hooks);
    TCase *depth = tcase_create("depth");
    tcase_set_timeout(depth, 120);
    tcase_add_test(depth, deep_chains_are_linear);
    suite_add_tcase(suite, depth);
    return suite;
}
