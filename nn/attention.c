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
#include "nn/attention_impl.h"
#include "nn/layers_impl.h"
#include "nn/norm_impl.h"

#include <inttypes.h>
#include <string.h>

/* ---- Making and freeing ---- */

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

static void attention_forget(ag_module *module)
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

static int64_t attention_size(int64_t size, int64_t otherwise) { return size != 0 ? size : otherwise; }

/* Fills in the defaults and checks every field. */
static bool attention_fill_config(ag_ctx *ctx, const char *kind, ag_mha_config *config)
{
    ag_attention_options *options = &config->attention;
    config->key_size = attention_size(config->key_size, config->emb_size);
    config->value_size = attention_size(config->value_size, config->emb_size);
    config->value_head_size = attention_size(config->value_head_size, config->head_size);
    options->kv_heads = attention_size(options->kv_heads, config->num_heads);
#define FITS(rule, in, field) ag_check_##rule(ctx, kind, #field, (in)->field)
    if (!(FITS(size, config, emb_size) && FITS(size, config, num_heads) && FITS(size, config, head_size) &&
          (config->max_seq_len == 0 || FITS(size, config, max_seq_len)) && FITS(size, config, key_size) &&
          FITS(size, config, value_size) && FITS(size, config, value_head_size) && FITS(size, options, kv_heads) &&
          FITS(probability, config, dropout) && FITS(amount, options, scale) && FITS(amount, options, soft_cap) &&
          (options->relative == 0 || FITS(size, options, relative)) && FITS(amount, config, init_std) &&
          FITS(amount, config, out_init_std) && ag_check_real(ctx, kind, config->dtype)))
        return false;
    if (config->num_heads % options->kv_heads != 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind, "kv_heads is %" PRId64 ", must divide num_heads %" PRId64,
                       options->kv_heads, config->num_heads);
    if (options->mask.causal && config->non_causal)
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind, "mask.causal and non_causal are both set");
    options->mask.causal = !config->non_causal;
    return true;
}

void *ag_attention_new(ag_ctx *ctx, const char *kind, size_t size, ag_mha_config config)
{
    ag_attention_layer *layer = attention_fill_config(ctx, kind, &config) ? ag_module_new(ctx, kind, size) : NULL;
    if (layer == NULL)
        return NULL;
    const ag_attention_options *options = &config.attention;
    ag_module *module = &layer->module;
    module->forget = attention_forget;
    layer->config = config;
    ag_tensor *tensor[AG_MASK_TENSORS];
    ag_mask_tensors(&options->mask, tensor);
    for (int i = 0; i < AG_MASK_TENSORS; i++)
        ag_retain(tensor[i]);
    ag_linear_config linear = { .no_bias = config.no_bias, .init_std = config.init_std, .dtype = config.dtype };
    layer->q = ag_linear_add(module, "q", config.emb_size, config.num_heads * config.head_size, linear);
    layer->k = ag_linear_add(module, "k", config.key_size, options->kv_heads * config.head_size, linear);
    layer->v = ag_linear_add(module, "v", config.value_size, options->kv_heads * config.value_head_size, linear);
    if (options->qk_norm) {
        const ag_layer_norm_config norm = { .size = config.head_size, .eps = options->qk_norm_eps,
                                            .dtype = config.dtype };
        layer->q_norm = ag_norm_add(module, "q_norm", AG_RMS_NORM, norm).rms;
        layer->k_norm = ag_norm_add(module, "k_norm", AG_RMS_NORM, norm).rms;
    }
    if (options->relative > 0)
        layer->relative = ag_module_add_param(module, "relative", config.dtype,
                                              AG_SHAPE(config.num_heads, 2 * options->relative + 1),
                                              (ag_init){ AG_INIT_CONSTANT, 0 });
    ag_scope_begin(ctx, NULL);
    module->failed = module->failed || (options->alibi != NULL && !options->alibi->begin(layer)) ||
                     (options->rotary != NULL && !options->rotary->begin(layer));
    ag_scope_end(ctx, NULL);
    return ag_module_made(module);
}

/* ---- Forward ---- */

