/* SPDX-License-Identifier: MIT
 *
 * check_kernels.c - the elementwise kernels, embedding, dropout, rope and the optimizers, in every setting (see
 * kernel_settings.h), against formulas in double; gradients against central differences; the ends of products against
 * the plain kernels, bit by bit.
 */
#include "tests/tensor/kernels/kernel_settings.h"

#include <stdlib.h>

static const int64_t sizes[] = { 0, 1, 7, 33, 4096, 4097, 65537 };
enum { SIZES = (int)(sizeof sizes / sizeof *sizes) };

/* ---- Unary ----------------------------------------------------------------------------------- */

#define UNARY_CASE(op, formula, ...) UNARY_CASE_OWN(op, plain, 0, 0, formula, 0, 0)
#define UNARY_CASE_OWN(op, name, p0, p1, formula, ...)                                                       \
    static double op##_##name(double x, const double *p)                                                     \
    {                                                                                                        \
        (void)x, (void)p;                                                                                    \
        return formula;                                                                                      \
    }
#include "tests/tensor/kernels/unary_cases.def"

#define FIELD(name) offsetof(ag_real_kernels, name)

typedef struct unary_case {
    const char *name;
    double (*f)(double x, const double *p);
    size_t kernel, vjp; /* fields of ag_real_kernels */
    double p[2];
    double low, high;
} unary_case;

