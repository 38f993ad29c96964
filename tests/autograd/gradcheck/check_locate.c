/* SPDX-License-Identifier: MIT
 *
 * check_locate.c - finding the op on a tape whose own backward is wrong. The op under test is y = x^2, recorded with a
 * backward that can be made wrong, in graphs where it stands at all kinds of places.
 */
#include "tests/autograd/gradcheck/locate_search.h"

#include <time.h>

/* ---- Places ---- */

/* x[0] is [3,4], x[1] [4]. The leaves get their nodes at their first use. */
typedef struct place {
    const char *name, *path;
    int64_t node;
    ag_tensor *(*f)(ag_ctx *ctx, ag_tensor *const *x, fault what);
} place;

static ag_tensor *at_start(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    return ag_exp(ag_mul(ag_tanh(square(x[0], what)), x[1]));
}

static ag_tensor *in_middle(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    return ag_softmax(square(ag_mul(x[0], x[1]), what), -1);
}

static ag_tensor *at_end(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    return square(ag_layer_norm(x[0], x[1], NULL, 1e-5), what);
}

static ag_tensor *in_module(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    ag_scope_begin(ctx, "blocks.0");
    ag_scope_begin(ctx, "attn");
    ag_tensor *y = ag_scope_end(ctx, square(ag_mul(x[0], x[1]), what));
    return ag_scope_end(ctx, ag_sigmoid(y));
}

static ag_tensor *used_twice(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    ag_tensor *y = square(ag_mul(x[0], x[1]), what);
    return ag_mul(ag_add(y, ag_tanh(y)), y);
}

static ag_tensor *twice_in_graph(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    return square(ag_tanh(square(ag_mul(x[0], x[1]), what)), what);
}

static ag_tensor *behind_reshape(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    ag_tensor *y = ag_mul(x[0], x[1]), *view = ag_reshape(y, AG_SHAPE(6, 2));
    return ag_add(ag_reshape(square(view, what), AG_SHAPE(3, 4)), y);
}

static ag_tensor *behind_transpose(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    ag_tensor *y = ag_transpose(ag_mul(x[0], x[1]), 0, 1);
    return ag_contiguous(ag_transpose(square(ag_contiguous(y), what), 0, 1));
}

static ag_tensor *behind_slice(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    return ag_sum(square(ag_slice(ag_mul(x[0], x[1]), 1, 1, 4, 2), what), AG_DIMS(0), true);
}

static ag_tensor *behind_expand(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    ag_tensor *w = ag_expand(ag_tanh(x[1]), AG_SHAPE(3, 4));
    return ag_mul(ag_contiguous(square(w, what)), x[0]);
}

static ag_tensor *with_dropout(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    return ag_dropout(square(ag_dropout(ag_mul(x[0], x[1]), 0.3), what), 0.5);
}

static ag_tensor *over_a_kink(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    ag_tensor *y = square(ag_mul(x[0], x[1]), what);
    (void)ctx;
    return ag_add(y, ag_relu(ag_scale(y, 0)));
}

static ag_tensor *shared_memory(ag_ctx *ctx, ag_tensor *const *x, fault what)
{
    (void)ctx;
    ag_tensor *y = ag_mul(x[0], x[1]);
    return ag_matmul(square(ag_reshape(y, AG_SHAPE(4, 3)), what), y);
}

static const place places[] = {
    { "start", "", 1, at_start },
    { "middle", "", 3, in_middle },
    { "end", "", 3, at_end },
    { "module", "blocks.0.attn", 3, in_module },
    { "used twice", "", 3, used_twice },
    { "twice in the graph", "", 5, twice_in_graph },
    { "reshape", "", 4, behind_reshape },
    { "transpose", "", 5, behind_transpose },
    { "slice", "", 4, behind_slice },
    { "expand", "", 3, behind_expand },
    { "dropout", "", 4, with_dropout },
    { "kink", "", 3, over_a_kink },
    { "shared memory", "", 4, shared_memory },
};

typedef struct placed {
    const place *place;
    fault what;
} placed;

static void run_place(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    const placed *p = user;
    y[0] = p->place->f(ctx, x, p->what);
}

