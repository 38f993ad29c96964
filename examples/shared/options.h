/* SPDX-License-Identifier: MIT
 *
 * options.h - the command line of the small example programs: a table of options, --help made from it.
 *
 * `--name value` and `--name=value` are both read; other arguments are words, for programs that take them. A wrong line
 * is answered in one line on stderr.
 */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_RUN = -1, OPTIONS_HELP_SHOWN = 0, OPTIONS_WRONG = 2 }; /* the last two are exit statuses */

typedef enum option_kind {
    OPTION_FLAG,  /* bool *, set to true; takes no value */
    OPTION_TEXT,  /* const char **, points into argv */
    OPTION_NUMBER, /* uint64_t *, decimal */
    OPTION_REAL,   /* double *, finite and not negative */
    OPTION_WORDS   /* option_words *, the arguments that are no option; named as usage shows them: "[NAME...]" */
} option_kind;

typedef struct option_words {
    char **word; /* argv, whose order changes */
    int count;
} option_words;

typedef struct option {
    const char *name;  /* "--seed" */
    option_kind kind;
    void *target;
    const char *value; /* what --help calls the value: "N"; "[N]": may be left out, then it is ""; NULL for a flag */
    const char *help;  /* one line; its default in brackets at the end */
} option;

/* Reads argv into the targets. `about` is what --help says the program does. Returns OPTIONS_RUN, or the status
 * to exit with: OPTIONS_HELP_SHOWN after --help, OPTIONS_WRONG after an error message. */
int options_read(const char *program, const char *about, const option *options, int count, int argc, char **argv);

#endif
