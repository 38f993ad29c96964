/* SPDX-License-Identifier: MIT
 *
 * tape.c - recording: begin and end of a tape, ag_record, and cutting nodes off again. Backward: backward.c.
 */
#include "autograd/op_impl.h"
#include "autograd/tape_impl.h"

#include <math.h>
#include <string.h>

const ag_op ag_op_leaf = { .name = "leaf" };

ag_tape *ag_running_tape(const ag_ctx *ctx)
{
    return (ag_tape *)ag_recorder_of(ctx);
}

void ag_node_forget(ag_tape *tape, int64_t number)
{
    ag_node *node = &tape->nodes[number];
    ag_tensor **kept = &tape->kept[node->first_edge];
    ag_release(node->output);
    ag_release(node->extra);
    node->output = node->extra = NULL;
    for (int i = 0; i < node->input_count; i++) {
        ag_release(kept[i]);
        kept[i] = NULL;
    }
}

void ag_tape_cut(ag_tape *tape, int64_t first)
{
    for (int64_t i = first; i < tape->node_count; i++) {
        ag_node_forget(tape, i);
        ag_release(tape->nodes[i].held);
        ag_release(tape->nodes[i].grad);
    }
    if (first < tape->node_count) {
        tape->edge_count = tape->nodes[first].first_edge;
        tape->attr_count = tape->nodes[first].attr;
        tape->node_count = first;
    }
}

/* Also the recorder's end, when the context ends first. */
static void tape_free(ag_recorder *recorder)
{
    ag_tape *tape = (ag_tape *)recorder;
    ag_ctx *ctx = tape->ctx;
    if (tape->observer != NULL && tape->observer->end != NULL)
        tape->observer->end(tape->observer);
    ag_tape_cut(tape, 0);
    ag_free(ctx, tape->nodes, (size_t)tape->node_capacity * sizeof *tape->nodes);
    ag_free(ctx, tape->edges, (size_t)tape->edge_capacity * sizeof *tape->edges);
    ag_free(ctx, tape->attrs, (size_t)tape->attr_capacity * sizeof *tape->attrs);
    ag_free(ctx, tape->kept, (size_t)tape->kept_capacity * sizeof *tape->kept);
    ag_free(ctx, tape->versions, (size_t)tape->version_capacity * sizeof *tape->versions);
    ag_recorder_set(ctx, NULL);
    ag_free(ctx, tape, sizeof *tape);
}

