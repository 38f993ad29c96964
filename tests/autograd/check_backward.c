/* SPDX-License-Identifier: MIT
 *
 * check_backward.c - what backward computes: sums over all uses, any cotangent, gradients behind masks, norms of huge
 * rows.
 */
#include "tests/test.h"

#include "autograd/watch/node_vjp.h"

/* ---- Accumulation ---- */

START_TEST(gradients_of_a_shared_value_add)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, -4, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *b = ag_add(a, a), *c = ag_mul(b, b); /* 4 a^2 */
    assert_ok(ctx, ag_backward(tape, test_total(c)));
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
    assert_ok(ctx, ag_backward(tape, test_total(ag_sub(ag_mul(left, right), top)))); /* w (2a)^3 - 2a */
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
    assert_ok(ctx, ag_backward(tape, z));
    assert_values(ag_grad(a), 0, 2.0);
    assert_values(ag_grad(b), 0, 1.0);
    assert_values(ag_grad(y), 0, 1.0);
    assert_values(ag_grad(z), 0, 1.0);
    ag_zero_grad(a), ag_zero_grad(b);
    ag_tensor *part = ag_slice(a, 0, 0, 1, 1), *sum = ag_add(a, b);
    assert_ok(ctx, ag_backward(tape, ag_add(part, sum))); /* the slice adds into what the sum has given to a */
    assert_values(ag_grad(a), 0, 2.0);
    assert_values(ag_grad(b), 0, 1.0);
    ag_zero_grad(a), ag_zero_grad(b);
    ag_tensor *triple = ag_scale(a, 3), *u = ag_reshape(a, AG_SHAPE(1, 1)), *v = ag_reshape(b, AG_SHAPE(1, 1));
    assert_ok(ctx, ag_backward(tape, ag_add(ag_add(u, v), triple))); /* a's and b's are views of one gradient */
    assert_values(ag_grad(a), 0, 4.0);
    assert_values(ag_grad(b), 0, 1.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

typedef struct seen {
    const void *memory;
    int64_t count;
} seen;

static ag_tensor *note_memory(void *user, ag_tensor *grad)
{
    seen *s = user;
    s->memory = ag_data(grad);
    s->count++;
    return NULL;
}

/* The gradient of an elementwise function takes the place of that of its result, unless somebody reads it still. */
START_TEST(a_gradient_is_overwritten_when_nobody_reads_it)
{
    enum { PLAIN, RETAINED, SHARED, CHOSEN };
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 4), *weights = ag_detach(LEAF(ctx, 2, 3));
    ag_tape *tape = ag_tape_begin(ctx);
    for (int how = PLAIN; how <= CHOSEN; how++) {
        seen before = { NULL, 0 }, after = { NULL, 0 };
        ag_tensor *beside = ag_scale(x, 5), *h = ag_scale(x, 1), *y = ag_sqrt(h), *grad = NULL;
        ag_hook(y, note_memory, &before);
        ag_hook(h, note_memory, &after);
        if (how == RETAINED)
            ag_retain_grad(y);
        if (how == SHARED) { /* one gradient goes to y and, walked after it, to what stands beside */
            ag_hook(y, NULL, NULL);
            ag_tensor *loss = test_total(ag_mul(ag_add(y, beside), weights));
            assert_ok(ctx, ag_backward(tape, loss));
            assert_values(ag_grad(x), 1e-15, 1.0 + 10, 0.75 + 15);
        } else if (how == CHOSEN) {
            ag_tensor *loss = test_total(ag_mul(y, weights));
            assert_ok(ctx, ag_gradient(tape, loss, NULL, &y, 1, &grad));
            assert_values(grad, 0, 2.0, 3.0);
        } else {
            assert_ok(ctx, ag_backward(tape, test_total(ag_mul(y, weights))));
            assert_values(ag_grad(x), 1e-15, 1.0, 0.75);
            ck_assert_int_eq(before.memory == after.memory, how == PLAIN);
        }
        if (how == RETAINED)
            assert_values(ag_grad(y), 0, 2.0, 3.0);
        ck_assert_int_eq(after.count, 1);
        ag_zero_grad(x);
    }
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(the_vjp_of_one_node_leaves_its_gradient)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 4), *contribution = NULL;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_sqrt(x), *gy = ag_tensor_clone(y);
    ck_assert(ag_node_vjp(tape, ag_node_of(tape, y), gy, &contribution));
    assert_values(contribution, 0, 0.5, 0.5);
    assert_values(gy, 0, 1.0, 2.0);
    ag_release(contribution);
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
    ag_tensor *loss = test_total(ag_mul(shared, b));
    ag_log(shared); /* recorded behind the loss */
    assert_ok(ctx, ag_backward(tape, loss));
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
    ag_tensor *loss = ag_scope_end(ctx, test_total(ag_exp(square)));
    assert_ok(ctx, ag_backward(tape, loss));
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
    ag_tensor *square = ag_mul(a, a), *loss = test_total(ag_mul(square, a)); /* a^3 */
    ck_assert_int_eq(ag_retain_grad(square), AG_OK);
    assert_ok(ctx, ag_backward(tape, loss));
    assert_values(ag_grad(a), 0, 27.0);
    assert_values(ag_grad(square), 0, 3.0);
    assert_ok(ctx, ag_backward(tape, loss));
    assert_values(ag_grad(a), 0, 54.0);
    assert_values(ag_grad(square), 0, 6.0);
    assert_ok(ctx, ag_backward(tape, test_total(square)));
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
        assert_ok(ctx, ag_backward(tape, test_total(ag_mul(a, a))));
        ag_tape_end(tape);
        assert_values(ag_grad(a), 0, 6.0 * step, 8.0 * step);
    }
    ag_zero_grad(a);
    ck_assert_ptr_null(ag_grad(a));
    ag_zero_grad(a);
    ag_zero_grad(NULL);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, test_total(a)));
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
        assert_ok(ctx, ag_backward(tape, pass == 0 ? loss : ag_scale(loss, 0.5)));
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
        assert_ok(ctx, ag_backward(tape, ag_cross_entropy_with(ag_linear(rows, w, NULL), targets, sum)));
        ag_tape_end(tape);
    }
    ag_tensor *pieces = ag_tensor_clone(ag_grad(w));
    ag_zero_grad(w);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, ag_cross_entropy_with(ag_linear(x, w, NULL), t, sum)));
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
    assert_ok(ctx, ag_backward_from(tape, y, cotangent));
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
    assert_ok(ctx, ag_backward_from(tape, a, cotangent));
    ck_assert_int_eq(ag_fill(cotangent, 0), AG_OK);
    assert_values(ag_grad(a), 0, 7.0, 7.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Linear adds to a gradient where it stands, unless someone else holds it: here y's retained gradient is h's first. */
START_TEST(linear_adds_beside_a_retained_gradient)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2);
    ag_tensor *w = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(1, 2), (double[]){ 3, 5 }));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *h = ag_scale(a, 1), *z = ag_linear(h, w, NULL);
    ag_tensor *y = ag_scale(h, 1), *sum = ag_add(y, ag_expand(z, AG_SHAPE(2)));
    ag_tensor *twice = ag_add(h, sum);
    ag_retain_grad(twice);
    assert_ok(ctx, ag_backward_from(tape, twice, ag_full(ctx, AG_F64, AG_SHAPE(2), 1)));
    assert_values(ag_grad(twice), 0, 1.0, 1.0);
    assert_values(ag_grad(a), 0, 8.0, 12.0); /* 1 + 1 + 2 w */
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Linear's input may be its weight too, and its bias alone may want a gradient. */
START_TEST(linear_of_itself_and_of_a_bias_alone)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(2, 1), (double[]){ 2, 3 }));
    ag_tensor *bias = LEAF(ctx, 0, 0), *fixed = ag_detach(x);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, ag_sum(ag_linear(x, x, NULL), AG_ALL_DIMS, false)));
    ag_tape_end(tape);
    assert_values(ag_grad(x), 0, 10.0, 10.0); /* of (x1 + x2)^2 */
    tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, ag_sum(ag_linear(fixed, fixed, bias), AG_ALL_DIMS, false)));
    ag_tape_end(tape);
    assert_values(ag_grad(bias), 0, 2.0, 2.0);
    test_end(ctx);
}
END_TEST

