/* SPDX-License-Identifier: MIT
 *
 * check_report.c - the gradient checker's report as text, to the letter, and as a page, whose elements are counted; and
 * what holds for all three forms. Its JSON is in check_report_json.c.
 */
#include "tests/autograd/gradcheck/check_report_fake.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* ---- Text ------------------------------------------------------------------------------------ */

START_TEST(a_pass_is_one_line)
{
    fake f;
    fake_begin(&f, "mha", AG_PASS);
    fake_input(&f, "x", 2, (int64_t[]){ 4, 103 }, AG_PASS, AG_CAUSE_NONE);
    fake_settle(&f);
    ck_assert_str_eq(fake_written(&f, TEXT), "gradcheck mha: PASS, 412 derivatives, worst relative error 3.1e-11\n");
    f.result.checked = 1;
    ck_assert_str_eq(fake_written(&f, TEXT), "gradcheck mha: PASS, 1 derivative, worst relative error 3.1e-11\n");
    f.check.name = "a_name_that_leaves_no_room_for_the_rest";
    f.result.checked = 412;
    ck_assert_str_eq(fake_written(&f, TEXT),
                     "gradcheck a_name_..the_rest: PASS, 412 derivatives, worst relative error 3.1e-11\n");
    fake_end(&f);
}
END_TEST

static const char failure_text[] =
    "gradcheck mha: FAIL, 7 of 11 derivatives wrong, worst relative error 2.0e+00\n"
    "  #  input                   shape  verdict      error    cause\n"
    "  0  x                       [2,2]  PASS         3.1e-11\n"
    "  1  tokens                  [4]    not checked\n"
    "  2                          []     FAIL         3.1e-11  constant factor 0.5\n"
    "  3  blocks.0.attn.q.weight  [3,2]  FAIL         2.0e+00  sign flipped\n"
    "worst: input 3 'blocks.0.attn.q.weight' [3,2] at [1,1], output [4,2] at [2,1]:\n"
    "  analytic 0.497, numeric -0.497 (+-2e-13)\n"
    "first wrong op: linear in blocks.0.attn.q, node 17, gradient of its input 1\n"
    "The gradient is the negative of the right one. Look for a subtraction the wrong\n"
    "  way round.\n"
    "\n"
    "for a random cotangent: [0:3,0:2]\n"
    "                    analytic |                 numeric |              difference\n"
    "               0           1 |           0           1 |           0           1\n"
    "   0    -0.50000     0.49900 |     0.50000    -0.49900 |    -1.00000     0.99800\n"
    "   1    -0.50200     0.49700 |     0.50200    -0.49700 |    -1.00400     0.99400\n"
    "   2    -0.50400     0.49500 |     0.50400    -0.49500 |    -1.00800     0.99000\n";

START_TEST(a_failure_to_the_letter)
{
    fake f;
    fake_failure(&f);
    ck_assert_str_eq(fake_written(&f, TEXT), failure_text);
    fake_end(&f);
}
END_TEST

/* Copies text without escape sequences; each must be one that this report uses. */
static void strip_colour(char *out, const char *in)
{
    static const char *const known[] = { "\033[0m", "\033[31m", "\033[32m", "\033[33m" };
    while (*in != '\0') {
        size_t skip = 0;
        for (int i = 0; i < 4; i++)
            if (strncmp(in, known[i], strlen(known[i])) == 0)
                skip = strlen(known[i]);
        if (skip == 0)
            *out++ = *in++;
        in += skip;
    }
    *out = '\0';
}

START_TEST(an_op_is_named_once)
{
    fake f;
    fake_failure(&f);
    assert_has(fake_written(&f, TEXT),
               "\nfirst wrong op: linear in blocks.0.attn.q, node 17, gradient of its input 1\n");
    strcpy(f.result.explanation, "The backward of linear is wrong.");
    assert_has_not(fake_written(&f, TEXT), "first wrong op");
    assert_has_not(fake_written(&f, HTML), "First wrong op");
    fake_end(&f);
}
END_TEST

