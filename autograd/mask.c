/* SPDX-License-Identifier: MIT
 *
 * mask.c - masks: their fields, their check against the sizes they are used with, their translation for the kernels.
 * The rule for one pair is ag_attention_sees (tensor/kernels/attention_mask.h), which the kernels follow. B batch,
 * H heads, Tq queries, Tk keys; p is a query's position among the keys.
 */
#include "autograd/mask_impl.h"

/* ---- Fields ---- */

unsigned ag_mask_given(const ag_mask *m)
{
    return 0
#define AG_MASK_FIELD(name, self, memory) | (unsigned)(m->name != 0) << AG_MASK_##name
#include "autograd/mask.def"
        ;
}

const char *ag_mask_field_name(unsigned fields)
{
    static const char *const name_of[] = {
#define AG_MASK_FIELD(name, self, memory) #name,
#include "autograd/mask.def"
    };
    int i = 0;
    while (i < AG_MASK_FIELDS && (fields >> i & 1) == 0)
        i++;
    return i < AG_MASK_FIELDS ? name_of[i] : NULL;
}

ag_mask ag_mask_join(const ag_mask *a, const ag_mask *b)
{
    return (ag_mask){
        .causal = a->causal || b->causal,
#define AG_MASK_FIELD(name, self, memory) .name = a->name != 0 ? a->name : b->name,
#include "autograd/mask.def"
    };
}

void ag_mask_tensors(const ag_mask *m, ag_tensor **tensor)
{
#define AG_MASK_TENSOR(name, dims, self, memory) *tensor++ = m->name;
#include "autograd/mask.def"
}

/* ---- The mask fits the sizes ---- */

/* A mask without tensors can be drawn without a context: ctx is NULL, and no message is kept. */
static bool mask_check_range(ag_ctx *ctx, const char *where, const char *name, int64_t value, int64_t least)
{
    if (value >= least && value <= INT32_MAX)
        return true;
    if (ctx != NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.%s is %lld, must be in %lld..%lld", name, (long long)value,
                (long long)least, (long long)INT32_MAX);
    return false;
}

/* The bounds keep sums of a few numbers from overflowing. A number that restricts nothing is refused. */
static bool mask_check_numbers(ag_ctx *ctx, const char *where, const ag_mask *m)
{
    if ((m->blocks != NULL && !mask_check_range(ctx, where, "block_size", m->block_size, 1))
#define AG_MASK_NUMBER(name, least, self, memory) || !mask_check_range(ctx, where, #name, (int64_t)m->name, least)
#include "autograd/mask.def"
    )
        return false;
    if (m->align != AG_TOP_LEFT && m->align != AG_BOTTOM_RIGHT) {
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.align is %d, must be AG_TOP_LEFT or AG_BOTTOM_RIGHT", (int)m->align);
        return false;
    }
    const bool idle_global = m->global > 0 && m->back == 0 && m->ahead == 0 && m->stride == 0;
    const bool idle_size = m->block_size > 0 && m->blocks == NULL;
    if (idle_global && ctx != NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.global is %lld without a window or a stride, and restricts nothing",
                (long long)m->global);
    else if (idle_size && ctx != NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.block_size is %lld without blocks, and restricts nothing",
                (long long)m->block_size);
    return !idle_global && !idle_size;
}

static bool mask_wrong_tensor(const char *where, const char *name, const ag_tensor *t, const char *must, int ndim,
                              const int64_t *shape)
{
    ag_fail(t->ctx, t->dtype != AG_I32 ? AG_ERR_DTYPE : AG_ERR_SHAPE, where, "mask.%s is %s %s, must be int32 %s%s",
            name, ag_dtype_name(t->dtype), ag_shape_text(t), must, ag_dims_text(t->ctx, ndim, shape));
    return false;
}

/* NULL, or int32 [B]; of two dims [B,T] or [1,T]. */
static bool mask_check_rows(const char *where, const char *name, const ag_tensor *t, int ndim, int64_t B, int64_t T)
{
    return t == NULL ||
           (t->dtype == AG_I32 && t->ndim == ndim && (t->shape[0] == B || (ndim == 2 && t->shape[0] == 1)) &&
            (ndim == 1 || t->shape[1] == T)) ||
           mask_wrong_tensor(where, name, t, "", ndim, (const int64_t[]){ B, T });
}

bool ag_matrices_of(const ag_tensor *t, const int64_t *shape, ag_matrices *out)
{
    int64_t stride[4];
    if (t->ndim > 4)
        return false;
    for (int d = 3, own = t->ndim - 1; d >= 0; d--, own--) {
        if (own >= 0 && t->shape[own] != 1 && t->shape[own] != shape[d])
            return false;
        stride[d] = own < 0 || t->shape[own] == 1 ? 0 : t->stride[own];
    }
    *out = (ag_matrices){ ag_address(t, 0), stride[0], stride[1], stride[2], stride[3] };
    return true;
}

/* NULL, or int32 that broadcasts to shape[4]. */
static bool mask_check_matrices(const char *where, const char *name, const ag_tensor *t, const int64_t *shape)
{
    ag_matrices matrices;
    return t == NULL || (t->dtype == AG_I32 && ag_matrices_of(t, shape, &matrices)) ||
           mask_wrong_tensor(where, name, t, "and broadcast to ", 4, shape);
}

