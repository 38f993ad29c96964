/* SPDX-License-Identifier: MIT
 *
 * op_matmul.c - matmul and linear. One kernel (gemm) does all: a transpose is a pair of strides.
 */
#include "autograd/op_impl.h"

#include <string.h>

static const char *element(const ag_tensor *t, int64_t offset)
{
    return (const char *)t->storage->data + (size_t)(t->offset + offset) * ag_dtype_size(t->dtype);
}

/* Runs the products of a list with scratch memory from the context; false when there is none. */
static bool run_gemm(ag_ctx *ctx, ag_dtype dtype, int count, const ag_gemm *list)
{
    const ag_real_kernels *k = ag_kernels(ctx, dtype);
    size_t bytes = k->gemm_scratch(ag_ctx_threads(ctx), count, list);
    void *scratch = ag_alloc(ctx, bytes);
    if (scratch == NULL)
        return false;
    k->gemm(ag_ctx_threads(ctx), count, list, scratch);
    ag_free(ctx, scratch, bytes);
    return true;
}

/* ---- matmul ---- */

/* y[..,M,N] = a[..,M,K] b[..,K,N] for operands of y's batch dims (strides 0 where broadcast). The last batch dim is
 * the kernel's batch, the others are looped over. */
static bool batched_gemm(ag_tensor *y, const ag_tensor *a, const ag_tensor *b)
{
    int n = y->ndim, batch_dims = n - 2;
    int last = batch_dims - 1;
    ag_gemm g = {
        .m = y->shape[n - 2], .n = y->shape[n - 1], .k = a->shape[n - 1],
        .a_row = a->stride[n - 2], .a_col = a->stride[n - 1],
        .b_row = b->stride[n - 2], .b_col = b->stride[n - 1],
        .c_row = y->shape[n - 1],
        .batch = batch_dims > 0 ? y->shape[last] : 1,
        .a_batch = batch_dims > 0 ? a->stride[last] : 0,
        .b_batch = batch_dims > 0 ? b->stride[last] : 0,
        .c_batch = batch_dims > 0 ? y->stride[last] : 0,
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
        g.a = element(a, at_a);
        g.b = element(b, at_b);
        g.c = (char *)y->storage->data + (size_t)at_y * ag_dtype_size(y->dtype);
        if (!run_gemm(y->ctx, y->dtype, 1, &g))
            return false;
    }
    return true;
}

/* The product of operands of at least two dims, not recorded. */
static ag_tensor *product(ag_tensor *a, ag_tensor *b)
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
    return a != NULL && b != NULL && y != NULL && batched_gemm(y, a, b) ? y : NULL;
}

static void matmul_vjp(ag_vjp *v)
{
    if (ag_vjp_wants(v, 0))
        ag_vjp_add(v, 0, product(v->gy, ag_tensor_transpose(v->input[1], -2, -1)));
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, product(ag_tensor_transpose(v->input[0], -2, -1), v->gy));
}

const ag_op ag_op_matmul = { "matmul", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, matmul_vjp };

/* a[..,M,K] b[K,N] is one product with all rows of a; its gradient for b is then one product too. */
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
    return ag_record(&ag_op_matmul, product(a, b), (ag_tensor *[]){ a, b }, 2, NULL, 0, NULL);
}

/* ---- linear: y = x w^T + bias ---- */

