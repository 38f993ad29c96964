/* SPDX-License-Identifier: MIT
 *
 * attention_weights.c - the weights of attention: as a composition of plain ops, with gradients (see also
 * attention_scores.h), and by the kernel, from the lse that ag_sdpa gave.
 */
#include "autograd/watch/attention_scores.h"

#include "autograd/mask_impl.h"
#include "autograd/op_impl.h"
#include "autograd/watch/watch.h"

#include <math.h>

/* ---- As a composition ---- */

ag_tensor *ag_head_product(ag_tensor *a, ag_tensor *b)
{
    if (a == NULL || b == NULL)
        return NULL;
    const int64_t B = a->shape[0], H = a->shape[1], M = a->shape[2], Hk = b->shape[1], N = b->shape[3];
    a = ag_reshape(a, AG_SHAPE(B, Hk, Hk == 0 ? 1 : H / Hk, M, a->shape[3]));
    return ag_reshape(ag_matmul(a, ag_unsqueeze(b, 2)), AG_SHAPE(B, H, M, N));
}

/* table[h, clamp(j - p, -R, R) + R] of all pairs -> [1 or B,1 or H,T,S], p the query's position. */
static ag_tensor *weights_relative(ag_tensor *table, const ag_attention *a)
{
    const int64_t reach = a->reach, batch = a->mask.starts == NULL ? 1 : a->B, T = a->Tq, S = a->Tk;
    ag_tensor *index = ag_empty(table->ctx, AG_I32, AG_SHAPE(batch, T, S));
    int32_t *at = index == NULL ? NULL : index->storage->data;
    for (int64_t n = 0; index != NULL && n < index->numel; n++) {
        const int64_t distance = n % S - ag_attention_position(&a->mask, n / S / T, n / S % T);
        at[n] = (int32_t)((distance < -reach ? -reach : distance > reach ? reach : distance) + reach);
    }
    return ag_permute(ag_embedding(ag_transpose(table, 0, 1), index), (const int[]){ 0, 3, 1, 2 });
}

bool ag_attention_scores_of(const char *where, ag_tensor *q, ag_tensor *k, const ag_sdpa_config *config,
                            ag_attention_scores *out)
{
    ag_sdpa_config own = *config;
    ag_attention a;
    if (!ag_sdpa_begin(where, q, k, &own, &a))
        return false;
    ag_ctx *ctx = q->ctx;
    out->U = ag_scale(ag_head_product(q, ag_transpose(k, 2, 3)), a.scale);
    ag_tensor *scores = a.cap > 0 ? ag_scale(ag_tanh(ag_scale(out->U, 1 / a.cap)), a.cap) : out->U;
    if (config->bias != NULL)
        scores = ag_add(scores, config->bias);
    if (config->relative != NULL)
        scores = ag_add(scores, weights_relative(config->relative, &a));
    out->allowed = ag_mask_tensor(ctx, own.mask, a.B, a.H, a.Tq, a.Tk);
    out->S = ag_where(out->allowed, scores, ag_full(ctx, q->dtype, AG_SCALAR, -(double)INFINITY));
    out->P = ag_softmax(out->S, -1);
    return out->P != NULL;
}

ag_tensor *ag_attention_weights(ag_tensor *q, ag_tensor *k, ag_sdpa_config config)
{
    ag_attention_scores scores;
    return ag_attention_scores_of("attention_weights", q, k, &config, &scores) ? scores.P : NULL;
}

/* ---- From the lse of ag_sdpa ---- */

/* chosen[count] (NULL: all) lie in 0 .. extent-1. */
static bool weights_check_chosen(ag_ctx *ctx, const char *name, const int64_t *chosen, int64_t count, int64_t extent)
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
    ag_attention a;
    config.dropout = 0;
    if (lse == NULL || !ag_sdpa_begin(where, q, k, &config, &a) || !ag_same_real(where, q, lse))
        return NULL;
    ag_ctx *ctx = q->ctx;
    if (lse->ndim != 3 || lse->shape[0] != a.B || lse->shape[1] != a.H || lse->shape[2] != a.Tq)
        return ag_fail(ctx, AG_ERR_SHAPE, where, "queries are %s, lse %s; must be [B,H,Tq,D] and [B,H,Tq]",
                       ag_shape_text(q), ag_shape_text(lse));
    if (!weights_check_chosen(ctx, "heads", which.heads, which.head_count, a.H) ||
        !weights_check_chosen(ctx, "rows", which.rows, which.row_count, a.Tq))
        return NULL;
    ag_tensor *dense = ag_tensor_contiguous(lse);
    ag_tensor *weights = ag_empty(ctx, q->dtype, AG_SHAPE(a.B, which.heads == NULL ? a.H : which.head_count,
                                                          which.rows == NULL ? a.Tq : which.row_count, a.Tk));
    if (dense == NULL || weights == NULL)
        return NULL;
    a.lse = ag_address(dense, 0);
    a.weights = weights->storage->data;
    a.heads = which.heads, a.head_count = which.head_count;
    a.rows = which.rows, a.row_count = which.row_count;
    if (!ag_sdpa_run(ctx, q->dtype, ag_kernels(ctx, q->dtype)->attention_weights, &a))
        return NULL;
    static const char by[] = "mha_weights or ag_sdpa_weights; use ag_attention_weights";
    return ag_derived(ag_derived(weights, q, by), k, by);
}
