/* SPDX-License-Identifier: MIT
 *
 * attention_positions.c - an attention layer's tables of positions: the rotary table and alibi's table of distances.
 * Each is made as far as calls need it, in steps of powers of two, and kept from call to call.
 */
#include "nn/attention_impl.h"

#include <inttypes.h>

enum { LEAST_ROWS = 256, LEAST_REACH = 64 };

/* ---- Rotary positions ---- */

bool ag_attention_reach(ag_attention_layer *layer, int64_t low, int64_t high)
{
    if (layer->rope != NULL && low >= layer->rope_first && high - layer->rope_first <= layer->rope->shape[0])
        return true;
    int64_t first = low - low % LEAST_ROWS, rows = LEAST_ROWS;
    while (rows < high - first)
        rows *= 2;
    ag_release(layer->rope);
    layer->rope_first = first;
    layer->rope = ag_retain(ag_rope_table(layer->module.ctx, layer->config.dtype, layer->config.attention.rope,
                                          layer->config.head_size, first, rows));
    return layer->rope != NULL;
}

/* The position of x[b,t], i = b T + t. */
static int64_t attention_position(const ag_attend *with, const int32_t *given, int64_t T, int64_t i)
{
    return given != NULL ? given[i] : with->cache->length(with->cache, i / T) + i % T;
}

/* The rows of the rope table for x[B,T,..], int32 [B,T], of given positions or of those that follow a cache. NULL: an
 * error. */
static ag_tensor *attention_rope_rows(ag_attention_layer *layer, const ag_attend *with, int64_t B, int64_t T)
{
    ag_ctx *ctx = layer->module.ctx;
    ag_tensor *rows = ag_empty(ctx, AG_I32, AG_SHAPE(B, T)), *positions = with->positions;
    if (positions != NULL)
        positions = ag_tensor_contiguous(positions);
    if (rows == NULL || (positions == NULL && with->positions != NULL))
        return NULL;
    const int32_t *given = positions == NULL ? NULL : ag_data(positions);
    int64_t low = INT64_MAX, high = 0;
    for (int64_t i = 0; i < B * T; i++) {
        int64_t p = attention_position(with, given, T, i);
        if (p < 0)
            return ag_fail(ctx, AG_ERR_INDEX, layer->module.kind, "positions[%" PRId64 ",%" PRId64 "] is %" PRId64,
                           i / T, i % T, p);
        low = p < low ? p : low;
        high = p + 1 > high ? p + 1 : high;
    }
    if (!ag_attention_reach(layer, low < high ? low : 0, high))
        return NULL;
    int32_t *row = ag_data_mut(rows);
    for (int64_t i = 0; i < B * T; i++)
        row[i] = (int32_t)(attention_position(with, given, T, i) - layer->rope_first);
    return rows;
}

bool ag_attention_turn(ag_attention_layer *layer, const ag_attend *with, ag_attention_operands *operands)
{
    ag_tensor *q = operands->q, *k = operands->k, *rows = NULL;
    bool in_order = with->positions == NULL && with->cache == NULL;
    if (!in_order)
        rows = attention_rope_rows(layer, with, q->shape[0], q->shape[2]);
    if (in_order ? !ag_attention_reach(layer, 0, q->shape[2]) : rows == NULL)
        return false;
    operands->q = ag_rope(q, layer->rope, rows, layer->config.attention.rope.pairing);
    operands->k = ag_rope(k, layer->rope, rows, layer->config.attention.rope.pairing);
    return operands->q != NULL && operands->k != NULL;
}

/* ---- Alibi ---- */

/* The largest distance of a key from a query. In double: an offset may be any number. */
static double attention_farthest(const ag_mask *mask, int64_t Tq, int64_t Tk)
{
    double shift = (double)mask->offset + (double)(mask->align == AG_BOTTOM_RIGHT ? Tk - Tq : 0);
    double low = 0, high = 0;
    for (int64_t b = 0; mask->starts != NULL && b < ag_dim(mask->starts, 0); b++) {
        double start = 0;
        ag_get(mask->starts, (const int64_t[AG_MAX_DIMS]){ b }, &start);
        low = b == 0 || start < low ? start : low;
        high = b == 0 || start > high ? start : high;
    }
    double back = high + shift + (double)Tq - 1, ahead = (double)Tk - 1 - (low + shift);
    return back > ahead ? back : ahead;
}

ag_tensor *ag_attention_alibi(ag_attention_layer *layer, const ag_mask *mask, int64_t Tq, int64_t Tk)
{
    double wanted = attention_farthest(mask, Tq, Tk);
    if (!(wanted <= INT32_MAX))
        return ag_fail(layer->module.ctx, AG_ERR_ARGUMENT, layer->module.kind,
                       "keys lie %g positions from their queries; alibi reaches %" PRId32, wanted, INT32_MAX);
    int64_t reach = LEAST_REACH;
    while ((double)reach < wanted)
        reach *= 2;
    if (layer->alibi == NULL || layer->alibi->shape[1] < 2 * reach + 1) {
        ag_release(layer->alibi);
        layer->alibi = ag_retain(ag_alibi(layer->slopes, reach));
    }
    return layer->alibi;
}
