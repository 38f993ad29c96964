/* SPDX-License-Identifier: MIT
 *
 * lm_run.c - see lm_run.h: checkpoints, the folder of a run, runs that are there already.
 */
#include "examples/lm/lm_run.h"
#include "examples/shared/config.h"
#include "examples/shared/learning.h"
#include "examples/shared/program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char runs_folder[] = "runs", last_name[] = "last.safetensors", best_name[] = "best.safetensors";
static const char model_name[] = "model.safetensors"; /* a link to the best one */
static const char log_name[] = "log.csv", samples_name[] = "samples.txt", config_name[] = "config.json";
static const char log_header[] = "step,loss,val,gnorm,lr\n";

static bool system_error(const char *path)
{
    fprintf(stderr, "lm: %s: %s\n", path, strerror(errno));
    return false;
}

/* folder/name. False, with a line on stderr, when it is too long. */
static bool path_in(char path[RUN_PATH], const char *folder, const char *name)
{
    bool fits = snprintf(path, RUN_PATH, "%s/%s", folder, name) < RUN_PATH;
    if (!fits)
        fprintf(stderr, "lm: the path %.40s... has over %d characters\n", folder, RUN_PATH);
    return fits;
}

/* ---- Checkpoints ---- */

enum { STATE_NUMBERS = 7, BEST_NUMBERS = 2 }; /* the first two stand in best.safetensors too */
static const char *const state_key[STATE_NUMBERS] = {
    "lm.step", "lm.best_loss", "lm.best_step", "lm.loss_sum", "lm.loss_count", "lm.log_bytes", "lm.sample_bytes",
};

static void state_numbers(run_state *s, double *number[STATE_NUMBERS])
{
    double *const all[] = { &s->step,       &s->best_loss, &s->best_step,   &s->loss_sum,
                            &s->loss_count, &s->log_bytes, &s->sample_bytes };
    memcpy(number, all, sizeof all);
}

/* The settings as JSON, to be freed. */
static char *settings_text(const run *r)
{
    train_options o = r->o;
    option settings[SETTINGS_MOST];
    int count = train_settings(&o, settings);
    return config_text(settings, count);
}

static bool exists(const char *folder, const char *name);
static bool restore_folder(run *r);
static bool write_config(const run *r);

/* Writes the checkpoint; once more when the folder was removed meanwhile. */
static bool save_checkpoint(run *r, const char *path, const ag_optimizer *optimizer, const ag_metadata *entry,
                            int count)
{
    ag_module *module = ag_gpt_module(r->model.gpt);
    if (ag_checkpoint_save(path, module, optimizer, entry, count) == AG_OK)
        return true;
    if (exists(r->folder, log_name))
        return model_error(&r->model);
    ag_error_clear(r->model.ctx);
    return restore_folder(r) &&
           (ag_checkpoint_save(path, module, optimizer, entry, count) == AG_OK || model_error(&r->model));
}

/* Without an optimizer the best model, else the whole state. */
static bool save_as(run *r, const char *name, const ag_optimizer *optimizer)
{
    char path[RUN_PATH], value[STATE_NUMBERS][32], *config = settings_text(r);
    model_metadata model;
    ag_metadata entry[MODEL_METADATA + STATE_NUMBERS + 2];
    double *number[STATE_NUMBERS];
    int count = MODEL_METADATA, numbers = optimizer == NULL ? BEST_NUMBERS : STATE_NUMBERS;
    bool good = model_metadata_make(&model, &r->model) && config != NULL;
    if (!good)
        fprintf(stderr, "lm: out of memory for a checkpoint\n");
    if (good && (good = path_in(path, r->folder, name))) {
        memcpy(entry, model.entry, sizeof model.entry);
        state_numbers(&r->s, number);
        for (int i = 0; i < numbers; i++) {
            ag_snprintf(value[i], sizeof value[i], "%.17g", *number[i]);
            entry[count++] = (ag_metadata){ state_key[i], value[i] };
        }
        if (optimizer != NULL) {
            entry[count++] = (ag_metadata){ "lm.text", r->mark };
            entry[count++] = (ag_metadata){ "lm.config", config };
        }
        good = save_checkpoint(r, path, optimizer, entry, count);
    }
    model_metadata_free(&model);
    free(config);
    return good;
}

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
    return flush_stream(r, r->log, log_name) && flush_stream(r, r->samples, samples_name);
}

