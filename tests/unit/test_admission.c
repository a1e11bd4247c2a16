/* http/admission: each single fault has its refusal, the order between two faults, and what is admitted. */
#include "http/admission.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

static const struct str paths[] = {STR("/widget/"), STR("/ws"), STR("/v2/socket")};
static const struct str hosts[] = {STR("proof.internal")};
static const struct str origins[] = {STR("https://shop.example")};

static struct admission_policy policy_of(void)
{
    return (struct admission_policy){.allowed_paths = paths,
                                     .allowed_paths_count = 3,
                                     .allowed_hosts = hosts,
                                     .allowed_hosts_count = 1,
                                     .allowed_origins = origins,
                                     .allowed_origins_count = 1,
                                     .refuse_forwarded = true,
                                     .max_body = 1000};
}

/* One request, as text: METHOD TARGET VERSION and header lines. The first Host is there unless a row says otherwise. */
struct row {
    const char *method, *target, *version;
    const char *lines; /* "Name: value\n" … */
    enum refusal refusal;
};

static void add_lines(struct header_list *list, const char *text)
{
    while (*text != 0) {
        const char *end = strchr(text, '\n');
        ck_assert_ptr_nonnull(end);
        const char *colon = memchr(text, ':', (size_t)(end - text));
        ck_assert_ptr_nonnull(colon);
        struct str value = {colon + 1, (size_t)(end - colon - 1)};
        if (value.n > 0 && value.p[0] == ' ')
            value.p++, value.n--;
        ck_assert(headers_add(list, (struct str){text, (size_t)(colon - text)}, value));
        text = end + 1;
    }
}

static enum refusal check_request(const struct admission_policy *policy, const struct row *row, bool unix_socket,
                                  struct admission *out)
{
    struct header_list list = {0};
    add_lines(&list, row->lines);
    struct admission_request request = {.peer_allowed = true,
                                        .unix_socket = unix_socket,
                                        .method = str_of(row->method),
                                        .target = str_of(row->target),
                                        .version = str_of(row->version),
                                        .headers = &list};
    memset(out, 0xa5, sizeof *out);
    admission_check(policy, &request, out);
    ck_assert(memchr(out->detail, 0, sizeof out->detail) != NULL);
    return out->refusal;
}

#define H11          "HTTP/1.1"
#define GET(lines)   "GET", "/widget/a", H11, lines
#define POST(lines)  "POST", "/widget/session", H11, lines
#define LOCAL        "Host: localhost:8780\n"
#define UPGRADE_REST "Connection: Upgrade\nSec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 13\n"
#define WS(lines)    "GET", "/ws?tx_id=1", H11, lines

