/* SPDX-License-Identifier: MIT
 *
 * rope.c - rotary positions: the table of cosines and sines with its scalings, and the op that turns by it.
 *
 * R channels of a head turn, in pairs n = 0 .. R/2 - 1 of frequency w_n radians per position. The scalings stretch a
 * model trained at a length to a longer one; their formulas are those of the papers and of the transformers package.
 */
#include "autograd/op_impl.h"
#include "autograd/tape_impl.h"
#include "nn/positions/positions.h"

#include <math.h>

/* ---- The table ---- */

static const double two_pi = 6.28318530717958647692;

/* The config with its defaults filled in; false with the error recorded. */
static bool rope_complete(ag_ctx *ctx, ag_rope_config *c, int64_t head_size)
{
    static const char where[] = "rope_table";
    if (c->theta == 0)
        c->theta = 10000;
    if (c->size == 0)
        c->size = head_size;
    if (c->scaling == AG_ROPE_LLAMA3 && c->low_freq == 0)
        c->low_freq = 1;
    if (c->scaling == AG_ROPE_LLAMA3 && c->high_freq == 0)
        c->high_freq = 4;
    const bool scaled = c->scaling != AG_ROPE_UNSCALED;
    const bool stretches = c->scaling == AG_ROPE_LLAMA3 || c->scaling == AG_ROPE_YARN;
    if ((unsigned)c->scaling > AG_ROPE_YARN)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "there is no scaling number %d", (int)c->scaling);
    else if (c->size < 2 || c->size % 2 != 0 || c->size > head_size)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "size is %lld, must be even and in 2..%lld, the size of a head",
                (long long)c->size, (long long)head_size);
    else if (!(c->theta > 1 && isfinite(c->theta)))
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "theta is %s, must be above 1", ag_number_text(ctx, c->theta));
    else if (scaled && !(c->factor >= 1 && isfinite(c->factor)))
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "factor is %s, must be at least 1", ag_number_text(ctx, c->factor));
    else if (!scaled && c->factor != 0 && c->factor != 1)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "factor is %s, but no scaling is chosen",
                ag_number_text(ctx, c->factor));
    else if (c->scaling == AG_ROPE_NTK && c->size == 2)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "size is 2: NTK scaling wants more than one pair");
    else if (stretches && c->original_len < 1)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "original_len is %lld, must be the length trained at",
                (long long)c->original_len);
    else if (c->scaling == AG_ROPE_LLAMA3 && !(c->low_freq > 0 && c->high_freq > c->low_freq && isfinite(c->high_freq)))
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "low_freq is %s, high_freq %s; must be 0 < low_freq < high_freq",
                ag_number_text(ctx, c->low_freq), ag_number_text(ctx, c->high_freq));
    else
        return true;
    return false;
}

/* By the waves of a pair over original_len: few are divided by the factor, many stay, with a ramp between. */
static double rope_llama3(const ag_rope_config *c, double w)
{
    const double waves = (double)c->original_len * w / two_pi;
    const double mix = fmin(fmax((waves - c->low_freq) / (c->high_freq - c->low_freq), 0), 1);
    return (1 - mix) * w / c->factor + mix * w;
}

/* The pair, as a real number, that turns `waves` times over original_len. */
static double rope_yarn_pair(const ag_rope_config *c, double waves)
{
    return (double)c->size * log((double)c->original_len / (waves * two_pi)) / (2 * log(c->theta));
}

/* Pairs up to that of 32 waves stay, pairs from that of one wave on are divided by the factor, a ramp between. */
static double rope_yarn(const ag_rope_config *c, int64_t n, double w)
{
    const double low = fmax(floor(rope_yarn_pair(c, 32)), 0);
    const double high = fmin(ceil(rope_yarn_pair(c, 1)), (double)(c->size - 1));
    const double width = high == low ? 0.001 : high - low;
    const double ramp = fmin(fmax(((double)n - low) / width, 0), 1);
    return ramp * w / c->factor + (1 - ramp) * w;
}

