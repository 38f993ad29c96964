/* SPDX-License-Identifier: MIT
 *
 * check_attention_problem.c - problems for the attention kernels (check_attention_problem.h).
 */
#include "tests/tensor/kernels/check_attention_problem.h"
#include "tensor/philox.h"
#include "tests/suites.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const TABLES[] = { "reference", "baseline", "x86-64-v3", "x86-64-v4" };
const char *const NAME[] = { "q",  "k",  "v",     "dout",      "bias", "relative", "o",      "dq",
                             "dk", "dv", "dbias", "drelative", "lse",  "norm",     "weights" };

/* ---- Elements ---- */

double get(const problem *p, int x, int64_t i)
{
    return p->single ? (double)((const float *)p->x[x].data)[i] : ((const double *)p->x[x].data)[i];
}

void set(problem *p, int x, int64_t i, double value)
{
    if (p->single)
        ((float *)p->x[x].data)[i] = (float)value;
    else
        ((double *)p->x[x].data)[i] = value;
}

int64_t at(const problem *p, int x, int64_t b, int64_t h, int64_t t, int64_t d)
{
    const array *y = &p->x[x];
    return b * y->batch + h * y->head + t * y->time + d;
}

static bool same(double got, double want)
{
    return got == want || (isnan(got) && isnan(want));
}

bool sees(const problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return ag_attention_sees(&p->a.mask, b, h, i, j);
}

bool sees_some(const problem *p, int64_t b, int64_t h, int64_t i)
{
    for (int64_t j = 0; j < p->a.Tk; j++)
        if (sees(p, b, h, i, j))
            return true;
    return false;
}

/* ---- Problems ---- */

static void *memory(size_t bytes)
{
    void *block = malloc(bytes == 0 ? 1 : bytes);
    ck_assert_ptr_nonnull(block);
    return block;
}

static array array_of(const problem *p, int64_t heads, int64_t T, int64_t width, bool gaps)
{
    const int64_t B = p->a.B, row = width + 1;
    array x = { .width = width, .T = T };
    x.time = gaps ? heads * row : width;
    x.head = gaps ? row : T * width;
    x.batch = gaps ? T * heads * row : heads * T * width;
    x.count = B * x.batch;
    x.data = memory((size_t)x.count * (p->single ? sizeof(float) : sizeof(double)));
    return x;
}

/* Inputs are multiples of 2^-12 in [-1,1), the same for float and double. */
static void fill(problem *p, int x)
{
    uint32_t word[4];
    for (int64_t i = 0; i < p->x[x].count; i++) {
        if (x < O && i % 4 == 0)
            ag_philox((uint64_t)x, (uint64_t)i, word);
        set(p, x, i, x < O ? (double)(word[i % 4] >> 19) / 4096 - 1 : (double)NAN);
    }
}

static int64_t random_below(attention_setup *s, int64_t n)
{
    uint32_t word[4];
    ag_philox(s->seed, 1u << 20, word);
    s->seed = s->seed * 6364136223846793005u + word[0];
    return (int64_t)(word[1] % (uint32_t)n);
}

