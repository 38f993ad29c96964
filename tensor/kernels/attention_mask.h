/* SPDX-License-Identifier: MIT
 *
 * attention_mask.h - who may look at whom, for the attention kernels: what a mask holds, and the rule for one pair.
 *
 * Every restriction that is given must allow a pair; {.left = -1, .right = -1} allows all. Query i stands at
 * position p = i + offset + starts[b] among the keys.
 */
#ifndef AG_ATTENTION_MASK_H
#define AG_ATTENTION_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ag_attention_mask {
    int64_t offset;
    const int32_t *starts; /* [B]; NULL: 0 */

    bool causal; /* j <= p */

    /* The pattern, when left, right or stride says something: p - left <= j <= p + right (< 0: no bound that side;
     * both: no window), or stride > 0 and stride divides p - j, or j < global, or 0 <= p < global. */
    int64_t left, right, stride, global;

    const int32_t *key_lengths; /* [B]: j < key_lengths[b]; NULL: no restriction, and so with what follows */

    /* query_documents[b,i] = key_documents[b,j], rows documents apart (0: one for all b) */
    const int32_t *query_documents, *key_documents;
    int64_t query_documents_batch, key_documents_batch;

    /* blocks[b,h,p / block_size,j / block_size] != 0; outside of its rows x columns nothing is allowed. The last dim
     * has unit stride; strides 0 share. */
    const int32_t *blocks;
    int64_t block_size, block_rows, block_columns;
    int64_t blocks_batch, blocks_head, blocks_row;

    /* allowed[b,h,i,j] != 0, any strides */
    const int32_t *allowed;
    int64_t allowed_batch, allowed_head, allowed_query, allowed_key;
} ag_attention_mask;

static inline int64_t ag_attention_position(const ag_attention_mask *m, int64_t b, int64_t i)
{
    return i + m->offset + (m->starts != NULL ? m->starts[b] : 0);
}

/* The pattern of positions alone: windows, strides, global tokens. */
static inline bool ag_attention_pattern(const ag_attention_mask *m, int64_t p, int64_t j)
{
    const bool window = m->left >= 0 || m->right >= 0;
    if (!window && m->stride == 0)
        return true;
    return (window && (m->left < 0 || p - j <= m->left) && (m->right < 0 || j - p <= m->right)) ||
           (m->stride > 0 && (p - j) % m->stride == 0) || j < m->global || (p >= 0 && p < m->global);
}

static inline bool ag_attention_block(const ag_attention_mask *m, int64_t b, int64_t h, int64_t p, int64_t j)
{
    if (p < 0 || p >= m->block_rows * m->block_size || j >= m->block_columns * m->block_size)
        return false;
    return m->blocks[b * m->blocks_batch + h * m->blocks_head + p / m->block_size * m->blocks_row +
                     j / m->block_size] != 0;
}

/* Whether query i of batch entry b and head h sees key j. */
static inline bool ag_attention_sees(const ag_attention_mask *m, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t p = ag_attention_position(m, b, i);
    if ((m->causal && j > p) || !ag_attention_pattern(m, p, j))
        return false;
    if (m->key_lengths != NULL && j >= m->key_lengths[b])
        return false;
    if (m->query_documents != NULL && m->query_documents[b * m->query_documents_batch + i] !=
                                          m->key_documents[b * m->key_documents_batch + j])
        return false;
    if (m->blocks != NULL && !ag_attention_block(m, b, h, p, j))
        return false;
    return m->allowed == NULL || m->allowed[b * m->allowed_batch + h * m->allowed_head + i * m->allowed_query +
                                            j * m->allowed_key] != 0;
}

#endif
