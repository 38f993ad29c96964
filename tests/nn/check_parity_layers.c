/* SPDX-License-Identifier: MIT
 *
 * check_parity_layers.c - attention layers, blocks and models against torch.nn's, and positions against published
 * formulas, from the files that make_attention_layer_fixtures.py wrote. Values and all gradients, in float64 and
 * float32.
 *
 * Inputs of layers are named x, x_memory, x_values, x_bias; masks by their names in autograd.h. A case that the tables
 * here do not know fails the suite.
 */
#include "tests/parity.h"

/* ---- Inputs and gradients of any layer ---- */

enum { INPUTS = 4 };
static const char *const input_name[INPUTS] = { "x", "x_memory", "x_values", "x_bias" };

typedef struct inputs {
    ag_tensor *leaf[INPUTS]; /* NULL: the case has none */
} inputs;

static inputs read_inputs(const parity *p)
{
    inputs in = { { NULL } };
    for (int i = 0; i < INPUTS; i++)
        if (parity_has(p, input_name[i]))
            in.leaf[i] = parity_leaf(p, input_name[i]);
    return in;
}

/* Whether y is right, and the gradients of all inputs and parameters. module may be NULL. */
static void check_output(const parity *p, ag_tape *tape, ag_tensor *y, const inputs *in, ag_module *module)
{
    parity_expect(p, "y", y);
    ck_assert_int_eq(ag_backward_from(tape, y, parity_given(p, "gy")), AG_OK);
    ag_tape_end(tape);
    for (int i = 0; i < INPUTS; i++)
        if (in->leaf[i] != NULL)
            parity_expect_grad(p, input_name[i], in->leaf[i]);
    if (module != NULL)
        parity_expect_param_grads(p, module);
}

/* NULL: the case has none. */
static ag_tensor *optional(const parity *p, const char *name)
{
    return parity_has(p, name) ? parity_stored(p, name) : NULL;
}

/* ---- nn.MultiheadAttention, and mha with what it has not ---- */

enum { EMB = 4, HEADS = 2 };

static const struct {
    const char *name;
    ag_mha_config config; /* of the composed ones; else what differs from EMB, HEADS, non_causal */
} mha_cases[] = {
    { .name = "mha_self", .config = { .non_causal = true } },
    { .name = "mha_self_no_bias", .config = { .non_causal = true, .no_bias = true } },
    { .name = "mha_self_causal" },
    { .name = "mha_self_lengths", .config = { .non_causal = true } },
    { .name = "mha_self_padding", .config = { .non_causal = true } },
    { .name = "mha_self_allowed", .config = { .non_causal = true } },
    { .name = "mha_self_causal_lengths" },
    { .name = "mha_self_bias", .config = { .non_causal = true } },
    { .name = "mha_self_bias_per_head", .config = { .non_causal = true } },
    { .name = "mha_cross", .config = { .non_causal = true } },
    { .name = "mha_cross_sizes", .config = { .non_causal = true, .key_size = 3, .value_size = 5 } },
    { .name = "mha_cross_sizes_no_bias",
      .config = { .non_causal = true, .no_bias = true, .key_size = 5, .value_size = 3 } },
    { .name = "mha_cross_lengths", .config = { .non_causal = true, .key_size = 3, .value_size = 4 } },
    { .name = "mha_cross_allowed", .config = { .non_causal = true } },
    { .name = "mha_cross_bias", .config = { .non_causal = true } },
#define COMPOSED .emb_size = 3, .num_heads = 4, .head_size = 4, .no_bias = true
    { .name = "composed_grouped_rotary", .config = { COMPOSED, .attention = { .kv_heads = 2, .rotary = &ag_rotary } } },
    { .name = "composed_multi_query_rotary",
      .config = { COMPOSED, .attention = { .kv_heads = 1, .qk_norm = true, .rotary = &ag_rotary,
                                           .rope.pairing = AG_ROPE_NEIGHBOURS } } },
    { .name = "composed_alibi", .config = { COMPOSED, .attention.alibi = &ag_alibi_bias } },
    { .name = "composed_relative", .config = { COMPOSED, .attention = { .kv_heads = 2, .relative = 3 } } },
    { .name = "composed_norm", .config = { COMPOSED, .attention.qk_norm = true } },
#undef COMPOSED
};
enum { MHA_CASES = sizeof mha_cases / sizeof *mha_cases };

