/* SPDX-License-Identifier: MIT
 *
 * check.h - as much of Check's interface as the suites use, for machines that Check is not built for: WebAssembly,
 * which has no processes, and those of cross compilers. Tests run in one process, and the first failure prints its
 * message and ends the run with status 1. Include path of these builds alone.
 */
#ifndef TESTS_STANDIN_CHECK_H
#define TESTS_STANDIN_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void check_test(int _i);
typedef struct TCase TCase;
typedef struct Suite Suite;
typedef struct SRunner SRunner;
enum print_output { CK_NORMAL };

#define START_TEST(name) static void name(int _i) { (void)_i;
#define END_TEST }

Suite *suite_create(const char *name);
TCase *tcase_create(const char *name);
void suite_add_tcase(Suite *suite, TCase *tests);
void check_add_test(TCase *tests, const char *name, check_test *run, int from, int to);
#define tcase_add_test(tests, run) check_add_test(tests, #run, run, 0, 1)
#define tcase_add_loop_test(tests, run, from, to) check_add_test(tests, #run, run, from, to)
#define tcase_add_test_raise_signal(tests, run, signal) ((void)(tests), (void)(run)) /* it would end the program */
#define tcase_set_timeout(tests, seconds) ((void)(tests))
void tcase_add_checked_fixture(TCase *tests, void (*setup)(void), void (*teardown)(void));

SRunner *srunner_create(Suite *suite);
void srunner_add_suite(SRunner *runner, Suite *suite);
void srunner_run_all(SRunner *runner, enum print_output how);
int srunner_ntests_failed(SRunner *runner);
void srunner_free(SRunner *runner);

#ifdef _WIN32
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#define setenv(name, value, overwrite) _putenv_s(name, value)
#define unsetenv(name) _putenv_s(name, "")
#endif

#ifdef __wasi__
/* POSIX, which wasi-libc lacks: creates a file whose name ends in XXXXXX under a new name. */
int mkstemp(char *path);
#endif

/* Prints where and why, and ends the program. */
#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 3, 4)))
#endif
void check_fail(const char *file, int line, const char *format, ...);

#define ck_abort_msg(...) check_fail(__FILE__, __LINE__, __VA_ARGS__)
#define ck_assert_msg(holds, ...) ((holds) ? (void)0 : check_fail(__FILE__, __LINE__, __VA_ARGS__))
#define ck_assert(holds) ck_assert_msg(holds, "%s", #holds)
#define CHECK_PAIR(a, op, b, type, format)                                                                            \
    do {                                                                                                              \
        const type check_a = (type)(a), check_b = (type)(b);                                                          \
        ck_assert_msg(check_a op check_b, "%s %s %s: " format ", " format, #a, #op, #b, check_a, check_b);            \
    } while (0)
#define CHECK_INT(a, op, b) CHECK_PAIR(a, op, b, long long, "%lld")
#define CHECK_UINT(a, op, b) CHECK_PAIR(a, op, b, unsigned long long, "%llu")
#define CHECK_DOUBLE(a, op, b) CHECK_PAIR(a, op, b, double, "%.17g")
#define ck_assert_int_eq(a, b) CHECK_INT(a, ==, b)
#define ck_assert_int_ne(a, b) CHECK_INT(a, !=, b)
#define ck_assert_int_lt(a, b) CHECK_INT(a, <, b)
#define ck_assert_int_le(a, b) CHECK_INT(a, <=, b)
#define ck_assert_int_gt(a, b) CHECK_INT(a, >, b)
#define ck_assert_int_ge(a, b) CHECK_INT(a, >=, b)
#define ck_assert_uint_eq(a, b) CHECK_UINT(a, ==, b)
#define ck_assert_uint_lt(a, b) CHECK_UINT(a, <, b)
#define ck_assert_uint_le(a, b) CHECK_UINT(a, <=, b)
#define ck_assert_uint_gt(a, b) CHECK_UINT(a, >, b)
#define ck_assert_uint_ge(a, b) CHECK_UINT(a, >=, b)
#define ck_assert_double_eq(a, b) CHECK_DOUBLE(a, ==, b)
#define ck_assert_double_ne(a, b) CHECK_DOUBLE(a, !=, b)
#define ck_assert_double_lt(a, b) CHECK_DOUBLE(a, <, b)
#define ck_assert_double_le(a, b) CHECK_DOUBLE(a, <=, b)
#define ck_assert_double_gt(a, b) CHECK_DOUBLE(a, >, b)
#define ck_assert_double_eq_tol(a, b, tol) CHECK_DOUBLE(fabs((a) - (b)), <, tol)
#define ck_assert_ptr_eq(a, b) ck_assert((const void *)(a) == (const void *)(b))
#define ck_assert_ptr_ne(a, b) ck_assert((const void *)(a) != (const void *)(b))
#define ck_assert_ptr_null(a) ck_assert((a) == NULL)
#define ck_assert_ptr_nonnull(a) ck_assert((a) != NULL)
#define CHECK_TEXT(a, b, wanted, op)                                                                                  \
    do {                                                                                                              \
        const char *check_a = a, *check_b = b;                                                                        \
        ck_assert_msg((strcmp(check_a, check_b) == 0) == (wanted), "'%s' " op " '%s'", check_a, check_b);             \
    } while (0)
#define ck_assert_str_eq(a, b) CHECK_TEXT(a, b, 1, "==")
#define ck_assert_str_ne(a, b) CHECK_TEXT(a, b, 0, "!=")
#define ck_assert_mem_eq(a, b, size) ck_assert(memcmp(a, b, size) == 0)

#endif
