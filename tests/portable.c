/* SPDX-License-Identifier: MIT
 *
 * portable.c - for systems where the suites can not run, since it is ISO C alone: an attention head learns; it is saved
 * over an existing file and loaded, with the same output. Its argument is the file's path.
 */
#include "attngrad.h"

enum { STEPS = 120 };

static double train_step(ag_ctx *ctx, ag_head_attention *head, ag_optimizer *adamw)
{
    double value = 0;
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(16, 6, 8)), *y = ag_head_attention_forward(head, x);
    ag_tensor *loss = ag_mse(ag_slice(y, 1, 1, 6, 1), ag_slice(x, 1, 0, 5, 1));
    ag_backward(tape, loss);
    ag_item(loss, &value);
    ag_optimizer_step(adamw);
    ag_tape_end(tape);
    ag_module_zero_grad(ag_head_attention_module(head));
    return value;
}

/* The sum of its output for the same x each time. */
static double output_of(ag_ctx *ctx, ag_head_attention *head)
{
    double value = 0;
    ag_rng before = ag_rng_get(ctx);
    ag_rng_set(ctx, (ag_rng){ .seed = 5 });
    ag_scope_begin(ctx, NULL);
    ag_tensor *y = ag_head_attention_forward(head, ag_randn(ctx, AG_F32, AG_SHAPE(2, 6, 8)));
    ag_item(ag_sum(y, AG_ALL_DIMS, false), &value);
    ag_scope_end(ctx, NULL);
    ag_rng_set(ctx, before);
    return value;
}

int main(int argc, char **argv)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    const ag_head_attention_config config = { .emb_size = 8, .head_size = 8, .attention = { .rotary = &ag_rotary } };
    ag_head_attention *head = ag_head_attention_new(ctx, config), *other = ag_head_attention_new(ctx, config);
    ag_optimizer *adamw = ag_adamw_new(ag_head_attention_module(head), (ag_adamw_config){ .lr = 0.02 });
    double first = 0, last = 0;
    for (int step = 0; step < STEPS; step++) {
        last = train_step(ctx, head, adamw);
        first = step == 0 ? last : first;
        if (argc > 1 && step % (STEPS / 2) == 0)
            ag_module_save(ag_head_attention_module(head), argv[1]);
    }
    bool good = last < first / 2;
    if (argc > 1) {
        const double trained = output_of(ctx, head);
        good = good && ag_module_save(ag_head_attention_module(head), argv[1]) == AG_OK &&
               ag_module_load(ag_head_attention_module(other), argv[1]) == AG_OK && output_of(ctx, other) == trained;
        remove(argv[1]);
    }
    printf("%s: loss %.3f, then %.3f %s\n", good ? "ok" : "FAIL", first, last, ag_error_message(ctx));
    ag_optimizer_free(adamw);
    ag_head_attention_free(head);
    ag_head_attention_free(other);
    return ag_ctx_free(ctx) == 0 && good ? 0 : 1;
}
