/* SPDX-License-Identifier: MIT
 *
 * check_attention_trace.c - the trace of a layer against the layer itself: its fused forward and backward with every
 * option; the entries against each other by their formulas; its JSON.
 */
#include "tensor/files/json.h"
#include "tests/nn/models/attention_trace_settings.h"

#include <stdlib.h>
#include <string.h>

static ag_tensor *entry(const ag_attention_trace *trace, const char *name)
{
    ag_tensor *t = ag_attention_trace_find(trace, name);
    ck_assert_msg(t != NULL, "there is no entry %s", name);
    return t;
}

/* ---- Against the layer ---- */

/* Every gradient that the layer's own backward pass left in a leaf. */
static void compare_gradients(const ag_attention_trace *trace, const ag_module *module, ag_tensor *x,
                              const ag_attend *with, double tolerance)
{
    const struct {
        const char *name;
        ag_tensor *leaf;
    } inputs[] = { { "dX", x }, { "dmemory", with->memory }, { "dvalues", with->values }, { "dbias", with->bias } };
    for (int i = 0; i < 4; i++)
        if (inputs[i].leaf != NULL)
            assert_close(entry(trace, inputs[i].name), ag_grad(inputs[i].leaf), tolerance, tolerance);
        else
            ck_assert_ptr_null(ag_attention_trace_find(trace, inputs[i].name));
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        char name[64];
        ag_named_tensor param = ag_module_param(module, i);
        snprintf(name, sizeof name, "dW.%s", param.name);
        assert_close(entry(trace, name), ag_grad(param.tensor), tolerance, tolerance);
        assert_same(entry(trace, name + 1), param.tensor);
    }
}

static void compare_with_layer(const setting *s, ag_dtype dtype)
{
    const double tolerance = dtype == AG_F64 ? 1e-12 : 2e-5;
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, s, dtype);
    ag_module *module = ag_mha_module(layer);
    ag_tensor *x = ag_require_grad(ag_randn(ctx, dtype, AG_SHAPE(B, T, EMB)));
    ag_tensor *dY = ag_randn(ctx, dtype, AG_SHAPE(B, T, EMB));
    ag_attend with = call_of(ctx, s, dtype);
    ag_attention_trace *trace = ag_mha_trace(layer, x, with, dY);
    assert_no_error(ctx);
    ck_assert(trace != NULL && ag_grad(x) == NULL && ag_unused_parameters(module, NULL, 0) > 0);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_mha_forward_with(layer, x, with);
    assert_ok(ctx, ag_backward_from(tape, y, dY));
    assert_close(entry(trace, "Y"), y, tolerance, tolerance);
    assert_close(entry(trace, "P"), ag_mha_weights(layer), tolerance, tolerance);
    compare_gradients(trace, module, x, &with, tolerance);
    assert_no_error(ctx);
    ag_tape_end(tape);
    ag_attention_trace_free(trace);
    ag_mha_free(layer);
    test_end(ctx);
}

START_TEST(equals_the_layer_float64)
{
    compare_with_layer(&settings[_i], AG_F64);
}
END_TEST

START_TEST(equals_the_layer_float32)
{
    compare_with_layer(&settings[_i], AG_F32);
}
END_TEST

/* More queries and keys than a tile of the kernels has. */
START_TEST(more_than_a_tile)
{
    enum { LONG = 130 };
    ag_ctx *ctx = test_begin_serial();
    ag_mha *layer = ag_mha_new(ctx, (ag_mha_config){
        .emb_size = EMB, .num_heads = HEADS, .head_size = HEAD, .dtype = AG_F64,
        .attention = { .kv_heads = 2, .mask = { .back = 70 } } });
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, LONG, EMB)));
    ag_tensor *dY = ag_randn(ctx, AG_F64, AG_SHAPE(1, LONG, EMB));
    ag_attention_trace *trace = ag_mha_trace(layer, x, (ag_attend){ 0 }, dY);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_mha_forward(layer, x);
    assert_ok(ctx, ag_backward_from(tape, y, dY));
    assert_close(entry(trace, "Y"), y, 1e-12, 1e-12);
    compare_gradients(trace, ag_mha_module(layer), x, &(ag_attend){ 0 }, 1e-12);
    ag_tape_end(tape);
    ag_attention_trace_free(trace);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

