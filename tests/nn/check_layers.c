/* SPDX-License-Identifier: MIT
 *
 * check_layers.c - embedding, layer norm, dropout, feed-forward and the decoder block.
 */
#include "tests/nn/check_nn.h"

#include <string.h>

/* ---- Embedding ---- */

static ag_tensor *run_embedding(void *layer, ag_tensor *x)
{
    return ag_embedding_forward(layer, x);
}

START_TEST(embedding)
{
    ag_ctx *ctx = test_begin_serial();
    ag_embedding_layer *layer = ag_embedding_new(ctx, (ag_embedding_config){ 5, 3, 0, AG_F64 });
    ag_module *module = ag_embedding_module(layer);
    test_param_list(module, "weight [5,3]");
    ag_tensor *w = test_param(module, "weight");
    const int32_t index[] = { 4, 0, 4, 2 };
    ag_tensor *tokens = ag_from_data(ctx, AG_I32, AG_SHAPE(2, 2), index), *y = ag_embedding_forward(layer, tokens);
    ck_assert_str_eq(ag_shape_text(y), "[2,2,3]");
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 3; c++)
            ck_assert_double_eq(test_at(y, i * 3 + c), test_at(w, index[i] * 3 + c));
    test_gradcheck(module, run_embedding, layer, tokens);

    ck_assert_ptr_null(ag_embedding_forward(layer, ag_full(ctx, AG_I32, AG_SHAPE(2), 5)));
    assert_error(ctx, AG_ERR_INDEX, "embedding: index 5 at position 0");
    ck_assert_ptr_null(ag_embedding_new(ctx, (ag_embedding_config){ .num_embeddings = 0, .emb_size = 3 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "embedding: num_embeddings is 0");
    ck_assert_ptr_null(ag_embedding_new(ctx, (ag_embedding_config){ .num_embeddings = 3, .emb_size = 0 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "embedding: emb_size is 0");
    ck_assert_ptr_null(ag_embedding_forward(NULL, tokens));
    ag_embedding_free(NULL);
    ag_embedding_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(embedding_first_values)
{
    ag_ctx *ctx = test_begin();
    const double init_std[] = { 0, 0.5 }, want[] = { 1, 0.5 };
    for (int i = 0; i < 2; i++) {
        ag_embedding_layer *layer = ag_embedding_new(ctx, (ag_embedding_config){ 100, 100, init_std[i], AG_F32 });
        ag_tensor *w = test_param(ag_embedding_module(layer), "weight");
        double sum = 0, squares = 0;
        for (int64_t k = 0; k < 10000; k++) {
            sum += test_at(w, k);
            squares += test_at(w, k) * test_at(w, k);
        }
        ck_assert_double_eq_tol(sum / 10000, 0, 4 * want[i] / 100);
        ck_assert_double_eq_tol(sqrt(squares / 10000), want[i], 0.03 * want[i]);
        ag_embedding_free(layer);
    }
    test_end(ctx);
}
END_TEST

/* ---- Layer norm ---- */

static ag_tensor *run_layer_norm(void *layer, ag_tensor *x)
{
    return ag_layer_norm_forward(layer, x);
}

START_TEST(layer_norm)
{
    enum { ROWS = 4, N = 5 };
    ag_ctx *ctx = test_begin_serial();
    ag_layer_norm_layer *layer = ag_layer_norm_new(ctx, (ag_layer_norm_config){ .size = N, .dtype = AG_F64 });
    ag_module *module = ag_layer_norm_module(layer);
    test_param_list(module, "weight [5]|bias [5]");
    assert_values(test_param(module, "weight"), 0, 1, 1, 1, 1, 1);
    assert_values(test_param(module, "bias"), 0, 0, 0, 0, 0, 0);
    test_fill_params(module, 1);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 2, N)), *y = ag_layer_norm_forward(layer, x);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, var = 0;
        for (int i = 0; i < N; i++)
            mean += test_at(x, r * N + i) / N;
        for (int i = 0; i < N; i++)
            var += (test_at(x, r * N + i) - mean) * (test_at(x, r * N + i) - mean) / N;
        for (int i = 0; i < N; i++) {
            double want = (test_at(x, r * N + i) - mean) / sqrt(var + 1e-5) * test_at(test_param(module, "weight"), i) +
                          test_at(test_param(module, "bias"), i);
            ck_assert_double_eq_tol(test_at(y, r * N + i), want, 1e-12);
        }
    }
    test_gradcheck(module, run_layer_norm, layer, x);
    ag_layer_norm_free(layer);

    layer = ag_layer_norm_new(ctx, (ag_layer_norm_config){ .size = N, .no_bias = true, .eps = 3 });
    test_param_list(ag_layer_norm_module(layer), "weight [5]");
    ag_tensor *one_hot = ag_from_data(ctx, AG_F32, AG_SHAPE(N), (const float[]){ 5, 0, 0, 0, 0 });
    ck_assert_double_eq_tol(test_at(ag_layer_norm_forward(layer, one_hot), 0), 4 / sqrt(4 + 3), 1e-6);
    ag_layer_norm_free(layer);
    ck_assert_ptr_null(ag_layer_norm_new(ctx, (ag_layer_norm_config){ .size = 0 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "layer_norm: size is 0");
    ck_assert_ptr_null(ag_layer_norm_new(ctx, (ag_layer_norm_config){ .size = 3, .eps = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "layer_norm: eps is -1");
    ag_layer_norm_free(NULL);
    test_end(ctx);
}
END_TEST

/* ---- RMS norm ---- */

static ag_tensor *run_rms_norm(void *layer, ag_tensor *x)
{
    return ag_rms_norm_forward(layer, x);
}

START_TEST(rms_norm)
{
    enum { ROWS = 4, N = 5 };
    ag_ctx *ctx = test_begin_serial();
    ag_rms_norm_layer *layer = ag_rms_norm_new(ctx, (ag_rms_norm_config){ .size = N, .dtype = AG_F64 });
    ag_module *module = ag_rms_norm_module(layer);
    test_param_list(module, "weight [5]");
    assert_values(test_param(module, "weight"), 0, 1, 1, 1, 1, 1);
    test_fill_params(module, 1);
    ag_tensor *x = ag_scale(ag_randn(ctx, AG_F64, AG_SHAPE(2, 2, N)), 0.01), *y = ag_rms_norm_forward(layer, x);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0;
        for (int i = 0; i < N; i++)
            mean += test_at(x, r * N + i) * test_at(x, r * N + i) / N;
        for (int i = 0; i < N; i++) {
            double want = test_at(x, r * N + i) / sqrt(mean + 1e-6) * test_at(test_param(module, "weight"), i);
            ck_assert_double_eq_tol(test_at(y, r * N + i), want, 1e-12);
        }
    }
    test_gradcheck(module, run_rms_norm, layer, ag_randn(ctx, AG_F64, AG_SHAPE(2, 2, N)));
    ag_rms_norm_free(layer);

    layer = ag_rms_norm_new(ctx, (ag_rms_norm_config){ .size = N, .eps = 3 });
    ag_tensor *one_hot = ag_from_data(ctx, AG_F32, AG_SHAPE(N), (const float[]){ 5, 0, 0, 0, 0 });
    ck_assert_double_eq_tol(test_at(ag_rms_norm_forward(layer, one_hot), 0), 5 / sqrt(5 + 3), 1e-6);
    ck_assert_ptr_null(ag_rms_norm_forward(layer, ag_zeros(ctx, AG_F32, AG_SHAPE(2, 4))));
    assert_error(ctx, AG_ERR_SHAPE, "rms_norm: x is [2,4], the weight [5]");
    ag_rms_norm_free(layer);
    ck_assert_ptr_null(ag_rms_norm_new(ctx, (ag_rms_norm_config){ .size = 0 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "rms_norm: size is 0");
    ck_assert_ptr_null(ag_rms_norm_new(ctx, (ag_rms_norm_config){ .size = 3, .eps = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "rms_norm: eps is -1");
    ck_assert_ptr_null(ag_rms_norm_new(ctx, (ag_rms_norm_config){ .size = 3, .dtype = AG_I32 }));
    assert_error(ctx, AG_ERR_DTYPE, "rms_norm");
    ck_assert_ptr_null(ag_rms_norm_new(NULL, (ag_rms_norm_config){ .size = 3 }));
    ck_assert_ptr_null(ag_rms_norm_forward(NULL, one_hot));
    ag_rms_norm_free(NULL);
    test_end(ctx);
}
END_TEST

/* ---- Sinusoidal positions ---- */

START_TEST(sinusoidal)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *table = ag_sinusoidal(ctx, AG_F64, 3, 4, 6);
    ck_assert_int_eq(ag_dim(table, 0), 4);
    ck_assert_int_eq(ag_dim(table, 1), 6);
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 3; i++) {
            double angle = (3 + t) / pow(10000, 2 * i / 6.0);
            ck_assert_double_eq_tol(test_at(table, 6 * t + 2 * i), sin(angle), 1e-14);
            ck_assert_double_eq_tol(test_at(table, 6 * t + 2 * i + 1), cos(angle), 1e-14);
        }
    assert_same(ag_slice(ag_sinusoidal(ctx, AG_F32, 0, 7, 6), 0, 3, 7, 1), ag_cast(table, AG_F32));
    ck_assert_int_eq(ag_numel(ag_sinusoidal(ctx, AG_F32, 0, 0, 6)), 0);
    ck_assert_ptr_null(ag_sinusoidal(ctx, AG_F32, 0, 4, 5));
    assert_error(ctx, AG_ERR_ARGUMENT, "sinusoidal: emb is 5, must be even");
    ck_assert_ptr_null(ag_sinusoidal(ctx, AG_F32, 0, -1, 4));
    assert_error(ctx, AG_ERR_ARGUMENT, "sinusoidal: length is -1, must be 0 or more");
    ck_assert_ptr_null(ag_sinusoidal(ctx, AG_I32, 0, 1, 4));
    assert_error(ctx, AG_ERR_DTYPE, "sinusoidal");
    ck_assert_ptr_null(ag_sinusoidal(NULL, AG_F32, 0, 1, 4));
    test_end(ctx);
}
END_TEST

/* ---- Dropout ---- */

START_TEST(dropout)
{
    ag_ctx *ctx = test_begin();
    ag_dropout_layer *layer = ag_dropout_new(ctx, (ag_dropout_config){ .p = 0.25 });
    ag_tensor *x = ag_require_grad(ag_full(ctx, AG_F32, AG_SHAPE(10000), 3));
    ag_rng before = ag_rng_get(ctx);
    ck_assert_ptr_eq(ag_dropout_forward(layer, x), x); /* nothing records */
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_dropout_forward(layer, x);
    int64_t dropped = 0;
    for (int64_t i = 0; i < 10000; i++) {
        ck_assert(test_at(y, i) == 0 || fabs(test_at(y, i) - 4) < 1e-6);
        dropped += test_at(y, i) == 0;
    }
    ck_assert_int_gt(dropped, 2500 - 200); /* over four standard deviations of 43 */
    ck_assert_int_lt(dropped, 2500 + 200);
    ck_assert(ag_rng_get(ctx).counter > before.counter);
    ag_module_set_training(ag_dropout_module(layer), false);
    ck_assert_ptr_eq(ag_dropout_forward(layer, x), x);
    ag_module_set_training(ag_dropout_module(layer), true);
    ck_assert_ptr_ne(ag_dropout_forward(layer, x), x);
    ag_tape_end(tape);
    ck_assert_int_eq(ag_module_param_count(ag_dropout_module(layer)), 0);
    ag_dropout_free(layer);

    const double wrong[] = { 1.5, 1, -0.1, (double)NAN };
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_null(ag_dropout_new(ctx, (ag_dropout_config){ wrong[i] }));
        assert_error(ctx, AG_ERR_ARGUMENT, i == 0 ? "dropout: p is 1.5, must be in [0, 1)" : "must be in [0, 1)");
    }
    ag_dropout_free(NULL);
    test_end(ctx);
}
END_TEST

/* ---- Feed-forward ---- */

static ag_tensor *run_feed_forward(void *layer, ag_tensor *x)
{
    return ag_feed_forward_forward(layer, x);
}

static ag_tensor *linear_of(const ag_module *module, const char *name, ag_tensor *x)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    return ag_linear(x, test_param(module, weight), ag_module_find(module, bias));
}

START_TEST(feed_forward)
{
    ag_ctx *ctx = test_begin_serial();
    ag_tensor *(*const op[])(ag_tensor *) = { ag_gelu, ag_gelu_tanh, ag_relu, ag_silu };
    for (int a = 0; a < 4; a++) {
        ag_feed_forward *layer = ag_feed_forward_new(
            ctx, (ag_feed_forward_config){ .emb_size = 3, .activation = (ag_activation)a, .dtype = AG_F64 });
        ag_module *module = ag_feed_forward_module(layer);
        test_param_list(module, "up.weight [12,3]|up.bias [12]|down.weight [3,12]|down.bias [3]");
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 2, 3));
        assert_same(ag_feed_forward_forward(layer, x), linear_of(module, "down", op[a](linear_of(module, "up", x))));
        if (a != AG_RELU) /* its kink is the op's matter */
            test_gradcheck(module, run_feed_forward, layer, x);
        ag_feed_forward_free(layer);
    }
    ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){
        .emb_size = 3, .ff_size = 5, .no_bias = true, .init_std = 1, .out_init_std = 1e-3 });
    test_param_list(ag_feed_forward_module(layer), "up.weight [5,3]|down.weight [3,5]");
    for (int i = 0; i < 15; i++)
        ck_assert_double_lt(fabs(test_at(test_param(ag_feed_forward_module(layer), "down.weight"), i)), 0.01);
    ag_feed_forward_free(layer);
    test_end(ctx);
}
END_TEST

