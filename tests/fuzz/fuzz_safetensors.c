/* SPDX-License-Identifier: MIT
 *
 * fuzz_safetensors.c - a libFuzzer target: opens the input as a safetensors file, reads every tensor of it.
 * An input whose first byte is odd is a file after that byte; else it is a header, to which its size and 64
 * bytes of data are added, so that the fuzzer need not find out sizes that fit.
 */
#include "tests/fuzz/fuzz.h"

#include "tensor/files/safetensors_impl.h"

#include <stdlib.h>
#include <string.h>

static void read_file(const uint8_t *bytes, size_t size)
{
    ag_ctx *ctx = fuzz_begin();
    ag_safetensors *file = ag_safetensors_open_memory(ctx, "fuzz", bytes, size);
    if ((file == NULL) != (ag_error(ctx) != AG_OK))
        abort();
    for (int64_t i = 0; i < ag_safetensors_count(file); i++) {
        const char *name = ag_safetensors_name(file, i);
        ag_error_clear(ctx);
        ag_scope_begin(ctx, NULL);
        const ag_tensor *t = ag_safetensors_read(file, name);
        if (!ag_safetensors_has(file, name) || (t == NULL) != (ag_error(ctx) != AG_OK))
            abort();
        ag_scope_end(ctx, NULL);
    }
    ag_safetensors_metadata(file, "format");
    ag_safetensors_close(file);
    fuzz_end(ctx);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    size_t rest = size - 1, total = data[0] % 2 == 1 ? rest : 8 + rest + 64;
    uint8_t *bytes = calloc(1, total + 1); /* + 1: never of 0 bytes, which may give NULL */
    if (bytes == NULL)
        return;
    size_t begin = total - rest - (data[0] % 2 == 1 ? 0 : 64);
    for (size_t i = 0; i < begin; i++)
        bytes[i] = (uint8_t)(rest >> (8 * i) & 0xff);
    memcpy(bytes + begin, data + 1, rest);
    read_file(bytes, total);
    free(bytes);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (size < 2 || seed % 32 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    return 1 + (data[0] % 2 == 1 ? fuzz_mutate_safetensors(data + 1, size - 1, max_size - 1, seed / 32)
                                 : fuzz_mutate_json(data + 1, size - 1, max_size - 1, seed / 32));
}
