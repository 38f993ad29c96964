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

typedef struct linear_gradients {
    ag_tensor *gw, *gbias; /* NULL: not wanted */
} linear_gradients;

/* Appends the products that are wanted: gx = gy w; gw = gy^T x, with gbias = column sums of gy. False on error. */
static bool linear_plan_vjp(ag_vjp *v, linear_gradients *g, ag_gemm *list, int *count)
{
    ag_tensor *w = v->input[1], *gy = ag_tensor_contiguous(v->gy), *x = ag_tensor_contiguous(v->input[0]);
    if (gy == NULL || x == NULL)
        return false;
    const int64_t out = w->shape[0], in = w->shape[1], rows = ag_rows_of(x);
    bool add = false;
    ag_tensor *gx = ag_vjp_target(v, 0, &add);
    g->gw = ag_vjp_wants(v, 1) ? ag_empty_as(w) : NULL;
    g->gbias = NULL;
    if (ag_vjp_wants(v, 2))
        g->gbias = g->gw == NULL ? ag_sum_to_shape("linear", gy, 1, &out) : ag_empty(v->ctx, w->dtype, 1, &out);
    if (ag_error(v->ctx) != AG_OK)
        return false;
    if (gx != NULL)
        list[(*count)++] = (ag_gemm){ .m = rows, .n = in, .k = out, .batch = 1,
                                      .a = { .data = ag_data(gy), .row = out, .col = 1 },
                                      .b = { .data = ag_data(w), .row = w->stride[0], .col = w->stride[1] },
                                      .c = ag_data_mut(gx), .c_row = in, .accumulate = add };
    if (g->gw != NULL)
        list[(*count)++] = (ag_gemm){ .m = out, .n = in, .k = rows, .batch = 1,
                                      .a = { .data = ag_data(gy), .row = 1, .col = out },
                                      .b = { .data = ag_data(x), .row = in, .col = 1 },
                                      .c = g->gw->storage->data, .c_row = in,
                                      .a_sums = ag_data_mut(g->gbias) };
    return true;
}

/* Linears side by side: queries, keys and values add to one gx. */
void ag_linear_vjp(ag_vjp *first)
{
    linear_gradients g[AG_LINEAR_LIST_MAX];
    ag_gemm list[2 * AG_LINEAR_LIST_MAX];
    int count = 0, n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next)
        if (!linear_plan_vjp(v, &g[n++], list, &count))
            return;
    if (count > 0 && !ag_run_gemm(first->ctx, first->gy->dtype, count, list))
        return;
    n = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next, n++) {
        ag_vjp_add(v, 1, g[n].gw);
        ag_vjp_add(v, 2, g[n].gbias);
    }
}

/* ---- Forward ---- */

/* One linear of a list. */
typedef struct linear_run {
    const ag_linear_args *args;
    ag_gemm *product;
    ag_tensor *y, *before; /* the result; what stands for x w^T + bias on the tape */
    ag_epilogue epilogue;  /* of the product: the activation or, without one, the addition of the residual */
} linear_run;

