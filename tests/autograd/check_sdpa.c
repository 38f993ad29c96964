/* SPDX-License-Identifier: MIT
 *
 * check_sdpa.c - ag_sdpa with every option against the same thing composed of plain ops, and against central
 * differences; weights on request; views and empty dims; what it remembers, and how much memory it takes.
 */
#include "tests/autograd/sdpa_composed.h"

#include <string.h>

typedef struct results {
    ag_tensor *o, *lse, *grad[LEAVES];
} results;

/* Clones the gradients, and takes them away. */
static void take_gradients(const attention *a, results *r)
{
    for (int i = 0; i < LEAVES; i++) {
        r->grad[i] = NULL;
        if (a->leaf[i] == NULL || ag_grad(a->leaf[i]) == NULL)
            continue;
        r->grad[i] = ag_retain(ag_tensor_clone(ag_grad(a->leaf[i])));
        ag_zero_grad(a->leaf[i]);
    }
}

/* Bit for bit. */
static void assert_same_results(const results *got, const results *want)
{
    assert_same_bits(got->o, want->o);
    assert_same_bits(got->lse, want->lse);
    for (int i = 0; i < LEAVES; i++) {
        ck_assert_msg((got->grad[i] == NULL) == (want->grad[i] == NULL), "only one has gradient %d", i);
        if (got->grad[i] != NULL)
            assert_same_bits(got->grad[i], want->grad[i]);
    }
}

static void release(results *r)
{
    ag_release(r->o);
    ag_release(r->lse);
    for (int i = 0; i < LEAVES; i++)
        ag_release(r->grad[i]);
}

static results fused(ag_ctx *ctx, const attention *a, const ag_tensor *cotangent)
{
    results r = { NULL, NULL, { NULL } };
    ag_sdpa_config config = a->config;
    config.lse = &r.lse;
    ag_tape *tape = ag_tape_begin(ctx);
    r.o = ag_retain(ag_sdpa(a->leaf[Q], a->leaf[K], a->leaf[V], config));
    ag_retain(r.lse);
    assert_ok(ctx, ag_backward_from(tape, r.o, cotangent));
    ag_tape_end(tape);
    take_gradients(a, &r);
    return r;
}

static results composed(ag_ctx *ctx, const attention *a, const ag_tensor *cotangent)
{
    results r = { NULL, NULL, { NULL } };
    ag_tensor *factors = a->config.dropout > 0 ? ag_retain(dropout_factors(ctx, a)) : NULL;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *S = composed_scores(ctx, a), *P = ag_softmax(S, -1);
    r.lse = ag_retain(ag_logsumexp(S, -1, false));
    r.o = ag_retain(ag_matmul(factors == NULL ? P : ag_mul(P, factors), repeated(&a->s, a->leaf[V], a->s.Dv)));
    assert_ok(ctx, ag_backward_from(tape, r.o, cotangent));
    ag_tape_end(tape);
    ag_release(factors);
    take_gradients(a, &r);
    return r;
}

static ag_tensor *cotangent_for(ag_ctx *ctx, const sizes *s, ag_dtype dtype)
{
    return ag_randn(ctx, dtype, AG_SHAPE(s->B, s->H, s->Tq, s->Dv));
}

static void compare_with_composition(const variant *v, sizes s, double dropout)
{
    ag_ctx *ctx = test_begin();
    attention a = make(ctx, v, s, AG_F64);
    a.config.dropout = dropout;
    ag_tensor *cotangent = cotangent_for(ctx, &a.s, AG_F64);
    results want = composed(ctx, &a, cotangent), got = fused(ctx, &a, cotangent);
    assert_close(got.o, want.o, 1e-12, 0);
    assert_close(got.lse, want.lse, 1e-12, 0);
    for (int i = 0; i < LEAVES; i++) {
        ck_assert_msg((got.grad[i] == NULL) == (a.leaf[i] == NULL), "%s: gradient %d", v->name, i);
        if (got.grad[i] != NULL)
            assert_close(got.grad[i], want.grad[i], 1e-12, 1e-12);
    }
    release(&got);
    release(&want);
    test_end(ctx);
}

START_TEST(equals_the_composition)
{
    compare_with_composition(&variants[_i], small, 0);
    compare_with_composition(&variants[_i], wide, 0);
}
END_TEST

START_TEST(equals_the_composition_with_dropout)
{
    compare_with_composition(&variants[_i], small, 0.3);
    compare_with_composition(&variants[_i], wide, 0.1);
}
END_TEST

