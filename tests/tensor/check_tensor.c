/* SPDX-License-Identifier: MIT
 *
 * check_tensor.c - creation, fields, single elements, filling.
 */
#include "tests/test.h"

#include "tensor/tensor_impl.h"

START_TEST(dtypes)
{
    ck_assert_str_eq(ag_dtype_name(AG_F32), "float32");
    ck_assert_str_eq(ag_dtype_name(AG_F64), "float64");
    ck_assert_str_eq(ag_dtype_name(AG_I32), "int32");
    ck_assert_uint_eq(ag_dtype_size(AG_F32), 4);
    ck_assert_uint_eq(ag_dtype_size(AG_F64), 8);
    ck_assert_uint_eq(ag_dtype_size(AG_I32), 4);
}
END_TEST

START_TEST(fields)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_empty(ctx, AG_F64, AG_SHAPE(2, 3, 4));
    ck_assert_ptr_eq(ag_ctx_of(t), ctx);
    ck_assert_int_eq(ag_dtype_of(t), AG_F64);
    ck_assert_int_eq(ag_ndim(t), 3);
    ck_assert_int_eq(ag_numel(t), 24);
    ck_assert_int_eq(ag_dim(t, 0), 2);
    ck_assert_int_eq(ag_dim(t, -1), 4);
    ck_assert_int_eq(ag_dim(t, 3), -1);
    ck_assert_int_eq(ag_dim(t, -4), -1);
    ck_assert_int_eq(ag_shape(t)[1], 3);
    ck_assert_int_eq(ag_stride(t)[0], 12);
    ck_assert_int_eq(ag_stride(t)[1], 4);
    ck_assert_int_eq(ag_stride(t)[2], 1);
    ck_assert(ag_is_contiguous(t));
    ck_assert_uint_eq((uintptr_t)ag_data(t) % 64, 0);
    test_end(ctx);
}
END_TEST

START_TEST(null_in_null_out)
{
    ag_ctx *ctx = test_begin();
    double value = 7.0;
    const int64_t at[1] = { 0 };
    ck_assert_ptr_null(ag_ctx_of(NULL));
    ck_assert_int_eq(ag_ndim(NULL), -1);
    ck_assert_int_eq(ag_numel(NULL), 0);
    ck_assert_int_eq(ag_dim(NULL, 0), -1);
    ck_assert_ptr_null(ag_shape(NULL));
    ck_assert_ptr_null(ag_stride(NULL));
    ck_assert_ptr_null(ag_data(NULL));
    ck_assert_ptr_null(ag_data_mut(NULL));
    ck_assert(!ag_is_contiguous(NULL));
    ck_assert_int_eq(ag_item(NULL, &value), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_get(NULL, at, &value), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_set(NULL, at, 1.0), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_fill(NULL, 1.0), AG_ERR_ARGUMENT);
    ck_assert_ptr_null(ag_zeros(NULL, AG_F32, AG_SHAPE(2)));
    ck_assert_ptr_null(ag_full(NULL, AG_F32, AG_SHAPE(2), 1.0));
    ck_assert_ptr_null(ag_arange(NULL, AG_F32, 0, 1, 2));
    ck_assert_ptr_null(ag_from_data(NULL, AG_F32, AG_SHAPE(2), &value));
    ck_assert(value == 7.0);
    test_end(ctx);
}
END_TEST

START_TEST(creation)
{
    ag_ctx *ctx = test_begin();
    for (ag_dtype dtype = AG_F32; dtype <= AG_I32; dtype++) {
        assert_values(ag_zeros(ctx, dtype, AG_SHAPE(2, 2)), 0, 0, 0, 0, 0);
        assert_values(ag_full(ctx, dtype, AG_SHAPE(3), -5), 0, -5, -5, -5);
        assert_values(ag_full(ctx, dtype, AG_SCALAR, 2), 0, 2);
        assert_values(ag_arange(ctx, dtype, 5, -2, 4), 0, 5, 3, 1, -1);
        ck_assert_int_eq(ag_numel(ag_arange(ctx, dtype, 0, 1, 0)), 0);
        ck_assert_int_eq(ag_numel(ag_full(ctx, dtype, AG_SHAPE(2, 0), 1)), 0);
    }
    assert_values(ag_arange(ctx, AG_F64, 0.1, 0.1, 3), 1e-15, 0.1, 0.2, 0.3);
    const float f[] = { 1.5f, -2.0f, INFINITY, NAN };
    const double d[] = { 1.5, 1e300 };
    const int32_t i[] = { INT32_MIN, 0, INT32_MAX };
    assert_values(ag_from_data(ctx, AG_F32, AG_SHAPE(2, 2), f), 0, 1.5, -2, (double)INFINITY, (double)NAN);
    assert_values(ag_from_data(ctx, AG_F64, AG_SHAPE(2), d), 0, 1.5, 1e300);
    assert_values(ag_from_data(ctx, AG_I32, AG_SHAPE(3), i), 0, INT32_MIN, 0, INT32_MAX);
    ck_assert_ptr_nonnull(ag_from_data(ctx, AG_I32, AG_SHAPE(0), NULL));
    test_end(ctx);
}
END_TEST

