/* SPDX-License-Identifier: MIT
 *
 * op_embedding.c - rows of a table by index.
 */
#include "autograd/op_impl.h"

#include <string.h>

void ag_embedding_vjp(ag_vjp *v)
{
    ag_tensor *index = ag_tensor_contiguous(v->input[1]), *gy = ag_tensor_contiguous(v->gy);
    ag_tensor *gtable = ag_vjp_target(v, 0, NULL);
    if (index == NULL || gy == NULL || gtable == NULL)
        return;
    ag_kernels(v->ctx, gy->dtype)->embedding_vjp(ag_ctx_team(v->ctx), index->numel, gtable->shape[1], ag_data(index),
                                                 ag_data(gy), ag_data_mut(gtable));
}

ag_tensor *ag_embedding(ag_tensor *table, ag_tensor *index)
{
    const ag_real_kernels *k = ag_real_kernels_for("embedding", table);
    if (k == NULL || index == NULL)
        return NULL;
    ag_ctx *ctx = table->ctx;
    if (table->ndim != 2)
        return ag_fail(ctx, AG_ERR_SHAPE, "embedding", "the table is %s, must be [V,C]", ag_shape_text(table));
    if (index->ndim == AG_MAX_DIMS)
        return ag_fail(ctx, AG_ERR_SHAPE, "embedding", "the indices %s leave no dim for the rows",
                       ag_shape_text(index));
    ag_tensor *dense = ag_checked_index("embedding", index, table->shape[0], NULL), *rows = ag_tensor_contiguous(table);
    int64_t shape[AG_MAX_DIMS];
    memcpy(shape, index->shape, sizeof shape);
    shape[index->ndim] = table->shape[1];
    ag_tensor *y = dense == NULL ? NULL : ag_empty(ctx, table->dtype, index->ndim + 1, shape);
    if (y == NULL || rows == NULL)
        return NULL;
    k->embedding(ag_ctx_team(ctx), index->numel, table->shape[1], ag_data(dense), ag_data(rows), y->storage->data);
    return ag_record(&ag_op_embedding, y, (ag_tensor *[]){ table, index }, 2, NULL, 0, NULL);
}
