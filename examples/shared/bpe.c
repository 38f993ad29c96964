/* SPDX-License-Identifier: MIT
 *
 * bpe.c - see bpe.h.
 */
#include "examples/shared/bpe.h"
#include "examples/shared/bpe_impl.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

struct bpe {
    int sharers; /* owners besides the first */
    int32_t size, room; /* tokens; room is of pair and first */
    bpe_pair *pair;     /* [size], of bytes unused */
    int64_t *first;     /* [size + 1]: token t is text[first[t]] .. text[first[t + 1] - 1] */
    unsigned char *text;
    int64_t text_room;
    int32_t *text_slot; /* open addressing by the token's bytes: a token, -1: free */
    size_t slots;       /* a power of 2, more than twice `size` */
    merges merges;      /* the rank is the token that is made */
};

/* ---- Pieces ---- */

/* U+2000 .. U+206F are dashes and quotes, U+3000 .. U+303F those of Chinese and Japanese; an apostrophe is ' or U+2019.
 * This is GPT-2's expression with classes that need no table of Unicode. */
#define BLANK "\\t-\\r "
#define LETTER "A-Za-z\\x{C0}-\\x{1FFF}\\x{2070}-\\x{2FFF}\\x{3040}-\\x{10FFFF}"
const char bpe_pattern[] = "['\\x{2019}](?:ll|re|ve|[dmst])(?![" LETTER "])| ?[" LETTER "]+| ?[0-9]+|"
                           " ?[^" BLANK LETTER "0-9]+|[" BLANK "]+(?![^" BLANK "])|[" BLANK "]+";

typedef enum class { BLANKS, LETTERS, DIGITS, OTHERS } class;