static const unary_case unaries[] = {
#define UNARY_CASE(op, formula, low, high, ...) UNARY_CASE_OWN(op, plain, 0, 0, formula, low, high)
#define UNARY_CASE_OWN(op, name, p0, p1, formula, low, high)                                                 \
    { #op " " #name, op##_##name, FIELD(op), FIELD(op##_vjp), { p0, p1 }, low, high },
#include "tests/tensor/kernels/unary_cases.def"
};
enum { UNARIES = (int)(sizeof unaries / sizeof *unaries) };

/* The ops that have a line in unary.def, and whether their gradients read y. */
static const struct {
    const char *name;
    size_t kernel;
    bool reads_y;
} unary_ops[] = {
#define READS_NONE false
#define READS_INPUT false
#define READS_OUTPUT true
#define AG_UNARY(op, y, cost, kept, ...) { #op, FIELD(op), READS_##kept },
#include "tensor/kernels/unary.def"
};
enum { UNARY_OPS = (int)(sizeof unary_ops / sizeof *unary_ops) };

static bool reads_y(const unary_case *c)
{
    int op = 0;
    while (unary_ops[op].kernel != c->kernel)
        op++;
    return unary_ops[op].reads_y;
}

START_TEST(every_unary_op_has_a_case)
{
    for (int op = 0; op < UNARY_OPS; op++) {
        bool found = false;
        for (int i = 0; i < UNARIES; i++)
            found = found || unaries[i].kernel == unary_ops[op].kernel;
        ck_assert_msg(found, "the op '%s' has no case in unary_cases.def", unary_ops[op].name);
    }
}
END_TEST

static ag_unary_kernel *unary_of(const setting *s, size_t field)
{
    ag_unary_kernel *kernel = NULL;
    memcpy(&kernel, (const char *)s->k + field, sizeof kernel);
    return kernel;
}

static ag_unary_vjp_kernel *unary_vjp_of(const setting *s, size_t field)
{
    ag_unary_vjp_kernel *kernel = NULL;
    memcpy(&kernel, (const char *)s->k + field, sizeof kernel);
    return kernel;
}

START_TEST(unaries_match_their_formulas)
{
    const unary_case *c = &unaries[_i % UNARIES];
    setting s;
    if (!setting_at(_i / UNARIES, &s))
        return;
    for (int k = 0; k < SIZES; k++) {
        const int64_t n = sizes[k];
        double *x = draw(number[0], n, 1, c->low, c->high), *want = number[1];
        for (int64_t i = 0; i < n; i++)
            want[i] = c->f(x[i], c->p);
        put(&s, memory[0], n, x);
        unary_of(&s, c->kernel)(AG_TEAM(1), n, c->p, memory[0], memory[1]);
        expect(&s, c->name, n, memory[1], want, 4, 0);
        for (int threads = 2; threads <= 3; threads++) { /* and in place */
            put(&s, memory[2], n, x);
            unary_of(&s, c->kernel)(AG_TEAM(threads), n, c->p, memory[2], memory[2]);
            expect_same_bits(&s, c->name, n, memory[1], memory[2]);
        }
    }
}
END_TEST

START_TEST(unary_gradients_match_differences)
{
    const unary_case *c = &unaries[_i % UNARIES];
    setting s;
    if (!setting_at(_i / UNARIES, &s))
        return;
    const double h = 1e-5;
    for (int k = 0; k < SIZES; k++) {
        const int64_t n = sizes[k];
        double *x = draw(number[0], n, 1, c->low, c->high), *dy = draw(number[1], n, 2, -1, 1), *want = number[2];
        for (int64_t i = 0; i < n; i++) {
            for (int kink = -1; kink <= 2; kink++) /* of relu, abs and clamp: no x near a kink */
                x[i] = fabs(x[i] - kink) < 0x1p-12 ? kink + 0x1p-10 : x[i];
            want[i] = dy[i] * (c->f(x[i] + h, c->p) - c->f(x[i] - h, c->p)) / (2 * h);
        }
        put(&s, memory[0], n, x);
        put(&s, memory[1], n, dy);
        for (int64_t i = 0; i < n; i++)
            number[3][i] = c->f(x[i], c->p);
        put(&s, memory[2], n, number[3]);
        const void *kept = reads_y(c) ? memory[2] : memory[0];
        unary_vjp_of(&s, c->vjp)(AG_TEAM(1), n, c->p, kept, memory[1], memory[3]);
        expect(&s, c->name, n, memory[3], want, 8, 1e-8);
        for (int threads = 2; threads <= 3; threads++) {
            put(&s, memory[4], n, dy);
            unary_vjp_of(&s, c->vjp)(AG_TEAM(threads), n, c->p, kept, memory[4], memory[4]);
            expect_same_bits(&s, c->name, n, memory[3], memory[4]);
        }
    }
}
END_TEST

/* f(x) of one number. */
static double apply(const setting *s, size_t field, double x, double p0, double p1)
{
    const double p[2] = { p0, p1 };
    double in[1], out[1];
    unary_of(s, field)(AG_TEAM(1), 1, p, put(s, in, 1, &x), out);
    return at(s, out, 0);
}

static double slope(const setting *s, size_t field, double v, double p0, double p1)
{
    const double p[2] = { p0, p1 }, one = 1;
    double in[1], dy[1], out[1];
    put(s, in, 1, &v);
    unary_vjp_of(s, field)(AG_TEAM(1), 1, p, in, put(s, dy, 1, &one), out);
    return at(s, out, 0);
}

START_TEST(unaries_at_special_values)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    ck_assert(isnan(apply(&s, FIELD(relu), nan(""), 0, 0)) && isnan(apply(&s, FIELD(clamp), nan(""), -1, 1)));
    ck_assert(slope(&s, FIELD(relu_vjp), 0, 0, 0) == 0 && slope(&s, FIELD(abs_vjp), 0, 0, 0) == 0);
    ck_assert(slope(&s, FIELD(clamp_vjp), -1, -1, 2) == 1 && slope(&s, FIELD(clamp_vjp), 2, -1, 2) == 1);
    ck_assert(apply(&s, FIELD(sigmoid), -1e30, 0, 0) == 0 && apply(&s, FIELD(sigmoid), 1e30, 0, 0) == 1);
    ck_assert(apply(&s, FIELD(sigmoid), -HUGE_VAL, 0, 0) == 0 && apply(&s, FIELD(sigmoid), HUGE_VAL, 0, 0) == 1);
    ck_assert(apply(&s, FIELD(silu), -1e30, 0, 0) == 0 && slope(&s, FIELD(silu_vjp), -1e30, 0, 0) == 0);
    ck_assert(slope(&s, FIELD(silu_vjp), 1e30, 0, 0) == 1);
    const size_t gelus[] = { FIELD(gelu), FIELD(gelu_tanh) }, slopes[] = { FIELD(gelu_vjp), FIELD(gelu_tanh_vjp) };
    for (int k = 0; k < 2; k++) {
        ck_assert(apply(&s, gelus[k], -1e30, 0, 0) == 0 && apply(&s, gelus[k], 0x1p100, 0, 0) == 0x1p100);
        ck_assert(slope(&s, slopes[k], -1e30, 0, 0) == 0 && slope(&s, slopes[k], 1e30, 0, 0) == 1);
        ck_assert(slope(&s, slopes[k], 0, 0, 0) == 0.5);
    }
    const double third = (double)(float)(1.0 / 3);
    ck_assert(apply(&s, FIELD(pow), -3, 2, 0) == 9 && apply(&s, FIELD(pow), -3, 3, 0) == -27);
    ck_assert(apply(&s, FIELD(pow), third, 1, 0) == third && apply(&s, FIELD(pow), nan(""), 0, 0) == 1);
    ck_assert(apply(&s, FIELD(pow), 2.25, 0.5, 0) == 1.5 && apply(&s, FIELD(pow), 8, -1, 0) == 0.125);
    ck_assert(slope(&s, FIELD(pow_vjp), 0, 0, 0) == 0 && slope(&s, FIELD(pow_vjp), 0, 2, 0) == 0);
}
END_TEST

