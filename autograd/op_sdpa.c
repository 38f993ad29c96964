/* SPDX-License-Identifier: MIT
 *
 * op_sdpa.c - scaled dot-product attention: checks, memory and strides for the attention kernels, whose formulas are in
 * tensor/kernels/kernels.h. B batch, H query heads, Hk key and value heads, Tq queries, Tk keys, D and Dv head sizes.
 */
#include "autograd/mask_impl.h"
#include "autograd/op_impl.h"

#include <math.h>
#include <string.h>

/* ---- Checks ---- */

/* q[B,H,Tq,D], k[B,Hk,Tk,D] of one real dtype, Hk dividing H, and the config but for its mask. pairs[4] = B, H, Tq,
 * Tk. */
static bool sdpa_check(const char *where, const ag_tensor *q, const ag_tensor *k, const ag_sdpa_config *c,
                       int64_t *pairs)
{
    const ag_tensor *bias = c->bias, *relative = c->relative;
    ag_matrices matrices;
    if (!ag_same_real(where, q, k) || (bias != NULL && !ag_same_real(where, q, bias)) ||
        (relative != NULL && !ag_same_real(where, q, relative)))
        return false;
    ag_ctx *ctx = q->ctx;
    if (q->ndim != 4 || k->ndim != 4 || q->shape[0] != k->shape[0] || q->shape[3] != k->shape[3] || q->shape[3] == 0)
        return ag_fail(ctx, AG_ERR_SHAPE, where, "queries are %s, keys %s; must be [B,H,Tq,D] and [B,Hk,Tk,D]",
                       ag_shape_text(q), ag_shape_text(k));
    memcpy(pairs, q->shape, 3 * sizeof *pairs);
    pairs[3] = k->shape[2];
    const int64_t H = q->shape[1], Hk = k->shape[1];
    if (H != Hk && (Hk == 0 || H % Hk != 0))
        return ag_fail(ctx, AG_ERR_SHAPE, where, "queries are %s, keys %s: %lld heads are no multiple of %lld",
                       ag_shape_text(q), ag_shape_text(k), (long long)H, (long long)Hk);
    if (!isfinite(c->scale))
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "scale is %s, must be finite", ag_number_text(ctx, c->scale));
    if (!(c->dropout >= 0 && c->dropout < 1))
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "dropout is %s, must be in [0, 1)",
                       ag_number_text(ctx, c->dropout));
    if (!(c->soft_cap >= 0 && c->soft_cap < (double)INFINITY))
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "soft_cap is %s, must be 0 (none) or positive and finite",
                       ag_number_text(ctx, c->soft_cap));
    if (bias != NULL && !ag_matrices_of(bias, pairs, &matrices))
        return ag_fail(ctx, AG_ERR_SHAPE, where, "the bias is %s, must broadcast to %s", ag_shape_text(bias),
                       ag_dims_text(ctx, 4, pairs));
    if (relative != NULL && (relative->ndim != 2 || relative->shape[1] % 2 != 1 ||
                             (relative->shape[0] != 1 && relative->shape[0] != H)))
        return ag_fail(ctx, AG_ERR_SHAPE, where, "relative is %s, must be [H,2R+1] with H %lld or 1",
                       ag_shape_text(relative), (long long)H);
    return true;
}

/* ---- Arguments of the kernels ---- */

static bool sdpa_unit_rows(const ag_tensor *t)
{
    return t->shape[3] <= 1 || t->stride[3] == 1;
}

/* t[B,H,rows,D], or a copy, with unit stride in its last dim. False without memory. */
static bool sdpa_rows(ag_tensor *t, ag_matrices *out)
{
    t = sdpa_unit_rows(t) ? t : ag_tensor_contiguous(t);
    return t != NULL && ag_matrices_of(t, t->shape, out);
}

/* A new [B,H,T,D], laid out in memory as `like` is: [B,T,H,D] when its heads lie inside its times, so that splitting
 * and merging heads copy nothing. */
