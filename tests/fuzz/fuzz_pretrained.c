/* SPDX-License-Identifier: MIT
 *
 * fuzz_pretrained.c - a libFuzzer target: a config.json of size data[0] + 256 data[1], then a safetensors file: as a
 * GPT and as an encoder, which run on three tokens when they load.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static size_t config_size(const uint8_t *data, size_t size)
{
    size_t wanted = (size_t)data[0] + 256 * (size_t)data[1];
    return wanted < size - 2 ? wanted : size - 2;
}

void fuzz_input(const uint8_t *data, size_t size)
{
    if (size < 2)
        return;
    size_t config = config_size(data, size);
    const char *config_path = fuzz_file(0, data + 2, config);
    const char *weights_path = fuzz_file(1, data + 2 + config, size - 2 - config);
    ag_ctx *ctx = fuzz_begin();
    ag_tensor *tokens = ag_zeros(ctx, AG_I32, AG_SHAPE(1, 3));
    ag_gpt *gpt = ag_gpt_from_files(ctx, config_path, weights_path, AG_F32);
    fuzz_demand((gpt == NULL) == (ag_error(ctx) != AG_OK));
    ag_gpt_forward(gpt, tokens);
    ag_gpt_free(gpt);
    ag_error_clear(ctx);
    ag_encoder *encoder = ag_encoder_from_files(ctx, config_path, weights_path, AG_F64);
    fuzz_demand((encoder == NULL) == (ag_error(ctx) != AG_OK));
    ag_encoder_forward(encoder, tokens, NULL, NULL);
    ag_encoder_free(encoder);
    ag_error_clear(ctx);
    int32_t end[4];
    int64_t ends = ag_eos_from_file(ctx, config_path, end, 4);
    fuzz_demand((ends < 0) == (ag_error(ctx) != AG_OK));
    fuzz_end(ctx);
}

/* The configuration or the weights, each as what it is. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (size < 2 || max_size < 2)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t config = config_size(data, size), rest = size - 2 - config;
    if (seed % 3 == 0)
        return 2 + config + fuzz_mutate_safetensors(data + 2 + config, rest, max_size - 2 - config, seed / 3);
    uint8_t *copy = malloc(rest + 1);
    if (copy == NULL)
        return size;
    memcpy(copy, data + 2 + config, rest);
    size_t most = max_size - 2 - rest;
    size_t grown = fuzz_mutate_json(data + 2, config, most < 65535 ? most : 65535, seed / 3);
    memcpy(data + 2 + grown, copy, rest);
    free(copy);
    data[0] = (uint8_t)(grown & 0xff);
    data[1] = (uint8_t)(grown >> 8);
    return 2 + grown + rest;
}
