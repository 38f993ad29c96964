/* SPDX-License-Identifier: MIT
 *
 * sum_grads.c - gradients summed over processes. n processes, rank r.
 *
 * The gradients of one dtype count as one array, in the order of the parameters. A piece of it has n shares of m
 * elements, the last one filled up with zeros. Process r gets share r of every process, adds them in the order of the
 * ranks, and sends the sum to all.
 */
#include "nn/module_impl.h"
#include "nn/parallel/parallel.h"

#include <inttypes.h>
#include <string.h>

static const char sum_grads_name[] = "sum_grads";
enum { PIECE = 1 << 20 }; /* elements */

/* What processes tell each other before a sum. */
typedef struct head {
    int64_t failed, elements[2]; /* of float32, of float64 */
} head;

typedef struct summing {
    ag_module *module;
    ag_processes p;
    char *send, *received; /* [n][m] elements */
} summing;

/* A position in the array of all gradients of one dtype. */
typedef struct cursor {
    ag_dtype dtype;
    int64_t param, element;
} cursor;

static ag_tensor *sum_grads_of(const summing *s, int64_t param, ag_dtype dtype)
{
    ag_tensor *grad = ag_grad(s->module->param[param].tensor);
    return grad != NULL && grad->dtype == dtype ? grad : NULL;
}

static int64_t sum_grads_elements(const summing *s, ag_dtype dtype)
{
    int64_t elements = 0;
    for (int64_t i = 0; i < s->module->param_count; i++) {
        const ag_tensor *grad = sum_grads_of(s, i, dtype);
        elements += grad == NULL ? 0 : grad->numel;
    }
    return elements;
}

/* Copies the next `count` elements of the gradients to `flat`, or from it if `back`. */
static void sum_grads_copy(const summing *s, cursor *at, char *flat, int64_t count, bool back)
{
    const size_t size = ag_dtype_size(at->dtype);
    while (count > 0) {
        ag_tensor *grad = sum_grads_of(s, at->param, at->dtype);
        const int64_t left = grad == NULL ? 0 : grad->numel - at->element, some = left < count ? left : count;
        if (some > 0 && back)
            memcpy((char *)ag_data_mut(grad) + (size_t)at->element * size, flat, (size_t)some * size);
        else if (some > 0)
            memcpy(flat, (const char *)ag_data(grad) + (size_t)at->element * size, (size_t)some * size);
        flat += (size_t)some * size;
        count -= some;
        at->element += some;
        if (some == left)
            *at = (cursor){ at->dtype, at->param + 1, 0 };
    }
}

/* Sums the `count` elements from here on. */
static bool sum_grads_piece(const summing *s, cursor *at, int64_t count)
{
    ag_ctx *ctx = s->module->ctx;
    const int64_t n = s->p.count, m = (count + n - 1) / n;
    const size_t size = ag_dtype_size(at->dtype), bytes = (size_t)m * size;
    cursor from = *at;
    sum_grads_copy(s, &from, s->send, count, false);
    memset(s->send + (size_t)count * size, 0, (size_t)(n * m - count) * size);
    if (!s->p.exchange(s->p.user, s->send, s->received, bytes))
        return false;
    const ag_operand sum = { s->received, 1 };
    for (int64_t k = 1; k < n; k++)
        ag_kernels(ctx, at->dtype)->add(ag_ctx_team(ctx), m, sum, (ag_operand){ s->received + (size_t)k * bytes, 1 },
                                        s->received);
    if (!s->p.gather(s->p.user, s->received, s->send, bytes))
        return false;
    sum_grads_copy(s, at, s->send, count, true);
    return true;
}

/* Tells the others whether this process has failed, and how many gradients it has. False when they can not be added. */
static bool sum_grads_agree(const summing *s, const head *own)
{
    ag_ctx *ctx = s->module->ctx;
    head all[AG_MAX_PROCESSES];
    if (!s->p.gather(s->p.user, own, all, sizeof *own))
        return ag_fail(ctx, AG_ERR_STATE, sum_grads_name, "the other processes can not be reached");
    for (int64_t k = 0; k < s->p.count; k++)
        if (all[k].failed != 0)
            return ag_fail(ctx, AG_ERR_STATE, sum_grads_name, "process %" PRId64 " has failed", k);
    for (int64_t k = 0; k < s->p.count; k++)
        for (int t = 0; t < 2; t++)
            if (all[k].elements[t] != all[0].elements[t])
                return ag_fail(ctx, AG_ERR_SHAPE, sum_grads_name, "process 0 has %s gradients of %" PRId64
                               " elements, process %" PRId64 " of %" PRId64, ag_dtype_name(t == 0 ? AG_F32 : AG_F64),
                               all[0].elements[t], k, all[k].elements[t]);
    return true;
}

static bool sum_grads_check(ag_ctx *ctx, const ag_processes *p)
{
    if (p->count < 1 || p->count > AG_MAX_PROCESSES || p->rank < 0 || p->rank >= p->count)
        return ag_fail(ctx, AG_ERR_ARGUMENT, sum_grads_name, "rank is %" PRId64 " of %" PRId64
                       " processes, must be in 0 .. count - 1, count in 1 .. %d", p->rank, p->count, AG_MAX_PROCESSES);
    if (p->count > 1 && (p->exchange == NULL || p->gather == NULL))
        return ag_fail(ctx, AG_ERR_ARGUMENT, sum_grads_name, "%s is NULL",
                       p->exchange == NULL ? "exchange" : "gather");
    return true;
}

ag_status ag_sum_grads(ag_module *module, ag_processes processes)
{
    static const ag_dtype dtype[] = { AG_F32, AG_F64 };
    if (module == NULL)
        return AG_ERR_ARGUMENT;
    ag_ctx *ctx = module->ctx;
    if (!sum_grads_check(ctx, &processes) || processes.count == 1)
        return ag_error(ctx);
    summing s = { .module = module, .p = processes };
    head own = { .elements = { sum_grads_elements(&s, AG_F32), sum_grads_elements(&s, AG_F64) } };
    const int64_t most = own.elements[0] > own.elements[1] ? own.elements[0] : own.elements[1];
    const size_t bytes = (size_t)((most < PIECE ? most : PIECE) + processes.count) * sizeof(double);
    s.send = ag_error(ctx) == AG_OK ? ag_alloc(ctx, bytes) : NULL;
    s.received = s.send != NULL ? ag_alloc(ctx, bytes) : NULL;
    own.failed = s.received == NULL;
    bool good = sum_grads_agree(&s, &own), reached = true;
    for (int t = 0; t < 2 && good; t++) {
        cursor at = { .dtype = dtype[t] };
        for (int64_t left = own.elements[t]; left > 0 && reached; left -= PIECE)
            reached = sum_grads_piece(&s, &at, left < PIECE ? left : PIECE);
    }
    if (!reached)
        ag_fail(ctx, AG_ERR_STATE, sum_grads_name, "the other processes can not be reached");
    ag_free(ctx, s.send, bytes);
    ag_free(ctx, s.received, bytes);
    return ag_error(ctx);
}
