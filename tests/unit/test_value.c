/* Tests of config/value: each kind of value, right and wrong. */
#include "config/value.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *text;
    enum pp_result rc;
    int64_t value;
    const char *printed; /* NULL: as given */
} durations[] = {
    {"0", PP_OK, 0, NULL},
    {"0s", PP_OK, 0, "0"},
    {"500ms", PP_OK, 500, NULL},
    {"1ms", PP_OK, 1, NULL},
    {"30s", PP_OK, 30000, NULL},
    {"90s", PP_OK, 90000, NULL},
    {"60s", PP_OK, 60000, "1m"},
    {"5m", PP_OK, 300000, NULL},
    {"24h", PP_OK, 86400000, NULL},
    {"24H", PP_OK, 86400000, "24h"},
    {"1500ms", PP_OK, 1500, NULL},
    {"3600s", PP_OK, 3600000, "1h"},
    {"007s", PP_OK, 7000, "7s"},
    {"2562047788015h", PP_OK, INT64_C(9223372036854000000), NULL},
    {"2562047788016h", PP_LIMIT, 0, NULL},
    {"9223372036854775808ms", PP_LIMIT, 0, NULL},
    {"99999999999999999999999999999999s", PP_LIMIT, 0, NULL},
    {"", PP_INVALID, 0, NULL},
    {"30", PP_INVALID, 0, NULL},
    {"00", PP_INVALID, 0, NULL},
    {"s", PP_INVALID, 0, NULL},
    {"-1s", PP_INVALID, 0, NULL},
    {"+1s", PP_INVALID, 0, NULL},
    {"1.5s", PP_INVALID, 0, NULL},
    {" 1s", PP_INVALID, 0, NULL},
    {"1 s", PP_INVALID, 0, NULL},
    {"1s ", PP_INVALID, 0, NULL},
    {"1d", PP_INVALID, 0, NULL},
    {"1sm", PP_INVALID, 0, NULL},
    {"1h30m", PP_INVALID, 0, NULL},
    {"0x10s", PP_INVALID, 0, NULL},
};

START_TEST(test_duration)
{
    char printed[VALUE_NUMBER_SIZE];
    msec value = -7;

    ck_assert_int_eq(value_duration(str_of(durations[_i].text), &value), durations[_i].rc);
    if (durations[_i].rc != PP_OK) {
        ck_assert_int_eq(value, -7);
        return;
    }
    ck_assert_int_eq(value, durations[_i].value);
    value_print_duration(value, printed);
    ck_assert_str_eq(printed, durations[_i].printed == NULL ? durations[_i].text : durations[_i].printed);
}
END_TEST

static const struct {
    const char *text;
    enum pp_result rc;
    int64_t value;
    const char *printed;
} sizes[] = {
    {"0", PP_OK, 0, NULL},
    {"1", PP_OK, 1, NULL},
    {"4096", PP_OK, 4096, "4k"},
    {"64k", PP_OK, 65536, NULL},
    {"64K", PP_OK, 65536, "64k"},
    {"1m", PP_OK, 1048576, NULL},
    {"1024k", PP_OK, 1048576, "1m"},
    {"3g", PP_OK, INT64_C(3221225472), NULL},
    {"1025", PP_OK, 1025, NULL},
    {"9223372036854775807", PP_OK, INT64_MAX, NULL},
    {"9223372036854775808", PP_LIMIT, 0, NULL},
    {"8589934592g", PP_LIMIT, 0, NULL},
    {"", PP_INVALID, 0, NULL},
    {"k", PP_INVALID, 0, NULL},
    {"-1", PP_INVALID, 0, NULL},
    {"1 k", PP_INVALID, 0, NULL},
    {"1kb", PP_INVALID, 0, NULL},
    {"1t", PP_INVALID, 0, NULL},
    {"0x10", PP_INVALID, 0, NULL},
    {"1.5m", PP_INVALID, 0, NULL},
};

