/* SPDX-License-Identifier: MIT
 *
 * confirm.c - whether a numeric derivative that denies the analytic one, or confirms it, is the function's slope.
 *
 * A function that is rounded coarsely in one of its parts, as to float32, is on stairs: its fine slope, between two
 * jumps, is not that of the function that it rounds, and looks exact. So a slope is compared with those at a fine step
 * and at many wider ones, and the function is searched for jumps on both sides of x.
 */
#include "autograd/gradcheck/gradcheck_impl.h"

#include <math.h>
#include <string.h>

/* A numeric derivative of the weighted sum of some outputs that is to be confirmed. */
typedef struct claim {
    ag_direction d;
    const double *cotangent; /* the weights; NULL: 1 */
    int64_t first, end;      /* the outputs */
    double numeric;
    double other;            /* the slope that it denies; NaN: none */
    double least;            /* slopes further from the numeric one are others */
    double fine;             /* a step so narrow that noise just leaves such slopes apart */
    double most;             /* the widest step of the first try */
    double jump;             /* the error estimate of the numeric one holds with jumps up to this */
    double size;             /* the largest magnitude of the moved elements */
    double *saved, *above, *below; /* the moved elements, and outputs beside x */
} claim;

static double claim_weight(const claim *q, int64_t i)
{
    return q->cotangent == NULL ? 1 : q->cotangent[i];
}

/* Memory of the running scope. numeric: as it was found; apart: slopes as far from it as this are to be told from it.
 * False on error. */
static bool claim_make(ag_check *check, claim *q, ag_derivative numeric, double apart)
{
    const ag_check_input *in = &check->input[q->d.input];
    int64_t first, end;
    ag_direction_range(&q->d, &first, &end);
    q->saved = ag_check_memory(check->ctx, end - first, sizeof(double));
    q->above = ag_check_memory(check->ctx, check->output_numel, sizeof(double));
    q->below = ag_check_memory(check->ctx, check->output_numel, sizeof(double));
    if (q->saved == NULL || q->above == NULL || q->below == NULL)
        return false;
    memcpy(q->saved, in->x.value + first, (size_t)(end - first) * sizeof(double));
    for (int64_t i = first; i < end; i++)
        q->size = fmax(q->size, isfinite(in->x.value[i]) ? fabs(in->x.value[i]) : 0);
    q->numeric = numeric.value;
    q->least = apart / 2;
    q->most = ag_check_first_step(check, q->size);
    q->jump = numeric.uncertainty * numeric.step;
    for (int64_t i = q->first; i < q->end; i++)
        q->jump = fmax(q->jump, 16 * ag_check_noise_of(check, i, fabs(check->y[i])) * fabs(claim_weight(q, i)));
    double fine = AG_CHECK_SEEN * numeric.noise / apart, bits = in->single ? 0x1p-19 : 0x1p-44;
    fine = numeric.step > 0 ? fmin(fine, numeric.step / 4) : fine;
    q->fine = ag_check_round_step(in->single, q->size, fmax(fine, fmax(q->size * bits, 0x1p-80)));
    return true;
}

/* The slope at x + at d with the step h; NaN, and no error, where there is none. */
static double claim_slope(ag_check *check, const claim *q, double at, double h)
{
    bool single = check->input[q->d.input].single;
    at = at == 0 ? 0 : ag_check_round_step(single, q->size, fabs(at)) * (at < 0 ? -1 : 1);
    h = ag_check_round_step(single, q->size, h);
    if (!ag_check_evaluate_at(check, &q->d, at + h, q->saved, q->above) ||
        !ag_check_evaluate_at(check, &q->d, at - h, q->saved, q->below)) {
        ag_error_clear(check->ctx);
        return (double)NAN;
    }
    double rise = 0;
    for (int64_t i = q->first; i < q->end; i++)
        if (q->above[i] != q->below[i] && claim_weight(q, i) != 0)
            rise += claim_weight(q, i) * (q->above[i] - q->below[i]);
    return rise / (2 * h);
}

/* ---- Slopes over wider steps ---- */

/* Whether the slope at nearly all places within x - h d .. x + h d is the numeric one; at one there may be a jump.
 * Places are pairs, so that f'' cancels. */
