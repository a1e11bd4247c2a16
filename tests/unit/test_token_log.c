/* What is logged about tokens: each change once, and each warning of an end once, however the token came. */
#include "daemon/token_log.h"

#include "base/log.h"

#include <check.h>
#include <stdlib.h>

#define NOW  INT64_C(1000000000)
#define WALL INT64_C(1795370400000)
#define HOUR INT64_C(3600000)
#define DAY  (24 * HOUR)

static const struct token_store_policy policy = {.grace = 2 * HOUR, .probe_interval = 60000};
static struct token_store *store;
static struct token_log *told;
static char text[4096]; /* the messages since the last look, each with a newline */

static void keep_message(void *owner, const char *line, size_t n)
{
    static const char key[] = "\"message\":\"";
    (void)owner;
    const char *at = memmem(line, n, key, sizeof key - 1), *end = line + n - 3; /* before "}\n */
    ck_assert_ptr_nonnull(at);
    size_t used = strlen(text), length = (size_t)(end - at) - (sizeof key - 1);
    ck_assert_uint_lt(used + length + 1, sizeof text);
    memcpy(text + used, at + sizeof key - 1, length);
    memcpy(text + used + length, "\n", 2);
}

static void set_up(void)
{
    store = token_store_new(&policy);
    told = token_log_new();
    ck_assert(store != NULL && told != NULL);
    text[0] = '\0';
    log_set_sink(keep_message, NULL);
}

static void tear_down(void)
{
    log_set_sink(NULL, NULL);
    token_log_free(told);
    token_store_free(store);
}

static struct token *make(const char *secret, int64_t expires)
{
    struct token *t = token_new(secret, strlen(secret), expires);
    ck_assert_ptr_nonnull(t);
    return t;
}

/* The file now holds these, newest first; gives them up. */
static void hold(struct token *first, struct token *second)
{
    struct token *tokens[] = {first, second};
    ck_assert_int_eq(token_store_replace(store, tokens, second == NULL ? 1 : 2, NOW, WALL), PP_OK);
    token_unref(&first);
    token_unref(&second);
}

static const char *changes(void)
{
    text[0] = '\0';
    token_log_changes(told, store, "production", NOW, WALL);
    return text;
}

static const char *warnings(int64_t wall)
{
    text[0] = '\0';
    token_log_expiry(told, store, "production", wall);
    return text;
}

#define OLD "cba06b5736fa" /* fingerprint of "old" */
#define NEW "11507a0e2f5e" /* and of "new" */

START_TEST(changes_are_told_once)
{
    ck_assert_str_eq(changes(), "");
    hold(make("old", 0), NULL);
    ck_assert_str_eq(changes(), "token " OLD " is held now (untested)\ntoken " OLD " carries the traffic now\n");
    ck_assert_str_eq(changes(), "");
    hold(make("new", 0), make("old", 0));
    ck_assert_str_eq(changes(), "token " NEW " is held now (untested)\ntoken " NEW
                                " carries the traffic now, before it was " OLD "\n");
    hold(make("new", 0), NULL);
    ck_assert_str_eq(changes(),
                     "token " OLD " has left the file and is kept as a fallback until 2026-11-22T20:00:00.000Z\n");
    hold(make("new", 0), make("old", 0));
    ck_assert_str_eq(changes(), "token " OLD " is back in the file\n");
}
END_TEST

START_TEST(an_end_is_told_as_it_comes_near)
{
    hold(make("old", WALL + 30 * DAY), NULL);
    (void)changes();
    ck_assert_str_eq(warnings(WALL), "");
    ck_assert_str_eq(warnings(WALL + 23 * DAY),
                     "by its expires= token " OLD " ends in less than 7 days, and it carries the traffic: add a new "
                     "one\n");
    ck_assert_str_eq(warnings(WALL + 23 * DAY + 1), "");
    ck_assert_ptr_nonnull(strstr(warnings(WALL + 29 * DAY), "ends in less than a day"));
    ck_assert_str_eq(warnings(WALL + 28 * DAY), ""); /* the clock was set */
    ck_assert_str_eq(warnings(WALL + 29 * DAY), "");
    ck_assert_ptr_nonnull(strstr(warnings(WALL + 30 * DAY - HOUR), "ends within the hour"));
    ck_assert_ptr_nonnull(strstr(warnings(WALL + 30 * DAY), "ends now"));
    ck_assert_str_eq(warnings(WALL + 31 * DAY), "");
}
END_TEST

/* A token that comes when a mark has passed already. */
START_TEST(a_late_one_is_told_at_once)
{
    hold(make("old", 0), NULL);
    (void)changes();
    ck_assert_str_eq(warnings(WALL), "");
    hold(make("new", WALL + 2 * DAY), make("old", 0));
    (void)changes();
    ck_assert_ptr_nonnull(strstr(warnings(WALL + 1), "token " NEW " ends in less than 7 days"));
    ck_assert_str_eq(warnings(WALL + 2), "");
    hold(make("new", WALL + HOUR / 2), make("old", 0)); /* its line says something else now */
    (void)changes();
    ck_assert_ptr_nonnull(strstr(warnings(WALL + 3), "token " NEW " ends within the hour"));
    hold(make("new", WALL + 5 * DAY), make("old", 0));
    (void)changes();
    ck_assert_ptr_nonnull(strstr(warnings(WALL + 4), "token " NEW " ends in less than 7 days"));
    ck_assert_str_eq(warnings(WALL + 5), "");
}
END_TEST

static void probe(int status, const char *failure)
{
    struct token *t = make("old", 0);
    const struct probe_result result = {.status = status, .failure = failure, .detail = ""};
    token_log_probe(told, "production", t, &result);
    token_unref(&t);
}

START_TEST(trouble_with_probes_is_told_when_it_changes)
{
    probe(404, "");
    probe(0, "dns");
    probe(0, "dns");
    ck_assert_str_eq(text, "the probe of token " OLD " tells nothing: no answer (dns)\n");
    text[0] = '\0';
    probe(403, "");
    ck_assert_ptr_nonnull(strstr(text, "allowlist"));
    text[0] = '\0';
    probe(401, "");
    probe(401, "");
    ck_assert_str_eq(text, "probes are answered again\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_log");
    TCase *t = tcase_create("token_log");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, changes_are_told_once);
    tcase_add_test(t, an_end_is_told_as_it_comes_near);
    tcase_add_test(t, a_late_one_is_told_at_once);
    tcase_add_test(t, trouble_with_probes_is_told_when_it_changes);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
