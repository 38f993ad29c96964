/* SPDX-License-Identifier: MIT
 *
 * check_gemm.c - the matrix product of every kernel table and both types, against a plain one in double.
 *
 * Operands lie in rows with NaN between them, c in rows with canaries between and around them, and scratch ends
 * in canaries: what is read or written out of range shows.
 */
#include "tests/suites.h"

#include "tensor/kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 3, MARGIN = 16, CANARIES = 64, CANARY_BYTE = 0x5a };
static const double CANARY = 12345.0;

static const char *const isas[] = { "reference", "baseline", "x86-64-v3", "x86-64-v4" };
enum { TABLES = 2 * (int)(sizeof isas / sizeof *isas) }; /* each in both types */

static const ag_real_kernels *kernels_of(int which)
{
    const ag_kernel_table *table = ag_kernels_find(isas[which / 2]);
    return table == NULL ? NULL : which % 2 ? &table->f64 : &table->f32;
}

typedef struct gemm_case {
    int64_t m, n, k;
    bool a_transposed, b_transposed, bias, accumulate;
    int64_t batch;
    bool a_shared, b_shared; /* batch stride 0 */
    bool a_sums;             /* wants a_transposed and batch 1 */
    bool dense;              /* rows of a and b lie side by side */
} gemm_case;

/* An array in the kernels' type beside the same values in double. */
typedef struct array {
    void *real;
    double *value;
    int64_t count;
    size_t size; /* of an element */
} array;

static void array_set(array *x, int64_t i, double value)
{
    if (x->size == sizeof(float)) {
        ((float *)x->real)[i] = (float)value;
        x->value[i] = (double)((float *)x->real)[i];
    } else {
        ((double *)x->real)[i] = x->value[i] = value;
    }
}

static double array_get(const array *x, int64_t i)
{
    return x->size == sizeof(float) ? (double)((const float *)x->real)[i] : ((const double *)x->real)[i];
}

static array array_new(int64_t count, size_t size, double fill)
{
    array x = { calloc((size_t)count + 1, size), calloc((size_t)count + 1, sizeof(double)), count, size };
    ck_assert(x.real != NULL && x.value != NULL);
    for (int64_t i = 0; i < count; i++)
        array_set(&x, i, fill);
    return x;
}

static void array_free(array *x)
{
    free(x->real);
    free(x->value);
}

static double next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) / 8388608.0 - 1.0;
}

/* rows x columns random values, rows columns + gap apart, NaN in the gaps. */
static array array_rows(int64_t rows, int64_t columns, int64_t gap, size_t size)
{
    array x = array_new(rows * (columns + gap), size, (double)NAN);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            array_set(&x, i * (columns + gap) + j, next_random());
    return x;
}

/* The operands of a case and the kernel's arguments for it. c starts MARGIN elements into its array, and MARGIN
 * elements after it a_sums, which MARGIN elements follow. */
typedef struct problem {
    ag_gemm gemm;
    array a, b, c, bias;
    int64_t sums_at;
} problem;

static problem problem_new(const gemm_case *t, size_t size)
{
    const int64_t a_rows = t->a_transposed ? t->k : t->m, a_columns = t->a_transposed ? t->m : t->k;
    const int64_t b_rows = t->b_transposed ? t->n : t->k, b_columns = t->b_transposed ? t->k : t->n;
    const int64_t gap = t->dense ? 0 : GAP, a_row = a_columns + gap, b_row = b_columns + gap;
    const int64_t c_row = t->n + GAP, sums_at = t->batch * t->m * c_row + 2 * MARGIN;
    problem p = {
        .a = array_rows((t->a_shared ? 1 : t->batch) * a_rows, a_columns, gap, size),
        .b = array_rows((t->b_shared ? 1 : t->batch) * b_rows, b_columns, gap, size),
        .c = array_new(sums_at + t->m + MARGIN, size, CANARY),
        .bias = array_rows(1, t->n, GAP, size),
        .sums_at = sums_at,
    };
    for (int64_t i = 0; i < t->batch * t->m; i++)
        for (int64_t j = 0; j < t->n; j++)
            array_set(&p.c, MARGIN + i * c_row + j, t->accumulate ? next_random() : (double)NAN);
    for (int64_t i = 0; t->a_sums && i < t->m; i++)
        array_set(&p.c, sums_at + i, (double)NAN);
    p.gemm = (ag_gemm){
        .m = t->m, .n = t->n, .k = t->k, .batch = t->batch, .accumulate = t->accumulate,
        .a = { p.a.real, t->a_transposed ? 1 : a_row, t->a_transposed ? a_row : 1, t->a_shared ? 0 : a_rows * a_row },
        .b = { p.b.real, t->b_transposed ? 1 : b_row, t->b_transposed ? b_row : 1, t->b_shared ? 0 : b_rows * b_row },
        .c = (char *)p.c.real + MARGIN * size, .c_row = c_row,
        .c_batch = t->m * c_row,
        .bias = t->bias ? p.bias.real : NULL, .a_sums = t->a_sums ? (char *)p.c.real + (size_t)sums_at * size : NULL,
    };
    return p;
}