static bool claim_holds_inside(ag_check *check, const claim *q, double h, double apart)
{
    enum { PLACES = 5 };
    static const double PLACE[PLACES] = { 0.17, 0.38, 0.59, 0.74, 0.91 };
    int same = 0;
    for (int k = 0; k < PLACES && same >= k - 1; k++) {
        double above = claim_slope(check, q, PLACE[k] * h, q->fine);
        double below = claim_slope(check, q, -PLACE[k] * h, q->fine);
        same += fabs((above + below) / 2 - q->numeric) < apart / 8;
    }
    return same >= PLACES - 1;
}

/* Whether wider steps show stairs: two, one four times wider, agree on another slope, or are both nearer to the one
 * asked for, but inside it is the numeric one nearly everywhere. Of a function without jumps the first is the mean of
 * the others; that over one jump gets less as steps get wider. */
static bool claim_rises_otherwise(ag_check *check, const claim *q)
{
    static const double NEXT = 4, WIDER = 64;
    double before = q->numeric;
    bool near = false, stairs = false;
    for (double h = NEXT * q->fine; !stairs && h <= WIDER * q->most; h *= NEXT) {
        double slope = claim_slope(check, q, 0, h), apart = fabs(slope - q->numeric);
        bool was_near = near, agree = apart > q->least && fabs(slope - before) < apart / 2;
        near = fabs(slope - q->other) < apart;
        stairs = (agree || (near && was_near)) && claim_holds_inside(check, q, h, apart);
        before = slope;
    }
    return stairs;
}

/* ---- Jumps ---- */

/* How much the sum at x + at d is above that at x, and more than the numeric slope makes of it; NaN, and no error,
 * where there is none. */
static double claim_excess(ag_check *check, const claim *q, double at)
{
    double rise = 0;
    if (!ag_check_evaluate_at(check, &q->d, at, q->saved, q->above)) {
        ag_error_clear(check->ctx);
        return (double)NAN;
    }
    for (int64_t i = q->first; i < q->end; i++)
        if (q->above[i] != check->y[i])
            rise += claim_weight(q, i) * (q->above[i] - check->y[i]);
    return rise - q->numeric * at;
}

/* Whether the excess at x + at d and at three places beside it, h apart, is the same but for a part of the jump. */
static bool claim_is_flat(ag_check *check, const claim *q, double at, double h, double jump)
{
    double here = claim_excess(check, q, at);
    bool flat = true;
    for (int k = 1; k <= 3 && flat; k++)
        flat = fabs(claim_excess(check, q, at + k * h) - here) < jump / 8;
    return flat;
}

/* How much larger x or the outputs are at x + at d, where they were last evaluated, than at x: so is their rounding. */
static double claim_growth(const ag_check *check, const claim *q, double at)
{
    double here = 0, there = 0;
    for (int64_t i = q->first; i < q->end; i++) {
        here += fabs(claim_weight(q, i) * check->y[i]);
        there += fabs(claim_weight(q, i) * q->above[i]);
    }
    return 1 + fmax(there / here, fabs(at) / q->size);
}

/* Whether halving finds a jump of the function between x + from d and x + to d that the error estimate does not hold
 * with. The excess of one end over the other halves with the part, but over a jump it stays, and beside a jump it is
 * flat, where noise and waves are not. */
static bool claim_jumps(ag_check *check, const claim *q, double from, double to)
{
    const double least = (q->size + fabs(from) + fabs(to)) * 0x1p-44;
    double first = claim_excess(check, q, from), last = claim_excess(check, q, to);
    double jump = (double)INFINITY, before = (double)INFINITY;
    for (double h = (to - from) / 2; h > least && jump > q->jump; h /= 2, before = jump) {
        double middle = claim_excess(check, q, from + h), low = fabs(middle - first), high = fabs(last - middle);
        *(low > high ? &last : &first) = middle;
        from += low > high ? 0 : h;
        jump = fmax(low, high);
        bool stays = jump > 0.9 * before;
        if (stays && claim_is_flat(check, q, from, -h, jump) && claim_is_flat(check, q, from + h, h, jump))
            return jump > q->jump * claim_growth(check, q, from);
    }
    return false;
}