/* A leaf that the caller still holds when the context goes takes its gradient along. */
START_TEST(held_leaf_with_a_gradient)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *leaf = ag_retain(LEAF(ctx, 1, 2));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *loss = ag_sum(ag_mul(leaf, leaf), 0, NULL, false);
    assert_ok(ctx, ag_backward(tape, loss));
    ag_tape_end(tape);
    assert_values(ag_grad(leaf), 0, 2.0, 4.0);
    ck_assert_int_eq(ag_ctx_free(ctx), 1);
}
END_TEST

START_TEST(tied_leaf)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 2)));
    ag_tensor *index = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 1, 1 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_matmul(ag_embedding(w, index), ag_transpose(w, 0, 1)); /* w w^T, row 1 twice */
    assert_ok(ctx, ag_backward(tape, test_total(logits)));
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
        assert_ok(ctx, ag_backward_from(tape, y, dense));
        ag_tensor *want = ag_tensor_clone(ag_grad(x));
        ag_zero_grad(x);
        assert_ok(ctx, ag_backward_from(tape, y, parts[i]));
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
            assert_ok(ctx, ag_backward(tape, ag_mean(z, AG_ALL_DIMS, false)));
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

/* The last part of a concat: its gradient is a view of the whole's, the only one that is left, and not at its start. An
 * elementwise vjp must not write its result to the start. */
