/* SPDX-License-Identifier: MIT
 *
 * state_dict_impl.h - reading a file into existing tensors, all or none (private header).
 */
#ifndef AG_STATE_DICT_IMPL_H
#define AG_STATE_DICT_IMPL_H

#include "nn/models/models.h"
#include "tensor/files/files.h"
#include "tensor/tensor_impl.h"

typedef struct ag_state_file {
    ag_ctx *ctx;
    ag_safetensors *file;
    const char *where, *path; /* for errors: the function and the file's path */
    bool fresh; /* the tensors have no values to keep in case of an error: weight_names.c reads into them */
} ag_state_file;

/* Reads the file's tensor of each name into read[], in the innermost scope. False with an error when one is missing or
 * its shape or dtype is not that of want[].tensor. */
bool ag_state_read(const ag_state_file *in, const ag_named_tensor *want, int64_t count, ag_tensor **read);

/* False with an error when the file has a tensor of another name. Names that begin with `but` (may be NULL) are
 * ignored. */
bool ag_state_complete(const ag_state_file *in, const ag_named_tensor *want, int64_t count, const char *but);

/* ag_module_load_named of an open file; with `fresh` an error leaves the parameters without values, and no second copy
 * is made. */
ag_status ag_names_load(ag_module *module, ag_safetensors *file, const ag_weight_rule *rules, int64_t count,
                        const char *prefix, bool fresh);

/* ag_module_save_named; each tensor has the name, with the prefix or without, that it has in the file `like`; NULL: the
 * first rule's. */
ag_status ag_names_save(const ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count,
                        const char *prefix, const ag_safetensors *like);

/* Copies read[] into want[].tensor, which are dense. Can not fail. */
void ag_state_commit(const ag_state_file *in, const ag_named_tensor *want, int64_t count, ag_tensor *const *read);

#endif