START_TEST(colour_only_adds)
{
    fake f;
    fake_failure(&f);
    f.check.config.colour = true;
    const char *text = fake_written(&f, TEXT);
    char plain[sizeof failure_text + 100];
    strip_colour(plain, text);
    ck_assert_str_eq(plain, failure_text);
    assert_has(text, "gradcheck mha: \033[31mFAIL\033[0m, ");
    assert_has(text, "\033[32mPASS\033[0m         3.1e-11\n");
    assert_has(text, "\033[31mFAIL\033[0m         2.0e+00  \033[31msign flipped\033[0m\n");
    assert_has(text, "[4]    not checked\n");
    ck_assert_int_eq(fake_count(text, "\033["), 12);
    f.result.verdict = AG_INCONCLUSIVE;
    assert_has(fake_written(&f, TEXT), "\033[33mINCONCLUSIVE\033[0m");
    fake_end(&f);
}
END_TEST

START_TEST(gradients_are_cut_around_the_worst)
{
    fake f;
    fake_begin(&f, "sdpa", AG_FAIL);
    ag_check_input *in = fake_input(&f, NULL, 4, (int64_t[]){ 2, 3, 9, 6 }, AG_FAIL, AG_CAUSE_MASK_LEAK);
    for (int64_t i = 0; i < in->numel; i++)
        in->numeric[i] = in->analytic[i] = i % 6 > i / 6 % 9 ? 0 : 2e-5 * (double)(i % 4);
    in->found.failed = 1;
    fake_spoil(in, ((1 * 3 + 2) * 9 + 2) * 6 + 5, 3e-5);
    fake_settle(&f);
    assert_has(fake_written(&f, TEXT),
               "worst: input 0 [2,3,9,6] at [1,2,2,5]: analytic 3e-05, numeric 0 (+-2e-13)\n"
               "\n"
               "for a random cotangent, around the worst: [1,2,0:8,2:6]\n"
               "             analytic / 1e-5 |          numeric / 1e-5 |       difference / 1e-5\n");
    assert_has(fake_written(&f, TEXT), "\n"
               "         2     3     4     5 |     2     3     4     5 |     2     3     4     5\n"
               "   0     0     0     0     0 |     0     0     0     0 |     0     0     0     0\n");
    assert_has(fake_written(&f, TEXT), "\n"
               "   2     0     0     0  3.00 |     0     0     0     0 |     0     0     0  3.00\n"
               "   3  4.00  6.00     0     0 |  4.00  6.00     0     0 |     0     0     0     0\n");
    assert_has(fake_written(&f, TEXT), "\n   7 ");
    assert_has_not(fake_written(&f, TEXT), "\n   8 ");
    fake_end(&f);
}
END_TEST

