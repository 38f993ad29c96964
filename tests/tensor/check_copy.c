/* SPDX-License-Identifier: MIT
 *
 * check_copy.c - copies between layouts and dtypes, against element by element access.
 */
#include "tests/test.h"

#include <string.h>

static ag_tensor *counted(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape)
{
    int64_t numel = 1;
    for (int d = 0; d < ndim; d++)
        numel *= shape[d];
    return ag_tensor_reshape(ag_arange(ctx, dtype, 0, 1, numel), ndim, shape);
}

/* A target of t's shape whose elements are three apart, its dims turned around in memory. */
static ag_tensor *with_gaps(const ag_tensor *t, ag_dtype dtype)
{
    int64_t shape[AG_MAX_DIMS];
    int dims[AG_MAX_DIMS];
    int ndim = ag_ndim(t);
    for (int d = 0; d < ndim; d++) {
        shape[d] = ag_shape(t)[ndim - 1 - d];
        dims[d] = ndim - 1 - d;
    }
    shape[ndim] = 3;
    return ag_tensor_permute(ag_tensor_select(ag_zeros(ag_ctx_of(t), dtype, ndim + 1, shape), ndim, 1), dims);
}

/* Every kind of copy of t gives t's values, and dense ones. */
static void assert_copies(ag_tensor *t)
{
    ag_ctx *ctx = ag_ctx_of(t);
    ag_tensor *clone = ag_tensor_clone(t);
    ck_assert_ptr_ne(ag_data(clone), ag_data(t));
    ck_assert(ag_is_contiguous(clone));
    assert_same(clone, t);
    assert_same(ag_tensor_contiguous(t), t);
    for (ag_dtype dtype = AG_F32; dtype <= AG_I32; dtype++) {
        ag_tensor *cast = ag_tensor_cast(t, dtype);
        ck_assert_int_eq(ag_dtype_of(cast), dtype);
        assert_same(ag_tensor_cast(cast, ag_dtype_of(t)), t);
        ag_tensor *gaps = with_gaps(t, dtype);
        ck_assert_int_eq(ag_copy_into(gaps, t), AG_OK);
        assert_same(ag_tensor_cast(gaps, ag_dtype_of(t)), t);
    }
    assert_no_error(ctx);
}

/* Extents around the size of a tile, and dims in every order. */
START_TEST(every_layout)
{
    ag_ctx *ctx = test_begin();
    const int64_t extents[] = { 1, 2, 7, 8, 9, 17 };
    ag_dtype dtype = (ag_dtype)_i;
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 6; j++) {
            ag_scope_begin(ctx, NULL);
            ag_tensor *t = counted(ctx, dtype, AG_SHAPE(extents[i], extents[j]));
            assert_copies(t);
            assert_copies(ag_tensor_transpose(t, 0, 1));
            assert_copies(ag_tensor_transpose(ag_tensor_slice(t, 1, 0, extents[j], 2), 0, 1));
            assert_copies(ag_tensor_slice(ag_tensor_slice(t, 0, 1, 99, 1), 1, 1, 99, 3));
            ag_scope_end(ctx, NULL);
        }
    ag_tensor *t = counted(ctx, dtype, AG_SHAPE(3, 9, 2, 10));
    for (int code = 0; code < 256; code++) {
        const int dims[] = { code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 };
        if ((1 << dims[0] | 1 << dims[1] | 1 << dims[2] | 1 << dims[3]) != 15)
            continue;
        ag_scope_begin(ctx, NULL);
        assert_copies(ag_tensor_permute(t, dims));
        ag_scope_end(ctx, NULL);
    }
    test_end(ctx);
}
END_TEST

START_TEST(expanded_and_empty)
{
    ag_ctx *ctx = test_begin();
    for (ag_dtype dtype = AG_F32; dtype <= AG_I32; dtype++) {
        assert_copies(ag_tensor_expand(counted(ctx, dtype, AG_SHAPE(3, 1)), AG_SHAPE(2, 3, 9)));
        assert_copies(ag_tensor_expand(counted(ctx, dtype, AG_SHAPE(9)), AG_SHAPE(2, 3, 9)));
        assert_copies(ag_tensor_transpose(ag_tensor_expand(counted(ctx, dtype, AG_SHAPE(9)), AG_SHAPE(10, 9)), 0, 1));
        assert_copies(counted(ctx, dtype, AG_SCALAR));
        ck_assert_int_eq(ag_numel(ag_tensor_clone(ag_zeros(ctx, dtype, AG_SHAPE(2, 0, 3)))), 0);
    }
    test_end(ctx);
}
END_TEST

