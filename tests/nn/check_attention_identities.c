/* SPDX-License-Identifier: MIT
 *
 * check_attention_identities.c - what must hold of attention for every input, by its formula alone: no reference is
 * needed. Sizes, masks and values are random, a seed per case, in float64.
 *
 * dS is seen through K: where K is the identity (D = Tk, scale 1), dQ = dS K = dS. E is a random dO throughout.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

enum { CASES = 24 };

typedef struct sizes {
    int64_t B, H, Tq, Tk, D, Dv;
} sizes;

/* ---- Helpers ---- */

/* 1 .. most, every third time next to the edge of a tile of 64. */
static int64_t extent(ag_ctx *ctx, int64_t most)
{
    double u[2] = { test_item(ag_rand(ctx, AG_F64, 0, NULL)), test_item(ag_rand(ctx, AG_F64, 0, NULL)) };
    int64_t n = u[0] < 0.33 && most >= 66 ? 63 + (int64_t)(3.99 * u[1]) : 1 + (int64_t)((double)most * u[1]);
    return n < most ? n : most;
}

static sizes random_sizes(ag_ctx *ctx, int64_t most)
{
    return (sizes){ extent(ctx, 2), extent(ctx, 3), extent(ctx, most), extent(ctx, most), extent(ctx, 20),
                    extent(ctx, 20) };
}

static ag_tensor *leaf(ag_ctx *ctx, int64_t B, int64_t H, int64_t T, int64_t D)
{
    return ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(B, H, T, D)));
}

/* O = sdpa(q, k, v), and the gradients of sum(E O) in ag_grad of the three. */
static ag_tensor *attend(ag_tensor *q, ag_tensor *k, ag_tensor *v, ag_sdpa_config config, ag_tensor *E)
{
    ag_ctx *ctx = ag_ctx_of(q);
    ag_tensor *const leaf[] = { q, k, v };
    for (int i = 0; i < 3; i++)
        ag_zero_grad(leaf[i]);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *o = ag_retain(ag_sdpa(q, k, v, config));
    ag_backward_from(tape, o, E);
    ag_tape_end(tape);
    assert_no_error(ctx);
    ag_tensor *result = ag_tensor_clone(o);
    ag_release(o);
    return result;
}

static double largest(const ag_tensor *t)
{
    double most = 0;
    for (int64_t i = 0; i < ag_numel(t); i++)
        most = fmax(most, fabs(test_at(t, i)));
    return most;
}

static ag_tensor *random_output(ag_ctx *ctx, sizes s)
{
    return ag_randn(ctx, AG_F64, AG_SHAPE(s.B, s.H, s.Tq, s.Dv));
}

/* t with the entries of `dim` in the order given. */
static ag_tensor *reordered(ag_tensor *t, int dim, const int64_t *order)
{
    ag_tensor *piece[512];
    int64_t n = ag_shape(t)[dim];
    ck_assert_int_le(n, 512);
    for (int64_t i = 0; i < n; i++)
        piece[i] = ag_slice(t, dim, order[i], order[i] + 1, 1);
    return ag_concat(piece, (int)n, dim);
}

static void shuffle(ag_ctx *ctx, int64_t n, int64_t *order)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)(test_item(ag_rand(ctx, AG_F64, 0, NULL)) * (double)(i + 1)), swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}

static ag_ctx *begin_case(int number)
{
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < number; i++)
        ag_rand(ctx, AG_F64, AG_SHAPE(97));
    return ctx;
}

/* ---- The gradient of the scores ---- */

static ag_tensor *identity_keys(ag_ctx *ctx, sizes s)
{
    ag_tensor *k = ag_zeros(ctx, AG_F64, AG_SHAPE(s.B, s.H, s.Tk, s.Tk));
    double *value = ag_data_mut(k);
    for (int64_t i = 0; i < s.B * s.H * s.Tk; i++)
        value[i * s.Tk + i % s.Tk] = 1;
    return ag_require_grad(k);
}

/* Each row of dS sums to 0: a softmax does not change when all scores of a row move together. And dS is exactly 0
 * where the mask forbids: above the diagonal, outside the window. */
