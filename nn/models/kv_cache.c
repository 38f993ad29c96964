/* SPDX-License-Identifier: MIT
 *
 * kv_cache.c - keys and values of earlier passes, for generating token by token.
 *
 * A slot's arrays grow by doubling. Where at most `back` queries see a key, a full array of more than two windows drops
 * the rows that no later query sees and moves the others to the front. So a row moves once per window, and memory is at
 * most two windows, or one window and one pass if that is more. A pass writes behind the counted rows and drops only
 * unseen ones, so a pass that fails has no effect.
 */
#include "nn/models/kv_cache_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* One attention layer's part of the cache. Rows 0, 1, ... of k are the keys of batch entry b at positions dropped[b] ..
 * length[b] - 1; a pass appends rows, which count from ag_kv_cache_advance on. memory_k and memory_v are a
 * cross-attention's keys and values, kept from the first pass until the cache is cleared. */
typedef struct kv_slot {
    ag_tensor *k, *v;                /* [B,Hk,capacity,D], [B,Hk,capacity,Dv]; NULL: not used yet */
    ag_tensor *starts, *key_lengths; /* int32 [B]: rows before and after the pass */
    ag_tensor *memory_k, *memory_v;  /* [B,Hk,S,D], [B,Hk,S,Dv]; NULL: none */
    int64_t *dropped;                /* [B] */
    int64_t *held;                   /* [B]: positions after the last pass */
} kv_slot;

typedef struct kv_cache {
    ag_kv_cache base;
    ag_ctx *ctx;
    int64_t batch, layers;
    int64_t *length; /* [B]; behind it in the same memory each dropped and held of the slots */
    kv_slot *slot;
    bool begun; /* a pass has counted since the cache was new or cleared */
} kv_cache;

static kv_cache *kv_cache_of(ag_kv_cache *base)
{
    return (kv_cache *)base;
}

/* ---- The cache ---- */

static void kv_forget_memory(kv_slot *slot)
{
    ag_release(slot->memory_k);
    ag_release(slot->memory_v);
    slot->memory_k = slot->memory_v = NULL;
}

void ag_kv_cache_free(ag_kv_cache *base)
{
    kv_cache *cache = kv_cache_of(base);
    if (cache == NULL)
        return;
    for (int64_t i = 0; i < cache->layers; i++) {
        kv_slot *slot = &cache->slot[i];
        kv_forget_memory(slot);
        ag_release(slot->k);
        ag_release(slot->v);
        ag_release(slot->starts);
        ag_release(slot->key_lengths);
    }
    ag_ctx *ctx = cache->ctx;
    ag_free(ctx, cache->slot, (size_t)cache->layers * sizeof *cache->slot);
    ag_free(ctx, cache->length, (size_t)(cache->batch * (2 * cache->layers + 1)) * sizeof *cache->length);
    ag_free(ctx, cache, sizeof *cache);
}

void ag_kv_cache_clear(ag_kv_cache *base)
{
    kv_cache *cache = kv_cache_of(base);
    if (cache == NULL)
        return;
    memset(cache->length, 0, (size_t)(cache->batch * (2 * cache->layers + 1)) * sizeof *cache->length);
    cache->begun = false; /* so that keys and values of memory are made anew */
}

int64_t ag_kv_cache_length(const ag_kv_cache *base, int64_t entry)
{
    const kv_cache *cache = (const kv_cache *)base;
    return cache == NULL || entry < 0 || entry >= cache->batch ? -1 : cache->length[entry];
}

static size_t kv_bytes_of(const ag_tensor *t)
{
    return t == NULL ? 0 : (size_t)t->numel * ag_dtype_size(t->dtype);
}

size_t ag_kv_cache_bytes(const ag_kv_cache *base)
{
    const kv_cache *cache = (const kv_cache *)base;
    size_t bytes = 0;
    for (int64_t i = 0; cache != NULL && i < cache->layers; i++) {
        const kv_slot *slot = &cache->slot[i];
        bytes += kv_bytes_of(slot->k) + kv_bytes_of(slot->v);
        bytes += kv_bytes_of(slot->memory_k) + kv_bytes_of(slot->memory_v);
    }
    return bytes;
}

