/* SPDX-License-Identifier: MIT
 *
 * check_accuracy_products.c - the bounds of the matrix product and of attention. See check_accuracy.h.
 *
 * The plain float32 loops of the reference table have no blocks: each sum there is one chain.
 */
#include "tests/tensor/kernels/check_accuracy.h"
#include "tensor/philox.h"

#include <math.h>
#include <stdlib.h>

/* ---- gemm ------------------------------------------------------------------------------------ */

enum { KC = 512 }; /* the longest chain along k */

typedef struct product {
    int64_t m, n, k, batch;
    bool a_transposed, b_transposed, bias, accumulate;
} product;

/* Products: one rounding each where they are not fused. Chains of a block of k from zero, the blocks in a chain; bias
 * and c add two sums more. */
static bound product_element(const accuracy *a, const ag_gemm *g, const double *row, const double *column, double bias,
                             double c, double result)
{
    const double blocks = a->plain ? 1 : (double)((g->k + KC - 1) / KC);
    const sum_order order = { .chain = blocks > 1 ? ceil((double)g->k / blocks / 16) * 16 : (double)g->k,
                              .blocks = blocks > 1 ? blocks : 0 };
    terms t = { 0 };
    for (int64_t p = 0; p < g->k; p++)
        add_term(&t, row[p * g->a.col] * column[p * g->b.row]);
    bound b = plus(sum_bound(order, t), (bound){ t.size * UNIT, t.squares * UNIT * UNIT / 3 });
    if (g->bias != NULL)
        b = plus(b, rounding(fabs(bias) + fabs(t.sum)));
    if (g->accumulate)
        b = plus(b, times(rounding(fabs(c) + fabs(bias) + fabs(t.sum)), blocks > 1 ? blocks : 1));
    return plus(b, rounding(result));
}

static ag_gemm gemm_of(const product *p)
{
    return (ag_gemm){ .m = p->m, .n = p->n, .k = p->k, .batch = p->batch, .accumulate = p->accumulate,
                      .a = { NULL, p->a_transposed ? 1 : p->k, p->a_transposed ? p->m : 1, p->m * p->k },
                      .b = { NULL, p->b_transposed ? 1 : p->n, p->b_transposed ? p->k : 1, p->k * p->n },
                      .c_row = p->n, .c_batch = p->m * p->n };
}

static void multiply(accuracy *a, const ag_real_kernels *k, const ag_gemm *g)
{
    char *scratch = take(a, k->gemm_scratch(1, 1, g) + 64);
    k->gemm(AG_TEAM(1), 1, g, scratch + (64 - (uintptr_t)scratch % 64));
}

/* Sums of a's rows, as sum takes them down columns: chains of 256, then double, and one rounding. */
static void judge_sums_of_a(accuracy *a, const char *input, bool random, const product *p, const double *x,
                            numbers sums)
{
    bound *bounds = take_bounds(a, p->m);
    for (int64_t i = 0; i < p->m; i++) {
        terms t = { 0 };
        for (int64_t k = 0; k < p->k; k++)
            add_term(&t, x[k * p->m + i]);
        bounds[i] = sum_bound((sum_order){ .chain = (double)(p->k < 256 ? p->k : 256) }, t);
        add_rounding(&bounds[i], sums.f64[i]);
    }
    judge(a, input, random ? p->m : 0, p->m, sums.f32, sums.f64, bounds);
}

