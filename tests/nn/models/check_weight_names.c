/* SPDX-License-Identifier: MIT
 *
 * check_weight_names.c - parameters in files under other names: rules, parts, transposed, prefixes, casts; what is
 * refused, and that nothing changes then; the transformers package's GPT-2 there and back.
 */
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>

#ifndef AG_FIXTURES
#define AG_FIXTURES "tests/fixtures"
#endif

#define COUNT(table) (int64_t)(sizeof(table) / sizeof *(table))

/* A safetensors file of these tensors. */
static void write_file(ag_ctx *ctx, const char *path, const ag_named_tensor *tensors, int64_t count)
{
    assert_ok(ctx, ag_safetensors_save(ctx, path, tensors, count, NULL, 0));
}

/* up.weight[2,3] and down.weight[3,2]. */
static ag_feed_forward *make_pair(ag_ctx *ctx, ag_dtype dtype)
{
    return ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 3, .ff_size = 2, .no_bias = true,
                                                              .dtype = dtype });
}

static void assert_refused(ag_ctx *ctx, ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count,
                           const char *prefix, ag_status status, const char *text)
{
    ag_tensor *before[8];
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        before[i] = ag_tensor_clone(ag_module_param(module, i).tensor);
    ck_assert_int_eq(ag_module_load_named(module, path, rules, count, prefix), status);
    assert_error(ctx, status, text);
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        assert_same(ag_module_param(module, i).tensor, before[i]);
}

START_TEST(transposed_and_cast)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_named_tensor file[] = {
        { "a", ag_from_data(ctx, AG_F64, AG_SHAPE(3, 2), (double[]){ 1, 2, 3, 4, 5, 6 }) },
        { "b", ag_from_data(ctx, AG_F32, AG_SHAPE(3, 2), (float[]){ 10, 20, 30, 40, 50, 60 }) },
        { "besides", ag_from_data(ctx, AG_F32, AG_SHAPE(1), (float[]){ 0 }) },
    };
    write_file(ctx, path, file, COUNT(file));
    const ag_weight_rule rules[] = { { .ours = "up.weight", .theirs = "a", .transposed = true },
                                     { .ours = "down.weight", .theirs = "b" } };
    for (int i = 0; i < 2; i++) {
        ag_feed_forward *pair = make_pair(ctx, i == 0 ? AG_F32 : AG_F64);
        ag_module *module = ag_feed_forward_module(pair);
        assert_ok(ctx, ag_module_load_named(module, path, rules, 2, NULL));
        assert_values(test_param(module, "up.weight"), 0, 1, 3, 5, 2, 4, 6);
        assert_values(test_param(module, "down.weight"), 0, 10, 20, 30, 40, 50, 60);
        ag_feed_forward_free(pair);
    }
    remove(path);
    test_end(ctx);
}
END_TEST

