/* SPDX-License-Identifier: MIT
 *
 * noise.c - the rounding noise of a function and of its backward, per output and per gradient element.
 *
 * All inputs, and the cotangent, move by a few units in the last place, POINTS times along one line. Of a smooth
 * function high differences of the values are 0 up to noise: their root mean square, over sqrt((2k)! / k!^2), is the
 * noise's standard deviation. (Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011.)
 * A value that hardly changes along the line was rounded more coarsely than its type, as by code in float behind a
 * wrapper in double: the line is then made longer. The least noise is half a unit in the last place of the value, and
 * half of the power of two that all differences are multiples of: 1 + x - 1 has the noise of 1 + x.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "tensor/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 7, CENTRE = POINTS / 2, LEVELS = 3, LEVEL_FAR = LEVELS };

/* Of the six pairs of neighbours along the line that many must differ; of a longer line more, as changes on one side of
 * the centre alone may be the function's own, beyond a kink. */
static const int CHANGES[] = { 3, 5, 5, 5 };

/* Points of the line are `spacing` units in the last place apart, for each level in double and in float; at LEVEL_FAR
 * those of 1 where x is smaller. An odd number per element is added, so that low bits differ. */
static const double SPACING[2][LEVELS + 1] = { { 0x1p7, 0x1p20, 0x1p33, 0x1p33 }, { 0x1p2, 0x1p8, 0x1p11, 0x1p13 } };

double ag_check_unit(bool single, double x)
{
    double least = single ? 0x1p-149 : 0x1p-1074; /* of a subnormal number */
    return x == 0 || !isfinite(x) ? 0 : fmax(least, ldexp(1, ilogb(x) - (single ? 23 : 52)));
}

double ag_check_noise_of(const ag_check *check, int64_t i, double size)
{
    if (check->noise == NULL)
        return 0x1p-51 * size;
    return fmax(check->noise[i], ag_check_unit(check->single, size) / 2);
}

/* ---- One value along the line ---- */

double ag_check_grain(double x)
{
    int exponent;
    if (x == 0 || !isfinite(x))
        return (double)INFINITY;
    int64_t bits = (int64_t)ldexp(frexp(x, &exponent), 53);
    return ldexp((double)(bits & -bits), exponent - 53);
}

/* The standard deviation of the noise in values v[0], v[stride], ...; NaN where one is not finite. The noise is taken
 * to be at least what half a unit in the last place of the inputs makes, which are `units` apart: in exact steps the
 * rounding of a product may repeat and not show. *changes: how many neighbours differ. */
static double noise_of_values(const double *v, int64_t stride, double units, int *changes)
{
    double d[POINTS], binomial = 1, most = 0, grain = (double)INFINITY;
    *changes = 0;
    for (int i = 0; i < POINTS; i++) {
        d[i] = v[i * stride];
        *changes += i > 0 && d[i] != d[i - 1];
        grain = i > 0 ? fmin(grain, ag_check_grain(d[i] - d[i - 1])) : grain;
        most = i > 0 ? fmax(most, fabs(d[i] - d[i - 1]) / units / 2) : most;
    }
    if (isfinite(grain))
        most = fmax(most, grain / 2);
    for (int k = 1; k < POINTS - 1; k++) {
        double square = 0;
        binomial *= 2.0 * (2 * k - 1) / k; /* (2k)! / k!^2 */
        for (int i = 0; i < POINTS - k; i++) {
            d[i] = d[i + 1] - d[i];
            square += d[i] * d[i];
        }
        if (k >= POINTS - 3) /* two columns: a smooth part is gone, and each has few entries */
            most = fmax(most, sqrt(square / (POINTS - k) / binomial));
    }
    return most;
}

/* ---- A group of values, such as an output tensor ---- */

static int noise_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Raises noise[n] to the group's median relative to the units in the last place of `at`. A few differences of one value
 * may be small by chance, those of most values not. */
static bool noise_level_out(ag_check *check, double *noise, const double *at, int64_t n)
{
    double *ratio = ag_check_memory(check->ctx, n, sizeof *ratio);
    int64_t count = 0;
    for (int64_t i = 0; i < n && ratio != NULL; i++)
        if (ag_check_unit(check->single, at[i]) > 0)
            ratio[count++] = noise[i] / ag_check_unit(check->single, at[i]);
    if (count > 0)
        qsort(ratio, (size_t)count, sizeof *ratio, noise_ascending);
    for (int64_t i = 0; i < n && count > 0; i++)
        noise[i] = fmax(noise[i], ratio[(count - 1) / 2] * ag_check_unit(check->single, at[i]));
    return ratio != NULL;
}

