/* SPDX-License-Identifier: MIT
 *
 * gradcheck.h - checking gradients numerically (annex of autograd/).
 */
#ifndef AG_GRADCHECK_H
#define AG_GRADCHECK_H

#include "autograd/autograd.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Checking gradients -------------------------------------------------------------------------
 * Compares the gradients that backward computes (analytic) with derivatives computed from forward alone (numeric), and
 * says what is wrong with a gradient that differs. Functions may compute in float64 or in float32.
 * Numeric derivatives are central differences with Richardson extrapolation, at steps that are found: narrower while
 * the formula's error is too large, wider while rounding is. The rounding noise of both functions is measured. A slope
 * must be the same at the finest step that noise allows. With config.complex_step derivatives are Im f(x + ih) / h,
 * which must agree with the differences.
 * What is compared depends on the sizes, n elements of an input and m elements of all outputs:
 *     n > config.elements         derivatives of sum(c y) along random directions of +-1; c is a random cotangent
 *     n <= config.elements        the derivative of sum(c y) with respect to each element
 *     m <= 64 and the sum of all n times m <= config.elements    also each entry dy[j]/dx[i] of the Jacobian
 * Outputs that are infinite or NaN are left out, with c = 0: what passes through them is inconclusive.
 * (Richardson, "The approximate arithmetical solution by finite differences", 1911; Ridders, "Accurate computation of
 * F'(x) and F'(x) F''(x)", 1982; Squire and Trapp, "Using complex variables to estimate derivatives of real functions",
 * 1998; Moré and Wild, "Estimating computational noise", 2011.) docs/gradient-checking.md teaches the method. */

/* Computes output[0], output[1], ... from input[..]. It is called many times and must compute the same function each
 * time: the check puts the random stream back before each call. Outputs are float64 or float32 of any shape, and may be
 * views. */
typedef void ag_gradcheck_fn(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user);

/* The same function on complex numbers. Arrays are dense and hold (re, im) pairs. */
typedef void ag_complex_fn(const double *const *input, double *const *output, void *user);

typedef enum ag_verdict {
    AG_PASS,
    AG_FAIL,
    AG_INCONCLUSIVE /* undecided: not a pass */
} ag_verdict;

