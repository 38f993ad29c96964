/* SPDX-License-Identifier: MIT
 *
 * attention_gradients.c - every number of the forward and backward pass of one head, and a proof of them.
 *
 * T positions, d channels, X[T,d], weights [d,d] in the layout [out,in], so that Q = X Wq^T. The loss is sum(dO * O)
 * for a fixed random dO, which makes dO the gradient of the output. Matrices are plain double arrays, row after row;
 * each step is its formula as a loop. The same gradients then come from attngrad's tape and from differences. What is
 * given is what explorer.html has for the same words, d and seed.
 */
#include "attngrad.h"
#include "examples/shared/lecture.h"
#include "examples/shared/lecture_number.h"
#include "examples/shared/program.h"

#include <math.h>
#include <string.h>

enum { TD = LECTURE_WORDS * LECTURE_D, TT = LECTURE_WORDS * LECTURE_WORDS, DD = LECTURE_D * LECTURE_D };

typedef struct pass {
    int T, d;
    double a; /* the scores' scale */
    bool causal;
    const char *const *word;
    double X[TD], Wq[DD], Wk[DD], Wv[DD]; /* given */
    double Q[TD], K[TD], V[TD], S[TT], P[TT], O[TD];
    double dO[TD]; /* given */
    double dV[TD], dP[TT], delta[LECTURE_WORDS], dS[TT], dQ[TD], dK[TD];
    double dWq[DD], dWk[DD], dWv[DD], dX[TD];
} pass;

typedef enum slip { NO_MISTAKE, NO_ROW_SUM, NO_SCALE, NO_TRANSPOSE } slip;

/* ---- What is given ---------------------------------------------------------------------------- */

static void draw_numbers(ag_ctx *ctx, double *to, int count, double most)
{
    for (int i = 0; i < count; i++)
        to[i] = (double)lecture_number(ctx, most);
}

/* In the explorer's order: E, a row per different word, and pos, whose sums are X; the weights; dO. */
static void draw_given(ag_ctx *ctx, const lecture *l, pass *p)
{
    double E[TD], pos[TD];
    const int T = p->T, d = p->d;
    draw_numbers(ctx, E, l->vocabulary * d, 1);
    draw_numbers(ctx, pos, T * d, 0.6);
    draw_numbers(ctx, p->Wq, d * d, 1.2);
    draw_numbers(ctx, p->Wk, d * d, 1.2);
    draw_numbers(ctx, p->Wv, d * d, 1.2);
    draw_numbers(ctx, p->dO, T * d, 1);
    for (int t = 0; t < T; t++)
        for (int c = 0; c < d; c++)
            p->X[t * d + c] = E[l->token[t] * d + c] + pos[t * d + c];
}

/* ---- The forward pass ------------------------------------------------------------------------ */

/* y = x W^T */
static void project(double *y, const double *x, const double *w, int T, int d)
{
    for (int t = 0; t < T; t++)
        for (int o = 0; o < d; o++) {
            y[t * d + o] = 0;
            for (int i = 0; i < d; i++)
                y[t * d + o] += x[t * d + i] * w[o * d + i];
        }
}

/* S = a Q K^T where the mask allows it (causal: j <= i); minus infinity elsewhere */
static void score(pass *p)
{
    const int T = p->T, d = p->d;
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++) {
            double dot = 0;
            for (int c = 0; c < d; c++)
                dot += p->Q[i * d + c] * p->K[j * d + c];
            p->S[i * T + j] = j <= i || !p->causal ? p->a * dot : -(double)INFINITY;
        }
}

/* P = softmax(S), row by row */
static void soften(pass *p)
{
    const int T = p->T;
    for (int i = 0; i < T; i++) {
        double max = -(double)INFINITY, sum = 0;
        for (int j = 0; j < T; j++)
            max = fmax(max, p->S[i * T + j]);
        for (int j = 0; j < T; j++)
            sum += p->P[i * T + j] = exp(p->S[i * T + j] - max);
        for (int j = 0; j < T; j++)
            p->P[i * T + j] /= sum;
    }
}

