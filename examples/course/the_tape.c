/* SPDX-License-Identifier: MIT
 *
 * the_tape.c - chapter 2 of the course: a tape of numbers in fifty lines, and the library's, which holds tensors.
 *
 * The example is L = x y exp(x) at x = 0.5, y = 3. usage: the_tape [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>

/* ---- A tape of numbers ---- */

enum { MOST = 4000, NONE = -1 };

typedef struct node {
    const char *op;
    int from[2];     /* the nodes of its inputs; NONE: it has no such input */
    double slope[2]; /* the derivative of its value by each input */
    double value, grad, tangent;
} node;

static node nodes[MOST]; /* the tape */
static int size;

static int record(node made)
{
    nodes[size] = made;
    return size++;
}

static int leaf(double value)
{
    return record((node){ "leaf", { NONE, NONE }, { 0, 0 }, value, 0, 0 });
}

static int plus(int a, int b)
{
    return record((node){ "plus", { a, b }, { 1, 1 }, nodes[a].value + nodes[b].value, 0, 0 });
}

static int times(int a, int b)
{
    const double x = nodes[a].value, y = nodes[b].value;
    return record((node){ "times", { a, b }, { y, x }, x * y, 0, 0 });
}

static int exponential(int a)
{
    const double e = exp(nodes[a].value);
    return record((node){ "exp", { a, NONE }, { e, 0 }, e, 0, 0 });
}

/* The gradient of the last node, L, goes to every node. Returns the number of products. */
static int backward(void)
{
    int products = 0;
    nodes[size - 1].grad = 1;
    for (int i = size - 1; i >= 0; i--)
        for (int k = 0; k < 2; k++)
            if (nodes[i].from[k] != NONE) {
                nodes[nodes[i].from[k]].grad += nodes[i].grad * nodes[i].slope[k];
                products++;
            }
    return products;
}

/* How all nodes move when the leaf `moved` does: tangents, from the first node to the last. */
static int forward(int moved)
{
    int products = 0;
    for (int i = 0; i < size; i++) {
        nodes[i].tangent = i == moved;
        for (int k = 0; k < 2; k++)
            if (nodes[i].from[k] != NONE) {
                nodes[i].tangent += nodes[i].slope[k] * nodes[nodes[i].from[k]].tangent;
                products++;
            }
    }
    return products;
}

/* ---- The example ---- */

static double example(double x, double y)
{
    size = 0;
    const int a = leaf(x), b = leaf(y), s = times(a, b), e = exponential(a);
    return nodes[times(s, e)].value;
}

static void show_walk(void)
{
    printf("\nthe walk                        adds           to\n");
    for (int i = size - 1; i >= 0; i--)
        for (int k = 0; k < 2; k++)
            if (nodes[i].from[k] != NONE)
                ag_printf("node %d, %-5s  %8.4f * %6.4f = %8.4f   node %d\n", i, nodes[i].op, nodes[i].grad,
                          nodes[i].slope[k], nodes[i].grad * nodes[i].slope[k], nodes[i].from[k]);
}

static bool show_example(double slopes[5][5], double grads[5])
{
    const double h = 1e-5, x = 0.5, y = 3;
    const double dx = (example(x + h, y) - example(x - h, y)) / (2 * h);
    const double dy = (example(x, y + h) - example(x, y - h)) / (2 * h);
    example(x, y);
    backward();
    printf("node  op     inputs    value  slopes              gradient\n");
    for (int i = 0; i < size; i++) {
        const node *n = &nodes[i];
        ag_printf("%4d  %-6s", i, n->op);
        grads[i] = n->grad;
        for (int k = 0; k < 2; k++) {
            if (n->from[k] == NONE) {
                printf("    ");
                continue;
            }
            printf(" %3d", n->from[k]);
            slopes[i][n->from[k]] += n->slope[k];
        }
        ag_printf(" %7.4f", n->value);
        for (int k = 0; k < 2; k++)
            if (n->from[k] == NONE)
                printf("%9s", "");
            else
                ag_printf(" %8.4f", n->slope[k]);
        ag_printf("   %8.4f\n", n->grad);
    }
    show_walk();
    const bool good = fabs(dx - nodes[0].grad) < 1e-8 && fabs(dy - nodes[1].grad) < 1e-8;
    printf("\ncentral differences agree: %s\n", good ? "yes" : "NO");
    return good;
}

