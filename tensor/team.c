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

/* ---- The first thread and one that waits for its parts. The end of an OpenMP region or barrier calls the operating
 * system, since somebody may sleep; a lock that is let go does so only when somebody sleeps for it. So a signal is a
 * lock that one thread lets go and the other waits for. Only who has set a lock may unset it, and so there are three,
 * whose roles go round:
 *
 *                 held by the first thread    held by the other    the other waits for
 *   between       begin, next                 end                  begin
 *   in a part     next                        begin, end
 *   between       end, next                   begin                next
 *
 * Of the new between, next is begin, end is next, and begin is end. How long to spin before sleeping is OpenMP's
 * matter (OMP_WAIT_POLICY). ---- */

typedef union lock {
    omp_lock_t lock;
    char line[64]; /* each on a line of cache of its own */
} lock;

typedef struct post {
    lock locks[3];
    int begin; /* which of them; as the first thread knows it */
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

static omp_lock_t *lock_of(post *p, int begin, int after)
{
    return &p->locks[(begin + after) % 3].lock;
}

enum { BEGIN = 0, END = 1, NEXT = 2 }; /* after begin */

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
