/* SPDX-License-Identifier: MIT
 *
 * explain_slope.c - functions in which each output element depends on one element of the input: activations, masks. The
 * analytic slope is written as a formula, up to three terms of a family with fitted factors, and compared with the
 * formula of the right one. The forward is recognised by its values, which are exact where differences are not.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TERMS = 3, FEWEST = 6, ROOM = 160 };

#define SQRT_2_PI 2.5066282746310005
#define SQRT_2_OVER_PI 0.7978845608028654
#define CUBIC 0.044715

/* ---- The slopes ---- */

static bool slope_is_right(const ag_evidence *e, int64_t i)
{
    for (int64_t k = i * e->m; k < (i + 1) * e->m; k++)
        if (!(fabs(e->entry[k] - e->right_entry[k]) <= e->entry_tolerance))
            return false;
    return true;
}

bool ag_find_slopes(ag_evidence *e, ag_slopes *s, bool wrong)
{
    *s = (ag_slopes){ .at = e->slope_at, .a = e->slope, .r = e->slope + e->m };
    for (int64_t i = 0; i < e->n; i++)
        e->basis[i] = wrong && slope_is_right(e, i) ? 1 : 0;
    for (int64_t j = 0; j < e->m; j++) {
        int64_t at = -1;
        for (int64_t i = 0; i < e->n; i++) {
            int64_t k = i * e->m + j;
            if (e->basis[i] != 0 ||
                (fabs(e->entry[k]) <= e->entry_tolerance && fabs(e->right_entry[k]) <= e->entry_tolerance))
                continue;
            if (at >= 0 || isnan(e->right_entry[k]))
                return false;
            at = i;
        }
        s->at[j] = at;
        s->a[j] = at < 0 ? 0 : e->entry[at * e->m + j];
        s->r[j] = at < 0 ? 0 : e->right_entry[at * e->m + j];
        s->count += at >= 0;
    }
    return s->count > 0;
}

/* The value of the one other element on which output j depends; NaN: there is none, or are several. */
static double slope_partner(const ag_evidence *e, const ag_slopes *s, int64_t j)
{
    double value = (double)NAN;
    for (int64_t i = 0; i < e->n; i++) {
        if (i == s->at[j] || fabs(e->right_entry[i * e->m + j]) <= e->entry_tolerance)
            continue;
        if (!isnan(value))
            return (double)NAN;
        value = e->input->x.value[i];
    }
    return value;
}

/* Both slopes are 0 or one number, at different places: another mask than that of forward. */
bool ag_is_mask_drawn_again(ag_evidence *e)
{
    ag_slopes s;
    int64_t lost = 0, more = 0, same = 0;
    if (!ag_find_slopes(e, &s, false) || s.count < FEWEST)
        return false;
    double scale = ag_largest(s.a, e->m);
    for (int64_t j = 0; j < e->m; j++) {
        bool a = fabs(s.a[j]) > e->entry_tolerance, r = fabs(s.r[j]) > e->entry_tolerance;
        if ((a && fabs(fabs(s.a[j]) - scale) > e->entry_tolerance) ||
            (r && fabs(fabs(s.r[j]) - scale) > e->entry_tolerance))
            return false;
        lost += r && !a;
        more += a && !r;
        same += a && r;
    }
    return lost > 0 && more > 0 && same > 0 &&
           ag_because(e, AG_CAUSE_MASK_DRAWN_AGAIN, "Another mask: analytic and the right gradient are 0 or %.6g times "
                      "gy, but 0 at different places: %lld elements are 0 that should not be, %lld the other way "
                      "round. Usually random numbers drawn again in the backward, in place of forward's mask.",
                      scale, (long long)lost, (long long)more);
}

/* ---- Families of terms ---- */

/* Of x, y, the right slope r and constants. */
typedef double term_fn(double x, double y, double r, const double *c);

static double slope_density(double x)
{
    return exp(-x * x / 2) / SQRT_2_PI;
}

static double slope_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double slope_t(double x, const double *c)
{
    return tanh(c[0] * (x + c[1] * x * x * x));
}

#define TERM(name, value)                                             \
    static double name(double x, double y, double r, const double *c) \
    {                                                                 \
        (void)x, (void)y, (void)r, (void)c;                           \
        return value;                                                 \
    }
