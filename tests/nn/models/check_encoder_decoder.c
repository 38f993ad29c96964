/* SPDX-License-Identifier: MIT
 *
 * check_encoder_decoder.c - names, values from the two halves, padding of the source, no look into the target's
 * future, gradients through memory, writing token by token with a cache.
 */
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VS = 9, VT = 7, C = 6, B = 3, S = 5, T = 6 }; /* vocabularies and lengths of source and target */

static const ag_encoder_decoder_config plain = {
    .encoder = { .vocab_size = VS, .emb_size = C, .num_heads = 2, .num_layers = 1, .max_seq_len = 8, .ff_size = 7,
                 .dtype = AG_F64 },
    .decoder = { .vocab_size = VT, .emb_size = C, .num_heads = 2, .num_layers = 2, .max_seq_len = 8, .ff_size = 7,
                 .dtype = AG_F64 },
};

enum { KINDS = 4 };

static ag_encoder_decoder_config kind_of(int i)
{
    ag_encoder_decoder_config config = plain;
    ag_transformer_config *both[] = { &config.encoder, &config.decoder };
    for (int k = 0; k < 2; k++) {
        ag_transformer_config *c = both[k];
        if (i == 1) { /* as published */
            c->post_norm = true;
            c->positions = AG_POSITIONS_SINUSOIDAL;
            c->max_seq_len = 0;
            c->activation = AG_RELU;
        } else if (i == 2) {
            c->norm = AG_RMS_NORM;
            c->gated = true;
            c->activation = AG_SILU;
            c->positions = AG_POSITIONS_NONE;
            c->max_seq_len = 0;
            c->head_size = 4;
            c->attention = (ag_attention_options){ .rotary = &ag_rotary, .kv_heads = 1, .mask.back = 4,
                                                   .qk_norm = true };
        } else if (i == 3) {
            c->vocab_size = VT;
        }
    }
    config.shared_embedding = i == 3;
    if (i == 0) {
        config.decoder.emb_size = 8;
        config.decoder.untied_head = true;
    }
    return config;
}

static const int32_t lengths[B] = { 5, 2, 3 };

static ag_tensor *lengths_of(ag_ctx *ctx)
{
    return ag_from_data(ctx, AG_I32, AG_SHAPE(B), lengths);
}

static ag_encoder_decoder *make(ag_ctx *ctx, ag_encoder_decoder_config config)
{
    ag_encoder_decoder *model = ag_encoder_decoder_new(ctx, config);
    ck_assert_msg(model != NULL, "%s", ag_error_message(ctx));
    test_fill_params(ag_encoder_decoder_module(model), 0.4);
    return model;
}

static ag_tensor *draw(ag_ctx *ctx, int64_t length)
{
    return ag_randint(ctx, 0, VT, AG_SHAPE(B, length)); /* VT <= VS */
}

static ag_tensor *piece(ag_tensor *t, int64_t b, int64_t length)
{
    return ag_tensor_slice(ag_tensor_slice(t, 0, b, b + 1, 1), 1, 0, length, 1);
}

/* ---- What it is ---- */

