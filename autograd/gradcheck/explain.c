/* SPDX-License-Identifier: MIT
 *
 * explain.c - finds the fault that reproduces a wrong gradient. Each hypothesis is a fault; it computes from the right
 * gradient, the inputs and the outputs what the analytic gradient would be with this fault. The first that fits is
 * reported. A hypothesis has far fewer free numbers than the gradient has elements, mostly none, so that it does not
 * fit by accident.
 *
 * In comments n is the right (numeric) gradient, c the check's cotangent, n(c') the right gradient for another one.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

enum { DIRECTIONS = 8, FEW = 8 };

/* ---- Whether a guess fits ---- */

double ag_largest(const double *x, int64_t n)
{
    double m = 0;
    for (int64_t i = 0; i < n; i++)
        m = fabs(x[i]) > m ? fabs(x[i]) : m;
    return m;
}

bool ag_are_near(const double *a, const double *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance))
            return false;
    return true;
}

double ag_factor_of(const double *a, const double *b, int64_t count, int64_t step)
{
    double product = 0, square = 0;
    for (int64_t i = 0; i < count * step; i += step)
        if (!isnan(a[i]) && !isnan(b[i])) {
            product += a[i] * b[i];
            square += b[i] * b[i];
        }
    return square > 0 ? product / square : 0;
}

/* Whether analytic is the guess. As many elements may differ as are inconclusive, at most half. */
bool ag_fits(const ag_evidence *e)
{
    int64_t undecided = e->whole ? e->input->found.inconclusive : 0, off = 0, explained = 0;
    for (int64_t i = 0; i < e->n; i++)
        if (!(fabs(e->analytic[i] - e->guess[i]) <= e->tolerance)) {
            if (++off > undecided && !isnan(e->guess[i]))
                return false;
        } else {
            explained += fabs(e->analytic[i] - e->right[i]) > e->tolerance;
        }
    return explained > 0 && 2 * off < e->n;
}

bool ag_fits_entries(const ag_evidence *e)
{
    int64_t compared = 0, explained = 0, count = e->n * e->m;
    for (int64_t k = 0; k < count; k++) {
        if (isnan(e->guess_entry[k]) || isnan(e->right_entry[k]))
            continue;
        if (!(fabs(e->entry[k] - e->guess_entry[k]) <= e->entry_tolerance))
            return false;
        compared++;
        explained += fabs(e->entry[k] - e->right_entry[k]) > e->entry_tolerance;
    }
    return explained > 0 && 2 * compared >= count;
}

/* Whether the derivative along one random direction is the same: a test as cheap as one element of the gradient, made
 * first where no Jacobian is kept. */
static bool explain_agrees_along_a_direction(ag_evidence *e)
{
    ag_direction d = { .input = e->number, .index = -1, .first = 0, .end = e->n, .seed = e->check->config.seed };
    double analytic = 0;
    for (int64_t i = 0; i < e->n; i++)
        analytic += e->analytic[i] * ag_direction_at(&d, i);
    ag_derivative right = ag_check_derivative(e->check, &d, e->cotangent);
    return fabs(analytic - right.value) <= (double)e->n * e->tolerance + right.uncertainty;
}

bool ag_fits_cotangent(ag_evidence *e)
{
    const ag_check *k = e->check;
    bool cheap = k->jacobian != NULL && k->jacobian[e->number] != NULL;
    return e->whole && (cheap || explain_agrees_along_a_direction(e)) &&
           ag_check_gradient(e->check, e->number, e->cotangent, e->guess) && ag_fits(e);
}

/* "on all 12 elements" */
static void say_extent(ag_evidence *e)
{
    if (e->whole && e->n == 1)
        ag_say(e, "on its only element");
    else if (e->whole)
        ag_say(e, "on all %lld elements", (long long)e->n);
    else
        ag_say(e, "along %lld random directions", (long long)e->n);
}