TERM(term_one, 1)
TERM(term_x, x)
TERM(term_x2, (x * x))
TERM(term_y, y)
TERM(term_y2, (y * y))
TERM(term_phi_sum, erfc(-x / sqrt(2)) / 2)
TERM(term_x_phi, (x * slope_density(x)))
TERM(term_phi, slope_density(x))
TERM(term_erf, erfc(-c[0] * x) / 2)
TERM(term_x_exp, (x * exp(-x * x)))
TERM(term_t, (1 + slope_t(x, c)) / 2)
TERM(term_x_t, (x * (1 - slope_t(x, c) * slope_t(x, c))))
TERM(term_x2_t, (x * x * (1 - slope_t(x, c) * slope_t(x, c))))
TERM(term_x3_t, (x * x * x * (1 - slope_t(x, c) * slope_t(x, c))))
TERM(term_s, (slope_sigmoid(c[0] * x)))
TERM(term_x_s1, (x * slope_sigmoid(c[0] * x)))
TERM(term_x_s2, (x * slope_sigmoid(c[0] * x) * slope_sigmoid(c[0] * x)))
TERM(term_s_not, slope_sigmoid(-x))
TERM(term_tanh_slope, (1 - tanh(x) * tanh(x)))
TERM(term_x_s, (x * slope_sigmoid(c[0] * x) * slope_sigmoid(-c[0] * x)))
TERM(term_s_s, (slope_sigmoid(c[0] * x) * slope_sigmoid(-c[0] * x)))
TERM(term_tanh, tanh(x))
TERM(term_tanh2, (tanh(x) * tanh(x)))
TERM(term_exp, exp(x))
TERM(term_x_e, (x * exp(x)))
TERM(term_inverse, 1 / x)
TERM(term_inverse2, (1 / (x * x)))
TERM(term_root, 1 / sqrt(x))
TERM(term_cos, cos(x))
TERM(term_sin, sin(x))
TERM(term_step, x > 0 ? 1 : 0)
TERM(term_below, x < 0 ? 1 : 0)
TERM(term_x2_phi, (x * x * slope_density(x)))
TERM(term_x_grow, (x * exp(x * x / 2) / SQRT_2_PI))
TERM(term_x_t1, (x * (1 - slope_t(x, c))))
TERM(term_x3_t1, (x * x * x * (1 - slope_t(x, c))))
TERM(term_x_t2, (x * (1 + slope_t(x, c) * slope_t(x, c))))
TERM(term_x3_t2, (x * x * x * (1 + slope_t(x, c) * slope_t(x, c))))
TERM(term_sign2, 1 / ((1 + fabs(x)) * (1 + fabs(x))))
TERM(term_sign, 1 / (1 + fabs(x)))
TERM(term_bell, 1 / (1 + x * x))
TERM(term_bell_root, 1 / sqrt(1 + x * x))
TERM(term_bell_minus, 1 / (1 - x * x))
TERM(term_mish, tanh(log1p(exp(x))))
TERM(term_mish_inner, (x * slope_sigmoid(x) * (1 - tanh(log1p(exp(x))) * tanh(log1p(exp(x))))))
TERM(term_mish_outer, (x * (1 - tanh(log1p(exp(x))) * tanh(log1p(exp(x))))))
TERM(term_f, y / x)
TERM(term_x_df, r - y / x)
TERM(term_df, (r - y / x) / x)
TERM(term_r_root, r < 0 ? -sqrt(-r) : sqrt(r))
TERM(term_r_square, (r * r))

typedef struct term_family {
    term_fn *term[TERMS];
    const char *text[TERMS];
    double c[2]; /* constants in the terms */
    const char *note; /* with constants that are not those of the function */
} term_family;

#define TANH_FORM(c0, c1, note)                                                                              \
    { { term_t, term_x_t, term_x3_t }, { "(1 + t)/2", "x (1 - t^2)", "x^3 (1 - t^2)" }, { c0, c1 }, note }
#define SIGMOID(c, s) { { term_s, term_x_s, term_s_s }, { s, "x " s " (1 - " s ")", s " (1 - " s ")" }, { c, 0 }, NULL }

typedef enum family_name { ERF, TANH_GELU, SILU, QUICK, TANH, OF_Y, OF_X, EXP, INVERSE, ROOT, CIRCLE,
    STEP, SOFTSIGN, BELL, MISH, PRODUCT, POWER } family_name;

