/* SPDX-License-Identifier: MIT
 *
 * op_reduce.c - sum, mean, max and var over any dims, recorded; tensor/reduce.c does the reducing.
 */
#include "autograd/op_impl.h"

typedef struct reduce_attr {
    unsigned dims; /* a bit per reduced dim */
    double count;  /* of elements reduced into one; var: minus the correction */
} reduce_attr;

/* The dims as bits, all of them when count is 0; false with the error recorded. */
static bool dim_bits(const char *where, const ag_tensor *x, int count, const int *dims, unsigned *bits)
{
    *bits = count == 0 ? (1u << x->ndim) - 1 : 0;
    for (int i = 0; i < count; i++) {
        int d = ag_checked_dim(where, x, dims[i], 0);
        if (d < 0)
            return false;
        if ((*bits >> d & 1u) != 0) {
            ag_fail(x->ctx, AG_ERR_ARGUMENT, where, "dim %d is listed twice for %s", dims[i], ag_shape_text(x));
            return false;
        }
        *bits |= 1u << d;
    }
    return true;
}

static int64_t reduced_count(const ag_tensor *x, unsigned bits)
{
    int64_t n = 1;
    for (int d = 0; d < x->ndim; d++)
        if ((bits >> d & 1u) != 0)
            n *= x->shape[d];
    return n;
}

/* t, of the result's shape, with the reduced dims repeated: of the shape of input 0. */
static ag_tensor *spread(const ag_vjp *v, ag_tensor *t, unsigned bits)
{
    int ndim = ag_vjp_ndim(v, 0);
    const int64_t *full = ag_vjp_shape(v, 0);
    int64_t shape[AG_MAX_DIMS];
    for (int d = 0; d < ndim; d++)
        shape[d] = (bits >> d & 1u) != 0 ? 1 : full[d];
    t = ag_tensor_reshape(t, ndim, shape);
    return ag_tensor_expand(t, ndim, full);
}

static void sum_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_vjp_add(v, 0, spread(v, v->gy, attr->dims));
}

const ag_op ag_op_sum = { "sum", 1, AG_KEEP_NONE, sum_vjp };

ag_tensor *ag_sum(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    const ag_real_kernels *k = ag_real_kernels_for("sum", x);
    reduce_attr attr = { 0, 0 };
    if (k == NULL || !dim_bits("sum", x, count, dims, &attr.dims))
        return NULL;
    return ag_record(&ag_op_sum, ag_tensor_reduce(k->sum, x, attr.dims, keepdim), &x, 1, &attr, sizeof attr, NULL);
}

static void mean_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_vjp_add(v, 0, spread(v, ag_scale(v->gy, 1 / attr->count), attr->dims));
}

const ag_op ag_op_mean = { "mean", 1, AG_KEEP_NONE, mean_vjp };

/* sum / n, not recorded. */
static ag_tensor *mean_of(ag_tensor *x, unsigned bits, double n, bool keepdim)
{
    const ag_real_kernels *k = ag_kernels(x->ctx, x->dtype);
    ag_tensor *y = ag_tensor_reduce(k->sum, x, bits, keepdim);
    if (y != NULL && y->storage != x->storage)
        k->scale(ag_ctx_team(x->ctx), y->numel, (const double[]){ 1 / n, 0 }, ag_data(y), y->storage->data);
    return y;
}

ag_tensor *ag_mean(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr = { 0, 0 };
    if (ag_real_kernels_for("mean", x) == NULL || !dim_bits("mean", x, count, dims, &attr.dims))
        return NULL;
    attr.count = (double)reduced_count(x, attr.dims);
    return ag_record(&ag_op_mean, mean_of(x, attr.dims, attr.count, keepdim), &x, 1, &attr, sizeof attr, NULL);
}

/* ---- max: the elements that equal the maximum share gy equally ---- */

