/* SPDX-License-Identifier: MIT
 *
 * block.c - a transformer block: self-attention, cross-attention over memory if config.cross, and feed-forward, each
 * with a residual and a norm. x[B,T,emb], memory[B,S,memory_size] -> [B,T,emb].
 *
 *     pre-norm    x = x + dropout(f(norm(x)))
 *     post-norm   x = norm(x + dropout(f(x)))
 *     parallel    x = x + dropout(attn(norm1(x))) + dropout(ff(norm2(x)))    one_norm: norm1 for both
 *
 * The feed-forward layer applies the dropout of its own result; the block applies that of the attention layers.
 */
#include "autograd/mask_impl.h"
#include "nn/layers_impl.h"
#include "nn/norm_impl.h"

#include <inttypes.h>

static const char block_kind[] = "block";

struct ag_block {
    ag_module module;
    ag_norm norm1, norm_cross, norm2;
    ag_mha *attn, *cross; /* cross NULL: none */
    ag_feed_forward *ff;
    double dropout;
    bool post_norm, parallel, one_norm;
};

static ag_norm block_add_norm(ag_block *block, const char *name, const ag_block_config *c)
{
    return ag_norm_add(&block->module, name, c->norm,
                       (ag_layer_norm_config){ c->emb_size, c->norm_eps, c->no_bias, c->dtype });
}

static ag_mha *block_add_attention(ag_block *block, const char *name, ag_mha_config config)
{
    ag_mha *attention = ag_mha_new(block->module.ctx, config);
    ag_module_add_part(&block->module, name, ag_mha_module(attention));
    return attention;
}

/* norm1 and attn; norm_cross and cross, which has only those options of attn that do not depend on positions. */
static void block_add_attentions(ag_block *block, const ag_block_config *c)
{
    ag_mha_config attention = {
        .emb_size = c->emb_size,
        .num_heads = c->num_heads,
        .head_size = c->head_size,
        .max_seq_len = c->max_seq_len,
        .dropout = c->dropout,
        .non_causal = c->non_causal,
        .no_bias = c->no_bias || c->no_attn_bias,
        .attention = c->attention,
        .init_std = c->init_std,
        .out_init_std = c->out_init_std,
        .dtype = c->dtype,
    };
    block->norm1 = block_add_norm(block, "norm1", c);
    block->attn = block_add_attention(block, "attn", attention);
    if (!c->cross)
        return;
    attention.max_seq_len = 0;
    attention.non_causal = true;
    attention.key_size = attention.value_size = c->memory_size;
    attention.attention = (ag_attention_options){
        .kv_heads = c->attention.kv_heads,
        .scale = c->attention.scale,
        .soft_cap = c->attention.soft_cap,
        .qk_norm = c->attention.qk_norm,
        .qk_norm_eps = c->attention.qk_norm_eps,
        .no_proj_bias = c->attention.no_proj_bias,
    };
    block->norm_cross = block_add_norm(block, "norm_cross", c);
    block->cross = block_add_attention(block, "cross", attention);
}

static void block_add_feed_forward(ag_block *block, const ag_block_config *c)
{
    if (!c->one_norm)
        block->norm2 = block_add_norm(block, "norm2", c);
    block->ff = ag_feed_forward_new(block->module.ctx, (ag_feed_forward_config){
        .emb_size = c->emb_size,
        .ff_size = c->ff_size,
        .activation = c->activation,
        .gated = c->gated,
        .inner_dropout = c->ff_dropout,
        .dropout = c->dropout,
        .no_bias = c->no_bias || c->no_ff_bias,
        .init_std = c->init_std,
        .out_init_std = c->out_init_std,
        .dtype = c->dtype,
    });
    ag_module_add_part(&block->module, "ff", ag_feed_forward_module(block->ff));
}

