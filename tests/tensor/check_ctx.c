/* SPDX-License-Identifier: MIT
 *
 * check_ctx.c - contexts: errors that stick, scopes and who owns what, instruction sets, two threads at once.
 */
#define _POSIX_C_SOURCE 200809L /* setenv */

#include "tests/test.h"

#include "tensor/tensor_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- Errors ---- */

START_TEST(version_is_that_of_the_header)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", AG_VERSION_MAJOR, AG_VERSION_MINOR, AG_VERSION_PATCH);
    ck_assert_str_eq(ag_version(), text);
}
END_TEST

START_TEST(the_first_error_stays)
{
    ag_ctx *ctx = test_begin();
    ck_assert_str_eq(ag_error_message(ctx), "");
    ck_assert_str_eq(ag_error_op(ctx), "");
    ck_assert_str_eq(ag_error_path(ctx), "");
    ck_assert_ptr_null(ag_fail(ctx, AG_ERR_NUMBER, "first", "is %d", 1));
    ck_assert_ptr_null(ag_fail(ctx, AG_ERR_FILE, "second", "is %d", 2));
    ck_assert_int_eq(ag_error(ctx), AG_ERR_NUMBER);
    ck_assert_str_eq(ag_error_message(ctx), "first: is 1");
    ck_assert_str_eq(ag_error_op(ctx), "first");
    ag_error_clear(ctx);
    ck_assert_int_eq(ag_error(ctx), AG_OK);
    ck_assert_str_eq(ag_error_message(ctx), "");
    ag_scope_begin(ctx, "net");
    ag_scope_begin(ctx, NULL); /* without a name: no part of the path */
    ag_scope_begin(ctx, "head");
    ag_fail(ctx, AG_ERR_SHAPE, "matmul", "%s", "no");
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ck_assert_str_eq(ag_error_path(ctx), "net.head"); /* where it was, not where we are */
    ck_assert_str_eq(ag_error_message(ctx), "net.head: matmul: no");
    ag_error_clear(ctx);
    test_end(ctx);
}
END_TEST

START_TEST(long_messages_are_cut)
{
    ag_ctx *ctx = test_begin();
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ag_scope_begin(ctx, text);
    ag_scope_begin(ctx, text);
    ag_fail(ctx, AG_ERR_SHAPE, text, "%s", text);
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ck_assert_uint_lt(strlen(ag_error_message(ctx)), 1000);
    ck_assert_uint_lt(strlen(ag_error_op(ctx)), 100);
    ag_error_clear(ctx);
    test_end(ctx);
}
END_TEST

START_TEST(null_gives_null)
{
    ck_assert_int_eq(ag_ctx_free(NULL), 0);
    ck_assert_ptr_null(ag_retain(NULL));
    ag_release(NULL);
    ck_assert_ptr_null(ag_zeros(NULL, AG_F32, AG_SHAPE(2)));
}
END_TEST

/* ---- Scopes ---- */

static int64_t live_bytes(ag_ctx *ctx)
{
    ag_ctx_trim(ctx);
    return (int64_t)ag_ctx_bytes(ctx);
}

START_TEST(scopes_nest_and_release)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *outer = ag_full(ctx, AG_F32, AG_SHAPE(1000), 1);
    int64_t before = live_bytes(ctx);
    for (int i = 0; i < 3; i++) {
        ag_scope_begin(ctx, NULL);
        ag_full(ctx, AG_F32, AG_SHAPE(100000), 1);
        ag_scope_begin(ctx, "a");
        ag_full(ctx, AG_F32, AG_SHAPE(100000), 1);
        ck_assert_int_gt(live_bytes(ctx), before + 800000);
        ck_assert_ptr_eq(ag_scope_end(ctx, outer), outer); /* of a scope outside: nothing to lift */
        ck_assert_int_lt(live_bytes(ctx), before + 500000);
        ag_scope_end(ctx, NULL);
        ck_assert_int_lt(live_bytes(ctx), before + 10000);
    }
    assert_values(ag_slice(outer, 0, 0, 2, 1), 0, 1.0, 1.0);
    test_end(ctx);
}
END_TEST

START_TEST(lifting_goes_one_scope_up)
{
    ag_ctx *ctx = test_begin();
    ag_scope_begin(ctx, NULL);
    ag_scope_begin(ctx, NULL);
    ag_tensor *other = ag_full(ctx, AG_F32, AG_SHAPE(50000), 1), *t = ag_full(ctx, AG_F32, AG_SHAPE(50000), 2);
    int64_t both = live_bytes(ctx);
    ck_assert_ptr_nonnull(other);
    ck_assert_ptr_eq(ag_scope_end(ctx, t), t);
    int64_t one = live_bytes(ctx);
    ck_assert_int_lt(one, both - 190000);
    ck_assert_double_eq(test_at(t, 49999), 2);
    ag_scope_end(ctx, NULL);
    ck_assert_int_lt(live_bytes(ctx), one - 190000);
    test_end(ctx);
}
END_TEST

