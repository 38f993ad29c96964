/* SPDX-License-Identifier: MIT
 *
 * check_pretrained.c - models from the files of the transformers package: values, all gradients and greedy generation
 * against what it computed (fixtures/make_pretrained_fixtures.py), configurations that ask for something else, and
 * such that no one should believe.
 */
#include "tests/nn/check_nn.h"

#include "tensor/files/json.h"

#include <stdlib.h>
#include <string.h>

#ifndef AG_FIXTURES
#define AG_FIXTURES "tests/fixtures"
#endif

enum { PATH_MOST = 300, TEXT_MOST = 4096, TOKENS_MOST = 32 };

static const char *fixture(const char *model, const char *file)
{
    static char path[4][PATH_MOST]; /* so that some can be used at once */
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, PATH_MOST, "%s/pretrained/%s/%s", AG_FIXTURES, model, file);
    return out;
}

/* ---- Values and gradients ---- */

/* |got - want| <= tolerance max(1, |want|) */
static void assert_near(const char *what, const char *name, const ag_tensor *got, const ag_tensor *want)
{
    ck_assert_msg(got != NULL && want != NULL, "%s %s: no tensor", what, name);
    double tolerance = ag_dtype_of(got) == AG_F64 ? 1e-10 : 1e-5;
    ck_assert_msg(ag_numel(got) == ag_numel(want) && ag_ndim(got) == ag_ndim(want) && ag_numel(got) > 0,
                  "%s %s: %s and %s", what, name, ag_shape_text(got), ag_shape_text(want));
    for (int64_t i = 0; i < ag_numel(got); i++) {
        double a = test_at(got, i), b = test_at(want, i);
        ck_assert_msg(fabs(a - b) <= tolerance * fmax(1, fabs(b)), "%s %s %s at %lld: %.17g, transformers has %.17g",
                      what, name, ag_dtype_name(ag_dtype_of(got)), (long long)i, a, b);
    }
}

static ag_tensor *stored(ag_safetensors *file, const char *name, ag_dtype dtype)
{
    ag_tensor *t = ag_safetensors_read(file, name);
    ck_assert_msg(t != NULL, "there is no %s", name);
    return ag_dtype_of(t) == AG_I32 ? t : ag_tensor_cast(t, dtype);
}

/* Every parameter's gradient against the one in the file, which is read into the parameters of a second model. */
static void assert_gradients(const char *model, ag_module *got, ag_module *want, const ag_weight_rule *rules,
                             int64_t rule_count, const char *prefix)
{
    ag_ctx *ctx = ag_ctx_of(ag_module_param(got, 0).tensor);
    assert_ok(ctx, ag_module_load_named(want, fixture(model, "gradients.safetensors"), rules, rule_count, prefix));
    for (int64_t i = 0; i < ag_module_param_count(got); i++) {
        ag_named_tensor p = ag_module_param(got, i);
        assert_near(model, p.name, ag_grad(p.tensor), test_param(want, p.name));
    }
}

static const struct {
    const char *name;
    const ag_weight_rule *rules;
    const int64_t *rule_count;
    const char *prefix;
} gpts[] = {
    { "gpt2", ag_gpt2_names, &ag_gpt2_name_count, "transformer." },
    { "llama", ag_llama_names, &ag_llama_name_count, NULL },
    { "llama3", ag_llama_names, &ag_llama_name_count, NULL },
};
enum { GPTS = sizeof gpts / sizeof *gpts };

static ag_gpt *load_gpt(ag_ctx *ctx, const char *model, ag_dtype dtype)
{
    ag_gpt *gpt =
        ag_gpt_from_files(ctx, fixture(model, "config.json"), fixture(model, "model.safetensors"), dtype);
    ck_assert_msg(gpt != NULL, "%s", ag_error_message(ctx));
    ag_module_set_training(ag_gpt_module(gpt), false);
    return gpt;
}

