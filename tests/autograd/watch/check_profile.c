/* SPDX-License-Identifier: MIT
 *
 * check_profile.c - ag_profile: each event's time goes to the row it belongs to, and nowhere else.
 *
 * The clock is a fake. Between event k - 1 and event k it moves by 2^k, so that the seconds of a row say which events
 * it got: after events 2 and 5 it has EVENT(2) + EVENT(5). All sums are exact.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static int readings;

static double fake_clock(void)
{
    return ldexp(1, ++readings); /* ag_profile_new reads 2, event k reads 2^(k+1) */
}
#define EVENT(k) ldexp(1, k)

static ag_profile *profile_begin(ag_ctx *ctx)
{
    readings = 0;
    ag_profile *p = ag_profile_new(ctx, fake_clock);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* For long runs, and for text: each event takes 31.25 milliseconds. */
static double steady_clock(void)
{
    return 0.03125 * ++readings;
}

static ag_profile *steady_begin(ag_ctx *ctx)
{
    readings = 0;
    return ag_profile_new(ctx, steady_clock);
}

/* The row of an op at a path (NULL: the note), of which there is one. */
static ag_profile_row row(const ag_profile *p, const char *op, const char *path)
{
    ag_profile_row found = { .calls = -1 };
    int count = 0;
    for (int64_t i = 0; i < ag_profile_size(p); i++) {
        ag_profile_row r = ag_profile_at(p, i);
        if (strcmp(r.op, op) == 0 && (path == NULL ? r.path == NULL : r.path != NULL && strcmp(r.path, path) == 0)) {
            found = r;
            count++;
        }
    }
    ck_assert_msg(count == 1, "%d rows '%s' at '%s'", count, op, path == NULL ? "(note)" : path);
    return found;
}

#define assert_row(p, op, path, calls, forward, backward, again) \
    check_row(__LINE__, row(p, op, path), calls, forward, backward, again)
static void check_row(int line, ag_profile_row r, int64_t calls, double forward, double backward, double again)
{
    ck_assert_msg(r.calls == calls && r.forward == forward && r.backward == backward && r.again == again,
                  "line %d: %s at %s: %lld calls, %g + %g + %g; wanted %lld, %g + %g + %g", line, r.op,
                  r.path == NULL ? "(note)" : r.path, (long long)r.calls, r.forward, r.backward, r.again,
                  (long long)calls, forward, backward, again);
}

/* The rows add up to the whole. */
static void assert_whole(const ag_profile *p, double seconds)
{
    double sum = 0;
    for (int64_t i = 0; i < ag_profile_size(p); i++) {
        ag_profile_row r = ag_profile_at(p, i);
        sum += r.forward + r.backward + r.again;
    }
    ck_assert_double_eq(sum, ag_profile_seconds(p));
    ck_assert_double_eq(sum, seconds);
}

/* ---- Which time goes where ---- */

/* 4 ops at three paths, 2 leaves; m.n is inside m. */
static ag_tensor *forward(ag_ctx *ctx, ag_tensor *x, ag_tensor *w)
{
    ag_scope_begin(ctx, "m");
    ag_tensor *y = ag_scale(x, 2);
    ag_scope_begin(ctx, "n");
    ag_neg(ag_detach(x)); /* not recorded */
    y = ag_scope_end(ctx, ag_mul(y, w));
    y = ag_scope_end(ctx, y);
    return ag_sum(ag_scale(y, 3), AG_ALL_DIMS, false);
}

START_TEST(each_event_to_its_row)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *w = LEAF(ctx, 3, 4);
    ag_profile *p = profile_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape)); /* event 1 */
    assert_ok(ctx, ag_profile_tape(p, tape)); /* again: nothing */
    ag_tensor *loss = forward(ctx, x, w);     /* 2 .. 5 */
    assert_whole(p, EVENT(6) - 2);
    ag_profile_note(p, "a note");             /* 6 */
    assert_ok(ctx, ag_backward(tape, loss));  /* arrivals: sum 7, scale 8, mul 9, w 10, scale 11, x 12; the end 13 */
    ag_tape_end(tape);
    ag_profile_note(p, "optimizer");          /* 14 */
    assert_row(p, "other", NULL, 2, EVENT(1) + EVENT(7), 0, 0);
    assert_row(p, "scale", "m", 1, EVENT(2), EVENT(12), 0);
    assert_row(p, "mul", "m.n", 1, EVENT(3), EVENT(10), 0);
    assert_row(p, "scale", "", 1, EVENT(4), EVENT(9), 0);
    assert_row(p, "sum", "", 1, EVENT(5), EVENT(8), 0);
    assert_row(p, "a note", NULL, 1, EVENT(6), 0, 0);
    assert_row(p, "leaf", "m.n", 0, 0, EVENT(11), 0);
    assert_row(p, "leaf", "m", 0, 0, EVENT(13), 0);
    assert_row(p, "optimizer", NULL, 1, EVENT(14), 0, 0);
    ck_assert_int_eq(ag_profile_size(p), 9);
    ck_assert_str_eq(ag_profile_at(p, 0).op, "other"); /* in order of appearance */
    ck_assert_str_eq(ag_profile_at(p, 2).op, "mul");
    assert_whole(p, EVENT(15) - 2);
    ck_assert_int_eq(ag_profile_tapes(p), 1);
    tape = ag_tape_begin(ctx); /* not observed: no events */
    assert_ok(ctx, ag_backward(tape, forward(ctx, x, w)));
    ag_tape_end(tape);
    assert_whole(p, EVENT(15) - 2);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* A second tape adds to the rows of the first; one that ends without backward has its forward times. */
