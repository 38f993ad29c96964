/* SPDX-License-Identifier: MIT
 *
 * op_softmax.c - softmax, log_softmax and logsumexp over one dim. The kernels work on rows: another
 * dim is transposed to the end first.
 */
#include "autograd/op_impl.h"

/* x[..,N] as M rows of N. */
static int64_t row_count(const ag_tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++)
        rows *= x->shape[d];
    return rows;
}

static int64_t row_size(const ag_tensor *x)
{
    return x->shape[x->ndim - 1];
}

typedef ag_tensor *rows_op(ag_tensor *x);

/* The op over `dim`, done over the last dim. */
static ag_tensor *over_dim(const char *where, rows_op *op, ag_tensor *x, int dim)
{
    if (ag_real_kernels_for(where, x) == NULL)
        return NULL;
    int d = ag_checked_dim(x->ctx, where, x, dim, x->ndim);
    if (d < 0)
        return NULL;
    return d == x->ndim - 1 ? op(x) : ag_transpose(op(ag_transpose(x, d, -1)), d, -1);
}

static ag_tensor *rows(const ag_op *op, ag_rows_kernel *kernel, ag_tensor *x)
{
    ag_tensor *dense = ag_tensor_contiguous(x);
    ag_tensor *y = dense == NULL ? NULL : ag_empty(x->ctx, x->dtype, x->ndim, x->shape);
    if (y == NULL)
        return NULL;
    kernel(ag_ctx_team(x->ctx), row_count(x), row_size(x), ag_data(dense), y->storage->data);
    return ag_record(op, y, &x, 1, NULL, 0, NULL);
}

static void rows_vjp(ag_vjp *v, ag_rows_vjp_kernel *kernel)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *gx = gy == NULL ? NULL : ag_empty(v->ctx, gy->dtype, gy->ndim, gy->shape);
    if (gx == NULL)
        return;
    kernel(ag_ctx_team(v->ctx), row_count(gx), row_size(gx), ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

static void softmax_vjp(ag_vjp *v)
{
    rows_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->softmax_vjp);
}

const ag_op ag_op_softmax = { "softmax", 1, AG_KEEP_OUTPUT, softmax_vjp };

static ag_tensor *softmax_rows(ag_tensor *x)
{
    return x == NULL ? NULL : rows(&ag_op_softmax, ag_kernels(x->ctx, x->dtype)->softmax, x);
}

ag_tensor *ag_softmax(ag_tensor *x, int dim)
{
    return over_dim("softmax", softmax_rows, x, dim);
}

static void log_softmax_vjp(ag_vjp *v)
{
    rows_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->log_softmax_vjp);
}

const ag_op ag_op_log_softmax = { "log_softmax", 1, AG_KEEP_OUTPUT, log_softmax_vjp };

static ag_tensor *log_softmax_rows(ag_tensor *x)
{
    return x == NULL ? NULL : rows(&ag_op_log_softmax, ag_kernels(x->ctx, x->dtype)->log_softmax, x);
}

ag_tensor *ag_log_softmax(ag_tensor *x, int dim)
{
    return over_dim("log_softmax", log_softmax_rows, x, dim);
}

/* ---- logsumexp: keeps the dim at extent 1 ---- */

static void logsumexp_vjp(ag_vjp *v)
{
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *gx = x == NULL ? NULL : ag_empty(v->ctx, x->dtype, x->ndim, x->shape);
    if (gx == NULL || gy == NULL)
        return;
    ag_kernels(v->ctx, x->dtype)->logsumexp_vjp(ag_ctx_team(v->ctx), row_count(x), row_size(x), ag_data(x),
                                                ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

const ag_op ag_op_logsumexp = { "logsumexp", 1, AG_KEEP_INPUT | AG_KEEP_OUTPUT, logsumexp_vjp };

static ag_tensor *logsumexp_rows(ag_tensor *x)
{
    ag_tensor *dense = ag_tensor_contiguous(x);
    int64_t shape[AG_MAX_DIMS];
    if (dense == NULL)
        return NULL;
    int ndim = ag_reduced_shape(x, 1u << (x->ndim - 1), true, shape);
    ag_tensor *y = ag_empty(x->ctx, x->dtype, ndim, shape);
    if (y == NULL)
        return NULL;
    ag_kernels(x->ctx, x->dtype)->logsumexp(ag_ctx_team(x->ctx), row_count(x), row_size(x), ag_data(dense),
                                            y->storage->data);
    return ag_record(&ag_op_logsumexp, y, &x, 1, NULL, 0, NULL);
}

ag_tensor *ag_logsumexp(ag_tensor *x, int dim, bool keepdim)
{
    ag_tensor *y = over_dim("logsumexp", logsumexp_rows, x, dim);
    return keepdim ? y : ag_squeeze(y, dim);
}
