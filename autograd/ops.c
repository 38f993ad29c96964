/* SPDX-License-Identifier: MIT
 *
 * ops.c - the table of all ops, and the checks and shape helpers that they share.
 */
#include "autograd/op_impl.h"

#include <string.h>

const ag_op *const ag_ops[] = {
#define AG_OP(name) &ag_op_##name,
#include "autograd/ops.def"
#undef AG_OP
};
const int ag_op_count = sizeof ag_ops / sizeof *ag_ops;

const ag_real_kernels *ag_real_kernels_for(const char *where, const ag_tensor *x)
{
    if (x == NULL)
        return NULL;
    if (x->dtype == AG_I32)
        return ag_fail(x->ctx, AG_ERR_DTYPE, where, "%s is int32, must be float32 or float64", ag_shape_text(x));
    return ag_kernels(x->ctx, x->dtype);
}

bool ag_same_real(const char *where, const ag_tensor *a, const ag_tensor *b)
{
    if (a == NULL || b == NULL || ag_real_kernels_for(where, a) == NULL || ag_real_kernels_for(where, b) == NULL)
        return false;
    if (a->dtype != b->dtype)
        ag_fail(a->ctx, AG_ERR_DTYPE, where, "%s is %s, %s is %s; cast one", ag_shape_text(a), ag_dtype_name(a->dtype),
                ag_shape_text(b), ag_dtype_name(b->dtype));
    return a->dtype == b->dtype;
}

ag_tensor *ag_checked_index(const char *where, ag_tensor *index, int64_t limit, const int32_t *ignored)
{
    ag_ctx *ctx = index->ctx;
    if (index->dtype != AG_I32)
        return ag_fail(ctx, AG_ERR_DTYPE, where, "the indices %s are %s, must be int32", ag_shape_text(index),
                       ag_dtype_name(index->dtype));
    ag_tensor *dense = ag_tensor_contiguous(index);
    if (dense == NULL)
        return NULL;
    const int32_t *value = ag_data(dense);
    for (int64_t i = 0; i < dense->numel; i++)
        if ((value[i] < 0 || value[i] >= limit) && (ignored == NULL || value[i] != *ignored))
            return ag_fail(ctx, AG_ERR_INDEX, where, "index %ld at position %lld of %s is not in 0..%lld",
                           (long)value[i], (long long)i, ag_shape_text(index), (long long)limit - 1);
    return dense;
}

int ag_reduced_shape(const ag_tensor *x, unsigned reduced, bool keepdim, int64_t *shape)
{
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++) {
        bool gone = (reduced >> d & 1u) != 0;
        if (!gone || keepdim)
            shape[ndim++] = gone ? 1 : x->shape[d];
    }
    return ndim;
}

ag_tensor *ag_sum_to_shape(const char *where, ag_tensor *g, int ndim, const int64_t *shape)
{
    if (g->ndim == ndim && (ndim == 0 || memcmp(g->shape, shape, (size_t)ndim * sizeof *shape) == 0))
        return g;
    int added = g->ndim - ndim, dims[AG_MAX_DIMS], count = 0;
    bool fits = added >= 0; /* the shape broadcasts to g's */
    for (int d = 0; d < g->ndim && fits; d++) {
        int64_t extent = d < added ? 1 : shape[d - added];
        if (d < added || (extent == 1 && g->shape[d] != 1))
            dims[count++] = d;
        else if (extent != g->shape[d])
            fits = false;
    }
    if (!fits)
        return ag_fail(g->ctx, AG_ERR_SHAPE, where, "backward: the gradient %s does not fit the input's shape %s",
                       ag_shape_text(g), ag_dims_text(g->ctx, ndim, shape));
    ag_tensor *sum = count == 0 ? g : ag_sum(g, count, dims, true);
    return sum == NULL ? NULL : ag_tensor_reshape(sum, ndim, shape);
}
