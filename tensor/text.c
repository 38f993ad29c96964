/* SPDX-License-Identifier: MIT
 *
 * text.c - texts of a context: parts of messages, in rotating buffers, and interned names.
 */
#include "tensor/ctx_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Parts of messages ---- */

static char *text_next(ag_ctx *ctx)
{
    ctx->next_text = (ctx->next_text + 1) % AG_TEXT_BUFFERS;
    return ctx->text[ctx->next_text];
}

const char *ag_shape_text(const ag_tensor *t)
{
    return t == NULL ? "NULL" : ag_dims_text(t->ctx, t->ndim, t->shape);
}

const char *ag_dims_text(ag_ctx *ctx, int ndim, const int64_t *dims)
{
    if (ctx == NULL || (dims == NULL && ndim > 0))
        return "NULL";
    char *text = text_next(ctx), *end = text;
    *end++ = '[';
    for (int d = 0; d < ndim && d < AG_MAX_DIMS; d++)
        end += sprintf(end, "%s%" PRId64, d > 0 ? "," : "", dims[d]);
    strcpy(end, ndim > AG_MAX_DIMS ? ",...]" : "]"); /* a longer list is a caller's mistake */
    return text;
}

const char *ag_number_text(ag_ctx *ctx, double value)
{
    if (ctx == NULL || isnan(value))
        return "nan"; /* without the sign that some C libraries write */
    char *text = text_next(ctx);
    snprintf(text, AG_TEXT_BYTES, "%g", value);
    if (isfinite(value))
        ag_set_point(text);
    return text;
}

void ag_set_point(char *number)
{
    char *at = number + strspn(number, "+- 0123456789");
    size_t bytes = strcspn(at, "0123456789eE");
    if (bytes == 0)
        return;
    *at = '.';
    memmove(at + 1, at + bytes, strlen(at + bytes) + 1);
}

/* ---- Interned texts ---- */

const char *ag_intern(ag_ctx *ctx, const char *outer, const char *name)
{
    size_t before = strlen(outer), length = strlen(name), bytes = sizeof(ag_interned) + before + length + 2;
    ag_interned *made = ag_alloc(ctx, bytes);
    if (made == NULL)
        return NULL;
    *made = (ag_interned){ .bytes = bytes };
    memcpy(made->text, outer, before);
    if (before > 0)
        made->text[before++] = '.';
    memcpy(made->text + before, name, length + 1);
    uint32_t hash = 0;
    for (const char *c = made->text; *c != '\0'; c++)
        hash = hash * 31 + (unsigned char)*c;
    ag_interned **at = &ctx->interned[hash % AG_INTERNED_LISTS];
    while (*at != NULL && strcmp((*at)->text, made->text) != 0)
        at = &(*at)->next;
    if (*at == NULL)
        *at = made;
    else
        ag_free(ctx, made, bytes);
    return (*at)->text;
}

void ag_free_interned(ag_ctx *ctx)
{
    for (int i = 0; i < AG_INTERNED_LISTS; i++)
        for (ag_interned *text; (text = ctx->interned[i]) != NULL;) {
            ctx->interned[i] = text->next;
            ag_free(ctx, text, text->bytes);
        }
}
