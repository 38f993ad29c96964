/* SPDX-License-Identifier: MIT
 *
 * check_encoder.c - the encoder: names, values from its parts, padding that does not matter, pooling, gradients.
 */
#include "tests/nn/check_nn.h"

#include <string.h>
#include <unistd.h>

enum { V = 9, C = 6, B = 3, T = 5 };

/* BERT's kind. */
static const ag_transformer_config bert = {
    .vocab_size = V, .emb_size = C, .num_heads = 2, .num_layers = 2, .max_seq_len = 6, .ff_size = 7,
    .type_vocab_size = 2, .norm_eps = 1e-12, .post_norm = true, .emb_norm = true, .pooler = true, .dtype = AG_F64,
};

/* Other kinds that see padding in other ways. */
static ag_transformer_config kind_of(int i)
{
    ag_transformer_config config = bert;
    switch (i) {
    case 1:
        config = (ag_transformer_config){ .vocab_size = V, .emb_size = C, .num_heads = 3, .num_layers = 2,
                                          .positions = AG_POSITIONS_SINUSOIDAL, .dtype = AG_F64 };
        break;
    case 2:
        config.head_size = 4;
        config.positions = AG_POSITIONS_NONE;
        config.attention = (ag_attention_options){ .mask = { .back = 2, .ahead = 3 },
                                                   .rotary = &ag_rotary, .kv_heads = 1 };
        config.norm = AG_RMS_NORM;
        config.post_norm = false;
        break;
    case 3:
        config.positions = AG_POSITIONS_NONE;
        config.attention.relative = 2;
        config.attention.soft_cap = 3;
        config.recompute = true;
        break;
    }
    return config;
}
enum { KINDS = 4 };

static const int32_t lengths[B] = { 5, 2, 3 };

static ag_tensor *lengths_of(ag_ctx *ctx)
{
    return ag_from_data(ctx, AG_I32, AG_SHAPE(B), lengths);
}

static ag_encoder *make(ag_ctx *ctx, ag_transformer_config config)
{
    ag_encoder *encoder = ag_encoder_new(ctx, config);
    ck_assert_msg(encoder != NULL, "%s", ag_error_message(ctx));
    test_fill_params(ag_encoder_module(encoder), 0.5);
    return encoder;
}

static ag_tensor *draw_tokens(ag_ctx *ctx)
{
    return ag_randint(ctx, 0, V, AG_SHAPE(B, T));
}

/* ---- What it is ---- */

START_TEST(parameters)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = bert;
    config.num_layers = 1;
    ag_encoder *encoder = ag_encoder_new(ctx, config);
    test_param_list(ag_encoder_module(encoder),
                    "tok.weight [9,6]|pos.weight [6,6]|type.weight [2,6]|emb_norm.weight [6]|emb_norm.bias [6]|"
                    "blocks.0.norm1.weight [6]|blocks.0.norm1.bias [6]|blocks.0.attn.q.weight [6,6]|"
                    "blocks.0.attn.q.bias [6]|blocks.0.attn.k.weight [6,6]|blocks.0.attn.k.bias [6]|"
                    "blocks.0.attn.v.weight [6,6]|blocks.0.attn.v.bias [6]|blocks.0.attn.proj.weight [6,6]|"
                    "blocks.0.attn.proj.bias [6]|blocks.0.norm2.weight [6]|blocks.0.norm2.bias [6]|"
                    "blocks.0.ff.up.weight [7,6]|blocks.0.ff.up.bias [7]|blocks.0.ff.down.weight [6,7]|"
                    "blocks.0.ff.down.bias [6]|pooler.weight [6,6]|pooler.bias [6]");
    const ag_transformer_config *full = ag_encoder_config_of(encoder);
    ck_assert(full->non_causal);
    ck_assert_double_eq(full->norm_eps, 1e-12);
    ck_assert_int_eq(full->head_size, 3);
    ck_assert_ptr_nonnull(ag_encoder_block(encoder, 0));
    ck_assert_ptr_null(ag_encoder_block(encoder, 1));
    ck_assert_ptr_null(ag_encoder_block(encoder, -1));
    ag_encoder_free(encoder);
    config.post_norm = config.pooler = false;
    encoder = ag_encoder_new(ctx, config);
    ck_assert_str_eq(ag_module_param(ag_encoder_module(encoder), ag_module_param_count(ag_encoder_module(encoder)) - 1)
                         .name, "norm.bias");
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

