/* SPDX-License-Identifier: MIT
 *
 * memory.c - the context's memory: a cache of freed blocks in size classes.
 *
 * A class holds blocks of one size: multiples of 64 bytes up to 1024, then eight sizes per power of two, so at
 * most an eighth of a block is unused. A freed block goes back to its class and serves the next request of that
 * class. After one training step every request finds a block, and malloc is not called again.
 */
#include "tensor/ctx_impl.h"

#include <string.h>

enum { ALIGNMENT = 64, CLASS_STEPS = 16 };
#define HEADER (ALIGNMENT + sizeof(void *)) /* room to align, and for the allocator's pointer before the block */

/* The class of a request: steps of 64 bytes, then of twice as many until 16 steps suffice. */
static int size_class(size_t bytes)
{
    size_t last = bytes == 0 ? 0 : (bytes - 1) / ALIGNMENT; /* the last step, from 0 */
    int shift = 0;
    for (; last >= CLASS_STEPS; last >>= 1)
        shift++;
    return shift * CLASS_STEPS + (int)last;
}

static size_t class_bytes(int class)
{
    return (size_t)(class % CLASS_STEPS + 1) * ALIGNMENT << class / CLASS_STEPS;
}

static void *block_from_allocator(ag_ctx *ctx, size_t block_bytes)
{
    size_t total = block_bytes + HEADER;
    void *raw = ctx->allocator.alloc(ctx->allocator.user, total);
    if (raw == NULL)
        return NULL;
    ctx->bytes += total;
    if (ctx->bytes > ctx->peak_bytes)
        ctx->peak_bytes = ctx->bytes;
    void **block = (void **)(((uintptr_t)raw + HEADER - 1) / ALIGNMENT * ALIGNMENT);
    block[-1] = raw;
    return block;
}

void *ag_alloc(ag_ctx *ctx, size_t bytes)
{
    ag_free_block *block = NULL;
    if (bytes <= SIZE_MAX / 4) {
        const int class = size_class(bytes);
        block = ctx->cache[class];
        if (block != NULL) {
            ctx->cache[class] = block->next;
            return block;
        }
        block = block_from_allocator(ctx, class_bytes(class));
        if (block == NULL) {
            ag_ctx_trim(ctx);
            block = block_from_allocator(ctx, class_bytes(class));
        }
    }
    if (block == NULL)
        ag_fail(ctx, AG_ERR_MEMORY, "memory", "%llu bytes can not be had, %llu are in use",
                (unsigned long long)bytes, (unsigned long long)ctx->bytes);
    return block;
}

void ag_free(ag_ctx *ctx, void *block, size_t bytes)
{
    if (block == NULL)
        return;
    ag_free_block *freed = block, **list = &ctx->cache[size_class(bytes)];
    freed->next = *list;
    *list = freed;
}

void ag_ctx_trim(ag_ctx *ctx)
{
    for (int class = 0; ctx != NULL && class < AG_SIZE_CLASSES; ++class)
        for (ag_free_block *block; (block = ctx->cache[class]) != NULL;) {
            const size_t total = class_bytes(class) + HEADER;
            ctx->cache[class] = block->next;
            ctx->bytes -= total;
            ctx->allocator.free(ctx->allocator.user, ((void **)block)[-1], total);
        }
}

bool ag_grow(ag_ctx *ctx, void **array, int64_t *capacity, int64_t wanted, size_t element)
{
    if (wanted <= *capacity)
        return true;
    int64_t more = *capacity == 0 ? 64 : 2 * *capacity;
    while (more < wanted)
        more *= 2;
    void *grown = ag_alloc(ctx, (size_t)more * element);
    if (grown == NULL)
        return false;
    if (*array != NULL)
        memcpy(grown, *array, (size_t)*capacity * element);
    ag_free(ctx, *array, (size_t)*capacity * element);
    *array = grown;
    *capacity = more;
    return true;
}
