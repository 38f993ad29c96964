/* SPDX-License-Identifier: MIT
 *
 * safetensors_impl.h - limits and helpers of reader and writer; reading from memory, for tests and fuzzing (private
 * header).
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

/* ag_safetensors_open on bytes that are borrowed until the file is closed. `name` replaces the path in messages. Values
 * are always decoded byte by byte, as on a machine of any byte order. */
AG_OWNED ag_safetensors *ag_safetensors_open_memory(ag_ctx *ctx, const char *name, const void *bytes, size_t size);

/* Reads a tensor into t, which is dense. False without an error: the file has none of this name that
 * ag_safetensors_read would give t's shape and dtype. False with an error: its values can not be read. */
bool ag_safetensors_read_into(ag_safetensors *file, const char *name, ag_tensor *t);

/* Bytes of all tensors' values. */
int64_t ag_safetensors_data_size(const ag_safetensors *file);

#endif
