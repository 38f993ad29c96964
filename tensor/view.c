/* SPDX-License-Identifier: MIT
 *
 * view.c - other shapes and strides on the same storage. Only reshape ever copies: when no strides can express the
 * new shape. An empty result keeps t's offset, so that no view points outside its storage.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <string.h>

/* A shape and strides on their way to becoming a view. */
typedef struct view_shape {
    int ndim;
    int64_t shape[AG_MAX_DIMS], stride[AG_MAX_DIMS];
} view_shape;

static view_shape view_layout(const ag_tensor *t)
{
    view_shape l = { .ndim = t->ndim };
    memcpy(l.shape, t->shape, sizeof l.shape);
    memcpy(l.stride, t->stride, sizeof l.stride);
    return l;
}

/* The view of t that the function `by` makes. */
static ag_tensor *view_of(ag_tensor *t, const view_shape *l, int64_t offset, const char *by)
{
    return ag_derived(ag_view_new(t, l->ndim, l->shape, l->stride, offset), t, by);
}

/* ---- Reshape --------------------------------------------------------------------------------- */

/* Copies the wanted shape to result[], with -1 replaced by the extent that the others leave for it. */
static bool reshape_shape(const ag_tensor *t, int ndim, const int64_t *shape, int64_t *result)
{
    int unknown = -1;
    for (int d = 0; d < ndim; d++) {
        result[d] = shape[d] == -1 ? 1 : shape[d];
        if (shape[d] < -1 || (shape[d] == -1 && unknown >= 0)) {
            ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s: extents are >= 0, and at most one is -1",
                    ag_dims_text(t->ctx, ndim, shape));
            return false;
        }
        if (shape[d] == -1)
            unknown = d;
    }
    const int64_t numel = ag_checked_numel(ndim, result, ag_dtype_size(t->dtype));
    if (numel < 0)
        ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, %s has more than can be counted",
                ag_shape_text(t), t->numel, ag_dims_text(t->ctx, ndim, shape));
    else if (unknown >= 0 && (numel == 0 || t->numel % numel != 0))
        ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, no extent in place of -1 makes %s fit",
                ag_shape_text(t), t->numel, ag_dims_text(t->ctx, ndim, shape));
    else if (unknown < 0 && numel != t->numel)
        ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, %s has %" PRId64, ag_shape_text(t),
                t->numel, ag_dims_text(t->ctx, ndim, shape), numel);
    else {
        if (unknown >= 0)
            result[unknown] = t->numel / numel;
        return true;
    }
    return false;
}

/* Finds strides with which l->shape visits t's elements in t's order; false when there are none. Both shapes are walked
 * from the last dim: adjacent dims of t without a gap in memory form a chunk, and whole dims of the new shape must use
 * up each chunk. */
static bool reshape_strides(const ag_tensor *t, view_shape *l)
{
    if (t->numel == 0) {
        ag_row_major(l->ndim, l->shape, l->stride);
        return true;
    }
    int to = l->ndim - 1, from = t->ndim - 1;
    while (from >= 0) {
        int64_t step = t->stride[from], chunk = t->shape[from];
        for (from--; from >= 0 && (t->shape[from] == 1 || chunk == 1 || t->stride[from] == chunk * step); from--) {
            if (chunk == 1)
                step = t->stride[from];
            chunk *= t->shape[from];
        }
        int64_t used = 1;
        for (; to >= 0 && used < chunk; to--) {
            l->stride[to] = used * step;
            used *= l->shape[to];
        }
        if (used != chunk)
            return false;
    }
    for (; to >= 0; to--) /* the remaining extents are 1 */
        l->stride[to] = 1;
    return true;
}

ag_tensor *ag_tensor_reshape(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t == NULL || !ag_check_dims(t->ctx, "reshape", ndim, shape))
        return NULL;
    view_shape l = { .ndim = ndim };
    if (!reshape_shape(t, ndim, shape, l.shape))
        return NULL;
    if (reshape_strides(t, &l))
        return view_of(t, &l, t->offset, "tensor_reshape");
    ag_tensor *copy = ag_tensor_clone(t);
    if (copy == NULL)
        return NULL;
    ag_row_major(l.ndim, l.shape, l.stride);
    return ag_derived(ag_view_new(copy, l.ndim, l.shape, l.stride, copy->offset), t, "tensor_reshape");
}

/* ---- Order of dims --------------------------------------------------------------------------- */

ag_tensor *ag_tensor_permute(ag_tensor *t, const int *dims)
{
    if (t == NULL)
        return NULL;
    if (t->ndim > 0 && dims == NULL)
        return ag_fail(t->ctx, AG_ERR_ARGUMENT, "permute", "the dims are NULL");
    view_shape l = { .ndim = t->ndim };
    unsigned seen = 0;
    for (int i = 0; i < t->ndim; i++) {
        const int d = ag_checked_dim("permute", t, dims[i], 0);
        if (d < 0)
            return NULL;
        if (seen & 1u << d)
            return ag_fail(t->ctx, AG_ERR_ARGUMENT, "permute", "dim %d of %s is named twice", d, ag_shape_text(t));
        seen |= 1u << d;
        l.shape[i] = t->shape[d];
        l.stride[i] = t->stride[d];
    }
    return view_of(t, &l, t->offset, "tensor_permute");
}

