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
    if (how->top_p > 0 && how->top_p <= 1)
        return true;
    ag_fprintf(stderr, "%s: --top-p is %g, must be above 0 and at most 1\n", program, how->top_p);
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

/* The smallest logit that may be drawn. sorted[V] is the logits in descending order. */
static double least_kept(const double *sorted, int64_t V, const sampling *how)
{
    double least = sorted[how->top_k > 0 && how->top_k < V ? how->top_k - 1 : V - 1], total = 0, sum = 0;
    if (!(how->top_p > 0 && how->top_p < 1))
        return least;
    for (int64_t i = 0; i < V && sorted[i] >= least; i++)
        total += weight(sorted[i], sorted[0], how->temperature);
    for (int64_t i = 0; i < V && sorted[i] >= least; i++) {
        sum += weight(sorted[i], sorted[0], how->temperature);
        if (sum >= how->top_p * total)
            return sorted[i];
    }
    return least;
}

static int64_t draw(ag_ctx *ctx, const double *logit, int64_t V, double *scratch, const sampling *how)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        if (logit[v] > logit[best])
            best = v;
    if (how->temperature == 0)
        return best;
    double least = -(double)INFINITY;
    if (scratch != NULL) {
        memcpy(scratch, logit, (size_t)V * sizeof *scratch);
        qsort(scratch, (size_t)V, sizeof *scratch, descending);
        least = least_kept(scratch, V, how);
    }
    double sum = 0;
    for (int64_t v = 0; v < V; v++)
        if (logit[v] >= least)
            sum += weight(logit[v], logit[best], how->temperature);
    double left = ag_random(ctx) * sum;
    int64_t drawn = best;
    for (int64_t v = 0; v < V; v++) {
        if (!(logit[v] >= least))
            continue;
        left -= weight(logit[v], logit[best], how->temperature);
        drawn = v;
        if (left < 0)
            break;
    }
    return drawn;
}

int32_t sampling_draw(ag_tensor *logits, const sampling *how)
{
    if (logits == NULL)
        return -1;
    ag_ctx *ctx = ag_ctx_of(logits);
    int64_t V = ag_numel(logits);
    bool choosy = how->temperature > 0 && (how->top_k > 0 || (how->top_p > 0 && how->top_p < 1));
    ag_scope_begin(ctx, NULL);
    ag_tensor *values = ag_tensor_contiguous(ag_tensor_cast(logits, AG_F64));
    ag_tensor *scratch = choosy ? ag_empty(ctx, AG_F64, AG_SHAPE(V)) : NULL;
    int64_t token = -1;
    if (values != NULL && V > 0 && (scratch != NULL || !choosy))
        token = draw(ctx, ag_data(values), V, scratch == NULL ? NULL : ag_data_mut(scratch), how);
    ag_scope_end(ctx, NULL);
    return (int32_t)token;
}
