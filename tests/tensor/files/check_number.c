/* SPDX-License-Identifier: MIT
 *
 * check_number.c - numbers as text and back: what C's own functions give in the "C" locale, in every locale.
 */
#include "tests/test.h"

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs in the "C" locale until c_end. */
static char outer[64];
static void c_begin(void)
{
    strcpy(outer, setlocale(LC_NUMERIC, NULL));
    setlocale(LC_NUMERIC, "C");
}
static void c_end(void)
{
    setlocale(LC_NUMERIC, outer);
}

static double any_double(ag_ctx *ctx)
{
    static const double edge[] = { 0,       -0.0,     1,       0.5,    9.5,    99.95, 1e15, 1e22,
                                   DBL_MAX, -DBL_MAX, DBL_MIN, 5e-324, FLT_MAX };
    if (ag_random(ctx) < 0.1)
        return edge[(int)(ag_random(ctx) * (sizeof edge / sizeof *edge))];
    return ldexp(2 * ag_random(ctx) - 1, (int)(ag_random(ctx) * 2000) - 1000);
}

static void formats_are_those_of_c(void)
{
    static const char *const format[] = { "%f", "%.0f", "%#.0f", "%.3f", "%12.3f|", "%-12.1e|", "%+.2E", "% g", "%G",
                                          "%#g", "%012.4f", "%+09.1e", "%-08.2f|", "%.17g", "%.9g", "%025g", "%.150f",
                                          "%1.1f", "a%%b%gc" };
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < 4000; i++) {
        char got[700], want[700];
        const char *f = format[i % (int)(sizeof format / sizeof *format)];
        double value = i < 100 ? (i % 2 ? INFINITY : -INFINITY) : any_double(ctx);
        c_begin();
        int wanted = snprintf(want, sizeof want, f, value);
        c_end();
        int length = ag_snprintf(got, sizeof got, f, value);
        ck_assert_msg(strcmp(got, want) == 0 && length == wanted, "%s of %a: '%s' [%d], want '%s' [%d]", f, value, got,
                      length, want, wanted);
    }
    test_end(ctx);
}

#define assert_text(want, ...)                                                              \
    do {                                                                                    \
        char text_[200];                                                                    \
        ck_assert_int_eq(ag_snprintf(text_, sizeof text_, __VA_ARGS__), (int)strlen(want)); \
        ck_assert_str_eq(text_, want);                                                      \
    } while (0)

static void every_kind_of_value(void)
{
    assert_text("", "%s", "");
    assert_text("-5 5 f F 17 x", "%d %i %x %X %o %c", -5, 5, 15, 15, 15, 'x');
    assert_text("-9223372036854775808 18446744073709551615", "%lld %llu", LLONG_MIN, ULLONG_MAX);
    assert_text("4294967295 -2147483648", "%u %d", UINT_MAX, INT_MIN);
    assert_text("-7 7 8 -9", "%ld %zu %ju %td", -7L, (size_t)7, (uintmax_t)8, (ptrdiff_t)-9);
    assert_text("[   42][42   ][00042][+42][0x2a]", "[%5d][%-5d][%05d][%+d][%#x]", 42, 42, 42, 42, 42);
    assert_text("[  ab][ab  ][abc][  a]", "[%4.2s][%-4.2s][%s][%3c]", "abc", "abc", "abc", 'a');
    assert_text("[  1.50][1.5   ][007]", "[%*.*f][%*.1f][%.*d]", 6, 2, 1.5, -6, 1.5, 3, 7);
    assert_text("1,5 1.5 100%", "1,5 %.1f 100%%", 1.5);
    assert_text("nan nan inf -inf [  nan]", "%f %f %g %e [%05.1f]", (double)NAN, -(double)NAN, (double)INFINITY,
                -(double)INFINITY, (double)NAN);
    char address[40];
    void *read = NULL;
    ag_snprintf(address, sizeof address, "%p", (void *)address);
    ck_assert(sscanf(address, "%p", &read) == 1 && read == address);
}

