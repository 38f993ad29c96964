/* SPDX-License-Identifier: MIT
 *
 * check_view.c - views: their values, that they share memory, and their errors.
 */
#include "tests/test.h"

static ag_tensor *counted(ag_ctx *ctx, int ndim, const int64_t *shape)
{
    int64_t numel = 1;
    for (int d = 0; d < ndim; d++)
        numel *= shape[d];
    return ag_tensor_reshape(ag_arange(ctx, AG_F64, 0, 1, numel), ndim, shape);
}

static void assert_shape(const ag_tensor *t, const char *text)
{
    ck_assert_ptr_nonnull(t);
    ck_assert_str_eq(ag_shape_text(t), text);
}

/* ---- Reshape --------------------------------------------------------------------------------- */

START_TEST(reshape_of_contiguous)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 3, 4));
    const struct {
        int ndim;
        int64_t shape[AG_MAX_DIMS];
        const char *text;
    } cases[] = {
        { 1, { 24 }, "[24]" },
        { 1, { -1 }, "[24]" },
        { 2, { 6, -1 }, "[6,4]" },
        { 3, { -1, 1, 8 }, "[3,1,8]" },
        { 8, { 1, 2, 1, 2, 1, 2, 1, 3 }, "[1,2,1,2,1,2,1,3]" },
        { 4, { 1, 1, 24, 1 }, "[1,1,24,1]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ag_tensor *r = ag_tensor_reshape(t, cases[i].ndim, cases[i].shape);
        assert_shape(r, cases[i].text);
        ck_assert_ptr_eq(ag_data(r), ag_data(t));
        ck_assert(ag_is_contiguous(r));
        for (int64_t e = 0; e < 24; e++)
            ck_assert(test_at(r, e) == (double)e);
    }
    test_end(ctx);
}
END_TEST

START_TEST(reshape_of_one_and_of_none)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *scalar = ag_full(ctx, AG_F32, AG_SCALAR, 3), *none = ag_zeros(ctx, AG_F32, AG_SHAPE(0, 3));
    assert_shape(ag_tensor_reshape(scalar, AG_SHAPE(1, 1)), "[1,1]");
    assert_shape(ag_tensor_reshape(scalar, AG_SHAPE(-1)), "[1]");
    assert_shape(ag_tensor_reshape(ag_tensor_reshape(scalar, AG_SHAPE(1, 1)), AG_SCALAR), "[]");
    assert_shape(ag_tensor_reshape(none, AG_SHAPE(5, 0, 2)), "[5,0,2]");
    assert_shape(ag_tensor_reshape(none, AG_SHAPE(-1, 2)), "[0,2]");
    ck_assert_ptr_null(ag_tensor_reshape(none, AG_SHAPE(0, -1))); /* any extent would do */
    assert_error(ctx, AG_ERR_SHAPE, "reshape: [0,3] has 0 elements");
    test_end(ctx);
}
END_TEST

/* Each row: a layout, a new shape, and whether PyTorch's view() takes it. */
START_TEST(reshape_keeps_a_view_where_strides_allow)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 3, 4));
    ag_tensor *turned = ag_tensor_transpose(t, 0, 1), *part = ag_tensor_slice(t, 2, 0, 4, 2);
    ag_tensor *repeated = ag_tensor_expand(counted(ctx, AG_SHAPE(1, 4)), AG_SHAPE(3, 4));
    ag_tensor *same = ag_tensor_expand(counted(ctx, AG_SHAPE(1, 1)), AG_SHAPE(3, 4));
    const struct {
        ag_tensor *t;
        int ndim;
        int64_t shape[AG_MAX_DIMS];
        bool view;
    } cases[] = {
        { turned, 4, { 3, 2, 2, 2 }, true },
        { turned, 3, { 3, 1, 8 }, false },
        { turned, 5, { 1, 3, 1, 2, 4 }, true },
        { turned, 1, { 24 }, false },
        { part, 2, { 6, 2 }, true },
        { part, 1, { 12 }, true }, /* steps of 2 all the way */
        { ag_tensor_slice(t, 2, 0, 2, 1), 2, { 6, 2 }, true },
        { ag_tensor_slice(t, 2, 0, 2, 1), 2, { 2, 6 }, false },
        { ag_tensor_slice(t, 1, 0, 2, 1), 2, { 2, 8 }, true },
        { ag_tensor_slice(t, 1, 0, 2, 1), 2, { 4, 4 }, false },
        { ag_tensor_slice(t, 1, 0, 1, 1), 3, { 2, 2, 2 }, true },
        { ag_tensor_slice(t, 2, 1, 2, 1), 1, { 6 }, true }, /* the last dim, of extent 1, is not the step */
        { ag_tensor_slice(turned, 2, 0, 1, 1), 4, { 1, 3, 2, 1 }, true },
        { repeated, 3, { 3, 2, 2 }, true },
        { repeated, 1, { 12 }, false },
        { same, 1, { 12 }, true },
        { same, 3, { 2, 3, 2 }, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ag_tensor *r = ag_tensor_reshape(cases[i].t, cases[i].ndim, cases[i].shape);
        ck_assert_ptr_nonnull(r);
        ck_assert_msg((ag_data(r) == ag_data(cases[i].t)) == cases[i].view, "case %d", (int)i);
        for (int64_t e = 0; e < ag_numel(r); e++)
            ck_assert_msg(test_at(r, e) == test_at(cases[i].t, e), "case %d, element %d", (int)i, (int)e);
    }
    test_end(ctx);
}
END_TEST