/* Both weights in one tensor of the file, as rows one after the other, or as columns of a transposed one. */
START_TEST(parts)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_feed_forward *pair = ag_feed_forward_new(ctx, (ag_feed_forward_config){ .emb_size = 2, .ff_size = 2 });
    ag_module *module = ag_feed_forward_module(pair);
    ag_named_tensor file[] = {
        { "w", ag_from_data(ctx, AG_F32, AG_SHAPE(4, 2), (float[]){ 1, 2, 3, 4, 5, 6, 7, 8 }) },
        { "t", ag_from_data(ctx, AG_F32, AG_SHAPE(2, 4), (float[]){ 1, 3, 5, 7, 2, 4, 6, 8 }) },
        { "bias", ag_from_data(ctx, AG_F32, AG_SHAPE(4), (float[]){ 9, 10, 11, 12 }) },
    };
    write_file(ctx, path, file, COUNT(file));
    for (int transposed = 0; transposed < 2; transposed++) {
        const char *w = transposed ? "t" : "w";
        const ag_weight_rule rules[] = {
            { "down.weight", w, .transposed = transposed == 1, .part = 0, .parts = 2 },
            { "up.weight", w, .transposed = transposed == 1, .part = 1, .parts = 2 },
            { .ours = "up.bias", .theirs = "bias", .part = 0, .parts = 2 },
            { .ours = "down.bias", .theirs = "bias", .part = 1, .parts = 2 },
        };
        test_fill_params(module, 1);
        assert_ok(ctx, ag_module_load_named(module, path, rules, 4, NULL));
        assert_values(test_param(module, "down.weight"), 0, 1, 2, 3, 4);
        assert_values(test_param(module, "up.weight"), 0, 5, 6, 7, 8);
        assert_values(test_param(module, "up.bias"), 0, 9, 10);
        assert_values(test_param(module, "down.bias"), 0, 11, 12);
        char again[320];
        snprintf(again, sizeof again, "%s-again", path);
        assert_ok(ctx, ag_module_save_named(module, again, rules, 4));
        ag_safetensors *opened = ag_safetensors_open(ctx, again);
        ck_assert_int_eq(ag_safetensors_count(opened), 2);
        assert_same_bits(ag_safetensors_read(opened, w), file[transposed].tensor);
        assert_same_bits(ag_safetensors_read(opened, "bias"), file[2].tensor);
        ag_safetensors_close(opened);
        remove(again);
    }
    ag_feed_forward_free(pair);
    remove(path);
    test_end(ctx);
}
END_TEST

/* "{}" is one number, the same in both names; the first rule counts whose tensor the file has; the prefix stands
 * before the names that the file has with it. */
START_TEST(names)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_transformer_config model = { .vocab_size = 2, .max_seq_len = 2, .emb_size = 1, .num_heads = 1, .num_layers = 12,
                                    .no_bias = true };
    ag_gpt *gpt = ag_gpt_new(ctx, model);
    ag_module *module = ag_gpt_module(gpt);
    char name[12][40];
    ag_named_tensor file[14];
    for (int i = 0; i < 12; i++) {
        snprintf(name[i], sizeof name[i], "%s%d.w", i % 2 == 0 ? "model.h." : "h.", i);
        float value = (float)(100 + i);
        file[i] = (ag_named_tensor){ name[i], ag_from_data(ctx, AG_F32, AG_SHAPE(1), &value) };
    }
    file[12] = (ag_named_tensor){ "old.gamma", ag_from_data(ctx, AG_F32, AG_SHAPE(1), (float[]){ 7 }) };
    file[13] = (ag_named_tensor){ "h.1.w.w", ag_from_data(ctx, AG_F32, AG_SHAPE(1), (float[]){ 8 }) };
    write_file(ctx, path, file, 14);
    const ag_weight_rule rules[] = {
        { .ours = "blocks.{}.norm1.weight", .theirs = "h.{}.w" },
        { .ours = "norm.weight", .theirs = "new.weight" },
        { .ours = "norm.weight", .theirs = "old.gamma" },
        { .ours = "norm.weight", .theirs = "old.beta" },
        { .ours = "tok.weight", .theirs = "tok.weight", .optional = true },
        { .ours = "pos.weight", .theirs = "nothing", .optional = true },
        { .ours = "blocks.{}.norm2.weight", .theirs = "none.{}", .optional = true },
        { .ours = "blocks.{}.attn.q.weight", .theirs = "none.q.{}", .optional = true },
        { .ours = "blocks.{}.attn.k.weight", .theirs = "none.k.{}", .optional = true },
        { .ours = "blocks.{}.attn.v.weight", .theirs = "none.v.{}", .optional = true },
        { .ours = "blocks.{}.attn.proj.weight", .theirs = "none.proj.{}", .optional = true },
        { .ours = "blocks.{}.ff.up.weight", .theirs = "none.up.{}", .optional = true },
        { .ours = "blocks.{}.ff.down.weight", .theirs = "none.down.{}", .optional = true },
    };
    ag_tensor *tok = ag_tensor_clone(test_param(module, "tok.weight"));
    assert_ok(ctx, ag_module_load_named(module, path, rules, COUNT(rules), "model."));
    for (int i = 0; i < 12; i++) {
        char ours[40];
        snprintf(ours, sizeof ours, "blocks.%d.norm1.weight", i);
        assert_values(test_param(module, ours), 0, 100.0 + i);
    }
    assert_values(test_param(module, "norm.weight"), 0, 7);
    assert_same(test_param(module, "tok.weight"), tok); /* it may be missing */
    ck_assert_int_eq(ag_module_load_named(module, path, rules, COUNT(rules), NULL), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, " has no h.0.w, wanted for blocks.0.norm1.weight [1]");
    ag_gpt_free(gpt);
    remove(path);
    test_end(ctx);
}
END_TEST

