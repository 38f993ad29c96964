/* SPDX-License-Identifier: MIT
 *
 * program.c - see program.h.
 */
#include "examples/shared/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ag_ctx *program_context(const char *program, uint64_t seed, uint64_t threads)
{
    if (threads > AG_MAX_THREADS) {
        fprintf(stderr, "%s: --threads is %llu, must be at most %d\n", program, (unsigned long long)threads,
                AG_MAX_THREADS);
        return NULL;
    }
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = (int)threads });
    if (ctx == NULL)
        fprintf(stderr, "%s: no context: out of memory, or AG_ISA names what this machine does not run\n", program);
    return ctx;
}

ag_ctx *program_begin(const char *program, uint64_t seed)
{
    ag_ctx *ctx = program_context(program, seed, 0);
    if (ctx == NULL)
        exit(1);
    return ctx;
}

bool program_can_write(const char *program, const char *path)
{
    const bool there = access(path, F_OK) == 0;
    FILE *file = fopen(path, "ab");
    if (file == NULL)
        fprintf(stderr, "%s: %s: %s\n", program, path, strerror(errno));
    else if (fclose(file) == 0 && !there)
        remove(path);
    return file != NULL;
}

int program_end(const char *program, ag_ctx *ctx, bool good)
{
    if (ag_error(ctx) != AG_OK) {
        fprintf(stderr, "%s: %s\n", program, ag_error_message(ctx));
        good = false;
    }
    int64_t held = ag_ctx_free(ctx);
    if (held != 0) {
        fprintf(stderr, "%s: %lld tensors were never released\n", program, (long long)held);
        good = false;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: can not write to stdout\n", program);
        good = false;
    }
    return good ? 0 : 1;
}
