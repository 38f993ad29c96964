/* SPDX-License-Identifier: MIT
 *
 * lm_tokens.c - see lm_tokens.h.
 */
#include "examples/lm/lm_tokens.h"

#include <stdlib.h>
#include <string.h>

const char *const token_word[] = { "char", "byte", "bpe", NULL };
const char *const token_noun[] = { "character", "byte", "token" };

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

/* Every character of the text once. False when it is not UTF-8 or has a NUL (*at tells where), or has too many. */
static bool vocab_of_text(vocab *v, const unsigned char *text, int64_t bytes, int64_t *at)
{
    static const uint32_t planes = 0x110000;
    unsigned char *seen = calloc(planes, 1);
    int length = 1;
    *v = (vocab){ .kind = TOKENS_CHAR };
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

bool vocab_learn(vocab *v, token_kind kind, int32_t size, const unsigned char *text, int64_t length, int64_t *at)
{
    if (kind == TOKENS_CHAR)
        return vocab_of_text(v, text, length, at);
    *v = (vocab){ .kind = kind, .size = BPE_BYTES };
    *at = -1;
    if (kind == TOKENS_BYTE)
        return true;
    v->bpe = bpe_learn(text, length, size);
    v->size = v->bpe == NULL ? 0 : bpe_size(v->bpe);
    return v->bpe != NULL;
}

vocab vocab_share(const vocab *v)
{
    bpe_share(v->bpe);
    return *v;
}

void vocab_free(vocab *v)
{
    bpe_free(v->bpe);
    *v = (vocab){ .size = 0 };
}

bool vocab_same(const vocab *a, const vocab *b)
{
    bool same = a->kind == b->kind && a->size == b->size;
    for (int32_t i = 0; i < a->size && same && a->kind == TOKENS_CHAR; i++)
        same = a->code[i] == b->code[i];
    for (int32_t i = 0; i < a->size - BPE_BYTES && same && a->kind == TOKENS_BPE; i++)
        same = bpe_merge(a->bpe, i).left == bpe_merge(b->bpe, i).left &&
               bpe_merge(a->bpe, i).right == bpe_merge(b->bpe, i).right;
    return same;
}

char *vocab_text(const vocab *v)
{
    enum { MERGE_BYTES = 24 };
    int32_t merges = v->kind == TOKENS_BPE ? v->size - BPE_BYTES : 0;
    size_t at = 0, room = v->kind == TOKENS_CHAR ? (size_t)v->size * UTF8_BYTES : (size_t)merges * MERGE_BYTES;
    char *text = malloc(room + 1);
    if (text == NULL)
        return NULL;
    text[0] = '\0';
    for (int32_t i = 0; i < v->size && v->kind == TOKENS_CHAR; i++)
        at += (size_t)utf8_encode(v->code[i], text + at);
    for (int32_t i = 0; i < merges; i++)
        at += (size_t)snprintf(text + at, MERGE_BYTES, "%d %d\n", (int)bpe_merge(v->bpe, i).left,
                               (int)bpe_merge(v->bpe, i).right);
    return text;
}

/* A decimal number of at most 9 digits and the character behind it, which must be `end`; -1: there is none. */
static int32_t read_number(const char **text, char end)
{
    int32_t number = 0;
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > 9 || (*text)[digits] != end)
        return -1;
    for (size_t i = 0; i < digits; i++)
        number = 10 * number + ((*text)[i] - '0');
    *text += digits + 1;
    return number;
}

static bool vocab_of_merges(vocab *v, const char *text)
{
    int32_t count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL && count < BPE_MAX; at++)
        count++;
    bpe_pair *merge = malloc((size_t)(count + 1) * sizeof *merge);
    bool good = merge != NULL && count <= BPE_MAX - BPE_BYTES;
    for (int32_t i = 0; i < count && good; i++) {
        merge[i].left = read_number(&text, ' ');
        merge[i].right = merge[i].left < 0 ? -1 : read_number(&text, '\n');
        good = merge[i].right >= 0;
    }
    good = good && *text == '\0';
    *v = (vocab){ .kind = TOKENS_BPE, .bpe = good ? bpe_new(merge, count) : NULL };
    v->size = v->bpe == NULL ? 0 : bpe_size(v->bpe);
    free(merge);
    return v->bpe != NULL;
}