static const struct row rows[] = {
    /* Host */
    {GET("Host: localhost\n"), REFUSAL_NONE},
    {GET("host: LocalHost:1\n"), REFUSAL_NONE},
    {GET("Host: localhost:65535\n"), REFUSAL_NONE},
    {GET("Host: 127.0.0.1\n"), REFUSAL_NONE},
    {GET("Host: 127.0.0.1:8780\n"), REFUSAL_NONE},
    {GET("Host: [::1]\n"), REFUSAL_NONE},
    {GET("Host: [::1]:8780\n"), REFUSAL_NONE},
    {GET("Host: proof.internal\n"), REFUSAL_NONE},
    {GET("Host: PROOF.internal:99\n"), REFUSAL_NONE},
    {GET("Host: localhost \n"), REFUSAL_NONE},
    {GET("Host:\n"), REFUSAL_HOST},
    {GET("Host: evil.example\n"), REFUSAL_HOST},
    {GET("Host: localhost.evil.example\n"), REFUSAL_HOST},
    {GET("Host: evil.localhost\n"), REFUSAL_HOST},
    {GET("Host: localhost.\n"), REFUSAL_HOST},
    {GET("Host: localhost:\n"), REFUSAL_HOST},
    {GET("Host: localhost:0\n"), REFUSAL_HOST},
    {GET("Host: localhost:65536\n"), REFUSAL_HOST},
    {GET("Host: localhost:123456\n"), REFUSAL_HOST},
    {GET("Host: localhost:+80\n"), REFUSAL_HOST},
    {GET("Host: localhost:80:80\n"), REFUSAL_HOST},
    {GET("Host: localhost:8a\n"), REFUSAL_HOST},
    {GET("Host: localhost:8:\n"), REFUSAL_HOST},
    {GET("Host: localhost:8/\n"), REFUSAL_HOST},
    {GET("Host: localhost:00080\n"), REFUSAL_NONE},
    {GET("Host: localhost:000080\n"), REFUSAL_HOST},
    {GET("Host: localhost8080\n"), REFUSAL_HOST},
    {GET("Host: [::1]8080\n"), REFUSAL_HOST},
    {GET("Host: localhost:80@evil.example\n"), REFUSAL_HOST},
    {GET("Host: evil.example@localhost\n"), REFUSAL_HOST},
    {GET("Host: localhost, evil.example\n"), REFUSAL_HOST},
    {GET("Host: localhost evil.example\n"), REFUSAL_HOST},
    {GET("Host: localhost/\n"), REFUSAL_HOST},
    {GET("Host: http://localhost\n"), REFUSAL_HOST},
    {GET("Host: 127.0.0.2\n"), REFUSAL_HOST},
    {GET("Host: 127.1\n"), REFUSAL_HOST},
    {GET("Host: 0.0.0.0\n"), REFUSAL_HOST},
    {GET("Host: 2130706433\n"), REFUSAL_HOST},
    {GET("Host: ::1\n"), REFUSAL_HOST},
    {GET("Host: [::1\n"), REFUSAL_HOST},
    {GET("Host: [::1]x\n"), REFUSAL_HOST},
    {GET("Host: [::1].evil.example\n"), REFUSAL_HOST},
    {GET("Host: [::2]\n"), REFUSAL_HOST},
    {GET("Host: []\n"), REFUSAL_HOST},
    {GET("Host: [\n"), REFUSAL_HOST},
    {GET("Host: :80\n"), REFUSAL_HOST},
    {GET("Host: internal\n"), REFUSAL_HOST},
    {GET("Host: proof.internal.example\n"), REFUSAL_HOST},
    {GET(""), REFUSAL_FRAMING},
    {GET("Host: localhost\nHost: localhost\n"), REFUSAL_FRAMING},
    {GET("Host: localhost\nHost: evil.example\n"), REFUSAL_FRAMING},
    {"GET", "/widget/a", "HTTP/1.0", "", REFUSAL_FRAMING},
    {"GET", "/widget/a", "HTTP/1.0", "Host: localhost\n", REFUSAL_NONE},
    /* Origin and Sec-Fetch-Site */
    {GET(LOCAL "Origin: https://shop.example\n"), REFUSAL_NONE},
    {GET(LOCAL "Origin: https://evil.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: http://shop.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: https://shop.example:443\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: https://shop.example.evil.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: HTTPS://SHOP.EXAMPLE\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: http://localhost:8780\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: null\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin:\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: https://shop.example\nORIGIN: https://evil.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: https://evil.example\nOrigin: https://shop.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Origin: https://shop.example https://evil.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Site: none\n"), REFUSAL_NONE},
    {GET(LOCAL "Sec-Fetch-Site: same-origin\n"), REFUSAL_NONE},
    {GET(LOCAL "Sec-Fetch-Site: same-site\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Site: cross-site\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Site:\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "sec-fetch-site: NONE\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Site: none\nSec-Fetch-Site: cross-site\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Site: cross-site\nSec-Fetch-Site: none\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Site: cross-site\nOrigin: https://shop.example\n"), REFUSAL_ORIGIN},
    {GET(LOCAL "Sec-Fetch-Mode: cors\nSec-Fetch-Dest: empty\n"), REFUSAL_NONE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Origin: https://evil.example\n"), REFUSAL_ORIGIN},
    /* forwarded */
    {GET(LOCAL "Forwarded: for=1.2.3.4\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X-Forwarded-For: 1.2.3.4\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "x-forwarded-host: a\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X-Forwarded-Proto: https\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X-Forwarded: a\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X_Forwarded_For: a\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X-Forwarded_Host: a\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X-Forwarded-For:\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "Connection: X-Forwarded-For\nX-Forwarded-For: a\n"), REFUSAL_FORWARDED},
    {GET(LOCAL "X-Real-IP: 1.2.3.4\nVia: 1.1 x\n"), REFUSAL_NONE},
    {GET(LOCAL "X-Forward: a\n"), REFUSAL_NONE},
    /* a client's own credential */
    {GET(LOCAL "Authorization: Bearer x\n"), REFUSAL_NONE},
    /* method */
    {"HEAD", "/widget/a", H11, LOCAL, REFUSAL_NONE},
    {"PUT", "/widget/a", H11, LOCAL, REFUSAL_NONE},
    {"PATCH", "/widget/a", H11, LOCAL, REFUSAL_NONE},
    {"DELETE", "/widget/a", H11, LOCAL, REFUSAL_NONE},
    {"OPTIONS", "/widget/a", H11, LOCAL, REFUSAL_NONE},
    {"TRACE", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"CONNECT", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"CONNECT", "localhost:80", H11, LOCAL, REFUSAL_METHOD},
    {"get", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"Get", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"GET ", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"GETS", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"PROPFIND", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"PURGE", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    {"PRI", "*", "HTTP/2.0", LOCAL, REFUSAL_METHOD},
    {"\x01", "/widget/a", H11, LOCAL, REFUSAL_METHOD},
    /* target */
    {"GET", "/", H11, LOCAL, REFUSAL_PATH},
    {"GET", "/widget", H11, LOCAL, REFUSAL_PATH},
    {"OPTIONS", "*", H11, LOCAL, REFUSAL_TARGET},
    {"GET", "http://localhost/widget/a", H11, LOCAL, REFUSAL_TARGET},
    {"GET", "/widget/../a", H11, LOCAL, REFUSAL_TARGET},
    {"GET", "/widget/%2e%2e/a", H11, LOCAL, REFUSAL_TARGET},
    {"GET", "/widget/a b", H11, LOCAL, REFUSAL_TARGET},
    /* names and values */
    {GET(LOCAL "Authorization : Bearer x\n"), REFUSAL_HEADER},
    {GET(LOCAL "Content-Length : 5\n"), REFUSAL_HEADER},
    {GET(LOCAL "Origin : https://evil.example\n"), REFUSAL_HEADER},
    {GET(LOCAL "X-Forwarded-For\t: x\n"), REFUSAL_HEADER},
    {GET(LOCAL " Host: x\n"), REFUSAL_HEADER},
    {GET("Host : localhost\n"), REFUSAL_HEADER},
    {GET(LOCAL ": x\n"), REFUSAL_HEADER},
    {GET(LOCAL "X(Y): x\n"), REFUSAL_HEADER},
    {GET(LOCAL "X Y: x\n"), REFUSAL_HEADER},
    {GET(LOCAL "X\x80: x\n"), REFUSAL_HEADER},
    {GET(LOCAL "X\r: x\n"), REFUSAL_HEADER},
    {GET(LOCAL "X: a\rb\n"), REFUSAL_HEADER},
    {GET(LOCAL "X: \x01\n"), REFUSAL_HEADER},
    {GET(LOCAL "X: a\x7f\n"), REFUSAL_HEADER},
    {GET(LOCAL "X: a\x1b[31m\n"), REFUSAL_HEADER},
    {GET(LOCAL "X: a\tb \xc3\xa9\n"), REFUSAL_NONE},
    {GET(LOCAL "X:\n"), REFUSAL_NONE},
    /* framing */
    {POST(LOCAL "Content-Length: 5\n"), REFUSAL_NONE},
    {POST(LOCAL "Content-Length: 0\n"), REFUSAL_NONE},
    {POST(LOCAL "Transfer-Encoding: chunked\n"), REFUSAL_NONE},
    {POST(LOCAL "transfer-encoding: Chunked\n"), REFUSAL_NONE},
    {GET(LOCAL "Content-Length: 5\n"), REFUSAL_NONE},
    {POST(LOCAL "Content-Length: 5\nContent-Length: 5\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: 5\nContent-Length: 6\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: 5, 5\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: +5\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: -5\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: 0x5\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: 5 \n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length:\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: five\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: 99999999999999999999\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Content-Length: 5\nTransfer-Encoding: chunked\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: chunked\nContent-Length: 0\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: gzip, chunked\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: chunked, identity\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: identity\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: xchunked\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: chunked \n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding: \"chunked\"\n"), REFUSAL_FRAMING},
    {POST(LOCAL "Transfer-Encoding:\n"), REFUSAL_FRAMING},
    {"POST", "/widget/a", "HTTP/1.0", LOCAL "Transfer-Encoding: chunked\n", REFUSAL_FRAMING},
    {"POST", "/widget/a", "HTTP/1.0", LOCAL "Content-Length: 3\n", REFUSAL_NONE},
    {POST(LOCAL "Content_Length: 7\nTransfer_Encoding: gzip\n"), REFUSAL_NONE},
    /* version */
    {"GET", "/widget/a", "HTTP/2.0", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "HTTP/1.2", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "HTTP/1.9", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "HTTP/0.9", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "HTTP/1.10", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "http/1.1", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "HTTP/1.1 ", LOCAL, REFUSAL_VERSION},
    {"GET", "/widget/a", "", LOCAL, REFUSAL_VERSION},
    /* sizes */
    {POST(LOCAL "Content-Length: 1000\n"), REFUSAL_NONE},
    {POST(LOCAL "Content-Length: 1001\n"), REFUSAL_BODY_TOO_LARGE},
    {POST(LOCAL "Content-Length: 9223372036854775807\n"), REFUSAL_BODY_TOO_LARGE},
    /* Expect */
    {POST(LOCAL "Content-Length: 5\nExpect: 100-continue\n"), REFUSAL_NONE},
    {POST(LOCAL "Content-Length: 5\nExpect: 100-Continue\n"), REFUSAL_NONE},
    {GET(LOCAL "Expect: 100-continue\n"), REFUSAL_NONE},
    {POST(LOCAL "Content-Length: 5\nExpect: 200-ok\n"), REFUSAL_EXPECT},
    {POST(LOCAL "Content-Length: 5\nExpect:\n"), REFUSAL_EXPECT},
    {POST(LOCAL "Content-Length: 5\nExpect: 100-continue, x\n"), REFUSAL_EXPECT},
    {POST(LOCAL "Content-Length: 5\nExpect: 100-continue\nExpect: x\n"), REFUSAL_EXPECT},
    {POST(LOCAL "Content-Length: 5\nExpect: x\nExpect: 100-continue\n"), REFUSAL_EXPECT},
    {"POST", "/widget/a", "HTTP/1.0", LOCAL "Expect: x\n", REFUSAL_NONE},
    /* upgrade */
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST), REFUSAL_NONE},
    {WS(LOCAL "UPGRADE: WebSocket\n" UPGRADE_REST), REFUSAL_NONE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Content-Length: 0\n"), REFUSAL_NONE},
    {"GET", "/v2/socket", H11, LOCAL "Upgrade: websocket\n" UPGRADE_REST, REFUSAL_NONE},
    {"GET", "/widget/a", H11, LOCAL "Upgrade: websocket\n" UPGRADE_REST, REFUSAL_UPGRADE},
    {"GET", "/widget/", H11, LOCAL "Upgrade: websocket\n" UPGRADE_REST, REFUSAL_UPGRADE},
    {"GET", "/ws", "HTTP/1.0", LOCAL "Upgrade: websocket\n" UPGRADE_REST, REFUSAL_UPGRADE},
    {"POST", "/ws", H11, LOCAL "Upgrade: websocket\n" UPGRADE_REST, REFUSAL_UPGRADE},
    {"HEAD", "/ws", H11, LOCAL "Upgrade: websocket\n" UPGRADE_REST, REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Content-Length: 5\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Transfer-Encoding: chunked\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nUpgrade: websocket\n" UPGRADE_REST), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket, h2c\n" UPGRADE_REST), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: h2c, websocket\n" UPGRADE_REST), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: h2c\nUpgrade: websocket\n" UPGRADE_REST), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nUpgrade: h2c\n" UPGRADE_REST), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Connection: keep-alive\n"), REFUSAL_NONE},
    {WS(LOCAL "Upgrade: websocket\nSec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 13\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: keep-alive\nSec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 13\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: keep-alive, UPGRADE\nSec-WebSocket-Key: " KEY
              "\nSec-WebSocket-Version: 13\n"),
     REFUSAL_NONE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Sec-WebSocket-Key: " KEY "\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec_WebSocket_Key: " KEY "\nSec-WebSocket-Version: 13\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: short==\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key:\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=A\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
              "Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\n"),
     REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: " KEY "\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Sec-WebSocket-Version: 13\n"), REFUSAL_UPGRADE},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 8\n"),
     REFUSAL_UPGRADE_VERSION},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 13, 8\n"),
     REFUSAL_UPGRADE_VERSION},
    {WS(LOCAL "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 013\n"),
     REFUSAL_UPGRADE_VERSION},
    {GET(LOCAL "Upgrade: h2c\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAMAAABkAAQ\n"), REFUSAL_NONE},
    {GET(LOCAL "Upgrade: TLS/1.0\nConnection: Upgrade\n"), REFUSAL_NONE},
    {GET(LOCAL "Upgrade: websocket2\nConnection: Upgrade\n"), REFUSAL_NONE},
    {WS(LOCAL "Sec-WebSocket-Key: " KEY "\nSec-WebSocket-Version: 13\n"), REFUSAL_NONE},
};

