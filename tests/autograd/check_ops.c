/* SPDX-License-Identifier: MIT
 *
 * check_ops.c - every op on every case of op_cases.def: gradients against central differences in float64, each
 * instruction set against the reference, float32 against float64. Then values against plain formulas.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

/* ---- The cases ---- */

enum { MOST_INPUTS = 7, MOST_ELEMENTS = 1024 };

typedef struct input_spec {
    char kind; /* see op_cases.def */
    int ndim;
    int64_t shape[5]; /* of 'I' the limit comes first */
} input_spec;

typedef struct op_case {
    const char *op, *name;
    ag_gradcheck_fn *f;
    bool coarse;
    input_spec input[MOST_INPUTS]; /* ends with kind 0, or after MOST_INPUTS */
} op_case;

#define DIMS(...) (int)(sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ }
#define R(...) { 'R', DIMS(__VA_ARGS__) }
#define P(...) { 'P', DIMS(__VA_ARGS__) }
#define A(...) { 'A', DIMS(__VA_ARGS__) }
#define D(...) { 'D', DIMS(__VA_ARGS__) }
#define R0 { 'R', 0, { 0 } }
#define D0 { 'D', 0, { 0 } }
#define I(...) { 'I', DIMS(__VA_ARGS__) }

/* x[0] cut along its first dim into `count` and joined again along its last: more inputs than a keep mask has bits. */
static ag_tensor *concat_of_slices(ag_tensor *x, int count)
{
    ag_tensor *piece[17];
    ag_split(x, 0, count, piece);
    return ag_concat(piece, count, 1);
}

static ag_tensor *product_of_pieces(ag_tensor *x, int dim, int count)
{
    ag_tensor *piece[4];
    ag_split(x, dim, count, piece);
    ag_tensor *product = piece[0];
    for (int i = 1; i < count; i++)
        product = ag_mul(product, piece[i]);
    return product;
}

#define CASE(op, name, result, ...)                                                                          \
    static void case_##op##_##name(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)              \
    {                                                                                                        \
        (void)ctx, (void)user;                                                                               \
        y[0] = result;                                                                                       \
    }
#define CASE_COARSE CASE
#include "tests/autograd/op_cases.def"
#undef CASE
#undef CASE_COARSE

static const op_case cases[] = {
#define CASE(op, name, result, ...) { #op, #name, case_##op##_##name, false, { __VA_ARGS__ } },
#define CASE_COARSE(op, name, result, ...) { #op, #name, case_##op##_##name, true, { __VA_ARGS__ } },
#include "tests/autograd/op_cases.def"
#undef CASE
#undef CASE_COARSE
};
enum { CASE_COUNT = sizeof cases / sizeof *cases };

static double uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) * 0x1p-24;
}

/* Element i of n, a number that float32 has exactly. */
static double input_value(char kind, uint32_t *state, int64_t i, int64_t n)
{
    double u = uniform(state);
    switch (kind) {
    case 'P':
        return (double)(float)(0.5 + 1.5 * u);
    case 'A':
        return (double)(float)(u < 0.5 ? -0.2 - 2.6 * u : 0.2 + 2.6 * (u - 0.5));
    case 'D': /* multiples of 1/8 and a little, in an order that jumps about; 11 and n are coprime where it is used */
        return (double)(float)(0.125 * (double)((i * 11 + 5) % n - n / 2) + 0.0625 + 0.01 * u);
    default:
        return (double)(float)(3 * u - 1.5);
    }
}

static ag_tensor *make_input(ag_ctx *ctx, const input_spec *spec, int number, ag_dtype dtype)
{
    uint32_t state = 12345u + 777u * (uint32_t)number;
    bool integers = spec->kind == 'I';
    ag_tensor *t = integers ? ag_zeros(ctx, AG_I32, spec->ndim - 1, spec->shape + 1)
                            : ag_zeros(ctx, dtype, spec->ndim, spec->shape);
    ck_assert_ptr_nonnull(t);
    int64_t n = ag_numel(t);
    ck_assert_int_le(n, MOST_ELEMENTS);
    void *data = ag_data_mut(t);
    for (int64_t i = 0; i < n; i++) {
        if (integers)
            ((int32_t *)data)[i] = (int32_t)((double)spec->shape[0] * uniform(&state));
        else if (dtype == AG_F32)
            ((float *)data)[i] = (float)input_value(spec->kind, &state, i, n);
        else
            ((double *)data)[i] = input_value(spec->kind, &state, i, n);
    }
    return integers ? t : ag_require_grad(t);
}

