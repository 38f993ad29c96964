/* SPDX-License-Identifier: MIT
 *
 * check_explorer.c - the model behind explorer.html: its matrices against ag_head_attention_trace and ag_mha_trace,
 * each element against the sum of its terms, pokes against gradients, zeros, challenges, training.
 */
#include "tests/test.h"

#include "examples/explorer/explorer.h"

#include <string.h>

static const struct setting {
    const char *text;
    int heads, size;
    explorer_loss loss;
    bool scaled, causal, residual;
    double temperature, dropout;
} settings[] = {
    { "the cat sat on the mat", 1, 4, LOSS_SUM, true, true, false, 1, 0 },
    { "the cat sat on the mat", 1, 4, LOSS_SUM, false, false, false, 1, 0 },
    { "one two", 1, 2, LOSS_SQUARE, true, true, true, 0.5, 0 },
    { "a b a b a b a b a b a b", 4, 8, LOSS_NEXT, true, true, true, 1, 0 },
    { "a b c d e f g h i j k l", 2, 3, LOSS_NEXT, false, false, false, 2, 0.5 },
    { "one two three two", 3, 5, LOSS_SQUARE, true, true, false, 1, 0.3 },
    { "x y z", 2, 2, LOSS_SUM, true, false, true, 0.1, 0.2 },
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static explorer *model_of(const struct setting *s, uint32_t seed)
{
    explorer *model = explorer_new(s->text, s->heads, s->size, s->loss, seed);
    ck_assert_ptr_nonnull(model);
    ck_assert(explorer_set(model, s->scaled, s->causal, s->residual, s->temperature, s->dropout));
    return model;
}

static int elements(const explorer *model, int entry)
{
    const explorer_entry e = (explorer_entry)entry;
    return explorer_heads(model, e) * explorer_rows(model, e) * explorer_cols(model, e);
}

/* What the terms add up to, as the page shows them. */
static double sum_of(const explorer_term *term, int count, int col)
{
    double sum = 0, own = 0;
    for (int i = 0; i < count; i++) {
        sum += term[i].value;
        if (i == col)
            own = term[i].value;
    }
    return count > 0 && term[0].op == 'e' ? own / sum : sum;
}

START_TEST(every_element_is_the_sum_of_its_terms)
{
    explorer *model = model_of(&settings[_i], 3);
    for (int e = 0; e < ENTRY_COUNT; e++) {
        const bool ruled = e == ENTRY_mask || e == ENTRY_drop || e == ENTRY_dtarget;
        for (int i = 0; i < elements(model, e) && !ruled && !explorer_given((explorer_entry)e); i++) {
            int count = 0;
            const explorer_term *term = explorer_terms(model, (explorer_entry)e, i, &count);
            const double got = sum_of(term, count, i % explorer_cols(model, (explorer_entry)e));
            const double want = explorer_values(model, (explorer_entry)e)[i];
            ck_assert_msg(fabs(got - want) <= 1e-12 * (1 + fabs(want)), "%s[%d]: terms %.17g, library %.17g",
                          explorer_name((explorer_entry)e), i, got, want);
        }
    }
    explorer_free(model);
}
END_TEST

START_TEST(uses_are_the_other_side_of_terms)
{
    explorer *model = model_of(&settings[_i], 3);
    int uses = 0, count = 0;
    const int32_t *use = explorer_uses(model, ENTRY_V, 1, &uses);
    ck_assert_int_gt(uses, 0);
    for (int u = 0; u < uses; u++) {
        bool found = false;
        const explorer_term *term = explorer_terms(model, (explorer_entry)use[2 * u], use[2 * u + 1], &count);
        for (int t = 0; t < count; t++)
            found = found || (term[t].a == ENTRY_V && term[t].a_index == 1) ||
                    (term[t].b == ENTRY_V && term[t].b_index == 1);
        ck_assert(found);
    }
    explorer_free(model);
}
END_TEST

/* ---- Against the library's own layers --------------------------------------------------------- */

static ag_tensor *take(ag_ctx *ctx, const explorer *model, explorer_entry entry)
{
    const int64_t shape[] = { explorer_heads(model, entry), explorer_rows(model, entry), explorer_cols(model, entry) };
    return ag_from_data(ctx, AG_F64, 3, shape, explorer_values(model, entry));
}

static void compare(const explorer *model, const ag_attention_trace *trace, const char *name, explorer_entry entry)
{
    const ag_tensor *want = ag_attention_trace_find(trace, name);
    ck_assert_msg(want != NULL && ag_numel(want) == elements(model, (int)entry), "%s", name);
    for (int i = 0; i < elements(model, (int)entry); i++)
        ck_assert_msg(fabs(test_at(want, i) - explorer_values(model, entry)[i]) <= 1e-12, "%s[%d]: %.17g, trace %.17g",
                      name, i, explorer_values(model, entry)[i], test_at(want, i));
}

static void compare_all(const explorer *model, const ag_attention_trace *trace)
{
    static const struct {
        const char *name;
        explorer_entry entry;
    } same[] = { { "Q", ENTRY_Q },     { "K", ENTRY_K },           { "V", ENTRY_V },   { "U", ENTRY_S },
                 { "P", ENTRY_P },     { "O", ENTRY_O },           { "dO", ENTRY_dO }, { "dV", ENTRY_dV },
                 { "dP", ENTRY_dP },   { "delta", ENTRY_delta },   { "dU", ENTRY_dS }, { "dQ", ENTRY_dQ },
                 { "dK", ENTRY_dK },   { "dW.q.weight", ENTRY_dWq }, { "dW.k.weight", ENTRY_dWk },
                 { "dW.v.weight", ENTRY_dWv }, { "dX", ENTRY_dX } };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        compare(model, trace, same[i].name, same[i].entry);
}

static void copy_weights(ag_ctx *ctx, const explorer *model, const ag_module *module)
{
    const int64_t H = explorer_heads(model, ENTRY_Q), D = explorer_cols(model, ENTRY_Q);
    const struct {
        const char *name;
        explorer_entry entry;
    } weights[] = { { "q.weight", ENTRY_Wq }, { "k.weight", ENTRY_Wk }, { "v.weight", ENTRY_Wv } };
    for (int i = 0; i < 3; i++)
        ag_copy_into(ag_module_find(module, weights[i].name),
                     ag_tensor_reshape(take(ctx, model, weights[i].entry), AG_SHAPE(H * D, D)));
    if (H > 1) /* proj's columns are the heads side by side */
        ag_copy_into(ag_module_find(module, "proj.weight"),
                     ag_tensor_reshape(ag_tensor_permute(take(ctx, model, ENTRY_Wo), (int[]){ 1, 0, 2 }),
                                       AG_SHAPE(D, H * D)));
}

/* The settings 0 to 3 without their residual, which is no part of the layer. */
START_TEST(matrices_are_those_of_the_layer_s_trace)
{
    struct setting s = settings[_i];
    s.residual = false;
    explorer *model = model_of(&s, 5);
    ag_ctx *ctx = test_begin();
    const ag_attention_options options = { .scale = (s.scaled ? 1 / sqrt(s.size) : 1) / s.temperature };
    ag_head_attention *head = ag_head_attention_new(
        ctx, (ag_head_attention_config){ .emb_size = s.size, .head_size = s.size, .non_causal = !s.causal,
                                         .no_bias = true, .attention = options, .dtype = AG_F64 });
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = s.size, .num_heads = s.heads, .head_size = s.size,
                                                   .non_causal = !s.causal, .no_bias = true, .attention = options,
                                                   .dtype = AG_F64 });
    ag_tensor *x = take(ctx, model, ENTRY_X), *dY = take(ctx, model, ENTRY_dY);
    copy_weights(ctx, model, s.heads == 1 ? ag_head_attention_module(head) : ag_mha_module(mha));
    ag_attention_trace *trace = s.heads == 1 ? ag_head_attention_trace(head, x, (ag_attend){ 0 }, dY)
                                             : ag_mha_trace(mha, x, (ag_attend){ 0 }, dY);
    assert_no_error(ctx);
    compare_all(model, trace);
    ag_attention_trace_free(trace);
    ag_head_attention_free(head);
    ag_mha_free(mha);
    explorer_free(model);
    test_end(ctx);
}
END_TEST

