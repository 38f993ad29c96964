/* SPDX-License-Identifier: MIT
 *
 * ctx_impl.h - the context's struct, for ctx.c, memory.c, tensor.c and text.c alone (private header).
 */
#ifndef AG_CTX_IMPL_H
#define AG_CTX_IMPL_H

#include "tensor/tensor_impl.h"

#define AG_TEXT_BUFFERS 8
#define AG_TEXT_BYTES 192
#define AG_SIZE_CLASSES 1024
#define AG_KNOWN_PATHS 256

/* A freed block in the cache; the link lies in the block itself. */
typedef struct ag_free_block {
    struct ag_free_block *next;
} ag_free_block;

/* A module path, found by the addresses of its two parts. The text at `name` may have changed since: the entry counts
 * only while that text equals the path's tail. */
typedef struct ag_known_path {
    const char *outer, *name, *path, *tail; /* all NULL: none */
} ag_known_path;

typedef struct ag_scope {
    int64_t first;    /* index of its first tensor in ag_ctx.owned */
    const char *path; /* interned module path */
} ag_scope;

/* Interned texts: a hash table with linear probing. */
typedef struct ag_text_table {
    char **text;
    size_t capacity, count; /* capacity is a power of two */
} ag_text_table;

struct ag_ctx {
    ag_allocator allocator;
    ag_free_block *cache[AG_SIZE_CLASSES];
    size_t bytes, peak_bytes;
    ag_text_table texts;
    ag_known_path paths[AG_KNOWN_PATHS];

    ag_scope *scopes;
    int64_t scope_count, scope_capacity;
    int64_t scopes_lost; /* scopes for which there was no memory; they end first */
    ag_tensor **owned;   /* what the scopes own, outermost first */
    int64_t owned_count, owned_capacity;
    ag_tensor *newest; /* list of the live tensors */

    ag_rng rng;
    ag_team team;
    const ag_kernel_table *kernels;
    ag_recorder *recorder;
    uint64_t serial;

    ag_status status;
    const char *error_path;
    char error_op[64];
    char error_message[640];

    char text[AG_TEXT_BUFFERS][AG_TEXT_BYTES];
    int next_text;
};

/* Frees a tensor whatever its count: for ag_release at 0, and for ag_ctx_free. */
void ag_tensor_destroy(ag_tensor *t);

void ag_memory_free_all(ag_ctx *ctx); /* the interned texts, then the cache */

#endif
