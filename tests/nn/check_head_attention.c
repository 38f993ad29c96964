/* SPDX-License-Identifier: MIT
 *
 * check_head_attention.c - one attention head: values, weights, mask, limits, gradients.
 */
#include "tests/nn/check_nn.h"

static ag_tensor *run(void *layer, ag_tensor *x)
{
    return ag_head_attention_forward(layer, x);
}

static const ag_head_attention_config config = { .emb_size = 6, .head_size = 3, .max_seq_len = 5, .dtype = AG_F64 };

/* y = x W^T + b for one row. */
static void project(const ag_module *module, const char *name, const ag_tensor *x, int64_t row, int D, double *y)
{
    char weight[32], bias[32];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const ag_tensor *w = test_param(module, weight), *b = ag_module_find(module, bias);
    int64_t C = ag_dim(x, 2);
    for (int d = 0; d < D; d++) {
        y[d] = b == NULL ? 0 : test_at(b, d);
        for (int64_t c = 0; c < C; c++)
            y[d] += test_at(x, row * C + c) * test_at(w, d * C + c);
    }
}

/* Weights and output from plain loops in double. */
static void attend_by_hand(const ag_module *module, const ag_tensor *x, bool causal, double *weights, double *out)
{
    enum { D = 3 };
    int64_t B = ag_dim(x, 0), T = ag_dim(x, 1);
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < T; i++) {
            double q[D], k[D], v[D], sum = 0, *p = &weights[(b * T + i) * T], *o = &out[(b * T + i) * D];
            project(module, "q", x, b * T + i, D, q);
            int64_t end = causal ? i + 1 : T;
            for (int64_t j = 0; j < T; j++) {
                project(module, "k", x, b * T + j, D, k);
                double score = 0;
                for (int d = 0; d < D; d++)
                    score += q[d] * k[d];
                p[j] = j < end ? exp(score / sqrt(D)) : 0;
                sum += p[j];
            }
            for (int d = 0; d < D; d++)
                o[d] = 0;
            for (int64_t j = 0; j < T; j++) {
                project(module, "v", x, b * T + j, D, v);
                p[j] /= sum;
                for (int d = 0; d < D; d++)
                    o[d] += p[j] * v[d];
            }
        }
}

START_TEST(values)
{
    enum { B = 2, T = 4 };
    ag_ctx *ctx = test_begin_serial();
    for (int variant = 0; variant < 4; variant++) {
        ag_head_attention_config c = config;
        c.non_causal = variant & 1;
        c.no_bias = variant & 2;
        ag_head_attention *layer = ag_head_attention_new(ctx, c);
        ag_module *module = ag_head_attention_module(layer);
        test_param_list(module, c.no_bias ? "q.weight [3,6]|k.weight [3,6]|v.weight [3,6]"
                                          : "q.weight [3,6]|q.bias [3]|k.weight [3,6]|k.bias [3]|"
                                            "v.weight [3,6]|v.bias [3]");
        test_fill_params(module, 0.7);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 6)), *y = ag_head_attention_forward(layer, x);
        double weights[B * T * T], out[B * T * 3];
        attend_by_hand(module, x, !c.non_causal, weights, out);
        assert_close(y, ag_from_data(ctx, AG_F64, AG_SHAPE(B, T, 3), out), 1e-13, 1e-12);
        ag_tensor *want = ag_from_data(ctx, AG_F64, AG_SHAPE(B, T, T), weights);
        assert_close(ag_head_attention_weights(layer), want, 1e-13, 1e-12);
        test_gradcheck(module, run, layer, x);
        ag_head_attention_free(layer);
    }
    test_end(ctx);
}
END_TEST

START_TEST(weights)
{
    enum { B = 2, T = 5 };
    ag_ctx *ctx = test_begin();
    ag_head_attention *layer = ag_head_attention_new(ctx, config);
    ck_assert_ptr_null(ag_head_attention_weights(layer));
    assert_error(ctx, AG_ERR_STATE, "head_attention: there are no weights: the layer has not run");
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 6)), *y = ag_head_attention_forward(layer, x);
    ag_tensor *before = ag_tensor_clone(y), *p = ag_head_attention_weights(layer);
    ck_assert_str_eq(ag_shape_text(p), "[2,5,5]");
    for (int r = 0; r < B * T; r++) {
        double sum = 0;
        for (int j = 0; j < T; j++) {
            double w = test_at(p, r * T + j);
            sum += w;
            if (j > r % T)
                ck_assert_double_eq(w, 0);
            else
                ck_assert_double_gt(w, 0);
        }
        ck_assert_double_eq_tol(sum, 1, 1e-14);
    }
    assert_same(y, before);
    assert_same(ag_head_attention_forward(layer, x), before); /* also after weights were asked for */
    assert_same(ag_head_attention_weights(layer), p);
    /* Weights are of the last forward, whatever its size; a failed forward leaves none. */
    ag_head_attention_forward(layer, ag_randn(ctx, AG_F64, AG_SHAPE(1, 2, 6)));
    ck_assert_str_eq(ag_shape_text(ag_head_attention_weights(layer)), "[1,2,2]");
    ck_assert_ptr_null(ag_head_attention_forward(layer, ag_zeros(ctx, AG_F64, AG_SHAPE(1, 6, 6))));
    ag_error_clear(ctx);
    ck_assert_ptr_null(ag_head_attention_weights(layer));
    assert_error(ctx, AG_ERR_STATE, "has not run");
    ag_head_attention_free(layer);
    test_end(ctx);
}
END_TEST

