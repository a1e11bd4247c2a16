/* Tests of base/token_format: what is a token, and where and why it is not. */
#include "base/token_format.h"

#include "base/limits.h"

#include <check.h>
#include <stdlib.h>

static const struct {
    struct str bytes;
    enum pp_result rc;
    size_t offset;
    const char *what; /* a part of the phrase */
} cases[] = {
    {STR("a"), PP_OK, 0, NULL},
    {STR("ct_live_0123456789abcdefXYZ-._~+/=="), PP_OK, 0, NULL},
    {STR("!#$%&'()*,:;<>?@[]^`{|}\""), PP_OK, 0, NULL},
    {STR("BearerOfNews"), PP_OK, 0, NULL},
    {STR("\"half"), PP_OK, 0, NULL},
    {STR(""), PP_INVALID, 0, "no token"},
    {{NULL, 0}, PP_INVALID, 0, "no token"},
    {STR("Bearer"), PP_INVALID, 0, "without a token behind it"},
    {STR("bEARER"), PP_INVALID, 0, "without a token behind it"},
    {STR("Bearer abc"), PP_INVALID, 0, "\"Bearer \" prefix"},
    {STR("bearer\tabc"), PP_INVALID, 0, "\"Bearer \" prefix"},
    {STR("BEARER abc"), PP_INVALID, 0, "\"Bearer \" prefix"},
    {STR("authorization: Bearer abc"), PP_INVALID, 0, "whole header line"},
    {STR("Authorization:abc"), PP_INVALID, 0, "whole header line"},
    {STR("abc def"), PP_INVALID, 3, "white space"},
    {STR("abc\tdef"), PP_INVALID, 3, "white space"},
    {STR("abc\r\ndef"), PP_INVALID, 3, "white space"},
    {STR("\x01"), PP_INVALID, 0, "control byte"},
    {STR("ab\0cd"), PP_INVALID, 2, "control byte"},
    {STR("abc\x7f"), PP_INVALID, 3, "control byte"},
    {STR("\x1b[0m"), PP_INVALID, 0, "control byte"},
    {STR("\xef\xbb\xbf"
         "abc"),
     PP_INVALID, 0, "byte order mark"},
    {STR("t\xc3\xb6ken"), PP_INVALID, 1, "outside ASCII"},
    {STR("abc\xff"), PP_INVALID, 3, "outside ASCII"},
    {STR("\"abc\""), PP_INVALID, 0, "quotes"},
    {STR("'abc'"), PP_INVALID, 0, "quotes"},
    {STR("'"), PP_INVALID, 0, "quotes"},
};

START_TEST(test_check)
{
    size_t offset = 77;
    const char *what = NULL;
    enum pp_result rc = token_format_check(cases[_i].bytes, &offset, &what);

    ck_assert_int_eq(rc, cases[_i].rc);
    if (rc == PP_OK) {
        ck_assert_uint_eq(offset, 77);
        ck_assert_ptr_null(what);
        return;
    }
    ck_assert_uint_eq(offset, cases[_i].offset);
    ck_assert_msg(strstr(what, cases[_i].what) != NULL, "\"%s\" lacks \"%s\"", what, cases[_i].what);
}
END_TEST

START_TEST(test_length)
{
    static char long_token[LIMIT_TOKEN_LENGTH + 1];
    size_t offset = 0;
    const char *what = NULL;

    memset(long_token, 'x', sizeof long_token);
    ck_assert_int_eq(token_format_check((struct str){long_token, LIMIT_TOKEN_LENGTH}, &offset, &what), PP_OK);
    ck_assert_int_eq(token_format_check((struct str){long_token, LIMIT_TOKEN_LENGTH + 1}, &offset, &what), PP_INVALID);
    ck_assert_uint_eq(offset, LIMIT_TOKEN_LENGTH);
    ck_assert_ptr_nonnull(strstr(what, "4096"));
}
END_TEST

static const struct {
    struct str in;
    const char *out;
} trims[] = {
    {STR(""), ""},         {STR(" \t\r\n\v\f"), ""},      {STR("abc"), "abc"},
    {STR("abc\n"), "abc"}, {STR("\r\n abc \r\n"), "abc"}, {STR(" a b "), "a b"},
};

START_TEST(test_trim)
{
    ck_assert(str_equal(token_format_trim(trims[_i].in), str_of(trims[_i].out)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_format");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, test_check, 0, (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(tcase, test_length);
    tcase_add_loop_test(tcase, test_trim, 0, (int)(sizeof trims / sizeof trims[0]));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
