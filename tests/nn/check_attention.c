/* SPDX-License-Identifier: MIT
 *
 * check_attention.c - every option of the attention layers against the same attention composed of plain ops, values and
 * all gradients in float64, and against finite differences. Masks of layer and call, positions, weights, errors.
 */
#include "tests/nn/attention_composed.h"

#include <string.h>

typedef enum way { LAYER, LAYER_LOOKED_AT, COMPOSED } way;

/* Gradients of sum(E y) with respect to the parameters and inputs, into grad[]; y cloned. */
static ag_tensor *gradients(const setting *s, way how, const ag_tensor *E, ag_tensor **grad)
{
    ag_tensor *weights = NULL;
    ag_tape *tape = ag_tape_begin(s->ctx);
    ag_tensor *y = how == COMPOSED ? compose(s, &weights) : ag_mha_forward_with(s->mha, s->input[0], s->with);
    if (how == LAYER_LOOKED_AT) {
        ck_assert_ptr_nonnull(ag_mha_weights(s->mha));
        ag_mha_blind_queries(s->mha, NULL);
    }
    ag_backward_from(tape, y, E);
    assert_no_error(s->ctx);
    ag_tensor *kept = ag_retain(ag_detach(y));
    ag_tape_end(tape);
    int64_t params = ag_module_param_count(s->module);
    for (int64_t i = 0; i < params + INPUTS; i++) {
        ag_tensor *t = i < params ? ag_module_param(s->module, i).tensor : s->input[i - params];
        ck_assert(t == NULL || ag_grad(t) != NULL);
        grad[i] = t == NULL ? NULL : ag_tensor_clone(ag_grad(t));
        ag_zero_grad(t);
    }
    ag_tensor *result = ag_tensor_clone(kept);
    ag_release(kept);
    return result;
}

START_TEST(composition)
{
    setting s = begin_case(&cases[_i]);
    ag_tensor *E = ag_randn(s.ctx, AG_F64, AG_SHAPE(B, T, 6)), *got[32], *seen[32], *want[32], *P = NULL;
    ag_tensor *y = gradients(&s, LAYER, E, got);
    assert_close(y, gradients(&s, COMPOSED, E, want), 1e-12, 1e-12);
    assert_same_bits(gradients(&s, LAYER_LOOKED_AT, E, seen), y); /* asking for weights changes nothing */
    for (int64_t i = 0; i < ag_module_param_count(s.module) + INPUTS; i++)
        if (want[i] != NULL) {
            assert_close(got[i], want[i], 1e-11, 1e-11);
            assert_same_bits(seen[i], got[i]);
        }
    assert_same_bits(ag_mha_forward_with(s.mha, s.input[0], s.with), y);
    compose(&s, &P);
    ag_tensor *weights = ag_mha_weights(s.mha);
    assert_close(weights, P, 1e-13, 1e-12);
    const int64_t head = s.config.num_heads - 1, row[] = { 3, 0 };
    ag_tensor *some = ag_mha_weights_of(s.mha, (ag_weights_of){ &head, 1, row, 2 });
    ag_tensor *of_head = ag_tensor_select(weights, 1, head);
    for (int i = 0; i < 2; i++)
        assert_same(ag_tensor_select(ag_tensor_select(some, 1, 0), 1, i), ag_tensor_select(of_head, 1, row[i]));
    assert_same_bits(ag_mha_forward_with(s.mha, s.input[0], s.with), y);
    end_case(&s);
}
END_TEST

static void run(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx, (void)input;
    const setting *s = user;
    output[0] = ag_mha_forward_with(s->mha, s->input[0], s->with);
}

START_TEST(finite_differences)
{
    setting s = begin_case(&cases[_i]);
    ag_tensor *input[INPUTS];
    int count = 0;
    for (int i = 0; i < INPUTS; i++)
        if (s.input[i] != NULL)
            input[count++] = s.input[i];
    ag_gradcheck_result r = ag_module_gradcheck(s.module, run, input, count, &s, (ag_gradcheck_config){ 0 });
    ck_assert_msg(r.verdict == AG_PASS, "%s: %s", s.of->name, r.explanation);
    ck_assert_double_lt(r.max_error, 1e-7);
    end_case(&s);
}
END_TEST

