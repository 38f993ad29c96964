/* SPDX-License-Identifier: MIT
 *
 * kernel_settings.h - what the suites of the kernels share. A "setting" is one type's kernels in one table that this
 * machine runs. Values are floats, so that both types compute with the same numbers; what they are compared with is
 * computed in double. Tolerances are in units of the type's epsilon.
 */
#ifndef TESTS_KERNEL_SETTINGS_H
#define TESTS_KERNEL_SETTINGS_H

#include "tensor/kernels/kernels.h"
#include "tests/suites.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SETTINGS = 8, MOST = 70000, SLOTS = 8 };

typedef struct setting {
    const ag_real_kernels *k;
    const char *isa;
    size_t size;
    double eps;
} setting;

/* Typed arrays for kernels, and arrays of doubles for formulas. */
static double memory[SLOTS][MOST];
static double number[SLOTS][MOST];

static inline bool setting_at(int i, setting *s)
{
    static const char *const isas[] = { "baseline", "x86-64-v3", "x86-64-v4", "reference" };
    const ag_kernel_table *table = ag_kernels_find(isas[i / 2]);
    if (table == NULL)
        return false;
    *s = i % 2 == 0 ? (setting){ &table->f32, table->isa, sizeof(float), (double)FLT_EPSILON }
                    : (setting){ &table->f64, table->isa, sizeof(double), DBL_EPSILON };
    return true;
}

static inline double at(const setting *s, const void *array, int64_t i)
{
    return s->size == sizeof(float) ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

static inline void *put(const setting *s, void *array, int64_t n, const double *values)
{
    for (int64_t i = 0; i < n; i++)
        if (s->size == sizeof(float))
            ((float *)array)[i] = (float)values[i];
        else
            ((double *)array)[i] = values[i];
    return array;
}

/* n floats between low and high, a fixed sequence per seed. */
static inline double *draw(double *values, int64_t n, uint32_t seed, double low, double high)
{
    uint32_t state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (double)(float)(low + (high - low) * (double)(state >> 8) * 0x1p-24);
    }
    return values;
}

/* |got - want| <= units eps (1 + |want|) + slack; NaN only where NaN is wanted. */
static inline void expect(const setting *s, const char *what, int64_t n, const void *got, const double *want,
                          double units, double slack)
{
    for (int64_t i = 0; i < n; i++) {
        const double value = at(s, got, i);
        bool good = fabs(value - want[i]) <= units * s->eps * (1 + fabs(want[i])) + slack;
        if (isnan(want[i]) || isinf(want[i]))
            good = isnan(want[i]) ? isnan(value) : value == want[i];
        if (!good) {
            char text[200];
            snprintf(text, sizeof text, "%s (%s, %d bytes): [%lld] is %.17g, not %.17g", what, s->isa, (int)s->size,
                     (long long)i, value, want[i]);
            ck_abort_msg("%s", text);
        }
    }
}

static inline void expect_same_bits(const setting *s, const char *what, int64_t n, const void *a, const void *b)
{
    if (memcmp(a, b, (size_t)n * s->size) != 0) {
        char text[100];
        snprintf(text, sizeof text, "%s (%s): another thread count gives other bits", what, s->isa);
        ck_abort_msg("%s", text);
    }
}

#endif
