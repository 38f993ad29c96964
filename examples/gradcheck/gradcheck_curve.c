/* SPDX-License-Identifier: MIT
 *
 * gradcheck_curve.c - see gradcheck_curve.h.
 */
#include "examples/gradcheck/gradcheck_curve.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { STEPS = 25, SAMPLES = 64, WIDTH = 73, HEIGHT = 14 }; /* the plot: 6 columns and 1 row a decade */
static const double lowest_error = 1e-12, highest_error = 1e1; /* of the plots */

static double step_at(int i)
{
    return pow(10, -0.5 * i); /* 1 down to 1e-12 */
}

/* f(x) = x tanh(x) + exp(-x^2 / 2): smooth, with all derivatives there. */
static ag_tensor *curve(ag_tensor *x)
{
    return ag_add(ag_mul(x, ag_tanh(x)), ag_exp(ag_scale(ag_mul(x, x), -0.5)));
}

/* The relative error (2-norms over all samples) of (f(x + h) - f(x - h)) / 2h, computed in x's dtype. */
static double error_at(ag_tensor *x, const double *gradient, double step)
{
    ag_ctx *ctx = ag_ctx_of(x);
    ag_scope_begin(ctx, NULL);
    ag_tensor *rise = ag_sub(curve(ag_add_scalar(x, step)), curve(ag_add_scalar(x, -step)));
    ag_tensor *slope = ag_cast(ag_scale(rise, 1 / (2 * step)), AG_F64);
    const double *value = ag_data(slope);
    double wrong_part = 0, whole = 0;
    for (int i = 0; value != NULL && i < SAMPLES; i++) {
        wrong_part += (value[i] - gradient[i]) * (value[i] - gradient[i]);
        whole += gradient[i] * gradient[i];
    }
    ag_scope_end(ctx, NULL);
    return sqrt(wrong_part / whole);
}

static bool measure(ag_ctx *ctx, double error32[STEPS], double error64[STEPS])
{
    ag_tensor *x32 = ag_randn(ctx, AG_F32, AG_SHAPE(SAMPLES));
    ag_tensor *x64 = ag_require_grad(ag_tensor_clone(ag_cast(x32, AG_F64)));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_backward(tape, ag_sum(curve(x64), AG_ALL_DIMS, false));
    ag_tape_end(tape);
    const double *gradient = ag_data(ag_grad(x64));
    for (int i = 0; gradient != NULL && i < STEPS; i++) {
        error32[i] = error_at(x32, gradient, step_at(i));
        error64[i] = error_at(x64, gradient, step_at(i));
    }
    return ag_error(ctx) == AG_OK;
}

static int best(const double error[STEPS])
{
    int at = 0;
    for (int i = 1; i < STEPS; i++)
        at = error[i] < error[at] ? i : at;
    return at;
}

/* An error's height on the logarithmic axis of both plots: 0 at the bottom, 1 at the top. */
static double height_of(double error)
{
    double h = log10(error / lowest_error) / log10(highest_error / lowest_error);
    return h > 0 ? (h < 1 ? h : 1) : 0; /* an error of 0 is at the bottom */
}

static void print_table(const double error32[STEPS], const double error64[STEPS])
{
    printf("    step    float32    float64\n");
    for (int i = 0; i < STEPS; i++)
        ag_printf("%8.0e %10.1e %10.1e%s%s\n", step_at(i), error32[i], error64[i],
                  i == best(error32) ? "   <- best of float32" : "", i == best(error64) ? "   <- best of float64" : "");
}

static void print_plot(const double error32[STEPS], const double error64[STEPS])
{
    char plot[HEIGHT][WIDTH + 1];
    for (int row = 0; row < HEIGHT; row++) {
        memset(plot[row], ' ', WIDTH);
        plot[row][WIDTH] = '\0';
    }
    for (int i = 0; i < STEPS; i++) {
        int col = i * (WIDTH - 1) / (STEPS - 1);
        int row32 = (int)lround((1 - height_of(error32[i])) * (HEIGHT - 1));
        int row64 = (int)lround((1 - height_of(error64[i])) * (HEIGHT - 1));
        plot[row32][col] = 'o';
        plot[row64][col] = row32 == row64 ? '@' : '*';
    }
    printf("\nrelative error: o float32, * float64, @ both\n\n");
    for (int row = 0; row < HEIGHT; row++) {
        if (row % 2 == 1)
            ag_printf("%5.0e |%s\n", highest_error * pow(10, -row), plot[row]);
        else
            printf("%5s |%s\n", "", plot[row]);
    }
    printf("%5s +", "");
    for (int col = 0; col < WIDTH; col++)
        putchar(col % 12 == 0 ? '+' : '-');
    printf("\n%7s%-12s%-12s%-12s%-12s%-12s%-8s%s\n", "", "1", "1e-2", "1e-4", "1e-6", "1e-8", "1e-10", "1e-12");
    printf("%7sstep h\n", "");
}

