/* SPDX-License-Identifier: MIT
 *
 * create.c - tensors with values in them, and looking at a tensor: its fields and single elements.
 *
 * A double that is stored in an int32 tensor loses its fraction; one that is NaN or out of range is an error.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *ag_dtype_name(ag_dtype dtype)
{
    switch (dtype) {
    case AG_F32: return "float32";
    case AG_F64: return "float64";
    case AG_I32: return "int32";
    }
    return "unknown";
}

size_t ag_dtype_size(ag_dtype dtype)
{
    switch (dtype) {
    case AG_F32: return sizeof(float);
    case AG_F64: return sizeof(double);
    case AG_I32: return sizeof(int32_t);
    }
    return 0;
}

/* ---- Fields ---------------------------------------------------------------------------------- */

ag_ctx *ag_ctx_of(const ag_tensor *t)
{
    return t == NULL ? NULL : t->ctx;
}

ag_dtype ag_dtype_of(const ag_tensor *t)
{
    return t == NULL ? AG_F32 : t->dtype;
}

int ag_ndim(const ag_tensor *t)
{
    return t == NULL ? -1 : t->ndim; /* not 0, which is a scalar's */
}

const int64_t *ag_shape(const ag_tensor *t)
{
    return t == NULL ? NULL : t->shape;
}

const int64_t *ag_stride(const ag_tensor *t)
{
    return t == NULL ? NULL : t->stride;
}

int64_t ag_dim(const ag_tensor *t, int dim)
{
    if (t == NULL || dim < -t->ndim || dim >= t->ndim)
        return -1;
    return t->shape[dim < 0 ? dim + t->ndim : dim];
}

int64_t ag_numel(const ag_tensor *t)
{
    return t == NULL ? 0 : t->numel;
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

static char *address(const ag_tensor *t, int64_t offset)
{
    return (char *)t->storage->data + (t->offset + offset) * (int64_t)ag_dtype_size(t->dtype);
}

const void *ag_data(const ag_tensor *t)
{
    return t == NULL ? NULL : address(t, 0);
}

void *ag_data_mut(ag_tensor *t)
{
    if (t == NULL)
        return NULL;
    ag_storage_changed(t, "data_mut");
    return address(t, 0);
}

/* ---- Single elements ------------------------------------------------------------------------- */

static double element(const ag_tensor *t, int64_t offset)
{
    const void *at = address(t, offset);
    switch (t->dtype) {
    case AG_F32: return (double)*(const float *)at;
    case AG_F64: return *(const double *)at;
    case AG_I32: return (double)*(const int32_t *)at;
    }
    return (double)NAN;
}

/* Whether `value` can stand in a tensor of this dtype. */
static bool value_fits(ag_ctx *ctx, const char *where, ag_dtype dtype, double value)
{
    if (dtype != AG_I32 || (value > -2147483649.0 && value < 2147483648.0))
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, where, "%g is not an int32", value);
    return false;
}

/* `n` elements from `at`, `step` apart, become `value`. */
static void fill_row(ag_dtype dtype, void *at, int64_t n, int64_t step, double value)
{
    if (dtype == AG_F32) {
        float *x = at, v = (float)value;
        for (int64_t i = 0; i < n; i++)
            x[i * step] = v;
    } else if (dtype == AG_F64) {
        double *x = at;
        for (int64_t i = 0; i < n; i++)
            x[i * step] = value;
    } else {
        int32_t *x = at, v = (int32_t)value;
        for (int64_t i = 0; i < n; i++)
            x[i * step] = v;
    }
}

ag_status ag_item(const ag_tensor *t, double *value)
{
    if (t == NULL || value == NULL)
        return AG_ERR_ARGUMENT;
    if (t->numel != 1)
        ag_fail(t->ctx, AG_ERR_SHAPE, "item", "%s has %" PRId64 " elements, not 1", ag_shape_text(t), t->numel);
    /* Also an older error: whoever looks at a loss asks whether the computation went well. */
    if (ag_error(t->ctx) == AG_OK)
        *value = element(t, 0);
    return ag_error(t->ctx);
}

/* The offset of the element at index[], or -1 with the error recorded. */
static int64_t element_offset(const ag_tensor *t, const char *where, const int64_t *index)
{
    int64_t offset = 0;
    for (int d = 0; d < t->ndim; d++) {
        int64_t i = index[d] < 0 ? index[d] + t->shape[d] : index[d];
        if (i < 0 || i >= t->shape[d]) {
            ag_fail(t->ctx, AG_ERR_INDEX, where, "index %" PRId64 " of dim %d in %s", index[d], d, ag_shape_text(t));
            return -1;
        }
        offset += i * t->stride[d];
    }
    return offset;
}

