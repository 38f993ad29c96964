/* SPDX-License-Identifier: MIT
 *
 * locate_impl.h - what replay.c and locate.c share (private header).
 */
#ifndef AG_LOCATE_IMPL_H
#define AG_LOCATE_IMPL_H

#include "autograd/gradcheck/gradcheck_impl.h"
#include "autograd/tape_impl.h"

enum { AG_LOCATE_LEVELS = 6 }; /* steps 2^-8, 2^-11, ..., 2^-23 */

/* A node of the recorded tape, with what was seen of it. A direction u has its value's shape; g is a contribution to a
 * gradient, gy the gradient that arrived. */
typedef struct ag_seen {
    ag_tensor *value, *direction;        /* dense */
    ag_tensor *gy;                       /* with the strides that it had; NULL: none arrived */
    int64_t stride[AG_MAX_DIMS];         /* the value's, but each element by itself */
    const double *moved;                 /* stands for the value in replays, unless NULL */
    bool fixed;                          /* can not be moved: not float64, or a leaf made anew in each run */
    int alias;                           /* an input that is a detached view of another; -1: none is */
    double arrived;                      /* gy . u */
    double expected, size;               /* the sums over its uses of g . u, and of g . g */
    /* of the op that made it */
    bool suspect;                        /* failed when all its inputs were moved */
    double analytic, norm;               /* the sum over the inputs that are moved of g . u, and how large g is */
    double change;                       /* gy . (y - value) in the last replay */
    ag_tensor *above;                    /* y in the last replay upwards, where it was kept */
    double bend;                         /* |gy| . |above - 2 value + y| in the last replay, where that was */
    double slope[AG_LOCATE_LEVELS];      /* central differences */
    double gap;                          /* by how much the one-sided ones differ at the finest step */
    int levels;
} ag_seen;

/* An input of the function, over all its outputs. */
typedef struct ag_leaf_sum {
    bool used;
    double stored;  /* the gradient under check . u */
    double arrived; /* what arrived . u */
    double unseen;  /* the same when nobody looked, and vjps that can took several nodes in one call */
    double norm;
    int only; /* the output whose part alone was stored; -1: none */
} ag_leaf_sum;

typedef struct ag_locator {
    ag_observer observer; /* the first member: what observes is cast back to the locator */
    ag_check *check;
    ag_ctx *ctx;
    const ag_tensor_function *f;
    ag_tensor **output;
    ag_leaf_sum *leaf; /* per input of the function */
    int64_t runs;      /* of the function, so far */

    ag_tape *tape; /* the recorded one */
    ag_seen *node;
    int64_t count, capacity;
    double *product, *square; /* per edge: g . u, g . g */
    int64_t visited;          /* the node that backward is at */

    double step;    /* of the running replay; */
    int64_t moved;  /* the one node that is moved; -1: all; */
    int64_t wanted; /* the node whose result goes to wanted_y; -1: none; */
    double *wanted_y;
    bool bends;     /* results are kept, or compared with those kept */
    bool same;      /* so far it has recorded the same ops */

    int64_t unrecorded; /* an op that depends on more than its recorded inputs; -1: none was found */
    int64_t undecided;  /* ops at a kink, or not finite */
    bool differs;       /* a replay with nothing moved recorded other ops */
} ag_locator;

/* |a - b| <= rtol max(|a|, |b|, size), both finite. */
bool ag_locator_is_close(const ag_locator *l, double a, double b, double size);

/* The sum of a b; float64, of one shape. */
double ag_locator_dot(const ag_tensor *a, const ag_tensor *b);

/* Memory that goes with the innermost scope, all zeros; NULL on error. */
void *ag_locator_memory(ag_ctx *ctx, int64_t count, size_t element);

/* Runs the function on the running tape and backward from one output. False: nothing to look at, or an error. */
bool ag_locator_record(ag_locator *l, int output);

/* Runs the function again with every value, or (moved >= 0) that of one node, moved by `step` along its direction.
 * False: an error, or it recorded other ops. */
bool ag_locator_replay(ag_locator *l, double step, int64_t moved);

#endif
