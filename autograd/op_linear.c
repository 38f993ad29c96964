/* SPDX-License-Identifier: MIT
 *
 * op_linear.c - y = x w^T + bias, alone and in lists, each with an activation and a residual that follow it.
 *
 * What follows may be the epilogue of the product. The tape is as if ops had run one after the other: a node for x w^T
 * + bias, whose values were never stored, and a node for what follows.
 */
#include "autograd/op_impl.h"

#include <string.h>

bool ag_run_gemm(ag_ctx *ctx, ag_dtype dtype, int count, const ag_gemm *list)
{
    const ag_real_kernels *k = ag_kernels(ctx, dtype);
    size_t bytes = k->gemm_scratch(ag_ctx_threads(ctx), count, list);
    void *scratch = ag_alloc(ctx, bytes);
    if (scratch == NULL)
        return false;
    k->gemm(ag_ctx_team(ctx), count, list, scratch);
    ag_free(ctx, scratch, bytes);
    return true;
}

/* ---- Backward ---- */

/* The gradients of a linear while they are computed. */
typedef struct linear_gradients {
    ag_tensor *gy, *x;     /* dense */
    ag_tensor *gw, *gbias; /* NULL: not wanted */
    int64_t rows;
} linear_gradients;

/* Appends gx = gy w to the list if gx is wanted. False on error. */
static bool linear_plan_gx(ag_vjp *v, linear_gradients *g, ag_gemm *list, int *count)
{
    const ag_tensor *w = v->input[1];
    const int64_t out = w->shape[0], in = w->shape[1];
    g->gy = ag_tensor_contiguous(v->gy);
    g->x = ag_tensor_contiguous(v->input[0]);
    if (g->gy == NULL || g->x == NULL)
        return false;
    g->rows = in > 0 ? g->x->numel / in : out > 0 ? g->gy->numel / out : 0;
    if (!ag_vjp_wants(v, 0))
        return true;
    bool add = false;
    ag_tensor *gx = ag_vjp_target(v, 0, &add);
    if (gx == NULL)
        return false;
    list[(*count)++] = (ag_gemm){ .m = g->rows, .n = in, .k = out, .batch = 1,
                                  .a = { .data = ag_data(g->gy), .row = out, .col = 1 },
                                  .b = { .data = ag_data(w), .row = w->stride[0], .col = w->stride[1] },
                                  .c = ag_data_mut(gx), .c_row = in, .accumulate = add };
    return true;
}

/* The same for gw = gy^T x, and gbias = column sums of gy. */
static bool linear_plan_gw(ag_vjp *v, linear_gradients *g, ag_gemm *list, int *count)
{
    const ag_tensor *w = v->input[1];
    const int64_t out = w->shape[0], in = w->shape[1];
    const bool has_bias = ag_vjp_wants(v, 2);
    g->gw = g->gbias = NULL;
    if (!ag_vjp_wants(v, 1)) {
        g->gbias = has_bias ? ag_sum_to_shape("linear", g->gy, 1, &out) : NULL;
        return !has_bias || g->gbias != NULL;
    }
    g->gw = ag_empty(v->ctx, w->dtype, 2, w->shape);
    g->gbias = has_bias ? ag_empty(v->ctx, w->dtype, 1, &out) : NULL;
    if (g->gw == NULL || (has_bias && g->gbias == NULL))
        return false;
    list[(*count)++] = (ag_gemm){ .m = out, .n = in, .k = g->rows, .batch = 1,
                                  .a = { .data = ag_data(g->gy), .row = 1, .col = out },
                                  .b = { .data = ag_data(g->x), .row = in, .col = 1 },
                                  .c = g->gw->storage->data, .c_row = in,
                                  .a_sums = has_bias ? g->gbias->storage->data : NULL };
    return true;
}

/* Linears side by side: queries, keys and values add to one gx. */
static void linear_vjp(ag_vjp *first)
{
    linear_gradients g[AG_LINEAR_LIST_MAX];
    ag_gemm list[2 * AG_LINEAR_LIST_MAX];
    int count = 0, n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next)
        if (!linear_plan_gx(v, &g[n++], list, &count))
            return;
    n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next)
        if (!linear_plan_gw(v, &g[n++], list, &count))
            return;
    if (count > 0 && !ag_run_gemm(first->ctx, first->gy->dtype, count, list))
        return;
    n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next, n++) {
        ag_vjp_add(v, 1, g[n].gw);
        ag_vjp_add(v, 2, g[n].gbias);
    }
}

