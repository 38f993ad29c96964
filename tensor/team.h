/* SPDX-License-Identifier: MIT
 *
 * team.h - a context's threads (private header): a kernel gives the number of items of its work and a function that
 * does some of them.
 */
#ifndef AG_TEAM_H
#define AG_TEAM_H

#include <stdbool.h>
#include <stdint.h>

/* Does the items from .. to - 1 of the work. */
typedef void ag_team_part(const void *work, int64_t from, int64_t to);

/* An open parallel region (ag_with_threads in tensor/threads/) whose threads do the items in at most `parts` parts. */
typedef struct ag_region {
    void (*run)(struct ag_region *region, int parts, int64_t count, ag_team_part *part, const void *work);
} ag_region;

typedef struct ag_team {
    int threads;        /* 1 .. AG_MAX_THREADS */
    ag_region *region;  /* NULL: each work opens one */
    double for_waiting; /* the seconds of work that others have spared the caller, less its long waits for them */
    double for_waking;  /* the same, less the time that it took to wake them */
    double alone_until; /* by OpenMP's clock; the caller does all, since others cost more than they spared; or 0 */
} ag_team;

/* A team without a context. */
#define AG_TEAM(count) (&(ag_team){ .threads = (count) })

/* Does items 0 .. count - 1 of the work in equal parts, side by side: one part per thread, at most `count`, and as many
 * as OpenMP gives threads. The caller does the first part, and in a region those that no thread has begun by then. team
 * NULL: the caller does all, as in a process forked from one that has run a team. A part must not use the team. */
void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work);

/* Called after each shared work: others did `spared` seconds of it, and the caller took `waking` seconds to wake them
 * and waited `waited` seconds for them. True when it waited for long; then the system has usually stopped a thread amid
 * its part, to run another program. */
bool ag_team_weigh(ag_team *team, double spared, double waking, double waited);

/* False without OpenMP, and in a process forked from one that has opened a region: its threads are not there, and
 * OpenMP would wait for them or fail. */
bool ag_team_has_threads(void);

#endif
