/* SPDX-License-Identifier: MIT
 *
 * lm_processes.h - the processes that train a run together. `make mpi=1` builds lm with mpi/lm_mpi.c, whose processes
 * mpirun starts; every other lm has lm_processes.c, which is for one process.
 *
 * Process 0 leads: it alone reads the command line, prints, and writes files. The others are led: each waits for a run,
 * loads the run's checkpoint, and makes the same steps. A command without a run is process 0's alone.
 */
#ifndef EXAMPLES_LM_PROCESSES_H
#define EXAMPLES_LM_PROCESSES_H

#include "examples/lm/lm_folder.h"

#include "attngrad.h"

#include <signal.h>

/* To be called first. False in a led process. */
bool processes_begin(int *argc, char ***argv);
int64_t processes_count(void);

/* The threads that each process should have when the user does not say: 0 for all cores. */
uint64_t processes_threads(void);

/* What process 0 tells the others of a run. */
typedef struct led_run {
    char folder[RUN_PATH];
    char *config; /* the settings as JSON; of a led process to be freed */
    uint64_t threads; /* of each process */
} led_run;

/* Begins a run that all processes train. Process 0 fills in `led`, the others get it; NULL, without a line, when there
 * is no run or no other process. Warns of threads that share a processor. A wait for other processes ends soon after
 * *stop is set. */
const ag_processes *processes_join(led_run *led, volatile const sig_atomic_t *stop);

/* Before each step: *go_on becomes false when it is false in one process. False when a process can not be reached. */
bool processes_agree(const ag_processes *link, bool *go_on);

/* To be called last, with the exit status, which it returns. After an error that the others do not know of, ends them
 * too. */
int processes_end(int status);

#endif
