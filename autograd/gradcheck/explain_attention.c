/* SPDX-License-Identifier: MIT
 *
 * explain_attention.c - attention: y = P v, P = softmax(s q k^T + mask + bias) in each row, in each of H heads. With
 * dP = gy v^T, delta = the sum of P dP over a row, dS = P (dP - delta)
 *     gq = s dS k,    gk = s dS^T q,    gv = P^T gy,    gbias = dS
 * q is [H,T,D], k [H,S,D], v [H,S,E], y [H,T,E]; a bias, if there is one, is [T,S] or [H,T,S]. The function is
 * recognised by its values. Then each gradient is computed with one of its parts wrong.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

enum { MOST_SCORES = 1 << 14, NO_BIAS = -1 };

typedef struct attention {
    int64_t H, T, S, D, E;
    const double *q, *k, *v, *bias; /* bias: NULL, none */
    int of[4];                      /* the numbers of these inputs */
    bool causal, shared;            /* shared: one bias for all heads */
    double scale;
    double *P, *dP, *dS, *other;    /* [H,T,S]; other: y, [H,T,E], or scratch */
} attention;

/* ---- Recognising it ---- */

/* The extents in front of the last two, as a product; -1: there are no two, or there are no values. */
static int64_t attention_heads(const ag_array *x)
{
    int64_t heads = 1;
    for (int d = 0; d < x->ndim - 2; d++)
        heads *= x->shape[d];
    return x->ndim < 2 || x->value == NULL ? -1 : heads;
}

static int64_t attention_extent(const ag_array *x, int from_end)
{
    return x->shape[x->ndim - from_end];
}

/* Whether the shapes of three inputs, a bias and the output are those of attention. */
static bool attention_shapes(attention *a, const ag_evidence *e)
{
    const ag_array *q = &e->check->input[a->of[0]].x, *k = &e->check->input[a->of[1]].x;
    const ag_array *v = &e->check->input[a->of[2]].x, *y = &e->check->output[0].y;
    const ag_array *bias = a->of[3] == NO_BIAS ? NULL : &e->check->input[a->of[3]].x;
    a->H = attention_heads(q);
    if (a->H < 1 || attention_heads(k) != a->H || attention_heads(v) != a->H || y->ndim < 2 || y->ndim != q->ndim ||
        e->m != a->H * attention_extent(q, 2) * attention_extent(v, 1))
        return false;
    a->T = attention_extent(q, 2);
    a->S = attention_extent(k, 2);
    a->D = attention_extent(q, 1);
    a->E = attention_extent(v, 1);
    a->q = q->value;
    a->k = k->value;
    a->v = v->value;
    a->bias = bias == NULL ? NULL : bias->value;
    if (attention_extent(k, 1) != a->D || attention_extent(v, 2) != a->S || a->S < 2 || a->T < 2 ||
        a->H * a->T * a->S > MOST_SCORES || attention_extent(y, 2) != a->T || attention_extent(y, 1) != a->E)
        return false;
    if (bias == NULL)
        return true;
    a->shared = attention_heads(bias) == 1;
    return bias->value != NULL && bias->ndim >= 2 && attention_extent(bias, 2) == a->T &&
           attention_extent(bias, 1) == a->S && (a->shared || attention_heads(bias) == a->H);
}

/* Row (h, i) of P: keys at most `last` are seen. */
static void attention_row(const attention *a, int64_t h, int64_t i, double scale, bool bias, int64_t last, double *P)
{
    double most = -(double)INFINITY, sum = 0;
    for (int64_t j = 0; j < a->S; j++) {
        double score = bias && a->bias != NULL ? a->bias[((a->shared ? 0 : h * a->T) + i) * a->S + j] : 0;
        for (int64_t d = 0; d < a->D; d++)
            score += scale * a->q[(h * a->T + i) * a->D + d] * a->k[(h * a->S + j) * a->D + d];
        P[j] = score;
        most = j <= last ? fmax(most, score) : most;
    }
    for (int64_t j = 0; j < a->S; j++)
        sum += P[j] = j <= last ? exp(P[j] - most) : 0;
    for (int64_t j = 0; j < a->S && sum > 0; j++)
        P[j] /= sum;
}

