/* SPDX-License-Identifier: MIT
 *
 * team.c - a context's threads. Here and in tensor/threads/ begin all threads of the library.
 */
#include "tensor/team.h"

#include <stddef.h>

#ifndef _OPENMP

bool ag_team_has_threads(void) { return false; }

static bool team_is_alone(ag_team *team)
{
    (void)team;
    return true;
}

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

/* On a busy machine a thread that the system stops amid its part keeps the caller waiting for milliseconds. When that
 * has cost more than the others have spared, the caller is alone for LONE times what was lost, so that at most one part
 * in LONE of the time is lost. MOST_GAIN: a good time long ago counts for little. */
bool ag_team_weigh(ag_team *team, double spared, double waited)
{
    static const double LATE = 200e-6, LONE = 20, MOST_GAIN = 1e-3;
    const bool late = waited > LATE;
    const double gain = team->gain + spared - (late ? waited : 0);
    team->gain = gain < 0 ? 0 : gain > MOST_GAIN ? MOST_GAIN : gain;
    if (gain < 0)
        team->alone_until = omp_get_wtime() - LONE * gain;
    return late;
}

static bool team_is_alone(ag_team *team)
{
    if (team->alone_until > 0 && omp_get_wtime() > team->alone_until)
        team->alone_until = 0;
    return team->alone_until > 0;
}

/* In a region whose end waits for every thread. */
static void team_open_region(ag_team *team, int parts, int64_t count, ag_team_part *part, const void *work)
{
    const double begin = omp_get_wtime();
    double own = 0;
    int others = 0;
#pragma omp parallel num_threads(parts)
    {
        const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
        part(work, count * thread / threads, count * (thread + 1) / threads);
        if (thread == 0) {
            own = omp_get_wtime() - begin;
            others = threads - 1;
        }
    }
    ag_team_weigh(team, own * others, omp_get_wtime() - begin - own);
}

#endif

void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work)
{
    const int threads = team == NULL ? 1 : team->threads, parts = count < threads ? (int)count : threads;
    const bool shared = parts > 1 && !team_is_alone(team);
    if (shared && team->region != NULL)
        team->region->run(team->region, parts, count, part, work);
#ifdef _OPENMP
    else if (shared && ag_team_has_threads())
        team_open_region(team, parts, count, part, work);
#endif
    else if (parts > 0)
        part(work, 0, count);
}
