/* SPDX-License-Identifier: MIT
 *
 * gradcheck.h - checking gradients numerically (annex of autograd/).
 */
#ifndef AG_GRADCHECK_H
#define AG_GRADCHECK_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Checking gradients -------------------------------------------------------------------------
 * Compares the gradients of a function with numeric derivatives in float64, and says what is wrong with a wrong one.
 * Derivatives are central differences with Richardson extrapolation, the step chosen for each by the estimated
 * error; or the complex step, where the caller gives the function on complex numbers. A small Jacobian is compared
 * element by element, else the gradient for a random cotangent; inputs too large for that along random directions.
 * docs/gradient-checking.md teaches the method. */

/* Builds output[0 ..] from input[..]; called many times. Outputs may have any shape and may be views. */
typedef void ag_gradcheck_fn(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user);

/* The same function on complex numbers, arrays of (re, im) pairs, dense. */
typedef void ag_complex_fn(const double *const *input, double *const *output, void *user);

typedef enum ag_verdict {
    AG_PASS,
    AG_FAIL,
    AG_INCONCLUSIVE /* could not be decided; never counts as a pass */
} ag_verdict;

/* Why an input did not pass. Of the causes of a failure, the one that fits the whole gradient. */
typedef enum ag_cause {
    AG_CAUSE_NONE,
    /* inconclusive */
    AG_CAUSE_KINK,            /* the one-sided derivatives differ */
    AG_CAUSE_NOT_REPEATABLE,  /* two runs on the same inputs differ */
    AG_CAUSE_NON_FINITE,      /* the function or its derivative is not finite there */
    AG_CAUSE_STEP_EXHAUSTED,  /* no step gave a derivative as exact as the tolerance */
    AG_CAUSE_ORACLES_DISAGREE, /* complex step and differences: they are not of the same function */
    AG_CAUSE_NOTHING_CHECKED, /* no elements, or no input that wants a gradient */
    /* failed */
    AG_CAUSE_UNKNOWN,         /* wrong, and none of the below */
    AG_CAUSE_ERROR,           /* the context has an error */
    AG_CAUSE_SIGN,            /* sign flipped */
    AG_CAUSE_FACTOR,          /* a constant times the right gradient */
    AG_CAUSE_TRANSPOSED,      /* its last two dims swapped */
    AG_CAUSE_PERMUTED,        /* its dims permuted */
    AG_CAUSE_ROW_SUM_MISSING, /* softmax without its sum term, y (gy - sum(gy y)) */
    AG_CAUSE_MEAN_MISSING,    /* layer norm without the mean of its gradient */
    AG_CAUSE_VARIANCE_MISSING, /* layer norm without the term of its variance */
    AG_CAUSE_NOT_REDUCED,     /* one part of a broadcast instead of the sum over it */
    AG_CAUSE_UPSTREAM_IGNORED, /* the gradient of the result does not enter */
    AG_CAUSE_NOT_ACCUMULATED, /* the contribution of one use instead of the sum over all */
    AG_CAUSE_ZERO,            /* zero, all or in part, where it should not be */
    AG_CAUSE_MASK_LEAK,       /* not zero where the output does not depend on the input */
    AG_CAUSE_BATCH_MIXED,     /* entries of one batch index are those of another */
    AG_CAUSE_STRIDE_IGNORED,  /* memory read in order where the strides say otherwise */
    AG_CAUSE_TAIL,            /* right up to an index, wrong from there on */
    AG_CAUSE_SWAPPED,         /* the gradient of another input */
    AG_CAUSES
} ag_cause;

const char *ag_cause_name(ag_cause cause); /* "sign flipped" */
const char *ag_verdict_name(ag_verdict verdict); /* "PASS" */

/* What was found of one input. */
typedef struct ag_gradcheck_input {
    ag_verdict verdict;
    ag_cause cause;
    double factor;        /* AG_CAUSE_FACTOR: analytic = factor * right */
    int64_t index;        /* of the worst element, flat; -1: along a random direction */
    int64_t output_index; /* of the output whose derivative it is, flat over all; -1: random cotangent */
    double analytic, numeric;
    double uncertainty;   /* of numeric, estimated */
    double max_error;     /* worst |analytic - numeric| / max(|analytic|, |numeric|, atol / rtol) of what was decided */
    int64_t checked, failed, inconclusive; /* derivatives */
} ag_gradcheck_input;

typedef struct ag_gradcheck_config { /* no number may be negative */
    const char *name;   /* in the report; NULL: the op of the first output's node */
    int outputs;        /* how many the function gives; 0: 1 */
    double step;        /* the first and largest step, relative to max(1, |x|); 0: 1/64 */
    double rtol, atol;  /* 0: 1e-6 and 1e-9 */
    int64_t elements;   /* inputs with more elements are checked along random directions; 0: 4096 */
    int directions;     /* how many; 0: 16 */
    uint64_t seed;      /* of cotangent and directions */
    ag_complex_fn *complex_step; /* NULL: differences */
    ag_gradcheck_input *inputs;  /* gets what was found of each input; NULL: not wanted */
    FILE *report;       /* text of at most 80 columns; NULL: none */
    bool colour;        /* in that text, by the terminal's escape sequences */
    FILE *json, *html;  /* the same as a JSON object, as a page with heat maps; NULL: none */
} ag_gradcheck_config;

enum { AG_EXPLANATION = 400 };

typedef struct ag_gradcheck_result {
    ag_verdict verdict; /* the worst of the inputs' */
    int input;          /* the worst input, -1: none was checked; */
    ag_gradcheck_input worst; /* what was found of it */
    int64_t checked, failed, inconclusive; /* over all inputs */
    double max_error;
    const char *op, *path; /* of a failure on a tape: the first op whose own vjp is wrong, "" and "": none found */
    int64_t node;          /* its node, -1: none */
    int op_input;          /* and the input of it that the wrong contribution goes to */
    char explanation[AG_EXPLANATION]; /* in words; "" after a pass */
} ag_gradcheck_result;

/* Inputs are float64 leaves (ag_require_grad), dense and of separate storage; int32 inputs are passed through.
 * The result also stands for errors: then verdict is AG_FAIL and the context has the error. The inputs' values and
 * gradients and the random state are restored. */
ag_gradcheck_result ag_gradcheck(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *input, int count, void *user,
                                 ag_gradcheck_config config);

/* A dense array of doubles, the last dim fastest, up to AG_MAX_DIMS dims. */
typedef struct ag_array {
    const char *name; /* in the report; NULL: its number */
    double *value;    /* of outputs: not used, may be NULL */
    int ndim;
    int64_t shape[AG_MAX_DIMS];
} ag_array;

/* A function and its hand-written backward, without tensors: code of another project. */
typedef struct ag_array_function {
    /* Writes y[..] from x[..]. */
    void (*forward)(const double *const *x, double *const *y, void *user);
    /* Writes, or adds to, gx[..]: the gradient of sum(gy y) with respect to x[..]. gx begins as zeros. */
    void (*backward)(const double *const *x, const double *const *gy, double *const *gx, void *user);
    void *user;
} ag_array_function;

/* Checks backward at the values of input[input_count]. They are restored. config.outputs is not used. */
ag_gradcheck_result ag_gradcheck_arrays(ag_ctx *ctx, ag_array_function function, const ag_array *input,
                                        int input_count, const ag_array *output, int output_count,
                                        ag_gradcheck_config config);

#ifdef __cplusplus
}
#endif

#endif
