/* SPDX-License-Identifier: MIT
 *
 * check_random.c - the generator's known answers, which word makes which value, and the distributions at a fixed
 * seed.
 *
 * Bounds of the statistical tests: a right generator fails each with a probability below 1e-4; the seed is fixed,
 * so that it either always or never does.
 */
#include "tests/test.h"

#include "tensor/philox.h"

#include <float.h>
#include <stdlib.h>

/* The zero vector is Random123's known answer for philox4x32-10. */
START_TEST(philox_known_answer)
{
    uint32_t word[4];
    ag_philox(0, 0, word);
    ck_assert_uint_eq(word[0], 0x6627e8d5u);
    ck_assert_uint_eq(word[1], 0xe169c58du);
    ck_assert_uint_eq(word[2], 0xbc57ac4cu);
    ck_assert_uint_eq(word[3], 0x9b00dbd8u);
}
END_TEST

START_TEST(philox_uses_all_of_seed_and_counter)
{
    uint32_t base[4], other[4];
    ag_philox(7, 9, base);
    for (int bit = 0; bit < 128; bit++) {
        uint64_t flip = UINT64_C(1) << bit % 64;
        ag_philox(bit < 64 ? 7 ^ flip : 7, bit < 64 ? 9 : 9 ^ flip, other);
        int differ = 0;
        for (int i = 0; i < 4; i++)
            for (uint32_t d = base[i] ^ other[i]; d != 0; d &= d - 1)
                differ++;
        ck_assert_msg(differ > 32 && differ < 96, "bit %d changes %d of 128", bit, differ);
    }
}
END_TEST

/* ---- Which word makes which value ------------------------------------------------------------ */

START_TEST(uniform_from_words)
{
    ag_ctx *ctx = test_begin();
    ag_rng_set(ctx, (ag_rng){ .seed = 5, .counter = 100 });
    ag_tensor *f = ag_rand(ctx, AG_F32, AG_SHAPE(2, 5));
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 103);
    ag_tensor *d = ag_rand(ctx, AG_F64, AG_SHAPE(5));
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 106);
    ck_assert(ag_random(ctx) >= 0.0);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 107);
    ck_assert_int_eq(ag_numel(ag_randint(ctx, 0, 9, AG_SHAPE(5))), 5);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 110);
    uint32_t word[4];
    for (int64_t i = 0; i < 10; i++) {
        ag_philox(5, 100 + (uint64_t)i / 4, word);
        ck_assert(test_at(f, i) == (word[i % 4] >> 8) / 16777216.0);
    }
    for (int64_t i = 0; i < 5; i++) {
        ag_philox(5, 103 + (uint64_t)i / 2, word);
        uint64_t bits = (uint64_t)word[i % 2 * 2] << 21 | word[i % 2 * 2 + 1] >> 11;
        ck_assert(test_at(d, i) == (double)bits / 9007199254740992.0);
    }
    test_end(ctx);
}
END_TEST

START_TEST(a_prefix_is_the_same_draw)
{
    ag_ctx *ctx = test_begin();
    for (int64_t n = 1; n < 12; n++)
        for (int kind = 0; kind < 5; kind++) {
            ag_tensor *t[2];
            for (int longer = 0; longer < 2; longer++) {
                int64_t count = longer ? 12 : n;
                ag_dtype dtype = kind % 2 ? AG_F64 : AG_F32;
                ag_rng_set(ctx, (ag_rng){ .seed = 3 });
                t[longer] = kind < 2 ? ag_rand(ctx, dtype, 1, &count)
                                     : kind < 4 ? ag_randn(ctx, dtype, 1, &count) : ag_randint(ctx, 0, 99, 1, &count);
            }
            assert_same(t[0], ag_tensor_slice(t[1], 0, 0, n, 1));
        }
    test_end(ctx);
}
END_TEST