/* w_n: radians per position. */
static double rope_frequency(const ag_rope_config *c, int64_t n)
{
    const double R = (double)c->size, exponent = -2 * (double)n / R;
    const double theta = c->scaling == AG_ROPE_NTK ? c->theta * pow(c->factor, R / (R - 2)) : c->theta;
    const double w = pow(theta, exponent);
    switch (c->scaling) {
    case AG_ROPE_LINEAR: return w / c->factor;
    case AG_ROPE_LLAMA3: return rope_llama3(c, w);
    case AG_ROPE_YARN: return rope_yarn(c, n, w);
    case AG_ROPE_UNSCALED:
    case AG_ROPE_NTK: break;
    }
    return w;
}

ag_tensor *ag_rope_table(ag_ctx *ctx, ag_dtype dtype, ag_rope_config config, int64_t head_size, int64_t first,
                         int64_t length)
{
    if (ctx == NULL)
        return NULL;
    if (dtype != AG_F32 && dtype != AG_F64)
        return ag_fail(ctx, AG_ERR_DTYPE, "rope_table", "dtype is %s, must be float32 or float64",
                       ag_dtype_name(dtype));
    if (length < 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "rope_table", "length is %lld, must be 0 or more", (long long)length);
    if (!rope_complete(ctx, &config, head_size))
        return NULL;
    const int64_t R = config.size;
    ag_tensor *table = ag_empty(ctx, AG_F64, AG_SHAPE(length, R));
    if (table == NULL)
        return NULL;
    double *row = table->storage->data;
    const double size = config.scaling == AG_ROPE_YARN ? 0.1 * log(config.factor) + 1 : 1;
    for (int64_t n = 0; n < R / 2; n++) {
        const double w = rope_frequency(&config, n);
        for (int64_t t = 0; t < length; t++) {
            const double angle = ((double)first + (double)t) * w;
            row[t * R + n] = size * cos(angle);
            row[t * R + R / 2 + n] = size * sin(angle);
        }
    }
    return ag_tensor_cast(table, dtype);
}

/* ---- The op ---- */

/* x turned by the rows of the table, or back. Where the heads of a time lie together in x, they do in the result, so
 * that splitting and merging heads copy nothing. `positions` may be NULL. */
static ag_tensor *rope_turned(ag_tensor *x, ag_tensor *table, ag_tensor *positions, ag_rope_pairing pairing, bool back)
{
    ag_tensor *rows = x->stride[3] == 1 ? x : ag_tensor_contiguous(x), *dense = ag_tensor_contiguous(table);
    ag_tensor *index = positions == NULL ? NULL : ag_tensor_contiguous(positions);
    if (rows == NULL || dense == NULL || (positions != NULL && index == NULL))
        return NULL;
    const int64_t B = x->shape[0], H = x->shape[1], T = x->shape[2], D = x->shape[3];
    ag_tensor *y = rows->stride[1] < rows->stride[2]
                       ? ag_tensor_transpose(ag_empty(x->ctx, x->dtype, AG_SHAPE(B, T, H, D)), 1, 2)
                       : ag_empty(x->ctx, x->dtype, AG_SHAPE(B, H, T, D));
    if (y == NULL)
        return NULL;
    const ag_rope_args args = {
        .B = B, .H = H, .T = T, .D = D, .R = table->shape[1],
        .neighbours = pairing == AG_ROPE_NEIGHBOURS, .back = back,
        .table = ag_data(dense), .positions = index == NULL ? NULL : ag_data(index),
        .x = ag_data(rows), .x_batch = rows->stride[0], .x_head = rows->stride[1], .x_time = rows->stride[2],
        .y = y->storage->data, .y_batch = y->stride[0], .y_head = y->stride[1], .y_time = y->stride[2],
    };
    ag_kernels(x->ctx, x->dtype)->rope(ag_ctx_team(x->ctx), &args);
    return y;
}

