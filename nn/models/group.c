/* SPDX-License-Identifier: MIT
 *
 * group.c - a module of the caller's own: named parts, and no forward pass.
 */
#include "nn/models/models.h"
#include "nn/module_impl.h"

#include <string.h>

ag_module *ag_group_new(ag_ctx *ctx, const char *kind)
{
    const char *kept = ctx == NULL ? NULL : ag_intern(ctx, "", kind != NULL ? kind : "group");
    return kept == NULL ? NULL : ag_module_new(ctx, kept, sizeof(ag_module));
}

/* Whether `inner` is `outer` or one of its parts. */
static bool group_holds(const ag_module *outer, const ag_module *inner)
{
    for (const ag_module *part = outer->parts; part != NULL; part = part->next)
        if (group_holds(part, inner))
            return true;
    return outer == inner;
}

static bool group_has_part(const ag_module *group, const char *name)
{
    for (const ag_module *part = group->parts; part != NULL; part = part->next)
        if (strcmp(part->name, name) == 0)
            return true;
    return false;
}

ag_status ag_group_add(ag_module *group, const char *name, ag_module *part)
{
    if (group == NULL || part == NULL) {
        ag_ctx *ctx = group != NULL ? group->ctx : part != NULL ? part->ctx : NULL;
        ag_module_free(part);
        return ctx == NULL ? AG_ERR_ARGUMENT : ag_error(ctx);
    }
    if (group_holds(part, group) || part->name != NULL) { /* not freed: a module that others hold */
        ag_fail(group->ctx, AG_ERR_ARGUMENT, group->kind, "the part is %s",
                part == group ? "the group itself" : part->name != NULL ? "part of a module already"
                                                                        : "a module that the group is part of");
        return ag_error(group->ctx);
    }
    if (part->ctx != group->ctx)
        ag_fail(group->ctx, AG_ERR_ARGUMENT, group->kind, "the part is of another context");
    else if (name == NULL || *name == '\0')
        ag_fail(group->ctx, AG_ERR_ARGUMENT, group->kind, "a part has no name");
    else if (group_has_part(group, name))
        ag_fail(group->ctx, AG_ERR_ARGUMENT, group->kind, "there is a part '%s' already", name);
    else {
        ag_module_add_part(group, name, part);
        return ag_error(group->ctx);
    }
    ag_module_free(part);
    return ag_error(group->ctx);
}
void ag_group_free(ag_module *group) { ag_module_free(group); }