/* ---- Entries against each other ---- */

/* The element [b,h,i,j] of an entry with four dims, or one that has fewer heads (grouped: head h reads h / group). */
static double at4(const ag_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t *shape = ag_shape(t);
    h = h / (HEADS / shape[1]);
    return test_at(t, ((b * shape[1] + h) * shape[2] + i) * shape[3] + j);
}

typedef struct entries {
    ag_tensor *Q, *K, *V, *U, *S, *mask, *P, *O, *lse, *dO, *dP, *delta, *dS, *dU, *dQ, *dK, *dV;
    double scale, cap;
} entries;

/* sum over n of a[i,n] b[j,n], or of a[i,n] b[n,j] */
static double row_by_row(const ag_tensor *a, const ag_tensor *b, int64_t batch, int64_t h, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t n = 0; n < ag_dim(a, 3); n++)
        sum += at4(a, batch, h, i, n) * at4(b, batch, h, j, n);
    return sum;
}

static double row_by_column(const ag_tensor *a, const ag_tensor *b, int64_t batch, int64_t h, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t n = 0; n < ag_dim(a, 3); n++)
        sum += at4(a, batch, h, i, n) * at4(b, batch, h, n, j);
    return sum;
}

#define NEAR(got, want) ck_assert_double_eq_tol(got, want, 1e-12)

/* Everything about the pair of query i and key j. */
static void check_pair(const entries *e, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t row = (b * HEADS + h) * T + i;
    const double u = at4(e->U, b, h, i, j), s = at4(e->S, b, h, i, j), p = at4(e->P, b, h, i, j);
    const double dp = at4(e->dP, b, h, i, j), ds = at4(e->dS, b, h, i, j), lse = test_at(e->lse, row);
    NEAR(u, e->scale * row_by_row(e->Q, e->K, b, h, i, j));
    NEAR(dp, row_by_row(e->dO, e->V, b, h, i, j));
    NEAR(ds, p * (dp - test_at(e->delta, row)));
    NEAR(at4(e->dU, b, h, i, j), e->cap > 0 ? ds * (1 - pow(tanh(u / e->cap), 2)) : ds);
    if (at4(e->mask, b, h, i, j) == 0) {
        ck_assert(s == -(double)INFINITY && p == 0 && ds == 0);
        return;
    }
    NEAR(p, exp(s - lse));
}

static void check_row(const entries *e, int64_t b, int64_t h, int64_t i)
{
    double sum = 0, sum_ds = 0, o_do = 0, seen = 0;
    for (int64_t j = 0; j < ag_dim(e->P, 3); j++) {
        check_pair(e, b, h, i, j);
        sum += at4(e->P, b, h, i, j);
        sum_ds += at4(e->dS, b, h, i, j);
        seen += at4(e->mask, b, h, i, j);
    }
    for (int64_t c = 0; c < ag_dim(e->O, 3); c++) {
        NEAR(at4(e->O, b, h, i, c), row_by_column(e->P, e->V, b, h, i, c));
        o_do += at4(e->O, b, h, i, c) * at4(e->dO, b, h, i, c);
    }
    NEAR(sum, seen > 0 ? 1 : 0);
    NEAR(sum_ds, 0);
    NEAR(test_at(e->delta, (b * HEADS + h) * T + i), o_do);
    for (int64_t c = 0; c < ag_dim(e->Q, 3); c++)
        NEAR(at4(e->dQ, b, h, i, c), e->scale * row_by_column(e->dU, e->K, b, h, i, c));
}

