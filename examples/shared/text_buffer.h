/* SPDX-License-Identifier: MIT
 *
 * text_buffer.h - a text that grows.
 */
#ifndef EXAMPLES_TEXT_BUFFER_H
#define EXAMPLES_TEXT_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: empty. The owner frees `text`. After a failed allocation nothing more is put. */
typedef struct text_buffer {
    char *text;
    int64_t length, room;
    bool failed;
} text_buffer;

/* Puts bytes, which may not be of the text itself, at the end. False when out of memory. */
bool text_buffer_put(text_buffer *b, const void *text, int64_t length);

#endif
