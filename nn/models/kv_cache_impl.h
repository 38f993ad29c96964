/* SPDX-License-Identifier: MIT
 *
 * kv_cache_impl.h - one pass of one layer over a cache (private header).
 */
#ifndef AG_KV_CACHE_IMPL_H
#define AG_KV_CACHE_IMPL_H

#include "nn/attention_impl.h"
#include "nn/models/models.h"

typedef struct ag_kv_pass {
    ag_kv_cache *cache;
    const char *kind;        /* of the layer, for errors */
    int64_t layer, T;
    const int64_t *counts;   /* NULL: T each */
    int64_t back;            /* > 0: a key is seen by at most this many queries, the one at its own position included */
    int64_t max_seq_len;     /* 0: any length */
    const ag_tensor *memory; /* cross-attention; NULL: self-attention */
} ag_kv_pass;

/* Whether a pass over a batch of B is possible. False: an error stands. */
bool ag_kv_check_pass(const ag_kv_pass *pass, int64_t B);

#endif
