/* SPDX-License-Identifier: MIT
 *
 * lm_plan.c - see lm_plan.h. E embedding, F feed-forward, L layers, V vocabulary, T context, B batch.
 */
#include "examples/lm/lm_plan.h"
#include "examples/lm/lm_step.h"
#include "examples/shared/system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double gigabyte = 1e9;

/* ---- Memory ---- */

static bool is_gated(const train_options *o)
{
    return o->kinds.feed_forward == FEED_FORWARD_SWIGLU || o->kinds.feed_forward == FEED_FORWARD_GEGLU;
}

int64_t plan_ff_size(const train_options *o)
{
    const int64_t emb = (int64_t)o->emb;
    if (o->ff_size > 0)
        return (int64_t)o->ff_size;
    return is_gated(o) ? (8 * emb / 3 + 7) / 8 * 8 : 4 * emb;
}

static double parameters(const train_options *o, double V)
{
    const double E = (double)o->emb, F = (double)plan_ff_size(o), L = (double)o->layers;
    double keys = o->kv_heads > 0 ? (double)o->kv_heads / (double)o->heads : 1;
    double matrices = is_gated(o) ? 3 : 2;
    double table = o->kinds.positions == POSITIONS_LEARNED ? (double)o->context * E : 0;
    return V * E + table + L * ((2 + 2 * keys) * E * E + matrices * E * F);
}

/* The bytes of the text to train on, by those of the text to validate on. */
static double text_bytes(const corpus *c)
{
    return (double)c->train_count * (double)c->val_bytes / (double)(c->count - c->train_count - 1);
}

/* Bytes that training takes at its peak: parameters, gradients and the optimizer's state; activations of a
 * micro-batch, in floats per token and layer as measured; the tokens. */
static double needed_bytes(const run *r)
{
    const train_options *o = &r->o;
    const double E = (double)o->emb, F = (double)plan_ff_size(o), L = (double)o->layers, V = r->corpus.vocab.size;
    double copies = (o->optimizer == OPTIMIZER_SGD ? 3 : 4) + (o->accumulate > 1), kept = 15 * E + 3.5 * F;
    double layers = o->recompute ? L * E + kept : L * kept;
    return 4 * (copies * parameters(o, V) +
                (double)(o->batch / o->accumulate * o->context) * (layers + 3 * V + 4 * E)) +
           4 * (double)r->corpus.count;
}

double plan_text_bytes(void)
{
    static const double each = 1 + sizeof(int32_t); /* the byte, and a token that it may be */
    return system_free_bytes() / each;
}

bool plan_fits(const run *r)
{
    double needed = needed_bytes(r), there = system_free_bytes();
    if (there <= 0 || needed <= there)
        return true;
    ag_fprintf(stderr, "lm train: the run needs about %.2f GB of memory, %.2f GB are free: lower --batch, --context, "
                       "--emb or --layers%s\n", needed / gigabyte, there / gigabyte,
               r->o.recompute ? "" : ", or give --recompute");
    return false;
}

/* ---- Time ---- */

/* Seconds of a step, of a report with its checkpoint, of the validation of the whole text, of a sampled token. */
typedef struct costs {
    double step, report, whole, token;
} costs;

static const double REPORTS = 24, SAMPLES = 4, SAMPLE_TOKENS = 200, LAST_TOKENS = 600; /* of a run */

typedef struct measuring {
    run *r;
    double time; /* seconds to spend */
    costs costs;
    bool good;
} measuring;

static void measure(void *argument)
{
    enum { WARM = 3, TOKENS = 16 };
    measuring *m = argument;
    run *r = m->r;
    double loss, began = 0;
    int64_t steps = 0;
    m->good = true;
    for (int64_t i = 0; m->good && (i <= WARM + 2 || seconds() - began < m->time); i++) {
        if (i == WARM)
            began = seconds();
        m->good = run_step(r, false, &loss);
        steps += i >= WARM;
    }
    m->costs.step = (seconds() - began) / (double)(steps > 0 ? steps : 1);
    began = seconds();
    run_validate(r, VALIDATION_WINDOWS);
    const double some = seconds() - began;
    m->costs.whole = some * (double)run_validated(r, run_last_windows(r)) /
                     (double)run_validated(r, VALIDATION_WINDOWS);
    FILE *nowhere = system_nowhere();
    int32_t start = vocab_start(&r->model.vocab);
    began = seconds();
    if (nowhere != NULL) {
        m->good = m->good && model_write(&r->model, &start, 1, TOKENS, &(sampling){ .temperature = 0.8 }, nowhere);
        fclose(nowhere);
    }
    m->costs.token = (seconds() - began) / (double)TOKENS;
    static const double disk = 2e8; /* bytes per second, with the wait for it */
    double parameter_bytes = 4 * (double)ag_module_numel(ag_gpt_module(r->model.gpt));
    m->costs.report = some + 0.02 + parameter_bytes / disk;
}

/* Trains a model of r->o's sizes for `time` seconds and forgets it. */
static bool measure_costs(run *r, double time, costs *c)
{
    measuring m = { .r = r, .time = time };
    train_options kept = r->o;
    r->o.steps = 1; /* the schedule does not matter */
    r->o.warmup = 0;
    if (!run_make_model(r))
        return false;
    ag_with_threads(r->model.ctx, measure, &m);
    if (!m.good)
        model_error(&r->model);
    run_free_model(r);
    r->o = kept;
    r->s = (run_state){ .step = 0 };
    ag_rng_set(r->model.ctx, (ag_rng){ .seed = r->o.seed });
    *c = m.costs;
    return m.good;
}

/* Seconds of all that follows the last step, and of all besides the steps. */
static double ending(const costs *c)
{
    return c->whole + LAST_TOKENS * c->token;
}

