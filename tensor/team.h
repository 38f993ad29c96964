/* SPDX-License-Identifier: MIT
 *
 * team.h - a context's threads (private header). Only team.c starts threads: a kernel gives the number of items of its
 * work and a function that does some of them.
 */
#ifndef AG_TEAM_H
#define AG_TEAM_H

#include <stdint.h>

typedef struct ag_team {
    int threads;              /* 1 .. AG_MAX_THREADS */
    struct ag_region *region; /* that of a running ag_team_hold; NULL: none */
    double alone_until;       /* by OpenMP's clock; outside a region the caller does all, since others came late */
} ag_team;

/* A team without a context. */
#define AG_TEAM(count) (&(ag_team){ .threads = (count) })

/* Does the items from .. to - 1 of the work. */
typedef void ag_team_part(const void *work, int64_t from, int64_t to);

/* Does items 0 .. count - 1 of the work in equal parts, side by side: one part per thread, at most `count`, and as many
 * as OpenMP gives threads. The caller does the first part, and in a region those that no thread has begun by then. team
 * NULL: the caller does all, as in a process forked from one that has run a team. A part must not use the team. */
void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work);

/* Calls body(argument) in one parallel region, where the team's other threads wait for ag_team_run. Entering and
 * leaving a parallel part costs 0.1 us there, and 0.5 us where each ag_team_run opens a region. In a region of the
 * team, or with one thread, body is just called. */
void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument);

#endif
