/* SPDX-License-Identifier: MIT
 *
 * bench_step.c - times training steps: a GPT's (forward, backward, SGD with momentum) and one mha layer's (forward of
 * the mean square of its output, backward to every parameter and to x).
 *
 *     bench_step                                          every model, a table
 *     bench_step --model toy --threads 2 --repeats 50 --json
 *     bench_step --model tiny --time 512 --layers 2       other sizes; --layers 0 is the mha layer
 *     bench_step --model toy --save first.safetensors     writes the first weights and ends, for the peer
 *     bench_step --model toy --weights first.safetensors  starts from them
 *     bench_step --model toy --profile                    where the time goes, by op and by module
 *
 * One step warms up; then the median of `repeats` steps, and with --json their mean. `loss` is that of the first step
 * and grad_norm the norm of its gradients, later_loss that of the step LATER behind it, or of the last (rounding errors
 * grow from step to step): a peer that starts from the same weights must print the same.
 */
#define _XOPEN_SOURCE 700

#include "attngrad.h"
#include "bench/measure.h"
#include "examples/shared/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    const char *name;
    int64_t batch, time, emb, heads, layers; /* no layers: one mha layer alone */
    int repeats;                             /* about a second of work */
    int64_t vocab;
} model;

static const model models[] = {
    { "toy", 4, 32, 64, 4, 2, 600, 65 },      { "tiny", 12, 64, 128, 4, 4, 40, 65 },
    { "baby", 8, 256, 384, 6, 6, 3, 65 },      { "long", 1, 2048, 128, 4, 2, 15, 65 },
    { "mha-50", 1, 50, 512, 8, 0, 300, 0 },    { "mha-256", 2, 256, 512, 8, 0, 40, 0 },
    { "mha-1024", 1, 1024, 512, 8, 0, 12, 0 }, { "mha-4096", 1, 4096, 512, 8, 0, 3, 0 },
};
enum { MODELS = sizeof models / sizeof *models, LATER = 10 };

typedef struct options {
    const char *model, *weights, *save;
    model sizes; /* those that were given; 0: the model's */
    int64_t threads, repeats;
    bool json, recompute, profile;
} options;

/* What a step needs. */
typedef struct work {
    ag_ctx *ctx;
    ag_gpt *gpt; /* or mha */
    ag_mha *mha;
    ag_module *module;
    ag_optimizer *optimizer; /* the GPT's */
    ag_tensor *input, *targets;
    ag_profile *profile; /* NULL: none */
} work;

typedef struct timing {
    double ms, mean_ms, first_step_at, loss, later_loss, grad_norm;
} timing;

/* The same numbers on every machine and in peer_torch.py: the bits of i, mixed. */
static uint32_t noise(uint32_t i)
{
    for (int round = 0; round < 2; round++)
        i = (i ^ i >> 16) * 0x45d9f3bu;
    return i ^ i >> 16;
}

static ag_tensor *make_tokens(ag_ctx *ctx, const model *m, uint32_t first)
{
    ag_tensor *tokens = ag_zeros(ctx, AG_I32, AG_SHAPE(m->batch, m->time));
    int32_t *token = ag_data_mut(tokens);
    for (int64_t i = 0; token != NULL && i < m->batch * m->time; i++)
        token[i] = (int32_t)(noise(first + (uint32_t)i) % (uint32_t)m->vocab);
    return tokens;
}

static ag_tensor *make_input(ag_ctx *ctx, const model *m) /* uniform in [-1, 1) */
{
    ag_tensor *x = ag_zeros(ctx, AG_F32, AG_SHAPE(m->batch, m->time, m->emb));
    float *value = ag_data_mut(x);
    for (int64_t i = 0; value != NULL && i < m->batch * m->time * m->emb; i++)
        value[i] = (float)(noise((uint32_t)i) >> 8) / 8388608.0f - 1.0f;
    return ag_require_grad(x);
}