/* ---- The line ---- */

/* Values along the line: POINTS times all outputs, POINTS times all gradients. */
typedef struct noise_line {
    int64_t outputs, inputs;
    int only; /* the input that moves; -1: all, and the cotangent */
    double *y, *gradient, *cotangent, *saved;
    double **grad; /* per input, of one point */
    bool *sharp;   /* per output and gradient element: its noise is measured */
} noise_line;

/* What element number i moves by from point to point: units in the last place of x, or of `least` if |x| is less. */
static double noise_spacing(const ag_check *check, int64_t i, double x, double least, int level)
{
    uint32_t word[4];
    ag_philox(check->config.seed + 2, (uint64_t)i, word);
    double units = SPACING[check->single][level], odd = 2 * floor(units * 0x1p-33 * word[0]) + 1;
    return ((word[1] & 1u) != 0 ? 1 : -1) * (units + odd) * ag_check_unit(check->single, fmax(fabs(x), least));
}

/* The smallest magnitude in x[n] that is not 0; 1 if there is none. */
static double noise_least(const double *x, int64_t n)
{
    double least = (double)INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0 && fabs(x[i]) < least)
            least = fabs(x[i]);
    return isfinite(least) ? least : 1;
}

/* Moves inputs and cotangent to a point of the line; CENTRE: back. */
static void noise_move(ag_check *check, const noise_line *l, int point, int level)
{
    const int t = point - CENTRE;
    int64_t number = 0;
    for (int k = 0; k < check->input_count; k++) {
        ag_check_input *in = &check->input[k];
        if (!in->checked)
            continue;
        double least = level == LEVEL_FAR ? 1 : noise_least(l->saved + number, in->numel);
        bool moves = t != 0 && (l->only < 0 || l->only == k);
        for (int64_t i = 0; i < in->numel; i++, number++)
            in->x.value[i] = !moves ? l->saved[number]
                                        : l->saved[number] + t * noise_spacing(check, number, l->saved[number],
                                                                                   least, level);
    }
    for (int64_t j = 0; j < l->outputs; j++)
        l->cotangent[j] = check->cotangent[j] == 0 || l->only >= 0
                              ? check->cotangent[j]
                              : check->cotangent[j] + t * noise_spacing(check, number + j, check->cotangent[j], 1,
                                                                        level);
}

/* Forward, and backward except LEVEL_FAR, at a point of the line. False on error. */
static bool noise_evaluate(ag_check *check, noise_line *l, int point, int level)
{
    double *gradient = l->gradient + point * l->inputs;
    for (int k = 0; k < check->input_count; k++) {
        l->grad[k] = check->input[k].checked ? gradient : NULL;
        gradient += check->input[k].checked ? check->input[k].numel : 0;
    }
    noise_move(check, l, point, level);
    bool good = check->evaluate(check, l->y + point * l->outputs) &&
                (level == LEVEL_FAR || check->backward(check, l->cotangent, l->grad));
    noise_move(check, l, CENTRE, level);
    return good;
}

/* The noise of a value that nothing changes: that of a float if it looks like one, with 12 to 24 significant bits. */
static double noise_of_constant(double y)
{
    double grain = ag_check_grain(y), bits = isfinite(grain) ? 1 + ilogb(fabs(y)) - ilogb(grain) : 0;
    return bits >= 12 && bits <= 24 ? grain / 2 : 0;
}

/* Takes over the noise of `count` values along the line that had not been measured. True: all are now. */
static bool noise_take(const ag_check *check, const double *values, int64_t count, int level, bool *sharp,
                       double *noise)
{
    bool all = true;
    for (int64_t i = 0; i < count; i++) {
        int changes;
        double found = noise_of_values(values + i, count, SPACING[check->single][level], &changes);
        if (sharp[i])
            continue;
        sharp[i] = changes >= CHANGES[level];
        found = sharp[i] && isfinite(found) ? found : 0;
        if (level == LEVELS - 1 && !sharp[i])
            found = noise_of_constant(values[CENTRE * count + i]);
        noise[i] = fmax(noise[i], fmax(found, ag_check_unit(check->single, values[i]) / 2));
        all = all && sharp[i];
    }
    return all;
}

