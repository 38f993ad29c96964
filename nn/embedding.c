/* SPDX-License-Identifier: MIT
 *
 * embedding.c - the embedding layer: rows of a table by index. index[..], weight[num,emb] -> [..,emb].
 */
#include "nn/layers_impl.h"

static const char embedding_kind[] = "embedding";

ag_embedding_layer *ag_embedding_new(ag_ctx *ctx, ag_embedding_config config)
{
    if (ctx == NULL || !ag_check_size(ctx, embedding_kind, "num_embeddings", config.num_embeddings) ||
        !ag_check_size(ctx, embedding_kind, "emb_size", config.emb_size) ||
        !ag_check_amount(ctx, embedding_kind, "init_std", config.init_std) ||
        !ag_check_real(ctx, embedding_kind, config.dtype))
        return NULL;
    ag_embedding_layer *layer = ag_module_new(ctx, embedding_kind, sizeof *layer);
    if (layer == NULL)
        return NULL;
    ag_init init = { AG_INIT_NORMAL, config.init_std > 0 ? config.init_std : 1 };
    layer->weight = ag_module_add_param(&layer->module, "weight", config.dtype,
                                        AG_SHAPE(config.num_embeddings, config.emb_size), init);
    return ag_module_made(&layer->module);
}

ag_tensor *ag_embedding_forward(ag_embedding_layer *layer, ag_tensor *index)
{
    if (layer == NULL)
        return NULL;
    ag_module_begin(&layer->module);
    return ag_scope_end(layer->module.ctx, ag_embedding(layer->weight, index));
}

ag_module *ag_embedding_module(ag_embedding_layer *layer) { return (ag_module *)layer; }
void ag_embedding_free(ag_embedding_layer *layer) { ag_module_free((ag_module *)layer); }