/* Grouped heads are heads whose keys and values are equal. */
START_TEST(grouped_heads_are_repeated_heads)
{
    enum { H = 6, D = 4 };
    ag_ctx *ctx = test_begin();
    for (int64_t groups = 1; groups <= 3; groups++) {
        ag_mha_config config = { .emb_size = 8, .num_heads = H, .head_size = D, .dtype = AG_F64 };
        ag_mha *all = ag_mha_new(ctx, config);
        config.attention.kv_heads = groups;
        ag_mha *grouped = ag_mha_new(ctx, config);
        ag_module *from = ag_mha_module(grouped), *to = ag_mha_module(all);
        test_fill_params(from, 0.5);
        for (int64_t i = 0; i < ag_module_param_count(from); i++) {
            ag_named_tensor p = ag_module_param(from, i);
            ag_tensor *t = test_param(to, p.name);
            bool keys = p.name[0] == 'k' || p.name[0] == 'v';
            for (int64_t h = 0; keys && h < H; h++) {
                int64_t group = h / (H / groups);
                ag_copy_into(ag_tensor_slice(t, 0, h * D, (h + 1) * D, 1),
                             ag_tensor_slice(p.tensor, 0, group * D, (group + 1) * D, 1));
            }
            if (!keys)
                ag_copy_into(t, p.tensor);
        }
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(2, 9, 8));
        assert_close(ag_mha_forward(grouped, x), ag_mha_forward(all, x), 1e-13, 1e-13);
        assert_close(ag_mha_weights(grouped), ag_mha_weights(all), 1e-13, 1e-13);
        ag_mha_free(all);
        ag_mha_free(grouped);
    }
    test_end(ctx);
}
END_TEST

/* ---- Positions ---- */

static ag_mha *new_layer(ag_ctx *ctx, ag_attention_options options)
{
    ag_mha_config config = { .emb_size = 8, .num_heads = 2, .attention = options, .dtype = AG_F64 };
    ag_mha *mha = ag_mha_new(ctx, config);
    assert_no_error(ctx);
    return mha;
}

/* Only differences of positions count. */
START_TEST(rotary_positions_may_shift)
{
    enum { LENGTH = 20 };
    ag_ctx *ctx = test_begin();
    ag_mha *mha = new_layer(ctx, (ag_attention_options){ .rotary = &ag_rotary });
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(1, LENGTH, 8)), *y = ag_tensor_clone(ag_mha_forward(mha, x));
    static const int shift[] = { 0, 1, 255, 256, 1000, 123456, 3 };
    for (int i = 0; i < 7; i++) {
        ag_tensor *positions = ag_arange(ctx, AG_I32, shift[i], 1, LENGTH);
        positions = ag_tensor_reshape(positions, AG_SHAPE(1, LENGTH));
        assert_close(ag_mha_forward_with(mha, x, (ag_attend){ .positions = positions }), y, 1e-9, 0);
    }
    /* Stretching them is something else: positions are looked at. */
    ag_tensor *wide = ag_tensor_reshape(ag_arange(ctx, AG_I32, 0, 2, LENGTH), AG_SHAPE(1, LENGTH));
    ag_tensor *other = ag_mha_forward_with(mha, x, (ag_attend){ .positions = wide });
    ck_assert_double_gt(fabs(test_at(other, LENGTH * 8 - 1) - test_at(y, LENGTH * 8 - 1)), 1e-3);
    assert_same_bits(ag_mha_forward(mha, x), y); /* the table has come back */
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