/* Walks the line, longer and longer until all values change along it. An output that is constant on the scale of x, as
 * log(cosh(x)) is where cosh(x) rounds to 1, may have noise that wider steps see: so outputs are taken there too. False
 * on error. */
static bool noise_walk(ag_check *check, noise_line *l, int only, double *noise)
{
    bool done = false;
    l->only = only;
    memset(l->sharp, 0, (size_t)(l->outputs + l->inputs) * sizeof *l->sharp);
    for (int level = only < 0 ? 0 : 1; level < LEVELS && !done; level++) {
        for (int point = 0; point < POINTS; point++)
            if ((point != CENTRE || level == 0) && !noise_evaluate(check, l, point, level))
                return false;
        done = noise_take(check, l->y, l->outputs, level, l->sharp, check->noise);
        done = noise_take(check, l->gradient, l->inputs, level, l->sharp + l->outputs, noise) && done;
    }
    bool flat = only < 0 && memchr(l->sharp, false, (size_t)l->outputs) != NULL;
    for (int point = 0; point < POINTS && flat; point++)
        if (point != CENTRE && !noise_evaluate(check, l, point, LEVEL_FAR))
            return false;
    if (flat)
        noise_take(check, l->y, l->outputs, LEVEL_FAR, l->sharp, check->noise);
    return true;
}

/* Whether an output changes when one input alone moves. */
static bool noise_changes(ag_check *check, noise_line *l, int input, int level)
{
    double *y = l->y;
    l->only = input;
    noise_move(check, l, CENTRE + 1, level);
    bool good = check->evaluate(check, y);
    noise_move(check, l, CENTRE, level);
    return good && memcmp(y, l->y + CENTRE * l->outputs, (size_t)l->outputs * sizeof *y) != 0;
}

/* An input that changes nothing by so little, but does by more, is rounded coarsely: its noise shows when it moves
 * alone. False on error. */
static bool noise_walk_alone(ag_check *check, noise_line *l, double *noise)
{
    for (int k = 0; k < check->input_count; k++)
        if (check->input[k].checked && check->input[k].numel > 0 && !noise_changes(check, l, k, 0) &&
            noise_changes(check, l, k, LEVELS - 1) && !noise_walk(check, l, k, noise))
            return false;
    return ag_error(check->ctx) == AG_OK;
}

bool ag_check_measure_noise(ag_check *check)
{
    noise_line l = { .outputs = check->output_numel };
    for (int k = 0; k < check->input_count; k++)
        l.inputs += check->input[k].checked ? check->input[k].numel : 0;
    double *noise = ag_check_memory(check->ctx, l.inputs, sizeof(double));
    check->noise = ag_check_memory(check->ctx, l.outputs, sizeof(double));
    ag_scope_begin(check->ctx, NULL);
    l.y = ag_check_memory(check->ctx, POINTS * l.outputs, sizeof(double));
    l.gradient = ag_check_memory(check->ctx, POINTS * l.inputs, sizeof(double));
    l.cotangent = ag_check_memory(check->ctx, l.outputs, sizeof(double));
    l.saved = ag_check_memory(check->ctx, l.inputs, sizeof(double));
    l.grad = ag_check_memory(check->ctx, check->input_count, sizeof *l.grad);
    l.sharp = ag_check_memory(check->ctx, l.outputs + l.inputs, sizeof *l.sharp);
    bool good = ag_error(check->ctx) == AG_OK;
    double *next = l.saved;
    for (int k = 0; k < check->input_count && good; k++) {
        ag_check_input *in = &check->input[k];
        if (!in->checked)
            continue;
        in->noise = noise + (next - l.saved);
        memcpy(next, in->x.value, (size_t)in->numel * sizeof(double));
        next += in->numel;
    }
    good = good && noise_walk(check, &l, -1, noise) && noise_walk_alone(check, &l, noise);
    for (int o = 0; o < check->output_count && good; o++)
        good = noise_level_out(check, check->noise + check->output[o].first, check->output[o].y.value,
                               check->output[o].numel);
    for (int k = 0; k < check->input_count && good; k++)
        if (check->input[k].checked)
            good = noise_level_out(check, check->input[k].noise, check->input[k].analytic, check->input[k].numel);
    for (int64_t j = 0; j < l.outputs && good; j++)
        check->noise_unit = fmax(check->noise_unit, check->noise[j]);
    ag_scope_end(check->ctx, NULL);
    return good;
}
