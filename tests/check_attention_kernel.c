/* SPDX-License-Identifier: MIT
 *
 * check_attention_kernel.c - the tiled attention kernels against the reference, the reference against finite
 * differences, and what both promise about masks, NaN, dropout, large scores and threads.
 *
 * A problem holds every array of one call. All tables get the same numbers, which float holds exactly. Outputs
 * and scratch start as NaN, so that an element not written, or read before it is written, shows.
 */
#include "tensor/kernels/kernels.h"
#include "tensor/philox.h"
#include "tests/suites.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const TABLES[] = { "reference", "baseline", "x86-64-v3", "x86-64-v4" };
enum { TABLE_COUNT = sizeof TABLES / sizeof *TABLES };

typedef struct sizes {
    int64_t B, H, Tq, Tk, D, Dv;
} sizes;

typedef struct mask {
    int64_t left, right, offset;
} mask;

static const sizes ISOLATION = { 1, 1, 90, 90, 4, 6 };
static const mask NO_MASK = { -1, -1, 0 }, CAUSAL = { -1, 0, 0 };

enum { Q, K, V, DOUT, O, DQ, DK, DV, LSE, WEIGHTS, ARRAYS };
static const char *const NAME[] = { "q", "k", "v", "dout", "o", "dq", "dk", "dv", "lse", "weights" };

/* Memory [B,T,H,width] with a gap of one number after each row, or dense [B,H,T,width]. */
typedef struct array {
    int64_t batch, head, time, width, T, count;
    void *data;
} array;

typedef struct problem {
    ag_attention a;
    bool single; /* float; else double */
    array x[ARRAYS];
} problem;

/* ---- Elements ---- */

static double get(const problem *p, int x, int64_t i)
{
    return p->single ? (double)((const float *)p->x[x].data)[i] : ((const double *)p->x[x].data)[i];
}

static void set(problem *p, int x, int64_t i, double value)
{
    if (p->single)
        ((float *)p->x[x].data)[i] = (float)value;
    else
        ((double *)p->x[x].data)[i] = value;
}

static int64_t at(const problem *p, int x, int64_t b, int64_t h, int64_t t, int64_t d)
{
    const array *y = &p->x[x];
    return b * y->batch + h * y->head + t * y->time + d;
}

static bool same(double got, double want)
{
    return got == want || (isnan(got) && isnan(want));
}

static bool sees(const ag_attention *a, int64_t i, int64_t j)
{
    const int64_t ahead = j - (i + a->offset);
    return (a->left < 0 || -ahead <= a->left) && (a->right < 0 || ahead <= a->right);
}

static bool sees_some(const ag_attention *a, int64_t i)
{
    for (int64_t j = 0; j < a->Tk; j++)
        if (sees(a, i, j))
            return true;
    return false;
}

/* ---- Problems ---- */

static array array_of(const problem *p, int64_t T, int64_t width, bool gaps)
{
    const int64_t B = p->a.B, H = p->a.H, row = width + 1;
    array x = { .width = width, .T = T };
    x.time = gaps ? H * row : width;
    x.head = gaps ? row : T * width;
    x.batch = gaps ? T * H * row : H * T * width;
    x.count = B * x.batch;
    x.data = malloc((size_t)x.count * (p->single ? sizeof(float) : sizeof(double)) + 1);
    ck_assert_ptr_nonnull(x.data);
    return x;
}

