/* SPDX-License-Identifier: MIT
 *
 * lm_text.h - a text to train on: its files, its tokens and their split, windows, baselines.
 *
 * The files are joined in the given order; a folder stands for the files in it, by name. A byte order mark before a
 * file's text is no part of it, unless a token is a byte. The last tenth of the text is for validation, or a text of
 * its own; no window crosses the border.
 */
#ifndef EXAMPLES_LM_TEXT_H
#define EXAMPLES_LM_TEXT_H

#include "examples/lm/lm_tokens.h"

typedef struct text_files {
    const char *const *path; /* files and folders; "-": standard input */
    int count;
    const char *val; /* a file or folder for validation; NULL: the last tenth of the text */
    double most;     /* bytes that there is memory for; 0: not known */
} text_files;

typedef struct raw_text {
    unsigned char *byte;
    int64_t size, train_size; /* train_size == size: the last tenth of the tokens is for validation */
    int files;                /* files read */
    bool stream;              /* some of it can not be read again: a pipe, standard input */
    double most;              /* bytes, as in text_files */
} raw_text;

/* Reads the files, for tokens of this kind: for characters they must be UTF-8 without NUL, for bytes they may be
 * anything. Byte order marks are removed, but for bytes. On failure, or when the text is empty or too large, prints one
 * line to stderr and returns false. */
bool text_read(raw_text *t, text_files files, token_kind kind);
void text_free(raw_text *t);

/* The bytes of the byte order mark with which a text begins: 3 or 0. -1, after one line on stderr that begins with
 * `name`, when the text looks like UTF-16 or UTF-32. */
int64_t text_mark_size(const char *name, const char *text, int64_t size);

/* The text's size and a hash of its bytes and border, to tell it from another: 16 hexadecimal digits and a NUL. */
enum { TEXT_MARK = 17 };
void text_mark(const raw_text *t, char mark[TEXT_MARK]);

/* Nats per token of the validation text under counts of the training text, add-one smoothed; of at most 2^24 tokens of
 * each. */
typedef struct baselines {
    double uniform, unigram, bigram;
} baselines;

typedef struct corpus {
    vocab vocab;
    int32_t *token;
    int64_t count, train_count; /* tokens; those from train_count on are for validation */
    int64_t val_bytes;          /* of the tokens that validation predicts: all but the first */
    int64_t val_characters;     /* of their bytes, those that begin a character of UTF-8 */
    baselines chance;
} corpus;

/* The text's tokens: of the vocabulary `known`, or, if it is NULL, of one of this kind and size (vocab_learn) that is
 * learned from the text. False after one line on stderr. */
bool corpus_make(corpus *c, const raw_text *t, const vocab *known, token_kind kind, int32_t size);

/* Of a loss of the validation text in nats per token: bits per byte; both in words, of byte pairs per character too. */
double corpus_bits_per_byte(const corpus *c, double nats);
void corpus_print_loss(FILE *file, const corpus *c, double nats);
void corpus_free(corpus *c);

/* `batch` windows of T+1 training tokens at random starts, every possible start equally likely: [batch,T+1]. */
ag_tensor *corpus_batch(ag_ctx *ctx, const corpus *c, int64_t batch, int64_t T);

#endif
