/* SPDX-License-Identifier: MIT
 *
 * lm_tokens.h - tokens: the vocabulary of a text, texts as tokens, and tokens as text.
 *
 * A token is a character (UTF-8 code point), a byte, or what byte pair encoding made of bytes (bpe.h). NUL is no
 * character, so that a text can be kept as a C string; it is a byte.
 */
#ifndef EXAMPLES_LM_TOKENS_H
#define EXAMPLES_LM_TOKENS_H

#include "attngrad.h"
#include "examples/shared/bpe.h"
#include "examples/shared/text_out.h"
#include "examples/shared/utf8.h"

enum { VOCAB_MAX = 4096 }; /* characters */

typedef enum token_kind { TOKENS_CHAR, TOKENS_BYTE, TOKENS_BPE, TOKEN_WORDS } token_kind;
extern const char *const token_word[TOKEN_WORDS + 1]; /* char byte bpe, as in checkpoints; then NULL */
extern const char *const token_noun[TOKEN_WORDS];     /* character byte token */

typedef struct vocab {
    token_kind kind;
    int32_t size;
    uint32_t code[VOCAB_MAX]; /* of characters: code points, ascending */
    bpe *bpe;                 /* NULL for the others */
} vocab;

/* The vocabulary of a text; `size` is that of byte pair tokens. False when characters are wanted and the text has bytes
 * that are none: *at is the first such byte; or more than VOCAB_MAX: *at is `length`; when out of memory: *at is -1. */
bool vocab_learn(vocab *v, token_kind kind, int32_t size, const unsigned char *text, int64_t length, int64_t *at);

/* Another owner of the same vocabulary; every owner frees it. */
vocab vocab_share(const vocab *v);
void vocab_free(vocab *v);
bool vocab_same(const vocab *a, const vocab *b);

/* The vocabulary as UTF-8 text, to be freed, and back: the characters; nothing for bytes; "left right\n" per merge. */
char *vocab_text(const vocab *v);
bool vocab_from_text(vocab *v, token_kind kind, const char *text);

/* The tokens of a text into token[length]; their number, or -1 when the byte *at begins no character of the vocabulary;
 * when out of memory, *at is `length`. */
int64_t vocab_encode(const vocab *v, const unsigned char *text, int64_t length, int32_t *token, int64_t *at);

/* The tokens of a text, to be freed, and their number; NULL after one line on stderr that begins with `what` the text
 * is. */
int32_t *vocab_encode_said(const vocab *v, const char *what, const unsigned char *text, int64_t length, int64_t *count);

/* The token to begin a text with: the end of a line, or the first token if the vocabulary has no such character. */
int32_t vocab_start(const vocab *v);

/* The bytes of a token, which may stand in `space`. */
const unsigned char *vocab_bytes(const vocab *v, int32_t token, unsigned char space[UTF8_BYTES], int64_t *length);

/* A token in a form that fits on a line: blanks and what is not text are shown. */
enum { TOKEN_LABEL = 40 };
void token_label(const vocab *v, int32_t token, char label[TOKEN_LABEL]);

/* Puts a token's bytes. */
void text_put(text_out *out, const vocab *v, int32_t token);

#endif