/* Without max_seq_len any length, and each prefix as it is alone: tables grow without changing. */
START_TEST(any_length)
{
    static const ag_attention_options options[] = {
        { .kv_heads = 2 }, { .rotary = &ag_rotary }, { .alibi = &ag_alibi_bias }, { .relative = 3 },
        { .rotary = &ag_rotary, .mask.back = 50 }
    };
    static const int64_t length[] = { 3, 700, 65, 256, 257, 1 };
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < 5; i++) {
        ag_mha *mha = new_layer(ctx, options[i]);
        test_fill_params(ag_mha_module(mha), 0.5);
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(1, 700, 8));
        ag_mha *fresh = new_layer(ctx, options[i]);
        test_copy_params(ag_mha_module(fresh), ag_mha_module(mha));
        ag_tensor *all = ag_mha_forward(fresh, x);
        for (int n = 0; n < 6; n++)
            assert_close(ag_mha_forward(mha, ag_tensor_slice(x, 1, 0, length[n], 1)),
                         ag_tensor_slice(all, 1, 0, length[n], 1), 1e-13, 1e-12);
        ag_mha_free(mha);
        ag_mha_free(fresh);
    }
    test_end(ctx);
}
END_TEST

/* The table of alibi goes as far as any key lies from its query: as a bias of all distances. */
START_TEST(alibi_reaches_every_key)
{
    static const double slopes[] = { 1.0 / 16, 1.0 / 256 };
    static const struct {
        int64_t Tq, Tk;
        ag_mask mask;
        int64_t shift; /* of query 0 */
    } calls[] = { { 20, 20, { 0 }, 0 }, { 3, 300, { .align = AG_BOTTOM_RIGHT }, 297 }, { 200, 2, { 0 }, 0 },
                  { 2, 150, { 0 }, 0 }, { 2, 9, { .offset = -500 }, -500 }, { 2, 9, { .offset = 1500 }, 1500 } };
    ag_ctx *ctx = test_begin();
    ag_mha_config config = { .emb_size = 8, .num_heads = 2, .non_causal = true, .dtype = AG_F64 };
    ag_mha *plain = ag_mha_new(ctx, config);
    config.attention.alibi = &ag_alibi_bias;
    ag_mha *alibi = ag_mha_new(ctx, config);
    test_copy_params(ag_mha_module(alibi), ag_mha_module(plain));
    for (int n = 0; n < 6; n++) {
        int64_t Tq = calls[n].Tq, Tk = calls[n].Tk;
        ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(1, Tq, 8)), *memory = ag_randn(ctx, AG_F64, AG_SHAPE(1, Tk, 8));
        ag_tensor *bias = ag_zeros(ctx, AG_F64, AG_SHAPE(2, Tq, Tk));
        for (int64_t i = 0; i < 2 * Tq * Tk; i++) {
            int64_t h = i / Tk / Tq, t = i / Tk % Tq, j = i % Tk;
            ag_set(bias, (const int64_t[]){ h, t, j }, -slopes[h] * fabs((double)(j - t - calls[n].shift)));
        }
        ag_tensor *y = ag_mha_forward_with(alibi, x, (ag_attend){ .memory = memory, .mask = calls[n].mask });
        assert_close(y, ag_mha_forward_with(plain, x, (ag_attend){ .memory = memory, .bias = bias }), 1e-13, 1e-12);
    }
    ag_mha_free(plain);
    ag_mha_free(alibi);
    test_end(ctx);
}
END_TEST

/* ---- Masks of layer and call ---- */

/* One field each, and what it needs beside it. */
static ag_mask field_mask(ag_ctx *ctx, int field)
{
    static const int32_t table[] = { 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1 };
    ag_mask m = { 0 };
    switch (field) {
    case 0: m.align = AG_BOTTOM_RIGHT; break;
    case 1: m.offset = 2; break;
    case 2: m.back = 2; break;
    case 3: m.ahead = 2; break;
    case 4: m.stride = 2; break;
    case 5: m.global = 1; m.back = 1; break;
    case 6: m.starts = numbers(ctx, B, 0, (const int32_t[]){ 1, -2 }); break;
    case 7: m.key_lengths = numbers(ctx, B, 0, (const int32_t[]){ 3, 2 }); break;
    case 8:
        m.query_documents = m.key_documents = numbers(ctx, B, T, (const int32_t[]){ 1, 1, 2, 2, 2, 3, 3, 3, 3, 4 });
        break;
    case 9: m.blocks = numbers(ctx, 5, 5, table); m.block_size = 1; break;
    case 10: m.allowed = numbers(ctx, T, T, table); break;
    }
    return m;
}
enum { FIELD_MASKS = 11 };

