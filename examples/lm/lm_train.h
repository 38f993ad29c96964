/* SPDX-License-Identifier: MIT
 *
 * lm_train.h - the training run of `lm train`, and its options.
 */
#ifndef EXAMPLES_LM_TRAIN_H
#define EXAMPLES_LM_TRAIN_H

#include "examples/lm/lm_model.h"
#include "examples/lm/lm_text.h"
#include "examples/shared/options.h"


typedef struct train_options {
    /* Kept in the run's config.json. */
    option_words files;
    const char *val;         /* NULL: the last tenth of the text */
    const char *from;        /* a model to begin with; NULL: a new one */
    int level;               /* a token_kind, or LEVEL_AUTO */
    int optimizer, schedule; /* indices of the words below; of ag_schedule_kind */
    uint64_t vocab;          /* of byte pairs; 0: unsaid */
    bool recompute, qk_norm;
    uint64_t steps, batch, context, layers, heads, emb; /* heads 0: by the embedding */
    uint64_t accumulate; /* micro-batches of a step */
    uint64_t window, kv_heads, ff_size; /* 0: no window; as many as heads; by the embedding */
    model_kinds kinds;
    uint64_t warmup, report, sample, seed, patience; /* report 0: chosen by the number of steps */
    double dropout;                                   /* < 0: chosen by plan_dropout */
    double lr, momentum, weight_decay, clip;          /* lr, weight_decay < 0: the optimizer's default */
    double checkpoint;                                /* seconds between checkpoints */

    /* Of this command alone. */
    const char *out; /* NULL: the next free number in runs/ */
    uint64_t threads;
    bool profile, dry_run;
    double minutes; /* > 0: the run's time, for which sizes that are 0 and the steps are chosen */
} train_options;

enum { OPTIMIZER_ADAMW, OPTIMIZER_SGD };
enum { LEVEL_AUTO = -1 };        /* chosen by the size of the text */
#define SETTING_AUTO UINT64_MAX /* of warmup and sample: chosen by the number of steps */
#define STEPS_MOST 1e9

/* The options that config.json has, with their targets in o: every choice that decides what is trained and logged. */
enum { SETTINGS_MOST = 40 };
int train_settings(train_options *o, option settings[SETTINGS_MOST]);

/* Runs it and returns the program's exit status. `folder` is that of the run to go on with; NULL: a new run. */
int lm_train(const train_options *options, const char *folder);

/* Makes the steps of the run in this folder together with process 0, which does all the rest. */
int lm_train_led_by(const train_options *options, const char *folder, const ag_processes *link);

#endif