START_TEST(parameters)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder_config config = kind_of(2);
    config.encoder.num_layers = config.decoder.num_layers = 1;
    config.encoder.attention = config.decoder.attention = (ag_attention_options){ .kv_heads = 1 };
    config.encoder.no_bias = config.decoder.no_bias = true;
    config.decoder.emb_size = 8;
    ag_encoder_decoder *model = ag_encoder_decoder_new(ctx, config);
    test_param_list(ag_encoder_decoder_module(model),
                    "encoder.tok.weight [9,6]|encoder.blocks.0.norm1.weight [6]|encoder.blocks.0.attn.q.weight [8,6]|"
                    "encoder.blocks.0.attn.k.weight [4,6]|encoder.blocks.0.attn.v.weight [4,6]|"
                    "encoder.blocks.0.attn.proj.weight [6,8]|encoder.blocks.0.norm2.weight [6]|"
                    "encoder.blocks.0.ff.up.weight [7,6]|encoder.blocks.0.ff.gate.weight [7,6]|"
                    "encoder.blocks.0.ff.down.weight [6,7]|encoder.norm.weight [6]|"
                    "decoder.tok.weight [7,8]|decoder.blocks.0.norm1.weight [8]|decoder.blocks.0.attn.q.weight [8,8]|"
                    "decoder.blocks.0.attn.k.weight [4,8]|decoder.blocks.0.attn.v.weight [4,8]|"
                    "decoder.blocks.0.attn.proj.weight [8,8]|decoder.blocks.0.norm_cross.weight [8]|"
                    "decoder.blocks.0.cross.q.weight [8,8]|decoder.blocks.0.cross.k.weight [4,6]|"
                    "decoder.blocks.0.cross.v.weight [4,6]|decoder.blocks.0.cross.proj.weight [8,8]|"
                    "decoder.blocks.0.norm2.weight [8]|decoder.blocks.0.ff.up.weight [7,8]|"
                    "decoder.blocks.0.ff.gate.weight [7,8]|decoder.blocks.0.ff.down.weight [8,7]|"
                    "decoder.norm.weight [8]");
    ck_assert_ptr_null(ag_block_cross(ag_encoder_decoder_block(model, false, 0)));
    ck_assert_ptr_nonnull(ag_block_cross(ag_encoder_decoder_block(model, true, 0)));
    ck_assert_ptr_null(ag_encoder_decoder_block(model, true, 1));
    ag_encoder_decoder_free(model);
    model = ag_encoder_decoder_new(ctx, kind_of(3)); /* one table, listed once, of the encoder's name */
    ck_assert_ptr_nonnull(ag_module_find(ag_encoder_decoder_module(model), "encoder.tok.weight"));
    ck_assert_ptr_null(ag_module_find(ag_encoder_decoder_module(model), "decoder.tok.weight"));
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

/* The parameters of one half, by their names there. */
static void copy_half(ag_module *to, const ag_module *from, const char *half)
{
    for (int64_t i = 0; i < ag_module_param_count(to); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", half, ag_module_param(to, i).name);
        ck_assert_int_eq(ag_copy_into(ag_module_param(to, i).tensor, test_param(from, name)), AG_OK);
    }
}

/* Memory is an encoder's hidden; the decoder's blocks are run here. */
START_TEST(values)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder_config config = kind_of(_i);
    ag_encoder_decoder *model = make(ctx, config);
    ag_module *m = ag_encoder_decoder_module(model);
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, T);
    ag_encoder *encoder = ag_encoder_new(ctx, config.encoder);
    copy_half(ag_encoder_module(encoder), m, "encoder");
    ag_tensor *memory = ag_encoder_forward(encoder, source, lengths_of(ctx), NULL);
    assert_same_bits(ag_encoder_decoder_encode(model, source, lengths_of(ctx)), memory);
    int64_t width = config.decoder.emb_size;
    ag_tensor *table = test_param(m, config.shared_embedding ? "encoder.tok.weight" : "decoder.tok.weight");
    ag_tensor *x = ag_embedding(table, target);
    if (config.decoder.positions == AG_POSITIONS_LEARNED)
        x = ag_add(x, ag_slice(test_param(m, "decoder.pos.weight"), 0, 0, T, 1));
    else if (config.decoder.positions == AG_POSITIONS_SINUSOIDAL)
        x = ag_add(ag_scale(x, sqrt((double)width)), ag_sinusoidal(ctx, AG_F64, 0, T, width));
    ag_block_inputs with = { .memory = memory, .memory_mask.key_lengths = lengths_of(ctx) };
    for (int i = 0; i < 2; i++)
        x = ag_block_forward_with(ag_encoder_decoder_block(model, true, i), x, with);
    if (config.decoder.norm == AG_RMS_NORM)
        x = ag_rms_norm(x, test_param(m, "decoder.norm.weight"), 1e-6);
    else if (!config.decoder.post_norm)
        x = ag_layer_norm(x, test_param(m, "decoder.norm.weight"), test_param(m, "decoder.norm.bias"), 1e-5);
    x = ag_linear(x, config.decoder.untied_head ? test_param(m, "decoder.head.weight") : table, NULL);
    ag_tensor *logits = ag_encoder_decoder_forward(model, source, lengths_of(ctx), target);
    assert_close(logits, x, 1e-12, 1e-12);
    ck_assert_str_eq(ag_shape_text(logits), "[3,6,7]");
    assert_same_bits(ag_encoder_decoder_decode(model, target, memory, lengths_of(ctx), NULL), logits);
    ag_encoder_free(encoder);
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

