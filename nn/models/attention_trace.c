/* SPDX-License-Identifier: MIT
 *
 * attention_trace.c - an attention layer's forward and backward pass with every intermediate matrix.
 *
 * The layer projects, norms, turns and joins the masks as in its own forward. The rest of the pass is plain ops on a
 * tape of its own (attention_scores.h) instead of ag_sdpa, and backward is one ag_gradient of all matrices: a trace
 * checks the fused kernels against the rules of plain ops. Entries are copies, which other calls do not change.
 * B batch, T queries, S keys, H query heads, Hk key heads, D and Dv sizes of a query and of a value row.
 */
#include "autograd/watch/attention_scores.h"
#include "nn/attention_impl.h"
#include "nn/layers_impl.h"
#include "nn/models/models.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { FORMULA = 160 };

typedef struct trace_entry {
    const char *name; /* static or interned */
    ag_tensor *tensor;
    char formula[FORMULA]; /* without quotes or backslashes, so JSON takes it as it is */
} trace_entry;

struct ag_attention_trace {
    ag_ctx *ctx;
    const char *kind;
    int64_t B, T, S, H, Hk, D, Dv;
    trace_entry *entry;
    int64_t count, capacity;
};

/* ---- Entries ---------------------------------------------------------------------------------- */

/* Adds a copy of the tensor. NULL: an error stands. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static void trace_add(ag_attention_trace *trace, const char *name, const ag_tensor *t, const char *format, ...)
{
    ag_tensor *copy = t == NULL ? NULL : ag_tensor_clone(t);
    if (copy == NULL ||
        !ag_grow(trace->ctx, (void **)&trace->entry, &trace->capacity, trace->count + 1, sizeof *trace->entry))
        return;
    trace_entry *entry = &trace->entry[trace->count++];
    *entry = (trace_entry){ .name = name, .tensor = ag_retain(copy) };
    va_list values;
    va_start(values, format);
    ag_vsnprintf(entry->formula, sizeof entry->formula, format, values);
    va_end(values);
}

int64_t ag_attention_trace_count(const ag_attention_trace *trace)
{
    return trace == NULL ? 0 : trace->count;
}

ag_named_tensor ag_attention_trace_entry(const ag_attention_trace *trace, int64_t i)
{
    if (trace == NULL || i < 0 || i >= trace->count)
        return (ag_named_tensor){ 0 };
    return (ag_named_tensor){ trace->entry[i].name, trace->entry[i].tensor };
}

ag_tensor *ag_attention_trace_find(const ag_attention_trace *trace, const char *name)
{
    for (int64_t i = 0; name != NULL && i < ag_attention_trace_count(trace); i++)
        if (strcmp(trace->entry[i].name, name) == 0)
            return trace->entry[i].tensor;
    return NULL;
}

void ag_attention_trace_free(ag_attention_trace *trace)
{
    if (trace == NULL)
        return;
    for (int64_t i = 0; i < trace->count; i++)
        ag_release(trace->entry[i].tensor);
    ag_free(trace->ctx, trace->entry, (size_t)trace->capacity * sizeof *trace->entry);
    ag_free(trace->ctx, trace, sizeof *trace);
}

/* ---- The pass --------------------------------------------------------------------------------- */

typedef struct trace_pass {
    ag_attention_trace *trace;
    ag_attention_layer *layer;
    ag_linear_layer *proj;              /* NULL: one head, Y is O */
    ag_tensor *x, *keys_of, *values_of; /* leaves: the inputs of the projections to Q, K, V */
    ag_attention_operands in;
    ag_attention_scores at;
    ag_tensor *O, *Y;
    double scale;
} trace_pass;

/* Makes leaves with the values of the call's tensors, which do not change. A tensor that is given twice is one leaf, so
 * that its gradients add. */
