/* SPDX-License-Identifier: MIT
 *
 * reduce.c - reductions over any set of dims, and sums back to a shape that was broadcast.
 *
 * A set of dims is a bit mask: bit d stands for dim d. Each run of adjacent dims of the set is one pass of a kernel
 * that reduces the middle of [A,R,B].
 */
#include "tensor/tensor_impl.h"

int ag_reduced_shape(const ag_tensor *x, unsigned dims, bool keepdim, int64_t *shape)
{
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++) {
        const bool reduced = (dims >> d & 1u) != 0;
        if (!reduced || keepdim)
            shape[ndim++] = reduced ? 1 : x->shape[d];
    }
    return ndim;
}

/* x, contiguous, with dims begin .. end - 1 reduced to extent 1. */
static ag_tensor *reduce_run(ag_reduce_kernel *kernel, ag_tensor *x, int begin, int end)
{
    int64_t A = 1, R = 1, B = 1, shape[AG_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++) {
        shape[d] = d < begin || d >= end ? x->shape[d] : 1;
        *(d < begin ? &A : d < end ? &R : &B) *= x->shape[d];
    }
    ag_tensor *y = ag_empty(x->ctx, x->dtype, x->ndim, shape);
    if (y != NULL)
        kernel(ag_ctx_team(x->ctx), A, R, B, ag_data(x), y->storage->data);
    return y;
}

ag_tensor *ag_tensor_reduce(ag_reduce_kernel *kernel, ag_tensor *x, unsigned dims, bool keepdim)
{
    int64_t shape[AG_MAX_DIMS];
    ag_tensor *y = ag_tensor_contiguous(x);
    for (int end = x->ndim; end > 0 && y != NULL; end--) {
        int begin = end;
        while (begin > 0 && (dims >> (begin - 1) & 1u) != 0)
            begin--;
        if (begin == end)
            continue;
        y = reduce_run(kernel, y, begin, end);
        end = begin + 1;
    }
    return y == NULL ? NULL : ag_tensor_reshape(y, ag_reduced_shape(x, dims, keepdim, shape), shape);
}

ag_tensor *ag_sum_to_shape(const char *where, ag_tensor *g, int ndim, const int64_t *shape)
{
    if (!ag_broadcasts(ndim, shape, g->ndim, g->shape))
        return ag_fail(g->ctx, AG_ERR_SHAPE, where, "backward: the gradient %s does not fit the input's shape %s",
                       ag_shape_text(g), ag_dims_text(g->ctx, ndim, shape));
    unsigned repeated = 0;
    for (int d = 0, added = g->ndim - ndim; d < g->ndim; d++)
        if (d < added || shape[d - added] != g->shape[d])
            repeated |= 1u << d;
    if (repeated == 0)
        return g;
    g = ag_tensor_reduce(ag_kernels(g->ctx, g->dtype)->sum, g, repeated, true);
    return ag_tensor_reshape(g, ndim, shape);
}
