/* SPDX-License-Identifier: MIT
 *
 * check_recompute.c - ag_recompute: the same bits as without, whatever the function uses and however often; less
 * memory; and clear errors where the second run is not the first.
 */
#include "tests/test.h"

#include "autograd/tape_impl.h"

#include <string.h>
#include <time.h>

static ag_tensor *random_leaf(ag_ctx *ctx, int64_t rows, int64_t columns)
{
    return ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(rows, columns)));
}

/* Runs f as ag_recompute does, or plainly. */
static ag_tensor *call(bool recompute, ag_ctx *ctx, ag_recompute_fn *f, ag_tensor *const *input, int count, void *user)
{
    return recompute ? ag_recompute(ctx, f, input, count, user) : f(ctx, input, count, user);
}

/* ---- The same bits ---- */

typedef struct parts {
    ag_tensor *w, *v, *b; /* leaves that are not inputs; v and b are used inside alone */
    ag_tensor *captured; /* an intermediate that is not an input */
    struct parts *inside; /* another block; NULL: none */
    int *runs;
    bool recompute; /* what is inside */
} parts;

static ag_tensor *inner(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    const parts *p = user;
    (void)ctx, (void)count;
    ++*p->runs;
    ag_tensor *y = ag_add(ag_dropout(ag_gelu(ag_matmul(input[0], p->v)), 0.25), p->b);
    ag_exp(y); /* what is recorded last is not the result */
    return y;
}

/* Inputs x[4,3] and an index; uses x, w and the captured value several times, slices, and draws random numbers. */
static ag_tensor *block(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    const parts *p = user;
    ck_assert_int_eq(count, 2);
    ++*p->runs;
    ag_scope_begin(ctx, "block");
    ag_tensor *x = ag_add(input[0], ag_embedding(p->w, input[1]));
    ag_exp(x); /* a side branch */
    ag_tensor *first = ag_slice(x, 0, 0, 1, 1), *h = ag_matmul(ag_dropout(x, 0.5), p->w);
    h = ag_add(ag_mul(h, p->captured), ag_mul(first, p->captured));
    if (p->inside != NULL)
        h = call(p->recompute, ctx, block, (ag_tensor *[]){ h, input[1] }, 2, p->inside);
    h = call(p->recompute, ctx, inner, &h, 1, user);
    return ag_scope_end(ctx, ag_add(ag_matmul(h, p->w), input[0]));
}

enum { LEAVES = 5 };

/* Losses and gradients of two steps over one tape each, the second one backward twice. */
static void run_network(bool recompute, int depth, ag_tensor **result)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 4, 3), *b = random_leaf(ctx, 1, 3);
    ag_tensor *index = ag_randint(ctx, 0, 3, AG_SHAPE(4));
    int runs = 0;
    parts p = { .w = random_leaf(ctx, 3, 3), .v = random_leaf(ctx, 3, 3), .b = random_leaf(ctx, 1, 3), .runs = &runs,
                .recompute = recompute };
    parts level[] = { p, p, p };
    for (int i = 0; i < depth; i++)
        level[i].inside = &level[i + 1];
    for (int step = 0; step < 2; step++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *captured = ag_tanh(b), *h = ag_add(ag_scale(x, 0.5), b), *const input[] = { h, index };
        for (int i = 0; i <= depth; i++)
            level[i].captured = captured;
        ag_tensor *y = call(recompute, ctx, block, input, 2, level);
        y = ag_mul(ag_matmul(ag_dropout(y, 0.5), p.w), ag_add(h, captured));
        y = call(recompute, ctx, block, (ag_tensor *[]){ y, index }, 2, level);
        ag_tensor *loss = test_total(ag_mul(y, h));
        assert_ok(ctx, ag_backward(tape, loss));
        if (step == 1)
            assert_ok(ctx, ag_backward(tape, test_total(ag_mul(y, ag_dropout(y, 0.1)))));
        ag_tape_end(tape);
    }
    ag_tensor *const leaf[LEAVES] = { x, b, p.w, p.v, p.b };
    for (int i = 0; i < LEAVES; i++) {
        size_t bytes = (size_t)ag_numel(leaf[i]) * sizeof(float);
        ck_assert_int_eq(ag_copy_into(result[i], ag_grad(leaf[i])), AG_OK);
        ck_assert_int_eq(memcmp(ag_data(result[i]), ag_data(ag_grad(leaf[i])), bytes), 0);
    }
    test_end(ctx);
}

