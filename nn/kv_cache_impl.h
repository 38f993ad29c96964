/* SPDX-License-Identifier: MIT
 *
 * kv_cache_impl.h - what attention layers do with a key and value cache (private header).
 *
 * Each layer has a slot. Entry b's keys of positions dropped[b] .. length[b] - 1 lie in rows 0, 1, ... of its part of
 * the slot's arrays; what a pass adds lies behind them, and counts when the cache advances. Cross-attention keeps the
 * keys and values of memory in the slot of the same number, from the first pass on until the cache is cleared.
 */
#ifndef AG_KV_CACHE_IMPL_H
#define AG_KV_CACHE_IMPL_H

#include "nn/module_impl.h"

typedef struct ag_kv_slot {
    ag_tensor *k, *v;                /* [B,Hk,capacity,D], [B,Hk,capacity,Dv]; NULL: not used yet */
    ag_tensor *starts, *key_lengths; /* int32 [B]: rows before and after the pass */
    ag_tensor *memory_k, *memory_v;  /* [B,Hk,S,D], [B,Hk,S,Dv]; NULL: none */
    int64_t *dropped;                /* [B] */
    int64_t *held;                   /* [B]: positions that the last pass brought it to */
} ag_kv_slot;

struct ag_kv_cache {
    ag_ctx *ctx;
    int64_t batch, layers;
    int64_t *length; /* [B]; behind it in the same memory each dropped and held of the slots */
    ag_kv_slot *slot;
    bool begun; /* a pass has counted since it was new */
};

/* A pass of one layer over the cache. */
typedef struct ag_kv_pass {
    ag_kv_cache *cache;
    int64_t layer, T;
    const int64_t *counts; /* NULL: T each */
    int64_t back;          /* > 0: a key is seen by so many queries, its own one counted, and then by no more */
    int64_t max_seq_len;   /* 0: any length */
} ag_kv_pass;

/* Whether the pass of a batch of B may be made; else the error, in the words of `kind`. */
bool ag_kv_cache_check(const ag_kv_pass *pass, const char *kind, int64_t B);

/* Puts k[B,Hk,T,D] and v[B,Hk,T,Dv] behind what is kept. *k and *v become views of all of it, starts and key_lengths
 * what the mask needs. False: an error stands, and the cache is as it was. */
bool ag_kv_cache_join(const ag_kv_pass *pass, const char *kind, ag_tensor **k, ag_tensor **v, ag_mask *mask);

/* For cross-attention: the keys and values of memory that the slot keeps; false: it has none (also for cache NULL). */
bool ag_kv_cache_memory(const ag_kv_cache *cache, int64_t layer, ag_tensor **k, ag_tensor **v);

/* Keeps k and v, made of `memory`, unless they come from the slot; sets the mask's starts. False: an error stands. */
bool ag_kv_cache_keep_memory(const ag_kv_pass *pass, const char *kind, const ag_tensor *memory, ag_tensor *k,
                             ag_tensor *v, ag_mask *mask);

#endif
