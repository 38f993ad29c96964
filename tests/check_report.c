/* SPDX-License-Identifier: MIT
 *
 * check_report.c - the three forms of the gradient checker's report, of checks that these tests fill in themselves:
 * the text to the letter, JSON parsed back, the page's elements counted.
 */
#include "tests/test.h"

#include "autograd/gradcheck/gradcheck_impl.h"
#include "tensor/json.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* ---- Checks ---------------------------------------------------------------------------------- */

enum { INPUTS_MAX = 12, FORM_BYTES = 1 << 22 };

typedef enum form { TEXT, JSON, HTML } form;

/* A check of inputs added one by one, whose one output is [4,2], and its result. */
typedef struct fake {
    ag_check check;
    ag_check_input input[INPUTS_MAX];
    ag_check_output output;
    ag_gradcheck_result result;
} fake;

static void fake_begin(fake *f, const char *name, ag_verdict verdict)
{
    *f = (fake){ .output = { .y = { .ndim = 2, .shape = { 4, 2 } }, .numel = 8 } };
    f->check = (ag_check){ .ctx = test_begin(), .name = name, .input = f->input, .output_count = 1,
                           .output = &f->output, .config = { .rtol = 1e-6, .atol = 1e-9 } };
    f->result = (ag_gradcheck_result){ .verdict = verdict, .input = -1, .op = "", .path = "", .node = -1 };
}

static void fake_end(fake *f)
{
    for (int i = 0; i < f->check.input_count; i++) {
        free(f->input[i].analytic);
        free(f->input[i].numeric);
    }
    test_end(f->check.ctx);
}

/* A numeric gradient of different numbers, none of them 0, and the analytic one equal to it. */
static ag_check_input *add_input(fake *f, const char *name, int ndim, const int64_t *shape, ag_verdict verdict,
                                 ag_cause cause)
{
    ag_check_input *in = &f->input[f->check.input_count++];
    *in = (ag_check_input){ .x = { .name = name, .ndim = ndim }, .numel = 1, .checked = true, .reached = true };
    for (int d = 0; d < ndim; d++)
        in->numel *= in->x.shape[d] = shape[d];
    in->analytic = malloc((size_t)in->numel * sizeof(double) + 1);
    in->numeric = malloc((size_t)in->numel * sizeof(double) + 1);
    for (int64_t i = 0; i < in->numel; i++)
        in->analytic[i] = in->numeric[i] = (i % 2 == 0 ? 0.5 : -0.5) + 0.001 * (double)i;
    in->found = (ag_gradcheck_input){ .verdict = verdict, .cause = cause, .factor = 1, .output_index = -1,
                                      .max_error = 3.1e-11, .checked = in->numel };
    in->found.failed = verdict == AG_FAIL ? in->numel : 0;
    in->found.inconclusive = verdict == AG_INCONCLUSIVE ? 1 : 0;
    return in;
}

/* The result from what was found, the last input being the worst. */
static void settle(fake *f)
{
    ag_gradcheck_result *r = &f->result;
    r->checked = r->failed = r->inconclusive = 0;
    for (int i = 0; i < f->check.input_count; i++) {
        r->checked += f->input[i].found.checked;
        r->failed += f->input[i].found.failed;
        r->inconclusive += f->input[i].found.inconclusive;
    }
    r->input = f->check.input_count - 1;
    if (r->input >= 0)
        r->worst = f->input[r->input].found;
    r->max_error = r->worst.max_error;
}

/* Makes an element of an input wrong and the worst. */
static void spoil(ag_check_input *in, int64_t i, double analytic)
{
    in->analytic[i] = analytic;
    in->found.index = i;
    in->found.analytic = analytic;
    in->found.numeric = in->numeric[i];
    in->found.uncertainty = 2e-13;
    in->found.max_error = 2;
}

