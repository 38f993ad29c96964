/* SPDX-License-Identifier: MIT
 *
 * tensor.c - the life of tensors and their storage: making, counting, releasing.
 */
#include "tensor/ctx_impl.h"

#include <assert.h>
#include <string.h>

static ag_storage *storage_new(ag_ctx *ctx, size_t bytes)
{
    ag_storage *storage = ag_alloc(ctx, sizeof *storage);
    if (storage == NULL)
        return NULL;
    *storage = (ag_storage){ .ctx = ctx, .data = ag_alloc(ctx, bytes), .bytes = bytes, .refs = 1 };
    if (storage->data == NULL) {
        ag_free(ctx, storage, sizeof *storage);
        return NULL;
    }
    return storage;
}

static void storage_release(ag_storage *storage)
{
    if (--storage->refs > 0)
        return;
    ag_ctx *ctx = storage->ctx;
    ag_free(ctx, storage->data, storage->bytes);
    ag_free(ctx, storage, sizeof *storage);
}

/* A tensor on `storage` (one reference is taken over) in the innermost scope. */
static ag_tensor *tensor_new(ag_ctx *ctx, ag_storage *storage, ag_dtype dtype, int ndim, const int64_t *shape,
                             const int64_t *stride, int64_t offset)
{
    ag_tensor *t = NULL;
    if (storage != NULL &&
        ag_grow(ctx, (void **)&ctx->owned, &ctx->owned_capacity, ctx->owned_count + 1, sizeof *ctx->owned))
        t = ag_alloc(ctx, sizeof *t);
    if (t == NULL) {
        if (storage != NULL)
            storage_release(storage);
        return NULL;
    }
    t->ctx = ctx;
    t->storage = storage;
    t->refs = 1;
    t->offset = offset;
    t->numel = 1;
    t->dtype = dtype;
    t->ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        t->shape[i] = shape[i];
        t->stride[i] = stride[i];
        t->numel *= shape[i];
    }
    t->attachment = NULL;
    t->tape = 0;
    t->node = 0;
    t->newer = NULL;
    t->older = ctx->newest;
    if (t->older != NULL)
        t->older->newer = t;
    ctx->newest = t;
    ctx->owned[ctx->owned_count++] = t;
    return t;
}

void ag_tensor_destroy(ag_tensor *t)
{
    ag_ctx *ctx = t->ctx;
    if (t->newer != NULL)
        t->newer->older = t->older;
    else
        ctx->newest = t->older;
    if (t->older != NULL)
        t->older->newer = t->newer;
    if (t->attachment != NULL)
        t->attachment->free(ctx, t->attachment);
    storage_release(t->storage);
    ag_free(ctx, t, sizeof *t);
}

ag_tensor *ag_retain(ag_tensor *t)
{
    if (t != NULL)
        t->refs++;
    return t;
}

void ag_release(ag_tensor *t)
{
    if (t == NULL)
        return;
    assert(t->refs > 0);
    if (--t->refs == 0)
        ag_tensor_destroy(t);
}

ag_tensor *ag_empty(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    if (ctx == NULL)
        return NULL;
    if (dtype != AG_F32 && dtype != AG_F64 && dtype != AG_I32)
        return ag_fail(ctx, AG_ERR_DTYPE, "empty", "there is no dtype number %d", (int)dtype);
    if (ndim < 0 || ndim > AG_MAX_DIMS)
        return ag_fail(ctx, AG_ERR_SHAPE, "empty", "%d dims, at most %d are possible", ndim, AG_MAX_DIMS);
    if (ndim > 0 && shape == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "empty", "%d dims, but the shape is NULL", ndim);
    int64_t stride[AG_MAX_DIMS], numel = ag_checked_numel(ndim, shape, ag_dtype_size(dtype));
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0)
            return ag_fail(ctx, AG_ERR_SHAPE, "empty", "negative extent in %s", ag_dims_text(ctx, ndim, shape));
    if (numel < 0)
        return ag_fail(ctx, AG_ERR_MEMORY, "empty", "the size of %s overflows", ag_dims_text(ctx, ndim, shape));
    int64_t step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape[i] > 0 ? shape[i] : 1;
    }
    ag_storage *storage = storage_new(ctx, (size_t)numel * ag_dtype_size(dtype));
    return tensor_new(ctx, storage, dtype, ndim, shape, stride, 0);
}

ag_tensor *ag_view_new(ag_tensor *t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset)
{
    t->storage->refs++;
    return tensor_new(t->ctx, t->storage, t->dtype, ndim, shape, stride, offset);
}

void ag_storage_changed(ag_tensor *t, const char *op)
{
    t->storage->version++;
    t->storage->changed_by = op;
    t->storage->changed_path = ag_module_path(t->ctx);
}