/* O = P V */
static void mix(pass *p)
{
    const int T = p->T, d = p->d;
    for (int i = 0; i < T; i++)
        for (int c = 0; c < d; c++) {
            p->O[i * d + c] = 0;
            for (int j = 0; j < T; j++)
                p->O[i * d + c] += p->P[i * T + j] * p->V[j * d + c];
        }
}

/* ---- The backward pass ----------------------------------------------------------------------- */

/* dV = P^T dO */
static void backward_values(pass *p)
{
    const int T = p->T, d = p->d;
    for (int j = 0; j < T; j++)
        for (int c = 0; c < d; c++) {
            p->dV[j * d + c] = 0;
            for (int i = 0; i < T; i++)
                p->dV[j * d + c] += p->P[i * T + j] * p->dO[i * d + c];
        }
}

/* dP = dO V^T */
static void backward_weights(pass *p)
{
    const int T = p->T, d = p->d;
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++) {
            p->dP[i * T + j] = 0;
            for (int c = 0; c < d; c++)
                p->dP[i * T + j] += p->dO[i * d + c] * p->V[j * d + c];
        }
}

/* delta = rowsum(P * dP), then dS = P * (dP - delta) */
static void backward_scores(pass *p, slip mistake)
{
    const int T = p->T;
    for (int i = 0; i < T; i++) {
        p->delta[i] = 0;
        for (int j = 0; j < T; j++)
            p->delta[i] += p->P[i * T + j] * p->dP[i * T + j];
        for (int j = 0; j < T; j++)
            p->dS[i * T + j] = p->P[i * T + j] * (p->dP[i * T + j] - (mistake == NO_ROW_SUM ? 0 : p->delta[i]));
    }
}

/* dQ = a dS K, dK = a dS^T Q */
static void backward_queries_and_keys(pass *p, slip mistake)
{
    const int T = p->T, d = p->d;
    const double a = mistake == NO_SCALE ? 1 : p->a;
    for (int i = 0; i < T; i++)
        for (int c = 0; c < d; c++) {
            p->dQ[i * d + c] = p->dK[i * d + c] = 0;
            for (int j = 0; j < T; j++) {
                const double transposed = mistake == NO_TRANSPOSE ? p->dS[i * T + j] : p->dS[j * T + i];
                p->dQ[i * d + c] += a * p->dS[i * T + j] * p->K[j * d + c];
                p->dK[i * d + c] += a * transposed * p->Q[j * d + c];
            }
        }
}

/* dW = dy^T X, and the part dy W of dX */
static void backward_projection(double *dw, double *dy, const double *w, pass *p)
{
    const int T = p->T, d = p->d;
    for (int o = 0; o < d; o++)
        for (int i = 0; i < d; i++) {
            dw[o * d + i] = 0;
            for (int t = 0; t < T; t++) {
                dw[o * d + i] += dy[t * d + o] * p->X[t * d + i];
                p->dX[t * d + i] += dy[t * d + o] * w[o * d + i];
            }
        }
}

/* ---- Showing it ------------------------------------------------------------------------------ */

/* A matrix with a row per word. */
static void show(const pass *p, const char *name, const char *formula, const double *value, int cols)
{
    lecture_print(name, formula, value, p->T, cols, p->word);
}

static void show_weight(const pass *p, const char *name, const char *formula, const double *value)
{
    lecture_print(name, formula, value, p->d, p->d, NULL);
}

static void forward(pass *p, bool print)
{
    const int T = p->T, d = p->d;
    project(p->Q, p->X, p->Wq, T, d);
    project(p->K, p->X, p->Wk, T, d);
    project(p->V, p->X, p->Wv, T, d);
    score(p);
    soften(p);
    mix(p);
    if (!print)
        return;
    printf("FORWARD\n\n");
    show(p, "X", "input [T,d]: a vector of the word and one of its position, added", p->X, d);
    show_weight(p, "Wq", "weight [d,d]", p->Wq);
    show_weight(p, "Wk", "weight [d,d]", p->Wk);
    show_weight(p, "Wv", "weight [d,d]", p->Wv);
    show(p, "Q", "X Wq^T", p->Q, d);
    show(p, "K", "X Wk^T", p->K, d);
    show(p, "V", "X Wv^T", p->V, d);
    show(p, "S", "a Q K^T, masked", p->S, T);
    show(p, "P", "softmax(S), row by row", p->P, T);
    show(p, "O", "P V", p->O, d);
}

