/* SPDX-License-Identifier: MIT
 *
 * profile.c - an observer of the tape that reads a clock at each event and adds the time since the last one to a row.
 *
 * A row is known by the addresses of its op's name and its path: both are constants or interned. While backward runs,
 * what is recorded is computed again by a recomputed function; its time is taken from that function's node.
 */
#include "autograd/watch/profile_impl.h"

#include "autograd/op_impl.h"

#include <math.h>
#include <string.h>

/* ---- Rows ---- */

/* Where a row of this name stands in the hash table, or the free place for it. The table has a free place. */
static int64_t *slot_of(const ag_profile *p, const char *op, const char *path)
{
    uint64_t hash = ((uint64_t)(uintptr_t)op * 3 + (uint64_t)(uintptr_t)path) * UINT64_C(0x9E3779B97F4A7C15);
    uint64_t mask = (uint64_t)p->slot_count - 1, at = (hash >> 32) & mask;
    while (p->slots[at] != 0) {
        const ag_profile_row *row = &p->rows[p->slots[at] - 1];
        if (row->op == op && row->path == path)
            break;
        at = (at + 1) & mask;
    }
    return &p->slots[at];
}

/* Makes room for one more row, half of the hash table staying free. */
static bool reserve(ag_profile *p)
{
    if (!ag_grow(p->ctx, (void **)&p->rows, &p->capacity, p->count + 1, sizeof *p->rows))
        return false;
    if (2 * (p->count + 1) <= p->slot_count)
        return true;
    int64_t before = p->slot_count, after = before == 0 ? 128 : 2 * before;
    int64_t *slots = ag_alloc(p->ctx, (size_t)after * sizeof *slots);
    if (slots == NULL)
        return false;
    memset(slots, 0, (size_t)after * sizeof *slots);
    ag_free(p->ctx, p->slots, (size_t)before * sizeof *slots);
    p->slots = slots;
    p->slot_count = after;
    for (int64_t i = 0; i < p->count; i++)
        *slot_of(p, p->rows[i].op, p->rows[i].path) = i + 1;
    return true;
}

/* The row of this name, new if there is none; NULL on error. */
static ag_profile_row *row_of(ag_profile *p, const char *op, const char *path)
{
    int64_t *slot = p->slot_count == 0 ? NULL : slot_of(p, op, path);
    if (slot == NULL || *slot == 0) {
        if (!reserve(p))
            return NULL;
        slot = slot_of(p, op, path);
        p->rows[p->count] = (ag_profile_row){ .op = op, .path = path };
        *slot = ++p->count;
    }
    return &p->rows[*slot - 1];
}

static ag_profile_row *row_of_node(ag_profile *p, const ag_node *node)
{
    return row_of(p, node->op->name, node->path);
}

/* ---- Events ---- */

/* The time since the last event. */
static double lap(ag_profile *p)
{
    double now = p->clock(), time = now - p->last;
    p->last = now;
    return time;
}

static void note(ag_profile *p, const char *what, double time)
{
    const char *name = ag_intern(p->ctx, what);
    ag_profile_row *row = name == NULL ? NULL : row_of(p, name, NULL);
    if (row == NULL)
        return;
    row->forward += time;
    row->calls++;
}

static void unaccounted(ag_profile *p, double time)
{
    note(p, "other", time);
}

/* ---- Work ---- */

/* Pairs of queries and keys that a mask allows, per batch entry and head; NaN when it takes more than a pass over the
 * queries to tell. */
static double allowed_pairs(const ag_mask *m, int64_t Tq, int64_t Tk)
{
    if (m->stride != 0 || m->global != 0 || m->starts != NULL || m->key_lengths != NULL ||
        m->query_documents != NULL || m->blocks != NULL || m->allowed != NULL)
        return (double)NAN;
    double pairs = 0;
    for (int64_t i = 0; i < Tq; i++) {
        int64_t position = i + m->offset + (m->align == AG_BOTTOM_RIGHT ? Tk - Tq : 0);
        int64_t first = m->back > 0 && position >= m->back ? position - m->back + 1 : 0;
        int64_t end = m->causal && position + 1 < Tk ? position + 1 : Tk;
        if (m->ahead > 0 && position + m->ahead < end)
            end = position + m->ahead;
        pairs += end > first ? (double)(end - first) : 0;
    }
    return pairs;
}

