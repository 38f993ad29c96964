/* SPDX-License-Identifier: MIT
 *
 * lm_corpus.h - a text as token numbers: its vocabulary, its split, windows for training and validation.
 *
 * A token is a character (UTF-8 code point) or a byte. A byte order mark before the text is no part of it. NUL is no
 * character, so that a text can be kept as a C string; it is a byte. The first nine tenths are for training, the rest
 * for validation; no window crosses the border.
 */
#ifndef EXAMPLES_LM_CORPUS_H
#define EXAMPLES_LM_CORPUS_H

#include "attngrad.h"

enum { VOCAB_MAX = 4096, UTF8_BYTES = 5 };

typedef struct vocab {
    bool bytes; /* byte level: token n is byte n, size 256 */
    int32_t size;
    uint32_t code[VOCAB_MAX]; /* code points, ascending */
} vocab;

typedef struct corpus {
    vocab vocab;
    int32_t *token;
    int64_t count, train_count; /* tokens; those from train_count on are for validation */
} corpus;

/* Reads a text file. On failure, or when the text is empty or not text, prints one line to stderr and returns false. */
bool corpus_read(corpus *c, const char *path, bool bytes);
void corpus_free(corpus *c);

/* The vocabulary as UTF-8 text ("" for bytes), to be freed; and back. */
char *vocab_text(const vocab *v);
bool vocab_from_text(vocab *v, const char *text, bool bytes);

/* The tokens of a prompt into token[strlen(prompt)]; their number, or -1 after one line on stderr when a character is
 * not in the vocabulary. */
int64_t vocab_encode(const vocab *v, const char *prompt, int32_t *token);

/* The token to begin a text with: the end of a line, or the first token if the vocabulary has no such character. */
int32_t vocab_start(const vocab *v);

/* Prints tokens as text, whole characters only: the bytes of an unfinished character wait for the next call. */
typedef struct text_out {
    FILE *file;
    unsigned char pending[4];
    size_t have; /* bytes of an unfinished character */
} text_out;
void text_put(text_out *out, const vocab *v, int32_t token);
void text_end(text_out *out); /* an unfinished character becomes U+FFFD */

/* Nats per token of the validation text under counts of the training text, add-one smoothed. */
typedef struct baselines {
    double uniform, unigram, bigram;
} baselines;
baselines corpus_baselines(const corpus *c);

/* `batch` windows of T+1 training tokens at random starts, every possible start equally likely: [batch,T+1]. */
ag_tensor *corpus_batch(ag_ctx *ctx, const corpus *c, int64_t batch, int64_t T);

#endif
