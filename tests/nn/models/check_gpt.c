/* SPDX-License-Identifier: MIT
 *
 * check_gpt.c - the language model: names, first values, values from its parts, gradients as a whole, causality.
 */
#include "tests/nn/check_nn.h"

#include <string.h>

static const ag_transformer_config tiny = {
    .vocab_size = 7, .max_seq_len = 5, .emb_size = 6, .num_heads = 2, .num_layers = 2, .ff_size = 8, .dtype = AG_F64,
};

static const char names[] =
    "tok.weight [7,6]|pos.weight [5,6]|"
    "blocks.0.norm1.weight [6]|blocks.0.norm1.bias [6]|blocks.0.attn.q.weight [6,6]|blocks.0.attn.q.bias [6]|"
    "blocks.0.attn.k.weight [6,6]|blocks.0.attn.k.bias [6]|blocks.0.attn.v.weight [6,6]|blocks.0.attn.v.bias [6]|"
    "blocks.0.attn.proj.weight [6,6]|blocks.0.attn.proj.bias [6]|blocks.0.norm2.weight [6]|blocks.0.norm2.bias [6]|"
    "blocks.0.ff.up.weight [8,6]|blocks.0.ff.up.bias [8]|blocks.0.ff.down.weight [6,8]|blocks.0.ff.down.bias [6]|"
    "norm.weight [6]|norm.bias [6]";

static ag_tensor *tokens_of(ag_ctx *ctx, int64_t B, int64_t T, int32_t vocab)
{
    return ag_randint(ctx, 0, vocab, AG_SHAPE(B, T));
}

START_TEST(parameters)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = tiny;
    config.num_layers = 1;
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    test_param_list(ag_gpt_module(gpt), names);
    ag_gpt_free(gpt);
    config.untied_head = true;
    gpt = ag_gpt_new(ctx, config);
    char with_head[1024];
    snprintf(with_head, sizeof with_head, "%s|head.weight [7,6]", names);
    test_param_list(ag_gpt_module(gpt), with_head);
    ag_gpt_free(gpt);
    config.no_bias = true;
    gpt = ag_gpt_new(ctx, config);
    ck_assert_ptr_null(ag_module_find(ag_gpt_module(gpt), "norm.bias"));
    ck_assert_ptr_null(ag_module_find(ag_gpt_module(gpt), "blocks.0.attn.q.bias"));
    ag_gpt_free(gpt);

    gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = 65, .max_seq_len = 64, .emb_size = 128,
                                                   .num_heads = 4, .num_layers = 4 });
    /* (V + T) C + 2 C + L (4 C^2 + 4 C + 8 C^2 + 5 C + 4 C) */
    ck_assert_int_eq(ag_module_numel(ag_gpt_module(gpt)), (65 + 64) * 128 + 2 * 128 + 4 * (12 * 128 * 128 + 13 * 128));
    const ag_transformer_config *full = ag_gpt_config_of(gpt);
    ck_assert_int_eq(full->head_size, 32);
    ck_assert_int_eq(full->ff_size, 512);
    ck_assert_double_eq(full->norm_eps, 1e-5);
    ck_assert_ptr_nonnull(ag_gpt_block(gpt, 3));
    ck_assert_ptr_null(ag_gpt_block(gpt, 4));
    ck_assert_ptr_null(ag_gpt_block(gpt, -1));
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

static double deviation(const ag_tensor *t)
{
    double squares = 0;
    for (int64_t i = 0; i < ag_numel(t); i++)
        squares += test_at(t, i) * test_at(t, i);
    return sqrt(squares / (double)ag_numel(t));
}

