/* SPDX-License-Identifier: MIT
 *
 * explain_entries.c - faults that show in the Jacobian's entries A (analytic) and J (right), of output element j and
 * input element i: entries lost or too many, rows or columns moved along a dim, and entries times a number that another
 * operand of the function gives.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 512, SHIFTS = 3 };

static bool entries_is_zero(const ag_evidence *e, double value)
{
    return fabs(value) <= e->entry_tolerance;
}

/* The output's array; only functions of one output have their indices looked at. */
static const ag_array *entries_output(const ag_evidence *e)
{
    return &e->check->output[0].y;
}

/* ---- Entries lost, or too many ---- */

typedef enum mark { NOTHING, WRONG, RIGHT } mark;

/* Marks in guess_entry. leaks: WRONG entries are not 0 and should be; else they are 0 and should not be. False: other
 * entries differ, too, or all are wrong. */
static bool entries_mark(ag_evidence *e, bool leaks)
{
    int64_t count[3] = { 0 };
    for (int64_t k = 0; k < e->n * e->m; k++) {
        double a = e->entry[k], r = e->right_entry[k];
        if (isnan(r))
            return false;
        bool wrong = entries_is_zero(e, leaks ? r : a) && !entries_is_zero(e, leaks ? a : r);
        if (!wrong && fabs(a - r) > e->entry_tolerance)
            return false;
        mark is = wrong ? WRONG : entries_is_zero(e, r) ? NOTHING : RIGHT;
        e->guess_entry[k] = is;
        count[is]++;
    }
    return count[WRONG] > 0 && count[RIGHT] > 0;
}

/* For each value of a number that every entry has, whether wrong (bit 0) and right (bit 1) entries have it. */
typedef struct split {
    unsigned char seen[LONGEST];
    int64_t extent, wrong, first, last; /* the count of values with wrong entries, and the first and last of them */
} split;

static void split_add(split *s, int64_t value, double what)
{
    if (what == WRONG)
        s->seen[value] |= 1;
    else if (what == RIGHT)
        s->seen[value] |= 2;
}

/* Whether no value has both, some are wrong, and at least `least` are right. */
static bool split_is_clean(split *s, int64_t least)
{
    int64_t right = 0;
    s->wrong = 0;
    s->first = -1;
    for (int64_t v = 0; v < s->extent; v++) {
        if (s->seen[v] == 3)
            return false;
        right += s->seen[v] == 2;
        if (s->seen[v] == 1) {
            s->first = s->wrong == 0 ? v : s->first;
            s->last = v;
            s->wrong++;
        }
    }
    return s->wrong > 0 && right >= least;
}

/* By the index of the output in a dim. */
static bool entries_split_by_output(const ag_evidence *e, int dim, split *s)
{
    const ag_array *y = entries_output(e);
    int64_t index[AG_MAX_DIMS];
    memset(s, 0, sizeof *s);
    s->extent = y->shape[dim];
    if (s->extent < 2 || s->extent > LONGEST)
        return false;
    for (int64_t j = 0; j < e->m; j++) {
        ag_index_of(y->ndim, y->shape, j, index);
        for (int64_t i = 0; i < e->n; i++)
            split_add(s, index[dim], e->guess_entry[i * e->m + j]);
    }
    return split_is_clean(s, 2);
}

/* By the order of two indices, the output's in dim `of_y` and the input's in dim `of_x`: 0 less, 1 equal, 2 more. */
static bool entries_split_by_order(const ag_evidence *e, int of_y, int of_x, split *s)
{
    const ag_array *y = entries_output(e);
    int64_t at_y[AG_MAX_DIMS], at_x[AG_MAX_DIMS];
    memset(s, 0, sizeof *s);
    s->extent = 3;
    for (int64_t i = 0; i < e->n; i++) {
        ag_index_of(e->ndim, e->shape, i, at_x);
        for (int64_t j = 0; j < e->m; j++) {
            ag_index_of(y->ndim, y->shape, j, at_y);
            split_add(s, 1 + (at_y[of_y] > at_x[of_x]) - (at_y[of_y] < at_x[of_x]), e->guess_entry[i * e->m + j]);
        }
    }
    return split_is_clean(s, 1);
}

