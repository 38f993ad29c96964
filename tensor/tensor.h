/* SPDX-License-Identifier: MIT
 *
 * tensor.h - contexts, reference-counted tensors, views, random numbers. Knows no gradients.
 *
 * A context (ag_ctx) owns everything mutable. A tensor is a strided view onto counted storage.
 * Functions that return a tensor give it to the innermost scope, which releases it when it ends;
 * ag_retain keeps it longer. Errors are sticky: the first one stays on the context, a function given
 * NULL returns NULL, so that a whole computation needs one check at its end.
 *
 * Dims may be negative and then count from the end. Shapes have 0 to AG_MAX_DIMS dims, each >= 0.
 * Every function that returns ag_tensor * returns NULL on error, with the reason on the context.
 */
#ifndef AG_TENSOR_H
#define AG_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AG_MAX_DIMS 8

/* On a return value: the caller owns it and frees it. On an argument: the callee takes it over.
 * Everything else is borrowed. */
#define AG_OWNED
#define AG_TAKES

typedef struct ag_ctx ag_ctx;
typedef struct ag_tensor ag_tensor;

typedef struct ag_named_tensor {
    const char *name;
    ag_tensor *tensor;
} ag_named_tensor;

typedef enum ag_dtype { AG_F32, AG_F64, AG_I32 } ag_dtype;

typedef enum ag_status {
    AG_OK,
    AG_ERR_ARGUMENT, /* a value that the function can not take */
    AG_ERR_SHAPE,    /* shapes that do not fit each other, or the function */
    AG_ERR_DTYPE,
    AG_ERR_INDEX,  /* an index outside its dim or vocabulary */
    AG_ERR_STATE,  /* a call at the wrong time, such as backward without a tape */
    AG_ERR_NUMBER, /* a value that is not finite where it must be */
    AG_ERR_MEMORY, /* out of memory, or a size that overflows */
    AG_ERR_FILE    /* a file that can not be read, written or trusted */
} ag_status;

/* ---- Context --------------------------------------------------------------------------------- */

/* Where memory comes from. `alloc` returns NULL when there is none; `free` gets the size back. */
typedef struct ag_allocator {
    void *(*alloc)(void *user, size_t size);
    void (*free)(void *user, void *block, size_t size);
    void *user;
} ag_allocator;

enum { AG_MAX_THREADS = 256 }; /* of a context; far more than that stop a machine */

typedef struct ag_ctx_config {
    uint64_t seed;          /* of the random stream */
    int threads;            /* 0: what OpenMP offers; at most AG_MAX_THREADS; results are the same for every count */
    const char *isa;        /* "baseline", "x86-64-v3", "x86-64-v4"; NULL: $AG_ISA, else the best */
    ag_allocator allocator; /* {0}: malloc and free */
} ag_ctx_config;

/* A new context; NULL when out of memory or when `isa` (or $AG_ISA) is not one this machine runs. */
AG_OWNED ag_ctx *ag_ctx_new(ag_ctx_config config);

/* Ends every scope and frees the context. Returns how many tensors the caller still holds (retained
 * and not released); these are freed too, so a result other than 0 is a leak or a dangling pointer. */
int64_t ag_ctx_free(AG_TAKES ag_ctx *ctx);

int ag_ctx_threads(const ag_ctx *ctx);
const char *ag_ctx_isa(const ag_ctx *ctx);

/* body(argument), for example a training loop, in one OpenMP parallel region whose other threads wait for the ops of
 * ctx: entering and leaving an op's parallel part costs 0.1 us there, elsewhere 0.5 us: some percent of a small model's
 * step. Results are the same. Another region of OpenMP that body opens has one thread, unless nesting is on. Inside
 * another such body, with one thread, without OpenMP, or with ctx NULL, body is just called. It must return, not jump,
 * and leave ctx alive. */
void ag_with_threads(ag_ctx *ctx, void (*body)(void *argument), void *argument);

/* Bytes that the allocator has handed out and not got back: now, and at the most so far. */
size_t ag_ctx_bytes(const ag_ctx *ctx);
size_t ag_ctx_peak_bytes(const ag_ctx *ctx);