/* ---- Who sees what ---- */

static void change(ag_tensor *tokens, int64_t b, int64_t t)
{
    ag_set(tokens, (const int64_t[]){ b, t }, fmod(test_at(tokens, b * ag_dim(tokens, 1) + t) + 1, VT));
}

START_TEST(no_future)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = make(ctx, kind_of(_i));
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, T);
    ag_tensor *before = ag_encoder_decoder_forward(model, source, lengths_of(ctx), target);
    for (int64_t t = 0; t < T; t++) {
        ag_tensor *changed = ag_tensor_clone(target);
        change(changed, 1, t);
        ag_tensor *after = ag_encoder_decoder_forward(model, source, lengths_of(ctx), changed);
        assert_same(ag_tensor_select(after, 0, 0), ag_tensor_select(before, 0, 0));
        assert_same(ag_tensor_slice(after, 1, 0, t, 1), ag_tensor_slice(before, 1, 0, t, 1));
        ck_assert_double_ne(test_at(after, (T + t) * VT), test_at(before, (T + t) * VT));
    }
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

/* Every token of a source changes every row of its own target; padding changes nothing. */
START_TEST(padding_does_not_matter)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = make(ctx, kind_of(_i));
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, T);
    ag_tensor *before = ag_encoder_decoder_forward(model, source, lengths_of(ctx), target);
    for (int64_t b = 0; b < B; b++) {
        ag_tensor *alone = ag_encoder_decoder_forward(model, piece(source, b, lengths[b]), NULL, piece(target, b, T));
        assert_close(piece(before, b, T), alone, 1e-12, 1e-12);
        for (int64_t s = 0; s < S; s++) {
            ag_tensor *changed = ag_tensor_clone(source);
            change(changed, b, s);
            ag_tensor *after = ag_encoder_decoder_forward(model, changed, lengths_of(ctx), target);
            for (int64_t i = 0; i < B * T; i++)
                ck_assert_int_eq(test_at(after, i * VT) != test_at(before, i * VT), i / T == b && s < lengths[b]);
        }
    }
    assert_no_error(ctx);
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

/* ---- Gradients ---- */

typedef struct inputs {
    ag_encoder_decoder *model;
    ag_tensor *source, *lengths, *target;
} inputs;

static void logits_of(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    const inputs *in = user;
    (void)ctx, (void)input;
    output[0] = ag_encoder_decoder_forward(in->model, in->source, in->lengths, in->target);
}

