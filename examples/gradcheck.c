/* SPDX-License-Identifier: MIT
 *
 * gradcheck.c - what ag_gradcheck says of a right function, a wrong one and a kink; and why it counts in float64.
 *
 * The wrong function is an op of this program's own: softmax whose backward forgets the sum over the row. The second
 * half draws the error of a central difference against its step: too large a step misses the curvature (h^2), too
 * small a one measures rounding (eps / h).
 */
#include "attngrad.h"
#include "examples/options.h"
#include "examples/program.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- Three functions ------------------------------------------------------------------------- */

static ag_tensor *right(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_softmax(ag_matmul(input[0], input[1]), 1);
}

/* y = softmax(x) over the last dim has gx = y (gy - sum(gy y)). Here the sum is forgotten, on purpose. */
static void sumless_softmax_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_mul(v->gy, v->output));
}

static const ag_op sumless_softmax_op = { "sumless_softmax", 1, AG_KEEP_OUTPUT, sumless_softmax_vjp };

static ag_tensor *sumless_softmax(ag_tensor *x)
{
    ag_tensor *y = ag_softmax(ag_detach(x), -1); /* detached: the gradient is to come from the op's own vjp */
    return ag_record(&sumless_softmax_op, y, &x, 1, NULL, 0, NULL);
}

static ag_tensor *wrong(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return sumless_softmax(ag_matmul(input[0], input[1]));
}

static ag_tensor *kinked(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_relu(input[0]);
}

static const char *verdict_name(ag_verdict verdict)
{
    return verdict == AG_PASS ? "PASS" : verdict == AG_FAIL ? "FAIL" : "INCONCLUSIVE";
}

static bool check(ag_ctx *ctx, const char *title, ag_gradcheck_fn *f, ag_tensor *const *input, int count,
                  ag_verdict expected)
{
    printf("%s\n\n", title);
    ag_gradcheck_result result = ag_gradcheck(ctx, f, input, count, NULL, (ag_gradcheck_config){ .report = stdout });
    printf("\nverdict: %s\n\n\n", verdict_name(result.verdict));
    return result.verdict == expected && ag_error(ctx) == AG_OK;
}

static bool check_functions(ag_ctx *ctx)
{
    ag_tensor *x[] = { ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 4))),
                       ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(4, 3))) };
    ag_tensor *at_zero = ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(4), (double[]){ -1, 0, 0.5, 2 }));
    bool good = check(ctx, "1. A right one: softmax(x w)", right, x, 2, AG_PASS);
    good = check(ctx, "2. A wrong one: the same, but its backward forgets the sum: gx = y gy", wrong, x, 2, AG_FAIL) &&
           good;
    return check(ctx, "3. A kink: relu(x) with one x at 0, where there is no derivative to compare with", kinked,
                 &at_zero, 1, AG_INCONCLUSIVE) &&
           good;
}

/* ---- The error of a difference against its step ---------------------------------------------- */

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

/* Where an error stands on the logarithmic axis of both plots: 0 at the bottom, 1 at the top. */
static double height_of(double error)
{
    double h = log10(error / lowest_error) / log10(highest_error / lowest_error);
    return h > 0 ? (h < 1 ? h : 1) : 0; /* also an error of 0, whose logarithm is not finite */
}

static void print_table(const double error32[STEPS], const double error64[STEPS])
{
    printf("    step    float32    float64\n");
    for (int i = 0; i < STEPS; i++)
        printf("%8.0e %10.1e %10.1e%s%s\n", step_at(i), error32[i], error64[i],
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
            printf("%7.0e |%s\n", highest_error * pow(10, -row), plot[row]);
        else
            printf("%7s |%s\n", "", plot[row]);
    }
    printf("%7s +", "");
    for (int col = 0; col < WIDTH; col++)
        putchar(col % 12 == 0 ? '+' : '-');
    printf("\n%9s%-12s%-12s%-12s%-12s%-12s%-9s%s\n", "", "1", "1e-2", "1e-4", "1e-6", "1e-8", "1e-10", "1e-12");
    printf("%9sstep h\n", "");
}

