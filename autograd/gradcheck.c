/* SPDX-License-Identifier: MIT
 *
 * gradcheck.c - compares a function's gradients with central differences.
 *
 * For a cotangent c the scalar L(x) = sum(c * f(x)) has the gradient that backward gives. A difference along u is
 * (L(x + h u) - L(x - h u)) / 2h, summed element by element of f, so that what does not change cancels exactly.
 * With h = 1e-5 its error is about h^2 |L'''| / 6 from the formula and 1e-16 |L| / h from rounding: 1e-11 each.
 */
#include "autograd/tape_impl.h"
#include "tensor/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct check {
    ag_ctx *ctx;
    ag_gradcheck_fn *f;
    ag_tensor *const *input;
    int count;
    void *user;
    ag_gradcheck_config config;
    ag_rng rng;         /* where every evaluation starts, so that dropout repeats */
    ag_tensor *y;       /* f at the inputs; retained */
    ag_tensor *c;       /* the cotangent; retained */
    ag_tensor **grad;   /* analytic, per input; retained; NULL: none, counts as zeros */
    const char *name;
    uint64_t draws;
} check;

/* ---- Evaluation ---- */

/* A number in +-[0.5, 1.5): never near zero, so that no part of the gradient goes unseen. */
static double draw(check *k)
{
    uint32_t word[4];
    ag_philox(k->config.seed + 1, k->draws++, word);
    double magnitude = 0.5 + (double)word[0] * 0x1p-32;
    return (word[1] & 1u) != 0 ? magnitude : -magnitude;
}

/* f at the inputs as they stand, in the innermost scope. May be a view of an input. */
static ag_tensor *evaluate(const check *k)
{
    ag_rng_set(k->ctx, k->rng);
    ag_tensor *y = k->f(k->ctx, k->input, k->count, k->user);
    if (y == NULL && ag_error(k->ctx) == AG_OK)
        ag_fail(k->ctx, AG_ERR_ARGUMENT, "gradcheck", "the function returned NULL");
    if (y != NULL && y->dtype != AG_F64)
        return ag_fail(k->ctx, AG_ERR_DTYPE, "gradcheck", "the function returned %s, must be float64",
                       ag_dtype_name(y->dtype));
    return y;
}

/* A change of the inputs: x += h u, where u is one element (index >= 0) or a random direction of signs. */
typedef struct direction {
    int input;
    int64_t index;
    uint64_t seed;
} direction;

static double sign_at(const direction *d, int64_t i)
{
    uint32_t word[4];
    ag_philox(d->seed, (uint64_t)i / 4, word);
    return (word[i % 4] & 1u) != 0 ? 1.0 : -1.0;
}

/* sum(c * (f(x + up u) - f(x + down u))) / (up - down); x is put back to the same bits. NaN on error. */
static double difference(const check *k, const direction *d, double up, double down)
{
    ag_tensor *x = k->input[d->input];
    int64_t first = d->index >= 0 ? d->index : 0, end = d->index >= 0 ? d->index + 1 : x->numel;
    size_t bytes = (size_t)(end - first) * sizeof(double);
    double *saved = ag_alloc(k->ctx, bytes), *value = (double *)ag_data_mut(x) + first, sum = 0;
    if (saved == NULL)
        return (double)NAN;
    memcpy(saved, value, bytes);
    ag_scope_begin(k->ctx, NULL);
    ag_tensor *y[2];
    for (int side = 0; side < 2; side++) {
        double h = side == 0 ? up : down;
        for (int64_t i = first; i < end; i++)
            value[i - first] = saved[i - first] + h * (d->index >= 0 ? 1.0 : sign_at(d, i));
        ag_tensor *result = evaluate(k);
        y[side] = result == NULL ? NULL : ag_tensor_clone(result);
        memcpy(value, saved, bytes);
    }
    if (y[0] != NULL && y[1] != NULL && ag_same_shape(y[0], k->y) && ag_same_shape(y[1], k->y)) {
        const double *a = ag_data(y[0]), *b = ag_data(y[1]), *c = ag_data(k->c);
        for (int64_t i = 0; i < k->y->numel; i++)
            if (a[i] != b[i]) /* equal infinities are no difference */
                sum += c[i] * (a[i] - b[i]);
    } else {
        sum = (double)NAN;
    }
    ag_scope_end(k->ctx, NULL);
    ag_free(k->ctx, saved, bytes);
    return sum / (up - down);
}

