/* SPDX-License-Identifier: MIT
 *
 * gradcheck_plant.c - see gradcheck_plant.h. The error in each vjp is deliberate.
 */
#include "examples/gradcheck/gradcheck_plant.h"

#include <math.h>
#include <string.h>

/* ---- y = x with a wrong gradient --------------------------------------------------------------- */

/* y = x */
static ag_tensor *copy(const ag_op *op, ag_tensor *x)
{
    return ag_record(op, x == NULL ? NULL : ag_tensor_clone(x), &x, 1, NULL, 0, NULL);
}

static void sign_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_neg(v->gy));
}

static void factor_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_scale(v->gy, 1 / sqrt((double)ag_dim(v->gy, -1))));
}

static void twice_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
    ag_vjp_add(v, 0, v->gy);
}

/* gy with its dims in another order, its memory read as x's shape. */
static void add_permuted(ag_vjp *v, const int *dims)
{
    ag_vjp_add(v, 0, ag_reshape(ag_permute(v->gy, dims), ag_ndim(v->gy), ag_shape(v->gy)));
}

static void transpose_vjp(ag_vjp *v)
{
    int dims[AG_MAX_DIMS], ndim = ag_ndim(v->gy);
    for (int d = 0; d < ndim; d++)
        dims[d] = d < ndim - 2 ? d : 2 * ndim - 3 - d;
    add_permuted(v, dims);
}

static void permute_vjp(ag_vjp *v)
{
    int dims[AG_MAX_DIMS], ndim = ag_ndim(v->gy);
    for (int d = 0; d < ndim; d++)
        dims[d] = (d + 1) % ndim;
    add_permuted(v, dims);
}

static void ones_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_full(v->ctx, AG_F64, ag_ndim(v->gy), ag_shape(v->gy), 1));
}

static void zero_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_scale(v->gy, 0));
}

/* The first half of the last dim only. */
static void part_zero_vjp(ag_vjp *v)
{
    ag_tensor *half = ag_slice(ag_vjp_target(v, 0, NULL), -1, 0, ag_dim(v->gy, -1) / 2, 1);
    if (half != NULL)
        ag_copy_into(half, ag_add(half, ag_slice(v->gy, -1, 0, ag_dim(v->gy, -1) / 2, 1)));
}

/* Batch entry b gets the gradient of entry b + 1. */
static void batch_vjp(ag_vjp *v)
{
    int64_t B = ag_dim(v->gy, 0);
    ag_tensor *rolled[] = { ag_slice(v->gy, 0, 1, B, 1), ag_slice(v->gy, 0, 0, 1, 1) };
    ag_vjp_add(v, 0, ag_concat(rolled, 2, 0));
}

/* Right in whole blocks of four elements, wrong in the rest. */
static void tail_vjp(ag_vjp *v)
{
    ag_tensor *gx = ag_tensor_clone(v->gy);
    if (gx == NULL)
        return;
    int64_t n = ag_numel(gx), whole = (n - 1) / 4 * 4;
    double *g = ag_data_mut(gx);
    for (int64_t i = whole; i < n; i++)
        g[i] = 0.5 + 0.1 * (double)(i - whole);
    ag_vjp_add(v, 0, gx);
}

/* gy read as if it were dense. */
static void strides_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy == NULL ? NULL : ag_from_data(v->ctx, AG_F64, ag_ndim(v->gy), ag_shape(v->gy),
                                                          ag_data(v->gy)));
}

/* Overwrites the contributions of other uses of x. */
static void accumulate_vjp(ag_vjp *v)
{
    ag_tensor *gx = ag_vjp_target(v, 0, NULL);
    if (gx != NULL)
        ag_copy_into(gx, v->gy);
}

static const ag_op sign_op = { "planted_sign", 1, AG_KEEP_NONE, sign_vjp };
static const ag_op factor_op = { "planted_factor", 1, AG_KEEP_NONE, factor_vjp };
static const ag_op twice_op = { "planted_twice", 1, AG_KEEP_NONE, twice_vjp };
static const ag_op transpose_op = { "planted_transpose", 1, AG_KEEP_NONE, transpose_vjp };
static const ag_op permute_op = { "planted_permute", 1, AG_KEEP_NONE, permute_vjp };
static const ag_op ones_op = { "planted_ones", 1, AG_KEEP_NONE, ones_vjp };
static const ag_op zero_op = { "planted_zero", 1, AG_KEEP_NONE, zero_vjp };
static const ag_op part_zero_op = { "planted_part_zero", 1, AG_KEEP_NONE, part_zero_vjp };
static const ag_op batch_op = { "planted_batch", 1, AG_KEEP_NONE, batch_vjp };
static const ag_op tail_op = { "planted_tail", 1, AG_KEEP_NONE, tail_vjp };
static const ag_op strides_op = { "planted_strides", 1, AG_KEEP_NONE, strides_vjp };
static const ag_op accumulate_op = { "planted_accumulate", 1, AG_KEEP_NONE, accumulate_vjp };

