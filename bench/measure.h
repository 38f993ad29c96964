/* SPDX-License-Identifier: MIT
 *
 * measure.h - what the benchmarks measure with: the clock, median and mean, the most memory that the process took. A
 * program that uses peak_mb defines _XOPEN_SOURCE 700, any other _POSIX_C_SOURCE 200809L, first of all.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdlib.h>
#include <time.h>

#ifndef __wasi__ /* which tells of no memory */
#include <sys/resource.h>
#endif

static inline double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Beside other programs: a median does not see the time slices that they take. */
static inline double mean(const double *values, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

/* Sorts the values; count >= 1. */
static inline double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 == 1 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

#ifndef __wasi__
/* Peak resident set, with everything in it: code, inputs, gradients. */
static inline double peak_mb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (double)usage.ru_maxrss / (1024.0 * 1024.0); /* bytes there, kilobytes elsewhere */
#else
    return (double)usage.ru_maxrss / 1024.0;
#endif
}
#endif

#endif
