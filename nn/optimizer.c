/* SPDX-License-Identifier: MIT
 *
 * optimizer.c - what optimizers have in common, and gradient clipping.
 */
#include "nn/optimizer_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

bool ag_check_lr(ag_ctx *ctx, const char *kind, double lr)
{
    if (lr > 0 && isfinite(lr))
        return true;
    ag_fail(ctx, AG_ERR_ARGUMENT, kind, "lr is %g, must be positive and finite", lr);
    return false;
}

static bool slot_init(ag_optimizer_slot *slot, ag_named_tensor param, int state_count)
{
    ag_tensor *t = param.tensor;
    assert(ag_is_contiguous(t));
    slot->param = (ag_named_tensor){ param.name, ag_retain(t) };
    bool good = true;
    ag_scope_begin(t->ctx, NULL);
    for (int s = 0; s < state_count; s++) {
        slot->state[s] = ag_retain(ag_zeros(t->ctx, t->dtype, t->ndim, t->shape));
        good = good && slot->state[s] != NULL;
    }
    ag_scope_end(t->ctx, NULL);
    return good;
}

void *ag_optimizer_new(ag_module *module, const ag_optimizer_kind *kind, size_t size, int state_count, double lr)
{
    ag_ctx *ctx = module->ctx;
    ag_optimizer *optimizer = ag_alloc(ctx, size);
    if (optimizer == NULL)
        return NULL;
    memset(optimizer, 0, size);
    *optimizer = (ag_optimizer){
        .ctx = ctx, .kind = kind, .module = module, .size = size, .state_count = state_count, .lr = lr,
    };
    int64_t count = module->param_count;
    optimizer->slot = ag_alloc(ctx, (size_t)count * sizeof *optimizer->slot);
    if (optimizer->slot != NULL) {
        optimizer->slot_count = count;
        optimizer->step = ag_alloc(ctx, (size_t)count * sizeof *optimizer->step);
    }
    bool good = optimizer->slot != NULL && optimizer->step != NULL;
    for (int64_t i = 0; i < optimizer->slot_count; i++) {
        optimizer->slot[i] = (ag_optimizer_slot){ .steps = 0 };
        good = good && slot_init(&optimizer->slot[i], module->param[i], state_count);
    }
    if (good)
        return optimizer;
    ag_optimizer_free(optimizer);
    return NULL;
}

void ag_optimizer_free(ag_optimizer *optimizer)
{
    if (optimizer == NULL)
        return;
    for (int64_t i = 0; i < optimizer->slot_count; i++) {
        ag_release(optimizer->slot[i].param.tensor);
        for (int s = 0; s < optimizer->state_count; s++)
            ag_release(optimizer->slot[i].state[s]);
    }
    ag_free(optimizer->ctx, optimizer->step, (size_t)optimizer->slot_count * sizeof *optimizer->step);
    ag_free(optimizer->ctx, optimizer->slot, (size_t)optimizer->slot_count * sizeof *optimizer->slot);
    ag_free(optimizer->ctx, optimizer, optimizer->size);
}

/* All parameters of one type in one call of the kernel. */
static void step_those_of(ag_optimizer *optimizer, ag_dtype dtype)
{
    const ag_optimizer_kind *kind = optimizer->kind;
    int64_t count = 0;
    for (int64_t i = 0; i < optimizer->slot_count; i++) {
        ag_optimizer_slot *slot = &optimizer->slot[i];
        ag_tensor *param = slot->param.tensor;
        const ag_tensor *grad = param->dtype == dtype ? ag_grad(param) : NULL;
        if (grad == NULL)
            continue;
        assert(ag_is_contiguous(grad));
        slot->steps++;
        kind->set_args(optimizer, slot);
        ag_step *step = &optimizer->step[count++];
        *step = (ag_step){
            .n = param->numel, .g = ag_data(grad), .param = ag_data_mut(param), .args = &slot->args,
        };
        ag_storage_changed(param, kind->name);
        for (int s = 0; s < optimizer->state_count; s++) {
            step->state[s] = slot->state[s]->storage->data;
            ag_storage_changed(slot->state[s], kind->name);
        }
    }
    kind->kernel(ag_kernels(optimizer->ctx, dtype))(ag_ctx_team(optimizer->ctx), count, optimizer->step);
}

ag_status ag_optimizer_step(ag_optimizer *optimizer)
{
    if (optimizer == NULL)
        return AG_ERR_ARGUMENT;
    if (ag_error(optimizer->ctx) != AG_OK)
        return ag_error(optimizer->ctx);
    step_those_of(optimizer, AG_F32);
    step_those_of(optimizer, AG_F64);
    return AG_OK;
}

/* 0 is taken too: schedules may end there. */
void ag_optimizer_set_lr(ag_optimizer *optimizer, double lr)
{
    if (optimizer != NULL && (lr == 0 || ag_check_lr(optimizer->ctx, optimizer->kind->name, lr)))
        optimizer->lr = lr;
}

double ag_optimizer_lr(const ag_optimizer *optimizer)
{
    return optimizer == NULL ? (double)NAN : optimizer->lr;
}

/* ---- Clipping ---- */

static const char clip_name[] = "clip_grad_norm";

/* The squared 2-norm of all gradients, added in the order of the parameters; an error where it stops being finite. */
static ag_status sum_grad_squares(const ag_module *module, double *sum)
{
    ag_ctx *ctx = module->ctx;
    *sum = 0;
    for (int64_t i = 0; i < module->param_count; i++) {
        const ag_tensor *grad = ag_grad(module->param[i].tensor);
        if (grad == NULL)
            continue;
        assert(ag_is_contiguous(grad));
        *sum += ag_kernels(ctx, grad->dtype)->sum_squares(ag_ctx_team(ctx), grad->numel, ag_data(grad));
        if (!isfinite(*sum)) {
            ag_fail(ctx, AG_ERR_NUMBER, clip_name, "the norm is %g with the gradient of %s", sqrt(*sum),
                    module->param[i].name);
            return AG_ERR_NUMBER;
        }
    }
    return AG_OK;
}

ag_status ag_clip_grad_norm(ag_module *module, double max_norm, double *norm)
{
    if (module == NULL)
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (!(max_norm > 0))
        ag_fail(ctx, AG_ERR_ARGUMENT, clip_name, "max_norm is %g, must be positive", max_norm);
    double sum = 0;
    if (ag_error(ctx) != AG_OK || sum_grad_squares(module, &sum) != AG_OK)
        return ag_error(ctx);
    double total = sqrt(sum);
    if (norm != NULL)
        *norm = total;
    if (total <= max_norm)
        return AG_OK;
    /* The 1e-6 is torch.nn.utils.clip_grad_norm_'s: the norm becomes max_norm total / (total + 1e-6). */
    const double scale[2] = { max_norm / (total + 1e-6), 0 };
    for (int64_t i = 0; i < module->param_count; i++) {
        ag_tensor *grad = ag_grad(module->param[i].tensor);
        if (grad == NULL)
            continue;
        void *g = ag_data_mut(grad);
        ag_kernels(ctx, grad->dtype)->affine(ag_ctx_team(ctx), grad->numel, scale, g, g);
        ag_storage_changed(grad, clip_name);
    }
    return AG_OK;
}
