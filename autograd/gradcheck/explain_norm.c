/* SPDX-License-Identifier: MIT
 *
 * explain_norm.c - layer norm and RMS norm with weights: y = gamma xhat + beta, where xhat = r w in each row, w = x -
 * mean(x) (RMS norm: w = x), v = mean(w^2), r = 1 / sqrt(v + epsilon). With n elements in a row
 *     dy[d] / dx[e] = gamma[d] r ([d = e] - 1/n - r^2 w[d] w[e] / n)        (RMS norm: without 1/n)
 *     dy[d] / dgamma[d] = r w[d]
 * so that each row of a Jacobian is a unit vector, a constant and a multiple of w, whose factors tell which term is
 * wrong.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

enum { LONGEST_NORM = 512 };

/* The rows of x. */
typedef struct normed_rows {
    const ag_evidence *e;
    bool centered; /* layer norm, else RMS norm */
    int dim;       /* along which; -1: groups of successive elements, as in group norm */
    char along[40]; /* "along dim 1" */
    const double *x;
    ag_rows rows;
    double *w; /* as x */
    double v[LONGEST_NORM], average[LONGEST_NORM]; /* of w^2, of x */
    double mean[LONGEST_NORM], term[LONGEST_NORM], scale[LONGEST_NORM]; /* analytic, relative to right */
    double r[LONGEST_NORM], right_r[LONGEST_NORM]; /* analytic, right */
} normed_rows;

/* Form number `form` of the rows of x: along each dim, the last one first, then groups of successive elements; each in
 * a layer norm and in an RMS norm. False: there are no more. */
static bool norm_begin(normed_rows *l, const ag_evidence *e, const ag_array *x, int form)
{
    int dims = x->ndim, groups = form / 2 - dims;
    int64_t n = ag_step_of(dims, x->shape, -1);
    *l = (normed_rows){ .e = e, .centered = form % 2 == 0, .x = x->value, .w = e->slope + 2 * e->m, .dim = -1 };
    if (groups < 0) {
        l->dim = dims - 1 - form / 2;
        l->rows = (ag_rows){ n / x->shape[l->dim], x->shape[l->dim], ag_step_of(dims, x->shape, l->dim) };
        ag_snprintf(l->along, sizeof l->along, "along dim %d", l->dim);
        return true;
    }
    for (int64_t size = dims == 0 ? n : x->shape[dims - 1] + 1; size <= n / 2; size++) /* the groups-th divisor of n */
        if (n % size == 0 && groups-- == 0) {
            l->rows = (ag_rows){ n / size, size, 1 };
            ag_snprintf(l->along, sizeof l->along, "in groups of %lld elements", (long long)size);
            return true;
        }
    return false;
}

/* Computes w, v and average. False: there are too few elements, or too many. */
static bool norm_is_usable(normed_rows *l)
{
    const ag_rows *r = &l->rows;
    if (r->count * r->extent != l->e->m || r->extent < 4 || r->extent > LONGEST_NORM || r->count > LONGEST_NORM)
        return false;
    for (int64_t row = 0; row < r->count; row++) {
        int64_t first = ag_row_start(r, row), end = first + r->extent * r->step;
        double size = (double)r->extent;
        l->v[row] = l->average[row] = 0;
        for (int64_t i = first; i < end && l->centered; i += r->step)
            l->average[row] += l->x[i] / size;
        for (int64_t i = first; i < end; i += r->step) {
            l->w[i] = l->x[i] - l->average[row];
            l->v[row] += l->w[i] * l->w[i] / size;
        }
    }
    return true;
}

/* ---- The scale r ---- */

/* Whether the numbers of all rows are one, relative to scale: *value is their mean. */
static bool norm_is_constant(const double *q, int64_t count, double scale, double *value)
{
    double low = q[0], high = q[0];
    *value = 0;
    for (int64_t k = 0; k < count; k++) {
        low = fmin(low, q[k]);
        high = fmax(high, q[k]);
        *value += q[k] / (double)count;
    }
    return high - low <= scale;
}