START_TEST(single_faults)
{
    struct admission_policy policy = policy_of();
    struct admission out;
    enum refusal refusal = check_request(&policy, &rows[_i], false, &out);
    ck_assert_msg(refusal == rows[_i].refusal, "row %d: %s, expected %s (%s)", _i, reply_rule(refusal)->reason,
                  reply_rule(rows[_i].refusal)->reason, out.detail);
    if (refusal == REFUSAL_NONE)
        ck_assert_str_eq(out.detail, "");
}
END_TEST

/* Refused for one reason, while something else leaves open where the request ends: then nothing may follow it. */
static const struct {
    struct row row;
    bool in_doubt;
} doubts[] = {
    {{GET(LOCAL), REFUSAL_NONE}, false},
    {{"FOO", "/widget/a", H11, LOCAL, REFUSAL_METHOD}, false},
    {{"FOO", "/widget/a", H11, LOCAL "Content-Length: 1\nTransfer-Encoding: chunked\n", REFUSAL_METHOD}, true},
    {{"FOO", "/widget/a", H11, LOCAL "Content-Length : 1\n", REFUSAL_METHOD}, true},
    {{"FOO", "/widget/a", H11, LOCAL "X: \x01\n", REFUSAL_METHOD}, true},
    {{"FOO", "/widget/a", "HTTP/1.2", LOCAL, REFUSAL_METHOD}, true},
    {{"\rGET", "/widget/a", H11, LOCAL, REFUSAL_METHOD}, true},
    {{"POST", "/elsewhere", H11, LOCAL "Transfer-Encoding: chunked\n", REFUSAL_PATH}, false},
    {{"POST", "/elsewhere", "HTTP/1.0", LOCAL "Transfer-Encoding: chunked\n", REFUSAL_PATH}, true},
    {{GET("Host: evil.example\n"), REFUSAL_HOST}, false},
    {{GET("Host: evil.example\nContent-Length: x\n"), REFUSAL_HOST}, true},
    {{GET(LOCAL "Origin: null\nContent-Length: -1\n"), REFUSAL_ORIGIN}, true},
};