/* down(activation(gate(x)) * up(x)); which of the two is activated shows in the values. */
START_TEST(gated_feed_forward)
{
    ag_ctx *ctx = test_begin_serial();
    for (int bias = 0; bias < 2; bias++) {
        ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){
            .emb_size = 3, .ff_size = 5, .activation = AG_SILU, .gated = true, .no_bias = !bias, .dtype = AG_F64 });
        ag_module *module = ag_feed_forward_module(layer);
        test_param_list(module, bias ? "up.weight [5,3]|up.bias [5]|gate.weight [5,3]|gate.bias [5]|down.weight [3,5]|"
                                       "down.bias [3]"
                                     : "up.weight [5,3]|gate.weight [5,3]|down.weight [3,5]");
        test_fill_params(module, 1);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 2, 3));
        ag_tensor *inner = ag_mul(ag_silu(linear_of(module, "gate", x)), linear_of(module, "up", x));
        assert_same(ag_feed_forward_forward(layer, x), linear_of(module, "down", inner));
        test_gradcheck(module, run_feed_forward, layer, x);
        ag_feed_forward_free(layer);
    }
    test_end(ctx);
}
END_TEST

/* What goes into down is dropped, in both kinds: with down the identity it can be seen. */
START_TEST(feed_forward_inner_dropout)
{
    enum { N = 16 };
    ag_ctx *ctx = test_begin_serial();
    for (int gated = 0; gated < 2; gated++) {
        ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){
            .emb_size = N, .ff_size = N, .activation = AG_SILU, .gated = gated, .inner_dropout = 0.5, .no_bias = true,
            .dtype = AG_F64 });
        ag_module *module = ag_feed_forward_module(layer);
        ag_tensor *down = test_param(module, "down.weight");
        assert_ok(ctx, ag_fill(down, 0));
        for (int64_t i = 0; i < N; i++)
            assert_ok(ctx, ag_set(down, (const int64_t[]){ i, i }, 1));
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(8, N)), *still = ag_feed_forward_forward(layer, x);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *y = ag_feed_forward_forward(layer, x);
        int zeros = 0;
        for (int i = 0; i < 8 * N; i++) {
            zeros += test_at(y, i) == 0;
            ck_assert(test_at(y, i) == 0 || fabs(test_at(y, i) - 2 * test_at(still, i)) < 1e-12);
        }
        ck_assert_int_gt(zeros, 30);
        ck_assert_int_lt(zeros, 98);
        ag_tape_end(tape);
        test_gradcheck(module, run_feed_forward, layer, ag_randn(ctx, AG_F64, AG_SHAPE(2, N)));
        ag_feed_forward_free(layer);
    }
    test_end(ctx);
}
END_TEST

