/* SPDX-License-Identifier: MIT
 *
 * bpe_learn.c - the merges of bpe.h from a text.
 *
 * The different pieces of the text stand one after the other, a free place behind each. A place is a byte of them:
 * token[p] is the token whose bytes begin at p (-1: none does), begin[p] where the token begins whose bytes end at p.
 * Every pair of neighbours has a list of the places of its left token, in order, so that a merge touches nothing but
 * its own places.
 */
#include "examples/shared/bpe.h"
#include "examples/shared/bpe_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair_places {
    bpe_pair pair;
    int64_t count;       /* of the text, not of the places */
    int32_t first, last; /* places, -1: none */
} pair_places;

typedef struct learner {
    bpe *b;
    pieces pieces;
    int64_t places;
    int32_t *token, *begin, *piece_of, *before, *after; /* [places]; before and after: neighbours in the pair's list */
    pair_places *pair;
    int64_t pairs;
    int32_t *slot; /* open addressing: an index of pair, -1: free */
    size_t slots;  /* a power of 2, more than twice `pairs` */
    heap heap;     /* of pairs by their count, which may have fallen since: most frequent first */
} learner;

static int64_t token_length(const learner *l, int32_t token)
{
    int64_t length;
    bpe_bytes(l->b, token, &length);
    return length;
}

/* ---- Pairs ---- */

static size_t pair_slot(const learner *l, bpe_pair pair)
{
    size_t at = bpe_hash_pair(pair) & (l->slots - 1);
    for (int32_t i; (i = l->slot[at]) >= 0; at = (at + 1) & (l->slots - 1))
        if (l->pair[i].pair.left == pair.left && l->pair[i].pair.right == pair.right)
            break;
    return at;
}

static bool pairs_grow(learner *l)
{
    size_t slots = l->slots == 0 ? 4096 : 2 * l->slots;
    pair_places *pair = realloc(l->pair, slots / 2 * sizeof *pair);
    l->pair = pair == NULL ? l->pair : pair;
    int32_t *slot = realloc(l->slot, slots * sizeof *slot);
    l->slot = slot == NULL ? l->slot : slot;
    if (pair == NULL || slot == NULL)
        return false;
    l->slots = slots;
    memset(slot, 0xff, slots * sizeof *slot);
    for (int64_t i = 0; i < l->pairs; i++)
        slot[pair_slot(l, pair[i].pair)] = (int32_t)i;
    return true;
}

/* The token behind that at p in the same piece, *next its place; -1: none. */
static int32_t neighbour(const learner *l, int64_t p, int64_t *next)
{
    *next = p + token_length(l, l->token[p]);
    return l->token[*next]; /* the free place behind a piece has -1 */
}

/* Puts p at the end of its pair's list. False when out of memory. */
static bool enter(learner *l, int64_t p)
{
    int64_t next;
    bpe_pair pair = { l->token[p], neighbour(l, p, &next) };
    if (pair.right < 0)
        return true;
    if ((size_t)l->pairs >= l->slots / 2 && !pairs_grow(l))
        return false;
    size_t at = pair_slot(l, pair);
    if (l->slot[at] < 0) {
        l->slot[at] = (int32_t)l->pairs;
        l->pair[l->pairs++] = (pair_places){ pair, 0, -1, -1 };
    }
    pair_places *list = &l->pair[l->slot[at]];
    l->before[p] = list->last;
    l->after[p] = -1;
    if (list->last >= 0)
        l->after[list->last] = (int32_t)p;
    else
        list->first = (int32_t)p;
    list->last = (int32_t)p;
    list->count += l->pieces.list[l->piece_of[p]].count;
    return true;
}

/* Takes p out of its pair's list. */
static void leave(learner *l, int64_t p)
{
    int64_t next;
    bpe_pair pair = { l->token[p], neighbour(l, p, &next) };
    if (pair.right < 0)
        return;
    pair_places *list = &l->pair[l->slot[pair_slot(l, pair)]];
    int32_t before = l->before[p], after = l->after[p];
    *(before >= 0 ? &l->after[before] : &list->first) = after;
    *(after >= 0 ? &l->before[after] : &list->last) = before;
    list->count -= l->pieces.list[l->piece_of[p]].count;
}

