/* SPDX-License-Identifier: MIT
 *
 * tokenizer_normalize.c - the normalizer's steps.
 */
#include "examples/shared/tokenizer_impl.h"
#include "examples/shared/unicode.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

static void put_code(text_buffer *out, uint32_t code)
{
    char text[UTF8_BYTES];
    text_buffer_put(out, text, utf8_encode(code, text));
}

static void replace_all(const step *s, const text_buffer *in, text_buffer *out)
{
    const int64_t size = (int64_t)strlen(s->string), content = (int64_t)strlen(s->content);
    for (int64_t at = 0; at < in->length;) {
        bool here = in->length - at >= size && memcmp(in->text + at, s->string, (size_t)size) == 0;
        text_buffer_put(out, here ? s->content : in->text + at, here ? content : 1);
        at += here ? size : 1;
    }
}

static bool is_chinese(uint32_t code)
{
    return (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf) ||
           (code >= 0x20000 && code <= 0x2a6df) || (code >= 0x2a700 && code <= 0x2b81f) ||
           (code >= 0x2b920 && code <= 0x2ceaf) || (code >= 0xf900 && code <= 0xfaff) ||
           (code >= 0x2f800 && code <= 0x2fa1f);
}

typedef enum bert_pass { CLEAN, CHINESE, STRIP, LOWER, BERT_PASSES } bert_pass;

static void bert_character(bert_pass pass, uint32_t code, text_buffer *out)
{
    const bool space = pass == CHINESE && is_chinese(code);
    if (pass == CLEAN && (code == 0 || code == 0xfffd || (unicode_class(code) & UNICODE_CONTROL) != 0))
        return;
    if (pass == STRIP && (unicode_class(code) & UNICODE_MARK) != 0)
        return;
    if (space)
        put_code(out, ' ');
    put_code(out, pass == LOWER ? unicode_lower(code) : pass == CLEAN && unicode_is_space(code) ? ' ' : code);
    if (space)
        put_code(out, ' ');
    if (pass == LOWER && code == 0x130)
        put_code(out, 0x307);
}

/* What BERT's rules make of in; in is overwritten. */
static void bert_normalize(const step *s, text_buffer *in, text_buffer *out)
{
    const bool wanted[BERT_PASSES] = { s->clean_text, s->chinese, s->accents_given ? s->accents : s->lowercase,
                                       s->lowercase };
    for (int pass = 0; pass < BERT_PASSES; pass++) {
        if (!wanted[pass])
            continue;
        if (pass == STRIP) {
            out->length = 0;
            unicode_normalize(in->text, in->length, false, out);
            text_buffer swap = *in;
            *in = *out;
            *out = swap;
        }
        out->length = 0;
        int size;
        for (int64_t at = 0; at < in->length; at += size) {
            int64_t code = utf8_decode((unsigned char *)in->text + at, in->length - at, &size);
            bert_character((bert_pass)pass, code < 0 ? 0xfffd : (uint32_t)code, out);
        }
        text_buffer swap = *in;
        *in = *out;
        *out = swap;
    }
    out->length = 0;
    text_buffer_put(out, in->text, in->length);
}

void tokenizer_normalize(const tokenizer *t, const char *text, int64_t length, text_buffer *out)
{
    text_buffer in = { .length = 0 }, made = { .length = 0 };
    text_buffer_put(&in, text, length);
    for (int i = 0; i < t->part[NORMALIZER].count; i++) {
        const step *s = &t->part[NORMALIZER].step[i];
        made.length = 0;
        if (s->kind == STEP_PREPEND && in.length > 0)
            text_buffer_put(&made, s->prepend, (int64_t)strlen(s->prepend));
        if (s->kind == STEP_PREPEND)
            text_buffer_put(&made, in.text, in.length);
        else if (s->kind == STEP_REPLACE)
            replace_all(s, &in, &made);
        else if (s->kind == STEP_NFC)
            unicode_normalize(in.text, in.length, true, &made);
        else
            bert_normalize(s, &in, &made);
        text_buffer swap = in;
        in = made;
        made = swap;
    }
    text_buffer_put(out, in.text, in.length);
    out->failed = out->failed || in.failed || made.failed;
    free(in.text);
    free(made.text);
}
