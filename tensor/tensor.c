/* SPDX-License-Identifier: MIT
 *
 * tensor.c - a tensor's life (making, counting, releasing), its fields and its single elements.
 *
 * A double stored in an int32 tensor loses its fraction; NaN and values out of range are errors.
 */
#include "tensor/ctx_impl.h"

#include <assert.h>
#include <inttypes.h>
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
    /* Field by field: an initialiser for the whole struct takes longer than the rest of this function. */
    t->ctx = ctx;
    t->storage = storage;
    t->refs = t->numel = 1;
    t->offset = offset;
    t->newer = NULL;
    t->older = ctx->newest;
    t->attachment = NULL;
    t->tape = t->depends = 0;
    t->node = 0;
    t->cut_by = NULL;
    t->dtype = dtype;
    t->ndim = ndim;
    for (int d = 0; d < ndim; d++) {
        t->shape[d] = shape[d];
        t->stride[d] = stride[d];
        t->numel *= shape[d];
    }
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
    if (ag_dtype_size(dtype) == 0)
        return ag_fail(ctx, AG_ERR_DTYPE, "empty", "there is no dtype number %d", (int)dtype);
    if (!ag_check_dims(ctx, "empty", ndim, shape))
        return NULL;
    int64_t stride[AG_MAX_DIMS], numel = ag_check_numel(ctx, "empty", dtype, ndim, shape);
    if (numel < 0)
        return NULL;
    ag_row_major(ndim, shape, stride);
    ag_storage *storage = storage_new(ctx, (size_t)numel * ag_dtype_size(dtype));
    return tensor_new(ctx, storage, dtype, ndim, shape, stride, 0);
}

ag_tensor *ag_view_new(ag_tensor *t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset)
{
    t->storage->refs++;
    return tensor_new(t->ctx, t->storage, t->dtype, ndim, shape, stride, offset);
}

ag_tensor *ag_derived(ag_tensor *y, const ag_tensor *from, const char *by)
{
    if (y != NULL && y->dtype != AG_I32 && from->depends > y->depends) {
        y->depends = from->depends;
        y->cut_by = from->cut_by != NULL ? from->cut_by : by;
    }
    return y;
}

void ag_storage_changed(ag_tensor *t, const char *op)
{
    t->storage->version++;
    t->storage->changed_by = op;
    t->storage->changed_path = ag_module_path(t->ctx);
}

static const struct {
    const char *name;
    size_t size;
} dtypes[] = { { "float32", sizeof(float) }, { "float64", sizeof(double) }, { "int32", sizeof(int32_t) } };

static bool dtype_exists(ag_dtype dtype) { return (unsigned)dtype < sizeof dtypes / sizeof *dtypes; }
const char *ag_dtype_name(ag_dtype dtype) { return dtype_exists(dtype) ? dtypes[dtype].name : "unknown"; }
size_t ag_dtype_size(ag_dtype dtype) { return dtype_exists(dtype) ? dtypes[dtype].size : 0; }

/* ---- Fields ---------------------------------------------------------------------------------- */

bool ag_check_home(ag_ctx *ctx, const char *where, const ag_tensor *t)
{
    if (t == NULL || t->ctx == ctx)
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, where, "%s %s is of another context", ag_dtype_name(t->dtype), ag_shape_text(t));
    return false;
}

ag_ctx *ag_ctx_of(const ag_tensor *t) { return t == NULL ? NULL : t->ctx; }
ag_dtype ag_dtype_of(const ag_tensor *t) { return t == NULL ? AG_F32 : t->dtype; }
int ag_ndim(const ag_tensor *t) { return t == NULL ? -1 : t->ndim; } /* not 0, which is a scalar's */
const int64_t *ag_shape(const ag_tensor *t) { return t == NULL ? NULL : t->shape; }
const int64_t *ag_stride(const ag_tensor *t) { return t == NULL ? NULL : t->stride; }
int64_t ag_numel(const ag_tensor *t) { return t == NULL ? 0 : t->numel; }

int64_t ag_dim(const ag_tensor *t, int dim)
{
    if (t == NULL || dim < -t->ndim || dim >= t->ndim)
        return -1;
    return t->shape[dim < 0 ? dim + t->ndim : dim];
}

bool ag_is_contiguous(const ag_tensor *t)
{
    if (t == NULL)
        return false;
    if (t->numel == 0)
        return true;
    int64_t stride = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        if (t->shape[d] != 1 && t->stride[d] != stride)
            return false;
        stride *= t->shape[d];
    }
    return true;
}

const void *ag_data(const ag_tensor *t)
{
    return t == NULL ? NULL : ag_address(t, 0);
}

void *ag_data_mut(ag_tensor *t)
{
    if (t == NULL)
        return NULL;
    ag_storage_changed(t, "data_mut");
    return ag_address(t, 0);
}

/* ---- Single elements -------------------------------------------------------------------------- */

bool ag_value_fits(ag_ctx *ctx, const char *where, ag_dtype dtype, double value)
{
    if (dtype != AG_I32 || (value > -2147483649.0 && value < 2147483648.0))
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, where, "%s is not an int32", ag_number_text(ctx, value));
    return false;
}

ag_status ag_item(const ag_tensor *t, double *value)
{
    if (t == NULL || !ag_check_given(t->ctx, "item", "value", value))
        return AG_ERR_ARGUMENT;
    if (t->numel != 1)
        ag_fail(t->ctx, AG_ERR_SHAPE, "item", "%s has %" PRId64 " elements, not 1", ag_shape_text(t), t->numel);
    /* Also an older error: whoever looks at a loss asks whether the computation went well. */
    if (ag_error(t->ctx) == AG_OK)
        ag_read_row(t->dtype, 1, ag_address(t, 0), 1, value);
    return ag_error(t->ctx);
}

/* The address of the element at index[], or NULL with the error recorded. */
static void *element_at(const ag_tensor *t, const char *where, const int64_t *index)
{
    if (t->ndim > 0 && !ag_check_given(t->ctx, where, "index", index))
        return NULL;
    int64_t offset = 0;
    for (int d = 0; d < t->ndim; d++) {
        const int64_t i = index[d] < 0 ? index[d] + t->shape[d] : index[d];
        if (i < 0 || i >= t->shape[d])
            return ag_fail(t->ctx, AG_ERR_INDEX, where, "index %" PRId64 " of dim %d in %s", index[d], d,
                           ag_shape_text(t));
        offset += i * t->stride[d];
    }
    return ag_address(t, offset);
}

ag_status ag_get(const ag_tensor *t, const int64_t *index, double *value)
{
    if (t == NULL || !ag_check_given(t->ctx, "get", "value", value))
        return AG_ERR_ARGUMENT;
    const void *element = element_at(t, "get", index);
    if (element == NULL)
        return ag_error(t->ctx);
    ag_read_row(t->dtype, 1, element, 1, value);
    return AG_OK;
}

ag_status ag_set(ag_tensor *t, const int64_t *index, double value)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    void *element = element_at(t, "set", index);
    if (element == NULL || !ag_value_fits(t->ctx, "set", t->dtype, value))
        return ag_error(t->ctx);
    ag_write_row(t->dtype, 1, &value, 1, element, 1);
    ag_storage_changed(t, "set");
    return AG_OK;
}