/* Op after op: the bits of the result and of every gradient, with dropout inside, behind, or not at all. */
START_TEST(feed_forward_is_its_ops)
{
    static ag_tensor *(*const op[])(ag_tensor *) = { ag_gelu, ag_gelu_tanh, ag_relu, ag_silu };
    enum { MOST = 8 };
    ag_ctx *ctx = test_begin_serial();
    for (int k = 0; k < 32; k++) {
        const bool gated = k & 4, no_bias = k & 16;
        const double inner_p = k & 8 ? 0.25 : 0, p = k % 3 == 0 ? 0.5 : 0;
        ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){
            .emb_size = 9, .ff_size = 33, .activation = (ag_activation)(k % 4), .gated = gated, .no_bias = no_bias,
            .inner_dropout = inner_p, .dropout = p });
        ag_module *module = ag_feed_forward_module(layer);
        ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(3, 5, 9)));
        ag_tensor *cotangent = ag_randn(ctx, AG_F32, AG_SHAPE(3, 5, 9)), *out[2][MOST];
        const int count = (int)ag_module_param_count(module);
        const ag_rng rng = ag_rng_get(ctx);
        ck_assert_int_le(2 + count, MOST);
        for (int apart = 0; apart < 2; apart++) {
            ag_rng_set(ctx, rng);
            ag_tape *tape = ag_tape_begin(ctx);
            ag_tensor *y = apart ? NULL : ag_feed_forward_forward(layer, x);
            if (apart) {
                y = op[k % 4](linear_of(module, gated ? "gate" : "up", x));
                y = gated ? ag_mul(y, linear_of(module, "up", x)) : y;
                y = linear_of(module, "down", inner_p > 0 ? ag_dropout(y, inner_p) : y);
                y = p > 0 ? ag_dropout(y, p) : y;
            }
            out[apart][0] = ag_retain(y);
            assert_ok(ctx, ag_backward_from(tape, y, cotangent));
            ag_tape_end(tape);
            for (int i = 0; i <= count; i++) {
                ag_tensor *leaf = i == 0 ? x : ag_module_param(module, i - 1).tensor;
                out[apart][1 + i] = ag_retain(ag_grad(leaf));
                ag_zero_grad(leaf);
            }
        }
        for (int i = 0; i < 2 + count; i++) {
            assert_same_bits(out[0][i], out[1][i]);
            ag_release(out[0][i]);
            ag_release(out[1][i]);
        }
        ag_feed_forward_free(layer);
    }
    test_end(ctx);
}
END_TEST

