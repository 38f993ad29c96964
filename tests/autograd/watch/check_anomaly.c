/* SPDX-License-Identifier: MIT
 *
 * check_anomaly.c - ag_tape_detect_anomalies: the first NaN or infinity is found where it arises, and the message says
 * what, where, out of which values and from which leaf; the rest of the program loses nothing.
 */
#include "tests/test.h"

#include <string.h>

static ag_tensor *leaf(ag_ctx *ctx, const char *name, ag_dtype dtype, int64_t n, const double *values)
{
    ag_tensor *t = ag_tensor_cast(ag_from_data(ctx, AG_F64, 1, &n, values), dtype);
    return ag_set_name(ag_require_grad(t), name);
}
#define NAMED_LEAF(ctx, name, dtype, ...)                                                                        \
    leaf(ctx, name, dtype, (int64_t)(sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double)),             \
         (const double[]){ __VA_ARGS__ })

static ag_tape *begin(ag_ctx *ctx)
{
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tape_detect_anomalies(tape);
    ag_tape_detect_anomalies(tape); /* again: nothing */
    return tape;
}

/* ---- Forward ---- */

START_TEST(result_with_nan)
{
    ag_ctx *ctx = test_begin();
    const ag_dtype dtype = _i == 0 ? AG_F32 : AG_F64;
    ag_tensor *small = NAMED_LEAF(ctx, "small", dtype, 0.5, 0.5, 0.5);
    ag_tensor *up = NAMED_LEAF(ctx, "up.weight", dtype, 4, -1, 2);
    ag_tape *tape = begin(ctx);
    ag_scope_begin(ctx, "blocks.0");
    ag_scope_begin(ctx, "ff");
    ag_tensor *h = ag_add(ag_scale(up, 3), small); /* 12.5, -2.5, 6.5 */
    ck_assert_ptr_nonnull(h);
    ag_tensor *grid = ag_transpose(ag_mul(ag_reshape(small, AG_SHAPE(3, 1)), h), 0, 1); /* not in row-major order */
    ck_assert_ptr_nonnull(grid);
    ck_assert_ptr_null(ag_log(ag_slice(grid, 1, 0, 2, 1)));
    assert_error(ctx, AG_ERR_NUMBER,
                 "blocks.0.ff: log: result [3,2] holds nan at [1,0] (2 of 6 not finite); input 0 [3,2]: -1.25 .. 6.25; "
                 "largest values from leaf 'up.weight'");
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(result_with_infinity)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = NAMED_LEAF(ctx, "a", AG_F64, 1, 2, 3), *b = NAMED_LEAF(ctx, "b", AG_F64, 4, 0, -7);
    ag_tape *tape = begin(ctx);
    ck_assert_ptr_null(ag_div(a, b));
    assert_error(ctx, AG_ERR_NUMBER, "div: result [3] holds inf at [1] (1 of 3 not finite); input 0 [3]: 1 .. 3; "
                                     "input 1 [3]: -7 .. 4; largest values from leaf 'b'");
    ag_tensor *constant = ag_full(ctx, AG_F64, AG_SCALAR, -800);
    ck_assert_ptr_null(ag_exp(ag_mul(a, ag_neg(constant))));
    assert_error(ctx, AG_ERR_NUMBER, "exp: result [3] holds inf at [0] (3 of 3 not finite); input 0 [3]: 800 .. 2400; "
                                     "largest values from leaf 'a'"); /* a constant below has no node */
    ag_tensor *minus = NAMED_LEAF(ctx, "minus", AG_F64, -1000, -2, -3);
    ck_assert_ptr_null(ag_exp(ag_sub(a, minus)));
    assert_error(ctx, AG_ERR_NUMBER, "exp: result [3] holds inf at [0] (1 of 3 not finite); input 0 [3]: 4 .. 1001; "
                                     "largest values from leaf 'minus'");
    ck_assert_ptr_null(ag_mul(a, ag_full(ctx, AG_F64, AG_SHAPE(3), 1.5e308)));
    assert_error(ctx, AG_ERR_NUMBER, "mul: result [3] holds inf at [1] (2 of 3 not finite); input 0 [3]: 1 .. 3; "
                                     "input 1 [3]: 1.5e+308 .. 1.5e+308; largest values from input 1, which needs no");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(leaf_that_is_not_finite)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *big = NAMED_LEAF(ctx, "big", AG_F32, 1e30, 1, 1);
    ag_tensor *bad = NAMED_LEAF(ctx, "bad", AG_F32, 1, NAN, -INFINITY);
    ag_tensor *table = ag_require_grad(ag_full(ctx, AG_F32, AG_SHAPE(3, 2), NAN));
    ag_tape *tape = begin(ctx);
    ck_assert_ptr_null(ag_add(ag_scale(big, 0.5), bad));
    assert_error(ctx, AG_ERR_NUMBER,
                 "add: result [3] holds nan at [1] (2 of 3 not finite); input 0 [3]: 0.5 .. 5e+29; "
                 "input 1 [3]: 1 .. 1, 2 of 3 not finite; what is not finite comes from leaf 'bad'");
    ag_tensor *grid = ag_require_grad(ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3)));
    ag_set(grid, (const int64_t[]){ 0, 1 }, NAN);
    ck_assert_ptr_null(ag_transpose(grid, 0, 1)); /* read by its strides */
    assert_error(ctx, AG_ERR_NUMBER, "permute: result [3,2] holds nan at [1,0] (1 of 6 not finite)");
    ag_tensor *index = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 2, 1 });
    ck_assert_ptr_null(ag_embedding(table, index));
    assert_error(ctx, AG_ERR_NUMBER,
                 "embedding: result [2,2] holds nan at [0,0] (4 of 4 not finite); input 0 [3,2]: 6 of 6 not finite; "
                 "input 1 [2]: 1 .. 2; what is not finite comes from leaf [3,2]");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* What is finite passes: also empty tensors, a NaN that a mask hides, what is not recorded. */
