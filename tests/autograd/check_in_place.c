/* SPDX-License-Identifier: MIT
 *
 * check_in_place.c - changes in place: what backward needs and somebody has changed is refused, with the names of the
 * op that needs it and of the change, through whatever view either was made; what it does not need may be changed.
 */
#include "tests/test.h"

static ag_tensor *random_leaf(ag_ctx *ctx, int64_t rows, int64_t columns)
{
    return ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(rows, columns)));
}

/* ---- Every way to change ---- */

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
        ag_tensor *loss = test_total(ag_add(ag_mul(c, c), y)); /* c's gradient comes first; it is not handed out */
        ag_status status = ag_backward(tape, loss);
        if (what == 2) {
            assert_ok(ctx, status);
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

/* ---- Views ---- */

enum { SLICE, SELECT, TRANSPOSE, EXPAND, RESHAPE, DETACH, VIEWS };

/* A view of x[4,1,3]. */
static ag_tensor *view_of(ag_tensor *x, int kind)
{
    switch (kind) {
    case SLICE: return ag_slice(x, 0, 1, 4, 2);
    case SELECT: return ag_select(x, 0, 2);
    case TRANSPOSE: return ag_transpose(x, 0, 2);
    case EXPAND: return ag_expand(x, AG_SHAPE(4, 5, 3));
    case RESHAPE: return ag_reshape(x, AG_SHAPE(2, 6));
    default: return ag_detach(x);
    }
}

/* A square keeps a view or its base, and the other of the two is changed. */
START_TEST(views_share_their_changes)
{
    const char *const change[] = { "fill", "copy_into", "set" };
    ag_ctx *ctx = test_begin();
    for (int how = 0; how < 3; how++)
        for (int through_view = 0; through_view < 2; through_view++) {
            ag_tensor *a = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(4, 1, 3)));
            ag_tape *tape = ag_tape_begin(ctx);
            ag_tensor *base = ag_scale(a, 2), *view = view_of(base, _i);
            ag_tensor *kept = through_view ? base : view, *changed = through_view ? view : base;
            ag_scope_begin(ctx, "square");
            ag_tensor *y = ag_scope_end(ctx, ag_mul(kept, kept));
            ag_tensor *loss = ag_add(test_total(a), test_total(_i == DETACH ? ag_mul(y, base) : y));
            ag_scope_begin(ctx, "update");
            if (how == 0)
                ag_fill(changed, 3);
            else if (how == 1)
                ag_copy_into(changed, ag_zeros(ctx, AG_F64, AG_SHAPE(1)));
            else
                ag_set(changed, (const int64_t[]){ 0, 0, 0 }, 1);
            ag_scope_end(ctx, NULL);
            if (_i == EXPAND && through_view && how == 1) { /* many values for one place: nothing is written */
                assert_error(ctx, AG_ERR_ARGUMENT, change[how]);
                assert_ok(ctx, ag_backward(tape, loss));
                ag_tape_end(tape);
                continue;
            }
            ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_STATE);
            char wanted[120];
            snprintf(wanted, sizeof wanted, "mul: backward needs its input %s, which '%s' in update has changed since",
                     ag_shape_text(kept), change[how]);
            assert_error(ctx, AG_ERR_STATE, wanted);
            ck_assert_ptr_null(ag_grad(a));
            ag_tape_end(tape);
        }
    test_end(ctx);
}
END_TEST

