/* SPDX-License-Identifier: MIT
 *
 * lecture_number.h - a random number that fits on a blackboard. The explorer and attention_gradients draw theirs with
 * it in one order, so that both show the same numbers for the same seed.
 */
#ifndef EXAMPLES_LECTURE_NUMBER_H
#define EXAMPLES_LECTURE_NUMBER_H

#include "attngrad.h"

#include <math.h>

/* A multiple of 0.01 in -most .. most, from the context's random stream. */
static inline float lecture_number(ag_ctx *ctx, double most)
{
    return (float)(round(most * (2 * ag_random(ctx) - 1) * 100) / 100);
}

#endif
