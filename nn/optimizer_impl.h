/* SPDX-License-Identifier: MIT
 *
 * optimizer_impl.h - what sgd.c, adamw.c, optimizer.c and checkpoint.c share (private header).
 *
 * An optimizer's struct begins with an ag_optimizer. Its state is made with it, zero, so that a step allocates
 * nothing and can not fail half way.
 */
#ifndef AG_OPTIMIZER_IMPL_H
#define AG_OPTIMIZER_IMPL_H

#include "nn/module_impl.h"

#define AG_STATES_MAX 2

/* One parameter: its state tensors, each of its shape, and the steps it has made (those with a gradient). */
typedef struct ag_optimizer_slot {
    ag_named_tensor param;
    ag_tensor *state[AG_STATES_MAX];
    uint64_t steps;
    union {
        ag_sgd_step_args sgd;
        ag_adamw_step_args adamw;
    } args; /* of the step now */
} ag_optimizer_slot;

typedef struct ag_optimizer_kind {
    const char *name;                      /* "sgd" */
    const char *state_name[AG_STATES_MAX]; /* as torch.optim names them */
    void (*set_args)(const ag_optimizer *optimizer, ag_optimizer_slot *slot);
    ag_step_kernel *(*kernel)(const ag_real_kernels *k);
} ag_optimizer_kind;

struct ag_optimizer {
    ag_ctx *ctx;
    const ag_optimizer_kind *kind;
    const ag_module *module;
    size_t size; /* of the whole optimizer's struct */
    ag_optimizer_slot *slot;
    int64_t slot_count;
    ag_step *step;   /* [slot_count]: those of a step now, for the kernel */
    int state_count; /* of those named by the kind */
    double lr;
};

/* lr > 0 and finite, or one line of error. */
bool ag_check_lr(ag_ctx *ctx, const char *kind, double lr);

/* An optimizer's struct of `size` bytes, zero but for the ag_optimizer, with zero state. NULL on error. */
void *ag_optimizer_new(ag_module *module, const ag_optimizer_kind *kind, size_t size, int state_count, double lr);

#endif
