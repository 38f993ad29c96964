/* SPDX-License-Identifier: MIT
 *
 * attention_mask.h - a mask as the attention kernels take it, and the rule for one pair of query i and key j.
 *
 * A query sees a key when every restriction that is given allows it; {.left = -1, .right = -1} allows all. Query i
 * stands at position p = i + offset + starts[b] among the keys. A pointer NULL: no such restriction.
 */
#ifndef AG_ATTENTION_MASK_H
#define AG_ATTENTION_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* x[b,h,i,j] stands at x + b batch + h head + i row + j column, strides in elements, 0 where it is shared. */
typedef struct ag_matrices {
    void *x; /* NULL: none */
    int64_t batch, head, row, column;
} ag_matrices;

typedef struct ag_attention_mask {
    int64_t offset;
    const int32_t *starts; /* [B]; NULL: 0 */

    bool causal; /* j <= p */

    /* The pattern, given by left >= 0, right >= 0 or stride > 0. A pair needs one of:
     *     p - left <= j <= p + right (< 0: no bound on that side; both: no window)
     *     stride divides p - j    j < global    0 <= p < global */
    int64_t left, right, stride, global;

    const int32_t *key_lengths; /* [B]: j < key_lengths[b] */

    /* query_documents[b,i] = key_documents[b,j], rows documents_batch apart (0: one for all b) */
    const int32_t *query_documents, *key_documents;
    int64_t query_documents_batch, key_documents_batch;

    /* blocks[b,h,p / block_size,j / block_size] != 0; nothing outside of its rows and columns. Unit column stride. */
    ag_matrices blocks;
    int64_t block_size, block_rows, block_columns;

    ag_matrices allowed; /* allowed[b,h,i,j] != 0 */
} ag_attention_mask;

static inline int32_t ag_matrices_int32(const ag_matrices *m, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return ((const int32_t *)m->x)[b * m->batch + h * m->head + i * m->row + j * m->column];
}

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
    return ag_matrices_int32(&m->blocks, b, h, p / m->block_size, j / m->block_size) != 0;
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
    if (m->blocks.x != NULL && !ag_attention_block(m, b, h, p, j))
        return false;
    return m->allowed.x == NULL || ag_matrices_int32(&m->allowed, b, h, i, j) != 0;
}

#endif
