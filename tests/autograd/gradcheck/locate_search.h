/* SPDX-License-Identifier: MIT
 *
 * locate_search.h - ops whose vjp can be made wrong, and the search for the wrong op after a check that has failed, for
 * check_locate.c.
 */
#ifndef TESTS_LOCATE_SEARCH_H
#define TESTS_LOCATE_SEARCH_H

#include "autograd/gradcheck/gradcheck_impl.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#define assert_contains(text, part) ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text)

/* ---- Ops with faults ---- */

typedef enum fault { RIGHT, SIGN, TWICE } fault;

static void square_vjp(ag_vjp *v)
{
    fault what = *(const fault *)v->attr;
    ag_vjp_add(v, 0, ag_scale(ag_mul(v->gy, v->input[0]), what == SIGN ? -2 : what == TWICE ? 4 : 2));
}

static const ag_op square_op = { "square", 1, AG_KEEP_INPUT, square_vjp };

static ag_tensor *square(ag_tensor *x, fault what)
{
    ag_tensor *plain = ag_detach(x);
    return ag_record(&square_op, ag_mul(plain, plain), &x, 1, &what, sizeof what, NULL);
}

/* y = x^2, whose vjp takes the memory of gy, or of x, as it lies. */
static void memory_order_vjp(ag_vjp *v)
{
    bool of_gy = *(const bool *)v->attr;
    ag_tensor *x = v->input[0], *gy = v->gy;
    ag_tensor *gx = ag_empty(v->ctx, AG_F64, ag_ndim(gy), ag_shape(gy));
    if (gx == NULL)
        return;
    const double *from = ag_data(of_gy ? gy : x);
    for (int64_t i = 0; i < ag_numel(gx); i++)
        ((double *)ag_data_mut(gx))[i] = from[i];
    ag_vjp_add(v, 0, ag_scale(ag_mul(gx, of_gy ? x : gy), 2));
}

static const ag_op memory_order_op = { "memory_order", 1, AG_KEEP_INPUT, memory_order_vjp };

static ag_tensor *memory_order(ag_tensor *x, bool of_gy)
{
    ag_tensor *plain = ag_tensor_contiguous(ag_detach(x));
    return ag_record(&memory_order_op, ag_mul(plain, plain), &x, 1, &of_gy, sizeof of_gy, NULL);
}

/* y[..,N] = x w, with w[N]; w's gradient is that of the first row alone. */
static void gain_vjp(ag_vjp *v)
{
    ag_tensor *gw = ag_mul(v->gy, v->input[0]);
    ag_vjp_add(v, 0, ag_mul(v->gy, v->input[1]));
    ag_vjp_add(v, 1, ag_select(ag_reshape(gw, AG_SHAPE(-1, ag_dim(gw, -1))), 0, 0));
}

static const ag_op gain_op = { "gain", 2, AG_KEEP_INPUT << 0 | AG_KEEP_INPUT << 1, gain_vjp };

static ag_tensor *gain(ag_tensor *x, ag_tensor *w)
{
    return ag_record(&gain_op, ag_mul(ag_detach(x), ag_detach(w)), (ag_tensor *[]){ x, w }, 2, NULL, 0, NULL);
}

/* ---- An allocator that fails during a search ---- */

typedef struct heap {
    int64_t calls, fail_from;
} heap;

static heap *short_heap; /* NULL: memory does not end */
static int64_t short_after;

static void *heap_alloc(void *user, size_t size)
{
    heap *h = user;
    return h->calls++ >= h->fail_from ? NULL : malloc(size);
}

static void heap_free(void *user, void *block, size_t size)
{
    (void)user, (void)size;
    free(block);
}

static ag_location search(ag_check *check)
{
    if (short_heap != NULL) {
        ag_ctx_trim(check->ctx);
        short_heap->fail_from = short_heap->calls + short_after;
    }
    ag_location at = ag_check_locate(check);
    if (short_heap != NULL)
        short_heap->fail_from = INT64_MAX;
    return at;
}

/* ---- A check that has failed, as gradcheck.c makes it ---- */

enum { INPUTS_MAX = 4, OUTPUTS_MAX = 2, NUMEL_MAX = 4096 };