START_TEST(requests_in_doubt)
{
    struct admission_policy policy = policy_of();
    struct admission out;
    enum refusal refusal = check_request(&policy, &doubts[_i].row, false, &out);
    ck_assert_int_eq(refusal, doubts[_i].row.refusal);
    ck_assert_int_eq(out.in_doubt, doubts[_i].in_doubt);
    ck_assert_ptr_null(strstr(out.detail, "Content-Length")); /* the sentence is about what it was refused for */
}
END_TEST

START_TEST(unix_sockets)
{
    static const struct row any_host[] = {
        {GET("Host: evil.example\n"), REFUSAL_NONE},
        {GET("Host:\n"), REFUSAL_NONE},
        {GET("Host: localhost\n"), REFUSAL_NONE},
        {GET("Host: a\nHost: a\n"), REFUSAL_FRAMING},
        {GET(""), REFUSAL_FRAMING},
        {"GET", "/widget/a", "HTTP/1.0", "", REFUSAL_NONE},
        {GET("Host: a\x01\n"), REFUSAL_HEADER},
        {GET("Host: x\nOrigin: https://evil.example\n"), REFUSAL_ORIGIN},
    };
    struct admission_policy policy = policy_of();
    struct admission out;
    for (size_t i = 0; i < sizeof any_host / sizeof any_host[0]; i++)
        ck_assert_msg(check_request(&policy, &any_host[i], true, &out) == any_host[i].refusal, "row %zu", i);
}
END_TEST

