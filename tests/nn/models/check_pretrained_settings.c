/* SPDX-License-Identifier: MIT
 *
 * check_pretrained_settings.c - configurations of the transformers package: what each setting changes, which ones are
 * refused or change nothing, the families' defaults, the tokens that end a text, and files that no one should believe.
 */
#include "tests/nn/models/pretrained_fixture.h"

#include "tensor/files/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MOST = 4096 };

/* ---- Settings ---- */

/* The weights of another folder with other positions, as a Mistral with a window, without the scale of attention, with
 * biases in only one part: config.json says so, and only that differs. */
static const char *const variants[] = { "llama/linear", "llama/yarn", "llama/dynamic", "llama/window",
                                        "gpt2/unscaled", "llama3/attention_bias", "llama3/mlp_bias", "qwen2/full",
                                        "smollm3/listed", "gpt_neox/serial", "gpt_neox/yarn" };

START_TEST(other_configurations)
{
    const char *model = variants[_i];
    char folder[16];
    snprintf(folder, sizeof folder, "%.*s", (int)strcspn(model, "/"), model);
    ag_ctx *ctx = test_begin_serial();
    const char *weights = model_file(folder, "model.safetensors");
    ag_gpt *gpt = ag_gpt_from_files(ctx, model_file(model, "config.json"), weights, AG_F64);
    ck_assert_msg(gpt != NULL, "%s", ag_error_message(ctx));
    ag_safetensors *file = ag_safetensors_open(ctx, model_file(model, "expected.safetensors"));
    ag_tensor *logits = ag_gpt_forward(gpt, stored_tensor(file, "tokens", AG_F64));
    assert_no_error(ctx);
    assert_near(model, "logits", logits, stored_tensor(file, "logits", AG_F64));
    ag_safetensors_close(file);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

static size_t read_text(const char *path, char text[TEXT_MOST])
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "there is no %s", path);
    size_t size = fread(text, 1, TEXT_MOST - 1, file);
    fclose(file);
    text[size] = '\0';
    return size;
}

static void write_text(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert(file != NULL && fwrite(text, 1, size, file) == size && fclose(file) == 0);
}

/* The model's config.json with `line` in place of the line of `key`, or first of all where key is NULL. */
static void write_config(const char *path, const char *model, const char *key, const char *line)
{
    char text[TEXT_MOST], changed[2 * TEXT_MOST], pattern[64];
    read_text(model_file(model, "config.json"), text);
    snprintf(pattern, sizeof pattern, " \"%s\":", key == NULL ? "" : key);
    char *at = key == NULL ? text + 1 : strstr(text, pattern);
    ck_assert(at != NULL);
    const char *end = key == NULL ? at : strchr(at, '\n');
    bool comma = key == NULL || end[-1] == ',';
    snprintf(changed, sizeof changed, "%.*s%s%s%s", (int)(at - text), text, line, comma ? "," : "", end);
    write_text(path, changed, strlen(changed));
}