/* ---- A number times the right gradient ---- */

static bool explain_is_zero(ag_evidence *e)
{
    if (e->analytic_max > fmax(1e-10, e->exact) * e->right_max)
        return false;
    ag_because(e, AG_CAUSE_ZERO, "The analytic gradient is 0 ");
    if (e->analytic_max > 1e-10 * e->right_max)
        ag_say(e, "up to rounding, at most %.2g, ", e->analytic_max);
    say_extent(e);
    ag_say(e, ", the right one goes up to %.6g: %s.", e->right_max,
           e->analytic_max > 0     ? "usually terms that cancel"
           : e->input->reached ? "backward gave this input zeros"
                               : "backward gave this input no gradient at all");
    return true;
}

static bool explain_is_sign_flipped(ag_evidence *e)
{
    for (int64_t i = 0; i < e->n; i++)
        e->guess[i] = -e->right[i];
    if (!ag_fits(e))
        return false;
    ag_because(e, AG_CAUSE_SIGN, "The sign is flipped: analytic = -1 times the right gradient, ");
    say_extent(e);
    ag_say(e, ". Usually a minus lost, or a difference taken the other way round.");
    return true;
}

/* analytic = s n. As s is free, at least two elements must be clearly nonzero, or s must be a known factor. */
static bool explain_is_scaled(ag_evidence *e)
{
    double factor = ag_factor_of(e->analytic, e->right, e->n, 1);
    int64_t speaking = 0;
    for (int64_t i = 0; i < e->n; i++) {
        e->guess[i] = factor * e->right[i];
        speaking += fabs(e->right[i]) > 1e-3 * e->right_max;
    }
    if (!ag_fits(e) || fabs(factor + 1) * e->right_max <= e->tolerance) /* -1 is a sign */
        return false;
    ag_because(e, AG_CAUSE_FACTOR, "Off by a constant factor: analytic = %.*g times the right gradient, ",
               e->exact > 1e-10 ? 5 : 8, factor);
    e->found.factor = factor;
    say_extent(e);
    ag_say(e, ".");
    return ag_say_factor(e, factor) || speaking > 1;
}

/* ---- The upstream gradient ---- */

void ag_set_cotangent(ag_evidence *e)
{
    memcpy(e->cotangent, e->check->cotangent, (size_t)e->check->output_numel * sizeof *e->cotangent);
}

/* backward gives the same for 2 c. */
static bool explain_is_upstream_unseen(ag_evidence *e)
{
    for (int64_t i = 0; i < e->check->output_numel; i++)
        e->cotangent[i] = 2 * e->check->cotangent[i];
    return e->check->backward(e->check, e->cotangent, e->grad) &&
           ag_are_near(e->grad[e->number], e->input->analytic, e->input->numel, 1e-9 * e->analytic_max);
}

/* c replaced in each output by its mean there, or by its sum. */
static void explain_level_cotangent(ag_evidence *e, bool mean)
{
    ag_set_cotangent(e);
    for (int o = 0; o < e->check->output_count; o++) {
        const ag_check_output *y = &e->check->output[o];
        double sum = 0;
        for (int64_t i = 0; i < y->numel; i++)
            sum += e->cotangent[y->first + i];
        for (int64_t i = 0; i < y->numel; i++)
            e->cotangent[y->first + i] = mean ? sum / (double)y->numel : sum;
    }
}

void ag_set_cotangent_of(ag_evidence *e, int output, double value)
{
    ag_set_cotangent(e);
    const ag_check_output *y = &e->check->output[output];
    for (int64_t i = 0; i < y->numel; i++)
        e->cotangent[y->first + i] = value;
}

