/* SPDX-License-Identifier: MIT
 *
 * attention_composed.h - every option of the attention layers as a case of check_attention.c, and the same attention
 * composed of plain ops.
 */
#ifndef TESTS_ATTENTION_COMPOSED_H
#define TESTS_ATTENTION_COMPOSED_H

#include "tests/nn/check_nn.h"

#include <string.h>

enum { B = 2, T = 5, INPUTS = 4 };

/* What a case gives besides x. */
typedef struct option_case {
    const char *name;
    ag_mha_config config; /* emb_size, num_heads, max_seq_len and dtype are filled in; causal is !non_causal */
    int64_t S;            /* > 0: the positions of memory */
    bool values, bias, shared_bias, positions, key_lengths, documents, blocks;
    ag_mask mask; /* of the call */
} option_case;

static const option_case cases[] = {
    { .name = "plain" },
    { .name = "grouped heads", .config.num_heads = 4, .config.attention.kv_heads = 2 },
    { .name = "multi-query", .config.num_heads = 3, .config.attention.kv_heads = 1 },
    { .name = "scale", .config.attention.scale = 0.3 },
    { .name = "soft cap", .config.attention = { .soft_cap = 1.5, .scale = 2 } },
    { .name = "norm of queries and keys", .config.attention.qk_norm = true },
    { .name = "norm of queries and keys, eps", .config.attention = { .qk_norm = true, .qk_norm_eps = 0.3 } },
    { .name = "rotary", .config.attention.rotary = &ag_rotary },
    { .name = "rotary neighbours, a part, scaled",
      .config.attention = { .rotary = &ag_rotary, .rope = { .pairing = AG_ROPE_NEIGHBOURS, .size = 2, .theta = 50,
                                                      .scaling = AG_ROPE_LINEAR, .factor = 3 } } },
    { .name = "rotary at given positions", .config.attention.rotary = &ag_rotary, .positions = true },
    { .name = "alibi", .config.num_heads = 3, .config.attention.alibi = &ag_alibi_bias },
    { .name = "alibi, both ways", .config = { .num_heads = 3, .non_causal = true, .attention.alibi = &ag_alibi_bias } },
    { .name = "relative", .config = { .non_causal = true, .attention.relative = 2 } },
    { .name = "window of the layer", .config.attention.mask.back = 3 },
    { .name = "window of the call", .config.non_causal = true, .mask = { .back = 2, .ahead = 2 } },
    { .name = "window and global", .config.attention.mask = { .back = 2, .global = 1 } },
    { .name = "sizes of memory", .S = 7,
      .config = { .non_causal = true, .key_size = 3, .value_size = 3, .value_head_size = 2 } },
    { .name = "memory and values", .S = 3, .values = true,
      .config = { .non_causal = true, .key_size = 3, .value_size = 2, .value_head_size = 5 } },
    { .name = "values alone", .values = true, .config.value_size = 3 },
    { .name = "causal memory, aligned below", .S = 8, .mask.align = AG_BOTTOM_RIGHT },
    { .name = "causal memory, aligned above", .S = 8 },
    { .name = "relative over memory", .S = 7, .mask.offset = 2,
      .config = { .non_causal = true, .attention.relative = 3 } },
    { .name = "alibi over memory", .S = 7, .mask.offset = -1,
      .config = { .num_heads = 1, .non_causal = true, .attention.alibi = &ag_alibi_bias } },
    { .name = "bias", .bias = true },
    { .name = "shared bias, soft cap", .shared_bias = true, .config = { .non_causal = true, .attention.soft_cap = 2 } },
    { .name = "key lengths, one of them 0", .key_lengths = true, .config.non_causal = true },
    { .name = "documents", .documents = true },
    { .name = "blocks", .blocks = true, .config.non_causal = true },
    { .name = "grouped heads, norm, rotary, window",
      .config = { .num_heads = 4, .no_bias = true,
                  .attention = { .kv_heads = 2, .qk_norm = true, .rotary = &ag_rotary, .mask.back = 4 } } },
    { .name = "many together", .bias = true, .key_lengths = true, .documents = true, .positions = true,
      .config = { .num_heads = 4, .value_head_size = 3,
                  .attention = { .kv_heads = 2, .qk_norm = true, .rotary = &ag_rotary, .soft_cap = 3, .scale = 0.8,
                                 .relative = 2, .mask.back = 4 } } },
};
enum { CASES = sizeof cases / sizeof *cases };

/* The layer of a case, and the call's tensors. */
typedef struct setting {
    ag_ctx *ctx;
    const option_case *of;
    ag_mha_config config;
    ag_mha *mha;
    ag_module *module;
    ag_tensor *input[INPUTS]; /* x, memory, values, bias; NULL: not given */
    ag_attend with;
} setting;

static ag_tensor *leaf(ag_ctx *ctx, int ndim, const int64_t *shape)
{
    return ag_require_grad(ag_randn(ctx, AG_F64, ndim, shape));
}

