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

/* ---- Operands ---- */

/* Operands: -1 is the number 1, then the inputs, then the output. */
static const ag_array *entries_operand(const ag_evidence *e, int operand)
{
    return operand < e->check->input_count ? &e->check->input[operand].x : entries_output(e);
}

/* How an operand is read. */
typedef enum entries_way {
    AS_IT_IS, AT_NEXT, AT_PREVIOUS, AT_FIRST, REVERSED, ALONG_ANOTHER, SQUARED, HALF_AWAY, ENTRIES_WAYS
} entries_way;

/* The index of an operand's dim of this extent, in another way than `at`; -1: there is none. */
static int64_t entries_way_of(entries_way way, int64_t at, int64_t extent)
{
    return way == AT_NEXT       ? (at + 1) % extent
           : way == AT_PREVIOUS ? (at + extent - 1) % extent
           : way == AT_FIRST    ? 0
           : way == REVERSED    ? extent - 1 - at
           : way == HALF_AWAY   ? (extent % 2 == 0 ? (at + extent / 2) % extent : -1)
                                : at;
}

/* value[k] = the operand's element where it is broadcast to the shape of the output, or of the input; its last dim is
 * read in the given way, ALONG_ANOTHER: by the index of another dim, modulo its extent. False: its shape is another, or
 * has no such way. */
static bool entries_spread(const ag_evidence *e, int operand, bool output, entries_way way, double *value)
{
    const ag_array *to = output ? entries_output(e) : &e->input->x, *from = operand < 0 ? NULL : entries_operand(e,
        operand);
    int64_t n = output ? e->m : e->n, index[AG_MAX_DIMS];
    if (operand >= 0 && (from->value == NULL || (ag_broadcast_dims(from, to) == 0 &&
        (from->ndim != to->ndim || memcmp(from->shape, to->shape, (size_t)to->ndim * sizeof *to->shape) != 0))))
        return false;
    if (way != AS_IT_IS && (from == NULL || from->ndim == 0 || (way == ALONG_ANOTHER && to->ndim < 2)))
        return false;
    for (int64_t k = 0; k < n; k++) {
        int64_t at = 0;
        ag_index_of(to->ndim, to->shape, k, index);
        for (int d = 0; from != NULL && d < from->ndim; d++) {
            bool last = d == from->ndim - 1;
            int64_t here = index[d + to->ndim - from->ndim - (last && way == ALONG_ANOTHER)];
            here = from->shape[d] == 1 ? 0 : last ? entries_way_of(way, here % from->shape[d], from->shape[d]) : here;
            if (here < 0)
                return false;
            at = at * from->shape[d] + here;
        }
        value[k] = from == NULL ? 1 : from->value[at];
        value[k] *= way == SQUARED ? value[k] : 1;
    }
    return true;
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

/* The number: the output's index in dim a; whether that is below, at or above the input's in dim b; or whether operand
 * a is negative at the output element. */
typedef enum split_by { BY_OUTPUT, BY_ORDER, BY_SIGN } split_by;

static bool entries_split(const ag_evidence *e, split_by by, int a, int b, split *s)
{
    const ag_array *y = entries_output(e);
    int64_t at_y[AG_MAX_DIMS], at_x[AG_MAX_DIMS];
    *s = (split){ .extent = by == BY_OUTPUT ? y->shape[a] : by == BY_ORDER ? 3 : 2 };
    if (s->extent < 2 || s->extent > LONGEST ||
        (by == BY_SIGN && !entries_spread(e, a, true, AS_IT_IS, e->slope)))
        return false;
    for (int64_t i = 0; i < e->n; i++) {
        ag_index_of(e->ndim, e->shape, i, at_x);
        for (int64_t j = 0; j < e->m; j++) {
            ag_index_of(y->ndim, y->shape, j, at_y);
            int64_t value = by == BY_OUTPUT  ? at_y[a]
                            : by == BY_ORDER ? 1 + (at_y[a] > at_x[b]) - (at_y[a] < at_x[b])
                                             : !(e->slope[j] < 0);
            double what = e->guess_entry[i * e->m + j];
            s->seen[value] |= what == WRONG ? 1 : what == RIGHT ? 2 : 0;
        }
    }
    return split_is_clean(s, by == BY_OUTPUT ? 2 : 1);
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
                              "gy over the outputs %s, right is the sum over those %s. Usually a running sum that "
                              "backward does not take from the other end.", side == 0 ? "up to i" : "from i on",
                              side == 0 ? "from i on" : "up to i");
    }
    return false;
}

