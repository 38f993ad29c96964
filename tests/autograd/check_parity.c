/* SPDX-License-Identifier: MIT
 *
 * check_parity.c - values and gradients against PyTorch's, from the files that fixtures/make_fixtures.py wrote:
 * every op, the layers, gpt, the losses, the optimizers, training. Each case runs in float64 and in float32.
 *
 * Inputs are named x0, x1, ..., the output y, the cotangent gy. Every case of a file is run; a case that the tables
 * here do not know fails the suite.
 */
#include "tests/parity.h"

enum { INPUTS_MOST = 3 };

/* ---- Ops ---- */

static ag_tensor *split_and_join(ag_tensor *x)
{
    ag_tensor *piece[3];
    ag_split(x, 1, 3, piece);
    for (int i = 0; i < 3; i++)
        piece[i] = ag_scale(piece[i], i + 1);
    return ag_concat(piece, 3, 0);
}

#define OP(name, ...)                             \
    static ag_tensor *op_##name(ag_tensor **x)    \
    {                                             \
        return __VA_ARGS__;                       \
    }
#include "tests/autograd/parity_ops.def"
#undef OP

static const struct {
    const char *name;
    ag_tensor *(*run)(ag_tensor **x);
} op_cases[] = {
#define OP(name, ...) { #name, op_##name },
#include "tests/autograd/parity_ops.def"
#undef OP
};
enum { OP_CASES = sizeof op_cases / sizeof *op_cases };

/* Output and input gradients of y = run(x), by the case's own inputs and cotangent. */
static void check_function(const parity *p, ag_tensor *(*run)(ag_tensor **x, const void *user), const void *user)
{
    static const char *const input_name[INPUTS_MOST] = { "x0", "x1", "x2" };
    ag_tensor *x[INPUTS_MOST] = { NULL };
    int count = 0;
    for (; count < INPUTS_MOST && parity_has(p, input_name[count]); count++) {
        x[count] = parity_given(p, input_name[count]);
        if (ag_dtype_of(x[count]) != AG_I32)
            ag_require_grad(x[count]);
    }
    ck_assert_msg(count > 0, "%s: the file has no inputs", p->name);

    ag_tape *tape = ag_tape_begin(p->ctx);
    ag_tensor *y = run(x, user);
    parity_expect(p, "y", y);
    ag_backward_from(tape, y, parity_given(p, "gy"));
    ag_tape_end(tape);
    for (int i = 0; i < count; i++)
        if (ag_dtype_of(x[i]) != AG_I32)
            parity_expect_grad(p, input_name[i], x[i]);
}

static ag_tensor *run_op(ag_tensor **x, const void *user)
{
    const int *op = user;
    return op_cases[*op].run(x);
}

START_TEST(test_op)
{
    int op = _i / 2;
    parity p = parity_begin("ops", op_cases[op].name, _i % 2);
    check_function(&p, run_op, &op);
    parity_end(&p);
}
END_TEST

START_TEST(test_op_cases_complete)
{
    ck_assert_int_eq(parity_count("ops", "/y"), OP_CASES);
}
END_TEST

/* ---- Cross-entropy ---- */

#define MEAN_AND_SUM(name, ...)                                                                           \
    { name "_mean", { .reduction = AG_MEAN, .ignore = true, .ignore_index = -1, __VA_ARGS__ } },         \
    { name "_sum", { .reduction = AG_SUM, .ignore = true, .ignore_index = -1, __VA_ARGS__ } }
static const struct {
    const char *name;
    ag_cross_entropy_config config;
} loss_cases[] = {
    MEAN_AND_SUM("plain", .label_smoothing = 0),
    MEAN_AND_SUM("ignore", .label_smoothing = 0),
    MEAN_AND_SUM("smooth", .label_smoothing = 0.1),
    MEAN_AND_SUM("ignore_smooth", .label_smoothing = 0.1),
    MEAN_AND_SUM("all_ignored", .label_smoothing = 0),
    MEAN_AND_SUM("all_ignored_smooth", .label_smoothing = 0.1),
};
enum { LOSS_CASES = sizeof loss_cases / sizeof *loss_cases };

static ag_tensor *run_loss(ag_tensor **x, const void *user)
{
    const ag_cross_entropy_config *config = user;
    return ag_cross_entropy_with(x[0], x[1], *config);
}

