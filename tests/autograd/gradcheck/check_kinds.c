/* SPDX-License-Identifier: MIT
 *
 * check_kinds.c - the kinds of mistakes that people make in a backward of their own, in double and in float: each must
 * fail with its own cause and with the words that say what to look for, and a wrong cause is never given.
 */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMOOTHING (REAL)0.1

typedef enum mistake {
    NO_MISTAKE, NORM_EPS_OUTSIDE, NORM_UNBIASED, NORM_GAMMA_X, NORM_GAMMA_CENTERED, NORM_GAMMA_ASSIGNED, NORM_NO_GAMMA,
    NORM_NO_SCALE, NORM_BETA_LOOP, NORM_TERM_SIGN, NORM_TERM_CENTERED, NORM_NO_MEAN, NORM_NO_VARIANCE,
    ENTROPY_SUM, ENTROPY_ALL_ROWS, ENTROPY_IGNORED_COUNTED, ENTROPY_TARGET_SHIFTED, ENTROPY_NOT_SMOOTHED,
    ENTROPY_STALE, ENTROPY_EARLIER, ENTROPY_NO_UPSTREAM,
    GELU_TANH_SLOPE, GELU_NO_DENSITY, GELU_DENSITY_UNSCALED, GELU_DENSITY_DOUBLED, GELU_SINGLE, GELU_ACCUMULATED,
    GELU_ERF_UNSCALED, GELU_TANH_FIRST, GELU_TANH_CONSTANT = GELU_TANH_FIRST, GELU_TANH_NO_THREE, GELU_ERF_SLOPE,
    GELU_TANH_RIGHT,
    CONV_PADDING, CONV_FLIPPED, CONV_NO_STRIDE, CONV_LAST_BATCH, CONV_OUTPUT_SKIPPED, CONV_BIAS_ASSIGNED,
    CONV_INPUT_SKIPPED, CONV_BATCH_MEAN, CONV_CHANNEL,
    SOFTMAX_NO_SUM, SOFTMAX_SUM_OF_ALL, SOFTMAX_WRONG_AXIS, SOFTMAX_SUM_OF_GY, SOFTMAX_NO_SCALE,
    SOFTMAX_ROW_SUM, GATE_NO_VALUE, POOL_FIRST,
    PRODUCT_NO_FACTOR, PRODUCT_OWN, QUOTIENT_NO_FACTOR, TANH_OF_INPUT, SIGMOID_OF_INPUT, MATRIX_TRANSPOSED,
    RUNNING_FORWARDS, LOOKUP_SHIFTED, LOOKUP_ASSIGNED, DROP_REDRAWN, SILU_CUT
} mistake;

typedef struct kind_shape {
    mistake mistake;
    int n[5];
    double eps;
} kind_shape;

#define FUNCTIONS "tests/autograd/gradcheck/kinds_functions.h"
#include "tests/autograd/gradcheck/both_types.h"

/* ---- Functions, with the shapes of inputs and output as indices into kind_shape.n; -1 ends ---- */

enum { CONV_LENGTH = 9, TWICE = 10 }; /* computed: TWICE is 2 n[1] */

typedef struct kind_function {
    const char *name;
    ag_array_function function[2]; /* double, float */
    int inputs;
    struct {
        const char *name;
        int dims[4];
    } array[4]; /* the inputs, then the output */
} kind_function;

#define PAIR(f) BOTH(f, f##_backward)

