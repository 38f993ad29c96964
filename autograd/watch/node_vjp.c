/* SPDX-License-Identifier: MIT
 *
 * node_vjp.c - what the vjp of one node contributes to each input. The gradients of the inputs' nodes are put aside
 * while it runs. Of inputs that are one node, all but the first get a node of their own at the end of the tape.
 */
#include "autograd/watch/node_vjp.h"

#include <string.h>

/* Gives input i a node of its own, when an earlier input is the same node. False on error. */
static bool node_apart(ag_tape *tape, int64_t *edge, int i)
{
    int first = 0;
    while (edge[first] != edge[i])
        first++;
    if (first == i || edge[i] < 0)
        return true;
    if (!ag_grow(tape->ctx, (void **)&tape->nodes, &tape->node_capacity, tape->node_count + 1, sizeof *tape->nodes))
        return false;
    ag_node *apart = &tape->nodes[tape->node_count];
    *apart = tape->nodes[edge[i]];
    *apart = (ag_node){ .op = &ag_op_leaf, .path = apart->path, .ndim = apart->ndim, .dtype = apart->dtype,
                        .first_edge = tape->edge_count, .attr = tape->attr_count };
    memcpy(apart->shape, tape->nodes[edge[i]].shape, sizeof apart->shape);
    edge[i] = tape->node_count++;
    return true;
}

/* Exchanges g[] and the gradients of the nodes edge[count]. */
static void node_exchange(ag_tape *tape, int count, const int64_t *edge, ag_tensor **g)
{
    for (int i = 0; i < count; i++) {
        if (edge[i] < 0)
            continue;
        ag_tensor *other = g[i];
        g[i] = tape->nodes[edge[i]].grad;
        tape->nodes[edge[i]].grad = other;
    }
}

bool ag_node_vjp(ag_tape *tape, int64_t number, ag_tensor *gy, ag_tensor **contribution)
{
    ag_ctx *ctx = tape->ctx;
    const int count = tape->nodes[number].input_count;
    const int64_t first = tape->nodes[number].first_edge, end = tape->node_count;
    const size_t bytes = (size_t)count * sizeof(int64_t);
    const bool paused = tape->paused;
    ag_tensor *before = tape->nodes[number].grad;
    for (int i = 0; i < count; i++)
        contribution[i] = NULL;
    int64_t *edge = ag_alloc(ctx, bytes);
    if (edge == NULL)
        return false;
    memcpy(edge, &tape->edges[first], bytes);
    bool good = true;
    for (int i = 0; i < count && good; i++)
        good = node_apart(tape, &tape->edges[first], i);
    if (good) {
        node_exchange(tape, count, &tape->edges[first], contribution);
        ag_scope_begin_at(ctx, tape->nodes[number].path);
        tape->paused = true;
        tape->nodes[number].grad = ag_retain(gy); /* so that a vjp does not take it for its own to overwrite */
        ag_run_vjp(tape, 1, &number);
        ag_release(tape->nodes[number].grad);
        tape->nodes[number].grad = before;
        tape->paused = paused;
        ag_scope_end(ctx, NULL);
        node_exchange(tape, count, &tape->edges[first], contribution);
    }
    memcpy(&tape->edges[first], edge, bytes);
    ag_free(ctx, edge, bytes);
    ag_tape_cut(tape, end);
    for (int i = 0; i < count && ag_error(ctx) != AG_OK; i++) {
        ag_release(contribution[i]);
        contribution[i] = NULL;
    }
    return ag_error(ctx) == AG_OK;
}
