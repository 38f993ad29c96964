/* SPDX-License-Identifier: MIT
 *
 * check_shape.c - sizes that overflow, broadcasting, texts, and the loop over strided operands.
 */
#include "tests/test.h"

#include "tensor/tensor_impl.h"

#include <string.h>

START_TEST(numel_is_the_product)
{
    ck_assert_int_eq(ag_checked_numel(0, NULL, 4), 1);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(2, 3, 4), 4), 24);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(2, 0, 4), 4), 0);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(-2, 3), 4), -1);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(0, -1), 4), -1);
}
END_TEST

START_TEST(numel_beyond_32_bits)
{
    const int64_t big = INT64_C(1) << 31;
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big), 4), big);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, 4), 8), INT64_C(1) << 33);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(65537, 65537), 4), INT64_C(4295098369));
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, big / 4), 4), INT64_C(1) << 60);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, big), 1), INT64_C(1) << 62);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(INT64_MAX), 1), INT64_MAX);
}
END_TEST

START_TEST(numel_that_overflows)
{
    const int64_t big = INT64_C(1) << 31;
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, big, 4), 1), -1); /* 2^64 elements */
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, big, 2), 1), -1); /* 2^63 */
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, big), 2), -1); /* 2^63 bytes */
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big / 2, big / 2), 8), -1); /* of extents that are small each */
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(INT64_MAX), 4), -1);
    /* Without the 0 it overflows, and so would its strides. */
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(0, big, big, 4), 1), -1);
    ck_assert_int_eq(ag_checked_numel(AG_SHAPE(big, big, 4, 0), 1), -1);

    ag_ctx *ctx = test_begin();
    size_t before = ag_ctx_bytes(ctx);
    ck_assert_ptr_null(ag_empty(ctx, AG_F32, AG_SHAPE(big, big, 4)));
    assert_error(ctx, AG_ERR_MEMORY, "[2147483648,2147483648,4]");
    ck_assert_uint_eq(ag_ctx_bytes(ctx), before);
    test_end(ctx);
}
END_TEST

START_TEST(dims_count_from_both_ends)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3));
    ck_assert_int_eq(ag_checked_dim("sum", t, 0, 0), 0);
    ck_assert_int_eq(ag_checked_dim("sum", t, 1, 0), 1);
    ck_assert_int_eq(ag_checked_dim("sum", t, -1, 0), 1);
    ck_assert_int_eq(ag_checked_dim("sum", t, -2, 0), 0);
    ck_assert_int_eq(ag_checked_dim("sum", t, 2, 1), 2);
    ck_assert_int_eq(ag_checked_dim("sum", t, 2, 0), -1);
    assert_error(ctx, AG_ERR_ARGUMENT, "sum: dim 2 of [2,3]");
    ck_assert_int_eq(ag_checked_dim("sum", t, -3, 0), -1);
    assert_error(ctx, AG_ERR_ARGUMENT, "sum: dim -3 of [2,3]");
    test_end(ctx);
}
END_TEST

static const struct {
    int a_ndim, b_ndim, ndim; /* ndim -1: they do not broadcast */
    int64_t a[4], b[4], shape[4];
} broadcasts[] = {
    { 0, 0, 0, { 0 }, { 0 }, { 0 } },
    { 2, 0, 2, { 2, 3 }, { 0 }, { 2, 3 } },
    { 2, 1, 2, { 2, 3 }, { 3 }, { 2, 3 } },
    { 1, 2, 2, { 3 }, { 2, 1 }, { 2, 3 } },
    { 3, 3, 3, { 4, 1, 3 }, { 1, 5, 1 }, { 4, 5, 3 } },
    { 2, 2, 2, { 0, 3 }, { 1, 3 }, { 0, 3 } },
    { 2, 1, 2, { 2, 1 }, { 0 }, { 2, 0 } },
    { 2, 2, -1, { 2, 3 }, { 2, 4 }, { 0 } },
    { 2, 1, -1, { 2, 3 }, { 2 }, { 0 } },
    { 1, 1, -1, { 0 }, { 2 }, { 0 } },
};

