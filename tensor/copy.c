/* SPDX-License-Identifier: MIT
 *
 * copy.c - copies between layouts and dtypes.
 *
 * float64 to float32 rounds to nearest. To int32 the fraction is dropped, values out of range become the nearest int32,
 * and NaN becomes 0.
 */
#include "tensor/tensor_impl.h"

#include <string.h>

enum { TILE = 8, CAST_CHUNK = 256 };

#define JOIN(a, b) a##_##b
#define FN(name, suffix) JOIN(name, suffix)

#define element float
#define NAME f32
#include "tensor/copy.inc"

#define element double
#define NAME f64
#include "tensor/copy.inc"

#define element int32_t
#define NAME i32
#include "tensor/copy.inc"

typedef void copy_row_fn(int64_t n, const void *source, int64_t sx, void *target, int64_t sy);
typedef void copy_transposed_fn(int64_t m, int64_t n, const void *source, int64_t sx, void *target, int64_t sy);
static copy_row_fn *const copy_row[] = { [AG_F32] = copy_row_f32, [AG_F64] = copy_row_f64, [AG_I32] = copy_row_i32 };
static copy_transposed_fn *const copy_transposed[] = {
    [AG_F32] = copy_transposed_f32, [AG_F64] = copy_transposed_f64, [AG_I32] = copy_transposed_i32
};

/* ---- Between dtypes, by way of double, which holds every value of each ---- */

void ag_read_row(ag_dtype dtype, int64_t n, const void *x, int64_t sx, double *y)
{
    const float *f32 = x;
    const double *f64 = x;
    const int32_t *i32 = x;
    for (int64_t i = 0; dtype == AG_F32 && i < n; i++)
        y[i] = (double)f32[i * sx];
    for (int64_t i = 0; dtype == AG_F64 && i < n; i++)
        y[i] = f64[i * sx];
    for (int64_t i = 0; dtype == AG_I32 && i < n; i++)
        y[i] = (double)i32[i * sx];
}

static int32_t copy_to_int32(double x)
{
    if (x >= 2147483647.0)
        return INT32_MAX;
    if (x <= -2147483648.0)
        return INT32_MIN;
    return x == x ? (int32_t)x : 0;
}

void ag_write_row(ag_dtype dtype, int64_t n, const double *x, int64_t sx, void *y, int64_t sy)
{
    float *f32 = y;
    double *f64 = y;
    int32_t *i32 = y;
    for (int64_t i = 0; dtype == AG_F32 && i < n; i++)
        f32[i * sy] = (float)x[i * sx];
    for (int64_t i = 0; dtype == AG_F64 && i < n; i++)
        f64[i * sy] = x[i * sx];
    for (int64_t i = 0; dtype == AG_I32 && i < n; i++)
        i32[i * sy] = copy_to_int32(x[i * sx]);
}

static void copy_cast(ag_tensor *y, const ag_tensor *x)
{
    double chunk[CAST_CHUNK];
    ag_loop loop;
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ y, x });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i += CAST_CHUNK) {
            const int64_t n = loop.n - i < CAST_CHUNK ? loop.n - i : CAST_CHUNK;
            ag_read_row(x->dtype, n, ag_address(x, loop.at[1] + i * loop.step[1]), loop.step[1], chunk);
            ag_write_row(y->dtype, n, chunk, 1, ag_address(y, loop.at[0] + i * loop.step[0]), loop.step[0]);
        }
}

/* ---- Within a dtype ---- */

/* Where the loop's rows are the columns of a transposed matrix, takes the dim along which x is dense out of the loop.
 * Returns its extent, 0 when there is none, and y's stride along it. */
static int64_t copy_take_dim(ag_loop *loop, int64_t *y_stride)
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

/* y[...] = x[...]: x's shape broadcasts to y's, and the two do not overlap. */
static void copy_elements(ag_tensor *y, const ag_tensor *x)
{
    if (y->dtype != x->dtype) {
        copy_cast(y, x);
        return;
    }
    const size_t size = ag_dtype_size(y->dtype);
    ag_loop loop;
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ y, x });
    int64_t y_stride = 0, m = copy_take_dim(&loop, &y_stride);
    for (; loop.row < loop.rows; ag_loop_next(&loop)) {
        void *target = ag_address(y, loop.at[0]);
        const void *source = ag_address(x, loop.at[1]);
        if (m > 0)
            copy_transposed[y->dtype](m, loop.n, source, loop.step[1], target, y_stride);
        else if (loop.step[0] == 1 && loop.step[1] == 1)
            memcpy(target, source, (size_t)loop.n * size);
        else
            copy_row[y->dtype](loop.n, source, loop.step[1], target, loop.step[0]);
    }
}

/* A new contiguous tensor with t's values, made by the function `by`. */
static ag_tensor *copy_new(const ag_tensor *t, ag_dtype dtype, const char *by)
{
    ag_tensor *copy = ag_empty(t->ctx, dtype, t->ndim, t->shape);
    if (copy != NULL)
        copy_elements(copy, t);
    return ag_derived(copy, t, by);
}

ag_tensor *ag_tensor_clone(const ag_tensor *t)
{
    return t == NULL ? NULL : copy_new(t, t->dtype, "tensor_clone");
}

ag_tensor *ag_tensor_contiguous(ag_tensor *t)
{
    return t == NULL || ag_is_contiguous(t) ? t : copy_new(t, t->dtype, "tensor_contiguous");
}

ag_tensor *ag_tensor_cast(ag_tensor *t, ag_dtype dtype)
{
    return t == NULL || t->dtype == dtype ? t : copy_new(t, dtype, "tensor_cast");
}

/* ---- Into a tensor that is there ------------------------------------------------------------- */

/* Whether the span of memory from t's first to its last element meets that of u. */
static bool copy_may_overlap(const ag_tensor *t, const ag_tensor *u)
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

static ag_status copy_check(const ag_tensor *dst, const ag_tensor *src)
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
    return ag_check_separate("copy_into", dst) ? AG_OK : AG_ERR_ARGUMENT;
}

ag_status ag_copy_into(ag_tensor *dst, const ag_tensor *src)
{
    if (dst == NULL || src == NULL)
        return AG_ERR_ARGUMENT;
    ag_status status = copy_check(dst, src);
    if (status != AG_OK || dst->numel == 0)
        return status;
    ag_scope_begin(dst->ctx, NULL);
    if (copy_may_overlap(dst, src))
        src = ag_tensor_clone(src);
    if (src != NULL)
        copy_elements(dst, src);
    else
        status = AG_ERR_MEMORY;
    ag_scope_end(dst->ctx, NULL);
    if (status == AG_OK)
        ag_storage_changed(dst, "copy_into");
    return status;
}