static const struct {
    const char *model, *key, *line, *message; /* the message follows the path */
} unsupported[] = {
    { "gpt2", "model_type", "\"model_type\": \"t5\"", "model_type is t5, must be one of gpt2 llama mistral qwen2" },
    { "gpt2", "model_type", "\"model_type\": \"bert\"", "model_type is bert, must be one of gpt2 llama mistral qwen2" },
    { "gpt2", "model_type", "\"m\": \"gpt2\"", " has no model_type" },
    { "gpt2", "model_type", "\"model_type\": null", " has no model_type" },
    { "gpt2", "n_embd", "\"n\": 16", ": a model of 4898304 weights" }, /* of the default size */
    { "gpt2", "n_embd", "\"n_embd\": null", "n_embd is null, must be in 1 .. 2147483647" },
    { "gpt2", "n_embd", "\"n_embd\": 0", "n_embd is 0, must be in 1 .. 2147483647" },
    { "gpt2", "n_embd", "\"n_embd\": -16", "n_embd is -16, a negative number" },
    { "gpt2", "n_embd", "\"n_embd\": 1000000000000000000", "n_embd is 1e+18, must be in 1 .. 2147483647" },
    { "gpt2", "n_embd", "\"n_embd\": 1e18", "n_embd is 1e18, a number with a fraction or an exponent" },
    { "gpt2", "n_embd", "\"n_embd\": 99999999999999999999", "n_embd is 99999999999999999999, a number above" },
    { "gpt2", "n_embd", "\"n_embd\": \"16\"", "n_embd is \"16\", expected a whole number" },
    { "gpt2", "n_embd", "\"n_embd\": [16]", "n_embd is [16, expected a whole number" },
    { "gpt2", "n_embd", "\"n_embd\": 8", "is float32 [50,16], wanted [50,8] for tok.weight [50,8]" },
    { "gpt2", "n_embd", "\"n_embd\": 1000000", ": a model of " },
    { "gpt2", "n_layer", "\"n_layer\": 2147483647", ": a model of " },
    { "gpt2", "n_layer", "\"n_layer\": 3", " has no h.2.ln_1.weight, wanted for blocks.2.norm1.weight [16]" },
    { "gpt2", "vocab_size", "\"vocab_size\": 2147483647", ": a model of " },
    { "gpt2", "n_positions", "\"n_positions\": 2147483647", ": a model of " },
    { "gpt2", "n_inner", "\"n_inner\": 2147483647", ": a model of " },
    { "gpt2", "n_head", "\"n_head\": 3", "emb_size 16 is not divisible by num_heads 3" },
    { "gpt2", "n_head", "\"n_head\": 1000000000", "emb_size 16 is not divisible by num_heads 1000000000" },
    { "gpt2", "activation_function", "\"activation_function\": \"mish\"", "activation_function is mish, must be" },
    { "gpt2", "activation_function", "\"activation_function\": 5", "activation_function is 5, expected a string" },
    { "gpt2", "layer_norm_epsilon", "\"layer_norm_epsilon\": 0", "layer_norm_epsilon is 0, must be greater than 0" },
    { "gpt2", "layer_norm_epsilon", "\"layer_norm_epsilon\": -1e-5", "layer_norm_epsilon is -1e-05, must be greater" },
    { "gpt2", "layer_norm_epsilon", "\"layer_norm_epsilon\": 1e999", "layer_norm_epsilon is 1e999, a number too" },
    { "gpt2", NULL, "\"unknown\": 1e999", "unknown is 1e999, a number too large" },
    { "gpt2", NULL, "\"hidden_size\": 8", "is float32 [50,16], wanted [50,8] for tok.weight [50,8]" }, /* wins */
    { "gpt2", NULL, "\"is_causal\": false", "is_causal is false, must be true" },
    { "qwen3", NULL, "\"layer_types\": [\"chunked_attention\"]",
      "layer_types is chunked_attention, must be full_attention or sliding_attention" },
    { "qwen3", "layer_types", "\"layer_types\": [\"sliding_attention\"], \"unused\": [",
      "layer_types is a list of 1, but num_hidden_layers is 2" },
    { "qwen2", "sliding_window", "\"sliding_window\": null", "layer_types is sliding_attention, but there is no" },
    { "smollm3", "no_rope_layers", "\"no_rope_layers\": [2], \"unused\": [", "no_rope_layers is 2, must be 0 or 1" },
    { "smollm3", "no_rope_layer_interval", "\"no_rope_layer_interval\": 0", "no_rope_layer_interval is 0, must" },
    { "gpt_neox", "partial_rotary_factor", "\"partial_rotary_factor\": 0.4",
      "partial_rotary_factor is 0.4, must leave an even number of a head's 8 channels (head_dim, or hidden_size / " },
    { "gpt_neox", "partial_rotary_factor", "\"partial_rotary_factor\": 0", "partial_rotary_factor is 0, must leave" },
    { "gpt_neox", "partial_rotary_factor", "\"partial_rotary_factor\": 2", "partial_rotary_factor is 2, must leave" },
    { "gpt_neox", NULL, "\"head_dim\": 8", "head_dim is given, the library does not have it" },
    { "phi", "qk_layernorm", "\"qk_layernorm\": true", "qk_layernorm is true, must be false" },
    { "phi", "tie_word_embeddings", "\"tie_word_embeddings\": true", "tie_word_embeddings is true, must be false" },
    { "qwen3", NULL, "\"layer_types\": [1]", "layer_types is [1, expected a string" },
    { "llama", NULL, "\"is_causal\": null", "is_causal is null, must be true" },
    { "gpt2", NULL, "\"per_layer_config\": {\"0\": {}}", "per_layer_config is given, the library does not have it" },
    { "llama", "rms_norm_eps", "\"rms_norm_eps\": 0", "rms_norm_eps is 0, must be greater than 0" },
    { "llama", NULL, "\"rope_theta\": 0", "rope_theta is 0, must be greater than 0" },
    { "gpt2", "tie_word_embeddings", "\"tie_word_embeddings\": false", " has no lm_head.weight, wanted for head" },
    { "gpt2", "scale_attn_by_inverse_layer_idx", "\"scale_attn_by_inverse_layer_idx\": true",
      "scale_attn_by_inverse_layer_idx is true, must be false" },
    { "gpt2", NULL, "\"quantization_config\": {\"bits\": 4}", "quantization_config is given, the library does not" },
    { "llama", "num_key_value_heads", "\"num_key_value_heads\": 3", "kv_heads is 3, must divide num_heads 4" },
    { "llama", "intermediate_size", "\"intermediate_size\": null", "intermediate_size is null, must be in" },
    { "llama", "mlp_bias", "\"mlp_bias\": true", " has no model.layers.0.mlp.up_proj.bias, wanted" },
    { "llama", "attention_bias", "\"attention_bias\": true", " has no model.layers.0.self_attn.q_proj.bias, wanted" },
    { "llama", "tie_word_embeddings", "\"rope_scaling\": {\"type\": \"longrope\"}", "rope_type is longrope, must be" },
    { "llama3", "tie_word_embeddings", "\"t\": true", " has no lm_head.weight, wanted for head" },
    { "llama", "rope_parameters", "\"rope_scaling\": {\"type\": \"linear\"}, \"unused\": {", " has no factor in" },
    { "llama/linear", "factor", "\"factor\": 0.5", "factor is 0.5, must be at least 1" },
    { "llama/linear", "rope_theta", "\"rope_theta\": 0", "rope_theta is 0, must be greater than 0" },
#define YARN "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, "
    { "llama", NULL, YARN "\"attention_factor\": 2}", "attention_factor is 2, must be 0.1 ln(factor) + 1" },
    { "llama", NULL, YARN "\"beta_fast\": 16}", "beta_fast is 16, must be 32" },
    { "llama", NULL, YARN "\"beta_slow\": 2}", "beta_slow is 2, must be 1" },
    { "llama", NULL, YARN "\"truncate\": false}", "truncate is false, must be true" },
    { "llama", NULL, YARN "\"mscale\": 1, \"mscale_all_dim\": 0.5}", "mscale_all_dim is 0.5, the library does not" },
    { "llama", NULL, YARN "\"partial_rotary_factor\": 0.5}", "partial_rotary_factor is 0.5, must be 1" },
    { "llama", NULL, "\"rope_scaling\": {\"full_attention\": {}}", "full_attention is given, the library does not" },
    { "llama", NULL, "\"rope_scaling\": 5", "expected an object" },
};
enum { UNSUPPORTED = sizeof unsupported / sizeof *unsupported };

