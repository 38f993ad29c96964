/* SPDX-License-Identifier: MIT
 *
 * check_replace.c - a saved file takes the old one's place: its mode, its links, at once and with its data on disk.
 */
#define _POSIX_C_SOURCE 200809L

#include "tests/tensor/files/check_safetensors_file.h"

#include "tensor/files/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A path in the test's folder. */
static const char *in_folder(const char *name)
{
    static char text[4][400];
    static int next;
    next = (next + 1) % 4;
    snprintf(text[next], sizeof text[next], "%s/%s", folder, name);
    return text[next];
}

/* The folder and what a test left in it. */
static void remove_all(void)
{
    char command[400];
    snprintf(command, sizeof command, "find '%s' -mindepth 1 -delete", folder);
    ck_assert_int_eq(system(command), 0);
    remove_folder();
}

static void save(const char *to, double value)
{
    ag_ctx *ctx = test_begin();
    const ag_named_tensor x = { "x", ag_full(ctx, AG_F32, AG_SHAPE(3), value) };
    assert_ok(ctx, ag_safetensors_save(ctx, to, &x, 1, NULL, 0));
    test_end(ctx);
}

/* The value that was saved there; -1: no file. */
static double saved(const char *from)
{
    ag_ctx *ctx = test_begin();
    double value = -1;
    ag_safetensors *file = ag_safetensors_open(ctx, from);
    if (file != NULL)
        ag_get(ag_safetensors_read(file, "x"), (const int64_t[]){ 2 }, &value);
    ag_safetensors_close(file);
    test_end(ctx);
    return value;
}

static int mode_of(const char *name)
{
    struct stat about;
    return stat(name, &about) == 0 ? (int)(about.st_mode & 07777) : -1;
}

START_TEST(the_mode_stays)
{
    static const mode_t modes[] = { 0600, 0640, 0664, 0444, 0755 };
    umask(022);
    save(path, 1);
    ck_assert_int_eq(mode_of(path), 0644);
    for (int i = 0; i < 5; i++) {
        chmod(path, modes[i]);
        save(path, i);
        ck_assert_int_eq(mode_of(path), (int)modes[i]);
        ck_assert(saved(path) == i);
    }
    umask(077);
    save(in_folder("private"), 1);
    ck_assert_int_eq(mode_of(in_folder("private")), 0600);
    umask(022);
}
END_TEST

static void assert_link(const char *name)
{
    struct stat about;
    ck_assert(lstat(name, &about) == 0 && S_ISLNK(about.st_mode));
}

START_TEST(links_are_followed)
{
    ck_assert_int_eq(mkdir(in_folder("sub"), 0755), 0);
    ck_assert_int_eq(symlink("sub/real", in_folder("relative")), 0); /* dangles until it is saved through */
    save(in_folder("relative"), 1);
    assert_link(in_folder("relative"));
    ck_assert(saved(in_folder("sub/real")) == 1);
    ck_assert_int_eq(symlink("../relative", in_folder("sub/back")), 0); /* a link to a link */
    save(in_folder("sub/back"), 2);
    assert_link(in_folder("sub/back"));
    assert_link(in_folder("relative"));
    ck_assert(saved(in_folder("sub/real")) == 2);
    char here[300] = "", absolute[800];
    ck_assert(folder[0] == '/' || getcwd(here, sizeof here) != NULL);
    snprintf(absolute, sizeof absolute, "%s/%s", here, in_folder("sub/real"));
    ck_assert_int_eq(symlink(absolute, in_folder("absolute")), 0);
    save(in_folder("absolute"), 3);
    assert_link(in_folder("absolute"));
    ck_assert(saved(in_folder("sub/real")) == 3);
    ck_assert_int_ne(access(in_folder("sub/real.tmp"), F_OK), 0);
}
END_TEST

START_TEST(links_in_a_circle_and_long_paths_are_errors)
{
    ag_ctx *ctx = test_begin();
    const ag_named_tensor x = { "x", ag_zeros(ctx, AG_F32, AG_SHAPE(1)) };
    ck_assert_int_eq(symlink("b", in_folder("a")), 0);
    ck_assert_int_eq(symlink("a", in_folder("b")), 0);
    ck_assert_int_eq(ag_safetensors_save(ctx, in_folder("a"), &x, 1, NULL, 0), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "can not be created");
    assert_link(in_folder("a"));
    char lengthy[AG_PATH_BYTES + 2];
    memset(lengthy, 'x', sizeof lengthy);
    for (size_t bytes = AG_PATH_BYTES - 5; bytes <= AG_PATH_BYTES + 1; bytes++) {
        lengthy[bytes] = '\0';
        ck_assert_int_eq(ag_safetensors_save(ctx, lengthy, &x, 1, NULL, 0), AG_ERR_FILE);
        ag_error_clear(ctx);
        lengthy[bytes] = 'x';
    }
    test_end(ctx);
}
END_TEST