START_TEST(broadcast_shapes)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_zeros(ctx, AG_F32, broadcasts[_i].a_ndim, broadcasts[_i].a);
    ag_tensor *b = ag_zeros(ctx, AG_F32, broadcasts[_i].b_ndim, broadcasts[_i].b);
    for (int swap = 0; swap < 2; swap++) {
        int64_t shape[AG_MAX_DIMS];
        int ndim = ag_broadcast_shape(ctx, "add", swap ? b : a, swap ? a : b, shape);
        ck_assert_int_eq(ndim, broadcasts[_i].ndim);
        for (int d = 0; d < ndim; d++)
            ck_assert_int_eq(shape[d], broadcasts[_i].shape[d]);
        if (ndim < 0)
            assert_error(ctx, AG_ERR_SHAPE, "do not broadcast");
    }
    test_end(ctx);
}
END_TEST

START_TEST(broadcast_that_overflows)
{
    ag_ctx *ctx = test_begin();
    const int64_t big = INT64_C(1) << 40;
    ag_tensor *one = ag_zeros(ctx, AG_F32, AG_SHAPE(1, 1));
    ag_tensor *row = ag_tensor_expand(one, AG_SHAPE(1, big)), *column = ag_tensor_expand(one, AG_SHAPE(big, 1));
    int64_t shape[AG_MAX_DIMS];
    ck_assert_int_eq(ag_broadcast_shape(ctx, "add", row, column, shape), -1);
    assert_error(ctx, AG_ERR_MEMORY, "add: the size of [1099511627776,1099511627776] overflows");
    test_end(ctx);
}
END_TEST

START_TEST(texts)
{
    ag_ctx *ctx = test_begin();
    ck_assert_str_eq(ag_shape_text(ag_zeros(ctx, AG_F32, AG_SCALAR)), "[]");
    ck_assert_str_eq(ag_shape_text(ag_zeros(ctx, AG_F32, AG_SHAPE(2, 0, 4))), "[2,0,4]");
    const char *first = ag_dims_text(ctx, AG_SHAPE(1, -2));
    for (int i = 0; i < 7; i++)
        ag_dims_text(ctx, AG_SHAPE(9));
    ck_assert_str_eq(first, "[1,-2]");
    int64_t longest[100];
    for (int i = 0; i < 100; i++)
        longest[i] = INT64_MIN;
    const char *text = ag_dims_text(ctx, 100, longest);
    ck_assert_uint_lt(strlen(text), 192);
    ck_assert_str_eq(text + strlen(text) - 4, "...]");
    const int64_t widest[] = { 4294967296, 1, 1, 1, 1073741824, 1, 1, 1 };
    ck_assert_str_eq(ag_dims_text(ctx, 8, widest), "[4294967296,1,1,1,1073741824,1,1,1]");
    test_end(ctx);
}
END_TEST

/* ---- The loop -------------------------------------------------------------------------------- */

/* Adds one to every element of y that the loop meets, and puts there what stands in x. */
static ag_loop copy_by_loop(ag_tensor *y, const ag_tensor *x, ag_tensor *visits)
{
    ag_loop loop;
    ag_loop_init(&loop, 3, (const ag_tensor *[]){ y, x, visits });
    double *to = ag_data_mut(y), *count = ag_data_mut(visits);
    const double *from = ag_data(x);
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i++) {
            to[loop.at[0] + i * loop.step[0]] = from[loop.at[1] + i * loop.step[1]];
            count[loop.at[2] + i * loop.step[2]] += 1.0;
        }
    return loop;
}

static void assert_loop_copies(ag_tensor *y, ag_tensor *x)
{
    ag_tensor *visits = ag_zeros(ag_ctx_of(y), AG_F64, ag_ndim(y), ag_shape(y));
    ag_loop loop = copy_by_loop(y, x, visits);
    ck_assert_int_eq(loop.row, loop.rows);
    ck_assert_int_eq(loop.rows * loop.n, ag_numel(y));
    assert_same(visits, ag_full(ag_ctx_of(y), AG_F64, ag_ndim(y), ag_shape(y), 1.0));
    assert_same(y, ag_tensor_expand(x, ag_ndim(y), ag_shape(y)));
}

static ag_tensor *counted(ag_ctx *ctx, int ndim, const int64_t *shape)
{
    int64_t numel = ag_checked_numel(ndim, shape, 8);
    return ag_tensor_reshape(ag_arange(ctx, AG_F64, 1, 1, numel), ndim, shape);
}

