/* SPDX-License-Identifier: MIT
 *
 * check_exercises.c - the judge of the exercises: the solutions of answers.c pass, and each typical mistake fails with
 * a hint of its own. That every stub fails is in tests/examples/check_exercises.sh.
 */
#include "examples/exercises/judge.h"
#include "tests/exercises/answers.h"
#include "tests/test.h"

#include <string.h>

/* Mistake `number` of answers.c, and words of the hint for it. */
typedef struct typical_mistake {
    const exercise *of;
    int number;
    const char *words;
} typical_mistake;

static const typical_mistake mistakes[] = {
#define MISTAKE(name, number, words) { &exercise_##name, number, words },
#include "tests/exercises/mistakes.def"
#undef MISTAKE
};
enum { MISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(solutions_are_right)
{
    const exercise *e = exercise_numbered(_i);
    mistake_number = 0;
    judgement j = judge_exercise(e, NULL);
    ck_assert_msg(j.right && j.hint == NULL, "%s: %s: %s", e->name, j.place, j.hint);
}
END_TEST

START_TEST(mistakes_have_hints)
{
    const typical_mistake *m = &mistakes[_i];
    mistake_number = m->number;
    judgement j = judge_exercise(m->of, NULL);
    ck_assert_msg(!j.right, "%s, mistake %d: right", m->of->name, m->number);
    ck_assert_msg(strstr(j.hint, m->words) != NULL, "%s, mistake %d: %s: %s", m->of->name, m->number, j.place, j.hint);
    ck_assert_msg(strstr(j.place, "must be") != NULL, "%s, mistake %d: %s", m->of->name, m->number, j.place);
}
END_TEST

/* Three at least for each exercise, and no two with the same hint. */
START_TEST(hints_differ)
{
    const exercise *e = exercise_numbered(_i);
    const char *hints[MISTAKES];
    int count = 0;
    for (int i = 0; i < MISTAKES; i++)
        if (mistakes[i].of == e) {
            mistake_number = mistakes[i].number;
            hints[count] = judge_exercise(e, NULL).hint;
            for (int k = 0; k < count; k++)
                ck_assert_msg(strcmp(hints[k], hints[count]) != 0, "%s: two mistakes, one hint: %s", e->name, hints[k]);
            count++;
        }
    ck_assert_msg(count >= 3, "%s has %d mistakes", e->name, count);
}
END_TEST

START_TEST(exercises_are_numbered)
{
    const exercise *e = exercise_numbered(_i);
    ck_assert_int_eq(exercise_number(e), _i);
    for (int i = 0; i < EXERCISE_USES && e->uses[i] != NULL; i++)
        ck_assert_int_lt(exercise_number(e->uses[i]), _i);
    ck_assert(exercise_numbered(0) == NULL && exercise_numbered(exercise_count() + 1) == NULL);
}
END_TEST

Suite *exercises_suite(void)
{
    Suite *s = suite_create("exercises");
    TCase *c = tcase_create("exercises");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, solutions_are_right, 1, exercise_count() + 1);
    tcase_add_loop_test(c, mistakes_have_hints, 0, MISTAKES);
    tcase_add_loop_test(c, hints_differ, 1, exercise_count() + 1);
    tcase_add_loop_test(c, exercises_are_numbered, 1, exercise_count() + 1);
    suite_add_tcase(s, c);
    return s;
}
