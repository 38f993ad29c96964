/* SPDX-License-Identifier: MIT
 *
 * complex_step.c - derivatives of functions that are also given on complex numbers: Im f(x + ih) / h.
 *
 * It subtracts nothing, so it is accurate to the last bits. It needs only the function's formula. Dual numbers would be
 * as accurate but need every derivative rule a second time, with the same mistakes.
 */
#include "autograd/gradcheck/gradcheck_impl.h"

#include <math.h>

/* Writes (re, im) pairs of the inputs, im = h d, into one block, of which point[i] is the input i. */
static void complex_point(const ag_check *check, const ag_direction *d, double h, double *pair, const double **point)
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
static void complex_confirm(const ag_check *check, const double *c, int64_t first, int64_t end, const double *z,
                            double h, ag_derivative *found)
{
    double exact = 0, size = 0, noise = 0;
    bool same = true;
    for (int64_t i = first; i < end; i++) {
        if (c != NULL && c[i] == 0) /* left out */
            continue;
        double term = (c == NULL ? 1 : c[i]) * (z[2 * i + 1] / h);
        exact += term;
        size += fabs(term);
        noise = fmax(noise, fabs(c == NULL ? 1 : c[i]) * ag_check_noise_of(check, i, fabs(check->y[i])));
        same = same && ag_check_is_close(check, z[2 * i], check->y[i]);
    }
    if (found->trouble == AG_CAUSE_KINK || found->trouble == AG_CAUSE_NON_FINITE)
        return;
    double apart = fabs(exact - found->value), error = 0x1p-51 * size + noise;
    double wanted = check->config.atol + check->config.rtol * fabs(exact);
    if (!same || !(apart <= 10 * (found->uncertainty + error) + wanted / 10))
        found->trouble = AG_CAUSE_ORACLES_DISAGREE;
    else
        *found = (ag_derivative){ exact, error, AG_CAUSE_NONE, 0, 0, 0 };
}

bool ag_check_complex_step(ag_check *check, const ag_direction *d, const double *cotangent, ag_derivative *sum,
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
        complex_point(check, d, h, pair + 2 * m, point);
        check->config.complex_step(point, result, check->user);
        complex_confirm(check, cotangent, 0, m, pair, h, sum);
        for (int64_t j = 0; each != NULL && j < m; j++)
            complex_confirm(check, NULL, j, j + 1, pair, h, &each[j]);
    }
    ag_free(ctx, pair, pair_bytes);
    ag_free(ctx, result, out_bytes);
    ag_free(ctx, point, in_bytes);
    return good;
}
