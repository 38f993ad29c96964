/* SPDX-License-Identifier: MIT
 *
 * bpe_impl.h - what bpe.c and bpe_learn.c share: the pieces of a text, each once, and a heap.
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

size_t bpe_hash_pair(bpe_pair pair);

/* Adds the token of a pair. False when out of memory. *same: there is a token of the same bytes, or it would be longer
 * than BPE_LONGEST, and none is added. */
bool bpe_add(bpe *b, bpe_pair pair, bool *same);

#endif
