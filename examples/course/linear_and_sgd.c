/* SPDX-License-Identifier: MIT
 *
 * linear_and_sgd.c - chapter 4 of the course: a linear layer, its three gradients, and what a step of SGD does.
 *
 * First a layer y = x w^T + b on whole numbers; then the line t = w x + b through four points, whose loss is a
 * quadratic function of (w, b). usage: linear_and_sgd [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>

/* ---- A layer: x[ROWS,IN], w[OUT,IN], b[OUT] -> y[ROWS,OUT] ---- */

enum { ROWS = 3, IN = 2, OUT = 2 };

static double x[ROWS][IN] = { { 1, 2 }, { 3, 4 }, { 0, 1 } }, w[OUT][IN] = { { 1, 0 }, { 2, -1 } };
static double b[OUT] = { 1, -1 }, u[ROWS][OUT] = { { 1, 0 }, { 0, 1 }, { 1, -1 } }, y[ROWS][OUT];
static double dx[ROWS][IN], dw[OUT][IN], db[OUT];

/* L = sum(u * y) */
static double layer_loss(void)
{
    double loss = 0;
    for (int n = 0; n < ROWS; n++)
        for (int o = 0; o < OUT; o++) {
            y[n][o] = b[o];
            for (int i = 0; i < IN; i++)
                y[n][o] += x[n][i] * w[o][i];
            loss += u[n][o] * y[n][o];
        }
    return loss;
}

static void layer_backward(void)
{
    for (int n = 0; n < ROWS; n++)
        for (int o = 0; o < OUT; o++) {
            for (int i = 0; i < IN; i++) {
                dx[n][i] += u[n][o] * w[o][i];
                dw[o][i] += u[n][o] * x[n][i];
            }
            db[o] += u[n][o];
        }
}

/* L is linear in each of x, w and b, so a step of 1 gives the derivative exactly. */
static bool agrees(double *value, const double *gradient, int count)
{
    const double before = layer_loss();
    bool same = true;
    for (int i = 0; i < count; i++) {
        value[i] += 1;
        same = same && fabs(layer_loss() - before - gradient[i]) < 1e-12;
        value[i] -= 1;
    }
    layer_loss();
    return same;
}

static bool same(const ag_tensor *t, const double *value, int count)
{
    const double *data = ag_data(t);
    for (int i = 0; i < count; i++)
        if (data == NULL || fabs(data[i] - value[i]) > 1e-12)
            return false;
    return true;
}

static bool show_layer(ag_ctx *ctx)
{
    ag_printf("L = sum(u * y) = %.0f\n\n", layer_loss());
    layer_backward();
    lecture_print("y", "x w^T + b", y[0], ROWS, OUT, NULL);
    lecture_print("dx", "u w", dx[0], ROWS, IN, NULL);
    lecture_print("dw", "u^T x", dw[0], OUT, IN, NULL);
    lecture_print("db", "sum of the rows of u", db, 1, OUT, NULL);
    const bool steps = agrees(x[0], dx[0], ROWS * IN) && agrees(w[0], dw[0], OUT * IN) && agrees(b, db, OUT);
    ag_tensor *tx = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(ROWS, IN), x));
    ag_tensor *tw = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(OUT, IN), w));
    ag_tensor *tb = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(OUT), b));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_backward_from(tape, ag_linear(tx, tw, tb), ag_from_data(ctx, AG_F64, AG_SHAPE(ROWS, OUT), u));
    ag_tape_end(tape);
    const bool taped = same(ag_grad(tx), dx[0], ROWS * IN) && same(ag_grad(tw), dw[0], OUT * IN) &&
                       same(ag_grad(tb), db, OUT);
    printf("a step of 1 in each number agrees: %s; the tape agrees: %s\n", steps ? "yes" : "NO", taped ? "yes" : "NO");
    return steps && taped;
}

/* ---- A line through four points: p[0] input + p[1] ---- */

enum { POINTS = 4, STEPS = 11, RUNS = 6 };

typedef struct points {
    double input[POINTS], target[POINTS], best[2]; /* best: where the loss is least */
} points;

static const points given = { { 0, 1, 2, 3 }, { 1, 3, 4, 8 }, { 2.2, 0.7 } };
static const points centred = { { -1.5, -0.5, 0.5, 1.5 }, { 1, 3, 4, 8 }, { 2.2, 4 } };

static double error_of(const points *data, const double p[2], int n)
{
    return p[0] * data->input[n] + p[1] - data->target[n];
}

