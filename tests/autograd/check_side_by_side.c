/* SPDX-License-Identifier: MIT
 *
 * check_side_by_side.c - vjps that take several nodes in one call: which nodes stand side by side, and that linears
 * give the same bits so as one by one.
 */
#include "tests/test.h"

#include "tensor/kernels/kernels.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- Which nodes ---- */

/* y = 2 x; each call of its vjp is noted by how many nodes it takes. */
enum { CALLS = 16 };
static int calls, length[CALLS];

static void probe_vjp(ag_vjp *first)
{
    ck_assert_int_lt(calls, CALLS);
    length[calls] = 0;
    for (ag_vjp *v = first; v != NULL; v = v->next) {
        ag_vjp_add(v, 0, ag_scale(v->gy, 2));
        length[calls]++;
    }
    calls++;
}

static const ag_op probe_op = { "probe", 1, AG_KEEP_INPUT, probe_vjp, .list = true };

static ag_tensor *probe(ag_tensor *x)
{
    return ag_record(&probe_op, ag_scale(ag_detach(x), 2), &x, 1, NULL, 0, NULL);
}

/* The calls since the last look took so many nodes: assert_calls(3, 1). */
#define assert_calls(...)                                                                                              \
    check_calls((int)(sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int)), (const int[]){ __VA_ARGS__ })

static void check_calls(int count, const int *want)
{
    ck_assert_int_eq(calls, count);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(length[i], want[i]);
    calls = 0;
}

static ag_tensor *sum_of(int count, ag_tensor *const *y)
{
    ag_tensor *sum = y[0];
    for (int i = 1; i < count; i++)
        sum = ag_add(sum, y[i]);
    return sum;
}