START_TEST(gpt_refused)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file(), *model = unsupported[_i].model;
    write_config(path, model, unsupported[_i].key, unsupported[_i].line);
    const char *weights = strchr(model, '/') != NULL ? "llama" : model;
    ag_gpt *gpt = ag_gpt_from_files(ctx, path, model_file(weights, "model.safetensors"), AG_F32);
    ck_assert_msg(gpt == NULL, "%s was taken", unsupported[_i].line);
    ck_assert_msg(strstr(ag_error_message(ctx), unsupported[_i].message) != NULL, "%s", ag_error_message(ctx));
    ag_error_clear(ctx);
    remove(path);
    test_end(ctx);
}
END_TEST

/* Settings that change nothing: dropout, another family's keys, settings of other kinds of rotary positions, a head
 * that is said to be tied in a file that has another one. The logits are those of the model without them. */
static const struct {
    const char *model, *key, *line;
} harmless[] = {
    { "gpt2", "attn_pdrop", "\"attn_pdrop\": 0.2" },
    { "gpt2", "embd_pdrop", "\"embd_pdrop\": 0" },
    { "gpt2", "resid_pdrop", "\"resid_pdrop\": 0.7" },
    { "gpt2", "add_cross_attention", "\"add_cross_attention\": true" },
    { "gpt2", "reorder_and_upcast_attn", "\"reorder_and_upcast_attn\": true" },
    { "gpt2", "n_head", "\"n_head\": 4, \"num_attention_heads\": 2" },
    { "gpt2", "layer_norm_epsilon", "\"e\": 1" }, /* 1e-5 is the default */
    { "gpt2", NULL, "\"intermediate_size\": 8, \"hidden_act\": \"mish\", \"layer_norm_eps\": 1" },
    { "gpt2", NULL, "\"rms_norm_eps\": 0, \"hidden_dropout_prob\": [], \"type_vocab_size\": 0" },
    { "gpt2", NULL, "\"sliding_window\": 2, \"head_dim\": 4, \"num_key_value_heads\": 1, \"rope_theta\": 3" },
    { "gpt2", NULL, "\"is_decoder\": true, \"position_embedding_type\": \"relative_key\"" },
    { "gpt2", NULL, "\"dtype\": \"float16\", \"use_cache\": false, \"is_encoder_decoder\": true" },
    { "llama", NULL, "\"sliding_window\": 2" },
    { "llama", NULL, "\"n_embd\": 8, \"n_head\": 1, \"layer_norm_eps\": 1, \"activation_function\": \"mish\"" },
    { "llama", NULL, "\"scale_attn_weights\": false, \"scale_attn_by_inverse_layer_idx\": true" },
    { "llama", NULL, "\"rope_theta\": 3, \"partial_rotary_factor\": 0.5" }, /* rope_parameters says 500 */
    { "llama", "attention_dropout", "\"attention_dropout\": 0.5" },
    { "llama", "tie_word_embeddings", "\"tie_word_embeddings\": true" },
    { "llama", "rms_norm_eps", "\"rms_norm_eps\": 1e-05, \"pretraining_tp\": 2" },
    { "llama", NULL, "\"rope_scaling\": {\"type\": \"linear\", \"rope_type\": \"default\", \"factor\": 2, "
                     "\"rope_theta\": 500, \"attention_factor\": 2, \"beta_fast\": 1, \"truncate\": false}" },
    { "llama/yarn", NULL, "\"original_max_position_embeddings\": 10" },
    { "llama/yarn", "factor", "\"factor\": null" }, /* 40 / 10 */
    { "llama/yarn", "factor", "\"factor\": 4, \"attention_factor\": 1.1386294361119891, \"mscale\": 1" },
    { "llama/yarn", "factor", "\"factor\": 4, \"mscale\": 1, \"beta_fast\": 0, \"beta_slow\": 1" },
    { "llama/window", NULL, "\"attention_bias\": true, \"mlp_bias\": true, \"layer_types\": [1]" },
    { "llama3", "rms_norm_eps", "\"r\": 1" },
    { "llama3", "low_freq_factor", "\"low_freq_factor\": 1.0, \"unknown\": {\"rope_type\": 5}" },
};

