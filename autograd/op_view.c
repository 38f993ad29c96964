/* SPDX-License-Identifier: MIT
 *
 * op_view.c - the recorded views, contiguous, cast, concat and stack. tensor/view.c makes the views and checks the
 * shapes; this file adds the vjps.
 */
#include "autograd/op_impl.h"

#include <string.h>

/* Records y = op(x); nothing when y is x itself, as ag_tensor_contiguous and ag_tensor_cast may return it. */
static ag_tensor *record_view(const ag_op *op, ag_tensor *y, ag_tensor *x, const void *attr, size_t attr_size)
{
    return y == x ? y : ag_record(op, y, &x, 1, attr, attr_size, NULL);
}

/* ---- reshape, squeeze, unsqueeze, expand, contiguous, cast: the engine knows the input's shape and dtype ---- */

void ag_reshape_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_tensor_reshape(v->gy, ag_vjp_ndim(v, 0), ag_vjp_shape(v, 0)));
}

void ag_pass_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy); /* of expand: the engine sums what was repeated */
}

void ag_cast_vjp(ag_vjp *v)
{
    const ag_dtype *from = v->attr;
    ag_vjp_add(v, 0, ag_tensor_cast(v->gy, *from));
}

/* ag_<name> records `op` for the view that ag_tensor_<name> makes. */
#define VIEW(name, op, arguments, ...)                                                                       \
    ag_tensor *ag_##name(__VA_ARGS__)                                                                        \
    {                                                                                                        \
        return record_view(&ag_op_##op, ag_tensor_##name arguments, x, NULL, 0);                             \
    }
VIEW(reshape, reshape, (x, ndim, shape), ag_tensor *x, int ndim, const int64_t *shape)
VIEW(squeeze, reshape, (x, dim), ag_tensor *x, int dim)
VIEW(unsqueeze, reshape, (x, dim), ag_tensor *x, int dim)
VIEW(expand, expand, (x, ndim, shape), ag_tensor *x, int ndim, const int64_t *shape)
VIEW(contiguous, contiguous, (x), ag_tensor *x)

ag_tensor *ag_cast(ag_tensor *x, ag_dtype dtype)
{
    ag_tensor *y = ag_tensor_cast(x, dtype);
    return y == NULL || dtype == AG_I32 ? y : record_view(&ag_op_cast, y, x, &x->dtype, sizeof x->dtype);
}

/* ---- permute, transpose ---- */

/* The attribute is the inverse permutation. */
void ag_permute_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_tensor_permute(v->gy, v->attr));
}

ag_tensor *ag_permute(ag_tensor *x, const int *dims)
{
    ag_tensor *y = ag_tensor_permute(x, dims);
    if (y == NULL)
        return NULL;
    int back[AG_MAX_DIMS] = { 0 };
    for (int i = 0; i < x->ndim; i++)
        back[dims[i] < 0 ? dims[i] + x->ndim : dims[i]] = i;
    return record_view(&ag_op_permute, y, x, back, sizeof back);
}

ag_tensor *ag_transpose(ag_tensor *x, int dim0, int dim1)
{
    const int d0 = ag_checked_dim("transpose", x, dim0, 0), d1 = ag_checked_dim("transpose", x, dim1, 0);
    if (d0 < 0 || d1 < 0)
        return NULL;
    int dims[AG_MAX_DIMS] = { 0 }; /* its own inverse */
    for (int d = 0; d < x->ndim; d++)
        dims[d] = d == d0 ? d1 : d == d1 ? d0 : d;
    return record_view(&ag_op_permute, ag_tensor_transpose(x, d0, d1), x, dims, sizeof dims);
}

/* ---- slice, select, split: the gradient goes into the part it came from ---- */

typedef struct slice_attr {
    int64_t dim, start, stop, step; /* step 0: select, of `start` alone */
} slice_attr;

static ag_tensor *view_part(ag_tensor *t, const slice_attr *a)
{
    return a->step == 0 ? ag_tensor_select(t, (int)a->dim, a->start)
                        : ag_tensor_slice(t, (int)a->dim, a->start, a->stop, a->step);
}

/* The part's gradient is added to the sum so far, or written into zeros. */
void ag_part_vjp(ag_vjp *v)
{
    bool add = false;
    ag_tensor *gx = ag_vjp_target(v, 0, &add);
    if (gx != NULL && !add)
        memset(ag_data_mut(gx), 0, (size_t)gx->numel * ag_dtype_size(gx->dtype));
    ag_tensor *part = view_part(gx, v->attr);
    ag_copy_into(part, add && part != NULL ? ag_add(part, v->gy) : v->gy);
}