static bool trace_take_inputs(trace_pass *p, ag_tensor *x, ag_attend with)
{
    p->x = ag_require_grad(ag_tensor_clone(x));
    p->keys_of = p->x;
    if (with.memory != NULL && with.memory != x)
        p->keys_of = ag_require_grad(ag_tensor_clone(with.memory));
    p->values_of = with.values == x ? p->x : p->keys_of;
    if (with.values != NULL && with.values != x && with.values != with.memory)
        p->values_of = ag_require_grad(ag_tensor_clone(with.values));
    with.memory = with.memory == NULL ? NULL : p->keys_of;
    with.values = with.values == NULL ? NULL : p->values_of;
    if (with.bias != NULL)
        with.bias = ag_require_grad(ag_tensor_clone(with.bias));
    return ag_error(p->trace->ctx) == AG_OK && ag_attention_operands_of(p->layer, p->x, &with, &p->in);
}

static void trace_forward(trace_pass *p)
{
    if (!ag_attention_scores_of(p->trace->kind, p->in.q, p->in.k, &p->in.config, &p->at))
        return;
    p->O = ag_head_product(p->at.P, p->in.v);
    p->Y = ag_attention_merge(p->layer, p->O);
    if (p->proj != NULL)
        p->Y = ag_linear_forward(p->proj, p->Y);
}

/* ---- Naming it -------------------------------------------------------------------------------- */

static const char *trace_name_of(const trace_pass *p, const ag_tensor *leaf)
{
    return leaf == p->x ? "X" : leaf == p->keys_of ? "memory" : "values";
}

static const char *trace_bias_term(const ag_linear_layer *layer, const char *term)
{
    return layer->bias == NULL ? "" : term;
}

static void trace_add_inputs(const trace_pass *p)
{
    ag_attention_trace *trace = p->trace;
    trace_add(trace, "X", p->x, "given");
    if (p->keys_of != p->x)
        trace_add(trace, "memory", p->keys_of, "given");
    if (p->values_of != p->x && p->values_of != p->keys_of)
        trace_add(trace, "values", p->values_of, "given");
    const ag_module *module = &p->layer->module;
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        const ag_named_tensor param = ag_module_param(module, i);
        char name[64];
        snprintf(name, sizeof name, "W.%s", param.name);
        trace_add(trace, ag_intern(module->ctx, "", name), param.tensor, "given");
    }
}

static void trace_add_operands(const trace_pass *p)
{
    ag_attention_trace *trace = p->trace;
    const ag_attention_layer *layer = p->layer;
    const bool norm = layer->config.attention.qk_norm, turn = layer->config.attention.rotary;
    const char *open = norm && turn ? "rope(rms_norm(" : norm ? "rms_norm(" : turn ? "rope(" : "";
    const char *close = norm && turn ? "))" : norm || turn ? ")" : "";
    const char *keys = trace_name_of(p, p->keys_of), *values = trace_name_of(p, p->values_of);
    trace_add(trace, "Q", p->in.q, "%sX Wq^T%s%s", open, trace_bias_term(layer->q, " + bq"), close);
    trace_add(trace, "K", p->in.k, "%s%s Wk^T%s%s", open, keys, trace_bias_term(layer->k, " + bk"), close);
    trace_add(trace, "V", p->in.v, "%s Wv^T%s", values, trace_bias_term(layer->v, " + bv"));
}

static void trace_add_scores(const trace_pass *p)
{
    ag_attention_trace *trace = p->trace;
    const ag_sdpa_config *config = &p->in.config;
    const char *bias = config->bias == NULL ? "" : " + bias";
    const char *relative = config->relative == NULL ? "" : " + relative[j - p]";
    trace_add(trace, "U", p->at.U, "a Q K^T, a = %.6g%s", p->scale,
              trace->H == trace->Hk ? "" : ", key heads in groups");
    if (config->bias != NULL)
        trace_add(trace, "bias", config->bias, "given");
    trace_add(trace, "mask", p->at.allowed, "1 where the query of the row sees the key of the column");
    if (config->soft_cap > 0)
        trace_add(trace, "S", p->at.S, "c tanh(U / c)%s%s where mask is 1, else -inf; c = %.6g", bias, relative,
                  config->soft_cap);
    else
        trace_add(trace, "S", p->at.S, "U%s%s where mask is 1, else -inf", bias, relative);
    trace_add(trace, "P", p->at.P, "softmax(S), row by row; 0 in a row that sees no key");
    trace_add(trace, "lse", ag_logsumexp(p->at.S, -1, false), "log(rowsum(exp(S))), so that P = exp(S - lse)");
}

