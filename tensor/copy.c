/* SPDX-License-Identifier: MIT
 *
 * copy.c - copies between layouts and dtypes.
 *
 * Conversion: float64 to float32 rounds to nearest; to int32 the fraction is dropped, what is out of range becomes
 * the nearest int32 and NaN becomes 0.
 */
#include "tensor/tensor_impl.h"

#include <string.h>

#define TILE 8

static int32_t to_int32(double x)
{
    if (x >= 2147483647.0)
        return INT32_MAX;
    if (x <= -2147483648.0)
        return INT32_MIN;
    return x == x ? (int32_t)x : 0;
}

#define JOIN(a, b) a##_##b
#define FN(name, suffix) JOIN(name, suffix)
#define AS_IS(x) (x)
#define TO_F32(x) ((float)(x))
#define TO_F64(x) ((double)(x))
#define TO_I32(x) to_int32((double)(x))

#define from float
#define to float
#define CONVERT AS_IS
#define NAME f32_f32
#include "tensor/copy.inc"

#define from float
#define to double
#define CONVERT TO_F64
#define NAME f32_f64
#include "tensor/copy.inc"

#define from float
#define to int32_t
#define CONVERT TO_I32
#define NAME f32_i32
#include "tensor/copy.inc"

#define from double
#define to float
#define CONVERT TO_F32
#define NAME f64_f32
#include "tensor/copy.inc"

#define from double
#define to double
#define CONVERT AS_IS
#define NAME f64_f64
#include "tensor/copy.inc"

#define from double
#define to int32_t
#define CONVERT TO_I32
#define NAME f64_i32
#include "tensor/copy.inc"

#define from int32_t
#define to float
#define CONVERT TO_F32
#define NAME i32_f32
#include "tensor/copy.inc"

#define from int32_t
#define to double
#define CONVERT TO_F64
#define NAME i32_f64
#include "tensor/copy.inc"

#define from int32_t
#define to int32_t
#define CONVERT AS_IS
#define NAME i32_i32
#include "tensor/copy.inc"

typedef struct copy_kernels {
    void (*row)(int64_t n, const void *source, int64_t sx, void *target, int64_t sy);
    void (*transposed)(int64_t m, int64_t n, const void *source, int64_t sx, void *target, int64_t sy);
} copy_kernels;

static const copy_kernels kernels_by_dtype[3][3] = {
    [AG_F32] = { [AG_F32] = { copy_row_f32_f32, copy_transposed_f32_f32 },
                 [AG_F64] = { copy_row_f32_f64, copy_transposed_f32_f64 },
                 [AG_I32] = { copy_row_f32_i32, copy_transposed_f32_i32 } },
    [AG_F64] = { [AG_F32] = { copy_row_f64_f32, copy_transposed_f64_f32 },
                 [AG_F64] = { copy_row_f64_f64, copy_transposed_f64_f64 },
                 [AG_I32] = { copy_row_f64_i32, copy_transposed_f64_i32 } },
    [AG_I32] = { [AG_F32] = { copy_row_i32_f32, copy_transposed_i32_f32 },
                 [AG_F64] = { copy_row_i32_f64, copy_transposed_i32_f64 },
                 [AG_I32] = { copy_row_i32_i32, copy_transposed_i32_i32 } },
};

/* Where the loop's rows are the columns of a transposed matrix, takes the dim along which x is dense out of the
 * loop: its extent, 0 when there is none, and y's stride along it. */
static int64_t take_transposed_dim(ag_loop *loop, int64_t *y_stride)
{
    if (loop->step[0] != 1 || loop->step[1] <= 1)
        return 0;
    for (int d = 0; d < loop->ndim; d++) {
        if (loop->stride[1][d] != 1)
            continue;
        int64_t extent = loop->extent[d];
        *y_stride = loop->stride[0][d];
        loop->ndim--;
        loop->rows /= extent;
        for (; d < loop->ndim; d++) {
            loop->extent[d] = loop->extent[d + 1];
            for (int k = 0; k < 2; k++)
                loop->stride[k][d] = loop->stride[k][d + 1];
        }
        return extent;
    }
    return 0;
}