/* Whether the function jumps on both sides of x. This takes hundreds of evaluations. */
static bool claim_jumps_around(ag_check *check, const claim *q)
{
    static const double NEXT = 16, WIDEST = 0x1p18;
    bool above = false, below = false;
    if (check->single)
        return false; /* its own rounding is all jumps */
    for (double h = NEXT * q->fine; !(above && below) && h < WIDEST * q->most; h *= NEXT) {
        above = above || claim_jumps(check, q, 0, h);
        below = below || claim_jumps(check, q, -h, 0);
    }
    return above && below;
}

/* ---- Pieces ---- */

/* Whether x is on a piece of the function that is narrower than what was taken for noise: very close to x the slope is
 * the other one, but at nearly all places within the numeric one's step it is that one. Stairs are flat everywhere. */
static bool claim_is_of_another_piece(ag_check *check, const claim *q, double step)
{
    double apart = fabs(q->numeric - q->other), unit = 0;
    for (int64_t i = q->first; i < q->end; i++)
        unit += fabs(claim_weight(q, i)) * ag_check_unit(check->single, check->y[i]);
    double close = fmax(64 * unit / apart, q->size * 0x1p-44);
    if (check->single || !(close < q->fine / 8) || !(fabs(claim_slope(check, q, 0, close) - q->other) < apart / 8))
        return false;
    claim there = *q;
    there.fine = fmax(close, step * 0x1p-36);
    return claim_holds_inside(check, &there, step, apart);
}

/* ---- What the others ask for ---- */

/* Whether the slope at the finest step that can tell the two apart is nearer to the numeric one. */
static bool claim_holds_at_fine_step(ag_check *check, const claim *q)
{
    double slope = q->fine < q->most ? claim_slope(check, q, 0, q->fine) : q->numeric;
    return !isfinite(slope) || fabs(slope - q->numeric) <= fabs(slope - q->other);
}

/* Of two that are close, whether the numeric one is the same at other steps. */
static bool claim_holds_at_other_steps(ag_check *check, const claim *q, double step, double apart)
{
    static const double OTHER[] = { 0.71, 0.53, 0.37 };
    bool holds = true;
    for (int k = 0; k < 3 && holds && apart < 1e-3 * fabs(q->numeric) && step > 0; k++)
        holds = fabs(ag_check_derivative_at(check, &q->d, q->cotangent, q->first, q->end, step * OTHER[k]) -
                     q->numeric) <= apart / 4;
    return holds;
}

bool ag_check_denies(ag_check *check, const ag_direction *d, const double *cotangent, int64_t output, double analytic,
                     ag_derivative numeric)
{
    double apart = fabs(analytic - numeric.value);
    claim q = { .d = *d, .cotangent = cotangent, .other = analytic, .end = check->output_numel };
    if (cotangent == NULL)
        q.end = (q.first = output) + 1;
    ag_scope_begin(check->ctx, NULL);
    bool denies = true;
    if (claim_make(check, &q, numeric, apart)) {
        bool first = check->input[d->input].found.failed == 0;
        denies = claim_holds_at_fine_step(check, &q) && !claim_rises_otherwise(check, &q) &&
                 !(first && claim_jumps_around(check, &q)) && !claim_is_of_another_piece(check, &q, numeric.step) &&
                 claim_holds_at_other_steps(check, &q, numeric.step, apart);
    }
    ag_scope_end(check->ctx, NULL);
    return denies;
}

bool ag_check_is_on_stairs(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative numeric)
{
    const ag_gradcheck_input *found = &check->input[d->input].found;
    bool first = found->checked == found->failed + found->inconclusive;
    claim q = { .d = *d, .cotangent = cotangent, .other = (double)NAN, .end = check->output_numel };
    ag_scope_begin(check->ctx, NULL);
    bool stairs = claim_make(check, &q, numeric, 4 * AG_CHECK_BLUR * fabs(numeric.value) + 20 * numeric.uncertainty) &&
                  numeric.step > 0 && numeric.step < q.most / 2 &&
                  (claim_rises_otherwise(check, &q) || (first && claim_jumps_around(check, &q)));
    ag_scope_end(check->ctx, NULL);
    return stairs;
}
