/* SPDX-License-Identifier: MIT
 *
 * check_gpt_kinds.c - the kinds of language model that one configuration makes, GPT-2's, Llama's and others: names,
 * gradients, no look into the future, and generation with a cache equal to the whole pass.
 */
#include "tests/nn/check_nn.h"

#include <string.h>
#include <unistd.h>

enum { V = 7, LONGEST = 12 };

typedef struct model_kind {
    const char *name;
    ag_transformer_config config;
} model_kind;

#define KIND(kind_name, ...)                                                                                  \
    { kind_name, { .vocab_size = V, .emb_size = 8, .num_heads = 2, .num_layers = 2, .ff_size = 6,              \
                   .dtype = AG_F64, __VA_ARGS__ } }

/* Windows are smaller than the sequences below. */
static const model_kind kinds[] = {
    KIND("plain", .max_seq_len = LONGEST),
    KIND("llama", .norm = AG_RMS_NORM, .activation = AG_SILU, .gated = true, .positions = AG_POSITIONS_NONE,
         .attention = { .rotary = &ag_rotary, .kv_heads = 1 }, .no_bias = true, .untied_head = true),
    KIND("window", .positions = AG_POSITIONS_NONE, .attention = { .mask.back = 3, .rotary = &ag_rotary }),
    KIND("learned_window", .max_seq_len = LONGEST, .attention = { .mask.back = 2 }),
    KIND("alibi", .positions = AG_POSITIONS_NONE, .attention = { .alibi = &ag_alibi_bias }),
    KIND("sinusoidal", .positions = AG_POSITIONS_SINUSOIDAL),
    KIND("relative", .positions = AG_POSITIONS_NONE, .attention = { .relative = 3, .qk_norm = true, .soft_cap = 2 }),
    KIND("global", .positions = AG_POSITIONS_NONE,
         .attention = { .mask = { .back = 2, .global = 1 }, .rotary = &ag_rotary, .rope.pairing = AG_ROPE_NEIGHBOURS }),
    KIND("post_norm", .max_seq_len = LONGEST, .post_norm = true, .emb_norm = true, .type_vocab_size = 2),
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* A model of the kind, its parameters far from the first values. */
static ag_gpt *make(ag_ctx *ctx, int kind)
{
    ag_gpt *gpt = ag_gpt_new(ctx, kinds[kind].config);
    ck_assert_msg(gpt != NULL, "%s: %s", kinds[kind].name, ag_error_message(ctx));
    test_fill_params(ag_gpt_module(gpt), 0.4);
    return gpt;
}

static ag_tensor *draw_tokens(ag_ctx *ctx, int64_t B, int64_t T)
{
    return ag_randint(ctx, 0, V, AG_SHAPE(B, T));
}

static ag_tensor *loss_of(void *gpt, ag_tensor *tokens)
{
    return ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens);
}

/* ---- What a kind is made of ---- */

START_TEST(llama_parameters)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = kinds[1].config;
    config.num_layers = 1;
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    test_param_list(ag_gpt_module(gpt),
                    "tok.weight [7,8]|blocks.0.norm1.weight [8]|blocks.0.attn.q.weight [8,8]|"
                    "blocks.0.attn.k.weight [4,8]|blocks.0.attn.v.weight [4,8]|blocks.0.attn.proj.weight [8,8]|"
                    "blocks.0.norm2.weight [8]|blocks.0.ff.up.weight [6,8]|blocks.0.ff.gate.weight [6,8]|"
                    "blocks.0.ff.down.weight [8,6]|norm.weight [8]|head.weight [7,8]");
    const ag_transformer_config *full = ag_gpt_config_of(gpt);
    ck_assert_double_eq(full->norm_eps, 1e-6);
    ck_assert_int_eq(full->max_seq_len, 0);
    ck_assert_int_eq(full->attention.kv_heads, 1);
    ag_gpt_free(gpt);
    config = kinds[8].config;
    config.num_layers = 1;
    gpt = ag_gpt_new(ctx, config);
    ck_assert_str_eq(ag_module_param(ag_gpt_module(gpt), 2).name, "type.weight");
    ck_assert_str_eq(ag_module_param(ag_gpt_module(gpt), 3).name, "emb_norm.weight");
    ck_assert_str_eq(ag_module_param(ag_gpt_module(gpt), ag_module_param_count(ag_gpt_module(gpt)) - 1).name,
                     "blocks.0.ff.down.bias"); /* its blocks end with a norm */
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

