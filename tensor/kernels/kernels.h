/* SPDX-License-Identifier: MIT
 *
 * kernels.h - the numeric kernels: loops over plain arrays, no tensors, no allocation, no errors.
 *
 * kernels.c is compiled once per instruction set (and once as the plain reference); each build exports one
 * const table, and a context points at one of them. A table has one set of kernels per real type; `void *`
 * stands for an array of that type. Every array is row-major and dense unless strides (in elements) are
 * given. Results do not depend on the team, bit for bit: each output element is written by one thread, in an order
 * of reduction fixed by the sizes alone.
 *
 * An output may be the same array as an input only where its comment says so.
 */
#ifndef AG_KERNELS_H
#define AG_KERNELS_H

#include "tensor/kernels/attention_mask.h"
#include "tensor/team.h"

/* y[i] = f(x[i]; p0, p1), f as unary.def says; pow is x^p0. y may be x. p may be NULL where f has no parameters. */
typedef void ag_unary_kernel(ag_team *team, int64_t n, const double *p, const void *x, void *y);

/* dx[i] = dy[i] f'(x[i]; p0, p1), from x or y = f(x), whichever unary.def says that the tape keeps (neither: not read).
 * The slope is 0 at the kinks of relu and abs, 1 at the bounds of clamp. dx may be dy. */
typedef void ag_unary_vjp_kernel(ag_team *team, int64_t n, const double *p, const void *kept, const void *dy, void *dx);

/* Element i stands i steps, in elements, from data; step 0: one number for all. */
typedef struct ag_operand {
    const void *data;
    int64_t step;
} ag_operand;

/* y[i] = f(a[i], b[i]). y may be a or b where that one's step is 1. */
typedef void ag_binary_kernel(ag_team *team, int64_t n, ag_operand a, ag_operand b, void *y);

/* da[i] = dy[i] df/da(a[i], b[i]); for db swap a and b. dy and da are dense. At a tie half each. */
typedef void ag_binary_vjp_kernel(ag_team *team, int64_t n, ag_operand a, ag_operand b, const void *dy, void *da);

/* y[i] = cond[i] != 0 ? a[i] : b[i]; cond is of int32_t. */
typedef void ag_where_kernel(ag_team *team, int64_t n, ag_operand cond, ag_operand a, ag_operand b, void *y);

/* x[A,R,B] -> y[A,B], over the middle. For R = 0 sum is 0 and max -inf; max of a NaN is NaN. */
typedef void ag_reduce_kernel(ag_team *team, int64_t A, int64_t R, int64_t B, const void *x, void *y);

/* sum of x[i]^2, in double. */
typedef double ag_sum_squares_kernel(ag_team *team, int64_t n, const void *x);

/* Rows x[M,N] -> y: softmax and log_softmax y[M,N], where y may be x, and a row of -inf gives softmax 0;
 * logsumexp y[M] = log sum_j exp(x[M,j]), -inf for a row of -inf or of no elements. */
typedef void ag_rows_kernel(ag_team *team, int64_t M, int64_t N, const void *x, void *y);

/* dx[M,N] of softmax and log_softmax, from their output y[M,N] and dy[M,N]. dx may be dy. */
typedef void ag_rows_vjp_kernel(ag_team *team, int64_t M, int64_t N, const void *y, const void *dy, void *dx);

/* dx[M,N] = dy[M] exp(x - y[M]); 0 in a row whose y is -inf. */
typedef void ag_logsumexp_vjp_kernel(ag_team *team, int64_t M, int64_t N, const void *x, const void *y, const void *dy,
                                     void *dx);

/* Per row of x[M,N]: layer_norm y = (x - mean) rstd w + b, rstd = 1/sqrt(var + eps), var the biased variance;
 * rms_norm y = x rstd w, rstd = 1/sqrt(mean(x^2) + eps). */
typedef struct ag_norm_args {
    int64_t M, N;
    double eps; /* forward only */
    const void *x;
    const void *w, *b;  /* [N]; NULL: 1 and 0. b: layer_norm's forward only */
    void *y;            /* [M,N]; forward only */
    void *mean, *rstd;  /* [M]; forward: out, both NULL: not wanted; backward: in. mean: layer_norm only */
    const void *dy;     /* [M,N]; this and all below: backward only */
    void *dx, *dw, *db; /* [M,N], [N], [N]; NULL: not wanted. db: layer_norm only */
    bool add;           /* dx is added to what is there */
    void *scratch;      /* norm_vjp_scratch bytes; rms_norm without dw needs none */
} ag_norm_args;
typedef void ag_norm_kernel(ag_team *team, const ag_norm_args *n);
typedef size_t ag_norm_vjp_scratch_kernel(int64_t M, int64_t N);