/* With dropout and recomputing too. relu's kink is left out. */
START_TEST(gradients)
{
    ag_ctx *ctx = test_begin_serial();
    for (int recompute = 0; recompute < 2; recompute++) {
        ag_encoder_decoder_config config = kind_of(_i);
        ag_transformer_config *both[] = { &config.encoder, &config.decoder };
        for (int k = 0; k < 2; k++) {
            both[k]->recompute = recompute;
            both[k]->dropout = recompute ? 0.1 : 0;
            if (both[k]->activation == AG_RELU)
                both[k]->activation = AG_GELU;
        }
        ag_encoder_decoder *model = make(ctx, config);
        ag_module *m = ag_encoder_decoder_module(model);
        inputs in = { model, draw(ctx, S), lengths_of(ctx), draw(ctx, 4) };
        ag_gradcheck_result r = ag_module_gradcheck(m, logits_of, NULL, 0, &in, (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.verdict == AG_PASS && r.checked > 0, "%s, parameter %s: %s", ag_verdict_name(r.verdict),
                      ag_module_param(m, r.input).name, r.explanation);
        ag_encoder_decoder_free(model);
    }
    test_end(ctx);
}
END_TEST

static void step(ag_ctx *ctx, const inputs *in)
{
    ag_rng_set(ctx, (ag_rng){ .seed = 9 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_encoder_decoder_forward(in->model, in->source, in->lengths, in->target);
    assert_ok(ctx, ag_backward(tape, ag_cross_entropy(logits, in->target)));
    ag_tape_end(tape);
}

/* And every parameter has a gradient: those of the encoder through memory. */
START_TEST(recompute_gives_the_same_bits)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model[2];
    for (int i = 0; i < 2; i++) {
        ag_encoder_decoder_config config = kind_of(_i);
        config.encoder.recompute = config.decoder.recompute = i;
        config.encoder.dropout = config.decoder.dropout = 0.2;
        model[i] = ag_encoder_decoder_new(ctx, config);
    }
    const ag_module *plain_one = ag_encoder_decoder_module(model[0]);
    test_copy_params(ag_encoder_decoder_module(model[1]), plain_one);
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, T);
    for (int with_lengths = 0; with_lengths < 2; with_lengths++) {
        for (int i = 0; i < 2; i++) {
            ag_module_zero_grad(ag_encoder_decoder_module(model[i]));
            step(ctx, &(inputs){ model[i], source, with_lengths ? lengths_of(ctx) : NULL, target });
        }
        ag_named_tensor unused[1] = { { "", NULL } };
        ck_assert_msg(ag_unused_parameters(plain_one, unused, 1) == 0, "%s", unused[0].name);
        for (int64_t i = 0; i < ag_module_param_count(plain_one); i++)
            assert_same_bits(ag_grad(ag_module_param(ag_encoder_decoder_module(model[1]), i).tensor),
                             ag_grad(ag_module_param(plain_one, i).tensor));
    }
    ag_encoder_decoder_free(model[0]);
    ag_encoder_decoder_free(model[1]);
    test_end(ctx);
}
END_TEST

START_TEST(dropout_is_for_training)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder_config config = plain;
    config.decoder.dropout = 0.3; /* of one half alone, then of the other */
    for (int i = 0; i < 2; i++) {
        ag_encoder_decoder *model = make(ctx, config);
        ag_tensor *source = draw(ctx, S), *target = draw(ctx, T);
        ag_tensor *still = ag_encoder_decoder_forward(model, source, NULL, target);
        ag_tape *tape = ag_tape_begin(ctx);
        ck_assert_double_ne(test_at(ag_encoder_decoder_forward(model, source, NULL, target), 0), test_at(still, 0));
        ag_module_set_training(ag_encoder_decoder_module(model), false);
        assert_same(ag_encoder_decoder_forward(model, source, NULL, target), still);
        ag_tape_end(tape);
        ag_encoder_decoder_free(model);
        config = plain;
        config.encoder.dropout = 0.3;
    }
    test_end(ctx);
}
END_TEST

START_TEST(saved_and_loaded)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = make(ctx, kind_of(_i)), *other = ag_encoder_decoder_new(ctx, kind_of(_i));
    const char *path = test_file();
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, T);
    assert_ok(ctx, ag_module_save(ag_encoder_decoder_module(model), path));
    assert_ok(ctx, ag_module_load(ag_encoder_decoder_module(other), path));
    unlink(path);
    assert_same_bits(ag_encoder_decoder_forward(other, source, lengths_of(ctx), target),
                     ag_encoder_decoder_forward(model, source, lengths_of(ctx), target));
    ag_encoder_decoder_free(model);
    ag_encoder_decoder_free(other);
    test_end(ctx);
}
END_TEST

