/* SPDX-License-Identifier: MIT
 *
 * check_safetensors.c - files that come back as they were written, and what can not be read or written, each with its
 * message. Hostile files are in check_safetensors_hostile.c.
 */
#define _POSIX_C_SOURCE 200809L

#include "tests/tensor/files/check_safetensors_file.h"

#include "tensor/files/safetensors_impl.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* How many files the folder has, "." and ".." not counted. */
static int files_in_folder(void)
{
    int count = -2;
    DIR *dir = opendir(folder);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* The bytes of the file at `path`, on the heap. */
static unsigned char *read_all(size_t *size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size > 0 ? *size : 1);
    ck_assert(fread(bytes, 1, *size, file) == *size && fclose(file) == 0);
    return bytes;
}

static bool same_bytes(const ag_tensor *a, const ag_tensor *b)
{
    return memcmp(ag_data(a), ag_data(b), (size_t)ag_numel(a) * ag_dtype_size(ag_dtype_of(a))) == 0;
}

/* ---- What is written comes back ---- */

START_TEST(every_dtype_and_shape_comes_back)
{
    static const struct {
        int ndim;
        int64_t shape[AG_MAX_DIMS];
    } shapes[] = { { 0, { 0 } }, { 1, { 0 } },       { 1, { 1 } },    { 1, { 7 } },
                   { 2, { 3, 4 } }, { 3, { 2, 0, 3 } }, { 1, { 5000 } }, { 8, { 1, 2, 1, 3, 1, 1, 2, 1 } } };
    enum { SHAPES = sizeof shapes / sizeof *shapes, COUNT = 3 * SHAPES };
    static const ag_dtype dtypes[] = { AG_I32, AG_F32, AG_F64 };
    ag_ctx *ctx = test_begin();
    ag_named_tensor tensors[COUNT];
    char names[COUNT][16];
    for (int i = 0; i < COUNT; i++) {
        int s = i / 3;
        snprintf(names[i], sizeof names[i], "t%d", COUNT - i); /* not in the order of names */
        ag_tensor *t = dtypes[i % 3] == AG_I32
                           ? ag_randint(ctx, -1000000, 1000000, shapes[s].ndim, shapes[s].shape)
                           : ag_randn(ctx, dtypes[i % 3], shapes[s].ndim, shapes[s].shape);
        tensors[i] = (ag_named_tensor){ names[i], t };
    }
    ck_assert_int_eq(ag_safetensors_save(ctx, path, tensors, COUNT, NULL, 0), AG_OK);
    size_t size = 0;
    unsigned char *bytes = read_all(&size);
    ag_safetensors *files[] = { ag_safetensors_open(ctx, path), ag_safetensors_open_memory(ctx, "m", bytes, size) };
    for (int f = 0; f < 2; f++) {
        assert_no_error(ctx);
        ck_assert_int_eq(ag_safetensors_count(files[f]), COUNT);
        for (int i = 0; i < COUNT; i++) {
            ck_assert_str_eq(ag_safetensors_name(files[f], i), names[i]);
            ag_tensor *back = ag_safetensors_read(files[f], names[i]);
            assert_no_error(ctx);
            assert_same(back, tensors[i].tensor);
            ck_assert(same_bytes(back, tensors[i].tensor));
        }
        ag_safetensors_close(files[f]);
    }
    free(bytes);
    test_end(ctx);
}
END_TEST

