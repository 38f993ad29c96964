/* SPDX-License-Identifier: MIT
 *
 * relative.c - tables of biases by distance for ag_sdpa_config.relative: ALiBi and T5's buckets. A table is
 * [H,2 reach + 1]; column c is the bias of the key c - reach positions after the query.
 */
#include "autograd/op_impl.h"
#include "nn/positions/positions.h"

#include <math.h>

static bool relative_check_reach(ag_ctx *ctx, const char *where, int64_t reach)
{
    if (reach >= 0 && reach <= INT32_MAX)
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, where, "reach is %lld, must be in 0..%lld", (long long)reach, (long long)INT32_MAX);
    return false;
}

/* ---- ALiBi ---- */

ag_tensor *ag_alibi_slopes(ag_ctx *ctx, ag_dtype dtype, int64_t H)
{
    if (ctx == NULL)
        return NULL;
    if (dtype == AG_I32 || H < 1)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "alibi_slopes", "%lld heads of %s; must be 1 or more, of a real dtype",
                       (long long)H, ag_dtype_name(dtype));
    ag_tensor *slopes = ag_empty(ctx, dtype, 1, &H);
    if (slopes == NULL)
        return NULL;
    /* The slopes of P heads, the largest power of two <= H; then every second slope of 2 P heads. */
    int64_t P = 1;
    while (P <= H / 2)
        P *= 2;
    for (int64_t h = 0; h < H; h++) {
        const double step = h < P ? (double)(h + 1) : (double)(h - P) + 0.5;
        ag_set(slopes, &h, exp2(-8 * step / (double)P));
    }
    return slopes;
}

ag_tensor *ag_alibi(ag_tensor *slopes, int64_t reach)
{
    if (ag_real_kernels_for("alibi", slopes) == NULL || !relative_check_reach(slopes->ctx, "alibi", reach))
        return NULL;
    if (slopes->ndim != 1)
        return ag_fail(slopes->ctx, AG_ERR_SHAPE, "alibi", "the slopes are %s, must be [H]", ag_shape_text(slopes));
    ag_tensor *distance = ag_abs(ag_arange(slopes->ctx, slopes->dtype, -(double)reach, 1, 2 * reach + 1));
    return ag_mul(ag_unsqueeze(slopes, 1), ag_neg(distance));
}

/* ---- Buckets ---- */

/* The bucket of a distance, of the `buckets` of one direction. The first half has one distance each; the ranges of the
 * others grow by a constant factor, so that the last range begins before max_distance. */
static int64_t relative_bucket_of(int64_t distance, int64_t buckets, int64_t max_distance)
{
    const int64_t exact = buckets / 2;
    if (distance < exact)
        return distance;
    const double part = log((double)distance / (double)exact) / log((double)max_distance / (double)exact);
    const int64_t bucket = exact + (int64_t)(part * (double)(buckets - exact));
    return bucket < buckets ? bucket : buckets - 1;
}

ag_tensor *ag_relative_buckets(ag_tensor *table, int64_t reach, int64_t max_distance, bool bidirectional)
{
    static const char where[] = "relative_buckets";
    if (ag_real_kernels_for(where, table) == NULL || !relative_check_reach(table->ctx, where, reach))
        return NULL;
    ag_ctx *ctx = table->ctx;
    const int64_t directions = bidirectional ? 2 : 1;
    if (table->ndim != 2 || table->shape[0] < 2 * directions || table->shape[0] % directions != 0)
        return ag_fail(ctx, AG_ERR_SHAPE, where, "the table is %s, must be [buckets,H] with %s", ag_shape_text(table),
                       bidirectional ? "an even number of 4 or more buckets" : "2 or more buckets");
    const int64_t buckets = table->shape[0] / directions;
    if (max_distance <= buckets / 2)
        return ag_fail(ctx, AG_ERR_ARGUMENT, where, "max_distance is %lld, must be over %lld, the number of "
                       "distances with a bucket of their own", (long long)max_distance, (long long)buckets / 2);
    ag_tensor *index = ag_empty(ctx, AG_I32, AG_SHAPE(2 * reach + 1));
    if (index == NULL)
        return NULL;
    int32_t *bucket = index->storage->data;
    for (int64_t d = -reach; d <= reach; d++) {
        const int64_t distance = d <= 0 ? -d : bidirectional ? d : 0; /* one way: later keys count as distance 0 */
        const int64_t first = d > 0 && bidirectional ? buckets : 0;
        bucket[d + reach] = (int32_t)(first + relative_bucket_of(distance, buckets, max_distance));
    }
    return ag_transpose(ag_embedding(table, index), 0, 1);
}
