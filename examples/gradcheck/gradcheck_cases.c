/* SPDX-License-Identifier: MIT
 *
 * gradcheck_cases.c - see gradcheck_cases.h. gradcheck_ops.def and gradcheck_layers.def are expanded into functions,
 * then into tables.
 */
#include "examples/gradcheck/gradcheck_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Ops: each result as a function of tensors and of complex arrays ------------------------- */

/* The product of the equal pieces that x is split into. */
static ag_tensor *product_of_pieces(ag_tensor *x, int dim, int count)
{
    ag_tensor *piece[AG_MAX_DIMS], *product;
    ag_split(x, dim, count, piece);
    product = piece[0];
    for (int i = 1; i < count; i++)
        product = ag_mul(product, piece[i]);
    return product;
}

#define OP(name, smoothness, about)
#define CASE(op, name, result, ...)                                                                          \
    static ag_tensor *op##_##name(ag_tensor *const *x)                                                       \
    {                                                                                                        \
        return result;                                                                                       \
    }
#define CASE_REAL CASE
#define CASE_ROUNDED CASE
#define F(op) ag_##op
#define ROPE_TABLE(size, length) ag_rope_table(ag_ctx_of(x[0]), AG_F64, (ag_rope_config){ 0 }, size, 0, length)
#include "examples/gradcheck/gradcheck_ops.def"
#undef CASE
#undef CASE_REAL
#undef CASE_ROUNDED
#undef F
#undef ROPE_TABLE

#define CASE(op, name, result, ...)                                                                          \
    static z_array *z_##op##_##name(z_array *const *x)                                                       \
    {                                                                                                        \
        return result;                                                                                       \
    }
#define CASE_REAL(...)
#define CASE_ROUNDED CASE
#define F(op) z_##op
#define ROPE_TABLE(size, length) size
#include "examples/gradcheck/gradcheck_ops.def"
#undef OP
#undef CASE
#undef CASE_REAL
#undef CASE_ROUNDED
#undef F
#undef ROPE_TABLE

/* ---- Layers on complex numbers. w: the parameters in the layer's order ----------------------- */

/* [B,T,H*D] -> [B,H,T,D] */
static z_array *z_split_heads(z_array *x, int64_t H)
{
    if (x == NULL)
        return NULL;
    return z_transpose(z_reshape(x, AG_SHAPE(x->shape[0], x->shape[1], H, x->shape[2] / H)), 1, 2);
}

/* Keys and values come from memory. w: q, k, v, each with its bias. */
static z_array *z_heads_over(z_array *x, z_array *memory, z_array *const *w, int64_t H, bool causal)
{
    z_array *q = z_split_heads(z_linear(x, w[0], w[1]), H), *k = z_split_heads(z_linear(memory, w[2], w[3]), H);
    z_array *v = z_split_heads(z_linear(memory, w[4], w[5]), H);
    z_array *o = z_transpose(z_sdpa(q, k, v, (z_sdpa_config){ .mask.causal = causal }), 1, 2);
    return o == NULL ? NULL : z_reshape(o, AG_SHAPE(o->shape[0], o->shape[1], H * o->shape[3]));
}

static z_array *z_heads(z_array *x, z_array *const *w, int64_t H, bool causal)
{
    return z_heads_over(x, x, w, H, causal);
}

static z_array *z_mha(z_array *x, z_array *const *w, int64_t H, bool causal)
{
    return z_linear(z_heads(x, w, H, causal), w[6], w[7]);
}

enum { BLOCK_PARAMS = 16 }; /* norm1 2, attn 8, norm2 2, ff 4 */

static z_array *z_block(z_array *x, z_array *const *w, int64_t H)
{
    x = z_add(x, z_mha(z_layer_norm(x, w[0], w[1], 1e-5), w + 2, H, true));
    z_array *up = z_linear(z_layer_norm(x, w[10], w[11], 1e-5), w[12], w[13]);
    return z_add(x, z_linear(z_gelu(up), w[14], w[15]));
}

static z_array *z_gpt(z_array *tokens, z_array *const *w, int64_t H, int layers)
{
    z_array *x = tokens == NULL ? NULL : z_slice(w[1], 0, 0, tokens->shape[1], 1); /* positions */
    x = z_add(z_embedding(w[0], tokens), x);
    for (int i = 0; i < layers; i++)
        x = z_block(x, w + 2 + i * BLOCK_PARAMS, H);
    z_array *const *norm = w + 2 + layers * BLOCK_PARAMS;
    return z_linear(z_layer_norm(x, norm[0], norm[1], 1e-5), w[0], NULL);
}

