/* SPDX-License-Identifier: MIT
 *
 * view.c - other shapes and strides on the same storage. Only reshape ever copies: when no strides can express the
 * new shape. An empty result keeps t's offset, so that no view points outside its storage.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>

/* The view of t that the function `by` makes: with the shape, strides and offset of y, a changed copy of the struct. */
static ag_tensor *view_of(ag_tensor *t, const ag_tensor *y, const char *by)
{
    return ag_derived(ag_view_new(t, y->ndim, y->shape, y->stride, y->offset), t, by);
}

/* ---- Reshape --------------------------------------------------------------------------------- */

/* Sets y's shape to the wanted one, with -1 replaced by the extent that the others leave for it; false when t's
 * elements do not fit. */
static bool reshape_shape(const ag_tensor *t, int ndim, const int64_t *shape, ag_tensor *y)
{
    int64_t *unknown = NULL;
    y->ndim = ndim;
    for (int d = 0; d < ndim; d++) {
        y->shape[d] = shape[d];
        if (shape[d] == -1 && unknown == NULL) {
            unknown = &y->shape[d];
            *unknown = 1;
        }
    }
    const int64_t numel = ag_checked_numel(ndim, y->shape, ag_dtype_size(t->dtype));
    if (unknown == NULL)
        return numel == t->numel;
    if (numel <= 0 || t->numel % numel != 0)
        return false;
    *unknown = t->numel / numel;
    return true;
}

/* Finds strides with which y's shape visits t's elements in t's order; false when there are none. Both shapes are
 * walked from the last dim: adjacent dims of t without a gap in memory form a chunk, and whole dims of the new shape
 * must use up each chunk. */
static bool reshape_strides(const ag_tensor *t, ag_tensor *y)
{
    if (t->numel == 0) {
        ag_row_major(y->ndim, y->shape, y->stride);
        return true;
    }
    int to = y->ndim - 1, from = t->ndim - 1;
    while (from >= 0) {
        int64_t step = t->stride[from], chunk = t->shape[from];
        for (from--; from >= 0 && (t->shape[from] == 1 || chunk == 1 || t->stride[from] == chunk * step); from--) {
            if (chunk == 1)
                step = t->stride[from];
            chunk *= t->shape[from];
        }
        int64_t used = 1;
        for (; to >= 0 && used < chunk; to--) {
            y->stride[to] = used * step;
            used *= y->shape[to];
        }
        if (used != chunk)
            return false;
    }
    for (; to >= 0; to--) /* the remaining extents are 1 */
        y->stride[to] = 1;
    return true;
}

ag_tensor *ag_tensor_reshape(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t == NULL || !ag_check_dims(t->ctx, "reshape", ndim, shape))
        return NULL;
    ag_tensor y = *t;
    if (!reshape_shape(t, ndim, shape, &y))
        return ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, which do not fit %s",
                       ag_shape_text(t), t->numel, ag_dims_text(t->ctx, ndim, shape));
    if (reshape_strides(t, &y))
        return view_of(t, &y, "tensor_reshape; use ag_reshape");
    ag_tensor *copy = ag_tensor_clone(t);
    if (copy == NULL)
        return NULL;
    ag_row_major(ndim, y.shape, y.stride);
    return ag_derived(ag_view_new(copy, ndim, y.shape, y.stride, 0), t, "tensor_reshape; use ag_reshape");
}

/* ---- Order of dims --------------------------------------------------------------------------- */

ag_tensor *ag_tensor_permute(ag_tensor *t, const int *dims)
{
    if (t == NULL || (t->ndim > 0 && !ag_check_given(t->ctx, "permute", "dims", dims)))
        return NULL;
    ag_tensor y = *t;
    unsigned seen = 0;
    for (int i = 0; i < t->ndim; i++) {
        const int d = ag_checked_dim("permute", t, dims[i], 0);
        if (d < 0)
            return NULL;
        if (seen & 1u << d)
            return ag_fail(t->ctx, AG_ERR_ARGUMENT, "permute", "dim %d of %s is named twice", d, ag_shape_text(t));
        seen |= 1u << d;
        y.shape[i] = t->shape[d];
        y.stride[i] = t->stride[d];
    }
    return view_of(t, &y, "tensor_permute; use ag_permute");
}

ag_tensor *ag_tensor_transpose(ag_tensor *t, int dim0, int dim1)
{
    const int d0 = ag_checked_dim("transpose", t, dim0, 0), d1 = ag_checked_dim("transpose", t, dim1, 0);
    if (d0 < 0 || d1 < 0)
        return NULL;
    ag_tensor y = *t;
    y.shape[d0] = t->shape[d1];
    y.shape[d1] = t->shape[d0];
    y.stride[d0] = t->stride[d1];
    y.stride[d1] = t->stride[d0];
    return view_of(t, &y, "tensor_transpose; use ag_transpose");
}