static const kind_function functions[] = {
    { "layer norm", PAIR(norm), 3, { { "x", { 0, 1, -1 } }, { "gamma", { 1, -1 } }, { "beta", { 1, -1 } },
                                     { "y", { 0, 1, -1 } } } },
    { "cross entropy", PAIR(entropy), 1, { { "logits", { 0, 1, -1 } }, { "loss", { -1 } } } },
    { "gelu", PAIR(gelu), 1, { { "x", { 0, -1 } }, { "y", { 0, -1 } } } },
    { "conv1d", PAIR(convolution), 3, { { "x", { 0, 1, 2, -1 } }, { "w", { 3, 1, 4, -1 } }, { "bias", { 3, -1 } },
                                        { "y", { 0, 3, CONV_LENGTH, -1 } } } },
    { "softmax", PAIR(softmax), 1, { { "x", { 0, 1, -1 } }, { "y", { 0, 1, -1 } } } },
    { "gate", PAIR(gate), 1, { { "x", { 0, TWICE, -1 } }, { "y", { 0, 1, -1 } } } },
    { "pool", PAIR(pool), 1, { { "x", { 0, TWICE, -1 } }, { "y", { 0, 1, -1 } } } },
    { "product", PAIR(product), 2, { { "a", { 0, -1 } }, { "b", { 0, -1 } }, { "y", { 0, -1 } } } },
    { "quotient", PAIR(quotient), 2, { { "a", { 0, -1 } }, { "b", { 0, -1 } }, { "y", { 0, -1 } } } },
    { "squash", PAIR(squash), 1, { { "x", { 0, -1 } }, { "y", { 0, -1 } } } },
    { "matrix", PAIR(matrix), 2, { { "a", { 0, 0, -1 } }, { "b", { 0, 0, -1 } }, { "y", { 0, 0, -1 } } } },
    { "running", PAIR(running), 1, { { "x", { 0, -1 } }, { "y", { 0, -1 } } } },
    { "lookup", PAIR(lookup), 1, { { "table", { 0, 1, -1 } }, { "y", { 2, 1, -1 } } } },
    { "drop", PAIR(drop), 1, { { "x", { 0, -1 } }, { "y", { 0, -1 } } } },
    { "silu", PAIR(silu), 1, { { "x", { 0, -1 } }, { "y", { 0, -1 } } } },
};

/* ---- Kinds ---- */

enum { CAUSES = 2 };

typedef struct kind {
    const char *function;
    mistake mistake;
    const char *name;
    ag_cause cause[CAUSES]; /* any of these */
    const char *words[2];   /* in the explanation, any of these */
} kind;

