/* SPDX-License-Identifier: MIT
 *
 * heads_and_the_residual_stream.c - chapter 10 of the course: what several heads add to the stream and to its gradient,
 * and how large gradients are after many layers.
 *
 * usage: heads_and_the_residual_stream [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>
#include <string.h>

enum { T = 3, EMB = 4, HEADS = 2, D = EMB / HEADS }; /* of the small case */

static const double *values(const ag_attention_trace *trace, const char *name)
{
    return ag_data(ag_attention_trace_find(trace, name));
}

static double norm(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* ---- Two heads ---- */

/* What head h adds to the gradient of the input: dQ_h Wq_h + dK_h Wk_h + dV_h Wv_h, W_h the rows of that head. */
static void head_gradient(const ag_attention_trace *trace, int h, double dx[T * EMB])
{
    static const char *const names[][2] = { { "dQ", "W.q.weight" }, { "dK", "W.k.weight" }, { "dV", "W.v.weight" } };
    memset(dx, 0, T * EMB * sizeof(double));
    for (int n = 0; n < 3; n++) {
        const double *g = values(trace, names[n][0]) + h * T * D, *w = values(trace, names[n][1]) + h * D * EMB;
        for (int t = 0; t < T; t++)
            for (int d = 0; d < D; d++)
                for (int e = 0; e < EMB; e++)
                    dx[t * EMB + e] += g[t * D + d] * w[d * EMB + e];
    }
}

/* What head h adds to the output: O_h Wo_h^T, Wo_h the columns of that head. */
static void head_output(const ag_attention_trace *trace, int h, double y[T * EMB])
{
    const double *o = values(trace, "O") + h * T * D, *w = values(trace, "W.proj.weight");
    for (int t = 0; t < T; t++)
        for (int e = 0; e < EMB; e++) {
            y[t * EMB + e] = 0;
            for (int d = 0; d < D; d++)
                y[t * EMB + e] += o[t * D + d] * w[e * EMB + h * D + d];
        }
}

/* Runs x + mha(x) on a tape: its output, and the gradient of x for dY. */
static void run_stream(ag_ctx *ctx, ag_mha *layer, ag_tensor *x, ag_tensor *dY, double *y, double *dx)
{
    ag_tape *tape = ag_tape_begin(ctx);
    ag_zero_grad(x);
    ag_tensor *out = ag_add(x, ag_mha_forward(layer, x));
    if (ag_backward_from(tape, out, dY) == AG_OK) {
        memcpy(y, ag_data(out), T * EMB * sizeof(double));
        memcpy(dx, ag_data(ag_grad(x)), T * EMB * sizeof(double));
    }
    ag_tape_end(tape);
}

static bool show_sums(ag_ctx *ctx, ag_mha *layer, ag_tensor *x, ag_tensor *dY)
{
    double y[HEADS][T * EMB], dx[HEADS][T * EMB], out[T * EMB] = { 0 }, stream[T * EMB] = { 0 }, apart = 0;
    ag_attention_trace *trace = ag_mha_trace(layer, x, (ag_attend){ 0 }, dY);
    if (trace == NULL)
        return false;
    for (int h = 0; h < HEADS; h++) {
        head_output(trace, h, y[h]);
        head_gradient(trace, h, dx[h]);
    }
    run_stream(ctx, layer, x, dY, out, stream);
    const double *in = ag_data(x), *g = ag_data(dY);
    lecture_print("x", "the stream before the layer", in, T, EMB, NULL);
    lecture_print("from head 0", "O_0 Wo_0^T", y[0], T, EMB, NULL);
    lecture_print("from head 1", "O_1 Wo_1^T", y[1], T, EMB, NULL);
    lecture_print("y", "x + from head 0 + from head 1", out, T, EMB, NULL);
    lecture_print("dy", "given", g, T, EMB, NULL);
    lecture_print("through head 0", "dQ_0 Wq_0 + dK_0 Wk_0 + dV_0 Wv_0", dx[0], T, EMB, NULL);
    lecture_print("through head 1", "dQ_1 Wq_1 + dK_1 Wk_1 + dV_1 Wv_1", dx[1], T, EMB, NULL);
    lecture_print("dx", "dy + through head 0 + through head 1", stream, T, EMB, NULL);
    for (int n = 0; n < T * EMB; n++) {
        apart = fmax(apart, fabs(in[n] + y[0][n] + y[1][n] - out[n]));
        apart = fmax(apart, fabs(g[n] + dx[0][n] + dx[1][n] - stream[n]));
    }
    printf("the tape of x + mha(x) gives these sums: %s\n", apart < 1e-12 ? "yes" : "NO");
    ag_attention_trace_free(trace);
    return apart < 1e-12;
}

/* The columns of Wo that belong to head 1 become 0. */
static bool show_cut_head(ag_mha *layer, ag_tensor *x, ag_tensor *dY)
{
    for (int64_t e = 0; e < EMB; e++)
        for (int64_t d = D; d < 2 * D; d++)
            ag_set(ag_module_find(ag_mha_module(layer), "proj.weight"), (int64_t[]){ e, d }, 0);
    ag_attention_trace *trace = ag_mha_trace(layer, x, (ag_attend){ 0 }, dY);
    if (trace == NULL)
        return false;
    const double *dq = values(trace, "dQ"), *dk = values(trace, "dK"), *dv = values(trace, "dV");
    const double *dwo = values(trace, "dW.proj.weight");
    double columns[HEADS] = { 0 };
    for (int n = 0; n < EMB * EMB; n++)
        columns[n % EMB / D] = hypot(columns[n % EMB / D], dwo[n]);
    printf("\nWo_1 = 0       norm of dQ       dK       dV      dWo\n");
    for (int h = 0; h < HEADS; h++)
        ag_printf("        head %d    %8.4f %8.4f %8.4f %8.4f\n", h, norm(dq + h * T * D, T * D),
                  norm(dk + h * T * D, T * D), norm(dv + h * T * D, T * D), columns[h]);
    const bool cut = norm(dq + T * D, T * D) == 0 && norm(dv + T * D, T * D) == 0 && columns[1] > 0.01;
    ag_attention_trace_free(trace);
    return cut;
}

static bool show_heads(ag_ctx *ctx)
{
    ag_mha *layer = ag_mha_new(ctx, (ag_mha_config){ .emb_size = EMB, .num_heads = HEADS, .no_bias = true,
                                                     .init_std = 0.6, .dtype = AG_F64 });
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, T, EMB)));
    ag_tensor *dY = ag_randn(ctx, AG_F64, AG_SHAPE(1, T, EMB));
    const bool good = show_sums(ctx, layer, x, dY) && show_cut_head(layer, x, dY);
    ag_mha_free(layer);
    return good;
}

