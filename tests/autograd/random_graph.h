/* SPDX-License-Identifier: MIT
 *
 * random_graph.h - random expression graphs as data, for the property tests of check_random_graphs.c.
 *
 * A graph is a list of nodes, arguments before their users, made from a seed alone. Its last node is the output.
 * Nodes that the output does not depend on are side branches and unused leaves. Every node carries an interval that
 * holds its values: so logarithms, roots and quotients stay where they are smooth, nothing grows, and any node can be
 * replaced by a leaf drawn from its interval, which is how a failing graph shrinks.
 */
#ifndef TESTS_RANDOM_GRAPH_H
#define TESTS_RANDOM_GRAPH_H

#include "attngrad.h"

enum {
    GRAPH_NODES = 64,
    GRAPH_ARGS = 4,
    GRAPH_NUMBERS = 5,
    GRAPH_DIMS = 4, /* at the most, of a value */
    GRAPH_NUMEL = 64
};

typedef struct graph_node graph_node;
typedef struct graph_draft graph_draft;

typedef struct graph_op {
    const char *name;
    const char *list;                  /* what node.list is called in the text; NULL: it has none */
    const char *number[GRAPH_NUMBERS]; /* what node.number[..] are called, up to the first NULL */
    /* Draws arguments, attributes and the interval of a node; false: there is none that would do. */
    bool (*draw)(graph_draft *d, graph_node *n);
    ag_tensor *(*build)(const graph_node *n, ag_tensor *const *x);
} graph_op;

typedef struct graph_interval {
    double low, high;
} graph_interval;

typedef struct graph_shape {
    int ndim;
    int64_t extent[AG_MAX_DIMS];
} graph_shape;

struct graph_node {
    const graph_op *op;
    int arg_count, arg[GRAPH_ARGS]; /* node numbers */
    int list_count;
    int list[AG_MAX_DIMS];         /* a shape, or dims */
    double number[GRAPH_NUMBERS];
    uint32_t key;                  /* stays when the node's number changes: a leaf's values depend on it */
    graph_interval range;
    graph_shape shape;
};

typedef struct graph {
    uint64_t seed;
    int count;
    graph_node node[GRAPH_NODES];
} graph;

/* Every op that a graph can have; and its leaves, which nothing draws or builds. */
extern const graph_op graph_ops[];
extern const int graph_op_count;
extern const graph_op graph_leaf, graph_integers;

/* The next number of a stream. (splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", 2014.) */
uint64_t graph_random(uint64_t *state);

/* The graph of a seed. Its values are computed on the way: an error of the library shows on ctx, and ends it. */
void graph_generate(ag_ctx *ctx, uint64_t seed, graph *g);

bool graph_is_leaf(const graph_node *n); /* of reals or integers */

/* The leaf of a node, with its values: float64 that requires a gradient, or int32. */
ag_tensor *graph_make_leaf(ag_ctx *ctx, const graph *g, int node);

/* All leaves into leaf[], in the order of their nodes. Returns how many. */
int graph_make_leaves(ag_ctx *ctx, const graph *g, ag_tensor **leaf);

/* A node's value from those before it; not of a leaf. */
ag_tensor *graph_evaluate_node(const graph_node *n, ag_tensor *const *value);

/* All values from leaves that graph_make_leaves made. Returns the output. */
ag_tensor *graph_evaluate(const graph *g, ag_tensor *const *leaf, ag_tensor *value[GRAPH_NODES]);

void graph_set_shape(graph_node *n, const ag_tensor *value); /* the value's */

/* live[i]: the output depends on node i. */
void graph_find_live(const graph *g, bool live[GRAPH_NODES]);

/* One line per node, "v4 = sum(v2, dims=[0], keepdim=1)  # [1,3]", which are Python too. */
void graph_print(FILE *file, const graph *g);

/* Makes g the smallest graph found for which `fails` still says true, as it does for g: by a node before the output in
 * its place, by an argument in the place of its user, by leaves in the place of values, and without side branches. */
typedef bool graph_predicate(const graph *g, void *user);
void graph_shrink(graph *g, graph_predicate *fails, void *user);

#endif