static bool explain_is_upstream_ignored(ag_evidence *e)
{
    const char *usual = "Usually a factor gy lost in the backward";
    if (explain_is_upstream_unseen(e)) {
        ag_because(e, AG_CAUSE_UPSTREAM_IGNORED,
                   "The upstream gradient is ignored: analytic stays the same when it is doubled");
        for (int64_t i = 0; i < e->check->output_numel; i++)
            e->cotangent[i] = 1;
        ag_say(e, "%s. %s.", ag_fits_cotangent(e) ? ", and is the right gradient of the outputs' sum" : "", usual);
        return true;
    }
    for (int mean = 0; mean < 2; mean++) {
        explain_level_cotangent(e, mean == 1);
        if (ag_fits_cotangent(e))
            return ag_because(e, AG_CAUSE_UPSTREAM_IGNORED, "Of the upstream gradient only the %s enters: analytic "
                              "is the right gradient for one that is its %s everywhere. Usually gy summed before it "
                              "was multiplied.", mean == 1 ? "mean" : "sum", mean == 1 ? "mean" : "sum");
    }
    for (int o = 0; o < e->check->output_count && e->check->output_count > 1; o++) {
        ag_set_cotangent_of(e, o, 1);
        if (ag_fits_cotangent(e))
            return ag_because(e, AG_CAUSE_UPSTREAM_IGNORED, "The upstream gradient of output %d is ignored: "
                              "analytic is right if that is all ones. %s.", o, usual);
    }
    return false;
}

/* analytic = c: backward hands gy on. */
static bool explain_is_upstream_copied(ag_evidence *e)
{
    for (int o = 0; o < e->check->output_count; o++) {
        const ag_check_output *y = &e->check->output[o];
        if (y->y.ndim != e->ndim || memcmp(y->y.shape, e->shape, (size_t)e->ndim * sizeof *e->shape) != 0)
            continue;
        memcpy(e->guess, e->check->cotangent + y->first, (size_t)e->n * sizeof *e->guess);
        if (ag_fits(e))
            return ag_because(e, AG_CAUSE_SLOPE, "The slope is left out: analytic is the upstream gradient gy itself, "
                              "as if the function were the identity.");
    }
    return false;
}

/* ---- Wrong in a part, right elsewhere ---- */

/* The widest vector of whose loop the wrong tail would be the remainder; 0: none. */
static int explain_vector_width(const ag_place *place)
{
    for (int width = 16; width >= 4; width /= 2)
        if (place->tail > 0 && place->tail % width == 0 && place->tail_extent - place->tail < width)
            return width;
    return 0;
}

static void say_vectors(ag_evidence *e, const ag_place *place)
{
    int width = explain_vector_width(place);
    if (width > 0)
        ag_say(e, " %lld is a multiple of %d: usually a loop over vectors without its remainder.",
               (long long)place->tail, width);
}

static bool explain_is_zero_in_part(ag_evidence *e)
{
    for (int64_t i = 0; i < e->n; i++)
        if (ag_evidence_mark(e, i) == AG_MARK_WRONG && !(fabs(e->analytic[i]) <= 1e-10 * e->right_max))
            return false;
    ag_place place = ag_evidence_place(e);
    if (place.right == 0 || place.wrong == 0)
        return false;
    ag_because(e, AG_CAUSE_ZERO, "Zero where it should not be: analytic is 0 on %s; elsewhere it is right.",
               place.text);
    say_vectors(e, &place);
    return true;
}