START_TEST(as_it_is_where_nothing_is_to_do)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_F32, AG_SHAPE(2, 3)), *turned = ag_tensor_transpose(t, 0, 1);
    ck_assert_ptr_eq(ag_tensor_contiguous(t), t);
    ck_assert_ptr_ne(ag_tensor_contiguous(turned), turned);
    ck_assert_ptr_eq(ag_tensor_cast(turned, AG_F32), turned);
    ck_assert_ptr_null(ag_tensor_contiguous(NULL));
    ck_assert_ptr_null(ag_tensor_cast(NULL, AG_F32));
    ck_assert_ptr_null(ag_tensor_clone(NULL));
    ck_assert_int_eq(ag_copy_into(NULL, t), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_copy_into(t, NULL), AG_ERR_ARGUMENT);
    test_end(ctx);
}
END_TEST

START_TEST(conversions)
{
    ag_ctx *ctx = test_begin();
    const double inf = (double)INFINITY, nan = (double)NAN;
    const double values[] = { 1.9, -1.9, 2147483646.5, 2147483648.0, -2147483648.0, -1e300, inf, -inf, nan, -0.0 };
    ag_tensor *t = ag_from_data(ctx, AG_F64, AG_SHAPE(10), values);
    assert_values(ag_tensor_cast(t, AG_I32), 0, 1, -1, 2147483646, INT32_MAX, INT32_MIN, INT32_MIN, INT32_MAX,
                  INT32_MIN, 0, 0);
    assert_values(ag_tensor_cast(ag_tensor_cast(t, AG_F32), AG_I32), 0, 1, -1, INT32_MAX, INT32_MAX, INT32_MIN,
                  INT32_MIN, INT32_MAX, INT32_MIN, 0, 0);
    assert_values(ag_tensor_cast(t, AG_F32), 0, (double)(float)1.9, (double)(float)-1.9, 2147483648.0, 2147483648.0,
                  -2147483648.0, -inf, inf, -inf, nan, -0.0);
    assert_values(ag_tensor_cast(ag_from_data(ctx, AG_I32, AG_SHAPE(2), (int32_t[]){ 16777217, -1 }), AG_F32), 0,
                  16777216.0, -1.0);
    test_end(ctx);
}
END_TEST

START_TEST(bits_survive)
{
    ag_ctx *ctx = test_begin();
    const uint32_t bits[] = { 0x80000000u, 0x7fc12345u, 0x00000001u, 0xff800000u };
    ag_tensor *t = ag_from_data(ctx, AG_F32, AG_SHAPE(2, 2), bits), *turned = ag_tensor_transpose(t, 0, 1);
    ag_tensor *back = ag_tensor_contiguous(ag_tensor_transpose(ag_tensor_contiguous(turned), 0, 1));
    ck_assert_int_eq(memcmp(ag_data(back), bits, sizeof bits), 0);
    test_end(ctx);
}
END_TEST

START_TEST(copy_into_broadcasts)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3));
    ck_assert_int_eq(ag_copy_into(t, counted(ctx, AG_I32, AG_SHAPE(3))), AG_OK);
    assert_values(t, 0, 0, 1, 2, 0, 1, 2);
    ck_assert_int_eq(ag_copy_into(t, counted(ctx, AG_F64, AG_SHAPE(2, 1))), AG_OK);
    assert_values(t, 0, 0, 0, 0, 1, 1, 1);
    ck_assert_int_eq(ag_copy_into(ag_tensor_transpose(t, 0, 1), counted(ctx, AG_F32, AG_SHAPE(3, 1))), AG_OK);
    assert_values(t, 0, 0, 1, 2, 0, 1, 2);
    ck_assert_int_eq(ag_copy_into(t, ag_full(ctx, AG_F32, AG_SCALAR, 9)), AG_OK);
    assert_values(t, 0, 9, 9, 9, 9, 9, 9);
    ck_assert_int_eq(ag_copy_into(ag_tensor_slice(t, 0, 0, 0, 1), counted(ctx, AG_F32, AG_SHAPE(1, 3))), AG_OK);
    test_end(ctx);
}
END_TEST