/* l->r is no 1 / sqrt(v + epsilon) with forward's epsilon: which formula has it? */
static bool norm_scale_is_wrong(ag_evidence *e, const normed_rows *l)
{
    enum { PLAIN, OUTSIDE, UNBIASED, FORMS };
    double q[FORMS][LONGEST_NORM], value[FORMS], right[LONGEST_NORM], epsilon, n = (double)l->rows.extent, most = 0;
    int64_t count = l->rows.count;
    for (int64_t k = 0; k < count; k++) {
        double v = l->v[k], r = l->r[k];
        q[PLAIN][k] = 1 / (r * r) - v;
        q[OUTSIDE][k] = 1 / r - sqrt(v);
        q[UNBIASED][k] = 1 / (r * r) - v * n / (n - 1);
        right[k] = 1 / (l->right_r[k] * l->right_r[k]) - v;
        most = fmax(most, fmax(1, v));
    }
    double scale = fmax(1e-7, 60 * e->exact) * most;
    norm_is_constant(right, count, 0, &epsilon);
    if (count < 2)
        return false;
    if (norm_is_constant(q[PLAIN], count, scale, &value[PLAIN])) {
        if (fabs(value[PLAIN]) <= scale)
            return ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's epsilon is left out: analytic has 1/sqrt(variance), "
                              "forward adds about %.3g to the variance.", epsilon);
        return ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's epsilon is another: analytic adds %.6g to the variance, "
                          "forward about %.3g.", value[PLAIN], epsilon);
    }
    if (norm_is_constant(q[OUTSIDE], count, scale, &value[OUTSIDE]))
        return ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's epsilon is added to the standard deviation, %.6g, and "
                          "not to the variance: 1/(sqrt(variance) + epsilon) where forward has 1/sqrt(variance + "
                          "epsilon).", value[OUTSIDE]);
    if (norm_is_constant(q[UNBIASED], count, scale, &value[UNBIASED]))
        return ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's variance is divided by n - 1 = %lld, forward divides by "
                          "n.", (long long)l->rows.extent - 1);
    return false;
}

/* ---- The weight ---- */

/* r of each row, by least squares, where the slopes are r w. False: they are not. */
static bool norm_scales(const normed_rows *l, const double *slope, double tolerance, double *r)
{
    for (int64_t row = 0; row < l->rows.count; row++) {
        int64_t first = ag_row_start(&l->rows, row), end = first + l->rows.extent * l->rows.step;
        r[row] = ag_factor_of(slope + first, l->w + first, l->rows.extent, l->rows.step);
        if (r[row] == 0)
            return false;
        for (int64_t j = first; j < end; j += l->rows.step)
            if (!(fabs(slope[j] - r[row] * l->w[j]) <= tolerance))
                return false;
    }
    return true;
}

static bool norm_weight_of(ag_evidence *e, const ag_slopes *s, const ag_array *x, normed_rows *l)
{
    double tolerance = 8 * e->exact * fmax(ag_largest(s->a, e->m), ag_largest(l->x, e->m));
    if (!norm_scales(l, s->r, e->entry_tolerance, l->right_r))
        return false;
    const char *name = x->name == NULL ? "x" : x->name;
    if (ag_are_near(s->a, l->x, e->m, tolerance))
        return ag_because(e, AG_CAUSE_OPERAND, "An operand is wrong: %.40s in place of the normalised %.40s; analytic "
                                               "is sum(gy %.40s), right is sum(gy xhat).", name, name, name);
    if (ag_are_near(s->a, l->w, e->m, tolerance))
        return ag_because(e, AG_CAUSE_OPERAND, "An operand is wrong: %.40s - mean(%.40s) in place of the normalised "
                          "%.40s; the division by the standard deviation is missing.", name, name, name);
    return norm_scales(l, s->a, tolerance, l->r) && norm_scale_is_wrong(e, l);
}

