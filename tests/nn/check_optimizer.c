/* SPDX-License-Identifier: MIT
 *
 * check_optimizer.c - SGD and AdamW against a loop in double over torch.optim's documented rules; clipping.
 */
#include "tests/nn/check_nn.h"

enum { IN = 3, OUT = 2, N = IN * OUT, STEPS = 10 };

/* Adds the gradient g[OUT,IN] to the weight, and (when g_bias is not NULL) one to the bias. */
static void give_gradient(ag_module *module, ag_tensor *g_weight, ag_tensor *g_bias)
{
    ag_ctx *ctx = ag_ctx_of(g_weight);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *loss = ag_sum(ag_mul(test_param(module, "weight"), g_weight), AG_ALL_DIMS, false);
    if (g_bias != NULL)
        loss = ag_add(loss, ag_sum(ag_mul(test_param(module, "bias"), g_bias), AG_ALL_DIMS, false));
    ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
    ag_tape_end(tape);
}

static void values_of(const ag_tensor *t, double *value)
{
    for (int64_t i = 0; i < ag_numel(t); i++)
        value[i] = test_at(t, i);
}

typedef struct hand_state {
    double p[N], buf[N], m[N], v[N];
    int step;
} hand_state;

static void sgd_by_hand(const ag_sgd_config *c, double lr, hand_state *s, const double *grad, int n)
{
    s->step++;
    for (int i = 0; i < n; i++) {
        double g = grad[i] + c->weight_decay * s->p[i];
        if (c->momentum != 0) {
            s->buf[i] = s->step == 1 ? g : c->momentum * s->buf[i] + (1 - c->dampening) * g;
            g = c->nesterov ? g + c->momentum * s->buf[i] : s->buf[i];
        }
        s->p[i] -= lr * g;
    }
}

static void adamw_by_hand(const ag_adamw_config *c, double lr, double weight_decay, hand_state *s,
                          const double *grad, int n)
{
    s->step++;
    for (int i = 0; i < n; i++) {
        s->p[i] -= lr * weight_decay * s->p[i];
        s->m[i] = c->beta1 * s->m[i] + (1 - c->beta1) * grad[i];
        s->v[i] = c->beta2 * s->v[i] + (1 - c->beta2) * grad[i] * grad[i];
        double m = s->m[i] / (1 - pow(c->beta1, s->step)), v = s->v[i] / (1 - pow(c->beta2, s->step));
        s->p[i] -= lr * m / (sqrt(v) + c->eps);
    }
}

/* The bias gets no gradient in the first two steps, so that its first step is another one than the weight's. */
static void run_steps(ag_dtype dtype, const ag_sgd_config *sgd, const ag_adamw_config *adamw, double tol)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ IN, OUT, false, 0, dtype });
    ag_module *module = ag_linear_module(layer);
    ag_optimizer *optimizer = sgd != NULL ? ag_sgd_new(module, *sgd) : ag_adamw_new(module, *adamw);
    ag_tensor *param[2] = { test_param(module, "weight"), test_param(module, "bias") };
    hand_state hand[2] = { 0 };
    for (int k = 0; k < 2; k++)
        values_of(param[k], hand[k].p);
    for (int step = 0; step < STEPS; step++) {
        double lr = 0.1 / (1 + step);
        ag_optimizer_set_lr(optimizer, lr);
        ag_tensor *g[2] = { ag_randn(ctx, dtype, AG_SHAPE(OUT, IN)), NULL };
        if (step >= 2)
            g[1] = ag_randn(ctx, dtype, AG_SHAPE(OUT));
        ag_module_zero_grad(module);
        give_gradient(module, g[0], g[1]);
        ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK);
        for (int k = 0; k < 2; k++) {
            if (g[k] == NULL)
                continue;
            assert_same(ag_grad(param[k]), g[k]); /* a step leaves gradients as they are */
            double grad[N];
            values_of(g[k], grad);
            int n = (int)ag_numel(param[k]);
            if (sgd != NULL)
                sgd_by_hand(sgd, lr, &hand[k], grad, n);
            else
                adamw_by_hand(adamw, lr, k == 0 || adamw->decay_all ? adamw->weight_decay : 0, &hand[k], grad, n);
        }
        for (int k = 0; k < 2; k++)
            for (int64_t i = 0; i < ag_numel(param[k]); i++)
                ck_assert_msg(fabs(test_at(param[k], i) - hand[k].p[i]) <= tol,
                              "step %d, parameter %d: %.17g, wanted %.17g", step, k, test_at(param[k], i),
                              hand[k].p[i]);
    }
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
    test_end(ctx);
}