/* The analytic derivative along a direction. */
static double analytic(const check *k, const direction *d)
{
    if (k->grad[d->input] == NULL)
        return 0;
    const double *g = ag_data(k->grad[d->input]);
    if (d->index >= 0)
        return g[d->index];
    double sum = 0;
    for (int64_t i = 0; i < k->input[d->input]->numel; i++)
        sum += g[i] * sign_at(d, i);
    return sum;
}

/* ---- Judging one direction ---- */

static double relative_error(const check *k, double a, double n)
{
    return fabs(a - n) / fmax(fmax(fabs(a), fabs(n)), k->config.atol / k->config.rtol);
}

/* NaN and infinities on either side are never close. */
static bool is_close(const check *k, double a, double n)
{
    return isfinite(a) && isfinite(n) && fabs(a - n) <= k->config.atol + k->config.rtol * fmax(fabs(a), fabs(n));
}

/* The one-sided derivatives differ, and go on differing when the step shrinks: a corner at the point itself. Where f
 * is smooth the gap is h |L''| and shrinks with h. */
static bool is_kink(const check *k, const direction *d, double h)
{
    double gap = fabs(difference(k, d, h, 0) - difference(k, d, 0, -h));
    double smaller = fabs(difference(k, d, h / 8, 0) - difference(k, d, 0, -h / 8));
    double scale = fmax(1e-3, fabs(difference(k, d, h, -h)));
    return gap > 1e-3 * scale && smaller > 0.5 * gap;
}

static ag_verdict judge(const check *k, const direction *d, double *a, double *n)
{
    const double *x = (const double *)ag_data(k->input[d->input]);
    double h = k->config.step * (d->index >= 0 ? fmax(1, fabs(x[d->index])) : 1);
    *a = analytic(k, d);
    *n = difference(k, d, h, -h);
    if (is_close(k, *a, *n))
        return AG_PASS;
    if (!isfinite(*a) || !isfinite(*n))
        return AG_FAIL;
    double finer = difference(k, d, h / 16, -h / 16); /* a corner near the point, but not at it, falls outside */
    if (is_close(k, *a, finer)) {
        *n = finer;
        return AG_PASS;
    }
    return is_kink(k, d, h) ? AG_INCONCLUSIVE : AG_FAIL;
}

static int severity(ag_verdict verdict)
{
    return verdict == AG_FAIL ? 2 : verdict == AG_INCONCLUSIVE ? 1 : 0;
}

static void take(const check *k, ag_gradcheck_result *result, const direction *d)
{
    double a, n;
    ag_verdict verdict = judge(k, d, &a, &n);
    double error = verdict == AG_INCONCLUSIVE ? 0 : relative_error(k, a, n);
    if (isnan(error))
        error = (double)INFINITY;
    result->checked++;
    result->failed += verdict == AG_FAIL;
    result->inconclusive += verdict == AG_INCONCLUSIVE;
    bool worse = severity(verdict) > severity(result->verdict);
    if (worse || (verdict == result->verdict && (error > result->max_error || result->input < 0))) {
        result->verdict = verdict;
        result->input = d->input;
        result->index = d->index;
        result->analytic = a;
        result->numeric = n;
    }
    if (error > result->max_error)
        result->max_error = error;
}

/* ---- Report ---- */

static const char *verdict_name(ag_verdict verdict)
{
    return verdict == AG_PASS ? "PASS" : verdict == AG_FAIL ? "FAIL" : "INCONCLUSIVE";
}

