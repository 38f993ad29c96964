/* SPDX-License-Identifier: MIT
 *
 * check_team.c - a context's threads: every item of some work is done once, in as many parts as there are threads,
 * whether each work opens a parallel region or all share one.
 */
#include "tests/test.h"

#include "tensor/threads/threads_impl.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 40, PARTS = 6 };

/* Work that counts what becomes of its items. */
typedef struct counting {
    int *done;          /* [MOST]: how often each item was done */
    int64_t (*span)[2]; /* [MOST]: from and to of a part, at its first item */
    int *thread;        /* [MOST]: which thread did it, at its first item */
} counting;

static int this_thread(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static int threads_of(int wanted) /* how many OpenMP gives, whatever OMP_THREAD_LIMIT and OMP_DYNAMIC say */
{
#ifdef _OPENMP
    omp_set_dynamic(0);
    return wanted < omp_get_thread_limit() ? wanted : omp_get_thread_limit();
#else
    (void)wanted;
    return 1;
#endif
}

static void count(const void *work, int64_t from, int64_t to)
{
    const counting *c = work;
    for (int64_t i = from; i < to; i++)
        c->done[i]++;
    c->span[from][0] = from;
    c->span[from][1] = to;
    c->thread[from] = this_thread();
}

/* Runs `items` items and looks at the parts: as many as threads and items allow, equal but for one, in order, each in a
 * thread of its own or, in a region, in the first. */
static void run_and_check(ag_team *team, int64_t items, int parts)
{
    if (team != NULL)
        team->alone_until = 0; /* whether or not threads came late the last time */
    int done[MOST] = { 0 }, thread[MOST];
    int64_t span[MOST][2];
    memset(span, -1, sizeof span);
    ag_team_run(team, items, count, &(counting){ done, span, thread });
    int seen = 0;
    int64_t at = 0;
    for (; at < items; at = span[at][1], seen++) {
        ck_assert_int_eq(span[at][0], at);
        ck_assert_int_le(span[at][1] - at, (items + parts - 1) / parts);
        ck_assert_int_ge(span[at][1] - at, items / parts);
        if (team == NULL || team->region == NULL || thread[at] != 0)
            ck_assert_int_eq(thread[at], seen);
    }
    ck_assert_int_eq(at, items);
    ck_assert_int_eq(seen, items == 0 ? 0 : parts);
    for (int64_t i = 0; i < MOST; i++)
        ck_assert_int_eq(done[i], i < items);
}

static void all_sizes(void *argument)
{
    ag_team *team = argument;
    const int threads = threads_of(team->threads);
    for (int round = 0; round < 20; round++) /* as many parts as before, fewer, more */
        for (int64_t items = 0; items < MOST; items += 1 + items / 8) {
            run_and_check(team, items, items == 0 ? 1 : items < threads ? (int)items : threads);
            run_and_check(NULL, items, 1);
        }
}

START_TEST(every_item_is_done_once)
{
    for (int threads = 1; threads <= PARTS; threads++) {
        all_sizes(AG_TEAM(threads));
        ag_team *team = AG_TEAM(threads);
        for (int again = 0; again < 3; again++) {
            ag_team_hold(team, all_sizes, team);
            ck_assert_ptr_null(team->region);
        }
        all_sizes(team);
    }
}
END_TEST

/* Runs some items: how many the caller's part has. */
static int64_t first_part(ag_team *team)
{
    int done[MOST] = { 0 }, thread[MOST];
    int64_t span[MOST][2];
    ag_team_run(team, MOST, count, &(counting){ done, span, thread });
    for (int i = 0; i < MOST; i++)
        ck_assert_int_eq(done[i], 1);
    return span[0][1];
}

static void be_alone(void *argument)
{
    ag_team *team = argument;
    team->alone_until = 1e300;
    ck_assert_int_eq(first_part(team), MOST);
}

START_TEST(when_threads_come_late_the_caller_is_alone_for_a_while)
{
    be_alone(AG_TEAM(3));
    ag_team *team = AG_TEAM(3);
    ag_team_hold(team, be_alone, team);
}
END_TEST

#ifdef _OPENMP
START_TEST(waking_is_weighed_against_what_it_gained)
{
    ag_team *team = AG_TEAM(3);
    ag_team_weigh(team, 1, 0, 0); /* of this 5 milliseconds count */
    for (int i = 0; i < 58; i++)
        ag_team_weigh(team, i % 2 == 0 ? 0 : 1e-5, i % 2 == 0 ? 9e-5 : 1e-4, 0); /* 90 us lost */
    ck_assert_double_eq(team->alone_until, 0); /* on credit */
    const double before = omp_get_wtime();
    ag_team_weigh(team, 1e-5, 1, 0); /* of this 100 us count; in all 310 lost */
    ck_assert_double_gt(team->alone_until, before + 0.0619);
    ck_assert_double_lt(team->alone_until, omp_get_wtime() + 0.0621);
}
END_TEST

START_TEST(waiting_is_weighed_against_what_it_gained)
{
    ag_team *team = AG_TEAM(3);
    ck_assert(!ag_team_weigh(team, 0, 0, 1e-4)); /* not long */
    ck_assert_double_eq(team->alone_until, 0);
    ck_assert(!ag_team_weigh(team, 1, 0, 0)); /* of this a millisecond counts */
    ck_assert(ag_team_weigh(team, 0, 0, 9e-4));
    ck_assert_double_eq(team->alone_until, 0);
    const double before = omp_get_wtime();
    ck_assert(ag_team_weigh(team, 0, 0, 3.1e-3)); /* 3 ms lost */
    ck_assert_double_gt(team->alone_until, before + 0.059);
    ck_assert_double_lt(team->alone_until, omp_get_wtime() + 0.061);
    team->alone_until = before / 2; /* the while is over */
    const int threads = threads_of(3);
    ck_assert_int_le(first_part(team), (MOST + threads - 1) / threads);
}
END_TEST
#endif

/* A body within a body, and what it finds. */
typedef struct nesting {
    ag_team *team;
    const struct ag_region *outer;
    int depth, calls;
} nesting;

static void nest(void *argument)
{
    nesting *n = argument;
    n->calls++;
    if (n->depth == 0)
        n->outer = n->team->region;
    ck_assert_ptr_eq(n->team->region, n->outer);
    all_sizes(n->team);
    if (n->depth++ < 2) {
        ag_team_hold(n->team, nest, n);
        ck_assert_ptr_eq(n->team->region, n->outer);
        all_sizes(n->team); /* still open */
    }
}

START_TEST(a_region_in_a_region_is_that_region)
{
    nesting n = { .team = AG_TEAM(3) };
    const bool several = threads_of(3) > 1;
    ag_team_hold(n.team, nest, &n);
    ck_assert_int_eq(n.calls, 3);
    ck_assert_ptr_null(n.team->region);
    if (several)
        ck_assert_ptr_nonnull(n.outer);
}
END_TEST

/* Two teams, the one held inside the other: OpenMP gives it one thread, and the work is done all the same. */
static void hold_another(void *argument)
{
    ag_team *other = argument;
    int done[MOST] = { 0 }, thread[MOST];
    int64_t span[MOST][2];
    ag_team_run(other, MOST, count, &(counting){ done, span, thread });
    for (int i = 0; i < MOST; i++)
        ck_assert_int_eq(done[i], 1);
}

static void hold_and_run_another(void *argument)
{
    hold_another(argument);
    ag_team_hold(argument, hold_another, argument);
    hold_another(argument);
}

START_TEST(another_team_in_a_region)
{
    ag_team_hold(AG_TEAM(3), hold_and_run_another, AG_TEAM(4));
}
END_TEST

/* ---- A forked process ---- */

static void run_once(void *argument)
{
    hold_another(argument);
}

static bool child_does_the_same(ag_team *team)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        hold_another(team);
        ag_team_hold(team, run_once, team);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void fork_in_region(void *argument)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        hold_another(argument);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

START_TEST(a_forked_process_does_all_by_one_thread)
{
    ag_team *team = AG_TEAM(3);
    hold_another(team);
    ck_assert(child_does_the_same(team));
    ck_assert(child_does_the_same(AG_TEAM(2)));
    ag_team_hold(team, fork_in_region, team);
    hold_another(team);
}
END_TEST

/* ---- Contexts ---- */

/* Trains a layer large enough for threads, and keeps the losses. */
typedef struct fit {
    ag_ctx *ctx;
    double loss[4];
} fit;

static void train(void *argument)
{
    fit *f = argument;
    ag_ctx *ctx = f->ctx;
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .num_heads = 4, .emb_size = 64, .max_seq_len = 64 });
    ag_optimizer *sgd = ag_sgd_new(ag_mha_module(mha), (ag_sgd_config){ .lr = 0.1, .momentum = 0.9 });
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(4, 64, 64));
    for (int step = 0; step < 4; step++) {
        ag_module_zero_grad(ag_mha_module(mha));
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *y = ag_mha_forward(mha, x);
        ag_tensor *loss = ag_mean(ag_mul(y, y), 3, (const int[]){ 0, 1, 2 }, false);
        ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
        ck_assert_int_eq(ag_item(loss, &f->loss[step]), AG_OK);
        ag_tape_end(tape);
        ck_assert_int_eq(ag_optimizer_step(sgd), AG_OK);
    }
    ag_optimizer_free(sgd);
    ag_mha_free(mha);
}