START_TEST(tapes_add)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *w = LEAF(ctx, 3, 4);
    ag_profile *p = profile_begin(ctx);
    for (int step = 0; step < 2; step++) {
        ag_tape *tape = ag_tape_begin(ctx);
        assert_ok(ctx, ag_profile_tape(p, tape)); /* 1, 6 */
        ag_tensor *loss = forward(ctx, x, w);     /* 2 .. 5, 7 .. 10 */
        if (step == 1)
            assert_ok(ctx, ag_backward(tape, loss)); /* 11 .. 17 */
        ag_tape_end(tape);
    }
    ck_assert_int_eq(ag_profile_tapes(p), 2);
    assert_row(p, "other", NULL, 3, EVENT(1) + EVENT(6) + EVENT(11), 0, 0);
    assert_row(p, "scale", "m", 2, EVENT(2) + EVENT(7), EVENT(16), 0);
    assert_row(p, "mul", "m.n", 2, EVENT(3) + EVENT(8), EVENT(14), 0);
    assert_whole(p, EVENT(18) - 2);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* Each walk over a tape has its times, also that of ag_gradient. */
START_TEST(gradients_asked_twice)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *grad;
    ag_profile *p = profile_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape));           /* 1 */
    ag_tensor *loss = test_total(x);                    /* sum 2 */
    ck_assert_int_eq(ag_tape_size(tape), 2);
    assert_ok(ctx, ag_backward(tape, loss));            /* sum 3, x 4, end 5 */
    assert_ok(ctx, ag_gradient(tape, loss, NULL, &x, 1, &grad)); /* 6, 7, 8 */
    ag_tensor *twice = ag_scale(loss, 2);               /* 9 */
    assert_ok(ctx, ag_backward(tape, twice));           /* scale 10, sum 11, x 12, end 13 */
    ag_tape_end(tape);
    const char *op = ag_profile_at(p, 1).op;
    assert_row(p, op, "", 1, EVENT(2), EVENT(4) + EVENT(7) + EVENT(12), 0);
    assert_row(p, "scale", "", 1, EVENT(9), EVENT(11), 0);
    assert_row(p, "leaf", "", 0, 0, EVENT(5) + EVENT(8) + EVENT(13), 0);
    assert_row(p, "other", NULL, 4, EVENT(1) + EVENT(3) + EVENT(6) + EVENT(10), 0, 0);
    assert_whole(p, EVENT(14) - 2);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* After an error the walk's time so far is kept, and the next tape is as any other. */
static ag_tensor *wrong_shape(void *user, ag_tensor *grad)
{
    (void)user;
    return ag_full(ag_ctx_of(grad), AG_F64, AG_SHAPE(7), 1);
}

