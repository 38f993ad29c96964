/* SPDX-License-Identifier: MIT
 *
 * team.h - a context's threads (private header). All threads begin in team.c: a kernel says how many items its work has
 * and gives a function that does some of them.
 */
#ifndef AG_TEAM_H
#define AG_TEAM_H

#include <stdint.h>

typedef struct ag_team {
    int threads;              /* at the most, 1 .. AG_MAX_THREADS */
    struct ag_region *region; /* the open one of ag_team_hold; NULL: none */
} ag_team;

/* One without a context. */
#define AG_TEAM(count) (&(ag_team){ .threads = (count) })

/* The items from .. to - 1 of some work. */
typedef void ag_team_part(const void *work, int64_t from, int64_t to);

/* All items of the work, 0 .. count - 1, in equal parts side by side, each in a thread of its own; the caller is the
 * first of them. No more parts than items; fewer than threads where OpenMP gives fewer. team NULL: the caller alone.
 * A part must not use the team. */
void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work);

/* body(argument) in one parallel region: the team's other threads wait in it for what ag_team_run has for them. To
 * begin a part and to wait for its end takes 0.1 us there and 0.5 where each ag_team_run opens a region. A region
 * within a region is that region. */
void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument);

#endif
