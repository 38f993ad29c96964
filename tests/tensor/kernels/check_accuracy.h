/* SPDX-License-Identifier: MIT
 *
 * check_accuracy.h - what the files of the suite "accuracy" share: inputs in both types, bounds made of roundings, and
 * the comparison of a float32 kernel with the same kernel in float64. docs/numerics.md, "Every kernel", has the bounds.
 *
 * A bound has two parts. `worst` no error may exceed: every rounding at its largest and all in one direction. `square`
 * is what a typical error's square may come to: a rounding of at most r is as good as uniform in [-r, r], has a mean
 * square of r^2 / 3, and roundings are independent. The root of the mean square over random inputs is held against it,
 * which shows what the worst case of a long sum would hide.
 */
#ifndef AG_CHECK_ACCURACY_H
#define AG_CHECK_ACCURACY_H

#include "tensor/kernels/kernels.h"

#define UNIT 0x1p-24 /* the most by which a float32 rounding is off, relative to its result: half of eps */

/* How many roundings exp, log and tanh are worth: vecmath.inc's bounds, an ulp being two at the most. */
#define EXP 2.2
#define LOG 2.2
#define TANH 5.4

typedef struct bound {
    double worst, square;
} bound;

/* One rounding of a number of this size. */
static inline bound rounding(double size)
{
    return (bound){ size < 0 ? -size * UNIT : size * UNIT, size * size * UNIT * UNIT / 3 };
}

static inline bound plus(bound a, bound b)
{
    return (bound){ a.worst + b.worst, a.square + b.square };
}

static inline bound times(bound a, double factor)
{
    return (bound){ a.worst * (factor < 0 ? -factor : factor), a.square * factor * factor };
}

/* b and one more rounding. */
static inline void add_rounding(bound *b, double size)
{
    *b = plus(*b, rounding(size));
}

/* Terms of a sum, as much as a bound needs to know. */
typedef struct terms {
    double count, sum, size, squares; /* size: sum of magnitudes */
} terms;

static inline void add_term(terms *t, double value)
{
    t->count += 1;
    t->sum += value;
    t->size += value < 0 ? -value : value;
    t->squares += value * value;
}

/* What it costs to add up terms in chains of `chain` each, whose totals are then added in pairs, `levels` times, or
 * `blocks` of them in a chain. Worst: a term takes part in at most chain + levels + blocks roundings. Typical: a
 * partial sum of j terms of mean m and variance v has a square of j v + j^2 m^2, which is summed over all partials. */
typedef struct sum_order {
    double chain, levels, blocks;
} sum_order;

bound sum_bound(sum_order order, terms t);

/* Rows of 16 lanes: the order of the sums in rows.inc. */
sum_order lanes_of(int64_t N);

/* The same values in both types. */
typedef struct numbers {
    float *f32;
    double *f64;
    int64_t count;
} numbers;

typedef struct accuracy_row accuracy_row;

/* One kernel's measurement on one instruction set. */
typedef struct accuracy {
    const accuracy_row *row;
    const char *isa;
    const ag_real_kernels *f32, *f64; /* the kernels under test; the plain ones in float64 */
    bool plain;                       /* float32 from the reference table, too */
    double worst, typical;            /* the largest error / bound so far: of an element, of a root mean square */
    struct accuracy_memory *memory;
} accuracy;

struct accuracy_row {
    const char *kernel;
    size_t field; /* in ag_real_kernels */
    void (*measure)(accuracy *a); /* NULL: computes no numbers */
    /* of elements: */
    bound (*of)(const double *p, double x, double dy, double y);
    double p[2];
    double low, high, least; /* the inputs' range; their least magnitude where magnitudes are drawn */
};

#define KERNEL(name) #name, offsetof(ag_real_kernels, name)

/* Memory until the end of the measurement. */
void *take(accuracy *a, size_t bytes);
numbers take_numbers(accuracy *a, int64_t count);
bound *take_bounds(accuracy *a, int64_t count);

/* A fixed sequence per seed: uniform in [0, 1); floats in [low, high), or of either sign with the logarithm of the
 * magnitude uniform. */
double uniform(uint32_t *state);
void set_number(numbers x, int64_t i, double value);
numbers draw_uniform(accuracy *a, int64_t count, uint32_t seed, double low, double high);
numbers draw_magnitudes(accuracy *a, int64_t count, uint32_t seed, bool negative, double least, double most);

/* Every element within its bound; what is not finite must be the same. Where inputs are random, and so many `samples`
 * of the elements are independent (else 0), the root of the mean square of error / typical error is at most 1, too, and
 * 2 / sqrt(samples) for chance. */
void judge(accuracy *a, const char *input, int64_t samples, int64_t count, const float *got, const double *want,
           const bound *bounds);

/* What a kernel gave in float32, in both types: for the next kernel to read. */
numbers widened(numbers x);

/* The rows of the table, from the files named after what they measure. */
extern const accuracy_row accuracy_elements[], accuracy_rows[], accuracy_products[];
extern const int accuracy_element_count, accuracy_row_count, accuracy_product_count;

#endif