bool ag_is_norm_weight_wrong(ag_evidence *e)
{
    ag_slopes s;
    normed_rows l;
    if (!ag_find_slopes(e, &s, false) || s.count < e->m / 2)
        return false;
    for (int k = 0; k < e->check->input_count; k++) {
        const ag_array *x = &e->check->input[k].x;
        if (k == e->number || x->value == NULL || e->check->input[k].numel != e->m)
            continue;
        for (int form = 0; norm_begin(&l, e, x, form); form++)
            if (norm_is_usable(&l) && norm_weight_of(e, &s, x, &l))
                return true;
    }
    return false;
}

/* ---- The input ---- */

/* What a Jacobian's rows are for one row of x: p[d] [d = e] - mean p[d] / n - term p[d] w[d] w[e] / n. raw: with x[e]
 * in place of w[e]. */
typedef struct norm_row {
    double mean, term; /* right: 1 and r^2; NaN: no multiple of p[d] */
    double raw_mean;   /* mean, if it is raw */
    double gy_mean, gy_term; /* the same of gy in place of gy gamma, relative to r and r^3: without p[d] */
} norm_row;

/* The entries for output element j = the d-th of the row, by least squares over e /= d: p, a constant and a factor of
 * w. False: they are not of this form. */
static bool norm_decompose(const normed_rows *l, const double *entries, int64_t row, int64_t d, double factor[3])
{
    const ag_evidence *e = l->e;
    int64_t first = ag_row_start(&l->rows, row), j = first + d * l->rows.step;
    double count = 0, w = 0, ww = 0, a = 0, aw = 0;
    for (int64_t k = 0; k < l->rows.extent; k++) {
        int64_t i = first + k * l->rows.step;
        if (k == d)
            continue;
        count++;
        w += l->w[i];
        ww += l->w[i] * l->w[i];
        a += entries[i * e->m + j];
        aw += entries[i * e->m + j] * l->w[i];
    }
    if (l->centered) {
        ww -= w * w / count;
        aw -= w * a / count;
    }
    factor[2] = aw / ww;
    factor[1] = l->centered ? (a - factor[2] * w) / count : 0;
    factor[0] = entries[j * e->m + j] - factor[1] - factor[2] * l->w[j];
    for (int64_t i = 0; i < e->n; i++) {
        bool inside = i >= first && (i - first) % l->rows.step == 0 && (i - first) / l->rows.step < l->rows.extent;
        double want = inside && i != j ? factor[1] + factor[2] * l->w[i] : 0;
        if (i != j && !(fabs(entries[i * e->m + j] - want) <= e->entry_tolerance))
            return false;
    }
    return true;
}

/* A number s for which most of numbers[extent] are s times size[]; NaN: there is none. */
static double norm_ratio(const double *number, const double *size, int64_t extent, double loose)
{
    double product = 0, square = 0, most = 0;
    for (int64_t d = 0; d < extent; d++) {
        product += number[d] * size[d];
        square += size[d] * size[d];
        most = fmax(most, fabs(number[d]));
    }
    double ratio = product / square;
    for (int64_t d = 0; d < extent; d++)
        if (!(fabs(number[d] - ratio * size[d]) <= loose * most))
            return (double)NAN;
    return ratio;
}

static double norm_looseness(const ag_evidence *e)
{
    return fmax(1e-5, 20 * e->entry_tolerance / e->entry_max);
}

