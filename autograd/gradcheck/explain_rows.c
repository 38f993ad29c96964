/* SPDX-License-Identifier: MIT
 *
 * explain_rows.c - a term that the elements of a row share is missing: the row sum of softmax, the mean or the variance
 * of a normalisation. Then analytic - n is, in each row, a multiple of a known vector: the basis.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

/* ---- Rows ---- */

ag_rows ag_rows_along(const ag_evidence *e, int dim)
{
    return (ag_rows){ e->n / e->shape[dim], e->shape[dim], ag_step_of(e->ndim, e->shape, dim) };
}

int64_t ag_row_start(const ag_rows *r, int64_t row)
{
    return row / r->step * r->step * r->extent + row % r->step;
}

static double row_product(const ag_rows *r, int64_t row, const double *a, const double *b)
{
    double sum = 0;
    int64_t at = ag_row_start(r, row);
    for (int64_t i = 0; i < r->extent; i++, at += r->step)
        sum += a[at] * b[at];
    return sum;
}

/* guess = from + the projection of (analytic - from) on the basis, row by row: one free number per row. Whether that
 * fits. */
static bool fits_along_basis(ag_evidence *e, const ag_rows *r, const double *from)
{
    for (int64_t row = 0; row < r->count; row++) {
        double square = row_product(r, row, e->basis, e->basis);
        double along = row_product(r, row, e->analytic, e->basis) - row_product(r, row, from, e->basis);
        int64_t first = ag_row_start(r, row), end = first + r->extent * r->step;
        for (int64_t i = first; i < end; i += r->step)
            e->guess[i] = from[i] + (square > 0 ? along / square * e->basis[i] : 0);
    }
    return ag_fits(e);
}

/* Whether in each row the sum of n * basis is 0 relative to the sum of magnitudes, which is not 0 in all rows. */
static bool cancels(const ag_evidence *e, const ag_rows *r, double tolerance)
{
    double all = 0, smallest = 1e-8 * e->right_max * ag_largest(e->basis, e->n);
    for (int64_t row = 0; row < r->count; row++) {
        double sum = 0, magnitude = 0;
        int64_t at = ag_row_start(r, row);
        for (int64_t i = 0; i < r->extent; i++, at += r->step) {
            sum += e->right[at] * e->basis[at];
            magnitude += fabs(e->right[at] * e->basis[at]);
        }
        if (fabs(sum) > tolerance * magnitude + smallest)
            return false;
        all += magnitude;
    }
    return all > 0;
}

/* basis = 1. Below: basis = x, minus the row's mean if centered. */
static void basis_ones(ag_evidence *e)
{
    for (int64_t i = 0; i < e->n; i++)
        e->basis[i] = 1;
}

static void basis_input(ag_evidence *e, const ag_rows *r, bool centered)
{
    memcpy(e->basis, e->input->x.value, (size_t)e->n * sizeof *e->basis);
    for (int64_t row = 0; row < r->count && centered; row++) {
        int64_t first = ag_row_start(r, row), end = first + r->extent * r->step;
        double sum = 0;
        for (int64_t i = first; i < end; i += r->step)
            sum += e->basis[i];
        for (int64_t i = first; i < end; i += r->step)
            e->basis[i] -= sum / (double)r->extent;
    }
}

/* ---- Softmax: n = y (c - sum(c y)); log_softmax: n = c - exp(y) sum(c) ---- */

/* The first output with the input's shape, from output o on; -1: none. */
static int output_like_input(const ag_evidence *e, int o)
{
    for (; o < e->check->output_count; o++) {
        const ag_array *y = &e->check->output[o].y;
        if (y->ndim == e->ndim && memcmp(y->shape, e->shape, (size_t)e->ndim * sizeof *y->shape) == 0)
            return o;
    }
    return -1;
}

typedef enum softmax_of { Y, EXP_Y, EXP_X } softmax_of;

/* basis = y, exp(y), or softmax(x) over the elements whose gradient is not 0. False: the rows do not sum to 1 (or to
 * 0), so it is no softmax. */
