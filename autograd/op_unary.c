/* SPDX-License-Identifier: MIT
 *
 * op_unary.c - y = f(x), element by element. The kernels have the formulas (tensor/kernels/elementwise.inc); the tape
 * keeps what the derivative reads, x or y.
 */
#include "autograd/op_impl.h"

/* ---- Unary ---- */

/* y = f(x; p), recorded. `kernel` belongs to x's dtype. */
static ag_tensor *unary(const ag_op *op, ag_unary_kernel *kernel, ag_tensor *x, double p0, double p1)
{
    double p[2] = { p0, p1 };
    ag_tensor *dense = ag_tensor_contiguous(x);
    ag_tensor *y = dense == NULL ? NULL : ag_empty(x->ctx, x->dtype, x->ndim, x->shape);
    if (y == NULL)
        return NULL;
    kernel(ag_ctx_team(x->ctx), y->numel, p, ag_data(dense), y->storage->data);
    return ag_record(op, y, &x, 1, p, sizeof p, NULL);
}

/* gx = f'(x; p) gy from whichever of x and y the tape kept. */
static void unary_vjp(ag_vjp *v, ag_unary_vjp_kernel *kernel)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *x = v->input[0] == NULL ? NULL : ag_tensor_contiguous(v->input[0]);
    ag_tensor *gx = gy == NULL ? NULL : ag_vjp_over(v, gy);
    if (gx == NULL || (x == NULL && v->input[0] != NULL))
        return;
    kernel(ag_ctx_team(v->ctx), gx->numel, v->attr, x == NULL ? NULL : ag_data(x),
           v->output == NULL ? NULL : ag_data(v->output), ag_data(gy), gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

static const ag_real_kernels *kernels_of(const ag_vjp *v)
{
    return ag_kernels(v->ctx, v->gy->dtype);
}

static void neg_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_neg(v->gy));
}

const ag_op ag_op_neg = { "neg", 1, AG_KEEP_NONE, neg_vjp };

ag_tensor *ag_neg(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("neg", x);
    return k == NULL ? NULL : unary(&ag_op_neg, k->neg, x, 0, 0);
}

static void scale_vjp(ag_vjp *v)
{
    const double *p = v->attr;
    ag_vjp_add(v, 0, ag_scale(v->gy, p[0]));
}

const ag_op ag_op_scale = { "scale", 1, AG_KEEP_NONE, scale_vjp };

ag_tensor *ag_scale(ag_tensor *x, double factor)
{
    const ag_real_kernels *k = ag_real_kernels_for("scale", x);
    return k == NULL ? NULL : unary(&ag_op_scale, k->affine, x, factor, 0);
}

static void add_scalar_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
}

const ag_op ag_op_add_scalar = { "add_scalar", 1, AG_KEEP_NONE, add_scalar_vjp };

ag_tensor *ag_add_scalar(ag_tensor *x, double number)
{
    const ag_real_kernels *k = ag_real_kernels_for("add_scalar", x);
    return k == NULL ? NULL : unary(&ag_op_add_scalar, k->affine, x, 1, number);
}

static void exp_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->exp_vjp);
}

const ag_op ag_op_exp = { "exp", 1, AG_KEEP_OUTPUT, exp_vjp };

ag_tensor *ag_exp(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("exp", x);
    return k == NULL ? NULL : unary(&ag_op_exp, k->exp, x, 0, 0);
}

static void log_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->log_vjp);
}

const ag_op ag_op_log = { "log", 1, AG_KEEP_INPUT, log_vjp };

ag_tensor *ag_log(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("log", x);
    return k == NULL ? NULL : unary(&ag_op_log, k->log, x, 0, 0);
}

static void sqrt_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->sqrt_vjp);
}

const ag_op ag_op_sqrt = { "sqrt", 1, AG_KEEP_OUTPUT, sqrt_vjp };

ag_tensor *ag_sqrt(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("sqrt", x);
    return k == NULL ? NULL : unary(&ag_op_sqrt, k->sqrt, x, 0, 0);
}

static void tanh_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->tanh_vjp);
}

const ag_op ag_op_tanh = { "tanh", 1, AG_KEEP_OUTPUT, tanh_vjp };

ag_tensor *ag_tanh(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("tanh", x);
    return k == NULL ? NULL : unary(&ag_op_tanh, k->tanh, x, 0, 0);
}

static void sigmoid_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->sigmoid_vjp);
}

const ag_op ag_op_sigmoid = { "sigmoid", 1, AG_KEEP_OUTPUT, sigmoid_vjp };