START_TEST(bits_of_special_values_come_back)
{
    static const uint32_t bits32[] = { 0x80000000, 0x7f800000, 0xff800000, 0x7fc12345, 0x7f812345, 1, 0x7f7fffff };
    static const uint64_t bits64[] = { UINT64_C(1) << 63, UINT64_C(0x7ff0000000000000), UINT64_C(0x7ff8000012345678),
                                       1 };
    ag_ctx *ctx = test_begin();
    float f32[7];
    double f64[4];
    memcpy(f32, bits32, sizeof f32);
    memcpy(f64, bits64, sizeof f64);
    const ag_named_tensor tensors[] = { { "f32", ag_from_data(ctx, AG_F32, AG_SHAPE(7), f32) },
                                        { "f64", ag_from_data(ctx, AG_F64, AG_SHAPE(4), f64) } };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, tensors, 2, NULL, 0), AG_OK);
    size_t size = 0;
    unsigned char *bytes = read_all(&size);
    ag_safetensors *files[] = { ag_safetensors_open(ctx, path), ag_safetensors_open_memory(ctx, "m", bytes, size) };
    for (int f = 0; f < 2; f++) {
        for (int i = 0; i < 2; i++)
            ck_assert(same_bytes(ag_safetensors_read(files[f], tensors[i].name), tensors[i].tensor));
        ag_safetensors_close(files[f]);
    }
    free(bytes);
    test_end(ctx);
}
END_TEST

START_TEST(strided_tensors_are_written_row_major)
{
    static const ag_dtype dtypes[] = { AG_I32, AG_F32, AG_F64 };
    ag_ctx *ctx = test_begin();
    for (int d = 0; d < 3; d++) {
        ag_tensor *t = ag_tensor_reshape(ag_arange(ctx, dtypes[d], -5, 1, 60 * 70), 3, (const int64_t[]){ 60, 7, 10 });
        ag_tensor *row = ag_tensor_slice(t, 0, 1, 2, 1);
        const ag_named_tensor tensors[] = {
            { "transposed", ag_tensor_transpose(t, 0, 2) },
            { "permuted", ag_tensor_permute(t, (const int[]){ 2, 0, 1 }) },
            { "stepped", ag_tensor_slice(t, 1, 1, 7, 2) },
            { "selected", ag_tensor_select(t, 2, 3) },
            { "offset", ag_tensor_slice(t, 0, 3, 5, 1) },
            { "expanded", ag_tensor_expand(row, 3, (const int64_t[]){ 40, 7, 10 }) },
            { "none", ag_tensor_slice(ag_tensor_transpose(t, 0, 2), 1, 4, 4, 1) },
        };
        const int64_t count = sizeof tensors / sizeof *tensors;
        ck_assert_int_eq(ag_safetensors_save(ctx, path, tensors, count, NULL, 0), AG_OK);
        ag_safetensors *file = ag_safetensors_open(ctx, path);
        assert_no_error(ctx);
        for (int64_t i = 0; i < count; i++)
            assert_same(ag_safetensors_read(file, tensors[i].name), tensors[i].tensor);
        ag_safetensors_close(file);
    }
    test_end(ctx);
}
END_TEST

START_TEST(names_and_metadata_come_back)
{
    static const char *const texts[] = { "blocks.0.attn.q.weight",
                                         "",
                                         "quote \" backslash \\ slash / end",
                                         "\x01\x02\b\f\n\r\t\x1f\x7f",
                                         "gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2 \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf",
                                         "__metadata",
                                         "\\u0041" };
    enum { COUNT = sizeof texts / sizeof *texts };
    ag_ctx *ctx = test_begin();
    ag_named_tensor tensors[COUNT];
    ag_metadata metadata[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        tensors[i] = (ag_named_tensor){ texts[i], ag_full(ctx, AG_F32, AG_SCALAR, i) };
        metadata[i] = (ag_metadata){ texts[i], texts[COUNT - 1 - i] };
    }
    metadata[COUNT] = (ag_metadata){ "__metadata__", "a key like others, here" };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, tensors, COUNT, metadata, COUNT + 1), AG_OK);
    ag_safetensors *file = ag_safetensors_open(ctx, path);
    assert_no_error(ctx);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_str_eq(ag_safetensors_name(file, i), texts[i]);
        ck_assert(ag_safetensors_has(file, texts[i]));
        assert_values(ag_safetensors_read(file, texts[i]), 0, i);
        ck_assert_str_eq(ag_safetensors_metadata(file, texts[i]), texts[COUNT - 1 - i]);
    }
    ck_assert_str_eq(ag_safetensors_metadata(file, "__metadata__"), "a key like others, here");
    ck_assert(ag_safetensors_metadata(file, "nothing") == NULL);
    ck_assert(!ag_safetensors_has(file, "nothing") && !ag_safetensors_has(file, "__metadata__"));
    ck_assert(ag_safetensors_name(file, -1) == NULL && ag_safetensors_name(file, COUNT) == NULL);
    ag_safetensors_close(file);
    test_end(ctx);
}
END_TEST