/* ---- Against central differences ---- */

static void attend(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx, (void)input;
    const attention *a = user;
    output[0] = ag_sdpa(a->leaf[Q], a->leaf[K], a->leaf[V], a->config);
}

START_TEST(gradients_are_right)
{
    const variant *v = &variants[_i];
    for (int dropout = 0; dropout < 2; dropout++) {
        ag_ctx *ctx = test_begin();
        attention a = make(ctx, v, small, AG_F64);
        a.config.dropout = dropout * 0.4;
        FILE *report = tmpfile();
        const ag_gradcheck_config config = { .report = report };
        ag_gradcheck_result r = ag_gradcheck(ctx, attend, a.present, a.count, &a, config);
        char text[600] = "";
        rewind(report);
        text[fread(text, 1, sizeof text - 1, report)] = '\0';
        fclose(report);
        ck_assert_msg(r.verdict == AG_PASS && r.max_error < 1e-8, "%s: %s", v->name, text);
        test_end(ctx);
    }
}
END_TEST

/* ---- Weights ---- */

/* W[B,heads,queries,Tk] is what it must be of the weights P, and exactly 0 where not allowed. */
static void assert_chosen(ag_ctx *ctx, const attention *a, const ag_tensor *W, const ag_tensor *P, ag_weights_of c)
{
    const int64_t G = c.heads == NULL ? a->s.H : c.head_count, M = c.rows == NULL ? a->s.Tq : c.row_count, Tk = a->s.Tk;
    ck_assert_str_eq(ag_shape_text(W), ag_dims_text(ctx, 4, (const int64_t[]){ a->s.B, G, M, Tk }));
    for (int64_t e = 0; e < ag_numel(W); e++) {
        const int64_t b = e / Tk / M / G, g = e / Tk / M % G, m = e / Tk % M, j = e % Tk;
        const int64_t h = c.heads == NULL ? g : c.heads[g], i = c.rows == NULL ? m : c.rows[m];
        double want = 0;
        ag_get(P, (const int64_t[]){ b, h, i, j }, &want);
        ck_assert_msg(fabs(test_at(W, e) - want) <= 1e-13 && (test_at(W, e) == 0 || sees(a, b, h, i, j)),
                      "weight [%d,%d,%d,%d] is %.17g, wanted %.17g", (int)b, (int)h, (int)i, (int)j, test_at(W, e),
                      want);
    }
}

/* All, and of chosen heads and queries: softmax of the composed scores. Asking changes no bit of the output or of the
 * gradients. */
START_TEST(weights_are_those_of_the_composition)
{
    static const int64_t heads[] = { 1, 0, 1 }, rows[] = { 4, 0 };
    const ag_weights_of choices[] = { { NULL, 0, NULL, 0 }, { heads, 3, NULL, 0 }, { NULL, 0, rows, 2 },
                                      { heads, 3, rows, 2 }, { heads, 0, rows, 2 } };
    ag_ctx *ctx = test_begin();
    attention a = make(ctx, &variants[_i], small, AG_F64);
    a.config.dropout = 0.25;
    ag_tensor *cotangent = cotangent_for(ctx, &a.s, AG_F64), *P = ag_softmax(composed_scores(ctx, &a), -1);
    ag_rng before = ag_rng_get(ctx);
    assert_chosen(ctx, &a, ag_attention_weights(a.leaf[Q], a.leaf[K], a.config), P, choices[0]);
    results plain = fused(ctx, &a, cotangent), looked = { NULL, NULL, { NULL } };
    ag_rng_set(ctx, before);
    ag_sdpa_config config = a.config;
    config.lse = &looked.lse;
    ag_tape *tape = ag_tape_begin(ctx);
    looked.o = ag_retain(ag_sdpa(a.leaf[Q], a.leaf[K], a.leaf[V], config));
    ag_retain(looked.lse);
    const int64_t nodes = ag_tape_size(tape);
    for (size_t n = 0; n < sizeof choices / sizeof *choices; n++)
        assert_chosen(ctx, &a, ag_sdpa_weights(a.leaf[Q], a.leaf[K], looked.lse, config, choices[n]), P, choices[n]);
    ck_assert_int_eq(ag_tape_size(tape), nodes);
    assert_ok(ctx, ag_backward_from(tape, looked.o, cotangent));
    ag_tape_end(tape);
    take_gradients(&a, &looked);
    assert_same_results(&looked, &plain);
    release(&plain);
    release(&looked);
    test_end(ctx);
}
END_TEST

