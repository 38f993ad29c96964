/* SPDX-License-Identifier: MIT
 *
 * memory.c - the context's memory: a cache of freed blocks in size classes, and interned texts.
 *
 * A class holds blocks of one size: multiples of 64 bytes up to 1024, then eight sizes per power of two, so at
 * most an eighth of a block is unused. A freed block goes back to its class and serves the next request of that
 * class. After one training step every request finds a block, and malloc is not called again.
 */
#include "tensor/ctx_impl.h"

#include <string.h>

#define ALIGNMENT 64
#define STEPS_MAX 16
#define HEADER (ALIGNMENT + sizeof(void *)) /* room to align, and for the allocator's pointer before the block */

/* The class of a request and the bytes of its blocks; -1 when the request is too large. */
static int size_class(size_t bytes, size_t *block_bytes)
{
    if (bytes > SIZE_MAX / 4)
        return -1;
    size_t units = bytes == 0 ? 1 : (bytes + ALIGNMENT - 1) / ALIGNMENT;
    int shift = 0;
    size_t steps = units;
    while (steps > STEPS_MAX) { /* rounded up: steps << shift covers units */
        shift++;
        steps = (units + ((size_t)1 << shift) - 1) >> shift;
    }
    *block_bytes = (steps << shift) * ALIGNMENT;
    return shift * (STEPS_MAX + 1) + (int)steps;
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
    uintptr_t at = ((uintptr_t)raw + HEADER - 1) / ALIGNMENT * ALIGNMENT;
    void **block = (void **)at;
    block[-1] = raw;
    return block;
}

static void block_to_allocator(ag_ctx *ctx, void *block, size_t block_bytes)
{
    void *raw = ((void **)block)[-1];
    ctx->bytes -= block_bytes + HEADER;
    ctx->allocator.free(ctx->allocator.user, raw, block_bytes + HEADER);
}

static size_t class_bytes(int class)
{
    return ((size_t)(class % (STEPS_MAX + 1)) << (class / (STEPS_MAX + 1))) * ALIGNMENT;
}

void *ag_alloc(ag_ctx *ctx, size_t bytes)
{
    size_t block_bytes = 0;
    int class = size_class(bytes, &block_bytes);
    if (class >= 0 && ctx->cache[class] != NULL) {
        ag_free_block *block = ctx->cache[class];
        ctx->cache[class] = block->next;
        return block;
    }
    void *block = NULL;
    if (class >= 0) {
        block = block_from_allocator(ctx, block_bytes);
        if (block == NULL) {
            ag_ctx_trim(ctx);
            block = block_from_allocator(ctx, block_bytes);
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
    size_t block_bytes = 0;
    int class = size_class(bytes, &block_bytes);
    ag_free_block *freed = block;
    freed->next = ctx->cache[class];
    ctx->cache[class] = freed;
}

void ag_ctx_trim(ag_ctx *ctx)
{
    for (int class = 0; ctx != NULL && class < AG_SIZE_CLASSES; ++class)
        while (ctx->cache[class] != NULL) {
            ag_free_block *block = ctx->cache[class];
            ctx->cache[class] = block->next;
            block_to_allocator(ctx, block, class_bytes(class));
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

/* ---- Interned texts ---- */

static size_t text_hash(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return (size_t)(hash ^ (hash >> 32));
}

/* The slot of `text`, or the free slot where it belongs. */
static char **text_slot(const ag_text_table *table, const char *text)
{
    size_t i = text_hash(text) & (table->capacity - 1);
    while (table->text[i] != NULL && strcmp(table->text[i], text) != 0)
        i = (i + 1) & (table->capacity - 1);
    return &table->text[i];
}

static bool text_table_grow(ag_ctx *ctx)
{
    ag_text_table *old = &ctx->texts, grown = { .capacity = old->capacity == 0 ? 64 : 2 * old->capacity };
    grown.text = ag_alloc(ctx, grown.capacity * sizeof *grown.text);
    if (grown.text == NULL)
        return false;
    for (size_t i = 0; i < grown.capacity; i++)
        grown.text[i] = NULL;
    for (size_t i = 0; i < old->capacity; i++)
        if (old->text[i] != NULL)
            *text_slot(&grown, old->text[i]) = old->text[i];
    grown.count = old->count;
    ag_free(ctx, old->text, old->capacity * sizeof *old->text);
    *old = grown;
    return true;
}

const char *ag_intern(ag_ctx *ctx, const char *text)
{
    ag_text_table *table = &ctx->texts;
    if (2 * (table->count + 1) > table->capacity && !text_table_grow(ctx))
        return NULL;
    char **slot = text_slot(table, text);
    if (*slot == NULL) {
        size_t bytes = strlen(text) + 1;
        *slot = ag_alloc(ctx, bytes);
        if (*slot == NULL)
            return NULL;
        memcpy(*slot, text, bytes);
        table->count++;
    }
    return *slot;
}

void ag_memory_free_all(ag_ctx *ctx)
{
    ag_text_table *table = &ctx->texts;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->text[i] != NULL)
            ag_free(ctx, table->text[i], strlen(table->text[i]) + 1);
    ag_free(ctx, table->text, table->capacity * sizeof *table->text);
    ag_ctx_trim(ctx);
}
