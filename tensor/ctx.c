/* SPDX-License-Identifier: MIT
 *
 * ctx.c - the context: its life, errors, scopes and the module path, the state of the random stream.
 */
#include "tensor/ctx_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define VERSION_TEXT_(major, minor, patch) #major "." #minor "." #patch
#define VERSION_TEXT(major, minor, patch) VERSION_TEXT_(major, minor, patch)

const char *ag_version(void)
{
    return VERSION_TEXT(AG_VERSION_MAJOR, AG_VERSION_MINOR, AG_VERSION_PATCH);
}

static void *malloc_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void malloc_free(void *user, void *block, size_t size)
{
    (void)user;
    (void)size;
    free(block);
}

/* `wanted` threads; 0: OpenMP's default. */
static int thread_count(int wanted)
{
#ifdef _OPENMP
    if (wanted <= 0)
        wanted = omp_get_max_threads();
#endif
    return wanted < 1 ? 1 : wanted > AG_MAX_THREADS ? AG_MAX_THREADS : wanted;
}

ag_ctx *ag_ctx_new(ag_ctx_config config)
{
    const ag_kernel_table *kernels = ag_kernels_find(config.isa != NULL ? config.isa : getenv("AG_ISA"));
    if (kernels == NULL)
        return NULL;
    ag_allocator allocator = config.allocator;
    if (allocator.alloc == NULL)
        allocator = (ag_allocator){ malloc_alloc, malloc_free, NULL };
    ag_ctx *ctx = allocator.alloc(allocator.user, sizeof *ctx);
    if (ctx == NULL)
        return NULL;
    *ctx = (ag_ctx){
        .allocator = allocator,
        .bytes = sizeof *ctx,
        .peak_bytes = sizeof *ctx,
        .rng = { .seed = config.seed },
        .team = { .threads = thread_count(config.threads) },
        .kernels = kernels,
        .error_path = "",
    };
    ag_scope_begin(ctx, NULL);
    if (ctx->status != AG_OK) {
        ag_ctx_free(ctx);
        return NULL;
    }
    return ctx;
}

/* Ends the innermost scope, also the context's own. */
static ag_tensor *scope_pop(ag_ctx *ctx, ag_tensor *keep)
{
    if (ctx->scopes_lost > 0) {
        ctx->scopes_lost--;
        return keep;
    }
    int64_t first = ctx->scopes[--ctx->scope_count].first, end = ctx->owned_count;
    ctx->owned_count = first;
    for (int64_t i = first; i < end; i++) {
        ag_tensor *t = ctx->owned[i];
        if (t == keep && ctx->scope_count > 0)
            ctx->owned[ctx->owned_count++] = t; /* at or before i: overwrites no slot that is still to be read */
        else
            ag_release(t);
    }
    return keep;
}

int64_t ag_ctx_free(ag_ctx *ctx)
{
    if (ctx == NULL)
        return 0;
    if (ctx->recorder != NULL)
        ctx->recorder->end(ctx->recorder);
    while (ag_scope_depth(ctx) > 0)
        scope_pop(ctx, NULL);
    /* Attachments first: they may hold other tensors of this list, such as gradients. */
    for (ag_tensor *t = ctx->newest; t != NULL; t = t->older) {
        ag_attachment *attachment = t->attachment;
        t->attachment = NULL;
        if (attachment != NULL)
            attachment->free(ctx, attachment);
    }
    int64_t held = 0;
    for (; ctx->newest != NULL; held++)
        ag_tensor_destroy(ctx->newest);
    ag_free(ctx, ctx->scopes, (size_t)ctx->scope_capacity * sizeof *ctx->scopes);
    ag_free(ctx, ctx->owned, (size_t)ctx->owned_capacity * sizeof *ctx->owned);
    ag_free_interned(ctx);
    ag_ctx_trim(ctx);
    ag_allocator allocator = ctx->allocator;
    allocator.free(allocator.user, ctx, sizeof *ctx);
    return held;
}

int ag_ctx_threads(const ag_ctx *ctx) { return ctx == NULL ? 0 : ctx->team.threads; }
const char *ag_ctx_isa(const ag_ctx *ctx) { return ctx == NULL ? "" : ctx->kernels->isa; }
size_t ag_ctx_bytes(const ag_ctx *ctx) { return ctx == NULL ? 0 : ctx->bytes; }
size_t ag_ctx_peak_bytes(const ag_ctx *ctx) { return ctx == NULL ? 0 : ctx->peak_bytes; }

ag_team *ag_ctx_team(ag_ctx *ctx) { return &ctx->team; }
ag_recorder *ag_recorder_of(const ag_ctx *ctx) { return ctx == NULL ? NULL : ctx->recorder; }
void ag_recorder_set(ag_ctx *ctx, ag_recorder *recorder) { ctx->recorder = recorder; }
uint64_t ag_serial_next(ag_ctx *ctx) { return ++ctx->serial; }