START_TEST(first_values)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = 65, .max_seq_len = 64, .emb_size = 64,
                                                           .num_heads = 4, .num_layers = 8, .untied_head = true });
    for (int64_t i = 0; i < ag_module_param_count(ag_gpt_module(gpt)); i++) {
        ag_named_tensor p = ag_module_param(ag_gpt_module(gpt), i);
        double want = strstr(p.name, "bias") != NULL ? 0 : strstr(p.name, "norm") != NULL ? 1 : 0.02;
        if (strstr(p.name, "proj.weight") != NULL || strstr(p.name, "down.weight") != NULL)
            want = 0.02 / sqrt(16);
        double got = deviation(p.tensor);
        ck_assert_msg(fabs(got - want) <= 0.05 * want, "%s: %g, wanted %g", p.name, got, want);
    }
    /* So the first loss is that of a uniform guess. */
    ag_tensor *tokens = tokens_of(ctx, 4, 64, 65);
    double loss = test_item(ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens));
    ck_assert_double_eq_tol(loss, log(65), 0.1);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(values)
{
    ag_ctx *ctx = test_begin();
    for (int untied = 0; untied < 2; untied++) {
        ag_transformer_config config = tiny;
        config.untied_head = untied;
        ag_gpt *gpt = ag_gpt_new(ctx, config);
        ag_module *m = ag_gpt_module(gpt);
        test_fill_params(m, 0.5);
        ag_tensor *tokens = tokens_of(ctx, 3, 4, 7), *logits = ag_gpt_forward(gpt, tokens);
        ag_tensor *x = ag_embedding(test_param(m, "tok.weight"), tokens);
        x = ag_add(x, ag_tensor_slice(test_param(m, "pos.weight"), 0, 0, 4, 1));
        for (int i = 0; i < 2; i++)
            x = ag_block_forward(ag_gpt_block(gpt, i), x);
        x = ag_layer_norm(x, test_param(m, "norm.weight"), test_param(m, "norm.bias"), 1e-5);
        ag_tensor *head = test_param(m, untied ? "head.weight" : "tok.weight");
        assert_close(logits, ag_matmul(x, ag_transpose(head, 0, 1)), 1e-12, 1e-12);
        ck_assert_str_eq(ag_shape_text(logits), "[3,4,7]");
        ag_gpt_free(gpt);
    }
    test_end(ctx);
}
END_TEST

static ag_tensor *loss_of(void *gpt, ag_tensor *tokens)
{
    return ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens);
}

static ag_tensor *logits_of(void *gpt, ag_tensor *tokens)
{
    return ag_gpt_forward(gpt, tokens);
}

START_TEST(gradients)
{
    ag_ctx *ctx = test_begin_serial();
    for (int variant = 0; variant < 5; variant++) {
        ag_transformer_config config = tiny;
        config.untied_head = variant & 1;
        config.post_norm = variant & 2;
        config.dropout = variant & 4 ? 0.2 : 0;
        ag_gpt *gpt = ag_gpt_new(ctx, config);
        test_fill_params(ag_gpt_module(gpt), 0.4);
        test_gradcheck(ag_gpt_module(gpt), variant == 0 ? logits_of : loss_of, gpt, tokens_of(ctx, 2, 5, 7));
        ag_gpt_free(gpt);
    }
    test_end(ctx);
}
END_TEST

/* Every parameter gets a gradient, and positions that did not run get zeros. */
START_TEST(every_parameter_learns)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, tiny);
    ag_tensor *tokens = tokens_of(ctx, 2, 4, 7);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_int_eq(ag_backward(tape, loss_of(gpt, tokens)), AG_OK);
    ck_assert_int_gt(test_nodes_in(tape, "blocks.1.attn.proj"), 0);
    ag_tape_end(tape);
    for (int64_t i = 0; i < ag_module_param_count(ag_gpt_module(gpt)); i++)
        ck_assert_msg(ag_grad(ag_module_param(ag_gpt_module(gpt), i).tensor) != NULL, "%s",
                      ag_module_param(ag_gpt_module(gpt), i).name);
    assert_values(ag_tensor_select(ag_grad(test_param(ag_gpt_module(gpt), "pos.weight")), 0, 4), 0, 0, 0, 0, 0, 0, 0);
    ag_module_zero_grad(ag_gpt_module(gpt));
    for (int64_t i = 0; i < ag_module_param_count(ag_gpt_module(gpt)); i++)
        ck_assert_ptr_null(ag_grad(ag_module_param(ag_gpt_module(gpt), i).tensor));
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

