/* SPDX-License-Identifier: MIT
 *
 * bench_gemm.c - the matrix product of linear layers, beside cblas when built with -DAG_HAVE_CBLAS (OpenBLAS).
 *
 * For M tokens and a layer of I inputs and O outputs: y[M,O] = x W^T (nt), dx[M,I] = dy W (nn),
 * dW[O,I] += dy^T x (tn), y[M,O] = x W^T of an x that is stored as [I,M] (tt). The two sides take turns, each with
 * all products after a pause in which the other's threads stop spinning; the median of the turns counts. Ratio: above
 * 1, ours is faster.
 * An OpenBLAS older than the machine falls back to AVX2; OPENBLAS_CORETYPE=SKYLAKEX makes it use AVX-512.
 */
#define _POSIX_C_SOURCE 200809L
#include "attngrad.h"
#include "bench/measure.h"
#include "examples/shared/program.h"
#include "tensor/kernels/kernels.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef AG_HAVE_CBLAS
#include <cblas.h>
#endif

static const char usage[] =
    "usage: bench_gemm [--dtype f32|f64] [--threads N] [--isa NAME] [--all] [--json]\n"
    "  --dtype f32|f64  the type of the elements (default: f32)\n"
    "  --threads N      of both sides (default: 1)\n"
    "  --isa NAME       reference, baseline, x86-64-v3 or x86-64-v4 (default: the best that this machine runs)\n"
    "  --all            show every product, not only those below 0.9 of the peer\n"
    "  --json           one JSON object with every product\n";

enum { TURNS = 7, PAUSE_MS = 50 };
static const double RUN_MS = 0.5; /* about so long each product runs in a turn */

typedef struct options {
    bool is_float, all, json;
    int threads;
    const char *isa;
} options;

enum { OURS, PEER, SIDES };

typedef struct product {
    const char *kind;
    ag_gemm gemm;
    bool is_float;
    double ms[SIDES][TURNS], gflops[SIDES];
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

static void *random_reals(size_t n, bool is_float)
{
    void *x = allocate(n * (is_float ? sizeof(float) : sizeof(double)));
    for (size_t i = 0; i < n; i++) {
        const double value = (double)rand() / RAND_MAX - 0.5;
        if (is_float)
            ((float *)x)[i] = (float)value;
        else
            ((double *)x)[i] = value;
    }
    return x;
}

/* ---- The peer ---- */

#ifdef AG_HAVE_CBLAS
static const char *peer_config(int threads)
{
    openblas_set_num_threads(threads);
    return openblas_get_config();
}

static void run_peer(const product *p)
{
    const ag_gemm *g = &p->gemm;
    const CBLAS_TRANSPOSE ta = p->kind[0] == 't' ? CblasTrans : CblasNoTrans;
    const CBLAS_TRANSPOSE tb = p->kind[1] == 't' ? CblasTrans : CblasNoTrans;
    const int m = (int)g->m, n = (int)g->n, k = (int)g->k;
    const int lda = (int)(ta == CblasTrans ? g->a.col : g->a.row);
    const int ldb = (int)(tb == CblasTrans ? g->b.col : g->b.row);
    if (p->is_float)
        cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, g->a.data, lda, g->b.data, ldb, g->accumulate ? 1 : 0, g->c, n);
    else
        cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, g->a.data, lda, g->b.data, ldb, g->accumulate ? 1 : 0, g->c, n);
}
#else
static const char *peer_config(int threads)
{
    (void)threads;
    return NULL;
}

static void run_peer(const product *p) { (void)p; }
#endif

/* ---- Measuring ---- */

static const int64_t tokens[] = { 50, 128, 512, 768, 1024, 2048 };
static const int64_t layers[][2] = { { 64, 64 },   { 64, 256 },   { 256, 64 },   { 128, 128 }, { 128, 512 },
                                     { 512, 128 }, { 384, 384 },  { 384, 1536 }, { 1536, 384 }, { 512, 512 },
                                     { 64, 65 },   { 128, 65 },   { 384, 65 } };