START_TEST(rows_of_ds_sum_to_zero)
{
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 90);
    s.D = s.Tk;
    ag_mask masks[] = { { 0 }, { .causal = true }, { .causal = true, .offset = s.Tk - s.Tq },
                        { .back = 5, .ahead = 5 } };
    ag_sdpa_config config = { .mask = masks[_i % 4], .scale = 1 };
    ag_tensor *q = leaf(ctx, s.B, s.H, s.Tq, s.D), *k = identity_keys(ctx, s), *v = leaf(ctx, s.B, s.H, s.Tk, s.Dv);
    attend(q, k, v, config, random_output(ctx, s));
    const double *dS = ag_data(ag_grad(q));
    bool any = false;
    for (int64_t row = 0; row < s.B * s.H * s.Tq; row++) {
        double sum = 0, size = 0;
        for (int64_t j = 0; j < s.Tk; j++) {
            double d = dS[row * s.Tk + j];
            sum += d;
            size += fabs(d);
            if (!ag_mask_allowed(config.mask, s.Tq, s.Tk, row % s.Tq, j))
                ck_assert_msg(d == 0, "dS of a forbidden pair: query %lld, key %lld: %g", (long long)(row % s.Tq),
                              (long long)j, d);
        }
        any = any || size > 1e-6;
        ck_assert_msg(fabs(sum) <= 1e-14 * (1 + size), "row %lld of dS sums to %g", (long long)row, sum);
    }
    ck_assert(any || s.Tk == 1 || s.Tq == 1 || _i % 4 > 1);
    test_end(ctx);
}
END_TEST

/* A query that sees one key alone has the weight 1 whatever its score: its gradient is exactly 0. Dropout's factor,
 * which D has in each term and dP once, makes the two differ in rounding with every build of the kernels. */
START_TEST(the_first_query_of_a_causal_head_gets_exactly_nothing)
{
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 150);
    ag_tensor *q = leaf(ctx, s.B, s.H, s.Tq, s.D), *k = leaf(ctx, s.B, s.H, s.Tk, s.D);
    ag_sdpa_config config = { .mask.causal = true, .dropout = _i % 2 == 1 ? 0.3 : 0 };
    attend(q, k, leaf(ctx, s.B, s.H, s.Tk, s.Dv), config, random_output(ctx, s));
    const double *gq = ag_data(ag_grad(q));
    for (int64_t head = 0; head < s.B * s.H; head++)
        for (int64_t d = 0; d < s.D; d++)
            ck_assert_msg(gq[head * s.Tq * s.D + d] == 0, "head %lld: gradient %g", (long long)head,
                          gq[head * s.Tq * s.D + d]);
    ck_assert(s.Tq == 1 || s.Tk == 1 || largest(ag_grad(q)) > 1e-6);
    test_end(ctx);
}
END_TEST

/* ---- Scores ---- */

/* Scores that all get the constant c_i in row i, through one more column: q' = [q, c], k' = [k, 1]. The output and
 * the gradients of q, k, v stay. */
START_TEST(a_constant_added_to_a_row_of_scores_changes_nothing)
{
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 100);
    ag_sdpa_config config = { .mask.causal = _i % 2 == 1, .scale = 0.5 };
    ag_tensor *q = leaf(ctx, s.B, s.H, s.Tq, s.D), *k = leaf(ctx, s.B, s.H, s.Tk, s.D),
              *v = leaf(ctx, s.B, s.H, s.Tk, s.Dv), *E = random_output(ctx, s);
    ag_tensor *c = ag_scale(ag_randn(ctx, AG_F64, AG_SHAPE(s.B, s.H, s.Tq, 1)), 30);
    ag_tensor *wide_q = ag_require_grad(ag_concat((ag_tensor *[]){ q, c }, 2, 3));
    ag_tensor *wide_k = ag_require_grad(
        ag_concat((ag_tensor *[]){ k, ag_full(ctx, AG_F64, AG_SHAPE(s.B, s.H, s.Tk, 1), 1) }, 2, 3));
    ag_tensor *o = attend(q, k, v, config, E);
    ag_tensor *gv = ag_tensor_clone(ag_grad(v));
    assert_close(attend(wide_q, wide_k, v, config, E), o, 1e-13, 1e-13);
    assert_close(ag_grad(v), gv, 1e-12, 1e-12);
    assert_close(ag_slice(ag_grad(wide_q), 3, 0, s.D, 1), ag_grad(q), 1e-12, 1e-12);
    assert_close(ag_slice(ag_grad(wide_k), 3, 0, s.D, 1), ag_grad(k), 1e-12, 1e-12);
    ck_assert(largest(ag_slice(ag_grad(wide_q), 3, s.D, s.D + 1, 1)) < 1e-13); /* the row sums of dS once more */
    test_end(ctx);
}
END_TEST