START_TEST(test_size)
{
    char printed[VALUE_NUMBER_SIZE];
    int64_t value = -7;

    ck_assert_int_eq(value_size(str_of(sizes[_i].text), &value), sizes[_i].rc);
    if (sizes[_i].rc != PP_OK) {
        ck_assert_int_eq(value, -7);
        return;
    }
    ck_assert_int_eq(value, sizes[_i].value);
    value_print_size(value, printed);
    ck_assert_str_eq(printed, sizes[_i].printed == NULL ? sizes[_i].text : sizes[_i].printed);
}
END_TEST

static const struct {
    const char *text;
    int mode; /* -1: refused */
} modes[] = {
    {"0660", 0660}, {"660", 0660}, {"0777", 0777}, {"000", 0},  {"0000", 0},  {"1777", -1}, {"4755", -1}, {"66", -1},
    {"00660", -1},  {"0668", -1},  {"", -1},       {"rw-", -1}, {"-660", -1}, {" 660", -1}, {"660 ", -1},
};

START_TEST(test_mode)
{
    mode_t mode = 01234;
    enum pp_result rc = value_mode(str_of(modes[_i].text), &mode);

    ck_assert_int_eq(rc, modes[_i].mode < 0 ? PP_INVALID : PP_OK);
    ck_assert_uint_eq(mode, modes[_i].mode < 0 ? 01234u : (unsigned)modes[_i].mode);
}
END_TEST

static const struct {
    const char *text;
    enum pp_result rc;
    uint32_t id;
} accounts[] = {
    {"root", PP_OK, 0},
    {"0", PP_OK, 0},
    {"1000", PP_OK, 1000},
    {"4294967294", PP_OK, 4294967294},
    {"4294967295", PP_INVALID, 0},
    {"4294967296", PP_INVALID, 0},
    {"99999999999999999999999", PP_INVALID, 0},
    {"no-such-account-here", PP_NOT_FOUND, 0},
    {"", PP_INVALID, 0},
    {"a:b", PP_INVALID, 0},
    {"a b", PP_INVALID, 0},
    {"/etc", PP_INVALID, 0},
};

START_TEST(test_account)
{
    uint32_t user = 77, group = 77;

    ck_assert_int_eq(value_user(accounts[_i].text, &user), accounts[_i].rc);
    ck_assert_int_eq(value_group(accounts[_i].text, &group), accounts[_i].rc);
    ck_assert_uint_eq(user, accounts[_i].rc == PP_OK ? accounts[_i].id : 77);
    ck_assert_uint_eq(group, accounts[_i].rc == PP_OK ? accounts[_i].id : 77);
}
END_TEST

