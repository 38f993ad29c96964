/* SPDX-License-Identifier: MIT
 *
 * clip.c - gradient clipping by the global norm, as torch.nn.utils.clip_grad_norm_.
 */
#include "nn/module_impl.h"
#include "nn/training.h"

#include <assert.h>
#include <float.h>
#include <math.h>

static const char clip_name[] = "clip_grad_norm";

/* The norm where squares overflow or vanish in double, which only those of float64 do: with the largest magnitude M,
 * M sqrt(sum (g / M)^2). NaN or inf when a gradient is not finite. */
static double clip_scaled_norm(const ag_named_tensor *param, int64_t count)
{
    double largest = 0, sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < count; i++) {
            const ag_tensor *grad = ag_grad(param[i].tensor);
            for (int64_t k = 0; grad != NULL && k < grad->numel; k++) {
                double g;
                ag_read_row(grad->dtype, 1, ag_address(grad, k), 1, &g);
                if (pass == 1)
                    sum += g / largest * (g / largest);
                else if (fabs(g) > largest || isnan(g))
                    largest = fabs(g);
            }
        }
    return largest == 0 ? 0 : isinf(largest) ? largest : largest * sqrt(sum);
}

/* The 2-norm of all gradients, whose squares are added in the order of the parameters. */
static double clip_norm(const ag_named_tensor *param, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const ag_tensor *grad = ag_grad(param[i].tensor);
        if (grad == NULL)
            continue;
        assert(ag_is_contiguous(grad));
        sum += ag_kernels(grad->ctx, grad->dtype)->sum_squares(ag_ctx_team(grad->ctx), grad->numel, ag_data(grad));
    }
    return sum >= 0x1p-900 && sum <= DBL_MAX ? sqrt(sum) : clip_scaled_norm(param, count);
}

static void clip_scale(const ag_named_tensor *param, int64_t count, double factor)
{
    for (int64_t i = 0; i < count; i++) {
        ag_tensor *grad = ag_grad(param[i].tensor);
        if (grad == NULL)
            continue;
        void *g = ag_data_mut(grad);
        ag_kernels(grad->ctx, grad->dtype)->scale(ag_ctx_team(grad->ctx), grad->numel, (double[]){ factor, 0 }, g, g);
        ag_storage_changed(grad, clip_name);
    }
}

ag_status ag_clip_grad_norm(ag_module *module, double max_norm, double *norm)
{
    if (module == NULL)
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    const ag_named_tensor *param = module->param;
    int64_t count = module->param_count, wrong = 0;
    if (!(max_norm > 0))
        ag_fail(ctx, AG_ERR_ARGUMENT, clip_name, "max_norm is %s, must be positive",
                ag_number_text(ctx, max_norm));
    if (ag_error(ctx) != AG_OK)
        return ag_error(ctx);
    double total = clip_norm(param, count);
    if (!isfinite(total)) {
        while (wrong < count - 1 && isfinite(clip_scaled_norm(param + wrong, 1)))
            wrong++;
        ag_fail(ctx, AG_ERR_NUMBER, clip_name, "the norm is %s with the gradient of %s",
                ag_number_text(ctx, total), param[wrong].name);
        return AG_ERR_NUMBER;
    }
    if (norm != NULL)
        *norm = total;
    if (total <= max_norm)
        return AG_OK;
    const double least = 0x1p-100; /* a smaller factor could have too few bits in float32: in steps */
    double factor = max_norm / (total + 1e-6);
    for (; factor < least; factor /= least)
        clip_scale(param, count, least);
    clip_scale(param, count, factor);
    return AG_OK;
}