/* A bias of the keys adds q_i b to every score of row i: it is not seen, and gets no gradient beyond rounding. */
START_TEST(the_key_bias_gets_no_gradient)
{
    ag_ctx *ctx = begin_case(_i);
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = 12, .num_heads = 3, .max_seq_len = 80,
                                                   .non_causal = _i % 2 == 1, .dtype = AG_F64 });
    ag_tensor *x = ag_randn(ctx, AG_F64, AG_SHAPE(extent(ctx, 3), extent(ctx, 80), 12));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_mha_forward(mha, x);
    ag_backward_from(tape, y, ag_randn(ctx, AG_F64, 3, ag_shape(y)));
    ag_tape_end(tape);
    assert_no_error(ctx);
    ag_module *module = ag_mha_module(mha);
    double of_key = largest(ag_grad(ag_module_find(module, "k.bias")));
    double of_value = largest(ag_grad(ag_module_find(module, "v.bias")));
    ck_assert_msg(of_key < 1e-14 * (double)ag_numel(x) && of_value > 1e-2, "key bias %g, value bias %g", of_key,
                  of_value);
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

/* ---- Order ---- */

/* Without a mask keys have no order: keys and values shuffled together give the same output, their gradients come
 * shuffled. Queries shuffled give shuffled outputs. */
START_TEST(without_a_mask_order_does_not_matter)
{
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 100);
    int64_t keys[512], queries[512];
    shuffle(ctx, s.Tk, keys);
    shuffle(ctx, s.Tq, queries);
    ag_tensor *q = leaf(ctx, s.B, s.H, s.Tq, s.D), *k = leaf(ctx, s.B, s.H, s.Tk, s.D),
              *v = leaf(ctx, s.B, s.H, s.Tk, s.Dv), *E = random_output(ctx, s);
    ag_tensor *o = attend(q, k, v, (ag_sdpa_config){ 0 }, E);
    ag_tensor *q2 = ag_require_grad(reordered(q, 2, queries)), *k2 = ag_require_grad(reordered(k, 2, keys)),
              *v2 = ag_require_grad(reordered(v, 2, keys));
    ag_tensor *o2 = attend(q2, k2, v2, (ag_sdpa_config){ 0 }, reordered(E, 2, queries));
    assert_close(o2, reordered(o, 2, queries), 1e-13, 1e-13);
    assert_close(ag_grad(q2), reordered(ag_grad(q), 2, queries), 1e-12, 1e-12);
    assert_close(ag_grad(k2), reordered(ag_grad(k), 2, keys), 1e-12, 1e-12);
    assert_close(ag_grad(v2), reordered(ag_grad(v), 2, keys), 1e-12, 1e-12);
    test_end(ctx);
}
END_TEST

/* ---- Heads ---- */

/* Rows first .. first + count - 1 of a parameter of the mha go to a parameter of the head. */
static void copy_rows(ag_module *head, ag_module *mha, const char *name, int64_t first, int64_t count)
{
    ag_tensor *rows = ag_tensor_slice(ag_module_find(mha, name), 0, first, first + count, 1);
    ck_assert_int_eq(ag_copy_into(ag_module_find(head, name), rows), AG_OK);
}

/* mha(x) = bias + sum over the heads of head_h(x) W_h^T, W_h the columns of proj that belong to head h. The gradients
 * of x add up in the same way. */