/* Inputs are multiples of 2^-12 in [-1,1), the same for float and double. */
static problem problem_new(sizes s, mask m, double dropout, bool single, bool gaps)
{
    problem p = { .single = single };
    p.a = (ag_attention){ .B = s.B, .H = s.H, .Tq = s.Tq, .Tk = s.Tk, .D = s.D, .Dv = s.Dv, .left = m.left,
                          .right = m.right, .offset = m.offset, .scale = 1 / sqrt((double)s.D),
                          .dropout = { .p = dropout, .seed = 7, .counter = 1000 } };
    const int64_t width[] = { s.D, s.D, s.Dv, s.Dv, s.Dv, s.D, s.D, s.Dv, 1, s.Tk };
    for (int x = 0; x < ARRAYS; x++) {
        bool key = x == K || x == V || x == DK || x == DV;
        p.x[x] = array_of(&p, key ? s.Tk : s.Tq, width[x], gaps && x < LSE);
        uint32_t word[4];
        for (int64_t i = 0; i < p.x[x].count; i++) {
            if (x <= DOUT && i % 4 == 0)
                ag_philox((uint64_t)x, (uint64_t)i, word);
            set(&p, x, i, x <= DOUT ? (double)(word[i % 4] >> 19) / 4096 - 1 : (double)NAN);
        }
    }
    ag_attention *a = &p.a;
    const array *x = p.x;
    a->q = x[Q].data, a->q_batch = x[Q].batch, a->q_head = x[Q].head, a->q_time = x[Q].time;
    a->k = x[K].data, a->k_batch = x[K].batch, a->k_head = x[K].head, a->k_time = x[K].time;
    a->v = x[V].data, a->v_batch = x[V].batch, a->v_head = x[V].head, a->v_time = x[V].time;
    a->o = x[O].data, a->o_batch = x[O].batch, a->o_head = x[O].head, a->o_time = x[O].time;
    a->dout = x[DOUT].data, a->dout_batch = x[DOUT].batch, a->dout_head = x[DOUT].head, a->dout_time = x[DOUT].time;
    a->dq = x[DQ].data, a->dq_batch = x[DQ].batch, a->dq_head = x[DQ].head, a->dq_time = x[DQ].time;
    a->dk = x[DK].data, a->dk_batch = x[DK].batch, a->dk_head = x[DK].head, a->dk_time = x[DK].time;
    a->dv = x[DV].data, a->dv_batch = x[DV].batch, a->dv_head = x[DV].head, a->dv_time = x[DV].time;
    a->lse = x[LSE].data;
    a->weights = x[WEIGHTS].data;
    return p;
}

static void problem_free(problem *p)
{
    for (int x = 0; x < ARRAYS; x++)
        free(p->x[x].data);
}

static const ag_real_kernels *kernels_of(const char *isa, bool single)
{
    const ag_kernel_table *table = ag_kernels_find(isa);
    return table == NULL ? NULL : single ? &table->f32 : &table->f64;
}

/* Forward, backward and weights. */
static void run(problem *p, const ag_real_kernels *kernels, int threads)
{
    ag_attention_kernel *const calls[] = { kernels->attention, kernels->attention_vjp, kernels->attention_weights };
    size_t bytes = kernels->attention_scratch(threads, &p->a);
    char *block = malloc(bytes + 64);
    ck_assert_ptr_nonnull(block);
    for (int i = 0; i < 3; i++) {
        memset(block, 0xff, bytes + 64);
        calls[i](threads, &p->a, block + (64 - (uintptr_t)block % 64));
    }
    free(block);
}

/* ---- Comparing ---- */

/* Every element of x within tol of the array's largest finite one (or of 0.1, should all cancel to zero), gaps
 * untouched. What is not finite must be the same. */
static void compare_array(const problem *got, const problem *want, int x, double tol, const char *text)
{
    const array *y = &got->x[x];
    double largest = 0.1;
    for (int64_t i = 0; i < y->count; i++)
        if (isfinite(get(want, x, i)))
            largest = fmax(largest, fabs(get(want, x, i)));
    for (int64_t i = 0; i < y->count; i++) {
        double g = get(got, x, i), w = get(want, x, i);
        if (!(same(g, w) || fabs(g - w) <= tol * largest)) /* Check's own asserts write to a file each time */
            ck_abort_msg("%s: %s[%lld] is %.17g, not %.17g", text, NAME[x], (long long)i, g, w);
    }
}

static void compare(const problem *got, const problem *want, double tol, const char *text)
{
    for (int x = O; x < ARRAYS; x++)
        compare_array(got, want, x, tol, text);
}

static const char *describe(const char *isa, const ag_attention *a, bool single)
{
    static char text[200];
    snprintf(text, sizeof text,
             "%s %s B%lld H%lld Tq%lld Tk%lld D%lld Dv%lld left %lld right %lld offset %lld p %g", isa,
             single ? "float32" : "float64", (long long)a->B, (long long)a->H, (long long)a->Tq, (long long)a->Tk,
             (long long)a->D, (long long)a->Dv, (long long)a->left, (long long)a->right, (long long)a->offset,
             a->dropout.p);
    return text;
}

