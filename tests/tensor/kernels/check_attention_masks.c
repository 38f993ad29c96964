/* SPDX-License-Identifier: MIT
 *
 * check_attention_masks.c - the tiled attention kernels under every kind of mask and bias, alone and combined,
 * against the reference; and what they promise there about NaN, rows that see nothing or one key, threads and work.
 */
#include "tests/tensor/kernels/check_attention_problem.h"
#include "tensor/philox.h"
#include "tests/suites.h"

#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Random combinations ---- */

typedef struct draw {
    uint64_t seed, next;
} draw;

static int64_t below(draw *d, int64_t n)
{
    uint32_t word[4];
    ag_philox(d->seed, d->next++, word);
    return (int64_t)(word[0] % (uint32_t)n);
}

static bool once_in(draw *d, int64_t n)
{
    return below(d, n) == 0;
}

static int64_t one_of(draw *d, const int64_t *from, size_t count)
{
    return from[below(d, (int64_t)count)];
}

#define ONE_OF(d, array) one_of(d, array, sizeof(array) / sizeof *(array))

/* A setup in which each part is there with a chance of one in `rare`. */
static attention_setup random_setup(uint64_t seed, int64_t rare)
{
    static const int64_t times[] = { 1, 2, 5, 15, 17, 33, 63, 64, 65, 66, 90, 127, 128, 129, 140, 200 };
    static const int64_t few[] = { 1, 2, 3, 4, 5 }, widths[] = { 1, 3, 8, 16, 17, 33, 64 };
    static const int64_t windows[] = { -1, 0, 1, 2, 7, 30, 63, 64, 65, 100 };
    static const int64_t strides[] = { 1, 2, 3, 7, 16, 63, 64, 65, 90 };
    static const int64_t block_sizes[] = { 1, 3, 16, 32, 33, 64, 100, 128 }, groups[] = { 1, 1, 2, 3 };
    draw d = { seed, 0 };
    attention_setup s = { .B = 1 + below(&d, 2), .D = ONE_OF(&d, widths), .Dv = ONE_OF(&d, widths), .seed = seed };
    s.Hk = 1 + below(&d, 2);
    s.H = s.Hk * ONE_OF(&d, groups);
    s.Hk = s.H == s.Hk && once_in(&d, 2) ? 0 : s.Hk;
    s.Tq = once_in(&d, 5) ? ONE_OF(&d, few) : ONE_OF(&d, times);
    s.Tk = once_in(&d, 40) ? 0 : ONE_OF(&d, times);
    s.gaps = once_in(&d, 2);
    s.dropout = once_in(&d, rare) ? 0.3 : 0;
    s.cap = once_in(&d, rare) ? 0.8 : 0;
    s.offset = once_in(&d, 2) ? 0 : below(&d, 2) == 0 ? s.Tk - s.Tq : below(&d, 200) - 100;
    s.starts = once_in(&d, rare);
    s.causal = once_in(&d, rare);
    s.window = once_in(&d, rare);
    s.left = ONE_OF(&d, windows);
    s.right = ONE_OF(&d, windows);
    s.stride = once_in(&d, rare) ? ONE_OF(&d, strides) : 0;
    s.global = once_in(&d, rare) ? below(&d, 80) : 0;
    s.key_lengths = once_in(&d, rare);
    s.documents = once_in(&d, rare);
    s.documents_own = once_in(&d, 2);
    s.block_size = once_in(&d, rare) ? ONE_OF(&d, block_sizes) : 0;
    s.blocks_own = (int)below(&d, 4);
    s.allowed = once_in(&d, rare);
    s.allowed_own = (int)below(&d, 16);
    s.density = (double)(1 + below(&d, 9)) / 10;
    s.bias = once_in(&d, rare);
    s.bias_own = (int)below(&d, 16);
    s.relative = once_in(&d, rare);
    s.relative_shared = once_in(&d, 2);
    s.reach = once_in(&d, 2) ? below(&d, 10) : below(&d, 300);
    s.choose = once_in(&d, 3);
    return s;
}

START_TEST(tables_agree_on_random_combinations)
{
    for (uint64_t seed = 0; seed < 400; seed++)
        check_tables(random_setup(seed, seed % 3 == 0 ? 2 : seed % 3 == 1 ? 4 : 8));
}
END_TEST