bool vocab_from_text(vocab *v, token_kind kind, const char *text)
{
    int64_t at;
    if (kind == TOKENS_BPE)
        return vocab_of_merges(v, text);
    return vocab_learn(v, kind, 0, (const unsigned char *)text, (int64_t)strlen(text), &at) && v->size > 0;
}

/* ---- Texts as tokens ---- */

int64_t vocab_encode(const vocab *v, const unsigned char *text, int64_t length, int32_t *token, int64_t *at)
{
    int64_t count = 0;
    int size = 1;
    if (v->kind == TOKENS_BPE) {
        *at = length;
        return bpe_encode(v->bpe, text, length, token);
    }
    int32_t of_ascii[0x80]; /* most texts are ASCII mostly, and may have 10^8 characters */
    for (uint32_t code = 0; code < 0x80; code++)
        of_ascii[code] = v->kind == TOKENS_BYTE ? (int32_t)code : vocab_find(v, code);
    for (*at = 0; *at < length; *at += size) {
        if (text[*at] < 0x80) {
            size = 1;
            token[count] = of_ascii[text[*at]];
        } else {
            int64_t code = v->kind == TOKENS_BYTE ? text[*at] : utf8_decode(text + *at, length - *at, &size);
            token[count] = v->kind == TOKENS_BYTE ? (int32_t)code : code < 0 ? -1 : vocab_find(v, (uint32_t)code);
        }
        if (token[count++] < 0)
            return -1;
    }
    return count;
}

int32_t *vocab_encode_said(const vocab *v, const char *what, const unsigned char *text, int64_t length, int64_t *count)
{
    int64_t at = length;
    int32_t *token = malloc((size_t)(length + 1) * sizeof *token); /* one more: not of 0 bytes */
    *count = token == NULL ? -1 : vocab_encode(v, text, length, token, &at);
    if (*count >= 0)
        return token;
    free(token);
    int size = 0;
    int64_t code = at < length ? utf8_decode(text + at, length - at, &size) : 0;
    if (at == length)
        fprintf(stderr, "lm: %s: out of memory for %lld bytes\n", what, (long long)length * 4);
    else if (code < 0)
        fprintf(stderr, "lm: %s: byte %lld is not UTF-8\n", what, (long long)at);
    else
        fprintf(stderr, "lm: %s has the character '%.*s' (U+%04llX), which the model's text had not\n", what,
                code < ' ' ? 0 : size, (const char *)text + at, (unsigned long long)code);
    return NULL;
}

int32_t vocab_start(const vocab *v)
{
    int32_t end_of_line = v->kind == TOKENS_CHAR ? vocab_find(v, '\n') : '\n';
    return end_of_line >= 0 ? end_of_line : 0;
}

/* ---- Text out ---- */

const unsigned char *vocab_bytes(const vocab *v, int32_t token, unsigned char space[UTF8_BYTES], int64_t *length)
{
    if (v->kind == TOKENS_BPE)
        return bpe_bytes(v->bpe, token, length);
    space[0] = (unsigned char)token;
    *length = v->kind == TOKENS_BYTE ? 1 : utf8_encode(v->code[token], (char *)space);
    return space;
}

void token_label(const vocab *v, int32_t token, char label[TOKEN_LABEL])
{
    unsigned char space[UTF8_BYTES];
    int64_t length;
    const unsigned char *bytes = vocab_bytes(v, token, space, &length);
    int at = 0, size;
    for (int64_t i = 0; i < length && at < TOKEN_LABEL - 8; i += size) {
        int64_t code = utf8_decode(bytes + i, length - i, &size);
        size = code < 0 ? 1 : size;
        if (code < 0)
            at += snprintf(label + at, 5, "\\x%02x", bytes[i]);
        else if (code == ' ' || code == '\n')
            at += snprintf(label + at, 4, code == ' ' ? "\xe2\x90\xa3" : "\xe2\x8f\x8e");
        else if (code < ' ' || code == 0x7f)
            at += snprintf(label + at, 5, "\\x%02x", (unsigned)code);
        else
            at += snprintf(label + at, (size_t)size + 1, "%.*s", size, (const char *)bytes + i);
    }
    label[at] = '\0';
}

void text_put(text_out *out, const vocab *v, int32_t token)
{
    unsigned char space[UTF8_BYTES];
    int64_t length;
    const unsigned char *bytes = vocab_bytes(v, token, space, &length);
    text_out_put(out, bytes, length);
}
