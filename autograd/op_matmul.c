/* SPDX-License-Identifier: MIT
 *
 * op_matmul.c - matmul: batches of products for the gemm kernel. A transpose is a pair of strides.
 */
#include "autograd/op_impl.h"

#include <string.h>

/* y[..,M,N] = a[..,M,K] b[..,K,N], all with y's batch dims (stride 0 where broadcast). The last batch dim is the batch
 * of the kernel; loops run over the others. */
static bool matmul_batched(ag_tensor *y, const ag_tensor *a, const ag_tensor *b)
{
    int n = y->ndim, batch_dims = n - 2;
    int last = batch_dims - 1;
    ag_gemm g = {
        .m = y->shape[n - 2], .n = y->shape[n - 1], .k = a->shape[n - 1],
        .a = { .row = a->stride[n - 2], .col = a->stride[n - 1], .batch = batch_dims > 0 ? a->stride[last] : 0 },
        .b = { .row = b->stride[n - 2], .col = b->stride[n - 1], .batch = batch_dims > 0 ? b->stride[last] : 0 },
        .c_row = y->shape[n - 1], .c_batch = batch_dims > 0 ? y->stride[last] : 0,
        .batch = batch_dims > 0 ? y->shape[last] : 1,
    };
    if (y->numel == 0)
        return true;
    int64_t products = y->numel / (g.m * g.n * g.batch);
    for (int64_t i = 0; i < products; i++) {
        int64_t at_a = 0, at_b = 0, at_y = 0, rest = i;
        for (int d = last - 1; d >= 0; d--) {
            int64_t index = rest % y->shape[d];
            rest /= y->shape[d];
            at_a += index * a->stride[d];
            at_b += index * b->stride[d];
            at_y += index * y->stride[d];
        }
        g.a.data = ag_address(a, at_a);
        g.b.data = ag_address(b, at_b);
        g.c = ag_address(y, at_y);
        if (!ag_run_gemm(y->ctx, y->dtype, 1, &g))
            return false;
    }
    return true;
}

/* a b for operands of at least two dims, not recorded. */
static ag_tensor *matmul_unrecorded(ag_tensor *a, ag_tensor *b)
{
    if (a == NULL || b == NULL)
        return NULL;
    ag_ctx *ctx = a->ctx;
    int64_t m = a->shape[a->ndim - 2], k = a->shape[a->ndim - 1], n = b->shape[b->ndim - 1];
    if (b->shape[b->ndim - 2] != k)
        return ag_fail(ctx, AG_ERR_SHAPE, "matmul", "%s x %s: inner sizes %lld and %lld differ", ag_shape_text(a),
                       ag_shape_text(b), (long long)k, (long long)b->shape[b->ndim - 2]);
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t a_shape[AG_MAX_DIMS], b_shape[AG_MAX_DIMS], shape[AG_MAX_DIMS];
    for (int d = 0; d < ndim - 2; d++) {
        int da = d - (ndim - a->ndim), db = d - (ndim - b->ndim);
        int64_t ea = da < 0 ? 1 : a->shape[da], eb = db < 0 ? 1 : b->shape[db];
        if (ea != eb && ea != 1 && eb != 1)
            return ag_fail(ctx, AG_ERR_SHAPE, "matmul", "%s x %s: leading dims %lld and %lld do not broadcast",
                           ag_shape_text(a), ag_shape_text(b), (long long)ea, (long long)eb);
        a_shape[d] = b_shape[d] = shape[d] = ea == 1 ? eb : ea;
    }
    a_shape[ndim - 2] = shape[ndim - 2] = m;
    b_shape[ndim - 1] = shape[ndim - 1] = n;
    a_shape[ndim - 1] = b_shape[ndim - 2] = k;
    a = ag_tensor_expand(a, ndim, a_shape);
    b = ag_tensor_expand(b, ndim, b_shape);
    ag_tensor *y = ag_empty(ctx, a == NULL ? AG_F32 : a->dtype, ndim, shape);
    return a != NULL && b != NULL && y != NULL && matmul_batched(y, a, b) ? y : NULL;
}

static void matmul_vjp(ag_vjp *v)
{
    if (ag_vjp_wants(v, 0))
        ag_vjp_add(v, 0, matmul_unrecorded(v->gy, ag_tensor_transpose(v->input[1], -2, -1)));
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, matmul_unrecorded(ag_tensor_transpose(v->input[0], -2, -1), v->gy));
}

double ag_product_work(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted)
{
    (void)count, (void)attr;
    double work = (double)(y->numel * ag_dim(input[0], -1));
    return wanted == 0 ? work : work * (double)((wanted & 1) + (wanted >> 1 & 1));
}

const ag_op ag_op_matmul = {
    "matmul", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, matmul_vjp, .work = ag_product_work
};

/* a[..,M,K] b[K,N] as one product of all rows of a, so that the gradient of b is one product too. */
static ag_tensor *matmul_shared_b(ag_tensor *a, ag_tensor *b)
{
    int64_t shape[AG_MAX_DIMS];
    memcpy(shape, a->shape, (size_t)a->ndim * sizeof *shape);
    shape[a->ndim - 1] = b->shape[1];
    ag_tensor *rows = ag_reshape(a, AG_SHAPE(a->numel / a->shape[a->ndim - 1], a->shape[a->ndim - 1]));
    return ag_reshape(ag_matmul(rows, b), a->ndim, shape);
}

ag_tensor *ag_matmul(ag_tensor *a, ag_tensor *b)
{
    if (!ag_same_real("matmul", a, b))
        return NULL;
    if (a->ndim == 0 || b->ndim == 0)
        return ag_fail(a->ctx, AG_ERR_SHAPE, "matmul", "%s x %s: a scalar is no matrix; see ag_mul", ag_shape_text(a),
                       ag_shape_text(b));
    if (a->ndim == 1 && b->ndim == 1)
        return ag_squeeze(ag_squeeze(ag_matmul(ag_unsqueeze(a, 0), ag_unsqueeze(b, 1)), 1), 0);
    if (a->ndim == 1)
        return ag_squeeze(ag_matmul(ag_unsqueeze(a, 0), b), -2);
    if (b->ndim == 1)
        return ag_squeeze(ag_matmul(a, ag_unsqueeze(b, 1)), -1);
    if (a->ndim > 2 && b->ndim == 2 && a->numel > 0 && ag_is_contiguous(a) && a->shape[a->ndim - 1] == b->shape[0])
        return matmul_shared_b(a, b);
    return ag_record(&ag_op_matmul, matmul_unrecorded(a, b), (ag_tensor *[]){ a, b }, 2, NULL, 0, NULL);
}