/* Writes p[d] of the row to p[], [extent]. */
static bool norm_measure(const normed_rows *l, const double *entries, int64_t row, norm_row *of, double *p)
{
    int64_t extent = l->rows.extent;
    double n = (double)extent, loose = 20 * norm_looseness(l->e), mean[LONGEST_NORM], term[LONGEST_NORM];
    double raw[LONGEST_NORM], w[LONGEST_NORM], pw[LONGEST_NORM], one[LONGEST_NORM];
    for (int64_t d = 0; d < extent; d++) {
        double factor[3];
        if (!norm_decompose(l, entries, row, d, factor))
            return false;
        w[d] = l->w[ag_row_start(&l->rows, row) + d * l->rows.step];
        p[d] = factor[0];
        pw[d] = p[d] * w[d];
        one[d] = 1;
        mean[d] = -n * factor[1];
        term[d] = -n * factor[2];
        raw[d] = -n * (factor[1] - factor[2] * l->average[row]);
    }
    *of = (norm_row){ norm_ratio(mean, p, extent, loose), norm_ratio(term, pw, extent, loose),
                      norm_ratio(raw, p, extent, loose), norm_ratio(mean, one, extent, loose),
                      norm_ratio(term, w, extent, loose) };
    if (ag_largest(mean, extent) <= loose * ag_largest(p, extent))
        of->mean = 0;
    if (ag_largest(term, extent) <= loose * ag_largest(pw, extent))
        of->term = 0;
    return ag_largest(p, extent) > 0;
}

/* What the rows of analytic have in common; bits of what holds for all. */
enum {
    MEAN_RIGHT = 1, MEAN_ZERO = 2, MEAN_RAW = 4,
    TERM_RIGHT = 8, TERM_ZERO = 16, TERM_OPPOSITE = 32, TERM_CENTERED = 64, TERM_TWICE = 128,
    SCALE_RIGHT = 256, SCALE_NONE = 512, SCALE_OF_TERM = 1024,
    MEAN_OF_GY = 2048, TERM_OF_GY = 4096, MEAN_UNDIVIDED = 8192
};

static unsigned norm_is_near(double a, double b, double tolerance, unsigned bit)
{
    return fabs(a - b) <= tolerance * fmax(1, fabs(b)) ? bit : 0;
}

/* 0: it is no row of a norm. */
static unsigned norm_facts_of(normed_rows *l, int64_t row, double *p)
{
    const ag_evidence *e = l->e;
    double *right_p = p + l->rows.extent, product = 0, square = 0, loose = norm_looseness(e);
    norm_row right, is;
    if (!norm_measure(l, e->right_entry, row, &right, right_p) || !norm_measure(l, e->entry, row, &is, p))
        return 0;
    for (int64_t d = 0; d < l->rows.extent; d++) {
        product += p[d] * right_p[d];
        square += right_p[d] * right_p[d];
    }
    double scale = l->scale[row] = product / square, r = l->right_r[row];
    for (int64_t d = 0; d < l->rows.extent; d++)
        if (!(fabs(p[d] - scale * right_p[d]) <= loose * fabs(scale) * sqrt(square)))
            return 0;
    double term = l->term[row] = is.term / right.term;
    l->r[row] = sqrt(fabs(is.term));
    l->mean[row] = is.mean;
    unsigned mean = MEAN_RIGHT;
    if (l->centered)
        mean = norm_is_near(is.mean, 1, loose, MEAN_RIGHT) | norm_is_near(is.mean, 0, loose, MEAN_ZERO) |
               norm_is_near(is.raw_mean, 1, loose, MEAN_RAW) | norm_is_near(is.gy_mean, r, 20 * loose * r, MEAN_OF_GY) |
               norm_is_near(is.mean * r, 1, loose, MEAN_UNDIVIDED);
    return 1u << 31 | mean | norm_is_near(term, 1, loose, TERM_RIGHT) | norm_is_near(term, 0, loose, TERM_ZERO) |
           norm_is_near(term, -1, loose, TERM_OPPOSITE) | norm_is_near(is.term / r, 1, loose, TERM_CENTERED) |
           norm_is_near(is.term, 1, loose, TERM_TWICE) | norm_is_near(scale, 1, loose, SCALE_RIGHT) |
           norm_is_near(scale * r, 1, loose, SCALE_NONE) |
           norm_is_near(scale * r / l->r[row], 1, loose, SCALE_OF_TERM) |
           norm_is_near(is.gy_term, r * r * r, 20 * loose * r * r * r, TERM_OF_GY);
}