START_TEST(copy_into_errors)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3));
    ck_assert_int_eq(ag_copy_into(t, ag_zeros(ctx, AG_F32, AG_SHAPE(3, 2))), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "copy_into: [3,2] does not broadcast to [2,3]");
    ck_assert_int_eq(ag_copy_into(t, ag_zeros(ctx, AG_F32, AG_SHAPE(1, 2, 3))), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "copy_into: [1,2,3] does not broadcast to [2,3]");
    ag_tensor *repeated = ag_tensor_expand(ag_zeros(ctx, AG_F32, AG_SHAPE(3)), AG_SHAPE(2, 3));
    ck_assert_int_eq(ag_copy_into(repeated, t), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "copy_into: dim 0 of [2,3] is expanded");
    test_end(ctx);
}
END_TEST

START_TEST(overlap_is_as_if_by_a_temporary)
{
    ag_ctx *ctx = test_begin();
    for (ag_dtype dtype = AG_F32; dtype <= AG_I32; dtype++) {
        ag_tensor *row = counted(ctx, dtype, AG_SHAPE(10));
        ck_assert_int_eq(ag_copy_into(ag_tensor_slice(row, 0, 1, 10, 1), ag_tensor_slice(row, 0, 0, 9, 1)), AG_OK);
        assert_values(row, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8);
        ck_assert_int_eq(ag_copy_into(ag_tensor_slice(row, 0, 0, 5, 1), ag_tensor_slice(row, 0, 0, 10, 2)), AG_OK);
        assert_values(row, 0, 0, 1, 3, 5, 7, 4, 5, 6, 7, 8);
        ck_assert_int_eq(ag_copy_into(row, ag_tensor_slice(row, 0, 9, 10, 1)), AG_OK);
        assert_values(row, 0, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8);
        row = counted(ctx, dtype, AG_SHAPE(10));
        ck_assert_int_eq(ag_copy_into(ag_tensor_slice(row, 0, 2, 10, 2), ag_tensor_slice(row, 0, 0, 8, 2)), AG_OK);
        assert_values(row, 0, 0, 1, 0, 3, 2, 5, 4, 7, 6, 9);
        ag_tensor *square = counted(ctx, dtype, AG_SHAPE(3, 3));
        ck_assert_int_eq(ag_copy_into(square, ag_tensor_transpose(square, 0, 1)), AG_OK);
        assert_values(square, 0, 0, 3, 6, 1, 4, 7, 2, 5, 8);
        ck_assert_int_eq(ag_copy_into(square, square), AG_OK);
        assert_values(square, 0, 0, 3, 6, 1, 4, 7, 2, 5, 8);
        ck_assert_int_eq(ag_copy_into(square, ag_tensor_select(square, 1, 0)), AG_OK);
        assert_values(square, 0, 0, 1, 2, 0, 1, 2, 0, 1, 2);
    }
    test_end(ctx);
}
END_TEST

START_TEST(nothing_outside_the_target_is_written)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(20, 20));
    ag_tensor *inner = ag_tensor_slice(ag_tensor_slice(t, 0, 1, 19, 1), 1, 1, 19, 1);
    ag_tensor *ones = ag_full(ctx, AG_F32, AG_SHAPE(18, 18), 1);
    ck_assert_int_eq(ag_copy_into(ag_tensor_transpose(inner, 0, 1), ag_tensor_transpose(ones, 0, 1)), AG_OK);
    ag_tensor *turned = ag_tensor_contiguous(ag_tensor_transpose(ones, 0, 1));
    ck_assert_int_eq(ag_copy_into(inner, ag_tensor_transpose(turned, 0, 1)), AG_OK);
    for (int64_t i = 0; i < 400; i++) {
        bool border = i < 20 || i >= 380 || i % 20 == 0 || i % 20 == 19;
        ck_assert(test_at(t, i) == (border ? 0.0 : 1.0));
    }
    test_end(ctx);
}
END_TEST

Suite *copy_suite(void)
{
    Suite *suite = suite_create("copy");
    TCase *tests = tcase_create("copy");
    tcase_add_loop_test(tests, every_layout, AG_F32, AG_I32 + 1);
    tcase_add_test(tests, expanded_and_empty);
    tcase_add_test(tests, as_it_is_where_nothing_is_to_do);
    tcase_add_test(tests, conversions);
    tcase_add_test(tests, bits_survive);
    tcase_add_test(tests, copy_into_broadcasts);
    tcase_add_test(tests, copy_into_errors);
    tcase_add_test(tests, overlap_is_as_if_by_a_temporary);
    tcase_add_test(tests, nothing_outside_the_target_is_written);
    suite_add_tcase(suite, tests);
    return suite;
}
