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

#include <stddef.h>

/* The values of all options, to be freed; NULL: out of memory. Options without a value (a NULL text, a number below
 * its range) are left out. */
char *config_text(const option *options, int count);

/* Sets the options that text[size + 1] names, which ends with a NUL; `name` stands for it in messages. The text is
 * overwritten and must live as long as the options. The words' array, NULL before, is to be freed. False after a line
 * on stderr. */
bool config_apply(const char *program, const char *name, char *text, size_t size, const option *options, int count);

#endif