static ag_tensor *numbers(ag_ctx *ctx, int64_t rows, int64_t columns, const int32_t *value)
{
    const int64_t shape[] = { rows, columns };
    return ag_from_data(ctx, AG_I32, columns == 0 ? 1 : 2, shape, value);
}

static setting begin_case(const option_case *of)
{
    setting s = { .ctx = test_begin_serial(), .of = of, .config = of->config };
    ag_ctx *ctx = s.ctx;
    ag_mha_config *c = &s.config;
    c->emb_size = 6;
    c->num_heads = c->num_heads == 0 ? 2 : c->num_heads;
    c->head_size = 4;
    c->dtype = AG_F64;
    s.mha = ag_mha_new(ctx, *c);
    assert_no_error(ctx);
    s.module = ag_mha_module(s.mha);
    test_fill_params(s.module, 0.6);
    int64_t S = of->S > 0 ? of->S : T;
    s.input[0] = leaf(ctx, AG_SHAPE(B, T, 6));
    if (of->S > 0)
        s.input[1] = leaf(ctx, AG_SHAPE(B, S, c->key_size == 0 ? 6 : c->key_size));
    if (of->values)
        s.input[2] = leaf(ctx, AG_SHAPE(B, S, c->value_size == 0 ? 6 : c->value_size));
    if (of->bias)
        s.input[3] = leaf(ctx, AG_SHAPE(B, c->num_heads, T, S));
    if (of->shared_bias)
        s.input[3] = leaf(ctx, AG_SHAPE(1, T, S));
    s.with = (ag_attend){ .memory = s.input[1], .values = s.input[2], .bias = s.input[3], .mask = of->mask };
    if (of->positions)
        s.with.positions = numbers(ctx, B, T, (const int32_t[]){ 0, 1, 2, 0, 1, 7, 300, 9, 2, 3 });
    if (of->key_lengths)
        s.with.mask.key_lengths = numbers(ctx, B, 0, (const int32_t[]){ 4, 0 });
    if (of->documents)
        s.with.mask.query_documents = s.with.mask.key_documents =
            numbers(ctx, 1, T, (const int32_t[]){ 1, 1, 2, 2, 2 });
    if (of->blocks) {
        s.with.mask.blocks = numbers(ctx, 3, 3, (const int32_t[]){ 1, 0, 1, 0, 1, 0, 0, 0, 0 });
        s.with.mask.block_size = 2;
    }
    return s;
}

static void end_case(setting *s)
{
    ag_mha_free(s->mha);
    test_end(s->ctx);
}

/* ---- The same of plain ops ---- */

static ag_tensor *project(const ag_module *module, const char *name, ag_tensor *x, int64_t heads, int64_t size)
{
    char weight[32], bias[32];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    ag_tensor *y = ag_linear(x, test_param(module, weight), ag_module_find(module, bias));
    return ag_transpose(ag_reshape(y, AG_SHAPE(ag_dim(x, 0), ag_dim(x, 1), heads, size)), 1, 2);
}

/* x / sqrt(mean(x^2) + 1e-6) w */
static ag_tensor *normed(ag_tensor *x, ag_tensor *w, double eps)
{
    ag_tensor *mean = ag_add_scalar(ag_mean(ag_mul(x, x), AG_DIMS(-1), true), eps > 0 ? eps : 1e-6);
    return ag_mul(ag_mul(x, ag_pow(mean, -0.5)), w);
}

/* x cos + (x J) sin, J the quarter turn of each pair. */
static ag_tensor *turned(ag_tensor *x, const ag_rope_config *rope, const ag_tensor *positions)
{
    ag_ctx *ctx = ag_ctx_of(x);
    int64_t D = ag_dim(x, 3), R = rope->size == 0 ? D : rope->size, length = ag_dim(x, 2);
    double theta = rope->theta == 0 ? 10000 : rope->theta, factor = rope->scaling == AG_ROPE_LINEAR ? rope->factor : 1;
    ag_tensor *J = ag_zeros(ctx, AG_F64, AG_SHAPE(D, D)), *cosines = ag_full(ctx, AG_F64, AG_SHAPE(B, 1, length, D), 1);
    ag_tensor *sines = ag_zeros(ctx, AG_F64, AG_SHAPE(B, 1, length, D));
    for (int64_t n = 0; n < R / 2; n++) {
        bool halves = rope->pairing == AG_ROPE_HALVES;
        int64_t c = halves ? n : 2 * n, other = halves ? n + R / 2 : 2 * n + 1;
        ag_set(J, (const int64_t[]){ other, c }, -1);
        ag_set(J, (const int64_t[]){ c, other }, 1);
        for (int64_t b = 0; b < B; b++)
            for (int64_t t = 0; t < length; t++) {
                double p = positions == NULL ? (double)t : test_at(positions, b * length + t);
                double angle = p * pow(theta, -2.0 * (double)n / (double)R) / factor;
                for (int i = 0; i < 2; i++) {
                    ag_set(cosines, (const int64_t[]){ b, 0, t, i == 0 ? c : other }, cos(angle));
                    ag_set(sines, (const int64_t[]){ b, 0, t, i == 0 ? c : other }, sin(angle));
                }
            }
    }
    return ag_add(ag_mul(x, cosines), ag_mul(ag_matmul(x, J), sines));
}

