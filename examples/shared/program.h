/* SPDX-License-Identifier: MIT
 *
 * program.h - beginning and end of the example programs: streams, a context, an exit status that covers every error.
 */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include "attngrad.h"

/* Makes the program's end check its output: when stdout or stderr could not be written, the exit status is 1, with one
 * line on stderr unless the reader closed the pipe. Called first of all, before a file is opened; further calls do
 * nothing. */
void program_streams(const char *program);

/* A file opened as by fopen; NULL after one line on stderr. */
FILE *program_open(const char *program, const char *path, const char *mode);

/* Closes the file. False after one line on stderr when not all of it could be written. */
bool program_close(const char *program, FILE *file, const char *path);

/* The next line of a file without its end, or all that is left, with a NUL behind it; to be freed. *length is -1 when
 * no line is left. NULL, and *length -1, after one line on stderr that names the file. */
char *program_read(const char *program, FILE *file, const char *name, bool line, int64_t *length);

/* Whether reading has ended for another reason than an error; if not, says so of `name`. */
bool program_was_read(const char *program, FILE *file, const char *name);

/* A context with this seed and number of threads (0: all cores, or as many as a quota of processor time is worth), its
 * memory in huge pages (pages.h); NULL after a message on stderr. */
AG_OWNED ag_ctx *program_context(const char *program, uint64_t seed, uint64_t threads);

/* The same with all cores; exits with 1 after the message. */
AG_OWNED ag_ctx *program_begin(const char *program, uint64_t seed);

/* Whether a file can be written at path, for a check before long work; if not, the reason is on stderr. Leaves no new
 * file behind. */
bool program_can_write(const char *program, const char *path);

/* Frees the context. Returns the exit status: 0 if `good` is true, the context has no error and no tensor is left; else
 * 1, with the reason on stderr. */
int program_end(const char *program, AG_TAKES ag_ctx *ctx, bool good);

#endif