static work make_work(ag_ctx *ctx, const model *m, bool recompute)
{
    work w = { .ctx = ctx };
    if (m->layers == 0) {
        w.mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = m->emb, .num_heads = m->heads, .max_seq_len = m->time });
        w.module = ag_mha_module(w.mha);
        w.input = make_input(ctx, m);
        return w;
    }
    w.gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = m->vocab, .max_seq_len = m->time,
                                                     .emb_size = m->emb, .num_heads = m->heads,
                                                     .num_layers = m->layers, .recompute = recompute });
    w.module = ag_gpt_module(w.gpt);
    w.optimizer = ag_sgd_new(w.module, (ag_sgd_config){ .lr = 0.01, .momentum = 0.9 });
    w.input = make_tokens(ctx, m, 0);
    w.targets = make_tokens(ctx, m, 1u << 30);
    return w;
}

static void free_work(work *w)
{
    ag_profile_free(w->profile);
    ag_optimizer_free(w->optimizer);
    ag_gpt_free(w->gpt);
    ag_mha_free(w->mha);
}

static ag_tensor *loss_of(const work *w)
{
    if (w->gpt != NULL)
        return ag_cross_entropy(ag_gpt_forward(w->gpt, w->input), w->targets);
    ag_tensor *y = ag_mha_forward(w->mha, w->input);
    return ag_mean(ag_mul(y, y), 3, (const int[]){ 0, 1, 2 }, false);
}

static ag_status step(const work *w, double *loss_value)
{
    ag_module_zero_grad(w->module);
    ag_zero_grad(w->input);
    ag_tape *tape = ag_tape_begin(w->ctx);
    if (w->profile != NULL)
        ag_profile_tape(w->profile, tape);
    ag_tensor *loss = loss_of(w);
    ag_status status = ag_backward(tape, loss);
    if (status == AG_OK && w->optimizer != NULL)
        status = ag_optimizer_step(w->optimizer);
    if (status == AG_OK)
        status = ag_item(loss, loss_value);
    ag_tape_end(tape);
    if (w->profile != NULL)
        ag_profile_note(w->profile, w->optimizer != NULL ? "optimizer" : "tape's end");
    return status;
}

/* Over the parameters, and x where it has one. */
static double grad_norm(const work *w)
{
    double norm = 0, squares = 0;
    ag_clip_grad_norm(w->module, (double)INFINITY, &norm);
    const ag_tensor *gx = ag_grad(w->input);
    const float *g = gx != NULL ? ag_data(gx) : NULL;
    for (int64_t i = 0; g != NULL && i < ag_numel(gx); i++)
        squares += (double)g[i] * (double)g[i];
    return sqrt(norm * norm + squares);
}

static double seconds(void) { return 1e-3 * now_ms(); }

/* Steps to take, and what becomes of them. */
typedef struct trial {
    work *work;
    int repeats;
    bool profile;
    double *ms; /* [repeats] */
    timing *timing;
    ag_status status;
} trial;

static void take_steps(void *argument)
{
    trial *all = argument;
    timing *t = all->timing;
    all->status = step(all->work, &t->loss);
    t->first_step_at = now_ms();
    t->grad_norm = grad_norm(all->work);
    if (all->profile)
        all->work->profile = ag_profile_new(all->work->ctx, seconds);
    for (int i = 0; all->status == AG_OK && i < all->repeats; i++) {
        double start = now_ms(), loss = 0;
        all->status = step(all->work, &loss);
        all->ms[i] = now_ms() - start;
        if (i < LATER)
            t->later_loss = loss;
    }
}

static ag_status measure(work *w, int repeats, bool profile, timing *t)
{
    trial all = { .work = w, .repeats = repeats, .profile = profile, .timing = t };
    all.ms = malloc((size_t)repeats * sizeof *all.ms);
    if (all.ms == NULL) {
        ag_fail(w->ctx, AG_ERR_MEMORY, "measure", "%d repeats", repeats);
        return AG_ERR_MEMORY;
    }
    ag_with_threads(w->ctx, take_steps, &all);
    t->ms = median(all.ms, repeats);
    t->mean_ms = mean(all.ms, repeats);
    free(all.ms);
    return all.status;
}

