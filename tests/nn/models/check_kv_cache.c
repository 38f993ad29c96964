/* SPDX-License-Identifier: MIT
 *
 * check_kv_cache.c - attention over a key and value cache gives what one pass over everything gives: for every kind of
 * attention, any cutting into passes, and batch entries of unequal length. Memory, failures, errors.
 *
 * The model is two attention layers with residuals: the second one's keys depend on the first one's output.
 */
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>

enum { C = 16, LAYERS = 2 };

typedef struct model {
    ag_ctx *ctx;
    ag_mha *layer[LAYERS];
} model;

static model new_model(ag_ctx *ctx, ag_dtype dtype, ag_attention_options options, int64_t max_seq_len)
{
    model m = { .ctx = ctx };
    for (int i = 0; i < LAYERS; i++) {
        m.layer[i] = ag_mha_new(ctx, (ag_mha_config){ .emb_size = C, .num_heads = 4, .max_seq_len = max_seq_len,
                                                      .attention = options, .dtype = dtype });
        assert_no_error(ctx);
        test_fill_params(ag_mha_module(m.layer[i]), 0.3);
    }
    return m;
}

static void free_model(model *m)
{
    for (int i = 0; i < LAYERS; i++)
        ag_mha_free(m->layer[i]);
}

/* cache NULL: one pass over everything. In a scope of its own. */
static ag_tensor *forward(const model *m, ag_tensor *x, ag_kv_cache *cache, const int64_t *counts)
{
    ag_scope_begin(m->ctx, NULL);
    int64_t T = ag_dim(x, 1);
    for (int64_t i = 0; i < LAYERS; i++)
        x = ag_add(x, ag_mha_forward_with(m->layer[i], x, (ag_attend){ .cache = cache, .layer = i, .counts = counts }));
    ag_kv_cache_advance(cache, T, counts);
    return ag_scope_end(m->ctx, x);
}

/* ---- Every kind of attention ---- */