static ag_tensor *norm(const ag_module *m, const char *name, ag_tensor *x)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    return ag_layer_norm(x, test_param(m, weight), test_param(m, bias), 1e-12);
}

/* With types, and without: then all are 0. */
START_TEST(values)
{
    ag_ctx *ctx = test_begin();
    ag_encoder *encoder = make(ctx, bert);
    ag_module *m = ag_encoder_module(encoder);
    ag_tensor *tokens = draw_tokens(ctx), *drawn = ag_randint(ctx, 0, 2, AG_SHAPE(B, T));
    ag_tensor *types[] = { drawn, ag_zeros(ctx, AG_I32, AG_SHAPE(B, T)) }, *hidden[2];
    for (int i = 0; i < 2; i++) {
        ag_tensor *x = ag_add(ag_embedding(test_param(m, "tok.weight"), tokens),
                              ag_slice(test_param(m, "pos.weight"), 0, 0, T, 1));
        x = norm(m, "emb_norm", ag_add(x, ag_embedding(test_param(m, "type.weight"), types[i])));
        for (int k = 0; k < 2; k++)
            x = ag_block_forward(ag_encoder_block(encoder, k), x);
        hidden[i] = ag_encoder_forward(encoder, tokens, NULL, i == 0 ? drawn : NULL);
        assert_close(hidden[i], x, 1e-12, 1e-12);
    }
    ck_assert_double_ne(test_at(hidden[0], 0), test_at(hidden[1], 0));
    assert_close(ag_encoder_pool(encoder, hidden[0], NULL, AG_POOL_MEAN), ag_mean(hidden[0], AG_DIMS(1), false), 1e-12,
                 1e-12);
    ag_tensor *first = ag_select(hidden[0], 1, 0), *pooled = ag_encoder_pool(encoder, hidden[0], NULL, AG_POOL_FIRST);
    assert_close(pooled, ag_tanh(ag_linear(first, test_param(m, "pooler.weight"), test_param(m, "pooler.bias"))), 1e-12,
                 1e-12);
    ck_assert_str_eq(ag_shape_text(pooled), "[3,6]");
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

/* Each token changes each row. */
START_TEST(everyone_sees_everyone)
{
    ag_ctx *ctx = test_begin();
    for (int recompute = 0; recompute < 2; recompute++) {
        ag_transformer_config config = bert;
        config.recompute = recompute;
        ag_encoder *encoder = make(ctx, config);
        ag_tensor *tokens = draw_tokens(ctx), *before = ag_encoder_forward(encoder, tokens, NULL, NULL);
        for (int64_t t = 0; t < T; t++) {
            ag_tensor *changed = ag_tensor_clone(tokens);
            ag_set(changed, (const int64_t[]){ 1, t }, fmod(test_at(tokens, T + t) + 1, V));
            ag_tensor *after = ag_encoder_forward(encoder, changed, NULL, NULL);
            for (int64_t i = 0; i < T; i++)
                ck_assert_double_ne(test_at(after, (T + i) * C), test_at(before, (T + i) * C));
            assert_same(ag_tensor_select(after, 0, 0), ag_tensor_select(before, 0, 0));
            assert_same(ag_tensor_select(after, 0, 2), ag_tensor_select(before, 0, 2));
        }
        ag_encoder_free(encoder);
    }
    test_end(ctx);
}
END_TEST

/* ---- Padding ---- */

/* An entry in a padded batch is what it is alone, whatever the padding holds. */
START_TEST(padding_does_not_matter)
{
    ag_ctx *ctx = test_begin();
    ag_encoder *encoder = make(ctx, kind_of(_i));
    ag_tensor *tokens = draw_tokens(ctx), *other = ag_tensor_clone(tokens);
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = lengths[b]; t < T; t++)
            ag_set(other, (const int64_t[]){ b, t }, fmod(test_at(tokens, b * T + t) + 1, V));
    ag_tensor *hidden = ag_encoder_forward(encoder, tokens, lengths_of(ctx), NULL);
    ag_tensor *changed = ag_encoder_forward(encoder, other, lengths_of(ctx), NULL);
    assert_no_error(ctx);
    for (int64_t b = 0; b < B; b++) {
        ag_tensor *alone = ag_encoder_forward(
            encoder, ag_tensor_slice(ag_tensor_slice(tokens, 0, b, b + 1, 1), 1, 0, lengths[b], 1), NULL, NULL);
        ag_tensor *rows = ag_tensor_slice(ag_tensor_slice(hidden, 0, b, b + 1, 1), 1, 0, lengths[b], 1);
        assert_close(rows, alone, 1e-12, 1e-12);
        assert_same(ag_tensor_slice(ag_tensor_slice(changed, 0, b, b + 1, 1), 1, 0, lengths[b], 1), rows);
        for (int p = 0; p < 2; p++) {
            ag_tensor *pooled = ag_encoder_pool(encoder, hidden, lengths_of(ctx), (ag_pooling)p);
            assert_close(ag_tensor_slice(pooled, 0, b, b + 1, 1), ag_encoder_pool(encoder, alone, NULL, (ag_pooling)p),
                         1e-12, 1e-12);
        }
    }
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

/* Of a loss over the pooled rows: what only padding holds gets none, and the same gradients as entry by entry. */
START_TEST(gradients_of_padding)
{
    ag_ctx *ctx = test_begin();
    ag_encoder *encoder = make(ctx, kind_of(_i));
    ag_module *m = ag_encoder_module(encoder);
    ag_tensor *tokens = ag_randint(ctx, 0, V - 1, AG_SHAPE(B, T)), *w = ag_randn(ctx, AG_F64, AG_SHAPE(B, C));
    ag_tensor *grad[64];
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = lengths[b]; t < T; t++)
            ag_set(tokens, (const int64_t[]){ b, t }, V - 1);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *hidden = ag_encoder_forward(encoder, tokens, lengths_of(ctx), NULL);
    ag_tensor *pooled = ag_encoder_pool(encoder, hidden, lengths_of(ctx), AG_POOL_MEAN);
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(pooled, w))));
    ag_tape_end(tape);
    int64_t count = ag_module_param_count(m);
    ck_assert_int_le(count, 64);
    for (int64_t i = 0; i < count; i++) {
        const ag_tensor *g = ag_grad(ag_module_param(m, i).tensor);
        grad[i] = g == NULL ? NULL : ag_tensor_clone(g); /* the pooler has none */
    }
    for (int c = 0; c < C; c++)
        ck_assert_double_eq(test_at(grad[0], (V - 1) * C + c), 0);
    ag_module_zero_grad(m);
    for (int64_t b = 0; b < B; b++) {
        tape = ag_tape_begin(ctx);
        hidden = ag_encoder_forward(
            encoder, ag_tensor_slice(ag_tensor_slice(tokens, 0, b, b + 1, 1), 1, 0, lengths[b], 1), NULL, NULL);
        pooled = ag_encoder_pool(encoder, hidden, NULL, AG_POOL_MEAN);
        assert_ok(ctx, ag_backward(tape, test_total(ag_mul(pooled, ag_tensor_slice(w, 0, b, b + 1, 1)))));
        ag_tape_end(tape);
    }
    for (int64_t i = 0; i < count; i++)
        if (grad[i] != NULL)
            assert_close(grad[i], ag_grad(ag_module_param(m, i).tensor), 1e-12, 1e-12);
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