/* ---- Layers ---------------------------------------------------------------------------------- */

#define LAYER(name, about, result)                                                                           \
    static ag_tensor *name##_forward(void *layer, ag_tensor *const *x)                                       \
    {                                                                                                        \
        return result;                                                                                       \
    }                                                                                                        \
    static ag_module *name##_module(void *layer)                                                             \
    {                                                                                                        \
        return ag_##name##_module(layer);                                                                    \
    }                                                                                                        \
    static void name##_free(void *layer)                                                                     \
    {                                                                                                        \
        ag_##name##_free(layer);                                                                             \
    }                                                                                                        \
    static const layer_kind name##_kind = { name##_forward, name##_module, name##_free };
#define CONFIG(kind, ...) (ag_##kind##_config){ __VA_ARGS__, .dtype = AG_F64 }
#define LAYER_CASE(layer, name, config, ...)                                                                 \
    static void *make_##layer##_##name(ag_ctx *ctx)                                                          \
    {                                                                                                        \
        return ag_##layer##_new(ctx, config);                                                                \
    }
#define LAYER_CASE_REAL LAYER_CASE
#include "examples/gradcheck/gradcheck_layers.def"
#undef LAYER
#undef LAYER_CASE
#undef LAYER_CASE_REAL

#define LAYER(...)
#define LAYER_CASE(layer, name, config, formula, ...)                                                        \
    static z_array *z_##layer##_layer_##name(z_array *const *x)                                              \
    {                                                                                                        \
        return formula;                                                                                      \
    }
#define LAYER_CASE_REAL(...)
#include "examples/gradcheck/gradcheck_layers.def"
#undef LAYER
#undef LAYER_CASE
#undef LAYER_CASE_REAL

/* ---- The tables ------------------------------------------------------------------------------ */

const subject subjects[] = {
#define LAYER(name, about, result) { #name, about, true, NULL },
#define LAYER_CASE(...)
#define LAYER_CASE_REAL(...)
#include "examples/gradcheck/gradcheck_layers.def"
#undef LAYER
#undef LAYER_CASE
#undef LAYER_CASE_REAL
#define SMOOTH NULL
#define KINKED "has kinks"
#define ROUNDED "rounds"
#define OP(name, smoothness, about) { #name, about, false, smoothness },
#define CASE(...)
#define CASE_REAL(...)
#define CASE_ROUNDED(...)
#include "examples/gradcheck/gradcheck_ops.def"
#undef OP
#undef CASE
#undef CASE_REAL
#undef CASE_ROUNDED
};
const int subject_count = sizeof subjects / sizeof *subjects;

#define DIMS(...) (int)(sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ }
#define ANY(...) { SPEC_ANY, DIMS(__VA_ARGS__) }
#define POSITIVE(...) { SPEC_POSITIVE, DIMS(__VA_ARGS__) }
#define NONZERO(...) { SPEC_NONZERO, DIMS(__VA_ARGS__) }
#define DISTINCT(...) { SPEC_DISTINCT, DIMS(__VA_ARGS__) }
#define INDEX(...) { SPEC_INDEX, DIMS(__VA_ARGS__) }

