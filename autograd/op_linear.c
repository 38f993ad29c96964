/* SPDX-License-Identifier: MIT
 *
 * op_linear.c - y = x w^T + bias, alone and in lists, with what follows it: an activation, a residual to add.
 *
 * Where that is done as the end of the product, the tape is as if ops had run one after the other: a node for x w^T +
 * bias, whose values never stood in memory of their own, and one for what follows.
 */
#include "autograd/op_impl.h"

/* ---- Backward ---- */

/* A linear's gradients on their way. */
typedef struct linear_gradients {
    ag_tensor *gy, *x;     /* dense */
    ag_tensor *gw, *gbias; /* NULL: not wanted */
    int64_t rows;
} linear_gradients;

/* Adds gx = gy w to the list, where it is wanted. False on error. */
static bool plan_gx(ag_vjp *v, linear_gradients *g, ag_gemm *list, int *count)
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
    list[(*count)++] = (ag_gemm){ .m = g->rows, .n = in, .k = out, .a = ag_data(g->gy), .a_row = out, .a_col = 1,
                                  .b = ag_data(w), .b_row = w->stride[0], .b_col = w->stride[1],
                                  .c = ag_data_mut(gx), .c_row = in, .accumulate = add, .batch = 1 };
    return true;
}

/* The same for gw = gy^T x, and with it gbias = column sums of gy. */
static bool plan_gw(ag_vjp *v, linear_gradients *g, ag_gemm *list, int *count)
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
    list[(*count)++] = (ag_gemm){ .m = out, .n = in, .k = g->rows, .a = ag_data(g->gy), .a_row = 1, .a_col = out,
                                  .b = ag_data(g->x), .b_row = in, .b_col = 1,
                                  .c = g->gw->storage->data, .c_row = in, .batch = 1,
                                  .a_sums = has_bias ? g->gbias->storage->data : NULL };
    return true;
}

/* Of linears side by side: queries, keys and values add to one gx. */
static void linear_vjp(ag_vjp *first)
{
    linear_gradients g[AG_LINEAR_LIST_MAX];
    ag_gemm list[2 * AG_LINEAR_LIST_MAX];
    int count = 0, n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next)
        if (!plan_gx(v, &g[n++], list, &count))
            return;
    n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next)
        if (!plan_gw(v, &g[n++], list, &count))
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

