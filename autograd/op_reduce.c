/* SPDX-License-Identifier: MIT
 *
 * op_reduce.c - sum, mean, max and var over any dims, recorded; tensor/reduce.c does the reducing.
 */
#include "autograd/op_impl.h"

#include <math.h>

typedef struct reduce_attr {
    unsigned dims; /* a bit per reduced dim */
    double count;  /* of elements reduced into one; var: minus the correction */
} reduce_attr;

static double reduced_count(const ag_tensor *x, unsigned bits)
{
    double n = 1;
    for (int d = 0; d < x->ndim; d++)
        n *= (bits >> d & 1u) != 0 ? (double)x->shape[d] : 1;
    return n;
}

/* Checks x and dims (all of them when count is 0), and fills in the attribute. The kernels; NULL on error. */
static const ag_real_kernels *reduce_begin(const ag_op *op, const ag_tensor *x, int count, const int *dims,
                                           reduce_attr *attr)
{
    const ag_real_kernels *k = ag_real_kernels_for(op->name, x);
    if (k == NULL || (count > 0 && !ag_check_given(x->ctx, op->name, "dims", dims)))
        return NULL;
    if (count < 0)
        return ag_fail(x->ctx, AG_ERR_ARGUMENT, op->name, "count is %d", count);
    *attr = (reduce_attr){ .dims = count == 0 ? (1u << x->ndim) - 1 : 0 };
    for (int i = 0; i < count; i++) {
        const int d = ag_checked_dim(op->name, x, dims[i], 0);
        if (d < 0)
            return NULL;
        if ((attr->dims >> d & 1u) != 0)
            return ag_fail(x->ctx, AG_ERR_ARGUMENT, op->name, "dim %d is listed twice for %s", dims[i],
                           ag_shape_text(x));
        attr->dims |= 1u << d;
    }
    attr->count = reduced_count(x, attr->dims);
    return k;
}

static ag_tensor *reduce_record(const ag_op *op, ag_tensor *y, ag_tensor *x, const reduce_attr *attr)
{
    return ag_record(op, y, &x, 1, attr, sizeof *attr, NULL);
}

/* t, of the result's shape, with the reduced dims repeated: of the shape of input 0. */
static ag_tensor *spread(const ag_vjp *v, ag_tensor *t)
{
    const reduce_attr *attr = v->attr;
    const int ndim = ag_vjp_ndim(v, 0);
    const int64_t *full = ag_vjp_shape(v, 0);
    int64_t shape[AG_MAX_DIMS];
    for (int d = 0; d < ndim; d++)
        shape[d] = (attr->dims >> d & 1u) != 0 ? 1 : full[d];
    return ag_tensor_expand(ag_tensor_reshape(t, ndim, shape), ndim, full);
}

/* ---- sum, mean ---- */

static void sum_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, spread(v, v->gy));
}

const ag_op ag_op_sum = { "sum", 1, AG_KEEP_NONE, sum_vjp };

ag_tensor *ag_sum(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr;
    const ag_real_kernels *k = reduce_begin(&ag_op_sum, x, count, dims, &attr);
    return k == NULL ? NULL : reduce_record(&ag_op_sum, ag_tensor_reduce(k->sum, x, attr.dims, keepdim), x, &attr);
}

static void mean_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_vjp_add(v, 0, spread(v, ag_scale(v->gy, 1 / attr->count)));
}

const ag_op ag_op_mean = { "mean", 1, AG_KEEP_NONE, mean_vjp };

/* y *= factor, in place. */
static void reduce_scale(ag_tensor *y, double factor)
{
    const double p[2] = { factor, 0 };
    ag_kernels(y->ctx, y->dtype)->scale(ag_ctx_team(y->ctx), y->numel, p, ag_data(y), y->storage->data);
}

/* sum / n, not recorded. */
static ag_tensor *mean_of(ag_tensor *x, unsigned bits, double n, bool keepdim)
{
    ag_tensor *y = ag_tensor_reduce(ag_kernels(x->ctx, x->dtype)->sum, x, bits, keepdim);
    if (y != NULL && y->storage != x->storage)
        reduce_scale(y, 1 / n);
    return y;
}

ag_tensor *ag_mean(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr;
    if (reduce_begin(&ag_op_mean, x, count, dims, &attr) == NULL)
        return NULL;
    return reduce_record(&ag_op_mean, mean_of(x, attr.dims, attr.count, keepdim), x, &attr);
}

/* ---- max: the elements that equal the maximum share gy equally ---- */

static void max_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    const ag_real_kernels *k = ag_kernels(v->ctx, v->gy->dtype);
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *y = ag_tensor_contiguous(spread(v, v->output));
    ag_tensor *hit = ag_empty_as(x);
    if (y == NULL || hit == NULL)
        return;
    k->equal(ag_ctx_team(v->ctx), x->numel, (ag_operand){ ag_data(x), 1 }, (ag_operand){ ag_data(y), 1 },
             hit->storage->data);
    ag_tensor *hits = ag_tensor_reduce(k->sum, hit, attr->dims, true);
    ag_vjp_add(v, 0, ag_mul(ag_div(hit, hits), spread(v, v->gy)));
}

const ag_op ag_op_max = { "max", 1, AG_KEEP_INPUT | AG_KEEP_OUTPUT, max_vjp };

ag_tensor *ag_max(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr;
    const ag_real_kernels *k = reduce_begin(&ag_op_max, x, count, dims, &attr);
    if (k != NULL && attr.count == 0)
        return ag_fail(x->ctx, AG_ERR_SHAPE, "max", "%s has no elements to take the maximum of", ag_shape_text(x));
    return k == NULL ? NULL : reduce_record(&ag_op_max, ag_tensor_reduce(k->max, x, attr.dims, keepdim), x, &attr);
}

/* ---- var: sum (x - mean)^2 / m, m = max(0, n - correction);  gx = gy 2 (x - mean) / m ---- */

static ag_tensor *centred(ag_tensor *x, unsigned bits)
{
    ag_tensor *mean = mean_of(x, bits, reduced_count(x, bits), true);
    ag_tensor *wide = ag_tensor_contiguous(ag_tensor_expand(mean, x->ndim, x->shape));
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty_as(dense);
    if (wide == NULL || y == NULL)
        return NULL;
    ag_kernels(x->ctx, x->dtype)->sub(ag_ctx_team(x->ctx), x->numel, (ag_operand){ ag_data(dense), 1 },
                                      (ag_operand){ ag_data(wide), 1 }, y->storage->data);
    return y;
}

static void var_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_vjp_add(v, 0, ag_mul(centred(v->input[0], attr->dims), spread(v, ag_scale(v->gy, 2 / attr->count))));
}

const ag_op ag_op_var = { "var", 1, AG_KEEP_INPUT, var_vjp };

ag_tensor *ag_var(ag_tensor *x, int count, const int *dims, double correction, bool keepdim)
{
    reduce_attr attr;
    const ag_real_kernels *k = reduce_begin(&ag_op_var, x, count, dims, &attr);
    ag_tensor *squares = k == NULL ? NULL : centred(x, attr.dims);
    if (squares == NULL)
        return NULL;
    attr.count = fmax(0, attr.count - correction);
    const ag_operand row = { squares->storage->data, 1 };
    k->mul(ag_ctx_team(x->ctx), squares->numel, row, row, squares->storage->data);
    ag_tensor *y = mean_of(squares, attr.dims, attr.count, keepdim);
    if (y != NULL && y->storage == squares->storage) /* nothing was reduced, so mean_of has not divided */
        reduce_scale(y, 1 / attr.count);
    return reduce_record(&ag_op_var, y, x, &attr);
}
