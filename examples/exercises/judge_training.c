/* SPDX-License-Identifier: MIT
 *
 * judge_training.c - exercises 10, 11 and 14: SGD with momentum, clipping, and a whole step.
 */
#include "examples/exercises/exercises.h"
#include "examples/exercises/judge_impl.h"

#include <string.h>

/* ---- 10. SGD with momentum ---- */

enum { SGD_N = 6, SGD_STEPS = 3 };

static const double SGD_MOMENTUM = 0.9, SGD_RATE[SGD_STEPS] = { 0.1, 0.1, 0.05 };

enum {
    NO_MOMENTUM = 1, AVERAGED, UPHILL, RATE_INSIDE, VELOCITY_UNUSED, OLD_VELOCITY, NESTEROV, MINUS_INSIDE, NOT_KEPT
};

static void sgd_right(const double *const *x, double *const *y, void *user)
{
    int mistake = *(const int *)user;
    memcpy(y[0], x[0], SGD_N * sizeof *y[0]);
    memset(y[1], 0, SGD_N * sizeof *y[1]);
    for (int step = 0; step < SGD_STEPS && mistake != NOTHING_DONE; step++)
        for (int i = 0; i < SGD_N; i++) {
            double g = x[1 + step][i], rate = SGD_RATE[step], old = y[1][i];
            double *velocity = &y[1][i];
            *velocity = (mistake == NO_MOMENTUM ? 0 : SGD_MOMENTUM) * *velocity +
                        (mistake == AVERAGED ? 1 - SGD_MOMENTUM : mistake == RATE_INSIDE ? rate : 1) * g;
            if (mistake == MINUS_INSIDE)
                *velocity = SGD_MOMENTUM * old - rate * g;
            y[0][i] -= (mistake == UPHILL ? -1 : 1) * (mistake == RATE_INSIDE ? 1 : rate) *
                       (mistake == VELOCITY_UNUSED ? g
                        : mistake == OLD_VELOCITY  ? old
                        : mistake == NESTEROV      ? g + SGD_MOMENTUM * *velocity
                        : mistake == MINUS_INSIDE  ? -*velocity / rate
                                                   : *velocity);
            *velocity *= mistake == NOT_KEPT ? 0 : 1;
        }
}

static void sgd_answer(const double *const *x, double *const *y, void *user)
{
    (void)user;
    memcpy(y[0], x[0], SGD_N * sizeof *y[0]);
    memset(y[1], 0, SGD_N * sizeof *y[1]);
    for (int step = 0; step < SGD_STEPS; step++)
        sgd_step(y[0], y[1], x[1 + step], SGD_N, SGD_RATE[step], SGD_MOMENTUM);
}

const exercise exercise_sgd_step = {
    .name = "sgd_step",
    .signature = "w[6] g1[6] g2[6] g3[6] -> w_after[6] velocity[6]",
    .forward = sgd_right,
    .answer = sgd_answer,
    .start = "Two lines for each element: first the velocity, then w by the new velocity.",
    .hint = {
        { .mistake = NO_MOMENTUM, .text = "The first step is right. At the second, the velocity has forgotten the "
                                          "first gradient." },
        { .mistake = AVERAGED, .text = "This velocity is a mean, with g times 1 - momentum, as Adam has it. Here g "
                                       "counts whole." },
        { .mistake = UPHILL, .text = "w goes uphill: the loss grows along its gradient." },
        { .mistake = RATE_INSIDE, .text = "The rate stands in the velocity. Then a change of the rate, as in step 3 "
                                          "here, comes late." },
        { .mistake = OLD_VELOCITY, .text = "w moves by the velocity of the step before: which of the two lines "
                                           "comes first?" },
        { .mistake = VELOCITY_UNUSED, .text = "The velocity is right and w does not move by it." },
        { .mistake = NESTEROV, .text = "This is Nesterov's step, which looks one step ahead. Here w moves by the "
                                       "velocity alone." },
        { .mistake = MINUS_INSIDE, .text = "Your velocity has the rate and the minus in it, as some books do. In "
                                           "exercises.h both stand in w's line: compare step 3, whose rate is "
                                           "another." },
        { .mistake = NOT_KEPT, .text = "Your velocity is forgotten after the call: the next step needs it." },
        { .right = "velocity", .text = "The velocity is right, and w is not: by what does it move?" },
    },
    .shows = "the velocity is a sum of old gradients, each worth 0.9 of the one after it: where they agree, the step "
             "grows up to ten times, where they alternate, it shrinks.",
};

/* ---- 11. Clipping by the global norm ---- */

enum { CLIP_A = 6, CLIP_B = 4 };

