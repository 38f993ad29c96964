/* SPDX-License-Identifier: MIT
 *
 * unicode.c - see unicode.h. Decomposition, the order of combining marks and composition are those of Unicode's 3.11;
 * the syllables of Hangul are computed (3.12).
 */
#include "examples/shared/unicode.h"
#include "examples/shared/utf8.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct code_range {
    uint32_t first, last;
    int value;
} code_range;

static const code_range class_table[] = {
#define CLASS(first, last, value) { first, last, value },
#include "examples/shared/unicode.def"
#undef CLASS
};

static const code_range combining_table[] = {
#define COMBINING(first, last, value) { first, last, value },
#include "examples/shared/unicode.def"
#undef COMBINING
};

static const struct {
    uint32_t first, last, step;
    int32_t added;
} lower_table[] = {
#define LOWER(first, last, step, added) { first, last, step, added },
#include "examples/shared/unicode.def"
#undef LOWER
};

static const struct decomposed {
    uint32_t code, first, second; /* second 0: one character */
    bool composed;
} decomposed_table[] = {
#define DECOMPOSED(code, first, second, composed) { code, first, second, composed },
#include "examples/shared/unicode.def"
#undef DECOMPOSED
};

enum { LOWER_ROWS = sizeof lower_table / sizeof *lower_table };
enum { DECOMPOSED_ROWS = sizeof decomposed_table / sizeof *decomposed_table };

static int range_value(const code_range *table, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && table[low].first <= code ? table[low].value : 0;
}

int unicode_class(uint32_t code)
{
    return range_value(class_table, sizeof class_table / sizeof *class_table, code);
}

static int combining_class(uint32_t code)
{
    return code < 0x300 ? 0 : range_value(combining_table, sizeof combining_table / sizeof *combining_table, code);
}

bool unicode_is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

uint32_t unicode_lower(uint32_t code)
{
    if (code == 0x130)
        return 'i';
    for (size_t i = 0; i < LOWER_ROWS && lower_table[i].first <= code; i++)
        if (code <= lower_table[i].last && (code - lower_table[i].first) % lower_table[i].step == 0)
            return (uint32_t)((int32_t)code + lower_table[i].added);
    return code;
}

/* ---- Normal forms ---- */

enum { HANGUL = 0xac00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11a7, L_COUNT = 19, V_COUNT = 21,
       T_COUNT = 28, HANGUL_COUNT = L_COUNT * V_COUNT * T_COUNT };