START_TEST(reshape_errors)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 3));
    const int64_t big = INT64_C(1) << 31;
    ck_assert_ptr_null(ag_tensor_reshape(t, AG_SHAPE(4, 2)));
    assert_error(ctx, AG_ERR_SHAPE, "reshape: [2,3] has 6 elements, which do not fit [4,2]");
    ck_assert_ptr_null(ag_tensor_reshape(t, AG_SHAPE(4, -1)));
    assert_error(ctx, AG_ERR_SHAPE, "reshape: [2,3] has 6 elements, which do not fit [4,-1]");
    ck_assert_ptr_null(ag_tensor_reshape(t, AG_SHAPE(-1, -1)));
    assert_error(ctx, AG_ERR_SHAPE, "reshape: [2,3] has 6 elements, which do not fit [-1,-1]");
    ck_assert_ptr_null(ag_tensor_reshape(t, AG_SHAPE(-2, -3)));
    assert_error(ctx, AG_ERR_SHAPE, "reshape: [2,3] has 6 elements, which do not fit [-2,-3]");
    ck_assert_ptr_null(ag_tensor_reshape(t, AG_SHAPE(big, big, 4)));
    assert_error(ctx, AG_ERR_SHAPE, "do not fit");
    ck_assert_ptr_null(ag_tensor_reshape(t, AG_SHAPE(1, 1, 1, 1, 1, 1, 1, 2, 3)));
    assert_error(ctx, AG_ERR_SHAPE, "reshape: 9 dims");
    ck_assert_ptr_null(ag_tensor_reshape(t, 2, NULL));
    assert_error(ctx, AG_ERR_ARGUMENT, "reshape: 2 dims, but the shape is NULL");
    test_end(ctx);
}
END_TEST

/* ---- Order of dims --------------------------------------------------------------------------- */

START_TEST(permute)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 3, 4)), *p = ag_tensor_permute(t, (int[]){ 2, 0, -2 });
    assert_shape(p, "[4,2,3]");
    ck_assert_ptr_eq(ag_data(p), ag_data(t));
    for (int64_t i = 0; i < 4; i++)
        for (int64_t j = 0; j < 2; j++)
            for (int64_t k = 0; k < 3; k++)
                ck_assert(test_at(p, (i * 2 + j) * 3 + k) == (double)((j * 3 + k) * 4 + i));
    assert_shape(ag_tensor_permute(ag_zeros(ctx, AG_F32, AG_SCALAR), NULL), "[]");
    ck_assert_ptr_null(ag_tensor_permute(t, (int[]){ 0, 1, 1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "permute: dim 1 of [2,3,4] is named twice");
    ck_assert_ptr_null(ag_tensor_permute(t, (int[]){ 2, 0, -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "permute: dim 2 of [2,3,4] is named twice");
    ck_assert_ptr_null(ag_tensor_permute(t, (int[]){ 0, 1, 3 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "permute: dim 3 of [2,3,4]");
    ck_assert_ptr_null(ag_tensor_permute(t, NULL));
    assert_error(ctx, AG_ERR_ARGUMENT, "permute");
    test_end(ctx);
}
END_TEST

START_TEST(transpose)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 3));
    assert_shape(ag_tensor_transpose(t, 0, 1), "[3,2]");
    assert_values(ag_tensor_transpose(t, 0, -1), 0, 0, 3, 1, 4, 2, 5);
    assert_values(ag_tensor_transpose(t, 1, 1), 0, 0, 1, 2, 3, 4, 5);
    assert_values(ag_tensor_transpose(ag_tensor_transpose(t, 0, 1), 0, 1), 0, 0, 1, 2, 3, 4, 5);
    ck_assert_ptr_null(ag_tensor_transpose(t, 0, 2));
    assert_error(ctx, AG_ERR_ARGUMENT, "transpose: dim 2 of [2,3]");
    test_end(ctx);
}
END_TEST

/* ---- Parts ----------------------------------------------------------------------------------- */

/* Start, stop and step against a plain loop over Python's rule, for every small combination. */
START_TEST(slice_of_every_kind)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(5));
    for (int64_t start = -8; start <= 8; start++)
        for (int64_t stop = -8; stop <= 8; stop++)
            for (int64_t step = 1; step <= 7; step++) {
                ag_scope_begin(ctx, NULL);
                ag_tensor *s = ag_tensor_slice(t, 0, start, stop, step);
                int64_t first = start < 0 ? start + 5 : start, end = stop < 0 ? stop + 5 : stop, count = 0;
                for (int64_t i = first < 0 ? 0 : first; i < end && i < 5; i += step)
                    ck_assert(test_at(s, count++) == (double)i);
                ck_assert_int_eq(ag_numel(s), count);
                ag_scope_end(ctx, NULL);
            }
    test_end(ctx);
}
END_TEST

