/* SPDX-License-Identifier: MIT
 *
 * op_sdpa.c - scaled dot-product attention: shapes, options and memory around the attention kernels, which have the
 * formulas (tensor/kernels/kernels.h). B batch, H heads of queries, Hk of keys and values, Tq and Tk times of queries
 * and keys, D and Dv head sizes.
 */
#include "autograd/mask_impl.h"
#include "autograd/op_impl.h"

#include <math.h>

/* ---- What fits ---- */

/* q[B,H,Tq,D], k[B,Hk,Tk,D] of one real dtype, Hk dividing H. */
static bool check_query_key(const char *where, const ag_tensor *q, const ag_tensor *k)
{
    if (!ag_same_real(where, q, k))
        return false;
    if (q->ndim != 4 || k->ndim != 4 || q->shape[0] != k->shape[0] || q->shape[3] != k->shape[3] || q->shape[3] == 0)
        ag_fail(q->ctx, AG_ERR_SHAPE, where, "queries are %s, keys %s; must be [B,H,Tq,D] and [B,Hk,Tk,D]",
                ag_shape_text(q), ag_shape_text(k));
    else if (q->shape[1] != k->shape[1] && (k->shape[1] == 0 || q->shape[1] % k->shape[1] != 0))
        ag_fail(q->ctx, AG_ERR_SHAPE, where, "queries are %s, keys %s: %lld heads are no multiple of %lld",
                ag_shape_text(q), ag_shape_text(k), (long long)q->shape[1], (long long)k->shape[1]);
    else
        return true;
    return false;
}

static bool check_values(const char *where, const ag_tensor *k, const ag_tensor *v)
{
    if (!ag_same_real(where, k, v))
        return false;
    if (v->ndim == 4 && v->shape[0] == k->shape[0] && v->shape[1] == k->shape[1] && v->shape[2] == k->shape[2])
        return true;
    ag_fail(k->ctx, AG_ERR_SHAPE, where, "keys are %s, values %s; must be [B,Hk,Tk,D] and [B,Hk,Tk,Dv]",
            ag_shape_text(k), ag_shape_text(v));
    return false;
}

/* Everything but the mask; pairs[4] = B, H, Tq, Tk. */
static bool check_config(const char *where, const ag_tensor *q, const ag_sdpa_config *c, const int64_t *pairs)
{
    ag_ctx *ctx = q->ctx;
    const ag_tensor *bias = c->bias, *relative = c->relative;
    int64_t stride[4];
    if ((bias != NULL && !ag_same_real(where, q, bias)) || (relative != NULL && !ag_same_real(where, q, relative)))
        return false;
    if (!(c->dropout >= 0 && c->dropout < 1))
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "dropout is %g, must be in [0, 1)", c->dropout);
    else if (!(c->soft_cap >= 0 && c->soft_cap < (double)INFINITY))
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "soft_cap is %g, must be 0 (none) or positive and finite", c->soft_cap);
    else if (bias != NULL && !ag_strides_as(bias, pairs, stride))
        ag_fail(ctx, AG_ERR_SHAPE, where, "the bias is %s, must broadcast to %s", ag_shape_text(bias),
                ag_dims_text(ctx, 4, pairs));
    else if (relative != NULL && (relative->ndim != 2 || relative->shape[1] % 2 != 1 ||
                                  (relative->shape[0] != 1 && relative->shape[0] != pairs[1])))
        ag_fail(ctx, AG_ERR_SHAPE, where, "relative is %s, must be [H,2R+1] with H %lld or 1", ag_shape_text(relative),
                (long long)pairs[1]);
    else
        return true;
    return false;
}

/* ---- Arguments of the kernels ---- */

