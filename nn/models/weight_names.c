/* SPDX-License-Identifier: MIT
 *
 * weight_names.c - parameters in other frameworks' files, by rules: other names, transposed, several joined into one.
 *
 *     ours [out,in]   theirs [parts * out,in], or [in,parts * out] when transposed; ours is rows part * out ...
 *     ours [n]        theirs [parts * n]
 *     by head         theirs [heads,parts,D,..], seen as [heads * parts * D,..]; ours is [:,part]
 *
 * Loading reads into copies of all parameters first, so that an error changes none; of the file it holds one tensor at
 * a time.
 */
#include "nn/attention_impl.h"
#include "nn/models/models.h"
#include "nn/module_impl.h"
#include "nn/models/state_dict_impl.h"
#include "tensor/files/safetensors_impl.h"

#include <inttypes.h>
#include <string.h>

enum { NAME_MOST = 256, NUMBER_MOST = 24 };

/* ---- Names ---- */

/* Whether the name matches the pattern. number[] receives the number in the place of "{}"; "": the pattern has none. */
static bool names_fits(const char *pattern, const char *name, char number[NUMBER_MOST])
{
    const char *hole = strstr(pattern, "{}");
    number[0] = '\0';
    if (hole == NULL)
        return strcmp(pattern, name) == 0;
    size_t before = (size_t)(hole - pattern);
    if (strncmp(pattern, name, before) != 0)
        return false;
    size_t digits = strspn(name + before, "0123456789");
    if (digits == 0 || digits >= NUMBER_MOST || strcmp(name + before + digits, hole + 2) != 0)
        return false;
    memcpy(number, name + before, digits);
    number[digits] = '\0';
    return true;
}

/* out = prefix, then theirs with the number in the place of "{}". False: too long. */
static bool names_fill(char out[NAME_MOST], const char *prefix, const char *theirs, const char *number)
{
    const char *hole = strstr(theirs, "{}");
    int before = hole == NULL ? (int)strlen(theirs) : (int)(hole - theirs);
    int length = snprintf(out, NAME_MOST, "%s%.*s%s%s", prefix, before, theirs, hole == NULL ? "" : number,
                          hole == NULL ? "" : hole + 2);
    return length >= 0 && length < NAME_MOST;
}

/* The place of one parameter in a file. */
typedef struct place {
    const ag_weight_rule *rule;
    char name[NAME_MOST]; /* theirs */
    bool found;           /* the file has it */
    int64_t head_size;    /* of a rule by head */
} place;

/* The head size of the multi-head layer that has the parameter of this name; 0: there is none. */
static int64_t names_head_size(const ag_module *module, const char *name)
{
    while (module != NULL && strcmp(module->kind, "mha") != 0) {
        const ag_module *part = module->parts;
        size_t length = 0;
        for (; part != NULL; part = part->next) {
            length = strlen(part->name);
            if (strncmp(part->name, name, length) == 0 && name[length] == '.')
                break;
        }
        module = part;
        name += part == NULL ? 0 : length + 1;
    }
    return module == NULL ? 0 : ((const ag_attention_layer *)module)->config.head_size;
}

/* *at = the first rule that matches the name and whose tensor is in the file, with the prefix or without; else, or if
 * file is NULL, the first rule that matches. False with an error when none matches. */
static bool names_find_place(const ag_module *module, const char *where, const char *name, const ag_weight_rule *rules,
                             int64_t count, const ag_safetensors *file, const char *prefix, place *at)
{
    ag_ctx *ctx = module->ctx;
    *at = (place){ .rule = NULL };
    char number[NUMBER_MOST];
    for (int64_t i = 0; i < count && !at->found; i++) {
        if (!names_fits(rules[i].ours, name, number))
            continue;
        place here = { .rule = &rules[i] };
        bool short_enough = true;
        for (int bare = prefix == NULL; bare < 2 && !here.found && short_enough; bare++) {
            short_enough = names_fill(here.name, bare ? "" : prefix, rules[i].theirs, number);
            here.found = short_enough && file != NULL && ag_safetensors_has(file, here.name);
        }
        if (!short_enough) {
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "the other name of %s is longer than %d bytes", name, NAME_MOST - 1);
            return false;
        }
        if (here.found || at->rule == NULL)
            *at = here;
        if (file == NULL)
            break;
    }
    if (at->rule == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "no rule is for %s", name);
    else if (at->rule->by_head)
        at->head_size = names_head_size(module, name);
    return at->rule != NULL;
}