START_TEST(loop_joins_dims)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = counted(ctx, AG_SHAPE(2, 1, 3, 4));
    ag_loop loop;
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ x });
    ck_assert_int_eq(loop.rows, 1);
    ck_assert_int_eq(loop.n, 24);
    ck_assert_int_eq(loop.step[0], 1);
    /* The same memory in another order is still one row. */
    const ag_tensor *turned = ag_tensor_permute(x, (int[]){ 3, 0, 1, 2 });
    ag_loop_init(&loop, 1, &turned);
    ck_assert_int_eq(loop.rows, 1);
    ck_assert_int_eq(loop.n, 24);
    ck_assert_int_eq(loop.step[0], 1);
    /* A row added to a matrix: the matrix could be one row, the vector repeats. */
    ag_tensor *y = ag_zeros(ctx, AG_F64, AG_SHAPE(2, 3, 4));
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ y, counted(ctx, AG_SHAPE(4)) });
    ck_assert_int_eq(loop.rows, 6);
    ck_assert_int_eq(loop.n, 4);
    ck_assert_int_eq(loop.step[1], 1);
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ y, counted(ctx, AG_SHAPE(3, 1)) });
    ck_assert_int_eq(loop.n, 4);
    ck_assert_int_eq(loop.step[1], 0);
    test_end(ctx);
}
END_TEST

START_TEST(loop_of_one_and_of_none)
{
    ag_ctx *ctx = test_begin();
    ag_loop loop;
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ ag_zeros(ctx, AG_F64, AG_SCALAR) });
    ck_assert_int_eq(loop.rows, 1);
    ck_assert_int_eq(loop.n, 1);
    ck_assert_int_eq(loop.step[0], 1);
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ ag_zeros(ctx, AG_F64, AG_SHAPE(3, 0, 2)) });
    ck_assert_int_eq(loop.rows, 0);
    test_end(ctx);
}
END_TEST

START_TEST(loop_meets_every_element_once)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = counted(ctx, AG_SHAPE(3, 4, 5));
    ag_tensor *orders[] = { x, ag_tensor_permute(x, (int[]){ 1, 2, 0 }), ag_tensor_transpose(x, 1, 2),
                            ag_tensor_slice(x, 2, 1, 5, 2), ag_tensor_slice(ag_tensor_transpose(x, 0, 1), 0, 1, 3, 1),
                            ag_tensor_select(x, 1, 2), ag_tensor_expand(ag_tensor_select(x, 1, 2), AG_SHAPE(2, 3, 5)),
                            ag_tensor_unsqueeze(ag_tensor_select(x, 2, -1), 1) };
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        assert_loop_copies(ag_empty(ctx, AG_F64, ag_ndim(orders[i]), ag_shape(orders[i])), orders[i]);
    assert_loop_copies(ag_empty(ctx, AG_F64, AG_SHAPE(4, 3, 5)), counted(ctx, AG_SHAPE(3, 1)));
    assert_loop_copies(ag_empty(ctx, AG_F64, AG_SHAPE(4, 3, 5)), counted(ctx, AG_SCALAR));
    assert_loop_copies(ag_empty(ctx, AG_F64, AG_SHAPE(2, 1, 2, 1, 2, 1, 2, 3)),
                       counted(ctx, AG_SHAPE(2, 1, 1, 1, 2, 1, 1, 3)));
    test_end(ctx);
}
END_TEST

START_TEST(loop_beyond_32_bits)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *one = ag_zeros(ctx, AG_F64, AG_SHAPE(1, 2));
    ag_tensor *big = ag_tensor_expand(one, AG_SHAPE(INT64_C(1) << 20, INT64_C(1) << 20, 2));
    ag_loop loop;
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ big });
    ck_assert_int_eq(loop.rows * loop.n, INT64_C(1) << 41);
    test_end(ctx);
}
END_TEST

Suite *shape_suite(void)
{
    Suite *suite = suite_create("shape");
    TCase *sizes = tcase_create("sizes");
    tcase_add_test(sizes, numel_is_the_product);
    if (WIDE_SIZES)
        tcase_add_test(sizes, numel_beyond_32_bits);
    tcase_add_test(sizes, numel_that_overflows);
    tcase_add_test(sizes, dims_count_from_both_ends);
    tcase_add_loop_test(sizes, broadcast_shapes, 0, (int)(sizeof broadcasts / sizeof *broadcasts));
    if (WIDE_SIZES)
        tcase_add_test(sizes, broadcast_that_overflows);
    tcase_add_test(sizes, texts);
    suite_add_tcase(suite, sizes);
    TCase *loops = tcase_create("loop");
    tcase_add_test(loops, loop_joins_dims);
    tcase_add_test(loops, loop_of_one_and_of_none);
    tcase_add_test(loops, loop_meets_every_element_once);
    if (WIDE_SIZES)
        tcase_add_test(loops, loop_beyond_32_bits);
    suite_add_tcase(suite, loops);
    return suite;
}