static void a_small_buffer_gets_the_beginning(void)
{
    char text[8] = "xxxxxxx";
    ck_assert_int_eq(ag_snprintf(text, 5, "ab%.2fcd", 1.25), 8);
    ck_assert_str_eq(text, "ab1.");
    ck_assert_int_eq(text[5], 'x');
    ck_assert_int_eq(ag_snprintf(text, 0, "%.3f", 0.5), 5);
    ck_assert_str_eq(text, "ab1.");
    ck_assert_int_eq(ag_snprintf(NULL, 0, "%d%s", 12, "abc"), 5);
    const char *volatile other = ""; /* volatile: the compiler would warn of these */
    ck_assert_int_eq(ag_snprintf(text, sizeof text, other, 1), 0);
    ck_assert_str_eq(text, "");
    other = "1%k2";
    ck_assert_int_lt(ag_snprintf(text, sizeof text, other, 1), 0);
    ck_assert_str_eq(text, "1");
    other = "1%";
    ck_assert_int_lt(ag_snprintf(text, sizeof text, other, 1), 0);
}

START_TEST(files_are_written)
{
    char text[64] = "";
    FILE *file = tmpfile();
    ck_assert_int_eq(ag_fprintf(file, "%s %.2f, %5d", "x", 0.25, 3), 13);
    rewind(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    ck_assert_str_eq(text, "x 0.25,     3");
    static char lengthy[5000], back[5010];
    memset(lengthy, 'y', sizeof lengthy - 1);
    for (int bytes = 995; bytes < 1005; bytes++) { /* around the buffer's size, and far beyond */
        rewind(file);
        ck_assert_int_eq(ag_fprintf(file, "%.*s%.1f", bytes, lengthy, 0.5), bytes + 3);
        rewind(file);
        ck_assert_uint_eq(fread(back, 1, (size_t)bytes + 3, file), (size_t)bytes + 3);
        ck_assert(memcmp(back, lengthy, (size_t)bytes) == 0 && memcmp(back + bytes, "0.5", 3) == 0);
    }
    rewind(file);
    ck_assert_int_eq(ag_fprintf(file, "%s", lengthy), (int)sizeof lengthy - 1);
    fclose(file);
    file = fopen("/dev/null", "r");
    if (file != NULL) {
        ck_assert_int_lt(ag_fprintf(file, "%d", 1), 0);
        fclose(file);
    }
}
END_TEST

static void numbers_are_read_as_by_c(void)
{
    static const char *const text[] = {
        "1",   "-1.5", "+.5e1", "5.",   "1e5x",     "1e",     "1e+",    "1.e-3", "12,5", "1.2.3", "-",   ".",    "",
        "e5",  "0x10", "inf",   "-INF", "infinity", "-1e999", "1e-999", "x",     "nan",  "1 2",   "0.1e", "٫5",  "1٫5",
        "123456789012345678901234567890.5", "2.2250738585072011e-308", "9007199254740993",
        "0.500000000000000166533453693773481063544750213623046875"
    };
    for (int i = 0; i < (int)(sizeof text / sizeof *text); i++) {
        char *end = NULL, *wanted_end = NULL;
        c_begin();
        double want = strtod(text[i], &wanted_end);
        c_end();
        if (strncmp(text[i], "0x", 2) == 0) { /* hexadecimal is C's alone */
            want = 0;
            wanted_end = (char *)text[i] + 1;
        }
        double got = ag_strtod(text[i], &end);
        ck_assert_msg((got == want || (isnan(got) && isnan(want))) && end == wanted_end,
                      "'%s' reads as %a, %d characters", text[i], got, (int)(end - text[i]));
        ck_assert(signbit(got) == signbit(want) || isnan(got));
    }
    char *end = NULL, blank[] = " 1", many[1100];
    ck_assert(ag_strtod(blank, &end) == 0 && end == blank);
    memset(many, '1', sizeof many);
    many[1000] = '\0';
    ck_assert(ag_strtod(many, NULL) == (double)INFINITY);
    ck_assert(ag_strtod(many, &end) == (double)INFINITY && end == many + 1000);
    many[1000] = '1';
    many[1001] = '\0';
    ck_assert(ag_strtod(many, &end) == 0 && end == many);
}

static void the_fewest_digits_read_back(void)
{
    ag_ctx *ctx = test_begin();
    for (int i = 0; i < 4000; i++) {
        char text[64];
        double value = any_double(ctx);
        int digits = ag_digits(AG_F64, value);
        ag_snprintf(text, sizeof text, "%.*g", digits, value);
        ck_assert_msg(ag_strtod(text, NULL) == value, "%a: %s", value, text);
        ag_snprintf(text, sizeof text, "%.*g", digits - 1, value);
        ck_assert_msg(digits == 1 || ag_strtod(text, NULL) != value, "%a: %s too", value, text);
        if (fabs(value) > (double)FLT_MAX)
            continue;
        float single = (float)value;
        digits = ag_digits(AG_F32, (double)single);
        ag_snprintf(text, sizeof text, "%.*g", digits, (double)single);
        ck_assert_msg((float)ag_strtod(text, NULL) == single, "%a: %s", (double)single, text);
        ag_snprintf(text, sizeof text, "%.*g", digits - 1, (double)single);
        ck_assert_msg(digits == 1 || (float)ag_strtod(text, NULL) != single, "%a: %s too", (double)single, text);
    }
    ck_assert_int_eq(ag_digits(AG_F32, (double)(float)0.1), 1);
    ck_assert_int_eq(ag_digits(AG_F64, (double)(float)0.1), 17);
    test_end(ctx);
}

static void messages_have_a_point(void)
{
    ag_ctx *ctx = test_begin();
    ag_fail(ctx, AG_ERR_NUMBER, "here", "x is %s, %s", ag_number_text(ctx, 0.25), "a, b");
    assert_error(ctx, AG_ERR_NUMBER, "here: x is 0.25, a, b");
    static const double value[] = { -1.5e-30, 3, DBL_MAX, INFINITY, -INFINITY, NAN, -NAN };
    static const char *const text[] = { "-1.5e-30", "3", "1.79769e+308", "inf", "-inf", "nan", "nan" };
    for (size_t i = 0; i < sizeof value / sizeof *value; i++)
        ck_assert_str_eq(ag_number_text(ctx, value[i]), text[i]);
    ck_assert_str_eq(ag_number_text(NULL, 1), "nan");
    test_end(ctx);
}

static void check_all(void)
{
    formats_are_those_of_c();
    every_kind_of_value();
    a_small_buffer_gets_the_beginning();
    numbers_are_read_as_by_c();
    the_fewest_digits_read_back();
    messages_have_a_point();
}

START_TEST(here)
{
    check_all();
}
END_TEST

/* Where the machine has the locale, or localedef makes it. */
static void check_in(const char *name, const char *point)
{
    if (setlocale(LC_ALL, name) == NULL || strcmp(localeconv()->decimal_point, ".") == 0) {
        fprintf(stderr, "number: no locale %s\n", name); /* musl has every name, and a point in each */
        return;
    }
#ifndef _WIN32 /* which has points of one byte */
    ck_assert_str_eq(localeconv()->decimal_point, point);
#endif
    (void)point;
    check_all();
}

static void make_locale(const char *folder, const char *name)
{
    char command[200];
    snprintf(command, sizeof command, "localedef -i %s -f UTF-8 %s/%s >/dev/null 2>&1", name, folder, name);
    if (system(command) < 0) /* not 0 after a warning too */
        fprintf(stderr, "number: no shell\n");
}

/* A comma, and a point of two bytes. */
START_TEST(in_other_locales)
{
    static const char *const name[] = { "de_DE", "ps_AF" }, *const point[] = { ",", "\xd9\xab" };
    char folder[] = "build/locale-XXXXXX", command[200], before[1024];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    strcpy(before, setlocale(LC_ALL, NULL));
    setenv("LOCPATH", folder, 1);
    for (int i = 0; i < 2; i++) {
        make_locale(folder, name[i]);
        check_in(name[i], point[i]);
        setlocale(LC_ALL, before);
    }
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert(rmdir(folder) == 0 || system(command) == 0);
}
END_TEST

Suite *number_suite(void)
{
    Suite *suite = suite_create("number");
    TCase *tests = tcase_create("number");
    tcase_set_timeout(tests, 60); /* localedef takes seconds */
    tcase_add_test(tests, here);
    tcase_add_test(tests, in_other_locales);
    tcase_add_test(tests, files_are_written);
    suite_add_tcase(suite, tests);
    return suite;
}
