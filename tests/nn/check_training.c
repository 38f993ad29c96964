/* SPDX-License-Identifier: MIT
 *
 * check_training.c - whole training steps: overfitting, threads, memory, and every allocation made to fail.
 */
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 12 };
static const ag_transformer_config small = {
    .vocab_size = VOCAB, .max_seq_len = 8, .emb_size = 32, .num_heads = 2, .num_layers = 2,
};

/* Row b begins with token b, so that no two rows share a beginning and the loss can reach 0. */
static ag_tensor *make_tokens(ag_ctx *ctx, int64_t B, int64_t T)
{
    ag_tensor *tokens = ag_randint(ctx, 0, VOCAB, AG_SHAPE(B, T));
    for (int64_t b = 0; b < B; b++)
        ag_set(tokens, (const int64_t[]){ b, 0 }, (double)(b % VOCAB));
    return tokens;
}

/* Forward, backward, clip and step on tokens[B,T+1]; the loss, or NaN with the error on the context. */
static double train_step(ag_ctx *ctx, ag_gpt *gpt, ag_optimizer *optimizer, ag_tensor *tokens)
{
    ag_module *module = ag_gpt_module(gpt);
    ag_module_zero_grad(module); /* before the forward pass, which finds the gradients' memory in the cache */
    ag_tape *tape = ag_tape_begin(ctx);
    int64_t T = ag_dim(tokens, 1) - 1;
    ag_tensor *logits = ag_gpt_forward(gpt, ag_slice(tokens, 1, 0, T, 1));
    ag_tensor *loss = ag_cross_entropy(logits, ag_slice(tokens, 1, 1, T + 1, 1));
    double value = (double)NAN;
    ag_status status = ag_backward(tape, loss);
    if (status == AG_OK)
        status = ag_item(loss, &value);
    if (status == AG_OK)
        status = ag_clip_grad_norm(module, 1, NULL);
    if (status == AG_OK)
        status = ag_optimizer_step(optimizer);
    ag_tape_end(tape);
    return status == AG_OK ? value : (double)NAN;
}

static ag_optimizer *make_optimizer(ag_gpt *gpt, bool adamw)
{
    if (adamw)
        return ag_adamw_new(ag_gpt_module(gpt), (ag_adamw_config){ .lr = 3e-3 });
    return ag_sgd_new(ag_gpt_module(gpt), (ag_sgd_config){ .lr = 0.2, .momentum = 0.9 });
}

START_TEST(overfits_one_batch)
{
    for (int adamw = 0; adamw < 2; adamw++)
        for (int post_norm = 0; post_norm < 2; post_norm++) {
            ag_ctx *ctx = test_begin();
            ag_transformer_config config = small;
            config.post_norm = post_norm;
            ag_gpt *gpt = ag_gpt_new(ctx, config);
            ag_optimizer *optimizer = make_optimizer(gpt, adamw);
            ag_tensor *tokens = make_tokens(ctx, 4, 9);
            double first = train_step(ctx, gpt, optimizer, tokens), loss = first;
            for (int step = 1; step < 400 && loss >= 0.02; step++)
                loss = train_step(ctx, gpt, optimizer, tokens);
            assert_no_error(ctx);
            ck_assert_double_gt(first, 2);
            ck_assert_msg(loss < 0.02, "adamw %d, post_norm %d: loss %g", adamw, post_norm, loss);
            ag_optimizer_free(optimizer);
            ag_gpt_free(gpt);
            test_end(ctx);
        }
}
END_TEST

START_TEST(threads_give_the_same_bits)
{
    ag_ctx *ctx[3];
    ag_gpt *gpt[3];
    ag_optimizer *optimizer[3];
    double loss[3][3];
    for (int i = 0; i < 3; i++) {
        ctx[i] = ag_ctx_new((ag_ctx_config){ .seed = 11, .threads = 1 + i });
        gpt[i] = ag_gpt_new(ctx[i], (ag_transformer_config){
            .vocab_size = VOCAB, .max_seq_len = 64, .emb_size = 96, .num_heads = 3, .num_layers = 2, .dropout = 0.1 });
        optimizer[i] = make_optimizer(gpt[i], true);
        ag_tensor *tokens = make_tokens(ctx[i], 3, 65);
        for (int step = 0; step < 3; step++)
            loss[i][step] = train_step(ctx[i], gpt[i], optimizer[i], tokens);
    }
    for (int i = 1; i < 3; i++) {
        for (int step = 0; step < 3; step++)
            ck_assert_double_eq(loss[i][step], loss[0][step]);
        const ag_module *first = ag_gpt_module(gpt[0]), *other = ag_gpt_module(gpt[i]);
        for (int64_t p = 0; p < ag_module_param_count(first); p++)
            assert_same(ag_module_param(other, p).tensor, ag_module_param(first, p).tensor);
    }
    for (int i = 0; i < 3; i++) {
        ag_optimizer_free(optimizer[i]);
        ag_gpt_free(gpt[i]);
        test_end(ctx[i]);
    }
}
END_TEST

