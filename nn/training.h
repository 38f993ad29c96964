/* SPDX-License-Identifier: MIT
 *
 * training.h - AdamW, clipping of gradients, learning-rate schedules.
 */
#ifndef AG_TRAINING_H
#define AG_TRAINING_H

#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- AdamW: an optimizer as in nn.h, the semantics of torch.optim --------------------------------
 * p = p - lr weight_decay p
 * m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
 * p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 * A finite gradient beyond 2^63 (float32) or 2^511 (float64), whose square would be infinite, counts as that bound: v
 * recovers as after any large gradient.
 * (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.) */
typedef struct ag_adamw_config {
    double lr;           /* > 0 */
    double beta1, beta2; /* in [0, 1); 0: 0.9 and 0.999 */
    double eps;          /* 0: 1e-8 */
    double weight_decay; /* >= 0; for parameters of two or more dims only, as is usual for GPT */
    bool decay_all;      /* weight_decay for every parameter, as torch.optim.AdamW does by default */
} ag_adamw_config;
AG_OWNED ag_optimizer *ag_adamw_new(ag_module *module, ag_adamw_config config);

/* ---- Clipping ---------------------------------------------------------------------------------- */

/* norm = 2-norm of all gradients together, also where their squares overflow or vanish. If norm > max_norm, each
 * gradient is multiplied by max_norm / (norm + 1e-6), as torch.nn.utils.clip_grad_norm_ does. `norm` (may be NULL)
 * receives the norm before. A norm that is not finite is AG_ERR_NUMBER naming the parameter, and no gradient is
 * changed. */
ag_status ag_clip_grad_norm(ag_module *module, double max_norm, double *norm);

/* ---- Learning-rate schedules ------------------------------------------------------------------
 * Functions of the step s = 0, 1, ..., with W = warmup_steps, N = total_steps and p = (s - W) / (N - 1 - W):
 *     s < W             lr (s + 1) / W
 *     constant          lr
 *     linear            lr + p (min_lr - lr)
 *     cosine            min_lr + (lr - min_lr) (1 + cos(pi p)) / 2
 *     s >= N - 1        min_lr, for linear and cosine
 * (Cosine: Loshchilov and Hutter, "SGDR", 2017.) */

typedef enum ag_schedule_kind { AG_LR_CONSTANT, AG_LR_LINEAR, AG_LR_COSINE } ag_schedule_kind;

typedef struct ag_schedule {
    ag_schedule_kind kind;
    double lr, min_lr;
    int64_t warmup_steps, total_steps;
} ag_schedule;

double ag_schedule_lr(const ag_schedule *schedule, int64_t step); /* step < 0 counts as 0 */

#ifdef __cplusplus
}
#endif

#endif