START_TEST(feed_forward_dropout)
{
    ag_ctx *ctx = test_begin();
    ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 8, .dropout = 0.5 });
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(16, 8)), *still = ag_feed_forward_forward(layer, x);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_feed_forward_forward(layer, x);
    int zeros = 0;
    for (int i = 0; i < 128; i++) {
        zeros += test_at(y, i) == 0;
        ck_assert(test_at(y, i) == 0 || fabs(test_at(y, i) - 2 * test_at(still, i)) < 1e-6);
    }
    ck_assert_int_gt(zeros, 30);
    ck_assert_int_gt(test_nodes_in(tape, "up"), 0);
    ck_assert_int_gt(test_nodes_in(tape, "down"), 0);
    ag_module_set_training(ag_feed_forward_module(layer), false);
    assert_same(ag_feed_forward_forward(layer, x), still);
    ag_tape_end(tape);
    ag_feed_forward_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(feed_forward_errors)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 0 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "feed_forward: emb_size is 0");
    ck_assert_ptr_null(ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 1, .ff_size = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "feed_forward: ff_size is -1");
    ck_assert_ptr_null(ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 1, .dropout = 1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "feed_forward: dropout is 1, must be in [0, 1)");
    ck_assert_ptr_null(ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 1, .inner_dropout = -0.5 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "feed_forward: inner_dropout is -0.5, must be in [0, 1)");
    ag_feed_forward_config unknown = { .emb_size = 1, .activation = (ag_activation)9 };
    ck_assert_ptr_null(ag_feed_forward_new(ctx, unknown));
    assert_error(ctx, AG_ERR_ARGUMENT, "feed_forward: there is no activation number 9");
    ag_feed_forward *layer = ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 3 });
    ck_assert_ptr_null(ag_feed_forward_forward(layer, ag_zeros(ctx, AG_F32, AG_SHAPE(2, 4))));
    ck_assert_str_eq(ag_error_path(ctx), "up");
    assert_error(ctx, AG_ERR_SHAPE, "up: linear: x is [2,4], in_features is 3");
    ck_assert_ptr_null(ag_feed_forward_forward(NULL, NULL));
    ag_feed_forward_free(layer);
    ag_feed_forward_free(NULL);
    test_end(ctx);
}
END_TEST

