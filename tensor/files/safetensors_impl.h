/* SPDX-License-Identifier: MIT
 *
 * safetensors_impl.h - limits and helpers of reader and writer; an open file, or several that an index names; reading
 * from memory, for tests and fuzzing (private header).
 */
#ifndef AG_SAFETENSORS_IMPL_H
#define AG_SAFETENSORS_IMPL_H

#include "tensor/files/files.h"

#include <string.h>

#define AG_SAFETENSORS_METADATA "__metadata__"
#define AG_SAFETENSORS_HEADER_MOST 100000000 /* bytes; the limit of the official reader */
#define AG_SAFETENSORS_CHUNK 8192            /* bytes converted at a time */

static inline bool ag_little_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

/* errno in words; error 0: the C library gave none. */
static inline const char *ag_file_reason(int error)
{
    return error != 0 ? strerror(error) : "no reason was given";
}

/* A tensor's line in a header. */
typedef struct ag_safetensors_entry {
    const char *name, *dtype;
    const struct ag_safetensors_dtype *info; /* of dtype; NULL: an unknown one */
    ag_safetensors *home;                    /* the file with its values */
    int64_t begin, end;                      /* data_offsets */
    int64_t shape[AG_MAX_DIMS];
    int ndim;
} ag_safetensors_entry;

struct ag_safetensors {
    ag_ctx *ctx;
    char *path;
    FILE *file;                 /* either this, */
    const unsigned char *bytes; /* or these */
    int64_t size, at;           /* of the whole; where the next read begins */
    char *header;               /* of an index: its text */
    int64_t header_size, data_size;
    ag_safetensors_entry *entries; /* in the header's order; of an index: those of all shards, in their order */
    int64_t count, capacity;
    ag_safetensors_entry **by_name;
    ag_metadata *metadata; /* sorted by key; of an index: none */
    int64_t metadata_count, metadata_capacity;
    ag_safetensors **shard; /* of an index: the files that it names */
    int64_t shard_count, shard_capacity;
};

/* ---- An index of shards (safetensors_index.c) ---- */

/* Reads the index that file->file is open at and opens its shards; false with an error. */
bool ag_safetensors_open_shards(ag_safetensors *file);

/* ag_safetensors_open of a file that is no index. */
AG_OWNED ag_safetensors *ag_safetensors_open_shard(ag_ctx *ctx, const char *path);

/* Sorts by_name, which is complete; false with an error when two tensors have one name. */
bool ag_safetensors_sort(ag_safetensors *file);

/* NULL: there is none of this name. */
const ag_safetensors_entry *ag_safetensors_find(const ag_safetensors *file, const char *name);

bool ag_safetensors_seek(ag_safetensors *file, int64_t offset);

/* The next `size` bytes of the file; false with an error. */
bool ag_safetensors_read_bytes(ag_safetensors *file, const char *where, void *out, size_t size);

/* ---- Reading ---- */

/* ag_safetensors_open on bytes that are borrowed until the file is closed. `name` replaces the path in messages. Values
 * are always decoded byte by byte, as on a machine of any byte order. */
AG_OWNED ag_safetensors *ag_safetensors_open_memory(ag_ctx *ctx, const char *name, const void *bytes, size_t size);

/* Reads a tensor into t, which is dense. False without an error: the file has none of this name that
 * ag_safetensors_read would give t's shape and dtype. False with an error: its values can not be read. */
bool ag_safetensors_read_into(ag_safetensors *file, const char *name, ag_tensor *t);

/* Bytes of all tensors' values. */
int64_t ag_safetensors_data_size(const ag_safetensors *file);

#endif
