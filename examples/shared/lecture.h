/* SPDX-License-Identifier: MIT
 *
 * lecture.h - what the programs that show attention's numbers share: options, a sentence, matrices, heat maps.
 *
 * The words of the sentence are the T tokens; a word's embedding is a row of a random table, so that a repeated word
 * has equal rows. Numbers have a fixed point; "0" without decimals is exactly 0.
 */
#ifndef EXAMPLES_LECTURE_H
#define EXAMPLES_LECTURE_H

#include "attngrad.h"
#include "examples/shared/heatmap.h"
#include "examples/shared/options.h"

enum { LECTURE_WORDS = 12, LECTURE_BYTES = 48, LECTURE_D = 8, LECTURE_HEADS = 4 }; /* the most of each */

typedef struct lecture {
    const char *program, *text; /* given, as are d and heads: the defaults of the options */
    uint64_t d, heads, seed; /* d: channels of a head; heads 0: the program has one head, and it is 1 afterwards */
    bool no_scale, non_causal;
    const char *json, *svg;
    int T; /* words */
    const char *word[LECTURE_WORDS];
    int32_t token[LECTURE_WORDS]; /* the number of the word in the order of first appearance */
    int vocabulary;
    char bytes[LECTURE_WORDS][LECTURE_BYTES];
} lecture;

/* Reads the common options and the program's `own`, and splits the text into words. Returns as options_read. */
int lecture_read(lecture *l, const char *about, const option *own, int own_count, int argc, char **argv);

/* The scale of the scores: 1/sqrt(d), or 1 with --no-scale. */
double lecture_scale(const lecture *l);

/* The embeddings of the words, float64 [1,T,emb_size], from the random stream. */
ag_tensor *lecture_input(ag_ctx *ctx, const lecture *l, int64_t emb_size);

/* Prints "name = formula" and [rows, cols] below it; row_label NULL: none. */
void lecture_print(const char *name, const char *formula, const double *value, int rows, int cols,
                   const char *const *row_label);

/* Prints the heat map and, with --svg NAME, writes NAME-suffix.svg. With `gradients` the colours reach from minus to
 * plus the largest magnitude. False with the reason on stderr. */
bool lecture_show(const lecture *l, heatmap *map, bool gradients, const char *suffix);

/* With --json FILE, writes the trace there. False with the reason on stderr, or in the context. */
bool lecture_write_json(const lecture *l, const ag_attention_trace *trace);

#endif