static void problem_free(problem *p)
{
    array_free(&p->a);
    array_free(&p->b);
    array_free(&p->c);
    array_free(&p->bias);
}

/* Runs the kernel with scratch of just the size it asked for; canaries end it. */
static void run_list(const ag_real_kernels *kernels, int threads, int count, const ag_gemm *list)
{
    const size_t bytes = kernels->gemm_scratch(threads, count, list);
    unsigned char *block = malloc(bytes + 64 + CANARIES);
    ck_assert(block != NULL);
    unsigned char *scratch = block + (64 - (uintptr_t)block % 64);
    memset(scratch, 0xff, bytes); /* NaN: what is not packed must not be used */
    memset(scratch + bytes, CANARY_BYTE, CANARIES);
    kernels->gemm(AG_TEAM(threads), count, list, scratch);
    for (int i = 0; i < CANARIES; i++)
        if (scratch[bytes + (size_t)i] != CANARY_BYTE)
            ck_abort_msg("scratch of %zu bytes overrun, first of %d: m %lld n %lld k %lld", bytes, count,
                         (long long)list->m, (long long)list->n, (long long)list->k);
    free(block);
}

/* The product with c elsewhere, and a_sums as far from it as before. */
static ag_gemm moved(const ag_gemm *gemm, void *c)
{
    ag_gemm g = *gemm;
    g.c = c;
    if (g.a_sums != NULL)
        g.a_sums = (char *)c + ((char *)gemm->a_sums - (char *)gemm->c);
    return g;
}

static void run(const ag_real_kernels *kernels, int threads, const ag_gemm *gemm, void *c)
{
    const ag_gemm g = moved(gemm, c);
    run_list(kernels, threads, 1, &g);
}

/* a_sums[i], whose terms are added 256 at a time. */
static void check_sum(const problem *p, const array *result, int64_t i, const char *label)
{
    const ag_gemm *g = &p->gemm;
    const double eps = result->size == sizeof(float) ? (double)FLT_EPSILON : DBL_EPSILON;
    double want = 0, size = 0;
    for (int64_t k = 0; k < g->k; k++) {
        want += p->a.value[i + k * g->a.col];
        size += fabs(p->a.value[i + k * g->a.col]);
    }
    const double got = array_get(result, p->sums_at + i);
    if (!(fabs(got - want) <= 259 * eps * size))
        ck_abort_msg("%s: m %lld n %lld k %lld: a_sums[%lld] is %.9g, want %.9g", label, (long long)g->m,
                     (long long)g->n, (long long)g->k, (long long)i, got, want);
}

/* |c - exact| <= 2 (k + 3) eps (sum |a b| + |bias| + |c0|), element by element, and no canary changed. */
static void check_result(const problem *p, const array *result, const char *label)
{
    const ag_gemm *g = &p->gemm;
    const double eps = result->size == sizeof(float) ? (double)FLT_EPSILON : DBL_EPSILON;
    for (int64_t at = 0; at < result->count; at++) {
        const int64_t row = (at - MARGIN) / g->c_row, j = (at - MARGIN) % g->c_row;
        if (g->a_sums != NULL && at >= p->sums_at && at < p->sums_at + g->m) {
            check_sum(p, result, at - p->sums_at, label);
            continue;
        }
        if (at < MARGIN || row >= g->batch * g->m || j >= g->n) {
            if (array_get(result, at) != CANARY)
                ck_abort_msg("%s: wrote outside c at %lld", label, (long long)at);
            continue;
        }
        const double *a = p->a.value + row / g->m * g->a.batch + row % g->m * g->a.row;
        const double *b = p->b.value + row / g->m * g->b.batch + j * g->b.col;
        double want = (g->bias ? p->bias.value[j] : 0) + (g->accumulate ? p->c.value[at] : 0);
        double size = (g->bias ? fabs(p->bias.value[j]) : 0) + (g->accumulate ? fabs(p->c.value[at]) : 0);
        for (int64_t k = 0; k < g->k; k++) {
            const double product = a[k * g->a.col] * b[k * g->b.row];
            want += product;
            size += fabs(product);
        }
        const double got = array_get(result, at);
        if (!(fabs(got - want) <= 2 * ((double)g->k + 3) * eps * size))
            ck_abort_msg("%s: m %lld n %lld k %lld batch %lld: c[%lld,%lld] is %.9g, want %.9g", label, (long long)g->m,
                      (long long)g->n, (long long)g->k, (long long)g->batch, (long long)row, (long long)j, got, want);
    }
}

