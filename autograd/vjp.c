/* SPDX-License-Identifier: MIT
 *
 * vjp.c - one call of an op's vjp: what it sees of its node, and how it contributes to the gradients of its inputs.
 *
 * The gradient of an input so far lies in the input's node: its slot. There are two ways to contribute. ag_vjp_add adds
 * a tensor to the slot; its variant ag_vjp_over saves that tensor's memory. ag_vjp_target gives out the slot's memory
 * to write into, which saves the tensor and the pass that would add it.
 */
#include "autograd/op_impl.h"
#include "autograd/tape_impl.h"

#include <string.h>

/* The node that an input comes from; NULL: it needs no gradient. */
static ag_node *vjp_input_node(const ag_vjp *v, int input)
{
    int64_t node = v->tape->edges[v->tape->nodes[v->node].first_edge + input];
    return node < 0 ? NULL : &v->tape->nodes[node];
}

bool ag_vjp_wants(const ag_vjp *v, int input)
{
    return input < v->input_count && vjp_input_node(v, input) != NULL;
}

int ag_vjp_ndim(const ag_vjp *v, int input)
{
    return vjp_input_node(v, input)->ndim;
}

const int64_t *ag_vjp_shape(const ag_vjp *v, int input)
{
    return vjp_input_node(v, input)->shape;
}

bool ag_is_private(const ag_tensor *g)
{
    return g->refs == 1 && g->storage->refs == 1 && g->offset == 0 && ag_is_contiguous(g);
}

/* ---- The first way: a tensor is added ---- */

/* sum += g, both of one shape, sum contiguous. */
static void vjp_accumulate(ag_tensor *sum, const ag_tensor *g)
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

void ag_vjp_add(ag_vjp *v, int input, ag_tensor *g)
{
    if (g == NULL || !ag_vjp_wants(v, input))
        return;
    ag_node *node = vjp_input_node(v, input);
    const char *op = v->tape->nodes[v->node].op->name;
    if (g->dtype != node->dtype) {
        ag_fail(v->ctx, AG_ERR_DTYPE, op, "backward: input %d is %s, its gradient %s", input,
                ag_dtype_name(node->dtype), ag_dtype_name(g->dtype));
        return;
    }
    g = ag_sum_to_shape(op, g, node->ndim, node->shape);
    ag_tensor **slot = &node->grad;
    if (g == NULL)
        return;
    if (*slot == NULL) {
        *slot = ag_retain(g);
    } else if (ag_is_private(*slot)) {
        vjp_accumulate(*slot, g);
    } else {
        ag_tensor *sum = ag_retain(ag_add(*slot, g));
        if (sum != NULL) {
            ag_release(*slot);
            *slot = sum;
        }
    }
}

/* The walk reads gy again when an observer looks at it or when it is a result of backward. */
ag_tensor *ag_vjp_over(ag_vjp *v, ag_tensor *gy)
{
    bool read_later = v->tape->observer != NULL || v->tape->nodes[v->node].stays;
    return ag_is_private(gy) && (gy != v->gy || !read_later) ? gy : ag_empty(v->ctx, gy->dtype, gy->ndim, gy->shape);
}

/* ---- The second way: the memory of the sum is written into ---- */

ag_tensor *ag_vjp_target(ag_vjp *v, int input, bool *add)
{
    if (!ag_vjp_wants(v, input))
        return NULL;
    ag_node *node = vjp_input_node(v, input);
    ag_tensor **slot = &node->grad;
    const bool exists = *slot != NULL;
    if (!exists || !ag_is_private(*slot)) {
        ag_scope_begin(v->ctx, NULL); /* ending it drops the scope's reference, so that the slot is the only owner */
        ag_tensor *own = exists ? ag_tensor_clone(*slot) : ag_empty(v->ctx, node->dtype, node->ndim, node->shape);
        if (own != NULL) {
            ag_release(*slot);
            *slot = ag_retain(own);
        }
        ag_scope_end(v->ctx, NULL);
        if (own == NULL)
            return NULL;
    }
    if (add != NULL)
        *add = exists;
    else if (!exists)
        memset(ag_data_mut(*slot), 0, (size_t)(*slot)->numel * ag_dtype_size((*slot)->dtype));
    return *slot;
}

/* ---- The call ---- */

/* Refuses a kept tensor whose storage has changed since it was recorded. */
static bool vjp_unchanged(const ag_tape *tape, const ag_node *node, const ag_kept *kept, const char *what)
{
    if (kept->tensor == NULL || kept->tensor->storage->version == kept->version)
        return true;
    const ag_storage *storage = kept->tensor->storage;
    ag_fail(tape->ctx, AG_ERR_STATE, node->op->name, "backward needs its %s %s, which '%s'%s%s has changed since", what,
            ag_shape_text(kept->tensor), storage->changed_by, *storage->changed_path != '\0' ? " in " : "",
            storage->changed_path);
    return false;
}

/* Fills in what a node's vjp sees. False on error; v->input must be freed then too. */
static bool vjp_begin(ag_tape *tape, int64_t number, ag_vjp *v)
{
    const ag_node *node = &tape->nodes[number];
    const ag_kept *kept = &tape->kept[node->first_edge];
    bool valid = vjp_unchanged(tape, node, &node->output, "result") &&
                 vjp_unchanged(tape, node, &node->extra, "saved tensor");
    *v = (ag_vjp){
        .ctx = tape->ctx,
        .gy = node->grad,
        .input_count = node->input_count,
        .input = ag_alloc(tape->ctx, (size_t)node->input_count * sizeof(ag_tensor *)),
        .output = node->output.tensor,
        .extra = node->extra.tensor,
        .attr = tape->attrs == NULL ? NULL : &tape->attrs[node->attr], /* NULL: no node has any */
        .tape = tape,
        .node = number,
    };
    for (int i = 0; i < node->input_count && v->input != NULL; i++) {
        valid = valid && vjp_unchanged(tape, node, &kept[i], "input");
        v->input[i] = kept[i].tensor;
    }
    return valid && v->input != NULL;
}

/* A vjp may append to the tape (recompute): no pointer into the tape's arrays outlives the call. */
void ag_run_vjp(ag_tape *tape, int count, const int64_t *number)
{
    ag_vjp v[AG_SIDE_BY_SIDE];
    const ag_op *op = tape->nodes[number[0]].op;
    bool valid = true;
    int begun = 0;
    for (; begun < count && valid; begun++) {
        valid = vjp_begin(tape, number[begun], &v[begun]);
        if (begun > 0)
            v[begun - 1].next = &v[begun];
    }
    if (valid)
        op->vjp(&v[0]);
    for (int i = 0; i < begun; i++)
        ag_free(tape->ctx, v[i].input, (size_t)v[i].input_count * sizeof(ag_tensor *));
}
