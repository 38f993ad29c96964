/* SPDX-License-Identifier: MIT
 *
 * text_out.c - see text_out.h.
 */
#include "examples/shared/text_out.h"
#include "examples/shared/utf8.h"

#include <string.h>

static void put_pending(text_out *out, bool whole)
{
    const void *text = whole ? (const void *)out->pending : "\xef\xbf\xbd";
    const size_t length = out->have == 0 ? 0 : whole ? out->have : 3;
    out->have = 0;
    if (length > 0 && out->file != NULL)
        fwrite(text, 1, length, out->file);
    else if (length > 0)
        text_buffer_put(out->text, text, (int64_t)length);
}

/* Whether the byte can follow the pending ones: the second byte rules out overlong forms, surrogates and what lies
 * beyond U+10FFFF. */
static bool continues(const text_out *out, unsigned char byte)
{
    if (out->have != 1)
        return (byte & 0xc0) == 0x80;
    unsigned char lead = out->pending[0], least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    return byte >= least && byte <= (lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf);
}

static void put_byte(text_out *out, unsigned char byte)
{
    if (out->have > 0 && !continues(out, byte))
        put_pending(out, false);
    out->pending[out->have++] = byte;
    if (out->have == 1 && utf8_length(byte) == 0)
        put_pending(out, false); /* can not begin a character */
    if (out->have == 0)
        return;
    if (out->have == (size_t)utf8_length(out->pending[0]))
        put_pending(out, true);
}

/* Prints the first bytes that are held until what is left begins `stop` with one byte more. */
static void put_or_hold(text_out *out, unsigned char byte)
{
    const char *stop = out->stop;
    while (out->held > 0 && (unsigned char)stop[out->held] != byte) {
        size_t drop = 1;
        while (memcmp(stop + drop, stop, out->held - drop) != 0)
            drop++;
        for (size_t i = 0; i < drop; i++)
            put_byte(out, (unsigned char)stop[i]);
        out->held -= drop;
    }
    if ((unsigned char)stop[out->held] != byte)
        put_byte(out, byte);
    else
        out->stopped = stop[++out->held] == '\0';
}

void text_out_put(text_out *out, const void *bytes, int64_t length)
{
    const unsigned char *byte = bytes;
    for (int64_t i = 0; i < length && !out->stopped; i++)
        if (out->stop == NULL)
            put_byte(out, byte[i]);
        else
            put_or_hold(out, byte[i]);
}

void text_out_end(text_out *out)
{
    for (size_t i = 0; i < out->held && !out->stopped; i++)
        put_byte(out, (unsigned char)out->stop[i]);
    out->held = 0;
    put_pending(out, false);
}