static void one_gemm(accuracy *a, const char *input, bool random, const product *p, numbers x, numbers y)
{
    ag_gemm g = gemm_of(p);
    const int64_t count = p->batch * p->m * p->n;
    const numbers bias = draw_uniform(a, p->n, 3, -1, 1);
    numbers c = draw_uniform(a, count, 4, -1, 1), sums = take_numbers(a, p->m);
    const bool with_sums = p->a_transposed && p->batch == 1;
    bound *bounds = take_bounds(a, count);
    double *before = take(a, (size_t)count * sizeof *before);
    for (int64_t i = 0; i < count; i++)
        before[i] = c.f64[i];
    g.a.data = x.f64, g.b.data = y.f64, g.c = c.f64, g.bias = p->bias ? bias.f64 : NULL;
    g.a_sums = with_sums ? sums.f64 : NULL;
    multiply(a, a->f64, &g);
    for (int64_t i = 0; i < count; i++) {
        const int64_t s = i / (p->m * p->n), row = i / p->n % p->m, column = i % p->n;
        bounds[i] = product_element(a, &g, x.f64 + s * g.a.batch + row * g.a.row,
                                    y.f64 + s * g.b.batch + column * g.b.col, p->bias ? bias.f64[column] : 0,
                                    p->accumulate ? before[i] : 0, c.f64[i]);
    }
    g.a.data = x.f32, g.b.data = y.f32, g.c = c.f32, g.bias = p->bias ? bias.f32 : NULL;
    g.a_sums = with_sums ? sums.f32 : NULL;
    multiply(a, a->f32, &g);
    judge(a, input, random ? count : 0, count, c.f32, c.f64, bounds);
    if (with_sums)
        judge_sums_of_a(a, input, random, p, x.f64, sums);
}

static void gemm(accuracy *a)
{
    static const product products[] = {
        { .m = 33, .n = 65, .k = 64, .batch = 3, .bias = true },
        { .m = 31, .n = 50, .k = 512, .batch = 1, .b_transposed = true },
        { .m = 14, .n = 33, .k = 1536, .batch = 1, .a_transposed = true, .accumulate = true },
        { .m = 13, .n = 33, .k = 4096, .batch = 1, .b_transposed = true },
        { .m = 1, .n = 65, .k = 4096, .batch = 1 },
        { .m = 1, .n = 65, .k = 1536, .batch = 1, .b_transposed = true, .bias = true, .accumulate = true },
        { .m = 65, .n = 1, .k = 4096, .batch = 1 },
        { .m = 5, .n = 17, .k = 1, .batch = 4 },
    };
    for (int i = 0; i < (int)(sizeof products / sizeof *products); i++) {
        const product *p = &products[i];
        const int64_t of_a = p->batch * p->m * p->k, of_b = p->batch * p->k * p->n;
        const numbers x = draw_uniform(a, of_a, 1, -1, 1), y = draw_uniform(a, of_b, 2, -1, 1);
        one_gemm(a, "either sign", true, p, x, y);
        one_gemm(a, "positive", true, p, draw_uniform(a, of_a, 5, 0, 1), draw_uniform(a, of_b, 6, 0, 1));
        one_gemm(a, "magnitudes", false, p, draw_magnitudes(a, of_a, 7, true, 0x1p-50, 0x1p50),
                 draw_magnitudes(a, of_b, 8, true, 0x1p-50, 0x1p-10));
        for (int64_t at = 0; at + 1 < of_a; at += 2) /* neighbours nearly cancel, where k runs along memory */
            set_number(x, at + 1, -x.f64[at] * (1 + 0x1p-20));
        one_gemm(a, "cancelling", false, p, x, draw_uniform(a, of_b, 9, 1, 1.01));
    }
}

/* ---- Attention: one call and everything that a bound needs of it ------------------------------ */

typedef struct problem {
    int64_t H, Hk, Tq, Tk, D, Dv;
    double spread; /* of q */
    double cap, dropout;
    bool causal, bias;
} problem;

enum { REACH = 7, KEY_TILE = 64 };

typedef struct call {
    const problem *p;
    ag_attention f32, f64;
    numbers q, k, v, o, lse, norm, bias, relative, dout, dq, dk, dv, dbias, drelative, weights;
    /* [H,Tq,Tk], of the exact result: probability, dropout's factor (0 too where masked), d score / d product */
    double *P, *factor, *slope;
    bound *of_score, *of_slope; /* errors of a score and of its slope */
    double *score;
} call;

#define ROWS(rows, columns) { .head = (rows) * (columns), .row = columns, .column = 1 }

