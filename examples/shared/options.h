/* SPDX-License-Identifier: MIT
 *
 * options.h - the command line of the example programs, read by a table of options from which --help is printed.
 *
 * `--name value` and `--name=value` are the same. Other arguments are words, for programs that take them; so are all
 * behind `--`, with a dash in front too. An error is one line on stderr.
 */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_RUN = -1, OPTIONS_HELP_SHOWN = 0, OPTIONS_WRONG = 2 }; /* the last two are exit statuses */

typedef enum option_kind {
    OPTION_FLAG,   /* bool *, set to true, by --no-NAME to false; takes no value */
    OPTION_TEXT,   /* const char **, points into argv; not empty */
    OPTION_PROSE,  /* the same, which may be empty */
    OPTION_CHOICE, /* int *, the index of one of `words` */
    OPTION_NUMBER, /* uint64_t *, decimal */
    OPTION_REAL,   /* double *, finite and not negative */
    OPTION_WORDS,  /* option_words *, the arguments that are no option; its name is for the usage line: "[NAME...]" */
    OPTION_HEADING, /* a line of --help above the options that follow */
    OPTION_EXAMPLE  /* a command, with its explanation as help: --help ends with them */
} option_kind;

typedef struct option_words {
    char **word; /* inside argv, whose order changes */
    int count;
} option_words;

typedef struct option {
    const char *name;  /* "--seed" */
    option_kind kind;
    void *target;
    const char *value; /* the value's name in --help: "N"; "[N]": optional, "" without; NULL for a flag */
    const char *help;  /* with range, and default in brackets at the end; --help wraps it */
    double least, most;       /* of a number; most 0: not checked */
    const char *const *words; /* of a choice, up to a NULL */
} option;

/* Calls program_streams and reads argv into the targets. `about` describes the program in --help, which wraps it.
 * Returns OPTIONS_RUN, or the exit status: OPTIONS_HELP_SHOWN after --help, OPTIONS_WRONG after an error message. */
int options_read(const char *program, const char *about, const option *options, int count, int argc, char **argv);

/* Gives an option its value. NULL for a flag: true. False after a line on stderr. */
bool option_set(const char *program, const option *o, const char *value);

/* Prints that there is no option or argument `typed`, with the option that may have been meant. Returns
 * OPTIONS_WRONG. */
int option_unknown(const char *program, const option *options, int count, const char *typed);

/* The number of insertions, deletions, changes and exchanges of neighbours between two names (the restricted
 * Damerau-Levenshtein distance); 99 for names of over 40 letters. */
int option_distance(const char *a, const char *b);

#endif
