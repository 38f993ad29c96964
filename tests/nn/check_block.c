/* SPDX-License-Identifier: MIT
 *
 * check_block.c - the transformer block and its options, against its parts put together here. The plain block from ops
 * stands in check_layers.c.
 */
#include "tests/nn/check_nn.h"

#include <string.h>

enum { C = 6, M = 5, T = 4, S = 3 }; /* channels of x and of memory, times of both */

static const ag_block_config plain = {
    .emb_size = C, .num_heads = 2, .head_size = 4, .max_seq_len = 5, .ff_size = 7, .dtype = AG_F64,
};

/* Every combination of post_norm, norm, gated and cross. */
enum { VARIANTS = 16 };

static ag_block_config variant(int i)
{
    ag_block_config config = plain;
    config.post_norm = i & 1;
    config.norm = i & 2 ? AG_RMS_NORM : AG_LAYER_NORM;
    config.gated = i & 4;
    config.activation = i & 4 ? AG_SILU : AG_GELU;
    config.cross = i & 8;
    config.memory_size = config.cross ? M : 0;
    return config;
}

static ag_block *make(ag_ctx *ctx, ag_block_config config)
{
    ag_block *block = ag_block_new(ctx, config);
    ck_assert_msg(block != NULL, "%s", ag_error_message(ctx));
    test_fill_params(ag_block_module(block), 0.5);
    return block;
}

/* ---- Names ---- */

START_TEST(parameters)
{
    ag_ctx *ctx = test_begin();
    ag_block_config config = variant(2 | 4 | 8);
    config.no_bias = true;
    config.attention = (ag_attention_options){ .kv_heads = 1, .qk_norm = true, .relative = 2 };
    ag_block *block = ag_block_new(ctx, config);
    test_param_list(ag_block_module(block),
                    "norm1.weight [6]|attn.q.weight [8,6]|attn.k.weight [4,6]|attn.v.weight [4,6]|"
                    "attn.q_norm.weight [4]|attn.k_norm.weight [4]|attn.relative [2,5]|attn.proj.weight [6,8]|"
                    "norm_cross.weight [6]|cross.q.weight [8,6]|cross.k.weight [4,5]|cross.v.weight [4,5]|"
                    "cross.q_norm.weight [4]|cross.k_norm.weight [4]|cross.proj.weight [6,8]|"
                    "norm2.weight [6]|ff.up.weight [7,6]|ff.gate.weight [7,6]|ff.down.weight [6,7]");
    ck_assert_ptr_nonnull(ag_block_cross(block));
    ag_block_free(block);
    config.memory_size = 0; /* as wide as x */
    block = ag_block_new(ctx, config);
    ck_assert_str_eq(ag_shape_text(test_param(ag_block_module(block), "cross.v.weight")), "[4,6]");
    ag_block_free(block);
    block = ag_block_new(ctx, plain);
    ck_assert_ptr_null(ag_block_cross(block));
    ck_assert_ptr_null(ag_block_cross(NULL));
    ag_block_free(block);
    test_end(ctx);
}
END_TEST

/* ---- Values and gradients ---- */

static ag_tensor *linear_of(const ag_module *m, const char *name, ag_tensor *x)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    return ag_linear(x, test_param(m, weight), ag_module_find(m, bias));
}

static ag_tensor *norm_of(const ag_module *m, const char *name, ag_norm_kind kind, ag_tensor *x)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    return kind == AG_RMS_NORM ? ag_rms_norm(x, test_param(m, weight), 1e-6)
                               : ag_layer_norm(x, test_param(m, weight), test_param(m, bias), 1e-5);
}

/* [B,T,2*4] -> [B,2,T,4] */
static ag_tensor *heads_of(ag_tensor *x)
{
    return ag_transpose(ag_reshape(x, AG_SHAPE(ag_dim(x, 0), ag_dim(x, 1), 2, 4)), 1, 2);
}

