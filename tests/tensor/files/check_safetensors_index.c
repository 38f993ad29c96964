/* SPDX-License-Identifier: MIT
 *
 * check_safetensors_index.c - weights in several files behind an index: read as one file; and what is wrong with an
 * index or its shards, each in one line.
 */
#include "tests/tensor/files/check_safetensors_file.h"

#include <stdlib.h>
#include <string.h>

static char shard_path[3][320]; /* a.safetensors, b.safetensors, and one that a test may write */

static void make_shards(void)
{
    make_folder();
    for (int i = 0; i < 3; i++)
        snprintf(shard_path[i], sizeof shard_path[i], "%s/%c.safetensors", folder, 'a' + i);
    ag_ctx *ctx = test_begin();
    const ag_named_tensor a[] = { { "one", ag_full(ctx, AG_F32, AG_SHAPE(2, 3), 1) },
                                  { "two", ag_full(ctx, AG_F64, AG_SHAPE(4), 2) } };
    const ag_named_tensor b[] = { { "three", ag_full(ctx, AG_I32, AG_SHAPE(5), 3) } };
    assert_ok(ctx, ag_safetensors_save(ctx, shard_path[0], a, 2, NULL, 0));
    assert_ok(ctx, ag_safetensors_save(ctx, shard_path[1], b, 1, NULL, 0));
    test_end(ctx);
}

static void remove_shards(void)
{
    for (int i = 0; i < 3; i++)
        remove(shard_path[i]);
    remove_folder();
}

static ag_safetensors *open_index(ag_ctx *ctx, const char *text)
{
    write_bytes(text, strlen(text));
    return ag_safetensors_open(ctx, path);
}

#define MAP(lines) "{\"metadata\":{\"total_size\":76},\"weight_map\":{" lines "}}"
#define ONE "\"one\":\"a.safetensors\""
#define TWO "\"two\":\"a.safetensors\""
#define THREE "\"three\":\"b.safetensors\""

START_TEST(shards_are_read_as_one_file)
{
    ag_ctx *ctx = test_begin();
    ag_safetensors *file = open_index(ctx, "\n" MAP(THREE "," ONE "," TWO));
    assert_no_error(ctx);
    ck_assert_int_eq(ag_safetensors_count(file), 3);
    ck_assert_str_eq(ag_safetensors_name(file, 0), "three"); /* b is the first shard that the index names */
    ck_assert(ag_safetensors_has(file, "one") && ag_safetensors_has(file, "two") && !ag_safetensors_has(file, "four"));
    ck_assert_ptr_null(ag_safetensors_metadata(file, "total_size"));
    assert_values(ag_safetensors_read(file, "three"), 0, 3, 3, 3, 3, 3);
    assert_values(ag_safetensors_read(file, "two"), 0, 2, 2, 2, 2);
    assert_values(ag_safetensors_read(file, "one"), 0, 1, 1, 1, 1, 1, 1);
    ag_safetensors_close(file);
    test_end(ctx);
}
END_TEST

/* A tensor that only the shard has is there too; an index of no tensors has none. */
START_TEST(what_the_index_leaves_out)
{
    ag_ctx *ctx = test_begin();
    ag_safetensors *file = open_index(ctx, MAP(TWO));
    assert_no_error(ctx);
    ck_assert_int_eq(ag_safetensors_count(file), 2);
    ck_assert(ag_safetensors_has(file, "one"));
    ag_safetensors_close(file);
    file = open_index(ctx, MAP(""));
    assert_no_error(ctx);
    ck_assert_int_eq(ag_safetensors_count(file), 0);
    ag_safetensors_close(file);
    test_end(ctx);
}
END_TEST

static const struct {
    const char *text, *message;
} wrong[] = {
    { MAP("\"one\":\"gone.safetensors\""), "/gone.safetensors, which can not be opened: " },
    { MAP(ONE "," TWO ",\"three\":\"a.safetensors\"," THREE), "places 'three' in " },
    { MAP(ONE ",\"three\":\"a.safetensors\",\"two\":\"b.safetensors\""), "/a.safetensors, it is in " },
    { MAP(ONE ",\"four\":\"b.safetensors\""), "/b.safetensors, which does not have it" },
    { MAP("\"one\":\"../a.safetensors\""), "'../a.safetensors' is not the name of a shard beside the index" },
    { MAP("\"one\":\"/etc/passwd\""), "'/etc/passwd' is not the name of a shard" },
    { MAP("\"one\":\"\""), "'' is not the name of a shard" },
    { MAP("\"one\":\"..\""), "'..' is not the name of a shard" },
    { MAP("\"one\":\"model.safetensors\""), "model.safetensors: text and not safetensors" }, /* the index itself */
    { MAP("\"one\":1"), "neither safetensors nor an index of shards; byte 50: expected a string" },
    { "{\"model_type\":\"llama\"}", "neither safetensors nor an index of shards: has no weight_map" },
    { "{\"weight_map\":[]}", "neither safetensors nor an index of shards; byte 14: expected an object" },
    { "{\"weight_map\":{}", "neither safetensors nor an index of shards; byte 16: " },
    { MAP(ONE) "x", "more text after the end" },
    { "version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; git lfs pull fetches the file" },
    { "PK\3\4\24\24\24\24\24", "an archive, as PyTorch writes, and not safetensors" },
};

