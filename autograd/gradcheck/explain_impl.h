/* SPDX-License-Identifier: MIT
 *
 * explain_impl.h - the interfaces between the explain*.c (private header).
 */
#ifndef AG_EXPLAIN_IMPL_H
#define AG_EXPLAIN_IMPL_H

#include "autograd/gradcheck/gradcheck_impl.h"

/* One wrong gradient, and memory for the hypotheses. For an input too large to differentiate as a whole, analytic and
 * right are derivatives along n random directions. */
typedef struct ag_evidence {
    ag_check *check;
    const ag_check_input *input;
    int number; /* of the input */
    bool whole; /* false: directions */
    int ndim;
    const int64_t *shape;
    int64_t n;
    const double *analytic, *right; /* [n]; right is NaN where no derivative was accurate */
    double analytic_max, right_max; /* of the magnitudes */
    double tolerance;               /* a guess fits if it differs from analytic by at most this */
    double exact;                   /* relative rounding error of analytic */
    double *guess, *basis;          /* [n] */
    int64_t m;                      /* output elements */
    /* The Jacobians, [n][m]: entry i * m + j is that of output element j and element i. NULL: too large, or backward is
     * not linear in gy. */
    const double *right_entry;
    double *entry, *guess_entry;
    double entry_tolerance, entry_max;
    double *slope;                  /* [5][n or m, the larger] */
    int64_t *slope_at;              /* [m] */
    double *cotangent;              /* [output_numel] */
    double **grad;                  /* per input, for check->backward */
    double *memory;                 /* all these arrays */
    size_t memory_size;
    char operand_text[2][64];
    int operand_texts; /* the count so far */
    ag_explanation found;
} ag_evidence;

/* ---- explain.c: whether a guess fits ---- */

double ag_largest(const double *x, int64_t n); /* of the magnitudes */
/* Whether a and b differ by at most the tolerance everywhere. */
bool ag_are_near(const double *a, const double *b, int64_t n, double tolerance);
/* The s for which s b is closest to a, on count elements that are step apart and no NaN; 0: b is 0. */
double ag_factor_of(const double *a, const double *b, int64_t count, int64_t step);
/* Whether analytic is e->guess; or the right gradient for e->cotangent. */
bool ag_fits(const ag_evidence *e);
bool ag_fits_cotangent(ag_evidence *e);
/* Whether the analytic Jacobian is e->guess_entry. A guess of NaN is not compared. */
bool ag_fits_entries(const ag_evidence *e);
/* e->cotangent = the check's; or that with one output's part replaced by a number. */
void ag_set_cotangent(ag_evidence *e);
void ag_set_cotangent_of(ag_evidence *e, int output, double value);

/* ---- explain_rows.c ---- */

/* The rows of a gradient along one dim: `count` rows of `extent` elements, `step` apart in memory. */
typedef struct ag_rows {
    int64_t count, extent, step;
} ag_rows;
ag_rows ag_rows_along(const ag_evidence *e, int dim);
int64_t ag_row_start(const ag_rows *r, int64_t row);

/* Hypotheses. Each is true, with its cause and words in e->found, when it fits. */
bool ag_is_row_sum_missing(ag_evidence *e);
bool ag_is_moment_missing(ag_evidence *e);
bool ag_is_row_product_missing(ag_evidence *e);

/* ---- explain_order.c: hypotheses ---- */

bool ag_is_permuted(ag_evidence *e);
bool ag_is_part_of_sum(ag_evidence *e);
bool ag_is_swapped(ag_evidence *e);    /* two gradients exchanged */
bool ag_is_of_another(ag_evidence *e); /* one gradient that of another input */
bool ag_is_batch_mixed(ag_evidence *e);
bool ag_is_stride_ignored(ag_evidence *e);

/* e->cotangent = c, with 0 in output y wherever one of the dims (bits) is not at its first, or last, index. */
void ag_keep_slice(ag_evidence *e, const ag_check_output *y, unsigned dims, bool last);

/* ---- explain_part.c ---- */

