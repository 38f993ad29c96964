/* SPDX-License-Identifier: MIT
 *
 * check_report_json.c - the gradient checker's report as JSON, of checks that these tests fill in themselves, parsed
 * back.
 */
#include "tests/autograd/gradcheck/check_report_fake.h"

#include "tensor/files/json.h"

#include <stdlib.h>
#include <string.h>

/* The next value is a number, or one of the strings that stand for those that are not finite. */
static double next_number(ag_json *json)
{
    char *end;
    if (json->text[json->at] == '"')
        return ag_strtod(ag_json_string(json), NULL);
    ck_assert_msg(strchr("-0123456789", json->text[json->at]) != NULL, "no number at %.20s", json->text + json->at);
    double value = ag_strtod(json->text + json->at, &end);
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
    fake_failure(&f);
    ag_check_input *worst = &f.input[3];
    worst->analytic[0] = (double)NAN;
    worst->numeric[0] = (double)-INFINITY;
    worst->analytic[1] = 0.1;
    worst->numeric[1] = 1.0 / 3;
    worst->numeric[2] = -4.9e-324;
    worst->found.max_error = f.result.max_error = (double)INFINITY;
    char *text = fake_written(&f, JSON);
    ck_assert_int_eq(fake_count(text, "\n"), 1);
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
    assert_has(fake_written(&f, JSON), "\"analytic_gradient\":[\"nan\",0.1,-0.502,");
    assert_has(fake_written(&f, JSON), "\"numeric_gradient\":[\"-inf\",0.3333333333333333,");
    fake_end(&f);
}
END_TEST

START_TEST(json_of_a_pass_has_no_op)
{
    fake f;
    fake_begin(&f, fake_hostile, AG_PASS);
    ag_check_input *in = fake_input(&f, fake_endless, 1, (int64_t[]){ 4097 }, AG_PASS, AG_CAUSE_NONE);
    in->found.index = -1;
    fake_settle(&f);
    char *text = fake_written(&f, JSON);
    assert_has(text, "\"input\":0,\"op\":null,\"path\":null,\"node\":null,\"op_input\":null,\"inputs\":[{");
    assert_has(text, "\"index\":null,");
    assert_has_not(text, "_gradient"); /* of more than 4096 elements */
    ag_json json = ag_json_of(text, strlen(text));
    ck_assert(ag_json_begin(&json, '{'));
    assert_string(&json, "name", "<b>\"x\" & 'y'\\ \033[2J\n\x7f \xc3\xa9\xe2\x82\xac \xef\xbf\xbd</b>");
    in->numel = 4096;
    assert_has(fake_written(&f, JSON), "_gradient");
    fake_end(&f);
}
END_TEST

Suite *report_json_suite(void)
{
    Suite *suite = suite_create("report_json");
    TCase *tcase = tcase_create("report_json");
    tcase_add_test(tcase, json_gives_everything_back);
    tcase_add_test(tcase, json_of_a_pass_has_no_op);
    suite_add_tcase(suite, tcase);
    return suite;
}
