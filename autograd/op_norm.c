/* SPDX-License-Identifier: MIT
 *
 * op_norm.c - layer_norm and rms_norm over the last dim of x, which counts as M rows of N elements.
 */
#include "autograd/op_impl.h"

#include <math.h>

/* The sizes, and where the statistics stand that forward saves for backward: [2,M] is mean and rstd, [1,M] rstd; NULL:
 * none are saved. */
static ag_norm_args norm_args(const ag_tensor *x, const ag_tensor *saved)
{
    ag_norm_args n = { .M = ag_rows_of(x), .N = x->shape[x->ndim - 1] };
    if (saved != NULL && saved->shape[0] == 2)
        n.mean = ag_address(saved, 0);
    if (saved != NULL)
        n.rstd = ag_address(saved, (saved->shape[0] - 1) * n.M);
    return n;
}

/* Whether w or b is NULL or [N]; false with the error recorded. */
static bool norm_check_parameter(const char *where, const ag_tensor *x, const ag_tensor *parameter, const char *name)
{
    if (parameter == NULL || !ag_same_real(where, x, parameter))
        return parameter == NULL;
    return (parameter->ndim == 1 && parameter->shape[0] == x->shape[x->ndim - 1]) ||
           ag_fail(x->ctx, AG_ERR_SHAPE, where, "x is %s, the %s %s", ag_shape_text(x), name, ag_shape_text(parameter));
}

/* input: x, w, b; x is real. */
static ag_tensor *norm(const ag_op *op, ag_norm_kernel *kernel, ag_tensor *const *input, double eps)
{
    ag_tensor *x = input[0];
    ag_ctx *ctx = x->ctx;
    if (x->ndim == 0)
        return ag_fail(ctx, AG_ERR_SHAPE, op->name, "x is a scalar, must have a dim to normalise over");
    if (!(eps >= 0 && isfinite(eps)))
        return ag_fail(ctx, AG_ERR_ARGUMENT, op->name, "eps is %s, must be finite and not negative",
                       ag_number_text(ctx, eps));
    if (!norm_check_parameter(op->name, x, input[1], "weight") || !norm_check_parameter(op->name, x, input[2], "bias"))
        return NULL;
    const int64_t statistics = op == &ag_op_layer_norm ? 2 : 1;
    ag_tensor *w = ag_tensor_contiguous(input[1]), *b = ag_tensor_contiguous(input[2]);
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty_as(dense);
    const bool saves = ag_recording(ctx);
    ag_tensor *saved = saves ? ag_empty(ctx, x->dtype, AG_SHAPE(statistics, ag_rows_of(x))) : NULL;
    if (y == NULL || (saves && saved == NULL) || (w == NULL) != (input[1] == NULL) ||
        (b == NULL) != (input[2] == NULL))
        return NULL;
    ag_norm_args n = norm_args(x, saved);
    n.eps = eps;
    n.x = ag_data(dense);
    n.w = ag_data(w);
    n.b = ag_data(b);
    n.y = y->storage->data;
    kernel(ag_ctx_team(ctx), &n);
    return ag_record(op, y, input, op->arity, NULL, 0, saved);
}

static void norm_vjp(ag_vjp *v, ag_norm_kernel *kernel)
{
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *w = ag_tensor_contiguous(v->input[1]);
    if (ag_error(v->ctx) != AG_OK)
        return;
    ag_norm_args n = norm_args(x, v->extra);
    n.x = ag_data(x);
    n.w = ag_data(w);
    n.dy = ag_data(gy);
    ag_tensor *gx = ag_vjp_target(v, 0, &n.add); /* where x is a residual, its gradient has a part already */
    ag_tensor *gw = ag_vjp_wants(v, 1) ? ag_empty(v->ctx, x->dtype, 1, &n.N) : NULL;
    ag_tensor *gb = ag_vjp_wants(v, 2) ? ag_empty(v->ctx, x->dtype, 1, &n.N) : NULL;
    const size_t bytes = ag_kernels(v->ctx, x->dtype)->norm_vjp_scratch(n.M, n.N);
    n.scratch = ag_alloc(v->ctx, bytes);
    if (ag_error(v->ctx) == AG_OK) {
        n.dx = ag_data_mut(gx);
        n.dw = ag_data_mut(gw);
        n.db = ag_data_mut(gb);
        kernel(ag_ctx_team(v->ctx), &n);
        ag_vjp_add(v, 1, gw);
        ag_vjp_add(v, 2, gb);
    }
    ag_free(v->ctx, n.scratch, bytes);
}

void ag_layer_norm_vjp(ag_vjp *v) { norm_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->layer_norm_vjp); }
void ag_rms_norm_vjp(ag_vjp *v) { norm_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->rms_norm_vjp); }

ag_tensor *ag_layer_norm(ag_tensor *x, ag_tensor *w, ag_tensor *b, double eps)
{
    const ag_real_kernels *k = ag_real_kernels_for("layer_norm", x);
    return k == NULL ? NULL : norm(&ag_op_layer_norm, k->layer_norm, (ag_tensor *[]){ x, w, b }, eps);
}

ag_tensor *ag_rms_norm(ag_tensor *x, ag_tensor *w, double eps)
{
    const ag_real_kernels *k = ag_real_kernels_for("rms_norm", x);
    return k == NULL ? NULL : norm(&ag_op_rms_norm, k->rms_norm, (ag_tensor *[]){ x, w, NULL }, eps);
}
