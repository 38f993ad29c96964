/* SPDX-License-Identifier: MIT
 *
 * feed_forward.c - the feed-forward layer: down(activation(up(x))), or down(activation(gate(x)) * up(x)).
 * x[..,emb], up[ff,emb], gate[ff,emb], down[emb,ff] -> [..,emb].
 */
#include "nn/layers_impl.h"

static const char feed_forward_kind[] = "feed_forward";

typedef ag_tensor *feed_forward_function(ag_tensor *x);

struct ag_feed_forward {
    ag_module module;
    ag_linear_layer *up, *gate, *down; /* gate NULL: none */
    feed_forward_function *activation;
    double inner_dropout, dropout;
};

/* The activation's op; NULL with the error recorded when there is none of that number. */
static feed_forward_function *feed_forward_activation(ag_ctx *ctx, ag_activation activation)
{
    switch (activation) {
    case AG_GELU: return ag_gelu;
    case AG_GELU_TANH: return ag_gelu_tanh;
    case AG_RELU: return ag_relu;
    case AG_SILU: return ag_silu;
    }
    ag_fail(ctx, AG_ERR_ARGUMENT, feed_forward_kind, "there is no activation number %d", (int)activation);
    return NULL;
}

ag_feed_forward *ag_feed_forward_new(ag_ctx *ctx, ag_feed_forward_config config)
{
    if (ctx == NULL || !ag_check_size(ctx, feed_forward_kind, "emb_size", config.emb_size))
        return NULL;
    if (config.ff_size == 0)
        config.ff_size = 4 * config.emb_size;
    if (!ag_check_size(ctx, feed_forward_kind, "ff_size", config.ff_size) ||
        !ag_check_probability(ctx, feed_forward_kind, "inner_dropout", config.inner_dropout) ||
        !ag_check_probability(ctx, feed_forward_kind, "dropout", config.dropout) ||
        !ag_check_amount(ctx, feed_forward_kind, "init_std", config.init_std) ||
        !ag_check_amount(ctx, feed_forward_kind, "out_init_std", config.out_init_std) ||
        !ag_check_real(ctx, feed_forward_kind, config.dtype) || feed_forward_activation(ctx, config.activation) == NULL)
        return NULL;
    ag_feed_forward *layer = ag_module_new(ctx, feed_forward_kind, sizeof *layer);
    if (layer == NULL)
        return NULL;
    layer->activation = feed_forward_activation(ctx, config.activation);
    layer->inner_dropout = config.inner_dropout;
    layer->dropout = config.dropout;
    ag_linear_config linear = { .no_bias = config.no_bias, .init_std = config.init_std, .dtype = config.dtype };
    layer->up = ag_linear_add(&layer->module, "up", config.emb_size, config.ff_size, linear);
    if (config.gated)
        layer->gate = ag_linear_add(&layer->module, "gate", config.emb_size, config.ff_size, linear);
    if (config.out_init_std > 0)
        linear.init_std = config.out_init_std;
    layer->down = ag_linear_add(&layer->module, "down", config.ff_size, config.emb_size, linear);
    return ag_module_made(&layer->module);
}

ag_tensor *ag_feed_forward_onto(ag_feed_forward *layer, ag_tensor *x, ag_tensor *residual)
{
    if (layer == NULL)
        return NULL;
    ag_module *module = &layer->module;
    ag_module_begin(module);
    ag_linear_args up[2] = { ag_linear_args_of(layer->up, x),
                             layer->gate == NULL ? (ag_linear_args){ 0 } : ag_linear_args_of(layer->gate, x) };
    up[layer->gate != NULL].activation = layer->activation;
    ag_tensor *wide[2], *y = NULL;
    if (ag_linear_list(module->ctx, layer->gate == NULL ? 1 : 2, up, wide)) {
        ag_tensor *inner = layer->gate == NULL ? wide[0] : ag_mul(wide[1], wide[0]);
        ag_linear_args down = ag_linear_args_of(layer->down, ag_module_dropout(module, inner, layer->inner_dropout));
        const bool dropped = ag_module_drops(module) && layer->dropout > 0;
        down.residual = dropped ? NULL : residual;
        ag_linear_list(module->ctx, 1, &down, &y);
        y = dropped ? ag_module_dropout(module, y, layer->dropout) : y;
        y = dropped && residual != NULL ? ag_add(residual, y) : y;
    }
    return ag_scope_end(module->ctx, y);
}

ag_tensor *ag_feed_forward_forward(ag_feed_forward *layer, ag_tensor *x)
{
    return ag_feed_forward_onto(layer, x, NULL);
}

ag_module *ag_feed_forward_module(ag_feed_forward *layer) { return (ag_module *)layer; }
void ag_feed_forward_free(ag_feed_forward *layer) { ag_module_free((ag_module *)layer); }