START_TEST(test_mha)
{
    int i = _i / 2;
    parity p = parity_begin("attention_layers", mha_cases[i].name, _i % 2);
    ag_mha_config config = mha_cases[i].config;
    config.dtype = p.dtype;
    if (config.emb_size == 0) {
        config.emb_size = EMB;
        config.num_heads = HEADS;
    }
    ag_mha *layer = ag_mha_new(p.ctx, config);
    parity_load_params(&p, ag_mha_module(layer));
    inputs in = read_inputs(&p);
    ag_attend with = { .memory = in.leaf[1], .values = in.leaf[2], .bias = in.leaf[3] };
    with.mask.key_lengths = optional(&p, "key_lengths");
    with.mask.allowed = optional(&p, "allowed");
    ag_tape *tape = ag_tape_begin(p.ctx);
    ag_tensor *y = ag_mha_forward_with(layer, in.leaf[0], with);
    if (parity_has(&p, "weights"))
        parity_expect(&p, "weights", ag_mha_weights(layer));
    check_output(&p, tape, y, &in, ag_mha_module(layer));
    ag_mha_free(layer);
    parity_end(&p);
}
END_TEST

/* ---- nn.TransformerEncoderLayer, nn.TransformerDecoderLayer ---- */

static const struct {
    const char *name;
    bool decoder, post_norm;
    ag_activation activation;
} block_cases[] = {
    { "encoder_pre_relu", false, false, AG_RELU },  { "encoder_pre_gelu", false, false, AG_GELU },
    { "encoder_post_relu", false, true, AG_RELU },  { "encoder_post_gelu", false, true, AG_GELU },
    { "decoder_pre_relu", true, false, AG_RELU },   { "decoder_pre_gelu", true, false, AG_GELU },
    { "decoder_post_relu", true, true, AG_RELU },   { "decoder_post_gelu", true, true, AG_GELU },
};
enum { BLOCK_CASES = sizeof block_cases / sizeof *block_cases };

START_TEST(test_block)
{
    int i = _i / 2;
    bool decoder = block_cases[i].decoder;
    parity p = parity_begin("attention_layers", block_cases[i].name, _i % 2);
    ag_block *block = ag_block_new(p.ctx, (ag_block_config){
        .emb_size = EMB, .num_heads = HEADS, .ff_size = 5, .activation = block_cases[i].activation,
        .post_norm = block_cases[i].post_norm, .non_causal = !decoder, .cross = decoder, .dtype = p.dtype });
    parity_load_params(&p, ag_block_module(block));
    inputs in = read_inputs(&p);
    ag_block_inputs with = { .memory = in.leaf[1] };
    with.attn.mask.key_lengths = parity_stored(&p, "key_lengths");
    with.memory_mask.key_lengths = optional(&p, "memory_lengths");
    ag_tape *tape = ag_tape_begin(p.ctx);
    check_output(&p, tape, ag_block_forward_with(block, in.leaf[0], with), &in, ag_block_module(block));
    ag_block_free(block);
    parity_end(&p);
}
END_TEST

/* ---- nn.TransformerEncoder and nn.TransformerDecoder, between embeddings and a head ---- */

static const struct {
    const char *name;
    ag_transformer_config config; /* of both halves */
} translator_cases[] = {
    { "translator_pre", .config = { .num_layers = 2, .activation = AG_GELU, .positions = AG_POSITIONS_SINUSOIDAL } },
    { "translator_post",
      .config = { .num_layers = 1, .activation = AG_RELU, .post_norm = true, .untied_head = true } },
};
enum { TRANSLATOR_CASES = sizeof translator_cases / sizeof *translator_cases };

START_TEST(test_translator)
{
    int i = _i / 2;
    parity p = parity_begin("attention_layers", translator_cases[i].name, _i % 2);
    ag_encoder_decoder_config config = { .encoder = translator_cases[i].config, .decoder = translator_cases[i].config };
    ag_transformer_config *half[] = { &config.encoder, &config.decoder };
    for (int h = 0; h < 2; h++) {
        half[h]->emb_size = 6;
        half[h]->num_heads = HEADS;
        half[h]->ff_size = 5;
        half[h]->dtype = p.dtype;
        half[h]->vocab_size = h == 0 ? 7 : 9;
        half[h]->max_seq_len = h == 0 ? 6 : 5;
    }
    config.encoder.untied_head = false;
    ag_encoder_decoder *model = ag_encoder_decoder_new(p.ctx, config);
    parity_load_params(&p, ag_encoder_decoder_module(model));
    inputs in = read_inputs(&p);
    ag_tape *tape = ag_tape_begin(p.ctx);
    ag_tensor *logits = ag_encoder_decoder_forward(model, parity_stored(&p, "source"), parity_stored(&p, "lengths"),
                                                   parity_stored(&p, "target"));
    check_output(&p, tape, logits, &in, ag_encoder_decoder_module(model));
    ag_encoder_decoder_free(model);
    parity_end(&p);
}
END_TEST

/* ---- RMS norm, feed-forward ---- */

