/* SPDX-License-Identifier: MIT
 *
 * check_team_pauses.c - hold.c once more, with pauses at each step of its threads' exchange, so that they meet in every
 * order: asleep, too late, at the same moment. HAND_OVERS=N sets how many there are.
 */
#include "tests/test.h"

#ifdef _OPENMP

#include <stdlib.h>
#include <string.h>

static void pause_in(const char *function);

#define TEAM_PAUSE() pause_in(__func__)
#define ag_team_hold paused_team_hold
#include "tensor/threads/hold.c"

enum { THREADS = 4, ITEMS = 7 };

static void pause_for(double seconds)
{
    for (const double end = omp_get_wtime() + seconds; omp_get_wtime() < end;)
        ;
}

static int read_int(const int *from)
{
    int value;
#pragma omp atomic read seq_cst
    value = *from;
    return value;
}

static void write_int(int *to, int value)
{
    (void)value; /* gcc 12 does not see that it is used */
#pragma omp atomic write seq_cst
    *to = value;
}

/* ---- Pauses of random length: most are none, some up to 5 microseconds, and one in 1000 so long that others fall
 * asleep. ---- */

static uint32_t draw_below(uint32_t limit)
{
    static uint32_t state[THREADS + 1]; /* of each thread */
    const int thread = omp_get_thread_num();
    state[thread] = state[thread] * 1664525u + 1013904223u + (uint32_t)thread;
    return (state[thread] >> 8) % limit;
}

static void pause_at_random(void)
{
    const uint32_t draw = draw_below(4000);
    if (draw < 504)
        pause_for(draw < 4 ? 1e-4 : 1e-8 * draw);
}

typedef struct sums {
    ag_team *team;
    int64_t hand_overs;
    int item[ITEMS];
} sums;

static void add_one(const void *work, int64_t from, int64_t to)
{
    sums *s = *(sums *const *)work;
    for (int64_t i = from; i < to; i++)
        s->item[i]++;
    if (draw_below(32) == 0)
        pause_for(draw_below(2) == 0 ? IMPATIENT : PATIENT);
}

static void hand_over(void *argument)
{
    sums *s = argument;
    for (int64_t n = 1; n <= s->hand_overs; n++) {
        const int64_t items = 1 + n % ITEMS;
        memset(s->item, 0, sizeof s->item);
        s->team->alone_until = 0; /* after a pause that was long */
        ag_team_run(s->team, items, add_one, &s);
        for (int64_t i = 0; i < ITEMS; i++)
            ck_assert_int_eq(s->item[i], i < items);
    }
}

START_TEST(threads_meet_in_every_order)
{
    const char *wanted = getenv("HAND_OVERS");
    const int64_t hand_overs = wanted != NULL ? atoll(wanted) : 30000;
    for (int threads = 2; threads <= THREADS; threads++) {
        sums s = { .team = AG_TEAM(threads), .hand_overs = hand_overs / (THREADS - 1) };
        paused_team_hold(s.team, hand_over, &s);
    }
}
END_TEST

/* ---- The first thread falls asleep, and before it says so the other one rings ---- */

static int moment; /* 0: the pauses are random; then one of */
enum { TO_BEGIN = 1, AT_WORK, FALLING_ASLEEP, OVER };

static void pause_in(const char *function)
{
    if (read_int(&moment) == 0)
        pause_at_random();
    if (omp_get_thread_num() == 0 && strcmp(function, "flag_set") == 0 && read_int(&moment) == AT_WORK) {
        write_int(&moment, FALLING_ASLEEP);
        pause_for(5e-3); /* the other thread rings meanwhile */
    }
}

static void wait_for(int wanted)
{
    while (read_int(&moment) != wanted)
        ;
}

static void work_until_the_first_is_tired(const void *work, int64_t from, int64_t to)
{
    (void)work, (void)to;
    if (from == 0) {
        wait_for(AT_WORK); /* until the other thread has taken its share */
    } else {
        write_int(&moment, AT_WORK);
        wait_for(FALLING_ASLEEP);
    }
}

static void ring_at_the_last_moment(void *argument)
{
    ag_team *team = argument;
    held_region *region = (held_region *)team->region;
    if (region->threads < 2)
        return;
    for (int again = 0; again < 3; again++) {
        write_int(&moment, TO_BEGIN);
        write_int(&region->calm, LONG_CALM);
        ag_team_run(team, 2, work_until_the_first_is_tired, NULL);
        ck_assert_int_eq(moment, FALLING_ASLEEP);
        write_int(&moment, OVER);
        ck_assert_int_eq(read_int(&region->calm), 0); /* it has waited for long */
        team->alone_until = 0;
    }
}

START_TEST(a_ring_at_the_last_moment_is_heard)
{
    ag_team *team = AG_TEAM(2);
    paused_team_hold(team, ring_at_the_last_moment, team);
}
END_TEST

/* ---- A thread that must be woken for each small work ---- */

static void nothing(const void *work, int64_t from, int64_t to)
{
    (void)work, (void)from, (void)to;
}

static void work_now_and_then(void *argument)
{
    ag_team *team = argument;
    held_region *region = (held_region *)team->region;
    if (region->threads < 2)
        return;
    double before = 0;
    for (int again = 0; again < 1000 && team->for_waking >= before; again++) {
        pause_for(2 * PATIENT); /* the other thread falls asleep, when the system lets it run */
        before = team->for_waking;
        ag_team_run(team, 2, nothing, NULL);
    }
    ck_assert_double_lt(team->for_waking, before);
}

START_TEST(waking_is_a_cost)
{
    write_int(&moment, OVER); /* no pauses in between */
    ag_team *team = AG_TEAM(2);
    paused_team_hold(team, work_now_and_then, team);
}
END_TEST

#endif

Suite *team_pauses_suite(void)
{
    Suite *suite = suite_create("team_pauses");
    TCase *tcase = tcase_create("team_pauses");
    tcase_set_timeout(tcase, 120);
#ifdef _OPENMP
    tcase_add_test(tcase, threads_meet_in_every_order);
    tcase_add_test(tcase, a_ring_at_the_last_moment_is_heard);
    tcase_add_test(tcase, waking_is_a_cost);
#endif
    suite_add_tcase(suite, tcase);
    return suite;
}