/* ---- Writing with a cache ---- */

/* Token by token, in pieces, and again after the cache was cleared, for another source. */
START_TEST(cached_logits)
{
    static const int64_t pieces[][T + 1] = { { 1, 1, 1, 1, 1, 1 }, { 6 }, { 2, 1, 3 } };
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = make(ctx, kind_of(_i));
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 2);
    for (int p = 0; p < 3; p++) {
        ag_tensor *source = draw(ctx, S), *target = draw(ctx, T), *n = p == 2 ? NULL : lengths_of(ctx);
        ag_tensor *whole = ag_encoder_decoder_forward(model, source, n, target);
        ag_tensor *memory = ag_encoder_decoder_encode(model, source, n);
        int64_t at = 0;
        for (int i = 0; at < T; i++) {
            ag_tensor *next = ag_tensor_slice(target, 1, at, at + pieces[p][i], 1);
            ag_tensor *logits = ag_encoder_decoder_decode(model, next, memory, n, cache);
            assert_no_error(ctx);
            assert_close(logits, ag_tensor_slice(whole, 1, at, at + pieces[p][i], 1), 1e-12, 1e-12);
            at += pieces[p][i];
            ck_assert_int_eq(ag_kv_cache_length(cache, 0), at);
        }
        ag_kv_cache_clear(cache);
    }
    ag_kv_cache_free(cache);
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

static int32_t best_token(ag_tensor *logits, int64_t b)
{
    ag_tensor *last = ag_tensor_select(ag_tensor_select(logits, 0, b), 0, -1);
    int32_t best = 0;
    for (int32_t v = 1; v < VT; v++)
        if (test_at(last, v) > test_at(last, best))
            best = v;
    return best;
}

START_TEST(same_tokens_written)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = make(ctx, kind_of(_i));
    ag_tensor *source = draw(ctx, S), *target = ag_zeros(ctx, AG_I32, AG_SHAPE(B, T)), *n = lengths_of(ctx);
    ag_tensor *memory = ag_encoder_decoder_encode(model, source, n);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 2);
    for (int64_t t = 1; t < T; t++) {
        ag_tensor *logits = ag_encoder_decoder_decode(model, ag_tensor_slice(target, 1, t - 1, t, 1), memory, n, cache);
        ag_tensor *whole = ag_encoder_decoder_forward(model, source, n, ag_tensor_slice(target, 1, 0, t, 1));
        for (int64_t b = 0; b < B; b++) {
            ck_assert_int_eq(best_token(logits, b), best_token(whole, b));
            ag_set(target, (const int64_t[]){ b, t }, best_token(logits, b));
        }
    }
    assert_no_error(ctx);
    ag_kv_cache_free(cache);
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

/* The keys and values of memory are made in the first pass: later ones run none of its projections. */
START_TEST(memory_is_projected_once)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = make(ctx, plain);
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, 1), *memory = ag_encoder_decoder_encode(model, source, NULL);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 2);
    ag_encoder_decoder_decode(model, target, memory, NULL, cache);
    ag_tensor *want = ag_encoder_decoder_forward(
        model, source, NULL, ag_concat((ag_tensor *const[]){ target, target }, 2, 1));
    ag_fill(test_param(ag_encoder_decoder_module(model), "decoder.blocks.1.cross.k.weight"), 100);
    ag_fill(test_param(ag_encoder_decoder_module(model), "decoder.blocks.0.cross.v.weight"), 100);
    ag_tensor *logits = ag_encoder_decoder_decode(model, target, memory, NULL, cache);
    assert_close(logits, ag_tensor_slice(want, 1, 1, 2, 1), 1e-12, 1e-12);
    ag_kv_cache_free(cache);
    ag_encoder_decoder_free(model);
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

