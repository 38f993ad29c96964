/* SPDX-License-Identifier: MIT
 *
 * sampling.c - see sampling.h.
 */
#include "examples/shared/sampling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sampling_in_range(const char *program, const sampling *how)
{
    if (how->top_p > 0 && how->top_p <= 1 && how->min_p <= 1 && (how->repetition == 0 || how->repetition >= 1))
        return true;
    if (!(how->top_p > 0 && how->top_p <= 1))
        ag_fprintf(stderr, "%s: --top-p is %g, must be above 0 and at most 1\n", program, how->top_p);
    else if (how->min_p > 1)
        ag_fprintf(stderr, "%s: --min-p is %g, must be at most 1\n", program, how->min_p);
    else
        ag_fprintf(stderr, "%s: --repetition is %g, must be at least 1\n", program, how->repetition);
    return false;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static double weight(double logit, double best, double temperature)
{
    return exp((logit - best) / temperature);
}

/* The tokens that may be drawn: every one above the logit `least`, and the first `ties` of those equal to it. */
typedef struct kept {
    double least;
    int64_t ties;
} kept;

/* sorted[V] is the logits in descending order. */
static kept keep(const double *sorted, int64_t V, const sampling *how)
{
    /* Rounding of p and of the sums does not decide: three of ten equal tokens reach 0.3. */
    static const double slack = 1e-12;
    int64_t count = how->top_k > 0 && how->top_k < V ? how->top_k : V;
    if (how->top_p > 0 && how->top_p < 1) {
        double total = 0, sum = 0;
        for (int64_t i = 0; i < count; i++)
            total += weight(sorted[i], sorted[0], how->temperature);
        for (int64_t i = 0; i < count; i++) {
            sum += weight(sorted[i], sorted[0], how->temperature);
            if (sum >= how->top_p * total * (1 - slack))
                count = i + 1;
        }
    }
    while (count > 1 && weight(sorted[count - 1], sorted[0], how->temperature) < how->min_p)
        count--;
    kept k = { .least = sorted[count - 1] };
    while (k.ties < count && sorted[count - 1 - k.ties] == k.least)
        k.ties++;
    return k;
}

static int64_t likeliest(const double *logit, int64_t V)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        if (logit[v] > logit[best])
            best = v;
    return best;
}

/* Moves the tokens that may not be drawn to -inf. sorted[V] is scratch memory. */
static void forbid(double *logit, double *sorted, int64_t V, const sampling *how)
{
    memcpy(sorted, logit, (size_t)V * sizeof *sorted);
    qsort(sorted, (size_t)V, sizeof *sorted, descending);
    kept k = keep(sorted, V, how);
    for (int64_t v = 0; v < V; v++)
        if (logit[v] < k.least || (logit[v] == k.least && k.ties-- <= 0))
            logit[v] = -(double)INFINITY;
}

/* Makes the tokens that were seen less likely. scratch[V] is memory. */
static void penalize(double *logit, double *scratch, int64_t V, const sampling *how)
{
    memset(scratch, 0, (size_t)V * sizeof *scratch);
    for (int64_t i = 0; i < how->seen_count; i++) {
        int32_t t = how->seen[i];
        if (scratch[t] == 0)
            logit[t] = logit[t] > 0 ? logit[t] / how->repetition : logit[t] * how->repetition;
        scratch[t] = 1;
    }
}

static int64_t draw(ag_ctx *ctx, const double *logit, int64_t V, double temperature)
{
    int64_t best = likeliest(logit, V), drawn = best;
    double sum = 0;
    for (int64_t v = 0; v < V; v++)
        sum += weight(logit[v], logit[best], temperature);
    double left = ag_random(ctx) * sum;
    for (int64_t v = 0; v < V; v++) {
        double part = weight(logit[v], logit[best], temperature);
        if (part == 0)
            continue;
        left -= part;
        drawn = v;
        if (left < 0)
            break;
    }
    return drawn;
}

/* False, with the error recorded, when the logits are no distribution. */
static bool check_logits(ag_ctx *ctx, const double *logit, int64_t V, int64_t line, int64_t after)
{
    bool possible = false;
    for (int64_t v = 0; v < V; v++) {
        possible = possible || logit[v] > -(double)INFINITY;
        if (logit[v] < (double)INFINITY)
            continue;
        ag_fail(ctx, AG_ERR_NUMBER, "sampling", "line %lld, token %lld: logit %lld of 0 .. %lld is %s",
                (long long)line, (long long)after + 1, (long long)v, (long long)V - 1, isnan(logit[v]) ? "nan" : "inf");
        return false;
    }
    if (!possible)
        ag_fail(ctx, AG_ERR_NUMBER, "sampling", "line %lld, token %lld: each of the %lld logits is -inf",
                (long long)line, (long long)after + 1, (long long)V);
    return possible;
}

int32_t sampling_draw(ag_tensor *logits, const sampling *how, int64_t line, int64_t after)
{
    if (logits == NULL)
        return -1;
    ag_ctx *ctx = ag_ctx_of(logits);
    int64_t V = ag_numel(logits), token = -1;
    bool choosy = how->temperature > 0 && (how->top_k > 0 || (how->top_p > 0 && how->top_p < 1) || how->min_p > 0);
    ag_scope_begin(ctx, NULL);
    ag_tensor *values = ag_empty(ctx, AG_F64, AG_SHAPE(2, V)); /* the second row is scratch memory */
    if (ag_copy_into(ag_tensor_select(values, 0, 0), logits) == AG_OK) {
        double *logit = ag_data_mut(values);
        bool good = check_logits(ctx, logit, V, line, after);
        if (good && how->repetition > 1)
            penalize(logit, logit + V, V, how);
        if (good && choosy)
            forbid(logit, logit + V, V, how);
        if (good)
            token = how->temperature > 0 ? draw(ctx, logit, V, how->temperature) : likeliest(logit, V);
    }
    ag_scope_end(ctx, NULL);
    return (int32_t)token;
}
