/* SPDX-License-Identifier: MIT
 *
 * bench_step.c - times one training step (forward, backward, SGD with momentum) of four GPT models.
 *
 *     bench_step                                    all models, a table
 *     bench_step --model toy --threads 2 --repeats 50 --json
 *     bench_step --model toy --save first.safetensors     writes the first weights and ends, for the peer
 *     bench_step --model toy --weights first.safetensors  starts from them
 *
 * One step warms up; then the median of `repeats` steps. `loss` is that of the first step, `last_loss` that of
 * the last: a peer that starts from the same weights must print the same two.
 */
#define _POSIX_C_SOURCE 200809L

#include "attngrad.h"
#include "bench/measure.h"

#include <stdlib.h>
#include <string.h>

static const struct model {
    const char *name;
    int64_t batch, time, emb_size, num_heads, num_layers;
    int repeats; /* about two seconds of work */
} models[] = {
    { "toy", 4, 32, 64, 4, 2, 400 },
    { "tiny", 12, 64, 128, 4, 4, 40 },
    { "baby", 8, 256, 384, 6, 6, 5 },
    { "long", 1, 2048, 128, 4, 2, 11 },
};
enum { MODELS = sizeof models / sizeof *models, VOCAB = 65 };

typedef struct options {
    const char *model, *weights, *save;
    int threads, repeats;
    bool json;
} options;

typedef struct timing {
    double ms, loss, last_loss;
    int threads;
    char isa[32];
} timing;

/* The same batch on every machine and in peer_torch.py: a linear congruential generator, its high bits. */
static ag_tensor *make_tokens(ag_ctx *ctx, int64_t batch, int64_t time, uint32_t state)
{
    ag_tensor *tokens = ag_zeros(ctx, AG_I32, AG_SHAPE(batch, time));
    int32_t *token = ag_data_mut(tokens);
    for (int64_t i = 0; token != NULL && i < batch * time; i++) {
        state = state * 1664525u + 1013904223u;
        token[i] = (int32_t)((state >> 16) % VOCAB);
    }
    return tokens;
}

static ag_status step(ag_gpt *gpt, ag_optimizer *optimizer, ag_tensor *tokens, ag_tensor *targets, double *loss_value)
{
    ag_module_zero_grad(ag_gpt_module(gpt));
    ag_tape *tape = ag_tape_begin(ag_ctx_of(tokens));
    ag_tensor *loss = ag_cross_entropy(ag_gpt_forward(gpt, tokens), targets);
    ag_status status = ag_backward(tape, loss);
    if (status == AG_OK)
        status = ag_optimizer_step(optimizer);
    if (status == AG_OK)
        status = ag_item(loss, loss_value);
    ag_tape_end(tape);
    return status;
}

/* Runs one model in a context of its own. */
static ag_status run(const struct model *model, const options *o, timing *result)
{
    int repeats = o->repeats > 0 ? o->repeats : model->repeats;
    double *ms = malloc((size_t)repeats * sizeof *ms);
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = o->threads });
    if (ms == NULL || ctx == NULL) {
        fprintf(stderr, "bench_step: no context: out of memory, or AG_ISA is not one that this machine runs\n");
        free(ms);
        return AG_ERR_MEMORY;
    }
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = VOCAB, .max_seq_len = model->time,
                                                   .emb_size = model->emb_size, .num_heads = model->num_heads,
                                                   .num_layers = model->num_layers });
    ag_optimizer *sgd = ag_sgd_new(ag_gpt_module(gpt), (ag_sgd_config){ .lr = 0.01, .momentum = 0.9 });
    ag_tensor *tokens = make_tokens(ctx, model->batch, model->time, 1);
    ag_tensor *targets = make_tokens(ctx, model->batch, model->time, 2);
    ag_status status = ag_error(ctx);
    if (status == AG_OK && o->weights != NULL)
        status = ag_module_load(ag_gpt_module(gpt), o->weights);
    if (status == AG_OK && o->save != NULL) {
        status = ag_module_save(ag_gpt_module(gpt), o->save);
        goto done;
    }
    if (status == AG_OK)
        status = step(gpt, sgd, tokens, targets, &result->loss);
    for (int i = 0; status == AG_OK && i < repeats; i++) {
        double start = now_ms();
        status = step(gpt, sgd, tokens, targets, &result->last_loss);
        ms[i] = now_ms() - start;
    }
    if (status == AG_OK) {
        result->ms = median(ms, repeats);
        result->threads = ag_ctx_threads(ctx);
        snprintf(result->isa, sizeof result->isa, "%s", ag_ctx_isa(ctx));
    }
done:
    if (status != AG_OK)
        fprintf(stderr, "bench_step: %s: %s\n", model->name, ag_error_message(ctx));
    ag_optimizer_free(sgd);
    ag_gpt_free(gpt);
    ag_ctx_free(ctx);
    free(ms);
    return status;
}

static void print_result(const struct model *model, const timing *t, bool json)
{
    double tokens_per_s = 1e3 * (double)(model->batch * model->time) / t->ms;
    if (json)
        printf("{\"model\": \"%s\", \"threads\": %d, \"isa\": \"%s\", \"ms\": %.4f, \"tokens_per_s\": %.0f, "
               "\"loss\": %.7f, \"last_loss\": %.7f}\n",
               model->name, t->threads, t->isa, t->ms, tokens_per_s, t->loss, t->last_loss);
    else
        printf("| %-5s | %2lld | %4lld | %3lld | %lld | %lld | %9.2f | %8.0f | %.5f | %9.5f |\n", model->name,
               (long long)model->batch, (long long)model->time, (long long)model->emb_size,
               (long long)model->num_heads, (long long)model->num_layers, t->ms, tokens_per_s, t->loss, t->last_loss);
    fflush(stdout);
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_step [--model toy|tiny|baby|long] [--threads N] [--repeats N] [--json]\n"
                    "                  [--weights FILE] [--save FILE]\n");
    return 2;
}

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        const char *name = argv[i++], *value = argv[i];
        if (strcmp(name, "--model") == 0)
            o->model = value;
        else if (strcmp(name, "--weights") == 0)
            o->weights = value;
        else if (strcmp(name, "--save") == 0)
            o->save = value;
        else if (strcmp(name, "--threads") == 0)
            o->threads = atoi(value);
        else if (strcmp(name, "--repeats") == 0)
            o->repeats = atoi(value);
        else
            return false;
    }
    return o->model != NULL || (o->weights == NULL && o->save == NULL); /* a file belongs to one model */
}

int main(int argc, char **argv)
{
    options o = { 0 };
    if (!parse(argc, argv, &o))
        return usage();
    if (!o.json && o.save == NULL)
        printf("| model |  B |    T |   C | H | L |   ms/step | tokens/s |    loss | last loss |\n"
               "|-------|---:|-----:|----:|--:|--:|----------:|---------:|--------:|----------:|\n");
    int ran = 0;
    for (int i = 0; i < MODELS; i++) {
        if (o.model != NULL && strcmp(o.model, models[i].name) != 0)
            continue;
        timing result = { 0 };
        if (run(&models[i], &o, &result) != AG_OK)
            return 1;
        if (o.save == NULL)
            print_result(&models[i], &result, o.json);
        ran++;
    }
    return ran > 0 ? 0 : usage();
}