/* Per row of logits[M,V] with target t: loss = lse - (1-s) logit[t] - s/V sum_v logit[v], lse the row's log-sum-exp, s
 * the label smoothing; dlogits = dloss (softmax - (1-s) onehot - s/V). Rows whose target is `ignore` get zeros. Returns
 * the sum of loss, in double. */
typedef struct ag_cross_entropy_args {
    int64_t M, V;
    const void *logits;
    const int32_t *target; /* [M], each `ignore` or in 0 .. V-1: the caller has checked */
    int32_t ignore;
    double smoothing, dloss;
    void *loss;    /* [M] */
    void *dlogits; /* [M,V]; NULL: not wanted */
} ag_cross_entropy_args;
typedef double ag_cross_entropy_kernel(ag_team *team, const ag_cross_entropy_args *c);

/* y[n,C] = table[index[n],C]; indices have been checked. */
typedef void ag_embedding_kernel(ag_team *team, int64_t n, int64_t C, const int32_t *index, const void *table, void *y);
/* dtable[index[n],C] += dy[n,C], in the order of n. */
typedef void ag_embedding_vjp_kernel(ag_team *team, int64_t n, int64_t C, const int32_t *index, const void *dy,
                                     void *dtable);

/* Rotary positions. Of x[b,h,t,:] the pair n = 0 .. R/2 - 1 of channels c, c' turns by the angle whose cosine is
 * table[p,n] and whose sine is table[p,R/2 + n], p = positions[b,t]:
 *     y[c] = x[c] cos - x[c'] sin    y[c'] = x[c] sin + x[c'] cos
 * (c, c') is (2n, 2n + 1) with `neighbours`, else (n, n + R/2); channels from R on are copied. `back` turns by the
 * opposite angle: the vjp. Rows of x and y have unit stride; positions are in the table (the caller has checked). */
typedef struct ag_rope_args {
    int64_t B, H, T, D, R;
    bool neighbours, back;
    const void *table;        /* [P,R] dense */
    const int32_t *positions; /* [B,T] dense; NULL: t */
    const void *x;
    int64_t x_batch, x_head, x_time;
    void *y;
    int64_t y_batch, y_head, y_time;
} ag_rope_args;

typedef void ag_rope_kernel(ag_team *team, const ag_rope_args *r);

/* Which elements a dropout keeps: element i takes word i % 4 of Philox block counter + i / 4 and is dropped where
 * that is below p 2^32 (philox.h). A pure function, so backward draws the same again and nothing is stored. */
typedef struct ag_dropout_stream {
    double p; /* probability of dropping, 0 <= p < 1; 0: no dropout */
    uint64_t seed, counter;
} ag_dropout_stream;

/* y[i] = keep(i) ? x[i] / (1-p) : 0. Its own vjp. y may be x. Uses ceil(n/4) counter blocks. */
typedef void ag_dropout_kernel(ag_team *team, int64_t n, const ag_dropout_stream *stream, const void *x, void *y);

/* ---- Matrix product -----------------------------------------------------------------------------
 * c[i,j] (+)= sum_p a[i,p] b[p,j] (+ bias[j]), and then the epilogue. k = 0 gives c = bias or 0. */

/* Element (i,j) of matrix s of a batch: data[s batch + i row + j col]. So a transpose is a pair of strides, and batch 0
 * a matrix that all products of a batch share. */
typedef struct ag_matrix {
    const void *data;
    int64_t row, col, batch;
} ag_matrix;

/* What a product does to each part of c when that is complete and still in the cache, in the thread that computed it:
 *   add_epilogue    c += other
 *   gelu_epilogue   other := f'(c), then c := f(c), f = gelu; no f' when other is NULL. gelu_tanh, silu alike.
 *   relu_epilogue   c := relu(c); `other` is ignored
 * `other` has the strides of c. The bits are those of add, gelu and so on; dy f' has those of their vjp. */
typedef void ag_epilogue_kernel(int64_t rows, int64_t columns, void *c, int64_t c_row, void *other);

typedef struct ag_gemm {
    int64_t m, n, k, batch; /* batch >= 1 */
    ag_matrix a, b;         /* [m,k], [k,n] */
    void *c;                /* [m,n], unit column stride */
    int64_t c_row, c_batch;
    bool accumulate;  /* adds to c instead of overwriting it */
    const void *bias; /* [n], or NULL */
    void *a_sums;     /* [m] := sum_p a[i,p], or NULL; needs a.row = 1 and batch = 1 */
    ag_epilogue_kernel *epilogue; /* NULL: none; needs batch = 1 */
    void *other;
} ag_gemm;

/* Computes the products of a list side by side. A product reads and writes nothing that another one writes, except that
 * one with `accumulate` may add to the c of earlier products: the additions are done in the order of the list. */
