/* SPDX-License-Identifier: MIT
 *
 * recompute.c - functions whose activations are dropped and computed again in backward.
 * (Griewank and Walther, "Algorithm 799: revolve", 2000; Chen et al., "Training deep nets with sublinear memory
 * cost", 2016.)
 *
 * In forward, f records a segment at the end of the tape. The segment is cut off, and one node `recompute` takes its
 * place. The node's inputs, all kept, are f's inputs and every other tensor from outside that the segment uses. The
 * node's vjp runs f again with the same random numbers and walks the new segment. Its edges lead to the same nodes
 * outside, so the same contributions are added in the same order as without ag_recompute. Then it is cut off again.
 */
#include "autograd/recompute/recompute.h"
#include "autograd/tape_impl.h"

#include <string.h>

/* What a run of f did, for comparison with the next run. */
typedef struct recompute_trace {
    int64_t ops;     /* recorded */
    uint64_t digest; /* of the result's elements */
} recompute_trace;

typedef struct recompute_attr {
    ag_recompute_fn *f;
    void *user;
    ag_rng rng; /* before f ran */
    int count;  /* of f's inputs */
    recompute_trace done;
} recompute_attr;

/* Fletcher's checksum of 32-bit words with 64-bit sums, in LANES interleaved streams: per stream the sum of its words,
 * and the sum of these sums. A change of one element, or a swap of two in a stream, always shows. 0 on error. */
static uint64_t recompute_digest(ag_tensor *t)
{
    enum { LANES = 16 };
    uint64_t sum[LANES] = { 0 }, sums[LANES] = { 0 }, digest = 0;
    uint32_t word[LANES] = { 0 };
    t = ag_tensor_contiguous(t);
    if (t == NULL)
        return 0;
    const char *data = ag_data(t);
    size_t bytes = (size_t)t->numel * ag_dtype_size(t->dtype);
    for (size_t at = 0; at < bytes; at += sizeof word) {
        if (bytes - at >= sizeof word) {
            memcpy(word, data + at, sizeof word);
        } else {
            memset(word, 0, sizeof word);
            memcpy(word, data + at, bytes - at);
        }
        for (int i = 0; i < LANES; i++) {
            sum[i] += word[i];
            sums[i] += sum[i];
        }
    }
    for (int i = 0; i < LANES; i++) {
        digest = (digest ^ sum[i]) * UINT64_C(0x9E3779B97F4A7C15); /* odd: no bits are lost */
        digest = (digest ^ digest >> 32 ^ sums[i]) * UINT64_C(0x9E3779B97F4A7C15);
    }
    return digest ^ digest >> 32;
}

/* Runs f in a scope of its own. Ends the scopes that f leaves open. */
static ag_tensor *recompute_run(ag_ctx *ctx, const recompute_attr *a, ag_tensor *const *input)
{
    int64_t depth = ag_scope_depth(ctx);
    ag_scope_begin(ctx, NULL);
    ag_tensor *y = a->f(ctx, input, a->count, a->user);
    while (ag_scope_depth(ctx) > depth)
        ag_scope_end(ctx, y);
    return y;
}

/* Whether y is the result of an op in the innermost segment. */
static bool recompute_made_inside(const ag_tape *tape, const ag_tensor *y)
{
    return y != NULL && y->tape == tape->segment->serial && tape->nodes[y->node].op != &ag_op_leaf;
}

static recompute_trace recompute_trace_of(const ag_tape *tape, ag_tensor *y)
{
    recompute_trace t = { .digest = recompute_digest(y) };
    for (int64_t i = tape->segment->first_node; i < tape->node_count; i++)
        t.ops += tape->nodes[i].op != &ag_op_leaf;
    return t;
}

/* ---- Segments ---- */

static void recompute_segment_begin(ag_tape *tape, ag_segment *segment, bool keeps_outer)
{
    *segment = (ag_segment){ .around = tape->segment, .serial = ag_serial_next(tape->ctx),
                             .first_node = tape->node_count, .keeps_outer = keeps_outer };
    tape->segment = segment;
}