/* A field means the same from the layer as from the call; from both it is an error that names it. */
START_TEST(masks_of_layer_and_call)
{
    static const char *const named[] = { "align", "offset", "back", "ahead", "stride", "back", "starts", "key_lengths",
                                         "query_documents", "blocks", "allowed" };
    ag_ctx *ctx = test_begin();
    ag_mask mask = field_mask(ctx, _i);
    ag_scope_begin(ctx, NULL); /* the layer keeps the tensors of its mask */
    ag_mask inner = field_mask(ctx, _i);
    bool of_positions = _i == 0 || _i == 1 || _i == 6; /* fields that another one has to look at */
    ag_mha_config config = { .emb_size = 8, .num_heads = 2, .non_causal = !of_positions, .dtype = AG_F64 };
    ag_mha *plain = ag_mha_new(ctx, config);
    config.attention.mask = inner;
    ag_mha *masked = ag_mha_new(ctx, config);
    ag_scope_end(ctx, NULL);
    test_fill_params(ag_mha_module(plain), 0.5);
    test_copy_params(ag_mha_module(masked), ag_mha_module(plain));
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8));
    ag_tensor *memory = _i == 0 ? ag_randn(ctx, AG_F64, AG_SHAPE(B, T + 2, 8)) : NULL; /* align wants two lengths */
    ag_tensor *free_one = ag_tensor_clone(ag_mha_forward_with(plain, x, (ag_attend){ .memory = memory }));
    ag_tensor *want = ag_mha_forward_with(plain, x, (ag_attend){ .memory = memory, .mask = mask });
    ag_tensor *got = ag_mha_forward_with(masked, x, (ag_attend){ .memory = memory });
    assert_same_bits(got, want);
    assert_same(ag_mha_weights(masked), ag_mha_weights(plain));
    double change = 0;
    for (int64_t i = 0; i < ag_numel(want); i++)
        change = fmax(change, fabs(test_at(want, i) - test_at(free_one, i)));
    ck_assert_double_gt(change, 1e-3);
    char text[100];
    snprintf(text, sizeof text, "mha: mask.%s is given by the layer and by this call", named[_i]);
    ck_assert_ptr_null(ag_mha_forward_with(masked, x, (ag_attend){ .memory = memory, .mask = mask }));
    assert_error(ctx, AG_ERR_ARGUMENT, text);
    ag_mha_free(plain);
    ag_mha_free(masked);
    test_end(ctx);
}
END_TEST

START_TEST(masks_of_layer_and_call_add_up)
{
    ag_ctx *ctx = test_begin();
    ag_mha *mha = new_layer(ctx, (ag_attention_options){ .mask.back = 3 });
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8));
    ag_mask call = field_mask(ctx, 8);
    ck_assert_ptr_nonnull(ag_mha_forward_with(mha, x, (ag_attend){ .mask = call }));
    ag_mask both = call;
    both.back = 3;
    both.causal = true;
    ag_tensor *allowed = ag_mask_tensor(ctx, both, B, 2, T, T), *P = ag_mha_weights(mha);
    for (int64_t i = 0; i < ag_numel(P); i++)
        ck_assert((test_at(P, i) > 0) == (test_at(allowed, i) != 0));
    call.causal = true; /* says what the layer says */
    ck_assert_ptr_nonnull(ag_mha_forward_with(mha, x, (ag_attend){ .mask = call }));
    assert_same(ag_mha_weights(mha), P);
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