/* All tables, float and double, against the reference in double. */
static void check_tables(sizes s, mask m, double dropout, bool gaps)
{
    problem want = problem_new(s, m, dropout, false, gaps);
    run(&want, kernels_of("reference", false), 1);
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int single = 0; single <= 1; single++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], single);
            if (kernels == NULL)
                continue;
            problem got = problem_new(s, m, dropout, single, gaps);
            run(&got, kernels, 1);
            compare(&got, &want, single ? 1e-5 : 1e-12, describe(TABLES[t], &got.a, single));
            problem_free(&got);
        }
    problem_free(&want);
}

/* ---- Tests ---- */

START_TEST(tables_agree_around_tile_edges)
{
    static const int64_t T[][2] = { { 1, 1 },   { 1, 70 },   { 7, 5 },    { 63, 64 },  { 64, 64 },
                                    { 65, 65 }, { 64, 129 }, { 130, 67 }, { 200, 16 }, { 3, 200 } };
    static const int64_t D[][2] = { { 64, 64 }, { 1, 3 }, { 16, 16 }, { 32, 65 }, { 65, 32 }, { 80, 1 }, { 3, 80 } };
    for (int t = 0; t < 10; t++)
        for (int d = t % 2; d < 7; d += 2) {
            sizes s = { 1, 1, T[t][0], T[t][1], D[d][0], D[d][1] };
            const mask bottom_right = { -1, 0, s.Tk - s.Tq };
            check_tables(s, NO_MASK, 0, false);
            check_tables(s, CAUSAL, 0, true);
            check_tables(s, bottom_right, 0, false);
        }
}
END_TEST

START_TEST(tables_agree_under_masks)
{
    static const mask masks[] = { { 5, 3, 0 },   { 0, 0, 0 },     { 70, -1, 0 },  { -1, 70, -3 }, { 20, 0, 37 },
                                  { -1, 0, -10 }, { -1, 0, -1000 }, { 0, -1, 1000 }, { 9, 9, -80 },  { -1, -1, 99 },
                                  { INT64_MAX, INT64_MAX, 0 },    { 33, 40, INT64_MIN / 4 } };
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        check_tables((sizes){ 1, 1, 140, 131, 16, 24 }, masks[m], 0, m % 2 == 0);
        check_tables((sizes){ 1, 1, 70, 200, 5, 17 }, masks[m], 0.3, m % 2 == 1);
    }
}
END_TEST

START_TEST(tables_agree_with_dropout_and_strides)
{
    check_tables((sizes){ 2, 3, 65, 67, 16, 8 }, CAUSAL, 0.25, true);
    check_tables((sizes){ 2, 3, 65, 67, 16, 8 }, NO_MASK, 0.5, false);
    check_tables((sizes){ 3, 4, 33, 33, 8, 8 }, CAUSAL, 0.1, true);
    check_tables((sizes){ 1, 1, 300, 300, 8, 8 }, CAUSAL, 0.1, true); /* backward in parts */
}
END_TEST

START_TEST(empty_sizes)
{
    check_tables((sizes){ 0, 2, 5, 5, 4, 4 }, CAUSAL, 0, false);
    check_tables((sizes){ 2, 0, 5, 5, 4, 4 }, CAUSAL, 0, false);
    check_tables((sizes){ 2, 2, 0, 5, 4, 4 }, CAUSAL, 0, true);
    check_tables((sizes){ 2, 2, 5, 0, 4, 4 }, CAUSAL, 0, true);
    check_tables((sizes){ 1, 1, 0, 0, 4, 4 }, NO_MASK, 0.5, false);
}
END_TEST

/* sum o dout, by the reference */
static double objective(problem *p)
{
    const ag_attention *a = &p->a;
    kernels_of("reference", false)->attention(1, a, NULL);
    double sum = 0;
    for (int64_t b = 0; b < a->B; b++)
        for (int64_t h = 0; h < a->H; h++)
            for (int64_t t = 0; t < a->Tq; t++)
                for (int64_t e = 0; e < a->Dv; e++)
                    sum += get(p, O, at(p, O, b, h, t, e)) * get(p, DOUT, at(p, DOUT, b, h, t, e));
    return sum;
}

