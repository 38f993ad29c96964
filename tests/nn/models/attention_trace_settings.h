/* SPDX-License-Identifier: MIT
 *
 * attention_trace_settings.h - the layers and calls that check_attention_trace.c traces: every option of a layer, alone
 * and with others.
 */
#ifndef TESTS_ATTENTION_TRACE_SETTINGS_H
#define TESTS_ATTENTION_TRACE_SETTINGS_H

#include "tests/nn/check_nn.h"

/* ---- Settings: every option of a layer, alone and with others ---- */

enum { /* what a call brings */
    MEMORY = 1,
    VALUES = 2,
    BIAS = 4,
    LENGTHS = 8,
    DOCUMENTS = 16,
    POSITIONS = 32,
    ALLOWED = 64,
    STARTS = 128,
    BLOCKS = 256,
    SHARED_BIAS = 512
};

enum { B = 2, T = 7, S = 5, EMB = 6, HEADS = 4, HEAD = 4, DOCUMENT_LENGTH = 3, BLOCK = 2 };

typedef struct setting {
    const char *name;
    unsigned call;
    ag_mha_config config;
    ag_mask mask; /* of the call, but for the tensors */
} setting;

#define OPTIONS(...) .attention = { __VA_ARGS__ }

static const setting settings[] = {
    { "plain", 0, { 0 }, { 0 } },
    { "no causal, no bias", 0, { .non_causal = true, .no_bias = true }, { 0 } },
    { "window", 0, { OPTIONS(.mask = { .back = 3 }) }, { 0 } },
    { "window both ways", 0, { .non_causal = true, OPTIONS(.mask = { .back = 2, .ahead = 3 }) }, { 0 } },
    { "global and window", 0, { OPTIONS(.mask = { .back = 2, .global = 1 }) }, { 0 } },
    { "stride", 0, { OPTIONS(.mask = { .back = 2, .stride = 3 }) }, { 0 } },
    { "blocks", BLOCKS, { .non_causal = true }, { .block_size = BLOCK } },
    { "lengths", LENGTHS, { .non_causal = true }, { 0 } },
    { "lengths, a blind entry", LENGTHS | STARTS, { 0 }, { 0 } },
    { "documents", DOCUMENTS, { 0 }, { 0 } },
    { "allowed", ALLOWED, { .non_causal = true }, { 0 } },
    { "lengths, documents, allowed", LENGTHS | DOCUMENTS | ALLOWED, { 0 }, { 0 } },
    { "offset", 0, { OPTIONS(.soft_cap = 3) }, { .offset = -2 } },
    { "grouped", 0, { OPTIONS(.kv_heads = 2) }, { 0 } },
    { "multi-query", BIAS, { OPTIONS(.kv_heads = 1) }, { 0 } },
    { "bias", BIAS, { 0 }, { 0 } },
    { "shared bias", SHARED_BIAS, { .non_causal = true }, { 0 } },
    { "soft cap", 0, { OPTIONS(.soft_cap = 0.7, .scale = 0.9) }, { 0 } },
    { "soft cap and bias", BIAS, { OPTIONS(.soft_cap = 0.7, .relative = 2) }, { 0 } },
    { "alibi", 0, { OPTIONS(.alibi = &ag_alibi_bias) }, { 0 } },
    { "alibi from starts", STARTS, { .non_causal = true, OPTIONS(.alibi = &ag_alibi_bias) }, { 0 } },
    { "relative", 0, { .non_causal = true, OPTIONS(.relative = 3) }, { 0 } },
    { "norm", 0, { OPTIONS(.qk_norm = true) }, { 0 } },
    { "rotary", 0, { OPTIONS(.rotary = &ag_rotary) }, { 0 } },
    { "rotary neighbours at positions", POSITIONS,
      { OPTIONS(.rotary = &ag_rotary, .rope = { .pairing = AG_ROPE_NEIGHBOURS, .size = 2 }) }, { 0 } },
    { "norm, rotary, groups, window", 0,
      { .no_bias = true, OPTIONS(.qk_norm = true, .rotary = &ag_rotary, .kv_heads = 2, .mask = { .back = 4 }) },
      { 0 } },
    { "value size", 0, { .value_head_size = 3 }, { 0 } },
    { "cross", MEMORY | LENGTHS, { .non_causal = true, .key_size = 5, .value_size = 5 }, { 0 } },
    { "cross, values apart", MEMORY | VALUES | BIAS,
      { .non_causal = true, .key_size = 5, .value_size = 3, .value_head_size = 2, OPTIONS(.kv_heads = 2) }, { 0 } },
    { "cross, bottom right", MEMORY, { .key_size = 5, .value_size = 5, OPTIONS(.relative = 1) },
      { .align = AG_BOTTOM_RIGHT } },
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static ag_mha *layer_of(ag_ctx *ctx, const setting *s, ag_dtype dtype)
{
    ag_mha_config config = s->config;
    config.emb_size = EMB;
    config.num_heads = HEADS;
    config.head_size = HEAD;
    config.dtype = dtype;
    ag_mha *layer = ag_mha_new(ctx, config);
    assert_no_error(ctx);
    test_fill_params(ag_mha_module(layer), 0.5);
    return layer;
}

static ag_tensor *int32s(ag_ctx *ctx, int ndim, const int64_t *shape, const int32_t *values)
{
    return ag_from_data(ctx, AG_I32, ndim, shape, values);
}

static ag_tensor *documents(ag_ctx *ctx, int64_t length)
{
    ag_tensor *t = ag_empty(ctx, AG_I32, AG_SHAPE(1, length));
    for (int32_t i = 0; i < length; i++)
        ((int32_t *)ag_data_mut(t))[i] = i / DOCUMENT_LENGTH;
    return t;
}

/* What a call brings, real tensors as leaves. */
static ag_attend call_of(ag_ctx *ctx, const setting *s, ag_dtype dtype)
{
    const int64_t keys = s->call & MEMORY ? S : T;
    ag_attend with = { .mask = s->mask };
    if (s->call & MEMORY)
        with.memory = ag_require_grad(ag_randn(ctx, dtype, AG_SHAPE(B, S, s->config.key_size)));
    if (s->call & VALUES)
        with.values = ag_require_grad(ag_randn(ctx, dtype, AG_SHAPE(B, S, s->config.value_size)));
    if (s->call & BIAS)
        with.bias = ag_require_grad(ag_randn(ctx, dtype, AG_SHAPE(B, HEADS, T, keys)));
    if (s->call & SHARED_BIAS)
        with.bias = ag_require_grad(ag_randn(ctx, dtype, AG_SHAPE(HEADS, 1, keys)));
    if (s->call & LENGTHS)
        with.mask.key_lengths = int32s(ctx, AG_SHAPE(B), (const int32_t[]){ 3, 0 });
    if (s->call & STARTS)
        with.mask.starts = int32s(ctx, AG_SHAPE(B), (const int32_t[]){ -1, 2 });
    if (s->call & DOCUMENTS) {
        with.mask.query_documents = documents(ctx, T);
        with.mask.key_documents = documents(ctx, keys);
    }
    if (s->call & BLOCKS) {
        with.mask.blocks = ag_randint(ctx, 0, 2, AG_SHAPE(HEADS, (T + BLOCK - 1) / BLOCK, (T + BLOCK - 1) / BLOCK));
        with.mask.block_size = s->mask.block_size;
    }
    if (s->call & ALLOWED)
        with.mask.allowed = ag_randint(ctx, 0, 2, AG_SHAPE(B, 1, T, keys));
    if (s->call & POSITIONS)
        with.positions = ag_randint(ctx, 0, 20, AG_SHAPE(B, T));
    return with;
}

#endif
