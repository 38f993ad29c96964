/* SPDX-License-Identifier: MIT
 *
 * gradcheck.c - the check as a whole: judges the gradients of an ag_check input by input, explains, reports.
 *
 * For a cotangent c backward gives the gradient of L(x) = sum(c f(x)). c is random, because with c = 1 some wrong
 * gradients are right: that of softmax is then 0. An error may still cancel in L, so a small Jacobian is also compared
 * entry by entry, with one backward per output element.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "tensor/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_ROWS = 64,           /* output elements of a Jacobian that is compared entry by entry */
    MOST_ENTRIES = 1 << 18    /* doubles in the numeric Jacobians that are kept */
};

const char *ag_verdict_name(ag_verdict verdict)
{
    return verdict == AG_PASS ? "PASS" : verdict == AG_FAIL ? "FAIL" : "INCONCLUSIVE";
}

/* ---- Memory ---- */

void *ag_check_memory(ag_ctx *ctx, int64_t count, size_t element)
{
    ag_tensor *t = ag_zeros(ctx, AG_F64, AG_SHAPE((count * (int64_t)element + 7) / 8));
    return t == NULL ? NULL : t->storage->data;
}

static double *check_doubles(const ag_check *check, int64_t count)
{
    return ag_check_memory(check->ctx, count, sizeof(double));
}

/* A negative tolerance would make every comparison inconclusive. */
static void check_config_is_usable(const ag_check *check)
{
    const ag_gradcheck_config *c = &check->config;
    if (!(c->step > 0 && isfinite(c->step) && c->rtol > 0 && c->atol > 0))
        ag_fail(check->ctx, AG_ERR_ARGUMENT, "gradcheck", "step is %s, rtol %s, atol %s; must be more than 0, or 0 for "
                "the default", ag_number_text(check->ctx, c->step), ag_number_text(check->ctx, c->rtol),
                ag_number_text(check->ctx, c->atol));
    else if (c->elements < 0 || c->directions < 0 || c->outputs < 0)
        ag_fail(check->ctx, AG_ERR_ARGUMENT, "gradcheck", "elements is %lld, directions %d, outputs %d; must not be "
                "negative", (long long)c->elements, c->directions, c->outputs);
}

bool ag_check_begin(ag_check *check)
{
    ag_gradcheck_config *config = &check->config;
    check->atol_given = config->atol != 0;
    config->step = config->step == 0 ? 0x1p-6 : config->step;
    config->rtol = config->rtol == 0 ? 1e-6 : config->rtol;
    config->atol = config->atol == 0 ? 1e-9 : config->atol;
    config->elements = config->elements == 0 ? 4096 : config->elements;
    config->directions = config->directions == 0 ? 16 : config->directions;
    check_config_is_usable(check);
    check->input = ag_check_memory(check->ctx, check->input_count, sizeof *check->input);
    check->output = ag_check_memory(check->ctx, check->output_count, sizeof *check->output);
    return check->input != NULL && check->output != NULL && ag_error(check->ctx) == AG_OK;
}

/* Allocates the arrays; inputs and outputs have their shapes. */
static bool check_allocate(ag_check *check)
{
    int64_t m = 0, entries = 0;
    for (int i = 0; i < check->output_count; i++) {
        check->output[i].first = m;
        m += check->output[i].numel;
    }
    check->output_numel = m;
    check->y = check_doubles(check, m);
    check->cotangent = check_doubles(check, m);
    check->jacobian = ag_check_memory(check->ctx, check->input_count, sizeof *check->jacobian);
    if (check->y == NULL || check->cotangent == NULL || check->jacobian == NULL)
        return false;
    for (int i = 0; i < check->input_count; i++) {
        ag_check_input *in = &check->input[i];
        if (!in->checked)
            continue;
        bool all = in->numel <= check->config.elements;
        in->analytic = check_doubles(check, in->numel);
        in->numeric = all ? check_doubles(check, in->numel) : NULL;
        in->doubt = all ? check_doubles(check, in->numel) : NULL;
        if (all && m > 0 && in->numel <= (MOST_ENTRIES - entries) / m) {
            check->jacobian[i] = check_doubles(check, in->numel * m);
            entries += in->numel * m;
        }
    }
    for (int i = 0; i < check->output_count; i++)
        check->output[i].y.value = check->y + check->output[i].first;
    return ag_error(check->ctx) == AG_OK;
}

