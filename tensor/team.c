/* SPDX-License-Identifier: MIT
 *
 * team.c - a context's threads: the one place where any begin.
 */
#include "tensor/team.h"

#include "tensor/tensor.h"

#include <stddef.h>

#ifndef _OPENMP

void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work)
{
    (void)team;
    if (count > 0)
        part(work, 0, count);
}

void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument)
{
    (void)team;
    body(argument);
}

#else

#include <omp.h>

/* ---- The first thread signals to each other thread through three locks.
 *
 * The end of an OpenMP region or barrier calls the operating system, because a thread may sleep there. Unsetting a lock
 * calls it only when a thread sleeps on that lock. So a signal is a lock: one thread unsets it, the other waits to set
 * it. Only the thread that has set a lock may unset it, so the three locks exchange their roles:
 *
 *               set by the first thread   set by the other   what happens next
 *   between     begin, next               end                the first unsets begin, the other sets it
 *   in a part   next                      begin, end         the other unsets end, the first sets it
 *   between     end, next                 begin              the same, with the roles rotated
 *
 * The three locks rotate: next -> begin, end -> next, begin -> end. OMP_WAIT_POLICY decides how long a thread spins
 * before it sleeps. ---- */

typedef union lock {
    omp_lock_t lock;
    char line[64]; /* each lock has a cache line of its own */
} lock;

typedef struct post {
    lock locks[3];
    int begin; /* the index of the lock that is `begin`, for the first thread */
} post;

typedef struct job {
    ag_team_part *part; /* NULL: the region ends */
    const void *work;
    int64_t count;
    int parts;
} job;

struct ag_region {
    int threads;
    post *posts[AG_MAX_THREADS]; /* of each thread but the first */
    job job;
};

static omp_lock_t *lock_of(post *p, int begin, int role)
{
    return &p->locks[(begin + role) % 3].lock;
}

enum { BEGIN = 0, END = 1, NEXT = 2 }; /* a role, as the distance from begin */

static void do_part(const job *j, int thread)
{
    j->part(j->work, j->count * thread / j->parts, j->count * (thread + 1) / j->parts);
}

static void post_init(post *p)
{
    p->begin = 0;
    for (int i = 0; i < 3; i++)
        omp_init_lock(&p->locks[i].lock);
    omp_set_lock(lock_of(p, 0, END));
}

static void post_destroy(post *p)
{
    for (int i = 0; i < 3; i++)
        omp_destroy_lock(&p->locks[i].lock);
}

/* Every thread but the first. */
static void wait_for_parts(const struct ag_region *r, int thread)
{
    post *const mine = r->posts[thread];
    for (int begin = 0;; begin = (begin + NEXT) % 3) {
        omp_set_lock(lock_of(mine, begin, BEGIN));
        const bool last = r->job.part == NULL;
        if (!last)
            do_part(&r->job, thread);
        omp_unset_lock(lock_of(mine, begin, END));
        if (last) {
            omp_unset_lock(lock_of(mine, begin, BEGIN));
            return;
        }
    }
}

/* The first thread's side. */
static void begin_parts(struct ag_region *r)
{
    for (int t = 1; t < r->job.parts; t++)
        omp_unset_lock(lock_of(r->posts[t], r->posts[t]->begin, BEGIN));
}

static void await_parts(struct ag_region *r)
{
    for (int t = 1; t < r->job.parts; t++) {
        omp_set_lock(lock_of(r->posts[t], r->posts[t]->begin, END));
        r->posts[t]->begin = (r->posts[t]->begin + NEXT) % 3;
    }
}

static void take_posts(struct ag_region *r)
{
    for (int t = 1; t < r->threads; t++) {
        omp_set_lock(lock_of(r->posts[t], 0, BEGIN));
        omp_set_lock(lock_of(r->posts[t], 0, NEXT));
    }
}

static void leave_posts(struct ag_region *r)
{
    for (int t = 1; t < r->threads; t++)
        omp_unset_lock(lock_of(r->posts[t], r->posts[t]->begin, NEXT));
    r->job = (job){ .part = NULL, .parts = r->threads };
    begin_parts(r);
}

static void run_in_region(struct ag_region *r, job j)
{
    if (j.parts > r->threads)
        j.parts = r->threads;
    r->job = j;
    begin_parts(r);
    do_part(&j, 0);
    await_parts(r);
}

/* ---- Public ---- */

void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument)
{
    if (team->region != NULL || team->threads == 1) {
        body(argument);
        return;
    }
    struct ag_region region = { .threads = 1 };
#pragma omp parallel num_threads(team->threads)
    {
        const int thread = omp_get_thread_num();
        post mine;
        if (thread == 0) {
            region.threads = omp_get_num_threads();
        } else {
            post_init(&mine);
            region.posts[thread] = &mine;
        }
#pragma omp barrier
        if (thread == 0)
            take_posts(&region);
#pragma omp barrier
        if (thread == 0) {
            team->region = &region;
            body(argument);
            team->region = NULL;
            leave_posts(&region);
        } else {
            wait_for_parts(&region, thread);
        }
#pragma omp barrier
        if (thread != 0)
            post_destroy(&mine);
    }
}

void ag_team_run(ag_team *team, int64_t count, ag_team_part *part, const void *work)
{
    const int threads = team == NULL ? 1 : team->threads;
    job j = { .part = part, .work = work, .count = count, .parts = count < threads ? (int)count : threads };
    if (j.parts == 1) {
        part(work, 0, count);
    } else if (j.parts > 1 && team->region != NULL) {
        run_in_region(team->region, j);
    } else if (j.parts > 1) {
#pragma omp parallel num_threads(j.parts) firstprivate(j)
        {
            j.parts = omp_get_num_threads();
            do_part(&j, omp_get_thread_num());
        }
    }
}

#endif