/* Embeddings, blocks and head put together here. */
START_TEST(values)
{
    enum { T = 5 };
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, _i);
    ag_module *m = ag_gpt_module(gpt);
    const ag_transformer_config *c = &kinds[_i].config;
    ag_tensor *tokens = draw_tokens(ctx, 3, T), *x = ag_embedding(test_param(m, "tok.weight"), tokens);
    if (c->positions == AG_POSITIONS_LEARNED)
        x = ag_add(x, ag_slice(test_param(m, "pos.weight"), 0, 0, T, 1));
    if (c->positions == AG_POSITIONS_SINUSOIDAL)
        x = ag_add(ag_scale(x, sqrt(8)), ag_sinusoidal(ctx, AG_F64, 0, T, 8));
    if (c->type_vocab_size > 0)
        x = ag_add(x, ag_select(test_param(m, "type.weight"), 0, 0));
    if (c->emb_norm)
        x = ag_layer_norm(x, test_param(m, "emb_norm.weight"), test_param(m, "emb_norm.bias"), 1e-5);
    for (int i = 0; i < 2; i++)
        x = ag_block_forward(ag_gpt_block(gpt, i), x);
    if (c->norm == AG_RMS_NORM)
        x = ag_rms_norm(x, test_param(m, "norm.weight"), 1e-6);
    else if (!c->post_norm)
        x = ag_layer_norm(x, test_param(m, "norm.weight"), test_param(m, "norm.bias"), 1e-5);
    ag_tensor *head = test_param(m, c->untied_head ? "head.weight" : "tok.weight");
    assert_close(ag_gpt_forward(gpt, tokens), ag_matmul(x, ag_transpose(head, 0, 1)), 1e-12, 1e-12);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(gradients)
{
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *gpt = make(ctx, _i);
    test_gradcheck(ag_gpt_module(gpt), loss_of, gpt, draw_tokens(ctx, 2, 5));
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(no_future)
{
    enum { T = 11 };
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, _i);
    ag_tensor *tokens = draw_tokens(ctx, 2, T), *before = ag_gpt_forward(gpt, tokens);
    for (int64_t t = 0; t < T; t++) {
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
    test_end(ctx);
}
END_TEST

/* A window of 3 in each of two layers: what a token may depend on goes back four positions, and no further. */
START_TEST(window_reaches_so_far)
{
    enum { T = 9 };
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, 2);
    ag_tensor *tokens = draw_tokens(ctx, 1, T), *before = ag_gpt_forward(gpt, tokens);
    ag_tensor *changed = ag_tensor_clone(tokens);
    ag_set(changed, (const int64_t[]){ 0, 2 }, fmod(test_at(tokens, 2) + 1, V));
    ag_tensor *after = ag_gpt_forward(gpt, changed);
    for (int64_t t = 0; t < T; t++)
        ck_assert_int_eq(test_at(after, t * V) != test_at(before, t * V), t >= 2 && t <= 2 + 2 * 2);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

/* ---- Learning ---- */

/* The gradients of one step, always with the same draws. */
static void step(ag_ctx *ctx, ag_gpt *gpt, ag_tensor *tokens)
{
    ag_rng_set(ctx, (ag_rng){ .seed = 5 });
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, loss_of(gpt, tokens)));
    ag_tape_end(tape);
}

START_TEST(recompute_gives_the_same_bits)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = kinds[_i].config;
    config.dropout = 0.2;
    config.ff_dropout = 0.1;
    ag_gpt *plain = ag_gpt_new(ctx, config);
    config.recompute = true;
    ag_gpt *again = ag_gpt_new(ctx, config);
    test_copy_params(ag_gpt_module(again), ag_gpt_module(plain));
    ag_tensor *tokens = draw_tokens(ctx, 2, 6);
    step(ctx, plain, tokens);
    step(ctx, again, tokens);
    ag_named_tensor unused[1] = { { "", NULL } };
    ck_assert_msg(ag_unused_parameters(ag_gpt_module(plain), unused, 1) == 0, "%s", unused[0].name);
    for (int64_t i = 0; i < ag_module_param_count(ag_gpt_module(plain)); i++)
        assert_same_bits(ag_grad(ag_module_param(ag_gpt_module(again), i).tensor),
                         ag_grad(ag_module_param(ag_gpt_module(plain), i).tensor));
    ag_gpt_free(plain);
    ag_gpt_free(again);
    test_end(ctx);
}
END_TEST

