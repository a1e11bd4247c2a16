/* http/reply: every local error has its status, slug and code; bodies are JSON in Proof's shape. */
#include "http/reply.h"

#include "base/limits.h"

#include <check.h>
#include <stdio.h>
#include <jansson.h>
#include <stdlib.h>

static const struct {
    enum refusal refusal;
    int status;
    const char *error, *code;
} rows[] = {
    {REFUSAL_PEER, 403, "forbidden", "proxy_peer_not_allowed"},
    {REFUSAL_HOST, 421, "forbidden", "proxy_host_not_allowed"},
    {REFUSAL_ORIGIN, 403, "forbidden", "proxy_origin_not_allowed"},
    {REFUSAL_FORWARDED, 403, "forbidden", "proxy_forwarded_not_allowed"},
    {REFUSAL_REQUIRED_HEADER, 403, "forbidden", "proxy_required_header_missing"},
    {REFUSAL_AUTHORIZATION, 400, "invalid_request", "proxy_authorization_not_allowed"},
    {REFUSAL_METHOD, 405, "invalid_request", "proxy_method_not_allowed"},
    {REFUSAL_TARGET, 400, "invalid_request", "proxy_target_invalid"},
    {REFUSAL_TARGET_TOO_LONG, 400, "invalid_request", "proxy_target_too_long"},
    {REFUSAL_PATH, 404, "not_found", "proxy_path_not_allowed"},
    {REFUSAL_FRAMING, 400, "invalid_request", "proxy_framing_invalid"},
    {REFUSAL_HEADER, 400, "invalid_request", "proxy_header_invalid"},
    {REFUSAL_VERSION, 505, "invalid_request", "proxy_version_not_supported"},
    {REFUSAL_BODY_TOO_LARGE, 413, "invalid_request", "proxy_body_too_large"},
    {REFUSAL_HEADERS_TOO_LARGE, 431, "invalid_request", "proxy_headers_too_large"},
    {REFUSAL_EXPECT, 417, "invalid_request", "proxy_expectation_failed"},
    {REFUSAL_UPGRADE, 400, "invalid_request", "proxy_upgrade_invalid"},
    {REFUSAL_UPGRADE_VERSION, 426, "invalid_request", "proxy_upgrade_version_not_supported"},
    {REFUSAL_TIMEOUT, 408, "invalid_request", "proxy_request_timeout"},
    {REFUSAL_OVERLOADED, 503, "upstream_unavailable", "proxy_overloaded"},
    {REFUSAL_DRAINING, 503, "upstream_unavailable", "proxy_draining"},
    {REFUSAL_NO_TOKEN, 503, "upstream_unavailable", "proxy_no_token"},
    {REFUSAL_INTERNAL, 500, "internal_error", "proxy_internal_error"},
    {REFUSAL_CONNECT, 502, "upstream_unavailable", "proxy_connect_failed"},
    {REFUSAL_TLS, 502, "upstream_unavailable", "proxy_tls_failed"},
    {REFUSAL_DNS, 502, "upstream_unavailable", "proxy_dns_failed"},
    {REFUSAL_PROTOCOL, 502, "upstream_unavailable", "proxy_protocol_error"},
    {REFUSAL_UPSTREAM_TIMEOUT, 504, "upstream_unavailable", "proxy_timeout"},
};

/* The error types that RFC 9209 2.3 registers. */
static const char *const registered[] = {"dns_timeout",
                                         "dns_error",
                                         "destination_not_found",
                                         "destination_unavailable",
                                         "destination_ip_prohibited",
                                         "destination_ip_unroutable",
                                         "connection_refused",
                                         "connection_terminated",
                                         "connection_timeout",
                                         "connection_read_timeout",
                                         "connection_write_timeout",
                                         "connection_limit_reached",
                                         "tls_protocol_error",
                                         "tls_certificate_error",
                                         "tls_alert_received",
                                         "http_request_error",
                                         "http_request_denied",
                                         "http_response_incomplete",
                                         "http_response_header_section_size",
                                         "http_response_header_size",
                                         "http_response_body_size",
                                         "http_response_trailer_section_size",
                                         "http_response_trailer_size",
                                         "http_response_transfer_coding",
                                         "http_response_content_coding",
                                         "http_response_timeout",
                                         "http_upgrade_failed",
                                         "http_protocol_error",
                                         "proxy_internal_response",
                                         "proxy_internal_error",
                                         "proxy_configuration_error",
                                         "proxy_loop_detected"};