/* ---- What is masked ---- */

/* Query by query: a row that sees nothing is 0, with zero gradients. */
START_TEST(blind_rows_give_zeros)
{
    ag_ctx *ctx = test_begin();
    for (int n = 0; n < VARIANTS; n++) {
        attention a = make(ctx, &variants[n], small, AG_F64);
        results r = fused(ctx, &a, cotangent_for(ctx, &a.s, AG_F64));
        const sizes *s = &a.s;
        for (int64_t row = 0; row < s->B * s->H * s->Tq; row++) {
            int64_t seen = 0;
            for (int64_t j = 0; j < s->Tk; j++)
                seen += sees(&a, row / s->Tq / s->H, row / s->Tq % s->H, row % s->Tq, j);
            const bool blind = test_at(r.lse, row) == -(double)INFINITY;
            ck_assert_msg(blind == (seen == 0), "%s: row %d", variants[n].name, (int)row);
            for (int64_t e = 0; e < s->Dv && seen == 0; e++)
                ck_assert(test_at(r.o, row * s->Dv + e) == 0);
            for (int64_t d = 0; d < s->D && seen == 0; d++)
                ck_assert(test_at(r.grad[Q], row * s->D + d) == 0);
        }
        release(&r);
    }
    test_end(ctx);
}
END_TEST

/* NaN in keys, values and biases that nobody may look at reaches neither output nor gradients. */
START_TEST(what_is_masked_is_not_read)
{
    ag_ctx *ctx = test_begin();
    const variant v = { .lengths = true, .bias = "BHQK", .cap = 2 };
    attention a = make(ctx, &v, small, AG_F64);
    ag_tensor *cotangent = cotangent_for(ctx, &a.s, AG_F64);
    results clean = fused(ctx, &a, cotangent);
    for (int i = K; i <= BIAS; i++) {
        double *value = ag_data_mut(a.leaf[i]);
        const int64_t size = i == K ? a.s.D : i == V ? a.s.Dv : 1;
        for (int64_t e = 0; e < ag_numel(a.leaf[i]); e++) {
            const int64_t j = e / size % a.s.Tk, b = e / (ag_numel(a.leaf[i]) / a.s.B);
            if (j >= broadcast_at(a.config.mask.key_lengths, 0, 0, 0, b))
                value[e] = (double)NAN;
        }
    }
    results dirty = fused(ctx, &a, cotangent);
    assert_same_results(&dirty, &clean);
    release(&clean);
    release(&dirty);
    test_end(ctx);
}
END_TEST

/* ---- Layouts and empty dims ---- */

/* A copy whose dims lie in memory in reverse order, every second element of the first: nothing has unit stride. */
static ag_tensor *scattered(ag_tensor *t)
{
    if (t == NULL)
        return NULL;
    int order[4];
    const int n = ag_ndim(t);
    for (int d = 0; d < n; d++)
        order[d] = n - 1 - d;
    ag_tensor *turned = ag_tensor_permute(t, order);
    int64_t shape[4];
    memcpy(shape, ag_shape(turned), (size_t)n * sizeof *shape);
    shape[n - 1] = 2 * shape[n - 1] + 1;
    ag_tensor *room = ag_zeros(ag_ctx_of(t), ag_dtype_of(t), n, shape);
    ag_tensor *view = ag_tensor_slice(room, n - 1, 1, shape[n - 1], 2);
    ag_copy_into(view, turned);
    return ag_tensor_permute(view, order);
}

START_TEST(layouts_do_not_matter)
{
    ag_ctx *ctx = test_begin();
    attention a = make(ctx, &variants[_i], small, AG_F64), s = a;
    ag_tensor *cotangent = cotangent_for(ctx, &a.s, AG_F64);
    ag_mask *m = &s.config.mask;
    m->starts = scattered(m->starts);
    m->key_lengths = scattered(m->key_lengths);
    m->query_documents = scattered(m->query_documents);
    m->key_documents = scattered(m->key_documents);
    m->blocks = scattered(m->blocks);
    m->allowed = scattered(m->allowed);
    for (int i = 0; i < LEAVES; i++)
        s.leaf[i] = a.leaf[i] == NULL ? NULL : ag_require_grad(scattered(a.leaf[i]));
    s.config.bias = s.leaf[BIAS];
    s.config.relative = s.leaf[RELATIVE];
    results want = fused(ctx, &a, cotangent), got = fused(ctx, &s, scattered(cotangent));
    assert_same_results(&got, &want);
    release(&got);
    release(&want);
    test_end(ctx);
}
END_TEST