static bool basis_softmax(ag_evidence *e, const ag_rows *r, softmax_of what, const double *y)
{
    for (int64_t row = 0; row < r->count; row++) {
        int64_t first = ag_row_start(r, row), end = first + r->extent * r->step;
        double most = -(double)INFINITY, sum = 0;
        for (int64_t i = first; i < end; i += r->step)
            most = e->input->x.value[i] > most ? e->input->x.value[i] : most;
        for (int64_t i = first; i < end; i += r->step) {
            bool apart = what == EXP_X && e->analytic[i] == 0 && e->right[i] == 0;
            e->basis[i] = what == Y ? y[i] : what == EXP_Y ? exp(y[i]) : apart ? 0 : exp(e->input->x.value[i] - most);
            sum += e->basis[i];
        }
        if (what != EXP_X && !(fabs(sum - 1) <= 1e-6) && sum != 0)
            return false;
        for (int64_t i = first; i < end && sum > 0; i += r->step)
            e->basis[i] /= sum;
    }
    return true;
}

/* What a backward of softmax, k p (c - s) with s = sum(c p), or of log-softmax, k (c - p s) with s = sum(c), has in the
 * place of its terms; p is the basis, k a number that is found. FORM is right; ALONG + d: s is summed along dim d. */
typedef enum row_sum {
    FORM, MISSING, OPPOSITE, OF_ALL, OWN, MEAN, UNWEIGHTED, UNWEIGHTED_MEAN, BARE_SUM, NO_FACTOR, OF_THE_OTHER,
    OF_VALUES, UNIFORM, ALONG
} row_sum;

/* guess = the gradient of this kind with k = 1; y: the output. */
static void guess_row_sum(ag_evidence *e, const ag_rows *r, softmax_of what, const double *c, const double *y,
                          row_sum kind)
{
    ag_rows over = kind >= ALONG ? ag_rows_along(e, (int)kind - ALONG) : *r;
    const double *p = e->basis;
    bool soft = what == Y, exchanged = kind == UNWEIGHTED || kind == UNWEIGHTED_MEAN || kind == OF_THE_OTHER;
    bool plain = soft == exchanged; /* s = sum(c), else sum(c p) */
    double all = 0, *sum = e->guess; /* sum: of the row along `over` that an element lies in */
    for (int64_t i = 0; i < e->n; i++)
        all += plain ? c[i] : c[i] * p[i];
    for (int64_t row = 0; row < over.count; row++) {
        double s = 0;
        int64_t first = ag_row_start(&over, row), end = first + over.extent * over.step;
        for (int64_t i = first; i < end; i += over.step)
            s += plain ? c[i] : c[i] * p[i];
        for (int64_t i = first; i < end; i += over.step)
            sum[i] = s;
    }
    for (int64_t i = 0; i < e->n; i++) {
        bool mean = kind == MEAN || kind == UNWEIGHTED_MEAN;
        double s = kind == MISSING    ? 0
                   : kind == OPPOSITE ? -sum[i]
                   : kind == OF_ALL   ? all
                   : mean             ? sum[i] / (double)r->extent
                   : kind != OWN      ? sum[i]
                   : soft             ? c[i] * p[i]
                                      : c[i];
        bool outer = soft != (kind == OF_THE_OTHER); /* p (c - s), else c - p s */
        double factor = kind == BARE_SUM || kind == NO_FACTOR ? 1
                        : kind == OF_VALUES                   ? y[i]
                        : kind == UNIFORM                     ? 1 / (double)r->extent
                                                              : p[i];
        e->guess[i] = outer ? (kind == NO_FACTOR ? c[i] : p[i] * c[i]) - factor * s : c[i] - factor * s;
    }
}

/* Scales the guess to the right gradient, if it is its form; else false. */
static bool row_sum_scale(const ag_evidence *e, double *k)
{
    *k = ag_factor_of(e->right, e->guess, e->n, 1);
    for (int64_t i = 0; i < e->n; i++)
        if (!isnan(e->right[i]) && !(fabs(*k * e->guess[i] - e->right[i]) <= e->tolerance))
            return false;
    return *k != 0;
}