/* Global queries see what lies far from their window, before and behind it. */
START_TEST(tables_agree_on_global_tokens)
{
    for (int64_t offset = -3; offset <= 70; offset += 73)
        check_tables((attention_setup){ .B = 1, .H = 1, .Tq = 100, .Tk = 300, .D = 8, .Dv = 8, .offset = offset,
                                        .window = true, .left = 4, .right = 3, .global = 75 });
}
END_TEST

/* ---- Each kind of mask ---- */

/* T = 90 is a tile and a part of one. Under most of these some queries see nothing, or one key alone. */
static const attention_setup KINDS[] = {
    { .causal = true },
    { .causal = true, .offset = -70 },
    { .window = true, .left = 3, .right = 2, .offset = 20 },
    { .window = true, .left = 0, .right = -1, .offset = 75 },
    { .window = true, .left = 66, .right = 0, .offset = 85, .key_lengths = true },
    { .window = true, .left = 2, .right = 0, .global = 5, .causal = true, .offset = -3 },
    { .stride = 7, .causal = true, .offset = -2 },
    { .stride = 70, .global = 3, .causal = true, .offset = -5 },
    { .key_lengths = true, .causal = true, .offset = -40 },
    { .starts = true, .causal = true, .offset = -60 },
    { .documents = true },
    { .documents = true, .causal = true },
    { .block_size = 16, .blocks_own = 3, .density = 0.2 },
    { .block_size = 5, .density = 0.1, .causal = true },
    { .allowed = true, .allowed_own = 15, .density = 0.02 },
    { .allowed = true, .allowed_own = 8, .density = 0.5, .causal = true, .offset = -10 },
    { .window = true, .left = 20, .right = 9, .stride = 9, .global = 2, .documents = true, .block_size = 32,
      .density = 0.7, .allowed = true, .allowed_own = 14, .key_lengths = true },
};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

static attention_setup kind(int n, int64_t heads)
{
    attention_setup s = KINDS[n];
    s.B = 1;
    s.H = heads;
    s.Tq = s.Tk = 90;
    s.D = 4;
    s.Dv = 6;
    s.seed = 11 + (uint64_t)n;
    return s;
}

/* Is row t of output x free of what stands in row `row` of input `poisoned`? O and dQ of the queries that use it
 * are not, nor are dK and dV of the keys that such a query sees. */
static bool independent(const problem *p, int poisoned, int64_t row, int x, int64_t t)
{
    const bool of_query = poisoned == Q || poisoned == DOUT;
    if (poisoned == DOUT && x == O)
        return true;
    for (int64_t i = 0; i < p->a.Tq; i++) {
        if (of_query ? i != row : !sees(p, 0, 0, i, row))
            continue;
        if (x == DK || x == DV ? sees(p, 0, 0, i, t) : i == t && sees_some(p, 0, 0, i))
            return false;
    }
    return true;
}

/* `clean` has run. What does not depend on the poisoned row is the same, bit for bit; what does becomes NaN. */
static void check_isolation(const char *isa, const problem *clean, int poisoned, int64_t row, double poison)
{
    problem p = problem_new(clean->setup, clean->single);
    for (int64_t d = 0; d < p.x[poisoned].width; d++)
        set(&p, poisoned, at(&p, poisoned, 0, 0, row, d), poison);
    run(&p, kernels_of(isa, clean->single), 1);
    for (int x = O; x <= DV; x++)
        for (int64_t t = 0; t < p.x[x].T; t++) {
            const bool free_of_it = independent(&p, poisoned, row, x, t);
            for (int64_t d = 0; d < p.x[x].width; d++) {
                const double got = get(&p, x, at(&p, x, 0, 0, t, d)), want = get(clean, x, at(clean, x, 0, 0, t, d));
                const bool spoilt = isnan(poison) && !(poisoned == V && x == DV); /* P does not depend on V */
                if (free_of_it ? got != want : spoilt && !isnan(got))
                    ck_abort_msg("%s: %g in %s[%lld]: %s[%lld] is %g, without it %g", describe(isa, &p), poison,
                                 NAME[poisoned], (long long)row, NAME[x], (long long)t, got, want);
            }
        }
    problem_free(&p);
}

