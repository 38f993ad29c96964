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

/* Rounding can reach `high`, which does not belong to the interval. */
static float float_below(double value, double high)
{
    float x = (float)value;
    return (double)x < high ? x : nextafterf(x, -INFINITY);
}

static double double_below(double value, double high)
{
    return value < high ? value : nextafter(value, -(double)INFINITY);
}

/* The values of one block from low, width (high - low) on; at most count of them are wanted. */
static void uniform_block(ag_dtype dtype, const uint32_t word[4], double low, double high, int64_t count, void *out)
{
    for (int64_t i = 0; i < count; i++) {
        double unit = dtype == AG_F32 ? (double)(word[i] >> 8) * 0x1p-24 : unit53(word[2 * i], word[2 * i + 1]);
        double value = low + (high - low) * unit;
        if (dtype == AG_F32)
            ((float *)out)[i] = low < high ? float_below(value, high) : (float)low;
        else
            ((double *)out)[i] = low < high ? double_below(value, high) : low;
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

static void normal_block(ag_dtype dtype, const uint32_t word[4], double mean, double std, int64_t count, void *out)
{
    double z[4] = { 0 };
    if (dtype == AG_F32) {
        for (int pair = 0; pair < 2; pair++) {
            double u = ((double)word[2 * pair] + 1.0) * 0x1p-32;
            box_muller(u, (double)word[2 * pair + 1] * 0x1p-32, z + 2 * pair);
        }
        for (int64_t i = 0; i < count; i++)
            ((float *)out)[i] = (float)(mean + std * z[i]);
    } else {
        box_muller(1.0 - unit53(word[0], word[1]), unit53(word[2], word[3]), z);
        for (int64_t i = 0; i < count; i++)
            ((double *)out)[i] = mean + std * z[i];
    }
}

/* ---- Filling --------------------------------------------------------------------------------- */

typedef void block_maker(ag_dtype dtype, const uint32_t word[4], double a, double b, int64_t count, void *out);

static bool check_real(ag_ctx *ctx, const char *where, ag_dtype dtype)
{
    if (dtype == AG_F32 || dtype == AG_F64)
        return true;
    ag_fail(ctx, AG_ERR_DTYPE, where, "%s, wanted is float32 or float64", ag_dtype_name(dtype));
    return false;
}

static void draw_dense(ag_tensor *t, block_maker *make, double a, double b)
{
    int64_t per = per_block(t->dtype), blocks = t->numel / per + (t->numel % per != 0);
    size_t size = ag_dtype_size(t->dtype);
    char *out = ag_address(t, 0);
    ag_rng rng = ag_rng_take(t->ctx, (uint64_t)blocks);
    for (int64_t block = 0; block < blocks; block++) {
        uint32_t word[4];
        int64_t left = t->numel - block * per;
        ag_philox(rng.seed, rng.counter + (uint64_t)block, word);
        make(t->dtype, word, a, b, left < per ? left : per, out + (size_t)(block * per) * size);
    }
}

/* Draws into t; where t has gaps or another order, by way of a contiguous tensor. After an error nothing has
 * been drawn. */
static ag_status draw(ag_tensor *t, const char *where, block_maker *make, double a, double b)
{
    if (!check_real(t->ctx, where, t->dtype))
        return AG_ERR_DTYPE;
    if (ag_is_contiguous(t)) {
        draw_dense(t, make, a, b);
        ag_storage_changed(t, where);
        return AG_OK;
    }
    for (int d = 0; d < t->ndim; d++)
        if (t->stride[d] == 0 && t->shape[d] > 1) {
            ag_fail(t->ctx, AG_ERR_ARGUMENT, where, "dim %d of %s is expanded, its elements are one", d,
                    ag_shape_text(t));
            return AG_ERR_ARGUMENT;
        }
    ag_status status = AG_ERR_MEMORY;
    ag_scope_begin(t->ctx, NULL);
    ag_tensor *dense = ag_empty(t->ctx, t->dtype, t->ndim, t->shape);
    if (dense != NULL) {
        draw_dense(dense, make, a, b);
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
        ag_fail(t->ctx, AG_ERR_ARGUMENT, "fill_uniform", "no interval from %g to %g", low, high);
        return AG_ERR_ARGUMENT;
    }
    return draw(t, "fill_uniform", uniform_block, low, high);
}

ag_status ag_fill_normal(ag_tensor *t, double mean, double std)
{
    if (t == NULL)
        return AG_ERR_ARGUMENT;
    if (!(fabs(mean) <= DBL_MAX && std >= 0.0 && std <= DBL_MAX)) {
        ag_fail(t->ctx, AG_ERR_ARGUMENT, "fill_normal", "mean %g, standard deviation %g", mean, std);
        return AG_ERR_ARGUMENT;
    }
    return draw(t, "fill_normal", normal_block, mean, std);
}

/* ---- Creation -------------------------------------------------------------------------------- */

ag_tensor *ag_rand(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    if (ctx == NULL || !check_real(ctx, "rand", dtype))
        return NULL;
    ag_tensor *t = ag_empty(ctx, dtype, ndim, shape);
    if (t != NULL)
        draw_dense(t, uniform_block, 0.0, 1.0);
    return t;
}

ag_tensor *ag_randn(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    if (ctx == NULL || !check_real(ctx, "randn", dtype))
        return NULL;
    ag_tensor *t = ag_empty(ctx, dtype, ndim, shape);
    if (t != NULL)
        draw_dense(t, normal_block, 0.0, 1.0);
    return t;
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
        /* The upper half of the 96-bit product of 64 random bits and the range: a bias below 2^-32. */
        const uint32_t *pair = word + 2 * (i % 2);
        uint64_t scaled = (pair[0] * range + (pair[1] * range >> 32)) >> 32;
        out[i] = (int32_t)((int64_t)low + (int64_t)scaled);
    }
    return t;
}
