/* SPDX-License-Identifier: MIT
 *
 * head_attention.c - one causal head at work on a sentence: Q, K, V, scores, mask, weights, output.
 *
 * The T words are the tokens; a word's embedding is a row of a random table. All numbers are computed a second time
 * from the layer's parameters with plain ops, and compared with the layer's.
 */
#include "attngrad.h"
#include "examples/shared/heatmap.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { WORDS_MAX = 8, WORD_BYTES = 48, EMB = 6, HEAD = 4 };

typedef struct sentence {
    char text[WORDS_MAX][WORD_BYTES];
    const char *word[WORDS_MAX];
    int32_t token[WORDS_MAX]; /* the number of the word in the order of first appearance */
    int count, vocabulary;
} sentence;

static bool read_sentence(sentence *s, const char *text)
{
    while (*(text += strspn(text, " \t\n")) != '\0') {
        size_t bytes = strcspn(text, " \t\n");
        if (s->count == WORDS_MAX || bytes >= WORD_BYTES) {
            fprintf(stderr, "head_attention: --text takes %d words of up to %d bytes\n", WORDS_MAX, WORD_BYTES - 1);
            return false;
        }
        int n = s->count++;
        memcpy(s->text[n], text, bytes);
        s->text[n][bytes] = '\0';
        s->word[n] = s->text[n];
        s->token[n] = s->vocabulary;
        for (int i = 0; i < n; i++)
            if (strcmp(s->word[i], s->word[n]) == 0)
                s->token[n] = s->token[i];
        s->vocabulary += s->token[n] == s->vocabulary;
        text += bytes;
    }
    if (s->count == 0)
        fprintf(stderr, "head_attention: --text has no words\n");
    return s->count > 0;
}

static void show(const char *name, const char *what, const ag_tensor *t)
{
    printf("%s = %s\n", name, what);
    ag_fprint(stdout, t, 0);
    putchar('\n');
}

static ag_tensor *project(ag_module *module, const char *weight, const char *bias, ag_tensor *x)
{
    return ag_linear(x, ag_module_find(module, weight), ag_module_find(module, bias));
}

/* [T,T], 1 where the mask forbids query i to attend to key j. */
static ag_tensor *forbidden(ag_ctx *ctx, ag_mask mask, int n)
{
    int32_t value[WORDS_MAX * WORDS_MAX];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            value[i * n + j] = !ag_mask_allowed(mask, n, n, i, j);
    return ag_from_data(ctx, AG_I32, AG_SHAPE(n, n), value);
}

static double largest_distance(ag_tensor *a, ag_tensor *b)
{
    double distance = (double)NAN;
    ag_item(ag_max(ag_abs(ag_sub(a, b)), AG_ALL_DIMS, false), &distance);
    return distance;
}

static bool report(const char *what, double distance)
{
    bool same = distance <= 1e-5; /* float32; NaN is not the same */
    ag_printf("%-28s differs by at most %.1e   %s\n", what, distance, same ? "ok" : "FAIL");
    return same;
}

static bool draw(const sentence *s, ag_tensor *weights, const char *path)
{
    heatmap_panel panel = { "one head",     s->count, s->count, ag_data(ag_contiguous(ag_cast(weights, AG_F64))),
                            s->word,        s->word,  "query: the word that looks",
                            "key: the word it looks at" };
    heatmap map = { "Attention weights", "weight", 0, 1, 1, &panel };
    if (panel.value == NULL)
        return false;
    heatmap_print(stdout, &map);
    if (!heatmap_save_svg(path, &map)) {
        fprintf(stderr, "head_attention: can not write %s: %s\n", path, strerror(errno));
        return false;
    }
    printf("the same as a picture: %s\n\n", path);
    return true;
}

static bool run(ag_ctx *ctx, ag_head_attention *layer, const sentence *s, const char *path)
{
    ag_module *module = ag_head_attention_module(layer);
    ag_tensor *table = ag_randn(ctx, AG_F32, AG_SHAPE(s->vocabulary, EMB));
    ag_tensor *x = ag_embedding(table, ag_from_data(ctx, AG_I32, AG_SHAPE(s->count), s->token));
    ag_tensor *output = ag_select(ag_head_attention_forward(layer, ag_unsqueeze(x, 0)), 0, 0);
    ag_tensor *weights = ag_select(ag_head_attention_weights(layer), 0, 0);

    ag_printf("T = %d words, emb_size = %d, head_size = %d; a = 1/sqrt(%d) = %.3f\n\n", s->count, EMB, HEAD, HEAD,
              1 / sqrt(HEAD));
    ag_mask causal = { .causal = true };
    ag_tensor *q = project(module, "q.weight", "q.bias", x), *k = project(module, "k.weight", "k.bias", x);
    ag_tensor *v = project(module, "v.weight", "v.bias", x);
    ag_tensor *scores = ag_scale(ag_matmul(q, ag_transpose(k, 0, 1)), 1 / sqrt(HEAD));
    ag_tensor *masked = ag_masked_fill(scores, forbidden(ctx, causal, s->count), -(double)INFINITY);
    ag_tensor *p = ag_softmax(masked, 1);
    show("Q", "x Wq^T + bq: what each word looks for", q);
    show("K", "x Wk^T + bk: what each word offers to be found by", k);
    show("V", "x Wv^T + bv: what each word hands on", v);
    show("scores", "a Q K^T: how well query (row) and key (column) fit", scores);
    printf("mask: # may look, . may not (a word never sees a later one)\n");
    ag_mask_fprint(stdout, causal, s->count, s->count);
    putchar('\n');
    show("weights", "softmax of the scores that the mask allows, row by row", weights);
    show("output", "weights V", output);
    if (ag_error(ctx) != AG_OK || !draw(s, weights, path))
        return false;

    if (s->vocabulary < s->count)
        printf("A repeated word has the same query and key wherever it stands: without position\n"
               "embeddings a head can not tell the first from the second.\n\n");
    printf("Computed again from the layer's parameters with the plain ops:\n");
    bool same = report("ag_head_attention_weights", largest_distance(weights, p));
    return report("ag_head_attention_forward", largest_distance(output, ag_matmul(p, v))) && same;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    const char *path = "head_attention.svg", *text = "the cat sat on the mat";
    const option options[] = {
        { "--text", OPTION_TEXT, &text, "WORDS", "the sentence, 1 to 8 words [the cat sat on the mat]" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of embeddings and weights [1]" },
        { "--out", OPTION_TEXT, &path, "PATH", "the heat map as SVG [head_attention.svg]" },
    };
    int status = options_read("head_attention",
                              "Runs one causal attention head on a sentence and shows every number. The weights are "
                              "random, so the attention itself means nothing: the program shows how it is computed. "
                              "Exits with 1 when the layer and the formulas disagree.",
                              options, 3, argc, argv);
    sentence s = { .count = 0 };
    if (status == OPTIONS_RUN && !read_sentence(&s, text))
        status = OPTIONS_WRONG;
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin("head_attention", seed);
    /* Weights of twice the default size, so that the attention is visibly uneven. */
    ag_head_attention *layer = ag_head_attention_new(
        ctx, (ag_head_attention_config){
                 .emb_size = EMB, .head_size = HEAD, .max_seq_len = WORDS_MAX, .init_std = 0.5 });
    bool good = run(ctx, layer, &s, path);
    ag_head_attention_free(layer);
    return program_end("head_attention", ctx, good);
}