START_TEST(nothing_to_find)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = NAMED_LEAF(ctx, "a", AG_F32, 1, NAN), *none = ag_require_grad(ag_zeros(ctx, AG_F32, AG_SHAPE(0, 3)));
    ag_tensor *mask = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 0, 1 });
    ag_tape *tape = begin(ctx);
    ag_log(ag_zeros(ctx, AG_F32, AG_SHAPE(2)));
    ag_tensor *loss = ag_add(test_total(ag_masked_fill(a, mask, 0)), test_total(ag_exp(none)));
    ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
    assert_values(ag_grad(a), 0, 1.0, 0.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(many_inputs)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *part[9];
    for (int i = 0; i < 9; i++)
        part[i] = NAMED_LEAF(ctx, "part", AG_F32, i);
    part[7] = NAMED_LEAF(ctx, "seventh", AG_F32, INFINITY);
    ag_tape *tape = begin(ctx);
    ck_assert_ptr_null(ag_concat(part, 9, 0));
    assert_error(ctx, AG_ERR_NUMBER,
                 "concat: result [9] holds inf at [7] (1 of 9 not finite); input 0 [1]: 0 .. 0; input 1 [1]: 1 .. 1; "
                 "input 2 [1]: 2 .. 2; input 3 [1]: 3 .. 3; and 5 more; what is not finite comes from leaf 'seventh'");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Nodes from before detection began have no known values; the way down goes through them all the same. */
START_TEST(begun_late)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = NAMED_LEAF(ctx, "a", AG_F64, 1000);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_scale(ag_neg(ag_neg(a)), 1);
    ag_tape_detect_anomalies(tape);
    ck_assert_ptr_null(ag_exp(ag_scale(y, 1)));
    assert_error(ctx, AG_ERR_NUMBER, "exp: result [1] holds inf at [0] (1 of 1 not finite); input 0 [1]: 1000 .. 1000; "
                                     "largest values from leaf 'a'");
    ag_tape_end(tape);
    ag_tape_detect_anomalies(NULL);
    test_end(ctx);
}
END_TEST

/* ---- Backward ---- */

