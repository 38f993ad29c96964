/* SPDX-License-Identifier: MIT
 *
 * mask_impl.h - masks as the attention kernels take them (private header). mask.c has the checks, once for all.
 */
#ifndef AG_MASK_IMPL_H
#define AG_MASK_IMPL_H

#include "autograd/autograd.h"
#include "tensor/tensor_impl.h"

/* The mask for the kernels; false, with the error of `where`, when it does not fit pairs[4] = B, H, Tq, Tk. It borrows
 * from the mask's tensors, and from the innermost scope, which gets copies of those that no kernel reads as they
 * lie. */
bool ag_mask_for_kernels(ag_ctx *ctx, const char *where, const ag_mask *mask, const int64_t *pairs,
                         ag_attention_mask *out);

/* pairs[4] = B and H as the mask's tensors have them, Tq, Tk. */
void ag_mask_own_pairs(const ag_mask *m, int64_t Tq, int64_t Tk, int64_t *pairs);

/* t's strides as a tensor of shape[4], 0 where it repeats; false when it does not broadcast to that. */
bool ag_strides_as(const ag_tensor *t, const int64_t *shape, int64_t *stride);

#endif
