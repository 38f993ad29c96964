/* SPDX-License-Identifier: MIT
 *
 * check_safetensors_file.h - files that a test makes byte by byte. Every test has a folder of its own, which it must
 * leave empty but for the file at `path`, and every file closed.
 */
#ifndef TESTS_CHECK_SAFETENSORS_FILE_H
#define TESTS_CHECK_SAFETENSORS_FILE_H

#include "tests/test.h"

extern char folder[256], path[300];
void make_folder(void);
void remove_folder(void);

void write_bytes(const void *bytes, size_t size); /* to the file at `path` */
void put_size(unsigned char *bytes, uint64_t size);

/* Size, header, then the data, in a block of exactly their size so that a read beyond it is noticed. */
unsigned char *file_of(const char *header, const void *data, size_t data_size, size_t *size);

/* A tensor's entry in a header. */
#define W(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

#endif
