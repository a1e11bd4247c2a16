/* http/wsframe and the handshake's answer: boundaries in every split, Close frames, which 101 may start a tunnel. */
#include "http/wsframe.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* Frames in a row; `ends` are the offsets after each. */
static const struct {
    struct str bytes;
    size_t ends[6]; /* 0-terminated */
    bool closed;
    size_t broken_at; /* bytes after which it is broken; 0: never */
} streams[] = {
    {STR(""), {0}, false, 0},
    {STR("\x81\x00"), {2}, false, 0},
    {STR("\x81\x05Hello"), {7}, false, 0},
    {STR("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), {11}, false, 0},
    {STR("\x81\x80\x01\x02\x03\x04"), {6}, false, 0},
    {STR("\x01\x03Hel\x80\x02lo"), {5, 9}, false, 0},
    {STR("\x01\x03Hel\x89\x00\x80\x02lo"), {5, 7, 11}, false, 0},
    {STR("\x89\x05Hello\x8a\x05Hello"), {7, 14}, false, 0},
    {STR("\xc1\x03"
         "abc\xe2\x00\xf2\x00"),
     {5, 7, 9},
     false,
     0},
    {STR("\x82\x7e\x00\x03"
         "abc"),
     {7},
     false,
     0},
    {STR("\x82\x7e\x00\x00\x81\x01z"), {4, 7}, false, 0},
    {STR("\x82\xfe\x00\x03"
         "MASKabc"),
     {11},
     false,
     0},
    {STR("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x03"
         "abc"),
     {13},
     false,
     0},
    {STR("\x82\xff\x00\x00\x00\x00\x00\x00\x00\x03MASKabc\x81\x01z"), {17, 20}, false, 0},
    {STR("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"
         "abc"),
     {0},
     false,
     0},
    {STR("\x88\x00"), {2}, true, 0},
    {STR("\x88\x02\x03\xe8"), {4}, true, 0},
    {STR("\x88\x82MASK\x03\xe8"), {8}, true, 0},
    {STR("\x81\x01z\x88\x02\x03\xe8\x81\x01z"), {3, 7, 10}, true, 0},
    /* broken */
    {STR("\x83\x00"), {0}, false, 2},
    {STR("\x87\x00"), {0}, false, 2},
    {STR("\x8b\x00"), {0}, false, 2},
    {STR("\x8f\x00"), {0}, false, 2},
    {STR("\x08\x00"), {0}, false, 2},
    {STR("\x09\x00"), {0}, false, 2},
    {STR("\x88\x7e\x00\x7e"), {0}, false, 4},
    {STR("\x89\x7e\x00\x01"), {0}, false, 0}, /* within bounds, though not written in the shortest way */
    {STR("\x89\x7e\x00\x7e"), {0}, false, 4},
    {STR("\x88\xff\x00\x00\x00\x00\x00\x01\x00\x00MASK"), {0}, false, 14},
    {STR("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), {0}, false, 10},
    {STR("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), {0}, false, 10},
    {STR("\x81\x01z\x83\x00\x81\x00"), {3}, false, 5},
    {STR("GET / HTTP/1.1\r\n"), {0}, false, 2},
    {STR("HTTP/1.1 200 OK\r\n"), {0}, false, 2},
};

static bool is_end(size_t row, size_t at)
{
    for (size_t i = 0; streams[row].ends[i] != 0; i++) {
        if (streams[row].ends[i] == at)
            return true;
    }
    return at == 0;
}

static size_t next_end(size_t row, size_t at)
{
    for (size_t i = 0; streams[row].ends[i] != 0; i++) {
        if (streams[row].ends[i] > at)
            return streams[row].ends[i];
    }
    return streams[row].bytes.n;
}

static bool is_broken(size_t row, size_t at)
{
    return streams[row].broken_at != 0 && at >= streams[row].broken_at;
}

START_TEST(boundaries_in_every_split)
{
    size_t row = (size_t)_i;
    struct str bytes = streams[row].bytes;
    for (size_t step = 1; step <= bytes.n + 1; step++) {
        struct wsframe f;
        wsframe_init(&f);
        bool closed = false;
        for (size_t at = 0;;) {
            ck_assert_int_eq(f.broken, is_broken(row, at));
            ck_assert_msg(wsframe_at_boundary(&f) == (is_end(row, at) && !f.broken && !f.closed),
                          "row %zu step %zu at %zu", row, step, at);
            size_t rest = bytes.n - at, to = wsframe_to_boundary(&f, bytes.p + at, rest);
            if (f.broken)
                ck_assert_uint_eq(to, rest);
            else
                ck_assert_msg(to == (is_end(row, at) ? 0 : next_end(row, at) - at), "row %zu step %zu at %zu: %zu", row,
                              step, at, to);
            ck_assert(f.closed || !closed);
            closed = f.closed;
            if (at == bytes.n)
                break;
            size_t n = rest < step ? rest : step;
            char *copy = malloc(n);
            ck_assert_ptr_nonnull(copy);
            memcpy(copy, bytes.p + at, n);
            wsframe_feed(&f, copy, n);
            free(copy);
            at += n;
        }
        ck_assert_int_eq(f.closed, streams[row].closed);
    }
}
END_TEST

START_TEST(control_frames_of_126_bytes_break)
{
    char bytes[4 + 126] = "\x89\x7e\x00\x7d";
    struct wsframe f;
    wsframe_init(&f);
    wsframe_feed(&f, bytes, 4 + 125);
    ck_assert(wsframe_at_boundary(&f));
    bytes[3] = 0x7e;
    wsframe_init(&f);
    wsframe_feed(&f, bytes, sizeof bytes);
    ck_assert(f.broken && !wsframe_at_boundary(&f));
}
END_TEST

START_TEST(long_payloads_are_counted)
{
    static const char header[] = "\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x02"; /* 4 GiB and 2 bytes */
    struct wsframe f;
    wsframe_init(&f);
    wsframe_feed(&f, header, 10);
    ck_assert_uint_eq(f.payload_left, UINT64_C(0x100000002));
    static char block[1 << 20];
    for (int i = 0; i < 4096; i++)
        wsframe_feed(&f, block, sizeof block);
    ck_assert_uint_eq(f.payload_left, 2);
    ck_assert_uint_eq(wsframe_to_boundary(&f, block, 100), 2);
    wsframe_feed(&f, block, 2);
    ck_assert(wsframe_at_boundary(&f));
}
END_TEST

START_TEST(close_frames)
{
    struct buf out;
    buf_init(&out, 256);
    ck_assert_int_eq(wsframe_write_close(&out, 1012, STR("service restart"), NULL), PP_OK);
    ck_assert(str_equal(buf_str(&out), STR("\x88\x11\x03\xf4service restart")));
    buf_clear(&out);
    ck_assert_int_eq(wsframe_write_close(&out, 1000, STR_NONE, NULL), PP_OK);
    ck_assert(str_equal(buf_str(&out), STR("\x88\x02\x03\xe8")));
    buf_clear(&out);
    const unsigned char mask[4] = {0x11, 0x22, 0x33, 0x44};
    ck_assert_int_eq(wsframe_write_close(&out, 1001, STR("bye"), mask), PP_OK);
    ck_assert(str_equal(buf_str(&out), STR("\x88\x85\x11\x22\x33\x44\x12\xcb\x51\x3d\x74")));

    /* What is written is one whole Close frame, with and without a mask, up to the longest reason. */
    char reason[124];
    memset(reason, 'r', sizeof reason);
    for (size_t n = 0; n <= 123; n++) {
        for (int masked = 0; masked < 2; masked++) {
            buf_clear(&out);
            ck_assert_int_eq(wsframe_write_close(&out, 1012, (struct str){reason, n}, masked ? mask : NULL), PP_OK);
            struct wsframe f;
            wsframe_init(&f);
            wsframe_feed(&f, buf_str(&out).p, buf_len(&out));
            ck_assert(f.closed && !f.broken && !f.in_payload && f.have == 0);
            ck_assert_uint_eq(buf_len(&out), 4 + n + (masked ? 4 : 0));
        }
    }
    buf_clear(&out);
    ck_assert_int_eq(wsframe_write_close(&out, 1012, (struct str){reason, 124}, NULL), PP_INVALID);
    ck_assert_int_eq(wsframe_write_close(&out, 65536, STR_NONE, NULL), PP_INVALID);
    ck_assert_uint_eq(buf_len(&out), 0);
    buf_free(&out);
    buf_init(&out, 3);
    ck_assert_int_eq(wsframe_write_close(&out, 1012, STR_NONE, NULL), PP_LIMIT);
    buf_free(&out);
}
END_TEST

START_TEST(accept_values)
{
    char accept[29];
    ck_assert_int_eq(wsframe_accept(STR(KEY), accept), PP_OK); /* the example of RFC 6455 1.3 */
    ck_assert_str_eq(accept, ACCEPT);
    ck_assert_int_eq(wsframe_accept(STR("x"), accept), PP_INVALID);
    ck_assert_int_eq(wsframe_accept(STR(KEY "="), accept), PP_INVALID);
}
END_TEST

#define STATUS   "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADED "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define ACCEPTED "Sec-WebSocket-Accept: " ACCEPT "\r\n"

static const struct {
    const char *answer, *protocols, *extensions; /* offered; NULL: none */
    bool fine;
} answers[] = {
    {STATUS UPGRADED ACCEPTED, NULL, NULL, true},
    {STATUS "upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" ACCEPTED, NULL, NULL, true},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol: b\r\n", "a, b", NULL, true},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n", NULL,
     "permessage-deflate; client_max_window_bits, x", true},
    {STATUS UPGRADED ACCEPTED "Server: x\r\nDate: y\r\n", "a", "b", true},
    {"HTTP/1.1 200 OK\r\n" UPGRADED ACCEPTED, NULL, NULL, false},
    {"HTTP/1.1 100 Continue\r\n" UPGRADED ACCEPTED, NULL, NULL, false},
    {STATUS, NULL, NULL, false},
    {STATUS ACCEPTED, NULL, NULL, false},
    {STATUS UPGRADED, NULL, NULL, false},
    {STATUS "Connection: Upgrade\r\n" ACCEPTED, NULL, NULL, false},
    {STATUS "Upgrade: websocket\r\n" ACCEPTED, NULL, NULL, false},
    {STATUS "Upgrade: websocket\r\nConnection: close\r\n" ACCEPTED, NULL, NULL, false},
    {STATUS "Upgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPTED, NULL, NULL, false},
    {STATUS "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n" ACCEPTED, NULL, NULL, false},
    {STATUS "Upgrade: websocket\r\n" UPGRADED ACCEPTED, NULL, NULL, false},
    {STATUS "Upgrade:\r\nConnection: Upgrade\r\n" ACCEPTED, NULL, NULL, false},
    {STATUS UPGRADED ACCEPTED ACCEPTED, NULL, NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Accept: x\r\n", NULL, NULL, false},
    {STATUS UPGRADED "Sec-WebSocket-Accept: x\r\n", NULL, NULL, false},
    {STATUS UPGRADED "Sec-WebSocket-Accept:\r\n", NULL, NULL, false},
    {STATUS UPGRADED "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=\r\n", NULL, NULL, false},
    {STATUS UPGRADED "Sec_WebSocket_Accept: " ACCEPT "\r\n", NULL, NULL, false},
    {STATUS UPGRADED ACCEPTED "Content-Length: 0\r\n", NULL, NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol: a\r\n", NULL, NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol: c\r\n", "a, b", NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol: A\r\n", "a, b", NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol: a, b\r\n", "a, b", NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol:\r\n", "a, b", NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n", "a, b", NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL, NULL, false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Extensions: y\r\n", NULL, "x", false},
    {STATUS UPGRADED ACCEPTED "Sec-WebSocket-Extensions: x, y\r\n", NULL, "x", false},
};

START_TEST(which_101_starts_a_tunnel)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "%s\r\n", answers[_i].answer);
    struct response_head head;
    size_t consumed;
    const char *what = NULL;
    ck_assert_int_eq(response_parse_head((struct str){text, (size_t)n}, false, &head, &consumed, &what), PP_OK);

    struct header_list request = {0};
    ck_assert(headers_add(&request, STR("Sec-WebSocket-Key"), STR(KEY)));
    if (answers[_i].protocols != NULL)
        ck_assert(headers_add(&request, STR("sec-websocket-protocol"), str_of(answers[_i].protocols)));
    if (answers[_i].extensions != NULL)
        ck_assert(headers_add(&request, STR("Sec-WebSocket-Extensions"), str_of(answers[_i].extensions)));
    enum pp_result rc = wsframe_check_101(&head, &request, &what);
    ck_assert_msg(rc == (answers[_i].fine ? PP_OK : PP_INVALID), "row %d: %s", _i, what == NULL ? "accepted" : what);
    ck_assert((what == NULL) == answers[_i].fine);

    struct header_list keyless = {0};
    ck_assert_int_eq(wsframe_check_101(&head, &keyless, &what), PP_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wsframe");
    TCase *tests = tcase_create("wsframe");
    tcase_add_loop_test(tests, boundaries_in_every_split, 0, sizeof streams / sizeof streams[0]);
    tcase_add_test(tests, control_frames_of_126_bytes_break);
    tcase_add_test(tests, long_payloads_are_counted);
    tcase_add_test(tests, close_frames);
    tcase_add_test(tests, accept_values);
    tcase_add_loop_test(tests, which_101_starts_a_tunnel, 0, sizeof answers / sizeof answers[0]);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
