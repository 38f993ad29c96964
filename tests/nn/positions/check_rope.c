/* SPDX-License-Identifier: MIT
 *
 * check_rope.c - rotary positions: the table against the published formulas, the op by the properties that it is used
 * for. Gradients against differences are in op_cases.def.
 */
#include "tests/test.h"

#include <string.h>

static ag_tensor *table_of(ag_ctx *ctx, ag_rope_config config, int64_t head_size, int64_t first, int64_t length)
{
    ag_tensor *table = ag_rope_table(ctx, AG_F64, config, head_size, first, length);
    assert_no_error(ctx);
    return table;
}

static ag_tensor *ints(ag_ctx *ctx, int64_t B, int64_t T, const int32_t *values)
{
    return ag_from_data(ctx, AG_I32, AG_SHAPE(B, T), values);
}

/* ---- The table ---- */

START_TEST(table_of_plain_angles)
{
    ag_ctx *ctx = test_begin();
    static const struct {
        ag_rope_config config;
        int64_t head_size, R;
        double theta;
    } cases[] = {
        { { 0 }, 8, 8, 10000 },
        { { .theta = 500000, .size = 6 }, 9, 6, 500000 },
        { { .size = 2, .factor = 1 }, 2, 2, 10000 },
    };
    for (int k = 0; k < 3; k++)
        for (int dtype = 0; dtype < 2; dtype++) {
            const int64_t R = cases[k].R, first = 1000 * k;
            ag_tensor *table = ag_rope_table(ctx, dtype ? AG_F64 : AG_F32, cases[k].config, cases[k].head_size, first,
                                             5);
            ck_assert_int_eq(ag_dim(table, 0), 5);
            ck_assert_int_eq(ag_dim(table, 1), R);
            for (int64_t t = 0; t < 5; t++)
                for (int64_t n = 0; n < R / 2; n++) {
                    /* The angle is computed in double for float32, too: no error grows with the position. */
                    double angle = (double)(first + t) / pow(cases[k].theta, 2 * (double)n / (double)R);
                    ck_assert_double_eq_tol(test_at(table, t * R + n), cos(angle), dtype ? 1e-12 : 6e-8);
                    ck_assert_double_eq_tol(test_at(table, t * R + R / 2 + n), sin(angle), dtype ? 1e-12 : 6e-8);
                }
        }
    ag_tensor *whole = table_of(ctx, (ag_rope_config){ 0 }, 8, 0, 9);
    assert_same_bits(table_of(ctx, (ag_rope_config){ 0 }, 8, 4, 5), ag_slice(whole, 0, 4, 9, 1));
    ck_assert_int_eq(ag_numel(table_of(ctx, (ag_rope_config){ 0 }, 8, 4, 0)), 0);
    test_end(ctx);
}
END_TEST

/* Frequencies and size by a NumPy program after the papers, with the branches as transformers' ROPE_INIT_FUNCTIONS has
 * them. The row at position 1 has them all. */