/* L = (sum of exp(x_i))^2 for N inputs: the products that each mode needs for the whole gradient. */
static bool show_cost(void)
{
    bool same = true;
    printf("\ninputs   nodes   backward, one walk   forward, a walk for each input   runs for differences\n");
    for (int N = 1; N <= 1000; N *= 10) {
        size = 0;
        for (int i = 0; i < N; i++)
            leaf(0.001 * i);
        int sum = exponential(0);
        for (int i = 1; i < N; i++)
            sum = plus(sum, exponential(i));
        const int L = times(sum, sum), once = backward();
        int each = 0;
        for (int i = 0; i < N; i++) {
            each += forward(i);
            same = same && fabs(nodes[L].tangent / nodes[i].grad - 1) < 1e-12;
        }
        printf("%6d %7d %20d %32d %22d\n", N, size, once, each, 2 * N);
    }
    printf("both modes give the same gradient: %s\n", same ? "yes" : "NO");
    return same;
}

/* ---- The library's tape ---- */

typedef struct leaves {
    ag_tensor *x, *y;
} leaves;

/* sum(x y exp(x)); with `cut` the gradient does not pass through exp. */
static ag_tensor *formula(leaves in, bool cut)
{
    ag_tensor *s = ag_mul(in.x, in.y), *e = ag_exp(cut ? ag_detach(in.x) : in.x);
    return ag_sum(ag_mul(s, e), AG_ALL_DIMS, false);
}

static void list(ag_ctx *ctx, const ag_tape *tape)
{
    printf("\nnode  op     inputs  shape\n");
    for (int64_t i = 0; i < ag_tape_size(tape); i++) {
        const ag_node_view n = ag_tape_node(tape, i);
        printf("%4d  %-6s", (int)i, n.op);
        for (int k = 0; k < 2; k++)
            if (k < n.input_count)
                printf(" %2d", (int)n.input[k]);
            else
                printf("   ");
        printf("  %s\n", ag_dims_text(ctx, n.ndim, n.shape));
    }
}

static void print_grad(const char *what, const ag_tensor *t)
{
    const double *g = ag_data(ag_grad(t));
    if (g != NULL)
        ag_printf("%-36s %8.4f %8.4f %8.4f\n", what, g[0], g[1], g[2]);
}

static bool show_library(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ 0 });
    leaves in = { ag_require_grad(ag_from_data(ctx, AG_F64, AG_SHAPE(3), (double[]){ 0.5, 0, -1 })),
                  ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(3), 3)) };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *L = formula(in, false);
    list(ctx, tape);
    ag_backward(tape, L);
    putchar('\n');
    print_grad("dx", in.x);
    print_grad("dy", in.y);
    ag_backward(tape, L);
    print_grad("dx after a second backward", in.x);
    ag_zero_grad(in.x);
    ag_tape_end(tape);

    tape = ag_tape_begin(ctx);
    ag_backward(tape, formula(in, true));
    print_grad("dx with exp(x) cut off", in.x);
    ag_tape_end(tape);

    tape = ag_tape_begin(ctx);
    L = formula(in, false);
    ag_set(in.y, (int64_t[]){ 0 }, 7);
    const bool refused = ag_backward(tape, L) == AG_ERR_STATE;
    printf("\ny changes between forward and backward:\n%s\n", ag_error_message(ctx));
    ag_tape_end(tape);
    return ag_ctx_free(ctx) == 0 && refused;
}

int main(int argc, char **argv)
{
    double slopes[5][5] = { { 0 } }, grads[5];
    bool good = show_example(slopes, grads);
    good = show_cost() && good;
    good = show_library() && good;
    static const char *const rows[] = { "0 leaf x", "1 leaf y", "2 times", "3 exp", "4 times" };
    static const char *const last[] = { "dL" };
    heatmap_panel panel[] = { { "Slopes", 5, 5, slopes[0], rows, NULL, "node", "input" },
                              { "Gradient", 5, 1, grads, rows, last, "node", "" } };
    heatmap map = { "Inputs stand before their users", "derivative", -8, 8, 2, panel };
    return !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
