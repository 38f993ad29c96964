/* SPDX-License-Identifier: MIT
 *
 * module_impl.h - the base of every layer: parameters, parts, name, training mode (private header).
 *
 * A layer's struct begins with an ag_module, so that a pointer to the layer, NULL included, converts to one to the
 * module. Its new function checks the config, calls ag_module_new, adds parameters and parts, and returns
 * ag_module_made, which is NULL when any of these steps failed. The parameters of a part join the table of the layer
 * that it is added to, under the part's name, so that a table lists everything below the layer. A table owns a
 * reference to each parameter.
 */
#ifndef AG_MODULE_IMPL_H
#define AG_MODULE_IMPL_H

#include "nn/nn.h"
#include "tensor/tensor_impl.h"

/* What a forward pass reads comes last, in one cache line with the layer's own first fields. */
struct ag_module {
    const char *kind; /* "linear"; errors begin with it */
    size_t size;      /* bytes of the whole layer's struct */
    void (*forget)(ag_module *module); /* releases what the layer owns besides; may be NULL */
    ag_named_tensor *param;  /* [param_count], the table */
    int64_t param_count, param_capacity;
    ag_module *parts, *next; /* the list of parts; the next part of the same layer */
    ag_ctx *ctx;
    const char *name; /* of a part, interned: "attn", "blocks.0"; NULL: a root */
    const char *outer, *path; /* of the last forward pass: the module path around it, and its own; NULL: none */
    bool training, failed;   /* failed: a step of making the layer failed */
};

/* ---- Making a layer ---- */

/* Checks of config values: true, or false with the error recorded. */
bool ag_check_size(ag_ctx *ctx, const char *kind, const char *field, int64_t value); /* 1 .. 2^31 - 1: products fit */
bool ag_check_probability(ag_ctx *ctx, const char *kind, const char *field, double value); /* in [0, 1) */
bool ag_check_amount(ag_ctx *ctx, const char *kind, const char *field, double value); /* finite and >= 0 */
bool ag_check_real(ag_ctx *ctx, const char *kind, ag_dtype dtype);

/* A layer's struct of `size` bytes: its module is filled in, the rest is zero. NULL on error. */
void *ag_module_new(ag_ctx *ctx, const char *kind, size_t size);

typedef struct ag_init {
    enum { AG_INIT_CONSTANT, AG_INIT_UNIFORM, AG_INIT_NORMAL } kind;
    double value; /* the constant; b, for uniform in [-b, b); the standard deviation, for a mean of 0 */
} ag_init;

/* A new parameter with initial values from the context's random stream. NULL on error; then module->failed is set. */
ag_tensor *ag_module_add_param(ag_module *module, const char *name, ag_dtype dtype, int ndim, const int64_t *shape,
                               ag_init init);

/* Adds a part, which is freed with the module. module->failed is set when part is NULL or on error. */
void ag_module_add_part(ag_module *module, const char *name, AG_TAKES ag_module *part);

/* The layer; or NULL, the layer being freed, when module->failed is set. */
void *ag_module_made(ag_module *module);

/* Frees the layer and its parts. NULL does nothing. */
void ag_module_free(AG_TAKES ag_module *module);

/* ---- Running it ---- */

/* Begins the scope of a forward pass, under the module's name; ag_scope_end ends it. */
void ag_module_begin(ag_module *module);

/* Whether dropout is active: a tape records and the module is in training mode. And x after dropout if it is, else
 * x. */
bool ag_module_drops(const ag_module *module);
ag_tensor *ag_module_dropout(const ag_module *module, ag_tensor *x, double p);

#endif
