/* SPDX-License-Identifier: MIT
 *
 * gradcheck.c - the check as a whole: makes an ag_check from a function of tensors, judges the gradients of any check
 * input by input, explains failures and reports.
 *
 * For a cotangent c backward gives the gradient of L(x) = sum(c f(x)). c is random, because with c = 1 some wrong
 * gradients are right: that of softmax is then 0. An error may still cancel in L, so a small Jacobian is also compared
 * entry by entry, with one backward per output element.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "autograd/tape_impl.h"
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

ag_gradcheck_config ag_check_defaults(ag_gradcheck_config config)
{
    config.outputs = config.outputs == 0 ? 1 : config.outputs;
    config.step = config.step == 0 ? 0x1p-6 : config.step;
    config.rtol = config.rtol == 0 ? 1e-6 : config.rtol;
    config.atol = config.atol == 0 ? 1e-9 : config.atol;
    config.elements = config.elements == 0 ? 4096 : config.elements;
    config.directions = config.directions == 0 ? 16 : config.directions;
    return config;
}

/* ---- Memory ---- */

static void *check_zeroed(ag_ctx *ctx, int64_t count, size_t size)
{
    void *block = ag_alloc(ctx, (size_t)count * size);
    if (block != NULL)
        memset(block, 0, (size_t)count * size);
    return block;
}

static void check_free_doubles(ag_ctx *ctx, double *block, int64_t count)
{
    ag_free(ctx, block, (size_t)count * sizeof(double));
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
    ag_ctx *ctx = check->ctx;
    check_config_is_usable(check);
    check->input = check_zeroed(ctx, check->input_count, sizeof *check->input);
    check->output = check_zeroed(ctx, check->output_count, sizeof *check->output);
    return check->input != NULL && check->output != NULL && ag_error(ctx) == AG_OK;
}

/* Allocates the arrays; inputs and outputs have their shapes. */
static bool check_allocate(ag_check *check)
{
    ag_ctx *ctx = check->ctx;
    int64_t m = 0, entries = 0;
    for (int i = 0; i < check->output_count; i++) {
        check->output[i].first = m;
        m += check->output[i].numel;
    }
    check->output_numel = m;
    check->y = check_zeroed(ctx, m, sizeof(double));
    check->cotangent = check_zeroed(ctx, m, sizeof(double));
    check->jacobian = check_zeroed(ctx, check->input_count, sizeof *check->jacobian);
    bool good = check->y != NULL && check->cotangent != NULL && check->jacobian != NULL;
    for (int i = 0; i < check->input_count && good; i++) {
        ag_check_input *in = &check->input[i];
        if (!in->checked)
            continue;
        bool all = in->numel <= check->config.elements;
        in->analytic = check_zeroed(ctx, in->numel, sizeof(double));
        in->numeric = all ? check_zeroed(ctx, in->numel, sizeof(double)) : NULL;
        good = in->analytic != NULL && (in->numeric != NULL || !all);
        if (good && all && m > 0 && in->numel <= (MOST_ENTRIES - entries) / m) {
            check->jacobian[i] = check_zeroed(ctx, in->numel * m, sizeof(double));
            good = check->jacobian[i] != NULL;
            entries += in->numel * m;
        }
    }
    for (int i = 0; i < check->output_count && good; i++)
        check->output[i].y.value = check->y + check->output[i].first;
    return good;
}

