/* SPDX-License-Identifier: MIT
 *
 * lm_run.h - a training run: what it is made of, its folder, its checkpoints.
 *
 *     config.json         the settings, for lm train --config
 *     log.csv             a row per report; samples.txt: what the model wrote on the way
 *     last.safetensors    a checkpoint: the run goes on from it with the same bits
 *     best.safetensors    the parameters with the lowest validation loss
 *     model.safetensors   a link to it, where the file system has links
 *     text.txt, val.txt   the text, where it came from a pipe
 *
 * log.csv and samples.txt are on disk before the checkpoint that counts their bytes; a run that goes on cuts off what
 * was written after it.
 */
#ifndef EXAMPLES_LM_RUN_H
#define EXAMPLES_LM_RUN_H

#include "examples/lm/lm_train.h"

enum { RUN_PATH = 4096 };

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
    run_state s;
    char mark[TEXT_MARK]; /* the text's */
    char folder[RUN_PATH];
    /* Of the text and of --from, absolute, so that the run goes on from every working directory; owned. */
    char **path, *val_path, *from_path;
    FILE *log, *samples;
    double saved_at, gnorm, lr; /* when last, in seconds; of the last step */
    double began, end_by;       /* in seconds; end_by: when --minutes wants the last step made */
} run;

/* Makes the folder of a new run and its first checkpoint. `t` is kept there when it can not be read again. The path is
 * r->o.out, or the next free number in runs/. False after a line on stderr: the folder holds a run already, or can not
 * be written. */
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

/* Makes the model and the vocabulary that last.safetensors describes, before run_resume. */
bool run_open_model(run *r);

/* Loads last.safetensors with everything, or the parameters of best.safetensors alone. */
bool run_load(run *r);
bool run_load_best(run *r);
bool run_has_best(const run *r);
bool run_has_ended(const run *r); /* has its report, which a run writes last */

/* Closes log and samples. */
bool run_close(run *r);
void run_free(run *r);

/* The settings of the run in this folder ("": the newest in runs/), whose path goes to folder. The text that they
 * point into is to be freed. NULL after a line on stderr. */
char *run_settings(const char *where, char folder[RUN_PATH], train_options *o);

/* The model file that `where` means: a file; of a folder best.safetensors, or else last.safetensors; "": of the newest
 * run in runs/. False after a line on stderr. */
bool run_model(const char *where, char path[RUN_PATH]);

/* For a command that needs a trained model: its context, and the model that `where` means, as above. False after a line
 * on stderr. To be ended in any case: command_end frees both and returns the exit status. */
bool command_begin(lm_model *model, const char *command, const char *where, uint64_t threads);
int command_end(lm_model *model, bool good);

/* Prints a command that the shell reads as these words; the first is the program as it was called. */
void run_print_command(FILE *file, const char *const *words);
void run_called_as(const char *program);

#endif
