/* SPDX-License-Identifier: MIT
 *
 * ctx_impl.h - the context's struct, for ctx.c, memory.c, random.c, tensor.c and text.c alone (private header).
 */
#ifndef AG_CTX_IMPL_H
#define AG_CTX_IMPL_H

#include "tensor/tensor_impl.h"

#define AG_TEXT_BUFFERS 8
#define AG_TEXT_BYTES 192
#define AG_SIZE_CLASSES 1024
#define AG_INTERNED_LISTS 1024
#define AG_KNOWN_PATHS 2048

/* A freed block in the cache; the link lies in the block itself. */
typedef struct ag_free_block {
    struct ag_free_block *next;
} ag_free_block;

typedef struct ag_scope {
    int64_t first;    /* index of its first tensor in ag_ctx.owned */
    const char *path; /* interned module path */
} ag_scope;

/* An interned text, in the list of its hash. */
typedef struct ag_interned {
    struct ag_interned *next;
    size_t bytes; /* of this struct and the text */
    char text[];
} ag_interned;

/* A module path that was made lately: outer, interned, and name, whose text may have changed since. */
typedef struct ag_known_path {
    const char *outer, *name, *path;
    size_t name_at; /* where the name begins in the path */
} ag_known_path;

struct ag_ctx {
    ag_allocator allocator;
    ag_free_block *cache[AG_SIZE_CLASSES];
    size_t bytes, peak_bytes;
    ag_interned *interned[AG_INTERNED_LISTS];
    ag_known_path known_paths[AG_KNOWN_PATHS];

    ag_scope *scopes;
    int64_t scope_count, scope_capacity;
    int64_t scopes_lost; /* scopes for which there was no memory; they end first */
    ag_tensor **owned;   /* what the scopes own, outermost first */
    int64_t owned_count, owned_capacity;
    ag_tensor *newest; /* list of the live tensors */

    ag_rng rng;
    bool undrawn; /* ag_fill_uniform and ag_fill_normal do nothing */
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

/* For ag_ctx_free, which frees tensors whatever their count; ag_release does at 0. */
void ag_tensor_destroy(ag_tensor *t);
void ag_free_interned(ag_ctx *ctx);

#endif