ag_tape *ag_tape_begin(ag_ctx *ctx)
{
    if (ctx == NULL)
        return NULL;
    ag_tape *tape = ag_running_tape(ctx);
    if (tape != NULL)
        return ag_fail(ctx, AG_ERR_STATE, "tape_begin", "a tape of %lld nodes is running; end it first",
                       (long long)tape->node_count);
    tape = ag_alloc(ctx, sizeof *tape);
    if (tape == NULL)
        return NULL;
    *tape = (ag_tape){
        .recorder.end = tape_free,
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
    if (tape->paused || tape->segment != NULL) {
        ag_fail(ctx, AG_ERR_STATE, "tape_end", "called from inside %s",
                tape->segment != NULL ? "a recomputed function" : "backward");
        return;
    }
    int64_t depth = tape->depth;
    tape_free(&tape->recorder);
    if (ag_scope_depth(ctx) <= depth)
        ag_fail(ctx, AG_ERR_STATE, "tape_end", "the tape's scope was ended before: scopes are out of balance");
    while (ag_scope_depth(ctx) > depth)
        ag_scope_end(ctx, NULL);
}

bool ag_recording(const ag_ctx *ctx)
{
    const ag_tape *tape = ag_running_tape(ctx);
    return tape != NULL && !tape->paused;
}

bool ag_recomputing(const ag_ctx *ctx)
{
    const ag_tape *tape = ag_running_tape(ctx);
    return tape != NULL && tape->segment != NULL;
}

bool ag_observed(const ag_ctx *ctx)
{
    const ag_tape *tape = ag_running_tape(ctx);
    return tape != NULL && tape->observer != NULL;
}

/* ---- Which tensors are on the tape ---- */

bool ag_tape_knows(const ag_tape *tape, const ag_tensor *t)
{
    if (t == NULL || t->ctx != tape->ctx || t->tape < tape->serial)
        return false;
    const ag_segment *s = tape->segment;
    while (s != NULL && s->serial != t->tape)
        s = s->around;
    return s != NULL || t->tape == tape->serial;
}

/* ---- Recording ---- */

/* Adds a node for y, without edges, for which tape_reserve has made room. Returns its number. */
static int64_t tape_node_new(ag_tape *tape, const ag_op *op, ag_tensor *y)
{
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
    y->tape = tape->segment != NULL ? tape->segment->serial : tape->serial;
    y->node = tape->node_count;
    return tape->node_count++;
}

/* The node of an input, which a leaf gets at its first use; -1: x needs no gradient. */
static int64_t tape_node_of_input(ag_tape *tape, ag_tensor *x)
{
    if (ag_tape_knows(tape, x))
        return x->node;
    if (!ag_requires_grad(x))
        return -1;
    const int64_t number = tape_node_new(tape, &ag_op_leaf, x);
    tape->nodes[number].held = ag_retain(x);
    return number;
}

/* *wanted := whether an input needs a gradient. Refuses inputs whose gradient would be lost without a word: those that
 * an unrecorded function made of a leaf or of a tensor on the tape, and those recorded in a segment that has ended.
 * Serial numbers rise, and one tape runs at a time. */
static bool tape_check_inputs(const ag_tape *tape, const ag_op *op, ag_tensor *const *input, int count, bool *wanted)
{
    *wanted = false;
    for (int i = 0; i < count; i++) {
        const ag_tensor *x = input[i];
        if (ag_tape_knows(tape, x) || ag_requires_grad(x)) {
            *wanted = true;
            continue;
        }
        if (x == NULL || x->depends < tape->serial)
            continue;
        if (x->cut_by == NULL)
            return ag_fail(tape->ctx, AG_ERR_STATE, op->name,
                           "input %d %s was made inside a recomputed function, which must return what is used "
                           "outside; or detach it", i, ag_shape_text(x));
        return ag_fail(tape->ctx, AG_ERR_STATE, op->name,
                       "input %d %s is not recorded, and the gradient of the %s behind it would be lost: it was made "
                       "by ag_%s, or ag_detach to cut the gradient on purpose", i, ag_shape_text(x),
                       x->depends == AG_DEPENDS_ON_LEAF ? "leaf" : "recorded tensor", x->cut_by);
    }
    return true;
}

/* Whether a node keeps input i, which comes from node `from`. */
static bool tape_keeps_input(const ag_tape *tape, const ag_op *op, int i, int64_t from)
{
    const ag_segment *s = tape->segment;
    if (s != NULL && s->keeps_outer && from >= 0 && (from < s->first_node || tape->nodes[from].op == &ag_op_leaf))
        return true;
    return (op->keep & AG_KEEP_INPUTS) != 0 || (i < AG_KEEP_MAX && (op->keep & ((unsigned)AG_KEEP_INPUT << i)) != 0);
}

/* Makes room for `count` entries of one of the tape's arrays. The first allocation suffices for a small model, so that
 * the arrays are not copied as they grow. */
static bool tape_make_room(ag_tape *tape, void **array, int64_t *capacity, int64_t count, size_t size)
{
    enum { FIRST = 512 };
    return ag_grow(tape->ctx, array, capacity, count > FIRST ? count : FIRST, size);
}

/* Makes room for a node, its inputs, all of which may be new leaves, and its attributes: adding it can not fail. */
static bool tape_reserve(ag_tape *tape, int inputs, int64_t attr_units)
{
    const int64_t nodes = tape->node_count + inputs + 1, edges = tape->edge_count + inputs;
    const int64_t attrs = tape->attr_count + attr_units;
    return tape_make_room(tape, (void **)&tape->nodes, &tape->node_capacity, nodes, sizeof *tape->nodes) &&
           tape_make_room(tape, (void **)&tape->edges, &tape->edge_capacity, edges, sizeof *tape->edges) &&
           tape_make_room(tape, (void **)&tape->kept, &tape->kept_capacity, edges, sizeof *tape->kept) &&
           tape_make_room(tape, (void **)&tape->versions, &tape->version_capacity, edges, sizeof *tape->versions) &&
           tape_make_room(tape, (void **)&tape->attrs, &tape->attr_capacity, attrs, sizeof *tape->attrs);
}

/* Retains t (NULL: nothing) for a node's vjp, and notes its version. */
static ag_tensor *tape_keep(ag_tensor *t, uint64_t *version)
{
    *version = t == NULL ? 0 : t->storage->version;
    return ag_retain(t);
}

ag_tensor *ag_record(const ag_op *op, ag_tensor *y, ag_tensor *const *input, int count, const void *attr,
                     size_t attr_size, ag_tensor *extra)
{
    if (y == NULL || !ag_check_given(y->ctx, "record", "op", op) || !ag_check_home(y->ctx, op->name, extra))
        return NULL;
    for (int i = 0; i < count; i++)
        if (!ag_check_home(y->ctx, op->name, input[i]))
            return NULL;
    y->depends = 0;
    y->cut_by = NULL;
    if (!ag_recording(y->ctx))
        return y;
    ag_tape *tape = ag_running_tape(y->ctx);
    const int64_t attr_units = (int64_t)((attr_size + sizeof *tape->attrs - 1) / sizeof *tape->attrs);
    bool wanted = false;
    if (!tape_check_inputs(tape, op, input, count, &wanted))
        return NULL;
    if (!wanted)
        return y;
    if (!tape_reserve(tape, count, attr_units))
        return NULL;
    int64_t *from = &tape->edges[tape->edge_count];
    for (int i = 0; i < count; i++) /* before the node itself: a leaf gets its node here */
        from[i] = tape_node_of_input(tape, input[i]);
    for (int i = 0; i < count; i++)
        tape->kept[tape->edge_count + i] = tape_keep(tape_keeps_input(tape, op, i, from[i]) ? input[i] : NULL,
                                                     &tape->versions[tape->edge_count + i]);
    const int64_t number = tape_node_new(tape, op, y);
    ag_node *node = &tape->nodes[number];
    node->input_count = count;
    node->output = tape_keep((op->keep & AG_KEEP_OUTPUT) != 0 ? y : NULL, &node->output_version);
    node->extra = tape_keep(extra, &node->extra_version);
    if (attr_size > 0)
        memcpy(&tape->attrs[tape->attr_count], attr, attr_size);
    tape->edge_count += count;
    tape->attr_count += attr_units;
    y->depends = y->tape;
    ag_observer *o = tape->observer;
    return o == NULL || o->recorded == NULL ? y : o->recorded(o, tape, number, y, input);
}
