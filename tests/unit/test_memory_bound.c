/* The memory bound: its sum, what each key does to it, and its sentence. */
#include "daemon/memory_bound.h"

#include <check.h>
#include <stdlib.h>

static struct environment_config environments[2] = {
    {.name = "production", .base_url = {.tls = true}, .max_body = 1 << 20, .max_inflight = 100, .max_websockets = 50},
    {.name = "sandbox", .base_url = {.tls = false}, .max_body = 1 << 20, .max_inflight = 100, .max_websockets = 50}};

static uint64_t bound_of(const struct config *c, unsigned workers, unsigned places, unsigned files)
{
    struct memory_bound b;
    uint64_t sum = 0;
    memory_bound_compute(c, workers, places, files, &b);
    for (size_t i = 0; i < MEMORY_PARTS; i++)
        sum += b.parts[i].bytes;
    ck_assert_uint_eq(sum, b.bytes);
    return b.bytes;
}

START_TEST(test_every_limit_counts)
{
    struct environment_config more = environments[0];
    struct config one = {.environments = environments, .environment_count = 1};
    struct config two = {.environments = environments, .environment_count = 2};
    struct config changed = {.environments = &more, .environment_count = 1};
    const uint64_t mib = 1 << 20;
    uint64_t base = bound_of(&one, 1, 1000, 10000);
    ck_assert_uint_gt(bound_of(&one, 2, 1000, 10000), base);
    ck_assert_uint_ge(bound_of(&one, 1, 2000, 10000), base + 1000 * 48 * 1024);
    ck_assert_uint_gt(bound_of(&two, 1, 1000, 10000), base + 100 * mib);
    more.max_body = 2 << 20;
    ck_assert_uint_ge(bound_of(&changed, 1, 1000, 10000), base + 100 * mib);
    more = environments[0];
    more.max_inflight = 200;
    ck_assert_uint_ge(bound_of(&changed, 1, 1000, 10000), base + 100 * mib);
    more = environments[0];
    more.max_websockets = 150;
    ck_assert_uint_ge(bound_of(&changed, 1, 1000, 10000), base + 100 * 64 * 1024);
    more = environments[0];
    more.base_url.tls = false;
    ck_assert_uint_lt(bound_of(&changed, 1, 1000, 10000), base);
}
END_TEST

START_TEST(test_descriptors_are_a_limit_too)
{
    struct environment_config many = environments[0];
    struct config c = {.environments = &many, .environment_count = 1};
    uint64_t before = bound_of(&c, 1, 100, 400);
    many.max_inflight = 60000; /* more than clients can be here */
    ck_assert_uint_eq(bound_of(&c, 1, 100, 400), before);
    many.max_websockets = 200; /* two descriptors each */
    before = bound_of(&c, 1, 100, 400);
    many.max_websockets = 1000000;
    ck_assert_uint_eq(bound_of(&c, 1, 100, 400), before);
}
END_TEST

START_TEST(test_the_largest_values_do_not_overflow)
{
    struct environment_config largest[LIMIT_ENVIRONMENTS];
    struct config c = {.environments = largest, .environment_count = LIMIT_ENVIRONMENTS};
    for (size_t i = 0; i < LIMIT_ENVIRONMENTS; i++) {
        largest[i] = environments[0];
        largest[i].max_body = 1 << 30;
        largest[i].max_inflight = 65536;
        largest[i].max_websockets = 1000000;
    }
    uint64_t bound = bound_of(&c, LIMIT_WORKERS, 1000000, 1000000);
    ck_assert_uint_ge(bound, (uint64_t)LIMIT_ENVIRONMENTS * 65536 << 30);
    ck_assert_uint_lt(bound, (uint64_t)1 << 60);
}
END_TEST

START_TEST(test_the_sentence_names_the_largest_part_first)
{
    struct config c = {.environments = environments, .environment_count = 1};
    struct memory_bound b;
    struct buf text;
    memory_bound_compute(&c, 1, 1000, 10000, &b);
    buf_init(&text, 2048);
    memory_bound_text(&b, &text);
    buf_append_char(&text, '\0');
    const char *said = buf_str(&text).p;
    ck_assert_ptr_nonnull(strstr(said, "at most "));
    ck_assert_ptr_nonnull(strstr(said, " bytes): requests 100 x "));
    ck_assert_ptr_nonnull(strstr(said, "(max_inflight, max_body); "));
    ck_assert_ptr_nonnull(strstr(said, "clients 1064 x "));
    buf_free(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory_bound");
    TCase *tests = tcase_create("bound");
    tcase_add_test(tests, test_every_limit_counts);
    tcase_add_test(tests, test_descriptors_are_a_limit_too);
    tcase_add_test(tests, test_the_largest_values_do_not_overflow);
    tcase_add_test(tests, test_the_sentence_names_the_largest_part_first);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
