/* SPDX-License-Identifier: MIT
 *
 * lm_step.h - a run's model, one training step, the validation loss. B windows of T tokens; losses in nats per token.
 *
 * A step's batch is cut into micro-batches, which have a random stream each. Their gradients are added in the order of
 * their numbers, whether one process computes all or several processes share them: the bits are the same.
 */
#ifndef EXAMPLES_LM_STEP_H
#define EXAMPLES_LM_STEP_H

#include "examples/lm/lm_run.h"

/* The model of --from, and its sizes in r->o. False after a line on stderr. */
bool run_start_from(run *r);

/* Model, if there is none yet, optimizer and schedule of r->o. False after a line on stderr. */
bool run_make_model(run *r);
void run_free_model(run *r);

/* One step: r->s.step grows, *loss is its mean loss. With `search` the tape looks for the first value that is not
 * finite. False on error, which the context has. */
bool run_step(run *r, bool search, double *loss);

/* The mean loss over validation windows of T tokens: all of them, one after the other, when they are fewer than twice
 * `some`, or else about as many, evenly spread. Does not touch the random stream. NaN on error. */
enum { VALIDATION_WINDOWS = 64 }; /* of a report */
double run_validate(run *r, int64_t some);
int64_t run_last_windows(const run *r); /* `some` at the end of a run: those of a million tokens */
int64_t run_windows(const run *r);      /* all there are, and how many of them run_validate takes */
int64_t run_validated(const run *r, int64_t some);

#endif
