/* SPDX-License-Identifier: MIT
 *
 * random_graph_draft.c - drawing random graphs: random numbers, shapes, the choice of arguments, and the generator.
 * See random_graph_draft.h.
 */
#include "tests/autograd/random_graph_draft.h"

#include <string.h>

enum { MOST_OPS = 16 }; /* before loose ends are joined */

const graph_interval draft_generic = { -1.5, 1.5 }, draft_positive = { 0.5, 2 };

/* ---- Random numbers ---- */

int draft_below(graph_draft *d, int64_t n)
{
    return (int)(graph_random(&d->state) % (uint64_t)n);
}

bool draft_chance(graph_draft *d, int percent)
{
    return draft_below(d, 100) < percent;
}

/* ---- Shapes ---- */

int64_t shape_numel(const graph_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++)
        n *= s->extent[i];
    return n;
}

static bool shape_same(const graph_shape *a, const graph_shape *b)
{
    return a->ndim == b->ndim && memcmp(a->extent, b->extent, (size_t)a->ndim * sizeof *a->extent) == 0;
}

int64_t shape_last(const graph_shape *s)
{
    return s->extent[s->ndim - 1];
}

int64_t draft_extent(graph_draft *d)
{
    return draft_chance(d, 2) ? 0 : 1 + draft_below(d, 5);
}

static graph_shape draw_shape(graph_draft *d)
{
    graph_shape s = { .ndim = draft_chance(d, 6) ? 0 : 1 + draft_below(d, GRAPH_DIMS) };
    for (int i = 0; i < s.ndim; i++)
        s.extent[i] = draft_extent(d);
    for (int i = 0; shape_numel(&s) > GRAPH_NUMEL / 2; i++)
        s.extent[i] = 1 + draft_below(d, 2);
    return s;
}

/* Its first dims. */
static void shape_drop(graph_shape *s, int count)
{
    s->ndim -= count;
    memmove(s->extent, s->extent + count, (size_t)s->ndim * sizeof *s->extent);
}

void draft_flatten(graph_draft *d, graph_shape *s, int dims)
{
    for (int i = 0; i < dims; i++)
        if (draft_chance(d, 30))
            s->extent[i] = 1;
}

graph_shape draft_narrower(graph_draft *d, graph_shape s)
{
    draft_flatten(d, &s, s.ndim);
    if (draft_chance(d, 35))
        shape_drop(&s, draft_below(d, s.ndim + 1));
    return s;
}

graph_shape draft_partner_shape(graph_draft *d, graph_shape s)
{
    for (int i = 0; i < s.ndim; i++)
        if (s.extent[i] == 1 && draft_chance(d, 30))
            s.extent[i] = 1 + draft_below(d, 3);
    int ndim = s.ndim;
    s = draft_narrower(d, s);
    if (s.ndim == ndim && ndim < GRAPH_DIMS && draft_chance(d, 20)) {
        memmove(s.extent + 1, s.extent, (size_t)s.ndim * sizeof *s.extent);
        s.extent[0] = 1 + draft_below(d, 3);
        s.ndim++;
    }
    return s;
}

/* ---- Choosing arguments ---- */

const graph_node *draft_node(const graph_draft *d, int node)
{
    return &d->g->node[node];
}

static bool is_any(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d, (void)n, (void)other;
    return true;
}

bool has_dims(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d, (void)other;
    return n->shape.ndim > 0;
}

bool has_elements(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d, (void)other;
    return shape_numel(&n->shape) > 0;
}

bool has_rows(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    return has_dims(d, n, other) && has_elements(d, n, other);
}

bool has_dim_of_one(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d, (void)other;
    bool found = false;
    for (int i = 0; i < n->shape.ndim; i++)
        found = found || n->shape.extent[i] == 1;
    return found;
}

bool is_strided(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)other;
    return !ag_is_contiguous(d->value[n - d->g->node]);
}

