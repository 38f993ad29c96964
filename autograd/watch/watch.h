/* SPDX-License-Identifier: MIT
 *
 * watch.h - looking at a tape: its nodes, anomalies, gradients of chosen tensors, a profile of time; at masks and the
 * weights of attention (annex of autograd/).
 */
#ifndef AG_WATCH_H
#define AG_WATCH_H

#include "autograd/autograd.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Looking at a tape --------------------------------------------------------------------------
 * Nodes are numbered from 0 in the order of recording. Leaves are nodes too; their op is "leaf". */

/* op, path and name live as long as the context. input and shape point into the tape: they are valid until another op
 * is recorded or the tape ends. */
typedef struct ag_node_view {
    const char *op;       /* "matmul" */
    const char *path;     /* module path, "" outside every module */
    const char *name;     /* of a leaf given to ag_set_name, such as a parameter; else NULL */
    int input_count;
    const int64_t *input; /* [input_count] node numbers; -1: an input that needs no gradient */
    ag_dtype dtype;
    int ndim;
    const int64_t *shape; /* [ndim], of the result */
    double grad_norm;     /* 2-norm of the result's gradient in the last backward; NaN: none, or not measured */
} ag_node_view;

int64_t ag_tape_size(const ag_tape *tape);                    /* number of nodes */
ag_node_view ag_tape_node(const ag_tape *tape, int64_t node); /* 0 <= node < size; else op and path are "" */

/* The number of t's node on the tape, counted in the order of recording from 0; -1: t has no node there. */
int64_t ag_node_of(const ag_tape *tape, const ag_tensor *t);

/* From now on backward measures grad_norm of every node: one more pass over each gradient. */
void ag_tape_measure_grads(ag_tape *tape);

/* From now on the first NaN or infinity in a recorded result, or in a gradient during backward, is the error
 * AG_ERR_NUMBER. The message names the op, the module path, what each input holds (least and largest value, number of
 * values that are not finite) and the leaf that the largest values came from. The -inf of a mask made with
 * ag_masked_fill is such an error too. Tensors that need no gradient are not checked. Costs one more pass over each
 * result and two over each gradient; changes no bits. */
void ag_tape_detect_anomalies(ag_tape *tape);

/* Writes the tape as a Graphviz DOT graph: one node n0, n1, ... per tape node with op, shape and gradient norm, in
 * clusters nested by module path. */
ag_status ag_tape_dot(const ag_tape *tape, FILE *file);

/* ---- Gradients of chosen tensors ------------------------------------------------------------------- */

/* The gradient of sum(cotangent output) with respect to each of wrt[count], leaves or recorded tensors, into
 * grad[count]: scope-owned; NULL where the output does not depend on it. Accumulated and retained gradients stay as
 * they are; hooks run. cotangent NULL: 1, for an output of one element. On error grad is all NULL. */
ag_status ag_gradient(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent, ag_tensor *const *wrt, int count,
                      ag_tensor **grad);

/* ---- Profile: where the time goes ------------------------------------------------------------------
 *     ag_profile *profile = ag_profile_new(ctx, seconds);
 *     each step:  tape = ag_tape_begin(ctx);   ag_profile_tape(profile, tape);   forward, ag_backward, ag_tape_end
 *                 ag_optimizer_step(...);      ag_profile_note(profile, "optimizer");
 *     ag_profile_print(profile, stdout);
 *
 * The profile reads the clock at each event and adds the time since the last event to one row. So the rows add up to
 * the whole time. The events are:
 *     an op is recorded          the time before it is its forward time, unrecorded work before it included
 *     backward reaches a node    the time until the next node, or the end of backward, is its backward time
 *     ag_profile_note            the time before it goes to the row of that name
 *     ag_profile_tape, and the first node of backward    the time before it goes to the row "other"
 * Costs two readings of the clock per node, and memory when a row is new; changes no bits. */

typedef struct ag_profile ag_profile;

/* Returns seconds since any fixed moment; never decreases. The caller gives it, because ISO C has no such clock. */
typedef double ag_clock_fn(void);

/* Starts measuring. Free it before the context; a tape that it observes then goes on unobserved. */
AG_OWNED ag_profile *ag_profile_new(ag_ctx *ctx, ag_clock_fn *clock);
void ag_profile_free(AG_TAKES ag_profile *p);