/* One case with 1, 2 and 3 threads: right, and the same bits. */
static void check_case(int which, const gemm_case *t)
{
    const ag_real_kernels *kernels = kernels_of(which);
    const size_t size = which % 2 ? sizeof(double) : sizeof(float);
    problem p = problem_new(t, size);
    array result = array_new(p.c.count, size, 0);
    array again = array_new(p.c.count, size, 0);
    for (int threads = 1; threads <= 3; threads++) {
        array *to = threads == 1 ? &result : &again;
        memcpy(to->real, p.c.real, (size_t)p.c.count * size);
        run(kernels, threads, &p.gemm, (char *)to->real + MARGIN * size);
        if (threads == 1)
            check_result(&p, &result, isas[which / 2]);
        else
            ck_assert_msg(memcmp(result.real, again.real, (size_t)p.c.count * size) == 0,
                          "%s: m %lld n %lld k %lld batch %lld: %d threads give other bits than one",
                          isas[which / 2], (long long)t->m, (long long)t->n, (long long)t->k, (long long)t->batch,
                          threads);
    }
    array_free(&result);
    array_free(&again);
    problem_free(&p);
}

/* Dot products of short rows side by side, of which several fill a vector; and of rows longer than a block, of numbers
 * that lie apart. */
START_TEST(vectors)
{
    static const int64_t depths[] = { 1, 2, 4, 8, 16, 700, 2100 };
    if (kernels_of(_i) == NULL)
        return;
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++)
        for (int64_t n = 1; n <= 40; n += 3)
            for (int kind = 0; kind < 4; kind++)
                check_case(_i, &(gemm_case){ .m = kind / 2 ? n : 1, .n = kind / 2 ? 1 : n, .k = depths[d], .batch = 1,
                                             .b_transposed = kind / 2 == kind % 2, .dense = true });
}
END_TEST

/* Every size against every size, all transposes; the other choices take turns. */
START_TEST(small_sizes)
{
    static const int64_t sizes[] = { 0, 1, 2, 5, 12, 13, 33, 65 };
    enum { COUNT = sizeof sizes / sizeof *sizes };
    if (kernels_of(_i) == NULL)
        return;
    for (int i = 0, turn = 0; i < COUNT * COUNT * COUNT; i++)
        for (int kind = 0; kind < 4; kind++, turn++)
            check_case(_i, &(gemm_case){ .m = sizes[i % COUNT], .n = sizes[i / COUNT % COUNT],
                                         .k = sizes[i / COUNT / COUNT], .a_transposed = kind % 2,
                                         .b_transposed = kind / 2, .bias = (turn / 4 + kind) % 2,
                                         .accumulate = turn / 3 % 2, .batch = 1 + turn % 3,
                                         .a_shared = turn % 7 == 0, .b_shared = turn % 5 == 0,
                                         .a_sums = kind % 2 == 1 && turn % 3 == 0 });
}
END_TEST

/* One more than each block, and enough work for several threads. */
START_TEST(more_than_a_block)
{
    static const int64_t sizes[][3] = { { 193, 17, 513 }, { 33, 257, 513 },  { 193, 257, 9 }, { 2, 64, 1200 },
                                        { 1, 700, 900 },  { 700, 1, 900 },   { 50, 65, 64 },  { 385, 33, 16 },
                                        { 13, 514, 31 },  { 4, 1030, 1025 } };
    if (kernels_of(_i) == NULL)
        return;
    for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++)
        for (int kind = 0; kind < 4; kind++)
            check_case(_i, &(gemm_case){ .m = sizes[i][0], .n = sizes[i][1], .k = sizes[i][2],
                                         .a_transposed = kind % 2, .b_transposed = kind / 2, .bias = (i + kind) % 2,
                                         .accumulate = (i + kind) / 2 % 2, .batch = 1, .a_sums = kind % 2 });
}
END_TEST

