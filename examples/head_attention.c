/* SPDX-License-Identifier: MIT
 *
 * head_attention.c - one head at work on a sentence: X, the weights, Q, K, V, scores, mask, attention, output.
 *
 * All numbers are computed by plain ops from the layer's parameters, and compared with the layer's.
 */
#include "attngrad.h"
#include "examples/shared/lecture.h"
#include "examples/shared/program.h"

#include <math.h>

enum { EMB = 6 };

static void show(const lecture *l, const char *name, const char *formula, ag_tensor *t)
{
    const double *value = ag_data(ag_contiguous(t));
    const int cols = (int)ag_dim(t, -1), rows = value == NULL ? 0 : (int)ag_numel(t) / cols;
    lecture_print(name, formula, value, rows, cols, rows == l->T ? l->word : NULL);
}

/* [T,T], 1 where the mask forbids query i to attend to key j. */
static ag_tensor *forbidden(ag_ctx *ctx, ag_mask mask, int n)
{
    int32_t value[LECTURE_WORDS * LECTURE_WORDS];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            value[i * n + j] = !ag_mask_allowed(mask, n, n, i, j);
    return ag_from_data(ctx, AG_I32, AG_SHAPE(n, n), value);
}

static bool report(const char *what, ag_tensor *a, ag_tensor *b)
{
    double distance = (double)NAN;
    ag_item(ag_max(ag_abs(ag_sub(a, b)), AG_ALL_DIMS, false), &distance);
    const bool same = distance <= 1e-12; /* NaN is not the same */
    ag_printf("%-28s differs by at most %.1e   %s\n", what, distance, same ? "ok" : "FAIL");
    return same;
}

static bool draw(const lecture *l, ag_tensor *weights)
{
    heatmap_panel panel = { "one head",
                            l->T,
                            l->T,
                            ag_data(ag_contiguous(weights)),
                            l->word,
                            l->word,
                            "query: the word that looks",
                            "key: the word it looks at" };
    heatmap map = { .title = "Attention P", .bar_title = "weight", .panel_count = 1, .panel = &panel };
    return panel.value != NULL && lecture_show(l, &map, false, "weights");
}

/* Shows W and b, and returns x W^T + b. */
static ag_tensor *project(const lecture *l, ag_module *module, char which, ag_tensor *x)
{
    char weight[] = "?.weight", bias[] = "?.bias", name[] = "W?", bias_name[] = "b?";
    weight[0] = bias[0] = name[1] = bias_name[1] = which;
    ag_tensor *w = ag_module_find(module, weight), *b = ag_module_find(module, bias);
    show(l, name, "weight [d,emb_size]", w);
    show(l, bias_name, "bias [d]", b);
    return ag_linear(x, w, b);
}

static bool run(ag_ctx *ctx, ag_head_attention *layer, const lecture *l)
{
    ag_module *module = ag_head_attention_module(layer);
    ag_tensor *input = lecture_input(ctx, l, EMB), *x = ag_select(input, 0, 0);
    ag_tensor *output = ag_select(ag_head_attention_forward(layer, input), 0, 0);
    ag_tensor *weights = ag_select(ag_head_attention_weights(layer), 0, 0);

    const double a = lecture_scale(l);
    ag_printf("T = %d words, emb_size = %d, d = %d; a = %s = %.4f\n\n", l->T, EMB, (int)l->d,
              l->no_scale ? "1, without 1/sqrt(d)," : "1/sqrt(d)", a);
    const ag_mask mask = { .causal = !l->non_causal };
    show(l, "X", "the embedding of each word [T,emb_size]", x);
    ag_tensor *q = project(l, module, 'q', x), *k = project(l, module, 'k', x), *v = project(l, module, 'v', x);
    ag_tensor *scores = ag_scale(ag_matmul(q, ag_transpose(k, 0, 1)), a);
    ag_tensor *masked = ag_masked_fill(scores, forbidden(ctx, mask, l->T), -(double)INFINITY);
    ag_tensor *p = ag_softmax(masked, 1);
    show(l, "Q", "X Wq^T + bq: what each word looks for", q);
    show(l, "K", "X Wk^T + bk: what each word offers to be found by", k);
    show(l, "V", "X Wv^T + bv: what each word hands on", v);
    show(l, "scores", "a Q K^T: how well query (row) and key (column) fit", scores);
    printf("mask: # may look, . may not%s\n", l->non_causal ? "" : " (a word never sees a later one)");
    ag_mask_fprint(stdout, mask, l->T, l->T);
    putchar('\n');
    show(l, "P", "softmax of the scores that the mask allows, row by row", p);
    show(l, "O", "P V", output);
    if (ag_error(ctx) != AG_OK || !draw(l, weights))
        return false;

    if (l->vocabulary < l->T)
        printf("A repeated word has the same query and key wherever it stands: without position\n"
               "embeddings a head can not tell the first from the second.\n\n");
    printf("Computed again from the layer's parameters with the plain ops:\n");
    const bool same =
        report("ag_head_attention_weights", weights, p) && report("ag_head_attention_forward", output, ag_matmul(p, v));
    ag_attention_trace *trace = l->json == NULL ? NULL : ag_head_attention_trace(layer, input, (ag_attend){ 0 }, NULL);
    const bool written = lecture_write_json(l, trace);
    ag_attention_trace_free(trace);
    return same && written;
}

int main(int argc, char **argv)
{
    lecture l = { .program = "head_attention", .text = "the cat sat on the mat", .d = 4 };
    const int status = lecture_read(&l,
                                    "Runs one attention head on a sentence and shows every number. The weights are "
                                    "random, so the attention itself means nothing: the program shows how it is "
                                    "computed. Exits with 1 when the layer and the formulas disagree.",
                                    NULL, 0, argc, argv);
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin(l.program, l.seed);
    /* Weights of twice the default size, so that the attention is visibly uneven. */
    ag_head_attention *layer =
        ag_head_attention_new(ctx, (ag_head_attention_config){ .emb_size = EMB,
                                                               .head_size = (int64_t)l.d,
                                                               .non_causal = l.non_causal,
                                                               .attention = { .scale = lecture_scale(&l) },
                                                               .init_std = 0.5,
                                                               .dtype = AG_F64 });
    const bool good = run(ctx, layer, &l);
    ag_head_attention_free(layer);
    return program_end(l.program, ctx, good);
}
