/* SPDX-License-Identifier: MIT
 *
 * create.c - new tensors with values in them, and filling.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <string.h>

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
        fill_row(t->dtype, ag_address(t, loop.at[0]), loop.n, loop.step[0], value);
}

ag_status ag_fill(ag_tensor *t, double value)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (!ag_value_fits(t->ctx, "fill", t->dtype, value))
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
    if (ctx == NULL || !ag_value_fits(ctx, "full", dtype, value))
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
    if (n > 0 && (!ag_value_fits(ctx, "arange", dtype, start) || !ag_value_fits(ctx, "arange", dtype, last)))
        return NULL;
    ag_tensor *t = ag_empty(ctx, dtype, 1, &n);
    if (t == NULL)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        fill_row(dtype, ag_address(t, i), 1, 1, start + step * (double)i);
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