/* Batches, operands shared or not, with and without bias and accumulation. */
START_TEST(batches)
{
    if (kernels_of(_i) == NULL)
        return;
    for (int flags = 0; flags < 64; flags++)
        check_case(_i, &(gemm_case){ .m = 37, .n = 35, .k = 66, .a_transposed = flags & 1,
                                     .b_transposed = flags & 2, .bias = flags & 4, .accumulate = flags & 8,
                                     .a_shared = flags & 16, .b_shared = flags & 32, .batch = 2 + flags % 3 });
}
END_TEST

/* A batch gives the bits of its products one by one. */
START_TEST(a_batch_is_its_products)
{
    static const int64_t sizes[][3] = { { 1, 40, 70 }, { 70, 1, 40 }, { 26, 50, 600 } };
    const ag_real_kernels *kernels = kernels_of(_i);
    const size_t size = _i % 2 ? sizeof(double) : sizeof(float);
    for (int i = 0; kernels != NULL && i < 12; i++) {
        const gemm_case t = { .m = sizes[i / 4][0], .n = sizes[i / 4][1], .k = sizes[i / 4][2], .batch = 3,
                              .a_transposed = i & 1, .b_transposed = true, .b_shared = i & 2 };
        problem p = problem_new(&t, size);
        array one = array_new(p.c.count, size, CANARY);
        memcpy(one.real, p.c.real, (size_t)p.c.count * size);
        run(kernels, 2, &p.gemm, (char *)p.c.real + MARGIN * size);
        for (int64_t s = 0; s < t.batch; s++) {
            ag_gemm g = p.gemm;
            g.batch = 1;
            g.a.data = (const char *)g.a.data + (size_t)(s * g.a.batch) * size;
            g.b.data = (const char *)g.b.data + (size_t)(s * g.b.batch) * size;
            run(kernels, 2, &g, (char *)one.real + (size_t)(MARGIN + s * g.c_batch) * size);
        }
        ck_assert(memcmp(one.real, p.c.real, (size_t)p.c.count * size) == 0);
        array_free(&one);
        problem_free(&p);
    }
}
END_TEST