/* Gradients of key j of key head kh: sums over the queries of the heads that read it. */
static void check_key(const entries *e, int64_t b, int64_t kh, int64_t j)
{
    const int64_t group = HEADS / ag_dim(e->K, 1);
    for (int64_t c = 0; c < ag_dim(e->K, 3) + ag_dim(e->V, 3); c++) {
        const bool key = c < ag_dim(e->K, 3);
        const int64_t channel = key ? c : c - ag_dim(e->K, 3);
        double sum = 0;
        for (int64_t h = kh * group; h < (kh + 1) * group; h++)
            for (int64_t i = 0; i < T; i++)
                sum += key ? e->scale * at4(e->dU, b, h, i, j) * at4(e->Q, b, h, i, channel)
                           : at4(e->P, b, h, i, j) * at4(e->dO, b, h, i, channel);
        NEAR(at4(key ? e->dK : e->dV, b, kh * group, j, channel), sum);
    }
}

static entries entries_of(const ag_attention_trace *t, const ag_mha_config *config)
{
    return (entries){
        .Q = entry(t, "Q"), .K = entry(t, "K"), .V = entry(t, "V"), .U = entry(t, "U"), .S = entry(t, "S"),
        .mask = entry(t, "mask"), .P = entry(t, "P"), .O = entry(t, "O"), .lse = entry(t, "lse"),
        .dO = entry(t, "dO"), .dP = entry(t, "dP"), .delta = entry(t, "delta"), .dS = entry(t, "dS"),
        .dU = entry(t, "dU"), .dQ = entry(t, "dQ"), .dK = entry(t, "dK"), .dV = entry(t, "dV"),
        .scale = config->attention.scale != 0 ? config->attention.scale : 1 / sqrt(HEAD),
        .cap = config->attention.soft_cap,
    };
}

START_TEST(entries_keep_their_formulas)
{
    const setting *s = &settings[_i];
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, s, AG_F64);
    ag_attention_trace *trace = ag_mha_trace(layer, ag_randn(ctx, AG_F64, AG_SHAPE(B, T, EMB)),
                                             call_of(ctx, s, AG_F64), NULL);
    assert_no_error(ctx);
    const entries e = entries_of(trace, &s->config);
    const int64_t key_heads = s->config.attention.kv_heads != 0 ? s->config.attention.kv_heads : HEADS;
    ck_assert(ag_dim(e.Q, 1) == HEADS && ag_dim(e.K, 1) == key_heads && ag_dim(e.dV, 1) == key_heads);
    for (int64_t b = 0; b < B; b++) {
        for (int64_t row = 0; row < HEADS * T; row++)
            check_row(&e, b, row / T, row % T);
        for (int64_t row = 0; row < key_heads * ag_dim(e.K, 2); row++)
            check_key(&e, b, row / ag_dim(e.K, 2), row % ag_dim(e.K, 2));
    }
    ag_attention_trace_free(trace);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

/* S = c tanh(U / c) + bias + relative where allowed, from the entries and the layer's table. */
START_TEST(scores)
{
    const setting s = { "", BIAS | STARTS, { OPTIONS(.soft_cap = 0.7, .relative = 2) }, { .offset = 1 } };
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, &s, AG_F64);
    ag_attention_trace *trace =
        ag_mha_trace(layer, ag_randn(ctx, AG_F64, AG_SHAPE(B, T, EMB)), call_of(ctx, &s, AG_F64), NULL);
    ag_tensor *U = entry(trace, "U"), *bias = entry(trace, "bias"), *dS = entry(trace, "dS");
    ag_tensor *table = test_param(ag_mha_module(layer), "relative");
    double drelative[HEADS][5] = { { 0 } };
    for (int64_t b = 0; b < B; b++)
        for (int64_t row = 0; row < HEADS * T; row++)
            for (int64_t j = 0; j < T; j++) {
                const int64_t h = row / T, i = row % T, p = i + 1 + (b == 0 ? -1 : 2);
                const int64_t d = (j - p < -2 ? -2 : j - p > 2 ? 2 : j - p) + 2;
                const double want = 0.7 * tanh(at4(U, b, h, i, j) / 0.7) + at4(bias, b, h, i, j) +
                                    test_at(table, h * 5 + d);
                drelative[h][d] += at4(dS, b, h, i, j);
                ck_assert_int_eq((int)at4(entry(trace, "mask"), b, h, i, j), j <= p);
                if (j <= p)
                    NEAR(at4(entry(trace, "S"), b, h, i, j), want);
            }
    assert_close(entry(trace, "dW.relative"), ag_from_data(ctx, AG_F64, AG_SHAPE(HEADS, 5), drelative), 1e-12, 1e-12);
    ag_attention_trace_free(trace);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