/* ---- Binary, where --------------------------------------------------------------------------- */

static double add_f(double a, double b) { return a + b; }
static double sub_f(double a, double b) { return a - b; }
static double mul_f(double a, double b) { return a * b; }
static double div_f(double a, double b) { return a / b; }
static double maximum_f(double a, double b) { return a > b ? a : b; }
static double minimum_f(double a, double b) { return a < b ? a : b; }
static double equal_f(double a, double b) { return a == b ? 1 : 0; }
static double maximum_slope(double a, double b) { return a > b ? 1 : a == b ? 0.5 : 0; }
static double minimum_slope(double a, double b) { return a < b ? 1 : a == b ? 0.5 : 0; }

static const struct {
    const char *name;
    double (*f)(double a, double b);
    double (*slope)(double a, double b);
    size_t kernel, vjp;
} binaries[] = {
    { "add", add_f, NULL, FIELD(add), 0 },
    { "sub", sub_f, NULL, FIELD(sub), 0 },
    { "mul", mul_f, NULL, FIELD(mul), 0 },
    { "div", div_f, NULL, FIELD(div), 0 },
    { "equal", equal_f, NULL, FIELD(equal), 0 },
    { "maximum", maximum_f, maximum_slope, FIELD(maximum), FIELD(maximum_vjp) },
    { "minimum", minimum_f, minimum_slope, FIELD(minimum), FIELD(minimum_vjp) },
};
enum { BINARIES = (int)(sizeof binaries / sizeof *binaries) };

START_TEST(binaries_match_their_formulas)
{
    setting s;
    if (!setting_at(_i / BINARIES, &s))
        return;
    const int op = _i % BINARIES;
    ag_binary_kernel *kernel = NULL;
    ag_binary_vjp_kernel *vjp = NULL;
    memcpy(&kernel, (const char *)s.k + binaries[op].kernel, sizeof kernel);
    memcpy(&vjp, (const char *)s.k + binaries[op].vjp, sizeof vjp);
    double *a = draw(number[0], MOST, 1, -3, 3), *b = draw(number[1], MOST, 2, 0.5, 3), *dy = number[2];
    draw(dy, MOST, 3, -1, 1);
    for (int64_t i = 0; i < MOST; i += 5)
        b[i] = a[i]; /* ties */
    put(&s, memory[0], MOST, a);
    put(&s, memory[1], MOST, b);
    put(&s, memory[2], MOST, dy);
    for (int k = 0; k < SIZES * 9; k++) {
        const int64_t sa = k % 3, sb = k / 3 % 3, n = sizes[k / 9] / (sa == 2 || sb == 2 ? 2 : 1);
        const ag_operand a_at = { memory[0], sa }, b_at = { memory[1], sb };
        for (int64_t i = 0; i < n; i++)
            number[3][i] = binaries[op].f(a[i * sa], b[i * sb]);
        kernel(AG_TEAM(1), n, a_at, b_at, memory[3]);
        expect(&s, binaries[op].name, n, memory[3], number[3], 1, 0);
        kernel(AG_TEAM(3), n, a_at, b_at, memory[4]);
        expect_same_bits(&s, binaries[op].name, n, memory[3], memory[4]);
        if (binaries[op].vjp == 0)
            continue;
        for (int64_t i = 0; i < n; i++)
            number[3][i] = dy[i] * binaries[op].slope(a[i * sa], b[i * sb]);
        vjp(AG_TEAM(1), n, a_at, b_at, memory[2], memory[3]);
        expect(&s, binaries[op].name, n, memory[3], number[3], 0, 0);
        vjp(AG_TEAM(3), n, a_at, b_at, memory[2], memory[4]);
        expect_same_bits(&s, binaries[op].name, n, memory[3], memory[4]);
    }
}
END_TEST

