/* SPDX-License-Identifier: MIT
 *
 * lm_processes.c - see lm_processes.h: one process.
 */
#include "examples/lm/lm_processes.h"

bool processes_begin(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return true;
}

int64_t processes_count(void) { return 1; }

uint64_t processes_threads(void) { return 0; }

const ag_processes *processes_join(led_run *led, volatile const sig_atomic_t *stop)
{
    (void)led;
    (void)stop;
    return NULL;
}

bool processes_agree(const ag_processes *link, bool *go_on)
{
    (void)link;
    (void)go_on;
    return true;
}

int processes_end(int status) { return status; }