static void check_differences(sizes s, mask m, double dropout)
{
    const double step = 1e-5;
    problem p = problem_new(s, m, dropout, false, false);
    p.a.scale = 1.7; /* large enough that a wrong softmax shows */
    run(&p, kernels_of("reference", false), 1);
    for (int x = Q; x <= V; x++)
        for (int64_t i = 0; i < p.x[x].count; i++) {
            const double value = get(&p, x, i), gradient = get(&p, DQ + x, i);
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
    check_differences((sizes){ 2, 2, 5, 5, 3, 4 }, CAUSAL, 0);
    check_differences((sizes){ 1, 2, 4, 7, 3, 2 }, NO_MASK, 0);
    check_differences((sizes){ 1, 2, 7, 4, 2, 3 }, (mask){ -1, 0, -3 }, 0);
    check_differences((sizes){ 1, 1, 9, 9, 3, 3 }, (mask){ 2, 1, 1 }, 0);
    check_differences((sizes){ 2, 2, 6, 6, 3, 3 }, CAUSAL, 0.4);
}
END_TEST

/* Is row t of output x free of what stands in row `row` of input `poisoned`? O and dQ of the queries that use it
 * are not, nor are dK and dV of the keys that such a query sees. */
static bool independent(const ag_attention *a, int poisoned, int64_t row, int x, int64_t t)
{
    const bool of_query = poisoned == Q || poisoned == DOUT;
    if (poisoned == DOUT && x == O)
        return true;
    for (int64_t i = 0; i < a->Tq; i++) {
        if (of_query ? i != row : !sees(a, i, row))
            continue;
        if (x == DK || x == DV ? sees(a, i, t) : i == t && sees_some(a, i))
            return false;
    }
    return true;
}

/* `clean` has run. What does not depend on the poisoned row is the same, bit for bit; what does becomes NaN. */
static void check_isolation(const char *isa, const problem *clean, mask m, int poisoned, int64_t row, double poison)
{
    const bool single = clean->single;
    problem p = problem_new(ISOLATION, m, 0, single, false);
    for (int64_t d = 0; d < p.x[poisoned].width; d++)
        set(&p, poisoned, at(&p, poisoned, 0, 0, row, d), poison);
    run(&p, kernels_of(isa, single), 1);
    for (int x = O; x <= DV; x++)
        for (int64_t t = 0; t < p.x[x].T; t++) {
            const bool free_of_it = independent(&p.a, poisoned, row, x, t);
            for (int64_t d = 0; d < p.x[x].width; d++) {
                const double got = get(&p, x, at(&p, x, 0, 0, t, d)), want = get(clean, x, at(clean, x, 0, 0, t, d));
                const bool spoilt = isnan(poison) && !(poisoned == V && x == DV); /* P does not depend on V */
                if (free_of_it ? got != want : spoilt && !isnan(got))
                    ck_abort_msg("%s: %g in %s[%lld]: %s[%lld] is %g, without it %g", describe(isa, &p.a, single),
                                 poison, NAME[poisoned], (long long)row, NAME[x], (long long)t, got, want);
            }
        }
    problem_free(&p);
}

START_TEST(nan_and_infinity_stay_where_they_are_allowed)
{
    static const mask masks[] = { { -1, 0, 0 }, { -1, 0, -20 }, { 3, 2, 0 }, { 0, -1, 10 }, { 66, 0, 5 } };
    static const int64_t rows[] = { 0, 1, 63, 70, 89 };
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m < 5; m++)
            for (int single = 0; single <= 1; single++) {
                if (kernels_of(TABLES[t], single) == NULL)
                    continue;
                problem clean = problem_new(ISOLATION, masks[m], 0, single, false);
                run(&clean, kernels_of(TABLES[t], single), 1);
                for (int r = 0; r < 5; r++)
                    for (int x = Q; x <= DOUT; x++) {
                        check_isolation(TABLES[t], &clean, masks[m], x, rows[r], (double)NAN);
                        check_isolation(TABLES[t], &clean, masks[m], x, rows[r], (double)INFINITY);
                    }
                problem_free(&clean);
            }
}
END_TEST

