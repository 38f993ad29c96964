/* SPDX-License-Identifier: MIT
 *
 * hold.c - one parallel region for many works: its threads wait at posts, where the first thread puts shares of each
 * work. In a process forked from one with open regions nothing waits, and no region is opened.
 */
#include "tensor/threads/threads_impl.h"

#include "tensor/tensor.h"

#ifndef _OPENMP

void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument)
{
    (void)team;
    body(argument);
}

#else

#include <omp.h>

/* ---- A flag is set by one thread and taken by one ---- */

#ifndef TEAM_PAUSE
#define TEAM_PAUSE() ((void)0) /* a test waits here for a random time */
#endif

static bool flag_read(const int *flag)
{
    int value;
    TEAM_PAUSE();
#pragma omp atomic read seq_cst
    value = *flag;
    return value != 0;
}

static void flag_set(int *flag)
{
    TEAM_PAUSE();
#pragma omp atomic write seq_cst
    *flag = 1;
}

/* Clears the flag; true for the one thread that found it set. */
static bool flag_take(int *flag)
{
    int old;
    TEAM_PAUSE();
#pragma omp atomic capture seq_cst
    {
        old = *flag;
        *flag = 0;
    }
    return old != 0;
}

/* ---- A bell: one thread waits for its flag, another rings it: sets the flag. Who waits looks at the flag for some
 * microseconds, its patience, and then sleeps, and the ringer wakes it.
 *
 * In OpenMP a thread sleeps where it waits for a lock, and only the thread that has set a lock may unset it. So the
 * ringer holds one of two locks. To wake the sleeper it sets the other lock, for the next time, and unsets this one,
 * which the sleeper sets and unsets in passing. ---- */

typedef struct bell {
    int flag;
    int asleep;  /* a flag: its thread sleeps or is about to */
    int slept;   /* how often; next it waits for locks[slept % 2] */
    int wakings; /* the same as the ringer counts; it holds locks[wakings % 2] */
    omp_lock_t locks[2];
    char line[64]; /* keeps the next object out of this cache line */
} bell;

static void bell_init(bell *b)
{
    b->flag = b->asleep = b->slept = b->wakings = 0;
    omp_init_lock(&b->locks[0]);
    omp_init_lock(&b->locks[1]);
}

static void bell_destroy(bell *b)
{
    omp_destroy_lock(&b->locks[0]);
    omp_destroy_lock(&b->locks[1]);
}

/* By the ringer, before the first ring and after the last. */
static void bell_hold(bell *b)
{
    omp_set_lock(&b->locks[0]);
}

static void bell_leave(bell *b)
{
    omp_unset_lock(&b->locks[b->wakings % 2]);
}

/* Sets the flag; true when the thread that waits for it slept, and was woken. */
static bool bell_ring(bell *b)
{
    flag_set(&b->flag);
    const bool wakes = flag_read(&b->asleep) && ag_team_has_threads() && flag_take(&b->asleep);
    if (wakes) {
        omp_set_lock(&b->locks[(b->wakings + 1) % 2]);
        omp_unset_lock(&b->locks[b->wakings++ % 2]);
    }
    return wakes;
}

static void bell_sleep(bell *b)
{
    flag_set(&b->asleep);
    if (flag_read(&b->flag) && flag_take(&b->asleep))
        return; /* rung meanwhile, by a thread that saw nobody asleep */
    omp_lock_t *lock = &b->locks[b->slept++ % 2];
    omp_set_lock(lock);
    omp_unset_lock(lock);
}

/* Returns when the flag is set: how long that took, in seconds. */
static double bell_await(bell *b, double patience)
{
    const double begin = omp_get_wtime();
    double now = begin;
    for (double asleep_at = begin + patience; !flag_read(&b->flag);) {
        now = omp_get_wtime();
        if (now > asleep_at) {
            bell_sleep(b);
            now = omp_get_wtime();
            asleep_at = now + patience;
        }
    }
    return now - begin;
}

/* ---- The threads of a region. Each but the first has a post, where the first thread puts a share of the work:
 *
 *              the first puts a share            the post's thread takes it
 *      empty ---------------------------> open ---------------------------> at work
 *      ^   ^                               |                                   |
 *      |   +-------------------------------+                                   | the share is finished
 *      |    the first takes it back and does it                                v
 *      +-------------------------------------------------------------------- done
 *                                  the first sees it
 *
 * So the first thread waits only for a share that is being done, and never for a thread that the system has not
 * scheduled, as is often so beside other programs. ---- */

typedef struct share {
    ag_team_part *part; /* NULL: the region ends */
    const void *work;
    int64_t from, to;
} share;

typedef struct post {
    share share;
    bell open, done;
    /* Of the last share: */
    bool slept;      /* the thread, when the share was put here */
    bool taken_back; /* by the first */
} post;

