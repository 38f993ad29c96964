/* SPDX-License-Identifier: MIT
 *
 * fuzz_lm_model.c - a libFuzzer target: the input as a model file of `lm`, which writes a few tokens when it loads.
 */
#include "tests/fuzz/fuzz.h"

#include "examples/lm/lm_model.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(0, data, size);
    lm_model model = { .ctx = fuzz_begin() };
    ag_safetensors *file = ag_safetensors_open(model.ctx, path);
    bool good = file != NULL && model_from_metadata(&model, file, path);
    ag_safetensors_close(file);
    if (good && ag_checkpoint_load(path, ag_gpt_module(model.gpt), NULL) == AG_OK) {
        int32_t start = vocab_start(&model.vocab);
        model_write(&model, &start, 1, 4, &(sampling){ .temperature = 1, .top_k = 3 }, stdout);
    }
    model_free(&model);
    fuzz_end(model.ctx);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return fuzz_mutate_safetensors(data, size, max_size, seed);
}