/* The last key that query i sees. */
static int64_t attention_last(const attention *a, int64_t i)
{
    return a->causal ? i + a->S - a->T : a->S - 1;
}

static void attention_probabilities(const attention *a, double scale, bool bias, int64_t further, bool causal)
{
    for (int64_t h = 0; h < a->H; h++)
        for (int64_t i = 0; i < a->T; i++)
            attention_row(a, h, i, scale, bias, causal ? attention_last(a, i) + further : a->S - 1,
                          a->P + (h * a->T + i) * a->S);
}

/* out[h,r,c] = factor * the sum over s of left[h,r,s] right[h,s,c]; turned: of left[h,s,r]. right has `rows` rows. */
static void attention_product(const attention *a, bool turned, const double *left, const double *right, int64_t columns,
                              double factor, double *out)
{
    int64_t rows = turned ? a->S : a->T, inner = turned ? a->T : a->S;
    for (int64_t h = 0; h < a->H; h++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++) {
                double sum = 0;
                for (int64_t s = 0; s < inner; s++)
                    sum += left[h * a->T * a->S + (turned ? s * a->S + r : r * a->S + s)] *
                           right[(h * inner + s) * columns + c];
                out[(h * rows + r) * columns + c] = factor * sum;
            }
}

/* Whether P v is the output, for a known scale and mask. */
static bool attention_is_forward(attention *a, const ag_evidence *e)
{
    const double scale[] = { 1 / sqrt((double)a->D), 1, 1 / (double)a->D }, *y = e->check->y;
    double off = fmax(1e-9, 20 * e->exact) * ag_largest(y, e->m);
    for (int form = 0; form < 6; form++) {
        a->scale = scale[form / 2];
        a->causal = form % 2 == 1;
        attention_probabilities(a, a->scale, true, 0, true);
        attention_product(a, false, a->P, a->v, a->E, 1, a->other);
        if (ag_are_near(a->other, y, e->m, off))
            return true;
    }
    return false;
}

/* Tries all inputs as q, k, v and bias. False: the function is no attention. */
static bool attention_find(attention *a, const ag_evidence *e)
{
    int count = e->check->input_count;
    for (int code = 0; code < count * count * count * (count + 1); code++) {
        int q = code % count, k = code / count % count, v = code / count / count % count;
        int bias = code / count / count / count - 1;
        if (q == k || q == v || k == v || bias == q || bias == k || bias == v)
            continue;
        *a = (attention){ .of = { q, k, v, bias }, .P = a->P, .dP = a->dP, .dS = a->dS, .other = a->other };
        if (attention_shapes(a, e) && attention_is_forward(a, e))
            return true;
    }
    return false;
}

/* ---- One part wrong ---- */

typedef enum attention_fault {
    DELTA, DELTA_OF_P, DELTA_OF_DP, DELTA_OF_COLUMNS, DELTA_OF_ALL, DELTA_OWN, NO_P, DP_TRANSPOSED, DP_OF_OWN_ROW,
    DS_TRANSPOSED, OPERAND_OWN, P_FOR_DS, V_OF_DP, V_OF_DS, V_TRANSPOSED, UNSCALED, NO_BIAS_AGAIN, NO_MASK, MASK_MORE,
    MASK_LESS, ATTENTION_FAULTS
} attention_fault;

