/* SPDX-License-Identifier: MIT
 *
 * bench_generate.c - what generating with the key and value cache costs, against what it must cost, and without.
 *
 * The model: vocabulary 65, embedding 128, 4 heads, 4 layers, one sequence, float32. Each round measures, in turns:
 *     cached   256 tokens, greedily, one after the other with a cache
 *     forward  one pass over the same 256 tokens
 *     steps    256 passes over one token each, with nothing before it
 *     whole    256 tokens without a cache: pass t runs over t tokens
 * and prints the medians. Exit status 1 when cached costs more than twice forward + steps, or gives other tokens than
 * whole.
 *
 *     bench_generate [--json] [--threads N] [--save FILE]     FILE gets the weights, for the peer
 *
 * The weights are larger than a new model's: that one, whose head is its token table, would repeat the first token.
 */
#define _POSIX_C_SOURCE 200809L

#include "attngrad.h"
#include "bench/measure.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 65, TOKENS = 256, LAYERS = 4, ROUNDS = 5 };
enum { CACHED, FORWARD, STEPS, WHOLE, KINDS };

/* The likeliest token at the last position of logits[1,T,V]; -1 after an error. */
static int32_t likeliest(ag_tensor *logits)
{
    ag_tensor *last = ag_contiguous(ag_select(ag_select(logits, 0, 0), 0, -1));
    if (last == NULL)
        return -1;
    const float *logit = ag_data(last);
    int32_t best = 0;
    for (int32_t v = 1; v < VOCAB; v++)
        best = logit[v] > logit[best] ? v : best;
    return best;
}

static ag_tensor *tokens_of(ag_ctx *ctx, const int32_t *token, int64_t count)
{
    return ag_from_data(ctx, AG_I32, AG_SHAPE(1, count), token);
}

/* token[1 ..] follow token[0], one at a time; with a cache, or NULL. */
static void generate(ag_ctx *ctx, ag_gpt *gpt, ag_kv_cache *cache, int32_t *token)
{
    if (cache != NULL)
        ag_kv_cache_clear(cache);
    for (int64_t t = 0; t < TOKENS; t++) {
        ag_scope_begin(ctx, NULL);
        ag_tensor *logits = cache != NULL ? ag_gpt_forward_cached(gpt, tokens_of(ctx, token + t, 1), cache, NULL)
                                          : ag_gpt_forward(gpt, tokens_of(ctx, token, t + 1));
        token[t + 1] = likeliest(logits);
        ag_scope_end(ctx, NULL);
    }
}

static void forward(ag_ctx *ctx, ag_gpt *gpt, const int32_t *token, int64_t count)
{
    ag_scope_begin(ctx, NULL);
    likeliest(ag_gpt_forward(gpt, tokens_of(ctx, token, count)));
    ag_scope_end(ctx, NULL);
}

/* What all rounds share. */
typedef struct rounds {
    ag_ctx *ctx;
    ag_gpt *gpt;
    ag_kv_cache *cache;
    int32_t token[2][TOKENS + 1]; /* with the cache, without */
    double ms[ROUNDS + 1][KINDS]; /* the last warms up */
} rounds;

static void run_round(rounds *r, double *ms)
{
    double start = now_ms();
    generate(r->ctx, r->gpt, r->cache, r->token[0]);
    ms[CACHED] = now_ms() - start;
    start = now_ms();
    forward(r->ctx, r->gpt, r->token[0], TOKENS);
    ms[FORWARD] = now_ms() - start;
    start = now_ms();
    for (int t = 0; t < TOKENS; t++)
        forward(r->ctx, r->gpt, r->token[0] + t, 1);
    ms[STEPS] = now_ms() - start;
    start = now_ms();
    generate(r->ctx, r->gpt, NULL, r->token[1]);
    ms[WHOLE] = now_ms() - start;
}

static void run_rounds(void *rounds_)
{
    rounds *const r = rounds_;
    for (int n = 0; n <= ROUNDS && ag_error(r->ctx) == AG_OK; n++)
        run_round(r, r->ms[n == 0 ? ROUNDS : n - 1]);
}

static void enlarge_weights(ag_module *module)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        if (ag_ndim(ag_module_param(module, i).tensor) == 2)
            ag_fill_normal(ag_module_param(module, i).tensor, 0, 0.3);
}

static double median_of(const rounds *r, int kind)
{
    double value[ROUNDS];
    for (int n = 0; n < ROUNDS; n++)
        value[n] = r->ms[n][kind];
    return median(value, ROUNDS);
}

/* False when it costs more than it may, or the tokens differ. */
static bool report(const rounds *r, bool json)
{
    const double cached = median_of(r, CACHED), whole = median_of(r, WHOLE);
    const double forward_ms = median_of(r, FORWARD), steps_ms = median_of(r, STEPS);
    const int threads = ag_ctx_threads(r->ctx);
    const bool same = memcmp(r->token[0], r->token[1], sizeof r->token[0]) == 0;
    if (json) {
        ag_printf("{\"threads\": %d, \"tokens\": %d, \"parameters\": %lld, \"cached_ms\": %.4f, \"whole_ms\": %.4f, "
                  "\"forward_ms\": %.4f, \"steps_ms\": %.4f, \"text\": [",
                  threads, TOKENS, (long long)ag_module_numel(ag_gpt_module(r->gpt)), cached, whole,
                  forward_ms, steps_ms);
        for (int t = 0; t <= TOKENS; t++)
            printf("%s%d", t > 0 ? ", " : "", (int)r->token[0][t]);
        printf("]}\n");
    } else {
        ag_printf(
            "generating %d tokens, C128 H4 L%d, %d threads: with the cache %.2f ms, without %.2f ms (%.1f times); "
            "one pass over them %.2f ms + %d steps of one token %.2f ms: %.2f of that (limit 2); tokens %s\n",
            TOKENS, LAYERS, threads, cached, whole, whole / cached, forward_ms, TOKENS, steps_ms,
            cached / (forward_ms + steps_ms), same ? "equal" : "DIFFER");
    }
    if (!same)
        fprintf(stderr, "bench_generate: other tokens with the cache than without\n");
    return same && cached <= 2 * (forward_ms + steps_ms);
}

int main(int argc, char **argv)
{
    const char *save = NULL;
    bool json = false;
    uint64_t threads = 0;
    const option options[] = {
        { "--json", OPTION_FLAG, &json, NULL, "print one line of JSON" },
        { "--threads", OPTION_NUMBER, &threads, "N", "0: all cores [0]" },
        { "--save", OPTION_TEXT, &save, "FILE", "write the weights, for the peer" },
    };
    int status = options_read("bench_generate", "Times the generation of tokens with a cache and without.", options,
                              sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    rounds r = { .ctx = program_context("bench_generate", 1, threads), .token = { { 1 }, { 1 } } };
    if (r.ctx == NULL)
        return EXIT_FAILURE;
    r.gpt = ag_gpt_new(r.ctx, (ag_transformer_config){ .vocab_size = VOCAB, .max_seq_len = TOKENS, .emb_size = 128,
                                                       .num_heads = 4, .num_layers = LAYERS });
    r.cache = ag_kv_cache_new(r.ctx, 1, LAYERS);
    enlarge_weights(ag_gpt_module(r.gpt));
    if (save != NULL)
        ag_module_save(ag_gpt_module(r.gpt), save);
    ag_with_threads(r.ctx, run_rounds, &r);
    const bool good = ag_error(r.ctx) == AG_OK && report(&r, json);
    ag_kv_cache_free(r.cache);
    ag_gpt_free(r.gpt);
    return program_end("bench_generate", r.ctx, good);
}