/* Multiply-adds of a node's forward pass, or of its vjp; 0 for an op that is no product. */
static double work_of(const ag_tape *tape, const ag_node *node, bool backward)
{
    const ag_kept *kept = &tape->kept[node->first_edge];
    const int64_t *from = &tape->edges[node->first_edge];
    if (node->op == &ag_op_linear || node->op == &ag_op_matmul) {
        const ag_tensor *a = kept[0].tensor;
        double one = (double)a->shape[a->ndim - 1];
        for (int d = 0; d < node->ndim; d++)
            one *= (double)node->shape[d];
        return backward ? one * ((from[0] >= 0) + (from[1] >= 0)) : one;
    }
    if (node->op == &ag_op_sdpa) {
        const ag_tensor *q = kept[0].tensor, *v = kept[2].tensor;
        ag_sdpa_config config; /* what sdpa's attributes begin with */
        memcpy(&config, &tape->attrs[node->attr], sizeof config);
        double pairs = allowed_pairs(&config.mask, q->shape[2], v->shape[2]);
        return (backward ? 2 : 1) * pairs * (double)(q->shape[0] * q->shape[1] * (q->shape[3] + v->shape[3]));
    }
    return 0;
}

/* ---- The observer ---- */

static ag_tensor *see_result(ag_observer *o, ag_tape *tape, int64_t number, ag_tensor *y, ag_tensor *const *input)
{
    (void)input;
    ag_profile *p = (ag_profile *)o;
    const ag_node *node = &tape->nodes[number];
    double time = lap(p);
    ag_profile_row *row = row_of_node(p, node);
    if (row == NULL)
        return NULL;
    if (p->visited >= 0) {
        row->again += time;
    } else {
        row->forward += time;
        row->calls++;
    }
    row->multiply_adds += work_of(tape, node, false);
    return y;
}

/* The node that backward is at has had its time. */
static void leave_node(ag_profile *p)
{
    double time = lap(p);
    if (p->visited >= 0)
        p->rows[p->visited].backward += time;
    else
        unaccounted(p, time);
    p->visited = -1;
}

static void see_arrival(ag_observer *o, ag_tape *tape, int64_t number, ag_tensor *gy)
{
    (void)gy;
    ag_profile *p = (ag_profile *)o;
    const ag_node *node = &tape->nodes[number];
    leave_node(p);
    ag_profile_row *row = row_of_node(p, node);
    if (row == NULL)
        return;
    p->visited = row - p->rows;
    row->multiply_adds += work_of(tape, node, true);
}

static void see_end_of_walk(ag_observer *o, ag_tape *tape)
{
    (void)tape;
    ag_profile *p = (ag_profile *)o;
    if (p->visited >= 0) /* else the walk ended before it began */
        leave_node(p);
}

static void tape_ends(ag_observer *o)
{
    ((ag_profile *)o)->tape = NULL;
}

/* ---- Calls ---- */

ag_profile *ag_profile_new(ag_ctx *ctx, ag_clock_fn *clock)
{
    if (ctx == NULL)
        return NULL;
    if (clock == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, "profile_new", "the clock is NULL");
    ag_profile *p = ag_alloc(ctx, sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (ag_profile){
        .observer = { .recorded = see_result, .arrived = see_arrival, .walked = see_end_of_walk, .end = tape_ends },
        .ctx = ctx,
        .clock = clock,
        .visited = -1,
    };
    p->began = p->last = clock();
    return p;
}

void ag_profile_free(ag_profile *p)
{
    if (p == NULL)
        return;
    if (p->tape != NULL)
        p->tape->observer = NULL;
    ag_free(p->ctx, p->rows, (size_t)p->capacity * sizeof *p->rows);
    ag_free(p->ctx, p->slots, (size_t)p->slot_count * sizeof *p->slots);
    ag_free(p->ctx, p, sizeof *p);
}

ag_status ag_profile_tape(ag_profile *p, ag_tape *tape)
{
    if (p == NULL || tape == NULL)
        return AG_ERR_ARGUMENT;
    if (p->tape == tape)
        return ag_error(p->ctx);
    if (tape->ctx != p->ctx)
        ag_fail(tape->ctx, AG_ERR_ARGUMENT, "profile_tape", "the tape is of another context than the profile");
    else if (tape->observer != NULL)
        ag_fail(p->ctx, AG_ERR_STATE, "profile_tape",
                "the tape has an observer: another profile, or ag_tape_detect_anomalies");
    if (ag_error(tape->ctx) != AG_OK)
        return ag_error(tape->ctx);
    unaccounted(p, lap(p));
    tape->observer = &p->observer;
    p->tape = tape;
    p->visited = -1;
    p->tapes++;
    return ag_error(p->ctx);
}

void ag_profile_note(ag_profile *p, const char *what)
{
    if (p != NULL && what != NULL)
        note(p, what, lap(p));
}

int64_t ag_profile_size(const ag_profile *p)
{
    return p == NULL ? 0 : p->count;
}

ag_profile_row ag_profile_at(const ag_profile *p, int64_t row)
{
    return p->rows[row];
}

int64_t ag_profile_tapes(const ag_profile *p)
{
    return p == NULL ? 0 : p->tapes;
}

double ag_profile_seconds(const ag_profile *p)
{
    return p == NULL ? 0 : p->last - p->began;
}
