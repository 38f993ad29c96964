/* SPDX-License-Identifier: MIT
 *
 * lm_command.h - commands: the beginning and the end of one with a trained model, and one as the shell reads it.
 */
#ifndef EXAMPLES_LM_COMMAND_H
#define EXAMPLES_LM_COMMAND_H

#include "examples/lm/lm_model.h"

/* For a command that needs a trained model: its context, and the model that `where` means (folder_model). False after a
 * line on stderr. To be ended in any case: command_end frees both and returns the exit status. */
bool command_begin(lm_model *model, const char *command, const char *where, uint64_t threads);
int command_end(lm_model *model, bool good);

/* Prints a command that the shell reads as these words; the first is the program as it was called. */
void command_print(FILE *file, const char *const *words);
void command_called_as(const char *program);

#endif