/* ---- Judging one derivative ---- */

bool ag_check_is_close(const ag_check *check, double a, double n)
{
    return isfinite(a) && isfinite(n) &&
           fabs(a - n) <= check->config.atol + check->config.rtol * fmax(fabs(a), fabs(n));
}

static int check_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The lower quartile of the magnitudes that are not 0 in analytic[m][n] and numeric[n][m]: what a derivative may be
 * uncertain by is relative to at least this, so that one which is near 0 by chance is not undecided. 0: all are 0. */
static double check_usual_size(ag_check *check, const double *analytic, const ag_derivative *numeric, int64_t m,
                               int64_t n)
{
    double *size = check_doubles(check, m * n), found = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < m * n && size != NULL; i++) {
        double a = fabs(analytic[i]), b = fabs(numeric[i % n * m + i / n].value);
        double larger = a > b || !isfinite(b) ? a : b;
        if (larger > 0 && isfinite(larger))
            size[count++] = larger;
    }
    if (count > 0) {
        qsort(size, (size_t)count, sizeof *size, check_ascending);
        found = size[(count - 1) / 4];
    }
    return found;
}

/* The largest numeric derivative that is known to be other than 0; 0: there is none. */
static double check_largest(const ag_derivative *numeric, int64_t step, int64_t n)
{
    double largest = 0;
    for (int64_t e = 0; e < n; e++)
        if (fabs(numeric[e * step].value) > 10 * numeric[e * step].uncertainty)
            largest = fmax(largest, fabs(numeric[e * step].value));
    return largest;
}

/* What the derivatives of one kind, such as those of one output, are compared with. */
typedef struct check_sizes {
    double usual, largest;
    double x; /* of the moved elements */
    double noise; /* of analytic, where that of a row is a guess: what it may be at most */
    double lost;  /* what may be hidden beside the larger derivatives where nothing changes */
} check_sizes;

static double check_relative_error(const ag_check *check, double a, double n, double uncertainty)
{
    double least = fmax(check->config.atol / check->config.rtol, uncertainty / AG_CHECK_BLUR);
    double error = fabs(a - n) / fmax(fmax(fabs(a), fabs(n)), least);
    return isnan(error) ? (double)INFINITY : error;
}

/* One comparison. uncertainty: of both. The two are close within the tolerance and twice the uncertainty, if this is
 * small in relation to the derivatives; they differ if they are further apart than the tolerance and ten times the
 * uncertainty, and than what noise may hide. All else is inconclusive. */
static ag_gradcheck_input check_compare(const ag_check *check, int64_t index, int64_t output_index, double a,
                                        ag_derivative n, double noise, check_sizes sizes)
{
    double underflow = check->single ? 0x1p-126 : 0x1p-1022; /* below that, numbers have few bits */
    double uncertainty = n.uncertainty + 3 * noise + underflow, apart = fabs(a - n.value);
    double wanted = ag_check_tolerance(check, fmax(fabs(a), fabs(n.value)), sizes.largest, sizes.x);
    bool known = uncertainty <= fmax(wanted, AG_CHECK_BLUR * fmax(fmax(fabs(a), fabs(n.value)), sizes.usual));
    if (a == 0 && n.value == 0) /* untouched: little can hide; an output is compared in the sum too */
        known = known || (output_index < 0 ? uncertainty <= 8 * AG_CHECK_BLUR * sizes.usual : sizes.usual > 0);
    double apart_at_least = wanted + 10 * (uncertainty + 3 * fmax(0, sizes.noise - noise));
    double hidden = fmax(n.hidden, n.value == 0 ? sizes.lost : 0);
    bool usable = n.trouble == AG_CAUSE_NONE || n.trouble == AG_CAUSE_STEP_EXHAUSTED;
    ag_gradcheck_input one = { .index = index, .output_index = output_index, .analytic = a, .numeric = n.value,
                               .uncertainty = uncertainty };
    if (usable && known && isfinite(a) && isfinite(n.value) && apart <= wanted + 2 * uncertainty)
        one.verdict = AG_PASS;
    else if (isfinite(n.value) && (!isfinite(a) || (usable && apart > fmax(apart_at_least, hidden))))
        one.verdict = AG_FAIL;
    else
        one.verdict = AG_INCONCLUSIVE;
    one.cause = one.verdict == AG_PASS ? AG_CAUSE_NONE
                : one.verdict == AG_FAIL ? AG_CAUSE_UNKNOWN
                : n.trouble == AG_CAUSE_NONE ? AG_CAUSE_STEP_EXHAUSTED
                : n.trouble;
    one.max_error = one.verdict == AG_INCONCLUSIVE ? 0 : check_relative_error(check, a, n.value, uncertainty);
    return one;
}

