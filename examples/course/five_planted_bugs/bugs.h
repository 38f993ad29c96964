/* SPDX-License-Identifier: MIT
 *
 * bugs.h - the five functions of chapter 12 with their planted backward passes: bugs.c, which is what to read.
 */
#ifndef COURSE_BUGS_H
#define COURSE_BUGS_H

#include "attngrad.h"

enum { T = 3, D = 4, N = T * D, INPUTS = 3, BUGS = 5 };

typedef struct planted {
    const char *name;
    ag_array_function f;       /* its output is [T,D] */
    const char *input[INPUTS]; /* names; NULL: no such input */
    int rows[INPUTS];          /* of [rows,D] */
} planted;

extern const planted bugs[BUGS];

#endif