/* One extent 0 after the other, with everything at once. */
START_TEST(empty_dims)
{
    ag_ctx *ctx = test_begin();
    for (int dim = 0; dim < 5; dim++) {
        sizes s = small;
        *(int64_t *[]){ &s.B, &s.H, &s.Tq, &s.Tk, &s.Dv }[dim] = 0;
        s.Hk = s.H;
        const variant v = { .mask = { .causal = true, .block_size = 2 }, .documents = dim == 0 ? 1 : 2, .blocks = "HRC",
                            .allowed = "BHQK", .bias = "H1K", .relative = "H" };
        attention a = make(ctx, &v, s, AG_F64);
        results r = fused(ctx, &a, cotangent_for(ctx, &a.s, AG_F64));
        ck_assert_str_eq(ag_shape_text(r.o), ag_dims_text(ctx, 4, (const int64_t[]){ s.B, s.H, s.Tq, s.Dv }));
        for (int i = 0; i < LEAVES; i++)
            for (int64_t e = 0; e < ag_numel(r.grad[i]); e++)
                ck_assert(test_at(r.grad[i], e) == 0);
        for (int64_t e = 0; e < ag_numel(r.o); e++)
            ck_assert(test_at(r.o, e) == 0);
        release(&r);
    }
    test_end(ctx);
}
END_TEST

/* ---- Accuracy ---- */

enum { BANDS = 3, OUTCOMES = 4 }; /* O, dQ, dK, dV */

static double largest_difference(ag_tensor *f32, ag_tensor *f64)
{
    const float *x = ag_data(ag_tensor_contiguous(f32));
    const double *y = ag_data(ag_tensor_contiguous(f64));
    double most = 0;
    for (int64_t i = 0; i < ag_numel(f32); i++)
        most = fmax(most, fabs((double)x[i] - y[i]));
    return most;
}

/* A variant in float32 whose scores have the standard deviation `amplitude`, and the same numbers in float64. */
static void make_scaled(ag_ctx *ctx, const variant *v, sizes s, double amplitude, attention *f32, attention *f64)
{
    *f32 = make(ctx, v, s, AG_F32);
    *f64 = *f32;
    for (int i = Q; i <= V; i++) {
        ag_tensor *x = ag_tensor_clone(ag_scale(f32->leaf[i], i == V ? 1 : sqrt(amplitude)));
        f32->leaf[i] = ag_require_grad(x);
        f64->leaf[i] = ag_require_grad(ag_cast(x, AG_F64));
    }
}

/* Adds the errors of ag_sdpa and of the composition, in float32 against float64, of one random problem. */
static void add_errors(ag_ctx *ctx, int64_t Tq, double amplitude, double *ours, double *plain)
{
    static const int64_t keys[] = { 1, 2, 5, 17, 33, 64, 70, 130 }, channels[] = { 1, 3, 8, 16, 33, 64 };
    const int64_t k = (int64_t)(ag_random(ctx) * 8), d = (int64_t)(ag_random(ctx) * 6);
    const int64_t e = (int64_t)(ag_random(ctx) * 6);
    const variant v = { .mask.causal = Tq > 1 && ag_random(ctx) < 0.5 };
    attention f32, f64;
    make_scaled(ctx, &v, (sizes){ .B = 1, .H = 2, .Hk = 2, .Tq = Tq, .Tk = v.mask.causal ? Tq : keys[k],
                                  .D = channels[d], .Dv = channels[e] }, amplitude, &f32, &f64);
    ag_tensor *cotangent = cotangent_for(ctx, &f32.s, AG_F32);
    results exact = composed(ctx, &f64, ag_cast(cotangent, AG_F64)), by_ops = composed(ctx, &f32, cotangent);
    results got = fused(ctx, &f32, cotangent);
    for (int n = 0; n < OUTCOMES; n++) {
        ours[n] += n == 0 ? largest_difference(got.o, exact.o) : largest_difference(got.grad[n - 1], exact.grad[n - 1]);
        plain[n] += n == 0 ? largest_difference(by_ops.o, exact.o)
                           : largest_difference(by_ops.grad[n - 1], exact.grad[n - 1]);
    }
    release(&exact);
    release(&by_ops);
    release(&got);
}