static const struct {
    const char *name;
    ag_attention_options options;
} kinds[] = {
    { "plain", { .kv_heads = 4 } },
    { "grouped", { .kv_heads = 2 } },
    { "multi-query, norm, cap", { .kv_heads = 1, .qk_norm = true, .soft_cap = 2 } },
    { "rotary", { .rotary = &ag_rotary } },
    { "alibi", { .alibi = &ag_alibi_bias } },
    { "relative", { .relative = 5 } },
    { "window", { .mask.back = 5 } },
    { "window of one", { .mask.back = 1 } },
    { "window, rotary, grouped", { .kv_heads = 2, .rotary = &ag_rotary, .mask.back = 7 } },
    { "window, alibi", { .alibi = &ag_alibi_bias, .mask.back = 6 } },
    { "window, relative", { .relative = 9, .mask.back = 6 } },
    { "window and global", { .mask = { .back = 3, .global = 2 } } },
    { "stride", { .mask = { .back = 2, .stride = 4 } } },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Passes of these lengths, and again from the beginning. */
static const int64_t cuts[][4] = { { 1, 1, 1, 1 }, { 17, 1, 1, 1 }, { 5, 9, 2, 1 }, { 30, 7, 40, 3 } };

static void check_cuts(ag_dtype dtype, double tolerance)
{
    enum { B = 2, T = 80 };
    ag_ctx *ctx = test_begin();
    for (int kind = 0; kind < KINDS; kind++) {
        model m = new_model(ctx, dtype, kinds[kind].options, 0);
        ag_tensor *x = ag_randn(ctx, dtype, AG_SHAPE(B, T, C)), *want = forward(&m, x, NULL, NULL);
        ag_kv_cache *cache = ag_kv_cache_new(ctx, B, LAYERS);
        for (int i = 0; i < 4; i++) {
            ag_kv_cache_clear(cache);
            for (int64_t t = 0, n = 0; t < T; n++) {
                int64_t end = t + cuts[i][n < 4 ? n : 3];
                end = end < T ? end : T;
                ag_tensor *y = forward(&m, ag_tensor_slice(x, 1, t, end, 1), cache, NULL);
                assert_no_error(ctx);
                assert_close(y, ag_tensor_slice(want, 1, t, end, 1), tolerance, tolerance);
                t = end;
            }
            for (int64_t b = 0; b < B; b++)
                ck_assert_int_eq(ag_kv_cache_length(cache, b), T);
        }
        ag_kv_cache_free(cache);
        free_model(&m);
    }
    test_end(ctx);
}

START_TEST(any_cut_equals_one_pass)
{
    check_cuts(AG_F64, 1e-12);
    check_cuts(AG_F32, 3e-5); /* the sums' terms are up to 30: 4e-6 for each rounding of them */
}
END_TEST

/* Weights after a cached pass: the last rows of those of one pass; asking changes nothing. */
START_TEST(weights_of_a_cached_pass)
{
    enum { B = 2, T = 12 };
    ag_ctx *ctx = test_begin();
    model m = new_model(ctx, AG_F64, (ag_attention_options){ .rotary = &ag_rotary, .kv_heads = 2 }, 0);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, C));
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, LAYERS);
    forward(&m, ag_tensor_slice(x, 1, 0, 9, 1), cache, NULL);
    forward(&m, ag_tensor_slice(x, 1, 9, 10, 1), cache, NULL);
    ag_tensor *row = ag_mha_weights(m.layer[1]);
    ck_assert_str_eq(ag_shape_text(row), "[2,4,1,10]");
    ck_assert_int_eq(ag_mha_blind_queries(m.layer[1], NULL), 0);
    ag_tensor *y = forward(&m, ag_tensor_slice(x, 1, 10, 12, 1), cache, NULL);
    ag_tensor *rows = ag_mha_weights(m.layer[1]);
    assert_close(y, ag_tensor_slice(forward(&m, x, NULL, NULL), 1, 10, 12, 1), 1e-13, 1e-13);
    ag_tensor *all = ag_mha_weights(m.layer[1]);
    assert_close(row, ag_tensor_slice(ag_tensor_slice(all, 2, 9, 10, 1), 3, 0, 10, 1), 1e-13, 1e-12);
    assert_close(rows, ag_tensor_slice(all, 2, 10, 12, 1), 1e-13, 1e-12);
    ag_kv_cache_free(cache);
    free_model(&m);
    test_end(ctx);
}
END_TEST

/* ---- Entries of unequal length ---- */

/* P[H,T,S] is 0 in columns from `end` on; the queries of padding too, unless they are NaN. */
static void assert_nothing_behind(ag_tensor *P, int64_t end)
{
    ag_tensor *behind = ag_tensor_slice(P, 2, end, ag_dim(P, 2), 1);
    for (int64_t i = 0; i < ag_numel(behind); i++)
        ck_assert_double_eq(test_at(behind, i), 0);
}

/* Each entry gets its own number of positions in each pass; what stands behind them is NaN. It must equal its own run
 * alone, whatever the others do. */
