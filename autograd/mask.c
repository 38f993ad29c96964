/* SPDX-License-Identifier: MIT
 *
 * mask.c - who may look at whom: a mask checked against the sizes it is used with, and asked. The rule for one pair
 * is ag_attention_sees (tensor/kernels/attention_mask.h), which the kernels follow. B batch, H heads, Tq queries,
 * Tk keys; p is a query's position among the keys.
 */
#include "autograd/mask_impl.h"

#include <string.h>

/* ---- As the kernels take it ---- */

bool ag_strides_as(const ag_tensor *t, const int64_t *shape, int64_t *stride)
{
    if (t->ndim > 4)
        return false;
    for (int d = 3, own = t->ndim - 1; d >= 0; d--, own--) {
        if (own >= 0 && t->shape[own] != 1 && t->shape[own] != shape[d])
            return false;
        stride[d] = own < 0 || t->shape[own] == 1 ? 0 : t->stride[own];
    }
    return true;
}

/* The mask as it stands: it fits, and what the kernels read along rows has unit stride. */
static ag_attention_mask translated(const ag_mask *m, const int64_t *pairs)
{
    ag_attention_mask out = {
        .offset = m->offset + (m->align == AG_BOTTOM_RIGHT ? pairs[3] - pairs[2] : 0),
        .causal = m->causal,
        .left = m->back - 1,
        .right = m->ahead - 1,
        .stride = m->stride,
        .global = m->global,
        .block_size = m->block_size,
    };
    int64_t stride[4];
    if (m->starts != NULL)
        out.starts = ag_data(m->starts);
    if (m->key_lengths != NULL)
        out.key_lengths = ag_data(m->key_lengths);
    if (m->query_documents != NULL) {
        out.query_documents = ag_data(m->query_documents);
        out.query_documents_batch = m->query_documents->shape[0] == 1 ? 0 : m->query_documents->stride[0];
        out.key_documents = ag_data(m->key_documents);
        out.key_documents_batch = m->key_documents->shape[0] == 1 ? 0 : m->key_documents->stride[0];
    }
    if (m->blocks != NULL) {
        out.block_rows = m->blocks->shape[m->blocks->ndim - 2];
        out.block_columns = m->blocks->shape[m->blocks->ndim - 1];
        ag_strides_as(m->blocks, (const int64_t[]){ pairs[0], pairs[1], out.block_rows, out.block_columns }, stride);
        out.blocks = ag_data(m->blocks);
        out.blocks_batch = stride[0];
        out.blocks_head = stride[1];
        out.blocks_row = stride[2];
    }
    if (m->allowed != NULL) {
        ag_strides_as(m->allowed, pairs, stride);
        out.allowed = ag_data(m->allowed);
        out.allowed_batch = stride[0];
        out.allowed_head = stride[1];
        out.allowed_query = stride[2];
        out.allowed_key = stride[3];
    }
    return out;
}

/* ---- Whether it fits. ctx NULL: a mask without tensors is looked at, and there is no one to tell why it is wrong. */

static bool in_range(ag_ctx *ctx, const char *where, const char *name, int64_t value, int64_t least)
{
    if (value >= least && value <= INT32_MAX)
        return true;
    if (ctx != NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.%s is %lld, must be in %lld..%lld", name, (long long)value,
                (long long)least, (long long)INT32_MAX);
    return false;
}

/* Positions are sums of few such numbers and never overflow. What would restrict nothing is refused, not ignored. */
static bool check_numbers(ag_ctx *ctx, const char *where, const ag_mask *m)
{
    if (!in_range(ctx, where, "offset", m->offset, -INT32_MAX) || !in_range(ctx, where, "back", m->back, 0) ||
        !in_range(ctx, where, "ahead", m->ahead, 0) || !in_range(ctx, where, "stride", m->stride, 0) ||
        !in_range(ctx, where, "global", m->global, 0) ||
        !in_range(ctx, where, "block_size", m->block_size, m->blocks != NULL ? 1 : 0))
        return false;
    const bool alone = m->global > 0 && m->back == 0 && m->ahead == 0 && m->stride == 0;
    if (alone && ctx != NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.global is %lld without a window or a stride, and adds nothing",
                (long long)m->global);
    const bool no_blocks = m->block_size > 0 && m->blocks == NULL;
    if (no_blocks && ctx != NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.block_size is %lld, and there are no blocks",
                (long long)m->block_size);
    return !alone && !no_blocks;
}

/* int32 [B], of two dims [B,T] or [1,T]. */
static bool check_rows(const char *where, const char *name, const ag_tensor *t, int ndim, int64_t B, int64_t T)
{
    const int64_t wanted[] = { B, T };
    bool fits = t->dtype == AG_I32 && t->ndim == ndim && (t->shape[0] == B || (ndim == 2 && t->shape[0] == 1));
    if (fits && (ndim == 1 || t->shape[1] == T))
        return true;
    ag_fail(t->ctx, t->dtype != AG_I32 ? AG_ERR_DTYPE : AG_ERR_SHAPE, where, "mask.%s is %s %s, must be int32 %s", name,
            ag_dtype_name(t->dtype), ag_shape_text(t), ag_dims_text(t->ctx, ndim, wanted));
    return false;
}

static bool check_documents(ag_ctx *ctx, const char *where, const ag_mask *m, const int64_t *pairs)
{
    const bool queries = m->query_documents != NULL, keys = m->key_documents != NULL;
    if (queries != keys)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.%s_documents is given, mask.%s_documents is not; both or none",
                queries ? "query" : "key", queries ? "key" : "query");
    return queries == keys &&
           (!queries || (check_rows(where, "query_documents", m->query_documents, 2, pairs[0], pairs[2]) &&
                         check_rows(where, "key_documents", m->key_documents, 2, pairs[0], pairs[3])));
}