static void max_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_tensor *x = v->input[0], *y = spread(v, v->output, attr->dims);
    if (y == NULL)
        return;
    const ag_real_kernels *k = ag_kernels(v->ctx, x->dtype);
    ag_tensor *dense_x = ag_tensor_contiguous(x), *dense_y = ag_tensor_contiguous(y);
    ag_tensor *hit = ag_empty(v->ctx, x->dtype, x->ndim, x->shape);
    if (dense_x == NULL || dense_y == NULL || hit == NULL)
        return;
    k->equal(ag_ctx_team(v->ctx), x->numel, (ag_operand){ ag_data(dense_x), 1 }, (ag_operand){ ag_data(dense_y), 1 },
             hit->storage->data);
    ag_tensor *hits = ag_tensor_reduce(k->sum, hit, attr->dims, true);
    ag_vjp_add(v, 0, ag_mul(ag_div(hit, hits), spread(v, v->gy, attr->dims)));
}

const ag_op ag_op_max = { "max", 1, AG_KEEP_INPUT | AG_KEEP_OUTPUT, max_vjp };

ag_tensor *ag_max(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    const ag_real_kernels *k = ag_real_kernels_for("max", x);
    reduce_attr attr = { 0, 0 };
    if (k == NULL || !dim_bits("max", x, count, dims, &attr.dims))
        return NULL;
    if (reduced_count(x, attr.dims) == 0)
        return ag_fail(x->ctx, AG_ERR_SHAPE, "max", "%s has no elements to take the maximum of", ag_shape_text(x));
    return ag_record(&ag_op_max, ag_tensor_reduce(k->max, x, attr.dims, keepdim), &x, 1, &attr, sizeof attr, NULL);
}

/* ---- var: sum (x - mean)^2 / (n - correction);  gx = gy 2 (x - mean) / (n - correction) ---- */

static ag_tensor *centred(ag_tensor *x, unsigned bits)
{
    ag_tensor *mean = mean_of(x, bits, (double)reduced_count(x, bits), true);
    const ag_real_kernels *k = ag_kernels(x->ctx, x->dtype);
    ag_tensor *wide = ag_tensor_contiguous(ag_tensor_expand(mean, x->ndim, x->shape));
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty(x->ctx, x->dtype, x->ndim, x->shape);
    if (wide == NULL || dense == NULL || y == NULL)
        return NULL;
    k->sub(ag_ctx_team(x->ctx), x->numel, (ag_operand){ ag_data(dense), 1 }, (ag_operand){ ag_data(wide), 1 },
           y->storage->data);
    return y;
}

static void var_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_tensor *deviation = centred(v->input[0], attr->dims);
    ag_vjp_add(v, 0, ag_mul(deviation, spread(v, ag_scale(v->gy, 2 / attr->count), attr->dims)));
}

const ag_op ag_op_var = { "var", 1, AG_KEEP_INPUT, var_vjp };

ag_tensor *ag_var(ag_tensor *x, int count, const int *dims, double correction, bool keepdim)
{
    const ag_real_kernels *k = ag_real_kernels_for("var", x);
    reduce_attr attr = { 0, 0 };
    if (k == NULL || !dim_bits("var", x, count, dims, &attr.dims))
        return NULL;
    attr.count = (double)reduced_count(x, attr.dims) - correction;
    ag_tensor *squares = centred(x, attr.dims);
    if (squares == NULL)
        return NULL;
    void *data = squares->storage->data;
    k->mul(ag_ctx_team(x->ctx), squares->numel, (ag_operand){ data, 1 }, (ag_operand){ data, 1 }, data);
    ag_tensor *y = mean_of(squares, attr.dims, attr.count, keepdim);
    if (y != NULL && y->storage == squares->storage) /* nothing was reduced, so mean_of has not divided */
        k->scale(ag_ctx_team(x->ctx), y->numel, (const double[]){ 1 / attr.count, 0 }, data, data);
    return ag_record(&ag_op_var, y, &x, 1, &attr, sizeof attr, NULL);
}
