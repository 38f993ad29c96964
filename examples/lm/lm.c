/* SPDX-License-Identifier: MIT
 *
 * lm.c - a toy causal language model: `lm train` trains on a text, `lm sample` continues a prompt.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_processes.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} command[] = {
    { "train", lm_train_command, "train a model" },
    { "finetune", lm_finetune_command, "go on with another text" },
    { "sample", lm_sample_command, "continue a prompt with it" },
    { "eval", lm_eval_command, "how well it predicts a text" },
    { "inspect", lm_inspect_command, "its parameters, attention, embeddings" },
    { "tokenize", lm_tokenize_command, "texts as token ids and back" },
    { "export", lm_export_command, "write it for the transformers package" },
};
enum { COMMANDS = (int)(sizeof command / sizeof *command) };

static int usage(FILE *file, int status)
{
    program_streams("lm");
    fputs("usage: lm COMMAND [options]; lm COMMAND --help says more\n\n", file);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-8s  %s\n", command[i].name, command[i].what);
    return status;
}

static int run_command(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr, OPTIONS_WRONG);
    command_called_as(argv[0]);
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], command[i].name) == 0)
            return command[i].run(argc - 1, argv + 1);
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout, EXIT_SUCCESS);
    const char *nearest = command[0].name;
    for (int i = 1; i < COMMANDS; i++)
        if (option_distance(argv[1], command[i].name) < option_distance(argv[1], nearest))
            nearest = command[i].name;
    if (option_distance(argv[1], nearest) <= 2)
        fprintf(stderr, "lm: unknown command '%s'; did you mean lm %s?\n", argv[1], nearest);
    else
        fprintf(stderr, "lm: unknown command '%s'; try lm --help\n", argv[1]);
    return OPTIONS_WRONG;
}

int main(int argc, char **argv)
{
    return processes_end(processes_begin(&argc, &argv) ? run_command(argc, argv) : lm_train_led());
}