START_TEST(the_wrong_op_is_found)
{
    ag_ctx *ctx = test_begin();
    for (int what = SIGN; what <= TWICE; what++) {
        placed p = { &places[_i], (fault)what };
        ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
        ag_location at = locate(ctx, run_place, x, 2, &p);
        assert_at(at, "square", p.place->node, 0);
        ck_assert_str_eq(at.path, p.place->path);
        ck_assert_int_eq(at.explanation.cause, what == SIGN ? AG_CAUSE_SIGN : AG_CAUSE_FACTOR);
        ck_assert(what == SIGN || fabs(at.explanation.factor - 2) < 1e-6);
        char words[100];
        snprintf(words, sizeof words, "First wrong op: 'square'%s%s (node %d), gradient of its input 0: ",
                 *at.path == '\0' ? "" : " in ", at.path, (int)at.node);
        assert_contains(at.explanation.text, words);
    }
    test_end(ctx);
}
END_TEST

START_TEST(a_right_graph_has_no_wrong_op)
{
    ag_ctx *ctx = test_begin();
    placed p = { &places[_i], RIGHT };
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
    ag_location at = locate(ctx, run_place, x, 2, &p);
    assert_nowhere(at, p.place->f == over_a_kink ? "1 could not be judged" : "No op on the tape is wrong.");
    test_end(ctx);
}
END_TEST

START_TEST(of_two_wrong_ops_the_later_is_named)
{
    ag_ctx *ctx = test_begin();
    placed p = { &(place){ "", "", 5, twice_in_graph }, SIGN };
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
    assert_at(locate(ctx, run_place, x, 2, &p), "square", 5, 0);
    test_end(ctx);
}
END_TEST

static void two_outputs(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    y[0] = ag_tanh(x[0]);
    y[1] = square(ag_exp(x[0]), *(const fault *)user);
}

START_TEST(every_output_is_looked_at)
{
    ag_ctx *ctx = test_begin();
    fault what = SIGN;
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    assert_at(locate_as(ctx, two_outputs, two_outputs, &x, 1, &what, 2), "square", 3, 0);
    test_end(ctx);
}
END_TEST

/* ---- Kinds of faults ---- */

static void run_gain(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_tanh(gain(ag_exp(x[0]), x[1]));
}

START_TEST(the_input_of_the_op_is_named)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), ag_set_name(leaf(ctx, AG_SHAPE(4)), "norm.weight") };
    ag_location at = locate(ctx, run_gain, x, 2, NULL);
    assert_at(at, "gain", 3, 1);
    ck_assert_int_eq(at.explanation.cause, AG_CAUSE_NOT_REDUCED);
    assert_contains(at.explanation.text, "gradient of its input 1, norm.weight: ");
    test_end(ctx);
}
END_TEST

static void run_memory_order(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    bool of_gy = *(const bool *)user;
    ag_tensor *h = ag_tanh(x[0]);
    y[0] = of_gy ? ag_mul(ag_transpose(memory_order(h, true), 0, 1), x[1]) : memory_order(ag_transpose(h, 0, 1), false);
}

START_TEST(ignored_strides_are_told)
{
    ag_ctx *ctx = test_begin();
    bool of_gy = _i == 0;
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(3)) };
    ag_location at = locate(ctx, run_memory_order, x, of_gy ? 2 : 1, &of_gy);
    assert_at(at, "memory_order", of_gy ? 2 : 3, 0);
    ck_assert_int_eq(at.explanation.cause, AG_CAUSE_STRIDE_IGNORED);
    assert_contains(at.explanation.text, of_gy ? "its incoming gradient are ignored, [3,4] with strides [1,3]"
                                               : "its input 0 are ignored, [4,3] with strides [1,4]");
    test_end(ctx);
}
END_TEST

/* A contribution that is wrong in the third run. */
static void once_vjp(ag_vjp *v)
{
    int *runs = *(int *const *)v->attr;
    ag_vjp_add(v, 0, ag_scale(v->gy, (*runs)++ == 2 ? 3 : 1));
}

static const ag_op once_op = { "once", 1, AG_KEEP_NONE, once_vjp };

static void run_once(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    int *runs = user;
    y[0] = ag_tanh(ag_record(&once_op, ag_tensor_clone(x[0]), x, 1, &runs, sizeof runs, NULL));
}

START_TEST(a_vjp_that_does_not_repeat_itself_is_told)
{
    ag_ctx *ctx = test_begin();
    int runs = 1; /* the check has its gradient in the second, the search begins with the third */
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    ag_location at = locate(ctx, run_once, &x, 1, &runs);
    assert_at(at, "once", 1, 0);
    ck_assert_int_eq(at.explanation.cause, AG_CAUSE_NOT_REPEATABLE);
    test_end(ctx);
}
END_TEST