/* A list gives the bits of its products one by one, for every thread count. */
START_TEST(a_list_is_its_products)
{
    static const gemm_case cases[] = {
        { .m = 0, .n = 5, .k = 3, .batch = 1 },
        { .m = 130, .n = 70, .k = 90, .batch = 1, .b_transposed = true, .bias = true },
        { .m = 37, .n = 0, .k = 40, .batch = 1, .a_transposed = true, .a_sums = true },
        { .m = 64, .n = 65, .k = 300, .batch = 1, .a_transposed = true, .a_sums = true },
        { .m = 1, .n = 700, .k = 300, .batch = 1 },
        { .m = 700, .n = 1, .k = 300, .batch = 1, .bias = true, .a_transposed = true, .a_sums = true },
        { .m = 40, .n = 33, .k = 0, .batch = 1, .bias = true, .a_transposed = true, .a_sums = true },
        { .m = 33, .n = 48, .k = 700, .batch = 3, .accumulate = true },
        { .m = 200, .n = 300, .k = 100, .batch = 1, .b_transposed = true },
        { .m = 9, .n = 9, .k = 9, .batch = 2, .b_shared = true },
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    const ag_real_kernels *kernels = kernels_of(_i);
    const size_t size = _i % 2 ? sizeof(double) : sizeof(float);
    problem p[COUNT];
    array one[COUNT], together[COUNT];
    ag_gemm list[COUNT];
    for (int i = 0; kernels != NULL && i < COUNT; i++) {
        p[i] = problem_new(&cases[i], size);
        one[i] = array_new(p[i].c.count, size, 0);
        together[i] = array_new(p[i].c.count, size, 0);
        memcpy(one[i].real, p[i].c.real, (size_t)p[i].c.count * size);
        run(kernels, 1, &p[i].gemm, (char *)one[i].real + MARGIN * size);
        check_result(&p[i], &one[i], isas[_i / 2]);
        list[i] = moved(&p[i].gemm, (char *)together[i].real + MARGIN * size);
    }
    for (int threads = 1; kernels != NULL && threads <= 9; threads++)
        for (int count = 0; count <= COUNT; count += threads == 9 ? 1 : COUNT) {
            for (int i = 0; i < COUNT; i++)
                memcpy(together[i].real, p[i].c.real, (size_t)p[i].c.count * size);
            run_list(kernels, threads, count, list);
            for (int i = 0; i < COUNT; i++)
                ck_assert_msg(memcmp(together[i].real, i < count ? one[i].real : p[i].c.real,
                                     (size_t)p[i].c.count * size) == 0,
                              "%s: product %d of a list of %d, %d threads", isas[_i / 2], i, count, threads);
        }
    for (int i = 0; kernels != NULL && i < COUNT; i++) {
        array_free(&one[i]);
        array_free(&together[i]);
        problem_free(&p[i]);
    }
}
END_TEST

/* The sums of a long a are as good as those of a short one: a plain float sum of so many tenths is not. */
START_TEST(long_sums)
{
    const ag_real_kernels *kernels = kernels_of(_i);
    const size_t size = sizeof(float);
    if (kernels == NULL || _i % 2)
        return;
    problem p = problem_new(&(gemm_case){ .m = 35, .n = 2, .k = 100000, .batch = 1, .a_transposed = true,
                                          .a_sums = true }, size);
    for (int64_t i = 0; i < p.a.count; i++)
        array_set(&p.a, i, 0.1);
    run(kernels, 2, &p.gemm, p.gemm.c);
    for (int64_t i = 0; i < p.gemm.m; i++)
        check_sum(&p, &p.c, i, isas[_i / 2]);
    problem_free(&p);
}
END_TEST

/* An element has the same bits in a full tile and in an edge: every corner of a product against the whole. */
START_TEST(a_corner_is_the_same)
{
    const ag_real_kernels *kernels = kernels_of(_i % TABLES);
    const size_t size = _i % 2 ? sizeof(double) : sizeof(float);
    if (kernels == NULL)
        return;
    const gemm_case t = { .m = 36, .n = 96, .k = 700, .batch = 1, .bias = true, .accumulate = true,
                          .a_transposed = _i >= TABLES, .b_transposed = _i >= TABLES };
    problem p = problem_new(&t, size);
    array corner = array_new(p.c.count, size, 0), whole = array_new(p.c.count, size, 0);
    memcpy(whole.real, p.c.real, (size_t)p.c.count * size);
    run(kernels, 1, &p.gemm, (char *)whole.real + MARGIN * size);
    for (int64_t m = 2; m <= t.m; m += 5)
        for (int64_t n = 2; n <= t.n; n += 7) {
            ag_gemm g = p.gemm;
            g.m = m;
            g.n = n;
            memcpy(corner.real, p.c.real, (size_t)p.c.count * size);
            run(kernels, 1, &g, (char *)corner.real + MARGIN * size);
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < n; j++) {
                    const int64_t at = MARGIN + i * g.c_row + j;
                    if (array_get(&corner, at) != array_get(&whole, at))
                        ck_abort_msg("c[%lld,%lld] of %lld x %lld differs from the whole product's", (long long)i,
                                  (long long)j, (long long)m, (long long)n);
                }
        }
    array_free(&corner);
    array_free(&whole);
    problem_free(&p);
}
END_TEST

/* NaN and infinity spread over their own row and column of c, and no further. */
START_TEST(not_finite)
{
    const ag_real_kernels *kernels = kernels_of(_i);
    const size_t size = _i % 2 ? sizeof(double) : sizeof(float);
    if (kernels == NULL)
        return;
    problem p = problem_new(&(gemm_case){ .m = 29, .n = 37, .k = 41, .batch = 1, .b_transposed = true }, size);
    array_set(&p.a, 7 * p.gemm.a.row + 40, (double)NAN);
    array_set(&p.b, 36 * p.gemm.b.col + 3, (double)INFINITY);
    run(kernels, 1, &p.gemm, (char *)p.c.real + MARGIN * size);
    for (int64_t i = 0; i < p.gemm.m; i++)
        for (int64_t j = 0; j < p.gemm.n; j++) {
            const double got = array_get(&p.c, MARGIN + i * p.gemm.c_row + j);
            ck_assert(i == 7 ? isnan(got) : j == 36 ? isinf(got) : isfinite(got));
        }
    problem_free(&p);
}
END_TEST

/* ---- What becomes of c ---- */

