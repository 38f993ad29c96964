/* SPDX-License-Identifier: MIT
 *
 * difference.c - numeric derivatives of a function at a point, along an element or a direction.
 *
 * A try is central differences at three steps, extrapolated (Richardson). Its error is estimated from the distance to
 * the extrapolation of the two wider steps and from the function's measured noise (noise.c). Tries at narrower steps
 * follow while the error is one of truncation, at wider steps while it is one of noise.
 * A probe is the difference at the finest step at which noise leaves the slope visible. A try that disagrees with it
 * saw another slope than that at the point: it aliased, or stepped over a bend or a kink. The two one-sided slopes of
 * the probe tell a kink at the point.
 * Sources: gradcheck.h.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "tensor/philox.h"

#include <math.h>
#include <string.h>

enum {
    STEPS = 3, /* of a try */
    ROUNDS = 4 /* of tries, each with a finer probe */
};

/* Of successive steps in a try, of the first step to that of the config, of a try to the next. RATIO is no integer and
 * FIRST is not round: so no step is a period of the function by chance. */
static const double RATIO = 1.9, FIRST = 0.9137, NEXT_TRY = 8;

/* Rounding in the value of a try, and in its gap, in units of the noise over the widest step: three times the standard
 * deviation that the coefficients of the extrapolation give. */
static const double NOISE_OF_VALUE = 12, NOISE_OF_GAP = 66;
static const double NOISE_OF_SLOPE = 6, NOISE_OF_BEND = 12; /* the same of one difference, over its step */

/* Where no change is seen, the function may bend on a scale FINER than x, below the noise. */
static const double FINER = 0x1p16;

static const double PROBE = 1e5; /* the noise is at most this part of the probe's difference */
static const double NOISY = 1e-5; /* relative error with which a derivative limited by noise is good enough */