bool ag_check_gradient(ag_check *check, int input, const double *cotangent, double *gradient)
{
    const double *row = check->jacobian == NULL ? NULL : check->jacobian[input];
    bool known = true;
    for (int64_t e = 0; e < check->input[input].numel && known; e++) {
        if (row != NULL) {
            gradient[e] = 0;
            for (int64_t j = 0; j < check->output_numel; j++)
                if (cotangent[j] != 0)
                    gradient[e] += cotangent[j] * row[e * check->output_numel + j];
        } else {
            gradient[e] = ag_check_derivative(check, &(ag_direction){ .input = input, .index = e }, cotangent).value;
        }
        known = isfinite(gradient[e]);
    }
    return known;
}

/* ---- Judging one input ---- */

static int check_severity(ag_verdict verdict)
{
    return verdict == AG_FAIL ? 2 : verdict == AG_INCONCLUSIVE ? 1 : 0;
}

/* Of nearly equal errors the first is the worst, so that the last bits do not decide which one is reported. */
static bool check_is_worse(const ag_gradcheck_input *a, const ag_gradcheck_input *b)
{
    return check_severity(a->verdict) > check_severity(b->verdict) ||
           (a->verdict == b->verdict && a->max_error > b->max_error * (1 + 1e-6));
}

/* Makes a comparison inconclusive. */
static void check_leave_undecided(ag_gradcheck_input *one, ag_cause cause)
{
    one->verdict = AG_INCONCLUSIVE;
    one->cause = cause;
    one->max_error = 0;
}

/* Makes a comparison inconclusive: a failure if the slope at a finer step is the analytic one after all, or is one
 * between stairs; a pass if that of the sum is one between stairs. n: of one->output_index; sum: of the sum. */
static void check_confirm(ag_check *check, const ag_direction *d, ag_derivative n, ag_derivative sum,
                          ag_gradcheck_input *one)
{
    const double *cotangent = one->output_index < 0 ? check->cotangent : NULL;
    bool confirmed = one->verdict == AG_FAIL ? !isfinite(one->analytic) ||
                                                   ag_check_denies(check, d, cotangent, one->output_index,
                                                                   one->analytic, n)
                                             : one->verdict != AG_PASS ||
                                                   !ag_check_is_on_stairs(check, d, check->cotangent, sum);
    if (!confirmed)
        check_leave_undecided(one, AG_CAUSE_STEP_EXHAUSTED);
}

/* Makes a comparison inconclusive if one of the elements first .. end-1 has an effect through an output that is not
 * finite; a failure stays one where analytic is finite without that output. */
static void check_leave_out(const ag_check_input *in, int64_t first, int64_t end, ag_gradcheck_input *one)
{
    bool through = false;
    for (int64_t e = first; e < end && in->through != NULL; e++)
        through = through || in->through[e];
    if (through && (one->verdict != AG_FAIL || !isfinite(one->analytic)))
        check_leave_undecided(one, AG_CAUSE_NON_FINITE);
}

/* Counts one derivative of an input and keeps the worst. */
static void check_count(ag_gradcheck_input *found, ag_gradcheck_input one)
{
    double max_error = fmax(found->max_error, one.max_error);
    one.checked = found->checked + 1;
    one.failed = found->failed + (one.verdict == AG_FAIL);
    one.inconclusive = found->inconclusive + (one.verdict == AG_INCONCLUSIVE);
    if (found->checked > 0 && !check_is_worse(&one, found)) {
        found->checked = one.checked;
        found->failed = one.failed;
        found->inconclusive = one.inconclusive;
    } else {
        *found = one;
    }
    found->max_error = max_error;
}