START_TEST(gradient_with_infinity)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *w = NAMED_LEAF(ctx, "w", AG_F64, 4, 0, 9), *b = NAMED_LEAF(ctx, "b", AG_F64, 1, 1, 1);
    ag_tape *tape = begin(ctx);
    ag_tensor *fine = test_total(ag_mul(w, b));
    ck_assert_int_eq(ag_backward(tape, fine), AG_OK);
    ag_tensor *before = ag_tensor_clone(ag_grad(w));
    ag_scope_begin(ctx, "norm");
    ag_tensor *loss = ag_scope_end(ctx, test_total(ag_mul(b, ag_sqrt(ag_scale(w, 1)))));
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_NUMBER);
    assert_error(ctx, AG_ERR_NUMBER,
                 "norm: sqrt: backward: gradient of input 0 [3] holds inf at [1] (1 of 3 not finite); on its way to "
                 "leaf 'w'; gradient of the result: 1 .. 1; input 0 [3]: 0 .. 9; largest values from leaf 'w'");
    assert_same(ag_grad(w), before);
    ck_assert_int_eq(ag_backward(tape, fine), AG_OK);
    assert_same(ag_grad(w), ag_scale(before, 2));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static ag_tensor *spoil(void *user, ag_tensor *grad)
{
    (void)user;
    return ag_scale(grad, (double)INFINITY);
}

/* Not made by an op: a cotangent, a hook's gradient, a sum that overflows. */
START_TEST(gradient_that_no_op_made)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *w = NAMED_LEAF(ctx, "w", AG_F64, 4, 1), *grad = NULL;
    ag_tape *tape = begin(ctx);
    ag_tensor *y = ag_neg(w), *twice = ag_add(y, y), *loss = test_total(y);
    ag_tensor *huge = ag_full(ctx, AG_F64, AG_SHAPE(2), 1e308), *nan = ag_full(ctx, AG_F64, AG_SHAPE(2), NAN);
    const char made[] = "; the cotangent, a hook or the sum over its uses made it so; on its way to leaf 'w'";
    char wanted[240];
    ck_assert_int_eq(ag_gradient(tape, twice, nan, &w, 1, &grad), AG_ERR_NUMBER);
    snprintf(wanted, sizeof wanted, "add: backward: gradient of the result [2] holds nan at [0] (2 of 2 not finite)%s",
             made);
    assert_error(ctx, AG_ERR_NUMBER, wanted);
    ck_assert_ptr_null(grad);
    ck_assert_int_eq(ag_backward_from(tape, twice, huge), AG_ERR_NUMBER);
    snprintf(wanted, sizeof wanted, "neg: backward: gradient of the result [2] holds inf at [0] (2 of 2 not finite)%s",
             made);
    assert_error(ctx, AG_ERR_NUMBER, wanted);
    ag_hook(w, spoil, NULL);
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_NUMBER);
    snprintf(wanted, sizeof wanted,
             "leaf: backward: gradient of the result [2] holds -inf at [0] (2 of 2 not finite)%s", made);
    assert_error(ctx, AG_ERR_NUMBER, wanted);
    ck_assert_ptr_null(ag_grad(w));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* A slice adds into the gradient where it lies. Only its own contribution is blamed on it, and not a sum. */
START_TEST(gradient_of_a_slice)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *w = NAMED_LEAF(ctx, "w", AG_F32, 4, 0, 9), *other = NAMED_LEAF(ctx, "other", AG_F32, 1, 2, 3);
    ag_tape *tape = begin(ctx);
    ag_tensor *part = ag_slice(w, 0, 1, 3, 1), *loss = test_total(ag_div(ag_slice(other, 0, 0, 2, 1), ag_exp(part)));
    ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
    assert_values(ag_grad(other), 1e-6, 1.0, exp(-9), 0.0);
    ck_assert_int_eq(ag_backward(tape, test_total(ag_pow(part, 0.5))), AG_ERR_NUMBER);
    assert_error(ctx, AG_ERR_NUMBER, "pow: backward: gradient of input 0 [2] holds inf at [0] (1 of 2 not finite); on "
                                     "its way to leaf 'w'; gradient of the result: 1 .. 1; input 0 [2]: 0 .. 9");
    ag_tensor *sum = ag_add(ag_slice(w, 0, 1, 2, 1), ag_slice(w, 0, 1, 2, 1)); /* w[1] gets 2e38 twice */
    ck_assert_int_eq(ag_backward_from(tape, sum, ag_full(ctx, AG_F32, AG_SHAPE(1), 2e38)), AG_ERR_NUMBER);
    assert_error(ctx, AG_ERR_NUMBER, "leaf: backward: gradient of the result [3] holds inf at [1] (1 of 3 not finite); "
                                     "the cotangent, a hook or the sum over its uses made it so");
    ag_tensor *huge = ag_full(ctx, AG_F32, AG_SHAPE(3), 3e38), *twice = ag_scale(w, 2);
    ck_assert_int_eq(ag_backward_from(tape, ag_add(ag_neg(w), twice), huge), AG_ERR_NUMBER);
    assert_error(ctx, AG_ERR_NUMBER, "scale: backward: gradient of input 0 [3] holds inf at [0] (3 of 3 not finite)");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Looking changes nothing: a leaf that slices and gathers add into in several places gets the same bits. */
