/* SPDX-License-Identifier: MIT
 *
 * check_linear_list.c - ag_linear_list against ag_linear, the activation and ag_add one after the other: bits, tape,
 * gradients, errors, memory.
 */
#include "tests/test.h"

#include <string.h>

static ag_tensor *none_of_the_library(ag_tensor *x)
{
    return ag_mul(ag_tanh(x), x);
}

static ag_tensor *(*const activations[])(ag_tensor *x) = { NULL,    ag_relu, ag_gelu,            ag_gelu_tanh,
                                                           ag_silu, ag_tanh, none_of_the_library };
enum { ACTIVATIONS = (int)(sizeof activations / sizeof *activations) };

/* One after the other. */
static ag_tensor *apart(const ag_linear_args *a)
{
    ag_ctx *ctx = ag_ctx_of(a->w);
    ag_scope_begin(ctx, a->module);
    ag_tensor *y = ag_scope_end(ctx, ag_linear(a->x, a->w, a->bias));
    if (a->activation != NULL)
        y = a->activation(y);
    return a->residual == NULL ? y : ag_add(a->residual, y);
}

static ag_tensor *together(const ag_linear_args *a)
{
    ag_tensor *y = NULL;
    ck_assert_msg(ag_linear_list(ag_ctx_of(a->w), 1, a, &y), "%s", ag_error_message(ag_ctx_of(a->w)));
    return y;
}

enum { LIST = 3, INPUTS = 7 };

/* x[0] does not lie densely, x[1] and x[2] are one tensor; the last one has no bias, and no module. */
static void make_list(ag_ctx *ctx, ag_linear_args *args, ag_tensor **inputs)
{
    static const char *const names[LIST] = { "q", "k", NULL };
    static const int64_t out[LIST] = { 3, 70, 1 };
    int n = 0;
    inputs[n++] = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(2, 5, 4)));
    inputs[n++] = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(7, 5)));
    for (int i = 0; i < LIST; i++) {
        ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(out[i], 5))), *bias = NULL;
        inputs[n++] = w;
        if (i < 2)
            inputs[n++] = bias = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(out[i])));
        args[i] = (ag_linear_args){ .x = i == 0 ? NULL : inputs[1], .w = w, .bias = bias, .module = names[i] };
    }
    ck_assert_int_eq(n, INPUTS);
}

static ag_tensor *sum_of_squares(ag_tensor *const *y)
{
    ag_tensor *sum = NULL;
    for (int i = 0; i < LIST; i++) {
        ag_tensor *one = ag_sum(ag_mul(y[i], y[i]), 0, NULL, false);
        sum = i == 0 ? one : ag_add(sum, one);
    }
    return sum;
}

/* Alone, and each with something behind it. */
START_TEST(list_is_its_linears)
{
    static const char *const paths[LIST] = { "attn.q", "attn.k", "attn" };
    ag_ctx *ctx = test_begin();
    ag_linear_args args[LIST];
    ag_tensor *inputs[INPUTS], *y[2][LIST], *grad[2][INPUTS];
    make_list(ctx, args, inputs);
    if (_i == 1) {
        args[0].activation = ag_gelu;
        args[1].activation = ag_tanh;
        args[1].residual = ag_randn(ctx, AG_F32, AG_SHAPE(7, 70));
        args[2].residual = ag_randn(ctx, AG_F32, AG_SHAPE(7, 1));
    }
    for (int listed = 0; listed < 2; listed++) {
        ag_tape *tape = ag_tape_begin(ctx);
        args[0].x = ag_transpose(inputs[0], 1, 2);
        ag_scope_begin(ctx, "attn");
        for (int i = 0; i < LIST && !listed; i++)
            y[0][i] = apart(&args[i]);
        if (listed)
            ck_assert(ag_linear_list(ctx, LIST, args, y[1]));
        ag_tensor *sum = sum_of_squares(y[listed]);
        assert_ok(ctx, ag_gradient(tape, sum, NULL, inputs, INPUTS, grad[listed]));
        for (int i = 0; i < LIST; i++)
            ag_retain(y[listed][i]);
        for (int i = 0; i < INPUTS; i++)
            ag_retain(grad[listed][i]);
        int seen = 0;
        for (int64_t n = 0; n < ag_tape_size(tape) && listed; n++)
            if (strcmp(ag_tape_node(tape, n).op, "linear") == 0)
                ck_assert_str_eq(ag_tape_node(tape, n).path, paths[seen++]);
        ck_assert_int_eq(seen, listed ? LIST : 0);
        ag_scope_end(ctx, NULL);
        ag_tape_end(tape);
    }
    for (int i = 0; i < LIST; i++)
        assert_same_bits(y[1][i], y[0][i]);
    for (int i = 0; i < INPUTS; i++)
        assert_same_bits(grad[1][i], grad[0][i]);
    for (int listed = 0; listed < 2; listed++) {
        for (int i = 0; i < LIST; i++)
            ag_release(y[listed][i]);
        for (int i = 0; i < INPUTS; i++)
            ag_release(grad[listed][i]);
    }
    test_end(ctx);
}
END_TEST