/* ---- Decoder block ---- */

static ag_tensor *run_block(void *block, ag_tensor *x)
{
    return ag_block_forward(block, x);
}

static const ag_block_config block_config = {
    .emb_size = 6, .num_heads = 2, .head_size = 4, .max_seq_len = 5, .ff_size = 7, .dtype = AG_F64,
};

static ag_tensor *norm_of(const ag_module *module, const char *weight, const char *bias, ag_tensor *x)
{
    return ag_layer_norm(x, test_param(module, weight), test_param(module, bias), 1e-5);
}

/* The block from ops, heads cut out one by one. */
static ag_tensor *attention_by_hand(const ag_module *m, ag_tensor *x)
{
    ag_tensor *q = linear_of(m, "attn.q", x), *k = linear_of(m, "attn.k", x), *v = linear_of(m, "attn.v", x);
    ag_tensor *head[2];
    ag_ctx *ctx = ag_ctx_of(x);
    int64_t T = ag_dim(x, 1);
    ag_tensor *later = ag_zeros(ctx, AG_I32, AG_SHAPE(T, T));
    for (int64_t i = 0; i < T; i++)
        for (int64_t j = i + 1; j < T; j++)
            ck_assert_int_eq(ag_set(later, (const int64_t[]){ i, j }, 1), AG_OK);
    for (int h = 0; h < 2; h++) {
        ag_tensor *qh = ag_slice(q, 2, 4 * h, 4 * h + 4, 1), *kh = ag_slice(k, 2, 4 * h, 4 * h + 4, 1);
        ag_tensor *s = ag_scale(ag_matmul(qh, ag_transpose(kh, 1, 2)), 0.5); /* 1 / sqrt(4) */
        ag_tensor *p = ag_softmax(ag_masked_fill(s, later, -(double)INFINITY), 2);
        head[h] = ag_matmul(p, ag_slice(v, 2, 4 * h, 4 * h + 4, 1));
    }
    return linear_of(m, "attn.proj", ag_concat(head, 2, 2));
}

