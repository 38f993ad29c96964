/* SPDX-License-Identifier: MIT
 *
 * check_zoo.c - faults of backwards that public projects have had, in double and in float: each fails, with its cause
 * and with words that say what to look for. zoo_faults.h has them.
 */
#include "tests/zoo/named_faults.h"

#define FUNCTIONS "tests/zoo/zoo_faults.h"
#include "tests/autograd/gradcheck/both_types.h"

static const named_fault zoo[] = {
    { BOTH(softmax, softmax_sums_all), "x[4,5] -> y[4,5]", AG_CAUSE_ROW_SUM_MISSING, "taken over all rows" },
    { BOTH(softmax, softmax_copies), "x[4,5] -> y[4,5]", AG_CAUSE_SLOPE, "the upstream gradient gy itself" },
    { BOTH(softmax, softmax_diagonal), "x[4,5] -> y[4,5]", AG_CAUSE_ROW_SUM_MISSING, "the diagonal of the Jacobian" },
    { BOTH(gelu, gelu_constant), "x[12] -> y[12]", AG_CAUSE_SLOPE, "x (1 - t^2) is 0.5 times the right one" },
    { BOTH(gelu_erf, gelu_forms_mixed), "x[12] -> y[12]", AG_CAUSE_SLOPE, "the slope of GELU in its tanh form" },
    { BOTH(sigmoid, sigmoid_of_input), "x[12] -> y[12]", AG_CAUSE_SLOPE, "x is used where y is meant" },
    { BOTH(rms_norm, rms_norm_no_weight), "x[4,6] weight[6] -> y[4,6]", AG_CAUSE_OPERAND,
      "A factor is left out: input 1 (weight)" },
    { BOTH(rms_norm, rms_norm_weight_zero), "x[4,6] weight[6] -> y[4,6]", AG_CAUSE_ZERO,
      "The analytic gradient is 0 on all 6 elements" },
    { BOTH(affine, affine_exchanged), "xhat[5,6] weight[6] bias[6] -> y[5,6]", AG_CAUSE_SWAPPED,
      "written to each other's place" },
    { BOTH(entropy_sum, entropy_divided), "logits[6,5] -> loss[]", AG_CAUSE_FACTOR, "It is 1/N for N = 6" },
    { BOTH(entropy_rows, entropy_first_row), "logits[6,5] -> loss[6]", AG_CAUSE_WRONG_INDEX,
      "the upstream gradient is read at index 0 of dim 0, right is i0" },
    { BOTH(entropy_ignoring, entropy_ignored_counted), "logits[6,5] -> loss[]", AG_CAUSE_TARGET,
      "Ignored rows are counted" },
    { BOTH(add, add_not_summed), "a[3,4] b[4] -> y[3,4]", AG_CAUSE_NOT_REDUCED, "only the part of the first entry" },
    { BOTH(take, take_last), "x[5] -> y[8]", AG_CAUSE_NOT_ACCUMULATED, "the last output element that uses it" },
    { BOTH(strided, strided_without), "x[2,9] w[3] -> y[2,4]", AG_CAUSE_WRONG_INDEX, "a wrong stride" },
    { BOTH(transposed, transposed_without), "x[6] w[1] -> y[11]", AG_CAUSE_WRONG_INDEX, "right is 2 i0" },
    { BOTH(filter, filter_flipped), "x[7] w[3] -> y[5]", AG_CAUSE_BATCH_MIXED, "in reversed order" },
    { BOTH(gaussian, gaussian_halved), "a[4] b[4] c[4] -> y[4]", AG_CAUSE_FACTOR, "one of two uses not counted" },
};

enum { ANIMALS = sizeof zoo / sizeof *zoo };

START_TEST(each_is_named)
{
    assert_named(&zoo[_i / 2], _i / 2, _i % 2);
}
END_TEST

/* The signatures that check_kernel.h reads. */
START_TEST(signatures_are_read)
{
    static const struct signature {
        const char *text;
        ag_cause cause;
    } texts[] = {
        { "x[12] -> y[12]", AG_CAUSE_NONE },      { " x[3,4] -> y[2,6] ", AG_CAUSE_NONE },
        { "x[12] y[12]", AG_CAUSE_ERROR },        { "x[12] -> ", AG_CAUSE_ERROR },
        { "-> y[12]", AG_CAUSE_ERROR },           { "x[12 -> y[12]", AG_CAUSE_ERROR },
        { "x[0,12] -> y[12]", AG_CAUSE_ERROR },   { "x[1,] -> y[1]", AG_CAUSE_ERROR },
        { "x [12] -> y[12]", AG_CAUSE_ERROR },    { "x -> y", AG_CAUSE_ERROR },
    };
    static const ag_array_function right = { .forward = add, .backward = add_not_summed };
    ag_gradcheck_result r;
    for (size_t i = 2; i < sizeof texts / sizeof *texts; i++) {
        r = check_kernel_run(right, texts[i].text, NULL, (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.worst.cause == texts[i].cause, "'%s'", texts[i].text);
    }
    for (size_t i = 0; i < 2; i++) {
        r = check_kernel_run((ag_array_function){ .forward = gelu, .backward = gelu_constant }, texts[i].text, NULL,
                             (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.worst.cause != AG_CAUSE_ERROR, "'%s'", texts[i].text);
    }
}
END_TEST

Suite *zoo_suite(void)
{
    Suite *s = suite_create("zoo");
    TCase *c = tcase_create("zoo");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_is_named, 0, 2 * ANIMALS);
    tcase_add_test(c, signatures_are_read);
    suite_add_tcase(s, c);
    return s;
}