/* Whether there is no error so far and what a caller gives makes sense; otherwise false, with an error. */
static bool names_check_call(ag_ctx *ctx, const char *where, const char *path, const ag_weight_rule *rules,
                             int64_t count)
{
    if (ag_error(ctx) != AG_OK || !ag_check_given(ctx, where, "path", path))
        return false;
    if (count < 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "the number of rules is %" PRId64, count);
    if (count < 0 || (count > 0 && !ag_check_given(ctx, where, "rules", rules)))
        return false;
    for (int64_t i = 0; i < count; i++) {
        const ag_weight_rule *r = &rules[i];
        bool named = r->ours != NULL && r->theirs != NULL;
        if (named && (!r->by_head || (r->parts > 0 && !r->transposed)) && r->parts >= 0 &&
            (r->parts == 0 ? r->part == 0 : r->part >= 0 && r->part < r->parts))
            continue;
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "rule %" PRId64 " (%s, %s): part %d of %d", i,
                r->ours == NULL ? "NULL" : r->ours, r->theirs == NULL ? "NULL" : r->theirs, r->part, r->parts);
        return false;
    }
    return true;
}

/* ---- Pieces ---- */

/* The rows of theirs that are one piece, as a view: [rows,..], or by head [heads,D,..]. */
static ag_tensor *names_piece(ag_tensor *theirs, const place *at, int part)
{
    if (theirs == NULL)
        return NULL;
    const int64_t D = at->head_size, parts = at->rule->parts, rows = theirs->shape[0] / parts;
    if (!at->rule->by_head)
        return ag_tensor_slice(theirs, 0, part * rows, (part + 1) * rows, 1);
    const int64_t shape[4] = { rows / D, parts, D, theirs->ndim > 1 ? theirs->shape[1] : 1 };
    return ag_tensor_select(ag_tensor_reshape(theirs, theirs->ndim + 2, shape), 1, part);
}

/* ---- Loading ---- */

/* The shape of theirs. False with an error when the rule does not suit a parameter of this shape. */
static bool names_their_shape(ag_ctx *ctx, const char *where, ag_named_tensor ours, const place *at,
                              int64_t shape[AG_MAX_DIMS])
{
    const ag_tensor *t = ours.tensor;
    const ag_weight_rule *rule = at->rule;
    const int64_t D = at->head_size;
    if (rule->by_head && (D == 0 || t->ndim < 1 || t->ndim > 2 || t->shape[0] % D != 0)) {
        ag_fail(ctx, AG_ERR_SHAPE, where, "%s is %s, its rule is for the heads of a multi-head layer", ours.name,
                ag_shape_text(t));
        return false;
    }
    if (rule->transposed ? t->ndim != 2 : rule->parts > 0 && t->ndim < 1) {
        ag_fail(ctx, AG_ERR_SHAPE, where, "%s is %s, its rule is for %s", ours.name, ag_shape_text(t),
                rule->transposed ? "[out,in]" : "a part of something");
        return false;
    }
    for (int d = 0; d < t->ndim; d++)
        shape[d] = t->shape[d];
    if (rule->parts > 0)
        shape[0] *= rule->parts;
    if (rule->transposed) {
        int64_t out = shape[0];
        shape[0] = shape[1];
        shape[1] = out;
    }
    return true;
}