START_TEST(test_cross_entropy)
{
    parity p = parity_begin("cross_entropy", loss_cases[_i / 2].name, _i % 2);
    check_function(&p, run_loss, &loss_cases[_i / 2].config);
    parity_end(&p);
}
END_TEST

START_TEST(test_cross_entropy_default)
{
    parity p = parity_begin("cross_entropy", "plain_mean", _i);
    parity_expect(&p, "y", ag_cross_entropy(parity_given(&p, "x0"), parity_given(&p, "x1")));
    parity_end(&p);
}
END_TEST

START_TEST(test_loss_cases_complete)
{
    ck_assert_int_eq(parity_count("cross_entropy", "/y"), LOSS_CASES);
}
END_TEST

/* ---- Layers ---- */

static ag_tensor *run_head(ag_tensor **x, const void *layer)
{
    return ag_head_attention_forward(*(ag_head_attention *const *)layer, x[0]);
}

static ag_tensor *run_mha(ag_tensor **x, const void *layer)
{
    return ag_mha_forward(*(ag_mha *const *)layer, x[0]);
}

static ag_tensor *run_block(ag_tensor **x, const void *layer)
{
    return ag_block_forward(*(ag_block *const *)layer, x[0]);
}

static const struct {
    const char *name;
    bool non_causal, no_bias;
} attention_cases[] = {
    { "bias_causal", false, false },
    { "bias_full", true, false },
    { "no_bias_causal", false, true },
    { "no_bias_full", true, true },
};
enum { ATTENTION_CASES = sizeof attention_cases / sizeof *attention_cases };

static const struct {
    const char *name;
    bool non_causal, post_norm;
} block_cases[] = {
    { "block_pre_norm_causal", false, false },
    { "block_pre_norm_full", true, false },
    { "block_post_norm_causal", false, true },
    { "block_post_norm_full", true, true },
};
enum { BLOCK_CASES = sizeof block_cases / sizeof *block_cases };

START_TEST(test_head_attention)
{
    int i = _i / 2;
    char name[PARITY_NAME];
    snprintf(name, sizeof name, "head_%s", attention_cases[i].name);
    parity p = parity_begin("layers", name, _i % 2);
    ag_head_attention *layer = ag_head_attention_new(
        p.ctx, (ag_head_attention_config){ .emb_size = 7, .head_size = 3, .max_seq_len = 8, .dtype = p.dtype,
                                           .non_causal = attention_cases[i].non_causal,
                                           .no_bias = attention_cases[i].no_bias });
    parity_load_params(&p, ag_head_attention_module(layer));
    check_function(&p, run_head, &layer);
    parity_expect_param_grads(&p, ag_head_attention_module(layer));
    ag_head_attention_free(layer);
    parity_end(&p);
}
END_TEST

START_TEST(test_mha)
{
    int i = _i / 2;
    char name[PARITY_NAME];
    snprintf(name, sizeof name, "mha_%s", attention_cases[i].name);
    parity p = parity_begin("layers", name, _i % 2);
    ag_mha *layer = ag_mha_new(
        p.ctx, (ag_mha_config){ .emb_size = 6, .num_heads = 3, .head_size = 4, .max_seq_len = 8, .dtype = p.dtype,
                                .non_causal = attention_cases[i].non_causal, .no_bias = attention_cases[i].no_bias });
    parity_load_params(&p, ag_mha_module(layer));
    check_function(&p, run_mha, &layer);
    parity_expect_param_grads(&p, ag_mha_module(layer));
    ag_mha_free(layer);
    parity_end(&p);
}
END_TEST

START_TEST(test_block)
{
    int i = _i / 2;
    parity p = parity_begin("layers", block_cases[i].name, _i % 2);
    ag_block *block = ag_block_new(
        p.ctx, (ag_block_config){ .emb_size = 6, .num_heads = 3, .head_size = 4, .max_seq_len = 8,
                                          .ff_size = 10, .dtype = p.dtype, .non_causal = block_cases[i].non_causal,
                                          .post_norm = block_cases[i].post_norm });
    parity_load_params(&p, ag_block_module(block));
    check_function(&p, run_block, &block);
    parity_expect_param_grads(&p, ag_block_module(block));
    ag_block_free(block);
    parity_end(&p);
}
END_TEST

START_TEST(test_layer_cases_complete)
{
    ck_assert_int_eq(parity_count("layers", "/y"), 2 * ATTENTION_CASES + BLOCK_CASES);
}
END_TEST

/* ---- GPT ---- */