static bool linear_check(const ag_tensor *like, const ag_linear_args *args)
{
    const ag_tensor *x = args->x, *w = args->w, *bias = args->bias;
    if (!ag_same_real("linear", x, w) || (bias != NULL && !ag_same_real("linear", x, bias)) ||
        !ag_same_real("linear", like, x))
        return false;
    ag_ctx *ctx = x->ctx;
    if (!ag_check_home(like->ctx, "linear", x) || !ag_check_home(ctx, "linear", w) ||
        !ag_check_home(ctx, "linear", bias))
        return false;
    if (w->ndim != 2)
        return ag_fail(ctx, AG_ERR_SHAPE, "linear", "the weight is %s, must be [out,in]", ag_shape_text(w));
    if (x->ndim == 0 || x->shape[x->ndim - 1] != w->shape[1])
        return ag_fail(ctx, AG_ERR_SHAPE, "linear", "x is %s, in_features is %lld", ag_shape_text(x),
                       (long long)w->shape[1]);
    if (bias != NULL && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
        return ag_fail(ctx, AG_ERR_SHAPE, "linear", "the bias is %s, out_features is %lld", ag_shape_text(bias),
                       (long long)w->shape[0]);
    return true;
}

/* Makes y, and describes the product that fills it. */
static bool linear_plan_product(linear_run *l)
{
    const ag_linear_args *args = l->args;
    ag_tensor *w = args->w, *residual = args->residual;
    const int64_t out = w->shape[0], in = w->shape[1];
    int64_t shape[AG_MAX_DIMS];
    memcpy(shape, args->x->shape, sizeof shape);
    shape[args->x->ndim - 1] = out;
    ag_tensor *x = ag_tensor_contiguous(args->x), *bias = ag_tensor_contiguous(args->bias);
    ag_tensor *y = ag_empty(w->ctx, w->dtype, args->x->ndim, shape);
    if (x == NULL || y == NULL || (bias == NULL) != (args->bias == NULL) ||
        (residual != NULL && !ag_same_real("linear", residual, y)))
        return false;
    if (residual != NULL && !ag_same_shape(residual, y))
        return ag_fail(y->ctx, AG_ERR_SHAPE, "linear", "the residual is %s, x w^T + bias %s", ag_shape_text(residual),
                       ag_shape_text(y));
    l->y = l->before = y;
    *l->product = (ag_gemm){ .m = ag_rows_of(y), .n = out, .k = in, .batch = 1,
                             .a = { .data = ag_data(x), .row = in, .col = 1 },
                             .b = { .data = ag_data(w), .row = w->stride[1], .col = w->stride[0] },
                             .c = y->storage->data, .c_row = out, .bias = ag_data(bias) };
    return true;
}

/* Gives the product its epilogue, if there is one. For an activation that keeps its input `before` is the slope, which
 * the epilogue writes. Otherwise `before` is y, which is recorded once more as the result. */
static bool linear_plan_epilogue(linear_run *l)
{
    const ag_real_kernels *k = ag_kernels(l->y->ctx, l->y->dtype);
    ag_tensor *other = NULL;
    if (l->args->activation != NULL) {
        l->epilogue = ag_epilogue_of(l->args->activation, k);
        if (l->epilogue.kernel != NULL && ag_recording(l->y->ctx) && (l->epilogue.op->keep & AG_KEEP_INPUT) != 0)
            l->before = other = ag_empty_as(l->y);
    } else if (l->args->residual != NULL) {
        l->epilogue = (ag_epilogue){ k->add_epilogue, &ag_op_add };
        if ((other = ag_tensor_contiguous(l->args->residual)) == NULL)
            return false;
    }
    l->product->epilogue = l->epilogue.kernel;
    l->product->other = other == NULL ? NULL : ag_address(other, 0);
    return l->before != NULL;
}

/* linear_check's error once more, with the module's path: in a scope which only an error is worth. */
static void linear_name_error(ag_ctx *ctx, const ag_tensor *like, const ag_linear_args *args)
{
    ag_error_clear(ctx);
    ag_scope_begin(ctx, args->module);
    linear_check(like, args);
    ag_scope_end(ctx, NULL);
}

/* Checks a linear, which must have the dtype of `like`, and prepares its product. */
static bool linear_plan(const ag_tensor *like, linear_run *l)
{
    if (like == NULL || l->args->x == NULL || l->args->w == NULL)
        return false;
    const bool none_before = ag_error(like->ctx) == AG_OK, good = linear_check(like, l->args);
    if (!good && none_before)
        linear_name_error(like->ctx, like, l->args);
    return good && linear_plan_product(l) && (ag_observed(like->ctx) || linear_plan_epilogue(l));
}

/* Records what the product did as the ops that it stands for, and runs those that it left out. Returns the result. */
static ag_tensor *linear_record(const linear_run *l)
{
    const ag_linear_args *args = l->args;
    ag_tensor *const input[] = { args->x, args->w, args->bias }, *residual = args->residual, *y = l->y;
    ag_tensor *before = l->before;
    if (ag_recording(y->ctx)) {
        ag_scope_begin(y->ctx, args->module);
        before = ag_record(&ag_op_linear, before, input, args->bias == NULL ? 2 : 3, NULL, 0, NULL);
        before = ag_scope_end(y->ctx, before);
    }
    if (before == NULL)
        return NULL;
    const bool ended = l->epilogue.kernel != NULL;
    if (args->activation == NULL && ended)
        return ag_record(l->epilogue.op, y, (ag_tensor *[]){ residual, before }, 2, NULL, 0, NULL);
    static const double none[2] = { 0, 0 }; /* every element-wise kernel is handed two numbers */
    if (args->activation != NULL)
        before = ended ? ag_record(l->epilogue.op, y, &before, 1, none, sizeof none, NULL) : args->activation(before);
    return residual == NULL ? before : ag_add(residual, before);
}

bool ag_linear_list(ag_ctx *ctx, int count, const ag_linear_args *args, ag_tensor **y)
{
    bool good = ctx != NULL;
    if (good && (count < 0 || count > AG_LINEAR_LIST_MAX))
        good = ag_fail(ctx, AG_ERR_ARGUMENT, "linear_list", "count is %d, must be in 0 .. %d", count,
                       AG_LINEAR_LIST_MAX);
    if (good && count > 0)
        good = ag_check_given(ctx, "linear_list", "y", y) && ag_check_given(ctx, "linear_list", "args", args);
    const int step = good && ag_observed(ctx) ? 1 : count; /* an observer sees one linear after the other */
    linear_run run[AG_LINEAR_LIST_MAX];
    ag_gemm list[AG_LINEAR_LIST_MAX];
    for (int first = 0; good && first < count; first += step) {
        for (int i = first; good && i < first + step; i++) {
            run[i] = (linear_run){ .args = &args[i], .product = &list[i] };
            good = linear_plan(args[0].x, &run[i]);
        }
        good = good && ag_run_gemm(ctx, args[0].x->dtype, step, list + first);
        for (int i = first; good && i < first + step; i++)
            good = (y[i] = linear_record(&run[i])) != NULL;
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
