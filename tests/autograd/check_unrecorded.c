/* SPDX-License-Identifier: MIT
 *
 * check_unrecorded.c - a view or copy by an unrecorded function, of a leaf or a recorded tensor, is refused by recorded
 * ops, since its gradient would be lost; what carries no gradient is not.
 */
#include "tests/test.h"

enum { FUNCTIONS = 11 };

static const struct {
    const char *name, *recorded;
} functions[FUNCTIONS] = {
    { "reshape", "reshape" }, { "permute", "permute" }, { "transpose", "transpose" }, { "slice", "slice" },
    { "select", "select" },   { "expand", "expand" },   { "squeeze", "squeeze" },     { "unsqueeze", "unsqueeze" },
    { "clone", "contiguous" }, { "contiguous", "contiguous" }, { "cast", "cast" },
};

/* Function `which` of t[1,2,3], which is not contiguous. */
static ag_tensor *make(int which, ag_tensor *t)
{
    switch (which) {
    case 0: return ag_tensor_reshape(t, AG_SHAPE(6));
    case 1: return ag_tensor_permute(t, (const int[]){ 2, 0, 1 });
    case 2: return ag_tensor_transpose(t, 0, 1);
    case 3: return ag_tensor_slice(t, 1, 0, 1, 1);
    case 4: return ag_tensor_select(t, 2, 1);
    case 5: return ag_tensor_expand(t, AG_SHAPE(4, 2, 3));
    case 6: return ag_tensor_squeeze(t, 0);
    case 7: return ag_tensor_unsqueeze(t, 1);
    case 8: return ag_tensor_clone(t);
    case 9: return ag_tensor_contiguous(t);
    default: return ag_tensor_cast(t, AG_F32);
    }
}

static ag_tensor *strided_leaf(ag_ctx *ctx)
{
    return ag_require_grad(ag_tensor_transpose(ag_randn(ctx, AG_F64, AG_SHAPE(1, 3, 2)), 1, 2));
}

/* That exp of v is refused: v was made by ag_<by> of `from`, which ag_<recorded> replaces. */
static void assert_refused(ag_tensor *v, const char *by, const char *from, const char *recorded)
{
    char wanted[320];
    ag_ctx *ctx = ag_ctx_of(v);
    snprintf(wanted, sizeof wanted, "exp: input 0 %s is not recorded, and the gradient of the %s behind it would be "
             "lost: it was made by ag_%s; use ag_%s, or ag_detach to cut the gradient on purpose", ag_shape_text(v),
             from, by, recorded);
    ck_assert_ptr_null(ag_exp(v));
    assert_error(ctx, AG_ERR_STATE, wanted);
}

static void assert_taken(ag_tensor *v)
{
    ck_assert_ptr_nonnull(ag_exp(v));
    assert_ok(ag_ctx_of(v), ag_error(ag_ctx_of(v)));
}

/* Of a leaf, before the tape begins (0) or while it runs (1); of a recorded tensor (2). */
START_TEST(every_function)
{
    ag_ctx *ctx = test_begin();
    for (int of = 0; of < 3; of++) {
        ag_tensor *leaf = strided_leaf(ctx), *early = make(_i, leaf);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *v = of == 0 ? early : make(_i, of == 1 ? leaf : ag_transpose(leaf, 1, 1));
        char name[32];
        snprintf(name, sizeof name, "tensor_%s", functions[_i].name);
        assert_refused(v, name, of == 2 ? "recorded tensor" : "leaf", functions[_i].recorded);
        assert_taken(ag_detach(v));
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* Ops that also have an input whose gradient passes, ops at which nothing else depends on a leaf, and sdpa's inputs
 * that are not q, k, v. */
START_TEST(every_input)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *q = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 2, 2)));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *h = ag_scale(x, 3), *v = ag_tensor_reshape(h, AG_SHAPE(1, 2));
    ck_assert_ptr_null(ag_mul(h, v));
    assert_error(ctx, AG_ERR_STATE, "mul: input 1 [1,2] is not recorded, and the gradient of the ");
    ck_assert_ptr_null(ag_mul(ag_detach(h), v));
    assert_error(ctx, AG_ERR_STATE, "mul: input 1 [1,2] is not recorded, and the gradient of the ");
    ck_assert_ptr_null(ag_concat((ag_tensor *[]){ v, v, v }, 3, 0));
    assert_error(ctx, AG_ERR_STATE, "concat: input 0 [1,2] is not recorded, and the gradient of the ");
    ag_tensor *bias = ag_tensor_expand(h, AG_SHAPE(2, 2));
    ck_assert_ptr_null(ag_sdpa(q, q, q, (ag_sdpa_config){ .bias = bias }));
    assert_error(ctx, AG_ERR_STATE, "sdpa: input 3 [2,2] is not recorded, and the gradient of the ");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* A view of a view, and of a copy: the first function is the one to replace. */
