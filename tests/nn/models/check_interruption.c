/* SPDX-License-Identifier: MIT
 *
 * check_interruption.c - a process that is killed at its n-th system call while it saves a checkpoint, for every n: the
 * file loads afterwards, as the old one or as the new one, and the next saving succeeds. Linux alone (ptrace).
 */
#ifdef __linux__
#define _GNU_SOURCE /* before any header */
#endif
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct saved {
    ag_ctx *ctx;
    ag_linear_layer *layer;
    ag_optimizer *sgd;
} saved;

/* A layer whose parameters are all `value`, with its optimizer. */
static saved saved_of(double value)
{
    saved s = { .ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 }) };
    s.layer = ag_linear_new(s.ctx, (ag_linear_config){ .in_features = 300, .out_features = 70 });
    s.sgd = ag_sgd_new(ag_linear_module(s.layer), (ag_sgd_config){ .lr = 0.1, .momentum = 0.9 });
    for (int64_t i = 0; i < 2; i++)
        ck_assert_int_eq(ag_fill(ag_module_param(ag_linear_module(s.layer), i).tensor, value), AG_OK);
    return s;
}

static void saved_free(saved *s)
{
    ag_optimizer_free(s->sgd);
    ag_linear_free(s->layer);
    ck_assert_int_eq(ag_ctx_free(s->ctx), 0);
}

static ag_status save(const saved *s, const char *path)
{
    return ag_checkpoint_save(path, ag_linear_module(s->layer), s->sgd, NULL, 0);
}

/* Kills the child at its n-th entry to the kernel from where it stops itself. True: it was killed, false: it ended. */
static bool kill_at(pid_t child, int n)
{
    int status;
    ck_assert(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    for (int stops = 0;; stops++) { /* one stop as a call begins and one as it ends */
        if (stops == 2 * n) {
            kill(child, SIGKILL);
            ck_assert(waitpid(child, &status, 0) == child);
            return true;
        }
        ck_assert_int_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
        ck_assert(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status)) {
            ck_assert_int_eq(WEXITSTATUS(status), 0);
            return false;
        }
        ck_assert_msg(WIFSTOPPED(status), "the child was ended by signal %d", WTERMSIG(status));
    }
}

/* The value that all parameters of the file have: 1 is the old file's, 2 the new one's; 0: there is no file. */
static double loaded(const char *path)
{
    if (access(path, F_OK) != 0)
        return 0;
    saved s = saved_of(7);
    ck_assert_msg(ag_checkpoint_load(path, ag_linear_module(s.layer), s.sgd) == AG_OK, "%s", ag_error_message(s.ctx));
    double value = test_at(ag_module_param(ag_linear_module(s.layer), 0).tensor, 0);
    for (int64_t i = 0; i < 2; i++) {
        const ag_tensor *t = ag_module_param(ag_linear_module(s.layer), i).tensor;
        for (int64_t k = 0; k < ag_numel(t); k++)
            ck_assert_double_eq(test_at(t, k), value);
    }
    saved_free(&s);
    return value;
}

/* With an old file, and without. */
START_TEST(killed_at_every_call)
{
    const bool first = _i == 1;
    char folder[] = "build/interruption-XXXXXX", path[64], temporary[70];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int old = 0, new = 0;
    bool killed = true;
    for (int n = 0; killed && n < 10000; n++) {
        remove(path);
        remove(temporary);
        saved s = saved_of(1);
        if (!first)
            ck_assert_int_eq(save(&s, path), AG_OK);
        saved_free(&s);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            saved s2 = saved_of(2);
            if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
                _exit(9);
            raise(SIGSTOP);
            _exit(save(&s2, path) == AG_OK ? 0 : 1);
        }
        killed = kill_at(child, n);
        const double value = loaded(path);
        ck_assert_msg(value == 2 || value == (first ? 0 : 1), "killed at call %d: the file has %g", n, value);
        old += value != 2;
        new += value == 2;
        saved again = saved_of(2);
        ck_assert_int_eq(save(&again, path), AG_OK);
        saved_free(&again);
        ck_assert_double_eq(loaded(path), 2);
        ck_assert_msg(access(temporary, F_OK) != 0, "a temporary file is left");
    }
    ck_assert(!killed);
    ck_assert_msg(old > 3 && new > 1, "killed %d times before the file was replaced, %d times after", old, new);
    remove(path);
    rmdir(folder);
}
END_TEST
#endif

Suite *interruption_suite(void)
{
    Suite *suite = suite_create("interruption");
    TCase *tcase = tcase_create("interruption");
    tcase_set_timeout(tcase, 120);
#ifdef __linux__
    tcase_add_loop_test(tcase, killed_at_every_call, 0, 2);
#endif
    suite_add_tcase(suite, tcase);
    return suite;
}
