/* SPDX-License-Identifier: MIT
 *
 * backward.c - the walk over the tape in reverse, and what becomes of the gradients. One node's vjp: vjp.c.
 *
 * A node's gradient is complete when the walk reaches the node, since all its users stand behind it on the tape.
 * During the walk gradients lie in the nodes. Tensors get theirs at the end, all or none, so that an error on the way
 * changes no gradient.
 */
#include "autograd/tape_impl.h"

#include <math.h>

void ag_backward_drop(ag_tape *tape, int64_t last)
{
    for (int64_t i = 0; i <= last; i++)
        ag_node_set_grad(&tape->nodes[i], NULL);
}

/* ---- One node ---- */

static void backward_call_hook(ag_node *node)
{
    const ag_grad_state *state = ag_grad_state_of(node->held);
    if (!ag_is_private(node->grad)) { /* a hook may write into the gradient: no other owner may see that */
        ag_node_set_grad(node, ag_tensor_clone(node->grad));
        if (node->grad == NULL)
            return;
    }
    ag_tensor *g = state->hook(state->hook_user, node->grad);
    if (g == NULL || g == node->grad || !ag_check_home(node->grad->ctx, "hook", g))
        return;
    if (g->dtype == node->dtype && ag_same_shape(g, node->grad))
        ag_node_set_grad(node, g);
    else
        ag_fail(g->ctx, AG_ERR_SHAPE, "hook", "returned %s %s for the gradient %s %s", ag_dtype_name(g->dtype),
                ag_shape_text(g), ag_dtype_name(node->dtype), ag_shape_text(node->grad));
}

/* Whether node i is an input of one of these nodes. */
static bool backward_is_input(const ag_tape *tape, int64_t i, int count, const int64_t *number)
{
    for (int n = 0; n < count; n++) {
        const ag_node *node = &tape->nodes[number[n]];
        for (int input = 0; input < node->input_count; input++)
            if (tape->edges[node->first_edge + input] == i)
                return true;
    }
    return false;
}

/* Lists the nodes that one call of the vjp of node `last` does: of its op, with only leaves between them, none the
 * input of another. Only that node when a hook, an observer or a measurement looks at gradients. Returns how many. */
static int backward_side_by_side(const ag_tape *tape, int64_t last, int64_t first, int64_t *number)
{
    const ag_node *head = &tape->nodes[last];
    int count = 0;
    number[count++] = last;
    if (!head->op->list || tape->observer != NULL || tape->measure_grads || head->held != NULL || head->stays)
        return count;
    for (int64_t i = last - 1; i >= first && count < AG_SIDE_BY_SIDE; i--) {
        const ag_node *node = &tape->nodes[i];
        if (node->op == &ag_op_leaf)
            continue;
        if (node->op != head->op || node->dtype != head->dtype || node->grad == NULL || node->held != NULL ||
            node->stays || backward_is_input(tape, i, count, number))
            break;
        number[count++] = i;
    }
    return count;
}

/* Passes the complete gradients of nodes side by side on to their inputs; a hook sees that of the first node before. */
static void backward_visit(ag_tape *tape, int count, const int64_t *number)
{
    ag_ctx *ctx = tape->ctx;
    ag_node *node = &tape->nodes[number[0]];
    ag_scope_begin_at(ctx, node->path);
    if (node->held != NULL && ag_grad_state_of(node->held)->hook != NULL)
        backward_call_hook(node);
    if (tape->measure_grads && ag_error(ctx) == AG_OK) {
        ag_tensor *g = ag_tensor_contiguous(node->grad);
        if (g != NULL)
            node->grad_norm = sqrt(ag_kernels(ctx, g->dtype)->sum_squares(ag_ctx_team(ctx), g->numel, ag_data(g)));
    }
    ag_observer *o = tape->observer;
    if (o != NULL && o->arrived != NULL && ag_error(ctx) == AG_OK)
        o->arrived(o, tape, number[0], node->grad);
    if (tape->nodes[number[0]].op->vjp != NULL && ag_error(ctx) == AG_OK)
        ag_run_vjp(tape, count, number);
    if (o != NULL && o->visited != NULL && ag_error(ctx) == AG_OK)
        o->visited(o, tape, number[0]);
    for (int i = 0; i < count; i++)
        if (!tape->nodes[number[i]].stays)
            ag_node_set_grad(&tape->nodes[number[i]], NULL);
    ag_scope_end(ctx, NULL);
}

/* ---- The walk ---- */

void ag_walk(ag_tape *tape, int64_t last, int64_t first, ag_tensor *gy)
{
    tape->nodes[last].grad = ag_retain(gy);
    for (int64_t i = last; i >= first && ag_error(tape->ctx) == AG_OK; i--) {
        if (tape->nodes[i].grad != NULL) {
            int64_t number[AG_SIDE_BY_SIDE];
            backward_visit(tape, backward_side_by_side(tape, i, first, number), number);
        }
        if (tape->segment != NULL) /* a segment is walked once: frees memory for gradients */
            ag_node_forget(tape, i);
    }
}

