/* SPDX-License-Identifier: MIT
 *
 * bench_generate.c - what generating with the key and value cache costs, against what it must cost, and without.
 *
 *     bench_generate [--model NAME] [--threads N] [--rounds N] [--cached] [--json] [--save FILE]
 *         FILE gets the weights, for the peer
 *
 * One sequence, float32. Each round measures, in turns:
 *     cached   the tokens, greedily, one after the other with a cache
 *     forward  one pass over the same tokens
 *     steps    as many passes over one token each, with nothing before it
 *     whole    the tokens without a cache: pass t runs over t tokens; not of smollm2-135M, nor with --cached
 * and prints the medians, with --json the means too. Exit status 1 when cached costs more than twice forward + steps,
 * or gives other tokens than whole.
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

enum { MOST_TOKENS = 256, MOST_ROUNDS = 1000 };
enum { CACHED, FORWARD, STEPS, WHOLE, KINDS };

typedef struct model {
    const char *name;
    int tokens;
    bool whole;
    double weight; /* standard deviation of the matrices */
    ag_transformer_config config;
} model;

#define LLAMA(kv) .norm = AG_RMS_NORM, .gated = true, .activation = AG_SILU, .positions = AG_POSITIONS_NONE, \
                  .no_bias = true, .attention = { .kv_heads = (kv), .rotary = &ag_rotary }

static const model models[] = {
    { "tiny", 256, true, 0.3,
      { .vocab_size = 65, .max_seq_len = 256, .emb_size = 128, .num_heads = 4, .num_layers = 4 } },
    { "stories260K", 256, true, 0.3, /* llama2.c's smallest */
      { .vocab_size = 512, .emb_size = 64, .num_heads = 8, .num_layers = 5, .ff_size = 172, LLAMA(4) } },
    { "smollm2-135M", 32, false, 0.05,
      { .vocab_size = 49152, .emb_size = 576, .num_heads = 9, .num_layers = 30, .ff_size = 1536, LLAMA(3) } },
};

/* The likeliest token at the last position of logits[1,T,V]; -1 after an error. */
static int32_t likeliest(ag_tensor *logits)
{
    ag_tensor *last = ag_contiguous(ag_select(ag_select(logits, 0, 0), 0, -1));
    if (last == NULL)
        return -1;
    const float *logit = ag_data(last);
    int32_t best = 0;
    for (int32_t v = 1; v < ag_dim(last, 0); v++)
        best = logit[v] > logit[best] ? v : best;
    return best;
}

static ag_tensor *tokens_of(ag_ctx *ctx, const int32_t *token, int64_t count)
{
    return ag_from_data(ctx, AG_I32, AG_SHAPE(1, count), token);
}

/* What all rounds share. */
typedef struct rounds {
    const model *model;
    ag_ctx *ctx;
    ag_gpt *gpt;
    ag_kv_cache *cache;
    int32_t token[2][MOST_TOKENS + 1]; /* with the cache, without */
    bool whole;
    int count;
    double ms[KINDS][MOST_ROUNDS];
} rounds;

/* token[1 ..] follow token[0], one at a time; with a cache, or NULL. */
static void generate(rounds *r, ag_kv_cache *cache, int32_t *token)
{
    if (cache != NULL)
        ag_kv_cache_clear(cache);
    for (int64_t t = 0; t < r->model->tokens; t++) {
        ag_scope_begin(r->ctx, NULL);
        ag_tensor *logits = cache != NULL ? ag_gpt_forward_cached(r->gpt, tokens_of(r->ctx, token + t, 1), cache, NULL)
                                          : ag_gpt_forward(r->gpt, tokens_of(r->ctx, token, t + 1));
        token[t + 1] = likeliest(logits);
        ag_scope_end(r->ctx, NULL);
    }
}

static void forward(rounds *r, const int32_t *token, int64_t count)
{
    ag_scope_begin(r->ctx, NULL);
    likeliest(ag_gpt_forward(r->gpt, tokens_of(r->ctx, token, count)));
    ag_scope_end(r->ctx, NULL);
}

static void run_round(rounds *r, int round)
{
    double start = now_ms();
    generate(r, r->cache, r->token[0]);
    r->ms[CACHED][round] = now_ms() - start;
    start = now_ms();
    forward(r, r->token[0], r->model->tokens);
    r->ms[FORWARD][round] = now_ms() - start;
    start = now_ms();
    for (int t = 0; t < r->model->tokens; t++)
        forward(r, r->token[0] + t, 1);
    r->ms[STEPS][round] = now_ms() - start;
    start = now_ms();
    if (r->whole)
        generate(r, NULL, r->token[1]);
    r->ms[WHOLE][round] = now_ms() - start;
}