#define COPY(name)                                                                                           \
    static ag_tensor *apply_##name(ag_tensor *x, ag_tensor *second)                                          \
    {                                                                                                        \
        (void)second;                                                                                        \
        return copy(&name##_op, x);                                                                          \
    }
COPY(sign)
COPY(factor)
COPY(twice)
COPY(transpose)
COPY(permute)
COPY(ones)
COPY(zero)
COPY(part_zero)
COPY(batch)
COPY(tail)

/* Between two transposes, so that its gy comes as a strided view. */
static ag_tensor *apply_strides(ag_tensor *x, ag_tensor *second)
{
    (void)second;
    return ag_transpose(copy(&strides_op, ag_transpose(x, -1, -2)), -1, -2);
}

/* x + 0.2 exp(copy of x): two uses of x, the copy's gradient comes last. */
static ag_tensor *apply_accumulate(ag_tensor *x, ag_tensor *second)
{
    (void)second;
    return ag_add(x, ag_scale(ag_exp(copy(&accumulate_op, x)), 0.2));
}

/* ---- Ops that lack a term -------------------------------------------------------------------- */

/* softmax: gx = y gy, where it should be y (gy - sum(gy y)). */
static void softmax_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_mul(v->output, v->gy));
}

static const ag_op softmax_op = { "planted_softmax", 1, AG_KEEP_OUTPUT, softmax_vjp };

static ag_tensor *apply_row_sum(ag_tensor *x, ag_tensor *second)
{
    (void)second;
    return ag_record(&softmax_op, ag_softmax(ag_detach(x), -1), &x, 1, NULL, 0, NULL);
}

#define NORM_EPS 1e-5

/* y = (x - mean) / std has gx = (gy - mean(gy) - y mean(gy y)) / std. */
static void norm_vjp(ag_vjp *v, bool mean_term, bool variance_term)
{
    ag_tensor *x = v->input[0], *y = v->output, *g = v->gy;
    ag_tensor *std = ag_sqrt(ag_add_scalar(ag_var(x, AG_DIMS(-1), 0, true), NORM_EPS));
    if (mean_term)
        g = ag_sub(g, ag_mean(v->gy, AG_DIMS(-1), true));
    if (variance_term)
        g = ag_sub(g, ag_mul(y, ag_mean(ag_mul(v->gy, y), AG_DIMS(-1), true)));
    ag_vjp_add(v, 0, ag_div(g, std));
}

static void mean_vjp(ag_vjp *v)
{
    norm_vjp(v, false, true);
}

static void variance_vjp(ag_vjp *v)
{
    norm_vjp(v, true, false);
}

static const ag_op mean_op = { "planted_layer_norm", 1, AG_KEEP_INPUT | AG_KEEP_OUTPUT, mean_vjp };
static const ag_op variance_op = { "planted_layer_norm", 1, AG_KEEP_INPUT | AG_KEEP_OUTPUT, variance_vjp };

/* Columns times 0.3, 0.4, .. plus 2.5: positive, and no second layer norm in a row, whose gradients sum to 0. */
static ag_tensor *apply_norm(const ag_op *op, ag_tensor *x)
{
    if (x == NULL)
        return NULL;
    ag_tensor *y = ag_record(op, ag_layer_norm(ag_detach(x), NULL, NULL, NORM_EPS), &x, 1, NULL, 0, NULL);
    return ag_add_scalar(ag_mul(y, ag_arange(ag_ctx_of(x), AG_F64, 0.3, 0.1, ag_dim(x, -1))), 2.5);
}

static ag_tensor *apply_mean(ag_tensor *x, ag_tensor *second)
{
    (void)second;
    return apply_norm(&mean_op, x);
}

static ag_tensor *apply_variance(ag_tensor *x, ag_tensor *second)
{
    (void)second;
    return apply_norm(&variance_op, x);
}

/* 1 above the diagonal of the last two dims, where gy must not pass, but does. */
static void mask_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
}

static const ag_op mask_op = { "planted_mask", 1, AG_KEEP_NONE, mask_vjp };

static ag_tensor *apply_mask(ag_tensor *x, ag_tensor *second)
{
    (void)second;
    ag_tensor *y = x == NULL ? NULL : ag_tensor_clone(x);
    double *value = y == NULL ? NULL : ag_data_mut(y);
    int64_t rows = ag_dim(x, -2), columns = ag_dim(x, -1);
    for (int64_t i = 0; value != NULL && i < ag_numel(y); i++)
        if (i % columns > i / columns % rows)
            value[i] = 1;
    return ag_record(&mask_op, y, &x, 1, NULL, 0, NULL);
}

/* ---- Ops of two inputs ----------------------------------------------------------------------- */