START_TEST(retained_tensors_outlive_scopes)
{
    ag_ctx *ctx = test_begin();
    ag_scope_begin(ctx, NULL);
    ag_tensor *t = ag_retain(ag_full(ctx, AG_F32, AG_SHAPE(3), 2));
    ag_tensor *view = ag_retain(ag_slice(t, 0, 1, 3, 1));
    ag_scope_end(ctx, NULL);
    ag_release(t); /* the view keeps the storage */
    assert_values(view, 0, 2.0, 2.0);
    ag_release(view);
    test_end(ctx);
}
END_TEST

START_TEST(what_is_still_held_is_counted)
{
    ag_ctx *ctx = test_begin();
    ag_scope_begin(ctx, "never ended");
    ag_retain(ag_zeros(ctx, AG_F32, AG_SHAPE(3)));
    ag_tensor *twice = ag_retain(ag_retain(ag_zeros(ctx, AG_F32, AG_SHAPE(3))));
    ag_retain(ag_require_grad(ag_slice(twice, 0, 0, 1, 1)));
    ag_zeros(ctx, AG_F32, AG_SHAPE(3));
    ck_assert_int_eq(ag_ctx_free(ctx), 3);
}
END_TEST

START_TEST(module_paths)
{
    ag_ctx *ctx = test_begin();
    ck_assert_str_eq(ag_module_path(ctx), "");
    ag_scope_begin(ctx, "blocks.0");
    const char *path = ag_module_path(ctx);
    ck_assert_str_eq(path, "blocks.0");
    char name[] = "attn";
    ag_scope_begin(ctx, name);
    name[0] = 'x';
    ck_assert_str_eq(ag_module_path(ctx), "blocks.0.attn");
    ag_scope_begin_at(ctx, path); /* as backward does */
    ck_assert_ptr_eq(ag_module_path(ctx), path);
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ag_scope_begin(ctx, "blocks.0");
    ck_assert_ptr_eq(ag_module_path(ctx), path); /* one text, one address */
    ag_scope_end(ctx, NULL);
    test_end(ctx);
}
END_TEST

/* A path is known by where its parts lie, and another text may lie there by then. */
START_TEST(module_paths_of_a_name_that_changes)
{
    ag_ctx *ctx = test_begin();
    char name[8];
    ag_scope_begin(ctx, "blocks");
    for (int i = 0; i < 30; i++) {
        char want[16];
        snprintf(name, sizeof name, "%d", i % 12); /* one is another's beginning */
        snprintf(want, sizeof want, "blocks.%d", i % 12);
        for (int again = 0; again < 2; again++) {
            ag_scope_begin(ctx, name);
            ck_assert_str_eq(ag_module_path(ctx), want);
            ag_scope_end(ctx, NULL);
        }
    }
    ag_scope_end(ctx, NULL);
    test_end(ctx);
}
END_TEST

START_TEST(one_end_too_many)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(3));
    ag_scope_begin(ctx, NULL);
    ck_assert_ptr_eq(ag_scope_end(ctx, t), t);
    assert_no_error(ctx);
    ck_assert_ptr_eq(ag_scope_end(ctx, t), t);
    assert_error(ctx, AG_ERR_STATE, "scope_end: there is no scope to end");
    assert_values(t, 0, 0.0, 0.0, 0.0); /* the context still owns it */
    ag_scope_begin(ctx, "again");
    ck_assert_str_eq(ag_module_path(ctx), "again");
    ag_scope_end(ctx, NULL);
    test_end(ctx);
}
END_TEST

START_TEST(scopes_by_the_thousand)
{
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < 5000; i++) {
        ag_scope_begin(ctx, NULL);
        ag_zeros(ctx, AG_F32, AG_SCALAR);
    }
    ck_assert_int_eq(ag_scope_depth(ctx), 5001);
    for (int i = 0; i < 5000; i++)
        ag_scope_end(ctx, NULL);
    ck_assert_int_eq(ag_scope_depth(ctx), 1);
    test_end(ctx);
}
END_TEST

/* ---- Instruction sets, threads ---- */