START_TEST(dropout_is_for_training)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config config = kinds[_i].config;
    config.dropout = 0.3;
    config.ff_dropout = 0.3;
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    ag_tensor *tokens = draw_tokens(ctx, 2, 6), *still = ag_gpt_forward(gpt, tokens);
    ag_tape *tape = ag_tape_begin(ctx);
    int64_t dropouts = 0;
    ck_assert_double_ne(test_at(ag_gpt_forward(gpt, tokens), 0), test_at(still, 0));
    for (int64_t i = 0; i < ag_tape_size(tape); i++)
        dropouts += strcmp(ag_tape_node(tape, i).op, "dropout") == 0;
    ck_assert_int_eq(dropouts, 1 + 2 * 3); /* embeddings; in each block attention, inside feed-forward and behind it */
    ag_module_set_training(ag_gpt_module(gpt), false);
    assert_same(ag_gpt_forward(gpt, tokens), still);
    ag_tape_end(tape);
    ag_module_set_training(ag_gpt_module(gpt), true);
    assert_same(ag_gpt_forward(gpt, tokens), still);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(saved_and_loaded)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, _i), *other = ag_gpt_new(ctx, kinds[_i].config);
    const char *path = test_file();
    ag_tensor *tokens = draw_tokens(ctx, 2, 6);
    assert_ok(ctx, ag_module_save(ag_gpt_module(gpt), path));
    assert_ok(ctx, ag_module_load(ag_gpt_module(other), path));
    unlink(path);
    assert_same_bits(ag_gpt_forward(other, tokens), ag_gpt_forward(gpt, tokens));
    ag_gpt_free(gpt);
    ag_gpt_free(other);
    test_end(ctx);
}
END_TEST

/* ---- With a cache ---- */

/* logits[b, from .. from + count) of the whole pass against rows 0 .. count - 1 of a piece. */
static void compare(const char *kind, ag_tensor *piece, ag_tensor *whole, int64_t b, int64_t from, int64_t count)
{
    ag_tensor *got = ag_tensor_slice(ag_tensor_select(piece, 0, b), 0, 0, count, 1);
    ag_tensor *want = ag_tensor_slice(ag_tensor_select(whole, 0, b), 0, from, from + count, 1);
    ck_assert_msg(got != NULL && want != NULL, "%s: no logits", kind);
    assert_close(got, want, 1e-12, 1e-12);
}

/* A prefill of some tokens, then pieces of one and of more, in one batch. */
START_TEST(cached_logits)
{
    enum { B = 2, T = LONGEST };
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, _i);
    ag_tensor *tokens = draw_tokens(ctx, B, T), *whole = ag_gpt_forward(gpt, tokens);
    const int pieces[][T] = { { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 12 }, { 5, 1, 1, 1, 1, 1, 1, 1 }, { 1, 4, 7 } };
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 2);
    for (int p = 0; p < 4; p++) {
        int64_t at = 0;
        for (int i = 0; at < T; i++) {
            int64_t n = pieces[p][i];
            ag_tensor *logits = ag_gpt_forward_cached(gpt, ag_tensor_slice(tokens, 1, at, at + n, 1), cache, NULL);
            assert_no_error(ctx);
            for (int64_t b = 0; b < B; b++)
                compare(kinds[_i].name, logits, whole, b, at, n);
            at += n;
            ck_assert_int_eq(ag_kv_cache_length(cache, 1), at);
        }
        ag_kv_cache_clear(cache);
    }
    ag_kv_cache_free(cache);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

