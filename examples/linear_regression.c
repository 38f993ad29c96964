/* SPDX-License-Identifier: MIT
 *
 * linear_regression.c - the smallest complete program: fits y = 2 x1 - 3 x2 + 0.5 to 100 noisy points.
 */
#include "attngrad.h"
#include "examples/shared/program.h"

#include <string.h>

/* x[100,2] -> 2 x1 - 3 x2 + 0.5, with noise of standard deviation 0.1 */
static ag_tensor *noisy_line(ag_tensor *x)
{
    ag_ctx *ctx = ag_ctx_of(x);
    ag_tensor *slopes = ag_from_data(ctx, AG_F32, AG_SHAPE(2, 1), (float[]){ 2, -3 });
    ag_tensor *noise = ag_scale(ag_randn(ctx, AG_F32, AG_SHAPE(100, 1)), 0.1);
    return ag_add(ag_add_scalar(ag_matmul(x, slopes), 0.5), noise);
}

/* Handles --help, an unknown option, and a missing context. */
static int leave(const char *arg)
{
    if (arg != NULL && strcmp(arg, "--help") == 0) {
        puts("usage: linear_regression\n\nFits y = 2 x1 - 3 x2 + 0.5 to 100 noisy points by SGD. No options.");
        return 0;
    }
    if (arg != NULL)
        fprintf(stderr, "linear_regression: unknown option '%s'; try --help\n", arg);
    else
        fprintf(stderr, "linear_regression: no context: out of memory, or a wrong AG_ISA\n");
    return arg != NULL ? 2 : 1;
}

int main(int argc, char **argv)
{
    program_streams("linear_regression");
    ag_ctx *ctx = argc > 1 ? NULL : ag_ctx_new((ag_ctx_config){ .seed = 1 });
    if (ctx == NULL)
        return leave(argc > 1 ? argv[1] : NULL);
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(100, 2)), *y = noisy_line(x);
    ag_linear_layer *model = ag_linear_new(ctx, (ag_linear_config){ .in_features = 2, .out_features = 1 });
    ag_optimizer *sgd = ag_sgd_new(ag_linear_module(model), (ag_sgd_config){ .lr = 0.1 });
    for (int step = 0; step < 100; step++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_backward(tape, ag_mse(ag_linear_forward(model, x), y));
        ag_optimizer_step(sgd);
        ag_tape_end(tape);
        ag_module_zero_grad(ag_linear_module(model));
    }
    ag_fprint(stdout, ag_module_find(ag_linear_module(model), "weight"), 0); /* near 2, -3 */
    ag_fprint(stdout, ag_module_find(ag_linear_module(model), "bias"), 0);   /* near 0.5 */
    bool failed = ag_error(ctx) != AG_OK;
    fputs(ag_error_message(ctx), stderr);
    ag_optimizer_free(sgd);
    ag_linear_free(model);
    return ag_ctx_free(ctx) != 0 || failed;
}
