/* SPDX-License-Identifier: MIT
 *
 * check_tape.c - recording and backward: sums of gradients, errors that leave everything as it was, hooks, depth.
 */
#include "tests/test.h"

#include "autograd/tape_impl.h"

#include <time.h>

static ag_tensor *leaf(ag_ctx *ctx, int64_t n, const double *values)
{
    return ag_require_grad(ag_from_data(ctx, AG_F64, 1, &n, values));
}
#define LEAF(ctx, ...) \
    leaf(ctx, (int64_t)(sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double)), (const double[]){ __VA_ARGS__ })

static ag_tensor *total(ag_tensor *x)
{
    return ag_sum(x, AG_ALL_DIMS, false);
}

static void expect_ok(ag_ctx *ctx, ag_status status)
{
    ck_assert_msg(status == AG_OK, "%s", ag_error_message(ctx));
}

/* ---- Accumulation ---- */

START_TEST(gradients_of_a_shared_value_add)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, -4, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *b = ag_add(a, a), *c = ag_mul(b, b); /* 4 a^2 */
    expect_ok(ctx, ag_backward(tape, total(c)));
    assert_values(ag_grad(a), 0, -32.0, 16.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(diamond)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 3), *w = LEAF(ctx, 5);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *top = ag_scale(a, 2), *left = ag_mul(top, w), *right = ag_mul(top, top);
    expect_ok(ctx, ag_backward(tape, total(ag_sub(ag_mul(left, right), top)))); /* w (2a)^3 - 2a */
    assert_values(ag_grad(a), 1e-12, 5.0 * 8 * 3 * 9 - 2);
    assert_values(ag_grad(w), 1e-12, 216.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* One gradient goes to several places unchanged; a second contribution to one must not reach the others. */
START_TEST(shared_gradients_stay_apart)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 3), *b = LEAF(ctx, 5);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_add(a, b), *z = ag_add(y, a);
    ag_retain_grad(y);
    ag_retain_grad(z);
    expect_ok(ctx, ag_backward(tape, z));
    assert_values(ag_grad(a), 0, 2.0);
    assert_values(ag_grad(b), 0, 1.0);
    assert_values(ag_grad(y), 0, 1.0);
    assert_values(ag_grad(z), 0, 1.0);
    ag_zero_grad(a), ag_zero_grad(b);
    ag_tensor *part = ag_slice(a, 0, 0, 1, 1), *sum = ag_add(a, b);
    expect_ok(ctx, ag_backward(tape, ag_add(part, sum))); /* the slice adds into what the sum has given to a */
    assert_values(ag_grad(a), 0, 2.0);
    assert_values(ag_grad(b), 0, 1.0);
    ag_zero_grad(a), ag_zero_grad(b);
    ag_tensor *triple = ag_scale(a, 3), *u = ag_reshape(a, AG_SHAPE(1, 1)), *v = ag_reshape(b, AG_SHAPE(1, 1));
    expect_ok(ctx, ag_backward(tape, ag_add(ag_add(u, v), triple))); /* a's and b's are views of one gradient */
    assert_values(ag_grad(a), 0, 4.0);
    assert_values(ag_grad(b), 0, 1.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(side_branch_changes_nothing)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 3), *b = LEAF(ctx, 1), *unused = LEAF(ctx, 1);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *shared = ag_mul(a, a);
    ag_exp(shared);
    ag_mul(shared, unused);
    ag_tensor *loss = total(ag_mul(shared, b));
    ag_log(shared); /* recorded behind the loss */
    expect_ok(ctx, ag_backward(tape, loss));
    assert_values(ag_grad(a), 0, 6.0);
    assert_values(ag_grad(b), 0, 9.0);
    ck_assert_ptr_null(ag_grad(unused));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(intermediates_may_go_before_backward)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 0.5, 1.5);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_scope_begin(ctx, NULL);
    ag_scope_begin(ctx, "inner");
    ag_tensor *square = ag_scope_end(ctx, ag_mul(ag_scale(a, 2), a));
    ag_tensor *loss = ag_scope_end(ctx, total(ag_exp(square)));
    expect_ok(ctx, ag_backward(tape, loss));
    assert_values(ag_grad(a), 1e-12, 2 * exp(0.5), 6 * exp(4.5));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(backward_twice_adds)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 3);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *square = ag_mul(a, a), *loss = total(ag_mul(square, a)); /* a^3 */
    ck_assert_int_eq(ag_retain_grad(square), AG_OK);
    expect_ok(ctx, ag_backward(tape, loss));
    assert_values(ag_grad(a), 0, 27.0);
    assert_values(ag_grad(square), 0, 3.0);
    expect_ok(ctx, ag_backward(tape, loss));
    assert_values(ag_grad(a), 0, 54.0);
    assert_values(ag_grad(square), 0, 6.0);
    expect_ok(ctx, ag_backward(tape, total(square)));
    assert_values(ag_grad(a), 0, 60.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(gradients_accumulate_over_tapes)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 3, 4);
    for (int step = 1; step <= 3; step++) {
        ag_tape *tape = ag_tape_begin(ctx);
        expect_ok(ctx, ag_backward(tape, total(ag_mul(a, a))));
        ag_tape_end(tape);
        assert_values(ag_grad(a), 0, 6.0 * step, 8.0 * step);
    }
    ag_zero_grad(a);
    ck_assert_ptr_null(ag_grad(a));
    ag_zero_grad(a);
    ag_zero_grad(NULL);
    ag_tape *tape = ag_tape_begin(ctx);
    expect_ok(ctx, ag_backward(tape, total(a)));
    ag_tape_end(tape);
    assert_values(ag_grad(a), 0, 1.0, 1.0);
    test_end(ctx);
}
END_TEST

