/* SPDX-License-Identifier: MIT
 *
 * mask_impl.h - a mask field by field, and as the attention kernels take it (private header).
 */
#ifndef AG_MASK_IMPL_H
#define AG_MASK_IMPL_H

#include "autograd/autograd.h"
#include "tensor/tensor_impl.h"

/* ---- Fields: a bit each, in the order of mask.def. causal has none: two masks may both be causal. ---- */

enum {
#define AG_MASK_FIELD(name, self, memory) AG_MASK_##name,
#include "autograd/mask.def"
    AG_MASK_FIELDS,
    AG_MASK_TENSORS = 0
#define AG_MASK_TENSOR(name, dims, self, memory) + 1
#include "autograd/mask.def"
};

unsigned ag_mask_given(const ag_mask *m);              /* the fields that are given */
const char *ag_mask_field_name(unsigned fields);       /* the first one's; NULL: there is none */
ag_mask ag_mask_join(const ag_mask *a, const ag_mask *b); /* no field is given in both */
void ag_mask_tensors(const ag_mask *m, ag_tensor **tensor); /* all AG_MASK_TENSORS; NULL: not given */

/* The extent of a dim counted from the end; 1 of one that the tensor does not have. */
static inline int64_t ag_mask_extent(const ag_tensor *t, int dim)
{
    return t == NULL || t->ndim < dim ? 1 : t->shape[t->ndim - dim];
}

/* ---- For the kernels ---- */

/* Checks the mask against pairs[4] = B, H, Tq, Tk and translates it. A tensor that no kernel reads as it lies is
 * replaced in *mask by a dense copy, of the innermost scope; *out borrows from the tensors of *mask. False: an error of
 * `where` stands. ctx may be NULL for a mask without tensors. */
bool ag_mask_for_kernels(ag_ctx *ctx, const char *where, ag_mask *mask, const int64_t *pairs, ag_attention_mask *out);

/* The same for a mask that fits, and whose tensors have unit stride in their last dim. */
ag_attention_mask ag_mask_translated(const ag_mask *m, const int64_t *pairs);

/* Checks q, k and the config, as ag_mask_for_kernels does the mask, and sets what they determine in *a. False: an error
 * of `where` stands, or q or k is NULL. */
bool ag_sdpa_begin(const char *where, ag_tensor *q, ag_tensor *k, ag_sdpa_config *c, ag_attention *a);

/* Runs an attention kernel with scratch memory from the context. False when there is none. */
bool ag_sdpa_run(ag_ctx *ctx, ag_dtype dtype, ag_attention_kernel *kernel, const ag_attention *a);

/* t broadcast to shape[4]; false when it does not broadcast to that. */
bool ag_matrices_of(const ag_tensor *t, const int64_t *shape, ag_matrices *out);

#endif
