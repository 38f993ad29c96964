/* SPDX-License-Identifier: MIT
 *
 * transformer_impl.h - the base of gpt, encoder and both halves of encoder_decoder: embeddings, blocks, a norm, and the
 * head of a language model (private header).
 *
 * A model's struct begins with an ag_transformer, which begins with the ag_module.
 */
#ifndef AG_TRANSFORMER_IMPL_H
#define AG_TRANSFORMER_IMPL_H

#include "nn/layers_impl.h"
#include "nn/models/models.h"
#include "nn/norm_impl.h"

/* Standard deviation of the initial values of tables and of weights that do not end a residual branch. */
#define AG_TRANSFORMER_INIT_STD 0.02

typedef struct ag_transformer {
    ag_module module;
    ag_transformer_config config; /* with the defaults filled in */
    ag_embedding_layer *tok;
    ag_embedding_layer *pos, *type; /* NULL: none */
    ag_norm emb_norm, norm;         /* {0}: none */
    ag_block **block;               /* [num_layers] */
    ag_attention_options *layer_attention; /* config's, owned; NULL: none */
    ag_linear_layer *head;          /* NULL: tied to tok, or no head */
} ag_transformer;

/* What the kind of model adds to its configuration. */
typedef struct ag_transformer_role {
    bool head;               /* has a head; config.untied_head decides which */
    bool pooler;             /* config.pooler is allowed; the model adds the pooler itself */
    int64_t memory_size;     /* > 0: blocks have cross-attention over memory of this many channels */
    ag_embedding_layer *tok; /* borrowed from another model, which outlives this one. NULL: its own table */
} ag_transformer_role;

/* A model's struct of `size` bytes, its base filled in. NULL on error. */
void *ag_transformer_new(ag_ctx *ctx, const char *kind, size_t size, ag_transformer_config config,
                         ag_transformer_role role);

/* Inputs of one forward pass besides the tokens. */
typedef struct ag_transformer_inputs {
    ag_tensor *types;          /* [B,T]; NULL: all 0 */
    ag_tensor *lengths;        /* [B]: tokens of each entry, the rest is padding; NULL: T */
    ag_tensor *memory;         /* [B,S,memory_size] */
    ag_tensor *memory_lengths; /* [B] */
    ag_kv_cache *cache;        /* the tokens follow the cached ones and are cached too */
    const int64_t *counts;     /* with a cache: [B], tokens of each entry; NULL: T */
} ag_transformer_inputs;

/* tokens[B,T] -> hidden[B,T,emb]; or to the logits [B,T,V], and the cache advances. */
ag_tensor *ag_transformer_hidden(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with);
ag_tensor *ag_transformer_logits(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with);

/* Whether lengths is NULL or int32 [B] with values in 0 .. T; else false with the error recorded. */
bool ag_check_lengths(ag_ctx *ctx, const char *kind, const ag_tensor *lengths, int64_t B, int64_t T);

ag_block *ag_transformer_block(const ag_transformer *model, int64_t i); /* NULL: there is none */

#endif
