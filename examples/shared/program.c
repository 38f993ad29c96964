/* SPDX-License-Identifier: MIT
 *
 * program.c - see program.h.
 */
#include "examples/shared/program.h"
#include "examples/shared/pages.h"
#include "examples/shared/quota.h"
#include "examples/shared/system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Streams ---- */

static const char *streams_of; /* the program whose end checks its streams */

/* Runs at the end of the program. _Exit, as exit may not be called again. */
static void end_streams(void)
{
    bool closed_pipe = system_lost_reader(), lost = ferror(stdout) != 0;
    errno = 0;
    lost = fclose(stdout) != 0 || lost;
    if (lost && !closed_pipe)
        fprintf(stderr, "%s: can not write to stdout%s%s\n", streams_of, errno == 0 ? "" : ": ",
                errno == 0 ? "" : strerror(errno));
    if (lost || fflush(stderr) != 0 || ferror(stderr))
        _Exit(EXIT_FAILURE);
}

void program_streams(const char *program)
{
    if (streams_of != NULL)
        return;
    streams_of = program;
    system_begin_streams();
    if (atexit(end_streams) != 0)
        exit(EXIT_FAILURE);
}

FILE *program_open(const char *program, const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (file == NULL)
        fprintf(stderr, "%s: %s: %s\n", program, path, strerror(errno));
    return file;
}

bool program_close(const char *program, FILE *file, const char *path)
{
    errno = 0;
    bool good = ferror(file) == 0;
    good = fclose(file) == 0 && good;
    if (!good)
        fprintf(stderr, "%s: %s can not be written%s%s\n", program, path, errno == 0 ? "" : ": ",
                errno == 0 ? "" : strerror(errno));
    return good;
}

bool program_was_read(const char *program, FILE *file, const char *name)
{
    if (ferror(file))
        fprintf(stderr, "%s: %s: %s\n", program, name, strerror(errno));
    return !ferror(file);
}

char *program_read(const char *program, FILE *file, const char *name, bool line, int64_t *length)
{
    size_t room = 1 << 12, have = 0;
    char *text = malloc(room);
    int c = 0;
    while (text != NULL && (c = getc(file)) != EOF && !(line && c == '\n')) {
        text[have++] = (char)c;
        char *more = have + 1 < room ? text : realloc(text, room *= 2);
        if (more == NULL)
            free(text);
        text = more;
    }
    *length = -1;
    if (text == NULL) {
        fprintf(stderr, "%s: %s: out of memory after %zu bytes\n", program, name, have);
    } else if (!program_was_read(program, file, name)) {
        free(text);
        text = NULL;
    } else {
        text[have] = '\0';
        *length = c == EOF && have == 0 && line ? -1 : (int64_t)have;
    }
    return text;
}

/* ---- The context ---- */

ag_ctx *program_context(const char *program, uint64_t seed, uint64_t threads)
{
    if (threads > AG_MAX_THREADS) {
        fprintf(stderr, "%s: --threads is %llu, must be at most %d\n", program, (unsigned long long)threads,
                AG_MAX_THREADS);
        return NULL;
    }
    ag_ctx_config config = { .seed = seed, .threads = (int)threads, .allocator = pages_allocator };
    ag_ctx *ctx = ag_ctx_new(config);
    const int quota = threads == 0 && getenv("OMP_NUM_THREADS") == NULL ? quota_processors("") : 0;
    if (quota > 0 && quota < ag_ctx_threads(ctx)) {
        ag_ctx_free(ctx);
        config.threads = quota;
        ctx = ag_ctx_new(config);
    }
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
    const bool there = system_is_name(path);
    FILE *file = program_open(program, path, "ab");
    bool good = file != NULL && program_close(program, file, path);
    if (good && !there)
        remove(path);
    return good;
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
    return good ? 0 : 1;
}
