/* SPDX-License-Identifier: MIT
 *
 * test.c - see test.h.
 */
#include "tests/test.h"

#include <string.h>

ag_ctx *test_begin(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    ck_assert_msg(ctx != NULL, "no context: is AG_ISA one that this machine runs?");
    return ctx;
}

void test_end(ag_ctx *ctx)
{
    assert_no_error(ctx);
    int64_t held = ag_ctx_free(ctx);
    ck_assert_msg(held == 0, "%lld tensors still held", (long long)held);
}

void test_assert_same_bits(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want)
{
    test_assert_same(file, line, what, got, want);
    size_t bytes = (size_t)ag_numel(want) * ag_dtype_size(ag_dtype_of(want));
    bool dense = ag_is_contiguous(got) && ag_is_contiguous(want);
    if (!dense || memcmp(ag_data(got), ag_data(want), bytes) != 0)
        ck_abort_msg("%s:%d: %s: %s", file, line, what, dense ? "other bits" : "not in row-major order");
}

ag_tensor *test_leaf(ag_ctx *ctx, int64_t n, const double *values)
{
    return ag_require_grad(ag_from_data(ctx, AG_F64, 1, &n, values));
}

ag_tensor *test_total(ag_tensor *x)
{
    return ag_sum(x, AG_ALL_DIMS, false);
}

/* Here and in loops over elements: no ck_assert, which writes to a file even when it holds. */
double test_at(const ag_tensor *t, int64_t i)
{
    int64_t index[AG_MAX_DIMS];
    for (int d = ag_ndim(t) - 1; d >= 0; d--) {
        index[d] = i % ag_shape(t)[d];
        i /= ag_shape(t)[d];
    }
    double value = 0;
    if (ag_get(t, index, &value) != AG_OK)
        ck_abort_msg("no element: %s", ag_error_message(ag_ctx_of(t)));
    return value;
}

double test_item(const ag_tensor *t)
{
    double value = (double)NAN;
    ck_assert_msg(t != NULL, "no tensor");
    ck_assert_int_eq(ag_item(t, &value), AG_OK);
    return value;
}

static void assert_same_kind(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want)
{
    ck_assert_msg(got != NULL && want != NULL, "%s:%d: %s: no tensor", file, line, what);
    bool same = ag_ndim(got) == ag_ndim(want) && ag_dtype_of(got) == ag_dtype_of(want);
    for (int d = 0; same && d < ag_ndim(got); d++)
        same = ag_shape(got)[d] == ag_shape(want)[d];
    ck_assert_msg(same, "%s:%d: %s is %s %s, wanted %s %s", file, line, what, ag_dtype_name(ag_dtype_of(got)),
                  ag_shape_text(got), ag_dtype_name(ag_dtype_of(want)), ag_shape_text(want));
}

void test_assert_close(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want,
                       double atol, double rtol)
{
    assert_same_kind(file, line, what, got, want);
    int64_t worst = -1, failed = 0;
    double worst_excess = 0;
    for (int64_t i = 0; i < ag_numel(got); i++) {
        double a = test_at(got, i), b = test_at(want, i);
        double excess = fabs(a - b) - (atol + rtol * fabs(b));
        if (a == b || excess <= 0)
            continue;
        failed++;
        if (worst < 0 || !(excess <= worst_excess)) {
            worst = i;
            worst_excess = excess;
        }
    }
    ck_assert_msg(failed == 0, "%s:%d: %s %s: %lld of %lld elements differ, most at %lld: %.17g, wanted %.17g", file,
                  line, what, ag_shape_text(got), (long long)failed, (long long)ag_numel(got), (long long)worst,
                  test_at(got, worst), test_at(want, worst));
}

void test_assert_same(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want)
{
    assert_same_kind(file, line, what, got, want);
    for (int64_t i = 0; i < ag_numel(got); i++) {
        double a = test_at(got, i), b = test_at(want, i);
        if (a != b && !(isnan(a) && isnan(b)))
            ck_abort_msg("%s:%d: %s %s at %lld: %.17g, wanted %.17g", file, line, what, ag_shape_text(got),
                         (long long)i, a, b);
    }
}

void test_assert_values(const char *file, int line, const char *what, const ag_tensor *t, double tol,
                        const double *want, int count)
{
    ck_assert_msg(t != NULL, "%s:%d: %s: no tensor", file, line, what);
    ck_assert_msg(ag_numel(t) == count, "%s:%d: %s %s, wanted %d elements", file, line, what, ag_shape_text(t), count);
    for (int i = 0; i < count; i++) {
        double a = test_at(t, i);
        if (a != want[i] && !(fabs(a - want[i]) <= tol) && !(isnan(a) && isnan(want[i])))
            ck_abort_msg("%s:%d: %s %s at %d: %.17g, wanted %.17g", file, line, what, ag_shape_text(t), i, a, want[i]);
    }
}

void test_assert_error(const char *file, int line, ag_ctx *ctx, ag_status status, const char *text)
{
    ck_assert_msg(ag_error(ctx) == status, "%s:%d: status %d, wanted %d; message '%s'", file, line, (int)ag_error(ctx),
                  (int)status, ag_error_message(ctx));
    ck_assert_msg(strstr(ag_error_message(ctx), text) != NULL, "%s:%d: the message is '%s', wanted '%s' in it", file,
                  line, ag_error_message(ctx), text);
    ag_error_clear(ctx);
}