static double besides(const costs *c)
{
    return ending(c) + REPORTS * c->report + SAMPLES * SAMPLE_TOKENS * c->token;
}

/* ---- A model for the time ---- */

typedef struct sizes {
    uint64_t layers, emb, context, batch;
} sizes;

static const sizes ladder[] = {
    { 2, 64, 64, 8 }, { 4, 96, 128, 8 }, { 4, 128, 128, 8 }, { 5, 160, 128, 8 }, { 6, 192, 128, 16 },
    { 6, 384, 256, 16 },
};
enum { RUNGS = (int)(sizeof ladder / sizeof *ladder), MIDDLE = 1 };

/* Heads have an even number of channels, which rotary positions need, and are a multiple of the key heads. */
uint64_t plan_heads(const train_options *o)
{
    const uint64_t wanted = o->emb / (o->emb < 256 ? 32 : 64), most = wanted > o->kv_heads ? wanted : o->kv_heads;
    for (uint64_t heads = most; heads > 1; heads--)
        if (o->emb % (2 * heads) == 0 && (o->kv_heads == 0 || heads % o->kv_heads == 0))
            return heads;
    return o->kv_heads > 1 ? most : 1;
}

/* Sizes that are 0 become about those of the rung; the context leaves text to draw from. */
static void fill_sizes(run *r, train_options *o, const sizes *rung)
{
    o->layers = o->layers > 0 ? o->layers : rung->layers;
    const uint64_t unit = o->heads > 0 ? 2 * o->heads : 1;
    o->emb = o->emb > 0 ? o->emb : (rung->emb + unit - 1) / unit * unit;
    o->context = o->context > 0 ? o->context : rung->context;
    o->batch = o->batch > 0 ? o->batch : rung->batch;
    uint64_t text = (uint64_t)(r->corpus.train_count > 2 ? r->corpus.train_count / 2 : 1);
    if (o->context > text)
        o->context = text;
    if (o->heads == 0)
        o->heads = plan_heads(o);
}

static double step_work(const train_options *o, double V)
{
    double tokens = (double)(o->batch * o->context);
    return tokens * (parameters(o, V) + (double)(o->layers * o->context * o->emb));
}

/* The largest model that sees enough tokens in the time, and has no more parameters than the text can teach. */
static train_options choose(run *r, const train_options *middle, double step, double budget)
{
    static const double tokens_each = 2, steps_least = 800, parameters_each = 10; /* per byte of text */
    const double V = r->corpus.vocab.size;
    train_options chosen = r->o;
    fill_sizes(r, &chosen, &ladder[0]);
    for (int i = 1; i < RUNGS; i++) {
        train_options o = r->o;
        fill_sizes(r, &o, &ladder[i]);
        double steps = budget / (step * step_work(&o, V) / step_work(middle, V));
        double tokens = steps * (double)(o.batch * o.context), count = parameters(&o, V);
        if (steps >= steps_least && tokens >= tokens_each * count &&
            count <= parameters_each * text_bytes(&r->corpus))
            chosen = o;
    }
    return chosen;
}

static uint64_t whole_steps(double steps, double least)
{
    return (uint64_t)fmin(fmax(steps, least), STEPS_MOST);
}

bool plan_minutes(run *r)
{
    const double budget = 60 * r->o.minutes;
    costs c;
    train_options asked = r->o;
    fill_sizes(r, &r->o, &ladder[MIDDLE]);
    train_options middle = r->o;
    bool good = plan_fits(r) && measure_costs(r, 0.5, &c);
    r->o = asked;
    if (!good)
        return false;
    train_options chosen = choose(r, &middle, c.step, budget);
    r->o = chosen;
    if (!plan_fits(r) || !measure_costs(r, 1.5, &c))
        return false;
    double left = budget - (seconds() - r->began) - besides(&c);
    r->o.steps = whole_steps(left / c.step, 1);
    r->end_by = r->began + budget - ending(&c);
    return true;
}

/* The bounds are measured: below the first, models of several sizes learned more of 30, 100 and 700 kB of text without
 * dropout; above each, more with it. */
double plan_dropout(const run *r)
{
    static const double some = 10, much = 50;
    double times = (double)r->o.steps * (double)(r->o.batch * r->o.context) / (double)r->corpus.train_count;
    double exposure = times * parameters(&r->o, r->corpus.vocab.size) / text_bytes(&r->corpus);
    return exposure < some ? 0 : exposure < much ? 0.1 : 0.2;
}

void plan_again(run *r, double began)
{
    static const double first = 0.05; /* of the time: the speed is not known before */
    double now = seconds();
    if (r->o.minutes <= 0 || now - began < first * (r->end_by - began))
        return;
    r->o.steps = whole_steps(r->s.step * (r->end_by - began) / (now - began), r->s.step + 1);
    r->schedule.total_steps = (int64_t)r->o.steps;
}

bool plan_print(run *r)
{
    costs c;
    run_free_model(r);
    if (!measure_costs(r, 2, &c))
        return false;
    double time = (double)r->o.steps * c.step + besides(&c);
    ag_fprintf(stderr, "memory    about %.3g GB of %.3g GB that are free; %.3g GB in these two seconds\n",
               needed_bytes(r) / gigabyte, system_free_bytes() / gigabyte,
               ((double)ag_ctx_peak_bytes(r->model.ctx) + 4 * (double)r->corpus.count) / gigabyte);
    ag_fprintf(stderr, "time      about %.0f s: %llu steps of %.1f ms, %.0f tokens/s, and %.0f s besides\n", time,
               (unsigned long long)r->o.steps, 1000 * c.step, (double)(r->o.batch * r->o.context) / c.step,
               besides(&c));
    return true;
}
