/* SPDX-License-Identifier: MIT
 *
 * tensor_impl.h - the structs behind tensor.h, for the library's own folders (private header).
 *
 * Invariants: shape extents >= 0; numel is their product and fits int64_t, as does the byte size size_t;
 * every element lies inside the storage; an empty tensor still has storage (of zero elements).
 */
#ifndef AG_TENSOR_IMPL_H
#define AG_TENSOR_IMPL_H

#include "tensor/kernels/kernels.h"
#include "tensor/tensor.h"

/* Counted memory, 64-byte aligned. Every change of its contents raises `version` and notes the op. */
typedef struct ag_storage {
    ag_ctx *ctx;
    void *data;
    size_t bytes;
    int64_t refs;
    uint64_t version;
    const char *changed_by;   /* the op of the last change; NULL: none */
    const char *changed_path; /* and its module path */
} ag_storage;

/* Data that another folder attaches to a tensor (autograd: gradient, hooks). The tensor's end frees it. */
typedef struct ag_attachment {
    void (*free)(ag_ctx *ctx, struct ag_attachment *attachment);
} ag_attachment;

#define AG_DEPENDS_ON_LEAF UINT64_MAX
/* What every op reads of its operands comes first: two cache lines, and with them most of what reading a parameter's
 * tensor costs where the parameters themselves have driven it out of the cache. */
struct ag_tensor {
    ag_ctx *ctx;
    ag_storage *storage;
    int64_t refs;
    int64_t offset; /* of the first element, in elements */
    int64_t numel;
    ag_dtype dtype;
    int ndim;
    int64_t shape[AG_MAX_DIMS]; /* undefined from ndim on, as is stride */
    int64_t stride[AG_MAX_DIMS];
    ag_tensor *newer, *older; /* the context's list of live tensors */
    ag_attachment *attachment;
    uint64_t tape; /* serial number of the tape that knows this tensor, 0: none */
    int64_t node;  /* its node there */
    uint64_t depends;   /* set by autograd: a tape's serial number for a result recorded there; AG_DEPENDS_ON_LEAF */
    const char *cut_by; /* not NULL: the unrecorded function that made it from a tensor with that `depends` */
};

/* ---- Memory: from the context's cache, which keeps freed blocks by size class for the next call. ---- */

/* 64-byte aligned, not initialised; NULL with the error recorded when there is none. bytes may be 0. */
void *ag_alloc(ag_ctx *ctx, size_t bytes);
void ag_free(ag_ctx *ctx, void *block, size_t bytes); /* the same `bytes`; block may be NULL */

/* Makes an array from ag_alloc (NULL at first) hold at least `wanted` elements, by doubling; false with the error
 * recorded, and the array as it was, when there is no memory. */
bool ag_grow(ag_ctx *ctx, void **array, int64_t *capacity, int64_t wanted, size_t element);

/* A copy of "<outer>.<name>", of `name` alone when outer is "". One per context: equal texts have equal addresses. NULL
 * on error. */
const char *ag_intern(ag_ctx *ctx, const char *outer, const char *name);

/* Replaces the locale's decimal point in the text of a finite number: the bytes between the first digits and the next
 * digit or exponent. */
void ag_set_point(char *number);

/* ---- Making tensors -------------------------------------------------------------------------- */

/* A new view of t's storage, in the innermost scope. The caller guarantees the bounds. */
ag_tensor *ag_view_new(ag_tensor *t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset);

/* The unrecorded function that made y from the elements of `from` calls this: it marks y as a tensor whose gradient
 * would be lost. int32 carries no gradient. `by` says for an error which function that was, and which recorded function
 * to use, both but for the first "ag_": "tensor_clone; use ag_contiguous". Returns y, which may be NULL. */
ag_tensor *ag_derived(ag_tensor *y, const ag_tensor *from, const char *by);

/* The element `offset` elements from t's first one; unlike ag_data_mut, no change of the storage is noted. */
static inline void *ag_address(const ag_tensor *t, int64_t offset)
{
    return (char *)t->storage->data + (t->offset + offset) * (int64_t)ag_dtype_size(t->dtype);
}

/* y[i] = x[i sx], and y[i sy] = x[i sx] the other way, between a row of elements and doubles; i < n, strides in
 * elements. To int32 as ag_tensor_cast. */
void ag_read_row(ag_dtype dtype, int64_t n, const void *x, int64_t sx, double *y);
void ag_write_row(ag_dtype dtype, int64_t n, const double *x, int64_t sx, void *y, int64_t sy);

/* False, with the error recorded: an argument is NULL; t (may be NULL) is of another context. */
bool ag_check_given(ag_ctx *ctx, const char *where, const char *name, const void *argument);
bool ag_check_home(ag_ctx *ctx, const char *where, const ag_tensor *t);

/* Whether `value` can be stored in a tensor of this dtype; false with the error of `where`. */
bool ag_value_fits(ag_ctx *ctx, const char *where, ag_dtype dtype, double value);

/* Every function that writes into a tensor calls this: raises the version, notes op and module path. */
void ag_storage_changed(ag_tensor *t, const char *op);

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* The product of the extents, or -1 when it, or it times `size` bytes, overflows. */
int64_t ag_checked_numel(int ndim, const int64_t *shape, size_t size);