/* x that is its own memory: dX has what queries, keys and values give, as in the layer. */
START_TEST(inputs_that_are_one_tensor)
{
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, &settings[1], AG_F64);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, EMB)), *dY = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, EMB));
    ag_tensor *m = ag_randn(ctx, AG_F64, AG_SHAPE(B, S, EMB));
    ag_attention_trace *plain = ag_mha_trace(layer, x, (ag_attend){ 0 }, dY);
    ag_attention_trace *same = ag_mha_trace(layer, x, (ag_attend){ .memory = x, .values = x }, dY);
    assert_close(entry(same, "dX"), entry(plain, "dX"), 1e-13, 1e-13);
    ck_assert_ptr_null(ag_attention_trace_find(same, "memory"));
    ag_attention_trace *memory = ag_mha_trace(layer, x, (ag_attend){ .memory = m }, dY);
    ag_attention_trace *twice = ag_mha_trace(layer, x, (ag_attend){ .memory = m, .values = m }, dY);
    assert_close(entry(twice, "dmemory"), entry(memory, "dmemory"), 1e-13, 1e-13);
    ck_assert_ptr_null(ag_attention_trace_find(twice, "values"));
    assert_no_error(ctx);
    ag_attention_trace_free(plain);
    ag_attention_trace_free(same);
    ag_attention_trace_free(memory);
    ag_attention_trace_free(twice);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

/* ---- One head, and what a trace leaves alone ---- */

