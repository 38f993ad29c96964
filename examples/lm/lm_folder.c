/* SPDX-License-Identifier: MIT
 *
 * lm_folder.c - see lm_folder.h.
 */
#include "examples/lm/lm_folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool folder_error(const char *path)
{
    fprintf(stderr, "lm: %s: %s\n", path, strerror(errno));
    return false;
}

/* Whether a path of this length could be written; if not, says so. */
static bool fits(const char *path, int length)
{
    if (length >= RUN_PATH)
        fprintf(stderr, "lm: the path %.40s... has over %d characters\n", path, RUN_PATH - 1);
    return length < RUN_PATH;
}

bool folder_path(char path[RUN_PATH], const char *folder, const char *name)
{
    return fits(folder, snprintf(path, RUN_PATH, "%s/%s", folder, name));
}

bool folder_has(const char *folder, const char *name)
{
    char path[RUN_PATH];
    return snprintf(path, RUN_PATH, "%s/%s", folder, name) < RUN_PATH && access(path, F_OK) == 0;
}

bool folder_make(const char *path)
{
    char part[RUN_PATH];
    if (!folder_path(part, path, "")) /* ends with a slash */
        return false;
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return folder_error(part);
        *at = '/';
    }
    return true;
}

/* The number that a name in runs/ is; 0: none. */
static long number_of(const char *name)
{
    char *end;
    long number = name[0] >= '1' && name[0] <= '9' ? strtol(name, &end, 10) : 0;
    return number > 0 && number < 1000000000 && *end == '\0' ? number : 0;
}

bool folder_make_next(char folder[RUN_PATH])
{
    if (mkdir(FOLDER_RUNS, 0777) != 0 && errno != EEXIST)
        return folder_error(FOLDER_RUNS);
    long number = 1;
    DIR *all = opendir(FOLDER_RUNS);
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;)
        number = number_of(entry->d_name) >= number ? number_of(entry->d_name) + 1 : number;
    if (all != NULL)
        closedir(all);
    do
        snprintf(folder, RUN_PATH, "%s/%ld", FOLDER_RUNS, number++);
    while (mkdir(folder, 0777) != 0 && errno == EEXIST); /* another program was faster */
    return access(folder, W_OK) == 0 || folder_error(folder);
}

/* Whether the run of a was written to later than that of b; of two at the same time, whose number is higher. */
static bool is_newer(const char *a, const struct stat *at, const char *b, const struct stat *bt)
{
    if (at->st_mtim.tv_sec != bt->st_mtim.tv_sec)
        return at->st_mtim.tv_sec > bt->st_mtim.tv_sec;
    if (at->st_mtim.tv_nsec != bt->st_mtim.tv_nsec)
        return at->st_mtim.tv_nsec > bt->st_mtim.tv_nsec;
    return number_of(a) > number_of(b);
}

bool folder_newest(char folder[RUN_PATH])
{
    DIR *all = opendir(FOLDER_RUNS);
    char newest[256] = "";
    struct stat when = { .st_size = 0 };
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        char path[RUN_PATH];
        struct stat what;
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof newest)
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", FOLDER_RUNS, entry->d_name, FOLDER_LAST);
        if (stat(path, &what) == 0 && (newest[0] == '\0' || is_newer(entry->d_name, &what, newest, &when))) {
            strcpy(newest, entry->d_name);
            when = what;
        }
    }
    if (all != NULL)
        closedir(all);
    snprintf(folder, RUN_PATH, "%s/%s", FOLDER_RUNS, newest);
    if (newest[0] == '\0')
        fprintf(stderr, "lm: there is no run in %s/; lm train makes one\n", FOLDER_RUNS);
    return newest[0] != '\0';
}

bool folder_model(const char *where, char path[RUN_PATH])
{
    char folder[RUN_PATH];
    struct stat what;
    if (where[0] == '\0') {
        if (!folder_newest(folder))
            return false;
    } else if (stat(where, &what) != 0 || !S_ISDIR(what.st_mode)) {
        return fits(where, snprintf(path, RUN_PATH, "%s", where));
    } else {
        snprintf(folder, sizeof folder, "%s", where);
    }
    return folder_path(path, folder, folder_has(folder, FOLDER_BEST) ? FOLDER_BEST : FOLDER_LAST);
}