/* How many further lines a rule has; both halves of each are there. */
static size_t lines_of(const struct reply_rule *rule)
{
    size_t n = 0;
    for (; rule->lines != NULL && rule->lines[n].name != NULL; n++)
        ck_assert_ptr_nonnull(rule->lines[n].value);
    return n;
}

static const char *line_of(enum refusal refusal, const char *name)
{
    const struct reply_rule *rule = reply_rule(refusal);
    for (size_t i = 0; i < lines_of(rule); i++)
        if (strcmp(rule->lines[i].name, name) == 0)
            return rule->lines[i].value;
    return "no such line";
}

START_TEST(table_is_complete)
{
    ck_assert_uint_eq(sizeof rows / sizeof rows[0], REFUSAL_COUNT - 1);
    for (int i = 1; i < REFUSAL_COUNT; i++) {
        const struct reply_rule *rule = reply_rule((enum refusal)i);
        ck_assert_int_eq(rows[i - 1].refusal, i);
        ck_assert_int_eq(rule->status, rows[i - 1].status);
        ck_assert_str_eq(rule->error, rows[i - 1].error);
        ck_assert_str_eq(rule->code, rows[i - 1].code);
        ck_assert_int_ne(rule->status, 401);
        ck_assert_ptr_nonnull(rule->message);
        ck_assert_uint_le(lines_of(rule), REPLY_LINES);
        bool known = false;
        for (size_t t = 0; t < sizeof registered / sizeof registered[0]; t++)
            known |= strcmp(registered[t], rule->proxy_status) == 0;
        ck_assert_msg(known, "%s", rule->proxy_status);
        char status[96], expected[96];
        reply_proxy_status((enum refusal)i, SENT_MAYBE, status);
        snprintf(expected, sizeof expected, "proofproxy; error=%s", rule->proxy_status);
        ck_assert_str_eq(status, expected);
        for (int j = 1; j < i; j++) {
            ck_assert_str_ne(rule->reason, reply_rule((enum refusal)j)->reason);
            ck_assert_str_ne(rule->code, reply_rule((enum refusal)j)->code);
        }
    }
    char early[96];
    reply_proxy_status(REFUSAL_UPSTREAM_TIMEOUT, SENT_NO, early);
    ck_assert_str_eq(early, "proofproxy; error=connection_timeout");
    ck_assert_str_eq(line_of(REFUSAL_METHOD, "Allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    ck_assert_str_eq(line_of(REFUSAL_UPGRADE_VERSION, "Sec-WebSocket-Version"), "13");
    ck_assert_str_eq(line_of(REFUSAL_UPGRADE_VERSION, "Upgrade"), "websocket");
    ck_assert_str_eq(line_of(REFUSAL_UPGRADE_VERSION, "Connection"), "Upgrade");
    ck_assert_str_eq(line_of(REFUSAL_OVERLOADED, "Retry-After"), "1");
    ck_assert_ptr_eq(reply_rule(REFUSAL_COUNT), reply_rule(REFUSAL_INTERNAL));
    char sizes[96]; /* what people are told is what is done */
    snprintf(sizes, sizeof sizes, "The headers are over %u KiB or over %u lines.", LIMIT_REQUEST_HEAD / 1024,
             LIMIT_HEADERS);
    ck_assert_str_eq(reply_rule(REFUSAL_HEADERS_TOO_LARGE)->message, sizes);
    snprintf(sizes, sizeof sizes, "The request target is longer than %u bytes.", LIMIT_TARGET);
    ck_assert_str_eq(reply_rule(REFUSAL_TARGET_TOO_LONG)->message, sizes);
}
END_TEST

/* After a request whose end is not certain, the connection must not be used again. */
/* The figures in the sentences are those that are held. */
START_TEST(limits_are_told_as_they_are)
{
    char said[64];
    snprintf(said, sizeof said, "over %u KiB or over %u lines", LIMIT_REQUEST_HEAD / 1024, LIMIT_HEADERS);
    ck_assert_ptr_nonnull(strstr(reply_rule(REFUSAL_HEADERS_TOO_LARGE)->message, said));
    snprintf(said, sizeof said, "longer than %u bytes", LIMIT_TARGET);
    ck_assert_ptr_nonnull(strstr(reply_rule(REFUSAL_TARGET_TOO_LONG)->message, said));
}
END_TEST

START_TEST(unclear_requests_close)
{
    static const enum refusal unclear[] = {REFUSAL_FRAMING,        REFUSAL_HEADER,  REFUSAL_VERSION,
                                           REFUSAL_BODY_TOO_LARGE, REFUSAL_TIMEOUT, REFUSAL_HEADERS_TOO_LARGE,
                                           REFUSAL_EXPECT,         REFUSAL_UPGRADE, REFUSAL_UPGRADE_VERSION,
                                           REFUSAL_TARGET,         REFUSAL_PEER};
    for (size_t i = 0; i < sizeof unclear / sizeof unclear[0]; i++)
        ck_assert(reply_rule(unclear[i])->close);
    ck_assert(!reply_rule(REFUSAL_PATH)->close);
    ck_assert(!reply_rule(REFUSAL_UPSTREAM_TIMEOUT)->close);
}
END_TEST

static void check_body(enum refusal refusal, const char *detail, enum sent sent, const char *expected)
{
    struct buf out;
    buf_init(&out, 4096);
    ck_assert_int_eq(reply_body(&out, refusal, detail, sent), PP_OK);
    struct str s = buf_str(&out);
    ck_assert_msg(str_equal(s, str_of(expected)), "%.*s", (int)s.n, s.p);
    buf_free(&out);
}

START_TEST(bodies)
{
    check_body(REFUSAL_PATH, NULL, SENT_NO,
               "{\"error\":\"not_found\",\"code\":\"proxy_path_not_allowed\","
               "\"message\":\"No entry of allowed_paths matches the path.\",\"sent\":\"no\"}\n");
    check_body(REFUSAL_UPSTREAM_TIMEOUT, "", SENT_YES,
               "{\"error\":\"upstream_unavailable\",\"code\":\"proxy_timeout\","
               "\"message\":\"The upstream did not answer in time.\",\"sent\":\"yes\"}\n");
    check_body(REFUSAL_PROTOCOL, "say \"why\"\n\\", SENT_MAYBE,
               "{\"error\":\"upstream_unavailable\",\"code\":\"proxy_protocol_error\","
               "\"message\":\"say \\\"why\\\"\\n\\\\\",\"sent\":\"maybe\"}\n");
    check_body(REFUSAL_PATH, "not UTF-8: \xff", SENT_NO,
               "{\"error\":\"not_found\",\"code\":\"proxy_path_not_allowed\","
               "\"message\":\"No entry of allowed_paths matches the path.\",\"sent\":\"no\"}\n");
}
END_TEST

START_TEST(every_body_parses)
{
    for (int i = 1; i < REFUSAL_COUNT; i++) {
        struct buf out;
        buf_init(&out, 4096);
        ck_assert_int_eq(reply_body(&out, (enum refusal)i, NULL, SENT_NO), PP_OK);
        struct str s = buf_str(&out);
        json_t *json = json_loadb(s.p, s.n, JSON_REJECT_DUPLICATES, NULL);
        ck_assert_ptr_nonnull(json);
        ck_assert_uint_eq(json_object_size(json), 4);
        ck_assert_str_eq(json_string_value(json_object_get(json, "code")), reply_rule((enum refusal)i)->code);
        json_decref(json);
        buf_free(&out);
    }
}
END_TEST

START_TEST(a_full_buffer_fails)
{
    struct buf out;
    for (size_t limit = 1; limit < 100; limit++) {
        buf_init(&out, limit);
        ck_assert_int_eq(reply_body(&out, REFUSAL_PATH, NULL, SENT_NO), PP_LIMIT);
        ck_assert(out.failed);
        buf_free(&out);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reply");
    TCase *tests = tcase_create("reply");
    tcase_add_test(tests, table_is_complete);
    tcase_add_test(tests, limits_are_told_as_they_are);
    tcase_add_test(tests, unclear_requests_close);
    tcase_add_test(tests, bodies);
    tcase_add_test(tests, every_body_parses);
    tcase_add_test(tests, a_full_buffer_fails);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
