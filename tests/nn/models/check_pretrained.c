/* SPDX-License-Identifier: MIT
 *
 * check_pretrained.c - models from the files of the transformers package: values, all gradients and greedy generation
 * against what it computed (fixtures/make_pretrained_fixtures.py).
 */
#include "tests/nn/models/pretrained_fixture.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS_MOST = 32 };

/* ---- Values and gradients ---- */

/* Every parameter's gradient against the one in the file, which is read into the parameters of a second model. */
static void assert_gradients(const char *model, ag_module *got, ag_module *want, const ag_weight_rule *rules,
                             int64_t rule_count, const char *prefix)
{
    ag_ctx *ctx = ag_ctx_of(ag_module_param(got, 0).tensor);
    assert_ok(ctx, ag_module_load_named(want, model_file(model, "gradients.safetensors"), rules, rule_count, prefix));
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
    { "qwen3", ag_llama_names, &ag_llama_name_count, NULL },
    { "qwen2", ag_llama_names, &ag_llama_name_count, NULL },
    { "smollm3", ag_llama_names, &ag_llama_name_count, NULL },
    { "gpt_neox", ag_gpt_neox_names, &ag_gpt_neox_name_count, NULL },
    { "phi", ag_phi_names, &ag_phi_name_count, NULL },
}, encoders[] = {
    { "bert", ag_bert_names, &ag_bert_name_count, "bert." },
    { "roberta", ag_bert_names, &ag_bert_name_count, "roberta." },
    { "distilbert", ag_distilbert_names, &ag_distilbert_name_count, "distilbert." },
};
enum { GPTS = sizeof gpts / sizeof *gpts, ENCODERS = sizeof encoders / sizeof *encoders };

static ag_gpt *load_gpt(ag_ctx *ctx, const char *model, ag_dtype dtype)
{
    ag_gpt *gpt =
        ag_gpt_from_files(ctx, model_file(model, "config.json"), model_file(model, "model.safetensors"), dtype);
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
    ag_safetensors *file = ag_safetensors_open(ctx, model_file(model, "expected.safetensors"));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *logits = ag_gpt_forward(gpt, stored_tensor(file, "tokens", dtype));
    assert_no_error(ctx);
    assert_near(model, "logits", logits, stored_tensor(file, "logits", AG_F64));
    assert_ok(ctx, ag_backward(tape, test_total(ag_mul(logits, stored_tensor(file, "gy", dtype)))));
    assert_gradients(model, ag_gpt_module(gpt), ag_gpt_module(want), gpts[_i / 2].rules, *gpts[_i / 2].rule_count,
                     gpts[_i / 2].prefix);
    ag_tape_end(tape);
    ag_safetensors_close(file);
    ag_gpt_free(gpt);
    ag_gpt_free(want);
    test_end(ctx);
}
END_TEST

static ag_encoder *load_encoder(ag_ctx *ctx, const char *model, const char *weights, ag_dtype dtype)
{
    ag_encoder *encoder = ag_encoder_from_files(ctx, model_file(model, "config.json"), weights, dtype);
    ck_assert_msg(encoder != NULL, "%s", ag_error_message(ctx));
    ag_module_set_training(ag_encoder_module(encoder), false);
    return encoder;
}

