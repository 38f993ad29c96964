/* SPDX-License-Identifier: MIT
 *
 * program.h - how the small example programs begin and end: a context, and an exit status that tells the truth.
 */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include "attngrad.h"

/* A context with this seed and so many threads (0: all cores); NULL with a message when there is none. */
AG_OWNED ag_ctx *program_context(const char *program, uint64_t seed, uint64_t threads);

/* The same with all cores; exits with 1 when there is none. */
AG_OWNED ag_ctx *program_begin(const char *program, uint64_t seed);

/* Whether a file can be written there, to be asked before work that takes long; if not, says why on stderr. A file that
 * was not there is not left behind. */
bool program_can_write(const char *program, const char *path);

/* Frees the context. Returns the status to exit with: 0 when `good` holds, no error stands on the context, no tensor
 * is still held and all output was written; else 1, with the reason on stderr. */
int program_end(const char *program, AG_TAKES ag_ctx *ctx, bool good);

#endif
