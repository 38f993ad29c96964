/* SPDX-License-Identifier: MIT
 *
 * op_binary.c - broadcasting ops of two and three operands: arithmetic, maximum and minimum, where; and dropout.
 */
#include "autograd/op_impl.h"

#include <stddef.h>
#include <string.h>

/* t's view with the given shape, which it broadcasts to; t itself when it has that shape. */
static ag_tensor *broadcast(ag_tensor *t, int ndim, const int64_t *shape)
{
    if (t->ndim == ndim && (ndim == 0 || memcmp(t->shape, shape, (size_t)ndim * sizeof *shape) == 0))
        return t;
    return ag_tensor_expand(t, ndim, shape);
}

/* y = f(a, b) in the broadcast shape, not recorded. */
static ag_tensor *apply(const char *where, ag_binary_kernel *kernel, ag_tensor *a, ag_tensor *b)
{
    ag_ctx *ctx = a->ctx;
    int64_t shape[AG_MAX_DIMS];
    int ndim = ag_broadcast_shape(ctx, where, a, b, shape);
    if (ndim < 0)
        return NULL;
    ag_tensor *y = ag_empty(ctx, a->dtype, ndim, shape);
    a = broadcast(a, ndim, shape);
    b = broadcast(b, ndim, shape);
    if (y == NULL || a == NULL || b == NULL)
        return NULL;
    ag_loop loop;
    ag_loop_init(&loop, 3, (const ag_tensor *[]){ y, a, b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        kernel(ag_ctx_team(ctx), loop.n, ag_address(a, loop.at[1]), loop.step[1], ag_address(b, loop.at[2]),
               loop.step[2], ag_address(y, loop.at[0]));
    return y;
}

static ag_tensor *binary(const ag_op *op, ag_binary_kernel *kernel, ag_tensor *a, ag_tensor *b)
{
    return ag_record(op, apply(op->name, kernel, a, b), (ag_tensor *[]){ a, b }, 2, NULL, 0, NULL);
}

static void add_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
    ag_vjp_add(v, 1, v->gy);
}

const ag_op ag_op_add = { "add", 2, AG_KEEP_NONE, add_vjp };

ag_tensor *ag_add(ag_tensor *a, ag_tensor *b)
{
    return !ag_same_real("add", a, b) ? NULL : binary(&ag_op_add, ag_kernels(a->ctx, a->dtype)->add, a, b);
}

static void sub_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, ag_neg(v->gy));
}

const ag_op ag_op_sub = { "sub", 2, AG_KEEP_NONE, sub_vjp };

ag_tensor *ag_sub(ag_tensor *a, ag_tensor *b)
{
    return !ag_same_real("sub", a, b) ? NULL : binary(&ag_op_sub, ag_kernels(a->ctx, a->dtype)->sub, a, b);
}

static void mul_vjp(ag_vjp *v)
{
    if (ag_vjp_wants(v, 0))
        ag_vjp_add(v, 0, ag_mul(v->gy, v->input[1]));
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, ag_mul(v->gy, v->input[0]));
}

const ag_op ag_op_mul = { "mul", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, mul_vjp };

ag_tensor *ag_mul(ag_tensor *a, ag_tensor *b)
{
    return !ag_same_real("mul", a, b) ? NULL : binary(&ag_op_mul, ag_kernels(a->ctx, a->dtype)->mul, a, b);
}

static void div_vjp(ag_vjp *v)
{
    ag_tensor *ga = ag_div(v->gy, v->input[1]); /* gy / b */
    ag_vjp_add(v, 0, ga);
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, ag_neg(ag_mul(ga, v->output))); /* -gy y / b */
}

const ag_op ag_op_div = { "div", 2, AG_KEEP_INPUT << 1 | AG_KEEP_OUTPUT, div_vjp };

ag_tensor *ag_div(ag_tensor *a, ag_tensor *b)
{
    return !ag_same_real("div", a, b) ? NULL : binary(&ag_op_div, ag_kernels(a->ctx, a->dtype)->div, a, b);
}

/* ---- maximum, minimum ---- */