START_TEST(strides_do_not_matter)
{
    ag_ctx *ctx = test_begin();
    for (ag_dtype dtype = AG_F32; dtype <= AG_F64; dtype++) {
        ag_tensor *dense = ag_zeros(ctx, dtype, AG_SHAPE(3, 5));
        ag_tensor *turned = ag_tensor_transpose(ag_zeros(ctx, dtype, AG_SHAPE(5, 3)), 0, 1);
        ag_tensor *gaps = ag_tensor_slice(ag_zeros(ctx, dtype, AG_SHAPE(3, 10)), 1, 0, 10, 2);
        ag_tensor *all[] = { dense, turned, gaps };
        for (int i = 0; i < 3; i++) {
            ag_rng_set(ctx, (ag_rng){ .seed = 11 });
            ck_assert_int_eq(ag_fill_uniform(all[i], -1, 2), AG_OK);
            ck_assert_int_eq(ag_fill_normal(all[i], 10, 3), AG_OK);
            ck_assert_uint_eq(ag_rng_get(ctx).counter, dtype == AG_F32 ? 8 : 16);
            assert_same(all[i], dense);
        }
    }
    test_end(ctx);
}
END_TEST

START_TEST(draws_differ_and_repeat)
{
    ag_ctx *ctx = test_begin();
    ag_rng start = ag_rng_get(ctx);
    ag_tensor *first = ag_randn(ctx, AG_F32, AG_SHAPE(100)), *second = ag_randn(ctx, AG_F32, AG_SHAPE(100));
    int equal = 0;
    for (int64_t i = 0; i < 100; i++)
        equal += test_at(first, i) == test_at(second, i);
    ck_assert_int_eq(equal, 0);
    ag_rng_set(ctx, start);
    assert_same(ag_randn(ctx, AG_F32, AG_SHAPE(100)), first);
    ag_ctx *other = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 3 });
    assert_same(ag_randn(other, AG_F32, AG_SHAPE(100)), first);
    ck_assert_int_eq(ag_ctx_free(other), 0);
    test_end(ctx);
}
END_TEST

/* ---- Distributions --------------------------------------------------------------------------- */

enum { DRAWS = 200000 };

/* t's values as doubles: an assertion per element would be slow. */
static double *values(ag_tensor *t)
{
    return ag_data_mut(ag_tensor_cast(t, AG_F64));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: sqrt(n) times the largest distance of the empirical distribution from `cdf`. Above 2.3
 * with a probability of 5e-5. Sorts x. */
static double kolmogorov(double *x, double (*cdf)(double))
{
    double worst = 0.0;
    qsort(x, DRAWS, sizeof *x, ascending);
    for (int i = 0; i < DRAWS; i++) {
        double f = cdf(x[i]);
        worst = fmax(worst, fmax(f - i / (double)DRAWS, (i + 1) / (double)DRAWS - f));
    }
    return sqrt(DRAWS) * worst;
}

static double uniform_cdf(double x)
{
    return x < 0.0 ? 0.0 : x > 1.0 ? 1.0 : x;
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x / sqrt(2.0));
}

/* The mean of (x - shift)^power. */
static double moment(const double *x, double shift, int power)
{
    double sum = 0.0;
    for (int i = 0; i < DRAWS; i++)
        sum += pow(x[i] - shift, power);
    return sum / DRAWS;
}

static double correlation(const double *x, double mean, int lag)
{
    double sum = 0.0;
    for (int i = 0; i + lag < DRAWS; i++)
        sum += (x[i] - mean) * (x[i + lag] - mean);
    return sum / DRAWS;
}

START_TEST(uniform_distribution)
{
    ag_ctx *ctx = test_begin();
    double *x = values(ag_rand(ctx, (ag_dtype)_i, AG_SHAPE(DRAWS))), n = sqrt(DRAWS);
    ck_assert_double_lt(fabs(moment(x, 0.5, 1)) * n, 4 * sqrt(1 / 12.0));
    ck_assert_double_lt(fabs(moment(x, 0.5, 2) - 1 / 12.0) * n, 4 * sqrt(1 / 80.0 - 1 / 144.0));
    for (int lag = 1; lag <= 4; lag++)
        ck_assert_double_lt(fabs(correlation(x, 0.5, lag)) * n, 4 / 12.0);
    ck_assert_double_lt(kolmogorov(x, uniform_cdf), 2.3);
    ck_assert(x[0] >= 0.0 && x[0] < 1e-4 && x[DRAWS - 1] > 1.0 - 1e-4 && x[DRAWS - 1] < 1.0);
    test_end(ctx);
}
END_TEST