/* Entries of unequal length: each has its own positions, and what stands behind an entry's count does nothing. */
START_TEST(ragged_batch)
{
    enum { B = 3, T = LONGEST, PASSES = 5, WIDEST = 5 };
    static const int64_t counts[PASSES][B] = { { 2, 5, 0 }, { 1, 1, 1 }, { 0, 1, 4 }, { 3, 2, 1 }, { 1, 1, 1 } };
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, _i);
    ag_tensor *tokens = draw_tokens(ctx, B, T), *whole = ag_gpt_forward(gpt, tokens);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 2);
    int64_t had[B] = { 0 };
    for (int p = 0; p < PASSES; p++) {
        ag_tensor *piece = draw_tokens(ctx, B, WIDEST); /* padding is any token */
        for (int64_t b = 0; b < B; b++)
            for (int64_t t = 0; t < counts[p][b]; t++)
                ag_set(piece, (const int64_t[]){ b, t }, test_at(tokens, b * T + had[b] + t));
        ag_tensor *logits = ag_gpt_forward_cached(gpt, piece, cache, counts[p]);
        assert_no_error(ctx);
        for (int64_t b = 0; b < B; b++) {
            compare(kinds[_i].name, logits, whole, b, had[b], counts[p][b]);
            had[b] += counts[p][b];
            ck_assert_int_eq(ag_kv_cache_length(cache, b), had[b]);
        }
    }
    ag_kv_cache_free(cache);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

static int32_t best_token(ag_tensor *logits, int64_t b)
{
    ag_tensor *last = ag_tensor_select(ag_tensor_select(logits, 0, b), 0, -1);
    int32_t best = 0;
    for (int32_t v = 1; v < V; v++)
        if (test_at(last, v) > test_at(last, best))
            best = v;
    return best;
}

/* Greedy generation, with the cache and by running the whole text each time. */
START_TEST(same_tokens_generated)
{
    enum { PROMPT = 3, T = LONGEST };
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, _i);
    ag_tensor *tokens = draw_tokens(ctx, 1, T);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 1, 2);
    ag_tensor *logits = ag_gpt_forward_cached(gpt, ag_tensor_slice(tokens, 1, 0, PROMPT, 1), cache, NULL);
    for (int64_t t = PROMPT; t < T; t++) {
        int32_t next = best_token(logits, 0);
        ck_assert_int_eq(next, best_token(ag_gpt_forward(gpt, ag_tensor_slice(tokens, 1, 0, t, 1)), 0));
        ag_set(tokens, (const int64_t[]){ 0, t }, next);
        logits = ag_gpt_forward_cached(gpt, ag_tensor_slice(tokens, 1, t, t + 1, 1), cache, NULL);
    }
    assert_no_error(ctx);
    ag_kv_cache_free(cache);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(cache_errors)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, 0), *endless = make(ctx, 1);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 2, 2), *shallow = ag_kv_cache_new(ctx, 2, 1);
    ag_kv_cache *long_one = ag_kv_cache_new(ctx, 2, 2);
    ag_tensor *tokens = draw_tokens(ctx, 2, 5);
    ck_assert_ptr_nonnull(ag_gpt_forward_cached(gpt, tokens, cache, NULL));
    ck_assert_ptr_nonnull(ag_gpt_forward_cached(gpt, tokens, cache, (const int64_t[]){ 3, 5 }));
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, ag_tensor_slice(tokens, 1, 0, 3, 1), cache, NULL));
    assert_error(ctx, AG_ERR_SHAPE, "gpt: ");
    ck_assert_int_eq(ag_kv_cache_length(cache, 0), 8); /* nothing has joined */
    ck_assert_int_eq(ag_kv_cache_length(cache, 1), 10);
    ck_assert_ptr_nonnull(ag_gpt_forward_cached(gpt, ag_tensor_slice(tokens, 1, 0, 3, 1), cache,
                                                (const int64_t[]){ 3, 2 }));
    ag_kv_cache_clear(cache);
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, draw_tokens(ctx, 3, 1), cache, NULL));
    ck_assert(ag_error(ctx) != AG_OK);
    ag_error_clear(ctx);
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, tokens, cache, (const int64_t[]){ 1, 6 }));
    ck_assert(ag_error(ctx) != AG_OK);
    ag_error_clear(ctx);
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, tokens, shallow, NULL)); /* two blocks */
    ck_assert(ag_error(ctx) != AG_OK);
    ag_error_clear(ctx);
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, ag_full(ctx, AG_I32, AG_SHAPE(2, 1), V), cache, NULL));
    assert_error(ctx, AG_ERR_INDEX, "tok: embedding: index 7 at position 0");
    ck_assert_int_eq(ag_kv_cache_length(shallow, 0), 0); /* a pass that failed does not count */
    ck_assert_int_eq(ag_kv_cache_length(cache, 1), 0);
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, tokens, NULL, NULL));
    ck_assert_ptr_null(ag_gpt_forward_cached(NULL, tokens, cache, NULL));
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, NULL, cache, NULL));
    assert_no_error(ctx);
    for (int i = 0; i < 8; i++)
        ck_assert_ptr_nonnull(ag_gpt_forward_cached(endless, tokens, long_one, NULL));
    ck_assert_int_eq(ag_kv_cache_length(long_one, 1), 40);
    ag_kv_cache_free(cache);
    ag_kv_cache_free(long_one);
    ag_kv_cache_free(shallow);
    ag_gpt_free(gpt);
    ag_gpt_free(endless);
    test_end(ctx);
}
END_TEST

