/* SPDX-License-Identifier: MIT
 *
 * tape_impl.h - the recorded tape, for autograd/ alone (private header).
 *
 * Nodes stand in recorded order, which is topological: every input's node comes before its user's. Edges (one
 * per input of a node) and attributes lie in arrays of their own, so a node has a fixed size.
 */
#ifndef AG_TAPE_IMPL_H
#define AG_TAPE_IMPL_H

#include "autograd/autograd.h"
#include "tensor/tensor_impl.h"

#define AG_KEEP_MAX 16 /* inputs that AG_KEEP_INPUT << i can name */

/* A tensor that a node keeps for its vjp, and its storage's version when it was recorded. */
typedef struct ag_kept {
    ag_tensor *tensor;
    uint64_t version;
} ag_kept;

typedef struct ag_node {
    const ag_op *op;
    const char *path;
    ag_tensor *watched; /* retained: a leaf, or a tensor with a hook or a retained gradient; else NULL */
    ag_tensor *grad;    /* during backward: the gradient so far */
    ag_kept output, extra;
    int64_t first_edge, attr; /* where its edges and its attributes begin */
    int64_t shape[AG_MAX_DIMS];
    double grad_norm;
    int input_count, ndim;
    ag_dtype dtype;
} ag_node;

struct ag_tape {
    ag_recorder recorder;
    ag_ctx *ctx;
    uint64_t serial;
    int64_t depth; /* of the scopes around the tape */
    bool paused;   /* while backward runs */
    bool measure_grads;
    ag_node *nodes;
    int64_t node_count, node_capacity;
    int64_t *edges; /* per input of a node, the number of the node it comes from; -1: it needs no gradient */
    ag_kept *kept;  /* and what its user keeps of it */
    int64_t edge_count, edge_capacity, kept_capacity;
    int64_t *attrs; /* in units of 8 bytes, so that every attribute is aligned */
    int64_t attr_count, attr_capacity;
};

/* What autograd hangs on a tensor. */
typedef struct ag_grad_state {
    ag_attachment attachment;
    bool leaf, retain;
    ag_tensor *grad;
    ag_hook_fn *hook;
    void *hook_user;
    const char *name; /* interned */
} ag_grad_state;

/* NULL while there is none. */
ag_grad_state *ag_grad_state_of(const ag_tensor *t);

extern const ag_op ag_op_leaf;

#endif
