/* SPDX-License-Identifier: MIT
 *
 * check_attention_kernel.c - the tiled attention kernels against the reference around the edges of tiles, the
 * reference against finite differences, and what both promise about dropout, large scores and memory. Masks of every
 * kind are in check_attention_masks.c.
 */
#include "tests/tensor/kernels/check_attention_problem.h"
#include "tensor/philox.h"
#include "tests/suites.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(tables_agree_around_tile_edges)
{
    static const int64_t T[][2] = { { 1, 1 },   { 1, 70 },   { 7, 5 },    { 63, 64 },  { 64, 64 },
                                    { 65, 65 }, { 64, 129 }, { 130, 67 }, { 200, 16 }, { 3, 200 } };
    static const int64_t D[][2] = { { 64, 64 }, { 1, 3 }, { 16, 16 }, { 32, 65 }, { 65, 32 }, { 80, 1 }, { 3, 80 } };
    for (int t = 0; t < 10; t++)
        for (int d = t % 2; d < 7; d += 2) {
            attention_setup s = { .B = 1, .H = 1, .Tq = T[t][0], .Tk = T[t][1], .D = D[d][0], .Dv = D[d][1] };
            check_tables(s);
            s.causal = true;
            s.gaps = true;
            check_tables(s);
            s.offset = s.Tk - s.Tq;
            s.gaps = false;
            check_tables(s);
        }
}
END_TEST

/* Windows and offsets of any size, to the ends of int64_t. */
START_TEST(tables_agree_under_windows)
{
    static const int64_t windows[][3] = { { 5, 3, 0 },       { 0, 0, 0 },       { 70, -1, 0 },   { -1, 70, -3 },
                                          { 20, 0, 37 },     { -1, 0, -10 },    { -1, 0, -1000 }, { 0, -1, 1000 },
                                          { 9, 9, -80 },     { -1, -1, 99 },    { INT64_MAX, INT64_MAX, 0 },
                                          { 33, 40, INT64_MIN / 4 }, { 33, -1, INT64_MAX / 4 } };
    for (size_t n = 0; n < sizeof windows / sizeof *windows; n++) {
        attention_setup s = { .B = 1, .H = 1, .Tq = 140, .Tk = 131, .D = 16, .Dv = 24, .window = true,
                              .left = windows[n][0], .right = windows[n][1], .offset = windows[n][2] };
        s.gaps = n % 2 == 0;
        check_tables(s);
        s.Tq = 70, s.Tk = 200, s.D = 5, s.Dv = 17;
        s.gaps = !s.gaps;
        s.dropout = 0.3;
        check_tables(s);
    }
}
END_TEST

START_TEST(tables_agree_with_dropout_and_strides)
{
    attention_setup s = { .B = 2, .H = 3, .Tq = 65, .Tk = 67, .D = 16, .Dv = 8, .dropout = 0.5 };
    check_tables(s);
    s.causal = s.gaps = true;
    s.dropout = 0.25;
    check_tables(s);
    s.Tq = s.Tk = 300; /* backward in parts */
    s.B = s.H = 1;
    check_tables(s);
    s.Tq = 1; /* a row */
    check_tables(s);
}
END_TEST

/* Steps of the softmax of one query, runs of seen keys that go through tiles, and tiles between them that are not
 * seen. */
START_TEST(one_query_of_many_keys)
{
    static const int64_t D[][2] = { { 8, 8 }, { 4, 2 }, { 64, 80 } };
    for (int d = 0; d < 3; d++)
        for (int kind = 0; kind < 4; kind++) {
            attention_setup s = { .B = 2, .H = 2, .Tq = 1, .Tk = 1300, .D = D[d][0], .Dv = D[d][1], .causal = true,
                                  .offset = 1299 - 37 * kind, .gaps = kind % 2 == 1 };
            s.window = kind > 1;
            s.left = 200;
            s.right = -1;
            s.global = kind == 3 ? 64 : 0;
            check_tables(s);
        }
}
END_TEST

START_TEST(empty_sizes)
{
    static const int64_t sizes[][4] = { { 0, 2, 5, 5 }, { 2, 0, 5, 5 }, { 2, 2, 0, 5 }, { 2, 2, 5, 0 }, { 1, 1, 0, 0 },
                                        { 2, 2, 1, 0 } };
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        attention_setup s = { .B = sizes[n][0], .H = sizes[n][1], .Tq = sizes[n][2], .Tk = sizes[n][3], .D = 4,
                              .Dv = 4 };
        check_tables(s);
        s.causal = s.gaps = s.key_lengths = s.relative = s.bias = true;
        s.bias_own = 15;
        s.reach = 3;
        s.dropout = 0.5;
        check_tables(s);
    }
}
END_TEST