static ag_attention describe(const problem *p)
{
    return (ag_attention){
        .B = 1, .H = p->H, .Hk = p->Hk, .Tq = p->Tq, .Tk = p->Tk, .D = p->D, .Dv = p->Dv,
        .scale = 1 / sqrt((double)p->D), .cap = p->cap,
        .mask = { .left = -1, .right = -1, .causal = p->causal, .offset = p->Tk - p->Tq },
        .dropout = { .p = p->dropout, .seed = 5, .counter = 9 },
        .q = ROWS(p->Tq, p->D), .k = ROWS(p->Tk, p->D), .v = ROWS(p->Tk, p->Dv), .o = ROWS(p->Tq, p->Dv),
        .dout = ROWS(p->Tq, p->Dv), .dq = ROWS(p->Tq, p->D), .dk = ROWS(p->Tk, p->D), .dv = ROWS(p->Tk, p->Dv),
        .bias = ROWS(p->Tq, p->Tk), .dbias = ROWS(p->Tq, p->Tk),
        .relative = ROWS(1, 2 * REACH + 1), .drelative = ROWS(1, 2 * REACH + 1), .reach = REACH,
    };
}

static double dropout_factor(const ag_attention *c, int64_t head, int64_t i, int64_t j)
{
    if (c->dropout.p <= 0)
        return 1;
    const uint64_t index = (uint64_t)((head * c->Tq + i) * ((c->Tk + 3) / 4 * 4) + j);
    uint32_t word[4];
    ag_philox(c->dropout.seed, c->dropout.counter + index / 4, word);
    return word[index % 4] >= ag_dropout_bound(c->dropout.p) ? 1 / (1 - c->dropout.p) : 0;
}

/* One score: the scale and its product with q, products and chain over D; the cap: two divisions' worth, tanh, two
 * products; each bias a sum. */
static void bound_score(call *c, int64_t h, int64_t i, int64_t j)
{
    const problem *p = c->p;
    const double *q = c->q.f64 + (h * p->Tq + i) * p->D, *k = c->k.f64 + (h / (p->H / p->Hk) * p->Tk + j) * p->D;
    const int64_t at = (h * p->Tq + i) * p->Tk + j;
    terms t = { 0 };
    for (int64_t d = 0; d < p->D; d++)
        add_term(&t, c->f64.scale * q[d] * k[d]);
    double s = t.sum;
    bound b = plus(sum_bound((sum_order){ .chain = (double)p->D }, t),
                   (bound){ 2 * t.size * UNIT, 2 * t.squares * UNIT * UNIT / 3 });
    b = plus(b, rounding(s));
    c->slope[at] = 1;
    if (p->cap > 0) {
        const double u = s / p->cap, y = tanh(u), slope = 1 - y * y;
        const bound of_tanh = plus(times(plus(b, plus(rounding(s), rounding(s))), slope / p->cap), rounding(TANH * y));
        s = p->cap * y;
        b = plus(times(of_tanh, p->cap), plus(rounding(s), rounding(s)));
        c->slope[at] = slope;
        c->of_slope[at] = plus(times(of_tanh, 2 * y), plus(rounding(y * y), rounding(slope)));
    }
    if (p->bias) {
        const int64_t away = j - i - c->f64.mask.offset;
        s += c->bias.f64[at];
        add_rounding(&b, s);
        s += c->relative.f64[h * (2 * REACH + 1) + (away < -REACH ? -REACH : away > REACH ? REACH : away) + REACH];
        add_rounding(&b, s);
    }
    c->score[at] = s;
    c->of_score[at] = b;
}

/* Scores, their bounds and probabilities of a row. */
static void bound_row(call *c, int64_t h, int64_t i)
{
    const problem *p = c->p;
    const int64_t row = (h * p->Tq + i) * p->Tk;
    double top = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < p->Tk; j++)
        if (ag_attention_sees(&c->f64.mask, 0, h, i, j)) {
            bound_score(c, h, i, j);
            top = fmax(top, c->score[row + j]);
            c->factor[row + j] = dropout_factor(&c->f64, h, i, j);
        }
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < p->Tk; j++)
            if (ag_attention_sees(&c->f64.mask, 0, h, i, j)) {
                const double e = exp(c->score[row + j] - top);
                sum += pass == 0 ? e : 0;
                c->P[row + j] = e / sum;
            }
}

