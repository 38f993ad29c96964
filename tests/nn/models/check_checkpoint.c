/* SPDX-License-Identifier: MIT
 *
 * check_checkpoint.c - parameters and training state in files: round trips, resuming, files that do not fit.
 */
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>

static const ag_transformer_config model = {
    .vocab_size = 9, .max_seq_len = 6, .emb_size = 8, .num_heads = 2, .num_layers = 2, .dropout = 0.2,
};

static ag_optimizer *make_optimizer(int kind, ag_gpt *gpt)
{
    if (kind == 0)
        return ag_sgd_new(ag_gpt_module(gpt), (ag_sgd_config){ .lr = 0.1, .momentum = 0.9, .dampening = 0.1 });
    return ag_adamw_new(ag_gpt_module(gpt), (ag_adamw_config){ .lr = 0.01, .weight_decay = 0.1 });
}

/* One step on tokens drawn from the context's stream; the loss. */
static double train_step(ag_gpt *gpt, ag_optimizer *optimizer)
{
    ag_ctx *ctx = ag_ctx_of(ag_module_param(ag_gpt_module(gpt), 0).tensor);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *tokens = ag_randint(ctx, 0, 9, AG_SHAPE(2, 6));
    ag_tensor *loss = ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens);
    double value = test_item(loss);
    ag_module_zero_grad(ag_gpt_module(gpt));
    ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
    ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK);
    ag_tape_end(tape);
    return value;
}

static void assert_same_params(const ag_module *got, const ag_module *want)
{
    ck_assert_int_eq(ag_module_param_count(got), ag_module_param_count(want));
    for (int64_t i = 0; i < ag_module_param_count(got); i++)
        assert_same(ag_module_param(got, i).tensor, ag_module_param(want, i).tensor);
}

START_TEST(module_round_trip)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_gpt *a = ag_gpt_new(ctx, model), *b = ag_gpt_new(ctx, model);
    test_fill_params(ag_gpt_module(a), 1);
    ck_assert_int_eq(ag_module_save(ag_gpt_module(a), path), AG_OK);
    ck_assert_int_eq(ag_module_load(ag_gpt_module(b), path), AG_OK);
    assert_same_params(ag_gpt_module(b), ag_gpt_module(a));
    ag_gpt_free(a);
    ag_gpt_free(b);
    remove(path);
    test_end(ctx);
}
END_TEST

/* Three steps, save, two more; another context with another seed loads and makes the same two, bit for bit. */
START_TEST(resume)
{
    for (int kind = 0; kind < 2; kind++) {
        const char *path = test_file();
        ag_ctx *ctx[2] = { ag_ctx_new((ag_ctx_config){ .seed = 5, .threads = 2 }),
                           ag_ctx_new((ag_ctx_config){ .seed = 6, .threads = 1 }) };
        ag_gpt *gpt[2];
        ag_optimizer *optimizer[2];
        for (int i = 0; i < 2; i++) {
            gpt[i] = ag_gpt_new(ctx[i], model);
            optimizer[i] = make_optimizer(kind, gpt[i]);
            for (int step = 0; step < 3 - i; step++)
                train_step(gpt[i], optimizer[i]);
        }
        ag_optimizer_set_lr(optimizer[0], 0.03);
        const ag_metadata metadata[] = { { "step", "3" }, { "config", "a model" } };
        ck_assert_int_eq(ag_checkpoint_save(path, ag_gpt_module(gpt[0]), optimizer[0], metadata, 2), AG_OK);
        ck_assert_int_eq(ag_checkpoint_load(path, ag_gpt_module(gpt[1]), optimizer[1]), AG_OK);
        ck_assert_double_eq(ag_optimizer_lr(optimizer[1]), 0.03);
        for (int step = 0; step < 2; step++)
            ck_assert_double_eq(train_step(gpt[1], optimizer[1]), train_step(gpt[0], optimizer[0]));
        assert_same_params(ag_gpt_module(gpt[1]), ag_gpt_module(gpt[0]));
        ag_safetensors *file = ag_safetensors_open(ctx[0], path);
        ck_assert_str_eq(ag_safetensors_metadata(file, "config"), "a model");
        ck_assert_str_eq(ag_safetensors_metadata(file, "attngrad.optimizer"), kind == 0 ? "sgd" : "adamw");
        ck_assert_str_eq(ag_safetensors_metadata(file, "attngrad.rng.seed"), "5");
        ck_assert(ag_safetensors_has(file, kind == 0 ? "optimizer.momentum_buffer.blocks.1.attn.q.weight"
                                                     : "optimizer.exp_avg_sq.blocks.1.attn.q.weight"));
        ag_safetensors_close(file);
        for (int i = 0; i < 2; i++) {
            ag_optimizer_free(optimizer[i]);
            ag_gpt_free(gpt[i]);
            test_end(ctx[i]);
        }
        remove(path);
    }
}
END_TEST

