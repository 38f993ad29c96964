/* SPDX-License-Identifier: MIT
 *
 * threads.h - one parallel region for a whole loop of ops (annex of tensor/).
 */
#ifndef AG_THREADS_H
#define AG_THREADS_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Calls body(argument), for example a training loop, inside one OpenMP parallel region. Its other threads wait until
 * an op of ctx has work for them. Entering and leaving an op's parallel part costs 0.1 us in the region and 0.5 us
 * outside of it, some percent of a small model's step; and beside other programs an op in the region never waits for a
 * thread that the system has not scheduled. Results are the same. An OpenMP region that body opens has one thread,
 * unless nested parallelism is on. body is called without a region when ctx is NULL or has one thread, inside another
 * such body, in a process forked from one that has used threads, and in a build without OpenMP. body must return (no
 * longjmp) and must not free ctx. */
void ag_with_threads(ag_ctx *ctx, void (*body)(void *argument), void *argument);

#ifdef __cplusplus
}
#endif

#endif