static const char *const kinds[] = { "nt", "nn", "tn", "tt" };
enum {
    TOKENS = sizeof tokens / sizeof *tokens,
    LAYERS = sizeof layers / sizeof *layers,
    KINDS = sizeof kinds / sizeof *kinds,
    PRODUCTS = TOKENS * LAYERS * KINDS,
    MOST_ELEMENTS = 2048 * 1536 /* of an operand or a result */
};

static ag_gemm make_gemm(const char *kind, int64_t M, int64_t in, int64_t out)
{
    ag_gemm g;
    if (strcmp(kind, "nt") == 0)
        g = (ag_gemm){ .m = M, .n = out, .k = in, .a.row = in, .a.col = 1, .b.row = 1, .b.col = in };
    else if (strcmp(kind, "nn") == 0)
        g = (ag_gemm){ .m = M, .n = in, .k = out, .a.row = out, .a.col = 1, .b.row = in, .b.col = 1 };
    else if (strcmp(kind, "tn") == 0)
        g = (ag_gemm){ .m = out, .n = in, .k = M, .a.row = 1, .a.col = out, .b.row = in, .b.col = 1,
                       .accumulate = true };
    else
        g = (ag_gemm){ .m = M, .n = out, .k = in, .a.row = 1, .a.col = M, .b.row = 1, .b.col = in };
    g.batch = 1;
    g.c_row = g.n;
    return g;
}

static double flops(const ag_gemm *g) { return 2.0 * (double)g->m * (double)g->n * (double)g->k; }

/* One side's turn: every product once to warm up, then as often as fills RUN_MS. */
static void take_turn(const ag_real_kernels *kernels, int threads, int side, int turn, product *products, void *scratch)
{
    nanosleep(&(struct timespec){ .tv_nsec = PAUSE_MS * 1000000L }, NULL);
    for (int i = 0; i < PRODUCTS; i++) {
        product *const p = &products[i];
        const int repeats = 1 + (int)(RUN_MS * 2e8 * threads / flops(&p->gemm));
        double start = 0;
        for (int r = -1; r < repeats; r++) {
            if (r == 0)
                start = now_ms();
            if (side == OURS)
                kernels->gemm(AG_TEAM(threads), 1, &p->gemm, scratch);
            else
                run_peer(p);
        }
        p->ms[side][turn] = (now_ms() - start) / repeats;
    }
}

/* All products share their memory: only sizes count. */
static void measure(const ag_real_kernels *kernels, const options *o, bool peer, product *products)
{
    void *const a = random_reals(MOST_ELEMENTS, o->is_float), *const b = random_reals(MOST_ELEMENTS, o->is_float);
    void *const c = random_reals(MOST_ELEMENTS, o->is_float);
    size_t bytes = 0;
    for (int i = 0; i < PRODUCTS; i++) {
        product *const p = &products[i];
        const int64_t *const layer = layers[i / TOKENS % LAYERS];
        *p = (product){ .kind = kinds[i / TOKENS / LAYERS], .is_float = o->is_float };
        p->gemm = make_gemm(p->kind, tokens[i % TOKENS], layer[0], layer[1]);
        p->gemm.a.data = a;
        p->gemm.b.data = b;
        p->gemm.c = c;
        const size_t needed = kernels->gemm_scratch(o->threads, 1, &p->gemm);
        bytes = needed > bytes ? needed : bytes;
    }
    void *const scratch = allocate(bytes);
    for (int turn = 0; turn < TURNS; turn++)
        for (int side = OURS; side <= (peer ? PEER : OURS); side++)
            take_turn(kernels, o->threads, side, turn, products, scratch);
    for (int i = 0; i < PRODUCTS; i++)
        for (int side = OURS; side <= (peer ? PEER : OURS); side++)
            products[i].gflops[side] = 1e-6 * flops(&products[i].gemm) / median(products[i].ms[side], TURNS);
    free(a);
    free(b);
    free(c);
    free(scratch);
}

/* ---- Showing ---- */

static double ratio(const product *p) { return p->gflops[OURS] / p->gflops[PEER]; }

static double geometric_mean(const product *products)
{
    double log_sum = 0;
    for (int i = 0; i < PRODUCTS; i++)
        log_sum += log(ratio(&products[i]));
    return exp(log_sum / PRODUCTS);
}

static const product *worst_of(const product *products)
{
    const product *worst = &products[0];
    for (int i = 1; i < PRODUCTS; i++)
        if (ratio(&products[i]) < ratio(worst))
            worst = &products[i];
    return worst;
}