/* The upstream gradient counts, through every op a network has: half a loss gives half of every gradient. */
START_TEST(half_a_loss_halves_every_gradient)
{
    ag_ctx *ctx = test_begin();
    enum { LEAVES = 7 };
    ag_tensor *x = ag_randint(ctx, 0, 5, AG_SHAPE(2, 3)), *t = ag_randint(ctx, 0, 5, AG_SHAPE(2, 3));
    const int64_t shapes[LEAVES][2] = { { 5, 4 }, { 4, 0 }, { 4, 0 }, { 4, 4 }, { 4, 0 }, { 4, 4 }, { 5, 4 } };
    ag_tensor *p[LEAVES], *full[LEAVES];
    for (int i = 0; i < LEAVES; i++)
        p[i] = ag_require_grad(ag_randn(ctx, AG_F64, shapes[i][1] > 0 ? 2 : 1, shapes[i]));
    for (int pass = 0; pass < 2; pass++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *h = ag_layer_norm(ag_embedding(p[0], x), p[1], p[2], 1e-5);
        ag_tensor *q = ag_transpose(ag_reshape(ag_linear(h, p[3], p[4]), AG_SHAPE(2, 3, 2, 2)), 1, 2);
        ag_tensor *o = ag_sdpa(q, q, q, (ag_sdpa_config){ .mask.causal = true });
        ag_tensor *joined = ag_reshape(ag_transpose(o, 1, 2), AG_SHAPE(2, 3, 4));
        ag_tensor *y = ag_softmax(ag_gelu(ag_matmul(joined, p[5])), -1);
        ag_tensor *loss = ag_cross_entropy(ag_linear(y, p[6], NULL), t);
        expect_ok(ctx, ag_backward(tape, pass == 0 ? loss : ag_scale(loss, 0.5)));
        ag_tape_end(tape);
        for (int i = 0; i < LEAVES; i++) {
            ck_assert_ptr_nonnull(ag_grad(p[i]));
            if (pass == 0)
                full[i] = ag_scale(ag_grad(p[i]), 0.5);
            else
                assert_close(ag_grad(p[i]), full[i], 1e-16, 1e-12);
            ag_zero_grad(p[i]);
        }
    }
    test_end(ctx);
}
END_TEST

/* Sums of losses over unequal parts, each on its tape, give the gradients of the whole. */
START_TEST(micro_batches_equal_one_batch)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(7, 4)), *t = ag_randint(ctx, 0, 3, AG_SHAPE(7));
    ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 4)));
    ag_cross_entropy_config sum = { .reduction = AG_SUM, .ignore = true, .ignore_index = 2 };
    const int64_t cut[] = { 0, 1, 5, 7 };
    for (int part = 0; part < 3; part++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *rows = ag_slice(x, 0, cut[part], cut[part + 1], 1);
        ag_tensor *targets = ag_slice(t, 0, cut[part], cut[part + 1], 1);
        expect_ok(ctx, ag_backward(tape, ag_cross_entropy_with(ag_linear(rows, w, NULL), targets, sum)));
        ag_tape_end(tape);
    }
    ag_tensor *pieces = ag_tensor_clone(ag_grad(w));
    ag_zero_grad(w);
    ag_tape *tape = ag_tape_begin(ctx);
    expect_ok(ctx, ag_backward(tape, ag_cross_entropy_with(ag_linear(x, w, NULL), t, sum)));
    ag_tape_end(tape);
    assert_close(pieces, ag_grad(w), 1e-14, 1e-13);
    test_end(ctx);
}
END_TEST

