/* SPDX-License-Identifier: MIT
 *
 * norm_impl.h - a norm of either kind, for blocks and models (private header).
 */
#ifndef AG_NORM_IMPL_H
#define AG_NORM_IMPL_H

#include "nn/layers.h"
#include "nn/module_impl.h"

typedef struct ag_norm { /* at most one is not NULL */
    ag_layer_norm_layer *layer;
    ag_rms_norm_layer *rms;
} ag_norm;

/* Adds a norm as a part of the module; an RMS norm ignores no_bias. On error module->failed is set. */
ag_norm ag_norm_add(ag_module *module, const char *name, ag_norm_kind kind, ag_layer_norm_config config);

ag_tensor *ag_norm_forward(ag_norm norm, ag_tensor *x);

#endif