START_TEST(normal_distribution)
{
    ag_ctx *ctx = test_begin();
    double *x = values(ag_randn(ctx, (ag_dtype)_i, AG_SHAPE(DRAWS))), n = sqrt(DRAWS);
    ck_assert_double_lt(fabs(moment(x, 0, 1)) * n, 4);
    ck_assert_double_lt(fabs(moment(x, 0, 2) - 1) * n, 4 * sqrt(2));
    ck_assert_double_lt(fabs(moment(x, 0, 3)) * n, 4 * sqrt(15));
    ck_assert_double_lt(fabs(moment(x, 0, 4) - 3) * n, 4 * sqrt(96));
    for (int lag = 1; lag <= 4; lag++)
        ck_assert_double_lt(fabs(correlation(x, 0, lag)) * n, 4);
    ck_assert_double_lt(kolmogorov(x, normal_cdf), 2.3);
    test_end(ctx);
}
END_TEST

/* Chi-square with k-1 degrees of freedom lies within 4 sqrt(2 (k-1)) of k-1. */
START_TEST(integer_distribution)
{
    ag_ctx *ctx = test_begin();
    enum { KINDS = 11 };
    ag_tensor *t = ag_randint(ctx, -5, -5 + KINDS, AG_SHAPE(DRAWS));
    ck_assert_int_eq(ag_dtype_of(t), AG_I32);
    const int32_t *x = ag_data(t);
    double count[KINDS + 1] = { 0 }, chi = 0.0, expected = DRAWS / (double)KINDS;
    for (int i = 0; i < DRAWS; i++)
        count[x[i] >= -5 && x[i] < -5 + KINDS ? x[i] + 5 : KINDS]++;
    for (int k = 0; k < KINDS; k++)
        chi += (count[k] - expected) * (count[k] - expected) / expected;
    ck_assert(count[KINDS] == 0);
    ck_assert_double_lt(fabs(chi - (KINDS - 1)), 4 * sqrt(2.0 * (KINDS - 1)));
    test_end(ctx);
}
END_TEST

/* With 32 random bits instead of 64, a range of 3 * 2^30 would give every third integer twice as often. */
START_TEST(integers_of_a_wide_range_have_no_bias)
{
    ag_ctx *ctx = test_begin();
    const int32_t low = INT32_MIN, high = 1 << 30;
    const int32_t *x = ag_data(ag_randint(ctx, low, high, AG_SHAPE(DRAWS)));
    double count[3] = { 0 }, chi = 0.0;
    for (int i = 0; i < DRAWS; i++)
        count[((int64_t)x[i] - low) % 3]++;
    for (int k = 0; k < 3; k++)
        chi += pow(count[k] - DRAWS / 3.0, 2) / (DRAWS / 3.0);
    ck_assert_double_lt(chi, 18.4); /* probability 1e-4 at two degrees of freedom */
    const int32_t *whole = ag_data(ag_randint(ctx, INT32_MIN, INT32_MAX, AG_SHAPE(1000)));
    int32_t least = 0, most = 0;
    for (int i = 0; i < 1000; i++) {
        least = whole[i] < least ? whole[i] : least;
        most = whole[i] > most ? whole[i] : most;
    }
    ck_assert(least < -2100000000 && most > 2100000000);
    assert_values(ag_randint(ctx, 7, 8, AG_SHAPE(3)), 0, 7, 7, 7);
    test_end(ctx);
}
END_TEST

/* ---- Bounds and errors ----------------------------------------------------------------------- */

