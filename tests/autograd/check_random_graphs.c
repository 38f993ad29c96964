/* SPDX-License-Identifier: MIT
 *
 * check_random_graphs.c - properties of random expression graphs: their gradients are those of finite differences and
 * those of PyTorch, from fixtures/graphs.safetensors. A graph that fails is shrunk before it is shown.
 *
 *     AG_RANDOM_GRAPHS=20000          that many graphs, of the seeds 1, 2, ...
 *     AG_RANDOM_GRAPHS=17-17          the graphs of these seeds
 *     AG_WRITE_GRAPHS=graphs.txt      writes the graphs for fixtures/make_graph_fixtures.py instead of comparing them
 */
#include "tests/autograd/random_graph.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#ifndef AG_FIXTURES
#define AG_FIXTURES "tests/fixtures"
#endif

enum { DEFAULT_GRAPHS = 1000, COVERING_GRAPHS = 300, FIXTURE_GRAPHS = 60, ENOUGH = 3 };

/* ---- One graph ---- */

/* One thread: teams of threads for a few elements would take most of the time. */
static ag_ctx *begin(uint64_t seed)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = 1 }); /* the seed is for dropout */
    ck_assert_ptr_nonnull(ctx);
    return ctx;
}

static void end(ag_ctx *ctx, const graph *g)
{
    ck_assert_msg(ag_error(ctx) == AG_OK, "graph %llu: %s", (unsigned long long)g->seed, ag_error_message(ctx));
    int64_t held = ag_ctx_free(ctx);
    ck_assert_msg(held == 0, "graph %llu: %lld tensors still held", (unsigned long long)g->seed, (long long)held);
}

static graph generate(uint64_t seed)
{
    graph g;
    ag_ctx *ctx = begin(seed);
    graph_generate(ctx, seed, &g);
    end(ctx, &g);
    return g;
}

static bool has_op(const graph *g, const char *name)
{
    bool found = false;
    for (int i = 0; i < g->count; i++)
        found = found || strcmp(g->node[i].op->name, name) == 0;
    return found;
}

static void evaluate(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx;
    ag_tensor *value[GRAPH_NODES];
    output[0] = graph_evaluate(user, input, value);
}

/* Values rounded to float32 on the way step up and down: only a long step sees through. */
static ag_gradcheck_config config_for(const graph *g, FILE *report)
{
    if (has_op(g, "through_float32"))
        return (ag_gradcheck_config){ .report = report, .step = 1e-2, .rtol = 1e-2, .atol = 1e-2 };
    return (ag_gradcheck_config){ .report = report };
}

static ag_gradcheck_result check_gradients(graph *g, FILE *report)
{
    ag_ctx *ctx = begin(g->seed);
    ag_tensor *leaf[GRAPH_NODES];
    int count = graph_make_leaves(ctx, g, leaf);
    ag_gradcheck_result result = ag_gradcheck(ctx, evaluate, leaf, count, g, config_for(g, report));
    ag_error_clear(ctx); /* an error has failed the check */
    end(ctx, g);
    return result;
}

static bool has_elements(const graph_node *n)
{
    bool any = true;
    for (int d = 0; d < n->shape.ndim; d++)
        any = any && n->shape.extent[d] > 0;
    return any;
}

/* There is something to differentiate, and something to differentiate by. */
static bool can_be_checked(const graph *g)
{
    bool leaves = false;
    for (int i = 0; i < g->count; i++)
        leaves = leaves || (g->node[i].op == &graph_leaf && has_elements(&g->node[i]));
    return leaves && has_elements(&g->node[g->count - 1]);
}

static bool gradient_is_wrong(const graph *g, void *user)
{
    (void)user;
    graph tried = *g;
    return can_be_checked(g) && check_gradients(&tried, NULL).verdict == AG_FAIL;
}

