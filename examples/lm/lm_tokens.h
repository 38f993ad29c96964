/* SPDX-License-Identifier: MIT
 *
 * lm_tokens.h - tokens: the vocabulary of a text, texts as tokens, and tokens as text.
 *
 * A token is a character (UTF-8 code point) or a byte. NUL is no character, so that a text can be kept as a C string;
 * it is a byte.
 */
#ifndef EXAMPLES_LM_TOKENS_H
#define EXAMPLES_LM_TOKENS_H

#include "attngrad.h"

enum { VOCAB_MAX = 4096 };

typedef struct vocab {
    bool bytes; /* byte level: token n is byte n, size 256 */
    int32_t size;
    uint32_t code[VOCAB_MAX]; /* code points, ascending */
} vocab;

/* The vocabulary of a text. False when characters are wanted and the text has bytes that are none: *at is the first
 * such byte; or more than VOCAB_MAX: *at is `size`. */
bool vocab_learn(vocab *v, bool bytes, const unsigned char *text, int64_t size, int64_t *at);

/* The vocabulary as UTF-8 text ("" for bytes), to be freed; and back. */
char *vocab_text(const vocab *v);
bool vocab_from_text(vocab *v, const char *text, bool bytes);

/* The tokens of a text into token[size]; their number, or -1 when the byte *at begins no character of the
 * vocabulary. */
int64_t vocab_encode(const vocab *v, const unsigned char *text, int64_t size, int32_t *token, int64_t *at);

/* The same of a prompt into token[strlen(prompt)], with one line on stderr before -1. */
int64_t vocab_encode_prompt(const vocab *v, const char *prompt, int32_t *token);

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

#endif