static void check_end(ag_check *check)
{
    ag_ctx *ctx = check->ctx;
    for (int i = 0; i < check->input_count && check->input != NULL; i++) {
        const ag_check_input *in = &check->input[i];
        check_free_doubles(ctx, in->analytic, in->numel);
        check_free_doubles(ctx, in->numeric, in->numel);
        if (check->jacobian != NULL)
            check_free_doubles(ctx, check->jacobian[i], in->numel * check->output_numel);
    }
    ag_free(ctx, check->jacobian, (size_t)check->input_count * sizeof *check->jacobian);
    check_free_doubles(ctx, check->y, check->output_numel);
    check_free_doubles(ctx, check->cotangent, check->output_numel);
    ag_free(ctx, check->input, (size_t)check->input_count * sizeof *check->input);
    ag_free(ctx, check->output, (size_t)check->output_count * sizeof *check->output);
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
    size_t bytes = jacobian == NULL ? 0 : (size_t)m * sizeof(ag_derivative);
    ag_derivative *each = jacobian == NULL ? NULL : ag_alloc(check->ctx, bytes);
    bool good = each != NULL || jacobian == NULL;
    for (int64_t e = 0; e < in->numel && good; e++) {
        ag_derivative sum;
        good = ag_check_derivatives(check, &(ag_direction){ .input = input, .index = e }, check->cotangent, &sum, each,
                                    rows != NULL);
        if (!good)
            break;
        ag_gradcheck_input worst = check_compare(check, e, -1, in->analytic[e], sum);
        in->numeric[e] = sum.value;
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
    ag_free(check->ctx, each, bytes);
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
    size_t bytes = (size_t)check->input_count * sizeof(double *);
    double **grad = ag_alloc(check->ctx, bytes);
    if (grad == NULL)
        return false;
    for (int i = 0; i < check->input_count; i++)
        grad[i] = check->input[i].analytic;
    bool good = check->backward(check, check->cotangent, grad);
    ag_free(check->ctx, grad, bytes);
    return good;
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
    double *one_hot = check_zeroed(check->ctx, m, sizeof(double));
    for (int64_t j = 0; j < m && one_hot != NULL && good; j++) {
        for (int i = 0; i < check->input_count; i++)
            grad[i] = first[i] + j * check->input[i].numel;
        one_hot[j] = 1;
        good = check->backward(check, one_hot, grad);
        one_hot[j] = 0;
    }
    check_free_doubles(check->ctx, one_hot, m);
    return good && one_hot != NULL;
}

static bool check_judge_inputs(ag_check *check)
{
    ag_ctx *ctx = check->ctx;
    int64_t entries = check_entries_to_compare(check);
    size_t bytes = 2 * (size_t)check->input_count * sizeof(double *);
    double *rows = check_zeroed(ctx, entries, sizeof(double)), **first = ag_alloc(ctx, bytes);
    bool good = rows != NULL && first != NULL;
    if (good && entries > 0)
        good = check_analytic_rows(check, rows, first, first + check->input_count);
    for (int i = 0; i < check->input_count && good; i++) {
        const ag_check_input *in = &check->input[i];
        if (in->checked && in->numel > 0)
            good = in->numeric == NULL ? check_judge_directions(check, i)
                                       : check_judge_elements(check, i, entries > 0 ? first[i] : NULL);
    }
    check_free_doubles(ctx, rows, entries);
    ag_free(ctx, first, bytes);
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
    double *again = check_zeroed(check->ctx, check->output_numel, sizeof(double));
    bool same = again != NULL && check->evaluate(check, again) &&
                memcmp(again, check->y, (size_t)check->output_numel * sizeof(double)) == 0;
    check_free_doubles(check->ctx, again, check->output_numel);
    return same;
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

/* Finds the causes of failed inputs, and the explanation of the worst one: the text about the wrong op if one was
 * found; if that has no cause, followed by the text about the whole gradient. */
static void check_explain(ag_check *check, ag_gradcheck_result *r, bool on_tape)
{
    ag_explanation whole = { AG_CAUSE_UNKNOWN, 1, "" };
    for (int i = 0; i < check->input_count; i++) {
        ag_gradcheck_input *found = &check->input[i].found;
        bool cheap = i == r->input || check->jacobian[i] != NULL;
        if (found->checked == 0 || found->verdict != AG_FAIL || !cheap)
            continue;
        ag_explanation one = ag_check_explain(check, i);
        found->cause = one.cause;
        found->factor = one.factor;
        if (i == r->input)
            whole = one;
    }
    ag_location at = { .node = -1, .op = "", .path = "" };
    if (on_tape && ag_error(check->ctx) == AG_OK)
        at = ag_check_locate(check);
    r->op = at.op;
    r->path = at.path;
    r->node = at.node;
    r->op_input = at.op_input;
    ag_gradcheck_input *worst = &check->input[r->input].found;
    bool known = at.explanation.cause > AG_CAUSE_UNKNOWN;
    if (known) {
        worst->cause = at.explanation.cause;
        worst->factor = at.explanation.factor;
    }
    bool said = known || (at.node >= 0 && whole.cause == AG_CAUSE_UNKNOWN); /* the second text would add nothing */
    const char *first = at.explanation.text, *second = said ? "" : whole.text;
    snprintf(r->explanation, sizeof r->explanation, "%.*s%s", AG_EXPLANATION - 2, first,
             *first != '\0' && *second != '\0' ? " " : "");
    size_t used = strlen(r->explanation);
    snprintf(r->explanation + used, sizeof r->explanation - used, "%.*s", AG_EXPLANATION - 1 - (int)used, second);
    r->worst = *worst;
}

ag_gradcheck_result ag_check_run(ag_check *check, bool made, bool on_tape)
{
    ag_ctx *ctx = check->ctx;
    ag_cause cause = AG_CAUSE_NOTHING_CHECKED;
    for (int i = 0; i < check->input_count && check->input != NULL; i++)
        check->input[i].found = (ag_gradcheck_input){ .verdict = AG_INCONCLUSIVE, .index = -1, .output_index = -1 };
    bool judged = made && check_examine(check, &cause);
    ag_gradcheck_result r = check_summarize(check, cause);
    if (judged && r.verdict == AG_FAIL)
        check_explain(check, &r, on_tape);
    else if (r.verdict == AG_INCONCLUSIVE)
        snprintf(r.explanation, sizeof r.explanation, "%s", check_why_inconclusive(r.worst.cause));
    if (ag_error(ctx) != AG_OK) {
        r.verdict = r.worst.verdict = AG_FAIL;
        r.worst.cause = cause = AG_CAUSE_ERROR;
        snprintf(r.explanation, sizeof r.explanation, "%s", ag_error_message(ctx));
    }
    for (int i = 0; i < check->input_count && check->input != NULL; i++) {
        ag_gradcheck_input *found = &check->input[i].found;
        if (found->checked == 0)
            found->cause = cause;
        if (check->config.inputs != NULL)
            check->config.inputs[i] = *found;
    }
    ag_check_report(check, &r);
    check_end(check);
    return r;
}

/* ---- Functions of tensors ---- */

typedef struct tensors {
    ag_tensor_function function; /* the first member: locate.c sees only this one */
    ag_tensor **output;
    ag_tensor **checked, **grad; /* the inputs that are checked, and their gradients */
} tensors;

/* Whether differences can move each input by itself; else false with the error recorded. */
static bool check_inputs_are_usable(ag_ctx *ctx, ag_tensor *const *input, int input_count)
{
    const char *where = "gradcheck";
    for (int i = 0; i < input_count && ag_error(ctx) == AG_OK; i++) {
        const ag_tensor *x = input[i];
        if (x == NULL) {
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "input %d is NULL", i);
            break;
        }
        if (x->dtype == AG_F32)
            ag_fail(ctx, AG_ERR_DTYPE, where, "input %d is float32; differences need float64", i);
        if (x->dtype == AG_F64 && !ag_requires_grad(x))
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "input %d needs no gradient; see ag_require_grad", i);
        if (!ag_is_contiguous(x))
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "input %d %s is a strided view; check a contiguous copy", i,
                    ag_shape_text(x));
        for (int j = 0; j < i; j++)
            if (input[j]->storage == x->storage)
                ag_fail(ctx, AG_ERR_ARGUMENT, where, "inputs %d and %d share memory", j, i);
    }
    return ag_error(ctx) == AG_OK;
}