static bool kv_check_counts(ag_ctx *ctx, const char *kind, int64_t batch, int64_t T, const int64_t *counts)
{
    for (int64_t b = 0; counts != NULL && b < batch; b++)
        if (counts[b] < 0 || counts[b] > T) {
            ag_fail(ctx, AG_ERR_ARGUMENT, kind, "counts[%" PRId64 "] is %" PRId64 ", must be in 0 .. %" PRId64, b,
                    counts[b], T);
            return false;
        }
    return true;
}

void ag_kv_cache_advance(ag_kv_cache *base, int64_t T, const int64_t *counts)
{
    kv_cache *cache = kv_cache_of(base);
    if (cache == NULL || ag_error(cache->ctx) != AG_OK) /* a failed pass does not count */
        return;
    if (T < 0) {
        ag_fail(cache->ctx, AG_ERR_ARGUMENT, "kv_cache", "T is %" PRId64, T);
        return;
    }
    if (!kv_check_counts(cache->ctx, "kv_cache", cache->batch, T, counts))
        return;
    for (int64_t b = 0; b < cache->batch; b++)
        cache->length[b] += counts == NULL ? T : counts[b];
    cache->begun = true;
}

/* ---- A pass ---- */

static int64_t kv_count(const ag_kv_pass *pass, int64_t b)
{
    return pass->counts == NULL ? pass->T : pass->counts[b];
}

bool ag_kv_check_pass(const ag_kv_pass *pass, int64_t B)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    ag_ctx *ctx = cache->ctx;
    const char *kind = pass->kind;
    if (ag_recording(ctx))
        ag_fail(ctx, AG_ERR_STATE, kind, "a cache is not for training, and a tape runs");
    else if (B != cache->batch)
        ag_fail(ctx, AG_ERR_SHAPE, kind, "x has %" PRId64 " batch entries, the cache %" PRId64, B, cache->batch);
    else if (pass->layer < 0 || pass->layer >= cache->layers)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "layer is %" PRId64 ", the cache has %" PRId64, pass->layer,
                cache->layers);
    else if (kv_check_counts(ctx, kind, B, pass->T, pass->counts)) {
        for (int64_t b = 0; b < B; b++)
            if (pass->max_seq_len != 0 && cache->length[b] + kv_count(pass, b) > pass->max_seq_len) {
                ag_fail(ctx, AG_ERR_SHAPE, kind, "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64,
                        cache->length[b] + kv_count(pass, b), pass->max_seq_len);
                return false;
            }
        return true;
    }
    return false;
}

/* Whether the slot took part in every pass, and k and v have the sizes of its own. */
static bool kv_check_slot(const ag_kv_pass *pass, const ag_tensor *k, const ag_tensor *v)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    const kv_slot *slot = &cache->slot[pass->layer];
    if (!ag_check_home(cache->ctx, pass->kind, k))
        return false;
    for (int64_t b = 0; b < cache->batch; b++)
        if (slot->held[b] < cache->length[b]) {
            ag_fail(cache->ctx, AG_ERR_STATE, pass->kind,
                    "layer %" PRId64 " of the cache has had %" PRId64 " positions of entry %" PRId64
                    ", which has %" PRId64, pass->layer, slot->held[b], b, cache->length[b]);
            return false;
        }
    if (slot->k == NULL || (slot->k->dtype == k->dtype && slot->k->shape[1] == k->shape[1] &&
                            slot->k->shape[3] == k->shape[3] && slot->v->shape[3] == v->shape[3]))
        return true;
    ag_fail(cache->ctx, AG_ERR_SHAPE, pass->kind,
            "layer %" PRId64 " of the cache has %s keys %s and values %s, the layer %s keys %s and values %s",
            pass->layer, ag_dtype_name(slot->k->dtype), ag_shape_text(slot->k), ag_shape_text(slot->v),
            ag_dtype_name(k->dtype), ag_shape_text(k), ag_shape_text(v));
    return false;
}