/* ---- Pooling ---- */

START_TEST(pooling_does_not_look_at_padding)
{
    static const int32_t some[B] = { 5, 2, 0 };
    ag_ctx *ctx = test_begin_serial();
    ag_transformer_config config = bert;
    config.pooler = false;
    ag_encoder *encoder = make(ctx, config);
    ag_tensor *hidden = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(B, T, C)));
    ag_tensor *n = ag_from_data(ctx, AG_I32, AG_SHAPE(B), some), *clean = ag_tensor_clone(hidden);
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = some[b]; t < T; t++)
            ag_fill(ag_tensor_select(ag_tensor_select(hidden, 0, b), 0, t), (double)NAN);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *mean = ag_encoder_pool(encoder, hidden, n, AG_POOL_MEAN);
    ag_tensor *first = ag_encoder_pool(encoder, hidden, n, AG_POOL_FIRST), *w = ag_randn(ctx, AG_F64, AG_SHAPE(B, C));
    for (int c = 0; c < C; c++) {
        double all = 0;
        for (int t = 0; t < T; t++)
            all += test_at(clean, t * C + c) / T;
        ck_assert_double_eq_tol(test_at(mean, c), all, 1e-12);
        ck_assert_double_eq_tol(test_at(mean, C + c), (test_at(clean, T * C + c) + test_at(clean, (T + 1) * C + c)) / 2,
                                1e-12);
        ck_assert_double_eq(test_at(mean, 2 * C + c), 0); /* no token */
        ck_assert_double_eq(test_at(first, C + c), test_at(clean, T * C + c));
        ck_assert_double_eq(test_at(first, 2 * C + c), 0);
    }
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(mean, w))));
    for (int64_t i = 0; i < B * T * C; i++) {
        int64_t b = i / (T * C), t = i / C % T;
        double want = t < some[b] ? test_at(w, b * C + i % C) / some[b] : 0;
        ck_assert_double_eq_tol(test_at(ag_grad(hidden), i), want, 1e-15);
    }
    ag_tape_end(tape);
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

