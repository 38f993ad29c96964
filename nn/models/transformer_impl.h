/* SPDX-License-Identifier: MIT
 *
 * transformer_impl.h - what gpt, encoder and the two halves of encoder_decoder share: embeddings, blocks, a norm, and
 * the head of a language model (private header).
 *
 * A model's struct begins with an ag_transformer, which begins with the ag_module.
 */
#ifndef AG_TRANSFORMER_IMPL_H
#define AG_TRANSFORMER_IMPL_H

#include "nn/layers_impl.h"
#include "nn/models/models.h"
#include "nn/norm_impl.h"

/* The deviation of first values: of tables, and of weights that do not end a residual branch. */
#define AG_TRANSFORMER_INIT_STD 0.02

typedef struct ag_transformer {
    ag_module module;
    ag_transformer_config config; /* with the defaults filled in */
    ag_embedding_layer *tok;
    ag_embedding_layer *pos, *type; /* NULL: none */
    ag_norm emb_norm, norm;         /* {0}: none */
    ag_block **block;               /* num_layers */
    ag_linear_layer *head;          /* NULL: tied to tok, or none is wanted */
} ag_transformer;

/* What the kind of model asks for, besides its configuration. */
typedef struct ag_transformer_role {
    bool head;               /* a language model's; config.untied_head says which */
    bool pooler;             /* may have one; the model adds it */
    int64_t memory_size;     /* > 0: blocks with cross-attention over so many channels */
    ag_embedding_layer *tok; /* the table of another model, which outlives this one. NULL: its own */
} ag_transformer_role;

/* A model's struct of `size` bytes with the base in it. NULL on error. */
void *ag_transformer_new(ag_ctx *ctx, const char *kind, size_t size, ag_transformer_config config,
                         ag_transformer_role role);

/* What one forward pass brings besides the tokens. */
typedef struct ag_transformer_inputs {
    ag_tensor *types;          /* [B,T]; NULL: all 0 */
    ag_tensor *lengths;        /* [B]: so many tokens of each entry are seen; NULL: all */
    ag_tensor *memory;         /* [B,S,memory_size] */
    ag_tensor *memory_lengths; /* [B] */
    ag_kv_cache *cache;        /* the tokens stand behind what it has, and join it */
    const int64_t *counts;     /* with a cache: how many tokens each entry has; NULL: T */
} ag_transformer_inputs;

/* tokens[B,T] -> hidden[B,T,emb]; or on to the logits [B,T,V], after which the tokens count in the cache. */
ag_tensor *ag_transformer_hidden(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with);
ag_tensor *ag_transformer_logits(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with);

/* Whether lengths is int32 [B] with values in 0 .. T; else the error. NULL is good. */
bool ag_check_lengths(ag_ctx *ctx, const char *kind, const ag_tensor *lengths, int64_t B, int64_t T);

ag_block *ag_transformer_block(const ag_transformer *model, int64_t i); /* NULL: there is none */

#endif