/* Over 1,000 problems of scores of 0.1 to 30 the errors are at most twice those of softmax and products one after the
 * other, which keep all probabilities. Of one query and large scores they are less: the tiled kernels take care of its
 * delta. */
START_TEST(accurate_at_large_scores)
{
    static const int64_t queries[] = { 2, 5, 17, 33, 70 };
    static const char *const name[] = { "O", "dQ", "dK", "dV" };
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1, .seed = 1 });
    const bool less = _i == 0 && strcmp(ag_ctx_isa(ctx), "reference") != 0;
    double ours[BANDS][OUTCOMES] = { { 0 } }, plain[BANDS][OUTCOMES] = { { 0 } };
    for (int n = 0; n < 500; n++) {
        ag_scope_begin(ctx, NULL);
        const double power = ag_random(ctx) * 2.5 - 1; /* 0.1 .. 31 */
        const int band = power < 0 ? 0 : power < 0.75 ? 1 : 2;
        add_errors(ctx, _i == 0 ? 1 : queries[n % 5], pow(10, power), ours[band], plain[band]);
        ag_scope_end(ctx, NULL);
    }
    for (int band = 0; band < BANDS; band++)
        for (int n = 0; n < OUTCOMES; n++)
            ck_assert_msg(ours[band][n] <= (less && band > 0 ? 1.6 : 2) * plain[band][n],
                          "%s, %s, band %d of scores: error %.3g, of ops %.3g",
                          _i == 0 ? "one query" : "many queries", name[n], band, ours[band][n], plain[band][n]);
    test_end(ctx);
}
END_TEST

/* ---- What the tape keeps ---- */

