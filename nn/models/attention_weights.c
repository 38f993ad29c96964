/* SPDX-License-Identifier: MIT
 *
 * attention_weights.c - the weights with which an attention layer's last forward attended, computed anew from what the
 * layer keeps of it.
 */
#include "nn/attention_impl.h"
#include "nn/models/models.h"

#include <math.h>
#include <string.h>

static bool weights_check_last(const ag_attention_layer *layer)
{
    const ag_module *module = &layer->module;
    ag_tensor *t[AG_ATTENTION_LAST];
    if (layer->lse == NULL)
        ag_fail(module->ctx, AG_ERR_STATE, module->kind, "there are no weights: the layer has not run");
    else if (layer->versions != ag_attention_last(layer, t))
        ag_fail(module->ctx, AG_ERR_STATE, module->kind,
                "there are no weights: bias, mask or cache have changed since the layer ran");
    else
        return true;
    return false;
}

/* [B,heads,rows,S] */
static ag_tensor *weights_of_layer(ag_attention_layer *layer, ag_weights_of which)
{
    if (!weights_check_last(layer))
        return NULL;
    if (layer->last.q == NULL)
        return ag_fail(layer->module.ctx, AG_ERR_STATE, layer->module.kind,
                       "there are no weights: the layer ran in a function that is recomputed (ag_recompute)");
    return ag_sdpa_weights(layer->last.q, layer->last.k, layer->lse, layer->last.config, which);
}

static int64_t weights_blind_queries(const ag_attention_layer *layer, int64_t *where)
{
    if (!weights_check_last(layer))
        return 0;
    const ag_tensor *lse = layer->lse;
    int64_t H = lse->shape[1], T = lse->shape[2], count = 0;
    for (int64_t i = 0; i < lse->numel; i++) {
        double value = 0;
        const int64_t index[] = { i / T / H, i / T % H, i % T };
        ag_get(lse, index, &value);
        if (value != -(double)INFINITY)
            continue;
        if (count == 0 && where != NULL)
            memcpy(where, index, sizeof index);
        count++;
    }
    return count;
}

ag_tensor *ag_head_attention_weights(ag_head_attention *layer)
{
    return ag_head_attention_weights_of(layer, (ag_weights_of){ 0 });
}

ag_tensor *ag_head_attention_weights_of(ag_head_attention *layer, ag_weights_of which)
{
    if (layer == NULL)
        return NULL;
    ag_module *module = &layer->attention.module;
    ag_module_begin(module);
    ag_tensor *weights = NULL;
    if (which.heads != NULL)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "heads are chosen, and there is one head");
    else
        weights = weights_of_layer(&layer->attention, which); /* [B,1,rows,S] */
    if (weights != NULL)
        weights = ag_tensor_squeeze(weights, 1);
    return ag_scope_end(module->ctx, weights);
}

ag_tensor *ag_mha_weights(ag_mha *layer)
{
    return ag_mha_weights_of(layer, (ag_weights_of){ 0 });
}

ag_tensor *ag_mha_weights_of(ag_mha *layer, ag_weights_of which)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->attention.module);
    return ag_scope_end(layer->attention.module.ctx, weights_of_layer(&layer->attention, which));
}

int64_t ag_mha_blind_queries(ag_mha *layer, int64_t *where)
{
    if (layer == NULL)
        return 0;
    ag_module_begin(&layer->attention.module);
    int64_t count = weights_blind_queries(&layer->attention, where);
    ag_scope_end(layer->attention.module.ctx, NULL);
    return count;
}
