/* SPDX-License-Identifier: MIT
 *
 * attention_call.c - one call of an attention layer checked: shapes, options, cache, and the mask of layer and call.
 */
#include "autograd/mask_impl.h"
#include "nn/attention_impl.h"

#include <inttypes.h>

static bool attention_check_shapes(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with)
{
    const ag_module *module = &layer->module;
    const ag_mha_config *config = &layer->config;
    ag_ctx *ctx = module->ctx;
    if (x->ndim != 3 || x->shape[2] != config->emb_size) {
        ag_fail(ctx, AG_ERR_SHAPE, module->kind, "x is %s, must be [B,T,%" PRId64 "]", ag_shape_text(x),
                config->emb_size);
        return false;
    }
    const ag_tensor *keys = with->memory != NULL ? with->memory : x;
    const ag_tensor *values = with->values != NULL ? with->values : keys;
    if (keys->ndim != 3 || keys->shape[0] != x->shape[0] || keys->shape[2] != config->key_size)
        ag_fail(ctx, AG_ERR_SHAPE, module->kind, "%s %s, must be [%" PRId64 ",S,%" PRId64 "]",
                with->memory != NULL ? "memory is" : "without memory keys come from x, which is", ag_shape_text(keys),
                x->shape[0], config->key_size);
    else if (values->ndim != 3 || values->shape[0] != x->shape[0] || values->shape[1] != keys->shape[1] ||
             values->shape[2] != config->value_size)
        ag_fail(ctx, AG_ERR_SHAPE, module->kind,
                "values are made of %s, must be [%" PRId64 ",%" PRId64 ",%" PRId64 "]", ag_shape_text(values),
                x->shape[0], keys->shape[1], config->value_size);
    else
        return true;
    return false;
}

static bool attention_check_call(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with)
{
    const ag_module *module = &layer->module;
    const ag_mha_config *config = &layer->config;
    ag_ctx *ctx = module->ctx;
    if (!attention_check_shapes(layer, x, with))
        return false;
    if (with->cache == NULL && config->max_seq_len != 0 && x->shape[1] > config->max_seq_len)
        ag_fail(ctx, AG_ERR_SHAPE, module->kind,
                "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64, x->shape[1], config->max_seq_len);
    else if (with->positions != NULL && config->attention.rotary == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, module->kind, "positions are given, and the layer is not rotary");
    else if (with->counts != NULL && with->cache == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, module->kind, "counts are given without a cache");
    else
        return true;
    return false;
}

/* Joins the masks of layer and call. A field that both give, or that a call with a cache can not have, is an error that
 * names the first such field. */
static bool attention_join_masks(const ag_attention_layer *layer, const ag_attend *with, ag_mask *mask)
{
    const ag_module *module = &layer->module;
    const ag_mask *own = &layer->config.attention.mask;
    const unsigned of_layer = ag_mask_given(own), of_call = ag_mask_given(&with->mask);
    const bool self = with->cache != NULL && with->memory == NULL;
    unsigned refused = of_layer & of_call;
    const char *why = "is given by the layer and by this call";
    if (refused == 0 && with->cache != NULL) {
        refused = self && of_call != 0 ? of_call : (of_layer | of_call) & ag_mask_refused(with->memory != NULL);
        why = self && of_call != 0 ? "of a call is not supported with a cache" : "is not supported with a cache";
    }
    *mask = ag_mask_join(own, &with->mask);
    if (self)
        mask->align = AG_TOP_LEFT; /* without a cache there are as many keys as queries, and align has no effect */
    if (refused != 0)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "mask.%s %s", ag_mask_field_name(refused), why);
    return refused == 0;
}

static bool attention_check_cache(const ag_attention_layer *layer, const ag_attend *with, const ag_kv_pass *pass,
                                  int64_t B)
{
    const ag_module *module = &layer->module;
    const char *wrong = NULL;
    if (with->memory == NULL && layer->config.non_causal)
        wrong = "a cache is for causal self-attention, and the layer is non_causal";
    else if (with->memory == NULL && with->values != NULL)
        wrong = "values are not supported with a cache";
    else if (with->memory == NULL && with->bias != NULL)
        wrong = "bias is not supported with a cache";
    if (wrong == NULL)
        return with->cache->check(pass, B);
    ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "%s", wrong);
    return false;
}

bool ag_attention_check(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with, ag_mask *mask,
                        ag_kv_pass *pass)
{
    if (!attention_check_call(layer, x, with) || !attention_join_masks(layer, with, mask))
        return false;
    const bool windowed = mask->global == 0 && mask->stride == 0 && mask->blocks == NULL;
    *pass = (ag_kv_pass){ .cache = with->cache, .kind = layer->module.kind, .layer = with->layer, .T = x->shape[1],
                          .counts = with->counts, .max_seq_len = layer->config.max_seq_len, .memory = with->memory,
                          .back = windowed ? mask->back : 0 };
    return with->cache == NULL || attention_check_cache(layer, with, pass, x->shape[0]);
}