/* ---- Memory ---- */

/* Counts blocks; from the `fail_from`-th call on (counted from 1, 0: never) there is no more memory. */
typedef struct counting {
    int64_t calls, live, fail_from;
    size_t bytes;
} counting;

static void *counting_alloc(void *user, size_t size)
{
    counting *c = user;
    c->calls++;
    if (c->fail_from != 0 && c->calls >= c->fail_from)
        return NULL;
    void *block = malloc(size);
    ck_assert_ptr_nonnull(block);
    c->live++;
    c->bytes += size;
    return block;
}

static void counting_free(void *user, void *block, size_t size)
{
    counting *c = user;
    c->live--;
    c->bytes -= size;
    free(block);
}

static ag_ctx *counted_ctx(counting *c)
{
    return ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 2, .allocator = { counting_alloc, counting_free, c } });
}

static void assert_nothing_left(const counting *c)
{
    ck_assert_int_eq(c->live, 0);
    ck_assert_uint_eq(c->bytes, 0);
}

START_TEST(later_steps_allocate_nothing)
{
    for (int adamw = 0; adamw < 2; adamw++) {
        counting c = { 0 };
        ag_ctx *ctx = counted_ctx(&c);
        ag_transformer_config config = small;
        config.dropout = 0.1;
        ag_gpt *gpt = ag_gpt_new(ctx, config);
        ag_optimizer *optimizer = make_optimizer(gpt, adamw);
        ag_tensor *tokens = make_tokens(ctx, 4, 9);
        train_step(ctx, gpt, optimizer, tokens);
        int64_t after_first = c.calls;
        for (int step = 0; step < 3; step++) {
            train_step(ctx, gpt, optimizer, tokens);
            ck_assert_msg(c.calls == after_first, "step %d called malloc %lld times", step + 1,
                          (long long)(c.calls - after_first));
        }
        ag_optimizer_free(optimizer);
        ag_gpt_free(gpt);
        test_end(ctx);
        assert_nothing_left(&c);
    }
}
END_TEST

static const ag_transformer_config least = {
    .vocab_size = VOCAB, .max_seq_len = 4, .emb_size = 4, .num_heads = 2, .num_layers = 1, .dropout = 0.1,
};

/* From an empty context through a step, out of memory at the n-th block: an error, no crash, no leak. */
START_TEST(memory_ends_anywhere)
{
    bool done = false;
    int64_t n = 1;
    for (; !done; n++) {
        counting c = { .fail_from = n };
        ag_ctx *ctx = counted_ctx(&c);
        if (ctx != NULL) {
            ag_gpt *gpt = ag_gpt_new(ctx, least);
            ag_optimizer *optimizer = make_optimizer(gpt, n % 2 == 0);
            ag_tensor *tokens = make_tokens(ctx, 2, 5);
            double loss = train_step(ctx, gpt, optimizer, tokens);
            done = c.calls < n;
            ck_assert_int_eq(ag_error(ctx), done ? AG_OK : AG_ERR_MEMORY);
            ck_assert(done == !isnan(loss));
            if (gpt == NULL || optimizer == NULL)
                ck_assert_int_eq(ag_error(ctx), AG_ERR_MEMORY);
            ag_optimizer_free(optimizer);
            ag_gpt_free(gpt);
            ck_assert_int_eq(ag_ctx_free(ctx), 0);
        }
        assert_nothing_left(&c);
    }
    ck_assert_int_gt(n, 50);
}
END_TEST

static void parameter_bytes(const ag_module *module, char *bytes)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        const ag_tensor *t = ag_module_param(module, i).tensor;
        size_t size = (size_t)ag_numel(t) * ag_dtype_size(ag_dtype_of(t));
        memcpy(bytes, ag_data(t), size);
        bytes += size;
    }
}

/* Memory ends within a step of a model that stands: the parameters keep their values, and when there is memory
 * again the same step gives what it gives without the accident. */