static int make_inputs(ag_ctx *ctx, const op_case *c, ag_dtype dtype, ag_tensor **x)
{
    int count = 0;
    for (; count < MOST_INPUTS && c->input[count].kind != 0; count++)
        x[count] = make_input(ctx, &c->input[count], count, dtype);
    return count;
}

/* ---- Gradients against central differences ---- */

START_TEST(gradient_is_right)
{
    const op_case *c = &cases[_i];
    ag_ctx *ctx = test_begin();
    ag_tensor *x[MOST_INPUTS];
    int count = make_inputs(ctx, c, AG_F64, x);
    int64_t elements = 0;
    for (int i = 0; i < count; i++)
        elements += ag_dtype_of(x[i]) == AG_F64 ? ag_numel(x[i]) : 0;
    FILE *report = tmpfile();
    ag_gradcheck_config config = { .report = report };
    if (c->coarse) {
        config.step = 1e-2;
        config.rtol = 1e-4;
        config.atol = 1e-4;
    }
    ag_gradcheck_result result = ag_gradcheck(ctx, c->f, x, count, NULL, config);
    char text[600] = "";
    rewind(report);
    text[fread(text, 1, sizeof text - 1, report)] = '\0';
    fclose(report);
    ck_assert_msg(ag_error(ctx) == AG_OK, "%s %s: %s", c->op, c->name, ag_error_message(ctx));
    ck_assert_msg(elements == 0 || result.verdict == AG_PASS, "%s %s: %s", c->op, c->name, text);
    ck_assert_int_eq(result.checked, elements);
    ck_assert_msg(result.max_error < (c->coarse ? 1e-4 : 1e-8), "%s %s: relative error %g", c->op, c->name,
                  result.max_error);
    test_end(ctx);
}
END_TEST

/* ---- Instruction sets and types ---- */

/* The result and the gradients of a case as float64, in memory of their own. */
typedef struct outcome {
    double *value[1 + MOST_INPUTS];
    int64_t count[1 + MOST_INPUTS];
} outcome;

static void note(outcome *o, int slot, const ag_tensor *t)
{
    o->count[slot] = ag_numel(t);
    o->value[slot] = malloc((size_t)(o->count[slot] + 1) * sizeof(double));
    ck_assert_ptr_nonnull(o->value[slot]);
    for (int64_t i = 0; i < o->count[slot]; i++)
        o->value[slot][i] = test_at(t, i);
}

static bool is_in_ops_def(const char *name)
{
    for (int i = 0; i < ag_op_count; i++)
        if (strcmp(ag_ops[i]->name, name) == 0)
            return true;
    return false;
}

static bool is_on_tape(const ag_tape *tape, const char *op)
{
    for (int64_t i = 0; i < ag_tape_size(tape); i++)
        if (strcmp(ag_tape_node(tape, i).op, op) == 0)
            return true;
    return false;
}

