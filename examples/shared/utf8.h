/* SPDX-License-Identifier: MIT
 *
 * utf8.h - Unicode's code points as bytes and back (RFC 3629: no overlong forms, no surrogates).
 */
#ifndef EXAMPLES_UTF8_H
#define EXAMPLES_UTF8_H

#include <stdint.h>

enum { UTF8_BYTES = 5 }; /* of a character and a NUL */

/* How long the character is that begins with this byte; 0: it can not begin one. */
int utf8_length(unsigned char lead);

/* The code point at s, of which `left` bytes are there; *length is its size. -1, with *length 1 or the size that the
 * first byte announces: not UTF-8. */
int64_t utf8_decode(const unsigned char *s, int64_t left, int *length);

/* How many characters a text of UTF-8 has, and the text behind the first `count` of them. */
int utf8_characters(const char *text);
const char *utf8_skip(const char *text, int count);

/* Writes the code point and a NUL; returns its size without the NUL. */
int utf8_encode(uint32_t code, char out[UTF8_BYTES]);

#endif
