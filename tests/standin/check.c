/* SPDX-License-Identifier: MIT
 *
 * check.c - see check.h.
 */
#include <check.h>

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

enum { MOST_TESTS = 64, MOST_SUITES = 128 };

struct TCase {
    struct {
        const char *name;
        check_test *run;
        int from, to;
    } test[MOST_TESTS];
    int count;
    void (*setup)(void), (*teardown)(void);
};

struct Suite {
    const char *name;
    TCase *tests[MOST_TESTS];
    int count;
};

struct SRunner {
    Suite *suite[MOST_SUITES];
    int count;
};

static const char *running = ""; /* the test, for check_fail */

static void *check_new(size_t size)
{
    void *made = calloc(1, size);
    if (made == NULL)
        abort();
    return made;
}

Suite *suite_create(const char *name)
{
    Suite *suite = check_new(sizeof *suite);
    suite->name = name;
    return suite;
}

TCase *tcase_create(const char *name)
{
    (void)name;
    return check_new(sizeof(TCase));
}

void suite_add_tcase(Suite *suite, TCase *tests)
{
    if (suite->count == MOST_TESTS)
        abort();
    suite->tests[suite->count++] = tests;
}

void check_add_test(TCase *tests, const char *name, check_test *run, int from, int to)
{
    if (tests->count == MOST_TESTS)
        abort();
    const int i = tests->count++;
    tests->test[i].name = name;
    tests->test[i].run = run;
    tests->test[i].from = from;
    tests->test[i].to = to;
}

void tcase_add_checked_fixture(TCase *tests, void (*setup)(void), void (*teardown)(void))
{
    tests->setup = setup;
    tests->teardown = teardown;
}

SRunner *srunner_create(Suite *suite)
{
    SRunner *runner = check_new(sizeof *runner);
    if (suite != NULL)
        srunner_add_suite(runner, suite);
    return runner;
}

void srunner_add_suite(SRunner *runner, Suite *suite)
{
    if (runner->count == MOST_SUITES)
        abort();
    runner->suite[runner->count++] = suite;
}

static int run_case(const TCase *tests)
{
    int count = 0;
    for (int t = 0; t < tests->count; t++)
        for (int i = tests->test[t].from; i < tests->test[t].to; i++, count++) {
            running = tests->test[t].name;
            if (tests->setup != NULL)
                tests->setup();
            tests->test[t].run(i);
            if (tests->teardown != NULL)
                tests->teardown();
        }
    return count;
}

void srunner_run_all(SRunner *runner, enum print_output how)
{
    (void)how;
    int count = 0;
    for (int s = 0; s < runner->count; s++)
        for (int c = 0; c < runner->suite[s]->count; c++)
            count += run_case(runner->suite[s]->tests[c]);
    printf("100%%: Checks: %d, Failures: 0, Errors: 0\n", count);
}

int srunner_ntests_failed(SRunner *runner)
{
    (void)runner;
    return 0; /* a failure has ended the program */
}

void srunner_free(SRunner *runner)
{
    for (int s = 0; s < runner->count; s++) {
        for (int c = 0; c < runner->suite[s]->count; c++)
            free(runner->suite[s]->tests[c]);
        free(runner->suite[s]);
    }
    free(runner);
}

void check_fail(const char *file, int line, const char *format, ...)
{
    va_list values;
    fprintf(stderr, "%s:%d: %s: ", file, line, running);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

#ifdef __wasi__
int mkstemp(char *path)
{
    static unsigned made = 0;
    char *end = path + strlen(path) - 6;
    do
        snprintf(end, 7, "%06u", made++);
    while (access(path, F_OK) == 0);
    return open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
}

/* Of the standard library, which wasi-libc declares and does not have. */
FILE *tmpfile(void)
{
    char path[] = "build/tmpfile-XXXXXX";
    const int file = mkstemp(path);
    FILE *opened = file < 0 ? NULL : fdopen(file, "w+");
    if (file >= 0)
        unlink(path);
    return opened;
}
#endif