/* Runs a case forward and backward; false when the machine has no such instruction set. */
static bool run_case(const op_case *c, const char *isa, ag_dtype dtype, outcome *o)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .isa = isa });
    if (ctx == NULL)
        return false;
    *o = (outcome){ { NULL }, { 0 } };
    ag_tensor *x[MOST_INPUTS];
    int count = make_inputs(ctx, c, dtype, x);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = NULL;
    c->f(ctx, x, &y, NULL);
    ck_assert_msg(y != NULL, "%s %s: %s", c->op, c->name, ag_error_message(ctx));
    if (is_in_ops_def(c->op) && !(strcmp(c->op, "cast") == 0 && dtype == AG_F32))
        ck_assert_msg(is_on_tape(tape, c->op), "%s %s: the case records no such node", c->op, c->name);
    ag_tensor *cotangent = ag_zeros(ctx, ag_dtype_of(y), ag_ndim(y), ag_shape(y));
    uint32_t state = 99;
    void *data = ag_data_mut(cotangent);
    for (int64_t i = 0; i < ag_numel(y); i++) {
        double value = (double)(float)(3 * uniform(&state) - 1.5);
        if (ag_dtype_of(y) == AG_F32)
            ((float *)data)[i] = (float)value;
        else
            ((double *)data)[i] = value;
    }
    ck_assert_msg(ag_backward_from(tape, y, cotangent) == AG_OK, "%s %s: %s", c->op, c->name, ag_error_message(ctx));
    note(o, 0, y);
    for (int i = 0; i < count; i++) {
        if (!ag_requires_grad(x[i]))
            continue;
        const ag_tensor *g = ag_grad(x[i]);
        bool alike = g != NULL && ag_ndim(g) == ag_ndim(x[i]) && ag_dtype_of(g) == dtype;
        for (int d = 0; alike && d < ag_ndim(g); d++)
            alike = ag_shape(g)[d] == ag_shape(x[i])[d];
        ck_assert_msg(alike || g == NULL, "%s %s: input %d's gradient is %s", c->op, c->name, i, ag_shape_text(g));
        if (g != NULL)
            note(o, 1 + i, g);
    }
    ag_tape_end(tape);
    test_end(ctx);
    return true;
}

static void outcome_free(outcome *o)
{
    for (int i = 0; i < 1 + MOST_INPUTS; i++)
        free(o->value[i]);
}

/* Equal to within `tolerance` times the largest wanted value, or times 1 if that is larger. */
static void compare(const op_case *c, const char *isa, const char *type, const outcome *got, const outcome *want,
                    double tolerance)
{
    for (int s = 0; s < 1 + MOST_INPUTS; s++) {
        ck_assert_msg((got->value[s] == NULL) == (want->value[s] == NULL), "%s %s on %s %s: only one has gradient %d",
                      c->op, c->name, isa, type, s - 1);
        double largest = 1;
        for (int64_t i = 0; i < want->count[s]; i++)
            largest = fmax(largest, fabs(want->value[s][i]));
        for (int64_t i = 0; i < want->count[s]; i++)
            ck_assert_msg(fabs(got->value[s][i] - want->value[s][i]) <= tolerance * largest,
                          "%s %s on %s %s: %s %d at %lld: %.17g, wanted %.17g", c->op, c->name, isa, type,
                          s == 0 ? "result" : "gradient", s - 1, (long long)i, got->value[s][i], want->value[s][i]);
    }
}

START_TEST(instruction_sets_and_types_agree)
{
    const op_case *c = &cases[_i];
    static const char *const isas[] = { "reference", "baseline", "x86-64-v3", "x86-64-v4" };
    outcome want, got;
    ck_assert(run_case(c, "reference", AG_F64, &want));
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        if (run_case(c, isas[i], AG_F64, &got)) {
            compare(c, isas[i], "float64", &got, &want, c->coarse ? 1e-6 : 1e-13);
            outcome_free(&got);
        }
        if (run_case(c, isas[i], AG_F32, &got)) {
            compare(c, isas[i], "float32", &got, &want, 5e-6);
            outcome_free(&got);
        }
    }
    outcome_free(&want);
}
END_TEST

/* ---- Completeness ---- */

START_TEST(every_op_has_a_case)
{
    static const char *const others[] = { "masked_fill", "transpose", "squeeze", "unsqueeze", "stack",
                                          "split",       "mse",       "alibi",   "relative_buckets", "rope" };
    for (int i = 0; i < ag_op_count + (int)(sizeof others / sizeof *others); i++) {
        const char *name = i < ag_op_count ? ag_ops[i]->name : others[i - ag_op_count];
        bool found = false;
        for (int c = 0; c < CASE_COUNT; c++)
            found = found || strcmp(cases[c].op, name) == 0;
        ck_assert_msg(found, "the op '%s' has no case in op_cases.def", name);
    }
    for (int i = 0; i < ag_op_count; i++)
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(ag_ops[i]->name, ag_ops[j]->name);
}
END_TEST

/* ---- Values against plain formulas, in float64 ---- */

#define AG_UNARY(op, ...)                                                                                    \
    static ag_tensor *call_##op(ag_tensor *x, const double *p)                                               \
    {                                                                                                        \
        (void)p;                                                                                             \
        return ag_##op(x);                                                                                   \
    }