START_TEST(bits_of_the_plain_run)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *plain[LEAVES], *again[LEAVES];
    for (int i = 0; i < LEAVES; i++) {
        plain[i] = ag_zeros(ctx, AG_F32, AG_SHAPE(i == 0 ? 4 : i == 1 || i == 4 ? 1 : 3, 3));
        again[i] = ag_zeros(ctx, AG_F32, AG_SHAPE(i == 0 ? 4 : i == 1 || i == 4 ? 1 : 3, 3));
    }
    run_network(false, _i, plain);
    run_network(true, _i, again); /* nested _i + 1 deep */
    for (int i = 0; i < LEAVES; i++)
        assert_same_bits(again[i], plain[i]);
    test_end(ctx);
}
END_TEST

START_TEST(one_node_that_lists_what_is_used)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 4, 3), *index = ag_randint(ctx, 0, 3, AG_SHAPE(4));
    int runs = 0;
    parts p = { .w = random_leaf(ctx, 3, 3), .v = random_leaf(ctx, 3, 3), .b = random_leaf(ctx, 1, 3), .runs = &runs,
                .recompute = true };
    ag_set_name(p.v, "v");
    ag_tape *tape = ag_tape_begin(ctx);
    p.captured = ag_tanh(p.w);
    p.captured = ag_sum(p.captured, AG_DIMS(0), true);
    int64_t before = ag_tape_size(tape);
    ag_scope_begin(ctx, "outer");
    ag_tensor *y = ag_recompute(ctx, block, (ag_tensor *[]){ x, index }, 2, &p);
    ag_scope_end(ctx, y);
    ck_assert_int_eq(ag_tape_size(tape), before + 4); /* the leaves x, v and b, and the node */
    ag_node_view node = ag_tape_node(tape, ag_node_of(tape, y));
    ck_assert_str_eq(node.op, "recompute");
    ck_assert_str_eq(node.path, "outer");
    ck_assert_int_eq(node.input_count, 6);
    const int64_t want[] = { ag_node_of(tape, x), -1, ag_node_of(tape, p.w), ag_node_of(tape, p.captured),
                             ag_node_of(tape, p.v), ag_node_of(tape, p.b) };
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(node.input[i], want[i]);
    ck_assert_int_ge(want[5], 0);
    ck_assert_str_eq(ag_tape_node(tape, want[4]).name, "v");
    ck_assert_str_eq(ag_tape_node(tape, want[4]).op, "leaf");
    assert_ok(ctx, ag_backward(tape, test_total(y)));
    ck_assert_int_eq(ag_tape_size(tape), before + 5);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(without_a_tape_the_function_itself)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 4, 3);
    int runs = 0;
    parts p = { .v = random_leaf(ctx, 3, 3), .b = random_leaf(ctx, 1, 3), .runs = &runs };
    ck_assert_ptr_nonnull(ag_recompute(ctx, inner, &x, 1, &p));
    ck_assert_int_eq(runs, 1);
    ag_tensor *none = NULL;
    ck_assert_ptr_null(ag_recompute(ctx, inner, &none, 1, &p));
    ck_assert_ptr_null(ag_recompute(ctx, NULL, &x, 1, &p));
    assert_error(ctx, AG_ERR_ARGUMENT, "f is NULL");
    ck_assert_ptr_null(ag_recompute(NULL, inner, &x, 1, &p));
    ck_assert_int_eq(runs, 1);
    ag_tape *tape = ag_tape_begin(ctx); /* nothing needs a gradient */
    p.v = ag_detach(p.v);
    p.b = ag_detach(p.b);
    ag_tensor *plain = ag_detach(x);
    ck_assert_int_eq(ag_node_of(tape, ag_recompute(ctx, inner, &plain, 1, &p)), -1);
    ck_assert_int_eq(ag_tape_size(tape), 0);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

typedef struct told {
    int runs;
    bool inside;
    ag_tensor *w;
} told;

static ag_tensor *ask(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    told *t = user;
    (void)count;
    t->runs++;
    t->inside = t->inside && ag_recomputing(ctx);
    return ag_mul(input[0], t->w);
}