START_TEST(a_vector_stands_upright)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    ag_check_input *in = fake_input(&f, "bias", 1, (int64_t[]){ 20 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    fake_spoil(in, 19, (double)NAN);
    in->analytic[16] += 0.5;
    in->analytic[17] -= 1e-15;
    in->analytic[18] = (double)-INFINITY;
    fake_settle(&f);
    assert_has(fake_written(&f, TEXT),
               "\n"
               "for a random cotangent, around the worst: [12:20]\n"
               "                    analytic |                 numeric |              difference\n"
               "  12                 0.51200 |                 0.51200 |                       0\n");
    assert_has(fake_written(&f, TEXT), "\n"
               "  16                 1.01600 |                 0.51600 |                 0.50000\n"
               "  17                -0.48300 |                -0.48300 |                 0.00000\n"
               "  18                    -inf |                 0.51800 |                    -inf\n"
               "  19                     nan |                -0.48100 |                     nan\n");
    fake_end(&f);
}
END_TEST

START_TEST(without_an_element_there_are_no_tables)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    ag_check_input *in = fake_input(&f, "w", 2, (int64_t[]){ 3, 3 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    fake_spoil(in, 4, 0.1);
    in->found.index = -1;
    fake_settle(&f);
    assert_has(fake_written(&f, TEXT),
               "worst: input 0 'w' [3,3] along a random direction: analytic 0.1, numeric 0.504\n");
    assert_has_not(fake_written(&f, TEXT), "cotangent");
    in->found.index = f.result.worst.index = 4;
    free(in->numeric);
    in->numeric = NULL;
    assert_has(fake_written(&f, TEXT), "[3,3] at [1,1]: ");
    assert_has_not(fake_written(&f, TEXT), "cotangent");
    fake_end(&f);
}
END_TEST

START_TEST(values_that_nine_digits_do_not_tell_apart)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    ag_check_input *in = fake_input(&f, NULL, 0, NULL, AG_FAIL, AG_CAUSE_UNKNOWN);
    fake_spoil(in, 0, 0.5 + 1e-12);
    f.check.output_count = 2;
    f.check.output = (ag_check_output[]){ { .y = { .ndim = 0 }, .numel = 1 },
                                          { .y = { .ndim = 1, .shape = { 3 } }, .numel = 3, .first = 1 } };
    in->found.output_index = 3;
    fake_settle(&f);
    assert_has(fake_written(&f, TEXT),
               "\nworst: input 0 [], output 1 [3] at [2]: analytic 0.50000000000099998, numeric\n"
               "  0.5 (+-2e-13)\n");
    in->found.output_index = 0;
    fake_settle(&f);
    assert_has(fake_written(&f, TEXT), "\nworst: input 0 [], output 0 []: analytic 0.50000000000099998, numeric 0.5\n");
    fake_end(&f);
}
END_TEST

START_TEST(undecided_inputs_get_advice)
{
    static const char *const words[] = {
        [AG_CAUSE_KINK] = "what to do: move the input away from the kink",
        [AG_CAUSE_NOT_REPEATABLE] = "what to do: draw random numbers from the context",
        [AG_CAUSE_NON_FINITE] = "what to do: choose inputs well inside the function's domain",
        [AG_CAUSE_STEP_EXHAUSTED] = "what to do: move the input away from kinks; compute all of it in float64",
        [AG_CAUSE_ORACLES_DISAGREE] = "what to do: compare complex_step with the function",
        [AG_CAUSE_NOTHING_CHECKED] = "what to do: give at least one float64 input",
    };
    for (int cause = AG_CAUSE_NONE; cause < AG_CAUSES; cause++) {
        fake f;
        fake_begin(&f, "f", AG_INCONCLUSIVE);
        fake_input(&f, "x", 1, (int64_t[]){ 4 }, AG_INCONCLUSIVE, (ag_cause)cause);
        fake_settle(&f);
        const char *text = fake_written(&f, TEXT);
        bool undecided = cause >= AG_CAUSE_KINK && cause <= AG_CAUSE_NOTHING_CHECKED;
        ck_assert_int_eq(fake_count(text, "what to do: "), undecided ? 1 : 0);
        if (undecided)
            assert_has(text, words[cause]);
        assert_has(text, "gradcheck f: INCONCLUSIVE, 1 of 4 derivatives undecided,");
        assert_has(text, "\nundecided: input 0 'x' [4] at [0]: ");
        fake_end(&f);
    }
}
END_TEST

START_TEST(advice_also_beside_a_failure)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    fake_input(&f, "x", 1, (int64_t[]){ 4 }, AG_INCONCLUSIVE, AG_CAUSE_KINK);
    fake_input(&f, "w", 1, (int64_t[]){ 2 }, AG_FAIL, AG_CAUSE_SIGN);
    fake_settle(&f);
    const char *text = fake_written(&f, TEXT);
    assert_has(text, "gradcheck f: FAIL, 2 of 6 derivatives wrong, worst relative error 3.1e-11,\n  1 inconclusive\n");
    assert_has(text, "what to do: move the input");
    fake_end(&f);
}
END_TEST

START_TEST(an_error_is_given_with_its_message)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    f.check.input_count = 3; /* there was no memory for them */
    f.check.input = NULL;
    f.check.output = NULL;
    f.result.worst.cause = AG_CAUSE_ERROR;
    ag_fail(f.check.ctx, AG_ERR_SHAPE, "matmul", "[4,3] x [5,2]: inner sizes 3 and 5 differ");
    strcpy(f.result.explanation, ag_error_message(f.check.ctx));
    ck_assert_str_eq(fake_written(&f, TEXT), "gradcheck f: FAIL, stopped by an error\n"
                                        "error: matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ\n");
    assert_has(fake_written(&f, JSON), "\"error\":\"matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ\"");
    assert_has(fake_written(&f, HTML), "matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ");
    ag_error_clear(f.check.ctx);
    f.check.input_count = 0;
    fake_end(&f);
}
END_TEST

/* ---- Widths and hostile names ---------------------------------------------------------------- */

