/* Tests of base/clock: wall time as text, and what is read once per tick. */
#include "base/clock.h"

#include <check.h>
#include <stdlib.h>

static const struct {
    int64_t wall;
    const char *text;
} times[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {1, "1970-01-01T00:00:00.001Z"},
    {999, "1970-01-01T00:00:00.999Z"},
    {1000, "1970-01-01T00:00:01.000Z"},
    {951782399999, "2000-02-28T23:59:59.999Z"},
    {951782400000, "2000-02-29T00:00:00.000Z"},
    {1795366200123, "2026-11-22T16:50:00.123Z"},
    {253402300799999, "9999-12-31T23:59:59.999Z"},
    {253402300800000, "invalid-time"},
    {-1, "invalid-time"},
    {INT64_MIN, "invalid-time"},
    {INT64_MAX, "invalid-time"},
};
#define TIMES (sizeof times / sizeof times[0])

/* Each after each other one: the text of a second is kept, and must not outlive it. */
START_TEST(test_text)
{
    char text[25];
    for (size_t before = 0; before < TIMES; before++) {
        clock_format_wall(times[before].wall, text);
        clock_format_wall(times[_i].wall, text);
        ck_assert_str_eq(text, times[_i].text);
        clock_format_wall(times[_i].wall, text);
        ck_assert_str_eq(text, times[_i].text);
    }
}
END_TEST

START_TEST(test_wall_of_a_tick)
{
    ck_assert_int_gt(clock_wall_now(), 1700000000000); /* on a thread that never ticked: the real time */
    clock_fake(1000, 5000);
    ck_assert_int_eq(clock_wall_now(), 6000);
    clock_fake(1001, 9000);
    ck_assert_int_eq(clock_wall_now(), 10001);
    clock_fake(-1, 0);
    int64_t first = clock_wall_now();
    ck_assert_int_gt(first, 1700000000000);
    while (clock_wall() == first)
        continue;
    ck_assert_int_eq(clock_wall_now(), first);
    (void)clock_tick();
    ck_assert_int_gt(clock_wall_now(), first);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clock");
    TCase *t = tcase_create("clock");
    tcase_add_loop_test(t, test_text, 0, (int)TIMES);
    tcase_add_test(t, test_wall_of_a_tick);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
