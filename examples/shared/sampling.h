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
} sampling; /* of tokens that are equally likely, the first ones are kept */

/* Whether the options are in range: top_p in (0, 1]. False after one line on stderr. */
bool sampling_in_range(const char *program, const sampling *how);

/* Draws from logits[V] with one number of the random stream, none at temperature 0. A logit of -inf is a token that is
 * never drawn. -1 on error: a logit that is NaN or +inf, or -inf for every token; the message has `line`, and
 * the new token's number in it: there are `after` before. */
int32_t sampling_draw(ag_tensor *logits, const sampling *how, int64_t line, int64_t after);

#endif
