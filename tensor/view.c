/* SPDX-License-Identifier: MIT
 *
 * view.c - other shapes and strides on the same storage. No view copies, but for reshape when no strides can
 * say what is asked for.
 *
 * An empty result keeps the offset of the tensor it came from, so that no view points outside its storage.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <string.h>

/* A shape and strides on their way to becoming a view. */
typedef struct layout {
    int ndim;
    int64_t shape[AG_MAX_DIMS], stride[AG_MAX_DIMS];
} layout;

static layout layout_of(const ag_tensor *t)
{
    layout l = { .ndim = t->ndim };
    memcpy(l.shape, t->shape, sizeof l.shape);
    memcpy(l.stride, t->stride, sizeof l.stride);
    return l;
}

/* The view that the function `by` makes of t. */
static ag_tensor *view(ag_tensor *t, const layout *l, int64_t offset, const char *by)
{
    return ag_derived(ag_view_new(t, l->ndim, l->shape, l->stride, offset), t, by);
}

static bool dims_fit(ag_ctx *ctx, const char *where, int ndim, const int64_t *shape)
{
    if (ndim < 0 || ndim > AG_MAX_DIMS) {
        ag_fail(ctx, AG_ERR_SHAPE, where, "%d dims, at most %d are possible", ndim, AG_MAX_DIMS);
        return false;
    }
    if (ndim > 0 && shape == NULL) {
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "%d dims, but the shape is NULL", ndim);
        return false;
    }
    return true;
}

/* ---- Reshape --------------------------------------------------------------------------------- */

/* Copies the wanted shape to result[], a -1 replaced by what the other extents leave for it. */
static bool reshape_shape(const ag_tensor *t, int ndim, const int64_t *shape, int64_t *result)
{
    int unknown = -1;
    for (int d = 0; d < ndim; d++) {
        result[d] = shape[d];
        if (shape[d] < -1 || (shape[d] == -1 && unknown >= 0)) {
            ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s: extents are >= 0, and at most one is -1",
                    ag_dims_text(t->ctx, ndim, shape));
            return false;
        }
        if (shape[d] == -1) {
            unknown = d;
            result[d] = 1;
        }
    }
    int64_t numel = ag_checked_numel(ndim, result, ag_dtype_size(t->dtype));
    if (numel < 0) {
        ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, %s has more than can be counted",
                ag_shape_text(t), t->numel, ag_dims_text(t->ctx, ndim, shape));
        return false;
    }
    if (unknown >= 0 && (numel == 0 || t->numel % numel != 0)) {
        ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, no extent in place of -1 makes %s fit",
                ag_shape_text(t), t->numel, ag_dims_text(t->ctx, ndim, shape));
        return false;
    }
    if (unknown >= 0) {
        result[unknown] = t->numel / numel;
        return true;
    }
    if (numel != t->numel) {
        ag_fail(t->ctx, AG_ERR_SHAPE, "reshape", "%s has %" PRId64 " elements, %s has %" PRId64, ag_shape_text(t),
                t->numel, ag_dims_text(t->ctx, ndim, shape), numel);
        return false;
    }
    return true;
}

static void row_major(layout *l)
{
    int64_t stride = 1;
    for (int d = l->ndim - 1; d >= 0; d--) {
        l->stride[d] = stride;
        stride *= l->shape[d] > 0 ? l->shape[d] : 1;
    }
}

/* Finds strides with which l->shape runs through t's elements in t's order. Both shapes are walked from the
 * last dim: dims of t that lie behind one another without a gap form a chunk, and each chunk must be used up
 * by whole dims of the new shape. False when one is not. */
static bool reshape_strides(const ag_tensor *t, layout *l)
{
    if (t->numel == 0) {
        row_major(l);
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
    for (; to >= 0; to--) /* what is left are extents of 1 */
        l->stride[to] = 1;
    return true;
}

ag_tensor *ag_tensor_reshape(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t == NULL || !dims_fit(t->ctx, "reshape", ndim, shape))
        return NULL;
    layout l = { .ndim = ndim };
    if (!reshape_shape(t, ndim, shape, l.shape))
        return NULL;
    if (reshape_strides(t, &l))
        return view(t, &l, t->offset, "tensor_reshape");
    ag_tensor *copy = ag_tensor_clone(t);
    if (copy == NULL)
        return NULL;
    row_major(&l);
    return ag_derived(ag_view_new(copy, l.ndim, l.shape, l.stride, copy->offset), t, "tensor_reshape");
}

/* ---- Order of dims --------------------------------------------------------------------------- */

ag_tensor *ag_tensor_permute(ag_tensor *t, const int *dims)
{
    if (t == NULL)
        return NULL;
    if (t->ndim > 0 && dims == NULL)
        return ag_fail(t->ctx, AG_ERR_ARGUMENT, "permute", "the dims are NULL");
    layout l = { .ndim = t->ndim };
    unsigned seen = 0;
    for (int i = 0; i < t->ndim; i++) {
        int d = ag_checked_dim(t->ctx, "permute", t, dims[i], t->ndim);
        if (d < 0)
            return NULL;
        if (seen & 1u << d)
            return ag_fail(t->ctx, AG_ERR_ARGUMENT, "permute", "dim %d of %s is named twice", d, ag_shape_text(t));
        seen |= 1u << d;
        l.shape[i] = t->shape[d];
        l.stride[i] = t->stride[d];
    }
    return view(t, &l, t->offset, "tensor_permute");
}

