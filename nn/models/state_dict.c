/* SPDX-License-Identifier: MIT
 *
 * state_dict.c - a module's parameters in a file, by name; and state_dict_impl.h, which checkpoint.c shares.
 */
#include "nn/models/models.h"
#include "nn/models/state_dict_impl.h"
#include "nn/module_impl.h"

#include <string.h>

static bool state_read_one(const ag_state_file *in, ag_named_tensor want, ag_tensor **read)
{
    const ag_tensor *into = want.tensor;
    if (!ag_safetensors_has(in->file, want.name)) {
        ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s has no %s, wanted %s %s", in->path, want.name,
                ag_dtype_name(into->dtype), ag_shape_text(into));
        return false;
    }
    const ag_tensor *t = *read = ag_safetensors_read(in->file, want.name);
    if (t == NULL)
        return false;
    if (t->dtype == into->dtype && ag_same_shape(t, into))
        return true;
    ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s in %s is %s %s, wanted %s %s", want.name, in->path,
            ag_dtype_name(t->dtype), ag_shape_text(t), ag_dtype_name(into->dtype), ag_shape_text(into));
    return false;
}

bool ag_state_read(const ag_state_file *in, const ag_named_tensor *want, int64_t count, ag_tensor **read)
{
    bool good = true;
    for (int64_t i = 0; i < count && good; i++)
        good = state_read_one(in, want[i], &read[i]);
    return good;
}

bool ag_state_complete(const ag_state_file *in, const ag_named_tensor *want, int64_t count, const char *but)
{
    for (int64_t i = 0; i < ag_safetensors_count(in->file); i++) {
        const char *name = ag_safetensors_name(in->file, i);
        bool known = but != NULL && strncmp(name, but, strlen(but)) == 0;
        for (int64_t k = 0; k < count && !known; k++)
            known = strcmp(name, want[k].name) == 0;
        if (known)
            continue;
        const ag_tensor *extra = ag_safetensors_read(in->file, name); /* for its shape */
        if (extra != NULL)
            ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s has %s, %s %s; nothing here has this name", in->path, name,
                    ag_dtype_name(extra->dtype), ag_shape_text(extra));
        return false;
    }
    return true;
}

void ag_state_commit(const ag_state_file *in, const ag_named_tensor *want, int64_t count, ag_tensor *const *read)
{
    for (int64_t i = 0; i < count; i++) {
        ag_tensor *into = want[i].tensor;
        if (into->numel > 0)
            memcpy(ag_data_mut(into), ag_data(read[i]), (size_t)into->numel * ag_dtype_size(into->dtype));
        ag_storage_changed(into, in->where);
    }
}

ag_status ag_module_save(const ag_module *module, const char *path)
{
    if (module == NULL || !ag_check_given(module->ctx, "module_save", "path", path))
        return AG_ERR_ARGUMENT;
    return ag_safetensors_save(module->ctx, path, module->param, module->param_count, NULL, 0);
}

ag_status ag_module_load(ag_module *module, const char *path)
{
    if (module == NULL || !ag_check_given(module->ctx, "module_load", "path", path))
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (ag_error(ctx) != AG_OK)
        return ag_error(ctx);
    int64_t count = module->param_count;
    size_t read_bytes = (size_t)count * sizeof(ag_tensor *);
    ag_tensor **read = ag_alloc(ctx, read_bytes);
    ag_state_file in = { ctx, ag_safetensors_open(ctx, path), "module_load", path };
    ag_scope_begin(ctx, NULL);
    if (read != NULL && in.file != NULL && ag_state_read(&in, module->param, count, read) &&
        ag_state_complete(&in, module->param, count, NULL))
        ag_state_commit(&in, module->param, count, read);
    ag_scope_end(ctx, NULL);
    ag_safetensors_close(in.file);
    ag_free(ctx, read, read_bytes);
    return ag_error(ctx);
}