/* Characters of the widest line; continuation bytes of UTF-8 do not count, nor may there be control characters. */
static int widest(const char *text)
{
    int most = 0, columns = 0;
    for (; *text != '\0'; text++) {
        ck_assert_msg(*text == '\n' || ((unsigned char)*text >= 0x20 && *text != 0x7f), "control character %d", *text);
        columns = *text == '\n' ? 0 : columns + (((unsigned char)*text & 0xc0) != 0x80);
        most = columns > most ? columns : most;
    }
    return most;
}

START_TEST(no_line_is_wider_than_80_columns)
{
    static const char *const names[] = { NULL, "w", fake_hostile, fake_endless };
    for (int cause = 0; cause < AG_CAUSES; cause++)
        for (int verdict = AG_PASS; verdict <= AG_INCONCLUSIVE; verdict++)
            for (int n = 0; n < 4; n++) {
                fake f;
                fake_begin(&f, names[3 - n] == NULL ? "f" : names[3 - n], (ag_verdict)verdict);
                fake_input(&f, names[n], 8, (int64_t[]){ 1, 11, 1, 11, 1, 1, 12, 10 }, AG_INCONCLUSIVE, AG_CAUSE_KINK);
                ag_check_input *in = fake_input(&f, names[n], 8, (int64_t[]){ 1, 2, 1, 3, 1, 1, 100, 10 },
                                               (ag_verdict)verdict, (ag_cause)cause);
                in->found.factor = -1.0 / 3e-200;
                fake_spoil(in, in->numel - 1, -1.0 / 3e200);
                fake_settle(&f);
                f.result.checked = f.result.failed = 123456789;
                f.result.op = fake_endless;
                f.result.path = fake_hostile;
                f.result.node = 123456789;
                snprintf(f.result.explanation, AG_EXPLANATION, "%s %s %s", fake_endless, fake_hostile, fake_endless);
                const char *text = fake_written(&f, TEXT);
                ck_assert_msg(widest(text) <= 80, "%d columns:\n%s", widest(text), text);
                ck_assert_int_eq(fake_count(text, "\n") == 1, verdict == AG_PASS);
                fake_end(&f);
            }
}
END_TEST

/* ---- HTML ------------------------------------------------------------------------------------ */

/* Every tag is closed in its order, and '<' and '&' stand for nothing else. */
static void assert_well_formed(const char *text)
{
    enum { DEPTH = 16 };
    char open[DEPTH][32];
    int depth = 0;
    ck_assert_int_eq(strncmp(text, "<!DOCTYPE html>\n", 16), 0);
    for (text += 16; *text != '\0'; text++) {
        if (*text == '&')
            ck_assert_msg(strncmp(text, "&lt;", 4) == 0 || strncmp(text, "&gt;", 4) == 0 ||
                          strncmp(text, "&amp;", 5) == 0 || strncmp(text, "&quot;", 6) == 0, "entity %.20s", text);
        if (*text != '<')
            continue;
        char name[32];
        bool closing = text[1] == '/';
        ck_assert_msg(sscanf(text + 1 + closing, "%31[a-zA-Z0-9]", name) == 1, "tag %.30s", text);
        const char *end = strchr(text, '>');
        ck_assert_ptr_nonnull(end);
        int quotes = 0;
        for (; text < end; text++)
            quotes += *text == '"';
        ck_assert_int_eq(quotes % 2, 0);
        if (closing) {
            ck_assert_int_gt(depth, 0);
            ck_assert_str_eq(name, open[--depth]);
        } else if (end[-1] != '/') {
            ck_assert_int_lt(depth, DEPTH);
            strcpy(open[depth++], name);
        }
    }
    ck_assert_int_eq(depth, 0);
}

