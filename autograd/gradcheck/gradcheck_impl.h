/* SPDX-License-Identifier: MIT
 *
 * gradcheck_impl.h - the interfaces between the parts of the gradient checker (private header).
 *
 *     tensors.c, arrays.c      make an ag_check from a function of tensors, or of arrays
 *     gradcheck.c              judges it
 *     noise.c                  measures the rounding noise of both functions
 *     difference.c             computes numeric derivatives
 *     complex_step.c           the same by the complex step
 *     explain*.c               finds the fault that reproduces a wrong gradient
 *     locate.c, replay.c       finds the op on the tape that made it
 *     report*.c                writes text, JSON and HTML
 * Only tensors.c, locate.c and replay.c know tensors; the others see arrays of doubles.
 */
#ifndef AG_GRADCHECK_IMPL_H
#define AG_GRADCHECK_IMPL_H

#include "autograd/gradcheck/gradcheck.h"
#include "tensor/files/files.h"
#include "tensor/tensor_impl.h"

/* A cause and its words. */
typedef struct ag_explanation {
    ag_cause cause;
    double factor;
    char text[AG_EXPLANATION]; /* one or two sentences */
} ag_explanation;

/* An input and its two gradients of sum(cotangent y). */
typedef struct ag_check_input {
    ag_array x;      /* value: in double, also of a float32 input; differences move and restore it */
    bool single;     /* float32: a moved value is rounded */
    int64_t numel;
    bool checked;    /* false: an integer input; analytic and numeric are then NULL */
    bool reached;    /* backward gave it a gradient */
    double *analytic; /* [numel] */
    double *numeric;  /* [numel]; NULL: compared along random directions only */
    double *noise;    /* [numel]: of analytic; NULL: not measured */
    bool *through;    /* [numel]: whether it has an effect through an output that is left out; NULL: none is */
    double *doubt;    /* [numel], as numeric: what the noise of both may put between analytic and numeric */
    ag_gradcheck_input found;
} ag_check_input;

typedef struct ag_check_output {
    ag_array y; /* value: inside ag_check.y */
    bool single; /* float32 */
    int64_t numel, first; /* first: its offset in y and in cotangents */
} ag_check_output;

/* A function at a point. The outputs are stored one after another in one array of output_numel doubles. */
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
    double *cotangent; /* random, +-[0.5, 1.5); 0 for an output that is left out */
    int64_t left_out;  /* outputs that are not finite */
    double *noise;     /* of the outputs, standard deviations; NULL: not measured, four units in the last place */
    double noise_unit; /* the largest of them, as a unit for sums of squares; 0: 1 */
    bool single;       /* an input or output is float32 */
    bool atol_given;   /* else the default, which shrinks with the gradient */
    double scale, row_scale; /* the largest derivative so far of the sum, and of one output, for the running input */
    ag_explanation misdeed; /* what a call did that it must not, such as a write beyond an array; cause NONE: nothing */
    int misdeed_input; /* the input that it concerns */
    double **jacobian; /* per input: numeric dy/dx, [numel][output_numel]; NULL: too large to keep */
    /* Computes the outputs at the inputs' current values. False: the context has the error. */
    bool (*evaluate)(ag_check *check, double *y);
    /* Writes the analytic gradients of sum(cotangent y) to grad[input][numel]. False: the context has the error. */
    bool (*backward)(ag_check *check, const double *cotangent, double *const *grad);
    void *function; /* state of these two */
    const ag_check *around; /* for the check of one op on a tape: the check of the whole function; else NULL */
    void *user;     /* for config.complex_step */
};

/* ---- gradcheck.c ----
 * A public entry fills in the first fields, calls ag_check_begin, describes inputs and outputs (numel, shapes, values
 * of inputs), and calls ag_check_run. */

/* Fills in config's defaults and checks it, allocates input[] and output[] as zeros. False on error. */
bool ag_check_begin(ag_check *check);

/* Zeroed memory, freed with the innermost scope; NULL on error. */
void *ag_check_memory(ag_ctx *ctx, int64_t count, size_t element);

/* Judges, explains and reports. The innermost scope owns the check's memory. made false: there was an error before.
 * on_tape: the function is one of tensors, all float64. */
ag_gradcheck_result ag_check_run(ag_check *check, bool made, bool on_tape);

/* The result of a call that can not be checked: the context (may be NULL) has the error. */
ag_gradcheck_result ag_check_refused(const ag_ctx *ctx);

/* The numeric gradient of one input for any cotangent: from the Jacobian if it is kept, else by differences. False on
 * error, or where a derivative is not finite. */
bool ag_check_gradient(ag_check *check, int input, const double *cotangent, double *gradient);

/* |a - n| <= atol + rtol max(|a|, |n|), both finite. */
bool ag_check_is_close(const ag_check *check, double a, double n);

/* ---- noise.c ---- */

/* Measures check->noise and the inputs' noise at the point, by forward and backward at points beside it. False on
 * error. */
bool ag_check_measure_noise(ag_check *check);

/* The noise of output i where its magnitude is size. */
double ag_check_noise_of(const ag_check *check, int64_t i, double size);

/* The largest power of two that x is a multiple of; INFINITY if x is 0 or not finite. */
double ag_check_grain(double x);

/* The unit in the last place of x, of a float or a double. */
double ag_check_unit(bool single, double x);

/* ---- difference.c ---- */