/* Runs the function on a new tape, so that layers act as in training. The caller ends the tape. NULL on error. */
static ag_tape *check_run_tensors(ag_check *check)
{
    tensors *t = check->function;
    ag_ctx *ctx = check->ctx;
    ag_rng_set(ctx, t->function.rng);
    ag_tape *tape = ag_tape_begin(ctx);
    if (tape == NULL)
        return NULL;
    for (int i = 0; i < check->output_count; i++)
        t->output[i] = NULL;
    t->function.f(ctx, t->function.input, t->output, t->function.user);
    for (int i = 0; i < check->output_count && ag_error(ctx) == AG_OK; i++) {
        const ag_tensor *y = t->output[i];
        if (y == NULL)
            ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", "the function gave no output %d", i);
        else if (y->dtype != AG_F64)
            ag_fail(ctx, AG_ERR_DTYPE, "gradcheck", "output %d is %s, must be float64", i, ag_dtype_name(y->dtype));
    }
    if (ag_error(ctx) == AG_OK)
        return tape;
    ag_tape_end(tape);
    return NULL;
}

static bool check_evaluate_tensors(ag_check *check, double *y)
{
    ag_tape *tape = check_run_tensors(check);
    if (tape == NULL)
        return false;
    ag_tensor **output = ((tensors *)check->function)->output;
    for (int i = 0; i < check->output_count; i++) {
        const ag_check_output *out = &check->output[i];
        const ag_tensor *dense = ag_tensor_contiguous(output[i]);
        if (dense == NULL)
            break;
        size_t shape_bytes = (size_t)dense->ndim * sizeof(int64_t);
        if (dense->ndim != out->y.ndim || memcmp(dense->shape, out->y.shape, shape_bytes) != 0)
            ag_fail(check->ctx, AG_ERR_SHAPE, "gradcheck", "output %d is %s now, was %s", i, ag_shape_text(dense),
                    ag_dims_text(check->ctx, out->y.ndim, out->y.shape));
        else if (out->numel > 0)
            memcpy(y + out->first, ag_data(dense), (size_t)out->numel * sizeof(double));
    }
    ag_tape_end(tape);
    return ag_error(check->ctx) == AG_OK;
}