static void *scratch_for(accuracy *a, const ag_real_kernels *k, const ag_attention *c)
{
    char *memory = take(a, k->attention_scratch(1, c) + 64);
    return memory + (64 - (uintptr_t)memory % 64);
}

#define POINT(field, array) c.f32.field = c.array.f32, c.f64.field = c.array.f64

/* The call's inputs, and its forward pass in both types. */
static call call_new(accuracy *a, const problem *p)
{
    const int64_t pairs = p->H * p->Tq * p->Tk;
    call c = { .p = p, .f32 = describe(p), .f64 = describe(p) };
    c.q = draw_uniform(a, p->H * p->Tq * p->D, 1, -2 * p->spread, 2 * p->spread);
    c.k = draw_uniform(a, p->Hk * p->Tk * p->D, 2, -2, 2);
    c.v = draw_uniform(a, p->Hk * p->Tk * p->Dv, 3, -1, 1);
    c.o = take_numbers(a, p->H * p->Tq * p->Dv);
    c.lse = take_numbers(a, p->H * p->Tq), c.norm = take_numbers(a, p->H * p->Tq);
    POINT(q.x, q), POINT(k.x, k), POINT(v.x, v), POINT(o.x, o), POINT(lse, lse), POINT(norm, norm);
    if (p->bias) {
        c.bias = draw_uniform(a, pairs, 4, -1, 1);
        c.relative = draw_uniform(a, p->H * (2 * REACH + 1), 5, -1, 1);
        POINT(bias.x, bias), POINT(relative.x, relative);
    }
    c.P = take(a, (size_t)pairs * sizeof(double)), c.factor = take(a, (size_t)pairs * sizeof(double));
    c.slope = take(a, (size_t)pairs * sizeof(double)), c.score = take(a, (size_t)pairs * sizeof(double));
    c.of_score = take_bounds(a, pairs), c.of_slope = take_bounds(a, pairs);
    for (int64_t row = 0; row < p->H * p->Tq; row++)
        bound_row(&c, row / p->Tq, row % p->Tq);
    a->f32->attention(AG_TEAM(1), &c.f32, scratch_for(a, a->f32, &c.f32));
    a->f64->attention(AG_TEAM(1), &c.f64, NULL);
    return c;
}

/* The relative error of exp(score - shift): score, difference, exp. */
static bound exponential(const call *c, int64_t at, double shift)
{
    return plus(c->of_score[at], plus(rounding(c->score[at] - shift), rounding(EXP)));
}

/* ---- Forward --------------------------------------------------------------------------------- */

/* o = sum f e v / sum e. An exponential's error e_j moves o by p_j (f_j v_j - o) e_j. As the maximum rises, from tile
 * to tile, sums are scaled by an exponential, two roundings and its own; of random scores it rises log(tiles) times.
 * Both sums are a chain over the keys; division, product. */