/* The numeric derivatives of every element: sum[e]; each[e * output_numel + j] of output j, if rows are compared. */
static bool check_differentiate(ag_check *check, int input, ag_derivative *sum, ag_derivative *each, bool rows)
{
    ag_check_input *in = &check->input[input];
    int64_t m = check->output_numel;
    double *jacobian = check->jacobian[input];
    check->scale = check->row_scale = 0;
    for (int64_t e = 0; e < in->numel; e++) {
        ag_derivative *row = each == NULL ? NULL : each + (rows ? e * m : 0);
        if (!ag_check_derivatives(check, &(ag_direction){ .input = input, .index = e }, check->cotangent, &sum[e], row,
                                  rows))
            return false;
        in->numeric[e] = sum[e].value;
        in->doubt[e] = sum[e].uncertainty + (in->noise == NULL ? 0 : 3 * in->noise[e]);
        if (isfinite(sum[e].uncertainty))
            check->scale = fmax(check->scale, fabs(sum[e].value));
        for (int64_t j = 0; j < m && row != NULL; j++) {
            jacobian[e * m + j] = row[j].value;
            if (isfinite(row[j].uncertainty))
                check->row_scale = fmax(check->row_scale, fabs(row[j].value));
        }
    }
    return true;
}

static double check_size(const double *x, int64_t n)
{
    double size = 0;
    for (int64_t e = 0; e < n; e++)
        size = isfinite(x[e]) ? fmax(size, fabs(x[e])) : size;
    return size;
}

/* In float a derivative of this size may be lost beside the largest one. */
static double check_lost(const ag_check *check, double largest)
{
    return check->single ? ag_check_unit(true, largest) : 0;
}

/* Compares a row of the Jacobian: worst[e] becomes the worse of itself and entry e. */
static void check_judge_row(const ag_check *check, int input, int64_t j, const double *analytic,
                            const ag_derivative *each, double usual, ag_gradcheck_input *worst)
{
    const ag_check_input *in = &check->input[input];
    int64_t m = check->output_numel;
    check_sizes sizes = { usual, check_largest(each + j, m, in->numel) };
    double whole = check_size(in->analytic, in->numel), part = whole > 0 ? check_size(analytic, in->numel) / whole : 1;
    for (int64_t e = 0; e < in->numel; e++) {
        sizes.x = in->x.value[e];
        sizes.noise = in->noise[e] / fmax(fabs(check->cotangent[j]), 0.5);
        sizes.lost = check_lost(check, whole);
        ag_gradcheck_input one = check_compare(check, e, j, analytic[e], each[e * m + j], part * in->noise[e], sizes);
        if (worst[e].cause != AG_CAUSE_NON_FINITE && check_is_worse(&one, &worst[e]))
            worst[e] = one; /* else a row may be NaN: 0 times infinity */
    }
}

/* Compares every element. rows: the analytic Jacobian, [output_numel][numel], compared too; NULL: only the sum. */
static bool check_judge_elements(ag_check *check, int input, const double *rows)
{
    ag_check_input *in = &check->input[input];
    int64_t m = check->output_numel, kept = check->jacobian[input] == NULL ? 0 : rows == NULL ? m : m * in->numel;
    ag_derivative *sum = ag_check_memory(check->ctx, in->numel, sizeof *sum);
    ag_derivative *each = ag_check_memory(check->ctx, kept, sizeof *each);
    ag_gradcheck_input *worst = ag_check_memory(check->ctx, in->numel, sizeof *worst);
    if (sum == NULL || each == NULL || worst == NULL ||
        !check_differentiate(check, input, sum, kept == 0 ? NULL : each, rows != NULL))
        return false;
    check_sizes sizes = { check_usual_size(check, in->analytic, sum, 1, in->numel), check_largest(sum, 1, in->numel) };
    sizes.lost = check_lost(check, check_size(in->analytic, in->numel));
    for (int64_t e = 0; e < in->numel; e++) {
        sizes.x = in->x.value[e];
        worst[e] = check_compare(check, e, -1, in->analytic[e], sum[e], in->noise[e], sizes);
    }
    double usual = rows == NULL ? 0 : check_usual_size(check, rows, each, m, in->numel);
    for (int64_t j = 0; j < m && rows != NULL; j++)
        if (isfinite(check->y[j]))
            check_judge_row(check, input, j, rows + j * in->numel, each, usual, worst);
    for (int64_t e = 0; e < in->numel; e++) {
        int64_t j = worst[e].output_index;
        check_confirm(check, &(ag_direction){ .input = input, .index = e }, j < 0 ? sum[e] : each[e * m + j], sum[e],
                      &worst[e]);
        check_leave_out(in, e, e + 1, &worst[e]);
        check_count(&in->found, worst[e]);
    }
    return ag_error(check->ctx) == AG_OK;
}

