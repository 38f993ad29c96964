/* SPDX-License-Identifier: MIT
 *
 * op_matmul.c - matmul: batches of products for the gemm kernel. A transpose is a pair of strides.
 */
#include "autograd/op_impl.h"

#include <string.h>

/* t[..,M,N] without its last two dims. */
static ag_tensor *matmul_leading(ag_tensor *t)
{
    return t == NULL ? NULL : ag_view_new(t, t->ndim - 2, t->shape, t->stride, t->offset);
}

/* a[..,M,K] b[..,K,N], not recorded. */
static ag_tensor *matmul_unrecorded(ag_tensor *a, ag_tensor *b)
{
    ag_tensor *lead_a = matmul_leading(a), *lead_b = matmul_leading(b);
    if (lead_a == NULL || lead_b == NULL)
        return NULL;
    ag_ctx *ctx = a->ctx;
    const int64_t m = ag_dim(a, -2), k = ag_dim(a, -1), n = ag_dim(b, -1);
    if (ag_dim(b, -2) != k)
        return ag_fail(ctx, AG_ERR_SHAPE, "matmul", "%s x %s: inner sizes %lld and %lld differ", ag_shape_text(a),
                       ag_shape_text(b), (long long)k, (long long)ag_dim(b, -2));
    for (int d = 1; d <= lead_a->ndim && d <= lead_b->ndim; d++) {
        const int64_t of_a = ag_dim(lead_a, -d), of_b = ag_dim(lead_b, -d);
        if (of_a != of_b && of_a != 1 && of_b != 1)
            return ag_fail(ctx, AG_ERR_SHAPE, "matmul", "%s x %s: leading dims %lld and %lld do not broadcast",
                           ag_shape_text(a), ag_shape_text(b), (long long)of_a, (long long)of_b);
    }
    int64_t shape[AG_MAX_DIMS];
    const int ndim = ag_broadcast_shape(ctx, "matmul", lead_a, lead_b, shape);
    shape[ndim] = m;
    shape[ndim + 1] = n;
    ag_tensor *y = ag_empty(ctx, a->dtype, ndim + 2, shape), *lead_y = matmul_leading(y);
    if (lead_y == NULL || y->numel == 0)
        return lead_y == NULL ? NULL : y;
    const int64_t *to_a = &a->stride[a->ndim - 2], *to_b = &b->stride[b->ndim - 2];
    ag_loop loop; /* a row is a batch of products */
    ag_loop_init(&loop, 3, (const ag_tensor *[]){ lead_y, lead_a, lead_b });
    for (; loop.row < loop.rows; ag_loop_next(&loop)) {
        const ag_gemm g = {
            .m = m, .n = n, .k = k, .batch = loop.n,
            .a = { .data = ag_address(a, loop.at[1]), .row = to_a[0], .col = to_a[1], .batch = loop.step[1] },
            .b = { .data = ag_address(b, loop.at[2]), .row = to_b[0], .col = to_b[1], .batch = loop.step[2] },
            .c = ag_address(y, loop.at[0]), .c_row = n, .c_batch = loop.step[0],
        };
        if (!ag_run_gemm(ctx, y->dtype, 1, &g))
            return NULL;
    }
    return y;
}

void ag_matmul_vjp(ag_vjp *v)
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
    const int64_t k = ag_dim(a, -1);
    if (a->ndim > 2 && b->ndim == 2 && a->numel > 0 && ag_is_contiguous(a) && k == b->shape[0]) {
        int64_t shape[AG_MAX_DIMS]; /* one product of all rows of a, so that the gradient of b is one product too */
        memcpy(shape, a->shape, sizeof shape);
        shape[a->ndim - 1] = b->shape[1];
        return ag_reshape(ag_matmul(ag_reshape(a, AG_SHAPE(a->numel / k, k)), b), a->ndim, shape);
    }
    return ag_record(&ag_op_matmul, matmul_unrecorded(a, b), (ag_tensor *[]){ a, b }, 2, NULL, 0, NULL);
}
