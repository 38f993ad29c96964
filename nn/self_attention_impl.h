/* SPDX-License-Identifier: MIT
 *
 * self_attention_impl.h - what head_attention and mha share: heads that attend in parallel (private header).
 *
 * The layer's struct begins with an ag_self_attention, which begins with the ag_module.
 */
#ifndef AG_SELF_ATTENTION_IMPL_H
#define AG_SELF_ATTENTION_IMPL_H

#include "nn/module_impl.h"

typedef struct ag_self_attention {
    ag_module module;
    ag_linear_layer *q, *k, *v; /* [H*D,emb] */
    int64_t emb_size, num_heads, head_size, max_seq_len;
    double dropout;
    ag_mask mask;
    /* Of the last forward, for the weights; NULL before. */
    ag_tensor *queries, *keys; /* [B,H,T,D] */
    ag_tensor *lse;            /* [B,H,T] */
} ag_self_attention;

/* A layer's struct of `size` bytes with q, k and v in it; num_heads and head_size are given. NULL on error. */
void *ag_self_attention_new(ag_ctx *ctx, const char *kind, size_t size, ag_mha_config config);

/* x[B,T,emb] -> [B,T,H*D], the heads' outputs side by side. In the caller's scope. */
ag_tensor *ag_self_attention_forward(ag_self_attention *layer, ag_tensor *x);

/* [B,H,T,T] of the last forward. */
ag_tensor *ag_self_attention_weights(ag_self_attention *layer);

#endif
