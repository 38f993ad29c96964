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

struct ag_embedding_layer {
    ag_module module;
    ag_tensor *weight;
};

#endif
