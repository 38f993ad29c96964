/* SPDX-License-Identifier: MIT
 *
 * gradcheck_complex.h - the forward formulas of the analytic ops on complex numbers, for the complex step.
 *
 * z_<op> takes what ag_<op> takes and computes the plain textbook formula, with no kernel and no max subtracted, so
 * that Im f(x + ih) / h is a derivative that shares nothing with the library's. The formulas are analytic where they
 * are used: nothing takes a conjugate, an absolute value or a real part. Arrays are dense and belong to a pool; NULL
 * (out of memory) gives NULL. Shapes are not checked: the tensors' side of a case has done that.
 */
#ifndef EXAMPLES_GRADCHECK_COMPLEX_H
#define EXAMPLES_GRADCHECK_COMPLEX_H

#include "attngrad.h"

#include <complex.h>

typedef struct z_pool {
    struct z_array *last; /* made so far */
} z_pool;

typedef struct z_array {
    z_pool *pool;
    struct z_array *before; /* in the pool */
    int ndim;
    int64_t shape[AG_MAX_DIMS], numel;
    double complex *value;
} z_array;

z_array *z_new(z_pool *pool, int ndim, const int64_t *shape); /* zeros */
void z_pool_free(z_pool *pool);

/* The binary ops broadcast. */
z_array *z_add(z_array *a, z_array *b);
z_array *z_sub(z_array *a, z_array *b);
z_array *z_mul(z_array *a, z_array *b);
z_array *z_div(z_array *a, z_array *b);
z_array *z_where(z_array *cond, z_array *a, z_array *b);
z_array *z_masked_fill(z_array *x, z_array *mask, double value);

z_array *z_neg(z_array *x);
z_array *z_scale(z_array *x, double factor);
z_array *z_add_scalar(z_array *x, double number);
z_array *z_exp(z_array *x);
z_array *z_log(z_array *x);  /* of numbers with positive real part, as is z_sqrt */
z_array *z_sqrt(z_array *x);
z_array *z_tanh(z_array *x);
z_array *z_sigmoid(z_array *x);
z_array *z_gelu(z_array *x);
z_array *z_gelu_tanh(z_array *x);
z_array *z_silu(z_array *x);
z_array *z_pow(z_array *x, double p); /* p whole, or x with positive real part */

z_array *z_reshape(z_array *x, int ndim, const int64_t *shape); /* without -1 */
z_array *z_permute(z_array *x, const int *dims);
z_array *z_transpose(z_array *x, int dim0, int dim1);
z_array *z_slice(z_array *x, int dim, int64_t start, int64_t stop, int64_t step); /* 0 <= start < stop <= extent */
z_array *z_select(z_array *x, int dim, int64_t index);
z_array *z_expand(z_array *x, int ndim, const int64_t *shape);
z_array *z_squeeze(z_array *x, int dim);
z_array *z_unsqueeze(z_array *x, int dim);
z_array *z_contiguous(z_array *x);
z_array *z_cast(z_array *x, ag_dtype dtype); /* as if nothing were rounded */
z_array *z_concat(z_array *const *x, int count, int dim);
z_array *z_stack(z_array *const *x, int count, int dim);

z_array *z_sum(z_array *x, int count, const int *dims, bool keepdim);
z_array *z_mean(z_array *x, int count, const int *dims, bool keepdim);
z_array *z_var(z_array *x, int count, const int *dims, double correction, bool keepdim);

z_array *z_matmul(z_array *a, z_array *b); /* of two or more dims each */
z_array *z_linear(z_array *x, z_array *w, z_array *bias);

z_array *z_softmax(z_array *x, int dim);
z_array *z_log_softmax(z_array *x, int dim);
z_array *z_logsumexp(z_array *x, int dim, bool keepdim);
z_array *z_layer_norm(z_array *x, z_array *w, z_array *b, double eps);
z_array *z_rms_norm(z_array *x, z_array *w, double eps);
/* Of the plain angles; R, where ag_rope takes a table. */
z_array *z_rope(z_array *x, int64_t R, z_array *positions, ag_rope_pairing pairing);
z_array *z_embedding(z_array *table, z_array *index);
z_array *z_cross_entropy(z_array *logits, z_array *target);
z_array *z_cross_entropy_with(z_array *logits, z_array *target, ag_cross_entropy_config config);
z_array *z_mse(z_array *x, z_array *target);

/* As ag_mask, and ag_sdpa_config without dropout and lse. */
typedef struct z_mask {
    bool causal;
    ag_align align;
    int64_t offset, back, ahead, stride, global, block_size;
    z_array *starts, *key_lengths, *query_documents, *key_documents, *blocks, *allowed;
} z_mask;

typedef struct z_sdpa_config {
    z_mask mask;
    double scale, soft_cap;
    z_array *bias, *relative;
} z_sdpa_config;
z_array *z_sdpa(z_array *q, z_array *k, z_array *v, z_sdpa_config config);

#endif