ag_status ag_backward_check(const ag_tape *tape, const ag_tensor *output, const char *where)
{
    ag_ctx *ctx = tape != NULL ? tape->ctx : output != NULL ? output->ctx : NULL;
    if (ctx == NULL)
        return AG_ERR_ARGUMENT;
    if (tape == NULL)
        ag_fail(ctx, AG_ERR_STATE, where, "there is no tape; call ag_tape_begin before the forward pass");
    else if (output == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "the loss is NULL");
    else if (tape->paused)
        ag_fail(ctx, AG_ERR_STATE, where, "called from inside backward; there are no second derivatives");
    else if (tape->segment != NULL)
        ag_fail(ctx, AG_ERR_STATE, where, "called from inside a recomputed function");
    else if (!ag_tape_knows(tape, output))
        ag_fail(ctx, AG_ERR_STATE, where,
                "the tape does not know %s: it was made before the tape began, or needs no gradient",
                ag_shape_text(output));
    return ag_error(ctx);
}

/* What the walk begins with, in memory of its own: a hook may write into it. Without a cotangent 1, for an output of
 * one element. NULL, with the error of `where`, when it does not fit the output. */
static ag_tensor *backward_begin_with(const ag_tensor *output, const ag_tensor *cotangent, const char *where)
{
    ag_ctx *ctx = output->ctx;
    if (cotangent == NULL && output->numel == 1)
        return ag_full(ctx, output->dtype, output->ndim, output->shape, 1.0);
    if (cotangent == NULL)
        return ag_fail(ctx, AG_ERR_SHAPE, where, "the loss is %s; it must have one element, or be given a cotangent",
                       ag_shape_text(output));
    if (!ag_check_home(ctx, where, cotangent))
        return NULL;
    if (cotangent->dtype == output->dtype && ag_same_shape(cotangent, output))
        return ag_tensor_clone(cotangent);
    return ag_fail(ctx, AG_ERR_SHAPE, where, "the cotangent is %s %s, the output %s %s",
                   ag_dtype_name(cotangent->dtype), ag_shape_text(cotangent), ag_dtype_name(output->dtype),
                   ag_shape_text(output));
}

void ag_backward_walk(ag_tape *tape, const ag_tensor *output, const ag_tensor *cotangent, const char *where)
{
    ag_tensor *gy = backward_begin_with(output, cotangent, where);
    if (gy == NULL)
        return;
    for (int64_t i = 0; tape->measure_grads && i < tape->node_count; i++)
        tape->nodes[i].grad_norm = (double)NAN;
    tape->paused = true;
    ag_walk(tape, output->node, 0, gy);
    tape->paused = false;
    ag_observer *o = tape->observer;
    if (o != NULL && o->walked != NULL)
        o->walked(o, tape);
}

/* ---- Gradients of leaves and retained gradients ---- */

/* Adds the tensors' old gradients to those in the nodes, which then have no other owner. */
static void backward_add_old(ag_tape *tape, int64_t last)
{
    for (int64_t i = 0; i <= last && ag_error(tape->ctx) == AG_OK; i++) {
        ag_node *node = &tape->nodes[i];
        if (node->grad == NULL)
            continue;
        ag_tensor *before = ag_grad(node->held);
        if (before != NULL)
            ag_node_set_grad(node, ag_add(before, node->grad));
        else if (!ag_is_private(node->grad))
            ag_node_set_grad(node, ag_tensor_clone(node->grad));
    }
}

/* Hands the gradients in the nodes to their tensors. */
static void backward_hand_over(ag_tape *tape, int64_t last)
{
    for (int64_t i = 0; i <= last; i++) {
        ag_node *node = &tape->nodes[i];
        if (node->grad == NULL)
            continue;
        ag_zero_grad(node->held);
        ag_grad_state_of(node->held)->grad = node->grad;
        node->grad->depends = 0; /* a constant, though it be a copy of a leaf */
        node->grad->cut_by = NULL;
        node->grad = NULL;
    }
}

static ag_status backward_leaves(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent)
{
    const ag_status status = ag_backward_check(tape, output, "backward");
    if (status != AG_OK)
        return status;
    const int64_t last = output->node;
    ag_scope_begin(tape->ctx, NULL);
    for (int64_t i = 0; i <= last; i++) {
        const ag_grad_state *state = ag_grad_state_of(tape->nodes[i].held);
        tape->nodes[i].stays = state != NULL && (state->leaf || state->retain);
    }
    ag_backward_walk(tape, output, cotangent, "backward");
    tape->paused = true;
    backward_add_old(tape, last);
    tape->paused = false;
    if (ag_error(tape->ctx) == AG_OK)
        backward_hand_over(tape, last);
    else
        ag_backward_drop(tape, last);
    ag_scope_end(tape->ctx, NULL);
    return ag_error(tape->ctx);
}

ag_status ag_backward(ag_tape *tape, ag_tensor *loss)
{
    return backward_leaves(tape, loss, NULL);
}

ag_status ag_backward_from(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent)
{
    if (cotangent == NULL && ag_backward_check(tape, output, "backward") == AG_OK)
        ag_fail(tape->ctx, AG_ERR_SHAPE, "backward", "the cotangent is NULL, the output %s", ag_shape_text(output));
    return backward_leaves(tape, output, cotangent);
}