/* sum o dout, by the reference */
static double objective(problem *p)
{
    const ag_attention *a = &p->a;
    kernels_of("reference", false)->attention(AG_TEAM(1), a, NULL);
    double sum = 0;
    for (int64_t b = 0; b < a->B; b++)
        for (int64_t h = 0; h < a->H; h++)
            for (int64_t t = 0; t < a->Tq; t++)
                for (int64_t e = 0; e < a->Dv; e++)
                    sum += get(p, O, at(p, O, b, h, t, e)) * get(p, DOUT, at(p, DOUT, b, h, t, e));
    return sum;
}

static void check_differences(attention_setup s)
{
    const double step = 1e-5;
    const int gradient_of[] = { [Q] = DQ, [K] = DK, [V] = DV, [BIAS] = DBIAS, [RELATIVE] = DRELATIVE };
    s.scale = 1.7; /* large enough that a wrong softmax shows */
    problem p = problem_new(s, false);
    run(&p, kernels_of("reference", false), 1);
    for (int x = Q; x <= RELATIVE; x++)
        for (int64_t i = 0; x != DOUT && i < p.x[x].count; i++) {
            const double value = get(&p, x, i), gradient = get(&p, gradient_of[x], i);
            set(&p, x, i, value + step);
            const double above = objective(&p);
            set(&p, x, i, value - step);
            const double below = objective(&p), difference = (above - below) / (2 * step);
            set(&p, x, i, value);
            ck_assert_msg(fabs(gradient - difference) <= 1e-8 * (1 + fabs(difference)), "d%s[%lld] is %.12g, not %.12g",
                          NAME[x], (long long)i, gradient, difference);
        }
    problem_free(&p);
}

START_TEST(reference_matches_finite_differences)
{
    check_differences((attention_setup){ .B = 2, .H = 2, .Tq = 5, .Tk = 5, .D = 3, .Dv = 4, .causal = true });
    check_differences((attention_setup){ .B = 1, .H = 2, .Tq = 4, .Tk = 7, .D = 3, .Dv = 2 });
    check_differences((attention_setup){ .B = 1, .H = 2, .Tq = 7, .Tk = 4, .D = 2, .Dv = 3, .causal = true,
                                         .offset = -3 });
    check_differences((attention_setup){ .B = 1, .H = 1, .Tq = 9, .Tk = 9, .D = 3, .Dv = 3, .offset = 1, .window = true,
                                         .left = 2, .right = 1 });
    check_differences((attention_setup){ .B = 2, .H = 2, .Tq = 6, .Tk = 6, .D = 3, .Dv = 3, .causal = true,
                                         .dropout = 0.4 });
}
END_TEST

START_TEST(reference_matches_finite_differences_of_biases)
{
    attention_setup s = { .B = 2, .H = 4, .Hk = 2, .Tq = 5, .Tk = 6, .D = 3, .Dv = 2, .cap = 0.9, .relative = true,
                          .reach = 2, .bias = true, .causal = true, .offset = 1, .dropout = 0.3 };
    for (s.bias_own = 0; s.bias_own < 16; s.bias_own++) {
        s.relative_shared = s.bias_own % 2 == 0;
        check_differences(s);
    }
}
END_TEST

/* Queries of 1, keys that are the scores themselves: o is the softmax of `scores` applied to v. */
static void check_scores(const double *scores, const double *probability, int count)
{
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int single = 0; single <= 1; single++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], single);
            if (kernels == NULL)
                continue;
            problem p = problem_new((attention_setup){ .B = 1, .H = 1, .Tq = 70, .Tk = 70, .D = 1, .Dv = 3 }, single);
            for (int64_t i = 0; i < 70; i++) {
                set(&p, Q, i, 1);
                set(&p, K, i, i < count ? scores[i] : -(double)INFINITY);
            }
            run(&p, kernels, 1);
            for (int64_t i = 0; i < 70; i++)
                for (int64_t d = 0; d < 3; d++) {
                    double want = 0;
                    for (int j = 0; j < count; j++)
                        want += probability[j] * get(&p, V, j * 3 + d);
                    ck_assert_double_eq_tol(get(&p, O, i * 3 + d), want, 1e-6);
                }
            problem_free(&p);
        }
}