bool has_repeats(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)other;
    const ag_tensor *value = d->value[n - d->g->node];
    bool found = false;
    for (int i = 0; i < n->shape.ndim; i++)
        found = found || (n->shape.extent[i] > 1 && ag_stride(value)[i] == 0);
    return found && shape_numel(&n->shape) > 0;
}

bool is_table(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d, (void)other;
    return n->shape.ndim == 2 && n->shape.extent[0] > 0;
}

bool has_heads(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    return n->shape.ndim == 4 && has_elements(d, n, other);
}

bool is_positive(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d, (void)other;
    return n->range.low >= 0.25;
}

bool is_divisor(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    return is_positive(d, n, other) || n->range.high <= -0.25;
}

static bool has_shape(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d;
    return shape_same(&n->shape, &other->shape);
}

bool shapes_broadcast(const graph_shape *a, const graph_shape *b, int skip)
{
    bool fits = true;
    for (int i = a->ndim - 1 - skip, j = b->ndim - 1 - skip; i >= 0 && j >= 0; i--, j--)
        fits = fits && (a->extent[i] == b->extent[j] || a->extent[i] == 1 || b->extent[j] == 1);
    return fits;
}

static bool broadcasts(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d;
    return shapes_broadcast(&n->shape, &other->shape, 0);
}

bool multiplies(const graph_draft *d, const graph_node *n, const graph_node *other)
{
    (void)d;
    if (n->shape.ndim == 0)
        return false;
    int64_t inner = n->shape.extent[n->shape.ndim > 1 ? n->shape.ndim - 2 : 0];
    return inner == shape_last(&other->shape) && shapes_broadcast(&n->shape, &other->shape, 2);
}

int draft_choose(graph_draft *d, draft_fits *fits, const graph_node *other)
{
    int chosen = -1, total = 0;
    for (int i = 0; i < d->g->count; i++) {
        const graph_node *n = draft_node(d, i);
        if (n->op == &graph_integers || !fits(d, n, other))
            continue;
        int weight = d->used[i] ? 2 : i == d->newest ? 24 : 4;
        total += weight;
        if (draft_below(d, total) < weight)
            chosen = i;
    }
    return chosen;
}

static int random_leaf(graph_draft *d)
{
    graph_shape shape = draw_shape(d);
    return draft_leaf(d, shape, draft_chance(d, 25) ? draft_positive : draft_generic);
}

int draft_any(graph_draft *d)
{
    int node = draft_chance(d, 12) ? -1 : draft_choose(d, is_any, NULL);
    return node >= 0 ? node : random_leaf(d);
}

int draft_away_from_zero(graph_draft *d, draft_fits *fits)
{
    int node = draft_chance(d, 12) ? -1 : draft_choose(d, fits, NULL);
    return node >= 0 ? node : draft_leaf(d, draw_shape(d), draft_positive);
}

int draft_of_shape(graph_draft *d, graph_shape shape)
{
    graph_node like = { .shape = shape };
    int node = draft_chance(d, 50) ? draft_choose(d, has_shape, &like) : -1;
    return node >= 0 ? node : draft_leaf(d, shape, draft_generic);
}

int draft_partner(graph_draft *d, int node)
{
    if (node < 0)
        return -1;
    int partner = draft_chance(d, 50) ? draft_choose(d, broadcasts, draft_node(d, node)) : -1;
    return partner >= 0 ? partner : draft_leaf(d, draft_partner_shape(d, draft_node(d, node)->shape), draft_generic);
}

/* ---- Generating ---- */

static void append(graph_draft *d, const graph_node *n, ag_tensor *value)
{
    graph *g = d->g;
    d->value[g->count] = value;
    d->used[g->count] = false;
    g->node[g->count] = *n;
    g->node[g->count].key = (uint32_t)g->count;
    for (int a = 0; a < n->arg_count; a++)
        d->used[n->arg[a]] = true;
    if (!graph_is_leaf(n))
        d->newest = g->count;
    g->count++;
}

