/* SPDX-License-Identifier: MIT
 *
 * five_planted_bugs.c - chapter 12 of the course: what training, the gradient checker and a test by hand say of the
 * five backward passes in five_planted_bugs/bugs.c. usage: five_planted_bugs [picture.svg]
 */
#include "examples/course/five_planted_bugs/bugs.h"
#include "examples/shared/lecture.h"

#include <math.h>
#include <string.h>

enum { STEPS = 200 };
enum { LINEAR, LAYER_NORM, ATTENTION, CAUSAL, RESIDUAL }; /* in bugs */

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
static void show_by_hand(int i, values v, const double *random_gy)
{
    const double *gy = random_gy;
    double first_row[N] = { 0 };
    values g;
    memcpy(first_row, random_gy, D * sizeof(double));
    if (i == CAUSAL)
        gy = first_row;
    if (i == RESIDUAL)
        memset(v.at[1], 0, sizeof v.at[1]);
    run_backward(&bugs[i], &v, gy, &g);
    printf("  By hand: ");
    switch (i) {
    case LINEAR:
        ag_printf("b[0] is added to each y[t,0]: db[0] must be the sum of gy[t,0], %.4f; it is %.4f\n",
                  gy[0] + gy[D] + gy[2 * D], g.at[2][0]);
        break;
    case LAYER_NORM:
        ag_printf("2 x and x give the same y: sum(x dx) must be 0, but for eps; it is %.4f\n",
                  product(v.at[0], g.at[0]));
        break;
    case ATTENTION:
        ag_printf("2 q and 2 k give the same y: sum(q dq), %.4f, must be sum(k dk), %.4f\n", product(v.at[0], g.at[0]),
                  product(v.at[1], g.at[1]));
        break;
    case CAUSAL:
        ag_printf("gy is 0 but in row 0, which sees itself alone: dv[1,0] must be 0; it is %.4f\n", g.at[2][D]);
        break;
    default:
        ag_printf("with w = 0, y is x: dx[0,0] must be gy[0,0], %.4f; it is %.4f\n", gy[0], g.at[0][0]);
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
        run_forward(&bugs[i], &other, target);
        const double first = descend(&bugs[i], v[i], target, true, 0);
        ag_printf("%-17s %10.4f %30.4f %20.4f\n", bugs[i].name, first, descend(&bugs[i], v[i], target, false, STEPS),
                  descend(&bugs[i], v[i], target, true, STEPS));
    }
    for (int n = 0; n < N && good; n++)
        gy[n] = 2 * ag_random(ctx) - 1;
    for (int i = 0; i < BUGS && good; i++) {
        good = show_check(ctx, &bugs[i], &v[i]);
        show_by_hand(i, v[i], gy);
    }
    good = good && ag_ctx_free(ctx) == 0;
    return !good || (argc > 1 && !save_picture(argv[1], &bugs[CAUSAL], &v[CAUSAL], gy));
}
