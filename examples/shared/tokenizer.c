/* SPDX-License-Identifier: MIT
 *
 * tokenizer.c - see tokenizer.h: special tokens in a text, the models, and what stands around a text.
 */
#include "examples/shared/tokenizer.h"
#include "examples/shared/tokenizer_impl.h"
#include "examples/shared/unicode.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

int32_t vocab_index(const tokenizer *t, const char *text, int64_t length)
{
    if (t->slots == 0 || length > t->longest)
        return -1;
    size_t at = bpe_hash_bytes((const unsigned char *)text, length) & (t->slots - 1);
    for (int32_t i; (i = t->slot[at]) >= 0; at = (at + 1) & (t->slots - 1))
        if (t->vocab[i].length == length && memcmp(t->vocab[i].text, text, (size_t)length) == 0)
            return i;
    return -1;
}

static int32_t id_of(const tokenizer *t, const char *text, int64_t length)
{
    int32_t i = vocab_index(t, text, length);
    return i < 0 ? -1 : t->vocab[i].id;
}

int32_t tokenizer_find(const tokenizer *t, const char *name)
{
    for (int64_t i = 0; i < t->added_count; i++)
        if (strcmp(t->added[i].text, name) == 0)
            return t->added[i].id;
    return id_of(t, name, (int64_t)strlen(name));
}

void token_ids_put(encoder *e, int32_t id)
{
    token_ids *ids = e->ids;
    if (ids->count == ids->room && !e->failed) {
        int64_t room = ids->room == 0 ? 256 : 2 * ids->room;
        int32_t *grown = realloc(ids->id, (size_t)room * sizeof *grown);
        e->failed = grown == NULL;
        ids->id = grown == NULL ? ids->id : grown;
        ids->room = grown == NULL ? ids->room : room;
    }
    if (!e->failed)
        ids->id[ids->count++] = id;
}

/* ---- Models ---- */

/* The ids of a character's bytes, if each byte has one. */
static bool put_bytes(encoder *e, const char *text, int size)
{
    for (int i = 0; i < size; i++)
        if (e->t->byte_id[(unsigned char)text[i]] < 0)
            return false;
    for (int i = 0; i < size; i++)
        token_ids_put(e, e->t->byte_id[(unsigned char)text[i]]);
    return true;
}

/* Characters, then merges among them. A character that is none of the vocabulary is its bytes, or unknown; an unknown
 * one is added when the next known one comes. */
static void bpe_word(encoder *e, const char *text, int64_t length)
{
    const tokenizer *t = e->t;
    const int64_t begin = e->ids->count;
    bool waits = false; /* an unknown token */
    int size;
    for (int64_t at = 0; at < length; at += size) {
        utf8_decode((const unsigned char *)text + at, length - at, &size);
        int32_t id = id_of(t, text + at, size);
        if (id < 0 && t->byte_fallback && put_bytes(e, text + at, size))
            continue;
        if (waits && (id >= 0 || !t->fuse_unk))
            token_ids_put(e, t->unknown);
        waits = id < 0 && t->unknown >= 0;
        if (id >= 0)
            token_ids_put(e, id);
    }
    if (waits)
        token_ids_put(e, t->unknown);
    if (e->failed || e->ids->count == begin)
        return;
    int64_t left = merger_run(&e->merger, &t->merges, e->ids->id + begin, e->ids->count - begin);
    e->failed = left < 0;
    e->ids->count = begin + (left < 0 ? 0 : left);
}

/* The longest token that the word begins with, then the longest that continues it, and so on. */
static void piece_word(encoder *e, const char *text, int64_t length)
{
    const tokenizer *t = e->t;
    const int64_t first = e->ids->count, prefix = (int64_t)strlen(t->prefix);
    text_buffer *tried = &e->space[STEPS];
    int64_t characters = 0, begin = 0, end = 0;
    for (int64_t i = 0; i < length; i++)
        characters += (text[i] & 0xc0) != 0x80;
    for (; begin < length && characters <= t->most_characters && !e->failed; begin = end) {
        tried->length = 0;
        if (begin > 0)
            text_buffer_put(tried, t->prefix, prefix);
        text_buffer_put(tried, text + begin, length - begin < t->longest ? length - begin : t->longest);
        e->failed = e->failed || tried->failed;
        const int64_t least = begin > 0 ? prefix : 0;
        int32_t id = -1;
        for (int64_t size = tried->length; size > least && !e->failed && id < 0; size--) {
            id = id_of(t, tried->text, size);
            end = begin + size - least;
        }
        if (id < 0)
            break;
        token_ids_put(e, id);
    }
    if (begin < length && !e->failed) {
        e->ids->count = first;
        token_ids_put(e, t->unknown);
    }
}

