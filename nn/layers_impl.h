/* SPDX-License-Identifier: MIT
 *
 * layers_impl.h - the structs of the layers that other layers are made of (private header).
 */
#ifndef AG_LAYERS_IMPL_H
#define AG_LAYERS_IMPL_H

#include "nn/module_impl.h"

struct ag_linear_layer {
    ag_module module;
    ag_tensor *weight, *bias; /* bias NULL: none */
};

/* residual + activation(layer(x)), as ag_linear_args has them. */
typedef struct ag_linear_call {
    ag_linear_layer *layer;
    ag_tensor *x;
    ag_tensor *(*activation)(ag_tensor *x);
    ag_tensor *residual;
} ag_linear_call;

/* 1 to AG_LINEAR_LIST_MAX of them into y, side by side. False on error; then all of y are NULL. */
bool ag_linear_forward_list(int count, const ag_linear_call *call, ag_tensor **y);

/* residual + layer(x); residual NULL: layer(x). */
ag_tensor *ag_mha_forward_onto(ag_mha *layer, ag_tensor *x, ag_attend with, ag_tensor *residual);
ag_tensor *ag_feed_forward_onto(ag_feed_forward *layer, ag_tensor *x, ag_tensor *residual);

struct ag_embedding_layer {
    ag_module module;
    ag_tensor *weight;
};

#endif
