/* SPDX-License-Identifier: MIT
 *
 * bench_attention.c - forward and backward of attention alone: time, and the most memory that the process takes.
 *
 *     bench_attention --pattern causal --time 16384
 *     bench_attention --pattern window --window 512 --time 65536 --repeats 3 --json
 *
 * B=1, 8 heads of 64 (--heads, --size), float32. Patterns: full, causal, window (causal, --window keys back). Prints
 * the median of `repeats` after one that warms up, the peak resident set, and GFLOP/s: seven products of 2 D
 * operations for each pair in the tiles of 64 x 64 that hold an allowed pair.
 */
#define _XOPEN_SOURCE 700

#include "attngrad.h"
#include "bench/measure.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

enum { TILE = 64, PRODUCTS = 7 };

typedef struct options {
    const char *pattern;
    int64_t time, window, heads, size;
    int threads, repeats;
    bool json;
} options;

/* False when there is no such pattern. */
static bool mask_of(const options *o, ag_mask *mask)
{
    *mask = (ag_mask){ .causal = strcmp(o->pattern, "full") != 0 };
    if (strcmp(o->pattern, "window") == 0)
        mask->back = o->window;
    else if (mask->causal && strcmp(o->pattern, "causal") != 0)
        return false;
    return true;
}

/* Tiles of one head with an allowed pair: each row of tiles has one interval of them. */
static int64_t allowed_tiles(const options *o, ag_mask mask)
{
    const int64_t rows = (o->time + TILE - 1) / TILE;
    int64_t tiles = 0;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t oldest = mask.back > 0 ? r * TILE - mask.back + 1 : 0;
        const int64_t first = oldest > 0 ? oldest / TILE : 0, last = mask.causal ? r : rows - 1;
        tiles += last - first + 1;
    }
    return tiles;
}

static ag_status pass(ag_ctx *ctx, ag_mask mask, ag_tensor *const *x)
{
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *heads[3];
    for (int i = 0; i < 3; i++) { /* [B,T,H,D] seen as [B,H,T,D], as a layer has them */
        ag_zero_grad(x[i]);
        heads[i] = ag_transpose(x[i], 1, 2);
    }
    ag_tensor *y = ag_sdpa(heads[0], heads[1], heads[2], (ag_sdpa_config){ .mask = mask });
    ag_status status = ag_backward_from(tape, ag_transpose(y, 1, 2), x[3]);
    ag_tape_end(tape);
    return status;
}

static ag_status measure(ag_ctx *ctx, const options *o, ag_mask mask, double *ms)
{
    ag_tensor *x[4];
    for (int i = 0; i < 4; i++)
        x[i] = ag_randn(ctx, AG_F32, AG_SHAPE(1, o->time, o->heads, o->size));
    for (int i = 0; i < 3; i++)
        ag_require_grad(x[i]);
    ag_status status = pass(ctx, mask, x);
    for (int i = 0; status == AG_OK && i < o->repeats; i++) {
        double start = now_ms();
        status = pass(ctx, mask, x);
        ms[i] = now_ms() - start;
    }
    return status;
}

static void print(const options *o, const ag_ctx *ctx, ag_mask mask, double ms)
{
    double flops = 2.0 * PRODUCTS * (double)o->size * (double)o->heads * TILE * TILE * (double)allowed_tiles(o, mask);
    ag_printf(o->json ? "{\"pattern\": \"%s\", \"time\": %lld, \"window\": %lld, \"threads\": %d, \"isa\": \"%s\", "
                        "\"ms\": %.3f, \"gflops\": %.1f, \"peak_mb\": %.1f}\n"
                      : "%s T=%lld window %lld, %d threads, %s: %.2f ms, %.1f GFLOP/s on allowed tiles, peak %.1f MB\n",
              o->pattern, (long long)o->time, (long long)mask.back, ag_ctx_threads(ctx), ag_ctx_isa(ctx), ms,
              flops / ms * 1e-6, peak_mb());
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_attention [--pattern full|causal|window] [--time T] [--window W] [--heads H]\n"
                    "                       [--size D] [--threads N] [--repeats N] [--json]\n");
    return 2;
}

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        const char *name = argv[i++], *value = argv[i];
        if (strcmp(name, "--pattern") == 0)
            o->pattern = value;
        else if (strcmp(name, "--time") == 0)
            o->time = atoll(value);
        else if (strcmp(name, "--window") == 0)
            o->window = atoll(value);
        else if (strcmp(name, "--heads") == 0)
            o->heads = atoll(value);
        else if (strcmp(name, "--size") == 0)
            o->size = atoll(value);
        else if (strcmp(name, "--threads") == 0)
            o->threads = atoi(value);
        else if (strcmp(name, "--repeats") == 0)
            o->repeats = atoi(value);
        else
            return false;
    }
    return o->time > 0 && o->window > 0 && o->heads > 0 && o->size > 0 && o->repeats > 0 && o->repeats <= 1000;
}

int main(int argc, char **argv)
{
    program_streams("bench_attention");
    options o = { .pattern = "causal", .time = 4096, .window = 512, .heads = 8, .size = 64, .repeats = 3 };
    ag_mask mask;
    double ms[1000] = { 0 };
    if (!parse(argc, argv, &o) || !mask_of(&o, &mask))
        return usage();
    ag_ctx *ctx = program_context("bench_attention", 1, (uint64_t)o.threads);
    if (ctx == NULL)
        return 1;
    ag_status status = measure(ctx, &o, mask, ms);
    if (status == AG_OK)
        print(&o, ctx, mask, median(ms, o.repeats));
    else
        fprintf(stderr, "bench_attention: %s\n", ag_error_message(ctx));
    ag_ctx_free(ctx);
    return status == AG_OK ? 0 : 1;
}
