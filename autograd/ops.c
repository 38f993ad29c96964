/* SPDX-License-Identifier: MIT
 *
 * ops.c - the table of all ops, and the checks that they share.
 */
#include "autograd/mask_impl.h"
#include "autograd/op_impl.h"

#define AG_OP(name, inputs, keep, vjp) AG_OP_WITH(name, inputs, keep, vjp, false, NULL)
#define AG_OP_WITH(name, inputs, keep, vjp, list, work)                                                      \
    const ag_op ag_op_##name = { #name, inputs, keep, ag_##vjp##_vjp, list, work };
#include "autograd/ops.def"

const ag_op *const ag_ops[] = {
#define AG_OP(name, ...) &ag_op_##name,
#include "autograd/ops.def"
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
        return ag_fail(a->ctx, AG_ERR_DTYPE, where, "%s is %s, %s is %s; cast one", ag_shape_text(a),
                       ag_dtype_name(a->dtype), ag_shape_text(b), ag_dtype_name(b->dtype));
    return true;
}

ag_tensor *ag_empty_as(const ag_tensor *x)
{
    return x == NULL ? NULL : ag_empty(x->ctx, x->dtype, x->ndim, x->shape);
}

int64_t ag_rows_of(const ag_tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++)
        rows *= x->shape[d];
    return rows;
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