/* One request with every fault; they are taken away one by one, in the order in which they must be named. */
START_TEST(order_of_faults)
{
    static const enum refusal order[] = {REFUSAL_PEER,
                                         REFUSAL_HOST,
                                         REFUSAL_ORIGIN,
                                         REFUSAL_FORWARDED,
                                         REFUSAL_REQUIRED_HEADER,
                                         REFUSAL_AUTHORIZATION,
                                         REFUSAL_METHOD,
                                         REFUSAL_TARGET,
                                         REFUSAL_HEADER,
                                         REFUSAL_FRAMING,
                                         REFUSAL_VERSION,
                                         REFUSAL_BODY_TOO_LARGE,
                                         REFUSAL_HEADERS_TOO_LARGE,
                                         REFUSAL_EXPECT,
                                         REFUSAL_UPGRADE,
                                         REFUSAL_UPGRADE_VERSION,
                                         REFUSAL_NONE};
    for (size_t step = 0; step < sizeof order / sizeof order[0]; step++) {
        struct admission_policy policy = policy_of();
        policy.require_name = STR("X-Guard");
        policy.require_value = STR("yes");
        policy.reject_authorization = true;
        char lines[1024];
        snprintf(lines, sizeof lines, "%s\n%s%s%s%s%s%s%s%s%s%s", step > 1 ? "Host: localhost" : "Host: evil.example",
                 step > 2 ? "" : "Origin: https://evil.example\n", step > 3 ? "" : "Forwarded: for=x\n",
                 step > 4 ? "X-Guard: yes\n" : "", step > 5 ? "" : "Authorization: Bearer x\n",
                 step > 8 ? "" : "Bad Name: x\n", step > 9 ? "" : "Transfer-Encoding: chunked\n",
                 step > 11 ? "" : "Content-Length: 5000\n", step > 13 ? "" : "Expect: miracles\n",
                 "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: " KEY "\n",
                 step > 15   ? "Sec-WebSocket-Version: 13\n"
                 : step > 14 ? "Sec-WebSocket-Version: 12\n"
                             : "");
        struct header_list list = {0};
        add_lines(&list, lines);
        struct admission_request request = {.peer_allowed = step > 0,
                                            .method = step > 6 ? STR("GET") : STR("TRACE"),
                                            .target = step > 7 ? STR("/ws") : STR("/ws/../x"),
                                            .version = step > 10 ? STR("HTTP/1.1") : STR("HTTP/3.0"),
                                            .headers = &list,
                                            .headers_cut = step <= 12};
        struct admission out;
        admission_check(&policy, &request, &out);
        ck_assert_msg(out.refusal == order[step], "step %zu: %s", step, reply_rule(out.refusal)->reason);
    }
}
END_TEST

