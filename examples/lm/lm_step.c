/* SPDX-License-Identifier: MIT
 *
 * lm_step.c - see lm_step.h.
 */
#include "examples/lm/lm_step.h"
#include "examples/lm/lm_plan.h"

#include <math.h>
#include <string.h>

static bool new_gpt(run *r)
{
    r->model.vocab = vocab_share(&r->corpus.vocab);
    r->model.context = (int64_t)r->o.context;
    ag_transformer_config c = {
        .vocab_size = r->corpus.vocab.size,
        .emb_size = (int64_t)r->o.emb,
        .num_heads = (int64_t)r->o.heads,
        .num_layers = (int64_t)r->o.layers,
        .dropout = fmax(r->o.dropout, 0), /* while it is not chosen: none */
        .attention = { .mask.back = (int64_t)r->o.window, .kv_heads = (int64_t)r->o.kv_heads,
                       .qk_norm = r->o.qk_norm },
        .recompute = r->o.recompute,
    };
    model_set_kinds(&c, r->o.kinds);
    c.ff_size = plan_ff_size(&r->o);
    if (c.positions == AG_POSITIONS_LEARNED)
        c.max_seq_len = r->model.context;
    r->model.gpt = ag_gpt_new(r->model.ctx, c);
    return r->model.gpt != NULL || model_error(&r->model);
}

static bool new_optimizer(run *r)
{
    ag_module *module = ag_gpt_module(r->model.gpt);
    const train_options *o = &r->o;
    r->optimizer = o->optimizer == OPTIMIZER_SGD
        ? ag_sgd_new(module, (ag_sgd_config){ .lr = o->lr, .momentum = o->momentum, .weight_decay = o->weight_decay })
        : ag_adamw_new(module, (ag_adamw_config){ .lr = o->lr, .beta2 = 0.99, .weight_decay = o->weight_decay });
    r->schedule = (ag_schedule){ .kind = (ag_schedule_kind)o->schedule, .lr = o->lr, .min_lr = o->lr / 20,
                                 .warmup_steps = (int64_t)o->warmup, .total_steps = (int64_t)o->steps };
    return r->optimizer != NULL || model_error(&r->model);
}

bool run_start_from(run *r)
{
    char path[RUN_PATH];
    if (!folder_model(r->o.from, path) || !model_load(&r->model, path))
        return false;
    const ag_transformer_config *c = ag_gpt_config_of(r->model.gpt);
    r->o.context = (uint64_t)r->model.context;
    r->o.layers = (uint64_t)c->num_layers;
    r->o.heads = (uint64_t)c->num_heads;
    r->o.emb = (uint64_t)c->emb_size;
    r->o.kv_heads = (uint64_t)c->attention.kv_heads;
    r->o.ff_size = (uint64_t)c->ff_size;
    r->o.window = (uint64_t)c->attention.mask.back;
    r->o.qk_norm = c->attention.qk_norm;
    r->o.kinds = model_kinds_of(c);
    r->o.level = (int)r->model.vocab.kind;
    r->o.vocab = r->model.vocab.kind == TOKENS_BPE ? (uint64_t)r->model.vocab.size : 0;
    ag_rng_set(r->model.ctx, (ag_rng){ .seed = r->o.seed }); /* not the state at the end of the other training */
    return true;
}

bool run_make_model(run *r)
{
    bool good = r->model.gpt != NULL || (r->o.from != NULL ? run_start_from(r) : new_gpt(r));
    return good && new_optimizer(r);
}

void run_free_model(run *r)
{
    ag_optimizer_free(r->optimizer);
    r->optimizer = NULL;
    model_free(&r->model);
}

static int64_t micro_batch_of(const run *r)
{
    return (int64_t)(r->o.batch / r->o.accumulate);
}

/* Adds a micro-batch's share of the step's gradient; *loss is its mean loss. */
static void add_micro_batch(run *r, bool search, double *loss)
{
    ag_ctx *ctx = r->model.ctx;
    const int64_t T = (int64_t)r->o.context;
    ag_tape *tape = ag_tape_begin(ctx);
    if (search)
        ag_tape_detect_anomalies(tape);
    ag_profile_tape(r->profile, tape); /* NULL does nothing */
    ag_tensor *window = corpus_batch(ctx, &r->corpus, micro_batch_of(r), T);
    ag_profile_note(r->profile, "batch");
    ag_tensor *logits = ag_gpt_forward(r->model.gpt, ag_slice(window, 1, 0, T, 1));
    ag_tensor *mean = ag_cross_entropy(logits, ag_slice(window, 1, 1, T + 1, 1));
    ag_tensor *share = ag_full(ctx, AG_F32, AG_SCALAR, 1 / (double)r->o.accumulate);
    if (ag_backward_from(tape, mean, share) == AG_OK)
        ag_item(mean, loss);
    ag_tape_end(tape);
    ag_profile_note(r->profile, "end of tape");
}

/* Adds the gradients of all processes' micro-batches; loss[count] gets their losses, of which it has this process's
 * first. `more`: others follow, which process 0 alone adds to the sum. */
