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
    bool no_target, same_peak, same_part, next_row; /* same_part: of the target alone, s times its peak */
    bool largest;      /* analytic's target is the largest logit */
    int64_t others;    /* rows with another target */
    target_row is, right; /* the last that counts */
} target_facts;

static bool target_is_largest(const double *p, int64_t n, int64_t target)
{
    for (int64_t k = 0; k < n; k++)
        if (p[k] > p[target])
            return false;
    return true;
}

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
    f->same_peak = f->same_peak && fabs(is->peak - right->peak) <= loose;
    f->same_part = f->same_part && fabs(is->s * is->peak - right->s * right->peak) <= 2 * tolerance;
    f->others += shift != 0;
    f->is = *is;
    f->right = *right;
    f->rows++;
}

static bool say_target(ag_evidence *e, const target_facts *f, int64_t n)
{
    const char *form = "the gradient of cross-entropy is s (softmax(x) - q) in each row";
    if (f->same_scale && f->no_target && f->counted == 0)
        return ag_because(e, AG_CAUSE_TARGET, "The target is not subtracted: %s, analytic is s softmax(x).", form);
    if (f->rows > 1 && f->counted == 0 && !f->same_scale && f->others == 0 && f->same_base && f->same_part)
        return ag_because(e, AG_CAUSE_TARGET, "The factor of softmax(x) is another: %s, and s q is right, but s is "
                          "%.5g in analytic and %.5g in the right one in the last row. Usually a second term of the "
                          "loss that is wrong or left out.", form, f->is.s, f->right.s);
    if (f->rows > 1 && f->counted == 0 && f->same_scale && f->same_base && f->same_peak && f->others > 0 &&
        (f->next_row || f->largest))
        return ag_because(e, AG_CAUSE_TARGET, "The target is another in %lld of %lld rows: %s, and q of analytic "
                          "stands for %s.", (long long)f->others, (long long)f->rows, form,
                          f->next_row ? "the target of the next row" : "the class of the largest logit");
    if (!f->same_scale || !f->one_shift || f->rows == 0)
        return false;
    if (f->counted > 0)
        return f->shift == 0 && f->same_base &&
               ag_because(e, AG_CAUSE_TARGET, "Ignored rows are counted: %s, and analytic has it also in %lld "
                          "rows that do not enter the loss. Usually ignore_index forgotten in the backward.", form,
                          (long long)f->counted);
    if (f->shift != 0 && f->same_base)
        return ag_because(e, AG_CAUSE_TARGET, "The target is off by %lld: %s, and in analytic q stands for class t %c "
                          "%lld in place of t.", (long long)(f->shift <= n / 2 ? f->shift : n - f->shift), form,
                          f->shift <= n / 2 ? '+' : '-', (long long)(f->shift <= n / 2 ? f->shift : n - f->shift));
    if (f->shift == 0 && (f->no_base || f->right_base))
        return ag_because(e, AG_CAUSE_TARGET, "Label smoothing is %s: %s, with smoothing %.4g in %s and 0 in %s.",
                          f->no_base ? "left out of the backward" : "only in the backward", form,
                          fmax(f->is.base, f->right.base) * (double)n,
                          f->no_base ? "the right one" : "analytic", f->no_base ? "analytic" : "the right one");
    if (f->shift == 0 && !f->same_base)
        return ag_because(e, AG_CAUSE_TARGET, "Label smoothing differs: %s, and q of the classes besides the target is "
                          "%.6g in analytic, %.6g in the right one.", form, f->is.base, f->right.base);
    if (f->shift == 0 && !f->same_peak)
        return ag_because(e, AG_CAUSE_TARGET, "The target's weight differs: %s, and q of the target is %.6g above that "
                          "of the other classes in analytic, %.6g in the right one. Usually label smoothing in "
                          "another form.", form, f->is.peak, f->right.peak);
    return false;
}

/* ---- Another function in the place of softmax ---- */

typedef enum target_of { OF_LOGITS, OF_LOG, OF_EXP, OF_SIGMOID, OF_ANOTHER_DIM, TARGET_KINDS } target_of;

/* e->guess = what may stand in the place of e->basis, the softmax of the last dim. */
static void target_substitute(ag_evidence *e, target_of what, int dim)
{
    const double *x = e->input->x.value;
    ag_rows r = ag_rows_along(e, dim);
    for (int64_t row = 0; row < r.count; row++) {
        int64_t first = ag_row_start(&r, row), end = first + r.extent * r.step;
        double sum = 0;
        for (int64_t i = first; i < end; i += r.step)
            sum += exp(x[i]);
        for (int64_t i = first; i < end; i += r.step)
            e->guess[i] = what == OF_LOGITS    ? x[i]
                          : what == OF_LOG     ? log(e->basis[i])
                          : what == OF_EXP     ? exp(x[i])
                          : what == OF_SIGMOID ? 1 / (1 + exp(-x[i]))
                                               : exp(x[i]) / sum;
    }
}

