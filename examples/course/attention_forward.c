/* SPDX-License-Identifier: MIT
 *
 * attention_forward.c - chapter 6 of the course: attention as a lookup that is soft, step by step.
 *
 * usage: attention_forward [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>
#include <string.h>

enum { T = 3, D = 2, KEYS = 4 };

/* ---- A lookup: four keys on the axes, one number behind each ---- */

static const double keys[KEYS][D] = { { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 } }, values[KEYS] = { 10, 20, 30, 40 };

static void look_up(double strength, double weight[KEYS])
{
    const double query[D] = { strength, 0 };
    double sum = 0, output = 0;
    for (int j = 0; j < KEYS; j++)
        sum += weight[j] = exp(query[0] * keys[j][0] + query[1] * keys[j][1]);
    ag_printf("%8.0f  ", strength);
    for (int j = 0; j < KEYS; j++) {
        weight[j] /= sum;
        output += weight[j] * values[j];
        ag_printf(" %8.4f", weight[j]);
    }
    ag_printf("   %8.4f\n", output);
}

/* ---- A head: Q, K, V [T,D] -> P [T,T], O [T,D] ---- */

typedef struct head {
    double Q[T][D], K[T][D], V[T][D], S[T][T], P[T][T], O[T][D];
} head;

static const head given = { .Q = { { 1, 0 }, { 0, 1 }, { 1, 1 } },
                            .K = { { 1, 1 }, { 2, 0 }, { 0, 1 } },
                            .V = { { 1, 0 }, { 0, 1 }, { 2, 1 } } };

/* `shift` is added to every score; with `subtract` the largest score of the row is subtracted before exp. */
static void run(head *h, bool causal, double shift, bool subtract)
{
    for (int i = 0; i < T; i++) {
        double largest = -(double)INFINITY, sum = 0;
        for (int j = 0; j < T; j++) {
            const double score = (h->Q[i][0] * h->K[j][0] + h->Q[i][1] * h->K[j][1]) / sqrt(D) + shift;
            h->S[i][j] = j <= i || !causal ? score : -(double)INFINITY;
            largest = fmax(largest, h->S[i][j]);
        }
        for (int j = 0; j < T; j++)
            sum += h->P[i][j] = exp(h->S[i][j] - (subtract ? largest : 0));
        for (int c = 0; c < D; c++)
            h->O[i][c] = 0;
        for (int j = 0; j < T; j++) {
            h->P[i][j] /= sum;
            for (int c = 0; c < D; c++)
                h->O[i][c] += h->P[i][j] * h->V[j][c];
        }
    }
}

/* The row of the last position, number by number. */
static void show_row(const head *h)
{
    double sum = 0;
    printf("key    q.k    score     exp   weight   times value\n");
    for (int j = 0; j < T; j++) {
        const double dot = h->Q[2][0] * h->K[j][0] + h->Q[2][1] * h->K[j][1], e = exp(h->S[2][j]);
        sum += e;
        ag_printf("%3d %6.0f %8.4f %7.4f %8.4f   (%.4f, %.4f)\n", j, dot, h->S[2][j], e, h->P[2][j],
                  h->P[2][j] * h->V[j][0], h->P[2][j] * h->V[j][1]);
    }
    ag_printf("sum of exp: %.4f; output: (%.4f, %.4f)\n\n", sum, h->O[2][0], h->O[2][1]);
}

/* What holds for every input; each line is tried here. */
static bool show_facts(void)
{
    head plain = given, moved = given, shifted = given, naive = given;
    run(&plain, true, 0, true);
    memcpy(moved.V[2], (double[]){ 100, -100 }, sizeof moved.V[2]);
    run(&moved, true, 0, true);
    const bool causal = memcmp(plain.O, moved.O, 2 * sizeof plain.O[0]) == 0 && plain.O[2][0] != moved.O[2][0];
    run(&shifted, true, 1000, true);
    run(&naive, true, 1000, false);
    const bool shift = fabs(shifted.O[2][0] - plain.O[2][0]) < 1e-12;
    printf("value 2 becomes (100, -100): outputs 0 and 1 keep every bit: %s\n", causal ? "yes" : "NO");
    printf("every score grows by 1000: outputs stay: %s\n", shift ? "yes" : "NO");
    printf("the same without subtracting the largest score: output 2 is a number: %s\n",
           isnan(naive.O[2][0]) ? "no" : "YES");
    head before = given, swapped = given; /* positions 0 and 1 change places */
    for (int c = 0; c < D; c++)
        for (int t = 0; t < 2; t++) {
            swapped.Q[t][c] = given.Q[1 - t][c];
            swapped.K[t][c] = given.K[1 - t][c];
            swapped.V[t][c] = given.V[1 - t][c];
        }
    run(&before, false, 0, true);
    run(&swapped, false, 0, true);
    bool order = true;
    for (int c = 0; c < D; c++)
        order =
            order && fabs(before.O[0][c] - swapped.O[1][c]) < 1e-12 && fabs(before.O[2][c] - swapped.O[2][c]) < 1e-12;
    printf("no mask, positions 0 and 1 change places: so do their outputs, and output 2 stays: %s\n",
           order ? "yes" : "NO");
    return causal && shift && isnan(naive.O[2][0]) && order;
}

/* The library's op on the same numbers. */
static bool agrees(const head *h)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ 0 });
    ag_tensor *q = ag_from_data(ctx, AG_F64, AG_SHAPE(1, 1, T, D), h->Q);
    ag_tensor *k = ag_from_data(ctx, AG_F64, AG_SHAPE(1, 1, T, D), h->K);
    ag_tensor *v = ag_from_data(ctx, AG_F64, AG_SHAPE(1, 1, T, D), h->V);
    const double *o = ag_data(ag_sdpa(q, k, v, (ag_sdpa_config){ .mask = { .causal = true } }));
    double apart = o == NULL ? (double)INFINITY : 0;
    for (int i = 0; i < T * D && o != NULL; i++)
        apart = fmax(apart, fabs(o[i] - h->O[i / D][i % D]));
    printf("ag_sdpa agrees: %s\n", apart < 1e-14 ? "yes" : "NO");
    return ag_ctx_free(ctx) == 0 && apart < 1e-14;
}

int main(int argc, char **argv)
{
    double weight[5][KEYS];
    printf("strength  weight of each key                     output\n");
    for (int i = 0; i < 5; i++)
        look_up((const double[]){ 0, 1, 2, 4, 8 }[i], weight[i]);
    head h = given;
    run(&h, true, 0, true);
    lecture_print("\nS", "a Q K^T, masked", h.S[0], T, T, NULL);
    show_row(&h);
    lecture_print("P", "softmax(S), row by row", h.P[0], T, T, NULL);
    lecture_print("O", "P V", h.O[0], T, D, NULL);
    const bool good = show_facts() && agrees(&h);
    static const char *const strengths[] = { "0", "1", "2", "4", "8" }, *const key[] = { "10", "20", "30", "40" };
    heatmap_panel panel = {
        "Weights of the lookup", 5, KEYS, weight[0], strengths, key, "strength", "value of the key"
    };
    heatmap map = { "From a mean to a lookup", "weight", 0, 1, 1, &panel };
    return !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
