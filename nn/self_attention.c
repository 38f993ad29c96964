/* SPDX-License-Identifier: MIT
 *
 * self_attention.c - heads that attend in parallel, for head_attention and mha.
 *
 *     Q, K, V = q(x), k(x), v(x)   [B,T,H*D], seen as [B,H,T,D]: head h has columns h*D .. (h+1)*D - 1
 *     O = softmax(Q K^T / sqrt(D), where the mask allows) V   [B,H,T,D], seen as [B,T,H*D]
 *
 * Both changes of shape are views: attention reads and writes through strides. Q, K and the log-sum-exp of the
 * last forward stay for the weights until the next one begins, so that it finds their memory in the cache.
 */
#include "nn/self_attention_impl.h"

#include <inttypes.h>

static void forget_last(ag_module *module)
{
    ag_self_attention *layer = (ag_self_attention *)module;
    ag_release(layer->queries);
    ag_release(layer->keys);
    ag_release(layer->lse);
    layer->queries = layer->keys = layer->lse = NULL;
}

void *ag_self_attention_new(ag_ctx *ctx, const char *kind, size_t size, ag_mha_config config)
{
    if (!ag_check_size(ctx, kind, "emb_size", config.emb_size) ||
        !ag_check_size(ctx, kind, "num_heads", config.num_heads) ||
        !ag_check_size(ctx, kind, "head_size", config.head_size) ||
        !ag_check_size(ctx, kind, "max_seq_len", config.max_seq_len) ||
        !ag_check_probability(ctx, kind, "dropout", config.dropout) ||
        !ag_check_amount(ctx, kind, "init_std", config.init_std) ||
        !ag_check_amount(ctx, kind, "out_init_std", config.out_init_std) || !ag_check_real(ctx, kind, config.dtype))
        return NULL;
    ag_self_attention *layer = ag_module_new(ctx, kind, size);
    if (layer == NULL)
        return NULL;
    layer->module.forget = forget_last;
    layer->emb_size = config.emb_size;
    layer->num_heads = config.num_heads;
    layer->head_size = config.head_size;
    layer->max_seq_len = config.max_seq_len;
    layer->dropout = config.dropout;
    layer->mask = (ag_mask){ .causal = !config.non_causal };
    ag_linear_config linear = { .in_features = config.emb_size, .out_features = config.num_heads * config.head_size,
                                .no_bias = config.no_bias, .init_std = config.init_std, .dtype = config.dtype };
    const char *const name[] = { "q", "k", "v" };
    ag_linear_layer **const part[] = { &layer->q, &layer->k, &layer->v };
    for (int i = 0; i < 3; i++) {
        *part[i] = ag_linear_new(ctx, linear);
        ag_module_add_part(&layer->module, name[i], ag_linear_module(*part[i]));
    }
    return ag_module_made(&layer->module);
}

/* [B,T,H*D] -> [B,H,T,D] */
static ag_tensor *split_heads(const ag_self_attention *layer, ag_tensor *x)
{
    ag_tensor *split = ag_reshape(x, AG_SHAPE(ag_dim(x, 0), ag_dim(x, 1), layer->num_heads, layer->head_size));
    return ag_transpose(split, 1, 2);
}

/* [B,H,T,D] -> [B,T,H*D] */
static ag_tensor *merge_heads(const ag_self_attention *layer, ag_tensor *o)
{
    ag_tensor *beside = ag_transpose(o, 1, 2);
    return ag_reshape(beside, AG_SHAPE(ag_dim(o, 0), ag_dim(o, 2), layer->num_heads * layer->head_size));
}

static bool check_input(const ag_self_attention *layer, const ag_tensor *x)
{
    const ag_module *module = &layer->module;
    if (x == NULL)
        return false;
    if (x->ndim != 3 || x->shape[2] != layer->emb_size)
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind, "x is %s, must be [B,T,%" PRId64 "]", ag_shape_text(x),
                layer->emb_size);
    else if (x->shape[1] > layer->max_seq_len)
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind,
                "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64, x->shape[1], layer->max_seq_len);
    else
        return true;
    return false;
}

ag_tensor *ag_self_attention_forward(ag_self_attention *layer, ag_tensor *x)
{
    forget_last(&layer->module);
    if (!check_input(layer, x))
        return NULL;
    ag_tensor *q = split_heads(layer, ag_linear_forward(layer->q, x));
    ag_tensor *k = split_heads(layer, ag_linear_forward(layer->k, x));
    ag_tensor *v = split_heads(layer, ag_linear_forward(layer->v, x));
    ag_tensor *lse = NULL;
    ag_sdpa_config config = { .mask = layer->mask, .lse = &lse };
    if (ag_module_drops(&layer->module))
        config.dropout = layer->dropout;
    ag_tensor *o = ag_sdpa(q, k, v, config);
    if (o == NULL)
        return NULL;
    layer->queries = ag_retain(q);
    layer->keys = ag_retain(k);
    layer->lse = ag_retain(lse);
    return merge_heads(layer, o);
}

ag_tensor *ag_self_attention_weights(ag_self_attention *layer)
{
    const ag_module *module = &layer->module;
    if (layer->lse == NULL)
        return ag_fail(module->ctx, AG_ERR_STATE, module->kind, "there are no weights: the layer has not run");
    return ag_sdpa_weights(layer->queries, layer->keys, layer->lse, (ag_sdpa_config){ .mask = layer->mask });
}
