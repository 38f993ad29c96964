/* SPDX-License-Identifier: MIT
 *
 * op_dropout.c - dropout. Backward repeats forward's draw from the random stream, so no mask is stored.
 */
#include "autograd/op_impl.h"

static ag_tensor *dropout_apply(ag_tensor *x, const ag_dropout_stream *stream)
{
    ag_tensor *dense = ag_tensor_contiguous(x), *y = ag_empty_as(dense);
    if (y != NULL)
        ag_kernels(x->ctx, x->dtype)->dropout(ag_ctx_team(x->ctx), y->numel, stream, ag_data(dense), y->storage->data);
    return y;
}

void ag_dropout_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, dropout_apply(v->gy, v->attr));
}

ag_tensor *ag_dropout(ag_tensor *x, double p)
{
    if (ag_real_kernels_for("dropout", x) == NULL)
        return NULL;
    if (!(p >= 0 && p < 1))
        return ag_fail(x->ctx, AG_ERR_ARGUMENT, "dropout", "p is %s, must be in [0, 1)",
                       ag_number_text(x->ctx, p));
    ag_rng rng = ag_rng_take(x->ctx, (uint64_t)((x->numel + 3) / 4));
    ag_dropout_stream stream = { p, rng.seed, rng.counter };
    return ag_record(&ag_op_dropout, dropout_apply(x, &stream), &x, 1, &stream, sizeof stream, NULL);
}
