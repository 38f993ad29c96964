/* SPDX-License-Identifier: MIT
 *
 * bpe_impl.h - what the files of byte pair encoding share: the pieces of a text, each once, a heap, and merging.
 */
#ifndef EXAMPLES_BPE_IMPL_H
#define EXAMPLES_BPE_IMPL_H

#include "examples/shared/bpe.h"

#include <stddef.h>

/* ---- Pieces ---- */

typedef struct piece {
    const unsigned char *text;
    int64_t length;
    int64_t count; /* how often pieces_add was given it */
    int64_t first, tokens; /* where its tokens are, for bpe_encode */
} piece;

typedef struct pieces {
    piece *list;
    int64_t count;
    int64_t *slot; /* open addressing: an index of list, -1: free */
    size_t slots;  /* a power of 2, more than twice count; 0 at first */
} pieces;

/* The index of the piece with these bytes, which are borrowed; -1 when out of memory. */
int64_t pieces_add(pieces *p, const unsigned char *text, int64_t length);
void pieces_free(pieces *p);

/* ---- Heap ---- */

typedef struct heap_item {
    uint64_t high, low;
} heap_item;

typedef struct heap {
    heap_item *item;
    size_t count, room;
} heap;

/* False when out of memory. */
bool heap_push(heap *h, uint64_t high, uint64_t low);

/* The item with the smallest high, of those the smallest low. The heap is not empty. */
heap_item heap_pop(heap *h);

/* ---- Merges ---- */

typedef struct merge_rule {
    bpe_pair pair;
    int32_t rank, merged; /* the lowest rank is merged first; merged is -1 in a free slot */
} merge_rule;

typedef struct merges {
    merge_rule *slot; /* open addressing by the pair */
    size_t slots, count;
} merges;

/* Adds a merge; one of the same pair is replaced. False when out of memory. */
bool merges_put(merges *m, merge_rule added);

/* The merge of a pair; NULL: none. */
const merge_rule *merges_find(const merges *m, bpe_pair pair);

/* What merging needs: its arrays grow and stay. */
typedef struct merger {
    int32_t *next, *before;
    int64_t room;
    heap heap;
} merger;

/* Merges token[count], which none crosses, in place, in O(count log count): the pair of the lowest rank first, of equal
 * ones the left one. Returns how many are left; -1 when out of memory. */
int64_t merger_run(merger *work, const merges *m, int32_t *token, int64_t count);
void merger_free(merger *work);

size_t bpe_hash_bytes(const unsigned char *text, int64_t length);
size_t bpe_hash_pair(bpe_pair pair);

/* Adds the token of a pair. False when out of memory. *same: there is a token of the same bytes, or it would be longer
 * than BPE_LONGEST, and none is added. */
bool bpe_add(bpe *b, bpe_pair pair, bool *same);

#endif
