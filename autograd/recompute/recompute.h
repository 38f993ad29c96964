/* SPDX-License-Identifier: MIT
 *
 * recompute.h - functions whose activations are computed again in backward, to save memory (annex of autograd/).
 */
#ifndef AG_RECOMPUTE_H
#define AG_RECOMPUTE_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef ag_tensor *ag_recompute_fn(ag_ctx *ctx, ag_tensor *const *input, int count, void *user);

/* Runs y = f(input[count]) and records it as one node: the nodes that f records are dropped at once, and backward runs
 * f again with the same random numbers. Gradients have the bits of f called directly. f may use ag_recompute, and
 * leaves and other tensors that are not among its inputs. f must do the same each time, which is checked; `user` must
 * live until the tape ends. Ops outside f accept y and refuse every other tensor made inside f; ag_retain_grad has no
 * effect on such a tensor. Without a running tape: calls f. */
ag_tensor *ag_recompute(ag_ctx *ctx, ag_recompute_fn *f, ag_tensor *const *input, int count, void *user);

#ifdef __cplusplus
}
#endif

#endif
