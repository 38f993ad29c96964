/* SPDX-License-Identifier: MIT
 *
 * check_quota.c - the processors that a control group's quota is worth, of examples/shared/quota.c, in a folder that
 * stands for /.
 */
#include "tests/test.h"

#include "examples/shared/quota.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *what, *groups;
    struct {
        const char *path, *text;
    } file[4];
    int want;
} cases[] = {
    { "no control groups", NULL, { { NULL, NULL } }, 0 },
    { "a container of version 2", "0::/\n", { { "cpu.max", "150000 100000\n" } }, 2 },
    { "exactly one processor", "0::/\n", { { "cpu.max", "100000 100000\n" } }, 1 },
    { "a part of one", "0::/\n", { { "cpu.max", "1000 100000\n" } }, 1 },
    { "no limit", "0::/a\n", { { "a/cpu.max", "max 100000\n" }, { "cpu.max", "max 100000\n" } }, 0 },
    { "the group above has less", "0::/a/b\n",
      { { "a/b/cpu.max", "800000 100000\n" }, { "a/cpu.max", "300000 100000\n" } }, 3 },
    { "the group above has more", "0::/a/b\n",
      { { "a/b/cpu.max", "200000 100000\n" }, { "a/cpu.max", "300000 100000\n" } }, 2 },
    { "version 1", "5:cpuset:/\n4:cpu,cpuacct:/a\n0::/\n",
      { { "cpu/a/cpu.cfs_quota_us", "400000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } }, 4 },
    { "version 1 without a quota", "4:cpuacct,cpu:/\n",
      { { "cpu/cpu.cfs_quota_us", "-1\n" }, { "cpu/cpu.cfs_period_us", "100000\n" } }, 0 },
    { "a container of version 1", "4:cpu:/docker/0123\n",
      { { "cpu/cpu.cfs_quota_us", "200000\n" }, { "cpu/cpu.cfs_period_us", "100000\n" } }, 2 },
    { "another controller's group", "4:cpuset:/a\n", { { "cpu/a/cpu.cfs_quota_us", "100000\n" },
                                                       { "cpu/a/cpu.cfs_period_us", "100000\n" } }, 0 },
    { "lines that are no groups", "\nx\n:\n::\n0:\n", { { "cpu.max", "x\n" } }, 0 },
    { "numbers beyond reason", "0::/\n", { { "cpu.max", "9223372036854775807 1\n" } }, 0 },
    { "a period of 0", "0::/\n", { { "cpu.max", "100000 0\n" } }, 0 },
};

/* A file below the root and all folders on its way. */
static void write_below(const char *root, const char *path, const char *text)
{
    char whole[300];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')) != NULL; *at++ = '/') {
        *at = '\0';
        mkdir(whole, 0777);
    }
    FILE *file = fopen(whole, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert(fputs(text, file) >= 0 && fclose(file) == 0);
}

START_TEST(quota_is_found)
{
    char root[] = "build/quota.XXXXXX", path[200], remove_all[100];
    ck_assert_ptr_nonnull(mkdtemp(root));
    if (cases[_i].groups != NULL)
        write_below(root, "proc/self/cgroup", cases[_i].groups);
    for (int k = 0; k < 4 && cases[_i].file[k].path != NULL; k++) {
        snprintf(path, sizeof path, "sys/fs/cgroup/%s", cases[_i].file[k].path);
        write_below(root, path, cases[_i].file[k].text);
    }
    const int got = quota_processors(root);
    snprintf(remove_all, sizeof remove_all, "rm -r %s", root);
    ck_assert_int_eq(system(remove_all), 0);
    ck_assert_msg(got == cases[_i].want, "%s: %d, wanted %d", cases[_i].what, got, cases[_i].want);
}
END_TEST

Suite *quota_suite(void)
{
    Suite *suite = suite_create("quota");
    TCase *tcase = tcase_create("quota");
    tcase_add_loop_test(tcase, quota_is_found, 0, sizeof cases / sizeof *cases);
    suite_add_tcase(suite, tcase);
    return suite;
}