START_TEST(refused)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_feed_forward *pair = make_pair(ctx, AG_F32);
    ag_module *module = ag_feed_forward_module(pair);
    ag_named_tensor file[] = {
        { "a", ag_randn(ctx, AG_F32, AG_SHAPE(2, 3)) },    { "b", ag_randn(ctx, AG_F32, AG_SHAPE(3, 2)) },
        { "i", ag_zeros(ctx, AG_I32, AG_SHAPE(3, 2)) },    { "wide", ag_randn(ctx, AG_F32, AG_SHAPE(3, 4)) },
        { "flat", ag_randn(ctx, AG_F32, AG_SHAPE(6)) },    { "one", ag_randn(ctx, AG_F32, AG_SHAPE(1, 2)) },
    };
    write_file(ctx, path, file, COUNT(file));
    const struct {
        ag_weight_rule rule;
        const char *message; /* %s: the file's path */
    } misfit[] = {
        { { .ours = "down.weight", .theirs = "missing" }, "%s has no missing, wanted for down.weight [3,2]" },
        { { .ours = "down.weight", .theirs = "a" }, "a in %s is float32 [2,3], wanted [3,2] for down.weight [3,2]" },
        { { .ours = "down.weight", .theirs = "i" }, "i in %s is int32 [3,2], wanted [3,2] for down.weight [3,2]" },
        { { .ours = "down.weight", .theirs = "flat" },
          "flat in %s is float32 [6], wanted [3,2] for down.weight [3,2]" },
        { { .ours = "down.weight", .theirs = "one" },
          "one in %s is float32 [1,2], wanted [3,2] for down.weight [3,2]" },
        { { .ours = "down.weight", .theirs = "b", .transposed = true },
          "b in %s is float32 [3,2], wanted [2,3] for down.weight [3,2], transposed" },
        { { .ours = "down.weight", .theirs = "b", .part = 1, .parts = 3 },
          "b in %s is float32 [3,2], wanted [9,2] for down.weight [3,2], part 1 of 3" },
        { { .ours = "down.weight", .theirs = "wide", .transposed = true, .part = 1, .parts = 2 },
          "wide in %s is float32 [3,4], wanted [2,6] for down.weight [3,2], part 1 of 2, transposed" },
    };
    for (size_t i = 0; i < sizeof misfit / sizeof *misfit; i++) {
        const ag_weight_rule rules[] = { { .ours = "up.weight", .theirs = "a" }, misfit[i].rule };
        char message[600];
        const char *at = strstr(misfit[i].message, "%s");
        snprintf(message, sizeof message, "%.*s%s%s", (int)(at - misfit[i].message), misfit[i].message, path, at + 2);
        assert_refused(ctx, module, path, rules, 2, NULL, AG_ERR_FILE, message);
    }
    const ag_weight_rule part_3[] = { { .ours = "up.weight", .theirs = "a" },
                                      { .ours = "down.weight", .theirs = "b", .part = 3, .parts = 3 } };
    assert_refused(ctx, module, path, part_3, 2, NULL, AG_ERR_ARGUMENT, "rule 1 (down.weight, b): part 3 of 3");
    const ag_weight_rule part_0[] = { { .ours = "up.weight", .theirs = "a" },
                                      { .ours = "down.weight", .theirs = "b", .part = 1 } };
    assert_refused(ctx, module, path, part_0, 2, NULL, AG_ERR_ARGUMENT, "rule 1 (down.weight, b): part 1 of 0");
    const ag_weight_rule no_name[] = { { .ours = "up.weight", .theirs = NULL } };
    assert_refused(ctx, module, path, no_name, 1, NULL, AG_ERR_ARGUMENT, "rule 0 (up.weight, NULL): part 0 of 0");
    assert_refused(ctx, module, path, part_0, 1, NULL, AG_ERR_ARGUMENT, "no rule is for down.weight");
    const ag_weight_rule number[] = { { .ours = "up.weight", .theirs = "a" }, { .ours = "down.{}", .theirs = "b" } };
    assert_refused(ctx, module, path, number, 2, NULL, AG_ERR_ARGUMENT, "no rule is for down.weight");
    char longest[300];
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const ag_weight_rule too_long[] = { { .ours = "up.weight", .theirs = longest } };
    assert_refused(ctx, module, path, too_long, 1, NULL, AG_ERR_ARGUMENT, "the other name of up.weight is longer than");
    assert_refused(ctx, module, "no/such/file", part_0, 0, NULL, AG_ERR_FILE, "no/such/file: can not be opened");
    ck_assert_int_eq(ag_module_load_named(NULL, path, part_0, 1, NULL), AG_ERR_ARGUMENT);
    assert_refused(ctx, module, path, NULL, 1, NULL, AG_ERR_ARGUMENT, "rules is NULL");
    ag_feed_forward_free(pair);
    remove(path);
    test_end(ctx);
}
END_TEST