START_TEST(sgd_by_torch_rules)
{
    const ag_sgd_config config[] = {
        { .lr = 1 },
        { .lr = 1, .weight_decay = 0.1 },
        { .lr = 1, .momentum = 0.9 },
        { .lr = 1, .momentum = 0.9, .dampening = 0.5 },
        { .lr = 1, .momentum = 0.9, .dampening = 0.5, .weight_decay = 0.1 },
        { .lr = 1, .momentum = 0.9, .nesterov = true },
        { .lr = 1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1 },
    };
    for (int i = 0; i < 7; i++) {
        run_steps(AG_F64, &config[i], NULL, 1e-14);
        run_steps(AG_F32, &config[i], NULL, 1e-6);
    }
}
END_TEST

START_TEST(adamw_by_torch_rules)
{
    const ag_adamw_config config[] = {
        { .lr = 1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8 },
        { .lr = 1, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.1 },
        { .lr = 1, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.1, .decay_all = true },
    };
    for (int i = 0; i < 3; i++) {
        run_steps(AG_F64, NULL, &config[i], 1e-14);
        run_steps(AG_F32, NULL, &config[i], 2e-6);
    }
}
END_TEST

/* The config's zeros mean torch's defaults: the first step of AdamW is lr g / (|g| + eps). */
START_TEST(adamw_defaults)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ IN, OUT, true, 0, AG_F64 });
    ag_module *module = ag_linear_module(layer);
    ag_tensor *w = test_param(module, "weight"), *before = ag_tensor_clone(w);
    ag_tensor *g = ag_full(ctx, AG_F64, AG_SHAPE(OUT, IN), 1e-8);
    ag_optimizer *optimizer = ag_adamw_new(module, (ag_adamw_config){ .lr = 0.25 });
    ck_assert_double_eq(ag_optimizer_lr(optimizer), 0.25);
    give_gradient(module, g, NULL);
    ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK);
    assert_close(ag_sub(before, w), ag_full(ctx, AG_F64, AG_SHAPE(OUT, IN), 0.125), 1e-12, 0);
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

/* After an error a step changes nothing and returns it. */
START_TEST(step_after_an_error)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = IN, .out_features = OUT });
    ag_module *module = ag_linear_module(layer);
    ag_optimizer *optimizer = ag_sgd_new(module, (ag_sgd_config){ .lr = 1 });
    ag_tensor *before = ag_tensor_clone(test_param(module, "weight"));
    ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK); /* no gradient: nothing to do */
    assert_same(test_param(module, "weight"), before);
    give_gradient(module, ag_full(ctx, AG_F32, AG_SHAPE(OUT, IN), 1), NULL);
    ag_add(before, ag_zeros(ctx, AG_F32, AG_SHAPE(7)));
    ck_assert_int_eq(ag_optimizer_step(optimizer), AG_ERR_SHAPE);
    assert_same(test_param(module, "weight"), before);
    double norm = -1;
    ck_assert_int_eq(ag_clip_grad_norm(module, 1, &norm), AG_ERR_SHAPE);
    ck_assert_double_eq(test_at(ag_grad(test_param(module, "weight")), 0), 1);
    assert_error(ctx, AG_ERR_SHAPE, "add");
    ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK);
    ck_assert_double_eq_tol(test_at(test_param(module, "weight"), 0), test_at(before, 0) - 1, 1e-6);
    ck_assert_int_eq(ag_optimizer_step(NULL), AG_ERR_ARGUMENT);
    ag_optimizer_free(optimizer);
    ag_optimizer_free(NULL);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

