/* SPDX-License-Identifier: MIT
 *
 * gradient.c - gradients of chosen tensors, which no tensor keeps.
 */
#include "autograd/tape_impl.h"
#include "autograd/watch/watch.h"

static bool gradient_check_wrt(const ag_tape *tape, ag_tensor *const *wrt, int count)
{
    for (int i = 0; i < count; i++) {
        if (wrt[i] != NULL && !ag_check_home(tape->ctx, "gradient", wrt[i]))
            continue;
        if (wrt[i] == NULL)
            ag_fail(tape->ctx, AG_ERR_ARGUMENT, "gradient", "wrt %d is NULL", i);
        else if (!ag_tape_knows(tape, wrt[i]) && !ag_requires_grad(wrt[i]))
            ag_fail(tape->ctx, AG_ERR_STATE, "gradient", "wrt %d %s is neither a leaf nor recorded on the tape", i,
                    ag_shape_text(wrt[i]));
    }
    return ag_error(tape->ctx) == AG_OK;
}

/* The gradient that the walk left in a node, as a tensor of the innermost scope that shares no memory. */
static ag_tensor *gradient_take(const ag_tape *tape, const ag_tensor *t)
{
    ag_tensor *g = ag_tape_knows(tape, t) ? tape->nodes[t->node].grad : NULL;
    return ag_detach(g == NULL || ag_is_private(g) ? g : ag_tensor_clone(g)); /* a tensor named twice: not private */
}

ag_status ag_gradient(ag_tape *tape, ag_tensor *output, const ag_tensor *cotangent, ag_tensor *const *wrt, int count,
                      ag_tensor **grad)
{
    for (int i = 0; i < count && grad != NULL; i++)
        grad[i] = NULL;
    const ag_status status = ag_backward_check(tape, output, "gradient");
    if (status == AG_OK && count < 0)
        ag_fail(tape->ctx, AG_ERR_ARGUMENT, "gradient", "count is %d", count);
    if (status == AG_OK && (count < 0 || (count > 0 && (!ag_check_given(tape->ctx, "gradient", "wrt", wrt) ||
                                                        !ag_check_given(tape->ctx, "gradient", "grad", grad)))))
        return AG_ERR_ARGUMENT;
    if (status != AG_OK || !gradient_check_wrt(tape, wrt, count))
        return status != AG_OK ? status : ag_error(tape->ctx);
    ag_ctx *ctx = tape->ctx;
    ag_scope_begin(ctx, NULL);
    for (int64_t i = 0; i <= output->node; i++)
        tape->nodes[i].stays = false;
    for (int i = 0; i < count; i++)
        if (ag_tape_knows(tape, wrt[i])) /* a leaf that the tape has not used has no node */
            tape->nodes[wrt[i]->node].stays = true;
    ag_backward_walk(tape, output, cotangent, "gradient");
    ag_scope_end(ctx, NULL);
    for (int i = 0; i < count && ag_error(ctx) == AG_OK; i++)
        grad[i] = gradient_take(tape, wrt[i]);
    ag_backward_drop(tape, output->node);
    for (int i = 0; i < count && ag_error(ctx) != AG_OK; i++)
        grad[i] = NULL;
    return ag_error(ctx);
}