/* Not 0 where n is 0, and s n elsewhere. s is 1, or the scale of an op such as dropout that drops elements. */
static bool explain_is_leak_beside(ag_evidence *e, bool scaled)
{
    double zero = 1e-10 * e->right_max, factor = ag_factor_of(e->analytic, e->right, e->n, 1);
    int64_t leaks = 0, others = 0;
    for (int64_t i = 0; i < e->n; i++)
        if (fabs(e->right[i]) <= zero)
            leaks += fabs(e->analytic[i]) > e->tolerance;
        else if (!(fabs(e->analytic[i] - factor * e->right[i]) <= e->tolerance))
            return false;
        else
            others += fabs(e->right[i]) > 1e-3 * e->right_max;
    bool right = fabs(factor - 1) * e->right_max <= e->tolerance;
    if (leaks == 0 || right == scaled || others < (right ? 1 : 3))
        return false;
    ag_because(e, AG_CAUSE_MASK_LEAK, "Not zero where the outputs do not depend on the input: analytic is not 0 on ");
    if (right)
        ag_say(e, "%s; elsewhere it is right.", ag_evidence_place(e).text);
    else if (fabs(factor) * e->right_max <= e->tolerance)
        ag_say(e, "%lld of %lld elements, and is 0 elsewhere: the wrong way round.", (long long)leaks, (long long)e->n);
    else
        ag_say(e, "%lld of %lld elements, and elsewhere %.6g times the right gradient.", (long long)leaks,
               (long long)e->n, factor);
    ag_say(e, " Usually a mask lost in the backward.");
    return true;
}

static bool explain_is_leak(ag_evidence *e)
{
    return explain_is_leak_beside(e, false);
}

static bool explain_is_leak_and_scaled(ag_evidence *e)
{
    return explain_is_leak_beside(e, true);
}

static bool explain_is_tail(ag_evidence *e)
{
    ag_place place = ag_evidence_place(e);
    if (explain_vector_width(&place) == 0 || place.right < place.wrong) /* else parts may mean different things, as
                                                                           values and gates do */
        return false;
    ag_because(e, AG_CAUSE_TAIL, "Wrong at the end: analytic is wrong on %s, and right before.", place.text);
    say_vectors(e, &place);
    return true;
}

/* ---- Not finite ---- */

static bool explain_is_not_finite(ag_evidence *e)
{
    int64_t count = 0, first = -1;
    for (int64_t i = e->n - 1; i >= 0; i--)
        if (!isfinite(e->analytic[i])) {
            count++;
            first = i;
        }
    return count > 0 &&
           ag_because(e, AG_CAUSE_UNKNOWN, "Not finite: analytic is nan or infinite on %lld of %lld elements, the "
                      "first is %g at %s, where the right gradient is %.6g.", (long long)count, (long long)e->n,
                      e->analytic[first], ag_evidence_index(e, first), e->right[first]);
}

/* ---- All hypotheses, the more specific and the simpler first ---- */

typedef enum needs { DIRECTIONS_DO, WHOLE, ENTRIES } needs; /* entries: of the Jacobian, for the only output */

static const struct hypothesis {
    bool (*test)(ag_evidence *e);
    needs needs;
    bool rival; /* worth a word where a simpler one fits, too */
} hypotheses[] = {
    { explain_is_zero, DIRECTIONS_DO, true },
    { explain_is_upstream_ignored, DIRECTIONS_DO, true },
    { explain_is_sign_flipped, DIRECTIONS_DO, true },
    { explain_is_scaled, DIRECTIONS_DO, true },
    { ag_is_swapped, WHOLE, true },
    { ag_is_factor_of_operand, ENTRIES, true },
    { ag_is_of_another, WHOLE, true },
    { ag_is_mask_drawn_again, ENTRIES, true },
    { ag_is_target_wrong, WHOLE, true },
    { ag_is_permuted, WHOLE, true },
    { explain_is_zero_in_part, WHOLE, true },
    { explain_is_leak, WHOLE, true },
    { ag_is_batch_mixed, WHOLE, true },
    { ag_is_part_of_sum, WHOLE, true },
    { ag_is_operand_part_lost, WHOLE, true },
    { ag_is_index_wrong, ENTRIES, true },
    { ag_is_factor_misplaced, ENTRIES, true },
    { ag_is_entry_moved, ENTRIES, true },
    { explain_is_leak_and_scaled, WHOLE, true },
    { ag_is_attention_wrong, WHOLE, true },
    { ag_is_norm_weight_wrong, ENTRIES, true },
    { ag_is_norm_wrong, ENTRIES, true },
    { ag_is_moment_missing, WHOLE, true }, /* before the next: without weights layer norm's result is its own xhat */
    { ag_is_row_sum_missing, WHOLE, true },
    { ag_is_row_product_missing, WHOLE, true },
    { explain_is_upstream_copied, WHOLE, true },
    { ag_is_entry_lost, ENTRIES, false },
    { ag_is_stride_ignored, WHOLE, true },
    { ag_is_term_missing, ENTRIES, false },
    { ag_is_scaled_in_part, WHOLE, false },
    { ag_is_scaled_by_row, WHOLE, false },
    { ag_is_slope_of_another, ENTRIES, false },
    { ag_is_right_elsewhere, WHOLE, false },
    { ag_is_slope_off_by_factor, WHOLE, false },
    { explain_is_tail, WHOLE, true },
};

