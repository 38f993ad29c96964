/* SPDX-License-Identifier: MIT
 *
 * check_relative.c - the tables of what distance adds to attention's scores: ALiBi's slopes and T5's buckets against
 * their definitions, and their gradients. What attention does with a table is in check_sdpa.c.
 */
#include "tests/test.h"

/* ---- ALiBi ---- */

START_TEST(alibi_values)
{
    ag_ctx *ctx = test_begin();
    assert_values(ag_alibi_slopes(ctx, AG_F64, 1), 0, 0x1p-8);
    assert_values(ag_alibi_slopes(ctx, AG_F64, 2), 0, 0x1p-4, 0x1p-8);
    assert_values(ag_alibi_slopes(ctx, AG_F64, 8), 0, 0x1p-1, 0x1p-2, 0x1p-3, 0x1p-4, 0x1p-5, 0x1p-6, 0x1p-7, 0x1p-8);
    assert_values(ag_alibi_slopes(ctx, AG_F64, 6), 0, 0x1p-2, 0x1p-4, 0x1p-6, 0x1p-8, 0x1p-1, 0x1p-3);
    /* The published recursion, for 12: those of 8, then the first 4 of every second one of 16. */
    ag_tensor *twelve = ag_alibi_slopes(ctx, AG_F64, 12);
    for (int h = 0; h < 12; h++)
        ck_assert_double_eq_tol(test_at(twelve, h), h < 8 ? pow(2, -(h + 1)) : pow(2, -0.5 * (2 * (h - 8) + 1)), 1e-16);
    ag_tensor *slopes = ag_require_grad(ag_alibi_slopes(ctx, AG_F64, 2));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *table = ag_alibi(slopes, 2);
    ck_assert_str_eq(ag_shape_text(table), "[2,5]");
    assert_values(table, 0, -0x1p-3, -0x1p-4, 0.0, -0x1p-4, -0x1p-3, -0x1p-7, -0x1p-8, 0.0, -0x1p-8, -0x1p-7);
    assert_ok(ctx, ag_backward(tape, ag_sum(table, AG_ALL_DIMS, false)));
    assert_values(ag_grad(slopes), 0, -6.0, -6.0);
    ag_tape_end(tape);
    ck_assert_str_eq(ag_shape_text(ag_alibi(slopes, 0)), "[2,1]");
    test_end(ctx);
}
END_TEST

/* ---- Buckets ---- */

/* A distance a is in bucket e + n when (a/e)^(N-e) >= (max/e)^n, with e = N/2 of the direction's N buckets. */
static int64_t wanted_bucket(int64_t distance, int64_t N, int64_t max)
{
    const int64_t e = N / 2;
    if (distance < e)
        return distance;
    int64_t n = 0;
    while (n + 1 < N - e && (double)(N - e) * log((double)distance / (double)e) >=
                                (double)(n + 1) * log((double)max / (double)e) - 1e-9)
        n++;
    return e + n;
}

START_TEST(bucket_values)
{
    ag_ctx *ctx = test_begin();
    static const int64_t counts[] = { 32, 16, 6 }, farthest[] = { 128, 40, 20 };
    const int64_t reach = 200;
    for (int n = 0; n < 3; n++)
        for (int both = 0; both < 2; both++) {
            const int64_t N = counts[n] / (both ? 2 : 1);
            ag_tensor *table = ag_reshape(ag_arange(ctx, AG_F64, 0, 1, 2 * counts[n]), AG_SHAPE(counts[n], 2));
            ag_tensor *relative = ag_relative_buckets(table, reach, farthest[n], both);
            ck_assert_str_eq(ag_shape_text(relative), "[2,401]");
            for (int64_t d = -reach; d <= reach; d++) {
                const int64_t distance = d < 0 ? -d : both ? d : 0;
                const int64_t want = (both && d > 0 ? N : 0) + wanted_bucket(distance, N, farthest[n]);
                for (int64_t h = 0; h < 2; h++) {
                    double got = -1;
                    ag_get(relative, (const int64_t[]){ h, d + reach }, &got);
                    ck_assert_msg(got == (double)(2 * want + h), "%d buckets, distance %d: bucket %g, wanted %d",
                                  (int)counts[n], (int)d, (got - (double)h) / 2, (int)want);
                }
            }
        }
    /* T5's own, 32 buckets to 128 both ways, from the transformers package. */
    ag_tensor *column = ag_reshape(ag_arange(ctx, AG_F64, 0, 1, 32), AG_SHAPE(32, 1));
    ag_tensor *t5 = ag_relative_buckets(column, 128, 128, true);
    static const int64_t distance[] = { -128, -64, -32, -16, -12, -8, -7, -1, 0, 1, 8, 12, 23, 46, 91, 128 };
    static const double bucket[] = { 15, 14, 12, 10, 9, 8, 7, 1, 0, 17, 24, 25, 27, 29, 31, 31 };
    for (size_t i = 0; i < sizeof distance / sizeof *distance; i++)
        ck_assert_double_eq(test_at(t5, 128 + distance[i]), bucket[i]);
    test_end(ctx);
}
END_TEST

/* ---- Gradients, through attention ---- */

static void with_buckets(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_sdpa(x[0], x[0], x[0], (ag_sdpa_config){ .relative = ag_relative_buckets(x[1], 4, 6, true) });
}

static void with_alibi(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_sdpa(x[0], x[0], x[0], (ag_sdpa_config){ .mask.causal = true, .relative = ag_alibi(x[1], 4) });
}

static ag_tensor *leaf(ag_ctx *ctx, int ndim, const int64_t *shape)
{
    return ag_require_grad(ag_randn(ctx, AG_F64, ndim, shape));
}

START_TEST(gradients_of_tables)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = leaf(ctx, AG_SHAPE(2, 2, 5, 3)), *table = leaf(ctx, AG_SHAPE(6, 2));
    ag_tensor *slopes = leaf(ctx, AG_SHAPE(2));
    ck_assert_int_eq(ag_gradcheck(ctx, with_buckets, (ag_tensor *[]){ x, table }, 2, NULL,
                                  (ag_gradcheck_config){ 0 }).verdict, AG_PASS);
    ck_assert_int_eq(ag_gradcheck(ctx, with_alibi, (ag_tensor *[]){ x, slopes }, 2, NULL,
                                  (ag_gradcheck_config){ 0 }).verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

Suite *relative_suite(void)
{
    Suite *suite = suite_create("relative");
    TCase *tcase = tcase_create("relative");
    tcase_add_test(tcase, alibi_values);
    tcase_add_test(tcase, bucket_values);
    tcase_add_test(tcase, gradients_of_tables);
    suite_add_tcase(suite, tcase);
    return suite;
}
