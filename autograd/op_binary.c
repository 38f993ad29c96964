/* SPDX-License-Identifier: MIT
 *
 * op_binary.c - broadcasting ops of two and three operands: those of tensor/kernels/binary.def, where, masked_fill.
 */
#include "autograd/op_impl.h"

#include <string.h>

/* The loop's present row of its tensor number i, which is t. */
static ag_operand binary_row(const ag_loop *loop, int i, const ag_tensor *t)
{
    return (ag_operand){ ag_address(t, loop->at[i]), loop->step[i] };
}

/* ---- The ops of binary.def ---- */

void ag_binary_into(ag_tensor *y, ag_binary_kernel *kernel, const ag_tensor *a, const ag_tensor *b)
{
    ag_loop loop;
    ag_loop_init(&loop, 3, (const ag_tensor *[]){ y, a, b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        kernel(ag_ctx_team(y->ctx), loop.n, binary_row(&loop, 1, a), binary_row(&loop, 2, b),
               ag_address(y, loop.at[0]));
}

/* y = f(a, b) in the broadcast shape, recorded. `kernel` belongs to their dtype. */
static ag_tensor *binary(const ag_op *op, ag_binary_kernel *kernel, ag_tensor *a, ag_tensor *b)
{
    int64_t shape[AG_MAX_DIMS];
    const int ndim = ag_broadcast_shape(a->ctx, op->name, a, b, shape);
    ag_tensor *y = ndim < 0 ? NULL : ag_empty(a->ctx, a->dtype, ndim, shape);
    if (y == NULL)
        return NULL;
    ag_binary_into(y, kernel, a, b);
    return ag_record(op, y, (ag_tensor *[]){ a, b }, 2, NULL, 0, NULL);
}

/* ga = gy df/da(a, b), in gy's shape. For gb swap a and b. */
static ag_tensor *binary_gradient(ag_binary_vjp_kernel *kernel, ag_tensor *a, ag_tensor *b, ag_tensor *gy)
{
    gy = ag_tensor_contiguous(gy);
    ag_tensor *ga = ag_empty_as(gy);
    if (ga == NULL)
        return NULL;
    ag_loop loop;
    ag_loop_init(&loop, 4, (const ag_tensor *[]){ ga, gy, a, b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        kernel(ag_ctx_team(gy->ctx), loop.n, binary_row(&loop, 2, a), binary_row(&loop, 3, b),
               ag_address(gy, loop.at[1]), ag_address(ga, loop.at[0]));
    return ga;
}

#define AG_BINARY(op, value, kept, ga, gb)                                                                   \
    void ag_##op##_vjp(ag_vjp *v)                                                                            \
    {                                                                                                        \
        const ag_real_kernels *k = ag_kernels(v->ctx, v->gy->dtype);                                         \
        ag_tensor *gy = v->gy, *a = v->input[0], *b = v->input[1], *y = v->output;                           \
        (void)k, (void)a, (void)b, (void)y;                                                                  \
        if (ag_vjp_wants(v, 0))                                                                              \
            ag_vjp_add(v, 0, ga);                                                                            \
        if (ag_vjp_wants(v, 1))                                                                              \
            ag_vjp_add(v, 1, gb);                                                                            \
    }                                                                                                        \
    ag_tensor *ag_##op(ag_tensor *a, ag_tensor *b)                                                           \
    {                                                                                                        \
        return ag_same_real(#op, a, b) ? binary(&ag_op_##op, ag_kernels(a->ctx, a->dtype)->op, a, b) : NULL; \
    }
#include "tensor/kernels/binary.def"

/* ---- where, masked_fill ---- */

void ag_where_vjp(ag_vjp *v)
{
    ag_tensor *cond = v->input[0], *zero = ag_zeros(v->ctx, v->gy->dtype, AG_SCALAR);
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, ag_where(cond, v->gy, zero));
    if (ag_vjp_wants(v, 2))
        ag_vjp_add(v, 2, ag_where(cond, zero, v->gy));
}

ag_tensor *ag_where(ag_tensor *cond, ag_tensor *a, ag_tensor *b)
{
    if (cond == NULL || !ag_same_real("where", a, b))
        return NULL;
    ag_ctx *ctx = a->ctx;
    if (cond->dtype != AG_I32)
        return ag_fail(ctx, AG_ERR_DTYPE, "where", "the condition %s is %s, must be int32", ag_shape_text(cond),
                       ag_dtype_name(cond->dtype));
    int64_t shape[AG_MAX_DIMS];
    int ndim = ag_broadcast_shape(ctx, "where", a, b, shape);
    ag_tensor *wide = ndim < 0 ? NULL : ag_tensor_expand(a, ndim, shape);
    ndim = wide == NULL ? -1 : ag_broadcast_shape(ctx, "where", cond, wide, shape);
    ag_tensor *y = ndim < 0 ? NULL : ag_empty(ctx, a->dtype, ndim, shape);
    if (y == NULL)
        return NULL;
    ag_loop loop;
    ag_loop_init(&loop, 4, (const ag_tensor *[]){ y, cond, a, b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        ag_kernels(ctx, a->dtype)->where(ag_ctx_team(ctx), loop.n, binary_row(&loop, 1, cond), binary_row(&loop, 2, a),
                                         binary_row(&loop, 3, b), ag_address(y, loop.at[0]));
    return ag_record(&ag_op_where, y, (ag_tensor *[]){ cond, a, b }, 3, NULL, 0, NULL);
}

ag_tensor *ag_masked_fill(ag_tensor *x, ag_tensor *mask, double value)
{
    if (mask == NULL || ag_real_kernels_for("masked_fill", x) == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    const int ndim = ag_broadcast_shape(x->ctx, "masked_fill", x, mask, shape);
    if (ndim < 0)
        return NULL;
    if (ndim != x->ndim || (ndim > 0 && memcmp(shape, x->shape, (size_t)ndim * sizeof *shape) != 0))
        return ag_fail(x->ctx, AG_ERR_SHAPE, "masked_fill", "the mask %s does not broadcast to x's shape %s",
                       ag_shape_text(mask), ag_shape_text(x));
    return ag_where(mask, ag_full(x->ctx, x->dtype, AG_SCALAR, value), x);
}
