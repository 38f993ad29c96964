/* SPDX-License-Identifier: MIT
 *
 * named_faults.h - checks a wrong backward, in double or in float, that must fail with its cause and with words that
 * say what to look for. For check_zoo.c and check_mistakes.c.
 */
#ifndef NAMED_FAULTS_H
#define NAMED_FAULTS_H

#include "examples/check_kernel/check_kernel.h"
#include "tests/test.h"

#include <string.h>

typedef struct named_fault {
    ag_array_function function[2]; /* double, float: a right forward and a wrong backward */
    const char *signature;
    ag_cause cause;
    const char *words; /* in the explanation */
} named_fault;

static inline void assert_named(const named_fault *f, int number, int single)
{
    const char *type = single == 0 ? "double" : "float";
    ag_gradcheck_result r = check_kernel_run(f->function[single], f->signature, NULL, (ag_gradcheck_config){ 0 });
    ck_assert_msg(r.verdict == AG_FAIL, "fault %d, %s: %s: %s", number, type, ag_verdict_name(r.verdict),
                  r.explanation);
    ck_assert_msg(r.worst.cause == f->cause && strstr(r.explanation, f->words) != NULL, "fault %d, %s: %s: %s", number,
                  type, ag_cause_name(r.worst.cause), r.explanation);
}

#endif