START_TEST(zeros_in_used_memory)
{
    ag_ctx *ctx = test_begin();
    for (int round = 0; round < 3; round++) {
        ag_scope_begin(ctx, NULL);
        ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(3));
        assert_values(t, 0, 0, 0, 0);
        ag_fill(t, 9.0); /* the next round gets this memory again */
        ag_scope_end(ctx, NULL);
    }
    test_end(ctx);
}
END_TEST

START_TEST(creation_errors)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(ag_zeros(ctx, AG_F32, AG_SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1)));
    assert_error(ctx, AG_ERR_SHAPE, "9 dims");
    ck_assert_ptr_nonnull(ag_zeros(ctx, AG_F32, AG_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)));
    ck_assert_ptr_null(ag_zeros(ctx, AG_F32, AG_SHAPE(2, -3)));
    assert_error(ctx, AG_ERR_SHAPE, "[2,-3]");
    ck_assert_ptr_null(ag_full(ctx, AG_I32, AG_SHAPE(2), 3e9));
    assert_error(ctx, AG_ERR_ARGUMENT, "full: 3e+09 is not an int32");
    ck_assert_ptr_null(ag_full(ctx, AG_I32, AG_SHAPE(2), (double)NAN));
    assert_error(ctx, AG_ERR_ARGUMENT, "full: nan");
    ck_assert_ptr_null(ag_arange(ctx, AG_F32, 0, 1, -1));
    assert_error(ctx, AG_ERR_ARGUMENT, "arange: -1 elements");
    ck_assert_ptr_null(ag_arange(ctx, AG_I32, 2147483647, 1, 2));
    assert_error(ctx, AG_ERR_ARGUMENT, "arange: 2.14748e+09 is not an int32");
    ck_assert_ptr_null(ag_from_data(ctx, AG_F32, AG_SHAPE(2, 3), NULL));
    assert_error(ctx, AG_ERR_ARGUMENT, "from_data: [2,3] wants 6 elements");
    test_end(ctx);
}
END_TEST

START_TEST(contiguity)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3, 1, 4));
    ck_assert(!ag_is_contiguous(ag_tensor_transpose(t, 0, 1)));
    ck_assert(ag_is_contiguous(ag_tensor_transpose(t, 1, 2))); /* an extent of 1 has no order */
    ck_assert(ag_is_contiguous(ag_tensor_slice(t, 0, 1, 2, 1)));
    ck_assert(!ag_is_contiguous(ag_tensor_slice(t, 3, 0, 2, 1)));
    ck_assert(!ag_is_contiguous(ag_tensor_expand(ag_zeros(ctx, AG_F32, AG_SHAPE(1, 4)), AG_SHAPE(2, 4))));
    ck_assert(ag_is_contiguous(ag_tensor_transpose(ag_zeros(ctx, AG_F32, AG_SHAPE(0, 3)), 0, 1)));
    ck_assert(ag_is_contiguous(ag_zeros(ctx, AG_F32, AG_SCALAR)));
    test_end(ctx);
}
END_TEST

START_TEST(item)
{
    ag_ctx *ctx = test_begin();
    double value = 0.0;
    ck_assert_int_eq(ag_item(ag_full(ctx, AG_F32, AG_SCALAR, 2.5), &value), AG_OK);
    ck_assert(value == 2.5);
    ck_assert_int_eq(ag_item(ag_full(ctx, AG_I32, AG_SHAPE(1, 1), -3), &value), AG_OK);
    ck_assert(value == -3.0);
    ag_tensor *row = ag_arange(ctx, AG_F64, 0, 1, 6);
    ck_assert_int_eq(ag_item(ag_tensor_select(row, 0, 4), &value), AG_OK);
    ck_assert(value == 4.0);
    ck_assert_int_eq(ag_item(row, &value), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "item: [6] has 6 elements, not 1");
    ck_assert_int_eq(ag_item(ag_zeros(ctx, AG_F32, AG_SHAPE(0)), &value), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "item: [0] has 0 elements, not 1");
    test_end(ctx);
}
END_TEST

START_TEST(item_reports_an_older_error)
{
    ag_ctx *ctx = test_begin();
    double value = 7.0;
    ag_tensor *loss = ag_full(ctx, AG_F32, AG_SCALAR, 1.0);
    ag_fail(ctx, AG_ERR_NUMBER, "earlier", "this came first");
    ck_assert_int_eq(ag_item(loss, &value), AG_ERR_NUMBER);
    ck_assert(value == 7.0);
    assert_error(ctx, AG_ERR_NUMBER, "earlier: this came first");
    test_end(ctx);
}
END_TEST

