/* Tests of the config when memory runs out: each allocation of ours fails in turn, and nothing breaks or leaks. */
#include "config/config.h"

#include <check.h>
#include <stdlib.h>

/* The linker sends our own calls here (see the Makefile), those of libraries not. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *old, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *old, size_t n);

static size_t calls, fail_at; /* the fail_at-th allocation fails; 0 = none */

static bool fails(void)
{
    return ++calls == fail_at;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *old, size_t n)
{
    return fails() ? NULL : __real_realloc(old, n);
}

static const char good[] =
    "workers = 2;\n"
    "environments = { a = {\n"
    "  base_url = \"https://api.example/v1\"; listen = [ \"127.0.0.1:1\", \"unix:/run/a\" ];\n"
    "  client_token = \"SECRET1\"; previous_client_token = \"SECRET2\";\n"
    "  allow_users = [ \"root\" ]; allow_groups = [ \"root\", \"7\" ]; unix_owner = \"root\";\n"
    "  require_header = \"X-A: b\"; allowed_hosts = [ \"a\" ]; egress = { proxy = "
    "\"http://u:p@a:1\"; };\n"
    "}; b = { base_url = \"https://b\"; listen = [ \"127.0.0.1:2\" ]; token_file = \"/t\"; }; };\n";
static const char bad[] =
    "wokers = 2;\n"
    "environments = { a = { base_url = \"http://a\"; listen = [ \"0.0.0.0:1\", \"127.0.0.1:1\" ];\n"
    "  log = 1; allow_users = [ \"no-such-account\" ]; max_body = \"x\"; }; };\n";

/* Runs with the 1st, 2nd ... allocation failing, until one run needs fewer. Returns how many runs failed. */
static size_t exhaust(const char *text, enum pp_result otherwise)
{
    for (size_t n = 1;; n++) {
        struct config_problems problems;
        struct config *config = NULL;
        config_problems_init(&problems);
        calls = 0;
        fail_at = n;
        enum pp_result rc = config_load_text(str_of(text), "f", 0100600, &config, &problems);
        bool reached = calls >= n;
        fail_at = 0;
        ck_assert_int_eq(config != NULL, rc == PP_OK);
        ck_assert_int_eq(problems.count > 0, rc != PP_OK);
        if (!reached)
            ck_assert_int_eq(rc, otherwise);
        else
            ck_assert_msg(rc == PP_NOMEM || rc == PP_INVALID, "allocation %zu: %s", n, pp_result_name(rc));
        config_unref(&config);
        config_problems_free(&problems);
        if (!reached)
            return n - 1;
    }
}

START_TEST(test_load)
{
    ck_assert_uint_gt(exhaust(good, PP_OK), 100);
    ck_assert_uint_gt(exhaust(bad, PP_INVALID), 100);
    ck_assert_uint_gt(exhaust("workers = ;", PP_INVALID), 4);
}
END_TEST

START_TEST(test_print)
{
    struct config_problems problems;
    struct config *config = NULL;
    struct buf text, other;

    config_problems_init(&problems);
    buf_init(&text, 65536);
    buf_init(&other, 65536);
    ck_assert_int_eq(config_load_text(str_of(good), "f", 0100600, &config, &problems), PP_OK);
    for (size_t n = 1;; n++) {
        calls = 0;
        fail_at = n;
        enum pp_result printed = config_print(config, &text);
        enum pp_result as_json = config_print_json(config, &other);
        enum pp_result compared = config_diff(config, config, &text, &other);
        bool reached = calls >= n;
        fail_at = 0;
        ck_assert_int_eq(reached, printed != PP_OK || as_json != PP_OK || compared != PP_OK);
        buf_free(&text);
        buf_free(&other);
        text.failed = other.failed = false;
        if (!reached)
            break;
        ck_assert_uint_lt(n, 10000);
    }
    config_unref(&config);
    config_problems_free(&problems);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_memory");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_load);
    tcase_add_test(tcase, test_print);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
