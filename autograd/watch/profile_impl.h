/* SPDX-License-Identifier: MIT
 *
 * profile_impl.h - the struct of a profile, for profile.c, which measures, and profile_print.c (private header).
 */
#ifndef AG_PROFILE_IMPL_H
#define AG_PROFILE_IMPL_H

#include "autograd/tape_impl.h"
#include "autograd/watch/watch.h"

struct ag_profile {
    ag_observer observer; /* the first member, so that an observer converts back to the profile */
    ag_ctx *ctx;
    ag_clock_fn *clock;
    ag_tape *tape; /* the observed one; NULL: none */
    int64_t tapes;
    double began, last; /* clock at ag_profile_new and at the last event */
    int64_t visited;    /* the row of the node that backward is at; -1: backward does not run */
    ag_profile_row *rows;
    int64_t count, capacity;
    int64_t *slots; /* hash table with open addressing: 1 + row number; 0: free; at most half full */
    int64_t slot_count;
    double *vjp_work; /* per node of the tape: multiply-adds of its vjp */
    int64_t work_count, work_capacity;
};

#endif
