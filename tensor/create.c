/* SPDX-License-Identifier: MIT
 *
 * create.c - new tensors with values in them, and filling.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <string.h>

/* ---- Filling --------------------------------------------------------------------------------- */

static void fill_elements(const ag_tensor *t, double value)
{
    ag_tensor once = *t; /* repeated elements are written once */
    for (int d = 0; d < once.ndim; d++)
        if (once.stride[d] == 0 && once.shape[d] > 1)
            once.shape[d] = 1;
    ag_loop loop;
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ &once });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        ag_write_row(t->dtype, loop.n, &value, 0, ag_address(t, loop.at[0]), loop.step[0]);
}

ag_status ag_fill(ag_tensor *t, double value)
{
    if (t == NULL || !ag_value_fits(t->ctx, "fill", t->dtype, value))
        return AG_ERR_ARGUMENT;
    fill_elements(t, value);
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
        fill_elements(t, value);
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
        ag_write_row(dtype, 1, (const double[]){ start + step * (double)i }, 1, ag_address(t, i), 1);
    return t;
}
