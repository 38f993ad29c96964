/* SPDX-License-Identifier: MIT
 *
 * lm_run.c - see lm_run.h.
 */
#include "examples/lm/lm_run.h"
#include "examples/lm/lm_checkpoint.h"
#include "examples/lm/lm_command.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The folder's files ---- */

/* Writes size bytes as a new file of the folder. */
static bool write_file(const run *r, const char *name, const void *bytes, size_t size)
{
    char path[RUN_PATH];
    FILE *file = folder_path(path, r->folder, name) ? program_open("lm", path, "wb") : NULL;
    if (file != NULL)
        fwrite(bytes, 1, size, file);
    return file != NULL && program_close("lm", file, path);
}

static bool write_config(const run *r)
{
    char *config = checkpoint_config(r);
    if (config == NULL)
        fprintf(stderr, "lm: out of memory for the settings\n");
    bool good = config != NULL && write_file(r, FOLDER_CONFIG, config, strlen(config));
    free(config);
    return good;
}

static FILE *open_in(const run *r, const char *name, const char *mode)
{
    char path[RUN_PATH];
    return folder_path(path, r->folder, name) ? program_open("lm", path, mode) : NULL;
}

/* A new file with what the open one holds, whose name is gone. */
static FILE *copy_of(const run *r, FILE *from, const char *name)
{
    FILE *to = open_in(r, name, "wb+");
    rewind(from);
    for (int c; to != NULL && (c = getc(from)) != EOF;)
        putc(c, to);
    fclose(from);
    return to;
}

static bool restore_folder(run *r)
{
    if (folder_has(r->folder, FOLDER_LOG) && folder_has(r->folder, FOLDER_CONFIG))
        return true;
    fprintf(stderr, "lm: %s was removed; it is made again\n", r->folder);
    if (!folder_make(r->folder) || !write_config(r))
        return false;
    r->log = copy_of(r, r->log, FOLDER_LOG);
    r->samples = copy_of(r, r->samples, FOLDER_SAMPLES);
    return r->log != NULL && r->samples != NULL;
}

/* Keeps the log for this program, as long as it is open: no two programs train one run. */
static bool lock_log(const run *r, FILE *log)
{
    if (log == NULL || system_lock(log))
        return log != NULL;
    fprintf(stderr, "lm train: %s is being trained by another program\n", r->folder);
    return false;
}

/* ---- Saving ---- */

/* Flushes; false after a line on stderr when something could not be written. */
static bool flush_stream(const run *r, FILE *file, const char *name)
{
    errno = 0;
    if (fflush(file) == 0 && !ferror(file))
        return true;
    fprintf(stderr, "lm: %s/%s can not be written%s%s\n", r->folder, name, errno == 0 ? "" : ": ",
            errno == 0 ? "" : strerror(errno));
    return false;
}

bool run_logs_whole(const run *r)
{
    return flush_stream(r, r->log, FOLDER_LOG) && flush_stream(r, r->samples, FOLDER_SAMPLES);
}

/* Writes all that has been printed to disk; its size to *bytes. */
static bool sync_stream(const run *r, FILE *file, const char *name, double *bytes)
{
    bool good = flush_stream(r, file, name);
    if (good && !system_sync(file))
        good = folder_error(name);
    *bytes = (double)ftell(file);
    return good;
}

/* Without an optimizer the best model, else the whole state; once more when the folder was removed meanwhile. */
static bool save_as(run *r, const char *name, const ag_optimizer *optimizer)
{
    char path[RUN_PATH];
    if (!folder_path(path, r->folder, name))
        return false;
    if (checkpoint_save(r, path, optimizer))
        return true;
    if (folder_has(r->folder, FOLDER_LOG))
        return model_error(&r->model);
    ag_error_clear(r->model.ctx);
    return restore_folder(r) && (checkpoint_save(r, path, optimizer) || model_error(&r->model));
}

bool run_save(run *r)
{
    bool good = restore_folder(r) && (r->o.minutes <= 0 || write_config(r)) &&
                sync_stream(r, r->log, FOLDER_LOG, &r->s.log_bytes) &&
                sync_stream(r, r->samples, FOLDER_SAMPLES, &r->s.sample_bytes) && save_as(r, FOLDER_LAST, r->optimizer);
    r->saved_at = seconds();
    return good;
}

bool run_save_best(run *r)
{
    char path[RUN_PATH];
    if (!restore_folder(r) || !save_as(r, FOLDER_BEST, NULL) || !folder_path(path, r->folder, FOLDER_MODEL))
        return false;
    if (system_link(FOLDER_BEST, path))
        return true;
    if (errno == ENOENT && !folder_has(r->folder, FOLDER_LOG))
        return run_save_best(r); /* the folder was removed meanwhile */
    return folder_error(path);
}

/* ---- Beginning and ending ---- */