/* The comparison along a direction. */
static ag_gradcheck_input check_compare_along(ag_check *check, const ag_direction *d)
{
    const ag_check_input *in = &check->input[d->input];
    double a = 0, square = 0, noise = 0;
    int64_t first = d->index >= 0 ? d->index : d->first, end = d->index >= 0 ? d->index + 1 : d->end;
    for (int64_t i = first; i < end; i++) {
        a += in->analytic[i] * ag_direction_at(d, i);
        square += in->analytic[i] * in->analytic[i];
        noise += in->noise[i] * in->noise[i];
    }
    ag_derivative n = ag_check_derivative(check, d, check->cotangent);
    check_sizes sizes = { sqrt(square) / 4, n.uncertainty < fabs(n.value) / 10 ? fabs(n.value) : 0 };
    ag_gradcheck_input one = check_compare(check, d->index, -1, a, n, sqrt(noise), sizes);
    check_confirm(check, d, n, n, &one);
    check_leave_out(in, first, end, &one);
    return one;
}

/* Halves the direction that failed and keeps the half with the larger error, down to one element. If that element
 * passes alone, the direction is reported. */
static void check_narrow(ag_check *check, ag_direction d, ag_gradcheck_input *found)
{
    while (d.end - d.first > 1 && ag_error(check->ctx) == AG_OK) {
        ag_direction half[2] = { d, d };
        half[0].end = half[1].first = d.first + (d.end - d.first) / 2;
        ag_gradcheck_input one[2] = { check_compare_along(check, &half[0]), check_compare_along(check, &half[1]) };
        double off[2];
        for (int k = 0; k < 2; k++) /* NaN is the largest error */
            off[k] = isfinite(one[k].analytic) ? fabs(one[k].analytic - one[k].numeric) : (double)INFINITY;
        d = half[off[1] > off[0]];
    }
    ag_gradcheck_input one = check_compare_along(check, &(ag_direction){ .input = d.input, .index = d.first });
    if (one.verdict != AG_FAIL)
        return;
    one.checked = found->checked;
    one.failed = found->failed;
    one.inconclusive = found->inconclusive;
    one.max_error = fmax(one.max_error, found->max_error);
    *found = one;
}

static bool check_judge_directions(ag_check *check, int input)
{
    ag_check_input *in = &check->input[input];
    ag_direction worst = { .input = input, .index = -1, .end = in->numel };
    check->scale = check->row_scale = 0;
    for (int s = 0; s < check->config.directions && ag_error(check->ctx) == AG_OK; s++) {
        ag_direction d = worst;
        d.seed = check->config.seed + (uint64_t)input * 1000003 + (uint64_t)s + 17;
        ag_gradcheck_input one = check_compare_along(check, &d);
        if (in->found.checked == 0 || check_is_worse(&one, &in->found))
            worst.seed = d.seed;
        check_count(&in->found, one);
    }
    if (in->found.verdict == AG_FAIL)
        check_narrow(check, worst, &in->found);
    return ag_error(check->ctx) == AG_OK;
}

/* ---- Judging all of them ---- */

/* The number of entries of the Jacobian, if it is compared entry by entry; 0: it is too large. */
static int64_t check_entries_to_compare(const ag_check *check)
{
    int64_t m = check->output_numel, elements = 0;
    for (int i = 0; i < check->input_count; i++) {
        elements += check->input[i].checked ? check->input[i].numel : 0;
        if (check->input[i].checked && check->jacobian[i] == NULL)
            return 0;
    }
    return m == 0 || m > MOST_ROWS || elements > check->config.elements / m ? 0 : m * elements;
}

