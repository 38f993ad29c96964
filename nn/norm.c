/* SPDX-License-Identifier: MIT
 *
 * norm.c - layer norm and RMS norm over the last dim; and a norm of either kind, for blocks and models.
 * x[..,size], weight[size], bias[size] -> [..,size].
 */
#include "nn/norm_impl.h"

typedef struct norm_layer {
    ag_module module;
    ag_tensor *weight, *bias; /* bias NULL: none */
    double eps;
} norm_layer;

struct ag_layer_norm_layer {
    norm_layer norm;
};

struct ag_rms_norm_layer {
    norm_layer norm; /* without bias */
};

static void *norm_new(ag_ctx *ctx, const char *kind, ag_layer_norm_config config, double default_eps)
{
    if (ctx == NULL || !ag_check_size(ctx, kind, "size", config.size) ||
        !ag_check_amount(ctx, kind, "eps", config.eps) || !ag_check_real(ctx, kind, config.dtype))
        return NULL;
    norm_layer *layer = ag_module_new(ctx, kind, sizeof *layer);
    if (layer == NULL)
        return NULL;
    layer->eps = config.eps > 0 ? config.eps : default_eps;
    layer->weight = ag_module_add_param(&layer->module, "weight", config.dtype, AG_SHAPE(config.size),
                                        (ag_init){ AG_INIT_CONSTANT, 1 });
    if (!config.no_bias)
        layer->bias = ag_module_add_param(&layer->module, "bias", config.dtype, AG_SHAPE(config.size),
                                          (ag_init){ AG_INIT_CONSTANT, 0 });
    return ag_module_made(&layer->module);
}

/* ---- Layer norm ---- */

ag_layer_norm_layer *ag_layer_norm_new(ag_ctx *ctx, ag_layer_norm_config config)
{
    return norm_new(ctx, "layer_norm", config, 1e-5);
}

ag_tensor *ag_layer_norm_forward(ag_layer_norm_layer *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    norm_layer *n = &layer->norm;
    ag_module_begin(&n->module);
    return ag_scope_end(n->module.ctx, ag_layer_norm(x, n->weight, n->bias, n->eps));
}

ag_module *ag_layer_norm_module(ag_layer_norm_layer *layer) { return (ag_module *)layer; }
void ag_layer_norm_free(ag_layer_norm_layer *layer) { ag_module_free((ag_module *)layer); }

/* ---- RMS norm ---- */

ag_rms_norm_layer *ag_rms_norm_new(ag_ctx *ctx, ag_rms_norm_config config)
{
    return norm_new(ctx, "rms_norm", (ag_layer_norm_config){ config.size, config.eps, true, config.dtype }, 1e-6);
}

ag_tensor *ag_rms_norm_forward(ag_rms_norm_layer *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    norm_layer *n = &layer->norm;
    ag_module_begin(&n->module);
    return ag_scope_end(n->module.ctx, ag_rms_norm(x, n->weight, n->eps));
}

ag_module *ag_rms_norm_module(ag_rms_norm_layer *layer) { return (ag_module *)layer; }
void ag_rms_norm_free(ag_rms_norm_layer *layer) { ag_module_free((ag_module *)layer); }

/* ---- Either ---- */

ag_norm ag_norm_add(ag_module *module, const char *name, ag_norm_kind kind, ag_layer_norm_config config)
{
    ag_norm norm = { NULL, NULL };
    switch (kind) {
    case AG_LAYER_NORM:
        norm.layer = ag_layer_norm_new(module->ctx, config);
        ag_module_add_part(module, name, ag_layer_norm_module(norm.layer));
        return norm;
    case AG_RMS_NORM:
        norm.rms = ag_rms_norm_new(module->ctx, (ag_rms_norm_config){ config.size, config.eps, config.dtype });
        ag_module_add_part(module, name, ag_rms_norm_module(norm.rms));
        return norm;
    }
    ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "there is no norm number %d", (int)kind);
    module->failed = true;
    return norm;
}

ag_tensor *ag_norm_forward(ag_norm norm, ag_tensor *x)
{
    return norm.rms != NULL ? ag_rms_norm_forward(norm.rms, x) : ag_layer_norm_forward(norm.layer, x);
}