/* A tape that would record the pass. */
START_TEST(no_cache_in_training)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = make(ctx, 0);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 2, 2);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_ptr_null(ag_gpt_forward_cached(gpt, draw_tokens(ctx, 2, 5), cache, NULL));
    ck_assert_int_eq(ag_error(ctx), AG_ERR_STATE);
    ag_error_clear(ctx);
    ag_tape_end(tape);
    ck_assert_int_eq(ag_kv_cache_length(cache, 0), 0);
    ag_kv_cache_free(cache);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

/* ---- Errors ---- */

START_TEST(configuration_errors)
{
    ag_ctx *ctx = test_begin();
    ag_transformer_config wrong[8];
    for (int i = 0; i < 8; i++)
        wrong[i] = kinds[0].config;
    const char *const line[8] = {
        "gpt: max_seq_len is 0, must be in 1",
        "gpt: emb_size is 9, must be even for sinusoidal positions",
        "gpt: there are no positions number 9",
        "gpt: pooler is set, but this model has none",
        "gpt: type_vocab_size is -1",
        "gpt: ff_dropout is 1,",
        "there is no norm number 9",
        "gpt: max_seq_len is -1",
    };
    wrong[0].max_seq_len = 0;
    wrong[1].positions = AG_POSITIONS_SINUSOIDAL;
    wrong[1].emb_size = 9;
    wrong[2].positions = (ag_positions)9;
    wrong[3].pooler = true;
    wrong[4].type_vocab_size = -1;
    wrong[5].ff_dropout = 1;
    wrong[6].norm = (ag_norm_kind)9;
    wrong[7].max_seq_len = -1;
    wrong[7].positions = AG_POSITIONS_NONE;
    for (int i = 0; i < 8; i++) {
        ck_assert_ptr_null(ag_gpt_new(ctx, wrong[i]));
        assert_error(ctx, AG_ERR_ARGUMENT, line[i]);
    }
    test_end(ctx);
}
END_TEST

Suite *gpt_kinds_suite(void)
{
    Suite *suite = suite_create("gpt_kinds");
    TCase *tcase = tcase_create("model");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, llama_parameters);
    tcase_add_loop_test(tcase, values, 0, KINDS);
    tcase_add_loop_test(tcase, no_future, 0, KINDS);
    tcase_add_test(tcase, window_reaches_so_far);
    tcase_add_loop_test(tcase, recompute_gives_the_same_bits, 0, KINDS);
    tcase_add_loop_test(tcase, dropout_is_for_training, 0, KINDS);
    tcase_add_loop_test(tcase, saved_and_loaded, 0, KINDS);
    tcase_add_loop_test(tcase, cached_logits, 0, KINDS);
    tcase_add_loop_test(tcase, ragged_batch, 0, KINDS);
    tcase_add_loop_test(tcase, same_tokens_generated, 0, KINDS);
    tcase_add_test(tcase, cache_errors);
    tcase_add_test(tcase, no_cache_in_training);
    tcase_add_test(tcase, configuration_errors);
    suite_add_tcase(suite, tcase);
    TCase *slow = tcase_create("gradients");
    tcase_set_timeout(slow, 60);
    tcase_add_loop_test(slow, gradients, 0, KINDS);
    suite_add_tcase(suite, slow);
    return suite;
}
