/* SPDX-License-Identifier: MIT
 *
 * check_linear.c - the linear layer: values, first values, names, errors, gradients. Formula in nn/linear.c. Lists of
 * linears, and what follows one: as if all ran one after the other.
 */
#include "tests/nn/check_nn.h"

static ag_tensor *run(void *layer, ag_tensor *x)
{
    return ag_linear_forward(layer, x);
}

static void check_values(ag_dtype dtype, bool no_bias, double tol)
{
    enum { ROWS = 6, IN = 5, OUT = 3 };
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ IN, OUT, no_bias, 0, dtype });
    ag_module *module = ag_linear_module(layer);
    ag_tensor *x = ag_randn(ctx, dtype, AG_SHAPE(2, 3, IN)), *y = ag_linear_forward(layer, x);
    ag_tensor *w = test_param(module, "weight"), *b = ag_module_find(module, "bias");
    double want[ROWS * OUT];
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++) {
            double sum = no_bias ? 0 : test_at(b, o);
            for (int i = 0; i < IN; i++)
                sum += test_at(x, r * IN + i) * test_at(w, o * IN + i);
            want[r * OUT + o] = sum;
        }
    ag_tensor *expected = ag_tensor_cast(ag_from_data(ctx, AG_F64, AG_SHAPE(2, 3, OUT), want), dtype);
    assert_close(y, expected, tol, tol);
    ag_linear_free(layer);
    test_end(ctx);
}

START_TEST(values)
{
    check_values(AG_F64, false, 1e-14);
    check_values(AG_F64, true, 1e-14);
    check_values(AG_F32, false, 1e-6);
}
END_TEST

START_TEST(parameters)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 5, .out_features = 3 });
    test_param_list(ag_linear_module(layer), "weight [3,5]|bias [3]");
    ag_linear_free(layer);
    layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 5, .out_features = 3, .no_bias = true });
    test_param_list(ag_linear_module(layer), "weight [3,5]");
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

/* Mean, standard deviation and the largest magnitude. */
static void statistics(const ag_tensor *t, double *mean, double *std, double *most)
{
    double sum = 0, squares = 0;
    *most = 0;
    for (int64_t i = 0; i < ag_numel(t); i++) {
        double v = test_at(t, i);
        sum += v;
        squares += v * v;
        *most = fmax(*most, fabs(v));
    }
    double n = (double)ag_numel(t);
    *mean = sum / n;
    *std = sqrt(squares / n - *mean * *mean);
}

START_TEST(first_values)
{
    ag_ctx *ctx = test_begin();
    double mean, std, most, bound = 1 / sqrt(100.0);
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 100, .out_features = 200 });
    statistics(test_param(ag_linear_module(layer), "weight"), &mean, &std, &most);
    ck_assert_double_eq_tol(mean, 0, 4 * bound / sqrt(3.0 * 20000)); /* four standard errors */
    ck_assert_double_eq_tol(std, bound / sqrt(3), 0.02 * bound);
    ck_assert_double_le(most, bound);
    ck_assert_double_gt(most, 0.99 * bound);
    statistics(test_param(ag_linear_module(layer), "bias"), &mean, &std, &most);
    ck_assert_double_eq_tol(std, bound / sqrt(3), 0.1 * bound);
    ck_assert_double_le(most, bound);
    ag_linear_free(layer);

    layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 100, .out_features = 200, .init_std = 0.02 });
    statistics(test_param(ag_linear_module(layer), "weight"), &mean, &std, &most);
    ck_assert_double_eq_tol(mean, 0, 4 * 0.02 / sqrt(20000));
    ck_assert_double_eq_tol(std, 0.02, 0.02 * 0.02);
    ck_assert_double_gt(most, 0.06); /* a normal value beyond three deviations, which no uniform one has */
    statistics(test_param(ag_linear_module(layer), "bias"), &mean, &std, &most);
    ck_assert_double_eq(most, 0);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(seeded)
{
    ag_tensor *weight[3];
    ag_ctx *ctx[3];
    ag_linear_layer *layer[3];
    const uint64_t seed[3] = { 7, 7, 8 };
    for (int i = 0; i < 3; i++) {
        ctx[i] = ag_ctx_new((ag_ctx_config){ .seed = seed[i], .threads = 1 + i });
        layer[i] = ag_linear_new(ctx[i], (ag_linear_config){ .in_features = 4, .out_features = 4 });
        weight[i] = test_param(ag_linear_module(layer[i]), "weight");
    }
    assert_same(weight[1], weight[0]);
    ck_assert_double_ne(test_at(weight[2], 0), test_at(weight[0], 0));
    for (int i = 0; i < 3; i++) {
        ag_linear_free(layer[i]);
        test_end(ctx[i]);
    }
}
END_TEST

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(ag_linear_new(ctx, (ag_linear_config){ .in_features = 0, .out_features = 3 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "linear: in_features is 0, must be in 1 .. 2147483647");
    ck_assert_ptr_null(ag_linear_new(ctx, (ag_linear_config){ .in_features = 2, .out_features = -3 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "linear: out_features is -3");
    ck_assert_ptr_null(ag_linear_new(ctx, (ag_linear_config){ .in_features = 2, .out_features = 3, .init_std = -1 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "linear: init_std is -1, must be finite and not negative");
    ck_assert_ptr_null(ag_linear_new(ctx, (ag_linear_config){ 2, 3, false, (double)NAN, AG_F32 }));
    assert_error(ctx, AG_ERR_ARGUMENT, "linear: init_std is ");
    ck_assert_ptr_null(ag_linear_new(ctx, (ag_linear_config){ 2, 3, false, 0, AG_I32 }));
    assert_error(ctx, AG_ERR_DTYPE, "linear: dtype is int32, must be float32 or float64");
    ck_assert_ptr_null(ag_linear_new(NULL, (ag_linear_config){ 2, 3, false, 0, AG_F32 }));

    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ .in_features = 512, .out_features = 3 });
    ck_assert_ptr_null(ag_linear_forward(layer, ag_zeros(ctx, AG_F32, AG_SHAPE(2, 10, 511))));
    assert_error(ctx, AG_ERR_SHAPE, "linear: x is [2,10,511], in_features is 512");
    ck_assert_ptr_null(ag_linear_forward(layer, ag_zeros(ctx, AG_F64, AG_SHAPE(2, 512))));
    assert_error(ctx, AG_ERR_DTYPE, "linear");
    ck_assert_ptr_null(ag_linear_forward(layer, NULL));
    ck_assert_ptr_null(ag_linear_forward(NULL, NULL));
    ck_assert_ptr_null(ag_linear_module(NULL));
    ag_linear_free(NULL);
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

START_TEST(gradients)
{
    ag_ctx *ctx = test_begin_serial();
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ 4, 3, false, 0, AG_F64 });
    test_gradcheck(ag_linear_module(layer), run, layer, ag_randn(ctx, AG_F64, AG_SHAPE(2, 3, 4)));
    ag_linear_free(layer);
    test_end(ctx);
}
END_TEST

Suite *linear_suite(void)
{
    Suite *suite = suite_create("linear");
    TCase *tcase = tcase_create("linear");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, parameters);
    tcase_add_test(tcase, first_values);
    tcase_add_test(tcase, seeded);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, gradients);
    suite_add_tcase(suite, tcase);
    return suite;
}