START_TEST(backward_that_fails)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *w = LEAF(ctx, 3, 4);
    ag_profile *p = profile_begin(ctx);
    ag_hook(w, wrong_shape, NULL);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape));                                     /* 1 */
    ck_assert_int_eq(ag_backward(tape, forward(ctx, x, w)), AG_ERR_SHAPE);        /* 2 .. 5; sum 6, 7, mul 8, end 9 */
    ag_tape_end(tape);
    assert_error(ctx, AG_ERR_SHAPE, "hook");
    assert_row(p, "mul", "m.n", 1, EVENT(3), EVENT(9), 0);
    assert_whole(p, EVENT(10) - 2);
    tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape)); /* 10 */
    ag_scale(x, 2);                           /* 11 */
    assert_row(p, "scale", "", 2, EVENT(4) + EVENT(11), EVENT(8), 0);
    ag_tape_end(tape);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* ---- Recomputed functions ---- */

static ag_tensor *two_ops(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)count, (void)user;
    ag_scope_begin(ctx, "f");
    return ag_scope_end(ctx, ag_exp(ag_scale(input[0], 2)));
}

static ag_tensor *nested(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    return ag_tanh(ag_recompute(ctx, two_ops, input, count, user));
}

START_TEST(computed_again)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2);
    ag_profile *p = profile_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape));                                         /* 1 */
    ag_tensor *loss = ag_sum(ag_recompute(ctx, two_ops, &x, 1, NULL), AG_ALL_DIMS, false);
    assert_row(p, "scale", "f", 1, EVENT(2), 0, 0);
    assert_row(p, "exp", "f", 1, EVENT(3), 0, 0);
    assert_row(p, "recompute", "", 1, EVENT(4), 0, 0);
    assert_row(p, "sum", "", 1, EVENT(5), 0, 0);
    assert_ok(ctx, ag_backward(tape, loss)); /* sum 6, recompute 7; again 8, 9; exp 10, scale 11; x 12; end 13 */
    ag_tape_end(tape);
    assert_row(p, "sum", "", 1, EVENT(5), EVENT(7), 0);
    assert_row(p, "recompute", "", 1, EVENT(4), EVENT(10), 0);
    assert_row(p, "exp", "f", 1, EVENT(3), EVENT(11), EVENT(9));
    assert_row(p, "scale", "f", 1, EVENT(2), EVENT(12), EVENT(8));
    assert_row(p, "leaf", "", 0, 0, EVENT(13), 0);
    assert_whole(p, EVENT(14) - 2);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

START_TEST(computed_again_inside)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2);
    ag_profile *p = profile_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape)); /* 1 */
    ag_tensor *loss = ag_sum(ag_recompute(ctx, nested, &x, 1, NULL), AG_ALL_DIMS, false); /* 2 .. 5, 6, 7 */
    /* sum 8, recompute 9; scale 10, exp 11, recompute 12, tanh 13 again; tanh 14, recompute 15; scale 16, exp 17 again;
     * exp 18, scale 19, x 20; end 21 */
    assert_ok(ctx, ag_backward(tape, loss));
    ag_tape_end(tape);
    assert_row(p, "scale", "f", 1, EVENT(2), EVENT(20), EVENT(10) + EVENT(16));
    assert_row(p, "exp", "f", 1, EVENT(3), EVENT(19), EVENT(11) + EVENT(17));
    assert_row(p, "tanh", "", 1, EVENT(5), EVENT(15), EVENT(13));
    assert_row(p, "recompute", "", 2, EVENT(4) + EVENT(6), EVENT(14) + EVENT(18), EVENT(12));
    assert_whole(p, EVENT(22) - 2);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* ---- Errors and ends ---- */

