/* SPDX-License-Identifier: MIT
 *
 * autograd.h - the tape, the differentiable ops, writing an op. Masks: mask.h.
 *
 *     ag_tape *tape = ag_tape_begin(ctx);          nothing is recorded unless a tape runs
 *     ag_tensor *loss = ...;                       ops on tensors that require a gradient are recorded
 *     ag_status status = ag_backward(tape, loss);  gradients go to ag_grad of the leaves
 *     ag_tape_end(tape);
 *
 * Ops are eager, borrow their arguments, and give their result to the innermost scope. Both real dtypes work
 * everywhere; the two are never mixed in one op. An argument NULL gives NULL (see tensor.h on errors). In
 * formulas gy is the gradient of the result y, gx what the op contributes to the gradient of x. Ops are
 * differentiable once: second derivatives are out of scope.
 */
#ifndef AG_AUTOGRAD_H
#define AG_AUTOGRAD_H

#include "autograd/mask.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Tape ------------------------------------------------------------------------------------ */

typedef struct ag_tape ag_tape;

/* Begins a scope that records. One tape runs at a time on a context: a second one is an error (NULL). */
ag_tape *ag_tape_begin(ag_ctx *ctx);

/* Ends the scope and the tape and releases their tensors; gradients of leaves stay. NULL is a no-op. */
void ag_tape_end(AG_TAKES ag_tape *tape);

/* Whether ops are being recorded now (not while backward runs). */
bool ag_recording(const ag_ctx *ctx);

/* Adds d(loss)/d(leaf) to the gradient of every leaf the loss depends on. `loss` has one element and was
 * recorded on this tape. Returns the first error of the context: the one check a training step needs. After an
 * error no gradient has changed. May be called again on the same tape; the gradients then add. */
ag_status ag_backward(ag_tape *tape, ag_tensor *loss);

/* The same for an output of any shape, given the gradient of something with respect to it (the cotangent). */
ag_status ag_backward_from(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent);

/* Whether a function given to ag_recompute (recompute.h) runs now, for the first or the second time. A layer then keeps
 * no tensors for later: each would stay alive, and no memory would be saved. */
bool ag_recomputing(const ag_ctx *ctx);

/* Marks a leaf: gradients accumulate in it. Real dtypes only. Returns t. To be called before the tensor is
 * used on the tape. */
ag_tensor *ag_require_grad(ag_tensor *t);
bool ag_requires_grad(const ag_tensor *t);

/* The accumulated gradient of a leaf, or of a tensor given to ag_retain_grad; NULL while there is none. Has the
 * tensor's shape and dtype. Borrowed: valid until the next backward, ag_zero_grad or the tensor's end. */
ag_tensor *ag_grad(const ag_tensor *t);
void ag_zero_grad(ag_tensor *t); /* releases the gradient; backward treats a missing one as zero */

/* Makes backward store the gradient of a recorded tensor that is not a leaf: see ag_grad. */
ag_status ag_retain_grad(ag_tensor *t);

/* The hook gets each gradient of t when backward has completed it, before it is stored or used further. It returns
 * NULL, or a tensor of the same shape and dtype that replaces the gradient. It may write into `grad`. One hook per
 * tensor; hook NULL removes it. */
typedef ag_tensor *ag_hook_fn(void *user, ag_tensor *grad);
ag_status ag_hook(ag_tensor *t, ag_hook_fn *hook, void *user);

/* Names a tensor in graphs and reports; nn/ names parameters by their path. The text is copied; NULL removes the name.
 * Returns t. */
ag_tensor *ag_set_name(ag_tensor *t, const char *name);
const char *ag_name(const ag_tensor *t); /* NULL: t has no name */

/* A view of t that gradients do not pass: the way to cut a gradient on purpose. A view or copy that an unrecorded
 * function (ag_tensor_reshape, ag_tensor_clone, ag_sdpa_weights, ...) makes of a leaf, or of a tensor on the running
 * tape, is refused by recorded ops while that tape runs: AG_ERR_STATE. */
ag_tensor *ag_detach(ag_tensor *t);

/* ---- Elementwise ops ----------------------------------------------------------------------------
 * Binary ops broadcast as NumPy does: shapes are aligned at the end, extents of 1 repeat. */

ag_tensor *ag_add(ag_tensor *a, ag_tensor *b);
ag_tensor *ag_sub(ag_tensor *a, ag_tensor *b);
ag_tensor *ag_mul(ag_tensor *a, ag_tensor *b);     /* ga = gy b, gb = gy a */
ag_tensor *ag_div(ag_tensor *a, ag_tensor *b);     /* ga = gy / b, gb = -gy y / b */
ag_tensor *ag_maximum(ag_tensor *a, ag_tensor *b); /* at a tie half of gy each; NaN passes on */
ag_tensor *ag_minimum(ag_tensor *a, ag_tensor *b);