static const struct attention_words {
    ag_cause cause;
    const char *text;
} attention_words[ATTENTION_FAULTS] = {
    [DELTA_OF_P] = { AG_CAUSE_ROW_SUM_MISSING, "the row sum delta in dS = P (dP - delta) is sum(P P), right is "
                                               "sum(P dP)" },
    [DELTA_OF_DP] = { AG_CAUSE_ROW_SUM_MISSING, "the row sum delta in dS = P (dP - delta) is sum(dP), right is "
                                                "sum(P dP)" },
    [DELTA_OF_COLUMNS] = { AG_CAUSE_ROW_SUM_MISSING, "delta in dS = P (dP - delta) is summed over the queries, right "
                                                     "is over the keys" },
    [DELTA_OF_ALL] = { AG_CAUSE_ROW_SUM_MISSING, "delta in dS = P (dP - delta) is summed over all queries and keys, "
                                                 "right is over the keys" },
    [DELTA_OWN] = { AG_CAUSE_ROW_SUM_MISSING, "dS is P (1 - P) dP, the diagonal of softmax's Jacobian; right is "
                                              "P (dP - delta)" },
    [NO_P] = { AG_CAUSE_OPERAND, "the factor P is left out of dS = P (dP - delta)" },
    [DP_TRANSPOSED] = { AG_CAUSE_TRANSPOSED, "dP = gy v^T is transposed" },
    [DP_OF_OWN_ROW] = { AG_CAUSE_WRONG_INDEX, "dP = gy v^T reads v at the index of the query, right is that of the "
                                              "key" },
    [DS_TRANSPOSED] = { AG_CAUSE_TRANSPOSED, "dS is transposed in the product" },
    [OPERAND_OWN] = { AG_CAUSE_OPERAND, "dS is multiplied by the input itself, right is by the other of query and "
                                        "key" },
    [P_FOR_DS] = { AG_CAUSE_OPERAND, "P stands in place of dS in the product" },
    [V_OF_DP] = { AG_CAUSE_OPERAND, "dP stands in place of P in gv = P^T gy" },
    [V_OF_DS] = { AG_CAUSE_OPERAND, "dS stands in place of P in gv = P^T gy" },
    [V_TRANSPOSED] = { AG_CAUSE_TRANSPOSED, "P is not transposed in gv = P^T gy" },
    [UNSCALED] = { AG_CAUSE_OPERAND, "P is computed again without the scale" },
    [NO_BIAS_AGAIN] = { AG_CAUSE_OPERAND, "P is computed again without the bias" },
    [NO_MASK] = { AG_CAUSE_MASK_LEAK, "P is computed again without the mask" },
    [MASK_MORE] = { AG_CAUSE_MASK_LEAK, "P is computed again with a mask that lets each query see one key more" },
    [MASK_LESS] = { AG_CAUSE_SKIPPED, "P is computed again with a mask that lets each query see one key less" },
};

/* delta of row (h, i), for key j. */
static double attention_delta(const attention *a, attention_fault f, int64_t h, int64_t i, int64_t j)
{
    const double *P = a->P + h * a->T * a->S, *dP = a->dP + h * a->T * a->S;
    bool column = f == DELTA_OF_COLUMNS, all = f == DELTA_OF_ALL;
    double sum = 0;
    for (int64_t r = column || all ? 0 : i; r < (column || all ? a->T : i + 1); r++)
        for (int64_t s = column ? j : 0; s < (column ? j + 1 : a->S); s++)
            sum += f == DELTA_OF_DP ? dP[r * a->S + s] : P[r * a->S + s] * (f == DELTA_OF_P ? P : dP)[r * a->S + s];
    return f == DELTA_OWN ? P[i * a->S + j] * dP[i * a->S + j] : sum;
}

/* dS, with a factor of delta. */
static void attention_scores(const attention *a, attention_fault f, const double *gy, double of_delta)
{
    for (int64_t h = 0; h < a->H; h++)
        for (int64_t i = 0; i < a->T; i++)
            for (int64_t j = 0; j < a->S; j++) {
                int64_t row = f == DP_TRANSPOSED ? j : i, key = f == DP_TRANSPOSED ? i : f == DP_OF_OWN_ROW ? i : j;
                double sum = 0;
                for (int64_t c = 0; c < a->E; c++)
                    sum += gy[(h * a->T + row) * a->E + c] * a->v[(h * a->S + key) * a->E + c];
                a->dP[(h * a->T + i) * a->S + j] = sum;
            }
    for (int64_t h = 0; h < a->H; h++)
        for (int64_t i = 0; i < a->T; i++)
            for (int64_t j = 0; j < a->S; j++) {
                int64_t at = (h * a->T + i) * a->S + j;
                a->dS[at] = (f == NO_P ? 1 : a->P[at]) * (a->dP[at] - of_delta * attention_delta(a, f, h, i, j));
            }
}

