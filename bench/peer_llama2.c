/* SPDX-License-Identifier: MIT
 *
 * peer_llama2.c - llama2.c's run.c on the sizes of a model of bench_generate, weights at random: `make bench
 * run_c=PATH` includes that file (RUN_C) and compiles it with -O3 -march=native -ffast-math, for one thread.
 *
 *     peer_llama2 EMB FF LAYERS HEADS KV_HEADS VOCAB TOKENS
 *
 * Prints as one line of JSON the median of the rounds, each of which generates the tokens one after the other.
 */
#define TESTING /* run.c without its main */
#include RUN_C

#include "bench/measure.h"

enum { ROUNDS = 5, SIZES = 7 };

/* What memory_map_weights lays out: tables, layers, norms, and two tables that run.c skips. */
static size_t weight_count(const Config *c)
{
    const size_t emb = (size_t)c->dim, head = emb / (size_t)c->n_heads, keys = head * (size_t)c->n_kv_heads;
    const size_t layer = 2 * emb + 2 * emb * emb + 2 * emb * keys + 3 * emb * (size_t)c->hidden_dim;
    return (size_t)c->vocab_size * emb + (size_t)c->n_layers * layer + emb + (size_t)c->seq_len * head;
}

/* Uniform, of a size at which activations stay finite. */
static float *random_weights(size_t n)
{
    float *w = malloc(n * sizeof *w);
    unsigned state = 1;
    for (size_t i = 0; w != NULL && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        w[i] = 0.1f * ((float)(state >> 8) / 16777216.0f - 0.5f);
    }
    return w;
}

static int likeliest(const float *logits, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static double generate_ms(Transformer *t, int tokens)
{
    const double start = now_ms();
    int token = 1;
    for (int i = 0; i < tokens; i++)
        token = likeliest(forward(t, token, i), t->config.vocab_size);
    return now_ms() - start;
}

int main(int argc, char **argv)
{
    if (argc != SIZES + 1) {
        fprintf(stderr, "usage: peer_llama2 EMB FF LAYERS HEADS KV_HEADS VOCAB TOKENS\n");
        return 1;
    }
    const int tokens = atoi(argv[SIZES]);
    Transformer t = { .config = { atoi(argv[1]), atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]),
                                  atoi(argv[6]), tokens } };
    const Config *c = &t.config;
    float *weights = random_weights(weight_count(&t.config));
    if (weights == NULL) {
        fprintf(stderr, "peer_llama2: out of memory\n");
        return 1;
    }
    memory_map_weights(&t.weights, &t.config, weights, 1);
    malloc_run_state(&t.state, &t.config);
    double ms[ROUNDS];
    for (int r = -1; r < ROUNDS; r++) /* the first warms up */
        ms[r < 0 ? 0 : r] = generate_ms(&t, tokens);
    printf("{\"cached_ms\": %lde-3}\n", (long)(1e3 * median(ms, ROUNDS)));
    free_run_state(&t.state);
    free(weights);
    return 0;
}