/* loss = mean of error^2 */
static double loss_of(const points *data, const double p[2], double gradient[2])
{
    double loss = 0;
    gradient[0] = gradient[1] = 0;
    for (int n = 0; n < POINTS; n++) {
        const double e = error_of(data, p, n);
        loss += e * e / POINTS;
        gradient[0] += 2 * e * data->input[n] / POINTS;
        gradient[1] += 2 * e / POINTS;
    }
    return loss;
}

/* How far the loss is above the least one: the mean of (distance from the best line)^2. */
static double excess_of(const points *data, const double p[2])
{
    double sum = 0;
    for (int n = 0; n < POINTS; n++) {
        const double d = (p[0] - data->best[0]) * data->input[n] + p[1] - data->best[1];
        sum += d * d / POINTS;
    }
    return sum;
}

/* The curvatures: the eigenvalues of the Hessian, 2 (mean x^2, mean x; mean x, 1). */
static void curvatures(const points *data, double *steep, double *flat)
{
    double mean = 0, square = 0;
    for (int n = 0; n < POINTS; n++) {
        mean += data->input[n] / POINTS;
        square += data->input[n] * data->input[n] / POINTS;
    }
    const double root = sqrt((square - 1) * (square - 1) + 4 * mean * mean);
    *steep = square + 1 + root;
    *flat = square + 1 - root;
}

typedef struct rule {
    const char *name;
    const points *data;
    double lr, momentum;
} rule;

/* From p = 0, `steps` steps. Returns the step at which the excess first was below 1e-6; 0: never. */
static int descend(rule r, double p[2], int steps)
{
    double g[2], v[2] = { 0, 0 };
    int done = 0;
    p[0] = p[1] = 0;
    for (int step = 1; step <= steps; step++) {
        loss_of(r.data, p, g);
        for (int k = 0; k < 2; k++) {
            v[k] = r.momentum * v[k] + g[k];
            p[k] -= r.lr * v[k];
        }
        if (done == 0 && excess_of(r.data, p) < 1e-6)
            done = step;
    }
    return done;
}

/* The first five steps, by hand and by the library's layer and optimizer. */
static bool show_steps(ag_ctx *ctx)
{
    double p[2], g[2];
    bool agree = true;
    ag_linear_layer *model =
        ag_linear_new(ctx, (ag_linear_config){ .in_features = 1, .out_features = 1, .dtype = AG_F64 });
    ag_module *params = ag_linear_module(model);
    ag_tensor *inputs = ag_from_data(ctx, AG_F64, AG_SHAPE(POINTS, 1), given.input);
    ag_tensor *targets = ag_from_data(ctx, AG_F64, AG_SHAPE(POINTS, 1), given.target);
    ag_optimizer *sgd = ag_sgd_new(params, (ag_sgd_config){ .lr = 0.1 });
    ag_fill(ag_module_find(params, "weight"), 0);
    ag_fill(ag_module_find(params, "bias"), 0);
    printf("\nstep       w        b      loss       dw       db\n");
    for (int step = 0; step <= 5; step++) {
        descend((rule){ NULL, &given, 0.1, 0 }, p, step);
        const double loss = loss_of(&given, p, g);
        ag_printf("%4d %8.4f %8.4f %8.4f %9.4f %8.4f\n", step, p[0], p[1], loss, g[0], g[1]);
        agree = agree && same(ag_module_find(params, "weight"), &p[0], 1) &&
                same(ag_module_find(params, "bias"), &p[1], 1);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_backward(tape, ag_mse(ag_linear_forward(model, inputs), targets));
        ag_optimizer_step(sgd);
        ag_tape_end(tape);
        ag_module_zero_grad(params);
    }
    ag_optimizer_free(sgd);
    ag_linear_free(model);
    printf("\nag_linear and ag_sgd do the same: %s\n", agree ? "yes" : "NO");
    return agree;
}

