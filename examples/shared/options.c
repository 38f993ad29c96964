/* SPDX-License-Identifier: MIT
 *
 * options.c - see options.h.
 */
#include "examples/shared/options.h"
#include "attngrad.h"

#include "examples/shared/program.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_WIDTH = 79, HELP_COLUMN = 23 }; /* of a line, and where the options' texts begin */

/* Prints words from `indent` on, in lines of at most HELP_WIDTH columns that begin at `indent`. */
static void print_wrapped(const char *text, int indent)
{
    int column = indent;
    for (const char *word = text; *word != '\0';) {
        int length = (int)strcspn(word, " ");
        if (column > indent && column + 1 + length > HELP_WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        column += printf("%s%.*s", column > indent ? " " : "", length, word);
        word += length + (word[length] == ' ');
    }
    putchar('\n');
}

static void print_help(const char *program, const char *about, const option *options, int count)
{
    printf("usage: %s [options]", program);
    for (int i = 0; i < count; i++)
        if (options[i].kind == OPTION_WORDS)
            printf(" %s", options[i].name);
    printf("\n\n");
    print_wrapped(about, 0);
    if (count == 0 || options[0].kind != OPTION_HEADING)
        printf("\noptions:\n");
    for (int i = 0; i < count; i++) {
        char left[64];
        if (options[i].kind == OPTION_HEADING)
            printf("\n%s:\n", options[i].name);
        if (options[i].kind == OPTION_HEADING || options[i].kind == OPTION_EXAMPLE)
            continue;
        snprintf(left, sizeof left, "%s %s", options[i].name, options[i].value != NULL ? options[i].value : "");
        printf("  %-*s ", HELP_COLUMN - 3, left);
        print_wrapped(options[i].help, HELP_COLUMN);
    }
    printf("  %-*s this text\n", HELP_COLUMN - 3, "--help");
    for (int i = 0; i < count; i++)
        if (options[i].kind == OPTION_EXAMPLE) {
            if (options[i - 1].kind != OPTION_EXAMPLE)
                printf("\nexamples:\n");
            printf("  %s\n      ", options[i].name);
            print_wrapped(options[i].help, 6);
        }
}

/* ---- Names ---- */

static int least(int a, int b)
{
    return a < b ? a : b;
}

int option_distance(const char *a, const char *b)
{
    enum { LONGEST = 40, FAR = 99 };
    int row[3][LONGEST + 1], m = (int)strlen(a), n = (int)strlen(b);
    if (m > LONGEST || n > LONGEST)
        return FAR;
    for (int i = 0; i <= m; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
        for (int j = 0; j <= n; j++) {
            now[j] = i == 0   ? j
                     : j == 0 ? i
                              : least(before[j - 1] + (a[i - 1] != b[j - 1]), 1 + least(before[j], now[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return row[m % 3][n];
}

/* Whether `name` is so near to `typed` that it may have been meant, and nearer than *distance, which it then lowers. */
static bool is_near(const char *typed, const char *name, int *distance)
{
    int d = option_distance(typed, name), third = (int)strlen(name) / 3;
    bool near = d < *distance && d <= (third < 2 ? 2 : third);
    if (near)
        *distance = d;
    return near;
}

/* What takes the arguments that are no option; NULL: nothing does. */
static const option *find_words(const option *options, int count)
{
    for (int i = 0; i < count; i++)
        if (options[i].kind == OPTION_WORDS)
            return &options[i];
    return NULL;
}

/* The option that `arg` names, *value after its equals sign (NULL: there is none), *negated for --no-NAME of a flag;
 * NULL: no such option. */
static const option *find(const option *options, int count, const char *arg, const char **value, bool *negated)
{
    if (arg[0] != '-' || arg[1] == '\0')
        return find_words(options, count);
    for (int i = 0; i < count; i++) {
        if (options[i].kind >= OPTION_WORDS)
            continue;
        size_t length = strlen(options[i].name);
        *negated = options[i].kind == OPTION_FLAG && strncmp(arg, "--no-", 5) == 0 &&
                   strcmp(arg + 5, options[i].name + 2) == 0;
        if (*negated)
            return &options[i];
        if (strncmp(arg, options[i].name, length) != 0 || (arg[length] != '\0' && arg[length] != '='))
            continue;
        *value = arg[length] == '=' ? arg + length + 1 : NULL;
        return &options[i];
    }
    return NULL;
}

int option_unknown(const char *program, const option *options, int count, const char *typed)
{
    const char *nearest = NULL;
    char name[40];
    int distance = INT_MAX;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
    for (int i = 0; i < count; i++)
        if (options[i].kind < OPTION_WORDS && is_near(name, options[i].name, &distance))
            nearest = options[i].name;
    fprintf(stderr, "%s: unknown %s '%s'; ", program, typed[0] == '-' ? "option" : "argument", typed);
    fprintf(stderr, nearest == NULL ? "try --help\n" : "did you mean %s?\n", nearest);
    return OPTIONS_WRONG;
}

/* ---- Values ---- */

static bool parse_number(const char *text, uint64_t *number)
{
    if (text[0] < '0' || text[0] > '9') /* strtoull accepts a sign and spaces */
        return false;
    char *end = NULL;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool parse_real(const char *text, double *number)
{
    char *end = NULL;
    *number = ag_strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*number) && *number >= 0;
}

static bool set_choice(const char *program, const option *o, const char *value)
{
    const char *nearest = NULL;
    int distance = INT_MAX;
    for (int i = 0; o->words[i] != NULL; i++) {
        if (strcmp(value, o->words[i]) == 0) {
            *(int *)o->target = i;
            return true;
        }
        if (is_near(value, o->words[i], &distance))
            nearest = o->words[i];
    }
    fprintf(stderr, "%s: %s is '%s', must be one of:", program, o->name, value);
    for (int i = 0; o->words[i] != NULL; i++)
        fprintf(stderr, " %s", o->words[i]);
    fprintf(stderr, nearest == NULL ? "\n" : "; did you mean %s?\n", nearest);
    return false;
}

static bool in_range(const char *program, const option *o, double value, const char *text)
{
    if (o->most == 0 || (value >= o->least && value <= o->most))
        return true;
    ag_fprintf(stderr, o->least == o->most ? "%s: %s is %s, must be %.10g\n" : "%s: %s is %s, must be %.10g to %.10g\n",
               program, o->name, text, o->least, o->most);
    return false;
}

bool option_set(const char *program, const option *o, const char *value)
{
    if (o->kind == OPTION_FLAG) {
        *(bool *)o->target = value == NULL;
        return true;
    }
    if (o->kind == OPTION_CHOICE)
        return set_choice(program, o, value);
    if (o->kind == OPTION_REAL) {
        if (parse_real(value, o->target))
            return in_range(program, o, *(double *)o->target, value);
        fprintf(stderr, "%s: %s is '%s', which is not a number of 0 or more\n", program, o->name, value);
        return false;
    }
    if (o->kind == OPTION_NUMBER) {
        if (parse_number(value, o->target))
            return in_range(program, o, (double)*(uint64_t *)o->target, value);
        fprintf(stderr, "%s: %s is '%s', which is not a whole number from 0 to 2^64 - 1\n", program, o->name, value);
        return false;
    }
    *(const char **)o->target = value;
    return true;
}

int options_read(const char *program, const char *about, const option *options, int count, int argc, char **argv)
{
    program_streams(program);
    bool over = false; /* the options, by an argument -- */
    for (int i = 1; i < argc; i++) {
        if (!over && strcmp(argv[i], "--") == 0) {
            over = true;
            continue;
        }
        if (!over && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(program, about, options, count);
            return OPTIONS_HELP_SHOWN;
        }
        const char *value = NULL;
        bool negated = false;
        const option *o = over ? find_words(options, count) : find(options, count, argv[i], &value, &negated);
        if (o == NULL)
            return option_unknown(program, options, count, argv[i]);
        if (o->kind == OPTION_WORDS) {
            option_words *words = o->target;
            words->word = argv + 1;
            words->word[words->count++] = argv[i]; /* a place of argv that has been read */
            continue;
        }
        if (o->kind == OPTION_FLAG) {
            if (value == NULL && option_set(program, o, negated ? "no" : NULL))
                continue;
            fprintf(stderr, "%s: %s takes no value, it was given '%s'\n", program, o->name, value);
            return OPTIONS_WRONG;
        }
        bool optional = o->value[0] == '[';
        if (optional && value == NULL && (i + 1 == argc || argv[i + 1][0] == '-')) {
            *(const char **)o->target = "";
            continue;
        }
        if (value == NULL && i + 1 < argc)
            value = argv[++i];
        if (value == NULL || (value[0] == '\0' && o->kind != OPTION_PROSE)) {
            fprintf(stderr, "%s: %s needs a value: %s\n", program, o->name, o->value);
            return OPTIONS_WRONG;
        }
        if (!option_set(program, o, value))
            return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}