static void print_table(const options *o, const char *isa, const char *peer, const product *products)
{
    if (peer != NULL)
        printf("peer: %s\n", peer);
    printf("%s, %d threads, %s; GFLOP/s\n", o->is_float ? "float32" : "float64", o->threads, isa);
    for (int i = 0; i < PRODUCTS; i++) {
        const product *p = &products[i];
        if (!o->all && (peer == NULL || ratio(p) >= 0.9))
            continue;
        ag_printf("%s  m %4lld  n %4lld  k %4lld  ours %6.1f", p->kind, (long long)p->gemm.m, (long long)p->gemm.n,
                  (long long)p->gemm.k, p->gflops[OURS]);
        if (peer != NULL)
            ag_printf("  peer %6.1f  ratio %.2f", p->gflops[PEER], ratio(p));
        printf("\n");
    }
    if (peer != NULL)
        ag_printf("%d products: geometric mean of the ratios %.3f, worst %.3f\n", PRODUCTS, geometric_mean(products),
                  ratio(worst_of(products)));
}

static void print_json(const options *o, const char *isa, const char *peer, const product *products)
{
    printf("{\"dtype\": \"%s\", \"threads\": %d, \"isa\": \"%s\"", o->is_float ? "f32" : "f64", o->threads, isa);
    if (peer != NULL) {
        const product *worst = worst_of(products);
        ag_printf(", \"peer\": \"%s\", \"geomean\": %.4f, \"worst\": %.4f, \"worst_shape\": "
                  "{\"kind\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld}",
                  peer, geometric_mean(products), ratio(worst), worst->kind, (long long)worst->gemm.m,
                  (long long)worst->gemm.n, (long long)worst->gemm.k);
    } else {
        printf(", \"peer\": null, \"geomean\": null, \"worst\": null, \"worst_shape\": null");
    }
    printf(", \"products\": [");
    for (int i = 0; i < PRODUCTS; i++) {
        const product *p = &products[i];
        printf("%s\n  {\"kind\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, ", i == 0 ? "" : ",", p->kind,
               (long long)p->gemm.m, (long long)p->gemm.n, (long long)p->gemm.k);
        ag_printf("\"gflops\": %.2f, \"peer_gflops\": ", p->gflops[OURS]);
        if (peer != NULL)
            ag_printf("%.2f}", p->gflops[PEER]);
        else
            printf("null}");
    }
    printf("\n]}\n");
}

/* ---- Options ---- */

static bool parse(int argc, char **argv, options *o)
{
    *o = (options){ .is_float = true, .threads = 1 };
    for (int i = 1; i < argc; i++) {
        const char *const value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--all") == 0) {
            o->all = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (strcmp(argv[i], "--isa") == 0 && value != NULL) {
            o->isa = value;
            i++;
        } else if (strcmp(argv[i], "--dtype") == 0 && value != NULL &&
                   (strcmp(value, "f32") == 0 || strcmp(value, "f64") == 0)) {
            o->is_float = strcmp(value, "f32") == 0;
            i++;
        } else if (strcmp(argv[i], "--threads") == 0 && value != NULL) {
            char *end = NULL;
            errno = 0;
            const long threads = strtol(value, &end, 10);
            if (errno != 0 || end == value || *end != '\0' || threads < 1 || threads > 1024) {
                fprintf(stderr, "bench_gemm: --threads is %s, must be 1 to 1024\n", value);
                exit(EXIT_FAILURE);
            }
            o->threads = (int)threads;
            i++;
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    program_streams("bench_gemm");
    options o;
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return EXIT_FAILURE;
    }
    const ag_kernel_table *table = ag_kernels_find(o.isa);
    if (table == NULL) {
        fprintf(stderr, "bench_gemm: this machine runs no kernels named %s\n", o.isa);
        return EXIT_FAILURE;
    }
    const char *const peer = peer_config(o.threads);
    static product products[PRODUCTS];
    measure(o.is_float ? &table->f32 : &table->f64, &o, peer != NULL, products);
    (o.json ? print_json : print_table)(&o, table->isa, peer, products);
    return EXIT_SUCCESS;
}
