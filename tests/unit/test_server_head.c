/* Which request heads the server takes for exact, and every short sequence of bytes that could be the end of one. */
#include "net/server.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONGEST      5u
#define ENOUGH_TURNS 4u /* to read what came and judge it */

static struct server *server;
static unsigned heads, exact;
static bool gone; /* the connection */

static void *begin(struct server_request *request, const struct server_head *head)
{
    (void)request;
    heads++;
    exact += head->exact;
    return NULL; /* the connection is closed */
}

static void closed(void *context, const struct server_end *end)
{
    (void)context;
    (void)end;
    gone = true;
}

static msec no_wait(void *owner)
{
    (void)owner;
    (void)server_before_wait(server);
    return 0;
}

static void after_turn(void *owner)
{
    (void)owner;
    server_turn(server);
}

/* A client sends this and no more. True when it was a request's head, taken for exact. */
static bool taken(struct loop *loop, const char *head, const char *more, size_t n)
{
    static const struct server_timeouts timeouts = {.header = 1000, .body = 1000, .idle = 1000};
    static const struct loop_hooks hooks = {no_wait, after_turn, NULL};
    struct server_group group = {0};
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(send(pair[0], head, strlen(head), 0), (ssize_t)strlen(head));
    ck_assert_int_eq(send(pair[0], more, n, 0), (ssize_t)n);
    heads = exact = 0;
    gone = false;
    server_add(server, pair[1], true, &timeouts, &group, NULL);
    for (unsigned turns = 0; !gone; turns++) {
        ck_assert_uint_lt(turns, 100);
        if (turns == ENOUGH_TURNS)
            (void)shutdown(pair[0], SHUT_RDWR); /* the head has not ended */
        loop_turn(loop, &hooks);
    }
    close(pair[0]);
    ck_assert_uint_le(heads, 1);
    return exact == 1;
}

/* libmicrohttpd makes NULs of LF, of CR before it, and of a line's first colon, so that what was a NUL before looks the
 * same. In these places, and no others; the fuzzer of the front knows the same ones. */
static bool is_end(const char *at, bool request_line)
{
    static const char ends[][4] = {
        {'\r', '\n', '\r', '\n'}, {'\r', '\n', '\0', '\n'}, {'\n', '\0', '\r', '\n'}, {'\n', '\0', '\0', '\n'},
        {'\0', '\n', '\r', '\n'}, {'\0', '\n', '\0', '\n'}, {'\0', '\r', '\n', '\n'}, {'\0', '\0', '\n', '\n'},
        {'\r', '\n', ':', '\n'},  {'\0', '\n', ':', '\n'},  {'\n', ':', '\r', '\n'},  {'\n', ':', '\0', '\n'},
    };
    for (size_t i = 0; i < (request_line ? 4 : sizeof ends / sizeof ends[0]); i++)
        if (memcmp(at, ends[i], 4) == 0)
            return true;
    return false;
}

/* A value may go on before the head ends; the request line ends with its version. */
static bool should_be_taken(const char *s, size_t n, bool request_line)
{
    size_t at = 0;
    while (!request_line && at < n && s[at] != '\0' && s[at] != '\n' &&
           (s[at] != '\r' || at + 1 == n || s[at + 1] != '\n'))
        at++;
    return n - at >= 4 && is_end(s + at, request_line);
}

static struct loop *begin_all(void)
{
    static const struct server_limits limits = {.connections = 4};
    static const struct server_handlers handlers = {.begin = begin, .closed = closed};
    struct loop *loop = loop_new();
    ck_assert_ptr_nonnull(loop);
    server = server_new(loop, &limits, &handlers);
    ck_assert_ptr_nonnull(server);
    return loop;
}

static void end_all(struct loop *loop)
{
    server_free(server);
    loop_free(loop);
}

static void try_all(const char *head, bool request_line)
{
    static const char alphabet[] = {'\0', '\r', '\n', ':', ' ', '\t', 'a'};
    const size_t letters = sizeof alphabet;
    struct loop *loop = begin_all();
    size_t count = 1;
    for (size_t n = 0; n <= LONGEST; n++, count *= letters) {
        for (size_t i = 0; i < count; i++) {
            char s[LONGEST];
            for (size_t j = 0, rest = i; j < n; j++, rest /= letters)
                s[j] = alphabet[rest % letters];
            bool is = taken(loop, head, s, n), should = should_be_taken(s, n, request_line);
            ck_assert_msg(is == should, "sequence %zu of %zu bytes behind '%s' is %staken", i, n, head,
                          is ? "" : "not ");
        }
    }
    end_all(loop);
}

START_TEST(test_ends_behind_a_header_line)
{
    try_all("GET / HTTP/1.1\r\nHost: a", false);
}
END_TEST

START_TEST(test_ends_behind_the_request_line)
{
    try_all("GET / HTTP/1.0", true);
}
END_TEST

/* Whole heads of which libmicrohttpd hands over something other than what was sent, and their next of kin that it does
 * not alter. */
START_TEST(test_altered_heads_are_not_exact)
{
    static const struct {
        struct str head;
        bool exact;
    } heads_sent[] = {
        {STR("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n"), true},
        {STR("\r\nGET / HTTP/1.1\r\nHost:a\r\nX:\t b \r\n\r\n"), true},
        {STR("GET / HTTP/1.1\nHost: a\r\nX: b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\nX: b\r\n\r\n"), false},
        {STR("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), false},
        {STR("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"), false},
        {STR("GET /\0b HTTP/1.1\r\nHost: a\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\0b\r\nX: b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\0\r\nX: b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\r\nHost: a\r\n\0X: b\r\n\r\n"), false},
        {STR("GET / HTTP/1.1\n:b\r\nHost: a\r\n\r\n"), false},
    };
    struct loop *loop = begin_all();
    for (size_t i = 0; i < sizeof heads_sent / sizeof heads_sent[0]; i++) {
        bool is = taken(loop, "", heads_sent[i].head.p, heads_sent[i].head.n);
        ck_assert_msg(is == heads_sent[i].exact, "head %zu is %staken", i, is ? "" : "not ");
        ck_assert_uint_eq(heads, 1);
    }
    end_all(loop);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server_head");
    TCase *tests = tcase_create("ends");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_ends_behind_a_header_line);
    tcase_add_test(tests, test_ends_behind_the_request_line);
    tcase_add_test(tests, test_altered_heads_are_not_exact);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