static void sum_processes(run *r, bool more, double *loss)
{
    const ag_processes *link = r->link;
    ag_module *module = ag_gpt_module(r->model.gpt);
    const double own = *loss;
    if (link == NULL)
        return;
    if (ag_sum_grads(module, *link) == AG_OK && !link->gather(link->user, &own, loss, sizeof own))
        ag_fail(r->model.ctx, AG_ERR_STATE, "step", "the other processes can not be reached");
    if (more && link->rank > 0)
        ag_module_zero_grad(module);
    ag_profile_note(r->profile, "sum over processes");
}

/* The gradient of a step, and its mean loss. Micro-batch i draws from the random stream 2^44 i blocks further on: more
 * than a run draws. */
static ag_status add_micro_batches(run *r, bool search, double *loss)
{
    enum { FURTHER = 44 };
    ag_ctx *ctx = r->model.ctx;
    const int64_t all = (int64_t)r->o.accumulate, n = r->link == NULL ? 1 : r->link->count;
    const int64_t rank = r->link == NULL ? 0 : r->link->rank;
    const ag_rng begin = ag_rng_get(ctx);
    ag_rng end = begin;
    double sum = 0, part[AG_MAX_PROCESSES] = { 0 };
    for (int64_t first = 0; first < all && ag_error(ctx) == AG_OK; first += n) {
        const uint64_t further = (uint64_t)(first + rank) << FURTHER;
        ag_rng_set(ctx, (ag_rng){ begin.seed, begin.counter + further });
        add_micro_batch(r, search, part);
        end.counter = ag_rng_get(ctx).counter - further; /* each draws the same number of blocks */
        sum_processes(r, first + n < all, part);
        for (int64_t k = 0; k < n; k++)
            sum += part[k];
    }
    *loss = sum / (double)all;
    ag_rng_set(ctx, ag_error(ctx) == AG_OK ? end : begin);
    return ag_error(ctx);
}

bool run_step(run *r, bool search, double *loss)
{
    ag_module *module = ag_gpt_module(r->model.gpt);
    ag_status status = add_micro_batches(r, search, loss);
    if (status == AG_OK)
        status = ag_clip_grad_norm(module, r->o.clip > 0 ? r->o.clip : (double)INFINITY, &r->gnorm);
    ag_profile_note(r->profile, "clipping");
    r->lr = ag_schedule_lr(&r->schedule, (int64_t)r->s.step);
    ag_optimizer_set_lr(r->optimizer, r->lr);
    if (status == AG_OK)
        status = ag_optimizer_step(r->optimizer);
    ag_module_zero_grad(module);
    ag_profile_note(r->profile, "optimizer");
    r->s.step += status == AG_OK;
    return status == AG_OK;
}

/* The sum of the losses of `count` windows of `length` tokens, whose starts are `stride` tokens apart. */
static double window_losses(run *r, int64_t start, int64_t count, int64_t stride, int64_t length)
{
    ag_ctx *ctx = r->model.ctx;
    double loss = (double)NAN;
    ag_scope_begin(ctx, NULL);
    ag_tensor *both = ag_empty(ctx, AG_I32, AG_SHAPE(count, length + 1));
    int32_t *to = both == NULL ? NULL : ag_data_mut(both);
    for (int64_t w = 0; w < count && to != NULL; w++)
        memcpy(to + w * (length + 1), r->corpus.token + start + w * stride, (size_t)(length + 1) * sizeof *to);
    ag_tensor *logits = ag_gpt_forward(r->model.gpt, ag_slice(both, 1, 0, length, 1));
    ag_item(ag_cross_entropy(logits, ag_slice(both, 1, 1, length + 1, 1)), &loss);
    ag_scope_end(ctx, NULL);
    return loss * (double)(count * length);
}

int64_t run_windows(const run *r)
{
    const int64_t T = (int64_t)r->o.context;
    return (r->corpus.count - 1 - r->corpus.train_count + T - 1) / T;
}

int64_t run_last_windows(const run *r)
{
    return 1000000 / (int64_t)r->o.context + 1;
}

/* Every stride-th window is taken. */
static int64_t stride_of(const run *r, int64_t some)
{
    const int64_t windows = run_windows(r);
    return windows > some ? windows / some : 1;
}

int64_t run_validated(const run *r, int64_t some)
{
    const int64_t stride = stride_of(r, some);
    return (run_windows(r) + stride - 1) / stride;
}

double run_validate(run *r, int64_t some)
{
    const int64_t T = (int64_t)r->o.context, first = r->corpus.train_count, end = r->corpus.count - 1;
    const int64_t windows = run_windows(r), whole = (end - first) / T, stride = stride_of(r, some);
    const int64_t most = micro_batch_of(r);
    double sum = 0, tokens = 0;
    for (int64_t w = 0; w < windows;) {
        int64_t start = first + w * T, left = (whole - w + stride - 1) / stride, count = left < most ? left : most;
        int64_t length = count > 0 ? T : end - start; /* the last window may be short */
        if (count <= 0)
            count = 1;
        sum += window_losses(r, start, count, stride * T, length);
        tokens += (double)(count * length);
        w += count * stride;
    }
    return sum / tokens;
}