/* Attention from ops, of x over `memory`. */
static ag_tensor *attention_of(const ag_module *m, const char *name, ag_tensor *x, ag_tensor *memory, bool causal)
{
    char part[4][32];
    for (int i = 0; i < 4; i++)
        snprintf(part[i], sizeof part[i], "%s.%s", name, (const char *[]){ "q", "k", "v", "proj" }[i]);
    ag_tensor *q = heads_of(linear_of(m, part[0], x)), *k = heads_of(linear_of(m, part[1], memory));
    ag_tensor *s = ag_scale(ag_matmul(q, ag_transpose(k, 2, 3)), 0.5); /* 1 / sqrt(4) */
    if (causal) {
        ag_tensor *later = ag_zeros(ag_ctx_of(x), AG_I32, AG_SHAPE(ag_dim(x, 1), ag_dim(x, 1)));
        for (int64_t i = 0; i < ag_dim(x, 1); i++)
            for (int64_t j = i + 1; j < ag_dim(x, 1); j++)
                ag_set(later, (const int64_t[]){ i, j }, 1);
        s = ag_masked_fill(s, later, -(double)INFINITY);
    }
    ag_tensor *o = ag_transpose(ag_matmul(ag_softmax(s, 3), heads_of(linear_of(m, part[2], memory))), 1, 2);
    return linear_of(m, part[3], ag_reshape(o, AG_SHAPE(ag_dim(x, 0), ag_dim(x, 1), 8)));
}

static ag_tensor *feed_forward_of(const ag_module *m, bool gated, ag_tensor *x)
{
    ag_tensor *up = linear_of(m, "ff.up", x);
    return linear_of(m, "ff.down", gated ? ag_mul(ag_silu(linear_of(m, "ff.gate", x)), up) : ag_gelu(up));
}

static ag_tensor *block_of(const ag_module *m, const ag_block_config *c, ag_tensor *x, ag_tensor *memory)
{
    if (c->post_norm) {
        x = norm_of(m, "norm1", c->norm, ag_add(x, attention_of(m, "attn", x, x, true)));
        if (c->cross)
            x = norm_of(m, "norm_cross", c->norm, ag_add(x, attention_of(m, "cross", x, memory, false)));
        return norm_of(m, "norm2", c->norm, ag_add(x, feed_forward_of(m, c->gated, x)));
    }
    ag_tensor *inner = norm_of(m, "norm1", c->norm, x);
    x = ag_add(x, attention_of(m, "attn", inner, inner, true));
    if (c->cross)
        x = ag_add(x, attention_of(m, "cross", norm_of(m, "norm_cross", c->norm, x), memory, false));
    return ag_add(x, feed_forward_of(m, c->gated, norm_of(m, "norm2", c->norm, x)));
}

typedef struct checked {
    ag_block *block;
    ag_block_inputs with;
} checked;

/* Of x and, if there is one, memory. */
static void run_checked(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    const checked *c = user;
    (void)ctx;
    output[0] = ag_block_forward_with(c->block, input[0], c->with);
}

static void gradcheck(ag_block *block, ag_tensor *x, ag_block_inputs with)
{
    ag_tensor *input[] = { ag_require_grad(x), with.memory };
    if (with.memory != NULL)
        ag_require_grad(with.memory);
    checked c = { block, with };
    ag_gradcheck_result r = ag_module_gradcheck(ag_block_module(block), run_checked, input, with.memory == NULL ? 1 : 2,
                                                &c, (ag_gradcheck_config){ 0 });
    ck_assert_msg(r.verdict == AG_PASS && r.checked > 0, "%s, input %d: %s", ag_verdict_name(r.verdict), r.input,
                  r.explanation);
    ck_assert_msg(r.max_error < 1e-8, "relative error %g", r.max_error);
}

START_TEST(values_and_gradients)
{
    ag_ctx *ctx = test_begin_serial();
    ag_block_config config = variant(_i);
    ag_block *block = make(ctx, config);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C));
    ag_tensor *memory = config.cross ? ag_randn(ctx, AG_F64, AG_SHAPE(2, S, M)) : NULL;
    ag_block_inputs with = { .memory = memory };
    assert_close(ag_block_forward_with(block, x, with), block_of(ag_block_module(block), &config, x, memory), 1e-12,
                 1e-12);
    if (!config.cross)
        assert_same_bits(ag_block_forward(block, x), ag_block_forward_with(block, x, with));
    gradcheck(block, x, with);
    ag_block_free(block);
    test_end(ctx);
}
END_TEST

/* ---- Options of the attention layers ---- */

/* The same attention as a layer of its own. */
static ag_mha *copy_of(ag_ctx *ctx, ag_mha *attention, ag_mha_config config)
{
    ag_mha *copy = ag_mha_new(ctx, config);
    ck_assert_msg(copy != NULL, "%s", ag_error_message(ctx));
    ck_assert_int_eq(ag_module_param_count(ag_mha_module(copy)), ag_module_param_count(ag_mha_module(attention)));
    test_copy_params(ag_mha_module(copy), ag_mha_module(attention));
    return copy;
}

