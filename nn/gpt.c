/* SPDX-License-Identifier: MIT
 *
 * gpt.c - a causal language model. tokens[B,T] -> logits[B,T,V].
 *
 *     x = drop(tok[tokens] + pos[0 .. T-1])   [B,T,C]
 *     x = block(x), num_layers times
 *     logits = norm(x) W^T                    W[V,C]: the token table, or the untied head's own weight
 */
#include "nn/layers_impl.h"

#include <inttypes.h>
#include <math.h>

static const char kind[] = "gpt";

#define INIT_STD 0.02

struct ag_gpt {
    ag_module module;
    ag_gpt_config config;
    ag_embedding_layer *tok, *pos;
    ag_layer_norm_layer *norm;
    ag_linear_layer *head; /* NULL: tied */
    ag_decoder_block *block[]; /* num_layers */
};

/* What the parts can not check for themselves, or would name differently; and the defaults. */
static bool check_config(ag_ctx *ctx, ag_gpt_config *config)
{
    if (!ag_check_size(ctx, kind, "vocab_size", config->vocab_size) ||
        !ag_check_size(ctx, kind, "max_seq_len", config->max_seq_len) ||
        !ag_check_size(ctx, kind, "emb_size", config->emb_size) ||
        !ag_check_size(ctx, kind, "num_heads", config->num_heads) ||
        !ag_check_size(ctx, kind, "num_layers", config->num_layers) ||
        !ag_check_probability(ctx, kind, "dropout", config->dropout) || !ag_check_real(ctx, kind, config->dtype))
        return false;
    if (config->head_size == 0 && config->emb_size % config->num_heads == 0)
        config->head_size = config->emb_size / config->num_heads;
    if (config->ff_size == 0)
        config->ff_size = 4 * config->emb_size;
    if (config->norm_eps == 0)
        config->norm_eps = 1e-5;
    return true;
}

static void add_blocks(ag_gpt *gpt)
{
    const ag_gpt_config *c = &gpt->config;
    ag_decoder_block_config config = {
        .emb_size = c->emb_size,
        .num_heads = c->num_heads,
        .head_size = c->head_size,
        .max_seq_len = c->max_seq_len,
        .ff_size = c->ff_size,
        .activation = c->activation,
        .dropout = c->dropout,
        .norm_eps = c->norm_eps,
        .no_bias = c->no_bias,
        .post_norm = c->post_norm,
        .init_std = INIT_STD,
        .out_init_std = INIT_STD / sqrt(2 * (double)c->num_layers),
        .dtype = c->dtype,
    };
    for (int64_t i = 0; i < c->num_layers && !gpt->module.failed; i++) {
        char name[32];
        snprintf(name, sizeof name, "blocks.%" PRId64, i);
        gpt->block[i] = ag_decoder_block_new(gpt->module.ctx, config);
        ag_module_add_part(&gpt->module, name, ag_decoder_block_module(gpt->block[i]));
    }
}

ag_gpt *ag_gpt_new(ag_ctx *ctx, ag_gpt_config config)
{
    if (ctx == NULL || !check_config(ctx, &config))
        return NULL;
    ag_gpt *gpt = ag_module_new(ctx, kind, sizeof *gpt + (size_t)config.num_layers * sizeof gpt->block[0]);
    if (gpt == NULL)
        return NULL;
    gpt->config = config;
    ag_module *module = &gpt->module;
    int64_t V = config.vocab_size, C = config.emb_size;
    gpt->tok = ag_embedding_new(ctx, (ag_embedding_config){ V, C, INIT_STD, config.dtype });
    ag_module_add_part(module, "tok", ag_embedding_module(gpt->tok));
    gpt->pos = ag_embedding_new(ctx, (ag_embedding_config){ config.max_seq_len, C, INIT_STD, config.dtype });
    ag_module_add_part(module, "pos", ag_embedding_module(gpt->pos));
    add_blocks(gpt);
    gpt->norm = ag_layer_norm_new(ctx, (ag_layer_norm_config){ C, config.norm_eps, config.no_bias, config.dtype });
    ag_module_add_part(module, "norm", ag_layer_norm_module(gpt->norm));
    if (config.untied_head) {
        gpt->head = ag_linear_new(ctx, (ag_linear_config){ C, V, true, INIT_STD, config.dtype });
        ag_module_add_part(module, "head", ag_linear_module(gpt->head));
    }
    return ag_module_made(module);
}

static bool check_tokens(const ag_gpt *gpt, const ag_tensor *tokens)
{
    ag_ctx *ctx = gpt->module.ctx;
    if (tokens == NULL)
        return false;
    if (tokens->ndim != 2)
        ag_fail(ctx, AG_ERR_SHAPE, kind, "tokens is %s, must be [B,T]", ag_shape_text(tokens));
    else if (tokens->shape[1] > gpt->config.max_seq_len)
        ag_fail(ctx, AG_ERR_SHAPE, kind, "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64,
                tokens->shape[1], gpt->config.max_seq_len);
    else
        return true;
    return false;
}

static ag_tensor *run_block(ag_ctx *ctx, ag_tensor *const *x, int count, void *block)
{
    (void)ctx, (void)count;
    return ag_decoder_block_forward(block, x[0]);
}

ag_tensor *ag_gpt_forward(ag_gpt *gpt, ag_tensor *tokens)
{
    if (gpt == NULL || !check_tokens(gpt, tokens))
        return NULL;
    ag_module_begin(&gpt->module);
    ag_tensor *positions = ag_slice(gpt->pos->weight, 0, 0, tokens->shape[1], 1);
    ag_tensor *x = ag_add(ag_embedding_forward(gpt->tok, tokens), positions);
    x = ag_module_dropout(&gpt->module, x, gpt->config.dropout);
    for (int64_t i = 0; i < gpt->config.num_layers; i++)
        x = gpt->config.recompute ? ag_recompute(gpt->module.ctx, run_block, &x, 1, gpt->block[i])
                                  : ag_decoder_block_forward(gpt->block[i], x);
    x = ag_layer_norm_forward(gpt->norm, x);
    ag_tensor *logits = gpt->head != NULL ? ag_linear_forward(gpt->head, x) : ag_linear(x, gpt->tok->weight, NULL);
    return ag_scope_end(gpt->module.ctx, logits);
}

ag_decoder_block *ag_gpt_block(ag_gpt *gpt, int64_t i)
{
    return gpt == NULL || i < 0 || i >= gpt->config.num_layers ? NULL : gpt->block[i];
}

const ag_gpt_config *ag_gpt_config_of(const ag_gpt *gpt)
{
    return gpt == NULL ? NULL : &gpt->config;
}

ag_module *ag_gpt_module(ag_gpt *gpt)
{
    return gpt == NULL ? NULL : &gpt->module;
}

void ag_gpt_free(ag_gpt *gpt)
{
    ag_module_free(ag_gpt_module(gpt));
}
