/* SPDX-License-Identifier: MIT
 *
 * profile_impl.h - where the time goes, for profile.c, which measures, and profile_print.c (private header).
 */
#ifndef AG_PROFILE_IMPL_H
#define AG_PROFILE_IMPL_H

#include "autograd/tape_impl.h"
#include "autograd/watch/watch.h"

struct ag_profile {
    ag_observer observer; /* the first member: what observes is cast back */
    ag_ctx *ctx;
    ag_clock_fn *clock;
    ag_tape *tape; /* that it watches; NULL: none */
    int64_t tapes;
    double began, last; /* the last event */
    int64_t visited;    /* while backward runs: the row of the node that it is at; else -1 */
    ag_profile_row *rows;
    int64_t count, capacity;
    int64_t *slots; /* a hash table with open addressing: 1 + the row; 0: free. At most half of it is taken */
    int64_t slot_count;
    double *vjp_work; /* per node of the tape: multiply-adds of its vjp */
    int64_t work_count, work_capacity;
};

#endif
