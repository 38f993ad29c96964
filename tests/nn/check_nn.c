/* SPDX-License-Identifier: MIT
 *
 * check_nn.c - see check_nn.h.
 */
#define _POSIX_C_SOURCE 200809L /* mkstemp */

#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *test_file(void)
{
    static char path[300];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/attngrad-XXXXXX", folder != NULL ? folder : "build");
    int file = mkstemp(path);
    ck_assert_msg(file >= 0, "no temporary file %s", path);
    close(file);
    return path;
}

ag_tensor *test_param(const ag_module *module, const char *name)
{
    ag_tensor *t = ag_module_find(module, name);
    ck_assert_msg(t != NULL, "there is no parameter %s", name);
    return t;
}

void test_param_list(const ag_module *module, const char *want)
{
    char list[4096] = "";
    int64_t numel = 0;
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor p = ag_module_param(module, i);
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s %s", i == 0 ? "" : "|", p.name, ag_shape_text(p.tensor));
        numel += ag_numel(p.tensor);
        ck_assert(ag_requires_grad(p.tensor));
        ck_assert_ptr_eq(ag_module_find(module, p.name), p.tensor);
        ck_assert_str_eq(ag_name(p.tensor), p.name);
    }
    ck_assert_str_eq(list, want);
    ck_assert_int_eq(ag_module_numel(module), numel);
    ck_assert_ptr_null(ag_module_param(module, -1).tensor);
    ck_assert_ptr_null(ag_module_param(module, ag_module_param_count(module)).tensor);
    ck_assert_ptr_null(ag_module_find(module, "nothing"));
}

void test_fill_params(ag_module *module, double std)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        ck_assert_int_eq(ag_fill_normal(ag_module_param(module, i).tensor, 0.1, std), AG_OK);
}

ag_ctx *test_begin_serial(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 });
    ck_assert_ptr_nonnull(ctx);
    return ctx;
}

typedef struct checked {
    test_forward *forward;
    void *layer;
    ag_tensor *x;
} checked;

static void checked_forward(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx, (void)input;
    const checked *c = user;
    output[0] = c->forward(c->layer, c->x);
}

void test_gradcheck(ag_module *module, test_forward *forward, void *layer, ag_tensor *x)
{
    if (ag_dtype_of(x) == AG_F64)
        ag_require_grad(x);
    checked c = { forward, layer, x };
    ag_gradcheck_result r = ag_module_gradcheck(module, checked_forward, &x, 1, &c, (ag_gradcheck_config){ 0 });
    ck_assert_msg(r.verdict == AG_PASS && r.checked > 0, "%s, input %d at %lld: analytic %.12g, numeric %.12g. %s",
                  ag_verdict_name(r.verdict), r.input, (long long)r.worst.index, r.worst.analytic, r.worst.numeric,
                  r.explanation);
    ck_assert_msg(r.max_error < 1e-8, "relative error %g", r.max_error);
}

void test_copy_params(ag_module *to, const ag_module *from)
{
    for (int64_t i = 0; i < ag_module_param_count(from); i++) {
        ag_tensor *t = ag_module_find(to, ag_module_param(from, i).name);
        if (t != NULL)
            ck_assert_int_eq(ag_copy_into(t, ag_module_param(from, i).tensor), AG_OK);
    }
}

int64_t test_nodes_in(const ag_tape *tape, const char *path)
{
    int64_t count = 0;
    for (int64_t i = 0; i < ag_tape_size(tape); i++)
        count += strcmp(ag_tape_node(tape, i).path, path) == 0;
    return count;
}
