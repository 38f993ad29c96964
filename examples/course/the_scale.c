/* SPDX-License-Identifier: MIT
 *
 * the_scale.c - chapter 9 of the course: what 1/sqrt(D) is for, by the spread of scores, the weights and the gradients,
 * and by training with it and without.
 *
 * In the first tables queries, keys and values are independent standard normal numbers, and each figure is a mean over
 * ROWS queries that see T keys each. In the last one a head learns by SGD to look at the position before.
 * usage: the_scale [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>

enum { T = 16, ROWS = 1000, SIZES = 5, EMB = 32, STEPS = 50 };
static const int size[SIZES] = { 4, 16, 64, 128, 256 };

/* ---- At the start: random queries and keys ---- */

typedef struct figures {
    double spread;   /* standard deviation of the scores */
    double largest;  /* weight of a row */
    double keys;     /* exp(entropy of a row): the number of keys that it looks at, in effect */
    double gradient; /* root mean square of dS */
    double query;    /* of an element of dQ */
    double silent;   /* share of rows whose dS has a root mean square below 0.001 */
} figures;

/* One row of attention with score scale a: q[D], k[T,D]; g[T] is its dP. */
static void add_row(figures *f, const double *q, const double *k, const double *g, int D, double a)
{
    double s[T], p[T], top = -(double)INFINITY, z = 0, delta = 0, most = 0, entropy = 0, square = 0;
    for (int j = 0; j < T; j++) {
        s[j] = 0;
        for (int c = 0; c < D; c++)
            s[j] += a * q[c] * k[j * D + c];
        top = fmax(top, s[j]);
        f->spread += s[j] * s[j] / T;
    }
    for (int j = 0; j < T; j++)
        z += p[j] = exp(s[j] - top);
    for (int j = 0; j < T; j++) {
        p[j] /= z;
        delta += p[j] * g[j];
        most = fmax(most, p[j]);
        entropy -= p[j] > 0 ? p[j] * log(p[j]) : 0;
    }
    for (int c = 0; c < D; c++) {
        double dq = 0;
        for (int j = 0; j < T; j++)
            dq += a * p[j] * (g[j] - delta) * k[j * D + c];
        f->query += dq * dq / D;
    }
    for (int j = 0; j < T; j++)
        square += p[j] * p[j] * (g[j] - delta) * (g[j] - delta) / T;
    f->largest += most;
    f->keys += exp(entropy);
    f->gradient += square;
    f->silent += square < 1e-6;
}

static figures measure(int D, double a)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 9 });
    figures f = { 0 };
    for (int r = 0; r < ROWS; r++) {
        ag_scope_begin(ctx, "");
        const double *q = ag_data(ag_randn(ctx, AG_F64, AG_SHAPE(D)));
        const double *k = ag_data(ag_randn(ctx, AG_F64, AG_SHAPE(T, D)));
        const double *g = ag_data(ag_randn(ctx, AG_F64, AG_SHAPE(T)));
        if (q != NULL && k != NULL && g != NULL)
            add_row(&f, q, k, g, D, a);
        ag_scope_end(ctx, NULL);
    }
    if (ag_error(ctx) != AG_OK)
        f.spread = (double)NAN;
    ag_ctx_free(ctx);
    return (figures){ sqrt(f.spread / ROWS),   f.largest / ROWS,     f.keys / ROWS,
                      sqrt(f.gradient / ROWS), sqrt(f.query / ROWS), f.silent / ROWS };
}

static void show(const figures *f)
{
    ag_printf(" %10.2f %10.3f %10.2f %8.3f %8.3f %10.1f %%\n", f->spread, f->largest, f->keys, f->gradient, f->query,
              100 * f->silent);
}

/* The columns by D, with 1/sqrt(D) and without; then by factors beside 1/sqrt(D). */
static bool show_start(double largest[2][SIZES])
{
    bool good = true;
    const char *const columns = "   std of S  largest P  keys seen   rms dS   rms dQ  silent rows";
    for (int scaled = 1; scaled >= 0; scaled--) {
        printf("%s\n    D%s\n", scaled ? "a = 1/sqrt(D)" : "\na = 1", columns);
        for (int i = 0; i < SIZES; i++) {
            const figures f = measure(size[i], scaled ? 1 / sqrt(size[i]) : 1);
            printf("%5d", size[i]);
            show(&f);
            largest[scaled][i] = f.largest;
            good = good && fabs(f.spread / (scaled ? 1 : sqrt(size[i])) - 1) < 0.05;
        }
    }
    printf("\nD = 64, a = factor / sqrt(D)\nfactor%s\n", columns);
    for (int i = 0; i < 7; i++) {
        const double factor = pow(4, i - 2);
        const figures f = measure(64, factor / 8);
        ag_printf("%6.4g", factor);
        show(&f);
    }
    return good;
}