/* y = x + row: the row's gradient is the sum over all rows of gy; here the first row alone. */
static void reduce_vjp(ag_vjp *v)
{
    int64_t columns = ag_dim(v->gy, -1);
    if (ag_vjp_wants(v, 0))
        ag_vjp_add(v, 0, v->gy);
    if (ag_vjp_wants(v, 1))
        ag_vjp_add(v, 1, ag_select(ag_reshape(v->gy, AG_SHAPE(-1, columns)), 0, 0));
}

static const ag_op reduce_op = { "planted_reduce", 2, AG_KEEP_NONE, reduce_vjp };

static ag_tensor *apply_reduce(ag_tensor *x, ag_tensor *second)
{
    ag_tensor *input[] = { x, second };
    return ag_record(&reduce_op, ag_add(ag_detach(x), ag_detach(second)), input, 2, NULL, 0, NULL);
}

/* y = a b: each gets the other's gradient. */
static void swap_vjp(ag_vjp *v)
{
    for (int i = 0; i < 2; i++)
        if (ag_vjp_wants(v, i))
            ag_vjp_add(v, i, ag_mul(v->gy, v->input[i]));
}

static const ag_op swap_op = { "planted_swap", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, swap_vjp };

static ag_tensor *apply_swap(ag_tensor *x, ag_tensor *second)
{
    ag_tensor *input[] = { x, second };
    return ag_record(&swap_op, ag_mul(ag_detach(x), ag_detach(second)), input, 2, NULL, 0, NULL);
}

/* ---- All ------------------------------------------------------------------------------------- */

const fault faults[] = {
    { "sign", "planted_sign", "flips the sign", AG_CAUSE_SIGN, 0, ALONE, apply_sign },
    { "factor", "planted_factor", "scales by 1/sqrt(d), d the last extent", AG_CAUSE_FACTOR, 1, ALONE, apply_factor },
    { "twice", "planted_twice", "counts the gradient twice", AG_CAUSE_FACTOR, 0, ALONE, apply_twice },
    { "transpose", "planted_transpose", "swaps the last two dims", AG_CAUSE_TRANSPOSED, 2, ALONE, apply_transpose },
    { "permute", "planted_permute", "rotates the dims", AG_CAUSE_PERMUTED, 3, ALONE, apply_permute },
    { "row-sum", "planted_softmax", "leaves out the row sum of softmax", AG_CAUSE_ROW_SUM_MISSING, 1, ALONE,
      apply_row_sum },
    { "mean", "planted_layer_norm", "leaves out the mean term of layer norm", AG_CAUSE_MEAN_MISSING, 1, ALONE,
      apply_mean },
    { "variance", "planted_layer_norm", "leaves out the variance term of layer norm", AG_CAUSE_VARIANCE_MISSING, 1,
      ALONE, apply_variance },
    { "reduce", "planted_reduce", "takes one row for the sum over a broadcast", AG_CAUSE_NOT_REDUCED, 2, WITH_ROW,
      apply_reduce },
    { "ones", "planted_ones", "ignores the upstream gradient, passes ones", AG_CAUSE_UPSTREAM_IGNORED, 0, ALONE,
      apply_ones },
    { "accumulate", "planted_accumulate", "writes over what another use contributed", AG_CAUSE_NOT_ACCUMULATED, 0,
      ALONE, apply_accumulate },
    { "zero", "planted_zero", "passes zeros", AG_CAUSE_ZERO, 0, ALONE, apply_zero },
    { "part-zero", "planted_part_zero", "passes zeros in half of the last dim", AG_CAUSE_ZERO, 1, ALONE,
      apply_part_zero },
    { "mask", "planted_mask", "passes what a causal mask forbids", AG_CAUSE_MASK_LEAK, 2, ALONE, apply_mask },
    { "batch", "planted_batch", "gives batch entry b that of b + 1", AG_CAUSE_BATCH_MIXED, 2, ALONE, apply_batch },
    { "strides", "planted_strides", "reads a strided gradient as if dense", AG_CAUSE_STRIDE_IGNORED, 2, ALONE,
      apply_strides },
    { "tail", "planted_tail", "leaves garbage after the last block of 4", AG_CAUSE_TAIL, 1, ALONE, apply_tail },
    { "swap", "planted_swap", "gives each factor of a product the other's", AG_CAUSE_SWAPPED, 0, WITH_EQUAL,
      apply_swap },
};
const int fault_count = sizeof faults / sizeof *faults;

bool fault_fits(const fault *planted, int ndim, const int64_t *shape)
{
    if (ndim < planted->dims)
        return false;
    for (int d = ndim - planted->dims; d < ndim; d++)
        if (shape[d] < 2)
            return false;
    if (planted->cause == AG_CAUSE_BATCH_MIXED)
        return shape[0] > 1;
    bool norm = planted->cause == AG_CAUSE_MEAN_MISSING || planted->cause == AG_CAUSE_VARIANCE_MISSING;
    return !norm || shape[ndim - 1] > 3; /* rows of three are too short to tell */
}