/* The new value of ours, read from the file; NULL on error. */
static ag_tensor *names_read_place(const ag_state_file *in, ag_named_tensor ours, const place *at)
{
    const ag_weight_rule *rule = at->rule;
    const ag_tensor *want = ours.tensor;
    int64_t shape[AG_MAX_DIMS] = { 0 };
    if (!names_their_shape(in->ctx, in->where, ours, at, shape))
        return NULL;
    ag_tensor *theirs = ag_safetensors_read(in->file, at->name);
    if (theirs == NULL)
        return NULL;
    bool good = theirs->dtype != AG_I32 && theirs->ndim == want->ndim;
    for (int d = 0; d < want->ndim && good; d++)
        good = theirs->shape[d] == shape[d];
    if (!good) {
        char part[40] = "";
        if (rule->parts > 0)
            snprintf(part, sizeof part, ", part %d of %d", rule->part, rule->parts);
        return ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s in %s is %s %s, wanted %s for %s %s%s%s", at->name,
                       in->path, ag_dtype_name(theirs->dtype), ag_shape_text(theirs),
                       ag_dims_text(in->ctx, want->ndim, shape), ours.name, ag_shape_text(want), part,
                       rule->transposed ? ", transposed" : "");
    }
    if (rule->transposed)
        theirs = ag_tensor_transpose(theirs, 0, 1);
    if (rule->parts > 0)
        theirs = names_piece(theirs, at, rule->part);
    ag_tensor *copy = ag_empty(in->ctx, want->dtype, want->ndim, want->shape);
    if (copy == NULL || theirs == NULL ||
        ag_copy_into(ag_tensor_reshape(copy, theirs->ndim, theirs->shape), theirs) != AG_OK)
        return NULL;
    return copy;
}

/* Reads the new values of all parameters, in the innermost scope, to want[] and read[], or into fresh ones; an optional
 * one that is not in the file is left out. Returns the number in want[], -1 on error. */
static int64_t names_read_all(const ag_state_file *in, const ag_module *module, const ag_weight_rule *rules,
                              int64_t count, const char *prefix, ag_named_tensor *want, ag_tensor **read)
{
    int64_t filled = 0;
    for (int64_t i = 0; i < module->param_count; i++) {
        ag_named_tensor ours = module->param[i];
        place at;
        if (!names_find_place(module, in->where, ours.name, rules, count, in->file, prefix, &at))
            return -1;
        if (!at.found && at.rule->optional)
            continue;
        if (!at.found) {
            ag_fail(in->ctx, AG_ERR_FILE, in->where, "%s has no %s, wanted for %s %s", in->path, at.name, ours.name,
                    ag_shape_text(ours.tensor));
            return -1;
        }
        const bool same = at.rule->parts == 0 && !at.rule->transposed;
        if (in->fresh && same && ag_safetensors_read_into(in->file, at.name, ours.tensor))
            continue;
        ag_scope_begin(in->ctx, NULL); /* frees theirs before the next is read */
        want[filled] = ours;
        read[filled] = ag_error(in->ctx) == AG_OK ? names_read_place(in, ours, &at) : NULL;
        if (in->fresh && read[filled] != NULL)
            ag_state_commit(in, &ours, 1, &read[filled]);
        ag_scope_end(in->ctx, in->fresh ? NULL : read[filled]);
        if (read[filled] == NULL)
            return -1;
        filled += !in->fresh;
    }
    return filled;
}

ag_status ag_names_load(ag_module *module, ag_safetensors *file, const ag_weight_rule *rules, int64_t count,
                        const char *prefix, bool fresh)
{
    ag_ctx *ctx = module->ctx;
    size_t params = (size_t)module->param_count;
    ag_named_tensor *want = ag_alloc(ctx, params * sizeof *want);
    ag_tensor **read = ag_alloc(ctx, params * sizeof *read);
    ag_state_file in = { ctx, file, "module_load_named", file->path, fresh };
    ag_scope_begin(ctx, NULL);
    if (want != NULL && read != NULL) {
        int64_t filled = names_read_all(&in, module, rules, count, prefix, want, read);
        if (filled >= 0)
            ag_state_commit(&in, want, filled, read);
    }
    ag_scope_end(ctx, NULL);
    ag_free(ctx, want, params * sizeof *want);
    ag_free(ctx, read, params * sizeof *read);
    return ag_error(ctx);
}

ag_status ag_module_load_named(ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count,
                               const char *prefix)
{
    static const char where[] = "module_load_named";
    if (module == NULL)
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (!names_check_call(ctx, where, path, rules, count))
        return ag_error(ctx);
    ag_safetensors *file = ag_safetensors_open(ctx, path);
    if (file != NULL)
        ag_names_load(module, file, rules, count, prefix, false);
    ag_safetensors_close(file);
    return ag_error(ctx);
}