static int append_leaf(graph_draft *d, graph_node *n, graph_shape shape)
{
    graph *g = d->g;
    if (g->count == GRAPH_NODES)
        return -1;
    n->shape = shape;
    n->list_count = shape.ndim;
    for (int i = 0; i < shape.ndim; i++)
        n->list[i] = (int)shape.extent[i];
    append(d, n, NULL);
    d->value[g->count - 1] = graph_make_leaf(d->ctx, g, g->count - 1);
    return g->count - 1;
}

int draft_leaf(graph_draft *d, graph_shape shape, graph_interval range)
{
    graph_node n = { .op = &graph_leaf, .range = range, .number = { range.low, range.high } };
    return append_leaf(d, &n, shape);
}

int draft_integers(graph_draft *d, graph_shape shape, int64_t limit)
{
    double most = (double)limit;
    graph_node n = { .op = &graph_integers, .range = { 0, most - 1 }, .number = { most } };
    return append_leaf(d, &n, shape);
}

/* Not too large, and of values that stay tame. */
static bool is_fine(const ag_tensor *y, graph_interval range)
{
    return ag_ndim(y) <= GRAPH_DIMS && ag_numel(y) <= GRAPH_NUMEL && range.low >= -20 && range.high <= 20;
}

/* Appends a node whose arguments and attributes are drawn; false: its value is not fine. */
static bool add_node(graph_draft *d, graph_node *n)
{
    ag_tensor *y = d->g->count < GRAPH_NODES ? graph_evaluate_node(n, d->value) : NULL;
    if (y == NULL || !is_fine(y, n->range))
        return false;
    graph_set_shape(n, y);
    append(d, n, y);
    return true;
}

/* Appends a node of a random op, and the leaves that it wants; false: nothing was appended. */
static bool add_op(graph_draft *d)
{
    int before = d->g->count;
    bool used[GRAPH_NODES];
    memcpy(used, d->used, sizeof used);
    graph_node n = { .op = &graph_ops[draft_below(d, graph_op_count)] };
    if (n.op->draw(d, &n) && add_node(d, &n))
        return true;
    d->g->count = before;
    memcpy(d->used, used, sizeof used);
    return false;
}

static const graph_op *op_named(const char *name)
{
    int i = 0;
    while (strcmp(graph_ops[i].name, name) != 0)
        i++;
    return &graph_ops[i];
}

/* Adds a loose end, or its mean, to the newest value. */
static void join(graph_draft *d, int end)
{
    graph_interval a = draft_node(d, d->newest)->range, b = draft_node(d, end)->range;
    graph_node mean = { .op = op_named("mean"), .arg_count = 1, .arg = { end }, .range = b };
    graph_node add = { .op = op_named("add"), .arg_count = 2, .arg = { d->newest, end } };
    add.range = (graph_interval){ a.low + b.low, a.high + b.high };
    if (!shapes_broadcast(&draft_node(d, d->newest)->shape, &draft_node(d, end)->shape, 0)) {
        if (!has_elements(d, draft_node(d, end), NULL) || !add_node(d, &mean))
            return;
        add.arg[1] = d->newest;
    }
    add_node(d, &add);
}

void graph_generate(ag_ctx *ctx, uint64_t seed, graph *g)
{
    memset(g, 0, sizeof *g);
    g->seed = seed;
    graph_draft d = { .g = g, .ctx = ctx, .state = seed };
    ag_scope_begin(ctx, NULL);
    int ops = 1 + draft_below(&d, MOST_OPS);
    while (ops > 0 && g->count < GRAPH_NODES - 2 * GRAPH_ARGS && ag_error(ctx) == AG_OK)
        ops -= add_op(&d);
    for (int i = g->count - 1; i >= 0; i--)
        if (!d.used[i] && i != d.newest && !graph_is_leaf(&g->node[i]) && draft_chance(&d, 60))
            join(&d, i);
    ag_scope_end(ctx, NULL);
}