/* "at index 4", "at indices 3 to 5" */
static void say_indices(ag_evidence *e, const split *s)
{
    if (s->wrong == 1)
        ag_say(e, "at index %lld", (long long)s->first);
    else if (s->wrong == s->last - s->first + 1)
        ag_say(e, "at indices %lld to %lld", (long long)s->first, (long long)s->last);
    else
        ag_say(e, "at %lld indices, the first is %lld,", (long long)s->wrong, (long long)s->first);
}

static const char *entries_order_text(const split *s)
{
    static const char *const text[8] = { "", "below", "equal to", "at most", "above", "other than", "at least", "" };
    int wrong = 0;
    for (int v = 0; v < 3; v++)
        wrong |= s->seen[v] == 1 ? 1 << v : 0;
    return text[wrong];
}

/* A sum that runs the wrong way: both Jacobians have the same number in the whole of each column, but on opposite sides
 * of a diagonal. */
static bool entries_run_backwards(ag_evidence *e)
{
    const ag_array *y = entries_output(e);
    if (e->n != e->m || e->ndim != 1 || y->ndim != 1)
        return false;
    for (int side = 0; side < 2; side++) { /* right has the outputs from i on, or up to i */
        bool fits = true;
        for (int64_t i = 0; i < e->n && fits; i++)
            for (int64_t j = 0; j < e->m && fits; j++) {
                bool of_right = side == 0 ? j >= i : j <= i, of_wrong = side == 0 ? j <= i : j >= i;
                double slope = e->right_entry[i * e->m + i];
                fits = fabs(e->right_entry[i * e->m + j] - (of_right ? slope : 0)) <= e->entry_tolerance &&
                       fabs(e->entry[i * e->m + j] - (of_wrong ? slope : 0)) <= e->entry_tolerance;
            }
        if (fits)
            return ag_because(e, AG_CAUSE_WRONG_INDEX, "A sum that runs the wrong way: analytic at i has the sum of "
                                                       "gy over "
                              "the outputs %s, right is the sum over those %s. Usually a running sum that backward "
                              "does not take from the other end.", side == 0 ? "up to i" : "from i on",
                              side == 0 ? "from i on" : "up to i");
    }
    return false;
}

/* Whole output positions, or the entries on one side of a diagonal, contribute nothing or too much. */
bool ag_is_entry_lost(ag_evidence *e)
{
    split s;
    if (e->right_entry == NULL || e->check->output_count != 1)
        return false;
    if (entries_run_backwards(e))
        return true;
    for (int leaks = 0; leaks < 2; leaks++) {
        if (!entries_mark(e, leaks == 1))
            continue;
        for (int dim = 0; dim < entries_output(e)->ndim && leaks == 0; dim++)
            if (entries_split_by_output(e, dim, &s)) {
                ag_because(e, AG_CAUSE_SKIPPED, "Skipped: the elements ");
                say_indices(e, &s);
                ag_say(e, " of dim %d of output 0 contribute nothing to analytic; all others are right. Usually a loop "
                       "that ends too early or begins too late.", dim);
                return true;
            }
        for (int of_y = 0; of_y < entries_output(e)->ndim; of_y++)
            for (int of_x = 0; of_x < e->ndim; of_x++)
                if (entries_split_by_order(e, of_y, of_x, &s))
                    return ag_because(e, leaks == 1 ? AG_CAUSE_MASK_LEAK : AG_CAUSE_SKIPPED,
                                      "%s: outputs whose index in dim %d is %s the element's in dim %d contribute %s; "
                                      "all others are right. Usually a mask %s.",
                                      leaks == 1 ? "Too much" : "Skipped", of_y, entries_order_text(&s), of_x,
                                      leaks == 1 ? "to analytic and should not" : "nothing to analytic and should",
                                      leaks == 1 ? "lost in the backward" : "that excludes too much");
    }
    return false;
}

