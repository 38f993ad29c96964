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
 */
#define _POSIX_C_SOURCE 200809L

#include "attngrad.h"
#include "bench/measure.h"

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

static void run_round(ag_ctx *ctx, ag_gpt *gpt, ag_kv_cache *cache, int32_t token[2][TOKENS + 1], double *ms)
{
    double start = now_ms();
    generate(ctx, gpt, cache, token[0]);
    ms[CACHED] = now_ms() - start;
    start = now_ms();
    forward(ctx, gpt, token[0], TOKENS);
    ms[FORWARD] = now_ms() - start;
    start = now_ms();
    for (int t = 0; t < TOKENS; t++)
        forward(ctx, gpt, token[0] + t, 1);
    ms[STEPS] = now_ms() - start;
    start = now_ms();
    generate(ctx, gpt, NULL, token[1]);
    ms[WHOLE] = now_ms() - start;
}

static double median_of(double ms[][KINDS], int kind)
{
    double value[ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        value[r] = ms[r][kind];
    return median(value, ROUNDS);
}

int main(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    if (ctx == NULL) {
        fprintf(stderr, "bench_generate: no context: out of memory, or AG_ISA is not one that this machine runs\n");
        return 1;
    }
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = VOCAB, .max_seq_len = TOKENS,
                                                           .emb_size = 128, .num_heads = 4, .num_layers = LAYERS });
    ag_kv_cache *cache = ag_kv_cache_new(ctx, 1, LAYERS);
    int32_t token[2][TOKENS + 1] = { { 1 }, { 1 } };
    double ms[ROUNDS + 1][KINDS];
    for (int r = 0; r <= ROUNDS && ag_error(ctx) == AG_OK; r++)
        run_round(ctx, gpt, cache, token, ms[r == 0 ? ROUNDS : r - 1]); /* the first warms up */
    bool good = ag_error(ctx) == AG_OK;
    if (!good)
        fprintf(stderr, "bench_generate: %s\n", ag_error_message(ctx));
    if (good) {
        double cached = median_of(ms, CACHED), least = median_of(ms, FORWARD) + median_of(ms, STEPS);
        bool same = memcmp(token[0], token[1], sizeof token[0]) == 0;
        printf("generating %d tokens, C128 H4 L%d, %d threads: with the cache %.2f ms, without %.2f ms (%.1f times); "
               "one pass over them %.2f ms + %d steps of one token %.2f ms: %.2f of that (limit 2); tokens %s\n",
               TOKENS, LAYERS, ag_ctx_threads(ctx), cached, median_of(ms, WHOLE), median_of(ms, WHOLE) / cached,
               median_of(ms, FORWARD), TOKENS, median_of(ms, STEPS), cached / least, same ? "equal" : "DIFFER");
        good = same && cached <= 2 * least;
    }
    ag_kv_cache_free(cache);
    ag_gpt_free(gpt);
    ag_ctx_free(ctx);
    return good ? 0 : 1;
}