/* A gradient of few elements may fit several causes: the first is reported, and the next one named. */
static void explain_run(ag_evidence *e)
{
    ag_explanation first = { .cause = AG_CAUSE_UNKNOWN };
    needs met = !e->whole ? DIRECTIONS_DO : e->right_entry != NULL && e->check->output_count == 1 ? ENTRIES : WHOLE;
    for (size_t i = 0; i < sizeof hypotheses / sizeof *hypotheses; i++) {
        const struct hypothesis *h = &hypotheses[i];
        bool known = first.cause != AG_CAUSE_UNKNOWN;
        if (h->needs > met || (known && !h->rival) || !h->test(e))
            continue;
        if (!known) {
            first = e->found;
            if (e->n > FEW)
                break;
        } else if (e->found.cause != first.cause) {
            ag_cause also = e->found.cause;
            e->found = first;
            ag_say(e, " On so few elements '%s' would fit as well.", ag_cause_name(also));
            return;
        }
    }
    e->found = first;
    if (first.cause == AG_CAUSE_UNKNOWN)
        ag_explain_nothing(e);
}

/* ---- The evidence ---- */

enum { ENTRIES_LOOKED_AT = 1 << 16, OUTPUTS_LOOKED_AT = 512 }; /* of Jacobians that are looked at entry by entry */

static bool explain_has_entries(const ag_evidence *e)
{
    const ag_check *k = e->check;
    return e->whole && k->jacobian != NULL && k->jacobian[e->number] != NULL && e->m > 0 && e->m <= OUTPUTS_LOOKED_AT &&
           e->n <= ENTRIES_LOOKED_AT / e->m;
}

static int64_t explain_count_doubles(const ag_evidence *e)
{
    int64_t count = 2 * e->n + e->m;
    for (int i = 0; i < e->check->input_count; i++)
        count += e->check->input[i].checked ? e->check->input[i].numel : 0;
    if (explain_has_entries(e))
        count += 2 * e->n * e->m + 5 * (e->n > e->m ? e->n : e->m);
    return count + (e->whole ? 0 : 2 * e->n);
}

static bool explain_acquire(ag_evidence *e)
{
    const ag_check *k = e->check;
    e->memory_size = (size_t)explain_count_doubles(e) * sizeof *e->memory;
    e->memory = ag_alloc(k->ctx, e->memory_size);
    e->grad = ag_alloc(k->ctx, (size_t)k->input_count * sizeof *e->grad);
    e->slope_at = ag_alloc(k->ctx, (size_t)e->m * sizeof *e->slope_at);
    if (e->memory == NULL || e->grad == NULL || e->slope_at == NULL)
        return false;
    e->guess = e->memory;
    e->basis = e->guess + e->n;
    e->cotangent = e->basis + e->n;
    double *next = e->cotangent + k->output_numel;
    for (int i = 0; i < k->input_count; i++) {
        e->grad[i] = k->input[i].checked ? next : NULL;
        next += k->input[i].checked ? k->input[i].numel : 0;
    }
    e->analytic = e->input->analytic;
    e->right = e->input->numeric;
    if (explain_has_entries(e)) {
        e->right_entry = k->jacobian[e->number];
        e->entry = next;
        e->guess_entry = e->entry + e->n * e->m;
        e->slope = e->guess_entry + e->n * e->m;
    } else if (!e->whole) {
        e->analytic = next;
        e->right = next + e->n;
    }
    return true;
}