static void list_fails(ag_ctx *ctx, int count, const ag_linear_args *args, ag_status status, const char *text)
{
    ag_tensor *y[AG_LINEAR_LIST_MAX + 1] = { args[1].w, args[1].w, args[1].w };
    ag_scope_begin(ctx, "attn");
    ck_assert(!ag_linear_list(ctx, count, args, y));
    ag_scope_end(ctx, NULL);
    for (int i = 0; i < LIST && count == LIST; i++)
        ck_assert_ptr_null(y[i]);
    if (status != AG_OK)
        assert_error(ctx, status, text);
    assert_no_error(ctx);
}

START_TEST(list_errors)
{
    ag_ctx *ctx = test_begin();
    ag_linear_args args[LIST];
    ag_tensor *inputs[INPUTS];
    make_list(ctx, args, inputs);
    list_fails(ctx, LIST, args, AG_OK, NULL); /* x[0] is NULL */
    args[0].x = inputs[0];
    list_fails(ctx, LIST, args, AG_ERR_SHAPE, "attn.q: linear: x is [2,5,4], in_features is 5");
    args[0].x = ag_transpose(inputs[0], 1, 2);
    list_fails(ctx, AG_LINEAR_LIST_MAX + 1, args, AG_ERR_ARGUMENT, "linear_list: count is 9, must be in 0 .. 8");
    list_fails(ctx, -1, args, AG_ERR_ARGUMENT, "linear_list: count is -1");
    args[1].w = ag_tensor_cast(args[1].w, AG_F64);
    list_fails(ctx, LIST, args, AG_ERR_DTYPE, "attn.k: linear: ");
    args[1] = (ag_linear_args){ .x = ag_tensor_cast(args[1].x, AG_F64), .w = args[1].w, .module = "k" };
    list_fails(ctx, LIST, args, AG_ERR_DTYPE, "attn.k: linear: ");
    ck_assert(!ag_linear_list(NULL, 0, NULL, NULL));
    ck_assert(ag_linear_list(ctx, 0, NULL, NULL));
    test_end(ctx);
}
END_TEST