/* Adds the gradients of sum(cotangent output[number]). */
static void check_add_gradients(ag_check *check, ag_tape *tape, int number, const double *cotangent,
                                double *const *grad)
{
    tensors *t = check->function;
    const ag_check_output *out = &check->output[number];
    ag_tensor *y = t->output[number];
    if (ag_requires_grad(y) && ag_node_of(tape, y) < 0) /* an input returned unchanged has no node yet */
        y = ag_reshape(y, y->ndim, y->shape);
    if (ag_node_of(tape, y) < 0) /* it depends on no input */
        return;
    int checked = 0;
    for (int i = 0; i < check->input_count; i++)
        if (check->input[i].checked)
            t->checked[checked++] = t->function.input[i];
    ag_tensor *c = ag_from_data(check->ctx, AG_F64, out->y.ndim, out->y.shape, cotangent + out->first);
    if (c == NULL || ag_gradient(tape, y, c, t->checked, checked, t->grad) != AG_OK)
        return;
    for (int i = 0, k = 0; i < check->input_count; i++) {
        ag_check_input *in = &check->input[i];
        if (!in->checked)
            continue;
        const ag_tensor *g = ag_tensor_contiguous(t->grad[k++]);
        in->reached = in->reached || g != NULL;
        for (int64_t e = 0; e < in->numel && g != NULL; e++)
            grad[i][e] += ((const double *)ag_data(g))[e];
    }
}

static bool check_backward_tensors(ag_check *check, const double *cotangent, double *const *grad)
{
    ag_tape *tape = check_run_tensors(check);
    if (tape == NULL)
        return false;
    for (int i = 0; i < check->input_count; i++)
        if (check->input[i].checked && check->input[i].numel > 0)
            memset(grad[i], 0, (size_t)check->input[i].numel * sizeof(double));
    for (int i = 0; i < check->output_count && ag_error(check->ctx) == AG_OK; i++)
        check_add_gradients(check, tape, i, cotangent, grad);
    ag_tape_end(tape);
    return ag_error(check->ctx) == AG_OK;
}

/* Describes the inputs; and the outputs, with the name of the check, by a first run. */
static bool check_describe_tensors(ag_check *check)
{
    tensors *t = check->function;
    for (int i = 0; i < check->input_count; i++) {
        ag_tensor *x = t->function.input[i];
        ag_check_input *in = &check->input[i];
        in->checked = x->dtype == AG_F64;
        in->numel = x->numel;
        in->x = (ag_array){ .name = ag_name(x), .value = in->checked ? ag_data_mut(x) : NULL, .ndim = x->ndim };
        memcpy(in->x.shape, x->shape, sizeof x->shape);
    }
    ag_tape *tape = check_run_tensors(check);
    if (tape == NULL)
        return false;
    for (int i = 0; i < check->output_count; i++) {
        const ag_tensor *y = t->output[i];
        ag_check_output *out = &check->output[i];
        out->numel = y->numel;
        out->y = (ag_array){ .name = ag_name(y), .ndim = y->ndim };
        memcpy(out->y.shape, y->shape, sizeof y->shape);
    }
    int64_t node = ag_node_of(tape, t->output[0]);
    if (check->config.name == NULL && node >= 0)
        check->name = tape->nodes[node].op->name;
    ag_tape_end(tape);
    return true;
}

ag_gradcheck_result ag_gradcheck(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *input, int input_count,
                                 void *user, ag_gradcheck_config config)
{
    ag_rng rng = ag_rng_get(ctx);
    tensors t = { .function = { f, input, input_count, user, rng } };
    ag_check check = {
        .ctx = ctx,
        .config = ag_check_defaults(config),
        .name = config.name == NULL ? "function" : config.name,
        .input_count = input_count,
        .evaluate = check_evaluate_tensors,
        .backward = check_backward_tensors,
        .function = &t,
        .user = user,
    };
    check.output_count = check.config.outputs > 0 ? check.config.outputs : 0;
    size_t bytes = (size_t)(check.output_count + 2 * input_count) * sizeof(ag_tensor *);
    t.output = ag_alloc(ctx, bytes);
    bool made = ag_check_begin(&check) && t.output != NULL && check_inputs_are_usable(ctx, input, input_count);
    if (made) {
        t.checked = t.output + check.output_count;
        t.grad = t.checked + input_count;
        made = check_describe_tensors(&check);
    }
    ag_gradcheck_result result = ag_check_run(&check, made, true);
    ag_free(ctx, t.output, bytes);
    ag_rng_set(ctx, rng);
    return result;
}