START_TEST(one_observer)
{
    ag_ctx *ctx = test_begin(), *other = test_begin();
    ag_profile *p = profile_begin(ctx), *second = profile_begin(ctx), *elsewhere = profile_begin(other);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_int_eq(ag_profile_tape(elsewhere, tape), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "profile_tape: the tape is of another context");
    assert_no_error(other);
    assert_ok(ctx, ag_profile_tape(p, tape));
    ck_assert_int_eq(ag_profile_tape(second, tape), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "profile_tape: the tape has an observer: another profile, or ag_tape_detect_");
    ag_tape_detect_anomalies(tape);
    assert_error(ctx, AG_ERR_STATE, "detect_anomalies: the tape is profiled");
    ag_profile_free(second); /* was refused: the first one goes on */
    ag_exp(LEAF(ctx, 1));
    ck_assert_int_eq(row(p, "exp", "").calls, 1);
    ag_tape_end(tape);
    tape = ag_tape_begin(ctx);
    ag_tape_detect_anomalies(tape);
    ck_assert_int_eq(ag_profile_tape(p, tape), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "profile_tape: the tape has an observer");
    ck_assert_int_eq(ag_profile_tapes(p), 1);
    ck_assert_ptr_null(ag_log(LEAF(ctx, -1))); /* the search goes on */
    assert_error(ctx, AG_ERR_NUMBER, "log: result");
    ag_tape_end(tape);
    ag_profile_free(p);
    ag_profile_free(elsewhere);
    test_end(ctx);
    test_end(other);
}
END_TEST

START_TEST(missing_arguments)
{
    ag_ctx *ctx = test_begin();
    ck_assert_ptr_null(ag_profile_new(NULL, fake_clock));
    ck_assert_ptr_null(ag_profile_new(ctx, NULL));
    assert_error(ctx, AG_ERR_ARGUMENT, "profile_new: the clock is NULL");
    ag_profile *p = profile_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert_int_eq(ag_profile_tape(p, NULL), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_profile_tape(NULL, tape), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_profile_print(NULL, stdout), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_profile_print(p, NULL), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "file is NULL");
    ag_profile_note(NULL, "nothing");
    ag_profile_note(p, NULL);
    ag_profile_free(NULL);
    ck_assert_int_eq(ag_profile_size(NULL), 0);
    ck_assert_int_eq(ag_profile_tapes(NULL), 0);
    ck_assert_double_eq(ag_profile_seconds(NULL), 0);
    ck_assert_int_eq(ag_profile_size(p), 0);
    assert_no_error(ctx);
    ag_tape_end(tape);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

static ag_tensor *free_profile(void *user, ag_tensor *grad)
{
    (void)grad;
    ag_profile_free(user);
    return NULL;
}

/* The tape goes on without its profile, also when that goes during backward; and the tape may go with the context. */
START_TEST(freed_before_the_tape)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = LEAF(ctx, 1, 2), *w = LEAF(ctx, 3, 4);
    for (int during = 0; during < 2; during++) {
        ag_profile *p = profile_begin(ctx);
        ag_tape *tape = ag_tape_begin(ctx);
        assert_ok(ctx, ag_profile_tape(p, tape));
        ag_tensor *loss = forward(ctx, x, w);
        if (during)
            ag_hook(w, free_profile, p);
        else
            ag_profile_free(p);
        ag_zero_grad(x);
        loss = ag_scale(loss, 1); /* an event, if there is still a profile */
        assert_ok(ctx, ag_backward(tape, loss)); /* and the sum, the scales and mul, up to the hook of w */
        assert_values(ag_grad(x), 0, 18.0, 24.0);
        ck_assert_int_eq(readings, during ? 1 + 1 + 4 + 1 + 4 : 1 + 1 + 4);
        ag_tape_end(tape);
    }
    ag_profile *p = profile_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, ag_tape_begin(ctx)));
    ag_scale(x, 2);
    ag_profile_free(p);
    test_end(ctx); /* ends the tape */
}
END_TEST

/* ---- Multiply-adds ---- */