/* Each of the Hk heads for H / Hk heads in a row. */
static ag_tensor *repeated(ag_tensor *x, int64_t H)
{
    int64_t Hk = ag_dim(x, 1), S = ag_dim(x, 2), D = ag_dim(x, 3);
    ag_tensor *wide = ag_expand(ag_unsqueeze(x, 2), AG_SHAPE(B, Hk, H / Hk, S, D));
    return ag_reshape(wide, AG_SHAPE(B, H, S, D));
}

/* What distance adds, [H,T,S]; query i stands at i + offset. NULL: nothing. */
static ag_tensor *of_distance(const setting *s, int64_t S)
{
    static const double slopes[2][3] = { { 1.0 / 256 }, { 1.0 / 16, 1.0 / 256, 1.0 / 4 } };
    ag_ctx *ctx = s->ctx;
    int64_t offset = s->of->mask.offset, R = s->config.attention.relative, H = s->config.num_heads;
    if (s->config.attention.alibi) {
        ag_tensor *t = ag_zeros(ctx, AG_F64, AG_SHAPE(H, T, S));
        for (int64_t i = 0; i < H * T * S; i++) {
            int64_t h = i / S / T, p = i / S % T + offset, j = i % S;
            ag_set(t, (const int64_t[]){ h, i / S % T, j }, -slopes[H == 3][h] * fabs((double)(j - p)));
        }
        return t;
    }
    if (R == 0)
        return NULL;
    ag_tensor *index = ag_zeros(ctx, AG_I32, AG_SHAPE(T, S));
    for (int64_t i = 0; i < T; i++)
        for (int64_t j = 0; j < S; j++) {
            int64_t d = j - i - offset;
            ag_set(index, (const int64_t[]){ i, j }, (double)((d < -R ? -R : d > R ? R : d) + R));
        }
    ag_tensor *rows = ag_transpose(test_param(s->module, "relative"), 0, 1);
    return ag_permute(ag_embedding(ag_contiguous(rows), index), (const int[]){ 2, 0, 1 });
}

/* The layer's output, and its weights. */
static ag_tensor *compose(const setting *s, ag_tensor **weights)
{
    const ag_mha_config *c = &s->config;
    const ag_attention_options *o = &c->attention;
    int64_t H = c->num_heads, Hk = o->kv_heads == 0 ? H : o->kv_heads, D = c->head_size;
    int64_t Dv = c->value_head_size == 0 ? D : c->value_head_size;
    ag_tensor *x = s->input[0], *keys = s->input[1] == NULL ? x : s->input[1];
    ag_tensor *values = s->input[2] == NULL ? keys : s->input[2];
    ag_tensor *q = project(s->module, "q", x, H, D), *k = project(s->module, "k", keys, Hk, D);
    ag_tensor *v = repeated(project(s->module, "v", values, Hk, Dv), H);
    if (o->qk_norm) {
        q = normed(q, test_param(s->module, "q_norm.weight"), o->qk_norm_eps);
        k = normed(k, test_param(s->module, "k_norm.weight"), o->qk_norm_eps);
    }
    if (o->rotary) {
        q = turned(q, &o->rope, s->with.positions);
        k = turned(k, &o->rope, s->with.positions);
    }
    int64_t S = ag_dim(k, 2);
    double scale = o->scale == 0 ? 1 / sqrt((double)D) : o->scale;
    ag_tensor *U = ag_scale(ag_matmul(q, ag_transpose(repeated(k, H), 2, 3)), scale);
    if (o->soft_cap > 0)
        U = ag_scale(ag_tanh(ag_scale(U, 1 / o->soft_cap)), o->soft_cap);
    if (s->input[3] != NULL)
        U = ag_add(U, s->input[3]);
    ag_tensor *distance = of_distance(s, S);
    if (distance != NULL)
        U = ag_add(U, distance);
    ag_mask mask = s->with.mask; /* no case has a field twice */
    mask.causal = !c->non_causal;
    mask.back += o->mask.back;
    mask.global += o->mask.global;
    ag_tensor *allowed = ag_mask_tensor(s->ctx, mask, B, H, T, S);
    ag_tensor *P = ag_softmax(ag_where(allowed, U, ag_full(s->ctx, AG_F64, 4, ag_shape(U), -(double)INFINITY)), -1);
    *weights = P;
    ag_tensor *y = ag_reshape(ag_transpose(ag_matmul(P, v), 1, 2), AG_SHAPE(B, T, H * Dv));
    return ag_linear(y, test_param(s->module, "proj.weight"), ag_module_find(s->module, "proj.bias"));
}

#endif