static void explain_release(ag_evidence *e)
{
    ag_free(e->check->ctx, e->memory, e->memory_size);
    ag_free(e->check->ctx, e->grad, (size_t)e->check->input_count * sizeof *e->grad);
    ag_free(e->check->ctx, e->slope_at, (size_t)e->m * sizeof *e->slope_at);
}

/* For an input too large to compare as a whole: derivatives along random directions instead of gradients. */
static void explain_look_along_directions(ag_evidence *e, double *analytic, double *right)
{
    for (int64_t k = 0; k < e->n; k++) {
        ag_direction d = { .input = e->number, .index = -1, .first = 0, .end = e->input->numel,
                           .seed = e->check->config.seed + (uint64_t)k };
        analytic[k] = 0;
        for (int64_t i = 0; i < e->input->numel; i++)
            analytic[k] += e->input->analytic[i] * ag_direction_at(&d, i);
        ag_derivative derivative = ag_check_derivative(e->check, &d, e->check->cotangent);
        right[k] = derivative.trouble == AG_CAUSE_NONE ? derivative.value : (double)NAN;
    }
}

/* The analytic Jacobian, if backward is linear in gy; else entries are not looked at. */
static void explain_take_entries(ag_evidence *e)
{
    bool good = true;
    if (e->right_entry == NULL)
        return;
    memset(e->cotangent, 0, (size_t)e->m * sizeof *e->cotangent);
    memset(e->guess, 0, (size_t)e->n * sizeof *e->guess);
    for (int64_t j = 0; j < e->m && good; j++) {
        bool finite = isfinite(e->check->y[j]); /* else it is left out */
        e->cotangent[j] = 1;
        good = !finite || e->check->backward(e->check, e->cotangent, e->grad);
        e->cotangent[j] = 0;
        for (int64_t i = 0; i < e->n && good; i++) {
            e->entry[i * e->m + j] = finite ? e->grad[e->number][i] : 0;
            e->guess[i] += e->entry[i * e->m + j] * e->check->cotangent[j];
        }
    }
    double off = 10 * e->exact * (double)e->m * fmax(e->analytic_max, e->right_max);
    if (!good || !ag_are_near(e->guess, e->analytic, e->n, off))
        e->right_entry = NULL;
}

/* Whether all are numbers in single precision. */
static bool explain_are_floats(const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != (double)(float)x[i])
            return false;
    return true;
}

/* Whether x is no simple fraction such as 0.5 or 3. */
static bool explain_is_long(double x)
{
    int exponent;
    double mantissa = frexp(x, &exponent) * 4096;
    return mantissa != floor(mantissa);
}

bool ag_check_is_rounded(const ag_check *check, int input, const double *entries)
{
    const ag_check_input *in = &check->input[input];
    int64_t longs = 0, off = 0;
    double largest = ag_largest(in->numeric, in->numel);
    if (explain_are_floats(check->y, check->output_numel) || in->single || in->doubt == NULL ||
        !explain_are_floats(entries, in->numel * check->output_numel))
        return false;
    for (int64_t k = 0; k < in->numel * check->output_numel; k++)
        longs += explain_is_long(entries[k]);
    for (int64_t e = 0; e < in->numel; e++) { /* exactly those numbers are wrong */
        double apart = fabs(in->analytic[e] - in->numeric[e]);
        if (!(apart <= 1e-6 * largest))
            return false;
        off += apart > 4 * (in->doubt[e] - (in->noise == NULL ? 0 : 3 * in->noise[e]));
    }
    return longs > 4 && 2 * off > in->numel;
}