static bool is_row_sum_known(ag_evidence *e, const ag_rows *r, int dim, softmax_of what, const ag_check_output *y)
{
    static const char *const words[ALONG] = {
        [MISSING] = "is missing", [OPPOSITE] = "has the wrong sign",
        [OF_ALL] = "is taken over all rows, not over each", [MEAN] = "is a mean in place of a sum",
        [OWN] = "has only the element's own part, the diagonal of the Jacobian",
    };
    const double *c = e->check->cotangent + y->first, *value = e->check->y + y->first;
    const char *form = what == Y ? "y (gy - sum(gy y))" : "gy - exp(y) sum(gy)", *p = what == Y ? "y" : "exp(y)";
    double k;
    guess_row_sum(e, r, what, c, value, FORM);
    if (!row_sum_scale(e, &k))
        return false;
    for (int kind = MISSING; kind < ALONG + e->ndim; kind++) {
        if (kind == ALONG + dim || (what == Y && (kind == OF_VALUES || kind == UNIFORM)) ||
            (what == EXP_Y && kind == NO_FACTOR))
            continue;
        guess_row_sum(e, r, what, c, value, (row_sum)kind);
        for (int64_t i = 0; i < e->n; i++)
            e->guess[i] *= k;
        if (!ag_fits(e))
            continue;
        ag_because(e, AG_CAUSE_ROW_SUM_MISSING, "The row-sum term ");
        if (kind < UNWEIGHTED)
            ag_say(e, "%s", words[kind]);
        else if (kind <= UNWEIGHTED_MEAN)
            ag_say(e, "is %s%s in place of %s", kind == UNWEIGHTED ? "sum" : "mean", what == Y ? "(gy)" : "(gy exp(y))",
                   what == Y ? "sum(gy y)" : "sum(gy)");
        else if (kind == BARE_SUM || kind == NO_FACTOR)
            ag_say(e, "is not as in forward: %s is not multiplied by %s", kind == NO_FACTOR ? "the whole" : "the sum",
                   p);
        else if (kind == OF_THE_OTHER)
            ag_say(e, "is that of %s", what == Y ? "log-softmax" : "softmax");
        else if (kind < ALONG)
            ag_say(e, "has %s in place of exp(y)", kind == OF_VALUES ? "y" : "1/n");
        else
            ag_say(e, "is summed over the wrong axis, along dim %d", kind - ALONG);
        ag_say(e, ": the gradient is %s along dim %d.", form, dim);
        return true;
    }
    return false;
}

/* analytic = n + k basis with any k per row. */
static bool is_row_sum_free(ag_evidence *e, const ag_rows *r, int dim, softmax_of what)
{
    static const char *const name[] = { "y", "exp(y)", "softmax(x)" };
    if (r->extent < 3 || !fits_along_basis(e, r, e->right))
        return false;
    basis_ones(e);
    return cancels(e, r, 1e-5) &&
           ag_because(e, AG_CAUSE_ROW_SUM_MISSING, "The row-sum term is missing or wrong: analytic differs from the "
                      "right gradient by a multiple of %s in each row along dim %d, as softmax's does without "
                      "sum(gy y) in y (gy - sum(gy y)).", name[what], dim);
}

bool ag_is_row_sum_missing(ag_evidence *e)
{
    for (int dim = e->ndim - 1; dim >= 0; dim--) {
        if (e->shape[dim] < 2)
            continue;
        ag_rows r = ag_rows_along(e, dim);
        for (int o = output_like_input(e, 0); o >= 0; o = output_like_input(e, o + 1)) {
            const ag_check_output *y = &e->check->output[o];
            for (int what = Y; what <= EXP_Y; what++)
                if (basis_softmax(e, &r, (softmax_of)what, e->check->y + y->first) &&
                    (is_row_sum_known(e, &r, dim, (softmax_of)what, y) ||
                     is_row_sum_free(e, &r, dim, (softmax_of)what)))
                    return true;
        }
        if (basis_softmax(e, &r, EXP_X, NULL) && is_row_sum_free(e, &r, dim, EXP_X))
            return true;
    }
    return false;
}