/* From now on observes this tape. Any number of tapes may follow one another. A tape has one observer: AG_ERR_STATE
 * when another profile or ag_tape_detect_anomalies observes it; ag_tape_detect_anomalies refuses a profiled tape. */
ag_status ag_profile_tape(ag_profile *p, ag_tape *tape);

/* Adds the time since the last event to the row of this name: "optimizer", "batch". The text is copied. */
void ag_profile_note(ag_profile *p, const char *what);

/* Times in seconds, over all tapes. op and path live as long as the context. */
typedef struct ag_profile_row {
    const char *op;       /* "linear"; or the name of a note */
    const char *path;     /* module path, "" outside every module; NULL: a note */
    int64_t calls;        /* number of times recorded, or noted; 0 for leaves */
    double forward;       /* of a note: all its time */
    double backward;
    double again;         /* forward work that backward repeats, in ag_recompute */
    double multiply_adds; /* in forward, backward and again, as ag_op.work counts them; 0 without it. linear and matmul:
                             one product in forward, one per input that needs a gradient in the vjp. sdpa: D + Dv per
                             allowed pair, twice that in its vjp; NaN for a mask whose pairs are not counted (stride,
                             global, tensors). A node recorded before ag_profile_tape counts nothing in its vjp. */
} ag_profile_row;

int64_t ag_profile_size(const ag_profile *p); /* rows: one per op and module path, in order of appearance */
ag_profile_row ag_profile_at(const ag_profile *p, int64_t row); /* 0 <= row < size; else op is NULL */
int64_t ag_profile_tapes(const ag_profile *p);  /* number of tapes given to ag_profile_tape */
double ag_profile_seconds(const ag_profile *p); /* from ag_profile_new to the last event */

/* Writes text of at most 100 columns, times per tape: by op with GFLOP/s (2 flops per multiply-add), then by module
 * path. Paths that differ in a number (blocks.0 .. blocks.5) are one line. */
ag_status ag_profile_print(const ag_profile *p, FILE *file);

/* ---- What a mask allows --------------------------------------------------------------------------- */

/* Whether a pair of batch entry 0 and head 0 is allowed. The mask is not checked: it must fit these sizes, and its
 * tensors must be contiguous. */
bool ag_mask_allowed(ag_mask mask, int64_t Tq, int64_t Tk, int64_t query, int64_t key);

/* All pairs, 1: allowed, 0: forbidden; int32 [B,H,Tq,Tk]. A mask that does not fit these sizes is an error. */
ag_tensor *ag_mask_tensor(ag_ctx *ctx, ag_mask mask, int64_t B, int64_t H, int64_t Tq, int64_t Tk);

/* Pictures, of batch entry 0 and head 0. AG_ERR_FILE when writing fails; AG_ERR_ARGUMENT when the mask does not fit Tq
 * and Tk: a mask with tensors leaves the message on their context.
 * Text: one line per query, one character per key, '#' where the key is allowed, '.' where not. */
ag_status ag_mask_fprint(FILE *file, ag_mask mask, int64_t Tq, int64_t Tk);
/* An SVG picture: queries downwards, keys to the right, `title` (UTF-8; NULL: none) above. */
ag_status ag_mask_svg(FILE *file, ag_mask mask, int64_t Tq, int64_t Tk, const char *title);

/* ---- The weights of attention ---------------------------------------------------------------------- */

/* P[B,H,Tq,Tk] of ag_sdpa, recorded: gradients go to q, k, bias and relative. Before dropout; exact zeros where
 * not allowed. dropout and lse of the config are ignored. A composition of plain ops, with memory O(Tq Tk). q and k
 * must be finite: a NaN in a key that is not allowed reaches the gradient of q. */
ag_tensor *ag_attention_weights(ag_tensor *q, ag_tensor *k, ag_sdpa_config config);

/* A choice of query heads and of queries, in this order; NULL: all. */
typedef struct ag_weights_of {
    const int64_t *heads;
    int64_t head_count;
    const int64_t *rows;
    int64_t row_count;
} ag_weights_of;

/* The same weights from the lse that ag_sdpa gave, [B,heads,rows,Tk] as chosen, for looking at: not recorded. For
 * gradients call ag_attention_weights. */
ag_tensor *ag_sdpa_weights(ag_tensor *q, ag_tensor *k, ag_tensor *lse, ag_sdpa_config config, ag_weights_of which);

#ifdef __cplusplus
}
#endif

#endif