START_TEST(nan_passes_through_maximum_and_minimum)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    const double a[] = { nan(""), 1, nan("") }, b[] = { 1, nan(""), nan("") }, want[] = { nan(""), nan(""), nan("") };
    put(&s, memory[0], 3, a);
    put(&s, memory[1], 3, b);
    s.k->maximum(AG_TEAM(1), 3, (ag_operand){ memory[0], 1 }, (ag_operand){ memory[1], 1 }, memory[2]);
    expect(&s, "maximum", 3, memory[2], want, 0, 0);
    s.k->minimum(AG_TEAM(1), 3, (ag_operand){ memory[0], 1 }, (ag_operand){ memory[1], 1 }, memory[2]);
    expect(&s, "minimum", 3, memory[2], want, 0, 0);
}
END_TEST

START_TEST(where_chooses)
{
    static int32_t cond[MOST];
    setting s;
    if (!setting_at(_i, &s))
        return;
    double *a = draw(number[0], MOST, 1, -3, 3), *b = draw(number[1], MOST, 2, 4, 5);
    b[0] = nan(""); /* NaN that is not chosen does not reach the result */
    for (int64_t i = 0; i < MOST; i++)
        cond[i] = (int32_t)(i % 3 == 0 ? -1 : 0);
    put(&s, memory[0], MOST, a);
    put(&s, memory[1], MOST, b);
    for (int k = 0; k < SIZES * 8; k++) {
        const int64_t n = sizes[k / 8], sc = k % 2, sa = k / 2 % 2, sb = k / 4 % 2;
        const ag_operand c_at = { cond, sc }, a_at = { memory[0], sa }, b_at = { memory[1], sb };
        for (int64_t i = 0; i < n; i++)
            number[2][i] = cond[i * sc] != 0 ? a[i * sa] : b[i * sb];
        s.k->where(AG_TEAM(1), n, c_at, a_at, b_at, memory[2]);
        expect(&s, "where", n, memory[2], number[2], 0, 0);
        s.k->where(AG_TEAM(2), n, c_at, a_at, b_at, memory[3]);
        expect_same_bits(&s, "where", n, memory[2], memory[3]);
    }
}
END_TEST

/* ---- The ends of products --------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t epilogue, kernel, vjp; /* vjp 0: `other` is no slope */
} epilogues[] = {
    { "add_epilogue", FIELD(add_epilogue), FIELD(add), 0 },
    { "relu_epilogue", FIELD(relu_epilogue), FIELD(relu), 0 },
    { "gelu_epilogue", FIELD(gelu_epilogue), FIELD(gelu), FIELD(gelu_vjp) },
    { "gelu_tanh_epilogue", FIELD(gelu_tanh_epilogue), FIELD(gelu_tanh), FIELD(gelu_tanh_vjp) },
    { "silu_epilogue", FIELD(silu_epilogue), FIELD(silu), FIELD(silu_vjp) },
};
enum { EPILOGUES = (int)(sizeof epilogues / sizeof *epilogues) };

/* Every second value is special: near the end of gelu's tail, not finite, or zero of either sign. */
static double *draw_special(double *values, int64_t n, uint32_t seed)
{
    const double special[] = { 0, -0.0, nan(""), HUGE_VAL, -HUGE_VAL, 13, -13, 12.75, -12.75, 13.25, -13.25, 1e30,
                               -1e30, 0x1p-140, -0x1p-140, 88, -88, -104, 5 };
    draw(values, n, seed, -15, 15);
    for (int64_t i = 0; i < n; i += 2)
        values[i] = special[i / 2 % (int64_t)(sizeof special / sizeof *special)];
    return values;
}

/* The same bits; any NaN equals any NaN. */
static void expect_bits(const setting *s, const char *what, int64_t n, const void *got, const void *want)
{
    for (int64_t i = 0; i < n; i++) {
        const size_t skip = (size_t)i * s->size;
        if (isnan(at(s, got, i)) && isnan(at(s, want, i)))
            continue;
        if (memcmp((const char *)got + skip, (const char *)want + skip, s->size) != 0) {
            char text[200];
            snprintf(text, sizeof text, "%s (%s, %d bytes): [%lld] is %.17g, not %.17g", what, s->isa, (int)s->size,
                     (long long)i, at(s, got, i), at(s, want, i));
            ck_abort_msg("%s", text);
        }
    }
}

