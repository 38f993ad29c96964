/* SPDX-License-Identifier: MIT
 *
 * sdpa_composed.h - every option of ag_sdpa as a variant of check_sdpa.c, and the same attention composed of plain ops.
 *
 * The rules of the masks are written once more, after autograd.h, and read one element after the other.
 */
#ifndef TESTS_SDPA_COMPOSED_H
#define TESTS_SDPA_COMPOSED_H

#include "tests/test.h"

#include <string.h>

/* ---- Variants ---- */

/* Shapes are words, a letter for each dim: B, H, Q (Tq), K (Tk), R and C (rows, columns of the table of blocks), 1. */
typedef struct variant {
    const char *name;
    int64_t Hk, Tq; /* 0: the sizes' own */
    ag_mask mask;   /* its numbers */
    bool starts, lengths;
    int documents; /* 1: the same for all entries, 2: for each its own */
    const char *blocks, *allowed, *bias, *relative; /* relative: "H" or "1" */
    double cap, scale;
} variant;

static const variant variants[] = {
    { .name = "everyone" },
    { .name = "causal", .mask.causal = true },
    { .name = "bottom_right", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT } },
    { .name = "bottom_right_of_few_keys", .Tq = 9, .mask = { .causal = true, .align = AG_BOTTOM_RIGHT } },
    { .name = "blind_rows", .mask = { .causal = true, .offset = -3 } },
    { .name = "back", .mask.back = 2 },
    { .name = "ahead", .mask = { .ahead = 3, .offset = 1 } },
    { .name = "window", .mask = { .back = 2, .ahead = 1, .align = AG_BOTTOM_RIGHT } },
    { .name = "stride", .mask.stride = 3 },
    { .name = "stride_and_window", .mask = { .causal = true, .stride = 3, .back = 2, .align = AG_BOTTOM_RIGHT } },
    { .name = "global", .mask = { .back = 2, .ahead = 2, .global = 2, .offset = 1 } },
    { .name = "global_and_stride", .mask = { .stride = 4, .global = 1, .causal = true } },
    { .name = "starts", .mask.causal = true, .starts = true },
    { .name = "key_lengths", .lengths = true },
    { .name = "cache", .mask = { .causal = true, .back = 4 }, .starts = true, .lengths = true },
    { .name = "documents", .documents = 1, .mask = { .causal = true } },
    { .name = "documents_of_each", .documents = 2 },
    { .name = "blocks", .blocks = "RC", .mask.block_size = 2 },
    { .name = "blocks_of_heads", .blocks = "HRC", .mask = { .block_size = 2, .causal = true, .offset = 2 } },
    { .name = "blocks_of_each", .blocks = "B1RC", .mask = { .block_size = 3, .offset = 3 }, .starts = true },
    { .name = "allowed_keys", .allowed = "K" },
    { .name = "allowed_of_heads", .allowed = "H1K" },
    { .name = "allowed", .allowed = "B1QK" },
    { .name = "allowed_of_each", .allowed = "BHQK", .mask.causal = true },
    { .name = "soft_cap", .cap = 1.5, .scale = 0.9 },
    { .name = "bias", .bias = "BHQK" },
    { .name = "bias_shared", .bias = "QK", .mask.causal = true },
    { .name = "bias_of_heads", .bias = "1H1K" },
    { .name = "bias_of_queries", .bias = "B1Q1", .allowed = "QK" },
    { .name = "bias_of_none", .bias = "1", .cap = 2 },
    { .name = "relative", .relative = "H" },
    { .name = "relative_shared", .relative = "1", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT } },
    { .name = "relative_from_starts", .relative = "H", .starts = true, .lengths = true },
    { .name = "grouped", .Hk = 2, .mask.causal = true },
    { .name = "multi_query", .Hk = 1, .bias = "H1K", .relative = "H" },
    { .name = "all_at_once", .Hk = 2, .mask = { .causal = true, .offset = 1, .back = 4, .global = 1, .block_size = 2 },
      .starts = true, .lengths = true, .documents = 2, .blocks = "1RC", .allowed = "HQK", .bias = "H1K",
      .relative = "H", .cap = 3, .scale = 0.8 },
};
enum { VARIANTS = sizeof variants / sizeof *variants };

typedef struct sizes {
    int64_t B, H, Hk, Tq, Tk, D, Dv, rows, columns, reach;
} sizes;

static const sizes small = { .B = 2, .H = 4, .Hk = 4, .Tq = 5, .Tk = 7, .D = 3, .Dv = 2, .rows = 3, .columns = 4,
                             .reach = 2 };
static const sizes wide = { .B = 2, .H = 2, .Hk = 2, .Tq = 66, .Tk = 131, .D = 5, .Dv = 7, .rows = 30, .columns = 70,
                            .reach = 20 };

enum { Q, K, V, BIAS, RELATIVE, LEAVES };