/* Checks one call, and joins the masks of layer and call. */
static bool attention_check(const ag_attention_layer *layer, const ag_tensor *x, const ag_tensor *keys,
                            const ag_tensor *values, const ag_attend *with, ag_mask *mask)
{
    const char *kind = layer->module.kind;
    const ag_mha_config *config = &layer->config;
    ag_ctx *ctx = layer->module.ctx;
    if (x->ndim != 3 || x->shape[2] != config->emb_size)
        return ag_fail(ctx, AG_ERR_SHAPE, kind, "x is %s, must be [B,T,%" PRId64 "]", ag_shape_text(x),
                       config->emb_size);
    if (keys->ndim != 3 || keys->shape[0] != x->shape[0] || keys->shape[2] != config->key_size)
        return ag_fail(ctx, AG_ERR_SHAPE, kind, "%s %s, must be [%" PRId64 ",S,%" PRId64 "]",
                       with->memory != NULL ? "memory is" : "without memory keys come from x, which is",
                       ag_shape_text(keys), x->shape[0], config->key_size);
    if (values->ndim != 3 || values->shape[0] != x->shape[0] || values->shape[1] != keys->shape[1] ||
        values->shape[2] != config->value_size)
        return ag_fail(ctx, AG_ERR_SHAPE, kind, "values are made of %s, must be [%" PRId64 ",%" PRId64 ",%" PRId64 "]",
                       ag_shape_text(values), x->shape[0], keys->shape[1], config->value_size);
    if (with->cache == NULL && config->max_seq_len != 0 && x->shape[1] > config->max_seq_len)
        return ag_fail(ctx, AG_ERR_SHAPE, kind, "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64,
                       x->shape[1], config->max_seq_len);
    if (with->positions != NULL && config->attention.rotary == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind, "positions are given, and the layer is not rotary");
    if (with->counts != NULL && with->cache == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind, "counts are given without a cache");
    const ag_mask *own = &config->attention.mask;
    const unsigned twice = ag_mask_given(own) & ag_mask_given(&with->mask);
    if (twice != 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind, "mask.%s is given by the layer and by this call",
                       ag_mask_field_name(twice));
    *mask = ag_mask_join(own, &with->mask);
    return with->cache == NULL || with->cache->check(layer, x, with, mask);
}

/* [B,S,heads size] -> [B,heads,S,size]. With one position, as in generation, no dims change places. */
static ag_tensor *attention_split(ag_tensor *y, ag_rms_norm_layer *norm, int64_t heads, int64_t size)
{
    const int64_t B = ag_dim(y, 0), S = ag_dim(y, 1);
    y = S == 1 ? ag_reshape(y, AG_SHAPE(B, heads, 1, size)) : ag_reshape(y, AG_SHAPE(B, S, heads, size));
    if (norm != NULL)
        y = ag_rms_norm_forward(norm, y);
    return S == 1 ? y : ag_transpose(y, 1, 2);
}

ag_tensor *ag_attention_merge(const ag_attention_layer *layer, ag_tensor *o)
{
    const ag_mha_config *config = &layer->config;
    ag_tensor *beside = ag_dim(o, 2) == 1 ? o : ag_transpose(o, 1, 2);
    return ag_reshape(beside, AG_SHAPE(ag_dim(o, 0), ag_dim(o, 2), config->num_heads * config->value_head_size));
}

bool ag_attention_operands_of(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with,
                              ag_attention_operands *in)
{
    const ag_mha_config *config = &layer->config;
    const ag_attention_options *options = &config->attention;
    *in = (ag_attention_operands){ .config = { .scale = options->scale, .soft_cap = options->soft_cap,
                                               .bias = with->bias, .relative = layer->relative } };
    ag_tensor *keys = with->memory != NULL ? with->memory : x, *values = with->values != NULL ? with->values : keys;
    if (x == NULL || !attention_check(layer, x, keys, values, with, &in->config.mask))
        return false;
    ag_tensor *y[3];
    const ag_linear_args project[3] = { ag_linear_args_of(layer->q, x), ag_linear_args_of(layer->k, keys),
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
