/* SPDX-License-Identifier: MIT
 *
 * quota.c - see quota.h.
 */
#include "examples/shared/quota.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 4096 };

/* Reads up to two whole numbers of a file; how many there are. */
static int read_numbers(const char *folder, const char *name, long long *first, long long *second)
{
    char path[2 * LONGEST + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    char line[80] = "", *end = line;
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL)
            line[0] = '\0';
        fclose(file);
    }
    *first = strtoll(line, &end, 10);
    if (end == line)
        return 0;
    char *rest = end;
    *second = strtoll(rest, &end, 10);
    return end == rest ? 1 : 2;
}

/* Of one group; 0: none, "max" or -1. */
static int quota_of(const char *folder)
{
    long long quota = 0, period = 0, unused;
    if (read_numbers(folder, "cpu.max", &quota, &period) != 2 &&
        (read_numbers(folder, "cpu.cfs_quota_us", &quota, &unused) == 0 ||
         read_numbers(folder, "cpu.cfs_period_us", &period, &unused) == 0))
        return 0;
    const bool limited = quota > 0 && period > 0 && quota / period < 100000;
    return limited ? (int)((quota + period - 1) / period) : 0;
}

/* The lowest quota of the group at `path` below `mount` and of those that it is in; *least is updated. A container may
 * see its own group at `mount` although `path` is longer. */
static void quota_up(const char *mount, char *path, int *least)
{
    char folder[2 * LONGEST], *slash = path;
    while (slash != NULL) {
        snprintf(folder, sizeof folder, "%s%s", mount, path);
        int quota = quota_of(folder);
        *least = quota > 0 && (*least == 0 || quota < *least) ? quota : *least;
        slash = strrchr(path, '/');
        if (slash != NULL)
            *slash = '\0';
    }
}

/* Whether "cpu" is in a list as "cpu,cpuacct". */
static bool has_cpu(const char *list)
{
    for (size_t length; *list != '\0'; list += length + (list[length] == ',')) {
        length = strcspn(list, ",");
        if (length == 3 && memcmp(list, "cpu", 3) == 0)
            return true;
    }
    return false;
}

int quota_processors(const char *root)
{
    char name[LONGEST], line[LONGEST], mount[LONGEST];
    int least = 0;
    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    FILE *file = fopen(name, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) { /* number:controllers:/path */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *path = list == NULL ? NULL : strchr(list + 1, ':');
        if (path == NULL)
            continue;
        *list++ = *path++ = '\0';
        if (*list != '\0' && !has_cpu(list))
            continue;
        snprintf(mount, sizeof mount, "%.2000s/sys/fs/cgroup%s", root, *list != '\0' ? "/cpu" : "");
        quota_up(mount, path, &least);
    }
    if (file != NULL)
        fclose(file);
    return least;
}