START_TEST(ragged_batches)
{
    enum { B = 4, T = 90, PASSES = 14 };
    ag_ctx *ctx = test_begin();
    for (int kind = 0; kind < KINDS; kind++) {
        model m = new_model(ctx, AG_F64, kinds[kind].options, 0);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, C));
        ag_tensor *want = forward(&m, x, NULL, NULL);
        ag_kv_cache *cache = ag_kv_cache_new(ctx, B, LAYERS);
        int64_t at[B] = { 0 };
        for (int pass = 0; pass < PASSES; pass++) {
            int64_t longest = pass % 3 == 1 ? 1 : 6, counts[B];
            ag_tensor *piece = ag_full(ctx, AG_F64, AG_SHAPE(B, longest, C), (double)NAN);
            for (int64_t b = 0; b < B; b++) { /* entry 0 comes late, entry 1 takes all, entry 2 and 3 some */
                int64_t some = (int64_t)(ag_random(ctx) * (double)(longest + 1));
                counts[b] = b == 1 ? longest : b == 0 && pass < 4 ? 0 : some;
                ag_copy_into(ag_tensor_slice(ag_tensor_select(piece, 0, b), 0, 0, counts[b], 1),
                             ag_tensor_slice(ag_tensor_select(x, 0, b), 0, at[b], at[b] + counts[b], 1));
            }
            ag_tensor *y = forward(&m, piece, cache, counts);
            assert_no_error(ctx);
            for (int64_t b = 0; b < B; b++) {
                assert_close(ag_tensor_slice(ag_tensor_select(y, 0, b), 0, 0, counts[b], 1),
                             ag_tensor_slice(ag_tensor_select(want, 0, b), 0, at[b], at[b] + counts[b], 1), 1e-12,
                             1e-12);
                at[b] += counts[b];
                ck_assert_int_eq(ag_kv_cache_length(cache, b), at[b]);
                if (kind == 0) /* nothing is let go of, and nobody sees rows that nobody has written */
                    assert_nothing_behind(ag_tensor_select(ag_mha_weights(m.layer[0]), 0, b), at[b]);
            }
        }
        ck_assert_int_gt(at[1], at[2]);
        ag_kv_cache_free(cache);
        free_model(&m);
    }
    test_end(ctx);
}
END_TEST

/* ---- Generation ---- */

static int64_t best(const ag_tensor *logits, int64_t row)
{
    int64_t V = ag_dim(logits, -1), which = 0;
    for (int64_t i = 1; i < V; i++)
        if (test_at(logits, row * V + i) > test_at(logits, row * V + which))
            which = i;
    return which;
}

START_TEST(greedy_tokens_are_the_same)
{
    enum { V = 23, PROMPT = 5, LENGTH = 60 };
    ag_ctx *ctx = test_begin();
    for (int kind = 0; kind < KINDS; kind++) {
        model m = new_model(ctx, AG_F32, kinds[kind].options, 0);
        ag_tensor *table = ag_randn(ctx, AG_F32, AG_SHAPE(V, C));
        ag_kv_cache *cache = ag_kv_cache_new(ctx, 1, LAYERS);
        int32_t token[LENGTH] = { 3, 1, 4, 1, 5 };
        for (int64_t t = PROMPT, from = 0; t < LENGTH; from = t++) {
            ag_tensor *all = ag_from_data(ctx, AG_I32, AG_SHAPE(1, t), token);
            ag_tensor *plain = ag_linear(forward(&m, ag_embedding(table, all), NULL, NULL), table, NULL);
            ag_tensor *next = ag_embedding(table, ag_tensor_slice(all, 1, from, t, 1));
            ag_tensor *cached = ag_linear(forward(&m, next, cache, NULL), table, NULL);
            token[t] = (int32_t)best(plain, t - 1);
            ck_assert_int_eq(best(cached, t - from - 1), token[t]);
        }
        ag_kv_cache_free(cache);
        free_model(&m);
    }
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

typedef struct counting {
    int64_t calls, live, fail_from; /* the fail_from-th call and all behind it fail; 0: none */
} counting;

static void *counting_alloc(void *user, size_t size)
{
    counting *c = user;
    c->calls++;
    if (c->fail_from != 0 && c->calls >= c->fail_from)
        return NULL;
    c->live++;
    return malloc(size);
}

static void counting_free(void *user, void *block, size_t size)
{
    (void)size;
    ((counting *)user)->live--;
    free(block);
}

static ag_ctx *counted_ctx(counting *c)
{
    return ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1, .allocator = { counting_alloc, counting_free, c } });
}

