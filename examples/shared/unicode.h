/* SPDX-License-Identifier: MIT
 *
 * unicode.h - what tokenizers ask of characters, from the tables of unicode.def.
 */
#ifndef EXAMPLES_UNICODE_H
#define EXAMPLES_UNICODE_H

#include "examples/shared/text_buffer.h"

enum {
    UNICODE_LETTER = 1,      /* \p{L} */
    UNICODE_NUMBER = 2,      /* \p{N} */
    UNICODE_MARK = 4,        /* what BERT strips as an accent */
    UNICODE_PUNCTUATION = 8, /* what BERT makes words of their own */
    UNICODE_CONTROL = 16     /* what BERT's clean_text leaves out; but tab, line feed and carriage return */
};

int unicode_class(uint32_t code); /* a sum of these */
bool unicode_is_space(uint32_t code);

/* The lower case of one character; U+0130's second one, U+0307, is left to the caller. */
uint32_t unicode_lower(uint32_t code);

/* The canonical decomposition of `length` bytes of UTF-8 at the end of `out` (NFD), or with `compose` their
 * composition (NFC). Out of memory is out->failed. */
void unicode_normalize(const char *text, int64_t length, bool compose, text_buffer *out);

#endif