/* ---- Experiments ------------------------------------------------------------------------------ */

/* The gradient is the central difference of pokes, at every matrix that has one. */
START_TEST(pokes_follow_the_gradient)
{
    explorer *model = model_of(&settings[_i], 7);
    for (int e = 0; e < ENTRY_COUNT; e++)
        for (int i = 0; i < elements(model, e) && !isnan(explorer_slope(model, (explorer_entry)e, 0)); i += 5) {
            const double h = 1e-5, slope = explorer_slope(model, (explorer_entry)e, i);
            const double up = explorer_poke(model, (explorer_entry)e, i, h);
            const double down = explorer_poke(model, (explorer_entry)e, i, -h);
            ck_assert_msg(fabs((up - down) / (2 * h) - slope) <= 1e-6 * (1 + fabs(slope)), "%s[%d]: %.10g, slope %.10g",
                          explorer_name((explorer_entry)e), i, (up - down) / (2 * h), slope);
        }
    explorer_free(model);
}
END_TEST

START_TEST(half_a_poke_leaves_a_quarter_of_the_difference)
{
    explorer *model = model_of(&settings[0], 1);
    const double loss = explorer_values(model, ENTRY_L)[0], slope = explorer_slope(model, ENTRY_S, 7);
    const double wide = explorer_poke(model, ENTRY_S, 7, 0.02) - loss - 0.02 * slope;
    const double narrow = explorer_poke(model, ENTRY_S, 7, 0.01) - loss - 0.01 * slope;
    ck_assert_double_eq_tol(wide / narrow, 4, 0.1);
    explorer_free(model);
}
END_TEST