static int32_t *random_numbers(attention_setup *s, int64_t count, int64_t from, int64_t below)
{
    int32_t *x = memory((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (int32_t)(from + random_below(s, below - from));
    return x;
}

/* Runs of equal numbers, most of them ascending. */
static int32_t *random_documents(attention_setup *s, int64_t rows, int64_t T)
{
    int32_t *x = memory((size_t)(rows * T) * sizeof *x);
    for (int64_t i = 0; i < rows * T; i++) {
        int32_t last = i % (T > 0 ? T : 1) == 0 ? 0 : x[i - 1];
        x[i] = random_below(s, 20) > 0 ? last : last + (int32_t)random_below(s, 4) - 1;
    }
    return x;
}

static int32_t *random_switches(attention_setup *s, int64_t count)
{
    int32_t *x = memory((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (double)random_below(s, 1000) < 1000 * s->density ? 1 + (int32_t)random_below(s, 3) : 0;
    return x;
}

static int64_t *random_choice(attention_setup *s, int64_t *count, int64_t below)
{
    *count = below == 0 ? 0 : 1 + random_below(s, 7);
    int64_t *x = memory((size_t)*count * sizeof *x);
    for (int64_t i = 0; i < *count; i++)
        x[i] = i > 0 && x[i - 1] + 1 < below && random_below(s, 2) == 0 ? x[i - 1] + 1 : random_below(s, below);
    return x;
}

static void make_mask(problem *p, attention_setup *s)
{
    ag_attention_mask *m = &p->a.mask;
    const int64_t tall = s->B * s->H;
    m->offset = s->offset;
    m->causal = s->causal;
    m->left = s->window ? s->left : -1;
    m->right = s->window ? s->right : -1;
    m->stride = s->stride;
    m->global = s->global;
    if (s->starts)
        m->starts = p->mask[0] = random_numbers(s, s->B, -5, s->Tk + 5);
    if (s->key_lengths)
        m->key_lengths = p->mask[1] = random_numbers(s, s->B, 0, s->Tk + 1);
    if (s->documents) {
        m->query_documents = p->mask[2] = random_documents(s, s->documents_own ? s->B : 1, s->Tq);
        m->key_documents = p->mask[3] = random_documents(s, s->documents_own ? s->B : 1, s->Tk);
        m->query_documents_batch = s->documents_own ? s->Tq : 0;
        m->key_documents_batch = s->documents_own ? s->Tk : 0;
    }
    if (s->block_size > 0) {
        m->block_size = s->block_size;
        m->block_rows = 1 + random_below(s, (s->Tq + s->block_size) / s->block_size);
        m->block_columns = 1 + random_below(s, (s->Tk + s->block_size) / s->block_size);
        const int64_t size = m->block_rows * m->block_columns;
        m->blocks = (ag_matrices){ .x = p->mask[4] = random_switches(s, (tall + 1) * size),
                                   .batch = s->blocks_own & 1 ? (s->blocks_own & 2 ? s->H : 1) * size : 0,
                                   .head = s->blocks_own & 2 ? size : 0, .row = m->block_columns, .column = 1 };
    }
    if (s->allowed) {
        const int own = s->allowed_own;
        const int64_t Tk = own & 8 ? s->Tk : 1, Tq = own & 4 ? s->Tq : 1, H = own & 2 ? s->H : 1;
        p->mask[5] = random_switches(s, Tk * Tq * H * (own & 1 ? s->B : 1));
        m->allowed = (ag_matrices){ p->mask[5], own & 1 ? Tk * Tq * H : 0, own & 2 ? Tk * Tq : 0, own & 4 ? Tk : 0,
                                    own & 8 ? 1 : 0 };
    }
}

static void make_biases(problem *p, const attention_setup *s)
{
    ag_attention *a = &p->a;
    const size_t number = p->single ? sizeof(float) : sizeof(double);
    if (s->bias) {
        const int own = s->bias_own;
        const int64_t Tk = own & 8 ? s->Tk : 1, Tq = own & 4 ? s->Tq : 1, H = own & 2 ? s->H : 1;
        a->bias = (ag_matrices){ NULL, own & 1 ? Tk * Tq * H : 0, own & 2 ? Tk * Tq : 0, own & 4 ? Tk : 0,
                                 own & 8 ? 1 : 0 };
        for (int x = BIAS; x <= DBIAS; x += DBIAS - BIAS) {
            p->x[x].count = Tk * Tq * H * (own & 1 ? s->B : 1);
            p->x[x].data = memory((size_t)p->x[x].count * number);
        }
        a->dbias = a->bias;
        a->bias.x = p->x[BIAS].data;
        a->dbias.x = p->x[DBIAS].data;
    }
    if (s->relative) {
        a->reach = s->reach;
        for (int x = RELATIVE; x <= DRELATIVE; x += DRELATIVE - RELATIVE) {
            p->x[x].count = (s->relative_shared ? 1 : s->H) * (2 * s->reach + 1);
            p->x[x].data = memory((size_t)p->x[x].count * number);
        }
        const int64_t head = s->relative_shared ? 0 : 2 * s->reach + 1;
        a->relative = (ag_matrices){ .x = p->x[RELATIVE].data, .head = head, .column = 1 };
        a->drelative = (ag_matrices){ .x = p->x[DRELATIVE].data, .head = head, .column = 1 };
    }
}

problem problem_new(attention_setup s, bool single)
{
    problem p = { .setup = s, .single = single };
    const int64_t key_heads = s.Hk == 0 ? s.H : s.Hk;
    p.a = (ag_attention){ .B = s.B, .H = s.H, .Hk = s.Hk, .Tq = s.Tq, .Tk = s.Tk, .D = s.D, .Dv = s.Dv, .cap = s.cap,
                          .scale = s.scale != 0 ? s.scale : 1 / sqrt((double)s.D),
                          .dropout = { .p = s.dropout, .seed = 7, .counter = 1000 } };
    make_mask(&p, &s);
    int64_t rows = s.Tq, heads = s.H;
    if (s.choose) {
        p.a.heads = p.mask[6] = random_choice(&s, &p.a.head_count, s.H);
        p.a.rows = p.mask[7] = random_choice(&s, &p.a.row_count, s.Tq);
        rows = p.a.row_count;
        heads = p.a.head_count;
    }
    p.x[Q] = array_of(&p, s.H, s.Tq, s.D, s.gaps);
    p.x[K] = array_of(&p, key_heads, s.Tk, s.D, s.gaps);
    p.x[V] = array_of(&p, key_heads, s.Tk, s.Dv, s.gaps);
    p.x[O] = array_of(&p, s.H, s.Tq, s.Dv, s.gaps);
    p.x[DOUT] = array_of(&p, s.H, s.Tq, s.Dv, s.gaps);
    p.x[DQ] = array_of(&p, s.H, s.Tq, s.D, s.gaps);
    p.x[DK] = array_of(&p, key_heads, s.Tk, s.D, s.gaps);
    p.x[DV] = array_of(&p, key_heads, s.Tk, s.Dv, s.gaps);
    p.x[LSE] = array_of(&p, s.H, s.Tq, 1, false);
    p.x[NORM] = array_of(&p, s.H, s.Tq, 1, false);
    p.x[WEIGHTS] = array_of(&p, heads, rows, s.Tk, false);
    make_biases(&p, &s);
    for (int x = 0; x < ARRAYS; x++)
        fill(&p, x);
    ag_attention *a = &p.a;
    const array *x = p.x;
    ag_matrices *const to[] = { &a->q, &a->k, &a->v, &a->o, &a->dout, &a->dq, &a->dk, &a->dv };
    const int from[] = { Q, K, V, O, DOUT, DQ, DK, DV };
    for (int i = 0; i < 8; i++)
        *to[i] = (ag_matrices){ x[from[i]].data, x[from[i]].batch, x[from[i]].head, x[from[i]].time, 1 };
    a->lse = x[LSE].data;
    a->norm = x[NORM].data;
    a->weights = x[WEIGHTS].data;
    return p;
}

void problem_free(problem *p)
{
    for (int x = 0; x < ARRAYS; x++)
        free(p->x[x].data);
    for (size_t i = 0; i < sizeof p->mask / sizeof *p->mask; i++)
        free(p->mask[i]);
}

/* ---- Running and comparing ---- */

const ag_real_kernels *kernels_of(const char *isa, bool single)
{
    const ag_kernel_table *table = ag_kernels_find(isa);
    return table == NULL ? NULL : single ? &table->f32 : &table->f64;
}

void run(problem *p, const ag_real_kernels *kernels, int threads)
{
    ag_attention_kernel *const calls[] = { kernels->attention, kernels->attention_vjp, kernels->attention_bias_vjp,
                                           kernels->attention_weights };
    size_t bytes = kernels->attention_scratch(threads, &p->a);
    char *block = memory(bytes + 64);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        memset(block, 0xff, bytes + 64);
        calls[i](AG_TEAM(threads), &p->a, block + (64 - (uintptr_t)block % 64));
    }
    free(block);
}

static void compare_array(const problem *got, const problem *want, int x, double tol, const char *text)
{
    const array *y = &got->x[x];
    double largest = x == DBIAS || x == DRELATIVE ? 1 : 0.1; /* sums over all that a row sees are 0 */
    for (int64_t i = 0; i < y->count; i++)
        if (isfinite(get(want, x, i)))
            largest = fmax(largest, fabs(get(want, x, i)));
    for (int64_t i = 0; i < y->count; i++) {
        double g = get(got, x, i), w = get(want, x, i);
        if (!(same(g, w) || fabs(g - w) <= tol * largest)) /* Check's own asserts write to a file each time */
            ck_abort_msg("%s: %s[%lld] is %.17g, not %.17g", text, NAME[x], (long long)i, g, w);
    }
}

void compare(const problem *got, const problem *want, double tol, const char *text)
{
    for (int x = O; x < ARRAYS; x++)
        compare_array(got, want, x, tol, text);
}

const char *describe(const char *isa, const problem *p)
{
    static char text[700];
    const attention_setup *s = &p->setup;
    snprintf(text, sizeof text,
             "%s %s B%lld H%lld Hk%lld Tq%lld Tk%lld D%lld Dv%lld p%g cap%g | offset %lld starts %d causal %d "
             "window %d (%lld, %lld) stride %lld global %lld lengths %d documents %d blocks of %lld (own %d) "
             "allowed %d (own %d) | bias %d (own %d) relative %d reach %lld | gaps %d choose %d seed %llu",
             isa, p->single ? "float32" : "float64", (long long)s->B, (long long)s->H, (long long)s->Hk,
             (long long)s->Tq, (long long)s->Tk, (long long)s->D, (long long)s->Dv, s->dropout, s->cap,
             (long long)s->offset, s->starts, s->causal, s->window, (long long)s->left, (long long)s->right,
             (long long)s->stride, (long long)s->global, s->key_lengths, s->documents, (long long)s->block_size,
             s->blocks_own, s->allowed, s->allowed_own, s->bias, s->bias_own, s->relative, (long long)s->reach, s->gaps,
             s->choose, (unsigned long long)s->seed);
    return text;
}

void check_tables(attention_setup s)
{
    problem want = problem_new(s, false);
    run(&want, kernels_of("reference", false), 1);
    for (int t = 0; t < TABLE_COUNT; t++)
        for (int single = 0; single <= 1; single++) {
            const ag_real_kernels *kernels = kernels_of(TABLES[t], single);
            if (kernels == NULL)
                continue;
            problem got = problem_new(s, single);
            run(&got, kernels, 1);
            compare(&got, &want, single ? 1e-5 : 1e-12, describe(TABLES[t], &got));
            problem_free(&got);
        }
    problem_free(&want);
}