START_TEST(leaf_gradients_are_nobody_elses)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *b = LEAF(ctx, 3, 4);
    ag_tensor *cotangent = ag_full(ctx, AG_F64, AG_SHAPE(2), 7);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_add(a, b);
    ag_retain_grad(y);
    expect_ok(ctx, ag_backward_from(tape, y, cotangent));
    ck_assert_int_eq(ag_fill(ag_grad(a), -1), AG_OK);
    assert_values(ag_grad(b), 0, 7.0, 7.0);
    assert_values(ag_grad(y), 0, 7.0, 7.0);
    assert_values(cotangent, 0, 7.0, 7.0);
    ck_assert_int_eq(ag_fill(ag_grad(b), -2), AG_OK);
    assert_values(ag_grad(a), 0, -1.0, -1.0);
    assert_values(ag_grad(y), 0, 7.0, 7.0);
    ag_tape_end(tape);
    /* the output itself a leaf */
    ag_zero_grad(a);
    tape = ag_tape_begin(ctx);
    ag_exp(a);
    expect_ok(ctx, ag_backward_from(tape, a, cotangent));
    ck_assert_int_eq(ag_fill(cotangent, 0), AG_OK);
    assert_values(ag_grad(a), 0, 7.0, 7.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(tied_leaf)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 2)));
    ag_tensor *index = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 1, 1 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_matmul(ag_embedding(w, index), ag_transpose(w, 0, 1)); /* w w^T, row 1 twice */
    expect_ok(ctx, ag_backward(tape, total(logits)));
    double column[2] = { 0, 0 };
    for (int64_t i = 0; i < 6; i++)
        column[i % 2] += test_at(w, i);
    for (int64_t i = 0; i < 6; i++) {
        double want = 2 * test_at(w, 2 + i % 2) + (i / 2 == 1 ? 2 * column[i % 2] : 0);
        ck_assert_double_eq_tol(test_at(ag_grad(w), i), want, 1e-14);
    }
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* ---- Cotangents ---- */

START_TEST(any_cotangent)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 4)));
    ag_tensor *w = ag_randn(ctx, AG_F64, AG_SHAPE(5, 4));
    ag_tensor *strided = ag_tensor_transpose(ag_randn(ctx, AG_F64, AG_SHAPE(5, 3)), 0, 1);
    ag_tensor *repeated = ag_tensor_expand(ag_randn(ctx, AG_F64, AG_SHAPE(3, 1)), AG_SHAPE(3, 5));
    ag_tensor *parts[] = { strided, repeated, ag_tensor_slice(ag_randn(ctx, AG_F64, AG_SHAPE(3, 9)), 1, 0, 9, 2) };
    for (int i = 0; i < 3; i++) {
        ag_tensor *dense = ag_tensor_clone(parts[i]);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *y = ag_softmax(ag_linear(x, w, NULL), 0);
        expect_ok(ctx, ag_backward_from(tape, y, dense));
        ag_tensor *want = ag_tensor_clone(ag_grad(x));
        ag_zero_grad(x);
        expect_ok(ctx, ag_backward_from(tape, y, parts[i]));
        assert_same(ag_grad(x), want);
        ag_zero_grad(x);
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* Repeated and strided gradients reach the op that must read them. */
START_TEST(strided_gradients_inside)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, 2, 3, 4)));
    ag_tensor *weight = ag_randn(ctx, AG_F64, AG_SHAPE(4, 3));
    for (int repeated = 0; repeated < 2; repeated++) {
        ag_tensor *want = NULL;
        for (int dense = 1; dense >= 0; dense--) {
            ag_tape *tape = ag_tape_begin(ctx);
            ag_tensor *y = ag_gelu(ag_sdpa(x, x, x, (ag_sdpa_config){ .mask.causal = true }));
            y = ag_layer_norm(ag_sdpa(y, x, y, (ag_sdpa_config){ 0 }), NULL, NULL, 1e-5);
            y = dense ? ag_scale(y, 1) : y; /* makes the gradient dense on its way */
            ag_tensor *z = repeated ? ag_select(y, 1, 1) : ag_mul(ag_transpose(y, 2, 3), weight);
            expect_ok(ctx, ag_backward(tape, ag_mean(z, AG_ALL_DIMS, false)));
            if (dense)
                want = ag_retain(ag_tensor_clone(ag_grad(x)));
            else
                assert_close(ag_grad(x), want, 1e-15, 1e-13);
            ag_zero_grad(x);
            ag_tape_end(tape);
        }
        ag_release(want);
    }
    test_end(ctx);
}
END_TEST