/* Fails the test with the smallest graph that fails as g does. */
static void fail_with(graph *g)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    ck_assert_ptr_nonnull(file);
    int nodes = g->count;
    graph_shrink(g, gradient_is_wrong, NULL);
    fprintf(file, "a wrong gradient, of %d nodes shrunk to %d (AG_RANDOM_GRAPHS=%llu-%llu shows it again):\n", nodes,
            g->count, (unsigned long long)g->seed, (unsigned long long)g->seed);
    graph_print(file, g);
    check_gradients(g, file);
    fclose(file);
    ck_abort_msg("%s", text);
}

/* ---- Gradients against finite differences ---- */

static void seeds(unsigned long long *first, unsigned long long *last)
{
    const char *set = getenv("AG_RANDOM_GRAPHS");
    *first = 1;
    *last = DEFAULT_GRAPHS;
    int count = set == NULL ? 0 : sscanf(set, "%llu-%llu", first, last);
    ck_assert_msg(set == NULL || count > 0, "AG_RANDOM_GRAPHS is '%s', must be a number or first-last", set);
    if (count == 1) {
        *last = *first;
        *first = 1;
    }
    ck_assert_msg(*first <= *last, "AG_RANDOM_GRAPHS is '%s', which is no graph", set);
}

START_TEST(gradients_are_those_of_differences)
{
    unsigned long long first, last, checked = 0, inconclusive = 0;
    seeds(&first, &last);
    for (unsigned long long seed = first; seed <= last; seed++) {
        graph g = generate(seed);
        if (!can_be_checked(&g))
            continue;
        ag_gradcheck_result result = check_gradients(&g, NULL);
        if (result.verdict == AG_FAIL)
            fail_with(&g);
        checked++;
        inconclusive += result.verdict == AG_INCONCLUSIVE;
    }
    ck_assert_msg(inconclusive <= 1 + checked * 3 / 100, "%llu of %llu graphs are inconclusive", inconclusive, checked);
}
END_TEST

/* ---- Recomputation ---- */

static ag_tensor *evaluate_again(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count;
    ag_tensor *value[GRAPH_NODES];
    return graph_evaluate(user, input, value);
}

