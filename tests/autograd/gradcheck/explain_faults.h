/* SPDX-License-Identifier: MIT
 *
 * explain_faults.h - the faults that check_explain.c plants in the backward of a function on arrays, and a problem: the
 * function, its fault and its shapes. Some faults are in one backward's formula, the others spoil any right gradient.
 */
#ifndef TESTS_EXPLAIN_FAULTS_H
#define TESTS_EXPLAIN_FAULTS_H

#include "tests/test.h"

#include <string.h>

enum { MOST = 600 }; /* elements */

/* ---- Faults: what becomes of the right gradient gx[n] of input 0 ---- */

typedef enum fault {
    RIGHT,
    /* in any function */
    SIGN, SCALED, ALL_ZERO, NOT_A_NUMBER,
    ZERO_ROW, ZERO_COLUMN, ZERO_TAIL, ZERO_ABOVE, ZERO_ONE, ZERO_SOME,
    TRANSPOSED, TRANSPOSED_MEMORY, ROTATED_DIMS,
    ROWS_ROTATED, ROWS_REVERSED, ROWS_EXCHANGED, ROWS_REPEATED, ROWS_SHUFFLED, ROWS_SUMMED, ROWS_AVERAGED,
    TAIL, ROW_TAIL, ROW_HALF, LAST_WRONG, MOST_WRONG, ONE_WRONG, ROW_DOUBLED, DIAGONAL_WRONG, NOISE, MUCH_NOISE,
    ONLY_NOISE, SIGNS, /* nothing but noise; random signs */
    ROW_CONSTANT, /* a constant added to each row */
    ROW_FREE,     /* a number times y added to each row */
    ROW_EXP, ROW_INPUT, /* and times exp(x), times x, where y = x^3 */
    ROW_CENTERED, /* and times x - mean(x), where y = softmax(x) */
    FIRST_TIME,   /* right for the first cotangent, zero for others */
    /* in the backward of one function */
    UPSTREAM_ONES, UPSTREAM_MEAN, UPSTREAM_SUM, UPSTREAM_TRANSPOSED,
    LEAK, LEAK_INVERTED, LEAK_AND_SCALE, LEAK_AND_NOISE, OPERAND_TRANSPOSED, FIRST_SLICE, LAST_SLICE,
    NO_SUM, SUM_ADDED, SUM_OF_ALL, NO_MEAN, NO_VARIANCE, NO_MEAN_NO_VARIANCE,
    EXCHANGED, SECOND_LOST, SECOND_ONES, LAST_USE, FIRST_USE
} fault;

/* A small generator, so that a case is the same everywhere. Uniform in [-1, 1). */
static double draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) * 0x1p-23 - 1;
}

typedef struct problem problem;
typedef void forward_fn(const problem *p, const double *const *x, double *const *y);
typedef void backward_fn(const problem *p, const double *const *x, const double *const *gy, double *const *gx);

/* A function with its backward, a fault to plant there and the shapes to do it with. */
struct problem {
    forward_fn *forward;
    backward_fn *backward;
    int ndim; /* of input 0 */
    int64_t shape[4];
    fault fault;
    double factor; /* of SCALED; of absolute, its slope at 0 */
    uint64_t seed; /* of values and noise */
};

static int64_t product(const problem *p, int from, int to)
{
    int64_t n = 1;
    for (int d = from; d < to; d++)
        n *= p->shape[d];
    return n;
}

static int64_t numel(const problem *p)
{
    return product(p, 0, p->ndim);
}

static void damage_order(const problem *p, const double *old, double *gx)
{
    const int64_t n = numel(p), columns = p->shape[p->ndim - 1], rows = p->ndim > 1 ? p->shape[p->ndim - 2] : 1;
    const int64_t entries = p->shape[0], entry = n / entries;
    for (int64_t i = 0; i < n; i++) {
        int64_t matrix = i / (rows * columns) * rows * columns, row = i / columns % rows, column = i % columns;
        int64_t b = i / entry, from = b;
        switch (p->fault) {
        case TRANSPOSED: /* the data of the transpose, in the gradient's memory */
            gx[matrix + column * rows + row] = old[i];
            continue;
        case TRANSPOSED_MEMORY: /* memory read as that of the transpose */
            gx[i] = old[matrix + column * rows + row];
            continue;
        case ROTATED_DIMS: /* [a,b,c] -> [c,a,b] */
            gx[i % p->shape[2] * p->shape[0] * p->shape[1] + i / p->shape[2]] = old[i];
            continue;
        case ROWS_ROTATED:
            from = (b + 1) % entries;
            break;
        case ROWS_REVERSED:
            from = entries - 1 - b;
            break;
        case ROWS_EXCHANGED:
            from = b == 0 ? 2 : b == 2 ? 0 : b;
            break;
        case ROWS_REPEATED:
            from = 1;
            break;
        case ROWS_SHUFFLED:
            from = b == 0 ? 1 : b == 1 ? 3 : b;
            break;
        default:
            break;
        }
        gx[i] = old[from * entry + i % entry];
    }
    for (int64_t i = 0; i < n && (p->fault == ROWS_SUMMED || p->fault == ROWS_AVERAGED); i++) {
        gx[i] = 0;
        for (int64_t b = 0; b < entries; b++)
            gx[i] += old[b * entry + i % entry] / (p->fault == ROWS_AVERAGED ? (double)entries : 1);
    }
}