/* Whole output positions, or the entries on one side of a diagonal, contribute nothing or too much. */
bool ag_is_entry_lost(ag_evidence *e)
{
    split s;
    if (entries_run_backwards(e))
        return true;
    for (int leaks = 0; leaks < 2; leaks++) {
        if (!entries_mark(e, leaks == 1))
            continue;
        for (int dim = 0; dim < entries_output(e)->ndim && leaks == 0; dim++)
            if (entries_split(e, BY_OUTPUT, dim, 0, &s)) {
                ag_because(e, AG_CAUSE_SKIPPED, "Skipped: the elements ");
                say_indices(e, &s);
                ag_say(e, " of dim %d of output 0 contribute nothing to analytic; all others are right. Usually a loop "
                       "that ends too early or begins too late.", dim);
                return true;
            }
        for (int operand = 0; operand < e->check->input_count; operand++)
            if (entries_split(e, BY_SIGN, operand, 0, &s))
                return ag_because(e, leaks == 1 ? AG_CAUSE_MASK_LEAK : AG_CAUSE_SKIPPED, "%s: outputs at which %s is "
                                  "%s contribute %s; all others are right. Usually a branch lost in the backward.",
                                  leaks == 1 ? "Too much" : "Skipped", ag_operand_text(e, operand),
                                  s.seen[0] == 1 ? "negative" : "positive",
                                  leaks == 1 ? "to analytic and should not" : "nothing to analytic and should");
        for (int of_y = 0; of_y < entries_output(e)->ndim; of_y++)
            for (int of_x = 0; of_x < e->ndim; of_x++)
                if (entries_split(e, BY_ORDER, of_y, of_x, &s))
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
        if (entries_split(e, BY_OUTPUT, dim, 0, &s)) {
            ag_say(e, " It is wrong only through the outputs ");
            say_indices(e, &s);
            ag_say(e, " of dim %d.", dim);
            return;
        }
    for (int of_y = 0; of_y < entries_output(e)->ndim; of_y++)
        for (int of_x = 0; of_x < e->ndim; of_x++)
            if (entries_split(e, BY_ORDER, of_y, of_x, &s)) {
                ag_say(e, " It is wrong only through outputs whose index in dim %d is %s the element's in dim %d.",
                       of_y, entries_order_text(&s), of_x);
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
    int64_t step = ag_step_of(ndim, shape, dim), extent = shape[dim];
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
                      "analytic what i should give to j. Usually a matrix in place of its transpose in the backward.");
}

bool ag_is_entry_moved(ag_evidence *e)
{
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

/* Whether A v = J u everywhere, u and v being numbers of the output element or of the input element; part: wherever A
 * is wrong, on three elements at least. A v of 0 says nothing of an A that is not. */
static bool entries_is_quotient(const ag_evidence *e, const double *u, const double *v, bool output, bool part)
{
    int64_t wrong = 0, last = -1;
    for (int64_t i = 0; i < e->n; i++)
        for (int64_t j = 0; j < e->m; j++) {
            int64_t k = output ? j : i;
            double a = e->entry[i * e->m + j], r = e->right_entry[i * e->m + j], off = a * v[k] - r * u[k];
            if (part && fabs(a - r) <= e->entry_tolerance)
                continue;
            bool vacuous = v[k] == 0 && !entries_is_zero(e, a);
            if (vacuous || !(fabs(off) <= e->entry_tolerance * fmax(fabs(u[k]), fabs(v[k]))))
                return false;
            wrong += i != last;
            last = i;
        }
    return !part || wrong > 2;
}

static bool say_quotient(ag_evidence *e, int u, int v, bool part)
{
    const char *where = part ? " on the wrong elements" : "";
    if (u < 0 || v < 0)
        return ag_because(e, AG_CAUSE_OPERAND, "A factor %s: %s; %s by that, analytic is the right gradient%s.",
                          u < 0 ? "is left out" : "too many", ag_operand_text(e, u < 0 ? v : u),
                          u < 0 ? "multiplied" : "divided", where);
    return ag_because(e, AG_CAUSE_OPERAND, "A factor is wrong: %s in place of %s; with that it is the right "
                      "gradient%s.", ag_operand_text(e, u), ag_operand_text(e, v), where);
}

/* The input itself and the output, whose quotient is the slope of many functions. */
static bool entries_are_one(const ag_evidence *e, int u, int v)
{
    int output = e->check->input_count;
    return (u == e->number && v == output) || (v == e->number && u == output);
}

/* An operand that is read in another way than forward reads it, as a factor: A = J w' / w. Right elements may lie
 * beside wrong ones. The other half of the input itself may be left out: A = J / w'. */
static bool entries_is_read_otherwise(ag_evidence *e)
{
    static const char *const words[] = { "", "at the next index", "at the index before", "at its first index",
                                        "in reversed order", "at an index of another dim", "squared" };
    double *u_value = e->slope, *v_value = e->slope + (e->m > e->n ? e->m : e->n);
    if (entries_spread(e, e->number, false, HALF_AWAY, v_value) && entries_spread(e, -1, false, AS_IT_IS, u_value) &&
        entries_is_quotient(e, u_value, v_value, false, true))
        return ag_because(e, AG_CAUSE_OPERAND, "A factor is left out: the other half of the input; multiplied by that, "
                          "analytic is the right gradient on the wrong elements.");
    for (int operand = 0; operand < e->check->input_count; operand++)
        for (int output = 1; output >= 0; output--)
            for (entries_way way = AT_NEXT; way <= SQUARED; way++) {
                if (operand == e->number || !entries_spread(e, operand, output == 1, AS_IT_IS, v_value) ||
                    !entries_spread(e, operand, output == 1, way, u_value) ||
                    !entries_is_quotient(e, u_value, v_value, output == 1, true))
                    continue;
                bool squared = way == SQUARED;
                return ag_because(e, squared ? AG_CAUSE_OPERAND : AG_CAUSE_WRONG_INDEX, "%s: as a factor of the "
                                  "gradient %s is read %s; with its own element analytic is right.",
                                  squared ? "A factor too many" : "A wrong index", ag_operand_text(e, operand),
                                  words[way]);
            }
    return false;
}

/* An operand is a factor of the other side: A = J w(input's index) / w(output's index), or the other way round. */
bool ag_is_factor_misplaced(ag_evidence *e)
{
    double *u_value = e->slope, *v_value = e->slope + (e->m > e->n ? e->m : e->n);
    for (int operand = 0; operand < e->check->input_count; operand++) {
        if (operand == e->number || !entries_spread(e, operand, false, AS_IT_IS, u_value) ||
            !entries_spread(e, operand, true, AS_IT_IS, v_value))
            continue;
        for (int64_t i = 0; i < e->n; i++)
            for (int64_t j = 0; j < e->m; j++)
                e->guess_entry[i * e->m + j] =
                    fabs(v_value[j]) > 1e-6 ? e->right_entry[i * e->m + j] * u_value[i] / v_value[j] : (double)NAN;
        if (ag_fits_entries(e))
            return ag_because(e, AG_CAUSE_OPERAND, "A factor is in the wrong place: %s multiplies the result, where it "
                              "multiplies gy before the sums. Usually gy in place of gy times that operand inside of a "
                              "sum.", ag_operand_text(e, operand));
    }
    return false;
}

/* A = J u / v, on all elements or (part) on the wrong ones. */
static bool entries_is_factor(ag_evidence *e, bool part)
{
    double *u_value = e->slope, *v_value = e->slope + (e->m > e->n ? e->m : e->n);
    int operands = e->check->input_count + 1;
    for (int pair = 0; pair < 2; pair++) /* single operands first */
        for (int output = 1; output >= 0; output--)
            for (int u = -1; u < operands; u++)
                for (int v = -1; v < operands; v++)
                    if (u != v && (u >= 0 && v >= 0) == (pair == 1) && !entries_are_one(e, u, v) &&
                        entries_spread(e, u, output == 1, AS_IT_IS, u_value) &&
                        entries_spread(e, v, output == 1, AS_IT_IS, v_value) &&
                        entries_is_quotient(e, u_value, v_value, output == 1, part))
                        return say_quotient(e, u, v, part);
    return false;
}

/* Each output element gives one element of the gradient an operand times gy, where the right factor is another. */
static bool entries_are_operand(ag_evidence *e, int operand)
{
    int64_t entries = 0;
    if (!entries_spread(e, operand, true, AS_IT_IS, e->slope))
        return false;
    for (int64_t j = 0; j < e->m; j++) {
        int64_t at = -1;
        for (int64_t i = 0; i < e->n; i++) {
            double a = e->entry[i * e->m + j];
            if (entries_is_zero(e, a) && entries_is_zero(e, e->right_entry[i * e->m + j]))
                continue;
            if (at >= 0 || !(fabs(a - e->slope[j]) <= 1e-3 * e->entry_tolerance + 8 * e->exact * fabs(a)))
                return false;
            at = i;
        }
        entries += at >= 0;
    }
    return entries > 3;
}

/* analytic is right but for a factor that is another operand of the function. */
bool ag_is_factor_of_operand(ag_evidence *e)
{
    return entries_is_factor(e, false);
}

/* ---- A term of the sum ---- */

/* 1 or -1, if the error of each output's gradient lies at one element, and is that times the operand, or times 1: a
 * term gy u is too much, or missing. 0: it is not. */
static int entries_term(ag_evidence *e, int operand, double *u)
{
    int sign = 0;
    int64_t terms = 0;
    if (operand == e->number || !entries_spread(e, operand, true, AS_IT_IS, u))
        return 0;
    for (int64_t j = 0; j < e->m; j++) {
        int64_t at = -1;
        for (int64_t i = 0; i < e->n; i++) {
            double off = e->entry[i * e->m + j] - e->right_entry[i * e->m + j];
            if (fabs(off) <= e->entry_tolerance)
                continue;
            if (isnan(off) || at >= 0 || fabs(fabs(off) - fabs(u[j])) > e->entry_tolerance ||
                off * u[j] * sign < 0)
                return 0;
            sign = off * u[j] < 0 ? -1 : 1;
            at = i;
            terms++;
        }
        if (at < 0 && fabs(u[j]) > e->entry_tolerance)
            return 0;
    }
    return terms < 4 ? 0 : sign;
}

bool ag_is_term_missing(ag_evidence *e)
{
    if (entries_is_factor(e, true) || entries_is_read_otherwise(e))
        return true;
    for (int operand = 0; operand < e->check->input_count; operand++)
        if (operand != e->number && entries_are_operand(e, operand))
            return ag_because(e, AG_CAUSE_OPERAND, "An operand is wrong: analytic is the sum of gy times %s; the right "
                              "gradient has another factor, usually a function of that, in its place.",
                              ag_operand_text(e, operand));
    for (int operand = -1; operand <= e->check->input_count; operand++) {
        int sign = entries_term(e, operand, e->slope);
        if (sign != 0)
            return ag_because(e, AG_CAUSE_NOT_ACCUMULATED, "A term is %s: gy%s%s; %s",
                              sign < 0 ? "missing" : "too much", operand < 0 ? "" : " times ",
                              operand < 0 ? "" : ag_operand_text(e, operand),
                              sign < 0 ? "with that added analytic is right. Usually a path to the output, such as a "
                                         "skip connection, that the backward leaves out."
                                       : "without that analytic is right.");
    }
    return false;
}
