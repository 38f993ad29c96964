/* SPDX-License-Identifier: MIT
 *
 * explain_nothing.c - a wrong gradient that no known fault reproduces: where the wrong elements lie, and what the
 * analytic gradient a, or its error a - n, is proportional to or constant along. Only what holds for the whole gradient
 * is said.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

/* guess = a, or a - n. */
static void nothing_take(ag_evidence *e, bool error)
{
    for (int64_t i = 0; i < e->n; i++)
        e->guess[i] = e->analytic[i] - (error ? e->right[i] : 0);
}

/* Whether guess is *factor times the vector, on at least three elements. */
static bool nothing_is_multiple(const ag_evidence *e, const double *vector, double *factor)
{
    int64_t speaking = 0;
    *factor = ag_factor_of(e->guess, vector, e->n, 1);
    for (int64_t i = 0; i < e->n; i++) {
        if (!(fabs(e->guess[i] - *factor * vector[i]) <= e->tolerance))
            return false;
        speaking += fabs(*factor * vector[i]) > 10 * e->tolerance;
    }
    return speaking > 2;
}

/* Whether an array has the shape of the gradient. */
static bool nothing_is_alike(const ag_evidence *e, const ag_array *x)
{
    return x->ndim == e->ndim && x->value != NULL &&
           memcmp(x->shape, e->shape, (size_t)e->ndim * sizeof *x->shape) == 0;
}

static bool say_multiple(ag_evidence *e, const double *vector, bool error, const char *name)
{
    double factor;
    if (!nothing_is_multiple(e, vector, &factor))
        return false;
    ag_say(e, " There analytic%s is %.6g times %s.", error ? " - right" : "", factor, name);
    return true;
}

static bool say_proportional(ag_evidence *e)
{
    const ag_check *k = e->check;
    for (int error = 0; error < 2; error++) {
        nothing_take(e, error == 1);
        for (int i = 0; i < k->input_count; i++)
            if (nothing_is_alike(e, &k->input[i].x) &&
                say_multiple(e, k->input[i].x.value, error == 1, ag_operand_text(e, i)))
                return true;
        for (int o = 0; o < k->output_count; o++)
            if (nothing_is_alike(e, &k->output[o].y) &&
                (say_multiple(e, k->cotangent + k->output[o].first, error == 1, "gy") ||
                 say_multiple(e, k->y + k->output[o].first, error == 1, "y")))
                return true;
    }
    return false;
}

/* Whether value[] is the same along the dim, everywhere; NaN fits all. */
static bool nothing_is_constant(const ag_evidence *e, int dim, const double *value, const double *tolerance)
{
    ag_rows r = ag_rows_along(e, dim);
    int64_t compared = 0;
    for (int64_t row = 0; row < r.count; row++) {
        int64_t first = ag_row_start(&r, row), end = first + r.extent * r.step, base = -1;
        for (int64_t i = first; i < end; i += r.step) {
            if (isnan(value[i]))
                continue;
            base = base < 0 || tolerance[i] < tolerance[base] ? i : base;
        }
        for (int64_t i = first; i < end; i += r.step) {
            if (base >= 0 && !isnan(value[i]) && fabs(value[i] - value[base]) > tolerance[i] + tolerance[base])
                return false;
            compared += i != base && !isnan(value[i]);
        }
    }
    return 3 * compared > e->n;
}

/* The same along a dim: the ratio a / n, or the error. */
static bool say_constant(ag_evidence *e)
{
    for (int error = 0; error < 2; error++) {
        for (int64_t i = 0; i < e->n; i++) {
            bool zero = fabs(e->right[i]) <= 1e-3 * e->right_max;
            e->guess[i] = error == 1 ? e->analytic[i] - e->right[i] : zero ? (double)NAN : e->analytic[i] / e->right[i];
            e->basis[i] = error == 1 ? e->tolerance : 2 * e->tolerance / fabs(e->right[i]);
        }
        for (int dim = e->ndim - 1; dim >= 0; dim--)
            if (e->shape[dim] > 2 && nothing_is_constant(e, dim, e->guess, e->basis)) {
                ag_say(e, " There analytic %s right is constant along dim %d.", error == 1 ? "-" : "/", dim);
                return true;
            }
    }
    return false;
}

/* Of the wrong elements, how a is related to n where n is not 0. */
typedef struct nothing_ratios {
    double low, high, factor; /* of a / n; factor: the s for which s n is closest to a */
    bool constant;            /* a is factor * n up to the tolerance, which is small beside n */
    int64_t zero;             /* wrong elements where n is 0 */
} nothing_ratios;

static nothing_ratios nothing_find_ratios(const ag_evidence *e)
{
    nothing_ratios found = { (double)INFINITY, -(double)INFINITY, 0, true, 0 };
    for (int64_t i = 0; i < e->n; i++) {
        double a = e->analytic[i], n = e->right[i];
        bool wrong = ag_evidence_mark(e, i) == AG_MARK_WRONG, zero = fabs(n) <= 1e-9 * e->right_max;
        e->basis[i] = wrong && !zero ? n : 0;
        found.zero += wrong && zero;
        if (wrong && !zero) {
            found.low = fmin(found.low, a / n);
            found.high = fmax(found.high, a / n);
        }
    }
    found.factor = ag_factor_of(e->analytic, e->basis, e->n, 1);
    for (int64_t i = 0; i < e->n; i++)
        if (e->basis[i] != 0)
            found.constant &= fabs(e->analytic[i] - found.factor * e->basis[i]) <= e->tolerance;
    found.constant &= e->tolerance <= 1e-3 * ag_largest(e->basis, e->n);
    return found;
}

static void say_ratios(ag_evidence *e)
{
    nothing_ratios found = nothing_find_ratios(e);
    if (found.low > found.high || (!found.constant && (say_proportional(e) || (found.zero == 0 && say_constant(e)))))
        return;
    ag_say(e, found.zero == 0 ? " There analytic" : " Where the right gradient is not 0, analytic");
    if (found.constant && fabs(found.factor) <= 1e-9)
        ag_say(e, " is 0");
    else if (found.constant)
        ag_say(e, " is %.*g times the right gradient", e->exact > 1e-10 ? 4 : 6, found.factor);
    else
        ag_say(e, " / right goes from %.4g to %.4g", found.low, found.high);
    if (found.zero > 0)
        ag_say(e, "; on %lld of these elements the right one is 0 and analytic is not", (long long)found.zero);
    ag_say(e, ".");
}

void ag_explain_nothing(ag_evidence *e)
{
    if (!e->whole) {
        ag_because(e, AG_CAUSE_UNKNOWN, "The input is too large, %lld elements, to compare its gradient as a whole; "
                   "along %lld random directions analytic is no constant times the right gradient.",
                   (long long)e->input->numel, (long long)e->n);
        return;
    }
    ag_place place = ag_evidence_place(e);
    if (e->right_max <= 1e-9 * e->analytic_max) {
        ag_because(e, AG_CAUSE_UNKNOWN, "The right gradient is 0, the outputs do not depend on the input; analytic "
                   "is not 0 on %s, up to %.6g.", place.text, e->analytic_max);
        return;
    }
    ag_because(e, AG_CAUSE_UNKNOWN, "None of the usual faults fits the gradient as a whole. Wrong: %s.", place.text);
    say_ratios(e);
    ag_say_wrong_entries(e);
    ag_say_where_constant(e);
}