/* Writes all that has been printed to disk; its size to *bytes. */
static bool sync_stream(const run *r, FILE *file, const char *name, double *bytes)
{
    bool good = flush_stream(r, file, name);
    if (good && fsync(fileno(file)) != 0 && errno != EINVAL && errno != ENOTSUP) /* these: no disk behind it */
        good = system_error(name);
    *bytes = (double)ftell(file);
    return good;
}

bool run_save(run *r)
{
    bool good = restore_folder(r) && (r->o.minutes <= 0 || write_config(r)) &&
                sync_stream(r, r->log, log_name, &r->s.log_bytes) &&
                sync_stream(r, r->samples, samples_name, &r->s.sample_bytes) && save_as(r, last_name, r->optimizer);
    r->saved_at = seconds();
    return good;
}

bool run_save_best(run *r)
{
    char path[RUN_PATH];
    if (!restore_folder(r) || !save_as(r, best_name, NULL) || !path_in(path, r->folder, model_name))
        return false;
    if (symlink(best_name, path) == 0 || errno == EEXIST || errno == EPERM || errno == ENOTSUP)
        return true; /* the last two: the file system has no links */
    if (errno == ENOENT && !exists(r->folder, log_name))
        return run_save_best(r); /* the folder was removed meanwhile */
    return system_error(path);
}

/* Reads the checkpoint's numbers and the mark of its text. */
static bool load_state(run *r, const char *path)
{
    ag_safetensors *file = ag_safetensors_open(r->model.ctx, path);
    if (file == NULL)
        return model_error(&r->model);
    const char *mark = ag_safetensors_metadata(file, "lm.text");
    bool same = mark != NULL && strcmp(mark, r->mark) == 0, good = true;
    double *number[STATE_NUMBERS];
    state_numbers(&r->s, number);
    for (int i = 0; i < STATE_NUMBERS && good; i++)
        good = metadata_number(file, state_key[i], number[i]) && *number[i] >= 0;
    ag_safetensors_close(file);
    if (!good)
        fprintf(stderr, "lm: %s is no checkpoint of `lm train`\n", path);
    else if (!same)
        fprintf(stderr, "lm: the text has changed since %s began; restore it, or begin a new run\n", r->folder);
    return good && same;
}

bool run_open_model(run *r)
{
    char path[RUN_PATH];
    ag_safetensors *file = path_in(path, r->folder, last_name) ? ag_safetensors_open(r->model.ctx, path) : NULL;
    bool good = file != NULL ? model_from_metadata(&r->model, file, path) : model_error(&r->model);
    ag_safetensors_close(file);
    return good;
}

bool run_load(run *r)
{
    char path[RUN_PATH];
    return path_in(path, r->folder, last_name) && load_state(r, path) &&
           (ag_checkpoint_load(path, ag_gpt_module(r->model.gpt), r->optimizer) == AG_OK || model_error(&r->model));
}

bool run_load_best(run *r)
{
    char path[RUN_PATH];
    ag_rng before = ag_rng_get(r->model.ctx);
    bool good = path_in(path, r->folder, best_name) &&
                (ag_checkpoint_load(path, ag_gpt_module(r->model.gpt), NULL) == AG_OK || model_error(&r->model));
    ag_rng_set(r->model.ctx, before);
    return good;
}

/* ---- The folder of a run ---- */

static bool exists(const char *folder, const char *name)
{
    char path[RUN_PATH];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && access(path, F_OK) == 0;
}

bool run_has_best(const run *r)
{
    return exists(r->folder, best_name);
}

