/* SPDX-License-Identifier: MIT
 *
 * lm_train.h - the training run of `lm train`.
 */
#ifndef EXAMPLES_LM_TRAIN_H
#define EXAMPLES_LM_TRAIN_H

#include "examples/lm/lm_model.h"
#include "examples/lm/lm_text.h"
#include "examples/shared/options.h"

typedef struct train_options {
    option_words files;
    const char *val, *out, *resume; /* val NULL: the last tenth; resume NULL: a new run */
    const char *from;               /* a model to begin with; NULL: a new one */
    int level;                      /* a token_kind */
    int optimizer, schedule;        /* indices of the words below */
    bool recompute, anomalies, profile, qk_norm;
    uint64_t vocab; /* of byte pairs; 0: unsaid */
    uint64_t steps, batch, context, layers, heads, emb;
    uint64_t window, kv_heads; /* 0: no window; as many as heads */
    model_kinds kinds;
    uint64_t warmup, report, sample, threads, seed;
    double dropout, lr, momentum, weight_decay, clip; /* lr, weight_decay < 0: the optimizer's default */
} train_options;

enum { OPTIMIZER_ADAMW, OPTIMIZER_SGD };
/* The words of --schedule stand in the order of ag_schedule_kind. */

/* Runs it and returns the program's exit status. Ctrl-C and a closed output pipe end it after the step,
 * with a checkpoint. */
int lm_train(const train_options *options);

#endif