static ag_tensor *ask_within(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    told *t = user;
    ag_tensor *y = ag_recompute(ctx, ask, input, count, user);
    t->inside = t->inside && ag_recomputing(ctx);
    return y;
}

START_TEST(it_is_known_whether_a_function_is_recomputed)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3);
    told t = { .inside = true, .w = x };
    ag_recompute(ctx, ask, &x, 1, &t);
    ck_assert(!t.inside); /* no tape: it runs once */
    t.inside = true;
    ag_tape *tape = ag_tape_begin(ctx);
    ck_assert(!ag_recomputing(ctx));
    ag_tensor *y = ag_recompute(ctx, ask_within, &x, 1, &t);
    ck_assert(!ag_recomputing(ctx));
    assert_ok(ctx, ag_backward(tape, test_total(y)));
    ck_assert(t.inside);
    ck_assert_int_eq(t.runs, 4); /* in backward for the outer function and for the inner one */
    ck_assert(!ag_recomputing(ctx));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* ---- What the function may return ---- */

static ag_tensor *odd_result(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    ag_tensor *leaf = user;
    (void)count;
    ag_exp(input[0]);
    switch (ag_numel(input[1])) {
    case 1: return input[0];
    case 2: return leaf;
    case 3: return ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3));
    case 4: return ag_transpose(input[0], 0, 1);
    case 5: return ag_contiguous(input[0]);
    default: return ag_expand(ag_mean(input[0], AG_DIMS(0), true), AG_SHAPE(2, 3));
    }
}

START_TEST(any_result)
{
    ag_ctx *ctx = test_begin();
    for (int64_t which = 1; which <= 6; which++) {
        ag_tensor *x = random_leaf(ctx, 2, 3), *leaf = random_leaf(ctx, 2, 3), *grad[2][2];
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *h = ag_exp(x), *const input[] = { h, ag_zeros(ctx, AG_I32, AG_SHAPE(which)) };
        for (int recompute = 0; recompute < 2; recompute++) {
            ag_tensor *y = call(recompute == 1, ctx, odd_result, input, 2, leaf);
            ag_tensor *loss = test_total(ag_add(ag_mul(ag_mul(y, y), ag_arange(ctx, AG_F32, 0, 1, ag_dim(y, 1))),
                                           test_total(ag_add(x, leaf))));
            ag_tensor *const wrt[] = { x, leaf };
            assert_ok(ctx, ag_gradient(tape, loss, NULL, wrt, 2, grad[recompute]));
        }
        for (int i = 0; i < 2; i++)
            assert_same_bits(grad[1][i], grad[0][i]);
        ag_tape_end(tape);
    }
    test_end(ctx);
}
END_TEST

static ag_tensor *careless(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)count, (void)user;
    ag_scope_begin(ctx, "left");
    ag_scope_begin(ctx, "open");
    return ag_exp(input[0]);
}

START_TEST(scopes_left_open_are_ended)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3);
    ag_tape *tape = ag_tape_begin(ctx);
    int64_t depth = ag_scope_depth(ctx);
    ag_scope_begin(ctx, NULL);
    ag_tensor *y = ag_scope_end(ctx, ag_recompute(ctx, careless, &x, 1, NULL));
    ck_assert_int_eq(ag_scope_depth(ctx), depth);
    assert_ok(ctx, ag_backward(tape, test_total(y)));
    ck_assert_int_eq(ag_scope_depth(ctx), depth);
    assert_same(ag_grad(x), y);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* ---- Hooks, norms, chosen gradients ---- */

typedef struct watcher {
    int inside, at_result, at_leaf;
    ag_tensor *w;
} watcher;

static ag_tensor *count_call(void *user, ag_tensor *grad)
{
    ++*(int *)user;
    return ag_scale(grad, 3);
}

static ag_tensor *watched_block(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    watcher *w = user;
    (void)ctx, (void)count;
    ag_tensor *h = ag_exp(ag_mul(input[0], w->w)), *y = ag_tanh(h);
    ag_hook(h, count_call, &w->inside);
    ag_hook(y, count_call, &w->at_result);
    ag_retain_grad(y);
    return y;
}

