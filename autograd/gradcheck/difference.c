/* SPDX-License-Identifier: MIT
 *
 * difference.c - numeric derivatives of a function at a point, along an element or a direction.
 *
 * Central differences at narrower and narrower steps are extrapolated until successive results agree. The extrapolated
 * gap between the two one-sided derivatives is part of the estimated error: it is 0 for a smooth function and the jump
 * of the slope at a kink.
 * The complex step Im f(x + ih) / h subtracts nothing, so it is accurate to the last bits. It needs only the function's
 * formula. Dual numbers would be as accurate but need every derivative rule a second time, with the same mistakes.
 * Sources: gradcheck.h.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "tensor/philox.h"

#include <math.h>
#include <string.h>

enum {
    LEVELS = 43,   /* the last step is 2e-12 times the first */
    PATIENCE = 10, /* successive steps without improvement that end the search */
    SHRINK = 16    /* an error estimate is at least 1/16 of the previous one: the error falls by 1.9^4 = 13 per step */
};

/* The ratio of successive steps. Not an integer: on a function whose values are rounded to multiples of some number,
 * steps with an integer ratio often agree on the same wrong slope. */
static const double RATIO = 1.9;

/* Assumed relative rounding error of the outputs: four units in the last place. */
static const double ROUNDING = 0x1p-51;

static double difference_tolerance(const ag_check *check, double size)
{
    return check->config.atol + check->config.rtol * size;
}

bool ag_check_is_close(const ag_check *check, double a, double n)
{
    return isfinite(a) && isfinite(n) && fabs(a - n) <= difference_tolerance(check, fmax(fabs(a), fabs(n)));
}

double ag_direction_at(const ag_direction *d, int64_t i)
{
    if (d->index >= 0)
        return i == d->index ? 1 : 0;
    if (i < d->first || i >= d->end)
        return 0;
    uint32_t word[4];
    ag_philox(d->seed, (uint64_t)i / 4, word);
    return (word[i % 4] & 1u) != 0 ? 1 : -1;
}

/* ---- Extrapolation of one derivative ---- */

/* The differences at the three newest steps, newest last, and the best estimate so far. */
typedef struct track {
    double slope[3]; /* (f(x+h) - f(x-h)) / 2h = f' + h^2 f''' / 6 + O(h^4) */
    double gap[3];   /* (f(x+h) - 2 f(x) + f(x-h)) / h = h f'' + O(h^3) where f is smooth, the jump of f' at a kink */
    double noise;    /* rounding error of the newest slope */
    int count;
    ag_derivative best;
    double error;    /* of the newest estimate */
    int stalled;     /* steps since the best one, without those that saw a kink */
    bool done;
} track;

/* Memory for one direction. track[0] is that of the sum, track[1 + j] that of output j. */
typedef struct workspace {
    double *above, *below; /* outputs at x + h and x - h */
    bool *changes;         /* whether any step has changed an output */
    double *saved;         /* the elements that move, as they were */
    track *track;
    int64_t outputs, moved, tracks;
} workspace;

/* Extrapolates the three steps. The error is estimated by the distance to the extrapolation of the two wider steps,
 * which overstates it by orders of magnitude where f is smooth and is right where noise dominates, plus half the gap:
 * the distance to either one-sided derivative. */
static void track_judge(const ag_check *check, track *t)
{
    const double *d = t->slope, *g = t->gap;
    const double r = RATIO, r2 = r * r, r3 = r * r2, r4 = r2 * r2;
    double wide = (r2 * d[1] - d[0]) / (r2 - 1), narrow = (r2 * d[2] - d[1]) / (r2 - 1);
    double wide_gap = (r * g[1] - g[0]) / (r - 1), narrow_gap = (r * g[2] - g[1]) / (r - 1);
    double value = (r4 * narrow - wide) / (r4 - 1), gap = (r3 * narrow_gap - wide_gap) / (r3 - 1);
    double error = fmax(fabs(value - wide) + fabs(gap) / 2 + 2 * t->noise, t->error / SHRINK);
    double gap_error = fabs(gap - wide_gap) + 10 * t->noise, tol = difference_tolerance(check, fabs(value));
    bool kink = fabs(gap) > tol + 10 * gap_error;

    t->error = error;
    if (error < t->best.uncertainty) {
        t->best = (ag_derivative){ value, error, error <= tol ? AG_CAUSE_NONE
                                                 : kink       ? AG_CAUSE_KINK
                                                              : AG_CAUSE_STEP_EXHAUSTED };
        t->stalled = 0;
    } else if (!kink) {
        t->stalled++;
    }
    double reached = t->best.uncertainty, wanted = difference_tolerance(check, fabs(t->best.value));
    /* Stop as soon as noise makes narrower steps worse. A function that rounds inside, as to float32, is a staircase:
     * at still narrower steps differences agree again, on slopes that are not those of the function. */
    t->done = reached <= wanted / 10 || (reached <= wanted && error > 4 * reached) || t->stalled == PATIENCE;
}