/* Then the second one's error comes after what is found in the first one's result. */
START_TEST(list_one_by_one_when_observed)
{
    ag_ctx *ctx = test_begin();
    ag_linear_args args[LIST];
    ag_tensor *inputs[INPUTS];
    make_list(ctx, args, inputs);
    args[0].x = ag_full(ctx, AG_F32, AG_SHAPE(2, 5), (double)NAN);
    args[1].x = inputs[0];
    for (int observed = 0; observed < 2; observed++) {
        ag_tape *tape = ag_tape_begin(ctx);
        if (observed)
            ag_tape_detect_anomalies(tape);
        list_fails(ctx, LIST, args, observed ? AG_ERR_NUMBER : AG_ERR_SHAPE, observed ? "attn.q" : "attn.k");
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* ---- What follows a linear: bit by bit, and on the tape ---- */

/* assert_same_bits, which reads element by element, only where it will fail. */
static void expect_same(const ag_tensor *got, const ag_tensor *want)
{
    if (got == NULL || want == NULL || strcmp(ag_shape_text(got), ag_shape_text(want)) != 0 ||
        !ag_is_contiguous(got) || !ag_is_contiguous(want) || ag_dtype_of(got) != ag_dtype_of(want) ||
        memcmp(ag_data(got), ag_data(want), (size_t)ag_numel(want) * ag_dtype_size(ag_dtype_of(want))) != 0)
        assert_same_bits(got, want);
}

enum { LEAF_X, LEAF_W, LEAF_BIAS, LEAF_RESIDUAL, LEAVES };
enum { NO_RESIDUAL, DENSE, TURNED, X_ITSELF, RESIDUALS };

typedef struct variant {
    ag_tensor *(*activation)(ag_tensor *x);
    int residual;
    bool bias, measured, observed;
    unsigned wants; /* a bit per leaf */
    ag_tensor *value[LEAVES], *cotangent;
} variant;

typedef struct outcome {
    ag_tensor *y, *grad[LEAVES];
    char tape[1500];
} outcome;

/* Op, path, shape, gradient's norm and inputs of each node. */
static void describe(const ag_tape *tape, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < ag_tape_size(tape); i++) {
        const ag_node_view node = ag_tape_node(tape, i);
        at += (size_t)snprintf(text + at, size - at, "%s %s %d %lld %a", node.op, node.path, node.ndim,
                               (long long)node.shape[0], node.grad_norm);
        for (int k = 0; k < node.input_count; k++)
            at += (size_t)snprintf(text + at, size - at, " %lld", (long long)node.input[k]);
        at += (size_t)snprintf(text + at, size - at, "\n");
        ck_assert_uint_lt(at, size);
    }
}

/* Forward, and backward twice. */
static outcome run_variant(const variant *v, ag_tensor *(*way)(const ag_linear_args *a))
{
    outcome o = { 0 };
    ag_ctx *ctx = ag_ctx_of(v->cotangent);
    ag_tensor *leaf[LEAVES];
    for (int i = 0; i < LEAVES; i++) {
        leaf[i] = ag_tensor_clone(v->value[i]);
        if (v->wants >> i & 1)
            ag_require_grad(leaf[i]);
    }
    ag_tape *tape = ag_tape_begin(ctx);
    if (v->measured)
        ag_tape_measure_grads(tape);
    if (v->observed && way == together)
        ag_tape_detect_anomalies(tape);
    ag_scope_begin(ctx, "ff");
    ag_tensor *other = leaf[LEAF_RESIDUAL], *turned = v->residual == TURNED ? ag_transpose(other, 1, 2) : NULL;
    ag_tensor *const residual[RESIDUALS] = { NULL, other, turned, leaf[LEAF_X] };
    const ag_linear_args args = { .x = leaf[LEAF_X], .w = leaf[LEAF_W], .bias = v->bias ? leaf[LEAF_BIAS] : NULL,
                                  .activation = v->activation, .residual = residual[v->residual], .module = "up" };
    o.y = ag_retain(way(&args));
    ag_tensor *loss = ag_scope_end(ctx, test_total(ag_mul(o.y, v->cotangent)));
    for (int pass = 0; pass < 2 && ag_node_of(tape, loss) >= 0; pass++)
        assert_ok(ctx, ag_backward(tape, loss));
    describe(tape, o.tape, sizeof o.tape);
    ag_tape_end(tape);
    for (int i = 0; i < LEAVES; i++)
        o.grad[i] = ag_retain(ag_grad(leaf[i]));
    return o;
}

static void forget(outcome *o)
{
    ag_release(o->y);
    for (int i = 0; i < LEAVES; i++)
        ag_release(o->grad[i]);
}

static void compare(const variant *v)
{
    outcome want = run_variant(v, apart), got = run_variant(v, together);
    expect_same(got.y, want.y);
    ck_assert_str_eq(got.tape, want.tape);
    for (int i = 0; i < LEAVES; i++) {
        ck_assert_ptr_eq(got.grad[i] == NULL ? NULL : v, want.grad[i] == NULL ? NULL : v);
        if (want.grad[i] != NULL)
            expect_same(got.grad[i], want.grad[i]);
    }
    forget(&want);
    forget(&got);
}

/* In float32 enough for two threads. */
static variant new_variant(ag_ctx *ctx, ag_dtype dtype, int residual)
{
    const bool turned = residual == TURNED;
    const int64_t B = 2, T = dtype == AG_F32 ? 40 : 5, C = dtype == AG_F32 ? 65 : 17;
    variant v = { .residual = residual };
    v.value[LEAF_X] = ag_randn(ctx, dtype, AG_SHAPE(B, T, C));
    v.value[LEAF_W] = ag_scale(ag_randn(ctx, dtype, AG_SHAPE(C, C)), 0.3);
    v.value[LEAF_BIAS] = ag_randn(ctx, dtype, AG_SHAPE(C));
    v.value[LEAF_RESIDUAL] = ag_randn(ctx, dtype, AG_SHAPE(B, turned ? C : T, turned ? T : C));
    v.cotangent = ag_randn(ctx, dtype, AG_SHAPE(B, T, C));
    return v;
}

/* Whatever follows, and whoever wants a gradient: all, all but x, one alone, nobody. */
START_TEST(followed_as_one_after_the_other)
{
    static const unsigned wants[] = { 15, 14, 1 << LEAF_X, 1 << LEAF_W, 1 << LEAF_BIAS, 1 << LEAF_RESIDUAL, 0 };
    ag_ctx *ctx = test_begin();
    for (int kind = 0; kind < 2 * RESIDUALS; kind++) {
        variant v = new_variant(ctx, kind % 2 ? AG_F64 : AG_F32, kind / 2);
        v.activation = activations[_i];
        for (int k = 0; k < 7 * 2; k++) {
            v.wants = wants[k / 2];
            v.bias = k & 1;
            v.measured = k / 2 % 2;
            v.observed = k % 3 == 0;
            compare(&v);
        }
    }
    test_end(ctx);
}
END_TEST

/* No rows, nothing to sum, no columns. */
START_TEST(followed_when_empty)
{
    static const int64_t sizes[][3] = { { 0, 5, 3 }, { 4, 0, 3 }, { 4, 5, 0 }, { 0, 0, 0 } }; /* rows, in, out */
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < 4 * 2; k++) {
        const int64_t rows = sizes[k / 2][0], in = sizes[k / 2][1], out = sizes[k / 2][2];
        variant v = { .activation = activations[_i], .residual = k % 2, .bias = true, .wants = 15 };
        v.value[LEAF_X] = ag_randn(ctx, AG_F32, AG_SHAPE(rows, in));
        v.value[LEAF_W] = ag_randn(ctx, AG_F32, AG_SHAPE(out, in));
        v.value[LEAF_BIAS] = ag_randn(ctx, AG_F32, AG_SHAPE(out));
        v.value[LEAF_RESIDUAL] = v.cotangent = ag_randn(ctx, AG_F32, AG_SHAPE(rows, out));
        compare(&v);
        ag_tensor *const *t = v.value;
        const ag_linear_args args = { .x = t[LEAF_X], .w = t[LEAF_W], .bias = t[LEAF_BIAS],
                                      .activation = v.activation, .residual = k % 2 ? t[LEAF_RESIDUAL] : NULL };
        expect_same(together(&args), apart(&args));
    }
    test_end(ctx);
}
END_TEST