START_TEST(a_wrong_index_is_refused)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(open_index(ctx, wrong[_i].text));
    assert_error(ctx, AG_ERR_FILE, wrong[_i].message);
    test_end(ctx);
}
END_TEST

START_TEST(one_tensor_in_two_shards_is_refused)
{
    ag_ctx *ctx = test_begin();
    const ag_named_tensor c[] = { { "two", ag_full(ctx, AG_F64, AG_SHAPE(4), 5) },
                                  { "four", ag_full(ctx, AG_F64, AG_SHAPE(4), 6) } };
    assert_ok(ctx, ag_safetensors_save(ctx, shard_path[2], c, 2, NULL, 0));
    ck_assert_ptr_null(open_index(ctx, MAP(TWO ",\"four\":\"c.safetensors\"")));
    char message[900];
    snprintf(message, sizeof message, "tensor 'two': is in %s and in %s", shard_path[0], shard_path[2]);
    const bool order = strstr(ag_error_message(ctx), message) != NULL;
    if (!order)
        snprintf(message, sizeof message, "tensor 'two': is in %s and in %s", shard_path[2], shard_path[0]);
    assert_error(ctx, AG_ERR_FILE, message);
    test_end(ctx);
}
END_TEST

/* A shard is checked like any file. */
START_TEST(a_damaged_shard_is_refused)
{
    ag_ctx *ctx = test_begin();
    FILE *file = fopen(shard_path[1], "wb");
    ck_assert(file != NULL && fwrite("12345678{}", 1, 10, file) == 10 && fclose(file) == 0);
    ck_assert_ptr_null(open_index(ctx, MAP(ONE "," THREE)));
    assert_error(ctx, AG_ERR_FILE, "b.safetensors: a header of ");
    test_end(ctx);
}
END_TEST

START_TEST(more_shards_than_can_be_open)
{
    ag_ctx *ctx = test_begin();
    char *text = malloc(100000), *at = text;
    at += sprintf(at, "{\"weight_map\":{");
    for (int i = 0; i < 1001; i++) { /* all are one file under other names */
        char other[320];
        snprintf(other, sizeof other, "%s/%d", folder, i);
        FILE *shard = fopen(other, "wb");
        ck_assert(shard != NULL && fwrite("\2\0\0\0\0\0\0\0{}", 1, 10, shard) == 10 && fclose(shard) == 0);
        at += sprintf(at, "%s\"t%d\":\"%d\"", i == 0 ? "" : ",", i, i);
    }
    sprintf(at, "}}");
    ck_assert_ptr_null(open_index(ctx, text));
    const bool many = strstr(ag_error_message(ctx), "names more than 1000 shards") != NULL;
    assert_error(ctx, AG_ERR_FILE, many ? "names more than 1000 shards" : "Too many open files");
    for (int i = 0; i < 1001; i++) {
        char other[320];
        snprintf(other, sizeof other, "%s/%d", folder, i);
        remove(other);
    }
    free(text);
    test_end(ctx);
}
END_TEST

/* Every beginning of an index, and each byte replaced, is an error or a file; never anything else. */
START_TEST(a_damaged_index)
{
    ag_ctx *ctx = test_begin();
    static const char good[] = MAP(ONE "," TWO "," THREE), other[] = "\"{}/,\\\377";
    char text[sizeof good];
    for (size_t i = 0; i < sizeof good - 1; i++) {
        memcpy(text, good, sizeof good);
        text[i] = other[i % (sizeof other - 1)];
        ag_safetensors *file = open_index(ctx, text);
        ck_assert((file == NULL) == (ag_error(ctx) != AG_OK));
        ag_safetensors_close(file);
        ag_error_clear(ctx);
        text[i] = '\0';
        ck_assert_ptr_null(open_index(ctx, text));
        ck_assert_int_eq(ag_error(ctx), AG_ERR_FILE);
        ag_error_clear(ctx);
    }
    test_end(ctx);
}
END_TEST

Suite *safetensors_index_suite(void)
{
    Suite *suite = suite_create("safetensors_index");
    TCase *tcase = tcase_create("safetensors_index");
    tcase_add_checked_fixture(tcase, make_shards, remove_shards);
    tcase_add_test(tcase, shards_are_read_as_one_file);
    tcase_add_test(tcase, what_the_index_leaves_out);
    tcase_add_loop_test(tcase, a_wrong_index_is_refused, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(tcase, one_tensor_in_two_shards_is_refused);
    tcase_add_test(tcase, a_damaged_shard_is_refused);
    tcase_add_test(tcase, more_shards_than_can_be_open);
    tcase_add_test(tcase, a_damaged_index);
    suite_add_tcase(suite, tcase);
    return suite;
}
