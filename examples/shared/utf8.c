/* SPDX-License-Identifier: MIT
 *
 * utf8.c - see utf8.h.
 */
#include "examples/shared/utf8.h"

#include <stdbool.h>

int utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead >= 0xf5)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

int64_t utf8_decode(const unsigned char *s, int64_t left, int *length)
{
    static const int64_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    int n = left > 0 ? utf8_length(s[0]) : 0;
    *length = n > 0 ? n : 1;
    if (n == 0 || n > left)
        return -1;
    int64_t code = n == 1 ? s[0] : s[0] & (0x7f >> n);
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return -1;
        code = code << 6 | (s[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < least[n] || code > 0x10ffff || surrogate ? -1 : code;
}

const char *utf8_skip(const char *text, int count)
{
    for (; count > 0 && *text != '\0'; count--)
        for (text++; ((unsigned char)*text & 0xC0) == 0x80;)
            text++;
    return text;
}

int utf8_characters(const char *text)
{
    int count = 0;
    for (; *text != '\0'; text = utf8_skip(text, 1))
        count++;
    return count;
}

int utf8_encode(uint32_t code, char out[UTF8_BYTES])
{
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned lead[5] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (int i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[n] | code);
    out[n] = '\0';
    return n;
}