START_TEST(multiply_adds_of_products)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(2, 5, 3)));
    ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(4, 3)));
    ag_tensor *b = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(2, 3, 7)));
    ag_tensor *const loss_of[] = { x, ag_detach(x) };
    for (int i = 0; i < 2; i++) {
        ag_profile *p = profile_begin(ctx);
        ag_tape *tape = ag_tape_begin(ctx);
        assert_ok(ctx, ag_profile_tape(p, tape));
        ag_tensor *y = ag_linear(loss_of[i], w, NULL);
        ck_assert_double_eq(row(p, "linear", "").multiply_adds, 2 * 5 * 3 * 4);
        ag_tensor *z = ag_matmul(loss_of[i], b);
        ck_assert_double_eq(row(p, "matmul", "").multiply_adds, 2 * 5 * 3 * 7);
        assert_ok(ctx, ag_backward(tape, ag_add(test_total(y), test_total(z))));
        const int products = i == 0 ? 3 : 2; /* one input does not want a gradient */
        ck_assert_double_eq(row(p, "linear", "").multiply_adds, products * 2 * 5 * 3 * 4);
        ck_assert_double_eq(row(p, "matmul", "").multiply_adds, products * 2 * 5 * 3 * 7);
        ck_assert_double_eq(row(p, "add", "").multiply_adds, 0);
        ag_tape_end(tape);
        ag_profile_free(p);
    }
    test_end(ctx);
}
END_TEST

static void outer_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, ag_matmul(v->gy, ag_unsqueeze(v->input[1], 1)));
}

/* Work from a shape that the tape does not keep, the attributes, and the gradients that are wanted. */
static double outer_work(const ag_tensor *y, ag_tensor *const *input, int count, const void *attr, uint64_t wanted)
{
    ck_assert_int_eq(count, 2);
    return (double)(ag_dim(input[0], 0) * ag_numel(y)) * *(const double *)attr + 1e6 * (double)wanted;
}

/* An op from outside the library counts its own work. */
START_TEST(multiply_adds_of_an_op_from_outside)
{
    static const ag_op outer = { "outer", 2, AG_KEEP_INPUT << 1, outer_vjp, .work = outer_work };
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(3, 1))), *b = ag_randn(ctx, AG_F32, AG_SHAPE(5));
    ag_profile *p = profile_begin(ctx);
    for (int tapes = 1; tapes <= 2; tapes++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *late = ag_scale(a, 1);
        if (tapes == 2) /* not profiled: it must not get the work of the tape before */
            late = ag_scale(late, 1);
        assert_ok(ctx, ag_profile_tape(p, tape));
        ag_tensor *y = ag_add(ag_detach(late), ag_detach(b));
        y = ag_record(&outer, y, (ag_tensor *[]){ late, b }, 2, &(double){ 0.5 }, sizeof(double), NULL);
        assert_ok(ctx, ag_backward(tape, test_total(y)));
        ck_assert_double_eq(row(p, "outer", "").multiply_adds, tapes * (2 * 3 * 15 * 0.5 + 1e6));
        ck_assert_double_eq(row(p, "scale", "").multiply_adds, 0);
        ag_tape_end(tape);
    }
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* Attention's are those of the pairs that its mask allows. */
START_TEST(multiply_adds_of_attention)
{
    enum { B = 2, H = 3, D = 5, Dv = 2 };
    ag_ctx *ctx = test_begin();
    const ag_mask masks[] = {
        { 0 }, { .causal = true }, { .causal = true, .align = AG_BOTTOM_RIGHT }, { .causal = true, .back = 2 },
        { .back = 2, .ahead = 3 }, { .ahead = 1 }, { .causal = true, .offset = -3 }, { .causal = true, .offset = 4 },
        { .back = 3, .offset = 9 }, { .ahead = 2, .offset = -4 },
    };
    const int count = sizeof masks / sizeof *masks;
    for (int n = 0; n < 2 * count; n++) {
        const int64_t Tq = n % 2 == 0 ? 4 : 6, Tk = n % 2 == 0 ? 7 : 6;
        ag_tensor *q = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(B, H, Tq, D)));
        ag_tensor *k = ag_randn(ctx, AG_F32, AG_SHAPE(B, 1, Tk, D)), *v = ag_randn(ctx, AG_F32, AG_SHAPE(B, 1, Tk, Dv));
        double pairs = test_item(ag_sum(ag_cast(ag_mask_tensor(ctx, masks[n / 2], B, H, Tq, Tk), AG_F64), AG_ALL_DIMS,
                                        false));
        ag_profile *p = profile_begin(ctx);
        ag_tape *tape = ag_tape_begin(ctx);
        assert_ok(ctx, ag_profile_tape(p, tape));
        ag_tensor *o = ag_sdpa(q, k, v, (ag_sdpa_config){ .mask = masks[n / 2] });
        double once = row(p, "sdpa", "").multiply_adds;
        ck_assert_msg(once == pairs * (D + Dv), "mask %d: %g, wanted %g", n, once, pairs * (D + Dv));
        assert_ok(ctx, ag_backward(tape, test_total(o)));
        ck_assert_double_eq(row(p, "sdpa", "").multiply_adds, 3 * once);
        ag_tape_end(tape);
        ag_profile_free(p);
    }
    ag_tensor *q = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(1, 1, 4, 4)));
    ag_profile *p = profile_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape));
    ag_sdpa(q, q, q, (ag_sdpa_config){ .mask.stride = 2 });
    ck_assert(isnan(row(p, "sdpa", "").multiply_adds));
    ag_tape_end(tape);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* ---- Memory, and what profiling must not change ---- */

