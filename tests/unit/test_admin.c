/* The admin interface over real sockets: routes, the browser's guard, reloads that take their time, crowds. */
#include "daemon/admin.h"
#include "status_sample.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct loop *loop;
static struct admin *admin;
static struct metrics *metrics;
static struct admin_reload *waiter;
static int tcp, local;
static struct sockaddr_in tcp_address;
static struct sockaddr_un local_address;

static void snapshot(void *owner, struct status_snapshot *out)
{
    (void)owner;
    sample_fill(out);
}

static void reload(void *owner, struct admin_reload *w)
{
    (void)owner;
    waiter = w;
}

static const struct admin_hooks hooks = {snapshot, reload, NULL};

static void setup(void)
{
    static const char *const none[] = {"none"};
    struct metrics_reasons reasons[METRICS_RETRIES + 1] = {
        {.names = none, .count = 1}, {.names = none, .count = 1}, {.names = none, .count = 1}};
    socklen_t size = sizeof tcp_address;
    waiter = NULL;
    loop = loop_new();
    metrics = metrics_new(reasons);
    admin = admin_new(loop, &hooks, metrics);
    ck_assert(loop != NULL && metrics != NULL && admin != NULL);
    tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    tcp_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(bind(tcp, (struct sockaddr *)&tcp_address, sizeof tcp_address), 0);
    ck_assert_int_eq(getsockname(tcp, (struct sockaddr *)&tcp_address, &size), 0);
    ck_assert_int_eq(listen(tcp, 128), 0);
    local = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    local_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(local_address.sun_path, sizeof local_address.sun_path, "/tmp/proofproxy-test-%d.sock",
                   (int)getpid());
    ck_assert_int_eq(bind(local, (struct sockaddr *)&local_address, sizeof local_address), 0);
    ck_assert_int_eq(listen(local, 128), 0);
    ck_assert_int_eq(admin_listen(admin, tcp), PP_OK);
    ck_assert_int_eq(admin_listen(admin, local), PP_OK);
}

static void teardown(void)
{
    admin_free(admin);
    metrics_free(metrics);
    loop_free(loop);
    close(tcp);
    close(local);
    (void)unlink(local_address.sun_path);
}

static msec before_wait(void *owner)
{
    (void)owner;
    msec wait = admin_before_wait(admin);
    return wait < 0 || wait > 20 ? 20 : wait;
}

static void turns(int n)
{
    const struct loop_hooks turn = {before_wait, NULL, NULL};
    for (int i = 0; i < n; i++)
        loop_turn(loop, &turn);
}

