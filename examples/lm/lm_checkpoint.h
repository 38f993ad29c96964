/* SPDX-License-Identifier: MIT
 *
 * lm_checkpoint.h - a run as a file: parameters, optimizer, random state, the numbers of run_state, the settings, the
 * mark of the text. The best model's file has the parameters and the best report alone.
 *
 * Functions that return false or NULL have written one line to stderr, except checkpoint_save.
 */
#ifndef EXAMPLES_LM_CHECKPOINT_H
#define EXAMPLES_LM_CHECKPOINT_H

#include "examples/lm/lm_run.h"

/* Writes the checkpoint, without an optimizer the best model. False with the context's error set. */
bool checkpoint_save(run *r, const char *path, const ag_optimizer *optimizer);

/* Makes the model and the vocabulary that last.safetensors describes, before checkpoint_load. */
bool checkpoint_model(run *r);

/* Loads last.safetensors with everything, or the parameters of best.safetensors alone. */
bool checkpoint_load(run *r);
bool checkpoint_load_best(run *r);

/* The settings as JSON, to be freed; NULL: out of memory, without a line. */
char *checkpoint_config(const run *r);

/* Reads these settings, of the file at `path`, into o, which then points into the text. o->files.word is to be
 * freed. */
bool checkpoint_read_settings(char *config, const char *path, train_options *o);

/* The settings of the run in this folder ("": the newest in runs/), whose path goes to folder. The text that they
 * point into is to be freed. */
char *checkpoint_settings(const char *where, char folder[RUN_PATH], train_options *o);

#endif
