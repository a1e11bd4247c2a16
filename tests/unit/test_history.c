/* The last hour in steps of ten seconds. */
#include "daemon/history.h"

#include <check.h>
#include <stdlib.h>

#define START INT64_C(1795370400000)

static struct metrics_totals totals;
static struct history *h;
static struct history_point points[HISTORY_STEPS];

static void setup(void)
{
    totals = (struct metrics_totals){0};
    h = history_new();
    ck_assert_ptr_nonnull(h);
}

static void teardown(void)
{
    history_free(h);
}

static void requests(unsigned n, unsigned errors)
{
    totals.requests += n;
    totals.by_class[5] += errors;
    totals.total.buckets[3] += n; /* 2.5 to 5 ms */
}

START_TEST(test_empty)
{
    ck_assert_uint_eq(history_points(h, 1, points), 0);
}
END_TEST

START_TEST(test_differences_land_in_their_step)
{
    requests(10, 1);
    history_sample(h, &totals, START);
    requests(5, 0);
    totals.websockets = 7;
    history_sample(h, &totals, START + HISTORY_STEP);
    ck_assert_uint_eq(history_points(h, 1, points), HISTORY_STEPS);
    ck_assert_uint_eq(points[HISTORY_STEPS - 2].requests, 10);
    ck_assert_uint_eq(points[HISTORY_STEPS - 2].errors, 1);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].requests, 5);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].errors, 0);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].websockets, 7);
    ck_assert_int_eq(points[HISTORY_STEPS - 1].when, START + HISTORY_STEP);
    ck_assert_int_eq(points[HISTORY_STEPS - 1].p50, 3750);
    ck_assert_int_eq(points[HISTORY_STEPS - 3].p50, -1);
}
END_TEST

/* A host without a clock of its own wakes up in 1970, and learns the date later. */
START_TEST(test_the_first_hour_of_1970)
{
    for (int i = 0; i < 3; i++) {
        requests(1, 0);
        history_sample(h, &totals, i * HISTORY_STEP);
    }
    ck_assert_uint_eq(history_points(h, 1, points), HISTORY_STEPS);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].requests, 1);
    ck_assert_int_eq(points[HISTORY_STEPS - 1].when, 2 * HISTORY_STEP);
    requests(4, 0);
    history_sample(h, &totals, START);
    ck_assert_uint_eq(history_points(h, 1, points), HISTORY_STEPS);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].requests, 4);
    requests(2, 0);
    history_sample(h, &totals, HISTORY_STEP);
    ck_assert_uint_eq(history_points(h, 1, points), HISTORY_STEPS);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].requests, 2);
    ck_assert_uint_eq(points[HISTORY_STEPS - 2].requests, 0);
}
END_TEST

START_TEST(test_merging_keeps_the_sum)
{
    for (int i = 0; i < 400; i++) {
        requests(1, (unsigned)i % 2);
        history_sample(h, &totals, START + i * HISTORY_STEP);
    }
    size_t count = history_points(h, 6, points);
    uint32_t sum = 0, errors = 0;
    ck_assert_uint_eq(count, 60);
    for (size_t i = 0; i < count; i++) {
        sum += points[i].requests;
        errors += points[i].errors;
        ck_assert_int_eq(points[i].p99 > 0, 1);
    }
    ck_assert_uint_eq(sum, 360);
    ck_assert_uint_eq(errors, 180);
}
END_TEST

/* A laptop sleeps, a clock is set. */
START_TEST(test_jumps_of_the_clock)
{
    requests(3, 0);
    history_sample(h, &totals, START);
    requests(4, 0);
    history_sample(h, &totals, START - 1800000); /* a little back: the newest step takes it */
    (void)history_points(h, 1, points);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].requests, 7);
    ck_assert_int_eq(points[HISTORY_STEPS - 1].when, START);
    requests(5, 0);
    history_sample(h, &totals, START - 7200000); /* further: nothing here is of the last hour */
    ck_assert_uint_eq(history_points(h, HISTORY_STEPS / 10, points), 10);
    ck_assert_uint_eq(points[9].requests, 5);
    ck_assert_uint_eq(points[8].requests, 0);
    (void)history_points(h, 1, points);
    ck_assert_int_eq(points[HISTORY_STEPS - 1].when, START - 7200000);
    requests(2, 0);
    history_sample(h, &totals, START + INT64_C(864000000));
    (void)history_points(h, 1, points);
    uint32_t sum = 0;
    for (size_t i = 0; i < HISTORY_STEPS; i++)
        sum += points[i].requests;
    ck_assert_uint_eq(sum, 2);
    ck_assert_uint_eq(points[HISTORY_STEPS - 1].requests, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("history");
    TCase *tc = tcase_create("history");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_empty);
    tcase_add_test(tc, test_differences_land_in_their_step);
    tcase_add_test(tc, test_the_first_hour_of_1970);
    tcase_add_test(tc, test_merging_keeps_the_sum);
    tcase_add_test(tc, test_jumps_of_the_clock);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
