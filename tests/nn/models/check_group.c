/* SPDX-License-Identifier: MIT
 *
 * check_group.c - modules that a user puts together.
 */
#include "tests/nn/check_nn.h"
#include "tests/suites.h"

static ag_module *linear(ag_ctx *ctx, int64_t in, int64_t out)
{
    return ag_linear_module(ag_linear_new(ctx, (ag_linear_config){ .in_features = in, .out_features = out }));
}

START_TEST(parts_are_listed_and_trained)
{
    ag_ctx *ctx = test_begin();
    ag_module *group = ag_group_new(ctx, "forecast");
    ag_linear_layer *in = ag_linear_new(ctx, (ag_linear_config){ .in_features = 2, .out_features = 3 });
    ck_assert_int_eq(ag_group_add(group, "in", ag_linear_module(in)), AG_OK);
    ck_assert_int_eq(ag_group_add(group, "out", linear(ctx, 3, 1)), AG_OK);
    test_param_list(group, "in.weight [3,2]|in.bias [3]|out.weight [1,3]|out.bias [1]");
    double before = test_at(test_param(group, "in.weight"), 0);
    ag_optimizer *sgd = ag_sgd_new(group, (ag_sgd_config){ .lr = 0.5 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_linear_forward(in, ag_full(ctx, AG_F32, AG_SHAPE(4, 2), 1));
    ck_assert_int_eq(ag_backward(tape, ag_sum(y, AG_ALL_DIMS, false)), AG_OK);
    ag_tape_end(tape);
    ck_assert_int_eq(ag_unused_parameters(group, NULL, 0), 2); /* of out */
    ck_assert_int_eq(ag_optimizer_step(sgd), AG_OK);
    ck_assert_double_eq_tol(test_at(test_param(group, "in.weight"), 0), before - 0.5 * 4, 1e-6);
    ag_module_zero_grad(group);
    ck_assert_int_eq(ag_unused_parameters(group, NULL, 0), 4);
    ag_optimizer_free(sgd);
    ag_group_free(group);
    test_end(ctx);
}
END_TEST

START_TEST(errors_are_passed_on)
{
    ag_ctx *ctx = test_begin();
    ag_module *group = ag_group_new(ctx, NULL);
    ck_assert_int_eq(ag_group_add(group, "a", linear(ctx, 2, 2)), AG_OK);
    ck_assert_int_eq(ag_group_add(group, "a", linear(ctx, 2, 2)), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "group: there is a part 'a' already");
    ck_assert_int_eq(ag_group_add(group, "", linear(ctx, 2, 2)), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "group: a part has no name");
    ck_assert_int_eq(ag_group_add(group, "b", linear(ctx, 0, 2)), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "linear: in_features is 0");
    ck_assert_int_eq(ag_group_add(NULL, "b", linear(ctx, 2, 2)), AG_OK); /* freed: ag_ctx_free would tell */
    test_param_list(group, "a.weight [2,2]|a.bias [2]");
    ag_group_free(group);
    ag_group_free(NULL);
    ck_assert_ptr_null(ag_group_new(NULL, "group"));
    test_end(ctx);
}
END_TEST

/* A module keeps its path from pass to pass. */
START_TEST(a_part_has_the_path_of_this_pass)
{
    ag_ctx *ctx = test_begin();
    ag_linear_layer *in = ag_linear_new(ctx, (ag_linear_config){ .in_features = 2, .out_features = 2 });
    ag_tensor *wrong = ag_zeros(ctx, AG_F32, AG_SHAPE(1, 3));
    ck_assert_ptr_nonnull(ag_linear_forward(in, ag_zeros(ctx, AG_F32, AG_SHAPE(1, 2))));
    ag_module *group = ag_group_new(ctx, NULL);
    ck_assert_int_eq(ag_group_add(group, "in", ag_linear_module(in)), AG_OK);
    ck_assert_ptr_null(ag_linear_forward(in, wrong));
    assert_error(ctx, AG_ERR_SHAPE, "in: linear: x is [1,3], in_features is 2");
    ag_scope_begin(ctx, "net");
    ck_assert_ptr_null(ag_linear_forward(in, wrong));
    assert_error(ctx, AG_ERR_SHAPE, "net.in: linear: x is [1,3], in_features is 2");
    ag_scope_end(ctx, NULL);
    ag_group_free(group);
    test_end(ctx);
}
END_TEST

Suite *group_suite(void)
{
    Suite *suite = suite_create("group");
    TCase *tcase = tcase_create("group");
    tcase_add_test(tcase, parts_are_listed_and_trained);
    tcase_add_test(tcase, errors_are_passed_on);
    tcase_add_test(tcase, a_part_has_the_path_of_this_pass);
    suite_add_tcase(suite, tcase);
    return suite;
}