/* y[...] = x[...], where x's shape broadcasts to y's and they do not overlap. */
static void copy_elements(ag_tensor *y, const ag_tensor *x)
{
    size_t x_size = ag_dtype_size(x->dtype), y_size = ag_dtype_size(y->dtype);
    const copy_kernels *kernels = &kernels_by_dtype[x->dtype][y->dtype];
    const char *source = ag_address(x, 0);
    char *target = ag_address(y, 0);
    ag_loop loop;
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ y, x });
    int64_t y_stride = 0, m = take_transposed_dim(&loop, &y_stride);
    bool same_bytes = x->dtype == y->dtype && loop.step[0] == 1 && loop.step[1] == 1;
    for (; loop.row < loop.rows; ag_loop_next(&loop)) {
        char *to_row = target + loop.at[0] * (int64_t)y_size;
        const char *from_row = source + loop.at[1] * (int64_t)x_size;
        if (m > 0)
            kernels->transposed(m, loop.n, from_row, loop.step[1], to_row, y_stride);
        else if (same_bytes)
            memcpy(to_row, from_row, (size_t)loop.n * y_size);
        else
            kernels->row(loop.n, from_row, loop.step[1], to_row, loop.step[0]);
    }
}

/* A new contiguous tensor with t's values, which the function `by` makes. */
static ag_tensor *copied(const ag_tensor *t, ag_dtype dtype, const char *by)
{
    ag_tensor *copy = ag_empty(t->ctx, dtype, t->ndim, t->shape);
    if (copy != NULL)
        copy_elements(copy, t);
    return ag_derived(copy, t, by);
}

ag_tensor *ag_tensor_clone(const ag_tensor *t)
{
    return t == NULL ? NULL : copied(t, t->dtype, "tensor_clone");
}

ag_tensor *ag_tensor_contiguous(ag_tensor *t)
{
    return t == NULL || ag_is_contiguous(t) ? t : copied(t, t->dtype, "tensor_contiguous");
}

ag_tensor *ag_tensor_cast(ag_tensor *t, ag_dtype dtype)
{
    return t == NULL || t->dtype == dtype ? t : copied(t, dtype, "tensor_cast");
}

/* ---- Into a tensor that is there ------------------------------------------------------------- */

/* Whether the span of memory from t's first to its last element meets that of u. */
static bool may_overlap(const ag_tensor *t, const ag_tensor *u)
{
    if (t->storage != u->storage || t->numel == 0 || u->numel == 0)
        return false;
    int64_t t_last = t->offset, u_last = u->offset;
    for (int d = 0; d < t->ndim; d++)
        t_last += (t->shape[d] - 1) * t->stride[d];
    for (int d = 0; d < u->ndim; d++)
        u_last += (u->shape[d] - 1) * u->stride[d];
    return t->offset <= u_last && u->offset <= t_last;
}

static bool same_layout(const ag_tensor *t, const ag_tensor *u)
{
    if (!ag_same_shape(t, u) || t->offset != u->offset)
        return false;
    for (int d = 0; d < t->ndim; d++)
        if (t->shape[d] != 1 && t->stride[d] != u->stride[d])
            return false;
    return true;
}

static ag_status check_copy(const ag_tensor *dst, const ag_tensor *src)
{
    int added = dst->ndim - src->ndim;
    bool fits = added >= 0;
    for (int d = 0; fits && d < src->ndim; d++)
        fits = src->shape[d] == 1 || src->shape[d] == dst->shape[d + added];
    if (!fits) {
        ag_fail(dst->ctx, AG_ERR_SHAPE, "copy_into", "%s does not broadcast to %s", ag_shape_text(src),
                ag_shape_text(dst));
        return AG_ERR_SHAPE;
    }
    for (int d = 0; d < dst->ndim; d++)
        if (dst->stride[d] == 0 && dst->shape[d] > 1 && dst->numel > 0) {
            ag_fail(dst->ctx, AG_ERR_ARGUMENT, "copy_into", "dim %d of %s is expanded, its elements are one", d,
                    ag_shape_text(dst));
            return AG_ERR_ARGUMENT;
        }
    return AG_OK;
}

ag_status ag_copy_into(ag_tensor *dst, const ag_tensor *src)
{
    if (dst == NULL || src == NULL)
        return AG_ERR_ARGUMENT;
    ag_status status = check_copy(dst, src);
    if (status != AG_OK || dst->numel == 0)
        return status;
    ag_scope_begin(dst->ctx, NULL);
    if (!may_overlap(dst, src)) {
        copy_elements(dst, src);
    } else if (!same_layout(dst, src)) {
        const ag_tensor *apart = ag_tensor_clone(src);
        if (apart != NULL)
            copy_elements(dst, apart);
        else
            status = AG_ERR_MEMORY;
    }
    ag_scope_end(dst->ctx, NULL);
    if (status == AG_OK)
        ag_storage_changed(dst, "copy_into");
    return status;
}