/* Floating-point operations of a step: 6 for each token and parameter of a product (forward, and both gradients), and
 * attention's products over allowed pairs, 2 of them forward and 4 backward, of 2 D operations each. */
static double flops(const model *m)
{
    const double tokens = (double)(m->batch * m->time), C = (double)m->emb;
    const double parameters = m->layers > 0 ? (double)m->layers * 12 * C * C + (double)m->vocab * C : 4 * C * C;
    const double pairs = 0.5 * tokens * (double)(m->time + 1) * (double)(m->layers > 0 ? m->layers : 1);
    return 6 * parameters * tokens + 12 * C * pairs;
}

static void print_sizes(const model *m)
{
    ag_printf("{\"model\": \"%s\", \"batch\": %lld, \"time\": %lld, \"emb\": %lld, \"heads\": %lld, \"layers\": %lld, "
              "\"vocab\": %lld, \"repeats\": %d, \"gflop\": %.6f",
              m->name, (long long)m->batch, (long long)m->time, (long long)m->emb, (long long)m->heads,
              (long long)m->layers, (long long)m->vocab, m->repeats, 1e-9 * flops(m));
}

static void print_result(const model *m, const work *w, const timing *t, bool json)
{
    if (json) {
        print_sizes(m);
        ag_printf(", \"threads\": %d, \"isa\": \"%s\", \"ms\": %.5f, \"mean_ms\": %.5f, "
                  "\"first_step_at_ms\": %.3f, \"loss\": %.7f, \"later_loss\": %.7f, \"grad_norm\": %.7g, "
                  "\"parameters\": %lld, \"tensors_mb\": %.1f, \"peak_mb\": %.1f}\n",
                  ag_ctx_threads(w->ctx), ag_ctx_isa(w->ctx), t->ms, t->mean_ms, t->first_step_at, t->loss,
                  t->later_loss, t->grad_norm, (long long)ag_module_numel(w->module),
                  (double)ag_ctx_peak_bytes(w->ctx) / 1048576.0, peak_mb());
    } else {
        ag_printf("| %-8s | %2lld | %4lld | %3lld | %lld | %lld | %8.3f | %8.0f | %7.1f | %.5f | %9.5f |\n", m->name,
                  (long long)m->batch, (long long)m->time, (long long)m->emb, (long long)m->heads, (long long)m->layers,
                  t->ms, 1e3 * (double)(m->batch * m->time) / t->ms, 1e-6 * flops(m) / t->ms, t->loss, t->later_loss);
    }
    fflush(stdout);
}

/* Runs one model in a context of its own. */
static ag_status run(const model *m, const options *o)
{
    ag_ctx *ctx = program_context("bench_step", 1, (uint64_t)o->threads);
    if (ctx == NULL)
        return AG_ERR_MEMORY;
    work w = make_work(ctx, m, o->recompute);
    timing t = { 0 };
    ag_status status = ag_error(ctx);
    if (status == AG_OK && o->weights != NULL)
        status = ag_module_load(w.module, o->weights);
    if (status == AG_OK && o->save != NULL)
        status = ag_module_save(w.module, o->save);
    else if (status == AG_OK)
        status = measure(&w, m->repeats, o->profile, &t);
    if (status != AG_OK)
        fprintf(stderr, "bench_step: %s: %s\n", m->name, ag_error_message(ctx));
    else if (w.profile != NULL)
        status = ag_profile_print(w.profile, stdout);
    else if (o->save == NULL)
        print_result(m, &w, &t, o->json);
    else if (o->json)
        print_sizes(m), printf("}\n");
    free_work(&w);
    ag_ctx_free(ctx);
    return status;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_step [--model NAME] [--batch B] [--time T] [--emb C] [--heads H] [--layers L]\n"
                    "                  [--vocab V] [--threads N] [--repeats N] [--recompute] [--json]\n"
                    "                  [--profile] [--weights FILE] [--save FILE]\nmodels:");
    for (int i = 0; i < MODELS; i++)
        fprintf(stderr, " %s", models[i].name);
    fprintf(stderr, "\n");
    return 2;
}

