/* One token: its name, its counters, its end. */
#include "token/token.h"

#include "base/crypto.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#define TEXT "s3cret-token-of-a-partner-000001"

START_TEST(what_it_holds)
{
    struct token *t = token_new(TEXT, strlen(TEXT), 1798761599000);
    ck_assert_ptr_nonnull(t);
    struct str a = token_authorization(t);
    ck_assert(str_equal(a, STR("Bearer " TEXT)));
    ck_assert_uint_eq(token_length(t), strlen(TEXT));
    ck_assert_int_eq(token_expires(t), 1798761599000);
    token_set_expires(t, 5);
    ck_assert_int_eq(token_expires(t), 5);
    ck_assert_str_eq(token_fingerprint(t), "78116d231309"); /* printf %s TEXT | sha256sum */
    token_unref(&t);
    ck_assert_ptr_null(t);
    token_unref(&t); /* nothing happens */
}
END_TEST

START_TEST(sizes)
{
    char *bytes = malloc(LIMIT_TOKEN_LENGTH + 1);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 'x', LIMIT_TOKEN_LENGTH + 1);
    ck_assert_ptr_null(token_new(bytes, 0, 0));
    ck_assert_ptr_null(token_new(bytes, LIMIT_TOKEN_LENGTH + 1, 0));
    struct token *t = token_new(bytes, LIMIT_TOKEN_LENGTH, 0);
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(token_length(t), LIMIT_TOKEN_LENGTH);
    token_unref(&t);
    free(bytes);
}
END_TEST

START_TEST(sameness)
{
    struct token *a = token_new("abc", 3, 0), *b = token_new("abc", 3, 9), *c = token_new("abd", 3, 0);
    struct token *d = token_new("abcd", 4, 0);
    ck_assert(a != NULL && b != NULL && c != NULL && d != NULL);
    ck_assert(token_equal(a, b) && token_identity(a) == token_identity(b));
    ck_assert(!token_equal(a, c) && token_identity(a) != token_identity(c));
    ck_assert(!token_equal(a, d));
    token_unref(&a);
    token_unref(&b);
    token_unref(&c);
    token_unref(&d);
}
END_TEST

static const struct {
    const char *hay;
    size_t at;
} finds[] = {
    {"", SIZE_MAX},     {"needl", SIZE_MAX},  {"needle", 0},        {"a needle here", 2},   {"nneedle", 1},
    {"needlneedle", 5}, {"Needle", SIZE_MAX}, {"Bearer needle", 7}, {"nee\ndle", SIZE_MAX},
};

static const struct {
    const char *hay;
    size_t n;
} beginnings[] = {
    {"", 0},    {"n", 1},       {"ne", 2},       {"a nee", 3}, {"needl", 5},   {"needle", 0},
    {"nen", 1}, {"needlen", 1}, {"needneed", 4}, {"eedl", 0},  {"nee dle", 0},
};

START_TEST(beginning)
{
    struct token *t = token_new("needle", 6, 0);
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(token_begun(t, str_of(beginnings[_i].hay)), beginnings[_i].n);
    token_unref(&t);
}
END_TEST

START_TEST(finding)
{
    struct token *t = token_new("needle", 6, 0);
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(token_find(t, str_of(finds[_i].hay)), finds[_i].at);
    token_unref(&t);
}
END_TEST

static void *hold_and_let_go(void *argument)
{
    for (int i = 0; i < 20000; i++) {
        struct token *t = token_ref(argument);
        atomic_fetch_add_explicit(&token_use(t)->requests, 1, memory_order_relaxed);
        token_unref(&t);
    }
    return NULL;
}

START_TEST(counted_by_several_threads)
{
    struct token *t = token_new(TEXT, strlen(TEXT), 0);
    ck_assert_ptr_nonnull(t);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_and_let_go, t), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&token_use(t)->requests), 80000);
    token_unref(&t);
}
END_TEST

START_TEST(wiped_by_the_last)
{
    if (secret_memory_init() != PP_OK) /* not locked is fine here, as long as the heap is there to look into */
        ck_assert(!secret_memory_locked());
    struct token *keep = token_new("keeps the heap in use", 21, 0), *t = token_new(TEXT, strlen(TEXT), 0);
    ck_assert(keep != NULL && t != NULL);
    struct token *other = token_ref(t);
    const char *secret = token_authorization(t).p;
    token_unref(&t);
    ck_assert(memcmp(secret + 7, TEXT, strlen(TEXT)) == 0); /* somebody still holds it */
    token_unref(&other);
    char after[7 + sizeof TEXT - 1], none[sizeof after] = {0};
    for (size_t i = 0; i < sizeof after; i++)
        after[i] = ((const volatile char *)secret)[i];
    ck_assert(memcmp(after + 16, none, sizeof after - 16) == 0); /* a free piece begins with two pointers */
    token_unref(&keep);
    secret_memory_fini();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token");
    TCase *t = tcase_create("token");
    tcase_add_test(t, what_it_holds);
    tcase_add_test(t, sizes);
    tcase_add_test(t, sameness);
    tcase_add_loop_test(t, finding, 0, (int)(sizeof finds / sizeof *finds));
    tcase_add_loop_test(t, beginning, 0, (int)(sizeof beginnings / sizeof *beginnings));
    tcase_add_test(t, counted_by_several_threads);
    tcase_add_test(t, wiped_by_the_last);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