static void run_rounds(void *rounds_)
{
    rounds *const r = rounds_;
    run_round(r, 0); /* warms up */
    for (int n = 0; n < r->count && ag_error(r->ctx) == AG_OK; n++)
        run_round(r, n);
}

static void enlarge_weights(ag_module *module, double weight)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        if (ag_ndim(ag_module_param(module, i).tensor) == 2)
            ag_fill_normal(ag_module_param(module, i).tensor, 0, weight);
}

/* False when it costs more than it may, or the tokens differ. */
static bool report(rounds *r, bool json)
{
    const double cached = median(r->ms[CACHED], r->count), whole = median(r->ms[WHOLE], r->count);
    const double forward_ms = median(r->ms[FORWARD], r->count), steps_ms = median(r->ms[STEPS], r->count);
    const int threads = ag_ctx_threads(r->ctx), tokens = r->model->tokens;
    const long long parameters = ag_module_numel(ag_gpt_module(r->gpt));
    const bool same = !r->whole || memcmp(r->token[0], r->token[1], sizeof r->token[0]) == 0;
    if (json) {
        ag_printf("{\"model\": \"%s\", \"threads\": %d, \"tokens\": %d, \"parameters\": %lld, "
                  "\"cached_ms\": %.4f, \"whole_ms\": %.4f, \"forward_ms\": %.4f, \"steps_ms\": %.4f, "
                  "\"cached_mean_ms\": %.4f, \"whole_mean_ms\": %.4f, \"text\": [",
                  r->model->name, threads, tokens, parameters, cached, whole, forward_ms, steps_ms,
                  mean(r->ms[CACHED], r->count), mean(r->ms[WHOLE], r->count));
        for (int t = 0; t <= tokens; t++)
            printf("%s%d", t > 0 ? ", " : "", (int)r->token[0][t]);
        printf("]}\n");
    } else {
        ag_printf("%s: %d tokens on %d threads: with the cache %.2f ms, %.0f tokens/s, %.1f GB/s of weights; one pass "
                  "over them %.2f ms + steps of one token %.2f ms: %.2f of that (limit 2)",
                  r->model->name, tokens, threads, cached, 1e3 * tokens / cached,
                  4e-6 * (double)parameters * tokens / cached, forward_ms, steps_ms, cached / (forward_ms + steps_ms));
        if (r->whole)
            ag_printf("; without %.2f ms; tokens %s", whole, same ? "equal" : "DIFFER");
        putchar('\n');
    }
    if (!same)
        fprintf(stderr, "bench_generate: other tokens with the cache than without\n");
    return same && cached <= 2 * (forward_ms + steps_ms);
}

static const model *model_of(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    fprintf(stderr, "bench_generate: there is no model '%s'; models are", name);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        fprintf(stderr, " %s", models[i].name);
    fputc('\n', stderr);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *save = NULL, *name = "tiny";
    bool json = false, cached = false;
    uint64_t threads = 0, count = 5;
    const option options[] = {
        { "--model", OPTION_TEXT, &name, "NAME", "sizes of tiny, stories260K or smollm2-135M [tiny]" },
        { "--json", OPTION_FLAG, &json, NULL, "print one line of JSON" },
        { "--threads", OPTION_NUMBER, &threads, "N", "0: all cores [0]" },
        { "--rounds", OPTION_NUMBER, &count, "N", "1 to 1000 [5]" },
        { "--cached", OPTION_FLAG, &cached, NULL, "leave out what passes over all tokens each time" },
        { "--save", OPTION_TEXT, &save, "FILE", "write the weights, for the peer" },
    };
    int status = options_read("bench_generate", "Times the generation of tokens with a cache and without.", options,
                              sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    rounds r = { .model = model_of(name), .token = { { 1 }, { 1 } } };
    if (r.model == NULL)
        return OPTIONS_WRONG;
    if (count < 1 || count > MOST_ROUNDS) {
        fprintf(stderr, "bench_generate: --rounds is %llu, must be 1 to %d\n", (unsigned long long)count, MOST_ROUNDS);
        return OPTIONS_WRONG;
    }
    r.whole = r.model->whole && !cached;
    r.count = (int)count;
    r.ctx = program_context("bench_generate", 1, threads);
    if (r.ctx == NULL)
        return EXIT_FAILURE;
    r.gpt = ag_gpt_new(r.ctx, r.model->config);
    r.cache = ag_kv_cache_new(r.ctx, 1, r.model->config.num_layers);
    enlarge_weights(ag_gpt_module(r.gpt), r.model->weight);
    if (save != NULL)
        ag_module_save(ag_gpt_module(r.gpt), save);
    ag_with_threads(r.ctx, run_rounds, &r);
    const bool good = ag_error(r.ctx) == AG_OK && report(&r, json);
    ag_kv_cache_free(r.cache);
    ag_gpt_free(r.gpt);
    return program_end("bench_generate", r.ctx, good);
}