START_TEST(hooks_and_chosen_gradients)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3), *grad[2][3], *retained[2];
    double norm[2];
    watcher w[2];
    for (int recompute = 0; recompute < 2; recompute++) {
        w[recompute] = (watcher){ .w = x };
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tape_measure_grads(tape);
        ag_tensor *h = ag_scale(x, 2), *y = call(recompute == 1, ctx, watched_block, &h, 1, &w[recompute]);
        ag_hook(x, count_call, &w[recompute].at_leaf);
        ag_tensor *const wrt[] = { x, h, y };
        assert_ok(ctx, ag_gradient(tape, test_total(y), NULL, wrt, 3, grad[recompute]));
        ck_assert_ptr_null(ag_grad(x));
        ck_assert_ptr_null(ag_grad(y));
        ck_assert_int_eq(w[recompute].inside, 1);
        ck_assert_int_eq(w[recompute].at_result, 1);
        ck_assert_int_eq(w[recompute].at_leaf, 1);
        norm[recompute] = ag_tape_node(tape, ag_node_of(tape, h)).grad_norm;
        assert_ok(ctx, ag_backward(tape, test_total(y)));
        retained[recompute] = ag_retain(ag_tensor_clone(ag_grad(y)));
        for (int i = 0; i < 3; i++)
            ag_retain(grad[recompute][i]);
        ag_zero_grad(x);
        ag_tape_end(tape);
    }
    for (int i = 0; i < 3; i++) {
        assert_same_bits(grad[1][i], grad[0][i]);
        ag_release(grad[0][i]);
        ag_release(grad[1][i]);
    }
    ck_assert_double_eq(norm[0], norm[1]);
    assert_same_bits(retained[1], retained[0]);
    ag_release(retained[0]);
    ag_release(retained[1]);
    test_end(ctx);
}
END_TEST

/* ---- Errors ---- */

enum { OTHER_VALUE = 1, OTHER_OPS, OTHER_SHAPE, NO_RESULT, NOT_RECORDED, OTHER_LEAF, AN_ERROR, TAPE_END, BACKWARD,
       CHANGES_INPUT };

typedef struct fickle {
    int what, runs;
    ag_tensor *leaf, *other, *leaked;
    bool at_once; /* in the forward pass */
} fickle;

static ag_tensor *fickle_block(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    fickle *f = user;
    (void)count;
    bool wrong = f->runs++ > 0 || f->at_once;
    ag_tensor *x = input[0], *h = ag_mul(x, f->leaf), *none = NULL;
    ag_tape *tape = ag_running_tape(ctx);
    ag_release(f->leaked);
    f->leaked = ag_retain(h);
    switch (wrong ? f->what : 0) {
    case OTHER_VALUE: return ag_scale(h, 1 + 1e-6);
    case OTHER_OPS: return ag_scale(ag_scale(h, 2), 0.5);
    case OTHER_SHAPE: return ag_reshape(h, AG_SHAPE(3, 2));
    case NO_RESULT: return NULL;
    case NOT_RECORDED: return ag_detach(h);
    case OTHER_LEAF: return ag_mul(h, f->other);
    case AN_ERROR: return ag_matmul(h, h);
    case TAPE_END: ag_tape_end(tape); break;
    case BACKWARD: ag_gradient(tape, h, h, &x, 1, &none); break;
    case CHANGES_INPUT: ag_fill(f->leaf, 3); break;
    default: break;
    }
    return ag_scale(h, 1);
}