void ag_say_wrong_entries(ag_evidence *e)
{
    split s;
    if (e->right_entry == NULL || e->check->output_count != 1)
        return;
    for (int64_t k = 0; k < e->n * e->m; k++)
        e->guess_entry[k] = fabs(e->entry[k] - e->right_entry[k]) > e->entry_tolerance ? WRONG
                            : entries_is_zero(e, e->right_entry[k])                    ? NOTHING
                                                                                       : RIGHT;
    for (int dim = 0; dim < entries_output(e)->ndim; dim++)
        if (entries_split_by_output(e, dim, &s)) {
            ag_say(e, " It is wrong only through the outputs ");
            say_indices(e, &s);
            ag_say(e, " of dim %d.", dim);
            return;
        }
    for (int of_y = 0; of_y < entries_output(e)->ndim; of_y++)
        for (int of_x = 0; of_x < e->ndim; of_x++)
            if (entries_split_by_order(e, of_y, of_x, &s)) {
                ag_say(e, " It is wrong only through outputs whose index in dim %d is %s the element's in dim "
                          "%d.", of_y,
                       entries_order_text(&s), of_x);
                return;
            }
}

/* ---- Rows and columns moved along a dim ---- */

/* guess_entry = J with the index of one dim, of the output or of the input, moved: entry at index k is that of source
 * k + shift, or, shift 0, of the reversed index. NaN where the source lies outside. */
static void entries_guess_moved(ag_evidence *e, bool output, int dim, int64_t shift)
{
    const int64_t *shape = output ? entries_output(e)->shape : e->shape;
    int ndim = output ? entries_output(e)->ndim : e->ndim;
    int64_t step = 1, extent = shape[dim];
    for (int d = dim + 1; d < ndim; d++)
        step *= shape[d];
    for (int64_t i = 0; i < e->n; i++)
        for (int64_t j = 0; j < e->m; j++) {
            int64_t k = (output ? j : i) / step % extent, from = shift == 0 ? extent - 1 - k : k + shift;
            int64_t move = (from - k) * step;
            bool inside = from >= 0 && from < extent;
            int64_t at = (output ? i : i + move) * e->m + (output ? j + move : j);
            e->guess_entry[i * e->m + j] = inside ? e->right_entry[at] : (double)NAN;
        }
}

/* The Jacobian itself is transposed: p^T used for p in y = p v. */
static bool entries_are_transposed(ag_evidence *e)
{
    for (int64_t i = 0; i < e->n && e->n == e->m; i++)
        for (int64_t j = 0; j < e->m; j++)
            e->guess_entry[i * e->m + j] = e->right_entry[j * e->m + i];
    return e->n == e->m && ag_fits_entries(e) &&
           ag_because(e, AG_CAUSE_TRANSPOSED, "The Jacobian is transposed: output element j gives to element i of "
                                              "analytic "
                      "what i should give to j. Usually a matrix in place of its transpose in the backward.");
}

bool ag_is_entry_moved(ag_evidence *e)
{
    if (e->right_entry == NULL || e->check->output_count != 1)
        return false;
    if (entries_are_transposed(e))
        return true;
    for (int output = 0; output < 2; output++) {
        int ndim = output == 1 ? entries_output(e)->ndim : e->ndim;
        for (int dim = 0; dim < ndim; dim++) {
            int64_t extent = output == 1 ? entries_output(e)->shape[dim] : e->shape[dim];
            for (int64_t k = 0; k <= 2 * SHIFTS && extent > 2; k++) {
                int64_t shift = k % 2 == 1 ? (k + 1) / 2 : -k / 2; /* 0, 1, -1, 2, -2, .. */
                if (llabs((long long)shift) > extent / 2)
                    break;
                entries_guess_moved(e, output == 1, dim, shift);
                if (!ag_fits_entries(e))
                    continue;
                const char *what = output == 1 ? "upstream gradient" : "gradient";
                if (shift == 0)
                    return ag_because(e, AG_CAUSE_WRONG_INDEX, "Reversed: the %s is %s in reversed order along dim %d. "
                                      "Usually an index counted from the wrong end.", what,
                                      output == 1 ? "read" : "written", dim);
                return ag_because(e, AG_CAUSE_WRONG_INDEX, "Shifted: the %s is %s off by %lld along dim %d: entry i of "
                                  "analytic %s entry i %c %lld. Usually an index off by one, or a wrong padding.", what,
                                  output == 1 ? "read" : "written", llabs((long long)shift), dim,
                                  output == 1 ? "has the contribution that belongs to" : "is right for",
                                  shift > 0 ? '+' : '-', llabs((long long)shift));
            }
        }
    }
    return false;
}

