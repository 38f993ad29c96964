/* SPDX-License-Identifier: MIT
 *
 * what_gets_no_gradient.c - chapter 8 of the course: masks, identities of the backward pass, and the key bias.
 *
 * One head of the library on T = 4 random positions, causal and not; its trace has every matrix.
 * usage: what_gets_no_gradient [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>

enum { T = 4, EMB = 4, D = 2 };

static ag_head_attention *head_of(ag_ctx *ctx, bool causal)
{
    ag_head_attention *head = ag_head_attention_new(
        ctx, (ag_head_attention_config){
                 .emb_size = EMB, .head_size = D, .non_causal = !causal, .init_std = 0.7, .dtype = AG_F64 });
    const char *const bias[] = { "q.bias", "k.bias", "v.bias" }; /* as if they had been trained: not 0 */
    for (int i = 0; i < 3; i++)
        for (int64_t c = 0; c < D; c++)
            ag_set(ag_module_find(ag_head_attention_module(head), bias[i]), &c, 0.3 + 0.2 * i - 0.4 * (double)c);
    return head;
}

static const double *values(const ag_attention_trace *trace, const char *name)
{
    return ag_data(ag_attention_trace_find(trace, name));
}

/* The largest magnitude of the sums of the rows of x[T,T], or of its columns. */
static double largest_sum(const double *x, bool rows)
{
    double largest = 0;
    for (int i = 0; i < T; i++) {
        double sum = 0;
        for (int j = 0; j < T; j++)
            sum += rows ? x[i * T + j] : x[j * T + i];
        largest = fmax(largest, fabs(sum));
    }
    return largest;
}

static double product(const double *a, const double *b, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest_of(const double *x, int count)
{
    double largest = 0;
    for (int i = 0; i < count; i++)
        largest = fmax(largest, fabs(x[i]));
    return largest;
}

static bool show_biases(const ag_attention_trace *trace)
{
    const double *q = values(trace, "dW.q.bias"), *k = values(trace, "dW.k.bias"), *v = values(trace, "dW.v.bias");
    ag_printf("largest |gradient|: bq %.4f, bk %.4f, bv %.4f\n", largest_of(q, D), largest_of(k, D), largest_of(v, D));
    return largest_of(k, D) < 1e-14 && largest_of(q, D) > 0.01 && largest_of(v, D) > 0.01;
}

static bool show_identities(const ag_attention_trace *trace)
{
    const double *dS = values(trace, "dS");
    const double rows = largest_sum(dS, true), columns = largest_sum(dS, false);
    const double q = product(values(trace, "Q"), values(trace, "dQ"), T * D);
    const double k = product(values(trace, "K"), values(trace, "dK"), T * D);
    const double s = product(values(trace, "U"), dS, T * T); /* U: the scores before the mask */
    const double v = product(values(trace, "V"), values(trace, "dV"), T * D);
    const double o = product(values(trace, "O"), values(trace, "dO"), T * D),
                 d = product((const double[]){ 1, 1, 1, 1 }, values(trace, "delta"), T);
    ag_printf("sums of dS: of a row at most %.4f, of a column at most %.4f\n", rows, columns);
    ag_printf("sum(Q * dQ) = %.4f, sum(K * dK) = %.4f, sum(S * dS) = %.4f\n", q, k, s);
    ag_printf("sum(V * dV) = %.4f, sum(O * dO) = %.4f, sum(delta) = %.4f\n", v, o, d);
    return rows < 1e-14 && columns > 0.01 && fabs(q - k) < 1e-13 && fabs(q - s) < 1e-13 && fabs(v - o) < 1e-13 &&
           fabs(v - d) < 1e-13;
}

/* Adds to the bias of the keys: no output changes, by more than rounding. */
static bool show_key_bias(ag_head_attention *head, ag_tensor *x)
{
    ag_tensor *before = ag_head_attention_forward(head, x);
    ag_set(ag_module_find(ag_head_attention_module(head), "k.bias"), (int64_t[]){ 0 }, 100);
    double moved = (double)NAN;
    ag_item(ag_max(ag_abs(ag_sub(ag_head_attention_forward(head, x), before)), AG_ALL_DIMS, false), &moved);
    printf("bk[0] becomes 100: an output changes by more than 1e-12: %s\n", moved < 1e-12 ? "no" : "YES");
    return moved < 1e-12;
}

static bool run(ag_ctx *ctx, bool causal, const char *picture)
{
    ag_head_attention *head = head_of(ctx, causal);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(1, T, EMB)), *dO = ag_randn(ctx, AG_F64, AG_SHAPE(1, T, D));
    ag_attention_trace *trace = ag_head_attention_trace(head, x, (ag_attend){ 0 }, dO);
    bool good = trace != NULL;
    if (good) {
        printf("---- %s ----\n\n", causal ? "causal" : "without mask");
        lecture_print("P", "softmax(S), row by row", values(trace, "P"), T, T, NULL);
        lecture_print("dP", "dO V^T", values(trace, "dP"), T, T, NULL);
        lecture_print("dS", "P * (dP - delta)", values(trace, "dS"), T, T, NULL);
        lecture_print("dQ", "a dS K", values(trace, "dQ"), T, D, NULL);
        good = show_identities(trace);
        good = show_biases(trace) && good;
        good = show_key_bias(head, x) && good;
        putchar('\n');
        heatmap_panel panel[] = { { "dP", T, T, values(trace, "dP"), NULL, NULL, "query", "key" },
                                  { "dS", T, T, values(trace, "dS"), NULL, NULL, "query", "key" } };
        heatmap map = { "The mask acts between dP and dS", "gradient", -2, 2, 2, panel };
        good = good && (picture == NULL || heatmap_save_svg(picture, &map));
    }
    ag_attention_trace_free(trace);
    ag_head_attention_free(head);
    return good;
}

int main(int argc, char **argv)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 8 });
    const bool good = run(ctx, true, argc > 1 ? argv[1] : NULL) && run(ctx, false, NULL);
    return ag_ctx_free(ctx) != 0 || !good;
}