static const term_family term_families[] = {
    [ERF] = { { term_phi_sum, term_x_phi, term_phi }, { "Phi(x)", "x phi(x)", "phi(x)" }, { 0, 0 }, NULL },
    [TANH_GELU] = TANH_FORM(SQRT_2_OVER_PI, CUBIC, NULL),
    [SILU] = SIGMOID(1, "s(x)"),
    [QUICK] = SIGMOID(1.702, "s(1.702 x)"),
    [TANH] = { { term_one, term_tanh2, term_tanh }, { "1", "tanh(x)^2", "tanh(x)" }, { 0, 0 }, NULL },
    [OF_Y] = { { term_one, term_y, term_y2 }, { "1", "y", "y^2" }, { 0, 0 }, NULL },
    [OF_X] = { { term_one, term_x, term_x2 }, { "1", "x", "x^2" }, { 0, 0 }, NULL },
    [EXP] = { { term_exp, term_x_e, NULL }, { "exp(x)", "x exp(x)", NULL }, { 0, 0 }, NULL },
    [INVERSE] = { { term_inverse, term_inverse2, NULL }, { "1/x", "1/x^2", NULL }, { 0, 0 }, NULL },
    [ROOT] = { { term_root, NULL, NULL }, { "1/sqrt(x)", NULL, NULL }, { 0, 0 }, NULL },
    [CIRCLE] = { { term_cos, term_sin, NULL }, { "cos(x)", "sin(x)", NULL }, { 0, 0 }, NULL },
    [STEP] = { { term_step, term_below, NULL }, { "[x > 0]", "[x < 0]", NULL }, { 0, 0 }, NULL },
    [SOFTSIGN] = { { term_sign2, NULL, NULL }, { "1/(1 + |x|)^2", NULL, NULL }, { 0, 0 }, NULL },
    [BELL] = { { term_bell, NULL, NULL }, { "1/(1 + x^2)", NULL, NULL }, { 0, 0 }, NULL },
    [MISH] = { { term_mish, term_mish_inner, term_mish_outer }, { "t", "x s(x) (1 - t^2)", "x (1 - t^2)" }, { 0, 0 },
               NULL },
    [PRODUCT] = { { term_f, term_x_df, term_df }, { "f", "x f'", "f'" }, { 0, 0 }, NULL },
    [POWER] = { { term_r_root, term_r_square, NULL }, { "sqrt(r)", "r^2", NULL }, { 0, 0 }, NULL },
    { { term_sign, NULL, NULL }, { "1/(1 + |x|)", NULL, NULL }, { 0, 0 }, "a square lost" },
    { { term_bell_root, NULL, NULL }, { "1/sqrt(1 + x^2)", NULL, NULL }, { 0, 0 }, "a square root too many" },
    { { term_bell_minus, NULL, NULL }, { "1/(1 - x^2)", NULL, NULL }, { 0, 0 }, "a wrong sign of x^2" },
    { { term_erf, term_x_phi, term_x_exp }, { "(1 + erf(x))/2", "x phi(x)", "x exp(-x^2)" }, { 1, 0 },
      "erf(x) in place of erf(x / sqrt(2))" },
    { { term_erf, term_x_phi, NULL }, { "(1 + erf(x / 2))/2", "x phi(x)", NULL }, { 0.5, 0 },
      "erf(x / 2) in place of erf(x / sqrt(2))" },
    { { term_erf, term_x_phi, NULL }, { "(1 + erf(sqrt(2) x))/2", "x phi(x)", NULL }, { 1.4142135623730951, 0 },
      "erf(sqrt(2) x) in place of erf(x / sqrt(2))" },
    { { term_phi_sum, term_x_exp, term_x_phi }, { "Phi(x)", "x exp(-x^2)", "x phi(x)" }, { 0, 0 },
      "exp(-x^2) in place of exp(-x^2 / 2)" },
    { { term_phi_sum, term_x2_phi, NULL }, { "Phi(x)", "x^2 phi(x)", NULL }, { 0, 0 }, "x once too often" },
    { { term_phi_sum, term_x_grow, NULL }, { "Phi(x)", "x exp(x^2 / 2) / sqrt(2 pi)", NULL }, { 0, 0 },
      "a minus lost in the exponent of phi" },
    { { term_one, term_phi_sum, term_x_phi }, { "1", "Phi(x)", "x phi(x)" }, { 0, 0 },
      "1 - Phi(x) in place of Phi(x)" },
    { { term_s, term_x_s1, term_x_s2 }, { "s(x)", "x s(x)", "x s(x)^2" }, { 1, 0 },
      "another factor in place of s(x) (1 - s(x))" },
    { { term_s, term_x, term_x_s1 }, { "s(x)", "x", "x s(x)" }, { 1, 0 }, "a factor s(x) lost" },
    { { term_s, term_x_s1, term_x_s2 }, { "s(1.702 x)", "x s(1.702 x)", "x s(1.702 x)^2" }, { 1.702, 0 },
      "another factor in place of s(1.702 x) (1 - s(1.702 x))" },
    { { term_s_not, term_tanh_slope, NULL }, { "(1 - s(x))", "(1 - tanh(x)^2)", NULL }, { 0, 0 }, NULL },
    { { term_t, term_x_t, term_x2_t }, { "(1 + t)/2", "x (1 - t^2)", "x^2 (1 - t^2)" }, { SQRT_2_OVER_PI, CUBIC },
      "x in place of x^2 in the slope of the cubic term" },
    { { term_t, term_x_t1, term_x3_t1 }, { "(1 + t)/2", "x (1 - t)", "x^3 (1 - t)" }, { SQRT_2_OVER_PI, CUBIC },
      "1 - t in place of 1 - t^2" },
    { { term_t, term_x_t2, term_x3_t2 }, { "(1 + t)/2", "x (1 + t^2)", "x^3 (1 + t^2)" }, { SQRT_2_OVER_PI, CUBIC },
      "1 + t^2 in place of 1 - t^2" },
    TANH_FORM(SQRT_2_OVER_PI / 2, CUBIC, "1/sqrt(2 pi) in place of sqrt(2/pi) in the tanh form"),
    TANH_FORM(SQRT_2_PI, CUBIC, "sqrt(2 pi) in place of sqrt(2/pi) in the tanh form"),
    TANH_FORM(1 / SQRT_2_OVER_PI, CUBIC, "sqrt(pi/2) in place of sqrt(2/pi) in the tanh form"),
    TANH_FORM(0.6366197723675814, CUBIC, "2/pi in place of sqrt(2/pi) in the tanh form"),
    TANH_FORM(0.7071067811865476, CUBIC, "1/sqrt(2) in place of sqrt(2/pi) in the tanh form"),
    TANH_FORM(SQRT_2_OVER_PI, 0.44715, "0.44715 in place of 0.044715 in the tanh form"),
    TANH_FORM(SQRT_2_OVER_PI, 0.0044715, "0.0044715 in place of 0.044715 in the tanh form"),
    TANH_FORM(SQRT_2_OVER_PI, 0.04715, "0.04715 in place of 0.044715 in the tanh form"),
    TANH_FORM(SQRT_2_OVER_PI, 0.0, "the cubic term left out of the tanh form"),
};

