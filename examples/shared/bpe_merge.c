/* SPDX-License-Identifier: MIT
 *
 * bpe_merge.c - merging neighbours in the order of their ranks, and the heap for it.
 *
 * The tokens of a piece are a list: token[p] at place p, -1 where it was merged into an earlier one.
 */
#include "examples/shared/bpe_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- Heap ---- */

static bool less(heap_item a, heap_item b)
{
    return a.high != b.high ? a.high < b.high : a.low < b.low;
}

bool heap_push(heap *h, uint64_t high, uint64_t low)
{
    if (h->count == h->room) {
        size_t room = h->room == 0 ? 256 : 2 * h->room;
        heap_item *item = realloc(h->item, room * sizeof *item);
        if (item == NULL)
            return false;
        h->item = item;
        h->room = room;
    }
    heap_item item = { high, low };
    size_t at = h->count++;
    for (; at > 0 && less(item, h->item[(at - 1) / 2]); at = (at - 1) / 2)
        h->item[at] = h->item[(at - 1) / 2];
    h->item[at] = item;
    return true;
}

heap_item heap_pop(heap *h)
{
    heap_item top = h->item[0], last = h->item[--h->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && less(h->item[child + 1], h->item[child]))
            child++;
        if (!less(h->item[child], last))
            break;
        h->item[at] = h->item[child];
    }
    h->item[at] = last;
    return top;
}

/* ---- Merges by their pairs ---- */

size_t bpe_hash_bytes(const unsigned char *text, int64_t length) /* FNV-1a */
{
    uint64_t hash = 0xcbf29ce484222325;
    for (int64_t i = 0; i < length; i++)
        hash = (hash ^ text[i]) * 0x100000001b3;
    return (size_t)(hash ^ hash >> 32);
}

size_t bpe_hash_pair(bpe_pair pair)
{
    uint64_t hash = ((uint64_t)(uint32_t)pair.left << 32 | (uint32_t)pair.right) * 0x9e3779b97f4a7c15;
    return (size_t)(hash ^ hash >> 32);
}

/* The slot with the pair, or the free one for it. */
static merge_rule *merge_slot(const merges *m, bpe_pair pair)
{
    size_t at = bpe_hash_pair(pair) & (m->slots - 1);
    while (m->slot[at].merged >= 0 && (m->slot[at].pair.left != pair.left || m->slot[at].pair.right != pair.right))
        at = (at + 1) & (m->slots - 1);
    return &m->slot[at];
}

static bool merges_grow(merges *m)
{
    merges grown = { .slots = m->slots == 0 ? 1024 : 2 * m->slots, .count = m->count };
    grown.slot = malloc(grown.slots * sizeof *grown.slot);
    if (grown.slot == NULL)
        return false;
    memset(grown.slot, 0xff, grown.slots * sizeof *grown.slot); /* -1 */
    for (size_t i = 0; i < m->slots; i++)
        if (m->slot[i].merged >= 0)
            *merge_slot(&grown, m->slot[i].pair) = m->slot[i];
    free(m->slot);
    *m = grown;
    return true;
}

bool merges_put(merges *m, merge_rule added)
{
    if (m->count >= m->slots / 2 && !merges_grow(m))
        return false;
    merge_rule *slot = merge_slot(m, added.pair);
    m->count += slot->merged < 0;
    *slot = added;
    return true;
}

const merge_rule *merges_find(const merges *m, bpe_pair pair)
{
    const merge_rule *slot = m->slots == 0 ? NULL : merge_slot(m, pair);
    return slot == NULL || slot->merged < 0 ? NULL : slot;
}

/* ---- Merging ---- */

/* Notes that the token at p and the next one can be merged, if they can. */
static bool note_merge(merger *work, const merges *m, const int32_t *token, int32_t p)
{
    if (p < 0 || work->next[p] < 0)
        return true;
    const merge_rule *found = merges_find(m, (bpe_pair){ token[p], token[work->next[p]] });
    return found == NULL || heap_push(&work->heap, (uint64_t)found->rank << 32 | (uint64_t)p, (uint64_t)found->merged);
}

/* Merges the token at p and the next one, if these make `merged` still: an earlier merge may have taken one of them. */
static bool merge_at(merger *work, const merges *m, int32_t *token, int32_t p, int32_t merged)
{
    int32_t *next = work->next, *before = work->before;
    if (token[p] < 0 || next[p] < 0)
        return true;
    const merge_rule *found = merges_find(m, (bpe_pair){ token[p], token[next[p]] });
    if (found == NULL || found->merged != merged)
        return true;
    token[p] = merged;
    token[next[p]] = -1;
    next[p] = next[next[p]];
    if (next[p] >= 0)
        before[next[p]] = p;
    return note_merge(work, m, token, p) && note_merge(work, m, token, before[p]);
}

static bool merger_grow(merger *work, int64_t count)
{
    if (count <= work->room)
        return true;
    free(work->next);
    free(work->before);
    work->room = count > INT32_MAX / 2 ? 0 : 2 * count;
    work->next = malloc((size_t)work->room * sizeof *work->next);
    work->before = malloc((size_t)work->room * sizeof *work->before);
    if (work->room == 0 || work->next == NULL || work->before == NULL)
        work->room = 0;
    return work->room > 0;
}

int64_t merger_run(merger *work, const merges *m, int32_t *token, int64_t count)
{
    bool good = merger_grow(work, count);
    for (int32_t p = 0; p < count && good; p++) {
        work->next[p] = p + 1 < count ? p + 1 : -1;
        work->before[p] = p - 1;
    }
    for (int32_t p = 0; p < count && good; p++)
        good = note_merge(work, m, token, p);
    while (good && work->heap.count > 0) {
        heap_item first = heap_pop(&work->heap);
        good = merge_at(work, m, token, (int32_t)(first.high & UINT32_MAX), (int32_t)first.low);
    }
    int64_t left = 0;
    for (int64_t p = 0; p < count && good; p++)
        if (token[p] >= 0)
            token[left++] = token[p];
    work->heap.count = 0;
    return good ? left : -1;
}

void merger_free(merger *work)
{
    free(work->next);
    free(work->before);
    free(work->heap.item);
    *work = (merger){ .room = 0 };
}