#define AG_UNARY_WITH(...)
#define AG_UNARY_BY_HAND(...)
#include "tensor/kernels/unary.def"
static ag_tensor *call_scale(ag_tensor *x, const double *p) { return ag_scale(x, p[0]); }
static ag_tensor *call_add_scalar(ag_tensor *x, const double *p) { return ag_add_scalar(x, p[0]); }
static ag_tensor *call_pow(ag_tensor *x, const double *p) { return ag_pow(x, p[0]); }
static ag_tensor *call_clamp(ag_tensor *x, const double *p) { return ag_clamp(x, p[0], p[1]); }

#define UNARY_CASE(op, formula, ...) UNARY_CASE_OWN(op, plain, 0, 0, formula, 0, 0)
#define UNARY_CASE_OWN(op, name, p0, p1, formula, ...)                                                       \
    static double formula_##op##_##name(double x, const double *p)                                           \
    {                                                                                                        \
        (void)x, (void)p;                                                                                    \
        return formula;                                                                                      \
    }
#include "tests/tensor/kernels/unary_cases.def"

typedef struct unary_case {
    const char *name;
    ag_tensor *(*op)(ag_tensor *x, const double *p);
    double (*formula)(double x, const double *p);
    double p[2], low, high;
} unary_case;

static const unary_case unaries[] = {
#define UNARY_CASE(op, formula, low, high, ...) UNARY_CASE_OWN(op, plain, 0, 0, formula, low, high)
#define UNARY_CASE_OWN(op, name, p0, p1, formula, low, high)                                                 \
    { #op " " #name, call_##op, formula_##op##_##name, { p0, p1 }, low, high },
#include "tests/tensor/kernels/unary_cases.def"
};

START_TEST(unary_values)
{
    const unary_case *c = &unaries[_i];
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_arange(ctx, AG_F64, c->low, (c->high - c->low) / 32, 33);
    ag_tensor *y = c->op(x, c->p);
    for (int64_t i = 0; i < 33; i++) {
        double want = c->formula(test_at(x, i), c->p), got = test_at(y, i);
        ck_assert_msg(fabs(got - want) <= 1e-14 * fmax(1, fabs(want)), "%s(%.17g) is %.17g, wanted %.17g", c->name,
                      test_at(x, i), got, want);
    }
    test_end(ctx);
}
END_TEST

static double at2(const ag_tensor *t, int64_t i, int64_t j)
{
    return test_at(t, i * ag_dim(t, 1) + j);
}

static double at3(const ag_tensor *t, int64_t i, int64_t j, int64_t k)
{
    return test_at(t, (i * ag_dim(t, 1) + j) * ag_dim(t, 2) + k);
}

START_TEST(binary_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_randn(ctx, AG_F64, AG_SHAPE(4, 1, 3)), *b = ag_randn(ctx, AG_F64, AG_SHAPE(2, 1));
    ag_tensor *cond = ag_randint(ctx, 0, 2, AG_SHAPE(4, 2, 1));
    ag_tensor *y[] = { ag_add(a, b),     ag_sub(a, b),     ag_mul(a, b), ag_div(a, b),
                       ag_maximum(a, b), ag_minimum(a, b), ag_where(cond, a, b) };
    ag_tensor *filled = ag_masked_fill(y[0], cond, -7);
    for (int64_t i = 0; i < 4; i++)
        for (int64_t j = 0; j < 2; j++)
            for (int64_t k = 0; k < 3; k++) {
                double p = at3(a, i, 0, k), q = test_at(b, j);
                bool c = at3(cond, i, j, 0) != 0;
                const double want[] = { p + q, p - q, p * q, p / q, p > q ? p : q, p < q ? p : q, c ? p : q };
                for (int op = 0; op < 7; op++)
                    ck_assert_double_eq_tol(at3(y[op], i, j, k), want[op], 1e-15 * fabs(want[op]));
                ck_assert_double_eq(at3(filled, i, j, k), c ? -7 : at3(y[0], i, j, k));
            }
    test_end(ctx);
}
END_TEST

START_TEST(view_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_reshape(ag_arange(ctx, AG_F64, 0, 1, 6), AG_SHAPE(2, 3));
    assert_values(ag_transpose(x, 0, 1), 0, 0.0, 3.0, 1.0, 4.0, 2.0, 5.0);
    assert_values(ag_permute(x, (const int[]){ 1, 0 }), 0, 0.0, 3.0, 1.0, 4.0, 2.0, 5.0);
    assert_values(ag_slice(x, 1, 0, 3, 2), 0, 0.0, 2.0, 3.0, 5.0);
    assert_values(ag_select(x, 0, -1), 0, 3.0, 4.0, 5.0);
    assert_values(ag_expand(ag_select(x, 1, 1), AG_SHAPE(2, 2)), 0, 1.0, 4.0, 1.0, 4.0);
    assert_values(ag_concat((ag_tensor *[]){ x, ag_slice(x, 1, 0, 1, 1) }, 2, 1), 0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0,
                  3.0);
    assert_values(ag_stack((ag_tensor *[]){ x, ag_neg(x) }, 2, 2), 0, 0.0, 0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0,
                  -4.0, 5.0, -5.0);
    ag_tensor *piece[3];
    ag_split(x, -1, 3, piece);
    for (int i = 0; i < 3; i++)
        assert_values(piece[i], 0, (double)i, (double)(i + 3));
    ck_assert(ag_data(piece[1]) == (const void *)((const double *)ag_data(x) + 1)); /* a piece is a view */
    ag_tensor *cut = ag_cast(ag_scale(x, -0.9), AG_I32);
    assert_values(cut, 0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0);
    test_end(ctx);
}
END_TEST

START_TEST(reduction_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(3, 4, 5));
    ag_tensor *sum = ag_sum(x, AG_DIMS(0, -1), false), *mean = ag_mean(x, AG_DIMS(2, 0), true);
    ag_tensor *max = ag_max(x, AG_DIMS(0, 2), false), *var = ag_var(x, AG_DIMS(0, 2), 1, false);
    ck_assert_int_eq(ag_ndim(sum), 1);
    ck_assert_str_eq(ag_shape_text(mean), "[1,4,1]");
    for (int64_t j = 0; j < 4; j++) {
        double total = 0, squares = 0, most = -(double)INFINITY;
        for (int64_t i = 0; i < 15; i++) {
            total += at3(x, i / 5, j, i % 5);
            most = fmax(most, at3(x, i / 5, j, i % 5));
        }
        for (int64_t i = 0; i < 15; i++)
            squares += pow(at3(x, i / 5, j, i % 5) - total / 15, 2);
        ck_assert_double_eq_tol(test_at(sum, j), total, 1e-14);
        ck_assert_double_eq_tol(test_at(mean, j), total / 15, 1e-14);
        ck_assert_double_eq(test_at(max, j), most);
        ck_assert_double_eq_tol(test_at(var, j), squares / 14, 1e-14);
    }
    assert_values(ag_sum(ag_zeros(ctx, AG_F64, AG_SHAPE(0, 2)), AG_DIMS(0), false), 0, 0.0, 0.0);
    ck_assert(isnan(test_item(ag_mean(ag_zeros(ctx, AG_F64, AG_SHAPE(0)), AG_ALL_DIMS, false))));
    test_end(ctx);
}
END_TEST

