/* SPDX-License-Identifier: MIT
 *
 * anomaly.c - an observer of the tape that stops at the first NaN or infinity.
 *
 * The observer checks each recorded result and each gradient. It remembers the range of every result, because the
 * tensors may be freed by the time of an error. To name the leaf that caused it, the observer goes down the tape from
 * the op that failed, each time to the input with values that are not finite, else to the one with the largest
 * magnitude.
 */
#include "autograd/watch/watch.h"

#include "autograd/watch/node_vjp.h"
#include "tensor/files/files.h"

#include <math.h>
#include <stdarg.h>

/* The values of a tensor. */
typedef struct range {
    double least, largest; /* of the finite values; least > largest: there are none */
    int64_t bad, numel;    /* number of values that are not finite, of all; numel -1: unknown */
} range;

static const range unknown = { .least = 1, .largest = 0, .numel = -1 };

typedef struct anomalies {
    ag_observer observer;
    ag_ctx *ctx;
    range *of; /* per node; unknown for leaves */
    int64_t count, capacity;
} anomalies;

/* ---- Values ---- */

static double anomaly_value_at(const char *data, ag_dtype dtype, int64_t i)
{
    switch (dtype) {
    case AG_F32: return (double)((const float *)(const void *)data)[i];
    case AG_F64: return ((const double *)(const void *)data)[i];
    default: return (double)((const int32_t *)(const void *)data)[i];
    }
}

static range anomaly_range_of(const ag_tensor *t)
{
    range r = { .least = (double)INFINITY, .largest = -(double)INFINITY, .numel = t->numel };
    const char *data = ag_data(t);
    ag_loop loop;
    ag_loop_init(&loop, 1, (const ag_tensor *[]){ t });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i++) {
            double x = anomaly_value_at(data, t->dtype, loop.at[0] + i * loop.step[0]);
            bool finite = isfinite(x);
            r.bad += !finite;
            r.least = finite && x < r.least ? x : r.least;
            r.largest = finite && x > r.largest ? x : r.largest;
        }
    return r;
}

/* The largest finite magnitude; -1: there is none. */
static double anomaly_magnitude(range r)
{
    return r.least > r.largest ? -1 : fmax(fabs(r.least), fabs(r.largest));
}

/* Whether b is more suspect than a. */
static bool anomaly_is_worse(range b, range a)
{
    if ((a.bad > 0) != (b.bad > 0))
        return b.bad > 0;
    return anomaly_magnitude(b) > anomaly_magnitude(a);
}

/* ---- Messages ---- */

typedef struct message {
    char text[448]; /* ag_fail cuts off what does not fit beside the module path */
    size_t length;
} message;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void anomaly_say(message *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = ag_vsnprintf(m->text + m->length, sizeof m->text - m->length, format, arguments);
    va_end(arguments);
    m->length += written > 0 ? (size_t)written : 0;
    if (m->length > sizeof m->text - 1)
        m->length = sizeof m->text - 1;
}

/* "[2,3] holds nan at [0,1] (1 of 6 not finite)", with the first one in row-major order. */
static void anomaly_say_what_is_bad(message *m, const ag_tensor *t, range r)
{
    int64_t index[AG_MAX_DIMS] = { 0 };
    const char *data = ag_data(t);
    for (int64_t i = 0; i < t->numel; i++) {
        int64_t at = 0;
        for (int d = 0; d < t->ndim; d++)
            at += index[d] * t->stride[d];
        double x = anomaly_value_at(data, t->dtype, at);
        if (!isfinite(x)) {
            anomaly_say(m, "%s holds %s at %s (%lld of %lld not finite)", ag_shape_text(t),
                        isnan(x) ? "nan"
                        : x > 0  ? "inf"
                                 : "-inf",
                        ag_dims_text(t->ctx, t->ndim, index), (long long)r.bad, (long long)r.numel);
            return;
        }
        for (int d = t->ndim - 1; d >= 0 && ++index[d] == t->shape[d]; d--)
            index[d] = 0;
    }
}

