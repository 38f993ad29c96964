/* SPDX-License-Identifier: MIT
 *
 * layers_impl.h - the structs of the layers that other layers are made of (private header).
 */
#ifndef AG_LAYERS_IMPL_H
#define AG_LAYERS_IMPL_H

#include "nn/layers.h"
#include "nn/module_impl.h"

struct ag_linear_layer {
    ag_module module;
    ag_tensor *weight, *bias; /* bias NULL: none */
};

/* Adds a linear layer [out,in] as a part of the module; the sizes in the config are ignored. On error module->failed is
 * set. */
ag_linear_layer *ag_linear_add(ag_module *module, const char *name, int64_t in, int64_t out, ag_linear_config config);

/* layer(x) as an element of a list (ag_linear_list). */
ag_linear_args ag_linear_args_of(const ag_linear_layer *layer, ag_tensor *x);

/* residual + layer(x); residual NULL: layer(x). */
ag_tensor *ag_mha_forward_onto(ag_mha *layer, ag_tensor *x, ag_attend with, ag_tensor *residual);
ag_tensor *ag_feed_forward_onto(ag_feed_forward *layer, ag_tensor *x, ag_tensor *residual);

struct ag_embedding_layer {
    ag_module module;
    ag_tensor *weight;
};

#endif