ag_tensor *ag_neg(ag_tensor *x);
ag_tensor *ag_scale(ag_tensor *x, double factor);      /* factor x */
ag_tensor *ag_add_scalar(ag_tensor *x, double number); /* x + number */
ag_tensor *ag_exp(ag_tensor *x);
ag_tensor *ag_log(ag_tensor *x);
ag_tensor *ag_sqrt(ag_tensor *x);
ag_tensor *ag_tanh(ag_tensor *x);
ag_tensor *ag_sigmoid(ag_tensor *x);             /* 1 / (1 + exp(-x)) */
ag_tensor *ag_relu(ag_tensor *x);                /* max(x, 0); derivative 0 at 0 */
ag_tensor *ag_gelu(ag_tensor *x);                /* x Phi(x), Phi the normal distribution function (erf form) */
ag_tensor *ag_gelu_tanh(ag_tensor *x);           /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
ag_tensor *ag_silu(ag_tensor *x);                /* x sigmoid(x) */
ag_tensor *ag_pow(ag_tensor *x, double p);       /* x^p; gx = gy p x^(p-1) */
ag_tensor *ag_abs(ag_tensor *x);                 /* derivative 0 at 0 */
ag_tensor *ag_clamp(ag_tensor *x, double low, double high); /* derivative 1 in [low, high], bounds included */

/* cond != 0 ? a : b, elementwise, the three broadcast together. cond is int32. */
ag_tensor *ag_where(ag_tensor *cond, ag_tensor *a, ag_tensor *b);
/* mask != 0 ? value : x. mask is int32 and broadcasts to x's shape. Here 1 means forbidden; see ag_mask. */
ag_tensor *ag_masked_fill(ag_tensor *x, ag_tensor *mask, double value);

/* Each element is dropped with probability p, the others scaled by 1/(1-p); 0 <= p < 1. Draws from the
 * context's random stream; backward repeats the same draw. Always drops: the layers decide when. */
ag_tensor *ag_dropout(ag_tensor *x, double p);

/* ---- Views and joins: shapes as in tensor.h, recorded ---------------------------------------- */

ag_tensor *ag_reshape(ag_tensor *x, int ndim, const int64_t *shape);
ag_tensor *ag_permute(ag_tensor *x, const int *dims);
ag_tensor *ag_transpose(ag_tensor *x, int dim0, int dim1);
ag_tensor *ag_slice(ag_tensor *x, int dim, int64_t start, int64_t stop, int64_t step);
ag_tensor *ag_select(ag_tensor *x, int dim, int64_t index);
ag_tensor *ag_expand(ag_tensor *x, int ndim, const int64_t *shape);
ag_tensor *ag_squeeze(ag_tensor *x, int dim);
ag_tensor *ag_unsqueeze(ag_tensor *x, int dim);
ag_tensor *ag_contiguous(ag_tensor *x);
ag_tensor *ag_cast(ag_tensor *x, ag_dtype dtype); /* to int32: towards zero, and gradients do not pass */

/* count >= 1 tensors of one dtype. concat: shapes are equal except along dim. stack: shapes are equal, and the result
 * has a new dim `dim`. */
ag_tensor *ag_concat(ag_tensor *const *x, int count, int dim);
ag_tensor *ag_stack(ag_tensor *const *x, int count, int dim);

/* Views of `count` equal pieces along dim, whose extent must divide, into piece[count]. On error all NULL. */
void ag_split(ag_tensor *x, int dim, int count, ag_tensor **piece);

/* ---- Reductions, over the listed dims; count 0: over all ----------------------------------------
 * keepdim leaves the dims with extent 1. Over no elements: sum 0, mean NaN, max an error. */

#define AG_DIMS(...) (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)), (const int[]){__VA_ARGS__}
#define AG_ALL_DIMS 0, NULL

ag_tensor *ag_sum(ag_tensor *x, int count, const int *dims, bool keepdim);
ag_tensor *ag_mean(ag_tensor *x, int count, const int *dims, bool keepdim);
ag_tensor *ag_max(ag_tensor *x, int count, const int *dims, bool keepdim); /* ties share the gradient equally */
/* sum (x - mean)^2 / max(0, n - correction), n the number of elements reduced: inf or NaN where that is 0. correction
 * 1: sample variance. */
ag_tensor *ag_var(ag_tensor *x, int count, const int *dims, double correction, bool keepdim);

/* ---- Products -------------------------------------------------------------------------------- */