/* "-1.5 .. 2.25, 3 of 6 not finite" */
static void anomaly_say_range(message *m, range r)
{
    if (r.numel <= 0)
        anomaly_say(m, r.numel < 0 ? "not known" : "empty");
    if (r.least <= r.largest)
        anomaly_say(m, "%.6g .. %.6g", r.least, r.largest);
    if (r.bad > 0)
        anomaly_say(m, "%s%lld of %lld not finite", r.least <= r.largest ? ", " : "", (long long)r.bad,
                    (long long)r.numel);
}

/* ---- Going down the tape ---- */

static range anomaly_range_of_node(const anomalies *a, const ag_tape *tape, int64_t node)
{
    if (tape->nodes[node].op == &ag_op_leaf)
        return anomaly_range_of(tape->nodes[node].held);
    return node < a->count ? a->of[node] : unknown;
}

/* The leaf that the most suspect values of a node came from; the node itself if it is a leaf. */
static int64_t anomaly_leaf_below(const anomalies *a, const ag_tape *tape, int64_t node)
{
    while (tape->nodes[node].op != &ag_op_leaf) {
        const ag_node *n = &tape->nodes[node];
        int64_t next = -1;
        range worst = unknown;
        for (int i = 0; i < n->input_count; i++) {
            int64_t from = tape->edges[n->first_edge + i];
            range r = from < 0 ? unknown : anomaly_range_of_node(a, tape, from);
            if (from >= 0 && (next < 0 || anomaly_is_worse(r, worst))) {
                next = from;
                worst = r;
            }
        }
        node = next; /* a recorded op has an input on the tape */
    }
    return node;
}

/* "; ... leaf 'w'", or "; ... leaf [2,3]" for one without a name. */
static void anomaly_say_leaf(message *m, const char *before, const anomalies *a, const ag_tape *tape, int64_t node)
{
    const ag_tensor *leaf = tape->nodes[anomaly_leaf_below(a, tape, node)].held;
    const char *name = ag_name(leaf);
    anomaly_say(m, "; %s leaf %s%s%s", before, name == NULL ? "" : "'", name == NULL ? ag_shape_text(leaf) : name,
                name == NULL ? "" : "'");
}

/* Lists the ranges of a node's inputs, and the leaf that the most suspect one came from. input NULL: those that the
 * tape has kept. */
static void anomaly_say_inputs(message *m, const anomalies *a, const ag_tape *tape, int64_t node,
                               ag_tensor *const *input)
{
    enum { LISTED = 4 };
    const ag_node *n = &tape->nodes[node];
    range worst = unknown;
    int worst_input = -1, listed = 0;
    for (int i = 0; i < n->input_count; i++) {
        const ag_tensor *t = input != NULL ? input[i] : tape->kept[n->first_edge + i];
        int64_t from = tape->edges[n->first_edge + i];
        if (t == NULL && from < 0)
            continue;
        range r = t != NULL ? anomaly_range_of(t) : anomaly_range_of_node(a, tape, from);
        if (listed++ < LISTED) {
            anomaly_say(m, "; input %d %s: ", i, t != NULL ? ag_shape_text(t)
                                       : ag_dims_text(a->ctx, tape->nodes[from].ndim, tape->nodes[from].shape));
            anomaly_say_range(m, r);
        }
        if (worst_input < 0 || anomaly_is_worse(r, worst)) {
            worst_input = i;
            worst = r;
        }
    }
    if (listed > LISTED)
        anomaly_say(m, "; and %d more", listed - LISTED);
    int64_t from = worst_input < 0 ? -1 : tape->edges[n->first_edge + worst_input];
    if (from >= 0)
        anomaly_say_leaf(m, worst.bad > 0 ? "what is not finite comes from" : "largest values from", a, tape, from);
    else if (worst_input >= 0)
        anomaly_say(m, "; largest values from input %d, which needs no gradient", worst_input);
}

/* ---- The observer ---- */