ag_block *ag_block_new(ag_ctx *ctx, ag_block_config config)
{
    if (ctx == NULL || !ag_check_probability(ctx, block_kind, "ff_dropout", config.ff_dropout))
        return NULL;
    if (!config.cross && config.memory_size != 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, block_kind, "memory_size is %" PRId64 ", but cross is false",
                       config.memory_size);
    if (config.parallel && (config.post_norm || config.cross))
        return ag_fail(ctx, AG_ERR_ARGUMENT, block_kind, "parallel and %s are both set",
                       config.post_norm ? "post_norm" : "cross");
    if (config.one_norm && !config.parallel)
        return ag_fail(ctx, AG_ERR_ARGUMENT, block_kind, "one_norm is set, but parallel is false");
    ag_block *block = ag_module_new(ctx, block_kind, sizeof *block);
    if (block == NULL)
        return NULL;
    block->dropout = config.dropout;
    block->post_norm = config.post_norm;
    block->parallel = config.parallel;
    block->one_norm = config.one_norm;
    block_add_attentions(block, &config);
    block_add_feed_forward(block, &config);
    return ag_module_made(&block->module);
}

/* residual + dropout(attention(x)) */
static ag_tensor *block_attend(ag_block *block, ag_mha *attention, ag_tensor *x, ag_attend with, ag_tensor *residual)
{
    if (!ag_module_drops(&block->module) || block->dropout == 0)
        return ag_mha_forward_onto(attention, x, with, residual);
    return ag_add(residual,
                  ag_module_dropout(&block->module, ag_mha_forward_with(attention, x, with), block->dropout));
}

/* The inputs of the cross-attention. A cache keeps the keys and values of memory. */
static ag_attend block_over_memory(const ag_block_inputs *with)
{
    return (ag_attend){ .memory = with->memory, .mask = with->memory_mask, .cache = with->attn.cache,
                        .layer = with->attn.layer };
}

static bool block_check_memory(const ag_block *block, const ag_block_inputs *with)
{
    const bool masked = with->memory_mask.causal || ag_mask_given(&with->memory_mask) != 0;
    if (block->cross != NULL ? with->memory != NULL : with->memory == NULL && !masked)
        return true;
    ag_fail(block->module.ctx, AG_ERR_ARGUMENT, block_kind,
            block->cross != NULL ? "memory is NULL; a block with cross requires it"
                                 : "%s is given, but the block has no cross-attention",
            with->memory != NULL ? "memory" : "memory_mask");
    return false;
}

static ag_tensor *block_run(ag_block *block, ag_tensor *x, const ag_block_inputs *with)
{
    if (block->post_norm) {
        x = ag_norm_forward(block->norm1, block_attend(block, block->attn, x, with->attn, x));
        if (block->cross != NULL)
            x = ag_norm_forward(block->norm_cross, block_attend(block, block->cross, x, block_over_memory(with), x));
        return ag_norm_forward(block->norm2, ag_feed_forward_onto(block->ff, x, x));
    }
    ag_tensor *normed = ag_norm_forward(block->norm1, x), *before = x;
    x = block_attend(block, block->attn, normed, with->attn, x);
    if (block->parallel)
        return ag_feed_forward_onto(block->ff, block->one_norm ? normed : ag_norm_forward(block->norm2, before), x);
    if (block->cross != NULL)
        x = block_attend(block, block->cross, ag_norm_forward(block->norm_cross, x), block_over_memory(with), x);
    return ag_feed_forward_onto(block->ff, ag_norm_forward(block->norm2, x), x);
}

ag_tensor *ag_block_forward_with(ag_block *block, ag_tensor *x, ag_block_inputs with)
{
    if (block == NULL || x == NULL)
        return NULL;
    ag_module_begin(&block->module);
    return ag_scope_end(block->module.ctx, block_check_memory(block, &with) ? block_run(block, x, &with) : NULL);
}

ag_tensor *ag_block_forward(ag_block *block, ag_tensor *x)
{
    return ag_block_forward_with(block, x, (ag_block_inputs){ .memory = NULL });
}

ag_mha *ag_block_attn(ag_block *block)
{
    return block == NULL ? NULL : block->attn;
}

ag_mha *ag_block_cross(ag_block *block)
{
    return block == NULL ? NULL : block->cross;
}

ag_module *ag_block_module(ag_block *block) { return (ag_module *)block; }
void ag_block_free(ag_block *block) { ag_module_free((ag_module *)block); }