/* [..,M,K] x [..,K,N] -> [..,M,N], leading dims broadcast. A 1-d operand is a vector: [K] x [..,K,N] -> [..,N],
 * [..,M,K] x [K] -> [..,M], [K] x [K] -> []. ga = gy b^T, gb = a^T gy. */
ag_tensor *ag_matmul(ag_tensor *a, ag_tensor *b);

/* y = x w^T + bias: x[..,in], w[out,in], bias[out] or NULL -> [..,out]. gx = gy w, gw = gy^T x,
 * gbias = column sums of gy. */
ag_tensor *ag_linear(ag_tensor *x, ag_tensor *w, ag_tensor *bias);

/* y[i] = residual + activation(x w^T + bias) of args[i], for `count` <= AG_LINEAR_LIST_MAX elements of one dtype. Bits
 * and tape are those of ag_linear, the activation and ag_add called one after the other. The products run side by side,
 * with activation or residual as their epilogues; for ag_gelu, ag_gelu_tanh and ag_silu the tape then keeps the slope
 * in place of x w^T + bias. When an observer (profile, anomalies) sees the tape, the ops run one after the other. False
 * on error; then every y[i] is NULL. */
#define AG_LINEAR_LIST_MAX 8
typedef struct ag_linear_args {
    ag_tensor *x, *w, *bias;                /* bias NULL: none */
    ag_tensor *(*activation)(ag_tensor *x); /* any function; NULL: none */
    ag_tensor *residual;                    /* [..,out], the shape of the result; NULL: none */
    const char *module; /* joins the module path of the linear's node and errors; NULL: nothing joins */
} ag_linear_args;
bool ag_linear_list(ag_ctx *ctx, int count, const ag_linear_args *args, ag_tensor **y);

/* ---- Softmax, normalisation, losses ---------------------------------------------------------- */

ag_tensor *ag_softmax(ag_tensor *x, int dim);     /* gx = y (gy - sum(gy y)); a slice of -inf only gives 0 */
ag_tensor *ag_log_softmax(ag_tensor *x, int dim); /* gx = gy - exp(y) sum(gy) */
ag_tensor *ag_logsumexp(ag_tensor *x, int dim, bool keepdim);

/* Over the last dim N: (x - mean) / sqrt(var + eps) w + b, var biased; w[N], b[N] may be NULL.
 * (Ba, Kiros, Hinton, "Layer normalization", 2016.) */
ag_tensor *ag_layer_norm(ag_tensor *x, ag_tensor *w, ag_tensor *b, double eps);

/* Over the last dim N: x / sqrt(mean(x^2) + eps) w; w[N] may be NULL. gx = r (g - xhat mean(g xhat)) with r the inverse
 * root, xhat = x r, g = gy w. (Zhang, Sennrich, "Root mean square layer normalization", 2019.) */
ag_tensor *ag_rms_norm(ag_tensor *x, ag_tensor *w, double eps);

/* Rows of table[V,C] by index (int32, any shape [..]) -> [..,C]. An index outside 0..V-1 is an error that names
 * position and value. Gradients of equal indices add. */
ag_tensor *ag_embedding(ag_tensor *table, ag_tensor *index);

typedef enum ag_reduction { AG_MEAN, AG_SUM } ag_reduction;
typedef struct ag_cross_entropy_config {
    ag_reduction reduction; /* AG_MEAN: over the targets that are not ignored */
    double label_smoothing; /* s in [0, 1]: (1-s) of the weight on the target, s/V on every class */
    bool ignore;            /* whether there is an ignored target value: */
    int32_t ignore_index;
} ag_cross_entropy_config;

/* -log softmax(logits)[target], nats. logits[..,V], target[..] int32 -> scalar. When every target is ignored
 * the loss is 0 with zero gradients. ag_cross_entropy: with the zero config. */
ag_tensor *ag_cross_entropy(ag_tensor *logits, ag_tensor *target);
ag_tensor *ag_cross_entropy_with(ag_tensor *logits, ag_tensor *target, ag_cross_entropy_config config);

ag_tensor *ag_mse(ag_tensor *x, ag_tensor *target); /* mean (x - target)^2; equal shapes */

/* ---- Scaled dot-product attention ---------------------------------------------------------------
 *     U = scale Q K^T   S = soft_cap tanh(U / soft_cap) + bias + relative where allowed, else -inf
 *     P = softmax(S)    O = dropout(P) V
 * per batch entry and head. Forward and backward take memory O(T): no Tq x Tk matrix is made, and tiles that the mask
 * forbids are not computed. The gradients' formulas are in tensor/kernels/kernels.h and docs/attention.md. */