START_TEST(gpt_like_transformers)
{
    const char *model = gpts[_i / 2].name;
    ag_dtype dtype = _i % 2 == 0 ? AG_F64 : AG_F32;
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *gpt = load_gpt(ctx, model, dtype), *want = load_gpt(ctx, model, dtype);
    ag_safetensors *file = ag_safetensors_open(ctx, fixture(model, "expected.safetensors"));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_gpt_forward(gpt, stored(file, "tokens", dtype));
    assert_no_error(ctx);
    assert_near(model, "logits", logits, stored(file, "logits", AG_F64));
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(logits, stored(file, "gy", dtype)))));
    assert_gradients(model, ag_gpt_module(gpt), ag_gpt_module(want), gpts[_i / 2].rules, *gpts[_i / 2].rule_count,
                     gpts[_i / 2].prefix);
    ag_tape_end(tape);
    ag_safetensors_close(file);
    ag_gpt_free(gpt);
    ag_gpt_free(want);
    test_end(ctx);
}
END_TEST

/* Llama's weights with other positions, and as a Mistral with a window: config.json says so, and only that differs. */
static const char *const variants[] = { "llama/linear", "llama/yarn", "llama/dynamic", "llama/window" };

START_TEST(other_configurations)
{
    const char *model = variants[_i];
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *gpt = ag_gpt_from_files(ctx, fixture(model, "config.json"), fixture("llama", "model.safetensors"), AG_F64);
    ck_assert_msg(gpt != NULL, "%s", ag_error_message(ctx));
    ag_safetensors *file = ag_safetensors_open(ctx, fixture(model, "expected.safetensors"));
    ag_tensor *logits = ag_gpt_forward(gpt, stored(file, "tokens", AG_F64));
    assert_no_error(ctx);
    assert_near(model, "logits", logits, stored(file, "logits", AG_F64));
    ag_safetensors_close(file);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

static ag_encoder *load_bert(ag_ctx *ctx, const char *weights, ag_dtype dtype)
{
    ag_encoder *encoder = ag_encoder_from_files(ctx, fixture("bert", "config.json"), weights, dtype);
    ck_assert_msg(encoder != NULL, "%s", ag_error_message(ctx));
    ag_module_set_training(ag_encoder_module(encoder), false);
    return encoder;
}

/* Hidden states of the tokens that are there, pooled ones and means. */
START_TEST(bert_like_transformers)
{
    ag_dtype dtype = _i == 0 ? AG_F64 : AG_F32;
    ag_ctx *ctx = test_begin_serial();
    const char *weights = fixture("bert", "model.safetensors");
    ag_encoder *encoder = load_bert(ctx, weights, dtype), *want = load_bert(ctx, weights, dtype);
    ag_safetensors *file = ag_safetensors_open(ctx, fixture("bert", "expected.safetensors"));
    ag_tensor *lengths = stored(file, "lengths", dtype);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *hidden =
        ag_encoder_forward(encoder, stored(file, "tokens", dtype), lengths, stored(file, "types", dtype));
    ag_tensor *pooled = ag_encoder_pool(encoder, hidden, lengths, AG_POOL_FIRST);
    ag_tensor *loss = ag_add(test_total(ag_mul(hidden, stored(file, "g_hidden", dtype))),
                             test_total(ag_mul(pooled, stored(file, "g_pooled", dtype))));
    assert_ok(ctx, ag_backward(tape, loss));
    for (int64_t b = 0; b < ag_dim(hidden, 0); b++) {
        int64_t length = (int64_t)test_at(lengths, b);
        assert_near("bert", "hidden", ag_slice(ag_select(hidden, 0, b), 0, 0, length, 1),
                    ag_slice(ag_select(stored(file, "hidden", AG_F64), 0, b), 0, 0, length, 1));
    }
    assert_near("bert", "pooled", pooled, stored(file, "pooled", AG_F64));
    assert_near("bert", "mean", ag_encoder_pool(encoder, hidden, lengths, AG_POOL_MEAN), stored(file, "mean", AG_F64));
    assert_gradients("bert", ag_encoder_module(encoder), ag_encoder_module(want), ag_bert_names, ag_bert_name_count,
                     "bert.");
    ag_tape_end(tape);
    ag_safetensors_close(file);
    ag_encoder_free(encoder);
    ag_encoder_free(want);
    test_end(ctx);
}
END_TEST

/* As in the published file: under "bert.", gamma and beta of the norms, and more; and without a pooler. */
START_TEST(bert_as_published)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file();
    ag_safetensors *file = ag_safetensors_open(ctx, fixture("bert", "model.safetensors"));
    ag_encoder *want = load_bert(ctx, fixture("bert", "model.safetensors"), AG_F32);
    for (int pooler = 1; pooler >= 0; pooler--) {
        static char name[64][100];
        ag_named_tensor tensor[64] = { { "cls.predictions.bias", ag_zeros(ctx, AG_F32, AG_SHAPE(50)) } };
        int64_t count = 1;
        for (int64_t i = 0; i < ag_safetensors_count(file); i++) {
            const char *theirs = ag_safetensors_name(file, i), *norm = strstr(theirs, "LayerNorm.");
            if (pooler == 0 && strstr(theirs, "pooler") != NULL)
                continue;
            if (norm != NULL)
                snprintf(name[count], sizeof name[count], "bert.%.*sLayerNorm.%s", (int)(norm - theirs), theirs,
                         strstr(norm, "weight") != NULL ? "gamma" : "beta");
            else
                snprintf(name[count], sizeof name[count], "bert.%s", theirs);
            tensor[count] = (ag_named_tensor){ name[count], ag_safetensors_read(file, theirs) };
            count++;
        }
        assert_ok(ctx, ag_safetensors_save(ctx, path, tensor, count, NULL, 0));
        ag_encoder *got = load_bert(ctx, path, AG_F32);
        int64_t params = ag_module_param_count(ag_encoder_module(want)) - (pooler == 0 ? 2 : 0);
        ck_assert_int_eq(ag_module_param_count(ag_encoder_module(got)), params);
        for (int64_t i = 0; i < params; i++) {
            ag_named_tensor p = ag_module_param(ag_encoder_module(got), i);
            assert_same_bits(p.tensor, test_param(ag_encoder_module(want), p.name));
        }
        ag_encoder_free(got);
    }
    ag_encoder_free(want);
    ag_safetensors_close(file);
    remove(path);
    test_end(ctx);
}
END_TEST

