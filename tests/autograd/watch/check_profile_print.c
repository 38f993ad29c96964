/* SPDX-License-Identifier: MIT
 *
 * check_profile_print.c - the tables that ag_profile_print writes. The clock is a fake: each event takes 31.25 ms.
 */
#include "tests/test.h"

#include <string.h>

static int readings;

static double steady_clock(void)
{
    return 0.03125 * ++readings;
}

static ag_profile *steady_begin(ag_ctx *ctx)
{
    readings = 0;
    return ag_profile_new(ctx, steady_clock);
}

static const char *printed(const ag_profile *p)
{
    static char text[1 << 16];
    FILE *file = tmpfile();
    ck_assert_int_eq(ag_profile_print(p, file), AG_OK);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* Two steps of 10 blocks with a part each. */
START_TEST(both_tables)
{
    static const char want[] =
        "953.125 ms a step, over 2 steps (1.906 s). Times in ms a step:\n"
        "\n"
        "op                   calls    forward   backward      total    share  GFLOP/s\n"
        "mul                     10    312.500    312.500    625.000   65.6 %           #####################\n"
        "exp                      1     31.250     31.250     62.500    6.6 %           ##\n"
        "linear                   1     31.250     31.250     62.500    6.6 %      2.6  ##\n"
        "sum                      1     31.250     31.250     62.500    6.6 %           ##\n"
        "leaf                                      31.250     31.250    3.3 %           #\n"
        "all ops                 13    406.250    437.500    843.750   88.5 %      0.2\n"
        "other                    2                           62.500    6.6 %           ##\n"
        "end of tape              1                           31.250    3.3 %           #\n"
        "optimizer             0.50                           15.625    1.6 %           #\n"
        "\n"
        "module (own op)        ops    forward   backward      total    share  GFLOP/s\n"
        "(linear)                 1     31.250     31.250     62.500    6.6 %      2.6  ##\n"
        "blocks.0..9             11    343.750    343.750    687.500   72.1 %           #####################\n"
        "  even                   5    156.250    156.250    312.500   32.8 %           ##########\n"
        "  odd                    5    156.250    156.250    312.500   32.8 %           ##########\n"
        "  (exp)                  1     31.250     31.250     62.500    6.6 %           ##\n"
        "(sum)                    1     31.250     31.250     62.500    6.6 %           ##\n"
        "(leaf)                                    31.250     31.250    3.3 %           #\n";
    ag_ctx *ctx = test_begin();
    ag_tensor *x = ag_require_grad(ag_full(ctx, AG_F32, AG_SHAPE(1000, 100), 0.01));
    ag_tensor *w = ag_full(ctx, AG_F32, AG_SHAPE(400, 100), 0.01);
    ag_profile *p = steady_begin(ctx);
    for (int step = 0; step < 2; step++) {
        ag_tape *tape = ag_tape_begin(ctx);
        assert_ok(ctx, ag_profile_tape(p, tape));
        ag_tensor *y = ag_linear(x, w, NULL);
        for (int i = 0; i < 10; i++) {
            char name[16];
            snprintf(name, sizeof name, "%d", i);
            ag_scope_begin(ctx, "blocks");
            ag_scope_begin(ctx, name);
            ag_scope_begin(ctx, i % 2 == 0 ? "even" : "odd");
            y = ag_scope_end(ctx, ag_mul(y, y));
            if (i == 9)
                y = ag_exp(y);
            y = ag_scope_end(ctx, y);
            y = ag_scope_end(ctx, y);
        }
        assert_ok(ctx, ag_backward(tape, ag_sum(y, AG_ALL_DIMS, false)));
        ag_tape_end(tape);
        ag_profile_note(p, "end of tape");
    }
    ag_profile_note(p, "optimizer");
    const char *got = printed(p);
    ck_assert_msg(strcmp(got, want) == 0, "printed\n%s\nwanted\n%s", got, want);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

/* The line that begins with these words; "" when there is none. */
static const char *line_of(const char *text, const char *beginning)
{
    static char line[256];
    for (const char *at = text; *at != '\0'; at++) {
        size_t length = strcspn(at, "\n");
        ck_assert_uint_le(length, 100); /* the width of any line */
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        if (strncmp(line, beginning, strlen(beginning)) == 0)
            return line;
        at += length;
    }
    return "";
}

static void run_at(ag_ctx *ctx, const char *path, ag_tensor *x)
{
    ag_scope_begin(ctx, path);
    ag_exp(x);
    ag_scope_end(ctx, NULL);
}

static ag_tensor *two_ops(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    (void)count, (void)user;
    ag_scope_begin(ctx, "f");
    return ag_scope_end(ctx, ag_exp(ag_scale(input[0], 2)));
}

/* Numbers belong to the name before them; modules that differ in more than numbers have lines of their own. */
START_TEST(names)
{
    static const char *const paths[] = {
        "enc.0.a.7", "enc.2.a.9", "enc", "3", "5.x", "v2.0b", "v2.1b", "dec.4", "dec.x",
        "a_module_with_a_name_that_is_longer_than_the_column_can_be.and_a_part_of_it",
    };
    static const struct {
        const char *name;
        int ops;
    } lines[] = { { "enc.0..2", 2 }, { "  a.7..9", 2 }, { "enc", 1 }, { "3..5", 2 }, { "  x", 1 }, { "v2", 2 },
                  { "  0b", 1 }, { "  1b", 1 }, { "dec.4", 1 }, { "dec", 1 }, { "  (exp)", 1 } };
    ag_ctx *ctx = test_begin();
    ag_profile *p = steady_begin(ctx);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *x = LEAF(ctx, 1);
    assert_ok(ctx, ag_profile_tape(p, tape));
    for (size_t i = 0; i + 1 < sizeof paths / sizeof *paths; i++)
        run_at(ctx, paths[i], x);
    char line[64];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        snprintf(line, sizeof line, "%-18s%8d", lines[i].name, lines[i].ops);
        ck_assert_msg(*line_of(printed(p), line) != '\0', "no line '%s' in\n%s", line, printed(p));
    }
    ag_tensor *y = ag_recompute(ctx, two_ops, &x, 1, NULL);
    run_at(ctx, paths[sizeof paths / sizeof *paths - 1], x);
    assert_ok(ctx, ag_backward(tape, ag_sum(y, AG_ALL_DIMS, false)));
    snprintf(line, sizeof line, "%.28s%8d", paths[sizeof paths / sizeof *paths - 1], 1);
    ck_assert_msg(*line_of(printed(p), line) != '\0', "no line '%s' in\n%s", line, printed(p));
    ck_assert_ptr_nonnull(strstr(line_of(printed(p), "op "), "   again   "));
    ag_tape_end(tape);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

START_TEST(nothing_to_print)
{
    ag_ctx *ctx = test_begin();
    ag_profile *p = steady_begin(ctx);
    ck_assert_ptr_nonnull(strstr(printed(p), "0.000 ms a step, over 0 steps"));
    ag_profile_note(p, "only a note");
    ck_assert_ptr_nonnull(strstr(printed(p), "31.250 ms a step, over 0 steps"));
    ck_assert_str_ne(line_of(printed(p), "only a note              1                           31.250  100.0 %"), "");
    FILE *file = fopen("/dev/null", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(ag_profile_print(p, file), AG_ERR_FILE);
    assert_error(ctx, AG_ERR_FILE, "profile_print: the profile of 1 rows could not be written");
    fclose(file);
    ag_profile_free(p);
    test_end(ctx);
}
END_TEST

Suite *profile_print_suite(void)
{
    Suite *suite = suite_create("profile_print");
    TCase *all = tcase_create("all");
    tcase_add_test(all, both_tables);
    tcase_add_test(all, names);
    tcase_add_test(all, nothing_to_print);
    suite_add_tcase(suite, all);
    return suite;
}