static ag_tensor *recomputed(ag_ctx *ctx, ag_tensor *const *x, int count, void *user)
{
    (void)ctx, (void)count;
    return ag_mul(square(ag_tanh(x[0]), *(const fault *)user), x[1]);
}

static void run_recompute(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    ag_tensor *h[] = { ag_exp(x[0]), x[1] };
    y[0] = ag_softmax(ag_recompute(ctx, recomputed, h, 2, user), -1);
}

START_TEST(a_recomputed_function_is_one_op)
{
    ag_ctx *ctx = test_begin();
    fault what = (fault)_i;
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
    ag_location at = locate(ctx, run_recompute, x, 2, &what);
    if (what == RIGHT) {
        assert_nowhere(at, "No op on the tape is wrong.");
    } else {
        assert_at(at, "recompute", 3, 0);
        ck_assert_int_eq(at.explanation.cause, AG_CAUSE_SIGN);
    }
    test_end(ctx);
}
END_TEST

/* ---- Faults that are not an op's ---- */

static ag_tensor *triple(void *user, ag_tensor *grad)
{
    (void)user;
    return ag_scale(grad, 3);
}

static void run_hook(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *h = ag_tanh(x[0]);
    ag_hook(h, triple, NULL);
    y[0] = ag_mul(h, x[0]);
}

START_TEST(a_hook_that_changes_a_gradient_is_told)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    assert_nowhere(locate(ctx, run_hook, &x, 1, NULL), "a hook changes the gradient of the result of 'tanh' (node 1)");
    test_end(ctx);
}
END_TEST

/* x is used three times; for a gradient that lost some, all but those in *user are detached. */
static void run_uses(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    unsigned kept = user == NULL ? 7 : *(const unsigned *)user;
    ag_tensor *use[3];
    for (int i = 0; i < 3; i++)
        use[i] = (kept >> i & 1) != 0 ? x[0] : ag_detach(x[0]);
    ag_tensor *first = ag_tanh(use[0]), *second = ag_exp(use[1]), *third = ag_sigmoid(use[2]);
    y[0] = ag_add(ag_mul(first, x[1]), ag_mul(second, third));
}

static void run_all_uses(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)user;
    run_uses(ctx, x, y, NULL);
}

START_TEST(a_lost_use_is_told)
{
    static const struct {
        unsigned kept;
        const char *op;
        int64_t node;
        const char *words;
    } cases[] = {
        { 5, "exp", 2, "of the 3 contributions to the gradient of input 0 that of 'exp' (node 2) is lost" },
        { 6, "tanh", 1, "of the 3 contributions to the gradient of input 0 that of 'tanh' (node 1) is lost" },
        { 4, "tanh", 1, "the gradient of input 0 is the contribution of 'sigmoid' (node 3) alone: that of 'tanh'" },
        { 1, "exp", 2, "the gradient of input 0 is the contribution of 'tanh' (node 1) alone: that of 'exp'" },
    };
    ag_ctx *ctx = test_begin();
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
    unsigned kept = cases[_i].kept;
    ag_location at = locate_as(ctx, run_all_uses, run_uses, x, 2, &kept, 1);
    assert_at(at, cases[_i].op, cases[_i].node, 0);
    ck_assert_int_eq(at.explanation.cause, AG_CAUSE_NOT_ACCUMULATED);
    assert_contains(at.explanation.text, cases[_i].words);
    test_end(ctx);
}
END_TEST

static void run_outputs(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_tanh(x[0]);
    y[1] = ag_exp(x[0]);
}

static void run_outputs_but_one(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_tanh(ag_detach(x[0]));
    y[1] = ag_exp(x[0]);
}

START_TEST(a_lost_output_is_told)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    ag_location at = locate_as(ctx, run_outputs, run_outputs_but_one, &x, 1, NULL, 2);
    assert_nowhere(at, "the gradient of input 0 is that of output 1 alone");
    ck_assert_int_eq(at.explanation.cause, AG_CAUSE_NOT_ACCUMULATED);
    test_end(ctx);
}
END_TEST

/* What gradients do not pass. */
static void run_detached(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    ag_tensor *h = ag_exp(x[0]);
    switch (*(const int *)user) {
    case 0:
        y[0] = ag_mul(h, ag_detach(h));
        break;
    case 1:
        y[0] = ag_add(ag_tanh(x[0]), ag_detach(ag_tensor_clone(h)));
        break;
    default:
        y[0] = ag_tanh(ag_detach(x[0]));
    }
}

