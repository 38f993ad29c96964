/* SPDX-License-Identifier: MIT
 *
 * op_sdpa.c - scaled dot-product attention: shapes, masks and memory around the attention kernels, which have the
 * formulas (tensor/kernels/kernels.h). B batch, H heads, Tq and Tk times of queries and keys, D and Dv head sizes.
 */
#include "autograd/op_impl.h"

#include <math.h>

/* ---- Masks ---- */

bool ag_mask_allowed(ag_mask mask, int64_t query, int64_t key)
{
    int64_t position = query + mask.offset;
    if (mask.causal && key > position)
        return false;
    return mask.window == 0 || (position - mask.window < key && key < position + mask.window);
}

ag_status ag_mask_fprint(FILE *file, ag_mask mask, int64_t queries, int64_t keys)
{
    for (int64_t i = 0; i < queries; i++) {
        for (int64_t j = 0; j < keys; j++)
            fputc(ag_mask_allowed(mask, i, j) ? '#' : '.', file);
        fputc('\n', file);
    }
    return ferror(file) ? AG_ERR_FILE : AG_OK;
}

/* ---- Arguments of the kernels ---- */

typedef struct sdpa_attr {
    ag_mask mask;
    double scale;
    ag_dropout_stream dropout;
} sdpa_attr;

/* t with unit stride in its last dim, as the kernels want it. */
static ag_tensor *unit_rows(ag_tensor *t)
{
    return t->shape[3] <= 1 || t->stride[3] == 1 ? t : ag_tensor_contiguous(t);
}

/* A new [B,H,T,D], laid out in memory as `like` is: [B,T,H,D] when its heads lie inside its times, so that a head
 * split and its way back copy nothing. */
static ag_tensor *empty_heads(const ag_tensor *like, int64_t T, int64_t D)
{
    int64_t B = like->shape[0], H = like->shape[1];
    if (like->stride[1] < like->stride[2])
        return ag_tensor_transpose(ag_empty(like->ctx, like->dtype, AG_SHAPE(B, T, H, D)), 1, 2);
    return ag_empty(like->ctx, like->dtype, AG_SHAPE(B, H, T, D));
}

/* Sizes, scale, mask and the strides of q and k. */
static ag_attention arguments(const ag_tensor *q, const ag_tensor *k, const sdpa_attr *attr)
{
    return (ag_attention){
        .B = q->shape[0], .H = q->shape[1], .Tq = q->shape[2], .Tk = k->shape[2], .D = q->shape[3],
        .scale = attr->scale,
        .left = attr->mask.window > 0 ? attr->mask.window - 1 : -1,
        .right = attr->mask.causal ? 0 : attr->mask.window > 0 ? attr->mask.window - 1 : -1,
        .offset = attr->mask.offset,
        .dropout = attr->dropout,
        .q = ag_data(q), .q_batch = q->stride[0], .q_head = q->stride[1], .q_time = q->stride[2],
        .k = ag_data(k), .k_batch = k->stride[0], .k_head = k->stride[1], .k_time = k->stride[2],
    };
}

static void add_values(ag_attention *a, const ag_tensor *v, const ag_tensor *o, const ag_tensor *lse)
{
    a->Dv = v->shape[3];
    a->v = ag_data(v);
    a->v_batch = v->stride[0];
    a->v_head = v->stride[1];
    a->v_time = v->stride[2];
    a->o = (char *)o->storage->data + (size_t)o->offset * ag_dtype_size(o->dtype);
    a->o_batch = o->stride[0];
    a->o_head = o->stride[1];
    a->o_time = o->stride[2];
    a->lse = lse->storage->data;
}

/* Runs one of the kernels with scratch memory from the context; false when there is none. */
static bool run(ag_ctx *ctx, const ag_real_kernels *k, ag_attention_kernel *kernel, const ag_attention *a)
{
    size_t bytes = k->attention_scratch(ag_ctx_threads(ctx), a);
    void *scratch = ag_alloc(ctx, bytes);
    if (scratch == NULL)
        return false;
    kernel(ag_ctx_threads(ctx), a, scratch);
    ag_free(ctx, scratch, bytes);
    return true;
}

/* ---- The op ---- */

static void sdpa_vjp(ag_vjp *v)
{
    ag_ctx *ctx = v->ctx;
    ag_tensor *q = unit_rows(v->input[0]), *k = unit_rows(v->input[1]), *value = unit_rows(v->input[2]);
    ag_tensor *gy = unit_rows(v->gy);
    if (q == NULL || k == NULL || value == NULL || gy == NULL)
        return;
    ag_tensor *gq = empty_heads(q, q->shape[2], q->shape[3]);
    ag_tensor *gk = empty_heads(k, k->shape[2], k->shape[3]);
    ag_tensor *gv = empty_heads(value, value->shape[2], value->shape[3]);
    if (gq == NULL || gk == NULL || gv == NULL)
        return;
    ag_attention a = arguments(q, k, v->attr);
    add_values(&a, value, v->output, v->extra);
    a.dout = ag_data(gy);
    a.dout_batch = gy->stride[0], a.dout_head = gy->stride[1], a.dout_time = gy->stride[2];
    a.dq = gq->storage->data;
    a.dq_batch = gq->stride[0], a.dq_head = gq->stride[1], a.dq_time = gq->stride[2];
    a.dk = gk->storage->data;
    a.dk_batch = gk->stride[0], a.dk_head = gk->stride[1], a.dk_time = gk->stride[2];
    a.dv = gv->storage->data;
    a.dv_batch = gv->stride[0], a.dv_head = gv->stride[1], a.dv_time = gv->stride[2];
    const ag_real_kernels *kernels = ag_kernels(ctx, q->dtype);
    if (!run(ctx, kernels, kernels->attention_vjp, &a))
        return;
    ag_vjp_add(v, 0, gq);
    ag_vjp_add(v, 1, gk);
    ag_vjp_add(v, 2, gv);
}