START_TEST(table_of_scaled_angles)
{
    ag_ctx *ctx = test_begin();
    static const struct {
        ag_rope_config config;
        int64_t R;
        double size, w[8];
    } cases[] = {
        { { .scaling = AG_ROPE_LINEAR, .factor = 4 }, 8, 1, { 0.25, 0.025, 0.0025, 0.00025 } },
        { { .scaling = AG_ROPE_NTK, .factor = 4 }, 8, 1,
          { 1, 0.06299605249474366, 0.0039685026299204991, 0.00025 } },
        { { .scaling = AG_ROPE_LLAMA3, .theta = 500000, .factor = 8, .original_len = 8192 }, 16, 1, /* Llama 3.1 */
          { 1, 0.19392274474868576, 0.037606030930863933, 0.0072926647372171085, 0.00052484616099295468,
            3.4281021959525912e-05, 6.6478698711812362e-06, 1.2891731721515574e-06 } },
        { { .scaling = AG_ROPE_LLAMA3, .theta = 500000, .factor = 32, .low_freq = 2, .high_freq = 16,
            .original_len = 2048 }, 16, 1,
          { 1, 0.19392274474868576, 0.027867703315544903, 0.00041815965840894822, 4.419417382415922e-05,
            8.5702554898814781e-06, 1.6619674677953091e-06, 3.2229329303788936e-07 } },
        { { .scaling = AG_ROPE_YARN, .factor = 4, .original_len = 4096 }, 16, 1.138629436111989,
          { 1, 0.31622776601683794, 0.1, 0.02569350598886808, 0.00625, 0.0013834964763236662, 0.00025,
            7.9056941504209485e-05 } },
        { { .scaling = AG_ROPE_YARN, .theta = 1000000, .factor = 8, .original_len = 32768 }, 16, 1.2079441541679836,
          { 1, 0.17782794100389229, 0.031622776601683791, 0.0039832510534316395, 0.00041666666666666669,
            2.2228492625486534e-05, 3.9528470752104744e-06, 7.029266564879364e-07 } },
        { { .scaling = AG_ROPE_YARN, .theta = 100, .factor = 2, .original_len = 3 }, 8, 1.0693147180559945,
          { 1, 0.15811388300841897, 0.05, 0.015811388300841896 } },
        { { .scaling = AG_ROPE_YARN, .factor = 1, .original_len = 64 }, 8, 1, { 1, 0.1, 0.01, 0.001 } },
    };
    for (int k = 0; k < (int)(sizeof cases / sizeof *cases); k++) {
        const int64_t R = cases[k].R;
        ag_tensor *table = table_of(ctx, cases[k].config, R, 1, 1);
        for (int64_t n = 0; n < R / 2; n++) {
            double cosine = test_at(table, n), sine = test_at(table, R / 2 + n);
            ck_assert_double_eq_tol(hypot(cosine, sine), cases[k].size, 1e-14);
            ck_assert_double_eq_tol(atan2(sine, cosine) / cases[k].w[n], 1, 1e-12);
        }
    }
    test_end(ctx);
}
END_TEST

START_TEST(table_errors)
{
    ag_ctx *ctx = test_begin();
    static const struct {
        ag_rope_config config;
        const char *message;
    } cases[] = {
        { { .size = 3 }, "rope_table: size is 3, must be even and in 2..8, the size of a head" },
        { { .size = 10 }, "rope_table: size is 10, must be even" },
        { { .size = -2 }, "rope_table: size is -2" },
        { { .theta = -1 }, "rope_table: theta is -1, must be above 1" },
        { { .theta = (double)NAN }, "must be above 1" },
        { { .scaling = AG_ROPE_LINEAR }, "rope_table: factor is 0, must be at least 1" },
        { { .scaling = AG_ROPE_NTK, .factor = 0.5 }, "rope_table: factor is 0.5, must be at least 1" },
        { { .scaling = AG_ROPE_NTK, .factor = (double)NAN }, "must be at least 1" },
        { { .scaling = AG_ROPE_NTK, .factor = 2, .size = 2 }, "rope_table: size is 2: NTK scaling" },
        { { .factor = 8 }, "rope_table: factor is 8, but no scaling is chosen" },
        { { .scaling = AG_ROPE_LLAMA3, .factor = 8 }, "rope_table: original_len is 0" },
        { { .scaling = AG_ROPE_YARN, .factor = 8, .original_len = -5 }, "rope_table: original_len is -5" },
        { { .scaling = AG_ROPE_LLAMA3, .factor = 8, .original_len = 9, .low_freq = 4 }, "low_freq is 4, high_freq 4" },
        { { .scaling = (ag_rope_scaling)7 }, "rope_table: there is no scaling number 7" },
    };
    for (int k = 0; k < (int)(sizeof cases / sizeof *cases); k++) {
        ck_assert_ptr_null(ag_rope_table(ctx, AG_F32, cases[k].config, 8, 0, 4));
        assert_error(ctx, AG_ERR_ARGUMENT, cases[k].message);
    }
    ck_assert_ptr_null(ag_rope_table(ctx, AG_F32, (ag_rope_config){ 0 }, 7, 0, 4));
    assert_error(ctx, AG_ERR_ARGUMENT, "rope_table: size is 7, must be even");
    ck_assert_ptr_null(ag_rope_table(ctx, AG_F32, (ag_rope_config){ 0 }, 8, 0, -1));
    assert_error(ctx, AG_ERR_ARGUMENT, "rope_table: length is -1");
    ck_assert_ptr_null(ag_rope_table(ctx, AG_I32, (ag_rope_config){ 0 }, 8, 0, 4));
    assert_error(ctx, AG_ERR_DTYPE, "rope_table: dtype is int32");
    ck_assert_ptr_null(ag_rope_table(NULL, AG_F32, (ag_rope_config){ 0 }, 8, 0, 4));
    test_end(ctx);
}
END_TEST