START_TEST(required_header)
{
    static const struct row guarded[] = {
        {GET(LOCAL "X-Guard: yes\n"), REFUSAL_NONE},
        {GET(LOCAL "x-guard: yes\n"), REFUSAL_NONE},
        {GET(LOCAL), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard: no\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard: Yes\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard: yes!\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard: ye\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard:\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X_Guard: yes\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard : yes\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard: yes\nX-Guard: yes\n"), REFUSAL_REQUIRED_HEADER},
        {GET(LOCAL "X-Guard: yes\nX-Guard: no\n"), REFUSAL_REQUIRED_HEADER},
    };
    struct admission_policy policy = policy_of();
    policy.require_name = STR("X-Guard");
    policy.require_value = STR("yes");
    struct admission out;
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++) {
        ck_assert_msg(check_request(&policy, &guarded[i], false, &out) == guarded[i].refusal, "row %zu", i);
        if (out.refusal != REFUSAL_NONE) {
            bool absent = strstr(guarded[i].lines, "X-Guard:") == NULL && strstr(guarded[i].lines, "x-guard:") == NULL;
            ck_assert_ptr_nonnull(strstr(out.detail, "The header X-Guard "));
            ck_assert((strstr(out.detail, "is missing") != NULL) == absent);
            ck_assert_ptr_null(strstr(out.detail, "yes"));
        }
    }
}
END_TEST