typedef struct ag_sdpa_config {
    ag_mask mask;
    double scale;        /* 0: 1 / sqrt(D) */
    double soft_cap;     /* 0: none (Gemma 2, 2024) */
    double dropout;      /* of the weights, as ag_dropout */
    ag_tensor *bias;     /* broadcasts to [B,H,Tq,Tk]; gets a gradient. NULL: none */
    ag_tensor *relative; /* [H,2R+1] or [1,2R+1]: relative[h, clamp(j - p, -R, R) + R]; gets a gradient. NULL: none */
    ag_tensor **lse;     /* not NULL: gets the log-sum-exp of the rows of S, [B,H,Tq], scope-owned */
} ag_sdpa_config;

/* q[B,H,Tq,D], k[B,Hk,Tk,D], v[B,Hk,Tk,Dv] -> [B,H,Tq,Dv]. Hk divides H: query head h reads key head h / (H / Hk)
 * (grouped queries; Hk = 1: multi-query). */
ag_tensor *ag_sdpa(ag_tensor *q, ag_tensor *k, ag_tensor *v, ag_sdpa_config config);

/* ---- Writing an op ------------------------------------------------------------------------------
 * docs/adding-an-op.md shows one whole. The forward function computes y and calls ag_record. Backward calls vjp with gy
 * and accumulates its contributions. */

typedef struct ag_vjp ag_vjp;

enum { /* what the tape keeps until it ends */
    AG_KEEP_NONE = 0,
    AG_KEEP_INPUT = 1, /* AG_KEEP_INPUT << i: input i */
    AG_KEEP_OUTPUT = 1 << 16,
    AG_KEEP_INPUTS = 1 << 17 /* all inputs */
};

typedef struct ag_op {
    const char *name;
    int arity;     /* number of inputs; -1: any */
    unsigned keep; /* AG_KEEP_... or-ed */
    void (*vjp)(ag_vjp *v);
    bool list; /* one call of vjp takes several nodes, linked by ag_vjp.next */
    /* The multiply-adds that a profile counts: of the forward pass (wanted 0), or of the vjp (bit i of wanted: the
     * gradient of input i, i < 64, is wanted). Arguments as given to ag_record. NaN: not known. NULL: always 0. */
    double (*work)(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted);
} ag_op;

/* Every op of autograd/, from ops.def, in its order. */
extern const ag_op *const ag_ops[];
extern const int ag_op_count;

/* Records that y = op(input[count]) when a tape runs and an input needs a gradient. Copies attr[attr_size], the op's
 * parameters. `extra` (may be NULL) is one more tensor to keep. Returns y; NULL on error. */
ag_tensor *ag_record(const ag_op *op, ag_tensor *y, ag_tensor *const *input, int count, const void *attr,
                     size_t attr_size, ag_tensor *extra);

/* What a vjp sees. It may use any op: nothing is recorded while backward runs. It must not write into gy (but see
 * ag_vjp_over) nor into a kept tensor. */
struct ag_vjp {
    ag_ctx *ctx;
    ag_tensor *gy;        /* gradient of the result, in its shape and dtype; a view with any strides */
    int input_count;
    ag_tensor **input;    /* NULL where the op does not keep it */
    ag_tensor *output;    /* NULL unless kept */
    ag_tensor *extra;
    const void *attr;
    ag_tape *tape;        /* for the functions below, as is node */
    int64_t node;
    ag_vjp *next; /* where ag_op.list: one more node of the same op and dtype to do in this call; NULL: none */
};

bool ag_vjp_wants(const ag_vjp *v, int input); /* false: a contribution is ignored */
int ag_vjp_ndim(const ag_vjp *v, int input);   /* shape of an input that ag_vjp_wants, kept or not */
const int64_t *ag_vjp_shape(const ag_vjp *v, int input);

/* A vjp contributes to the gradient of an input in one of two ways.
 *
 * It gives a tensor g, of the input's dtype and of its shape or one that the input was broadcast to: the broadcast dims
 * are summed. NULL, after an error, is ignored. */
void ag_vjp_add(ag_vjp *v, int input, ag_tensor *g);

/* Or it writes into the memory of the gradient, dense and of the input's shape. *add true: it holds the sum so far, to
 * be added into; false: not initialised, to be overwritten. With add NULL it holds the sum so far, or zeros: for a
 * contribution to some of the elements. Returns NULL when the input needs no gradient, or on error. */
ag_tensor *ag_vjp_target(ag_vjp *v, int input, bool *add);

/* Memory for a g that is made from gy element by element and then goes to ag_vjp_add; gy is v's, or a dense copy of it.
 * Returns gy, to be overwritten, when gy has no other reader; otherwise a new tensor. NULL: an error. */
ag_tensor *ag_vjp_over(ag_vjp *v, ag_tensor *gy);

#ifdef __cplusplus
}
#endif

#endif