static const struct decomposed *decomposition_of(uint32_t code)
{
    size_t low = 0, high = DECOMPOSED_ROWS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (decomposed_table[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < DECOMPOSED_ROWS && decomposed_table[low].code == code ? &decomposed_table[low] : NULL;
}

/* The character of two, 0: none. */
static uint32_t composed_of(uint32_t first, uint32_t second)
{
    if (first >= HANGUL_L && first < HANGUL_L + L_COUNT && second >= HANGUL_V && second < HANGUL_V + V_COUNT)
        return HANGUL + ((first - HANGUL_L) * V_COUNT + (second - HANGUL_V)) * T_COUNT;
    if (first >= HANGUL && first < HANGUL + HANGUL_COUNT && (first - HANGUL) % T_COUNT == 0 && second > HANGUL_T &&
        second < HANGUL_T + T_COUNT)
        return first + (second - HANGUL_T);
    if (second < 0x300 || (second > 0x309a && second < 0x11000))
        return 0; /* no second half of any */
    for (size_t i = 0; i < DECOMPOSED_ROWS; i++)
        if (decomposed_table[i].second == second && decomposed_table[i].first == first && decomposed_table[i].composed)
            return decomposed_table[i].code;
    return 0;
}

typedef struct marks { /* a character that combines with none before it, and those that do */
    uint32_t *code;
    int64_t count, room;
    bool failed;
} marks;

static void marks_put(marks *m, uint32_t code)
{
    if (m->count == m->room) {
        int64_t room = m->room == 0 ? 64 : 2 * m->room;
        uint32_t *grown = realloc(m->code, (size_t)room * sizeof *grown);
        m->failed = m->failed || grown == NULL;
        if (grown == NULL)
            return;
        m->code = grown;
        m->room = room;
    }
    m->code[m->count++] = code;
}

static void decompose(marks *m, uint32_t code)
{
    if (code >= HANGUL && code < HANGUL + HANGUL_COUNT) {
        uint32_t s = code - HANGUL;
        marks_put(m, HANGUL_L + s / (V_COUNT * T_COUNT));
        marks_put(m, HANGUL_V + s % (V_COUNT * T_COUNT) / T_COUNT);
        if (s % T_COUNT > 0)
            marks_put(m, HANGUL_T + s % T_COUNT);
        return;
    }
    const struct decomposed *d = code < 0xc0 ? NULL : decomposition_of(code);
    if (d == NULL) {
        marks_put(m, code);
        return;
    }
    decompose(m, d->first); /* at most 3 deep */
    if (d->second != 0)
        marks_put(m, d->second); /* is never decomposed */
}

static int by_class(const void *a_, const void *b_) /* stable, by the place in the upper bits */
{
    const uint64_t a = *(const uint64_t *)a_, b = *(const uint64_t *)b_;
    return a < b ? -1 : a > b;
}

/* Sorts code[begin .. end - 1] by their combining classes. */
static void order_marks(marks *m, int64_t begin, int64_t end)
{
    bool sorted = true;
    for (int64_t i = begin + 1; i < end && sorted; i++)
        sorted = combining_class(m->code[i - 1]) <= combining_class(m->code[i]);
    uint64_t *key = sorted ? NULL : malloc((size_t)(end - begin) * sizeof *key);
    uint32_t *old = sorted ? NULL : malloc((size_t)(end - begin) * sizeof *old);
    m->failed = m->failed || (!sorted && (key == NULL || old == NULL));
    for (int64_t i = begin; i < end && key != NULL && old != NULL; i++) {
        old[i - begin] = m->code[i];
        key[i - begin] = (uint64_t)combining_class(m->code[i]) << 48 | (uint64_t)(i - begin);
    }
    if (key != NULL && old != NULL) {
        qsort(key, (size_t)(end - begin), sizeof *key, by_class);
        for (int64_t i = begin; i < end; i++)
            m->code[i] = old[key[i - begin] & 0xffffffffffff];
    }
    free(key);
    free(old);
}

/* Composes all marks with the starters before them; returns how many characters are left. */
static int64_t compose_marks(marks *m)
{
    int64_t starter = -1, out = 0;
    int last = 0; /* the class of the character before, if it was not composed */
    for (int64_t i = 0; i < m->count; i++) {
        uint32_t code = m->code[i];
        int class = combining_class(code);
        bool open = starter >= 0 && (out == starter + 1 || (last != 0 && last < class));
        uint32_t whole = open ? composed_of(m->code[starter], code) : 0;
        if (whole != 0) {
            m->code[starter] = whole;
            continue;
        }
        if (class == 0)
            starter = out;
        last = class;
        m->code[out++] = code;
    }
    return out;
}

void unicode_normalize(const char *text, int64_t length, bool compose, text_buffer *out)
{
    marks m = { .count = 0 };
    int64_t begin = 0;
    int size;
    for (int64_t at = 0; at < length; at += size) {
        int64_t code = utf8_decode((const unsigned char *)text + at, length - at, &size);
        decompose(&m, code < 0 ? 0xfffd : (uint32_t)code);
    }
    for (int64_t i = 0; i <= m.count; i++)
        if (i == m.count || combining_class(m.code[i]) == 0) {
            order_marks(&m, begin, i);
            begin = i + 1;
        }
    if (compose)
        m.count = compose_marks(&m);
    for (int64_t i = 0; i < m.count; i++) {
        char character[UTF8_BYTES];
        text_buffer_put(out, character, utf8_encode(m.code[i], character));
    }
    out->failed = out->failed || m.failed;
    free(m.code);
}