/* The analytic Jacobian: first[i] is that of input i, [output_numel][numel]. */
static bool check_analytic_rows(ag_check *check, double *rows, double **first, double **grad)
{
    int64_t m = check->output_numel;
    bool good = true;
    for (int i = 0; i < check->input_count; i++) {
        first[i] = rows;
        rows += check->input[i].checked ? m * check->input[i].numel : 0;
    }
    double *one_hot = check_doubles(check, m);
    for (int64_t j = 0; j < m && one_hot != NULL && good; j++) {
        for (int i = 0; i < check->input_count; i++)
            grad[i] = first[i] + j * check->input[i].numel;
        one_hot[j] = 1;
        good = check->backward(check, one_hot, grad);
        one_hot[j] = 0;
    }
    return good && one_hot != NULL;
}

static bool check_judge_inputs(ag_check *check)
{
    int64_t entries = check_entries_to_compare(check);
    double *rows = check_doubles(check, entries);
    double **first = ag_check_memory(check->ctx, 2 * check->input_count, sizeof *first);
    bool good = rows != NULL && first != NULL;
    if (good && entries > 0)
        good = check_analytic_rows(check, rows, first, first + check->input_count);
    for (int i = 0; i < check->input_count && good; i++) {
        ag_check_input *in = &check->input[i];
        if (!in->checked || in->numel == 0)
            continue;
        good = in->numeric == NULL ? check_judge_directions(check, i)
                                   : check_judge_elements(check, i, entries > 0 ? first[i] : NULL);
        if (good && entries > 0 && in->found.verdict == AG_PASS && ag_check_is_rounded(check, i, first[i])) {
            in->found.verdict = AG_FAIL;
            in->found.failed = in->found.checked;
        }
    }
    return good;
}

/* Numbers in +-[0.5, 1.5): not near 0, so that every part of the gradient counts. */
static void check_draw_cotangent(ag_check *check)
{
    for (int64_t i = 0; i < check->output_numel; i++) {
        uint32_t word[4];
        ag_philox(check->config.seed + 1, (uint64_t)i, word);
        double magnitude = 0.5 + (double)word[0] * 0x1p-32;
        magnitude = check->single ? (double)(float)magnitude : magnitude;
        check->cotangent[i] = (word[1] & 1u) != 0 ? magnitude : -magnitude;
    }
}

/* Whether forward gives the same bits as the first time; false also on error. */
static bool check_repeats(ag_check *check)
{
    double *again = check_doubles(check, check->output_numel);
    return again != NULL && check->evaluate(check, again) &&
           memcmp(again, check->y, (size_t)check->output_numel * sizeof(double)) == 0;
}

/* Notes in check->misdeed if backward, called again, does not give the same bits as the first time. False on error. */
static bool check_backward_repeats(ag_check *check, double **grad, bool moved)
{
    if (!check->backward(check, check->cotangent, grad))
        return false;
    for (int k = 0; k < check->input_count; k++) {
        const ag_check_input *in = &check->input[k];
        for (int64_t e = 0; in->checked && e < in->numel; e++) {
            if (memcmp(&grad[k][e], &in->analytic[e], sizeof(double)) == 0 || check->misdeed.cause != AG_CAUSE_NONE)
                continue;
            check->misdeed = ag_explanation_of(AG_CAUSE_STATE, "Your backward keeps state: %s it gives %.6g for "
                                               "element %lld of input %d%s%s, not %.6g as before. Usually %s.",
                                               moved ? "after a forward call at another point"
                                                     : "called again with the same arguments",
                                               grad[k][e], (long long)e, k, in->x.name == NULL ? "" : " ",
                                               in->x.name == NULL ? "" : in->x.name, in->analytic[e],
                                               moved ? "values of an earlier forward call"
                                                     : "a buffer that is not zeroed, or random numbers drawn again");
            check->misdeed_input = k;
        }
    }
    return true;
}

