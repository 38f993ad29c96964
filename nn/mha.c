/* SPDX-License-Identifier: MIT
 *
 * mha.c - multi-head attention: the heads of self_attention.c, joined by proj.
 * x[B,T,emb], q, k, v[H*D,emb], proj[emb,H*D] -> [B,T,emb].
 */
#include "nn/self_attention_impl.h"

#include <inttypes.h>

static const char kind[] = "mha";

struct ag_mha {
    ag_self_attention attention;
    ag_linear_layer *proj;
};

/* head_size 0 becomes emb_size / num_heads. */
static bool fill_head_size(ag_ctx *ctx, ag_mha_config *config)
{
    if (config->head_size != 0)
        return true;
    if (!ag_check_size(ctx, kind, "emb_size", config->emb_size) ||
        !ag_check_size(ctx, kind, "num_heads", config->num_heads))
        return false;
    config->head_size = config->emb_size / config->num_heads;
    if (config->head_size * config->num_heads == config->emb_size)
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, kind,
            "emb_size %" PRId64 " is not divisible by num_heads %" PRId64 "; give head_size", config->emb_size,
            config->num_heads);
    return false;
}

ag_mha *ag_mha_new(ag_ctx *ctx, ag_mha_config config)
{
    if (ctx == NULL || !fill_head_size(ctx, &config))
        return NULL;
    ag_mha *layer = ag_self_attention_new(ctx, kind, sizeof *layer, config);
    if (layer == NULL)
        return NULL;
    ag_module *module = &layer->attention.module;
    layer->proj = ag_linear_new(ctx, (ag_linear_config){
        .in_features = config.num_heads * config.head_size,
        .out_features = config.emb_size,
        .no_bias = config.no_bias,
        .init_std = config.out_init_std > 0 ? config.out_init_std : config.init_std,
        .dtype = config.dtype,
    });
    ag_module_add_part(module, "proj", ag_linear_module(layer->proj));
    return ag_module_made(module);
}

ag_tensor *ag_mha_forward(ag_mha *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->attention.module);
    ag_tensor *o = ag_self_attention_forward(&layer->attention, x);
    return ag_scope_end(layer->attention.module.ctx, ag_linear_forward(layer->proj, o));
}

ag_tensor *ag_mha_weights(ag_mha *layer)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->attention.module);
    return ag_scope_end(layer->attention.module.ctx, ag_self_attention_weights(&layer->attention));
}

ag_module *ag_mha_module(ag_mha *layer)
{
    return layer == NULL ? NULL : &layer->attention.module;
}

void ag_mha_free(ag_mha *layer)
{
    ag_module_free(ag_mha_module(layer));
}