/* Without an optimizer, a checkpoint with one gives the parameters; a plain state dict is no checkpoint. */
START_TEST(without_optimizer)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_gpt *a = ag_gpt_new(ctx, model), *b = ag_gpt_new(ctx, model);
    ag_optimizer *of_a = make_optimizer(1, a), *of_b = make_optimizer(1, b);
    ck_assert_int_eq(ag_checkpoint_save(path, ag_gpt_module(a), of_a, NULL, 0), AG_OK);
    ck_assert_int_eq(ag_checkpoint_load(path, ag_gpt_module(b), NULL), AG_OK);
    assert_same_params(ag_gpt_module(b), ag_gpt_module(a));
    ck_assert_int_eq(ag_checkpoint_save(path, ag_gpt_module(a), NULL, NULL, 0), AG_OK);
    ck_assert_int_eq(ag_checkpoint_load(path, ag_gpt_module(b), NULL), AG_OK);
    ck_assert_int_eq(ag_checkpoint_load(path, ag_gpt_module(b), of_b), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "saved with optimizer none, this one is adamw");
    ck_assert_int_eq(ag_module_save(ag_gpt_module(a), path), AG_OK);
    ck_assert_int_eq(ag_checkpoint_load(path, ag_gpt_module(b), NULL), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "not a checkpoint: there is no metadata attngrad.optimizer");
    ck_assert_int_eq(ag_checkpoint_save(path, ag_gpt_module(a), of_b, NULL, 0), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "checkpoint_save: the optimizer is of another module");
    ck_assert_int_eq(ag_checkpoint_load(path, ag_gpt_module(a), of_b), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "checkpoint_load: the optimizer is of another module");
    ag_metadata own = { "attngrad.rng.seed", "1" };
    ck_assert_int_eq(ag_checkpoint_save(path, ag_gpt_module(a), of_a, &own, 1), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "the key attngrad.rng.seed is reserved");
    ag_optimizer_free(of_a);
    ag_optimizer_free(of_b);
    ag_gpt_free(a);
    ag_gpt_free(b);
    remove(path);
    test_end(ctx);
}
END_TEST

/* ---- Files that do not fit: each leaves model, optimizer and random state as they were ---- */

typedef struct trial {
    ag_ctx *ctx;
    ag_gpt *gpt, *copy; /* copy: what the parameters must still be */
    ag_optimizer *optimizer;
    ag_named_tensor tensor[256];
    ag_metadata metadata[8];
    int64_t tensor_count, metadata_count;
    const char *path;
} trial;

/* A good checkpoint as lists that a test spoils and writes again. */
static void trial_begin(trial *t)
{
    *t = (trial){ .ctx = test_begin(), .path = test_file() };
    t->gpt = ag_gpt_new(t->ctx, model);
    t->optimizer = make_optimizer(0, t->gpt);
    train_step(t->gpt, t->optimizer);
    ck_assert_int_eq(ag_checkpoint_save(t->path, ag_gpt_module(t->gpt), t->optimizer, NULL, 0), AG_OK);
    ag_safetensors *file = ag_safetensors_open(t->ctx, t->path);
    for (int64_t i = 0; i < ag_safetensors_count(file); i++) {
        char *name = malloc(strlen(ag_safetensors_name(file, i)) + 1);
        strcpy(name, ag_safetensors_name(file, i));
        t->tensor[i] = (ag_named_tensor){ name, ag_tensor_clone(ag_safetensors_read(file, name)) };
    }
    t->tensor_count = ag_safetensors_count(file);
    ag_safetensors_close(file);
    const ag_metadata metadata[] = { { "attngrad.optimizer", "sgd" }, { "attngrad.rng.seed", "77" },
                                     { "attngrad.rng.counter", "88" } };
    memcpy(t->metadata, metadata, sizeof metadata);
    t->metadata_count = 3;
    train_step(t->gpt, t->optimizer); /* so that the file differs from what the model holds */
    t->copy = ag_gpt_new(t->ctx, model);
    test_copy_params(ag_gpt_module(t->copy), ag_gpt_module(t->gpt));
}

