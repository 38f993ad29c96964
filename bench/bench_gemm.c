/* SPDX-License-Identifier: MIT
 *
 * bench_gemm.c - the matrix product of linear layers, beside cblas when built with -DAG_HAVE_CBLAS (OpenBLAS).
 *
 *     bench_gemm [f32|f64] [threads] [isa] [all]
 *
 * For M tokens and a layer of I inputs and O outputs: y[M,O] = x W^T (nt), dx[M,I] = dy W (nn),
 * dW[O,I] += dy^T x (tn). The two sides take turns; each one's fastest run counts. Ratio: above 1, ours is faster.
 * An OpenBLAS older than the machine falls back to AVX2; OPENBLAS_CORETYPE=SKYLAKEX makes it use AVX-512.
 */
#define _POSIX_C_SOURCE 200809L
#include "bench/measure.h"
#include "tensor/kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef AG_HAVE_CBLAS
#include <cblas.h>
#endif

enum { TURNS = 15 };
static const double TURN_SECONDS = 3e-4;

typedef struct product {
    const char *kind;
    ag_gemm gemm;
    bool is_float;
} product;

static void *allocate(size_t bytes)
{
    void *block = NULL;
    if (posix_memalign(&block, 64, bytes + 64) != 0) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(EXIT_FAILURE);
    }
    return block;
}

static void *random_reals(int64_t n, bool is_float)
{
    void *x = allocate((size_t)n * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        const double value = (double)rand() / RAND_MAX - 0.5;
        if (is_float)
            ((float *)x)[i] = (float)value;
        else
            ((double *)x)[i] = value;
    }
    return x;
}

static void run_ours(const ag_real_kernels *kernels, int threads, const product *p, void *scratch)
{
    kernels->gemm(threads, &p->gemm, scratch);
}

static void run_blas(const product *p)
{
#ifdef AG_HAVE_CBLAS
    const ag_gemm *g = &p->gemm;
    const CBLAS_TRANSPOSE ta = p->kind[0] == 't' ? CblasTrans : CblasNoTrans;
    const CBLAS_TRANSPOSE tb = p->kind[1] == 't' ? CblasTrans : CblasNoTrans;
    const int m = (int)g->m, n = (int)g->n, k = (int)g->k;
    const int lda = (int)(ta == CblasTrans ? g->a_col : g->a_row);
    const int ldb = (int)(tb == CblasTrans ? g->b_col : g->b_row);
    if (p->is_float)
        cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, g->a, lda, g->b, ldb, g->accumulate ? 1 : 0, g->c, n);
    else
        cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, g->a, lda, g->b, ldb, g->accumulate ? 1 : 0, g->c, n);
#else
    (void)p;
#endif
}

/* Fastest seconds per product, ours in best[0], the peer's in best[1]. */
static void measure(const ag_real_kernels *kernels, int threads, const product *p, double best[2])
{
    void *scratch = allocate(kernels->gemm_scratch(threads, &p->gemm));
    const double flops = 2.0 * (double)p->gemm.m * (double)p->gemm.n * (double)p->gemm.k;
    const int repeats = 1 + (int)(TURN_SECONDS * 1.5e11 * threads / flops);
    best[0] = best[1] = HUGE_VAL;
    for (int turn = 0; turn < TURNS; turn++)
        for (int side = 0; side < 2; side++) {
            const double start = now_ms();
            for (int r = 0; r < repeats; r++)
                if (side == 0)
                    run_ours(kernels, threads, p, scratch);
                else
                    run_blas(p);
            best[side] = fmin(best[side], 1e-3 * (now_ms() - start) / repeats);
        }
    free(scratch);
}

static product make_product(const char *kind, int64_t M, int64_t in, int64_t out, bool is_float)
{
    product p = { .kind = kind, .is_float = is_float, .gemm = { .batch = 1 } };
    ag_gemm *g = &p.gemm;
    if (strcmp(kind, "nt") == 0)
        *g = (ag_gemm){ .m = M, .n = out, .k = in, .a_row = in, .a_col = 1, .b_row = 1, .b_col = in };
    else if (strcmp(kind, "nn") == 0)
        *g = (ag_gemm){ .m = M, .n = in, .k = out, .a_row = out, .a_col = 1, .b_row = in, .b_col = 1 };
    else
        *g = (ag_gemm){ .m = out, .n = in, .k = M, .a_row = 1, .a_col = out, .b_row = in, .b_col = 1,
                        .accumulate = true };
    g->batch = 1;
    g->a = random_reals(g->m * g->k, is_float);
    g->b = random_reals(g->k * g->n, is_float);
    g->c = random_reals(g->m * g->n, is_float);
    g->c_row = g->n;
    return p;
}

int main(int argc, char **argv)
{
    static const int64_t tokens[] = { 50, 128, 512, 768, 1024, 2048 };
    static const int64_t layers[][2] = { { 64, 64 },   { 64, 256 },   { 256, 64 },   { 128, 128 }, { 128, 512 },
                                         { 512, 128 }, { 384, 384 },  { 384, 1536 }, { 1536, 384 }, { 512, 512 },
                                         { 64, 65 },   { 128, 65 },   { 384, 65 } };
    static const char *const kinds[] = { "nt", "nn", "tn" };
    const bool is_float = argc < 2 || strcmp(argv[1], "f64") != 0;
    const int threads = argc > 2 ? atoi(argv[2]) : 1;
    const ag_kernel_table *table = ag_kernels_find(argc > 3 && strcmp(argv[3], "best") != 0 ? argv[3] : NULL);
    const bool all = argc > 4;
    if (table == NULL || threads < 1) {
        fprintf(stderr, "usage: bench_gemm [f32|f64] [threads] [isa|best] [all]\n");
        return EXIT_FAILURE;
    }
    bool peer = false;
#ifdef AG_HAVE_CBLAS
    openblas_set_num_threads(threads);
    printf("peer: %s\n", openblas_get_config());
    peer = true;
#endif
    printf("%s, %d threads, %s; GFLOP/s\n", is_float ? "float32" : "float64", threads, table->isa);
    double log_sum = 0, worst = HUGE_VAL;
    int cases = 0;
    for (size_t k = 0; k < 3; k++)
        for (size_t l = 0; l < sizeof layers / sizeof *layers; l++)
            for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
                product p = make_product(kinds[k], tokens[t], layers[l][0], layers[l][1], is_float);
                double best[2];
                measure(is_float ? &table->f32 : &table->f64, threads, &p, best);
                const double work = 2e-9 * (double)p.gemm.m * (double)p.gemm.n * (double)p.gemm.k;
                const double ratio = best[1] / best[0];
                if (all || (peer && ratio < 0.9))
                    printf("%s  m %4lld n %4lld k %4lld  ours %6.1f  peer %6.1f  ratio %.2f\n", p.kind,
                           (long long)p.gemm.m, (long long)p.gemm.n, (long long)p.gemm.k, work / best[0],
                           peer ? work / best[1] : 0.0, peer ? ratio : 0.0);
                log_sum += log(ratio);
                worst = fmin(worst, ratio);
                cases++;
                free((void *)p.gemm.a);
                free((void *)p.gemm.b);
                free(p.gemm.c);
            }
    if (peer)
        printf("%d products: geometric mean of the ratios %.3f, worst %.3f\n", cases, exp(log_sum / cases), worst);
    return EXIT_SUCCESS;
}