START_TEST(another_second_run_is_refused)
{
    static const char *const message[] = {
        [OTHER_VALUE] = "layer: recompute: backward: the function's result [2,3] has not the values it had before",
        [OTHER_OPS] = "layer: recompute: backward: the function recorded 3 ops, before that 2",
        [OTHER_SHAPE] = "layer: recompute: backward: the function returned float32 [3,2], before that float32 [2,3]",
        [NO_RESULT] = "layer: recompute: backward: the function returned NULL, before that float32 [2,3]",
        [NOT_RECORDED] = "the function returned float32 [2,3], which is not its own result, before that float32 [2,3]",
        [OTHER_LEAF] = "layer: recompute: backward: the function uses the leaf 'other' [2,3], which it did not before",
        [AN_ERROR] = "layer: matmul: [2,3] x [2,3]",
        [TAPE_END] = "layer: tape_end: called from inside a recomputed function",
        [BACKWARD] = "layer: gradient: called from inside a recomputed function",
        [CHANGES_INPUT] = "layer: mul: backward needs its input [2,3], which 'fill' in layer has changed since",
    };
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3), *before = ag_detach(ag_tensor_clone(x));
    fickle f = { .what = _i, .leaf = random_leaf(ctx, 2, 3), .other = random_leaf(ctx, 2, 3) };
    ag_set_name(f.other, "other");
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *fine = test_total(ag_mul(x, x));
    assert_ok(ctx, ag_backward(tape, fine));
    ag_scope_begin(ctx, "layer");
    ag_tensor *y = ag_scope_end(ctx, ag_recompute(ctx, fickle_block, &x, 1, &f));
    ck_assert_int_ne((int)ag_backward(tape, test_total(ag_add(y, x))), AG_OK);
    assert_error(ctx, ag_error(ctx), message[_i]);
    ck_assert_ptr_null(ag_grad(f.leaf));
    ck_assert_ptr_null(ag_grad(f.other));
    assert_same(ag_grad(x), ag_scale(before, 2));
    ck_assert_str_eq(ag_module_path(ctx), "");
    ck_assert(ag_recording(ctx));
    int64_t size = ag_tape_size(tape);
    assert_ok(ctx, ag_backward(tape, fine)); /* nothing stale is left */
    assert_same(ag_grad(x), ag_scale(before, 4));
    ck_assert_int_eq(ag_tape_size(tape), size);
    ag_release(f.leaked);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* The result's elements are those of `value`; the second run takes `again`. */
typedef struct two_values {
    ag_tensor *value, *again;
    int runs;
} two_values;

static ag_tensor *value_of(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    two_values *v = user;
    (void)ctx, (void)count;
    return ag_add(input[0], v->runs++ == 0 ? v->value : v->again);
}

/* Whether backward finds the second run to be another. */
static bool is_found(ag_ctx *ctx, ag_tensor *value, ag_tensor *again)
{
    ag_tensor *x = ag_require_grad(ag_zeros(ctx, ag_dtype_of(value), AG_SHAPE(ag_numel(value))));
    two_values v = { .value = value, .again = again };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *loss = test_total(ag_recompute(ctx, value_of, &x, 1, &v));
    bool found = ag_backward(tape, loss) != AG_OK;
    if (found)
        assert_error(ctx, AG_ERR_STATE, "has not the values it had before");
    ag_tape_end(tape);
    return found;
}

/* Sizes below, at and above a multiple of the digest's streams; the changes with which a sum would not change. */
START_TEST(every_element_is_compared)
{
    ag_ctx *ctx = test_begin();
    const int64_t sizes[] = { 1, 7, 16, 17, 40 };
    for (int s = 0; s < 10; s++) {
        int64_t n = sizes[s % 5];
        ag_tensor *value = ag_add_scalar(ag_randn(ctx, s < 5 ? AG_F32 : AG_F64, AG_SHAPE(n)), 4);
        ck_assert(!is_found(ctx, value, ag_tensor_clone(value)));
        ck_assert(is_found(ctx, value, ag_neg(value)));
        for (int64_t k = 0; k < n; k++)
            for (int64_t other = k; other < n; other++) {
                ag_tensor *again = ag_tensor_clone(value);
                double a = 0, b = 0;
                ag_get(value, &k, &a);
                ag_get(value, &other, &b);
                ag_set(again, &k, other == k ? a * (1 + 1e-6) : b);
                ag_set(again, &other, other == k ? a * (1 + 1e-6) : a);
                ck_assert_msg(is_found(ctx, value, again), "elements %d and %d of %d", (int)k, (int)other, (int)n);
            }
    }
    test_end(ctx);
}
END_TEST

START_TEST(an_error_in_the_first_run)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3), *before = ag_detach(ag_tensor_clone(x));
    fickle f = { .what = _i, .leaf = random_leaf(ctx, 2, 3), .at_once = true };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_recompute(ctx, fickle_block, &x, 1, &f);
    assert_error(ctx, ag_error(ctx), _i == AN_ERROR ? "matmul: [2,3] x [2,3]"
                 : _i == TAPE_END ? "tape_end: called from inside a recomputed function"
                                  : "gradient: called from inside a recomputed function");
    ag_tensor *loss = test_total(ag_mul(x, x));
    assert_ok(ctx, ag_backward(tape, loss));
    assert_same(ag_grad(x), ag_scale(before, 2));
    ck_assert_ptr_null(ag_grad(f.leaf));
    ag_release(f.leaked);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* An intermediate of the function that outlives it is not taken for the node that has its number now. */
