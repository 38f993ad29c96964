/* SPDX-License-Identifier: MIT
 *
 * attention_positions.c - ag_rotary and ag_alibi_bias: an attention layer's rotary table and its table of distances.
 * Each is made as far as calls need it, in steps of powers of two, and kept from call to call.
 */
#include "nn/attention_impl.h"
#include "nn/positions/positions.h"

#include <inttypes.h>

enum { LEAST_ROWS = 256, LEAST_REACH = 64 };

/* ag_attention_layer.table: [rows,R] of positions first_row, first_row + 1, ...; [H]; and the slopes' table up to the
 * largest distance seen so far. */
enum { ROPE_TABLE, ALIBI_SLOPES, ALIBI_TABLE };

/* ---- Rotary positions ---- */

/* Makes the rope table hold positions low .. high - 1. It moves with them: generation does not make it grow. */
static bool rotary_reach(ag_attention_layer *layer, int64_t low, int64_t high)
{
    ag_tensor **table = &layer->table[ROPE_TABLE];
    if (*table != NULL && low >= layer->first_row && high - layer->first_row <= (*table)->shape[0])
        return true;
    int64_t first = low - low % LEAST_ROWS, rows = LEAST_ROWS;
    while (rows < high - first)
        rows *= 2;
    ag_release(*table);
    layer->first_row = first;
    *table = ag_retain(ag_rope_table(layer->module.ctx, layer->config.dtype, layer->config.attention.rope,
                                     layer->config.head_size, first, rows));
    return *table != NULL;
}

/* The position of x[b,t], i = b T + t. */
static int64_t rotary_position(const ag_attend *with, const int32_t *given, int64_t T, int64_t i)
{
    return given != NULL ? given[i] : with->cache->length(with->cache, i / T) + i % T;
}

/* The rows of the rope table for x[B,T,..], int32 [B,T], of given positions or of those that follow a cache. NULL: an
 * error. */
static ag_tensor *rotary_rows(ag_attention_layer *layer, const ag_attend *with, int64_t B, int64_t T)
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
        int64_t p = rotary_position(with, given, T, i);
        if (p < 0)
            return ag_fail(ctx, AG_ERR_INDEX, layer->module.kind, "positions[%" PRId64 ",%" PRId64 "] is %" PRId64,
                           i / T, i % T, p);
        low = p < low ? p : low;
        high = p + 1 > high ? p + 1 : high;
    }
    if (!rotary_reach(layer, low < high ? low : 0, high))
        return NULL;
    int32_t *row = ag_data_mut(rows);
    for (int64_t i = 0; i < B * T; i++)
        row[i] = (int32_t)(rotary_position(with, given, T, i) - layer->first_row);
    return rows;
}

static bool rotary_check(const ag_attention_layer *layer, const ag_attend *with, const ag_tensor *q)
{
    const ag_module *module = &layer->module;
    const ag_tensor *positions = with->positions;
    if (with->memory != NULL || with->values != NULL)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind,
                "rotary positions are those of one sequence; memory and values are not supported");
    else if (positions != NULL && positions->dtype != AG_I32)
        ag_fail(module->ctx, AG_ERR_DTYPE, module->kind, "positions are %s, must be int32",
                ag_dtype_name(positions->dtype));
    else if (positions != NULL && !(positions->ndim == 2 && positions->shape[0] == q->shape[0] &&
                                    positions->shape[1] == q->shape[2]))
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind, "positions are %s, must be [%" PRId64 ",%" PRId64 "]",
                ag_shape_text(positions), q->shape[0], q->shape[2]);
    else
        return true;
    return false;
}

static bool rotary_turn(ag_attention_layer *layer, const ag_attend *with, ag_attention_operands *in)
{
    const ag_rope_pairing pairing = layer->config.attention.rope.pairing;
    ag_tensor *rows = NULL;
    bool in_order = with->positions == NULL && with->cache == NULL;
    if (!rotary_check(layer, with, in->q))
        return false;
    if (!in_order)
        rows = rotary_rows(layer, with, in->q->shape[0], in->q->shape[2]);
    if (in_order ? !rotary_reach(layer, 0, in->q->shape[2]) : rows == NULL)
        return false;
    in->q = ag_rope(in->q, layer->table[ROPE_TABLE], rows, pairing);
    in->k = ag_rope(in->k, layer->table[ROPE_TABLE], rows, pairing);
    return in->q != NULL && in->k != NULL;
}

/* So that a wrong configuration is an error when the layer is made. */
static bool rotary_begin(ag_attention_layer *layer)
{
    return rotary_reach(layer, 0, 0);
}

const ag_rotation ag_rotary = { .begin = rotary_begin, .turn = rotary_turn };

/* ---- Alibi ---- */

/* The largest distance of a key from a query. In double: an offset may be any number. */
static double alibi_farthest(const ag_mask *mask, int64_t Tq, int64_t Tk)
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

static bool alibi_bias(ag_attention_layer *layer, ag_attention_operands *in)
{
    double wanted = alibi_farthest(&in->config.mask, in->q->shape[2], in->k->shape[2]);
    if (!(wanted <= INT32_MAX)) {
        ag_fail(layer->module.ctx, AG_ERR_ARGUMENT, layer->module.kind,
                "keys lie %s positions from their queries; alibi reaches %" PRId32,
                ag_number_text(layer->module.ctx, wanted), INT32_MAX);
        return false;
    }
    int64_t reach = LEAST_REACH;
    while ((double)reach < wanted)
        reach *= 2;
    if (layer->table[ALIBI_TABLE] == NULL || layer->table[ALIBI_TABLE]->shape[1] < 2 * reach + 1) {
        ag_release(layer->table[ALIBI_TABLE]);
        layer->table[ALIBI_TABLE] = ag_retain(ag_alibi(layer->table[ALIBI_SLOPES], reach));
    }
    in->config.relative = layer->table[ALIBI_TABLE];
    return in->config.relative != NULL;
}

static bool alibi_begin(ag_attention_layer *layer)
{
    const ag_mha_config *config = &layer->config;
    if (layer->relative != NULL)
        ag_fail(layer->module.ctx, AG_ERR_ARGUMENT, layer->module.kind,
                "alibi is set, and relative is %" PRId64 "; only one can be", config->attention.relative);
    else
        layer->table[ALIBI_SLOPES] = ag_retain(ag_alibi_slopes(layer->module.ctx, config->dtype, config->num_heads));
    return layer->table[ALIBI_SLOPES] != NULL;
}

const ag_distance_bias ag_alibi_bias = { .begin = alibi_begin, .bias = alibi_bias };