static void report_index(FILE *file, const ag_tensor *x, int64_t flat)
{
    int64_t index[AG_MAX_DIMS];
    for (int d = x->ndim - 1; d >= 0; d--) {
        index[d] = flat % x->shape[d];
        flat /= x->shape[d];
    }
    fputc('[', file);
    for (int d = 0; d < x->ndim; d++)
        fprintf(file, "%s%lld", d > 0 ? "," : "", (long long)index[d]);
    fputc(']', file);
}

static void report(const check *k, const ag_gradcheck_result *r)
{
    FILE *file = k->config.report;
    if (file == NULL)
        return;
    fprintf(file, "gradcheck %s: %s, %lld checked, %lld failed, %lld inconclusive, worst relative error %.1e\n",
            k->name, verdict_name(r->verdict), (long long)r->checked, (long long)r->failed, (long long)r->inconclusive,
            r->max_error);
    if (ag_error(k->ctx) != AG_OK) {
        fprintf(file, "  error: %s\n", ag_error_message(k->ctx));
        return;
    }
    if (r->verdict == AG_PASS || r->input < 0)
        return;
    const ag_tensor *x = k->input[r->input];
    fprintf(file, "  worst: input %d", r->input);
    if (ag_name(x) != NULL)
        fprintf(file, " '%s'", ag_name(x));
    fprintf(file, " %s at ", ag_shape_text(x));
    if (r->index >= 0)
        report_index(file, x, r->index);
    else
        fprintf(file, "a random direction");
    fprintf(file, ": analytic %.10g, numeric %.10g\n", r->analytic, r->numeric);
    if (r->verdict == AG_INCONCLUSIVE)
        fprintf(file, "  the two one-sided differences disagree there: a kink; move the input away from it\n");
    else if (k->grad[r->input] == NULL)
        fprintf(file, "  backward gave this input no gradient at all\n");
}

/* ---- The whole check ---- */

/* Inputs that a difference can move one by one; false with the error recorded. */
static bool inputs_are_usable(const check *k)
{
    const char *where = "gradcheck";
    for (int i = 0; i < k->count && ag_error(k->ctx) == AG_OK; i++) {
        const ag_tensor *x = k->input[i];
        if (x == NULL) {
            ag_fail(k->ctx, AG_ERR_ARGUMENT, where, "input %d is NULL", i);
            break;
        }
        if (x->dtype == AG_F32)
            ag_fail(k->ctx, AG_ERR_DTYPE, where, "input %d is float32; differences need float64", i);
        if (x->dtype == AG_F64 && !ag_requires_grad(x))
            ag_fail(k->ctx, AG_ERR_ARGUMENT, where, "input %d needs no gradient; see ag_require_grad", i);
        if (!ag_is_contiguous(x))
            ag_fail(k->ctx, AG_ERR_ARGUMENT, where, "input %d %s is a strided view; check a contiguous copy", i,
                    ag_shape_text(x));
        for (int j = 0; j < i; j++)
            if (k->input[j]->storage == x->storage)
                ag_fail(k->ctx, AG_ERR_ARGUMENT, where, "inputs %d and %d share memory", j, i);
    }
    return ag_error(k->ctx) == AG_OK;
}

