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
static int64_t per_block(ag_dtype dtype)
{
    return dtype == AG_F32 ? 4 : 2;
}

/* ---- Uniform --------------------------------------------------------------------------------- */

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

/* ---- Normal ---------------------------------------------------------------------------------- */

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

/* ---- Filling --------------------------------------------------------------------------------- */

/* Makes the values of a block, rounded to dtype or not yet, with the parameters a and b of the distribution. */
typedef void block_maker(ag_dtype dtype, const uint32_t word[4], double a, double b, double value[4]);

static bool random_check(ag_ctx *ctx, const char *where, ag_dtype dtype)
{
    if (dtype == AG_F32 || dtype == AG_F64)
        return true;
    ag_fail(ctx, AG_ERR_DTYPE, where, "%s, wanted is float32 or float64", ag_dtype_name(dtype));
    return false;
}

static void random_draw_dense(ag_tensor *t, block_maker *make, double a, double b)
{
    int64_t per = per_block(t->dtype), blocks = t->numel / per + (t->numel % per != 0);
    ag_rng rng = ag_rng_take(t->ctx, (uint64_t)blocks);
    for (int64_t block = 0; block < blocks; block++) {
        uint32_t word[4];
        double value[4];
        const int64_t left = t->numel - block * per;
        ag_philox(rng.seed, rng.counter + (uint64_t)block, word);
        make(t->dtype, word, a, b, value);
        ag_write_row(t->dtype, left < per ? left : per, value, 1, ag_address(t, block * per), 1);
    }
}

/* Draws into t, through a contiguous tensor when t is not contiguous. */
static ag_status random_draw(ag_tensor *t, const char *where, block_maker *make, double a, double b)
{
    if (!random_check(t->ctx, where, t->dtype))
        return AG_ERR_DTYPE;
    if (ag_is_contiguous(t)) {
        random_draw_dense(t, make, a, b);
        ag_storage_changed(t, where);
        return AG_OK;
    }
    if (!ag_check_separate(where, t))
        return AG_ERR_ARGUMENT;
    ag_status status = AG_ERR_MEMORY;
    ag_scope_begin(t->ctx, NULL);
    ag_tensor *dense = ag_empty(t->ctx, t->dtype, t->ndim, t->shape);
    if (dense != NULL) {
        random_draw_dense(dense, make, a, b);
        status = ag_copy_into(t, dense);
    }
    ag_scope_end(t->ctx, NULL);
    return status;
}

ag_status ag_fill_uniform(ag_tensor *t, double low, double high)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (!(low <= high && high - low <= DBL_MAX)) {
        ag_fail(t->ctx, AG_ERR_ARGUMENT, "fill_uniform", "no interval from %s to %s",
                ag_number_text(t->ctx, low), ag_number_text(t->ctx, high));
        return AG_ERR_ARGUMENT;
    }
    return random_draw(t, "fill_uniform", uniform_block, low, high);
}

ag_status ag_fill_normal(ag_tensor *t, double mean, double std)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (!(fabs(mean) <= DBL_MAX && std >= 0.0 && std <= DBL_MAX)) {
        ag_fail(t->ctx, AG_ERR_ARGUMENT, "fill_normal", "mean %s, standard deviation %s",
                ag_number_text(t->ctx, mean), ag_number_text(t->ctx, std));
        return AG_ERR_ARGUMENT;
    }
    return random_draw(t, "fill_normal", normal_block, mean, std);
}

/* ---- Creation -------------------------------------------------------------------------------- */

/* A new tensor of draws with parameters 0 and 1. */
static ag_tensor *random_new(const char *where, block_maker *make, ag_ctx *ctx, ag_dtype dtype, int ndim,
                             const int64_t *shape)
{
    ag_tensor *t = ctx == NULL || !random_check(ctx, where, dtype) ? NULL : ag_empty(ctx, dtype, ndim, shape);
    if (t != NULL)
        random_draw_dense(t, make, 0.0, 1.0);
    return t;
}

ag_tensor *ag_rand(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    return random_new("rand", uniform_block, ctx, dtype, ndim, shape);
}

ag_tensor *ag_randn(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    return random_new("randn", normal_block, ctx, dtype, ndim, shape);
}

ag_tensor *ag_randint(ag_ctx *ctx, int32_t low, int32_t high, int ndim, const int64_t *shape)
{
    if (ctx == NULL)
        return NULL;
    if (low >= high)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "randint", "no integer from %" PRId32 " to below %" PRId32, low, high);
    ag_tensor *t = ag_empty(ctx, AG_I32, ndim, shape);
    if (t == NULL)
        return NULL;
    int32_t *out = t->storage->data;
    uint64_t range = (uint64_t)((int64_t)high - low);
    ag_rng rng = ag_rng_take(ctx, (uint64_t)(t->numel / 2 + t->numel % 2));
    for (int64_t i = 0; i < t->numel; i++) {
        uint32_t word[4];
        ag_philox(rng.seed, rng.counter + (uint64_t)(i / 2), word);
        /* Bits 64 .. 95 of the product of 64 random bits and the range: a bias below 2^-32. */
        const uint32_t *pair = word + 2 * (i % 2);
        uint64_t scaled = (pair[0] * range + (pair[1] * range >> 32)) >> 32;
        out[i] = (int32_t)((int64_t)low + (int64_t)scaled);
    }
    return t;
}