/* ---- Many layers ---- */

enum { LAYERS = 16, HALVES = 2 * LAYERS, LENGTH = 16, WIDTH = 32, SIZE = LENGTH * WIDTH, SHORT = 8 };
typedef enum kind { PLAIN, RESIDUAL, POST_NORM, PRE_NORM, SMALL, KINDS } kind;
static const char *const kind_name[KINDS] = { "f(x)", "x + f(x)", "norm(x + f(x))", "x + f(norm(x))",
                                              "x + f(norm(x))/sqrt(2L)" };

/* A layer is two halves: attention, then feed-forward. Weights are such that a half keeps the size of its input, but
 * for the mean that attention takes. */
typedef struct stack {
    ag_mha *mha[LAYERS];
    ag_feed_forward *ff[LAYERS];
} stack;

static stack stack_new(ag_ctx *ctx)
{
    stack s;
    for (int l = 0; l < LAYERS; l++) {
        s.mha[l] = ag_mha_new(ctx, (ag_mha_config){ .emb_size = WIDTH, .num_heads = 4, .no_bias = true,
                                                    .init_std = 1 / sqrt(WIDTH), .dtype = AG_F64 });
        s.ff[l] = ag_feed_forward_new(
            ctx, (ag_feed_forward_config){ .emb_size = WIDTH, .no_bias = true, .init_std = 1 / sqrt(WIDTH),
                                           .out_init_std = 1 / sqrt(4 * WIDTH), .dtype = AG_F64 });
    }
    return s;
}

static void stack_free(stack *s)
{
    for (int l = 0; l < LAYERS; l++) {
        ag_mha_free(s->mha[l]);
        ag_feed_forward_free(s->ff[l]);
    }
}

/* f, with the norm and the factor that the kind has inside the branch */
static ag_tensor *branch(const stack *s, kind k, int half, ag_tensor *x)
{
    ag_tensor *in = k == PRE_NORM || k == SMALL ? ag_layer_norm(x, NULL, NULL, 1e-5) : x;
    ag_tensor *y = half % 2 == 0 ? ag_mha_forward(s->mha[half / 2], in) : ag_feed_forward_forward(s->ff[half / 2], in);
    return k == SMALL ? ag_scale(y, 1 / sqrt(HALVES)) : y;
}

static ag_tensor *join(const stack *s, kind k, int half, ag_tensor *x)
{
    ag_tensor *f = branch(s, k, half, x);
    ag_tensor *y = k == PLAIN ? f : ag_add(x, f);
    return k == POST_NORM ? ag_layer_norm(y, NULL, NULL, 1e-5) : y;
}

/* The root mean square of the stream before each layer and behind the last, and that of its gradient. */
static void measure(ag_ctx *ctx, const stack *s, kind k, double forward[LAYERS + 1], double back[LAYERS + 1])
{
    ag_tensor *at[HALVES + 1] = { ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, LENGTH, WIDTH))) };
    ag_tensor *dy = ag_randn(ctx, AG_F64, AG_SHAPE(1, LENGTH, WIDTH));
    ag_tape *tape = ag_tape_begin(ctx);
    for (int h = 0; h < HALVES; h++) {
        at[h + 1] = join(s, k, h, at[h]);
        ag_retain_grad(at[h + 1]);
    }
    ag_backward_from(tape, at[HALVES], dy);
    for (int l = 0; l <= LAYERS && ag_error(ctx) == AG_OK; l++) {
        forward[l] = norm(ag_data(at[2 * l]), SIZE) / sqrt(SIZE);
        back[l] = norm(ag_data(ag_grad(at[2 * l])), SIZE) / sqrt(SIZE);
    }
    ag_tape_end(tape);
}

