/* SPDX-License-Identifier: MIT
 *
 * shape.c - arithmetic on shapes and strides: checked sizes, broadcasting, and the loop over several strided operands.
 *
 * Broadcasting is NumPy's: shapes are aligned at their last dims, and an extent of 1 (or a dim that is not
 * there) repeats.
 */
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <string.h>

/* An extent of 0 counts as 1 for the overflow check: strides and the sizes of parts must fit too. */
int64_t ag_checked_numel(int ndim, const int64_t *shape, size_t size)
{
    const int64_t most = (PTRDIFF_MAX < INT64_MAX ? PTRDIFF_MAX : INT64_MAX) / (int64_t)size;
    int64_t product = 1;
    bool empty = false;
    for (int d = 0; d < ndim; d++) {
        const int64_t extent = shape[d] == 0 ? 1 : shape[d];
        empty |= shape[d] == 0;
        if (extent < 0 || ((product | extent) >> 31 != 0 && product > most / extent)) /* small ones need no division */
            return -1;
        product *= extent;
    }
    return product > most ? -1 : empty ? 0 : product;
}

bool ag_check_dims(ag_ctx *ctx, const char *where, int ndim, const int64_t *shape)
{
    if (ndim < 0 || ndim > AG_MAX_DIMS)
        ag_fail(ctx, AG_ERR_SHAPE, where, "%d dims, at most %d are possible", ndim, AG_MAX_DIMS);
    else if (ndim > 0 && shape == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "%d dims, but the shape is NULL", ndim);
    else
        return true;
    return false;
}

int64_t ag_check_numel(ag_ctx *ctx, const char *where, ag_dtype dtype, int ndim, const int64_t *shape)
{
    const int64_t numel = ag_checked_numel(ndim, shape, ag_dtype_size(dtype));
    bool negative = false;
    for (int d = 0; d < ndim && numel < 0; d++)
        negative |= shape[d] < 0;
    if (negative)
        ag_fail(ctx, AG_ERR_SHAPE, where, "negative extent in %s", ag_dims_text(ctx, ndim, shape));
    else if (numel < 0)
        ag_fail(ctx, AG_ERR_MEMORY, where, "the size of %s overflows", ag_dims_text(ctx, ndim, shape));
    return numel;
}

int ag_checked_dim(const char *where, const ag_tensor *t, int dim, int added)
{
    if (t == NULL)
        return -1;
    const int ndim = t->ndim + added;
    if (dim >= -ndim && dim < ndim)
        return dim < 0 ? dim + ndim : dim;
    ag_fail(t->ctx, AG_ERR_ARGUMENT, where, "dim %d of %s", dim, ag_shape_text(t));
    return -1;
}

void ag_row_major(int ndim, const int64_t *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        stride[d] = step;
        step *= shape[d] > 0 ? shape[d] : 1;
    }
}

bool ag_check_separate(const char *where, const ag_tensor *t)
{
    for (int d = 0; d < t->ndim && t->numel > 0; d++)
        if (t->stride[d] == 0 && t->shape[d] > 1) {
            ag_fail(t->ctx, AG_ERR_ARGUMENT, where, "dim %d of %s is expanded, its elements are one", d,
                    ag_shape_text(t));
            return false;
        }
    return true;
}

bool ag_same_shape(const ag_tensor *a, const ag_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) == 0;
}

/* ---- Broadcasting ---------------------------------------------------------------------------- */

bool ag_broadcasts(int ndim, const int64_t *shape, int to_ndim, const int64_t *to)
{
    const int added = to_ndim - ndim;
    for (int d = 0; d < ndim && added >= 0; d++)
        if (shape[d] != 1 && shape[d] != to[d + added])
            return false;
    return added >= 0;
}

