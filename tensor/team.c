/* SPDX-License-Identifier: MIT
 *
 * team.c - a context's threads. Here and in tensor/threads/ begin all threads of the library.
 */
#include "tensor/team.h"

#include <stddef.h>

#ifndef _OPENMP

bool ag_team_has_threads(void) { return false; }

#else

#include <omp.h>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
static long team_process(void) { return (long)getpid(); }
#else
static long team_process(void) { return 1; }
#endif

bool ag_team_has_threads(void)
{
    static long opened; /* the process that opened the first region */
    const long process = team_process();
    long first;
#pragma omp atomic read
    first = opened;
    if (first == 0) {
#pragma omp atomic write
        opened = process;
    }
    return first == 0 || first == process;
}

/* In a region whose end waits for every thread. When one is late, by more than the first had to do, the machine is
 * busy: the first is alone for a while, so that at most one part in LONE of the time is spent in waiting. */
static void team_open_region(ag_team *team, int parts, int64_t count, ag_team_part *part, const void *work)
{
    static const double LATE = 200e-6, LONE = 20;
    const double begin = omp_get_wtime();
    if (begin < team->alone_until) {
        part(work, 0, count);
        return;
    }
    double own = begin;
#pragma omp parallel num_threads(parts)
    {
        const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
        part(work, count * thread / threads, count * (thread + 1) / threads);
        if (thread == 0)
            own = omp_get_wtime();
    }
    const double end = omp_get_wtime(), waited = end - own;
    if (waited > LATE && waited > own - begin)
        team->alone_until = end + LONE * waited;
}

#endif

void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work)
{
    const int threads = team == NULL ? 1 : team->threads, parts = count < threads ? (int)count : threads;
    if (parts > 1 && team->region != NULL)
        team->region->run(team->region, parts, count, part, work);
#ifdef _OPENMP
    else if (parts > 1 && ag_team_has_threads())
        team_open_region(team, parts, count, part, work);
#endif
    else if (parts > 0)
        part(work, 0, count);
}
