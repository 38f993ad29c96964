/* SPDX-License-Identifier: MIT
 *
 * clip.c - gradient clipping by the global norm, as torch.nn.utils.clip_grad_norm_.
 */
#include "nn/module_impl.h"
#include "nn/training.h"

#include <assert.h>
#include <math.h>

static const char clip_name[] = "clip_grad_norm";

/* The squared 2-norm of all gradients, added in the order of the parameters. An error as soon as it is not finite. */
static ag_status clip_sum_squares(const ag_module *module, double *sum)
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
    if (ag_error(ctx) != AG_OK || clip_sum_squares(module, &sum) != AG_OK)
        return ag_error(ctx);
    double total = sqrt(sum);
    if (norm != NULL)
        *norm = total;
    if (total <= max_norm)
        return AG_OK;
    const double scale[2] = { max_norm / (total + 1e-6), 0 };
    for (int64_t i = 0; i < module->param_count; i++) {
        ag_tensor *grad = ag_grad(module->param[i].tensor);
        if (grad == NULL)
            continue;
        void *g = ag_data_mut(grad);
        ag_kernels(ctx, grad->dtype)->scale(ag_ctx_team(ctx), grad->numel, scale, g, g);
        ag_storage_changed(grad, clip_name);
    }
    return AG_OK;
}