#define NAMED(mistake) mistake, #mistake
static const kind kinds[] = {
    { "layer norm", NAMED(NORM_EPS_OUTSIDE), { AG_CAUSE_NORM_SCALE },
      { "epsilon is added to the standard deviation" } },
    { "layer norm", NAMED(NORM_UNBIASED), { AG_CAUSE_NORM_SCALE }, { "divided by n - 1" } },
    { "layer norm", NAMED(NORM_GAMMA_X), { AG_CAUSE_OPERAND }, { "x in place of the normalised x" } },
    { "layer norm", NAMED(NORM_GAMMA_CENTERED), { AG_CAUSE_OPERAND }, { "x - mean(x) in place of the normalised x" } },
    { "layer norm", NAMED(NORM_GAMMA_ASSIGNED), { AG_CAUSE_NOT_ACCUMULATED, AG_CAUSE_NOT_REDUCED }, { "= where += is "
                                                                                               "meant" } },
    { "layer norm", NAMED(NORM_NO_GAMMA), { AG_CAUSE_OPERAND }, { "A factor is left out: input 1 (gamma)" } },
    { "layer norm", NAMED(NORM_NO_SCALE), { AG_CAUSE_NORM_SCALE }, { "standard deviation is left out" } },
    { "layer norm", NAMED(NORM_BETA_LOOP), { AG_CAUSE_WRONG_INDEX }, { "index of the wrong loop" } },
    { "layer norm", NAMED(NORM_TERM_SIGN), { AG_CAUSE_VARIANCE_MISSING }, { "sign" } },
    { "layer norm", NAMED(NORM_TERM_CENTERED), { AG_CAUSE_VARIANCE_MISSING },
      { "x - mean(x) in place of the normalised x" } },
    { "layer norm", NAMED(NORM_NO_MEAN), { AG_CAUSE_MEAN_MISSING }, { "mean term" } },
    { "layer norm", NAMED(NORM_NO_VARIANCE), { AG_CAUSE_VARIANCE_MISSING }, { "variance term" } },
    { "cross entropy", NAMED(ENTROPY_SUM), { AG_CAUSE_FACTOR }, { "rows whose gradient is not 0" } },
    { "cross entropy", NAMED(ENTROPY_ALL_ROWS), { AG_CAUSE_FACTOR }, { "rows whose gradient is not 0" } },
    { "cross entropy", NAMED(ENTROPY_IGNORED_COUNTED), { AG_CAUSE_MASK_LEAK, AG_CAUSE_TARGET }, { "Ignored rows are "
                                                                                           "counted" } },
    { "cross entropy", NAMED(ENTROPY_TARGET_SHIFTED), { AG_CAUSE_TARGET }, { "off by 1" } },
    { "cross entropy", NAMED(ENTROPY_NOT_SMOOTHED), { AG_CAUSE_TARGET }, { "smoothing" } },
    { "cross entropy", NAMED(ENTROPY_STALE), { AG_CAUSE_STATE }, { "state" } },
    { "cross entropy", NAMED(ENTROPY_EARLIER), { AG_CAUSE_STATE }, { "state" } },
    { "cross entropy", NAMED(ENTROPY_NO_UPSTREAM), { AG_CAUSE_UPSTREAM_IGNORED }, { "doubled" } },
    { "gelu", NAMED(GELU_TANH_SLOPE), { AG_CAUSE_SLOPE }, { "tanh" } },
    { "gelu", NAMED(GELU_NO_DENSITY), { AG_CAUSE_SLOPE }, { "the term x phi(x) is missing" } },
    { "gelu", NAMED(GELU_DENSITY_UNSCALED), { AG_CAUSE_SLOPE }, { "sqrt(2 pi)" } },
    { "gelu", NAMED(GELU_DENSITY_DOUBLED), { AG_CAUSE_SLOPE }, { "2 x phi(x)" } },
    { "gelu", NAMED(GELU_SINGLE), { AG_CAUSE_ROUNDED }, { "single precision" } },
    { "gelu", NAMED(GELU_ACCUMULATED), { AG_CAUSE_STATE }, { "state" } },
    { "gelu", NAMED(GELU_ERF_UNSCALED), { AG_CAUSE_SLOPE }, { "erf(x)" } },
    { "gelu", NAMED(GELU_TANH_CONSTANT), { AG_CAUSE_SLOPE }, { "1/sqrt(2 pi)" } },
    { "gelu", NAMED(GELU_TANH_NO_THREE), { AG_CAUSE_SLOPE }, { "1/3" } },
    { "gelu", NAMED(GELU_ERF_SLOPE), { AG_CAUSE_SLOPE }, { "erf" } },
    { "conv1d", NAMED(CONV_PADDING), { AG_CAUSE_WRONG_INDEX }, { "off by" } },
    { "conv1d", NAMED(CONV_FLIPPED), { AG_CAUSE_WRONG_INDEX }, { "reversed" } },
    { "conv1d", NAMED(CONV_NO_STRIDE), { AG_CAUSE_WRONG_INDEX }, { "stride" } },
    { "conv1d", NAMED(CONV_LAST_BATCH), { AG_CAUSE_NOT_ACCUMULATED }, { "dim 0 of output 0" } },
    { "conv1d", NAMED(CONV_OUTPUT_SKIPPED), { AG_CAUSE_SKIPPED }, { "dim 2 of output 0" } },
    { "conv1d", NAMED(CONV_BIAS_ASSIGNED), { AG_CAUSE_NOT_ACCUMULATED }, { "= where += is meant" } },
    { "conv1d", NAMED(CONV_INPUT_SKIPPED), { AG_CAUSE_SKIPPED, AG_CAUSE_ZERO }, { "dim 2" } },
    { "conv1d", NAMED(CONV_BATCH_MEAN), { AG_CAUSE_FACTOR }, { "a mean's 1/N", "one of two uses" } },
    { "conv1d", NAMED(CONV_CHANNEL), { AG_CAUSE_WRONG_INDEX, AG_CAUSE_BATCH_MIXED }, { "reversed", "exchanged" } },
    { "softmax", NAMED(SOFTMAX_NO_SUM), { AG_CAUSE_ROW_SUM_MISSING }, { "is missing" } },
    { "softmax", NAMED(SOFTMAX_SUM_OF_ALL), { AG_CAUSE_ROW_SUM_MISSING }, { "over all rows" } },
    { "softmax", NAMED(SOFTMAX_WRONG_AXIS), { AG_CAUSE_ROW_SUM_MISSING }, { "along dim 0" } },
    { "softmax", NAMED(SOFTMAX_SUM_OF_GY), { AG_CAUSE_ROW_SUM_MISSING }, { "sum(gy)" } },
    { "softmax", NAMED(SOFTMAX_NO_SCALE), { AG_CAUSE_FACTOR }, { "sqrt(d)" } },
    { "softmax", NAMED(SOFTMAX_ROW_SUM), { AG_CAUSE_ZERO }, { "usually terms that cancel" } },
    { "gate", NAMED(GATE_NO_VALUE), { AG_CAUSE_OPERAND }, { "the other half of the input" } }, /* no tail */
    { "pool", NAMED(POOL_FIRST), { AG_CAUSE_UNKNOWN }, { "Where the right gradient is not 0, analytic is 0; on " } },
    { "product", NAMED(PRODUCT_NO_FACTOR), { AG_CAUSE_OPERAND }, { "A factor is left out: input 1 (b)" } },
    { "product", NAMED(PRODUCT_OWN), { AG_CAUSE_OPERAND }, { "(a) in place of input 1 (b)" } },
    { "quotient", NAMED(QUOTIENT_NO_FACTOR), { AG_CAUSE_OPERAND }, { "A factor is left out: input 0 (a)" } },
    { "squash", NAMED(TANH_OF_INPUT), { AG_CAUSE_SLOPE }, { "x is used where y is meant" } },
    { "squash", NAMED(SIGMOID_OF_INPUT), { AG_CAUSE_SLOPE }, { "x is used where y is meant" } },
    { "matrix", NAMED(MATRIX_TRANSPOSED), { AG_CAUSE_TRANSPOSED }, { "input 1 (b)" } },
    { "running", NAMED(RUNNING_FORWARDS), { AG_CAUSE_WRONG_INDEX }, { "runs the wrong way" } },
    { "lookup", NAMED(LOOKUP_SHIFTED), { AG_CAUSE_WRONG_INDEX, AG_CAUSE_BATCH_MIXED },
      { "entry i - 1, modulo", "off by" } },
    { "lookup", NAMED(LOOKUP_ASSIGNED), { AG_CAUSE_NOT_ACCUMULATED }, { "= where += is meant" } },
    { "drop", NAMED(DROP_REDRAWN), { AG_CAUSE_MASK_DRAWN_AGAIN }, { "drawn again" } },
    { "silu", NAMED(SILU_CUT), { AG_CAUSE_SLOPE }, { "detached" } },
};

enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- Running one ---- */

typedef struct bench {
    const kind_function *f;
    kind_shape shape;
    ag_array array[4]; /* the inputs, then the output */
    int64_t count[4];  /* their elements */
    double value[4][400];
    bool single;
} bench;

static double kind_draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) * 0x1p-24;
}

/* Sizes and values of a seed. */
static void bench_make(bench *b, const kind *k, bool single, uint64_t seed)
{
    uint64_t state = seed * 77 + 5;
    int f = 0;
    while (strcmp(functions[f].name, k->function) != 0)
        f++;
    b->f = &functions[f];
    b->single = single;
    b->shape = (kind_shape){ .mistake = k->mistake, .eps = seed % 2 == 0 ? 1e-2 : 1e-1 };
    static const int least[] = { 4, 6, 3, 3, 3 };
    for (int d = 0; d < 5; d++)
        b->shape.n[d] = least[d] + (int)(3 * kind_draw(&state));
    if (b->f->inputs == 1 || b->f->array[0].dims[1] < 0) /* a single dim */
        b->shape.n[0] += b->f->array[0].dims[1] < 0 ? 8 : 1;
    if (b->f->function[0].forward == convolution) {
        b->shape.n[0] = 2;
        b->shape.n[1] = 2 + (int)(seed % 2);
        b->shape.n[2] = 9;
        b->shape.n[4] = 3;
    } else if (b->f->function[0].forward == lookup) {
        b->shape.n[2] = b->shape.n[0] + 2;
    }
    for (int i = 0; i <= b->f->inputs; i++) {
        b->array[i] = (ag_array){ .name = b->f->array[i].name, .value = b->value[i] };
        b->count[i] = 1;
        for (int d = 0; b->f->array[i].dims[d] >= 0; d++) {
            int of = b->f->array[i].dims[d];
            int extent = of == CONV_LENGTH ? (b->shape.n[2] + 2 - b->shape.n[4]) / 2 + 1
                         : of == TWICE     ? 2 * b->shape.n[1]
                                           : b->shape.n[of];
            b->array[i].shape[b->array[i].ndim++] = extent;
            b->count[i] *= extent;
        }
        for (int64_t e = 0; e < b->count[i]; e++) {
            double u = 2 * kind_draw(&state) - 1;
            b->value[i][e] = (double)(float)(i == 0 ? 1.7 * u : u + (u < 0 ? -0.3 : 0.3));
        }
    }
    memset(accumulated, 0, sizeof accumulated);
    memset(accumulated_float, 0, sizeof accumulated_float);
}