static void bound_outputs(const call *c, int64_t h, int64_t i, bound *of_o, bound *of_lse)
{
    const problem *p = c->p;
    const int64_t row = (h * p->Tq + i) * p->Tk;
    const double *v = c->v.f64 + h / (p->H / p->Hk) * p->Tk * p->Dv, *o = c->o.f64 + (h * p->Tq + i) * p->Dv;
    const double lse = c->lse.f64[h * p->Tq + i], tiles = (double)((p->Tk + KEY_TILE - 1) / KEY_TILE);
    double top = -HUGE_VAL;
    terms sum = { 0 };
    for (int64_t j = 0; j < p->Tk; j++)
        if (c->factor[row + j] > 0 || c->P[row + j] > 0) {
            add_term(&sum, c->P[row + j]);
            top = fmax(top, c->score[row + j]);
        }
    const sum_order keys = { .chain = sum.count };
    bound rise = rounding(EXP + 2);
    rise = (bound){ (tiles - 1) * rise.worst, log(tiles) * rise.square };
    const bound of_sum = sum_bound(keys, sum);
    *of_lse = plus(plus(of_sum, rise), plus(rounding(LOG * (lse - top)), rounding(lse)));
    for (int64_t j = 0; j < p->Tk; j++)
        if (c->P[row + j] > 0)
            *of_lse = plus(*of_lse, times(exponential(c, row + j, top), c->P[row + j]));
    for (int64_t e = 0; e < p->Dv; e++) {
        terms t = { 0 };
        bound b = plus(rounding(o[e]), rounding(o[e]));
        for (int64_t j = 0; j < p->Tk; j++)
            if (c->P[row + j] > 0) {
                const double f = c->factor[row + j], part = c->P[row + j] * f * v[j * p->Dv + e];
                add_term(&t, part);
                b = plus(b, times(exponential(c, row + j, top), part - c->P[row + j] * o[e]));
                for (int n = 0; n < (p->dropout > 0 ? 3 : 1); n++)
                    add_rounding(&b, part);
            }
        of_o[e] = plus(plus(b, sum_bound(keys, t)), plus(times(of_sum, o[e]), times(rise, 2 * o[e])));
    }
}

static const problem problems[] = {
    { .H = 2, .Hk = 1, .Tq = 70, .Tk = 70, .D = 32, .Dv = 24, .spread = 1, .causal = true },
    { .H = 1, .Hk = 1, .Tq = 65, .Tk = 130, .D = 64, .Dv = 32, .spread = 1, .cap = 2, .bias = true, .dropout = 0.25 },
    { .H = 8, .Hk = 2, .Tq = 1, .Tk = 300, .D = 64, .Dv = 33, .spread = 1, .bias = true },
    { .H = 2, .Hk = 2, .Tq = 40, .Tk = 77, .D = 33, .Dv = 17, .spread = 30 },
    { .H = 1, .Hk = 1, .Tq = 12, .Tk = 3001, .D = 16, .Dv = 16, .spread = 0.5 },
};
static const char *const problem_name[] = { "causal, shared keys", "cap, biases, dropout", "one query", "large scores",
                                            "many keys" };
enum { PROBLEMS = (int)(sizeof problems / sizeof *problems) };

static void attention(accuracy *a)
{
    for (int k = 0; k < PROBLEMS; k++) {
        const problem *p = &problems[k];
        const call c = call_new(a, p);
        bound *of_o = take_bounds(a, c.o.count), *of_lse = take_bounds(a, c.lse.count);
        for (int64_t row = 0; row < p->H * p->Tq; row++)
            bound_outputs(&c, row / p->Tq, row % p->Tq, of_o + row * p->Dv, of_lse + row);
        judge(a, problem_name[k], c.lse.count, c.o.count, c.o.f32, c.o.f64, of_o);
        judge(a, "lse", c.lse.count, c.lse.count, c.lse.f32, c.lse.f64, of_lse);
    }
}

/* exp(score - lse). */
static void attention_weights(accuracy *a)
{
    for (int k = 0; k < PROBLEMS; k++) {
        const problem *p = &problems[k];
        call c = call_new(a, p);
        const int64_t pairs = p->H * p->Tq * p->Tk;
        bound *bounds = take_bounds(a, pairs);
        c.weights = take_numbers(a, pairs);
        c.lse = widened(c.lse);
        POINT(weights, weights);
        a->f32->attention_weights(AG_TEAM(1), &c.f32, scratch_for(a, a->f32, &c.f32));
        a->f64->attention_weights(AG_TEAM(1), &c.f64, NULL);
        for (int64_t i = 0; i < pairs; i++)
            bounds[i] = times(exponential(&c, i, c.lse.f64[i / p->Tk]), c.weights.f64[i]);
        judge(a, problem_name[k], c.lse.count, pairs, c.weights.f32, c.weights.f64, bounds);
    }
}

/* ---- Backward -------------------------------------------------------------------------------- */