START_TEST(saving_refused)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_feed_forward *pair = make_pair(ctx, AG_F32);
    const ag_module *module = ag_feed_forward_module(pair);
    const ag_weight_rule alone[] = { { .ours = "up.weight", .theirs = "a", .part = 1, .parts = 2 },
                                     { .ours = "down.weight", .theirs = "b" } };
    ck_assert_int_eq(ag_module_save_named(module, path, alone, 2), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "module_save_named: nothing is part 0 of 2 of a");
    const ag_weight_rule unequal[] = { { .ours = "up.weight", .theirs = "a", .part = 0, .parts = 2 },
                                       { .ours = "down.weight", .theirs = "a", .part = 1, .parts = 2 } };
    ck_assert_int_eq(ag_module_save_named(module, path, unequal, 2), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "up.weight [2,3] and down.weight [3,2] are not equal parts of a");
    const ag_weight_rule same[] = { { .ours = "up.weight", .theirs = "a" }, { .ours = "down.weight", .theirs = "a" } };
    ck_assert_int_eq(ag_module_save_named(module, path, same, 2), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "safetensors_save");
    ck_assert_int_eq(ag_module_save_named(module, path, same, 1), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "no rule is for down.weight");
    ck_assert_int_eq(ag_module_save_named(module, NULL, same, 2), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "path is NULL");
    ag_feed_forward_free(pair);
    remove(path);
    test_end(ctx);
}
END_TEST

/* ---- The transformers package's GPT-2 ---- */

static ag_gpt *make_gpt2(ag_ctx *ctx)
{
    return ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = 50, .max_seq_len = 24, .emb_size = 16, .num_heads = 2,
                                                    .num_layers = 2, .ff_size = 40 });
}

static const char gpt2_path[] = AG_FIXTURES "/pretrained/gpt2/model.safetensors";