static const struct {
    const char *name;
    double eps;
} norm_cases[] = { { "rms_norm", 0 }, { "rms_norm_eps", 0.1 } };
enum { NORM_CASES = sizeof norm_cases / sizeof *norm_cases };

START_TEST(test_rms_norm)
{
    parity p = parity_begin("attention_layers", norm_cases[_i / 2].name, _i % 2);
    ag_rms_norm_layer *layer = ag_rms_norm_new(
        p.ctx, (ag_rms_norm_config){ .size = 7, .eps = norm_cases[_i / 2].eps, .dtype = p.dtype });
    parity_load_params(&p, ag_rms_norm_module(layer));
    inputs in = read_inputs(&p);
    ag_tape *tape = ag_tape_begin(p.ctx);
    check_output(&p, tape, ag_rms_norm_forward(layer, in.leaf[0]), &in, ag_rms_norm_module(layer));
    ag_rms_norm_free(layer);
    parity_end(&p);
}
END_TEST

START_TEST(test_rms_norm_plain)
{
    parity p = parity_begin("attention_layers", "rms_norm_plain", _i);
    inputs in = read_inputs(&p);
    ag_tape *tape = ag_tape_begin(p.ctx);
    check_output(&p, tape, ag_rms_norm(in.leaf[0], NULL, 1e-5), &in, NULL);
    parity_end(&p);
}
END_TEST

static const struct {
    const char *name;
    ag_feed_forward_config config;
} ff_cases[] = {
    { "ff_swiglu", .config = { .activation = AG_SILU, .gated = true, .no_bias = true } },
    { "ff_geglu", .config = { .activation = AG_GELU, .gated = true } },
    { "ff_relu", .config = { .activation = AG_RELU } },
};
enum { FF_CASES = sizeof ff_cases / sizeof *ff_cases };

START_TEST(test_feed_forward)
{
    parity p = parity_begin("attention_layers", ff_cases[_i / 2].name, _i % 2);
    ag_feed_forward_config config = ff_cases[_i / 2].config;
    config.emb_size = 5;
    config.ff_size = 7;
    config.dtype = p.dtype;
    ag_feed_forward *layer = ag_feed_forward_new(p.ctx, config);
    parity_load_params(&p, ag_feed_forward_module(layer));
    inputs in = read_inputs(&p);
    ag_tape *tape = ag_tape_begin(p.ctx);
    check_output(&p, tape, ag_feed_forward_forward(layer, in.leaf[0]), &in, ag_feed_forward_module(layer));
    ag_feed_forward_free(layer);
    parity_end(&p);
}
END_TEST

START_TEST(test_layer_cases_complete)
{
    ck_assert_int_eq(parity_count("attention_layers", "/y"),
                     MHA_CASES + BLOCK_CASES + TRANSLATOR_CASES + NORM_CASES + 1 + FF_CASES);
    ck_assert_int_eq(parity_count("attention_layers", "/weights"), 15);
}
END_TEST

/* ---- Positions ---- */

static const struct {
    const char *name;
    int64_t first;
    ag_rope_config config;
} rope_cases[] = {
    { "rope_halves", 0, { .pairing = AG_ROPE_HALVES } },
    { "rope_neighbours", 0, { .pairing = AG_ROPE_NEIGHBOURS } },
    { "rope_halves_partial", 0, { .pairing = AG_ROPE_HALVES, .size = 4 } },
    { "rope_neighbours_partial", 0, { .pairing = AG_ROPE_NEIGHBOURS, .size = 4 } },
    { "rope_theta", 0, { .pairing = AG_ROPE_HALVES, .theta = 500 } },
    { "rope_first", 9, { .pairing = AG_ROPE_NEIGHBOURS } },
    { "rope_positions", 0, { .pairing = AG_ROPE_HALVES } },
    { "rope_linear", 0, { .pairing = AG_ROPE_HALVES, .scaling = AG_ROPE_LINEAR, .factor = 4 } },
    { "rope_ntk", 0, { .pairing = AG_ROPE_NEIGHBOURS, .scaling = AG_ROPE_NTK, .factor = 4 } },
    { "rope_llama3", 0,
      { .pairing = AG_ROPE_HALVES, .scaling = AG_ROPE_LLAMA3, .factor = 8, .original_len = 64 } },
    { "rope_llama3_bounds", 0,
      { .pairing = AG_ROPE_NEIGHBOURS, .scaling = AG_ROPE_LLAMA3, .factor = 4, .low_freq = 0.5, .high_freq = 3,
        .original_len = 100 } },
    { "rope_yarn", 0, { .pairing = AG_ROPE_HALVES, .scaling = AG_ROPE_YARN, .factor = 4, .original_len = 64 } },
    { "rope_yarn_partial", 0,
      { .pairing = AG_ROPE_HALVES, .size = 12, .scaling = AG_ROPE_YARN, .factor = 8, .original_len = 4096 } },
};
enum { ROPE_CASES = sizeof rope_cases / sizeof *rope_cases };