/* ga = gy df/da(a, b), in gy's shape. For gb swap a and b. */
static ag_tensor *pick_vjp(ag_binary_vjp_kernel *kernel, ag_tensor *a, ag_tensor *b, ag_tensor *gy)
{
    gy = ag_tensor_contiguous(gy);
    ag_tensor *ga = gy == NULL ? NULL : ag_empty(gy->ctx, gy->dtype, gy->ndim, gy->shape);
    if (ga == NULL)
        return NULL;
    a = broadcast(a, gy->ndim, gy->shape);
    b = broadcast(b, gy->ndim, gy->shape);
    if (a == NULL || b == NULL)
        return NULL;
    ag_loop loop;
    ag_loop_init(&loop, 4, (const ag_tensor *[]){ ga, gy, a, b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        kernel(ag_ctx_team(gy->ctx), loop.n, ag_address(a, loop.at[2]), loop.step[2], ag_address(b, loop.at[3]),
               loop.step[3], ag_address(gy, loop.at[1]), ag_address(ga, loop.at[0]));
    return ga;
}

static void pick_both_vjp(ag_vjp *v, ag_binary_vjp_kernel *kernel)
{
    ag_tensor *a = v->input[0], *b = v->input[1];
    if (ag_vjp_wants(v, 0))
        ag_vjp_add(v, 0, pick_vjp(kernel, a, b, v->gy));
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, pick_vjp(kernel, b, a, v->gy));
}

static void maximum_vjp(ag_vjp *v)
{
    pick_both_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->maximum_vjp);
}

const ag_op ag_op_maximum = { "maximum", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, maximum_vjp };

ag_tensor *ag_maximum(ag_tensor *a, ag_tensor *b)
{
    return !ag_same_real("maximum", a, b) ? NULL : binary(&ag_op_maximum, ag_kernels(a->ctx, a->dtype)->maximum, a, b);
}

static void minimum_vjp(ag_vjp *v)
{
    pick_both_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->minimum_vjp);
}

const ag_op ag_op_minimum = { "minimum", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, minimum_vjp };

ag_tensor *ag_minimum(ag_tensor *a, ag_tensor *b)
{
    return !ag_same_real("minimum", a, b) ? NULL : binary(&ag_op_minimum, ag_kernels(a->ctx, a->dtype)->minimum, a, b);
}

/* ---- where, masked_fill ---- */

static void where_vjp(ag_vjp *v)
{
    ag_tensor *cond = v->input[0], *zero = ag_zeros(v->ctx, v->gy->dtype, AG_SCALAR);
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, ag_where(cond, v->gy, zero));
    if (ag_vjp_wants(v, 2))
        ag_vjp_add(v, 2, ag_where(cond, zero, v->gy));
}

const ag_op ag_op_where = { "where", 3, AG_KEEP_INPUT << 0, where_vjp };

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
    if (ndim < 0)
        return NULL;
    ag_tensor *wide = ag_tensor_expand(a, ndim, shape);
    ndim = wide == NULL ? -1 : ag_broadcast_shape(ctx, "where", cond, wide, shape);
    if (ndim < 0)
        return NULL;
    ag_tensor *y = ag_empty(ctx, a->dtype, ndim, shape);
    ag_tensor *c = broadcast(cond, ndim, shape);
    ag_tensor *from_a = broadcast(a, ndim, shape), *from_b = broadcast(b, ndim, shape);
    if (y == NULL || c == NULL || from_a == NULL || from_b == NULL)
        return NULL;
    const ag_real_kernels *k = ag_kernels(ctx, a->dtype);
    ag_loop loop;
    ag_loop_init(&loop, 4, (const ag_tensor *[]){ y, c, from_a, from_b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        k->where(ag_ctx_team(ctx), loop.n, ag_address(c, loop.at[1]), loop.step[1], ag_address(from_a, loop.at[2]),
                 loop.step[2], ag_address(from_b, loop.at[3]), loop.step[3], ag_address(y, loop.at[0]));
    return ag_record(&ag_op_where, y, (ag_tensor *[]){ cond, a, b }, 3, NULL, 0, NULL);
}

ag_tensor *ag_masked_fill(ag_tensor *x, ag_tensor *mask, double value)
{
    if (mask == NULL || ag_real_kernels_for("masked_fill", x) == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    int ndim = ag_broadcast_shape(x->ctx, "masked_fill", x, mask, shape);
    if (ndim < 0)
        return NULL;
    if (ndim != x->ndim || (ndim > 0 && memcmp(shape, x->shape, (size_t)ndim * sizeof *shape) != 0))
        return ag_fail(x->ctx, AG_ERR_SHAPE, "masked_fill", "the mask %s does not broadcast to x's shape %s",
                       ag_shape_text(mask), ag_shape_text(x));
    return ag_where(mask, ag_full(x->ctx, x->dtype, AG_SCALAR, value), x);
}
