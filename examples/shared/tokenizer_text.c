/* SPDX-License-Identifier: MIT
 *
 * tokenizer_text.c - the decoder's steps: ids as text, one after the other.
 */
#include "examples/shared/tokenizer_impl.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The token of an id; *special: it is one. NULL: none, *length then 0. */
static const char *token_of(const tokenizer *t, int32_t id, int64_t *length, bool *special)
{
    *special = false;
    for (int64_t i = 0; i < t->added_count; i++)
        if (t->added[i].id == id) {
            const added_token *a = &t->added[i];
            *special = a->special;
            *length = a->normalized ? a->normalized_text.length : a->length;
            return a->normalized ? a->normalized_text.text : a->text; /* as version 0.23 of the package has it */
        }
    int64_t low = 0, high = t->vocab_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (t->vocab[t->by_id[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    const named_token *found = low < t->vocab_count ? &t->vocab[t->by_id[low]] : NULL;
    *length = found != NULL && found->id == id ? found->length : 0;
    return found != NULL && found->id == id ? found->text : NULL;
}

/* Characters of GPT-2's alphabet are bytes; a token with another one is its own bytes. */
static void put_byte_level(const text_buffer *word, text_out *out)
{
    int size;
    bool all = true;
    for (int64_t at = 0; at < word->length && all; at += size) {
        int64_t code = utf8_decode((unsigned char *)word->text + at, word->length - at, &size);
        all = code >= 0 && byte_of_character((uint32_t)code) >= 0;
    }
    for (int64_t at = 0; at < word->length && all; at += size) {
        int64_t code = utf8_decode((unsigned char *)word->text + at, word->length - at, &size);
        text_out_put(out, &(unsigned char){ (unsigned char)byte_of_character((uint32_t)code) }, 1);
    }
    if (!all)
        text_out_put(out, word->text, word->length);
}

/* in with every `from` replaced by `to`. */
static void replace(text_buffer *in, const char *from, const char *to)
{
    const int64_t size = (int64_t)strlen(from);
    text_buffer made = { .failed = in->failed };
    for (int64_t at = 0; at < in->length;) {
        bool here = in->length - at >= size && memcmp(in->text + at, from, (size_t)size) == 0;
        text_buffer_put(&made, here ? to : in->text + at, here ? (int64_t)strlen(to) : 1);
        at += here ? size : 1;
    }
    free(in->text);
    *in = made;
}

/* WordPiece: a token that continues a word loses its prefix, another one gets a blank before it. */
static void word_piece(const step *s, text_buffer *word, bool begun)
{
    static const char *const cleaned[][2] = { { " .", "." },   { " ?", "?" },         { " !", "!" },
                                              { " ,", "," },   { " ' ", "'" },        { " n't", "n't" },
                                              { " 'm", "'m" }, { " do not", " don't" }, { " 's", "'s" },
                                              { " 've", "'ve" }, { " 're", "'re" } };
    const int64_t prefix = (int64_t)strlen(s->prefix);
    const bool continues = begun && word->length >= prefix && memcmp(word->text, s->prefix, (size_t)prefix) == 0;
    if (begun) {
        text_buffer made = { .length = 0 };
        text_buffer_put(&made, " ", continues ? 0 : 1);
        text_buffer_put(&made, word->text + (continues ? prefix : 0), word->length - (continues ? prefix : 0));
        free(word->text);
        *word = made;
    }
    for (size_t i = 0; i < sizeof cleaned / sizeof *cleaned && s->cleanup; i++)
        replace(word, cleaned[i][0], cleaned[i][1]);
}

/* Fuse and Strip, which see the text of all tokens as one. */
static void put_fused(token_text *t, const char *text, int64_t length, text_out *out)
{
    const step_list *list = &t->tokenizer->part[DECODER];
    const step *strip = NULL;
    for (int i = 0; i < list->count; i++)
        strip = list->step[i].kind == STEP_STRIP ? &list->step[i] : strip;
    const int64_t size = strip == NULL ? 1 : (int64_t)strlen(strip->content);
    while (strip != NULL && t->stripped >= 0 && t->stripped < strip->start && length >= size &&
           memcmp(text, strip->content, (size_t)size) == 0) {
        t->stripped++;
        text += size;
        length -= size;
    }
    if (length > 0)
        t->stripped = -1;
    text_out_put(out, text, length);
}

/* The run of bytes, if there is one: characters when all of it is UTF-8, else U+FFFD for each byte. */
static void put_run(token_text *t, text_out *out)
{
    bool all = true;
    int size;
    for (int64_t at = 0; at < t->run.length && all; at += size)
        all = utf8_decode((unsigned char *)t->run.text + at, t->run.length - at, &size) >= 0;
    if (all && t->run.length > 0)
        put_fused(t, t->run.text, t->run.length, out);
    for (int64_t i = 0; i < t->run.length && !all; i++)
        put_fused(t, "\xef\xbf\xbd", 3, out);
    t->run.length = 0;
}

/* The byte of <0x41>; -1: none. */
static int byte_of_token(const text_buffer *word)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    if (word->length != 6 || memcmp(word->text, "<0x", 3) != 0 || word->text[5] != '>')
        return -1;
    const char *high = memchr(digits, word->text[3], 32), *low = memchr(digits, word->text[4], 32);
    return high == NULL || low == NULL ? -1 : (int)((high - digits) % 16 * 16 + (low - digits) % 16);
}

bool token_text_put(token_text *t, int32_t id, text_out *out)
{
    const step_list *list = &t->tokenizer->part[DECODER];
    bool special;
    int64_t length;
    const char *text = token_of(t->tokenizer, id, &length, &special);
    if (text == NULL || special)
        return true;
    text_buffer *word = &t->word;
    word->length = 0;
    text_buffer_put(word, " ", list->count == 0 && t->begun ? 1 : 0); /* without a decoder */
    text_buffer_put(word, text, length);
    for (int i = 0; i < list->count && !word->failed; i++) {
        const step *s = &list->step[i];
        if (s->kind == STEP_BYTE_LEVEL) {
            put_byte_level(word, out);
            word->length = 0;
        } else if (s->kind == STEP_REPLACE) {
            replace(word, s->string, s->content);
        } else if (s->kind == STEP_METASPACE) {
            replace(word, s->replacement, t->begun || strcmp(s->scheme, "never") == 0 ? " " : "");
        } else if (s->kind == STEP_WORD_PIECE) {
            word_piece(s, word, t->begun);
        } else if (s->kind == STEP_BYTE_FALLBACK) {
            int byte = byte_of_token(word);
            if (byte < 0) {
                put_run(t, out);
            } else {
                text_buffer_put(&t->run, &(unsigned char){ (unsigned char)byte }, 1);
                word->length = 0;
            }
        }
    }
    t->begun = true;
    if (word->length > 0 && !word->failed)
        put_fused(t, word->text, word->length, out);
    return !word->failed && !t->run.failed;
}

bool token_text_end(token_text *t, text_out *out)
{
    const bool good = !t->word.failed && !t->run.failed;
    put_run(t, out);
    text_out_end(out);
    free(t->run.text);
    free(t->word.text);
    t->run = t->word = (text_buffer){ .length = 0 };
    return good;
}