START_TEST(the_last_slice_of_a_gradient)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 3), *x = LEAF(ctx, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_concat((ag_tensor *[]){ a, a, ag_scale(x, 0.5) }, 3, 0);
    y = ag_add(ag_reshape(a, AG_SHAPE(1, 1, 1)), y);
    assert_ok(ctx, ag_backward_from(tape, y, ag_full(ctx, AG_F64, AG_SHAPE(1, 1, 3), 1)));
    ck_assert_double_eq(test_at(ag_grad(x), 0), 0.5);
    ck_assert_double_eq(test_at(ag_grad(a), 0), 5);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

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
        assert_ok(ctx, ag_backward(tape, loss));
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
    assert_ok(ctx, ag_backward_from(tape, p, g));
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
    assert_ok(ctx, ag_backward_from(tape, ag_where(negative, y, x), cotangent));
    assert_values(ag_grad(x), 0, 0.0, 3.0); /* not NaN times 0 */
    ag_zero_grad(y);
    cotangent = ag_from_data(ctx, AG_F64, AG_SHAPE(2), (const double[]){ 3, NAN });
    assert_ok(ctx, ag_backward_from(tape, ag_where(negative, y, x), cotangent));
    assert_values(ag_grad(y), 0, 3.0, 0.0);
    ag_zero_grad(x);
    assert_ok(ctx, ag_backward(tape, test_total(ag_masked_fill(ag_sqrt(ag_masked_fill(x, negative, 1)), negative, 0))));
    assert_values(ag_grad(x), 0, 0.0, 0.25);
    ck_assert_double_eq(test_item(test_total(ag_masked_fill(ag_sqrt(x), negative, 0))), 2);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Rows whose squares overflow have the values of small ones, and their gradients divided by the factor. */
START_TEST(norms_of_huge_rows)
{
    static const double factor[] = { 0x1p63, 0x1p118, 0x1p600, 0x1p1010 };
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < 4; i++)
        for (int rms = 0; rms < 2; rms++) {
            ag_tensor *x = ag_cast(ag_randn(ctx, AG_F64, AG_SHAPE(2, 21)), i < 2 ? AG_F32 : AG_F64), *part[2];
            ag_tensor *dy = ag_cast(ag_randn(ctx, AG_F64, AG_SHAPE(2, 21)), ag_dtype_of(x)), *y[2];
            for (int k = 0; k < 2; k++)
                part[k] = ag_require_grad(ag_scale(x, k == 0 ? 1 : factor[i]));
            ag_tape *tape = ag_tape_begin(ctx);
            for (int k = 0; k < 2; k++) {
                y[k] = rms ? ag_rms_norm(part[k], NULL, 0) : ag_layer_norm(part[k], NULL, NULL, 0);
                ag_backward_from(tape, y[k], dy);
            }
            for (int64_t j = 0; j < 2 * 21; j++) {
                const double tolerance = i < 2 ? 1e-5 : 1e-13;
                ck_assert_double_eq_tol(test_at(y[1], j), test_at(y[0], j), tolerance);
                ck_assert_double_eq_tol(test_at(ag_grad(part[1]), j) * factor[i], test_at(ag_grad(part[0]), j),
                                        tolerance);
            }
            ag_tape_end(tape);
        }
    test_end(ctx);
}
END_TEST

Suite *backward_suite(void)
{
    Suite *suite = suite_create("backward");
    TCase *sums = tcase_create("accumulation");
    tcase_add_test(sums, gradients_of_a_shared_value_add);
    tcase_add_test(sums, diamond);
    tcase_add_test(sums, shared_gradients_stay_apart);
    tcase_add_test(sums, a_gradient_is_overwritten_when_nobody_reads_it);
    tcase_add_test(sums, the_vjp_of_one_node_leaves_its_gradient);
    tcase_add_test(sums, side_branch_changes_nothing);
    tcase_add_test(sums, intermediates_may_go_before_backward);
    tcase_add_test(sums, backward_twice_adds);
    tcase_add_test(sums, gradients_accumulate_over_tapes);
    tcase_add_test(sums, half_a_loss_halves_every_gradient);
    tcase_add_test(sums, micro_batches_equal_one_batch);
    tcase_add_test(sums, leaf_gradients_are_nobody_elses);
    tcase_add_test(sums, linear_adds_beside_a_retained_gradient);
    tcase_add_test(sums, linear_of_itself_and_of_a_bias_alone);
    tcase_add_test(sums, held_leaf_with_a_gradient);
    tcase_add_test(sums, tied_leaf);
    tcase_add_test(sums, any_cotangent);
    tcase_add_test(sums, strided_gradients_inside);
    tcase_add_test(sums, the_last_slice_of_a_gradient);
    suite_add_tcase(suite, sums);
    TCase *masks = tcase_create("masks");
    tcase_add_test(masks, all_targets_ignored);
    tcase_add_test(masks, fully_masked_rows);
    tcase_add_test(masks, nan_behind_a_mask_does_not_leak);
    suite_add_tcase(suite, masks);
    TCase *norms = tcase_create("norms");
    tcase_add_test(norms, norms_of_huge_rows);
    suite_add_tcase(suite, norms);
    return suite;
}
