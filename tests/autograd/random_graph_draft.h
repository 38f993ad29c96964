/* SPDX-License-Identifier: MIT
 *
 * random_graph_draft.h - a graph while it is drawn, and what its ops draw from it: arguments that fit, new leaves,
 * shapes. Everything depends on the seed alone.
 */
#ifndef TESTS_RANDOM_GRAPH_DRAFT_H
#define TESTS_RANDOM_GRAPH_DRAFT_H

#include "tests/autograd/random_graph.h"

struct graph_draft {
    graph *g;
    ag_ctx *ctx;
    uint64_t state; /* of the random numbers */
    int newest; /* the last op's node */
    bool used[GRAPH_NODES];
    ag_tensor *value[GRAPH_NODES];
};

int draft_below(graph_draft *d, int64_t n); /* uniform in 0 .. n-1; n >= 1 */
bool draft_chance(graph_draft *d, int percent);
const graph_node *draft_node(const graph_draft *d, int node);

/* ---- Shapes ---- */

int64_t shape_numel(const graph_shape *s);
int64_t shape_last(const graph_shape *s); /* extent */
/* Aligned at the end, dims are equal or 1; the last `skip` dims aside. */
bool shapes_broadcast(const graph_shape *a, const graph_shape *b, int skip);

int64_t draft_extent(graph_draft *d); /* 1 to 5, rarely 0 */
void draft_flatten(graph_draft *d, graph_shape *s, int dims); /* some of the first `dims` extents become 1 */
graph_shape draft_narrower(graph_draft *d, graph_shape s); /* one that broadcasts to s */
graph_shape draft_partner_shape(graph_draft *d, graph_shape s); /* one that broadcasts with s, and may widen it */

/* ---- Arguments: node numbers, -1 when there is none, or no room ---- */

extern const graph_interval draft_generic, draft_positive; /* of new leaves */

int draft_leaf(graph_draft *d, graph_shape shape, graph_interval range);
int draft_integers(graph_draft *d, graph_shape shape, int64_t limit); /* a leaf in 0 .. limit-1 */

/* Whether a node would do, with another. */
typedef bool draft_fits(const graph_draft *d, const graph_node *n, const graph_node *other);
draft_fits has_dims, has_elements, has_rows /* both */, has_dim_of_one, has_heads /* [B,H,T,D] */, is_table, is_strided;
draft_fits has_repeats; /* expanded */
draft_fits is_positive, is_divisor; /* 0.25 or more away from 0 */
draft_fits multiplies; /* other n is a product of matrices or vectors */

/* One that fits: most often the newest, else rather what nothing uses yet. */
int draft_choose(graph_draft *d, draft_fits *fits, const graph_node *other);
/* These draw a new leaf when nothing fits, and sometimes anyway. */
int draft_any(graph_draft *d);
int draft_away_from_zero(graph_draft *d, draft_fits *fits);
int draft_of_shape(graph_draft *d, graph_shape shape);
int draft_partner(graph_draft *d, int node); /* one that broadcasts with a node */

#endif