const ag_real_kernels *ag_kernels(const ag_ctx *ctx, ag_dtype dtype)
{
    return dtype == AG_F64 ? &ctx->kernels->f64 : &ctx->kernels->f32;
}

/* ---- Errors ---- */

void *ag_fail(ag_ctx *ctx, ag_status status, const char *where, const char *format, ...)
{
    if (ctx == NULL || ctx->status != AG_OK)
        return NULL;
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    ctx->status = status != AG_OK ? status : AG_ERR_ARGUMENT;
    ctx->error_path = ag_module_path(ctx);
    snprintf(ctx->error_op, sizeof ctx->error_op, "%s", where != NULL ? where : "");
    snprintf(ctx->error_message, sizeof ctx->error_message, "%s%s%s: %s", ctx->error_path,
             *ctx->error_path != '\0' ? ": " : "", ctx->error_op, message);
    for (char *c = ctx->error_message; (c = strchr(c, '\n')) != NULL;) /* a name of the caller's may have one */
        *c = ' ';
    return NULL;
}

bool ag_check_given(ag_ctx *ctx, const char *where, const char *name, const void *argument)
{
    if (argument == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "%s is NULL", name);
    return argument != NULL;
}

ag_status ag_error(const ag_ctx *ctx) { return ctx == NULL ? AG_ERR_ARGUMENT : ctx->status; }
const char *ag_error_message(const ag_ctx *ctx) { return ctx == NULL ? "the context is NULL" : ctx->error_message; }
const char *ag_error_op(const ag_ctx *ctx) { return ctx == NULL ? "" : ctx->error_op; }
const char *ag_error_path(const ag_ctx *ctx) { return ctx == NULL ? "" : ctx->error_path; }

void ag_error_clear(ag_ctx *ctx)
{
    if (ctx == NULL)
        return;
    ctx->status = AG_OK;
    ctx->error_path = "";
    ctx->error_op[0] = '\0';
    ctx->error_message[0] = '\0';
}

/* ---- Scopes ---- */

const char *ag_module_path(const ag_ctx *ctx)
{
    return ctx == NULL || ctx->scope_count == 0 ? "" : ctx->scopes[ctx->scope_count - 1].path;
}

/* ag_intern's "<outer>.<name>", found by the addresses of both if they were used before. */
static const char *scope_path(ag_ctx *ctx, const char *outer, const char *name)
{
    ag_known_path *known = &ctx->known_paths[((uintptr_t)outer / 64 * 61 + (uintptr_t)name / 64) % AG_KNOWN_PATHS];
    if (known->outer != outer || known->name != name || strcmp(known->path + known->name_at, name) != 0) {
        const char *path = ag_intern(ctx, outer, name);
        if (path == NULL)
            return NULL;
        *known = (ag_known_path){ outer, name, path, *outer == '\0' ? 0 : strlen(outer) + 1 };
    }
    return known->path;
}

void ag_scope_begin(ag_ctx *ctx, const char *name)
{
    if (ctx != NULL)
        ag_scope_begin_at(ctx, name == NULL ? ag_module_path(ctx) : scope_path(ctx, ag_module_path(ctx), name));
}

void ag_scope_begin_at(ag_ctx *ctx, const char *path)
{
    if (ctx->scopes_lost > 0 || path == NULL ||
        !ag_grow(ctx, (void **)&ctx->scopes, &ctx->scope_capacity, ctx->scope_count + 1, sizeof *ctx->scopes)) {
        ctx->scopes_lost++; /* its tensors go to the scope around it */
        return;
    }
    ctx->scopes[ctx->scope_count++] = (ag_scope){ .first = ctx->owned_count, .path = path };
}

int64_t ag_scope_depth(const ag_ctx *ctx)
{
    return ctx->scope_count + ctx->scopes_lost;
}

ag_tensor *ag_scope_end(ag_ctx *ctx, ag_tensor *keep)
{
    if (ctx != NULL && ag_scope_depth(ctx) > 1) /* the outermost scope is the context itself */
        return scope_pop(ctx, keep);
    ag_fail(ctx, AG_ERR_STATE, "scope_end", "there is no scope to end; each needs its ag_scope_begin");
    return keep;
}

/* ---- Random stream ---- */

ag_rng ag_rng_get(const ag_ctx *ctx) { return ctx == NULL ? (ag_rng){ 0 } : ctx->rng; }

void ag_rng_set(ag_ctx *ctx, ag_rng rng)
{
    if (ctx != NULL)
        ctx->rng = rng;
}

ag_rng ag_rng_take(ag_ctx *ctx, uint64_t blocks)
{
    ag_rng before = ctx->rng;
    ctx->rng.counter += blocks;
    return before;
}