START_TEST(harmless_settings)
{
    const char *model = harmless[_i].model, *path = test_file();
    char folder[16];
    snprintf(folder, sizeof folder, "%.*s", (int)strcspn(model, "/"), model);
    ag_ctx *ctx = test_begin_serial();
    write_config(path, model, harmless[_i].key, harmless[_i].line);
    ag_gpt *gpt = ag_gpt_from_files(ctx, path, model_file(folder, "model.safetensors"), AG_F64);
    ck_assert_msg(gpt != NULL, "%s", ag_error_message(ctx));
    ag_module_set_training(ag_gpt_module(gpt), false);
    ag_safetensors *file = ag_safetensors_open(ctx, model_file(model, "expected.safetensors"));
    ag_tensor *logits = ag_gpt_forward(gpt, stored_tensor(file, "tokens", AG_F64));
    assert_no_error(ctx);
    assert_near(model, "logits", logits, stored_tensor(file, "logits", AG_F64));
    ag_safetensors_close(file);
    ag_gpt_free(gpt);
    remove(path);
    test_end(ctx);
}
END_TEST

/* What is not in the file is as in the package's classes; null is not the same as missing. */
START_TEST(defaults_of_families)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file();
    char weights[300];
    snprintf(weights, sizeof weights, "%s", model_file("llama", "model.safetensors"));
    write_config(path, "llama/window", "sliding_window", "\"s\": 1");
    ag_gpt *gpt = ag_gpt_from_files(ctx, path, weights, AG_F32);
    ck_assert_int_eq(ag_gpt_config_of(gpt)->attention.mask.back, 4096);
    ck_assert(ag_gpt_config_of(gpt)->untied_head);
    ag_gpt_free(gpt);
    write_config(path, "llama/window", "sliding_window", "\"sliding_window\": null");
    gpt = ag_gpt_from_files(ctx, path, weights, AG_F32);
    ck_assert_int_eq(ag_gpt_config_of(gpt)->attention.mask.back, 0);
    ag_gpt_free(gpt);
    assert_no_error(ctx);
    write_config(path, "llama/window", "num_key_value_heads", "\"k\": 1"); /* 8 */
    ck_assert_ptr_null(ag_gpt_from_files(ctx, path, weights, AG_F32));
    assert_error(ctx, AG_ERR_FILE, "a model of 7712 weights");
    write_config(path, "llama/window", "max_position_embeddings", "\"m\": 1");
    gpt = ag_gpt_from_files(ctx, path, weights, AG_F32);
    assert_no_error(ctx);
    ck_assert_int_eq(ag_gpt_config_of(gpt)->max_seq_len, 131072);
    ag_gpt_free(gpt);
    write_config(path, "llama", "rope_parameters", "\"unused\": {");
    gpt = ag_gpt_from_files(ctx, path, weights, AG_F32);
    ck_assert_double_eq(ag_gpt_config_of(gpt)->attention.rope.theta, 10000);
    ag_gpt_free(gpt);
    remove(path);
    test_end(ctx);
}
END_TEST