/* Ties share the gradient: maximum and minimum by halves, max equally; abs, relu and clamp at their corners. */
START_TEST(gradients_at_ties)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(4), (const double[]){ 3, 1, 3, 0 }));
    ag_tensor *b = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(4), (const double[]){ 3, 2, 1, 0 }));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *sum = ag_add(ag_maximum(a, b), ag_scale(ag_minimum(a, b), 10));
    ag_tensor *top = ag_scale(ag_max(a, AG_ALL_DIMS, false), 100);
    ck_assert_int_eq(ag_backward(tape, ag_add(ag_sum(sum, AG_ALL_DIMS, false), top)), AG_OK);
    assert_values(ag_grad(a), 1e-12, 55.5, 10.0, 51.0, 5.5);
    assert_values(ag_grad(b), 1e-12, 5.5, 1.0, 10.0, 5.5);
    ag_tape_end(tape);
    ag_zero_grad(a);
    tape = ag_tape_begin(ctx);
    ag_tensor *corners = ag_add(ag_add(ag_abs(a), ag_relu(a)), ag_scale(ag_clamp(a, 1, 3), 10));
    ck_assert_int_eq(ag_backward(tape, ag_sum(corners, AG_ALL_DIMS, false)), AG_OK);
    assert_values(ag_grad(a), 0, 12.0, 12.0, 12.0, 0.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(product_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_randn(ctx, AG_F64, AG_SHAPE(2, 3, 7)), *b = ag_randn(ctx, AG_F64, AG_SHAPE(2, 7, 5));
    ag_tensor *w = ag_randn(ctx, AG_F64, AG_SHAPE(5, 7)), *bias = ag_randn(ctx, AG_F64, AG_SHAPE(5));
    ag_tensor *y = ag_matmul(a, b), *z = ag_linear(a, w, bias), *shared = ag_matmul(a, ag_transpose(w, 0, 1));
    ag_tensor *v = ag_matmul(a, ag_select(w, 0, 2));
    for (int64_t n = 0; n < 2; n++)
        for (int64_t i = 0; i < 3; i++)
            for (int64_t j = 0; j < 5; j++) {
                double batched = 0, linear = 0;
                for (int64_t k = 0; k < 7; k++) {
                    batched += at3(a, n, i, k) * at3(b, n, k, j);
                    linear += at3(a, n, i, k) * at2(w, j, k);
                }
                ck_assert_double_eq_tol(at3(y, n, i, j), batched, 1e-13);
                ck_assert_double_eq_tol(at3(shared, n, i, j), linear, 1e-13);
                ck_assert_double_eq_tol(at3(z, n, i, j), linear + test_at(bias, j), 1e-13);
                if (j == 2)
                    ck_assert_double_eq_tol(at2(v, n, i), linear, 1e-13);
            }
    ag_tensor *dot = ag_matmul(ag_select(w, 0, 0), ag_select(w, 0, 1));
    ck_assert_int_eq(ag_ndim(dot), 0);
    test_end(ctx);
}
END_TEST

START_TEST(softmax_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_scale(ag_randn(ctx, AG_F64, AG_SHAPE(2, 5, 3)), 3);
    ag_tensor *p = ag_softmax(x, 1), *l = ag_log_softmax(x, 1), *lse = ag_logsumexp(x, 1, false);
    ck_assert_str_eq(ag_shape_text(lse), "[2,3]");
    for (int64_t i = 0; i < 2; i++)
        for (int64_t k = 0; k < 3; k++) {
            double sum = 0;
            for (int64_t j = 0; j < 5; j++)
                sum += exp(at3(x, i, j, k));
            ck_assert_double_eq_tol(at2(lse, i, k), log(sum), 1e-13);
            for (int64_t j = 0; j < 5; j++) {
                ck_assert_double_eq_tol(at3(p, i, j, k), exp(at3(x, i, j, k)) / sum, 1e-14);
                ck_assert_double_eq_tol(at3(l, i, j, k), at3(x, i, j, k) - log(sum), 1e-13);
            }
        }
    test_end(ctx);
}
END_TEST

START_TEST(layer_norm_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(3, 6)), *w = ag_randn(ctx, AG_F64, AG_SHAPE(6));
    ag_tensor *b = ag_randn(ctx, AG_F64, AG_SHAPE(6)), *y = ag_layer_norm(x, w, b, 0.01);
    for (int64_t i = 0; i < 3; i++) {
        double mean = 0, var = 0;
        for (int64_t j = 0; j < 6; j++)
            mean += at2(x, i, j) / 6;
        for (int64_t j = 0; j < 6; j++)
            var += pow(at2(x, i, j) - mean, 2) / 6;
        for (int64_t j = 0; j < 6; j++)
            ck_assert_double_eq_tol(at2(y, i, j),
                                    (at2(x, i, j) - mean) / sqrt(var + 0.01) * test_at(w, j) + test_at(b, j), 1e-13);
    }
    /* A constant row gives the bias; a large offset leaves small differences as they are. */
    assert_values(ag_layer_norm(ag_full(ctx, AG_F32, AG_SHAPE(1, 3), 1e4), NULL, NULL, 1e-5), 0, 0.0, 0.0, 0.0);
    ag_tensor *offset = ag_from_data(ctx, AG_F32, AG_SHAPE(4), (const float[]){ 10000, 10001, 10000, 10001 });
    assert_values(ag_layer_norm(offset, NULL, NULL, 1e-5), 1e-4, -1.0, 1.0, -1.0, 1.0);
    test_end(ctx);
}
END_TEST