START_TEST(file_has_these_bytes)
{
    static const char want[] = "{\"__metadata__\":{\"k\":\"v\\u000a\"},\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],"
                               "\"data_offsets\":[0,8]},"
                               "\"i\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[8,12]}}";
    ag_ctx *ctx = test_begin();
    const ag_named_tensor tensors[] = {
        { "w", ag_from_data(ctx, AG_F32, AG_SHAPE(1, 2), (const float[]){ 1.0f, -2.0f }) },
        { "i", ag_full(ctx, AG_I32, AG_SCALAR, 258) },
    };
    const ag_metadata metadata[] = { { "k", "v\n" } };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, tensors, 2, metadata, 1), AG_OK);
    size_t size = 0, header_size = (strlen(want) + 7) / 8 * 8;
    unsigned char *bytes = read_all(&size), prefix[8];
    put_size(prefix, header_size);
    ck_assert_uint_eq(size, 8 + header_size + 12);
    ck_assert_mem_eq(bytes, prefix, 8);
    ck_assert_mem_eq(bytes + 8, want, strlen(want));
    for (size_t i = 8 + strlen(want); i < 8 + header_size; i++)
        ck_assert_int_eq(bytes[i], ' ');
    ck_assert_mem_eq(bytes + 8 + header_size, "\x00\x00\x80\x3f\x00\x00\x00\xc0\x02\x01\x00\x00", 12);
    free(bytes);
    test_end(ctx);
}
END_TEST

START_TEST(file_without_tensors)
{
    ag_ctx *ctx = test_begin();
    const ag_metadata metadata[] = { { "a", "b" } };
    for (int n = 0; n < 2; n++) {
        ck_assert_int_eq(ag_safetensors_save(ctx, path, NULL, 0, metadata, n), AG_OK);
        ag_safetensors *file = ag_safetensors_open(ctx, path);
        assert_no_error(ctx);
        ck_assert_int_eq(ag_safetensors_count(file), 0);
        ck_assert(!ag_safetensors_has(file, "w"));
        ck_assert((ag_safetensors_metadata(file, "a") != NULL) == (n == 1));
        ag_safetensors_close(file);
    }
    test_end(ctx);
}
END_TEST

/* ---- Dtypes that other programs write ---- */