/* ---- Weights ---- */

/* They are those of the forward that ran, after the optimizer's step too; what has changed since is noticed. */
START_TEST(weights_are_of_the_forward)
{
    ag_ctx *ctx = test_begin();
    ag_mha *mha = new_layer(ctx, (ag_attention_options){ .relative = 2 });
    test_fill_params(ag_mha_module(mha), 0.7);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8)), *bias = ag_randn(ctx, AG_F64, AG_SHAPE(T, T));
    ag_mha_forward_with(mha, x, (ag_attend){ .bias = bias });
    ag_tensor *P = ag_mha_weights(mha);
    test_fill_params(ag_mha_module(mha), 0.7);
    assert_same(ag_mha_weights(mha), P);
    ag_set(bias, (const int64_t[]){ 1, 0 }, 3);
    ck_assert_ptr_null(ag_mha_weights(mha));
    assert_error(ctx, AG_ERR_STATE, "mha: there are no weights: bias, mask or cache have changed since the layer ran");
    ag_tensor *lengths = numbers(ctx, B, 0, (const int32_t[]){ 4, 2 });
    ag_mha_forward_with(mha, x, (ag_attend){ .mask.key_lengths = lengths });
    ck_assert_ptr_nonnull(ag_mha_weights(mha));
    ag_fill(lengths, 3);
    ck_assert_ptr_null(ag_mha_weights(mha));
    assert_error(ctx, AG_ERR_STATE, "have changed");
    ck_assert_int_eq(ag_mha_blind_queries(mha, NULL), 0);
    assert_error(ctx, AG_ERR_STATE, "have changed");
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

static ag_tensor *forward(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count;
    return ag_mha_forward(user, input[0]);
}

/* Queries and keys go, so there are no weights; how many queries saw nothing is still known. */
START_TEST(a_recomputed_layer_keeps_no_queries_and_keys)
{
    ag_ctx *ctx = test_begin();
    ag_mha *mha = new_layer(ctx, (ag_attention_options){ 0 });
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8));
    int64_t where[3];
    for (int recompute = 0; recompute < 2; recompute++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *y = recompute ? ag_recompute(ctx, forward, &x, 1, mha) : ag_mha_forward(mha, x);
        assert_ok(ctx, ag_backward(tape, test_total(y)));
        ag_tape_end(tape);
        if (recompute) {
            ck_assert_ptr_null(ag_mha_weights(mha));
            assert_error(ctx, AG_ERR_STATE, "mha: there are no weights: the layer ran in a function that is");
        } else {
            ck_assert_ptr_nonnull(ag_mha_weights(mha));
        }
        ck_assert_int_eq(ag_mha_blind_queries(mha, where), 0);
        assert_ok(ctx, ag_error(ctx));
        ag_module_zero_grad(ag_mha_module(mha));
    }
    ag_recompute(ctx, forward, &x, 1, mha); /* without a tape nothing runs again */
    ck_assert_ptr_nonnull(ag_mha_weights(mha));
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

START_TEST(blind_queries)
{
    ag_ctx *ctx = test_begin();
    ag_mha *mha = new_layer(ctx, (ag_attention_options){ 0 });
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8));
    int64_t where[3] = { -1, -1, -1 };
    ck_assert_int_eq(ag_mha_blind_queries(mha, where), 0);
    assert_error(ctx, AG_ERR_STATE, "mha: there are no weights: the layer has not run");
    ag_mha_forward(mha, x);
    ck_assert_int_eq(ag_mha_blind_queries(mha, where), 0);
    ck_assert_int_eq(where[0], -1);
    /* Entry 1 begins two positions before the keys: its queries 0 and 1 see nothing, in both heads. */
    ag_tensor *starts = numbers(ctx, B, 0, (const int32_t[]){ 0, -2 });
    ag_tensor *y = ag_mha_forward_with(mha, x, (ag_attend){ .mask.starts = starts });
    ck_assert_int_eq(ag_mha_blind_queries(mha, where), 4);
    ck_assert_int_eq(where[0], 1);
    ck_assert_int_eq(where[1], 0);
    ck_assert_int_eq(where[2], 0);
    ck_assert_int_eq(ag_mha_blind_queries(mha, NULL), 4);
    ag_tensor *blind = ag_tensor_select(ag_tensor_select(y, 0, 1), 0, 1);
    assert_same(blind, test_param(ag_mha_module(mha), "proj.bias"));
    ck_assert_int_eq(ag_mha_blind_queries(NULL, NULL), 0);
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

