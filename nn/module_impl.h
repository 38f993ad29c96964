/* SPDX-License-Identifier: MIT
 *
 * module_impl.h - what every layer begins with: parameters, parts, name, training flag (private header).
 *
 * A layer's struct begins with an ag_module. Its new function checks the config, calls ag_module_new, adds
 * parameters and parts, and returns ag_module_made, which is NULL when any of that failed. A part's parameters
 * join the table of the layer it is added to, under the part's name, so a table lists everything below it.
 * Tables hold references: a parameter lives as long as a table that lists it.
 */
#ifndef AG_MODULE_IMPL_H
#define AG_MODULE_IMPL_H

#include "nn/nn.h"
#include "tensor/tensor_impl.h"

struct ag_module {
    ag_ctx *ctx;
    const char *kind; /* "linear": whose errors these are */
    const char *name; /* as a part, interned: "attn", "blocks.0"; NULL: a root */
    size_t size;      /* of the whole layer's struct */
    void (*forget)(ag_module *module); /* releases what else the layer holds; may be NULL */
    ag_named_tensor *param;
    int64_t param_count;
    ag_module *parts, *next; /* the list of parts, and the place in the list of the layer around it */
    bool training, failed;
};

/* ---- Making a layer ---- */

/* Config values; each is true, or false with one line of error. A size is in 1 .. 2^31 - 1, so that products of
 * two fit. Deviations and decays (check_amount) are finite and >= 0. */
bool ag_check_size(ag_ctx *ctx, const char *kind, const char *field, int64_t value);
bool ag_check_probability(ag_ctx *ctx, const char *kind, const char *field, double value); /* in [0, 1) */
bool ag_check_amount(ag_ctx *ctx, const char *kind, const char *field, double value);
bool ag_check_real(ag_ctx *ctx, const char *kind, ag_dtype dtype);

/* A layer's struct of `size` bytes, zero but for its module. NULL on error. */
void *ag_module_new(ag_ctx *ctx, const char *kind, size_t size);

typedef struct ag_init {
    enum { AG_INIT_CONSTANT, AG_INIT_UNIFORM, AG_INIT_NORMAL } kind;
    double value; /* the constant; the bound b of uniform in [-b, b); the standard deviation */
} ag_init;

/* A new parameter, drawn from the context's stream. NULL on error, which the module remembers. */
ag_tensor *ag_module_add_param(ag_module *module, const char *name, ag_dtype dtype, int ndim, const int64_t *shape,
                               ag_init init);

/* Takes over a part, which is freed with the module. A part NULL, or an error, is remembered. */
void ag_module_add_part(ag_module *module, const char *name, AG_TAKES ag_module *part);

/* The layer; or NULL, and all of it freed, when something failed on the way. */
void *ag_module_made(ag_module *module);

/* Frees the layer and its parts. NULL does nothing. */
void ag_module_free(AG_TAKES ag_module *module);

/* ---- Running it ---- */

/* The scope of a forward pass; ag_scope_end ends it. */
void ag_module_begin(const ag_module *module);

/* Whether dropout works now; and x with it applied, or x itself. */
bool ag_module_drops(const ag_module *module);
ag_tensor *ag_module_dropout(const ag_module *module, ag_tensor *x, double p);

#endif