/* A variant with its tensors. */
typedef struct attention {
    sizes s;
    ag_sdpa_config config;
    ag_tensor *leaf[LEAVES]; /* NULL: none; leaf[BIAS] and leaf[RELATIVE] are the config's */
    int count;               /* those that are there, first in order */
    ag_tensor *present[LEAVES];
} attention;

static int shape_of(const sizes *s, const char *word, int64_t *shape)
{
    int n = 0;
    for (; word[n] != '\0'; n++)
        shape[n] = word[n] == 'B' ? s->B : word[n] == 'H' ? s->H : word[n] == 'Q' ? s->Tq : word[n] == 'K' ? s->Tk :
                   word[n] == 'R' ? s->rows : word[n] == 'C' ? s->columns : 1;
    return n;
}

static ag_tensor *random_bits(ag_ctx *ctx, const sizes *s, const char *word)
{
    int64_t shape[4];
    int n = word == NULL ? 0 : shape_of(s, word, shape);
    return word == NULL ? NULL : ag_randint(ctx, 0, 2, n, shape);
}

/* [entries,T]: runs of `length`, numbered 5, 6, ..., in the second entry one shifted. */
static ag_tensor *documents(ag_ctx *ctx, int entries, int64_t T, int64_t length)
{
    ag_tensor *t = ag_zeros(ctx, AG_I32, AG_SHAPE(entries, T));
    int32_t *d = ag_data_mut(t);
    for (int64_t i = 0; i < entries * T; i++)
        d[i] = (int32_t)(5 + (i % T + i / T) / length);
    return t;
}

static ag_tensor *leaf(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    return ag_require_grad(ag_randn(ctx, dtype, ndim, shape));
}

static attention make(ag_ctx *ctx, const variant *v, sizes s, ag_dtype dtype)
{
    s.Hk = v->Hk != 0 && s.H % v->Hk == 0 ? v->Hk : s.Hk;
    s.Tq = v->Tq != 0 && s.B * s.Tq < 20 ? v->Tq : s.Tq;
    attention a = { .s = s, .config = { .mask = v->mask, .soft_cap = v->cap, .scale = v->scale } };
    ag_mask *m = &a.config.mask;
    int64_t shape[4];
    if (v->starts)
        m->starts = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 2, -1 });
    if (v->lengths)
        m->key_lengths = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ (int32_t)s.Tk - 2, 3 });
    if (v->documents > 0) {
        m->query_documents = documents(ctx, v->documents == 1 ? 1 : 2, s.Tq, 2 + s.Tq / 10);
        m->key_documents = documents(ctx, v->documents == 1 ? 1 : 2, s.Tk, 3 + s.Tk / 10);
    }
    m->blocks = random_bits(ctx, &s, v->blocks);
    m->allowed = random_bits(ctx, &s, v->allowed);
    a.leaf[Q] = leaf(ctx, dtype, AG_SHAPE(s.B, s.H, s.Tq, s.D));
    a.leaf[K] = leaf(ctx, dtype, AG_SHAPE(s.B, s.Hk, s.Tk, s.D));
    a.leaf[V] = leaf(ctx, dtype, AG_SHAPE(s.B, s.Hk, s.Tk, s.Dv));
    if (v->bias != NULL) {
        int n = shape_of(&s, v->bias, shape);
        a.leaf[BIAS] = a.config.bias = leaf(ctx, dtype, n, shape);
    }
    if (v->relative != NULL) {
        shape_of(&s, v->relative, shape);
        a.leaf[RELATIVE] = a.config.relative = leaf(ctx, dtype, AG_SHAPE(shape[0], 2 * s.reach + 1));
    }
    for (int i = 0; i < LEAVES; i++)
        if (a.leaf[i] != NULL)
            a.present[a.count++] = a.leaf[i];
    assert_no_error(ctx);
    return a;
}

/* ---- Who sees whom, once more ---- */

/* t[b,h,i,j], its dims the last ones of these, those of extent 1 repeated. */
static int64_t broadcast_at(const ag_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t at[] = { b, h, i, j };
    int64_t index[4];
    double value = 0;
    for (int d = 0, n = ag_ndim(t); d < n; d++)
        index[d] = ag_dim(t, d) == 1 ? 0 : at[4 - n + d];
    ck_assert_int_eq(ag_get(t, index, &value), AG_OK);
    return (int64_t)value;
}

static int64_t position(const attention *a, int64_t b, int64_t i)
{
    const ag_mask *m = &a->config.mask;
    int64_t p = i + m->offset + (m->starts == NULL ? 0 : broadcast_at(m->starts, 0, 0, 0, b));
    return m->align == AG_BOTTOM_RIGHT ? p + a->s.Tk - a->s.Tq : p;
}

