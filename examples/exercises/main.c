/* SPDX-License-Identifier: MIT
 *
 * main.c - `exercises N` judges exercise N: the function that is linked, which is the student's in what
 * `make exercise N=` builds and the stub in build/.../examples/exercises. Exit status 0: right, 1: not yet.
 */
#include "examples/exercises/judge.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 80, SECONDS = 60 };

/* Prints the text behind `head`, in lines of at most COLUMNS columns. */
static void print_lines(const char *head, const char *text)
{
    size_t column = strlen(head);
    fputs(head, stdout);
    while (*text != '\0') {
        size_t word = strcspn(text, " "), gap = strspn(text + word, " ");
        if (column + word > COLUMNS) {
            fputs("\n    ", stdout);
            column = 4;
        }
        printf("%.*s%s", (int)word, text, gap > 0 ? " " : "");
        column += word + (gap > 0);
        text += word + gap;
    }
    putchar('\n');
}

static void print_list(void)
{
    for (int n = 1; n <= exercise_count(); n++)
        printf("%2d  %s\n", n, exercise_numbered(n)->name);
}

/* Whether the exercises whose functions a solution of e calls are right; says which is not. */
static bool uses_are_right(const exercise *e)
{
    for (int i = 0; i < EXERCISE_USES && e->uses[i] != NULL; i++)
        if (!judge_exercise(e->uses[i], NULL).right) {
            printf("Exercise %d, %s, builds on exercise %d, %s, which is not right yet.\nFirst: make exercise N=%d\n",
                   exercise_number(e), e->name, exercise_number(e->uses[i]), e->uses[i]->name,
                   exercise_number(e->uses[i]));
            return false;
        }
    return true;
}

static int judge_and_say(const exercise *e, bool explain)
{
    int number = exercise_number(e);
    const exercise *next = exercise_numbered(number + 1);
    if (!uses_are_right(e))
        return 1;
    judgement j = judge_exercise(e, explain ? stdout : NULL);
    printf("%sExercise %d, %s: %s.\n", explain ? "\n" : "", number, e->name, j.right ? "right" : "not yet");
    print_lines(j.right ? "Checked: " : "Found: ", j.place);
    print_lines(j.right ? "Shown: " : "Hint: ", j.right ? e->shows : j.hint);
    if (j.right && next != NULL)
        printf("Next: make exercise N=%d (%s)\n", number + 1, next->name);
    else if (j.right)
        puts("That was the last one.");
    return j.right ? 0 : 1;
}

int main(int argc, char **argv)
{
    program_streams("exercises");
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: exercises [N [--explain]]\n\nJudges the function of exercise N; without N: lists the exercises.\n"
             "--explain: the gradient checker's report too, which may say the solution.");
        return 0;
    }
    if (argc == 1) {
        print_list();
        return 0;
    }
    char *end;
    long number = strtol(argv[1], &end, 10);
    bool exists = *end == '\0' && number >= 1 && number <= exercise_count();
    const exercise *e = exists ? exercise_numbered((int)number) : NULL;
    bool explain = argc == 3 && strcmp(argv[2], "--explain") == 0;
    if (e == NULL || argc > 3 || (argc == 3 && !explain)) {
        const char *word = argv[e == NULL ? 1 : argc - 1];
        fprintf(stderr, "exercises: unknown %s '%s'; try --help\n", word[0] == '-' ? "option" : "exercise", word);
        return 2;
    }
    system_guard(SECONDS, /* the student's function may do anything */
                 "\nYour function crashed. Hint: an index far outside an array, or a pointer that is not set.\n",
                 "\nYour function does not come back. Hint: does every loop's counter reach its end?\n");
    return judge_and_say(e, explain);
}
