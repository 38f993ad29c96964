/* SPDX-License-Identifier: MIT
 *
 * checking_a_gradient.c - chapter 3 of the course: difference quotients, the U-curve of the step, and tests that lie.
 *
 * The function is f(x) = exp(sin(x)) at x = 1. Where rounding decides, the program prints a bound and not the digits,
 * which differ between machines. usage: checking_a_gradient [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <float.h>
#include <math.h>

enum { STEPS = 12 };

static double f(double x)
{
    return exp(sin(x));
}

static float f_single(float x)
{
    return (float)exp(sin((double)x));
}

/* One quotient's error: its digits where the formula decides, else a bound. Returns whether theory and error fit. */
static bool show(double error, double truncation, double rounding)
{
    if (truncation > 100 * rounding) {
        ag_printf("  %15.1e", error);
        return error > 0.8 * truncation && error < 1.2 * truncation;
    }
    ag_printf("  below %9.0e", truncation + rounding);
    return error <= truncation + rounding;
}

/* Errors of forward and central differences, and of central ones in single precision, for h = 0.1, 0.01, .. */
static bool show_curve(double logs[3][STEPS])
{
    const double x = 1, s = sin(x), c = cos(x), value = f(x);
    const double first = c * value, second = (c * c - s) * value, third = (c * c * c - 3 * s * c - c) * value;
    bool fits = true;
    ag_printf("f(1) = %.6f, f'(1) = %.6f, f''(1) = %.4f, f'''(1) = %.4f\n\n", value, first, second, third);
    printf("     h          forward          central  central, single\n");
    for (int i = 0; i < STEPS; i++) {
        const double h = pow(10, -1 - i);
        const float h1 = (float)h, up = 1 + h1, down = 1 - h1; /* the points that single precision has */
        const double forward = fabs((f(x + h) - value) / h - first);
        const double central = fabs((f(x + h) - f(x - h)) / (2 * h) - first);
        const double single = fabs((double)(f_single(up) - f_single(down)) / (2 * h) - first);
        ag_printf("%6.0e", h);
        fits = show(forward, fabs(second) * h / 2, 4 * DBL_EPSILON * value / h) && fits;
        fits = show(central, fabs(third) * h * h / 6, 4 * DBL_EPSILON * value / h) && fits;
        fits = show(single, fabs(third) * h * h / 6, 2 * (double)FLT_EPSILON * value / h) && fits;
        putchar('\n');
        const double error[3] = { forward, central, single };
        for (int k = 0; k < 3; k++)
            logs[k][i] = log10(fmax(error[k], 1e-16));
    }
    ag_printf("\nbest step, forward: %.0e; central: %.0e; central in single precision: %.0e\n",
              sqrt(2 * DBL_EPSILON * value / fabs(second)), cbrt(3 * DBL_EPSILON * value / fabs(third)),
              cbrt(3 * (double)FLT_EPSILON * value / fabs(third)));
    return fits;
}

/* f(x + h) - f(x) - h g for a right and a wrong g: by what it falls when h is halved. */
static void show_order(void)
{
    const double right = cos(1.0) * f(1), wrong = right * 1.01;
    printf("\n       h  right: rest  falls by   1 %% off: rest  falls by\n");
    for (int i = 0; i < 6; i++) {
        const double h = 0.2 / pow(2, i), a = f(1 + h) - f(1) - h * right, b = f(1 + h) - f(1) - h * wrong;
        const double a2 = f(1 + h / 2) - f(1) - h / 2 * right, b2 = f(1 + h / 2) - f(1) - h / 2 * wrong;
        ag_printf("%8.5f %12.6f %9.2f %15.6f %9.2f\n", h, a, a / a2, b, b / b2);
    }
}

/* Tests that pass a wrong gradient, and one that fails a right one. */
static bool show_lies(void)
{
    const double p[3] = { 0.7, 0.2, 0.1 }, g[3] = { 1, 1, 1 }, nothing = 0, h = 1e-6;
    double worst = 0, delta = 0;
    for (int k = 0; k < 3; k++)
        delta += p[k] * g[k];
    for (int k = 0; k < 3; k++) /* the right gradient is p (g - delta) */
        worst = fmax(worst, fabs(p[k] * (g[k] - delta) - nothing));
    const double slope = -1.5, flipped = 1.5, broken = (double)NAN, kink = (fmax(h, 0) - fmax(-h, 0)) / (2 * h);
    const float tiny = 1e-9F, up = f_single(1 + tiny), down = f_single(1 - tiny);
    const bool ones = worst < 1e-12, sign = fabs(fabs(flipped) - fabs(slope)) < 1e-12;
    const bool nan = !(fabs(broken - slope) > 1e-6), single = up == down;
    printf("\na softmax backward of zeros, tested with ones, passes: %s\n", ones ? "yes" : "no");
    printf("a flipped sign, tested by magnitudes, passes: %s\n", sign ? "yes" : "no");
    printf("NaN, tested by \"error > tolerance\", passes: %s\n", nan ? "yes" : "no");
    printf("a step of 1e-9 in single precision changes f: %s\n", single ? "no" : "yes");
    ag_printf("central difference of max(x, 0) at 0: %.4f\n", kink);
    return ones && sign && nan && single;
}

int main(int argc, char **argv)
{
    double logs[3][STEPS];
    bool good = show_curve(logs);
    show_order();
    good = show_lies() && good;
    static const char *const rows[] = { "forward", "central", "single" };
    static const char *const cols[] = { "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12" };
    heatmap_panel panel = { "log10 of the error", 3, STEPS, logs[0], rows, cols, "quotient", "step 10^-n" };
    heatmap map = { "The U-curve: dark is good", "log10", -12, 0, 1, &panel };
    return !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
