/* SPDX-License-Identifier: MIT
 *
 * explain_part.c - a number times the right gradient on a part of its elements: those of one branch, or of each row.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

/* Appends the condition under which elements are wrong: an operand of the same shape is negative, or positive, there.
 * False: there is none. */
static bool say_sign_condition(ag_evidence *e)
{
    for (int k = 0; k < e->check->input_count; k++) {
        const ag_check_input *in = &e->check->input[k];
        bool alike = in->x.value != NULL && in->numel == e->n, fits[2] = { alike, alike };
        for (int64_t i = 0; i < e->n && alike; i++)
            for (int side = 0; side < 2; side++) {
                ag_mark mark = ag_evidence_mark(e, i);
                bool there = side == 0 ? in->x.value[i] < 0 : in->x.value[i] > 0;
                fits[side] = fits[side] && (mark == AG_MARK_NOTHING || there == (mark == AG_MARK_WRONG));
            }
        if (fits[0] || fits[1]) {
            ag_say(e, ", those where %s is %s", ag_operand_text(e, k), fits[0] ? "negative" : "positive");
            return true;
        }
    }
    return false;
}

/* A number times n on some elements, and right elsewhere. */
bool ag_is_scaled_in_part(ag_evidence *e)
{
    int64_t speaking = 0;
    for (int64_t i = 0; i < e->n; i++)
        e->basis[i] = ag_evidence_mark(e, i) == AG_MARK_WRONG ? e->right[i] : 0;
    double factor = ag_factor_of(e->analytic, e->basis, e->n, 1);
    for (int64_t i = 0; i < e->n; i++) {
        bool wrong = ag_evidence_mark(e, i) == AG_MARK_WRONG;
        if (wrong && !(fabs(e->analytic[i] - factor * e->right[i]) <= e->tolerance))
            return false;
        speaking += wrong && fabs(e->right[i]) > 1e-3 * e->right_max;
    }
    ag_place place = ag_evidence_place(e);
    bool opposite = fabs(factor + 1) < 1e-5;
    if (place.right < 2 || speaking < 3)
        return false;
    ag_because(e, opposite ? AG_CAUSE_SIGN : AG_CAUSE_FACTOR, "%s in a part: analytic is %.*g times the right gradient "
               "on %s", opposite ? "The sign is flipped" : "Off by a constant factor", e->exact > 1e-10 ? 5 : 8, factor,
               place.text);
    if (!say_sign_condition(e) && opposite && strstr(place.text, "those at ind") == NULL) /* signs may be chance */
        return false;
    ag_say(e, "; elsewhere it is right. Usually %s lost in one branch.", opposite ? "a minus" : "a factor");
    e->found.factor = factor;
    return true;
}

/* analytic is, in each row along a dim, another number times n. Numbers of few rows may be 1. */
bool ag_is_scaled_by_row(ag_evidence *e)
{
    for (int dim = e->ndim - 1; dim >= 0; dim--) {
        ag_rows r = ag_rows_along(e, dim);
        double low = (double)INFINITY, high = -(double)INFINITY;
        bool fits = r.extent > 2 && r.count > 1;
        for (int64_t row = 0; row < r.count && fits; row++) {
            int64_t first = ag_row_start(&r, row), end = first + r.extent * r.step, speaking = 0;
            double factor = ag_factor_of(e->analytic + first, e->right + first, r.extent, r.step);
            for (int64_t i = first; i < end && fits; i += r.step) {
                fits = fabs(e->analytic[i] - factor * e->right[i]) <= e->tolerance;
                speaking += fabs(e->right[i]) > 10 * e->tolerance;
            }
            fits = fits && speaking != 1;
            low = speaking > 0 ? fmin(low, factor) : low;
            high = speaking > 0 ? fmax(high, factor) : high;
        }
        if (fits && low < high)
            return ag_because(e, AG_CAUSE_FACTOR, "Off by a factor that is another in each row along dim %d: analytic "
                              "/ right goes from %.5g to %.5g, and is constant in each. Usually a weight, a count or a "
                              "norm of the row that is left out, or is another row's.", dim, low, high);
    }
    return false;
}