/* Cuts the innermost segment off. */
static void recompute_segment_end(ag_tape *tape)
{
    const ag_segment *segment = tape->segment;
    tape->segment = segment->around;
    ag_tape_cut(tape, segment->first_node);
}

/* ---- Forward ---- */

static void recompute_vjp(ag_vjp *v);
static const ag_op recompute_op = { "recompute", -1, AG_KEEP_INPUTS, recompute_vjp };

/* The tensors from outside that the innermost segment uses, each once; f's inputs come first. */
typedef struct recompute_list {
    ag_tensor **tensor; /* retained, but for f's inputs */
    int64_t count, capacity;
} recompute_list;

static void recompute_list_free(ag_ctx *ctx, recompute_list *list, int inputs)
{
    for (int64_t i = inputs; i < list->count; i++)
        ag_release(list->tensor[i]);
    ag_free(ctx, list->tensor, (size_t)list->capacity * sizeof *list->tensor);
}

static void recompute_mark_inputs(const ag_tape *tape, ag_tensor *const *input, int inputs, bool listed)
{
    for (int i = 0; i < inputs; i++)
        if (ag_tape_knows(tape, input[i]))
            tape->nodes[input[i]->node].listed = listed;
}

/* False, with an empty list, when out of memory. */
static bool recompute_list_used(const ag_tape *tape, ag_tensor *const *input, int inputs, recompute_list *list)
{
    const int64_t first_node = tape->segment->first_node, first_edge = tape->nodes[first_node].first_edge;
    *list = (recompute_list){ NULL, 0, 0 };
    if (!ag_grow(tape->ctx, (void **)&list->tensor, &list->capacity, inputs + tape->edge_count - first_edge,
                 sizeof *list->tensor))
        return false;
    for (int i = 0; i < inputs; i++)
        list->tensor[list->count++] = input[i];
    recompute_mark_inputs(tape, input, inputs, true);
    for (int64_t i = first_edge; i < tape->edge_count; i++) {
        ag_node *from = tape->edges[i] < 0 ? NULL : &tape->nodes[tape->edges[i]];
        bool outside = from != NULL && (tape->edges[i] < first_node || from->op == &ag_op_leaf);
        if (outside && !from->listed) {
            from->listed = true;
            list->tensor[list->count++] = ag_retain(tape->kept[i]);
        }
    }
    recompute_mark_inputs(tape, input, inputs, false);
    for (int64_t i = first_edge; i < tape->edge_count; i++)
        if (tape->edges[i] >= 0)
            tape->nodes[tape->edges[i]].listed = false;
    return true;
}

/* Replaces the innermost segment by one node for y. */
static ag_tensor *recompute_record(ag_tape *tape, ag_tensor *y, const recompute_attr *a, ag_tensor *const *input)
{
    recompute_list used;
    bool listed = recompute_list_used(tape, input, a->count, &used);
    ag_node *last = &tape->nodes[y->node];
    ag_tensor *held = last->held; /* a hook that f set on its result becomes the new node's */
    last->held = NULL;
    recompute_segment_end(tape);
    if (listed)
        y = ag_record(&recompute_op, y, used.tensor, (int)used.count, a, sizeof *a, NULL);
    if (listed && y != NULL)
        tape->nodes[y->node].held = held;
    else
        ag_release(held);
    recompute_list_free(tape->ctx, &used, a->count);
    return listed ? y : NULL;
}

