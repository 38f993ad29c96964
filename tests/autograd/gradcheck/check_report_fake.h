/* SPDX-License-Identifier: MIT
 *
 * check_report_fake.h - a gradient check that a test fills in itself, and its report as a string.
 */
#ifndef TESTS_CHECK_REPORT_FAKE_H
#define TESTS_CHECK_REPORT_FAKE_H

#include "tests/test.h"

#include "autograd/gradcheck/gradcheck_impl.h"

enum { INPUTS_MAX = 12, FORM_BYTES = 1 << 22 };

typedef enum form { TEXT, JSON, HTML } form;

/* A check of inputs added one by one, whose one output is [4,2], and its result. */
typedef struct fake {
    ag_check check;
    ag_check_input input[INPUTS_MAX];
    ag_check_output output;
    ag_gradcheck_result result;
} fake;

void fake_begin(fake *f, const char *name, ag_verdict verdict);
void fake_end(fake *f);

/* A new input: a numeric gradient of different numbers, none of them 0, and the analytic one equal to it. */
ag_check_input *fake_input(fake *f, const char *name, int ndim, const int64_t *shape, ag_verdict verdict,
                           ag_cause cause);
/* Makes an element of an input wrong and the worst. */
void fake_spoil(ag_check_input *in, int64_t i, double analytic);
/* The result from what was found, the last input being the worst. */
void fake_settle(fake *f);

/* Begins one of four inputs of which one was not checked, a pass among them, and everything a failure can say. */
void fake_failure(fake *f);

/* Names with all that a form must escape, and that no line holds. */
extern const char fake_hostile[], fake_endless[];

/* What is written, until the next call; and how often it has a part. */
char *fake_written(fake *f, form which);
int fake_count(const char *text, const char *part);

#define assert_has(text, part) ck_assert_msg(strstr(text, part) != NULL, "no '%s' in:\n%.3000s", part, text)
#define assert_has_not(text, part) ck_assert_msg(strstr(text, part) == NULL, "'%s' in:\n%.3000s", part, text)

#endif