typedef void ag_gemm_kernel(ag_team *team, int count, const ag_gemm *list, void *scratch);
/* Bytes of scratch, 64-byte aligned. */
typedef size_t ag_gemm_scratch_kernel(int threads, int count, const ag_gemm *list);

/* ---- Attention ----------------------------------------------------------------------------------
 * Per batch entry b and query head h, which reads key head h / (H / Hk), with a = scale:
 *   U = a Q K^T   S = cap tanh(U / cap) + bias + relative, on allowed pairs (cap 0: S = U + ...)
 *   P = softmax(S)   O = dropout(P) V   lse = log sum exp of S's rows
 *   delta = rowsum(dO * O)   dV = dropout(P)^T dO   dP = dropout'(dO V^T)   dS = P * (dP - delta)
 *   dU = dS (1 - tanh^2(U / cap))   dQ = a dU K   dK = a dU^T Q   dbias = dS   drelative = sums of dS
 * dK and dV are sums over the query heads that read a key head; dbias and drelative over what they are shared by.
 * attention_mask.h says which pairs are allowed. A row that sees no key has O = 0, lse = -inf, zero gradients; a row
 * that sees one key has dS = 0 exactly. Masked keys, values and biases are never read into a result, so their NaN does
 * not spread. A tile without an allowed pair costs only the test for one.
 * Dropout element index of (batch, head, i, j): ((batch H + head) Tq + i) Tk4 + j, Tk4 = Tk rounded up to a
 * multiple of four. (Dao et al., "FlashAttention-2", 2023, section 3.) */
typedef struct ag_attention {
    int64_t B, H, Hk, Tq, Tk; /* Hk key heads divide the H query heads; 0: H */
    int64_t D, Dv; /* size of a query and key row; of a value row */
    double scale, cap;
    ag_attention_mask mask;
    ag_dropout_stream dropout;
    ag_matrices q, k, v, o; /* rows are times, unit column stride. o is the output of forward, an input of vjp */
    void *lse;              /* [B,H,Tq] dense; output of forward, input of vjp and weights */
    /* As lse, not for weights: 1 / sum_j exp(s_ij - lse_i), 1 but for rounding. NULL in forward: not wanted. */
    void *norm;
    ag_matrices bias;       /* bias[b,h,i,j] */
    ag_matrices relative;   /* relative[h, clamp(j - p, -reach, reach) + reach] by head and column, p as in the mask */
    int64_t reach;
    ag_matrices dout, dq, dk, dv; /* vjp: as q; the last three are outputs */
    ag_matrices dbias, drelative; /* bias vjp: outputs, each NULL or dense but for strides of 0, which sum */
    /* weights: output [B,head_count,row_count,Tk] dense, before dropout, exact zeros where not allowed. heads and rows
     * choose query heads and queries, in any order; NULL: all H, all Tq. */
    void *weights;
    const int64_t *heads, *rows;
    int64_t head_count, row_count;
} ag_attention;

typedef void ag_attention_kernel(ag_team *team, const ag_attention *a, void *scratch);
/* Bytes: O(T) for vjp (dout given); for forward and weights only threads and head sizes count. */
typedef size_t ag_attention_scratch_kernel(int threads, const ag_attention *a);

/* ---- Optimizers: one pass over `count` parameters, shared by the team as one array. g is not changed. ------------ */

typedef struct ag_step {
    int64_t n;
    const void *g;
    void *param, *state[2]; /* sgd: the momentum buffer, may be NULL when momentum is 0; adamw: m and v */
    const void *args;       /* ag_sgd_step_args or ag_adamw_step_args */
} ag_step;

typedef void ag_step_kernel(ag_team *team, int64_t count, const ag_step *step);

/* torch.optim.SGD's rule. */
typedef struct ag_sgd_step_args {
    double lr, momentum, dampening, weight_decay, grad_scale; /* grad_scale multiplies g first: clipping */
    bool nesterov, first;                                     /* first: momentum buffer := g */
} ag_sgd_step_args;

/* torch.optim.AdamW's rule (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019). */
typedef struct ag_adamw_step_args {
    double lr, beta1, beta2, eps, weight_decay, grad_scale;
    double correction1, correction2; /* 1 - beta^t */
} ag_adamw_step_args;

/* ---- Tables ---------------------------------------------------------------------------------- */

typedef struct ag_real_kernels {
#define AG_KERNEL(type, name) ag_##type##_kernel *name;
#include "tensor/kernels/kernels.def"
#undef AG_KERNEL
} ag_real_kernels;

typedef struct ag_kernel_table {
    const char *isa;
    ag_real_kernels f32, f64;
} ag_kernel_table;

/* The table for an instruction set by name: "reference", "baseline", "x86-64-v3", "x86-64-v4"; isa NULL: the best that
 * this machine runs. NULL when the build has no such table, or the machine can not run it. */
const ag_kernel_table *ag_kernels_find(const char *isa);

#endif
