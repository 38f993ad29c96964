/* SPDX-License-Identifier: MIT
 *
 * check_misuse.c - wrong calls, one a row of misuse_*.def: each is an error in the caller's words, or quiet where the
 * headers say so (NULL is passed on). No call crashes, and after it the context works as before. config=sanitize runs
 * the same rows under the sanitizers. What is freed twice is the caller's bug: an assertion ends the program.
 */
#include "tests/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What the rows use. All of ctx, but for what is `far`. */
typedef struct world {
    ag_ctx *ctx, *other;
    ag_tensor *x;         /* float64 [2,3], a leaf */
    ag_tensor *y, *cube;  /* float64 [2,3] and [2,3,4] */
    ag_tensor *f, *i;     /* float32 and int32 [2,3] */
    ag_tensor *row, *one; /* float64 [3] and [] */
    ag_tensor *q;         /* float64 [1,2,3,4] */
    ag_tensor *far, *far_leaf; /* float64 [2,3] of `other` */
    FILE *out;
} world;

#define NIL(call) ck_assert_msg((call) == NULL, "%s is not NULL", #call)
#define WRONG(call) ck_assert_msg((call) != AG_OK, "%s is AG_OK", #call)
#define SAME(call, value) ck_assert_msg((call) == (value), "%s is not %s", #call, #value)
#define HUGE_SIZE (INT64_MAX / 4)
#define TWO_HUGE AG_SHAPE(HUGE_SIZE, HUGE_SIZE)

static ag_tensor *identity(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)count, (void)user;
    return input[0];
}

static ag_tensor *returns_null(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)ctx, (void)input, (void)count, (void)user;
    return NULL;
}

static ag_tensor *wrong_shape(void *user, ag_tensor *grad)
{
    (void)user;
    return ag_reshape(grad, AG_SHAPE(ag_numel(grad)));
}

static ag_tensor *foreign(void *user, ag_tensor *grad)
{
    (void)grad;
    return user;
}

static void square(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx, (void)user;
    output[0] = ag_mul(input[0], input[0]);
}

static void no_output(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx, (void)input, (void)output, (void)user;
}

static double no_time(void)
{
    return 0;
}

static void nothing(void *argument)
{
    (void)argument;
}

static ag_linear_layer *linear_of(ag_ctx *ctx)
{
    return ag_linear_new(ctx, (ag_linear_config){ .in_features = 3, .out_features = 2, .dtype = AG_F64 });
}

static const ag_transformer_config small = { .vocab_size = 5, .emb_size = 4, .num_heads = 2, .num_layers = 1,
                                             .max_seq_len = 6, .dtype = AG_F64 };

typedef struct row {
    const char *what, *text; /* text: a part of the error's message */
    ag_status status;        /* AG_OK: the call is quiet */
    void (*run)(world *w);
} row;

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

/* The rows of each file, twice: as functions, named by their lines, and as a table. */
#define ROW(what, status, text, ...)                \
    static void PASTE(ROW_PREFIX, __LINE__)(world *w) \
    {                                               \
        (void)w;                                    \
        __VA_ARGS__;                                \
    }
#define ROW_PREFIX tensor_row_
#include "tests/misuse_tensor.def"
#undef ROW_PREFIX
#define ROW_PREFIX autograd_row_
#include "tests/misuse_autograd.def"
#undef ROW_PREFIX
#define ROW_PREFIX nn_row_
#include "tests/misuse_nn.def"
#undef ROW_PREFIX
#define ROW_PREFIX annex_row_
#include "tests/misuse_annexes.def"
#undef ROW_PREFIX
#undef ROW

#define ROW(what, status, text, ...) { what, text, status, PASTE(ROW_PREFIX, __LINE__) },
static const row rows[] = {
#define ROW_PREFIX tensor_row_
#include "tests/misuse_tensor.def"
#undef ROW_PREFIX
#define ROW_PREFIX autograd_row_
#include "tests/misuse_autograd.def"
#undef ROW_PREFIX
#define ROW_PREFIX nn_row_
#include "tests/misuse_nn.def"
#undef ROW_PREFIX
#define ROW_PREFIX annex_row_
#include "tests/misuse_annexes.def"
#undef ROW_PREFIX
};
enum { ROWS = sizeof rows / sizeof *rows };