bool run_may_begin(run *r)
{
    if (r->o.out == NULL)
        return true;
    size_t length = strlen(r->o.out);
    while (length > 1 && r->o.out[length - 1] == '/')
        length--;
    snprintf(r->folder, RUN_PATH, "%.*s", (int)length, r->o.out);
    if (folder_has(r->folder, FOLDER_LAST) || folder_has(r->folder, FOLDER_BEST)) {
        fprintf(stderr, "lm train: %s holds a run, which is not overwritten; give another --out, or go on with "
                        "--continue %s\n", r->folder, r->folder);
        return false;
    }
    return true;
}

/* Makes the paths of the text absolute, and its copy in the folder when it can not be read again. */
static bool keep_text(run *r, const raw_text *t)
{
    static char text_name[RUN_PATH], val_name[RUN_PATH], *only[] = { text_name };
    bool split = t->train_size < t->size;
    if (t->stream) {
        if (!folder_path(text_name, r->folder, FOLDER_TEXT) || !folder_path(val_name, r->folder, FOLDER_VAL) ||
            !write_file(r, FOLDER_TEXT, t->byte, (size_t)t->train_size) ||
            (split && !write_file(r, FOLDER_VAL, t->byte + t->train_size, (size_t)(t->size - t->train_size))))
            return false;
        r->o.files = (option_words){ only, 1 };
        r->o.val = split ? val_name : NULL;
    }
    r->path = calloc((size_t)r->o.files.count, sizeof *r->path);
    bool good = r->path != NULL;
    for (int i = 0; i < r->o.files.count && good; i++)
        good = (r->path[i] = system_absolute(r->o.files.word[i])) != NULL;
    r->val_path = r->o.val == NULL ? NULL : system_absolute(r->o.val);
    r->from_path = r->o.from == NULL ? NULL : system_absolute(r->o.from);
    if (!good || (r->o.val != NULL && r->val_path == NULL) || (r->o.from != NULL && r->from_path == NULL)) {
        fprintf(stderr, "lm: out of memory for paths\n");
        return false;
    }
    r->o.files.word = r->path;
    r->o.val = r->val_path;
    r->o.from = r->from_path;
    return true;
}

bool run_begin(run *r, const raw_text *t)
{
    if (!(r->o.out == NULL ? folder_make_next(r->folder) : folder_make(r->folder)) || !keep_text(r, t) ||
        !write_config(r))
        return false;
    r->log = open_in(r, FOLDER_LOG, "wb+");
    r->samples = lock_log(r, r->log) ? open_in(r, FOLDER_SAMPLES, "wb+") : NULL;
    if (r->samples == NULL)
        return false;
    fputs("step,loss,val,gnorm,lr\n", r->log);
    return run_save(r);
}

static FILE *open_again(const run *r, const char *name)
{
    return open_in(r, name, folder_has(r->folder, name) ? "rb+" : "wb+");
}

/* Makes the file go on from byte `size`: what it has beyond is cut off. */
static void cut(const run *r, FILE *file, const char *name, double size)
{
    fseek(file, 0, SEEK_END);
    if ((double)ftell(file) < size)
        fprintf(stderr, "lm: %s/%s has lost its end; the run goes on without it\n", r->folder, name);
    else if (!system_cut(file, (int64_t)size))
        folder_error(name);
}

bool run_resume(run *r)
{
    r->log = open_again(r, FOLDER_LOG);
    r->samples = lock_log(r, r->log) ? open_again(r, FOLDER_SAMPLES) : NULL;
    if (r->samples == NULL || !checkpoint_load(r)) /* loaded when no other program can write a later checkpoint */
        return false;
    cut(r, r->log, FOLDER_LOG, r->s.log_bytes);
    cut(r, r->samples, FOLDER_SAMPLES, r->s.sample_bytes);
    return write_config(r);
}

bool run_close(run *r)
{
    char path[RUN_PATH];
    bool good = true;
    if (r->log != NULL && folder_path(path, r->folder, FOLDER_LOG))
        good = program_close("lm", r->log, path);
    if (r->samples != NULL && folder_path(path, r->folder, FOLDER_SAMPLES))
        good = program_close("lm", r->samples, path) && good;
    r->log = r->samples = NULL;
    return good;
}

void run_free(run *r)
{
    for (int i = 0; r->path != NULL && i < r->o.files.count; i++)
        free(r->path[i]);
    free(r->path);
    free(r->val_path);
    free(r->from_path);
}

void run_explain_rest(const run *r)
{
    if (!folder_has(r->folder, FOLDER_LAST))
        return;
    fprintf(stderr, "lm: the last checkpoint is whole; go on from it with:\n    ");
    command_print(stderr, (const char *const[]){ "train", "--continue", r->folder, NULL });
    fputc('\n', stderr);
}
