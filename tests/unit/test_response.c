/* http/response: heads that pass and what they mean, heads that do not, and bodies however they are split. */
#include "http/response.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define OK "HTTP/1.1 200 OK\r\n"

/* Parses a copy without room behind it: a sanitizer build sees every byte read too far. */
static enum pp_result parse(struct str text, bool to_head, struct response_head *out, size_t *consumed,
                            const char **what, char **copy)
{
    *copy = malloc(text.n == 0 ? 1 : text.n);
    ck_assert_ptr_nonnull(*copy);
    memcpy(*copy, text.p, text.n);
    *what = NULL;
    return response_parse_head((struct str){*copy, text.n}, to_head, out, consumed, what);
}

/* One letter each: framing and keep-alive. */
#define N RESPONSE_NO_BODY
#define L RESPONSE_LENGTH
#define C RESPONSE_CHUNKED
#define U RESPONSE_UNTIL_CLOSE

static const struct {
    struct str text;
    bool to_head;
    int status;
    enum response_framing framing;
    int64_t length;
    bool keep_alive;
    size_t headers;
} good[] = {
    {STR(OK "\r\n"), false, 200, U, -1, false, 0},
    {STR(OK "Content-Length: 5\r\n\r\n"), false, 200, L, 5, true, 1},
    {STR(OK "content-length:5\r\n\r\n"), false, 200, L, 5, true, 1},
    {STR(OK "Content-Length:  5  \r\n\r\n"), false, 200, L, 5, true, 1},
    {STR(OK "Content-Length: 005\r\n\r\n"), false, 200, L, 5, true, 1},
    {STR(OK "Content-Length: 9223372036854775807\r\n\r\n"), false, 200, L, INT64_MAX, true, 1},
    {STR(OK "Content-Length: 0\r\n\r\n"), false, 200, N, 0, true, 1},
    {STR(OK "Transfer-Encoding: chunked\r\n\r\n"), false, 200, C, -1, true, 1},
    {STR(OK "TRANSFER-ENCODING: ChunkeD\r\n\r\n"), false, 200, C, -1, true, 1},
    {STR(OK "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"), false, 200, C, -1, false, 2},
    {STR(OK "Content-Length: 1\r\nConnection: close\r\n\r\n"), false, 200, L, 1, false, 2},
    {STR(OK "Content-Length: 1\r\nConnection: a, CLOSE\r\n\r\n"), false, 200, L, 1, false, 2},
    {STR(OK "Content-Length: 1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"), false, 200, L, 1, false, 3},
    {STR(OK "Content-Length: 1\r\nConnection: closed\r\n\r\n"), false, 200, L, 1, true, 2},
    {STR(OK "Content-Length: 1\r\nX-Connection: close\r\n\r\n"), false, 200, L, 1, true, 2},
    {STR(OK "Content_Length: 7\r\nContent-Length: 1\r\n\r\n"), false, 200, L, 1, true, 2},
    {STR(OK "Transfer_Encoding: gzip\r\nContent-Length: 1\r\n\r\n"), false, 200, L, 1, true, 2},
    {STR(OK "Content-Length: 1\r\nConnection: close, other\r\n\r\n"), false, 200, L, 1, false, 2},
    {STR("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, other\r\n\r\n"), false, 200, L, 1, true, 2},
    {STR("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), false, 200, L, 1, false, 1},
    {STR("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n"), false, 200, L, 1, true, 2},
    {STR("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, close\r\n\r\n"), false, 200, L, 1, false, 2},
    {STR("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"), false, 200, U, -1, false, 1},
    {STR("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n"), false, 200, L, 2, true, 1},
    {STR("HTTP/1.1 200  spaced\tout \xe9 \r\nContent-Length: 2\r\n\r\n"), false, 200, L, 2, true, 1},
    {STR("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n"), false, 404, L, 2, true, 1},
    {STR("HTTP/1.1 599 x\r\nContent-Length: 2\r\n\r\n"), false, 599, L, 2, true, 1},
    {STR("HTTP/1.1 100 Continue\r\n\r\n"), false, 100, N, -1, true, 0},
    {STR("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), false, 103, N, -1, true, 1},
    {STR("HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"), false, 100, N, 0, true, 1},
    {STR("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), false, 101, N, -1, false, 1},
    {STR("HTTP/1.1 204 No Content\r\n\r\n"), false, 204, N, -1, true, 0},
    {STR("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), false, 204, N, 0, true, 1},
    {STR("HTTP/1.1 304 Not Modified\r\n\r\n"), false, 304, N, -1, true, 0},
    {STR("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"), false, 304, N, 77, true, 1},
    {STR("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"), false, 304, N, -1, true, 1},
    {STR(OK "Content-Length: 77\r\n\r\n"), true, 200, N, 77, true, 1},
    {STR(OK "Transfer-Encoding: chunked\r\n\r\n"), true, 200, N, -1, true, 1},
    {STR(OK "\r\n"), true, 200, N, -1, true, 0},
    {STR("HTTP/1.1 205 Reset\r\nContent-Length: 3\r\n\r\n"), false, 205, L, 3, true, 1},
    {STR(OK "X:\r\nY: \r\nZ:\t\r\nContent-Length: 3\r\n\r\n"), false, 200, L, 3, true, 4},
    {STR(OK "!#$%&'*+-.^_`|~09azAZ: \x80\xff\t~ :\r\nContent-Length: 3\r\n\r\n"), false, 200, L, 3, true, 2},
};

#undef N
#undef L
#undef C
#undef U

START_TEST(good_heads)
{
    struct response_head head;
    size_t consumed = 0;
    const char *what;
    char *copy;
    ck_assert_int_eq(parse(good[_i].text, good[_i].to_head, &head, &consumed, &what, &copy), PP_OK);
    ck_assert_uint_eq(consumed, good[_i].text.n);
    ck_assert_int_eq(head.status, good[_i].status);
    ck_assert_int_eq(head.framing, good[_i].framing);
    ck_assert_int_eq(head.content_length, good[_i].length);
    ck_assert_int_eq(head.keep_alive, good[_i].keep_alive);
    ck_assert_uint_eq(head.headers.count, good[_i].headers);
    ck_assert_int_eq(head.http10, copy[7] == '0');
    free(copy);

    /* Each shorter piece is incomplete, and bytes behind the head change nothing, whatever they are. */
    for (size_t n = 0; n < good[_i].text.n; n++) {
        ck_assert_int_eq(parse((struct str){good[_i].text.p, n}, good[_i].to_head, &head, &consumed, &what, &copy),
                         PP_AGAIN);
        free(copy);
    }
    char longer[512];
    memset(longer, '\0', sizeof longer);
    memcpy(longer, good[_i].text.p, good[_i].text.n);
    ck_assert_int_eq(parse((struct str){longer, sizeof longer}, good[_i].to_head, &head, &consumed, &what, &copy),
                     PP_OK);
    ck_assert_uint_eq(consumed, good[_i].text.n);
    free(copy);
}
END_TEST

static const struct str bad[] = {
    /* status line */
    STR("\r\n" OK "\r\n"),
    STR(" " OK "\r\n"),
    STR("\n"),
    STR("HTTP/1.1 200\r\n\r\n"),
    STR("HTTP/1.1  200 OK\r\n\r\n"),
    STR("HTTP/1.1\t200 OK\r\n\r\n"),
    STR("HTTP/1.1 200\tOK\r\n\r\n"),
    STR("HTTP/1.1 20 OK\r\n\r\n"),
    STR("HTTP/1.1 2000 OK\r\n\r\n"),
    STR("HTTP/1.1 2x0 OK\r\n\r\n"),
    STR("HTTP/1.1 +20 OK\r\n\r\n"),
    STR("HTTP/1.1 099 OK\r\n\r\n"),
    STR("HTTP/1.1 000 OK\r\n\r\n"),
    STR("HTTP/1.1 600 OK\r\n\r\n"),
    STR("HTTP/1.1 999 OK\r\n\r\n"),
    STR("HTTP/2.0 200 OK\r\n\r\n"),
    STR("HTTP/0.9 200 OK\r\n\r\n"),
    STR("HTTP/1.2 200 OK\r\n\r\n"),
    STR("HTTP/1 200 OK\r\n\r\n"),
    STR("HTTP/1.10 200 OK\r\n\r\n"),
    STR("HTTP/01.1 200 OK\r\n\r\n"),
    STR("HTTP/1,1 200 OK\r\n\r\n"),
    STR("http/1.1 200 OK\r\n\r\n"),
    STR("HTTPS/1.1 200 OK\r\n\r\n"),
    STR("ICY 200 OK\r\n\r\n"),
    STR("SSH-2.0-x\r\n"),
    STR("<html>"),
    STR("\x16\x03\x01\x02"),
    STR("GET / HTTP/1.1\r\n\r\n"),
    STR("HTTP/1.1 200 OK\n\r\n"),
    STR("HTTP/1.1 200 OK\rX\r\n\r\n"),
    STR("HTTP/1.1 200 O\0K\r\n\r\n"),
    STR("HTTP/1.1 200 O\x01K\r\n\r\n"),
    STR("HTTP/1.1 200 O\x7fK\r\n\r\n"),
    STR("HTTP/1.1 200 OK\r\r\n\r\n"),
    /* header lines */
    STR(OK " A: b\r\n\r\n"),
    STR(OK "\tA: b\r\n\r\n"),
    STR(OK "A: b\r\n c\r\n\r\n"),
    STR(OK "A: b\r\n\tc\r\n\r\n"),
    STR(OK "A: b\r\n \r\n\r\n"),
    STR(OK "A : b\r\n\r\n"),
    STR(OK "A\t: b\r\n\r\n"),
    STR(OK "Content-Length : 5\r\n\r\n"),
    STR(OK "Transfer-Encoding : chunked\r\n\r\n"),
    STR(OK ": b\r\n\r\n"),
    STR(OK "A\r\n\r\n"),
    STR(OK "A b: c\r\n\r\n"),
    STR(OK "A\r\nB: c\r\n\r\n"),
    STR(OK "A(b): c\r\n\r\n"),
    STR(OK "A\xe9: c\r\n\r\n"),
    STR(OK "A\0: c\r\n\r\n"),
    STR(OK "A@: c\r\n\r\n"),
    STR(OK "\"A\": c\r\n\r\n"),
    STR(OK "A: b\nC: d\r\n\r\n"),
    STR(OK "A: b\n\r\n"),
    STR(OK "A: b\rC: d\r\n\r\n"),
    STR(OK "A: b\r\rC: d\r\n\r\n"),
    STR(OK "A: b\0c\r\n\r\n"),
    STR(OK "A: \x01\r\n\r\n"),
    STR(OK "A: \x0b\r\n\r\n"),
    STR(OK "A: \x7f\r\n\r\n"),
    STR(OK "A: b\r\n\n"),
    STR(OK "A: b\r\n\rX"),
    STR(OK "\n"),
    STR(OK "\r\r\n"),
    STR(OK "A\n: b\r\n\r\n"),
    STR(OK "A:\n\r\n"),
    /* framing */
    STR(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    STR(OK "Content-Length: 5\r\ncontent-length: 6\r\n\r\n"),
    STR(OK "Content-Length: 5, 5\r\n\r\n"),
    STR(OK "Content-Length: 5 5\r\n\r\n"),
    STR(OK "Content-Length:\r\n\r\n"),
    STR(OK "Content-Length: +5\r\n\r\n"),
    STR(OK "Content-Length: -5\r\n\r\n"),
    STR(OK "Content-Length: 0x5\r\n\r\n"),
    STR(OK "Content-Length: 5.0\r\n\r\n"),
    STR(OK "Content-Length: \"5\"\r\n\r\n"),
    STR(OK "Content-Length: 9223372036854775808\r\n\r\n"),
    STR(OK "Content-Length: 99999999999999999999\r\n\r\n"),
    STR(OK "Content-Length: \xb5\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    STR(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    STR(OK "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
    STR(OK "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked, identity\r\n\r\n"),
    STR(OK "Transfer-Encoding: identity\r\n\r\n"),
    STR(OK "Transfer-Encoding: xchunked\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked;a=b\r\n\r\n"),
    STR(OK "Transfer-Encoding: ,chunked\r\n\r\n"),
    STR(OK "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    STR(OK "Transfer-Encoding:\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked\t\r\n\r\n"),
    STR(OK "Transfer-Encoding:\tchunked\r\n\r\n"),
    STR(OK "Transfer-Encoding: chunked \t \r\n\r\n"),
    STR(OK "Content-Length:\t5\r\n\r\n"),
    STR(OK "Content-Length: 5\t\r\n\r\n"),
    STR("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    STR("HTTP/1.0 100 Continue\r\n\r\n"),
    STR("HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
    STR("HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n"),
    STR("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    STR("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    STR("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"),
    STR("HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked\r\n\r\n"),
    STR("HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n"),
};

START_TEST(bad_heads)
{
    struct response_head head;
    size_t consumed = 12345;
    const char *what;
    char *copy;
    for (int to_head = 0; to_head < 2; to_head++) {
        /* Refused as a whole; each piece is either incomplete or refused, and stays refused when more comes. */
        bool refused = false;
        for (size_t n = 0; n <= bad[_i].n; n++) {
            struct str piece = {bad[_i].p, n};
            enum pp_result rc = parse(piece, to_head != 0, &head, &consumed, &what, &copy);
            ck_assert_msg(rc == PP_INVALID || (rc == PP_AGAIN && !refused), "row %d, %zu bytes: %d", _i, n, rc);
            ck_assert((what != NULL) == (rc == PP_INVALID));
            refused = rc == PP_INVALID;
            free(copy);
        }
        ck_assert_msg(refused, "row %d", _i);
    }
    ck_assert_uint_eq(consumed, 12345);
}
END_TEST

START_TEST(views_and_values)
{
    static const struct str text = STR("HTTP/1.1 201 Made it \r\nA:  b c\t\r\nEmpty:\r\nContent-Length: 3\r\n\r\nabc");
    struct response_head head;
    size_t consumed;
    const char *what;
    ck_assert_int_eq(response_parse_head(text, false, &head, &consumed, &what), PP_OK);
    ck_assert(str_equal(head.reason, STR("Made it ")));
    ck_assert(str_equal(head.headers.items[0].name, STR("A")));
    ck_assert(str_equal(head.headers.items[0].value, STR("b c")));
    ck_assert(str_equal(head.headers.items[1].value, STR("")));
    ck_assert_uint_eq(consumed, text.n - 3);
    for (size_t i = 0; i < head.headers.count; i++) {
        ck_assert(head.headers.items[i].name.p > text.p && head.headers.items[i].name.p < text.p + consumed);
        ck_assert(head.headers.items[i].value.p > text.p && head.headers.items[i].value.p < text.p + consumed);
    }
}
END_TEST

START_TEST(keep_alive_timeouts)
{
    static const struct {
        const char *line, *digits;
    } rows[] = {
        {"Keep-Alive: timeout=5", "5"},
        {"Keep-Alive: timeout=75, max=100", "75"},
        {"Keep-Alive: max=100 , Timeout=9", "9"},
        {"Keep-Alive: max=1", ""},
        {"Keep-Alive: timeout=", ""},
        {"Keep-Alive: timeout=x", ""},
        {"Keep-Alive: timeout=5x", ""},
        {"Keep-Alive: timeout=-5", ""},
        {"Keep-Alive: 300", ""},
        {"Keep-Alive:", ""},
        {"X: timeout=5", ""},
        {"Keep_Alive: timeout=5", ""},
        {"Keep-Alive: max=1\r\nkeep-alive: timeout=6", "6"},
        {"Keep-Alive: timeout=7\r\nkeep-alive: timeout=6", "7"},
        {"X: 1\r\nContent-Type: timeout=8", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        int n = snprintf(text, sizeof text, OK "%s\r\n\r\n", rows[i].line);
        struct response_head head;
        size_t consumed;
        const char *what;
        ck_assert_int_eq(response_parse_head((struct str){text, (size_t)n}, false, &head, &consumed, &what), PP_OK);
        ck_assert_msg(str_equal(head.keep_alive_timeout, str_of(rows[i].digits)), "%s", rows[i].line);
    }
}
END_TEST

/* A head of exactly `size` bytes. */
static char *head_of(size_t size)
{
    char *text = malloc(size);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', size);
    memcpy(text, OK "A: ", sizeof OK - 1 + 3);
    memcpy(text + size - 4, "\r\n\r\n", 4);
    return text;
}

START_TEST(size_limit)
{
    struct response_head head;
    size_t consumed;
    const char *what;
    char *text = head_of(LIMIT_RESPONSE_HEAD);
    ck_assert_int_eq(response_parse_head((struct str){text, LIMIT_RESPONSE_HEAD}, false, &head, &consumed, &what),
                     PP_OK);
    ck_assert_uint_eq(consumed, LIMIT_RESPONSE_HEAD);
    ck_assert_int_eq(response_parse_head((struct str){text, LIMIT_RESPONSE_HEAD - 1}, false, &head, &consumed, &what),
                     PP_AGAIN);
    free(text);

    text = head_of(LIMIT_RESPONSE_HEAD + 1);
    for (size_t n = LIMIT_RESPONSE_HEAD; n <= LIMIT_RESPONSE_HEAD + 1; n++) {
        what = NULL;
        ck_assert_int_eq(response_parse_head((struct str){text, n}, false, &head, &consumed, &what), PP_LIMIT);
        char said[32];
        (void)snprintf(said, sizeof said, "over %u KiB", LIMIT_RESPONSE_HEAD / 1024);
        ck_assert_ptr_nonnull(strstr(what, said));
    }
    free(text);
}
END_TEST

START_TEST(header_limit)
{
    char text[64 + 6 * (LIMIT_HEADERS + 1)];
    for (size_t lines = LIMIT_HEADERS; lines <= LIMIT_HEADERS + 1; lines++) {
        size_t n = sizeof OK - 1;
        memcpy(text, OK, n);
        for (size_t i = 0; i < lines; i++, n += 6)
            memcpy(text + n, "A: b\r\n", 6);
        memcpy(text + n, "\r\n", 2);
        struct response_head head;
        size_t consumed;
        const char *what;
        enum pp_result rc = response_parse_head((struct str){text, n + 2}, false, &head, &consumed, &what);
        ck_assert_int_eq(rc, lines == LIMIT_HEADERS ? PP_OK : PP_LIMIT);
    }
}
END_TEST

/* --- bodies --- */

/* Feeds `text` in pieces of `step` bytes; gathers the payload; returns the last verdict and what was left over. */
static enum pp_result read_body(enum response_framing framing, int64_t length, struct str text, size_t step,
                                char *payload, size_t *payload_n, size_t *left, enum pp_result *eof)
{
    struct body_reader r;
    body_reader_init(&r, framing, length);
    enum pp_result rc = PP_AGAIN;
    *payload_n = 0;
    size_t at = 0;
    do {
        size_t n = text.n - at < step ? text.n - at : step;
        char *copy = malloc(n == 0 ? 1 : n);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text.p + at, n);
        struct str in = {copy, n}, data;
        do {
            rc = body_reader_next(&r, &in, &data);
            ck_assert(data.n == 0 || (data.p >= copy && data.p + data.n <= copy + n));
            memcpy(payload + *payload_n, data.n == 0 ? "" : data.p, data.n);
            *payload_n += data.n;
        } while (rc == PP_OK && in.n > 0);
        ck_assert(rc != PP_AGAIN || in.n == 0);
        at += n - in.n;
        if (rc == PP_END || rc == PP_INVALID) { /* and so for ever */
            struct str more = STR("0\r\n\r\n");
            ck_assert_int_eq(body_reader_next(&r, &more, &data), rc);
            ck_assert_uint_eq(data.n, 0);
        }
        free(copy);
    } while ((rc == PP_OK || rc == PP_AGAIN) && at < text.n);
    *left = text.n - at;
    *eof = body_reader_eof(&r);
    return rc;
}

static const struct {
    enum response_framing framing;
    int64_t length;
    struct str text, payload;
    enum pp_result rc; /* PP_AGAIN stands for PP_OK too: more is expected */
    size_t left;
    enum pp_result eof;
} bodies[] = {
    {RESPONSE_NO_BODY, -1, STR(""), STR(""), PP_END, 0, PP_END},
    {RESPONSE_NO_BODY, 5, STR("abcde"), STR(""), PP_END, 5, PP_END},
    {RESPONSE_LENGTH, 5, STR(""), STR(""), PP_AGAIN, 0, PP_BROKEN},
    {RESPONSE_LENGTH, 5, STR("abcd"), STR("abcd"), PP_AGAIN, 0, PP_BROKEN},
    {RESPONSE_LENGTH, 5, STR("abcde"), STR("abcde"), PP_END, 0, PP_END},
    {RESPONSE_LENGTH, 5, STR("abcdefg"), STR("abcde"), PP_END, 2, PP_END},
    {RESPONSE_LENGTH, INT64_MAX, STR("abc"), STR("abc"), PP_AGAIN, 0, PP_BROKEN},
    {RESPONSE_UNTIL_CLOSE, -1, STR(""), STR(""), PP_AGAIN, 0, PP_END},
    {RESPONSE_UNTIL_CLOSE, -1, STR("abc\r\n"), STR("abc\r\n"), PP_AGAIN, 0, PP_END},
#define CHUNKED(text, payload, rc, left, eof)                                                                          \
    {                                                                                                                  \
        RESPONSE_CHUNKED, -1, STR(text), STR(payload), rc, left, eof                                                   \
    }
    CHUNKED("", "", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("0\r\n\r\n", "", PP_END, 0, PP_END),
    CHUNKED("0\r\n\r\nHTTP/1.1", "", PP_END, 8, PP_END),
    CHUNKED("3\r\nabc\r\n0\r\n\r\n", "abc", PP_END, 0, PP_END),
    CHUNKED("3\r\na\r\n\r\n2\r\nde\r\n00\r\n\r\n", "a\r\nde", PP_END, 0, PP_END),
    CHUNKED("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", PP_END, 0, PP_END),
    CHUNKED("0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", "abc", PP_END, 0, PP_END),
    CHUNKED("1f\r\n0123456789012345678901234567890\r\n0\r\n\r\n", "0123456789012345678901234567890", PP_END, 0, PP_END),
    CHUNKED("3;\r\nabc\r\n0\r\n\r\n", "abc", PP_END, 0, PP_END),
    CHUNKED("3;a=b;c=\"d e\"\r\nabc\r\n0;z\r\n\r\n", "abc", PP_END, 0, PP_END),
    CHUNKED("0\r\nA: b\r\n\r\n", "", PP_END, 0, PP_END),
    CHUNKED("0\r\nA: b\r\nAuthorization:\tx\xff\r\nEmpty:\r\n\r\nrest", "", PP_END, 4, PP_END),
    CHUNKED("3\r\nab", "ab", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("3\r\nabc", "abc", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("3\r\nabc\r\n", "abc", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("3\r\nabc\r\n0\r\n", "abc", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("3\r\nabc\r\n0\r\n\r", "abc", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("3\r\nabc\r\n0\r\nA: b\r\n", "abc", PP_AGAIN, 0, PP_BROKEN),
    CHUNKED("7fffffffffffffff\r\nabc", "abc", PP_AGAIN, 0, PP_BROKEN),
    /* malformed: `left` is what was not taken, the bad byte being taken */
    CHUNKED("\r\n", "", PP_INVALID, 1, PP_BROKEN),
    CHUNKED("g\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("-1\r\n", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("+1\r\n", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("0x1\r\n", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED(" 3\r\n", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("3 \r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("3\t;a\r\n", "", PP_INVALID, 4, PP_BROKEN),
    CHUNKED(";a\r\n", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("3\nabc", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("3\rabc", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("3;a\nabc", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("3;a\rbc", "", PP_INVALID, 1, PP_BROKEN),
    CHUNKED("3;\0\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("3;\x7f\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("00000000000000003\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("8000000000000000\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("ffffffffffffffff\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("3\r\nabcd\r\n", "abc", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("3\r\nabc\n0\r\n", "abc", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("3\r\nabc\rX", "abc", PP_INVALID, 0, PP_BROKEN),
    CHUNKED("3\r\nabc0\r\n\r\n", "abc", PP_INVALID, 4, PP_BROKEN),
    CHUNKED("0\r\n\n", "", PP_INVALID, 0, PP_BROKEN),
    CHUNKED("0\r\n\rX", "", PP_INVALID, 0, PP_BROKEN),
    CHUNKED("0\r\n A: b\r\n\r\n", "", PP_INVALID, 8, PP_BROKEN),
    CHUNKED("0\r\n: b\r\n\r\n", "", PP_INVALID, 6, PP_BROKEN),
    CHUNKED("0\r\nA : b\r\n\r\n", "", PP_INVALID, 7, PP_BROKEN),
    CHUNKED("0\r\nA\r\n\r\n", "", PP_INVALID, 3, PP_BROKEN),
    CHUNKED("0\r\nA: b\n\r\n", "", PP_INVALID, 2, PP_BROKEN),
    CHUNKED("0\r\nA: \0\r\n\r\n", "", PP_INVALID, 4, PP_BROKEN),
    CHUNKED("0\r\nA: b\rX", "", PP_INVALID, 0, PP_BROKEN),
};

START_TEST(bodies_in_every_split)
{
    char payload[128];
    for (size_t step = 1; step <= bodies[_i].text.n + 1; step++) {
        size_t n, left;
        enum pp_result eof;
        enum pp_result rc =
            read_body(bodies[_i].framing, bodies[_i].length, bodies[_i].text, step, payload, &n, &left, &eof);
        if (rc == PP_OK)
            rc = PP_AGAIN;
        ck_assert_msg(rc == bodies[_i].rc, "row %d step %zu: %d", _i, step, rc);
        ck_assert_msg(left == bodies[_i].left, "row %d step %zu: %zu left", _i, step, left);
        ck_assert_int_eq(eof, bodies[_i].eof);
        ck_assert(str_equal((struct str){payload, n}, bodies[_i].payload));
    }
}
END_TEST

/* PP_OK is progress; without input there is none. */
START_TEST(no_input_is_no_progress)
{
    static const struct {
        enum response_framing framing;
        enum pp_result empty;
    } rows[] = {{RESPONSE_CHUNKED, PP_AGAIN},
                {RESPONSE_LENGTH, PP_AGAIN},
                {RESPONSE_UNTIL_CLOSE, PP_AGAIN},
                {RESPONSE_NO_BODY, PP_END}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct body_reader r;
        body_reader_init(&r, rows[i].framing, 9);
        struct str none = STR_NONE, some = STR("5\r\nhe"), data;
        ck_assert_int_eq(body_reader_next(&r, &none, &data), rows[i].empty);
        ck_assert_uint_eq(data.n, 0);
        if (rows[i].framing == RESPONSE_NO_BODY)
            continue;
        ck_assert_int_eq(body_reader_next(&r, &some, &data), PP_OK);
        ck_assert_uint_eq(some.n, 0);
        ck_assert_int_eq(body_reader_next(&r, &some, &data), rows[i].empty);
        ck_assert_uint_eq(data.n, 0);
    }
}
END_TEST

/* `unit` repeated `count` times between `front` and `back`, read in one piece. */
static enum pp_result read_repeated(const char *front, const char *unit, size_t count, const char *back)
{
    size_t f = strlen(front), u = strlen(unit), b = strlen(back), n = f + u * count + b;
    char *text = malloc(n);
    ck_assert_ptr_nonnull(text);
    memcpy(text, front, f);
    for (size_t i = 0; i < count; i++)
        memcpy(text + f + i * u, unit, u);
    memcpy(text + f + u * count, back, b);
    struct body_reader r;
    body_reader_init(&r, RESPONSE_CHUNKED, -1);
    struct str in = {text, n}, data;
    enum pp_result rc;
    do {
        rc = body_reader_next(&r, &in, &data);
    } while (rc == PP_OK && in.n > 0);
    free(text);
    return rc;
}

START_TEST(chunk_limits)
{
    ck_assert_int_eq(read_repeated("0;", "a", LIMIT_CHUNK_LINE - 2, "\r\n\r\n"), PP_END);
    ck_assert_int_eq(read_repeated("0;", "a", LIMIT_CHUNK_LINE - 1, "\r\n\r\n"), PP_INVALID);
    /* each chunk line has its own limit; the trailer section has one as a whole, its final CRLF included */
    ck_assert_int_eq(read_repeated("", "1;aaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n", 1000, "0\r\n\r\n"), PP_END);
    ck_assert_int_eq(read_repeated("0\r\n", "A: bcd\r\n", LIMIT_TRAILER_BYTES / 8 - 1, "A:bc\r\n\r\n"), PP_END);
    ck_assert_int_eq(read_repeated("0\r\n", "A: bcd\r\n", LIMIT_TRAILER_BYTES / 8 - 1, "A:bcd\r\n\r\n"), PP_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("response");
    TCase *tests = tcase_create("response");
    tcase_add_loop_test(tests, good_heads, 0, sizeof good / sizeof good[0]);
    tcase_add_loop_test(tests, bad_heads, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tests, views_and_values);
    tcase_add_test(tests, keep_alive_timeouts);
    tcase_add_test(tests, size_limit);
    tcase_add_test(tests, header_limit);
    tcase_add_loop_test(tests, bodies_in_every_split, 0, sizeof bodies / sizeof bodies[0]);
    tcase_add_test(tests, no_input_is_no_progress);
    tcase_add_test(tests, chunk_limits);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
