/* SPDX-License-Identifier: MIT
 *
 * locate_impl.h - the interface between replay.c and locate.c (private header).
 */
#ifndef AG_LOCATE_IMPL_H
#define AG_LOCATE_IMPL_H

#include "autograd/gradcheck/gradcheck_impl.h"
#include "autograd/watch/node_vjp.h"
#include "autograd/watch/watch.h"

enum { AG_LOCATE_LEVELS = 6 }; /* steps 2^-8, 2^-11, ..., 2^-23 */

/* Observations of one node of the recorded tape. u is a random direction of the value's shape, g a contribution to the
 * node's gradient, gy that gradient when backward reaches the node. */
typedef struct ag_seen {
    ag_tensor *value, *direction;        /* dense */
    ag_tensor *gy;                       /* with its strides; NULL: none arrived */
    int64_t stride[AG_MAX_DIMS];         /* the value's, changed so that no two elements share memory */
    const double *moved;                 /* replaces the value in replays; NULL: the value */
    bool fixed;                          /* can not be moved: not float64, or a leaf that is new in each run or whose
                                            elements share memory */
    int alias;                           /* an input that is a detached view of another input; -1: none */
    double arrived;                      /* gy . u */
    double expected, size;               /* over all uses: the sum of g . u, and of g . g */
    /* The op that made the node: */
    bool suspect;                        /* failed when all its inputs moved */
    double analytic, norm;               /* over the moved inputs: the sum of g . u; the norm of all g */
    double change;                       /* gy . (y - value) in the last replay */
    ag_tensor *above;                    /* y in the last replay with a positive step; NULL: not kept */
    double bend;                         /* |gy| . |above - 2 value + y| in the last replay with a negative step */
    double slope[AG_LOCATE_LEVELS];      /* central differences */
    double gap;                          /* difference of the one-sided derivatives at the finest step */
    int levels;
} ag_seen;

/* An input of the function, over all its outputs. */
typedef struct ag_leaf_sum {
    bool used;
    double stored;  /* u . the gradient under check */
    double arrived; /* u . the gradient in the observed run */
    double unseen;  /* u . the gradient in a run without observer, where a vjp may take several nodes in one call */
    double norm;
    int only; /* the output whose part alone is stored; -1: none */
} ag_leaf_sum;

typedef struct ag_locator {
    ag_observer observer; /* the first member, so that an observer converts back to the locator */
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

    double step;    /* of the running replay */
    int64_t moved;  /* the node that is moved; -1: all */
    int64_t wanted; /* the node whose result goes to wanted_y; -1: none */
    double *wanted_y;
    bool bends;     /* above and bend are measured */
    bool same;      /* the replay has recorded the same ops so far */

    int64_t unrecorded; /* an op whose result depends on more than its recorded inputs; -1: none was found */
    int64_t undecided;  /* number of inconclusive ops */
    bool differs;       /* a replay without any step recorded other ops */
} ag_locator;

/* |a - b| <= rtol max(|a|, |b|, size), both finite. */
bool ag_locator_is_close(const ag_locator *l, double a, double b, double size);

/* The sum of a b; float64, of one shape. */
double ag_locator_dot(const ag_tensor *a, const ag_tensor *b);

/* Runs the function on the running tape, and backward from one output. False: no gradient passes, or an error. */
bool ag_locator_record(ag_locator *l, int output);

/* Runs the function again with every value, or (moved >= 0) that of one node, moved by step u. False: an error, or
 * other ops were recorded. */
bool ag_locator_replay(ag_locator *l, double step, int64_t moved);

#endif
