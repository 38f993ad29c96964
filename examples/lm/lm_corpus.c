/* SPDX-License-Identifier: MIT
 *
 * lm_corpus.c - see lm_corpus.h.
 */
#include "examples/lm/lm_corpus.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- UTF-8 ---- */

/* How long the character is that begins with this byte; 0: it can not begin one. */
static int utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead >= 0xf5)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* The code point at s, of which `left` bytes are there; *length is its size. -1: not UTF-8. */
static int64_t utf8_decode(const unsigned char *s, int64_t left, int *length)
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

static int utf8_encode(uint32_t code, char out[UTF8_BYTES])
{
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned lead[5] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (int i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[n] | code);
    out[n] = '\0';
    return n;
}

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
    if (!bytes)
        return vocab_of_text(v, (const unsigned char *)text, (int64_t)strlen(text), &at) && v->size > 0;
    vocab_of_bytes(v);
    return true;
}

int64_t vocab_encode(const vocab *v, const char *prompt, int32_t *token)
{
    const unsigned char *s = (const unsigned char *)prompt;
    int64_t size = (int64_t)strlen(prompt), count = 0;
    int length = 1;
    for (int64_t i = 0; i < size; i += length) {
        int64_t code = v->bytes ? s[i] : utf8_decode(s + i, size - i, &length);
        token[count] = code < 0 ? -1 : vocab_find(v, (uint32_t)code);
        if (code < 0)
            fprintf(stderr, "lm: the prompt's byte %lld is not UTF-8\n", (long long)i);
        else if (token[count] < 0)
            fprintf(stderr, "lm: the prompt has the character '%.*s' (U+%04llX), which the model's text had not\n",
                    code < ' ' ? 0 : length, prompt + i, (unsigned long long)code);
        if (token[count++] < 0)
            return -1;
    }
    return count;
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

/* ---- Corpus ---- */

/* A whole file, to be freed; NULL with errno set. */
static unsigned char *read_file(const char *path, int64_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    size_t capacity = 1 << 16, have = 0, got;
    unsigned char *text = malloc(capacity);
    while (text != NULL && (got = fread(text + have, 1, capacity - have, file)) > 0) {
        have += got;
        if (have == capacity) {
            unsigned char *more = realloc(text, capacity *= 2);
            if (more == NULL)
                free(text);
            text = more;
        }
    }
    if (ferror(file)) {
        free(text);
        text = NULL;
    }
    fclose(file);
    *bytes = (int64_t)have;
    return text;
}

/* Prints why the text, which has an unusual byte at `at`, has no vocabulary of characters. */
static void explain_text(const char *path, const unsigned char *text, int64_t size, int64_t at)
{
    bool wide = size >= 4 && ((text[0] == 0xff && text[1] == 0xfe) || (text[0] == 0xfe && text[1] == 0xff) ||
                              (text[0] == 0 && text[2] == 0) || (text[1] == 0 && text[3] == 0));
    if (at == size)
        fprintf(stderr, "lm: %s: more than %d different characters; use --level byte\n", path, VOCAB_MAX);
    else if (wide)
        fprintf(stderr, "lm: %s: looks like UTF-16 or UTF-32; convert it to UTF-8, as with iconv\n", path);
    else if (text[at] == 0)
        fprintf(stderr, "lm: %s: byte %lld is NUL, which no text has; remove it, or use --level byte\n", path,
                (long long)at);
    else
        fprintf(stderr, "lm: %s: byte %lld is not UTF-8; use --level byte\n", path, (long long)at);
}

bool corpus_read(corpus *c, const char *path, bool bytes)
{
    int64_t size = 0, at = 0;
    *c = (corpus){ .count = 0 };
    unsigned char *text = read_file(path, &size);
    if (text == NULL) {
        fprintf(stderr, "lm: %s: %s\n", path, strerror(errno));
        return false;
    }
    int64_t first = !bytes && size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* after the mark */
    bool good = size > first;
    if (!good)
        fprintf(stderr, "lm: %s: the text is empty\n", path);
    else if (bytes)
        vocab_of_bytes(&c->vocab);
    else if (!(good = vocab_of_text(&c->vocab, text + first, size - first, &at)))
        explain_text(path, text, size, first + at);
    if (!good) {
        free(text);
        return false;
    }
    c->token = malloc((size_t)size * sizeof *c->token);
    int length = 1;
    for (int64_t i = first; i < size && c->token != NULL; i += length) {
        int64_t code = bytes ? text[i] : utf8_decode(text + i, size - i, &length);
        c->token[c->count++] = vocab_find(&c->vocab, (uint32_t)code);
    }
    free(text);
    c->train_count = c->count - c->count / 10;
    if (c->token == NULL)
        fprintf(stderr, "lm: %s: out of memory for %lld bytes\n", path, (long long)size * 4);
    return c->token != NULL;
}

void corpus_free(corpus *c)
{
    free(c->token);
    c->token = NULL;
}

baselines corpus_baselines(const corpus *c)
{
    int64_t V = c->vocab.size;
    double *single = calloc((size_t)V, sizeof *single), *pair = calloc((size_t)(V * V), sizeof *pair);
    baselines b = { log((double)V), (double)NAN, (double)NAN };
    if (single != NULL && pair != NULL) {
        for (int64_t i = 0; i < c->train_count; i++) {
            single[c->token[i]]++;
            if (i > 0)
                pair[c->token[i - 1] * V + c->token[i]]++;
        }
        double total = (double)c->train_count, n = (double)(c->count - c->train_count - 1);
        b.unigram = b.bigram = 0;
        for (int64_t i = c->train_count + 1; i < c->count; i++) {
            double before = single[c->token[i - 1]];
            b.unigram -= log((single[c->token[i]] + 1) / (total + (double)V)) / n;
            b.bigram -= log((pair[c->token[i - 1] * V + c->token[i]] + 1) / (before + (double)V)) / n;
        }
    }
    free(single);
    free(pair);
    return b;
}

ag_tensor *corpus_batch(ag_ctx *ctx, const corpus *c, int64_t batch, int64_t T)
{
    ag_tensor *windows = ag_empty(ctx, AG_I32, AG_SHAPE(batch, T + 1));
    int32_t *to = windows == NULL ? NULL : ag_data_mut(windows);
    for (int64_t b = 0; b < batch && to != NULL; b++) {
        int64_t starts = c->train_count - T; /* the last one, too: tokens start .. start + T */
        int64_t start = (int64_t)(ag_random(ctx) * (double)starts);
        memcpy(to + b * (T + 1), c->token + start, (size_t)(T + 1) * sizeof *to);
    }
    return windows;
}