void tokenizer_word(encoder *e, const char *text, int64_t length)
{
    int32_t whole = e->t->ignore_merges ? id_of(e->t, text, length) : -1;
    if (whole >= 0)
        token_ids_put(e, whole);
    else if (e->t->word_piece)
        piece_word(e, text, length);
    else
        bpe_word(e, text, length);
}

/* ---- Special tokens in a text ---- */

/* The longest added token that the text begins with, of those that are looked for before or after normalizing. */
static const added_token *added_at(const tokenizer *t, const char *text, int64_t length, bool normalized, int64_t *size)
{
    const added_token *found = NULL;
    *size = 0;
    for (int64_t i = 0; i < t->added_count; i++) {
        const added_token *a = &t->added[i];
        const char *its = normalized ? a->normalized_text.text : a->text;
        const int64_t its_length = normalized ? a->normalized_text.length : a->length;
        if (a->normalized == normalized && its_length > *size && its_length <= length && its[0] == text[0] &&
            memcmp(its, text, (size_t)its_length) == 0) {
            found = a;
            *size = its_length;
        }
    }
    return found;
}

static int64_t spaces_before(const char *text, int64_t end, int64_t begin)
{
    while (end > begin) {
        int64_t last = end - 1;
        int size;
        while (last > begin && (text[last] & 0xc0) == 0x80)
            last--;
        int64_t code = utf8_decode((const unsigned char *)text + last, end - last, &size);
        if (code < 0 || !unicode_is_space((uint32_t)code))
            break;
        end = last;
    }
    return end;
}

static int64_t spaces_after(const char *text, int64_t at, int64_t length)
{
    int size;
    for (; at < length; at += size) {
        int64_t code = utf8_decode((const unsigned char *)text + at, length - at, &size);
        if (code < 0 || !unicode_is_space((uint32_t)code))
            break;
    }
    return at;
}

static void encode_between(encoder *e, const char *text, int64_t length, bool normalized, bool first);

/* Text between tokens: first as it is, then normalized. */
static void encode_text(encoder *e, const char *text, int64_t length, bool normalized, bool first)
{
    if (length == 0 || e->failed)
        return;
    if (normalized) {
        tokenizer_split(e, 0, text, length, first);
        return;
    }
    text_buffer made = { .length = 0 };
    tokenizer_normalize(e->t, text, length, &made);
    e->failed = e->failed || made.failed;
    if (!e->failed)
        encode_between(e, made.text, made.length, true, first);
    free(made.text);
}

static void encode_between(encoder *e, const char *text, int64_t length, bool normalized, bool first)
{
    int64_t done = 0, size;
    for (int64_t at = 0; at < length && !e->failed; at += size) {
        const added_token *a = added_at(e->t, text + at, length - at, normalized, &size);
        if (a == NULL) {
            size = 1;
            continue;
        }
        int64_t begin = a->lstrip ? spaces_before(text, at, done) : at;
        if (begin > done)
            encode_text(e, text + done, begin - done, normalized, first && done == 0);
        token_ids_put(e, a->id);
        done = a->rstrip ? spaces_after(text, at + size, length) : at + size;
    }
    if (done < length)
        encode_text(e, text + done, length - done, normalized, first && done == 0);
}

int64_t tokenizer_encode(const tokenizer *t, const char *text, int64_t length, bool special, token_ids *ids)
{
    int size;
    for (int64_t at = 0; at < length; at += size)
        if (utf8_decode((const unsigned char *)text + at, length - at, &size) < 0)
            return at;
    encoder e = { .t = t, .ids = ids };
    for (int i = 0; i < t->before_count && special; i++)
        token_ids_put(&e, t->before[i]);
    encode_between(&e, text, length, false, true);
    for (int i = 0; i < t->after_count && special; i++)
        token_ids_put(&e, t->after[i]);
    merger_free(&e.merger);
    for (int i = 0; i <= STEPS; i++)
        free(e.space[i].text);
    return e.failed ? TOKENIZER_OUT_OF_MEMORY : TOKENIZER_ENCODED;
}
