/* SPDX-License-Identifier: MIT
 *
 * linear.c - the linear layer, y = x W^T + b. x[..,in], weight[out,in], bias[out] -> [..,out].
 *
 * Bound and distribution of the first values as in torch.nn.Linear: uniform in +-1/sqrt(in), for both.
 */
#include "nn/layers_impl.h"

#include <math.h>

static const char linear_kind[] = "linear";

ag_linear_layer *ag_linear_new(ag_ctx *ctx, ag_linear_config config)
{
    if (ctx == NULL || !ag_check_size(ctx, linear_kind, "in_features", config.in_features) ||
        !ag_check_size(ctx, linear_kind, "out_features", config.out_features) ||
        !ag_check_amount(ctx, linear_kind, "init_std", config.init_std) ||
        !ag_check_real(ctx, linear_kind, config.dtype))
        return NULL;
    ag_linear_layer *layer = ag_module_new(ctx, linear_kind, sizeof *layer);
    if (layer == NULL)
        return NULL;
    int64_t in = config.in_features, out = config.out_features;
    ag_init of_weight = { AG_INIT_UNIFORM, 1 / sqrt((double)in) }, of_bias = of_weight;
    if (config.init_std > 0) {
        of_weight = (ag_init){ AG_INIT_NORMAL, config.init_std };
        of_bias = (ag_init){ AG_INIT_CONSTANT, 0 };
    }
    layer->weight = ag_module_add_param(&layer->module, "weight", config.dtype, AG_SHAPE(out, in), of_weight);
    if (!config.no_bias)
        layer->bias = ag_module_add_param(&layer->module, "bias", config.dtype, AG_SHAPE(out), of_bias);
    return ag_module_made(&layer->module);
}

ag_tensor *ag_linear_forward(ag_linear_layer *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->module);
    return ag_scope_end(layer->module.ctx, ag_linear(x, layer->weight, layer->bias));
}

ag_linear_args ag_linear_args_of(const ag_linear_layer *layer, ag_tensor *x)
{
    return (ag_linear_args){ .x = x, .w = layer->weight, .bias = layer->bias, .module = layer->module.name };
}

ag_linear_layer *ag_linear_add(ag_module *module, const char *name, int64_t in, int64_t out, ag_linear_config config)
{
    config.in_features = in;
    config.out_features = out;
    ag_linear_layer *part = ag_linear_new(module->ctx, config);
    ag_module_add_part(module, name, ag_linear_module(part));
    return part;
}

ag_module *ag_linear_module(ag_linear_layer *layer) { return (ag_module *)layer; }
void ag_linear_free(ag_linear_layer *layer) { ag_module_free((ag_module *)layer); }
