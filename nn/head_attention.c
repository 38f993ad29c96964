/* SPDX-License-Identifier: MIT
 *
 * head_attention.c - one attention head. x[B,T,emb], q, k, v[D,emb] -> [B,T,D].
 *
 * It is the mha's arithmetic with H = 1 and without proj (see attention.c).
 */
#include "nn/attention_impl.h"

ag_head_attention *ag_head_attention_new(ag_ctx *ctx, ag_head_attention_config config)
{
    if (ctx == NULL)
        return NULL;
    ag_mha_config one_head = {
        .emb_size = config.emb_size,
        .num_heads = 1,
        .head_size = config.head_size,
        .max_seq_len = config.max_seq_len,
        .dropout = config.dropout,
        .non_causal = config.non_causal,
        .no_bias = config.no_bias,
        .attention = config.attention,
        .init_std = config.init_std,
        .dtype = config.dtype,
    };
    return ag_attention_new(ctx, "head_attention", sizeof(ag_head_attention), one_head);
}

ag_tensor *ag_head_attention_forward(ag_head_attention *layer, ag_tensor *x)
{
    return ag_head_attention_forward_with(layer, x, (ag_attend){ 0 });
}

ag_tensor *ag_head_attention_forward_with(ag_head_attention *layer, ag_tensor *x, ag_attend with)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->attention.module);
    return ag_scope_end(layer->attention.module.ctx, ag_attention_forward(&layer->attention, x, &with));
}

ag_module *ag_head_attention_module(ag_head_attention *layer) { return (ag_module *)layer; }
void ag_head_attention_free(ag_head_attention *layer) { ag_module_free((ag_module *)layer); }
