/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c - parameters, optimizer and random state in one safetensors file.
 *
 *     <param>                      every parameter, as ag_module_save writes it
 *     optimizer.<state>.<param>    every state tensor of the optimizer: optimizer.momentum_buffer.tok.weight
 *     optimizer.step               float64 [params]: steps made by each parameter, in the module's order
 *     optimizer.lr                 float64 []
 *     metadata                     attngrad.optimizer "sgd", attngrad.rng.seed, attngrad.rng.counter in decimal,
 *                                  and the caller's
 */
#include "nn/models/models.h"
#include "nn/optimizer_impl.h"
#include "nn/models/state_dict_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char key_prefix[] = "attngrad.";
static const char key_optimizer[] = "attngrad.optimizer";
static const char key_seed[] = "attngrad.rng.seed";
static const char key_counter[] = "attngrad.rng.counter";
enum { OWN_KEYS = 3 };

/* The file's tensors: those of the module and the optimizer, then step and lr, which are made for the file. */
typedef struct content {
    ag_named_tensor *tensor;
    int64_t count;
    ag_tensor *step, *lr; /* NULL without an optimizer */
} content;

static void checkpoint_content_free(ag_ctx *ctx, content *c)
{
    ag_free(ctx, c->tensor, (size_t)c->count * sizeof *c->tensor);
}

static bool checkpoint_collect(const ag_module *module, const ag_optimizer *optimizer, content *c)
{
    ag_ctx *ctx = module->ctx;
    int64_t params = module->param_count;
    *c = (content){ .count = params + (optimizer == NULL ? 0 : params * optimizer->state_count + 2) };
    c->tensor = ag_alloc(ctx, (size_t)c->count * sizeof *c->tensor);
    if (c->tensor == NULL)
        return false;
    for (int64_t i = 0; i < params; i++)
        c->tensor[i] = module->param[i];
    if (optimizer == NULL)
        return true;
    ag_named_tensor *next = &c->tensor[params];
    bool good = true;
    for (int s = 0; s < optimizer->state_count; s++)
        for (int64_t i = 0; i < params; i++) {
            const ag_optimizer_slot *slot = &optimizer->slot[i];
            char name[320];
            snprintf(name, sizeof name, "optimizer.%s.%s", optimizer->kind->state_name[s], module->param[i].name);
            *next = (ag_named_tensor){ ag_intern(ctx, "", name), slot->state[s] };
            good = good && next++->name != NULL;
        }
    c->step = ag_zeros(ctx, AG_F64, AG_SHAPE(params));
    c->lr = ag_zeros(ctx, AG_F64, AG_SCALAR);
    next[0] = (ag_named_tensor){ "optimizer.step", c->step };
    next[1] = (ag_named_tensor){ "optimizer.lr", c->lr };
    return good && c->step != NULL && c->lr != NULL;
}

/* ---- Saving ---- */

static bool checkpoint_check_keys(ag_ctx *ctx, const ag_metadata *metadata, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (metadata[i].key != NULL && strncmp(metadata[i].key, key_prefix, strlen(key_prefix)) == 0) {
            ag_fail(ctx, AG_ERR_ARGUMENT, "checkpoint_save", "the key %s is reserved: %s* are the library's",
                    metadata[i].key, key_prefix);
            return false;
        }
    return true;
}

static void checkpoint_save(ag_ctx *ctx, const char *path, const ag_optimizer *optimizer, const content *c,
                            const ag_metadata *metadata, int64_t metadata_count)
{
    size_t bytes = (size_t)(metadata_count + OWN_KEYS) * sizeof *metadata;
    ag_metadata *all = ag_alloc(ctx, bytes);
    if (all == NULL)
        return;
    char seed[24], counter[24];
    snprintf(seed, sizeof seed, "%" PRIu64, ag_rng_get(ctx).seed);
    snprintf(counter, sizeof counter, "%" PRIu64, ag_rng_get(ctx).counter);
    all[0] = (ag_metadata){ key_optimizer, optimizer == NULL ? "none" : optimizer->kind->name };
    all[1] = (ag_metadata){ key_seed, seed };
    all[2] = (ag_metadata){ key_counter, counter };
    for (int64_t i = 0; i < metadata_count; i++)
        all[OWN_KEYS + i] = metadata[i];
    if (optimizer != NULL) {
        double *step = ag_data_mut(c->step), *lr = ag_data_mut(c->lr);
        for (int64_t i = 0; i < optimizer->slot_count; i++)
            step[i] = (double)optimizer->slot[i].steps;
        *lr = optimizer->lr;
    }
    ag_safetensors_save(ctx, path, c->tensor, c->count, all, metadata_count + OWN_KEYS);
    ag_free(ctx, all, bytes);
}

/* Whether the optimizer belongs to the module: its state tensors are named by the module's parameters. */
static bool checkpoint_check_pair(const ag_module *module, const ag_optimizer *optimizer, const char *where)
{
    if (optimizer == NULL || optimizer->module == module)
        return true;
    ag_fail(module->ctx, AG_ERR_ARGUMENT, where, "the optimizer is of another module");
    return false;
}