ag_tensor *ag_sigmoid(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("sigmoid", x);
    return k == NULL ? NULL : unary(&ag_op_sigmoid, k->sigmoid, x, 0, 0);
}

static void relu_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->relu_vjp);
}

const ag_op ag_op_relu = { "relu", 1, AG_KEEP_OUTPUT, relu_vjp };

ag_tensor *ag_relu(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("relu", x);
    return k == NULL ? NULL : unary(&ag_op_relu, k->relu, x, 0, 0);
}

static void gelu_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->gelu_vjp);
}

const ag_op ag_op_gelu = { "gelu", 1, AG_KEEP_INPUT, gelu_vjp };

ag_tensor *ag_gelu(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("gelu", x);
    return k == NULL ? NULL : unary(&ag_op_gelu, k->gelu, x, 0, 0);
}

static void gelu_tanh_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->gelu_tanh_vjp);
}

const ag_op ag_op_gelu_tanh = { "gelu_tanh", 1, AG_KEEP_INPUT, gelu_tanh_vjp };

ag_tensor *ag_gelu_tanh(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("gelu_tanh", x);
    return k == NULL ? NULL : unary(&ag_op_gelu_tanh, k->gelu_tanh, x, 0, 0);
}

static void silu_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->silu_vjp);
}

const ag_op ag_op_silu = { "silu", 1, AG_KEEP_INPUT, silu_vjp };

ag_tensor *ag_silu(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("silu", x);
    return k == NULL ? NULL : unary(&ag_op_silu, k->silu, x, 0, 0);
}

static void pow_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->pow_vjp);
}

const ag_op ag_op_pow = { "pow", 1, AG_KEEP_INPUT, pow_vjp };

ag_tensor *ag_pow(ag_tensor *x, double p)
{
    const ag_real_kernels *k = ag_real_kernels_for("pow", x);
    return k == NULL ? NULL : unary(&ag_op_pow, k->pow, x, p, 0);
}

static void abs_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->abs_vjp);
}

const ag_op ag_op_abs = { "abs", 1, AG_KEEP_INPUT, abs_vjp };

ag_tensor *ag_abs(ag_tensor *x)
{
    const ag_real_kernels *k = ag_real_kernels_for("abs", x);
    return k == NULL ? NULL : unary(&ag_op_abs, k->abs, x, 0, 0);
}

static void clamp_vjp(ag_vjp *v)
{
    unary_vjp(v, kernels_of(v)->clamp_vjp);
}

const ag_op ag_op_clamp = { "clamp", 1, AG_KEEP_INPUT, clamp_vjp };

ag_tensor *ag_clamp(ag_tensor *x, double low, double high)
{
    const ag_real_kernels *k = ag_real_kernels_for("clamp", x);
    if (k == NULL)
        return NULL;
    if (!(low <= high))
        return ag_fail(x->ctx, AG_ERR_ARGUMENT, "clamp", "low is %g, high is %g", low, high);
    return unary(&ag_op_clamp, k->clamp, x, low, high);
}

/* ---- As the end of a product: of the input the slope is kept ---- */

static void slope_vjp(ag_vjp *v)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *gx = gy == NULL ? NULL : ag_vjp_over(v, gy);
    if (gx == NULL)
        return;
    kernels_of(v)->mul(ag_ctx_team(v->ctx), gx->numel, ag_data(gy), 1, ag_data(v->input[0]), 1, gx->storage->data);
    ag_vjp_add(v, 0, gx);
}

static const ag_op gelu_by_slope = { "gelu", 1, AG_KEEP_INPUT, slope_vjp };
static const ag_op gelu_tanh_by_slope = { "gelu_tanh", 1, AG_KEEP_INPUT, slope_vjp };
static const ag_op silu_by_slope = { "silu", 1, AG_KEEP_INPUT, slope_vjp };

ag_finish ag_finish_of(ag_tensor *(*f)(ag_tensor *x), const ag_real_kernels *k)
{
    if (f == ag_relu)
        return (ag_finish){ k->relu_finish, &ag_op_relu };
    if (f == ag_gelu)
        return (ag_finish){ k->gelu_finish, &gelu_by_slope };
    if (f == ag_gelu_tanh)
        return (ag_finish){ k->gelu_tanh_finish, &gelu_tanh_by_slope };
    if (f == ag_silu)
        return (ag_finish){ k->silu_finish, &silu_by_slope };
    return (ag_finish){ NULL, NULL };
}
