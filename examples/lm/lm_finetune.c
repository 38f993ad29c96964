/* SPDX-License-Identifier: MIT
 *
 * lm_finetune.c - `lm finetune`: `lm train` that begins with the newest run's best model, at a lower learning rate.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_run.h"

#include <stdlib.h>
#include <string.h>

int lm_finetune_command(int argc, char **argv)
{
    static char lr[] = "--lr", rate[] = "1e-3", from[] = "--from";
    char path[RUN_PATH], **all = calloc((size_t)argc + 5, sizeof *all);
    bool said = false;
    int count = 0;
    if (all == NULL)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++)
        said = said || strncmp(argv[i], from, strlen(from)) == 0 || strcmp(argv[i], "--help") == 0;
    all[count++] = argv[0];
    all[count++] = lr; /* what argv says comes later and wins */
    all[count++] = rate;
    int status = EXIT_FAILURE;
    if (said || run_model("", path)) {
        if (!said) {
            all[count++] = from;
            all[count++] = path;
        }
        memcpy(all + count, argv + 1, (size_t)(argc - 1) * sizeof *all);
        status = lm_train_command(count + argc - 1, all);
    }
    free(all);
    return status;
}