START_TEST(a_failed_step_harms_nothing)
{
    double want = (double)NAN;
    bool done = false;
    int64_t n = 0;
    for (; !done; n++) {
        counting c = { 0 };
        ag_ctx *ctx = counted_ctx(&c);
        ag_gpt *gpt = ag_gpt_new(ctx, least);
        ag_module *module = ag_gpt_module(gpt);
        ag_optimizer *optimizer = make_optimizer(gpt, false);
        ag_tensor *tokens = make_tokens(ctx, 2, 5);
        size_t size = (size_t)ag_module_numel(module) * sizeof(float);
        char *before = malloc(2 * size), *after = before + size;
        parameter_bytes(module, before);
        ag_rng rng = ag_rng_get(ctx);
        if (n > 0) { /* the first round only finds out what is wanted */
            ag_ctx_trim(ctx);
            c.fail_from = c.calls + n;
            double loss = train_step(ctx, gpt, optimizer, tokens);
            done = c.calls < c.fail_from;
            if (!done) {
                ck_assert(isnan(loss));
                assert_error(ctx, AG_ERR_MEMORY, "can not be had");
                parameter_bytes(module, after);
                ck_assert_int_eq(memcmp(before, after, size), 0);
            }
            c.fail_from = 0;
        }
        if (!done) {
            ag_rng_set(ctx, rng);
            double loss = train_step(ctx, gpt, optimizer, tokens);
            if (n == 0)
                want = loss;
            ck_assert_double_eq(loss, want);
        }
        free(before);
        ag_optimizer_free(optimizer);
        ag_gpt_free(gpt);
        test_end(ctx);
        assert_nothing_left(&c);
    }
    ck_assert_int_gt(n, 20);
}
END_TEST

/* Files too: out of memory while saving and loading. */
START_TEST(memory_ends_in_a_checkpoint)
{
    const char *path = test_file();
    for (int loading = 0; loading < 2; loading++) {
        bool done = false;
        for (int64_t n = 1; !done; n++) {
            counting c = { 0 };
            ag_ctx *ctx = counted_ctx(&c);
            ag_gpt *gpt = ag_gpt_new(ctx, least);
            ag_module *module = ag_gpt_module(gpt);
            ag_optimizer *optimizer = make_optimizer(gpt, true);
            double before = test_at(ag_module_param(module, 0).tensor, 0);
            ag_ctx_trim(ctx);
            c.fail_from = c.calls + n;
            ag_status status = loading ? ag_checkpoint_load(path, module, optimizer)
                                       : ag_checkpoint_save(path, module, optimizer, NULL, 0);
            done = c.calls < c.fail_from;
            ck_assert_int_eq(status, done ? AG_OK : AG_ERR_MEMORY);
            ck_assert_double_eq(test_at(ag_module_param(module, 0).tensor, 0), before);
            ag_error_clear(ctx);
            ag_optimizer_free(optimizer);
            ag_gpt_free(gpt);
            test_end(ctx);
            assert_nothing_left(&c);
        }
    }
    remove(path);
}
END_TEST

/* The gradient of a batch is the sum over parts of unequal numbers of targets: each loss a sum over the number of
 * all targets. A mean per part gives every part the same weight. */
START_TEST(unequal_parts_make_one_batch)
{
    const int64_t length[] = { 2, 7 };
    ag_transformer_config config = small;
    config.dtype = AG_F64;
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    ag_module *module = ag_gpt_module(gpt);
    ag_tensor *tokens = make_tokens(ctx, 2, 8), *target = ag_full(ctx, AG_I32, AG_SHAPE(2, 7), -1);
    for (int64_t b = 0; b < 2; b++)
        for (int64_t t = 0; t < length[b]; t++)
            ag_set(target, (const int64_t[]){ b, t }, test_at(tokens, 8 * b + t + 1));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_gpt_forward(gpt, ag_slice(tokens, 1, 0, 7, 1));
    const ag_cross_entropy_config over = { .ignore = true, .ignore_index = -1 };
    assert_ok(ctx, ag_backward(tape, ag_cross_entropy_with(logits, target, over)));
    ag_tape_end(tape);
    ag_tensor *table = ag_module_param(module, 0).tensor, *whole = ag_zeros(ctx, AG_F64, 2, ag_shape(table));
    assert_ok(ctx, ag_copy_into(whole, ag_grad(table)));
    ag_module_zero_grad(module);
    for (int64_t b = 0; b < 2; b++) {
        tape = ag_tape_begin(ctx);
        ag_tensor *row = ag_slice(tokens, 0, b, b + 1, 1);
        logits = ag_gpt_forward(gpt, ag_slice(row, 1, 0, length[b], 1));
        ag_tensor *sum = ag_cross_entropy_with(logits, ag_slice(row, 1, 1, length[b] + 1, 1),
                                               (ag_cross_entropy_config){ .reduction = AG_SUM });
        assert_ok(ctx, ag_backward(tape, ag_scale(sum, 1.0 / (double)(length[0] + length[1]))));
        ag_tape_end(tape);
    }
    assert_close(ag_grad(table), whole, 1e-14, 1e-12);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

Suite *training_suite(void)
{
    Suite *suite = suite_create("training");
    TCase *tcase = tcase_create("training");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, overfits_one_batch);
    tcase_add_test(tcase, threads_give_the_same_bits);
    tcase_add_test(tcase, later_steps_allocate_nothing);
    tcase_add_test(tcase, memory_ends_anywhere);
    tcase_add_test(tcase, a_failed_step_harms_nothing);
    tcase_add_test(tcase, memory_ends_in_a_checkpoint);
    tcase_add_test(tcase, unequal_parts_make_one_batch);
    suite_add_tcase(suite, tcase);
    return suite;
}