START_TEST(loss_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_scale(ag_randn(ctx, AG_F64, AG_SHAPE(4, 3)), 2);
    ag_tensor *t = ag_from_data(ctx, AG_I32, AG_SHAPE(4), (const int32_t[]){ 2, -100, 0, 1 });
    double sum = 0, smooth = 0;
    for (int64_t i = 0; i < 4; i++) {
        double lse = 0, all = 0;
        for (int64_t j = 0; j < 3; j++) {
            lse += exp(at2(x, i, j));
            all += at2(x, i, j);
        }
        if (i == 1)
            continue;
        double hit = at2(x, i, (int64_t)test_at(t, i));
        sum += log(lse) - hit;
        smooth += log(lse) - 0.8 * hit - 0.2 / 3 * all;
    }
    ag_cross_entropy_config config = { .ignore = true, .ignore_index = -100 };
    ck_assert_double_eq_tol(test_item(ag_cross_entropy_with(x, t, config)), sum / 3, 1e-14);
    config.label_smoothing = 0.2;
    ck_assert_double_eq_tol(test_item(ag_cross_entropy_with(x, t, config)), smooth / 3, 1e-14);
    config.reduction = AG_SUM;
    ck_assert_double_eq_tol(test_item(ag_cross_entropy_with(x, t, config)), smooth, 1e-13);
    /* From logits, not from probabilities: -log of what underflows is finite; an impossible class costs nothing. */
    ag_tensor *far = ag_from_data(ctx, AG_F32, AG_SHAPE(3), (const float[]){ 0, 1000, -INFINITY });
    ag_tensor *zero = ag_zeros(ctx, AG_I32, AG_SCALAR);
    ck_assert_double_eq_tol(test_item(ag_cross_entropy(far, zero)), 1000, 1e-3);
    ag_tensor *u = ag_arange(ctx, AG_F64, 0, 1, 4), *v = ag_arange(ctx, AG_F64, 1, 3, 4);
    ck_assert_double_eq_tol(test_item(ag_mse(u, v)), (1 + 9 + 25 + 49) / 4.0, 1e-14);
    test_end(ctx);
}
END_TEST