START_TEST(a_page_of_three_maps_per_input)
{
    fake f;
    fake_failure(&f);
    f.input[2].analytic[0] = 0.25; /* half of the numeric one */
    f.input[3].analytic[4] = 0;
    f.input[3].analytic[5] = (double)NAN;
    const char *text = fake_written(&f, HTML);
    assert_well_formed(text);
    assert_has(text, "<h1>gradcheck mha <span class=\"verdict FAIL\">FAIL</span></h1>");
    assert_has(text, "<p>The gradient is the negative of the right one. Look for a subtraction the wrong way");
    assert_has(text, "<b>Worst:</b> input 3 'blocks.0.attn.q.weight' [3,2] at [1,1], output [4,2] at [2,1]: ");
    assert_has(text, "<b>First wrong op:</b> linear in blocks.0.attn.q, node 17, gradient of its input 1</p>");
    ck_assert_int_eq(fake_count(text, "<svg"), 3);
    ck_assert_int_eq(fake_count(text, "</title></rect>"), 3 * (4 + 1 + 6));
    ck_assert_int_eq(fake_count(text, "class=\"worst\""), 3 + 3); /* of the two inputs that failed */
    ck_assert_int_eq(fake_count(text, "<title>[1,1] 0.497</title>"), 1);
    ck_assert_int_eq(fake_count(text, "<title>[1,1] -0.497</title>"), 1 + 2); /* input 0 has it twice */
    ck_assert_int_eq(fake_count(text, "<title>[1,1] 0.994</title>"), 1);
    assert_has(text, "fill=\"#f6a682\"><title>[] 0.25</title>");
    assert_has(text, "fill=\"#d6d6d0\"><title>[2,0] 0</title>");
    assert_has(text, "fill=\"#222222\"><title>[2,1] nan</title>");
    assert_has(text, "fill=\"#b2182b\"><title>[2,0] 0.504</title>"); /* the largest: of the numeric gradient */
    const char *small = strstr(text, "<h2>input 2 "), *worst = strstr(text, "<h2>input 3 blocks.0.attn.q.weight [3,2]"),
               *pass = strstr(text, "<h2>input 0 x [2,2] <span class=\"verdict PASS\">");
    ck_assert(small != NULL && worst != NULL && pass != NULL && small < worst && worst < pass);
    assert_has_not(text, "<h2>input 1");
    assert_has(text, "<td>6</td><td>0</td><td>6</td>");
    ck_assert_int_eq(fake_count(text, "http"), 1 + 3); /* the names of the formats; nothing is fetched */
    assert_has_not(text, "<script");
    fake_end(&f);
}
END_TEST