/* guess = the gradient of input number `which` of q, k, v, bias. */
static void attention_guess(const attention *a, ag_evidence *e, attention_fault f, int which, double of_delta)
{
    const double *gy = e->check->cotangent, *left = f == P_FOR_DS ? a->P : a->dS;
    bool again = f >= UNSCALED;
    if (again)
        attention_probabilities(a, f == UNSCALED ? 1 : a->scale, f != NO_BIAS_AGAIN,
                                f == MASK_MORE ? 1 : f == MASK_LESS ? -1 : 0, f != NO_MASK);
    attention_scores(a, f, gy, of_delta);
    if (which < 2) {
        bool own = f == OPERAND_OWN, turned = (which == 1) != (f == DS_TRANSPOSED);
        attention_product(a, turned, left, (which == 0) != own ? a->k : a->q, a->D, a->scale, e->guess);
    } else if (which == 2) {
        attention_product(a, f != V_TRANSPOSED, f == V_OF_DP ? a->dP : f == V_OF_DS ? a->dS : a->P, gy, a->E, 1,
                          e->guess);
    } else {
        memset(e->guess, 0, (size_t)e->n * sizeof *e->guess);
        for (int64_t k = 0; k < a->H * a->T * a->S; k++)
            e->guess[k % e->n] += a->dS[k];
    }
    if (again)
        attention_probabilities(a, a->scale, true, 0, true);
}

/* analytic is right with another multiple of delta. */
static bool attention_has_delta_scaled(const attention *a, ag_evidence *e, int which)
{
    double product = 0, square = 0;
    attention_guess(a, e, DELTA, which, 0);
    memcpy(e->basis, e->guess, (size_t)e->n * sizeof *e->basis);
    attention_guess(a, e, DELTA, which, 1);
    for (int64_t i = 0; i < e->n; i++) {
        double part = e->guess[i] - e->basis[i];
        product += part * (e->analytic[i] - e->basis[i]);
        square += part * part;
    }
    double factor = square > 0 ? product / square : 1;
    attention_guess(a, e, DELTA, which, factor);
    if (!ag_fits(e))
        return false;
    ag_because(e, AG_CAUSE_ROW_SUM_MISSING, "The function is attention: ");
    if (fabs(factor) < 1e-4)
        ag_say(e, "the row sum delta is missing in dS = P (dP - delta), delta = sum(P dP) = sum(gy y).");
    else
        ag_say(e, "the row sum delta = sum(P dP) in dS = P (dP - delta) is %.4g times the right one.", factor);
    return true;
}

static bool attention_explain(const attention *a, ag_evidence *e, int which)
{
    attention_guess(a, e, DELTA, which, 1);
    if (!ag_are_near(e->guess, e->right, e->n, e->tolerance + fmax(1e-6, 20 * e->exact) * e->right_max))
        return false; /* it is not read as forward does */
    if (which != 2 && attention_has_delta_scaled(a, e, which))
        return true;
    for (attention_fault f = DELTA_OF_P; f < ATTENTION_FAULTS; f++) {
        bool of_v = f >= V_OF_DP && f <= V_TRANSPOSED, of_any = f >= UNSCALED;
        bool square = f == DP_TRANSPOSED || f == DP_OF_OWN_ROW || f == DS_TRANSPOSED || f == OPERAND_OWN ||
                      f == V_TRANSPOSED;
        if ((!of_any && of_v != (which == 2)) || (square && a->T != a->S) ||
            (which == 3 && f >= DS_TRANSPOSED && f <= P_FOR_DS) || (f >= NO_MASK && !a->causal) ||
            (f == NO_BIAS_AGAIN && a->bias == NULL) || (f == UNSCALED && a->scale == 1))
            continue;
        attention_guess(a, e, f, which, 1);
        if (ag_fits(e))
            return ag_because(e, attention_words[f].cause, "The function is attention: %s.", attention_words[f].text);
    }
    return false;
}

bool ag_is_attention_wrong(ag_evidence *e)
{
    ag_check *k = e->check;
    attention a = { 0 };
    bool found = false;
    if (k->output_count != 1 || k->input_count < 3 || k->input_count > 4)
        return false;
    const size_t scores = MOST_SCORES, bytes = (3 * scores + (size_t)e->m) * sizeof(double);
    double *memory = ag_alloc(k->ctx, bytes);
    if (memory == NULL)
        return false;
    a.P = memory;
    a.dP = a.P + scores;
    a.dS = a.dP + scores;
    a.other = a.dS + scores;
    if (attention_find(&a, e))
        for (int which = 0; which < 4 && !found; which++)
            found = a.of[which] == e->number && attention_explain(&a, e, which);
    ag_free(k->ctx, memory, bytes);
    return found;
}
