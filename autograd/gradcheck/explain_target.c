/* SPDX-License-Identifier: MIT
 *
 * explain_target.c - cross-entropy of logits, whose gradient in each row is s (p - q): p the softmax of the row, s a
 * scale, q the target distribution, one number everywhere but at the target. Both gradients are written in this form;
 * where their q differ is the fault.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>

/* A row of a gradient as s (p - q): q is `base` everywhere, but at `target`. */
typedef struct target_row {
    bool zero; /* all of it is 0: ignored */
    int64_t target;
    double s, base, peak; /* peak: of q at the target, above base */
} target_row;

/* Fits s (0: any, else this one) and base by least squares over all elements but one, the target: the one that leaves
 * the smallest error. False: the row is not of this form. */
static bool target_fit(const double *g, const double *p, int64_t n, double tolerance, double given, target_row *row)
{
    double best = (double)INFINITY;
    *row = (target_row){ .zero = true };
    for (int64_t k = 0; k < n; k++)
        row->zero = row->zero && fabs(g[k]) <= tolerance;
    for (int64_t t = 0; t < n && !row->zero; t++) {
        double count = (double)n - 1, sp = 0, spp = 0, sg = 0, spg = 0, worst = 0;
        for (int64_t k = 0; k < n; k++)
            if (k != t) {
                sp += p[k];
                spp += p[k] * p[k];
                sg += g[k];
                spg += p[k] * g[k];
            }
        double s = given != 0 ? given : (spg - sp * sg / count) / (spp - sp * sp / count);
        double offset = (sg - s * sp) / count;
        for (int64_t k = 0; k < n; k++)
            worst = k == t ? worst : fmax(worst, fabs(g[k] - s * p[k] - offset));
        if (isfinite(s) && worst < best) {
            best = worst;
            *row = (target_row){ .target = t, .s = s, .base = -offset / s,
                                  .peak = p[t] - (g[t] - offset) / s };
        }
    }
    return row->zero || (best <= tolerance && row->s != 0);
}

static void target_softmax(const double *x, int64_t n, double *p)
{
    double most = x[0], sum = 0;
    for (int64_t k = 0; k < n; k++)
        most = fmax(most, x[k]);
    for (int64_t k = 0; k < n; k++)
        sum += p[k] = exp(x[k] - most);
    for (int64_t k = 0; k < n; k++)
        p[k] /= sum;
}

/* What is the same in all rows that count. */
typedef struct target_facts {
    int64_t rows, counted, shift; /* shift: target of analytic - right target, modulo n */
    bool same_scale, one_shift, same_base, no_base, right_base; /* base: 0 in analytic, not 0 in the right one */
    bool no_target;
    double smoothing; /* base times n, of the one that has it */
    double is_base, base;
} target_facts;

static void target_compare(target_facts *f, const target_row *is, const target_row *right, int64_t n, double tolerance)
{
    int64_t shift = (is->target - right->target + n) % n;
    double loose = 2 * tolerance / fabs(right->s); /* of base */
    f->shift = f->rows == 0 ? shift : f->shift;
    f->one_shift = f->one_shift && shift == f->shift;
    f->same_scale = f->same_scale && is->s == right->s;
    f->same_base = f->same_base && fabs(is->base - right->base) <= loose;
    f->no_base = f->no_base && fabs(is->base) <= loose && right->base > 2 * loose;
    f->right_base = f->right_base && fabs(right->base) <= loose && is->base > 2 * loose;
    f->no_target = f->no_target && fabs(is->peak) <= loose;
    f->is_base = is->base;
    f->base = right->base;
    f->smoothing = fmax(is->base, right->base) * (double)n;
    f->rows++;
}

static bool say_target(ag_evidence *e, const target_facts *f, int64_t n)
{
    const char *form = "the gradient of cross-entropy is s (softmax(x) - q) in each row";
    if (f->same_scale && f->no_target && f->counted == 0)
        return ag_because(e, AG_CAUSE_TARGET, "The target is not subtracted: %s, analytic is s softmax(x).", form);
    if (!f->same_scale || !f->one_shift || f->rows == 0)
        return false;
    if (f->counted > 0)
        return f->shift == 0 && f->same_base &&
               ag_because(e, AG_CAUSE_TARGET, "Ignored rows are counted: %s, and analytic has it also in %lld rows "
                                              "that do "
                          "not enter the loss. Usually ignore_index forgotten in the backward.", form,
                          (long long)f->counted);
    if (f->shift != 0 && f->same_base)
        return ag_because(e, AG_CAUSE_TARGET, "The target is off by %lld: %s, and in analytic q stands for class t %c "
                                              "%lld "
                          "in place of t.", (long long)(f->shift <= n / 2 ? f->shift : n - f->shift), form,
                          f->shift <= n / 2 ? '+' : '-', (long long)(f->shift <= n / 2 ? f->shift : n - f->shift));
    if (f->shift == 0 && (f->no_base || f->right_base))
        return ag_because(e, AG_CAUSE_TARGET, "Label smoothing is %s: %s, with smoothing %.4g in %s and 0 in %s.",
                          f->no_base ? "left out of the backward" : "only in the backward", form, f->smoothing,
                          f->no_base ? "the right one" : "analytic", f->no_base ? "analytic" : "the right one");
    if (f->shift == 0 && !f->same_base)
        return ag_because(e, AG_CAUSE_TARGET, "Label smoothing differs: %s, and q of the classes besides the target is "
                          "%.6g in analytic, %.6g in the right one.", form, f->is_base, f->base);
    return false;
}

bool ag_is_target_wrong(ag_evidence *e)
{
    if (e->ndim < 1 || e->shape[e->ndim - 1] < 4)
        return false;
    int64_t n = e->shape[e->ndim - 1];
    target_facts f = { .same_scale = true, .one_shift = true, .same_base = true, .no_base = true, .right_base = true,
                       .no_target = true };
    for (int64_t first = 0; first < e->n; first += n) {
        target_row is, right;
        target_softmax(e->input->x.value + first, n, e->basis);
        const double *g = e->analytic + first, *n_g = e->right + first;
        /* the analytic gradient is exact: its s is tried for the right one, too */
        if (!target_fit(g, e->basis, n, e->tolerance, 0, &is) ||
            (!target_fit(n_g, e->basis, n, e->tolerance, is.zero ? 0 : is.s, &right) &&
             !target_fit(n_g, e->basis, n, e->tolerance, 0, &right)) ||
            (is.zero && !right.zero))
            return false;
        if (right.zero)
            f.counted += !is.zero;
        else
            target_compare(&f, &is, &right, n, e->tolerance);
    }
    return say_target(e, &f, n);
}
