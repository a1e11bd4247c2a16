/* Tests of config/address: listeners, URLs, proxies, hosts and origins, and which of them meet. */
#include "config/address.h"

#include <check.h>
#include <stdlib.h>

static struct memory memory;

static void teardown(void)
{
    memory_release(&memory);
}

static const struct {
    const char *text;
    enum listen_kind kind;
    const char *value; /* host, path or name */
    unsigned port;
    bool loopback;
    const char *fault; /* of a wrong one; the rest is unused then */
} listeners[] = {
    {"127.0.0.1:8780", LISTEN_TCP, "127.0.0.1", 8780, true, NULL},
    {"127.9.8.7:1", LISTEN_TCP, "127.9.8.7", 1, true, NULL},
    {"[::1]:65535", LISTEN_TCP, "::1", 65535, true, NULL},
    {"localhost:80", LISTEN_TCP, "127.0.0.1", 80, true, NULL},
    {"LocalHost:80", LISTEN_TCP, "127.0.0.1", 80, true, NULL},
    {"0.0.0.0:8780", LISTEN_TCP, "0.0.0.0", 8780, false, NULL},
    {"[::]:8780", LISTEN_TCP, "::", 8780, false, NULL},
    {"192.0.2.1:443", LISTEN_TCP, "192.0.2.1", 443, false, NULL},
    {"unix:/run/proofproxy/app.sock", LISTEN_UNIX, "/run/proofproxy/app.sock", 0, false, NULL},
    {"unix:/a:b", LISTEN_UNIX, "/a:b", 0, false, NULL},
    {"systemd:proofproxy-production", LISTEN_SYSTEMD, "proofproxy-production", 0, false, NULL},
    {"", LISTEN_TCP, NULL, 0, false, "expected an address"},
    {"8780", LISTEN_TCP, NULL, 0, false, "HOST:PORT"},
    {":8780", LISTEN_TCP, NULL, 0, false, "expected an address"},
    {"*:8780", LISTEN_TCP, NULL, 0, false, "0.0.0.0"},
    {"127.0.0.1", LISTEN_TCP, NULL, 0, false, "HOST:PORT"},
    {"127.0.0.1:", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.0.0.1:0", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.0.0.1:65536", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.0.0.1:80x", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.0.0.1:-80", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.0.0.1: 80", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.0.0.1:999999999999", LISTEN_TCP, NULL, 0, false, "port from 1"},
    {"127.1:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"127.0.0.01:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"127.0.0.256:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"2130706433:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"proof.example:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"::1:8780", LISTEN_TCP, NULL, 0, false, "needs brackets"},
    {"[::1:8780", LISTEN_TCP, NULL, 0, false, "not closed"},
    {"[::1]8780", LISTEN_TCP, NULL, 0, false, "colon and a port"},
    {"[::1]", LISTEN_TCP, NULL, 0, false, "HOST:PORT"},
    {"[]:80", LISTEN_TCP, NULL, 0, false, "expected an address"},
    {"[127.0.0.1]:80", LISTEN_TCP, NULL, 0, false, "brackets are for IPv6"},
    {"[localhost]:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"[fe80::1%eth0]:80", LISTEN_TCP, NULL, 0, false, "not looked up"},
    {"[::ffff:127.0.0.1]:80", LISTEN_TCP, NULL, 0, false, "::ffff:"},
    {"http://127.0.0.1:80", LISTEN_TCP, NULL, 0, false, "needs brackets"},
    {"unix:", LISTEN_UNIX, NULL, 0, false, "absolute path"},
    {"unix:/", LISTEN_UNIX, NULL, 0, false, "absolute path"},
    {"unix:run/x", LISTEN_UNIX, NULL, 0, false, "absolute path"},
    {"unix:@abstract", LISTEN_UNIX, NULL, 0, false, "absolute path"},
    {"unix:/run/x/", LISTEN_UNIX, NULL, 0, false, "absolute path"},
    {"unix:/2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
     LISTEN_UNIX,
     "/2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567", 0,
     false, NULL},
    {"unix:/"
     "23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678",
     LISTEN_UNIX, NULL, 0, false, "107 bytes"},
    {"systemd:", LISTEN_SYSTEMD, NULL, 0, false, "FileDescriptorName"},
    {"systemd:a:b", LISTEN_SYSTEMD, NULL, 0, false, "FileDescriptorName"},
};

START_TEST(test_listen)
{
    struct listen_address address = {.port = 7};
    const char *fault = NULL;
    enum pp_result rc = address_parse_listen(&memory, str_of(listeners[_i].text), &address, &fault);

    if (listeners[_i].fault != NULL) {
        ck_assert_int_eq(rc, PP_INVALID);
        ck_assert_msg(strstr(fault, listeners[_i].fault) != NULL, "\"%s\": %s", listeners[_i].text, fault);
        ck_assert_uint_eq(address.port, 7);
        return;
    }
    ck_assert_msg(rc == PP_OK, "\"%s\": %s", listeners[_i].text, fault);
    ck_assert_int_eq(address.kind, listeners[_i].kind);
    ck_assert_str_eq(address.text, listeners[_i].text);
    ck_assert_pstr_eq(address.kind == LISTEN_TCP    ? address.host
                      : address.kind == LISTEN_UNIX ? address.path
                                                    : address.name,
                      listeners[_i].value);
    ck_assert_uint_eq(address.port, listeners[_i].port);
    ck_assert_int_eq(address.loopback, listeners[_i].loopback);
}
END_TEST

static const struct {
    const char *text;
    bool tls;
    const char *host;
    unsigned port;
    const char *authority, *prefix;
    const char *fault;
} urls[] = {
    {"https://api.example", true, "api.example", 443, "api.example", "", NULL},
    {"https://api.example/", true, "api.example", 443, "api.example", "", NULL},
    {"HTTPS://API.Example:443", true, "api.example", 443, "api.example", "", NULL},
    {"https://api.example:8443/v1/", true, "api.example", 8443, "api.example:8443", "/v1", NULL},
    {"https://a_b.example/x/y", true, "a_b.example", 443, "a_b.example", "/x/y", NULL},
    {"https://192.0.2.1", true, "192.0.2.1", 443, "192.0.2.1", "", NULL},
    {"https://[2001:DB8::1]:8443", true, "2001:db8::1", 8443, "[2001:db8::1]:8443", "", NULL},
    {"https://[::1]", true, "::1", 443, "[::1]", "", NULL},
    {"http://127.0.0.1:9000", false, "127.0.0.1", 9000, "127.0.0.1:9000", "", NULL},
    {"http://127.1.2.3", false, "127.1.2.3", 80, "127.1.2.3", "", NULL},
    {"http://localhost:80", false, "localhost", 80, "localhost", "", NULL},
    {"http://[::1]:81", false, "::1", 81, "[::1]:81", "", NULL},
    {"", false, NULL, 0, NULL, NULL, "expected https://"},
    {"api.example", false, NULL, 0, NULL, NULL, "expected https://"},
    {"ftp://api.example", false, NULL, 0, NULL, NULL, "expected https://"},
    {"https:/api.example", false, NULL, 0, NULL, NULL, "expected https://"},
    {"https://", false, NULL, 0, NULL, NULL, "host is missing"},
    {"https:///x", false, NULL, 0, NULL, NULL, "host is missing"},
    {"https://:443", false, NULL, 0, NULL, NULL, "host is missing"},
    {"http://api.example", false, NULL, 0, NULL, NULL, "loopback"},
    {"http://192.0.2.1", false, NULL, 0, NULL, NULL, "loopback"},
    {"http://0.0.0.0:80", false, NULL, 0, NULL, NULL, "loopback"},
    {"http://localhost.evil.example", false, NULL, 0, NULL, NULL, "loopback"},
    {"http://127.0.0.1.evil.example", false, NULL, 0, NULL, NULL, "loopback"},
    {"http://127.1", false, NULL, 0, NULL, NULL, "four numbers"},
    {"https://2130706433", false, NULL, 0, NULL, NULL, "four numbers"},
    {"https://0x7f000001", false, NULL, 0, NULL, NULL, "four numbers"},
    {"https://127.0.0.1.", false, NULL, 0, NULL, NULL, "final dot"},
    {"https://[::ffff:127.0.0.1]", false, NULL, 0, NULL, NULL, "::ffff:"},
    {"https://user@api.example", false, NULL, 0, NULL, NULL, "no user or password"},
    {"https://u:p@api.example", false, NULL, 0, NULL, NULL, "no user or password"},
    {"https://api.example?x", false, NULL, 0, NULL, NULL, "query or fragment"},
    {"https://api.example/#x", false, NULL, 0, NULL, NULL, "query or fragment"},
    {"https://api.example:0", false, NULL, 0, NULL, NULL, "port from 1"},
    {"https://api.example:", false, NULL, 0, NULL, NULL, "port from 1"},
    {"https://api.example:99999", false, NULL, 0, NULL, NULL, "port from 1"},
    {"https://api..example", false, NULL, 0, NULL, NULL, "labels"},
    {"https://-api.example", false, NULL, 0, NULL, NULL, "labels"},
    {"https://api example", false, NULL, 0, NULL, NULL, "host name"},
    {"https://api.example\\x", false, NULL, 0, NULL, NULL, "host name"},
    {"https://b\xc3\xbc.example", false, NULL, 0, NULL, NULL, "host name"},
    {"https://::1", false, NULL, 0, NULL, NULL, "needs brackets"},
    {"https://api.example/a/../b", false, NULL, 0, NULL, NULL, "segment"},
    {"https://api.example/a//", false, NULL, 0, NULL, NULL, "empty segment"},
    {"https://api.example/a%2fb", false, NULL, 0, NULL, NULL, "never match"},
};

START_TEST(test_base_url)
{
    struct base_url url = {0};
    const char *fault = NULL;
    enum pp_result rc = address_parse_base_url(&memory, str_of(urls[_i].text), &url, &fault);

    if (urls[_i].host == NULL) {
        ck_assert_int_eq(rc, PP_INVALID);
        ck_assert_ptr_nonnull(fault);
        ck_assert_msg(strstr(fault, urls[_i].fault) != NULL, "\"%s\": %s", urls[_i].text, fault);
        ck_assert_ptr_null(url.host);
        return;
    }
    ck_assert_msg(rc == PP_OK, "\"%s\": %s", urls[_i].text, fault);
    ck_assert_str_eq(url.text, urls[_i].text);
    ck_assert_int_eq(url.tls, urls[_i].tls);
    ck_assert_str_eq(url.host, urls[_i].host);
    ck_assert_uint_eq(url.port, urls[_i].port);
    ck_assert_str_eq(url.authority, urls[_i].authority);
    ck_assert_str_eq(url.prefix, urls[_i].prefix);
}
END_TEST

static const struct {
    const char *text, *masked; /* of a right one */
    const char *fault;
} proxies[] = {
    {"http://proxy.example:3128", "http://proxy.example:3128", NULL},
    {"socks5://192.0.2.1:1080", "socks5://192.0.2.1:1080", NULL},
    {"socks5h://[2001:db8::1]:1080", "socks5h://[2001:db8::1]:1080", NULL},
    {"http://user:pass@proxy.example:3128", "http://***@proxy.example:3128", NULL},
    {"http://user:p%40ss@proxy.example:3128", "http://***@proxy.example:3128", NULL},
    {"http://user@[::1]:3128", "http://***@[::1]:3128", NULL},
    {"https://proxy.example:3128", NULL, "expected http://"},
    {"proxy.example:3128", NULL, "expected http://"},
    {"http://proxy.example", NULL, "proxy's port"},
    {"http://proxy.example:", NULL, "proxy's port"},
    {"http://proxy.example:3128/", NULL, "path"},
    {"http://u:p@ss@proxy.example:3128", NULL, "%40"},
    {"http://u:p/ss@proxy.example:3128", NULL, "%2F"},
    {"http://***@proxy.example:3128", NULL, "stands for"},
    {"http://:3128", NULL, "host is missing"},
    {"http://", NULL, "host is missing"},
};

START_TEST(test_proxy)
{
    const char *fault = address_proxy_fault(str_of(proxies[_i].text));

    if (proxies[_i].fault != NULL) {
        ck_assert_msg(fault != NULL && strstr(fault, proxies[_i].fault) != NULL, "\"%s\": %s", proxies[_i].text,
                      fault == NULL ? "was accepted" : fault);
        return;
    }
    ck_assert_ptr_null(fault);
    ck_assert_str_eq(address_proxy_masked(&memory, proxies[_i].text), proxies[_i].masked);
    ck_assert_int_eq(address_proxy_has_credentials(proxies[_i].text), strchr(proxies[_i].text, '@') != NULL);
}
END_TEST

static const struct {
    const char *(*rule)(struct str);
    const char *text, *fault;
} names[] = {
    {address_host_fault, "proofproxy.internal", NULL},
    {address_host_fault, "LOCALHOST", NULL},
    {address_host_fault, "192.0.2.1", NULL},
    {address_host_fault, "[2001:db8::1]", NULL},
    {address_host_fault, "2001:db8::1", "needs brackets"},
    {address_host_fault, "a.example:8780", "without a port"},
    {address_host_fault, "*.example", "wildcards"},
    {address_host_fault, "https://a.example", "without scheme"},
    {address_host_fault, "a.example.", "final dot"},
    {address_host_fault, "", "missing"},
    {address_host_fault, "1.2.3", "four numbers"},

    {address_origin_fault, "https://app.example", NULL},
    {address_origin_fault, "http://localhost:3000", NULL},
    {address_origin_fault, "https://[::1]:8443", NULL},
    {address_origin_fault, "chrome-extension://abcdefgh", NULL},
    {address_origin_fault, "*", "any web page"},
    {address_origin_fault, "null", "any web page"},
    {address_origin_fault, "app.example", "expected an origin"},
    {address_origin_fault, "://app.example", "expected an origin"},
    {address_origin_fault, "+s://app.example", "expected an origin"},
    {address_origin_fault, "ht tp://app.example", "expected an origin"},
    {address_origin_fault, "https://app.example/", "expected an origin"},
    {address_origin_fault, "https://u@app.example", "expected an origin"},
    {address_origin_fault, "https://App.example", "lower case"},
    {address_origin_fault, "https://app.example:443", "scheme's own port"},
    {address_origin_fault, "http://app.example:80", "scheme's own port"},
    {address_origin_fault, "https://app.example:0", "port from 1"},
    {address_origin_fault, "https://*.example", "host name"},
    {address_origin_fault, "https://", "missing"},
};

START_TEST(test_name)
{
    const char *fault = names[_i].rule(str_of(names[_i].text));

    if (names[_i].fault == NULL)
        ck_assert_msg(fault == NULL, "\"%s\" was refused: %s", names[_i].text, fault);
    else
        ck_assert_msg(fault != NULL && strstr(fault, names[_i].fault) != NULL, "\"%s\": %s", names[_i].text,
                      fault == NULL ? "was accepted" : fault);
}
END_TEST

static const struct {
    const char *a, *b;
    bool overlap;
} pairs[] = {
    {"127.0.0.1:80", "127.0.0.1:80", true},
    {"127.0.0.1:80", "localhost:80", true},
    {"127.0.0.1:80", "127.0.0.1:81", false},
    {"127.0.0.1:80", "127.0.0.2:80", false},
    {"127.0.0.1:80", "0.0.0.0:80", true},
    {"0.0.0.0:80", "0.0.0.0:80", true},
    {"127.0.0.1:80", "[::1]:80", false},
    {"[::1]:80", "[0:0:0:0:0:0:0:1]:80", true},
    {"[::1]:80", "[::]:80", true},
    {"127.0.0.1:080", "127.0.0.1:80", true},
    {"unix:/run/a", "unix:/run/a", true},
    {"unix:/run/a", "unix:/run//a", true},
    {"unix:/run/a", "unix:/run/././a", true},
    {"unix:/run/a", "unix:/run/ab", false},
    {"unix:/run/.a", "unix:/run/a", false},
    {"systemd:a", "systemd:a", true},
    {"systemd:a", "systemd:A", false},
    {"unix:/a", "systemd:a", false},
};

START_TEST(test_overlap)
{
    struct listen_address a, b;
    const char *fault = NULL;

    ck_assert_int_eq(address_parse_listen(&memory, str_of(pairs[_i].a), &a, &fault), PP_OK);
    ck_assert_int_eq(address_parse_listen(&memory, str_of(pairs[_i].b), &b, &fault), PP_OK);
    ck_assert_int_eq(address_listeners_overlap(&a, &b), pairs[_i].overlap);
    ck_assert_int_eq(address_listeners_overlap(&b, &a), pairs[_i].overlap);
}
END_TEST

static const struct {
    const char *url, *listener;
    bool reaches;
} loops[] = {
    {"http://127.0.0.1:8780", "127.0.0.1:8780", true},     {"http://127.0.0.1:8780", "127.0.0.1:8781", false},
    {"http://127.0.0.1:8780", "127.0.0.2:8780", false},    {"http://127.0.0.2:8780", "0.0.0.0:8780", true},
    {"http://localhost:8780", "127.0.0.1:8780", true},     {"http://localhost:8780", "[::1]:8780", true},
    {"http://localhost:8780", "[::]:8780", true},          {"http://localhost:8780", "192.0.2.1:8780", false},
    {"https://localhost", "127.0.0.1:443", true},          {"http://[::1]:8780", "[::1]:8780", true},
    {"http://[::1]:8780", "127.0.0.1:8780", false},        {"https://192.0.2.1:8780", "192.0.2.1:8780", true},
    {"https://192.0.2.1:8780", "0.0.0.0:8780", true},      {"https://0.0.0.0:8780", "127.0.0.1:8780", true},
    {"https://api.example:8780", "127.0.0.1:8780", false}, {"http://localhost:8780", "unix:/run/a", false},
};

START_TEST(test_loop)
{
    struct listen_address listener;
    struct base_url url;
    const char *fault = NULL;

    ck_assert_int_eq(address_parse_base_url(&memory, str_of(loops[_i].url), &url, &fault), PP_OK);
    ck_assert_int_eq(address_parse_listen(&memory, str_of(loops[_i].listener), &listener, &fault), PP_OK);
    ck_assert_int_eq(address_url_reaches(&url, &listener), loops[_i].reaches);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("address");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_loop_test(tcase, test_listen, 0, ROWS(listeners));
    tcase_add_loop_test(tcase, test_base_url, 0, ROWS(urls));
    tcase_add_loop_test(tcase, test_proxy, 0, ROWS(proxies));
    tcase_add_loop_test(tcase, test_name, 0, ROWS(names));
    tcase_add_loop_test(tcase, test_overlap, 0, ROWS(pairs));
    tcase_add_loop_test(tcase, test_loop, 0, ROWS(loops));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