static bool mask_check_documents(ag_ctx *ctx, const char *where, const ag_mask *m, const int64_t *pairs)
{
    const bool queries = m->query_documents != NULL, keys = m->key_documents != NULL;
    if (queries != keys)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "mask.%s_documents is given, mask.%s_documents is not; both or none",
                queries ? "query" : "key", queries ? "key" : "query");
    return queries == keys && mask_check_rows(where, "query_documents", m->query_documents, 2, pairs[0], pairs[2]) &&
           mask_check_rows(where, "key_documents", m->key_documents, 2, pairs[0], pairs[3]);
}

static bool mask_check_lengths(const char *where, const ag_tensor *lengths, int64_t B, int64_t Tk)
{
    if (!mask_check_rows(where, "key_lengths", lengths, 1, B, 0))
        return false;
    const int32_t *length = lengths == NULL ? NULL : ag_data(lengths);
    for (int64_t b = 0; length != NULL && b < B; b++) {
        const long value = length[b * lengths->stride[0]];
        if (value < 0 || value > Tk) {
            ag_fail(lengths->ctx, AG_ERR_ARGUMENT, where, "mask.key_lengths[%lld] is %ld, must be in 0..%lld",
                    (long long)b, value, (long long)Tk);
            return false;
        }
    }
    return true;
}

/* The shape that blocks broadcasts to, for B and H of pairs. */
static void mask_blocks_shape(const ag_mask *m, const int64_t *pairs, int64_t *shape)
{
    shape[0] = pairs[0];
    shape[1] = pairs[1];
    shape[2] = ag_mask_extent(m->blocks, 2);
    shape[3] = ag_mask_extent(m->blocks, 1);
}

static bool mask_check(ag_ctx *ctx, const char *where, const ag_mask *m, const int64_t *pairs)
{
    int64_t blocks[4];
    mask_blocks_shape(m, pairs, blocks);
    ag_tensor *tensor[AG_MASK_TENSORS];
    ag_mask_tensors(m, tensor);
    for (int i = 0; i < AG_MASK_TENSORS; i++)
        if (ctx != NULL && !ag_check_home(ctx, where, tensor[i]))
            return false;
    return mask_check_numbers(ctx, where, m) && mask_check_rows(where, "starts", m->starts, 1, pairs[0], 0) &&
           mask_check_lengths(where, m->key_lengths, pairs[0], pairs[3]) &&
           mask_check_documents(ctx, where, m, pairs) && mask_check_matrices(where, "blocks", m->blocks, blocks) &&
           mask_check_matrices(where, "allowed", m->allowed, pairs);
}

/* ---- The mask as the kernels take it ---- */

ag_attention_mask ag_mask_translated(const ag_mask *m, const int64_t *pairs)
{
    ag_attention_mask out = {
        .offset = m->offset + (m->align == AG_BOTTOM_RIGHT ? pairs[3] - pairs[2] : 0),
        .causal = m->causal,
        .left = m->back - 1,
        .right = m->ahead - 1,
        .stride = m->stride,
        .global = m->global,
        .block_size = m->block_size,
        .starts = m->starts == NULL ? NULL : ag_data(m->starts),
        .key_lengths = m->key_lengths == NULL ? NULL : ag_data(m->key_lengths),
    };
    if (m->query_documents != NULL) {
        out.query_documents = ag_data(m->query_documents);
        out.query_documents_batch = m->query_documents->shape[0] == 1 ? 0 : m->query_documents->stride[0];
        out.key_documents = ag_data(m->key_documents);
        out.key_documents_batch = m->key_documents->shape[0] == 1 ? 0 : m->key_documents->stride[0];
    }
    if (m->blocks != NULL) {
        int64_t shape[4];
        mask_blocks_shape(m, pairs, shape);
        ag_matrices_of(m->blocks, shape, &out.blocks);
        out.block_rows = shape[2];
        out.block_columns = shape[3];
    }
    if (m->allowed != NULL)
        ag_matrices_of(m->allowed, pairs, &out.allowed);
    return out;
}

/* t, or a copy, with unit stride in its last dim. */
static ag_tensor *mask_dense(ag_tensor *t)
{
    return t->shape[t->ndim - 1] > 1 && t->stride[t->ndim - 1] != 1 ? ag_tensor_contiguous(t) : t;
}

bool ag_mask_for_kernels(ag_ctx *ctx, const char *where, ag_mask *m, const int64_t *pairs, ag_attention_mask *out)
{
    if (!mask_check(ctx, where, m, pairs))
        return false;
    ag_tensor *const allowed = m->allowed; /* read with any strides */
#define AG_MASK_TENSOR(name, dims, self, memory) m->name = m->name == NULL ? NULL : mask_dense(m->name);
#include "autograd/mask.def"
    m->allowed = allowed;
    if (ctx != NULL && ag_error(ctx) != AG_OK)
        return false;
    *out = ag_mask_translated(m, pairs);
    return true;
}
