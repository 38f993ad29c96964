/* SPDX-License-Identifier: MIT
 *
 * check_module_gradcheck.c - the gradient check of a module: its parameters are inputs, and a fault in one is found.
 */
#include "tests/test.h"

typedef struct layers {
    ag_feed_forward *layer;
    ag_module *module;
    bool wrong;
} layers;

/* y = x, whose vjp is wrong by 10 percent in element 1 when the attribute says so. */
static void copy_vjp(ag_vjp *v)
{
    ag_tensor *gx = ag_tensor_clone(v->gy);
    ag_tensor *one = ag_tensor_slice(gx, 0, 1, 2, 1);
    if (*(const bool *)v->attr)
        ag_copy_into(one, ag_scale(one, 1.1));
    ag_vjp_add(v, 0, gx);
}

static const ag_op copy_op = { "copy", 1, AG_KEEP_NONE, copy_vjp };

/* The layer, and its parameter down.bias once more, through the op that may be wrong. */
static void through_layer(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    layers *l = user;
    ag_tensor *bias = ag_module_find(l->module, "down.bias");
    ag_tensor *copy = ag_record(&copy_op, ag_tensor_clone(bias), &bias, 1, &l->wrong, sizeof l->wrong, NULL);
    y[0] = ag_add(ag_feed_forward_forward(l->layer, x[0]), copy);
}

START_TEST(parameters_are_inputs)
{
    ag_ctx *ctx = test_begin();
    ag_feed_forward_config shape = { .emb_size = 3, .ff_size = 5, .dropout = 0.3, .dtype = AG_F64 };
    layers l = { .layer = ag_feed_forward_new(ctx, shape), .wrong = false };
    l.module = ag_feed_forward_module(l.layer);
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, 3)));
    ag_gradcheck_input inputs[5];
    ag_gradcheck_config config = { .inputs = inputs };
    ag_gradcheck_result r = ag_module_gradcheck(l.module, through_layer, &x, 1, &l, config);
    ck_assert_msg(r.verdict == AG_PASS, "%s", r.explanation);
    ck_assert_int_eq(r.checked, 6 + 15 + 5 + 15 + 3);
    for (int i = 0; i < 5; i++)
        ck_assert(inputs[i].verdict == AG_PASS && inputs[i].checked > 0);
    l.wrong = true;
    r = ag_module_gradcheck(l.module, through_layer, &x, 1, &l, config);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_str_eq(ag_module_param(l.module, r.input - 1).name, "down.bias");
    ck_assert_int_eq(r.worst.index, 1);
    ag_feed_forward_free(l.layer);
    test_end(ctx);
}
END_TEST

START_TEST(float32_modules)
{
    ag_ctx *ctx = test_begin();
    layers l = { .layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 3, .ff_size = 5 }) };
    l.module = ag_feed_forward_module(l.layer);
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(2, 3))), *before = ag_tensor_clone(x);
    ag_gradcheck_config config = { 0 };
    ag_gradcheck_result r = ag_module_gradcheck(l.module, through_layer, &x, 1, &l, config);
    ck_assert_msg(r.verdict == AG_PASS && r.checked == 6 + 15 + 5 + 15 + 3, "%s", r.explanation);
    for (int i = 0; i < 6; i++)
        ck_assert(test_at(x, i) == test_at(before, i));
    l.wrong = true;
    r = ag_module_gradcheck(l.module, through_layer, &x, 1, &l, config);
    ck_assert(r.verdict == AG_FAIL && r.worst.index == 1);
    ag_feed_forward_free(l.layer);
    ck_assert_int_eq(ag_module_gradcheck(NULL, through_layer, NULL, 0, NULL, config).verdict, AG_FAIL);
    test_end(ctx);
}
END_TEST

Suite *module_gradcheck_suite(void)
{
    Suite *suite = suite_create("module_gradcheck");
    TCase *all = tcase_create("all");
    tcase_add_test(all, parameters_are_inputs);
    tcase_add_test(all, float32_modules);
    suite_add_tcase(suite, all);
    return suite;
}