int ag_broadcast_shape(ag_ctx *ctx, const char *where, const ag_tensor *a, const ag_tensor *b, int64_t *shape)
{
    const int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 0; d < ndim; d++) {
        const int da = d - (ndim - a->ndim), db = d - (ndim - b->ndim);
        const int64_t na = da < 0 ? 1 : a->shape[da], nb = db < 0 ? 1 : b->shape[db];
        if (na != nb && na != 1 && nb != 1) {
            ag_fail(ctx, AG_ERR_SHAPE, where, "%s and %s do not broadcast: %" PRId64 " against %" PRId64,
                    ag_shape_text(a), ag_shape_text(b), na, nb);
            return -1;
        }
        shape[d] = na == 1 ? nb : na;
    }
    return ag_check_numel(ctx, where, AG_F64, ndim, shape) < 0 ? -1 : ndim;
}

/* ---- Looping --------------------------------------------------------------------------------- */

/* The stride of operand t along dim d of a loop over ndim dims; 0 where t repeats. */
static int64_t loop_stride(const ag_tensor *t, int d, int ndim)
{
    const int own = d - (ndim - t->ndim);
    return own < 0 || t->shape[own] == 1 ? 0 : t->stride[own];
}

/* Moves the last of the loop's dims 0 .. last to its place from the outermost in memory to the innermost: the first
 * operand with two different strides, neither of them 0, orders two dims. */
static void loop_sort_last(ag_loop *loop, int last)
{
    const ag_loop_dim moved = loop->dim[last];
    int place = last;
    for (int d = last - 1; d >= 0; d--) {
        int64_t difference = 0;
        for (int k = 0; k < loop->operands && difference == 0; k++)
            if (loop->dim[d].stride[k] != 0 && moved.stride[k] != 0)
                difference = loop->dim[d].stride[k] - moved.stride[k];
        if (difference > 0)
            break;
        if (difference < 0)
            place = d;
    }
    if (place < last)
        memmove(loop->dim + place + 1, loop->dim + place, (size_t)(last - place) * sizeof moved);
    loop->dim[place] = moved;
}

/* Whether two adjacent dims are one for every operand. */
static bool loop_joins(int operands, const ag_loop_dim *outer, const ag_loop_dim *inner)
{
    for (int k = 0; k < operands; k++)
        if (outer->stride[k] != inner->stride[k] * inner->extent)
            return false;
    return true;
}

/* Ops on small tensors spend much of their time here: fields that are not used are not written. */
void ag_loop_init(ag_loop *loop, int operands, const ag_tensor *const *t)
{
    ag_loop_dim *dim = loop->dim;
    int count = 0;
    loop->operands = operands;
    loop->ndim = 0;
    loop->n = loop->rows = 1;
    loop->row = 0;
    for (int k = 0; k < operands; k++) {
        loop->at[k] = 0;
        loop->step[k] = 1;
    }
    for (int d = 0; d < t[0]->ndim; d++) {
        if (t[0]->shape[d] == 0) {
            loop->n = loop->rows = 0;
            return;
        }
        if (t[0]->shape[d] == 1)
            continue;
        dim[count].extent = t[0]->shape[d];
        dim[count].index = 0;
        for (int k = 0; k < operands; k++)
            dim[count].stride[k] = loop_stride(t[k], d, t[0]->ndim);
        loop_sort_last(loop, count++);
    }
    if (count == 0)
        return;
    int row = 0; /* the innermost of the joined dims so far */
    for (int d = 1; d < count; d++)
        if (loop_joins(operands, &dim[row], &dim[d])) {
            dim[d].extent *= dim[row].extent;
            dim[row] = dim[d];
        } else {
            dim[++row] = dim[d];
        }
    loop->ndim = row;
    loop->n = dim[row].extent;
    for (int k = 0; k < operands; k++)
        loop->step[k] = dim[row].stride[k];
    for (int d = 0; d < row; d++)
        loop->rows *= dim[d].extent;
}

void ag_loop_next(ag_loop *loop)
{
    loop->row++;
    for (ag_loop_dim *dim = loop->dim + loop->ndim; dim-- > loop->dim;) {
        for (int k = 0; k < loop->operands; k++)
            loop->at[k] += dim->stride[k];
        if (++dim->index < dim->extent)
            return;
        for (int k = 0; k < loop->operands; k++)
            loop->at[k] -= dim->stride[k] * dim->extent;
        dim->index = 0;
    }
}