/* Runs f on a tape and takes its gradients for a random cotangent, leaving those that the inputs had. */
static bool run_backward(check *k)
{
    ag_tensor **kept = ag_alloc(k->ctx, (size_t)k->count * sizeof *kept);
    ag_tape *tape = kept == NULL ? NULL : ag_tape_begin(k->ctx);
    if (tape == NULL) {
        ag_free(k->ctx, kept, (size_t)k->count * sizeof *kept);
        return false;
    }
    for (int i = 0; i < k->count; i++) {
        kept[i] = ag_retain(ag_grad(k->input[i]));
        ag_zero_grad(k->input[i]);
    }
    ag_tensor *y = evaluate(k);
    k->y = ag_retain(y == NULL ? NULL : ag_tensor_clone(y));
    k->c = ag_retain(y == NULL ? NULL : ag_empty(k->ctx, AG_F64, y->ndim, y->shape));
    if (k->c != NULL && k->y != NULL) {
        for (int64_t i = 0; i < y->numel; i++)
            ((double *)k->c->storage->data)[i] = draw(k);
        int64_t node = ag_node_of(tape, y);
        if (k->name == NULL && node >= 0)
            k->name = ag_tape_node(tape, node).op;
        if (node >= 0) /* else no input reaches the output: all gradients are zero */
            ag_backward_from(tape, y, k->c);
    }
    for (int i = 0; i < k->count; i++) {
        k->grad[i] = ag_retain(ag_grad(k->input[i]));
        ag_zero_grad(k->input[i]);
        if (kept[i] != NULL)
            ag_grad_state_of(k->input[i])->grad = kept[i];
    }
    ag_tape_end(tape);
    ag_free(k->ctx, kept, (size_t)k->count * sizeof *kept);
    return ag_error(k->ctx) == AG_OK;
}

/* f at the same inputs gives the same bits. */
static bool repeats(const check *k)
{
    ag_scope_begin(k->ctx, NULL);
    ag_tensor *again = evaluate(k);
    again = again == NULL ? NULL : ag_tensor_contiguous(again);
    bool same = again != NULL && ag_same_shape(again, k->y) &&
                memcmp(ag_data(again), ag_data(k->y), (size_t)k->y->numel * sizeof(double)) == 0;
    ag_scope_end(k->ctx, NULL);
    return same;
}

static void check_inputs(check *k, ag_gradcheck_result *result)
{
    for (int i = 0; i < k->count; i++) {
        const ag_tensor *x = k->input[i];
        if (x->dtype != AG_F64)
            continue;
        bool all = x->numel <= k->config.elements;
        int64_t steps = all ? x->numel : k->config.directions;
        for (int64_t s = 0; s < steps && ag_error(k->ctx) == AG_OK; s++)
            take(k, result, &(direction){ i, all ? s : -1, k->config.seed + (uint64_t)(i * 1000003 + s + 17) });
    }
}

static ag_gradcheck_config with_defaults(ag_gradcheck_config config)
{
    if (config.step == 0)
        config.step = 1e-5;
    if (config.rtol == 0)
        config.rtol = 1e-6;
    if (config.atol == 0)
        config.atol = 1e-9;
    if (config.elements == 0)
        config.elements = 4096;
    if (config.directions == 0)
        config.directions = 16;
    return config;
}

ag_gradcheck_result ag_gradcheck(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *input, int count, void *user,
                                 ag_gradcheck_config config)
{
    ag_gradcheck_result result = { .verdict = AG_PASS, .input = -1, .index = -1 };
    check k = {
        .ctx = ctx, .f = f, .input = input, .count = count, .user = user, .config = with_defaults(config),
        .rng = ag_rng_get(ctx), .name = config.name,
    };
    size_t bytes = (size_t)count * sizeof *k.grad;
    k.grad = ag_alloc(ctx, bytes);
    if (k.grad != NULL)
        memset(k.grad, 0, bytes);
    if (k.grad != NULL && inputs_are_usable(&k) && run_backward(&k)) {
        if (repeats(&k))
            check_inputs(&k, &result);
        else
            result.verdict = AG_INCONCLUSIVE;
    }
    if (ag_error(ctx) != AG_OK || (result.checked == 0 && result.verdict == AG_PASS))
        result.verdict = AG_FAIL;
    if (k.name == NULL)
        k.name = "function";
    report(&k, &result);
    if (config.report != NULL && result.verdict == AG_INCONCLUSIVE && result.checked == 0)
        fprintf(config.report, "  the function does not repeat itself: two runs on the same inputs differ\n");
    for (int i = 0; i < count && k.grad != NULL; i++)
        ag_release(k.grad[i]);
    ag_release(k.y);
    ag_release(k.c);
    ag_free(ctx, k.grad, bytes);
    return result;
}