/* Ten windows pass through; keys and values of two windows stay, and nothing is allocated. */
START_TEST(a_window_rolls)
{
    enum { WINDOW = 24, T = 700 };
    counting c = { 0 };
    ag_ctx *ctx = counted_ctx(&c);
    model m = new_model(ctx, AG_F64, (ag_attention_options){ .rotary = &ag_rotary, .kv_heads = 2,
                                                           .mask.back = WINDOW }, 0);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(1, T, C)), *want = forward(&m, x, NULL, NULL);
    ag_ctx_trim(ctx);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 1, LAYERS);
    ck_assert_uint_eq(ag_kv_cache_bytes(cache), 0);
    const size_t row = (size_t)2 * C / 2 * sizeof(double); /* half the heads, keys and values */
    int64_t calls = 0;
    for (int64_t t = 0; t < T; t++) {
        ag_scope_begin(ctx, NULL);
        ag_tensor *y = forward(&m, ag_tensor_slice(x, 1, t, t + 1, 1), cache, NULL);
        assert_close(y, ag_tensor_slice(want, 1, t, t + 1, 1), 1e-12, 1e-12);
        ag_scope_end(ctx, NULL);
        if (t == 2 * WINDOW)
            calls = c.calls;
    }
    ck_assert_int_eq(c.calls, calls);
    ck_assert_uint_eq(ag_kv_cache_bytes(cache), 2 * WINDOW * LAYERS * row);
    /* A long pass needs its own room beside the window, no more however often. */
    ag_tensor *chunk = ag_randn(ctx, AG_F64, AG_SHAPE(1, 100, C));
    for (int i = 0; i < 5; i++)
        ck_assert_ptr_nonnull(forward(&m, chunk, cache, NULL));
    ck_assert_uint_le(ag_kv_cache_bytes(cache), (WINDOW + 100) * LAYERS * row);
    ck_assert_int_eq(ag_kv_cache_length(cache, 0), T + 500);
    ag_kv_cache_free(cache);
    free_model(&m);
    test_end(ctx);
    ck_assert_int_eq(c.live, 0);
}
END_TEST

/* Without a window: capacity doubles, up to max_seq_len; a token within it allocates nothing. */
START_TEST(capacity_doubles)
{
    enum { T = 100 };
    counting c = { 0 };
    ag_ctx *ctx = counted_ctx(&c);
    model m = new_model(ctx, AG_F32, (ag_attention_options){ .relative = 3 }, T);
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(3, 1, C));
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 3, LAYERS);
    const size_t row = (size_t)3 * 2 * C * LAYERS * sizeof(float);
    size_t bytes = 0;
    int grown = 0;
    for (int64_t t = 0; t < T; t++) {
        int64_t calls = c.calls;
        ag_scope_begin(ctx, NULL);
        ck_assert_ptr_nonnull(forward(&m, x, cache, NULL));
        ag_scope_end(ctx, NULL);
        bool stands = ag_kv_cache_bytes(cache) == bytes;
        if (t > 0 && stands)
            ck_assert_msg(c.calls == calls, "position %lld: %lld calls", (long long)t, (long long)(c.calls - calls));
        grown += !stands;
        bytes = ag_kv_cache_bytes(cache);
    }
    ck_assert_int_eq(grown, 8); /* 1, 2, 4, ... 64, 100 */
    ck_assert_uint_eq(bytes, T * row);
    ck_assert_ptr_null(forward(&m, x, cache, NULL));
    assert_error(ctx, AG_ERR_SHAPE, "mha: the sequence has 101 positions, max_seq_len is 100");
    ag_kv_cache_clear(cache);
    int64_t calls = c.calls;
    ck_assert_ptr_nonnull(forward(&m, x, cache, NULL));
    ck_assert_uint_eq(ag_kv_cache_bytes(cache), bytes);
    ck_assert_int_le(c.calls, calls + 1); /* a tensor that is not in a scope that has ended */
    ag_kv_cache_free(cache);
    free_model(&m);
    test_end(ctx);
    ck_assert_int_eq(c.live, 0);
}
END_TEST