/* Takes an option that has a value; false with a line for the user. value NULL: the command line ends before it. */
static bool set(options *o, const char *name, const char *value)
{
    enum { MOST = 1 << 20 };
    model *s = &o->sizes;
    const struct { const char *name; int64_t *to; } numbers[] = {
        { "--batch", &s->batch },   { "--time", &s->time },     { "--emb", &s->emb },
        { "--heads", &s->heads },   { "--layers", &s->layers }, { "--vocab", &s->vocab },
        { "--threads", &o->threads }, { "--repeats", &o->repeats },
    };
    const struct { const char *name; const char **to; } texts[] = {
        { "--model", &o->model }, { "--weights", &o->weights }, { "--save", &o->save },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (value != NULL && strcmp(name, numbers[i].name) == 0) {
            char *end = NULL;
            const long long number = strtoll(value, &end, 10);
            *numbers[i].to = number;
            if (end != value && *end == '\0' && number >= 0 && number <= MOST)
                return true;
            fprintf(stderr, "bench_step: %s is %s, must be 0 to %d\n", name, value, MOST);
            return false;
        }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (value != NULL && strcmp(name, texts[i].name) == 0) {
            *texts[i].to = value;
            return true;
        }
    fprintf(stderr, "bench_step: %s is no option, or lacks its value\n", name);
    return false;
}

static bool parse(int argc, char **argv, options *o)
{
    o->sizes.layers = -1; /* 0 means something */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--recompute") == 0)
            o->recompute = true;
        else if (strcmp(argv[i], "--profile") == 0)
            o->profile = true;
        else if (strcmp(argv[i], "--help") == 0)
            return false;
        else if (!set(o, argv[i], i + 1 < argc ? argv[i + 1] : NULL))
            return false;
        else
            i++;
    }
    bool known = o->model == NULL;
    for (int i = 0; i < MODELS; i++)
        known = known || strcmp(o->model, models[i].name) == 0;
    if (!known)
        fprintf(stderr, "bench_step: there is no model '%s'\n", o->model);
    const bool nameless = o->model == NULL && (o->weights != NULL || o->save != NULL);
    if (nameless)
        fprintf(stderr, "bench_step: --weights and --save belong to one --model\n");
    return known && !nameless;
}

static model sizes_of(const model *m, const options *o)
{
    const model *s = &o->sizes;
    return (model){ .name = m->name,
                    .batch = s->batch > 0 ? s->batch : m->batch,
                    .time = s->time > 0 ? s->time : m->time,
                    .emb = s->emb > 0 ? s->emb : m->emb,
                    .heads = s->heads > 0 ? s->heads : m->heads,
                    .layers = s->layers >= 0 ? s->layers : m->layers,
                    .vocab = s->vocab > 0 ? s->vocab : m->vocab,
                    .repeats = o->repeats > 0 ? (int)o->repeats : m->repeats };
}

int main(int argc, char **argv)
{
    program_streams("bench_step");
    options o = { 0 };
    if (!parse(argc, argv, &o))
        return usage();
    if (!o.json && !o.profile && o.save == NULL)
        printf("| model    |  B |    T |   C | H | L |  ms/step | tokens/s | GFLOP/s |    loss | later one |\n"
               "|----------|---:|-----:|----:|--:|--:|---------:|---------:|--------:|--------:|----------:|\n");
    for (int i = 0; i < MODELS; i++) {
        if (o.model != NULL && strcmp(o.model, models[i].name) != 0)
            continue;
        const model m = sizes_of(&models[i], &o);
        if (run(&m, &o) != AG_OK)
            return 1;
    }
    return 0;
}