/* Of a pair: the probability as backward makes it again, its weight for dV, dS and dU, with their errors. */
typedef struct pair {
    double weight, ds, du;
    bound of_weight, of_ds, of_du;
} pair;

/* p = norm exp(s - lse), norm a factor of dO; dP = f dO.V and delta = dO.O are chains over Dv; dS = p (dP - delta),
 * dU = dS slope. */
static pair bound_pair(const call *c, int64_t h, int64_t i, int64_t j)
{
    const problem *p = c->p;
    const int64_t row = h * p->Tq + i, at = row * p->Tk + j;
    const double *dout = c->dout.f64 + row * p->Dv, *o = c->o.f64 + row * p->Dv, f = c->factor[at];
    const double *v = c->v.f64 + (h / (p->H / p->Hk) * p->Tk + j) * p->Dv;
    const double prob = c->norm.f64[row] * exp(c->score[at] - c->lse.f64[row]);
    const sum_order chain = { .chain = (double)p->Dv + 1 };
    terms of_v = { 0 }, of_o = { 0 };
    for (int64_t e = 0; e < p->Dv; e++) {
        add_term(&of_v, f * dout[e] * v[e]);
        add_term(&of_o, dout[e] * o[e]);
    }
    const bound of_p = plus(exponential(c, at, c->lse.f64[row]), rounding(1)), drop = rounding(p->dropout > 0 ? 1 : 0);
    pair r = { .weight = f * prob, .ds = prob * (of_v.sum - of_o.sum) };
    r.of_weight = times(plus(of_p, plus(drop, drop)), r.weight);
    bound b = plus(sum_bound(chain, of_v), sum_bound(chain, of_o));
    b = plus(b, times(plus(drop, drop), of_v.sum));
    r.of_ds = plus(times(plus(of_p, rounding(1)), r.ds), plus(times(b, prob), rounding(r.ds)));
    r.du = r.ds * c->slope[at];
    r.of_du = plus(times(r.of_ds, c->slope[at]), plus(times(c->of_slope[at], r.ds), rounding(r.du)));
    return r;
}

/* A sum of products with errors in one factor. */
typedef struct product_sum {
    terms t;
    bound b;
} product_sum;

static void add_product(product_sum *s, double x, bound of_x, double y)
{
    add_term(&s->t, x * y);
    s->b = plus(s->b, plus(times(of_x, y), rounding(x * y)));
}

static bound product_sum_bound(const product_sum *s, double factor)
{
    return plus(times(plus(s->b, sum_bound((sum_order){ .chain = s->t.count + 1 }, s->t)), factor),
                plus(rounding(s->t.sum * factor), rounding(s->t.sum * factor)));
}

static call backward_new(accuracy *a, const problem *p)
{
    call c = call_new(a, p);
    c.o = widened(c.o), c.lse = widened(c.lse), c.norm = widened(c.norm);
    c.dout = draw_uniform(a, c.o.count, 6, -1, 1);
    c.dq = take_numbers(a, c.q.count), c.dk = take_numbers(a, c.k.count), c.dv = take_numbers(a, c.v.count);
    POINT(dout.x, dout), POINT(dq.x, dq), POINT(dk.x, dk), POINT(dv.x, dv);
    return c;
}

/* dV = weight^T dO   dK = a dU^T Q   dQ = a dU K: chains over what they sum; the scale with Q or last. */
static void bound_gradients(const call *c, product_sum *dq, product_sum *dk, product_sum *dv)
{
    const problem *p = c->p;
    for (int64_t row = 0; row < p->H * p->Tq; row++)
        for (int64_t j = 0; j < p->Tk; j++) {
            const int64_t h = row / p->Tq, key = h / (p->H / p->Hk) * p->Tk + j;
            if (!ag_attention_sees(&c->f64.mask, 0, h, row % p->Tq, j))
                continue;
            const pair r = bound_pair(c, h, row % p->Tq, j);
            for (int64_t e = 0; e < p->Dv; e++)
                add_product(&dv[key * p->Dv + e], r.weight, r.of_weight, c->dout.f64[row * p->Dv + e]);
            for (int64_t d = 0; d < p->D; d++) {
                add_product(&dq[row * p->D + d], r.du, r.of_du, c->k.f64[key * p->D + d]);
                add_product(&dk[key * p->D + d], r.du, r.of_du, c->q.f64[row * p->D + d]);
            }
        }
}

