/* SPDX-License-Identifier: MIT
 *
 * replace.c - see replace.h. ISO C can rename a file and no more: links, modes and the disk need POSIX, which is used
 * where the system has it. Windows has a call of its own that replaces a file.
 */
#if defined(__unix__) || defined(__APPLE__)
#define AG_REPLACE_POSIX
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#endif

#include "tensor/files/replace.h"

#include <errno.h>
#include <string.h>

#ifdef AG_REPLACE_POSIX
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#define REPLACE_TOO_LONG ENAMETOOLONG
#else
#define REPLACE_TOO_LONG ERANGE
#endif

static bool replace_put_path(char to[AG_PATH_BYTES], int folder_bytes, const char *folder, const char *name)
{
    bool fits = snprintf(to, AG_PATH_BYTES, "%.*s%s", folder_bytes, folder, name) < AG_PATH_BYTES;
    if (!fits)
        errno = REPLACE_TOO_LONG;
    return fits;
}

#ifdef _WIN32
/* As its header declares it, which would define many other names. 1: over an existing file; 8: when it is on disk. */
__declspec(dllimport) int __stdcall MoveFileExA(const char *from, const char *to, unsigned long flags);

static bool replace_rename(const ag_replacement *r)
{
    const bool good = MoveFileExA(r->temporary, r->target, 1 | 8) != 0;
    if (!good)
        errno = EACCES;
    return good;
}
#else
static bool replace_rename(const ag_replacement *r)
{
    return rename(r->temporary, r->target) == 0;
}
#endif

#ifdef AG_REPLACE_POSIX

/* Bytes of the folder in a path, with its last slash. */
static int replace_folder_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (int)(slash - path) + 1;
}

/* Follows target's symbolic links, to a file that need not exist. */
static bool replace_follow(char target[AG_PATH_BYTES])
{
    enum { LINKS_MOST = 40 };
    for (int links = 0; links < LINKS_MOST; links++) {
        char link[AG_PATH_BYTES], folder[AG_PATH_BYTES];
        ssize_t length = readlink(target, link, sizeof link - 1);
        if (length < 0)
            return true; /* no link; opening says it if the path is wrong */
        link[length] = '\0';
        strcpy(folder, target);
        if (!replace_put_path(target, link[0] == '/' ? 0 : replace_folder_bytes(folder), folder, link))
            return false;
    }
    errno = ELOOP;
    return false;
}

/* A new file with the mode, and if allowed the owner, of the file that it will replace. */
static FILE *replace_create(const ag_replacement *r)
{
    struct stat old;
    bool exists = stat(r->target, &old) == 0;
    unlink(r->temporary); /* left by a process that was killed */
    int file = open(r->temporary, O_WRONLY | O_CREAT | O_EXCL, exists ? old.st_mode & 0600 : 0666);
    if (file < 0)
        return NULL;
    if (exists && fchown(file, old.st_uid, old.st_gid) != 0)
        errno = 0; /* not allowed: the writer owns it */
    FILE *stream = exists && fchmod(file, old.st_mode & 07777) != 0 ? NULL : fdopen(file, "wb");
    if (stream == NULL) {
        int error = errno;
        close(file);
        unlink(r->temporary);
        errno = error;
    }
    return stream;
}

/* The name of a file is data of its folder. A file system that can not write folders to disk is none of ours. */
static void replace_sync_folder(ag_replacement *r)
{
    r->target[replace_folder_bytes(r->target)] = '\0';
    int folder = open(r->target[0] == '\0' ? "." : r->target, O_RDONLY);
    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
}

static bool replace_is_special(const char *path)
{
    struct stat old;
    return stat(path, &old) == 0 && !S_ISREG(old.st_mode) && !S_ISDIR(old.st_mode);
}

static bool replace_sync(FILE *file)
{
    return fsync(fileno(file)) == 0;
}

#else

static bool replace_is_special(const char *path)
{
    (void)path;
    return false;
}

static bool replace_follow(char target[AG_PATH_BYTES])
{
    (void)target;
    return true;
}

static FILE *replace_create(const ag_replacement *r)
{
    return fopen(r->temporary, "wb");
}

static bool replace_sync(FILE *file)
{
    (void)file;
    return true;
}

static void replace_sync_folder(ag_replacement *r)
{
    (void)r;
}

#endif

bool ag_replace_begin(ag_replacement *r, const char *path)
{
    r->file = NULL;
    r->temporary[0] = '\0';
    if (!replace_put_path(r->target, 0, "", path))
        return false;
    if (replace_is_special(path))
        r->file = fopen(path, "wb");
    else if (replace_follow(r->target) && replace_put_path(r->temporary, (int)strlen(r->target), r->target, ".tmp"))
        r->file = replace_create(r);
    return r->file != NULL;
}

bool ag_replace_end(ag_replacement *r, bool good)
{
    bool special = r->temporary[0] == '\0';
    int error = errno;
    if (good && (fflush(r->file) != 0 || (!special && !replace_sync(r->file)))) {
        good = false;
        error = errno;
    }
    if (fclose(r->file) != 0 && good) {
        good = false;
        error = errno;
    }
    if (good && !special && !replace_rename(r)) {
        good = false;
        error = errno;
    }
    if (!special && good)
        replace_sync_folder(r);
    else if (!special)
        remove(r->temporary);
    errno = error;
    return good;
}