/* The next step, over outputs first .. end-1 with the weights c, or 1. Outputs that no step has changed, infinities
 * too, do not enter, nor do their rounding errors. */
static void track_add(const ag_check *check, track *t, const double *c, int64_t first, int64_t end, const workspace *w,
                      double h)
{
    const double *y = check->y, *a = w->above, *b = w->below;
    double rise = 0, bend = 0, size = 0;
    for (int64_t i = first; i < end; i++) {
        double weight = c == NULL ? 1 : c[i];
        if (weight == 0 || !w->changes[i])
            continue;
        rise += a[i] == b[i] ? 0 : weight * (a[i] - b[i]);
        bend += a[i] == b[i] && a[i] == y[i] ? 0 : weight * ((a[i] - y[i]) - (y[i] - b[i]));
        size += fabs(weight) * (fabs(a[i]) + fabs(b[i]));
    }
    if (!isfinite(rise) || !isfinite(bend)) { /* outside of where f is defined: begin anew with narrower steps */
        t->count = 0;
        return;
    }
    for (int k = 0; k < 2; k++) {
        t->slope[k] = t->slope[k + 1];
        t->gap[k] = t->gap[k + 1];
    }
    t->slope[2] = rise / (2 * h);
    t->gap[2] = bend / h;
    t->noise = ROUNDING * size / (2 * h);
    if (++t->count >= 3)
        track_judge(check, t);
}

/* ---- Differences ---- */

static void workspace_free(ag_ctx *ctx, workspace *w)
{
    ag_free(ctx, w->above, (size_t)w->outputs * sizeof(double));
    ag_free(ctx, w->below, (size_t)w->outputs * sizeof(double));
    ag_free(ctx, w->changes, (size_t)w->outputs * sizeof(bool));
    ag_free(ctx, w->saved, (size_t)w->moved * sizeof(double));
    ag_free(ctx, w->track, (size_t)w->tracks * sizeof(track));
}

static bool workspace_make(ag_ctx *ctx, workspace *w)
{
    w->above = ag_alloc(ctx, (size_t)w->outputs * sizeof(double));
    w->below = ag_alloc(ctx, (size_t)w->outputs * sizeof(double));
    w->changes = ag_alloc(ctx, (size_t)w->outputs * sizeof(bool));
    w->saved = ag_alloc(ctx, (size_t)w->moved * sizeof(double));
    w->track = ag_alloc(ctx, (size_t)w->tracks * sizeof(track));
    if (w->above == NULL || w->below == NULL || w->changes == NULL || w->saved == NULL || w->track == NULL) {
        workspace_free(ctx, w);
        return false;
    }
    for (int64_t i = 0; i < w->outputs; i++)
        w->changes[i] = false;
    for (int64_t i = 0; i < w->tracks; i++)
        w->track[i] = (track){ .best = { (double)NAN, (double)INFINITY, AG_CAUSE_NON_FINITE } };
    return true;
}

/* Elements first .. end-1 of a direction's input move. */
static void difference_moving_range(const ag_direction *d, int64_t *first, int64_t *end)
{
    *first = d->index >= 0 ? d->index : d->first;
    *end = d->index >= 0 ? d->index + 1 : d->end;
}

/* The outputs at x + h d into y; x is put back to the same bits. */
static bool difference_evaluate_at(ag_check *check, const ag_direction *d, double h, const double *saved, double *y)
{
    int64_t first, end;
    difference_moving_range(d, &first, &end);
    double *x = check->input[d->input].x.value;
    bool single = check->input[d->input].single;
    for (int64_t i = first; i < end; i++) {
        double moved = saved[i - first] + h * ag_direction_at(d, i);
        x[i] = single ? (double)(float)moved : moved;
    }
    bool good = check->evaluate(check, y);
    memcpy(x + first, saved, (size_t)(end - first) * sizeof(double));
    return good;
}

/* The widest step: a power of two, so that x + h and x - h are exact or nearly so. */
static double difference_first_step(const ag_check *check, const workspace *w)
{
    double largest = 1;
    for (int64_t i = 0; i < w->moved; i++)
        largest = fmax(largest, isfinite(w->saved[i]) ? fabs(w->saved[i]) : 1);
    return ldexp(1, ilogb(check->config.step * largest));
}

static bool difference_all_done(const workspace *w, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!w->track[i].done)
            return false;
    return true;
}

/* Narrows the step until the first `needed` derivatives are as exact as wanted. */
static bool difference_run(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w,
                           int64_t needed)
{
    double h = difference_first_step(check, w);
    for (int level = 0; level < LEVELS && !difference_all_done(w, needed); level++, h /= RATIO) {
        double half = d->index < 0 ? h : ((w->saved[0] + h) - (w->saved[0] - h)) / 2; /* as it is after rounding */
        if (!difference_evaluate_at(check, d, h, w->saved, w->above) ||
            !difference_evaluate_at(check, d, -h, w->saved, w->below))
            return false;
        for (int64_t i = 0; i < w->outputs; i++)
            w->changes[i] = w->changes[i] || w->above[i] != check->y[i] || w->below[i] != check->y[i];
        for (int64_t t = 0; t < w->tracks; t++)
            if (!w->track[t].done)
                track_add(check, &w->track[t], t == 0 ? cotangent : NULL, t == 0 ? 0 : t - 1, t == 0 ? w->outputs : t,
                          w, half);
    }
    return true;
}