static void trace_add_forward(const trace_pass *p)
{
    trace_add_inputs(p);
    trace_add_operands(p);
    trace_add_scores(p);
    trace_add(p->trace, "O", p->O, "P V");
    if (p->proj == NULL)
        trace_add(p->trace, "Y", p->Y, "O");
    else
        trace_add(p->trace, "Y", p->Y, "O Wproj^T%s, the heads side by side", trace_bias_term(p->proj, " + bproj"));
}

/* ---- Backward --------------------------------------------------------------------------------- */

enum { MOST_WANTED = 32 }; /* 11 of the pass; of the layer 8 of q, k, v and proj, q_norm, k_norm, relative */

/* The gradients to compute: entries whose tensor is still the one to differentiate by. */
typedef struct trace_wants {
    trace_entry list[MOST_WANTED];
    int count;
} trace_wants;

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static void trace_want(trace_wants *w, const char *name, ag_tensor *of, const char *format, ...)
{
    assert(w->count < MOST_WANTED);
    trace_entry *next = &w->list[w->count++];
    *next = (trace_entry){ .name = name, .tensor = of };
    va_list values;
    va_start(values, format);
    ag_vsnprintf(next->formula, sizeof next->formula, format, values);
    va_end(values);
}

static void trace_want_scores(trace_wants *w, const trace_pass *p)
{
    const char *shared = p->trace->H == p->trace->Hk ? "" : ", summed over the heads of a group";
    trace_want(w, "dO", p->O, "%s", p->proj == NULL ? "dY" : "dY Wproj, split into heads");
    trace_want(w, "dV", p->in.v, "P^T dO%s", shared);
    trace_want(w, "dP", p->at.P, "dO V^T");
    trace_want(w, "dS", p->at.S, "P * (dP - delta)");
    trace_want(w, "dU", p->at.U, "%s", p->in.config.soft_cap > 0 ? "dS * (1 - tanh^2(U / c))" : "dS");
    if (p->in.config.bias != NULL)
        trace_want(w, "dbias", p->in.config.bias, "dS, summed over what shares a bias");
    trace_want(w, "dQ", p->in.q, "a dU K");
    trace_want(w, "dK", p->in.k, "a dU^T Q%s", shared);
}

/* Whether Q and K are the projections themselves. Else formulas name the projections' gradients dq and dk. */
static bool trace_plain_projections(const trace_pass *p)
{
    return !p->layer->config.attention.qk_norm && !p->layer->config.attention.rotary;
}

/* The gradient of a leaf: the sum over those of x, keys_of and values_of that it is. */
static void trace_want_input(trace_wants *w, const trace_pass *p, const char *name, ag_tensor *leaf)
{
    const bool plain = trace_plain_projections(p), queries = leaf == p->x, keys = leaf == p->keys_of;
    trace_want(w, name, leaf, "%s%s%s%s%s%s", !queries ? "" : plain ? "dQ Wq" : "dq Wq", queries && keys ? " + " : "",
               !keys ? "" : plain ? "dK Wk" : "dk Wk", (queries || keys) && leaf == p->values_of ? " + " : "",
               leaf == p->values_of ? "dV Wv" : "",
               plain || (!queries && !keys) ? "" : "; dq, dk: dQ, dK back through what made Q and K");
}

static void trace_want_inputs(trace_wants *w, const trace_pass *p)
{
    trace_want_input(w, p, "dX", p->x);
    if (p->keys_of != p->x)
        trace_want_input(w, p, "dmemory", p->keys_of);
    if (p->values_of != p->x && p->values_of != p->keys_of)
        trace_want_input(w, p, "dvalues", p->values_of);
}