/* ---- Entries times a number of their row or column ---- */

/* Operands: -1 is the number 1, then the inputs, then the output. */
static const ag_array *entries_operand(const ag_evidence *e, int operand)
{
    return operand < e->check->input_count ? &e->check->input[operand].x : entries_output(e);
}

static void say_operand(ag_evidence *e, int operand)
{
    if (operand < e->check->input_count)
        ag_say_input(e, operand);
    else
        ag_say(e, "the output");
}

/* value[k] = the operand's element where it is broadcast to the shape of the output, or of the input. False: its shape
 * is another. */
static bool entries_spread(const ag_evidence *e, int operand, bool output, double *value)
{
    const ag_array *to = output ? entries_output(e) : &e->input->x, *from = operand < 0 ? NULL : entries_operand(e,
        operand);
    int64_t n = output ? e->m : e->n, index[AG_MAX_DIMS];
    if (operand >= 0 && (from->value == NULL || (ag_broadcast_dims(from, to) == 0 &&
        (from->ndim != to->ndim || memcmp(from->shape, to->shape, (size_t)to->ndim * sizeof *to->shape) != 0))))
        return false;
    for (int64_t k = 0; k < n; k++) {
        int64_t at = 0;
        ag_index_of(to->ndim, to->shape, k, index);
        for (int d = 0; from != NULL && d < from->ndim; d++)
            at = at * from->shape[d] + (from->shape[d] == 1 ? 0 : index[d + to->ndim - from->ndim]);
        value[k] = from == NULL ? 1 : from->value[at];
    }
    return true;
}

/* Whether A v = J u everywhere, u and v being numbers of the output element or of the input element. A v of 0 says
 * nothing of an A that is not. */
static bool entries_is_quotient(const ag_evidence *e, const double *u, const double *v, bool output)
{
    for (int64_t i = 0; i < e->n; i++)
        for (int64_t j = 0; j < e->m; j++) {
            int64_t k = output ? j : i;
            double off = e->entry[i * e->m + j] * v[k] - e->right_entry[i * e->m + j] * u[k];
            bool vacuous = v[k] == 0 && !entries_is_zero(e, e->entry[i * e->m + j]);
            if (vacuous || !(fabs(off) <= e->entry_tolerance * fmax(fabs(u[k]), fabs(v[k]))))
                return false;
        }
    return true;
}

static bool say_quotient(ag_evidence *e, int u, int v)
{
    if (u < 0 || v < 0) {
        ag_because(e, AG_CAUSE_OPERAND, "A factor %s: ", u < 0 ? "is left out" : "too many");
        say_operand(e, u < 0 ? v : u);
        ag_say(e, "; %s by that, analytic is the right gradient.", u < 0 ? "multiplied" : "divided");
        return true;
    }
    ag_because(e, AG_CAUSE_OPERAND, "A factor is wrong: ");
    say_operand(e, u);
    ag_say(e, " in place of ");
    say_operand(e, v);
    ag_say(e, "; with that it is the right gradient.");
    return true;
}

/* The input itself and the output, whose quotient is the slope of many functions. */
static bool entries_are_one(const ag_evidence *e, int u, int v)
{
    int output = e->check->input_count;
    return (u == e->number && v == output) || (v == e->number && u == output);
}

/* analytic is right but for a factor that is another operand of the function: A = J u / v. */
bool ag_is_factor_of_operand(ag_evidence *e)
{
    if (e->right_entry == NULL || e->check->output_count != 1)
        return false;
    double *u_value = e->slope, *v_value = e->slope + (e->m > e->n ? e->m : e->n);
    int operands = e->check->input_count + 1;
    for (int pair = 0; pair < 2; pair++) /* single operands first */
        for (int output = 1; output >= 0; output--)
            for (int u = -1; u < operands; u++)
                for (int v = -1; v < operands; v++)
                    if (u != v && (u >= 0 && v >= 0) == (pair == 1) && !entries_are_one(e, u, v) &&
                        entries_spread(e, u, output == 1, u_value) && entries_spread(e, v, output == 1, v_value) &&
                        entries_is_quotient(e, u_value, v_value, output == 1))
                        return say_quotient(e, u, v);
    return false;
}
