/* SPDX-License-Identifier: MIT
 *
 * check_print.c - the printer against what NumPy 2 prints with precision=4, and the last line, which is our own.
 */
#include "tests/test.h"

#include <string.h>

/* What was written to a temporary file, until the next call. */
static const char *text_of(FILE *file)
{
    static char text[20000];
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* What ag_fprint writes. */
static const char *printed(const ag_tensor *t, int precision)
{
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(ag_fprint(file, t, precision), AG_OK);
    return text_of(file);
}

#define assert_printed(t, want) ck_assert_str_eq(printed(t, 0), want)
#define F32(...) ag_from_data(ctx, AG_F32, AG_SHAPE(sizeof((float[]){ __VA_ARGS__ }) / 4), (float[]){ __VA_ARGS__ })
#define F64(...) ag_from_data(ctx, AG_F64, AG_SHAPE(sizeof((double[]){ __VA_ARGS__ }) / 8), (double[]){ __VA_ARGS__ })

START_TEST(scalars_and_nothing)
{
    ag_ctx *ctx = test_begin();
    assert_printed(ag_full(ctx, AG_F32, AG_SCALAR, 1), "1.0\nfloat32 []\n");
    assert_printed(ag_full(ctx, AG_F64, AG_SCALAR, -0.5), "-0.5\nfloat64 []\n");
    assert_printed(ag_full(ctx, AG_I32, AG_SCALAR, -7), "-7\nint32 []\n");
    assert_printed(ag_full(ctx, AG_F32, AG_SCALAR, (double)NAN), "nan\nfloat32 []\n");
    assert_printed(ag_zeros(ctx, AG_F32, AG_SHAPE(0)), "[]\nfloat32 [0]\n");
    assert_printed(ag_zeros(ctx, AG_I32, AG_SHAPE(2, 0, 3)), "[]\nint32 [2,0,3]\n");
    test_end(ctx);
}
END_TEST

START_TEST(columns_are_aligned)
{
    ag_ctx *ctx = test_begin();
    assert_printed(F32(1, 2, 3), "[1. 2. 3.]\nfloat32 [3]\n");
    assert_printed(F32(1.5f, -22.25f, 3), "[  1.5  -22.25   3.  ]\nfloat32 [3]\n");
    assert_printed(F32(0.1f, 0.2f, 1.23456f), "[0.1    0.2    1.2346]\nfloat32 [3]\n");
    assert_printed(F32(123456.789f, 1000), "[123456.79   1000.  ]\nfloat32 [2]\n");
    assert_printed(F64(123456.789, 1000), "[123456.789   1000.   ]\nfloat64 [2]\n");
    assert_printed(F64(-0.0, 0.0), "[-0.  0.]\nfloat64 [2]\n");
    assert_printed(ag_from_data(ctx, AG_I32, AG_SHAPE(2, 2), (int32_t[]){ 1, -20, 300, 4 }),
                   "[[  1 -20]\n [300   4]]\nint32 [2,2]\n");
    assert_printed(ag_from_data(ctx, AG_I32, AG_SHAPE(2), (int32_t[]){ INT32_MIN, INT32_MAX }),
                   "[-2147483648  2147483647]\nint32 [2]\n");
    test_end(ctx);
}
END_TEST

START_TEST(not_finite)
{
    ag_ctx *ctx = test_begin();
    assert_printed(F32(1.5f, NAN, -INFINITY), "[ 1.5  nan -inf]\nfloat32 [3]\n");
    assert_printed(F32(INFINITY, 12.125f), "[   inf 12.125]\nfloat32 [2]\n");
    assert_printed(F32(NAN, NAN), "[nan nan]\nfloat32 [2]\n");
    assert_printed(F32(-INFINITY, 1), "[-inf   1.]\nfloat32 [2]\n");
    test_end(ctx);
}
END_TEST

START_TEST(scientific)
{
    ag_ctx *ctx = test_begin();
    assert_printed(F64(1e10, 1.5), "[1.0e+10 1.5e+00]\nfloat64 [2]\n");
    assert_printed(F64(1e8, 1e8), "[1.e+08 1.e+08]\nfloat64 [2]\n");
    assert_printed(F64(99999999, 1e5), "[99999999.   100000.]\nfloat64 [2]\n");
    assert_printed(F64(1e-5, 0), "[1.e-05 0.e+00]\nfloat64 [2]\n");
    assert_printed(F64(1e-4, 0), "[0.0001 0.    ]\nfloat64 [2]\n");
    assert_printed(F64(1, 1001), "[1.000e+00 1.001e+03]\nfloat64 [2]\n");
    assert_printed(F64(1, 1000), "[   1. 1000.]\nfloat64 [2]\n");
    assert_printed(F64(1e100, -1), "[ 1.e+100 -1.e+000]\nfloat64 [2]\n");
    assert_printed(F64(1e-300, (double)NAN), "[1.e-300     nan]\nfloat64 [2]\n");
    assert_printed(F64(9.99999e9, 2.5), "[1.0e+10 2.5e+00]\nfloat64 [2]\n");
    test_end(ctx);
}
END_TEST

START_TEST(precision)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = F64(3.14159265358979, 100);
    ck_assert_str_eq(printed(t, 2), "[  3.14 100.  ]\nfloat64 [2]\n");
    ck_assert_str_eq(printed(t, 8), "[  3.14159265 100.        ]\nfloat64 [2]\n");
    ck_assert_str_eq(printed(t, 17), "[  3.14159265358979 100.              ]\nfloat64 [2]\n");
    ck_assert_int_eq(ag_fprint(stdout, t, 18), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fprint: precision 18");
    ck_assert_int_eq(ag_fprint(stdout, t, -1), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fprint: precision -1");
    ck_assert_int_eq(ag_fprint(stdout, NULL, 0), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_fprint(NULL, t, 0), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "file is NULL");
    test_end(ctx);
}
END_TEST

START_TEST(blank_lines_between_matrices)
{
    ag_ctx *ctx = test_begin();
    assert_printed(ag_tensor_reshape(ag_arange(ctx, AG_I32, 0, 1, 16), AG_SHAPE(2, 2, 2, 2)),
                   "[[[[ 0  1]\n   [ 2  3]]\n\n  [[ 4  5]\n   [ 6  7]]]\n\n\n"
                   " [[[ 8  9]\n   [10 11]]\n\n  [[12 13]\n   [14 15]]]]\nint32 [2,2,2,2]\n");
    test_end(ctx);
}
END_TEST

START_TEST(strides_are_followed)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_tensor_reshape(ag_arange(ctx, AG_F32, 0, 1, 6), AG_SHAPE(2, 3));
    assert_printed(ag_tensor_transpose(t, 0, 1), "[[0. 3.]\n [1. 4.]\n [2. 5.]]\nfloat32 [3,2]\n");
    assert_printed(ag_tensor_expand(F32(7, 8), AG_SHAPE(2, 2)), "[[7. 8.]\n [7. 8.]]\nfloat32 [2,2]\n");
    test_end(ctx);
}
END_TEST

START_TEST(large_ones_are_elided)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_tensor_reshape(ag_arange(ctx, AG_I32, 0, 1, 1400), AG_SHAPE(7, 200));
    assert_printed(t, "[[   0    1    2 ...  197  198  199]\n"
                      " [ 200  201  202 ...  397  398  399]\n"
                      " [ 400  401  402 ...  597  598  599]\n"
                      " ...\n"
                      " [ 800  801  802 ...  997  998  999]\n"
                      " [1000 1001 1002 ... 1197 1198 1199]\n"
                      " [1200 1201 1202 ... 1397 1398 1399]]\nint32 [7,200]\n");
    assert_printed(ag_arange(ctx, AG_F32, 0, 0.5, 1001), "[  0.    0.5   1.  ... 499.  499.5 500. ]\nfloat32 [1001]\n");
    /* A dim of 6 is shown whole, and so are 1000 elements. */
    assert_printed(ag_zeros(ctx, AG_I32, AG_SHAPE(6, 200)),
                   "[[0 0 0 ... 0 0 0]\n [0 0 0 ... 0 0 0]\n [0 0 0 ... 0 0 0]\n"
                   " [0 0 0 ... 0 0 0]\n [0 0 0 ... 0 0 0]\n [0 0 0 ... 0 0 0]]\nint32 [6,200]\n");
    ck_assert_ptr_null(strstr(printed(ag_arange(ctx, AG_F32, 0, 1, 1000), 0), "..."));
    /* 2^40 elements, or 2^28, of which 36 are looked at. */
    const int64_t side = WIDE_SIZES ? 1 << 20 : 1 << 14;
    ag_tensor *big = ag_tensor_expand(ag_zeros(ctx, AG_I32, AG_SCALAR), AG_SHAPE(side, side));
    ck_assert_ptr_nonnull(strstr(printed(big, 0), " ...\n [0 0 0 ... 0 0 0]\n"));
    test_end(ctx);
}
END_TEST

