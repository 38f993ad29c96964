/* SPDX-License-Identifier: MIT
 *
 * check_gpt_recompute.c - a GPT whose blocks are recomputed: the same bits as without, in less memory.
 */
#include "tests/test.h"

#include <string.h>

enum { STEPS = 5 };

/* Trains a small GPT with dropout; losses, and all parameters after the last step one behind the other. */
static int64_t train(bool recompute, double *loss, float *weights)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){
        .vocab_size = 11, .max_seq_len = 8, .emb_size = 12, .num_heads = 3, .num_layers = 3, .dropout = 0.2,
        .recompute = recompute,
    });
    ag_module *module = ag_gpt_module(gpt);
    ag_optimizer *adamw = ag_adamw_new(module, (ag_adamw_config){ .lr = 0.01 });
    for (int s = 0; s < STEPS; s++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *tokens = ag_randint(ctx, 0, 11, AG_SHAPE(4, 8));
        ag_tensor *l = ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens);
        assert_ok(ctx, ag_backward(tape, l));
        loss[s] = test_item(l);
        ag_tape_end(tape);
        ck_assert_int_eq(ag_unused_parameters(module, NULL, 0), 0);
        assert_ok(ctx, ag_optimizer_step(adamw));
        ag_module_zero_grad(module);
    }
    int64_t count = 0;
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        const ag_tensor *p = ag_module_param(module, i).tensor;
        memcpy(weights + count, ag_data(p), (size_t)ag_numel(p) * sizeof *weights);
        count += ag_numel(p);
    }
    ag_optimizer_free(adamw);
    ag_gpt_free(gpt);
    test_end(ctx);
    return count;
}

START_TEST(training_has_the_same_bits)
{
    static float weights[2][8192];
    double loss[2][STEPS];
    int64_t count = train(false, loss[0], weights[0]);
    ck_assert_int_le(count, 8192);
    ck_assert_int_eq(train(true, loss[1], weights[1]), count);
    for (int s = 0; s < STEPS; s++)
        ck_assert_double_eq(loss[0][s], loss[1][s]);
    ck_assert_int_eq(memcmp(weights[0], weights[1], (size_t)count * sizeof(float)), 0);
}
END_TEST

/* The most memory that a step of a GPT of 12 layers takes. */
static size_t peak_bytes(bool recompute)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){
        .vocab_size = 64, .max_seq_len = 128, .emb_size = 64, .num_heads = 4, .num_layers = 12, .recompute = recompute,
    });
    ag_tensor *tokens = ag_randint(ctx, 0, 64, AG_SHAPE(8, 128));
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_backward(tape, ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens)));
    ag_tape_end(tape);
    ag_gpt_free(gpt);
    size_t peak = ag_ctx_peak_bytes(ctx);
    test_end(ctx);
    return peak;
}

START_TEST(less_memory)
{
    size_t plain = peak_bytes(false), again = peak_bytes(true);
    ck_assert_msg(3 * again < plain, "%zu bytes with recomputation, %zu without", again, plain);
}
END_TEST

Suite *gpt_recompute_suite(void)
{
    Suite *suite = suite_create("gpt_recompute");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, training_has_the_same_bits);
    tcase_add_test(all, less_memory);
    suite_add_tcase(suite, all);
    return suite;
}
