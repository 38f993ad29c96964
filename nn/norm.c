/* SPDX-License-Identifier: MIT
 *
 * norm.c - see norm_impl.h.
 */
#include "nn/norm_impl.h"

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
