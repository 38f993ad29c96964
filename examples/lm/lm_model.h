/* SPDX-License-Identifier: MIT
 *
 * lm_model.h - a language model with its vocabulary: made new or read from a checkpoint, and sampled from.
 */
#ifndef EXAMPLES_LM_MODEL_H
#define EXAMPLES_LM_MODEL_H

#include "examples/lm/lm_tokens.h"
#include "examples/shared/sampling.h"

typedef struct lm_model {
    ag_ctx *ctx;
    ag_gpt *gpt;
    vocab vocab;
    int64_t context; /* tokens of a training window; more can be sampled when positions are not learned */
    bool recompute; /* as in ag_transformer_config; not in the checkpoint */
    const double *dropout; /* in place of the checkpoint's, from 0 on; NULL: the checkpoint's */
} lm_model;

/* A model's choices, as indices of the words that the command line and checkpoints use; NULL follows the last word. */
enum { POSITIONS_LEARNED, POSITIONS_SINUSOIDAL, POSITIONS_ROTARY, POSITIONS_ALIBI, POSITIONS_NONE, POSITION_WORDS };
enum { NORM_LAYER, NORM_RMS, NORM_WORDS };
enum { FEED_FORWARD_GELU, FEED_FORWARD_RELU, FEED_FORWARD_SILU, FEED_FORWARD_SWIGLU, FEED_FORWARD_GEGLU,
       FEED_FORWARD_WORDS };
extern const char *const position_word[POSITION_WORDS + 1];
extern const char *const norm_word[NORM_WORDS + 1];
extern const char *const feed_forward_word[FEED_FORWARD_WORDS + 1];
typedef struct model_kinds {
    int positions, norm, feed_forward;
} model_kinds;
void model_set_kinds(ag_transformer_config *config, model_kinds kinds);
model_kinds model_kinds_of(const ag_transformer_config *config);

/* The model's configuration and vocabulary as metadata of a checkpoint, whose texts are freed together
 * by model_metadata_free. False when out of memory. */
enum { MODEL_NUMBERS = 12, MODEL_METADATA = MODEL_NUMBERS + 5 };
typedef struct model_metadata {
    ag_metadata entry[MODEL_METADATA];
    char text[MODEL_NUMBERS][32];
    char *vocab;
} model_metadata;
bool model_metadata_make(model_metadata *m, const lm_model *model);
void model_metadata_free(model_metadata *m);

/* Makes the model that an open checkpoint describes, its parameters still random. On failure prints one line. */
bool model_from_metadata(lm_model *model, ag_safetensors *file, const char *path);

/* The model of a file with its weights. On failure prints one line. */
bool model_load(lm_model *model, const char *path);

/* Prints the error of the context. Returns false. */
bool model_error(const lm_model *model);

/* Frees what model_from_metadata made, the context not. */
void model_free(lm_model *model);

/* A decimal number in a checkpoint's metadata; false when it is not there or not a number. */
bool metadata_number(const ag_safetensors *file, const char *key, double *number);

/* Writes `length` sampled tokens to `file` as they come, after the tokens of the prompt (one at least), which are not
 * written; each sees at most max_seq_len tokens before it. Uses the context's random stream. False on error. */
bool model_write(lm_model *model, const int32_t *prompt, int64_t prompt_count, int64_t length, const sampling *how,
                 FILE *file);

#endif