static ag_tensor *sdpa_empty(const ag_tensor *like, int64_t T, int64_t D)
{
    int64_t B = like->shape[0], H = like->shape[1];
    if (sdpa_unit_rows(like) && like->stride[1] < like->stride[2])
        return ag_tensor_transpose(ag_empty(like->ctx, like->dtype, AG_SHAPE(B, T, H, D)), 1, 2);
    return ag_empty(like->ctx, like->dtype, AG_SHAPE(B, H, T, D));
}

/* relative[H,2R+1] or [1,2R+1] by head and column. */
static ag_matrices sdpa_relative(const ag_tensor *t)
{
    return (ag_matrices){ ag_address(t, 0), .head = t->shape[0] == 1 ? 0 : t->stride[0],
                          .column = t->shape[1] == 1 ? 0 : t->stride[1] };
}

bool ag_sdpa_begin(const char *where, ag_tensor *q, ag_tensor *k, ag_sdpa_config *c, ag_attention *a)
{
    int64_t pairs[4];
    if (!sdpa_check(where, q, k, c, pairs))
        return false;
    *a = (ag_attention){
        .B = pairs[0], .H = pairs[1], .Hk = k->shape[1], .Tq = pairs[2], .Tk = pairs[3], .D = q->shape[3],
        .scale = c->scale != 0 ? c->scale : 1 / sqrt((double)q->shape[3]),
        .cap = c->soft_cap,
    };
    if (!ag_mask_for_kernels(q->ctx, where, &c->mask, pairs, &a->mask))
        return false;
    if (c->bias != NULL)
        ag_matrices_of(c->bias, pairs, &a->bias);
    if (c->relative != NULL) {
        a->reach = c->relative->shape[1] / 2;
        a->relative = sdpa_relative(c->relative);
    }
    return sdpa_rows(q, &a->q) && sdpa_rows(k, &a->k);
}

bool ag_sdpa_run(ag_ctx *ctx, ag_dtype dtype, ag_attention_kernel *kernel, const ag_attention *a)
{
    size_t bytes = ag_kernels(ctx, dtype)->attention_scratch(ag_ctx_threads(ctx), a);
    void *scratch = ag_alloc(ctx, bytes);
    if (scratch == NULL)
        return false;
    kernel(ag_ctx_team(ctx), a, scratch);
    ag_free(ctx, scratch, bytes);
    return true;
}

/* ---- The op. Its attribute is the ag_attention of forward: the mask's tensors and the biases, which the tape keeps,
 * need no second check or translation. ---- */

enum { SDPA_BIAS = 3, SDPA_RELATIVE = 4, SDPA_MASK = 5, SDPA_INPUTS = SDPA_MASK + AG_MASK_TENSORS }; /* ops.def */

void ag_sdpa_vjp(ag_vjp *v)
{
    ag_attention a = *(const ag_attention *)v->attr;
    if (!sdpa_rows(v->input[0], &a.q) || !sdpa_rows(v->input[1], &a.k) || !sdpa_rows(v->input[2], &a.v) ||
        !sdpa_rows(v->output, &a.o) || !sdpa_rows(v->gy, &a.dout))
        return;
    const ag_real_kernels *kernels = ag_kernels(v->ctx, v->gy->dtype);
    const bool heads = ag_vjp_wants(v, 0) || ag_vjp_wants(v, 1) || ag_vjp_wants(v, 2);
    ag_matrices *const out[] = { &a.dq, &a.dk, &a.dv };
    ag_tensor *gradient[SDPA_MASK] = { NULL };
    for (int i = 0; i < 3 && heads; i++) {
        const ag_tensor *x = v->input[i];
        gradient[i] = sdpa_empty(x, x->shape[2], x->shape[3]);
        if (gradient[i] == NULL || !sdpa_rows(gradient[i], out[i]))
            return;
    }
    for (int i = SDPA_BIAS; i < SDPA_MASK; i++) /* each in its own shape: the kernel sums what is shared */
        if (ag_vjp_wants(v, i) && (gradient[i] = ag_empty_as(v->input[i])) == NULL)
            return;
    ag_tensor *gbias = gradient[SDPA_BIAS], *grelative = gradient[SDPA_RELATIVE];
    if (gbias != NULL)
        ag_matrices_of(gbias, (const int64_t[]){ a.B, a.H, a.Tq, a.Tk }, &a.dbias);
    if (grelative != NULL)
        a.drelative = sdpa_relative(grelative);
    if (heads && !ag_sdpa_run(v->ctx, v->gy->dtype, kernels->attention_vjp, &a))
        return;
    if ((gbias != NULL || grelative != NULL) &&
        !ag_sdpa_run(v->ctx, v->gy->dtype, kernels->attention_bias_vjp, &a))
        return;
    for (int i = 0; i < SDPA_MASK; i++)
        ag_vjp_add(v, i, gradient[i]);
}

