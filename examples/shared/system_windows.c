/* SPDX-License-Identifier: MIT
 *
 * system_windows.c - see system.h: Windows, by its own functions and those of its C library.
 */
#include "examples/shared/system.h"

#ifdef _WIN32

#include <direct.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

/* ---- Streams ---- */

void system_begin_streams(void)
{
    FILE *const stream[] = { stdin, stdout, stderr };
    for (int i = 0; i < 3; i++)
        if (_fileno(stream[i]) >= 0)
            _setmode(_fileno(stream[i]), _O_BINARY); /* no carriage returns come or go */
    SetConsoleOutputCP(CP_UTF8);
    SetConsoleCP(CP_UTF8);
}

bool system_lost_reader(void) { return false; } /* the write's error says it */

bool system_is_terminal(FILE *stream)
{
    DWORD mode;
    return GetConsoleMode((HANDLE)_get_osfhandle(_fileno(stream)), &mode) != 0;
}

int system_columns(FILE *stream)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    return GetConsoleScreenBufferInfo((HANDLE)_get_osfhandle(_fileno(stream)), &info) == 0
               ? 0
               : info.srWindow.Right - info.srWindow.Left + 1;
}

/* Through a file that the system removes when it is closed, and keeps in memory if it can. */
FILE *system_memory_begin(system_memory *m)
{
    char folder[MAX_PATH + 1], path[MAX_PATH + 1];
    const DWORD length = GetTempPathA(sizeof folder, folder);
    m->file = length == 0 || length > MAX_PATH || GetTempFileNameA(folder, "ag", 0, path) == 0
                  ? NULL
                  : fopen(path, "w+bTD");
    return m->file;
}

char *system_memory_end(system_memory *m)
{
    if (m->file == NULL)
        return NULL;
    const long size = ferror(m->file) || fseek(m->file, 0, SEEK_END) != 0 ? -1 : ftell(m->file);
    m->text = size < 0 ? NULL : malloc((size_t)size + 1);
    m->size = (size_t)(size < 0 ? 0 : size);
    if (m->text != NULL) {
        rewind(m->file);
        m->text[m->size] = '\0';
        if (fread(m->text, 1, m->size, m->file) < m->size) {
            free(m->text);
            m->text = NULL;
        }
    }
    fclose(m->file);
    return m->text;
}

FILE *system_nowhere(void) { return fopen("NUL", "wb"); }

/* ---- Signals ---- */

static volatile sig_atomic_t caught;

static void on_stop(int number) { caught = number; } /* the system has gone back to its default */

volatile const sig_atomic_t *system_catch_stops(void)
{
    signal(SIGINT, on_stop);
    signal(SIGTERM, on_stop);
    signal(SIGBREAK, on_stop);
    return &caught;
}

const char *system_stop_name(int number)
{
    return number == SIGINT ? "Ctrl-C" : number == SIGBREAK ? "Ctrl-Break" : "SIGTERM";
}

static const char *guard_crash, *guard_hang;

static void end_guarded(const char *text) { _exit(_write(1, text, (unsigned)strlen(text)) < 0 ? 2 : 1); }

static void on_crash(int number)
{
    (void)number;
    end_guarded(guard_crash);
}

static void CALLBACK on_hang(void *none, BOOLEAN fired)
{
    (void)none;
    (void)fired;
    end_guarded(guard_hang);
}

void system_guard(int limit, const char *crash, const char *hang)
{
    HANDLE timer;
    guard_crash = crash;
    guard_hang = hang;
    signal(SIGSEGV, on_crash);
    signal(SIGFPE, on_crash);
    CreateTimerQueueTimer(&timer, NULL, on_hang, NULL, (DWORD)limit * 1000, 0, WT_EXECUTEONLYONCE);
}

/* ---- Files and folders ---- */

static void describe(const struct _stat64 *s, system_file *what)
{
    *what = (system_file){ (s->st_mode & _S_IFMT) == _S_IFREG, (s->st_mode & _S_IFMT) == _S_IFDIR, s->st_size,
                           (int64_t)s->st_mtime * 1000000000 };
}

bool system_look(const char *path, system_file *what)
{
    struct _stat64 s;
    bool good = _stat64(path, &s) == 0;
    if (good)
        describe(&s, what);
    return good;
}

bool system_look_at(FILE *file, system_file *what)
{
    struct _stat64 s;
    bool good = _fstat64(_fileno(file), &s) == 0;
    if (good)
        describe(&s, what);
    return good;
}

bool system_exists(const char *path) { return _access(path, 0) == 0; }

bool system_is_name(const char *path) { return system_exists(path); }

bool system_may_write(const char *path) { return _access(path, 2) == 0; }

/* The system's whole path, which is the same for all ways to write it; "": there is none. */
static void whole_path(const char *path, char whole[MAX_PATH])
{
    if (GetFullPathNameA(path, MAX_PATH, whole, NULL) == 0)
        whole[0] = '\0';
    size_t length = strlen(whole);
    while (length > 0 && (whole[length - 1] == '\\' || whole[length - 1] == '/'))
        whole[--length] = '\0';
}

bool system_is_same(const char *a, const char *b)
{
    char left[MAX_PATH], right[MAX_PATH];
    whole_path(a, left);
    whole_path(b, right);
    return system_exists(a) && _stricmp(left, right) == 0;
}

bool system_make_folder(const char *path)
{
    if (_mkdir(path) == 0)
        return true;
    if (errno == EACCES && system_exists(path)) /* a drive */
        errno = EEXIST;
    return false;
}

void system_remove_folder(const char *path) { _rmdir(path); }

char *system_absolute(const char *path) { return _fullpath(NULL, path, 0); }

bool system_link(const char *to, const char *path)
{
    (void)to;
    (void)path;
    return true; /* links need a right that few users have */
}

bool system_rename(const char *from, const char *to)
{
    if (MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING) != 0)
        return true;
    errno = GetLastError() == ERROR_FILE_NOT_FOUND || GetLastError() == ERROR_PATH_NOT_FOUND ? ENOENT : EACCES;
    return false;
}

/* A byte far behind the end, so that others may read the file. */
bool system_lock(FILE *file)
{
    OVERLAPPED where = { .OffsetHigh = 0x40000000 };
    return LockFileEx((HANDLE)_get_osfhandle(_fileno(file)), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1,
                      0, &where) != 0 || GetLastError() != ERROR_LOCK_VIOLATION;
}

bool system_sync(FILE *file) { return _commit(_fileno(file)) == 0 || errno == EBADF; }

bool system_cut(FILE *file, int64_t size)
{
    return _chsize_s(_fileno(file), size) == 0 && fseek(file, (long)size, SEEK_SET) == 0;
}

/* ---- The program ---- */

double seconds(void)
{
    LARGE_INTEGER now, each;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&each);
    return (double)now.QuadPart / (double)each.QuadPart;
}

double system_free_bytes(void)
{
    MEMORYSTATUSEX memory = { .dwLength = sizeof memory };
    return GlobalMemoryStatusEx(&memory) == 0 ? 0 : (double)memory.ullAvailPhys;
}

bool system_program(char *path, size_t size)
{
    const DWORD length = GetModuleFileNameA(NULL, path, (DWORD)size);
    for (DWORD i = 0; i < length && i < size; i++)
        if (path[i] == '\\')
            path[i] = '/';
    return length > 0 && length < size;
}

/* No name of a file has a quotation mark. */
void system_print_word(FILE *to, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./\\,:@";
    const bool is_plain = word[0] != '\0' && strspn(word, plain) == strlen(word);
    fprintf(to, is_plain ? "%s" : "\"%s\"", word);
}

#endif
