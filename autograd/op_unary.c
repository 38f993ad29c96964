/* SPDX-License-Identifier: MIT
 *
 * op_unary.c - y = f(x), element by element. Each op is a line of tensor/kernels/unary.def.
 */
#include "autograd/op_impl.h"

#include <stddef.h>

/* y = f(x; p0, p1), recorded. `kernel` belongs to x's dtype. */
static ag_tensor *unary(const ag_op *op, ag_unary_kernel *kernel, ag_tensor *x, double p0, double p1)
{
    const double p[2] = { p0, p1 };
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty_as(dense);
    if (y == NULL)
        return NULL;
    kernel(ag_ctx_team(x->ctx), y->numel, p, ag_data(dense), y->storage->data);
    return ag_record(op, y, &x, 1, p, sizeof p, NULL);
}

/* gx from gy and from x or y, whichever the tape kept. */
static void unary_vjp(ag_vjp *v, ag_unary_vjp_kernel *kernel)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy), *kept = v->input[0] != NULL ? v->input[0] : v->output;
    kept = kept == NULL ? gy : ag_tensor_contiguous(kept); /* neither: the kernel reads gy alone */
    ag_tensor *gx = gy == NULL || kept == NULL ? NULL : ag_vjp_over(v, gy);
    if (gx == NULL)
        return;
    kernel(ag_ctx_team(v->ctx), gx->numel, v->attr, ag_data(kept), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

#define AG_UNARY(op, ...)                                                                                    \
    void ag_##op##_vjp(ag_vjp *v) { unary_vjp(v, ag_kernels(v->ctx, v->gy->dtype)->op##_vjp); }
#include "tensor/kernels/unary.def"

/* ag_<op> of x and the parameters that the op declares; p0 and p1 are what the kernel gets. */
#define UNARY_FUNCTION(op, p0, p1, ...)                                                                      \
    ag_tensor *ag_##op(__VA_ARGS__)                                                                          \
    {                                                                                                        \
        const ag_real_kernels *k = ag_real_kernels_for(#op, x);                                              \
        return k == NULL ? NULL : unary(&ag_op_##op, k->op, x, p0, p1);                                      \
    }
#define AG_UNARY(op, ...) UNARY_FUNCTION(op, 0, 0, ag_tensor *x)
#define AG_UNARY_WITH(...)
#define AG_UNARY_BY_HAND(...)
#include "tensor/kernels/unary.def"

UNARY_FUNCTION(scale, factor, 0, ag_tensor *x, double factor)
UNARY_FUNCTION(add_scalar, number, 0, ag_tensor *x, double number)
UNARY_FUNCTION(pow, p, 0, ag_tensor *x, double p)

ag_tensor *ag_clamp(ag_tensor *x, double low, double high)
{
    const ag_real_kernels *k = ag_real_kernels_for("clamp", x);
    if (k != NULL && !(low <= high))
        return ag_fail(x->ctx, AG_ERR_ARGUMENT, "clamp", "low is %s, high is %s", ag_number_text(x->ctx, low),
                       ag_number_text(x->ctx, high));
    return k == NULL ? NULL : unary(&ag_op_clamp, k->clamp, x, low, high);
}

/* ---- Activations at the end of a product: the tape keeps the slope f'(x) in place of x, and gx is gy times what is
 * kept, as of exp ---- */

#define AG_UNARY(...)
#define AG_ACTIVATION(op, ...)                                                                               \
    static const ag_op op##_by_slope = { .name = #op, .arity = 1, .keep = AG_KEEP_INPUT, .vjp = ag_exp_vjp };
#include "tensor/kernels/unary.def"

ag_epilogue ag_epilogue_of(ag_tensor *(*f)(ag_tensor *x), const ag_real_kernels *k)
{
    const struct { ag_tensor *(*f)(ag_tensor *x); ag_epilogue epilogue; } known[] = {
        { ag_relu, { k->relu_epilogue, &ag_op_relu } },
#define AG_UNARY(...)
#define AG_ACTIVATION(op, ...) { ag_##op, { k->op##_epilogue, &op##_by_slope } },
#include "tensor/kernels/unary.def"
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].f == f)
            return known[i].epilogue;
    return (ag_epilogue){ NULL, NULL };
}