static bool differs(const ag_tensor *a, const ag_tensor *b)
{
    for (int64_t i = 0; i < ag_numel(a); i++)
        if (test_at(a, i) != test_at(b, i))
            return true;
    return false;
}

/* Self-attention has all of them; cross-attention those that need no positions. Each changes something. */
START_TEST(attention_options)
{
    static const ag_attention_options options[] = {
        { .kv_heads = 1 }, { .scale = 0.3 },     { .soft_cap = 0.7 }, { .qk_norm = true, .qk_norm_eps = 0.3 },
        { .rotary = &ag_rotary }, { .mask.back = 2 }, { .alibi = &ag_alibi_bias },   { .relative = 2 },
        { .rotary = &ag_rotary, .rope = { .pairing = AG_ROPE_NEIGHBOURS, .theta = 100 } },
    };
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < (int)(sizeof options / sizeof *options); i++) {
        ag_block_config config = variant(8);
        config.attention = options[i];
        config.max_seq_len = 5;
        ag_block *block = make(ctx, config);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(2, 9, M));
        ag_mha_config attn = { .emb_size = C, .num_heads = 2, .head_size = 4, .attention = options[i],
                               .dtype = AG_F64 };
        ag_mha *self = copy_of(ctx, ag_block_attn(block), attn);
        assert_same_bits(ag_mha_forward(ag_block_attn(block), x), ag_mha_forward(self, x));
        attn.non_causal = true;
        attn.key_size = attn.value_size = M;
        attn.attention = (ag_attention_options){ .kv_heads = options[i].kv_heads, .scale = options[i].scale,
                                                 .soft_cap = options[i].soft_cap, .qk_norm = options[i].qk_norm,
                                                 .qk_norm_eps = options[i].qk_norm_eps };
        ag_mha *cross = copy_of(ctx, ag_block_cross(block), attn);
        ag_attend over = { .memory = memory };
        assert_same_bits(ag_mha_forward_with(ag_block_cross(block), x, over), ag_mha_forward_with(cross, x, over));
        if (options[i].kv_heads == 0) { /* else other parameters */
            ag_block_config without = variant(8);
            ag_block *other = ag_block_new(ctx, without);
            test_copy_params(ag_block_module(other), ag_block_module(block));
            ck_assert_msg(differs(ag_block_forward_with(block, x, (ag_block_inputs){ .memory = memory }),
                                  ag_block_forward_with(other, x, (ag_block_inputs){ .memory = memory })),
                          "options %d change nothing", i);
            ag_block_free(other);
        }
        ag_mha_free(self);
        ag_mha_free(cross);
        ag_block_free(block);
    }
    test_end(ctx);
}
END_TEST

/* What a call brings reaches the self-attention: a mask, a bias, positions. */
START_TEST(inputs_of_a_call)
{
    ag_ctx *ctx = test_begin();
    ag_block_config config = plain;
    config.attention.rotary = &ag_rotary;
    ag_block *block = make(ctx, config);
    ag_module *m = ag_block_module(block);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C)), *inner = norm_of(m, "norm1", AG_LAYER_NORM, x);
    const ag_attend call[] = {
        { .mask.key_lengths = ag_from_data(ctx, AG_I32, AG_SHAPE(2), (const int32_t[]){ 2, 4 }) },
        { .bias = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, T)) },
        { .positions = ag_from_data(ctx, AG_I32, AG_SHAPE(2, T), (const int32_t[]){ 0, 3, 1, 4, 2, 2, 0, 1 }) },
    };
    for (int i = 0; i < 3; i++) {
        ag_tensor *want = ag_add(x, ag_mha_forward_with(ag_block_attn(block), inner, call[i]));
        want = ag_add(want, feed_forward_of(m, false, norm_of(m, "norm2", AG_LAYER_NORM, want)));
        ag_tensor *got = ag_block_forward_with(block, x, (ag_block_inputs){ .attn = call[i] });
        assert_close(got, want, 1e-12, 1e-12);
        ck_assert(differs(got, ag_block_forward(block, x)));
    }
    assert_no_error(ctx);
    ag_block_free(block);
    test_end(ctx);
}
END_TEST