static int64_t ends_of(ag_ctx *ctx, const char *folder, const char *config, const char *generation, int32_t end[4])
{
    char path[2][300];
    snprintf(path[0], sizeof path[0], "%s/config.json", folder);
    snprintf(path[1], sizeof path[1], "%s/generation_config.json", folder);
    write_text(path[0], config, strlen(config));
    if (generation != NULL)
        write_text(path[1], generation, strlen(generation));
    int64_t count = ag_eos_from_file(ctx, path[0], end, 4);
    remove(path[0]);
    remove(path[1]);
    return count;
}

/* generation_config.json decides where there is one, as in the package; a missing key is no token. */
START_TEST(ends_of_texts)
{
    ag_ctx *ctx = test_begin_serial();
    const char *folder = test_file();
    int32_t end[4] = { 0 };
    remove(folder);
    ck_assert_int_eq(mkdir(folder, 0777), 0);
    ck_assert_int_eq(ends_of(ctx, folder, "{\"eos_token_id\": 7}", NULL, end), 1);
    ck_assert_int_eq(end[0], 7);
    ck_assert_int_eq(ends_of(ctx, folder, "{\"eos_token_id\": 7}", "{\"eos_token_id\": [3, 2]}", end), 2);
    ck_assert(end[0] == 3 && end[1] == 2);
    ck_assert_int_eq(ends_of(ctx, folder, "{\"eos_token_id\": [1, 2, 3, 4, 5, 6]}", NULL, end), 6);
    ck_assert_int_eq(ends_of(ctx, folder, "{\"eos_token_id\": 7}", "{}", end), 0);
    ck_assert_int_eq(ends_of(ctx, folder, "{\"eos_token_id\": 7}", "{\"eos_token_id\": null}", end), 0);
    ck_assert_int_eq(ends_of(ctx, folder, "{\"model_type\": \"gpt2\"}", NULL, end), 0);
    assert_no_error(ctx);
    const char *const wrong[][2] = {
        { "{\"eos_token_id\": -1}", "config.json: eos_token_id is -1, a negative number" },
        { "{\"eos_token_id\": [1, 3000000000]}", "eos_token_id is 3000000000, must be in 0 .." },
        { "{\"eos_token_id\": \"x\"}", "eos_token_id is \"x\", expected a whole number" },
    };
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(ends_of(ctx, folder, wrong[i][0], NULL, end), -1);
        assert_error(ctx, AG_ERR_FILE, wrong[i][1]);
        ck_assert_int_eq(ends_of(ctx, folder, "{}", wrong[i][0], end), -1);
        assert_error(ctx, AG_ERR_FILE, wrong[i][1]);
    }
    ck_assert_int_eq(ag_eos_from_file(ctx, model_file("gpt2", "config.json"), NULL, 4), -1);
    assert_error(ctx, AG_ERR_ARGUMENT, "ids is NULL");
    rmdir(folder);
    test_end(ctx);
}
END_TEST

