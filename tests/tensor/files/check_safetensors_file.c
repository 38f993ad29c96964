/* SPDX-License-Identifier: MIT
 *
 * check_safetensors_file.c - see check_safetensors_file.h.
 */
#define _POSIX_C_SOURCE 200809L

#include "tests/tensor/files/check_safetensors_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char folder[256], path[300];
static int free_descriptor; /* the lowest before the test: the same after it, when every file was closed */

static int lowest_free_descriptor(void)
{
    int lowest = dup(STDOUT_FILENO);
    close(lowest);
    return lowest;
}

void make_folder(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/attngrad-XXXXXX", base != NULL ? base : "build");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    free_descriptor = lowest_free_descriptor();
}

void remove_folder(void)
{
    remove(path);
    ck_assert_int_eq(lowest_free_descriptor(), free_descriptor);
    ck_assert_msg(rmdir(folder) == 0, "%s is not empty", folder);
}

void write_bytes(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

void put_size(unsigned char *bytes, uint64_t size)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(size >> (8 * i) & 0xff);
}

unsigned char *file_of(const char *header, const void *data, size_t data_size, size_t *size)
{
    size_t header_size = strlen(header);
    *size = 8 + header_size + data_size;
    unsigned char *bytes = malloc(*size);
    put_size(bytes, header_size);
    memcpy(bytes + 8, header, header_size);
    if (data_size > 0)
        memcpy(bytes + 8 + header_size, data, data_size);
    return bytes;
}