/* The tolerance of a guess: that of a right gradient, and at most 1 % of the error of analytic; or the noise of the
 * numeric gradient. */
static double explain_tolerance(const ag_evidence *e, double largest, double error)
{
    const ag_gradcheck_config *config = &e->check->config;
    double noise = 0;
    for (int64_t i = 0; e->whole && e->input->doubt != NULL && i < e->n; i++)
        if (e->input->doubt[i] <= 1e-2 * error) /* else the element is undecided */
            noise = fmax(noise, 4 * e->input->doubt[i]);
    return fmax(fmin(config->atol + config->rtol * largest, 1e-2 * error), noise);
}

/* The magnitudes, and the tolerance. */
static void explain_measure(ag_evidence *e)
{
    double error = 0;
    for (int64_t i = 0; i < e->n; i++)
        error = fmax(error, fabs(e->analytic[i] - e->right[i]));
    e->analytic_max = ag_largest(e->analytic, e->n);
    e->right_max = ag_largest(e->right, e->n);
    e->exact = explain_are_floats(e->check->y, e->check->output_numel) ? 1e-6 : 1e-13;
    e->tolerance = explain_tolerance(e, fmax(e->analytic_max, e->right_max), error);
    if (e->n == 1) /* a single number fits by accident more easily */
        e->tolerance *= 1e-2;
}

static void explain_measure_entries(ag_evidence *e)
{
    double error = 0;
    if (e->right_entry == NULL)
        return;
    for (int64_t k = 0; k < e->n * e->m; k++)
        error = fmax(error, fabs(e->entry[k] - e->right_entry[k]));
    e->entry_max = fmax(ag_largest(e->entry, e->n * e->m), ag_largest(e->right_entry, e->n * e->m));
    e->entry_tolerance = explain_tolerance(e, e->entry_max, error);
}

static bool explain_is_right(const ag_evidence *e)
{
    for (int64_t i = 0; i < e->n; i++)
        if (!isnan(e->right[i]) && !ag_check_is_close(e->check, e->analytic[i], e->right[i]))
            return false;
    return true;
}

static void explain_finite(ag_evidence *e)
{
    explain_take_entries(e);
    if (e->right_entry != NULL && ag_check_is_rounded(e->check, e->number, e->entry)) {
        ag_because(e, AG_CAUSE_ROUNDED, "Rounded to single precision: every element of the analytic gradient is a "
                   "float, and off by what that rounds. Usually a variable, or a function such as expf, in the "
                   "backward.");
    } else if (explain_is_right(e)) {
        ag_because(e, AG_CAUSE_UNKNOWN, "The gradient is right for the cotangent of this check, and wrong for single "
                   "elements of the outputs.");
    } else {
        explain_measure_entries(e);
        explain_run(e);
    }
}

ag_explanation ag_check_explain(ag_check *check, int input)
{
    static const int64_t directions = DIRECTIONS;
    const ag_check_input *in = &check->input[input];
    bool whole = in->numeric != NULL;
    ag_evidence e = { .check = check, .input = in, .number = input, .whole = whole,
                      .n = whole ? in->numel : DIRECTIONS, .m = check->output_numel, .ndim = whole ? in->x.ndim : 1,
                          .shape = whole ? in->x.shape : &directions };
    if (explain_acquire(&e)) {
        if (!whole)
            explain_look_along_directions(&e, e.memory + (e.analytic - e.memory), e.memory + (e.right - e.memory));
        explain_measure(&e);
        if (!explain_is_not_finite(&e))
            explain_finite(&e);
    }
    explain_release(&e);
    if (ag_error(check->ctx) != AG_OK)
        return ag_explanation_of(AG_CAUSE_ERROR, "%s", ag_error_message(check->ctx));
    return e.found;
}