/* All rows of a gradient are s (u - q), with any s, or one for all, and any number q besides the target. */
static bool target_fits_all(const ag_evidence *e, const double *gradient, const double *u, int64_t n, bool one)
{
    target_row row = { .s = 0 };
    int64_t rows = 0;
    for (int64_t first = 0; first < e->n; first += n) {
        if (!target_fit(gradient + first, u + first, n, e->tolerance, one ? row.s : 0, &row))
            return false;
        rows += !row.zero;
    }
    return rows > 1;
}

/* The right gradient is s (p - q) in each row; analytic has another function in the place of p, or the slope of softmax
 * besides. */
static bool target_is_of_another(ag_evidence *e, int64_t n)
{
    static const char *const words[] = { "x itself", "log softmax(x)", "exp(x), which is not normalised,", "sigmoid(x)",
                                        "softmax along dim " };
    double *p = e->basis;
    for (int64_t first = 0; first < e->n; first += n)
        target_softmax(e->input->x.value + first, n, p + first);
    if (!target_fits_all(e, e->right, p, n, false))
        return false;
    for (int kind = 0; kind < 3; kind++) {
        static const char *const slope[] = { "p", "p (1 - p)", "softmax's Jacobian" };
        for (int64_t first = 0; first < e->n; first += n) {
            double sum = 0;
            for (int64_t k = first; k < first + n; k++)
                sum += e->right[k] * p[k];
            for (int64_t k = first; k < first + n; k++)
                e->guess[k] = p[k] * (e->right[k] * (kind == 1 ? 1 - p[k] : 1) - (kind == 2 ? sum : 0));
        }
        if (ag_fits(e))
            return ag_because(e, AG_CAUSE_OPERAND, "A factor too many: the gradient is s (p - q) in each row, p = "
                              "softmax(x), and analytic is that times %s. Usually the slope of softmax, which the "
                              "gradient of cross-entropy has in it already.", slope[kind]);
    }
    for (target_of what = 0; what < TARGET_KINDS; what++)
        for (int dim = 0; dim < (what == OF_ANOTHER_DIM ? e->ndim - 1 : 1); dim++) {
            target_substitute(e, what, dim);
            if (!target_fits_all(e, e->analytic, e->guess, n, what == OF_EXP))
                continue;
            ag_because(e, AG_CAUSE_OPERAND, "An operand is wrong: the gradient of cross-entropy is s (softmax(x) - q) "
                       "in each row, and analytic has %s", words[what]);
            if (what == OF_ANOTHER_DIM)
                ag_say(e, "%d", dim);
            ag_say(e, " in place of softmax(x).");
            return true;
        }
    return false;
}

bool ag_is_target_wrong(ag_evidence *e)
{
    if (e->ndim < 1 || e->shape[e->ndim - 1] < 4)
        return false;
    int64_t n = e->shape[e->ndim - 1];
    target_facts f = { .same_scale = true, .one_shift = true, .same_base = true, .no_base = true, .right_base = true,
                       .no_target = true, .same_peak = true, .same_part = true, .next_row = true, .largest = true };
    int64_t before = -1, first_target = -1; /* the target of analytic in the row before; the first right one */
    for (int64_t first = 0; first < e->n; first += n) {
        target_row is, right;
        target_softmax(e->input->x.value + first, n, e->basis);
        const double *g = e->analytic + first, *n_g = e->right + first;
        /* the analytic gradient is exact: its s is tried for the right one, too */
        if (!target_fit(g, e->basis, n, e->tolerance, 0, &is) ||
            (!target_fit(n_g, e->basis, n, e->tolerance, is.zero ? 0 : is.s, &right) &&
             !target_fit(n_g, e->basis, n, e->tolerance, 0, &right)) ||
            (is.zero && !right.zero))
            return target_is_of_another(e, n);
        if (right.zero) {
            f.counted += !is.zero;
            continue;
        }
        target_compare(&f, &is, &right, n, e->tolerance);
        f.largest = f.largest && target_is_largest(e->basis, n, is.target);
        f.next_row = f.next_row && (before < 0 || before == right.target);
        first_target = before < 0 ? right.target : first_target;
        before = is.target;
    }
    f.next_row = f.next_row && before == first_target;
    return (!f.same_scale && target_is_of_another(e, n)) || say_target(e, &f, n) || target_is_of_another(e, n);
}
