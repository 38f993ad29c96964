/* SPDX-License-Identifier: MIT
 *
 * soak.c - `make soak`: a million steps of a toy language model and a hundred thousand generations with it. Memory must
 * be flat, a run that was saved and resumed half way must have the same bits, and every generation the same tokens.
 *
 * usage: soak [STEPS [GENERATIONS]]
 */
#include "attngrad.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 7, T = 6, GENERATED = 5 };
static const char path[] = "build/soak.safetensors";

typedef struct soak {
    ag_ctx *ctx;
    ag_gpt *gpt;
    ag_optimizer *adamw;
} soak;

static soak soak_new(void)
{
    soak s = { .ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 }) };
    s.gpt = ag_gpt_new(s.ctx, (ag_transformer_config){ .vocab_size = VOCAB, .max_seq_len = T + GENERATED, .emb_size = 4,
                                                       .num_heads = 1, .num_layers = 1, .dropout = 0.1 });
    s.adamw = ag_adamw_new(ag_gpt_module(s.gpt), (ag_adamw_config){ .lr = 1e-3, .weight_decay = 0.01 });
    return s;
}

static bool soak_free(soak *s)
{
    bool good = ag_error(s->ctx) == AG_OK;
    if (!good)
        fprintf(stderr, "soak: %s\n", ag_error_message(s->ctx));
    ag_optimizer_free(s->adamw);
    ag_gpt_free(s->gpt);
    return ag_ctx_free(s->ctx) == 0 && good;
}

/* False when memory grows or at an error. */
static bool train(soak *s, int64_t steps)
{
    ag_module *module = ag_gpt_module(s->gpt);
    size_t flat = 0;
    for (int64_t i = 0; i < steps && ag_error(s->ctx) == AG_OK; i++) {
        ag_tape *tape = ag_tape_begin(s->ctx);
        ag_tensor *x = ag_randint(s->ctx, 0, VOCAB, AG_SHAPE(2, T));
        ag_backward(tape, ag_cross_entropy(ag_gpt_forward(s->gpt, x), x));
        ag_tape_end(tape);
        ag_clip_grad_norm(module, 1, NULL);
        ag_optimizer_step(s->adamw);
        ag_module_zero_grad(module);
        if (i == 100)
            flat = ag_ctx_bytes(s->ctx);
    }
    if (steps <= 100 || ag_ctx_bytes(s->ctx) == flat)
        return ag_error(s->ctx) == AG_OK;
    fprintf(stderr, "soak: %zu bytes after 100 steps, %zu after %lld\n", flat, ag_ctx_bytes(s->ctx), (long long)steps);
    return false;
}

static bool same_parameters(const soak *a, const soak *b)
{
    for (int64_t i = 0; i < ag_module_param_count(ag_gpt_module(a->gpt)); i++) {
        const ag_tensor *p = ag_module_param(ag_gpt_module(a->gpt), i).tensor;
        const ag_tensor *q = ag_module_param(ag_gpt_module(b->gpt), i).tensor;
        if (memcmp(ag_data(p), ag_data(q), (size_t)ag_numel(p) * sizeof(float)) != 0)
            return false;
    }
    return true;
}

/* Greedy tokens after 0; false on error. */
static bool generate(soak *s, int32_t token[GENERATED])
{
    ag_kv_cache *cache = ag_kv_cache_new(s->ctx, 1, 1);
    int32_t last = 0;
    for (int i = 0; i < GENERATED && ag_error(s->ctx) == AG_OK; i++) {
        ag_scope_begin(s->ctx, NULL);
        ag_tensor *x = ag_from_data(s->ctx, AG_I32, AG_SHAPE(1, 1), &last);
        ag_tensor *logits = ag_contiguous(ag_gpt_forward_cached(s->gpt, x, cache, NULL));
        const float *logit = ag_data(logits);
        for (int32_t v = last = 0; v < VOCAB && logit != NULL; v++)
            last = logit[v] > logit[last] ? v : last;
        token[i] = last;
        ag_scope_end(s->ctx, NULL);
    }
    ag_kv_cache_free(cache);
    return ag_error(s->ctx) == AG_OK;
}

static bool generate_often(soak *s, int64_t generations)
{
    int32_t first[GENERATED], again[GENERATED];
    size_t flat = 0;
    for (int64_t i = 0; i < generations; i++) {
        if (!generate(s, i == 0 ? first : again))
            return false;
        if (i > 0 && memcmp(first, again, sizeof first) != 0) {
            fprintf(stderr, "soak: generation %lld has other tokens\n", (long long)i);
            return false;
        }
        if (i == 100)
            flat = ag_ctx_bytes(s->ctx);
    }
    return generations <= 100 || ag_ctx_bytes(s->ctx) == flat;
}

int main(int argc, char **argv)
{
    const int64_t steps = argc > 1 ? atoll(argv[1]) : 1000000, generations = argc > 2 ? atoll(argv[2]) : 100000;
    soak whole = soak_new(), half = soak_new();
    bool good = train(&whole, steps) && train(&half, steps / 2) &&
                ag_checkpoint_save(path, ag_gpt_module(half.gpt), half.adamw, NULL, 0) == AG_OK;
    good = soak_free(&half) && good;
    half = soak_new();
    good = good && ag_checkpoint_load(path, ag_gpt_module(half.gpt), half.adamw) == AG_OK &&
           train(&half, steps - steps / 2);
    const bool same = good && same_parameters(&whole, &half);
    if (good && !same)
        fprintf(stderr, "soak: a resumed run of %lld steps has other bits\n", (long long)steps);
    ag_module_set_training(ag_gpt_module(whole.gpt), false);
    good = same && generate_often(&whole, generations);
    good = soak_free(&half) && good;
    good = soak_free(&whole) && good;
    remove(path);
    printf("soak: %lld steps, %lld generations: %s\n", (long long)steps, (long long)generations, good ? "ok" : "FAIL");
    return good ? 0 : 1;
}
