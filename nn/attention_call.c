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

bool ag_attention_check(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with, ag_mask *mask)
{
    const ag_module *module = &layer->module;
    const ag_mask *own = &layer->config.attention.mask;
    const unsigned twice = ag_mask_given(own) & ag_mask_given(&with->mask);
    if (!attention_check_call(layer, x, with))
        return false;
    *mask = ag_mask_join(own, &with->mask);
    if (twice != 0)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "mask.%s is given by the layer and by this call",
                ag_mask_field_name(twice));
    return twice == 0 && (with->cache == NULL || with->cache->check(layer, x, with, mask));
}