/* Gives the cache's unused blocks back to the allocator. */
void ag_ctx_trim(ag_ctx *ctx);

/* ---- Errors ---------------------------------------------------------------------------------- */

ag_status ag_error(const ag_ctx *ctx);            /* AG_OK while there is none */
const char *ag_error_message(const ag_ctx *ctx);  /* "blocks.0.attn: matmul: ..."; "" while there is none */
const char *ag_error_op(const ag_ctx *ctx);       /* "matmul" */
const char *ag_error_path(const ag_ctx *ctx);     /* "blocks.0.attn"; "" outside every module */
void ag_error_clear(ag_ctx *ctx);

/* Records an error unless one stands: "<module path>: <where>: <message>". Returns NULL, so that it ends
 * a function: `return ag_fail(ctx, AG_ERR_SHAPE, "linear", "x is %s, in_features is %lld", ...)`. */
#if defined(__GNUC__)
#define AG_FORMAT __attribute__((format(printf, 4, 5)))
#else
#define AG_FORMAT
#endif
AG_FORMAT void *ag_fail(ag_ctx *ctx, ag_status status, const char *where, const char *format, ...);

/* "[2,3,4]", in one of the context's text buffers: valid until eight more are asked for. */
const char *ag_shape_text(const ag_tensor *t);
const char *ag_dims_text(ag_ctx *ctx, int ndim, const int64_t *dims);
const char *ag_dtype_name(ag_dtype dtype); /* "float32", "float64", "int32" */
size_t ag_dtype_size(ag_dtype dtype);      /* in bytes */

/* ---- Scopes and ownership -------------------------------------------------------------------- */

/* Begins a scope. With a name it is a module's: the name joins the module path ("blocks.0" + "attn").
 * `name` must outlive the scope. Always pairs with ag_scope_end, also after errors. */
void ag_scope_begin(ag_ctx *ctx, const char *name);

/* Ends the innermost scope and releases what it owns, but lifts `keep` (may be NULL) into the scope
 * around it. Returns `keep`. An error when no scope was begun. */
ag_tensor *ag_scope_end(ag_ctx *ctx, ag_tensor *keep);

/* The module path of the innermost scope; "" outside every module. Valid as long as the context. */
const char *ag_module_path(const ag_ctx *ctx);

/* Keeps a tensor beyond its scope, until ag_release. Both take NULL. ag_retain returns its argument. */
AG_OWNED ag_tensor *ag_retain(ag_tensor *t);
void ag_release(AG_TAKES ag_tensor *t);

/* ---- Creation -------------------------------------------------------------------------------- */

/* A shape as two arguments: ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3)). C only. A scalar's is AG_SCALAR. */
#define AG_SHAPE(...) \
    (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}
#define AG_SCALAR 0, NULL

ag_tensor *ag_empty(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape); /* not initialised */
ag_tensor *ag_zeros(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape);
ag_tensor *ag_full(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape, double value);

/* A copy of prod(shape) values at `data`, row-major, of type float, double or int32_t as dtype says. */
ag_tensor *ag_from_data(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape, const void *data);

/* [n]: start, start + step, ... , start + (n-1) step. */
ag_tensor *ag_arange(ag_ctx *ctx, ag_dtype dtype, double start, double step, int64_t n);

/* From the context's random stream, see below. rand: uniform in [0, 1). randn: normal, mean 0, standard
 * deviation 1. randint: int32, uniform in [low, high). */
ag_tensor *ag_rand(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape);
ag_tensor *ag_randn(ag_ctx *ctx, ag_dtype dtype, int ndim, const int64_t *shape);
ag_tensor *ag_randint(ag_ctx *ctx, int32_t low, int32_t high, int ndim, const int64_t *shape);

/* ---- Looking at a tensor --------------------------------------------------------------------- */

