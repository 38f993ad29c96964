/* SPDX-License-Identifier: MIT
 *
 * sgd.c - stochastic gradient descent with momentum, by the formulas of nn.h.
 */
#include "nn/optimizer_impl.h"

#include <math.h>

typedef struct sgd {
    ag_optimizer optimizer;
    ag_sgd_config config;
} sgd;

static void sgd_set_args(const ag_optimizer *optimizer, const ag_tensor *param, ag_optimizer_slot *slot)
{
    (void)param;
    const ag_sgd_config *config = &((const sgd *)optimizer)->config;
    slot->args.sgd = (ag_sgd_step_args){
        .lr = optimizer->lr,
        .momentum = config->momentum,
        .dampening = config->dampening,
        .weight_decay = config->weight_decay,
        .grad_scale = 1,
        .nesterov = config->nesterov,
        .first = slot->steps == 1,
    };
}

static ag_step_kernel *sgd_kernel(const ag_real_kernels *k) { return k->sgd; }

static const ag_optimizer_kind sgd_kind = {
    .name = "sgd", .state_name = { "momentum_buffer" }, .set_args = sgd_set_args, .kernel = sgd_kernel,
};

ag_optimizer *ag_sgd_new(ag_module *module, ag_sgd_config config)
{
    if (module == NULL)
        return NULL;
    ag_ctx *ctx = module->ctx;
    if (!ag_check_amount(ctx, sgd_kind.name, "momentum", config.momentum) ||
        !ag_check_amount(ctx, sgd_kind.name, "weight_decay", config.weight_decay))
        return NULL;
    if (!isfinite(config.dampening))
        return ag_fail(ctx, AG_ERR_ARGUMENT, sgd_kind.name, "dampening is %s, must be finite",
                       ag_number_text(ctx, config.dampening));
    if (config.nesterov && (config.momentum == 0 || config.dampening != 0))
        return ag_fail(ctx, AG_ERR_ARGUMENT, sgd_kind.name,
                       "nesterov requires momentum > 0 and dampening 0; momentum is %s, dampening %s",
                       ag_number_text(ctx, config.momentum), ag_number_text(ctx, config.dampening));
    sgd *made = ag_optimizer_new(module, &sgd_kind, sizeof *made, config.momentum > 0 ? 1 : 0, config.lr);
    if (made != NULL)
        made->config = config;
    return (ag_optimizer *)made;
}
