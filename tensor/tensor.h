/* SPDX-License-Identifier: MIT
 *
 * tensor.h - contexts, reference-counted tensors, views, random numbers. Knows no gradients.
 *
 * A context (ag_ctx) owns everything mutable. A tensor is a strided view of counted storage. A function that returns a
 * tensor gives it to the innermost scope; the scope's end releases it, unless ag_retain keeps it.
 *
 * Errors are sticky: the context keeps its first error until ag_error_clear. A function that is given NULL returns
 * NULL, 0 or AG_ERR_ARGUMENT; one that returns ag_tensor * returns NULL on error. So one check at the end of a
 * computation is enough. Tensors of two contexts in one op are an error. What was freed, or released too often, is the
 * caller's bug, which an assertion finds where it can.
 *
 * A negative dim counts from the end. A shape has 0 to AG_MAX_DIMS extents, each >= 0. A context and its tensors are
 * for one thread at a time; separate contexts are independent.
 */
#ifndef AG_TENSOR_H
#define AG_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of these headers, and that of the library linked, "0.1.0". */
#define AG_VERSION_MAJOR 0
#define AG_VERSION_MINOR 1
#define AG_VERSION_PATCH 0
const char *ag_version(void);

#define AG_MAX_DIMS 8

/* AG_OWNED on a result: the caller owns it and must free it. AG_TAKES on an argument: the function becomes its owner.
 * Everything else is borrowed: the function uses an argument only until it returns, unless its comment says more. */
#define AG_OWNED
#define AG_TAKES

/* The format, argument i, and its values from argument j on are checked as printf's; j 0: a va_list. */
#if defined(__GNUC__)
#define AG_FORMAT(i, j) __attribute__((format(printf, i, j)))
#else
#define AG_FORMAT(i, j)
#endif

typedef struct ag_ctx ag_ctx;
typedef struct ag_tensor ag_tensor;

/* A tensor and its name, both borrowed, in lists that functions take or return. */
typedef struct ag_named_tensor {
    const char *name;
    ag_tensor *tensor;
} ag_named_tensor;

typedef enum ag_dtype { AG_F32, AG_F64, AG_I32 } ag_dtype;

typedef enum ag_status {
    AG_OK,
    AG_ERR_ARGUMENT, /* a value that the function does not accept */
    AG_ERR_SHAPE,    /* shapes that do not fit each other, or the function */
    AG_ERR_DTYPE,
    AG_ERR_INDEX,  /* an index outside its dim or vocabulary */
    AG_ERR_STATE,  /* a call at the wrong time, such as backward without a tape */
    AG_ERR_NUMBER, /* a value that is not finite where it must be */
    AG_ERR_MEMORY, /* out of memory, or a size that overflows */
    AG_ERR_FILE    /* a file that can not be read or written, or has invalid content */
} ag_status;

/* ---- Context --------------------------------------------------------------------------------- */

/* The source of memory. `alloc` returns NULL when there is none; `free` gets the size that `alloc` got. Both get
 * `user`. */
typedef struct ag_allocator {
    void *(*alloc)(void *user, size_t size);
    void (*free)(void *user, void *block, size_t size);
    void *user;
} ag_allocator;

enum { AG_MAX_THREADS = 256 }; /* of a context */

typedef struct ag_ctx_config {
    uint64_t seed;          /* of the random stream */
    int threads;            /* at most AG_MAX_THREADS; 0: OpenMP's default, which ignores a cgroup's quota of time.
                               Every count gives the same results */
    const char *isa;        /* "reference", "baseline", "x86-64-v3", "x86-64-v4"; NULL: $AG_ISA, else the best */
    ag_allocator allocator; /* {0}: malloc and free */
} ag_ctx_config;

/* A new context. NULL when out of memory, or when `isa` (or $AG_ISA) is not one that this machine runs. */
AG_OWNED ag_ctx *ag_ctx_new(ag_ctx_config config);

/* Ends every scope and frees the context with all its tensors. Returns the number of tensors that the caller had
 * retained and not released: a result other than 0 means a leak, and pointers that are now invalid. */
int64_t ag_ctx_free(AG_TAKES ag_ctx *ctx);

int ag_ctx_threads(const ag_ctx *ctx);
const char *ag_ctx_isa(const ag_ctx *ctx);