/* A derivative is known if its uncertainty is at most this part of it. So twice that is well below an error of 1 %. */
#define AG_CHECK_BLUR 2.5e-3

/* A change of more than this many times the noise is seen. */
#define AG_CHECK_SEEN 100

/* A direction in one input: one element; or, index -1, random signs for the elements first .. end-1. */
typedef struct ag_direction {
    int input;
    int64_t index, first, end;
    uint64_t seed;
} ag_direction;

/* A numeric derivative. trouble: AG_CAUSE_NONE, or why it is not as accurate as the tolerance. */
typedef struct ag_derivative {
    double value, uncertainty;
    ag_cause trouble;
    double noise;  /* of the function */
    double step;   /* the widest of the three that gave it */
    double hidden; /* a slope up to this may be there unseen, on a finer scale: moves change the output by no more than
                      noise */
} ag_derivative;

double ag_direction_at(const ag_direction *d, int64_t i); /* its element i: 0, 1 or -1 */
void ag_direction_range(const ag_direction *d, int64_t *first, int64_t *end); /* elements first .. end-1 move */

/* *sum = the derivative of sum(cotangent y) along d. each not NULL: also each[j] = that of y[j], from the same
 * evaluations; with each_exact the step is narrowed until all of each are accurate enough too. False on error. */
bool ag_check_derivatives(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
                          ag_derivative *each, bool each_exact);

/* The derivative of sum(cotangent y) along d. */
ag_derivative ag_check_derivative(ag_check *check, const ag_direction *d, const double *cotangent);

/* atol + rtol size. The default atol is relative to the scale of the gradient if that is below 1 and not 0, and to
 * 1 / |x| if |x| is above 1. */
double ag_check_tolerance(const ag_check *check, double size, double scale, double x);

/* The derivative of the sum of outputs first .. end-1 with the weights c (NULL: 1) from one try whose widest step is h;
 * NaN on error, and where there is none. */
double ag_check_derivative_at(ag_check *check, const ag_direction *d, const double *c, int64_t first, int64_t end,
                              double h);

/* The outputs at x + h d into y; x, whose moving elements are saved[], is put back to the same bits. False on error. */
bool ag_check_evaluate_at(ag_check *check, const ag_direction *d, double h, const double *saved, double *y);

/* The nearest step that leaves the moved values, of magnitude `size` at most, exact: x is the midpoint of x + h and
 * x - h. */
double ag_check_round_step(bool single, double size, double h);

double ag_check_first_step(const ag_check *check, double size); /* the widest of the first try */

/* ---- confirm.c ---- */

/* Whether the slope at the finest step that can tell the two apart is nearer to the numeric derivative than to the
 * analytic one; that the numeric one is not on stairs, nor, for the first failure of an input, between jumps; and, if
 * they are apart by less than 0.1 %, whether it is the same at other steps too. cotangent NULL: of one output. True on
 * error. */
bool ag_check_denies(ag_check *check, const ag_direction *d, const double *cotangent, int64_t output, double analytic,
                     ag_derivative numeric);

/* Whether a numeric derivative of sum(cotangent y) is the slope between the stairs of values that are rounded coarsely
 * inside, and not over many of them. False on error. */
bool ag_check_is_on_stairs(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative numeric);

/* ---- complex_step.c ---- */

/* Puts derivatives by the complex step in the place of those by differences, with which they must agree. False on
 * error. */
bool ag_check_complex_step(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
                           ag_derivative *each);

/* ---- explain.c ---- */

/* Finds the fault that reproduces the whole wrong gradient of an input. AG_CAUSE_UNKNOWN: none does. */
ag_explanation ag_check_explain(ag_check *check, int input);

/* Whether a backward of doubles rounds to single precision: every entry of its Jacobian (of all output elements and one
 * input's, in any order) is a float, and most elements of the gradient are off by more than the numeric ones. */
bool ag_check_is_rounded(const ag_check *check, int input, const double *entries);

/* index[d] = the index of flat in dim d. */
void ag_index_of(int ndim, const int64_t *shape, int64_t flat, int64_t *index);

/* Finds the causes of all failed inputs; on_tape: and the wrong op. Sets r's op, input, worst and explanation. */
void ag_check_explain_all(ag_check *check, ag_gradcheck_result *r, bool on_tape);

/* An explanation with this cause and a text as of printf. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
ag_explanation ag_explanation_of(ag_cause cause, const char *format, ...);

void ag_explanation_add(ag_explanation *explanation, const char *text);

/* ---- locate.c ---- */

/* The op on the tape where a gradient goes wrong. */
typedef struct ag_location {
    int64_t node;            /* of the op whose own vjp is wrong; -1: none was found */
    const char *op, *path;
    int op_input;
    ag_explanation explanation; /* of that op's contribution to op_input */
} ag_location;

/* The function of tensors behind check->function, for gradcheck.c and locate.c. */
typedef struct ag_tensor_function {
    ag_gradcheck_fn *f;
    ag_tensor *const *input;
    int count;
    void *user;
    ag_rng rng; /* the random state at which every evaluation starts, so that dropout repeats */
} ag_tensor_function;

/* Runs the function and backward for the check's cotangent once more, and compares the contribution of each vjp with
 * the numeric derivative of its op alone, at the op's own values. The check's function is one of tensors. */
ag_location ag_check_locate(ag_check *check);

/* ---- report.c ---- */

/* Writes the reports that config asks for. */
void ag_check_report(const ag_check *check, const ag_gradcheck_result *result);

#endif
