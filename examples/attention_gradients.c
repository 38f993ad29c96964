/* SPDX-License-Identifier: MIT
 *
 * attention_gradients.c - every number of the forward and backward pass of one causal head, and a proof of them.
 *
 * T = 4 positions, d = 3 channels, X[T,d], weights [d,d] in the layout [out,in], so that Q = X Wq^T. The loss is
 * sum(dO * O) for a fixed random dO, which makes dO the gradient of the output. Matrices are plain double arrays;
 * each step is its formula as a loop. The same gradients then come from attngrad's tape and from differences.
 */
#include "attngrad.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <math.h>
#include <string.h>

enum { T = 4, d = 3 };

/* A matrix as its row-major elements. */
#define FLAT(matrix) ((double *)(matrix))

typedef struct pass {
    double X[T][d], Wq[d][d], Wk[d][d], Wv[d][d]; /* given */
    double Q[T][d], K[T][d], V[T][d], S[T][T], P[T][T], O[T][d];
    double dO[T][d]; /* given */
    double dV[T][d], dP[T][T], delta[T], dS[T][T], dQ[T][d], dK[T][d];
    double dWq[d][d], dWk[d][d], dWv[d][d], dX[T][d];
} pass;

typedef enum slip { NO_MISTAKE, NO_ROW_SUM, NO_SCALE, NO_TRANSPOSE } slip;

/* ---- The forward pass ------------------------------------------------------------------------ */

/* y = x W^T */
static void project(double y[T][d], double x[T][d], double w[d][d])
{
    for (int t = 0; t < T; t++)
        for (int o = 0; o < d; o++) {
            y[t][o] = 0;
            for (int i = 0; i < d; i++)
                y[t][o] += x[t][i] * w[o][i];
        }
}

/* S = a Q K^T where j <= i; minus infinity elsewhere */
static void score(pass *p)
{
    double a = 1 / sqrt(d);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++) {
            double dot = 0;
            for (int c = 0; c < d; c++)
                dot += p->Q[i][c] * p->K[j][c];
            p->S[i][j] = j <= i ? a * dot : -(double)INFINITY;
        }
}

/* P = softmax(S), row by row */
static void soften(pass *p)
{
    for (int i = 0; i < T; i++) {
        double max = -(double)INFINITY, sum = 0;
        for (int j = 0; j < T; j++)
            max = fmax(max, p->S[i][j]);
        for (int j = 0; j < T; j++)
            sum += p->P[i][j] = exp(p->S[i][j] - max);
        for (int j = 0; j < T; j++)
            p->P[i][j] /= sum;
    }
}

/* O = P V */
static void mix(pass *p)
{
    for (int i = 0; i < T; i++)
        for (int c = 0; c < d; c++) {
            p->O[i][c] = 0;
            for (int j = 0; j < T; j++)
                p->O[i][c] += p->P[i][j] * p->V[j][c];
        }
}

/* ---- The backward pass ----------------------------------------------------------------------- */

/* dV = P^T dO */
static void backward_values(pass *p)
{
    for (int j = 0; j < T; j++)
        for (int c = 0; c < d; c++) {
            p->dV[j][c] = 0;
            for (int i = 0; i < T; i++)
                p->dV[j][c] += p->P[i][j] * p->dO[i][c];
        }
}

/* dP = dO V^T */
static void backward_weights(pass *p)
{
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++) {
            p->dP[i][j] = 0;
            for (int c = 0; c < d; c++)
                p->dP[i][j] += p->dO[i][c] * p->V[j][c];
        }
}

/* delta = rowsum(P * dP), then dS = P * (dP - delta) */
static void backward_scores(pass *p, slip mistake)
{
    for (int i = 0; i < T; i++) {
        p->delta[i] = 0;
        for (int j = 0; j < T; j++)
            p->delta[i] += p->P[i][j] * p->dP[i][j];
        for (int j = 0; j < T; j++)
            p->dS[i][j] = p->P[i][j] * (p->dP[i][j] - (mistake == NO_ROW_SUM ? 0 : p->delta[i]));
    }
}