START_TEST(test_gpt)
{
    bool untied = _i / 2 == 1;
    parity p = parity_begin("gpt", untied ? "untied" : "tied", _i % 2);
    ag_gpt *gpt = ag_gpt_new(p.ctx, (ag_transformer_config){ .vocab_size = 11, .max_seq_len = 7, .emb_size = 8,
                                                     .num_heads = 2, .head_size = 3, .ff_size = 10, .num_layers = 2,
                                                     .untied_head = untied, .dtype = p.dtype });
    parity_load_params(&p, ag_gpt_module(gpt));
    ag_tensor *tokens = parity_given(&p, "tokens"), *target = parity_given(&p, "target");
    ag_tape *tape = ag_tape_begin(p.ctx);
    ag_tensor *logits = ag_gpt_forward(gpt, tokens);
    parity_expect(&p, "logits", logits);
    ag_tensor *loss = ag_cross_entropy(logits, target);
    parity_expect(&p, "loss", loss);
    ag_backward(tape, loss);
    ag_tape_end(tape);
    parity_expect_param_grads(&p, ag_gpt_module(gpt));
    ag_gpt_free(gpt);
    parity_end(&p);
}
END_TEST

/* ---- Optimizers ---- */

enum { STEPS = 10 };

static const struct {
    const char *name;
    ag_sgd_config sgd; /* lr 0: it is AdamW */
    ag_adamw_config adamw;
} optimizer_cases[] = {
    { "sgd_plain", .sgd = { .lr = 0.1 } },
    { "sgd_momentum", .sgd = { .lr = 0.1, .momentum = 0.9 } },
    { "sgd_dampening", .sgd = { .lr = 0.1, .momentum = 0.9, .dampening = 0.4 } },
    { "sgd_nesterov", .sgd = { .lr = 0.1, .momentum = 0.8, .nesterov = true } },
    { "sgd_decay", .sgd = { .lr = 0.1, .weight_decay = 0.2 } },
    { "sgd_all", .sgd = { .lr = 0.1, .momentum = 0.7, .dampening = 0.2, .weight_decay = 0.1 } },
    { "sgd_nesterov_decay", .sgd = { .lr = 0.1, .momentum = 0.7, .weight_decay = 0.1, .nesterov = true } },
    { "adamw_plain", .adamw = { .lr = 0.02 } },
    { "adamw_decay", .adamw = { .lr = 0.02, .weight_decay = 0.3, .decay_all = true } },
    { "adamw_decay_matrices", .adamw = { .lr = 0.02, .weight_decay = 0.3 } },
    { "adamw_betas", .adamw = { .lr = 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3 } },
};
enum { OPTIMIZER_CASES = sizeof optimizer_cases / sizeof *optimizer_cases };

/* Makes the gradients of weight and bias exactly gw and gb: backward through sum(weight gw) + sum(bias gb). */
static void set_grads(ag_ctx *ctx, ag_module *module, ag_tensor *gw, ag_tensor *gb)
{
    ag_module_zero_grad(module);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *weighted = ag_sum(ag_mul(ag_module_find(module, "weight"), gw), AG_ALL_DIMS, false);
    ag_tensor *biased = ag_sum(ag_mul(ag_module_find(module, "bias"), gb), AG_ALL_DIMS, false);
    ck_assert_int_eq(ag_backward(tape, ag_add(weighted, biased)), AG_OK);
    ag_tape_end(tape);
}

START_TEST(test_optimizer)
{
    int i = _i / 2;
    parity p = parity_begin("optimizers", optimizer_cases[i].name, _i % 2);
    parity start = p, grad = p;
    start.name = "start";
    grad.name = "grad";
    ag_linear_layer *layer =
        ag_linear_new(p.ctx, (ag_linear_config){ .in_features = 4, .out_features = 3, .dtype = p.dtype });
    ag_module *module = ag_linear_module(layer);
    ag_tensor *weight = ag_module_find(module, "weight"), *bias = ag_module_find(module, "bias");
    ag_copy_into(weight, parity_stored(&start, "weight"));
    ag_copy_into(bias, parity_stored(&start, "bias"));
    ag_optimizer *optimizer = optimizer_cases[i].sgd.lr > 0 ? ag_sgd_new(module, optimizer_cases[i].sgd)
                                                            : ag_adamw_new(module, optimizer_cases[i].adamw);
    for (int step = 0; step < STEPS; step++) {
        char what[PARITY_NAME];
        set_grads(p.ctx, module, ag_tensor_select(parity_given(&grad, "weight"), 0, step),
                  ag_tensor_select(parity_given(&grad, "bias"), 0, step));
        ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK);
        snprintf(what, sizeof what, "weight after step %d", step);
        parity_expect_tensor(&p, what, weight, ag_tensor_select(parity_stored(&p, "weight"), 0, step));
        snprintf(what, sizeof what, "bias after step %d", step);
        parity_expect_tensor(&p, what, bias, ag_tensor_select(parity_stored(&p, "bias"), 0, step));
    }
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
    parity_end(&p);
}
END_TEST