/* ---- The same as SVG ------------------------------------------------------------------------- */

static const double left = 84, top = 64, plot_width = 540, plot_height = 338;

static void svg_curve(FILE *file, const double error[STEPS], const char *colour)
{
    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
    for (int i = 0; i < STEPS; i++)
        ag_fprintf(file, "%.1f,%.1f ", left + plot_width * i / (STEPS - 1),
                   top + plot_height * (1 - height_of(error[i])));
    fputs("\"/>\n", file);
    for (int i = 0; i < STEPS; i++)
        ag_fprintf(file,
                   "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\">"
                   "<title>h = %.1e, error %.2e</title></circle>\n",
                   left + plot_width * i / (STEPS - 1), top + plot_height * (1 - height_of(error[i])), colour,
                   step_at(i), error[i]);
}

static void svg_axes(FILE *file)
{
    for (int e = -12; e <= 1; e++) {
        double y = top + plot_height * (1 - height_of(pow(10, e)));
        ag_fprintf(file, "<path d=\"M%.1f %.1fh%.1f\" stroke=\"#e4e4e4\"/>\n", left, y, plot_width);
        if (e % 2 == 0)
            ag_fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">1e%d</text>\n", left - 8, y + 4, e);
    }
    for (int e = 0; e >= -12; e -= 2) {
        double x = left + plot_width * -e / 12;
        ag_fprintf(file, "<path d=\"M%.1f %.1fv%.1f\" stroke=\"#e4e4e4\"/>\n", x, top, plot_height);
        ag_fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">1e%d</text>\n", x, top + plot_height + 20,
                   e);
    }
}

static bool save_svg(const char *path, const double error32[STEPS], const double error64[STEPS])
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return false;
    fputs("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"660\" height=\"470\" viewBox=\"0 0 660 470\">\n"
          "<title>Error of a central difference against its step</title>\n"
          "<style>text { font: 12px Helvetica, Arial, sans-serif; fill: #222 }</style>\n"
          "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
          "<text x=\"24\" y=\"34\" style=\"font-size:17px;font-weight:bold\">"
          "Error of a central difference against its step</text>\n",
          file);
    svg_axes(file);
    svg_curve(file, error32, "#3b528b");
    svg_curve(file, error64, "#27ad81");
    ag_fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">step h</text>\n", left + plot_width / 2,
               top + plot_height + 44);
    ag_fprintf(file,
               "<text x=\"26\" y=\"%.1f\" text-anchor=\"middle\" transform=\"rotate(-90 26 %.1f)\">"
               "relative error</text>\n",
               top + plot_height / 2, top + plot_height / 2);
    ag_fprintf(file,
               "<g transform=\"translate(%.1f %.1f)\">\n"
               "<rect width=\"92\" height=\"46\" fill=\"#fff\" stroke=\"#ccc\"/>\n",
               left + 16, top + plot_height - 62);
    fputs("<circle cx=\"14\" cy=\"15\" r=\"4\" fill=\"#3b528b\"/><text x=\"26\" y=\"19\">float32</text>\n"
          "<circle cx=\"14\" cy=\"33\" r=\"4\" fill=\"#27ad81\"/><text x=\"26\" y=\"37\">float64</text>\n"
          "</g>\n</svg>\n",
          file);
    bool written = !ferror(file);
    return fclose(file) == 0 && written;
}

bool curve_show(ag_ctx *ctx, const char *path)
{
    double error32[STEPS] = { 0 }, error64[STEPS] = { 0 };
    printf("The error of (f(x+h) - f(x-h)) / 2h for f(x) = x tanh(x) + exp(-x^2/2)\n\n");
    if (!measure(ctx, error32, error64))
        return false;
    print_table(error32, error64);
    print_plot(error32, error64);
    ag_printf("\nFrom the left the error falls with h^2, until rounding, which grows with 1/h.\n"
              "float32 at its best (h = %.0e) still errs by %.0e: smaller slips pass unseen.\n"
              "float64 at its best (h = %.0e) errs by %.0e: so ag_gradcheck computes in it.\n",
              step_at(best(error32)), error32[best(error32)], step_at(best(error64)), error64[best(error64)]);
    if (path != NULL && !save_svg(path, error32, error64)) {
        fprintf(stderr, "gradcheck: can not write %s: %s\n", path, strerror(errno));
        return false;
    }
    if (path != NULL)
        printf("The same as a picture: %s\n", path);
    return true;
}