START_TEST(embedding_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *table = ag_require_grad(ag_reshape(ag_arange(ctx, AG_F64, 0, 1, 6), AG_SHAPE(3, 2)));
    ag_tensor *index = ag_from_data(ctx, AG_I32, AG_SHAPE(2, 2), (const int32_t[]){ 2, 0, 2, 2 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_embedding(table, index);
    ck_assert_str_eq(ag_shape_text(y), "[2,2,2]");
    assert_values(y, 0, 4.0, 5.0, 0.0, 1.0, 4.0, 5.0, 4.0, 5.0);
    ck_assert_int_eq(ag_backward_from(tape, y, ag_reshape(ag_arange(ctx, AG_F64, 1, 1, 8), AG_SHAPE(2, 2, 2))), AG_OK);
    assert_values(ag_grad(table), 0, 3.0, 4.0, 0.0, 0.0, 1.0 + 5 + 7, 2.0 + 6 + 8); /* equal indices add */
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(dropout_values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(4000), 2));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_dropout(x, 0.25);
    ck_assert_int_eq(ag_backward(tape, ag_sum(y, AG_ALL_DIMS, false)), AG_OK);
    int64_t dropped = 0;
    for (int64_t i = 0; i < 4000; i++) {
        double value = test_at(y, i);
        dropped += value == 0;
        ck_assert(value == 0 || fabs(value - 2 / 0.75) < 1e-14);
        ck_assert_double_eq_tol(test_at(ag_grad(x), i), value / 2, 1e-15); /* the same draw */
    }
    ck_assert(dropped > 1000 - 140 && dropped < 1000 + 140); /* five standard deviations */
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* Each draw takes its own part of the stream, one block of four numbers after the other. */
START_TEST(draws_do_not_overlap)
{
    ag_ctx *ctx = test_begin();
    uint64_t start = ag_rng_get(ctx).counter;
    ag_dropout(ag_zeros(ctx, AG_F32, AG_SHAPE(9)), 0.5);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, start + 3);
    ag_tensor *q = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3, 5, 4)), *k = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3, 6, 4));
    ag_sdpa(q, k, k, (ag_sdpa_config){ 0 });
    ck_assert_uint_eq(ag_rng_get(ctx).counter, start + 3);
    ag_sdpa(q, k, k, (ag_sdpa_config){ .dropout = 0.5 });
    ck_assert_uint_eq(ag_rng_get(ctx).counter, start + 3 + 2 * 3 * 5 * 2);
    test_end(ctx);
}
END_TEST