/* Makes leaf[count], gives them the gradients of sum(y), and returns y, retained. */
static ag_tensor *differentiate(ag_ctx *ctx, graph *g, bool recompute, ag_tensor **leaf)
{
    int count = graph_make_leaves(ctx, g, leaf);
    ag_rng_set(ctx, (ag_rng){ g->seed, 0 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = recompute ? ag_recompute(ctx, evaluate_again, leaf, count, g)
                             : evaluate_again(ctx, leaf, count, g);
    ck_assert_msg(y != NULL, "graph %llu: %s", (unsigned long long)g->seed, ag_error_message(ctx));
    ag_backward_from(tape, y, ag_full(ctx, AG_F64, ag_ndim(y), ag_shape(y), 1));
    ag_retain(y);
    ag_tape_end(tape);
    return y;
}

static bool same_bits(ag_tensor *a, ag_tensor *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return ag_numel(a) == ag_numel(b) && memcmp(ag_data(ag_tensor_contiguous(a)), ag_data(ag_tensor_contiguous(b)),
                                                (size_t)ag_numel(a) * sizeof(double)) == 0;
}

START_TEST(recomputation_changes_no_bit)
{
    for (uint64_t seed = 1; seed <= COVERING_GRAPHS; seed++) {
        graph g = generate(seed);
        ag_ctx *ctx = begin(seed);
        ag_tensor *leaf[2][GRAPH_NODES] = { { NULL } };
        ag_tensor *plain = differentiate(ctx, &g, false, leaf[0]), *again = differentiate(ctx, &g, true, leaf[1]);
        ck_assert_msg(same_bits(plain, again), "graph %llu: another output", (unsigned long long)seed);
        for (int i = 0; i < GRAPH_NODES && leaf[0][i] != NULL; i++)
            ck_assert_msg(same_bits(ag_grad(leaf[0][i]), ag_grad(leaf[1][i])),
                          "graph %llu: another gradient of leaf %d", (unsigned long long)seed, i);
        ag_release(plain);
        ag_release(again);
        end(ctx, &g);
    }
}
END_TEST

/* ---- What the graphs cover ---- */

enum { OPS_MOST = 128, TAPE_MOST = 1024 };

typedef struct coverage {
    int recorded[OPS_MOST]; /* nodes per op of ag_ops that the output depends on */
    int drawn[OPS_MOST];    /* the same per op of graph_ops */
    int broadcast, shared, leaf_shared, side_branch, unused_leaf, empty; /* graphs that have them */
    int live, nodes;
} coverage;

static void count_recorded(const ag_tape *tape, int64_t output, coverage *c)
{
    bool reached[TAPE_MOST] = { false };
    ck_assert_int_lt(output, TAPE_MOST);
    ck_assert_int_ge(output, 0);
    reached[output] = true;
    for (int64_t i = output; i >= 0; i--) {
        ag_node_view node = ag_tape_node(tape, i);
        for (int k = 0; reached[i] && k < node.input_count; k++)
            if (node.input[k] >= 0)
                reached[node.input[k]] = true;
        for (int k = 0; reached[i] && k < ag_op_count; k++)
            c->recorded[k] += strcmp(node.op, ag_ops[k]->name) == 0;
    }
}

/* Elementwise, of arguments of unequal shapes. */
static bool broadcasts(const graph *g, const graph_node *n)
{
    static const char *const names[] = { "add", "sub", "mul", "div", "maximum", "minimum", "where" };
    bool elementwise = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        elementwise = elementwise || strcmp(n->op->name, names[i]) == 0;
    if (!elementwise)
        return false;
    const graph_shape *a = &g->node[n->arg[n->arg_count - 2]].shape, *b = &g->node[n->arg[n->arg_count - 1]].shape;
    return a->ndim != b->ndim || memcmp(a->extent, b->extent, (size_t)a->ndim * sizeof *a->extent) != 0;
}

static void count_structure(const graph *g, coverage *c)
{
    bool live[GRAPH_NODES];
    int uses[GRAPH_NODES] = { 0 }, used_twice = 0, leaf_twice = 0, dead_ops = 0, dead_leaves = 0, broadcast = 0;
    graph_find_live(g, live);
    for (int i = 0; i < g->count; i++) {
        const graph_node *n = &g->node[i];
        c->nodes++;
        c->live += live[i];
        dead_ops += !live[i] && !graph_is_leaf(n);
        dead_leaves += !live[i] && n->op == &graph_leaf;
        broadcast += live[i] && broadcasts(g, n);
        for (int a = 0; live[i] && a < n->arg_count; a++)
            uses[n->arg[a]]++;
        for (int k = 0; live[i] && k < graph_op_count; k++)
            c->drawn[k] += n->op == &graph_ops[k];
    }
    for (int i = 0; i < g->count; i++) {
        used_twice += uses[i] > 1 && !graph_is_leaf(&g->node[i]);
        leaf_twice += uses[i] > 1 && g->node[i].op == &graph_leaf;
    }
    c->broadcast += broadcast > 0;
    c->shared += used_twice > 0;
    c->leaf_shared += leaf_twice > 0;
    c->side_branch += dead_ops > 0;
    c->unused_leaf += dead_leaves > 0;
    c->empty += !can_be_checked(g);
}

/* What the generator counts on: every value lies in its interval. */
static void assert_in_range(const graph *g, ag_tensor *const *value)
{
    for (int i = 0; i < g->count; i++) {
        const graph_node *n = &g->node[i];
        double slack = 1e-6 * (1 + fabs(n->range.low) + fabs(n->range.high));
        for (int64_t k = 0; k < ag_numel(value[i]); k++) {
            double v = test_at(value[i], k);
            ck_assert_msg(v >= n->range.low - slack && v <= n->range.high + slack,
                          "graph %llu: v%d = %s has %g at %lld, not in [%g, %g]", (unsigned long long)g->seed, i,
                          n->op->name, v, (long long)k, n->range.low, n->range.high);
        }
    }
}

/* An op of unary.def may be left out, and with it new fixtures: all of them share one code on the tape. */
static bool may_be_left_out(const char *op)
{
    bool unary = false, drawn = false;
#define AG_UNARY(name, ...) unary = unary || strcmp(op, #name) == 0;
#include "tensor/kernels/unary.def"
    for (int k = 0; k < graph_op_count; k++)
        drawn = drawn || strcmp(op, graph_ops[k].name) == 0;
    return unary && !drawn;
}

START_TEST(graphs_cover_all_ops)
{
    coverage c;
    memset(&c, 0, sizeof c);
    ck_assert_int_le(ag_op_count, OPS_MOST);
    ck_assert_int_le(graph_op_count, OPS_MOST);
    for (uint64_t seed = 1; seed <= COVERING_GRAPHS; seed++) {
        graph g = generate(seed);
        ag_ctx *ctx = begin(seed);
        ag_tensor *leaf[GRAPH_NODES], *value[GRAPH_NODES];
        graph_make_leaves(ctx, &g, leaf);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *y = graph_evaluate(&g, leaf, value);
        assert_no_error(ctx);
        assert_in_range(&g, value);
        count_recorded(tape, ag_node_of(tape, y), &c);
        count_structure(&g, &c);
        ag_backward_from(tape, y, ag_full(ctx, AG_F64, ag_ndim(y), ag_shape(y), 1));
        ag_tape_end(tape);
        end(ctx, &g);
        for (int k = 0; k < graph_op_count && seed == FIXTURE_GRAPHS; k++)
            ck_assert_msg(c.drawn[k] > 0, "%s occurs in no graph of the fixture", graph_ops[k].name);
    }
    for (int k = 0; k < ag_op_count; k++)
        ck_assert_msg(c.recorded[k] >= ENOUGH || may_be_left_out(ag_ops[k]->name), "%s is recorded %d times",
                      ag_ops[k]->name, c.recorded[k]);
    for (int k = 0; k < graph_op_count; k++)
        ck_assert_msg(c.drawn[k] >= ENOUGH, "%s occurs %d times", graph_ops[k].name, c.drawn[k]);
    const int many = COVERING_GRAPHS / 4;
    ck_assert_int_ge(c.broadcast, many);
    ck_assert_int_ge(c.shared, many);
    ck_assert_int_ge(c.leaf_shared, many);
    ck_assert_int_ge(c.side_branch, many);
    ck_assert_int_ge(c.unused_leaf, many);
    ck_assert_int_ge(c.empty, ENOUGH);
    ck_assert_int_ge(c.live, c.nodes / 2);
}
END_TEST

/* ---- The shrinker ---- */

static void wrong_mul_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_mul(v->gy, v->input[1]));
    ag_vjp_add(v, 1, ag_neg(ag_mul(v->gy, v->input[0])));
}