enum { EPILOGUES = 5 };

static ag_epilogue_kernel *epilogue_of(const ag_real_kernels *k, int i)
{
    ag_epilogue_kernel *const epilogue[EPILOGUES] = { k->add_epilogue, k->relu_epilogue, k->gelu_epilogue,
                                                      k->gelu_tanh_epilogue, k->silu_epilogue };
    return epilogue[i];
}

/* As large as c's array, and as c lies there. */
static array other_new(const problem *p)
{
    array other = array_new(p->c.count, p->c.size, CANARY);
    for (int64_t i = 0; i < p->gemm.m; i++)
        for (int64_t j = 0; j < p->gemm.n; j++)
            array_set(&other, MARGIN + i * p->gemm.c_row + j, next_random());
    return other;
}

static void *start_of(const array *x)
{
    return (char *)x->real + MARGIN * x->size;
}

static array copy_of(const array *x)
{
    array copy = array_new(x->count, x->size, 0);
    memcpy(copy.real, x->real, (size_t)x->count * x->size);
    return copy;
}

static bool same_bits(const array *x, const array *y)
{
    return memcmp(x->real, y->real, (size_t)x->count * x->size) == 0;
}

/* The product, and then its epilogue over all of c. */
static void run_apart(const ag_real_kernels *kernels, const ag_gemm *gemm, array *c, array *other)
{
    ag_gemm plain = *gemm;
    plain.epilogue = NULL;
    plain.other = NULL;
    run(kernels, 1, &plain, start_of(c));
    if (gemm->epilogue != NULL)
        gemm->epilogue(gemm->m, gemm->n, start_of(c), gemm->c_row, other == NULL ? NULL : start_of(other));
}

/* With 1 to 4 threads one of the epilogues each, others where a is transposed. The last is gelu without its slope. */
static void check_epilogues(int which, const gemm_case *t)
{
    const ag_real_kernels *kernels = kernels_of(which);
    problem p = problem_new(t, which % 2 ? sizeof(double) : sizeof(float));
    array plain = copy_of(&p.c), other = other_new(&p);
    run_apart(kernels, &p.gemm, &plain, NULL);
    for (int threads = 1; threads <= 4; threads++) {
        const int kind = threads - 1 + (t->a_transposed ? 2 : 0);
        const bool wanted = kind < EPILOGUES;
        array want = copy_of(&plain), want_other = copy_of(&other), got = copy_of(&p.c), got_other = copy_of(&other);
        ag_gemm g = moved(&p.gemm, start_of(&got));
        g.epilogue = epilogue_of(kernels, wanted ? kind : 2);
        g.other = wanted ? start_of(&got_other) : NULL;
        g.epilogue(g.m, g.n, start_of(&want), g.c_row, wanted ? start_of(&want_other) : NULL);
        run_list(kernels, threads, 1, &g);
        ck_assert_msg(same_bits(&got, &want) && same_bits(&got_other, &want_other),
                      "%s: epilogue %d of m %lld n %lld k %lld, %d threads: other bits than afterwards",
                      isas[which / 2], kind, (long long)t->m, (long long)t->n, (long long)t->k, threads);
        array_free(&want);
        array_free(&want_other);
        array_free(&got);
        array_free(&got_other);
    }
    array_free(&plain);
    array_free(&other);
    problem_free(&p);
}

/* Every path: a vector on either side, k = 0, an odd last column, several blocks of rows, columns and k, b packed and
 * in place, shares by rows, by columns and by units. */
START_TEST(the_epilogue_comes_last)
{
    static const int64_t sizes[][3] = { { 0, 5, 3 },    { 5, 0, 3 },      { 1, 40, 70 },   { 1, 700, 900 },
                                        { 70, 1, 40 },  { 700, 1, 900 },  { 40, 33, 0 },   { 2, 3, 4 },
                                        { 13, 17, 20 }, { 64, 33, 90 },   { 20, 65, 513 }, { 17, 40, 1025 },
                                        { 9, 300, 40 }, { 66, 290, 513 }, { 193, 48, 70 }, { 385, 33, 100 },
                                        { 160, 200, 64 } };
    if (kernels_of(_i) == NULL)
        return;
    for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++)
        for (int kind = 0; kind < 4; kind++)
            check_epilogues(_i, &(gemm_case){ .m = sizes[i][0], .n = sizes[i][1], .k = sizes[i][2], .batch = 1,
                                             .a_transposed = kind % 2, .b_transposed = kind / 2,
                                             .bias = (i + kind) % 3 != 0, .accumulate = (i + kind) % 2,
                                             .a_sums = kind % 2 == 1 && i % 2 == 0 });
}
END_TEST