static ag_gradcheck_result bench_run(ag_ctx *ctx, bench *b)
{
    const kind_function *f = b->f;
    static float single[4][400];
    ag_array_function function = f->function[b->single];
    function.user = &b->shape;
    for (int i = 0; b->single && i < f->inputs; i++) {
        for (int64_t e = 0; e < b->count[i]; e++)
            single[i][e] = (float)b->value[i][e];
        b->array[i].value = NULL;
        b->array[i].value_f32 = single[i];
    }
    return ag_gradcheck_arrays(ctx, function, b->array, f->inputs, &b->array[f->inputs], 1,
                               (ag_gradcheck_config){ .name = f->name });
}

typedef enum outcome { RIGHT, VAGUE, MISLEADING, MISSED } outcome;

static outcome kind_outcome(const kind *k, const ag_gradcheck_result *r)
{
    bool known = false, said = false;
    for (int i = 0; i < CAUSES; i++) {
        known |= r->worst.cause == k->cause[i] && k->cause[i] != AG_CAUSE_NONE;
        said |= k->words[i] != NULL && strstr(r->explanation, k->words[i]) != NULL;
    }
    return r->verdict == AG_PASS                ? MISSED
           : known && said                      ? RIGHT
           : r->worst.cause <= AG_CAUSE_UNKNOWN || known ? VAGUE
                                                : MISLEADING;
}

/* A line of the table that `make gradcheck-kinds` prints. */
static void kind_print(const char *function, const char *name, const outcome of[2])
{
    static const char *const words[] = { "right", "vague", "misleading", "missed" };
    bool single = strcmp(name, "GELU_SINGLE") != 0; /* to round to float is no mistake in float */
    if (getenv("AG_GRADCHECK_KINDS") != NULL)
        printf("kind: %-14s %-24s %-10s %s\n", function, name, words[of[0]], single ? words[of[1]] : "-");
    fflush(stdout);
}

/* Every kind at several sizes; the worst outcome of each type counts. */
START_TEST(each_kind_is_named)
{
    static bench b;
    const kind *k = &kinds[_i];
    outcome worst[2] = { RIGHT, RIGHT };
    char wrong[AG_EXPLANATION + 200] = "";
    for (uint64_t seed = 2; seed < 8; seed++) { /* three of each type */
        bool single = seed % 2 == 1;
        if (single && k->mistake == GELU_SINGLE) /* that is right */
            continue;
        ag_ctx *ctx = test_begin();
        bench_make(&b, k, single, seed / 2);
        ag_gradcheck_result r = bench_run(ctx, &b);
        outcome of = kind_outcome(k, &r);
        worst[single] = of > worst[single] ? of : worst[single];
        if (of != RIGHT)
            snprintf(wrong, sizeof wrong, "%s of %s, %s, seed %d: %s, %s: %s", k->function,
                     single ? "float" : "double", k->name, (int)seed / 2, ag_verdict_name(r.verdict),
                     ag_cause_name(r.worst.cause), r.explanation);
        test_end(ctx);
    }
    kind_print(k->function, k->name, worst);
    ck_assert_msg(worst[0] == RIGHT && worst[1] == RIGHT, "%s", wrong);
}
END_TEST

/* The same functions without a mistake. In float a derivative may be undecided. */
START_TEST(without_the_mistake_it_passes)
{
    static bench b;
    kind k = kinds[_i];
    if (k.mistake == RUNNING_FORWARDS || k.mistake == DROP_REDRAWN || k.mistake == SILU_CUT ||
        k.mistake == TANH_OF_INPUT || k.mistake == SIGMOID_OF_INPUT) /* there is no right one */
        return;
    k.mistake = k.mistake >= GELU_TANH_FIRST && k.mistake <= GELU_ERF_SLOPE ? GELU_TANH_RIGHT : NO_MISTAKE;
    ag_ctx *ctx = test_begin();
    for (int single = 0; single < 2; single++) {
        bench_make(&b, &k, single == 1, 7);
        ag_gradcheck_result r = bench_run(ctx, &b);
        ck_assert_msg(r.verdict == AG_PASS || (single == 1 && r.verdict == AG_INCONCLUSIVE), "%s, %d: %s", k.function,
                      single, r.explanation);
    }
    test_end(ctx);
}
END_TEST