START_TEST(intervals_are_half_open)
{
    ag_ctx *ctx = test_begin();
    /* Two neighbouring floats: rounding would give the upper one half of the time. */
    const double high = 1.0 + (double)FLT_EPSILON;
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(100)), *d = ag_zeros(ctx, AG_F64, AG_SHAPE(100));
    ck_assert_int_eq(ag_fill_uniform(t, 1.0, high), AG_OK);
    assert_same(t, ag_full(ctx, AG_F32, AG_SHAPE(100), 1.0));
    ck_assert_int_eq(ag_fill_uniform(d, 1.0, 1.0 + DBL_EPSILON), AG_OK);
    assert_same(d, ag_full(ctx, AG_F64, AG_SHAPE(100), 1.0));
    ck_assert_int_eq(ag_fill_uniform(t, -2.0, -2.0), AG_OK);
    assert_same(t, ag_full(ctx, AG_F32, AG_SHAPE(100), -2.0));
    ck_assert_int_eq(ag_fill_normal(t, 5.0, 0.0), AG_OK);
    assert_same(t, ag_full(ctx, AG_F32, AG_SHAPE(100), 5.0));
    test_end(ctx);
}
END_TEST

START_TEST(errors_draw_nothing)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2)), *integers = ag_zeros(ctx, AG_I32, AG_SHAPE(2));
    ag_tensor *repeated = ag_tensor_expand(ag_zeros(ctx, AG_F32, AG_SHAPE(1)), AG_SHAPE(3));
    ck_assert_int_eq(ag_fill_uniform(t, 1, 0), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fill_uniform: no interval from 1 to 0");
    ck_assert_int_eq(ag_fill_uniform(t, 0, (double)NAN), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fill_uniform");
    ck_assert_int_eq(ag_fill_uniform(t, 0, (double)INFINITY), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fill_uniform");
    ck_assert_int_eq(ag_fill_normal(t, 0, -1), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fill_normal: mean 0, standard deviation -1");
    ck_assert_int_eq(ag_fill_normal(integers, 0, 1), AG_ERR_DTYPE);
    assert_error(ctx, AG_ERR_DTYPE, "fill_normal: int32");
    ck_assert_int_eq(ag_fill_uniform(repeated, 0, 1), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fill_uniform: dim 0 of [3] is expanded");
    ck_assert_ptr_null(ag_rand(ctx, AG_I32, AG_SHAPE(2)));
    assert_error(ctx, AG_ERR_DTYPE, "rand: int32");
    ck_assert_ptr_null(ag_randn(ctx, AG_I32, AG_SHAPE(2)));
    assert_error(ctx, AG_ERR_DTYPE, "randn: int32");
    ck_assert_ptr_null(ag_randint(ctx, 5, 5, AG_SHAPE(2)));
    assert_error(ctx, AG_ERR_ARGUMENT, "randint: no integer from 5 to below 5");
    ck_assert_int_eq(ag_fill_uniform(NULL, 0, 1), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_fill_normal(NULL, 0, 1), AG_ERR_ARGUMENT);
    ck_assert_ptr_null(ag_rand(NULL, AG_F32, AG_SHAPE(2)));
    ck_assert_ptr_null(ag_randn(NULL, AG_F32, AG_SHAPE(2)));
    ck_assert_ptr_null(ag_randint(NULL, 0, 1, AG_SHAPE(2)));
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 0);
    ck_assert_int_eq(ag_numel(ag_randn(ctx, AG_F32, AG_SHAPE(3, 0))), 0);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 0);
    test_end(ctx);
}
END_TEST

Suite *random_suite(void)
{
    Suite *suite = suite_create("random");
    TCase *values = tcase_create("values");
    tcase_add_test(values, philox_known_answer);
    tcase_add_test(values, philox_uses_all_of_seed_and_counter);
    tcase_add_test(values, uniform_from_words);
    tcase_add_test(values, a_prefix_is_the_same_draw);
    tcase_add_test(values, strides_do_not_matter);
    tcase_add_test(values, draws_differ_and_repeat);
    tcase_add_test(values, intervals_are_half_open);
    tcase_add_test(values, errors_draw_nothing);
    suite_add_tcase(suite, values);
    TCase *distributions = tcase_create("distributions");
    tcase_add_loop_test(distributions, uniform_distribution, AG_F32, AG_F64 + 1);
    tcase_add_loop_test(distributions, normal_distribution, AG_F32, AG_F64 + 1);
    tcase_add_test(distributions, integer_distribution);
    tcase_add_test(distributions, integers_of_a_wide_range_have_no_bias);
    suite_add_tcase(suite, distributions);
    return suite;
}