START_TEST(slice)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(3, 4));
    assert_values(ag_tensor_slice(t, 0, 1, 3, 1), 0, 4, 5, 6, 7, 8, 9, 10, 11);
    assert_values(ag_tensor_slice(t, -1, -3, -1, 1), 0, 1, 2, 5, 6, 9, 10);
    assert_values(ag_tensor_slice(t, 0, INT64_MIN, INT64_MAX, INT64_MAX), 0, 0, 1, 2, 3);
    ck_assert_int_eq(ag_stride(ag_tensor_slice(t, 0, 0, 3, INT64_MAX))[0], 4); /* 4 INT64_MAX would overflow */
    assert_shape(ag_tensor_slice(t, 1, INT64_MAX, INT64_MAX, 1), "[3,0]");
    ag_tensor *none = ag_tensor_slice(t, 0, 3, 3, 1);
    ck_assert_ptr_eq(ag_data(none), ag_data(t));
    assert_shape(ag_tensor_slice(none, 1, 3, 4, 1), "[0,1]");
    ck_assert_ptr_eq(ag_data(ag_tensor_slice(none, 1, 3, 4, 1)), ag_data(t));
    ck_assert_int_eq(ag_fill(ag_tensor_slice(t, 0, 1, 2, 1), -1), AG_OK);
    assert_values(t, 0, 0, 1, 2, 3, -1, -1, -1, -1, 8, 9, 10, 11);
    ck_assert_ptr_null(ag_tensor_slice(t, 0, 0, 3, 0));
    assert_error(ctx, AG_ERR_ARGUMENT, "slice: step 0");
    ck_assert_ptr_null(ag_tensor_slice(t, 0, 3, 0, -1));
    assert_error(ctx, AG_ERR_ARGUMENT, "slice: step -1");
    ck_assert_ptr_null(ag_tensor_slice(t, -3, 0, 1, 1));
    assert_error(ctx, AG_ERR_ARGUMENT, "slice: dim -3 of [3,4]");
    test_end(ctx);
}
END_TEST

START_TEST(select_drops_the_dim)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 3));
    assert_shape(ag_tensor_select(t, 0, 1), "[3]");
    assert_values(ag_tensor_select(t, 0, 1), 0, 3, 4, 5);
    assert_values(ag_tensor_select(t, -1, -3), 0, 0, 3);
    ck_assert(test_item(ag_tensor_select(ag_tensor_select(t, 1, 2), 0, -1)) == 5.0);
    assert_shape(ag_tensor_select(ag_zeros(ctx, AG_F32, AG_SHAPE(0, 3)), 1, 2), "[0]");
    ag_tensor *none = ag_zeros(ctx, AG_F32, AG_SHAPE(0, 3));
    ck_assert_ptr_eq(ag_data(ag_tensor_select(none, 1, 2)), ag_data(none));
    ck_assert_ptr_null(ag_tensor_select(t, 1, 5));
    assert_error(ctx, AG_ERR_INDEX, "select: index 5 of dim 1 in [2,3]");
    ck_assert_ptr_null(ag_tensor_select(t, -1, -4));
    assert_error(ctx, AG_ERR_INDEX, "select: index -4 of dim 1 in [2,3]");
    ck_assert_ptr_null(ag_tensor_select(ag_zeros(ctx, AG_F32, AG_SHAPE(0, 3)), 0, 0));
    assert_error(ctx, AG_ERR_INDEX, "select: index 0 of dim 0 in [0,3]");
    ck_assert_ptr_null(ag_tensor_select(ag_zeros(ctx, AG_F32, AG_SCALAR), 0, 0));
    assert_error(ctx, AG_ERR_ARGUMENT, "select: dim 0 of []");
    test_end(ctx);
}
END_TEST

