/* SPDX-License-Identifier: MIT
 *
 * five_planted_bugs.c - chapter 12 of the course: five backward passes with a mistake each; what training and the
 * gradient checker say of them, and a test by hand.
 *
 * Functions have the form of ag_array_function: forward(x, y), backward(x, gy, gx). x[0], x[1], .. are the inputs, and
 * gx[..] is 0 when backward begins. usage: five_planted_bugs [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>
#include <string.h>

enum { T = 3, D = 4, N = T * D, INPUTS = 3, STEPS = 200 }; /* arrays are [T,D], but for the w[D,D] and b[D] */

/* ---- 1. y = x w^T + b ---- */

static void linear(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++)
        for (int o = 0; o < D; o++) {
            y[0][t * D + o] = x[2][o];
            for (int i = 0; i < D; i++)
                y[0][t * D + o] += x[0][t * D + i] * x[1][o * D + i];
        }
}

static void linear_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++)
        for (int o = 0; o < D; o++) {
            const double g = gy[0][t * D + o];
            for (int i = 0; i < D; i++) {
                gx[0][t * D + i] += g * x[1][o * D + i];
                gx[1][o * D + i] += g * x[0][t * D + i];
            }
            gx[2][o] += g / T;
        }
}

/* ---- 2. y = (x - mean) / sqrt(variance + eps), row by row ---- */

static const double eps = 1e-5;

static double mean_and_rstd(const double *row, double *mean)
{
    double variance = 0;
    *mean = 0;
    for (int c = 0; c < D; c++)
        *mean += row[c] / D;
    for (int c = 0; c < D; c++)
        variance += (row[c] - *mean) * (row[c] - *mean) / D;
    return 1 / sqrt(variance + eps);
}

static void layer_norm(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++) {
        double mean;
        const double rstd = mean_and_rstd(x[0] + t * D, &mean);
        for (int c = 0; c < D; c++)
            y[0][t * D + c] = (x[0][t * D + c] - mean) * rstd;
    }
}

static void layer_norm_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++) {
        double mean, g_mean = 0;
        const double rstd = mean_and_rstd(x[0] + t * D, &mean);
        for (int c = 0; c < D; c++)
            g_mean += gy[0][t * D + c] / D;
        for (int c = 0; c < D; c++)
            gx[0][t * D + c] = (gy[0][t * D + c] - g_mean) * rstd;
    }
}

/* ---- 3. and 4. o = softmax(q k^T / sqrt(D)) v; causal: position i sees positions 0 to i ---- */

static void weights(double p[T][T], const double *q, const double *k, bool causal)
{
    for (int i = 0; i < T; i++) {
        double sum = 0;
        for (int j = 0; j < T; j++) {
            double s = 0;
            for (int c = 0; c < D; c++)
                s += q[i * D + c] * k[j * D + c] / sqrt(D);
            sum += p[i][j] = j <= i || !causal ? exp(s) : 0;
        }
        for (int j = 0; j < T; j++)
            p[i][j] /= sum;
    }
}

static void attention(const double *const *x, double *const *y, void *causal)
{
    double p[T][T];
    weights(p, x[0], x[1], causal != NULL);
    memset(y[0], 0, N * sizeof(double));
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            for (int c = 0; c < D; c++)
                y[0][i * D + c] += p[i][j] * x[2][j * D + c];
}

static void value_backward(double ds[T][T], double p[T][T], const double *v, const double *go, double *gv)
{
    for (int i = 0; i < T; i++) {
        double delta = 0;
        for (int j = 0; j < T; j++) {
            ds[i][j] = 0;
            for (int c = 0; c < D; c++) {
                ds[i][j] += go[i * D + c] * v[j * D + c];
                gv[j * D + c] += p[i][j] * go[i * D + c];
            }
            delta += p[i][j] * ds[i][j];
        }
        for (int j = 0; j < T; j++)
            ds[i][j] = p[i][j] * (ds[i][j] - delta);
    }
}

static void attention_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    double p[T][T], ds[T][T];
    weights(p, x[0], x[1], false);
    value_backward(ds, p, x[2], gy[0], gx[2]);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            for (int c = 0; c < D; c++) {
                gx[0][i * D + c] += ds[i][j] * x[1][j * D + c] / sqrt(D);
                gx[1][i * D + c] += ds[i][j] * x[0][j * D + c] / sqrt(D);
            }
}

static void causal_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    double p[T][T], ds[T][T];
    weights(p, x[0], x[1], false);
    value_backward(ds, p, x[2], gy[0], gx[2]);
    for (int i = 0; i < T; i++)
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < D; c++) {
                gx[0][i * D + c] += ds[i][j] * x[1][j * D + c] / sqrt(D);
                gx[1][j * D + c] += ds[i][j] * x[0][i * D + c] / sqrt(D);
            }
}