/* Pairs of queries and keys that a mask allows, per batch entry and head; NaN when counting them takes more than a pass
 * over the queries. */
static double sdpa_allowed_pairs(const ag_attention_mask *m, int64_t Tq, int64_t Tk)
{
    if (m->stride != 0 || m->global != 0 || m->starts != NULL || m->key_lengths != NULL ||
        m->query_documents != NULL || m->blocks.x != NULL || m->allowed.x != NULL)
        return (double)NAN;
    double pairs = 0;
    for (int64_t i = 0; i < Tq; i++) {
        int64_t position = i + m->offset;
        int64_t first = m->left >= 0 && position > m->left ? position - m->left : 0;
        int64_t end = m->causal && position + 1 < Tk ? position + 1 : Tk;
        if (m->right >= 0 && position + m->right + 1 < end)
            end = position + m->right + 1;
        pairs += end > first ? (double)(end - first) : 0;
    }
    return pairs;
}

double ag_sdpa_work(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted)
{
    (void)y, (void)input, (void)count;
    const ag_attention *a = attr;
    return (wanted != 0 ? 2 : 1) * sdpa_allowed_pairs(&a->mask, a->Tq, a->Tk) * (double)(a->B * a->H * (a->D + a->Dv));
}

ag_tensor *ag_sdpa(ag_tensor *q, ag_tensor *k, ag_tensor *v, ag_sdpa_config config)
{
    ag_attention a;
    if (v == NULL || !ag_sdpa_begin("sdpa", q, k, &config, &a) || !ag_same_real("sdpa", k, v))
        return NULL;
    if (v->ndim != 4 || memcmp(v->shape, k->shape, 3 * sizeof *k->shape) != 0)
        return ag_fail(k->ctx, AG_ERR_SHAPE, "sdpa", "keys are %s, values %s; must be [B,Hk,Tk,D] and [B,Hk,Tk,Dv]",
                       ag_shape_text(k), ag_shape_text(v));
    ag_tensor *rows = ag_empty(q->ctx, q->dtype, AG_SHAPE(2, a.B, a.H, a.Tq)), *o = sdpa_empty(q, a.Tq, v->shape[3]);
    ag_tensor *lse = config.lse == NULL ? NULL : ag_tensor_select(rows, 0, 0);
    if (rows == NULL || (lse == NULL && config.lse != NULL) || o == NULL || !sdpa_rows(v, &a.v) ||
        !sdpa_rows(o, &a.o))
        return NULL;
    a.Dv = v->shape[3];
    a.lse = rows->storage->data;
    a.norm = ag_recording(q->ctx) ? ag_address(rows, a.B * a.H * a.Tq) : NULL;
    if (config.dropout > 0) {
        int64_t row = (a.Tk + 3) / 4; /* counter blocks: rows begin on a block */
        ag_rng rng = ag_rng_take(q->ctx, (uint64_t)(a.B * a.H * a.Tq * row));
        a.dropout = (ag_dropout_stream){ config.dropout, rng.seed, rng.counter };
    }
    if (!ag_sdpa_run(q->ctx, q->dtype, ag_kernels(q->ctx, q->dtype)->attention, &a))
        return NULL;
    ag_tensor *input[SDPA_INPUTS] = { q, k, v, config.bias, config.relative };
    ag_mask_tensors(&config.mask, input + SDPA_MASK);
    o = ag_record(&ag_op_sdpa, o, input, SDPA_INPUTS, &a, sizeof a, rows);
    if (config.lse != NULL && o != NULL)
        *config.lse = ag_derived(lse, o, "sdpa as its lse; use ag_logsumexp");
    return o;
}