/* The rows that the fullest entry has after the pass. */
static int64_t kv_rows_wanted(const ag_kv_pass *pass)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    int64_t most = 0;
    for (int64_t b = 0; b < cache->batch; b++) {
        int64_t rows = cache->length[b] - cache->slot[pass->layer].dropped[b] + kv_count(pass, b);
        most = rows > most ? rows : most;
    }
    return most;
}

/* Rows from .. from + count - 1 of entry b of t[B,H,rows,D], made here and dense, to the front. */
static void kv_move_to_front(ag_tensor *t, int64_t b, int64_t from, int64_t count)
{
    size_t row = (size_t)t->shape[3] * ag_dtype_size(t->dtype);
    char *data = ag_data_mut(t);
    for (int64_t h = 0; h < t->shape[1]; h++) {
        char *head = data + (size_t)((b * t->shape[1] + h) * t->shape[2]) * row;
        memmove(head, head + (size_t)from * row, (size_t)count * row);
    }
}

/* Drops the keys that no later query sees: query p sees none before p - back + 1. */
static void kv_drop_unseen(const ag_kv_pass *pass)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    kv_slot *slot = &cache->slot[pass->layer];
    for (int64_t b = 0; b < cache->batch; b++) {
        int64_t length = cache->length[b], first = length - pass->back + 1;
        if (first <= slot->dropped[b])
            continue;
        kv_move_to_front(slot->k, b, first - slot->dropped[b], length - first);
        kv_move_to_front(slot->v, b, first - slot->dropped[b], length - first);
        slot->dropped[b] = first;
    }
}

/* [B,Hk,rows,D] with the sizes of `like`, the rows of `old` first, then zeros (finite); retained. */
static ag_tensor *kv_grown(const ag_tensor *like, ag_tensor *old, int64_t rows)
{
    ag_tensor *t = ag_zeros(like->ctx, like->dtype, AG_SHAPE(like->shape[0], like->shape[1], rows, like->shape[3]));
    if (t == NULL || (old != NULL && ag_copy_into(ag_tensor_slice(t, 2, 0, old->shape[2], 1), old) != AG_OK))
        return NULL;
    return ag_retain(t);
}

/* Makes room for the pass in the slot. */
static bool kv_reserve(const ag_kv_pass *pass, const ag_tensor *k, const ag_tensor *v)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    kv_slot *slot = &cache->slot[pass->layer];
    int64_t capacity = slot->k == NULL ? 0 : slot->k->shape[2], wanted = kv_rows_wanted(pass);
    int64_t windows = 2 * (pass->back < INT32_MAX ? pass->back : INT32_MAX);
    if (wanted > capacity && windows > 0 && wanted > windows) {
        kv_drop_unseen(pass);
        wanted = kv_rows_wanted(pass);
    }
    if (slot->k != NULL && wanted <= capacity)
        return true;
    if (wanted > INT32_MAX) {
        ag_fail(cache->ctx, AG_ERR_MEMORY, pass->kind, "%" PRId64 " positions in a cache, at most %" PRId32, wanted,
                INT32_MAX);
        return false;
    }
    int64_t rows = 2 * capacity;
    if (windows > 0 && rows > windows)
        rows = windows;
    if (pass->max_seq_len > 0 && rows > pass->max_seq_len)
        rows = pass->max_seq_len;
    if (rows < wanted)
        rows = wanted;
    ag_tensor *new_k = kv_grown(k, slot->k, rows), *new_v = kv_grown(v, slot->v, rows);
    if (new_k == NULL || new_v == NULL) {
        ag_release(new_k);
        ag_release(new_v);
        return false;
    }
    ag_release(slot->k);
    ag_release(slot->v);
    slot->k = new_k;
    slot->v = new_v;
    return true;
}

/* An int32 [B] for a mask, made once. */
static bool kv_make_numbers(const kv_cache *cache, ag_tensor **t)
{
    if (*t == NULL)
        *t = ag_retain(ag_empty(cache->ctx, AG_I32, AG_SHAPE(cache->batch)));
    return *t != NULL;
}