ag_tensor *ag_tensor_transpose(ag_tensor *t, int dim0, int dim1)
{
    const int d0 = ag_checked_dim("transpose", t, dim0, 0), d1 = ag_checked_dim("transpose", t, dim1, 0);
    if (d0 < 0 || d1 < 0)
        return NULL;
    view_shape l = view_layout(t);
    l.shape[d0] = t->shape[d1];
    l.shape[d1] = t->shape[d0];
    l.stride[d0] = t->stride[d1];
    l.stride[d1] = t->stride[d0];
    return view_of(t, &l, t->offset, "tensor_transpose");
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
    view_shape l = view_layout(t);
    int64_t first = view_clamp(start, t->shape[d]), end = view_clamp(stop, t->shape[d]);
    l.shape[d] = first < end ? (end - first - 1) / step + 1 : 0;
    if (l.shape[d] > 1) /* otherwise the stride is never used, and a huge step would overflow it */
        l.stride[d] *= step;
    int64_t skipped = ag_checked_numel(l.ndim, l.shape, 1) == 0 ? 0 : first * t->stride[d];
    return view_of(t, &l, t->offset + skipped, "tensor_slice");
}

/* Element `index` of dim, without that dim. */
static ag_tensor *view_without_dim(ag_tensor *t, int dim, int64_t index, const char *by)
{
    view_shape l = view_layout(t);
    l.ndim--;
    for (int d = dim; d < l.ndim; d++) {
        l.shape[d] = l.shape[d + 1];
        l.stride[d] = l.stride[d + 1];
    }
    return view_of(t, &l, t->numel == 0 ? t->offset : t->offset + index * t->stride[dim], by);
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
    return view_without_dim(t, d, index < 0 ? index + extent : index, "tensor_select");
}

/* ---- Dims of extent 1 ------------------------------------------------------------------------ */

ag_tensor *ag_tensor_expand(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t == NULL || !ag_check_dims(t->ctx, "expand", ndim, shape))
        return NULL;
    view_shape l = { .ndim = ndim };
    int added = ndim - t->ndim;
    if (added < 0)
        return ag_fail(t->ctx, AG_ERR_SHAPE, "expand", "%s to %s, which has fewer dims", ag_shape_text(t),
                       ag_dims_text(t->ctx, ndim, shape));
    for (int d = 0; d < ndim; d++) {
        int64_t own = d < added ? 1 : t->shape[d - added];
        l.shape[d] = shape[d] == -1 && d >= added ? own : shape[d];
        if (l.shape[d] < 0 || (own != 1 && own != l.shape[d]))
            return ag_fail(t->ctx, AG_ERR_SHAPE, "expand", "%s to %s: %" PRId64 " can not become %" PRId64,
                           ag_shape_text(t), ag_dims_text(t->ctx, ndim, shape), own, shape[d]);
        l.stride[d] = d < added || own != l.shape[d] ? 0 : t->stride[d - added];
    }
    if (ag_checked_numel(ndim, l.shape, ag_dtype_size(t->dtype)) < 0)
        return ag_fail(t->ctx, AG_ERR_MEMORY, "expand", "%s to %s, which is too large", ag_shape_text(t),
                       ag_dims_text(t->ctx, ndim, shape));
    return view_of(t, &l, t->offset, "tensor_expand");
}

ag_tensor *ag_tensor_squeeze(ag_tensor *t, int dim)
{
    const int d = ag_checked_dim("squeeze", t, dim, 0);
    if (d < 0)
        return NULL;
    if (t->shape[d] != 1)
        return ag_fail(t->ctx, AG_ERR_SHAPE, "squeeze", "dim %d of %s is %" PRId64 ", not 1", d, ag_shape_text(t),
                       t->shape[d]);
    return view_without_dim(t, d, 0, "tensor_squeeze");
}

ag_tensor *ag_tensor_unsqueeze(ag_tensor *t, int dim)
{
    if (t == NULL || !ag_check_dims(t->ctx, "unsqueeze", t->ndim + 1, t->shape))
        return NULL;
    const int d = ag_checked_dim("unsqueeze", t, dim, 1);
    if (d < 0)
        return NULL;
    view_shape l = view_layout(t);
    l.ndim++;
    for (int i = t->ndim; i > d; i--) {
        l.shape[i] = l.shape[i - 1];
        l.stride[i] = l.stride[i - 1];
    }
    l.shape[d] = l.stride[d] = 1;
    return view_of(t, &l, t->offset, "tensor_unsqueeze");
}