/* dQ = a dS K, dK = a dS^T Q */
static void backward_queries_and_keys(pass *p, slip mistake)
{
    double a = mistake == NO_SCALE ? 1 : 1 / sqrt(d);
    for (int i = 0; i < T; i++)
        for (int c = 0; c < d; c++) {
            p->dQ[i][c] = p->dK[i][c] = 0;
            for (int j = 0; j < T; j++) {
                p->dQ[i][c] += a * p->dS[i][j] * p->K[j][c];
                p->dK[i][c] += a * (mistake == NO_TRANSPOSE ? p->dS[i][j] : p->dS[j][i]) * p->Q[j][c];
            }
        }
}

/* dW = dy^T X, and the part dy W of dX */
static void backward_projection(double dw[d][d], double dx[T][d], double dy[T][d], double w[d][d], double x[T][d])
{
    for (int o = 0; o < d; o++)
        for (int i = 0; i < d; i++) {
            dw[o][i] = 0;
            for (int t = 0; t < T; t++) {
                dw[o][i] += dy[t][o] * x[t][i];
                dx[t][i] += dy[t][o] * w[o][i];
            }
        }
}

/* ---- Showing it ------------------------------------------------------------------------------ */

static void show(const char *name, const char *formula, const double *value, int rows, int cols)
{
    for (int r = 0; r < rows; r++) {
        printf(r == 0 ? "%-5s = %-26s" : "%-5s   %-26s", r == 0 ? name : "", r == 0 ? formula : "");
        for (int c = 0; c < cols; c++) {
            double v = value[r * cols + c];
            if (v == 0)
                printf("%10s", "0");
            else
                ag_printf("%10.4f", v);
        }
        putchar('\n');
    }
    putchar('\n');
}

static void forward(pass *p, bool print)
{
    project(p->Q, p->X, p->Wq);
    project(p->K, p->X, p->Wk);
    project(p->V, p->X, p->Wv);
    score(p);
    soften(p);
    mix(p);
    if (!print)
        return;
    printf("FORWARD\n\n");
    show("X", "input [T,d]", FLAT(p->X), T, d);
    show("Wq", "weight [d,d]", FLAT(p->Wq), d, d);
    show("Wk", "weight [d,d]", FLAT(p->Wk), d, d);
    show("Wv", "weight [d,d]", FLAT(p->Wv), d, d);
    show("Q", "X Wq^T", FLAT(p->Q), T, d);
    show("K", "X Wk^T", FLAT(p->K), T, d);
    show("V", "X Wv^T", FLAT(p->V), T, d);
    show("S", "a Q K^T, masked", FLAT(p->S), T, T);
    show("P", "softmax(S), row by row", FLAT(p->P), T, T);
    show("O", "P V", FLAT(p->O), T, d);
}

static void backward(pass *p, slip mistake)
{
    memset(p->dX, 0, sizeof p->dX);
    printf("BACKWARD   (a 0 without decimals is exactly 0)\n\n");
    show("dO", "given", FLAT(p->dO), T, d);
    backward_values(p);
    show("dV", "P^T dO", FLAT(p->dV), T, d);
    backward_weights(p);
    show("dP", "dO V^T", FLAT(p->dP), T, T);
    backward_scores(p, mistake);
    show("delta", "rowsum(P * dP)", p->delta, T, 1);
    show("dS", "P * (dP - delta)", FLAT(p->dS), T, T);
    backward_queries_and_keys(p, mistake);
    show("dQ", "a dS K", FLAT(p->dQ), T, d);
    show("dK", "a dS^T Q", FLAT(p->dK), T, d);
    backward_projection(p->dWq, p->dX, p->dQ, p->Wq, p->X);
    backward_projection(p->dWk, p->dX, p->dK, p->Wk, p->X);
    backward_projection(p->dWv, p->dX, p->dV, p->Wv, p->X);
    show("dWq", "dQ^T X", FLAT(p->dWq), d, d);
    show("dWk", "dK^T X", FLAT(p->dWk), d, d);
    show("dWv", "dV^T X", FLAT(p->dWv), d, d);
    show("dX", "dQ Wq + dK Wk + dV Wv", FLAT(p->dX), T, d);
}