/* to[b,:,row .. row + count - 1,:] = from[b,:,0 .. count - 1,:]; `to` is dense, and rows of `from` are. */
static void kv_write_rows(ag_tensor *to, const ag_tensor *from, int64_t b, int64_t row, int64_t count)
{
    const int64_t D = to->shape[3], *stride = from->stride;
    const size_t size = ag_dtype_size(to->dtype);
    assert(D == 1 || stride[3] == 1);
    char *data = ag_data_mut(to);
    for (int64_t h = 0; h < to->shape[1]; h++)
        for (int64_t t = 0; t < count; t++)
            memcpy(data + (size_t)(((b * to->shape[1] + h) * to->shape[2] + row + t) * D) * size,
                   ag_address(from, b * stride[0] + h * stride[1] + t * stride[2]), (size_t)D * size);
}

static bool kv_join_rows(const ag_kv_pass *pass, ag_tensor **k, ag_tensor **v, ag_mask *mask)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    kv_slot *slot = &cache->slot[pass->layer];
    if (!kv_check_slot(pass, *k, *v) || !kv_reserve(pass, *k, *v) || !kv_make_numbers(cache, &slot->starts) ||
        !kv_make_numbers(cache, &slot->key_lengths))
        return false;
    int32_t *start = ag_data_mut(slot->starts), *key_length = ag_data_mut(slot->key_lengths);
    int64_t longest = 0;
    for (int64_t b = 0; b < cache->batch; b++) {
        int64_t count = kv_count(pass, b), row = cache->length[b] - slot->dropped[b];
        kv_write_rows(slot->k, *k, b, row, count);
        kv_write_rows(slot->v, *v, b, row, count);
        slot->held[b] = cache->length[b] + count;
        start[b] = (int32_t)row;
        key_length[b] = (int32_t)(row + count);
        longest = row + count > longest ? row + count : longest;
    }
    *k = ag_tensor_slice(slot->k, 2, 0, longest, 1);
    *v = ag_tensor_slice(slot->v, 2, 0, longest, 1);
    mask->starts = slot->starts;
    mask->key_lengths = slot->key_lengths;
    return *k != NULL && *v != NULL;
}

/* ---- Cross-attention ---- */

static bool kv_cached_memory(const ag_attend *with, ag_attention_operands *in)
{
    const kv_cache *cache = kv_cache_of(with->cache);
    const kv_slot *slot = &cache->slot[with->layer];
    if (!cache->begun || slot->memory_k == NULL)
        return false;
    in->k = slot->memory_k;
    in->v = slot->memory_v;
    return true;
}

static bool kv_join_memory(const ag_kv_pass *pass, ag_tensor *k, ag_tensor *v, ag_mask *mask)
{
    const kv_cache *cache = kv_cache_of(pass->cache);
    kv_slot *slot = &cache->slot[pass->layer];
    if (k->shape[2] != pass->memory->shape[1]) {
        ag_fail(cache->ctx, AG_ERR_SHAPE, pass->kind,
                "memory has %" PRId64 " positions, the cache has it with %" PRId64, pass->memory->shape[1],
                k->shape[2]);
        return false;
    }
    if (slot->memory_k != k) {
        kv_forget_memory(slot);
        slot->memory_k = ag_retain(k);
        slot->memory_v = ag_retain(v);
    }
    mask->starts = ag_empty(cache->ctx, AG_I32, AG_SHAPE(cache->batch));
    if (mask->starts == NULL)
        return false;
    int32_t *start = ag_data_mut(mask->starts);
    for (int64_t b = 0; b < cache->batch; b++)
        start[b] = (int32_t)(cache->length[b] < INT32_MAX ? cache->length[b] : INT32_MAX);
    return true;
}

/* ---- What a layer calls ---- */

static ag_kv_pass kv_pass_of(const ag_attention_layer *layer, const ag_attend *with, int64_t T, const ag_mask *mask)
{
    const bool windowed = mask->global == 0 && mask->stride == 0 && mask->blocks == NULL;
    return (ag_kv_pass){ .cache = with->cache, .kind = layer->module.kind, .layer = with->layer, .T = T,
                         .counts = with->counts, .max_seq_len = layer->config.max_seq_len, .memory = with->memory,
                         .back = windowed ? mask->back : 0 };
}