static void judge_sums(accuracy *a, const char *what, int64_t samples, numbers x, const product_sum *sums,
                       double factor)
{
    bound *bounds = take_bounds(a, x.count);
    for (int64_t i = 0; i < x.count; i++)
        bounds[i] = product_sum_bound(&sums[i], factor);
    judge(a, what, samples, x.count, x.f32, x.f64, bounds);
}

static void attention_vjp(accuracy *a)
{
    for (int k = 0; k < PROBLEMS; k++) {
        const problem *p = &problems[k];
        call c = backward_new(a, p);
        product_sum *dq = take(a, (size_t)c.dq.count * sizeof *dq), *dk = take(a, (size_t)c.dk.count * sizeof *dk);
        product_sum *dv = take(a, (size_t)c.dv.count * sizeof *dv);
        a->f32->attention_vjp(AG_TEAM(1), &c.f32, scratch_for(a, a->f32, &c.f32));
        a->f64->attention_vjp(AG_TEAM(1), &c.f64, NULL);
        bound_gradients(&c, dq, dk, dv);
        judge_sums(a, "dv", p->Hk * p->Tk, c.dv, dv, 1);
        judge_sums(a, "dk", p->Hk * p->Tk, c.dk, dk, c.f64.scale);
        judge_sums(a, "dq", c.lse.count, c.dq, dq, c.f64.scale);
    }
}

/* dbias = dS; drelative its sums along the diagonals, a chain. */
static void attention_bias_vjp(accuracy *a)
{
    for (int k = 0; k < PROBLEMS; k++) {
        const problem *p = &problems[k];
        if (!p->bias)
            continue;
        call c = backward_new(a, p);
        c.dbias = take_numbers(a, c.bias.count), c.drelative = take_numbers(a, c.relative.count);
        POINT(dbias.x, dbias), POINT(drelative.x, drelative);
        a->f32->attention_bias_vjp(AG_TEAM(1), &c.f32, scratch_for(a, a->f32, &c.f32));
        a->f64->attention_bias_vjp(AG_TEAM(1), &c.f64, NULL);
        bound *bounds = take_bounds(a, c.dbias.count);
        product_sum *sums = take(a, (size_t)c.drelative.count * sizeof *sums);
        for (int64_t at = 0; at < c.dbias.count; at++) {
            const int64_t h = at / p->Tk / p->Tq, i = at / p->Tk % p->Tq, j = at % p->Tk;
            const int64_t away = j - i - c.f64.mask.offset;
            if (!ag_attention_sees(&c.f64.mask, 0, h, i, j))
                continue;
            const pair r = bound_pair(&c, h, i, j);
            bounds[at] = r.of_ds;
            add_product(&sums[h * (2 * REACH + 1) + (away < -REACH ? -REACH : away > REACH ? REACH : away) + REACH],
                        r.ds, r.of_ds, 1);
        }
        judge(a, "dbias", c.lse.count, c.dbias.count, c.dbias.f32, c.dbias.f64, bounds);
        judge_sums(a, "drelative", c.drelative.count, c.drelative, sums, 1);
    }
}

const accuracy_row accuracy_products[] = {
    { KERNEL(gemm), .measure = gemm },
    { KERNEL(gemm_scratch), .measure = NULL },
    { KERNEL(attention), .measure = attention },
    { KERNEL(attention_vjp), .measure = attention_vjp },
    { KERNEL(attention_bias_vjp), .measure = attention_bias_vjp },
    { KERNEL(attention_weights), .measure = attention_weights },
    { KERNEL(attention_scratch), .measure = NULL },
};
const int accuracy_product_count = (int)(sizeof accuracy_products / sizeof *accuracy_products);