ag_ctx *ag_ctx_of(const ag_tensor *t);
ag_dtype ag_dtype_of(const ag_tensor *t);
int ag_ndim(const ag_tensor *t);
const int64_t *ag_shape(const ag_tensor *t);  /* ndim extents */
const int64_t *ag_stride(const ag_tensor *t); /* ndim strides, in elements; 0 in expanded dims */
int64_t ag_dim(const ag_tensor *t, int dim);  /* one extent; -1 when there is no such dim */
int64_t ag_numel(const ag_tensor *t);
bool ag_is_contiguous(const ag_tensor *t);    /* row-major without gaps */

/* The first element. Elements stand stride[] apart. Writing through ag_data_mut counts as a change of
 * the storage, which backward notices when it needed the old values. */
const void *ag_data(const ag_tensor *t);
void *ag_data_mut(ag_tensor *t);

/* One element as double. ag_item: of a tensor with exactly one element. ag_get, ag_set: at index[ndim],
 * negative counting from the end. */
ag_status ag_item(const ag_tensor *t, double *value);
ag_status ag_get(const ag_tensor *t, const int64_t *index, double *value);
ag_status ag_set(ag_tensor *t, const int64_t *index, double value);

/* Prints as NumPy users expect: nested brackets, aligned columns, "..." in dims over 6 long when there are
 * over 1000 elements, `precision` digits after the point (0: 4), then shape and dtype. */
ag_status ag_fprint(FILE *file, const ag_tensor *t, int precision);

/* ---- Views: no copy; they share storage with t. These are not recorded; autograd.h has their recorded
 * counterparts (ag_reshape, ...), which are the ones a user calls. ----------------------------------------- */

/* Same elements in the same order. One extent may be -1 and follows from the others. A layout that can not
 * be viewed that way is copied. */
ag_tensor *ag_tensor_reshape(ag_tensor *t, int ndim, const int64_t *shape);
ag_tensor *ag_tensor_permute(ag_tensor *t, const int *dims); /* dim i of the result is dim dims[i] of t */
ag_tensor *ag_tensor_transpose(ag_tensor *t, int dim0, int dim1);
/* Elements start, start + step, ... before stop, along dim. Negative start and stop count from the end; out
 * of range they are clamped, as in NumPy. step >= 1. */
ag_tensor *ag_tensor_slice(ag_tensor *t, int dim, int64_t start, int64_t stop, int64_t step);
ag_tensor *ag_tensor_select(ag_tensor *t, int dim, int64_t index); /* index `index` of dim, dim dropped */
ag_tensor *ag_tensor_expand(ag_tensor *t, int ndim, const int64_t *shape); /* extents of 1 repeat; -1 keeps */
ag_tensor *ag_tensor_squeeze(ag_tensor *t, int dim);   /* drops a dim of extent 1, which it must have */
ag_tensor *ag_tensor_unsqueeze(ag_tensor *t, int dim); /* adds a dim of extent 1 at `dim` of the result */

/* ---- Copies ---------------------------------------------------------------------------------- */

ag_tensor *ag_tensor_contiguous(ag_tensor *t); /* t itself when it is contiguous */
ag_tensor *ag_tensor_cast(ag_tensor *t, ag_dtype dtype); /* t itself when it has the dtype */
ag_tensor *ag_tensor_clone(const ag_tensor *t);          /* always new storage, contiguous */

/* dst[...] = src[...], broadcast and cast. Overlapping memory is copied as if through a temporary. */
ag_status ag_copy_into(ag_tensor *dst, const ag_tensor *src);
ag_status ag_fill(ag_tensor *t, double value);

/* ---- Random numbers -----------------------------------------------------------------------------
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), counter-based: value
 * i of a draw depends on seed, counter and i alone, so it is the same for every thread count. */

typedef struct ag_rng {
    uint64_t seed;
    uint64_t counter; /* blocks of four 32-bit words used so far */
} ag_rng;

ag_rng ag_rng_get(const ag_ctx *ctx);
void ag_rng_set(ag_ctx *ctx, ag_rng rng); /* to repeat, or to resume from a checkpoint */

double ag_random(ag_ctx *ctx);                             /* one uniform in [0, 1) */
ag_status ag_fill_uniform(ag_tensor *t, double low, double high); /* [low, high) */
ag_status ag_fill_normal(ag_tensor *t, double mean, double std);

#ifdef __cplusplus
}
#endif

#endif