/* The fields that the mask of a layer with a cache may not have. */
static unsigned kv_refused_fields(bool with_memory)
{
    return 0
#define AG_MASK_FIELD(name, self, memory) | (unsigned)(with_memory ? !memory : !self) << AG_MASK_##name
#include "autograd/mask.def"
        ;
}

/* A field of the masks that a call with a cache can not have is an error that names the first such field. */
static bool kv_check_masks(const ag_attention_layer *layer, const ag_attend *with)
{
    const ag_module *module = &layer->module;
    const unsigned of_layer = ag_mask_given(&layer->config.attention.mask), of_call = ag_mask_given(&with->mask);
    const bool any = with->memory == NULL && of_call != 0; /* of self-attention's call */
    const unsigned refused = any ? of_call : (of_layer | of_call) & kv_refused_fields(with->memory != NULL);
    if (refused != 0)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "mask.%s %s not supported with a cache",
                ag_mask_field_name(refused), any ? "of a call is" : "is");
    return refused == 0;
}

static bool kv_check(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with, ag_mask *mask)
{
    const ag_module *module = &layer->module;
    const char *wrong = NULL;
    if (!kv_check_masks(layer, with))
        return false;
    if (with->memory == NULL && layer->config.non_causal)
        wrong = "a cache is for causal self-attention, and the layer is non_causal";
    else if (with->memory == NULL && with->values != NULL)
        wrong = "values are not supported with a cache";
    else if (with->memory == NULL && with->bias != NULL)
        wrong = "bias is not supported with a cache";
    if (wrong != NULL) {
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "%s", wrong);
        return false;
    }
    if (with->memory == NULL)
        mask->align = AG_TOP_LEFT; /* without a cache there are as many keys as queries, and align has no effect */
    const ag_kv_pass pass = kv_pass_of(layer, with, x->shape[1], mask);
    return ag_kv_check_pass(&pass, x->shape[0]);
}

static bool kv_join(const ag_attention_layer *layer, const ag_attend *with, ag_attention_operands *in)
{
    const ag_kv_pass pass = kv_pass_of(layer, with, in->q->shape[2], &in->config.mask);
    return with->memory == NULL ? kv_join_rows(&pass, &in->k, &in->v, &in->config.mask)
                                : kv_join_memory(&pass, in->k, in->v, &in->config.mask);
}

/* ---- A new cache ---- */

ag_kv_cache *ag_kv_cache_new(ag_ctx *ctx, int64_t batch, int64_t layers)
{
    if (ctx == NULL || !ag_check_size(ctx, "kv_cache", "batch", batch) ||
        !ag_check_size(ctx, "kv_cache", "layers", layers))
        return NULL;
    int64_t count = ag_checked_numel(2, (const int64_t[]){ batch, 2 * layers + 1 }, sizeof(int64_t));
    if (count < 0)
        return ag_fail(ctx, AG_ERR_MEMORY, "kv_cache", "batch %" PRId64 " times layers %" PRId64 " overflows", batch,
                       layers);
    kv_cache *cache = ag_alloc(ctx, sizeof *cache);
    if (cache == NULL)
        return NULL;
    *cache = (kv_cache){
        .base = { kv_check, ag_kv_cache_length, kv_cached_memory, kv_join },
        .ctx = ctx,
        .batch = batch,
        .layers = layers,
    };
    cache->slot = ag_alloc(ctx, (size_t)layers * sizeof *cache->slot);
    cache->length = ag_alloc(ctx, (size_t)count * sizeof *cache->length);
    if (cache->slot == NULL || cache->length == NULL) {
        ag_free(ctx, cache->slot, (size_t)layers * sizeof *cache->slot);
        ag_free(ctx, cache->length, (size_t)count * sizeof *cache->length);
        ag_free(ctx, cache, sizeof *cache);
        return NULL;
    }
    memset(cache->length, 0, (size_t)count * sizeof *cache->length);
    for (int64_t i = 0; i < layers; i++)
        cache->slot[i] = (kv_slot){ .dropped = cache->length + (2 * i + 1) * batch,
                                    .held = cache->length + (2 * i + 2) * batch };
    return &cache->base;
}