/* ---- Gradients and learning ---- */

typedef struct inputs {
    ag_encoder *encoder;
    ag_tensor *tokens, *types, *lengths;
    ag_pooling pooling;
} inputs;

static void pooled_of(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    const inputs *in = user;
    (void)ctx, (void)input;
    ag_tensor *hidden = ag_encoder_forward(in->encoder, in->tokens, in->lengths, in->types);
    output[0] = ag_encoder_pool(in->encoder, hidden, in->lengths, in->pooling);
}

START_TEST(gradients)
{
    ag_ctx *ctx = test_begin_serial();
    for (int pooling = 0; pooling < 2; pooling++) {
        ag_transformer_config config = kind_of(_i);
        config.dropout = pooling == 1 ? 0.1 : 0;
        ag_encoder *encoder = make(ctx, config);
        inputs in = { encoder, draw_tokens(ctx), NULL, lengths_of(ctx), (ag_pooling)pooling };
        if (config.type_vocab_size > 0)
            in.types = ag_randint(ctx, 0, 2, AG_SHAPE(B, T));
        ag_gradcheck_result r = ag_module_gradcheck(ag_encoder_module(encoder), pooled_of, NULL, 0, &in,
                                                    (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.verdict == AG_PASS && r.checked > 0, "%s, parameter %s: %s", ag_verdict_name(r.verdict),
                      ag_module_param(ag_encoder_module(encoder), r.input).name, r.explanation);
        ag_encoder_free(encoder);
    }
    test_end(ctx);
}
END_TEST

static ag_tensor *loss_of(const inputs *in)
{
    ag_tensor *output;
    pooled_of(NULL, NULL, &output, (void *)(uintptr_t)in);
    return test_total(ag_mul(output, output));
}

START_TEST(every_parameter_learns)
{
    ag_ctx *ctx = test_begin();
    ag_encoder *encoder = make(ctx, bert);
    inputs in = { encoder, draw_tokens(ctx), NULL, lengths_of(ctx), AG_POOL_FIRST };
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, loss_of(&in)));
    ag_tape_end(tape);
    ag_named_tensor unused[2] = { { "", NULL }, { "", NULL } };
    ck_assert_msg(ag_unused_parameters(ag_encoder_module(encoder), unused, 2) == 0, "%s", unused[0].name);
    ag_module_zero_grad(ag_encoder_module(encoder));
    in.pooling = AG_POOL_MEAN;
    tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, loss_of(&in)));
    ag_tape_end(tape);
    ck_assert_int_eq(ag_unused_parameters(ag_encoder_module(encoder), unused, 2), 2); /* the pooler */
    ck_assert_str_eq(unused[0].name, "pooler.weight");
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