/* The value of a float16 from its definition. */
static double value_of_f16(unsigned bits)
{
    int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    double size = exponent == 31 ? (mantissa == 0 ? (double)INFINITY : (double)NAN)
                  : exponent == 0 ? ldexp(mantissa, -24)
                                  : ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

START_TEST(every_float16_and_bfloat16_is_read)
{
    static const char header[] = "{\"h\":{\"dtype\":\"F16\",\"shape\":[65536],\"data_offsets\":[0,131072]},"
                                 "\"b\":{\"dtype\":\"BF16\",\"shape\":[256,256],\"data_offsets\":[131072,262144]}}";
    ag_ctx *ctx = test_begin();
    unsigned char *data = malloc(262144);
    for (unsigned i = 0; i < 2 * 65536; i++) {
        data[2 * i] = (unsigned char)(i & 255);
        data[2 * i + 1] = (unsigned char)(i >> 8 & 255);
    }
    size_t size = 0;
    unsigned char *bytes = file_of(header, data, 262144, &size);
    write_bytes(bytes, size);
    ag_safetensors *file = ag_safetensors_open(ctx, path);
    const ag_tensor *halves = ag_safetensors_read(file, "h"), *brains = ag_safetensors_read(file, "b");
    assert_no_error(ctx);
    ck_assert(ag_dtype_of(halves) == AG_F32 && ag_dtype_of(brains) == AG_F32 && ag_ndim(brains) == 2);
    const float *h = ag_data(halves), *b = ag_data(brains);
    for (unsigned i = 0; i < 65536; i++) {
        double want = value_of_f16(i), got = (double)h[i];
        ck_assert_msg(isnan(want) ? isnan(got) : got == want && !signbit(got) == !(i & 0x8000),
                      "float16 %04x: %g, wanted %g", i, got, want);
        uint32_t bits = 0;
        memcpy(&bits, b + i, sizeof bits);
        ck_assert_uint_eq(bits, i << 16);
    }
    ag_safetensors_close(file);
    free(bytes);
    free(data);
    test_end(ctx);
}
END_TEST

START_TEST(int64_is_read_when_it_fits)
{
    static const int64_t values[] = { 0, -1, INT32_MAX, INT32_MIN, (int64_t)INT32_MAX + 1, (int64_t)INT32_MIN - 1 };
    static const char header[] = "{\"fits\":{\"dtype\":\"I64\",\"shape\":[4],\"data_offsets\":[0,32]},"
                                 "\"big\":{\"dtype\":\"I64\",\"shape\":[5],\"data_offsets\":[32,72]},"
                                 "\"small\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[72,80]}}";
    static const int order[] = { 0, 1, 2, 3, 0, 1, 2, 3, 4, 5 };
    ag_ctx *ctx = test_begin();
    unsigned char data[80];
    for (int i = 0; i < 10; i++)
        put_size(data + 8 * i, (uint64_t)values[order[i]]);
    size_t size = 0;
    unsigned char *bytes = file_of(header, data, sizeof data, &size);
    ag_safetensors *file = ag_safetensors_open_memory(ctx, "ids", bytes, size);
    ag_tensor *fits = ag_safetensors_read(file, "fits");
    ck_assert(ag_dtype_of(fits) == AG_I32);
    assert_values(fits, 0, 0, -1, INT32_MAX, INT32_MIN);
    ck_assert(ag_safetensors_read(file, "big") == NULL);
    assert_error(ctx, AG_ERR_DTYPE, "ids: tensor 'big': value 4 is 2147483648, beyond int32");
    ck_assert(ag_safetensors_read(file, "small") == NULL);
    assert_error(ctx, AG_ERR_DTYPE, "ids: tensor 'small': value 0 is -2147483649, beyond int32");
    ag_safetensors_close(file);
    free(bytes);
    test_end(ctx);
}
END_TEST

START_TEST(other_dtypes_are_listed_and_can_not_be_read)
{
    static const struct {
        const char *dtype;
        int bytes; /* of two values */
    } others[] = { { "BOOL", 2 }, { "U8", 2 },  { "I8", 2 },  { "F8_E5M2", 2 }, { "F8_E4M3", 2 }, { "I16", 4 },
                   { "U16", 4 },  { "U32", 8 }, { "U64", 16 } };
    static const unsigned char data[16] = { 0 };
    ag_ctx *ctx = test_begin();
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        for (int wrong = 0; wrong < 2; wrong++) {
            char header[128], message[128];
            snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,%d]}}",
                     others[i].dtype, others[i].bytes - wrong);
            size_t size = 0;
            unsigned char *bytes = file_of(header, data, (size_t)(others[i].bytes - wrong), &size);
            ag_safetensors *file = ag_safetensors_open_memory(ctx, "m", bytes, size);
            if (wrong == 0) {
                ck_assert_str_eq(ag_safetensors_name(file, 0), "w");
                ck_assert(ag_safetensors_read(file, "w") == NULL);
                snprintf(message, sizeof message, "m: tensor 'w': is %s; F32, F64, I32, F16, BF16 and I64 can be read",
                         others[i].dtype);
                assert_error(ctx, AG_ERR_DTYPE, message);
                ag_safetensors_close(file);
            } else {
                snprintf(message, sizeof message, "is %d bytes, %s [2] is %d", others[i].bytes - 1, others[i].dtype,
                         others[i].bytes);
                assert_error(ctx, AG_ERR_FILE, message);
            }
            free(bytes);
        }
    static const char unknown[] = "{\"w\":{\"dtype\":\"F4\\u001b\",\"shape\":[5],\"data_offsets\":[0,3]}}";
    size_t size = 0;
    unsigned char *bytes = file_of(unknown, data, 3, &size);
    ag_safetensors *file = ag_safetensors_open_memory(ctx, "m", bytes, size);
    ck_assert(ag_safetensors_read(file, "w") == NULL);
    assert_error(ctx, AG_ERR_DTYPE, "m: tensor 'w': is F4?; F32"); /* nothing in it that a terminal obeys */
    ag_safetensors_close(file);
    free(bytes);
    test_end(ctx);
}
END_TEST