/* Memory ends anywhere in a pass: it has not been, and the next one gives what it gives without the accident. */
START_TEST(a_failed_pass_changes_nothing)
{
    enum { B = 2, BEFORE = 11, NOW = 6 };
    for (int kind = 0; kind < KINDS; kind += 4) { /* plain, alibi, window that is rotary, all keys */
        bool done = false;
        for (int64_t n = 1; !done; n++) {
            counting c = { 0 };
            ag_ctx *ctx = counted_ctx(&c);
            model m = new_model(ctx, AG_F64, kinds[kind].options, 0);
            ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, BEFORE + NOW, C)), *want = forward(&m, x, NULL, NULL);
            ag_kv_cache *cache = ag_kv_cache_new(ctx, B, LAYERS);
            forward(&m, ag_tensor_slice(x, 1, 0, BEFORE, 1), cache, NULL);
            ag_tensor *rest = ag_tensor_slice(x, 1, BEFORE, BEFORE + NOW, 1);
            assert_no_error(ctx);
            ag_ctx_trim(ctx);
            c.fail_from = c.calls + n;
            ag_tensor *y = forward(&m, rest, cache, NULL);
            done = c.calls < c.fail_from;
            c.fail_from = 0;
            if (!done) {
                ck_assert_ptr_null(y);
                assert_error(ctx, AG_ERR_MEMORY, "can not be had");
                ck_assert_int_eq(ag_kv_cache_length(cache, 0), BEFORE);
                y = forward(&m, rest, cache, NULL);
            }
            assert_close(y, ag_tensor_slice(want, 1, BEFORE, BEFORE + NOW, 1), 1e-12, 1e-12);
            ag_kv_cache_free(cache);
            free_model(&m);
            test_end(ctx);
            ck_assert_int_eq(c.live, 0);
            ck_assert(done || n < 200);
        }
    }
}
END_TEST

/* ---- Cross-attention ---- */

/* Keys and values of memory are made in the first pass, and kept until the cache is cleared. */
START_TEST(memory_is_kept)
{
    enum { B = 2, T = 7, S = 5 };
    ag_ctx *ctx = test_begin();
    ag_mha *self = ag_mha_new(ctx, (ag_mha_config){ .emb_size = C, .num_heads = 2, .dtype = AG_F64 });
    ag_attention_options options = { .relative = 4 }; /* looks at where queries stand */
    ag_mha *cross = ag_mha_new(ctx, (ag_mha_config){ .emb_size = C, .num_heads = 2, .key_size = 3, .value_size = 3,
                                                     .non_causal = true, .attention = options, .dtype = AG_F64 });
    test_fill_params(ag_mha_module(cross), 0.5);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, C)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(B, S, 3));
    ag_tensor *copy = ag_tensor_clone(memory);
    ag_tensor *lengths = ag_from_data(ctx, AG_I32, AG_SHAPE(B), (const int32_t[]){ 5, 3 });
    ag_attend to = { .memory = memory, .mask.key_lengths = lengths };
    ag_tensor *h = ag_mha_forward(self, x), *want = ag_mha_forward_with(cross, h, to);
    ag_tensor *P = ag_mha_weights(cross);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 1);
    to.cache = cache;
    for (int round = 0; round < 2; round++) {
        /* A pass that does not count keeps nothing: not of this other memory. */
        to.memory = ag_randn(ctx, AG_F64, AG_SHAPE(B, S, 3));
        ck_assert_ptr_nonnull(ag_mha_forward_with(cross, h, to));
        to.memory = memory;
        for (int64_t t = 0, end = 3; t < T; t = end, end = t + 2) {
            ag_tensor *piece = ag_tensor_slice(x, 1, t, end, 1);
            piece = ag_mha_forward_with(self, piece, (ag_attend){ .cache = cache });
            ag_tensor *y = ag_mha_forward_with(cross, piece, to);
            assert_close(y, ag_tensor_slice(want, 1, t, end, 1), 1e-13, 1e-12);
            assert_close(ag_mha_weights(cross), ag_tensor_slice(P, 2, t, end, 1), 1e-13, 1e-12);
            ag_kv_cache_advance(cache, end - t, NULL);
            ag_fill(memory, 1e9);
        }
        ag_copy_into(memory, copy);
        if (round == 0)
            ag_kv_cache_clear(cache);
    }
    const size_t row = (size_t)B * 2 * C * sizeof(double);
    ck_assert_uint_ge(ag_kv_cache_bytes(cache), (T + S) * row);
    to.memory = ag_randn(ctx, AG_F64, AG_SHAPE(B, S + 1, 3));
    ck_assert_ptr_null(ag_mha_forward_with(cross, h, to));
    assert_error(ctx, AG_ERR_SHAPE, "mha: memory has 6 positions, the cache has it with 5");
    ag_kv_cache_free(cache);
    ag_mha_free(self);
    ag_mha_free(cross);
    test_end(ctx);
}
END_TEST

