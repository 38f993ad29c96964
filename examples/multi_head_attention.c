/* SPDX-License-Identifier: MIT
 *
 * multi_head_attention.c - heads side by side: random ones, forward and backward, then four with weights made by hand.
 *
 * The second part follows one bright token through an input of zeros. Four heads with weights written down here attend
 * to the previous position, to the bright token, to their own position, and to all positions equally. The output of
 * each head shows which positions the bright token reaches, and through which head.
 */
#include "attngrad.h"
#include "examples/shared/lecture.h"
#include "examples/shared/program.h"

#include <math.h>

enum { HEADS = 4, T = 6, EMB = 1 + T, HEAD = T };
enum { BRIGHTNESS, POSITION }; /* channels of the input: one for the content, then one per position */

static const char *const looks_at[HEADS] = { "0: previous", "1: bright", "2: itself", "3: all alike" };

/* value [heads,n,n] as one panel per head. */
static void head_panels(heatmap_panel *panel, int count, int n, const double *value, const char *const *titles,
                        const char *const *labels)
{
    for (int h = 0; h < count; h++)
        panel[h] = (heatmap_panel){ .title = titles[h],
                                    .rows = n,
                                    .cols = n,
                                    .value = value + h * n * n,
                                    .row_label = labels,
                                    .col_label = labels,
                                    .row_axis = "query: looks",
                                    .col_axis = "key: is looked at" };
}

/* ---- Random weights on a sentence ------------------------------------------------------------ */

static bool show_heads(const lecture *l, const ag_attention_trace *trace, const char *name, const char *title)
{
    static const char *const heads[] = { "head 0", "head 1", "head 2", "head 3" };
    const bool gradients = name[0] == 'd';
    heatmap_panel panel[LECTURE_HEADS];
    head_panels(panel, (int)l->heads, l->T, ag_data(ag_attention_trace_find(trace, name)), heads, l->word);
    heatmap map = {
        .title = title, .bar_title = gradients ? "gradient" : "weight", .panel_count = (int)l->heads, .panel = panel
    };
    return lecture_show(l, &map, gradients, name);
}

/* An input or a weight of the trace. */
static void show_matrix(const lecture *l, const ag_attention_trace *trace, const char *name, const char *formula)
{
    const ag_tensor *t = ag_attention_trace_find(trace, name);
    const int cols = (int)ag_dim(t, -1), rows = (int)ag_numel(t) / cols;
    lecture_print(name, formula, ag_data(t), rows, cols, name[0] == 'X' ? l->word : NULL);
}

static bool show_random(ag_ctx *ctx, const lecture *l)
{
    const int64_t emb = (int64_t)(l->heads * l->d);
    /* Larger weights than the default, so that the attention is visibly uneven. */
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = emb,
                                                   .num_heads = (int64_t)l->heads,
                                                   .non_causal = l->non_causal,
                                                   .no_bias = true,
                                                   .attention = { .scale = lecture_scale(l) },
                                                   .init_std = 1.4 / sqrt((double)emb),
                                                   .dtype = AG_F64 });
    ag_attention_trace *trace = ag_mha_trace(mha, lecture_input(ctx, l, emb), (ag_attend){ 0 }, NULL);
    bool good = trace != NULL;
    if (good) {
        printf("T = %d words, %d heads of d = %d channels, emb_size = %d\n\n", l->T, (int)l->heads, (int)l->d,
               (int)emb);
        show_matrix(l, trace, "X", "the embedding of each word [T,emb_size]");
        show_matrix(l, trace, "W.q.weight", "head h is rows h d .. (h+1) d - 1, as of k and v");
        show_matrix(l, trace, "W.k.weight", "[emb_size,emb_size]");
        show_matrix(l, trace, "W.v.weight", "[emb_size,emb_size]");
        show_matrix(l, trace, "W.proj.weight", "head h is columns h d .. (h+1) d - 1");
        good = show_heads(l, trace, "P", "P, heads with random weights");
    }
    if (good) {
        printf("Each row sums to 1. Every head has projections of its own, so each looks elsewhere.\n\n");
        good = show_heads(l, trace, "dS", "dS, the gradient of the scores for a random gradient of the output");
    }
    if (good && !l->non_causal)
        printf("Row 0 is 0 in every head: word 0 sees itself alone, P = 1 whatever its score.\n");
    if (good)
        printf("Each row of dS sums to 0. The heads meet in the output alone: for a given gradient of the\n"
               "output, no head's dS depends on another head's q, k and v.\n\n");
    good = good && lecture_write_json(l, trace);
    ag_attention_trace_free(trace);
    ag_mha_free(mha);
    return good;
}