static const ag_op wrong_mul = { "wrong_mul", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, wrong_mul_vjp };

static ag_tensor *build_wrong_mul(const graph_node *n, ag_tensor *const *x)
{
    (void)n;
    return ag_record(&wrong_mul, ag_mul(ag_detach(x[0]), ag_detach(x[1])), x, 2, NULL, 0, NULL);
}

/* Makes the last product that reaches the output a wrong one; false: there is none. */
static bool plant(graph *g)
{
    static const graph_op planted = { .name = "wrong_mul", .build = build_wrong_mul };
    bool live[GRAPH_NODES], found = false;
    graph_find_live(g, live);
    for (int i = g->count - 1; i >= 0 && !found; i--) {
        found = live[i] && strcmp(g->node[i].op->name, "mul") == 0;
        if (found)
            g->node[i].op = &planted;
    }
    return found;
}

/* In a graph with one wrong product the checker names it, unless rounding to float32 hides single ops. What is left
 * when the graph has shrunk is that product and its leaves; of a square x x the two contributions, one with the wrong
 * sign, cancel. */
START_TEST(shrinking_leaves_the_fault)
{
    int planted = 0, seen = 0;
    for (uint64_t seed = 1; seed <= COVERING_GRAPHS / 2; seed++) {
        graph g = generate(seed);
        if (has_op(&g, "through_float32") || !plant(&g))
            continue;
        planted++;
        ag_gradcheck_result result = { .verdict = AG_PASS };
        if (can_be_checked(&g))
            result = check_gradients(&g, NULL);
        if (result.verdict != AG_FAIL) /* the product does not matter: a mask, a factor 0 */
            continue;
        seen++;
        ck_assert_msg(strcmp(result.op, "wrong_mul") == 0, "graph %llu: the wrong op is found to be '%s'",
                      (unsigned long long)seed, result.op);
        graph_shrink(&g, gradient_is_wrong, NULL);
        ck_assert_msg(has_op(&g, "wrong_mul"), "graph %llu has lost the fault", (unsigned long long)seed);
        ck_assert_msg(g.count <= 3, "graph %llu shrinks to %d nodes", (unsigned long long)seed, g.count);
        result = check_gradients(&g, NULL);
        ck_assert_str_eq(ag_cause_name(result.worst.cause),
                         ag_cause_name(g.count == 3 ? AG_CAUSE_SIGN : AG_CAUSE_ZERO));
    }
    ck_assert_int_ge(planted, 10);
    ck_assert_msg(seen * 10 >= planted * 7, "only %d of %d planted faults are seen", seen, planted);
}
END_TEST

