/* SPDX-License-Identifier: MIT
 *
 * op_impl.h - what the files of ops share (private header).
 */
#ifndef AG_OP_IMPL_H
#define AG_OP_IMPL_H

#include "autograd/autograd.h"
#include "tensor/tensor_impl.h"

enum { AG_KEEP_A = AG_KEEP_INPUT << 0, AG_KEEP_B = AG_KEEP_INPUT << 1 };

#define AG_OP(name, inputs, keep, vjp)                                                                       \
    extern const ag_op ag_op_##name;                                                                         \
    void ag_##vjp##_vjp(ag_vjp *v);
#include "autograd/ops.def"

/* Whether the running tape has an observer (tape_impl.h): then ops run and are recorded one by one. */
bool ag_observed(const ag_ctx *ctx);

/* The kernels for x's dtype; NULL when x is NULL, or int32: then with the error of op `where`. */
const ag_real_kernels *ag_real_kernels_for(const char *where, const ag_tensor *x);

/* Whether a and b are not NULL and of one real dtype; false with the error of op `where`, or silently for NULL. */
bool ag_same_real(const char *where, const ag_tensor *a, const ag_tensor *b);

/* A new tensor of x's dtype and shape; NULL for NULL, as after an error. */
ag_tensor *ag_empty_as(const ag_tensor *x);

/* y[...] = f(a, b), element by element, not recorded; a and b broadcast to y's shape. y is contiguous, and may be a or
 * b. `kernel` belongs to their dtype. */
void ag_binary_into(ag_tensor *y, ag_binary_kernel *kernel, const ag_tensor *a, const ag_tensor *b);

/* x[..,N] as M rows of N: M. */
int64_t ag_rows_of(const ag_tensor *x);

/* An int32 tensor whose values are in 0 .. limit - 1 or equal *ignored (NULL: none is), contiguous: kernels read by it
 * without further checks. NULL with the error of op `where`. */
ag_tensor *ag_checked_index(const char *where, ag_tensor *index, int64_t limit, const int32_t *ignored);

/* ag_op.work: of linear and matmul, y[..,M,N] from input[0][..,M,K], M N K each for y and for the gradients of both; of
 * sdpa B H (D + Dv) for every pair that the mask allows. */
double ag_product_work(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted);
double ag_sdpa_work(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted);

/* Computes the products of a list with scratch memory from the context. False when memory is short. */
bool ag_run_gemm(ag_ctx *ctx, ag_dtype dtype, int count, const ag_gemm *list);

/* The activation f as an epilogue: the kernel, and the op to record. An op that keeps its input keeps the slope, the
 * kernel's `other`, in its place. kernel NULL: f has no epilogue. */
typedef struct ag_epilogue {
    ag_epilogue_kernel *kernel;
    const ag_op *op;
} ag_epilogue;
ag_epilogue ag_epilogue_of(ag_tensor *(*f)(ag_tensor *x), const ag_real_kernels *k);

#endif