/* Why an input did not pass. For a failed input: the fault that reproduces its whole gradient. */
typedef enum ag_cause {
    AG_CAUSE_NONE,
    /* inconclusive */
    AG_CAUSE_KINK,            /* the one-sided derivatives differ */
    AG_CAUSE_NOT_REPEATABLE,  /* two runs on the same inputs differ */
    AG_CAUSE_NON_FINITE,      /* the function or its derivative is not finite at this point */
    AG_CAUSE_STEP_EXHAUSTED,  /* no step gave a derivative that is accurate enough */
    AG_CAUSE_ORACLES_DISAGREE, /* complex step and differences disagree: the complex function is another function */
    AG_CAUSE_NOTHING_CHECKED, /* no elements, or no input that requires a gradient */
    /* failed */
    AG_CAUSE_UNKNOWN,         /* wrong, and none of the faults below reproduces it */
    AG_CAUSE_ERROR,           /* the context has an error */
    AG_CAUSE_STATE,           /* backward gives another result when it is called again with the same arguments */
    AG_CAUSE_INPUT_CHANGED,   /* forward or backward writes to a read-only argument */
    AG_CAUSE_OUT_OF_BOUNDS,   /* forward or backward writes beyond an array */
    AG_CAUSE_GRADIENT_NON_FINITE, /* backward gives NaN or infinity where the right gradient is finite */
    AG_CAUSE_SIGN,            /* sign flipped, everywhere or in part */
    AG_CAUSE_FACTOR,          /* a constant times the right gradient: everywhere, in part, or another in each row */
    AG_CAUSE_TRANSPOSED,      /* the last two dims are swapped */
    AG_CAUSE_PERMUTED,        /* the dims are permuted */
    AG_CAUSE_ROW_SUM_MISSING, /* softmax without its sum term, y (gy - sum(gy y)), or with another */
    AG_CAUSE_MEAN_MISSING,    /* layer norm without the mean of its gradient */
    AG_CAUSE_VARIANCE_MISSING, /* layer norm without the term of its variance */
    AG_CAUSE_NOT_REDUCED,     /* one part of a broadcast instead of the sum over it */
    AG_CAUSE_UPSTREAM_IGNORED, /* gy is not used, or only its sum or mean */
    AG_CAUSE_NOT_ACCUMULATED, /* the contribution of one use instead of the sum over all uses; a term left out */
    AG_CAUSE_ZERO,            /* zero, everywhere or in part, where it should not be */
    AG_CAUSE_MASK_LEAK,       /* not zero where the output does not depend on the input */
    AG_CAUSE_BATCH_MIXED,     /* entries of one batch index are those of another */
    AG_CAUSE_STRIDE_IGNORED,  /* strides are ignored: memory is read as if it were contiguous */
    AG_CAUSE_TAIL,            /* right up to an index, wrong after it */
    AG_CAUSE_SWAPPED,         /* the gradient of another input */
    AG_CAUSE_WRONG_INDEX,     /* shifted, reversed, a wrong stride, an index of another loop */
    AG_CAUSE_SKIPPED,         /* positions of the output, or of another input, contribute nothing */
    AG_CAUSE_OPERAND,         /* a factor is left out, or another input is used in its place; an input is another */
    AG_CAUSE_SLOPE,           /* the slope of another function, or a term of the slope is wrong */
    AG_CAUSE_NORM_SCALE,      /* a norm's 1 / sqrt(variance + epsilon) is computed otherwise than in forward */
    AG_CAUSE_TARGET,          /* cross-entropy with other targets, smoothing or ignored rows than in forward */
    AG_CAUSE_MASK_DRAWN_AGAIN, /* another mask than forward's */
    AG_CAUSE_GRAPH_CUT,       /* an op uses a value that depends on the input but is detached from it */
    AG_CAUSE_ROUNDED,         /* the right gradient rounded to single precision */
    AG_CAUSES
} ag_cause;

const char *ag_cause_name(ag_cause cause); /* "sign flipped" */
const char *ag_verdict_name(ag_verdict verdict); /* "PASS" */

/* The result for one input. The worst derivative is a failed one if there is one, else an inconclusive one, else any;
 * among those the one with the largest error. */
typedef struct ag_gradcheck_input {
    ag_verdict verdict;
    ag_cause cause;
    double factor;        /* AG_CAUSE_FACTOR: analytic = factor * right, where it is wrong; 1: rows differ */
    int64_t index;        /* of the worst derivative: flat index of the element; -1: a random direction */
    int64_t output_index; /* of the worst derivative: flat index over all outputs; -1: sum(c y), c random */
    double analytic, numeric; /* of the worst derivative */
    double uncertainty;   /* estimated absolute error of numeric, with the noise of analytic */
    double max_error;     /* largest |analytic - numeric| / max(|analytic|, |numeric|, atol / rtol, 400 uncertainty),
                             inconclusive derivatives left out */
    int64_t checked, failed, inconclusive; /* numbers of derivatives */
} ag_gradcheck_input;

/* Texts and arrays are borrowed until the check returns. Negative numbers are errors. */
typedef struct ag_gradcheck_config {
    const char *name;   /* in the report; NULL: the op that made the first output */
    int outputs;        /* number of outputs; 0: 1 */
    double step;        /* the first step, relative to max(1, |x|); 0: 1/64 */
    double rtol, atol;  /* passes if |analytic - numeric| <= atol + rtol max(|analytic|, |numeric|) + twice the
                           uncertainty, if this is small; 0: 1e-6, and 1e-9 times the largest derivative if below 1 */
    int64_t elements;   /* inputs with more elements are checked along random directions; 0: 4096 */
    int directions;     /* number of these directions; 0: 16 */
    uint64_t seed;      /* of the random cotangent and directions */
    ag_complex_fn *complex_step; /* NULL: differences alone */
    ag_gradcheck_input *inputs;  /* [count]: receives the result for each input; NULL: not wanted */
    FILE *report;       /* receives text of at most 80 columns; NULL: none */
    bool colour;        /* ANSI colours in that text */
    FILE *json, *html;  /* receive the report as one JSON object, as a page with heat maps; NULL: none */
} ag_gradcheck_config;