/* Rates, momentum and centred inputs; logs[run][i]: log10 of the excess after 5 i steps, at least -12. */
static void show_rates(const char *label[RUNS], double logs[RUNS][STEPS])
{
    double steep, flat, steep_centred, flat_centred, p[2];
    curvatures(&given, &steep, &flat);
    curvatures(&centred, &steep_centred, &flat_centred);
    const double root = (sqrt(steep / flat) - 1) / (sqrt(steep / flat) + 1), widest = 2 / (sqrt(steep) + sqrt(flat));
    const rule rules[RUNS] = { { "rate 0.02", &given, 0.02, 0 },
                               { "rate 0.1", &given, 0.1, 0 },
                               { "rate 0.25", &given, 0.25, 0 },
                               { "best rate", &given, 2 / (steep + flat), 0 },
                               { "with momentum", &given, widest * widest, root * root },
                               { "centred inputs", &centred, 2 / (steep_centred + flat_centred), 0 } };
    ag_printf("\ncurvatures: %.4f and %.4f, so the rate must be below %.4f\n", steep, flat, 2 / steep);
    ag_printf("curvatures with centred inputs: %.4f and %.4f\n\n", steep_centred, flat_centred);
    printf("                  rate momentum  after 10  after 50  steps to 1e-6\n");
    for (int i = 0; i < RUNS; i++) {
        ag_printf("%-14s %7.4f %8.4f", rules[i].name, rules[i].lr, rules[i].momentum);
        for (int k = 0; k < STEPS; k++) {
            descend(rules[i], p, 5 * k);
            const double excess = excess_of(rules[i].data, p);
            logs[i][k] = log10(fmax(excess, 1e-12));
            if (k != 2 && k != 10)
                continue;
            if (excess < 1e-12) /* where rounding decides */
                printf("  %8s", "< 1e-12");
            else
                ag_printf("  %8.1e", excess);
        }
        const int done = descend(rules[i], p, 1000);
        label[i] = rules[i].name;
        if (done > 0)
            printf("  %13d\n", done);
        else
            printf("  %13s\n", "never");
    }
}

/* ---- One point at a time ---- */

/* The mean excess of the last 100000 of 200000 steps, each with `batch` points drawn at random. A rate that falls is
 * lr / (1 + step / 1000). */
static double wander(ag_ctx *ctx, double lr, int batch, bool falling)
{
    double p[2] = { 0, 0 }, sum = 0;
    for (int step = 0; step < 200000; step++) {
        double g[2] = { 0, 0 };
        for (int i = 0; i < batch; i++) {
            const int n = (int)(POINTS * ag_random(ctx));
            const double e = error_of(&given, p, n);
            g[0] += 2 * e * given.input[n] / batch;
            g[1] += 2 * e / batch;
        }
        for (int k = 0; k < 2; k++)
            p[k] -= lr / (falling ? 1 + step / 1000.0 : 1) * g[k];
        sum += step >= 100000 ? excess_of(&given, p) / 100000 : 0;
    }
    return sum;
}

static bool show_noise(ag_ctx *ctx)
{
    double noise = 0, dw_sum = 0, db_sum = 0;
    bool close = true;
    printf("\nat the best line:  point   error       dw       db\n");
    for (int n = 0; n < POINTS; n++) {
        const double e = error_of(&given, given.best, n), g = 2 * e * given.input[n];
        ag_printf("%24d %7.4f %8.4f %8.4f\n", n, e, fabs(g) < 1e-9 ? 0 : g, 2 * e);
        noise += (g * g + 4 * e * e) / POINTS;
        dw_sum += g;
        db_sum += 2 * e;
    }
    ag_printf("%24s %7s %8.4f %8.4f\n", "sum", "", fabs(dw_sum), fabs(db_sum));
    ag_printf("mean square of these gradients: %.4f\n\nrate            points  mean excess  predicted\n", noise);
    for (int i = 0; i < 5; i++) {
        const double lr = (const double[]){ 0.02, 0.01, 0.005, 0.02, 0.02 }[i];
        const int batch = i == 3 ? 4 : 1;
        const double excess = wander(ctx, lr, batch, i == 4), theory = lr / 4 * noise / batch;
        ag_printf("%.3f%-9s %7d %12.4f", lr, i == 4 ? ", falling" : "", batch, excess);
        if (i < 4)
            ag_printf(" %10.4f", theory);
        putchar('\n');
        close = close && (i == 4 ? excess < 0.01 * theory : fabs(excess / theory - 1) < 0.3);
    }
    return close;
}

int main(int argc, char **argv)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 4 });
    const char *label[RUNS];
    double logs[RUNS][STEPS];
    bool good = show_layer(ctx);
    good = show_steps(ctx) && good;
    show_rates(label, logs);
    good = show_noise(ctx) && good;
    static const char *const steps[] = { "0", "5", "10", "15", "20", "25", "30", "35", "40", "45", "50" };
    heatmap_panel panel = { "log10 of the excess", RUNS, STEPS, logs[0], label, steps, "", "step" };
    heatmap map = { "How fast the loss falls: dark is good", "log10", -6, 2, 1, &panel };
    return ag_ctx_free(ctx) != 0 || !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
