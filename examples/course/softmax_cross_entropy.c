/* SPDX-License-Identifier: MIT
 *
 * softmax_cross_entropy.c - chapter 5 of the course: softmax, cross-entropy, their Jacobians, and when to join them.
 *
 * usage: softmax_cross_entropy [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>

enum { V = 4 }; /* classes, as in vocabulary */

static void softmax(double *p, const double *s)
{
    double largest = s[0], sum = 0;
    for (int j = 1; j < V; j++)
        largest = fmax(largest, s[j]);
    for (int j = 0; j < V; j++)
        sum += p[j] = exp(s[j] - largest);
    for (int j = 0; j < V; j++)
        p[j] /= sum;
}

/* -log softmax(s)[target], by the logarithm of the sum. */
static double loss_of(const double *s, int target)
{
    double largest = s[0], sum = 0;
    for (int j = 1; j < V; j++)
        largest = fmax(largest, s[j]);
    for (int j = 0; j < V; j++)
        sum += exp(s[j] - largest);
    return largest + log(sum) - s[target];
}

/* The largest distance of the Jacobian from central differences. */
static double jacobian_error(double J[V][V], const double *s)
{
    const double h = 1e-5;
    double worst = 0, up[V], down[V], moved[V];
    for (int k = 0; k < V; k++) {
        for (int j = 0; j < V; j++)
            moved[j] = s[j];
        moved[k] = s[k] + h;
        softmax(up, moved);
        moved[k] = s[k] - h;
        softmax(down, moved);
        for (int j = 0; j < V; j++)
            worst = fmax(worst, fabs((up[j] - down[j]) / (2 * h) - J[j][k]));
    }
    return worst;
}

/* The gradient of the loss in three ways; returns the largest distance of the second and third from the first. */
static double three_ways(const double *s, const double *p, double J[V][V], int target)
{
    double joined[V], chained[V], worst = 0;
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ 0 });
    ag_tensor *logits = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(1, V), s));
    ag_tape *tape = ag_tape_begin(ctx);
    const int32_t class = target;
    ag_backward(tape, ag_cross_entropy(logits, ag_from_data(ctx, AG_I32, AG_SHAPE(1), &class)));
    ag_tape_end(tape);
    const double *taped = ag_data(ag_grad(logits));
    for (int k = 0; k < V; k++) {
        joined[k] = p[k] - (k == target);
        chained[k] = J[target][k] * (-1 / p[target]);
        worst = taped == NULL ? (double)INFINITY : fmax(worst, fabs(joined[k] - chained[k]));
        worst = taped == NULL ? worst : fmax(worst, fabs(joined[k] - taped[k]));
    }
    lecture_print("joined", "p - onehot", joined, 1, V, NULL);
    lecture_print("chained", "J^T (-1/p_target at the target)", chained, 1, V, NULL);
    printf("the tape's ag_cross_entropy gives the same: %s\n\n", worst < 1e-12 ? "yes" : "NO");
    return ag_ctx_free(ctx) == 0 ? worst : (double)INFINITY;
}

/* A class that the model holds for impossible, in single precision: probabilities first, and joined. */
static bool far_off(void)
{
    printf("target's score   log of p   gradient by 1/p   joined loss   joined gradient\n");
    bool joined_right = true;
    for (int i = 0; i < 4; i++) {
        const double s[V] = { (const double[]){ 0, -50, -100, -200 }[i], 0, 0, 0 };
        double p[V];
        softmax(p, s);
        const float single = (float)p[0], loss = -logf(single), back = -single * (1 - single) * (1 / single);
        const double joined = loss_of(s, 0), gradient = p[0] - 1;
        joined_right = joined_right && fabs(joined - (-s[0] + log(3 + exp(s[0])))) < 1e-12;
        ag_printf("%14.0f %10s %17s %13.4f %17.4f\n", s[0], isinf(loss) ? "inf" : "finite",
                  isnan(back)   ? "nan"
                  : isinf(back) ? "-inf"
                                : "finite",
                  joined, gradient);
    }
    return joined_right;
}

int main(int argc, char **argv)
{
    const double s[V] = { 2, 1, 0, -1 };
    const int target = 1;
    double p[V], J[V][V], sums[V] = { 0 };
    softmax(p, s);
    lecture_print("s", "scores (logits)", s, 1, V, NULL);
    lecture_print("p", "softmax(s)", p, 1, V, NULL);
    for (int j = 0; j < V; j++)
        for (int k = 0; k < V; k++) {
            J[j][k] = p[j] * ((j == k) - p[k]);
            sums[j] += J[j][k];
        }
    lecture_print("J", "dp_j / ds_k = p_j ([j = k] - p_k)", J[0], V, V, NULL);
    const double error = jacobian_error(J, s);
    printf("central differences agree: %s\n", error < 1e-9 ? "yes" : "NO");
    ag_printf("largest sum of a row of J: %.4f\n\n", fmax(fmax(fabs(sums[0]), fabs(sums[1])), fabs(sums[2])));
    ag_printf("loss = -log p[%d] = %.4f; by log-sum-exp %.4f\n\n", target, -log(p[target]), loss_of(s, target));
    bool good = error < 1e-9 && three_ways(s, p, J, target) < 1e-12;
    const double even[V] = { 0, 0, 0, 0 };
    ag_printf("loss of even scores: %.4f = log %d\n\n", loss_of(even, target), V);
    good = far_off() && good;
    heatmap_panel panel = { "J = diag(p) - p p^T", V, V, J[0], NULL, NULL, "p_j", "s_k" };
    heatmap map = { "How each score moves each probability", "derivative", -0.25, 0.25, 1, &panel };
    return !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