/* ---- Weights made by hand -------------------------------------------------------------------- */

static void set(ag_tensor *weight, int head, int row, int channel, double value)
{
    ag_set(weight, (int64_t[]){ head * HEAD + row, channel }, value);
}

/* Scores are a q.k with a = 1/sqrt(HEAD). Where query and key match, q.k = fit makes the score 10: against scores of 0
 * the softmax gives the matching key at least 99.9 %. */
static void set_by_hand(ag_module *module)
{
    const double fit = 10 * sqrt(HEAD);
    ag_tensor *q = ag_module_find(module, "q.weight"), *k = ag_module_find(module, "k.weight");
    ag_tensor *v = ag_module_find(module, "v.weight"), *proj = ag_module_find(module, "proj.weight");
    ag_fill(q, 0);
    ag_fill(k, 0);
    ag_fill(v, 0);
    ag_fill(proj, 0);
    for (int t = 0; t < T; t++) {
        set(q, 0, t > 0 ? t - 1 : 0, POSITION + t, fit); /* matches the previous position; the first its own */
        set(k, 0, t, POSITION + t, 1);                   /* the key's position */
        set(q, 1, 0, POSITION + t, fit);                 /* matches the bright token from every position */
        set(q, 2, t, POSITION + t, fit);                 /* matches its own position */
        set(k, 2, t, POSITION + t, 1);
    }
    set(k, 1, 0, BRIGHTNESS, 1);
    for (int h = 0; h < HEADS; h++) { /* head 3 has q = k = 0: all scores are 0 */
        set(v, h, 0, BRIGHTNESS, 1);  /* every head passes brightness on, */
        ag_set(proj, (int64_t[]){ h, h * HEAD }, 1); /* and channel h of the output is that of head h */
    }
}

/* The input [1,T,EMB]: the content channel is 1 at position `bright` (-1: none), else 0. */
static ag_tensor *input(ag_ctx *ctx, int bright)
{
    ag_tensor *x = ag_zeros(ctx, AG_F64, AG_SHAPE(1, T, EMB));
    for (int t = 0; t < T; t++)
        ag_set(x, (int64_t[]){ 0, t, POSITION + t }, 1);
    if (bright >= 0)
        ag_set(x, (int64_t[]){ 0, bright, BRIGHTNESS }, 1);
    return x;
}

static double at(const ag_tensor *t, int i, int channel)
{
    double value = (double)NAN;
    ag_get(t, (int64_t[]){ 0, i, channel }, &value);
    return value;
}

/* Prints which outputs change when position j lights up. Returns whether they are exactly those that may attend to
 * j. */