START_TEST(get_and_set)
{
    ag_ctx *ctx = test_begin();
    double value = 0.0;
    for (ag_dtype dtype = AG_F32; dtype <= AG_I32; dtype++) {
        ag_tensor *t = ag_tensor_transpose(ag_tensor_reshape(ag_arange(ctx, dtype, 0, 1, 6), AG_SHAPE(2, 3)), 0, 1);
        ck_assert_int_eq(ag_get(t, (int64_t[]){ 2, 1 }, &value), AG_OK);
        ck_assert(value == 5.0);
        ck_assert_int_eq(ag_get(t, (int64_t[]){ -3, -1 }, &value), AG_OK);
        ck_assert(value == 3.0);
        ck_assert_int_eq(ag_set(t, (int64_t[]){ -1, 0 }, 20), AG_OK);
        assert_values(t, 0, 0, 3, 1, 4, 20, 5);
        ck_assert_int_eq(ag_get(t, (int64_t[]){ 3, 0 }, &value), AG_ERR_INDEX);
        assert_error(ctx, AG_ERR_INDEX, "get: index 3 of dim 0 in [3,2]");
        ck_assert_int_eq(ag_set(t, (int64_t[]){ 0, -3 }, 1), AG_ERR_INDEX);
        assert_error(ctx, AG_ERR_INDEX, "set: index -3 of dim 1 in [3,2]");
    }
    ag_tensor *scalar = ag_zeros(ctx, AG_I32, AG_SCALAR);
    ck_assert_int_eq(ag_set(scalar, NULL, -2.9), AG_OK);
    ck_assert_int_eq(ag_get(scalar, NULL, &value), AG_OK);
    ck_assert(value == -2.0);
    ck_assert_int_eq(ag_set(scalar, NULL, -2147483649.0), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "is not an int32");
    ck_assert_int_eq(ag_set(scalar, NULL, -2147483648.0), AG_OK);
    ck_assert(test_item(scalar) == -2147483648.0);
    test_end(ctx);
}
END_TEST

START_TEST(fill_stays_inside_the_view)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(3, 4));
    ck_assert_int_eq(ag_fill(ag_tensor_slice(ag_tensor_slice(t, 0, 1, 3, 1), 1, 0, 4, 2), 7), AG_OK);
    assert_values(t, 0, 0, 0, 0, 0, 7, 0, 7, 0, 7, 0, 7, 0);
    ck_assert_int_eq(ag_fill(ag_tensor_slice(t, 1, 2, 2, 1), 9), AG_OK);
    ck_assert_int_eq(ag_fill(ag_tensor_select(ag_tensor_transpose(t, 0, 1), 0, 3), -1), AG_OK);
    assert_values(t, 0, 0, 0, 0, -1, 7, 0, 7, -1, 7, 0, 7, -1);
    /* 2^40 elements that are one, or 2^20. */
    ag_tensor *one = ag_zeros(ctx, AG_F32, AG_SCALAR);
    const int64_t side = WIDE_SIZES ? 1 << 20 : 1 << 10;
    ck_assert_int_eq(ag_fill(ag_tensor_expand(one, AG_SHAPE(side, side)), 4), AG_OK);
    ck_assert(test_item(one) == 4.0);
    ag_tensor *integers = ag_zeros(ctx, AG_I32, AG_SHAPE(2));
    ck_assert_int_eq(ag_fill(integers, (double)INFINITY), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "fill: inf is not an int32");
    assert_values(integers, 0, 0, 0);
    test_end(ctx);
}
END_TEST

START_TEST(every_change_raises_the_version)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 2)), *view = ag_tensor_transpose(t, 0, 1);
    uint64_t version = t->storage->version;
    ag_fill(view, 1);
    ck_assert_uint_gt(t->storage->version, version);
    ck_assert_str_eq(t->storage->changed_by, "fill");
    version = t->storage->version;
    ag_set(view, (int64_t[]){ 0, 0 }, 1);
    ck_assert_uint_gt(t->storage->version, version);
    version = t->storage->version;
    ag_data_mut(t);
    ck_assert_uint_gt(t->storage->version, version);
    version = t->storage->version;
    ag_copy_into(t, view);
    ck_assert_uint_gt(t->storage->version, version);
    version = t->storage->version;
    ag_fill_uniform(t, 0, 1);
    ck_assert_uint_gt(t->storage->version, version);
    version = t->storage->version;
    ag_fill_normal(view, 0, 1);
    ck_assert_uint_gt(t->storage->version, version);
    version = t->storage->version;
    ag_data(t);
    test_at(t, 0);
    ag_tensor_clone(t);
    ag_set(t, (int64_t[]){ 5, 5 }, 1);
    ag_error_clear(ctx);
    ck_assert_uint_eq(t->storage->version, version);
    test_end(ctx);
}
END_TEST

Suite *tensor_suite(void)
{
    Suite *suite = suite_create("tensor");
    TCase *tests = tcase_create("tensor");
    tcase_add_test(tests, dtypes);
    tcase_add_test(tests, fields);
    tcase_add_test(tests, null_in_null_out);
    tcase_add_test(tests, creation);
    tcase_add_test(tests, zeros_in_used_memory);
    tcase_add_test(tests, creation_errors);
    tcase_add_test(tests, contiguity);
    tcase_add_test(tests, item);
    tcase_add_test(tests, item_reports_an_older_error);
    tcase_add_test(tests, get_and_set);
    tcase_add_test(tests, fill_stays_inside_the_view);
    tcase_add_test(tests, every_change_raises_the_version);
    suite_add_tcase(suite, tests);
    return suite;
}
