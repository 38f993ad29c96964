/* SPDX-License-Identifier: MIT
 *
 * attention_scores.c - see attention_scores.h; and ag_attention_weights, whose gradients these compositions give.
 */
#include "autograd/attention_scores.h"
#include "autograd/mask_impl.h"

#include <math.h>

ag_tensor *ag_head_product(ag_tensor *a, ag_tensor *b)
{
    if (a == NULL || b == NULL)
        return NULL;
    const int64_t B = a->shape[0], H = a->shape[1], M = a->shape[2], Hk = b->shape[1], N = b->shape[3];
    a = ag_reshape(a, AG_SHAPE(B, Hk, Hk == 0 ? 1 : H / Hk, M, a->shape[3]));
    return ag_reshape(ag_matmul(a, ag_unsqueeze(b, 2)), AG_SHAPE(B, H, M, N));
}

/* table[h, clamp(j - p, -R, R) + R] of all pairs -> [1 or B,1 or H,T,S], p the query's position. */
static ag_tensor *scores_relative(ag_tensor *table, const ag_attention_mask *mask, const int64_t *pairs)
{
    const int64_t reach = table->shape[1] / 2, batch = mask->starts == NULL ? 1 : pairs[0], T = pairs[2], S = pairs[3];
    ag_tensor *index = ag_empty(table->ctx, AG_I32, AG_SHAPE(batch, T, S));
    int32_t *at = index == NULL ? NULL : index->storage->data;
    for (int64_t n = 0; index != NULL && n < index->numel; n++) {
        const int64_t distance = n % S - ag_attention_position(mask, n / S / T, n / S % T);
        at[n] = (int32_t)((distance < -reach ? -reach : distance > reach ? reach : distance) + reach);
    }
    return ag_permute(ag_embedding(ag_transpose(table, 0, 1), index), (const int[]){ 0, 3, 1, 2 });
}

bool ag_attention_scores_of(const char *where, ag_tensor *q, ag_tensor *k, const ag_sdpa_config *config,
                            ag_attention_scores *out)
{
    int64_t pairs[4];
    if (!ag_sdpa_check(where, q, k, config, pairs))
        return false;
    ag_ctx *ctx = q->ctx;
    ag_mask mask = config->mask;
    ag_attention_mask positions;
    if (!ag_mask_for_kernels(ctx, where, &mask, pairs, &positions))
        return false;
    const double scale = config->scale != 0 ? config->scale : 1 / sqrt((double)q->shape[3]), cap = config->soft_cap;
    out->U = ag_scale(ag_head_product(q, ag_transpose(k, 2, 3)), scale);
    ag_tensor *scores = cap > 0 ? ag_scale(ag_tanh(ag_scale(out->U, 1 / cap)), cap) : out->U;
    if (config->bias != NULL)
        scores = ag_add(scores, config->bias);
    if (config->relative != NULL)
        scores = ag_add(scores, scores_relative(config->relative, &positions, pairs));
    out->allowed = ag_mask_tensor(ctx, mask, pairs[0], pairs[1], pairs[2], pairs[3]);
    out->S = ag_where(out->allowed, scores, ag_full(ctx, q->dtype, AG_SCALAR, -(double)INFINITY));
    out->P = ag_softmax(out->S, -1);
    return out->P != NULL;
}

ag_tensor *ag_attention_weights(ag_tensor *q, ag_tensor *k, ag_sdpa_config config)
{
    ag_attention_scores scores;
    return ag_attention_scores_of("attention_weights", q, k, &config, &scores) ? scores.P : NULL;
}