/* ---- The op ---- */

enum { B = 2, H = 3, T = 5, D = 10, R = 8 };

/* y[c] and y[c'] of every pair from the formula, channels from R on as they were. */
START_TEST(values)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, H, T, D));
    const int32_t place[B * T] = { 4, 0, 7, 7, 1, 2, 3, 4, 5, 6 };
    ag_tensor *table = table_of(ctx, (ag_rope_config){ .size = R, .theta = 50 }, D, 0, 8);
    for (int neighbours = 0; neighbours < 2; neighbours++)
        for (int given = 0; given < 2; given++) {
            ag_tensor *y = ag_rope(x, table, given ? ints(ctx, B, T, place) : NULL,
                                   neighbours ? AG_ROPE_NEIGHBOURS : AG_ROPE_HALVES);
            for (int i = 0; i < B * H * T; i++) {
                int b = i / T / H, t = i % T, p = given ? place[b * T + t] : t;
                for (int n = 0; n < R / 2; n++) {
                    double angle = p * pow(50, -2.0 * n / R);
                    int c = neighbours ? 2 * n : n, other = neighbours ? 2 * n + 1 : n + R / 2;
                    double a = test_at(x, i * D + c), z = test_at(x, i * D + other);
                    ck_assert_double_eq_tol(test_at(y, i * D + c), a * cos(angle) - z * sin(angle), 1e-14);
                    ck_assert_double_eq_tol(test_at(y, i * D + other), a * sin(angle) + z * cos(angle), 1e-14);
                }
                for (int c = R; c < D; c++)
                    ck_assert_double_eq(test_at(y, i * D + c), test_at(x, i * D + c));
            }
        }
    test_end(ctx);
}
END_TEST

/* The channels in the other pairing's order: of halves n, n + R/2 as 2n, 2n + 1. */
static ag_tensor *as_neighbours(ag_tensor *x)
{
    ag_tensor *turning = ag_reshape(ag_slice(x, 3, 0, R, 1), AG_SHAPE(B, H, T, 2, R / 2));
    ag_tensor *swapped = ag_reshape(ag_transpose(turning, 3, 4), AG_SHAPE(B, H, T, R));
    return ag_concat((ag_tensor *[]){ swapped, ag_slice(x, 3, R, D, 1) }, 2, 3);
}

START_TEST(pairings_are_one_up_to_the_order_of_channels)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *table = table_of(ctx, (ag_rope_config){ .size = R }, D, 3, T);
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(B, H, T, D));
    assert_close(as_neighbours(ag_rope(x, table, NULL, AG_ROPE_HALVES)),
                 ag_rope(as_neighbours(x), table, NULL, AG_ROPE_NEIGHBOURS), 1e-14, 0);
    test_end(ctx);
}
END_TEST