static ag_tensor *feed_forward_by_hand(const ag_module *m, ag_tensor *x)
{
    return linear_of(m, "ff.down", ag_gelu(linear_of(m, "ff.up", x)));
}

START_TEST(transformer_block)
{
    ag_ctx *ctx = test_begin_serial();
    for (int post_norm = 0; post_norm < 2; post_norm++) {
        ag_block_config config = block_config;
        config.post_norm = post_norm;
        ag_block *block = ag_block_new(ctx, config);
        ag_module *m = ag_block_module(block);
        test_param_list(m, "norm1.weight [6]|norm1.bias [6]|attn.q.weight [8,6]|attn.q.bias [8]|attn.k.weight [8,6]|"
                           "attn.k.bias [8]|attn.v.weight [8,6]|attn.v.bias [8]|attn.proj.weight [6,8]|"
                           "attn.proj.bias [6]|norm2.weight [6]|norm2.bias [6]|ff.up.weight [7,6]|ff.up.bias [7]|"
                           "ff.down.weight [6,7]|ff.down.bias [6]");
        test_fill_params(m, 0.7);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 4, 6)), *want = x;
        if (post_norm) {
            want = norm_of(m, "norm1.weight", "norm1.bias", ag_add(want, attention_by_hand(m, want)));
            want = norm_of(m, "norm2.weight", "norm2.bias", ag_add(want, feed_forward_by_hand(m, want)));
        } else {
            want = ag_add(want, attention_by_hand(m, norm_of(m, "norm1.weight", "norm1.bias", want)));
            want = ag_add(want, feed_forward_by_hand(m, norm_of(m, "norm2.weight", "norm2.bias", want)));
        }
        assert_close(ag_block_forward(block, x), want, 1e-12, 1e-12);
        test_gradcheck(m, run_block, block, x);
        ag_block_free(block);
    }
    test_end(ctx);
}
END_TEST