typedef struct held_region {
    ag_region region; /* what the team sees */
    ag_team *team;
    int threads;
    post *posts[AG_MAX_THREADS]; /* of each thread but the first */
    int calm; /* the number of works since the machine was last busy, at most LONG_CALM */
} held_region;

static void share_do(const share *s)
{
    s->part(s->work, s->from, s->to);
}

static void post_put(post *p, share s)
{
    p->share = s;
    p->slept = bell_ring(&p->open);
}

/* By the first thread, when its own share is done. */
static bool post_take_back(post *p)
{
    const bool taken = !flag_read(&p->done.flag) && flag_take(&p->open.flag);
    if (taken)
        share_do(&p->share);
    return taken;
}

/* A waiting thread looks at its flag for long, as waking it takes some 50 us; on a busy machine it sleeps soon, as
 * looking takes the core from other programs. IMPATIENT alone makes a small attention layer's step take 10 % more on an
 * idle machine, PATIENT alone 25 to 45 % more beside a busy process. */
enum { LONG_CALM = 64 };
static const double PATIENT = 300e-6, IMPATIENT = 30e-6;

static double region_patience(const held_region *r)
{
    int calm;
#pragma omp atomic read
    calm = r->calm;
    return calm < LONG_CALM ? IMPATIENT : PATIENT;
}

/* By the first thread after each work. The machine is busy when a thread was awake and did not take its share, or
 * finished it late. */
static void region_notice(held_region *r, bool busy)
{
    int calm = r->calm; /* which only this thread sets */
    calm = busy ? 0 : calm < LONG_CALM ? calm + 1 : calm;
#pragma omp atomic write
    r->calm = calm;
}

/* By the post's thread. */
static void post_serve(post *p, const held_region *r)
{
    for (;;) {
        bell_await(&p->open, region_patience(r));
        if (!flag_take(&p->open.flag))
            continue;
        if (p->share.part == NULL)
            return;
        share_do(&p->share);
        bell_ring(&p->done);
    }
}

static void region_run(ag_region *region, int parts, int64_t count, ag_team_part *part, const void *work)
{
    held_region *const r = (held_region *)region; /* its first field */
    if (parts > r->threads)
        parts = r->threads;
    bool slept = false;
    const double begin = omp_get_wtime();
    for (int t = 1; t < parts; t++) {
        post_put(r->posts[t], (share){ part, work, count * t / parts, count * (t + 1) / parts });
        slept = slept || r->posts[t]->slept;
    }
    const double put = slept ? omp_get_wtime() : begin;
    part(work, 0, count / parts);
    const double own = omp_get_wtime() - put;

    bool busy = false;
    for (int t = 1; t < parts; t++) {
        post *const p = r->posts[t];
        p->taken_back = post_take_back(p);
        busy = busy || (p->taken_back && !p->slept);
    }
    region_notice(r, busy);
    double spared = 0, waited = 0;
    for (int t = 1; t < parts; t++)
        if (!r->posts[t]->taken_back) {
            waited += bell_await(&r->posts[t]->done, region_patience(r));
            flag_take(&r->posts[t]->done.flag);
            spared += own;
        }
    if (ag_team_weigh(r->team, spared, put - begin, waited))
        region_notice(r, true);
}

static void region_call(ag_team *team, held_region *r, void (*body)(void *argument), void *argument)
{
    for (int t = 1; t < r->threads; t++)
        bell_hold(&r->posts[t]->open);
    team->region = &r->region;
    body(argument);
    team->region = NULL;
    for (int t = 1; t < r->threads; t++) {
        post_put(r->posts[t], (share){ .part = NULL });
        bell_leave(&r->posts[t]->open);
    }
}

/* ---- The region ---- */

void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument)
{
    if (team->region != NULL || team->threads == 1 || !ag_team_has_threads()) {
        body(argument);
        return;
    }
    /* GNU's OpenMP lets a thread that waits for a lock look at it for milliseconds before it sleeps, and hardly at all
     * when there are more threads than processors (its manual, GOMP_SPINCOUNT): so where the team fills the processors
     * there is one more thread, which sleeps until the end. */
    const int extra = team->threads == omp_get_num_procs();
    held_region region = { .region = { region_run }, .team = team, .threads = 1 };
#pragma omp parallel num_threads(team->threads + extra)
    {
        const int thread = omp_get_thread_num();
        post mine;
        if (thread == 0) {
            const int given = omp_get_num_threads();
            region.threads = given < team->threads ? given : team->threads;
        } else {
            bell_init(&mine.open);
            bell_init(&mine.done);
            bell_hold(&mine.done);
            if (thread < team->threads)
                region.posts[thread] = &mine;
        }
#pragma omp barrier
        if (thread == 0)
            region_call(team, &region, body, argument);
        else if (thread < team->threads)
            post_serve(&mine, &region);
#pragma omp barrier
        if (thread != 0) {
            bell_leave(&mine.done);
            bell_destroy(&mine.open);
            bell_destroy(&mine.done);
        }
    }
}

#endif
