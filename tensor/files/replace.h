/* SPDX-License-Identifier: MIT
 *
 * replace.h - writing a file so that at every moment either the old or the new content stands at its path (private
 * header).
 */
#ifndef AG_REPLACE_H
#define AG_REPLACE_H

#include <stdbool.h>
#include <stdio.h>

enum { AG_PATH_BYTES = 4096 };

typedef struct ag_replacement {
    FILE *file;                    /* to write to */
    char target[AG_PATH_BYTES];    /* the path, symbolic links followed */
    char temporary[AG_PATH_BYTES]; /* the new file's name until it is complete: "<target>.tmp"; "": the target is a pipe
                                    * or a device, which is written itself */
} ag_replacement;

/* Opens r->file; false with errno set when it can not be opened. */
bool ag_replace_begin(ag_replacement *r, const char *path);

/* Closes the file. If `good`, the file replaces the target and takes over its mode and, if allowed, its owner; on POSIX
 * systems its data is on disk before. If not `good`, or after an error, the file is removed, and the target is as it
 * was. Returns whether the target was replaced; errno has the reason, or for `good` false what the caller's writing
 * left in it. A process that is killed leaves the old or the new target, and possibly the temporary file. */
bool ag_replace_end(ag_replacement *r, bool good);

#endif
