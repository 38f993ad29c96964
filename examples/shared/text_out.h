/* SPDX-License-Identifier: MIT
 *
 * text_out.h - bytes out as text, whole characters only, up to a stop text.
 */
#ifndef EXAMPLES_TEXT_OUT_H
#define EXAMPLES_TEXT_OUT_H

#include "examples/shared/text_buffer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The bytes of an unfinished character wait for the next call, and so do those that may begin the text `stop` (NULL:
 * none). When all of it came, it and what follows is not written. Bytes that are not UTF-8 become U+FFFD, one for each
 * longest beginning of a character (Unicode 3.9, "maximal subpart"). */
typedef struct text_out {
    FILE *file; /* NULL: into `text` */
    text_buffer *text;
    const char *stop;
    bool stopped;
    size_t held; /* bytes of stop that came last */
    unsigned char pending[4];
    size_t have; /* bytes of an unfinished character */
} text_out;

void text_out_put(text_out *out, const void *bytes, int64_t length);
void text_out_end(text_out *out); /* an unfinished character becomes U+FFFD */

#endif
