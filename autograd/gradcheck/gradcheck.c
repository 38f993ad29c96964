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
        ag_fail(check->ctx, AG_ERR_ARGUMENT, "gradcheck", "step is %g, rtol %g, atol %g; must be more than 0, or 0 for "
                "the default", c->step, c->rtol, c->atol);
    else if (c->elements < 0 || c->directions < 0 || c->outputs < 0)
        ag_fail(check->ctx, AG_ERR_ARGUMENT, "gradcheck", "elements is %lld, directions %d, outputs %d; must not be "
                "negative", (long long)c->elements, c->directions, c->outputs);
}

bool ag_check_begin(ag_check *check)
{
    ag_gradcheck_config *config = &check->config;
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

/* ---- Judging one input ---- */

static double check_relative_error(const ag_check *check, double a, double n)
{
    double error = fabs(a - n) / fmax(fmax(fabs(a), fabs(n)), check->config.atol / check->config.rtol);
    return isnan(error) ? (double)INFINITY : error;
}

/* One comparison. Inconclusive if the two are neither close nor further apart than the numeric derivative's uncertainty
 * by a factor of 10; 100 where no step was accurate enough, as the estimate itself is then rough. */
static ag_gradcheck_input check_compare(const ag_check *check, int64_t index, int64_t output_index, double a,
                                        ag_derivative n)
{
    ag_gradcheck_input one = { .index = index, .output_index = output_index, .analytic = a, .numeric = n.value,
                               .uncertainty = n.uncertainty };
    double wanted = check->config.atol + check->config.rtol * fmax(fabs(a), fabs(n.value));
    bool usable = n.trouble == AG_CAUSE_NONE || n.trouble == AG_CAUSE_STEP_EXHAUSTED;
    double doubt = (n.trouble == AG_CAUSE_NONE ? 10 : 100) * n.uncertainty;
    if (n.trouble == AG_CAUSE_NONE && ag_check_is_close(check, a, n.value))
        one.verdict = AG_PASS;
    else if (isfinite(n.value) && (!isfinite(a) || (usable && fabs(a - n.value) > wanted + doubt)))
        one.verdict = AG_FAIL;
    else
        one.verdict = AG_INCONCLUSIVE;
    one.cause = one.verdict == AG_PASS ? AG_CAUSE_NONE
                : one.verdict == AG_FAIL ? AG_CAUSE_UNKNOWN
                : n.trouble == AG_CAUSE_NONE ? AG_CAUSE_STEP_EXHAUSTED
                : n.trouble;
    one.max_error = one.verdict == AG_INCONCLUSIVE ? 0 : check_relative_error(check, a, n.value);
    return one;
}

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

/* Compares every element. rows: the analytic Jacobian, [output_numel][numel], compared too; NULL: only the sum. */
static bool check_judge_elements(ag_check *check, int input, const double *rows)
{
    ag_check_input *in = &check->input[input];
    int64_t m = check->output_numel;
    double *jacobian = check->jacobian[input];
    ag_derivative *each = jacobian == NULL ? NULL : ag_check_memory(check->ctx, m, sizeof *each);
    bool good = each != NULL || jacobian == NULL;
    for (int64_t e = 0; e < in->numel && good; e++) {
        ag_derivative sum;
        good = ag_check_derivatives(check, &(ag_direction){ .input = input, .index = e }, check->cotangent, &sum, each,
                                    rows != NULL);
        if (!good)
            break;
        ag_gradcheck_input worst = check_compare(check, e, -1, in->analytic[e], sum);
        in->numeric[e] = sum.value;
        in->doubt[e] = sum.uncertainty;
        bool finite = sum.trouble != AG_CAUSE_NON_FINITE; /* else a row may be NaN: 0 times infinity */
        for (int64_t j = 0; j < m && each != NULL; j++) {
            jacobian[e * m + j] = each[j].value;
            if (rows == NULL || !finite)
                continue;
            ag_gradcheck_input one = check_compare(check, e, j, rows[j * in->numel + e], each[j]);
            if (check_is_worse(&one, &worst))
                worst = one;
        }
        check_count(&in->found, worst);
    }
    return good;
}

/* The comparison along a direction. */
static ag_gradcheck_input check_compare_along(ag_check *check, const ag_direction *d)
{
    const ag_check_input *in = &check->input[d->input];
    double a = 0;
    for (int64_t i = d->index >= 0 ? d->index : d->first; i < (d->index >= 0 ? d->index + 1 : d->end); i++)
        a += in->analytic[i] * ag_direction_at(d, i);
    return check_compare(check, d->index, -1, a, ag_check_derivative(check, d, check->cotangent));
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

/* The analytic gradients for the check's cotangent. */
static bool check_analytic_gradients(ag_check *check)
{
    double **grad = ag_check_memory(check->ctx, check->input_count, sizeof *grad);
    for (int i = 0; i < check->input_count && grad != NULL; i++)
        grad[i] = check->input[i].analytic;
    return grad != NULL && check->backward(check, check->cotangent, grad);
}

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
        const ag_check_input *in = &check->input[i];
        if (in->checked && in->numel > 0)
            good = in->numeric == NULL ? check_judge_directions(check, i)
                                       : check_judge_elements(check, i, entries > 0 ? first[i] : NULL);
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
        check->cotangent[i] = (word[1] & 1u) != 0 ? magnitude : -magnitude;
    }
}

/* Whether two runs on the same inputs give the same bits; false also on error. */
static bool check_repeats(ag_check *check)
{
    double *again = check_doubles(check, check->output_numel);
    return again != NULL && check->evaluate(check, again) &&
           memcmp(again, check->y, (size_t)check->output_numel * sizeof(double)) == 0;
}

/* Judges every input. False: an error, or nothing could be judged because of *cause. */
static bool check_examine(ag_check *check, ag_cause *cause)
{
    if (!check_allocate(check) || !check->evaluate(check, check->y))
        return false;
    check_draw_cotangent(check);
    if (!check_analytic_gradients(check))
        return false;
    if (check_repeats(check))
        return check_judge_inputs(check);
    *cause = AG_CAUSE_NOT_REPEATABLE;
    return false;
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
    if (ag_error(ctx) != AG_OK) {
        r.verdict = r.worst.verdict = AG_FAIL;
        r.worst.cause = cause = AG_CAUSE_ERROR;
        snprintf(r.explanation, sizeof r.explanation, "%s", ag_error_message(ctx));
    }
    if (check->misdeed.cause != AG_CAUSE_NONE && ag_error(ctx) == AG_OK) {
        r.verdict = r.worst.verdict = AG_FAIL;
        r.worst.cause = check->misdeed.cause;
        memcpy(r.explanation, check->misdeed.text, sizeof r.explanation);
        if (r.input >= 0)
            check->input[r.input].found = r.worst;
    }
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
