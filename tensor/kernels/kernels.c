/* SPDX-License-Identifier: MIT
 *
 * kernels.c - one instruction set's kernel table. The Makefile compiles this file once per instruction set,
 * with AG_ISA (the table's suffix), AG_ISA_NAME (its public name) and the target's flags, and once more with
 * AG_REFERENCE, which puts the plain loops in place of the blocked and fused ones.
 *
 * Each .inc file is a template over `real` (float, double); FN(name) is the name of its instance.
 */
#if defined(__FAST_MATH__)
#error "attngrad needs IEEE arithmetic: infinities, NaN and the order of sums as written. Compile without -ffast-math."
#endif

#include "tensor/kernels/kernels.h"
#include "tensor/philox.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Machines that compute with floats in a wider type (s390x, x87) promote every one of them. */
#if FLT_EVAL_METHOD != 0 && defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wdouble-promotion"
#endif

#define AG_JOIN3_(a, b, c) a##_##b##_##c
#define AG_JOIN3(a, b, c) AG_JOIN3_(a, b, c)
#define AG_JOIN2_(a, b) a##_##b
#define AG_JOIN2(a, b) AG_JOIN2_(a, b)

/* Only when a function is inlined do constant arguments reach its loops as constants, and sums stay in registers. A
 * build that is not optimized has neither. */
#if defined(__GNUC__) && defined(__OPTIMIZE__)
#define AG_ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define AG_ALWAYS_INLINE static inline
#endif

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* SQUARE_MOST: the largest power of two whose square is finite. */
#define real float
#define REAL_IS_FLOAT 1
#define REAL_MAX FLT_MAX
#define SQUARE_MOST 0x1p63f
#define FN(name) AG_JOIN3(name, f32, AG_ISA)
#include "tensor/kernels/kernels.inc"
#undef real
#undef REAL_IS_FLOAT
#undef REAL_MAX
#undef SQUARE_MOST
#undef FN

#define real double
#define REAL_IS_FLOAT 0
#define REAL_MAX DBL_MAX
#define SQUARE_MOST 0x1p511
#define FN(name) AG_JOIN3(name, f64, AG_ISA)
#include "tensor/kernels/kernels.inc"
#undef real
#undef REAL_IS_FLOAT
#undef REAL_MAX
#undef SQUARE_MOST
#undef FN

extern const ag_kernel_table AG_JOIN2(ag_kernels, AG_ISA);
const ag_kernel_table AG_JOIN2(ag_kernels, AG_ISA) = {
    .isa = AG_ISA_NAME,
    .f32 = {
#define AG_KERNEL(type, name) .name = AG_JOIN3(name, f32, AG_ISA),
#include "tensor/kernels/kernels.def"
#undef AG_KERNEL
    },
    .f64 = {
#define AG_KERNEL(type, name) .name = AG_JOIN3(name, f64, AG_ISA),
#include "tensor/kernels/kernels.def"
#undef AG_KERNEL
    },
};
