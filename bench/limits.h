/* SPDX-License-Identifier: MIT
 *
 * limits.h - loops that do nothing but reach a limit of one core, compiled once per instruction set (limits.c).
 */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <stddef.h>

typedef struct limits {
    const char *isa;
    size_t multiply_add_flops; /* of one round */
    float (*multiply_add)(size_t rounds, float factor, float term);
    float (*read)(size_t n, const float *x); /* n: a multiple of LIMITS_BLOCK */
    void (*copy)(size_t n, float *restrict y, const float *restrict x);
    void (*triad)(size_t n, float *restrict z, const float *restrict x, const float *restrict y, float factor);
} limits;

enum { LIMITS_BLOCK = 128 };

extern const limits limits_baseline, limits_v3, limits_v4;

#endif
