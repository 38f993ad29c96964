/* SPDX-License-Identifier: MIT
 *
 * bench_machine.c - what the machine can do at most, on one thread and on two, as one line of JSON: multiply-adds per
 * second of each instruction set that it runs, and bytes per second read, copied and triad (z = x + a y) from memory
 * and, read and copied, from each cache.
 *
 * With --peak only the multiply-adds, of the best instruction set, with --read only reading from memory: a virtual
 * machine's differ from second to second. With --probe only how many times as fast two threads are as one right now: a
 * virtual machine may lend a core away.
 *
 * Each figure is the best of TURNS. Bytes are those that the program asks for: a cache that reads a line before it is
 * written moves more. The size is that of all arrays of all threads together.
 */
#define _XOPEN_SOURCE 700

#include "attngrad.h"
#include "bench/limits.h"
#include "bench/measure.h"
#include "examples/shared/program.h"
#include "tensor/kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { TURNS = 15, KB = 1024, MEMORY_KB = 192 * KB };
static const double TURN_MS = 12;

static const limits *const all[] = {
    &limits_baseline,
#ifdef AG_HAVE_X86_64_LEVELS
    &limits_v3, &limits_v4,
#endif
};
enum { ALL = sizeof all / sizeof *all };

enum { READ, COPY, TRIAD, KINDS };
static const char *const kind_names[KINDS] = { "read", "copy", "triad" };

static volatile float keep; /* what loops return goes here, so that they run */

static int most_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads() < 2 ? 1 : 2;
#else
    return 1;
#endif
}

static double multiply_add_ms(const limits *l, int threads, size_t rounds)
{
    const double start = now_ms();
    float sum = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : sum)
    for (int t = 0; t < threads; t++)
        sum += l->multiply_add(rounds, 0.999f, 0.001f);
    keep = sum;
    return now_ms() - start;
}

static double peak_gflops(const limits *l, int threads)
{
    size_t rounds = 1000;
    double best = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        const double ms = multiply_add_ms(l, threads, rounds);
        best = fmax(best, 1e-6 * (double)threads * (double)rounds * (double)l->multiply_add_flops / ms);
        rounds = (size_t)(1 + TURN_MS * best * 1e6 / (double)l->multiply_add_flops);
    }
    return best;
}

/* `repeats` passes over kb kilobytes, an equal part for each thread. */
static double pass_ms(const limits *l, int kind, int threads, float *memory, size_t kb, size_t repeats)
{
    const size_t arrays = kind == READ ? 1 : kind == COPY ? 2 : 3;
    const size_t part = kb * KB / sizeof(float) / (size_t)threads;
    const size_t n = part / arrays / LIMITS_BLOCK * LIMITS_BLOCK;
    const double start = now_ms();
    float sum = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : sum)
    for (int t = 0; t < threads; t++) {
        float *x = memory + (size_t)t * part;
        for (size_t r = 0; r < repeats; r++)
            if (kind == READ)
                sum += l->read(n, x);
            else if (kind == COPY)
                l->copy(n, x + n, x);
            else
                l->triad(n, x + 2 * n, x, x + n, 0.5f);
    }
    keep = sum;
    return (now_ms() - start) / ((double)(n * arrays * (size_t)threads) * sizeof(float) * (double)repeats);
}

static double gigabytes_per_s(const limits *l, int kind, int threads, float *memory, size_t kb)
{
    size_t repeats = 1;
    double best = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        best = fmax(best, 1e-6 / pass_ms(l, kind, threads, memory, kb, repeats));
        repeats = 1 + (size_t)(TURN_MS * best * 1e6 / (double)(kb * KB));
    }
    return best;
}

/* Prints the speed of two threads by that of one, in some 20 ms. */
static int probe(const limits *l)
{
    const size_t rounds = (size_t)(5e8 / (double)l->multiply_add_flops);
    double ms[2] = { HUGE_VAL, HUGE_VAL };
    for (int turn = 0; turn < 3; turn++)
        for (int threads = 1; threads <= 2; threads++)
            ms[threads - 1] = fmin(ms[threads - 1], multiply_add_ms(l, threads, rounds));
    ag_printf("%.2f\n", 2 * ms[0] / ms[1]);
    return 0;
}

/* Of the instruction sets that the machine runs. */
static const limits *best_limits(void)
{
    size_t count = ALL;
    while (ag_kernels_find(all[count - 1]->isa) == NULL)
        count--;
    return all[count - 1];
}

static int print_peak(void)
{
    const limits *best = best_limits();
    ag_printf("{\"isa\": \"%s\", \"1\": %.1f", best->isa, peak_gflops(best, 1));
    if (most_threads() > 1)
        ag_printf(", \"2\": %.1f", peak_gflops(best, 2));
    printf("}\n");
    return 0;
}

static void print_read(float *memory)
{
    for (int threads = 1; threads <= most_threads(); threads++)
        ag_printf("%s\"%d\": %.1f", threads == 1 ? "{" : ", ", threads,
                  gigabytes_per_s(best_limits(), READ, threads, memory, MEMORY_KB));
    printf("}\n");
}

static void print_all(float *memory)
{
    static const size_t sizes[] = { 24, 512, 4 * KB, MEMORY_KB };
    const limits *best = best_limits();
    printf("{\"threads\": %d, \"peaks\": [", most_threads());
    for (size_t i = 0; i < ALL; i++)
        for (int threads = 1; threads <= most_threads() && ag_kernels_find(all[i]->isa) != NULL; threads++)
            ag_printf("%s{\"isa\": \"%s\", \"threads\": %d, \"gflops\": %.1f}", i + (size_t)threads == 1 ? "" : ", ",
                      all[i]->isa, threads, peak_gflops(all[i], threads));
    printf("], \"bandwidth\": [");
    for (int threads = 1; threads <= most_threads(); threads++)
        for (int kind = 0; kind < KINDS; kind++)
            for (size_t s = kind == TRIAD ? 3 : 0; s < sizeof sizes / sizeof *sizes; s++)
                ag_printf("%s{\"kind\": \"%s\", \"kb\": %zu, \"threads\": %d, \"gb_per_s\": %.1f}",
                          threads + kind + (int)s == 1 ? "" : ", ", kind_names[kind], sizes[s], threads,
                          gigabytes_per_s(best, kind, threads, memory, sizes[s]));
    printf("], \"isa\": \"%s\"}\n", best->isa);
}

int main(int argc, char **argv)
{
    program_streams("bench_machine");
    if (argc > 1 && strcmp(argv[1], "--probe") == 0)
        return probe(all[0]);
    if (argc > 1 && strcmp(argv[1], "--peak") == 0)
        return print_peak();
    ag_ctx *ctx = program_begin("bench_machine", 1);
    float *memory = ag_data_mut(ag_full(ctx, AG_F32, AG_SHAPE((int64_t)MEMORY_KB * KB / (int64_t)sizeof(float)), 1));
    if (memory != NULL && argc > 1 && strcmp(argv[1], "--read") == 0)
        print_read(memory);
    else if (memory != NULL)
        print_all(memory);
    return program_end("bench_machine", ctx, memory != NULL);
}