const check_case cases[] = {
#define LAYER(...)
#define LAYER_CASE(layer, name, config, formula, ...)                                                        \
    { #layer, #name, false, &layer##_kind, make_##layer##_##name, NULL, z_##layer##_layer_##name, { __VA_ARGS__ } },
#define LAYER_CASE_REAL(layer, name, config, ...)                                                            \
    { #layer, #name, false, &layer##_kind, make_##layer##_##name, NULL, NULL, { __VA_ARGS__ } },
#include "examples/gradcheck/gradcheck_layers.def"
#define OP(name, smoothness, about)
#define CASE(op, name, result, ...) { #op, #name, false, NULL, NULL, op##_##name, z_##op##_##name, { __VA_ARGS__ } },
#define CASE_REAL(op, name, result, ...) { #op, #name, false, NULL, NULL, op##_##name, NULL, { __VA_ARGS__ } },
#define CASE_ROUNDED(op, name, result, ...)                                                                  \
    { #op, #name, true, NULL, NULL, op##_##name, z_##op##_##name, { __VA_ARGS__ } },
#include "examples/gradcheck/gradcheck_ops.def"
};
const int case_count = sizeof cases / sizeof *cases;

bool case_is_of(const check_case *c, const subject *s)
{
    return strcmp(c->subject, s->name) == 0 && (c->layer != NULL) == s->layer;
}

/* ---- Inputs ---------------------------------------------------------------------------------- */

static double between(ag_ctx *ctx, double low, double high)
{
    return low + (high - low) * ag_random(ctx);
}

/* Multiples of 1/8 in random order, shifted by 1/16 for each input, so that values of two inputs differ too. */
static void fill_distinct(ag_ctx *ctx, double *value, int64_t n, int number)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t j = (int64_t)(ag_random(ctx) * (double)(i + 1)); /* Fisher-Yates, inside out */
        value[i] = value[j];
        value[j] = 0.125 * (double)(i - n / 2) + 0.0625 * number + between(ctx, 0, 0.005);
    }
}

static ag_tensor *draw_input(ag_ctx *ctx, const input_spec *spec, int number)
{
    if (spec->kind == SPEC_INDEX)
        return ag_randint(ctx, 0, (int32_t)spec->shape[0], spec->ndim - 1, spec->shape + 1);
    ag_tensor *x = ag_require_grad(ag_zeros(ctx, AG_F64, spec->ndim, spec->shape));
    double *value = x == NULL ? NULL : ag_data_mut(x);
    if (value != NULL && spec->kind == SPEC_DISTINCT)
        fill_distinct(ctx, value, ag_numel(x), number);
    for (int64_t i = 0; value != NULL && i < ag_numel(x); i++) {
        double sign = ag_random(ctx) < 0.5 ? -1 : 1;
        if (spec->kind == SPEC_ANY)
            value[i] = sign * between(ctx, 0, 1.5);
        else if (spec->kind == SPEC_POSITIVE)
            value[i] = between(ctx, 0.5, 2);
        else if (spec->kind == SPEC_NONZERO)
            value[i] = sign * between(ctx, 0.2, 1.5);
    }
    return x;
}

/* ---- Running a case -------------------------------------------------------------------------- */

typedef struct case_run {
    const check_case *c;
    const fault *planted;
    int front; /* the input that the fault is put on; -1: the result */
    void *layer;
    ag_module *module; /* NULL: an op */
    ag_tensor *input[CASE_INPUTS + 1]; /* one more for a fault of two inputs */
    int count;
} case_run;

static ag_tensor *result_of(const case_run *run, ag_tensor *const *x)
{
    return run->layer != NULL ? run->c->layer->forward(run->layer, x) : run->c->f(x);
}

static void run_function(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx;
    const case_run *run = user;
    const fault *planted = run->planted;
    ag_tensor *x[CASE_INPUTS + 1] = { NULL };
    for (int i = 0; i < run->count; i++)
        x[i] = input[i];
    ag_tensor *second = NULL;
    if (planted != NULL && planted->second != ALONE) { /* the fault's own input, after those of the case */
        second = x[run->count - 1];
        x[run->count - 1] = NULL;
    }
    if (planted != NULL && run->front >= 0)
        x[run->front] = planted->apply(x[run->front], second);
    ag_tensor *y = result_of(run, x);
    output[0] = planted != NULL && run->front < 0 ? planted->apply(y, second) : y;
}

/* An input or parameter as a complex array; integers become real numbers. */
static z_array *complex_of(z_pool *pool, const ag_tensor *t, const double *pairs)
{
    z_array *x = z_new(pool, ag_ndim(t), ag_shape(t));
    if (x != NULL && ag_dtype_of(t) == AG_I32)
        for (int64_t i = 0; i < x->numel; i++)
            x->value[i] = ((const int32_t *)ag_data(t))[i];
    else if (x != NULL)
        memcpy(x->value, pairs, (size_t)x->numel * sizeof *x->value);
    return x;
}

static void run_complex(const double *const *input, double *const *output, void *user)
{
    enum { MOST = 64 };
    const case_run *run = user;
    z_pool pool = { NULL };
    z_array *x[MOST], *y;
    int count = run->count + (run->module == NULL ? 0 : (int)ag_module_param_count(run->module));
    bool made = count <= MOST;
    for (int i = 0; i < count && made; i++) {
        const ag_tensor *t = i < run->count ? run->input[i] : ag_module_param(run->module, i - run->count).tensor;
        x[i] = complex_of(&pool, t, input[i]);
        made = x[i] != NULL;
    }
    y = made ? run->c->z(x) : NULL;
    if (y != NULL)
        memcpy(output[0], y->value, (size_t)y->numel * sizeof *y->value);
    else
        output[0][0] = output[0][1] = (double)NAN; /* out of memory */
    z_pool_free(&pool);
}

/* The layer, with noise on all its parameters. */
static void make_layer(ag_ctx *ctx, case_run *run)
{
    run->layer = run->c->make(ctx);
    run->module = run->layer == NULL ? NULL : run->c->layer->module(run->layer);
    for (int64_t i = 0; run->module != NULL && i < ag_module_param_count(run->module); i++) {
        ag_tensor *p = ag_module_param(run->module, i).tensor;
        double *value = ag_data_mut(p);
        for (int64_t j = 0; j < ag_numel(p); j++)
            value[j] += between(ctx, -0.5, 0.5);
    }
}

/* Finds the place of the fault and draws its second input. False: it fits no shape, or an error. */
static bool plant_fault(ag_ctx *ctx, case_run *run)
{
    run->front = -1;
    for (int i = run->count - 1; i >= 0; i--)
        if (ag_dtype_of(run->input[i]) == AG_F64)
            run->front = i;
    ag_tensor *x = run->front >= 0 ? run->input[run->front] : result_of(run, run->input);
    if (x == NULL || !fault_fits(run->planted, ag_ndim(x), ag_shape(x)))
        return false;
    if (run->planted->second == ALONE)
        return true;
    bool row = run->planted->second == WITH_ROW;
    input_spec spec = { SPEC_POSITIVE, row ? 1 : ag_ndim(x), { 0 } };
    memcpy(spec.shape, ag_shape(x) + (row ? ag_ndim(x) - 1 : 0), (size_t)spec.ndim * sizeof spec.shape[0]);
    run->input[run->count] = ag_set_name(draw_input(ctx, &spec, 0), "planted");
    return run->input[run->count++] != NULL;
}

/* Inputs and layer. False on error. */
static bool begin(ag_ctx *ctx, case_run *run, uint64_t seed)
{
    ag_rng_set(ctx, (ag_rng){ .seed = seed });
    ag_scope_begin(ctx, NULL);
    for (; run->count < CASE_INPUTS && run->c->input[run->count].kind != NO_INPUT; run->count++)
        run->input[run->count] = draw_input(ctx, &run->c->input[run->count], run->count);
    if (run->c->layer != NULL && ag_requires_grad(run->input[0]))
        ag_set_name(run->input[0], "x");
    if (run->c->layer != NULL)
        make_layer(ctx, run);
    return ag_error(ctx) == AG_OK;
}

static void end(ag_ctx *ctx, case_run *run)
{
    if (run->layer != NULL)
        run->c->layer->free(run->layer);
    ag_scope_end(ctx, NULL);
}

ag_gradcheck_result case_check(ag_ctx *ctx, uint64_t seed, const check_case *c, oracle by, const fault *planted,
                               ag_gradcheck_config config)
{
    case_run run = { .c = c, .planted = planted };
    ag_gradcheck_result result = { .verdict = AG_FAIL, .input = -1, .node = -1 };
    config.complex_step = by == BY_COMPLEX_STEP ? run_complex : NULL;
    config.seed = seed;
    if (c->rounds)
        config.rtol = config.atol = 1e-4;
    if (!begin(ctx, &run, seed) || (planted != NULL && !plant_fault(ctx, &run)))
        ag_fail(ctx, AG_ERR_ARGUMENT, c->subject, "the case %s can not be set up", c->name);
    else if (run.module != NULL)
        result = ag_module_gradcheck(run.module, run_function, run.input, run.count, &run, config);
    else
        result = ag_gradcheck(ctx, run_function, run.input, run.count, &run, config);
    end(ctx, &run);
    return result;
}

const char *case_place(ag_ctx *ctx, const check_case *c, const fault *planted)
{
    case_run run = { .c = c, .planted = planted };
    bool fits = begin(ctx, &run, 1) && plant_fault(ctx, &run);
    end(ctx, &run);
    return !fits ? NULL : run.front < 0 ? "behind the result" : run.front == 0 ? "before input 0" : "before input 1";
}

bool case_records(ag_ctx *ctx, const check_case *c)
{
    case_run run = { .c = c };
    ag_tensor *y = NULL;
    bool found = false;
    begin(ctx, &run, 1);
    ag_tape *tape = ag_tape_begin(ctx);
    run_function(ctx, run.input, &y, &run);
    for (int64_t i = 0; tape != NULL && i < ag_tape_size(tape); i++)
        found = found || strcmp(ag_tape_node(tape, i).op, c->subject) == 0;
    ag_tape_end(tape);
    end(ctx, &run);
    return found;
}