START_TEST(scores_depend_on_the_distance_alone)
{
    ag_ctx *ctx = test_begin();
    enum { LONG = 40 };
    for (int k = 0; k < 3; k++) {
        const ag_rope_pairing pairing = k == 1 ? AG_ROPE_NEIGHBOURS : AG_ROPE_HALVES;
        const ag_rope_config config = k < 2 ? (ag_rope_config){ .size = R }
            : (ag_rope_config){ .scaling = AG_ROPE_LLAMA3, .size = R, .factor = 4, .original_len = 16 };
        ag_tensor *table = table_of(ctx, config, D, 0, LONG);
        /* One query and one key, at every position. */
        ag_tensor *q = ag_expand(ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 1, D)), AG_SHAPE(1, 1, LONG, D));
        ag_tensor *key = ag_expand(ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 1, D)), AG_SHAPE(1, 1, LONG, D));
        ag_tensor *turned = ag_rope(q, table, NULL, pairing);
        ag_tensor *s = ag_matmul(turned, ag_transpose(ag_rope(key, table, NULL, pairing), 2, 3));
        double least = HUGE_VAL, most = -HUGE_VAL;
        for (int i = 0; i < LONG; i++)
            for (int j = 0; j < LONG; j++) {
                double same_distance = i >= j ? test_at(s, (i - j) * LONG) : test_at(s, j - i);
                ck_assert_double_eq_tol(test_at(s, i * LONG + j), same_distance, 1e-12);
                least = fmin(least, same_distance), most = fmax(most, same_distance);
            }
        ck_assert_double_gt(most - least, 0.1); /* and do depend on it */
        ag_tensor *norm = ag_sum(ag_mul(turned, turned), AG_DIMS(3), false);
        assert_close(norm, ag_sum(ag_mul(q, q), AG_DIMS(3), false), 1e-12, 0);
    }
    test_end(ctx);
}
END_TEST

START_TEST(positions_choose_rows)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(B, H, T, R));
    ag_tensor *table = ag_rope_table(ctx, AG_F32, (ag_rope_config){ 0 }, R, 0, 20);
    const int32_t place[B * T] = { 15, 16, 17, 18, 19, 15, 16, 17, 18, 19 };
    ag_tensor *positions = ints(ctx, B, T, place), *want = ag_rope(x, table, positions, AG_ROPE_HALVES);
    assert_same_bits(ag_rope(x, ag_slice(table, 0, 15, 20, 1), NULL, AG_ROPE_HALVES), want);
    /* Any strides of x, the table and the positions. */
    const int32_t other[B * T] = { 15, 16, 17, 18, 19, 4, 3, 2, 1, 0 };
    ag_tensor *shared = ag_expand(ag_slice(ints(ctx, B, T, other), 0, 0, 1, 1), AG_SHAPE(B, T));
    assert_same_bits(ag_rope(x, table, shared, AG_ROPE_HALVES), want);
    ag_tensor *turned_table = ag_transpose(ag_contiguous(ag_transpose(table, 0, 1)), 0, 1);
    assert_same_bits(ag_rope(x, turned_table, positions, AG_ROPE_HALVES), want);
    ag_tensor *apart = ag_transpose(ag_contiguous(ag_transpose(x, 1, 3)), 1, 3);
    assert_same_bits(ag_rope(apart, table, positions, AG_ROPE_HALVES), want);
    /* At position 0 nothing moves. */
    ag_tensor *start = ag_expand(ag_zeros(ctx, AG_I32, AG_SHAPE(1, 1)), AG_SHAPE(B, T));
    assert_same(ag_rope(x, table, start, AG_ROPE_NEIGHBOURS), x);
    test_end(ctx);
}
END_TEST

/* An identity whose vjp sees whether the gradient lies in memory as [B,T,H,D]. */
static bool gradient_is_split;

static void seeing_vjp(ag_vjp *v)
{
    gradient_is_split = ag_is_contiguous(ag_tensor_transpose(v->gy, 1, 2));
    ag_vjp_add(v, 0, v->gy);
}

static const ag_op seeing = { "seeing", 1, AG_KEEP_NONE, seeing_vjp };