START_TEST(one_head)
{
    ag_ctx *ctx = test_begin();
    ag_head_attention *layer = ag_head_attention_new(
        ctx, (ag_head_attention_config){ .emb_size = EMB, .head_size = 3, .max_seq_len = T, .dtype = AG_F64 });
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(B, T, EMB)));
    ag_tensor *dY = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 3));
    ag_attention_trace *trace = ag_head_attention_trace(layer, x, (ag_attend){ 0 }, dY);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_head_attention_forward(layer, x);
    assert_ok(ctx, ag_backward_from(tape, y, dY));
    assert_close(entry(trace, "Y"), y, 1e-13, 1e-13);
    ck_assert_str_eq(ag_shape_text(entry(trace, "O")), "[2,1,7,3]");
    compare_gradients(trace, ag_head_attention_module(layer), x, &(ag_attend){ 0 }, 1e-13);
    ck_assert_ptr_null(ag_attention_trace_find(trace, "dW.proj.weight"));
    ag_tape_end(tape);
    ag_attention_trace_free(trace);
    ag_head_attention_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(nothing_else_changes)
{
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, &(setting){ "", 0, { .dropout = 0.5 }, { 0 } }, AG_F32);
    ag_module *module = ag_mha_module(layer);
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(B, T, EMB)));
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, test_total(ag_mha_forward(layer, x))));
    ag_tape_end(tape);
    ag_tensor *weights = ag_tensor_clone(ag_mha_weights(layer)), *dx = ag_tensor_clone(ag_grad(x));
    ag_tensor *before = ag_tensor_clone(x), *dq = ag_tensor_clone(ag_grad(test_param(module, "q.weight")));
    ag_tensor *part = ag_tensor_slice(x, 1, 0, 4, 1); /* strided */
    const ag_rng rng = ag_rng_get(ctx);
    ag_attention_trace *trace = ag_mha_trace(layer, part, (ag_attend){ 0 }, NULL);
    ag_attention_trace *again = ag_mha_trace(layer, part, (ag_attend){ 0 }, NULL);
    ck_assert(!ag_requires_grad(part));
    ck_assert(ag_rng_get(ctx).counter == rng.counter && ag_rng_get(ctx).seed == rng.seed);
    ck_assert_int_eq(ag_attention_trace_count(trace), ag_attention_trace_count(again));
    for (int64_t i = 0; i < ag_attention_trace_count(trace); i++) /* dropout draws nothing, dY is drawn alike */
        assert_same_bits(ag_attention_trace_entry(trace, i).tensor, ag_attention_trace_entry(again, i).tensor);
    assert_same_bits(ag_mha_weights(layer), weights);
    assert_same_bits(ag_grad(x), dx);
    assert_same_bits(ag_grad(test_param(module, "q.weight")), dq);
    ag_fill(x, 0); /* entries are copies */
    assert_same(entry(trace, "X"), ag_tensor_slice(before, 1, 0, 4, 1));
    ag_attention_trace_free(again);
    ag_attention_trace_free(trace);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(names_in_order)
{
    static const char want[] = "X W.q.weight W.k.weight W.v.weight W.proj.weight Q K V U mask S P lse O Y dY dO dV dP "
                               "delta dS dU dQ dK dX dW.q.weight dW.k.weight dW.v.weight dW.proj.weight ";
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, &settings[1], AG_F32);
    ag_mha *longer = layer_of(ctx, &settings[0], AG_F32); /* what it leaves in memory is no entry of the next one */
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(B, T, EMB));
    ag_attention_trace_free(ag_mha_trace(longer, x, (ag_attend){ 0 }, NULL));
    ag_attention_trace *trace = ag_mha_trace(layer, x, (ag_attend){ 0 }, NULL);
    char names[400] = "";
    for (int64_t i = 0; i < ag_attention_trace_count(trace); i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s ", ag_attention_trace_entry(trace, i).name);
    ck_assert_str_eq(names, want);
    ck_assert_ptr_null(ag_attention_trace_find(trace, "dW"));
    ck_assert_ptr_null(ag_attention_trace_entry(trace, -1).tensor);
    ck_assert_ptr_null(ag_attention_trace_entry(trace, ag_attention_trace_count(trace)).name);
    ck_assert_int_eq(ag_attention_trace_count(NULL), 0);
    ag_attention_trace_free(trace);
    ag_attention_trace_free(NULL);
    ag_mha_free(longer);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

/* ---- JSON ---- */

static char *json_of(const ag_attention_trace *trace)
{
    const char *path = test_file();
    FILE *file = fopen(path, "w+b");
    ck_assert_int_eq(ag_attention_trace_json(trace, file), AG_OK);
    const long size = ftell(file);
    char *text = calloc((size_t)size + 1, 1);
    rewind(file);
    ck_assert_uint_eq(fread(text, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    remove(path);
    return text;
}

static double next_number(ag_json *json)
{
    while (strchr(" \n", json->text[json->at]) != NULL)
        json->at++;
    if (json->text[json->at] == '"') {
        const char *text = ag_json_string(json);
        ck_assert(strcmp(text, "-inf") == 0 || strcmp(text, "inf") == 0 || strcmp(text, "nan") == 0);
        return ag_strtod(text, NULL);
    }
    ck_assert_msg(strchr("-0123456789", json->text[json->at]) != NULL, "no number at %.20s", json->text + json->at);
    char *end;
    const double value = ag_strtod(json->text + json->at, &end);
    json->at = (size_t)(end - json->text);
    return value;
}

/* The nested lists of t's values from element *at on, of its type's bits. */
static void expect_values(ag_json *json, const ag_tensor *t, int dim, int64_t *at)
{
    if (dim == ag_ndim(t)) {
        const double want = test_at(t, *at), got = next_number(json);
        const bool same = ag_dtype_of(t) == AG_F32 ? (float)got == (float)want : got == want;
        ck_assert_msg(same || (isnan(got) && isnan(want)), "element %lld is %.17g, must be %.17g", (long long)*at, got,
                      want);
        ++*at;
        return;
    }
    int64_t count = 0;
    ck_assert(ag_json_begin(json, '['));
    for (; ag_json_next(json, ']'); count++)
        expect_values(json, t, dim + 1, at);
    ck_assert_int_eq(count, ag_dim(t, dim));
}

static void expect_key(ag_json *json, const char *want)
{
    ck_assert_msg(ag_json_next(json, '}'), "the object ends before %s", want);
    ck_assert_str_eq(ag_json_key(json), want);
}

static void expect_entry(ag_json *json, ag_named_tensor want)
{
    int64_t extent, at = 0;
    expect_key(json, want.name);
    ck_assert(ag_json_begin(json, '{'));
    expect_key(json, "shape");
    ck_assert(ag_json_begin(json, '['));
    for (int d = 0; ag_json_next(json, ']'); d++)
        ck_assert(ag_json_whole(json, &extent) && extent == ag_dim(want.tensor, d));
    expect_key(json, "formula");
    ck_assert_uint_gt(strlen(ag_json_string(json)), 0);
    expect_key(json, "values");
    expect_values(json, want.tensor, 0, &at);
    ck_assert_int_eq(at, ag_numel(want.tensor));
    ck_assert(!ag_json_next(json, '}'));
}

static void expect_trace(const ag_attention_trace *trace, const char *layer, const char *sizes)
{
    char *text = json_of(trace), got[200] = "";
    ag_json json = ag_json_of(text, strlen(text));
    ck_assert(ag_json_begin(&json, '{'));
    expect_key(&json, "layer");
    ck_assert_str_eq(ag_json_string(&json), layer);
    expect_key(&json, "sizes");
    ck_assert(ag_json_begin(&json, '{'));
    while (ag_json_next(&json, '}')) {
        int64_t size;
        const char *key = ag_json_key(&json);
        ck_assert(ag_json_whole(&json, &size));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s %lld ", key, (long long)size);
    }
    ck_assert_str_eq(got, sizes);
    expect_key(&json, "entries");
    ck_assert(ag_json_begin(&json, '{'));
    for (int64_t i = 0; i < ag_attention_trace_count(trace); i++)
        expect_entry(&json, ag_attention_trace_entry(trace, i));
    ck_assert(!ag_json_next(&json, '}') && !ag_json_next(&json, '}') && ag_json_end(&json));
    ck_assert_msg(json.error == NULL, "%s at byte %zu", json.error, json.at);
    free(text);
}

START_TEST(json_gives_everything_back)
{
    const setting cross = { "", MEMORY | LENGTHS, { .key_size = 5, .value_size = 5, .value_head_size = 3,
                                                    OPTIONS(.kv_heads = 2) }, { 0 } };
    ag_ctx *ctx = test_begin();
    for (int dtype = AG_F32; dtype <= AG_F64; dtype++) {
        ag_mha *layer = layer_of(ctx, &cross, (ag_dtype)dtype);
        ag_tensor *x = ag_randn(ctx, (ag_dtype)dtype, AG_SHAPE(B, T, EMB));
        ag_attend with = call_of(ctx, &cross, (ag_dtype)dtype);
        ag_attention_trace *trace = ag_mha_trace(layer, x, with, NULL);
        expect_trace(trace, "mha", "B 2 T 7 S 5 H 4 Hk 2 D 4 Dv 3 ");
        ag_attention_trace_free(trace);
        ag_set(x, (const int64_t[]){ 0, 0, 0 }, (double)NAN); /* and what is not finite */
        trace = ag_mha_trace(layer, x, with, NULL);
        expect_trace(trace, "mha", "B 2 T 7 S 5 H 4 Hk 2 D 4 Dv 3 ");
        ag_attention_trace_free(trace);
        trace = ag_mha_trace(layer, ag_zeros(ctx, (ag_dtype)dtype, AG_SHAPE(B, 0, EMB)), with, NULL);
        expect_trace(trace, "mha", "B 2 T 0 S 5 H 4 Hk 2 D 4 Dv 3 "); /* and no queries */
        ag_attention_trace_free(trace);
        ag_mha_free(layer);
    }
    assert_no_error(ctx);
    test_end(ctx);
}
END_TEST

/* ---- Errors ---- */

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ag_mha *layer = layer_of(ctx, &settings[0], AG_F32);
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(B, T, EMB));
    const ag_attend plain = { 0 };
    ck_assert_ptr_null(ag_mha_trace(NULL, x, plain, NULL));
    ck_assert_ptr_null(ag_head_attention_trace(NULL, x, plain, NULL));
    ck_assert_ptr_null(ag_mha_trace(layer, NULL, plain, NULL));
    assert_no_error(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_ptr_null(ag_mha_trace(layer, x, plain, NULL));
    assert_error(ctx, AG_ERR_STATE, "a tape of 0 nodes is running");
    ck_assert(ag_recording(ctx));
    ag_tape_end(tape);
    ck_assert_ptr_null(ag_mha_trace(layer, ag_zeros(ctx, AG_F32, AG_SHAPE(B, T, EMB + 1)), plain, NULL));
    assert_error(ctx, AG_ERR_SHAPE, "mha: x is [2,7,7]");
    ck_assert_ptr_null(ag_mha_trace(layer, x, plain, ag_zeros(ctx, AG_F32, AG_SHAPE(B, T, EMB + 1))));
    assert_error(ctx, AG_ERR_SHAPE, "[2,7,7]");
    ag_kv_cache *cache = ag_kv_cache_new(ctx, B, 1);
    ck_assert_ptr_null(ag_mha_trace(layer, x, (ag_attend){ .cache = cache }, NULL));
    assert_error(ctx, AG_ERR_STATE, "cache");
    ag_kv_cache_free(cache);
    ck_assert(!ag_recording(ctx));
    ag_attention_trace *trace = ag_mha_trace(layer, x, plain, NULL);
    ck_assert_int_eq(ag_attention_trace_json(NULL, stderr), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_attention_trace_json(trace, NULL), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "file is NULL");
    FILE *full = fopen("/dev/full", "w");
    if (full != NULL) {
        setvbuf(full, NULL, _IONBF, 0);
        ck_assert_int_eq(ag_attention_trace_json(trace, full), AG_ERR_FILE);
        assert_error(ctx, AG_ERR_FILE, "could not be written");
        fclose(full);
    }
    ag_attention_trace_free(trace);
    ag_mha_free(layer);
    test_end(ctx);
}
END_TEST

/* An allocator with a number of blocks to give; < 0: any. */
typedef struct supply {
    int64_t left, out;
} supply;

static void *supply_alloc(void *user, size_t size)
{
    supply *s = user;
    if (s->left == 0)
        return NULL;
    s->left -= s->left > 0;
    s->out++;
    return malloc(size);
}

static void supply_free(void *user, void *block, size_t size)
{
    (void)size;
    ((supply *)user)->out -= block != NULL;
    free(block);
}

/* However many blocks there are: a trace, or the error and nothing kept. */
START_TEST(out_of_memory)
{
    bool enough = false;
    for (int64_t blocks = 0; !enough; blocks++) {
        supply s = { .left = -1 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .allocator = { supply_alloc, supply_free, &s } });
        ag_mha *layer = layer_of(ctx, &(setting){ "", BIAS, { OPTIONS(.relative = 2) }, { 0 } }, AG_F64);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, EMB));
        const ag_attend with = call_of(ctx, &settings[15], AG_F64);
        s.left = blocks;
        ag_attention_trace *trace = ag_mha_trace(layer, x, with, NULL);
        s.left = -1;
        enough = trace != NULL;
        ck_assert_int_eq(ag_error(ctx), enough ? AG_OK : AG_ERR_MEMORY);
        ck_assert(!ag_recording(ctx));
        ag_attention_trace_free(trace);
        ag_mha_free(layer);
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
        ck_assert_int_eq(s.out, 0);
    }
}
END_TEST

Suite *attention_trace_suite(void)
{
    Suite *suite = suite_create("attention_trace");
    TCase *tcase = tcase_create("attention_trace");
    tcase_add_loop_test(tcase, equals_the_layer_float64, 0, SETTINGS);
    tcase_add_loop_test(tcase, equals_the_layer_float32, 0, SETTINGS);
    tcase_add_test(tcase, more_than_a_tile);
    tcase_add_loop_test(tcase, entries_keep_their_formulas, 0, SETTINGS);
    tcase_add_test(tcase, scores);
    tcase_add_test(tcase, inputs_that_are_one_tensor);
    tcase_add_test(tcase, one_head);
    tcase_add_test(tcase, nothing_else_changes);
    tcase_add_test(tcase, names_in_order);
    tcase_add_test(tcase, json_gives_everything_back);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, out_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
