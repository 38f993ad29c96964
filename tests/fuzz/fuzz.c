/* SPDX-License-Identifier: MIT
 *
 * fuzz.c - see fuzz.h.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    size_t bytes, most;
} memory;

void fuzz_demand(bool holds)
{
    if (!holds)
        abort();
}

static void *bounded_alloc(void *user, size_t size)
{
    (void)user;
    memory.bytes += size;
    fuzz_demand(memory.bytes <= memory.most);
    return malloc(size);
}

static void bounded_free(void *user, void *block, size_t size)
{
    (void)user;
    memory.bytes -= size;
    free(block);
}

ag_ctx *fuzz_begin(size_t size)
{
    memory.bytes = 0;
    memory.most = ((size_t)8 << 20) + 256 * size;
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .isa = "baseline", .threads = 1,
                                              .allocator = { bounded_alloc, bounded_free, NULL } });
    fuzz_demand(ctx != NULL);
    return ctx;
}

void fuzz_end(ag_ctx *ctx)
{
    fuzz_demand(ag_ctx_free(ctx) == 0);
}

const char *fuzz_file(int which, const void *bytes, size_t size)
{
    static char path[2][64];
    snprintf(path[which], sizeof path[which], "build/fuzz.%ld.%d", (long)getpid(), which);
    FILE *file = fopen(path[which], "wb");
    fuzz_demand(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
    return path[which];
}

size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t header = 0;
    for (size_t i = 0; i < 8 && size >= 8; i++)
        header |= (uint64_t)data[i] << (8 * i);
    if (size < 8 || header > size - 8 || seed % 16 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t text = (size_t)header, rest = size - 8 - text;
    if (seed % 4 == 1) /* the data */
        return 8 + text + LLVMFuzzerMutate(data + 8 + text, rest, max_size - 8 - text);
    uint8_t *copy = malloc(rest + 1);
    if (copy == NULL)
        return size;
    memcpy(copy, data + 8 + text, rest);
    size_t grown = LLVMFuzzerMutate(data + 8, text, max_size - 8 - rest);
    memcpy(data + 8 + grown, copy, rest);
    free(copy);
    for (size_t i = 0; i < 8; i++)
        data[i] = (uint8_t)((uint64_t)grown >> (8 * i));
    return 8 + grown + rest;
}