static bool sees(const attention *a, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const ag_mask *m = &a->config.mask;
    const int64_t p = position(a, b, i), Z = m->block_size;
    bool window = (m->back == 0 || p - m->back < j) && (m->ahead == 0 || j < p + m->ahead);
    if (m->back == 0 && m->ahead == 0 && m->stride > 0)
        window = false;
    bool pattern = window || (m->stride > 0 && (p - j) % m->stride == 0) || j < m->global || (0 <= p && p < m->global);
    if ((m->causal && j > p) || !pattern)
        return false;
    if (m->key_lengths != NULL && j >= broadcast_at(m->key_lengths, 0, 0, 0, b))
        return false;
    if (m->query_documents != NULL &&
        broadcast_at(m->query_documents, 0, 0, b, i) != broadcast_at(m->key_documents, 0, 0, b, j))
        return false;
    if (m->blocks != NULL && (p < 0 || p >= a->s.rows * Z || j >= a->s.columns * Z ||
                              broadcast_at(m->blocks, b, h, p / Z, j / Z) == 0))
        return false;
    return m->allowed == NULL || broadcast_at(m->allowed, b, h, i, j) != 0;
}

/* int32 [B,H,Tq,Tk], 1 where not allowed. */
static ag_tensor *forbidden(ag_ctx *ctx, const attention *a)
{
    const sizes *s = &a->s;
    ag_tensor *t = ag_zeros(ctx, AG_I32, AG_SHAPE(s->B, s->H, s->Tq, s->Tk));
    int32_t *no = ag_data_mut(t);
    for (int64_t n = 0; n < ag_numel(t); n++)
        no[n] = !sees(a, n / s->Tk / s->Tq / s->H, n / s->Tk / s->Tq % s->H, n / s->Tk % s->Tq, n % s->Tk);
    return t;
}

/* ---- The same of plain ops ---- */

/* What each pair's distance adds: [B,H or 1,Tq,Tk]. */
static ag_tensor *of_distances(ag_ctx *ctx, const attention *a, ag_tensor *relative)
{
    const sizes *s = &a->s;
    ag_tensor *index = ag_zeros(ctx, AG_I32, AG_SHAPE(s->B, s->Tq, s->Tk));
    int32_t *at = ag_data_mut(index);
    for (int64_t n = 0; n < ag_numel(index); n++) {
        int64_t d = n % s->Tk - position(a, n / s->Tk / s->Tq, n / s->Tk % s->Tq) + s->reach;
        at[n] = (int32_t)(d < 0 ? 0 : d > 2 * s->reach ? 2 * s->reach : d);
    }
    ag_tensor *rows = ag_embedding(ag_transpose(relative, 0, 1), index); /* [B,Tq,Tk,H] */
    return ag_permute(rows, (const int[]){ 0, 3, 1, 2 });
}

/* Each key head once for every query head that reads it. */
static ag_tensor *repeated(const sizes *s, ag_tensor *x, int64_t size)
{
    ag_tensor *each = ag_expand(ag_unsqueeze(x, 2), AG_SHAPE(s->B, s->Hk, s->H / s->Hk, s->Tk, size));
    return ag_reshape(each, AG_SHAPE(s->B, s->H, s->Tk, size));
}

/* The scores S, -inf where not allowed. */
static ag_tensor *composed_scores(ag_ctx *ctx, const attention *a)
{
    const ag_sdpa_config *c = &a->config;
    ag_tensor *k = repeated(&a->s, a->leaf[K], a->s.D);
    ag_tensor *S = ag_scale(ag_matmul(a->leaf[Q], ag_transpose(k, 2, 3)),
                            c->scale != 0 ? c->scale : 1 / sqrt((double)a->s.D));
    if (c->soft_cap > 0)
        S = ag_scale(ag_tanh(ag_scale(S, 1 / c->soft_cap)), c->soft_cap);
    if (a->leaf[BIAS] != NULL)
        S = ag_add(S, a->leaf[BIAS]);
    if (a->leaf[RELATIVE] != NULL)
        S = ag_add(S, of_distances(ctx, a, a->leaf[RELATIVE]));
    return ag_masked_fill(S, forbidden(ctx, a), -(double)INFINITY);
}

/* What dropout multiplies the weights with: read off the output for values that are the unit vectors. */
static ag_tensor *dropout_factors(ag_ctx *ctx, const attention *a)
{
    const sizes *s = &a->s;
    ag_tensor *identity = ag_zeros(ctx, AG_F64, AG_SHAPE(s->Tk, s->Tk));
    for (int64_t j = 0; j < s->Tk; j++)
        ag_set(identity, (const int64_t[]){ j, j }, 1);
    ag_rng before = ag_rng_get(ctx);
    ag_tensor *kept = ag_sdpa(ag_detach(a->leaf[Q]), ag_detach(a->leaf[K]),
                              ag_expand(identity, AG_SHAPE(s->B, s->Hk, s->Tk, s->Tk)), a->config);
    ag_rng_set(ctx, before);
    ag_tensor *f = ag_zeros(ctx, AG_F64, AG_SHAPE(s->B, s->H, s->Tq, s->Tk));
    double *factor = ag_data_mut(f);
    for (int64_t n = 0; n < ag_numel(f); n++)
        factor[n] = test_at(kept, n) != 0 ? 1 / (1 - a->config.dropout) : 0;
    return f;
}

#endif