const ag_op ag_op_linear = {
    "linear", -1, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, linear_vjp, .list = true, .work = ag_product_work
};

/* ---- Forward ---- */

static bool linear_check(const ag_tensor *like, const ag_linear_args *args)
{
    const ag_tensor *x = args->x, *w = args->w, *bias = args->bias;
    if (!ag_same_real("linear", x, w) || (bias != NULL && !ag_same_real("linear", x, bias)) ||
        !ag_same_real("linear", like, x))
        return false;
    ag_ctx *ctx = x->ctx;
    if (w->ndim != 2)
        ag_fail(ctx, AG_ERR_SHAPE, "linear", "the weight is %s, must be [out,in]", ag_shape_text(w));
    else if (x->ndim == 0 || x->shape[x->ndim - 1] != w->shape[1])
        ag_fail(ctx, AG_ERR_SHAPE, "linear", "x is %s, in_features is %lld", ag_shape_text(x), (long long)w->shape[1]);
    else if (bias != NULL && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
        ag_fail(ctx, AG_ERR_SHAPE, "linear", "the bias is %s, out_features is %lld", ag_shape_text(bias),
                (long long)w->shape[0]);
    else
        return true;
    return false;
}

static bool linear_check_residual(const ag_tensor *residual, const ag_tensor *y)
{
    if (residual == NULL || (ag_same_real("linear", residual, y) && ag_same_shape(residual, y)))
        return true;
    ag_fail(y->ctx, AG_ERR_SHAPE, "linear", "the residual is %s, x w^T + bias %s", ag_shape_text(residual),
            ag_shape_text(y)); /* kept only if the dtype was right: the first error stays */
    return false;
}

/* Makes y, and describes the product that fills it. NULL on error. */
static ag_tensor *linear_product(const ag_linear_args *args, ag_gemm *product)
{
    const ag_tensor *w = args->w;
    const int64_t out = w->shape[0], in = w->shape[1];
    int64_t shape[AG_MAX_DIMS];
    memcpy(shape, args->x->shape, sizeof shape);
    shape[args->x->ndim - 1] = out;
    ag_tensor *x = ag_tensor_contiguous(args->x), *bias = ag_tensor_contiguous(args->bias);
    ag_tensor *y = ag_empty(w->ctx, w->dtype, args->x->ndim, shape);
    if (x == NULL || y == NULL || (bias == NULL) != (args->bias == NULL) || !linear_check_residual(args->residual, y))
        return NULL;
    *product = (ag_gemm){ .m = ag_rows_of(y), .n = out, .k = in, .batch = 1,
                          .a = { .data = ag_data(x), .row = in, .col = 1 },
                          .b = { .data = ag_data(w), .row = w->stride[1], .col = w->stride[0] },
                          .c = y->storage->data, .c_row = out, .bias = bias == NULL ? NULL : ag_data(bias) };
    return y;
}

/* The epilogue of a linear, as an op: its activation or, without one, the addition of its residual. */
static ag_epilogue linear_epilogue(const ag_linear_args *args, const ag_real_kernels *kernels)
{
    if (args->activation != NULL)
        return ag_epilogue_of(args->activation, kernels);
    return args->residual == NULL ? (ag_epilogue){ NULL, NULL } : (ag_epilogue){ kernels->add_epilogue, &ag_op_add };
}

/* Gives the product its epilogue, if there is one. Returns the tensor that stands for x w^T + bias on the tape: a new
 * one that gets the slope of the activation, or y, which is recorded once more as the result. NULL on error. */
static ag_tensor *linear_add_epilogue(const ag_linear_args *args, ag_tensor *y, ag_gemm *product)
{
    const ag_epilogue epilogue = linear_epilogue(args, ag_kernels(y->ctx, y->dtype));
    product->epilogue = epilogue.kernel;
    if (epilogue.kernel == NULL)
        return y;
    if (args->activation == NULL) {
        ag_tensor *residual = ag_tensor_contiguous(args->residual);
        product->other = residual == NULL ? NULL : ag_address(residual, 0);
        return residual == NULL ? NULL : y;
    }
    if (!ag_recording(y->ctx) || (epilogue.op->keep & AG_KEEP_INPUT) == 0)
        return y;
    ag_tensor *slope = ag_empty(y->ctx, y->dtype, y->ndim, y->shape);
    product->other = slope == NULL ? NULL : slope->storage->data;
    return slope;
}

/* Checks a linear, which must have the dtype of `like`, makes y and describes the product that fills it. *before gets
 * the tensor that stands for x w^T + bias on the tape. */
static bool linear_plan(const ag_tensor *like, const ag_linear_args *args, ag_tensor **before, ag_tensor **y,
                        ag_gemm *product)
{
    *y = *before = NULL;
    if (like == NULL || args->x == NULL || args->w == NULL)
        return false;
    ag_scope_begin(like->ctx, args->module);
    const bool good = linear_check(like, args);
    ag_scope_end(like->ctx, NULL);
    if (good)
        *y = linear_product(args, product);
    if (*y != NULL)
        *before = ag_observed(like->ctx) ? *y : linear_add_epilogue(args, *y, product);
    return *before != NULL;
}

/* Records what the product did as the ops that it stands for, and runs those that it left out. */
static ag_tensor *linear_record(const ag_linear_args *args, ag_tensor *before, ag_tensor *y, const ag_gemm *product)
{
    const bool ended = product->epilogue != NULL;
    const ag_op *op = linear_epilogue(args, ag_kernels(y->ctx, y->dtype)).op;
    ag_tensor *const input[] = { args->x, args->w, args->bias }, *residual = args->residual;
    ag_scope_begin(y->ctx, args->module);
    before = ag_record(&ag_op_linear, before, input, args->bias == NULL ? 2 : 3, NULL, 0, NULL);
    before = ag_scope_end(y->ctx, before);
    if (before == NULL)
        return NULL;
    if (args->activation == NULL && residual != NULL && ended)
        return ag_record(op, y, (ag_tensor *[]){ residual, before }, 2, NULL, 0, NULL);
    if (args->activation != NULL)
        before = ended ? ag_record(op, y, &before, 1, NULL, 0, NULL) : args->activation(before);
    return residual == NULL ? before : ag_add(residual, before);
}

bool ag_linear_list(ag_ctx *ctx, int count, const ag_linear_args *args, ag_tensor **y)
{
    bool good = ctx != NULL && count >= 0 && count <= AG_LINEAR_LIST_MAX;
    if (ctx != NULL && !good)
        ag_fail(ctx, AG_ERR_ARGUMENT, "linear_list", "count is %d, must be in 0 .. %d", count, AG_LINEAR_LIST_MAX);
    if (good && count > 0)
        good = ag_check_given(ctx, "linear_list", "y", y) && ag_check_given(ctx, "linear_list", "args", args);
    const int step = good && ag_observed(ctx) ? 1 : count; /* an observer sees one linear after the other */
    ag_tensor *before[AG_LINEAR_LIST_MAX];
    ag_gemm list[AG_LINEAR_LIST_MAX];
    for (int first = 0; good && first < count; first += step) {
        for (int i = first; good && i < first + step; i++)
            good = linear_plan(args[0].x, &args[i], &before[i], &y[i], &list[i]);
        good = good && ag_run_gemm(ctx, args[0].x->dtype, step, list + first);
        for (int i = first; good && i < first + step; i++)
            good = (y[i] = linear_record(&args[i], before[i], y[i], &list[i])) != NULL;
    }
    for (int i = 0; i < count && !good && y != NULL; i++)
        y[i] = NULL;
    return good;
}

ag_tensor *ag_linear(ag_tensor *x, ag_tensor *w, ag_tensor *bias)
{
    const ag_linear_args args = { .x = x, .w = w, .bias = bias };
    ag_tensor *y = NULL;
    return x != NULL && ag_linear_list(x->ctx, 1, &args, &y) ? y : NULL;
}
