/* SPDX-License-Identifier: MIT
 *
 * backward.c - the walk over the tape in reverse, and the accumulation of gradients.
 *
 * A node's gradient is complete when the walk reaches it, since all its users stand behind it. While the walk
 * goes on, gradients lie in the nodes; leaves get theirs at the end, all or none, so that an error on the way
 * changes nothing.
 */
#include "autograd/op_impl.h"
#include "autograd/tape_impl.h"

#include <math.h>
#include <string.h>

/* What ag_vjp.engine points at. */
typedef struct engine {
    ag_tape *tape;
    const ag_node *node;
} engine;

static ag_node *input_node(const ag_vjp *v, int input)
{
    const engine *e = v->engine;
    int64_t node = e->tape->edges[e->node->first_edge + input];
    return node < 0 ? NULL : &e->tape->nodes[node];
}

/* No one else sees this gradient, and it can be written in order. */
static bool is_private(const ag_tensor *g)
{
    return g->refs == 1 && g->storage->refs == 1 && ag_is_contiguous(g);
}

/* sum += g, both of one shape, sum contiguous. */
static void accumulate(ag_tensor *sum, const ag_tensor *g)
{
    const ag_real_kernels *k = ag_kernels(sum->ctx, sum->dtype);
    size_t size = ag_dtype_size(sum->dtype);
    char *to = ag_data_mut(sum);
    const char *from = ag_data(g);
    ag_loop loop;
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ sum, g });
    for (; loop.row < loop.rows; ag_loop_next(&loop)) {
        char *row = to + loop.at[0] * (int64_t)size;
        k->add(ag_ctx_threads(sum->ctx), loop.n, row, 1, from + loop.at[1] * (int64_t)size, loop.step[1], row);
    }
}

/* The gradient `slot` of a node := slot + g. */
static void add_to_slot(ag_tensor **slot, ag_tensor *g)
{
    if (g == NULL)
        return;
    if (*slot == NULL) {
        *slot = ag_retain(g);
    } else if (is_private(*slot)) {
        accumulate(*slot, g);
    } else {
        ag_tensor *sum = ag_retain(ag_add(*slot, g));
        if (sum != NULL) {
            ag_release(*slot);
            *slot = sum;
        }
    }
}

bool ag_vjp_wants(const ag_vjp *v, int input)
{
    return input < v->input_count && input_node(v, input) != NULL;
}

int ag_vjp_ndim(const ag_vjp *v, int input)
{
    return input_node(v, input)->ndim;
}

const int64_t *ag_vjp_shape(const ag_vjp *v, int input)
{
    return input_node(v, input)->shape;
}

void ag_vjp_add(ag_vjp *v, int input, ag_tensor *g)
{
    if (g == NULL || !ag_vjp_wants(v, input))
        return;
    ag_node *node = input_node(v, input);
    const char *op = ((const engine *)v->engine)->node->op->name;
    if (g->dtype != node->dtype) {
        ag_fail(v->ctx, AG_ERR_DTYPE, op, "backward: input %d is %s, its gradient %s", input,
                ag_dtype_name(node->dtype), ag_dtype_name(g->dtype));
        return;
    }
    add_to_slot(&node->grad, ag_sum_to_shape(op, g, node->ndim, node->shape));
}

ag_tensor *ag_vjp_accumulator(ag_vjp *v, int input)
{
    if (!ag_vjp_wants(v, input))
        return NULL;
    ag_node *node = input_node(v, input);
    if (node->grad == NULL) {
        node->grad = ag_retain(ag_zeros(v->ctx, node->dtype, node->ndim, node->shape));
    } else if (!is_private(node->grad)) {
        ag_tensor *own = ag_retain(ag_tensor_clone(node->grad));
        if (own == NULL)
            return NULL;
        ag_release(node->grad);
        node->grad = own;
    }
    return node->grad;
}

/* ---- One node ---- */

