/* SPDX-License-Identifier: MIT
 *
 * mask.h - ag_mask: which query sees which key in attention.
 */
#ifndef AG_MASK_H
#define AG_MASK_H

#include "tensor/tensor.h"

/* A mask says which pairs of query i and key j are allowed; {0} allows all. Query i of batch entry b stands at position
 *     p = i + offset + starts[b]      (+ Tk - Tq with AG_BOTTOM_RIGHT)
 * among the Tk keys. Every restriction that is given:
 *     causal        j <= p
 *     back, ahead   p - back < j < p + ahead: a window, its own position counted on both sides; 0: no bound
 *     stride        stride divides p - j
 *     global        j < global or 0 <= p < global: the first tokens see all keys and are seen by all queries
 *     key_lengths   j < key_lengths[b]: later keys are padding
 *     documents     query_documents[b,i] = key_documents[b,j]: several sequences in one
 *     blocks        blocks[.., p / block_size, j / block_size] != 0; pairs outside of the table are forbidden
 *     allowed       allowed[b,h,i,j] != 0
 * Window, stride and global are OR-ed together; every other restriction is AND-ed. In `blocks`, `allowed` and
 * ag_mask_tensor 1 means allowed; in ag_masked_fill 1 means forbidden (filled).
 * A query that sees no key gets output 0 and zero gradients. Tensors are int32 and borrowed; a tape keeps them.
 * Numbers are in 0 .. 2^31 - 1, offset in +-(2^31 - 1), key_lengths in 0 .. Tk. A number that restricts nothing is an
 * error: global without a window or a stride, block_size without blocks.
 * (Child et al., "Generating long sequences with sparse transformers", 2019; Beltagy et al., "Longformer", 2020.) */
typedef enum ag_align {
    AG_TOP_LEFT,    /* query 0 stands at key 0 */
    AG_BOTTOM_RIGHT /* the last query at the last key */
} ag_align;

typedef struct ag_mask {
    bool causal;
    ag_align align;
    int64_t offset;
    int64_t back, ahead, stride, global;
    ag_tensor *starts;      /* [B] */
    ag_tensor *key_lengths; /* [B] */
    ag_tensor *query_documents, *key_documents; /* [B,Tq] or [1,Tq], [B,Tk] or [1,Tk]; both or none */
    ag_tensor *blocks;      /* [rows,columns], broadcasts to [B,H,rows,columns] */
    int64_t block_size;
    ag_tensor *allowed;     /* broadcasts to [B,H,Tq,Tk] */
} ag_mask;

#endif