static void trace_want_parameters(trace_wants *w, const trace_pass *p)
{
    const ag_module *module = &p->layer->module;
    const bool plain = trace_plain_projections(p);
    const struct {
        const char *layer, *gradient, *input;
    } linear[] = {
        { "q.", plain ? "dQ" : "dq", "X" },
        { "k.", plain ? "dK" : "dk", trace_name_of(p, p->keys_of) },
        { "v.", "dV", trace_name_of(p, p->values_of) },
        { "proj.", "dY", "O" },
    };
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor param = ag_module_param(module, i);
        char name[64], formula[FORMULA] = "dS, summed over pairs with equal clamp(j - p, -R, R)";
        snprintf(name, sizeof name, "dW.%s", param.name);
        if (strstr(param.name, "_norm") != NULL)
            snprintf(formula, sizeof formula, "d%c turned back, times what was normed / its rms, summed",
                     param.name[0] == 'q' ? 'Q' : 'K');
        for (int l = 0; l < 4; l++)
            if (strncmp(param.name, linear[l].layer, strlen(linear[l].layer)) == 0)
                snprintf(formula, sizeof formula, param.tensor->ndim == 1 ? "column sums of %s" : "%s^T %s",
                         linear[l].gradient, linear[l].input);
        trace_want(w, ag_intern(module->ctx, "", name), param.tensor, "%s", formula);
    }
}

static ag_tensor *trace_draw_like(ag_tensor *y)
{
    ag_ctx *ctx = y->ctx;
    const ag_rng before = ag_rng_get(ctx);
    ag_tensor *drawn = ag_randn(ctx, y->dtype, y->ndim, y->shape);
    ag_rng_set(ctx, before);
    return drawn;
}

static void trace_backward(const trace_pass *p, ag_tape *tape, ag_tensor *dY)
{
    if (p->Y == NULL)
        return;
    trace_wants w = { .count = 0 };
    trace_want_scores(&w, p);
    trace_want_inputs(&w, p);
    trace_want_parameters(&w, p);
    if (dY == NULL)
        dY = trace_draw_like(p->Y);
    trace_add(p->trace, "dY", dY, "given");
    ag_tensor *of[MOST_WANTED], *gradient[MOST_WANTED];
    for (int i = 0; i < w.count; i++)
        of[i] = w.list[i].tensor;
    if (dY == NULL || ag_gradient(tape, p->Y, dY, of, w.count, gradient) != AG_OK)
        return;
    for (int i = 0; i < w.count; i++) {
        trace_add(p->trace, w.list[i].name, gradient[i], "%s", w.list[i].formula);
        if (of[i] == p->at.P)
            trace_add(p->trace, "delta", ag_sum(ag_mul(p->at.P, gradient[i]), AG_DIMS(-1), false),
                      "rowsum(P * dP) = rowsum(dO * O)");
    }
}

/* ---- The call --------------------------------------------------------------------------------- */

static ag_attention_trace *trace_new(const ag_module *module)
{
    ag_attention_trace *trace = ag_alloc(module->ctx, sizeof *trace);
    if (trace != NULL)
        *trace = (ag_attention_trace){ .ctx = module->ctx, .kind = module->kind };
    return trace;
}

static void trace_take_sizes(trace_pass *p)
{
    const ag_tensor *q = p->in.q, *k = p->in.k, *v = p->in.v;
    ag_attention_trace *trace = p->trace;
    trace->B = q->shape[0], trace->H = q->shape[1], trace->T = q->shape[2], trace->D = q->shape[3];
    trace->Hk = k->shape[1], trace->S = k->shape[2], trace->Dv = v->shape[3];
    p->scale = p->in.config.scale != 0 ? p->in.config.scale : 1 / sqrt((double)trace->D);
}