/* ---- Generation ---- */

typedef struct ids {
    int32_t id[TOKENS_MOST];
    int64_t count;
} ids;

/* Lines of numbers; how many. */
static int64_t read_lines(const char *path, ids *line, int64_t most)
{
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "there is no %s", path);
    char text[1000];
    int64_t lines = 0;
    for (; lines < most && fgets(text, sizeof text, file) != NULL; lines++) {
        ids *l = &line[lines];
        l->count = 0;
        for (char *at = text, *end; l->count < TOKENS_MOST; at = end, l->count++) {
            l->id[l->count] = (int32_t)strtol(at, &end, 10);
            if (end == at)
                break;
        }
    }
    fclose(file);
    return lines;
}

static int32_t likeliest(const ag_tensor *logits, int64_t b, int64_t t)
{
    int64_t best = 0, V = ag_dim(logits, 2), row = (b * ag_dim(logits, 1) + t) * V;
    for (int64_t v = 1; v < V; v++)
        if (test_at(logits, row + v) > test_at(logits, row + best))
            best = v;
    return (int32_t)best;
}

static bool is_end(const int32_t *end, int64_t ends, int32_t token)
{
    for (int64_t i = 0; i < ends; i++)
        if (end[i] == token)
            return true;
    return false;
}

/* Prompts of unequal lengths in one batch, with the cache; an entry that has ended waits. */
START_TEST(generates_like_transformers)
{
    enum { LINES = 3 };
    const char *model = gpts[_i / 2].name;
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *gpt = load_gpt(ctx, model, _i % 2 == 0 ? AG_F64 : AG_F32);
    ids prompt[LINES + 1], want[LINES + 1], got[LINES] = { { .count = 0 } };
    ck_assert_int_eq(read_lines(fixture(model, "prompts.txt"), prompt, LINES + 1), LINES);
    ck_assert_int_eq(read_lines(fixture(model, "generated.txt"), want, LINES + 1), LINES);
    int32_t end[4], next[LINES * TOKENS_MOST] = { 0 };
    int64_t ends = ag_eos_from_file(ctx, fixture(model, "config.json"), end, 4), counts[LINES], T = 0, left = LINES;
    ck_assert_int_eq(ends, strcmp(model, "llama") == 0 ? 2 : 1);
    for (int b = 0; b < LINES; b++) {
        counts[b] = prompt[b].count;
        T = counts[b] > T ? counts[b] : T;
    }
    for (int b = 0; b < LINES; b++)
        memcpy(&next[b * T], prompt[b].id, (size_t)prompt[b].count * sizeof *next);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, LINES, ag_gpt_config_of(gpt)->num_layers);
    for (int step = 0; step < 12 && left > 0; step++, T = 1) {
        ag_scope_begin(ctx, NULL);
        ag_tensor *logits =
            ag_gpt_forward_cached(gpt, ag_from_data(ctx, AG_I32, AG_SHAPE(LINES, T), next), cache, counts);
        assert_no_error(ctx);
        for (int b = 0; b < LINES; b++) {
            if (counts[b] == 0)
                continue;
            next[b] = got[b].id[got[b].count++] = likeliest(logits, b, counts[b] - 1);
            counts[b] = !is_end(end, ends, next[b]);
            left -= counts[b] == 0;
        }
        ag_scope_end(ctx, NULL);
    }
    for (int b = 0; b < LINES; b++) {
        ck_assert_int_eq(got[b].count, want[b].count);
        for (int64_t i = 0; i < want[b].count; i++)
            ck_assert_msg(got[b].id[i] == want[b].id[i], "%s, prompt %d, token %lld: %d, transformers has %d", model, b,
                          (long long)i, got[b].id[i], want[b].id[i]);
    }
    ag_kv_cache_free(cache);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

