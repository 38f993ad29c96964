/* SPDX-License-Identifier: MIT
 *
 * fuzz_checkpoint.c - a libFuzzer target: loads the input as a checkpoint of a linear layer and AdamW, which keep what
 * they hold after an error.
 */
#include "tests/fuzz/fuzz.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(0, data, size);
    ag_ctx *ctx = fuzz_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 3, .out_features = 2 });
    ag_module *module = ag_linear_module(layer);
    ag_tensor *weight = ag_module_find(module, "weight"), *before = ag_tensor_clone(weight);
    ag_optimizer *adamw = ag_adamw_new(module, (ag_adamw_config){ .lr = 0.5 });
    const ag_rng rng = ag_rng_get(ctx);
    if (ag_checkpoint_load(path, module, adamw) != AG_OK) {
        for (int64_t i = 0; i < ag_numel(weight); i++)
            fuzz_demand(((const float *)ag_data(weight))[i] == ((const float *)ag_data(before))[i]);
        fuzz_demand(ag_error(ctx) != AG_OK && ag_optimizer_lr(adamw) == 0.5);
        fuzz_demand(ag_rng_get(ctx).counter == rng.counter && ag_rng_get(ctx).seed == rng.seed);
    }
    ag_error_clear(ctx);
    ag_module_load(module, path);
    ag_optimizer_free(adamw);
    ag_linear_free(layer);
    fuzz_end(ctx);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return fuzz_mutate_safetensors(data, size, max_size, seed);
}