START_TEST(nan_and_infinity_stay_where_they_are_allowed)
{
    static const int64_t rows[] = { 0, 63, 80 };
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m < KIND_COUNT; m++)
            for (int single = 0; single <= 1; single++) {
                if (kernels_of(TABLES[t], single) == NULL)
                    continue;
                attention_setup s = kind(m, 1);
                s.cap = (m + single) % 2 == 0 ? 2 : 0;
                s.scale = 4; /* with it, products of the largest number are inf - inf */
                problem clean = problem_new(s, single);
                run(&clean, kernels_of(TABLES[t], single), 1);
                for (int r = 0; r < 3; r++)
                    for (int x = Q; x <= DOUT; x++) {
                        check_isolation(TABLES[t], &clean, x, rows[r], (double)NAN);
                        check_isolation(TABLES[t], &clean, x, rows[r], (double)INFINITY);
                        check_isolation(TABLES[t], &clean, x, rows[r], single ? (double)FLT_MAX : DBL_MAX);
                    }
                problem_free(&clean);
            }
}
END_TEST

/* A single query goes its own way forward: every key and value that it does not see is NaN. */
START_TEST(nan_stays_out_of_a_single_query)
{
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m < KIND_COUNT; m++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
            if (kernels == NULL)
                continue;
            attention_setup s = kind(m, 1);
            s.Tq = 1;
            s.offset += 70;
            problem clean = problem_new(s, true), p = problem_new(s, true);
            for (int64_t j = 0; j < s.Tk; j++)
                for (int64_t d = 0; !sees(&p, 0, 0, 0, j) && d < s.Dv; d++) {
                    set(&p, V, j * s.Dv + d, (double)NAN);
                    set(&p, K, j * s.D + d % s.D, (double)NAN);
                }
            run(&clean, kernels, 1);
            run(&p, kernels, 1);
            compare(&p, &clean, 0, describe(TABLES[t], &p));
            problem_free(&clean);
            problem_free(&p);
        }
}
END_TEST

/* Nor does what dout holds for queries that see nothing: because of the mask, or in tiles that no mask cuts because all
 * their scores are -inf. */
START_TEST(gradients_of_blind_queries_do_not_matter)
{
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m <= KIND_COUNT; m++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
            if (kernels == NULL)
                continue;
            attention_setup s = kind(m % KIND_COUNT, 1);
            s.bias = true;
            s.bias_own = 15;
            s.cap = m % 2 == 0 ? 2 : 0;
            if (m == KIND_COUNT)
                s = (attention_setup){ .B = 1, .H = 1, .Tq = 90, .Tk = 90, .D = 4, .Dv = 16, .bias = true,
                                       .bias_own = 15 };
            problem clean = problem_new(s, true), p = problem_new(s, true);
            for (int64_t i = 0; i < s.Tq; i++) {
                for (int64_t j = 0; i % 7 == 3 && j < s.Tk; j++) {
                    set(&clean, BIAS, i * s.Tk + j, -(double)INFINITY);
                    set(&p, BIAS, i * s.Tk + j, -(double)INFINITY);
                }
                for (int64_t d = 0; (i % 7 == 3 || !sees_some(&p, 0, 0, i)) && d < s.Dv; d++)
                    set(&p, DOUT, i * s.Dv + d, i % 2 == 0 ? (double)NAN : (double)INFINITY);
            }
            run(&clean, kernels, 1);
            run(&p, kernels, 1);
            compare(&p, &clean, 0, describe(TABLES[t], &p));
            problem_free(&clean);
            problem_free(&p);
        }
}
END_TEST

/* Biases of pairs that are not allowed may be anything, and their gradients are 0. */
START_TEST(biases_of_masked_pairs_do_not_matter)
{
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m < KIND_COUNT; m++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
            if (kernels == NULL)
                continue;
            attention_setup s = kind(m, 1);
            s.bias = s.relative = true;
            s.bias_own = 15;
            s.reach = 100;
            s.cap = m % 2 == 0 ? 2 : 0;
            problem clean = problem_new(s, true), p = problem_new(s, true);
            bool near[201] = { false };
            for (int64_t i = 0; i < 90; i++)
                for (int64_t j = 0; j < 90; j++) {
                    const int64_t apart = j - ag_attention_position(&p.a.mask, 0, i);
                    near[(apart < -100 ? -100 : apart > 100 ? 100 : apart) + 100] |= sees(&p, 0, 0, i, j);
                    if (!sees(&p, 0, 0, i, j))
                        set(&p, BIAS, i * 90 + j, i % 2 == 0 ? (double)NAN : (double)INFINITY);
                }
            for (int64_t n = 0; n < 201; n++)
                if (!near[n])
                    set(&p, RELATIVE, n, (double)NAN);
            run(&clean, kernels, 1);
            run(&p, kernels, 1);
            compare(&p, &clean, 0, describe(TABLES[t], &p));
            for (int64_t i = 0; i < 90 * 90; i++)
                ck_assert(sees(&p, 0, 0, i / 90, i % 90) || get(&p, DBIAS, i) == 0);
            problem_free(&clean);
            problem_free(&p);
        }
}
END_TEST

