/* SPDX-License-Identifier: MIT
 *
 * op_reduce.c - sum, mean, max and var over any dims, recorded; tensor/reduce.c does the reducing.
 */
#include "autograd/op_impl.h"

#include <math.h>

typedef struct reduce_attr {
    unsigned dims;         /* a bit per reduced dim */
    double count, divisor; /* of elements reduced into one; var's m */
} reduce_attr;

/* Checks x and dims (all of them when count is 0), and fills in the attribute. The kernels; NULL on error. */
static const ag_real_kernels *reduce_begin(const ag_op *op, const ag_tensor *x, int count, const int *dims,
                                           reduce_attr *attr)
{
    const ag_real_kernels *k = ag_real_kernels_for(op->name, x);
    if (k == NULL || (count > 0 && !ag_check_given(x->ctx, op->name, "dims", dims)))
        return NULL;
    if (count < 0)
        return ag_fail(x->ctx, AG_ERR_ARGUMENT, op->name, "count is %d", count);
    *attr = (reduce_attr){ .dims = count == 0 ? (1u << x->ndim) - 1 : 0, .count = 1 };
    for (int i = 0; i < count; i++) {
        const int d = ag_checked_dim(op->name, x, dims[i], 0);
        if (d < 0)
            return NULL;
        if ((attr->dims >> d & 1u) != 0)
            return ag_fail(x->ctx, AG_ERR_ARGUMENT, op->name, "dim %d is listed twice for %s", dims[i],
                           ag_shape_text(x));
        attr->dims |= 1u << d;
    }
    for (int d = 0; d < x->ndim; d++)
        attr->count *= (attr->dims >> d & 1u) != 0 ? (double)x->shape[d] : 1;
    return k;
}

/* factor times the sum over the dims, not recorded. Without dims (x is a scalar) the sum is x itself, and x is
 * overwritten unless the factor is 1. */
static ag_tensor *reduce_scaled(ag_tensor *x, unsigned dims, double factor, bool keepdim)
{
    const ag_real_kernels *k = ag_kernels(x->ctx, x->dtype);
    ag_tensor *y = ag_tensor_reduce(k->sum, x, dims, keepdim);
    if (y != NULL && (dims != 0 || factor != 1))
        k->scale(ag_ctx_team(y->ctx), y->numel, (const double[]){ factor, 0 }, ag_data(y), y->storage->data);
    return y;
}

/* y = reduce(x). In float32 a sum on the way may be infinite where the result is not: then what float64 gives. */
static ag_tensor *reduce_finite(ag_tensor *reduce(ag_tensor *x, const reduce_attr *attr, bool keepdim), ag_tensor *x,
                                const reduce_attr *attr, bool keepdim)
{
    ag_tensor *y = reduce(x, attr, keepdim);
    const bool single = y != NULL && y->dtype == AG_F32;
    if (!single || isfinite(ag_kernels(y->ctx, AG_F32)->sum_squares(ag_ctx_team(y->ctx), y->numel, ag_data(y))))
        return y;
    ag_tensor *wide = ag_tensor_cast(x, AG_F64), *again = wide == NULL ? NULL : reduce(wide, attr, keepdim);
    return again == NULL ? NULL : ag_tensor_cast(again, AG_F32);
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

void ag_sum_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, spread(v, v->gy));
}

ag_tensor *ag_sum(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr;
    const ag_real_kernels *k = reduce_begin(&ag_op_sum, x, count, dims, &attr);
    ag_tensor *y = k == NULL ? NULL : ag_tensor_reduce(k->sum, x, attr.dims, keepdim);
    return ag_record(&ag_op_sum, y, &x, 1, &attr, sizeof attr, NULL);
}

void ag_mean_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_vjp_add(v, 0, spread(v, ag_scale(v->gy, 1 / attr->count)));
}

static ag_tensor *mean_of(ag_tensor *x, const reduce_attr *attr, bool keepdim)
{
    return reduce_scaled(x, attr->dims, 1 / attr->count, keepdim);
}

ag_tensor *ag_mean(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr;
    const ag_real_kernels *k = reduce_begin(&ag_op_mean, x, count, dims, &attr);
    ag_tensor *y = k == NULL ? NULL : reduce_finite(mean_of, x, &attr, keepdim);
    return ag_record(&ag_op_mean, y, &x, 1, &attr, sizeof attr, NULL);
}

/* ---- max: the elements that equal the maximum share gy equally ---- */

void ag_max_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    const ag_real_kernels *k = ag_kernels(v->ctx, v->gy->dtype);
    ag_tensor *y = spread(v, v->output), *hit = ag_empty_as(v->input[0]);
    if (y == NULL || hit == NULL)
        return;
    ag_binary_into(hit, k->equal, v->input[0], y);
    ag_tensor *hits = ag_tensor_reduce(k->sum, hit, attr->dims, true);
    ag_vjp_add(v, 0, ag_mul(ag_div(hit, hits), spread(v, v->gy)));
}

ag_tensor *ag_max(ag_tensor *x, int count, const int *dims, bool keepdim)
{
    reduce_attr attr;
    const ag_real_kernels *k = reduce_begin(&ag_op_max, x, count, dims, &attr);
    if (k != NULL && attr.count == 0)
        return ag_fail(x->ctx, AG_ERR_SHAPE, "max", "%s has no elements to take the maximum of", ag_shape_text(x));
    ag_tensor *y = k == NULL ? NULL : ag_tensor_reduce(k->max, x, attr.dims, keepdim);
    return ag_record(&ag_op_max, y, &x, 1, &attr, sizeof attr, NULL);
}

/* ---- var: sum (x - mean)^2 / m, m = max(0, n - correction);  gx = gy 2 (x - mean) / m ---- */

static ag_tensor *centred(ag_tensor *x, const reduce_attr *attr)
{
    ag_tensor *mean = reduce_finite(mean_of, x, attr, true), *y = ag_empty_as(x);
    if (mean == NULL || y == NULL)
        return NULL;
    ag_binary_into(y, ag_kernels(x->ctx, x->dtype)->sub, x, mean);
    return y;
}

static ag_tensor *var_of(ag_tensor *x, const reduce_attr *attr, bool keepdim)
{
    ag_tensor *squares = centred(x, attr);
    if (squares == NULL)
        return NULL;
    ag_binary_into(squares, ag_kernels(x->ctx, x->dtype)->mul, squares, squares);
    return reduce_scaled(squares, attr->dims, 1 / attr->divisor, keepdim);
}

void ag_var_vjp(ag_vjp *v)
{
    const reduce_attr *attr = v->attr;
    ag_vjp_add(v, 0, ag_mul(centred(v->input[0], attr), spread(v, ag_scale(v->gy, 2 / attr->divisor))));
}

ag_tensor *ag_var(ag_tensor *x, int count, const int *dims, double correction, bool keepdim)
{
    reduce_attr attr;
    if (reduce_begin(&ag_op_var, x, count, dims, &attr) == NULL)
        return NULL;
    attr.divisor = fmax(0, attr.count - correction);
    return ag_record(&ag_op_var, reduce_finite(var_of, x, &attr, keepdim), &x, 1, &attr, sizeof attr, NULL);
}