static void backward(pass *p, slip mistake)
{
    const int T = p->T, d = p->d;
    memset(p->dX, 0, sizeof p->dX);
    printf("BACKWARD   (a 0 without decimals is exactly 0)\n\n");
    show(p, "dO", "given", p->dO, d);
    backward_values(p);
    show(p, "dV", "P^T dO", p->dV, d);
    backward_weights(p);
    show(p, "dP", "dO V^T", p->dP, T);
    backward_scores(p, mistake);
    show(p, "delta", "rowsum(P * dP)", p->delta, 1);
    show(p, "dS", "P * (dP - delta)", p->dS, T);
    backward_queries_and_keys(p, mistake);
    show(p, "dQ", "a dS K", p->dQ, d);
    show(p, "dK", "a dS^T Q", p->dK, d);
    backward_projection(p->dWq, p->dQ, p->Wq, p);
    backward_projection(p->dWk, p->dK, p->Wk, p);
    backward_projection(p->dWv, p->dV, p->Wv, p);
    show_weight(p, "dWq", "dQ^T X", p->dWq);
    show_weight(p, "dWk", "dK^T X", p->dWk);
    show_weight(p, "dWv", "dV^T X", p->dWv);
    show(p, "dX", "dQ Wq + dK Wk + dV Wv", p->dX, d);
}

/* The two properties of P and dS that hold for every input. */
static bool check_structure(const pass *p)
{
    const int T = p->T;
    int zeros = 0, above = 0;
    double worst = 0;
    for (int i = 0; i < T; i++) {
        double sum = 0;
        for (int j = 0; j < T; j++) {
            sum += p->dS[i * T + j];
            above += j > i;
            zeros += j > i && p->P[i * T + j] == 0 && p->dS[i * T + j] == 0;
        }
        worst = fmax(worst, fabs(sum));
    }
    const bool causal = !p->causal || zeros == above, sums = worst <= 1e-13;
    printf("WHAT HOLDS FOR EVERY INPUT\n\n");
    if (p->causal)
        printf("above the diagonal P and dS are exactly 0 in %d of %d places: nothing flows from the future   %s\n"
               "row 0 of dS and dQ is 0: word 0 sees itself alone, P = 1 whatever its score, so no score matters\n",
               zeros, above, causal ? "ok" : "FAIL");
    ag_printf("rows of dS sum to 0: the largest |sum| is %.1e; softmax ignores a common shift   %s\n\n", worst,
              sums ? "ok" : "FAIL");
    return causal && sums;
}

/* The gradients [T,T] and [T,d], each kind as one heat map. */
static bool draw(const pass *p, const lecture *l)
{
    const char *const query = "query", *const key = "key", *const position = "word", *const channel = "channel";
    const heatmap_panel scores[] = { { "dP", p->T, p->T, p->dP, p->word, p->word, query, key },
                                     { "dS", p->T, p->T, p->dS, p->word, p->word, query, key } };
    const heatmap_panel rows[] = { { "dQ", p->T, p->d, p->dQ, p->word, NULL, position, channel },
                                   { "dK", p->T, p->d, p->dK, p->word, NULL, position, channel },
                                   { "dV", p->T, p->d, p->dV, p->word, NULL, position, channel },
                                   { "dX", p->T, p->d, p->dX, p->word, NULL, position, channel } };
    heatmap of_scores = {
        .title = "Gradients of weights and scores", .bar_title = "gradient", .panel_count = 2, .panel = scores
    };
    heatmap of_rows = { .title = "Gradients of queries, keys, values and input",
                        .bar_title = "gradient",
                        .panel_count = 4,
                        .panel = rows };
    return lecture_show(l, &of_scores, true, "scores") && lecture_show(l, &of_rows, true, "rows");
}

/* ---- Comparing ------------------------------------------------------------------------------- */

typedef struct line {
    const char *name;
    double *at;         /* the matrix, inside the pass, whose elements the differences move */
    const double *hand; /* the gradient by hand */
    const ag_tensor *tape;
    int count;
    void (*from)(pass *p); /* recomputes what depends on it */
} line;

