/* SPDX-License-Identifier: MIT
 *
 * lm_text.h - a text to train on: the file, its tokens and their split, windows, baselines.
 *
 * A byte order mark before the text is no part of it, unless a token is a byte. The first nine tenths are for training,
 * the rest for validation; no window crosses the border.
 */
#ifndef EXAMPLES_LM_TEXT_H
#define EXAMPLES_LM_TEXT_H

#include "examples/lm/lm_tokens.h"

typedef struct corpus {
    vocab vocab;
    int32_t *token;
    int64_t count, train_count; /* tokens; those from train_count on are for validation */
} corpus;

/* Reads a text file. On failure, or when the text is empty or not text, prints one line to stderr and returns false. */
bool corpus_read(corpus *c, const char *path, bool bytes);
void corpus_free(corpus *c);

/* Nats per token of the validation text under counts of the training text, add-one smoothed. */
typedef struct baselines {
    double uniform, unigram, bigram;
} baselines;
baselines corpus_baselines(const corpus *c);

/* `batch` windows of T+1 training tokens at random starts, every possible start equally likely: [batch,T+1]. */
ag_tensor *corpus_batch(ag_ctx *ctx, const corpus *c, int64_t batch, int64_t T);

#endif
