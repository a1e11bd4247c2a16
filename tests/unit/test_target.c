/* http/target: what passes, what does not and why, and which paths an environment allows. */
#include "base/limits.h"
#include "http/target.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static const struct str allowed[] = {STR("/widget/"), STR("/ws")};

static const struct {
    struct str raw;
    enum target_verdict verdict;
} rows[] = {
    /* allowed */
    {STR("/widget/"), TARGET_OK},
    {STR("/widget/session"), TARGET_OK},
    {STR("/widget/session/"), TARGET_OK},
    {STR("/widget/transactions/8d7f0e5e-1111-2222-3333-444455556666"), TARGET_OK},
    {STR("/widget/users/a%40b.example/kyc-status"), TARGET_OK},
    {STR("/widget/users/a@b.example/kyc-status"), TARGET_OK},
    {STR("/widget/a-b._~!$&'()*+,=:@c"), TARGET_OK},
    {STR("/widget/%20"), TARGET_OK},
    {STR("/widget/%C3%A9"), TARGET_OK},
    {STR("/widget/%c2%80"), TARGET_OK},
    {STR("/widget/%df%bf%e0%a0%80%f0%90%80%80"), TARGET_OK},
    {STR("/widget/%e2%82%ac"), TARGET_OK},
    {STR("/widget/%F0%9F%92%B8"), TARGET_OK},
    {STR("/widget/%ed%9f%bf%ee%80%80"), TARGET_OK},
    {STR("/widget/%F4%8F%BF%BF"), TARGET_OK},
    {STR("/widget/.hidden"), TARGET_OK},
    {STR("/widget/..."), TARGET_OK},
    {STR("/widget/..a"), TARGET_OK},
    {STR("/widget/a.."), TARGET_OK},
    {STR("/widget/a./b"), TARGET_OK},
    {STR("/ws"), TARGET_OK},
    {STR("/ws?tx_id=1"), TARGET_OK},
    {STR("/ws?"), TARGET_OK},
    {STR("/ws?a=b&c=d;e=/?:@f%20g%2fh%2Fi%25j%2e%2E..//"), TARGET_OK},
    {STR("/ws?a[]=1&b[c]=2"), TARGET_OK},
    {STR("/ws?%0d%0a%c0%ae"), TARGET_OK},
    /* well formed, not allowed */
    {STR("/"), TARGET_NOT_ALLOWED},
    {STR("/widget"), TARGET_NOT_ALLOWED},
    {STR("/widget?/widget/"), TARGET_NOT_ALLOWED},
    {STR("/Widget/"), TARGET_NOT_ALLOWED},
    {STR("/widgets/a"), TARGET_NOT_ALLOWED},
    {STR("/ws/"), TARGET_NOT_ALLOWED},
    {STR("/ws/a"), TARGET_NOT_ALLOWED},
    {STR("/wsx"), TARGET_NOT_ALLOWED},
    {STR("/w"), TARGET_NOT_ALLOWED},
    {STR("/%77s"), TARGET_NOT_ALLOWED},
    {STR("/x/widget/a"), TARGET_NOT_ALLOWED},
    {STR("/admin"), TARGET_NOT_ALLOWED},
    /* not origin form */
    {STR(""), TARGET_NOT_ORIGIN_FORM},
    {STR("*"), TARGET_NOT_ORIGIN_FORM},
    {STR("widget/a"), TARGET_NOT_ORIGIN_FORM},
    {STR("?a"), TARGET_NOT_ORIGIN_FORM},
    {STR(" /ws"), TARGET_NOT_ORIGIN_FORM},
    {STR("http://localhost/ws"), TARGET_NOT_ORIGIN_FORM},
    {STR("https://api.example/widget/a"), TARGET_NOT_ORIGIN_FORM},
    {STR("localhost:80"), TARGET_NOT_ORIGIN_FORM},
    {STR("\\ws"), TARGET_NOT_ORIGIN_FORM},
    {STR("%2fws"), TARGET_NOT_ORIGIN_FORM},
    {STR("\0/ws"), TARGET_NOT_ORIGIN_FORM},
    /* bytes */
    {STR("/widget/a b"), TARGET_BAD_BYTE},
    {STR("/widget/a\tb"), TARGET_BAD_BYTE},
    {STR("/widget/a\0b"), TARGET_BAD_BYTE},
    {STR("/widget/a\r\nb"), TARGET_BAD_BYTE},
    {STR("/widget/\n"), TARGET_BAD_BYTE},
    {STR("/widget/\x01"), TARGET_BAD_BYTE},
    {STR("/widget/\x7f"), TARGET_BAD_BYTE},
    {STR("/widget/\x80"), TARGET_BAD_BYTE},
    {STR("/widget/\xc3\xa9"), TARGET_BAD_BYTE},
    {STR("/widget/\xff"), TARGET_BAD_BYTE},
    {STR("/widget/\"a\""), TARGET_BAD_BYTE},
    {STR("/widget/<a"), TARGET_BAD_BYTE},
    {STR("/widget/a>"), TARGET_BAD_BYTE},
    {STR("/widget/\\a"), TARGET_BAD_BYTE},
    {STR("/widget/..\\..\\a"), TARGET_BAD_BYTE},
    {STR("/widget/^"), TARGET_BAD_BYTE},
    {STR("/widget/`a`"), TARGET_BAD_BYTE},
    {STR("/widget/{a}"), TARGET_BAD_BYTE},
    {STR("/widget/|"), TARGET_BAD_BYTE},
    {STR("/widget/[a"), TARGET_BAD_BYTE},
    {STR("/widget/a]"), TARGET_BAD_BYTE},
    {STR("/widget/#a"), TARGET_BAD_BYTE},
    {STR("/ws#a"), TARGET_BAD_BYTE},
    {STR("/ws?a b"), TARGET_BAD_BYTE},
    {STR("/ws?a\0"), TARGET_BAD_BYTE},
    {STR("/ws?a\r"), TARGET_BAD_BYTE},
    {STR("/ws?a\x1f"), TARGET_BAD_BYTE},
    {STR("/ws?a\xe9"), TARGET_BAD_BYTE},
    {STR("/ws?a#b"), TARGET_BAD_BYTE},
    {STR("/ws?<script>"), TARGET_BAD_BYTE},
    {STR("/ws?a=\"b\""), TARGET_BAD_BYTE},
    {STR("/ws?a\\b"), TARGET_BAD_BYTE},
    {STR("/ws?{}"), TARGET_BAD_BYTE},
    {STR("/ws?a|b"), TARGET_BAD_BYTE},
    {STR("/ws?a^b"), TARGET_BAD_BYTE},
    {STR("/ws?a`b"), TARGET_BAD_BYTE},
    /* escapes */
    {STR("/widget/%"), TARGET_BAD_ESCAPE},
    {STR("/widget/%2"), TARGET_BAD_ESCAPE},
    {STR("/widget/%g0"), TARGET_BAD_ESCAPE},
    {STR("/widget/%0g"), TARGET_BAD_ESCAPE},
    {STR("/widget/%u002f"), TARGET_BAD_ESCAPE},
    {STR("/widget/% 20"), TARGET_BAD_ESCAPE},
    {STR("/widget/%+1"), TARGET_BAD_ESCAPE},
    {STR("/widget/%2?f"), TARGET_BAD_ESCAPE},
    {STR("/widget/%%32f"), TARGET_BAD_ESCAPE},
    {STR("/widget/%00"), TARGET_BAD_ESCAPE},
    {STR("/widget/a%00b"), TARGET_BAD_ESCAPE},
    {STR("/widget/%0d%0aHost:%20x"), TARGET_BAD_ESCAPE},
    {STR("/widget/%0A"), TARGET_BAD_ESCAPE},
    {STR("/widget/%09"), TARGET_BAD_ESCAPE},
    {STR("/widget/%1f"), TARGET_BAD_ESCAPE},
    {STR("/widget/%7F"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c0%af"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c0%ae%c0%ae/"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c1%9c"), TARGET_BAD_ESCAPE},
    {STR("/widget/%e0%80%af"), TARGET_BAD_ESCAPE},
    {STR("/widget/%f0%80%80%af"), TARGET_BAD_ESCAPE},
    {STR("/widget/%f8%80%80%80%af"), TARGET_BAD_ESCAPE},
    {STR("/widget/%ed%a0%80"), TARGET_BAD_ESCAPE},
    {STR("/widget/%f4%90%80%80"), TARGET_BAD_ESCAPE},
    {STR("/widget/%ff"), TARGET_BAD_ESCAPE},
    {STR("/widget/%80"), TARGET_BAD_ESCAPE},
    {STR("/widget/%80%80"), TARGET_BAD_ESCAPE},
    {STR("/widget/%bf%bf"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c1%81"), TARGET_BAD_ESCAPE},
    {STR("/widget/%f5%80%80%80"), TARGET_BAD_ESCAPE},
    {STR("/widget/%g0%90%80%80"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3a%a9"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3%c3%a9"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3/"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3a"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3?%a9"), TARGET_BAD_ESCAPE},
    {STR("/widget/%c3%41"), TARGET_BAD_ESCAPE},
    {STR("/widget/%e2%82"), TARGET_BAD_ESCAPE},
    {STR("/ws?%"), TARGET_BAD_ESCAPE},
    {STR("/ws?%2"), TARGET_BAD_ESCAPE},
    {STR("/ws?%zz"), TARGET_BAD_ESCAPE},
    {STR("/ws?%z1"), TARGET_BAD_ESCAPE},
    {STR("/ws?%1z"), TARGET_BAD_ESCAPE},
    {STR("/ws?%20%zz"), TARGET_BAD_ESCAPE},
    {STR("/ws?%20 "), TARGET_BAD_BYTE},
    {STR("/ws?a=%00"), TARGET_BAD_ESCAPE},
    {STR("/ws?a=%00b"), TARGET_BAD_ESCAPE},
    /* dot segments */
    {STR("/."), TARGET_DOT_SEGMENT},
    {STR("/.."), TARGET_DOT_SEGMENT},
    {STR("/./ws"), TARGET_DOT_SEGMENT},
    {STR("/../ws"), TARGET_DOT_SEGMENT},
    {STR("/widget/."), TARGET_DOT_SEGMENT},
    {STR("/widget/.."), TARGET_DOT_SEGMENT},
    {STR("/widget/../admin"), TARGET_DOT_SEGMENT},
    {STR("/widget/a/../b"), TARGET_DOT_SEGMENT},
    {STR("/widget/..?x"), TARGET_DOT_SEGMENT},
    {STR("/widget/..;/admin"), TARGET_DOT_SEGMENT},
    {STR("/widget/.;a/b"), TARGET_DOT_SEGMENT},
    {STR("/widget/%2e%2e/admin"), TARGET_DOT_SEGMENT},
    {STR("/widget/%2E%2E/admin"), TARGET_DOT_SEGMENT},
    {STR("/widget/.%2e/admin"), TARGET_DOT_SEGMENT},
    {STR("/widget/%2e./admin"), TARGET_DOT_SEGMENT},
    {STR("/widget/%2e"), TARGET_DOT_SEGMENT},
    {STR("/widget/a%2eb"), TARGET_DOT_SEGMENT},
    /* slashes */
    {STR("/widget/%2f"), TARGET_ENCODED_SLASH},
    {STR("/widget/%2F..%2Fadmin"), TARGET_ENCODED_SLASH},
    {STR("/widget/%5c"), TARGET_ENCODED_SLASH},
    {STR("/widget/..%5Cadmin"), TARGET_ENCODED_SLASH},
    {STR("/widget%2f.."), TARGET_ENCODED_SLASH},
    {STR("//"), TARGET_DOUBLE_SLASH},
    {STR("//ws"), TARGET_DOUBLE_SLASH},
    {STR("//evil.example/ws"), TARGET_DOUBLE_SLASH},
    {STR("/widget//"), TARGET_DOUBLE_SLASH},
    {STR("/widget//a"), TARGET_DOUBLE_SLASH},
    {STR("/widget/a//?b"), TARGET_DOUBLE_SLASH},
    /* nested escapes */
    {STR("/widget/%252e%252e/"), TARGET_NESTED_ESCAPE},
    {STR("/widget/%25"), TARGET_NESTED_ESCAPE},
    {STR("/widget/%2500"), TARGET_NESTED_ESCAPE},
    /* parameters */
    {STR("/widget/a;b"), TARGET_PARAMETER},
    {STR("/widget/;"), TARGET_PARAMETER},
    {STR("/widget;/a"), TARGET_PARAMETER},
    {STR("/ws;a=b"), TARGET_PARAMETER},
    {STR("/widget/...;/a"), TARGET_PARAMETER},
    {STR("/widget/a%3bb"), TARGET_PARAMETER},
    {STR("/widget/a%3B"), TARGET_PARAMETER},
};

/* A copy without room behind it: a sanitizer build sees every byte read too far. */
static enum target_verdict check_copy(struct str raw, struct target *out, char **copy)
{
    *copy = malloc(raw.n == 0 ? 1 : raw.n);
    ck_assert_ptr_nonnull(*copy);
    memcpy(*copy, raw.p, raw.n);
    return target_check((struct str){*copy, raw.n}, allowed, 2, out);
}

START_TEST(verdicts)
{
    struct target out = {0};
    char *copy;
    enum target_verdict verdict = check_copy(rows[_i].raw, &out, &copy);
    ck_assert_msg(verdict == rows[_i].verdict, "row %d: %d, expected %d", _i, verdict, rows[_i].verdict);
    if (verdict == TARGET_OK || verdict == TARGET_NOT_ALLOWED) {
        ck_assert_ptr_eq(out.raw.p, copy);
        ck_assert_uint_eq(out.raw.n, rows[_i].raw.n);
        ck_assert_ptr_eq(out.path.p, copy);
        const char *mark = memchr(copy, '?', out.raw.n);
        ck_assert_uint_eq(out.path.n, mark == NULL ? out.raw.n : (size_t)(mark - copy));
        ck_assert((out.query.p == NULL) == (mark == NULL));
        if (mark != NULL) {
            ck_assert_ptr_eq(out.query.p, mark + 1);
            ck_assert_uint_eq(out.query.n, out.raw.n - out.path.n - 1);
        }
    } else {
        ck_assert_ptr_null(out.raw.p);
    }
    free(copy);
}
END_TEST

/* Whatever byte stands in a path or a query, plain or as an escape, gets the verdict of its class. */
START_TEST(every_byte)
{
    for (int c = 0; c < 256; c++) {
        char path[] = "/widget/aXb", query[] = "/ws?aXb", hex[16];
        path[9] = query[5] = (char)c;
        struct target out;
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool path_fine = alnum || c == '?' || c == '/' || (c != 0 && strchr("-._~!$&'()*+,=:@", c) != NULL);
        bool query_fine = alnum || (c != 0 && strchr("-._~!$&'()*+,;=:@/?[]", c) != NULL);
        ck_assert_msg((target_check(STR(path), allowed, 2, &out) == TARGET_OK) == path_fine, "path %02x", c);
        ck_assert_msg((target_check(STR(query), allowed, 2, &out) == TARGET_OK) == query_fine, "query %02x", c);

        snprintf(hex, sizeof hex, "/widget/a%%%02x", c);
        bool escape_fine = c >= 0x20 && c < 0x7f && strchr("/\\.%;", c) == NULL;
        ck_assert_msg((target_check(str_of(hex), allowed, 2, &out) == TARGET_OK) == escape_fine, "escape %02x", c);
        snprintf(hex, sizeof hex, "/ws?%%%02X", c);
        ck_assert_msg((target_check(str_of(hex), allowed, 2, &out) == TARGET_OK) == (c != 0), "query %%%02x", c);
    }
}
END_TEST

START_TEST(length)
{
    char *long_target = malloc(LIMIT_TARGET + 1);
    ck_assert_ptr_nonnull(long_target);
    memset(long_target, 'a', LIMIT_TARGET + 1);
    memcpy(long_target, "/widget/", 8);
    struct target out;
    ck_assert_int_eq(target_check((struct str){long_target, LIMIT_TARGET}, allowed, 2, &out), TARGET_OK);
    ck_assert_int_eq(target_check((struct str){long_target, LIMIT_TARGET + 1}, allowed, 2, &out), TARGET_TOO_LONG);
    free(long_target);
}
END_TEST

START_TEST(rules)
{
    struct target out;
    ck_assert_int_eq(target_check(STR("/ws"), NULL, 0, &out), TARGET_NOT_ALLOWED);
    const struct str everything = STR("/"), empty = STR(""), exact = STR("/v1/ws");
    ck_assert_int_eq(target_check(STR("/any/thing"), &everything, 1, &out), TARGET_OK);
    ck_assert_int_eq(target_check(STR("/"), &everything, 1, &out), TARGET_OK);
    ck_assert_int_eq(target_check(STR("/../"), &everything, 1, &out), TARGET_DOT_SEGMENT);
    ck_assert_int_eq(target_check(STR("/ws"), &empty, 1, &out), TARGET_NOT_ALLOWED);
    ck_assert_int_eq(target_check(STR("/v1/ws"), &exact, 1, &out), TARGET_OK);
    ck_assert_int_eq(target_check(STR("/v1/ws/"), &exact, 1, &out), TARGET_NOT_ALLOWED);
    ck_assert_int_eq(target_check(STR("/v1/w"), &exact, 1, &out), TARGET_NOT_ALLOWED);
}
END_TEST

START_TEST(every_verdict_has_a_text)
{
    for (int v = TARGET_OK; v <= TARGET_NOT_ALLOWED; v++) {
        const char *text = target_verdict_text((enum target_verdict)v);
        ck_assert_ptr_nonnull(text);
        for (int w = TARGET_OK; w < v; w++)
            ck_assert_str_ne(text, target_verdict_text((enum target_verdict)w));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target");
    TCase *tests = tcase_create("target");
    tcase_add_loop_test(tests, verdicts, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(tests, every_byte);
    tcase_add_test(tests, length);
    tcase_add_test(tests, rules);
    tcase_add_test(tests, every_verdict_has_a_text);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