bool ag_is_scaled_in_part(ag_evidence *e);
bool ag_is_scaled_by_row(ag_evidence *e);

/* ---- explain_point.c: right where an input is another ---- */

bool ag_is_right_elsewhere(ag_evidence *e);
bool ag_is_operand_part_lost(ag_evidence *e);
void ag_say_where_constant(ag_evidence *e);

/* ---- explain_entries.c: entries of the Jacobian lost, moved, or times a number of their row or column ---- */

bool ag_is_entry_lost(ag_evidence *e);
bool ag_is_entry_moved(ag_evidence *e);
bool ag_is_factor_of_operand(ag_evidence *e);
bool ag_is_factor_misplaced(ag_evidence *e);
bool ag_is_term_missing(ag_evidence *e);
/* Says through which outputs the gradient is wrong, if all others are right. */
void ag_say_wrong_entries(ag_evidence *e);

/* ---- explain_index.c: operands and gradients at another index ---- */

bool ag_is_index_wrong(ag_evidence *e);

/* ---- explain_slope.c: each output depends on one element ---- */

/* Each output element depends on at most one element of the input: at[j], or -1; a[j] and r[j] are the analytic and
 * the right slope. */
typedef struct ag_slopes {
    int64_t count;    /* outputs with at >= 0 */
    int64_t *at;      /* [m] */
    double *a, *r;    /* [m] */
} ag_slopes;
bool ag_find_slopes(ag_evidence *e, ag_slopes *s, bool wrong); /* wrong: of the wrong elements, such as one half */
bool ag_is_mask_drawn_again(ag_evidence *e);
bool ag_is_slope_of_another(ag_evidence *e);
bool ag_is_slope_off_by_factor(ag_evidence *e);

/* ---- explain_attention.c ---- */

bool ag_is_attention_wrong(ag_evidence *e);

/* ---- explain_norm.c: layer norm and RMS norm ---- */

bool ag_is_norm_weight_wrong(ag_evidence *e);
bool ag_is_norm_wrong(ag_evidence *e);

/* ---- explain_target.c: cross-entropy ---- */

bool ag_is_target_wrong(ag_evidence *e);

/* ---- explain_nothing.c ---- */

/* No fault fits: says where the error lies and what it is proportional to. */
void ag_explain_nothing(ag_evidence *e);

/* ---- explain_words.c ---- */

/* "input 1 (name)"; for the number of inputs "the output". The last two such texts are kept. */
const char *ag_operand_text(ag_evidence *e, int operand);

/* One element of the gradient. NOTHING: analytic and right are both 0, or right is NaN. */
typedef enum ag_mark { AG_MARK_NOTHING, AG_MARK_RIGHT, AG_MARK_WRONG } ag_mark;
ag_mark ag_evidence_mark(const ag_evidence *e, int64_t i);

/* Where the wrong elements lie. */
typedef struct ag_place {
    int64_t wrong, right; /* how many */
    int64_t tail;         /* > 0: of one dim, the indices before this one are right, the others wrong */
    int64_t tail_extent;  /* of that dim */
    char text[120];       /* "3 of 12 elements, those at index 2 of dim 0" */
} ag_place;
ag_place ag_evidence_place(const ag_evidence *e);

/* How far apart in memory neighbours along a dim are; dim -1: the number of elements. */
int64_t ag_step_of(int ndim, const int64_t *shape, int dim);

/* An element's index: "[1,2]". */
const char *ag_evidence_index(const ag_evidence *e, int64_t i);

/* Sets the cause and begins the text; returns true. ag_say appends to the text. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
bool ag_because(ag_evidence *e, ag_cause cause, const char *format, ...);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void ag_say(ag_evidence *e, const char *format, ...);

/* Appends the usual meaning of a known factor (2, N, sqrt(d), ...). False: it is none of them. */
bool ag_say_factor(ag_evidence *e, double factor);

/* The dims of y, as bits, along which x is repeated when it is broadcast to y's shape; 0: none. */
unsigned ag_broadcast_dims(const ag_array *x, const ag_array *y);

#endif