START_TEST(head_attention_takes_the_options)
{
    ag_ctx *ctx = test_begin();
    ag_attention_options options = { .qk_norm = true, .rotary = &ag_rotary, .soft_cap = 2, .mask.back = 3 };
    ag_head_attention *head = ag_head_attention_new(
        ctx, (ag_head_attention_config){ .emb_size = 8, .head_size = 4, .attention = options, .dtype = AG_F64 });
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = 8, .num_heads = 1, .head_size = 4, .attention = options,
                                                   .dtype = AG_F64 });
    test_param_list(ag_head_attention_module(head), "q.weight [4,8]|q.bias [4]|k.weight [4,8]|k.bias [4]|"
                                                    "v.weight [4,8]|v.bias [4]|q_norm.weight [4]|k_norm.weight [4]");
    test_fill_params(ag_mha_module(mha), 0.6);
    test_copy_params(ag_head_attention_module(head), ag_mha_module(mha));
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8));
    ag_attend with = { .mask.key_lengths = numbers(ctx, B, 0, (const int32_t[]){ 4, 2 }) };
    ag_tensor *o = ag_head_attention_forward_with(head, x, with), *y = ag_mha_forward_with(mha, x, with);
    ag_module *module = ag_mha_module(mha);
    assert_close(ag_linear(o, test_param(module, "proj.weight"), test_param(module, "proj.bias")), y, 1e-14, 1e-14);
    const int64_t row = 2, first = 0;
    ag_tensor *weights = ag_head_attention_weights_of(head, (ag_weights_of){ .rows = &row, .row_count = 1 });
    assert_same(weights, ag_tensor_slice(ag_head_attention_weights(head), 1, 2, 3, 1));
    assert_same(ag_head_attention_weights(head), ag_tensor_select(ag_mha_weights(mha), 1, 0));
    ck_assert_ptr_null(ag_head_attention_weights_of(head, (ag_weights_of){ .heads = &first, .head_count = 1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "head_attention: heads are chosen, and there is one head");
    ck_assert_ptr_null(ag_head_attention_forward_with(NULL, x, with));
    ck_assert_ptr_null(ag_head_attention_weights_of(NULL, (ag_weights_of){ 0 }));
    ag_head_attention_free(head);
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

/* Options add parameters behind the projections that all have, and draw nothing. */
START_TEST(parameters)
{
    ag_ctx *ctx = test_begin();
    ag_mha_config config = { .emb_size = 6, .num_heads = 4, .head_size = 3, .key_size = 5, .value_size = 7,
                             .value_head_size = 2, .no_bias = true,
                             .attention = { .kv_heads = 2, .qk_norm = true, .relative = 2 } };
    ag_rng rng = ag_rng_get(ctx);
    ag_mha *mha = ag_mha_new(ctx, config);
    test_param_list(ag_mha_module(mha), "q.weight [12,6]|k.weight [6,5]|v.weight [4,7]|q_norm.weight [3]|"
                                        "k_norm.weight [3]|relative [4,5]|proj.weight [6,8]");
    ag_tensor *relative = test_param(ag_mha_module(mha), "relative");
    assert_same(relative, ag_zeros(ctx, AG_F32, 2, ag_shape(relative)));
    ag_rng_set(ctx, rng);
    config.attention.qk_norm = false;
    config.attention.relative = 0;
    ag_mha *plain = ag_mha_new(ctx, config);
    for (int64_t i = 0; i < ag_module_param_count(ag_mha_module(plain)); i++) {
        ag_named_tensor p = ag_module_param(ag_mha_module(plain), i);
        assert_same(test_param(ag_mha_module(mha), p.name), p.tensor);
    }
    ag_mha_free(mha);
    ag_mha_free(plain);
    test_end(ctx);
}
END_TEST

/* ---- Errors ---- */

START_TEST(config_errors)
{
    static const struct {
        ag_attention_options options;
        bool non_causal;
        const char *message;
    } wrong[] = {
        { { .kv_heads = 3 }, false, "mha: kv_heads is 3, must divide num_heads 4" },
        { { .kv_heads = -1 }, false, "mha: kv_heads is -1" },
        { { .scale = -1 }, false, "mha: scale is -1" },
        { { .soft_cap = (double)INFINITY }, false, "mha: soft_cap is inf" },
        { { .relative = -2 }, false, "mha: relative is -2" },
        { { .alibi = &ag_alibi_bias, .relative = 4 }, false, "mha: alibi is set, and relative is 4; only one can be" },
        { { .mask.causal = true }, true, "mha: mask.causal and non_causal are both set" },
        { { .rotary = &ag_rotary, .rope.size = 3 }, false, "rope_table: size is 3" },
    };
    ag_ctx *ctx = test_begin();
    ag_mha_config config = { .emb_size = 8, .num_heads = 4 };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        config.attention = wrong[i].options;
        config.non_causal = wrong[i].non_causal;
        ck_assert_ptr_null(ag_mha_new(ctx, config));
        assert_error(ctx, AG_ERR_ARGUMENT, wrong[i].message);
    }
    const ag_mha_config sizes[] = { { .emb_size = 8, .num_heads = 4, .key_size = -1 },
                                    { .emb_size = 8, .num_heads = 4, .value_size = -1 },
                                    { .emb_size = 8, .num_heads = 4, .value_head_size = -1 } };
    static const char *const named[] = { "mha: key_size is -1", "mha: value_size is -1", "mha: value_head_size is -1" };
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_null(ag_mha_new(ctx, sizes[i]));
        assert_error(ctx, AG_ERR_ARGUMENT, named[i]);
    }
    test_end(ctx);
}
END_TEST