/* ---- PyTorch ---- */

static void print_fixture_graphs(FILE *file)
{
    for (uint64_t seed = 1; seed <= FIXTURE_GRAPHS; seed++) {
        graph g = generate(seed);
        graph_print(file, &g);
    }
    ck_assert_int_eq(fclose(file), 0);
}

/* The graphs of the file are those that are generated now: else the file must be made again. */
START_TEST(graphs_are_those_of_the_fixture)
{
    const char *path = getenv("AG_WRITE_GRAPHS");
    FILE *file = fopen(path != NULL ? path : AG_FIXTURES "/graphs.txt", path != NULL ? "w" : "r");
    ck_assert_msg(file != NULL, "no fixtures/graphs.txt (tests run from the project's root)");
    if (path != NULL) {
        print_fixture_graphs(file);
        return;
    }
    char *text = NULL, line[256];
    size_t size = 0, at = 0;
    FILE *now = open_memstream(&text, &size);
    ck_assert_ptr_nonnull(now);
    print_fixture_graphs(now);
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        size_t length = strcspn(text + at, "\n") + 1;
        ck_assert_msg(at < size && length == strlen(line) && memcmp(line, text + at, length) == 0,
                      "graphs.txt:%d: %sis now %.*s; see fixtures/make_graph_fixtures.py", number, line,
                      (int)length - 1, text + at);
        at += length;
    }
    ck_assert_msg(at == size, "graphs.txt lacks %s", text + at);
    fclose(file);
    free(text);
}
END_TEST

static ag_tensor *stored(ag_safetensors *file, ag_ctx *ctx, uint64_t seed, const char *name)
{
    char full[64];
    int length = snprintf(full, sizeof full, "%llu/%s", (unsigned long long)seed, name);
    ck_assert_int_lt(length, (int)sizeof full);
    ag_tensor *t = ag_safetensors_read(file, full);
    ck_assert_msg(t != NULL, "%s", ag_error_message(ctx));
    return t;
}