/* Each product of a list has its own epilogue, or none. */
START_TEST(a_list_has_its_epilogues)
{
    static const struct { gemm_case t; int epilogue; bool other; } cases[] = {
        { { .m = 130, .n = 70, .k = 90, .batch = 1, .b_transposed = true, .bias = true }, 2, true },
        { { .m = 150, .n = 65, .k = 300, .batch = 1, .a_transposed = true, .a_sums = true }, -1, false },
        { { .m = 200, .n = 300, .k = 100, .batch = 1, .accumulate = true }, 0, true },
        { { .m = 160, .n = 200, .k = 64, .batch = 1, .a_transposed = true }, 4, false },
        { { .m = 33, .n = 48, .k = 700, .batch = 3 }, -1, false },
        { { .m = 1, .n = 700, .k = 300, .batch = 1, .bias = true }, 3, true },
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    const ag_real_kernels *kernels = kernels_of(_i);
    problem p[COUNT];
    array c[COUNT], other[COUNT], want[COUNT], want_other[COUNT];
    ag_gemm list[COUNT];
    for (int i = 0; kernels != NULL && i < COUNT; i++) {
        p[i] = problem_new(&cases[i].t, _i % 2 ? sizeof(double) : sizeof(float));
        p[i].gemm.epilogue = cases[i].epilogue < 0 ? NULL : epilogue_of(kernels, cases[i].epilogue);
        other[i] = other_new(&p[i]);
        c[i] = copy_of(&p[i].c);
        want[i] = copy_of(&p[i].c);
        want_other[i] = copy_of(&other[i]);
        run_apart(kernels, &p[i].gemm, &want[i], cases[i].other ? &want_other[i] : NULL);
        list[i] = moved(&p[i].gemm, start_of(&c[i]));
        list[i].other = cases[i].other ? start_of(&other[i]) : NULL;
    }
    for (int threads = 1; kernels != NULL && threads <= 4; threads++)
        for (int count = 4; count <= COUNT; count += COUNT - 4) { /* the first four go by rows */
            array kept[COUNT];
            for (int i = 0; i < count; i++) {
                memcpy(c[i].real, p[i].c.real, (size_t)c[i].count * c[i].size);
                kept[i] = copy_of(&other[i]);
            }
            run_list(kernels, threads, count, list);
            for (int i = 0; i < count; i++) {
                ck_assert_msg(same_bits(&c[i], &want[i]) && same_bits(&other[i], &want_other[i]),
                              "%s: product %d of a list of %d, %d threads", isas[_i / 2], i, count, threads);
                memcpy(other[i].real, kept[i].real, (size_t)other[i].count * other[i].size);
                array_free(&kept[i]);
            }
        }
    for (int i = 0; kernels != NULL && i < COUNT; i++) {
        array_free(&c[i]);
        array_free(&other[i]);
        array_free(&want[i]);
        array_free(&want_other[i]);
        problem_free(&p[i]);
    }
}
END_TEST

Suite *gemm_suite(void)
{
    Suite *suite = suite_create("gemm");
    TCase *tcase = tcase_create("products");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, vectors, 0, TABLES);
    tcase_add_loop_test(tcase, small_sizes, 0, TABLES);
    tcase_add_loop_test(tcase, more_than_a_block, 0, TABLES);
    tcase_add_loop_test(tcase, batches, 0, TABLES);
    tcase_add_loop_test(tcase, a_batch_is_its_products, 0, TABLES);
    tcase_add_loop_test(tcase, a_list_is_its_products, 0, TABLES);
    tcase_add_loop_test(tcase, long_sums, 0, TABLES);
    tcase_add_loop_test(tcase, a_corner_is_the_same, 0, 2 * TABLES);
    tcase_add_loop_test(tcase, not_finite, 0, TABLES);
    suite_add_tcase(suite, tcase);
    TCase *epilogues = tcase_create("epilogues");
    tcase_set_timeout(epilogues, 120);
    tcase_add_loop_test(epilogues, the_epilogue_comes_last, 0, TABLES);
    tcase_add_loop_test(epilogues, a_list_has_its_epilogues, 0, TABLES);
    suite_add_tcase(suite, epilogues);
    return suite;
}
