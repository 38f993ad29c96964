/* SPDX-License-Identifier: MIT
 *
 * lm_command.c - see lm_command.h.
 */
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_folder.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

static const char *called_as = "lm";

bool command_begin(lm_model *model, const char *command, const char *where, uint64_t threads)
{
    char path[RUN_PATH];
    *model = (lm_model){ .ctx = program_context(command, 1, threads) };
    return model->ctx != NULL && folder_model(where, path) && model_load(model, path);
}

int command_end(lm_model *model, bool good)
{
    model_free(model);
    ag_ctx_free(model->ctx);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

void command_called_as(const char *program)
{
    called_as = program;
}

static void print_quoted(FILE *file, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
        fputs(word, file);
        return;
    }
    fputc('\'', file);
    for (; *word != '\0'; word++)
        fputs(*word == '\'' ? "'\\''" : (const char[]){ *word, '\0' }, file);
    fputc('\'', file);
}

void command_print(FILE *file, const char *const *words)
{
    print_quoted(file, called_as);
    for (; *words != NULL; words++) {
        fputc(' ', file);
        print_quoted(file, *words);
    }
}
