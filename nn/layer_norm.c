/* SPDX-License-Identifier: MIT
 *
 * layer_norm.c - the layer norm layer, over the last dim. x[..,size], weight[size], bias[size] -> [..,size].
 */
#include "nn/module_impl.h"

static const char kind[] = "layer_norm";

struct ag_layer_norm_layer {
    ag_module module;
    ag_tensor *weight, *bias; /* bias NULL: none */
    double eps;
};

ag_layer_norm_layer *ag_layer_norm_new(ag_ctx *ctx, ag_layer_norm_config config)
{
    if (ctx == NULL || !ag_check_size(ctx, kind, "size", config.size) ||
        !ag_check_amount(ctx, kind, "eps", config.eps) || !ag_check_real(ctx, kind, config.dtype))
        return NULL;
    ag_layer_norm_layer *layer = ag_module_new(ctx, kind, sizeof *layer);
    if (layer == NULL)
        return NULL;
    layer->eps = config.eps > 0 ? config.eps : 1e-5;
    layer->weight = ag_module_add_param(&layer->module, "weight", config.dtype, AG_SHAPE(config.size),
                                        (ag_init){ AG_INIT_CONSTANT, 1 });
    if (!config.no_bias)
        layer->bias = ag_module_add_param(&layer->module, "bias", config.dtype, AG_SHAPE(config.size),
                                          (ag_init){ AG_INIT_CONSTANT, 0 });
    return ag_module_made(&layer->module);
}

ag_tensor *ag_layer_norm_forward(ag_layer_norm_layer *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->module);
    return ag_scope_end(layer->module.ctx, ag_layer_norm(x, layer->weight, layer->bias, layer->eps));
}

ag_module *ag_layer_norm_module(ag_layer_norm_layer *layer)
{
    return layer == NULL ? NULL : &layer->module;
}

void ag_layer_norm_free(ag_layer_norm_layer *layer)
{
    ag_module_free(ag_layer_norm_module(layer));
}