/* What stands behind an entry's memory does nothing, NaN too; an entry's memory alone gives the same. */
START_TEST(memory_lengths)
{
    enum { LONG = 7 };
    static const int32_t lengths[] = { 7, 3, 0 };
    ag_ctx *ctx = test_begin_serial();
    for (int post_norm = 0; post_norm < 2; post_norm++) {
        ag_block *block = make(ctx, variant(8 | post_norm));
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(3, T, C)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(3, LONG, M));
        ag_block_inputs with = {
            .memory = memory, .memory_mask.key_lengths = ag_from_data(ctx, AG_I32, AG_SHAPE(3), lengths),
        };
        gradcheck(block, x, with);
        for (int64_t b = 0; b < 3; b++)
            for (int64_t s = lengths[b]; s < LONG; s++)
                ag_fill(ag_tensor_select(ag_tensor_select(memory, 0, b), 0, s), (double)NAN);
        ag_tensor *y = ag_block_forward_with(block, x, with);
        for (int64_t b = 0; b < 2; b++) {
            ag_tensor *alone = ag_tensor_slice(ag_tensor_slice(memory, 0, b, b + 1, 1), 1, 0, lengths[b], 1);
            ag_tensor *want = ag_block_forward_with(block, ag_tensor_slice(x, 0, b, b + 1, 1),
                                                    (ag_block_inputs){ .memory = alone });
            assert_close(ag_tensor_slice(y, 0, b, b + 1, 1), want, 1e-12, 1e-12);
        }
        for (int64_t i = 0; i < ag_numel(y); i++)
            ck_assert(isfinite(test_at(y, i)));
        ag_block_free(block);
    }
    test_end(ctx);
}
END_TEST

/* ---- Dropout ---- */

START_TEST(dropout)
{
    ag_ctx *ctx = test_begin_serial();
    ag_block_config config = variant(8 | 4);
    config.dropout = 0.3;
    config.ff_dropout = 0.4;
    ag_block *block = make(ctx, config);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(2, S, M));
    ag_block_inputs with = { .memory = memory };
    ag_tensor *still = ag_block_forward_with(block, x, with);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert(differs(ag_block_forward_with(block, x, with), still));
    int64_t own = 0, inside = 0;
    for (int64_t i = 0; i < ag_tape_size(tape); i++) {
        ag_node_view node = ag_tape_node(tape, i);
        own += strcmp(node.op, "dropout") == 0 && strcmp(node.path, "") == 0;
        inside += strcmp(node.op, "dropout") == 0 && strcmp(node.path, "ff") == 0;
    }
    ck_assert_int_eq(own, 2);    /* behind attention and cross-attention */
    ck_assert_int_eq(inside, 2); /* before down and behind it */
    ag_module_set_training(ag_block_module(block), false);
    assert_same_bits(ag_block_forward_with(block, x, with), still);
    ag_tape_end(tape);
    ag_module_set_training(ag_block_module(block), true);
    gradcheck(block, x, with);
    ag_block_free(block);
    test_end(ctx);
}
END_TEST

/* Of the weights in both attention layers, which a block's nodes do not show. */
START_TEST(dropout_of_weights)
{
    ag_ctx *ctx = test_begin();
    ag_block_config config = variant(8);
    config.dropout = 0.5;
    ag_block *block = make(ctx, config);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(2, S, M));
    ag_tensor *self = ag_mha_forward(ag_block_attn(block), x);
    ag_tensor *cross = ag_mha_forward_with(ag_block_cross(block), x, (ag_attend){ .memory = memory });
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert(differs(ag_mha_forward(ag_block_attn(block), x), self));
    ck_assert(differs(ag_mha_forward_with(ag_block_cross(block), x, (ag_attend){ .memory = memory }), cross));
    ag_tape_end(tape);
    ag_block_free(block);
    test_end(ctx);
}
END_TEST

/* ---- Bits, and the tape ---- */

static ag_tensor *drop_of(ag_tensor *x, double p)
{
    return p > 0 ? ag_dropout(x, p) : x;
}

/* One op after the other: up, the gate and its activation, their product, down. */
static ag_tensor *dropped_feed_forward(const ag_module *m, const ag_block_config *c, ag_tensor *x)
{
    ag_tensor *up = linear_of(m, "ff.up", x);
    ag_tensor *inner = c->gated ? ag_mul(ag_silu(linear_of(m, "ff.gate", x)), up) : ag_silu(up);
    return drop_of(linear_of(m, "ff.down", drop_of(inner, c->ff_dropout)), c->dropout);
}

/* The attention layers are the block's own; what they give is added here. */
static ag_tensor *attended(ag_mha *attention, ag_tensor *x, ag_tensor *memory, double p)
{
    return drop_of(ag_mha_forward_with(attention, x, (ag_attend){ .memory = memory }), p);
}

