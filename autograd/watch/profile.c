/* SPDX-License-Identifier: MIT
 *
 * profile.c - an observer of the tape that reads a clock at each event and adds the time since the last one to a row.
 *
 * The key of a row is the addresses of its op's name and its path: both are constants or interned. An op recorded while
 * backward runs belongs to a recomputed function; its time is `again` of its own row and not backward of that function.
 */
#include "autograd/watch/profile_impl.h"

#include "autograd/tape_impl.h"

#include <string.h>

/* ---- Rows ---- */

/* The hash table's slot with this row, or the free slot for it. The table always has a free slot. */
static int64_t *profile_slot_of(const ag_profile *p, const char *op, const char *path)
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

/* Makes room for one more row and keeps half of the hash table free. */
static bool profile_reserve(ag_profile *p)
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
        *profile_slot_of(p, p->rows[i].op, p->rows[i].path) = i + 1;
    return true;
}

/* The row of this name, new if there is none; NULL on error. */
static ag_profile_row *profile_row_of(ag_profile *p, const char *op, const char *path)
{
    int64_t *slot = p->slot_count == 0 ? NULL : profile_slot_of(p, op, path);
    if (slot == NULL || *slot == 0) {
        if (!profile_reserve(p))
            return NULL;
        slot = profile_slot_of(p, op, path);
        p->rows[p->count] = (ag_profile_row){ .op = op, .path = path };
        *slot = ++p->count;
    }
    return &p->rows[*slot - 1];
}

static ag_profile_row *profile_row_of_node(ag_profile *p, const ag_node *node)
{
    return profile_row_of(p, node->op->name, node->path);
}

/* ---- Events ---- */

/* The time since the last event. */
static double profile_lap(ag_profile *p)
{
    double now = p->clock(), time = now - p->last;
    p->last = now;
    return time;
}

static void profile_add_note(ag_profile *p, const char *what, double time)
{
    const char *name = ag_intern(p->ctx, "", what);
    ag_profile_row *row = name == NULL ? NULL : profile_row_of(p, name, NULL);
    if (row == NULL)
        return;
    row->forward += time;
    row->calls++;
}

static void profile_unaccounted(ag_profile *p, double time)
{
    profile_add_note(p, "other", time);
}

/* ---- Work ---- */

/* Adds an op's own count of its forward pass to the row, and notes that of its vjp for the node's gradient. False on
 * error. */
static bool profile_count_work(ag_profile *p, ag_profile_row *row, const ag_tape *tape, int64_t number,
                               const ag_tensor *y, ag_tensor *const *input)
{
    const ag_node *node = &tape->nodes[number];
    if (!ag_grow(p->ctx, (void **)&p->vjp_work, &p->work_capacity, number + 1, sizeof *p->vjp_work))
        return false;
    while (p->work_count <= number)
        p->vjp_work[p->work_count++] = 0;
    p->vjp_work[number] = 0;
    if (node->op->work == NULL)
        return true;
    const void *attr = tape->attrs == NULL ? NULL : &tape->attrs[node->attr];
    uint64_t wanted = 0;
    for (int i = 0; i < node->input_count && i < 64; i++)
        wanted |= (uint64_t)(tape->edges[node->first_edge + i] >= 0) << i;
    row->multiply_adds += node->op->work(y, input, node->input_count, attr, 0);
    p->vjp_work[number] = node->op->work(y, input, node->input_count, attr, wanted);
    return true;
}

/* ---- The observer ---- */

static ag_tensor *profile_see_result(ag_observer *o, ag_tape *tape, int64_t number, ag_tensor *y,
                                     ag_tensor *const *input)
{
    ag_profile *p = (ag_profile *)o;
    double time = profile_lap(p);
    ag_profile_row *row = profile_row_of_node(p, &tape->nodes[number]);
    if (row == NULL)
        return NULL;
    if (p->visited >= 0) {
        row->again += time;
    } else {
        row->forward += time;
        row->calls++;
    }
    return profile_count_work(p, row, tape, number, y, input) ? y : NULL;
}

/* Ends the time of the node that backward is at. */
static void profile_leave_node(ag_profile *p)
{
    double time = profile_lap(p);
    if (p->visited >= 0)
        p->rows[p->visited].backward += time;
    else
        profile_unaccounted(p, time);
    p->visited = -1;
}

static void profile_see_arrival(ag_observer *o, ag_tape *tape, int64_t number, ag_tensor *gy)
{
    (void)gy;
    ag_profile *p = (ag_profile *)o;
    const ag_node *node = &tape->nodes[number];
    profile_leave_node(p);
    ag_profile_row *row = profile_row_of_node(p, node);
    if (row == NULL)
        return;
    p->visited = row - p->rows;
    row->multiply_adds += number < p->work_count ? p->vjp_work[number] : 0;
}

static void profile_see_end_of_walk(ag_observer *o, ag_tape *tape)
{
    (void)tape;
    ag_profile *p = (ag_profile *)o;
    if (p->visited >= 0) /* else the walk ended before it began */
        profile_leave_node(p);
}

static void profile_tape_ends(ag_observer *o)
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
        .observer = { .recorded = profile_see_result,
                      .arrived = profile_see_arrival,
                      .walked = profile_see_end_of_walk,
                      .end = profile_tape_ends },
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
    ag_free(p->ctx, p->vjp_work, (size_t)p->work_capacity * sizeof *p->vjp_work);
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
    profile_unaccounted(p, profile_lap(p));
    tape->observer = &p->observer;
    p->tape = tape;
    p->visited = -1;
    p->work_count = 0;
    p->tapes++;
    return ag_error(p->ctx);
}

void ag_profile_note(ag_profile *p, const char *what)
{
    if (p != NULL && what != NULL)
        profile_add_note(p, what, profile_lap(p));
}

int64_t ag_profile_size(const ag_profile *p)
{
    return p == NULL ? 0 : p->count;
}

ag_profile_row ag_profile_at(const ag_profile *p, int64_t row)
{
    if (p != NULL && row >= 0 && row < p->count)
        return p->rows[row];
    if (p != NULL)
        ag_fail(p->ctx, AG_ERR_INDEX, "profile_at", "row %lld of a profile of %lld", (long long)row,
                (long long)p->count);
    return (ag_profile_row){ .op = NULL };
}

int64_t ag_profile_tapes(const ag_profile *p)
{
    return p == NULL ? 0 : p->tapes;
}

double ag_profile_seconds(const ag_profile *p)
{
    return p == NULL ? 0 : p->last - p->began;
}