enum { FAMILIES = sizeof term_families / sizeof *term_families };

/* A formula: a family and the factors of its terms. */
typedef struct formula {
    int family; /* -1: none */
    double factor[TERMS];
} formula;

/* ---- Functions known by their values ---- */

TERM(value_gelu, (x * erfc(-x / sqrt(2)) / 2))
TERM(value_gelu_tanh, (x * (1 + slope_t(x, (double[]){ SQRT_2_OVER_PI, CUBIC })) / 2))
TERM(value_silu, (x * slope_sigmoid(x)))
TERM(value_quick, (x * slope_sigmoid(1.702 * x)))
TERM(value_sigmoid, slope_sigmoid(x))
TERM(value_softplus, x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)))
TERM(value_relu, x > 0 ? x : 0)
TERM(value_square, (x * x))
TERM(value_inverse, 1 / x)
TERM(value_root, sqrt(x))
TERM(value_log, log(x))
TERM(value_softsign, x / (1 + fabs(x)))
TERM(value_atan, atan(x))
TERM(value_mish, (x * tanh(log1p(exp(x)))))

static const struct known {
    const char *name;
    term_fn *value;
    formula slope;
} known[] = {
    { "GELU in its erf form", value_gelu, { ERF, { 1, 1, 0 } } },
    { "GELU in its tanh form", value_gelu_tanh,
      { TANH_GELU, { 1, SQRT_2_OVER_PI / 2, SQRT_2_OVER_PI / 2 * 3 * CUBIC } } },
    { "SiLU", value_silu, { SILU, { 1, 1, 0 } } },
    { "x s(1.702 x)", value_quick, { QUICK, { 1, 1.702, 0 } } },
    { "tanh", term_tanh, { OF_Y, { 1, 0, -1 } } },
    { "the sigmoid", value_sigmoid, { OF_Y, { 0, 1, -1 } } },
    { "softplus", value_softplus, { SILU, { 1, 0, 0 } } },
    { "relu", value_relu, { STEP, { 1, 0, 0 } } },
    { "exp", term_exp, { OF_Y, { 0, 1, 0 } } },
    { "sin", term_sin, { CIRCLE, { 1, 0, 0 } } },
    { "cos", term_cos, { CIRCLE, { 0, -1, 0 } } },
    { "the square", value_square, { OF_X, { 0, 2, 0 } } },
    { "1/x", value_inverse, { INVERSE, { 0, -1, 0 } } },
    { "the square root", value_root, { ROOT, { 0.5, 0, 0 } } },
    { "log", value_log, { INVERSE, { 1, 0, 0 } } },
    { "softsign", value_softsign, { SOFTSIGN, { 1, 0, 0 } } },
    { "atan", value_atan, { BELL, { 1, 0, 0 } } },
    { "mish", value_mish, { MISH, { 1, 1, 0 } } },
};