/* The weights of a training forward are those before dropout, and asking for them draws and records nothing. */
START_TEST(weights_while_training)
{
    ag_ctx *ctx = test_begin();
    ag_head_attention_config c = config;
    c.dropout = 0.5;
    ag_head_attention *layer = ag_head_attention_new(ctx, c);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 5, 6)), *still = ag_head_attention_forward(layer, x);
    ag_tensor *want = ag_head_attention_weights(layer);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_head_attention_forward(layer, x);
    int64_t nodes = ag_tape_size(tape);
    ag_rng rng = ag_rng_get(ctx);
    assert_same(ag_head_attention_weights(layer), want);
    ck_assert_int_eq(ag_tape_size(tape), nodes);
    ck_assert(ag_rng_get(ctx).counter == rng.counter);
    bool differs = false;
    for (int64_t i = 0; i < ag_numel(y); i++)
        differs = differs || fabs(test_at(y, i) - test_at(still, i)) > 1e-3;
    ck_assert(differs);
    ag_module_set_training(ag_head_attention_module(layer), false);
    assert_same(ag_head_attention_forward(layer, x), still);
    ag_tape_end(tape);
    assert_same(ag_head_attention_weights(layer), want); /* they outlive the tape */
    ag_head_attention_free(layer);
    test_end(ctx);
}
END_TEST

/* A later position changes no bit of an earlier output. */
START_TEST(no_future)
{
    enum { T = 33 };
    ag_ctx *ctx = test_begin();
    ag_head_attention *layer = ag_head_attention_new(
        ctx, (ag_head_attention_config){ .emb_size = 16, .head_size = 8, .max_seq_len = T });
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(1, T, 16));
    ag_tensor *before = ag_tensor_clone(ag_head_attention_forward(layer, x));
    for (int64_t t = 1; t < T; t += 8) {
        ag_tensor *changed = ag_tensor_clone(x);
        ag_fill(ag_tensor_select(changed, 1, t), 50);
        ag_tensor *after = ag_head_attention_forward(layer, changed);
        assert_same(ag_tensor_slice(after, 1, 0, t, 1), ag_tensor_slice(before, 1, 0, t, 1));
        ck_assert_double_ne(test_at(after, t * 8), test_at(before, t * 8));
    }
    ag_head_attention_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(lengths)
{
    ag_ctx *ctx = test_begin();
    ag_head_attention *layer = ag_head_attention_new(
        ctx, (ag_head_attention_config){ .emb_size = 4, .head_size = 2, .max_seq_len = 64 });
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(1, 65, 4));
    ag_tensor *full = ag_head_attention_forward(layer, ag_tensor_slice(x, 1, 0, 64, 1));
    ck_assert_str_eq(ag_shape_text(full), "[1,64,2]");
    ag_tensor *one = ag_head_attention_forward(layer, ag_tensor_slice(x, 1, 0, 1, 1));
    assert_close(one, ag_tensor_slice(full, 1, 0, 1, 1), 1e-6, 1e-6);
    assert_values(ag_head_attention_weights(layer), 1e-7, 1.0);
    ck_assert_ptr_null(ag_head_attention_forward(layer, x));
    assert_error(ctx, AG_ERR_SHAPE, "head_attention: the sequence has 65 positions, max_seq_len is 64");
    ck_assert_ptr_null(ag_head_attention_forward(layer, ag_zeros(ctx, AG_F32, AG_SHAPE(5, 4))));
    assert_error(ctx, AG_ERR_SHAPE, "head_attention: x is [5,4], must be [B,T,4]");
    ck_assert_ptr_null(ag_head_attention_forward(layer, ag_zeros(ctx, AG_F32, AG_SHAPE(1, 2, 5))));
    assert_error(ctx, AG_ERR_SHAPE, "head_attention: x is [1,2,5], must be [B,T,4]");
    ag_head_attention_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    const ag_head_attention_config wrong[] = {
        { .emb_size = 0, .head_size = 2, .max_seq_len = 3 },
        { .emb_size = 4, .head_size = 0, .max_seq_len = 3 },
        { .emb_size = 4, .head_size = 2, .max_seq_len = -3 },
        { .emb_size = 4, .head_size = 2, .max_seq_len = 3, .dropout = -0.5 },
        { .emb_size = 4, .head_size = 2, .max_seq_len = 3, .dtype = AG_I32 },
    };
    const char *const line[] = { "emb_size is 0", "head_size is 0", "max_seq_len is -3",
                                 "dropout is -0.5, must be in [0, 1)", "dtype is int32" };
    for (int i = 0; i < 5; i++) {
        char text[128];
        snprintf(text, sizeof text, "head_attention: %s", line[i]);
        ck_assert_ptr_null(ag_head_attention_new(ctx, wrong[i]));
        assert_error(ctx, i == 4 ? AG_ERR_DTYPE : AG_ERR_ARGUMENT, text);
    }
    ck_assert_ptr_null(ag_head_attention_new(NULL, config));
    ck_assert_ptr_null(ag_head_attention_forward(NULL, NULL));
    ck_assert_ptr_null(ag_head_attention_weights(NULL));
    ag_head_attention_free(NULL);
    test_end(ctx);
}
END_TEST

Suite *head_attention_suite(void)
{
    Suite *suite = suite_create("head_attention");
    TCase *tcase = tcase_create("head_attention");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, weights);
    tcase_add_test(tcase, weights_while_training);
    tcase_add_test(tcase, no_future);
    tcase_add_test(tcase, lengths);
    tcase_add_test(tcase, errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
