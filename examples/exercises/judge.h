/* SPDX-License-Identifier: MIT
 *
 * judge.h - judges the functions of exercises.h, whoever has written them: the program links the student's. An exercise
 * has a right forward of its own. What a student's backward gives is compared with difference quotients of that by the
 * gradient checker; what a student's forward gives is compared with it directly.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "attngrad.h"

#include <stdbool.h>
#include <stdio.h>

/* Inputs x[..], outputs y[..]. `user` of an exercise's forward is a const int *: a typical mistake to make, 0: none. */
typedef void exercise_forward(const double *const *x, double *const *y, void *user);
typedef void exercise_backward(const double *const *x, const double *const *gy, double *const *gx, void *user);

/* What to say after a mistake. Applies when every condition that is set is met. */
typedef struct exercise_hint {
    int mistake;       /* the answer is that of `forward` with this mistake: its values, or (`input` set) its gradient,
                          or either */
    ag_cause cause;    /* what the checker found for `input`, or for any; for values, at those times scale */
    const char *input; /* NULL: any */
    const char *words; /* in the checker's explanation */
    const char *right; /* of values: this output is right, "p", or its first row is, "p[0]" */
    bool alone;        /* of gradients: `input` alone is wrong, whatever the cause */
    const char *text;
} exercise_hint;

enum { EXERCISE_HINTS = 16, EXERCISE_USES = 4 };

typedef struct exercise {
    const char *name;
    const char *signature;       /* "x[3,5] -> y[3,5]", see check_kernel.h */
    exercise_forward *forward;
    exercise_forward *answer;    /* calls the student's forward; NULL: none is asked for */
    exercise_backward *backward; /* calls the student's backward; NULL: none is asked for */
    double scale;                /* answer is compared at random inputs, then at others times scale; 0: there alone */
    const struct exercise *uses[EXERCISE_USES]; /* earlier exercises whose functions a solution calls */
    const char *start;           /* the hint for a function that computes nothing, or nothing known */
    exercise_hint hint[EXERCISE_HINTS]; /* the first that applies is said */
    const char *shows;           /* what a right answer has shown */
} exercise;

#define EXERCISE(name) extern const exercise exercise_##name;
#include "examples/exercises/exercises.def"
#undef EXERCISE

enum { JUDGEMENT_PLACE = 240 };

typedef struct judgement {
    bool right;
    const char *hint;            /* NULL when right */
    char place[JUDGEMENT_PLACE]; /* when wrong: the worst element, with both values; when right: what was compared */
} judgement;

int exercise_count(void);
const exercise *exercise_numbered(int number); /* from 1; NULL: there is none */
int exercise_number(const exercise *e);

/* explain: receives the checker's report; NULL: none. */
judgement judge_exercise(const exercise *e, FILE *explain);

#endif
