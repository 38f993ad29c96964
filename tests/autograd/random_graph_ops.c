/* SPDX-License-Identifier: MIT
 *
 * random_graph_ops.c - what a random graph is made of: each op with how it is drawn, see random_graph_draw.c, and the
 * call that builds it. The table is random_graph_ops.def.
 */
#include "tests/autograd/random_graph_draw.h"

const graph_op graph_leaf = { .name = "leaf", .list = "shape", .number = { "low", "high" } };
const graph_op graph_integers = { .name = "integers", .list = "shape", .number = { "below" } };

static int integer(const graph_node *n, int i)
{
    return (int)n->number[i];
}

/* The list as extents. */
static void extents_of(const graph_node *n, int64_t extent[AG_MAX_DIMS])
{
    for (int i = 0; i < n->list_count; i++)
        extent[i] = n->list[i];
}

static ag_tensor *reshape(const graph_node *n, ag_tensor *const *x)
{
    int64_t extent[AG_MAX_DIMS];
    extents_of(n, extent);
    return ag_reshape(x[0], n->list_count, extent);
}

static ag_tensor *expand(const graph_node *n, ag_tensor *const *x)
{
    int64_t extent[AG_MAX_DIMS];
    extents_of(n, extent);
    return ag_expand(x[0], n->list_count, extent);
}

static ag_tensor *split(const graph_node *n, ag_tensor *const *x)
{
    ag_tensor *piece[GRAPH_NUMEL];
    ag_split(x[0], integer(n, 0), integer(n, 1), piece);
    return piece[integer(n, 2)];
}

static ag_tensor *cross_entropy(const graph_node *n, ag_tensor *const *x)
{
    ag_cross_entropy_config config = {
        .reduction = integer(n, 0) ? AG_SUM : AG_MEAN,
        .label_smoothing = n->number[1],
        .ignore = integer(n, 2) >= 0,
        .ignore_index = integer(n, 2),
    };
    return ag_cross_entropy_with(x[0], x[1], config);
}

static ag_tensor *sdpa(const graph_node *n, ag_tensor *const *x)
{
    ag_sdpa_config config = {
        .mask = { .causal = integer(n, 0), .offset = integer(n, 1), .back = integer(n, 2), .ahead = integer(n, 2) },
        .scale = n->number[3],
        .dropout = n->number[4],
    };
    return ag_sdpa(x[0], x[1], x[2], config);
}

static ag_tensor *rope(const graph_node *n, ag_tensor *const *x)
{
    if (x[0] == NULL)
        return NULL;
    int64_t T = ag_dim(x[0], 2);
    ag_tensor *table = ag_rope_table(ag_ctx_of(x[0]), ag_dtype_of(x[0]), (ag_rope_config){ .size = integer(n, 0) },
                                     ag_dim(x[0], 3), 0, T > ROPE_ROWS ? T : ROPE_ROWS);
    return ag_rope(x[0], table, n->arg_count > 1 ? x[1] : NULL, integer(n, 1) ? AG_ROPE_NEIGHBOURS : AG_ROPE_HALVES);
}

#define OP(name, draw, result, ...)                                             \
    static ag_tensor *build_##name(const graph_node *n, ag_tensor *const *x)     \
    {                                                                            \
        (void)n;                                                                 \
        return result;                                                           \
    }
#include "tests/autograd/random_graph_ops.def"
#undef OP

const graph_op graph_ops[] = {
#define OP(name, draw, result, list, ...) { #name, list, { __VA_ARGS__ }, draw_##draw, build_##name },
#include "tests/autograd/random_graph_ops.def"
#undef OP
};
const int graph_op_count = sizeof graph_ops / sizeof *graph_ops;