START_TEST(what_was_inside_stays_inside)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3), *grad = NULL;
    fickle f = { .leaf = random_leaf(ctx, 2, 3) };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_recompute(ctx, fickle_block, &x, 1, &f);
    ag_exp(y), ag_exp(y), ag_exp(y);
    ck_assert_int_eq(ag_node_of(tape, f.leaked), -1);
    ck_assert_ptr_null(ag_add(y, f.leaked));
    assert_error(ctx, AG_ERR_STATE, "add: input 1 [2,3] was made inside a recomputed function, which must return what "
                                    "is used outside; or detach it");
    ck_assert_ptr_nonnull(ag_add(y, ag_detach(f.leaked)));
    ck_assert_int_eq(ag_gradient(tape, test_total(y), NULL, &f.leaked, 1, &grad), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "gradient: wrt 0 [2,3] is neither a leaf nor recorded on the tape");
    ck_assert_int_eq(ag_hook(f.leaked, count_call, NULL), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "hook: [2,3] is neither recorded");
    ck_assert_int_eq(ag_backward(tape, f.leaked), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "the tape does not know [2,3]");
    assert_ok(ctx, ag_backward(tape, test_total(y)));
    ck_assert_ptr_null(ag_add(y, f.leaked)); /* that of the second run */
    assert_error(ctx, AG_ERR_STATE, "add: input 1 [2,3] was made inside a recomputed function");
    ag_release(f.leaked);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* All that the second run reads is kept, and a change of it is found: an input, a leaf, a captured value. */
START_TEST(changes_between_the_runs_are_refused)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 4, 3), *index = ag_randint(ctx, 0, 2, AG_SHAPE(4));
    int runs = 0;
    parts p = { .w = random_leaf(ctx, 3, 3), .v = random_leaf(ctx, 3, 3), .b = random_leaf(ctx, 1, 3), .runs = &runs,
                .recompute = true };
    ag_tape *tape = ag_tape_begin(ctx);
    p.captured = ag_add(ag_zeros(ctx, AG_F32, AG_SHAPE(1, 3)), ag_select(p.w, 0, 0));
    ag_tensor *h = ag_scale(x, 2), *const input[] = { h, index };
    ag_scope_begin(ctx, "net");
    ag_tensor *loss = ag_scope_end(ctx, test_total(ag_recompute(ctx, block, input, 2, &p)));
    ag_tensor *const changed[] = { h, index, p.w, p.v, p.captured, p.b };
    ag_scope_begin(ctx, "update");
    ag_fill(ag_tensor_slice(changed[_i], 0, 0, 1, 1), 1);
    ag_scope_end(ctx, NULL);
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_STATE);
    char wanted[120];
    snprintf(wanted, sizeof wanted, "net: recompute: backward needs its input %s, which 'fill' in update has changed",
             ag_shape_text(changed[_i]));
    assert_error(ctx, AG_ERR_STATE, wanted);
    ck_assert_ptr_null(ag_grad(x));
    ck_assert_int_eq(runs, 2); /* block and inner, in the forward pass */
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

static ag_tensor *failing_hook(void *user, ag_tensor *grad)
{
    ag_tape_end(user);
    return ag_zeros(ag_ctx_of(grad), AG_F32, AG_SHAPE(7));
}

START_TEST(error_within_the_second_walk)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = random_leaf(ctx, 2, 3);
    watcher w = { .w = random_leaf(ctx, 2, 3) };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *h = ag_scale(x, 2), *y = ag_recompute(ctx, watched_block, &h, 1, &w), *loss = test_total(ag_add(y, x));
    ag_hook(h, failing_hook, tape);
    ck_assert_int_eq(ag_backward(tape, loss), AG_ERR_STATE);
    assert_error(ctx, AG_ERR_STATE, "tape_end: called from inside backward");
    ck_assert_ptr_null(ag_grad(x));
    ck_assert_ptr_null(ag_grad(w.w));
    ck_assert_ptr_null(ag_grad(y));
    ag_hook(h, NULL, NULL);
    assert_ok(ctx, ag_backward(tape, loss));
    ck_assert_ptr_nonnull(ag_grad(w.w));
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