/* ---- The complex step ---- */

/* Writes (re, im) pairs of the inputs, im = h d, into one block, of which point[i] is the input i. */
static void difference_complex_point(const ag_check *check, const ag_direction *d, double h, double *pair,
                                     const double **point)
{
    for (int k = 0; k < check->input_count; k++) {
        const ag_check_input *in = &check->input[k];
        point[k] = in->checked ? pair : NULL;
        for (int64_t i = 0; in->checked && i < in->numel; i++) {
            *pair++ = in->x.value[i];
            *pair++ = k == d->input ? h * ag_direction_at(d, i) : 0;
        }
    }
}

/* Puts the exact derivative in place of the one by differences, which must agree with it. z: (re, im) pairs of the
 * outputs at x + ih d. */
static void difference_confirm(const ag_check *check, const double *c, int64_t first, int64_t end, const double *z,
                               double h, ag_derivative *found)
{
    double exact = 0, size = 0;
    bool same = true;
    for (int64_t i = first; i < end; i++) {
        double term = (c == NULL ? 1 : c[i]) * (z[2 * i + 1] / h);
        exact += term;
        size += fabs(term);
        same = same && ag_check_is_close(check, z[2 * i], check->y[i]);
    }
    if (found->trouble == AG_CAUSE_KINK || found->trouble == AG_CAUSE_NON_FINITE)
        return;
    double apart = fabs(exact - found->value), error = ROUNDING * size;
    if (!same || !(apart <= 10 * (found->uncertainty + error) + difference_tolerance(check, fabs(exact)) / 10))
        found->trouble = AG_CAUSE_ORACLES_DISAGREE;
    else
        *found = (ag_derivative){ exact, error, AG_CAUSE_NONE };
}

static bool difference_complex_step(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
                                    ag_derivative *each)
{
    const double h = 0x1p-400; /* its square is 0 to everything else */
    ag_ctx *ctx = check->ctx;
    int64_t m = check->output_numel, total = m;
    for (int k = 0; k < check->input_count; k++)
        total += check->input[k].checked ? check->input[k].numel : 0;
    size_t pair_bytes = 2 * (size_t)total * sizeof(double), in_bytes = (size_t)check->input_count * sizeof(double *);
    size_t out_bytes = (size_t)check->output_count * sizeof(double *);
    double *pair = ag_alloc(ctx, pair_bytes), **result = ag_alloc(ctx, out_bytes);
    const double **point = ag_alloc(ctx, in_bytes);
    bool good = pair != NULL && result != NULL && point != NULL;
    if (good) {
        for (int k = 0; k < check->output_count; k++)
            result[k] = pair + 2 * check->output[k].first;
        difference_complex_point(check, d, h, pair + 2 * m, point);
        check->config.complex_step(point, result, check->user);
        difference_confirm(check, cotangent, 0, m, pair, h, sum);
        for (int64_t j = 0; each != NULL && j < m; j++)
            difference_confirm(check, NULL, j, j + 1, pair, h, &each[j]);
    }
    ag_free(ctx, pair, pair_bytes);
    ag_free(ctx, result, out_bytes);
    ag_free(ctx, point, in_bytes);
    return good;
}

/* ---- What the others ask for ---- */

bool ag_check_derivatives(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
                          ag_derivative *each, bool each_exact)
{
    int64_t first, end, m = check->output_numel;
    difference_moving_range(d, &first, &end);
    workspace w = { .outputs = m, .moved = end - first, .tracks = each == NULL ? 1 : 1 + m };
    *sum = (ag_derivative){ (double)NAN, (double)INFINITY, AG_CAUSE_ERROR };
    if (!workspace_make(check->ctx, &w))
        return false;
    memcpy(w.saved, check->input[d->input].x.value + first, (size_t)w.moved * sizeof(double));
    bool good = difference_run(check, d, cotangent, &w, each_exact ? w.tracks : 1);
    if (good) {
        *sum = w.track[0].best;
        for (int64_t j = 0; each != NULL && j < m; j++)
            each[j] = w.track[1 + j].best;
        if (check->config.complex_step != NULL)
            good = difference_complex_step(check, d, cotangent, sum, each);
    }
    workspace_free(check->ctx, &w);
    return good;
}

ag_derivative ag_check_derivative(ag_check *check, const ag_direction *d, const double *cotangent)
{
    ag_derivative result;
    ag_check_derivatives(check, d, cotangent, &result, NULL, false);
    return result;
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