START_TEST(long_rows_are_wrapped)
{
    ag_ctx *ctx = test_begin();
    assert_printed(ag_tensor_reshape(ag_arange(ctx, AG_I32, 100, 1, 44), AG_SHAPE(2, 22)),
                   "[[100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117\n"
                   "  118 119 120 121]\n"
                   " [122 123 124 125 126 127 128 129 130 131 132 133 134 135 136 137 138 139\n"
                   "  140 141 142 143]]\nint32 [2,22]\n");
    /* 75 columns, less the closing brackets. */
    assert_printed(ag_zeros(ctx, AG_I32, AG_SHAPE(1, 40)),
                   "[[0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
                   "  0 0 0 0]]\nint32 [1,40]\n");
    test_end(ctx);
}
END_TEST

START_TEST(prints_after_an_error)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = F32(1, 2);
    ck_assert_ptr_null(ag_tensor_select(t, 0, 9));
    assert_printed(t, "[1. 2.]\nfloat32 [2]\n");
    assert_error(ctx, AG_ERR_INDEX, "select");
    test_end(ctx);
}
END_TEST

Suite *print_suite(void)
{
    Suite *suite = suite_create("print");
    TCase *tests = tcase_create("print");
    tcase_add_test(tests, scalars_and_nothing);
    tcase_add_test(tests, columns_are_aligned);
    tcase_add_test(tests, not_finite);
    tcase_add_test(tests, scientific);
    tcase_add_test(tests, precision);
    tcase_add_test(tests, blank_lines_between_matrices);
    tcase_add_test(tests, strides_are_followed);
    tcase_add_test(tests, large_ones_are_elided);
    tcase_add_test(tests, long_rows_are_wrapped);
    tcase_add_test(tests, prints_after_an_error);
    suite_add_tcase(suite, tests);
    return suite;
}