ag_status ag_get(const ag_tensor *t, const int64_t *index, double *value)
{
    if (t == NULL || value == NULL || (index == NULL && t->ndim > 0))
        return AG_ERR_ARGUMENT;
    int64_t offset = element_offset(t, "get", index);
    if (offset < 0)
        return AG_ERR_INDEX;
    *value = element(t, offset);
    return AG_OK;
}

ag_status ag_set(ag_tensor *t, const int64_t *index, double value)
{
    if (t == NULL || (index == NULL && t->ndim > 0))
        return AG_ERR_ARGUMENT;
    int64_t offset = element_offset(t, "set", index);
    if (offset < 0)
        return AG_ERR_INDEX;
    if (!value_fits(t->ctx, "set", t->dtype, value))
        return AG_ERR_ARGUMENT;
    fill_row(t->dtype, address(t, offset), 1, 1, value);
    ag_storage_changed(t, "set");
    return AG_OK;
}

/* ---- Filling --------------------------------------------------------------------------------- */

static void fill(const ag_tensor *t, double value)
{
    ag_tensor once = *t; /* repeated elements are written once */
    for (int d = 0; d < once.ndim; d++)
        if (once.stride[d] == 0 && once.shape[d] > 1)
            once.shape[d] = 1;
    ag_loop loop;
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ &once });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        fill_row(t->dtype, address(t, loop.at[0]), loop.n, loop.step[0], value);
}

ag_status ag_fill(ag_tensor *t, double value)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (!value_fits(t->ctx, "fill", t->dtype, value))
        return AG_ERR_ARGUMENT;
    fill(t, value);
    ag_storage_changed(t, "fill");
    return AG_OK;
}

/* ---- Creation -------------------------------------------------------------------------------- */

ag_tensor *ag_zeros(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    ag_tensor *t = ag_empty(ctx, dtype, ndim, shape);
    if (t != NULL)
        memset(t->storage->data, 0, t->storage->bytes);
    return t;
}

ag_tensor *ag_full(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape, double value)
{
    if (ctx == NULL || !value_fits(ctx, "full", dtype, value))
        return NULL;
    ag_tensor *t = ag_empty(ctx, dtype, ndim, shape);
    if (t != NULL)
        fill(t, value);
    return t;
}

ag_tensor *ag_from_data(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape, const void *data)
{
    ag_tensor *t = ag_empty(ctx, dtype, ndim, shape);
    if (t == NULL || t->numel == 0)
        return t;
    if (data == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "from_data", "%s wants %" PRId64 " elements, the data is NULL",
                       ag_shape_text(t), t->numel);
    memcpy(t->storage->data, data, t->storage->bytes);
    return t;
}

ag_tensor *ag_arange(ag_ctx *ctx, ag_dtype dtype, double start, double step, int64_t n)
{
    if (ctx == NULL)
        return NULL;
    if (n < 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "arange", "%" PRId64 " elements", n);
    double last = n > 1 ? start + step * (double)(n - 1) : start;
    if (n > 0 && (!value_fits(ctx, "arange", dtype, start) || !value_fits(ctx, "arange", dtype, last)))
        return NULL;
    ag_tensor *t = ag_empty(ctx, dtype, 1, &n);
    if (t == NULL)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        fill_row(dtype, address(t, i), 1, 1, start + step * (double)i);
    return t;
}

ag_tensor *ag_empty_like(const ag_tensor *t)
{
    if (t == NULL)
        return NULL;
    ag_tensor *like = ag_empty(t->ctx, t->dtype, t->ndim, t->shape);
    if (like == NULL)
        return NULL;
    int64_t stride[1][AG_MAX_DIMS], dense = 1;
    int order[AG_MAX_DIMS];
    for (int d = 0; d < t->ndim; d++)
        stride[0][d] = t->shape[d] == 1 ? 0 : t->stride[d];
    ag_order_dims(1, t->ndim, stride, order);
    for (int i = t->ndim - 1; i >= 0; i--) {
        like->stride[order[i]] = dense;
        dense *= t->shape[order[i]] > 0 ? t->shape[order[i]] : 1;
    }
    return like;
}