static void rope_vjp(ag_vjp *v)
{
    const ag_rope_pairing *pairing = v->attr;
    ag_vjp_add(v, 0, rope_turned(v->gy, v->input[1], v->input[2], *pairing, true));
}

static const ag_op rope_op = { "rope", 3, AG_KEEP_INPUT << 1 | AG_KEEP_INPUT << 2, .vjp = rope_vjp };

/* Whether x[B,H,T,D] and table[P,R] fit, and the table is a constant. */
static bool rope_check_table(const ag_tensor *x, const ag_tensor *table)
{
    if (!ag_same_real("rope", x, table))
        return false;
    if (x->ndim != 4 || table->ndim != 2 || table->shape[1] < 2 || table->shape[1] % 2 != 0 ||
        table->shape[1] > x->shape[3]) {
        ag_fail(x->ctx, AG_ERR_SHAPE, "rope", "x is %s, the table %s; must be [B,H,T,D] and [P,R], R even and at most "
                "D", ag_shape_text(x), ag_shape_text(table));
        return false;
    }
    const ag_tape *tape = ag_running_tape(x->ctx);
    if (ag_requires_grad(table) || (tape != NULL && ag_tape_knows(tape, table))) {
        ag_fail(x->ctx, AG_ERR_ARGUMENT, "rope", "the table %s requires a gradient, and rope gives it none; detach it",
                ag_shape_text(table));
        return false;
    }
    return true;
}

/* Every position is a row of the table; NULL: 0 .. T-1. */
static bool rope_check_positions(const ag_tensor *x, const ag_tensor *table, ag_tensor *positions)
{
    const int64_t B = x->shape[0], T = x->shape[2], P = table->shape[0];
    if (positions == NULL) {
        if (T <= P)
            return true;
        ag_fail(x->ctx, AG_ERR_INDEX, "rope", "x is %s, its last position %lld; the table %s has rows 0..%lld",
                ag_shape_text(x), (long long)T - 1, ag_shape_text(table), (long long)P - 1);
        return false;
    }
    if (positions->dtype != AG_I32) {
        ag_fail(x->ctx, AG_ERR_DTYPE, "rope", "the positions %s are %s, must be int32", ag_shape_text(positions),
                ag_dtype_name(positions->dtype));
        return false;
    }
    if (positions->ndim != 2 || positions->shape[0] != B || positions->shape[1] != T) {
        ag_fail(x->ctx, AG_ERR_SHAPE, "rope", "x is %s, the positions %s; must be [B,H,T,D] and [B,T]",
                ag_shape_text(x), ag_shape_text(positions));
        return false;
    }
    const int32_t *value = ag_data(positions);
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++) {
            const int32_t p = value[b * positions->stride[0] + t * positions->stride[1]];
            if (p >= 0 && p < P)
                continue;
            ag_fail(x->ctx, AG_ERR_INDEX, "rope", "positions[%lld,%lld] is %ld, the table %s has rows 0..%lld",
                    (long long)b, (long long)t, (long)p, ag_shape_text(table), (long long)P - 1);
            return false;
        }
    return true;
}

ag_tensor *ag_rope(ag_tensor *x, ag_tensor *table, ag_tensor *positions, ag_rope_pairing pairing)
{
    if (x == NULL || table == NULL || !rope_check_table(x, table) || !rope_check_positions(x, table, positions))
        return NULL;
    if (pairing != AG_ROPE_HALVES && pairing != AG_ROPE_NEIGHBOURS)
        return ag_fail(x->ctx, AG_ERR_ARGUMENT, "rope", "there is no pairing number %d", (int)pairing);
    ag_tensor *y = rope_turned(x, table, positions, pairing, false);
    if (y == NULL)
        return NULL;
    return ag_record(&rope_op, y, (ag_tensor *[]){ x, table, positions }, 3, &pairing, sizeof pairing, NULL);
}
