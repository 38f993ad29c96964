/* SPDX-License-Identifier: MIT
 *
 * limits.c - the loops of limits.h, compiled with each instruction set's flags and AG_ISA, as kernels.c is.
 *
 * CHAINS vectors take turns: a multiply-add waits for the one CHAINS before it, and four cycles of latency on two
 * units need eight. More than 13 and SSE runs out of registers. Without fused instructions it is a multiplication and
 * an addition. The compiler can not shorten the chains: float arithmetic is not associative.
 */
#include "bench/limits.h"

#include <string.h>

#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif

#ifdef __GNUC__
typedef float vector __attribute__((vector_size(4 * WIDTH), may_alias));
#else
typedef float vector;
#endif

enum { CHAINS = 12, LANES = sizeof(vector) / sizeof(float), READS = 8 };

static float first_of(vector v)
{
    float value;
    memcpy(&value, &v, sizeof value);
    return value;
}

static float multiply_add(size_t rounds, float factor, float term)
{
    const vector zero = { 0 }, a = zero + factor, b = zero + term;
    vector sum[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        sum[c] = zero + (float)c;
    for (size_t r = 0; r < rounds; r++)
        for (int c = 0; c < CHAINS; c++)
            sum[c] = sum[c] * a + b;
    vector all = zero;
    for (int c = 0; c < CHAINS; c++)
        all += sum[c];
    return first_of(all);
}

static float read_sum(size_t n, const float *x)
{
    const vector *v = (const vector *)x;
    vector sum[READS] = { { 0 } };
    for (size_t i = 0; i < n / LANES; i += READS)
        for (size_t r = 0; r < READS; r++)
            sum[r] += v[i + r];
    vector all = { 0 };
    for (int r = 0; r < READS; r++)
        all += sum[r];
    return first_of(all);
}

static void copy(size_t n, float *restrict y, const float *restrict x)
{
    memcpy(y, x, n * sizeof *y);
}

static void triad(size_t n, float *restrict z, const float *restrict x, const float *restrict y, float factor)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        z[i] = x[i] + factor * y[i];
}

#define JOIN(a, b) a##b
#define NAMED(isa) JOIN(limits_, isa)

const limits NAMED(AG_ISA) = { .isa = AG_ISA_NAME,
                               .multiply_add_flops = 2 * CHAINS * LANES,
                               .multiply_add = multiply_add,
                               .read = read_sum,
                               .copy = copy,
                               .triad = triad };