/* A term, or both, is one number times the right one in all rows: n is a sum in place of a mean. */
static bool norm_term_is_scaled(ag_evidence *e, const normed_rows *l, const double *ratio, const char *what)
{
    double factor, n = (double)l->rows.extent, loose = norm_looseness(e);
    if (!norm_is_constant(ratio, l->rows.count, loose * fmax(1, fabs(ratio[0])), &factor) ||
        fabs(factor - 1) < 10 * loose) /* noise may do that */
        return false;
    bool mean = ratio == l->mean;
    ag_because(e, mean ? AG_CAUSE_MEAN_MISSING : AG_CAUSE_VARIANCE_MISSING, "The %s wrong: %s, %s in r (g %s- xhat "
               "mean(g xhat)) %s %.6g times the right one", what, l->along, mean ? "mean(g)" : "xhat mean(g xhat)",
               l->centered ? "- mean(g) " : "", "is", factor);
    ag_say(e, "%s.", fabs(factor - n) <= loose * n           ? ", a sum in place of a mean"
                     : fabs(factor - n / (n - 1)) <= loose   ? ", a mean over n - 1"
                                                             : "");
    return true;
}

/* The scale of the whole gradient is right. */
static bool norm_terms_are_wrong(ag_evidence *e, const normed_rows *l, unsigned facts)
{
    const char *form = l->centered ? "r (g - mean(g) - xhat mean(g xhat))" : "r (g - xhat mean(g xhat))";
    if ((facts & MEAN_ZERO) != 0 && (facts & TERM_RIGHT) != 0)
        return ag_because(e, AG_CAUSE_MEAN_MISSING, "The mean term is missing: %s, mean(g) in %s, g = gy gamma.",
                          l->along, form);
    if ((facts & MEAN_ZERO) != 0 && (facts & TERM_ZERO) != 0)
        return ag_because(e, AG_CAUSE_VARIANCE_MISSING, "The mean and the variance term are both missing: %s, mean(g) "
                          "and xhat mean(g xhat) in %s.", l->along, form);
    if ((facts & (MEAN_OF_GY | TERM_OF_GY)) != 0 && (facts & (MEAN_RIGHT | MEAN_OF_GY)) != 0 &&
        (facts & (TERM_RIGHT | TERM_OF_GY)) != 0) {
        bool mean = (facts & MEAN_RIGHT) == 0, term = (facts & TERM_RIGHT) == 0;
        return ag_because(e, mean ? AG_CAUSE_MEAN_MISSING : AG_CAUSE_VARIANCE_MISSING, "The %s%s: %s, gy in place of g "
                          "= gy gamma in %s%s%s of %s.", mean && term ? "mean and the variance"
                                                         : mean       ? "mean"
                                                                      : "variance",
                          mean && term ? " term are wrong" : " term is wrong", l->along, mean ? "mean(g)" : "",
                          mean && term ? " and " : "", term ? "mean(g xhat)" : "", form);
    }
    if ((facts & MEAN_UNDIVIDED) != 0 && (facts & TERM_CENTERED) != 0)
        return ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's division by the standard deviation is left out of both "
                          "means: %s, analytic is r g - mean(g) - xhat mean(g xhat), right is %s.", l->along, form);
    bool raw = (facts & MEAN_RAW) != 0 && (facts & MEAN_RIGHT) == 0;
    if ((facts & (MEAN_RIGHT | MEAN_RAW)) != 0 && (facts & (TERM_CENTERED | TERM_TWICE)) != 0)
        return ag_because(e, AG_CAUSE_VARIANCE_MISSING, "The variance term is wrong: %s it has %s in place of the "
                          "normalised x%s in %s.", l->along, raw || !l->centered ? "x" : "x - mean(x)",
                          (facts & TERM_TWICE) != 0 ? ", twice," : "", form);
    if ((facts & MEAN_RIGHT) != 0 && (facts & (TERM_ZERO | TERM_OPPOSITE)) != 0)
        return ag_because(e, AG_CAUSE_VARIANCE_MISSING, "The variance term %s: %s, xhat mean(g xhat) in %s, g = gy "
                          "gamma.", (facts & TERM_ZERO) != 0 ? "is missing" : "has the wrong sign", l->along, form);
    bool both = true;
    for (int64_t row = 0; row < l->rows.count; row++)
        both = both && fabs(l->mean[row] - l->term[row]) <= norm_looseness(e) * fabs(l->mean[row]);
    return ((facts & TERM_RIGHT) != 0 && norm_term_is_scaled(e, l, l->mean, "mean term is")) ||
           ((facts & MEAN_RIGHT) != 0 && norm_term_is_scaled(e, l, l->term, "variance term is")) ||
           (both && l->centered && norm_term_is_scaled(e, l, l->mean, "mean term and the variance term are"));
}

