/* SPDX-License-Identifier: MIT
 *
 * lm_train.h - the training run of `lm train`.
 */
#ifndef EXAMPLES_LM_TRAIN_H
#define EXAMPLES_LM_TRAIN_H

#include "examples/lm/lm_model.h"

typedef struct train_options {
    const char *data, *out, *resume; /* resume NULL: a new run */
    bool bytes, sgd, recompute, anomalies, profile, qk_norm;
    uint64_t steps, batch, context, layers, heads, emb;
    uint64_t window, kv_heads; /* 0: no window; as many as heads */
    model_kinds kinds;
    uint64_t warmup, report, sample, threads, seed;
    double dropout, lr, momentum, weight_decay, clip; /* lr, weight_decay < 0: the optimizer's default */
    ag_schedule_kind schedule;
} train_options;

train_options train_defaults(void);

/* Runs it and returns the program's exit status. Ctrl-C and a closed output pipe end it after the step,
 * with a checkpoint. */
int lm_train(const train_options *options);

#endif
