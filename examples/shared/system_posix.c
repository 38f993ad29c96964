/* SPDX-License-Identifier: MIT
 *
 * system_posix.c - see system.h: Linux, macOS and others with POSIX.
 */
#ifndef _WIN32
#ifdef __APPLE__
#define _DARWIN_C_SOURCE /* the terminal's width, the number of pages */
#else
#define _DEFAULT_SOURCE /* the same */
#endif
#endif

#include "examples/shared/system.h"

#ifndef _WIN32

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- Streams ---- */

void system_begin_streams(void)
{
    /* A closed stream's number would go to the next file that is opened, which would then get the stream's output.
     * Reading from this stdin and writing to this stdout fail. */
    static const int mode[] = { O_WRONLY, O_RDONLY, O_WRONLY };
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", mode[fd]);
    signal(SIGXFSZ, SIG_IGN); /* the write fails with EFBIG */
}

bool system_lost_reader(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

bool system_is_terminal(FILE *stream) { return isatty(fileno(stream)) == 1; }

int system_columns(FILE *stream)
{
    struct winsize size;
    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

FILE *system_memory_begin(system_memory *m)
{
    m->text = NULL;
    m->file = open_memstream(&m->text, &m->size);
    return m->file;
}

char *system_memory_end(system_memory *m)
{
    if (m->file == NULL)
        return NULL;
    bool good = ferror(m->file) == 0;
    if (fclose(m->file) == 0 && good)
        return m->text;
    free(m->text);
    return NULL;
}

FILE *system_nowhere(void) { return fopen("/dev/null", "w"); }

/* ---- Signals ---- */

static volatile sig_atomic_t caught;

static void on_stop(int number)
{
    caught = number;
    if (number == SIGPIPE || number == SIGXCPU) /* a second Ctrl-C ends the program, what comes by itself does not */
        signal(number, SIG_IGN);
}

volatile const sig_atomic_t *system_catch_stops(void)
{
    static const int stops[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXCPU };
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        struct sigaction action = { .sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND }, before;
        sigemptyset(&action.sa_mask);
        if (sigaction(stops[i], &action, &before) == 0 && before.sa_handler == SIG_IGN && stops[i] != SIGPIPE)
            sigaction(stops[i], &before, NULL);
    }
    return &caught;
}

const char *system_stop_name(int number)
{
    return number == SIGINT    ? "Ctrl-C"
           : number == SIGTERM ? "SIGTERM"
           : number == SIGHUP  ? "SIGHUP"
           : number == SIGXCPU ? "the limit of processor time"
                               : "a closed output";
}

static const char *guard_crash, *guard_hang;

static void on_guarded(int number)
{
    const char *text = number == SIGALRM ? guard_hang : guard_crash;
    ssize_t written = write(STDOUT_FILENO, text, strlen(text));
    _exit(written < 0 ? 2 : 1);
}

void system_guard(int limit, const char *crash, const char *hang)
{
    guard_crash = crash;
    guard_hang = hang;
    signal(SIGSEGV, on_guarded);
    signal(SIGBUS, on_guarded);
    signal(SIGFPE, on_guarded);
    signal(SIGALRM, on_guarded);
    alarm((unsigned)limit);
}

/* ---- Files and folders ---- */

static void describe(const struct stat *s, system_file *what)
{
#ifdef __APPLE__
    const struct timespec changed = s->st_mtimespec;
#else
    const struct timespec changed = s->st_mtim;
#endif
    *what = (system_file){ S_ISREG(s->st_mode), S_ISDIR(s->st_mode), s->st_size,
                           (int64_t)changed.tv_sec * 1000000000 + changed.tv_nsec };
}

bool system_look(const char *path, system_file *what)
{
    struct stat s;
    bool good = stat(path, &s) == 0;
    if (good)
        describe(&s, what);
    return good;
}

bool system_look_at(FILE *file, system_file *what)
{
    struct stat s;
    bool good = fstat(fileno(file), &s) == 0;
    if (good)
        describe(&s, what);
    return good;
}

bool system_exists(const char *path) { return access(path, F_OK) == 0; }

bool system_is_name(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0;
}

bool system_may_write(const char *path) { return access(path, W_OK) == 0; }

bool system_is_same(const char *a, const char *b)
{
    struct stat s, t;
    return stat(a, &s) == 0 && stat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

bool system_make_folder(const char *path) { return mkdir(path, 0777) == 0; }

void system_remove_folder(const char *path) { rmdir(path); }

char *system_absolute(const char *path)
{
    char here[4096] = "";
    bool relative = path[0] != '/' && getcwd(here, sizeof here) != NULL;
    size_t size = strlen(here) + strlen(path) + 2;
    char *whole = malloc(size);
    if (whole != NULL)
        snprintf(whole, size, "%s%s%s", here, relative ? "/" : "", path);
    return whole;
}

bool system_link(const char *to, const char *path)
{
    return symlink(to, path) == 0 || errno == EEXIST || errno == EPERM || errno == ENOTSUP;
}

bool system_rename(const char *from, const char *to) { return rename(from, to) == 0; }

bool system_lock(FILE *file)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(fileno(file), F_SETLK, &lock) == 0 || (errno != EACCES && errno != EAGAIN);
}

bool system_sync(FILE *file)
{
    return fsync(fileno(file)) == 0 || errno == EINVAL || errno == ENOTSUP;
}

bool system_cut(FILE *file, int64_t size)
{
    return ftruncate(fileno(file), (off_t)size) == 0 && fseek(file, (long)size, SEEK_SET) == 0;
}

/* ---- The program ---- */

double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The number that follows `key` in a file of Linux; 0: there is none. */
static double number_in(const char *path, const char *key)
{
    char line[256];
    double number = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && number == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            number = (double)strtoull(line + strlen(key), NULL, 10);
    if (file != NULL)
        fclose(file);
    return number;
}

double system_free_bytes(void)
{
    double bytes = 1024 * number_in("/proc/meminfo", "MemAvailable:");
#ifdef _SC_PHYS_PAGES
    if (bytes == 0)
        bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
#endif
    double group = number_in("/sys/fs/cgroup/memory.max", "");
    if (group > 0) {
        group -= number_in("/sys/fs/cgroup/memory.current", "");
        bytes = bytes == 0 || group < bytes ? group : bytes;
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (bytes == 0 || (double)limit.rlim_cur < bytes))
        bytes = (double)limit.rlim_cur;
    return bytes;
}

bool system_program(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length > 0)
        path[length] = '\0';
    return length > 0 && (size_t)length < size - 1;
}

void system_print_word(FILE *to, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
        fputs(word, to);
        return;
    }
    fputc('\'', to);
    for (; *word != '\0'; word++)
        fputs(*word == '\'' ? "'\\''" : (const char[]){ *word, '\0' }, to);
    fputc('\'', to);
}

#endif
