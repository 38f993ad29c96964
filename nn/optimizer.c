/* SPDX-License-Identifier: MIT
 *
 * optimizer.c - making, freeing and stepping an optimizer of any kind.
 */
#include "nn/optimizer_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static bool optimizer_check_lr(ag_ctx *ctx, const char *kind, double lr)
{
    return (lr > 0 && isfinite(lr)) ||
           ag_fail(ctx, AG_ERR_ARGUMENT, kind, "lr is %s, must be positive and finite", ag_number_text(ctx, lr));
}

void *ag_optimizer_new(ag_module *module, const ag_optimizer_kind *kind, size_t size, int state_count, double lr)
{
    ag_ctx *ctx = module->ctx;
    ag_optimizer *optimizer = optimizer_check_lr(ctx, kind->name, lr) ? ag_alloc(ctx, size) : NULL;
    if (optimizer == NULL)
        return NULL;
    memset(optimizer, 0, size);
    *optimizer = (ag_optimizer){
        .ctx = ctx, .kind = kind, .module = module, .size = size, .slot_count = module->param_count,
        .state_count = state_count, .lr = lr,
    };
    size_t count = (size_t)optimizer->slot_count;
    optimizer->slot = ag_alloc(ctx, count * sizeof *optimizer->slot);
    optimizer->step = ag_alloc(ctx, count * sizeof *optimizer->step);
    bool good = optimizer->slot != NULL && optimizer->step != NULL;
    ag_scope_begin(ctx, NULL);
    for (int64_t i = 0; i < optimizer->slot_count && optimizer->slot != NULL; i++) {
        const ag_tensor *t = module->param[i].tensor;
        optimizer->slot[i] = (ag_optimizer_slot){ .steps = 0 };
        for (int s = 0; s < state_count && good; s++) {
            optimizer->slot[i].state[s] = ag_retain(ag_zeros(ctx, t->dtype, t->ndim, t->shape));
            good = optimizer->slot[i].state[s] != NULL;
        }
    }
    ag_scope_end(ctx, NULL);
    if (good)
        return optimizer;
    ag_optimizer_free(optimizer);
    return NULL;
}

void ag_optimizer_free(ag_optimizer *optimizer)
{
    if (optimizer == NULL)
        return;
    assert(optimizer->kind != NULL); /* else it was freed before */
    for (int64_t i = 0; i < optimizer->slot_count && optimizer->slot != NULL; i++)
        for (int s = 0; s < optimizer->state_count; s++)
            ag_release(optimizer->slot[i].state[s]);
    size_t count = (size_t)optimizer->slot_count;
    ag_free(optimizer->ctx, optimizer->step, count * sizeof *optimizer->step);
    ag_free(optimizer->ctx, optimizer->slot, count * sizeof *optimizer->slot);
    optimizer->kind = NULL;
    ag_free(optimizer->ctx, optimizer, optimizer->size);
}

/* Steps the parameters of one dtype that have a gradient, in one call of the kernel. */
static void optimizer_step_dtype(ag_optimizer *optimizer, ag_dtype dtype)
{
    const ag_optimizer_kind *kind = optimizer->kind;
    int64_t count = 0;
    for (int64_t i = 0; i < optimizer->slot_count; i++) {
        ag_optimizer_slot *slot = &optimizer->slot[i];
        ag_tensor *param = optimizer->module->param[i].tensor;
        const ag_tensor *grad = param->dtype == dtype ? ag_grad(param) : NULL;
        if (grad == NULL)
            continue;
        assert(ag_is_contiguous(param) && ag_is_contiguous(grad));
        slot->steps++;
        kind->set_args(optimizer, param, slot);
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
    optimizer_step_dtype(optimizer, AG_F32);
    optimizer_step_dtype(optimizer, AG_F64);
    return AG_OK;
}

/* 0 is allowed here: schedules may end there. */
void ag_optimizer_set_lr(ag_optimizer *optimizer, double lr)
{
    if (optimizer != NULL && (lr == 0 || optimizer_check_lr(optimizer->ctx, optimizer->kind->name, lr)))
        optimizer->lr = lr;
}

double ag_optimizer_lr(const ag_optimizer *optimizer)
{
    return optimizer == NULL ? (double)NAN : optimizer->lr;
}
