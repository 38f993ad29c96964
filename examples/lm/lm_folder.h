/* SPDX-License-Identifier: MIT
 *
 * lm_folder.h - the folders of runs: the names of their files, their numbers in runs/, the newest of them.
 *
 *     config.json         the settings, for lm train --config
 *     log.csv             a row per report; samples.txt: what the model wrote on the way
 *     last.safetensors    a checkpoint: the run goes on from it with the same bits
 *     best.safetensors    the parameters with the lowest validation loss
 *     model.safetensors   a link to it, where the file system has links
 *     report.html         the run as a page, written last
 *     text.txt, val.txt   the text, where it came from a pipe
 *
 * Functions that return false have written one line to stderr, except folder_has.
 */
#ifndef EXAMPLES_LM_FOLDER_H
#define EXAMPLES_LM_FOLDER_H

#include <stdbool.h>

enum { RUN_PATH = 4096 };

#define FOLDER_RUNS "runs"
#define FOLDER_CONFIG "config.json"
#define FOLDER_LOG "log.csv"
#define FOLDER_SAMPLES "samples.txt"
#define FOLDER_LAST "last.safetensors"
#define FOLDER_BEST "best.safetensors"
#define FOLDER_MODEL "model.safetensors"
#define FOLDER_REPORT "report.html"
#define FOLDER_TEXT "text.txt"
#define FOLDER_VAL "val.txt"

/* folder/name. False when it is too long. */
bool folder_path(char path[RUN_PATH], const char *folder, const char *name);
bool folder_has(const char *folder, const char *name);

/* Makes each folder on the way to path. */
bool folder_make(const char *path);

/* Makes runs/N for the lowest N above all that are there. */
bool folder_make_next(char folder[RUN_PATH]);

/* The run in runs/ that was written to last. */
bool folder_newest(char folder[RUN_PATH]);

/* The model file that `where` means: a file; of a folder best.safetensors, or else last.safetensors, or else
 * model.safetensors; "": of the newest run in runs/. */
bool folder_model(const char *where, char path[RUN_PATH]);

/* Prints errno's message for this path; false. */
bool folder_error(const char *path);

#endif
