/* SPDX-License-Identifier: MIT
 *
 * op_softmax.c - softmax, log_softmax and logsumexp over one dim. The kernels work on rows: another
 * dim is transposed to the end first.
 */
#include "autograd/op_impl.h"

/* x[..,N] as M rows of N. */
static int64_t softmax_rows(const ag_tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++)
        rows *= x->shape[d];
    return rows;
}

static int64_t softmax_size(const ag_tensor *x)
{
    return x->shape[x->ndim - 1];
}

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
    kernel(ag_ctx_team(x->ctx), softmax_rows(x), softmax_size(x), ag_data(dense), y->storage->data);
    return ag_record(op, y, &x, 1, NULL, 0, NULL);
}

/* gx of softmax and log_softmax. */
static void softmax_rows_vjp(ag_vjp *v, ag_rows_vjp_kernel *kernel)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *gx = gy == NULL ? NULL : ag_empty(v->ctx, gy->dtype, gy->ndim, gy->shape);
    if (gx == NULL)
        return;
    kernel(ag_ctx_team(v->ctx), softmax_rows(gx), softmax_size(gx), ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

static void softmax_vjp(ag_vjp *v)
{
    softmax_rows_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->softmax_vjp);
}

const ag_op ag_op_softmax = { "softmax", 1, AG_KEEP_OUTPUT, softmax_vjp };

ag_tensor *ag_softmax(ag_tensor *x, int dim)
{
    const ag_real_kernels *k = ag_real_kernels_for("softmax", x);
    return k == NULL ? NULL : softmax_over(&ag_op_softmax, k->softmax, x, dim);
}

static void log_softmax_vjp(ag_vjp *v)
{
    softmax_rows_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->log_softmax_vjp);
}

const ag_op ag_op_log_softmax = { "log_softmax", 1, AG_KEEP_OUTPUT, log_softmax_vjp };

ag_tensor *ag_log_softmax(ag_tensor *x, int dim)
{
    const ag_real_kernels *k = ag_real_kernels_for("log_softmax", x);
    return k == NULL ? NULL : softmax_over(&ag_op_log_softmax, k->log_softmax, x, dim);
}

static void logsumexp_vjp(ag_vjp *v)
{
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *gx = x == NULL ? NULL : ag_empty(v->ctx, x->dtype, x->ndim, x->shape);
    if (gx == NULL || gy == NULL)
        return;
    ag_kernels(v->ctx, x->dtype)->logsumexp_vjp(ag_ctx_team(v->ctx), softmax_rows(x), softmax_size(x), ag_data(x),
                                                ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

const ag_op ag_op_logsumexp = { "logsumexp", 1, AG_KEEP_INPUT | AG_KEEP_OUTPUT, logsumexp_vjp };

ag_tensor *ag_logsumexp(ag_tensor *x, int dim, bool keepdim)
{
    const ag_real_kernels *k = ag_real_kernels_for("logsumexp", x);
    ag_tensor *y = k == NULL ? NULL : softmax_over(&ag_op_logsumexp, k->logsumexp, x, dim);
    return keepdim ? y : ag_squeeze(y, dim);
}