START_TEST(zeros_have_their_reasons)
{
    explorer *model = model_of(&settings[0], 1); /* causal, 6 words */
    ck_assert_int_eq(explorer_zero(model, ENTRY_dS, 1), REASON_MASKED);
    ck_assert_int_eq(explorer_zero(model, ENTRY_dS, 0), REASON_ONE_KEY);
    ck_assert_int_eq(explorer_zero(model, ENTRY_dQ, 2), REASON_ONE_KEY);
    ck_assert_int_eq(explorer_zero(model, ENTRY_dQ, 4), REASON_NONE);
    ck_assert_int_eq(explorer_zero(model, ENTRY_mask, 1), REASON_NONE);
    ck_assert(explorer_judge(model, CHALLENGE_ZERO, ENTRY_dS, 1, REASON_MASKED));
    ck_assert(!explorer_judge(model, CHALLENGE_ZERO, ENTRY_dS, 1, REASON_ONE_KEY));
    ck_assert(!explorer_judge(model, CHALLENGE_ZERO, ENTRY_dQ, 4, REASON_NONE));
    explorer_free(model);
    model = model_of(&settings[3], 1); /* the next word: the last position has none */
    ck_assert_int_eq(explorer_zero(model, ENTRY_dY, 11 * 8), REASON_NO_TARGET);
    explorer_free(model);
}
END_TEST

START_TEST(a_head_that_copies_is_recognised)
{
    explorer *model = explorer_new("a b c d", 2, 4, LOSS_SUM, 1);
    for (int i = 0; i < 16; i++) {
        const int row = i / 4, col = i % 4;
        explorer_change(model, ENTRY_E, i, 0);
        explorer_change(model, ENTRY_pos, i, row == col);
        explorer_change(model, ENTRY_Wk, 16 + i, row == col);
        explorer_change(model, ENTRY_Wq, 16 + i, 0);
    }
    ck_assert(!explorer_judge(model, CHALLENGE_COPY, ENTRY_E, 0, REASON_NONE));
    for (int i = 1; i < 4; i++)
        explorer_change(model, ENTRY_Wq, 16 + (i - 1) * 4 + i, 8);
    ck_assert(explorer_judge(model, CHALLENGE_COPY, ENTRY_E, 0, REASON_NONE));
    explorer_free(model);
}
END_TEST

