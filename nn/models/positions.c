/* SPDX-License-Identifier: MIT
 *
 * positions.c - sinusoidal positions: a table of sines and cosines, added to the embeddings of tokens.
 */
#include "nn/models/models.h"
#include "nn/module_impl.h"

#include <math.h>

static const char where[] = "sinusoidal";

ag_tensor *ag_sinusoidal(ag_ctx *ctx, ag_dtype dtype, int64_t first, int64_t length, int64_t emb)
{
    if (ctx == NULL || !ag_check_size(ctx, where, "emb", emb) || !ag_check_real(ctx, where, dtype))
        return NULL;
    if (emb % 2 != 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "emb is %lld, must be even", (long long)emb);
    if (length < 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "length is %lld, must be 0 or more", (long long)length);
    ag_tensor *table = ag_empty(ctx, AG_F64, AG_SHAPE(length, emb));
    if (table == NULL)
        return NULL;
    double *row = table->storage->data;
    for (int64_t i = 0; i < emb; i += 2) {
        const double w = pow(10000, -(double)i / (double)emb);
        for (int64_t t = 0; t < length; t++) {
            const double angle = ((double)first + (double)t) * w;
            row[t * emb + i] = sin(angle);
            row[t * emb + i + 1] = cos(angle);
        }
    }
    return ag_tensor_cast(table, dtype);
}