/* c in memory[0], `other` in memory[1]; what both must be is made in memory[2] and [3], with the plain kernels. What
 * lies between the rows and behind the last one stays as it is. */
static void check_epilogue(const setting *s, int op, int64_t rows, int64_t columns, int64_t c_row)
{
    const int64_t n = rows * c_row + 9;
    const bool sloped = epilogues[op].vjp != 0;
    ag_epilogue_kernel *epilogue = NULL;
    ag_binary_kernel *add = NULL;
    memcpy(&epilogue, (const char *)s->k + epilogues[op].epilogue, sizeof epilogue);
    memcpy(&add, (const char *)s->k + epilogues[op].kernel, sizeof add);
    draw_special(number[0], n, 1);
    draw_special(number[1], n, 2);
    draw(number[2], n, 3, -1, 1);
    for (int k = 0; k < 4; k++)
        put(s, memory[k], n, number[k % 2]);
    put(s, memory[4], n, number[2]); /* dy */
    for (int64_t i = 0; i < n; i++)
        number[3][i] = 1;
    put(s, memory[5], n, number[3]);
    for (int64_t i = 0; i < rows; i++) {
        const size_t skip = (size_t)(i * c_row) * s->size;
        const char *x = (const char *)memory[0] + skip, *one = (const char *)memory[5] + skip;
        char *y = (char *)memory[2] + skip, *slope = (char *)memory[3] + skip;
        if (op == 0)
            add(AG_TEAM(1), columns, (ag_operand){ x, 1 }, (ag_operand){ slope, 1 }, y);
        else
            unary_of(s, epilogues[op].kernel)(AG_TEAM(1), columns, NULL, x, y);
        if (sloped)
            unary_vjp_of(s, epilogues[op].vjp)(AG_TEAM(1), columns, NULL, x, one, slope);
    }
    epilogue(rows, columns, memory[0], c_row, memory[1]);
    expect_bits(s, epilogues[op].name, n, memory[0], memory[2]);
    expect_bits(s, epilogues[op].name, n, memory[1], memory[3]);
    put(s, memory[0], n, number[0]);
    for (int64_t i = 0; i < rows && sloped; i++) { /* dy f' */
        const size_t skip = (size_t)(i * c_row) * s->size;
        const char *x = (const char *)memory[0] + skip, *dy = (const char *)memory[4] + skip;
        unary_vjp_of(s, epilogues[op].vjp)(AG_TEAM(1), columns, NULL, x, dy, memory[6]);
        const ag_operand slopes = { (const char *)memory[1] + skip, 1 };
        s->k->mul(AG_TEAM(1), columns, (ag_operand){ dy, 1 }, slopes, memory[7]);
        expect_bits(s, epilogues[op].name, columns, memory[7], memory[6]);
    }
    if (op == 0)
        return;
    epilogue(rows, columns, memory[0], c_row, NULL);
    expect_bits(s, epilogues[op].name, n, memory[0], memory[2]);
}

START_TEST(epilogues_are_their_kernels)
{
    static const int64_t columns[] = { 0, 1, 7, 15, 16, 17, 33, 100 }, rows[] = { 0, 1, 5, 9 }, gaps[] = { 0, 1, 19 };
    setting s;
    if (!setting_at(_i / EPILOGUES, &s))
        return;
    for (int k = 0; k < 8 * 4 * 3; k++)
        check_epilogue(&s, _i % EPILOGUES, rows[k / 8 % 4], columns[k % 8], columns[k % 8] + gaps[k / 32]);
}
END_TEST

/* ---- embedding, dropout ---------------------------------------------------------------------- */

START_TEST(embedding_gathers_and_scatters)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    enum { N = 700, VOCAB = 11 };
    int32_t index[N];
    const int64_t widths[] = { 1, 33, 100 };
    for (int i = 0; i < N; i++)
        index[i] = (i * 7 + i / 9) % VOCAB;
    for (int k = 0; k < 3; k++) {
        const int64_t C = widths[k];
        double *table = draw(number[0], VOCAB * C, 1, -1, 1), *dy = draw(number[1], N * C, 2, -1, 1);
        double *dtable = draw(number[2], VOCAB * C, 3, -1, 1); /* the kernel adds to these */
        put(&s, memory[0], VOCAB * C, table);
        put(&s, memory[1], N * C, dy);
        put(&s, memory[2], VOCAB * C, dtable);
        put(&s, memory[3], VOCAB * C, dtable);
        for (int64_t i = 0; i < N * C; i++) {
            number[3][i] = table[index[i / C] * C + i % C];
            dtable[index[i / C] * C + i % C] += dy[i];
        }
        for (int threads = 1; threads <= 3; threads++) {
            s.k->embedding(AG_TEAM(threads), N, C, index, memory[0], memory[4]);
            expect(&s, "embedding", N * C, memory[4], number[3], 0, 0);
        }
        s.k->embedding_vjp(AG_TEAM(1), N, C, index, memory[1], memory[2]);
        expect(&s, "embedding_vjp", VOCAB * C, memory[2], dtable, 32, 0);
        s.k->embedding_vjp(AG_TEAM(3), N, C, index, memory[1], memory[3]);
        expect_same_bits(&s, "embedding_vjp", VOCAB * C, memory[2], memory[3]);
    }
}
END_TEST