enum { KNOWN = sizeof known / sizeof *known };

/* ---- Fitting a formula ---- */

/* The points: x, y and a slope; what a factor of the function multiplies is divided out. */
typedef struct points {
    int64_t count;
    double *x, *y, *slope, *right; /* right: the slope that differences give */
    double largest, tolerance; /* of slope */
    double noise; /* of right */
} points;

static double slope_term(const term_family *f, int term, const points *p, int64_t k)
{
    return f->term[term] == NULL ? 0 : f->term[term](p->x[k], p->y[k], p->right[k], f->c);
}

static double slope_at(const formula *of, const points *p, int64_t k)
{
    double sum = 0;
    for (int t = 0; t < TERMS; t++)
        sum += of->factor[t] == 0 ? 0 : of->factor[t] * slope_term(&term_families[of->family], t, p, k);
    return sum;
}

/* The largest difference from the slope. */
static double slope_misfit(const formula *of, const points *p)
{
    double most = 0;
    for (int64_t k = 0; k < p->count; k++) {
        double off = fabs(slope_at(of, p, k) - p->slope[k]);
        most = isnan(off) ? (double)INFINITY : fmax(most, off);
    }
    return most;
}

/* Least squares for the terms in the set (bits), by Gram-Schmidt on at most three. False: they depend on each other. */
static bool slope_solve(const points *p, unsigned set, formula *of)
{
    double gram[TERMS][TERMS + 1] = { { 0 } };
    for (int s = 0; s < TERMS; s++)
        for (int64_t k = 0; k < p->count; k++) {
            double value = (set >> s & 1u) == 0 ? 0 : slope_term(&term_families[of->family], s, p, k);
            for (int t = 0; t < TERMS; t++)
                gram[s][t] += (set >> t & 1u) == 0 ? 0 : value * slope_term(&term_families[of->family], t, p, k);
            gram[s][TERMS] += value * p->slope[k];
        }
    for (int s = 0; s < TERMS; s++) {
        if ((set >> s & 1u) == 0)
            continue;
        if (!(gram[s][s] > 1e-9 * (double)p->count * 1e-3))
            return false;
        for (int other = 0; other < TERMS; other++) {
            double ratio = other == s ? 0 : gram[other][s] / gram[s][s];
            for (int t = 0; t <= TERMS; t++)
                gram[other][t] -= ratio * gram[s][t];
        }
    }
    for (int s = 0; s < TERMS; s++)
        of->factor[s] = (set >> s & 1u) == 0 ? 0 : gram[s][TERMS] / gram[s][s];
    return true;
}

/* The formula with the fewest terms, none made of the right slope, that gives the slope. */
static formula slope_formula(const points *p)
{
    static const unsigned sets[] = { 1, 2, 4, 3, 5, 6, 7 };
    for (int terms = 1; terms <= TERMS; terms++)
        for (int f = 0; f < FAMILIES; f++)
            for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
                formula try = { .family = f };
                int size = (int)((sets[s] & 1u) + (sets[s] >> 1 & 1u) + (sets[s] >> 2 & 1u));
                if (size == terms && f != PRODUCT && f != POWER && p->count >= terms + 3 &&
                    slope_solve(p, sets[s], &try) && slope_misfit(&try, p) <= p->tolerance)
                    return try;
            }
    return (formula){ .family = -1 };
}

/* analytic in the terms of y = x f(x), at most two, or as a power of the right slope. Both have that one's noise. */
static formula slope_of_right(const points *p)
{
    static const unsigned sets[] = { 1, 2, 4, 3, 5, 6 };
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++)
        for (int family = PRODUCT; family <= POWER; family++) {
            formula try = { .family = family };
            bool allowed = family == PRODUCT || sets[s] <= 2;
            if (allowed && p->count >= 6 && slope_solve(p, sets[s], &try) &&
                slope_misfit(&try, p) <= p->noise &&
                (family == PRODUCT || fabs(try.factor[sets[s] - 1] - 1) < 1e-4))
                return try;
        }
    return (formula){ .family = -1 };
}