static int connected(bool unix_socket)
{
    int fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    int rc = unix_socket ? connect(fd, (struct sockaddr *)&local_address, sizeof local_address)
                         : connect(fd, (struct sockaddr *)&tcp_address, sizeof tcp_address);
    ck_assert_int_eq(rc, 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until the server closes; at most some seconds. */
static char *answer_on(int fd)
{
    static char answer[1u << 20];
    size_t n = 0;
    for (int i = 0; i < 300; i++) {
        ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, MSG_DONTWAIT);
        if (got > 0) {
            n += (size_t)got;
            continue;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            break;
        turns(1);
    }
    close(fd);
    answer[n] = '\0';
    return answer;
}

static char *ask(bool unix_socket, const char *request)
{
    int fd = connected(unix_socket);
    send_text(fd, request);
    return answer_on(fd);
}

static const struct {
    const char *request;
    const char *status;
    const char *words;
    bool unix_socket;
} cases[] = {
    {"GET /livez HTTP/1.1\r\nHost: localhost:9780\r\n\r\n", "200", "\r\n\r\nalive\n", false},
    {"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "200", "\r\n\r\nready\n", false},
    {"GET /readyz?environment=production HTTP/1.1\r\nHost: [::1]:9780\r\n\r\n", "200", "ready", false},
    {"GET /readyz?environment=nowhere HTTP/1.1\r\nHost: 10.0.0.9\r\n\r\n", "503", "no such environment", false},
    {"GET /readyz?x=y HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", "environment=NAME", false},
    {"GET /upstreamz HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", "production: answers (404", false},
    {"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", "\"fingerprint\": \"0123456789ab\"", false},
    {"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", "proofproxy_build_info", false},
    {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", "Content-Security-Policy: default-src 'none'", false},
    {"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", "Content-Length: 6\r\n", false},
    {"GET /livez HTTP/1.1\r\nHost: anything.example\r\n\r\n", "200", "alive", true},
    {"GET /livez HTTP/1.0\r\n\r\n", "200", "alive", true},
    /* not for browsers of other sites, nor for rebound names */
    {"GET /livez HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", "421", "admin_host_not_allowed", false},
    {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1.evil.example:9780\r\n\r\n", "421", "admin_host_not_allowed", false},
    {"GET /livez HTTP/1.1\r\nHost: [::1].evil.example\r\n\r\n", "421", "admin_host_not_allowed", false},
    {"GET /livez HTTP/1.1\r\nHost: [localhost]\r\n\r\n", "421", "admin_host_not_allowed", false},
    {"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400", "admin_host_repeated", false},
    {"GET /livez HTTP/1.0\r\n\r\n", "421", "admin_host_not_allowed", false},
    {"POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 0\r\n\r\n", "403",
     "admin_origin_not_allowed", false},
    {"POST /reload HTTP/1.1\r\nHost: a\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n", "403", "admin_origin_not_allowed",
     true},
    {"GET /status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", "403", "admin_cross_site", false},
    {"GET /status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\n\r\n", "403", "admin_cross_site", false},
    {"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\n\r\n", "200", "<main>", false},
    {"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n", "200", "<main>", false},
    /* methods and paths */
    {"GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n", "405", "Allow: POST\r\n", false},
    {"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "405", "Allow: GET, HEAD\r\n", false},
    {"OPTIONS /status HTTP/1.1\r\nHost: localhost\r\n\r\n", "405", "admin_method_not_allowed", false},
    {"GET /widget/session HTTP/1.1\r\nHost: localhost\r\n\r\n", "404", "admin_not_found", false},
    {"GET /livez/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "404", "admin_not_found", false},
    {"GET /%6civez HTTP/1.1\r\nHost: localhost\r\n\r\n", "404", "admin_not_found", false},
};

START_TEST(test_routes)
{
    char status[32];
    const char *answer = ask(cases[_i].unix_socket, cases[_i].request);
    (void)snprintf(status, sizeof status, "HTTP/1.1 %s ", cases[_i].status);
    ck_assert_msg(strncmp(answer, status, strlen(status)) == 0 || strncmp(answer + 7, "0 ", 2) == 0, "%s\n%.200s",
                  cases[_i].request, answer);
    ck_assert_msg(strstr(answer, cases[_i].words) != NULL, "%s\n%.600s", cases[_i].request, answer);
    ck_assert_ptr_null(strstr(answer, "Access-Control"));
}
END_TEST

START_TEST(test_reload_waits_for_its_verdict)
{
    int fd = connected(true);
    char byte;
    send_text(fd, "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    for (int i = 0; i < 100 && waiter == NULL; i++)
        turns(1);
    ck_assert_ptr_nonnull(waiter);
    turns(3);
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    admin_reload_done(waiter, true, "log.level: info -> debug\n");
    const char *answer = answer_on(fd);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 200 ", 13) == 0, "%s", answer);
    ck_assert_ptr_nonnull(strstr(answer, "\"ok\": true"));
    ck_assert_ptr_nonnull(strstr(answer, "log.level: info -> debug"));
}
END_TEST

START_TEST(test_reload_refused)
{
    int fd = connected(false);
    send_text(fd, "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    for (int i = 0; i < 100 && waiter == NULL; i++)
        turns(1);
    ck_assert_ptr_nonnull(waiter);
    admin_reload_done(waiter, false, "p.conf:3: workers: must be at least 0\np.conf:7: log: unknown key\n");
    const char *answer = answer_on(fd);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 422 ", 13) == 0, "%s", answer);
    ck_assert_ptr_nonnull(strstr(answer, "\"p.conf:7: log: unknown key\""));
}
END_TEST

/* The daemon stops while somebody waits: an answer, no abort. */
START_TEST(test_stop_during_a_reload)
{
    int fd = connected(true);
    send_text(fd, "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    for (int i = 0; i < 100 && waiter == NULL; i++)
        turns(1);
    ck_assert_ptr_nonnull(waiter);
    admin_free(admin);
    char answer[512];
    ssize_t n = recv(fd, answer, sizeof answer - 1, MSG_DONTWAIT);
    ck_assert_int_gt(n, 0);
    answer[n] = '\0';
    ck_assert_msg(strncmp(answer, "HTTP/1.1 503 ", 13) == 0, "%s", answer);
    close(fd);
    admin = admin_new(loop, &hooks, metrics);
    ck_assert_ptr_nonnull(admin);
}
END_TEST

START_TEST(test_large_body)
{
    static char request[16384];
    int n = snprintf(request, sizeof request, "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n");
    memset(request + n, 'x', 8000);
    const char *answer = ask(true, request);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 413 ", 13) == 0, "%.100s", answer);
    ck_assert_ptr_null(waiter);
}
END_TEST

/* More clients than connections: the silent ones hold their places, the others are served as places become free. */
START_TEST(test_crowd)
{
    int idle[LOCAL_SERVER_CONNECTIONS];
    for (unsigned i = 0; i < LOCAL_SERVER_CONNECTIONS; i++)
        idle[i] = connected(true);
    turns(5);
    int fd = connected(true);
    send_text(fd, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    turns(5);
    char byte;
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    close(idle[0]);
    ck_assert_ptr_nonnull(strstr(answer_on(fd), "alive"));
    for (unsigned i = 1; i < LOCAL_SERVER_CONNECTIONS; i++)
        close(idle[i]);
    turns(10);
    ck_assert_ptr_nonnull(strstr(ask(false, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"), "alive"));
}
END_TEST

/* One byte now and then does not keep a connection: the deadline is absolute. */
START_TEST(test_slow_request_is_cut)
{
    int fd = connected(true);
    clock_fake(1000000, 0);
    send_text(fd, "GET /livez HTTP/1.1\r\n");
    turns(3);
    clock_fake(1000000 + LOCAL_SERVER_DEADLINE - 100, 0);
    send_text(fd, "Host:");
    turns(3);
    clock_fake(1000000 + LOCAL_SERVER_DEADLINE + 100, 0);
    ck_assert_str_eq(answer_on(fd), "");
    clock_fake(-1, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admin");
    TCase *tc = tcase_create("admin");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_routes, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tc, test_reload_waits_for_its_verdict);
    tcase_add_test(tc, test_reload_refused);
    tcase_add_test(tc, test_stop_during_a_reload);
    tcase_add_test(tc, test_large_body);
    tcase_add_test(tc, test_crowd);
    tcase_add_test(tc, test_slow_request_is_cut);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