/* An allocator with so many calls to give; and the bytes that are out. */
typedef struct purse {
    int64_t left;
    size_t bytes;
} purse;

static void *purse_alloc(void *user, size_t size)
{
    purse *p = user;
    if (p->left-- <= 0)
        return NULL;
    p->bytes += size;
    return malloc(size);
}

static void purse_free(void *user, void *block, size_t size)
{
    ((purse *)user)->bytes -= size;
    free(block);
}

/* A model, a whole pass, one with a cache, and the pooled rows of an encoder; false on an error. */
static bool use_all(ag_ctx *ctx)
{
    ag_transformer_config pooled = plain.encoder;
    pooled.pooler = pooled.emb_norm = pooled.post_norm = true;
    ag_encoder_decoder *model = ag_encoder_decoder_new(ctx, kind_of(2));
    ag_encoder *encoder = ag_encoder_new(ctx, pooled);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 2);
    ag_tensor *source = ag_zeros(ctx, AG_I32, AG_SHAPE(B, S)), *n = lengths_of(ctx), *last = NULL, *rows = NULL;
    if (model != NULL && encoder != NULL && cache != NULL && source != NULL && n != NULL) {
        ag_tensor *memory = ag_encoder_decoder_encode(model, source, n);
        ag_encoder_decoder_forward(model, source, n, source);
        ag_encoder_decoder_decode(model, source, memory, n, cache);
        last = ag_encoder_decoder_decode(model, source, memory, n, cache);
        rows = ag_encoder_pool(encoder, ag_encoder_forward(encoder, source, n, NULL), n, AG_POOL_FIRST);
    }
    bool good = ag_error(ctx) == AG_OK;
    ck_assert(good ? last != NULL && rows != NULL : ag_error(ctx) == AG_ERR_MEMORY);
    ag_kv_cache_free(cache);
    ag_encoder_free(encoder);
    ag_encoder_decoder_free(model);
    return good;
}

/* The allocator gives up after 0, 1, 2, ... calls: an error each time, and nothing is lost. */
START_TEST(out_of_memory)
{
    bool good = false;
    int64_t left = 0;
    for (; left < 5000 && !good; left++) {
        purse p = { .left = 1000 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1, .allocator = { purse_alloc, purse_free, &p } });
        p.left = left;
        good = use_all(ctx);
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
        ck_assert_uint_eq(p.bytes, 0);
    }
    ck_assert(good);
    ck_assert_int_gt(left, 50);
}
END_TEST