/* A head split [B,T,H,D] is turned where it lies, and can be viewed back; the gradient too. */
START_TEST(memory_layout_is_kept)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(B, T, H, R)));
    ag_tensor *table = table_of(ctx, (ag_rope_config){ 0 }, R, 0, T);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *heads = ag_transpose(x, 1, 2);
    heads = ag_record(&seeing, ag_tensor_transpose(ag_detach(x), 1, 2), &heads, 1, NULL, 0, NULL);
    ag_tensor *y = ag_rope(heads, table, NULL, AG_ROPE_HALVES);
    ck_assert(ag_is_contiguous(ag_tensor_transpose(y, 1, 2)));
    assert_same(y, ag_rope(ag_contiguous(heads), table, NULL, AG_ROPE_HALVES));
    ag_tensor *joined = ag_transpose(y, 1, 2);
    gradient_is_split = false;
    assert_ok(ctx, ag_backward(tape, test_total(ag_scale(ag_mul(joined, joined), 0.5))));
    ck_assert(gradient_is_split);
    ag_tape_end(tape);
    /* Turning back undoes it: the gradient of y y / 2 is x. */
    assert_close(ag_grad(x), ag_detach(x), 1e-14, 0);
    test_end(ctx);
}
END_TEST

/* Enough elements for a parallel region. */
START_TEST(threads_give_the_same_bits)
{
    enum { N = 2 * 3 * 101 * 64 };
    static float want[2][N];
    for (int threads = 1; threads <= 3; threads++)
        for (int neighbours = 0; neighbours < 2; neighbours++) {
            ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = threads });
            ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(2, 3, 101, 64));
            ag_tensor *table = ag_rope_table(ctx, AG_F32, (ag_rope_config){ 0 }, 64, 0, 101);
            ag_tensor *y = ag_rope(x, table, NULL, neighbours ? AG_ROPE_NEIGHBOURS : AG_ROPE_HALVES);
            ck_assert_ptr_nonnull(y);
            if (threads == 1)
                memcpy(want[neighbours], ag_data(y), sizeof want[neighbours]);
            ck_assert(memcmp(want[neighbours], ag_data(y), sizeof want[neighbours]) == 0);
            test_end(ctx);
        }
}
END_TEST

/* A table that would want a gradient is refused, recorded or a leaf; detached it will do. */
START_TEST(table_is_a_constant)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(1, 1, 3, 4)));
    ag_tensor *leaf = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(3, 4)));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *recorded = ag_scale(leaf, 2);
    ck_assert_ptr_null(ag_rope(x, recorded, NULL, AG_ROPE_HALVES));
    assert_error(ctx, AG_ERR_ARGUMENT, "rope: the table [3,4] requires a gradient, and rope gives it none; detach it");
    ck_assert_ptr_null(ag_rope(x, leaf, NULL, AG_ROPE_HALVES));
    assert_error(ctx, AG_ERR_ARGUMENT, "requires a gradient");
    ck_assert_ptr_nonnull(ag_rope(x, ag_detach(recorded), NULL, AG_ROPE_HALVES));
    /* And as backward reads it, one that has changed is found. */
    ag_tensor *table = table_of(ctx, (ag_rope_config){ 0 }, 4, 0, 3), *loss;
    loss = test_total(ag_rope(x, table, NULL, AG_ROPE_HALVES));
    assert_ok(ctx, ag_fill(table, 0));
    ck_assert_int_ne(ag_backward(tape, loss), AG_OK);
    assert_error(ctx, AG_ERR_STATE, "rope");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

Suite *rope_suite(void)
{
    Suite *suite = suite_create("rope");
    TCase *table = tcase_create("table");
    tcase_add_test(table, table_of_plain_angles);
    tcase_add_test(table, table_of_scaled_angles);
    tcase_add_test(table, table_errors);
    suite_add_tcase(suite, table);
    TCase *op = tcase_create("op");
    tcase_add_test(op, values);
    tcase_add_test(op, pairings_are_one_up_to_the_order_of_channels);
    tcase_add_test(op, scores_depend_on_the_distance_alone);
    tcase_add_test(op, positions_choose_rows);
    tcase_add_test(op, memory_layout_is_kept);
    tcase_add_test(op, threads_give_the_same_bits);
    tcase_add_test(op, table_is_a_constant);
    suite_add_tcase(suite, op);
    return suite;
}