/* ---- Merging ---- */

static bool push(learner *l, const pair_places *p)
{
    return p->count < 2 || heap_push(&l->heap, UINT64_MAX - (uint64_t)p->count,
                                     (uint64_t)p->pair.left << 32 | (uint64_t)p->pair.right);
}

/* The most frequent pair's index, -1: none occurs twice, -2: out of memory. */
static int64_t most_frequent(learner *l)
{
    while (l->heap.count > 0) {
        heap_item top = heap_pop(&l->heap);
        int32_t i = l->slot[pair_slot(l, (bpe_pair){ (int32_t)(top.low >> 32), (int32_t)(top.low & UINT32_MAX) })];
        if ((uint64_t)l->pair[i].count == UINT64_MAX - top.high)
            return i;
        if (!push(l, &l->pair[i]))
            return -2;
    }
    return -1;
}

/* Replaces the pair by `merged` everywhere. */
static bool merge_pair(learner *l, int64_t pair, int32_t merged)
{
    bool good = true;
    int64_t known = l->pairs;
    while (good && l->pair[pair].first >= 0) {
        int64_t p = l->pair[pair].first, next, previous = p == 0 ? -1 : l->begin[p - 1];
        neighbour(l, p, &next);
        if (previous >= 0)
            leave(l, previous);
        leave(l, p);
        leave(l, next);
        l->token[p] = merged;
        l->token[next] = -1;
        l->begin[p + token_length(l, merged) - 1] = (int32_t)p;
        good = enter(l, p) && (previous < 0 || enter(l, previous));
    }
    for (int64_t i = known; i < l->pairs && good; i++)
        good = push(l, &l->pair[i]);
    return good;
}

static bool learn_merges(learner *l, int32_t size)
{
    while (bpe_size(l->b) < size) {
        int64_t pair = most_frequent(l);
        if (pair < 0)
            return pair == -1;
        bool same;
        int32_t merged = bpe_size(l->b);
        if (!bpe_add(l->b, l->pair[pair].pair, &same) || (!same && !merge_pair(l, pair, merged)))
            return false;
    }
    return true;
}

/* ---- Setting up ---- */

static bool count_pieces(learner *l, const unsigned char *text, int64_t length)
{
    for (int64_t at = 0; at < length;) {
        int64_t bytes = bpe_piece(text + at, length - at);
        if (pieces_add(&l->pieces, text + at, bytes) < 0)
            return false;
        at += bytes;
    }
    for (int64_t i = 0; i < l->pieces.count; i++)
        l->places += l->pieces.list[i].length + 1;
    return true;
}

static bool lay_out_places(learner *l)
{
    int32_t **array[] = { &l->token, &l->begin, &l->piece_of, &l->before, &l->after };
    for (size_t i = 0; i < sizeof array / sizeof *array; i++)
        if ((*array[i] = malloc((size_t)(l->places + 1) * sizeof **array[i])) == NULL)
            return false;
    int64_t p = 0;
    for (int64_t i = 0; i < l->pieces.count; i++) {
        for (int64_t j = 0; j < l->pieces.list[i].length; j++, p++) {
            l->token[p] = l->pieces.list[i].text[j];
            l->begin[p] = (int32_t)p;
            l->piece_of[p] = (int32_t)i;
        }
        l->token[p] = l->begin[p] = -1;
        p++;
    }
    for (p = 0; p < l->places; p++)
        if (l->token[p] >= 0 && !enter(l, p))
            return false;
    for (int64_t i = 0; i < l->pairs; i++)
        if (!push(l, &l->pair[i]))
            return false;
    return true;
}

bpe *bpe_learn(const unsigned char *text, int64_t length, int32_t size)
{
    learner l = { .b = bpe_new(NULL, 0) };
    bool good = l.b != NULL && count_pieces(&l, text, length < BPE_LEARNED ? length : BPE_LEARNED) &&
                lay_out_places(&l) && learn_merges(&l, size);
    pieces_free(&l.pieces);
    free(l.token);
    free(l.begin);
    free(l.piece_of);
    free(l.before);
    free(l.after);
    free(l.pair);
    free(l.slot);
    free(l.heap.item);
    if (good)
        return l.b;
    bpe_free(l.b);
    return NULL;
}