/* The two properties of P and dS that hold for every input. */
static bool check_structure(pass *p)
{
    int zeros = 0, above = 0;
    double worst = 0;
    for (int i = 0; i < T; i++) {
        double sum = 0;
        for (int j = 0; j < T; j++) {
            sum += p->dS[i][j];
            above += j > i;
            zeros += j > i && p->P[i][j] == 0 && p->dS[i][j] == 0;
        }
        worst = fmax(worst, fabs(sum));
    }
    bool causal = zeros == above, sums = worst <= 1e-14;
    printf("WHAT HOLDS FOR EVERY INPUT\n\n");
    printf("above the diagonal P and dS are exactly 0 in %d of %d places: nothing flows from the future   %s\n", zeros,
           above, causal ? "ok" : "FAIL");
    ag_printf("rows of dS sum to 0: the largest |sum| is %.1e; softmax ignores a common shift   %s\n\n", worst,
              sums ? "ok" : "FAIL");
    return causal && sums;
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
    for (int i = 0; i < T; i++)
        for (int c = 0; c < d; c++)
            loss += p->dO[i][c] * p->O[i][c];
    return loss;
}

/* One line of the table: the three values where the gradient is largest, and the largest distances of the tape and
 * of central differences from the formulas. NaN fails. */
static bool compare(pass *p, const line *l)
{
    const double h = 1e-5, tape_bound = 1e-12, difference_bound = 1e-8;
    const double *tape = ag_data(l->tape);
    double to_tape = 0, to_difference = 0, shown = 0;
    int largest = 0;
    bool same = true;
    for (int i = 0; i < l->count; i++) {
        double before = l->at[i];
        l->at[i] = before + h;
        double up = loss_from(p, l->from);
        l->at[i] = before - h;
        double down = loss_from(p, l->from);
        l->at[i] = before;
        l->from(p);
        double difference = (up - down) / (2 * h);
        double a = fabs(l->hand[i] - tape[i]), b = fabs(l->hand[i] - difference);
        same = same && a <= tape_bound && b <= difference_bound;
        to_tape = fmax(to_tape, a);
        to_difference = fmax(to_difference, b);
        if (i == 0 || fabs(tape[i]) > fabs(tape[largest])) {
            largest = i;
            shown = difference;
        }
    }
    ag_printf("%-4s %12.8f %12.8f %12.8f %15.1e %15.1e   %s\n", l->name, tape[largest], l->hand[largest], shown,
              to_tape, to_difference, same ? "ok" : "FAIL");
    return same;
}

static bool write_json(const ag_attention_trace *trace, const char *path)
{
    FILE *file = program_open("attention_gradients", path, "w");
    if (file == NULL)
        return false;
    if (ag_attention_trace_json(trace, file) == AG_OK)
        return program_close("attention_gradients", file, path);
    fclose(file); /* program_end has the reason */
    return false;
}

/* The trace's gradients of matrices inside the head, the layer's own backward pass for those of its inputs. */
static bool compare_all(pass *p, const ag_attention_trace *trace, const ag_module *module, const ag_tensor *x)
{
    const line lines[] = {
        { "dV", FLAT(p->V), FLAT(p->dV), ag_attention_trace_find(trace, "dV"), T * d, mix },
        { "dP", FLAT(p->P), FLAT(p->dP), ag_attention_trace_find(trace, "dP"), T * T, mix },
        { "dS", FLAT(p->S), FLAT(p->dS), ag_attention_trace_find(trace, "dS"), T * T, from_scores },
        { "dQ", FLAT(p->Q), FLAT(p->dQ), ag_attention_trace_find(trace, "dQ"), T * d, from_projections },
        { "dK", FLAT(p->K), FLAT(p->dK), ag_attention_trace_find(trace, "dK"), T * d, from_projections },
        { "dWq", FLAT(p->Wq), FLAT(p->dWq), ag_grad(ag_module_find(module, "q.weight")), d * d, from_start },
        { "dWk", FLAT(p->Wk), FLAT(p->dWk), ag_grad(ag_module_find(module, "k.weight")), d * d, from_start },
        { "dWv", FLAT(p->Wv), FLAT(p->dWv), ag_grad(ag_module_find(module, "v.weight")), d * d, from_start },
        { "dX", FLAT(p->X), FLAT(p->dX), ag_grad(x), T * d, from_start },
    };
    bool same = true;
    printf("%-4s %38s %33s\n", "", "---- at the largest element: -----", "--- largest distance: ---");
    printf("%-4s %12s %12s %12s %15s %15s\n", "", "tape", "by hand", "difference", "tape, hand", "diff., hand");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        same = compare(p, &lines[i]) && same;
    return same;
}