/* Zeros and -inf where nothing is seen; weights 0 exactly where not allowed, and 1 in sum. */
static void check_rows(const problem *p, int *blind, const char *text)
{
    for (int64_t h = 0; h < p->a.H; h++)
        for (int64_t i = 0; i < p->a.Tq; i++) {
            const bool none = !sees_some(p, 0, h, i);
            const double lse = get(p, LSE, at(p, LSE, 0, h, i, 0));
            ck_assert_msg(none ? lse == -(double)INFINITY : isfinite(lse), "%s: lse[%lld] is %g", text, (long long)i,
                          lse);
            double sum = 0;
            for (int64_t d = 0; d < p->a.Dv; d++)
                ck_assert_msg((get(p, O, at(p, O, 0, h, i, d)) == 0) == none, "%s: o[%lld]", text, (long long)i);
            for (int64_t d = 0; none && d < p->a.D; d++)
                ck_assert_msg(get(p, DQ, at(p, DQ, 0, h, i, d)) == 0, "%s: dq[%lld]", text, (long long)i);
            for (int64_t j = 0; j < p->a.Tk; j++) {
                const double w = get(p, WEIGHTS, at(p, WEIGHTS, 0, h, i, j));
                if (!(sees(p, 0, h, i, j) ? w > 0 : w == 0))
                    ck_abort_msg("%s: the weight of (%lld, %lld) is %g", text, (long long)i, (long long)j, w);
                sum += w;
            }
            ck_assert(fabs(sum - (none ? 0 : 1)) < 1e-5);
            *blind += none;
        }
}

START_TEST(rows_that_see_nothing_are_zero)
{
    int kinds = 0;
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m < KIND_COUNT; m++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
            if (kernels == NULL)
                continue;
            problem p = problem_new(kind(m, 2), true);
            int blind = 0;
            run(&p, kernels, 2);
            check_rows(&p, &blind, describe(TABLES[t], &p));
            ck_assert_int_lt(blind, 180);
            kinds += blind > 0;
            problem_free(&p);
        }
    ck_assert_int_ge(kinds, KIND_COUNT);
}
END_TEST

/* A query that sees one key has no gradient, exactly: by the whole mask, wherever its key stands. */
START_TEST(rows_that_see_one_key_have_no_gradient)
{
    int kinds = 0;
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int m = 0; m < KIND_COUNT + 1; m++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
            if (kernels == NULL)
                continue;
            attention_setup s = kind(m % KIND_COUNT, 1);
            s.Tk = m == KIND_COUNT ? 1 : 150;
            s.bias = true;
            s.bias_own = 15;
            s.scale = 3;
            s.Dv = 40;
            problem p = problem_new(s, true);
            for (int x = V; x <= DOUT; x++) /* so that dP and D round, each its own way */
                for (int64_t n = 0; n < p.x[x].count; n++)
                    set(&p, x, n, get(&p, x, n) / 3);
            run(&p, kernels, 1);
            bool some = false;
            for (int64_t i = 0; i < s.Tq; i++) {
                int64_t seen = 0;
                for (int64_t j = 0; j < s.Tk; j++)
                    seen += sees(&p, 0, 0, i, j);
                some = some || seen == 1;
                for (int64_t d = 0; seen == 1 && d < s.D; d++)
                    ck_assert_msg(get(&p, DQ, i * s.D + d) == 0, "%s: dq[%lld]", describe(TABLES[t], &p), (long long)i);
                for (int64_t j = 0; seen == 1 && j < s.Tk; j++)
                    ck_assert_msg(get(&p, DBIAS, i * s.Tk + j) == 0, "%s: dbias of row %lld", describe(TABLES[t], &p),
                                  (long long)i);
            }
            kinds += some;
            problem_free(&p);
        }
    ck_assert_int_ge(kinds, 10);
}
END_TEST

