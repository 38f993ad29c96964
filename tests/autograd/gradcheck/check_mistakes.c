/* SPDX-License-Identifier: MIT
 *
 * check_mistakes.c - more mistakes in a backward of one's own, in double and in float, each with its cause: such as
 * those that had been explained only by their place. mistakes_functions.h has them.
 */
#include "tests/zoo/named_faults.h"

/* Functions compare these: up to GELU_END a GELU, from SOFTMAX_MEAN on a softmax. */
typedef enum mistake {
    NORM_MEAN_OF_GY, NORM_TERM_OF_GY, NORM_UNDIVIDED, NORM_OF_FIRST_ROW, NORM_GAMMA_AFTER, NORM_TERM_ADDED, NORM_ACROSS,
    NORM_OVER_ALL, NORM_SUM_CUT,
    ENTROPY_NEXT_ROW, ENTROPY_LARGEST, ENTROPY_OF_LOGITS, ENTROPY_OF_COLUMNS, ENTROPY_UNNORMALISED, ENTROPY_PEAK,
    ENTROPY_SOFTMAX_AGAIN, ENTROPY_NO_PENALTY,
    GELU_EXP_UNHALVED, GELU_SQUARED_X, GELU_OTHER_TAIL, GELU_GROWING, GELU_END,
    SOFTSIGN_ROOT, SWISH_NO_BETA, MISH_NO_TERM, SINE_NO_TERM, CUBE_ROOT_SLOPE, LOGISTIC_TWICE, GAUSS_NEGATED,
    ELU_NO_ALPHA,
    SKIP_LOST, SKIP_NO_SCALE, SKIP_OPERAND, PRELU_NEXT, PRELU_ROW, PRELU_EVERYWHERE, PRELU_LEAK, GATE_NO_FACTOR,
    GATE_NO_TERM, BILINEAR_SKIPPED, BILINEAR_SHIFTED, BILINEAR_ASSIGNED,
    LOG_SOFTMAX_OF_SOFTMAX, LOG_SOFTMAX_OF_Y, LOG_SOFTMAX_UNIFORM, SOFTMAX_MEAN,
    SOFTMAX_MEAN_OF_GY, SOFTMAX_BARE_SUM,
    GROUP_COUNT, GROUP_FIRST, GROUP_NO_TERM,
    HEAD_NO_DELTA, HEAD_HALF_DELTA, HEAD_DELTA_OF_P, HEAD_COLUMNS, HEAD_DP_TURNED, HEAD_DS_TURNED, HEAD_OWN,
    HEAD_DP_FOR_P, HEAD_NO_MASK,
    UNIT_NO_GATE, UNIT_NO_SLOPE, UNIT_NO_PATH, UNIT_OTHER_SLOPE
} mistake;

#define FUNCTIONS "tests/autograd/gradcheck/mistakes_functions.h"
#include "tests/autograd/gradcheck/both_types.h"

#define OF_MISTAKE(f, number) BOTH_WITH(f, f##_backward, &(mistake){ number })
#define NORM "x[4,6] gamma[6] beta[6] -> y[4,6]"
#define LOSS "x[5,6] -> loss[]"
#define ROWS "x[5,6] -> y[5,6]"
#define EACH "x[12] -> y[12]"
#define SKIP "x[3,4] a[4] -> y[3,4]"
#define PRELU "x[6,4] a[4] -> y[6,4]"
#define GROUPS "x[2,6,4] w[6] b[6] -> y[2,6,4]"
#define HEAD "q[5,4] k[5,4] v[5,4] bias[5,5] -> y[5,4]"
#define UNIT "a[3,6] h[3,2] -> y[3,2]"
#define BILINEAR "x[3,4] w[2,4,4] z[3,4] -> y[3,2]"