START_TEST(dropout_draws_by_element)
{
    setting s, plain;
    if (!setting_at(_i, &s) || !setting_at(6 + _i % 2, &plain))
        return;
    const ag_dropout_stream stream = { .p = 0.25, .seed = 42, .counter = 1000 };
    const int64_t n = 65537;
    double *x = draw(number[0], n, 1, 1, 2);
    x[5] = nan("");
    put(&s, memory[0], n, x);
    s.k->dropout(AG_TEAM(1), n, &stream, memory[0], memory[1]);
    int64_t dropped = 0;
    for (int64_t i = 0; i < n; i++) {
        const double y = at(&s, memory[1], i);
        dropped += y == 0;
        ck_assert(y == 0 || isnan(x[i]) || fabs(y - x[i] / 0.75) <= 4 * s.eps);
    }
    ck_assert(llabs(dropped - n / 4) < 500); /* 4.5 standard deviations */
    plain.k->dropout(AG_TEAM(1), n, &stream, memory[0], memory[2]);
    expect_same_bits(&s, "dropout", n, memory[1], memory[2]);
    memcpy(memory[2], memory[0], (size_t)n * s.size);
    s.k->dropout(AG_TEAM(3), n, &stream, memory[2], memory[2]);
    expect_same_bits(&s, "dropout", n, memory[1], memory[2]);
    /* From element 4 on the draw is that of the stream one block later. */
    const ag_dropout_stream later = { .p = 0.25, .seed = 42, .counter = 1001 };
    put(&s, memory[3], n - 4, x + 4);
    s.k->dropout(AG_TEAM(1), n - 4, &later, memory[3], memory[3]);
    expect_same_bits(&s, "dropout", n - 4, (const char *)memory[1] + 4 * s.size, memory[3]);
    const ag_dropout_stream none = { .p = 0, .seed = 42, .counter = 1000 };
    s.k->dropout(AG_TEAM(1), n, &none, memory[0], memory[2]);
    expect(&s, "dropout", n, memory[2], x, 0, 0);
}
END_TEST

/* ---- rope ------------------------------------------------------------------------------------ */

/* Of x[B,T,H,D] into y[B,H,T,D]. A table of any numbers: its transpose is then not its inverse. */
static void check_rope(const setting *s, int64_t R, int64_t D, bool neighbours, bool given)
{
    enum { B = 2, H = 3, T = 90, P = 97 };
    static int32_t positions[B * T];
    const int64_t n = B * T * H * D;
    const double *x = draw(number[0], n, 1, -2, 2), *table = draw(number[1], P * R, 2, -1, 1);
    const double *dy = draw(number[4], n, 3, -1, 1);
    double *y = number[2], *dx = number[3];
    for (int64_t i = 0; i < B * T; i++)
        positions[i] = (int32_t)(i * 31 % P);
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = i % D, t = i / D % T, h = i / D / T % H, b = i / D / T / H;
        const int64_t from = ((b * T + t) * H + h) * D, to = i - c; /* rows of x and of y */
        const int64_t half = neighbours ? 1 : R / 2, turn = (neighbours ? c / 2 : c % (R / 2));
        const bool second = neighbours ? c % 2 == 1 : c >= R / 2;
        const double *row = table + (given ? positions[b * T + t] : t) * R;
        y[i] = x[from + c];
        dx[from + c] = dy[i];
        if (c < R) {
            const int64_t other = second ? c - half : c + half;
            y[i] = x[from + c] * row[turn] + (second ? 1 : -1) * x[from + other] * row[R / 2 + turn];
            dx[from + c] = dy[i] * row[turn] + (second ? -1 : 1) * dy[to + other] * row[R / 2 + turn];
        }
    }
    ag_rope_args args = {
        .B = B, .H = H, .T = T, .D = D, .R = R, .neighbours = neighbours,
        .table = put(s, memory[1], P * R, table), .positions = given ? positions : NULL,
        .x = put(s, memory[0], n, x), .x_batch = T * H * D, .x_head = D, .x_time = H * D,
        .y = memory[2], .y_batch = H * T * D, .y_head = T * D, .y_time = D,
    };
    s->k->rope(AG_TEAM(1), &args);
    expect(s, "rope", n, memory[2], y, 4, 0);
    args.y = memory[3];
    s->k->rope(AG_TEAM(3), &args);
    expect_same_bits(s, "rope", n, memory[2], memory[3]);
    const ag_rope_args back = {
        .B = B, .H = H, .T = T, .D = D, .R = R, .neighbours = neighbours, .back = true,
        .table = memory[1], .positions = args.positions,
        .x = put(s, memory[4], n, dy), .x_batch = H * T * D, .x_head = T * D, .x_time = D,
        .y = memory[5], .y_batch = T * H * D, .y_head = D, .y_time = H * D,
    };
    s->k->rope(AG_TEAM(1), &back);
    expect(s, "rope back", n, memory[5], dx, 4, 0);
}

