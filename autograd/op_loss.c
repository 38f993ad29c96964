/* SPDX-License-Identifier: MIT
 *
 * op_loss.c - cross_entropy from logits, and mse.
 */
#include "autograd/op_impl.h"

/* ---- cross_entropy: while a tape records, forward computes the gradient too, from the same exponentials ---- */

void ag_cross_entropy_vjp(ag_vjp *v)
{
    double gy = 0;
    if (ag_item(v->gy, &gy) == AG_OK)
        ag_vjp_add(v, 0, gy == 1 ? v->extra : ag_scale(v->extra, gy));
}

ag_tensor *ag_cross_entropy_with(ag_tensor *logits, ag_tensor *target, ag_cross_entropy_config config)
{
    static const char where[] = "cross_entropy";
    const ag_real_kernels *k = ag_real_kernels_for(where, logits);
    if (k == NULL || target == NULL)
        return NULL;
    ag_ctx *ctx = logits->ctx;
    bool fits = logits->ndim == target->ndim + 1 && ag_dim(logits, -1) > 0;
    for (int d = 0; fits && d < target->ndim; d++)
        fits = logits->shape[d] == target->shape[d];
    if (!fits)
        return ag_fail(ctx, AG_ERR_SHAPE, where, "logits are %s, targets %s; must be [..,V] and [..]",
                       ag_shape_text(logits), ag_shape_text(target));
    if (config.reduction != AG_MEAN && config.reduction != AG_SUM)
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "reduction is %d, must be AG_MEAN or AG_SUM",
                       (int)config.reduction);
    if (!(config.label_smoothing >= 0 && config.label_smoothing <= 1))
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "label_smoothing is %s, must be in [0, 1]",
                       ag_number_text(ctx, config.label_smoothing));
    int64_t M = target->numel, V = logits->shape[logits->ndim - 1];
    int32_t ignore = config.ignore ? config.ignore_index : INT32_MIN; /* which no valid target is */
    ag_tensor *index = ag_checked_index(where, target, V, config.ignore ? &ignore : NULL);
    ag_tensor *dense = ag_tensor_contiguous(logits), *row_loss = ag_empty(ctx, logits->dtype, 1, &M);
    const bool wanted = ag_recording(ctx);
    ag_tensor *slope = wanted ? ag_empty_as(logits) : NULL;
    if (index == NULL || dense == NULL || row_loss == NULL || (wanted && slope == NULL))
        return NULL;
    const int32_t *value = ag_data(index);
    int64_t counted = 0;
    for (int64_t i = 0; i < M; i++)
        counted += value[i] != ignore;
    double scale = config.reduction == AG_SUM ? 1 : counted > 0 ? 1 / (double)counted : 0;
    const ag_cross_entropy_args args = {
        .M = M, .V = V, .logits = ag_data(dense), .target = value, .ignore = ignore,
        .smoothing = config.label_smoothing, .dloss = scale,
        .loss = row_loss->storage->data, .dlogits = wanted ? slope->storage->data : NULL,
    };
    double sum = k->cross_entropy(ag_ctx_team(ctx), &args);
    ag_tensor *y = ag_full(ctx, logits->dtype, AG_SCALAR, sum * scale);
    return ag_record(&ag_op_cross_entropy, y, (ag_tensor *[]){ logits, target }, 2, NULL, 0, slope);
}

ag_tensor *ag_cross_entropy(ag_tensor *logits, ag_tensor *target)
{
    return ag_cross_entropy_with(logits, target, (ag_cross_entropy_config){ .reduction = AG_MEAN });
}

/* ---- mse ---- */

ag_tensor *ag_mse(ag_tensor *x, ag_tensor *target)
{
    if (x == NULL || target == NULL)
        return NULL;
    if (!ag_same_shape(x, target))
        return ag_fail(x->ctx, AG_ERR_SHAPE, "mse", "x is %s, the target %s; they must be equal", ag_shape_text(x),
                       ag_shape_text(target));
    return ag_mean(ag_pow(ag_sub(x, target), 2), AG_ALL_DIMS, false);
}