START_TEST(the_contributions_of_the_heads_add_up)
{
    enum { HEADS = 3, EMB = 10, SIZE = 4 };
    ag_ctx *ctx = begin_case(_i);
    bool full = _i % 2 == 1;
    ag_mha *mha = ag_mha_new(ctx, (ag_mha_config){ .emb_size = EMB, .num_heads = HEADS, .head_size = SIZE,
                                                   .max_seq_len = 70, .non_causal = full, .dtype = AG_F64 });
    ag_head_attention *head = ag_head_attention_new(ctx, (ag_head_attention_config){ .emb_size = EMB,
        .head_size = SIZE, .max_seq_len = 70, .non_causal = full, .dtype = AG_F64 });
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(2, extent(ctx, 70), EMB)));
    ag_tensor *E = ag_randn(ctx, AG_F64, 3, ag_shape(x));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *whole = ag_retain(ag_mha_forward(mha, x));
    ag_backward_from(tape, whole, E);
    ag_tape_end(tape);
    ag_tensor *gx = ag_tensor_clone(ag_grad(x));
    ag_zero_grad(x);
    ag_module *all = ag_mha_module(mha), *one = ag_head_attention_module(head);
    ag_tensor *sum = ag_tensor_expand(ag_module_find(all, "proj.bias"), 3, ag_shape(whole));
    for (int64_t h = 0; h < HEADS; h++) {
        static const char *const names[] = { "q.weight", "q.bias", "k.weight", "k.bias", "v.weight", "v.bias" };
        for (int i = 0; i < 6; i++)
            copy_rows(one, all, names[i], h * SIZE, SIZE);
        tape = ag_tape_begin(ctx);
        ag_tensor *weight = ag_detach(ag_module_find(all, "proj.weight"));
        ag_tensor *columns = ag_tensor_slice(weight, 1, h * SIZE, (h + 1) * SIZE, 1);
        ag_tensor *part = ag_retain(ag_linear(ag_head_attention_forward(head, x), ag_tensor_clone(columns), NULL));
        ag_backward_from(tape, part, E);
        ag_tape_end(tape);
        sum = ag_add(sum, ag_detach(part));
        ag_release(part);
    }
    assert_no_error(ctx);
    assert_close(whole, sum, 1e-13, 1e-13);
    assert_close(ag_grad(x), gx, 1e-12, 1e-12);
    ag_release(whole);
    ag_head_attention_free(head);
    ag_mha_free(mha);
    test_end(ctx);
}
END_TEST

/* ---- Masks and biases ---- */

/* Any of the fields, by the case's number. */
static ag_mask random_mask(ag_ctx *ctx, sizes s, int number)
{
    ag_mask m = { .causal = number % 2 == 0, .offset = extent(ctx, 20) - 10 };
    if (number % 3 == 0)
        m.back = extent(ctx, 70);
    if (number % 4 == 1)
        m.ahead = extent(ctx, 70);
    if (number % 5 == 2)
        m.stride = 1 + extent(ctx, 7);
    if ((m.back > 0 || m.ahead > 0 || m.stride > 0) && number % 2 == 1)
        m.global = extent(ctx, 4);
    if (number % 7 == 3)
        m.align = AG_BOTTOM_RIGHT;
    if (number % 4 > 1)
        m.key_lengths = ag_randint(ctx, 0, (int32_t)s.Tk + 1, AG_SHAPE(s.B));
    if (number % 3 == 1) {
        m.query_documents = ag_randint(ctx, 0, 3, AG_SHAPE(s.B, s.Tq));
        m.key_documents = ag_randint(ctx, 0, 3, AG_SHAPE(s.B, s.Tk));
    }
    if (number % 5 == 4) {
        m.block_size = extent(ctx, 30);
        m.blocks = ag_randint(ctx, 0, 2, AG_SHAPE(s.H, 140 / m.block_size + 1, 140 / m.block_size + 1));
    }
    return m;
}

