/* SPDX-License-Identifier: MIT
 *
 * multi_head_attention.c - four heads side by side: first with random weights, then with weights made by hand.
 *
 * The second part follows one bright token through an input of zeros. Four heads with weights written down here attend
 * to the previous position, to the bright token, to their own position, and to all positions equally. The output of
 * each head shows which positions the bright token reaches, and through which head.
 */
#include "attngrad.h"
#include "examples/shared/heatmap.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { HEADS = 4, T = 6, EMB = 1 + T, HEAD = T };
enum { BRIGHTNESS, POSITION }; /* channels of the input: one for the content, then one per position */

static const char *const words[T] = { "the", "cat", "sat", "on", "the", "mat" };
static const char *const heads[HEADS] = { "head 0", "head 1", "head 2", "head 3" };
static const char *const looks_at[HEADS] = { "0: previous", "1: bright", "2: itself", "3: all alike" };

static bool save(const char *path, const heatmap *map)
{
    if (!heatmap_save_svg(path, map)) {
        fprintf(stderr, "multi_head_attention: can not write %s: %s\n", path, strerror(errno));
        return false;
    }
    printf("the same as a picture: %s\n\n", path);
    return true;
}

/* The layer's weights [1,H,T,T] as one panel per head. They live until the context ends. */
static void head_panels(heatmap_panel panel[HEADS], ag_tensor *weights, const char *const *titles,
                        const char *const *labels)
{
    const double *value = ag_data(ag_contiguous(ag_cast(weights, AG_F64)));
    for (int h = 0; h < HEADS; h++)
        panel[h] = (heatmap_panel){ .title = titles[h],
                                    .rows = T,
                                    .cols = T,
                                    .value = value != NULL ? value + h * T * T : NULL,
                                    .row_label = labels,
                                    .col_label = labels,
                                    .row_axis = "query: looks",
                                    .col_axis = "key: is looked at" };
}

/* ---- Random weights on a sentence ------------------------------------------------------------ */

static bool show_random(ag_ctx *ctx, bool non_causal, const char *path)
{
    /* Larger weights than the default, so that the attention is visibly uneven. */
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = 16,
                                                   .num_heads = HEADS,
                                                   .max_seq_len = T,
                                                   .non_causal = non_causal,
                                                   .init_std = 0.35 });
    ag_mha_forward(mha, ag_randn(ctx, AG_F32, AG_SHAPE(1, T, 16)));
    heatmap_panel panel[HEADS];
    head_panels(panel, ag_mha_weights(mha), heads, words);
    heatmap map = { "Four heads with random weights", "weight", 0, 1, HEADS, panel };
    bool good = ag_error(ctx) == AG_OK && heatmap_print(stdout, &map);
    if (good)
        printf("Each row sums to 1. Every head has projections of its own, so each looks elsewhere.\n");
    good = good && save(path, &map);
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
    ag_tensor *x = ag_zeros(ctx, AG_F32, AG_SHAPE(1, T, EMB));
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

static bool show_bright(ag_ctx *ctx, int bright, bool non_causal, const char *path)
{
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
                                                   .no_bias = true });
    set_by_hand(ag_mha_module(mha));
    ag_tensor *output = ag_slice(ag_mha_forward(mha, input(ctx, bright)), 2, 0, HEADS, 1);
    heatmap_panel panel[HEADS + 1];
    head_panels(panel, ag_mha_weights(mha), looks_at, labels);
    panel[HEADS] = (heatmap_panel){ .title = "brings",
                                    .rows = T,
                                    .cols = HEADS,
                                    .value = ag_data(ag_contiguous(ag_cast(output, AG_F64))),
                                    .row_label = labels,
                                    .row_axis = "position",
                                    .col_axis = "head" };
    heatmap map = { "One bright token (*) and four heads made by hand", "weight", 0, 1, HEADS + 1, panel };
    bool good = ag_error(ctx) == AG_OK && heatmap_print(stdout, &map) && save(path, &map);
    if (good) {
        explain(bright, non_causal);
        good = show_reach(ctx, mha, (ag_mask){ .causal = !non_causal });
    }
    ag_mha_free(mha);
    return good;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, bright = 2;
    bool non_causal = false;
    const char *path = "multi_head_attention.svg", *bright_path = "bright_token.svg";
    const option options[] = {
        { "--bright", OPTION_NUMBER, &bright, "I", "position of the bright token, 0 to 5 [2]" },
        { "--non-causal", OPTION_FLAG, &non_causal, NULL, "let every position attend to every position" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of the random heads and their input [1]" },
        { "--out", OPTION_TEXT, &path, "PATH", "random heads as SVG [multi_head_attention.svg]" },
        { "--bright-out", OPTION_TEXT, &bright_path, "PATH", "heads made by hand as SVG [bright_token.svg]" },
    };
    int status = options_read("multi_head_attention",
                              "Shows the attention weights of four heads as heat maps: with random weights on a "
                              "sentence, then with weights made by hand, where one bright token is followed through "
                              "the heads. Exits with 1 when the token reaches a position that the mask forbids.",
                              options, 5, argc, argv);
    if (status == OPTIONS_RUN && bright >= T) {
        fprintf(stderr, "multi_head_attention: --bright is %llu, positions are 0 to %d\n", (unsigned long long)bright,
                T - 1);
        status = OPTIONS_WRONG;
    }
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin("multi_head_attention", seed);
    bool good = show_random(ctx, non_causal, path) && show_bright(ctx, (int)bright, non_causal, bright_path);
    return program_end("multi_head_attention", ctx, good);
}