typedef struct counting {
    int64_t calls, fail_from; /* from that call on there is no more memory; 0: never */
} counting;

static void *counting_alloc(void *user, size_t size)
{
    counting *c = user;
    c->calls++;
    return c->fail_from != 0 && c->calls >= c->fail_from ? NULL : malloc(size);
}

static void counting_free(void *user, void *block, size_t size)
{
    (void)user, (void)size;
    free(block);
}

static ag_ctx *counted_ctx(counting *c)
{
    return ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 2, .allocator = { counting_alloc, counting_free, c } });
}

static const ag_transformer_config small = {
    .vocab_size = 12, .max_seq_len = 8, .emb_size = 16, .num_heads = 2, .num_layers = 3, .dropout = 0.1,
};

static double train_step(ag_ctx *ctx, ag_gpt *gpt, ag_optimizer *optimizer, ag_profile *p, ag_tensor *tokens)
{
    double value = (double)NAN;
    ag_module_zero_grad(ag_gpt_module(gpt));
    ag_tape *tape = ag_tape_begin(ctx);
    ag_profile_tape(p, tape);
    ag_tensor *loss = ag_cross_entropy(ag_gpt_forward(gpt, tokens), tokens);
    ag_backward(tape, loss);
    ag_item(loss, &value);
    ag_tape_end(tape);
    ag_optimizer_step(optimizer);
    ag_profile_note(p, "optimizer");
    return value;
}

START_TEST(later_steps_allocate_nothing)
{
    counting c = { 0 };
    ag_ctx *ctx = counted_ctx(&c);
    ag_gpt *gpt = ag_gpt_new(ctx, small);
    ag_optimizer *sgd = ag_sgd_new(ag_gpt_module(gpt), (ag_sgd_config){ .lr = 0.1 });
    ag_tensor *tokens = ag_randint(ctx, 0, 12, AG_SHAPE(3, 8));
    ag_profile *p = steady_begin(ctx);
    train_step(ctx, gpt, sgd, p, tokens);
    const int64_t rows = ag_profile_size(p);
    train_step(ctx, gpt, sgd, NULL, tokens); /* the memory of gradients, which the first step began without */
    const int64_t before = c.calls;
    for (int step = 0; step < 3; step++)
        train_step(ctx, gpt, sgd, p, tokens);
    assert_no_error(ctx);
    ck_assert_int_eq(c.calls, before);
    ck_assert_int_eq(ag_profile_size(p), rows);
    ag_profile_free(p);
    ag_optimizer_free(sgd);
    ag_gpt_free(gpt);
    test_end(ctx);
}
END_TEST