/* ---- The same as SVG ------------------------------------------------------------------------- */

static const double left = 84, top = 64, plot_width = 540, plot_height = 338;

static void svg_curve(FILE *file, const double error[STEPS], const char *colour)
{
    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
    for (int i = 0; i < STEPS; i++)
        fprintf(file, "%.1f,%.1f ", left + plot_width * i / (STEPS - 1),
                top + plot_height * (1 - height_of(error[i])));
    fputs("\"/>\n", file);
    for (int i = 0; i < STEPS; i++)
        fprintf(file,
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\">"
                "<title>h = %.1e, error %.2e</title></circle>\n",
                left + plot_width * i / (STEPS - 1), top + plot_height * (1 - height_of(error[i])), colour, step_at(i),
                error[i]);
}

static void svg_axes(FILE *file)
{
    for (int e = -12; e <= 1; e++) {
        double y = top + plot_height * (1 - height_of(pow(10, e)));
        fprintf(file, "<path d=\"M%.1f %.1fh%.1f\" stroke=\"#e4e4e4\"/>\n", left, y, plot_width);
        if (e % 2 == 0)
            fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">1e%d</text>\n", left - 8, y + 4, e);
    }
    for (int e = 0; e >= -12; e -= 2) {
        double x = left + plot_width * -e / 12;
        fprintf(file, "<path d=\"M%.1f %.1fv%.1f\" stroke=\"#e4e4e4\"/>\n", x, top, plot_height);
        fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">1e%d</text>\n", x, top + plot_height + 20,
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
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">step h</text>\n", left + plot_width / 2,
            top + plot_height + 44);
    fprintf(file,
            "<text x=\"26\" y=\"%.1f\" text-anchor=\"middle\" transform=\"rotate(-90 26 %.1f)\">"
            "relative error</text>\n",
            top + plot_height / 2, top + plot_height / 2);
    fprintf(file,
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

static bool show_curve(ag_ctx *ctx, const char *path)
{
    double error32[STEPS] = { 0 }, error64[STEPS] = { 0 };
    printf("4. Why float64: the error of (f(x+h) - f(x-h)) / 2h for f(x) = x tanh(x) + exp(-x^2/2)\n\n");
    if (!measure(ctx, error32, error64))
        return false;
    print_table(error32, error64);
    print_plot(error32, error64);
    printf("\nFrom the left the error falls with h^2, until rounding, which grows with 1/h, takes over.\n"
           "float32 at its best (h = %.0e) still errs by %.0e: a slip smaller than that passes unseen.\n"
           "float64 at its best (h = %.0e) errs by %.0e, so ag_gradcheck computes in float64.\n",
           step_at(best(error32)), error32[best(error32)], step_at(best(error64)), error64[best(error64)]);
    if (path != NULL && !save_svg(path, error32, error64)) {
        fprintf(stderr, "gradcheck: can not write %s: %s\n", path, strerror(errno));
        return false;
    }
    if (path != NULL)
        printf("The same as a picture: %s\n", path);
    return true;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    const char *path = NULL;
    const option options[] = {
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of the inputs [1]" },
        { "--out", OPTION_TEXT, &path, "PATH", "the error against the step as SVG [none]" },
    };
    int status = options_read("gradcheck",
                              "Checks the gradient of a right function, of a wrong one and at a kink, and shows what\n"
                              "the report says; then the error of a difference against its step. Exits with 1 when a\n"
                              "verdict is not the one expected.",
                              options, 2, argc, argv);
    if (status != OPTIONS_RUN)
        return status;

    ag_ctx *ctx = program_begin("gradcheck", seed);
    bool good = check_functions(ctx);
    good = show_curve(ctx, path) && good;
    return program_end("gradcheck", ctx, good);
}
