/* SPDX-License-Identifier: MIT
 *
 * mha.c - multi-head attention: the heads of attention.c, joined by proj.
 * x[B,T,emb], q[H*D,emb], k[Hk*D,key_size], v[Hk*Dv,value_size], proj[emb,H*Dv] -> [B,T,emb].
 */
#include "nn/attention_impl.h"
#include "nn/layers_impl.h"

#include <inttypes.h>

static const char mha_kind[] = "mha";

/* head_size 0 becomes emb_size / num_heads. */
static bool mha_fill_head_size(ag_ctx *ctx, ag_mha_config *config)
{
    if (config->head_size != 0)
        return true;
    if (!ag_check_size(ctx, mha_kind, "emb_size", config->emb_size) ||
        !ag_check_size(ctx, mha_kind, "num_heads", config->num_heads))
        return false;
    config->head_size = config->emb_size / config->num_heads;
    return config->head_size * config->num_heads == config->emb_size ||
           ag_fail(ctx, AG_ERR_ARGUMENT, mha_kind,
                   "emb_size %" PRId64 " is not divisible by num_heads %" PRId64 "; give head_size", config->emb_size,
                   config->num_heads);
}

ag_mha *ag_mha_new(ag_ctx *ctx, ag_mha_config config)
{
    if (ctx == NULL || !mha_fill_head_size(ctx, &config))
        return NULL;
    ag_mha *layer = ag_attention_new(ctx, mha_kind, sizeof *layer, config);
    if (layer == NULL)
        return NULL;
    const ag_linear_config linear = { .no_bias = config.no_bias || config.attention.no_proj_bias,
                                      .dtype = config.dtype,
                                      .init_std = config.out_init_std > 0 ? config.out_init_std : config.init_std };
    layer->proj = ag_linear_add(&layer->attention.module, "proj",
                                config.num_heads * layer->attention.config.value_head_size, config.emb_size, linear);
    return ag_module_made(&layer->attention.module);
}

ag_tensor *ag_mha_forward(ag_mha *layer, ag_tensor *x)
{
    return ag_mha_forward_onto(layer, x, (ag_attend){ 0 }, NULL);
}

ag_tensor *ag_mha_forward_with(ag_mha *layer, ag_tensor *x, ag_attend with)
{
    return ag_mha_forward_onto(layer, x, with, NULL);
}

ag_tensor *ag_mha_forward_onto(ag_mha *layer, ag_tensor *x, ag_attend with, ag_tensor *residual)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->attention.module);
    ag_tensor *o = ag_attention_forward(&layer->attention, x, &with), *y = NULL;
    ag_linear_args join = ag_linear_args_of(layer->proj, o);
    join.residual = residual;
    ag_linear_list(layer->attention.module.ctx, 1, &join, &y);
    return ag_scope_end(layer->attention.module.ctx, y);
}

ag_module *ag_mha_module(ag_mha *layer) { return (ag_module *)layer; }
void ag_mha_free(ag_mha *layer) { ag_module_free((ag_module *)layer); }