/* ---- Errors ---- */

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ag_encoder_decoder *model = ag_encoder_decoder_new(ctx, plain);
    ag_tensor *source = draw(ctx, S), *target = draw(ctx, T), *memory = ag_encoder_decoder_encode(model, source, NULL);
    ck_assert_ptr_null(ag_encoder_decoder_forward(model, ag_full(ctx, AG_I32, AG_SHAPE(1, 2), VS), NULL, target));
    assert_error(ctx, AG_ERR_INDEX, "encoder.tok: embedding: index 9 at position 0");
    ck_assert_ptr_null(ag_encoder_decoder_forward(model, source, NULL, ag_full(ctx, AG_I32, AG_SHAPE(B, 2), VT)));
    assert_error(ctx, AG_ERR_INDEX, "decoder.tok: embedding: index 7 at position 0");
    ck_assert_ptr_null(ag_encoder_decoder_forward(model, source, ag_full(ctx, AG_I32, AG_SHAPE(B), S + 1), target));
    assert_error(ctx, AG_ERR_INDEX, "encoder: the length of batch entry 0 is 6, must be in 0 .. 5");
    ck_assert_ptr_null(ag_encoder_decoder_decode(model, target, memory, ag_full(ctx, AG_I32, AG_SHAPE(B), -1), NULL));
    assert_error(ctx, AG_ERR_INDEX, "decoder: the length of batch entry 0 is -1, must be in 0 .. 5");
    ck_assert_ptr_null(ag_encoder_decoder_decode(model, draw(ctx, 9), memory, NULL, NULL));
    assert_error(ctx, AG_ERR_SHAPE, "decoder: the sequence has 9 positions, max_seq_len is 8");
    ck_assert_ptr_null(ag_encoder_decoder_decode(model, target, ag_tensor_select(memory, 0, 0), NULL, NULL));
    assert_error(ctx, AG_ERR_SHAPE, "decoder: memory is [5,6], must be [B,S,emb]");
    ck_assert_ptr_null(ag_encoder_decoder_decode(model, target, ag_tensor_slice(memory, 0, 0, 2, 1), NULL, NULL));
    ck_assert_str_eq(ag_error_path(ctx), "decoder.blocks.0.cross");
    ag_error_clear(ctx);
    ck_assert_ptr_null(ag_encoder_decoder_decode(model, target, NULL, NULL, NULL));
    ck_assert_ptr_null(ag_encoder_decoder_forward(model, NULL, NULL, target));
    ck_assert_ptr_null(ag_encoder_decoder_forward(NULL, source, NULL, target));
    ck_assert_ptr_null(ag_encoder_decoder_encode(NULL, source, NULL));
    ck_assert_ptr_null(ag_encoder_decoder_block(NULL, true, 0));
    assert_no_error(ctx);
    ag_encoder_decoder_free(model);
    ag_encoder_decoder_free(NULL);

    ag_encoder_decoder_config wrong[5] = { plain, plain, plain, plain, plain };
    const char *const line[5] = {
        "encoder_decoder: the encoder is float64, the decoder float32",
        "encoder_decoder: shared_embedding: vocab_size is 9 and 7, emb_size 6 and 6; must be equal",
        "encoder: pooler is set, but this model has none", "decoder: num_layers is 0", "encoder: num_heads is -1",
    };
    wrong[0].decoder.dtype = AG_F32;
    wrong[1].shared_embedding = true;
    wrong[2].encoder.pooler = true;
    wrong[3].decoder.num_layers = 0;
    wrong[4].encoder.num_heads = -1;
    for (int i = 0; i < 5; i++) {
        ck_assert_ptr_null(ag_encoder_decoder_new(ctx, wrong[i]));
        assert_error(ctx, i == 0 ? AG_ERR_DTYPE : AG_ERR_ARGUMENT, line[i]);
    }
    test_end(ctx);
}
END_TEST

Suite *encoder_decoder_suite(void)
{
    Suite *suite = suite_create("encoder_decoder");
    TCase *tcase = tcase_create("model");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parameters);
    tcase_add_loop_test(tcase, values, 0, KINDS);
    tcase_add_loop_test(tcase, no_future, 0, KINDS);
    tcase_add_loop_test(tcase, padding_does_not_matter, 0, KINDS);
    tcase_add_loop_test(tcase, recompute_gives_the_same_bits, 0, KINDS);
    tcase_add_test(tcase, dropout_is_for_training);
    tcase_add_loop_test(tcase, saved_and_loaded, 0, KINDS);
    tcase_add_loop_test(tcase, cached_logits, 0, KINDS);
    tcase_add_loop_test(tcase, same_tokens_written, 0, KINDS);
    tcase_add_test(tcase, memory_is_projected_once);
    tcase_add_test(tcase, out_of_memory);
    tcase_add_test(tcase, errors);
    suite_add_tcase(suite, tcase);
    TCase *slow = tcase_create("gradients");
    tcase_set_timeout(slow, 60);
    tcase_add_loop_test(slow, gradients, 0, KINDS);
    suite_add_tcase(suite, slow);
    return suite;
}
