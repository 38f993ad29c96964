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
unsigned ag_mask_refused(bool memory);                 /* those that a layer with a cache refuses */
const char *ag_mask_field_name(unsigned fields);       /* the first one's; NULL: there is none */
ag_mask ag_mask_join(const ag_mask *a, const ag_mask *b); /* no field is given in both */
void ag_mask_tensors(const ag_mask *m, ag_tensor **tensor); /* all AG_MASK_TENSORS; NULL: not given */

static inline int64_t ag_larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- For the kernels ---- */

/* Checks the mask against pairs[4] = B, H, Tq, Tk and translates it. A tensor that no kernel reads as it lies is
 * replaced in *mask by a dense copy, of the innermost scope; *out borrows from the tensors of *mask. False: an error of
 * `where` stands. ctx may be NULL for a mask without tensors. */
bool ag_mask_for_kernels(ag_ctx *ctx, const char *where, ag_mask *mask, const int64_t *pairs, ag_attention_mask *out);

/* pairs[4] = the largest B and H of the mask's tensors, Tq, Tk. */
void ag_mask_own_pairs(const ag_mask *m, int64_t Tq, int64_t Tk, int64_t *pairs);

/* Checks everything but the mask; pairs[4] = B, H, Tq, Tk. False: an error stands, or q or k is NULL. */
bool ag_sdpa_check(const char *where, const ag_tensor *q, const ag_tensor *k, const ag_sdpa_config *c, int64_t *pairs);

/* t broadcast to shape[4]; false when it does not broadcast to that. */
bool ag_matrices_of(const ag_tensor *t, const int64_t *shape, ag_matrices *out);

#endif