START_TEST(what_is_detached_is_told)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    int how = 0;
    ag_location at = locate(ctx, run_detached, &x, 1, &how);
    assert_at(at, "mul", 2, 0);
    assert_contains(at.explanation.text, "its input 1 is a detached view of the same memory");
    how = 1;
    assert_nowhere(locate(ctx, run_detached, &x, 1, &how), "the result of 'add' (node 3) depends on more than its");
    how = 2;
    assert_nowhere(locate(ctx, run_detached, &x, 1, &how), "No op on the tape uses input 0");
    test_end(ctx);
}
END_TEST

static void pass_vjp(ag_vjp *v)
{
    ag_vjp_add(v, 0, v->gy);
}

static const ag_op kinked_op = { "kinked", 1, AG_KEEP_NONE, pass_vjp };

/* |h| + 100 exp(x), of which h = 0 alone is recorded. */
static void run_kinked(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *h = ag_scale(x[0], 0), *k = ag_scale(ag_exp(x[0]), 100);
    y[0] = ag_record(&kinked_op, ag_add(ag_abs(ag_detach(h)), ag_detach(k)), &h, 1, NULL, 0, NULL);
}

START_TEST(what_is_undecided_is_not_blamed)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    assert_nowhere(locate(ctx, run_kinked, &x, 1, NULL), "No op is wrong, but 1 could not be judged");
    test_end(ctx);
}
END_TEST

static void run_changing(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    int *runs = user;
    (void)ctx;
    y[0] = square((*runs)++ % 2 == 0 ? ag_exp(x[0]) : ag_tanh(x[0]), SIGN);
}

START_TEST(a_function_that_changes_is_told)
{
    ag_ctx *ctx = test_begin();
    int runs = 0;
    ag_tensor *x = leaf(ctx, AG_SHAPE(5));
    assert_nowhere(locate(ctx, run_changing, &x, 1, &runs), "records other ops when it runs again");
    test_end(ctx);
}
END_TEST

/* A leaf that the function makes in each run can not be moved; the op behind it can. */
static void run_inner_leaf(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    ag_tensor *w = ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(4), 0.5));
    y[0] = ag_mul(square(ag_mul(x[0], w), *(const fault *)user), w);
}

START_TEST(leaves_made_by_the_function_are_left_alone)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *x = leaf(ctx, AG_SHAPE(3, 4));
    fault what = RIGHT;
    assert_nowhere(locate(ctx, run_inner_leaf, &x, 1, &what), "No op on the tape is wrong.");
    what = SIGN;
    assert_at(locate(ctx, run_inner_leaf, &x, 1, &what), "square", 3, 0);
    test_end(ctx);
}
END_TEST

/* ---- Large graphs ---- */

typedef struct deep {
    int64_t length, wrong;
} deep;

static void run_deep(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    const deep *d = user;
    (void)ctx;
    y[0] = x[0];
    for (int64_t i = 0; i < d->length; i++)
        y[0] = i == d->wrong ? square(y[0], SIGN) : ag_add(ag_neg(y[0]), x[1]);
}

/* The number of runs does not grow with the number of ops: 5,000 of them, each looked at alone, would take minutes. */
START_TEST(a_long_tape_is_searched_at_once)
{
    ag_ctx *ctx = test_begin();
    deep d = { 2500, 1200 };
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3)), leaf(ctx, AG_SHAPE(3)) };
    clock_t begin = clock();
    ag_location at = locate(ctx, run_deep, x, 2, &d);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_at(at, "square", 2402, 0);
    ck_assert_msg(seconds < 20, "%.1f s", seconds);
    test_end(ctx);
}
END_TEST

typedef struct model {
    ag_gpt *gpt;
    ag_tensor *targets;
    fault what;
} model;

/* The blocks of a GPT on embedded tokens x[0], with an op of ours between the second one's parts. */
static void run_model(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    const model *m = user;
    (void)ctx;
    ag_tensor *h = ag_block_forward(ag_gpt_block(m->gpt, 0), x[0]);
    h = ag_sub(h, ag_scale(square(h, m->what), 0.1));
    h = ag_block_forward(ag_gpt_block(m->gpt, 1), h);
    y[0] = ag_cross_entropy(ag_reshape(h, AG_SHAPE(-1, ag_dim(h, -1))), m->targets);
}

