/* SPDX-License-Identifier: MIT
 *
 * system.c - see system.h: what all systems answer in the same way.
 */
#include "examples/shared/system.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void system_list_free(char **list, int count)
{
    for (int i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

/* Adds folder/name; false with errno set when out of memory. */
static bool add_path(char ***list, int *count, const char *folder, const char *name)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char **longer = realloc(*list, (size_t)(*count + 1) * sizeof *longer), *path = malloc(size);
    *list = longer == NULL ? *list : longer;
    if (longer == NULL || path == NULL) {
        free(path);
        errno = ENOMEM;
        return false;
    }
    snprintf(path, size, "%s/%s", folder, name);
    longer[(*count)++] = path;
    return true;
}

char **system_list(const char *path, int *count)
{
    DIR *folder = opendir(path);
    char **list = NULL;
    bool good = folder != NULL;
    *count = 0;
    for (struct dirent *entry; good && (entry = readdir(folder)) != NULL;)
        good = entry->d_name[0] == '.' || add_path(&list, count, path, entry->d_name);
    const int error = errno;
    if (folder != NULL)
        closedir(folder);
    if (*count > 1)
        qsort(list, (size_t)*count, sizeof *list, compare_names);
    if (good)
        return list;
    system_list_free(list, *count);
    *count = -1;
    errno = error;
    return NULL;
}