enum { AG_EXPLANATION = 800 }; /* bytes */

/* op and path live as long as the context. */
typedef struct ag_gradcheck_result {
    ag_verdict verdict; /* the worst of all inputs */
    int input;          /* the worst input, of the failed ones with a cause if there are; -1: none was checked */
    ag_gradcheck_input worst; /* the result for that input */
    int64_t checked, failed, inconclusive; /* numbers of derivatives of all inputs */
    double max_error;
    const char *op, *path; /* after a failure on a tape: the first op whose own vjp is wrong; "", "": none found */
    int64_t node;          /* the node of that op; -1: none */
    int op_input;          /* the input of that op whose contribution is wrong */
    char explanation[AG_EXPLANATION]; /* in words; "" after a pass */
} ag_gradcheck_result;

/* Checks f at the values of input[count]: float64 or float32 leaves (ag_require_grad), contiguous, no two sharing
 * storage; int32 inputs are passed on unchecked. Each evaluation runs on a tape of its own, and each backward follows
 * a forward on the same tape. Afterwards the inputs' values and gradients and the random stream are as before. On an
 * error the verdict is AG_FAIL, the cause AG_CAUSE_ERROR, and the context has the error. */
ag_gradcheck_result ag_gradcheck(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *input, int count, void *user,
                                 ag_gradcheck_config config);

/* A dense row-major array with up to AG_MAX_DIMS dims. */
typedef struct ag_array {
    const char *name; /* in the report, borrowed until the check returns; NULL: its number */
    double *value;    /* of an input; ignored for an output, may be NULL */
    int ndim;
    int64_t shape[AG_MAX_DIMS];
    float *value_f32; /* of an input of a function of floats, in place of value */
} ag_array;

/* A function and its hand-written backward without tensors, such as code of another project: of doubles (forward,
 * backward) or of floats (forward_f32, backward_f32). The check calls
 *     1. forward at x; backward at x with a random gy, and once more with a gy of 0 for outputs that are not finite;
 *        both again, which must give the same bits;
 *     2. forward and backward at points beside x, a few units in the last place away, which shows their rounding noise;
 *        then backward at x, which must give the same bits as before;
 *     3. for a small Jacobian backward at x, once per output element, gy one-hot, with no forward between the calls;
 *     4. forward at many points near x;
 *     5. after a failure, forward at other points and backward at x, in any order.
 * So backward must compute from x and gy alone: what the last forward saved may belong to another point. The functions
 * get copies of x, with guard values around every array; a write to x or gy, or beyond an array, is a failure. */
typedef struct ag_array_function {
    /* Writes all of y[..] from x[..]. An element left unwritten is NaN. */
    void (*forward)(const double *const *x, double *const *y, void *user);
    /* Writes, or adds to, gx[..]: the gradient of sum(gy y) with respect to x[..]. gx is zeroed before each call. */
    void (*backward)(const double *const *x, const double *const *gy, double *const *gx, void *user);
    void *user;
    void (*forward_f32)(const float *const *x, float *const *y, void *user);
    void (*backward_f32)(const float *const *x, const float *const *gy, float *const *gx, void *user);
} ag_array_function;

/* Checks backward at the values of input[input_count]. config.outputs is ignored: output_count stands for it. */
ag_gradcheck_result ag_gradcheck_arrays(ag_ctx *ctx, ag_array_function function, const ag_array *input,
                                        int input_count, const ag_array *output, int output_count,
                                        ag_gradcheck_config config);

#ifdef __cplusplus
}
#endif

#endif