START_TEST(rows_that_see_nothing_are_zero)
{
    for (int t = 0; t < TABLE_COUNT; t++) {
        const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
        if (kernels == NULL)
            continue;
        problem p = problem_new((sizes){ 1, 2, 90, 80, 8, 8 }, (mask){ -1, 0, -70 }, 0, true, false);
        run(&p, kernels, 2);
        for (int64_t h = 0; h < 2; h++)
            for (int64_t i = 0; i < 90; i++) {
                const bool none = i < 70;
                const double lse = get(&p, LSE, at(&p, LSE, 0, h, i, 0));
                ck_assert(none ? lse == -(double)INFINITY : isfinite(lse));
                double weights = 0;
                for (int64_t d = 0; d < 8; d++) {
                    ck_assert((get(&p, O, at(&p, O, 0, h, i, d)) == 0) == none);
                    ck_assert(!none || get(&p, DQ, at(&p, DQ, 0, h, i, d)) == 0);
                }
                for (int64_t j = 0; j < 80; j++) {
                    const double w = get(&p, WEIGHTS, at(&p, WEIGHTS, 0, h, i, j));
                    ck_assert(sees(&p.a, i, j) ? w > 0 : w == 0);
                    weights += w;
                }
                ck_assert(fabs(weights - (none ? 0 : 1)) < 1e-5);
            }
        problem_free(&p);
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
            problem p = problem_new((sizes){ 1, 1, 70, 70, 1, 3 }, NO_MASK, 0, single, false);
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

START_TEST(same_bits_for_every_thread_count)
{
    static const sizes shapes[] = { { 1, 1, 300, 300, 16, 16 }, { 1, 3, 200, 170, 8, 24 }, { 3, 4, 70, 70, 16, 16 } };
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int single = 0; single <= 1; single++)
            for (int n = 0; n < 3; n++) {
                const ag_real_kernels *kernels = kernels_of(TABLES[t], single);
                if (kernels == NULL)
                    continue;
                problem one = problem_new(shapes[n], CAUSAL, 0.1, single, true);
                run(&one, kernels, 1);
                for (int threads = 2; threads <= 3; threads++) {
                    problem p = problem_new(shapes[n], CAUSAL, 0.1, single, true);
                    run(&p, kernels, threads);
                    compare(&p, &one, 0, describe(TABLES[t], &p.a, single));
                    problem_free(&p);
                }
                problem_free(&one);
            }
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
        problem p = problem_new((sizes){ 2, 2, T, T, 4, T }, NO_MASK, 0.3, true, false);
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
            ag_attention a = { .B = 1, .H = heads, .Tq = 4096, .Tk = 4096, .D = 64, .Dv = 64, .right = 0, .left = -1 };
            const size_t once = kernels->attention_scratch(2, &a);
            a.Tq = a.Tk = 8192;
            ck_assert(kernels->attention_scratch(2, &a) <= 2 * once);
            ck_assert(once <= (size_t)32 << 20);
        }
}
END_TEST

Suite *attention_kernel_suite(void)
{
    Suite *suite = suite_create("attention_kernel");
    TCase *tests = tcase_create("attention_kernel");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, tables_agree_around_tile_edges);
    tcase_add_test(tests, tables_agree_under_masks);
    tcase_add_test(tests, tables_agree_with_dropout_and_strides);
    tcase_add_test(tests, empty_sizes);
    tcase_add_test(tests, reference_matches_finite_differences);
    tcase_add_test(tests, nan_and_infinity_stay_where_they_are_allowed);
    tcase_add_test(tests, rows_that_see_nothing_are_zero);
    tcase_add_test(tests, large_scores);
    tcase_add_test(tests, same_bits_for_every_thread_count);
    tcase_add_test(tests, dropout_follows_the_stream);
    tcase_add_test(tests, scratch_grows_with_time_not_its_square);
    suite_add_tcase(suite, tests);
    return suite;
}