/* Adds the gradients of output o, for its part of the check's cotangent, to those of the check. */
static void add_gradients(ag_check *check, ag_gradcheck_fn *recorded, int o)
{
    const ag_tensor_function *f = check->function;
    ag_ctx *ctx = check->ctx;
    ag_tensor *y[OUTPUTS_MAX] = { NULL }, *grad[INPUTS_MAX];
    ag_tape *tape = ag_tape_begin(ctx);
    ag_rng_set(ctx, f->rng);
    recorded(ctx, f->input, y, f->user);
    ck_assert_ptr_nonnull(y[o]);
    check->output[o].numel = ag_numel(y[o]);
    check->output[o].first = check->output_numel;
    check->output_numel += ag_numel(y[o]);
    ck_assert_int_le(check->output_numel, NUMEL_MAX);
    ag_rng_set(ctx, (ag_rng){ .seed = 5 + (uint64_t)o });
    ag_tensor *c = ag_randn(ctx, AG_F64, ag_ndim(y[o]), ag_shape(y[o]));
    memcpy(check->cotangent + check->output[o].first, ag_data(c), (size_t)ag_numel(c) * sizeof(double));
    if (ag_node_of(tape, y[o]) >= 0) {
        ag_gradient(tape, y[o], c, f->input, f->count, grad);
        for (int i = 0; i < f->count; i++)
            for (int64_t e = 0; grad[i] != NULL && e < ag_numel(grad[i]); e++)
                check->input[i].analytic[e] += test_at(grad[i], e);
    }
    assert_no_error(ctx);
    ag_tape_end(tape);
}

/* Looks for the fault in f, whose gradients are those of `recorded`: f itself, unless the engine is at fault. Asserts
 * that nothing else has changed. */
static ag_location locate_as(ag_ctx *ctx, ag_gradcheck_fn *f, ag_gradcheck_fn *recorded, ag_tensor *const *x, int count,
                             void *user, int outputs)
{
    static double analytic[INPUTS_MAX][NUMEL_MAX], cotangent[NUMEL_MAX];
    ag_rng rng = ag_rng_get(ctx);
    ag_tensor_function function = { f, x, count, user, rng };
    ag_check_input input[INPUTS_MAX];
    ag_check_output output[OUTPUTS_MAX] = { { .numel = 0 } };
    ag_check check = {
        .ctx = ctx, .config = { .rtol = 1e-6, .atol = 1e-9, .elements = 4096, .step = 1.0 / 64 }, .input = input,
        .input_count = count, .output = output, .output_count = outputs, .cotangent = cotangent, .function = &function,
    };
    ag_tensor *before[INPUTS_MAX], *grad[INPUTS_MAX];
    ag_scope_begin(ctx, NULL);
    memset(analytic, 0, sizeof analytic);
    for (int i = 0; i < count; i++) {
        input[i] = (ag_check_input){ .numel = ag_numel(x[i]), .checked = ag_requires_grad(x[i]),
                                     .analytic = analytic[i], .found.verdict = AG_FAIL };
        before[i] = ag_tensor_clone(x[i]);
        grad[i] = ag_grad(x[i]);
    }
    for (int o = 0; o < outputs; o++)
        add_gradients(&check, recorded, o);
    ag_rng_set(ctx, (ag_rng){ .seed = 77, .counter = 3 });
    ag_location at = search(&check);
    ck_assert_uint_eq(ag_rng_get(ctx).seed, 77);
    ck_assert_uint_eq(ag_rng_get(ctx).counter, 3);
    ag_rng_set(ctx, rng);
    assert_no_error(ctx);
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(memcmp(ag_data(before[i]), ag_data(x[i]), (size_t)ag_numel(x[i]) * sizeof(double)), 0);
        ck_assert_ptr_eq(ag_grad(x[i]), grad[i]);
    }
    ag_scope_end(ctx, NULL);
    return at;
}

static ag_location locate(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *x, int count, void *user)
{
    return locate_as(ctx, f, f, x, count, user, 1);
}

#define assert_at(at, want_op, want_node, want_input)                                                      \
    do {                                                                                                   \
        ck_assert_msg((at).node == (want_node), "node %lld: %s", (long long)(at).node, (at).explanation.text); \
        ck_assert_str_eq((at).op, want_op);                                                                \
        ck_assert_int_eq((at).op_input, want_input);                                                       \
    } while (0)

#define assert_nowhere(at, words)                                                               \
    do {                                                                                        \
        ck_assert_msg((at).node == -1, "node %lld: %s", (long long)(at).node, (at).explanation.text); \
        assert_contains((at).explanation.text, words);                                          \
    } while (0)

static ag_tensor *leaf(ag_ctx *ctx, int ndim, const int64_t *shape)
{
    return ag_require_grad(ag_randn(ctx, AG_F64, ndim, shape));
}

#endif
