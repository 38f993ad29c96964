/* SPDX-License-Identifier: MIT
 *
 * check_sampling.c - drawing the next token, of examples/shared/sampling.c: frequencies, top_k and top_p.
 */
#include "tests/test.h"

#include "examples/shared/sampling.c"

enum { DRAWS = 20000, V = 5 };

/* Token i has probability p[i] at temperature 1. */
static const double probability[V] = { 0.15, 0.5, 0.0, 0.3, 0.05 };

static const struct {
    sampling how;
    double want[V];
} cases[] = {
    { { .temperature = 1 }, { 0.15, 0.5, 0, 0.3, 0.05 } },
    { { .temperature = 1, .top_k = 5, .top_p = 1 }, { 0.15, 0.5, 0, 0.3, 0.05 } },
    { { .temperature = 1, .top_k = 100 }, { 0.15, 0.5, 0, 0.3, 0.05 } },
    { { .temperature = 0.5 }, { 0.0225 / 0.365, 0.25 / 0.365, 0, 0.09 / 0.365, 0.0025 / 0.365 } },
    { { .temperature = 1, .top_k = 2 }, { 0, 0.625, 0, 0.375, 0 } },
    { { .temperature = 1, .top_k = 1 }, { 0, 1, 0, 0, 0 } },
    { { .temperature = 1, .top_p = 1e-9 }, { 0, 1, 0, 0, 0 } },
    { { .temperature = 1, .top_p = 0.49 }, { 0, 1, 0, 0, 0 } },
    { { .temperature = 1, .top_p = 0.51 }, { 0, 0.625, 0, 0.375, 0 } }, /* the second token crosses it */
    { { .temperature = 1, .top_p = 0.79 }, { 0, 0.625, 0, 0.375, 0 } },
    { { .temperature = 1, .top_p = 0.81 }, { 0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95, 0 } },
    { { .temperature = 1, .top_k = 2, .top_p = 0.6 }, { 0, 1, 0, 0, 0 } }, /* 0.625 of what top_k leaves */
    { { .temperature = 0.5, .top_p = 0.6 }, { 0, 1, 0, 0, 0 } },           /* 0.685 at that temperature */
    { { .temperature = 0 }, { 0, 1, 0, 0, 0 } },
    { { .temperature = 0, .top_k = 3, .top_p = 0.9 }, { 0, 1, 0, 0, 0 } },
};

/* Within five standard deviations; what is out is never drawn. */
START_TEST(frequencies)
{
    ag_ctx *ctx = test_begin();
    double logit[V];
    for (int v = 0; v < V; v++)
        logit[v] = log(probability[v]) + 3;
    ag_tensor *exact = ag_from_data(ctx, AG_F64, AG_SHAPE(V), logit);
    ag_tensor *logits = _i % 2 == 0 ? exact : ag_tensor_cast(exact, AG_F32);
    const double *want = cases[_i / 2].want;
    int64_t count[V] = { 0 };
    for (int i = 0; i < DRAWS; i++) {
        int32_t token = sampling_draw(logits, &cases[_i / 2].how);
        ck_assert(token >= 0 && token < V);
        count[token]++;
    }
    for (int v = 0; v < V; v++) {
        double got = (double)count[v] / DRAWS, deviation = sqrt(want[v] * (1 - want[v]) / DRAWS);
        ck_assert_msg(fabs(got - want[v]) <= 5 * deviation, "case %d, token %d: %g, wanted %g", _i / 2, v, got,
                      want[v]);
    }
    test_end(ctx);
}
END_TEST

/* Tokens as likely as the last one kept stay; one number of the stream a draw, none where nothing is drawn. */
START_TEST(ties_and_the_stream)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *logits = ag_from_data(ctx, AG_F32, AG_SHAPE(4), (float[]){ 1, 2, 1, 0 });
    sampling two = { .temperature = 1, .top_k = 2 };
    bool seen[4] = { false };
    for (int i = 0; i < 1000; i++)
        seen[sampling_draw(logits, &two)] = true;
    ck_assert(seen[0] && seen[1] && seen[2] && !seen[3]);
    ag_rng before = ag_rng_get(ctx);
    ag_random(ctx);
    uint64_t one = ag_rng_get(ctx).counter - before.counter;
    sampling_draw(logits, &two);
    ck_assert_uint_eq(ag_rng_get(ctx).counter - before.counter, 2 * one);
    sampling_draw(logits, &(sampling){ .temperature = 0 });
    ck_assert_uint_eq(ag_rng_get(ctx).counter - before.counter, 2 * one);
    ck_assert_int_eq(sampling_draw(NULL, &two), -1);
    test_end(ctx);
}
END_TEST

Suite *sampling_suite(void)
{
    Suite *suite = suite_create("sampling");
    TCase *tcase = tcase_create("sampling");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, frequencies, 0, 2 * (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, ties_and_the_stream);
    suite_add_tcase(suite, tcase);
    return suite;
}