/* cotangent = c minus its projection on y, in each row along each output's last dim. */
static void make_orthogonal_to_outputs(ag_evidence *e)
{
    ag_set_cotangent(e);
    for (int o = 0; o < e->check->output_count; o++) {
        const ag_check_output *out = &e->check->output[o];
        int64_t n = out->y.ndim == 0 ? 1 : out->y.shape[out->y.ndim - 1];
        for (int64_t first = out->first; first < out->first + out->numel; first += n) {
            const double *y = e->check->y + first;
            double *c = e->cotangent + first, along = 0, square = 0;
            for (int64_t i = 0; i < n; i++) {
                along += c[i] * y[i];
                square += y[i] * y[i];
            }
            for (int64_t i = 0; i < n && square > 0; i++)
                c[i] -= along / square * y[i];
        }
    }
}

/* If backward is right for a cotangent with sum(c y) = 0 in each row, it is wrong by that sum alone. This finds the
 * missing term also where softmax is inside the function: in attention, dS = P (dP - sum(dO O)). Only with a kept
 * Jacobian: it would cost too much without. */
bool ag_is_row_product_missing(ag_evidence *e)
{
    ag_check *k = e->check;
    if (k->jacobian == NULL || k->jacobian[e->number] == NULL)
        return false;
    make_orthogonal_to_outputs(e);
    if (!ag_check_gradient(k, e->number, e->cotangent, e->guess) || !k->backward(k, e->cotangent, e->grad) ||
        ag_largest(e->guess, e->n) < 1e-3 * e->right_max ||
        !ag_are_near(e->grad[e->number], e->guess, e->n, e->tolerance))
        return false;
    return ag_because(e, AG_CAUSE_ROW_SUM_MISSING, "The row-sum term is missing or wrong: analytic is right for "
                      "upstream gradients with sum(gy y) = 0 in each row of y, and only for them. As in attention, "
                      "dS = P (dP - sum(dO O)), without the sum.");
}

/* ---- Normalisation: with h = (x - mean(x)) / std, n = (g - mean(g) - h mean(g h)) / std. In each row sum(n) = 0,
 * because a shift of x does not change the result, and sum(n h) = 0, because a scale does not. ---- */

static const char normalised[] = "(g - mean(g) - xhat mean(g xhat)) / std";

/* analytic - n is a combination of 1 and x - mean(x). In rows of 3 only one of the two: both leave one equation. */
static bool is_norm_term_missing(ag_evidence *e, const ag_rows *r, int dim)
{
    const char *differs = "is missing or wrong: analytic differs from the right gradient by";
    basis_ones(e);
    if (!cancels(e, r, 1e-5))
        return false;
    if (fits_along_basis(e, r, e->right))
        return ag_because(e, AG_CAUSE_MEAN_MISSING,
                          "The mean term %s a constant in each row along dim %d. In a norm it is mean(g) in %s.",
                          differs, dim, normalised);
    basis_input(e, r, true);
    if (!cancels(e, r, 1e-2))
        return false;
    bool both = r->extent > 3 && fits_along_basis(e, r, e->guess);
    if (fits_along_basis(e, r, e->right))
        return ag_because(e, AG_CAUSE_VARIANCE_MISSING, "The variance term %s a multiple of x - mean(x) in each row "
                          "along dim %d. It is xhat mean(g xhat) in %s.", differs, dim, normalised);
    return both && ag_because(e, AG_CAUSE_VARIANCE_MISSING, "The mean and the variance term are both missing or "
                              "wrong: along dim %d, mean(g) and xhat mean(g xhat) in %s.", dim, normalised);
}

/* RMS norm has no mean: analytic - n is a multiple of x. */
static bool is_square_term_missing(ag_evidence *e, const ag_rows *r, int dim)
{
    basis_input(e, r, false);
    if (!cancels(e, r, 1e-2))
        return false;
    return fits_along_basis(e, r, e->right) &&
           ag_because(e, AG_CAUSE_VARIANCE_MISSING, "The term of the mean square, as in RMS norm, is missing or wrong: "
                      "analytic differs from the right gradient by a multiple of x in each row along dim %d.", dim);
}

bool ag_is_moment_missing(ag_evidence *e)
{
    for (int dim = e->ndim - 1; dim >= 0; dim--) {
        if (e->shape[dim] < 3)
            continue;
        ag_rows r = ag_rows_along(e, dim);
        if (is_norm_term_missing(e, &r, dim) || is_square_term_missing(e, &r, dim))
            return true;
    }
    return false;
}