static bool norm_explain(ag_evidence *e, const normed_rows *l, unsigned facts)
{
    if ((facts & SCALE_RIGHT) != 0 && norm_terms_are_wrong(e, l, facts))
        return true;
    if ((facts & MEAN_RIGHT) == 0)
        return false;
    if ((facts & SCALE_NONE) != 0 && (facts & TERM_RIGHT) != 0)
        return ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's division by the standard deviation is left out: %s "
                          "analytic is sqrt(variance + epsilon) times the right gradient.", l->along);
    if ((facts & SCALE_OF_TERM) != 0 && norm_scale_is_wrong(e, l))
        return true;
    double low = l->scale[0], high = l->scale[0];
    for (int64_t row = 0; row < l->rows.count; row++) {
        low = fmin(low, l->scale[row]);
        high = fmax(high, l->scale[row]);
    }
    return (facts & (TERM_RIGHT | SCALE_OF_TERM)) != 0 &&
           ag_because(e, AG_CAUSE_NORM_SCALE, "The norm's division by the standard deviation is wrong: %s each row of "
                      "analytic is another number times the right one, from %.4g to %.4g.", l->along, low, high);
}

/* The number of elements that share a mean with element i, and whether j is one of them: those along a dim, or all. */
static bool norm_share(const ag_evidence *e, int dim, int64_t i, int64_t j, double *count)
{
    *count = (double)e->n;
    if (dim < 0)
        return true;
    ag_rows r = ag_rows_along(e, dim);
    *count = (double)r.extent;
    return i % r.step == j % r.step && i / (r.step * r.extent) == j / (r.step * r.extent);
}

/* Which elements the means of analytic run over. */
typedef struct norm_means {
    int another;      /* the dim, -1: all */
    bool mean, term;  /* whether that is so for mean(g), for mean(g xhat); the other is right */
    int64_t skipped;  /* an index along the norm that neither has; -1: none */
    bool first;       /* each row's mean and r are those of the first row */
} norm_means;

