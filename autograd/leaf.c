/* SPDX-License-Identifier: MIT
 *
 * leaf.c - what autograd attaches to a tensor: whether it is a leaf, its gradient, hook and name.
 */
#include "autograd/tape_impl.h"

static void leaf_state_free(ag_ctx *ctx, ag_attachment *attachment)
{
    ag_grad_state *state = (ag_grad_state *)attachment;
    ag_release(state->grad);
    ag_free(ctx, state, sizeof *state);
}

ag_grad_state *ag_grad_state_of(const ag_tensor *t)
{
    return t == NULL ? NULL : (ag_grad_state *)t->attachment;
}

/* The state, new if there is none; NULL on error. */
static ag_grad_state *leaf_state_make(ag_tensor *t)
{
    if (t->attachment == NULL) {
        ag_grad_state *state = ag_alloc(t->ctx, sizeof *state);
        if (state == NULL)
            return NULL;
        *state = (ag_grad_state){ .attachment.free = leaf_state_free };
        t->attachment = &state->attachment;
    }
    return ag_grad_state_of(t);
}

ag_tensor *ag_require_grad(ag_tensor *t)
{
    if (t == NULL)
        return NULL;
    if (t->dtype == AG_I32)
        return ag_fail(t->ctx, AG_ERR_DTYPE, "require_grad", "%s is int32; gradients are of float32 and float64",
                       ag_shape_text(t));
    const ag_tape *tape = ag_running_tape(t->ctx);
    if (tape != NULL && ag_tape_knows(tape, t) && tape->nodes[t->node].op != &ag_op_leaf)
        return ag_fail(t->ctx, AG_ERR_STATE, "require_grad", "%s is the result of '%s', not a leaf; see ag_retain_grad",
                       ag_shape_text(t), tape->nodes[t->node].op->name);
    ag_grad_state *state = leaf_state_make(t);
    if (state == NULL)
        return NULL;
    state->leaf = true;
    t->depends = AG_DEPENDS_ON_LEAF;
    t->cut_by = NULL;
    return t;
}

bool ag_requires_grad(const ag_tensor *t)
{
    return t != NULL && t->attachment != NULL && ag_grad_state_of(t)->leaf;
}

ag_tensor *ag_grad(const ag_tensor *t)
{
    return t == NULL || t->attachment == NULL ? NULL : ag_grad_state_of(t)->grad;
}

void ag_zero_grad(ag_tensor *t)
{
    if (ag_grad(t) == NULL)
        return;
    ag_release(ag_grad(t));
    ag_grad_state_of(t)->grad = NULL;
}

ag_tensor *ag_set_name(ag_tensor *t, const char *name)
{
    ag_grad_state *state = t == NULL ? NULL : leaf_state_make(t);
    if (state == NULL)
        return NULL;
    state->name = name == NULL ? NULL : ag_intern(t->ctx, "", name);
    return name == NULL || state->name != NULL ? t : NULL;
}

const char *ag_name(const ag_tensor *t)
{
    return t == NULL || t->attachment == NULL ? NULL : ag_grad_state_of(t)->name;
}

/* The state of a tensor for a hook or a retained gradient; its node holds the tensor. A leaf not used yet has no
 * node. */
static ag_grad_state *leaf_hold(ag_tensor *t, const char *where)
{
    if (t == NULL)
        return NULL;
    ag_tape *tape = ag_running_tape(t->ctx);
    bool recorded = tape != NULL && ag_tape_knows(tape, t);
    if (!recorded && !ag_requires_grad(t))
        return ag_fail(t->ctx, AG_ERR_STATE, where, "%s is neither recorded on the running tape nor a leaf",
                       ag_shape_text(t));
    ag_grad_state *state = leaf_state_make(t);
    if (state != NULL && recorded && tape->nodes[t->node].held == NULL)
        tape->nodes[t->node].held = ag_retain(t);
    return state;
}

ag_status ag_retain_grad(ag_tensor *t)
{
    ag_grad_state *state = leaf_hold(t, "retain_grad");
    if (state == NULL)
        return ag_error(ag_ctx_of(t));
    state->retain = true;
    return AG_OK;
}

ag_status ag_hook(ag_tensor *t, ag_hook_fn *hook, void *user)
{
    ag_grad_state *state = leaf_hold(t, "hook");
    if (state == NULL)
        return ag_error(ag_ctx_of(t));
    state->hook = hook;
    state->hook_user = user;
    return AG_OK;
}

ag_tensor *ag_detach(ag_tensor *t)
{
    return t == NULL ? NULL : ag_view_new(t, t->ndim, t->shape, t->stride, t->offset);
}