const ag_op ag_op_sdpa = {
    "sdpa", 3, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1 | AG_KEEP_INPUT << 2 | AG_KEEP_OUTPUT, sdpa_vjp
};

/* q[B,H,Tq,D], k[B,H,Tk,D] of one real dtype. */
static bool check_query_key(const char *where, const ag_tensor *q, const ag_tensor *k)
{
    if (!ag_same_real(where, q, k))
        return false;
    if (q->ndim == 4 && k->ndim == 4 && q->shape[0] == k->shape[0] && q->shape[1] == k->shape[1] &&
        q->shape[3] == k->shape[3] && q->shape[3] > 0)
        return true;
    ag_fail(q->ctx, AG_ERR_SHAPE, where, "queries are %s, keys %s; must be [B,H,Tq,D] and [B,H,Tk,D]", ag_shape_text(q),
            ag_shape_text(k));
    return false;
}

static bool check_config(ag_ctx *ctx, const char *where, const ag_sdpa_config *config)
{
    if (config->mask.window < 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "window is %lld, must be 0 (no bound) or more",
                (long long)config->mask.window);
    else if (!(config->dropout >= 0 && config->dropout < 1))
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "dropout is %g, must be in [0, 1)", config->dropout);
    else
        return true;
    return false;
}

static sdpa_attr attributes(const ag_sdpa_config *config, int64_t D)
{
    return (sdpa_attr){ .mask = config->mask, .scale = config->scale != 0 ? config->scale : 1 / sqrt((double)D) };
}

ag_tensor *ag_sdpa(ag_tensor *q, ag_tensor *k, ag_tensor *v, ag_sdpa_config config)
{
    if (q == NULL || k == NULL || v == NULL || !check_query_key("sdpa", q, k) || !ag_same_real("sdpa", q, v))
        return NULL;
    ag_ctx *ctx = q->ctx;
    if (v->ndim != 4 || v->shape[0] != k->shape[0] || v->shape[1] != k->shape[1] || v->shape[2] != k->shape[2])
        return ag_fail(ctx, AG_ERR_SHAPE, "sdpa", "keys are %s, values %s; must be [B,H,Tk,D] and [B,H,Tk,Dv]",
                       ag_shape_text(k), ag_shape_text(v));
    if (!check_config(ctx, "sdpa", &config))
        return NULL;
    ag_tensor *rows_q = unit_rows(q), *rows_k = unit_rows(k), *rows_v = unit_rows(v);
    ag_tensor *lse = ag_empty(ctx, q->dtype, 3, q->shape);
    if (rows_q == NULL || rows_k == NULL || rows_v == NULL || lse == NULL)
        return NULL;
    ag_tensor *o = empty_heads(rows_q, q->shape[2], v->shape[3]);
    if (o == NULL)
        return NULL;
    sdpa_attr attr = attributes(&config, q->shape[3]);
    if (config.dropout > 0) {
        int64_t row = (k->shape[2] + 3) / 4; /* counter blocks: rows begin on a block */
        ag_rng rng = ag_rng_take(ctx, (uint64_t)(q->shape[0] * q->shape[1] * q->shape[2] * row));
        attr.dropout = (ag_dropout_stream){ config.dropout, rng.seed, rng.counter };
    }
    ag_attention a = arguments(rows_q, rows_k, &attr);
    add_values(&a, rows_v, o, lse);
    const ag_real_kernels *kernels = ag_kernels(ctx, q->dtype);
    if (!run(ctx, kernels, kernels->attention, &a))
        return NULL;
    if (config.lse != NULL)
        *config.lse = lse;
    return ag_record(&ag_op_sdpa, o, (ag_tensor *[]){ q, k, v }, 3, &attr, sizeof attr, lse);
}

ag_tensor *ag_sdpa_weights(ag_tensor *q, ag_tensor *k, ag_tensor *lse, ag_sdpa_config config)
{
    if (q == NULL || k == NULL || lse == NULL || !check_query_key("sdpa_weights", q, k) ||
        !ag_same_real("sdpa_weights", q, lse) || !check_config(q->ctx, "sdpa_weights", &config))
        return NULL;
    ag_ctx *ctx = q->ctx;
    if (lse->ndim != 3 || lse->shape[0] != q->shape[0] || lse->shape[1] != q->shape[1] || lse->shape[2] != q->shape[2])
        return ag_fail(ctx, AG_ERR_SHAPE, "sdpa_weights", "queries are %s, lse %s; must be [B,H,Tq,D] and [B,H,Tq]",
                       ag_shape_text(q), ag_shape_text(lse));
    q = unit_rows(q);
    k = unit_rows(k);
    lse = ag_tensor_contiguous(lse);
    ag_tensor *weights = q == NULL || k == NULL ? NULL
                       : ag_empty(ctx, q->dtype, AG_SHAPE(q->shape[0], q->shape[1], q->shape[2], k->shape[2]));
    if (lse == NULL || weights == NULL)
        return NULL;
    sdpa_attr attr = attributes(&config, q->shape[3]);
    ag_attention a = arguments(q, k, &attr);
    a.lse = (char *)lse->storage->data + (size_t)lse->offset * ag_dtype_size(lse->dtype);
    a.weights = weights->storage->data;
    const ag_real_kernels *kernels = ag_kernels(ctx, q->dtype);
    return run(ctx, kernels, kernels->attention_weights, &a) ? weights : NULL;
}