/* A block that the loss does not depend on; the tied table is listed once. */
START_TEST(unused_parameters)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, tiny);
    ag_module *module = ag_gpt_module(gpt), *block = ag_block_module(ag_gpt_block(gpt, 1));
    ag_tensor *tokens = tokens_of(ctx, 2, 4, 7);
    int64_t count = ag_module_param_count(module);
    ag_named_tensor unused[64];
    ck_assert_int_eq(ag_unused_parameters(module, unused, 64), count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_str_eq(unused[i].name, ag_module_param(module, i).name);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *x = ag_embedding(test_param(module, "tok.weight"), tokens);
    ag_tensor *y = ag_block_forward(ag_gpt_block(gpt, 0), x);
    ck_assert_int_eq(ag_backward(tape, ag_sum(y, AG_ALL_DIMS, false)), AG_OK);
    unused[3].name = "untouched";
    ck_assert_int_eq(ag_unused_parameters(module, unused, 3), 1 + 16 + 2); /* pos, blocks.1, norm */
    ck_assert_str_eq(unused[0].name, "pos.weight");
    ck_assert_ptr_eq(unused[0].tensor, test_param(module, "pos.weight"));
    ck_assert_str_eq(unused[1].name, "blocks.1.norm1.weight");
    ck_assert_str_eq(unused[3].name, "untouched");
    ck_assert_int_eq(ag_unused_parameters(block, NULL, 0), 16);
    ck_assert_int_eq(ag_backward(tape, loss_of(gpt, tokens)), AG_OK);
    ck_assert_int_eq(ag_unused_parameters(module, NULL, 0), 0); /* a gradient of zeros is one: positions 4 and up */
    ck_assert_int_eq(ag_unused_parameters(NULL, NULL, 0), 0);
    ag_tape_end(tape);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(no_future)
{
    enum { T = 40, V = 11 };
    ag_ctx *ctx = test_begin();
    for (int post_norm = 0; post_norm < 2; post_norm++) {
        ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){
            .vocab_size = V, .max_seq_len = T, .emb_size = 16, .num_heads = 2, .num_layers = 2,
            .post_norm = post_norm });
        ag_tensor *tokens = tokens_of(ctx, 2, T, V), *before = ag_gpt_forward(gpt, tokens);
        for (int64_t t = 1; t < T; t += 6) {
            ag_tensor *changed = ag_tensor_clone(tokens);
            const int64_t at[] = { 1, t };
            double old = 0;
            ag_get(tokens, at, &old);
            ag_set(changed, at, fmod(old + 1, V));
            ag_tensor *after = ag_gpt_forward(gpt, changed);
            assert_same(ag_tensor_select(after, 0, 0), ag_tensor_select(before, 0, 0));
            assert_same(ag_tensor_slice(after, 1, 0, t, 1), ag_tensor_slice(before, 1, 0, t, 1));
            ck_assert_double_ne(test_at(after, (T + t) * V), test_at(before, (T + t) * V));
        }
        ag_gpt_free(gpt);
    }
    test_end(ctx);
}
END_TEST

