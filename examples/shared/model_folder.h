/* SPDX-License-Identifier: MIT
 *
 * model_folder.h - a model's folder of the transformers package: checked, and written anew for other weights.
 *
 * Functions that return false have written one line to stderr.
 */
#ifndef EXAMPLES_MODEL_FOLDER_H
#define EXAMPLES_MODEL_FOLDER_H

#include <stdbool.h>

enum { MODEL_PATH = 1024 };

/* folder/name. */
bool model_folder_path(const char *program, char path[MODEL_PATH], const char *folder, const char *name);

/* False when there is no such folder, or it is a run of lm. */
bool model_folder_check(const char *program, const char *folder);

/* Makes the folder `to` if it is missing. False when it is `from` or holds a model, or when model_folder_check refuses
 * `from`. */
bool model_folder_begin(const char *program, const char *from, const char *to);

/* Copies the tokenizer's files and generation_config.json, as many as there are. */
bool model_folder_copy(const char *program, const char *from, const char *to);

/* Copies config.json, with float32 for the weights' type. The last file, without which no program reads the folder. */
bool model_folder_end(const char *program, const char *from, const char *to);

#endif