ag_tensor *ag_recompute(ag_ctx *ctx, ag_recompute_fn *f, ag_tensor *const *input, int count, void *user)
{
    if (ctx == NULL || f == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "recompute", "f is NULL");
    if (count < 0)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "recompute", "count is %d", count);
    if (count > 0 && !ag_check_given(ctx, "recompute", "input", input))
        return NULL;
    for (int i = 0; i < count; i++)
        if (!ag_check_home(ctx, "recompute", input[i]))
            return NULL;
    for (int i = 0; i < count; i++)
        if (input[i] == NULL)
            return NULL;
    if (!ag_recording(ctx))
        return f(ctx, input, count, user);
    ag_tape *tape = ag_running_tape(ctx);
    recompute_attr a;
    memset(&a, 0, sizeof a);
    a.f = f;
    a.user = user;
    a.rng = ag_rng_get(ctx);
    a.count = count;
    ag_segment segment;
    recompute_segment_begin(tape, &segment, true);
    ag_tensor *y = recompute_run(ctx, &a, input);
    if (recompute_made_inside(tape, y)) {
        a.done = recompute_trace_of(tape, y);
        return recompute_record(tape, y, &a, input);
    }
    recompute_segment_end(tape); /* y is an input, a leaf or a constant: nothing to recompute */
    return y;
}

/* ---- Backward ---- */

/* Whether f did the same as in forward; false with the error. */
static bool recompute_did_the_same(const ag_tape *tape, const recompute_attr *a, ag_tensor *y, const ag_tensor *gy)
{
    ag_ctx *ctx = tape->ctx;
    const char *name = recompute_op.name;
    if (y == NULL || !recompute_made_inside(tape, y) || y->dtype != gy->dtype || !ag_same_shape(y, gy)) {
        ag_fail(ctx, AG_ERR_STATE, name, "backward: the function returned %s%s%s%s, before that %s %s",
                y == NULL ? "NULL" : ag_dtype_name(y->dtype), y == NULL ? "" : " ", y == NULL ? "" : ag_shape_text(y),
                y == NULL || recompute_made_inside(tape, y) ? "" : ", which is not its own result",
                ag_dtype_name(gy->dtype), ag_shape_text(gy));
        return false;
    }
    for (int64_t i = tape->segment->first_node; i < tape->node_count; i++)
        if (tape->nodes[i].op == &ag_op_leaf) {
            const ag_tensor *leaf = tape->nodes[i].held;
            const char *leaf_name = ag_name(leaf) == NULL ? "" : ag_name(leaf);
            ag_fail(ctx, AG_ERR_STATE, name, "backward: the function uses the leaf '%s' %s, which it did not before",
                    leaf_name, ag_shape_text(leaf));
            return false;
        }
    recompute_trace now = recompute_trace_of(tape, y);
    if (now.ops != a->done.ops)
        ag_fail(ctx, AG_ERR_STATE, name, "backward: the function recorded %lld ops, before that %lld",
                (long long)now.ops, (long long)a->done.ops);
    else if (now.digest != a->done.digest)
        ag_fail(ctx, AG_ERR_STATE, name, "backward: the function's result %s has not the values it had before",
                ag_shape_text(y));
    return ag_error(ctx) == AG_OK;
}

static void recompute_vjp(ag_vjp *v)
{
    ag_ctx *ctx = v->ctx;
    ag_tape *tape = ag_running_tape(ctx);
    recompute_attr a;
    memcpy(&a, v->attr, sizeof a); /* the tape's arrays may move */
    const size_t bytes = (size_t)v->input_count * sizeof *v->input;
    ag_tensor **input = ag_alloc(ctx, bytes);
    if (input == NULL)
        return;
    memcpy(input, v->input, bytes);
    ag_rng rng = ag_rng_get(ctx);
    ag_rng_set(ctx, a.rng);
    ag_segment segment;
    recompute_segment_begin(tape, &segment, false);
    ag_scope_begin(ctx, NULL);
    tape->paused = false;
    ag_tensor *y = recompute_run(ctx, &a, input);
    tape->paused = true;
    ag_free(ctx, input, bytes);
    ag_rng_set(ctx, rng);
    int64_t last = -1;
    if (ag_error(ctx) == AG_OK && recompute_did_the_same(tape, &a, y, v->gy)) {
        last = y->node;
        ag_release(tape->nodes[last].held); /* its hook has run, at the node of the function */
        tape->nodes[last].held = NULL;
    }
    ag_scope_end(ctx, NULL); /* releases the result, unless a node keeps it */
    if (last >= 0)
        ag_walk(tape, last, segment.first_node, v->gy);
    recompute_segment_end(tape);
}