START_TEST(test_rope)
{
    int i = _i / 2;
    parity p = parity_begin("positions", rope_cases[i].name, _i % 2);
    ag_rope_config config = rope_cases[i].config;
    inputs in = read_inputs(&p);
    ag_tensor *want = parity_stored(&p, "table");
    ag_tensor *table =
        ag_rope_table(p.ctx, p.dtype, config, ag_dim(in.leaf[0], 3), rope_cases[i].first, ag_dim(want, 0));
    parity_expect_tensor(&p, "table", table, want);
    ag_tape *tape = ag_tape_begin(p.ctx);
    ag_tensor *y = ag_rope(in.leaf[0], table, optional(&p, "positions"), config.pairing);
    check_output(&p, tape, y, &in, NULL);
    parity_end(&p);
}
END_TEST

START_TEST(test_sinusoidal)
{
    parity p = parity_begin("positions", "sinusoidal", _i);
    parity_expect(&p, "y", ag_sinusoidal(p.ctx, p.dtype, 0, 6, 8));
    p.name = "sinusoidal_first";
    parity_expect(&p, "y", ag_sinusoidal(p.ctx, p.dtype, 4, 5, 6));
    parity_end(&p);
}
END_TEST

enum { SLOPE_CASES = 6 };

START_TEST(test_alibi_slopes)
{
    static const int64_t heads[SLOPE_CASES] = { 1, 2, 3, 6, 8, 12 };
    parity p = parity_begin("positions", "", _i);
    for (int i = 0; i < SLOPE_CASES; i++) {
        char name[PARITY_NAME];
        snprintf(name, sizeof name, "alibi_slopes_%d", (int)heads[i]);
        p.name = name;
        parity_expect(&p, "y", ag_alibi_slopes(p.ctx, p.dtype, heads[i]));
    }
    parity_end(&p);
}
END_TEST

static const struct {
    const char *name;
    int64_t buckets, max_distance;
    bool bidirectional;
} bucket_cases[] = {
    { "buckets_t5", 32, 128, true },
    { "buckets_t5_causal", 32, 128, false },
    { "buckets_small", 6, 7, true },
    { "buckets_small_causal", 5, 7, false },
};
enum { BUCKET_CASES = sizeof bucket_cases / sizeof *bucket_cases };

/* A table that holds its own row numbers gives the number of each distance's bucket. */
START_TEST(test_buckets)
{
    parity p = parity_begin("positions", bucket_cases[_i].name, 0);
    double number[32];
    for (int b = 0; b < 32; b++)
        number[b] = b;
    ag_tensor *want = parity_stored(&p, "y"); /* of the distances -reach .. reach */
    ag_tensor *table = ag_from_data(p.ctx, AG_F64, 2, (const int64_t[]){ bucket_cases[_i].buckets, 1 }, number);
    ag_tensor *got = ag_relative_buckets(table, (ag_numel(want) - 1) / 2, bucket_cases[_i].max_distance,
                                         bucket_cases[_i].bidirectional);
    parity_expect_tensor(&p, "y", ag_tensor_select(got, 0, 0), want);
    parity_end(&p);
}
END_TEST

START_TEST(test_position_cases_complete)
{
    ck_assert_int_eq(parity_count("positions", "/y"), ROPE_CASES + 2 + SLOPE_CASES + BUCKET_CASES);
}
END_TEST

Suite *parity_layers_suite(void)
{
    Suite *suite = suite_create("parity_layers");
    TCase *tc = tcase_create("parity_layers");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_mha, 0, 2 * MHA_CASES);
    tcase_add_loop_test(tc, test_block, 0, 2 * BLOCK_CASES);
    tcase_add_loop_test(tc, test_translator, 0, 2 * TRANSLATOR_CASES);
    tcase_add_loop_test(tc, test_rms_norm, 0, 2 * NORM_CASES);
    tcase_add_loop_test(tc, test_rms_norm_plain, 0, 2);
    tcase_add_loop_test(tc, test_feed_forward, 0, 2 * FF_CASES);
    tcase_add_test(tc, test_layer_cases_complete);
    tcase_add_loop_test(tc, test_rope, 0, 2 * ROPE_CASES);
    tcase_add_loop_test(tc, test_sinusoidal, 0, 2);
    tcase_add_loop_test(tc, test_alibi_slopes, 0, 2);
    tcase_add_loop_test(tc, test_buckets, 0, BUCKET_CASES);
    tcase_add_test(tc, test_position_cases_complete);
    suite_add_tcase(suite, tc);
    return suite;
}
