/* SPDX-License-Identifier: MIT
 *
 * op_norm.c - layer_norm and rms_norm over the last dim.
 */
#include "autograd/op_impl.h"

/* x[..,N] as M rows of N. */
static int64_t norm_rows(const ag_tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++)
        rows *= x->shape[d];
    return rows;
}

static int64_t norm_size(const ag_tensor *x)
{
    return x->shape[x->ndim - 1];
}

/* ---- layer_norm ---- */

static void layer_norm_vjp(ag_vjp *v)
{
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *gy = ag_tensor_contiguous(v->gy), *w = v->input[1];
    w = w == NULL ? NULL : ag_tensor_contiguous(w);
    if (x == NULL || gy == NULL || (w == NULL && v->input[1] != NULL))
        return;
    const ag_real_kernels *k = ag_kernels(v->ctx, x->dtype);
    int64_t M = norm_rows(x), N = norm_size(x);
    bool wants_w = ag_vjp_wants(v, 1), wants_b = ag_vjp_wants(v, 2), wants_x = ag_vjp_wants(v, 0);
    bool add = false; /* where x is a residual, its gradient has a part already */
    ag_tensor *gx = ag_vjp_target(v, 0, &add);
    ag_tensor *gw = wants_w ? ag_empty(v->ctx, x->dtype, 1, &N) : NULL;
    ag_tensor *gb = wants_b ? ag_empty(v->ctx, x->dtype, 1, &N) : NULL;
    size_t bytes = k->layer_norm_vjp_scratch(M, N);
    void *scratch = ag_alloc(v->ctx, bytes);
    if (scratch == NULL || (wants_x && gx == NULL) || (wants_w && gw == NULL) || (wants_b && gb == NULL)) {
        ag_free(v->ctx, scratch, bytes);
        return;
    }
    const char *mean = ag_data(v->extra), *rstd = mean + (size_t)M * ag_dtype_size(x->dtype);
    k->layer_norm_vjp(ag_ctx_team(v->ctx), M, N, ag_data(x), w == NULL ? NULL : ag_data(w), mean, rstd, ag_data(gy),
                      add, gx == NULL ? NULL : ag_data_mut(gx), gw == NULL ? NULL : gw->storage->data,
                      gb == NULL ? NULL : gb->storage->data, scratch);
    ag_free(v->ctx, scratch, bytes);
    ag_vjp_add(v, 1, gw);
    ag_vjp_add(v, 2, gb);
}

const ag_op ag_op_layer_norm = { "layer_norm", 3, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, layer_norm_vjp };

/* w or b, which is NULL or of the row's size; false with the error recorded. */
static bool norm_parameter(const char *where, const ag_tensor *x, const ag_tensor *parameter, const char *name)
{
    if (parameter == NULL)
        return true;
    if (!ag_same_real(where, x, parameter))
        return false;
    if (parameter->ndim == 1 && parameter->shape[0] == norm_size(x))
        return true;
    ag_fail(x->ctx, AG_ERR_SHAPE, where, "x is %s, the %s %s", ag_shape_text(x), name, ag_shape_text(parameter));
    return false;
}

ag_tensor *ag_layer_norm(ag_tensor *x, ag_tensor *w, ag_tensor *b, double eps)
{
    const ag_real_kernels *k = ag_real_kernels_for("layer_norm", x);
    if (k == NULL)
        return NULL;
    if (x->ndim == 0)
        return ag_fail(x->ctx, AG_ERR_SHAPE, "layer_norm", "x is a scalar, must have a dim to normalise over");
    if (!norm_parameter("layer_norm", x, w, "weight") || !norm_parameter("layer_norm", x, b, "bias"))
        return NULL;
    int64_t M = norm_rows(x), N = norm_size(x);
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty(x->ctx, x->dtype, x->ndim, x->shape);
    ag_tensor *saved = ag_empty(x->ctx, x->dtype, AG_SHAPE(2, M)); /* mean, rstd */
    ag_tensor *dense_w = w == NULL ? NULL : ag_tensor_contiguous(w);
    ag_tensor *dense_b = b == NULL ? NULL : ag_tensor_contiguous(b);
    if (dense == NULL || y == NULL || saved == NULL || (w != NULL && dense_w == NULL) || (b != NULL && dense_b == NULL))
        return NULL;
    char *mean = saved->storage->data, *rstd = mean + (size_t)M * ag_dtype_size(x->dtype);
    k->layer_norm(ag_ctx_team(x->ctx), M, N, eps, ag_data(dense), w == NULL ? NULL : ag_data(dense_w),
                  b == NULL ? NULL : ag_data(dense_b), y->storage->data, mean, rstd);
    return ag_record(&ag_op_layer_norm, y, (ag_tensor *[]){ x, w, b }, 3, NULL, 0, saved);
}

/* ---- rms_norm ---- */

static void rms_norm_vjp(ag_vjp *v)
{
    ag_tensor *x = ag_tensor_contiguous(v->input[0]), *gy = ag_tensor_contiguous(v->gy), *w = v->input[1];
    w = w == NULL ? NULL : ag_tensor_contiguous(w);
    if (x == NULL || gy == NULL || (w == NULL && v->input[1] != NULL))
        return;
    const ag_real_kernels *k = ag_kernels(v->ctx, x->dtype);
    int64_t M = norm_rows(x), N = norm_size(x);
    bool wants_x = ag_vjp_wants(v, 0), wants_w = ag_vjp_wants(v, 1);
    bool add = false;
    ag_tensor *gx = ag_vjp_target(v, 0, &add);
    ag_tensor *gw = wants_w ? ag_empty(v->ctx, x->dtype, 1, &N) : NULL;
    size_t bytes = k->rms_norm_vjp_scratch(M, N);
    void *scratch = ag_alloc(v->ctx, bytes);
    if (scratch != NULL && (gx != NULL || !wants_x) && (gw != NULL || !wants_w)) {
        k->rms_norm_vjp(ag_ctx_team(v->ctx), M, N, ag_data(x), w == NULL ? NULL : ag_data(w), ag_data(v->extra),
                        ag_data(gy), add, gx == NULL ? NULL : ag_data_mut(gx),
                        gw == NULL ? NULL : gw->storage->data, scratch);
        ag_vjp_add(v, 1, gw);
    }
    ag_free(v->ctx, scratch, bytes);
}

const ag_op ag_op_rms_norm = { "rms_norm", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, rms_norm_vjp };

ag_tensor *ag_rms_norm(ag_tensor *x, ag_tensor *w, double eps)
{
    const ag_real_kernels *k = ag_real_kernels_for("rms_norm", x);
    if (k == NULL)
        return NULL;
    if (x->ndim == 0)
        return ag_fail(x->ctx, AG_ERR_SHAPE, "rms_norm", "x is a scalar, must have a dim to normalise over");
    if (!norm_parameter("rms_norm", x, w, "weight"))
        return NULL;
    int64_t M = norm_rows(x);
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty(x->ctx, x->dtype, x->ndim, x->shape);
    ag_tensor *rstd = ag_empty(x->ctx, x->dtype, 1, &M), *dense_w = w == NULL ? NULL : ag_tensor_contiguous(w);
    if (dense == NULL || y == NULL || rstd == NULL || (w != NULL && dense_w == NULL))
        return NULL;
    k->rms_norm(ag_ctx_team(x->ctx), M, norm_size(x), eps, ag_data(dense), w == NULL ? NULL : ag_data(dense_w),
                y->storage->data, rstd->storage->data);
    return ag_record(&ag_op_rms_norm, y, (ag_tensor *[]){ x, w }, 2, NULL, 0, rstd);
}