/* ---- Errors ---- */

static void refused(ag_mha *mha, ag_tensor *x, ag_attend with, ag_status status, const char *message)
{
    ck_assert_ptr_null(ag_mha_forward_with(mha, x, with));
    assert_error(ag_ctx_of(x), status, message);
}

static ag_mha *plain_layer(ag_ctx *ctx, ag_mha_config config)
{
    config.emb_size = C;
    config.num_heads = 2;
    config.dtype = AG_F64;
    return ag_mha_new(ctx, config);
}

START_TEST(errors)
{
    enum { B = 2, T = 4 };
    ag_ctx *ctx = test_begin();
    ag_mha *mha = plain_layer(ctx, (ag_mha_config){ .max_seq_len = 6 });
    ag_mha *full = plain_layer(ctx, (ag_mha_config){ .non_causal = true });
    ag_mha *shifted = plain_layer(ctx, (ag_mha_config){ .attention.mask.offset = -1 });
    ag_mha *wide = plain_layer(ctx, (ag_mha_config){ .head_size = 5 });
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, LAYERS);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, C));
    ag_tensor *lengths = ag_full(ctx, AG_I32, AG_SHAPE(B), 2);
    ag_attend with = { .cache = cache };
    refused(mha, ag_tensor_slice(x, 0, 0, 1, 1), with, AG_ERR_SHAPE, "mha: x has 1 batch entries, the cache 2");
    refused(mha, x, (ag_attend){ .cache = cache, .layer = 2 }, AG_ERR_ARGUMENT, "mha: layer is 2, the cache has 2");
    refused(mha, x, (ag_attend){ .cache = cache, .layer = -1 }, AG_ERR_ARGUMENT, "mha: layer is -1, the cache has 2");
    refused(mha, x, (ag_attend){ .cache = cache, .counts = (const int64_t[]){ 4, 5 } }, AG_ERR_ARGUMENT,
            "mha: counts[1] is 5, must be in 0 .. 4");
    refused(mha, x, (ag_attend){ .cache = cache, .counts = (const int64_t[]){ -1, 0 } }, AG_ERR_ARGUMENT,
            "mha: counts[0] is -1, must be in 0 .. 4");
    refused(mha, x, (ag_attend){ .cache = cache, .mask.key_lengths = lengths }, AG_ERR_ARGUMENT,
            "mha: mask.key_lengths of a call is not supported with a cache");
    refused(shifted, x, with, AG_ERR_ARGUMENT, "mha: mask.offset is not supported with a cache");
    refused(mha, x, (ag_attend){ .cache = cache, .bias = ag_zeros(ctx, AG_F64, AG_SHAPE(T, T)) }, AG_ERR_ARGUMENT,
            "mha: bias is not supported with a cache");
    refused(mha, x, (ag_attend){ .cache = cache, .values = x }, AG_ERR_ARGUMENT,
            "mha: values are not supported with a cache");
    refused(full, x, with, AG_ERR_ARGUMENT, "mha: a cache is for causal self-attention, and the layer is non_causal");
    refused(full, x, (ag_attend){ .cache = cache, .memory = x, .mask.align = AG_BOTTOM_RIGHT }, AG_ERR_ARGUMENT,
            "mha: mask.align is not supported with a cache");
    ag_tape *tape = ag_tape_begin(ctx);
    refused(mha, x, with, AG_ERR_STATE, "mha: a cache is not for training, and a tape runs");
    ag_tape_end(tape);
    ck_assert_ptr_nonnull(ag_mha_forward_with(mha, x, with));
    refused(wide, x, with, AG_ERR_SHAPE, "mha: layer 0 of the cache has float64 keys [2,2,4,8] and values [2,2,4,8], "
                                         "the layer float64 keys [2,2,4,5] and values [2,2,4,5]");
    ag_kv_cache_advance(cache, T, (const int64_t[]){ 4, 2 });
    ck_assert_int_eq(ag_kv_cache_length(cache, 0), 4);
    ck_assert_int_eq(ag_kv_cache_length(cache, 1), 2);
    refused(mha, x, with, AG_ERR_SHAPE, "mha: the sequence has 8 positions, max_seq_len is 6");
    with.counts = (const int64_t[]){ 2, 4 };
    ck_assert_ptr_nonnull(ag_mha_forward_with(mha, x, with));
    refused(mha, ag_tensor_slice(x, 1, 0, 1, 1), (ag_attend){ .cache = cache, .layer = 1 }, AG_ERR_STATE,
            "mha: layer 1 of the cache has had 0 positions of entry 0, which has 4");
    ag_kv_cache_free(cache);
    ag_mha *const layers[] = { mha, full, shifted, wide };
    for (int i = 0; i < 4; i++)
        ag_mha_free(layers[i]);
    test_end(ctx);
}
END_TEST