double ag_check_tolerance(const ag_check *check, double size, double scale, double x)
{
    double part = check->atol_given ? 1 : fmin(1, scale == 0 ? 1 : scale) / fmax(1, fabs(x));
    return check->config.atol * part + check->config.rtol * size;
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

/* ---- One derivative ---- */

/* What two evaluations, at x + h d and x - h d, say of one derivative. */
typedef struct two_sided {
    double step;
    double slope; /* (f(x+h) - f(x-h)) / 2h = f' + h^2 f''' / 6 + O(h^4) */
    double gap;   /* (f(x+h) - 2 f(x) + f(x-h)) / h = h f'' + O(h^3) where f is smooth, the jump of f' at a kink */
    double noise; /* of f */
    bool finite;
} two_sided;

typedef struct track {
    two_sided now[STEPS]; /* the running try, widest first */
    double value;     /* of the best try */
    double error;     /* of value; INFINITY: there is none that the probe agrees with */
    double noise;     /* the part of error that is noise */
    double step;      /* the widest of the best try */
    double gap;       /* of its narrowest step, which is RATIO^2 times narrower */
    double still;     /* error of value from outputs that no step has changed */
    two_sided probe;  /* the finest; step INFINITY: none yet */
    double scale;     /* the largest derivative of this kind so far */
    double x;         /* the largest magnitude of the moved elements */
    int vague;        /* wider tries whose value is still lost in its error */
    double blur;      /* the noise of all outputs together */
    bool finite, kink, seen;
} track;

/* Memory for one direction. track[0] is that of the sum, track[1 + j] that of output j. */
typedef struct workspace {
    double *above, *below; /* outputs at x + h and x - h */
    double *reach;         /* per output: the widest step of usual size, if none has changed it; 0: one has */
    double *grain;         /* per output: the power of two that its changes in the first try are multiples of */
    double *saved;         /* the elements that move, as they were */
    track *track;
    int64_t outputs, moved, tracks, needed, evaluated; /* the last: pairs so far */
    double size;           /* largest magnitude of the moved elements */
    int64_t first, end;    /* the outputs of track[0] */
    const double *cotangent; /* their weights; NULL: 1 */
} workspace;

static double track_wanted(const ag_check *check, const track *t)
{
    return ag_check_tolerance(check, fabs(t->value), fmax(fabs(t->value), t->scale), t->x);
}

/* An error so small that a value which is no larger is 0. */
static double track_nothing(const ag_check *check, const track *t)
{
    return 1e-3 * check->config.atol / fmax(1, t->x);
}

static bool track_is_settled(const ag_check *check, const track *t)
{
    double error = t->error + t->still;
    return t->kink || error <= track_wanted(check, t) / 10 ||
           (error <= track_nothing(check, t) && fabs(t->value) <= error) ||
           (t->noise + t->still > error / 2 && error <= NOISY * fmax(fabs(t->value), t->scale / 64));
}

/* Whether a try whose widest step is h could have a smaller error: noise alone does not forbid it. */
static bool track_wants_narrower(const ag_check *check, const track *t, double h)
{
    double noise = t->now[STEPS - 1].noise;
    return !track_is_settled(check, t) && !(NOISE_OF_VALUE * noise / h >= t->error);
}

/* The same of a wider one: the error is noise, and the widest try so far was the best. */
static bool track_wants_wider(const ag_check *check, const track *t, double h)
{
    return !track_is_settled(check, t) && isfinite(t->error) && t->noise > t->error / 8 &&
           t->step > h / (RATIO * NEXT_TRY);
}

/* Whether a value is the slope at the probe's step too. */
static bool track_agrees(const ag_check *check, const track *t, double value, double error)
{
    const two_sided *p = &t->probe;
    return !isfinite(p->step) || !p->finite ||
           fabs(value - p->slope) <= 2 * error + 5 * NOISE_OF_SLOPE * p->noise / p->step +
                                         ag_check_tolerance(check, fabs(value), fmax(fabs(value), t->scale), t->x);
}

/* Extrapolates from the abscissas a and b, b narrower, to 0. */
static double track_extrapolate(double at_a, double at_b, double a, double b)
{
    return (a * at_b - b * at_a) / (a - b);
}

/* Whether slopes and gaps settle as the steps of the running try get narrower, as far as noise lets one see. Those of a
 * function that bends on a finer scale grow, as a fixed rise over ever less run. */
static bool track_converges(const track *t)
{
    const two_sided *p = t->now;
    double noise = p[2].noise / p[2].step, first = fabs(p[1].slope - p[0].slope), then = fabs(p[2].slope - p[1].slope);
    double same = fabs(p[2].slope) / 300;
    return then <= fmax(0.6 * first, fmax(NOISE_OF_SLOPE * noise, same)) &&
           fabs(p[2].gap) <= fmax(1.1 * fabs(p[0].gap), fmax(NOISE_OF_BEND * noise, same));
}

/* Whether a wider try is better: its value must stand out more from its error, as a slope that is really there does.
 * The same rise over ever more run, of a function that levels off, does not. A few tries may be lost in noise. */
static bool track_gains(track *t, double value, double error)
{
    double before = fabs(t->value) / t->error, now = fabs(value) / error;
    return t->now[0].step < t->step || now > 2 * before || (before < 0.3 && ++t->vague <= 3);
}

/* Judges the running try, and keeps it if it is the best. */
static void track_judge(const ag_check *check, track *t)
{
    const two_sided *p = t->now;
    double square[STEPS], r = RATIO * RATIO * RATIO;
    for (int k = 0; k < STEPS; k++)
        square[k] = (p[k].step / p[0].step) * (p[k].step / p[0].step);
    if (!(p[0].finite && p[1].finite && p[2].finite)) /* outside of where f is defined */
        return;
    t->finite = true;
    if (!track_converges(t))
        return;
    double wide = track_extrapolate(p[0].slope, p[1].slope, square[0], square[1]);
    double narrow = track_extrapolate(p[1].slope, p[2].slope, square[1], square[2]);
    double value = track_extrapolate(wide, narrow, square[0], square[2]);
    double wide_gap = track_extrapolate(p[0].gap, p[1].gap, p[0].step, p[1].step);
    double narrow_gap = track_extrapolate(p[1].gap, p[2].gap, p[1].step, p[2].step);
    double gap = (r * narrow_gap - wide_gap) / (r - 1), noise = fmax(p[0].noise, p[2].noise) / p[0].step;
    double error = fabs(value - wide) + fmax(0, fabs(gap) - NOISE_OF_GAP * noise) / 2 + NOISE_OF_VALUE * noise;
    bool agrees = p[2].step <= t->probe.step || track_agrees(check, t, value, error);
    if (!agrees || !(error < t->error) || (isfinite(t->error) && !track_gains(t, value, error)))
        return;
    t->value = value;
    t->error = error;
    t->noise = NOISE_OF_VALUE * noise;
    t->step = p[0].step;
    t->gap = p[2].gap;
}

/* Compares the best try with the probe: a value that is not the slope there is dropped. */
static void track_confront(const ag_check *check, track *t)
{
    const two_sided *p = &t->probe;
    if (p->step >= t->step / (RATIO * RATIO) || track_agrees(check, t, t->value, t->error))
        return;
    t->error = (double)INFINITY;
}

static bool track_has_gap(const ag_check *check, const track *t, const two_sided *p)
{
    return p->finite && fabs(p->gap) > NOISE_OF_BEND * p->noise / p->step + track_wanted(check, t);
}

/* Whether the probe's gap has not shrunk with the step as that of a smooth function does. */
static bool track_may_be_kink(const ag_check *check, const track *t)
{
    const two_sided *p = &t->probe;
    return isfinite(t->error) && track_has_gap(check, t, p) &&
           fabs(p->gap) > 4 * fabs(t->gap) * p->step / (t->step / (RATIO * RATIO));
}

static ag_derivative track_result(const ag_check *check, const track *t)
{
    const two_sided *p = isfinite(t->probe.step) && t->probe.finite ? &t->probe : &t->now[STEPS - 1];
    double x = t->x == 0 ? 1 : fmin(1, t->x);
    double hidden = t->seen ? 0 : 10 * t->blur * FINER / x;
    ag_derivative d = { t->value, t->error + t->still, AG_CAUSE_NONE, t->blur, t->step, hidden };
    if (!t->finite)
        return (ag_derivative){ (double)NAN, (double)INFINITY, AG_CAUSE_NON_FINITE, 0, 0, 0 };
    if (!isfinite(t->error))
        return (ag_derivative){ p->slope, (double)INFINITY, AG_CAUSE_STEP_EXHAUSTED, 0, 0, 0 };
    if (t->kink)
        d.trouble = AG_CAUSE_KINK;
    else if (d.uncertainty > fmax(fmax(track_wanted(check, t), track_nothing(check, t)),
                                  AG_CHECK_BLUR * fmax(fabs(t->value), t->scale)))
        d.trouble = AG_CAUSE_STEP_EXHAUSTED;
    return d;
}

/* ---- Evaluating ---- */

static void workspace_free(ag_ctx *ctx, workspace *w)
{
    ag_free(ctx, w->above, (size_t)w->outputs * sizeof(double));
    ag_free(ctx, w->below, (size_t)w->outputs * sizeof(double));
    ag_free(ctx, w->reach, (size_t)w->outputs * sizeof(double));
    ag_free(ctx, w->grain, (size_t)w->outputs * sizeof(double));
    ag_free(ctx, w->saved, (size_t)w->moved * sizeof(double));
    ag_free(ctx, w->track, (size_t)w->tracks * sizeof(track));
}

static bool workspace_make(ag_check *check, workspace *w)
{
    ag_ctx *ctx = check->ctx;
    w->above = ag_alloc(ctx, (size_t)w->outputs * sizeof(double));
    w->below = ag_alloc(ctx, (size_t)w->outputs * sizeof(double));
    w->reach = ag_alloc(ctx, (size_t)w->outputs * sizeof(double));
    w->grain = ag_alloc(ctx, (size_t)w->outputs * sizeof(double));
    w->saved = ag_alloc(ctx, (size_t)w->moved * sizeof(double));
    w->track = ag_alloc(ctx, (size_t)w->tracks * sizeof(track));
    if (w->above == NULL || w->below == NULL || w->reach == NULL || w->grain == NULL ||
        w->saved == NULL || w->track == NULL) {
        workspace_free(ctx, w);
        return false;
    }
    for (int64_t i = 0; i < w->outputs; i++) {
        w->grain[i] = (double)INFINITY;
        w->reach[i] = 0;
    }
    for (int64_t i = 0; i < w->tracks; i++)
        w->track[i] = (track){ .error = (double)INFINITY, .probe = { .step = (double)INFINITY }, .x = w->size,
                               .scale = i == 0 ? check->scale : check->row_scale };
    return true;
}

void ag_direction_range(const ag_direction *d, int64_t *first, int64_t *end)
{
    *first = d->index >= 0 ? d->index : d->first;
    *end = d->index >= 0 ? d->index + 1 : d->end;
}

bool ag_check_evaluate_at(ag_check *check, const ag_direction *d, double h, const double *saved, double *y)
{
    int64_t first, end;
    ag_direction_range(d, &first, &end);
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

double ag_check_round_step(bool single, double size, double h)
{
    double unit = ag_check_unit(single, size + h);
    return fmax(1, rint(h / unit)) * unit;
}

static void track_add_noise(track *t, double noise)
{
    double error = t->step > 0 ? NOISE_OF_VALUE * noise / t->step : 0;
    for (int k = 0; k < STEPS; k++)
        t->now[k].noise += noise;
    t->probe.noise += noise;
    t->noise += error;
    t->error += error;
}

/* Output i changes. If no step so far had changed it, its noise was left out there: it was rounded away. */
static void difference_wake(const ag_check *check, workspace *w, int64_t i)
{
    if (w->reach[i] > 0 && w->evaluated > 0) {
        double noise = ag_check_noise_of(check, i, fabs(check->y[i]));
        if (i >= w->first && i < w->end)
            track_add_noise(&w->track[0], w->cotangent == NULL ? noise : noise * fabs(w->cotangent[i]));
        if (1 + i < w->tracks)
            track_add_noise(&w->track[1 + i], noise);
    }
    w->reach[i] = 0;
}

/* Evaluates at x + h d and x - h d. False on error. */
static bool difference_evaluate(ag_check *check, const ag_direction *d, workspace *w, double h)
{
    if (!ag_check_evaluate_at(check, d, h, w->saved, w->above) ||
        !ag_check_evaluate_at(check, d, -h, w->saved, w->below))
        return false;
    for (int64_t i = 0; i < w->outputs; i++) {
        if (w->above[i] != check->y[i] || w->below[i] != check->y[i])
            difference_wake(check, w, i);
        else if (w->evaluated == 0 || (w->reach[i] > 0 && h <= fmax(1, w->size)))
            w->reach[i] = fmax(w->reach[i], h);
        if (w->evaluated < STEPS)
            w->grain[i] = fmin(w->grain[i], ag_check_grain(w->above[i] - check->y[i]));
    }
    w->evaluated++;
    return true;
}

/* The newest pair for outputs first .. end-1 with the weights c, or 1. An output that no step has changed enters
 * t->still alone, with its noise over the widest of these steps; one that is infinite is a constant. */
static two_sided difference_measure(const ag_check *check, const double *c, int64_t first, int64_t end,
                                    const workspace *w, double h, track *t)
{
    const double *y = check->y, *a = w->above, *b = w->below;
    double rise = 0, bend = 0, noise = 0, unseen = 0, all = 0, unit = check->noise_unit > 0 ? check->noise_unit : 1;
    for (int64_t i = first; i < end; i++) {
        double weight = c == NULL ? 1 : c[i];
        if (weight == 0)
            continue;
        double size = fmax(fabs(a[i]), fabs(b[i])), e = weight * ag_check_noise_of(check, i, size) / unit;
        all += isfinite(y[i]) ? e * e : 0;
        if (w->reach[i] > 0) {
            unseen += isfinite(y[i]) ? e * e / (w->reach[i] * w->reach[i]) : 0;
            continue;
        }
        if (a[i] == y[i] && b[i] == y[i] && isfinite(w->grain[i])) /* rounded away here, not by wider steps */
            e = fmax(fabs(e), fabs(weight) * w->grain[i] / 2 / unit);
        rise += a[i] == b[i] ? 0 : weight * (a[i] - b[i]);
        bend += a[i] == b[i] && a[i] == y[i] ? 0 : weight * ((a[i] - y[i]) - (y[i] - b[i]));
        noise += e * e;
    }
    t->still = sqrt(unseen) * unit;
    t->blur = fmax(t->blur, sqrt(all) * unit);
    t->seen = t->seen || fmax(fabs(rise), fabs(bend)) > AG_CHECK_SEEN * t->blur;
    return (two_sided){ h, rise / (2 * h), bend / h, sqrt(noise) * unit, isfinite(rise) && isfinite(bend) };
}

static two_sided difference_measure_track(const ag_check *check, const double *cotangent, const workspace *w, int64_t t,
                                          double h)
{
    track *to = &w->track[t];
    return t == 0 ? difference_measure(check, cotangent, w->first, w->end, w, h, to)
                  : difference_measure(check, NULL, t - 1, t, w, h, to);
}

/* ---- The search for good steps ---- */

/* A try whose widest step is h. False on error. */
static bool difference_try(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w, double h)
{
    for (int k = 0; k < STEPS; k++, h /= RATIO) {
        double step = ag_check_round_step(check->input[d->input].single, w->size, h);
        if (!difference_evaluate(check, d, w, step))
            return false;
        for (int64_t t = 0; t < w->tracks; t++)
            w->track[t].now[k] = difference_measure_track(check, cotangent, w, t, step);
    }
    for (int64_t t = 0; t < w->tracks; t++)
        if (!track_is_settled(check, &w->track[t]))
            track_judge(check, &w->track[t]);
    return true;
}

/* The needed track whose best try is the narrowest; the sum's where none has one. */
static const track *difference_narrowest(const workspace *w)
{
    const track *found = &w->track[0];
    for (int64_t i = 1; i < w->needed; i++)
        if (isfinite(w->track[i].error) && (!isfinite(found->error) || w->track[i].step < found->step))
            found = &w->track[i];
    return found;
}

/* The finest step at which the slope, or the jump of it, is PROBE times the noise. */
static double difference_probe_step(const ag_check *check, const workspace *w, const ag_direction *d)
{
    const track *t = difference_narrowest(w);
    const two_sided *last = &t->now[STEPS - 1];
    double step = isfinite(t->error) ? t->step : t->now[0].step, narrowest = step / (RATIO * RATIO);
    double slope = fmax(fabs(last->slope), fabs(last->gap)), h = narrowest * 0x1p-10;
    double bits = check->input[d->input].single ? 0x1p-19 : 0x1p-44;
    if (last->finite && slope > 0)
        h = PROBE * last->noise / slope;
    return fmin(fmax(h, fmax(step * 0x1p-34, w->size * bits)), narrowest / 8);
}

/* Looks for kinks: a gap that is the same at a wider step. False on error. */
static bool difference_find_kinks(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w)
{
    bool any = false;
    for (int64_t i = 0; i < w->tracks; i++)
        any = any || track_may_be_kink(check, &w->track[i]);
    double step = ag_check_round_step(check->input[d->input].single, w->size, w->track[0].probe.step * NEXT_TRY);
    if (!any)
        return true;
    if (!difference_evaluate(check, d, w, step))
        return false;
    for (int64_t i = 0; i < w->tracks; i++) {
        track *t = &w->track[i];
        two_sided p = difference_measure_track(check, cotangent, w, i, step);
        t->kink = track_may_be_kink(check, t) && track_has_gap(check, t, &p) &&
                  fabs(p.gap) > fabs(t->probe.gap) / 2 && fabs(p.gap) < fabs(t->probe.gap) * 2;
    }
    return true;
}

/* Probes, and confronts the tracks with the result. False on error. */
static bool difference_probe(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w)
{
    double step = ag_check_round_step(check->input[d->input].single, w->size, difference_probe_step(check, w, d));
    if (!difference_evaluate(check, d, w, step))
        return false;
    for (int64_t i = 0; i < w->tracks; i++)
        w->track[i].probe = difference_measure_track(check, cotangent, w, i, step);
    if (!difference_find_kinks(check, d, cotangent, w))
        return false;
    for (int64_t i = 0; i < w->tracks; i++)
        if (!w->track[i].kink)
            track_confront(check, &w->track[i]);
    return true;
}

/* Whether a needed track wants a try at h, narrower or wider than those before. */
static bool difference_wants(const ag_check *check, const workspace *w, double h, bool wider)
{
    for (int64_t i = 0; i < w->needed; i++)
        if (wider ? track_wants_wider(check, &w->track[i], h) : track_wants_narrower(check, &w->track[i], h))
            return true;
    return false;
}

/* The step of the next narrower try; from steps that suit numbers near 1 it goes on to steps that suit x. */
static double difference_next(const ag_check *check, const workspace *w, double h)
{
    h /= NEXT_TRY;
    return h < 0x1p-46 && w->size > 0 && w->size < h ? FIRST * check->config.step * w->size : h;
}

/* Tries narrower steps until no needed track gains by it; then no probe is left to make. False on error. */
static bool difference_narrow(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w, double h)
{
    bool single = check->input[d->input].single;
    double least = w->size > 0 ? w->size * (single ? 0x1p-18 : 0x1p-46) : single ? 0x1p-40 : 0x1p-80;
    for (int round = 0; round < ROUNDS; round++) {
        for (bool first = round == 0; h >= least && difference_wants(check, w, h, false); first = false) {
            if (!difference_try(check, d, cotangent, w, h) ||
                (first && w->track[0].finite && !difference_probe(check, d, cotangent, w)))
                return false;
            h = difference_next(check, w, h);
        }
        const track *t = difference_narrowest(w);
        if (!isfinite(t->error) || t->probe.step <= t->step / (RATIO * RATIO * 8))
            return true;
        if (!difference_probe(check, d, cotangent, w))
            return false;
    }
    return true;
}

/* Tries wider steps while the error is noise. An error at such a step ends the search: the function may not be defined
 * there. */
static void difference_widen(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w, double h)
{
    while (h < 0x1p40 * fmax(1, w->size) && difference_wants(check, w, h, true)) {
        if (!difference_try(check, d, cotangent, w, h)) {
            ag_error_clear(check->ctx);
            return;
        }
        h *= NEXT_TRY;
    }
}

double ag_check_first_step(const ag_check *check, double size)
{
    return FIRST * check->config.step * fmax(1, size);
}

static bool difference_run(ag_check *check, const ag_direction *d, const double *cotangent, workspace *w)
{
    double h = ag_check_first_step(check, w->size);
    if (!difference_narrow(check, d, cotangent, w, h))
        return false;
    difference_widen(check, d, cotangent, w, h * NEXT_TRY);
    return true;
}

/* ---- What the others ask for ---- */

/* Allocates the memory and saves the moved elements. False on error. */
static bool difference_begin(ag_check *check, const ag_direction *d, workspace *w)
{
    int64_t first, end;
    ag_direction_range(d, &first, &end);
    const double *x = check->input[d->input].x.value;
    w->outputs = check->output_numel;
    w->moved = end - first;
    for (int64_t i = first; i < end; i++)
        w->size = fmax(w->size, isfinite(x[i]) ? fabs(x[i]) : 0);
    if (!workspace_make(check, w))
        return false;
    memcpy(w->saved, x + first, (size_t)w->moved * sizeof(double));
    return true;
}

bool ag_check_derivatives(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
                          ag_derivative *each, bool each_exact)
{
    int64_t m = check->output_numel;
    workspace w = { .tracks = each == NULL ? 1 : 1 + m, .end = m, .cotangent = cotangent };
    w.needed = each_exact ? w.tracks : 1;
    *sum = (ag_derivative){ (double)NAN, (double)INFINITY, AG_CAUSE_ERROR, 0, 0, 0 };
    if (!difference_begin(check, d, &w))
        return false;
    bool good = difference_run(check, d, cotangent, &w);
    if (good) {
        *sum = track_result(check, &w.track[0]);
        for (int64_t j = 0; each != NULL && j < m; j++)
            each[j] = track_result(check, &w.track[1 + j]);
        if (check->config.complex_step != NULL)
            good = ag_check_complex_step(check, d, cotangent, sum, each);
    }
    workspace_free(check->ctx, &w);
    return good;
}

double ag_check_derivative_at(ag_check *check, const ag_direction *d, const double *c, int64_t first, int64_t end,
                              double h)
{
    workspace w = { .tracks = 1, .first = first, .end = end, .cotangent = c };
    if (!difference_begin(check, d, &w))
        return (double)NAN;
    bool good = difference_try(check, d, c, &w, h) && isfinite(w.track[0].error);
    double value = good ? w.track[0].value : (double)NAN;
    workspace_free(check->ctx, &w);
    return value;
}

ag_derivative ag_check_derivative(ag_check *check, const ag_direction *d, const double *cotangent)
{
    ag_derivative result;
    ag_check_derivatives(check, d, cotangent, &result, NULL, false);
    return result;
}