/* ---- Saving ---- */

/* Joins the pieces of the tensor that at[i] names, which have one shape and dtype; NULL on error. */
static ag_tensor *names_join_parts(const ag_module *module, const place *at, int64_t i, const char *where)
{
    ag_ctx *ctx = module->ctx;
    const ag_weight_rule *rule = at[i].rule;
    ag_tensor *first = module->param[i].tensor;
    int64_t shape[AG_MAX_DIMS] = { 0 };
    for (int d = 0; d < first->ndim; d++)
        shape[d] = first->shape[d];
    shape[0] *= rule->parts;
    ag_tensor *whole = ag_empty(ctx, first->dtype, first->ndim, shape);
    for (int part = 0; part < rule->parts && whole != NULL; part++) {
        int64_t k = 0;
        while (k < module->param_count && (at[k].rule->parts != rule->parts || at[k].rule->part != part ||
                                           strcmp(at[k].name, at[i].name) != 0))
            k++;
        if (k == module->param_count)
            return ag_fail(ctx, AG_ERR_ARGUMENT, where, "nothing is part %d of %d of %s", part, rule->parts,
                           at[i].name);
        ag_tensor *piece = module->param[k].tensor;
        if (!ag_same_shape(piece, first) || piece->dtype != first->dtype)
            return ag_fail(ctx, AG_ERR_SHAPE, where, "%s %s and %s %s are not equal parts of %s",
                           module->param[i].name, ag_shape_text(first), module->param[k].name, ag_shape_text(piece),
                           at[i].name);
        ag_tensor *into = names_piece(whole, &at[i], part);
        if (into == NULL || ag_copy_into(into, ag_tensor_reshape(piece, into->ndim, into->shape)) != AG_OK)
            return NULL;
    }
    return whole;
}

/* Writes their names and tensors to out[]; returns their number, -1 on error. */
static int64_t names_theirs_of(const ag_module *module, const place *at, ag_named_tensor *out, const char *where)
{
    int64_t filled = 0;
    for (int64_t i = 0; i < module->param_count; i++) {
        int64_t shape[AG_MAX_DIMS];
        const ag_weight_rule *rule = at[i].rule;
        bool written = false; /* a part, together with an earlier one */
        for (int64_t k = 0; k < i && rule->parts > 0 && !written; k++)
            written = strcmp(at[k].name, at[i].name) == 0;
        if (written)
            continue;
        if (!names_their_shape(module->ctx, where, module->param[i], &at[i], shape))
            return -1;
        ag_tensor *t = rule->parts > 0 ? names_join_parts(module, at, i, where) : module->param[i].tensor;
        if (rule->transposed)
            t = ag_tensor_contiguous(ag_tensor_transpose(t, 0, 1));
        out[filled++] = (ag_named_tensor){ at[i].name, t };
        if (t == NULL)
            return -1;
    }
    return filled;
}

ag_status ag_module_save_named(const ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count)
{
    return ag_names_save(module, path, rules, count, NULL, NULL);
}

ag_status ag_names_save(const ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count,
                        const char *prefix, const ag_safetensors *like)
{
    static const char where[] = "module_save_named";
    if (module == NULL)
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (!names_check_call(ctx, where, path, rules, count))
        return ag_error(ctx);
    size_t params = (size_t)module->param_count;
    place *at = ag_alloc(ctx, params * sizeof *at);
    ag_named_tensor *out = ag_alloc(ctx, params * sizeof *out);
    bool good = at != NULL && out != NULL;
    for (int64_t i = 0; i < module->param_count && good; i++)
        good = names_find_place(module, where, module->param[i].name, rules, count, like, prefix, &at[i]);
    ag_scope_begin(ctx, NULL);
    int64_t filled = good ? names_theirs_of(module, at, out, where) : -1;
    if (filled >= 0)
        ag_safetensors_save(ctx, path, out, filled, NULL, 0);
    ag_scope_end(ctx, NULL);
    ag_free(ctx, at, params * sizeof *at);
    ag_free(ctx, out, params * sizeof *out);
    return ag_error(ctx);
}