static void from_start(pass *p)
{
    forward(p, false);
}

static void from_projections(pass *p)
{
    score(p);
    soften(p);
    mix(p);
}

static void from_scores(pass *p)
{
    soften(p);
    mix(p);
}

static double loss_from(pass *p, void (*from)(pass *p))
{
    double loss = 0;
    from(p);
    for (int i = 0; i < p->T * p->d; i++)
        loss += p->dO[i] * p->O[i];
    return loss;
}

/* The difference between the losses at `by` above and below *at. */
static double difference(pass *p, const line *l, double *at, double by)
{
    const double before = *at;
    *at = before + by;
    const double up = loss_from(p, l->from);
    *at = before - by;
    const double down = loss_from(p, l->from);
    *at = before;
    return up - down;
}

/* One line of the table: the three values where the gradient is largest, and the largest distances of the tape and
 * of central differences (of the fourth order) from the formulas. NaN fails. */
static bool compare(pass *p, const line *l)
{
    const double h = 3e-4, tape_bound = 1e-12, difference_bound = 1e-8;
    const double *tape = ag_data(l->tape);
    double to_tape = 0, to_difference = 0, shown = 0;
    int largest = 0;
    bool same = true;
    for (int i = 0; i < l->count; i++) {
        double *at = &l->at[i];
        double slope = (8 * difference(p, l, at, h) - difference(p, l, at, 2 * h)) / (12 * h);
        l->from(p);
        double a = fabs(l->hand[i] - tape[i]), b = fabs(l->hand[i] - slope);
        same = same && a <= tape_bound && b <= difference_bound;
        to_tape = fmax(to_tape, a);
        to_difference = fmax(to_difference, b);
        if (i == 0 || fabs(tape[i]) > fabs(tape[largest])) {
            largest = i;
            shown = slope;
        }
    }
    ag_printf("%-4s %12.8f %12.8f %12.8f %15.1e %15.1e   %s\n", l->name, tape[largest], l->hand[largest], shown,
              to_tape, to_difference, same ? "ok" : "FAIL");
    return same;
}

/* The trace's gradients of matrices inside the head, the layer's own backward pass for those of its inputs. */
static bool compare_all(pass *p, const ag_attention_trace *trace, const ag_module *module, const ag_tensor *x)
{
    const int T = p->T, d = p->d;
    const line lines[] = {
        { "dV", p->V, p->dV, ag_attention_trace_find(trace, "dV"), T * d, mix },
        { "dP", p->P, p->dP, ag_attention_trace_find(trace, "dP"), T * T, mix },
        { "dS", p->S, p->dS, ag_attention_trace_find(trace, "dS"), T * T, from_scores },
        { "dQ", p->Q, p->dQ, ag_attention_trace_find(trace, "dQ"), T * d, from_projections },
        { "dK", p->K, p->dK, ag_attention_trace_find(trace, "dK"), T * d, from_projections },
        { "dWq", p->Wq, p->dWq, ag_grad(ag_module_find(module, "q.weight")), d * d, from_start },
        { "dWk", p->Wk, p->dWk, ag_grad(ag_module_find(module, "k.weight")), d * d, from_start },
        { "dWv", p->Wv, p->dWv, ag_grad(ag_module_find(module, "v.weight")), d * d, from_start },
        { "dX", p->X, p->dX, ag_grad(x), T * d, from_start },
    };
    bool same = true;
    printf("%-4s %38s %33s\n", "", "---- at the largest element: -----", "--- largest distance: ---");
    printf("%-4s %12s %12s %12s %15s %15s\n", "", "tape", "by hand", "difference", "tape, hand", "diff., hand");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        same = compare(p, &lines[i]) && same;
    return same;
}

/* The largest distance of the output by hand from the layer's; infinity if it is NaN. */
static double output_distance(const pass *p, const double *o)
{
    double apart = 0;
    for (int i = 0; i < p->T * p->d; i++) {
        double gap = fabs(o[i] - p->O[i]);
        apart = isnan(gap) ? (double)INFINITY : fmax(apart, gap);
    }
    return apart;
}

