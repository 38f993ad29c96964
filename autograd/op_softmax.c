/* SPDX-License-Identifier: MIT
 *
 * op_softmax.c - softmax, log_softmax and logsumexp over one dim. The kernels work on rows: another
 * dim is transposed to the end first.
 */
#include "autograd/op_impl.h"

/* The op over `dim`: y[M,N], or [M,1] of logsumexp. x is real. */
static ag_tensor *softmax_over(const ag_op *op, ag_rows_kernel *kernel, ag_tensor *x, int dim)
{
    const int d = ag_checked_dim(op->name, x, dim, 0);
    if (d < 0)
        return NULL;
    if (d != x->ndim - 1)
        return ag_transpose(softmax_over(op, kernel, ag_transpose(x, d, -1), -1), d, -1);
    int64_t shape[AG_MAX_DIMS];
    const int ndim = ag_reduced_shape(x, op == &ag_op_logsumexp ? 1u << d : 0, true, shape);
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty(x->ctx, x->dtype, ndim, shape);
    if (dense == NULL || y == NULL)
        return NULL;
    kernel(ag_ctx_team(x->ctx), ag_rows_of(x), x->shape[d], ag_data(dense), y->storage->data);
    return ag_record(op, y, &x, 1, NULL, 0, NULL);
}

/* gx of softmax and log_softmax. */
static void softmax_rows_vjp(ag_vjp *v, ag_rows_vjp_kernel *kernel)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy), *gx = ag_empty_as(gy);
    if (gx == NULL)
        return;
    kernel(ag_ctx_team(v->ctx), ag_rows_of(gx), ag_dim(gx, -1), ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

#define SOFTMAX_OP(op)                                                                                       \
    void ag_##op##_vjp(ag_vjp *v) { softmax_rows_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->op##_vjp); }       \
    ag_tensor *ag_##op(ag_tensor *x, int dim)                                                                \
    {                                                                                                        \
        const ag_real_kernels *k = ag_real_kernels_for(#op, x);                                              \
        return k == NULL ? NULL : softmax_over(&ag_op_##op, k->op, x, dim);                                  \
    }
SOFTMAX_OP(softmax)
SOFTMAX_OP(log_softmax)

void ag_logsumexp_vjp(ag_vjp *v)
{
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *gy = ag_tensor_contiguous(v->gy), *gx = ag_empty_as(x);
    if (gx == NULL || gy == NULL)
        return;
    ag_kernels(v->ctx, x->dtype)->logsumexp_vjp(ag_ctx_team(v->ctx), ag_rows_of(x), ag_dim(x, -1), ag_data(x),
                                                ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

ag_tensor *ag_logsumexp(ag_tensor *x, int dim, bool keepdim)
{
    const ag_real_kernels *k = ag_real_kernels_for("logsumexp", x);
    ag_tensor *y = k == NULL ? NULL : softmax_over(&ag_op_logsumexp, k->logsumexp, x, dim);
    return keepdim ? y : ag_squeeze(y, dim);
}