/* Of one tensor, and of leaves, whose nodes stand between. */
START_TEST(neighbours_are_one_call)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1), *b = LEAF(ctx, 2), *c = LEAF(ctx, 3);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *x = ag_scale(a, 1), *y[3] = { probe(x), probe(x), probe(x) };
    assert_ok(ctx, ag_backward(tape, sum_of(3, y)));
    assert_calls(3);
    assert_values(ag_grad(a), 0, 6.0);
    ag_tensor *z[3] = { probe(a), probe(b), probe(c) };
    assert_ok(ctx, ag_backward(tape, sum_of(3, z)));
    assert_calls(3);
    assert_values(ag_grad(a), 0, 8.0);
    assert_values(ag_grad(b), 0, 2.0);
    assert_values(ag_grad(c), 0, 2.0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* What stands between, what feeds another, what has another type, and what the loss does not need part them. */
START_TEST(others_are_not)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1), *b = ag_require_grad(ag_full(ctx, AG_F32, AG_SHAPE(1), 2));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y[3] = { probe(a), ag_scale(a, 3), probe(a) };
    assert_ok(ctx, ag_backward(tape, sum_of(3, y)));
    assert_calls(1, 1);
    assert_values(ag_grad(a), 0, 7.0);
    ag_tensor *first = probe(a), *z[3] = { first, probe(a), probe(first) };
    assert_ok(ctx, ag_backward(tape, sum_of(3, z)));
    assert_calls(2, 1);
    assert_values(ag_grad(a), 0, 7.0 + 8.0);
    ag_tensor *narrow = probe(b), *u[2] = { probe(a), ag_cast(narrow, AG_F64) };
    assert_ok(ctx, ag_backward(tape, sum_of(2, u)));
    assert_calls(1, 1);
    ag_tensor *wide = probe(a);
    narrow = probe(b);
    assert_ok(ctx, ag_backward(tape, sum_of(2, (ag_tensor *[]){ wide, ag_cast(narrow, AG_F64) })));
    assert_calls(1, 1);
    ag_tensor *v[2];
    v[0] = probe(a);
    probe(a);
    v[1] = probe(a);
    assert_ok(ctx, ag_backward(tape, sum_of(2, v)));
    assert_calls(1, 1);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(a_call_has_its_most)
{
    enum { COUNT = AG_LINEAR_LIST_MAX + 3 };
    ag_ctx *ctx = test_begin();
    ag_tensor *a = LEAF(ctx, 1), *y[COUNT];
    ag_tape *tape = ag_tape_begin(ctx);
    for (int i = 0; i < COUNT; i++)
        y[i] = probe(a);
    assert_ok(ctx, ag_backward(tape, sum_of(COUNT, y)));
    assert_calls(AG_LINEAR_LIST_MAX, 3);
    assert_values(ag_grad(a), 0, 2.0 * COUNT);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static ag_tensor *add_one(void *user, ag_tensor *grad)
{
    (void)user;
    return ag_add_scalar(grad, 1);
}

/* A hook, a gradient that stays, a gradient that is asked for, or an observer: then node by node. */
START_TEST(one_by_one_when_somebody_looks)
{
    ag_ctx *ctx = test_begin();
    for (int who = 0; who < 5; who++) {
        ag_tensor *a = LEAF(ctx, 1), *gradient[2];
        ag_tape *tape = ag_tape_begin(ctx);
        if (who == 3)
            ag_tape_detect_anomalies(tape);
        if (who == 4)
            ag_tape_measure_grads(tape);
        ag_tensor *y[3] = { probe(a), probe(a), probe(a) }, *loss = sum_of(3, y), *wrt[] = { y[1], a };
        if (who == 0)
            assert_ok(ctx, ag_hook(y[1], add_one, NULL));
        if (who == 1)
            assert_ok(ctx, ag_retain_grad(y[1]));
        if (who == 2) {
            assert_ok(ctx, ag_gradient(tape, loss, NULL, wrt, 2, gradient));
            assert_values(gradient[0], 0, 1.0);
            assert_values(gradient[1], 0, 6.0);
        } else {
            assert_ok(ctx, ag_backward(tape, loss));
            assert_values(ag_grad(a), 0, who == 0 ? 8.0 : 6.0);
        }
        if (who == 1)
            assert_values(ag_grad(y[1]), 0, 1.0);
        assert_calls(1, 1, 1);
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* An input that has changed is found whichever node keeps it, and then nothing is done. */
START_TEST(a_changed_input_stops_all)
{
    ag_ctx *ctx = test_begin();
    for (int which = 0; which < 3; which++) {
        ag_tensor *a = LEAF(ctx, 1), *x[3], *y[3];
        ag_tape *tape = ag_tape_begin(ctx);
        for (int i = 0; i < 3; i++)
            x[i] = ag_scale(a, 1);
        for (int i = 0; i < 3; i++)
            y[i] = probe(x[i]);
        assert_ok(ctx, ag_fill(x[which], 7));
        ck_assert_int_eq(ag_backward(tape, sum_of(3, y)), AG_ERR_STATE);
        assert_error(ctx, AG_ERR_STATE, "probe: backward needs its input [1], which 'fill' has changed since");
        ck_assert_int_eq(calls, 0);
        ck_assert_ptr_null(ag_grad(a));
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

/* ---- Linears ---- */

enum { LINEARS = 3, GRADIENTS = 2 + 2 * LINEARS };

/* Three linears of x, or of x and memory, which are not leaves. */
typedef struct linears {
    int64_t rows, in, out[LINEARS];
    int from[LINEARS]; /* 0: x, 1: memory */
    bool frozen;       /* the weight of the second; its bias is not */
} linears;

static const linears cases[] = {
    { 128, 64, { 64, 64, 64 }, { 0, 0, 0 }, false }, /* each thread has its rows */
    { 128, 64, { 64, 64, 64 }, { 0, 1, 1 }, false },
    { 128, 64, { 64, 64, 64 }, { 0, 1, 0 }, false },
    { 160, 130, { 1, 40, 1 }, { 0, 0, 0 }, false }, /* columns of a transposed row, and rows */
    { 40, 300, { 17, 33, 80 }, { 0, 0, 0 }, true }, /* too few rows: regions of their own */
    { 3, 5, { 2, 7, 1 }, { 0, 0, 0 }, true },
    { 1, 200, { 100, 100, 300 }, { 1, 0, 0 }, false },
};

/* Gradients of x, memory and the parameters, retained. `apart`: each linear's vjp alone. */
static void gradients_of(ag_ctx *ctx, const linears *c, bool apart, ag_tensor **grad)
{
    ag_tensor *leaf[GRADIENTS], *y[LINEARS];
    int n = 0;
    leaf[n++] = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(c->rows, c->in)));
    leaf[n++] = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(c->rows, c->in)));
    for (int i = 0; i < LINEARS; i++) {
        leaf[n] = ag_randn(ctx, AG_F32, AG_SHAPE(c->out[i], c->in));
        if (!(c->frozen && i == 1))
            ag_require_grad(leaf[n]);
        n++;
        leaf[n++] = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(c->out[i])));
    }
    ag_tape *tape = ag_tape_begin(ctx);
    if (apart)
        ag_tape_measure_grads(tape);
    ag_tensor *from[] = { ag_scale(leaf[0], 1), ag_scale(leaf[1], 1) };
    for (int i = 0; i < LINEARS; i++)
        y[i] = ag_linear(from[c->from[i]], leaf[2 + 2 * i], leaf[3 + 2 * i]);
    for (int i = 0; i < LINEARS; i++)
        y[i] = ag_sum(ag_mul(y[i], y[i]), AG_ALL_DIMS, false);
    assert_ok(ctx, ag_backward(tape, sum_of(LINEARS, y)));
    for (int i = 0; i < n; i++)
        grad[i] = ag_retain(ag_grad(leaf[i]));
    ag_tape_end(tape);
}