/* What is written, until the next call. */
static char *written(fake *f, form which)
{
    static char text[FORM_BYTES];
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    f->check.config.report = which == TEXT ? file : NULL;
    f->check.config.json = which == JSON ? file : NULL;
    f->check.config.html = which == HTML ? file : NULL;
    ag_check_report(&f->check, &f->result);
    rewind(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    ck_assert_uint_lt(length, sizeof text - 1);
    text[length] = '\0';
    fclose(file);
    return text;
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

#define assert_has(text, part) ck_assert_msg(strstr(text, part) != NULL, "no '%s' in:\n%.3000s", part, text)
#define assert_has_not(text, part) ck_assert_msg(strstr(text, part) == NULL, "'%s' in:\n%.3000s", part, text)

/* ---- Text ------------------------------------------------------------------------------------ */

START_TEST(a_pass_is_one_line)
{
    fake f;
    fake_begin(&f, "mha", AG_PASS);
    add_input(&f, "x", 2, (int64_t[]){ 4, 103 }, AG_PASS, AG_CAUSE_NONE);
    settle(&f);
    ck_assert_str_eq(written(&f, TEXT), "gradcheck mha: PASS, 412 derivatives, worst relative error 3.1e-11\n");
    f.result.checked = 1;
    ck_assert_str_eq(written(&f, TEXT), "gradcheck mha: PASS, 1 derivative, worst relative error 3.1e-11\n");
    f.check.name = "a_name_that_leaves_no_room_for_the_rest";
    f.result.checked = 412;
    ck_assert_str_eq(written(&f, TEXT),
                     "gradcheck a_name_..the_rest: PASS, 412 derivatives, worst relative error 3.1e-11\n");
    fake_end(&f);
}
END_TEST

/* Four inputs of which one was not checked, a pass among them, and everything a failure can say. */
static void make_failure(fake *f)
{
    fake_begin(f, "mha", AG_FAIL);
    add_input(f, "x", 2, (int64_t[]){ 2, 2 }, AG_PASS, AG_CAUSE_NONE);
    ag_check_input *in = add_input(f, "tokens", 1, (int64_t[]){ 4 }, AG_PASS, AG_CAUSE_NONE);
    in->checked = false;
    in->found = (ag_gradcheck_input){ .index = -1, .output_index = -1 };
    in = add_input(f, NULL, 0, NULL, AG_FAIL, AG_CAUSE_FACTOR);
    in->found.factor = 0.5;
    in = add_input(f, "blocks.0.attn.q.weight", 2, (int64_t[]){ 3, 2 }, AG_FAIL, AG_CAUSE_SIGN);
    for (int64_t i = 0; i < in->numel; i++)
        in->analytic[i] = -in->numeric[i];
    spoil(in, 3, 0.497);
    in->found.output_index = 5;
    settle(f);
    f->result.op = "linear";
    f->result.path = "blocks.0.attn.q";
    f->result.node = 17;
    f->result.op_input = 1;
    strcpy(f->result.explanation, "The gradient is the negative of the right one. Look for a subtraction the wrong "
                                  "way round.");
}

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
    make_failure(&f);
    ck_assert_str_eq(written(&f, TEXT), failure_text);
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
    make_failure(&f);
    assert_has(written(&f, TEXT), "\nfirst wrong op: linear in blocks.0.attn.q, node 17, gradient of its input 1\n");
    strcpy(f.result.explanation, "The backward of linear is wrong.");
    assert_has_not(written(&f, TEXT), "first wrong op");
    assert_has_not(written(&f, HTML), "First wrong op");
    fake_end(&f);
}
END_TEST

START_TEST(colour_only_adds)
{
    fake f;
    make_failure(&f);
    f.check.config.colour = true;
    const char *text = written(&f, TEXT);
    char plain[sizeof failure_text + 100];
    strip_colour(plain, text);
    ck_assert_str_eq(plain, failure_text);
    assert_has(text, "gradcheck mha: \033[31mFAIL\033[0m, ");
    assert_has(text, "\033[32mPASS\033[0m         3.1e-11\n");
    assert_has(text, "\033[31mFAIL\033[0m         2.0e+00  \033[31msign flipped\033[0m\n");
    assert_has(text, "[4]    not checked\n");
    ck_assert_int_eq(count_of(text, "\033["), 12);
    f.result.verdict = AG_INCONCLUSIVE;
    assert_has(written(&f, TEXT), "\033[33mINCONCLUSIVE\033[0m");
    fake_end(&f);
}
END_TEST

START_TEST(gradients_are_cut_around_the_worst)
{
    fake f;
    fake_begin(&f, "sdpa", AG_FAIL);
    ag_check_input *in = add_input(&f, NULL, 4, (int64_t[]){ 2, 3, 9, 6 }, AG_FAIL, AG_CAUSE_MASK_LEAK);
    for (int64_t i = 0; i < in->numel; i++)
        in->numeric[i] = in->analytic[i] = i % 6 > i / 6 % 9 ? 0 : 2e-5 * (double)(i % 4);
    in->found.failed = 1;
    spoil(in, ((1 * 3 + 2) * 9 + 2) * 6 + 5, 3e-5);
    settle(&f);
    assert_has(written(&f, TEXT),
               "worst: input 0 [2,3,9,6] at [1,2,2,5]: analytic 3e-05, numeric 0 (+-2e-13)\n"
               "\n"
               "for a random cotangent, around the worst: [1,2,0:8,2:6]\n"
               "             analytic / 1e-5 |          numeric / 1e-5 |       difference / 1e-5\n");
    assert_has(written(&f, TEXT), "\n"
               "         2     3     4     5 |     2     3     4     5 |     2     3     4     5\n"
               "   0     0     0     0     0 |     0     0     0     0 |     0     0     0     0\n");
    assert_has(written(&f, TEXT), "\n"
               "   2     0     0     0  3.00 |     0     0     0     0 |     0     0     0  3.00\n"
               "   3  4.00  6.00     0     0 |  4.00  6.00     0     0 |     0     0     0     0\n");
    assert_has(written(&f, TEXT), "\n   7 ");
    assert_has_not(written(&f, TEXT), "\n   8 ");
    fake_end(&f);
}
END_TEST

START_TEST(a_vector_stands_upright)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    ag_check_input *in = add_input(&f, "bias", 1, (int64_t[]){ 20 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    spoil(in, 19, (double)NAN);
    in->analytic[16] += 0.5;
    in->analytic[17] -= 1e-15;
    in->analytic[18] = (double)-INFINITY;
    settle(&f);
    assert_has(written(&f, TEXT),
               "\n"
               "for a random cotangent, around the worst: [12:20]\n"
               "                    analytic |                 numeric |              difference\n"
               "  12                 0.51200 |                 0.51200 |                       0\n");
    assert_has(written(&f, TEXT), "\n"
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
    ag_check_input *in = add_input(&f, "w", 2, (int64_t[]){ 3, 3 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    spoil(in, 4, 0.1);
    in->found.index = -1;
    settle(&f);
    assert_has(written(&f, TEXT), "worst: input 0 'w' [3,3] along a random direction: analytic 0.1, numeric 0.504\n");
    assert_has_not(written(&f, TEXT), "cotangent");
    in->found.index = f.result.worst.index = 4;
    free(in->numeric);
    in->numeric = NULL;
    assert_has(written(&f, TEXT), "[3,3] at [1,1]: ");
    assert_has_not(written(&f, TEXT), "cotangent");
    fake_end(&f);
}
END_TEST

START_TEST(values_that_nine_digits_do_not_tell_apart)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    ag_check_input *in = add_input(&f, NULL, 0, NULL, AG_FAIL, AG_CAUSE_UNKNOWN);
    spoil(in, 0, 0.5 + 1e-12);
    f.check.output_count = 2;
    f.check.output = (ag_check_output[]){ { .y = { .ndim = 0 }, .numel = 1 },
                                          { .y = { .ndim = 1, .shape = { 3 } }, .numel = 3, .first = 1 } };
    in->found.output_index = 3;
    settle(&f);
    assert_has(written(&f, TEXT), "\nworst: input 0 [], output 1 [3] at [2]: analytic 0.50000000000099998, numeric\n"
                                  "  0.5 (+-2e-13)\n");
    in->found.output_index = 0;
    settle(&f);
    assert_has(written(&f, TEXT), "\nworst: input 0 [], output 0 []: analytic 0.50000000000099998, numeric 0.5\n");
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
        add_input(&f, "x", 1, (int64_t[]){ 4 }, AG_INCONCLUSIVE, (ag_cause)cause);
        settle(&f);
        const char *text = written(&f, TEXT);
        bool undecided = cause >= AG_CAUSE_KINK && cause <= AG_CAUSE_NOTHING_CHECKED;
        ck_assert_int_eq(count_of(text, "what to do: "), undecided ? 1 : 0);
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
    add_input(&f, "x", 1, (int64_t[]){ 4 }, AG_INCONCLUSIVE, AG_CAUSE_KINK);
    add_input(&f, "w", 1, (int64_t[]){ 2 }, AG_FAIL, AG_CAUSE_SIGN);
    settle(&f);
    const char *text = written(&f, TEXT);
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
    ck_assert_str_eq(written(&f, TEXT), "gradcheck f: FAIL, stopped by an error\n"
                                        "error: matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ\n");
    assert_has(written(&f, JSON), "\"error\":\"matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ\"");
    assert_has(written(&f, HTML), "matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ");
    ag_error_clear(f.check.ctx);
    f.check.input_count = 0;
    fake_end(&f);
}
END_TEST

/* ---- Widths and hostile names ---------------------------------------------------------------- */

static const char hostile[] = "<b>\"x\" & 'y'\\ \033[2J\n\x7f \xc3\xa9\xe2\x82\xac \xff</b>";
static const char endless[] = "decoder.blocks.11.attention.projections.of.all.heads.together.weight.of.the.very.large."
                              "model_without_a_single_blank_in_its_name_anywhere_at_all";

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
    static const char *const names[] = { NULL, "w", hostile, endless };
    for (int cause = 0; cause < AG_CAUSES; cause++)
        for (int verdict = AG_PASS; verdict <= AG_INCONCLUSIVE; verdict++)
            for (int n = 0; n < 4; n++) {
                fake f;
                fake_begin(&f, names[3 - n] == NULL ? "f" : names[3 - n], (ag_verdict)verdict);
                add_input(&f, names[n], 8, (int64_t[]){ 1, 11, 1, 11, 1, 1, 12, 10 }, AG_INCONCLUSIVE, AG_CAUSE_KINK);
                ag_check_input *in = add_input(&f, names[n], 8, (int64_t[]){ 1, 2, 1, 3, 1, 1, 100, 10 },
                                               (ag_verdict)verdict, (ag_cause)cause);
                in->found.factor = -1.0 / 3e-200;
                spoil(in, in->numel - 1, -1.0 / 3e200);
                settle(&f);
                f.result.checked = f.result.failed = 123456789;
                f.result.op = endless;
                f.result.path = hostile;
                f.result.node = 123456789;
                snprintf(f.result.explanation, AG_EXPLANATION, "%s %s %s", endless, hostile, endless);
                const char *text = written(&f, TEXT);
                ck_assert_msg(widest(text) <= 80, "%d columns:\n%s", widest(text), text);
                ck_assert_int_eq(count_of(text, "\n") == 1, verdict == AG_PASS);
                fake_end(&f);
            }
}
END_TEST

/* ---- JSON ------------------------------------------------------------------------------------ */

/* The next value is a number, or one of the strings that stand for those that are not finite. */
static double next_number(ag_json *json)
{
    char *end;
    if (json->text[json->at] == '"')
        return strtod(ag_json_string(json), NULL);
    ck_assert_msg(strchr("-0123456789", json->text[json->at]) != NULL, "no number at %.20s", json->text + json->at);
    double value = strtod(json->text + json->at, &end);
    json->at = (size_t)(end - json->text);
    return value;
}

static void assert_key(ag_json *json, const char *key)
{
    ck_assert_msg(ag_json_next(json, '}'), "the object ends before %s", key);
    const char *got = ag_json_key(json);
    ck_assert_msg(got != NULL && strcmp(got, key) == 0, "%s instead of %s", got, key);
}

static void assert_string(ag_json *json, const char *key, const char *want)
{
    assert_key(json, key);
    if (want == NULL) {
        ck_assert_int_eq(strncmp(json->text + json->at, "null", 4), 0);
        json->at += 4;
    } else {
        const char *got = ag_json_string(json);
        ck_assert_ptr_nonnull(got);
        ck_assert_str_eq(got, want);
    }
}

static void assert_number(ag_json *json, const char *key, double want)
{
    assert_key(json, key);
    double got = next_number(json);
    ck_assert_msg(got == want || (isnan(got) && isnan(want)), "%s is %.17g, wanted %.17g", key, got, want);
}

static void assert_numbers(ag_json *json, const char *key, const double *want, int64_t count)
{
    assert_key(json, key);
    ck_assert(ag_json_begin(json, '['));
    int64_t i = 0;
    for (; ag_json_next(json, ']'); i++) {
        double got = next_number(json);
        ck_assert_msg(i < count && (got == want[i] || (isnan(got) && isnan(want[i]))), "%s[%lld] is %.17g", key,
                      (long long)i, got);
    }
    ck_assert_int_eq(i, count);
}

static void assert_found(ag_json *json, const ag_check_input *in, const double *index, int index_count)
{
    const ag_gradcheck_input *found = &in->found;
    assert_string(json, "cause", ag_cause_name(found->cause));
    assert_number(json, "factor", found->factor);
    if (index == NULL)
        assert_string(json, "index", NULL);
    else
        assert_numbers(json, "index", index, index_count);
    if (found->output_index < 0)
        assert_string(json, "output_index", NULL);
    else
        assert_number(json, "output_index", (double)found->output_index);
    assert_number(json, "analytic", found->analytic);
    assert_number(json, "numeric", found->numeric);
    assert_number(json, "uncertainty", found->uncertainty);
    assert_number(json, "max_error", found->max_error);
    assert_number(json, "checked", (double)found->checked);
    assert_number(json, "failed", (double)found->failed);
    assert_number(json, "inconclusive", (double)found->inconclusive);
}

START_TEST(json_gives_everything_back)
{
    fake f;
    make_failure(&f);
    ag_check_input *worst = &f.input[3];
    worst->analytic[0] = (double)NAN;
    worst->numeric[0] = (double)-INFINITY;
    worst->analytic[1] = 0.1;
    worst->numeric[1] = 1.0 / 3;
    worst->numeric[2] = -4.9e-324;
    worst->found.max_error = f.result.max_error = (double)INFINITY;
    char *text = written(&f, JSON);
    ck_assert_int_eq(count_of(text, "\n"), 1);
    ag_json json = ag_json_of(text, strlen(text));
    ck_assert(ag_json_begin(&json, '{'));
    assert_string(&json, "name", "mha");
    assert_string(&json, "verdict", "FAIL");
    assert_string(&json, "error", NULL);
    assert_number(&json, "derivatives", 11);
    assert_number(&json, "failed", 7);
    assert_number(&json, "inconclusive", 0);
    assert_number(&json, "max_error", (double)INFINITY);
    assert_string(&json, "cause", ag_cause_name(AG_CAUSE_SIGN));
    assert_number(&json, "factor", 1);
    assert_string(&json, "explanation", f.result.explanation);
    assert_number(&json, "input", 3);
    assert_string(&json, "op", "linear");
    assert_string(&json, "path", "blocks.0.attn.q");
    assert_number(&json, "node", 17);
    assert_number(&json, "op_input", 1);
    assert_key(&json, "inputs");
    ck_assert(ag_json_begin(&json, '['));
    for (int i = 0; i < f.check.input_count; i++) {
        static const double shape[][2] = { { 2, 2 }, { 4, 0 }, { 0, 0 }, { 3, 2 } };
        static const double index[][2] = { { 0, 0 }, { 1, 1 } };
        const ag_check_input *in = &f.input[i];
        ck_assert(ag_json_next(&json, ']'));
        ck_assert(ag_json_begin(&json, '{'));
        assert_string(&json, "name", in->x.name);
        assert_numbers(&json, "shape", shape[i], in->x.ndim);
        assert_string(&json, "verdict", in->checked ? ag_verdict_name(in->found.verdict) : NULL);
        if (in->checked) {
            assert_found(&json, in, index[i == 3], in->x.ndim);
            assert_numbers(&json, "analytic_gradient", in->analytic, in->numel);
            assert_numbers(&json, "numeric_gradient", in->numeric, in->numel);
        }
        ck_assert(!ag_json_next(&json, '}'));
    }
    ck_assert(!ag_json_next(&json, ']'));
    ck_assert(!ag_json_next(&json, '}'));
    ck_assert_msg(ag_json_end(&json), "%s", json.error);
    assert_has(written(&f, JSON), "\"analytic_gradient\":[\"nan\",0.1,-0.502,");
    assert_has(written(&f, JSON), "\"numeric_gradient\":[\"-inf\",0.3333333333333333,");
    fake_end(&f);
}
END_TEST

START_TEST(json_of_a_pass_has_no_op)
{
    fake f;
    fake_begin(&f, hostile, AG_PASS);
    ag_check_input *in = add_input(&f, endless, 1, (int64_t[]){ 4097 }, AG_PASS, AG_CAUSE_NONE);
    in->found.index = -1;
    settle(&f);
    char *text = written(&f, JSON);
    assert_has(text, "\"input\":0,\"op\":null,\"path\":null,\"node\":null,\"op_input\":null,\"inputs\":[{");
    assert_has(text, "\"index\":null,");
    assert_has_not(text, "_gradient"); /* of more than 4096 elements */
    ag_json json = ag_json_of(text, strlen(text));
    ck_assert(ag_json_begin(&json, '{'));
    assert_string(&json, "name", "<b>\"x\" & 'y'\\ \033[2J\n\x7f \xc3\xa9\xe2\x82\xac \xef\xbf\xbd</b>");
    in->numel = 4096;
    assert_has(written(&f, JSON), "_gradient");
    fake_end(&f);
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
    make_failure(&f);
    f.input[2].analytic[0] = 0.25; /* half of the numeric one */
    f.input[3].analytic[4] = 0;
    f.input[3].analytic[5] = (double)NAN;
    const char *text = written(&f, HTML);
    assert_well_formed(text);
    assert_has(text, "<h1>gradcheck mha <span class=\"verdict FAIL\">FAIL</span></h1>");
    assert_has(text, "<p>The gradient is the negative of the right one. Look for a subtraction the wrong way");
    assert_has(text, "<b>Worst:</b> input 3 'blocks.0.attn.q.weight' [3,2] at [1,1], output [4,2] at [2,1]: ");
    assert_has(text, "<b>First wrong op:</b> linear in blocks.0.attn.q, node 17, gradient of its input 1</p>");
    ck_assert_int_eq(count_of(text, "<svg"), 3);
    ck_assert_int_eq(count_of(text, "</title></rect>"), 3 * (4 + 1 + 6));
    ck_assert_int_eq(count_of(text, "class=\"worst\""), 3 + 3); /* of the two inputs that failed */
    ck_assert_int_eq(count_of(text, "<title>[1,1] 0.497</title>"), 1);
    ck_assert_int_eq(count_of(text, "<title>[1,1] -0.497</title>"), 1 + 2); /* input 0 has it twice */
    ck_assert_int_eq(count_of(text, "<title>[1,1] 0.994</title>"), 1);
    assert_has(text, "fill=\"#f6a682\"><title>[] 0.25</title>");
    assert_has(text, "fill=\"#d6d6d0\"><title>[2,0] 0</title>");
    assert_has(text, "fill=\"#222222\"><title>[2,1] nan</title>");
    assert_has(text, "fill=\"#b2182b\"><title>[2,0] 0.504</title>"); /* the largest: of the numeric gradient */
    const char *small = strstr(text, "<h2>input 2 "), *worst = strstr(text, "<h2>input 3 blocks.0.attn.q.weight [3,2]"),
               *pass = strstr(text, "<h2>input 0 x [2,2] <span class=\"verdict PASS\">");
    ck_assert(small != NULL && worst != NULL && pass != NULL && small < worst && worst < pass);
    assert_has_not(text, "<h2>input 1");
    assert_has(text, "<td>6</td><td>0</td><td>6</td>");
    ck_assert_int_eq(count_of(text, "http"), 1 + 3); /* the names of the formats; nothing is fetched */
    assert_has_not(text, "<script");
    fake_end(&f);
}
END_TEST

START_TEST(names_are_escaped_in_the_page)
{
    fake f;
    fake_begin(&f, hostile, AG_FAIL);
    add_input(&f, hostile, 1, (int64_t[]){ 3 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    settle(&f);
    f.result.op = f.result.path = hostile;
    strcpy(f.result.explanation, hostile);
    const char *text = written(&f, HTML);
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
    ag_check_input *in = add_input(&f, "w", 2, (int64_t[]){ 70, 100 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    spoil(in, 69 * 100 + 99, 7);
    settle(&f);
    const char *text = written(&f, HTML);
    assert_well_formed(text);
    ck_assert_int_eq(count_of(text, "</title></rect>"), 3 * 64 * 64);
    assert_has(text, "<p>Shown: rows 6 to 69 of 70, columns 36 to 99 of 100</p>");
    ck_assert_int_eq(count_of(text, "class=\"worst\""), 3);
    fake_end(&f);

    fake_begin(&f, "f", AG_FAIL);
    in = add_input(&f, "p", 4, (int64_t[]){ 5, 4, 3, 40 }, AG_FAIL, AG_CAUSE_UNKNOWN);
    spoil(in, 0, 7);
    settle(&f);
    text = written(&f, HTML);
    ck_assert_int_eq(count_of(text, "</title></rect>"), 3 * 16 * 3 * 16);
    assert_has(text, "<p>Shown: matrices 0 to 15 of 20, columns 0 to 15 of 40</p>");
    ck_assert_int_eq(count_of(text, ">[3,3]</text>"), 3);
    fake_end(&f);
}
END_TEST

START_TEST(few_inputs_are_drawn_and_the_rest_counted)
{
    fake f;
    fake_begin(&f, "f", AG_FAIL);
    for (int i = 0; i < INPUTS_MAX; i++)
        add_input(&f, NULL, 1, (int64_t[]){ i == 2 ? 0 : 2 }, i == 11 ? AG_FAIL : AG_PASS, AG_CAUSE_NONE);
    settle(&f);
    const char *text = written(&f, HTML);
    assert_well_formed(text);
    ck_assert_int_eq(count_of(text, "<svg"), 8);
    ck_assert(strstr(text, "<h2>input 11 ") < strstr(text, "<h2>input 0 "));
    assert_has(text, "<p>3 more inputs are not drawn.</p>");
    fake_end(&f);
}
END_TEST

START_TEST(a_difference_within_the_tolerance_stays_pale)
{
    fake f;
    fake_begin(&f, "f", AG_PASS);
    ag_check_input *in = add_input(&f, NULL, 1, (int64_t[]){ 2 }, AG_PASS, AG_CAUSE_NONE);
    in->analytic[0] += 1e-13;
    settle(&f);
    const char *text = written(&f, HTML);
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
    make_failure(&f);
    static char text[FORM_BYTES], json[FORM_BYTES];
    strcpy(text, written(&f, TEXT));
    strcpy(json, written(&f, JSON));
    for (int i = 0; i < 5; i++)
        if (setlocale(LC_ALL, names[i]) != NULL) {
            ck_assert_str_eq(written(&f, TEXT), text);
            ck_assert_str_eq(written(&f, JSON), json);
            assert_has(written(&f, HTML), "<title>[1,1] 0.497</title>");
        }
    setlocale(LC_ALL, "C");
    fake_end(&f);
}
END_TEST

START_TEST(nothing_is_written_unasked)
{
    fake f;
    make_failure(&f);
    ag_check_report(&f.check, &f.result);
    fake_end(&f);
}
END_TEST

START_TEST(a_file_that_can_not_be_written_is_an_error)
{
    for (int which = TEXT; which <= HTML; which++) {
        fake f;
        make_failure(&f);
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
    TCase *data = tcase_create("json and html");
    tcase_add_test(data, json_gives_everything_back);
    tcase_add_test(data, json_of_a_pass_has_no_op);
    tcase_add_test(data, a_page_of_three_maps_per_input);
    tcase_add_test(data, names_are_escaped_in_the_page);
    tcase_add_test(data, large_gradients_are_cropped_around_the_worst);
    tcase_add_test(data, few_inputs_are_drawn_and_the_rest_counted);
    tcase_add_test(data, a_difference_within_the_tolerance_stays_pale);
    suite_add_tcase(suite, data);
    TCase *around = tcase_create("surroundings");
    tcase_add_test(around, numbers_have_a_point_in_every_locale);
    tcase_add_test(around, nothing_is_written_unasked);
    tcase_add_test(around, a_file_that_can_not_be_written_is_an_error);
    suite_add_tcase(suite, around);
    return suite;
}