/* Exactly one of the rows that see two keys or more is the smallest. */
START_TEST(one_query_vanishes)
{
    explorer *model = model_of(&settings[0], 2);
    ck_assert(explorer_set(model, true, true, false, 0.1, 0));
    int right = 0;
    for (int row = 0; row < 6; row++)
        right += explorer_judge(model, CHALLENGE_VANISH, ENTRY_dQ, row * 4, REASON_NONE);
    ck_assert_int_eq(right, 1);
    ck_assert(!explorer_judge(model, CHALLENGE_VANISH, ENTRY_dQ, 0, REASON_NONE));
    explorer_free(model);
}
END_TEST

START_TEST(training_lowers_the_loss_and_repeats)
{
    explorer *a = model_of(&settings[3], 1), *b = model_of(&settings[3], 1);
    double first = 0, last = 0;
    for (int i = 0; i < 100; i++) {
        last = explorer_train(a, 0.1, i % 2 == 0);
        ck_assert_double_eq(explorer_train(b, 0.1, false), last);
        first = i == 0 ? last : first;
    }
    ck_assert_double_lt(last, first / 2);
    explorer_free(a);
    explorer_free(b);
}
END_TEST

/* 1/sqrt(d) brings scores of d = 256 from a deviation near 16 to one near 1. */
START_TEST(the_spread_of_scores_grows_with_the_root_of_d)
{
    explorer *model = model_of(&settings[0], 1);
    double deviation[2];
    for (int scaled = 0; scaled < 2; scaled++) {
        const double *scores = explorer_spread(model, 256, scaled);
        double sum = 0;
        for (int i = 0; i < 144; i++)
            sum += scores[i] * scores[i];
        deviation[scaled] = sqrt(sum / 144);
    }
    ck_assert_double_eq_tol(deviation[0], 16, 3);
    ck_assert_double_eq_tol(deviation[1], 1, 0.2);
    explorer_free(model);
}
END_TEST

START_TEST(wrong_requests_are_refused)
{
    ck_assert_ptr_null(explorer_new("one", 1, 4, LOSS_SUM, 1));
    ck_assert_ptr_null(explorer_new("  ", 1, 4, LOSS_SUM, 1));
    ck_assert_ptr_null(explorer_new("a b", 5, 4, LOSS_SUM, 1));
    ck_assert_ptr_null(explorer_new("a b", 1, 9, LOSS_SUM, 1));
    ck_assert_ptr_null(explorer_name(ENTRY_COUNT));
    ck_assert_int_eq(explorer_find("dF"), -1);
    explorer *model = explorer_new(" a  b a ", 1, 4, LOSS_SUM, 1);
    ck_assert_int_eq(explorer_word(model, 2), 0);
    ck_assert_int_eq(explorer_word(model, 3), -1);
    ck_assert(!explorer_change(model, ENTRY_Q, 0, 1));
    ck_assert(!explorer_change(model, ENTRY_E, 8, 1));
    ck_assert(isnan(explorer_poke(model, ENTRY_E, 8, 1)));
    explorer_free(model);
}
END_TEST

Suite *explorer_suite(void)
{
    Suite *suite = suite_create("explorer");
    TCase *tests = tcase_create("explorer");
    tcase_add_loop_test(tests, every_element_is_the_sum_of_its_terms, 0, SETTINGS);
    tcase_add_loop_test(tests, uses_are_the_other_side_of_terms, 0, SETTINGS);
    tcase_add_loop_test(tests, matrices_are_those_of_the_layer_s_trace, 0, 4);
    tcase_add_loop_test(tests, pokes_follow_the_gradient, 0, SETTINGS);
    tcase_add_test(tests, half_a_poke_leaves_a_quarter_of_the_difference);
    tcase_add_test(tests, zeros_have_their_reasons);
    tcase_add_test(tests, a_head_that_copies_is_recognised);
    tcase_add_test(tests, one_query_vanishes);
    tcase_add_test(tests, training_lowers_the_loss_and_repeats);
    tcase_add_test(tests, the_spread_of_scores_grows_with_the_root_of_d);
    tcase_add_test(tests, wrong_requests_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