START_TEST(training_in_one_region_gives_the_same_bits)
{
    fit plain = { .ctx = ag_ctx_new((ag_ctx_config){ .seed = 5, .threads = 1 }) };
    train(&plain);
    ck_assert(plain.loss[3] < plain.loss[0]);
    test_end(plain.ctx);
    for (int threads = 1; threads <= 4; threads++) {
        fit held = { .ctx = ag_ctx_new((ag_ctx_config){ .seed = 5, .threads = threads }) };
        ag_with_threads(held.ctx, train, &held);
        ck_assert_mem_eq(held.loss, plain.loss, sizeof plain.loss);
        test_end(held.ctx);
    }
}
END_TEST

static void fail_in_body(void *argument)
{
    ag_tensor *x = ag_randn(argument, AG_F32, AG_SHAPE(2, 3));
    ck_assert_ptr_null(ag_matmul(x, x));
}

START_TEST(an_error_in_a_region_stays_with_the_context)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 2 });
    ag_with_threads(ctx, fail_in_body, ctx);
    assert_error(ctx, AG_ERR_SHAPE, "matmul");
    test_end(ctx);
}
END_TEST

static void note(void *argument)
{
    ++*(int *)argument;
}

START_TEST(without_a_context_the_body_is_called)
{
    int calls = 0;
    ag_with_threads(NULL, note, &calls);
    ck_assert_int_eq(calls, 1);
}
END_TEST

Suite *team_suite(void)
{
    Suite *suite = suite_create("team");
    TCase *tcase = tcase_create("team");
    tcase_set_timeout(tcase, 120); /* threads that wait for a busy core take long */
    tcase_add_test(tcase, every_item_is_done_once);
    tcase_add_test(tcase, when_threads_come_late_the_caller_is_alone_for_a_while);
#ifdef _OPENMP
    tcase_add_test(tcase, waiting_is_weighed_against_what_it_gained);
    tcase_add_test(tcase, waking_is_weighed_against_what_it_gained);
#endif
    tcase_add_test(tcase, a_region_in_a_region_is_that_region);
    tcase_add_test(tcase, another_team_in_a_region);
    tcase_add_test(tcase, a_forked_process_does_all_by_one_thread);
    tcase_add_test(tcase, training_in_one_region_gives_the_same_bits);
    tcase_add_test(tcase, without_a_context_the_body_is_called);
    tcase_add_test(tcase, an_error_in_a_region_stays_with_the_context);
    suite_add_tcase(suite, tcase);
    return suite;
}