/* The tensors that the config names are inputs of the node, which keeps them. */
typedef struct sdpa_attr {
    ag_sdpa_config config;
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

static void add_bias(ag_attention *a, const ag_tensor *bias)
{
    int64_t stride[4];
    ag_strides_as(bias, (const int64_t[]){ a->B, a->H, a->Tq, a->Tk }, stride);
    a->bias = ag_data(bias);
    a->bias_batch = stride[0];
    a->bias_head = stride[1];
    a->bias_query = stride[2];
    a->bias_key = stride[3];
}

/* Sizes, scale, mask, what is added to the scores, and the strides of q and k. False on an error, which is of memory
 * where the same arguments were taken before. */
static bool begin_arguments(const char *where, const ag_tensor *q, const ag_tensor *k, const sdpa_attr *attr,
                            ag_attention *a)
{
    const ag_sdpa_config *c = &attr->config;
    const int64_t pairs[] = { q->shape[0], q->shape[1], q->shape[2], k->shape[2] };
    *a = (ag_attention){
        .B = pairs[0], .H = pairs[1], .Hk = k->shape[1], .Tq = pairs[2], .Tk = pairs[3], .D = q->shape[3],
        .scale = c->scale != 0 ? c->scale : 1 / sqrt((double)q->shape[3]),
        .cap = c->soft_cap,
        .dropout = attr->dropout,
        .q = ag_data(q), .q_batch = q->stride[0], .q_head = q->stride[1], .q_time = q->stride[2],
        .k = ag_data(k), .k_batch = k->stride[0], .k_head = k->stride[1], .k_time = k->stride[2],
    };
    if (!check_config(where, q, c, pairs) || !ag_mask_for_kernels(q->ctx, where, &c->mask, pairs, &a->mask))
        return false;
    if (c->bias != NULL)
        add_bias(a, c->bias);
    ag_tensor *relative = c->relative == NULL ? NULL : ag_tensor_contiguous(c->relative);
    if (relative != NULL) {
        a->relative = ag_data(relative);
        a->relative_head = relative->shape[0] == 1 ? 0 : relative->shape[1];
        a->reach = relative->shape[1] / 2;
    }
    return relative != NULL || c->relative == NULL;
}

static void add_values(ag_attention *a, const ag_tensor *v, const ag_tensor *o, const ag_tensor *lse)
{
    a->Dv = v->shape[3];
    a->v = ag_data(v);
    a->v_batch = v->stride[0], a->v_head = v->stride[1], a->v_time = v->stride[2];
    a->o = ag_address(o, 0);
    a->o_batch = o->stride[0], a->o_head = o->stride[1], a->o_time = o->stride[2];
    a->lse = ag_address(lse, 0);
}

/* Runs one of the kernels with scratch memory from the context; false when there is none. */
static bool run(ag_ctx *ctx, const ag_real_kernels *k, ag_attention_kernel *kernel, const ag_attention *a)
{
    size_t bytes = k->attention_scratch(ag_ctx_threads(ctx), a);
    void *scratch = ag_alloc(ctx, bytes);
    if (scratch == NULL)
        return false;
    kernel(ag_ctx_team(ctx), a, scratch);
    ag_free(ctx, scratch, bytes);
    return true;
}

/* ---- The op. Its inputs: q, k, v, and of what the config names those that are there, in this order. ---- */

enum { MOST_INPUTS = 11 };

static int list_inputs(ag_tensor *q, ag_tensor *k, ag_tensor *v, const ag_sdpa_config *c, ag_tensor **input)
{
    ag_tensor *const all[MOST_INPUTS] = {
        q, k, v, c->bias, c->relative, c->mask.starts, c->mask.key_lengths, c->mask.query_documents,
        c->mask.key_documents, c->mask.blocks, c->mask.allowed,
    };
    int count = 0;
    for (int i = 0; i < MOST_INPUTS; i++)
        if (all[i] != NULL)
            input[count++] = all[i];
    return count;
}

/* The gradients of queries, keys and values; a->dout stands. */
static void heads_vjp(ag_vjp *v, const ag_real_kernels *kernels, ag_attention *a, const ag_tensor *q,
                      const ag_tensor *k, const ag_tensor *value)
{
    ag_tensor *gq = empty_heads(q, q->shape[2], q->shape[3]);
    ag_tensor *gk = empty_heads(k, k->shape[2], k->shape[3]);
    ag_tensor *gv = empty_heads(value, value->shape[2], value->shape[3]);
    if (gq == NULL || gk == NULL || gv == NULL)
        return;
    a->dq = gq->storage->data;
    a->dq_batch = gq->stride[0], a->dq_head = gq->stride[1], a->dq_time = gq->stride[2];
    a->dk = gk->storage->data;
    a->dk_batch = gk->stride[0], a->dk_head = gk->stride[1], a->dk_time = gk->stride[2];
    a->dv = gv->storage->data;
    a->dv_batch = gv->stride[0], a->dv_head = gv->stride[1], a->dv_time = gv->stride[2];
    if (!run(v->ctx, kernels, kernels->attention_vjp, a))
        return;
    ag_vjp_add(v, 0, gq);
    ag_vjp_add(v, 1, gk);
    ag_vjp_add(v, 2, gv);
}

/* The gradients of bias and relative, each in its own shape: what is shared is summed by the kernel. */
static void bias_vjp(ag_vjp *v, const ag_real_kernels *kernels, ag_attention *a, const ag_sdpa_config *c)
{
    const int bias_input = 3, relative_input = c->bias == NULL ? 3 : 4;
    const bool of_bias = c->bias != NULL && ag_vjp_wants(v, bias_input);
    const bool of_relative = c->relative != NULL && ag_vjp_wants(v, relative_input);
    ag_tensor *gbias = NULL, *grelative = NULL;
    if (of_bias) {
        ag_tensor *bias = ag_tensor_contiguous(c->bias);
        gbias = ag_empty(v->ctx, c->bias->dtype, c->bias->ndim, c->bias->shape);
        if (bias == NULL || gbias == NULL)
            return;
        add_bias(a, bias);
        a->dbias = gbias->storage->data;
    }
    if (of_relative) {
        grelative = ag_empty(v->ctx, c->relative->dtype, 2, c->relative->shape);
        if (grelative == NULL)
            return;
        a->drelative = grelative->storage->data;
    }
    if ((!of_bias && !of_relative) || !run(v->ctx, kernels, kernels->attention_bias_vjp, a))
        return;
    ag_vjp_add(v, bias_input, gbias);
    ag_vjp_add(v, relative_input, grelative);
}

static void sdpa_vjp(ag_vjp *v)
{
    const sdpa_attr *attr = v->attr;
    ag_tensor *q = unit_rows(v->input[0]), *k = unit_rows(v->input[1]), *value = unit_rows(v->input[2]);
    ag_tensor *gy = unit_rows(v->gy);
    ag_attention a;
    if (q == NULL || k == NULL || value == NULL || gy == NULL || !begin_arguments("sdpa", q, k, attr, &a))
        return;
    add_values(&a, value, v->output, v->extra);
    a.dout = ag_data(gy);
    a.dout_batch = gy->stride[0], a.dout_head = gy->stride[1], a.dout_time = gy->stride[2];
    const ag_real_kernels *kernels = ag_kernels(v->ctx, q->dtype);
    if (ag_vjp_wants(v, 0) || ag_vjp_wants(v, 1) || ag_vjp_wants(v, 2))
        heads_vjp(v, kernels, &a, q, k, value);
    bias_vjp(v, kernels, &a, &attr->config);
}

/* Pairs of queries and keys that a mask allows, per batch entry and head; NaN when counting them takes more than a pass
 * over the queries. */
static double sdpa_allowed_pairs(const ag_mask *m, int64_t Tq, int64_t Tk)
{
    if (m->stride != 0 || m->global != 0 || m->starts != NULL || m->key_lengths != NULL ||
        m->query_documents != NULL || m->blocks != NULL || m->allowed != NULL)
        return (double)NAN;
    double pairs = 0;
    for (int64_t i = 0; i < Tq; i++) {
        int64_t position = i + m->offset + (m->align == AG_BOTTOM_RIGHT ? Tk - Tq : 0);
        int64_t first = m->back > 0 && position >= m->back ? position - m->back + 1 : 0;
        int64_t end = m->causal && position + 1 < Tk ? position + 1 : Tk;
        if (m->ahead > 0 && position + m->ahead < end)
            end = position + m->ahead;
        pairs += end > first ? (double)(end - first) : 0;
    }
    return pairs;
}

static double sdpa_work(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted)
{
    (void)y, (void)count;
    const ag_tensor *q = input[0], *v = input[2];
    double pairs = sdpa_allowed_pairs(&((const sdpa_attr *)attr)->config.mask, q->shape[2], v->shape[2]);
    return (wanted != 0 ? 2 : 1) * pairs * (double)(q->shape[0] * q->shape[1] * (q->shape[3] + v->shape[3]));
}

const ag_op ag_op_sdpa = {
    "sdpa", -1, (((unsigned)AG_KEEP_INPUT << MOST_INPUTS) - AG_KEEP_INPUT) | AG_KEEP_OUTPUT, sdpa_vjp, .work = sdpa_work
};

ag_tensor *ag_sdpa(ag_tensor *q, ag_tensor *k, ag_tensor *v, ag_sdpa_config config)
{
    if (q == NULL || k == NULL || v == NULL || !check_query_key("sdpa", q, k) || !check_values("sdpa", k, v))
        return NULL;
    ag_ctx *ctx = q->ctx;
    sdpa_attr attr = { .config = config };
    attr.config.lse = NULL; /* the caller's variable, which may be gone when backward runs */
    ag_tensor *rows_q = unit_rows(q), *rows_k = unit_rows(k), *rows_v = unit_rows(v);
    ag_attention a;
    if (rows_q == NULL || rows_k == NULL || rows_v == NULL || !begin_arguments("sdpa", rows_q, rows_k, &attr, &a))
        return NULL;
    ag_tensor *lse = ag_empty(ctx, q->dtype, 3, q->shape), *o = empty_heads(rows_q, q->shape[2], v->shape[3]);
    if (lse == NULL || o == NULL)
        return NULL;
    if (config.dropout > 0) {
        int64_t row = (a.Tk + 3) / 4; /* counter blocks: rows begin on a block */
        ag_rng rng = ag_rng_take(ctx, (uint64_t)(a.B * a.H * a.Tq * row));
        attr.dropout = a.dropout = (ag_dropout_stream){ config.dropout, rng.seed, rng.counter };
    }
    add_values(&a, rows_v, o, lse);
    const ag_real_kernels *kernels = ag_kernels(ctx, q->dtype);
    if (!run(ctx, kernels, kernels->attention, &a))
        return NULL;
    if (config.lse != NULL)
        *config.lse = lse;
    ag_tensor *input[MOST_INPUTS];
    int count = list_inputs(q, k, v, &config, input);
    return ag_record(&ag_op_sdpa, o, input, count, &attr, sizeof attr, lse);
}

/* ---- The weights ---- */

/* chosen[count] (NULL: all) lie in 0 .. extent-1. */
static bool check_chosen(ag_ctx *ctx, const char *name, const int64_t *chosen, int64_t count, int64_t extent)
{
    int64_t i = 0;
    while (chosen != NULL && i < count && chosen[i] >= 0 && chosen[i] < extent)
        i++;
    if (chosen == NULL || i == count)
        return true;
    if (count < 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, "sdpa_weights", "%lld %s are chosen", (long long)count, name);
    else
        ag_fail(ctx, AG_ERR_INDEX, "sdpa_weights", "%s[%lld] is %lld, must be in 0..%lld", name, (long long)i,
                (long long)chosen[i], (long long)extent - 1);
    return false;
}

ag_tensor *ag_sdpa_weights(ag_tensor *q, ag_tensor *k, ag_tensor *lse, ag_sdpa_config config, ag_weights_of which)
{
    static const char where[] = "sdpa_weights";
    if (q == NULL || k == NULL || lse == NULL || !check_query_key(where, q, k) || !ag_same_real(where, q, lse))
        return NULL;
    ag_ctx *ctx = q->ctx;
    if (lse->ndim != 3 || lse->shape[0] != q->shape[0] || lse->shape[1] != q->shape[1] || lse->shape[2] != q->shape[2])
        return ag_fail(ctx, AG_ERR_SHAPE, where, "queries are %s, lse %s; must be [B,H,Tq,D] and [B,H,Tq]",
                       ag_shape_text(q), ag_shape_text(lse));
    if (!check_chosen(ctx, "heads", which.heads, which.head_count, q->shape[1]) ||
        !check_chosen(ctx, "rows", which.rows, which.row_count, q->shape[2]))
        return NULL;
    const int64_t heads = which.heads == NULL ? q->shape[1] : which.head_count;
    const int64_t rows = which.rows == NULL ? q->shape[2] : which.row_count;
    config.dropout = 0;
    const sdpa_attr attr = { .config = config };
    ag_attention a;
    q = unit_rows(q);
    k = unit_rows(k);
    lse = ag_tensor_contiguous(lse);
    if (q == NULL || k == NULL || lse == NULL || !begin_arguments(where, q, k, &attr, &a))
        return NULL;
    ag_tensor *weights = ag_empty(ctx, q->dtype, AG_SHAPE(q->shape[0], heads, rows, k->shape[2]));
    if (weights == NULL)
        return NULL;
    a.lse = ag_address(lse, 0);
    a.weights = weights->storage->data;
    a.heads = which.heads, a.head_count = which.head_count;
    a.rows = which.rows, a.row_count = which.row_count;
    const ag_real_kernels *kernels = ag_kernels(ctx, q->dtype);
    return run(ctx, kernels, kernels->attention_weights, &a) ? weights : NULL;
}
