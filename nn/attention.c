/* SPDX-License-Identifier: MIT
 *
 * attention.c - heads that attend in parallel, for head_attention and mha.
 *
 *     Q = q(x)  [B,T,H*D], seen as [B,H,T,D]: head h has columns h*D .. (h+1)*D - 1;  K, V = k(keys), v(values)
 *     O = softmax(scale Q K^T + ..., where the mask allows) V   [B,H,T,Dv], seen as [B,T,H*Dv]
 *
 * Both changes of shape are views: attention reads and writes through strides. The layer keeps what the last forward
 * attended with, for the weights; the next forward drops it first, so that its memory is reused while in the cache.
 */
#include "autograd/mask_impl.h"
#include "nn/attention_impl.h"
#include "nn/layers_impl.h"

#include <string.h>

/* ---- Forward ---------------------------------------------------------------------------------- */

/* [B,S,heads size] -> [B,heads,S,size] */
static ag_tensor *attention_split(ag_tensor *y, ag_rms_norm_layer *norm, int64_t heads, int64_t size)
{
    y = ag_reshape(y, AG_SHAPE(ag_dim(y, 0), ag_dim(y, 1), heads, size));
    if (norm != NULL)
        y = ag_rms_norm_forward(norm, y);
    return ag_transpose(y, 1, 2);
}

ag_tensor *ag_attention_merge(const ag_attention_layer *layer, ag_tensor *o)
{
    const ag_mha_config *config = &layer->config;
    ag_tensor *beside = ag_transpose(o, 1, 2);
    return ag_reshape(beside, AG_SHAPE(ag_dim(o, 0), ag_dim(o, 2), config->num_heads * config->value_head_size));
}

bool ag_attention_operands_of(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with,
                              ag_attention_operands *in)
{
    const ag_mha_config *config = &layer->config;
    const ag_attention_options *options = &config->attention;
    *in = (ag_attention_operands){ .config = { .scale = options->scale, .soft_cap = options->soft_cap,
                                               .bias = with->bias, .relative = layer->relative } };
    if (x == NULL || !ag_attention_check(layer, x, with, &in->config.mask))
        return false;
    ag_tensor *keys = with->memory != NULL ? with->memory : x, *values = with->values != NULL ? with->values : keys;
    ag_tensor *y[3];
    const ag_linear_args project[] = { ag_linear_args_of(layer->q, x), ag_linear_args_of(layer->k, keys),
                                       ag_linear_args_of(layer->v, values) };
    const bool cached = with->cache != NULL && with->memory != NULL && with->cache->memory(with, in);
    if (!ag_linear_list(layer->module.ctx, cached ? 1 : 3, project, y))
        return false;
    in->q = attention_split(y[0], layer->q_norm, config->num_heads, config->head_size);
    if (!cached) {
        in->k = attention_split(y[1], layer->k_norm, options->kv_heads, config->head_size);
        in->v = attention_split(y[2], NULL, options->kv_heads, config->value_head_size);
    }
    if (in->q == NULL || in->k == NULL || in->v == NULL ||
        (options->rotary != NULL && !options->rotary->turn(layer, with, in)) ||
        (with->cache != NULL && !with->cache->join(layer, with, in)))
        return false;
    return options->alibi == NULL || options->alibi->bias(layer, in);
}

uint64_t ag_attention_last(const ag_attention_layer *layer, ag_tensor **t)
{
    const ag_attention_operands *last = &layer->last;
    ag_tensor *const first[] = { last->q, last->k, last->config.bias, last->config.relative, layer->lse };
    uint64_t versions = 0;
    memcpy(t, first, sizeof first);
    ag_mask_tensors(&last->config.mask, t + sizeof first / sizeof *first);
    for (int i = 0; i < AG_ATTENTION_LAST; i++)
        versions += t[i] == NULL ? 0 : t[i]->storage->version;
    return versions;
}

static void attention_drop_last(ag_attention_layer *layer)
{
    ag_tensor *t[AG_ATTENTION_LAST];
    ag_attention_last(layer, t);
    for (int i = 0; i < AG_ATTENTION_LAST; i++)
        ag_release(t[i]);
    layer->last = (ag_attention_operands){ 0 };
    layer->lse = NULL;
}

ag_tensor *ag_attention_forward(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with)
{
    attention_drop_last(layer);
    ag_attention_operands in;
    if (!ag_attention_operands_of(layer, x, with, &in))
        return NULL;
    ag_tensor *lse = NULL, *relative = in.config.relative, *t[AG_ATTENTION_LAST];
    ag_sdpa_config config = in.config;
    config.lse = &lse;
    if (ag_module_drops(&layer->module))
        config.dropout = layer->config.dropout;
    ag_tensor *o = ag_sdpa(in.q, in.k, in.v, config);
    if (layer->relative != NULL) /* a copy for the weights: the optimizer's next step changes the parameter */
        relative = ag_tensor_clone(relative);
    if (o == NULL || (layer->relative != NULL && relative == NULL))
        return NULL;
    layer->last = in;
    layer->last.v = NULL;
    if (ag_recomputing(layer->module.ctx)) /* the purpose of which is to free queries and keys */
        layer->last.q = layer->last.k = NULL;
    layer->last.config.relative = relative;
    layer->lse = lse;
    layer->versions = ag_attention_last(layer, t);
    for (int i = 0; i < AG_ATTENTION_LAST; i++)
        ag_retain(t[i]);
    return ag_attention_merge(layer, o);
}

void ag_attention_forget(ag_module *module)
{
    ag_attention_layer *layer = (ag_attention_layer *)module;
    ag_tensor *mask[AG_MASK_TENSORS];
    attention_drop_last(layer);
    ag_mask_tensors(&layer->config.attention.mask, mask);
    for (int i = 0; i < AG_MASK_TENSORS; i++)
        ag_release(mask[i]);
    for (int i = 0; i < 3; i++)
        ag_release(layer->table[i]);
}