static void refused(ag_mha *mha, ag_tensor *x, ag_attend with, ag_status status, const char *message)
{
    ck_assert_ptr_null(ag_mha_forward_with(mha, x, with));
    assert_error(ag_ctx_of(x), status, message);
    ck_assert_ptr_null(ag_mha_weights(mha));
    assert_error(ag_ctx_of(x), AG_ERR_STATE, "has not run");
}

START_TEST(call_errors)
{
    ag_ctx *ctx = test_begin();
    ag_mha *plain = new_layer(ctx, (ag_attention_options){ 0 });
    ag_mha *rotary = new_layer(ctx, (ag_attention_options){ .rotary = &ag_rotary });
    ag_mha *alibi = new_layer(ctx, (ag_attention_options){ .alibi = &ag_alibi_bias });
    ag_mha *sizes = ag_mha_new(ctx, (ag_mha_config){ .emb_size = 8, .num_heads = 2, .key_size = 3, .value_size = 5,
                                                     .dtype = AG_F64 });
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, T, 8)), *other = ag_randn(ctx, AG_F64, AG_SHAPE(B, 7, 3));
    ag_tensor *positions = ag_zeros(ctx, AG_I32, AG_SHAPE(B, T));
    refused(plain, ag_tensor_slice(x, 2, 0, 7, 1), (ag_attend){ 0 }, AG_ERR_SHAPE,
            "mha: x is [2,5,7], must be [B,T,8]");
    refused(plain, x, (ag_attend){ .memory = other }, AG_ERR_SHAPE, "mha: memory is [2,7,3], must be [2,S,8]");
    refused(plain, x, (ag_attend){ .memory = ag_tensor_slice(x, 0, 0, 1, 1) }, AG_ERR_SHAPE,
            "mha: memory is [1,5,8], must be [2,S,8]");
    refused(sizes, x, (ag_attend){ 0 }, AG_ERR_SHAPE,
            "mha: without memory keys come from x, which is [2,5,8], must be [2,S,3]");
    refused(sizes, x, (ag_attend){ .memory = other }, AG_ERR_SHAPE, "mha: values are made of [2,7,3], must be [2,7,5]");
    refused(sizes, x, (ag_attend){ .memory = other, .values = ag_zeros(ctx, AG_F64, AG_SHAPE(B, 6, 5)) }, AG_ERR_SHAPE,
            "mha: values are made of [2,6,5], must be [2,7,5]");
    refused(plain, x, (ag_attend){ .positions = positions }, AG_ERR_ARGUMENT,
            "mha: positions are given, and the layer is not rotary");
    refused(plain, x, (ag_attend){ .counts = (const int64_t[]){ 1, 1 } }, AG_ERR_ARGUMENT,
            "mha: counts are given without a cache");
    refused(plain, x, (ag_attend){ .mask.back = -1 }, AG_ERR_ARGUMENT, "mask.back is -1");
    refused(plain, x, (ag_attend){ .bias = ag_zeros(ctx, AG_F64, AG_SHAPE(3, T)) }, AG_ERR_SHAPE, "[3,5]");
    refused(rotary, x, (ag_attend){ .memory = x }, AG_ERR_ARGUMENT,
            "mha: rotary positions are those of one sequence; memory and values are not supported");
    refused(rotary, x, (ag_attend){ .positions = ag_tensor_slice(positions, 1, 0, 4, 1) }, AG_ERR_SHAPE,
            "mha: positions are [2,4], must be [2,5]");
    refused(rotary, x, (ag_attend){ .positions = ag_zeros(ctx, AG_F64, AG_SHAPE(B, T)) }, AG_ERR_DTYPE,
            "mha: positions are float64, must be int32");
    ag_set(positions, (const int64_t[]){ 1, 2 }, -3);
    refused(rotary, x, (ag_attend){ .positions = positions }, AG_ERR_INDEX, "mha: positions[1,2] is -3");
    refused(alibi, x, (ag_attend){ .mask.offset = INT32_MAX }, AG_ERR_ARGUMENT, "alibi reaches 2147483647");
    ck_assert_ptr_null(ag_mha_forward_with(NULL, x, (ag_attend){ 0 }));
    ck_assert_ptr_null(ag_mha_forward_with(plain, NULL, (ag_attend){ 0 }));
    ck_assert_ptr_null(ag_mha_weights_of(NULL, (ag_weights_of){ 0 }));
    ag_mha *const layers[] = { plain, rotary, alibi, sizes };
    for (int i = 0; i < 4; i++)
        ag_mha_free(layers[i]);
    test_end(ctx);
}
END_TEST

Suite *attention_suite(void)
{
    Suite *suite = suite_create("attention");
    TCase *tcase = tcase_create("attention");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, composition, 0, CASES);
    tcase_add_loop_test(tcase, finite_differences, 0, CASES);
    tcase_add_test(tcase, grouped_heads_are_repeated_heads);
    tcase_add_test(tcase, rotary_positions_may_shift);
    tcase_add_test(tcase, any_length);
    tcase_add_test(tcase, alibi_reaches_every_key);
    tcase_add_loop_test(tcase, masks_of_layer_and_call, 0, FIELD_MASKS);
    tcase_add_test(tcase, masks_of_layer_and_call_add_up);
    tcase_add_test(tcase, weights_are_of_the_forward);
    tcase_add_test(tcase, blind_queries);
    tcase_add_test(tcase, a_recomputed_layer_keeps_no_queries_and_keys);
    tcase_add_test(tcase, head_attention_takes_the_options);
    tcase_add_test(tcase, parameters);
    tcase_add_test(tcase, config_errors);
    tcase_add_test(tcase, call_errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
