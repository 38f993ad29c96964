/* SPDX-License-Identifier: MIT
 *
 * bench_attention_memory.c - the most memory that one attention layer's forward and backward pass takes.
 *
 * B=1, T=4096, emb 512, 8 heads of 64, causal, float32. Prints the process's peak resident set, which has
 * everything in it: code, input, parameters, gradients. Exit status 1 when it is not below LIMIT_MB. A layer that
 * kept its T x T weights would need 512 MB for one copy of them.
 */
#define _XOPEN_SOURCE 700

#include "attngrad.h"
#include "bench/measure.h"

enum { TIME = 4096, EMB = 512, HEADS = 8, HEAD_SIZE = 64, LIMIT_MB = 150 };

int main(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    if (ctx == NULL) {
        fprintf(stderr, "bench_attention_memory: no context\n");
        return 1;
    }
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = EMB, .num_heads = HEADS, .head_size = HEAD_SIZE,
                                                   .max_seq_len = TIME });
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(1, TIME, EMB)));
    ag_tensor *cotangent = ag_randn(ctx, AG_F32, AG_SHAPE(1, TIME, EMB));
    double before = peak_mb();
    ag_tape *tape = ag_tape_begin(ctx);
    ag_status status = ag_backward_from(tape, ag_mha_forward(mha, x), cotangent);
    ag_tape_end(tape);
    double peak = peak_mb();
    if (status != AG_OK)
        fprintf(stderr, "bench_attention_memory: %s\n", ag_error_message(ctx));
    else
        printf("attention forward and backward, B=1 T=%d emb=%d %d heads of %d, %d threads: peak %.1f MB "
               "(before it %.1f MB; tensors %.1f MB; limit %d MB)\n",
               TIME, EMB, HEADS, HEAD_SIZE, ag_ctx_threads(ctx), peak, before,
               (double)ag_ctx_peak_bytes(ctx) / (1024.0 * 1024.0), LIMIT_MB);
    ag_mha_free(mha);
    ag_ctx_free(ctx);
    return status == AG_OK && peak < LIMIT_MB ? 0 : 1;
}
