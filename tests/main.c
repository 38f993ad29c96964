/* SPDX-License-Identifier: MIT
 *
 * main.c - runs the suites: all of them, or those named on the command line.
 * Check forks for every test, so nothing here may start OpenMP's threads.
 */
#include "tests/suites.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
#define SUITE(name) { #name, name##_suite },
#include TESTS_SUITES
#undef SUITE
};
enum { SUITE_COUNT = sizeof suites / sizeof *suites };

static int usage(const char *wrong)
{
    fprintf(stderr, "there is no suite '%s'; the suites are:", wrong);
    for (int i = 0; i < SUITE_COUNT; i++)
        fprintf(stderr, " %s", suites[i].name);
    fputc('\n', stderr);
    return 2;
}

/* LLVM's OpenMP runtime loses buffers of its own when a team grows; the library's kernels allocate nothing. The leak
 * sanitizer calls these two where it is linked in. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libomp.so\n";
}
const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, ""); /* as a host program may: nothing may depend on it */
    SRunner *runner = srunner_create(NULL);
    for (int a = 1; a < argc; a++) {
        int i = 0;
        while (i < SUITE_COUNT && strcmp(argv[a], suites[i].name) != 0)
            i++;
        if (i == SUITE_COUNT)
            return usage(argv[a]);
        srunner_add_suite(runner, suites[i].make());
    }
    if (argc == 1)
        for (int i = 0; i < SUITE_COUNT; i++)
            srunner_add_suite(runner, suites[i].make());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