ag_tensor *ag_tensor_transpose(ag_tensor *t, int dim0, int dim1)
{
    if (t == NULL)
        return NULL;
    int d0 = ag_checked_dim(t->ctx, "transpose", t, dim0, t->ndim);
    int d1 = ag_checked_dim(t->ctx, "transpose", t, dim1, t->ndim);
    if (d0 < 0 || d1 < 0)
        return NULL;
    layout l = layout_of(t);
    l.shape[d0] = t->shape[d1];
    l.shape[d1] = t->shape[d0];
    l.stride[d0] = t->stride[d1];
    l.stride[d1] = t->stride[d0];
    return view(t, &l, t->offset, "tensor_transpose");
}

/* ---- Parts ----------------------------------------------------------------------------------- */

static int64_t clamped_index(int64_t index, int64_t extent)
{
    if (index < 0)
        index += extent;
    return index < 0 ? 0 : index > extent ? extent : index;
}

ag_tensor *ag_tensor_slice(ag_tensor *t, int dim, int64_t start, int64_t stop, int64_t step)
{
    if (t == NULL)
        return NULL;
    int d = ag_checked_dim(t->ctx, "slice", t, dim, t->ndim);
    if (d < 0)
        return NULL;
    if (step < 1)
        return ag_fail(t->ctx, AG_ERR_ARGUMENT, "slice", "step %" PRId64 ", it must be >= 1", step);
    layout l = layout_of(t);
    int64_t first = clamped_index(start, t->shape[d]), end = clamped_index(stop, t->shape[d]);
    l.shape[d] = first < end ? (end - first - 1) / step + 1 : 0;
    if (l.shape[d] > 1) /* otherwise the stride is never used, and a huge step would overflow it */
        l.stride[d] *= step;
    int64_t skipped = ag_checked_numel(l.ndim, l.shape, 1) == 0 ? 0 : first * t->stride[d];
    return view(t, &l, t->offset + skipped, "tensor_slice");
}

static void drop_dim(layout *l, int dim)
{
    l->ndim--;
    for (int d = dim; d < l->ndim; d++) {
        l->shape[d] = l->shape[d + 1];
        l->stride[d] = l->stride[d + 1];
    }
}

ag_tensor *ag_tensor_select(ag_tensor *t, int dim, int64_t index)
{
    if (t == NULL)
        return NULL;
    int d = ag_checked_dim(t->ctx, "select", t, dim, t->ndim);
    if (d < 0)
        return NULL;
    int64_t extent = t->shape[d];
    if (index < -extent || index >= extent)
        return ag_fail(t->ctx, AG_ERR_INDEX, "select", "index %" PRId64 " of dim %d in %s", index, d,
                       ag_shape_text(t));
    layout l = layout_of(t);
    drop_dim(&l, d);
    int64_t skipped = t->numel == 0 ? 0 : (index < 0 ? index + extent : index) * t->stride[d];
    return view(t, &l, t->offset + skipped, "tensor_select");
}

/* ---- Dims of extent 1 ------------------------------------------------------------------------ */

ag_tensor *ag_tensor_expand(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t == NULL || !dims_fit(t->ctx, "expand", ndim, shape))
        return NULL;
    layout l = { .ndim = ndim };
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
    return view(t, &l, t->offset, "tensor_expand");
}

ag_tensor *ag_tensor_squeeze(ag_tensor *t, int dim)
{
    if (t == NULL)
        return NULL;
    int d = ag_checked_dim(t->ctx, "squeeze", t, dim, t->ndim);
    if (d < 0)
        return NULL;
    if (t->shape[d] != 1)
        return ag_fail(t->ctx, AG_ERR_SHAPE, "squeeze", "dim %d of %s is %" PRId64 ", not 1", d, ag_shape_text(t),
                       t->shape[d]);
    layout l = layout_of(t);
    drop_dim(&l, d);
    return view(t, &l, t->offset, "tensor_squeeze");
}

ag_tensor *ag_tensor_unsqueeze(ag_tensor *t, int dim)
{
    if (t == NULL || !dims_fit(t->ctx, "unsqueeze", t->ndim + 1, t->shape))
        return NULL;
    int d = ag_checked_dim(t->ctx, "unsqueeze", t, dim, t->ndim + 1);
    if (d < 0)
        return NULL;
    layout l = { .ndim = t->ndim + 1 };
    for (int i = 0; i < l.ndim; i++) {
        l.shape[i] = i == d ? 1 : t->shape[i > d ? i - 1 : i];
        l.stride[i] = i == d ? 1 : t->stride[i > d ? i - 1 : i];
    }
    return view(t, &l, t->offset, "tensor_unsqueeze");
}
