/* SPDX-License-Identifier: MIT
 *
 * sgd.c - stochastic gradient descent with momentum, as torch.optim.SGD.
 *
 *     g += weight_decay p
 *     buf = g in the parameter's first step, else momentum buf + (1 - dampening) g
 *     p -= lr (nesterov ? g + momentum buf : buf)       (momentum 0: p -= lr g)
 *
 * (Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning", 2013.)
 */
#include "nn/optimizer_impl.h"

#include <math.h>

typedef struct sgd {
    ag_optimizer optimizer;
    ag_sgd_config config;
} sgd;

static void set_args(const ag_optimizer *optimizer, ag_optimizer_slot *slot)
{
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

static ag_step_kernel *kernel(const ag_real_kernels *k) { return k->sgd; }

static const ag_optimizer_kind kind = {
    .name = "sgd", .state_name = { "momentum_buffer" }, .set_args = set_args, .kernel = kernel,
};

ag_optimizer *ag_sgd_new(ag_module *module, ag_sgd_config config)
{
    if (module == NULL)
        return NULL;
    ag_ctx *ctx = module->ctx;
    if (!ag_check_lr(ctx, kind.name, config.lr) || !ag_check_amount(ctx, kind.name, "momentum", config.momentum) ||
        !ag_check_amount(ctx, kind.name, "weight_decay", config.weight_decay))
        return NULL;
    if (!isfinite(config.dampening))
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind.name, "dampening is %g, must be finite", config.dampening);
    if (config.nesterov && (config.momentum == 0 || config.dampening != 0))
        return ag_fail(ctx, AG_ERR_ARGUMENT, kind.name,
                       "nesterov wants momentum > 0 and dampening 0; momentum is %g, dampening %g", config.momentum,
                       config.dampening);
    sgd *made = ag_optimizer_new(module, &kind, sizeof *made, config.momentum > 0 ? 1 : 0, config.lr);
    if (made == NULL)
        return NULL;
    made->config = config;
    return &made->optimizer;
}
