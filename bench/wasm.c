/* SPDX-License-Identifier: MIT
 *
 * wasm.c - products and attention in WebAssembly, against the most that vectors of 128 bits can do there (limits.c: a
 * multiplication and an addition, as WebAssembly has no fused one). `make bench parts=wasm` runs it in Node.
 *
 * Prints one line of JSON: the limit, and for each work GFLOP/s, the best of TURNS; the two take turns. Attention is
 * one batch entry of 4 heads without a mask: 2 products forward, 5 backward.
 */
#define _POSIX_C_SOURCE 200809L

#include "attngrad.h"
#include "bench/limits.h"
#include "bench/measure.h"
#include "tensor/kernels/kernels.h"

#include <math.h>
#include <stdio.h>

enum { TURNS = 9, HEADS = 4, MOST_ELEMENTS = 768 * 512 };
static const double TURN_FLOPS = 2e8;

static volatile float keep; /* the loop's result goes here, so that it runs */

static double peak_gflops(void)
{
    const size_t rounds = (size_t)(TURN_FLOPS / (double)limits_baseline.multiply_add_flops);
    const double start = now_ms();
    keep = limits_baseline.multiply_add(rounds, 0.999f, 0.001f);
    return 1e-6 * (double)(rounds * limits_baseline.multiply_add_flops) / (now_ms() - start);
}

/* c[m,n] = a b, a or b transposed where kind has a t. */
static double gemm_gflops(const char *kind, int64_t m, int64_t n, int64_t k, ag_tensor *const *x)
{
    const bool ta = kind[0] == 't', tb = kind[1] == 't';
    const ag_gemm g = { .m = m, .n = n, .k = k, .batch = 1, .c = ag_data_mut(x[2]), .c_row = n,
                        .a = { .data = ag_data(x[0]), .row = ta ? 1 : k, .col = ta ? m : 1 },
                        .b = { .data = ag_data(x[1]), .row = tb ? 1 : n, .col = tb ? k : 1 } };
    const double flops = 2 * (double)m * (double)n * (double)k;
    const int repeats = 1 + (int)(TURN_FLOPS / flops);
    const ag_real_kernels *kernels = &ag_kernels_find(NULL)->f32;
    void *scratch = malloc(kernels->gemm_scratch(1, 1, &g) + 1);
    const double start = now_ms();
    for (int r = 0; r < repeats && scratch != NULL; r++)
        kernels->gemm(AG_TEAM(1), 1, &g, scratch);
    const double ms = now_ms() - start;
    free(scratch);
    return 1e-6 * flops * repeats / ms;
}

/* GFLOP/s forward and backward of x[1,HEADS,T,D]. */
static void attention_gflops(ag_ctx *ctx, int64_t T, int64_t D, double *forward, double *backward)
{
    const double product = 2 * (double)HEADS * (double)T * (double)T * (double)D;
    const int repeats = 1 + (int)(TURN_FLOPS / (7 * product));
    double forward_ms = 0, backward_ms = 0;
    ag_tensor *x[4];
    ag_scope_begin(ctx, NULL);
    for (int i = 0; i < 4; i++)
        x[i] = ag_randn(ctx, AG_F32, AG_SHAPE(1, HEADS, T, D));
    for (int i = 0; i < 3; i++)
        ag_require_grad(x[i]);
    for (int r = 0; r < repeats; r++) {
        ag_tape *tape = ag_tape_begin(ctx);
        const double start = now_ms();
        ag_tensor *y = ag_sdpa(x[0], x[1], x[2], (ag_sdpa_config){ .scale = 0 });
        const double middle = now_ms();
        ag_backward_from(tape, y, x[3]);
        forward_ms += middle - start;
        backward_ms += now_ms() - middle;
        ag_tape_end(tape);
    }
    ag_scope_end(ctx, NULL);
    *forward = 1e-6 * 2 * product * repeats / forward_ms;
    *backward = 1e-6 * 5 * product * repeats / backward_ms;
}

int main(void)
{
    static const struct { const char *kind; int64_t m, n, k; } gemms[] = {
        { "nt", 64, 64, 64 },   { "nt", 256, 256, 256 }, { "nn", 256, 256, 256 }, { "tn", 256, 256, 256 },
        { "nt", 768, 512, 128 }, { "nn", 768, 128, 512 }, { "tn", 512, 128, 768 },
    };
    static const int64_t attentions[][2] = { { 64, 32 }, { 256, 32 }, { 256, 64 }, { 1024, 64 } };
    enum { GEMMS = sizeof gemms / sizeof *gemms, ATTENTIONS = sizeof attentions / sizeof *attentions };
    double gemm[GEMMS] = { 0 }, pass[ATTENTIONS][2] = { { 0 } }, peak = 0;
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 });
    ag_tensor *x[3];
    for (int i = 0; i < 3; i++)
        x[i] = ag_randn(ctx, AG_F32, AG_SHAPE(MOST_ELEMENTS));
    for (int turn = 0; turn < TURNS && ag_error(ctx) == AG_OK; turn++) {
        peak = fmax(peak, peak_gflops());
        for (int i = 0; i < GEMMS; i++)
            gemm[i] = fmax(gemm[i], gemm_gflops(gemms[i].kind, gemms[i].m, gemms[i].n, gemms[i].k, x));
        for (int i = 0; i < ATTENTIONS; i++) {
            double forward = 0, backward = 0;
            attention_gflops(ctx, attentions[i][0], attentions[i][1], &forward, &backward);
            pass[i][0] = fmax(pass[i][0], forward);
            pass[i][1] = fmax(pass[i][1], backward);
        }
    }
    if (ag_error(ctx) != AG_OK) {
        fprintf(stderr, "wasm: %s\n", ag_error_message(ctx));
        return 1;
    }
    ag_printf("{\"peak\": %.2f, \"work\": {", peak);
    for (int i = 0; i < GEMMS; i++)
        ag_printf("\"product %s, %lld x %lld x %lld\": %.2f, ", gemms[i].kind, (long long)gemms[i].m,
                  (long long)gemms[i].n, (long long)gemms[i].k, gemm[i]);
    for (int i = 0; i < ATTENTIONS; i++)
        for (int back = 0; back < 2; back++)
            ag_printf("%s\"attention, %lld tokens, heads of %lld, %s\": %.2f", i + back == 0 ? "" : ", ",
                      (long long)attentions[i][0], (long long)attentions[i][1], back ? "backward" : "forward",
                      pass[i][back]);
    printf("}}\n");
    ag_ctx_free(ctx);
    return 0;
}
