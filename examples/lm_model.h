/* SPDX-License-Identifier: MIT
 *
 * lm_model.h - a language model with its vocabulary: made new or read from a checkpoint, and sampled from.
 */
#ifndef EXAMPLES_LM_MODEL_H
#define EXAMPLES_LM_MODEL_H

#include "examples/lm_corpus.h"

typedef struct lm_model {
    ag_ctx *ctx;
    ag_gpt *gpt;
    vocab vocab;
    bool recompute; /* as in ag_gpt_config; not in the checkpoint */
} lm_model;

typedef struct sampling {
    double temperature; /* 0: always the likeliest token */
    int64_t top_k;      /* only among the k likeliest; 0: all */
} sampling;

/* A new context. On failure prints one line and returns NULL. */
ag_ctx *model_context(const char *program, uint64_t threads, uint64_t seed);

/* The model's configuration and vocabulary as metadata of a checkpoint: 10 entries, whose texts are freed together
 * by model_metadata_free. False when out of memory. */
enum { MODEL_METADATA = 10 };
typedef struct model_metadata {
    ag_metadata entry[MODEL_METADATA];
    char text[MODEL_METADATA - 1][32];
    char *vocab;
} model_metadata;
bool model_metadata_make(model_metadata *m, const lm_model *model);
void model_metadata_free(model_metadata *m);

/* Makes the model that an open checkpoint describes, its parameters still random. On failure prints one line. */
bool model_from_metadata(lm_model *model, const ag_safetensors *file, const char *path);

/* A decimal number in a checkpoint's metadata; false when it is not there or not a number. */
bool metadata_number(const ag_safetensors *file, const char *key, double *number);

/* Draws the token that follows token[count] (count >= 1), seeing at most the model's max_seq_len. -1 on error. */
int32_t model_next_token(lm_model *model, const int32_t *token, int64_t count, const sampling *how);

/* Writes `length` sampled tokens to `file` as they come, after the tokens of the prompt (one at least), which are
 * not written. Uses the context's random stream. False on error. */
bool model_write(lm_model *model, const int32_t *prompt, int64_t prompt_count, int64_t length, const sampling *how,
                 FILE *file);

#endif