/* A layer with the weights of p. */
static ag_head_attention *layer_of(ag_ctx *ctx, const pass *p, const lecture *l)
{
    ag_head_attention *layer = ag_head_attention_new(ctx, (ag_head_attention_config){ .emb_size = p->d,
                                                                                      .head_size = p->d,
                                                                                      .non_causal = l->non_causal,
                                                                                      .no_bias = true,
                                                                                      .attention = { .scale = p->a },
                                                                                      .dtype = AG_F64 });
    const struct {
        const char *name;
        const double *value;
    } weights[] = { { "q.weight", p->Wq }, { "k.weight", p->Wk }, { "v.weight", p->Wv } };
    for (int i = 0; i < 3; i++)
        ag_copy_into(ag_module_find(ag_head_attention_module(layer), weights[i].name),
                     ag_from_data(ctx, AG_F64, AG_SHAPE(p->d, p->d), weights[i].value));
    return layer;
}

/* Runs the layer on a tape, takes its trace, and compares. */
static bool compare_with_tape(ag_ctx *ctx, pass *p, const lecture *l)
{
    bool same = false;
    ag_head_attention *layer = layer_of(ctx, p, l);
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(1, p->T, p->d), p->X));
    ag_tensor *cotangent = ag_from_data(ctx, AG_F64, AG_SHAPE(1, p->T, p->d), p->dO);
    ag_attention_trace *trace = ag_head_attention_trace(layer, x, (ag_attend){ 0 }, cotangent);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *output = ag_head_attention_forward(layer, x);
    if (ag_backward_from(tape, output, cotangent) == AG_OK) {
        const double apart = output_distance(p, ag_data(output));
        printf("THREE WAYS TO THE SAME GRADIENT\n\n");
        ag_printf("The output O by hand and by ag_head_attention differ by at most %.1e.\n", apart);
        printf("dWq to dX: the layer's tape; dV to dK: ag_head_attention_trace, the same head op by op.\n\n");
        same = compare_all(p, trace, ag_head_attention_module(layer), x) && apart <= 1e-12;
    }
    ag_tape_end(tape);
    same = lecture_write_json(l, trace) && same;
    ag_attention_trace_free(trace);
    ag_head_attention_free(layer);
    return same && ag_error(ctx) == AG_OK;
}

static bool run(ag_ctx *ctx, const lecture *l, slip mistake)
{
    pass p = { .T = l->T, .d = (int)l->d, .a = lecture_scale(l), .causal = !l->non_causal, .word = l->word };
    draw_given(ctx, l, &p);
    ag_printf("One %shead: T = %d, d = %d, a = %s = %.4f. Loss = sum(dO * O).\n", p.causal ? "causal " : "", p.T, p.d,
              l->no_scale ? "1, without 1/sqrt(d)," : "1/sqrt(d)", p.a);
    printf("'*' is elementwise, '^T' transposes, position i sees %s.\n\n", p.causal ? "positions 0 .. i" : "all");
    forward(&p, true);
    backward(&p, mistake);
    if (!draw(&p, l))
        return false;
    bool pass_all = check_structure(&p);
    pass_all = compare_with_tape(ctx, &p, l) && pass_all;
    printf("\n%s\n", pass_all ? "PASS" : "FAIL");
    return pass_all;
}

int main(int argc, char **argv)
{
    static const char *const mistakes[] = { "none", "row-sum", "scale", "transpose", NULL };
    int mistake = NO_MISTAKE;
    const option own[] = {
        { "--mistake", OPTION_CHOICE, &mistake, "NAME", "an error: row-sum, scale or transpose [none]",
          .words = mistakes },
    };
    lecture l = { .program = "attention_gradients", .text = "the cat sat down", .d = 3 };
    const int status = lecture_read(&l,
                                    "Shows every number of the forward and backward pass of one attention head, and "
                                    "compares the gradients of the tape, of the formulas and of finite differences. "
                                    "Exits with 1 when they differ. --mistake plants an error in the formulas, to see "
                                    "which lines fail: row-sum leaves out delta, scale leaves out a = 1/sqrt(d), "
                                    "transpose uses dS for dS^T.",
                                    own, 1, argc, argv);
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin(l.program, l.seed);
    const bool good = run(ctx, &l, (slip)mistake);
    return program_end(l.program, ctx, good);
}
