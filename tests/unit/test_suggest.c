/* Tests of base/suggest: distances, and which slips are close enough to ask about. */
#include "base/suggest.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

static const struct {
    const char *a, *b;
    size_t distance;
} distances[] = {
    {"", "", 0},
    {"abc", "", 3},
    {"", "abc", 3},
    {"workers", "workers", 0},
    {"Workers", "workers", 0},
    {"drain-timeout", "drain_timeout", 0},
    {"worker", "workers", 1},
    {"wokrers", "workers", 1},
    {"w0rkers", "workers", 1},
    {"kitten", "sitting", 3},
    {"ab", "ba", 1},
    {"abcd", "badc", 2},
    {"0123456789012345678901234567890123456789012345678901234567890123", "x", SIZE_MAX},
};

START_TEST(test_distance)
{
    ck_assert_uint_eq(suggest_distance(distances[_i].a, distances[_i].b), distances[_i].distance);
    ck_assert_uint_eq(suggest_distance(distances[_i].b, distances[_i].a), distances[_i].distance);
}
END_TEST

static const struct {
    const char *given, *expected; /* NULL: no suggestion */
} offers[] = {
    {"token_flie", "token_file"},
    {"tokenfile", "token_file"},
    {"listen_", "listen"},
    {"lisen", "listen"},
    {"colour", NULL},
    {"x", NULL},
    {"ls", NULL},
    {"Token-File", "token_file"},
    {"listed", "listen"},
    {"websocket_retire_dalya", "websocket_retire_delay"},
    {"websocket_retire_abcde", NULL},
};

START_TEST(test_offer)
{
    static const char *const names[] = {"listen", "token_file", "linger", "websocket_retire_delay"};
    struct suggestion best = {0};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        suggest_offer(&best, offers[_i].given, names[i]);
    if (offers[_i].expected == NULL)
        ck_assert_ptr_null(best.name);
    else
        ck_assert_pstr_eq(best.name, offers[_i].expected);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("suggest");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, test_distance, 0, (int)(sizeof distances / sizeof distances[0]));
    tcase_add_loop_test(tcase, test_offer, 0, (int)(sizeof offers / sizeof offers[0]));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