/* ---- What is made ---- */

START_TEST(configurations)
{
    ag_ctx *ctx = test_begin_serial();
    ag_rng before = ag_rng_get(ctx);
    ag_gpt *gpt2 = load_gpt(ctx, "gpt2", AG_F32), *llama = load_gpt(ctx, "llama", AG_F32);
    ag_gpt *llama3 = load_gpt(ctx, "llama3", AG_F32);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, before.counter);
    const ag_transformer_config *c = ag_gpt_config_of(gpt2);
    ck_assert_int_eq(c->max_seq_len, 24);
    ck_assert_int_eq(c->ff_size, 40);
    ck_assert_int_eq(c->activation, AG_GELU_TANH);
    ck_assert_double_eq(c->dropout, 0.1);
    ck_assert_double_eq(c->norm_eps, 1e-5);
    ck_assert(!c->untied_head && !c->no_bias);
    c = ag_gpt_config_of(llama);
    ck_assert_int_eq(c->max_seq_len, 40);
    ck_assert_int_eq(c->head_size, 6);
    ck_assert_int_eq(c->attention.kv_heads, 2);
    ck_assert_double_eq(c->attention.rope.theta, 500);
    ck_assert_double_eq(c->dropout, 0);
    ck_assert(c->untied_head && c->no_bias);
    c = ag_gpt_config_of(llama3);
    ck_assert_double_eq(c->norm_eps, 1e-6);
    ck_assert_double_eq(c->attention.rope.factor, 8);
    ck_assert_int_eq(c->attention.rope.original_len, 60);
    ck_assert(!c->untied_head && !c->no_bias);
    ag_gpt_free(gpt2);
    ag_gpt_free(llama);
    ag_gpt_free(llama3);
    test_end(ctx);
}
END_TEST