bool run_has_ended(const run *r)
{
    return exists(r->folder, "report.html");
}

/* Makes each folder on the way to path. */
static bool make_folders(const char *path)
{
    char part[RUN_PATH];
    if (!path_in(part, path, "")) /* ends with a slash */
        return false;
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return system_error(part);
        *at = '/';
    }
    return true;
}

/* The number that a name in runs/ is; 0: none. */
static long run_number(const char *name)
{
    char *end;
    long number = name[0] >= '1' && name[0] <= '9' ? strtol(name, &end, 10) : 0;
    return number > 0 && number < 1000000000 && *end == '\0' ? number : 0;
}

/* Makes runs/N for the lowest N above all that are there. */
static bool make_next_folder(char folder[RUN_PATH])
{
    if (mkdir(runs_folder, 0777) != 0 && errno != EEXIST)
        return system_error(runs_folder);
    long number = 1;
    DIR *all = opendir(runs_folder);
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;)
        number = run_number(entry->d_name) >= number ? run_number(entry->d_name) + 1 : number;
    if (all != NULL)
        closedir(all);
    do
        snprintf(folder, RUN_PATH, "%s/%ld", runs_folder, number++);
    while (mkdir(folder, 0777) != 0 && errno == EEXIST); /* another program was faster */
    return access(folder, W_OK) == 0 || system_error(folder);
}

static bool choose_folder(run *r)
{
    if (r->o.out == NULL)
        return make_next_folder(r->folder);
    size_t length = strlen(r->o.out);
    while (length > 1 && r->o.out[length - 1] == '/')
        length--;
    snprintf(r->folder, RUN_PATH, "%.*s", (int)length, r->o.out);
    if (exists(r->folder, last_name) || exists(r->folder, best_name)) {
        fprintf(stderr, "lm train: %s holds a run, which is not overwritten; give another --out, or go on with "
                        "--continue %s\n", r->folder, r->folder);
        return false;
    }
    return make_folders(r->folder);
}

/* Writes size bytes as a new file of the folder. */
static bool write_file(const run *r, const char *name, const void *bytes, size_t size)
{
    char path[RUN_PATH];
    FILE *file = path_in(path, r->folder, name) ? program_open("lm", path, "wb") : NULL;
    if (file != NULL)
        fwrite(bytes, 1, size, file);
    return file != NULL && program_close("lm", file, path);
}

static bool write_config(const run *r)
{
    char *config = settings_text(r);
    bool good = config != NULL && write_file(r, config_name, config, strlen(config));
    free(config);
    return good;
}

static FILE *open_in(const run *r, const char *name, const char *mode)
{
    char path[RUN_PATH];
    return path_in(path, r->folder, name) ? program_open("lm", path, mode) : NULL;
}

/* To be freed; NULL: out of memory. */
static char *absolute(const char *path)
{
    char here[RUN_PATH] = "";
    bool relative = path[0] != '/' && getcwd(here, sizeof here) != NULL;
    size_t size = strlen(here) + strlen(path) + 2;
    char *whole = malloc(size);
    if (whole != NULL)
        snprintf(whole, size, "%s%s%s", here, relative ? "/" : "", path);
    return whole;
}

/* Makes the paths of the text absolute, and its copy in the folder when it can not be read again. */
static bool keep_text(run *r, const raw_text *t)
{
    static char text_name[RUN_PATH], val_name[RUN_PATH], *only[] = { text_name };
    bool split = t->train_size < t->size;
    if (t->stream) {
        if (!path_in(text_name, r->folder, "text.txt") || !path_in(val_name, r->folder, "val.txt") ||
            !write_file(r, "text.txt", t->byte, (size_t)t->train_size) ||
            (split && !write_file(r, "val.txt", t->byte + t->train_size, (size_t)(t->size - t->train_size))))
            return false;
        r->o.files = (option_words){ only, 1 };
        r->o.val = split ? val_name : NULL;
    }
    r->path = calloc((size_t)r->o.files.count, sizeof *r->path);
    bool good = r->path != NULL;
    for (int i = 0; i < r->o.files.count && good; i++)
        good = (r->path[i] = absolute(r->o.files.word[i])) != NULL;
    r->val_path = r->o.val == NULL ? NULL : absolute(r->o.val);
    if (!good || (r->o.val != NULL && r->val_path == NULL)) {
        fprintf(stderr, "lm: out of memory for paths\n");
        return false;
    }
    r->o.files.word = r->path;
    r->o.val = r->val_path;
    if (r->o.from != NULL)
        r->o.from = r->from_path = absolute(r->o.from);
    return true;
}