/* Entries are p_j ([i = j] - (1 + xhat_i xhat_j) / count) r_i / r_j, the 1 in layer norm only. */
static void norm_guess_means(ag_evidence *e, const normed_rows *l, norm_means of)
{
    double count, right_count = (double)l->rows.extent, centre = l->centered ? 1 : 0;
    int64_t block = l->rows.step * l->rows.extent;
    for (int64_t j = 0; j < e->m; j++) {
        int64_t row_j = j / block * l->rows.step + j % l->rows.step;
        double rj = l->right_r[row_j], shift = of.first ? l->average[row_j] - l->average[0] : 0;
        double p = e->right_entry[j * e->m + j] / (1 - (centre + rj * rj * l->w[j] * l->w[j]) / right_count);
        double used_r = of.first ? l->right_r[0] : rj, wj = l->w[j] + shift;
        bool skipped = j / l->rows.step % l->rows.extent == of.skipped;
        for (int64_t i = 0; i < e->n; i++) {
            int64_t row_i = i / block * l->rows.step + i % l->rows.step;
            double ri = of.first ? l->right_r[0] : l->right_r[row_i], product = ri * (l->w[i] + shift) * used_r * wj;
            bool near = row_i == row_j, far = norm_share(e, of.another, i, j, &count);
            double right = near && !skipped ? 1 / right_count : 0, other = far && !skipped ? 1 / count : 0;
            e->guess_entry[i * e->m + j] = p * ri / rj * ((i == j) - centre * (of.mean ? other : right) -
                                                          product * (of.term ? other : right));
        }
    }
}

static bool norm_is_over_others(ag_evidence *e, const normed_rows *l)
{
    for (int another = -1; another < e->ndim; another++)
        for (int which = 1; which <= 3; which++) {
            if ((l->dim >= 0 && another == l->dim) || ((which & 1) != 0 && !l->centered))
                continue;
            norm_guess_means(e, l, (norm_means){ another, (which & 1) != 0, (which & 2) != 0, -1, false });
            if (!ag_fits_entries(e))
                continue;
            const char *terms = which == 3   ? "mean and the variance term are"
                                : which == 2 ? "variance term is"
                                             : "mean term is";
            ag_because(e, which == 2 ? AG_CAUSE_VARIANCE_MISSING : AG_CAUSE_MEAN_MISSING,
                       "The %s over the wrong elements: the norm is %s, in analytic %s ", terms, l->along,
                       which == 3 ? "both run" : "it runs");
            if (another < 0)
                ag_say(e, "over all elements.");
            else
                ag_say(e, "along dim %d.", another);
            return true;
        }
    for (int last = 0; last < 2; last++) {
        int64_t index = last == 1 ? l->rows.extent - 1 : 0;
        norm_guess_means(e, l, (norm_means){ -1, false, false, index, false });
        if (ag_fits_entries(e))
            return ag_because(e, AG_CAUSE_SKIPPED, "Skipped: in the norm's sums %s the element at index %lld is left "
                              "out. Usually a loop that ends too early or begins too late.", l->along,
                              (long long)index);
    }
    norm_guess_means(e, l, (norm_means){ -1, false, false, -1, true });
    return ag_fits_entries(e) &&
           ag_because(e, AG_CAUSE_WRONG_INDEX, "The norm's mean and standard deviation are read at a wrong index: %s, "
                      "every row of analytic has those of the first row.", l->along);
}

/* Whether the right gradient is that of a norm; writes right_r. */
static bool norm_is_right(normed_rows *l, double *p)
{
    const ag_evidence *e = l->e;
    for (int64_t row = 0; row < l->rows.count; row++) {
        norm_row right;
        if (!norm_measure(l, e->right_entry, row, &right, p) || !(right.term > 0) ||
            (l->centered && norm_is_near(right.mean, 1, norm_looseness(e), 1) == 0))
            return false;
        l->right_r[row] = sqrt(right.term);
    }
    return true;
}

bool ag_is_norm_wrong(ag_evidence *e)
{
    normed_rows l;
    if (e->n != e->m)
        return false;
    double *p = e->slope;
    for (int form = 0; norm_begin(&l, e, &e->input->x, form); form++) {
        if (2 * l.rows.extent > e->m || !norm_is_usable(&l) || !norm_is_right(&l, p))
            continue;
        unsigned facts = ~0u;
        for (int64_t row = 0; row < l.rows.count && facts != 0; row++)
            facts &= norm_facts_of(&l, row, p);
        if ((facts != 0 && norm_explain(e, &l, facts)) || norm_is_over_others(e, &l))
            return true;
    }
    return false;
}