/* Refuses a kept tensor whose storage has changed since it was recorded. */
static bool unchanged(const ag_tape *tape, const ag_node *node, const ag_kept *kept, const char *what)
{
    if (kept->tensor == NULL || kept->tensor->storage->version == kept->version)
        return true;
    const ag_storage *storage = kept->tensor->storage;
    ag_fail(tape->ctx, AG_ERR_STATE, node->op->name, "backward needs its %s %s, which '%s'%s%s has changed since", what,
            ag_shape_text(kept->tensor), storage->changed_by, *storage->changed_path != '\0' ? " in " : "",
            storage->changed_path);
    return false;
}

static void run_vjp(ag_tape *tape, ag_node *node)
{
    ag_ctx *ctx = tape->ctx;
    bool valid = unchanged(tape, node, &node->output, "result") && unchanged(tape, node, &node->extra, "saved tensor");
    size_t input_bytes = (size_t)node->input_count * sizeof(ag_tensor *);
    ag_tensor **input = ag_alloc(ctx, input_bytes);
    if (input == NULL)
        return;
    for (int i = 0; i < node->input_count; i++) {
        const ag_kept *kept = &tape->kept[node->first_edge + i];
        valid = valid && unchanged(tape, node, kept, "input");
        input[i] = kept->tensor;
    }
    if (valid) {
        engine e = { tape, node };
        ag_vjp v = {
            .ctx = ctx,
            .gy = node->grad,
            .input_count = node->input_count,
            .input = input,
            .output = node->output.tensor,
            .extra = node->extra.tensor,
            .attr = tape->attrs == NULL ? NULL : &tape->attrs[node->attr], /* NULL: no node has any */
            .engine = &e,
        };
        node->op->vjp(&v);
    }
    ag_free(ctx, input, input_bytes);
}

static void call_hook(ag_node *node)
{
    const ag_grad_state *state = ag_grad_state_of(node->watched);
    if (!is_private(node->grad)) { /* what the hook writes into it must reach no one else */
        ag_tensor *own = ag_tensor_clone(node->grad);
        if (own == NULL)
            return;
        ag_release(node->grad);
        node->grad = ag_retain(own);
    }
    ag_tensor *g = state->hook(state->hook_user, node->grad);
    if (g == NULL || g == node->grad)
        return;
    if (g->dtype != node->dtype || !ag_same_shape(g, node->grad)) {
        ag_fail(g->ctx, AG_ERR_SHAPE, "hook", "returned %s %s for the gradient %s %s", ag_dtype_name(g->dtype),
                ag_shape_text(g), ag_dtype_name(node->dtype), ag_shape_text(node->grad));
        return;
    }
    ag_retain(g);
    ag_release(node->grad);
    node->grad = g;
}

/* The node's gradient is complete: let the hook see it, and pass it on to the inputs. */
static void visit(ag_tape *tape, ag_node *node)
{
    ag_ctx *ctx = tape->ctx;
    ag_scope_begin_at(ctx, node->path);
    if (node->watched != NULL && ag_grad_state_of(node->watched)->hook != NULL)
        call_hook(node);
    if (tape->measure_grads && ag_error(ctx) == AG_OK) {
        ag_tensor *g = ag_tensor_contiguous(node->grad);
        if (g != NULL)
            node->grad_norm = sqrt(ag_kernels(ctx, g->dtype)->sum_squares(ag_ctx_threads(ctx), g->numel, ag_data(g)));
    }
    if (node->op->vjp != NULL && ag_error(ctx) == AG_OK)
        run_vjp(tape, node);
    const ag_grad_state *state = node->watched == NULL ? NULL : ag_grad_state_of(node->watched);
    bool stays = state != NULL && (state->leaf || state->retain);
    if (!stays) {
        ag_release(node->grad);
        node->grad = NULL;
    }
    ag_scope_end(ctx, NULL);
}

/* ---- The walk ---- */

/* Turns each gradient that stays into the tensor's new gradient: the old one plus it, owned by no one else. */
static void prepare_results(ag_tape *tape, int64_t last)
{
    ag_ctx *ctx = tape->ctx;
    for (int64_t i = 0; i <= last && ag_error(ctx) == AG_OK; i++) {
        ag_node *node = &tape->nodes[i];
        if (node->grad == NULL)
            continue;
        ag_scope_begin(ctx, NULL);
        ag_tensor *before = ag_grad_state_of(node->watched)->grad, *after = node->grad;
        if (before != NULL)
            after = ag_add(before, node->grad);
        else if (!is_private(node->grad))
            after = ag_tensor_clone(node->grad);
        if (after != NULL && after != node->grad) {
            ag_retain(after);
            ag_release(node->grad);
            node->grad = after;
        }
        ag_scope_end(ctx, NULL);
    }
}

