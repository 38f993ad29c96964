/* SPDX-License-Identifier: MIT
 *
 * text_buffer.c - see text_buffer.h.
 */
#include "examples/shared/text_buffer.h"

#include <stdlib.h>
#include <string.h>

bool text_buffer_put(text_buffer *b, const void *text, int64_t length)
{
    if (b->length + length > b->room && !b->failed) {
        int64_t room = 2 * (b->length + length) + 64;
        char *grown = realloc(b->text, (size_t)room);
        b->failed = grown == NULL;
        b->text = grown == NULL ? b->text : grown;
        b->room = grown == NULL ? b->room : room;
    }
    if (b->failed)
        return false;
    if (length > 0)
        memcpy(b->text + b->length, text, (size_t)length);
    b->length += length;
    return true;
}