/* ---- Configurations that ask for something else ---- */

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
    read_text(fixture(model, "config.json"), text);
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
    { "gpt2", "model_type", "\"model_type\": \"t5\"", "model_type is t5, must be one of gpt2 llama mistral" },
    { "gpt2", "model_type", "\"model_type\": \"bert\"", "model_type is bert, must be one of gpt2 llama mistral" },
    { "gpt2", "model_type", "\"m\": \"gpt2\"", " has no model_type" },
    { "gpt2", "model_type", "\"model_type\": null", " has no model_type" },
    { "gpt2", "n_embd", "\"n\": 16", " has no n_embd or hidden_size" },
    { "gpt2", "n_embd", "\"n_embd\": null", " has no n_embd or hidden_size" },
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
    { "gpt2", "activation_function", "\"activation_function\": \"mish\"", "the activation is mish, must be one of" },
    { "gpt2", "activation_function", "\"activation_function\": 5", "activation_function is 5, expected a string" },
    { "gpt2", "layer_norm_epsilon", "\"layer_norm_epsilon\": 0", "the norm's eps is 0, must be greater" },
    { "gpt2", "layer_norm_epsilon", "\"layer_norm_epsilon\": -1e-5", "layer_norm_epsilon is -1e-05, must not be" },
    { "gpt2", "layer_norm_epsilon", "\"layer_norm_epsilon\": 1e999", "layer_norm_epsilon is 1e999, a number too" },
    { "gpt2", "attn_pdrop", "\"attn_pdrop\": 0.2", "attention's dropout is 0.2, must equal the residual's" },
    { "gpt2", "embd_pdrop", "\"embd_pdrop\": 0", "the embeddings' dropout is 0, must equal the residual's" },
    { "gpt2", "tie_word_embeddings", "\"tie_word_embeddings\": false", " has no lm_head.weight, wanted for head" },
    { "gpt2", "scale_attn_weights", "\"scale_attn_weights\": false", "scale_attn_weights is false, must be true" },
    { "gpt2", "scale_attn_by_inverse_layer_idx", "\"scale_attn_by_inverse_layer_idx\": true",
      "scale_attn_by_inverse_layer_idx is true, must be false" },
    { "gpt2", "add_cross_attention", "\"add_cross_attention\": true", "add_cross_attention is true, must be false" },
    { "gpt2", NULL, "\"quantization_config\": {\"bits\": 4}", "quantization_config is given, the library does not" },
    { "gpt2", "eos_token_id", "\"eos_token_id\": -1", "eos_token_id is -1, a negative number" },
    { "gpt2", "eos_token_id", "\"eos_token_id\": [1, 3000000000]", "eos_token_id is 3000000000, must be in 0 .." },
    { "llama", "num_key_value_heads", "\"num_key_value_heads\": 3", "kv_heads is 3, must divide num_heads 4" },
    { "llama", "intermediate_size", "\"i\": 24", " has no intermediate_size" },
    { "llama", "attention_dropout", "\"attention_dropout\": 0.5", "attention's dropout is 0.5, must equal" },
    { "llama", "mlp_bias", "\"mlp_bias\": true", "mlp_bias is true, must equal attention_bias" },
    { "llama", "attention_bias", "\"attention_bias\": true", "mlp_bias is false, must equal attention_bias" },
    { "llama", "tie_word_embeddings", "\"rope_scaling\": {\"type\": \"longrope\"}", "rope_type is longrope, must be" },
    { "llama3", "tie_word_embeddings", "\"t\": true", " has no lm_head.weight, wanted for head" },
    { "llama", "rope_parameters", "\"rope_scaling\": {\"type\": \"linear\"}, \"unused\": {", " has no factor in" },
    { "llama/linear", "factor", "\"factor\": 0.5", "factor is 0.5, must be at least 1" },
    { "llama/linear", "rope_theta", "\"rope_theta\": 0", "rope_theta is 0, must be greater" },
    { "llama", NULL, "\"rope_scaling\": {\"attention_factor\": 2}", "attention_factor is given, the library does not" },
    { "llama", NULL, "\"rope_scaling\": {\"beta_fast\": 16}", "beta_fast is 16, must be 32" },
    { "llama", NULL, "\"rope_scaling\": {\"beta_slow\": 2}", "beta_slow is 2, must be 1" },
    { "llama", NULL, "\"rope_scaling\": {\"truncate\": false}", "truncate is false, must be true" },
    { "llama", NULL, "\"rope_scaling\": {\"partial_rotary_factor\": 0.5}", "partial_rotary_factor is 0.5, must be 1" },
    { "llama", NULL, "\"rope_scaling\": 5", "expected an object" },
};
enum { UNSUPPORTED = sizeof unsupported / sizeof *unsupported };

START_TEST(gpt_refused)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file(), *model = unsupported[_i].model;
    write_config(path, model, unsupported[_i].key, unsupported[_i].line);
    const char *weights = strchr(model, '/') != NULL ? "llama" : model;
    ag_gpt *gpt = ag_gpt_from_files(ctx, path, fixture(weights, "model.safetensors"), AG_F32);
    ck_assert_msg(gpt == NULL, "%s was taken", unsupported[_i].line);
    ck_assert_msg(strstr(ag_error_message(ctx), unsupported[_i].message) != NULL, "%s", ag_error_message(ctx));
    ag_error_clear(ctx);
    remove(path);
    test_end(ctx);
}
END_TEST

