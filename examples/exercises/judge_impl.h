/* SPDX-License-Identifier: MIT
 *
 * judge_impl.h - what the files of exercises share.
 */
#ifndef JUDGE_IMPL_H
#define JUDGE_IMPL_H

#include "examples/exercises/judge.h"

enum { NOTHING_DONE = -1 }; /* the mistake of a function that changes arrays in place and is still a stub */

void judge_softmax(double *y, const double *x, int rows, int cols); /* of each row */

#endif
