/* SPDX-License-Identifier: MIT
 *
 * lm_plan.h - before a run: the memory that it needs, the time that it takes, and a model and steps for a given time.
 */
#ifndef EXAMPLES_LM_PLAN_H
#define EXAMPLES_LM_PLAN_H

#include "examples/lm/lm_run.h"

/* The number of heads for o->emb: of 32 channels each, or of 64 from an embedding of 256 on, or of more where that does
 * not divide it. */
uint64_t plan_heads(const train_options *o);

/* The channels of the feed-forward: o->ff_size, or of two matrices 4 times the embedding, of the three of a gated one
 * 8/3 times, which has as many parameters. */
int64_t plan_ff_size(const train_options *o);

/* Bytes of text that there is memory for; 0: not known. */
double plan_text_bytes(void);

/* Whether the run fits into the memory that is free. False after a line on stderr with both numbers. */
bool plan_fits(const run *r);

/* Measures the machine for two seconds, then chooses the sizes in r->o that are 0 (layers, heads, emb, context, batch)
 * and the steps, for a run of r->o.minutes in all. False on error, after a line on stderr. */
bool plan_minutes(run *r);

/* The dropout that keeps the run's model from learning the text by heart: 0, 0.1 or 0.2, by the model's parameters per
 * byte of the text and the number of times that the steps read it. */
double plan_dropout(const run *r);

/* With --minutes, when the steps so far have been made since the time `began`: chooses r->o.steps again, so that the
 * schedule ends when the time does. */
void plan_again(run *r, double began);

/* Prints memory and time of the run, whose model is made; trains it for two seconds to measure. False on error. */
bool plan_print(run *r);

#endif
