/* SPDX-License-Identifier: MIT
 *
 * options.c - see options.h.
 */
#include "examples/shared/options.h"
#include "attngrad.h"

#include "examples/shared/program.h"

#include <errno.h>
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
    printf("\noptions:\n");
    for (int i = 0; i < count; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", options[i].name, options[i].value != NULL ? options[i].value : "");
        printf("  %-*s ", HELP_COLUMN - 3, left);
        print_wrapped(options[i].help, HELP_COLUMN);
    }
    printf("  %-*s this text\n", HELP_COLUMN - 3, "--help");
}

/* The option that `arg` names, *value after its equals sign (NULL: there is none); NULL: no such option. */
static const option *find(const option *options, int count, const char *arg, const char **value)
{
    for (int i = 0; i < count; i++) {
        if (options[i].kind == OPTION_WORDS && arg[0] != '-')
            return &options[i];
        size_t length = strlen(options[i].name);
        if (strncmp(arg, options[i].name, length) != 0 || (arg[length] != '\0' && arg[length] != '='))
            continue;
        *value = arg[length] == '=' ? arg + length + 1 : NULL;
        return &options[i];
    }
    return NULL;
}

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

int options_read(const char *program, const char *about, const option *options, int count, int argc, char **argv)
{
    program_streams(program);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(program, about, options, count);
            return OPTIONS_HELP_SHOWN;
        }
        const char *value = NULL;
        const option *found = find(options, count, argv[i], &value);
        if (found == NULL) {
            fprintf(stderr, "%s: unknown %s '%s'; try --help\n", program, argv[i][0] == '-' ? "option" : "argument",
                    argv[i]);
            return OPTIONS_WRONG;
        }
        if (found->kind == OPTION_WORDS) {
            option_words *words = found->target;
            words->word = argv + 1;
            words->word[words->count++] = argv[i]; /* a place of argv that has been read */
            continue;
        }
        if (found->kind == OPTION_FLAG && value == NULL) {
            *(bool *)found->target = true;
            continue;
        }
        if (found->kind == OPTION_FLAG) {
            fprintf(stderr, "%s: %s takes no value, it was given '%s'\n", program, found->name, value);
            return OPTIONS_WRONG;
        }
        bool optional = found->value[0] == '[';
        if (optional && value == NULL && (i + 1 == argc || argv[i + 1][0] == '-')) {
            *(const char **)found->target = "";
            continue;
        }
        if (value == NULL && i + 1 < argc)
            value = argv[++i];
        if (value == NULL || (value[0] == '\0' && found->kind != OPTION_PROSE)) {
            fprintf(stderr, "%s: %s needs a value: %s\n", program, found->name, found->value);
            return OPTIONS_WRONG;
        }
        if (found->kind == OPTION_TEXT || found->kind == OPTION_PROSE) {
            *(const char **)found->target = value;
        } else if (found->kind == OPTION_REAL) {
            if (!parse_real(value, found->target)) {
                fprintf(stderr, "%s: %s is '%s', which is not a number of 0 or more\n", program, found->name, value);
                return OPTIONS_WRONG;
            }
        } else if (!parse_number(value, found->target)) {
            fprintf(stderr, "%s: %s is '%s', which is not a whole number from 0 to 2^64 - 1\n", program, found->name,
                    value);
            return OPTIONS_WRONG;
        }
    }
    return OPTIONS_RUN;
}