START_TEST(recompute_gives_the_same_bits)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = bert;
    config.dropout = 0.2;
    ag_encoder *encoder[2];
    for (int i = 0; i < 2; i++) {
        config.recompute = i;
        encoder[i] = ag_encoder_new(ctx, config);
    }
    test_copy_params(ag_encoder_module(encoder[1]), ag_encoder_module(encoder[0]));
    ag_tensor *tokens = draw_tokens(ctx), *types = ag_randint(ctx, 0, 2, AG_SHAPE(B, T));
    for (int with_lengths = 0; with_lengths < 2; with_lengths++) {
        for (int i = 0; i < 2; i++) {
            inputs in = { encoder[i], tokens, types, with_lengths ? lengths_of(ctx) : NULL, AG_POOL_FIRST };
            ag_rng_set(ctx, (ag_rng){ .seed = 3 });
            ag_module_zero_grad(ag_encoder_module(encoder[i]));
            ag_tape *tape = ag_tape_begin(ctx);
            assert_ok(ctx, ag_backward(tape, loss_of(&in)));
            ag_tape_end(tape);
        }
        for (int64_t i = 0; i < ag_module_param_count(ag_encoder_module(encoder[0])); i++)
            assert_same_bits(ag_grad(ag_module_param(ag_encoder_module(encoder[1]), i).tensor),
                             ag_grad(ag_module_param(ag_encoder_module(encoder[0]), i).tensor));
    }
    ag_encoder_free(encoder[0]);
    ag_encoder_free(encoder[1]);
    test_end(ctx);
}
END_TEST

START_TEST(dropout_is_for_training)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = bert;
    config.dropout = 0.4;
    ag_encoder *encoder = make(ctx, config);
    ag_tensor *tokens = draw_tokens(ctx), *still = ag_encoder_forward(encoder, tokens, lengths_of(ctx), NULL);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_double_ne(test_at(ag_encoder_forward(encoder, tokens, lengths_of(ctx), NULL), 0), test_at(still, 0));
    ag_module_set_training(ag_encoder_module(encoder), false);
    assert_same(ag_encoder_forward(encoder, tokens, lengths_of(ctx), NULL), still);
    ag_tape_end(tape);
    ag_encoder_free(encoder);
    test_end(ctx);
}
END_TEST

START_TEST(saved_and_loaded)
{
    ag_ctx *ctx = test_begin();
    ag_encoder *encoder = make(ctx, bert), *other = ag_encoder_new(ctx, bert);
    const char *path = test_file();
    ag_tensor *tokens = draw_tokens(ctx);
    assert_ok(ctx, ag_module_save(ag_encoder_module(encoder), path));
    assert_ok(ctx, ag_module_load(ag_encoder_module(other), path));
    unlink(path);
    ag_tensor *hidden = ag_encoder_forward(encoder, tokens, lengths_of(ctx), NULL);
    assert_same_bits(ag_encoder_forward(other, tokens, lengths_of(ctx), NULL), hidden);
    assert_same_bits(ag_encoder_pool(other, hidden, lengths_of(ctx), AG_POOL_FIRST),
                     ag_encoder_pool(encoder, hidden, lengths_of(ctx), AG_POOL_FIRST));
    ag_encoder_free(encoder);
    ag_encoder_free(other);
    test_end(ctx);
}
END_TEST