/* With dropout the draw must be the same in backward as in forward. */
START_TEST(block_dropout)
{
    ag_ctx *ctx = test_begin_serial();
    ag_block_config config = block_config;
    config.dropout = 0.4;
    ag_block *block = ag_block_new(ctx, config);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 4, 6)), *still = ag_block_forward(block, x);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *dropped = ag_block_forward(block, x);
    bool differs = false;
    for (int64_t i = 0; i < ag_numel(still); i++)
        differs = differs || test_at(still, i) != test_at(dropped, i);
    ck_assert(differs);
    int64_t dropouts = 0;
    for (int64_t i = 0; i < ag_tape_size(tape); i++)
        dropouts += strcmp(ag_tape_node(tape, i).op, "dropout") == 0;
    ck_assert_int_eq(dropouts, 2); /* attention output, feed-forward output; the weights' is inside sdpa */
    ag_module_set_training(ag_block_module(block), false);
    assert_same(ag_block_forward(block, x), still);
    ag_tape_end(tape);
    ag_module_set_training(ag_block_module(block), true);
    test_gradcheck(ag_block_module(block), run_block, block, x);
    ag_block_free(block);
    test_end(ctx);
}
END_TEST

START_TEST(block_errors)
{
    ag_ctx *ctx = test_begin();
    ag_block_config config = block_config;
    config.head_size = 0;
    config.num_heads = 4;
    ck_assert_ptr_null(ag_block_new(ctx, config));
    assert_error(ctx, AG_ERR_ARGUMENT, "mha: emb_size 6 is not divisible by num_heads 4; give head_size");
    ag_block *block = ag_block_new(ctx, block_config);
    ck_assert_ptr_null(ag_block_forward(block, ag_zeros(ctx, AG_F64, AG_SHAPE(1, 6, 6))));
    assert_error(ctx, AG_ERR_SHAPE, "attn: mha: the sequence has 6 positions, max_seq_len is 5");
    ck_assert_ptr_nonnull(ag_block_attn(block));
    ck_assert_ptr_null(ag_block_attn(NULL));
    ck_assert_ptr_null(ag_block_new(NULL, block_config));
    ag_block_free(block);
    ag_block_free(NULL);
    test_end(ctx);
}
END_TEST

Suite *layers_suite(void)
{
    Suite *suite = suite_create("layers");
    TCase *tcase = tcase_create("layers");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, embedding);
    tcase_add_test(tcase, embedding_first_values);
    tcase_add_test(tcase, layer_norm);
    tcase_add_test(tcase, rms_norm);
    tcase_add_test(tcase, sinusoidal);
    tcase_add_test(tcase, dropout);
    tcase_add_test(tcase, feed_forward);
    tcase_add_test(tcase, gated_feed_forward);
    tcase_add_test(tcase, feed_forward_inner_dropout);
    tcase_add_test(tcase, feed_forward_is_its_ops);
    tcase_add_test(tcase, feed_forward_dropout);
    tcase_add_test(tcase, feed_forward_errors);
    tcase_add_test(tcase, transformer_block);
    tcase_add_test(tcase, block_dropout);
    tcase_add_test(tcase, block_errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