/* Bytes currently allocated, the cache of free blocks included, and the peak. */
size_t ag_ctx_bytes(const ag_ctx *ctx);
size_t ag_ctx_peak_bytes(const ag_ctx *ctx);

/* Returns the cache's free blocks to the allocator. */
void ag_ctx_trim(ag_ctx *ctx);

/* ---- Errors ---------------------------------------------------------------------------------- */

/* The first error since the context began or ag_error_clear. The texts are valid until ag_error_clear. */
ag_status ag_error(const ag_ctx *ctx);           /* AG_OK: none; AG_ERR_ARGUMENT for NULL */
const char *ag_error_message(const ag_ctx *ctx); /* "blocks.0.attn: matmul: ..."; "": none */
const char *ag_error_op(const ag_ctx *ctx);      /* "matmul" */
const char *ag_error_path(const ag_ctx *ctx);    /* the module path, "blocks.0.attn"; "": outside every module */
void ag_error_clear(ag_ctx *ctx);

/* Records the error "<module path>: <where>: <message>", unless the context has one already. `format` is printf's,
 * without %g and its like, whose decimal point is the locale's: see ag_number_text. Returns NULL, which a function of
 * type bool returns as false, for the end of a function:
 * `return ag_fail(ctx, AG_ERR_SHAPE, "linear", "x is %s, in_features is %lld", ...)`. */
AG_FORMAT(4, 5) void *ag_fail(ag_ctx *ctx, ag_status status, const char *where, const char *format, ...);

/* "[2,3,4]", and "0.5" (%g, with a point in every locale), in one of the context's eight text buffers: valid until the
 * eighth call after this one. */
const char *ag_shape_text(const ag_tensor *t);
const char *ag_dims_text(ag_ctx *ctx, int ndim, const int64_t *dims);
const char *ag_number_text(ag_ctx *ctx, double value);
const char *ag_dtype_name(ag_dtype dtype); /* "float32", "float64", "int32" */
size_t ag_dtype_size(ag_dtype dtype);      /* in bytes */

/* ---- Scopes and ownership -------------------------------------------------------------------- */

/* Begins a scope. A name makes it a module's scope and joins the module path ("blocks.0" + "attn"); `name` must be
 * valid until the scope ends. Every call needs its ag_scope_end, also after errors. */
void ag_scope_begin(ag_ctx *ctx, const char *name);

/* Ends the innermost scope: releases its tensors, except `keep` (may be NULL), which moves to the scope around it.
 * Returns `keep`. An error when no scope was begun. */
ag_tensor *ag_scope_end(ag_ctx *ctx, ag_tensor *keep);

/* The module path of the innermost scope; "": outside every module. Valid until the context is freed. */
const char *ag_module_path(const ag_ctx *ctx);

/* ag_retain adds a reference, so that the tensor outlives its scope; ag_release drops it. Both accept NULL. ag_retain
 * returns its argument. */
AG_OWNED ag_tensor *ag_retain(ag_tensor *t);
void ag_release(AG_TAKES ag_tensor *t);

/* ---- Creation -------------------------------------------------------------------------------- */

/* A shape as two arguments: ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3)); not for C++. AG_SCALAR: the shape of a scalar. */
#define AG_SHAPE(...) \
    (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}
#define AG_SCALAR 0, NULL

ag_tensor *ag_empty(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape); /* not initialised */
ag_tensor *ag_zeros(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape);
ag_tensor *ag_full(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape, double value);

/* A copy of the prod(shape) values at `data`, row-major, of type float, double or int32_t as dtype says. */
ag_tensor *ag_from_data(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape, const void *data);

/* [n]: start, start + step, ... , start + (n-1) step. */
ag_tensor *ag_arange(ag_ctx *ctx, ag_dtype dtype, double start, double step, int64_t n);

/* From the context's random stream, see below. rand: uniform in [0, 1). randn: normal, mean 0, standard deviation 1.
 * randint: int32, uniform in [low, high). */
ag_tensor *ag_rand(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape);
ag_tensor *ag_randn(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape);
ag_tensor *ag_randint(ag_ctx *ctx, int32_t low, int32_t high, int ndim, const int64_t *shape);

/* ---- Fields and elements --------------------------------------------------------------------- */

