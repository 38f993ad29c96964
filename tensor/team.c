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

/* The rule of an account: the seconds that the others have spared the caller, less those that they have cost. */
typedef struct account_rule {
    double most;   /* in the account: a good time long ago counts for little */
    double credit; /* how far it may be overdrawn; beyond that the caller is alone, and the account is empty */
    double alone;  /* the seconds that the caller is then alone, for each second that was overdrawn */
} account_rule;

/* Adds to an account: for how long the caller shall be alone, in seconds. */
static double account_add(double *account, double sum, const account_rule *rule)
{
    sum += *account;
    const bool overdrawn = sum < -rule->credit;
    *account = overdrawn ? 0 : sum < rule->most ? sum : rule->most;
    return overdrawn ? rule->alone * -sum : 0;
}

/* On a busy machine a thread that the system stops amid its part keeps the caller waiting for milliseconds, and one
 * that sleeps between small works takes it some 50 us to wake each time. When either has cost more than the others have
 * spared, the caller is alone for many times what was lost: at most one part in 20 or 200 of the time is lost. After
 * that the others sleep, and to wake them is on credit. Waking that took longer than MOST_WAKING was the system letting
 * another thread run first, which costs no more than it would later. */
bool ag_team_weigh(ag_team *team, double spared, double waking, double waited)
{
    static const account_rule WAITING = { .most = 1e-3, .credit = 0, .alone = 20 },
                              WAKING = { .most = 5e-3, .credit = 300e-6, .alone = 200 };
    static const double LATE = 200e-6, MOST_WAKING = 100e-6;
    const bool late = waited > LATE;
    if (waking > MOST_WAKING)
        waking = MOST_WAKING;
    const double alone = account_add(&team->for_waiting, spared - (late ? waited : 0), &WAITING) +
                         account_add(&team->for_waking, spared - waking, &WAKING);
    if (alone > 0)
        team->alone_until = omp_get_wtime() + alone;
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
    ag_team_weigh(team, own * others, 0, omp_get_wtime() - begin - own);
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
