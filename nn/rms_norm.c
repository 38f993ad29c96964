/* SPDX-License-Identifier: MIT
 *
 * rms_norm.c - the RMS norm layer, over the last dim. x[..,size], weight[size] -> [..,size].
 */
#include "nn/module_impl.h"

static const char kind[] = "rms_norm";

struct ag_rms_norm_layer {
    ag_module module;
    ag_tensor *weight;
    double eps;
};

ag_rms_norm_layer *ag_rms_norm_new(ag_ctx *ctx, ag_rms_norm_config config)
{
    if (ctx == NULL || !ag_check_size(ctx, kind, "size", config.size) ||
        !ag_check_amount(ctx, kind, "eps", config.eps) || !ag_check_real(ctx, kind, config.dtype))
        return NULL;
    ag_rms_norm_layer *layer = ag_module_new(ctx, kind, sizeof *layer);
    if (layer == NULL)
        return NULL;
    layer->eps = config.eps > 0 ? config.eps : 1e-6;
    layer->weight = ag_module_add_param(&layer->module, "weight", config.dtype, AG_SHAPE(config.size),
                                        (ag_init){ AG_INIT_CONSTANT, 1 });
    return ag_module_made(&layer->module);
}

ag_tensor *ag_rms_norm_forward(ag_rms_norm_layer *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->module);
    return ag_scope_end(layer->module.ctx, ag_rms_norm(x, layer->weight, layer->eps));
}

ag_module *ag_rms_norm_module(ag_rms_norm_layer *layer)
{
    return layer == NULL ? NULL : &layer->module;
}

void ag_rms_norm_free(ag_rms_norm_layer *layer)
{
    ag_module_free(ag_rms_norm_module(layer));
}