/* ---- Outputs that are not finite ---- */

/* y = log(1 + exp(x)) without care: infinite where exp(x) is, or -infinity where x is masked. */
typedef enum overflow_case {
    OVERFLOWS, OVERFLOWS_AND_WRONG, OVERFLOWS_TO_NAN, ALL_OVERFLOW, FORGETS_OVERFLOW, MASKED, OVERFLOW_CASES
} overflow_case;

static void naive_softplus(const double *const *x, double *const *y, void *user)
{
    const overflow_case *what = user;
    for (int i = 0; i < 12; i++)
        y[0][i] = *what == MASKED && x[0][i] > 900 ? -(double)INFINITY : log(1 + exp(x[0][i]));
}

static void naive_softplus_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const overflow_case *what = user;
    for (int i = 0; i < 12; i++) {
        bool forgotten = (*what == MASKED || *what == FORGETS_OVERFLOW) && x[0][i] > 900;
        double slope = *what == OVERFLOWS_TO_NAN ? exp(x[0][i]) / (1 + exp(x[0][i])) : 1 / (1 + exp(-x[0][i]));
        gx[0][i] = forgotten ? 0 : (*what == OVERFLOWS_AND_WRONG ? 1.01 : 1) * gy[0][i] * slope;
    }
}

/* The same on complex numbers near the real ones. */
static void complex_softplus(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++) {
        y[0][2 * i] = log(1 + exp(x[0][2 * i]));
        y[0][2 * i + 1] = x[0][2 * i + 1] / (1 + exp(-x[0][2 * i]));
    }
}

START_TEST(infinite_outputs_are_left_out)
{
    static const struct verdict {
        ag_verdict verdict;
        const char *words;
    } wanted[OVERFLOW_CASES] = {
        [OVERFLOWS] = { AG_INCONCLUSIVE, "2 of 12 outputs are not finite and left out; output 0 at [0,3] is inf." },
        [OVERFLOWS_AND_WRONG] = { AG_FAIL, "2 of 12 outputs are not finite and left out" },
        [OVERFLOWS_TO_NAN] = { AG_INCONCLUSIVE, "2 of 12 outputs are not finite and left out" },
        [ALL_OVERFLOW] = { AG_INCONCLUSIVE, "12 of 12 outputs are not finite and left out" },
        [FORGETS_OVERFLOW] = { AG_INCONCLUSIVE, "2 of 12 outputs are not finite and left out" },
        [MASKED] = { AG_PASS, "" },
    };
    overflow_case what = (overflow_case)(_i / 2);
    double value[12];
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < 12; i++)
        value[i] = what == ALL_OVERFLOW || i % 5 == 3 ? 1000 + i : 0.3 * i - 1;
    ag_array x = { .value = value, .ndim = 2, .shape = { 3, 4 } }, y = { .ndim = 2, .shape = { 3, 4 } };
    ag_array_function f = { naive_softplus, naive_softplus_backward, .user = &what };
    ag_gradcheck_config config = { .elements = _i % 2 == 0 ? 0 : 6 }; /* by elements, or along directions */
    config.complex_step = what == OVERFLOWS_AND_WRONG ? complex_softplus : NULL;
    ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, &x, 1, &y, 1, config);
    ck_assert_msg(r.verdict == wanted[what].verdict && strstr(r.explanation, wanted[what].words) != NULL,
                  "%d: %s, %s: %s", _i, ag_verdict_name(r.verdict), ag_cause_name(r.worst.cause), r.explanation);
    test_end(ctx);
}
END_TEST

/* ---- Kinds that need tensors ---- */

/* y = x sigmoid(x), the sigmoid detached. */
static void cut(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_mul(x[0], ag_detach(ag_sigmoid(x[0])));
}

/* y = x times a mask, half of it 0. */
static ag_tensor *mask_of(ag_tensor *x)
{
    return ag_dropout(ag_full(ag_ctx_of(x), ag_dtype_of(x), ag_ndim(x), ag_shape(x), 1), 0.5);
}