/* The head is the token table: one step per step, with the sum of both gradients. */
START_TEST(tied_parameter_steps_once)
{
    ag_ctx *ctx = test_begin();
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = 5, .max_seq_len = 4, .emb_size = 4,
                                                           .num_heads = 1, .num_layers = 1, .dtype = AG_F64 });
    ag_module *module = ag_gpt_module(gpt);
    ag_optimizer *optimizer = ag_sgd_new(module, (ag_sgd_config){ .lr = 0.5 });
    ag_tensor *tokens = ag_randint(ctx, 0, 5, AG_SHAPE(2, 4)), *w = test_param(module, "tok.weight");
    ag_tensor *before = ag_tensor_clone(w);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_int_eq(ag_backward(tape, ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens)), AG_OK);
    ck_assert_int_eq(ag_optimizer_step(optimizer), AG_OK); /* while the tape stands, too */
    ag_tape_end(tape);
    assert_close(w, ag_sub(before, ag_scale(ag_grad(w), 0.5)), 1e-15, 1e-14);
    double norm = 0, sum = 0;
    ck_assert_int_eq(ag_clip_grad_norm(module, 100, &norm), AG_OK);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        const ag_tensor *g = ag_grad(ag_module_param(module, i).tensor);
        for (int64_t k = 0; k < ag_numel(g); k++)
            sum += test_at(g, k) * test_at(g, k);
    }
    ck_assert_double_eq_tol(norm, sqrt(sum), 1e-13);
    ag_optimizer_free(optimizer);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(optimizer_errors)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = IN, .out_features = OUT });
    ag_module *m = ag_linear_module(layer);
    ck_assert_ptr_null(ag_sgd_new(m, (ag_sgd_config){ .lr = 0 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "sgd: lr is 0, must be positive and finite");
    ck_assert_ptr_null(ag_sgd_new(m, (ag_sgd_config){ .lr = 1, .momentum = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "sgd: momentum is -1, must be finite and not negative");
    ck_assert_ptr_null(ag_sgd_new(m, (ag_sgd_config){ .lr = 1, .weight_decay = (double)INFINITY }));
    assert_error(ctx, AG_ERR_ARGUMENT, "sgd: weight_decay is inf");
    ck_assert_ptr_null(ag_sgd_new(m, (ag_sgd_config){ .lr = 1, .dampening = (double)NAN }));
    assert_error(ctx, AG_ERR_ARGUMENT, "sgd: dampening is ");
    ck_assert_ptr_null(ag_sgd_new(m, (ag_sgd_config){ .lr = 1, .nesterov = true }));
    assert_error(ctx, AG_ERR_ARGUMENT,
                 "sgd: nesterov requires momentum > 0 and dampening 0; momentum is 0, dampening 0");
    ck_assert_ptr_null(ag_sgd_new(m, (ag_sgd_config){ .lr = 1, .momentum = 0.5, .dampening = 0.5, .nesterov = true }));
    assert_error(ctx, AG_ERR_ARGUMENT, "momentum is 0.5, dampening 0.5");
    ck_assert_ptr_null(ag_adamw_new(m, (ag_adamw_config){ .lr = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "adamw: lr is -1");
    ck_assert_ptr_null(ag_adamw_new(m, (ag_adamw_config){ .lr = 1, .beta1 = 1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "adamw: beta1 is 1, must be in [0, 1)");
    ck_assert_ptr_null(ag_adamw_new(m, (ag_adamw_config){ .lr = 1, .beta2 = 2 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "adamw: beta2 is 2");
    ck_assert_ptr_null(ag_adamw_new(m, (ag_adamw_config){ .lr = 1, .eps = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "adamw: eps is -1");
    ag_optimizer *optimizer = ag_sgd_new(m, (ag_sgd_config){ .lr = 1 });
    ag_optimizer_set_lr(optimizer, (double)NAN);
    assert_error(ctx, AG_ERR_ARGUMENT, "sgd: lr is ");
    ck_assert_double_eq(ag_optimizer_lr(optimizer), 1);
    ag_optimizer_set_lr(optimizer, 0);
    ck_assert_double_eq(ag_optimizer_lr(optimizer), 0);
    ck_assert_ptr_null(ag_sgd_new(NULL, (ag_sgd_config){ .lr = 1 }));
    ck_assert_ptr_null(ag_adamw_new(NULL, (ag_adamw_config){ .lr = 1 }));
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

/* ---- Clipping ---- */

START_TEST(clip)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = IN, .out_features = OUT });
    ag_module *m = ag_linear_module(layer);
    double norm = -1;
    ck_assert_int_eq(ag_clip_grad_norm(m, 1, &norm), AG_OK); /* no gradients at all */
    ck_assert_double_eq(norm, 0);
    /* 6 values of 2 and 2 of 5: norm sqrt(24 + 50) */
    ag_tensor *g = ag_full(ctx, AG_F32, AG_SHAPE(OUT, IN), 2), *g_bias = ag_full(ctx, AG_F32, AG_SHAPE(OUT), -5);
    give_gradient(m, g, g_bias);
    ck_assert_int_eq(ag_clip_grad_norm(m, 8.7, &norm), AG_OK);
    ck_assert_double_eq_tol(norm, sqrt(74), 1e-12);
    assert_same(ag_grad(test_param(m, "weight")), g); /* 8.602 is below: untouched */
    ck_assert_int_eq(ag_clip_grad_norm(m, 4, NULL), AG_OK);
    assert_close(ag_grad(test_param(m, "weight")), ag_scale(g, 4 / sqrt(74)), 0, 1e-6);
    assert_close(ag_grad(test_param(m, "bias")), ag_scale(g_bias, 4 / sqrt(74)), 0, 1e-6);
    ck_assert_int_eq(ag_clip_grad_norm(m, 100, &norm), AG_OK);
    ck_assert_double_eq_tol(norm, 4, 1e-5);
    ag_linear_free(layer);

    ag_dropout_layer *nothing = ag_dropout_new(ctx, (ag_dropout_config){ .p = 0.5 });
    ck_assert_int_eq(ag_clip_grad_norm(ag_dropout_module(nothing), 1, &norm), AG_OK);
    ck_assert_double_eq(norm, 0);
    ag_dropout_free(nothing);
    test_end(ctx);
}
END_TEST

START_TEST(clip_zero_gradients)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ IN, OUT, true, 0, AG_F64 });
    ag_module *m = ag_linear_module(layer);
    give_gradient(m, ag_zeros(ctx, AG_F64, AG_SHAPE(OUT, IN)), NULL);
    double norm = -1;
    ck_assert_int_eq(ag_clip_grad_norm(m, 1, &norm), AG_OK);
    ck_assert_double_eq(norm, 0);
    assert_values(ag_grad(test_param(m, "weight")), 0, 0, 0, 0, 0, 0, 0);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

/* Gradients 3 size and -4 size. */
START_TEST(clip_extreme_gradients)
{
    static const struct {
        ag_dtype dtype;
        double size, max_norm;
    } at[] = { { AG_F64, 1e200, 1 },      { AG_F64, 1e-200, 1 }, { AG_F64, 1e307, 1e-10 }, { AG_F64, 1e-300, 1e-9 },
               { AG_F32, 1e25, 1 },       { AG_F32, 5e37, 1e-3 },     { AG_F32, 1e-30, 1 }, { AG_F32, 1e-37, 1 } };
    for (int i = 0; i < 8; i++) {
        ag_ctx *ctx = test_begin();
        ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ 1, 1, false, 0, at[i].dtype });
        ag_module *m = ag_linear_module(layer);
        double norm = -1, size = at[i].size;
        give_gradient(m, ag_full(ctx, at[i].dtype, AG_SHAPE(1, 1), 3 * size),
                      ag_full(ctx, at[i].dtype, AG_SHAPE(1), -4 * size));
        assert_ok(ctx, ag_clip_grad_norm(m, at[i].max_norm, &norm));
        double eps = at[i].dtype == AG_F64 ? 1e-14 : 1e-6, scale = at[i].max_norm / (5 * size + 1e-6);
        ck_assert_double_eq_tol(norm / (5 * size), 1, eps);
        scale = scale < 1 && 5 * size > at[i].max_norm ? scale : 1;
        ck_assert_double_eq_tol(test_item(ag_grad(test_param(m, "weight"))) / (3 * size * scale), 1, eps);
        ck_assert_double_eq_tol(test_item(ag_grad(test_param(m, "bias"))) / (-4 * size * scale), 1, eps);
        ag_linear_free(layer);
        test_end(ctx);
    }
}
END_TEST

/* A gradient whose square is infinite moves the parameter as any other, and later steps move it on. */
START_TEST(adamw_after_a_huge_gradient)
{
    for (int i = 0; i < 4; i++) {
        ag_ctx *ctx = test_begin();
        ag_dtype dtype = i < 2 ? AG_F32 : AG_F64;
        double huge = (i % 2 == 0 ? 1 : -1) * (i < 2 ? 3e38 : 1e308), before, first, last;
        ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ 1, 1, true, 0, dtype });
        ag_module *m = ag_linear_module(layer);
        ag_optimizer *adamw = ag_adamw_new(m, (ag_adamw_config){ .lr = 0.1, .beta2 = 0.9 });
        before = test_item(test_param(m, "weight"));
        give_gradient(m, ag_full(ctx, dtype, AG_SHAPE(1, 1), huge), NULL);
        assert_ok(ctx, ag_optimizer_step(adamw));
        first = test_item(test_param(m, "weight"));
        ck_assert_double_eq_tol(before - first, huge > 0 ? 0.1 : -0.1, 1e-6);
        ag_module_zero_grad(m);
        for (int step = 0; step < 12000; step++) {
            give_gradient(m, ag_full(ctx, dtype, AG_SHAPE(1, 1), 1), NULL);
            assert_ok(ctx, ag_optimizer_step(adamw));
            ag_module_zero_grad(m);
        }
        last = test_item(test_param(m, "weight"));
        ck_assert_double_gt(first - last, 10);
        ag_optimizer_free(adamw);
        ag_linear_free(layer);
        test_end(ctx);
    }
}
END_TEST

START_TEST(clip_errors)
{
    ag_ctx *ctx = test_begin();
    const double bad[] = { (double)NAN, (double)INFINITY };
    for (int i = 0; i < 2; i++) {
        ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 2, .dtype = AG_F64 });
        ag_module *m = ag_feed_forward_module(layer);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *loss = ag_sum(test_param(m, "up.weight"), AG_ALL_DIMS, false);
        loss = ag_add(loss, ag_scale(ag_sum(test_param(m, "down.weight"), AG_ALL_DIMS, false), bad[i]));
        loss = ag_add(loss, ag_scale(ag_sum(test_param(m, "down.bias"), AG_ALL_DIMS, false), bad[i]));
        ck_assert_int_eq(ag_backward(tape, loss), AG_OK);
        ag_tape_end(tape);
        ag_tensor *good = ag_grad(test_param(m, "up.weight")), *before = ag_tensor_clone(good);
        ck_assert_int_eq(ag_clip_grad_norm(m, 0.1, NULL), AG_ERR_NUMBER);
        assert_same(good, before);
        assert_error(ctx, AG_ERR_NUMBER, "with the gradient of down.weight");
        const double wrong[] = { 0, -1, (double)NAN };
        for (int w = 0; w < 3; w++) {
            ck_assert_int_eq(ag_clip_grad_norm(m, wrong[w], NULL), AG_ERR_ARGUMENT);
            assert_error(ctx, AG_ERR_ARGUMENT, "clip_grad_norm: max_norm is ");
        }
        ag_feed_forward_free(layer);
    }
    ck_assert_int_eq(ag_clip_grad_norm(NULL, 1, NULL), AG_ERR_ARGUMENT);
    test_end(ctx);
}
END_TEST

Suite *optimizer_suite(void)
{
    Suite *suite = suite_create("optimizer");
    TCase *tcase = tcase_create("optimizer");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, sgd_by_torch_rules);
    tcase_add_test(tcase, adamw_by_torch_rules);
    tcase_add_test(tcase, adamw_defaults);
    tcase_add_test(tcase, step_after_an_error);
    tcase_add_test(tcase, tied_parameter_steps_once);
    tcase_add_test(tcase, optimizer_errors);
    tcase_add_test(tcase, clip);
    tcase_add_test(tcase, clip_zero_gradients);
    tcase_add_test(tcase, clip_extreme_gradients);
    tcase_add_test(tcase, adamw_after_a_huge_gradient);
    tcase_add_test(tcase, clip_errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