/* Keeps the log for this program, as long as it is open: no two programs train one run. */
static bool lock_log(const run *r, FILE *log)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (log == NULL || fcntl(fileno(log), F_SETLK, &lock) == 0 || (errno != EACCES && errno != EAGAIN))
        return log != NULL; /* a file system without locks is no error */
    fprintf(stderr, "lm train: %s is being trained by another program\n", r->folder);
    return false;
}

bool run_begin(run *r, const raw_text *t)
{
    if (!choose_folder(r) || !keep_text(r, t) || !write_config(r))
        return false;
    r->log = open_in(r, log_name, "wb+");
    r->samples = lock_log(r, r->log) ? open_in(r, samples_name, "wb+") : NULL;
    if (r->samples == NULL)
        return false;
    fputs(log_header, r->log);
    return run_save(r);
}

static FILE *open_again(const run *r, const char *name)
{
    return open_in(r, name, exists(r->folder, name) ? "rb+" : "wb+");
}

/* Makes the file go on from byte `size`: what it has beyond is cut off. */
static void cut(const run *r, FILE *file, const char *name, double size)
{
    fseek(file, 0, SEEK_END);
    if ((double)ftell(file) < size)
        fprintf(stderr, "lm: %s/%s has lost its end; the run goes on without it\n", r->folder, name);
    else if (ftruncate(fileno(file), (off_t)size) != 0 || fseek(file, (long)size, SEEK_SET) != 0)
        system_error(name);
}

bool run_resume(run *r)
{
    r->log = open_again(r, log_name);
    r->samples = lock_log(r, r->log) ? open_again(r, samples_name) : NULL;
    if (r->samples == NULL || !run_load(r)) /* loaded when no other program can write a later checkpoint */
        return false;
    cut(r, r->log, log_name, r->s.log_bytes);
    cut(r, r->samples, samples_name, r->s.sample_bytes);
    return write_config(r);
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
    if (exists(r->folder, log_name) && exists(r->folder, config_name))
        return true;
    fprintf(stderr, "lm: %s was removed; it is made again\n", r->folder);
    if (!make_folders(r->folder) || !write_config(r))
        return false;
    r->log = copy_of(r, r->log, log_name);
    r->samples = copy_of(r, r->samples, samples_name);
    return r->log != NULL && r->samples != NULL;
}

bool run_close(run *r)
{
    char path[RUN_PATH];
    bool good = true;
    if (r->log != NULL && path_in(path, r->folder, log_name))
        good = program_close("lm", r->log, path);
    if (r->samples != NULL && path_in(path, r->folder, samples_name))
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

/* ---- Runs that are there already ---- */

/* Whether the run of a was written to later than that of b; of two at the same time, whose number is higher. */
static bool is_newer(const char *a, const struct stat *at, const char *b, const struct stat *bt)
{
    if (at->st_mtim.tv_sec != bt->st_mtim.tv_sec)
        return at->st_mtim.tv_sec > bt->st_mtim.tv_sec;
    if (at->st_mtim.tv_nsec != bt->st_mtim.tv_nsec)
        return at->st_mtim.tv_nsec > bt->st_mtim.tv_nsec;
    return run_number(a) > run_number(b);
}

static bool find_newest(char folder[RUN_PATH])
{
    DIR *all = opendir(runs_folder);
    char newest[256] = "";
    struct stat when = { .st_size = 0 };
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        char path[RUN_PATH];
        struct stat what;
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof newest)
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", runs_folder, entry->d_name, last_name);
        if (stat(path, &what) == 0 && (newest[0] == '\0' || is_newer(entry->d_name, &what, newest, &when))) {
            strcpy(newest, entry->d_name);
            when = what;
        }
    }
    if (all != NULL)
        closedir(all);
    snprintf(folder, RUN_PATH, "%s/%s", runs_folder, newest);
    if (newest[0] == '\0')
        fprintf(stderr, "lm: there is no run in %s/; lm train makes one\n", runs_folder);
    return newest[0] != '\0';
}