/* The largest distance of the output by hand from the layer's; infinity if it is NaN. */
static double output_distance(pass *p, const double *o)
{
    double apart = 0;
    for (int i = 0; i < T * d; i++) {
        double gap = fabs(o[i] - FLAT(p->O)[i]);
        apart = isnan(gap) ? (double)INFINITY : fmax(apart, gap);
    }
    return apart;
}

/* Runs the layer on a tape, takes its trace, and compares. */
static bool compare_with_tape(ag_ctx *ctx, ag_head_attention *layer, pass *p, const char *json)
{
    bool same = false;
    ag_tensor *x = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(1, T, d), p->X));
    ag_tensor *cotangent = ag_from_data(ctx, AG_F64, AG_SHAPE(1, T, d), p->dO);
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
    same = (json == NULL || write_json(trace, json)) && same;
    ag_attention_trace_free(trace);
    return same && ag_error(ctx) == AG_OK;
}

static bool parse_mistake(const char *text, slip *mistake)
{
    static const char *const names[] = { "none", "row-sum", "scale", "transpose" };
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            *mistake = (slip)i;
            return true;
        }
    fprintf(stderr, "attention_gradients: --mistake is '%s', not row-sum, scale or transpose\n", text);
    return false;
}

static void read_values(double *to, ag_tensor *from)
{
    const double *values = ag_data(from);
    if (values != NULL)
        memcpy(to, values, (size_t)ag_numel(from) * sizeof *to);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    const char *mistake_text = "none", *json = NULL;
    const option options[] = {
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of input, weights and dO [1]" },
        { "--mistake", OPTION_TEXT, &mistake_text, "NAME", "an error: row-sum, scale or transpose [none]" },
        { "--json", OPTION_TEXT, &json, "FILE", "write the library's trace of the layer, the same numbers" },
    };
    int status = options_read("attention_gradients",
                              "Shows every number of the forward and backward pass of one causal attention head, and "
                              "compares the gradients of the tape, of the formulas and of finite differences. Exits "
                              "with 1 when they differ. --mistake plants an error in the formulas, to see which lines "
                              "fail: row-sum leaves out delta, scale leaves out a = 1/sqrt(d), transpose uses dS for "
                              "dS^T.",
                              options, 3, argc, argv);
    slip mistake = NO_MISTAKE;
    if (status == OPTIONS_RUN && !parse_mistake(mistake_text, &mistake))
        status = OPTIONS_WRONG;
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin("attention_gradients", seed);
    ag_head_attention *layer = ag_head_attention_new(
        ctx, (ag_head_attention_config){
                 .emb_size = d, .head_size = d, .max_seq_len = T, .no_bias = true, .init_std = 0.8, .dtype = AG_F64 });
    pass p = { .X = { { 0 } } };
    ag_module *module = ag_head_attention_module(layer);
    read_values(FLAT(p.Wq), ag_module_find(module, "q.weight"));
    read_values(FLAT(p.Wk), ag_module_find(module, "k.weight"));
    read_values(FLAT(p.Wv), ag_module_find(module, "v.weight"));
    read_values(FLAT(p.X), ag_randn(ctx, AG_F64, AG_SHAPE(T, d)));
    read_values(FLAT(p.dO), ag_randn(ctx, AG_F64, AG_SHAPE(T, d)));

    ag_printf("One causal head: T = %d, d = %d, a = 1/sqrt(%d) = %.4f. Loss = sum(dO * O).\n", T, d, d, 1 / sqrt(d));
    printf("'*' is elementwise, '^T' transposes, position i sees positions 0 .. i.\n\n");
    forward(&p, true);
    backward(&p, mistake);
    bool pass_all = check_structure(&p);
    pass_all = compare_with_tape(ctx, layer, &p, json) && pass_all;
    ag_head_attention_free(layer);
    printf("\n%s\n", pass_all ? "PASS" : "FAIL");
    return program_end("attention_gradients", ctx, pass_all);
}