static bool show_reach(ag_ctx *ctx, ag_mha *mha, ag_mask mask)
{
    char seen[T][T];
    bool right = true;
    ag_tensor *dark = ag_mha_forward(mha, input(ctx, -1));
    for (int j = 0; j < T; j++) {
        ag_tensor *lit = ag_mha_forward(mha, input(ctx, j));
        for (int i = 0; i < T; i++) {
            bool changed = false;
            for (int c = 0; c < HEADS; c++)
                changed = changed || at(lit, i, c) != at(dark, i, c);
            seen[i][j] = changed ? '#' : '.';
            right = right && changed == ag_mask_allowed(mask, T, T, i, j);
        }
    }
    printf("Who reaches whom: # where the output of row i changes when the token of column j lights up\n\n      ");
    for (int j = 0; j < T; j++)
        printf(" %d", j);
    putchar('\n');
    for (int i = 0; i < T; i++) {
        printf("    %d ", i);
        for (int j = 0; j < T; j++)
            printf(" %c", seen[i][j]);
        putchar('\n');
    }
    printf("\n%s, to the last bit: %s\n",
           mask.causal ? "The lower triangle: a token changes nothing before it" : "All of it: nothing is masked",
           right ? "PASS" : "FAIL");
    return right;
}

static void explain(int bright, bool non_causal)
{
    printf("Position %d is bright, all else is dark. The last panel is how much brightness each\n"
           "head (column) brings to each position (row): head 0 hands it one to the right, head 1\n"
           "to all who can see it, head 2 keeps it, head 3 spreads it thin.\n%s\n\n",
           bright,
           non_causal ? "Without the causal mask it reaches the positions before it too."
                      : "Rows before the bright one hold exact zeros: the causal mask lets nothing back.");
}

static bool show_bright(ag_ctx *ctx, int bright, const lecture *l)
{
    const bool non_causal = l->non_causal;
    static char label_text[T][16];
    const char *labels[T];
    for (int t = 0; t < T; t++) {
        snprintf(label_text[t], sizeof label_text[t], t == bright ? "%d*" : "%d", t);
        labels[t] = label_text[t];
    }
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = EMB,
                                                   .num_heads = HEADS,
                                                   .head_size = HEAD,
                                                   .max_seq_len = T,
                                                   .non_causal = non_causal,
                                                   .no_bias = true,
                                                   .dtype = AG_F64 });
    set_by_hand(ag_mha_module(mha));
    ag_tensor *output = ag_slice(ag_mha_forward(mha, input(ctx, bright)), 2, 0, HEADS, 1);
    ag_tensor *weights = ag_contiguous(ag_mha_weights(mha));
    if (weights == NULL) {
        ag_mha_free(mha);
        return false;
    }
    heatmap_panel panel[HEADS + 1];
    head_panels(panel, HEADS, T, ag_data(weights), looks_at, labels);
    panel[HEADS] = (heatmap_panel){ .title = "brings",
                                    .rows = T,
                                    .cols = HEADS,
                                    .value = ag_data(ag_contiguous(output)),
                                    .row_label = labels,
                                    .row_axis = "position",
                                    .col_axis = "head" };
    heatmap map = { .title = "One bright token (*) and four heads made by hand",
                    .bar_title = "weight",
                    .panel_count = HEADS + 1,
                    .panel = panel };
    bool good = ag_error(ctx) == AG_OK && lecture_show(l, &map, false, "bright");
    if (good) {
        explain(bright, non_causal);
        good = show_reach(ctx, mha, (ag_mask){ .causal = !non_causal });
    }
    ag_mha_free(mha);
    return good;
}

int main(int argc, char **argv)
{
    uint64_t bright = 2;
    const option own[] = {
        { "--bright", OPTION_NUMBER, &bright, "I", "position of the bright token, 0 to 5 [2]", 0, T - 1 },
    };
    lecture l = { .program = "multi_head_attention", .text = "the cat sat on the mat", .d = 2, .heads = 4 };
    const int status = lecture_read(&l,
                                    "Shows the attention of several heads and its gradients as heat maps: with random "
                                    "weights on a sentence, then of four heads with weights made by hand, where one "
                                    "bright token is followed through the heads. Exits with 1 when the token reaches a "
                                    "position that the mask forbids.",
                                    own, 1, argc, argv);
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin(l.program, l.seed);
    const bool good = show_random(ctx, &l) && show_bright(ctx, (int)bright, &l);
    return program_end(l.program, ctx, good);
}
