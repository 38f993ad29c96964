/* SPDX-License-Identifier: MIT
 *
 * watch.h - looking at a tape: its nodes, anomalies, the time they take; pictures of masks (annex of autograd/).
 */
#ifndef AG_WATCH_H
#define AG_WATCH_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Looking at a tape --------------------------------------------------------------------------
 * Nodes are numbered in the order of recording; leaves are nodes too, op "leaf". */

typedef struct ag_node_view {
    const char *op;       /* "matmul" */
    const char *path;     /* module path, "" outside every module */
    const char *name;     /* of a leaf that has one (a parameter's name in its module), else NULL */
    int input_count;
    const int64_t *input; /* node numbers; -1: an input without gradient */
    ag_dtype dtype;
    int ndim;
    const int64_t *shape; /* of the result */
    double grad_norm;     /* 2-norm of its gradient in the last backward; NaN: none, or not asked for */
} ag_node_view;

int64_t ag_tape_size(const ag_tape *tape);
ag_node_view ag_tape_node(const ag_tape *tape, int64_t node); /* node in 0 .. size-1 */

/* From now on backward measures grad_norm of every node, at the cost of a pass over each gradient. */
void ag_tape_measure_grads(ag_tape *tape);

/* From now on the first NaN or infinity in a recorded result, or in a gradient during backward, is an error that
 * names the op, the module path, what its inputs hold (least, largest, how many are not finite) and the leaf that the
 * largest values came from. So is the -inf of a mask that is made with ag_masked_fill. Tensors that need no gradient
 * are not looked at. Costs a pass over each result, and two over each gradient; changes no bits. */
void ag_tape_detect_anomalies(ag_tape *tape);

/* Writes the tape as Graphviz DOT: nested clusters by module path, node ids n0, n1, ..., op, shape, gradient norm. */
ag_status ag_tape_dot(const ag_tape *tape, FILE *file);

/* ---- Where the time goes -------------------------------------------------------------------------
 *     ag_profile *profile = ag_profile_new(ctx, seconds);
 *     each step:  tape = ag_tape_begin(ctx);   ag_profile_tape(profile, tape);   forward, ag_backward, ag_tape_end
 *                 ag_optimizer_step(...);      ag_profile_note(profile, "optimizer");
 *     ag_profile_print(profile, stdout);
 *
 * The clock is read at each event, and the time since the last event goes to one row, so that the rows add up to the
 * whole. Events are: an op is recorded (the time before it is its forward time: that of the op itself, and of what runs
 * between ops and is not recorded); backward comes to a node (the time up to the next node, or to the end of the walk,
 * is its backward time); a note. What no event accounts for is in the row "other": from the last op to the first node
 * of backward, and whatever lies before ag_profile_tape without a note. Costs two readings of the clock per node, and
 * memory when a new row appears; changes no bits. */

typedef struct ag_profile ag_profile;

/* Seconds from any fixed moment, never falling. ISO C has no clock that the library could use. */
typedef double ag_clock_fn(void);

/* The whole begins here. To be freed before the context; a tape that it watches goes on without it. */
AG_OWNED ag_profile *ag_profile_new(ag_ctx *ctx, ag_clock_fn *clock);
void ag_profile_free(AG_TAKES ag_profile *p);

/* From now on the times of this tape are added: of any number of tapes, one after the other. A tape has one observer:
 * an error when another profile has it, or ag_tape_detect_anomalies, which is refused in turn once a profile has. */
ag_status ag_profile_tape(ag_profile *p, ag_tape *tape);

/* The time since the last event goes to a row of this name: "optimizer", "batch". The text is copied. */
void ag_profile_note(ag_profile *p, const char *what);

typedef struct ag_profile_row {
    const char *op;       /* "linear"; of a note its name */
    const char *path;     /* module path, "" outside every module; NULL: a note */
    int64_t calls;        /* how often recorded, or noted; of leaves 0 */
    double forward;       /* seconds; of a note all its time */
    double backward;
    double again;         /* of ops that backward computes again, in ag_recompute */
    double multiply_adds; /* of linear, matmul and sdpa, in all three; else 0. The vjp of a product is one product per
                             input that wants a gradient. sdpa: D + Dv per pair that the mask allows, twice that in its
                             vjp; NaN for a mask whose pairs are not counted (stride, global, tensors) */
} ag_profile_row;

int64_t ag_profile_size(const ag_profile *p); /* rows: one per op and module path, in order of appearance */
ag_profile_row ag_profile_at(const ag_profile *p, int64_t row);
int64_t ag_profile_tapes(const ag_profile *p);  /* how many were given to ag_profile_tape */
double ag_profile_seconds(const ag_profile *p); /* the whole: from ag_profile_new to the last event */

/* Text of at most 100 columns, per tape: by op with GFLOP/s (two per multiply-add), then by module path, modules that
 * differ in a number (blocks.0 .. blocks.5) taken together. */
ag_status ag_profile_print(const ag_profile *p, FILE *file);

/* ---- Pictures of a mask ---------------------------------------------------------------------- */

/* Of batch entry 0 and head 0. One line per query, one character per key: '#' allowed, '.' not. AG_ERR_FILE when it
 * can not be written; AG_ERR_ARGUMENT when the mask does not fit, with the message on the context of its tensors. */
ag_status ag_mask_fprint(FILE *file, ag_mask mask, int64_t Tq, int64_t Tk);
/* The same as an SVG picture, `title` above it (UTF-8; NULL: none): queries downwards, keys to the right. */
ag_status ag_mask_svg(FILE *file, ag_mask mask, int64_t Tq, int64_t Tk, const char *title);

#ifdef __cplusplus
}
#endif

#endif
