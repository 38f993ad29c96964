/* SPDX-License-Identifier: MIT
 *
 * dropout.c - the dropout layer: the op while it is active (ag_module_drops), else the identity.
 */
#include "nn/layers.h"
#include "nn/module_impl.h"

static const char dropout_kind[] = "dropout";

struct ag_dropout_layer {
    ag_module module;
    double p;
};

ag_dropout_layer *ag_dropout_new(ag_ctx *ctx, ag_dropout_config config)
{
    if (ctx == NULL || !ag_check_probability(ctx, dropout_kind, "p", config.p))
        return NULL;
    ag_dropout_layer *layer = ag_module_new(ctx, dropout_kind, sizeof *layer);
    if (layer != NULL)
        layer->p = config.p;
    return layer;
}

ag_tensor *ag_dropout_forward(ag_dropout_layer *layer, ag_tensor *x)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->module);
    return ag_scope_end(layer->module.ctx, ag_module_dropout(&layer->module, x, layer->p));
}

ag_module *ag_dropout_module(ag_dropout_layer *layer) { return (ag_module *)layer; }
void ag_dropout_free(ag_dropout_layer *layer) { ag_module_free((ag_module *)layer); }