/* A change counts for its whole storage: beside what a slice shows it is refused too; of a copy it is not. */
START_TEST(a_storage_is_one_thing)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 4, 3);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *base = ag_scale(a, 2), *top = ag_slice(base, 0, 0, 2, 1), *loss = test_total(ag_mul(top, top));
    ag_tensor *copy = ag_tensor_clone(base);
    ag_fill(copy, 0);
    assert_ok(ctx, ag_backward(tape, loss));
    ag_fill(ag_tensor_slice(base, 0, 2, 4, 1), 0);
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "mul: backward needs its input [2,3], which 'fill' has changed since");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* A change counts for what was recorded before it, not for what comes after. */
START_TEST(only_what_came_before)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 1, 3), *factor = ag_full(ctx, AG_F64, AG_SHAPE(3), 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *before = test_total(ag_mul(a, factor));
    ag_fill(factor, 5);
    ag_tensor *after = test_total(ag_mul(a, factor));
    assert_ok(ctx, ag_backward(tape, after));
    assert_values(ag_grad(a), 0, 5.0, 5.0, 5.0);
    ck_assert_int_eq(ag_backward(tape, ag_add(before, after)), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "mul: backward needs its input [3], which 'fill' has changed since");
    assert_values(ag_grad(a), 0, 5.0, 5.0, 5.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* ---- What ops keep besides their first input ---- */

/* Everything an op's backward reads: the op run on leaf[2,3], the tensor to be changed in *needed. */
static ag_tensor *run_op(ag_ctx *ctx, int which, ag_tensor *leaf3, ag_tensor **needed)
{
    ag_tensor *index = *needed = ag_zeros(ctx, AG_I32, AG_SHAPE(2)), *w = ag_full(ctx, AG_F64, AG_SHAPE(3), 2);
    ag_tensor *mask = ag_zeros(ctx, AG_I32, AG_SHAPE(2, 3)), *x = ag_scale(leaf3, 1), *lse = NULL;
    switch (which) {
    case 0: return ag_embedding(x, index);
    case 1: return ag_where(*needed = mask, x, leaf3);
    case 2: return ag_masked_fill(x, *needed = mask, 1);
    case 3: return ag_layer_norm(x, *needed = w, NULL, 1e-5);
    case 4: return ag_linear(x, *needed = ag_reshape(w, AG_SHAPE(1, 3)), NULL);
    case 5: return *needed = ag_softmax(x, 1);
    case 6: return ag_max(*needed = x, AG_DIMS(1), false);
    case 7: return ag_var(*needed = x, AG_DIMS(1), 0, false);
    case 8: return ag_gelu(*needed = x);
    case 9: {
        ag_tensor *q = ag_reshape(x, AG_SHAPE(1, 1, 2, 3)), *y = ag_sdpa(q, q, q, (ag_sdpa_config){ .lse = &lse });
        *needed = lse;
        return y;
    }
    case 10: return *needed = ag_log_softmax(x, 1);
    case 11: return ag_div(leaf3, *needed = w);
    default: return ag_matmul(x, *needed = ag_reshape(w, AG_SHAPE(3, 1)));
    }
}

START_TEST(all_that_an_op_reads)
{
    static const char *const op[] = { "embedding", "where", "where", "layer_norm", "linear", "softmax", "max",
                                      "var", "gelu", "sdpa", "log_softmax", "div", "matmul" };
    ag_ctx *ctx = test_begin();
    ag_tensor *a = random_leaf(ctx, 2, 3), *needed = NULL;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = run_op(ctx, _i, a, &needed);
    ag_tensor *loss = test_total(y);
    assert_ok(ctx, ag_backward(tape, loss));
    ag_zero_grad(a);
    ag_fill(needed, 1);
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_STATE);
    char wanted[80];
    snprintf(wanted, sizeof wanted, "%s: backward needs its ", op[_i]);
    assert_error(ctx, AG_ERR_STATE, wanted);
    ck_assert_ptr_null(ag_grad(a));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static ag_tensor *zero_in_place(void *user, ag_tensor *g)
{
    (void)user;
    return ag_fill(g, 0) == AG_OK ? g : NULL;
}

/* Forward has made the gradient of cross_entropy: logits and targets may change, and nobody writes into what the tape
 * keeps, be it a leaf's gradient or what a hook is given. */
START_TEST(a_loss_reads_nothing_again)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 4, 5), *t = ag_arange(ctx, AG_I32, 0, 1, 4);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, ag_cross_entropy(x, t)));
    ag_tensor *want = ag_retain(ag_tensor_clone(ag_grad(x)));
    ag_tape_end(tape);
    tape = ag_tape_begin(ctx);
    ag_tensor *loss = ag_cross_entropy(x, t);
    ag_fill(x, 7);
    ag_fill(t, 1);
    for (int i = 0; i < 2; i++) {
        ag_zero_grad(x);
        assert_ok(ctx, ag_backward(tape, loss));
        assert_same_bits(ag_grad(x), want);
        ag_fill(ag_grad(x), 3);
    }
    ag_zero_grad(x);
    ag_hook(x, zero_in_place, NULL);
    assert_ok(ctx, ag_backward(tape, loss));
    assert_same(ag_grad(x), ag_zeros(ctx, AG_F64, AG_SHAPE(4, 5)));
    ag_hook(x, NULL, NULL);
    ag_zero_grad(x);
    assert_ok(ctx, ag_backward(tape, loss));
    assert_same_bits(ag_grad(x), want);
    ag_tape_end(tape);
    ag_release(want);
    test_end(ctx);
}
END_TEST

/* ---- Parameters ---- */

/* A step between forward and backward changes weights that backward needs; a bias it does not need. */
START_TEST(optimizer_step_in_between)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 3, .out_features = 2 });
    ag_module *module = ag_linear_module(layer);
    ag_optimizer *optimizer = _i == 0 ? ag_sgd_new(module, (ag_sgd_config){ .lr = 0.1 })
                                      : ag_adamw_new(module, (ag_adamw_config){ .lr = 0.1 });
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(4, 3)));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *first = test_total(ag_linear_forward(layer, x));
    ag_scope_begin(ctx, "second");
    ag_tensor *second = ag_scope_end(ctx, test_total(ag_linear_forward(layer, x)));
    assert_ok(ctx, ag_backward(tape, first));
    assert_ok(ctx, ag_optimizer_step(optimizer));
    ag_tensor *before = ag_tensor_clone(ag_grad(x));
    ck_assert_int_eq(ag_backward(tape, second), AG_ERR_STATE);
    char wanted[120];
    snprintf(wanted, sizeof wanted, "second: linear: backward needs its input [2,3], which '%s' has changed since",
             _i == 0 ? "sgd" : "adamw");
    assert_error(ctx, AG_ERR_STATE, wanted);
    assert_same(ag_grad(x), before);
    ag_tape_end(tape);
    tape = ag_tape_begin(ctx);
    ag_tensor *loss = test_total(ag_linear_forward(layer, x));
    ag_fill(ag_module_find(module, "bias"), 3);
    assert_ok(ctx, ag_backward(tape, loss));
    ag_tape_end(tape);
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

Suite *in_place_suite(void)
{
    Suite *suite = suite_create("in_place");
    TCase *tests = tcase_create("in_place");
    tcase_add_loop_test(tests, change_of_a_kept_value_is_refused, 0, (int)(sizeof changes / sizeof *changes));
    tcase_add_loop_test(tests, views_share_their_changes, 0, VIEWS);
    tcase_add_test(tests, a_storage_is_one_thing);
    tcase_add_test(tests, only_what_came_before);
    tcase_add_loop_test(tests, all_that_an_op_reads, 0, 13);
    tcase_add_test(tests, a_loss_reads_nothing_again);
    tcase_add_loop_test(tests, optimizer_step_in_between, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
