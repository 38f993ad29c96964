/* SPDX-License-Identifier: MIT
 *
 * module.c - the base of every layer: making and freeing it, its parameters by name, training mode.
 */
#include "nn/module_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Config values ---- */

bool ag_check_size(ag_ctx *ctx, const char *kind, const char *field, int64_t value)
{
    if (value >= 1 && value <= INT32_MAX)
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, kind, "%s is %" PRId64 ", must be in 1 .. %" PRId32, field, value, INT32_MAX);
    return false;
}

static bool module_check_number(ag_ctx *ctx, const char *kind, const char *field, double value, double end,
                                const char *must)
{
    if (value >= 0 && value < end)
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, kind, "%s is %s, must be %s", field, ag_number_text(ctx, value), must);
    return false;
}

bool ag_check_probability(ag_ctx *ctx, const char *kind, const char *field, double value)
{
    return module_check_number(ctx, kind, field, value, 1, "in [0, 1)");
}

bool ag_check_amount(ag_ctx *ctx, const char *kind, const char *field, double value)
{
    return module_check_number(ctx, kind, field, value, (double)INFINITY, "finite and not negative");
}

bool ag_check_real(ag_ctx *ctx, const char *kind, ag_dtype dtype)
{
    if (dtype == AG_F32 || dtype == AG_F64)
        return true;
    ag_fail(ctx, AG_ERR_DTYPE, kind, "dtype is %s, must be float32 or float64", ag_dtype_name(dtype));
    return false;
}

/* ---- Making and freeing ---- */

void *ag_module_new(ag_ctx *ctx, const char *kind, size_t size)
{
    ag_module *module = ag_alloc(ctx, size);
    if (module == NULL)
        return NULL;
    memset(module, 0, size);
    *module = (ag_module){ .ctx = ctx, .kind = kind, .size = size, .training = true };
    return module;
}

/* Appends an entry to the table. The tensor's own name becomes this one: as layers are made from the parts to the root,
 * it ends up as the path from the root. */
static bool module_append(ag_module *module, const char *name, ag_tensor *t)
{
    ag_ctx *ctx = module->ctx;
    name = ag_intern(ctx, "", name);
    if (name == NULL || ag_set_name(t, name) == NULL ||
        !ag_grow(ctx, (void **)&module->param, &module->param_capacity, module->param_count + 1, sizeof *module->param))
        return false;
    module->param[module->param_count++] = (ag_named_tensor){ name, ag_retain(t) };
    return true;
}

static ag_status module_init_values(ag_tensor *t, ag_init init)
{
    switch (init.kind) {
    case AG_INIT_CONSTANT: return ag_fill(t, init.value);
    case AG_INIT_UNIFORM: return ag_fill_uniform(t, -init.value, init.value);
    case AG_INIT_NORMAL: return ag_fill_normal(t, 0, init.value);
    }
    return AG_ERR_ARGUMENT;
}

ag_tensor *ag_module_add_param(ag_module *module, const char *name, ag_dtype dtype, int ndim, const int64_t *shape,
                               ag_init init)
{
    if (module->failed)
        return NULL;
    ag_scope_begin(module->ctx, NULL);
    ag_tensor *t = ag_require_grad(ag_empty(module->ctx, dtype, ndim, shape));
    module->failed = t == NULL || module_init_values(t, init) != AG_OK || !module_append(module, name, t);
    ag_scope_end(module->ctx, NULL);
    return module->failed ? NULL : t;
}

void ag_module_add_part(ag_module *module, const char *name, ag_module *part)
{
    if (part == NULL) {
        module->failed = true;
        return;
    }
    part->next = module->parts;
    module->parts = part;
    part->name = ag_intern(module->ctx, "", name);
    part->path = NULL; /* of a pass without this name */
    module->failed = module->failed || part->name == NULL;
    for (int64_t i = 0; i < part->param_count && !module->failed; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s.%s", name, part->param[i].name);
        module->failed = !module_append(module, path, part->param[i].tensor);
    }
}

void *ag_module_made(ag_module *module)
{
    if (!module->failed)
        return module;
    ag_module_free(module);
    return NULL;
}

void ag_module_free(ag_module *module)
{
    if (module == NULL)
        return;
    assert(module->kind != NULL); /* else it was freed before */
    while (module->parts != NULL) {
        ag_module *part = module->parts;
        module->parts = part->next;
        ag_module_free(part); /* recursion as deep as layers nest */
    }
    if (module->forget != NULL)
        module->forget(module);
    for (int64_t i = 0; i < module->param_count; i++)
        ag_release(module->param[i].tensor);
    ag_free(module->ctx, module->param, (size_t)module->param_capacity * sizeof *module->param);
    module->kind = NULL;
    ag_free(module->ctx, module, module->size);
}

/* ---- Running ---- */

void ag_module_begin(ag_module *module)
{
    const char *outer = ag_module_path(module->ctx);
    if (module->path == NULL || module->outer != outer) {
        module->path = module->name == NULL ? outer : ag_intern(module->ctx, outer, module->name);
        module->outer = outer;
    }
    ag_scope_begin_at(module->ctx, module->path);
}

bool ag_module_drops(const ag_module *module)
{
    return module->training && ag_recording(module->ctx);
}

ag_tensor *ag_module_dropout(const ag_module *module, ag_tensor *x, double p)
{
    return p > 0 && ag_module_drops(module) ? ag_dropout(x, p) : x;
}

void ag_module_set_training(ag_module *module, bool training)
{
    if (module == NULL)
        return;
    module->training = training;
    for (ag_module *part = module->parts; part != NULL; part = part->next)
        ag_module_set_training(part, training);
}

/* ---- Parameters ---- */

int64_t ag_module_param_count(const ag_module *module)
{
    return module == NULL ? 0 : module->param_count;
}

ag_named_tensor ag_module_param(const ag_module *module, int64_t i)
{
    if (i < 0 || i >= ag_module_param_count(module))
        return (ag_named_tensor){ NULL, NULL };
    return module->param[i];
}

ag_tensor *ag_module_find(const ag_module *module, const char *name)
{
    for (int64_t i = 0; name != NULL && i < ag_module_param_count(module); i++)
        if (strcmp(module->param[i].name, name) == 0)
            return module->param[i].tensor;
    return NULL;
}

int64_t ag_module_numel(const ag_module *module)
{
    int64_t numel = 0;
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        numel += module->param[i].tensor->numel;
    return numel;
}

void ag_module_zero_grad(ag_module *module)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        ag_zero_grad(module->param[i].tensor);
}
