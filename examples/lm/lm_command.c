/* SPDX-License-Identifier: MIT
 *
 * lm_command.c - see lm_command.h.
 */
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_folder.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

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

void command_print(FILE *file, const char *const *words)
{
    system_print_word(file, called_as);
    for (; *words != NULL; words++) {
        fputc(' ', file);
        system_print_word(file, *words);
    }
}
