/* SPDX-License-Identifier: MIT
 *
 * check_pretrained_files.c - the weights of a pretrained model in one file or in shards of several dtypes, in a folder
 * or named themselves: the same model, with the memory of the weights; and what is said where weights are missing.
 */
#define _POSIX_C_SOURCE 200809L

#include "tests/nn/models/pretrained_fixture.h"

#include "tensor/files/safetensors_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHARDS = 3, TENSORS_MOST = 64, BYTES_MOST = 20000 };

static char folder[200];
static const char index_name[] = "model.safetensors.index.json";

/* A path in the folder. */
static const char *inside(const char *name)
{
    static char path[4][300];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static const char *shard_name(int shard)
{
    static const char *const name[] = { "one.safetensors", "two.safetensors", "three.safetensors" };
    return name[shard];
}

static void make_folder_of_model(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/attngrad-model-XXXXXX", base != NULL ? base : "build");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder_of_model(void)
{
    for (int i = 0; i < SHARDS; i++)
        remove(inside(shard_name(i)));
    remove(inside(index_name));
    remove(inside("model.safetensors"));
    remove(inside("config.json"));
    ck_assert(rmdir(folder) == 0);
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(inside(name), "wb");
    ck_assert(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void copy_file(const char *from, const char *name)
{
    static char bytes[BYTES_MOST];
    FILE *file = fopen(from, "rb");
    ck_assert(file != NULL);
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    ck_assert(size < sizeof bytes && fclose(file) == 0);
    write_file(name, bytes, size);
}

/* float32 tensors whose values bfloat16 has too, as a file of bfloat16. */
static void write_bf16(const char *name, const ag_named_tensor *tensor, int64_t count)
{
    static char bytes[BYTES_MOST];
    char *header = bytes + 8, *at = header;
    int64_t offset = 0;
    for (int64_t i = 0; i < count; i++) {
        const ag_tensor *t = tensor[i].tensor;
        at += sprintf(at, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":%s,\"data_offsets\":[%lld,%lld]}",
                      i == 0 ? "{" : ",", tensor[i].name, ag_shape_text(t), (long long)offset,
                      (long long)(offset + 2 * ag_numel(t)));
        offset += 2 * ag_numel(t);
    }
    *at++ = '}';
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)(at - header) >> 8 * i & 0xff);
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < ag_numel(tensor[i].tensor); k++) {
            const float value = (float)test_at(tensor[i].tensor, k);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            ck_assert_uint_eq(bits & 0xffff, 0);
            *at++ = (char)(bits >> 16 & 0xff);
            *at++ = (char)(bits >> 24);
        }
    ck_assert(at - bytes < BYTES_MOST);
    write_file(name, bytes, (size_t)(at - bytes));
}

/* The tensors of a file in three shards in turn, and the index: float32, bfloat16 and float64 if mixed, else float32.
 */
static void write_shards(const char *weights, bool mixed)
{
    static char map[BYTES_MOST];
    ag_ctx *ctx = test_begin_serial();
    ag_safetensors *file = ag_safetensors_open(ctx, weights);
    ag_named_tensor part[SHARDS][TENSORS_MOST];
    int64_t count[SHARDS] = { 0 };
    char *at = map + sprintf(map, "{\"weight_map\":{");
    for (int64_t i = 0; i < ag_safetensors_count(file); i++) {
        const char *name = ag_safetensors_name(file, i);
        const int shard = (int)(i % SHARDS);
        ag_tensor *t = ag_safetensors_read(file, name);
        part[shard][count[shard]++] = (ag_named_tensor){ name, mixed && shard == 2 ? ag_tensor_cast(t, AG_F64) : t };
        at += sprintf(at, "%s\"%s\":\"%s\"", i == 0 ? "" : ",", name, shard_name(shard));
    }
    at += sprintf(at, "}}");
    for (int i = 0; i < SHARDS; i++)
        if (mixed && i == 1)
            write_bf16(shard_name(i), part[i], count[i]);
        else
            assert_ok(ctx, ag_safetensors_save(ctx, inside(shard_name(i)), part[i], count[i], NULL, 0));
    write_file(index_name, map, (size_t)(at - map));
    ag_safetensors_close(file);
    test_end(ctx);
}

static ag_gpt *load_from(ag_ctx *ctx, const char *weights, ag_dtype dtype)
{
    return ag_gpt_from_files(ctx, inside("config.json"), weights, dtype);
}

/* Shards of float32, bfloat16 and float64 give the model of the one file of bfloat16. */
START_TEST(shards_are_the_same_model)
{
    const ag_dtype dtype = _i == 0 ? AG_F32 : AG_F64;
    copy_file(model_file("llama", "config.json"), "config.json");
    write_shards(model_file("llama", "model.safetensors"), true);
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *want = load_from(ctx, model_file("llama", "model.safetensors"), dtype);
    ag_gpt *named = load_from(ctx, inside(index_name), dtype), *found = load_from(ctx, folder, dtype);
    assert_no_error(ctx);
    for (int64_t i = 0; i < ag_module_param_count(ag_gpt_module(want)); i++) {
        ag_named_tensor p = ag_module_param(ag_gpt_module(want), i);
        assert_same_bits(ag_module_param(ag_gpt_module(named), i).tensor, p.tensor);
        assert_same_bits(ag_module_param(ag_gpt_module(found), i).tensor, p.tensor);
    }
    ag_gpt_free(want);
    ag_gpt_free(named);
    ag_gpt_free(found);
    test_end(ctx);
}
END_TEST

/* Of a folder with both, the file counts, as in the transformers package. */
START_TEST(a_file_comes_before_an_index)
{
    copy_file(model_file("llama", "config.json"), "config.json");
    copy_file(model_file("llama", "model.safetensors"), "model.safetensors");
    write_file(index_name, "{", 1);
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *gpt = load_from(ctx, folder, AG_F32);
    assert_no_error(ctx);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(missing_weights)
{
    ag_ctx *ctx = test_begin_serial();
    copy_file(model_file("llama", "config.json"), "config.json");
    ck_assert_ptr_null(load_from(ctx, folder, AG_F32));
    assert_error(ctx, AG_ERR_FILE, " has neither model.safetensors nor model.safetensors.index.json; weights in "
                                   "another format must be saved as safetensors");
    ck_assert_ptr_null(load_from(ctx, inside("config.json"), AG_F32));
    assert_error(ctx, AG_ERR_FILE, "config.json: neither safetensors nor an index of shards: has no weight_map");
    write_shards(model_file("llama", "model.safetensors"), false);
    remove(inside(shard_name(1)));
    ck_assert_ptr_null(load_from(ctx, folder, AG_F32));
    assert_error(ctx, AG_ERR_FILE, "two.safetensors, which can not be opened: ");
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

/* A Llama with weights of 7 MB. */
static void write_llama(const char *path)
{
    static const char text[] =
        "{\"model_type\": \"llama\", \"vocab_size\": 1000, \"hidden_size\": 256, \"num_attention_heads\": 4,"
        " \"num_hidden_layers\": 2, \"intermediate_size\": 700, \"max_position_embeddings\": 64,"
        " \"tie_word_embeddings\": true}";
    write_file("config.json", text, sizeof text - 1);
    ag_ctx *ctx = test_begin_serial();
    ag_gpt *gpt = ag_gpt_new(ctx, (ag_transformer_config){
        .vocab_size = 1000, .emb_size = 256, .num_heads = 4, .num_layers = 2, .ff_size = 700, .max_seq_len = 64,
        .norm = AG_RMS_NORM, .gated = true, .activation = AG_SILU, .positions = AG_POSITIONS_NONE, .no_bias = true,
        .attention = { .rotary = &ag_rotary } });
    assert_ok(ctx, ag_module_save_named(ag_gpt_module(gpt), path, ag_llama_names, ag_llama_name_count));
    ag_gpt_free(gpt);
    test_end(ctx);
}

/* Values are read into the parameters: there is no second copy at any time, and nothing is drawn. */
START_TEST(loading_takes_the_memory_of_the_weights)
{
    const char *weights = inside("model.safetensors");
    write_llama(weights);
    if (_i == 1) {
        write_shards(weights, false);
        remove(weights);
    }
    ag_ctx *ctx = test_begin_serial();
    const ag_rng before = ag_rng_get(ctx);
    ag_gpt *gpt = load_from(ctx, folder, AG_F32);
    ck_assert_msg(gpt != NULL, "%s", ag_error_message(ctx));
    const double bytes = 4 * (double)ag_module_numel(ag_gpt_module(gpt)), peak = (double)ag_ctx_peak_bytes(ctx);
    ck_assert_msg(bytes > 7e6 && peak < 1.1 * bytes, "weights of %.0f bytes, %.0f at the peak", bytes, peak);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, before.counter);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

Suite *pretrained_files_suite(void)
{
    Suite *suite = suite_create("pretrained_files");
    TCase *tcase = tcase_create("pretrained_files");
    tcase_add_checked_fixture(tcase, make_folder_of_model, remove_folder_of_model);
    tcase_add_loop_test(tcase, shards_are_the_same_model, 0, 2);
    tcase_add_test(tcase, a_file_comes_before_an_index);
    tcase_add_test(tcase, missing_weights);
    tcase_add_loop_test(tcase, loading_takes_the_memory_of_the_weights, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