START_TEST(a_pipe_or_device_is_written_itself)
{
    ag_ctx *ctx = test_begin();
    const ag_named_tensor x = { "x", ag_zeros(ctx, AG_F32, AG_SHAPE(1)) };
    ck_assert_int_eq(mkfifo(in_folder("pipe"), 0600), 0);
    int reader = open(in_folder("pipe"), O_RDONLY | O_NONBLOCK);
    save(in_folder("pipe"), 5);
    struct stat about;
    ck_assert(lstat(in_folder("pipe"), &about) == 0 && S_ISFIFO(about.st_mode));
    unsigned char bytes[500];
    ck_assert_int_gt(read(reader, bytes, sizeof bytes), 20);
    close(reader);
    if (access("/dev/full", W_OK) == 0) {
        ck_assert_int_eq(ag_safetensors_save(ctx, "/dev/full", &x, 1, NULL, 0), AG_ERR_FILE);
        assert_error(ctx, AG_ERR_FILE, "/dev/full: can not be written");
        ck_assert(stat("/dev/full", &about) == 0 && S_ISCHR(about.st_mode));
    }
    test_end(ctx);
}
END_TEST

START_TEST(a_temporary_file_that_is_left_over_is_replaced)
{
    FILE *file = fopen(in_folder("model.safetensors.tmp"), "wb");
    fputs("left by a process that was killed", file);
    fclose(file);
    ck_assert_int_eq(symlink("elsewhere", in_folder("other.tmp")), 0);
    save(path, 4);
    ck_assert(saved(path) == 4);
    save(in_folder("other"), 4);
    ck_assert(saved(in_folder("other")) == 4);
    ck_assert_int_ne(access(in_folder("elsewhere"), F_OK), 0);
    ck_assert_int_ne(access(in_folder("other.tmp"), F_OK), 0);
}
END_TEST

/* ---- fsync: this program's own in the place of the C library's. It counts calls and may end the process. ---- */

static int sync_calls, sync_dies_at, sync_fails_at;
static double seen_at_first;

int fsync(int file);
int fsync(int file)
{
    (void)file;
    if (++sync_calls == 1)
        seen_at_first = access(path, F_OK) == 0 ? saved(path) : -1;
    if (sync_calls == sync_dies_at)
        _exit(9);
    errno = EIO;
    return sync_calls == sync_fails_at ? -1 : 0;
}

START_TEST(data_is_on_disk_before_the_renaming)
{
    save(path, 1);
    sync_calls = 0;
    save(path, 2);
    ck_assert_int_eq(sync_calls, 2); /* the file, then its folder */
    ck_assert(seen_at_first == 1 && saved(path) == 2);

    sync_calls = 0;
    sync_fails_at = 1;
    ag_ctx *ctx = test_begin();
    const ag_named_tensor x = { "x", ag_zeros(ctx, AG_F32, AG_SHAPE(1)) };
    ck_assert_int_eq(ag_safetensors_save(ctx, path, &x, 1, NULL, 0), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "can not be written");
    test_end(ctx);
    ck_assert(saved(path) == 2);
    ck_assert_int_ne(access(in_folder("model.safetensors.tmp"), F_OK), 0);
    sync_fails_at = 0;
}
END_TEST

START_TEST(a_killed_process_leaves_the_old_or_the_new_file)
{
    for (int at = 1; at <= 2; at++) {
        save(path, 1);
        pid_t child = fork();
        if (child == 0) {
            sync_calls = 0;
            sync_dies_at = at;
            save(path, 2);
            _exit(0);
        }
        int status;
        ck_assert(waitpid(child, &status, 0) == child && WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 9);
        ck_assert(saved(path) == at);
        save(path, 3); /* in spite of what is left */
        ck_assert(saved(path) == 3);
    }
}
END_TEST

Suite *replace_suite(void)
{
    Suite *suite = suite_create("replace");
    TCase *tests = tcase_create("replace");
    tcase_add_checked_fixture(tests, make_folder, remove_all);
    tcase_add_test(tests, the_mode_stays);
    tcase_add_test(tests, links_are_followed);
    tcase_add_test(tests, links_in_a_circle_and_long_paths_are_errors);
    tcase_add_test(tests, a_pipe_or_device_is_written_itself);
    tcase_add_test(tests, a_temporary_file_that_is_left_over_is_replaced);
    tcase_add_test(tests, data_is_on_disk_before_the_renaming);
    tcase_add_test(tests, a_killed_process_leaves_the_old_or_the_new_file);
    suite_add_tcase(suite, tests);
    return suite;
}
