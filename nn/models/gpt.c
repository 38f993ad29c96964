/* SPDX-License-Identifier: MIT
 *
 * gpt.c - a causal language model: the transformer of transformer.c with a head. tokens[B,T] -> logits[B,T,V].
 *
 *     logits = hidden W^T, W[V,emb] the table tok or the untied head
 */
#include "nn/models/transformer_impl.h"

struct ag_gpt {
    ag_transformer model;
};

ag_gpt *ag_gpt_new(ag_ctx *ctx, ag_transformer_config config)
{
    return ag_transformer_new(ctx, "gpt", sizeof(ag_gpt), config, (ag_transformer_role){ .head = true });
}

ag_tensor *ag_gpt_forward(ag_gpt *gpt, ag_tensor *tokens)
{
    const ag_transformer_inputs with = { .cache = NULL };
    return gpt == NULL ? NULL : ag_transformer_logits(&gpt->model, tokens, &with);
}

ag_tensor *ag_gpt_forward_cached(ag_gpt *gpt, ag_tensor *tokens, ag_kv_cache *cache, const int64_t *counts)
{
    const ag_transformer_inputs with = { .cache = cache, .counts = counts };
    return gpt == NULL || cache == NULL ? NULL : ag_transformer_logits(&gpt->model, tokens, &with);
}

ag_block *ag_gpt_block(ag_gpt *gpt, int64_t i)
{
    return gpt == NULL ? NULL : ag_transformer_block(&gpt->model, i);
}

const ag_transformer_config *ag_gpt_config_of(const ag_gpt *gpt)
{
    return gpt == NULL ? NULL : &gpt->model.config;
}

ag_module *ag_gpt_module(ag_gpt *gpt) { return (ag_module *)gpt; }
void ag_gpt_free(ag_gpt *gpt) { ag_module_free((ag_module *)gpt); }
