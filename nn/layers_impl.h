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

/* y[i] = layer[i](x[i]) for 1 to AG_LINEAR_LIST_MAX layers, side by side. False on error; then all of y are NULL. */
bool ag_linear_forward_list(int count, ag_linear_layer *const *layer, ag_tensor *const *x, ag_tensor **y);

struct ag_embedding_layer {
    ag_module module;
    ag_tensor *weight;
};

#endif
