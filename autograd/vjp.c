/* SPDX-License-Identifier: MIT
 *
 * vjp.c - one call of an op's vjp: what it sees of its node, and how it contributes to the gradients of its inputs.
 *
 * The gradient of an input so far lies in the input's node. autograd.h describes the two ways to contribute to it:
 * ag_vjp_add with its variant ag_vjp_over, and ag_vjp_target.
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

void ag_node_set_grad(ag_node *node, ag_tensor *g)
{
    ag_retain(g);
    ag_release(node->grad);
    node->grad = g;
}

/* ---- The first way: a tensor is added ---- */

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
    if (g == NULL)
        return;
    if (node->grad == NULL)
        ag_node_set_grad(node, g);
    else if (ag_is_private(node->grad))
        ag_binary_into(node->grad, ag_kernels(v->ctx, g->dtype)->add, node->grad, g);
    else
        ag_node_set_grad(node, ag_add(node->grad, g));
}

/* The walk reads gy again when an observer looks at it or when it is a result of backward. */
ag_tensor *ag_vjp_over(ag_vjp *v, ag_tensor *gy)
{
    bool read_later = v->tape->observer != NULL || v->tape->nodes[v->node].stays;
    return ag_is_private(gy) && (gy != v->gy || !read_later) ? gy : ag_empty_as(gy);
}

/* ---- The second way: the memory of the sum is written into ---- */

ag_tensor *ag_vjp_target(ag_vjp *v, int input, bool *add)
{
    if (!ag_vjp_wants(v, input))
        return NULL;
    ag_node *node = vjp_input_node(v, input);
    const bool exists = node->grad != NULL;
    if (!exists || !ag_is_private(node->grad)) {
        ag_scope_begin(v->ctx, NULL); /* ending it drops the scope's reference, so that the node is the only owner */
        ag_node_set_grad(node, exists ? ag_tensor_clone(node->grad)
                                      : ag_empty(v->ctx, node->dtype, node->ndim, node->shape));
        ag_scope_end(v->ctx, NULL);
    }
    if (add != NULL)
        *add = exists;
    else if (!exists && node->grad != NULL)
        memset(ag_data_mut(node->grad), 0, (size_t)node->grad->numel * ag_dtype_size(node->dtype));
    return node->grad;
}

/* ---- The call ---- */

/* Refuses a kept tensor whose storage has changed since it was recorded, with this version. */
static bool vjp_unchanged(const ag_node *node, const ag_tensor *t, uint64_t version, const char *what)
{
    if (t == NULL || t->storage->version == version)
        return true;
    const ag_storage *storage = t->storage;
    return ag_fail(t->ctx, AG_ERR_STATE, node->op->name, "backward needs its %s %s, which '%s'%s%s has changed since",
                   what, ag_shape_text(t), storage->changed_by, *storage->changed_path != '\0' ? " in " : "",
                   storage->changed_path);
}

/* Fills in what a node's vjp sees. */
static bool vjp_begin(ag_tape *tape, int64_t number, ag_vjp *v)
{
    const ag_node *node = &tape->nodes[number];
    *v = (ag_vjp){
        .ctx = tape->ctx,
        .gy = node->grad,
        .input_count = node->input_count,
        .input = &tape->kept[node->first_edge],
        .output = node->output,
        .extra = node->extra,
        .attr = &tape->attrs[node->attr],
        .tape = tape,
        .node = number,
    };
    bool valid = vjp_unchanged(node, v->output, node->output_version, "result") &&
                 vjp_unchanged(node, v->extra, node->extra_version, "saved tensor");
    for (int i = 0; i < node->input_count && valid; i++)
        valid = vjp_unchanged(node, v->input[i], tape->versions[node->first_edge + i], "input");
    return valid;
}

void ag_run_vjp(ag_tape *tape, int count, const int64_t *number)
{
    ag_vjp v[AG_SIDE_BY_SIDE];
    for (int i = 0; i < count; i++) {
        if (!vjp_begin(tape, number[i], &v[i]))
            return;
        if (i > 0)
            v[i - 1].next = &v[i];
    }
    tape->nodes[number[0]].op->vjp(&v[0]);
}