/* The class of the character at `text`, *size its bytes. A byte that is not UTF-8 is a letter. */
static class class_at(const unsigned char *text, int64_t length, int *size)
{
    int64_t code = utf8_decode(text, length, size);
    if (code < 0) {
        *size = 1;
        return LETTERS;
    }
    if (code == ' ' || (code >= '\t' && code <= '\r'))
        return BLANKS;
    if (code >= '0' && code <= '9')
        return DIGITS;
    if ((code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z'))
        return LETTERS;
    return code < 0xc0 || (code >= 0x2000 && code < 0x2070) || (code >= 0x3000 && code < 0x3040) ? OTHERS : LETTERS;
}

/* The length of the contraction that the text begins with ('s, 'll, ...), 0: none. */
static int64_t contraction(const unsigned char *text, int64_t length)
{
    static const char *const ending[] = { "ll", "re", "ve", "d", "m", "s", "t" };
    int64_t mark = text[0] == '\'' ? 1 : length >= 3 && memcmp(text, "\xe2\x80\x99", 3) == 0 ? 3 : 0;
    for (size_t i = 0; mark > 0 && i < sizeof ending / sizeof *ending; i++) {
        int64_t end = mark + (int64_t)strlen(ending[i]);
        int size;
        if (end <= length && memcmp(text + mark, ending[i], strlen(ending[i])) == 0 &&
            (end == length || class_at(text + end, length - end, &size) != LETTERS))
            return end;
    }
    return 0;
}

int64_t bpe_piece(const unsigned char *text, int64_t length)
{
    int64_t end = contraction(text, length), last = 0;
    if (end > 0)
        return end;
    int size;
    class first = class_at(text, length, &size), now = first;
    end = size;
    if (first == BLANKS && text[0] == ' ' && length > 1 && class_at(text + 1, length - 1, &size) != BLANKS) {
        first = class_at(text + 1, length - 1, &size);
        end = 1 + size;
    }
    while (end < length && (now = class_at(text + end, length - end, &size)) == first) {
        last = end;
        end += size;
    }
    /* The last of several blanks belongs to what follows. */
    return first == BLANKS && end < length && last > 0 ? last : end;
}

static bool pieces_grow(pieces *p)
{
    size_t slots = p->slots == 0 ? 1024 : 2 * p->slots;
    piece *list = realloc(p->list, slots / 2 * sizeof *list);
    if (list == NULL)
        return false;
    p->list = list;
    int64_t *slot = malloc(slots * sizeof *slot);
    if (slot == NULL)
        return false;
    memset(slot, 0xff, slots * sizeof *slot); /* -1 */
    for (int64_t i = 0; i < p->count; i++) {
        size_t at = bpe_hash_bytes(list[i].text, list[i].length) & (slots - 1);
        while (slot[at] >= 0)
            at = (at + 1) & (slots - 1);
        slot[at] = i;
    }
    free(p->slot);
    p->slot = slot;
    p->slots = slots;
    return true;
}

int64_t pieces_add(pieces *p, const unsigned char *text, int64_t length)
{
    if ((size_t)p->count >= p->slots / 2 && !pieces_grow(p))
        return -1;
    size_t at = bpe_hash_bytes(text, length) & (p->slots - 1);
    for (; p->slot[at] >= 0; at = (at + 1) & (p->slots - 1)) {
        piece *there = &p->list[p->slot[at]];
        if (there->length == length && memcmp(there->text, text, (size_t)length) == 0) {
            there->count++;
            return p->slot[at];
        }
    }
    p->list[p->count] = (piece){ .text = text, .length = length, .count = 1 };
    return p->slot[at] = p->count++;
}

void pieces_free(pieces *p)
{
    free(p->list);
    free(p->slot);
}

/* ---- Tokens ---- */

static int64_t length_of(const bpe *b, int32_t token)
{
    return b->first[token + 1] - b->first[token];
}

/* The slot of text_slot with a token of these bytes, or the free one for it. */
static size_t find_text(const bpe *b, const unsigned char *text, int64_t length)
{
    size_t at = bpe_hash_bytes(text, length) & (b->slots - 1);
    for (int32_t t; (t = b->text_slot[at]) >= 0; at = (at + 1) & (b->slots - 1))
        if (length_of(b, t) == length && memcmp(b->text + b->first[t], text, (size_t)length) == 0)
            break;
    return at;
}

static bool tokens_grow(bpe *b)
{
    int32_t room = b->room == 0 ? 1024 : 2 * b->room;
    size_t slots = (size_t)room * 4;
    bpe_pair *pair = realloc(b->pair, (size_t)room * sizeof *pair);
    b->pair = pair == NULL ? b->pair : pair;
    int64_t *first = realloc(b->first, (size_t)(room + 1) * sizeof *first);
    b->first = first == NULL ? b->first : first;
    int32_t *text_slot = realloc(b->text_slot, slots * sizeof *text_slot);
    b->text_slot = text_slot == NULL ? b->text_slot : text_slot;
    if (pair == NULL || first == NULL || text_slot == NULL)
        return false;
    b->room = room;
    b->slots = slots;
    memset(text_slot, 0xff, slots * sizeof *text_slot);
    for (int32_t t = 0; t < b->size; t++)
        b->text_slot[find_text(b, b->text + first[t], length_of(b, t))] = t;
    return true;
}

/* Adds a token of the `length` bytes that stand behind the last token's. False when out of memory. */
static bool add_token(bpe *b, bpe_pair pair, int64_t length, bool *same)
{
    size_t at = find_text(b, b->text + b->first[b->size], length);
    *same = b->text_slot[at] >= 0;
    if (*same)
        return true;
    if (b->size >= BPE_BYTES && !merges_put(&b->merges, (merge_rule){ pair, b->size, b->size }))
        return false;
    b->text_slot[at] = b->size;
    b->pair[b->size] = pair;
    b->first[b->size + 1] = b->first[b->size] + length;
    b->size++;
    return true;
}

bool bpe_add(bpe *b, bpe_pair pair, bool *same)
{
    int64_t left = length_of(b, pair.left), right = length_of(b, pair.right), end = b->first[b->size];
    *same = left + right > BPE_LONGEST;
    if (*same)
        return true;
    if (b->size == b->room && !tokens_grow(b))
        return false;
    if (end + left + right > b->text_room) {
        int64_t room = 2 * (end + left + right);
        unsigned char *text = realloc(b->text, (size_t)room);
        if (text == NULL)
            return false;
        b->text = text;
        b->text_room = room;
    }
    memcpy(b->text + end, b->text + b->first[pair.left], (size_t)left);
    memcpy(b->text + end + left, b->text + b->first[pair.right], (size_t)right);
    return add_token(b, pair, left + right, same);
}

bpe *bpe_new(const bpe_pair *merge, int32_t count)
{
    bpe *b = calloc(1, sizeof *b);
    bool good = b != NULL && tokens_grow(b) && (b->text = malloc(BPE_BYTES)) != NULL, same = false;
    if (good) {
        b->text_room = BPE_BYTES;
        b->first[0] = 0;
    }
    for (int i = 0; i < BPE_BYTES && good; i++) {
        b->text[i] = (unsigned char)i;
        good = add_token(b, (bpe_pair){ -1, -1 }, 1, &same);
    }
    for (int32_t i = 0; i < count && good; i++)
        good = merge[i].left >= 0 && merge[i].right >= 0 && merge[i].left < b->size && merge[i].right < b->size &&
               bpe_add(b, merge[i], &same) && !same;
    if (good)
        return b;
    bpe_free(b);
    return NULL;
}

void bpe_share(bpe *b)
{
    if (b != NULL)
        b->sharers++;
}

void bpe_free(bpe *b)
{
    if (b == NULL || b->sharers-- > 0)
        return;
    free(b->pair);
    free(b->first);
    free(b->text);
    free(b->merges.slot);
    free(b->text_slot);
    free(b);
}

int32_t bpe_size(const bpe *b)
{
    return b->size;
}

bpe_pair bpe_merge(const bpe *b, int32_t i)
{
    return b->pair[BPE_BYTES + i];
}

const unsigned char *bpe_bytes(const bpe *b, int32_t token, int64_t *length)
{
    *length = length_of(b, token);
    return b->text + b->first[token];
}

/* ---- Encoding ---- */

int64_t bpe_encode(const bpe *b, const unsigned char *text, int64_t length, int32_t *token)
{
    merger work = { .room = 0 };
    pieces known = { .count = 0 };
    int64_t count = 0;
    for (int64_t at = 0; at < length && count >= 0;) {
        int64_t bytes = bpe_piece(text + at, length - at), i = pieces_add(&known, text + at, bytes);
        piece *p = i < 0 ? NULL : &known.list[i];
        if (p != NULL && p->count > 1) {
            memcpy(token + count, token + p->first, (size_t)p->tokens * sizeof *token);
        } else if (p != NULL) {
            p->first = count;
            for (int64_t k = 0; k < bytes; k++)
                token[count + k] = text[at + k];
            p->tokens = merger_run(&work, &b->merges, token + count, bytes);
        }
        count = p == NULL || p->tokens < 0 ? -1 : count + p->tokens;
        at += bytes;
    }
    pieces_free(&known);
    merger_free(&work);
    return count;
}