START_TEST(escapes_white_space_and_key_order)
{
    static const char header[] = "{ \"\\u0041\\u00e4\\u6f22\\ud83d\\uDE00\\n\\/\\\\\\\"\" :\n{\t\"shape\": [ ] ,\r"
                                 "\"data_offsets\":[ 4 , 8 ],\"dt\\u0079pe\":\"F32\" },"
                                 "\"b\":{\"data_offsets\":[0,4],\"dtype\":\"F32\",\"shape\":[1]} , "
                                 "\"__metadata__\" : {} } \n  ";
    ag_ctx *ctx = test_begin();
    size_t size = 0;
    unsigned char *bytes = file_of(header, "\0\0\x80\x3f\0\0\0\x40", 8, &size);
    ag_safetensors *file = ag_safetensors_open_memory(ctx, "m", bytes, size);
    assert_no_error(ctx);
    const char *name = "A\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x98\x80\n/\\\"";
    ck_assert_str_eq(ag_safetensors_name(file, 0), name);
    assert_values(ag_safetensors_read(file, name), 0, 2.0);
    assert_values(ag_safetensors_read(file, "b"), 0, 1.0);
    ag_safetensors_close(file);
    free(bytes);
    test_end(ctx);
}
END_TEST

/* ---- Files that are not there, and large ones ---- */

/* The context has an error of a file, with the reason as this locale words it. */
static void assert_file_error(ag_ctx *ctx, const char *text, int reason)
{
    char wanted[400];
    snprintf(wanted, sizeof wanted, "%s: %s", text, strerror(reason));
    assert_error(ctx, AG_ERR_FILE, wanted);
}

START_TEST(what_can_not_be_opened_or_read)
{
    ag_ctx *ctx = test_begin();
    ck_assert(ag_safetensors_open(ctx, path) == NULL);
    assert_file_error(ctx, "model.safetensors: can not be opened", ENOENT);
    ck_assert(ag_safetensors_open(ctx, folder) == NULL);
    assert_error(ctx, AG_ERR_FILE, folder);
    ck_assert(ag_safetensors_open(ctx, NULL) == NULL);
    assert_error(ctx, AG_ERR_ARGUMENT, "no path");
    ck_assert(ag_safetensors_open(NULL, path) == NULL && ag_safetensors_read(NULL, "w") == NULL);
    const ag_named_tensor w = { "w", ag_zeros(ctx, AG_F32, AG_SHAPE(3000)) };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, &w, 1, NULL, 0), AG_OK);
    ag_safetensors *file = ag_safetensors_open(ctx, path);
    ck_assert(ag_safetensors_read(file, "v") == NULL);
    assert_error(ctx, AG_ERR_ARGUMENT, "model.safetensors: tensor 'v': not in the file");
    ck_assert(ag_safetensors_read(file, NULL) == NULL);
    assert_error(ctx, AG_ERR_ARGUMENT, "no name");
    ck_assert(truncate(path, 4000) == 0);
    ck_assert(ag_safetensors_read(file, "w") == NULL);
    assert_error(ctx, AG_ERR_FILE, "can not be read: the file has become shorter");
    ag_safetensors_close(file);
    test_end(ctx);
}
END_TEST