static void show_depth(ag_ctx *ctx, const stack *s, double logs[KINDS][LAYERS / 2 + 1])
{
    double forward[KINDS][LAYERS + 1] = { { 0 } }, back[KINDS][LAYERS + 1] = { { 0 } };
    for (kind k = 0; k < KINDS; k++)
        measure(ctx, s, k, forward[k], back[k]);
    for (int way = 0; way < 2; way++) {
        printf("\n%-24s", way == 0 ? "size of x behind layer" : "size of its gradient");
        for (int l = 0; l <= LAYERS; l += 4)
            printf("%9d", l);
        putchar('\n');
        for (kind k = 0; k < KINDS; k++) {
            printf("%-24s", kind_name[k]);
            for (int l = 0; l <= LAYERS; l += 4)
                ag_printf("%9.2g", way == 0 ? forward[k][l] : back[k][l]);
            putchar('\n');
        }
    }
    for (kind k = 0; k < KINDS; k++)
        for (int l = 0; l <= LAYERS / 2; l++)
            logs[k][l] = log10(back[k][2 * l]);
}

/* ---- Paths ---- */

/* Of x + f(norm(x)) with SHORT halves: paths[n], 0 before, gets the part of the gradient of x that passed through n
 * branches; whole the gradient of the tape. */
static void split_by_paths(ag_ctx *ctx, const stack *s, double paths[SHORT + 1][SIZE], double whole[SIZE])
{
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, LENGTH, WIDTH))), *y = x;
    ag_tensor *dy = ag_randn(ctx, AG_F64, AG_SHAPE(1, LENGTH, WIDTH));
    double input[SHORT][SIZE];
    ag_tape *tape = ag_tape_begin(ctx);
    for (int h = 0; h < SHORT && y != NULL; h++) {
        memcpy(input[h], ag_data(y), sizeof input[h]);
        y = join(s, PRE_NORM, h, y);
    }
    const bool good = ag_backward_from(tape, y, dy) == AG_OK;
    ag_tape_end(tape);
    if (!good)
        return;
    memcpy(whole, ag_data(ag_grad(x)), SIZE * sizeof(double));
    memcpy(paths[0], ag_data(dy), SIZE * sizeof(double)); /* the others are 0 */
    for (int h = SHORT - 1; h >= 0; h--) {
        ag_tape *one = ag_tape_begin(ctx);
        ag_tensor *in = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(1, LENGTH, WIDTH), input[h]));
        ag_tensor *out = branch(s, PRE_NORM, h, in), *back = NULL;
        for (int n = SHORT - h; n > 0; n--) {
            ag_gradient(one, out, ag_from_data(ctx, AG_F64, AG_SHAPE(1, LENGTH, WIDTH), paths[n - 1]), &in, 1, &back);
            const double *g = ag_data(back);
            for (int i = 0; i < SIZE && g != NULL; i++)
                paths[n][i] += g[i];
        }
        ag_tape_end(one);
    }
}

static bool show_paths(ag_ctx *ctx, const stack *s)
{
    static double paths[SHORT + 1][SIZE], whole[SIZE];
    double count = 1;
    split_by_paths(ctx, s, paths, whole);
    printf("\nbranches passed  paths  size of their sum\n");
    for (int n = 0; n <= SHORT; n++) {
        ag_printf("%15d %6.0f %18.4f\n", n, count, norm(paths[n], SIZE) / sqrt(SIZE));
        count = count * (SHORT - n) / (n + 1);
    }
    const double size = norm(whole, SIZE) / sqrt(SIZE);
    for (int n = 0; n <= SHORT; n++)
        for (int i = 0; i < SIZE; i++)
            whole[i] -= paths[n][i];
    ag_printf("they add up to the tape's gradient, of size %.4f: %s\n", size, norm(whole, SIZE) < 1e-10 ? "yes" : "NO");
    return norm(whole, SIZE) < 1e-10;
}

int main(int argc, char **argv)
{
    static double logs[KINDS][LAYERS / 2 + 1];
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 10 });
    bool good = show_heads(ctx);
    stack s = stack_new(ctx);
    show_depth(ctx, &s, logs);
    good = show_paths(ctx, &s) && good && ag_error(ctx) == AG_OK;
    stack_free(&s);
    static const char *const layer[] = { "0", "2", "4", "6", "8", "10", "12", "14", "16" };
    heatmap_panel panel = {
        "log10 of the gradient's size", KINDS, LAYERS / 2 + 1, logs[0], kind_name, layer, "", "behind layer"
    };
    heatmap map = { "Gradients on their way from layer 16 to layer 0", "log10", -5, 5, 1, &panel };
    return ag_ctx_free(ctx) != 0 || !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