START_TEST(linears_have_the_bits_of_one_by_one)
{
    const linears *c = &cases[_i];
    enum { THREADS = 4 };
    ag_tensor *want[GRADIENTS] = { NULL };
    ag_ctx *first = ag_ctx_new((ag_ctx_config){ .seed = 5, .threads = 1 });
    gradients_of(first, c, true, want);
    for (int threads = 1; threads <= THREADS; threads++) {
        ag_tensor *got[GRADIENTS] = { NULL };
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 5, .threads = threads });
        gradients_of(ctx, c, false, got);
        for (int i = 0; i < GRADIENTS; i++) {
            ck_assert_msg((got[i] == NULL) == (want[i] == NULL), "gradient %d", i);
            if (got[i] != NULL)
                assert_same_bits(got[i], want[i]);
            ag_release(got[i]);
        }
        ag_ctx_free(ctx);
    }
    for (int i = 0; i < GRADIENTS; i++)
        ag_release(want[i]);
    ag_ctx_free(first);
}
END_TEST

/* ---- Products that add to one c ---- */

enum { PRODUCTS = 4, MOST = 200 * 300 };

/* c[0] takes the first, second and fourth product, c[1] the third. */
typedef struct sums {
    int64_t m, n, k[PRODUCTS];
    bool transposed[PRODUCTS]; /* a: its rows are not cut between threads when n is large */
} sums;

static const sums sums_of[] = {
    { 128, 64, { 64, 64, 30, 70 }, { false } },
    { 130, 65, { 64, 600, 30, 1 }, { false } },
    { 100, 200, { 64, 90, 64, 64 }, { false, true, false, true } },
    { 100, 200, { 64, 90, 64, 64 }, { true, true, true, true } },
    { 20, 300, { 90, 64, 90, 90 }, { false } },
    { 1, 300, { 190, 170, 190, 190 }, { false } },
};

/* At most MOST numbers each. */
typedef struct matrices {
    float *a, *b, *c[2], *want[2];
} matrices;

static void fill_list(const sums *s, const matrices *x, float *const *c, ag_gemm *list)
{
    for (int i = 0; i < PRODUCTS; i++)
        list[i] = (ag_gemm){ .m = s->m, .n = s->n, .k = s->k[i], .batch = 1,
                             .a = { .data = x->a + i, .row = s->transposed[i] ? 1 : s->k[i],
                                    .col = s->transposed[i] ? s->m : 1 },
                             .b = { .data = x->b + i, .row = s->n, .col = 1 },
                             .c = c[i == 2], .c_row = s->n, .accumulate = i == 1 || i == 3 };
}

static void run_products(const ag_real_kernels *k, int threads, int count, const ag_gemm *list)
{
    unsigned char *block = malloc(k->gemm_scratch(threads, count, list) + 64);
    ck_assert_ptr_nonnull(block);
    k->gemm(AG_TEAM(threads), count, list, block + (64 - (uintptr_t)block % 64));
    free(block);
}

START_TEST(products_add_to_one_c_in_their_order)
{
    static const char *const isas[] = { "reference", "baseline", "x86-64-v3", "x86-64-v4" };
    const ag_kernel_table *table = ag_kernels_find(isas[_i]);
    if (table == NULL)
        return;
    matrices x;
    float *memory = malloc(6 * MOST * sizeof *memory);
    ck_assert_ptr_nonnull(memory);
    for (int i = 0; i < 6 * MOST; i++)
        memory[i] = (float)(i % 1009 * 601 % 1009) / 1009 - 0.5F;
    x = (matrices){ memory, memory + MOST, { memory + 2 * MOST, memory + 3 * MOST },
                    { memory + 4 * MOST, memory + 5 * MOST } };
    for (size_t n = 0; n < sizeof sums_of / sizeof *sums_of; n++) {
        const sums *s = &sums_of[n];
        const size_t bytes = (size_t)(s->m * s->n) * sizeof *memory;
        ag_gemm list[PRODUCTS];
        fill_list(s, &x, x.want, list);
        for (int i = 0; i < PRODUCTS; i++)
            run_products(&table->f32, 1, 1, &list[i]);
        fill_list(s, &x, x.c, list);
        for (int threads = 1; threads <= 6; threads++) {
            memset(x.c[0], 0xff, bytes);
            memset(x.c[1], 0xff, bytes);
            run_products(&table->f32, threads, PRODUCTS, list);
            for (int c = 0; c < 2; c++)
                ck_assert_msg(memcmp(x.c[c], x.want[c], bytes) == 0, "%s: case %d, c %d, %d threads", isas[_i],
                              (int)n, c, threads);
        }
    }
    free(memory);
}
END_TEST

Suite *side_by_side_suite(void)
{
    Suite *suite = suite_create("side_by_side");
    TCase *nodes = tcase_create("nodes");
    tcase_add_test(nodes, neighbours_are_one_call);
    tcase_add_test(nodes, others_are_not);
    tcase_add_test(nodes, a_call_has_its_most);
    tcase_add_test(nodes, one_by_one_when_somebody_looks);
    tcase_add_test(nodes, a_changed_input_stops_all);
    suite_add_tcase(suite, nodes);
    TCase *products = tcase_create("linears");
    tcase_add_loop_test(products, linears_have_the_bits_of_one_by_one, 0, sizeof cases / sizeof *cases);
    tcase_add_loop_test(products, products_add_to_one_c_in_their_order, 0, 4);
    suite_add_tcase(suite, products);
    return suite;
}