/* ---- Memory ---- */

enum { SIDE = 256 };

static ag_tensor *product(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return ag_matmul(input[0], input[1]);
}

static size_t peak_of_product(bool recompute)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *input[] = { random_leaf(ctx, SIDE, SIDE), random_leaf(ctx, SIDE, SIDE) };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_scope_begin(ctx, NULL);
    ag_tensor *loss = ag_scope_end(ctx, test_total(call(recompute, ctx, product, input, 2, NULL)));
    assert_ok(ctx, ag_backward(tape, loss));
    ag_tape_end(tape);
    size_t peak = ag_ctx_peak_bytes(ctx);
    test_end(ctx);
    return peak;
}

/* Its vjp does not need the result: the second one is gone before the gradients of the inputs come. */
START_TEST(the_second_result_goes_before_the_walk)
{
    size_t plain = peak_of_product(false), again = peak_of_product(true), matrix = SIDE * SIDE * sizeof(float);
    ck_assert_msg(again < plain + matrix / 2, "%zu bytes with recomputation, %zu without, a matrix takes %zu", again,
                  plain, matrix);
}
END_TEST

/* ---- Length ---- */

static ag_tensor *step(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count;
    return ag_add(ag_neg(input[0]), user);
}

static double chain_seconds(int64_t length, double *gradient)
{
    clock_t start = clock();
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 1 });
    ag_tensor *a = ag_require_grad(ag_full(ctx, AG_F64, AG_SCALAR, 1)), *x = a;
    ag_tape *tape = ag_tape_begin(ctx);
    for (int64_t i = 0; i < length; i++) {
        ag_scope_begin(ctx, NULL);
        x = ag_scope_end(ctx, ag_recompute(ctx, step, &x, 1, a));
    }
    ck_assert_int_eq(ag_tape_size(tape), length + 1);
    assert_ok(ctx, ag_backward(tape, x));
    *gradient = test_item(ag_grad(a));
    ag_tape_end(tape);
    test_end(ctx);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

START_TEST(chains_are_linear)
{
    double gradient, small = chain_seconds(20000, &gradient);
    ck_assert_double_eq(gradient, 1); /* x, 1 - x, x, ... */
    double large = chain_seconds(200000, &gradient);
    ck_assert_double_eq(gradient, 1);
    ck_assert_msg(large < 40 * small + 1, "20,000 functions take %.3f s, 200,000 %.3f s", small, large);
}
END_TEST

Suite *recompute_suite(void)
{
    Suite *suite = suite_create("recompute");
    TCase *bits = tcase_create("bits");
    tcase_add_loop_test(bits, bits_of_the_plain_run, 0, 3);
    tcase_add_test(bits, one_node_that_lists_what_is_used);
    tcase_add_test(bits, without_a_tape_the_function_itself);
    tcase_add_test(bits, it_is_known_whether_a_function_is_recomputed);
    tcase_add_test(bits, any_result);
    tcase_add_test(bits, scopes_left_open_are_ended);
    tcase_add_test(bits, hooks_and_chosen_gradients);
    suite_add_tcase(suite, bits);
    TCase *errors = tcase_create("errors");
    tcase_add_test(errors, every_element_is_compared);
    tcase_add_loop_test(errors, another_second_run_is_refused, OTHER_VALUE, CHANGES_INPUT + 1);
    tcase_add_loop_test(errors, an_error_in_the_first_run, AN_ERROR, BACKWARD + 1);
    tcase_add_test(errors, what_was_inside_stays_inside);
    tcase_add_loop_test(errors, changes_between_the_runs_are_refused, 0, 6);
    tcase_add_test(errors, error_within_the_second_walk);
    suite_add_tcase(suite, errors);
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, the_second_result_goes_before_the_walk);
    suite_add_tcase(suite, memory);
    TCase *length = tcase_create("length");
    tcase_set_timeout(length, 120);
    tcase_add_test(length, chains_are_linear);
    suite_add_tcase(suite, length);
    return suite;
}