START_TEST(instruction_sets)
{
    const char *set = getenv("AG_ISA");
    char before[64] = "";
    snprintf(before, sizeof before, "%s", set == NULL ? "" : set);
    unsetenv("AG_ISA");
    static const char *const names[] = { "baseline", "reference", "x86-64-v3", "x86-64-v4" };
    for (int i = 0; i < 4; i++) {
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .isa = names[i] });
        ck_assert(ctx != NULL || i >= 2);
        if (ctx != NULL) {
            ck_assert_str_eq(ag_ctx_isa(ctx), names[i]);
            test_end(ctx);
        }
    }
    ck_assert_ptr_null(ag_ctx_new((ag_ctx_config){ .isa = "z80" }));
    ck_assert_ptr_null(ag_ctx_new((ag_ctx_config){ .isa = "" }));
    ag_ctx *best = ag_ctx_new((ag_ctx_config){ 0 });
    ck_assert_str_ne(ag_ctx_isa(best), "reference"); /* only by name */
    test_end(best);
    setenv("AG_ISA", "reference", 1);
    ag_ctx *forced = ag_ctx_new((ag_ctx_config){ 0 }), *told = ag_ctx_new((ag_ctx_config){ .isa = "baseline" });
    ck_assert_str_eq(ag_ctx_isa(forced), "reference");
    ck_assert_str_eq(ag_ctx_isa(told), "baseline"); /* the config outranks the environment */
    test_end(forced);
    test_end(told);
    setenv("AG_ISA", "pdp-11", 1);
    ck_assert_ptr_null(ag_ctx_new((ag_ctx_config){ 0 }));
    if (set == NULL) /* as it was, for the tests after this one when they share the process */
        unsetenv("AG_ISA");
    else
        setenv("AG_ISA", before, 1);
}
END_TEST

START_TEST(thread_counts)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .threads = 3 });
    ck_assert_int_eq(ag_ctx_threads(ctx), 3);
    test_end(ctx);
    ctx = ag_ctx_new((ag_ctx_config){ .threads = 20000 });
    ck_assert_int_eq(ag_ctx_threads(ctx), AG_MAX_THREADS);
    test_end(ctx);
    ctx = test_begin();
    ck_assert_int_ge(ag_ctx_threads(ctx), 1);
    test_end(ctx);
}
END_TEST

/* Fits a small network with a context of its own, and gives the losses. */
typedef struct training {
    uint64_t seed;
    int threads;
    double loss[20];
} training;

static void *train(void *argument)
{
    training *t = argument;
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = t->seed, .threads = t->threads });
    ag_tensor *w = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(32, 16)));
    ag_tensor *v = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(5, 32)));
    ag_tensor *x = ag_randn(ctx, AG_F32, AG_SHAPE(64, 16)), *target = ag_randint(ctx, 0, 5, AG_SHAPE(64));
    for (int i = 0; i < 20; i++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *h = ag_dropout(ag_gelu(ag_linear(x, w, NULL)), 0.1);
        ag_tensor *loss = ag_cross_entropy(ag_linear(h, v, NULL), target);
        ag_backward(tape, loss);
        ag_item(loss, &t->loss[i]);
        ag_tape_end(tape);
        ag_scope_begin(ctx, NULL);
        ag_copy_into(w, ag_sub(w, ag_scale(ag_grad(w), 0.1)));
        ag_copy_into(v, ag_sub(v, ag_scale(ag_grad(v), 0.1)));
        ag_scope_end(ctx, NULL);
        ag_zero_grad(w);
        ag_zero_grad(v);
    }
    if (ag_error(ctx) != AG_OK)
        t->loss[19] = -1;
    ag_ctx_free(ctx);
    return NULL;
}

START_TEST(two_threads_train_at_once)
{
    training alone[2] = { { .seed = 1, .threads = 1 }, { .seed = 2, .threads = 2 } };
    training together[2] = { { .seed = 1, .threads = 2 }, { .seed = 2, .threads = 1 } };
    for (int i = 0; i < 2; i++)
        train(&alone[i]);
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, train, &together[i]), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        for (int s = 0; s < 20; s++)
            ck_assert_double_eq(together[i].loss[s], alone[i].loss[s]); /* to the bit, for every thread count */
        ck_assert(alone[i].loss[19] > 0 && alone[i].loss[19] < 0.8 * alone[i].loss[0]);
    }
    ck_assert_double_ne(alone[0].loss[0], alone[1].loss[0]);
}
END_TEST

Suite *ctx_suite(void)
{
    Suite *suite = suite_create("ctx");
    TCase *errors = tcase_create("errors");
    tcase_add_test(errors, the_first_error_stays);
    tcase_add_test(errors, long_messages_are_cut);
    tcase_add_test(errors, null_gives_null);
    suite_add_tcase(suite, errors);
    TCase *scopes = tcase_create("scopes");
    tcase_add_test(scopes, scopes_nest_and_release);
    tcase_add_test(scopes, lifting_goes_one_scope_up);
    tcase_add_test(scopes, retained_tensors_outlive_scopes);
    tcase_add_test(scopes, what_is_still_held_is_counted);
    tcase_add_test(scopes, module_paths);
    tcase_add_test(scopes, module_paths_of_a_name_that_changes);
    tcase_add_test(scopes, one_end_too_many);
    tcase_add_test(scopes, scopes_by_the_thousand);
    suite_add_tcase(suite, scopes);
    TCase *machine = tcase_create("machine");
    tcase_add_test(machine, version_is_that_of_the_header);
    tcase_set_timeout(machine, 60);
    tcase_add_test(machine, instruction_sets);
    tcase_add_test(machine, thread_counts);
    tcase_add_test(machine, two_threads_train_at_once);
    suite_add_tcase(suite, machine);
    return suite;
}