/* ---- Threads, weights, work ---- */

START_TEST(same_bits_for_every_thread_count)
{
    for (uint64_t seed = 1000; seed < 1040; seed++) {
        attention_setup s = random_setup(seed, seed % 2 == 0 ? 2 : 4);
        s.Tq = seed % 4 == 0 ? 1 : 300;
        s.Tk = 290;
        s.H = seed % 3 == 0 ? 1 : s.H; /* backward in parts */
        s.Hk = s.H == 1 ? 1 : s.Hk;
        for (int t = 1; t < TABLE_COUNT; t++) {
            const bool single = (seed + (uint64_t)t) % 2 == 0;
            const ag_real_kernels *kernels = kernels_of(TABLES[t], single);
            if (kernels == NULL)
                continue;
            problem one = problem_new(s, single);
            run(&one, kernels, 1);
            for (int threads = 2; threads <= 3; threads++) {
                problem p = problem_new(s, single);
                run(&p, kernels, threads);
                compare(&p, &one, 0, describe(TABLES[t], &p));
                problem_free(&p);
            }
            problem_free(&one);
        }
    }
}
END_TEST

/* Weights of some heads and rows are those of all of them, bit for bit. */
START_TEST(chosen_weights_are_the_same_weights)
{
    for (uint64_t seed = 2000; seed < 2040; seed++)
        for (int t = 0; t < TABLE_COUNT; t++) {
            attention_setup s = random_setup(seed, 3);
            s.Tq = s.Tq == 1 ? 70 : s.Tq;
            s.choose = true;
            const ag_real_kernels *kernels = kernels_of(TABLES[t], seed % 2 == 0);
            if (kernels == NULL)
                continue;
            problem some = problem_new(s, seed % 2 == 0);
            s.choose = false;
            problem all = problem_new(s, seed % 2 == 0);
            run(&some, kernels, 2);
            run(&all, kernels, 1);
            const ag_attention *a = &some.a;
            for (int64_t n = 0; n < some.x[WEIGHTS].count; n++) {
                const int64_t j = n % a->Tk, row = n / a->Tk % a->row_count, head = n / a->Tk / a->row_count;
                const int64_t b = head / a->head_count, h = a->heads[head % a->head_count];
                const double want = get(&all, WEIGHTS, ((b * a->H + h) * a->Tq + a->rows[row]) * a->Tk + j);
                if (get(&some, WEIGHTS, n) != want)
                    ck_abort_msg("%s: weights[%lld] is %.9g, not %.9g", describe(TABLES[t], &some), (long long)n,
                                 get(&some, WEIGHTS, n), want);
            }
            problem_free(&some);
            problem_free(&all);
        }
}
END_TEST

/* x[rows,64] of double moved to memory of its own, of which each tile's width of rows that nobody sees can not even
 * be read. */
static double *guarded(const problem *p, const double *x, int64_t rows)
{
    const size_t bytes = (size_t)rows * 64 * sizeof *x, tile = bytes / (size_t)rows * 64;
    const int zero = open("/dev/zero", O_RDWR);
    double *y = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    ck_assert(zero >= 0 && y != MAP_FAILED);
    close(zero);
    memcpy(y, x, bytes);
    for (int64_t j0 = 0; j0 < rows; j0 += 64) {
        bool seen = false;
        for (int64_t j = j0; j < j0 + 64; j++)
            for (int64_t i = 0; i < p->a.Tq; i++)
                seen = seen || sees(p, 0, 0, i, j);
        ck_assert(seen || mprotect((char *)y + (size_t)(j0 / 64) * tile, tile, PROT_NONE) == 0);
    }
    return y;
}

