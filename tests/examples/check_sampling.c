/* SPDX-License-Identifier: MIT
 *
 * check_sampling.c - drawing the next token, of examples/shared/sampling.c: frequencies, top_k and top_p, also as the
 * transformers package has them (tests/fixtures/make_sampling_fixtures.py), logits that are no distribution.
 */
#include "tests/parity.h"

#include "examples/shared/sampling.c"

#include <float.h>

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
        int32_t token = sampling_draw(logits, &cases[_i / 2].how, 1, 0);
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

/* How many of n equally likely tokens each setting keeps: as many as it says, the first ones. Three tokens of 1/10 each
 * reach 0.3, whatever rounding makes of it. */
START_TEST(equal_tokens)
{
    enum { MOST = 100 };
    double logit[MOST] = { 0 }, scratch[MOST];
    for (int64_t n = 1; n <= MOST; n++)
        for (int64_t wanted = 1; wanted <= n; wanted++)
            for (int which = 0; which < 2; which++) {
                sampling how = { .temperature = 0.7, .top_k = which == 0 ? wanted : 0,
                                 .top_p = which == 0 ? 1 : (double)wanted / (double)n };
                for (int64_t v = 0; v < n; v++)
                    logit[v] = -1.25;
                forbid(logit, scratch, n, &how);
                for (int64_t v = 0; v < n; v++)
                    ck_assert_msg((logit[v] == -1.25) == (v < wanted), "%s of %lld keeps not %lld",
                                  which == 0 ? "top_k" : "top_p", (long long)n, (long long)wanted);
            }
}
END_TEST

/* Rows of the fixture, or of the file that AG_SAMPLING_ROWS names: the number of tokens kept, which are the likeliest,
 * of equal ones the first. */
START_TEST(kept_like_transformers)
{
    ag_ctx *ctx = test_begin();
    const char *path = getenv("AG_SAMPLING_ROWS");
    ag_safetensors *file = ag_safetensors_open(ctx, path != NULL ? path : AG_FIXTURES "/sampling.safetensors");
    assert_no_error(ctx);
    ag_tensor *logits = ag_safetensors_read(file, _i == 0 ? "float32.logits" : "float64.logits");
    ag_tensor *settings = ag_safetensors_read(file, _i == 0 ? "float32.settings" : "float64.settings");
    ck_assert(logits != NULL && settings != NULL);
    logits = ag_contiguous(ag_tensor_cast(logits, AG_F64));
    int64_t tokens = ag_dim(logits, 1);
    double *left = calloc((size_t)tokens, sizeof *left), *scratch = calloc((size_t)tokens, sizeof *scratch);
    ck_assert(left != NULL && scratch != NULL);
    for (int64_t row = 0; row < ag_dim(logits, 0); row++) {
        const double *logit = (const double *)ag_data(logits) + row * tokens;
        const double *setting = (const double *)ag_data(settings) + row * 4; /* temperature, k, p, number kept */
        memcpy(left, logit, (size_t)tokens * sizeof *left);
        sampling how = { .temperature = setting[0], .top_k = (int64_t)setting[1], .top_p = setting[2] };
        forbid(left, scratch, tokens, &how);
        int64_t count = 0;
        for (int64_t v = 0; v < tokens; v++) {
            bool stays = left[v] > -(double)INFINITY;
            count += stays;
            for (int64_t u = 0; u < tokens && stays; u++)
                ck_assert(left[u] > -(double)INFINITY || logit[u] < logit[v] || (logit[u] == logit[v] && u > v));
        }
        ck_assert_msg(count == (int64_t)setting[3], "row %lld: %lld tokens are kept, transformers keeps %g",
                      (long long)row, (long long)count, setting[3]);
    }
    free(left);
    free(scratch);
    ag_safetensors_close(file);
    test_end(ctx);
}
END_TEST

static const struct {
    double logit[4];
    const char *message; /* NULL: draws token 1 */
} distributions[] = {
    { { NAN, 1, 2, 3 }, "line 3, token 8: logit 0 of 0 .. 3 is nan" },
    { { 1, 2, 3, NAN }, "logit 3 of 0 .. 3 is nan" },
    { { NAN, NAN, NAN, NAN }, "logit 0 of 0 .. 3 is nan" },
    { { 1, INFINITY, 2, 3 }, "logit 1 of 0 .. 3 is inf" },
    { { -INFINITY, -INFINITY, -INFINITY, -INFINITY }, "each of the 4 logits is -inf" },
    { { -INFINITY, 0, -INFINITY, -INFINITY }, NULL },
    { { -DBL_MAX, DBL_MAX, -DBL_MAX, 0 }, NULL },
    { { -DBL_MAX, -1e300, -INFINITY, -DBL_MAX }, NULL },
};

/* In every way of sampling. */
START_TEST(logits_not_finite)
{
    static const sampling ways[] = { { .temperature = 0 }, { .temperature = 1 }, { .temperature = 1, .top_k = 2 },
                                     { .temperature = 1, .top_p = 0.5 }, { .temperature = 1e-300, .top_k = 4 } };
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        ag_ctx *ctx = test_begin();
        ag_tensor *logits = ag_from_data(ctx, AG_F64, AG_SHAPE(4), distributions[_i].logit);
        int32_t token = sampling_draw(logits, &ways[way], 3, 7);
        ck_assert_int_eq(token, distributions[_i].message == NULL ? 1 : -1);
        if (distributions[_i].message != NULL)
            assert_error(ctx, AG_ERR_NUMBER, distributions[_i].message);
        test_end(ctx);
    }
}
END_TEST

/* Of tokens that tie with the last one kept the first stays; one number of the stream a draw, none where nothing is
 * drawn. */
START_TEST(ties_and_the_stream)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *logits = ag_from_data(ctx, AG_F32, AG_SHAPE(4), (float[]){ 1, 2, 1, 0 });
    sampling two = { .temperature = 1, .top_k = 2 };
    bool seen[4] = { false };
    for (int i = 0; i < 1000; i++)
        seen[sampling_draw(logits, &two, 1, 0)] = true;
    ck_assert(seen[0] && seen[1] && !seen[2] && !seen[3]);
    ag_rng before = ag_rng_get(ctx);
    ag_random(ctx);
    uint64_t one = ag_rng_get(ctx).counter - before.counter;
    sampling_draw(logits, &two, 1, 0);
    ck_assert_uint_eq(ag_rng_get(ctx).counter - before.counter, 2 * one);
    sampling_draw(logits, &(sampling){ .temperature = 0 }, 1, 0);
    ck_assert_uint_eq(ag_rng_get(ctx).counter - before.counter, 2 * one);
    ck_assert_int_eq(sampling_draw(NULL, &two, 1, 0), -1);
    test_end(ctx);
}
END_TEST

Suite *sampling_suite(void)
{
    Suite *suite = suite_create("sampling");
    TCase *tcase = tcase_create("sampling");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, frequencies, 0, 2 * (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, equal_tokens);
    tcase_add_loop_test(tcase, kept_like_transformers, 0, 2);
    tcase_add_loop_test(tcase, logits_not_finite, 0, (int)(sizeof distributions / sizeof *distributions));
    tcase_add_test(tcase, ties_and_the_stream);
    suite_add_tcase(suite, tcase);
    return suite;
}
