/* SPDX-License-Identifier: MIT
 *
 * optimizer_impl.h - the parts of every optimizer, for sgd.c, adamw.c, optimizer.c and checkpoint.c (private header).
 *
 * An optimizer's struct begins with an ag_optimizer. ag_optimizer_new makes all state tensors, so that a step allocates
 * nothing and can not fail half way.
 */
#ifndef AG_OPTIMIZER_IMPL_H
#define AG_OPTIMIZER_IMPL_H

#include "nn/module_impl.h"

#define AG_STATES_MAX 2

/* What belongs to a parameter: state tensors, which have its shape, and its number of steps. */
typedef struct ag_optimizer_slot {
    ag_tensor *state[AG_STATES_MAX];
    uint64_t steps;
    union {
        ag_sgd_step_args sgd;
        ag_adamw_step_args adamw;
    } args; /* of the current step */
} ag_optimizer_slot;

typedef struct ag_optimizer_kind {
    const char *name;                      /* "sgd" */
    const char *state_name[AG_STATES_MAX]; /* as torch.optim names them */
    /* Sets slot->args for slot->steps >= 1. */
    void (*set_args)(const ag_optimizer *optimizer, const ag_tensor *param, ag_optimizer_slot *slot);
    ag_step_kernel *(*kernel)(const ag_real_kernels *k);
} ag_optimizer_kind;

struct ag_optimizer {
    ag_ctx *ctx;
    const ag_optimizer_kind *kind;
    const ag_module *module;
    size_t size;     /* bytes of the whole struct */
    ag_optimizer_slot *slot; /* [slot_count], in the order of the module's parameters */
    int64_t slot_count;
    ag_step *step;   /* [slot_count]: the kernel's arguments in a step */
    int state_count; /* state tensors per parameter, the first ones that the kind names */
    double lr;
};

/* An optimizer's struct of `size` bytes: its ag_optimizer is filled in, state tensors are zero, and so are the other
 * bytes. NULL on error, such as an lr that is not positive and finite. */
void *ag_optimizer_new(ag_module *module, const ag_optimizer_kind *kind, size_t size, int state_count, double lr);

#endif
