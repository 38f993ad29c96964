/* SPDX-License-Identifier: MIT
 *
 * tape.c - recording: the tape's life, and ag_record. Backward is in backward.c.
 */
#include "autograd/tape_impl.h"

#include <math.h>
#include <string.h>

const ag_op ag_op_leaf = { .name = "leaf" };

static ag_tape *running_tape(const ag_ctx *ctx)
{
    return (ag_tape *)ag_recorder_of(ctx);
}

static void tape_free(ag_tape *tape)
{
    ag_ctx *ctx = tape->ctx;
    for (int64_t i = 0; i < tape->edge_count; i++)
        ag_release(tape->kept[i].tensor);
    for (int64_t i = 0; i < tape->node_count; i++) {
        ag_release(tape->nodes[i].watched);
        ag_release(tape->nodes[i].grad);
        ag_release(tape->nodes[i].output.tensor);
        ag_release(tape->nodes[i].extra.tensor);
    }
    ag_free(ctx, tape->nodes, (size_t)tape->node_capacity * sizeof *tape->nodes);
    ag_free(ctx, tape->edges, (size_t)tape->edge_capacity * sizeof *tape->edges);
    ag_free(ctx, tape->attrs, (size_t)tape->attr_capacity * sizeof *tape->attrs);
    ag_free(ctx, tape->kept, (size_t)tape->kept_capacity * sizeof *tape->kept);
    ag_recorder_set(ctx, NULL);
    ag_free(ctx, tape, sizeof *tape);
}

static void recorder_end(ag_recorder *recorder)
{
    tape_free((ag_tape *)recorder);
}

ag_tape *ag_tape_begin(ag_ctx *ctx)
{
    if (ctx == NULL)
        return NULL;
    if (running_tape(ctx) != NULL)
        return ag_fail(ctx, AG_ERR_STATE, "tape_begin", "a tape of %lld nodes is running; end it first",
                       (long long)running_tape(ctx)->node_count);
    ag_tape *tape = ag_alloc(ctx, sizeof *tape);
    if (tape == NULL)
        return NULL;
    *tape = (ag_tape){
        .recorder.end = recorder_end,
        .ctx = ctx,
        .serial = ag_serial_next(ctx),
        .depth = ag_scope_depth(ctx),
    };
    ag_recorder_set(ctx, &tape->recorder);
    ag_scope_begin(ctx, NULL);
    return tape;
}

void ag_tape_end(ag_tape *tape)
{
    if (tape == NULL)
        return;
    ag_ctx *ctx = tape->ctx;
    int64_t depth = tape->depth;
    tape_free(tape);
    while (ag_scope_depth(ctx) > depth)
        ag_scope_end(ctx, NULL);
}

bool ag_recording(const ag_ctx *ctx)
{
    const ag_tape *tape = running_tape(ctx);
    return tape != NULL && !tape->paused;
}

/* ---- Recording ---- */

static ag_kept keep(ag_tensor *t)
{
    ag_kept kept = { NULL, 0 };
    if (t != NULL) {
        kept.tensor = ag_retain(t);
        kept.version = t->storage->version;
    }
    return kept;
}

/* A new node for y, without edges; -1 on error. */
static int64_t node_new(ag_tape *tape, const ag_op *op, ag_tensor *y)
{
    if (!ag_grow(tape->ctx, (void **)&tape->nodes, &tape->node_capacity, tape->node_count + 1, sizeof *tape->nodes))
        return -1;
    ag_node *node = &tape->nodes[tape->node_count];
    *node = (ag_node){
        .op = op,
        .path = ag_module_path(tape->ctx),
        .first_edge = tape->edge_count,
        .attr = tape->attr_count,
        .ndim = y->ndim,
        .dtype = y->dtype,
        .grad_norm = (double)NAN,
    };
    memcpy(node->shape, y->shape, (size_t)y->ndim * sizeof *y->shape);
    y->tape = tape->serial;
    y->node = tape->node_count;
    return tape->node_count++;
}

/* The node of an input, made for a leaf at its first use; -1: it needs no gradient. False on error. */
static bool node_of_input(ag_tape *tape, ag_tensor *x, int64_t *node)
{
    *node = -1;
    if (x != NULL && x->tape == tape->serial) {
        *node = x->node;
    } else if (ag_requires_grad(x)) {
        *node = node_new(tape, &ag_op_leaf, x);
        if (*node < 0)
            return false;
        tape->nodes[*node].watched = ag_retain(x);
    }
    return true;
}

static bool wants_recording(const ag_tape *tape, ag_tensor *const *input, int count)
{
    for (int i = 0; i < count; i++)
        if (input[i] != NULL && (input[i]->tape == tape->serial || ag_requires_grad(input[i])))
            return true;
    return false;
}

/* Makes room for a node's edges and attributes, so that nothing can fail once its node stands. */
static bool reserve(ag_tape *tape, int count, int64_t attr_units)
{
    return ag_grow(tape->ctx, (void **)&tape->edges, &tape->edge_capacity, tape->edge_count + count,
                   sizeof *tape->edges) &&
           ag_grow(tape->ctx, (void **)&tape->kept, &tape->kept_capacity, tape->edge_count + count,
                   sizeof *tape->kept) &&
           ag_grow(tape->ctx, (void **)&tape->attrs, &tape->attr_capacity, tape->attr_count + attr_units,
                   sizeof *tape->attrs);
}

ag_tensor *ag_record(const ag_op *op, ag_tensor *y, ag_tensor *const *input, int count, const void *attr,
                     size_t attr_size, ag_tensor *extra)
{
    if (y == NULL || !ag_recording(y->ctx))
        return y;
    ag_tape *tape = running_tape(y->ctx);
    if (!wants_recording(tape, input, count))
        return y;
    int64_t attr_units = (int64_t)((attr_size + sizeof *tape->attrs - 1) / sizeof *tape->attrs);
    if (!reserve(tape, count, attr_units))
        return NULL;
    for (int i = 0; i < count; i++) /* before the node itself: a leaf gets its node here */
        if (!node_of_input(tape, input[i], &tape->edges[tape->edge_count + i]))
            return NULL;
    int64_t number = node_new(tape, op, y);
    if (number < 0)
        return NULL;
    ag_node *node = &tape->nodes[number];
    node->input_count = count;
    node->output = keep((op->keep & AG_KEEP_OUTPUT) != 0 ? y : NULL);
    node->extra = keep(extra);
    for (int i = 0; i < count; i++)
        tape->kept[tape->edge_count + i] =
            keep(i < AG_KEEP_MAX && (op->keep & ((unsigned)AG_KEEP_INPUT << i)) != 0 ? input[i] : NULL);
    if (attr_size > 0)
        memcpy(&tape->attrs[tape->attr_count], attr, attr_size);
    tape->edge_count += count;
    tape->attr_count += attr_units;
    return y;
}