/* One block of queries: every tile that it does not see is memory that can not be read. */
START_TEST(tiles_that_are_not_seen_are_not_touched)
{
    static const attention_setup patterns[] = {
        { .causal = true, .offset = 130 },
        { .window = true, .left = 40, .right = 10, .offset = 500 },
        { .window = true, .left = 40, .right = 0, .global = 3, .offset = 500, .causal = true },
        { .documents = true },
        { .documents = true, .causal = true, .offset = 700 },
        { .block_size = 128, .density = 0.2, .offset = 300 },
        { .block_size = 64, .density = 0.3 },
        { .allowed = true, .allowed_own = 8, .density = 0.01 },
        { .key_lengths = true },
        { .stride = 300, .offset = 100 },
    };
    for (size_t n = 0; n < sizeof patterns / sizeof *patterns; n++)
        for (int t = 1; t < TABLE_COUNT; t++) {
            attention_setup s = patterns[n];
            s.B = s.H = 1;
            s.Tq = 64;
            s.Tk = 1024;
            s.D = s.Dv = 64;
            s.seed = 5;
            const ag_real_kernels *kernels = kernels_of(TABLES[t], false);
            if (kernels == NULL)
                continue;
            problem p = problem_new(s, false);
            double *k = guarded(&p, p.a.k.x, s.Tk), *v = guarded(&p, p.a.v.x, s.Tk);
            p.a.k.x = k;
            p.a.v.x = v;
            run(&p, kernels, 1);
            munmap(k, (size_t)s.Tk * 64 * sizeof *k);
            munmap(v, (size_t)s.Tk * 64 * sizeof *v);
            problem_free(&p);
        }
}
END_TEST

/* 2^40 keys, all of them the same: no kernel that walks over the tiles of this sequence would ever end. */
START_TEST(windows_do_not_walk_over_what_they_do_not_see)
{
    float q[2] = { 1, 2 }, k[1] = { 0.5f }, v[1] = { 3 };
    const int32_t length = 100;
    const int64_t far = INT64_C(1) << 39;
    const ag_attention_mask masks[] = { { .offset = far, .left = 500, .right = 20 },
                                        { .offset = far, .left = 500, .right = -1, .causal = true },
                                        { .offset = far, .left = 30, .right = 30, .global = 7 },
                                        { .offset = 70, .left = -1, .right = -1, .causal = true },
                                        { .left = -1, .right = -1, .key_lengths = &length } };
    static const int64_t seen[] = { 521, 501, 68, 71, 100 };
    for (int t = 1; t < TABLE_COUNT; t++)
        for (int m = 0; m < 5; m++)
            for (int64_t Tq = 1; Tq <= 2; Tq++) {
                const ag_real_kernels *kernels = kernels_of(TABLES[t], true);
                if (kernels == NULL)
                    continue;
                float o[2] = { 0 }, lse[2], norm[2], scratch[40000];
                const ag_attention a = { .B = 1, .H = 1, .Tq = Tq, .Tk = 2 * far, .D = 1, .Dv = 1, .scale = 1,
                                         .mask = masks[m], .q = { q, .row = 1 }, .k = { .x = k }, .v = { .x = v },
                                         .o = { o, .row = 1 }, .lse = lse, .norm = norm };
                kernels->attention(AG_TEAM(1), &a, scratch);
                ck_assert(fabsf(o[0] - 3) < 1e-5f && fabsf(o[Tq - 1] - 3) < 1e-5f);
                ck_assert(fabs((double)lse[0] - 0.5 - log((double)seen[m])) < 1e-5);
            }
}
END_TEST

Suite *attention_masks_suite(void)
{
    Suite *suite = suite_create("attention_masks");
    TCase *tests = tcase_create("rules");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, tables_agree_on_global_tokens);
    tcase_add_test(tests, nan_and_infinity_stay_where_they_are_allowed);
    tcase_add_test(tests, nan_stays_out_of_a_single_query);
    tcase_add_test(tests, gradients_of_blind_queries_do_not_matter);
    tcase_add_test(tests, biases_of_masked_pairs_do_not_matter);
    tcase_add_test(tests, rows_that_see_nothing_are_zero);
    tcase_add_test(tests, rows_that_see_one_key_have_no_gradient);
    tcase_add_test(tests, same_bits_for_every_thread_count);
    tcase_add_test(tests, chosen_weights_are_the_same_weights);
    tcase_add_test(tests, tiles_that_are_not_seen_are_not_touched);
    tcase_add_test(tests, windows_do_not_walk_over_what_they_do_not_see);
    suite_add_tcase(suite, tests);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 300);
    tcase_add_test(random, tables_agree_on_random_combinations);
    suite_add_tcase(suite, random);
    return suite;
}