START_TEST(chains)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = strided_leaf(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *v = ag_tensor_select(ag_tensor_clone(ag_scale(x, 2)), 0, 0);
    assert_refused(v, "tensor_clone", "recorded tensor", "contiguous");
    v = ag_tensor_transpose(ag_tensor_slice(x, 1, 0, 1, 1), 0, 1);
    assert_refused(v, "tensor_slice", "leaf", "slice");
    assert_taken(ag_tensor_slice(ag_detach(v), 0, 0, 1, 1));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static ag_tensor *with_view_inside(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_exp(ag_tensor_reshape(ag_scale(input[0], 2), AG_SHAPE(2)));
}

static ag_tensor *kept_view;

static ag_tensor *that_leaks_a_view(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    ag_tensor *h = ag_scale(input[0], 2);
    kept_view = ag_retain(ag_tensor_clone(h));
    return h;
}

START_TEST(recomputed_functions)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_ptr_null(ag_recompute(ctx, with_view_inside, &x, 1, NULL));
    assert_error(ctx, AG_ERR_STATE, "exp: input 0 [2] is not recorded, and the gradient of the ");
    ck_assert_ptr_nonnull(ag_recompute(ctx, that_leaks_a_view, &x, 1, NULL));
    assert_refused(kept_view, "tensor_clone", "recorded tensor", "contiguous");
    ag_release(kept_view);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(attention_weights)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *q = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 2, 2))), *lse = NULL;
    ag_tensor *k = ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 2, 2));
    for (int i = 0; i < 2; i++) { /* the queries depend on a leaf, or the keys */
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *h = ag_scale(q, 2), *a = i == 0 ? h : k, *b = i == 0 ? k : h;
        ag_sdpa(a, b, b, (ag_sdpa_config){ .lse = &lse });
        ag_tensor *p = ag_sdpa_weights(a, b, lse, (ag_sdpa_config){ .lse = NULL }, (ag_weights_of){ 0 });
        assert_refused(p, "mha_weights or ag_sdpa_weights", "recorded tensor", "attention_weights");
        assert_refused(lse, "sdpa as its lse", "recorded tensor", "logsumexp");
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* y = 2 x, whose forward pass works on an unrecorded copy. */
static void twice_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_scale(ag_tensor_clone(v->gy), 2));
}

static ag_tensor *twice(ag_tensor *x)
{
    static const ag_op op = { "twice", 1, AG_KEEP_NONE, twice_vjp };
    ag_tensor *y = ag_tensor_clone(x);
    for (int64_t i = 0; i < ag_numel(y); i++)
        ((double *)ag_data_mut(y))[i] *= 2;
    return ag_record(&op, y, &x, 1, NULL, 0, NULL);
}

/* No gradient is lost: those of integers, of a result that is recorded after all, of a gradient, of a new leaf, of what
 * is made by recorded functions while no tape runs, and of tensors whose tape has ended. */
START_TEST(what_is_allowed)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *constant = ag_randn(ctx, AG_F64, AG_SHAPE(2));
    ag_tensor *before = ag_reshape(x, AG_SHAPE(1, 2)), *copy = ag_contiguous(ag_tensor_clone(constant));
    ag_tape *tape = ag_tape_begin(ctx);
    assert_taken(before);
    assert_taken(copy);
    assert_taken(ag_tensor_reshape(constant, AG_SHAPE(1, 2)));
    assert_taken(ag_cast(ag_tensor_reshape(ag_tensor_cast(x, AG_I32), AG_SHAPE(1, 2)), AG_F64));
    assert_taken(ag_require_grad(ag_tensor_clone(x)));
    ag_tensor *h = twice(x);
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(h, h))));
    assert_values(ag_grad(x), 1e-12, 8.0, 16.0);
    assert_taken(ag_tensor_reshape(ag_grad(x), AG_SHAPE(1, 2)));
    ag_tensor *kept = ag_retain(ag_tensor_clone(h));
    ag_tape_end(tape);
    tape = ag_tape_begin(ctx);
    assert_taken(kept);
    assert_taken(ag_tensor_reshape(kept, AG_SHAPE(1, 2)));
    ag_tape_end(tape);
    ag_release(kept);
    test_end(ctx);
}
END_TEST

static void view_as_gradient_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_tensor_clone(v->input[1]));
}

/* A contribution that is a copy of a leaf is a gradient, which adds to the one that is there and may be used. */
START_TEST(gradients_are_constants)
{
    static const ag_op op = { "probe", 2, AG_KEEP_INPUT << 1, view_as_gradient_vjp };
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1, 2), *w = LEAF(ctx, 3, 4), *g = NULL;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_record(&op, ag_zeros(ctx, AG_F64, AG_SHAPE(1)), (ag_tensor *[]){ a, w }, 2, NULL, 0, NULL);
    for (int i = 1; i <= 2; i++) {
        assert_ok(ctx, ag_backward(tape, y));
        assert_values(ag_grad(a), 1e-12, 3.0 * i, 4.0 * i);
        assert_taken(ag_grad(a));
    }
    assert_ok(ctx, ag_gradient(tape, y, NULL, &a, 1, &g));
    assert_taken(g);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

Suite *unrecorded_suite(void)
{
    Suite *suite = suite_create("unrecorded");
    TCase *tests = tcase_create("unrecorded");
    tcase_add_loop_test(tests, every_function, 0, FUNCTIONS);
    tcase_add_test(tests, every_input);
    tcase_add_test(tests, chains);
    tcase_add_test(tests, recomputed_functions);
    tcase_add_test(tests, attention_weights);
    tcase_add_test(tests, what_is_allowed);
    tcase_add_test(tests, gradients_are_constants);
    suite_add_tcase(suite, tests);
    return suite;
}