START_TEST(rope_turns_pairs)
{
    static const int64_t widths[][2] = { { 2, 2 }, { 2, 5 }, { 8, 8 }, { 34, 37 }, { 64, 64 }, { 66, 67 } }; /* R, D */
    setting s;
    if (!setting_at(_i, &s))
        return;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int k = 0; k < 4; k++)
            check_rope(&s, widths[w][0], widths[w][1], k & 1, k & 2);
}
END_TEST

/* ---- Optimizers ------------------------------------------------------------------------------ */

/* `s` as a list of parameters, in pieces of these sizes and a rest. */
enum { PARTS = 7 };
static void split_step(const setting *s, const ag_step *whole, ag_step *list)
{
    static const int64_t parts[PARTS] = { 1, 0, 4095, 4097, 63, 0, 12000 };
    int64_t begin = 0;
    for (int k = 0; k <= PARTS; k++) {
        const size_t skip = (size_t)begin * s->size;
        list[k] = *whole;
        list[k].n = k < PARTS ? parts[k] : whole->n - begin;
        list[k].g = (const char *)whole->g + skip;
        list[k].param = (char *)whole->param + skip;
        for (int i = 0; i < 2; i++)
            list[k].state[i] = whole->state[i] == NULL ? NULL : (char *)whole->state[i] + skip;
        begin += list[k].n;
    }
}

START_TEST(sgd_steps_as_its_rule_says)
{
    static const struct { double momentum, dampening, decay; bool nesterov; } rules[] = {
        { 0, 0, 0, false }, { 0, 0, 0.1, false }, { 0.9, 0, 0, false }, { 0.9, 0.5, 0.1, false }, { 0.8, 0, 0.1, true },
    };
    enum { RULES = (int)(sizeof rules / sizeof *rules) };
    setting s;
    if (!setting_at(_i, &s))
        return;
    const int64_t n = 40001;
    for (int k = 0; k < RULES; k++) {
        ag_sgd_step_args a = { .lr = 0.1, .momentum = rules[k].momentum, .dampening = rules[k].dampening,
                               .weight_decay = rules[k].decay, .grad_scale = 0.5, .nesterov = rules[k].nesterov,
                               .first = true };
        double *w = draw(number[0], n, 1, -1, 1), *buf = number[1], *g = draw(number[2], n, 2, -1, 1);
        put(&s, memory[0], n, w);
        put(&s, memory[1], n, w);
        memset(memory[2], 0xff, sizeof memory[2]); /* NaN: the first step must not read the buffer */
        memset(memory[3], 0xff, sizeof memory[3]);
        for (int step = 0; step < 3; step++, a.first = false) {
            put(&s, memory[4], n, g);
            put(&s, memory[5], n, g);
            void *buffer = a.momentum == 0 ? NULL : memory[2], *other = a.momentum == 0 ? NULL : memory[3];
            ag_step list[PARTS + 1];
            s.k->sgd(AG_TEAM(1), 1, &(ag_step){ n, memory[4], memory[0], { buffer, NULL }, &a });
            split_step(&s, &(ag_step){ n, memory[4], memory[1], { other, NULL }, &a }, list);
            s.k->sgd(AG_TEAM(3), PARTS + 1, list);
            expect_same_bits(&s, "sgd: g is unchanged", n, memory[4], memory[5]);
            for (int64_t i = 0; i < n; i++) {
                const double d = 0.5 * g[i] + a.weight_decay * w[i];
                buf[i] = step == 0 ? d : a.momentum * buf[i] + (1 - a.dampening) * d;
                w[i] -= 0.1 * (a.momentum == 0 ? d : a.nesterov ? d + a.momentum * buf[i] : buf[i]);
            }
            expect(&s, "sgd", n, memory[0], w, 8, 0);
            expect_same_bits(&s, "sgd", n, memory[0], memory[1]);
            draw(g, n, (uint32_t)step + 3, -1, 1);
        }
    }
}
END_TEST