static bool check_linear(const ag_linear_args *args)
{
    const ag_tensor *x = args->x, *w = args->w, *bias = args->bias;
    if (!ag_same_real("linear", x, w) || (bias != NULL && !ag_same_real("linear", x, bias)))
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

static bool check_residual(const ag_linear_args *args, const ag_tensor *y)
{
    const ag_tensor *residual = args->residual;
    if (residual == NULL)
        return true;
    if (!ag_same_real("linear", residual, y))
        return false;
    if (!ag_same_shape(residual, y))
        ag_fail(y->ctx, AG_ERR_SHAPE, "linear", "the residual is %s, x w^T + bias %s", ag_shape_text(residual),
                ag_shape_text(y));
    return ag_same_shape(residual, y);
}

/* One linear on its way. */
typedef struct linear {
    ag_gemm product;
    ag_tensor *y;        /* what the product writes */
    ag_tensor *recorded; /* what stands for x w^T + bias on the tape */
    ag_finish finish;    /* what the product does with it; kernel NULL: nothing */
} linear;

/* Makes y and says which product it is, still without finish. False on error. */
static bool plan_product(const ag_linear_args *args, linear *l)
{
    ag_tensor *x = args->x, *w = args->w, *bias = args->bias;
    int64_t shape[AG_MAX_DIMS], rows = 1, out = w->shape[0], in = w->shape[1];
    for (int d = 0; d < x->ndim - 1; d++) {
        shape[d] = x->shape[d];
        rows *= x->shape[d];
    }
    shape[x->ndim - 1] = out;
    ag_tensor *dense = ag_tensor_contiguous(x), *dense_bias = bias == NULL ? NULL : ag_tensor_contiguous(bias);
    ag_tensor *y = l->y = l->recorded = ag_empty(x->ctx, x->dtype, x->ndim, shape);
    if (dense == NULL || y == NULL || (bias != NULL && dense_bias == NULL))
        return false;
    l->product = (ag_gemm){ .m = rows, .n = out, .k = in, .a = ag_data(dense), .a_row = in, .a_col = 1,
                            .b = ag_data(w), .b_row = w->stride[1], .b_col = w->stride[0],
                            .c = y->storage->data, .c_row = out, .batch = 1,
                            .bias = bias == NULL ? NULL : ag_data(dense_bias) };
    return true;
}

/* Gives the product what can be done at its end: the activation or, without one, the residual. On the tape x w^T + bias
 * is then the tensor that gets the slope, or y itself, which is recorded once more as the result. */
static bool plan_finish(const ag_linear_args *args, linear *l)
{
    ag_ctx *ctx = l->y->ctx;
    ag_tensor *other = NULL;
    if (args->activation != NULL) {
        l->finish = ag_finish_of(args->activation, ag_kernels(ctx, l->y->dtype));
        if (l->finish.kernel != NULL && ag_recording(ctx) && (l->finish.op->keep & AG_KEEP_INPUT) != 0)
            other = l->recorded = ag_empty(ctx, l->y->dtype, l->y->ndim, l->y->shape);
    } else if (args->residual != NULL) {
        l->finish = (ag_finish){ ag_kernels(ctx, l->y->dtype)->add_finish, &ag_op_add };
        other = ag_tensor_contiguous(args->residual);
        if (other == NULL)
            return false;
    }
    l->product.finish = l->finish.kernel;
    l->product.other = other == NULL ? NULL : ag_address(other, 0);
    return l->recorded != NULL;
}

/* In the scope of the module, as far as there is one, an error and a node are that module's. */
static void enter(ag_ctx *ctx, const ag_linear_args *args)
{
    if (args->module != NULL)
        ag_scope_begin(ctx, args->module);
}

static ag_tensor *leave(ag_ctx *ctx, const ag_linear_args *args, ag_tensor *y)
{
    return args->module != NULL ? ag_scope_end(ctx, y) : y;
}

/* Records what the product has done, and does the rest. */
static ag_tensor *follow(const ag_linear_args *args, const linear *l)
{
    ag_ctx *ctx = l->y->ctx;
    ag_tensor *const input[] = { args->x, args->w, args->bias };
    enter(ctx, args);
    ag_tensor *y = ag_record(&ag_op_linear, l->recorded, input, args->bias == NULL ? 2 : 3, NULL, 0, NULL);
    y = leave(ctx, args, y);
    if (y == NULL)
        return NULL;
    const bool done = l->finish.kernel != NULL;
    if (args->activation != NULL)
        y = done ? ag_record(l->finish.op, l->y, &y, 1, NULL, 0, NULL) : args->activation(y);
    else if (done)
        return ag_record(l->finish.op, l->y, (ag_tensor *[]){ args->residual, y }, 2, NULL, 0, NULL);
    return args->residual == NULL ? y : ag_add(args->residual, y);
}

static bool run_linears(ag_ctx *ctx, int count, const ag_linear_args *args, bool finish, ag_tensor **y)
{
    linear l[AG_LINEAR_LIST_MAX];
    ag_gemm list[AG_LINEAR_LIST_MAX];
    for (int i = 0; i < count; i++) {
        l[i] = (linear){ .y = NULL };
        enter(ctx, &args[i]);
        bool good = check_linear(&args[i]) && ag_same_real("linear", args[0].x, args[i].x);
        leave(ctx, &args[i], NULL);
        if (!good || !plan_product(&args[i], &l[i]) || !check_residual(&args[i], l[i].y) ||
            (finish && !plan_finish(&args[i], &l[i])))
            return false;
        list[i] = l[i].product;
    }
    if (count > 0 && !ag_run_gemm(ctx, args[0].x->dtype, count, list))
        return false;
    for (int i = 0; i < count; i++) {
        y[i] = follow(&args[i], &l[i]);
        if (y[i] == NULL)
            return false;
    }
    return true;
}

bool ag_linear_list(ag_ctx *ctx, int count, const ag_linear_args *args, ag_tensor **y)
{
    bool good = ctx != NULL && count >= 0 && count <= AG_LINEAR_LIST_MAX;
    if (ctx != NULL && !good)
        ag_fail(ctx, AG_ERR_ARGUMENT, "linear_list", "count is %d, must be in 0 .. %d", count, AG_LINEAR_LIST_MAX);
    const bool observed = good && ag_observed(ctx); /* one after the other for an observer, who may take the time */
    const int each = observed ? 1 : count;
    for (int i = 0; i < count && good; i += each)
        good = run_linears(ctx, each, args + i, !observed, y + i);
    for (int i = 0; i < count && !good; i++)
        y[i] = NULL;
    return good;
}

ag_tensor *ag_linear(ag_tensor *x, ag_tensor *w, ag_tensor *bias)
{
    const ag_linear_args args = { .x = x, .w = w, .bias = bias };
    ag_tensor *y = NULL;
    return x != NULL && ag_linear_list(x->ctx, 1, &args, &y) ? y : NULL;
}