START_TEST(bits_stay)
{
    double loss[2][3];
    for (int with = 0; with < 2; with++) {
        ag_ctx *ctx = test_begin();
        ag_transformer_config config = small;
        config.recompute = _i == 1;
        ag_gpt *gpt = ag_gpt_new(ctx, config);
        ag_optimizer *sgd = ag_sgd_new(ag_gpt_module(gpt), (ag_sgd_config){ .lr = 0.1 });
        ag_tensor *tokens = ag_randint(ctx, 0, 12, AG_SHAPE(3, 8));
        ag_profile *p = with ? steady_begin(ctx) : NULL;
        for (int step = 0; step < 3; step++)
            loss[with][step] = train_step(ctx, gpt, sgd, p, tokens);
        assert_no_error(ctx);
        ag_profile_free(p);
        ag_optimizer_free(sgd);
        ag_gpt_free(gpt);
        test_end(ctx);
    }
    ck_assert(loss[0][2] < loss[0][0]);
    ck_assert(memcmp(loss[0], loss[1], sizeof loss[0]) == 0);
}
END_TEST

/* More rows than the hash table begins with; a note of a name is another row than an op of that name. */
START_TEST(many_rows)
{
    ag_ctx *ctx = test_begin();
    ag_profile *p = steady_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    assert_ok(ctx, ag_profile_tape(p, tape)); /* the row "other" */
    ag_tensor *x = LEAF(ctx, 1);
    enum { ROWS = 500 };
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < ROWS; i++) {
            char name[16];
            snprintf(name, sizeof name, "n%d", i);
            ag_profile_note(p, name);
            ag_scope_begin(ctx, name);
            ag_exp(x);
            ag_scope_end(ctx, NULL);
        }
    ag_tape_end(tape);
    ck_assert_int_eq(ag_profile_size(p), 1 + 2 * ROWS);
    for (int i = 1; i <= 2 * ROWS; i++)
        ck_assert_int_eq(ag_profile_at(p, i).calls, 2);
    ag_profile_note(p, "exp");
    ck_assert_int_eq(row(p, "exp", NULL).calls, 1);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* Every allocation fails in turn: an error, or nothing that needed it; never a crash. */
START_TEST(no_memory)
{
    int64_t last = 0;
    for (int64_t from = 1; last == 0; from++) {
        counting c = { 0 };
        ag_ctx *ctx = counted_ctx(&c);
        ag_tensor *x = LEAF(ctx, 1, 2), *w = LEAF(ctx, 3, 4);
        c.fail_from = c.calls + from;
        ag_profile *p = steady_begin(ctx);
        ag_tape *tape = ag_tape_begin(ctx);
        ag_profile_tape(p, tape);
        ag_backward(tape, forward(ctx, x, w));
        ag_tape_end(tape);
        for (int i = 0; i < 100; i++) {
            char name[16];
            snprintf(name, sizeof name, "n%d", i);
            ag_profile_note(p, name);
        }
        FILE *file = tmpfile();
        ag_profile_print(p, file);
        fclose(file);
        ag_profile_free(p);
        if (c.calls < c.fail_from)
            last = from;
        else
            assert_error(ctx, AG_ERR_MEMORY, "");
        test_end(ctx);
    }
    ck_assert_int_gt(last, 5);
}
END_TEST

Suite *profile_suite(void)
{
    Suite *suite = suite_create("profile");
    TCase *times = tcase_create("times");
    tcase_add_test(times, each_event_to_its_row);
    tcase_add_test(times, tapes_add);
    tcase_add_test(times, gradients_asked_twice);
    tcase_add_test(times, backward_that_fails);
    tcase_add_test(times, computed_again);
    tcase_add_test(times, computed_again_inside);
    suite_add_tcase(suite, times);
    TCase *ends = tcase_create("ends");
    tcase_add_test(ends, one_observer);
    tcase_add_test(ends, missing_arguments);
    tcase_add_test(ends, freed_before_the_tape);
    suite_add_tcase(suite, ends);
    TCase *work = tcase_create("work");
    tcase_add_test(work, multiply_adds_of_products);
    tcase_add_test(work, multiply_adds_of_an_op_from_outside);
    tcase_add_test(work, multiply_adds_of_attention);
    suite_add_tcase(suite, work);
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, later_steps_allocate_nothing);
    tcase_add_loop_test(memory, bits_stay, 0, 2);
    tcase_add_test(memory, many_rows);
    tcase_add_test(memory, no_memory);
    suite_add_tcase(suite, memory);
    return suite;
}
