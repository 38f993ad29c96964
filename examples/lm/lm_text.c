/* SPDX-License-Identifier: MIT
 *
 * lm_text.c - see lm_text.h.
 */
#include "examples/lm/lm_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    else if (!(good = vocab_learn(&c->vocab, bytes, text + first, size - first, &at)))
        explain_text(path, text, size, first + at);
    if (!good) {
        free(text);
        return false;
    }
    c->token = malloc((size_t)size * sizeof *c->token);
    if (c->token != NULL)
        c->count = vocab_encode(&c->vocab, text + first, size - first, c->token, &at);
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