static ag_attention_trace *attention_trace_of(ag_attention_layer *layer, ag_linear_layer *proj, ag_tensor *x,
                                              ag_attend with, ag_tensor *dY)
{
    ag_ctx *ctx = layer->module.ctx;
    if (x == NULL)
        return NULL;
    ag_module_begin(&layer->module);
    trace_pass p = { .trace = trace_new(&layer->module), .layer = layer, .proj = proj };
    ag_tape *tape = p.trace == NULL ? NULL : ag_tape_begin(ctx);
    if (tape != NULL && trace_take_inputs(&p, x, with)) {
        trace_take_sizes(&p);
        trace_forward(&p);
        trace_add_forward(&p);
        trace_backward(&p, tape, dY);
    }
    ag_tape_end(tape);
    ag_scope_end(ctx, NULL);
    if (ag_error(ctx) == AG_OK)
        return p.trace;
    ag_attention_trace_free(p.trace);
    return NULL;
}

ag_attention_trace *ag_mha_trace(ag_mha *layer, ag_tensor *x, ag_attend with, ag_tensor *dY)
{
    return layer == NULL ? NULL : attention_trace_of(&layer->attention, layer->proj, x, with, dY);
}

ag_attention_trace *ag_head_attention_trace(ag_head_attention *layer, ag_tensor *x, ag_attend with, ag_tensor *dY)
{
    return layer == NULL ? NULL : attention_trace_of(&layer->attention, NULL, x, with, dY);
}

/* ---- JSON ------------------------------------------------------------------------------------- */

/* With the digits that give the same number back; one that is not finite as a string. */
static void trace_put_number(FILE *file, const ag_tensor *t, int64_t i)
{
    if (t->dtype == AG_I32) {
        fprintf(file, "%" PRId32, ((const int32_t *)ag_data(t))[i]);
        return;
    }
    const bool single = t->dtype == AG_F32;
    const double x = single ? (double)((const float *)ag_data(t))[i] : ((const double *)ag_data(t))[i];
    ag_fprintf(file, isfinite(x) ? "%.*g" : "\"%.*g\"", single ? 9 : 17, x);
}

/* The dims from `dim` on, from element *at on, as nested lists. Entries are dense. */
static void trace_put_values(FILE *file, const ag_tensor *t, int dim, int64_t *at)
{
    if (dim == t->ndim) {
        trace_put_number(file, t, (*at)++);
        return;
    }
    for (int64_t i = 0; i < t->shape[dim]; i++) {
        fputc(i == 0 ? '[' : ',', file);
        trace_put_values(file, t, dim + 1, at);
    }
    fputs(t->shape[dim] == 0 ? "[]" : "]", file);
}

ag_status ag_attention_trace_json(const ag_attention_trace *trace, FILE *file)
{
    if (trace == NULL || !ag_check_given(trace->ctx, trace->kind, "file", file))
        return AG_ERR_ARGUMENT;
    fprintf(file,
            "{\"layer\": \"%s\",\n\"sizes\": {\"B\": %" PRId64 ", \"T\": %" PRId64 ", \"S\": %" PRId64
            ", \"H\": %" PRId64 ", \"Hk\": %" PRId64 ", \"D\": %" PRId64 ", \"Dv\": %" PRId64 "},\n\"entries\": {",
            trace->kind, trace->B, trace->T, trace->S, trace->H, trace->Hk, trace->D, trace->Dv);
    for (int64_t i = 0; i < trace->count; i++) {
        const trace_entry *entry = &trace->entry[i];
        int64_t at = 0;
        fprintf(file, "%s\n\"%s\": {\"shape\": %s, \"formula\": \"%s\",\n\"values\": ", i == 0 ? "" : ",", entry->name,
                ag_shape_text(entry->tensor), entry->formula);
        trace_put_values(file, entry->tensor, 0, &at);
        fputc('}', file);
    }
    fputs("}}\n", file);
    if (ferror(file) == 0)
        return AG_OK;
    ag_fail(trace->ctx, AG_ERR_FILE, trace->kind, "the trace of %" PRId64 " entries could not be written",
            trace->count);
    return AG_ERR_FILE;
}