/* Each option is an input of the node, kept: a change before backward is noticed. */
START_TEST(changes_are_noticed)
{
    ag_ctx *ctx = test_begin();
    const variant everything = variants[VARIANTS - 1];
    for (int n = 0; n < 8; n++) {
        attention a = make(ctx, &everything, small, AG_F64);
        const ag_mask *m = &a.config.mask;
        ag_tensor *const option[] = { a.config.bias,      a.config.relative, m->starts, m->key_lengths,
                                      m->query_documents, m->key_documents,  m->blocks, m->allowed };
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *o = ag_sdpa(a.leaf[Q], a.leaf[K], a.leaf[V], a.config);
        const ag_node_view node = ag_tape_node(tape, ag_node_of(tape, o));
        ck_assert_int_eq(node.input_count, 11);
        for (int i = 0; i < node.input_count; i++)
            ck_assert_msg((node.input[i] >= 0) == (i < LEAVES), "input %d", i);
        ag_fill(option[n], 0);
        ck_assert_int_eq(ag_backward(tape, ag_sum(o, AG_ALL_DIMS, false)), AG_ERR_STATE);
        assert_error(ctx, AG_ERR_STATE, "sdpa: backward needs its input ");
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* A node has no more inputs than it was given, and what wants no gradient gets none, nor changes the others'. */
START_TEST(gradients_where_they_are_wanted)
{
    ag_ctx *ctx = test_begin();
    const variant v = { .bias = "QK", .relative = "H", .mask.causal = true };
    attention a = make(ctx, &v, small, AG_F64);
    ag_tensor *cotangent = cotangent_for(ctx, &a.s, AG_F64);
    results all = fused(ctx, &a, cotangent);
    for (int wanted = 0; wanted < LEAVES; wanted++) {
        attention one = a;
        for (int i = 0; i < LEAVES; i++)
            one.leaf[i] = i == wanted ? a.leaf[i] : ag_detach(a.leaf[i]);
        one.config.bias = one.leaf[BIAS];
        one.config.relative = one.leaf[RELATIVE];
        results r = fused(ctx, &one, cotangent);
        for (int i = 0; i < LEAVES; i++)
            if (i == wanted)
                assert_same_bits(r.grad[i], all.grad[i]);
            else
                ck_assert_ptr_null(r.grad[i]);
        release(&r);
    }
    release(&all);
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

static size_t bytes_of(const ag_tensor *t)
{
    return t == NULL ? 0 : (size_t)ag_numel(t) * ag_dtype_size(ag_dtype_of(t));
}

/* Bytes at the peak of forward and backward beyond inputs, output, lse, cotangent and gradients. */
static size_t extra_bytes(const variant *v, int64_t T)
{
    const sizes s = { .B = 1, .H = 2, .Hk = 2, .Tq = T, .Tk = T, .D = 8, .Dv = 8, .rows = T / 64, .columns = T / 64,
                      .reach = 128 };
    ag_ctx *ctx = test_begin();
    attention a = make(ctx, v, s, AG_F32);
    ag_mask *m = &a.config.mask;
    if (v->starts)
        m->starts = ag_from_data(ctx, AG_I32, AG_SHAPE(1), (const int32_t[]){ -3 });
    if (v->lengths)
        m->key_lengths = ag_from_data(ctx, AG_I32, AG_SHAPE(1), (const int32_t[]){ (int32_t)T - 5 });
    a.config.dropout = 0.2;
    ag_tensor *cotangent = cotangent_for(ctx, &a.s, AG_F32);
    ag_ctx_trim(ctx);
    const size_t inputs = ag_ctx_bytes(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *o = ag_sdpa(a.leaf[Q], a.leaf[K], a.leaf[V], a.config);
    assert_ok(ctx, ag_backward_from(tape, o, cotangent));
    size_t given = 2 * bytes_of(o) + bytes_of(o) / 8; /* the cotangent of backward's own, lse */
    for (int i = 0; i < LEAVES; i++)
        given += a.leaf[i] == NULL ? 0 : bytes_of(ag_grad(a.leaf[i]));
    ag_tape_end(tape);
    const size_t extra = ag_ctx_peak_bytes(ctx) - inputs - given;
    ck_assert_msg(ag_ctx_peak_bytes(ctx) >= inputs + given, "%s: less than its results", v->name);
    test_end(ctx);
    return extra;
}

/* With dropout throughout. Less than a quarter of what a matrix of T x T floats takes at T = 2048, 16 MB. */
START_TEST(memory_grows_with_time_alone)
{
    static const variant of_memory[] = {
        { .name = "everyone" },
        { .name = "bias shared by the heads", .bias = "11QK", .mask.causal = true },
        { .name = "relative", .relative = "H", .cap = 5 },
        { .name = "documents", .documents = 1 },
        { .name = "allowed", .allowed = "QK" },
        { .name = "blocks", .blocks = "RC", .mask = { .block_size = 64, .causal = true } },
        { .name = "window", .mask = { .back = 100, .stride = 256, .global = 4 }, .starts = true, .lengths = true },
    };
    const variant *v = &of_memory[_i];
    const size_t once = extra_bytes(v, 1024), twice = extra_bytes(v, 2048);
    ck_assert_msg(twice < (size_t)2048 * 2048, "%s: %zu bytes at 2048", v->name, twice);
    ck_assert_msg(twice <= 2 * once + 65536, "%s: %zu bytes at 1024, %zu at 2048", v->name, once, twice);
}
END_TEST
enum { MEMORY_VARIANTS = 7 };

Suite *sdpa_suite(void)
{
    Suite *suite = suite_create("sdpa");
    TCase *composition = tcase_create("composition");
    tcase_set_timeout(composition, 60);
    tcase_add_loop_test(composition, equals_the_composition, 0, VARIANTS);
    tcase_add_loop_test(composition, equals_the_composition_with_dropout, 0, VARIANTS);
    tcase_add_loop_test(composition, weights_are_those_of_the_composition, 0, VARIANTS);
    suite_add_tcase(suite, composition);
    TCase *differences = tcase_create("differences");
    tcase_set_timeout(differences, 60);
    tcase_add_loop_test(differences, gradients_are_right, 0, VARIANTS);
    suite_add_tcase(suite, differences);
    TCase *edges = tcase_create("edges");
    tcase_add_loop_test(edges, layouts_do_not_matter, 0, VARIANTS);
    tcase_add_test(edges, blind_rows_give_zeros);
    tcase_add_test(edges, what_is_masked_is_not_read);
    tcase_add_test(edges, empty_dims);
    tcase_add_test(edges, changes_are_noticed);
    tcase_add_test(edges, gradients_where_they_are_wanted);
    suite_add_tcase(suite, edges);
    TCase *accuracy = tcase_create("accuracy");
    tcase_set_timeout(accuracy, 60);
    tcase_add_loop_test(accuracy, accurate_at_large_scores, 0, 2);
    suite_add_tcase(suite, accuracy);
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, 60);
    tcase_add_loop_test(memory, memory_grows_with_time_alone, 0, MEMORY_VARIANTS);
    suite_add_tcase(suite, memory);
    return suite;
}