/* Leaves outputs that are not finite out: their cotangent becomes 0. An element has an effect through them if backward
 * gives another gradient without them, or none; or, as backward may have forgotten it, if it gives 0 and so do
 * differences, unless all of these outputs are -infinity, as masked scores are. False on error. */
static bool check_leave_outputs_out(ag_check *check, double **grad)
{
    bool masked = true;
    for (int64_t j = 0; j < check->output_numel; j++) {
        if (isfinite(check->y[j]))
            continue;
        masked = masked && check->y[j] == -(double)INFINITY;
        check->cotangent[j] = 0;
        check->left_out++;
    }
    if (check->left_out == 0)
        return true;
    if (!check->backward(check, check->cotangent, grad))
        return false;
    for (int k = 0; k < check->input_count; k++) {
        ag_check_input *in = &check->input[k];
        if (!in->checked)
            continue;
        in->through = ag_check_memory(check->ctx, in->numel, sizeof *in->through);
        for (int64_t e = 0; e < in->numel && in->through != NULL; e++) {
            in->through[e] = grad[k][e] != in->analytic[e] || !isfinite(grad[k][e]) ||
                             (!masked && grad[k][e] == 0) || check->left_out == check->output_numel;
            in->analytic[e] = grad[k][e];
        }
    }
    return ag_error(check->ctx) == AG_OK;
}

/* Calls both functions at the point and beside it: the analytic gradients, the noise, and whether both repeat. False:
 * an error, or *cause. */
static bool check_call(ag_check *check, ag_cause *cause)
{
    double **first = ag_check_memory(check->ctx, check->input_count, sizeof *first);
    double **again = ag_check_memory(check->ctx, check->input_count, sizeof *again);
    if (first == NULL || again == NULL)
        return false;
    for (int k = 0; k < check->input_count; k++) {
        first[k] = check->input[k].analytic;
        again[k] = check->input[k].checked ? check_doubles(check, check->input[k].numel) : NULL;
    }
    if (ag_error(check->ctx) != AG_OK || !check->evaluate(check, check->y) ||
        !check->backward(check, check->cotangent, first) || !check_leave_outputs_out(check, again))
        return false;
    bool repeats = check_repeats(check);
    if (repeats && (!check_backward_repeats(check, again, false) || !ag_check_measure_noise(check) ||
                    !check_backward_repeats(check, again, true)))
        return false;
    repeats = repeats && check_repeats(check);
    if (!repeats)
        *cause = AG_CAUSE_NOT_REPEATABLE;
    return repeats;
}

/* Judges every input. False: an error, or nothing could be judged because of *cause. */
static bool check_examine(ag_check *check, ag_cause *cause)
{
    if (!check_allocate(check))
        return false;
    check_draw_cotangent(check);
    return check_call(check, cause) && check_judge_inputs(check);
}

/* ---- The result ---- */

static const char *check_why_inconclusive(ag_cause cause)
{
    switch (cause) {
    case AG_CAUSE_KINK:
        return "The derivatives from the left and from the right differ there: a kink.";
    case AG_CAUSE_NOT_REPEATABLE:
        return "The function does not repeat itself: two runs on the same inputs differ.";
    case AG_CAUSE_NON_FINITE:
        return "The function, or its derivative, is not finite there.";
    case AG_CAUSE_STEP_EXHAUSTED:
        return "No step gave a numeric derivative as exact as the tolerance: there is a kink close by, or the function "
               "rounds coarsely, as in float32.";
    case AG_CAUSE_ORACLES_DISAGREE:
        return "The complex step and the differences disagree: the complex function is not the same function.";
    default:
        return "There was nothing to check: no input that wants a gradient has elements.";
    }
}

/* The worst input, and the totals. `cause`: the reason if nothing was checked. */
static ag_gradcheck_result check_summarize(const ag_check *check, ag_cause cause)
{
    ag_gradcheck_result r = {
        .verdict = AG_INCONCLUSIVE, .input = -1, .op = "", .path = "", .node = -1,
        .worst = { .verdict = AG_INCONCLUSIVE, .cause = cause, .index = -1, .output_index = -1 },
    };
    for (int i = 0; i < check->input_count && check->input != NULL; i++) {
        const ag_gradcheck_input *found = &check->input[i].found;
        if (found->checked == 0)
            continue;
        r.checked += found->checked;
        r.failed += found->failed;
        r.inconclusive += found->inconclusive;
        r.max_error = fmax(r.max_error, found->max_error);
        if (r.input < 0 || check_is_worse(found, &r.worst)) {
            r.input = i;
            r.worst = *found;
        }
    }
    r.verdict = r.worst.verdict;
    return r;
}

