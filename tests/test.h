/* SPDX-License-Identifier: MIT
 *
 * test.h - what the test suites share. Include it first: it wraps Check's header.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include "attngrad.h"
#include "tests/suites.h"

#include <math.h>

/* Whether a tensor may have more than 2^31 bytes; a test that counts them is for such machines. */
enum { WIDE_SIZES = PTRDIFF_MAX > INT32_MAX };

/* A context for one test, seed 1; and its end, which asserts that no tensor is still held. */
ag_ctx *test_begin(void);
void test_end(ag_ctx *ctx);

/* |got - want| <= atol + rtol |want| for every element, shapes and dtypes equal. A NaN on one side only, or on
 * both, fails. Reports the worst index and both values. */
#define assert_close(got, want, atol, rtol) test_assert_close(__FILE__, __LINE__, #got, got, want, atol, rtol)
void test_assert_close(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want,
                       double atol, double rtol);

/* Every element equal as a number, bit for bit but for the sign of zero; NaN equals NaN. */
#define assert_same(got, want) test_assert_same(__FILE__, __LINE__, #got, got, want)
void test_assert_same(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want);

/* Elements against a list: assert_values(t, 1e-6, 1.0, 2.0, 3.0). */
#define assert_values(t, tol, ...)                                                       \
    test_assert_values(__FILE__, __LINE__, #t, t, tol, (const double[]){ __VA_ARGS__ },   \
                       (int)(sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double)))
void test_assert_values(const char *file, int line, const char *what, const ag_tensor *t, double tol,
                        const double *want, int count);

/* The context has this error, whose message contains `text`. Clears it. */
#define assert_error(ctx, status, text) test_assert_error(__FILE__, __LINE__, ctx, status, text)
void test_assert_error(const char *file, int line, ag_ctx *ctx, ag_status status, const char *text);

/* The context has no error. */
#define assert_no_error(ctx) ck_assert_msg(ag_error(ctx) == AG_OK, "%s", ag_error_message(ctx))

/* The same dtype and bits, both in row-major order. */
#define assert_same_bits(got, want) test_assert_same_bits(__FILE__, __LINE__, #got, got, want)
void test_assert_same_bits(const char *file, int line, const char *what, const ag_tensor *got, const ag_tensor *want);

/* A status that must be AG_OK, else the context's message. */
#define assert_ok(ctx, status) ck_assert_msg((status) == AG_OK, "%s", ag_error_message(ctx))

/* A float64 leaf [n]: LEAF(ctx, 1, 2, 3). */
#define LEAF(ctx, ...)                                                                    \
    test_leaf(ctx, (int64_t)(sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double)),    \
              (const double[]){ __VA_ARGS__ })
ag_tensor *test_leaf(ag_ctx *ctx, int64_t n, const double *values);

/* The sum of all elements, recorded: a loss. */
ag_tensor *test_total(ag_tensor *x);

/* Element i in row-major order, and the value of a tensor of one element. */
double test_at(const ag_tensor *t, int64_t i);
double test_item(const ag_tensor *t);

#endif