ag_status ag_checkpoint_save(const char *path, const ag_module *module, const ag_optimizer *optimizer,
                             const ag_metadata *metadata, int64_t metadata_count)
{
    if (module == NULL || !ag_check_given(module->ctx, "checkpoint_save", "path", path) || metadata_count < 0 ||
        (metadata_count > 0 && !ag_check_given(module->ctx, "checkpoint_save", "metadata", metadata)))
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (ag_error(ctx) != AG_OK || !checkpoint_check_pair(module, optimizer, "checkpoint_save") ||
        !checkpoint_check_keys(ctx, metadata, metadata_count))
        return ag_error(ctx);
    content c;
    ag_scope_begin(ctx, NULL);
    if (checkpoint_collect(module, optimizer, &c))
        checkpoint_save(ctx, path, optimizer, &c, metadata, metadata_count);
    checkpoint_content_free(ctx, &c);
    ag_scope_end(ctx, NULL);
    return ag_error(ctx);
}

/* ---- Loading ---- */

static bool checkpoint_file_fail(const ag_state_file *in, const char *what, const char *value)
{
    ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s: %s%s", in->path, what, value);
    return false;
}

/* Reads a metadata value that is a decimal 64-bit number. */
static bool checkpoint_read_u64(const ag_state_file *in, const char *key, uint64_t *value)
{
    const char *text = ag_safetensors_metadata(in->file, key);
    if (text == NULL)
        return checkpoint_file_fail(in, "not a checkpoint: there is no metadata ", key);
    *value = 0;
    bool good = *text != '\0';
    for (; *text != '\0' && good; text++) {
        good = *text >= '0' && *text <= '9' && *value <= (UINT64_MAX - (uint64_t)(*text - '0')) / 10;
        if (good)
            *value = *value * 10 + (uint64_t)(*text - '0');
    }
    return good || checkpoint_file_fail(in, "not a 64-bit number: metadata ", key);
}

static bool checkpoint_check_kind(const ag_state_file *in, const ag_optimizer *optimizer)
{
    const char *saved = ag_safetensors_metadata(in->file, key_optimizer);
    if (saved == NULL)
        return checkpoint_file_fail(in, "not a checkpoint: there is no metadata ", key_optimizer);
    if (optimizer == NULL || strcmp(saved, optimizer->kind->name) == 0)
        return true;
    ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s: saved with optimizer %s, this one is %s", in->path, saved,
            optimizer->kind->name);
    return false;
}

/* Whether steps are whole numbers in 0 .. 2^53, and the learning rate is one that ag_optimizer_set_lr accepts. */
static bool checkpoint_check_numbers(const ag_state_file *in, const ag_tensor *step, const ag_tensor *lr)
{
    const double *value = ag_data(step), rate = *(const double *)ag_data(lr);
    for (int64_t i = 0; i < step->numel; i++)
        if (!(value[i] >= 0 && value[i] <= 0x1p53 && value[i] == floor(value[i])))
            return checkpoint_file_fail(in, "not a count of steps in ", "optimizer.step");
    return (rate >= 0 && isfinite(rate)) || checkpoint_file_fail(in, "not a learning rate: ", "optimizer.lr");
}

static void checkpoint_load(const ag_state_file *in, ag_optimizer *optimizer, const content *c, ag_tensor **read)
{
    ag_rng rng;
    if (!checkpoint_check_kind(in, optimizer) || !checkpoint_read_u64(in, key_seed, &rng.seed) ||
        !checkpoint_read_u64(in, key_counter, &rng.counter) || !ag_state_read(in, c->tensor, c->count, read) ||
        !ag_state_complete(in, c->tensor, c->count, optimizer == NULL ? "optimizer." : NULL))
        return;
    if (optimizer != NULL && !checkpoint_check_numbers(in, read[c->count - 2], read[c->count - 1]))
        return;
    ag_state_commit(in, c->tensor, c->count, read);
    ag_rng_set(in->ctx, rng);
    if (optimizer == NULL)
        return;
    const double *step = ag_data(c->step);
    for (int64_t i = 0; i < optimizer->slot_count; i++)
        optimizer->slot[i].steps = (uint64_t)step[i];
    optimizer->lr = *(const double *)ag_data(c->lr);
}

ag_status ag_checkpoint_load(const char *path, ag_module *module, ag_optimizer *optimizer)
{
    static const char where[] = "checkpoint_load";
    if (module == NULL || !ag_check_given(module->ctx, where, "path", path))
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (ag_error(ctx) != AG_OK || !checkpoint_check_pair(module, optimizer, where))
        return ag_error(ctx);
    content c;
    ag_scope_begin(ctx, NULL);
    if (checkpoint_collect(module, optimizer, &c)) {
        size_t read_bytes = (size_t)c.count * sizeof(ag_tensor *);
        ag_tensor **read = ag_alloc(ctx, read_bytes);
        ag_state_file in = { ctx, ag_safetensors_open(ctx, path), where, path };
        if (read != NULL && in.file != NULL)
            checkpoint_load(&in, optimizer, &c, read);
        ag_safetensors_close(in.file);
        ag_free(ctx, read, read_bytes);
    }
    checkpoint_content_free(ctx, &c);
    ag_scope_end(ctx, NULL);
    return ag_error(ctx);
}