bool run_model(const char *where, char path[RUN_PATH])
{
    char folder[RUN_PATH];
    struct stat what;
    if (where[0] == '\0') {
        if (!find_newest(folder))
            return false;
    } else if (stat(where, &what) != 0 || !S_ISDIR(what.st_mode)) {
        return snprintf(path, RUN_PATH, "%s", where) < RUN_PATH;
    } else {
        snprintf(folder, sizeof folder, "%s", where);
    }
    return path_in(path, folder, exists(folder, best_name) ? best_name : last_name);
}

bool command_begin(lm_model *model, const char *command, const char *where, uint64_t threads)
{
    char path[RUN_PATH];
    *model = (lm_model){ .ctx = program_context(command, 1, threads) };
    return model->ctx != NULL && run_model(where, path) && model_load(model, path);
}

int command_end(lm_model *model, bool good)
{
    model_free(model);
    ag_ctx_free(model->ctx);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

char *run_settings(const char *where, char folder[RUN_PATH], train_options *o)
{
    char path[RUN_PATH], *config = NULL;
    snprintf(folder, RUN_PATH, "%s", where);
    if (where[0] == '\0' && !find_newest(folder))
        return NULL;
    if (!path_in(path, folder, last_name))
        return NULL;
    ag_ctx *ctx = program_context("lm train", 1, 1);
    ag_safetensors *file = ctx == NULL ? NULL : ag_safetensors_open(ctx, path);
    const char *saved = file == NULL ? NULL : ag_safetensors_metadata(file, "lm.config");
    if (saved != NULL && (config = malloc(strlen(saved) + 1)) != NULL)
        strcpy(config, saved);
    if (file == NULL && ctx != NULL)
        fprintf(stderr, exists(folder, last_name) ? "lm: %s\n" : "lm: there is no run to go on with: %s\n",
                ag_error_message(ctx));
    else if (saved == NULL && ctx != NULL)
        fprintf(stderr, "lm: %s is no checkpoint of `lm train`\n", path);
    ag_safetensors_close(file);
    ag_ctx_free(ctx);
    option settings[SETTINGS_MOST];
    int count = train_settings(o, settings);
    if (config != NULL && !config_apply("lm train", path, config, strlen(config), settings, count)) {
        free(o->files.word);
        free(config);
        config = NULL;
    }
    return config;
}

/* ---- Commands ---- */

static const char *called_as = "lm";

void run_called_as(const char *program)
{
    called_as = program;
}

static void print_quoted(FILE *file, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
        fputs(word, file);
        return;
    }
    fputc('\'', file);
    for (; *word != '\0'; word++)
        fputs(*word == '\'' ? "'\\''" : (const char[]){ *word, '\0' }, file);
    fputc('\'', file);
}

void run_print_command(FILE *file, const char *const *words)
{
    print_quoted(file, called_as);
    for (; *words != NULL; words++) {
        fputc(' ', file);
        print_quoted(file, *words);
    }
}

void run_explain_rest(const run *r)
{
    if (!exists(r->folder, last_name))
        return;
    fprintf(stderr, "lm: the last checkpoint is whole; go on from it with:\n    ");
    run_print_command(stderr, (const char *const[]){ "train", "--continue", r->folder, NULL });
    fputc('\n', stderr);
}
