/* SPDX-License-Identifier: MIT
 *
 * bpe.h - byte-level byte pair encoding (Sennrich et al., 2016; on bytes: Radford et al., 2019).
 *
 * Tokens 0 .. 255 are the bytes, token 256 + i is what merge i makes of two earlier tokens. A text is cut into pieces
 * (words with the blank before them, numbers, punctuation, blanks; see bpe_piece), and no merge crosses a piece's end.
 * In a piece the pair of the earliest merge is merged first, of equal pairs the left one. Every byte string encodes,
 * and its tokens' bytes are the string again.
 */
#ifndef EXAMPLES_BPE_H
#define EXAMPLES_BPE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { BPE_BYTES = 256, BPE_MAX = 1 << 20, BPE_LONGEST = 256 }; /* tokens of one byte; the most tokens; bytes of one */

typedef struct bpe bpe;
typedef struct bpe_pair {
    int32_t left, right;
} bpe_pair;

/* Merges for `size` tokens (BPE_BYTES to BPE_MAX): again and again the pair that occurs most often, of equally
 * frequent ones that with the smaller numbers. Ends early when no pair occurs twice. No two tokens have the same bytes,
 * and none more than BPE_LONGEST.
 * Only the first BPE_LEARNED bytes of the text are counted. NULL when out of memory. */
enum { BPE_LEARNED = 1 << 26 };
bpe *bpe_learn(const unsigned char *text, int64_t length, int32_t size);

/* From merges; NULL when out of memory, a merge is not of two earlier tokens, two tokens have the same bytes, or one
 * more than BPE_LONGEST. */
bpe *bpe_new(const bpe_pair *merge, int32_t count);

/* One more owner, each of whom frees it. NULL does nothing. */
void bpe_share(bpe *b);
void bpe_free(bpe *b);

int32_t bpe_size(const bpe *b); /* tokens */
bpe_pair bpe_merge(const bpe *b, int32_t i); /* the pair of token 256 + i */
const unsigned char *bpe_bytes(const bpe *b, int32_t token, int64_t *length);

/* The tokens of a text into token[length]; their number, -1 when out of memory. */
int64_t bpe_encode(const bpe *b, const unsigned char *text, int64_t length, int32_t *token);

/* The length of the piece that the text begins with, 1 at least; the text is not empty. bpe_pattern says the same as a
 * regular expression. */
int64_t bpe_piece(const unsigned char *text, int64_t length);
extern const char bpe_pattern[];

#endif