static ag_tensor *parts_of(ag_block *block, const ag_block_config *c, ag_tensor *x, ag_tensor *memory)
{
    const ag_module *m = ag_block_module(block);
    ag_mha *attn = ag_block_attn(block), *cross = ag_block_cross(block);
    ag_tensor *y;
    if (c->post_norm) {
        x = norm_of(m, "norm1", c->norm, ag_add(x, attended(attn, x, NULL, c->dropout)));
        if (c->cross)
            x = norm_of(m, "norm_cross", c->norm, ag_add(x, attended(cross, x, memory, c->dropout)));
        return norm_of(m, "norm2", c->norm, ag_add(x, dropped_feed_forward(m, c, x)));
    }
    y = attended(attn, norm_of(m, "norm1", c->norm, x), NULL, c->dropout);
    x = ag_add(x, y);
    if (c->cross) {
        y = attended(cross, norm_of(m, "norm_cross", c->norm, x), memory, c->dropout);
        x = ag_add(x, y);
    }
    y = dropped_feed_forward(m, c, norm_of(m, "norm2", c->norm, x));
    return ag_add(x, y);
}

enum { TENSORS = 40 }; /* the result, gradients of x and memory, of parameters */

/* Forward and backward with the random numbers that follow `rng`; returns how many tensors are in out. */
static int run_bits(ag_block *block, const ag_block_config *c, bool apart, ag_rng rng, ag_tensor *const *input,
                    ag_tensor **out, char *ops, size_t size)
{
    ag_module *m = ag_block_module(block);
    ag_ctx *ctx = ag_ctx_of(input[0]);
    const int count = (int)ag_module_param_count(m);
    ag_rng_set(ctx, rng);
    ag_tape *tape = ag_tape_begin(ctx);
    out[0] = apart ? parts_of(block, c, input[0], c->cross ? input[1] : NULL)
                   : ag_block_forward_with(block, input[0], (ag_block_inputs){ .memory = c->cross ? input[1] : NULL });
    ag_retain(out[0]);
    assert_ok(ctx, ag_backward_from(tape, out[0], input[2]));
    ops[0] = '\0';
    for (int64_t i = 0; i < ag_tape_size(tape); i++) {
        ck_assert_uint_lt(strlen(ops) + 40, size);
        strcat(strcat(ops, ag_tape_node(tape, i).op), " ");
    }
    ag_tape_end(tape);
    ck_assert_int_lt(3 + count, TENSORS);
    for (int i = 0; i < 2 + count; i++) {
        ag_tensor *leaf = i < 2 ? input[i] : ag_module_param(m, i - 2).tensor;
        out[1 + i] = ag_retain(ag_grad(leaf));
        ag_zero_grad(leaf);
    }
    return 3 + count;
}

/* What is done as the end of a product leaves the bits, the random numbers and the ops on the tape as they are. */
START_TEST(bits_of_its_parts)
{
    ag_ctx *ctx = test_begin_serial();
    for (int k = 0; k < 8; k++) {
        ag_block_config config = variant(_i);
        config.activation = AG_SILU;
        config.dtype = k & 1 ? AG_F32 : AG_F64;
        config.dropout = k & 2 ? 0.3 : 0;
        config.ff_dropout = k & 4 ? 0.4 : 0;
        ag_block *block = make(ctx, config);
        ag_tensor *input[] = { ag_require_grad(ag_randn(ctx, config.dtype, AG_SHAPE(2, T, C))),
                               ag_require_grad(ag_randn(ctx, config.dtype, AG_SHAPE(2, S, M))),
                               ag_randn(ctx, config.dtype, AG_SHAPE(2, T, C)) };
        ag_tensor *out[2][TENSORS];
        char ops[2][2000];
        const ag_rng rng = ag_rng_get(ctx);
        int count = 0;
        for (int apart = 0; apart < 2; apart++)
            count = run_bits(block, &config, apart, rng, input, out[apart], ops[apart], sizeof ops[apart]);
        ck_assert_str_eq(ops[0], ops[1]);
        for (int i = 0; i < count; i++) {
            ck_assert(i == 2 || out[1][i] != NULL); /* without cross no memory */
            if (out[1][i] != NULL)
                assert_same_bits(out[0][i], out[1][i]);
            ag_release(out[0][i]);
            ag_release(out[1][i]);
        }
        ag_block_free(block);
    }
    test_end(ctx);
}
END_TEST