/* ---- Dims of extent 1 ------------------------------------------------------------------------ */

START_TEST(expand)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 1)), *e = ag_tensor_expand(t, AG_SHAPE(2, -1, 3));
    assert_shape(e, "[2,2,3]");
    assert_values(e, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1);
    ck_assert_ptr_eq(ag_data(e), ag_data(t));
    assert_shape(ag_tensor_expand(ag_zeros(ctx, AG_F32, AG_SCALAR), AG_SHAPE(2, 3)), "[2,3]");
    assert_shape(ag_tensor_expand(t, AG_SHAPE(2, 0)), "[2,0]");
    assert_shape(ag_tensor_expand(t, AG_SHAPE(-1, -1)), "[2,1]");
    ck_assert_ptr_null(ag_tensor_expand(t, AG_SHAPE(3, 1)));
    assert_error(ctx, AG_ERR_SHAPE, "expand: [2,1] does not broadcast to [3,1]");
    ck_assert_ptr_null(ag_tensor_expand(t, AG_SHAPE(0, 1)));
    assert_error(ctx, AG_ERR_SHAPE, "[2,1] does not broadcast to [0,1]");
    ck_assert_ptr_null(ag_tensor_expand(t, AG_SHAPE(-1, 2, 1)));
    assert_error(ctx, AG_ERR_SHAPE, "expand: negative extent in [-1,2,1]");
    ck_assert_ptr_null(ag_tensor_expand(t, AG_SHAPE(2, -2)));
    assert_error(ctx, AG_ERR_SHAPE, "expand: negative extent in [2,-2]");
    ck_assert_ptr_null(ag_tensor_expand(t, AG_SHAPE(2)));
    assert_error(ctx, AG_ERR_SHAPE, "expand: [2,1] does not broadcast to [2]");
    ck_assert_ptr_null(ag_tensor_expand(t, AG_SHAPE(1, 1, 1, 1, 1, 1, 1, 2, 1)));
    assert_error(ctx, AG_ERR_SHAPE, "expand: 9 dims");
    test_end(ctx);
}
END_TEST

START_TEST(squeeze_and_unsqueeze)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = counted(ctx, AG_SHAPE(2, 1, 3));
    assert_shape(ag_tensor_squeeze(t, 1), "[2,3]");
    assert_shape(ag_tensor_squeeze(t, -2), "[2,3]");
    assert_shape(ag_tensor_unsqueeze(t, 0), "[1,2,1,3]");
    assert_shape(ag_tensor_unsqueeze(t, 3), "[2,1,3,1]");
    assert_shape(ag_tensor_unsqueeze(t, -1), "[2,1,3,1]");
    assert_shape(ag_tensor_unsqueeze(t, -4), "[1,2,1,3]");
    assert_values(ag_tensor_unsqueeze(ag_tensor_transpose(t, 0, 2), 1), 0, 0, 3, 1, 4, 2, 5);
    assert_shape(ag_tensor_unsqueeze(ag_zeros(ctx, AG_F32, AG_SCALAR), 0), "[1]");
    ck_assert_ptr_null(ag_tensor_squeeze(t, 0));
    assert_error(ctx, AG_ERR_SHAPE, "squeeze: dim 0 of [2,1,3] is 2, not 1");
    ck_assert_ptr_null(ag_tensor_unsqueeze(t, 4));
    assert_error(ctx, AG_ERR_ARGUMENT, "unsqueeze: dim 4 of [2,1,3]");
    ck_assert_ptr_null(ag_tensor_unsqueeze(t, -5));
    assert_error(ctx, AG_ERR_ARGUMENT, "unsqueeze: dim -5 of [2,1,3]");
    ck_assert_ptr_null(ag_tensor_unsqueeze(ag_zeros(ctx, AG_F32, AG_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)), 0));
    assert_error(ctx, AG_ERR_SHAPE, "unsqueeze: 9 dims");
    test_end(ctx);
}
END_TEST

/* ---- Beyond 2^31 elements -------------------------------------------------------------------- */

