/* SPDX-License-Identifier: MIT
 *
 * files.h - tensors in safetensors files (annex of tensor/).
 */
#ifndef AG_FILES_H
#define AG_FILES_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- safetensors files ----------------------------------------------------------------------- */

typedef struct ag_metadata {
    const char *key;
    const char *value;
} ag_metadata;

/* Writes the file under a temporary name beside `path` and renames it, so that a crash leaves the old file
 * whole. Names must differ, and must not be "__metadata__". */
ag_status ag_safetensors_save(ag_ctx *ctx, const char *path, const ag_named_tensor *tensors, int64_t tensor_count,
                              const ag_metadata *metadata, int64_t metadata_count);

typedef struct ag_safetensors ag_safetensors;

/* Reads and checks the whole header; the file is treated as hostile. Tensors are read when asked for.
 * F32, F64 and I32 are read as they are, F16 and BF16 as F32, I64 as I32 when every value fits, else it is an
 * error. A tensor of another dtype is listed, and an error when it is read. Close before the context is freed. */
AG_OWNED ag_safetensors *ag_safetensors_open(ag_ctx *ctx, const char *path);
void ag_safetensors_close(AG_TAKES ag_safetensors *file);
int64_t ag_safetensors_count(const ag_safetensors *file);
const char *ag_safetensors_name(const ag_safetensors *file, int64_t i); /* in the header's order */
bool ag_safetensors_has(const ag_safetensors *file, const char *name);
ag_tensor *ag_safetensors_read(ag_safetensors *file, const char *name);
const char *ag_safetensors_metadata(const ag_safetensors *file, const char *key); /* NULL: not there */

#ifdef __cplusplus
}
#endif

#endif
