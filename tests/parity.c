/* SPDX-License-Identifier: MIT
 *
 * parity.c - reading fixtures and comparing with them.
 */
#include "tests/parity.h"

#include <stdlib.h>
#include <string.h>

/* "first/second", which must fit. */
static void join(char path[PARITY_NAME], const char *first, const char *second)
{
    int length = snprintf(path, PARITY_NAME, "%s/%s", first, second);
    ck_assert_msg(length > 0 && length < PARITY_NAME, "%s/%s is too long a name", first, second);
}

static parity opened(ag_ctx *ctx, const char *file, const char *name, int dtype_index)
{
    char path[PARITY_NAME];
    snprintf(path, sizeof path, "%s/%s.safetensors", AG_FIXTURES, file);
    parity p = { .ctx = ctx, .name = name, .dtype = dtype_index == 0 ? AG_F64 : AG_F32 };
    p.file = ag_safetensors_open(ctx, path);
    ck_assert_msg(p.file != NULL, "%s (tests run from the project's root)", ag_error_message(ctx));
    return p;
}

parity parity_begin(const char *file, const char *name, int dtype_index)
{
    return opened(test_begin(), file, name, dtype_index);
}

bool parity_begin_on(parity *p, int table, const char *file, const char *name, int dtype_index)
{
    static const char *const isas[PARITY_TABLES] = { "reference", "baseline", "x86-64-v3", "x86-64-v4" };
    const char *wanted = getenv("AG_ISA");
    if (wanted != NULL && strcmp(wanted, isas[table]) != 0)
        return false;
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .isa = isas[table] });
    if (ctx != NULL)
        *p = opened(ctx, file, name, dtype_index);
    return ctx != NULL;
}

void parity_end(parity *p)
{
    ag_safetensors_close(p->file);
    test_end(p->ctx);
}

bool parity_has(const parity *p, const char *tensor)
{
    char name[PARITY_NAME];
    join(name, p->name, tensor);
    return ag_safetensors_has(p->file, name);
}

ag_tensor *parity_stored(const parity *p, const char *tensor)
{
    char name[PARITY_NAME];
    join(name, p->name, tensor);
    ag_tensor *t = ag_safetensors_read(p->file, name);
    ck_assert_msg(t != NULL, "%s", ag_error_message(p->ctx));
    return t;
}

ag_tensor *parity_given(const parity *p, const char *tensor)
{
    ag_tensor *t = parity_stored(p, tensor);
    return ag_dtype_of(t) == AG_F64 ? ag_tensor_cast(t, p->dtype) : t;
}

ag_tensor *parity_leaf(const parity *p, const char *tensor)
{
    return ag_require_grad(parity_given(p, tensor));
}

/* |got - want| <= tolerance * max(1, |want|). Infinities of one sign are equal; NaN fails. */
static bool near(double got, double want, double tolerance)
{
    return got == want || (isfinite(want) && fabs(got - want) <= tolerance * fmax(1, fabs(want)));
}

void parity_expect_tensor(const parity *p, const char *what, const ag_tensor *got, const ag_tensor *want)
{
    const char *dtype = ag_dtype_name(p->dtype);
    assert_no_error(p->ctx);
    ck_assert_msg(got != NULL, "%s %s: %s: no tensor", p->name, dtype, what);
    bool same = ag_dtype_of(got) == p->dtype && ag_ndim(got) == ag_ndim(want);
    for (int d = 0; same && d < ag_ndim(got); d++)
        same = ag_shape(got)[d] == ag_shape(want)[d];
    ck_assert_msg(same, "%s %s: %s is %s %s, PyTorch has %s", p->name, dtype, what, ag_dtype_name(ag_dtype_of(got)),
                  ag_shape_text(got), ag_shape_text(want));

    double tolerance = p->dtype == AG_F64 ? 1e-10 : 1e-5;
    for (int64_t i = 0; i < ag_numel(got); i++) {
        double a = test_at(got, i), b = test_at(want, i);
        ck_assert_msg(near(a, b, tolerance), "%s %s: %s %s at %lld: %.17g, PyTorch has %.17g", p->name, dtype, what,
                      ag_shape_text(got), (long long)i, a, b);
    }
}

void parity_expect(const parity *p, const char *tensor, const ag_tensor *got)
{
    parity_expect_tensor(p, tensor, got, parity_stored(p, tensor));
}

void parity_expect_grad(const parity *p, const char *tensor, const ag_tensor *leaf)
{
    char name[PARITY_NAME];
    join(name, "grad", tensor);
    parity_expect(p, name, ag_grad(leaf));
}

int64_t parity_count(const char *file, const char *suffix)
{
    parity p = parity_begin(file, "", 0);
    int64_t count = 0;
    for (int64_t i = 0; i < ag_safetensors_count(p.file); i++) {
        const char *slash = strchr(ag_safetensors_name(p.file, i), '/');
        count += slash != NULL && strcmp(slash, suffix) == 0;
    }
    parity_end(&p);
    return count;
}

void parity_load_params(const parity *p, ag_module *module)
{
    assert_no_error(p->ctx);
    int64_t in_file = 0;
    char prefix[PARITY_NAME];
    join(prefix, p->name, "grad/");
    for (int64_t i = 0; i < ag_safetensors_count(p->file); i++) {
        const char *name = ag_safetensors_name(p->file, i);
        in_file += strncmp(name, prefix, strlen(prefix)) == 0 && name[strlen(prefix)] != 'x';
    }
    ck_assert_msg(ag_module_param_count(module) == in_file, "%s: the layer has %lld parameters, PyTorch has %lld",
                  p->name, (long long)ag_module_param_count(module), (long long)in_file);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor param = ag_module_param(module, i);
        ag_tensor *value = parity_stored(p, param.name);
        ck_assert_msg(ag_numel(value) == ag_numel(param.tensor), "%s: %s is %s, PyTorch has %s", p->name, param.name,
                      ag_shape_text(param.tensor), ag_shape_text(value));
        ck_assert_int_eq(ag_copy_into(param.tensor, value), AG_OK);
    }
}

void parity_expect_param_grads(const parity *p, ag_module *module)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor param = ag_module_param(module, i);
        parity_expect_grad(p, param.name, param.tensor);
    }
}