START_TEST(followed_without_a_tape)
{
    ag_ctx *ctx = test_begin();
    for (int kind = 0; kind < 2 * (RESIDUALS - 1); kind++) {
        variant v = new_variant(ctx, kind % 2 ? AG_F64 : AG_F32, kind / 2);
        ag_tensor *residual[] = { NULL, v.value[LEAF_RESIDUAL], ag_transpose(v.value[LEAF_RESIDUAL], 1, 2) };
        const ag_linear_args args = { .x = v.value[LEAF_X], .w = v.value[LEAF_W], .bias = v.value[LEAF_BIAS],
                                      .activation = activations[_i], .residual = residual[kind / 2] };
        expect_same(together(&args), apart(&args));
    }
    test_end(ctx);
}
END_TEST

/* input: x, residual. */
static ag_tensor *recomputed(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    ag_linear_args args = *(ag_linear_args *)user;
    (void)ctx, (void)count;
    args.x = input[0];
    args.residual = input[1];
    return together(&args);
}

START_TEST(followed_in_recompute)
{
    ag_ctx *ctx = test_begin();
    const variant v = new_variant(ctx, AG_F32, DENSE);
    for (int i = 0; i < LEAVES; i++)
        ag_require_grad(v.value[i]);
    ag_linear_args args = { .x = v.value[LEAF_X], .w = v.value[LEAF_W], .bias = v.value[LEAF_BIAS],
                            .activation = activations[_i], .residual = v.value[LEAF_RESIDUAL] };
    ag_tensor *y[2], *grad[2][LEAVES];
    for (int again = 0; again < 2; again++) {
        ag_tape *tape = ag_tape_begin(ctx);
        y[again] = again ? ag_recompute(ctx, recomputed, (ag_tensor *[]){ args.x, args.residual }, 2, &args)
                         : apart(&args);
        ag_retain(y[again]);
        assert_ok(ctx, ag_backward_from(tape, y[again], v.cotangent));
        ag_tape_end(tape);
        for (int i = 0; i < LEAVES; i++) {
            grad[again][i] = ag_retain(ag_grad(v.value[i]));
            ag_zero_grad(v.value[i]);
        }
    }
    expect_same(y[1], y[0]);
    for (int i = 0; i < LEAVES; i++)
        expect_same(grad[1][i], grad[0][i]);
    for (int again = 0; again < 2; again++) {
        ag_release(y[again]);
        for (int i = 0; i < LEAVES; i++)
            ag_release(grad[again][i]);
    }
    test_end(ctx);
}
END_TEST

