/* SPDX-License-Identifier: MIT
 *
 * lm_run.h - a training run: what it is made of, how it begins, is saved, goes on and ends.
 *
 * log.csv and samples.txt are on disk before the checkpoint that counts their bytes; a run that goes on cuts off what
 * was written after it.
 */
#ifndef EXAMPLES_LM_RUN_H
#define EXAMPLES_LM_RUN_H

#include "examples/lm/lm_folder.h"
#include "examples/lm/lm_train.h"

/* What a checkpoint holds besides parameters, optimizer and random state. Whole numbers are exact below 2^53. */
typedef struct run_state {
    double step;                 /* steps made */
    double loss_sum, loss_count; /* of the steps since the last report */
    double best_step, best_loss; /* of the report with the lowest validation loss; step 0: none yet */
    double log_bytes, sample_bytes;
} run_state;

typedef struct run {
    train_options o;
    corpus corpus;
    int file_count; /* of the text */
    lm_model model;
    ag_optimizer *optimizer;
    ag_schedule schedule;
    ag_profile *profile; /* NULL: none */
    const ag_processes *link; /* to the other processes of the run; NULL: there are none */
    run_state s;
    char mark[TEXT_MARK]; /* the text's */
    char folder[RUN_PATH];
    /* Of the text and of --from, absolute, so that the run goes on from every working directory; owned. */
    char **path, *val_path, *from_path;
    FILE *log, *samples;
    double saved_at, gnorm, lr; /* when last, in seconds; of the last step */
    double began, end_by;       /* in seconds; end_by: when --minutes wants the last step made */
} run;

/* Before a text is read for a new run: whether its folder holds no run; if it does, says so. */
bool run_may_begin(run *r);

/* Makes the folder of a new run and its first checkpoint. `t` is kept there when it can not be read again. The path is
 * r->o.out, or the next free number in runs/. False after a line on stderr. */
bool run_begin(run *r, const raw_text *t);

/* Goes on from the checkpoint in r->folder: loads it, cuts the log off behind it. */
bool run_resume(run *r);

/* Writes last.safetensors, and config.json where --minutes may have changed the steps; best.safetensors. A folder that
 * was removed is made again. */
bool run_save(run *r);
bool run_save_best(run *r);

/* Whether log and samples could be written so far; if not, says so. */
bool run_logs_whole(const run *r);

/* After an error: what is kept, and the command to go on. */
void run_explain_rest(const run *r);

/* Closes log and samples. */
bool run_close(run *r);
void run_free(run *r);

#endif