START_TEST(bits_stay)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(3, 4))), *grad[2];
    ag_tensor *index = ag_randint(ctx, 0, 3, AG_SHAPE(50)), *c = ag_randn(ctx, AG_F32, AG_SHAPE(50, 4));
    for (int detect = 0; detect < 2; detect++) {
        ag_tape *tape = ag_tape_begin(ctx);
        if (detect)
            ag_tape_detect_anomalies(tape);
        ag_tensor *y = ag_mul(ag_embedding(w, index), ag_select(w, 0, 1));
        y = ag_add(ag_mul(y, c), ag_slice(ag_embedding(w, index), 0, 0, 1, 1));
        ck_assert_int_eq(ag_gradient(tape, test_total(ag_mul(y, y)), NULL, &w, 1, &grad[detect]), AG_OK);
        ag_retain(grad[detect]);
        ag_tape_end(tape);
    }
    ck_assert_int_eq(memcmp(ag_data(grad[0]), ag_data(grad[1]), 12 * sizeof(float)), 0);
    ag_release(grad[0]);
    ag_release(grad[1]);
    test_end(ctx);
}
END_TEST

/* ---- In a model ---- */

START_TEST(parameter_is_named)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = 7, .max_seq_len = 4, .emb_size = 8,
                                                           .num_heads = 2, .num_layers = 2, .recompute = _i == 1 });
    ag_module *module = ag_gpt_module(gpt);
    ag_tensor *tokens = ag_randint(ctx, 0, 7, AG_SHAPE(2, 4));
    ag_tape *tape = begin(ctx);
    ck_assert_int_eq(ag_backward(tape, ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens)), AG_OK);
    ag_tape_end(tape);
    ag_tensor *weight = ag_module_find(module, "blocks.1.ff.up.weight");
    ck_assert_int_eq(ag_set(weight, (const int64_t[]){ 3, 1 }, 3e38), AG_OK);
    ck_assert_int_eq(ag_set(weight, (const int64_t[]){ 3, 2 }, -3e38), AG_OK);
    tape = begin(ctx);
    ck_assert_int_eq(ag_backward(tape, ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens)), AG_ERR_NUMBER);
    ck_assert_ptr_nonnull(strstr(ag_error_message(ctx), "blocks.1.ff.up: linear: result [2,4,32] holds "));
    assert_error(ctx, AG_ERR_NUMBER, "; input 1 [32,8]: -3e+38 .. 3e+38; input 2 [32]: 0 .. 0; largest values from "
                                     "leaf 'blocks.1.ff.up.weight'");
    ag_tape_end(tape);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

Suite *anomaly_suite(void)
{
    Suite *suite = suite_create("anomaly");
    TCase *forward = tcase_create("forward");
    tcase_add_loop_test(forward, result_with_nan, 0, 2);
    tcase_add_test(forward, result_with_infinity);
    tcase_add_test(forward, leaf_that_is_not_finite);
    tcase_add_test(forward, nothing_to_find);
    tcase_add_test(forward, many_inputs);
    tcase_add_test(forward, begun_late);
    suite_add_tcase(suite, forward);
    TCase *backward = tcase_create("backward");
    tcase_add_test(backward, gradient_with_infinity);
    tcase_add_test(backward, gradient_that_no_op_made);
    tcase_add_test(backward, gradient_of_a_slice);
    tcase_add_test(backward, bits_stay);
    suite_add_tcase(suite, backward);
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, parameter_is_named, 0, 2);
    suite_add_tcase(suite, model);
    return suite;
}
