/* SPDX-License-Identifier: MIT
 *
 * tape_impl.h - the recorded tape, for autograd/ alone (private header).
 *
 * Nodes stand in the order of recording, which is topological: the node of an input comes before the nodes that use it.
 * A node has a fixed size: its edges (one per input) and its attributes lie in arrays of their own.
 */
#ifndef AG_TAPE_IMPL_H
#define AG_TAPE_IMPL_H

#include "autograd/autograd.h"
#include "tensor/tensor_impl.h"

enum {
    AG_KEEP_MAX = 16,                  /* inputs that AG_KEEP_INPUT << i can name */
    AG_SIDE_BY_SIDE = AG_LINEAR_LIST_MAX /* nodes in one call of a vjp, at the most */
};

typedef struct ag_node {
    const ag_op *op;
    const char *path;
    ag_tensor *held; /* retained: a leaf, or a tensor with a hook or a retained gradient; else NULL */
    ag_tensor *grad; /* during backward: the gradient so far */
    ag_tensor *output, *extra;              /* kept for its vjp; NULL: none */
    uint64_t output_version, extra_version; /* of their storages, when the node was recorded */
    int64_t first_edge, attr; /* where its edges and its attributes begin */
    int64_t shape[AG_MAX_DIMS];
    double grad_norm;
    int input_count, ndim;
    ag_dtype dtype;
    bool stays;  /* its gradient is a result of the present backward */
    bool listed; /* a mark for whoever lists nodes; false otherwise */
} ag_node;

/* The end of the tape while nodes are recorded that will be cut off again: recompute/recompute.c makes segments. Its
 * tensors carry a serial number of their own, so that one that outlives the segment is not taken for a later node of
 * the same number. */
typedef struct ag_segment {
    struct ag_segment *around; /* NULL: none */
    uint64_t serial;
    int64_t first_node;
    bool keeps_outer; /* its nodes keep every leaf, and every input from before the segment */
} ag_segment;

/* Observes a tape while it records and while backward walks it: the search for anomalies, the profile, the gradient
 * checker. Any function may be NULL. Errors go to the context. Under an observer ops and vjps run one by one; all bits
 * are the same. */
typedef struct ag_observer ag_observer;
struct ag_observer {
    /* A node with result y is recorded. The tensor returned takes y's place; NULL after an error. */
    ag_tensor *(*recorded)(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *y, ag_tensor *const *input);
    /* The gradient of a node's result is complete; its hook has run, its vjp has not. */
    void (*arrived)(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *gy);
    /* A node's vjp has added to the gradients of its inputs. Not called on error. */
    void (*visited)(ag_observer *o, ag_tape *tape, int64_t node);
    /* Backward has come to its last node, or stopped at an error. */
    void (*walked)(ag_observer *o, ag_tape *tape);
    /* The tape ends. Frees the observer, unless it has another owner. */
    void (*end)(ag_observer *o);
};

struct ag_tape {
    ag_recorder recorder;
    ag_ctx *ctx;
    uint64_t serial;
    int64_t depth; /* of the scopes around the tape */
    bool paused;   /* while backward runs */
    bool measure_grads;
    ag_observer *observer; /* borrowed; NULL: none */
    ag_segment *segment;   /* the innermost one; NULL: none */
    ag_node *nodes;
    int64_t node_count, node_capacity;
    int64_t *edges; /* per input of a node, the number of the node it comes from; -1: it needs no gradient */
    ag_tensor **kept; /* per edge, that input if the node keeps it for its vjp, else NULL; and its version: */
    uint64_t *versions;
    int64_t edge_count, edge_capacity, kept_capacity, version_capacity;
    int64_t *attrs; /* in units of 8 bytes, so that every attribute is aligned */
    int64_t attr_count, attr_capacity;
};

/* What autograd attaches to a tensor. */
typedef struct ag_grad_state {
    ag_attachment attachment;
    bool leaf, retain;
    ag_tensor *grad;
    ag_hook_fn *hook;
    void *hook_user;
    const char *name; /* interned */
} ag_grad_state;

/* ---- tape.c ---- */

ag_tape *ag_running_tape(const ag_ctx *ctx); /* NULL: none */

/* Whether t has a node on the tape: t->node. */
bool ag_tape_knows(const ag_tape *tape, const ag_tensor *t);

/* Releases what a node keeps for its vjp. */
void ag_node_forget(ag_tape *tape, int64_t node);

/* Removes the nodes from `first` on. */
void ag_tape_cut(ag_tape *tape, int64_t first);

extern const ag_op ag_op_leaf;

/* ---- leaf.c ---- */

ag_grad_state *ag_grad_state_of(const ag_tensor *t); /* NULL: none */

/* ---- backward.c: ag_backward in parts ---- */

/* The context's error, or a new one when the call makes no sense. AG_OK: backward can run. */
ag_status ag_backward_check(const ag_tape *tape, const ag_tensor *output, const char *where);

/* Walks from the output, and leaves the gradients of the nodes that are marked `stays` in them, each complete. */
void ag_backward_walk(ag_tape *tape, const ag_tensor *output, const ag_tensor *cotangent, const char *where);

/* Releases the gradients of the nodes up to `last`. */
void ag_backward_drop(ag_tape *tape, int64_t last);

/* Visits the nodes from `last` down to `first` that have a gradient; `last` gets gy. Stops at an error. */
void ag_walk(ag_tape *tape, int64_t last, int64_t first, ag_tensor *gy);

/* ---- vjp.c ---- */

/* Runs the vjp of `count` nodes that stand side by side, each with its gradient in it. Contributions are added to the
 * gradients of the inputs' nodes. The vjp sees the tape's own arrays of inputs and attributes; one that records, which
 * is recompute's, copies them first. */
void ag_run_vjp(ag_tape *tape, int count, const int64_t *number);

/* g has one owner and no other view, is contiguous and begins where its storage does: it may be written into. */
bool ag_is_private(const ag_tensor *g);

/* Makes g (may be NULL) the node's gradient. */
void ag_node_set_grad(ag_node *node, ag_tensor *g);

#endif