START_TEST(test_optimizer_cases_complete)
{
    ck_assert_int_eq(parity_count("optimizers", "/weight"), OPTIMIZER_CASES + 2); /* start and grad */
}
END_TEST

/* ---- Training: a whole model follows PyTorch for 50 steps ---- */

START_TEST(test_training)
{
    bool adamw = _i / 2 == 1;
    parity p = parity_begin("training", "data", _i % 2), start = p, run = p;
    start.name = "start";
    run.name = adamw ? "adamw" : "sgd";
    ag_gpt *gpt = ag_gpt_new(p.ctx, (ag_transformer_config){ .vocab_size = 13, .max_seq_len = 8, .emb_size = 12,
                                                     .num_heads = 3, .ff_size = 20, .num_layers = 2,
                                                     .dtype = p.dtype });
    ag_module *module = ag_gpt_module(gpt);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor param = ag_module_param(module, i);
        ck_assert_int_eq(ag_copy_into(param.tensor, parity_stored(&start, param.name)), AG_OK);
    }
    ag_optimizer *optimizer =
        adamw ? ag_adamw_new(module, (ag_adamw_config){ .lr = 0.01, .weight_decay = 0.1, .decay_all = true })
              : ag_sgd_new(module, (ag_sgd_config){ .lr = 0.1, .momentum = 0.9 });
    ag_tensor *tokens = parity_stored(&p, "tokens"), *target = parity_stored(&p, "target");
    ag_tensor *losses = parity_stored(&run, "losses");
    const double tolerance = p.dtype == AG_F64 ? 1e-9 : 1e-4;
    for (int64_t step = 0; step < ag_numel(losses); step++) {
        ag_module_zero_grad(module);
        ag_tape *tape = ag_tape_begin(p.ctx);
        ag_tensor *logits = ag_gpt_forward(gpt, ag_tensor_clone(ag_tensor_select(tokens, 0, step)));
        ag_tensor *loss = ag_cross_entropy(logits, ag_tensor_clone(ag_tensor_select(target, 0, step)));
        double got = test_item(loss), want = test_at(losses, step);
        ck_assert_msg(fabs(got - want) <= tolerance, "%s %s: loss of step %lld is %.12g, PyTorch has %.12g", run.name,
                      ag_dtype_name(p.dtype), (long long)step, got, want);
        ag_backward(tape, loss);
        ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK);
        ag_tape_end(tape);
    }
    ck_assert_int_eq(ag_numel(losses), 50);
    ck_assert(test_at(losses, 49) < 0.3 * test_at(losses, 0)); /* it learns: following a flat line would be easy */
    ag_optimizer_free(optimizer);
    ag_gpt_free(gpt);
    parity_end(&p);
}
END_TEST

Suite *parity_suite(void)
{
    Suite *suite = suite_create("parity");
    TCase *tc = tcase_create("parity");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_op, 0, 2 * OP_CASES);
    tcase_add_test(tc, test_op_cases_complete);
    tcase_add_loop_test(tc, test_cross_entropy, 0, 2 * LOSS_CASES);
    tcase_add_loop_test(tc, test_cross_entropy_default, 0, 2);
    tcase_add_test(tc, test_loss_cases_complete);
    tcase_add_loop_test(tc, test_head_attention, 0, 2 * ATTENTION_CASES);
    tcase_add_loop_test(tc, test_mha, 0, 2 * ATTENTION_CASES);
    tcase_add_loop_test(tc, test_block, 0, 2 * BLOCK_CASES);
    tcase_add_test(tc, test_layer_cases_complete);
    tcase_add_loop_test(tc, test_gpt, 0, 4);
    tcase_add_loop_test(tc, test_optimizer, 0, 2 * OPTIMIZER_CASES);
    tcase_add_test(tc, test_optimizer_cases_complete);
    tcase_add_loop_test(tc, test_training, 0, 4);
    suite_add_tcase(suite, tc);
    return suite;
}