START_TEST(views_beyond_32_bits)
{
    ag_ctx *ctx = test_begin();
    const int64_t side = INT64_C(1) << 20;
    ag_tensor *column = ag_tensor_reshape(ag_arange(ctx, AG_F32, 0, 1, 8), AG_SHAPE(8, 1, 1));
    ag_scope_begin(ctx, NULL);
    size_t before = ag_ctx_bytes(ctx);
    ag_tensor *big = ag_tensor_expand(column, AG_SHAPE(8, side, side));
    ck_assert_int_eq(ag_numel(big), INT64_C(1) << 43);
    double value = 0;
    ck_assert_int_eq(ag_get(big, (int64_t[]){ 5, side - 1, -1 }, &value), AG_OK);
    ck_assert(value == 5.0);
    ag_tensor *part = ag_tensor_slice(ag_tensor_slice(big, 1, -3, side, 1), 2, 1, side, 2);
    assert_shape(part, "[8,3,524288]");
    ck_assert_int_eq(ag_numel(part), INT64_C(3) << 22);
    assert_shape(ag_tensor_select(big, 2, side - 1), "[8,1048576]");
    assert_shape(ag_tensor_permute(big, (int[]){ 2, 0, 1 }), "[1048576,8,1048576]");
    ag_tensor *flat = ag_tensor_reshape(ag_tensor_select(big, 0, 3), AG_SHAPE(-1));
    assert_shape(flat, "[1099511627776]");
    ck_assert_ptr_eq(ag_data(flat), (const float *)ag_data(column) + 3);
    ck_assert_int_eq(ag_get(flat, (int64_t[]){ (INT64_C(1) << 40) - 1 }, &value), AG_OK);
    ck_assert(value == 3.0);
    ck_assert_int_eq(ag_get(flat, (int64_t[]){ INT64_C(1) << 40 }, &value), AG_ERR_INDEX);
    assert_error(ctx, AG_ERR_INDEX, "get: index 1099511627776 of dim 0");
    assert_shape(ag_tensor_slice(flat, 0, INT64_C(1) << 33, -1, INT64_C(1) << 32), "[254]");
    ck_assert_uint_lt(ag_ctx_bytes(ctx) - before, 100000);
    ag_scope_end(ctx, NULL);
    ck_assert_ptr_null(ag_tensor_expand(column, AG_SHAPE(side, side, 8, side, side)));
    assert_error(ctx, AG_ERR_MEMORY, "overflows");
    test_end(ctx);
}
END_TEST

START_TEST(null_in_null_out)
{
    const int64_t shape[1] = { 1 };
    const int dims[1] = { 0 };
    ck_assert_ptr_null(ag_tensor_reshape(NULL, 1, shape));
    ck_assert_ptr_null(ag_tensor_permute(NULL, dims));
    ck_assert_ptr_null(ag_tensor_transpose(NULL, 0, 1));
    ck_assert_ptr_null(ag_tensor_slice(NULL, 0, 0, 1, 1));
    ck_assert_ptr_null(ag_tensor_select(NULL, 0, 0));
    ck_assert_ptr_null(ag_tensor_expand(NULL, 1, shape));
    ck_assert_ptr_null(ag_tensor_squeeze(NULL, 0));
    ck_assert_ptr_null(ag_tensor_unsqueeze(NULL, 0));
}
END_TEST

START_TEST(a_view_keeps_its_storage)
{
    ag_ctx *ctx = test_begin();
    ag_scope_begin(ctx, NULL);
    ag_tensor *row = ag_tensor_select(counted(ctx, AG_SHAPE(2, 3)), 0, 1);
    ag_scope_end(ctx, row);
    assert_values(row, 0, 3, 4, 5);
    test_end(ctx);
}
END_TEST

Suite *view_suite(void)
{
    Suite *suite = suite_create("view");
    TCase *tests = tcase_create("view");
    tcase_add_test(tests, reshape_of_contiguous);
    tcase_add_test(tests, reshape_of_one_and_of_none);
    tcase_add_test(tests, reshape_keeps_a_view_where_strides_allow);
    tcase_add_test(tests, reshape_errors);
    tcase_add_test(tests, permute);
    tcase_add_test(tests, transpose);
    tcase_add_test(tests, slice_of_every_kind);
    tcase_add_test(tests, slice);
    tcase_add_test(tests, select_drops_the_dim);
    tcase_add_test(tests, expand);
    tcase_add_test(tests, squeeze_and_unsqueeze);
    if (WIDE_SIZES)
        tcase_add_test(tests, views_beyond_32_bits);
    tcase_add_test(tests, null_in_null_out);
    tcase_add_test(tests, a_view_keeps_its_storage);
    suite_add_tcase(suite, tests);
    return suite;
}