static void trial_end(trial *t)
{
    for (int64_t i = 0; i < t->tensor_count; i++)
        free((void *)(uintptr_t)t->tensor[i].name);
    remove(t->path);
    ag_optimizer_free(t->optimizer);
    ag_gpt_free(t->gpt);
    ag_gpt_free(t->copy);
    test_end(t->ctx);
}

static ag_named_tensor *entry_of(trial *t, const char *name)
{
    for (int64_t i = 0; i < t->tensor_count; i++)
        if (strcmp(t->tensor[i].name, name) == 0)
            return &t->tensor[i];
    ck_abort_msg("no %s", name);
}

static void assert_refused(trial *t, const char *text)
{
    ag_rng before = ag_rng_get(t->ctx);
    ck_assert_int_eq(
        ag_safetensors_save(t->ctx, t->path, t->tensor, t->tensor_count, t->metadata, t->metadata_count), AG_OK);
    ck_assert_int_eq(ag_checkpoint_load(t->path, ag_gpt_module(t->gpt), t->optimizer), AG_ERR_FILE);
    assert_error(t->ctx, AG_ERR_FILE, text);
    assert_same_params(ag_gpt_module(t->gpt), ag_gpt_module(t->copy));
    ck_assert(ag_rng_get(t->ctx).seed == before.seed && ag_rng_get(t->ctx).counter == before.counter);
    ck_assert_double_eq(ag_optimizer_lr(t->optimizer), 0.1);
}

START_TEST(misfits)
{
    trial t;
    trial_begin(&t);
    ag_named_tensor *last = entry_of(&t, "norm.bias"), good = *last;
    last->tensor = ag_zeros(t.ctx, AG_F32, AG_SHAPE(9));
    assert_refused(&t, "checkpoint_load: norm.bias in ");
    assert_refused(&t, " is float32 [9], wanted float32 [8]");
    last->tensor = ag_zeros(t.ctx, AG_F64, AG_SHAPE(8));
    assert_refused(&t, " is float64 [8], wanted float32 [8]");
    *last = (ag_named_tensor){ "stranger", good.tensor };
    assert_refused(&t, " has no norm.bias, wanted float32 [8]");
    *last = good;
    t.tensor[t.tensor_count++] = (ag_named_tensor){ "stranger", good.tensor };
    assert_refused(&t, " has stranger, float32 [8]; nothing here has this name");
    t.tensor_count--;

    last = entry_of(&t, "optimizer.momentum_buffer.tok.weight");
    good = *last;
    last->tensor = ag_zeros(t.ctx, AG_F32, AG_SHAPE(1));
    assert_refused(&t, "optimizer.momentum_buffer.tok.weight in ");
    *last = good;
    last = entry_of(&t, "optimizer.step");
    good = *last;
    const double wrong[] = { -1, 0.5, (double)NAN, (double)INFINITY };
    for (int i = 0; i < 4; i++) {
        last->tensor = ag_full(t.ctx, AG_F64, ag_ndim(good.tensor), ag_shape(good.tensor), wrong[i]);
        assert_refused(&t, "not a count of steps in optimizer.step");
    }
    *last = good;
    last = entry_of(&t, "optimizer.lr");
    good = *last;
    last->tensor = ag_full(t.ctx, AG_F64, AG_SCALAR, (double)NAN);
    assert_refused(&t, "not a learning rate: optimizer.lr");
    *last = good;

    t.metadata[0].value = "adamw";
    assert_refused(&t, "saved with optimizer adamw, this one is sgd");
    t.metadata[0].value = "sgd";
    const char *const number[] = { "", "-1", "12x", "18446744073709551616", "99999999999999999999999" };
    for (int i = 0; i < 5; i++) {
        t.metadata[2].value = number[i];
        assert_refused(&t, "not a 64-bit number: metadata attngrad.rng.counter");
    }
    t.metadata_count = 2;
    assert_refused(&t, "not a checkpoint: there is no metadata attngrad.rng.counter");

    /* And the unspoilt file is taken. */
    t.metadata_count = 3;
    t.metadata[2].value = "18446744073709551615";
    ck_assert_int_eq(ag_safetensors_save(t.ctx, t.path, t.tensor, t.tensor_count, t.metadata, 3), AG_OK);
    ck_assert_int_eq(ag_checkpoint_load(t.path, ag_gpt_module(t.gpt), t.optimizer), AG_OK);
    ck_assert(ag_rng_get(t.ctx).seed == 77 && ag_rng_get(t.ctx).counter == UINT64_MAX);
    assert_same(test_param(ag_gpt_module(t.gpt), "norm.bias"), entry_of(&t, "norm.bias")->tensor);
    trial_end(&t);
}
END_TEST