/* Nobody needs a residual again, nor, but for relu and tanh, the result. */
START_TEST(what_may_change_afterwards)
{
    ag_ctx *ctx = test_begin();
    for (int r = 0; r < 2; r++) {
        const variant v = new_variant(ctx, AG_F32, DENSE);
        for (int i = 0; i < LEAVES; i++)
            ag_require_grad(v.value[i]);
        ag_tensor *grad[2][LEAVES];
        for (int changed = 0; changed < 2; changed++) {
            ag_tape *tape = ag_tape_begin(ctx);
            ag_tensor *residual = ag_scale(v.value[LEAF_RESIDUAL], 2);
            ag_tensor *y = together(&(ag_linear_args){ .x = v.value[LEAF_X], .w = v.value[LEAF_W],
                                                       .bias = v.value[LEAF_BIAS], .activation = activations[_i],
                                                       .residual = r ? residual : NULL });
            ag_tensor *twice = ag_scale(y, 2);
            if (changed && r)
                assert_ok(ctx, ag_fill(residual, 9));
            if (changed && (r || (activations[_i] != ag_relu && activations[_i] != ag_tanh)))
                assert_ok(ctx, ag_fill(y, 9));
            assert_ok(ctx, ag_backward_from(tape, twice, v.cotangent));
            ag_tape_end(tape);
            for (int i = 0; i < LEAVES; i++) {
                grad[changed][i] = ag_retain(ag_grad(v.value[i]));
                ag_zero_grad(v.value[i]);
            }
        }
        for (int i = 0; i < LEAVES; i++) {
            if (grad[0][i] != NULL)
                expect_same(grad[1][i], grad[0][i]);
            ag_release(grad[0][i]);
            ag_release(grad[1][i]);
        }
    }
    test_end(ctx);
}
END_TEST

typedef ag_tensor *activation_fn(ag_tensor *x);

static void run_followed(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    const ag_linear_args args = { .x = input[0], .w = input[1], .bias = input[2], .residual = input[3],
                                  .activation = *(activation_fn **)user };
    if (!ag_linear_list(ctx, 1, &args, output))
        output[0] = NULL;
}

START_TEST(followed_gradients)
{
    ag_ctx *ctx = test_begin();
    activation_fn *activation = activations[_i];
    ag_tensor *input[LEAVES] = { ag_randn(ctx, AG_F64, AG_SHAPE(2, 3, 4)), ag_randn(ctx, AG_F64, AG_SHAPE(5, 4)),
                                 ag_randn(ctx, AG_F64, AG_SHAPE(5)), ag_randn(ctx, AG_F64, AG_SHAPE(2, 3, 5)) };
    for (int i = 0; i < LEAVES; i++)
        ag_require_grad(input[i]);
    const ag_gradcheck_result r = ag_gradcheck(ctx, run_followed, input, LEAVES, &activation,
                                               (ag_gradcheck_config){ 0 });
    ck_assert_msg(r.verdict == AG_PASS && r.checked > 0, "%s, input %d: %s", ag_verdict_name(r.verdict), r.input,
                  r.explanation);
    test_end(ctx);
}
END_TEST