/* One text, the rule it is held against, and a part of the phrase; NULL: it is right. */
static const struct {
    const char *(*rule)(struct str);
    const char *text;
    const char *phrase;
} phrases[] = {
    {value_path_fault, "/etc/proofproxy/a.token", NULL},
    {value_path_fault, "", "absolute path"},
    {value_path_fault, "a.token", "absolute path"},
    {value_path_fault, "./a", "absolute path"},
    {value_path_fault, "/etc/", "not ending in"},
    {value_path_fault, "/", "not ending in"},

    {value_url_path_fault, "/", NULL},
    {value_url_path_fault, "/ws", NULL},
    {value_url_path_fault, "/widget/", NULL},
    {value_url_path_fault, "/a/b.c/~d/e=f,g:h@i!$&'()+", NULL},
    {value_url_path_fault, "/...", NULL},
    {value_url_path_fault, "/.well-known/x", NULL},
    {value_url_path_fault, "", "begins with"},
    {value_url_path_fault, "ws", "begins with"},
    {value_url_path_fault, "https://a/ws", "begins with"},
    {value_url_path_fault, "/ws?x=1", "without a query"},
    {value_url_path_fault, "/ws#x", "without a query"},
    {value_url_path_fault, "/a%2fb", "never match"},
    {value_url_path_fault, "/a;b", "never match"},
    {value_url_path_fault, "/widget/*", "wildcards"},
    {value_url_path_fault, "/a b", "RFC 3986"},
    {value_url_path_fault, "/a\\b", "RFC 3986"},
    {value_url_path_fault, "/\xc3\xa4", "RFC 3986"},
    {value_url_path_fault, "//", "empty segment"},
    {value_url_path_fault, "/a//b", "empty segment"},
    {value_url_path_fault, "/a//", "empty segment"},
    {value_url_path_fault, "/.", "segment"},
    {value_url_path_fault, "/..", "segment"},
    {value_url_path_fault, "/a/./b", "segment"},
    {value_url_path_fault, "/a/../b", "segment"},
    {value_url_path_fault, "/../", "segment"},

    {value_environment_fault, "p", NULL},
    {value_environment_fault, "Prod_2-eu", NULL},
    {value_environment_fault, "abcdefghijklmnopqrstuvwxyz012345", NULL},
    {value_environment_fault, "abcdefghijklmnopqrstuvwxyz0123456", "1 to 32"},
    {value_environment_fault, "", "1 to 32"},
    {value_environment_fault, "a.b", "1 to 32"},
    {value_environment_fault, "a*", "1 to 32"},
    {value_environment_fault, "a\"b", "1 to 32"},

    {value_credential_fault, "token", NULL},
    {value_credential_fault, "proof.production-token", NULL},
    {value_credential_fault, "", "plain file name"},
    {value_credential_fault, "..", "plain file name"},
    {value_credential_fault, ".hidden", "plain file name"},
    {value_credential_fault, "a/b", "plain file name"},

    {value_descriptor_fault, "proofproxy-production", NULL},
    {value_descriptor_fault, "", "FileDescriptorName"},
    {value_descriptor_fault, "a:b", "FileDescriptorName"},
    {value_descriptor_fault, "a b", "FileDescriptorName"},

    {value_spki_fault, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", NULL},
    {value_spki_fault, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=", "base64"}, /* 258 bits */
    {value_spki_fault, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "base64"},
    {value_spki_fault, "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=", "base64"},
    {value_spki_fault, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==", "base64"},
    {value_spki_fault, "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "base64"},
    {value_spki_fault, "", "base64"},

    {value_interface_fault, "eth0", NULL},
    {value_interface_fault, "eth0.100", NULL},
    {value_interface_fault, "192.0.2.1", NULL},
    {value_interface_fault, "2001:db8::1", NULL},
    {value_interface_fault, "an-interface-name", "interface"},
    {value_interface_fault, "if!eth0", "interface"},
    {value_interface_fault, "eth 0", "interface"},
    {value_interface_fault, "", "interface"},

    {value_retry_method_fault, "GET", NULL},
    {value_retry_method_fault, "DELETE", NULL},
    {value_retry_method_fault, "POST", "not idempotent"},
    {value_retry_method_fault, "patch", "not idempotent"},
    {value_retry_method_fault, "get", "expected methods among"},
    {value_retry_method_fault, "TRACE", "expected methods among"},
    {value_retry_method_fault, "", "expected methods among"},
};

START_TEST(test_phrase)
{
    const char *phrase = phrases[_i].rule(str_of(phrases[_i].text));

    if (phrases[_i].phrase == NULL)
        ck_assert_msg(phrase == NULL, "\"%s\" was refused: %s", phrases[_i].text, phrase);
    else
        ck_assert_msg(phrase != NULL && strstr(phrase, phrases[_i].phrase) != NULL, "\"%s\": %s", phrases[_i].text,
                      phrase == NULL ? "was accepted" : phrase);
}
END_TEST

static const struct {
    const char *line, *name, *value; /* of a right one */
    const char *phrase;              /* of a wrong one */
} headers[] = {
    {"X-Proofproxy: yes", "X-Proofproxy", "yes", NULL},
    {"X-Proofproxy:yes", "X-Proofproxy", "yes", NULL},
    {"X-Proofproxy:  a: b ", "X-Proofproxy", "a: b", NULL},
    {"x_app: 1", "x_app", "1", NULL},
    {"X-Proofproxy", NULL, NULL, "whole header line"},
    {"", NULL, NULL, "whole header line"},
    {": yes", NULL, NULL, "name before the colon"},
    {"X Proof: yes", NULL, NULL, "name before the colon"},
    {"X-Proof : yes", NULL, NULL, "name before the colon"},
    {"X-\xc3\xa4: yes", NULL, NULL, "name before the colon"},
    {"X-Proof:", NULL, NULL, "value is missing"},
    {"X-Proof: \t ", NULL, NULL, "value is missing"},
    {"X-Proof: a\tb", NULL, NULL, "visible ASCII"},
    {"X-Proof: \xc3\xa4", NULL, NULL, "visible ASCII"},
    {"Host: a", NULL, NULL, "meaning of its own"},
    {"authorization: Bearer x", NULL, NULL, "meaning of its own"},
    {"CONTENT-length: 1", NULL, NULL, "meaning of its own"},
    {"X-Forwarded-For: 1", NULL, NULL, "meaning of its own"},
    {"x_forwarded_for: 1", NULL, NULL, "meaning of its own"},
    {"Transfer_Encoding: chunked", NULL, NULL, "meaning of its own"},
    {"Sec-WebSocket-Key: x", NULL, NULL, "meaning of its own"},
    {"Connection: close", NULL, NULL, "meaning of its own"},
};

START_TEST(test_header)
{
    struct str name = STR_NONE, value = STR_NONE;
    const char *phrase = value_header_fault(str_of(headers[_i].line), &name, &value);

    if (headers[_i].phrase == NULL) {
        ck_assert_ptr_null(phrase);
        ck_assert(str_equal(name, str_of(headers[_i].name)));
        ck_assert(str_equal(value, str_of(headers[_i].value)));
    } else {
        ck_assert_ptr_null(name.p);
        ck_assert_ptr_null(value.p);
        ck_assert_msg(phrase != NULL && strstr(phrase, headers[_i].phrase) != NULL, "\"%s\": %s", headers[_i].line,
                      phrase == NULL ? "was accepted" : phrase);
    }
}
END_TEST

START_TEST(test_lengths)
{
    char text[5000];
    struct str name, value;

    memset(text, 'a', sizeof text);
    text[0] = '/';
    ck_assert_ptr_null(value_path_fault((struct str){text, 4095}));
    ck_assert_ptr_nonnull(strstr(value_path_fault((struct str){text, 4096}), "4095"));
    ck_assert_ptr_null(value_url_path_fault((struct str){text, 1024}));
    ck_assert_ptr_nonnull(strstr(value_url_path_fault((struct str){text, 1025}), "1024"));
    text[0] = 'a';
    text[64] = ':';
    ck_assert_ptr_null(value_header_fault((struct str){text, 65 + 256}, &name, &value));
    ck_assert_ptr_nonnull(strstr(value_header_fault((struct str){text, 65 + 257}, &name, &value), "256"));
    text[64] = 'a';
    text[65] = ':';
    ck_assert_ptr_nonnull(strstr(value_header_fault((struct str){text, 70}, &name, &value), "at most 64"));
    ck_assert_ptr_null(value_credential_fault((struct str){text, 64}));
    memset(text, 'a', sizeof text);
    ck_assert_ptr_null(value_credential_fault((struct str){text, 255}));
    ck_assert_ptr_nonnull(value_credential_fault((struct str){text, 256}));
    ck_assert_ptr_null(value_descriptor_fault((struct str){text, 255}));
    ck_assert_ptr_nonnull(value_descriptor_fault((struct str){text, 256}));
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("value");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, test_duration, 0, ROWS(durations));
    tcase_add_loop_test(tcase, test_size, 0, ROWS(sizes));
    tcase_add_loop_test(tcase, test_mode, 0, ROWS(modes));
    tcase_add_loop_test(tcase, test_account, 0, ROWS(accounts));
    tcase_add_loop_test(tcase, test_phrase, 0, ROWS(phrases));
    tcase_add_loop_test(tcase, test_header, 0, ROWS(headers));
    tcase_add_test(tcase, test_lengths);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