/* A file cut at any of many places, and one that is not there. */
START_TEST(truncated)
{
    trial t;
    trial_begin(&t);
    FILE *file = fopen(t.path, "rb");
    ck_assert_ptr_nonnull(file);
    static char bytes[1 << 16];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    ck_assert_uint_lt(size, sizeof bytes);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 8) {
        file = fopen(t.path, "wb");
        ck_assert_uint_eq(fwrite(bytes, 1, cut, file), cut);
        fclose(file);
        ck_assert_int_eq(ag_checkpoint_load(t.path, ag_gpt_module(t.gpt), t.optimizer), AG_ERR_FILE);
        ag_error_clear(t.ctx);
        ck_assert_int_eq(ag_module_load(ag_gpt_module(t.gpt), t.path), AG_ERR_FILE);
        ag_error_clear(t.ctx);
        assert_same_params(ag_gpt_module(t.gpt), ag_gpt_module(t.copy));
    }
    remove(t.path);
    ck_assert_int_eq(ag_checkpoint_load(t.path, ag_gpt_module(t.gpt), t.optimizer), AG_ERR_FILE);
    assert_error(t.ctx, AG_ERR_FILE, "can not be opened");
    trial_end(&t);
}
END_TEST

START_TEST(module_load_wants_exactly_its_names)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_linear_layer *with = ag_linear_new(ctx, (ag_linear_config){ .in_features = 2, .out_features = 3 });
    ag_linear_layer *without = ag_linear_new(ctx, (ag_linear_config){ 2, 3, true, 0, AG_F32 });
    ag_linear_layer *wider = ag_linear_new(ctx, (ag_linear_config){ 4, 3, true, 0, AG_F32 });
    ag_module_save(ag_linear_module(with), path);
    ck_assert_int_eq(ag_module_load(ag_linear_module(without), path), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, " has bias, float32 [3]; nothing here has this name");
    ck_assert_int_eq(ag_module_load(ag_linear_module(wider), path), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "float32 [3,2], wanted float32 [3,4]");
    ag_module_save(ag_linear_module(without), path);
    ag_tensor *before = ag_tensor_clone(test_param(ag_linear_module(with), "weight"));
    ck_assert_int_eq(ag_module_load(ag_linear_module(with), path), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, " has no bias, wanted float32 [3]");
    assert_same(test_param(ag_linear_module(with), "weight"), before);
    ck_assert_int_eq(ag_module_load(NULL, path), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_module_save(NULL, path), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_checkpoint_load(path, NULL, NULL), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_checkpoint_save(path, NULL, NULL, NULL, 0), AG_ERR_ARGUMENT);
    ag_linear_free(with);
    ag_linear_free(without);
    ag_linear_free(wider);
    remove(path);
    test_end(ctx);
}
END_TEST

Suite *checkpoint_suite(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, module_round_trip);
    tcase_add_test(tcase, resume);
    tcase_add_test(tcase, without_optimizer);
    tcase_add_test(tcase, misfits);
    tcase_add_test(tcase, truncated);
    tcase_add_test(tcase, module_load_wants_exactly_its_names);
    suite_add_tcase(suite, tcase);
    return suite;
}
