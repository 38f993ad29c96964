/* SPDX-License-Identifier: MIT
 *
 * lm_measure.h - what a model thinks of a text: the surprise of every token, and its attention.
 */
#ifndef EXAMPLES_LM_MEASURE_H
#define EXAMPLES_LM_MEASURE_H

#include "examples/lm/lm_model.h"

/* nats[i] = -ln p(token i | the tokens before it in its window), i >= 1; nats[0] = 0. Windows of the model's context
 * follow each other as those of validation. False after one line on stderr. */
bool measure_surprise(lm_model *model, const int32_t *token, int64_t count, double *nats);

/* Calls put for one token after the other, with its bytes and surprise; tokens that are parts of one character are put
 * together, and their surprise is the sum. Bytes that are no character are put as U+FFFD. */
typedef void put_span(void *user, const unsigned char *text, int64_t length, double nats);
void measure_spans(const vocab *v, const int32_t *token, const double *nats, int64_t count, put_span *put, void *user);

/* The attention weights of a layer's heads over the tokens: [heads,count,count] doubles, to be freed; NULL after one
 * line on stderr. */
double *measure_attention(lm_model *model, int64_t layer, const int32_t *token, int64_t count);

#endif