START_TEST(names_are_escaped_in_the_page)
{
    fake f;
    fake_begin(&f, fake_hostile, AG_FAIL);
    fake_input(&f, fake_hostile, 1, (int64_t[]){ 3 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    fake_settle(&f);
    f.result.op = f.result.path = fake_hostile;
    strcpy(f.result.explanation, fake_hostile);
    const char *text = fake_written(&f, HTML);
    assert_well_formed(text);
    assert_has_not(text, "<b>\"x");
    assert_has(text, "&lt;b&gt;&quot;x&quot; &amp; 'y'\\ ?[2J?? \xc3\xa9\xe2\x82\xac ?&lt;/b&gt;");
    fake_end(&f);
}
END_TEST

START_TEST(large_gradients_are_cropped_around_the_worst)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    ag_check_input *in = fake_input(&f, "w", 2, (int64_t[]){ 70, 100 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    fake_spoil(in, 69 * 100 + 99, 7);
    fake_settle(&f);
    const char *text = fake_written(&f, HTML);
    assert_well_formed(text);
    ck_assert_int_eq(fake_count(text, "</title></rect>"), 3 * 64 * 64);
    assert_has(text, "<p>Shown: rows 6 to 69 of 70, columns 36 to 99 of 100</p>");
    ck_assert_int_eq(fake_count(text, "class=\"worst\""), 3);
    fake_end(&f);

    fake_begin(&f, "f", AG_FAIL);
    in = fake_input(&f, "p", 4, (int64_t[]){ 5, 4, 3, 40 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    fake_spoil(in, 0, 7);
    fake_settle(&f);
    text = fake_written(&f, HTML);
    ck_assert_int_eq(fake_count(text, "</title></rect>"), 3 * 16 * 3 * 16);
    assert_has(text, "<p>Shown: matrices 0 to 15 of 20, columns 0 to 15 of 40</p>");
    ck_assert_int_eq(fake_count(text, ">[3,3]</text>"), 3);
    fake_end(&f);
}
END_TEST

START_TEST(few_inputs_are_drawn_and_the_rest_counted)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    for (int i = 0; i < INPUTS_MAX; i++)
        fake_input(&f, NULL, 1, (int64_t[]){ i == 2 ? 0 : 2 }, i == 11 ? AG_FAIL : AG_PASS, AG_CAUSE_NONE);
    fake_settle(&f);
    const char *text = fake_written(&f, HTML);
    assert_well_formed(text);
    ck_assert_int_eq(fake_count(text, "<svg"), 8);
    ck_assert(strstr(text, "<h2>input 11 ") < strstr(text, "<h2>input 0 "));
    assert_has(text, "<p>3 more inputs are not drawn.</p>");
    fake_end(&f);
}
END_TEST

START_TEST(a_difference_within_the_tolerance_stays_pale)
{
    fake f;
    fake_begin(&f, "f", AG_PASS);
    ag_check_input *in = fake_input(&f, NULL, 1, (int64_t[]){ 2 }, AG_PASS, AG_CAUSE_NONE);
    in->analytic[0] += 1e-13;
    fake_settle(&f);
    const char *text = fake_written(&f, HTML);
    assert_has(text, "fill=\"#ffffff\"><title>[0] 1.00");
    assert_has(text, ">5.01e-07</text>");
    fake_end(&f);
}
END_TEST

/* ---- Surroundings ---------------------------------------------------------------------------- */

START_TEST(numbers_have_a_point_in_every_locale)
{
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ps_AF.UTF-8", "de_DE" };
    fake f;
    fake_failure(&f);
    static char text[FORM_BYTES], json[FORM_BYTES];
    strcpy(text, fake_written(&f, TEXT));
    strcpy(json, fake_written(&f, JSON));
    char outer[1024];
    strcpy(outer, setlocale(LC_ALL, NULL));
    for (int i = 0; i < 5; i++)
        if (setlocale(LC_ALL, names[i]) != NULL) {
            ck_assert_str_eq(fake_written(&f, TEXT), text);
            ck_assert_str_eq(fake_written(&f, JSON), json);
            assert_has(fake_written(&f, HTML), "<title>[1,1] 0.497</title>");
        }
    setlocale(LC_ALL, outer);
    fake_end(&f);
}
END_TEST

START_TEST(nothing_is_written_unasked)
{
    fake f;
    fake_failure(&f);
    ag_check_report(&f.check, &f.result);
    fake_end(&f);
}
END_TEST

START_TEST(a_file_that_can_not_be_written_is_an_error)
{
    for (int which = TEXT; which <= HTML; which++) {
        fake f;
        fake_failure(&f);
        FILE *file = fopen("/dev/null", "r");
        if (file != NULL) {
            f.check.config.report = which == TEXT ? file : NULL;
            f.check.config.json = which == JSON ? file : NULL;
            f.check.config.html = which == HTML ? file : NULL;
            ag_check_report(&f.check, &f.result);
            assert_error(f.check.ctx, AG_ERR_FILE, "gradcheck: the report can not be written");
            fclose(file);
        }
        fake_end(&f);
    }
}
END_TEST

Suite *report_suite(void)
{
    Suite *suite = suite_create("report");
    TCase *text = tcase_create("text");
    tcase_add_test(text, a_pass_is_one_line);
    tcase_add_test(text, a_failure_to_the_letter);
    tcase_add_test(text, an_op_is_named_once);
    tcase_add_test(text, colour_only_adds);
    tcase_add_test(text, gradients_are_cut_around_the_worst);
    tcase_add_test(text, a_vector_stands_upright);
    tcase_add_test(text, without_an_element_there_are_no_tables);
    tcase_add_test(text, values_that_nine_digits_do_not_tell_apart);
    tcase_add_test(text, undecided_inputs_get_advice);
    tcase_add_test(text, advice_also_beside_a_failure);
    tcase_add_test(text, an_error_is_given_with_its_message);
    tcase_add_test(text, no_line_is_wider_than_80_columns);
    suite_add_tcase(suite, text);
    TCase *page = tcase_create("html");
    tcase_add_test(page, a_page_of_three_maps_per_input);
    tcase_add_test(page, names_are_escaped_in_the_page);
    tcase_add_test(page, large_gradients_are_cropped_around_the_worst);
    tcase_add_test(page, few_inputs_are_drawn_and_the_rest_counted);
    tcase_add_test(page, a_difference_within_the_tolerance_stays_pale);
    suite_add_tcase(suite, page);
    TCase *around = tcase_create("surroundings");
    tcase_add_test(around, numbers_have_a_point_in_every_locale);
    tcase_add_test(around, nothing_is_written_unasked);
    tcase_add_test(around, a_file_that_can_not_be_written_is_an_error);
    suite_add_tcase(suite, around);
    return suite;
}