/* A sparse file: 5 GB of nothing, then a tensor. */
START_TEST(tensor_beyond_four_gigabytes)
{
    static const char header[] = "{\"big\":" W("U8", "[5000000000]", "[0,5000000000]")
                                 ",\"w\":" W("F32", "[1]", "[5000000000,5000000004]") "}";
    if (sizeof(long) < 8)
        return;
    size_t size = 0;
    unsigned char *bytes = file_of(header, NULL, 0, &size);
    write_bytes(bytes, size);
    free(bytes);
    FILE *file = fopen(path, "r+b");
    bool written = fseek(file, (long)(size + 5000000000u), SEEK_SET) == 0 && fwrite("\0\0\x80\x3f", 1, 4, file) == 4;
    written = fclose(file) == 0 && written;
    if (!written)
        return; /* a file system without sparse or large files */
    ag_ctx *ctx = test_begin();
    ag_safetensors *opened = ag_safetensors_open(ctx, path);
    assert_values(ag_safetensors_read(opened, "w"), 0, 1.0);
    ag_safetensors_close(opened);
    test_end(ctx);
}
END_TEST

/* ---- Writing that fails ---- */

START_TEST(wrong_arguments_write_nothing)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2));
    const struct {
        ag_named_tensor tensors[2];
        ag_metadata metadata[2];
        const char *message;
    } cases[] = {
        { { { "w", t }, { "w", t } }, { { "a", "" }, { "b", "" } }, "model.safetensors: tensor 'w' occurs twice" },
        { { { "w", t }, { "__metadata__", t } },
          { { "a", "" }, { "b", "" } },
          "the name of tensor 1 '__metadata__' is reserved" },
        { { { "w", t }, { "v", NULL } }, { { "a", "" }, { "b", "" } }, "tensor 'v' is NULL" },
        { { { "w", t }, { NULL, t } }, { { "a", "" }, { "b", "" } }, "the name of tensor 1 '' is NULL" },
        { { { "w\xff", t }, { "v", t } }, { { "a", "" }, { "b", "" } }, "the name of tensor 0 'w?' is not UTF-8" },
        { { { "w", t }, { "v", t } }, { { "a", "" }, { "a", "" } }, "metadata key 'a' occurs twice" },
        { { { "w", t }, { "v", t } }, { { "a", "" }, { NULL, "" } }, "the key of metadata 1 '' is NULL" },
        { { { "w", t }, { "v", t } }, { { "a", "" }, { "b", NULL } }, "the value of metadata 1 'b' is NULL" },
        { { { "w", t }, { "v", t } }, { { "a", "\xc3" }, { "b", "" } }, "the value of metadata 0 'a' is not UTF-8" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(ag_safetensors_save(ctx, path, cases[i].tensors, 2, cases[i].metadata, 2), AG_ERR_ARGUMENT);
        assert_error(ctx, AG_ERR_ARGUMENT, cases[i].message);
    }
    ck_assert_int_eq(ag_safetensors_save(ctx, path, NULL, 1, NULL, 0), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "NULL");
    ck_assert_int_eq(ag_safetensors_save(ctx, NULL, NULL, 0, NULL, 0), AG_ERR_ARGUMENT);
    /* that error stands, and nothing is saved after it */
    ck_assert_int_eq(ag_safetensors_save(ctx, path, NULL, 0, NULL, 0), AG_ERR_ARGUMENT);
    ag_error_clear(ctx);
    ck_assert_int_eq(files_in_folder(), 0);
    test_end(ctx);
}
END_TEST

START_TEST(size_that_overflows)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *huge = ag_tensor_expand(ag_zeros(ctx, AG_F32, AG_SHAPE(1, 1)), AG_SHAPE(1 << 30, 1 << 30));
    const ag_named_tensor endless[] = { { "a", huge }, { "b", huge } };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, endless, 2, NULL, 0), AG_ERR_MEMORY);
    assert_error(ctx, AG_ERR_MEMORY, "tensor 'b': the size of the file overflows");
    ck_assert_int_eq(files_in_folder(), 0);
    test_end(ctx);
}
END_TEST

