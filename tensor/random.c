/* SPDX-License-Identifier: MIT
 *
 * random.c - random tensors from the context's Philox stream.
 *
 * A draw of n values takes whole blocks of four 32-bit words. Value i, counted in row-major order whatever the
 * strides, comes from:
 *   uniform float32: word i%4 of block i/4, its upper 24 bits     float64: a pair of words of block i/2, 53 bits
 *   integers:        a pair of words of block i/2
 *   normal:          Box-Muller in double precision. float32: words (0,1) of block i/4 make values 0 and 1, words
 *                    (2,3) values 2 and 3; float64: block i/2 makes two values of 53 bits each.
 */
#include "tensor/ctx_impl.h"
#include "tensor/philox.h"
#include "tensor/tensor_impl.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

#define TWO_PI 6.28318530717958647692

static double unit53(uint32_t high, uint32_t low)
{
    uint64_t bits = (uint64_t)high << 32 | low;
    return (double)(bits >> 11) * 0x1p-53;
}

double ag_random(ag_ctx *ctx)
{
    if (ctx == NULL)
        return 0;
    uint32_t word[4];
    ag_rng rng = ag_rng_take(ctx, 1);
    ag_philox(rng.seed, rng.counter, word);
    return unit53(word[0], word[1]);
}

/* Values per block of four words. */
static int per_block(ag_dtype dtype)
{
    return dtype == AG_F32 ? 4 : 2;
}

/* ---- Distributions --------------------------------------------------------------------------- */

/* Makes the values of a block, rounded to dtype or not yet, with the parameters a and b of the distribution. */
typedef void block_maker(ag_dtype dtype, const uint32_t word[4], double a, double b, double value[4]);

/* x, rounded to dtype: rounding can reach `high`, which does not belong to the interval. */
static double random_below(ag_dtype dtype, double x, double high)
{
    if (dtype == AG_F64)
        return x < high ? x : nextafter(x, -(double)INFINITY);
    const float single = (float)x;
    return (double)((double)single < high ? single : nextafterf(single, -INFINITY));
}

static void uniform_block(ag_dtype dtype, const uint32_t word[4], double low, double high, double value[4])
{
    for (int i = 0; i < per_block(dtype); i++) {
        const double unit = dtype == AG_F32 ? (double)(word[i] >> 8) * 0x1p-24 : unit53(word[2 * i], word[2 * i + 1]);
        value[i] = low < high ? random_below(dtype, low + (high - low) * unit, high) : low;
    }
}

/* u in (0, 1], v in [0, 1) -> two independent normal values.
 * (Box and Muller, "A note on the generation of random normal deviates", 1958.) */
static void box_muller(double u, double v, double pair[2])
{
    double radius = sqrt(-2.0 * log(u));
    pair[0] = radius * cos(TWO_PI * v);
    pair[1] = radius * sin(TWO_PI * v);
}

static void normal_block(ag_dtype dtype, const uint32_t word[4], double mean, double std, double value[4])
{
    for (int pair = 0; dtype == AG_F32 && pair < 2; pair++) {
        double u = ((double)word[2 * pair] + 1.0) * 0x1p-32;
        box_muller(u, (double)word[2 * pair + 1] * 0x1p-32, value + 2 * pair);
    }
    if (dtype == AG_F64)
        box_muller(1.0 - unit53(word[0], word[1]), unit53(word[2], word[3]), value);
    for (int i = 0; i < per_block(dtype); i++)
        value[i] = mean + std * value[i];
}

/* Bits 64 .. 95 of the product of 64 random bits and the range: a bias below 2^-32. */
static void integer_block(ag_dtype dtype, const uint32_t word[4], double low, double high, double value[4])
{
    const uint64_t range = (uint64_t)(high - low);
    for (int i = 0; i < per_block(dtype); i++)
        value[i] = low + (double)((word[2 * i] * range + (word[2 * i + 1] * range >> 32)) >> 32);
}