/* Row r of k in block 1 is column 16 + r of c_attn, and what is saved is what was loaded. */
START_TEST(gpt2_there_and_back)
{
    ag_ctx *ctx = test_begin();
    const char *path = test_file();
    ag_gpt *gpt = make_gpt2(ctx);
    ag_module *module = ag_gpt_module(gpt);
    assert_ok(ctx, ag_module_load_named(module, gpt2_path, ag_gpt2_names, ag_gpt2_name_count, "transformer."));
    ag_safetensors *given = ag_safetensors_open(ctx, gpt2_path);
    ck_assert_ptr_nonnull(given);
    ag_tensor *c_attn = ag_safetensors_read(given, "transformer.h.1.attn.c_attn.weight");
    assert_same(test_param(module, "blocks.1.attn.k.weight"),
                ag_transpose(ag_slice(c_attn, 1, 16, 32, 1), 0, 1));
    assert_same(test_param(module, "blocks.1.attn.v.bias"),
                ag_slice(ag_safetensors_read(given, "transformer.h.1.attn.c_attn.bias"), 0, 32, 48, 1));
    assert_ok(ctx, ag_module_save_named(module, path, ag_gpt2_names, ag_gpt2_name_count));
    ag_safetensors *saved = ag_safetensors_open(ctx, path);
    ck_assert_int_eq(ag_safetensors_count(saved), ag_safetensors_count(given));
    for (int64_t i = 0; i < ag_safetensors_count(given); i++) {
        const char *name = ag_safetensors_name(given, i);
        assert_same_bits(ag_safetensors_read(saved, name + strlen("transformer.")), ag_safetensors_read(given, name));
    }
    ag_safetensors_close(saved);
    test_fill_params(module, 1); /* without the prefix, as the published file has it */
    assert_ok(ctx, ag_module_load_named(module, path, ag_gpt2_names, ag_gpt2_name_count, "transformer."));
    assert_same(test_param(module, "tok.weight"), ag_safetensors_read(given, "transformer.wte.weight"));
    ag_safetensors_close(given);
    ag_gpt_free(gpt);
    remove(path);
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

typedef struct counter {
    int64_t left; /* calls that succeed; -1: all */
    size_t bytes;
} counter;

static void *counted_alloc(void *user, size_t size)
{
    counter *c = user;
    if (c->left == 0)
        return NULL;
    c->left -= c->left > 0;
    c->bytes += size;
    return malloc(size);
}

static void counted_free(void *user, void *block, size_t size)
{
    ((counter *)user)->bytes -= size;
    free(block);
}

/* Whichever allocation fails, it is an error, nothing has changed and nothing leaks. */
START_TEST(out_of_memory)
{
    const char *path = test_file();
    bool done = false;
    for (int64_t calls = 0; calls < 5000 && !done; calls++) {
        counter c = { .left = -1 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1, .allocator = { counted_alloc, counted_free, &c } });
        ag_gpt *gpt = make_gpt2(ctx);
        assert_ok(ctx, ag_fill(test_param(ag_gpt_module(gpt), "norm.weight"), 3));
        ag_ctx_trim(ctx);
        c.left = calls;
        ag_status status =
            ag_module_load_named(ag_gpt_module(gpt), gpt2_path, ag_gpt2_names, ag_gpt2_name_count, "transformer.");
        ck_assert(status == AG_OK || status == AG_ERR_MEMORY);
        ck_assert((test_at(test_param(ag_gpt_module(gpt), "norm.weight"), 0) == 3) == (status != AG_OK));
        if (status == AG_OK)
            status = ag_module_save_named(ag_gpt_module(gpt), path, ag_gpt2_names, ag_gpt2_name_count);
        ck_assert(status == AG_OK || status == AG_ERR_MEMORY);
        done = status == AG_OK;
        c.left = -1;
        ag_gpt_free(gpt);
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
        ck_assert_uint_eq(c.bytes, 0);
    }
    ck_assert(done);
    remove(path);
}
END_TEST

Suite *weight_names_suite(void)
{
    Suite *suite = suite_create("weight_names");
    TCase *tcase = tcase_create("weight_names");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, transposed_and_cast);
    tcase_add_test(tcase, parts);
    tcase_add_test(tcase, names);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, saving_refused);
    tcase_add_test(tcase, gpt2_there_and_back);
    tcase_add_test(tcase, out_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
