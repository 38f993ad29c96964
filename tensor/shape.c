/* SPDX-License-Identifier: MIT
 *
 * shape.c - arithmetic on shapes and strides: checked sizes, broadcasting, and the loop over several strided operands.
 *
 * Broadcasting is NumPy's: shapes are aligned at their last dims, and an extent of 1 (or a dim that is not
 * there) repeats.
 */
#include "tensor/ctx_impl.h"

#include <inttypes.h>
#include <string.h>

/* An extent of 0 counts as 1 for the overflow check: strides and the sizes of parts must fit too. */
int64_t ag_checked_numel(int ndim, const int64_t *shape, size_t size)
{
    const uint64_t limit = (uint64_t)(PTRDIFF_MAX < INT64_MAX ? PTRDIFF_MAX : INT64_MAX);
    const uint64_t most = limit / (size > 0 ? size : 1);
    uint64_t product = 1;
    bool empty = false;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] < 0)
            return -1;
        if (shape[d] == 0) {
            empty = true;
            continue;
        }
        const uint64_t extent = (uint64_t)shape[d];
        if ((product | extent) >> 31 != 0 && product > most / extent) /* small ones need no division */
            return -1;
        product *= extent;
    }
    if (product > most)
        return -1;
    return empty ? 0 : (int64_t)product;
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

int ag_broadcast_shape(ag_ctx *ctx, const char *where, const ag_tensor *a, const ag_tensor *b, int64_t *shape)
{
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 0; d < ndim; d++) {
        int da = d - (ndim - a->ndim), db = d - (ndim - b->ndim);
        int64_t na = da < 0 ? 1 : a->shape[da];
        int64_t nb = db < 0 ? 1 : b->shape[db];
        if (na != nb && na != 1 && nb != 1) {
            ag_fail(ctx, AG_ERR_SHAPE, where, "%s and %s do not broadcast: %" PRId64 " against %" PRId64,
                    ag_shape_text(a), ag_shape_text(b), na, nb);
            return -1;
        }
        shape[d] = na == 1 ? nb : na;
    }
    if (ag_checked_numel(ndim, shape, ag_dtype_size(AG_F64)) < 0) {
        ag_fail(ctx, AG_ERR_MEMORY, where, "%s and %s broadcast to %s, which is too large", ag_shape_text(a),
                ag_shape_text(b), ag_dims_text(ctx, ndim, shape));
        return -1;
    }
    return ndim;
}

bool ag_same_shape(const ag_tensor *a, const ag_tensor *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d])
            return false;
    return true;
}

/* ---- Looping --------------------------------------------------------------------------------- */

/* Insertion sort: the first operand with two different strides, neither of them 0, orders two dims. A repeated dim,
 * whose stride is 0, keeps its place. */
void ag_order_dims(int operands, int ndim, int64_t stride[][AG_MAX_DIMS], int *order)
{
    for (int d = 0; d < ndim; d++) {
        order[d] = d;
        int at = d;
        for (int before = d - 1; before >= 0; before--) {
            int64_t difference = 0;
            for (int k = 0; k < operands && difference == 0; k++) {
                int64_t outer = stride[k][order[before]], inner = stride[k][order[at]];
                if (outer != 0 && inner != 0)
                    difference = outer - inner;
            }
            if (difference > 0)
                break;
            if (difference < 0) {
                int moved = order[at];
                memmove(order + before + 1, order + before, (size_t)(at - before) * sizeof *order);
                order[before] = moved;
                at = before;
            }
        }
    }
}

/* One dim of a loop, for all operands. */
typedef struct loop_dim {
    int64_t extent, stride[AG_LOOP_MAX];
} loop_dim;

/* Whether `outer` and the next inner dim are one dim for every operand. */
static bool joins(int operands, const loop_dim *outer, const loop_dim *inner)
{
    for (int k = 0; k < operands; k++)
        if (outer->stride[k] != inner->stride[k] * inner->extent)
            return false;
    return true;
}

/* The stride of operand t along dim d of a loop over ndim dims; 0 where t repeats. */
static int64_t loop_stride(const ag_tensor *t, int d, int ndim)
{
    int own = d - (ndim - t->ndim);
    return own < 0 || t->shape[own] == 1 ? 0 : t->stride[own];
}

/* Ops on small tensors spend much of their time here: fields that are not used are not written. */
void ag_loop_init(ag_loop *loop, int operands, const ag_tensor *const *t)
{
    loop->operands = operands;
    loop->ndim = 0;
    loop->n = loop->rows = 1;
    loop->row = 0;
    for (int k = 0; k < operands; k++) {
        loop->at[k] = 0;
        loop->step[k] = 1;
    }
    int64_t extent[AG_MAX_DIMS], stride[AG_LOOP_MAX][AG_MAX_DIMS];
    int order[AG_MAX_DIMS], ndim = 0;
    for (int d = 0; d < t[0]->ndim; d++) {
        if (t[0]->shape[d] == 0) {
            loop->n = loop->rows = 0;
            return;
        }
        if (t[0]->shape[d] == 1)
            continue;
        extent[ndim] = t[0]->shape[d];
        for (int k = 0; k < operands; k++)
            stride[k][ndim] = loop_stride(t[k], d, t[0]->ndim);
        ndim++;
    }
    if (ndim == 0)
        return;
    ag_order_dims(operands, ndim, stride, order);

    loop_dim dims[AG_MAX_DIMS]; /* joined, from the innermost outwards */
    int count = 0;
    for (int i = ndim - 1; i >= 0; i--) {
        loop_dim *dim = &dims[count];
        dim->extent = extent[order[i]];
        for (int k = 0; k < operands; k++)
            dim->stride[k] = stride[k][order[i]];
        if (count > 0 && joins(operands, dim, dim - 1))
            dim[-1].extent *= dim->extent;
        else
            count++;
    }
    loop->n = dims[0].extent;
    for (int k = 0; k < operands; k++)
        loop->step[k] = dims[0].stride[k];
    loop->ndim = count - 1;
    for (int d = 0; d < loop->ndim; d++) {
        const loop_dim *dim = &dims[loop->ndim - d];
        loop->index[d] = 0;
        loop->extent[d] = dim->extent;
        loop->rows *= dim->extent;
        for (int k = 0; k < operands; k++)
            loop->stride[k][d] = dim->stride[k];
    }
}

void ag_loop_next(ag_loop *loop)
{
    loop->row++;
    for (int d = loop->ndim - 1; d >= 0; d--) {
        for (int k = 0; k < loop->operands; k++)
            loop->at[k] += loop->stride[k][d];
        if (++loop->index[d] < loop->extent[d])
            return;
        for (int k = 0; k < loop->operands; k++)
            loop->at[k] -= loop->stride[k][d] * loop->extent[d];
        loop->index[d] = 0;
    }
}