/* A constant added to a row of the bias, or to all distances of a head, changes nothing: their gradients sum to 0. */
START_TEST(gradients_of_biases_sum_to_zero)
{
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 110);
    const int64_t reach = extent(ctx, 60);
    ag_tensor *bias = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(s.B, s.H, s.Tq, s.Tk)));
    ag_tensor *relative = ag_require_grad(ag_randn(ctx, AG_F64, AG_SHAPE(s.H, 2 * reach + 1)));
    ag_sdpa_config config = { .mask = random_mask(ctx, s, _i), .bias = bias, .relative = relative,
                              .soft_cap = _i % 2 == 1 ? 3 : 0 };
    attend(leaf(ctx, s.B, s.H, s.Tq, s.D), leaf(ctx, s.B, s.H, s.Tk, s.D), leaf(ctx, s.B, s.H, s.Tk, s.Dv), config,
           random_output(ctx, s));
    ag_tensor *rows = ag_sum(ag_grad(bias), AG_DIMS(-1), false), *heads = ag_sum(ag_grad(relative), AG_DIMS(-1), false);
    assert_close(rows, ag_zeros(ctx, AG_F64, 3, ag_shape(rows)), 1e-12, 0);
    assert_close(heads, ag_zeros(ctx, AG_F64, 1, ag_shape(heads)), 1e-11, 0);
    if (_i % 24 == 0) /* sizes and mask at which there is something to sum */
        ck_assert(largest(ag_grad(bias)) > 1e-3 && largest(ag_grad(relative)) > 1e-3);
    test_end(ctx);
}
END_TEST

/* A mask by its fields, and the same pairs one by one. */
START_TEST(fields_and_pairs_say_the_same)
{
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 130);
    ag_tensor *q = leaf(ctx, s.B, s.H, s.Tq, s.D), *k = leaf(ctx, s.B, s.H, s.Tk, s.D);
    ag_tensor *v = leaf(ctx, s.B, s.H, s.Tk, s.Dv), *E = random_output(ctx, s);
    ag_mask mask = random_mask(ctx, s, _i);
    ag_tensor *o = attend(q, k, v, (ag_sdpa_config){ .mask = mask }, E);
    ag_tensor *gq = ag_tensor_clone(ag_grad(q)), *gk = ag_tensor_clone(ag_grad(k)), *gv = ag_tensor_clone(ag_grad(v));
    ag_tensor *allowed = ag_mask_tensor(ctx, mask, s.B, s.H, s.Tq, s.Tk);
    assert_close(attend(q, k, v, (ag_sdpa_config){ .mask.allowed = allowed }, E), o, 1e-13, 1e-12);
    assert_close(ag_grad(q), gq, 1e-12, 1e-12);
    assert_close(ag_grad(k), gk, 1e-12, 1e-12);
    assert_close(ag_grad(v), gv, 1e-12, 1e-12);
    test_end(ctx);
}
END_TEST

/* Sequences packed into one are each as if they were alone, gradients too. */
START_TEST(packed_sequences_are_each_alone)
{
    enum { MOST = 40 };
    ag_ctx *ctx = begin_case(_i);
    sizes s = random_sizes(ctx, 1);
    int64_t length[4], total = 0;
    int32_t document[4 * MOST];
    for (int n = 0; n < 4; n++) {
        length[n] = extent(ctx, MOST);
        for (int64_t t = 0; t < length[n]; t++)
            document[total++] = n;
    }
    s.Tq = s.Tk = total;
    ag_mask mask = { .causal = _i % 2 == 0, .back = _i % 3 == 0 ? 9 : 0 };
    ag_tensor *q = leaf(ctx, s.B, s.H, total, s.D), *k = leaf(ctx, s.B, s.H, total, s.D);
    ag_tensor *v = leaf(ctx, s.B, s.H, total, s.Dv), *E = random_output(ctx, s);
    ag_sdpa_config packed = { .mask = mask };
    packed.mask.query_documents = packed.mask.key_documents = ag_from_data(ctx, AG_I32, AG_SHAPE(1, total), document);
    ag_tensor *o = attend(q, k, v, packed, E);
    ag_tensor *const whole[] = { q, k, v };
    for (int64_t n = 0, from = 0; n < 4; from += length[n++]) {
        int64_t end = from + length[n];
        ag_tensor *part[3];
        for (int i = 0; i < 3; i++)
            part[i] = ag_require_grad(ag_tensor_clone(ag_tensor_slice(whole[i], 2, from, end, 1)));
        ag_tensor *alone = attend(part[0], part[1], part[2], (ag_sdpa_config){ .mask = mask },
                                  ag_tensor_slice(E, 2, from, end, 1));
        assert_close(alone, ag_tensor_slice(o, 2, from, end, 1), 1e-13, 1e-12);
        for (int i = 0; i < 3; i++)
            assert_close(ag_grad(part[i]), ag_tensor_slice(ag_grad(whole[i]), 2, from, end, 1), 1e-12, 1e-12);
    }
    test_end(ctx);
}
END_TEST

