/* SPDX-License-Identifier: MIT
 *
 * lm_advice.h - what a run's losses say, in words: it diverges, stays on a plateau, overfits, or is not finite.
 */
#ifndef EXAMPLES_LM_ADVICE_H
#define EXAMPLES_LM_ADVICE_H

#include "examples/lm/lm_progress.h"
#include "examples/lm/lm_run.h"

#include <signal.h>

typedef struct advice {
    baselines chance;
    double least;      /* mean loss of a report so far; 0: no report yet */
    double best_train; /* mean loss at the report with the best validation loss */
    int64_t high_since; /* the first of the steps whose loss is far too high; 0: it is not */
    int rises;          /* reports since the best validation loss with a clearly worse one */
    bool said_divergence, said_plateau, said_overfitting;
} advice;

/* After each step, and after each report, whose losses these are. Each warning is given once. */
void advise_step(advice *a, int64_t step, double loss);
void advise_report(advice *a, const run *r, progress *p, double loss, double val);

/* The step after r->s.step has failed with a value that is not finite. Runs the steps since the last checkpoint again,
 * which gives the same bits, the last one with a search for the op that made the value, and prints op, module,
 * parameter and what to change. `stop`: ends the search early. */
void explain_infinity(run *r, volatile const sig_atomic_t *stop);

#endif
