/* SPDX-License-Identifier: MIT
 *
 * config.h - the values of options as a JSON object and back: {"steps": 2400, "ff": "swiglu", "files": ["a.txt"]}.
 *
 * A key is an option's name without the dashes; the words of the command line have the key "files". A byte that is not
 * UTF-8, as a path may have, is written as the lone surrogate U+DC00 + byte, as Python's surrogateescape has it.
 */
#ifndef EXAMPLES_CONFIG_H
#define EXAMPLES_CONFIG_H

#include "examples/shared/options.h"

/* The values of all options, to be freed; NULL: out of memory. Options without a value (a NULL text, a number below
 * its range) are left out. */
char *config_text(const option *options, int count);

/* Sets the options that the text names, which `name` stands for in messages. The text is overwritten and must live as
 * long as the options; the words' array is to be freed. False after a line on stderr. */
bool config_apply(const char *program, const char *name, char *text, const option *options, int count);

#endif
