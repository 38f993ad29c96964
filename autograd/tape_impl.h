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
    bool chosen; /* ag_gradient wants its gradient */
    bool listed; /* in the list that recompute.c is making */
} ag_node;

/* The end of the tape while ag_recompute runs its function: it goes again. Its tensors are known by a serial number of
 * their own, so that one that outlives it is not taken for a node that later stands in its place. */
typedef struct ag_segment {
    struct ag_segment *around; /* NULL: none */
    uint64_t serial;
    int64_t first_node, first_edge, first_attr;
    bool keeps_outer; /* its nodes keep every tensor that they use of what was there before, and every leaf */
} ag_segment;

/* Who watches a tape while it records and while backward walks it: the search for anomalies, the profile, the
 * gradient checker. Any function may be NULL. Errors go to the context. */
typedef struct ag_observer ag_observer;
struct ag_observer {
    /* A node stands, whose result is y. What is returned takes y's place; NULL after an error. */
    ag_tensor *(*recorded)(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *y, ag_tensor *const *input);
    /* The gradient of a node's result is complete; its hook has run, its vjp has not. */
    void (*arrived)(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *gy);
    /* The vjp of a node adds g, in the shape of that input, to the gradient of an input. */
    void (*contributed)(ag_observer *o, ag_tape *tape, int64_t node, int input, ag_tensor *g);
    /* Backward has come to its last node, or stopped at an error. */
    void (*walked)(ag_observer *o, ag_tape *tape);
    /* The tape goes; the observer with it, unless somebody else owns it. */
    void (*end)(ag_observer *o);
    /* Where a vjp adds to a gradient in place, contributed sees the sum so far, and all bits are as if nobody looked.
     * Else it sees what was added, which is summed apart first. */
    bool in_place;
};

struct ag_tape {
    ag_recorder recorder;
    ag_ctx *ctx;
    uint64_t serial;
    int64_t depth; /* of the scopes around the tape */
    bool paused;   /* while backward runs */
    bool choosing; /* while ag_gradient does: the gradients of chosen nodes stay, and no others */
    bool measure_grads;
    ag_observer *observer; /* borrowed; NULL: none */
    ag_segment *segment;   /* the innermost one; NULL: none */
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

/* The tape that runs on the context; NULL: none. */
ag_tape *ag_running_tape(const ag_ctx *ctx);

/* Whether t has a node on the tape: t->node. */
bool ag_tape_knows(const ag_tape *tape, const ag_tensor *t);

/* Begins a segment, and ends the innermost one: its nodes go. */
void ag_segment_begin(ag_tape *tape, ag_segment *segment, bool keeps_outer);
void ag_segment_end(ag_tape *tape);

/* Lets go of what a node keeps for its vjp. */
void ag_node_forget(ag_tape *tape, int64_t node);

/* Visits the nodes `last` down to `first`, each that has a gradient; `last` gets gy. Stops at an error. */
void ag_walk(ag_tape *tape, int64_t last, int64_t first, ag_tensor *gy);

/* Runs the vjp of one node alone, for any gradient of its result. contribution[i] gets what it gives to input i, for
 * the caller to release; NULL: nothing. Of inputs that are one node the first gets the sum. On error all are NULL. */
bool ag_node_vjp(ag_tape *tape, int64_t node, ag_tensor *gy, ag_tensor **contribution);

/* NULL while there is none. */
ag_grad_state *ag_grad_state_of(const ag_tensor *t);

extern const ag_op ag_op_leaf, ag_op_recompute;

#endif
