/* SPDX-License-Identifier: MIT
 *
 * check_explain.c - what the gradient checker says of a wrong gradient: each kind of fault is planted in a backward,
 * and cause and words are asserted. The same backward without its fault must pass, and random damage must be called
 * unknown. explain_functions.h has the functions and the faults.
 */
#include "tests/autograd/gradcheck/explain_functions.h"

#include <stdlib.h>

/* ---- The kinds ---- */

#define SHAPE1(a) 1, { a }
#define SHAPE2(a, b) 2, { a, b }
#define SHAPE3(a, b, c) 3, { a, b, c }
#define FAULT(f, shape, fault) { f, f##_backward, shape, fault, 0, 1 }
#define TIMES(factor, f, shape) { f, f##_backward, shape, SCALED, factor, 1 }

static const struct kind {
    problem p;
    ag_cause cause;
    const char *words[2]; /* with a ! before them: must not be there */
} kinds[] = {
    { FAULT(cube, SHAPE2(3, 4), SIGN), AG_CAUSE_SIGN,
      { "The sign is flipped: analytic = -1 times the right gradient, on all 12 elements", "minus" } },
    { FAULT(cube, SHAPE1(1), SIGN), AG_CAUSE_SIGN, { "analytic = -1 times the right gradient, on its only element" } },
    { { absolute, absolute_backward, SHAPE2(3, 4), SIGN, 1, 1 }, AG_CAUSE_SIGN, { "analytic = -1 times" } },
    { TIMES(2, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR,
      { "analytic = 2 times the right gradient, on all 15 elements", "counted twice" } },
    { TIMES(2, cube, SHAPE2(2, 5)), AG_CAUSE_FACTOR, { "counted twice", "It is also N for N = 2, dim 0 of input 0." } },
    { TIMES(0.5, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR, { "analytic = 0.5 times", "one of two uses not counted" } },
    { TIMES(15, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR,
      { "It is N for N = 15, dims 0 to 1 of input 0", "a mean's 1/N left out" } },
    { TIMES(1.0 / 5, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR,
      { "It is 1/N for N = 5, dim 1 of input 0", "a mean's 1/N applied twice" } },
    { TIMES(3, cube, SHAPE2(2, 9)), AG_CAUSE_FACTOR,
      { "It is sqrt(d) for d = 9, dim 1 of input 0", "scale 1/sqrt(d) left out" } },
    { TIMES(0.44721359549995794, cube, SHAPE2(2, 5)), AG_CAUSE_FACTOR,
      { "It is 1/sqrt(d) for d = 5", "scale 1/sqrt(d) applied twice" } },
    { TIMES(-2, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR, { "analytic = -2 times", "The sign is flipped, too." } },
    { TIMES(1.7, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR, { "analytic = 1.7 times the right gradient" } },
    { TIMES(1.00001, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR, { "analytic = 1.00001 times" } },
    { TIMES(1.000005, cube, SHAPE2(3, 5)), AG_CAUSE_FACTOR, { "analytic = 1.000005 times", "!repeated" } },
    { TIMES(1.7, cube, SHAPE2(2, 3)), AG_CAUSE_FACTOR, { "analytic = 1.7 times", "!would fit" } },
    { TIMES(2, cube, SHAPE1(1)), AG_CAUSE_FACTOR, { "counted twice" } },
    { TIMES(1.7, cube, SHAPE1(1)), AG_CAUSE_UNKNOWN, { "analytic is 1.7 times the right gradient" } },
    { TIMES(1.0 / 3, broadcast, SHAPE1(4)), AG_CAUSE_FACTOR,
      { "It is 1/3, and the input is repeated 3 times", "a broadcast averaged instead of summed" } },

    { FAULT(cube, SHAPE2(3, 4), ALL_ZERO), AG_CAUSE_ZERO, { "The analytic gradient is 0 on all 12 elements" } },
    { FAULT(cube, SHAPE2(3, 4), ZERO_ROW), AG_CAUSE_ZERO,
      { "Zero where it should not be: analytic is 0 on 4 of 12 elements, those at index 1 of dim 0; elsewhere "
        "it is right" } },
    { FAULT(cube, SHAPE2(3, 4), ZERO_COLUMN), AG_CAUSE_ZERO, { "3 of 12 elements, those at index 2 of dim 1" } },
    { FAULT(cube, SHAPE1(11), ZERO_TAIL), AG_CAUSE_ZERO,
      { "3 of 11 elements, those at indices 8 to 10 of dim 0", "without its remainder" } },
    { FAULT(cube, SHAPE2(3, 5), ZERO_TAIL), AG_CAUSE_ZERO, { "3 of 15 elements, from element 12 on" } },
    { FAULT(cube, SHAPE2(4, 4), ZERO_ABOVE), AG_CAUSE_ZERO, { "6 of 16 elements, those above the diagonal" } },
    { FAULT(cube, SHAPE2(3, 4), ZERO_ONE), AG_CAUSE_ZERO, { "1 of 12 elements, at [1,1]" } },
    { FAULT(cube, SHAPE2(3, 4), ZERO_SOME), AG_CAUSE_ZERO, { "3 of 12 elements, the first at [0,1]" } },
    { FAULT(cube, SHAPE1(12), ZERO_SOME), AG_CAUSE_ZERO, { "3 of 12 elements, the first at [1]" } },
    { FAULT(triangle, SHAPE2(4, 4), ZERO_ROW), AG_CAUSE_ZERO, { "2 of 16 elements, those at index 1 of dim 0" } },

    { FAULT(cube, SHAPE2(4, 4), TRANSPOSED), AG_CAUSE_TRANSPOSED, { "with its last two dims swapped. Usually" } },
    { FAULT(cube, SHAPE2(3, 4), TRANSPOSED), AG_CAUSE_TRANSPOSED, { "with its last two dims swapped, in memory" } },
    { FAULT(cube, SHAPE2(3, 4), TRANSPOSED_MEMORY), AG_CAUSE_TRANSPOSED, { "swapped, in memory" } },
    { FAULT(cube, SHAPE3(2, 3, 3), TRANSPOSED), AG_CAUSE_TRANSPOSED, { "with its last two dims swapped. Usually" } },
    { FAULT(matmul, SHAPE2(3, 3), OPERAND_TRANSPOSED), AG_CAUSE_TRANSPOSED,
      { "An operand is transposed: dims 0 and 1 of input 1 (z) are swapped; with that analytic is right" } },
    { FAULT(cube, SHAPE3(3, 3, 3), ROTATED_DIMS), AG_CAUSE_PERMUTED, { "with its dims in the order [2,0,1]. " } },
    { FAULT(cube, SHAPE3(2, 3, 4), ROTATED_DIMS), AG_CAUSE_PERMUTED, { "in the order [2,0,1], in memory. " } },

    { FAULT(softmax, SHAPE2(3, 5), NO_SUM), AG_CAUSE_ROW_SUM_MISSING,
      { "The row-sum term is missing: the gradient is y (gy - sum(gy y)) along dim 1." } },
    { FAULT(softmax, SHAPE1(2), NO_SUM), AG_CAUSE_ROW_SUM_MISSING, { "The row-sum term is missing" } },
    { FAULT(softmax, SHAPE2(3, 5), SUM_ADDED), AG_CAUSE_ROW_SUM_MISSING, { "The row-sum term has the wrong sign" } },
    { FAULT(softmax, SHAPE2(3, 5), SUM_OF_ALL), AG_CAUSE_ROW_SUM_MISSING,
      { "The row-sum term is taken over all rows, not over each" } },
    { FAULT(softmax, SHAPE2(3, 5), ROW_FREE), AG_CAUSE_ROW_SUM_MISSING,
      { "The row-sum term is missing or wrong", "by a multiple of y in each row along dim 1" } },
    { FAULT(log_softmax, SHAPE2(3, 5), NO_SUM), AG_CAUSE_ROW_SUM_MISSING,
      { "The row-sum term is missing: the gradient is gy - exp(y) sum(gy) along dim 1." } },
    { FAULT(attention, SHAPE2(3, 5), NO_SUM), AG_CAUSE_ROW_SUM_MISSING, { "by a multiple of softmax(x) in each row" } },

    { FAULT(attention, SHAPE2(5, 5), NO_SUM), AG_CAUSE_ROW_SUM_MISSING, { "by a multiple of softmax(x)" } },

    { FAULT(query, SHAPE2(3, 2), NO_SUM), AG_CAUSE_ROW_SUM_MISSING,
      { "analytic is right for upstream gradients with sum(gy y) = 0 in each row of y, and only for them" } },

    { FAULT(layer_norm, SHAPE2(3, 6), NO_MEAN), AG_CAUSE_MEAN_MISSING,
      { "The mean term is missing: along dim 1, mean(g) in r (g - mean(g) - xhat mean(g xhat))" } },
    { FAULT(layer_norm, SHAPE2(3, 6), NO_VARIANCE), AG_CAUSE_VARIANCE_MISSING,
      { "The variance term is missing: along dim 1, xhat mean(g xhat) in r (g - mean(g) - xhat mean(g xhat))" } },
    { FAULT(layer_norm, SHAPE2(3, 6), NO_MEAN_NO_VARIANCE), AG_CAUSE_VARIANCE_MISSING,
      { "The mean and the variance term are both missing: along dim 1" } },
    { FAULT(layer_norm, SHAPE2(4, 3), NO_MEAN), AG_CAUSE_MEAN_MISSING, { "by a constant in each row along dim 1" } },
    { FAULT(layer_norm, SHAPE2(4, 3), NO_VARIANCE), AG_CAUSE_VARIANCE_MISSING,
      { "The variance term is missing or wrong", "by a multiple of x - mean(x) in each row along dim 1" } },
    { FAULT(rms_norm, SHAPE2(4, 3), NO_VARIANCE), AG_CAUSE_VARIANCE_MISSING, { "by a multiple of x in each row" } },
    { FAULT(rms_norm, SHAPE2(3, 6), NO_VARIANCE), AG_CAUSE_VARIANCE_MISSING,
      { "The variance term is missing: along dim 1, xhat mean(g xhat) in r (g - xhat mean(g xhat))" } },

    { FAULT(broadcast, SHAPE1(4), FIRST_SLICE), AG_CAUSE_NOT_REDUCED,
      { "Not reduced: the input is broadcast to output 0, and analytic has only the part of the first entry of "
        "dim 0" } },
    { FAULT(broadcast, SHAPE2(3, 1), LAST_SLICE), AG_CAUSE_NOT_REDUCED, { "the part of the last entry of dim 1" } },
    { FAULT(broadcast, SHAPE2(1, 1), FIRST_USE), AG_CAUSE_NOT_REDUCED, { "first entry of its dims, from dim 0" } },
    { FAULT(linear, SHAPE2(3, 4), LAST_SLICE), AG_CAUSE_NOT_ACCUMULATED,
      { "what the last of 5 entries of dim 0 of output 0 contributes", "Usually = where += is meant" } },
    { FAULT(embedding, SHAPE2(4, 2), LAST_USE), AG_CAUSE_NOT_ACCUMULATED,
      { "has only what the last output element that uses it contributes" } },
    { FAULT(embedding, SHAPE2(4, 2), FIRST_USE), AG_CAUSE_NOT_ACCUMULATED, { "the first output element" } },
    { FAULT(split, SHAPE2(3, 4), SECOND_LOST), AG_CAUSE_NOT_ACCUMULATED, { "lacks what output 1 contributes" } },

    { FAULT(cube, SHAPE2(3, 4), UPSTREAM_ONES), AG_CAUSE_UPSTREAM_IGNORED,
      { "The upstream gradient is ignored: analytic stays the same when it is doubled, and is the right gradient of "
        "the outputs' sum", "gy lost" } },
    { FAULT(cube, SHAPE1(1), UPSTREAM_ONES), AG_CAUSE_UPSTREAM_IGNORED, { "The upstream gradient is ignored" } },
    { FAULT(cube, SHAPE2(3, 4), UPSTREAM_MEAN), AG_CAUSE_UPSTREAM_IGNORED, { "only the mean enters" } },
    { FAULT(cube, SHAPE2(3, 4), UPSTREAM_SUM), AG_CAUSE_UPSTREAM_IGNORED, { "only the sum enters" } },
    { FAULT(split, SHAPE2(3, 4), SECOND_ONES), AG_CAUSE_UPSTREAM_IGNORED,
      { "upstream gradient of output 1 is ignored" } },

    { FAULT(triangle, SHAPE2(4, 4), LEAK), AG_CAUSE_MASK_LEAK,
      { "Not zero where the outputs do not depend on the input: analytic is not 0 on 6 of 16 elements, those above the "
        "diagonal", "a mask lost" } },

    { FAULT(triangle, SHAPE2(4, 4), LEAK_INVERTED), AG_CAUSE_MASK_LEAK,
      { "not 0 on 6 of 16 elements, and is 0 elsewhere: the wrong way round" } },
    { FAULT(triangle, SHAPE2(4, 4), LEAK_AND_SCALE), AG_CAUSE_MASK_LEAK,
      { "analytic is not 0 on 6 of 16 elements, and elsewhere 0.9 times the right gradient" } },
    { FAULT(triangle, SHAPE2(4, 4), LEAK_AND_NOISE), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },

    { FAULT(cube, SHAPE2(4, 3), ROWS_ROTATED), AG_CAUSE_BATCH_MIXED,
      { "The entries of dim 0 are mixed: entry i has the right gradient of entry i + 1, modulo 4" } },
    { FAULT(cube, SHAPE2(4, 3), ROWS_REVERSED), AG_CAUSE_BATCH_MIXED, { "they are in reversed order" } },
    { FAULT(cube, SHAPE2(4, 3), ROWS_EXCHANGED), AG_CAUSE_BATCH_MIXED, { "entries 0 and 2 are exchanged" } },
    { FAULT(embedding, SHAPE2(6, 2), ROWS_EXCHANGED), AG_CAUSE_BATCH_MIXED, { "entries 0 and 2 are exchanged" } },
    { FAULT(cube, SHAPE2(4, 3), ROWS_REPEATED), AG_CAUSE_BATCH_MIXED, { "each has the right gradient of entry 1" } },
    { FAULT(cube, SHAPE2(4, 3), ROWS_SHUFFLED), AG_CAUSE_BATCH_MIXED,
      { "2 of 4 have another's right gradient, entry 0 that of entry 1" } },
    { FAULT(cube, SHAPE2(4, 3), ROWS_SUMMED), AG_CAUSE_BATCH_MIXED,
      { "each has the sum of the right gradients of all 4" } },
    { FAULT(cube, SHAPE2(4, 3), ROWS_AVERAGED), AG_CAUSE_BATCH_MIXED, { "each has the mean of the right" } },

    { FAULT(cube, SHAPE2(3, 4), UPSTREAM_TRANSPOSED), AG_CAUSE_STRIDE_IGNORED,
      { "The upstream gradient is read in the wrong order", "with its dims in the order [1,0], in memory" } },
    { FAULT(cube, SHAPE1(11), TAIL), AG_CAUSE_TAIL,
      { "Wrong at the end: analytic is wrong on 3 of 11 elements, those at indices 8 to 10 of dim 0, and right before.",
        "8 is a multiple of 8: usually a loop over vectors without its remainder" } },
    { FAULT(cube, SHAPE2(3, 7), ROW_TAIL), AG_CAUSE_TAIL,
      { "wrong on 9 of 21 elements, those at indices 4 to 6 of dim 1", "4 is a multiple of 4" } },
    { FAULT(cube, SHAPE2(3, 5), TAIL), AG_CAUSE_TAIL,
      { "wrong on 3 of 15 elements, from element 12 on", "12 is a multiple of 4" } },
    { FAULT(multiply, SHAPE2(3, 4), EXCHANGED), AG_CAUSE_SWAPPED,
      { "analytic is the right gradient of input", "each other's place" } },

    { FAULT(join, SHAPE2(2, 2), EXCHANGED), AG_CAUSE_SWAPPED,
      { "analytic is the first part of the right gradient of input 1" } },

    { FAULT(cube, SHAPE2(3, 4), NOISE), AG_CAUSE_UNKNOWN,
      { "None of the usual faults fits", "There analytic / right goes from" } },
    { FAULT(cube, SHAPE1(9), ROWS_SHUFFLED), AG_CAUSE_UNKNOWN, { "Wrong: 2 of 9 elements" } },
    { FAULT(cube, SHAPE2(3, 6), ROW_HALF), AG_CAUSE_UNKNOWN, { "Wrong: 9 of 18 elements" } },
    { FAULT(cube, SHAPE2(3, 4), LAST_WRONG), AG_CAUSE_UNKNOWN, { "Wrong: 1 of 12 elements, at [2,3]." } },
    { FAULT(cube, SHAPE2(4, 3), MOST_WRONG), AG_CAUSE_UNKNOWN,
      { "9 of 12 elements, those at indices 1 to 3 of dim 0" } },
    { FAULT(absolute, SHAPE2(1, 12), ONE_WRONG), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(cube, SHAPE2(3, 4), ONE_WRONG), AG_CAUSE_UNKNOWN,
      { "Wrong: 1 of 12 elements, at [1,1].", "!The error vanishes" } },
    { FAULT(cube, SHAPE2(4, 4), DIAGONAL_WRONG), AG_CAUSE_UNKNOWN, { "4 of 16 elements, those on the diagonal" } },
    { FAULT(cube, SHAPE2(3, 4), ROW_DOUBLED), AG_CAUSE_FACTOR,
      { "in a part: analytic is 2 times the right gradient on 4 of 12 elements, those at index 1 of dim 0" } },
    { FAULT(cube, SHAPE2(3, 4), NOT_A_NUMBER), AG_CAUSE_UNKNOWN,
      { "Not finite: analytic is nan or infinite on 1 of 12 elements, the first is nan at [1,1]" } },
    { FAULT(constant, SHAPE2(3, 4), ONLY_NOISE), AG_CAUSE_UNKNOWN,
      { "The right gradient is 0, the outputs do not depend on the input; analytic is not 0 on" } },
    { FAULT(cube, SHAPE2(3, 4), FIRST_TIME), AG_CAUSE_STATE,
      { "Your backward keeps state: called again with the same arguments it gives 0 for element 0 of input 0" } },
    { FAULT(softmax, SHAPE1(2), ROWS_REVERSED), AG_CAUSE_SIGN,
      { "On so few elements 'batch mixed' would fit as well" } },
    /* a constant in each row is only a norm's mean where a shift of the row changes nothing, y in each row only
     * a softmax's sum where y is one */
    { FAULT(cube, SHAPE2(3, 6), ROW_CONSTANT), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(cube, SHAPE2(3, 6), ROW_FREE), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(cube, SHAPE2(3, 6), ROW_EXP), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(cube, SHAPE2(3, 6), ROW_INPUT), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(softmax, SHAPE2(3, 6), ROW_CENTERED), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(softmax, SHAPE2(2, 2), ROW_FREE), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(rms_norm, SHAPE2(3, 6), ROW_CONSTANT), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    { FAULT(layer_norm, SHAPE2(3, 6), ROW_FREE), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
};

enum { KINDS = sizeof kinds / sizeof *kinds };

static void assert_explained(int i, const struct kind *k, ag_gradcheck_config config)
{
    ag_ctx *ctx = test_begin();
    ag_gradcheck_result r = run(ctx, k->p, config);
    assert_no_error(ctx);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_msg(r.worst.cause == k->cause, "kind %d: %s, must be %s: %s", i, ag_cause_name(r.worst.cause),
                  ag_cause_name(k->cause), r.explanation);
    ck_assert_msg(strlen(r.explanation) < AG_EXPLANATION - 1, "kind %d: cut: %s", i, r.explanation);
    for (int w = 0; w < 2 && k->words[w] != NULL; w++) {
        bool wanted = k->words[w][0] != '!', found = strstr(r.explanation, k->words[w] + !wanted) != NULL;
        ck_assert_msg(found == wanted, "kind %d: '%s' and '%s'", i, k->words[w], r.explanation);
    }
    test_end(ctx);
}

START_TEST(each_fault_is_explained)
{
    assert_explained(_i, &kinds[_i], (ag_gradcheck_config){ .seed = 3 });
}
END_TEST

START_TEST(without_the_fault_it_passes)
{
    ag_ctx *ctx = test_begin();
    problem p = kinds[_i].p;
    p.fault = RIGHT;
    ag_gradcheck_result r = run(ctx, p, (ag_gradcheck_config){ .seed = 3 });
    ck_assert_int_eq(r.verdict, p.forward == absolute ? AG_INCONCLUSIVE : AG_PASS);
    ck_assert_int_eq(r.worst.cause, p.forward == absolute ? AG_CAUSE_KINK : AG_CAUSE_NONE);
    test_end(ctx);
}
END_TEST

/* Where transposing changes nothing there is nothing to explain. */
START_TEST(a_symmetric_gradient_may_be_transposed)
{
    ag_ctx *ctx = test_begin();
    ag_gradcheck_result r = run(ctx, (problem)FAULT(total, SHAPE2(4, 4), TRANSPOSED), (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

/* A Jacobian of 600 x 600 is not kept: other cotangents mean differences. */
START_TEST(without_a_jacobian)
{
    static const struct kind large[] = {
        { FAULT(cube, SHAPE2(24, 25), UPSTREAM_MEAN), AG_CAUSE_UPSTREAM_IGNORED, { "only the mean enters" } },
        { FAULT(cube, SHAPE2(24, 25), UPSTREAM_TRANSPOSED), AG_CAUSE_STRIDE_IGNORED, { "dims in the order [1,0]" } },
        { FAULT(cube, SHAPE2(24, 25), NOISE), AG_CAUSE_UNKNOWN, { "None of the usual faults" } },
    };
    assert_explained(_i, &large[_i], (ag_gradcheck_config){ 0 });
}
END_TEST

/* Inputs that are too large are compared along directions. */
START_TEST(along_directions)
{
    static const struct kind large[] = {
        { FAULT(cube, SHAPE2(5, 8), SIGN), AG_CAUSE_SIGN, { "right gradient, along 8 random directions" } },
        { TIMES(0.2, cube, SHAPE2(5, 8)), AG_CAUSE_FACTOR, { "analytic = 0.2 times", "1/N for N = 5" } },
        { FAULT(cube, SHAPE2(5, 8), ALL_ZERO), AG_CAUSE_ZERO, { "The analytic gradient is 0 along 8" } },
        { FAULT(cube, SHAPE2(5, 8), UPSTREAM_ONES), AG_CAUSE_UPSTREAM_IGNORED,
          { "stays the same when it is doubled. " } },
        { FAULT(cube, SHAPE2(5, 8), NOT_A_NUMBER), AG_CAUSE_UNKNOWN, { "Not finite" } },
        { FAULT(cube, SHAPE2(5, 8), NOISE), AG_CAUSE_UNKNOWN, { "The input is too large, 40 elements" } },
        { FAULT(cube, SHAPE2(5, 8), TRANSPOSED), AG_CAUSE_UNKNOWN, { "The input is too large, 40 elements" } },
    };
    assert_explained(_i, &large[_i], (ag_gradcheck_config){ .elements = 8 });
}
END_TEST

/* Random damage is no known fault, in any function, with any seed. */
START_TEST(noise_is_not_explained)
{
    static const fault noise[] = { NOISE, MUCH_NOISE, ONLY_NOISE, SIGNS };
    ag_ctx *ctx = test_begin();
    for (uint64_t seed = 2; seed < 10; seed++) {
        problem p = kinds[_i].p;
        p.fault = noise[seed % 4];
        p.seed = seed;
        if (p.forward == constant || numel(&p) < 9) /* half of few elements may well be the last ones */
            p.fault = ONLY_NOISE;
        ag_gradcheck_result r = run(ctx, p, (ag_gradcheck_config){ .seed = seed });
        ck_assert_int_eq(r.verdict, AG_FAIL);
        ck_assert_msg(r.worst.cause == AG_CAUSE_UNKNOWN, "kind %d, seed %d: %s: %s", _i, (int)seed,
                      ag_cause_name(r.worst.cause), r.explanation);
    }
    test_end(ctx);
}
END_TEST

/* ---- Ops: one that gives no gradient at all, a product that exchanges its two ---- */

static void silent_vjp(ag_vjp *v)
{
    (void)v;
}

static const ag_op silent_op = { "silent", 1, AG_KEEP_NONE, silent_vjp };

static void silent(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_record(&silent_op, ag_tensor_clone(ag_detach(x[0])), x, 1, NULL, 0, NULL);
}

START_TEST(no_gradient_at_all)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 4)));
    ag_gradcheck_result r = ag_gradcheck(ctx, silent, &x, 1, NULL, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_ZERO);
    ck_assert_msg(strstr(r.explanation, "no gradient at all") != NULL, "%s", r.explanation);
    test_end(ctx);
}
END_TEST

static void exchanging_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_mul(v->gy, v->input[0]));
    ag_vjp_add(v, 1, ag_mul(v->gy, v->input[1]));
}

static const ag_op exchanging_op = { "exchanging", 2, AG_KEEP_INPUT | AG_KEEP_INPUT << 1, exchanging_vjp };

static void exchanging(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *factor[2] = { ag_exp(x[0]), x[1] };
    ag_tensor *result = ag_mul(ag_detach(factor[0]), ag_detach(factor[1]));
    y[0] = ag_record(&exchanging_op, result, factor, 2, NULL, 0, NULL);
}

/* Only of the op itself is the wrong gradient the other one. */
START_TEST(an_op_is_explained)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x[2];
    for (int i = 0; i < 2; i++)
        x[i] = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 4)));
    ag_gradcheck_result r = ag_gradcheck(ctx, exchanging, x, 2, NULL, (ag_gradcheck_config){ 0 });
    ck_assert_str_eq(r.op, "exchanging");
    ck_assert_msg(r.worst.cause == AG_CAUSE_SWAPPED, "%s: %s", ag_cause_name(r.worst.cause), r.explanation);
    test_end(ctx);
}
END_TEST

/* ---- Names, and memory ---- */

START_TEST(every_cause_has_a_name)
{
    for (int a = 0; a < AG_CAUSES; a++)
        for (int b = 0; b < a; b++)
            ck_assert_str_ne(ag_cause_name((ag_cause)a), ag_cause_name((ag_cause)b));
    ck_assert_str_eq(ag_cause_name(AG_CAUSE_SIGN), "sign flipped");
    ck_assert_str_eq(ag_cause_name(AG_CAUSE_SWAPPED), "swapped inputs");
    ck_assert_str_eq(ag_cause_name(AG_CAUSES), "unknown");
}
END_TEST

/* Hands out `left` blocks, then no more. */
typedef struct purse {
    int left;
} purse;

static void *purse_alloc(void *user, size_t size)
{
    purse *from = user;
    return from->left-- > 0 ? malloc(size) : NULL;
}

static void purse_free(void *user, void *block, size_t size)
{
    (void)user, (void)size;
    free(block);
}

START_TEST(memory_may_run_out)
{
    bool explained = false;
    for (int blocks = 1; blocks < 1000 && !explained; blocks++) {
        purse from = { 1000 };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .allocator = { purse_alloc, purse_free, &from } });
        from.left = blocks;
        ag_gradcheck_result r = run(ctx, (problem)FAULT(cube, SHAPE2(3, 5), TAIL), (ag_gradcheck_config){ 0 });
        ck_assert_int_eq(r.verdict, AG_FAIL);
        explained = r.worst.cause == AG_CAUSE_UNKNOWN || r.worst.cause == AG_CAUSE_TAIL;
        ck_assert(explained || (r.worst.cause == AG_CAUSE_ERROR && ag_error(ctx) == AG_ERR_MEMORY));
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
    }
    ck_assert(explained);
}
END_TEST

Suite *explain_suite(void)
{
    Suite *s = suite_create("explain");
    TCase *c = tcase_create("explain");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_fault_is_explained, 0, KINDS);
    tcase_add_loop_test(c, without_the_fault_it_passes, 0, KINDS);
    tcase_add_test(c, a_symmetric_gradient_may_be_transposed);
    tcase_add_loop_test(c, without_a_jacobian, 0, 3);
    tcase_add_loop_test(c, along_directions, 0, 7);
    tcase_add_loop_test(c, noise_is_not_explained, 0, KINDS);
    tcase_add_test(c, no_gradient_at_all);
    tcase_add_test(c, an_op_is_explained);
    tcase_add_test(c, every_cause_has_a_name);
    tcase_add_test(c, memory_may_run_out);
    suite_add_tcase(s, c);
    return s;
}
