/* SPDX-License-Identifier: MIT
 *
 * lm_tokens.c - see lm_tokens.h.
 */
#include "examples/lm/lm_tokens.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- Vocabulary ---- */

static int compare_codes(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int32_t vocab_find(const vocab *v, uint32_t code)
{
    const uint32_t *found = bsearch(&code, v->code, (size_t)v->size, sizeof code, compare_codes);
    return found == NULL ? -1 : (int32_t)(found - v->code);
}

static void vocab_of_bytes(vocab *v)
{
    v->bytes = true;
    v->size = 256;
    for (uint32_t i = 0; i < 256; i++)
        v->code[i] = i;
}

/* Every character of the text once. False when it is not UTF-8 or has a NUL (*at tells where), or has too many. */
static bool vocab_of_text(vocab *v, const unsigned char *text, int64_t bytes, int64_t *at)
{
    static const uint32_t planes = 0x110000;
    unsigned char *seen = calloc(planes, 1);
    int length = 1;
    *v = (vocab){ .bytes = false };
    bool good = seen != NULL;
    for (*at = 0; good && *at < bytes; *at += length) {
        int64_t code = utf8_decode(text + *at, bytes - *at, &length);
        good = code > 0;
        if (good)
            seen[code] = 1;
        else
            break;
    }
    for (uint32_t code = 0; good && code < planes; code++)
        if (seen[code]) {
            good = v->size < VOCAB_MAX;
            if (good)
                v->code[v->size++] = code;
        }
    free(seen);
    return good;
}

bool vocab_learn(vocab *v, bool bytes, const unsigned char *text, int64_t size, int64_t *at)
{
    if (!bytes)
        return vocab_of_text(v, text, size, at);
    vocab_of_bytes(v);
    return true;
}

char *vocab_text(const vocab *v)
{
    char *text = malloc((size_t)v->size * UTF8_BYTES + 1);
    if (text == NULL)
        return NULL;
    size_t at = 0;
    text[0] = '\0';
    for (int32_t i = 0; i < v->size && !v->bytes; i++)
        at += (size_t)utf8_encode(v->code[i], text + at);
    return text;
}

bool vocab_from_text(vocab *v, const char *text, bool bytes)
{
    int64_t at;
    return vocab_learn(v, bytes, (const unsigned char *)text, (int64_t)strlen(text), &at) && v->size > 0;
}

int64_t vocab_encode(const vocab *v, const unsigned char *text, int64_t size, int32_t *token, int64_t *at)
{
    int64_t count = 0;
    int length = 1;
    for (*at = 0; *at < size; *at += length) {
        int64_t code = v->bytes ? text[*at] : utf8_decode(text + *at, size - *at, &length);
        token[count] = code < 0 ? -1 : vocab_find(v, (uint32_t)code);
        if (token[count++] < 0)
            return -1;
    }
    return count;
}

int64_t vocab_encode_prompt(const vocab *v, const char *prompt, int32_t *token)
{
    const unsigned char *s = (const unsigned char *)prompt;
    int64_t at, size = (int64_t)strlen(prompt), count = vocab_encode(v, s, size, token, &at);
    if (count >= 0)
        return count;
    int length;
    int64_t code = utf8_decode(s + at, size - at, &length);
    if (code < 0)
        fprintf(stderr, "lm: the prompt's byte %lld is not UTF-8\n", (long long)at);
    else
        fprintf(stderr, "lm: the prompt has the character '%.*s' (U+%04llX), which the model's text had not\n",
                code < ' ' ? 0 : length, prompt + at, (unsigned long long)code);
    return -1;
}

int32_t vocab_start(const vocab *v)
{
    int32_t end_of_line = vocab_find(v, '\n');
    return end_of_line >= 0 ? end_of_line : 0;
}

/* ---- Text out ---- */

static void put_pending(text_out *out, bool whole)
{
    if (out->have > 0)
        fwrite(whole ? (const char *)out->pending : "\xef\xbf\xbd", 1, whole ? out->have : 3, out->file);
    out->have = 0;
}

void text_put(text_out *out, const vocab *v, int32_t token)
{
    if (!v->bytes) {
        char text[UTF8_BYTES];
        utf8_encode(v->code[token], text);
        fputs(text, out->file);
        return;
    }
    unsigned char byte = (unsigned char)token;
    bool continues = (byte & 0xc0) == 0x80;
    if (out->have > 0 && !continues)
        put_pending(out, false);
    if (out->have == 0 && (continues || utf8_length(byte) == 0)) {
        out->have = 1; /* can not begin a character */
        put_pending(out, false);
        return;
    }
    int length;
    out->pending[out->have++] = byte;
    if (out->have == (size_t)utf8_length(out->pending[0]))
        put_pending(out, utf8_decode(out->pending, (int64_t)out->have, &length) >= 0);
}

void text_end(text_out *out)
{
    put_pending(out, false);
}
