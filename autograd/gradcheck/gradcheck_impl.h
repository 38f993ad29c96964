/* SPDX-License-Identifier: MIT
 *
 * gradcheck_impl.h - what the parts of the gradient checker share (private header).
 *
 * gradcheck.c and arrays.c make an ag_check of a function and judge it; difference.c differentiates
 * numerically; explain.c finds what a wrong gradient is; locate.c goes through the tape to the op that made it;
 * report.c writes it down. Below gradcheck.c nothing knows tensors but locate.c.
 */
#ifndef AG_GRADCHECK_IMPL_H
#define AG_GRADCHECK_IMPL_H

#include "autograd/gradcheck/gradcheck.h"
#include "tensor/tensor_impl.h"

/* An input, with both its gradients for the check's cotangent. */
typedef struct ag_check_input {
    ag_array x;      /* value: the function's own memory, moved and put back */
    int64_t numel;
    bool checked;    /* false: an integer input, or one that wants no gradient; it has no arrays */
    bool reached;    /* backward gave it a gradient at all */
    double *analytic; /* [numel] */
    double *numeric;  /* [numel]; NULL when only directions were compared */
    ag_gradcheck_input found;
} ag_check_input;

typedef struct ag_check_output {
    ag_array y; /* value: inside ag_check.y */
    int64_t numel, first; /* where it begins in y and in cotangents */
} ag_check_output;

/* A function at a point. Outputs lie one after another in one array of output_numel doubles. */
typedef struct ag_check ag_check;
struct ag_check {
    ag_ctx *ctx;
    ag_gradcheck_config config; /* with its defaults filled in */
    const char *name;
    int input_count, output_count;
    ag_check_input *input;
    ag_check_output *output;
    int64_t output_numel;
    double *y;         /* the outputs at the point */
    double *cotangent; /* random, +-[0.5, 1.5) */
    double **jacobian; /* per input: numeric dy/dx [numel][output_numel], each element of x a row; NULL: not known */
    /* Computes the outputs at the values the inputs hold now. False: the context has the error. */
    bool (*evaluate)(ag_check *check, double *y);
    /* Computes the analytic gradients of sum(cotangent y) into grad[input][numel], all elements written. */
    bool (*backward)(ag_check *check, const double *cotangent, double *const *grad);
    void *function; /* what the two work on */
    const ag_check *around; /* of one op of a tape: the check of the whole function; else NULL */
    void *user;     /* the caller's, for config.complex_step */
};

/* ---- gradcheck.c ----
 * A public entry fills in the first fields, begins, describes inputs and outputs (numel, shapes, values of inputs),
 * and runs. */

ag_gradcheck_config ag_check_defaults(ag_gradcheck_config config);
bool ag_check_begin(ag_check *check); /* makes input[] and output[], all zero; false on error */

/* Judges, explains, reports and frees all. `made`: all is described. on_tape: check->function is one of tensors. */
ag_gradcheck_result ag_check_run(ag_check *check, bool made, bool on_tape);

/* ---- difference.c ---- */

/* A change of one input: one element, or (index -1) a random direction of signs over elements first .. end-1. */
typedef struct ag_direction {
    int input;
    int64_t index, first, end;
    uint64_t seed;
} ag_direction;

/* A numeric derivative. trouble: AG_CAUSE_NONE, or why there is none as exact as the tolerance. */
typedef struct ag_derivative {
    double value, uncertainty;
    ag_cause trouble;
} ag_derivative;

double ag_direction_at(const ag_direction *d, int64_t i); /* the element i of it: 0, 1 or -1 */

/* d sum(cotangent y) along d into *sum. Where each is not NULL: also dy[j] along d into each[j], from the same
 * evaluations; each_exact: narrowing the step until these are exact enough too. False on error. */
bool ag_check_derivatives(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
                          ag_derivative *each, bool each_exact);

/* d sum(cotangent y) along d. */
ag_derivative ag_check_derivative(ag_check *check, const ag_direction *d, const double *cotangent);

/* The numeric gradient of one input for any cotangent: from the Jacobian when that is known, else by differences.
 * False on error, or where a derivative could not be had. */
bool ag_check_gradient(ag_check *check, int input, const double *cotangent, double *gradient);

/* |a - n| <= atol + rtol max(|a|, |n|), both finite. */
bool ag_check_is_close(const ag_check *check, double a, double n);

/* ---- explain.c ---- */

typedef struct ag_explanation {
    ag_cause cause;
    double factor;
    char text[AG_EXPLANATION]; /* one or two sentences */
} ag_explanation;

/* Finds the cause that fits the wrong gradient of an input as a whole. AG_CAUSE_UNKNOWN: none does. */
ag_explanation ag_check_explain(ag_check *check, int input);

/* An explanation found by other means, its words as from printf. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
ag_explanation ag_explanation_of(ag_cause cause, const char *format, ...);

/* ---- locate.c ---- */

/* Where on the tape a gradient goes wrong. */
typedef struct ag_location {
    int64_t node;            /* of the op whose own vjp is wrong; -1: none was found */
    const char *op, *path;
    int op_input;
    ag_explanation explanation; /* of that op's own contribution */
} ag_location;

/* The function of tensors behind check->function, for gradcheck.c and locate.c. */
typedef struct ag_tensor_function {
    ag_gradcheck_fn *f;
    ag_tensor *const *input;
    int count;
    void *user;
    ag_rng rng; /* where every evaluation starts, so that dropout repeats */
} ag_tensor_function;

/* Runs the function on a tape once more, backward for the check's cotangent, and compares what each vjp contributes
 * with the numeric derivative of its op alone, at the values the op had. check is one of tensors. */
ag_location ag_check_locate(ag_check *check);

/* ---- report.c ---- */

/* Writes what config asks for: text, JSON, HTML. */
void ag_check_report(const ag_check *check, const ag_gradcheck_result *result);

#endif