static const named_fault mistakes[] = {
    { OF_MISTAKE(norm, NORM_MEAN_OF_GY), NORM, AG_CAUSE_MEAN_MISSING, "gy in place of g = gy gamma in mean(g) of" },
    { OF_MISTAKE(norm, NORM_TERM_OF_GY), NORM, AG_CAUSE_VARIANCE_MISSING, "g = gy gamma in mean(g xhat) of" },
    { OF_MISTAKE(norm, NORM_UNDIVIDED), NORM, AG_CAUSE_NORM_SCALE, "left out of both means" },
    { OF_MISTAKE(norm, NORM_OF_FIRST_ROW), NORM, AG_CAUSE_NORM_SCALE, "each row of analytic is another number" },
    { OF_MISTAKE(norm, NORM_GAMMA_AFTER), NORM, AG_CAUSE_OPERAND, "A factor is in the wrong place: input 1 (gamma)" },
    { OF_MISTAKE(norm, NORM_TERM_ADDED), NORM, AG_CAUSE_NOT_ACCUMULATED, "too much: gy times input 1 (gamma)" },
    { OF_MISTAKE(norm, NORM_ACROSS), NORM, AG_CAUSE_MEAN_MISSING, "in analytic both run along dim 0" },
    { OF_MISTAKE(norm, NORM_OVER_ALL), NORM, AG_CAUSE_MEAN_MISSING, "in analytic both run over all elements" },
    { OF_MISTAKE(norm, NORM_SUM_CUT), NORM, AG_CAUSE_SKIPPED, "the element at index 5 is left out" },
    { OF_MISTAKE(entropy, ENTROPY_NEXT_ROW), LOSS, AG_CAUSE_TARGET, "the target of the next row" },
    { OF_MISTAKE(entropy, ENTROPY_LARGEST), LOSS, AG_CAUSE_TARGET, "the class of the largest logit" },
    { OF_MISTAKE(entropy, ENTROPY_OF_LOGITS), LOSS, AG_CAUSE_OPERAND, "x itself in place of softmax(x)" },
    { OF_MISTAKE(entropy, ENTROPY_OF_COLUMNS), LOSS, AG_CAUSE_OPERAND, "softmax along dim 0 in place of" },
    { OF_MISTAKE(entropy, ENTROPY_UNNORMALISED), LOSS, AG_CAUSE_OPERAND, "exp(x), which is not normalised" },
    { OF_MISTAKE(entropy, ENTROPY_PEAK), LOSS, AG_CAUSE_TARGET, "The target's weight differs" },
    { OF_MISTAKE(entropy, ENTROPY_SOFTMAX_AGAIN), LOSS, AG_CAUSE_OPERAND, "is that times p (1 - p)" },
    { OF_MISTAKE(entropy, ENTROPY_NO_PENALTY), LOSS, AG_CAUSE_TARGET, "a second term of the loss" },
    { OF_MISTAKE(log_softmax, LOG_SOFTMAX_OF_SOFTMAX), ROWS, AG_CAUSE_ROW_SUM_MISSING, "is that of softmax" },
    { OF_MISTAKE(log_softmax, LOG_SOFTMAX_OF_Y), ROWS, AG_CAUSE_ROW_SUM_MISSING, "has y in place of exp(y)" },
    { OF_MISTAKE(log_softmax, LOG_SOFTMAX_UNIFORM), ROWS, AG_CAUSE_ROW_SUM_MISSING, "has 1/n in place of" },
    { OF_MISTAKE(log_softmax, SOFTMAX_MEAN), ROWS, AG_CAUSE_ROW_SUM_MISSING, "is a mean in place of a sum" },
    { OF_MISTAKE(log_softmax, SOFTMAX_MEAN_OF_GY), ROWS, AG_CAUSE_ROW_SUM_MISSING, "is mean(gy) in place of" },
    { OF_MISTAKE(log_softmax, SOFTMAX_BARE_SUM), ROWS, AG_CAUSE_ROW_SUM_MISSING, "the sum is not multiplied" },
    { OF_MISTAKE(act, GELU_EXP_UNHALVED), EACH, AG_CAUSE_SLOPE, "exp(-x^2) in place of exp(-x^2 / 2)" },
    { OF_MISTAKE(act, GELU_SQUARED_X), EACH, AG_CAUSE_SLOPE, "x once too often" },
    { OF_MISTAKE(act, GELU_OTHER_TAIL), EACH, AG_CAUSE_SLOPE, "1 - Phi(x) in place of Phi(x)" },
    { OF_MISTAKE(act, GELU_GROWING), EACH, AG_CAUSE_SLOPE, "a minus lost in the exponent" },
    { OF_MISTAKE(act, SOFTSIGN_ROOT), EACH, AG_CAUSE_SLOPE, "a square lost" },
    { OF_MISTAKE(act, SWISH_NO_BETA), EACH, AG_CAUSE_OPERAND, "the right gradient at 0.666" },
    { OF_MISTAKE(act, MISH_NO_TERM), EACH, AG_CAUSE_SLOPE, "the term x s(x) (1 - t^2) is missing" },
    { OF_MISTAKE(act, SINE_NO_TERM), EACH, AG_CAUSE_SLOPE, "the slope is f + x f', analytic is gy times x f'" },
    { OF_MISTAKE(act, CUBE_ROOT_SLOPE), EACH, AG_CAUSE_SLOPE, "a square is lost" },
    { OF_MISTAKE(act, LOGISTIC_TWICE), EACH, AG_CAUSE_SLOPE, "is too many: analytic divided by s(x)" },
    { OF_MISTAKE(act, GAUSS_NEGATED), EACH, AG_CAUSE_SIGN, "where input 0 (x) has the opposite sign" },
    { OF_MISTAKE(act, ELU_NO_ALPHA), EACH, AG_CAUSE_FACTOR, "those where input 0 (x) is negative" },
    { OF_MISTAKE(skip, SKIP_LOST), SKIP, AG_CAUSE_NOT_ACCUMULATED, "A term is missing: gy; with that added" },
    { OF_MISTAKE(skip, SKIP_NO_SCALE), SKIP, AG_CAUSE_OPERAND, "where input 1 (a) is 1 everywhere" },
    { OF_MISTAKE(skip, SKIP_OPERAND), SKIP, AG_CAUSE_OPERAND, "analytic is the sum of gy times input 0 (x)" },
    { OF_MISTAKE(prelu, PRELU_NEXT), PRELU, AG_CAUSE_WRONG_INDEX, "is read at the next index" },
    { OF_MISTAKE(prelu, PRELU_ROW), PRELU, AG_CAUSE_WRONG_INDEX, "is read at an index of another dim" },
    { OF_MISTAKE(prelu, PRELU_EVERYWHERE), PRELU, AG_CAUSE_OPERAND, "A factor too many: input 1 (a)" },
    { OF_MISTAKE(prelu, PRELU_LEAK), PRELU, AG_CAUSE_MASK_LEAK, "outputs at which input 0 (x) is positive" },
    { OF_MISTAKE(gated, GATE_NO_FACTOR), "x[3,8] -> y[3,4]", AG_CAUSE_OPERAND, "the other half of the input" },
    { OF_MISTAKE(gated, GATE_NO_TERM), "x[3,8] -> y[3,4]", AG_CAUSE_SLOPE, "the term x f' is missing" },
    { OF_MISTAKE(bilinear, BILINEAR_SKIPPED), BILINEAR, AG_CAUSE_SKIPPED, "through index 2 of dim 2 of input 1 (w)" },
    { OF_MISTAKE(bilinear, BILINEAR_SHIFTED), BILINEAR, AG_CAUSE_WRONG_INDEX, "An operand is read at a wrong index" },
    { OF_MISTAKE(bilinear, BILINEAR_ASSIGNED), BILINEAR, AG_CAUSE_NOT_ACCUMULATED, "index 3 of dim 1 of input 0 (x)" },
    { OF_MISTAKE(group_norm, GROUP_COUNT), GROUPS, AG_CAUSE_MEAN_MISSING, "in groups of 8 elements, mean(g) in" },
    { OF_MISTAKE(group_norm, GROUP_FIRST), GROUPS, AG_CAUSE_WRONG_INDEX, "analytic has those of the first row" },
    { OF_MISTAKE(group_norm, GROUP_NO_TERM), GROUPS, AG_CAUSE_VARIANCE_MISSING, "missing: in groups of 8 elements" },
    { OF_MISTAKE(attention, HEAD_NO_DELTA), HEAD, AG_CAUSE_ROW_SUM_MISSING, "delta is missing in dS = P (dP - delta)" },
    { OF_MISTAKE(attention, HEAD_HALF_DELTA), HEAD, AG_CAUSE_ROW_SUM_MISSING, "delta) is 0.5 times the right one" },
    { OF_MISTAKE(attention, HEAD_DELTA_OF_P), HEAD, AG_CAUSE_ROW_SUM_MISSING, "is sum(P P), right is sum(P dP)" },
    { OF_MISTAKE(attention, HEAD_COLUMNS), HEAD, AG_CAUSE_ROW_SUM_MISSING, "delta) is summed over the queries" },
    { OF_MISTAKE(attention, HEAD_DP_TURNED), HEAD, AG_CAUSE_TRANSPOSED, "dP = gy v^T is transposed" },
    { OF_MISTAKE(attention, HEAD_DS_TURNED), HEAD, AG_CAUSE_TRANSPOSED, "dS is transposed in the product" },
    { OF_MISTAKE(attention, HEAD_OWN), HEAD, AG_CAUSE_OPERAND, "dS is multiplied by the input itself" },
    { OF_MISTAKE(attention, HEAD_DP_FOR_P), HEAD, AG_CAUSE_OPERAND, "dP stands in place of P in gv = P^T gy" },
    { OF_MISTAKE(attention, HEAD_NO_MASK), HEAD, AG_CAUSE_MASK_LEAK, "P is computed again without the mask" },
    { BOTH(layer, layer_backward), "x[3,4] w[4,5] b[5] -> y[3,5]", AG_CAUSE_SLOPE, "input 2 (b) is 20 everywhere" },
    { OF_MISTAKE(unit, UNIT_NO_GATE), UNIT, AG_CAUSE_SLOPE, "left out: analytic times (1 - s(x)) is the right" },
    { OF_MISTAKE(unit, UNIT_NO_SLOPE), UNIT, AG_CAUSE_SLOPE, "left out: analytic times (1 - s(x)) is the right" },
    { OF_MISTAKE(unit, UNIT_NO_PATH), UNIT, AG_CAUSE_NOT_ACCUMULATED, "where tanh and sigmoid are constant" },
    { OF_MISTAKE(unit, UNIT_OTHER_SLOPE), UNIT, AG_CAUSE_UNKNOWN, "those at indices 2 to 5 of dim 1" }, /* no tail */
    { BOTH(mix, mix_backward), "x[2,3,5] w[4,3] -> y[2,4,5]", AG_CAUSE_TRANSPOSED, "(w) has two dims swapped" },
    { BOTH(logistic, logistic_backward), "x[9] t[9] -> y[9]", AG_CAUSE_OPERAND, "where input 1 (t) is 0 everywhere" },
    { BOTH(partial_mean, partial_mean_backward), "x[3,5,2] -> y[3,2]", AG_CAUSE_FACTOR, "in each row along dim 1" },
    { BOTH(skewness, skewness_backward), "x[4,5] -> y[4]", AG_CAUSE_UNKNOWN,
      "The error vanishes where the input is constant along dim 1" },
};

enum { MISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(each_mistake_is_named)
{
    assert_named(&mistakes[_i / 2], _i / 2, _i % 2);
}
END_TEST

Suite *mistakes_suite(void)
{
    Suite *s = suite_create("mistakes");
    TCase *c = tcase_create("mistakes");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_mistake_is_named, 0, 2 * MISTAKES);
    suite_add_tcase(s, c);
    return s;
}
