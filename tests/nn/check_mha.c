/* SPDX-License-Identifier: MIT
 *
 * check_mha.c - multi-head attention: its heads against head_attention bit for bit, its weights, limits, gradients.
 * The values of several heads from ops stand in check_layers.c (decoder block).
 */
#include "tests/nn/check_nn.h"

static ag_tensor *run(void *layer, ag_tensor *x)
{
    return ag_mha_forward(layer, x);
}

/* proj := identity, bias 0. */
static void make_identity(const ag_module *module)
{
    ag_tensor *w = test_param(module, "proj.weight"), *b = ag_module_find(module, "proj.bias");
    ag_fill(w, 0);
    for (int64_t i = 0; i < ag_dim(w, 0); i++)
        ag_set(w, (const int64_t[]){ i, i }, 1);
    if (b != NULL)
        ag_fill(b, 0);
}

static void check_one_head(ag_dtype dtype, bool non_causal)
{
    enum { C = 24, T = 19 };
    ag_ctx *ctx = test_begin();
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = C, .num_heads = 1, .max_seq_len = T,
                                                   .non_causal = non_causal, .dtype = dtype });
    ag_head_attention *head = ag_head_attention_new(
        ctx, (ag_head_attention_config){ .emb_size = C, .head_size = C, .max_seq_len = T, .non_causal = non_causal,
                                         .dtype = dtype });
    test_copy_params(ag_head_attention_module(head), ag_mha_module(mha));
    make_identity(ag_mha_module(mha));
    ag_tensor *x = ag_randn(ctx, dtype, AG_SHAPE(3, T, C));
    assert_same(ag_mha_forward(mha, x), ag_head_attention_forward(head, x));
    assert_same(ag_tensor_squeeze(ag_mha_weights(mha), 1), ag_head_attention_weights(head));
    ag_mha_free(mha);
    ag_head_attention_free(head);
    test_end(ctx);
}

START_TEST(one_head_is_head_attention)
{
    check_one_head(AG_F32, false);
    check_one_head(AG_F32, true);
    check_one_head(AG_F64, false);
}
END_TEST

/* Head h is rows h*D .. of q, k, v: each head alone as a head_attention gives its columns. */
START_TEST(heads_are_rows)
{
    enum { C = 6, H = 3, D = 2, T = 4 };
    ag_ctx *ctx = test_begin();
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = C, .num_heads = H, .max_seq_len = T, .dtype = AG_F64 });
    make_identity(ag_mha_module(mha));
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C)), *y = ag_mha_forward(mha, x), *p = ag_mha_weights(mha);
    ck_assert_str_eq(ag_shape_text(p), "[2,3,4,4]");
    for (int h = 0; h < H; h++) {
        ag_head_attention *head = ag_head_attention_new(
            ctx, (ag_head_attention_config){ .emb_size = C, .head_size = D, .max_seq_len = T, .dtype = AG_F64 });
        ag_module *module = ag_head_attention_module(head);
        for (int64_t i = 0; i < ag_module_param_count(module); i++) {
            ag_named_tensor param = ag_module_param(module, i);
            ag_tensor *all = test_param(ag_mha_module(mha), param.name);
            ck_assert_int_eq(ag_copy_into(param.tensor, ag_tensor_slice(all, 0, h * D, (h + 1) * D, 1)), AG_OK);
        }
        assert_close(ag_tensor_slice(y, 2, h * D, (h + 1) * D, 1), ag_head_attention_forward(head, x), 1e-13, 1e-13);
        assert_close(ag_tensor_select(p, 1, h), ag_head_attention_weights(head), 1e-13, 1e-13);
        ag_head_attention_free(head);
    }
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

START_TEST(parameters_and_gradients)
{
    ag_ctx *ctx = test_begin_serial();
    for (int variant = 0; variant < 4; variant++) {
        ag_mha_config config = { .emb_size = 5, .num_heads = 2, .head_size = 3, .max_seq_len = 7,
                                 .non_causal = variant & 1, .no_bias = variant & 2, .dtype = AG_F64 };
        ag_mha *mha = ag_mha_new(ctx, config);
        test_param_list(ag_mha_module(mha),
                        config.no_bias ? "q.weight [6,5]|k.weight [6,5]|v.weight [6,5]|proj.weight [5,6]"
                                       : "q.weight [6,5]|q.bias [6]|k.weight [6,5]|k.bias [6]|"
                                         "v.weight [6,5]|v.bias [6]|proj.weight [5,6]|proj.bias [5]");
        test_fill_params(ag_mha_module(mha), 0.6);
        test_gradcheck(ag_mha_module(mha), run, mha, ag_randn(ctx, AG_F64, AG_SHAPE(2, 4, 5)));
        ag_mha_free(mha);
    }
    test_end(ctx);
}
END_TEST