START_TEST(bert_refused)
{
    const struct {
        const char *key, *line, *message;
    } wrong[] = {
        { "model_type", "\"model_type\": \"gpt2\"", "model_type is gpt2, must be one of bert roberta" },
        { "is_decoder", "\"is_decoder\": true", "is_decoder is true, must be false" },
        { NULL, "\"position_embedding_type\": \"relative_key\"", "is relative_key, must be absolute" },
        { NULL, "\"is_causal\": true", "is_causal is true, must be false" },
        { "layer_norm_eps", "\"layer_norm_eps\": 0", "layer_norm_eps is 0, must be greater than 0" },
        { "type_vocab_size", "\"type_vocab_size\": null", "type_vocab_size is null, must be in 1" },
        { "type_vocab_size", "\"type_vocab_size\": 3", "wanted [3,16] for type.weight [3,16]" },
        { "max_position_embeddings", "\"max_position_embeddings\": 21", "wanted [21,16] for pos.weight [21,16]" },
    };
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_config(path, "bert", wrong[i].key, wrong[i].line);
        ck_assert_ptr_null(ag_encoder_from_files(ctx, path, model_file("bert", "model.safetensors"), AG_F32));
        assert_error(ctx, AG_ERR_FILE, wrong[i].message);
    }
    write_config(path, "bert", NULL, "\"a\": 0");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, path, model_file("bert", "model.safetensors"), AG_I32));
    assert_error(ctx, AG_ERR_DTYPE, "int32");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, path, model_file("gpt2", "model.safetensors"), AG_F32));
    assert_error(ctx, AG_ERR_FILE, " has no embeddings.word_embeddings.weight, wanted for tok.weight [50,16]");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, path, "no/such/file", AG_F32));
    assert_error(ctx, AG_ERR_FILE, "no/such/file: can not be opened");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, "no/such/config", model_file("bert", "model.safetensors"), AG_F32));
    assert_error(ctx, AG_ERR_FILE, "no/such/config can not be read");
    ck_assert_ptr_null(ag_encoder_from_files(NULL, path, path, AG_F32));
    ck_assert_ptr_null(ag_gpt_from_files(ctx, NULL, path, AG_F32));
    assert_error(ctx, AG_ERR_ARGUMENT, "config_path is NULL");
    remove(path);
    test_end(ctx);
}
END_TEST

