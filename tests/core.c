/* SPDX-License-Identifier: MIT
 *
 * core.c - the smoke test of `make core`: one attention head learns by SGD to look up a key, with the core alone.
 *
 * B sequences of T = PAIRS + 1 rows. The first PAIRS rows are pairs of a key and a value, [one-hot key, one-hot value],
 * the keys in random order; the last row is [one-hot key, zeros]: which value belongs to this key? The head's output at
 * the last row are the logits of the values. A head that does not attend can only guess: loss log 4 = 1.39.
 */
#include "autograd/autograd.h"
#include "nn/nn.h"
#include "tensor/tensor.h"

#include <stdio.h>

enum { B = 64, PAIRS = 4, T = PAIRS + 1, EMB = 2 * PAIRS, STEPS = 300 };
static const double lowest_first_loss = 1.0, highest_last_loss = 0.1;

static int below(ag_ctx *ctx, int n)
{
    return (int)(ag_random(ctx) * n);
}

/* New sequences into x[B,T,EMB], the values asked for into target[B]. */
static void draw(ag_ctx *ctx, ag_tensor *x, ag_tensor *target)
{
    ag_fill(x, 0);
    float *row = ag_data_mut(x);
    int32_t *wanted = ag_data_mut(target);
    for (int b = 0; b < B; b++) {
        int key[PAIRS], value[PAIRS], asked = below(ctx, PAIRS);
        for (int i = 0; i < PAIRS; i++, row += EMB) {
            int j = below(ctx, i + 1);
            key[i] = key[j];
            key[j] = i;
            value[i] = below(ctx, PAIRS);
            row[PAIRS + value[i]] = 1;
        }
        for (int i = 0; i < PAIRS; i++)
            (row - (PAIRS - i) * EMB)[key[i]] = 1;
        row[key[asked]] = 1;
        row += EMB;
        wanted[b] = value[asked];
    }
}

static double train_step(ag_ctx *ctx, ag_head_attention *head, ag_optimizer *sgd, ag_tensor *x, ag_tensor *target)
{
    double value = 0;
    draw(ctx, x, target);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_select(ag_head_attention_forward(head, x), 1, T - 1);
    ag_tensor *loss = ag_cross_entropy(logits, target);
    ag_backward(tape, loss);
    ag_optimizer_step(sgd);
    ag_item(loss, &value);
    ag_tape_end(tape);
    ag_module_zero_grad(ag_head_attention_module(head));
    return value;
}

int main(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    if (ctx == NULL) {
        fputs("core: no context: out of memory, or a wrong AG_ISA\n", stderr);
        return 1;
    }
    ag_head_attention_config config = { .emb_size = EMB, .head_size = PAIRS };
    ag_head_attention *head = ag_head_attention_new(ctx, config);
    ag_optimizer *sgd = ag_sgd_new(ag_head_attention_module(head), (ag_sgd_config){ .lr = 1 });
    ag_tensor *x = ag_zeros(ctx, AG_F32, AG_SHAPE(B, T, EMB));
    ag_tensor *target = ag_zeros(ctx, AG_I32, AG_SHAPE(B));

    double first = train_step(ctx, head, sgd, x, target), last = first;
    for (int step = 1; step < STEPS; step++)
        last = train_step(ctx, head, sgd, x, target);

    bool learned = ag_error(ctx) == AG_OK && first > lowest_first_loss && last < highest_last_loss;
    printf("core: a head learns to look up a key: loss %.2f, after %d steps of SGD %.3f; at most %.1f: %s\n", first,
           STEPS, last, highest_last_loss, learned ? "ok" : "FAIL");
    fputs(ag_error_message(ctx), stderr);
    ag_optimizer_free(sgd);
    ag_head_attention_free(head);
    return ag_ctx_free(ctx) != 0 || !learned;
}
