/* SPDX-License-Identifier: MIT
 *
 * attention_backward.c - chapter 7 of the course: attention's backward pass on numbers small enough for a blackboard.
 *
 * T = 3 positions, D = 2 channels, causal. The loss is sum(dO * O). Every gradient is printed and compared with central
 * differences of the loss. usage: attention_backward [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>

enum { T = 3, D = 2 };
typedef enum stage { SCORES, SOFTMAX, MIX } stage; /* the first step to run again */

static double Q[T][D] = { { 1, 0 }, { 0, 1 }, { 1, 1 } }, K[T][D] = { { 1, 1 }, { 2, 0 }, { 0, 1 } };
static double V[T][D] = { { 1, 0 }, { 0, 1 }, { 2, 1 } }, dO[T][D] = { { 1, 0 }, { 0, 1 }, { 1, -1 } };
static double S[T][T], P[T][T], O[T][D], dV[T][D], dP[T][T], delta[T], dS[T][T], dQ[T][D], dK[T][D];
static bool all_right = true;

static double loss_from(stage first)
{
    const double a = 1 / sqrt(D);
    double loss = 0;
    for (int i = 0; i < T; i++) {
        double sum = 0;
        for (int j = 0; j < T && first == SCORES; j++)
            S[i][j] = j <= i ? a * (Q[i][0] * K[j][0] + Q[i][1] * K[j][1]) : -(double)INFINITY;
        for (int j = 0; j < T; j++)
            sum += exp(S[i][j]);
        for (int j = 0; j < T && first <= SOFTMAX; j++)
            P[i][j] = exp(S[i][j]) / sum;
        for (int c = 0; c < D; c++) {
            O[i][c] = P[i][0] * V[0][c] + P[i][1] * V[1][c] + P[i][2] * V[2][c];
            loss += dO[i][c] * O[i][c];
        }
    }
    return loss;
}

/* Prints the gradient of x[T,cols], and how far it is from central differences that run the steps from `first` on. */
static void show(const char *name, const char *formula, const double *gradient, double *x, int cols, stage first)
{
    const double h = 1e-5;
    double worst = 0;
    for (int i = 0; i < T * cols; i++) {
        const double before = x[i];
        x[i] = before + h;
        const double up = loss_from(first);
        x[i] = before - h;
        const double down = loss_from(first);
        x[i] = before;
        worst = fmax(worst, fabs((up - down) / (2 * h) - gradient[i]));
    }
    loss_from(SCORES);
    all_right = all_right && worst < 1e-8;
    lecture_print(name, formula, gradient, T, cols, NULL);
    printf("  central differences %s\n\n", worst < 1e-8 ? "agree" : "DIFFER");
}

static void backward(void)
{
    const double a = 1 / sqrt(D);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            for (int c = 0; c < D; c++) {
                dV[j][c] += P[i][j] * dO[i][c]; /* step 1 */
                dP[i][j] += dO[i][c] * V[j][c]; /* step 2 */
            }
    for (int i = 0; i < T; i++) {
        for (int j = 0; j < T; j++)
            delta[i] += P[i][j] * dP[i][j]; /* step 3 */
        for (int j = 0; j < T; j++)
            dS[i][j] = P[i][j] * (dP[i][j] - delta[i]); /* step 4 */
    }
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            for (int c = 0; c < D; c++) {
                dQ[i][c] += a * dS[i][j] * K[j][c]; /* step 5 */
                dK[j][c] += a * dS[i][j] * Q[i][c]; /* step 6 */
            }
}

/* What the row sum is for, in row 2: the Jacobian of softmax, the other form of delta, and the row without it. */
static void show_row_2(void)
{
    double jacobian[T][T], product[T], without[T], shorter = 0, sum = 0, moved = loss_from(SCORES);
    for (int j = 0; j < T; j++) {
        product[j] = 0;
        for (int k = 0; k < T; k++) {
            jacobian[j][k] = P[2][j] * ((j == k) - P[2][k]);
            product[j] += jacobian[j][k] * dP[2][k];
        }
        without[j] = P[2][j] * dP[2][j];
        sum += without[j];
    }
    for (int c = 0; c < D; c++)
        shorter += dO[2][c] * O[2][c];
    for (int j = 0; j < T; j++)
        S[2][j] += 5;
    moved = loss_from(SOFTMAX) - moved;
    loss_from(SCORES);
    lecture_print("J", "dP/dS of row 2 = diag(p) - p p^T", jacobian[0], T, T, NULL);
    lecture_print("J dP", "row 2 of dS", product, 1, T, NULL);
    lecture_print("P * dP", "row 2 without delta", without, 1, T, NULL);
    ag_printf("sum of the row without delta: %.4f; with delta: %.4f\n", sum, fabs(dS[2][0] + dS[2][1] + dS[2][2]));
    ag_printf("loss when all scores of row 2 grow by 5: changes by %.4f\n", fabs(moved));
    ag_printf("delta of row 2: rowsum(P * dP) = %.4f, rowsum(dO * O) = %.4f\n", delta[2], shorter);
    all_right = all_right && fabs(delta[2] - shorter) < 1e-14 && fabs(moved) < 1e-14;
}

int main(int argc, char **argv)
{
    ag_printf("loss = %.4f\n\n", loss_from(SCORES));
    lecture_print("S", "a Q K^T, masked", S[0], T, T, NULL);
    lecture_print("P", "softmax(S), row by row", P[0], T, T, NULL);
    lecture_print("O", "P V", O[0], T, D, NULL);
    backward();
    show("dV", "P^T dO", dV[0], V[0], D, MIX);
    show("dP", "dO V^T", dP[0], P[0], T, MIX);
    lecture_print("delta", "rowsum(P * dP)", delta, T, 1, NULL);
    show("dS", "P * (dP - delta)", dS[0], S[0], T, SOFTMAX);
    show("dQ", "a dS K", dQ[0], Q[0], D, SCORES);
    show("dK", "a dS^T Q", dK[0], K[0], D, SCORES);
    show_row_2();
    heatmap_panel panel[] = { { "dP", T, T, dP[0], NULL, NULL, "query", "key" },
                              { "dS", T, T, dS[0], NULL, NULL, "query", "key" } };
    heatmap map = { "From dP to dS", "gradient", -2, 2, 2, panel };
    return !all_right || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