/* Hands the prepared gradients to their tensors, or throws all away after an error. */
static void finish(ag_tape *tape, int64_t last)
{
    bool good = ag_error(tape->ctx) == AG_OK;
    for (int64_t i = 0; i <= last; i++) {
        ag_node *node = &tape->nodes[i];
        if (node->grad != NULL && good) {
            ag_grad_state *state = ag_grad_state_of(node->watched);
            ag_release(state->grad);
            state->grad = node->grad;
        } else {
            ag_release(node->grad);
        }
        node->grad = NULL;
    }
}

static ag_status walk(ag_tape *tape, ag_tensor *output, ag_tensor *cotangent)
{
    int64_t last = output->node;
    for (int64_t i = 0; i < tape->node_count; i++)
        tape->nodes[i].grad_norm = (double)NAN;
    tape->paused = true;
    tape->nodes[last].grad = ag_retain(cotangent);
    for (int64_t i = last; i >= 0 && ag_error(tape->ctx) == AG_OK; i--)
        if (tape->nodes[i].grad != NULL)
            visit(tape, &tape->nodes[i]);
    prepare_results(tape, last);
    finish(tape, last);
    tape->paused = false;
    return ag_error(tape->ctx);
}

/* The context's error, or a new one when the call makes no sense; AG_OK: backward can run. */
static ag_status check_call(const ag_tape *tape, const ag_tensor *output)
{
    ag_ctx *ctx = tape != NULL ? tape->ctx : output != NULL ? output->ctx : NULL;
    if (ctx == NULL)
        return AG_ERR_ARGUMENT;
    if (tape == NULL)
        ag_fail(ctx, AG_ERR_STATE, "backward", "there is no tape; call ag_tape_begin before the forward pass");
    else if (output == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, "backward", "the loss is NULL");
    else if (tape->paused)
        ag_fail(ctx, AG_ERR_STATE, "backward", "called from inside backward; there are no second derivatives");
    else if (output->tape != tape->serial)
        ag_fail(ctx, AG_ERR_STATE, "backward",
                "the tape does not know %s: it was made before the tape began, or needs no gradient",
                ag_shape_text(output));
    return ag_error(ctx);
}

ag_status ag_backward_from(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent)
{
    ag_status status = check_call(tape, output);
    if (status != AG_OK)
        return status;
    ag_ctx *ctx = tape->ctx;
    if (cotangent == NULL || cotangent->dtype != output->dtype || !ag_same_shape(cotangent, output)) {
        ag_fail(ctx, AG_ERR_SHAPE, "backward", "the cotangent is %s %s, the output %s %s",
                cotangent == NULL ? "NULL" : ag_dtype_name(cotangent->dtype),
                cotangent == NULL ? "" : ag_shape_text(cotangent), ag_dtype_name(output->dtype), ag_shape_text(output));
        return ag_error(ctx);
    }
    ag_scope_begin(ctx, NULL);
    ag_tensor *own = ag_tensor_clone(cotangent); /* hooks and accumulation must not reach the caller's */
    status = own == NULL ? ag_error(ctx) : walk(tape, output, own);
    ag_scope_end(ctx, NULL);
    return status;
}

ag_status ag_backward(ag_tape *tape, ag_tensor *loss)
{
    ag_status status = check_call(tape, loss);
    if (status != AG_OK)
        return status;
    ag_ctx *ctx = tape->ctx;
    if (loss->numel != 1) {
        ag_fail(ctx, AG_ERR_SHAPE, "backward", "the loss is %s; it must have one element, or use ag_backward_from",
                ag_shape_text(loss));
        return ag_error(ctx);
    }
    ag_scope_begin(ctx, NULL);
    ag_tensor *one = ag_full(ctx, loss->dtype, loss->ndim, loss->shape, 1.0);
    status = one == NULL ? ag_error(ctx) : walk(tape, loss, one);
    ag_scope_end(ctx, NULL);
    return status;
}