static void drawing_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_mul(v->gy, mask_of(v->gy)));
}

static const ag_op drawing_op = { .name = "drawing", .arity = 1, .vjp = drawing_vjp };

static void drawn_again(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *plain = ag_detach(x[0]);
    y[0] = ag_record(&drawing_op, ag_mul(plain, mask_of(plain)), x, 1, NULL, 0, NULL);
}

/* y = x^2, whose vjp reads an input that the op does not keep. */
static void forgetful_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_scale(ag_mul(v->gy, v->input[0]), 2));
}

static const ag_op forgetful_op = { .name = "forgetful", .arity = 1, .keep = AG_KEEP_NONE, .vjp = forgetful_vjp };

static void flag_forgotten(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *plain = ag_detach(x[0]);
    y[0] = ag_record(&forgetful_op, ag_mul(plain, plain), x, 1, NULL, 0, NULL);
}

/* y = x, whose vjp gives twice the gradient where |x| < 0.6. */
static void branching_vjp(ag_vjp *v)
{
    ag_tensor *beyond = ag_add_scalar(ag_neg(ag_abs(v->input[0])), 0.6);
    ag_vjp_add(v, 0, ag_mul(v->gy, ag_add_scalar(ag_div(ag_relu(beyond), beyond), 1)));
}

static const ag_op branching_op = { .name = "branching", .arity = 1, .keep = AG_KEEP_INPUTS, .vjp = branching_vjp };

static void branch(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_record(&branching_op, ag_tensor_clone(ag_detach(x[0])), x, 1, NULL, 0, NULL);
}

/* In double the op on the tape is found, in float only the whole gradient is explained. */
static const struct tensor_kind {
    ag_gradcheck_fn *f;
    struct {
        ag_cause cause;
        const char *words;
    } of[2];
} tensor_kinds[] = {
    { cut, { { AG_CAUSE_GRAPH_CUT, "the result of 'mul' (node 2) depends on more than its recorded inputs" },
             { AG_CAUSE_SLOPE, "(detached)" } } },
    { drawn_again, { { AG_CAUSE_MASK_DRAWN_AGAIN, "it draws random numbers again" },
                     { AG_CAUSE_MASK_DRAWN_AGAIN, "random numbers drawn again" } } },
    { flag_forgotten, { { AG_CAUSE_ZERO, "The op keeps nothing (AG_KEEP_NONE): is a flag forgotten?" },
                        { AG_CAUSE_ZERO, "no gradient at all" } } },
    { branch, { { AG_CAUSE_FACTOR, "in a part: analytic is 2 times the right gradient" },
                { AG_CAUSE_FACTOR, "in a part: analytic is 2 times the right gradient" } } },
};

enum { TENSOR_KINDS = sizeof tensor_kinds / sizeof *tensor_kinds };

START_TEST(each_kind_on_a_tape_is_named)
{
    const struct tensor_kind *k = &tensor_kinds[_i / 2];
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, _i % 2 == 0 ? AG_F64 : AG_F32, AG_SHAPE(4, 5)));
    ag_tensor *unused = ag_zeros(ctx, AG_I32, AG_SHAPE(4, 5)); /* an input without values of the check */
    ag_gradcheck_result r = ag_gradcheck(ctx, k->f, (ag_tensor *[]){ x, unused }, 2, NULL, (ag_gradcheck_config){ 0 });
    ck_assert_msg(r.verdict == AG_FAIL && r.worst.cause == k->of[_i % 2].cause &&
                      strstr(r.explanation, k->of[_i % 2].words) != NULL,
                  "%d: %s, %s: %s", _i, ag_verdict_name(r.verdict), ag_cause_name(r.worst.cause), r.explanation);
    test_end(ctx);
}
END_TEST

Suite *kinds_suite(void)
{
    Suite *s = suite_create("kinds");
    TCase *c = tcase_create("kinds");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_kind_is_named, 0, KINDS);
    tcase_add_loop_test(c, without_the_mistake_it_passes, 0, KINDS);
    tcase_add_loop_test(c, infinite_outputs_are_left_out, 0, 2 * OVERFLOW_CASES);
    tcase_add_loop_test(c, each_kind_on_a_tape_is_named, 0, 2 * TENSOR_KINDS);
    suite_add_tcase(s, c);
    return s;
}