START_TEST(adamw_steps_as_its_rule_says)
{
    setting s;
    if (!setting_at(_i, &s))
        return;
    const int64_t n = 40001;
    double *w = draw(number[0], n, 1, -1, 1), *m = number[1], *v = number[2], *g = number[3];
    memset(m, 0, sizeof number[1]);
    memset(v, 0, sizeof number[2]);
    memset(memory, 0, sizeof memory);
    put(&s, memory[0], n, w);
    put(&s, memory[3], n, w);
    for (int step = 1; step <= 3; step++) {
        const ag_adamw_step_args a = { .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1,
                                       .grad_scale = 0.5, .correction1 = 1 - pow(0.9, step),
                                       .correction2 = 1 - pow(0.99, step) };
        draw(g, n, (uint32_t)step + 1, -1, 1);
        g[7] = 0;
        put(&s, memory[6], n, g);
        ag_step list[PARTS + 1];
        s.k->adamw(AG_TEAM(1), 1, &(ag_step){ n, memory[6], memory[0], { memory[1], memory[2] }, &a });
        split_step(&s, &(ag_step){ n, memory[6], memory[3], { memory[4], memory[5] }, &a }, list);
        s.k->adamw(AG_TEAM(3), PARTS + 1, list);
        for (int64_t i = 0; i < n; i++) {
            const double d = 0.5 * g[i];
            w[i] *= 1 - a.lr * a.weight_decay;
            m[i] = a.beta1 * m[i] + (1 - a.beta1) * d;
            v[i] = a.beta2 * v[i] + (1 - a.beta2) * d * d;
            w[i] -= a.lr / a.correction1 * m[i] / (sqrt(v[i]) / sqrt(a.correction2) + a.eps);
        }
        expect(&s, "adamw", n, memory[0], w, 8, 0);
        expect(&s, "adamw m", n, memory[1], m, 4, 0);
        expect(&s, "adamw v", n, memory[2], v, 4, 0);
        expect_same_bits(&s, "adamw", n, memory[0], memory[3]);
    }
}
END_TEST

Suite *kernels_suite(void)
{
    Suite *suite = suite_create("kernels");
    TCase *elements = tcase_create("elementwise"), *rest = tcase_create("rest");
    tcase_add_test(elements, every_unary_op_has_a_case);
    tcase_add_loop_test(elements, unaries_match_their_formulas, 0, UNARIES * SETTINGS);
    tcase_add_loop_test(elements, unary_gradients_match_differences, 0, UNARIES * SETTINGS);
    tcase_add_loop_test(elements, unaries_at_special_values, 0, SETTINGS);
    tcase_add_loop_test(elements, binaries_match_their_formulas, 0, BINARIES * SETTINGS);
    tcase_add_loop_test(elements, nan_passes_through_maximum_and_minimum, 0, SETTINGS);
    tcase_add_loop_test(elements, where_chooses, 0, SETTINGS);
    tcase_add_loop_test(elements, epilogues_are_their_kernels, 0, EPILOGUES * SETTINGS);
    tcase_add_loop_test(rest, embedding_gathers_and_scatters, 0, SETTINGS);
    tcase_add_loop_test(rest, dropout_draws_by_element, 0, SETTINGS);
    tcase_add_loop_test(rest, rope_turns_pairs, 0, SETTINGS);
    tcase_add_loop_test(rest, sgd_steps_as_its_rule_says, 0, SETTINGS);
    tcase_add_loop_test(rest, adamw_steps_as_its_rule_says, 0, SETTINGS);
    suite_add_tcase(suite, elements);
    suite_add_tcase(suite, rest);
    return suite;
}
