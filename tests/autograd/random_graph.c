/* SPDX-License-Identifier: MIT
 *
 * random_graph.c - evaluating, printing and shrinking random graphs; see random_graph.h.
 */
#include "tests/autograd/random_graph.h"

#include <string.h>

uint64_t graph_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* ---- Leaves ---- */

bool graph_is_leaf(const graph_node *n)
{
    return n->op == &graph_leaf || n->op == &graph_integers;
}

ag_tensor *graph_make_leaf(ag_ctx *ctx, const graph *g, int node)
{
    const graph_node *n = &g->node[node];
    bool integers = n->op == &graph_integers;
    ag_tensor *t = ag_empty(ctx, integers ? AG_I32 : AG_F64, n->shape.ndim, n->shape.extent);
    if (t == NULL)
        return NULL;
    void *data = ag_data_mut(t);
    uint64_t state = g->seed * 1000003 + n->key;
    for (int64_t i = 0; i < ag_numel(t); i++) {
        uint64_t word = graph_random(&state);
        if (integers)
            ((int32_t *)data)[i] = (int32_t)(word % (uint64_t)n->number[0]);
        else
            ((double *)data)[i] = n->range.low + (n->range.high - n->range.low) * (double)(word >> 11) * 0x1p-53;
    }
    return integers ? t : ag_require_grad(t);
}

int graph_make_leaves(ag_ctx *ctx, const graph *g, ag_tensor **leaf)
{
    int count = 0;
    for (int i = 0; i < g->count; i++)
        if (graph_is_leaf(&g->node[i]))
            leaf[count++] = graph_make_leaf(ctx, g, i);
    return count;
}

/* ---- Evaluating ---- */

ag_tensor *graph_evaluate_node(const graph_node *n, ag_tensor *const *value)
{
    ag_tensor *x[GRAPH_ARGS];
    for (int a = 0; a < n->arg_count; a++) {
        x[a] = value[n->arg[a]];
        if (x[a] == NULL)
            return NULL;
    }
    return n->op->build(n, x);
}

ag_tensor *graph_evaluate(const graph *g, ag_tensor *const *leaf, ag_tensor *value[GRAPH_NODES])
{
    int leaves = 0;
    for (int i = 0; i < g->count; i++)
        value[i] = graph_is_leaf(&g->node[i]) ? leaf[leaves++] : graph_evaluate_node(&g->node[i], value);
    return value[g->count - 1];
}

void graph_set_shape(graph_node *n, const ag_tensor *value)
{
    n->shape.ndim = ag_ndim(value);
    for (int i = 0; i < n->shape.ndim; i++)
        n->shape.extent[i] = ag_shape(value)[i];
}

void graph_find_live(const graph *g, bool live[GRAPH_NODES])
{
    memset(live, 0, GRAPH_NODES * sizeof *live);
    live[g->count - 1] = true;
    for (int i = g->count - 1; i >= 0; i--)
        for (int a = 0; live[i] && a < g->node[i].arg_count; a++)
            live[g->node[i].arg[a]] = true;
}

/* ---- Printing ---- */

static void print_node(FILE *file, const graph_node *n)
{
    const char *comma = "";
    fprintf(file, "%s(", n->op->name);
    for (int a = 0; a < n->arg_count; a++, comma = ", ")
        fprintf(file, "%sv%d", comma, n->arg[a]);
    if (n->op->list != NULL) {
        fprintf(file, "%s%s=[", comma, n->op->list);
        for (int i = 0; i < n->list_count; i++)
            fprintf(file, "%s%d", i > 0 ? "," : "", n->list[i]);
        fputc(']', file);
        comma = ", ";
    }
    for (int i = 0; i < GRAPH_NUMBERS && n->op->number[i] != NULL; i++, comma = ", ")
        ag_fprintf(file, "%s%s=%g", comma, n->op->number[i], n->number[i]);
    fputc(')', file);
}

void graph_print(FILE *file, const graph *g)
{
    fprintf(file, "# graph %llu\n", (unsigned long long)g->seed);
    for (int i = 0; i < g->count; i++) {
        fprintf(file, "v%d = ", i);
        print_node(file, &g->node[i]);
        fprintf(file, "  # [");
        for (int k = 0; k < g->node[i].shape.ndim; k++)
            fprintf(file, "%s%lld", k > 0 ? "," : "", (long long)g->node[i].shape.extent[k]);
        fprintf(file, "]\n");
    }
}

/* ---- Shrinking ---- */

