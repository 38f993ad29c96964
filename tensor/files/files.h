/* SPDX-License-Identifier: MIT
 *
 * files.h - numbers and tensors as text, and tensors in safetensors files (annex of tensor/).
 */
#ifndef AG_FILES_H
#define AG_FILES_H

#include "tensor/tensor.h"

#include <stdarg.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Text -------------------------------------------------------------------------------------- */

/* As C's functions without ag_, in every locale with a point. Conversions: d i u o x X c s p e E f F g G %, lengths l
 * ll j z t; at most 150 digits after the point. Another conversion ends the text, and the result is negative. */
AG_FORMAT(3, 0) int ag_vsnprintf(char *text, size_t size, const char *format, va_list values);
AG_FORMAT(3, 4) int ag_snprintf(char *text, size_t size, const char *format, ...);
AG_FORMAT(2, 3) int ag_fprintf(FILE *file, const char *format, ...);
AG_FORMAT(1, 2) int ag_printf(const char *format, ...);

/* As C's strtod for a decimal number of at most 1000 characters, inf and nan; reads no leading blanks. */
double ag_strtod(const char *text, char **end);

/* The fewest digits that identify the value among all of the dtype: "%.*g" with them reads back as the same value. */
int ag_digits(ag_dtype dtype, double value);

/* Prints in NumPy's layout: nested brackets, aligned columns, `precision` digits after the point (0: 4), then dtype
 * and shape. In a tensor of more than 1000 elements, a dim longer than 6 is shortened to its first 3 and last 3
 * entries with "..." between. */
ag_status ag_fprint(FILE *file, const ag_tensor *t, int precision);

/* ---- safetensors files ------------------------------------------------------------------------
 * A header of JSON (name, dtype, shape and byte range of each tensor, and text metadata), then the values.
 * (https://huggingface.co/docs/safetensors) */

/* Texts are borrowed for the call. */
typedef struct ag_metadata {
    const char *key;
    const char *value;
} ag_metadata;

/* Writes "<path>.tmp" and renames it, so that a crash or an error leaves the old file whole. On POSIX systems the data
 * is on disk before the renaming, the new file has the old one's mode, and of a symbolic link the file that it points
 * to is replaced; a pipe or device is written itself. Names and keys are UTF-8 and must be distinct; the name
 * "__metadata__" is an error. */
ag_status ag_safetensors_save(ag_ctx *ctx, const char *path, const ag_named_tensor *tensors, int64_t tensor_count,
                              const ag_metadata *metadata, int64_t metadata_count);

typedef struct ag_safetensors ag_safetensors;

/* Reads and checks the whole header; nothing in the file is trusted. NULL on error. Close it before the context is
 * freed. The path may be an index of shards (model.safetensors.index.json), whose "weight_map" places each tensor in a
 * file beside it: the tensors of all these files are read as those of one, without metadata. */
AG_OWNED ag_safetensors *ag_safetensors_open(ag_ctx *ctx, const char *path);
void ag_safetensors_close(AG_TAKES ag_safetensors *file);

/* Names and metadata live until the file is closed. */
int64_t ag_safetensors_count(const ag_safetensors *file); /* number of tensors */
const char *ag_safetensors_name(const ag_safetensors *file, int64_t i); /* in the header's order */
bool ag_safetensors_has(const ag_safetensors *file, const char *name);
const char *ag_safetensors_metadata(const ag_safetensors *file, const char *key); /* NULL: no such key */

/* Reads one tensor, scope-owned. F32, F64 and I32 keep their dtype; F16 and BF16 become float32; I64 becomes int32, an
 * error if a value does not fit. Every other dtype of the format is an error here, and is listed all the same. */
ag_tensor *ag_safetensors_read(ag_safetensors *file, const char *name);

#ifdef __cplusplus
}
#endif

#endif