static const struct known *slope_known(const points *p)
{
    for (int k = 0; k < KNOWN; k++) {
        bool same = true;
        for (int64_t i = 0; i < p->count && same; i++) {
            double value = known[k].value(p->x[i], p->y[i], 0, NULL);
            same = fabs(value - p->y[i]) <= 4e-6 * fmax(fabs(value), 1e-2);
        }
        if (same)
            return &known[k];
    }
    return NULL;
}

/* ---- Words ---- */

/* "Phi(x) + 2.50663 x phi(x)" */
static void slope_text(const formula *of, char text[ROOM])
{
    size_t used = 0;
    ag_snprintf(text, ROOM, "0");
    for (int t = 0; t < TERMS; t++) {
        double factor = of->factor[t], size = fabs(factor);
        if (factor == 0)
            continue;
        const char *term = term_families[of->family].text[t], *sign = factor < 0 ? "-" : used == 0 ? "" : "+";
        bool alone = strcmp(term, "1") == 0, one = fabs(size - 1) < 1e-5;
        char number[30] = "";
        if (alone || !one)
            ag_snprintf(number, sizeof number, "%.6g%s", size, alone ? "" : " ");
        used += (size_t)ag_snprintf(text + used, ROOM - used, "%s%s%s%s%s", used == 0 ? "" : " ", sign,
                                 used == 0 ? "" : " ", number, alone ? "" : term);
    }
}