START_TEST(failed_write_leaves_the_old_file)
{
    ag_ctx *ctx = test_begin();
    const ag_named_tensor old = { "old", ag_zeros(ctx, AG_F32, AG_SHAPE(2)) };
    const ag_named_tensor new = { "new", ag_zeros(ctx, AG_F32, AG_SHAPE(100000)) };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, &old, 1, NULL, 0), AG_OK);
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    const struct rlimit little = { .rlim_cur = 10000, .rlim_max = limit.rlim_max };
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &little);
    ag_status status = ag_safetensors_save(ctx, path, &new, 1, NULL, 0);
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_int_eq(status, AG_ERR_FILE);
    assert_file_error(ctx, "model.safetensors: can not be written", EFBIG);
    ck_assert_int_eq(files_in_folder(), 1);
    ag_safetensors *file = ag_safetensors_open(ctx, path);
    ck_assert(ag_safetensors_has(file, "old"));
    ag_safetensors_close(file);
    /* no folder; and a folder in the way of the renaming */
    char other[320];
    snprintf(other, sizeof other, "%s/none/model", folder);
    ck_assert_int_eq(ag_safetensors_save(ctx, other, &new, 1, NULL, 0), AG_ERR_FILE);
    assert_file_error(ctx, "none/model.tmp: can not be created", ENOENT);
    ck_assert_int_eq(ag_safetensors_save(ctx, folder, &new, 1, NULL, 0), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "can not be written");
    snprintf(other, sizeof other, "%s.tmp", folder);
    ck_assert_int_ne(access(other, F_OK), 0);
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

typedef struct counted_memory {
    int64_t calls, fail_at; /* the call that fails, and all after it; -1: none */
    size_t bytes;
} counted_memory;

static void *counted_alloc(void *user, size_t size)
{
    counted_memory *memory = user;
    if (memory->calls++ >= memory->fail_at && memory->fail_at >= 0)
        return NULL;
    memory->bytes += size;
    return malloc(size);
}

static void counted_free(void *user, void *block, size_t size)
{
    counted_memory *memory = user;
    memory->bytes -= size;
    free(block);
}

START_TEST(every_failed_allocation_is_an_error)
{
    int failures = 0;
    bool done = false;
    for (int64_t n = 0; !done; n++) {
        counted_memory memory = { .fail_at = -1 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .allocator = { counted_alloc, counted_free, &memory } });
        const ag_named_tensor w = { "w", ag_arange(ctx, AG_F32, 0, 1, 3000) };
        const ag_metadata k = { "k", "v" };
        memory.fail_at = memory.calls + n;
        ag_status status = ag_safetensors_save(ctx, path, &w, 1, &k, 1);
        ag_safetensors *file = status == AG_OK ? ag_safetensors_open(ctx, path) : NULL;
        ag_tensor *back = ag_safetensors_read(file, "w");
        ag_safetensors_close(file);
        ck_assert_msg((back == NULL) == (ag_error(ctx) == AG_ERR_MEMORY), "%s", ag_error_message(ctx));
        done = back != NULL;
        failures += !done;
        memory.fail_at = -1;
        if (done)
            assert_same(back, w.tensor);
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
        ck_assert_uint_eq(memory.bytes, 0);
    }
    ck_assert_int_ge(failures, 5);
}
END_TEST

Suite *safetensors_suite(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("safetensors");
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_dtype_and_shape_comes_back);
    tcase_add_test(tests, bits_of_special_values_come_back);
    tcase_add_test(tests, strided_tensors_are_written_row_major);
    tcase_add_test(tests, names_and_metadata_come_back);
    tcase_add_test(tests, file_has_these_bytes);
    tcase_add_test(tests, file_without_tensors);
    tcase_add_test(tests, every_float16_and_bfloat16_is_read);
    tcase_add_test(tests, int64_is_read_when_it_fits);
    tcase_add_test(tests, other_dtypes_are_listed_and_can_not_be_read);
    tcase_add_test(tests, escapes_white_space_and_key_order);
    tcase_add_test(tests, what_can_not_be_opened_or_read);
    tcase_add_test(tests, tensor_beyond_four_gigabytes);
    tcase_add_test(tests, wrong_arguments_write_nothing);
    if (WIDE_SIZES)
        tcase_add_test(tests, size_that_overflows);
    tcase_add_test(tests, failed_write_leaves_the_old_file);
    tcase_add_test(tests, every_failed_allocation_is_an_error);
    suite_add_tcase(suite, tests);
    return suite;
}
