/* SPDX-License-Identifier: MIT
 *
 * lm_text.c - see lm_text.h.
 */
#include "examples/lm/lm_text.h"
#include "examples/shared/system.h"
#include "examples/shared/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Files ---- */

static bool fits(const raw_text *t, double more)
{
    bool fit = t->most == 0 || (double)t->size + more <= t->most;
    errno = fit ? errno : EFBIG;
    return fit;
}

static bool set_capacity(raw_text *t, size_t capacity)
{
    unsigned char *byte = realloc(t->byte, capacity);
    if (byte != NULL)
        t->byte = byte;
    return byte != NULL;
}

/* Appends the rest of an open file, of `length` bytes as far as is known. False with errno set, to EFBIG when it is too
 * large. */
static bool append(raw_text *t, FILE *file, int64_t length)
{
    size_t capacity = (size_t)(t->size + length) + (1 << 16), got = 0;
    bool good = fits(t, (double)length) && set_capacity(t, capacity);
    while (good && (got = fread(t->byte + t->size, 1, capacity - (size_t)t->size, file)) > 0) {
        t->size += (int64_t)got;
        good = fits(t, 0) && ((size_t)t->size < capacity || set_capacity(t, capacity *= 2));
    }
    return good && !ferror(file);
}

/* Whether every second byte is as the high bytes of UTF-16 and UTF-32 are: below the letters and digits of ASCII, three
 * of four, and NUL among them twice. */
static bool has_high_bytes(const unsigned char *byte, int64_t size)
{
    enum { LOOKED_AT = 1024, DIGITS = 0x30 };
    int64_t seen = 0, low = 0, nul = 0;
    for (int64_t i = 0; i < size && i < LOOKED_AT; i += 2) {
        seen++;
        low += byte[i] < DIGITS;
        nul += byte[i] == 0;
    }
    return nul > 1 && 4 * low >= 3 * seen;
}