/* ---- 5. y = x + tanh(x w^T) ---- */

static void residual(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int t = 0; t < T; t++)
        for (int o = 0; o < D; o++) {
            double u = 0;
            for (int i = 0; i < D; i++)
                u += x[0][t * D + i] * x[1][o * D + i];
            y[0][t * D + o] = x[0][t * D + o] + tanh(u);
        }
}

static void residual_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    double y[N];
    residual(x, (double *[]){ y }, user);
    memcpy(gx[0], gy[0], N * sizeof(double));
    for (int t = 0; t < T; t++)
        for (int i = 0; i < D; i++) {
            double sum = 0;
            for (int o = 0; o < D; o++) {
                const double a = y[t * D + o] - x[0][t * D + o], gu = gy[0][t * D + o] * (1 - a * a);
                sum += gu * x[1][o * D + i];
                gx[1][o * D + i] += gu * x[0][t * D + i];
            }
            gx[0][t * D + i] = sum;
        }
}

/* ---- What is said of them ---- */

typedef struct planted {
    const char *name;
    ag_array_function f;
    const char *input[INPUTS]; /* names; NULL: no such input */
    int rows[INPUTS];          /* of [rows,D] */
} planted;

static bool yes = true;
static const planted bug[] = {
    { "linear", { .forward = linear, .backward = linear_backward }, { "x", "w", "b" }, { T, D, 1 } },
    { "layer norm", { .forward = layer_norm, .backward = layer_norm_backward }, { "x" }, { T } },
    { "attention", { .forward = attention, .backward = attention_backward }, { "q", "k", "v" }, { T, T, T } },
    { "causal attention", { attention, causal_backward, .user = &yes }, { "q", "k", "v" }, { T, T, T } },
    { "residual", { .forward = residual, .backward = residual_backward }, { "x", "w" }, { T, D } },
};
enum { BUGS = sizeof bug / sizeof bug[0] };

typedef struct values { /* room for each input, or for its gradient */
    double at[INPUTS][D * D];
} values;

static void run_forward(const planted *b, const values *v, double y[N])
{
    b->f.forward((const double *const[]){ v->at[0], v->at[1], v->at[2] }, (double *[]){ y }, b->f.user);
}

static void run_backward(const planted *b, const values *v, const double *gy, values *g)
{
    *g = (values){ 0 };
    b->f.backward((const double *const[]){ v->at[0], v->at[1], v->at[2] }, (const double *const[]){ gy },
                  (double *[]){ g->at[0], g->at[1], g->at[2] }, b->f.user);
}

static double product(const double *a, const double *b)
{
    double sum = 0;
    for (int n = 0; n < N; n++)
        sum += a[n] * b[n];
    return sum;
}

/* The gradient of sum(gy y) by central differences. */
static void differences(const planted *b, values v, const double *gy, values *g)
{
    const double h = 1e-5;
    double up[N], down[N];
    *g = (values){ 0 };
    for (int i = 0; i < INPUTS; i++)
        for (int n = 0; n < b->rows[i] * D; n++) {
            const double before = v.at[i][n];
            v.at[i][n] = before + h;
            run_forward(b, &v, up);
            v.at[i][n] = before - h;
            run_forward(b, &v, down);
            v.at[i][n] = before;
            g->at[i][n] = (product(gy, up) - product(gy, down)) / (2 * h);
        }
}

/* Gradient descent on all inputs, by the planted backward or by differences. loss = sum (y - target)^2 / 2; returns the
 * loss after `steps` steps. */
static double descend(const planted *b, values v, const double *target, bool planted_one, int steps)
{
    double y[N], gy[N];
    values g;
    for (int step = 0;; step++) {
        run_forward(b, &v, y);
        for (int n = 0; n < N; n++)
            gy[n] = y[n] - target[n];
        if (step == steps)
            return product(gy, gy) / 2;
        if (planted_one)
            run_backward(b, &v, gy, &g);
        else
            differences(b, v, gy, &g);
        for (int i = 0; i < INPUTS; i++)
            for (int n = 0; n < b->rows[i] * D; n++)
                v.at[i][n] -= 0.1 * g.at[i][n];
    }
}

/* Breaks the text at spaces. */
static void print_lines(const char *text)
{
    for (size_t left = strlen(text), room = 100; left > 0;) {
        size_t n = left;
        if (n > room)
            for (n = room; n > 1 && text[n] != ' ';)
                n--;
        printf("  %.*s\n", (int)n, text);
        n += text[n] == ' ';
        text += n;
        left -= n;
    }
}