ag_tensor *ag_slice(ag_tensor *x, int dim, int64_t start, int64_t stop, int64_t step)
{
    const slice_attr attr = { dim, start, stop, step };
    return record_view(&ag_op_slice, ag_tensor_slice(x, dim, start, stop, step), x, &attr, sizeof attr);
}

ag_tensor *ag_select(ag_tensor *x, int dim, int64_t index)
{
    const slice_attr attr = { .dim = dim, .start = index };
    return record_view(&ag_op_select, view_part(x, &attr), x, &attr, sizeof attr);
}

void ag_split(ag_tensor *x, int dim, int count, ag_tensor **piece)
{
    if (!ag_check_given(ag_ctx_of(x), "split", "piece", piece))
        return;
    const int d = ag_checked_dim("split", x, dim, 0);
    bool good = d >= 0;
    if (good && (count < 1 || x->shape[d] % count != 0))
        good = ag_fail(x->ctx, AG_ERR_SHAPE, "split", "dim %d of %s does not divide into %d equal pieces", dim,
                       ag_shape_text(x), count);
    const int64_t extent = good ? x->shape[d] / count : 0;
    for (int i = 0; i < count && good; i++)
        good = (piece[i] = ag_slice(x, d, i * extent, (i + 1) * extent, 1)) != NULL;
    for (int i = 0; i < count && !good; i++)
        piece[i] = NULL;
}

/* ---- concat, stack ---- */

/* The attribute: where each input begins along the joined dim, and last that dim. */
void ag_concat_vjp(ag_vjp *v)
{
    const int64_t *start = v->attr;
    const int dim = (int)start[v->input_count];
    for (int i = 0; i < v->input_count; i++)
        if (ag_vjp_wants(v, i))
            ag_vjp_add(v, i, ag_tensor_slice(v->gy, dim, start[i], start[i] + ag_vjp_shape(v, i)[dim], 1));
}

/* The result's shape, and where each input begins along dim d. False when they do not fit. */
static bool concat_plan(ag_tensor *const *x, int count, int d, int64_t *shape, int64_t *start)
{
    memcpy(shape, x[0]->shape, (size_t)x[0]->ndim * sizeof *shape);
    shape[d] = 0;
    for (int i = 0; i < count; i++) {
        bool fits = x[i]->ndim == x[0]->ndim && x[i]->dtype == x[0]->dtype;
        for (int j = 0; fits && j < x[0]->ndim; j++)
            fits = j == d || x[i]->shape[j] == x[0]->shape[j];
        if (!fits)
            return ag_fail(x[0]->ctx, AG_ERR_SHAPE, "concat",
                           "tensor %d is %s %s, tensor 0 %s %s; they must agree but for dim %d", i,
                           ag_dtype_name(x[i]->dtype), ag_shape_text(x[i]), ag_dtype_name(x[0]->dtype),
                           ag_shape_text(x[0]), d);
        start[i] = shape[d];
        shape[d] += x[i]->shape[d];
    }
    start[count] = d;
    return true;
}

ag_tensor *ag_concat(ag_tensor *const *x, int count, int dim)
{
    if (x == NULL)
        return NULL;
    for (int i = 0; i < count; i++)
        if (x[i] == NULL)
            return NULL;
    const int d = count < 1 ? -1 : ag_checked_dim("concat", x[0], dim, 0);
    if (d < 0)
        return NULL;
    ag_ctx *ctx = x[0]->ctx;
    const size_t bytes = (size_t)(count + 1) * sizeof(int64_t);
    int64_t shape[AG_MAX_DIMS], *start = ag_alloc(ctx, bytes);
    const bool good = start != NULL && concat_plan(x, count, d, shape, start);
    ag_tensor *y = good ? ag_empty(ctx, x[0]->dtype, x[0]->ndim, shape) : NULL;
    for (int i = 0; i < count && y != NULL; i++)
        if (ag_copy_into(ag_tensor_slice(y, d, start[i], start[i] + x[i]->shape[d], 1), x[i]) != AG_OK)
            y = NULL;
    y = ag_record(&ag_op_concat, y, x, count, start, bytes, NULL);
    ag_free(ctx, start, bytes);
    return y;
}

ag_tensor *ag_stack(ag_tensor *const *x, int count, int dim)
{
    if (x == NULL || count < 1 || x[0] == NULL)
        return NULL;
    ag_ctx *ctx = x[0]->ctx;
    size_t bytes = (size_t)count * sizeof *x;
    ag_tensor **piece = ag_alloc(ctx, bytes);
    if (piece == NULL)
        return NULL;
    for (int i = 0; i < count; i++)
        piece[i] = ag_unsqueeze(x[i], dim);
    ag_tensor *y = ag_concat(piece, count, dim);
    ag_free(ctx, piece, bytes);
    return y;
}