START_TEST(bert_refused)
{
    const struct {
        const char *key, *line, *message;
    } wrong[] = {
        { "model_type", "\"model_type\": \"gpt2\"", "model_type is gpt2, must be bert" },
        { "is_decoder", "\"is_decoder\": true", "is_decoder is true, must be false" },
        { NULL, "\"position_embedding_type\": \"relative_key\"", "is relative_key, must be absolute" },
        { "attention_probs_dropout_prob", "\"attention_probs_dropout_prob\": 0", "attention's dropout is 0, must" },
        { "type_vocab_size", "\"type_vocab_size\": 3", "wanted [3,16] for type.weight [3,16]" },
        { "max_position_embeddings", "\"max_position_embeddings\": 21", "wanted [21,16] for pos.weight [21,16]" },
    };
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_config(path, "bert", wrong[i].key, wrong[i].line);
        ck_assert_ptr_null(ag_encoder_from_files(ctx, path, fixture("bert", "model.safetensors"), AG_F32));
        assert_error(ctx, AG_ERR_FILE, wrong[i].message);
    }
    write_config(path, "bert", NULL, "\"a\": 0");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, path, fixture("bert", "model.safetensors"), AG_I32));
    assert_error(ctx, AG_ERR_DTYPE, "int32");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, path, fixture("gpt2", "model.safetensors"), AG_F32));
    assert_error(ctx, AG_ERR_FILE, " has no embeddings.word_embeddings.weight, wanted for tok.weight [50,16]");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, path, "no/such/file", AG_F32));
    assert_error(ctx, AG_ERR_FILE, "no/such/file: can not be opened");
    ck_assert_ptr_null(ag_encoder_from_files(ctx, "no/such/config", fixture("bert", "model.safetensors"), AG_F32));
    assert_error(ctx, AG_ERR_FILE, "no/such/config can not be read");
    ck_assert_ptr_null(ag_encoder_from_files(NULL, path, path, AG_F32));
    ck_assert_ptr_null(ag_gpt_from_files(ctx, NULL, path, AG_F32));
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
    ag_gpt *gpt = ag_gpt_from_files(ctx, path, fixture("llama", "model.safetensors"), AG_F32);
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

/* Every beginning of a configuration, and each byte replaced, is an error or a model; never anything else. */
START_TEST(damaged_configurations)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file(), *weights = fixture(gpts[_i].name, "model.safetensors");
    static const char other[] = "\"{[9-e\\\377";
    char text[TEXT_MOST];
    size_t size = read_text(fixture(gpts[_i].name, "config.json"), text);
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

/* Whichever allocation fails: no model, an error, nothing lost. */
typedef struct purse {
    int64_t left;
    size_t bytes;
} purse;

static void *purse_alloc(void *user, size_t size)
{
    purse *p = user;
    if (p->left == 0)
        return NULL;
    p->left--;
    p->bytes += size;
    return malloc(size);
}

static void purse_free(void *user, void *block, size_t size)
{
    ((purse *)user)->bytes -= size;
    free(block);
}

START_TEST(out_of_memory)
{
    bool made = false;
    for (int64_t left = 0; left < 20000 && !made; left++) {
        purse p = { .left = 100000 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1, .allocator = { purse_alloc, purse_free, &p } });
        p.left = left;
        ag_encoder *encoder = ag_encoder_from_files(ctx, fixture("bert", "config.json"),
                                                    fixture("bert", "model.safetensors"), AG_F32);
        made = encoder != NULL;
        ck_assert_int_eq(ag_error(ctx), made ? AG_OK : AG_ERR_MEMORY);
        ag_encoder_free(encoder);
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
        ck_assert_uint_eq(p.bytes, 0);
    }
    ck_assert(made);
}
END_TEST

Suite *pretrained_suite(void)
{
    Suite *suite = suite_create("pretrained");
    TCase *tcase = tcase_create("pretrained");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, gpt_like_transformers, 0, 2 * GPTS);
    tcase_add_loop_test(tcase, other_configurations, 0, sizeof variants / sizeof *variants);
    tcase_add_loop_test(tcase, bert_like_transformers, 0, 2);
    tcase_add_test(tcase, bert_as_published);
    tcase_add_loop_test(tcase, generates_like_transformers, 0, 2 * GPTS);
    tcase_add_test(tcase, configurations);
    tcase_add_loop_test(tcase, gpt_refused, 0, UNSUPPORTED);
    tcase_add_test(tcase, bert_refused);
    tcase_add_test(tcase, older_configuration);
    tcase_add_loop_test(tcase, damaged_configurations, 0, GPTS);
    tcase_add_test(tcase, json_values);
    tcase_add_test(tcase, out_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