/* ---- Parts ----------------------------------------------------------------------------------- */

static int64_t view_clamp(int64_t index, int64_t extent)
{
    if (index < 0)
        index += extent;
    return index < 0 ? 0 : index > extent ? extent : index;
}

ag_tensor *ag_tensor_slice(ag_tensor *t, int dim, int64_t start, int64_t stop, int64_t step)
{
    const int d = ag_checked_dim("slice", t, dim, 0);
    if (d < 0)
        return NULL;
    if (step < 1)
        return ag_fail(t->ctx, AG_ERR_ARGUMENT, "slice", "step %" PRId64 ", it must be >= 1", step);
    const int64_t first = view_clamp(start, t->shape[d]), end = view_clamp(stop, t->shape[d]);
    ag_tensor y = *t;
    y.shape[d] = first < end ? (end - first - 1) / step + 1 : 0;
    if (y.shape[d] > 1) /* otherwise the stride is never used, and a huge step would overflow it */
        y.stride[d] *= step;
    if (y.shape[d] > 0 && t->numel > 0)
        y.offset += first * t->stride[d];
    return view_of(t, &y, "tensor_slice; use ag_slice");
}

/* Element `index` of dim, without that dim. */
static ag_tensor *view_without_dim(ag_tensor *t, int dim, int64_t index, const char *by)
{
    ag_tensor y = *t;
    y.ndim--;
    for (int d = dim; d < y.ndim; d++) {
        y.shape[d] = t->shape[d + 1];
        y.stride[d] = t->stride[d + 1];
    }
    if (t->numel > 0)
        y.offset += index * t->stride[dim];
    return view_of(t, &y, by);
}

ag_tensor *ag_tensor_select(ag_tensor *t, int dim, int64_t index)
{
    const int d = ag_checked_dim("select", t, dim, 0);
    if (d < 0)
        return NULL;
    const int64_t extent = t->shape[d];
    if (index < -extent || index >= extent)
        return ag_fail(t->ctx, AG_ERR_INDEX, "select", "index %" PRId64 " of dim %d in %s", index, d,
                       ag_shape_text(t));
    return view_without_dim(t, d, index < 0 ? index + extent : index, "tensor_select; use ag_select");
}

/* ---- Dims of extent 1 ------------------------------------------------------------------------ */

ag_tensor *ag_tensor_expand(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t == NULL || !ag_check_dims(t->ctx, "expand", ndim, shape))
        return NULL;
    ag_tensor y = *t;
    y.ndim = ndim;
    for (int d = 0, own = t->ndim - ndim; d < ndim; d++, own++) { /* own: the dim of t that d repeats, if any */
        y.shape[d] = own >= 0 && shape[d] == -1 ? t->shape[own] : shape[d];
        y.stride[d] = own >= 0 && y.shape[d] == t->shape[own] ? t->stride[own] : 0;
    }
    if (!ag_broadcasts(t->ndim, t->shape, ndim, y.shape))
        return ag_fail(t->ctx, AG_ERR_SHAPE, "expand", "%s does not broadcast to %s", ag_shape_text(t),
                       ag_dims_text(t->ctx, ndim, shape));
    if (ag_check_numel(t->ctx, "expand", t->dtype, ndim, y.shape) < 0)
        return NULL;
    return view_of(t, &y, "tensor_expand; use ag_expand");
}

ag_tensor *ag_tensor_squeeze(ag_tensor *t, int dim)
{
    const int d = ag_checked_dim("squeeze", t, dim, 0);
    if (d < 0)
        return NULL;
    if (t->shape[d] != 1)
        return ag_fail(t->ctx, AG_ERR_SHAPE, "squeeze", "dim %d of %s is %" PRId64 ", not 1", d, ag_shape_text(t),
                       t->shape[d]);
    return view_without_dim(t, d, 0, "tensor_squeeze; use ag_squeeze");
}

ag_tensor *ag_tensor_unsqueeze(ag_tensor *t, int dim)
{
    if (t == NULL || !ag_check_dims(t->ctx, "unsqueeze", t->ndim + 1, t->shape))
        return NULL;
    const int d = ag_checked_dim("unsqueeze", t, dim, 1);
    if (d < 0)
        return NULL;
    ag_tensor y = *t;
    y.ndim++;
    for (int i = t->ndim; i > d; i--) {
        y.shape[i] = t->shape[i - 1];
        y.stride[i] = t->stride[i - 1];
    }
    y.shape[d] = y.stride[d] = 1;
    return view_of(t, &y, "tensor_unsqueeze; use ag_unsqueeze");
}