/* ---- Errors ---- */

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config untyped = bert, headed = bert;
    untyped.type_vocab_size = 0;
    headed.untied_head = true;
    ag_encoder *encoder = ag_encoder_new(ctx, bert), *simple = ag_encoder_new(ctx, untyped);
    ag_tensor *tokens = draw_tokens(ctx), *types = ag_zeros(ctx, AG_I32, AG_SHAPE(B, T));
    ag_set(types, (const int64_t[]){ 1, 3 }, 2);
    ck_assert_ptr_null(ag_encoder_forward(encoder, tokens, NULL, types));
    assert_error(ctx, AG_ERR_INDEX, "type: embedding: index 2 at position 8");
    ck_assert_ptr_null(ag_encoder_forward(simple, tokens, NULL, types));
    assert_error(ctx, AG_ERR_ARGUMENT, "encoder: there are types, but type_vocab_size is 0");
    ck_assert_ptr_null(ag_encoder_forward(encoder, tokens, NULL, ag_zeros(ctx, AG_I32, AG_SHAPE(T))));
    assert_error(ctx, AG_ERR_SHAPE, "encoder: types is [5], tokens is [3,5]");
    ck_assert_ptr_null(ag_encoder_forward(encoder, tokens, ag_zeros(ctx, AG_I32, AG_SHAPE(2)), NULL));
    assert_error(ctx, AG_ERR_SHAPE, "encoder: lengths are int32 [2], must be int32 [3]");
    ck_assert_ptr_null(ag_encoder_forward(encoder, tokens, ag_zeros(ctx, AG_F32, AG_SHAPE(B)), NULL));
    assert_error(ctx, AG_ERR_DTYPE, "encoder: lengths are float32 [3], must be int32 [3]");
    ck_assert_ptr_null(ag_encoder_forward(encoder, tokens, ag_full(ctx, AG_I32, AG_SHAPE(B), T + 1), NULL));
    assert_error(ctx, AG_ERR_INDEX, "encoder: the length of batch entry 0 is 6, must be in 0 .. 5");
    ck_assert_ptr_null(ag_encoder_forward(encoder, ag_zeros(ctx, AG_I32, AG_SHAPE(1, 7)), NULL, NULL));
    assert_error(ctx, AG_ERR_SHAPE, "encoder: the sequence has 7 positions, max_seq_len is 6");
    ag_tensor *hidden = ag_zeros(ctx, AG_F64, AG_SHAPE(B, T, C));
    ck_assert_ptr_null(ag_encoder_pool(encoder, ag_tensor_select(hidden, 0, 0), NULL, AG_POOL_MEAN));
    assert_error(ctx, AG_ERR_SHAPE, "encoder: hidden is [5,6], must be [B,T,6]");
    ck_assert_ptr_null(ag_encoder_pool(encoder, hidden, NULL, (ag_pooling)5));
    assert_error(ctx, AG_ERR_ARGUMENT, "encoder: there is no pooling number 5");
    ck_assert_ptr_null(ag_encoder_pool(encoder, hidden, ag_full(ctx, AG_I32, AG_SHAPE(B), -1), AG_POOL_MEAN));
    assert_error(ctx, AG_ERR_INDEX, "encoder: the length of batch entry 0 is -1, must be in 0 .. 5");
    ck_assert_ptr_null(ag_encoder_new(ctx, headed));
    assert_error(ctx, AG_ERR_ARGUMENT, "encoder: untied_head is for a model with a head");
    ck_assert_ptr_null(ag_encoder_new(ctx, (ag_transformer_config){ .vocab_size = 0 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "encoder: vocab_size is 0");
    ck_assert_ptr_null(ag_encoder_forward(NULL, tokens, NULL, NULL));
    ck_assert_ptr_null(ag_encoder_pool(NULL, hidden, NULL, AG_POOL_MEAN));
    ck_assert_ptr_null(ag_encoder_forward(encoder, NULL, NULL, NULL));
    ck_assert_ptr_null(ag_encoder_module(NULL));
    ck_assert_ptr_null(ag_encoder_config_of(NULL));
    assert_no_error(ctx);
    ag_encoder_free(NULL);
    ag_encoder_free(encoder);
    ag_encoder_free(simple);
    test_end(ctx);
}
END_TEST

Suite *encoder_suite(void)
{
    Suite *suite = suite_create("encoder");
    TCase *tcase = tcase_create("model");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parameters);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, everyone_sees_everyone);
    tcase_add_loop_test(tcase, padding_does_not_matter, 0, KINDS);
    tcase_add_loop_test(tcase, gradients_of_padding, 0, KINDS);
    tcase_add_test(tcase, pooling_does_not_look_at_padding);
    tcase_add_test(tcase, every_parameter_learns);
    tcase_add_test(tcase, recompute_gives_the_same_bits);
    tcase_add_test(tcase, dropout_is_for_training);
    tcase_add_test(tcase, saved_and_loaded);
    tcase_add_test(tcase, errors);
    suite_add_tcase(suite, tcase);
    TCase *slow = tcase_create("gradients");
    tcase_set_timeout(slow, 60);
    tcase_add_loop_test(slow, gradients, 0, KINDS);
    suite_add_tcase(suite, slow);
    return suite;
}