static world world_begin(void)
{
    const ag_ctx_config config = { .seed = 1, .threads = 1 };
    world w = { .ctx = ag_ctx_new(config), .other = ag_ctx_new(config), .out = tmpfile() };
    ck_assert(w.ctx != NULL && w.other != NULL && w.out != NULL);
    w.x = ag_require_grad(ag_randn(w.ctx, AG_F64, AG_SHAPE(2, 3)));
    w.y = ag_randn(w.ctx, AG_F64, AG_SHAPE(2, 3));
    w.cube = ag_randn(w.ctx, AG_F64, AG_SHAPE(2, 3, 4));
    w.f = ag_randn(w.ctx, AG_F32, AG_SHAPE(2, 3));
    w.i = ag_zeros(w.ctx, AG_I32, AG_SHAPE(2, 3));
    w.row = ag_randn(w.ctx, AG_F64, AG_SHAPE(3));
    w.one = ag_full(w.ctx, AG_F64, AG_SCALAR, 1);
    w.q = ag_randn(w.ctx, AG_F64, AG_SHAPE(1, 2, 3, 4));
    w.far = ag_randn(w.other, AG_F64, AG_SHAPE(2, 3));
    w.far_leaf = ag_require_grad(ag_randn(w.other, AG_F64, AG_SHAPE(2, 3)));
    return w;
}

/* Forward, backward and a step, as if nothing had happened. */
static void assert_works(ag_ctx *ctx)
{
    ag_linear_layer *layer = linear_of(ctx);
    ag_optimizer *optimizer = ag_sgd_new(ag_linear_module(layer), (ag_sgd_config){ .lr = 0.1 });
    ag_tape *tape = ag_tape_begin(ctx);
    ag_backward(tape, test_total(ag_linear_forward(layer, ag_randn(ctx, AG_F64, AG_SHAPE(4, 3)))));
    ag_tape_end(tape);
    assert_ok(ctx, ag_optimizer_step(optimizer));
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
}

START_TEST(wrong_call)
{
    const row *r = &rows[_i];
    world w = world_begin();
    r->run(&w);
    ag_ctx *at = ag_error(w.ctx) == AG_OK && ag_error(w.other) != AG_OK ? w.other : w.ctx;
    const char *message = ag_error_message(at);
    ck_assert_msg(ag_error(at) == r->status, "%s: status %d, wanted %d; message '%s'", r->what, (int)ag_error(at),
                  (int)r->status, message);
    ck_assert_msg(strstr(message, r->text) != NULL, "%s: '%s' has no '%s'", r->what, message, r->text);
    ck_assert_msg(strchr(message, '\n') == NULL, "%s: '%s' has more than one line", r->what, message);
    ag_error_clear(w.ctx);
    ag_error_clear(w.other);
    assert_works(w.ctx);
    assert_works(w.other);
    ck_assert_msg(ag_ctx_free(w.ctx) == 0 && ag_ctx_free(w.other) == 0, "%s: tensors are held", r->what);
    fclose(w.out);
}
END_TEST

/* ---- Freed twice ---- */

START_TEST(released_too_often)
{
    world w = world_begin();
    ag_scope_begin(w.ctx, NULL);
    ag_tensor *t = ag_zeros(w.ctx, AG_F32, AG_SHAPE(3));
    ag_release(t); /* the scope's reference */
    ag_scope_end(w.ctx, NULL);
}
END_TEST

START_TEST(layer_freed_twice)
{
    world w = world_begin();
    ag_linear_layer *layer = linear_of(w.ctx);
    ag_linear_free(layer);
    ag_linear_free(layer);
}
END_TEST

START_TEST(optimizer_freed_twice)
{
    world w = world_begin();
    ag_optimizer *sgd = ag_sgd_new(ag_linear_module(linear_of(w.ctx)), (ag_sgd_config){ .lr = 0.1 });
    ag_optimizer_free(sgd);
    ag_optimizer_free(sgd);
}
END_TEST

Suite *misuse_suite(void)
{
    Suite *suite = suite_create("misuse");
    TCase *tcase = tcase_create("misuse");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, wrong_call, 0, ROWS);
    const char *fork = getenv("CK_FORK");
    if (fork == NULL || strcmp(fork, "no") != 0) {
        tcase_add_test_raise_signal(tcase, released_too_often, SIGABRT);
        tcase_add_test_raise_signal(tcase, layer_freed_twice, SIGABRT);
        tcase_add_test_raise_signal(tcase, optimizer_freed_twice, SIGABRT);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
