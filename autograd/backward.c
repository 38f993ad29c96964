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

enum { SIDE_BY_SIDE = AG_LINEAR_LIST_MAX }; /* nodes in one call of a vjp, at the most */

/* What ag_vjp.engine points at. */
typedef struct engine {
    ag_tape *tape;
    int64_t node;
    ag_tensor **part; /* per input, what ag_vjp_target gave; NULL unless contributions are observed */
    bool apart;       /* the parts are not the gradients themselves */
} engine;

static bool contributions_are_observed(const ag_tape *tape)
{
    return tape->observer != NULL && tape->observer->contributed != NULL;
}

/* The node that an input comes from; NULL: it needs no gradient. */
static ag_node *input_node(const engine *e, int input)
{
    const ag_tape *tape = e->tape;
    int64_t node = tape->edges[tape->nodes[e->node].first_edge + input];
    return node < 0 ? NULL : &tape->nodes[node];
}

/* No one else sees this gradient, and it can be written in order. */
static bool is_private(const ag_tensor *g)
{
    return g->refs == 1 && g->storage->refs == 1 && ag_is_contiguous(g);
}

/* Whether a node's gradient is wanted at the end of the walk. */
static bool gradient_stays(const ag_tape *tape, const ag_node *node)
{
    if (tape->choosing)
        return node->chosen;
    const ag_grad_state *state = node->watched == NULL ? NULL : ag_grad_state_of(node->watched);
    return state != NULL && (state->leaf || state->retain);
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
        ag_operand more = { from + loop.at[1] * (int64_t)size, loop.step[1] };
        k->add(ag_ctx_team(sum->ctx), loop.n, (ag_operand){ row, 1 }, more, row);
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

static void show_contribution(const engine *e, int input, ag_tensor *g)
{
    ag_tape *tape = e->tape;
    if (contributions_are_observed(tape) && g != NULL)
        tape->observer->contributed(tape->observer, tape, e->node, input, g);
}

/* g, in the shape of the input, goes to the gradient of an input; observers see it first. */
static void contribute(const engine *e, int input, ag_tensor *g)
{
    show_contribution(e, input, g);
    add_to_slot(&input_node(e, input)->grad, g);
}

bool ag_vjp_wants(const ag_vjp *v, int input)
{
    return input < v->input_count && input_node(v->engine, input) != NULL;
}

int ag_vjp_ndim(const ag_vjp *v, int input)
{
    return input_node(v->engine, input)->ndim;
}

const int64_t *ag_vjp_shape(const ag_vjp *v, int input)
{
    return input_node(v->engine, input)->shape;
}

void ag_vjp_add(ag_vjp *v, int input, ag_tensor *g)
{
    if (g == NULL || !ag_vjp_wants(v, input))
        return;
    const engine *e = v->engine;
    const ag_node *node = input_node(e, input);
    const char *op = e->tape->nodes[e->node].op->name;
    if (g->dtype != node->dtype) {
        ag_fail(v->ctx, AG_ERR_DTYPE, op, "backward: input %d is %s, its gradient %s", input,
                ag_dtype_name(node->dtype), ag_dtype_name(g->dtype));
        return;
    }
    contribute(e, input, ag_sum_to_shape(op, g, node->ndim, node->shape));
}

/* The memory that `slot` of a node holds alone, made where it holds none: *add false. NULL on error. */
static ag_tensor *own_slot(const ag_node *node, ag_ctx *ctx, ag_tensor **slot, bool *add)
{
    *add = *slot != NULL;
    if (*add && is_private(*slot))
        return *slot;
    ag_scope_begin(ctx, NULL); /* which lets go of it: the next who asks finds it held by the slot alone */
    ag_tensor *own = *add ? ag_tensor_clone(*slot) : ag_empty(ctx, node->dtype, node->ndim, node->shape);
    if (own != NULL) {
        ag_release(*slot);
        *slot = ag_retain(own);
    }
    ag_scope_end(ctx, NULL);
    return own;
}

ag_tensor *ag_vjp_target(ag_vjp *v, int input, bool *add)
{
    if (!ag_vjp_wants(v, input))
        return NULL;
    const engine *e = v->engine;
    ag_node *node = input_node(e, input);
    if (e->apart) {
        *add = e->part[input] != NULL;
        if (!*add)
            e->part[input] = ag_empty(v->ctx, node->dtype, node->ndim, node->shape);
        return e->part[input];
    }
    ag_tensor *grad = own_slot(node, v->ctx, &node->grad, add);
    if (e->part != NULL)
        e->part[input] = grad;
    return grad;
}

ag_tensor *ag_vjp_accumulator(ag_vjp *v, int input)
{
    bool add = false;
    ag_tensor *grad = ag_vjp_target(v, input, &add);
    if (grad != NULL && !add)
        memset(ag_data_mut(grad), 0, (size_t)grad->numel * ag_dtype_size(grad->dtype));
    return grad;
}

ag_tensor *ag_vjp_over(ag_vjp *v, ag_tensor *gy)
{
    const engine *e = v->engine;
    bool read_later = contributions_are_observed(e->tape) || gradient_stays(e->tape, &e->tape->nodes[e->node]);
    return is_private(gy) && (gy != v->gy || !read_later) ? gy : ag_empty(v->ctx, gy->dtype, gy->ndim, gy->shape);
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

/* The vjp of a node on its way. */
typedef struct call {
    ag_vjp v;
    engine e;
    size_t bytes; /* of v.input, and of the parts behind it */
} call;

/* Makes ready what a node's vjp sees. False on error; the call is to be ended then too. */
static bool begin_call(ag_tape *tape, int64_t number, call *c)
{
    ag_ctx *ctx = tape->ctx;
    const ag_node *node = &tape->nodes[number];
    bool valid = unchanged(tape, node, &node->output, "result") && unchanged(tape, node, &node->extra, "saved tensor");
    size_t count = (size_t)node->input_count;
    c->bytes = 2 * count * sizeof(ag_tensor *);
    ag_tensor **input = ag_alloc(ctx, c->bytes);
    for (size_t i = 0; i < count && input != NULL; i++) {
        const ag_kept *kept = &tape->kept[node->first_edge + (int64_t)i];
        valid = valid && unchanged(tape, node, kept, "input");
        input[i] = kept->tensor;
        input[count + i] = NULL;
    }
    bool observed = contributions_are_observed(tape);
    c->e = (engine){ tape, number, observed && input != NULL ? input + count : NULL,
                     observed && !tape->observer->in_place };
    c->v = (ag_vjp){
        .ctx = ctx,
        .gy = node->grad,
        .input_count = node->input_count,
        .input = input,
        .output = node->output.tensor,
        .extra = node->extra.tensor,
        .attr = tape->attrs == NULL ? NULL : &tape->attrs[node->attr], /* NULL: no node has any */
        .engine = &c->e,
    };
    return valid && input != NULL;
}

/* Shows, and passes on, what stands apart. */
static void end_call(call *c)
{
    const engine *e = &c->e;
    for (int i = 0; e->part != NULL && i < c->v.input_count; i++)
        if (e->part[i] != NULL && e->apart)
            contribute(e, i, e->part[i]);
        else if (e->part[i] != NULL)
            show_contribution(e, i, input_node(e, i)->grad);
    ag_free(c->v.ctx, c->v.input, c->bytes);
}

/* The vjp of nodes that stand side by side. That of a recomputed function appends to the tape: no pointer into the
 * tape's arrays outlives it. */
static void run_vjp(ag_tape *tape, int count, const int64_t *number)
{
    call c[SIDE_BY_SIDE];
    const ag_op *op = tape->nodes[number[0]].op;
    bool valid = true;
    int begun = 0;
    for (; begun < count && valid; begun++) {
        valid = begin_call(tape, number[begun], &c[begun]);
        if (begun > 0)
            c[begun - 1].v.next = &c[begun].v;
    }
    if (valid)
        op->vjp(&c[0].v);
    for (int i = 0; i < begun; i++)
        end_call(&c[i]);
}

/* Hands over the gradient that lies in a node. */
static ag_tensor *take_gradient(ag_node *node)
{
    ag_tensor *g = node->grad;
    node->grad = NULL;
    return g;
}

bool ag_node_vjp(ag_tape *tape, int64_t number, ag_tensor *gy, ag_tensor **contribution)
{
    ag_ctx *ctx = tape->ctx;
    ag_scope_begin_at(ctx, tape->nodes[number].path);
    tape->paused = true;
    tape->nodes[number].grad = ag_retain(gy); /* the caller's stays as it is */
    run_vjp(tape, 1, &number);
    ag_release(take_gradient(&tape->nodes[number]));
    tape->paused = false;
    ag_scope_end(ctx, NULL);
    const int64_t *from = &tape->edges[tape->nodes[number].first_edge];
    for (int i = 0; i < tape->nodes[number].input_count; i++) {
        contribution[i] = from[i] < 0 ? NULL : take_gradient(&tape->nodes[from[i]]);
        if (ag_error(ctx) != AG_OK) {
            ag_release(contribution[i]);
            contribution[i] = NULL;
        }
    }
    return ag_error(ctx) == AG_OK;
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

/* Whether some of the nodes have node i as an input. */
static bool is_input_of(const ag_tape *tape, int64_t i, int count, const int64_t *number)
{
    for (int n = 0; n < count; n++) {
        const ag_node *node = &tape->nodes[number[n]];
        for (int input = 0; input < node->input_count; input++)
            if (tape->edges[node->first_edge + input] == i)
                return true;
    }
    return false;
}

/* The nodes that the vjp of node `last` takes with it: of its op, with nothing but leaves between, none the input of
 * another. Nobody must be looking: hooks and observers see node by node. Returns how many. */
static int side_by_side(const ag_tape *tape, int64_t last, int64_t first, int64_t *number)
{
    const ag_node *head = &tape->nodes[last];
    int count = 0;
    number[count++] = last;
    if (!head->op->list || tape->observer != NULL || tape->measure_grads ||
        head->watched != NULL || head->chosen)
        return count;
    for (int64_t i = last - 1; i >= first && count < SIDE_BY_SIDE; i--) {
        const ag_node *node = &tape->nodes[i];
        if (node->op == &ag_op_leaf)
            continue;
        if (node->op != head->op || node->dtype != head->dtype || node->grad == NULL || node->watched != NULL ||
            node->chosen || is_input_of(tape, i, count, number))
            break;
        number[count++] = i;
    }
    return count;
}

/* The gradients of nodes that stand side by side are complete: let the hook see it, when it is one, and pass them on to
 * the inputs. */
static void visit(ag_tape *tape, int count, const int64_t *number)
{
    ag_ctx *ctx = tape->ctx;
    ag_node *node = &tape->nodes[number[0]];
    ag_scope_begin_at(ctx, node->path);
    if (node->watched != NULL && ag_grad_state_of(node->watched)->hook != NULL)
        call_hook(node);
    if (tape->measure_grads && ag_error(ctx) == AG_OK) {
        ag_tensor *g = ag_tensor_contiguous(node->grad);
        if (g != NULL)
            node->grad_norm = sqrt(ag_kernels(ctx, g->dtype)->sum_squares(ag_ctx_team(ctx), g->numel, ag_data(g)));
    }
    ag_observer *o = tape->observer;
    if (o != NULL && o->arrived != NULL && ag_error(ctx) == AG_OK)
        o->arrived(o, tape, number[0], node->grad);
    if (node->op->vjp != NULL && ag_error(ctx) == AG_OK)
        run_vjp(tape, count, number);
    for (int i = 0; i < count; i++)
        if (!gradient_stays(tape, &tape->nodes[number[i]]))
            ag_release(take_gradient(&tape->nodes[number[i]]));
    ag_scope_end(ctx, NULL);
}

/* ---- The walk ---- */

void ag_walk(ag_tape *tape, int64_t last, int64_t first, ag_tensor *gy)
{
    tape->nodes[last].grad = ag_retain(gy);
    for (int64_t i = last; i >= first && ag_error(tape->ctx) == AG_OK; i--) {
        if (tape->nodes[i].grad != NULL) {
            int64_t number[SIDE_BY_SIDE];
            visit(tape, side_by_side(tape, i, first, number), number);
        }
        if (tape->segment != NULL) /* it is walked once: what its nodes keep makes room for gradients */
            ag_node_forget(tape, i);
    }
}

/* Leaves in the nodes the gradients that stay, each complete. */
static void walk(ag_tape *tape, const ag_tensor *output, ag_tensor *cotangent)
{
    for (int64_t i = 0; tape->measure_grads && i < tape->node_count; i++)
        tape->nodes[i].grad_norm = (double)NAN;
    tape->paused = true;
    ag_walk(tape, output->node, 0, cotangent);
    tape->paused = false;
    ag_observer *o = tape->observer;
    if (o != NULL && o->walked != NULL)
        o->walked(o, tape);
}

static void drop_gradients(ag_tape *tape, int64_t last)
{
    for (int64_t i = 0; i <= last; i++) {
        ag_release(tape->nodes[i].grad);
        tape->nodes[i].grad = NULL;
    }
}

/* Turns each gradient that stays into the tensor's new gradient: the old one plus it, owned by no one else. */
static void prepare_results(ag_tape *tape, int64_t last)
{
    ag_ctx *ctx = tape->ctx;
    for (int64_t i = 0; i <= last && ag_error(ctx) == AG_OK; i++) {
        ag_node *node = &tape->nodes[i];
        if (node->grad == NULL)
            continue;
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
    }
}

/* Hands the prepared gradients to their tensors, or throws all away after an error. */
static void finish(ag_tape *tape, int64_t last)
{
    if (ag_error(tape->ctx) != AG_OK) {
        drop_gradients(tape, last);
        return;
    }
    for (int64_t i = 0; i <= last; i++) {
        ag_node *node = &tape->nodes[i];
        if (node->grad == NULL)
            continue;
        ag_grad_state *state = ag_grad_state_of(node->watched);
        ag_release(state->grad);
        state->grad = take_gradient(node);
    }
}

/* ---- Calls ---- */

/* The context's error, or a new one when the call makes no sense; AG_OK: backward can run. */
static ag_status check_call(const ag_tape *tape, const ag_tensor *output, const char *where)
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

/* What the walk begins with, in memory of its own: hooks and accumulation must not reach the caller's. NULL, with the
 * error of `where`, when the cotangent does not fit the output. */
static ag_tensor *own_cotangent(const ag_tensor *output, const ag_tensor *cotangent, const char *where)
{
    if (cotangent->dtype == output->dtype && ag_same_shape(cotangent, output))
        return ag_tensor_clone(cotangent);
    return ag_fail(output->ctx, AG_ERR_SHAPE, where, "the cotangent is %s %s, the output %s %s",
                   ag_dtype_name(cotangent->dtype), ag_shape_text(cotangent), ag_dtype_name(output->dtype),
                   ag_shape_text(output));
}

/* The cotangent of an output of one element. */
static ag_tensor *one(const ag_tensor *output, const char *where, const char *instead)
{
    if (output->numel == 1)
        return ag_full(output->ctx, output->dtype, output->ndim, output->shape, 1.0);
    return ag_fail(output->ctx, AG_ERR_SHAPE, where, "the loss is %s; it must have one element, or %s",
                   ag_shape_text(output), instead);
}

/* Walks, and adds the gradients to those that the tensors have. */
static void accumulate_gradients(ag_tape *tape, const ag_tensor *output, ag_tensor *cotangent)
{
    if (cotangent == NULL)
        return;
    walk(tape, output, cotangent);
    prepare_results(tape, output->node);
    finish(tape, output->node);
}

ag_status ag_backward_from(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent)
{
    static const char where[] = "backward";
    ag_status status = check_call(tape, output, where);
    if (status != AG_OK)
        return status;
    ag_ctx *ctx = tape->ctx;
    ag_scope_begin(ctx, NULL);
    if (cotangent == NULL)
        ag_fail(ctx, AG_ERR_SHAPE, where, "the cotangent is NULL, the output %s", ag_shape_text(output));
    else
        accumulate_gradients(tape, output, own_cotangent(output, cotangent, where));
    ag_scope_end(ctx, NULL);
    return ag_error(ctx);
}

ag_status ag_backward(ag_tape *tape, ag_tensor *loss)
{
    static const char where[] = "backward";
    ag_status status = check_call(tape, loss, where);
    if (status != AG_OK)
        return status;
    ag_scope_begin(tape->ctx, NULL);
    accumulate_gradients(tape, loss, one(loss, where, "use ag_backward_from"));
    ag_scope_end(tape->ctx, NULL);
    return ag_error(tape->ctx);
}

/* ---- Gradients of chosen tensors ---- */

/* Marks, or unmarks, the nodes of wrt; a leaf that the tape has not used has none. */
static void choose(ag_tape *tape, ag_tensor *const *wrt, int count, bool chosen)
{
    for (int i = 0; i < count; i++)
        if (ag_tape_knows(tape, wrt[i]))
            tape->nodes[wrt[i]->node].chosen = chosen;
    tape->choosing = chosen;
}

static bool check_wrt(const ag_tape *tape, ag_tensor *const *wrt, int count)
{
    for (int i = 0; i < count; i++) {
        if (wrt[i] == NULL)
            ag_fail(tape->ctx, AG_ERR_ARGUMENT, "gradient", "wrt %d is NULL", i);
        else if (!ag_tape_knows(tape, wrt[i]) && !ag_requires_grad(wrt[i]))
            ag_fail(tape->ctx, AG_ERR_STATE, "gradient", "wrt %d %s is neither a leaf nor recorded on the tape", i,
                    ag_shape_text(wrt[i]));
    }
    return ag_error(tape->ctx) == AG_OK;
}

/* The gradient that the walk left in a node, as a tensor of the innermost scope whose memory is nobody else's. */
static ag_tensor *take(const ag_tape *tape, const ag_tensor *t)
{
    ag_tensor *g = ag_tape_knows(tape, t) ? tape->nodes[t->node].grad : NULL;
    if (g == NULL || !is_private(g))
        return g == NULL ? NULL : ag_tensor_clone(g);
    return ag_view_new(g, g->ndim, g->shape, g->stride, g->offset); /* a tensor named twice is copied then */
}

ag_status ag_gradient(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent, ag_tensor *const *wrt, int count,
                      ag_tensor **grad)
{
    static const char where[] = "gradient";
    for (int i = 0; i < count; i++)
        grad[i] = NULL;
    ag_status status = check_call(tape, output, where);
    if (status != AG_OK || !check_wrt(tape, wrt, count))
        return status != AG_OK ? status : ag_error(tape->ctx);
    ag_ctx *ctx = tape->ctx;
    ag_scope_begin(ctx, NULL);
    ag_tensor *own = cotangent != NULL ? own_cotangent(output, cotangent, where)
                                       : one(output, where, "be given a cotangent");
    if (own != NULL) {
        choose(tape, wrt, count, true);
        walk(tape, output, own);
        choose(tape, wrt, count, false);
    }
    ag_scope_end(ctx, NULL);
    for (int i = 0; i < count && ag_error(ctx) == AG_OK; i++)
        grad[i] = take(tape, wrt[i]);
    drop_gradients(tape, output->node);
    for (int i = 0; i < count && ag_error(ctx) != AG_OK; i++)
        grad[i] = NULL;
    return ag_error(ctx);
}