/* Whether the fault spoils element i in a way that needs only its place. */
static bool is_hit(const problem *p, int64_t i, uint64_t *state)
{
    const int64_t n = numel(p), columns = p->ndim > 0 ? p->shape[p->ndim - 1] : 1, column = i % columns;
    const int64_t entry = p->ndim > 0 ? n / p->shape[0] : 1, row = i / columns;
    switch (p->fault) {
    case ALL_ZERO:
    case MUCH_NOISE:
        return true;
    case ZERO_ROW:
    case ROW_DOUBLED:
        return i / entry == 1;
    case ZERO_COLUMN:
        return column == 2;
    case ZERO_TAIL:
    case TAIL:
        return i >= n / 4 * 4;
    case ROW_TAIL:
        return column >= columns / 4 * 4;
    case ROW_HALF:
        return column >= columns / 2;
    case LAST_WRONG:
        return i == n - 1;
    case MOST_WRONG:
        return i / entry > 0;
    case ZERO_ABOVE:
        return column > row;
    case DIAGONAL_WRONG:
        return column == row;
    case ZERO_ONE:
    case ONE_WRONG:
    case NOT_A_NUMBER:
        return i == 5;
    case ZERO_SOME:
        return i == 1 || i == 2 || i == 7;
    case NOISE:
        return i == 0 || draw(state) < 0;
    default:
        return false;
    }
}

static double mean_log(const double *y, int64_t first, int64_t n)
{
    double sum = 0;
    for (int64_t i = first; i < first + n; i++)
        sum += log(y[i]);
    return sum / (double)n;
}

static int calls; /* of backward, in this run */

static void damage(const problem *p, const double *y, const double *gy, double *gx)
{
    const int64_t n = numel(p), columns = p->ndim > 0 ? p->shape[p->ndim - 1] : 1;
    double old[MOST];
    uint64_t state = p->seed;
    memcpy(old, gx, (size_t)n * sizeof *gx);
    if (p->fault >= TRANSPOSED && p->fault <= ROWS_AVERAGED)
        damage_order(p, old, gx);
    for (int64_t i = 0; i < n; i++) {
        if (p->fault == SIGN)
            gx[i] = -old[i];
        else if (p->fault == SCALED)
            gx[i] = p->factor * old[i];
        else if (p->fault == ROW_CONSTANT)
            gx[i] += 0.3 + (double)(i / columns);
        else if (p->fault == ROW_FREE)
            gx[i] += (0.3 + (double)(i / columns)) * y[i];
        else if (p->fault == ROW_EXP)
            gx[i] += (0.3 + (double)(i / columns)) * exp(cbrt(y[i]));
        else if (p->fault == ROW_INPUT)
            gx[i] += (0.3 + (double)(i / columns)) * cbrt(y[i]);
        else if (p->fault == ROW_CENTERED)
            gx[i] += (0.3 + (double)(i / columns)) * (log(y[i]) - mean_log(y, i / columns * columns, columns));
        else if (p->fault == ONLY_NOISE)
            gx[i] = draw(&state) * gy[0];
        else if (p->fault == SIGNS)
            gx[i] *= i == 0 || draw(&state) < 0 ? -1 : 1;
        else if (p->fault == FIRST_TIME)
            gx[i] *= calls == 1;
        else if (is_hit(p, i, &state))
            gx[i] = p->fault == NOT_A_NUMBER  ? (double)NAN
                    : p->fault == ROW_DOUBLED ? 2 * old[i]
                    : p->fault <= ZERO_SOME   ? 0
                                              : old[i] + draw(&state);
    }
}

#endif
