/* SPDX-License-Identifier: MIT
 *
 * adamw.c - Adam with decoupled weight decay, by the formulas of nn.h.
 */
#include "nn/optimizer_impl.h"
#include "nn/training.h"

#include <math.h>

typedef struct adamw {
    ag_optimizer optimizer;
    ag_adamw_config config;
} adamw;

static void adamw_set_args(const ag_optimizer *optimizer, const ag_tensor *param, ag_optimizer_slot *slot)
{
    const ag_adamw_config *config = &((const adamw *)optimizer)->config;
    slot->args.adamw = (ag_adamw_step_args){
        .lr = optimizer->lr,
        .beta1 = config->beta1,
        .beta2 = config->beta2,
        .eps = config->eps,
        .weight_decay = config->decay_all || param->ndim >= 2 ? config->weight_decay : 0,
        .grad_scale = 1,
        .correction1 = 1 - pow(config->beta1, (double)slot->steps),
        .correction2 = 1 - pow(config->beta2, (double)slot->steps),
    };
}

static ag_step_kernel *adamw_kernel(const ag_real_kernels *k) { return k->adamw; }

static const ag_optimizer_kind adamw_kind = {
    .name = "adamw", .state_name = { "exp_avg", "exp_avg_sq" }, .set_args = adamw_set_args,
    .kernel = adamw_kernel,
};

ag_optimizer *ag_adamw_new(ag_module *module, ag_adamw_config config)
{
    if (module == NULL)
        return NULL;
    ag_ctx *ctx = module->ctx;
    if (!ag_check_probability(ctx, adamw_kind.name, "beta1", config.beta1) ||
        !ag_check_probability(ctx, adamw_kind.name, "beta2", config.beta2) ||
        !ag_check_amount(ctx, adamw_kind.name, "eps", config.eps) ||
        !ag_check_amount(ctx, adamw_kind.name, "weight_decay", config.weight_decay))
        return NULL;
    if (config.beta1 == 0)
        config.beta1 = 0.9;
    if (config.beta2 == 0)
        config.beta2 = 0.999;
    if (config.eps == 0)
        config.eps = 1e-8;
    adamw *made = ag_optimizer_new(module, &adamw_kind, sizeof *made, 2, config.lr);
    if (made != NULL)
        made->config = config;
    return (ag_optimizer *)made;
}