/* Hidden states of the tokens that are there, pooled ones and means. */
START_TEST(encoder_like_transformers)
{
    const char *model = encoders[_i / 2].name;
    ag_dtype dtype = _i % 2 == 0 ? AG_F64 : AG_F32;
    ag_ctx *ctx = test_begin_serial();
    const char *weights = model_file(model, "model.safetensors");
    ag_encoder *encoder = load_encoder(ctx, model, weights, dtype), *want = load_encoder(ctx, model, weights, dtype);
    ag_safetensors *file = ag_safetensors_open(ctx, model_file(model, "expected.safetensors"));
    ag_tensor *lengths = stored_tensor(file, "lengths", dtype), *types = NULL;
    if (ag_encoder_config_of(encoder)->type_vocab_size > 1)
        types = stored_tensor(file, "types", dtype);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *hidden = ag_encoder_forward(encoder, stored_tensor(file, "tokens", dtype), lengths, types);
    ag_tensor *pooled = ag_encoder_pool(encoder, hidden, lengths, AG_POOL_FIRST);
    ag_tensor *loss = ag_add(test_total(ag_mul(hidden, stored_tensor(file, "g_hidden", dtype))),
                             test_total(ag_mul(pooled, stored_tensor(file, "g_pooled", dtype))));
    assert_ok(ctx, ag_backward(tape, loss));
    for (int64_t b = 0; b < ag_dim(hidden, 0); b++) {
        int64_t length = (int64_t)test_at(lengths, b);
        assert_near(model, "hidden", ag_slice(ag_select(hidden, 0, b), 0, 0, length, 1),
                    ag_slice(ag_select(stored_tensor(file, "hidden", AG_F64), 0, b), 0, 0, length, 1));
    }
    assert_near(model, "pooled", pooled, stored_tensor(file, "pooled", AG_F64));
    assert_near(model, "mean", ag_encoder_pool(encoder, hidden, lengths, AG_POOL_MEAN),
                stored_tensor(file, "mean", AG_F64));
    assert_gradients(model, ag_encoder_module(encoder), ag_encoder_module(want), encoders[_i / 2].rules,
                     *encoders[_i / 2].rule_count, encoders[_i / 2].prefix);
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
    ag_safetensors *file = ag_safetensors_open(ctx, model_file("bert", "model.safetensors"));
    ag_encoder *want = load_encoder(ctx, "bert", model_file("bert", "model.safetensors"), AG_F32);
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
        ag_encoder *got = load_encoder(ctx, "bert", path, AG_F32);
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

/* What is saved under their names is what was loaded. */
START_TEST(saved_under_their_names)
{
    ag_ctx *ctx = test_begin_serial();
    const char *path = test_file();
    ag_gpt *gpt = load_gpt(ctx, gpts[_i].name, AG_F32);
    ag_module *module = ag_gpt_module(gpt);
    assert_ok(ctx, ag_module_save_named(module, path, gpts[_i].rules, *gpts[_i].rule_count));
    ag_gpt *again = ag_gpt_from_files(ctx, model_file(gpts[_i].name, "config.json"), path, AG_F32);
    assert_no_error(ctx);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor p = ag_module_param(module, i);
        assert_same_bits(ag_module_param(ag_gpt_module(again), i).tensor, p.tensor);
    }
    ag_gpt_free(gpt);
    ag_gpt_free(again);
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
    ck_assert_int_eq(read_lines(model_file(model, "prompts.txt"), prompt, LINES + 1), LINES);
    ck_assert_int_eq(read_lines(model_file(model, "generated.txt"), want, LINES + 1), LINES);
    int32_t end[4], next[LINES * TOKENS_MOST] = { 0 };
    int64_t ends = ag_eos_from_file(ctx, model_file(model, "config.json"), end, 4), counts[LINES], T = 0, left = LINES;
    ck_assert_int_eq(ends, strcmp(model, "llama") == 0 || strcmp(model, "phi") == 0 ? 2 : 1);
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
    ck_assert(c->untied_head && c->no_attn_bias && c->no_ff_bias);
    c = ag_gpt_config_of(llama3);
    ck_assert_double_eq(c->norm_eps, 1e-6);
    ck_assert_double_eq(c->attention.rope.factor, 8);
    ck_assert_int_eq(c->attention.rope.original_len, 60);
    ck_assert(!c->untied_head && !c->no_bias && !c->no_attn_bias && !c->no_ff_bias);
    ag_gpt_free(gpt2);
    ag_gpt_free(llama);
    ag_gpt_free(llama3);
    test_end(ctx);
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

/* A model is saved under the names of the file that it comes from, with or without a prefix, from F16 and BF16 too: a
 * model without changes gives back all values, as float32. */
START_TEST(saved_under_the_same_names)
{
    ag_ctx *ctx = test_begin();
    const char *model = gpts[_i].name, *config = model_file(model, "config.json"), *path = test_file();
    const char *weights = model_file(model, "model.safetensors");
    ag_gpt *gpt = load_gpt(ctx, model, AG_F32);
    assert_ok(ctx, ag_gpt_to_file(gpt, config, weights, path));
    ag_safetensors *given = ag_safetensors_open(ctx, weights), *saved = ag_safetensors_open(ctx, path);
    const bool head = ag_gpt_config_of(gpt)->untied_head;
    int64_t others = 0;
    for (int64_t i = 0; i < ag_safetensors_count(given); i++) {
        const char *name = ag_safetensors_name(given, i);
        if (!head && strcmp(name, "lm_head.weight") == 0)
            others++;
        else
            assert_same_bits(ag_safetensors_read(saved, name), ag_safetensors_read(given, name));
    }
    ck_assert_int_eq(ag_safetensors_count(saved), ag_safetensors_count(given) - others);
    ag_safetensors_close(given);
    ag_safetensors_close(saved);
    ck_assert_int_eq(ag_gpt_to_file(gpt, config, path, "no/such/folder/file"), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "no/such/folder");
    ck_assert_int_eq(ag_gpt_to_file(gpt, model_file("bert", "config.json"), weights, path), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "model_type is bert");
    ck_assert_int_eq(ag_gpt_to_file(NULL, config, weights, path), AG_ERR_ARGUMENT);
    ag_gpt_free(gpt);
    remove(path);
    test_end(ctx);
}
END_TEST

START_TEST(out_of_memory)
{
    bool made = false;
    for (int64_t left = 0; left < 20000 && !made; left++) {
        purse p = { .left = 100000 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1, .allocator = { purse_alloc, purse_free, &p } });
        p.left = left;
        ag_encoder *encoder = ag_encoder_from_files(ctx, model_file("bert", "config.json"),
                                                    model_file("bert", "model.safetensors"), AG_F32);
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
    tcase_add_loop_test(tcase, encoder_like_transformers, 0, 2 * ENCODERS);
    tcase_add_test(tcase, bert_as_published);
    tcase_add_loop_test(tcase, saved_under_their_names, 0, GPTS);
    tcase_add_loop_test(tcase, generates_like_transformers, 0, 2 * GPTS);
    tcase_add_test(tcase, configurations);
    tcase_add_loop_test(tcase, saved_under_the_same_names, 0, GPTS);
    tcase_add_test(tcase, out_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