/* rope_scaling with "type" and rope_theta beside it, as before version 5 of the package. */
START_TEST(older_configuration)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file();
    write_config(path, "llama", "rope_parameters",
                 "\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}, \"unused\": {");
    ag_gpt *gpt = ag_gpt_from_files(ctx, path, model_file("llama", "model.safetensors"), AG_F32);
    assert_no_error(ctx);
    const ag_rope_config *rope = &ag_gpt_config_of(gpt)->attention.rope;
    ck_assert_int_eq(rope->scaling, AG_ROPE_LINEAR);
    ck_assert_double_eq(rope->theta, 500);
    ck_assert_double_eq(rope->factor, 2.5);
    ag_gpt_free(gpt);
    remove(path);
    test_end(ctx);
}
END_TEST

/* ---- Files that no one should believe ---- */

static const char *const damaged[] = { "gpt2", "llama", "llama3" };

/* Every beginning of a configuration, and each byte replaced, is an error or a model; never anything else. */
START_TEST(damaged_configurations)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file(), *weights = model_file(damaged[_i], "model.safetensors");
    static const char other[] = "\"{[9-e\\\377";
    char text[TEXT_MOST];
    size_t size = read_text(model_file(damaged[_i], "config.json"), text);
    while (text[size - 1] != '}')
        size--;
    for (size_t i = 0; i < size; i++) {
        write_text(path, text, i);
        ck_assert_ptr_null(ag_gpt_from_files(ctx, path, weights, AG_F32));
        ck_assert_int_eq(ag_error(ctx), AG_ERR_FILE);
        ag_error_clear(ctx);
        char kept = text[i];
        text[i] = other[i % (sizeof other - 1)];
        write_text(path, text, size);
        text[i] = kept;
        ag_gpt *gpt = ag_gpt_from_files(ctx, path, weights, AG_F32);
        ck_assert((gpt == NULL) == (ag_error(ctx) != AG_OK));
        ag_error_clear(ctx);
        ag_gpt_free(gpt);
    }
    write_text(path, "", 0);
    ck_assert_ptr_null(ag_gpt_from_files(ctx, path, weights, AG_F32));
    assert_error(ctx, AG_ERR_FILE, "byte 0: expected an object");
    write_text(path, "{} {", 4);
    ck_assert_ptr_null(ag_gpt_from_files(ctx, path, weights, AG_F32));
    assert_error(ctx, AG_ERR_FILE, "byte 3: more text after the end");
    char *deep = malloc((1 << 20) + 100);
    memset(deep, '[', (1 << 20) + 100);
    memcpy(deep, "{\"a\":", 5);
    write_text(path, deep, 1 << 20);
    ck_assert_ptr_null(ag_gpt_from_files(ctx, path, weights, AG_F32));
    assert_error(ctx, AG_ERR_FILE, "byte 69: objects and arrays nested deeper than 64");
    write_text(path, deep, (1 << 20) + 1);
    ck_assert_ptr_null(ag_gpt_from_files(ctx, path, weights, AG_F32));
    assert_error(ctx, AG_ERR_FILE, "the file is larger than a megabyte");
    free(deep);
    remove(path);
    test_end(ctx);
}
END_TEST