START_TEST(weights)
{
    enum { B = 2, H = 4, T = 9 };
    ag_ctx *ctx = test_begin();
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = 16, .num_heads = H, .max_seq_len = T, .dropout = 0.3 });
    ck_assert_ptr_null(ag_mha_weights(mha));
    assert_error(ctx, AG_ERR_STATE, "mha: there are no weights: the layer has not run");
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(B, T, 16));
    ag_tensor *y = ag_mha_forward(mha, x), *before = ag_tensor_clone(y), *p = ag_mha_weights(mha);
    for (int r = 0; r < B * H * T; r++) {
        double sum = 0;
        for (int j = 0; j < T; j++) {
            sum += test_at(p, r * T + j);
            if (j > r % T)
                ck_assert_double_eq(test_at(p, r * T + j), 0);
        }
        ck_assert_double_eq_tol(sum, 1, 1e-6);
    }
    assert_same(y, before);
    assert_same(ag_mha_forward(mha, x), before);
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

START_TEST(threads)
{
    ag_tensor *y[2], *p[2];
    ag_ctx *ctx[2];
    ag_mha *mha[2];
    for (int i = 0; i < 2; i++) {
        ctx[i] = ag_ctx_new((ag_ctx_config){ .seed = 3, .threads = i + 1 });
        mha[i] = ag_mha_new(ctx[i], (ag_mha_config){ .emb_size = 64, .num_heads = 4, .max_seq_len = 200 });
        y[i] = ag_mha_forward(mha[i], ag_randn(ctx[i], AG_F32, AG_SHAPE(2, 200, 64)));
        p[i] = ag_mha_weights(mha[i]);
    }
    assert_same(y[1], y[0]);
    assert_same(p[1], p[0]);
    for (int i = 0; i < 2; i++) {
        ag_mha_free(mha[i]);
        test_end(ctx[i]);
    }
}
END_TEST

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(ag_mha_new(ctx, (ag_mha_config){ .emb_size = 10, .num_heads = 3, .max_seq_len = 4 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "mha: emb_size 10 is not divisible by num_heads 3; give head_size");
    ck_assert_ptr_null(ag_mha_new(ctx, (ag_mha_config){ .emb_size = 10, .num_heads = 0, .max_seq_len = 4 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "mha: num_heads is 0");
    ck_assert_ptr_null(ag_mha_new(ctx, (ag_mha_config){ .num_heads = 2, .max_seq_len = 4 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "mha: emb_size is 0");
    ag_mha_config negative = { .emb_size = 10, .num_heads = 2, .head_size = -1, .max_seq_len = 4 };
    ck_assert_ptr_null(ag_mha_new(ctx, negative));
    assert_error(ctx, AG_ERR_ARGUMENT, "mha: head_size is -1");
    ck_assert_ptr_null(ag_mha_new(ctx, (ag_mha_config){ .emb_size = 10, .num_heads = 2, .max_seq_len = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "mha: max_seq_len is -1");
    ck_assert_ptr_null(ag_mha_new(
        ctx, (ag_mha_config){ .emb_size = 4, .num_heads = INT32_MAX, .head_size = INT32_MAX, .max_seq_len = 4 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "linear: out_features is 4611686014132420609, must be in 1 .. 2147483647");
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = 4, .num_heads = 2, .max_seq_len = 64 });
    ck_assert_ptr_null(ag_mha_forward(mha, ag_zeros(ctx, AG_F32, AG_SHAPE(1, 65, 4))));
    assert_error(ctx, AG_ERR_SHAPE, "mha: the sequence has 65 positions, max_seq_len is 64");
    ck_assert_str_eq(ag_shape_text(ag_mha_forward(mha, ag_zeros(ctx, AG_F32, AG_SHAPE(1, 64, 4)))), "[1,64,4]");
    ck_assert_str_eq(ag_shape_text(ag_mha_forward(mha, ag_zeros(ctx, AG_F32, AG_SHAPE(3, 1, 4)))), "[3,1,4]");
    ck_assert_ptr_null(ag_mha_forward(NULL, NULL));
    ck_assert_ptr_null(ag_mha_weights(NULL));
    ag_mha_free(mha);
    ag_mha_free(NULL);
    test_end(ctx);
}
END_TEST

Suite *mha_suite(void)
{
    Suite *suite = suite_create("mha");
    TCase *tcase = tcase_create("mha");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, one_head_is_head_attention);
    tcase_add_test(tcase, heads_are_rows);
    tcase_add_test(tcase, parameters_and_gradients);
    tcase_add_test(tcase, weights);
    tcase_add_test(tcase, threads);
    tcase_add_test(tcase, errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