/* relu hides an overflow of x w^T from all but those who look at each op. */
START_TEST(anomalies_before_an_activation)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_full(ctx, AG_F32, AG_SHAPE(3, 4), 1e3), *y = NULL;
    ag_tensor *w = ag_require_grad(ag_full(ctx, AG_F32, AG_SHAPE(5, 4), -1e38));
    const ag_linear_args args = { .x = x, .w = w, .activation = ag_relu, .module = "up" };
    for (int observed = 0; observed < 2; observed++) {
        ag_tape *tape = ag_tape_begin(ctx);
        if (observed)
            ag_tape_detect_anomalies(tape);
        ck_assert_int_eq(ag_linear_list(ctx, 1, &args, &y), !observed);
        if (observed)
            assert_error(ctx, AG_ERR_NUMBER, "up: linear");
        else
            assert_same(y, ag_zeros(ctx, AG_F32, AG_SHAPE(3, 5)));
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

START_TEST(residuals_that_do_not_fit)
{
    ag_ctx *ctx = test_begin();
    ag_linear_args args[LIST];
    ag_tensor *inputs[INPUTS];
    make_list(ctx, args, inputs);
    args[0].x = ag_randn(ctx, AG_F32, AG_SHAPE(2, 5));
    args[1].activation = ag_gelu;
    ag_tape *tape = ag_tape_begin(ctx);
    args[1].residual = ag_zeros(ctx, AG_F32, AG_SHAPE(7, 1));
    list_fails(ctx, LIST, args, AG_ERR_SHAPE, "linear: the residual is [7,1], x w^T + bias [7,70]");
    args[1].residual = ag_zeros(ctx, AG_F32, AG_SHAPE(1, 7, 70));
    list_fails(ctx, LIST, args, AG_ERR_SHAPE, "linear: the residual is [1,7,70], x w^T + bias [7,70]");
    args[1].residual = ag_zeros(ctx, AG_F64, AG_SHAPE(7, 70));
    list_fails(ctx, LIST, args, AG_ERR_DTYPE, "linear: ");
    args[1].residual = ag_zeros(ctx, AG_I32, AG_SHAPE(7, 70));
    list_fails(ctx, LIST, args, AG_ERR_DTYPE, "linear: ");
    ck_assert_int_eq(ag_tape_size(tape), 0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Bytes at the most while it runs, and those that the tape keeps, in a context of its own. */
static void bytes_of(ag_tensor *(*way)(const ag_linear_args *a), const ag_linear_args *kind, bool taped, size_t *most,
                     size_t *kept)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 });
    ag_linear_args args = *kind;
    args.x = ag_randn(ctx, AG_F32, AG_SHAPE(512, 64));
    args.w = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(64, 64)));
    args.residual = kind->residual == NULL ? NULL : ag_randn(ctx, AG_F32, AG_SHAPE(512, 64));
    ag_tape *tape = taped ? ag_tape_begin(ctx) : NULL;
    ag_scope_begin(ctx, NULL);
    ag_ctx_trim(ctx);
    const size_t before = ag_ctx_bytes(ctx);
    ag_tensor *y = ag_scope_end(ctx, way(&args));
    *most = ag_ctx_peak_bytes(ctx) - before;
    ag_ctx_trim(ctx);
    *kept = ag_ctx_bytes(ctx) - before;
    ck_assert_ptr_nonnull(y);
    ag_tape_end(tape);
    test_end(ctx);
}

/* Never more than one after the other; without a tape nothing but the result, where the activation has a kernel. */
START_TEST(bytes_of_what_follows)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *any = ag_zeros(ctx, AG_F32, AG_SCALAR);
    const size_t result = 512 * 64 * sizeof(float);
    for (int k = 0; k < 4; k++) {
        const ag_linear_args kind = { .activation = activations[_i], .residual = k & 1 ? any : NULL };
        size_t most[2], kept[2];
        bytes_of(apart, &kind, k & 2, &most[0], &kept[0]);
        bytes_of(together, &kind, k & 2, &most[1], &kept[1]);
        ck_assert_uint_le(kept[1], kept[0] + result / 8);
        ck_assert_uint_le(most[1], most[0] + result / 8);
        if (k == 0 && _i < 5)
            ck_assert_uint_lt(most[1], result * 3 / 2);
    }
    test_end(ctx);
}
END_TEST

Suite *linear_list_suite(void)
{
    Suite *suite = suite_create("linear_list");
    TCase *tcase = tcase_create("linear_list");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, list_is_its_linears, 0, 2);
    tcase_add_test(tcase, list_errors);
    tcase_add_test(tcase, list_one_by_one_when_observed);
    tcase_add_loop_test(tcase, followed_as_one_after_the_other, 0, ACTIVATIONS);
    tcase_add_loop_test(tcase, followed_when_empty, 0, ACTIVATIONS);
    tcase_add_loop_test(tcase, followed_without_a_tape, 0, ACTIVATIONS);
    tcase_add_loop_test(tcase, followed_in_recompute, 0, ACTIVATIONS);
    tcase_add_loop_test(tcase, what_may_change_afterwards, 0, ACTIVATIONS);
    tcase_add_loop_test(tcase, followed_gradients, 0, ACTIVATIONS);
    tcase_add_test(tcase, anomalies_before_an_activation);
    tcase_add_test(tcase, residuals_that_do_not_fit);
    tcase_add_loop_test(tcase, bytes_of_what_follows, 0, ACTIVATIONS);
    suite_add_tcase(suite, tcase);
    return suite;
}
