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
 * Extent 0: there is none. */
static ag_loop_dim copy_take_dim(ag_loop *loop)
{
    for (int d = 0; d < loop->ndim && loop->step[0] == 1 && loop->step[1] > 1; d++)
        if (loop->dim[d].stride[1] == 1) {
            const ag_loop_dim taken = loop->dim[d];
            loop->ndim--;
            loop->rows /= taken.extent;
            memmove(loop->dim + d, loop->dim + d + 1, (size_t)(loop->ndim - d) * sizeof taken);
            return taken;
        }
    return (ag_loop_dim){ 0 };
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
    const ag_loop_dim taken = copy_take_dim(&loop);
    for (; loop.row < loop.rows; ag_loop_next(&loop)) {
        void *target = ag_address(y, loop.at[0]);
        const void *source = ag_address(x, loop.at[1]);
        if (taken.extent > 0)
            copy_transposed[y->dtype](taken.extent, loop.n, source, loop.step[1], target, taken.stride[0]);
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
    return t == NULL ? NULL : copy_new(t, t->dtype, "tensor_clone; use ag_contiguous");
}

ag_tensor *ag_tensor_contiguous(ag_tensor *t)
{
    return t == NULL || ag_is_contiguous(t) ? t : copy_new(t, t->dtype, "tensor_contiguous; use ag_contiguous");
}

ag_tensor *ag_tensor_cast(ag_tensor *t, ag_dtype dtype)
{
    return t == NULL || t->dtype == dtype ? t : copy_new(t, dtype, "tensor_cast; use ag_cast");
}

/* ---- Into a tensor that is there ------------------------------------------------------------- */

ag_status ag_copy_into(ag_tensor *dst, const ag_tensor *src)
{
    if (dst == NULL || src == NULL)
        return AG_ERR_ARGUMENT;
    const bool fits = ag_broadcasts(src->ndim, src->shape, dst->ndim, dst->shape);
    if (!fits)
        ag_fail(dst->ctx, AG_ERR_SHAPE, "copy_into", "%s does not broadcast to %s", ag_shape_text(src),
                ag_shape_text(dst));
    if (!fits || !ag_check_separate("copy_into", dst))
        return ag_error(dst->ctx);
    if (dst->numel == 0)
        return AG_OK;
    ag_scope_begin(dst->ctx, NULL);
    if (src->storage == dst->storage)
        src = ag_tensor_clone(src);
    if (src != NULL) {
        copy_elements(dst, src);
        ag_storage_changed(dst, "copy_into");
    }
    ag_scope_end(dst->ctx, NULL);
    return src == NULL ? AG_ERR_MEMORY : AG_OK;
}