/* ---- Tiles ---- */

typedef struct outcome {
    double *value[4]; /* O, dQ, dK, dV */
    int64_t count[4];
} outcome;

static outcome attend_with(const char *isa, int number)
{
    if (isa != NULL)
        ck_assert_int_eq(setenv("AG_ISA", isa, 1), 0);
    ag_ctx *ctx = begin_case(number);
    sizes s = random_sizes(ctx, 140);
    ag_mask masks[] = { { 0 }, { .causal = true }, { .causal = true, .offset = s.Tk - s.Tq },
                        { .causal = true, .back = extent(ctx, 70) }, { .back = extent(ctx, 70), .offset = 3 } };
    ag_tensor *q = leaf(ctx, s.B, s.H, s.Tq, s.D), *k = leaf(ctx, s.B, s.H, s.Tk, s.D),
              *v = leaf(ctx, s.B, s.H, s.Tk, s.Dv);
    ag_tensor *o = attend(q, k, v, (ag_sdpa_config){ .mask = masks[number % 5] }, random_output(ctx, s));
    const ag_tensor *t[] = { o, ag_grad(q), ag_grad(k), ag_grad(v) };
    outcome result;
    for (int i = 0; i < 4; i++) {
        size_t bytes = (size_t)ag_numel(t[i]) * sizeof(double);
        result.count[i] = ag_numel(t[i]);
        result.value[i] = malloc(bytes);
        ck_assert_ptr_nonnull(result.value[i]);
        memcpy(result.value[i], ag_data(t[i]), bytes);
    }
    test_end(ctx);
    return result;
}

/* The tiles of the kernels in use against the plain loops of the reference, through the whole op. */
START_TEST(tiles_and_reference_agree)
{
    outcome tiled = attend_with(NULL, _i), plain = attend_with("reference", _i);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(tiled.count[i], plain.count[i]);
        for (int64_t j = 0; j < tiled.count[i]; j++)
            ck_assert_msg(fabs(tiled.value[i][j] - plain.value[i][j]) <= 1e-12 * (1 + fabs(plain.value[i][j])),
                          "array %d, element %lld: tiled %.17g, reference %.17g", i, (long long)j, tiled.value[i][j],
                          plain.value[i][j]);
        free(tiled.value[i]);
        free(plain.value[i]);
    }
}
END_TEST

Suite *attention_identities_suite(void)
{
    Suite *suite = suite_create("attention_identities");
    TCase *tc = tcase_create("identities");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rows_of_ds_sum_to_zero, 0, CASES);
    tcase_add_loop_test(tc, the_first_query_of_a_causal_head_gets_exactly_nothing, 0, CASES);
    tcase_add_loop_test(tc, a_constant_added_to_a_row_of_scores_changes_nothing, 0, CASES);
    tcase_add_loop_test(tc, the_key_bias_gets_no_gradient, 0, CASES);
    tcase_add_loop_test(tc, without_a_mask_order_does_not_matter, 0, CASES);
    tcase_add_loop_test(tc, the_contributions_of_the_heads_add_up, 0, CASES);
    tcase_add_loop_test(tc, gradients_of_biases_sum_to_zero, 0, CASES);
    tcase_add_loop_test(tc, fields_and_pairs_say_the_same, 0, CASES);
    tcase_add_loop_test(tc, packed_sequences_are_each_alone, 0, CASES);
    tcase_add_loop_test(tc, tiles_and_reference_agree, 0, CASES);
    suite_add_tcase(suite, tc);
    return suite;
}