/* Whether ndim is possible and the shape is there; false with the error recorded. */
bool ag_check_dims(ag_ctx *ctx, const char *where, int ndim, const int64_t *shape);

/* The number of elements of such a tensor; -1, with the error recorded, for a negative extent or an overflow. */
int64_t ag_check_numel(ag_ctx *ctx, const char *where, ag_dtype dtype, int ndim, const int64_t *shape);

/* dim counted from the front, of a tensor with `added` more dims than t; -1 with the error recorded ("<where>: dim 4 of
 * [2,3]"), or silently for t NULL. */
int ag_checked_dim(const char *where, const ag_tensor *t, int dim, int added);

/* The strides of a dense row-major tensor. */
void ag_row_major(int ndim, const int64_t *shape, int64_t *stride);

/* Whether every element of t has memory of its own; false, with the error recorded, for an expanded dim. */
bool ag_check_separate(const char *where, const ag_tensor *t);

bool ag_same_shape(const ag_tensor *a, const ag_tensor *b);

/* Whether shape[ndim] broadcasts to to[to_ndim]. */
bool ag_broadcasts(int ndim, const int64_t *shape, int to_ndim, const int64_t *to);

/* The broadcast shape of both into shape[]; its number of dims, or -1 with the error recorded. */
int ag_broadcast_shape(ag_ctx *ctx, const char *where, const ag_tensor *a, const ag_tensor *b, int64_t *shape);

/* ---- Looping --------------------------------------------------------------------------------- */

/* A loop over up to four operands of one shape. Dims of extent 1 are dropped, and adjacent dims are joined where every
 * operand allows it: `rows` rows of `n` elements remain, with the operands' strides along a row in step[].
 *
 *     ag_loop loop;
 *     ag_loop_init(&loop, 2, (const ag_tensor *[]){ y, x });      each of y's shape, or expanded to it
 *     for (; loop.row < loop.rows; ag_loop_next(&loop))
 *         f(loop.n, base_of_y + loop.at[0], loop.step[0], base_of_x + loop.at[1], loop.step[1]);
 *
 * at[] is the element offset of the row's start, relative to each operand's first element. Dims are visited in the
 * order in which they lie in memory, by the strides of the first operand, then the second, and so on; dims that no
 * strides order keep their place. Operands after the first may also have a shape that broadcasts to the first one's. A
 * row of one element has step 1. */
#define AG_LOOP_MAX 4
typedef struct ag_loop_dim {
    int64_t extent, index, stride[AG_LOOP_MAX];
} ag_loop_dim;
typedef struct ag_loop {
    int operands, ndim; /* ndim: of the outer dims */
    int64_t n, rows, row;
    int64_t step[AG_LOOP_MAX], at[AG_LOOP_MAX];
    ag_loop_dim dim[AG_MAX_DIMS];
} ag_loop;
void ag_loop_init(ag_loop *loop, int operands, const ag_tensor *const *t);
void ag_loop_next(ag_loop *loop);

/* ---- Kernels --------------------------------------------------------------------------------- */

/* The context's threads, for a kernel. */
ag_team *ag_ctx_team(ag_ctx *ctx);

/* The context's kernels for AG_F32 or AG_F64. */
const ag_real_kernels *ag_kernels(const ag_ctx *ctx, ag_dtype dtype);

/* x with the dims of the set reduced, bit d for dim d; they stay with extent 1 if `keepdim`. A new tensor, or a view of
 * x when the set is empty. Not recorded. */
ag_tensor *ag_tensor_reduce(ag_reduce_kernel *kernel, ag_tensor *x, unsigned dims, bool keepdim);

/* The shape of that result into shape[]; returns its number of dims. */
int ag_reduced_shape(const ag_tensor *x, unsigned dims, bool keepdim, int64_t *shape);

/* g summed over the dims that broadcasting from `shape` added or repeated; g itself when the shapes are equal. Not
 * recorded. NULL, with the error of op `where`, when `shape` does not broadcast to g's shape. */
ag_tensor *ag_sum_to_shape(const char *where, ag_tensor *g, int ndim, const int64_t *shape);

/* Begins a scope at an absolute module path (interned), as when backward returns to a module's ops. */
void ag_scope_begin_at(ag_ctx *ctx, const char *path);
int64_t ag_scope_depth(const ag_ctx *ctx);

/* Advances the random stream by `blocks` counter blocks and returns where it stood. */
ag_rng ag_rng_take(ag_ctx *ctx, uint64_t blocks);

/* While `skip` is set, ag_fill_uniform and ag_fill_normal leave the values and the random stream as they are: for a
 * module whose parameters get their values from a file. */
void ag_skip_draws(ag_ctx *ctx, bool skip);

/* ---- The running tape of autograd. tensor/ only stores it, and ends it with the context. ---- */

typedef struct ag_recorder {
    void (*end)(struct ag_recorder *recorder); /* frees it, when the context ends first */
} ag_recorder;
ag_recorder *ag_recorder_of(const ag_ctx *ctx);
void ag_recorder_set(ag_ctx *ctx, ag_recorder *recorder);
uint64_t ag_serial_next(ag_ctx *ctx); /* 1, 2, ...: a number for each tape */

#endif