static double at4(const ag_tensor *t, int64_t h, int64_t i, int64_t d)
{
    return test_at(t, (h * ag_dim(t, 2) + i) * ag_dim(t, 3) + d); /* of batch entry 0 */
}

START_TEST(attention_values)
{
    enum { H = 2, TQ = 4, TK = 6, SIZE = 3, VALUE = 2 };
    static const ag_mask masks[] = {
        { 0 }, { .causal = true }, { .causal = true, .offset = 2 }, { .causal = true, .offset = -2 },
        { .back = 2, .ahead = 2 }, { .causal = true, .back = 2, .offset = 1 },
    };
    ag_ctx *ctx = test_begin();
    ag_tensor *q = ag_randn(ctx, AG_F64, AG_SHAPE(1, H, TQ, SIZE));
    ag_tensor *k = ag_randn(ctx, AG_F64, AG_SHAPE(1, H, TK, SIZE));
    ag_tensor *v = ag_randn(ctx, AG_F64, AG_SHAPE(1, H, TK, VALUE)), *lse = NULL;
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        ag_sdpa_config config = { .mask = masks[m], .lse = &lse };
        ag_tensor *o = ag_sdpa(q, k, v, config), *p = ag_sdpa_weights(q, k, lse, config, (ag_weights_of){ 0 });
        for (int64_t r = 0; r < H * TQ; r++) {
            int64_t h = r / TQ, i = r % TQ;
            double weight[TK], sum = 0;
            for (int64_t j = 0; j < TK; j++) {
                double score = 0;
                for (int64_t d = 0; d < SIZE; d++)
                    score += at4(q, h, i, d) * at4(k, h, j, d) / sqrt((double)SIZE);
                weight[j] = ag_mask_allowed(masks[m], TQ, TK, i, j) ? exp(score) : 0;
                sum += weight[j];
            }
            for (int64_t j = 0; j < TK; j++)
                ck_assert_double_eq_tol(at4(p, h, i, j), sum > 0 ? weight[j] / sum : 0, 1e-14);
            for (int64_t d = 0; d < VALUE; d++) {
                double want = 0;
                for (int64_t j = 0; j < TK && sum > 0; j++)
                    want += weight[j] / sum * at4(v, h, j, d);
                ck_assert_double_eq_tol(at4(o, h, i, d), want, 1e-14);
            }
        }
    }
    test_end(ctx);
}
END_TEST

Suite *ops_suite(void)
{
    Suite *suite = suite_create("ops");
    TCase *gradients = tcase_create("cases");
    tcase_set_timeout(gradients, 120);
    tcase_add_test(gradients, every_op_has_a_case);
    tcase_add_loop_test(gradients, gradient_is_right, 0, CASE_COUNT);
    tcase_add_loop_test(gradients, instruction_sets_and_types_agree, 0, CASE_COUNT);
    suite_add_tcase(suite, gradients);
    TCase *values = tcase_create("values");
    tcase_add_loop_test(values, unary_values, 0, (int)(sizeof unaries / sizeof *unaries));
    tcase_add_test(values, binary_values);
    tcase_add_test(values, view_values);
    tcase_add_test(values, reduction_values);
    tcase_add_test(values, gradients_at_ties);
    tcase_add_test(values, product_values);
    tcase_add_test(values, softmax_values);
    tcase_add_test(values, layer_norm_values);
    tcase_add_test(values, loss_values);
    tcase_add_test(values, embedding_values);
    tcase_add_test(values, dropout_values);
    tcase_add_test(values, draws_do_not_overlap);
    tcase_add_test(values, attention_values);
    suite_add_tcase(suite, values);
    return suite;
}