/* ---- Drawing --------------------------------------------------------------------------------- */

static bool random_is_real(ag_ctx *ctx, const char *where, ag_dtype dtype)
{
    if (dtype == AG_F32 || dtype == AG_F64)
        return true;
    ag_fail(ctx, AG_ERR_DTYPE, where, "%s, wanted is float32 or float64", ag_dtype_name(dtype));
    return false;
}

/* Fills t, which is contiguous or NULL. Returns t. */
static ag_tensor *random_draw(ag_tensor *t, block_maker *make, double a, double b)
{
    if (t == NULL)
        return NULL;
    const int64_t per = per_block(t->dtype), blocks = t->numel / per + (t->numel % per != 0);
    const ag_rng rng = ag_rng_take(t->ctx, (uint64_t)blocks);
    for (int64_t block = 0; block < blocks; block++) {
        uint32_t word[4];
        double value[4];
        const int64_t left = t->numel - block * per;
        ag_philox(rng.seed, rng.counter + (uint64_t)block, word);
        make(t->dtype, word, a, b, value);
        ag_write_row(t->dtype, left < per ? left : per, value, 1, ag_address(t, block * per), 1);
    }
    return t;
}

/* Fills t, through a contiguous tensor when t is not contiguous. */
static ag_status random_fill(ag_tensor *t, const char *where, block_maker *make, double a, double b)
{
    if (!random_is_real(t->ctx, where, t->dtype) || !ag_check_separate(where, t))
        return ag_error(t->ctx);
    if (t->ctx->undrawn)
        return AG_OK;
    ag_scope_begin(t->ctx, NULL);
    ag_tensor *dense = ag_is_contiguous(t) ? t : ag_empty(t->ctx, t->dtype, t->ndim, t->shape);
    ag_status status = AG_ERR_MEMORY;
    if (random_draw(dense, make, a, b) != NULL)
        status = dense == t ? AG_OK : ag_copy_into(t, dense);
    ag_scope_end(t->ctx, NULL);
    ag_storage_changed(t, where);
    return status;
}

void ag_skip_draws(ag_ctx *ctx, bool skip)
{
    ctx->undrawn = skip;
}

ag_status ag_fill_uniform(ag_tensor *t, double low, double high)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (low <= high && high - low <= DBL_MAX)
        return random_fill(t, "fill_uniform", uniform_block, low, high);
    ag_fail(t->ctx, AG_ERR_ARGUMENT, "fill_uniform", "no interval from %s to %s", ag_number_text(t->ctx, low),
            ag_number_text(t->ctx, high));
    return AG_ERR_ARGUMENT;
}

ag_status ag_fill_normal(ag_tensor *t, double mean, double std)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (fabs(mean) <= DBL_MAX && std >= 0.0 && std <= DBL_MAX)
        return random_fill(t, "fill_normal", normal_block, mean, std);
    ag_fail(t->ctx, AG_ERR_ARGUMENT, "fill_normal", "mean %s, standard deviation %s", ag_number_text(t->ctx, mean),
            ag_number_text(t->ctx, std));
    return AG_ERR_ARGUMENT;
}

ag_tensor *ag_rand(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    if (ctx == NULL || !random_is_real(ctx, "rand", dtype))
        return NULL;
    return random_draw(ag_empty(ctx, dtype, ndim, shape), uniform_block, 0, 1);
}

ag_tensor *ag_randn(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    if (ctx == NULL || !random_is_real(ctx, "randn", dtype))
        return NULL;
    return random_draw(ag_empty(ctx, dtype, ndim, shape), normal_block, 0, 1);
}

ag_tensor *ag_randint(ag_ctx *ctx, int32_t low, int32_t high, int ndim, const int64_t *shape)
{
    if (low >= high)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "randint", "no integer from %" PRId32 " to below %" PRId32, low, high);
    return random_draw(ag_empty(ctx, AG_I32, ndim, shape), integer_block, low, high);
}