ag_ctx *ag_ctx_of(const ag_tensor *t);
ag_dtype ag_dtype_of(const ag_tensor *t);
int ag_ndim(const ag_tensor *t);
const int64_t *ag_shape(const ag_tensor *t);  /* [ndim] extents; valid as long as the tensor */
const int64_t *ag_stride(const ag_tensor *t); /* [ndim] strides, in elements; 0 in expanded dims */
int64_t ag_dim(const ag_tensor *t, int dim);  /* one extent; -1 when there is no such dim */
int64_t ag_numel(const ag_tensor *t);
bool ag_is_contiguous(const ag_tensor *t);    /* row-major without gaps */

/* The address of the first element; the others follow by the strides. Valid as long as the tensor. ag_data_mut is for
 * writing, and counts as a change of the storage: backward then refuses to use the old values. */
const void *ag_data(const ag_tensor *t);
void *ag_data_mut(ag_tensor *t);

/* One element as double. ag_item: of a tensor with one element; it also returns an older error of the context.
 * ag_get, ag_set: at index[ndim]; a negative index counts from the end. A double stored as int32 loses its fraction. */
ag_status ag_item(const ag_tensor *t, double *value);
ag_status ag_get(const ag_tensor *t, const int64_t *index, double *value);
ag_status ag_set(ag_tensor *t, const int64_t *index, double value);

/* ---- Views: no copy; they share storage with t. Not recorded: gradients do not pass. Users call the recorded
 * counterparts in autograd.h (ag_reshape, ...). ------------------------------------------------------------- */

/* The same elements in the same order. One extent may be -1: it follows from the others. When no strides can express
 * the shape, the result is a copy. */
ag_tensor *ag_tensor_reshape(ag_tensor *t, int ndim, const int64_t *shape);
ag_tensor *ag_tensor_permute(ag_tensor *t, const int *dims); /* dim i of the result is dim dims[i] of t */
ag_tensor *ag_tensor_transpose(ag_tensor *t, int dim0, int dim1);
/* Elements start, start + step, ... before stop, along dim. Negative start and stop count from the end; values out of
 * range are clamped, as in NumPy. step >= 1. */
ag_tensor *ag_tensor_slice(ag_tensor *t, int dim, int64_t start, int64_t stop, int64_t step);
ag_tensor *ag_tensor_select(ag_tensor *t, int dim, int64_t index); /* index `index` of dim, without that dim */
ag_tensor *ag_tensor_expand(ag_tensor *t, int ndim, const int64_t *shape); /* extents of 1 repeat; -1 keeps */
ag_tensor *ag_tensor_squeeze(ag_tensor *t, int dim);   /* without dim, whose extent must be 1 */
ag_tensor *ag_tensor_unsqueeze(ag_tensor *t, int dim); /* with a new dim of extent 1, dim `dim` of the result */

/* ---- Copies, not recorded -------------------------------------------------------------------- */

ag_tensor *ag_tensor_contiguous(ag_tensor *t);           /* t itself if it is contiguous */
ag_tensor *ag_tensor_cast(ag_tensor *t, ag_dtype dtype); /* t itself if it has the dtype */
ag_tensor *ag_tensor_clone(const ag_tensor *t);          /* always new storage, contiguous */

/* dst[...] = src[...], broadcast and cast; src may be of another context. If the two share storage, src is copied
 * first. */
ag_status ag_copy_into(ag_tensor *dst, const ag_tensor *src);
ag_status ag_fill(ag_tensor *t, double value);

/* ---- Random numbers -----------------------------------------------------------------------------
 * Philox4x32-10, counter-based: value i of a draw is a function of seed, counter and i, whatever the thread count.
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.) */

typedef struct ag_rng {
    uint64_t seed;
    uint64_t counter; /* blocks of four 32-bit words used so far */
} ag_rng;

ag_rng ag_rng_get(const ag_ctx *ctx);
void ag_rng_set(ag_ctx *ctx, ag_rng rng); /* to repeat a draw, or to resume from a checkpoint */

double ag_random(ag_ctx *ctx);                                    /* one number, uniform in [0, 1) */
ag_status ag_fill_uniform(ag_tensor *t, double low, double high); /* [low, high) */
ag_status ag_fill_normal(ag_tensor *t, double mean, double std);

#ifdef __cplusplus
}
#endif

#endif