START_TEST(large_scores)
{
    const double third[] = { 0.09003057317038046, 0.24472847105479764, 0.6652409557748219 };
    check_scores((double[]){ -20002, -20001, -20000 }, third, 3);
    check_scores((double[]){ 20000, 20001, 20002 }, third, 3);
    check_scores((double[]){ 3e38, -3e38, 3e38 }, (double[]){ 0.5, 0, 0.5 }, 3);
    check_scores((double[]){ -3e38, -3e38, -3.2e38 }, (double[]){ 0.5, 0.5, 0 }, 3);
    check_scores((double[]){ 1e30, 0, -1e30 }, (double[]){ 1, 0, 0 }, 3);
    check_scores(NULL, NULL, 0); /* all -inf: as if nothing was seen */
}
END_TEST

/* With V the unit matrix, o is the dropped probabilities, which must follow the documented rule. */
START_TEST(dropout_follows_the_stream)
{
    const int64_t T = 101, T4 = 104;
    for (int t = 0; t < TABLE_COUNT; t++) {
        const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
        if (kernels == NULL)
            continue;
        const attention_setup s = { .B = 2, .H = 2, .Tq = T, .Tk = T, .D = 4, .Dv = T, .dropout = 0.3 };
        problem p = problem_new(s, true);
        for (int64_t i = 0; i < p.x[V].count; i++)
            set(&p, V, i, i / T % T == i % T);
        run(&p, kernels, 1);
        int64_t kept = 0;
        for (int64_t n = 0; n < 4 * T * T; n++) {
            const uint64_t index = (uint64_t)(n / T * T4 + n % T);
            uint32_t word[4];
            ag_philox(p.a.dropout.seed, p.a.dropout.counter + index / 4, word);
            const bool keep = (double)(word[index % 4] >> 8) / 16777216 >= 0.3;
            const double want = keep ? get(&p, WEIGHTS, n) / 0.7 : 0;
            if (!(fabs(get(&p, O, n) - want) <= 1e-6))
                ck_abort_msg("%s: o[%lld] is %g, not %g", TABLES[t], (long long)n, get(&p, O, n), want);
            kept += keep;
        }
        ck_assert_double_eq_tol((double)kept / (double)(4 * T * T), 0.7, 0.01);
        problem_free(&p);
    }
}
END_TEST

START_TEST(scratch_grows_with_time_not_its_square)
{
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int64_t heads = 1; heads <= 16; heads *= 4) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
            if (kernels == NULL)
                continue;
            float none = 0;
            ag_attention a = { .B = 1, .H = heads, .Hk = heads > 4 ? 4 : 1, .Tq = 4096, .Tk = 4096, .D = 64, .Dv = 64,
                               .mask = { .causal = true, .left = -1, .right = -1 }, .cap = 1, .dropout = { .p = 0.1 },
                               .bias = { .x = &none }, .relative = { .x = &none }, .reach = 128 };
            const size_t once = kernels->attention_scratch(2, &a);
            a.Tq = a.Tk = 8192;
            ck_assert(kernels->attention_scratch(2, &a) <= 2 * once);
            ck_assert(once <= (size_t)32 << 20);
        }
}
END_TEST

/* A runtime may give fewer threads than it is asked for, as it does inside of a parallel region. */
START_TEST(fewer_threads_than_asked_for)
{
    const attention_setup s = { .B = 1, .H = 1, .Tq = 300, .Tk = 290, .D = 16, .Dv = 16, .causal = true };
    for (int t = 0; t < TABLE_COUNT; t++) {
        const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
        if (kernels == NULL)
            continue;
        problem one = problem_new(s, true), both[] = { problem_new(s, true), problem_new(s, true) };
        run(&one, kernels, 1);
#pragma omp parallel for num_threads(2)
        for (int n = 0; n < 2; n++)
            run(&both[n], kernels, 3);
        for (int n = 0; n < 2; n++) {
            compare(&both[n], &one, 0, describe(TABLES[t], &one));
            problem_free(&both[n]);
        }
        problem_free(&one);
    }
}
END_TEST

Suite *attention_kernel_suite(void)
{
    Suite *suite = suite_create("attention_kernel");
    TCase *tests = tcase_create("attention_kernel");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, tables_agree_around_tile_edges);
    tcase_add_test(tests, tables_agree_under_windows);
    tcase_add_test(tests, tables_agree_with_dropout_and_strides);
    tcase_add_test(tests, one_query_of_many_keys);
    tcase_add_test(tests, empty_sizes);
    tcase_add_test(tests, reference_matches_finite_differences);
    tcase_add_test(tests, reference_matches_finite_differences_of_biases);
    tcase_add_test(tests, large_scores);
    tcase_add_test(tests, dropout_follows_the_stream);
    tcase_add_test(tests, scratch_grows_with_time_not_its_square);
    tcase_add_test(tests, fewer_threads_than_asked_for);
    suite_add_tcase(suite, tests);
    return suite;
}