static ag_tensor *anomaly_check_result(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *y,
                                       ag_tensor *const *input)
{
    anomalies *a = (anomalies *)o;
    if (!ag_grow(a->ctx, (void **)&a->of, &a->capacity, tape->node_count, sizeof *a->of))
        return NULL;
    while (a->count < tape->node_count)
        a->of[a->count++] = unknown;
    range r = a->of[node] = anomaly_range_of(y);
    if (r.bad == 0)
        return y;
    message m = { .length = 0 };
    anomaly_say(&m, "result ");
    anomaly_say_what_is_bad(&m, y, r);
    anomaly_say_inputs(&m, a, tape, node, input);
    return ag_fail(a->ctx, AG_ERR_NUMBER, tape->nodes[node].op->name, "%s", m.text);
}

static void anomaly_check_arrival(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *gy)
{
    range r = anomaly_range_of(gy);
    if (r.bad == 0)
        return;
    message m = { .length = 0 };
    anomaly_say(&m, "backward: gradient of the result ");
    anomaly_say_what_is_bad(&m, gy, r);
    anomaly_say(&m, "; the cotangent, a hook or the sum over its uses made it so");
    anomaly_say_leaf(&m, "on its way to", (anomalies *)o, tape, node);
    ag_fail(tape->ctx, AG_ERR_NUMBER, tape->nodes[node].op->name, "%s", m.text);
}

static void anomaly_fail_at_input(const anomalies *a, ag_tape *tape, int64_t node, int input, const ag_tensor *g)
{
    const ag_node *n = &tape->nodes[node];
    message m = { .length = 0 };
    anomaly_say(&m, "backward: gradient of input %d ", input);
    anomaly_say_what_is_bad(&m, g, anomaly_range_of(g));
    anomaly_say_leaf(&m, "on its way to", a, tape, tape->edges[n->first_edge + input]);
    anomaly_say(&m, "; gradient of the result: ");
    anomaly_say_range(&m, anomaly_range_of(n->grad));
    anomaly_say_inputs(&m, a, tape, node, NULL);
    ag_fail(a->ctx, AG_ERR_NUMBER, n->op->name, "%s", m.text);
}

/* The gradient of an input is bad after the vjp has added to it, and was good before: runs the vjp once more by itself,
 * to see whether what it adds is bad. A sum of good contributions is left to anomaly_check_arrival. */
static void anomaly_check_contributions(ag_observer *o, ag_tape *tape, int64_t node)
{
    anomalies *a = (anomalies *)o;
    const int count = tape->nodes[node].input_count;
    const int64_t *from = &tape->edges[tape->nodes[node].first_edge];
    int bad = 0;
    while (bad < count && (from[bad] < 0 || tape->nodes[from[bad]].grad == NULL ||
                           anomaly_range_of(tape->nodes[from[bad]].grad).bad == 0))
        bad++;
    size_t bytes = (size_t)count * sizeof(ag_tensor *);
    ag_tensor **g = bad == count ? NULL : ag_alloc(a->ctx, bytes);
    if (g == NULL)
        return;
    ag_node_vjp(tape, node, tape->nodes[node].grad, g);
    for (int i = 0; i < count; i++) {
        if (g[i] != NULL && anomaly_range_of(g[i]).bad > 0)
            anomaly_fail_at_input(a, tape, node, i, g[i]);
        ag_release(g[i]);
    }
    ag_free(a->ctx, g, bytes);
}

static void anomaly_end(ag_observer *o)
{
    anomalies *a = (anomalies *)o;
    ag_free(a->ctx, a->of, (size_t)a->capacity * sizeof *a->of);
    ag_free(a->ctx, a, sizeof *a);
}

void ag_tape_detect_anomalies(ag_tape *tape)
{
    if (tape == NULL || (tape->observer != NULL && tape->observer->end == anomaly_end))
        return;
    if (tape->observer != NULL) {
        ag_fail(tape->ctx, AG_ERR_STATE, "detect_anomalies", "the tape is profiled, and a tape has one observer");
        return;
    }
    anomalies *a = ag_alloc(tape->ctx, sizeof *a);
    if (a == NULL)
        return;
    *a = (anomalies){
        .observer = { .recorded = anomaly_check_result,
                      .arrived = anomaly_check_arrival,
                      .visited = anomaly_check_contributions,
                      .end = anomaly_end },
        .ctx = tape->ctx,
    };
    tape->observer = &a->observer;
}