/* |got - want| <= 1e-10 max(1, |want|); no gradient is zeros. */
static void expect(uint64_t seed, const char *name, const ag_tensor *got, const ag_tensor *want)
{
    bool same = got == NULL || ag_ndim(got) == ag_ndim(want);
    for (int d = 0; got != NULL && same && d < ag_ndim(got); d++)
        same = ag_shape(got)[d] == ag_shape(want)[d];
    ck_assert_msg(same, "graph %llu: %s is %s, PyTorch has %s", (unsigned long long)seed, name, ag_shape_text(got),
                  ag_shape_text(want));
    for (int64_t i = 0; i < ag_numel(want); i++) {
        double a = got == NULL ? 0 : test_at(got, i), b = test_at(want, i);
        ck_assert_msg(fabs(a - b) <= 1e-10 * fmax(1, fabs(b)), "graph %llu: %s %s at %lld: %.17g, PyTorch has %.17g",
                      (unsigned long long)seed, name, ag_shape_text(want), (long long)i, a, b);
    }
}

static void compare_graph(ag_ctx *ctx, ag_safetensors *file, const graph *g)
{
    ag_tensor *leaf[GRAPH_NODES], *value[GRAPH_NODES];
    char name[GRAPH_NODES][24];
    int count = 0;
    ag_rng_set(ctx, (ag_rng){ g->seed, 0 });
    for (int i = 0; i < g->count; i++)
        if (graph_is_leaf(&g->node[i])) {
            snprintf(name[count], sizeof name[count], "grad/v%d", i);
            ag_tensor *t = stored(file, ctx, g->seed, strchr(name[count], 'v'));
            leaf[count++] = ag_dtype_of(t) == AG_F64 ? ag_require_grad(t) : t;
        }
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = graph_evaluate(g, leaf, value);
    ck_assert_msg(y != NULL, "graph %llu: %s", (unsigned long long)g->seed, ag_error_message(ctx));
    expect(g->seed, "y", y, stored(file, ctx, g->seed, "y"));
    ag_backward_from(tape, y, stored(file, ctx, g->seed, "gy"));
    ag_tape_end(tape);
    assert_no_error(ctx);
    for (int k = 0; k < count; k++)
        if (ag_dtype_of(leaf[k]) == AG_F64)
            expect(g->seed, name[k], ag_grad(leaf[k]), stored(file, ctx, g->seed, name[k]));
}

START_TEST(values_and_gradients_are_those_of_pytorch)
{
    ag_ctx *ctx = begin(0);
    ag_safetensors *file = ag_safetensors_open(ctx, AG_FIXTURES "/graphs.safetensors");
    ck_assert_msg(file != NULL, "%s (tests run from the project's root)", ag_error_message(ctx));
    for (uint64_t seed = 1; seed <= FIXTURE_GRAPHS; seed++) {
        graph g = generate(seed);
        ag_scope_begin(ctx, NULL);
        compare_graph(ctx, file, &g);
        ag_scope_end(ctx, NULL);
    }
    ag_safetensors_close(file);
    test_end(ctx);
}
END_TEST

/* ---- The suite ---- */

Suite *random_graphs_suite(void)
{
    Suite *suite = suite_create("random_graphs");
    TCase *graphs = tcase_create("graphs");
    tcase_set_timeout(graphs, 0); /* AG_RANDOM_GRAPHS may ask for any number */
    tcase_add_test(graphs, gradients_are_those_of_differences);
    tcase_add_test(graphs, recomputation_changes_no_bit);
    tcase_add_test(graphs, graphs_cover_all_ops);
    tcase_add_test(graphs, shrinking_leaves_the_fault);
    tcase_add_test(graphs, graphs_are_those_of_the_fixture);
    tcase_add_test(graphs, values_and_gradients_are_those_of_pytorch);
    suite_add_tcase(suite, graphs);
    return suite;
}