START_TEST(the_cache_alone)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(ag_kv_cache_new(ctx, 0, 1));
    assert_error(ctx, AG_ERR_ARGUMENT, "kv_cache: batch is 0");
    ck_assert_ptr_null(ag_kv_cache_new(ctx, 1, -1));
    assert_error(ctx, AG_ERR_ARGUMENT, "kv_cache: layers is -1");
    ck_assert_ptr_null(ag_kv_cache_new(ctx, INT32_MAX, INT32_MAX));
    assert_error(ctx, AG_ERR_MEMORY, "kv_cache: batch 2147483647 times layers 2147483647 overflows");
    ck_assert_ptr_null(ag_kv_cache_new(NULL, 1, 1));
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 2, 3);
    ck_assert_int_eq(ag_kv_cache_length(cache, 1), 0);
    ck_assert_int_eq(ag_kv_cache_length(cache, 2), -1);
    ck_assert_int_eq(ag_kv_cache_length(cache, -1), -1);
    ag_kv_cache_advance(cache, 5, NULL);
    ag_kv_cache_advance(cache, 5, (const int64_t[]){ 0, 6 });
    assert_error(ctx, AG_ERR_ARGUMENT, "kv_cache: counts[1] is 6, must be in 0 .. 5");
    ag_kv_cache_advance(cache, -1, NULL);
    ag_kv_cache_advance(cache, 1, NULL); /* while an error stands nothing counts */
    assert_error(ctx, AG_ERR_ARGUMENT, "kv_cache: T is -1");
    ck_assert_int_eq(ag_kv_cache_length(cache, 0), 5);
    ag_kv_cache_clear(cache);
    ck_assert_int_eq(ag_kv_cache_length(cache, 0), 0);
    ag_kv_cache_free(cache);
    ag_kv_cache_free(NULL);
    ag_kv_cache_clear(NULL);
    ag_kv_cache_advance(NULL, 1, NULL);
    ck_assert_uint_eq(ag_kv_cache_bytes(NULL), 0);
    ck_assert_int_eq(ag_kv_cache_length(NULL, 0), -1);
    test_end(ctx);
}
END_TEST

Suite *kv_cache_suite(void)
{
    Suite *suite = suite_create("kv_cache");
    TCase *tcase = tcase_create("kv_cache");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, any_cut_equals_one_pass);
    tcase_add_test(tcase, weights_of_a_cached_pass);
    tcase_add_test(tcase, ragged_batches);
    tcase_add_test(tcase, greedy_tokens_are_the_same);
    tcase_add_test(tcase, a_window_rolls);
    tcase_add_test(tcase, capacity_doubles);
    tcase_add_test(tcase, a_failed_pass_changes_nothing);
    tcase_add_test(tcase, memory_is_kept);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, the_cache_alone);
    suite_add_tcase(suite, tcase);
    return suite;
}