/* What the tape of a block holds when backward begins is not more than that of its ops one by one. */
START_TEST(bytes_before_backward)
{
    ag_block_config config = { .emb_size = 32, .num_heads = 2, .head_size = 16, .max_seq_len = 16, .ff_size = 128,
                               .activation = (ag_activation)_i };
    size_t kept[2];
    for (int apart = 0; apart < 2; apart++) {
        ag_ctx *ctx = test_begin_serial();
        ag_block *block = make(ctx, config);
        ag_module *m = ag_block_module(block);
        ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(8, 16, 32));
        ag_tensor *(*const op[])(ag_tensor *) = { ag_gelu, ag_gelu_tanh, ag_relu, ag_silu };
        ag_tape *tape = ag_tape_begin(ctx);
        ag_ctx_trim(ctx);
        kept[apart] = ag_ctx_bytes(ctx);
        ag_scope_begin(ctx, NULL);
        ag_tensor *y = x;
        if (apart) {
            y = ag_add(x, ag_mha_forward(ag_block_attn(block), norm_of(m, "norm1", AG_LAYER_NORM, x)));
            ag_tensor *up = linear_of(m, "ff.up", norm_of(m, "norm2", AG_LAYER_NORM, y));
            y = ag_add(y, linear_of(m, "ff.down", op[_i](up)));
        } else {
            y = ag_block_forward(block, x);
        }
        ck_assert_ptr_nonnull(ag_scope_end(ctx, y));
        ag_ctx_trim(ctx);
        kept[apart] = ag_ctx_bytes(ctx) - kept[apart];
        ag_tape_end(tape);
        ag_block_free(block);
        test_end(ctx);
    }
    ck_assert_uint_gt(kept[1], 8 * 16 * 128 * sizeof(float)); /* what is wide is a good part of it */
    ck_assert_uint_le(kept[0], kept[1] + 4096);
}
END_TEST

/* ---- Errors ---- */

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ag_block *without = ag_block_new(ctx, plain), *with_cross = ag_block_new(ctx, variant(8));
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, T, C)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(2, S, M));
    ck_assert_ptr_null(ag_block_forward(with_cross, x));
    assert_error(ctx, AG_ERR_ARGUMENT, "block: memory is NULL; a block with cross requires it");
    ck_assert_ptr_null(ag_block_forward_with(without, x, (ag_block_inputs){ .memory = memory }));
    assert_error(ctx, AG_ERR_ARGUMENT, "block: memory is given, but the block has no cross-attention");
    ck_assert_ptr_null(ag_block_forward_with(with_cross, x, (ag_block_inputs){ .memory = x })); /* too wide */
    ck_assert_str_eq(ag_error_path(ctx), "cross");
    ag_error_clear(ctx);
    ck_assert_ptr_null(ag_block_forward(without, NULL));
    ck_assert_ptr_null(ag_block_forward_with(NULL, x, (ag_block_inputs){ .memory = memory }));
    assert_no_error(ctx);
    ag_block_free(without);
    ag_block_free(with_cross);

    ag_block_config wrong[5] = { plain, plain, plain, plain, plain };
    const char *const line[5] = {
        "block: memory_size is 4, but cross is false", "block: ff_dropout is 1, must be in [0, 1)",
        "block: there is no norm number 7", "kv_heads", "dropout is -1",
    };
    wrong[0].memory_size = 4;
    wrong[1].ff_dropout = 1;
    wrong[2].norm = (ag_norm_kind)7;
    wrong[3].attention.kv_heads = 3;
    wrong[4].dropout = -1;
    for (int i = 0; i < 5; i++) {
        ck_assert_ptr_null(ag_block_new(ctx, wrong[i]));
        assert_error(ctx, AG_ERR_ARGUMENT, line[i]);
    }
    test_end(ctx);
}
END_TEST

Suite *block_suite(void)
{
    Suite *suite = suite_create("block");
    TCase *tcase = tcase_create("block");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parameters);
    tcase_add_loop_test(tcase, values_and_gradients, 0, VARIANTS);
    tcase_add_test(tcase, attention_options);
    tcase_add_test(tcase, inputs_of_a_call);
    tcase_add_test(tcase, memory_lengths);
    tcase_add_test(tcase, dropout);
    tcase_add_test(tcase, dropout_of_weights);
    tcase_add_loop_test(tcase, bits_of_its_parts, 0, VARIANTS);
    tcase_add_loop_test(tcase, bytes_before_backward, 0, 4);
    tcase_add_test(tcase, errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