ag_gradcheck_result ag_check_refused(const ag_ctx *ctx)
{
    ag_gradcheck_result r = {
        .verdict = AG_FAIL, .input = -1, .op = "", .path = "", .node = -1,
        .worst = { .verdict = AG_FAIL, .cause = AG_CAUSE_ERROR, .index = -1, .output_index = -1 },
    };
    snprintf(r.explanation, sizeof r.explanation, "%s", ag_error_message(ctx));
    return r;
}

/* A misdeed is a failure of its input, whatever the derivatives. */
static void check_report_misdeed(ag_check *check, ag_gradcheck_result *r)
{
    ag_gradcheck_input *found = &check->input[check->misdeed_input].found;
    found->verdict = AG_FAIL;
    found->cause = check->misdeed.cause;
    r->verdict = AG_FAIL;
    r->input = check->misdeed_input;
    r->worst = *found;
    memcpy(r->explanation, check->misdeed.text, sizeof r->explanation);
}

/* Appends which outputs were left out. */
static void check_say_left_out(const ag_check *check, ag_gradcheck_result *r)
{
    size_t used = strlen(r->explanation), room = sizeof r->explanation - used;
    int64_t first = 0, index[AG_MAX_DIMS];
    int o = 0;
    while (isfinite(check->y[first]))
        first++;
    while (check->output[o].first + check->output[o].numel <= first)
        o++;
    const ag_array *y = &check->output[o].y;
    ag_index_of(y->ndim, y->shape, first - check->output[o].first, index);
    ag_snprintf(r->explanation + used, room, "%s%lld of %lld outputs %s not finite and left out; output %d%s%s is %g. "
                "Check the function where its outputs are finite.", used == 0 ? "" : " ", (long long)check->left_out,
                (long long)check->output_numel, check->left_out == 1 ? "is" : "are", o, y->ndim == 0 ? "" : " at ",
                y->ndim == 0 ? "" : ag_dims_text(check->ctx, y->ndim, index), check->y[first]);
}

ag_gradcheck_result ag_check_run(ag_check *check, bool made, bool on_tape)
{
    ag_ctx *ctx = check->ctx;
    ag_cause cause = AG_CAUSE_NOTHING_CHECKED;
    for (int i = 0; i < check->input_count && check->input != NULL; i++)
        check->input[i].found = (ag_gradcheck_input){ .verdict = AG_INCONCLUSIVE, .index = -1, .output_index = -1 };
    bool judged = made && check_examine(check, &cause);
    ag_gradcheck_result r = check_summarize(check, cause);
    if (judged && r.verdict == AG_FAIL && check->misdeed.cause == AG_CAUSE_NONE)
        ag_check_explain_all(check, &r, on_tape);
    else if (r.verdict == AG_INCONCLUSIVE)
        snprintf(r.explanation, sizeof r.explanation, "%s", check_why_inconclusive(r.worst.cause));
    if (judged && check->left_out > 0 && r.verdict != AG_PASS && check->misdeed.cause == AG_CAUSE_NONE)
        check_say_left_out(check, &r);
    if (ag_error(ctx) != AG_OK) {
        r.verdict = r.worst.verdict = AG_FAIL;
        r.worst.cause = cause = AG_CAUSE_ERROR;
        snprintf(r.explanation, sizeof r.explanation, "%s", ag_error_message(ctx));
    }
    if (check->misdeed.cause != AG_CAUSE_NONE && ag_error(ctx) == AG_OK)
        check_report_misdeed(check, &r);
    for (int i = 0; i < check->input_count && check->input != NULL; i++) {
        ag_gradcheck_input *found = &check->input[i].found;
        if (found->checked == 0)
            found->cause = cause;
        if (check->config.inputs != NULL)
            check->config.inputs[i] = *found;
    }
    ag_check_report(check, &r);
    return r;
}