/* " (sqrt(2 pi))": the name of a ratio of factors; "": it has none. */
static const char *slope_ratio_name(double ratio)
{
    static const struct ratio {
        double value;
        const char *name;
    } names[] = { { SQRT_2_PI, ", sqrt(2 pi)" }, { 1 / SQRT_2_PI, ", 1/sqrt(2 pi)" },
                  { SQRT_2_OVER_PI, ", sqrt(2/pi)" }, { 1 / SQRT_2_OVER_PI, ", sqrt(pi/2)" },
                  { 1.0 / 3, ", 1/3" }, { 0.7071067811865476, ", 1/sqrt(2)" },
                  { 1.4142135623730951, ", sqrt(2)" } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (fabs(ratio - names[i].value) < 2e-5 * names[i].value)
            return names[i].name;
    return "";
}

/* "the term x phi(x) is missing": how the terms of one family differ. */
static void say_terms(ag_evidence *e, const formula *analytic, const formula *right)
{
    const char *before = ": ";
    for (int t = 0; t < TERMS; t++) {
        double a = analytic->factor[t], r = right->factor[t];
        const char *term = term_families[right->family].text[t];
        if (fabs(a - r) <= 1e-4 * fabs(r))
            continue;
        ag_say(e, "%sthe term %s ", before, term);
        if (a == 0)
            ag_say(e, "is missing, as when a factor is taken as a constant (detached)");
        else if (r == 0)
            ag_say(e, "is too much");
        else if (fabs(a + r) <= 1e-4 * fabs(r))
            ag_say(e, "has the wrong sign");
        else
            ag_say(e, "is %.6g times the right one%s", a / r, slope_ratio_name(a / r));
        before = "; ";
    }
}

static bool slope_is_same(const formula *a, const formula *b)
{
    for (int t = 0; t < TERMS; t++)
        if (fabs(a->factor[t] - b->factor[t]) > 1e-4 * fmax(fabs(a->factor[t]), fabs(b->factor[t])))
            return false;
    return true;
}

static void say_slopes(ag_evidence *e, const formula *analytic, const formula *right, const struct known *function)
{
    char is[ROOM], meant[ROOM];
    slope_text(analytic, is);
    slope_text(right, meant);
    ag_because(e, AG_CAUSE_SLOPE, "The slope of another function: ");
    if (function != NULL)
        ag_say(e, "forward is %s with the slope %s, analytic is gy times %s", function->name, meant, is);
    else if (analytic->family == POWER)
        ag_say(e, "with r, the right slope, analytic is gy times %s: a square is %s", is,
               analytic->factor[0] != 0 ? "lost" : "too many");
    else if (right->family == PRODUCT)
        ag_say(e, "of y = x f(x) the slope is f + x f', analytic is gy times %s", is);
    else
        ag_say(e, "the right slope is %s, analytic is gy times %s", meant, is);
    bool outer = (analytic->family == OF_X && right->family == OF_Y) ||
                 (analytic->family == OF_Y && right->family == OF_X);
    const char *note = term_families[analytic->family].note;
    if (analytic->family == right->family)
        say_terms(e, analytic, right);
    else if (outer && slope_is_same(analytic, right))
        ag_say(e, ": %s is used where %s is meant", analytic->family == OF_X ? "x" : "y",
               analytic->family == OF_X ? "y" : "x");
    else if (note != NULL)
        ag_say(e, ": %s", note);
    formula itself = { OF_Y, { 0, 1, 0 } };
    if (analytic->family == OF_Y && right->family != OF_Y && slope_is_same(analytic, &itself))
        ag_say(e, ", the function itself");
    for (int k = 0; k < KNOWN && !slope_is_same(analytic, &itself); k++)
        if (right->family != analytic->family && known[k].slope.family == analytic->family &&
            slope_is_same(analytic, &known[k].slope)) {
            ag_say(e, ", the slope of %s", known[k].name);
            break;
        }
    ag_say(e, ".");
}

/* ---- The hypothesis ---- */

/* Fills in the points of the slope `slope`, all divided by another operand; -1: by nothing; the number of inputs: by
 * the other element on which the output depends. False: its shape is another, or it is 0 somewhere. */
static bool slope_points(const ag_evidence *e, const ag_slopes *s, const double *slope, int divisor, points *p)
{
    bool partner = divisor == e->check->input_count;
    const ag_array *by = divisor < 0 || partner ? NULL : &e->check->input[divisor].x;
    p->count = 0;
    p->largest = 0;
    if (by != NULL && (by->value == NULL || e->check->input[divisor].numel != e->m))
        return false;
    for (int64_t j = 0; j < e->m; j++) {
        double v = partner ? slope_partner(e, s, j) : by == NULL ? 1 : by->value[j];
        if (s->at[j] < 0)
            continue;
        if (!(fabs(v) >= 1e-3))
            return false;
        p->x[p->count] = e->input->x.value[s->at[j]];
        p->y[p->count] = e->check->y[j] / v;
        p->right[p->count] = s->r[j] / v;
        p->slope[p->count++] = slope[j] / v;
        p->largest = fmax(p->largest, fabs(slope[j] / v));
    }
    return p->count >= FEWEST;
}

static bool slope_is_another(ag_evidence *e, const ag_slopes *s, int divisor, points *p)
{
    if (!slope_points(e, s, s->r, divisor, p))
        return false;
    const struct known *function = slope_known(p);
    double noise = function == NULL || e->input->doubt == NULL ? 0 : 4 * ag_largest(e->input->doubt, e->n);
    p->tolerance = fmax(noise, e->entry_tolerance) * p->largest / fmax(ag_largest(s->r, e->m), 1e-300);
    formula right = function != NULL ? function->slope : slope_formula(p);
    if (right.family >= 0 && slope_misfit(&right, p) > p->tolerance)
        return false;
    p->noise = 4 * e->entry_tolerance * p->largest / fmax(ag_largest(s->r, e->m), 1e-300);
    slope_points(e, s, s->a, divisor, p);
    p->tolerance = 8 * e->exact * p->largest;
    p->noise = fmax(p->noise, p->tolerance);
    formula analytic = right.family >= 0 ? slope_formula(p) : (formula){ .family = -1 };
    if (analytic.family < 0) { /* in terms of whatever function it is */
        right = (formula){ PRODUCT, { 1, 1, 0 } };
        function = NULL;
        analytic = slope_of_right(p);
        p->tolerance = p->noise;
    }
    if (analytic.family < 0 || slope_misfit(&right, p) <= p->tolerance)
        return false;
    say_slopes(e, &analytic, &right, function);
    return true;
}

/* c, if it is a small integer, or one over such a number; else 0. */
static double slope_simple(double c)
{
    for (int k = 1; k <= 4; k++)
        for (int over = 0; over < 2; over++) {
            double simple = over == 1 ? 1.0 / k : k;
            if (fabs(fabs(c) - simple) < 1e-5)
                return c < 0 ? -simple : simple;
        }
    return 0;
}

/* What a factor of entry (i, j) is a function of. source: -1, the element itself; then the inputs and the outputs, at
 * the output's index; then the elements on which the output depends, in turn. NaN: there is none. */
static double slope_source(const ag_evidence *e, int source, int64_t i, int64_t j)
{
    const ag_check *k = e->check;
    int o = 0, outputs = source - k->input_count, wanted = outputs - k->output_count;
    while (j >= k->output[o].first + k->output[o].numel)
        o++;
    int64_t at = j - k->output[o].first, numel = k->output[o].numel;
    if (source < 0)
        return e->input->x.value[i];
    if (outputs < 0)
        return k->input[source].x.value != NULL && k->input[source].numel == numel ? k->input[source].x.value[at]
                                                                                  : (double)NAN;
    if (wanted < 0)
        return k->output[outputs].numel == numel ? k->y[k->output[outputs].first + at] : (double)NAN;
    for (int64_t other = 0; other < e->n; other++)
        if (fabs(e->right_entry[other * e->m + j]) > e->entry_tolerance && wanted-- == 0)
            return e->input->x.value[other];
    return (double)NAN;
}

/* A factor of the slope: c times a term of a source. */
typedef struct slope_factor {
    const term_family *family;
    int term, source;
    bool left_out; /* right = factor * analytic; else analytic = factor * right */
    double c;
} slope_factor;

/* Whether it explains all wrong entries. The largest of them, number `largest`, gives c. */
static bool slope_factor_fits(const ag_evidence *e, slope_factor *f, int64_t largest)
{
    int64_t entries = 0;
    for (int64_t k = -1; k < e->n * e->m; k++) {
        int64_t at = k < 0 ? largest : k, i = at / e->m, j = at % e->m;
        double a = e->entry[at], r = e->right_entry[at];
        if (fabs(a - r) <= e->entry_tolerance)
            continue;
        double t = f->family->term[f->term](slope_source(e, f->source, i, j), e->check->y[j], r, f->family->c);
        double from = t * (f->left_out ? a : r), to = f->left_out ? r : a;
        f->c = k < 0 ? slope_simple(to / from) : f->c;
        if (f->c == 0 || !(fabs(f->c * from - to) <= 4 * e->entry_tolerance * fmax(1, fabs(f->c * t))))
            return false;
        entries += k >= 0;
    }
    return entries >= FEWEST;
}

static void say_factor(ag_evidence *e, const slope_factor *f, int64_t largest)
{
    char number[30] = "";
    const ag_check *k = e->check;
    if (f->c != 1)
        ag_snprintf(number, sizeof number, "%.6g times ", f->c);
    ag_because(e, AG_CAUSE_SLOPE, "A factor of the slope %s: analytic %s %s%s is the right gradient",
               f->left_out ? "is left out" : "is too many", f->left_out ? "times" : "divided by", number,
               f->family->text[f->term]);
    if (f->source >= 0)
        ag_say(e, " on the wrong elements, x being ");
    if (f->source >= k->input_count + k->output_count) {
        int64_t i = largest / e->m, other = 0;
        while (e->input->x.value[other] != slope_source(e, f->source, i, largest % e->m))
            other++;
        ag_say(e, "the element at %s for that ", ag_evidence_index(e, other));
        ag_say(e, "at %s", ag_evidence_index(e, i));
    } else if (f->source >= k->input_count) {
        ag_say(e, "output %d", f->source - k->input_count);
    } else if (f->source >= 0) {
        ag_say(e, "%s", ag_operand_text(e, f->source));
    }
    ag_say(e, ".");
}

bool ag_is_slope_of_another(ag_evidence *e)
{
    ag_slopes s;
    if ((!ag_find_slopes(e, &s, false) && !ag_find_slopes(e, &s, true)) || s.count < FEWEST)
        return false;
    points p = { .x = e->slope + 2 * e->m, .y = e->slope + 3 * e->m, .slope = e->slope + 4 * e->m,
                 .right = e->guess_entry };
    for (int divisor = -1; divisor <= e->check->input_count; divisor++)
        if (divisor != e->number && slope_is_another(e, &s, divisor, &p))
            return true;
    return false;
}

/* The right slope is c times a term times analytic, or the other way round; terms of the element itself first. */
bool ag_is_slope_off_by_factor(ag_evidence *e)
{
    enum { DEPENDED_ON = 4 };
    int sources = e->check->input_count + e->check->output_count + DEPENDED_ON;
    int64_t largest = -1;
    for (int64_t k = 0; e->right_entry != NULL && k < e->n * e->m; k++)
        if (fabs(e->entry[k] - e->right_entry[k]) > e->entry_tolerance &&
            (largest < 0 || fabs(e->right_entry[k]) > fabs(e->right_entry[largest])))
            largest = k;
    for (int k = 0; largest >= 0 && k < 2 * FAMILIES * TERMS * (1 + sources); k++) {
        slope_factor f = { &term_families[k / 2 / TERMS % FAMILIES], k / 2 % TERMS, k / 2 / TERMS / FAMILIES - 1,
                           k % 2 == 0, 0 };
        if (f.family->term[f.term] == NULL || f.family->term[f.term] == term_one || f.source == e->number ||
            f.family == &term_families[PRODUCT] || f.family == &term_families[POWER] ||
            f.family == &term_families[STEP] || /* signs of a few elements may agree by chance */
            !slope_factor_fits(e, &f, largest))
            continue;
        say_factor(e, &f, largest);
        return true;
    }
    return false;
}