START_TEST(lengths_and_errors)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, tiny);
    ck_assert_str_eq(ag_shape_text(ag_gpt_forward(gpt, tokens_of(ctx, 2, 1, 7))), "[2,1,7]");
    ck_assert_str_eq(ag_shape_text(ag_gpt_forward(gpt, tokens_of(ctx, 2, 5, 7))), "[2,5,7]");
    ck_assert_ptr_null(ag_gpt_forward(gpt, tokens_of(ctx, 2, 6, 7)));
    assert_error(ctx, AG_ERR_SHAPE, "gpt: the sequence has 6 positions, max_seq_len is 5");
    ck_assert_ptr_null(ag_gpt_forward(gpt, ag_full(ctx, AG_I32, AG_SHAPE(1, 3), 7)));
    assert_error(ctx, AG_ERR_INDEX, "tok: embedding: index 7 at position 0");
    ck_assert_ptr_null(ag_gpt_forward(gpt, ag_full(ctx, AG_I32, AG_SHAPE(1, 3), -1)));
    assert_error(ctx, AG_ERR_INDEX, "tok: embedding: index -1");
    ck_assert_ptr_null(ag_gpt_forward(gpt, ag_zeros(ctx, AG_F32, AG_SHAPE(1, 3))));
    assert_error(ctx, AG_ERR_DTYPE, "tok: embedding");
    ck_assert_ptr_null(ag_gpt_forward(gpt, ag_zeros(ctx, AG_I32, AG_SHAPE(3))));
    assert_error(ctx, AG_ERR_SHAPE, "gpt: tokens is [3], must be [B,T]");
    ck_assert_ptr_null(ag_gpt_forward(NULL, NULL));
    ag_gpt_free(gpt);
    ag_gpt_free(NULL);

    ag_transformer_config wrong[7] = { tiny, tiny, tiny, tiny, tiny, tiny, tiny };
    const char *const line[7] = {
        "gpt: vocab_size is 0",   "gpt: max_seq_len is -1", "gpt: emb_size is 0",
        "gpt: num_heads is 0",    "gpt: num_layers is 0",   "gpt: dropout is 1,",
        "mha: emb_size 6 is not divisible by num_heads 4",
    };
    wrong[0].vocab_size = 0;
    wrong[1].max_seq_len = -1;
    wrong[2].emb_size = 0;
    wrong[3].num_heads = 0;
    wrong[4].num_layers = 0;
    wrong[5].dropout = 1;
    wrong[6].num_heads = 4;
    for (int i = 0; i < 7; i++) {
        ck_assert_ptr_null(ag_gpt_new(ctx, wrong[i]));
        assert_error(ctx, AG_ERR_ARGUMENT, line[i]);
    }
    test_end(ctx);
}
END_TEST

START_TEST(dropout_is_for_training)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = tiny;
    config.dropout = 0.5;
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    ag_tensor *tokens = tokens_of(ctx, 2, 5, 7);
    double still = test_item(loss_of(gpt, tokens));
    ck_assert_double_eq(test_item(loss_of(gpt, tokens)), still);
    ag_tape *tape = ag_tape_begin(ctx);
    double first = test_item(loss_of(gpt, tokens));
    ck_assert_double_ne(first, still);
    ck_assert_double_ne(test_item(loss_of(gpt, tokens)), first);
    int64_t dropouts = 0;
    for (int64_t i = 0; i < ag_tape_size(tape); i++)
        dropouts += strcmp(ag_tape_node(tape, i).op, "dropout") == 0;
    ck_assert_int_eq(dropouts, 2 * (1 + 2 * 2)); /* two passes: embeddings, and two in each of two blocks */
    ag_module_set_training(ag_gpt_module(gpt), false);
    ck_assert_double_eq(test_item(loss_of(gpt, tokens)), still);
    ag_tape_end(tape);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

Suite *gpt_suite(void)
{
    Suite *suite = suite_create("gpt");
    TCase *tcase = tcase_create("gpt");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parameters);
    tcase_add_test(tcase, first_values);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, gradients);
    tcase_add_test(tcase, every_parameter_learns);
    tcase_add_test(tcase, unused_parameters);
    tcase_add_test(tcase, no_future);
    tcase_add_test(tcase, lengths_and_errors);
    tcase_add_test(tcase, dropout_is_for_training);
    suite_add_tcase(suite, tcase);
    return suite;
}
