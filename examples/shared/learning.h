/* SPDX-License-Identifier: MIT
 *
 * learning.h - the training loop of the small example programs: AdamW, a cosine schedule with warm-up, clipping by
 * global norm, a line of progress on stderr, and a checkpoint from which a training that was killed goes on.
 */
#ifndef EXAMPLES_LEARNING_H
#define EXAMPLES_LEARNING_H

#include "attngrad.h"
#include "examples/shared/system.h"

typedef struct learning {
    const char *program; /* its name, in the line of progress */
    ag_ctx *ctx;
    ag_module *module;
    int64_t steps;
    double lr;           /* the peak */
    double weight_decay;
    ag_tensor *(*loss)(void *user); /* of one batch, on the running tape */
    void *user;
    volatile const sig_atomic_t *stop; /* not 0: training ends after the step; NULL: it has no such end */
    const char *checkpoint;  /* path; a file that is there is gone on from, to the same bits. NULL: none */
    const char *training;    /* with a checkpoint: a text that says which; the file of another one is an error */
    double checkpoint_every; /* seconds; 0: after each step */
} learning;

/* Trains. False after an error, which the context has, or when the loss is NaN. */
bool learn(learning *l);

#endif