/* The checker's verdict for each input, and its words. */
static bool show_check(ag_ctx *ctx, const planted *b, values *v)
{
    ag_array input[INPUTS] = { { 0 } }, output = { .ndim = 2, .shape = { T, D } };
    ag_gradcheck_input each[INPUTS];
    int count = 0;
    for (; count < INPUTS && b->input[count] != NULL; count++)
        input[count] = (ag_array){ b->input[count], v->at[count], 2, { b->rows[count], D }, NULL };
    const ag_gradcheck_result result =
        ag_gradcheck_arrays(ctx, b->f, input, count, &output, 1, (ag_gradcheck_config){ .inputs = each });
    printf("\n%s\n ", b->name);
    for (int i = 0; i < count; i++) {
        const bool pass = each[i].verdict == AG_PASS;
        printf(" %s %s%s%s%s", b->input[i], ag_verdict_name(each[i].verdict), pass ? "" : ", ",
               pass ? "" : ag_cause_name(each[i].cause), i < count - 1 ? ";" : "\n");
    }
    print_lines(result.explanation);
    return result.verdict == AG_FAIL && result.worst.cause != AG_CAUSE_UNKNOWN;
}

/* For each function a test that a person can do: what must be, and what the planted backward gives. */
static void show_by_hand(const planted *b, values v, const double *random_gy)
{
    values g;
    double only_first[N] = { 0 };
    memcpy(only_first, random_gy, D * sizeof(double));
    run_backward(b, &v, b->f.user != NULL ? only_first : random_gy, &g);
    printf("  By hand: ");
    if (b->f.forward == linear)
        ag_printf("b[0] is added to each y[t,0]: db[0] must be the sum of gy[t,0], %.4f; it is %.4f\n",
                  random_gy[0] + random_gy[D] + random_gy[2 * D], g.at[2][0]);
    else if (b->f.forward == layer_norm)
        ag_printf("2 x and x give the same y: sum(x dx) must be 0, but for eps; it is %.4f\n",
                  product(v.at[0], g.at[0]));
    else if (b->f.backward == attention_backward)
        ag_printf("2 q and 2 k give the same y: sum(q dq), %.4f, must be sum(k dk), %.4f\n", product(v.at[0], g.at[0]),
                  product(v.at[1], g.at[1]));
    else if (b->f.backward == causal_backward)
        ag_printf("gy is 0 but in row 0, which sees itself alone: dv[1,0] must be 0; it is %.4f\n", g.at[2][D]);
    else {
        memset(v.at[1], 0, sizeof v.at[1]);
        run_backward(b, &v, random_gy, &g);
        ag_printf("with w = 0, y is x: dx[0,0] must be gy[0,0], %.4f; it is %.4f\n", random_gy[0], g.at[0][0]);
    }
}

static bool save_picture(const char *path, const planted *b, const values *v, const double *random_gy)
{
    values right, wrong;
    double gy[N] = { 0 };
    memcpy(gy, random_gy, D * sizeof(double));
    differences(b, *v, gy, &right);
    run_backward(b, v, gy, &wrong);
    heatmap_panel panel[] = { { "dV, right", T, D, right.at[2], NULL, NULL, "position", "channel" },
                              { "dV, planted", T, D, wrong.at[2], NULL, NULL, "position", "channel" } };
    heatmap map = { "Output 0 sees position 0 alone, and asks for change", "gradient", -1, 1, 2, panel };
    return heatmap_save_svg(path, &map);
}

int main(int argc, char **argv)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 12 });
    values v[BUGS], other;
    double gy[N];
    bool good = ctx != NULL;
    printf("loss                at first  after %d steps by differences   by the planted one\n", STEPS);
    for (int i = 0; i < BUGS && good; i++) {
        for (int n = 0; n < INPUTS * D * D; n++) {
            v[i].at[n / (D * D)][n % (D * D)] = 2 * ag_random(ctx) - 1;
            other.at[n / (D * D)][n % (D * D)] = 2 * ag_random(ctx) - 1;
        }
        double target[N];
        run_forward(&bug[i], &other, target);
        const double first = descend(&bug[i], v[i], target, true, 0);
        ag_printf("%-17s %10.4f %30.4f %20.4f\n", bug[i].name, first, descend(&bug[i], v[i], target, false, STEPS),
                  descend(&bug[i], v[i], target, true, STEPS));
    }
    for (int n = 0; n < N && good; n++)
        gy[n] = 2 * ag_random(ctx) - 1;
    for (int i = 0; i < BUGS && good; i++) {
        good = show_check(ctx, &bug[i], &v[i]);
        show_by_hand(&bug[i], v[i], gy);
    }
    good = good && ag_ctx_free(ctx) == 0;
    return !good || (argc > 1 && !save_picture(argv[1], &bug[3], &v[3], gy));
}