int64_t text_mark_size(const char *name, const char *text, int64_t size)
{
    const unsigned char *byte = (const unsigned char *)text;
    bool wide = size >= 4 && ((byte[0] == 0xff && byte[1] == 0xfe) || (byte[0] == 0xfe && byte[1] == 0xff) ||
                              has_high_bytes(byte, size) || has_high_bytes(byte + 1, size - 1));
    if (wide)
        fprintf(stderr, "lm: %s: looks like UTF-16 or UTF-32; convert it to UTF-8, as with iconv\n", name);
    return wide ? -1 : size >= 3 && memcmp(byte, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* Whether a text is UTF-8 without NUL; if not, says so. */
static bool check_characters(const char *name, const unsigned char *byte, int64_t size)
{
    int length = 1;
    for (int64_t at = 0; at < size; at += length)
        if (utf8_decode(byte + at, size - at, &length) <= 0) {
            fprintf(stderr, byte[at] == 0
                                ? "lm: %s: byte %lld is NUL, which no text has; remove it, or use --level byte\n"
                                : "lm: %s: byte %lld is not UTF-8; convert it, as with iconv, or use --level byte\n",
                    name, (long long)at);
            return false;
        }
    return true;
}

static bool read_file(raw_text *t, const char *path, token_kind kind)
{
    bool standard = strcmp(path, "-") == 0;
    int64_t from = t->size;
    system_file what;
    FILE *file = standard ? stdin : fopen(path, "rb");
    bool regular = file != NULL && system_look_at(file, &what) && what.regular;
    bool good = file != NULL && append(t, file, regular ? what.size : 0);
    int error = errno;
    t->stream = t->stream || standard || !regular;
    if (file != NULL && !standard)
        fclose(file);
    if (!good && error == EFBIG)
        ag_fprintf(stderr, "lm: %s: memory is free for %.3g GB of text, there is more\n", path, t->most / 1e9);
    else if (!good)
        fprintf(stderr, "lm: %s: %s\n", path, strerror(error));
    t->files++;
    if (!good || kind == TOKENS_BYTE)
        return good;
    const char *name = standard ? "standard input" : path;
    unsigned char *text = t->byte + from;
    const int64_t mark = text_mark_size(name, (const char *)text, t->size - from);
    if (mark < 0 || (kind == TOKENS_CHAR && !check_characters(name, text, t->size - from)))
        return false;
    t->size -= mark;
    memmove(text, text + mark, (size_t)(t->size - from));
    return true;
}

/* A file, or the files of a folder and of the folders in it, down to `depth`. */
static bool read_path(raw_text *t, const char *path, token_kind kind, int depth)
{
    system_file what;
    if (strcmp(path, "-") == 0 || !system_look(path, &what) || !what.folder)
        return read_file(t, path, kind);
    int count;
    char **list = system_list(path, &count);
    bool good = count >= 0 && depth > 0;
    if (!good)
        fprintf(stderr, "lm: %s: %s\n", path, depth > 0 ? strerror(errno) : "folders nest too deep");
    for (int i = 0; i < count && good; i++)
        good = read_path(t, list[i], kind, depth - 1);
    system_list_free(list, count);
    return good;
}

bool text_read(raw_text *t, text_files files, token_kind kind)
{
    enum { DEEPEST = 20 };
    *t = (raw_text){ .most = files.most };
    bool good = true;
    for (int i = 0; i < files.count && good; i++)
        good = read_path(t, files.path[i], kind, DEEPEST);
    t->train_size = t->size;
    const char *empty = t->size > 0 ? NULL : strcmp(files.path[0], "-") == 0 ? "standard input" : files.path[0];
    if (good && empty == NULL && files.val != NULL) {
        good = read_path(t, files.val, kind, DEEPEST);
        empty = t->size > t->train_size ? NULL : files.val;
    }
    if (good && empty != NULL)
        fprintf(stderr, "lm: %s: the text is empty\n", empty);
    good = good && empty == NULL;
    if (!good)
        text_free(t);
    return good;
}

void text_free(raw_text *t)
{
    free(t->byte);
    t->byte = NULL;
}

void text_mark(const raw_text *t, char mark[TEXT_MARK])
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, of 64 bits */
    for (int64_t i = 0; i < t->size; i++)
        hash = (hash ^ t->byte[i]) * 0x100000001b3u;
    hash = (hash ^ (uint64_t)t->train_size) * 0x100000001b3u;
    snprintf(mark, TEXT_MARK, "%016llx", (unsigned long long)hash);
}

/* ---- Baselines ---- */

/* How often each pair of tokens occurs in the training text: a table for few tokens, else all pairs, sorted. */
typedef struct pair_counts {
    uint32_t *table; /* [V,V] */
    uint64_t *pair;
    int64_t V, count;
} pair_counts;

static int compare_pairs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool pair_counts_make(pair_counts *p, const corpus *c, int64_t tokens)
{
    enum { TABLE_MOST = 2048 };
    *p = (pair_counts){ .V = c->vocab.size, .count = tokens - 1 };
    if (p->V <= TABLE_MOST)
        p->table = calloc((size_t)(p->V * p->V), sizeof *p->table);
    else
        p->pair = malloc((size_t)tokens * sizeof *p->pair);
    for (int64_t i = 0; i < p->count; i++) {
        uint64_t pair = (uint64_t)(c->token[i] * p->V + c->token[i + 1]);
        if (p->table != NULL)
            p->table[pair]++;
        else if (p->pair != NULL)
            p->pair[i] = pair;
    }
    if (p->pair != NULL && p->count > 0)
        qsort(p->pair, (size_t)p->count, sizeof *p->pair, compare_pairs);
    return p->table != NULL || p->pair != NULL;
}

/* The first index of a pair that is not less. */
static int64_t first_pair(const pair_counts *p, uint64_t pair)
{
    int64_t low = 0, high = p->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (p->pair[middle] < pair)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static double pair_count(const pair_counts *p, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(left * p->V + right);
    return p->table != NULL ? (double)p->table[pair] : (double)(first_pair(p, pair + 1) - first_pair(p, pair));
}

static baselines measure_baselines(const corpus *c)
{
    enum { COUNTED = 1 << 24 };
    const int64_t V = c->vocab.size, first = c->train_count, train = first < COUNTED ? first : COUNTED;
    const int64_t end = c->count - first < COUNTED ? c->count : first + COUNTED;
    double *single = calloc((size_t)V, sizeof *single);
    pair_counts pairs;
    baselines b = { log((double)V), (double)NAN, (double)NAN };
    if (pair_counts_make(&pairs, c, train) && single != NULL) {
        for (int64_t i = 0; i < train; i++)
            single[c->token[i]]++;
        double total = (double)train, n = (double)(end - first - 1);
        b.unigram = b.bigram = 0;
        for (int64_t i = first + 1; i < end; i++) {
            double before = single[c->token[i - 1]];
            b.unigram -= log((single[c->token[i]] + 1) / (total + (double)V)) / n;
            b.bigram -= log((pair_count(&pairs, c->token[i - 1], c->token[i]) + 1) / (before + (double)V)) / n;
        }
    }
    free(single);
    free(pairs.table);
    free(pairs.pair);
    return b;
}

/* ---- Tokens ---- */

/* The vocabulary: a copy of `known`, or learned from the text that is trained on. Characters are those of all the
 * text, so that each can be validated; byte pairs know nothing of its last tenth where that is for validation. */
static bool make_vocab(corpus *c, const raw_text *t, const vocab *known, token_kind kind, int32_t size)
{
    int64_t at = 0, learned_from = t->train_size < t->size ? t->train_size : t->size - t->size / 10;
    if (kind == TOKENS_CHAR)
        learned_from = t->size;
    if (known != NULL)
        c->vocab = vocab_share(known);
    else if (!vocab_learn(&c->vocab, kind, size, t->byte, learned_from, &at)) {
        if (at < 0)
            fprintf(stderr, "lm: out of memory for the vocabulary of %lld bytes\n", (long long)t->size);
        else
            fprintf(stderr, "lm: the text has more than %d different characters; use --vocab 1024\n", VOCAB_MAX);
        return false;
    }
    return true;
}

bool corpus_make(corpus *c, const raw_text *t, const vocab *known, token_kind kind, int32_t size)
{
    *c = (corpus){ .count = 0 };
    if (!make_vocab(c, t, known, kind, size))
        return false;
    int64_t val_count = 0;
    int32_t *val = NULL;
    c->token = vocab_encode_said(&c->vocab, "the text", t->byte, t->train_size, &c->count);
    bool good = c->token != NULL;
    if (good)
        c->train_count = c->count - c->count / 10;
    if (good && t->train_size < t->size) {
        c->train_count = c->count;
        val = vocab_encode_said(&c->vocab, "the validation text", t->byte + t->train_size, t->size - t->train_size,
                                &val_count);
        int32_t *all = val == NULL ? NULL : realloc(c->token, (size_t)(c->count + val_count) * sizeof *all);
        good = all != NULL;
        if (good) {
            memcpy(all + c->count, val, (size_t)val_count * sizeof *all);
            c->token = all;
            c->count += val_count;
        }
        free(val);
    }
    for (int64_t i = c->train_count + 1; i < c->count && good; i++) {
        unsigned char space[UTF8_BYTES];
        int64_t bytes;
        const unsigned char *byte = vocab_bytes(&c->vocab, c->token[i], space, &bytes);
        c->val_bytes += bytes;
        for (int64_t b = 0; b < bytes; b++)
            c->val_characters += (byte[b] & 0xc0) != 0x80;
    }
    if (good)
        c->chance = measure_baselines(c);
    return good;
}

double corpus_bits_per_byte(const corpus *c, double nats)
{
    return nats / log(2) * (double)(c->count - c->train_count - 1) / (double)c->val_bytes;
}

void corpus_print_loss(FILE *file, const corpus *c, double nats)
{
    ag_fprintf(file, "%.4f nats per %s, ", nats, token_noun[c->vocab.kind]);
    if (c->vocab.kind == TOKENS_BPE && c->val_characters > 0)
        ag_fprintf(file, "%.4f per character, ",
                   nats * (double)(c->count - c->train_count - 1) / (double)c->val_characters);
    ag_fprintf(file, "%.4f bits per byte", corpus_bits_per_byte(c, nats));
}

void corpus_free(corpus *c)
{
    vocab_free(&c->vocab);
    free(c->token);
    c->token = NULL;
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