static bool check_lengths(const char *where, const ag_tensor *lengths, int64_t Tk)
{
    const int32_t *length = ag_data(lengths);
    for (int64_t b = 0; b < lengths->shape[0]; b++) {
        const long value = length[b * lengths->stride[0]];
        if (value < 0 || value > Tk) {
            ag_fail(lengths->ctx, AG_ERR_ARGUMENT, where, "mask.key_lengths[%lld] is %ld, must be in 0..%lld",
                    (long long)b, value, (long long)Tk);
            return false;
        }
    }
    return true;
}

static bool check_blocks(const char *where, const ag_tensor *blocks, const int64_t *pairs)
{
    int64_t stride[4];
    const int n = blocks->ndim;
    if (blocks->dtype == AG_I32 && n >= 2 &&
        ag_strides_as(blocks, (const int64_t[]){ pairs[0], pairs[1], blocks->shape[n - 2], blocks->shape[n - 1] },
                      stride))
        return true;
    ag_fail(blocks->ctx, blocks->dtype != AG_I32 ? AG_ERR_DTYPE : AG_ERR_SHAPE, where,
            "mask.blocks is %s %s, must be int32 [rows,columns], [H,..] or [B,H,..] with B %lld, H %lld (or 1)",
            ag_dtype_name(blocks->dtype), ag_shape_text(blocks), (long long)pairs[0], (long long)pairs[1]);
    return false;
}

static bool check_allowed(const char *where, const ag_tensor *allowed, const int64_t *pairs)
{
    int64_t stride[4];
    if (allowed->dtype == AG_I32 && ag_strides_as(allowed, pairs, stride))
        return true;
    ag_fail(allowed->ctx, allowed->dtype != AG_I32 ? AG_ERR_DTYPE : AG_ERR_SHAPE, where,
            "mask.allowed is %s %s, must be int32 and broadcast to %s", ag_dtype_name(allowed->dtype),
            ag_shape_text(allowed), ag_dims_text(allowed->ctx, 4, pairs));
    return false;
}

static bool check(ag_ctx *ctx, const char *where, const ag_mask *m, const int64_t *pairs)
{
    return check_numbers(ctx, where, m) &&
           (m->starts == NULL || check_rows(where, "starts", m->starts, 1, pairs[0], 0)) &&
           (m->key_lengths == NULL || (check_rows(where, "key_lengths", m->key_lengths, 1, pairs[0], 0) &&
                                       check_lengths(where, m->key_lengths, pairs[3]))) &&
           check_documents(ctx, where, m, pairs) && (m->blocks == NULL || check_blocks(where, m->blocks, pairs)) &&
           (m->allowed == NULL || check_allowed(where, m->allowed, pairs));
}

/* t with unit stride in its last dim; false without memory. */
static bool unit_rows(ag_tensor **t)
{
    if (*t != NULL && (*t)->shape[(*t)->ndim - 1] > 1 && (*t)->stride[(*t)->ndim - 1] != 1)
        *t = ag_tensor_contiguous(*t);
    else
        return true;
    return *t != NULL;
}

bool ag_mask_for_kernels(ag_ctx *ctx, const char *where, const ag_mask *mask, const int64_t *pairs,
                         ag_attention_mask *out)
{
    ag_mask m = *mask;
    if (!check(ctx, where, &m, pairs) || !unit_rows(&m.starts) || !unit_rows(&m.key_lengths) ||
        !unit_rows(&m.query_documents) || !unit_rows(&m.key_documents) || !unit_rows(&m.blocks))
        return false;
    *out = translated(&m, pairs);
    return true;
}

/* ---- Looking: batch entry 0, head 0 ---- */

static int64_t extent_from_end(const ag_tensor *t, int dim)
{
    return t == NULL || t->ndim < dim ? 1 : t->shape[t->ndim - dim];
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void ag_mask_own_pairs(const ag_mask *m, int64_t Tq, int64_t Tk, int64_t *pairs)
{
    int64_t B = larger(extent_from_end(m->starts, 1), extent_from_end(m->key_lengths, 1));
    B = larger(B, larger(extent_from_end(m->query_documents, 2), extent_from_end(m->key_documents, 2)));
    pairs[0] = larger(B, larger(extent_from_end(m->blocks, 4), extent_from_end(m->allowed, 4)));
    pairs[1] = larger(extent_from_end(m->blocks, 3), extent_from_end(m->allowed, 3));
    pairs[2] = Tq;
    pairs[3] = Tk;
}

bool ag_mask_allowed(ag_mask mask, int64_t Tq, int64_t Tk, int64_t query, int64_t key)
{
    int64_t pairs[4];
    ag_mask_own_pairs(&mask, Tq, Tk, pairs);
    const ag_attention_mask m = translated(&mask, pairs);
    return ag_attention_sees(&m, 0, 0, query, key);
}

ag_tensor *ag_mask_tensor(ag_ctx *ctx, ag_mask mask, int64_t B, int64_t H, int64_t Tq, int64_t Tk)
{
    if (ctx == NULL)
        return NULL;
    const int64_t pairs[] = { B, H, Tq, Tk };
    ag_tensor *t = ag_empty(ctx, AG_I32, 4, pairs);
    ag_scope_begin(ctx, NULL);
    ag_attention_mask m;
    if (t == NULL || !ag_mask_for_kernels(ctx, "mask_tensor", &mask, pairs, &m)) {
        ag_scope_end(ctx, NULL);
        return NULL;
    }
    int32_t *sees = t->storage->data;
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = 0; i < Tq; i++)
                for (int64_t j = 0; j < Tk; j++)
                    *sees++ = ag_attention_sees(&m, b, h, i, j);
    ag_scope_end(ctx, NULL);
    return t;
}