START_TEST(json_values)
{
    const struct {
        const char *text;
        double value; /* NAN: an error */
    } number[] = {
        { "0", 0 }, { "-0", 0 }, { "12", 12 }, { "-3.5", -3.5 }, { "1e-05", 1e-05 }, { "1E+3", 1000 }, { "0.1", 0.1 },
        { "1e-12", 1e-12 }, { "10000.0", 10000 }, { "500000.0", 500000 }, { "1e308", 1e308 }, { "1e-400", 0 },
        { "5e-324", 5e-324 }, { "9007199254740993", 9007199254740992 },
        { "123456789012345678901234567890", 1.2345678901234568e29 }, { "0e999999999999999999999999", 0 },
        { "0.000000000000000000000000000012345678901234567890", 0.000000000000000000000000000012345678901234567890 },
        { "1e-99999999999999999999999", 0 }, { "1e309", NAN }, { "1e99999999999999999999", NAN }, { "01", NAN },
        { "-", NAN }, { ".5", NAN }, { "5.", NAN }, { "5e", NAN }, { "5e+", NAN }, { "+5", NAN }, { "nan", NAN },
        { "Infinity", NAN }, { "", NAN }, { "true", NAN }, { "--1", NAN }, { "1.2.3", NAN }, { "1e2e3", NAN },
        { "0x10", NAN }, { "-01", NAN },
    };
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        char text[80];
        snprintf(text, sizeof text, "%s", number[i].text);
        ag_json json = ag_json_of(text, strlen(text));
        double value = 0;
        bool good = ag_json_real(&json, &value) && ag_json_end(&json);
        ck_assert_msg(good == !isnan(number[i].value), "%s", text);
        ck_assert_msg(!good || value == number[i].value, "%s: %.17g", text, value);
    }
    const struct {
        const char *text, *error;
    } skipped[] = {
        { "[]", NULL }, { "{}", NULL }, { " [1, {\"a\": [null, true, false, \"x\"]}, {}, [[]], -1e5 ] ", NULL },
        { "[1,]", "expected a value" }, { "{\"a\"}", "expected ':'" }, { "{1:2}", "expected a string" },
        { "[1 2]", "expected ',' or ']'" }, { "{\"a\":1]", "expected ',' or '}'" }, { "nul", "expected a value" },
        { "[", "the text ends inside an object or array" }, { "[1", "expected ',' or ']'" }, { "", "expected a value" },
    };
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++) {
        char text[80];
        snprintf(text, sizeof text, "%s", skipped[i].text);
        ag_json json = ag_json_of(text, strlen(text));
        bool good = ag_json_skip(&json) && ag_json_end(&json);
        ck_assert_msg(good == (skipped[i].error == NULL), "%s: %s", text, good ? "" : json.error);
        if (!good)
            ck_assert_str_eq(json.error, skipped[i].error);
    }
}
END_TEST

Suite *pretrained_settings_suite(void)
{
    Suite *suite = suite_create("pretrained_settings");
    TCase *tcase = tcase_create("pretrained_settings");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, other_configurations, 0, sizeof variants / sizeof *variants);
    tcase_add_loop_test(tcase, gpt_refused, 0, UNSUPPORTED);
    tcase_add_loop_test(tcase, harmless_settings, 0, sizeof harmless / sizeof *harmless);
    tcase_add_test(tcase, defaults_of_families);
    tcase_add_test(tcase, ends_of_texts);
    tcase_add_test(tcase, bert_refused);
    tcase_add_test(tcase, older_configuration);
    tcase_add_loop_test(tcase, damaged_configurations, 0, sizeof damaged / sizeof *damaged);
    tcase_add_test(tcase, json_values);
    suite_add_tcase(suite, tcase);
    return suite;
}