static void linear_vjp(ag_vjp *v)
{
    ag_tensor *gy = ag_tensor_contiguous(v->gy), *x = ag_tensor_contiguous(v->input[0]), *w = v->input[1];
    if (gy == NULL || x == NULL)
        return;
    const int64_t out = w->shape[0], in = w->shape[1];
    const int64_t rows = in > 0 ? x->numel / in : out > 0 ? gy->numel / out : 0;
    const bool has_bias = v->input_count == 3 && ag_vjp_wants(v, 2);
    ag_tensor *gw = NULL, *gbias = NULL;
    ag_gemm list[2];
    int count = 0;
    if (ag_vjp_wants(v, 0)) { /* gx = gy w */
        bool add = false;
        ag_tensor *gx = ag_vjp_target(v, 0, &add);
        if (gx == NULL)
            return;
        list[count++] = (ag_gemm){ .m = rows, .n = in, .k = out, .a = ag_data(gy), .a_row = out, .a_col = 1,
                                   .b = ag_data(w), .b_row = w->stride[0], .b_col = w->stride[1],
                                   .c = ag_data_mut(gx), .c_row = in, .accumulate = add, .batch = 1 };
    }
    if (ag_vjp_wants(v, 1)) { /* gw = gy^T x, gbias = column sums of gy */
        gw = ag_empty(v->ctx, w->dtype, 2, w->shape);
        gbias = has_bias ? ag_empty(v->ctx, w->dtype, 1, &out) : NULL;
        if (gw == NULL || (has_bias && gbias == NULL))
            return;
        list[count++] = (ag_gemm){ .m = out, .n = in, .k = rows, .a = ag_data(gy), .a_row = 1, .a_col = out,
                                   .b = ag_data(x), .b_row = in, .b_col = 1,
                                   .c = gw->storage->data, .c_row = in, .batch = 1,
                                   .a_sums = has_bias ? gbias->storage->data : NULL };
    } else if (has_bias) {
        gbias = ag_sum_to_shape("linear", gy, 1, &out);
    }
    if (!run_gemm(v->ctx, gy->dtype, count, list))
        return;
    ag_vjp_add(v, 1, gw);
    ag_vjp_add(v, 2, gbias);
}

const ag_op ag_op_linear = { "linear", -1, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, linear_vjp };

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

/* Makes y = x w^T + bias, without its values, and says which product they are; NULL on error. */
static ag_tensor *linear_product(const ag_linear_args *args, ag_gemm *product)
{
    ag_tensor *x = args->x, *w = args->w, *bias = args->bias;
    int64_t shape[AG_MAX_DIMS], rows = 1, out = w->shape[0], in = w->shape[1];
    for (int d = 0; d < x->ndim - 1; d++) {
        shape[d] = x->shape[d];
        rows *= x->shape[d];
    }
    shape[x->ndim - 1] = out;
    ag_tensor *dense = ag_tensor_contiguous(x), *dense_bias = bias == NULL ? NULL : ag_tensor_contiguous(bias);
    ag_tensor *y = ag_empty(x->ctx, x->dtype, x->ndim, shape);
    if (dense == NULL || y == NULL || (bias != NULL && dense_bias == NULL))
        return NULL;
    *product = (ag_gemm){ .m = rows, .n = out, .k = in, .a = ag_data(dense), .a_row = in, .a_col = 1,
                          .b = ag_data(w), .b_row = w->stride[1], .b_col = w->stride[0],
                          .c = y->storage->data, .c_row = out, .batch = 1,
                          .bias = bias == NULL ? NULL : ag_data(dense_bias) };
    return y;
}

static ag_tensor *record_linear(const ag_linear_args *args, ag_tensor *y)
{
    ag_tensor *const input[] = { args->x, args->w, args->bias };
    return ag_record(&ag_op_linear, y, input, args->bias == NULL ? 2 : 3, NULL, 0, NULL);
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

static bool run_linears(ag_ctx *ctx, int count, const ag_linear_args *args, ag_tensor **y)
{
    ag_gemm list[AG_LINEAR_LIST_MAX];
    for (int i = 0; i < count; i++) {
        enter(ctx, &args[i]);
        bool good = check_linear(&args[i]) && ag_same_real("linear", args[0].x, args[i].x);
        leave(ctx, &args[i], NULL);
        y[i] = good ? linear_product(&args[i], &list[i]) : NULL;
        if (y[i] == NULL)
            return false;
    }
    if (count > 0 && !run_gemm(ctx, args[0].x->dtype, count, list))
        return false;
    for (int i = 0; i < count; i++) {
        enter(ctx, &args[i]);
        y[i] = leave(ctx, &args[i], record_linear(&args[i], y[i]));
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
    const int each = good && ag_watched(ctx) ? 1 : count; /* one by one for an observer, who may take the time */
    for (int i = 0; i < count && good; i += each)
        good = run_linears(ctx, each, args + i, y + i);
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