/* ---- In training ---- */

typedef struct outcome {
    double loss, rate; /* the rate: the best one */
    int found;         /* queries that give more than half of their weight to the right key */
} outcome;

/* T positions with random rows of EMB numbers; q and k are linear layers with weights normal(0, init/sqrt(EMB)). The
 * values are unit vectors, so that O is P. The loss is the mean over queries of |P_i - onehot(i - 1)|^2. */
static outcome train(int D, double a, double init, double rate)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 9 });
    const ag_linear_config config = { EMB, D, true, init / sqrt(EMB), AG_F64 };
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, T, EMB));
    ag_tensor *v = ag_zeros(ctx, AG_F64, AG_SHAPE(1, 1, T, T)), *target = ag_zeros(ctx, AG_F64, AG_SHAPE(1, 1, T, T));
    for (int64_t i = 0; i < T; i++) {
        ag_set(v, (int64_t[]){ 0, 0, i, i }, 1);
        ag_set(target, (int64_t[]){ 0, 0, i, (i + T - 1) % T }, 1);
    }
    ag_linear_layer *q = ag_linear_new(ctx, config), *k = ag_linear_new(ctx, config);
    ag_module *head = ag_group_new(ctx, "head");
    ag_group_add(head, "q", ag_linear_module(q));
    ag_group_add(head, "k", ag_linear_module(k));
    ag_optimizer *sgd = ag_sgd_new(head, (ag_sgd_config){ .lr = rate });
    outcome o = { (double)NAN, rate, 0 };
    for (int step = 0; step <= STEPS && ag_error(ctx) == AG_OK; step++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *P = ag_sdpa(ag_linear_forward(q, x), ag_linear_forward(k, x), v, (ag_sdpa_config){ .scale = a });
        ag_tensor *loss = ag_scale(ag_mse(P, target), T);
        ag_module_zero_grad(head);
        ag_item(loss, &o.loss);
        if (step < STEPS && ag_backward(tape, loss) == AG_OK)
            ag_optimizer_step(sgd);
        const double *p = step == STEPS ? ag_data(P) : NULL;
        for (int i = 0; i < T && p != NULL; i++)
            o.found += p[i * T + (i + T - 1) % T] > 0.5;
        ag_tape_end(tape);
    }
    ag_optimizer_free(sgd);
    ag_group_free(head);
    return ag_ctx_free(ctx) == 0 ? o : (outcome){ (double)NAN, rate, -1 };
}

/* Of seven learning rates, 4^-3 to 4^3, the one with the lowest loss at the end. */
static outcome best(int D, double a)
{
    outcome best = { (double)INFINITY, 0, 0 };
    for (int i = -3; i <= 3; i++) {
        const outcome o = train(D, a, 1, pow(4, i));
        best = o.loss < best.loss ? o : best;
    }
    return best;
}

/* In words, as an unstable training has other digits on other machines. */
static void show_found(const outcome *o)
{
    if (o->found == T)
        ag_printf("   all, at %6.4g", o->rate);
    else
        printf("%14s", o->found >= 12 ? "most" : o->found >= 7 ? "half" : "few");
}

static bool show_training(void)
{
    bool good = true;
    printf("\nqueries that find their key, at the best of seven learning rates\n"
           "    D  a = 1/sqrt(D)         a = 1       a = 1/D\n");
    for (int D = 4; D <= 256; D *= 4) {
        const outcome scaled = best(D, 1 / sqrt(D)), plain = best(D, 1), small = best(D, 1.0 / D);
        printf("%5d", D);
        show_found(&scaled);
        show_found(&plain);
        show_found(&small);
        putchar('\n');
        good = good && scaled.found == T && small.found >= 12 && plain.found < T;
    }
    const outcome one = train(64, 1 / sqrt(64), 1, 0.05), other = train(64, 1, pow(64, -0.25), 0.05 / sqrt(64));
    ag_printf("\nD = 64, loss after %d steps\n", STEPS);
    ag_printf("  a = 1/sqrt(D), weights as drawn,          rate 0.05             %.4f\n", one.loss);
    ag_printf("  a = 1,         weights times D^(-1/4),    rate 0.05 / sqrt(D)   %.4f\n", other.loss);
    return good && fabs(one.loss - other.loss) < 1e-9;
}

int main(int argc, char **argv)
{
    double largest[2][SIZES];
    bool good = show_start(largest);
    good = show_training() && good;
    static const char *const rows[] = { "a = 1", "1/sqrt(D)" }, *const cols[] = { "4", "16", "64", "128", "256" };
    heatmap_panel panel = { "Mean of the largest weight", 2, SIZES, largest[0], rows, cols, "scale", "D" };
    heatmap map = { "Without 1/sqrt(D) a head decides before it has learnt", "weight", 0, 1, 1, &panel };
    return !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