START_TEST(the_wrong_op_in_a_model_is_found)
{
    ag_ctx *ctx = test_begin();
    model m = { .what = (fault)_i };
    m.gpt = ag_gpt_new(ctx, (ag_transformer_config){ .vocab_size = 11, .max_seq_len = 6, .emb_size = 16, .num_heads = 2,
                                             .num_layers = 2, .dtype = AG_F64 });
    m.targets = ag_randint(ctx, 0, 16, AG_SHAPE(12));
    ag_tensor *x = leaf(ctx, AG_SHAPE(2, 6, 16));
    ag_location at = locate(ctx, run_model, &x, 1, &m);
    if (m.what == RIGHT) {
        assert_nowhere(at, "No op on the tape is wrong.");
    } else {
        ck_assert_str_eq(at.op, "square");
        ck_assert_int_eq(at.explanation.cause, AG_CAUSE_SIGN);
    }
    ag_gpt_free(m.gpt);
    test_end(ctx);
}
END_TEST

/* ---- Out of memory ---- */

START_TEST(running_out_of_memory_ends_the_search)
{
    heap h = { 0, INT64_MAX };
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1, .allocator = { heap_alloc, heap_free, &h } });
    placed p = { &(place){ "", "", 3, in_module }, SIGN };
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
    bool found = false;
    int64_t early = 0;
    short_heap = &h;
    for (short_after = 0; !found; short_after++) {
        ag_location at = locate(ctx, run_place, x, 2, &p);
        found = at.node == 3 && at.explanation.cause == AG_CAUSE_SIGN;
        early += at.node < 0;
        ck_assert_int_lt(short_after, 5000);
    }
    short_heap = NULL;
    ck_assert_int_gt(early, 50);
    test_end(ctx);
}
END_TEST

/* ---- Through the public function ---- */

START_TEST(gradcheck_names_the_op)
{
    ag_ctx *ctx = test_begin();
    placed p = { &(place){ "", "", 3, in_module }, SIGN };
    ag_tensor *x[] = { leaf(ctx, AG_SHAPE(3, 4)), leaf(ctx, AG_SHAPE(4)) };
    ag_gradcheck_result r = ag_gradcheck(ctx, run_place, x, 2, &p, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_str_eq(r.op, "square");
    ck_assert_str_eq(r.path, "blocks.0.attn");
    ck_assert_int_eq(r.node, 3);
    ck_assert_int_eq(r.op_input, 0);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_SIGN);
    assert_contains(r.explanation, "'square' in blocks.0.attn (node 3)");
    test_end(ctx);
}
END_TEST

Suite *locate_suite(void)
{
    Suite *suite = suite_create("locate");
    TCase *t = tcase_create("locate");
    tcase_set_timeout(t, 60);
    int count = (int)(sizeof places / sizeof *places);
    tcase_add_loop_test(t, the_wrong_op_is_found, 0, count);
    tcase_add_loop_test(t, a_right_graph_has_no_wrong_op, 0, count);
    tcase_add_test(t, of_two_wrong_ops_the_later_is_named);
    tcase_add_test(t, every_output_is_looked_at);
    tcase_add_test(t, the_input_of_the_op_is_named);
    tcase_add_loop_test(t, ignored_strides_are_told, 0, 2);
    tcase_add_test(t, a_vjp_that_does_not_repeat_itself_is_told);
    tcase_add_loop_test(t, a_recomputed_function_is_one_op, RIGHT, TWICE);
    tcase_add_test(t, a_hook_that_changes_a_gradient_is_told);
    tcase_add_loop_test(t, a_lost_use_is_told, 0, 4);
    tcase_add_test(t, a_lost_output_is_told);
    tcase_add_test(t, what_is_detached_is_told);
    tcase_add_test(t, what_is_undecided_is_not_blamed);
    tcase_add_test(t, a_function_that_changes_is_told);
    tcase_add_test(t, leaves_made_by_the_function_are_left_alone);
    tcase_add_test(t, a_long_tape_is_searched_at_once);
    tcase_add_loop_test(t, the_wrong_op_in_a_model_is_found, RIGHT, TWICE);
    tcase_add_test(t, running_out_of_memory_ends_the_search);
    tcase_add_test(t, gradcheck_names_the_op);
    suite_add_tcase(suite, t);
    return suite;
}
