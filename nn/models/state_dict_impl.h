/* SPDX-License-Identifier: MIT
 *
 * state_dict_impl.h - reading tensors of a file into tensors that exist, all or none (private header).
 */
#ifndef AG_STATE_DICT_IMPL_H
#define AG_STATE_DICT_IMPL_H

#include "tensor/files/files.h"
#include "tensor/tensor_impl.h"

typedef struct ag_state_file {
    ag_ctx *ctx;
    ag_safetensors *file;
    const char *where, *path; /* for errors: the function, and the file's name */
} ag_state_file;

/* Reads the file's tensor of each name into read[], in the innermost scope. False with an error when one is
 * missing or has another shape or dtype than the tensor it is for. */
bool ag_state_read(const ag_state_file *in, const ag_named_tensor *want, int64_t count, ag_tensor **read);

/* False, with an error, when the file holds a tensor of another name. Names that begin with `but` (may be NULL) are
 * passed over. */
bool ag_state_complete(const ag_state_file *in, const ag_named_tensor *want, int64_t count, const char *but);

/* Copies what was read into the tensors it is for, which are dense. Can not fail. */
void ag_state_commit(const ag_state_file *in, const ag_named_tensor *want, int64_t count, ag_tensor *const *read);

#endif