START_TEST(switches)
{
    struct admission_policy policy = policy_of();
    struct admission out;
    static const struct row forwarded = {GET(LOCAL "X-Forwarded-For: a\n"), REFUSAL_NONE};
    policy.refuse_forwarded = false;
    ck_assert_int_eq(check_request(&policy, &forwarded, false, &out), REFUSAL_NONE);

    static const struct row credential = {GET(LOCAL "authorization: x\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &credential, false, &out), REFUSAL_NONE);
    ck_assert(out.authorization_given);
    policy.reject_authorization = true;
    ck_assert_int_eq(check_request(&policy, &credential, false, &out), REFUSAL_AUTHORIZATION);

    /* The first path listed may be the one that tunnels. */
    static const struct row socket = {"GET", "/v2/socket", H11, LOCAL "Upgrade: websocket\n" UPGRADE_REST,
                                      REFUSAL_NONE};
    policy = policy_of();
    policy.allowed_paths = &paths[2];
    policy.allowed_paths_count = 1;
    ck_assert_int_eq(check_request(&policy, &socket, false, &out), REFUSAL_NONE);

    policy = policy_of();
    policy.allowed_origins_count = policy.allowed_hosts_count = 0;
    static const struct row origin = {GET(LOCAL "Origin: https://shop.example\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &origin, false, &out), REFUSAL_ORIGIN);
    static const struct row host = {GET("Host: proof.internal\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &host, false, &out), REFUSAL_HOST);
}
END_TEST

START_TEST(what_is_admitted)
{
    struct admission_policy policy = policy_of();
    struct admission out;
    static const struct row post = {"POST", "/widget/session?a=b", H11,
                                    LOCAL "Content-Length: 12\nExpect: 100-continue\n", REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &post, false, &out), REFUSAL_NONE);
    ck_assert_int_eq(out.framing, BODY_LENGTH);
    ck_assert_int_eq(out.content_length, 12);
    ck_assert(!out.head && !out.http10 && !out.websocket && !out.authorization_given);
    ck_assert(str_equal(out.target.path, STR("/widget/session")));
    ck_assert(str_equal(out.target.query, STR("a=b")));

    static const struct row chunked = {POST(LOCAL "Transfer-Encoding: chunked\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &chunked, false, &out), REFUSAL_NONE);
    ck_assert_int_eq(out.framing, BODY_CHUNKED);

    static const struct row one = {POST(LOCAL "Content-Length: 1\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &one, false, &out), REFUSAL_NONE);
    ck_assert(out.framing == BODY_LENGTH && out.content_length == 1);

    static const struct row empty = {POST(LOCAL "Content-Length: 0\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &empty, false, &out), REFUSAL_NONE);
    ck_assert_int_eq(out.framing, BODY_NONE);

    static const struct row head = {"HEAD", "/widget/a", "HTTP/1.0", LOCAL "Expect: 100-continue\n", REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &head, false, &out), REFUSAL_NONE);
    ck_assert(out.head && out.http10);
    ck_assert_int_eq(out.framing, BODY_NONE);

    static const struct row upgrade = {WS(LOCAL "Upgrade: websocket\n" UPGRADE_REST "Authorization: x\n"),
                                       REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &upgrade, false, &out), REFUSAL_NONE);
    ck_assert(out.websocket && out.authorization_given);
    static const struct row h2c = {GET(LOCAL "Upgrade: h2c\nConnection: Upgrade\n"), REFUSAL_NONE};
    ck_assert_int_eq(check_request(&policy, &h2c, false, &out), REFUSAL_NONE);
    ck_assert(!out.websocket);
}
END_TEST

START_TEST(header_bytes)
{
    struct admission_policy policy = policy_of();
    static char big[LIMIT_REQUEST_HEAD];
    memset(big, 'a', sizeof big);
    /* "Host: localhost" is 4 + 9 + 4 bytes, the other line 1 + n + 4. */
    for (size_t over = 0; over < 2; over++) {
        struct header_list list = {0};
        ck_assert(headers_add(&list, STR("Host"), STR("localhost")));
        ck_assert(headers_add(&list, STR("X"), (struct str){big, LIMIT_REQUEST_HEAD - 17 - 5 + over}));
        struct admission_request request = {.peer_allowed = true,
                                            .method = STR("GET"),
                                            .target = STR("/ws"),
                                            .version = STR("HTTP/1.1"),
                                            .headers = &list};
        struct admission out;
        admission_check(&policy, &request, &out);
        ck_assert_int_eq(out.refusal, over == 0 ? REFUSAL_NONE : REFUSAL_HEADERS_TOO_LARGE);
    }
}
END_TEST

/* Details reach clients and logs: a value never does. */
START_TEST(details_hold_no_values)
{
    static const struct row leaky[] = {
        {GET("Host: s3cret\n"), REFUSAL_HOST},
        {GET(LOCAL "Origin: s3cret\n"), REFUSAL_ORIGIN},
        {GET(LOCAL "X-Name: s3cret\x01\n"), REFUSAL_HEADER},
        {GET(LOCAL "s3cret s3cret: x\n"), REFUSAL_HEADER},
        {POST(LOCAL "Content-Length: s3cret\n"), REFUSAL_FRAMING},
        {POST(LOCAL "Transfer-Encoding: s3cret\n"), REFUSAL_FRAMING},
        {"GET", "/widget/s3cret//", H11, LOCAL, REFUSAL_TARGET},
    };
    struct admission_policy policy = policy_of();
    struct admission out;
    for (size_t i = 0; i < sizeof leaky / sizeof leaky[0]; i++) {
        ck_assert_int_eq(check_request(&policy, &leaky[i], false, &out), leaky[i].refusal);
        ck_assert_ptr_null(strstr(out.detail, "s3cret"));
    }
    check_request(&policy, &leaky[2], false, &out);
    ck_assert_ptr_nonnull(strstr(out.detail, "X-Name"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admission");
    TCase *tests = tcase_create("admission");
    tcase_add_loop_test(tests, single_faults, 0, sizeof rows / sizeof rows[0]);
    tcase_add_loop_test(tests, requests_in_doubt, 0, sizeof doubts / sizeof doubts[0]);
    tcase_add_test(tests, unix_sockets);
    tcase_add_test(tests, order_of_faults);
    tcase_add_test(tests, required_header);
    tcase_add_test(tests, switches);
    tcase_add_test(tests, what_is_admitted);
    tcase_add_test(tests, header_bytes);
    tcase_add_test(tests, details_hold_no_values);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