static const double CLIP_NORM = 1.1; /* the first inputs have more, the second less, and more than 1 */

enum { EACH_ALONE = 1, ALWAYS, TO_NORM_1, EACH_ELEMENT, NO_ROOT, NORM_AFTER };

static double squares(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

static void clip_right(const double *const *x, double *const *y, void *user)
{
    static const int size[2] = { CLIP_A, CLIP_B };
    int mistake = *(const int *)user;
    double sum = squares(x[0], CLIP_A) + squares(x[1], CLIP_B), norm = mistake == NO_ROOT ? sum : sqrt(sum), scale = 1;
    for (int a = 0; a < 2; a++)
        for (int i = 0; i < size[a]; i++) {
            double own = mistake == EACH_ALONE ? sqrt(squares(x[a], size[a])) : norm;
            bool clipped = own > CLIP_NORM || mistake == ALWAYS;
            scale = clipped && mistake != NOTHING_DONE ? (mistake == TO_NORM_1 ? 1 : CLIP_NORM) / own : 1;
            y[a][i] = mistake == EACH_ELEMENT ? fmax(-CLIP_NORM, fmin(CLIP_NORM, x[a][i])) : scale * x[a][i];
        }
    y[2][0] = mistake == NOTHING_DONE ? 0 : mistake == EACH_ALONE ? sqrt(squares(x[1], CLIP_B)) : norm;
    y[2][0] *= mistake == NORM_AFTER ? scale : 1;
}

static void clip_answer(const double *const *x, double *const *y, void *user)
{
    static const int size[2] = { CLIP_A, CLIP_B };
    (void)user;
    memcpy(y[0], x[0], CLIP_A * sizeof *y[0]);
    memcpy(y[1], x[1], CLIP_B * sizeof *y[1]);
    y[2][0] = clip_gradients(y, size, 2, CLIP_NORM);
}

const exercise exercise_clip_gradients = {
    .name = "clip_gradients",
    .signature = "a[6] b[4] -> a_after[6] b_after[4] norm[]",
    .forward = clip_right,
    .answer = clip_answer,
    .scale = 0.37,
    .start = "Two passes: sum the squares of all elements of all arrays; then, when the norm is too large, multiply "
             "every element by the same number.",
    .hint = {
        { .mistake = EACH_ALONE, .text = "Each array is clipped by its own norm, which turns the direction of the "
                                         "step: the norm is that of all arrays together." },
        { .mistake = ALWAYS, .text = "Small gradients are made larger. What must happen below max_norm?" },
        { .mistake = TO_NORM_1, .text = "The norm becomes 1 and not max_norm." },
        { .mistake = EACH_ELEMENT, .text = "Each element is cut off by itself, which turns the direction of the "
                                           "step; the norm is what is bounded." },
        { .mistake = NO_ROOT, .text = "This is the norm's square." },
        { .right = "norm", .text = "The norm is right, and the gradients are not: when are they scaled, and by what?" },
        { .mistake = NORM_AFTER, .text = "The gradients are right. The norm to return is the one before clipping, "
                                         "which shows how large a step would have been." },
    },
    .shows = "clipping keeps the direction of the step and bounds its length; a step whose norm is small is left as "
             "it is.",
};

/* ---- 14. A whole step ---- */

enum { STEP_ROWS = 4, STEP_IN = 2, STEP_OUT = 3, STEPS = 2 };

static const int STEP_TARGET[STEP_ROWS] = { 2, 0, 1, 2 };
static const double STEP_RATE = 0.5, STEP_MOMENTUM = 0.9, STEP_NORM = 0.25;

enum { NOT_CLIPPED = 1, CLIPPED_APART, BIAS_LEFT, LOSS_SUMMED, GRADIENT_SUMMED, GRADIENT_KEPT };

/* The loss of w, b (y[0], y[1]) at x[2]; g receives dw, then db. */
static double step_gradient(const double *const *x, double *const *y, double *g)
{
    double loss = 0, z[STEP_OUT], p[STEP_OUT];
    for (int r = 0; r < STEP_ROWS; r++) {
        const double *row = x[2] + r * STEP_IN;
        for (int o = 0; o < STEP_OUT; o++)
            z[o] = y[1][o] + row[0] * y[0][o * STEP_IN] + row[1] * y[0][o * STEP_IN + 1];
        judge_softmax(p, z, 1, STEP_OUT);
        loss -= log(p[STEP_TARGET[r]]) / STEP_ROWS;
        for (int o = 0; o < STEP_OUT; o++) {
            double dz = (p[o] - (o == STEP_TARGET[r])) / STEP_ROWS;
            g[o * STEP_IN] += dz * row[0];
            g[o * STEP_IN + 1] += dz * row[1];
            g[STEP_IN * STEP_OUT + o] += dz;
        }
    }
    return loss;
}

static void step_right(const double *const *x, double *const *y, void *user)
{
    enum { W = STEP_IN * STEP_OUT, ALL = W + STEP_OUT };
    int mistake = *(const int *)user;
    double g[ALL] = { 0 }, velocity[ALL] = { 0 };
    memcpy(y[0], x[0], W * sizeof *y[0]);
    memcpy(y[1], x[1], STEP_OUT * sizeof *y[1]);
    for (int step = 0; step < STEPS; step++) {
        for (int i = mistake == GRADIENT_KEPT ? W : 0; i < ALL; i++)
            g[i] = 0;
        y[2][step] = step_gradient(x, y, g) * (mistake == LOSS_SUMMED ? STEP_ROWS : 1);
        if (mistake == NOTHING_DONE)
            y[2][step] = 0;
        double by = mistake == GRADIENT_SUMMED ? STEP_ROWS : 1, norm_w = by * sqrt(squares(g, W));
        double norm_b = by * sqrt(squares(g + W, STEP_OUT)), norm = sqrt(norm_w * norm_w + norm_b * norm_b);
        for (int i = 0; i < ALL && mistake != NOTHING_DONE; i++) {
            double bounded = mistake != CLIPPED_APART ? norm : i < W ? norm_w : norm_b;
            double clip = mistake == NOT_CLIPPED ? 1 : fmin(1, STEP_NORM / bounded);
            velocity[i] = STEP_MOMENTUM * velocity[i] + by * clip * g[i];
            double *w = i < W ? &y[0][i] : &y[1][i - W];
            *w -= mistake == BIAS_LEFT && i >= W ? 0 : STEP_RATE * velocity[i];
        }
    }
}

static void step_answer(const double *const *x, double *const *y, void *user)
{
    double w_velocity[STEP_IN * STEP_OUT] = { 0 }, b_velocity[STEP_OUT] = { 0 };
    training t = { .n = { .rows = STEP_ROWS, .in = STEP_IN, .out = STEP_OUT }, .w = y[0], .b = y[1],
                   .w_velocity = w_velocity, .b_velocity = b_velocity, .rate = STEP_RATE, .momentum = STEP_MOMENTUM,
                   .max_norm = STEP_NORM };
    (void)user;
    memcpy(y[0], x[0], STEP_IN * STEP_OUT * sizeof *y[0]);
    memcpy(y[1], x[1], STEP_OUT * sizeof *y[1]);
    for (int step = 0; step < STEPS; step++)
        y[2][step] = training_step(&t, x[2], STEP_TARGET);
}

const exercise exercise_training_step = {
    .name = "training_step",
    .signature = "w[3,2] b[3] x[4,2] -> w_after[3,2] b_after[3] loss[2]",
    .forward = step_right,
    .answer = step_answer,
    .scale = 4,
    .uses = { &exercise_cross_entropy_backward, &exercise_linear_backward, &exercise_sgd_step,
              &exercise_clip_gradients },
    .start = "Forward: y = x w^T + b, and the loss. Then call your own functions in order: cross_entropy_backward "
             "with dloss = 1, linear_backward, clip_gradients, sgd_step. The gradients' arrays must begin with 0.",
    .hint = {
        { .mistake = NOT_CLIPPED, .text = "This is a step without clipping: it comes between the gradients and SGD." },
        { .mistake = CLIPPED_APART, .text = "dw and db are clipped each by its own norm: one call of "
                                            "clip_gradients, with both." },
        { .mistake = BIAS_LEFT, .text = "w learns and b does not." },
        { .mistake = LOSS_SUMMED, .text = "w and b are right. The loss that you return is a sum over the rows, and "
                                          "not their mean." },
        { .mistake = GRADIENT_SUMMED, .text = "The loss's own gradient, dloss, is 1: the mean over the rows is in "
                                              "cross_entropy_backward already." },
        { .mistake = GRADIENT_KEPT, .text = "The first step is right. At the second, dw still holds the first "
                                            "gradient." },
        { .right = "loss", .text = "Both losses are right, so the first step is. The second is not: what must it know "
                                   "of the first?" },
        { .right = "loss[0]", .text = "The first loss is right, and the step behind it is not: is dloss 1, and has "
                                      "each of w and b its own gradient, velocity, rate and momentum?" },
    },
    .shows = "this is all of training: forward, loss, backward, clip, step. A language model has more layers, and not "
             "one idea more in this loop.",
};
