/* SPDX-License-Identifier: MIT
 *
 * check_safetensors_hostile.c - files that are broken or lie: each is refused with its message, and no byte beyond them
 * is read.
 */
#include "tests/tensor/files/check_safetensors_file.h"

#include "tensor/files/json.h"
#include "tensor/files/safetensors_impl.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *header;
    int data; /* bytes of data behind the header */
    const char *message;
} hostile[] = {
    { "", 0, "m: byte 0 of the header: expected an object" },
    { "[]", 0, "m: the header does not begin with '{'" },
    { " {}", 0, "m: the header does not begin with '{'" },
    { "{", 0, "byte 1 of the header: the text ends inside an object" },
    { "{}{}", 0, "byte 2 of the header: more text after the end" },
    { "{} x", 0, "byte 3 of the header: more text after the end" },
    { "{,}", 0, "expected a string" },
    { "{\"w\"}", 0, "expected ':'" },
    { "{\"w\":null}", 0, "expected an object" },
    { "{\"w\":[[[[[[[[]]]]]]]]}", 0, "expected an object" },
    { "{\"w\":{\"w\":{\"w\":{}}}}", 0, "tensor 'w': unknown key 'w'" },
    { "{\"w\":" W("F32", "[1]", "[0,4]") ",}", 4, "expected a string" },
    { "{\"w\":" W("F32", "[1]", "[0,4]") " \"v\":1}", 4, "expected ',' or '}'" },
    /* the description of a tensor */
    { "{\"w\":{}}", 0, "tensor 'w': no dtype" },
    { "{\"w\":{\"dtype\":\"F32\"}}", 0, "tensor 'w': no shape" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, "tensor 'w': no data_offsets" },
    { "{\"w\":{\"dtype\":7}}", 0, "expected a string" },
    { "{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "tensor 'w': duplicate key 'dtype'" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":7}}", 0, "expected an array" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[[1]]}}", 0, "expected a whole number" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[\"1\"]}}", 0, "expected a whole number" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[1,]}}", 0, "expected a whole number" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[1 2]}}", 0, "expected ',' or ']'" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[-1]}}", 0, "a negative number" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[1.0]}}", 0, "a number with a fraction or an exponent" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[1e1]}}", 0, "a number with a fraction or an exponent" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[01]}}", 0, "a number that begins with 0" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808]}}", 0, "a number above 9223372036854775807" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999999]}}", 0, "a number above 9223372036854775807" },
    { "{\"w\":" W("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "tensor 'w': 9 dims, at most 8 are possible" },
    { "{\"w\":" W("F32", "[9223372036854775807]", "[0,4]") "}", 4,
      "tensor 'w': the size of F32 [9223372036854775807] overflows" },
    { "{\"w\":" W("F32", "[4294967296,4294967296]", "[0,4]") "}", 4, "overflows" },
    { "{\"w\":" W("F32", "[4294967296,4294967296,0]", "[0,0]") "}", 0, "overflows" },
    { "{\"w\":" W("X9", "[4294967296,4294967296]", "[0,4]") "}", 4,
      "the size of X9 [4294967296,4294967296] overflows" },
    /* where its data are */
    { "{\"w\":" W("F32", "[1]", "[]") "}", 4, "tensor 'w': 0 data_offsets, there must be 2" },
    { "{\"w\":" W("F32", "[1]", "[0,4,8]") "}", 4, "tensor 'w': 3 data_offsets, there must be 2" },
    { "{\"w\":" W("F32", "[3,4]", "[0,64]") "}", 64,
      "m: tensor 'w': data_offsets [0,64] is 64 bytes, F32 [3,4] is 48" },
    { "{\"w\":" W("F32", "[1]", "[4,0]") "}", 4, "tensor 'w': data_offsets [4,0] end before they begin" },
    { "{\"w\":" W("F32", "[2]", "[0,8]") "}", 7, "tensor 'w': data_offsets [0,8] in 7 bytes of data" },
    { "{\"w\":" W("F32", "[1]", "[9223372036854775803,9223372036854775807]") "}", 4, "in 4 bytes of data" },
    { "{\"w\":" W("F32", "[1]", "[0,18446744073709551616]") "}", 4, "a number above 9223372036854775807" },
    { "{\"w\":" W("F32", "[1]", "[0,4]") "}", 5, "m: 5 bytes of data, the tensors have 4" },
    { "{}", 1, "m: 1 bytes of data, the tensors have 0" },
    { "{\"w\":" W("F32", "[1]", "[4,8]") "}", 8, "tensor 'w': data_offsets [4,8] leave a hole from byte 0" },
    { "{\"v\":" W("F32", "[1]", "[8,12]") ",\"w\":" W("F32", "[1]", "[0,4]") "}", 12,
      "tensor 'v': data_offsets [8,12] leave a hole from byte 4" },
    { "{\"v\":" W("F32", "[2]", "[0,8]") ",\"w\":" W("F32", "[2]", "[4,12]") "}", 12,
      "tensor 'w': data_offsets [4,12] overlap [0,8] of 'v'" },
    { "{\"v\":" W("F32", "[1]", "[0,4]") ",\"w\":" W("F32", "[1]", "[0,4]") "}", 4, "overlap [0,4] of" },
    { "{\"v\":" W("F32", "[2]", "[0,8]") ",\"w\":" W("F32", "[0]", "[4,4]") "}", 8, "overlap [0,8] of 'v'" },
    { "{\"w\":" W("F32", "[1]", "[0,4]") ",\"w\":" W("F32", "[1]", "[4,8]") "}", 8, "tensor 'w': occurs twice" },
    { "{\"w\":" W("F32", "[1]", "[0,4]") ",\"\\u0077\":" W("F32", "[1]", "[4,8]") "}", 8, "tensor 'w': occurs twice" },
    /* metadata */
    { "{\"__metadata__\":{\"a\":1}}", 0, "expected a string" },
    { "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "expected a string" },
    { "{\"__metadata__\":[]}", 0, "expected an object" },
    { "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "m: metadata key 'a' occurs twice" },
    { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "m: duplicate key '__metadata__'" },
    /* strings */
    { "{\"w", 0, "the text ends inside a string" },
    { "{\"w\\", 0, "an unknown escape" },
    { "{\"\\x\":1}", 0, "an unknown escape" },
    { "{\"\\u12", 0, "expected four hexadecimal digits after \\u" },
    { "{\"\\u12g4\":1}", 0, "expected four hexadecimal digits after \\u" },
    { "{\"\\u0000\":1}", 0, "a string that contains U+0000" },
    { "{\"\\ud800\":1}", 0, "the first half of a surrogate pair without the second" },
    { "{\"\\ud800\\u0041\":1}", 0, "the first half of a surrogate pair without the second" },
    { "{\"\\udc00\":1}", 0, "the second half of a surrogate pair without the first" },
    { "{\"\n\":1}", 0, "a control character in a string" },
    { "{\"\x80\":1}", 0, "malformed UTF-8" },         /* a continuation byte alone */
    { "{\"\xc0\xaf\":1}", 0, "malformed UTF-8" },     /* overlong */
    { "{\"\xe0\x9f\xbf\":1}", 0, "malformed UTF-8" }, /* overlong */
    { "{\"\xf0\x8f\xbf\xbf\":1}", 0, "malformed UTF-8" },
    { "{\"\xed\xa0\x80\":1}", 0, "malformed UTF-8" },     /* a surrogate */
    { "{\"\xf4\x90\x80\x80\":1}", 0, "malformed UTF-8" }, /* beyond U+10FFFF */
    { "{\"\xe6\xbc", 0, "malformed UTF-8" },              /* cut off */
    { "{\"\x1b[2J\":{}}", 0, "a control character in a string" },
    { "{\"\\u001b[2J\\u009b-\\u007f\":{}}", 0, "m: tensor '?[2J?-?': no dtype" },
};

START_TEST(hostile_header_is_refused)
{
    ag_ctx *ctx = test_begin();
    size_t size = 0;
    unsigned char *data = calloc(1, 64), *bytes = file_of(hostile[_i].header, data, (size_t)hostile[_i].data, &size);
    ck_assert(ag_safetensors_open_memory(ctx, "m", bytes, size) == NULL);
    assert_error(ctx, AG_ERR_FILE, hostile[_i].message);
    free(data);
    free(bytes);
    test_end(ctx);
}
END_TEST

START_TEST(hostile_sizes_are_refused)
{
    static const struct {
        uint64_t header_size;
        const char *message;
    } sizes[] = { { 3, "m: a header of 3 bytes in a file of 10" },
                  { 100000000, "m: a header of 100000000 bytes in a file of 10" },
                  { 100000001, "m: a header of 100000001 bytes, at most 100000000 are allowed" },
                  { UINT64_C(1) << 63, "m: a header of 9223372036854775808 bytes" },
                  { UINT64_MAX, "m: a header of 18446744073709551615 bytes" },
                  { UINT64_MAX - 7, "m: a header of 18446744073709551608 bytes" } };
    ag_ctx *ctx = test_begin();
    unsigned char bytes[] = { 0, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        put_size(bytes, sizes[i].header_size);
        ck_assert(ag_safetensors_open_memory(ctx, "m", bytes, sizeof bytes) == NULL);
        assert_error(ctx, AG_ERR_FILE, sizes[i].message);
    }
    test_end(ctx);
}
END_TEST

START_TEST(index_of_shards_is_refused)
{
    static const char index[] = "{\"metadata\":{},\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}";
    ag_ctx *ctx = test_begin();
    ck_assert(ag_safetensors_open_memory(ctx, "m", index, sizeof index - 1) == NULL);
    assert_error(ctx, AG_ERR_FILE, "m: text and not safetensors");
    test_end(ctx);
}
END_TEST

START_TEST(nul_in_the_header_is_refused)
{
    static const char header[] = "{\"w\":" W("F32", "[0]", "[0,0]") "}";
    ag_ctx *ctx = test_begin();
    for (size_t i = 0; i < sizeof header - 1; i++) {
        size_t size = 0;
        unsigned char *bytes = file_of(header, NULL, 0, &size);
        bytes[8 + i] = 0;
        ck_assert(ag_safetensors_open_memory(ctx, "m", bytes, size) == NULL);
        assert_error(ctx, AG_ERR_FILE, "header");
        free(bytes);
    }
    test_end(ctx);
}
END_TEST

/* A string cut off anywhere, in a block of exactly its size: a context's block would hide a read beyond it. */
START_TEST(cut_off_string_is_refused)
{
    static const char text[] = "\"\\ud83d\\ude00\\n\xf0\x9f\x98\x80\"";
    for (size_t length = 0; length < sizeof text; length++) {
        char *part = malloc(length > 0 ? length : 1);
        memcpy(part, text, length);
        ag_json json = ag_json_of(part, length);
        const char *string = ag_json_string(&json);
        ck_assert((string != NULL) == (length == sizeof text - 1));
        ck_assert((string != NULL) == (json.error == NULL));
        free(part);
    }
}
END_TEST

static const char small_header[] =
    "{\"__metadata__\":{\"k\\u00e4\":\"v\"},\"a\":" W("F32", "[2,1]", "[0,8]")
    ",\"b\":" W("I64", "[1]", "[8,16]") ",\"c\":" W("F16", "[]", "[16,18]") "}";

/* Opens and reads everything. How many tensors could be read, or -1 when the file could not be opened. */
static int64_t use(ag_ctx *ctx, const unsigned char *bytes, size_t size)
{
    ag_safetensors *file = ag_safetensors_open_memory(ctx, "m", bytes, size);
    int64_t good = file == NULL ? -1 : 0;
    for (int64_t i = 0; i < ag_safetensors_count(file); i++) {
        ag_scope_begin(ctx, NULL);
        good += ag_safetensors_read(file, ag_safetensors_name(file, i)) != NULL;
        ag_scope_end(ctx, NULL);
    }
    ag_safetensors_close(file);
    return good;
}

START_TEST(every_truncation_is_refused)
{
    ag_ctx *ctx = test_begin();
    size_t size = 0;
    unsigned char *bytes = file_of(small_header, "012345678901234567", 18, &size);
    for (size_t keep = 0; keep < size; keep++) {
        unsigned char *part = malloc(keep > 0 ? keep : 1); /* exactly these bytes: ASan sees a read beyond */
        memcpy(part, bytes, keep);
        ck_assert_int_eq(use(ctx, part, keep), -1);
        ck_assert(ag_error(ctx) == AG_ERR_FILE);
        ag_error_clear(ctx);
        write_bytes(part, keep);
        ck_assert(ag_safetensors_open(ctx, path) == NULL);
        assert_error(ctx, AG_ERR_FILE, path);
        free(part);
    }
    free(bytes);
    test_end(ctx);
}
END_TEST

/* Whatever the corruption, there are no more tensors than there were and an error says why there are fewer. */
START_TEST(every_corrupted_byte_is_survived)
{
    ag_ctx *ctx = test_begin();
    size_t size = 0, header_end = 8 + sizeof small_header - 1;
    unsigned char *bytes = file_of(small_header, "\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0", 18, &size);
    ck_assert_int_eq(use(ctx, bytes, size), 3);
    for (size_t i = 0; i < header_end; i++)
        for (int flip = 1; flip < 256; flip++) {
            bytes[i] ^= (unsigned char)flip;
            int64_t good = use(ctx, bytes, size);
            ck_assert_int_le(good, 3);
            ck_assert_msg((good < 3) == (ag_error(ctx) != AG_OK), "byte %zu ^ %d: %s", i, flip, ag_error_message(ctx));
            ag_error_clear(ctx);
            bytes[i] ^= (unsigned char)flip;
        }
    free(bytes);
    test_end(ctx);
}
END_TEST

Suite *safetensors_hostile_suite(void)
{
    Suite *suite = suite_create("safetensors_hostile");
    TCase *tcase = tcase_create("safetensors_hostile");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, hostile_header_is_refused, 0, sizeof hostile / sizeof *hostile);
    tcase_add_test(tcase, hostile_sizes_are_refused);
    tcase_add_test(tcase, index_of_shards_is_refused);
    tcase_add_test(tcase, nul_in_the_header_is_refused);
    tcase_add_test(tcase, cut_off_string_is_refused);
    tcase_add_test(tcase, every_truncation_is_refused);
    tcase_add_test(tcase, every_corrupted_byte_is_survived);
    suite_add_tcase(suite, tcase);
    return suite;
}