/* Nobody may use it. */
static void remove_node(graph *g, int node)
{
    g->count--;
    memmove(&g->node[node], &g->node[node + 1], (size_t)(g->count - node) * sizeof *g->node);
    for (int i = node; i < g->count; i++)
        for (int a = 0; a < g->node[i].arg_count; a++)
            g->node[i].arg[a] -= g->node[i].arg[a] > node;
}

static void remove_dead(graph *g)
{
    bool live[GRAPH_NODES];
    graph_find_live(g, live);
    for (int i = g->count - 1; i >= 0; i--)
        if (!live[i])
            remove_node(g, i);
}

/* Ops count before leaves: a leaf in the place of an op makes the graph smaller. */
static int size_of(const graph *g)
{
    int size = 0;
    for (int i = 0; i < g->count; i++)
        size += graph_is_leaf(&g->node[i]) ? 1 : GRAPH_NODES;
    return size;
}

typedef struct shrinking {
    graph *best;
    graph_predicate *fails;
    void *user;
} shrinking;

/* Gives all nodes the shapes that they have now; false: the graph is none, its shapes do not fit. */
static bool set_shapes(graph *g)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1 });
    ag_tensor *leaf[GRAPH_NODES], *value[GRAPH_NODES];
    if (ctx == NULL)
        return false;
    graph_make_leaves(ctx, g, leaf);
    graph_evaluate(g, leaf, value);
    bool good = ag_error(ctx) == AG_OK;
    for (int i = 0; i < g->count && good; i++)
        graph_set_shape(&g->node[i], value[i]);
    ag_ctx_free(ctx);
    return good;
}

/* Takes a smaller graph that still fails, best without its side branches. */
static bool take(const shrinking *s, const graph *smaller)
{
    graph tried = *smaller;
    if (!set_shapes(&tried))
        return false;
    graph whole = tried;
    remove_dead(&tried);
    for (int i = 0; i < 2; i++, tried = whole)
        if (size_of(&tried) < size_of(s->best) && s->fails(&tried, s->user)) {
            *s->best = tried;
            return true;
        }
    return false;
}

/* The graph up to a node, which becomes the output. */
static bool end_at(const shrinking *s, int node)
{
    graph tried = *s->best;
    tried.count = node + 1;
    return !graph_is_leaf(&tried.node[node]) && take(s, &tried);
}

/* An argument in the place of its user. Values change, and shapes may: not every graph that results is one. */
static bool replace_by_argument(const shrinking *s, int node)
{
    const graph_node *n = &s->best->node[node];
    for (int a = 0; a < n->arg_count && node < s->best->count - 1; a++) {
        graph tried = *s->best;
        for (int i = node + 1; i < tried.count; i++)
            for (int b = 0; b < tried.node[i].arg_count; b++)
                if (tried.node[i].arg[b] == node)
                    tried.node[i].arg[b] = n->arg[a];
        remove_node(&tried, node);
        if (take(s, &tried))
            return true;
    }
    return false;
}

/* A leaf of the node's shape, and of values like its. */
static bool replace_by_leaf(const shrinking *s, int node)
{
    graph tried = *s->best;
    graph_node *n = &tried.node[node];
    if (graph_is_leaf(n) || node == tried.count - 1)
        return false;
    n->op = &graph_leaf;
    n->arg_count = 0;
    n->list_count = n->shape.ndim;
    for (int i = 0; i < n->shape.ndim; i++)
        n->list[i] = (int)n->shape.extent[i];
    n->number[0] = n->range.low;
    n->number[1] = n->range.high;
    return take(s, &tried);
}

static bool without(const shrinking *s, int node)
{
    bool live[GRAPH_NODES];
    graph_find_live(s->best, live);
    if (live[node])
        return false;
    /* What a dead node's dead users are is no matter: they come after it and go first. */
    for (int i = node + 1; i < s->best->count; i++)
        for (int a = 0; a < s->best->node[i].arg_count; a++)
            if (s->best->node[i].arg[a] == node)
                return false;
    graph tried = *s->best;
    remove_node(&tried, node);
    return take(s, &tried);
}

static bool shrink_once(const shrinking *s)
{
    static bool (*const step[])(const shrinking *, int) = { end_at, replace_by_leaf, replace_by_argument, without };
    for (size_t k = 0; k < sizeof step / sizeof *step; k++)
        for (int i = 0; i < s->best->count; i++)
            if (step[k](s, i))
                return true;
    return false;
}

void graph_shrink(graph *g, graph_predicate *fails, void *user)
{
    shrinking s = { g, fails, user };
    while (shrink_once(&s))
        ;
}
