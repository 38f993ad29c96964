/* SPDX-License-Identifier: MIT
 *
 * lm_folder.c - see lm_folder.h.
 */
#include "examples/lm/lm_folder.h"
#include "examples/shared/system.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return snprintf(path, RUN_PATH, "%s/%s", folder, name) < RUN_PATH && system_exists(path);
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
        if (!system_make_folder(part) && errno != EEXIST)
            return folder_error(part);
        *at = '/';
    }
    return true;
}

/* The number that a path in runs/ ends with; 0: none. */
static long number_of(const char *path)
{
    char *end;
    const char *name = path + strlen(FOLDER_RUNS "/");
    long number = name[0] >= '1' && name[0] <= '9' ? strtol(name, &end, 10) : 0;
    return number > 0 && number < 1000000000 && *end == '\0' ? number : 0;
}

bool folder_make_next(char folder[RUN_PATH])
{
    if (!system_make_folder(FOLDER_RUNS) && errno != EEXIST)
        return folder_error(FOLDER_RUNS);
    long number = 1;
    int count;
    char **run = system_list(FOLDER_RUNS, &count);
    for (int i = 0; i < count; i++)
        number = number_of(run[i]) >= number ? number_of(run[i]) + 1 : number;
    system_list_free(run, count);
    do
        snprintf(folder, RUN_PATH, "%s/%ld", FOLDER_RUNS, number++);
    while (!system_make_folder(folder) && errno == EEXIST); /* another program was faster */
    return system_may_write(folder) || folder_error(folder);
}

bool folder_newest(char folder[RUN_PATH])
{
    int count;
    char **run = system_list(FOLDER_RUNS, &count);
    const char *newest = NULL;
    int64_t when = 0;
    for (int i = 0; i < count; i++) {
        char path[RUN_PATH];
        system_file last;
        if (snprintf(path, RUN_PATH, "%s/%s", run[i], FOLDER_LAST) >= RUN_PATH || !system_look(path, &last))
            continue;
        const bool same_time = newest != NULL && last.changed == when;
        if (newest == NULL || last.changed > when || (same_time && number_of(run[i]) > number_of(newest))) {
            newest = run[i];
            when = last.changed;
        }
    }
    const bool found = newest != NULL && snprintf(folder, RUN_PATH, "%s", newest) < RUN_PATH;
    system_list_free(run, count);
    if (!found)
        fprintf(stderr, "lm: there is no run in %s/; lm train makes one\n", FOLDER_RUNS);
    return found;
}

bool folder_model(const char *where, char path[RUN_PATH])
{
    char folder[RUN_PATH];
    system_file what;
    if (where[0] == '\0') {
        if (!folder_newest(folder))
            return false;
    } else if (!system_look(where, &what) || !what.folder) {
        return fits(where, snprintf(path, RUN_PATH, "%s", where));
    } else {
        snprintf(folder, sizeof folder, "%s", where);
    }
    const char *name = folder_has(folder, FOLDER_BEST) ? FOLDER_BEST : FOLDER_LAST;
    if (!folder_has(folder, name) && folder_has(folder, FOLDER_MODEL))
        name = FOLDER_MODEL;
    return folder_path(path, folder, name);
}