/* ---- Masked and ignored ---- */

START_TEST(all_targets_ignored)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(3, 4)));
    ag_tensor *t = ag_full(ctx, AG_I32, AG_SHAPE(3), -1);
    for (int i = 0; i < 4; i++) {
        ag_cross_entropy_config config = { .reduction = i % 2 ? AG_SUM : AG_MEAN, .label_smoothing = i / 2 * 0.1,
                                           .ignore = true, .ignore_index = -1 };
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *loss = ag_cross_entropy_with(x, t, config);
        ck_assert_double_eq(test_item(loss), 0);
        expect_ok(ctx, ag_backward(tape, loss));
        assert_same(ag_grad(x), ag_zeros(ctx, AG_F32, AG_SHAPE(3, 4)));
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

START_TEST(fully_masked_rows)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 3)));
    ag_tensor *mask = ag_from_data(ctx, AG_I32, AG_SHAPE(2, 3), (const int32_t[]){ 1, 1, 1, 0, 1, 0 });
    ag_tensor *g = ag_from_data(ctx, AG_F64, AG_SHAPE(2, 3), (const double[]){ 1, 2, 3, 4, 5, 6 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *p = ag_softmax(ag_masked_fill(x, mask, -(double)INFINITY), -1);
    expect_ok(ctx, ag_backward_from(tape, p, g));
    double a = 1 / (1 + exp(test_at(x, 5) - test_at(x, 3))), slope = a * (1 - a) * (4 - 6);
    assert_values(p, 1e-15, 0.0, 0.0, 0.0, a, 0.0, 1 - a);
    assert_values(ag_grad(x), 1e-15, 0.0, 0.0, 0.0, slope, 0.0, -slope);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(nan_behind_a_mask_does_not_leak)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, -1, 4), *y = LEAF(ctx, 1, 2);
    ag_tensor *negative = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 1, 0 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *cotangent = ag_from_data(ctx, AG_F64, AG_SHAPE(2), (const double[]){ NAN, 3 });
    expect_ok(ctx, ag_backward_from(tape, ag_where(negative, y, x), cotangent));
    assert_values(ag_grad(x), 0, 0.0, 3.0); /* not NaN times 0 */
    ag_zero_grad(y);
    cotangent = ag_from_data(ctx, AG_F64, AG_SHAPE(2), (const double[]){ 3, NAN });
    expect_ok(ctx, ag_backward_from(tape, ag_where(negative, y, x), cotangent));
    assert_values(ag_grad(y), 0, 3.0, 0.0);
    ag_zero_grad(x);
    expect_ok(ctx, ag_backward(tape, total(ag_masked_fill(ag_sqrt(ag_masked_fill(x, negative, 1)), negative, 0))));
    assert_values(ag_grad(x), 0, 0.0, 0.25);
    ck_assert_double_eq(test_item(total(ag_masked_fill(ag_sqrt(x), negative, 0))), 2);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

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
    expect_ok(ctx, ag_backward(tape, total(ag_mul(y, ag_detach(y)))));
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
    assert_error(ctx, AG_ERR_SHAPE, "backward: the loss is [2]; it must have one element, or use ag_backward_from");
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
    ag_tensor *kept = ag_retain(total(ag_exp(a)));
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
    ck_assert_int_eq(ag_backward(tape, total(ag_exp(ag_add(a, b)))), AG_ERR_SHAPE);
    ag_tensor *fine = total(a);
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

/* ---- Changes in place ---- */

static const char *const changes[] = { "fill", "copy_into", "data_mut", "set", "fill_uniform", "fill" };

static void change(int how, ag_tensor *x)
{
    switch (how) {
    case 0:
        ag_fill(x, 9);
        break;
    case 1:
        ag_copy_into(x, ag_zeros(ag_ctx_of(x), AG_F64, AG_SHAPE(2)));
        break;
    case 2:
        ag_data_mut(x);
        break;
    case 3:
        ag_set(x, (const int64_t[]){ 1 }, 9);
        break;
    case 4:
        ag_fill_uniform(x, 0, 1);
        break;
    default:
        ag_fill(ag_tensor_slice(x, 0, 1, 2, 1), 9); /* through a view */
    }
}

START_TEST(change_of_a_kept_value_is_refused)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *b = LEAF(ctx, 3, 4), *c = LEAF(ctx, 5, 6);
    for (int what = 0; what < 3; what++) { /* an input; a result; something that backward does not need */
        ag_tape *tape = ag_tape_begin(ctx);
        ag_scope_begin(ctx, "layer");
        ag_tensor *free_to_change = ag_retain(ag_add(a, c));
        ag_tensor *y = ag_scope_end(ctx, what == 0 ? ag_mul(ag_scale(a, 1), b) : ag_exp(a));
        ag_scope_begin(ctx, "update");
        change(_i, what == 0 ? a : what == 1 ? y : free_to_change);
        if (what == 0)
            change(_i, b);
        ag_scope_end(ctx, NULL);
        ag_tensor *loss = total(ag_add(ag_mul(c, c), y)); /* c's gradient comes first, and must not be handed out */
        ag_status status = ag_backward(tape, loss);
        if (what == 2) {
            expect_ok(ctx, status);
            ck_assert_ptr_nonnull(ag_grad(c));
        } else {
            char wanted[120];
            snprintf(wanted, sizeof wanted, "layer: %s [2], which '%s' in update has changed since",
                     what == 0 ? "mul: backward needs its input" : "exp: backward needs its result", changes[_i]);
            ck_assert_int_eq(status, AG_ERR_STATE);
            assert_error(ctx, AG_ERR_STATE, wanted);
            ck_assert_ptr_null(ag_grad(a));
            ck_assert_ptr_null(ag_grad(b));
            ck_assert_ptr_null(ag_grad(c));
        }
        ag_release(free_to_change);
        ag_tape_end(tape);
    }
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
    expect_ok(ctx, ag_backward(tape, total(ag_mul(a, b))));
    ag_tape_end(tape);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tape = ag_tape_begin(ctx);
        ag_tensor *x = ag_exp(a), *y = ag_tensor_clone(x);
        y = ag_record(bad[i].op, y, &x, 1, NULL, 0, NULL);
        ag_tensor *loss = total(ag_mul(ag_add(y, a), b)), *fine = total(ag_mul(a, b));
        ck_assert_int_eq(ag_backward(tape, loss), bad[i].status);
        assert_error(ctx, bad[i].status, bad[i].message);
        assert_values(ag_grad(a), 0, 3.0, 4.0);
        assert_values(ag_grad(b), 0, 1.0, 2.0);
        expect_ok(ctx, ag_backward(tape, fine)); /* nothing stale is left on the tape */
        assert_values(ag_grad(a), 0, 6.0, 8.0);
        ag_zero_grad(a), ag_zero_grad(b);
        expect_ok(ctx, ag_backward(tape, fine));
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
        expect_ok(ctx, ag_backward(tape, total(y)));
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
    expect_ok(ctx, ag_backward(tape, total(a)));
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
    ag_tensor *y = ag_add(a, b), *loss = total(y);
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
    expect_ok(ctx, ag_backward(tape, loss));
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
        expect_ok(ctx, ag_backward(tape, total(ag_mul(o, o))));
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
    expect_ok(ctx, ag_backward(tape, x));
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
    expect_ok(ctx, ag_backward(tape, total(y)));
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
    TCase *sums = tcase_create("accumulation");
    tcase_add_test(sums, gradients_of_a_shared_value_add);
    tcase_add_test(sums, diamond);
    tcase_add_test(sums, shared_gradients_stay_apart);
    tcase_add_test(sums, side_branch_changes_nothing);
    tcase_add_test(sums, intermediates_may_go_before_backward);
    tcase_add_test(sums, backward_twice_adds);
    tcase_add_test(sums, gradients_accumulate_over_tapes);
    tcase_add_test(sums, half_a_loss_halves_every_gradient);
    tcase_add_test(sums, micro_batches_equal_one_batch);
    tcase_add_test(sums, leaf_gradients_are_nobody_elses);
    tcase_add_test(sums, tied_leaf);
    tcase_add_test(sums, any_cotangent);
    tcase_add_test(sums, strided_gradients_inside);
    suite_add_tcase(suite, sums);
    TCase *masks = tcase_create("masks");
    tcase_add_test(masks, all_targets_ignored);
    tcase_add_test(masks, fully_masked_rows);
    tcase_add_test(masks, nan_behind_a_mask_does_not_leak);
    suite_add_tcase(suite, masks);
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, nothing_is_recorded_without_need);
    tcase_add_test(rules, calls_at_the_wrong_time);
    tcase_add_test(rules, backward_is_the_steps_one_check);
    tcase_add_test(rules, tape_of_a_freed_context);
    tcase_add_test(rules, tape_end_closes_scopes_left_open);
    tcase_add_loop_test(rules, change_of_a_kept_value_is_refused, 0, (int)(sizeof changes / sizeof *changes));
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
