/* SPDX-License-Identifier: MIT
 *
 * sampling.h - draws the next token from a language model's logits.
 */
#ifndef EXAMPLES_SAMPLING_H
#define EXAMPLES_SAMPLING_H

#include "attngrad.h"

typedef struct sampling {
    double temperature; /* of softmax(logits / temperature); 0: always the likeliest token */
    int64_t top_k;      /* the k likeliest; 0: all */
    double top_p;       /* of these, only the likeliest that together reach p, the one that reaches it included; 0 or 1:
                           all */
    double min_p;       /* only tokens of at least min_p times the probability of the likeliest */
    double repetition;  /* > 1: before all else, logits of the tokens in `seen` are divided by it where they are
                           positive, and multiplied where not (Keskar et al., "CTRL", 2019) */
    const int32_t *seen; /* [seen_count], borrowed */
    int64_t seen_count;
    const char *stop;   /* not of the drawing: the text before which the writer ends; NULL: none */
} sampling; /* of tokens that are equally likely, the first ones are kept */

/* Whether the options are in range: top_p in (0, 1], min_p at most 1, repetition at least 1 or 0. False after one line
 * on stderr. */
bool sampling_in_range(const char *program, const sampling *how);

/* Draws from logits[V] with one number of the random stream, none at temperature 0. A logit of -inf is a token that is
 * never drawn. -1 on error: a logit that is NaN or +inf, or -inf for every token; the message has `line`, and
 * the new token's number in it: there are `after` before. */
int32_t sampling_draw(ag_tensor *logits, const sampling *how, int64_t line, int64_t after);

#endif
