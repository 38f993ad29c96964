/* SPDX-License-Identifier: MIT
 *
 * check_schedule.c - learning-rate schedules: their ends, their middle, their shape.
 */
#include "tests/test.h"

#define assert_lr(schedule, step, want) ck_assert_double_eq_tol(ag_schedule_lr(&(schedule), step), want, 1e-15)

START_TEST(warmup)
{
    for (int kind = AG_LR_CONSTANT; kind <= AG_LR_COSINE; kind++) {
        ag_schedule s = { (ag_schedule_kind)kind, 0.8, 0.1, 4, 20 };
        assert_lr(s, 0, 0.2);
        assert_lr(s, 1, 0.4);
        assert_lr(s, 3, 0.8);
        assert_lr(s, 4, 0.8);
        assert_lr(s, -5, 0.2);
    }
}
END_TEST

START_TEST(constant)
{
    ag_schedule s = { .kind = AG_LR_CONSTANT, .lr = 0.3, .min_lr = 0.1, .total_steps = 10 };
    assert_lr(s, 0, 0.3);
    assert_lr(s, 9, 0.3);
    assert_lr(s, 1000, 0.3);
}
END_TEST

START_TEST(linear)
{
    ag_schedule s = { AG_LR_LINEAR, 1.0, 0.2, 2, 11 };
    assert_lr(s, 2, 1.0);
    assert_lr(s, 6, 0.6);
    assert_lr(s, 9, 0.3);
    ck_assert_double_eq(ag_schedule_lr(&s, 10), 0.2);
    ck_assert_double_eq(ag_schedule_lr(&s, 11), 0.2);
}
END_TEST

START_TEST(cosine)
{
    ag_schedule s = { AG_LR_COSINE, 1.0, 0.2, 0, 101 };
    assert_lr(s, 0, 1.0);
    assert_lr(s, 25, 0.2 + 0.8 * (1 + sqrt(0.5)) / 2);
    assert_lr(s, 50, 0.6);
    assert_lr(s, 75, 0.2 + 0.8 * (1 - sqrt(0.5)) / 2);
    ck_assert_double_eq(ag_schedule_lr(&s, 100), 0.2);
    ck_assert_double_eq(ag_schedule_lr(&s, 5000), 0.2);
    for (int64_t step = 1; step <= 100; step++)
        ck_assert_double_lt(ag_schedule_lr(&s, step), ag_schedule_lr(&s, step - 1));
}
END_TEST

/* No step after the warm-up, one step, none: nothing divides by zero. */
START_TEST(short_runs)
{
    ag_schedule s = { AG_LR_COSINE, 1.0, 0.2, 5, 5 };
    assert_lr(s, 4, 1.0);
    assert_lr(s, 5, 0.2);
    s = (ag_schedule){ AG_LR_LINEAR, 1.0, 0.2, 0, 1 };
    assert_lr(s, 0, 0.2);
    s = (ag_schedule){ AG_LR_LINEAR, 1.0, 0.2, 0, 0 };
    assert_lr(s, 0, 0.2);
    s = (ag_schedule){ AG_LR_COSINE, 1.0, 0.2, 3, 4 };
    assert_lr(s, 2, 1.0);
    assert_lr(s, 3, 0.2);
}
END_TEST

Suite *schedule_suite(void)
{
    Suite *suite = suite_create("schedule");
    TCase *tcase = tcase_create("schedule");
    tcase_add_test(tcase, warmup);
    tcase_add_test(tcase, constant);
    tcase_add_test(tcase, linear);
    tcase_add_test(tcase, cosine);
    tcase_add_test(tcase, short_runs);
    suite_add_tcase(suite, tcase);
    return suite;
}
