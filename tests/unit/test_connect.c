/* Connecting: the descriptor comes out clean, failures are named, nothing leaks, nothing blocks. */
#include "net/connect.h"

#include "tls_peer.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* --- a resolver that does as told, in the place of the system's: no test depends on a network --- */

static int hang_ms = 3000;
static atomic_int lookups;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **); /* looked up by each thread */
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    atomic_fetch_add(&lookups, 1);
    if (host != NULL && strcmp(host, "unknown.example") == 0)
        return EAI_NONAME;
    if (host != NULL && strcmp(host, "hanging.example") == 0) {
        peer_sleep(hang_ms);
        return EAI_AGAIN;
    }
    return real(host, service, hints, out);
}

struct trial {
    struct connect_attempt attempt;
    bool done;
    int fd;
    enum upstream_failure why;
    char detail[256];
};

static void trial_opened(struct connect_attempt *a, int fd)
{
    struct trial *t = (struct trial *)a;
    t->done = true;
    t->fd = fd;
}

static void trial_failed(struct connect_attempt *a, enum upstream_failure why, const char *detail)
{
    struct trial *t = (struct trial *)a;
    t->done = true;
    t->why = why;
    (void)snprintf(t->detail, sizeof t->detail, "%s", detail);
}

static struct trial new_trial(void)
{
    return (struct trial){.attempt = {.opened = trial_opened, .failed = trial_failed}, .fd = -1};
}

static msec often(void *unused)
{
    (void)unused;
    return 10;
}

static void turn_until(struct loop *loop, const bool *done, int limit_ms)
{
    const struct loop_hooks hooks = {.before_wait = often};
    int64_t until = clock_usec() + (int64_t)limit_ms * 1000;
    while (!*done && clock_usec() < until)
        loop_turn(loop, &hooks);
}

static void turn_for(struct loop *loop, int ms)
{
    bool never = false;
    turn_until(loop, &never, ms);
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

static struct upstream_settings to(const char *host, unsigned port)
{
    return (struct upstream_settings){
        .environment = "test", .host = host, .port = port, .proxy = "", .interface = "", .connect_timeout = 2000};
}

/* One attempt from start to end; the descriptor, if any, is the caller's. */
static struct trial attempt(const struct upstream_settings *settings)
{
    struct loop *loop = loop_new();
    struct connector *c = connector_new(loop, settings);
    struct trial t = new_trial();
    ck_assert(loop != NULL && c != NULL);
    ck_assert_int_eq(connector_start(c, &t.attempt), PP_OK);
    ck_assert(!t.done); /* never from inside */
    turn_until(loop, &t.done, 10000);
    ck_assert(t.done);
    connector_free(&c);
    loop_turn(loop, &(struct loop_hooks){.before_wait = often});
    loop_free(loop);
    return t;
}

/* A port nobody listens on. */
static unsigned dead_port(void)
{
    struct peer_server server = {0};
    peer_listen(&server);
    (void)close(server.listener);
    return server.port;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, name, &value, &n), 0);
    return value;
}

static void echo(int fd)
{
    char answer[8];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(send(fd, "echo\n", 5, MSG_NOSIGNAL), 5);
    ck_assert_int_eq(poll(&p, 1, 3000), 1);
    ck_assert_int_eq(recv(fd, answer, sizeof answer, 0), 5);
    ck_assert(memcmp(answer, "echo\n", 5) == 0);
}

static const struct {
    const char *host;
    int family;
} hosts[] = {{"127.0.0.1", AF_INET}, {"::1", AF_INET6}, {"localhost", AF_INET}};

START_TEST(the_descriptor_is_ours_and_clean)
{
    struct peer_server server = {.family = hosts[_i].family};
    peer_start(&server);
    unsigned before = count_fds();
    struct upstream_settings settings = to(hosts[_i].host, server.port);
    struct trial t = attempt(&settings);
    ck_assert_msg(t.fd >= 0, "%s", t.detail);
    ck_assert_int_ne(fcntl(t.fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(t.fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(option(t.fd, IPPROTO_TCP, TCP_NODELAY), 1);
    ck_assert_int_eq(option(t.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    echo(t.fd); /* the connector is gone, the connection lives */
    (void)close(t.fd);
    peer_stop(&server);
    ck_assert_uint_eq(count_fds() + 1, before); /* less the listener */
}
END_TEST

START_TEST(many_at_once_leak_nothing)
{
    enum { MANY = 200 };
    static struct trial trials[MANY];
    struct peer_server server = {0};
    peer_start(&server);
    struct loop *loop = loop_new();
    unsigned before = count_fds();
    struct upstream_settings settings = to("127.0.0.1", server.port);
    struct connector *c = connector_new(loop, &settings);
    for (int i = 0; i < MANY; i++) {
        trials[i] = new_trial();
        ck_assert_int_eq(connector_start(c, &trials[i].attempt), PP_OK);
    }
    for (int i = 0; i < MANY; i++) {
        turn_until(loop, &trials[i].done, 5000);
        ck_assert_int_ge(trials[i].fd, 0);
        for (int j = 0; j < i; j++)
            ck_assert_int_ne(trials[i].fd, trials[j].fd);
    }
    connector_free(&c);
    turn_for(loop, 20);
    for (int i = 0; i < MANY; i++) {
        echo(trials[i].fd);
        (void)close(trials[i].fd);
    }
    for (int i = 0; i < 500 && atomic_load(&server.open) > 0; i++)
        peer_sleep(10);
    ck_assert_uint_eq(count_fds(), before);
    loop_free(loop);
    peer_stop(&server);
}
END_TEST

START_TEST(a_dead_port_is_refused_at_once)
{
    unsigned before = count_fds();
    struct upstream_settings settings = to(_i == 0 ? "127.0.0.1" : "localhost", dead_port());
    int64_t start = clock_usec();
    struct trial t = attempt(&settings);
    ck_assert_int_eq(t.why, UPSTREAM_FAILURE_CONNECT);
    ck_assert_msg(strstr(t.detail, "Connection refused") != NULL, "%s", t.detail);
    ck_assert_int_lt(clock_usec() - start, 1000000);
    ck_assert_uint_eq(count_fds(), before);
}
END_TEST

START_TEST(an_unknown_name)
{
    struct upstream_settings settings = to("unknown.example", 443);
    struct trial t = attempt(&settings);
    ck_assert_int_eq(t.why, UPSTREAM_FAILURE_DNS);
    ck_assert_msg(strstr(t.detail, "unknown.example could not be resolved") != NULL, "%s", t.detail);
}
END_TEST

/* A lookup that hangs holds up neither the loop, nor the timeout, nor a cancel, nor the end. */
START_TEST(a_hanging_lookup_freezes_nothing)
{
    struct upstream_settings settings = to("hanging.example", 443);
    settings.connect_timeout = 300;
    struct loop *loop = loop_new();
    struct connector *c = connector_new(loop, &settings);
    struct trial timed = new_trial(), cancelled = new_trial();
    ck_assert_int_eq(connector_start(c, &timed.attempt), PP_OK);
    ck_assert_int_eq(connector_start(c, &cancelled.attempt), PP_OK);
    int64_t begin = clock_usec(), longest = 0;
    while (!timed.done && clock_usec() - begin < 2000000) {
        int64_t turn = clock_usec();
        loop_turn(loop, &(struct loop_hooks){.before_wait = often});
        if (clock_usec() - turn > longest)
            longest = clock_usec() - turn;
    }
    ck_assert_int_eq(timed.why, UPSTREAM_FAILURE_TIMEOUT);
    ck_assert_msg(strstr(timed.detail, "waiting for name lookup") != NULL, "%s", timed.detail);
    begin = clock_usec();
    connect_cancel(&cancelled.attempt);
    connector_free(&c);
    turn_for(loop, 20);
    ck_assert_int_lt(clock_usec() - begin, 500000);
    ck_assert_int_lt(longest, 500000);
    loop_free(loop);
    peer_sleep(hang_ms); /* the resolver's threads end before the process does */
}
END_TEST

/* A listener whose queue is full: further SYNs go unanswered. */
static int full_listener(unsigned *port, int fillers[4])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    peer_sleep(50);
    return fd;
}

START_TEST(silence_is_a_timeout)
{
    unsigned port, before = count_fds();
    int fillers[4], listener = full_listener(&port, fillers);
    struct upstream_settings settings = to("127.0.0.1", port);
    settings.connect_timeout = 300;
    int64_t start = clock_usec();
    struct trial t = attempt(&settings);
    ck_assert_int_eq(t.why, UPSTREAM_FAILURE_TIMEOUT);
    ck_assert_msg(strstr(t.detail, "within 300 ms, waiting for TCP") != NULL, "%s", t.detail);
    ck_assert_int_ge(clock_usec() - start, 290000);
    (void)close(listener);
    for (int i = 0; i < 4; i++)
        (void)close(fillers[i]);
    ck_assert_uint_eq(count_fds(), before);
}
END_TEST

START_TEST(cancelling_is_silent_and_quick)
{
    unsigned port;
    int fillers[4], listener = full_listener(&port, fillers);
    struct upstream_settings settings = _i == 0 ? to("127.0.0.1", port) : to("hanging.example", 443);
    hang_ms = 500;
    struct loop *loop = loop_new();
    unsigned before = count_fds();
    struct connector *c = connector_new(loop, &settings);
    struct trial t = new_trial();
    ck_assert_int_eq(connector_start(c, &t.attempt), PP_OK);
    turn_until(loop, &t.done, 50);
    ck_assert(!t.done);
    int64_t start = clock_usec();
    connect_cancel(&t.attempt);
    connect_cancel(&t.attempt); /* twice is fine */
    ck_assert_int_lt(clock_usec() - start, 200000);
    turn_for(loop, 50);
    ck_assert(!t.done);
    connector_free(&c);
    turn_for(loop, 20);
    for (int i = 0; i < 500 && _i == 1 && count_fds() > before; i++) /* the resolver's thread ends in its own time */
        peer_sleep(10);
    ck_assert_uint_eq(count_fds(), before);
    loop_free(loop);
    (void)close(listener);
    for (int i = 0; i < 4; i++)
        (void)close(fillers[i]);
}
END_TEST

START_TEST(a_source_address)
{
    struct peer_server server = {0};
    struct sockaddr_in source;
    socklen_t n = sizeof source;
    peer_start(&server);
    struct upstream_settings settings = to("127.0.0.1", server.port);
    settings.interface = "127.0.0.9";
    struct trial t = attempt(&settings);
    ck_assert_msg(t.fd >= 0, "%s", t.detail);
    ck_assert_int_eq(getsockname(t.fd, (struct sockaddr *)&source, &n), 0);
    ck_assert_uint_eq(ntohl(source.sin_addr.s_addr), 0x7f000009);
    (void)close(t.fd);
    settings.interface = "nosuchif0";
    int before = atomic_load(&lookups);
    t = attempt(&settings);
    ck_assert_int_eq(atomic_load(&lookups), before); /* not taken for a host's name */
    ck_assert_int_eq(t.why, UPSTREAM_FAILURE_CONNECT);
    ck_assert_msg(strstr(t.detail, "egress.interface \"nosuchif0\"") != NULL, "%s", t.detail);
    peer_stop(&server);
}
END_TEST

/* --- egress proxy: one that takes a single connection, and answers as told --- */

struct proxy {
    struct peer_server at;
    const char *answer;
    char request[1024];
    pthread_t thread;
};

static void *proxy_run(void *owner)
{
    struct proxy *p = owner;
    size_t have = 0;
    ssize_t n;
    int fd = accept4(p->at.listener, NULL, NULL, SOCK_CLOEXEC);
    while (fd >= 0 && strstr(p->request, "\r\n\r\n") == NULL &&
           (n = recv(fd, p->request + have, sizeof p->request - 1 - have, 0)) > 0)
        have += (size_t)n;
    (void)send(fd, p->answer, strlen(p->answer), MSG_NOSIGNAL);
    char line[64];
    while ((n = recv(fd, line, sizeof line, 0)) > 0) /* stands for the far end */
        (void)send(fd, line, (size_t)n, MSG_NOSIGNAL);
    (void)close(fd);
    return NULL;
}

START_TEST(through_a_proxy)
{
    static const struct {
        const char *answer, *says;
    } cases[] = {
        {"HTTP/1.1 200 Connection established\r\nX-Note: hello\r\n\r\n", NULL},
        {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
         "egress proxy answered CONNECT 192.0.2.1:443 with status 403"},
        {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n", "with status 502"},
        {"", "egress proxy: "},
    };
    struct proxy proxy = {.answer = cases[_i].answer};
    char url[64];
    unsigned before = count_fds();
    peer_listen(&proxy.at);
    (void)snprintf(url, sizeof url, "http://user:secret@127.0.0.1:%u", proxy.at.port);
    ck_assert_int_eq(pthread_create(&proxy.thread, NULL, proxy_run, &proxy), 0);
    struct upstream_settings settings = to("192.0.2.1", 443);
    settings.proxy = url;
    settings.connect_timeout = 1000;
    struct trial t = attempt(&settings);
    if (cases[_i].says == NULL) {
        ck_assert_msg(t.fd >= 0, "%s", t.detail);
        echo(t.fd);
        (void)close(t.fd);
        ck_assert_int_eq(strncmp(proxy.request, "CONNECT 192.0.2.1:443 HTTP/1.1\r\n", 32), 0);
        ck_assert_ptr_nonnull(strstr(proxy.request, "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ="));
    } else {
        ck_assert_int_eq(t.fd, -1);
        ck_assert_int_eq(t.why, _i == 3 ? UPSTREAM_FAILURE_TIMEOUT : UPSTREAM_FAILURE_CONNECT);
        ck_assert_msg(strstr(t.detail, cases[_i].says) != NULL, "%s", t.detail);
        ck_assert_ptr_null(strstr(t.detail, "secret"));
    }
    (void)pthread_join(proxy.thread, NULL);
    (void)close(proxy.at.listener);
    ck_assert_uint_eq(count_fds(), before);
}
END_TEST

/* RFC 1928: greeting, choice, request, answer; the name goes to the proxy unresolved. */
static void *socks_run(void *owner)
{
    struct proxy *p = owner;
    char line[64];
    ssize_t n;
    int fd = accept4(p->at.listener, NULL, NULL, SOCK_CLOEXEC);
    (void)recv(fd, line, sizeof line, 0);
    (void)send(fd, "\x05\x00", 2, MSG_NOSIGNAL);
    n = recv(fd, p->request, sizeof p->request - 1, 0);
    char answer[] = "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01";
    answer[1] = p->answer[0];
    (void)send(fd, answer, 10, MSG_NOSIGNAL);
    while (n > 0 && (n = recv(fd, line, sizeof line, 0)) > 0)
        (void)send(fd, line, (size_t)n, MSG_NOSIGNAL);
    (void)close(fd);
    return NULL;
}

START_TEST(through_a_socks_proxy)
{
    struct proxy proxy = {.answer = _i == 0 ? "\x00" : "\x05"}; /* granted; connection refused */
    char url[64];
    peer_listen(&proxy.at);
    (void)snprintf(url, sizeof url, "socks5h://127.0.0.1:%u", proxy.at.port);
    ck_assert_int_eq(pthread_create(&proxy.thread, NULL, socks_run, &proxy), 0);
    struct upstream_settings settings = to("unknown.example", 443);
    settings.proxy = url;
    struct trial t = attempt(&settings);
    if (_i == 0) {
        ck_assert_msg(t.fd >= 0, "%s", t.detail);
        echo(t.fd);
        (void)close(t.fd);
        ck_assert(memcmp(proxy.request, "\x05\x01\x00\x03\x0funknown.example\x01\xbb", 22) == 0);
    } else {
        ck_assert_int_eq(t.why, UPSTREAM_FAILURE_CONNECT);
        ck_assert_msg(strstr(t.detail, "egress proxy: ") != NULL, "%s", t.detail);
    }
    (void)pthread_join(proxy.thread, NULL);
    (void)close(proxy.at.listener);
}
END_TEST

START_TEST(a_dead_proxy)
{
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", dead_port());
    struct upstream_settings settings = to("192.0.2.1", 443);
    settings.proxy = url;
    struct trial t = attempt(&settings);
    ck_assert_int_eq(t.why, UPSTREAM_FAILURE_CONNECT);
    ck_assert_msg(strstr(t.detail, "egress proxy: ") != NULL && strstr(t.detail, "refused") != NULL, "%s", t.detail);
}
END_TEST

START_TEST(the_environment_has_no_say)
{
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", dead_port());
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)setenv(names[i], url, 1);
    (void)setenv("NO_PROXY", "*", 1);
    char keys[64];
    (void)snprintf(keys, sizeof keys, "/tmp/test_connect.%d.keys", (int)getpid());
    (void)setenv("SSLKEYLOGFILE", keys, 1);
    struct peer_server server = {0};
    peer_start(&server);
    struct upstream_settings settings = to("127.0.0.1", server.port);
    struct trial t = attempt(&settings);
    ck_assert_msg(t.fd >= 0, "%s", t.detail);
    (void)close(t.fd);
    ck_assert_int_eq(access(keys, F_OK), -1);
    settings.proxy = url; /* and NO_PROXY does not undo ours */
    t = attempt(&settings);
    ck_assert_int_eq(t.why, UPSTREAM_FAILURE_CONNECT);
    peer_stop(&server);
}
END_TEST

/* Out of descriptors, at each number of them left: never a hang, never a wrong reason. */
START_TEST(out_of_descriptors)
{
    struct peer_server server = {0};
    peer_start(&server);
    pid_t child = fork();
    if (child == 0) {
        const char *names[] = {"127.0.0.1", "localhost"};
        for (int i = 0; i < 2; i++)
            for (unsigned left = 0; left < 6; left++) {
                struct upstream_settings settings = to(names[i], server.port);
                struct loop *loop = loop_new();
                struct connector *c = connector_new(loop, &settings);
                struct trial t = new_trial();
                struct rlimit all, limit;
                if (c == NULL || getrlimit(RLIMIT_NOFILE, &all) != 0)
                    _exit(1);
                int lowest = dup(0);
                (void)close(lowest);
                limit = all;
                limit.rlim_cur = (rlim_t)lowest + left;
                if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
                    _exit(2);
                enum pp_result rc = connector_start(c, &t.attempt);
                if (left == 0 && rc != PP_LIMIT)
                    _exit(3);
                if (rc == PP_OK)
                    turn_until(loop, &t.done, 5000);
                if (rc == PP_OK && !t.done)
                    _exit(4);
                if (rc == PP_OK && t.fd < 0 && t.why != UPSTREAM_FAILURE_LOCAL)
                    _exit(10 + (int)t.why);
                if (t.fd >= 0)
                    (void)close(t.fd);
                connector_free(&c);
                if (setrlimit(RLIMIT_NOFILE, &all) != 0)
                    _exit(5);
                loop_turn(loop, &(struct loop_hooks){.before_wait = often});
                loop_free(loop);
            }
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    peer_stop(&server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connect");
    TCase *t = tcase_create("connect");
    tcase_set_timeout(t, 30);
    tcase_add_loop_test(t, the_descriptor_is_ours_and_clean, 0, 3);
    tcase_add_test(t, many_at_once_leak_nothing);
    tcase_add_loop_test(t, a_dead_port_is_refused_at_once, 0, 2);
    tcase_add_test(t, an_unknown_name);
    tcase_add_test(t, a_hanging_lookup_freezes_nothing);
    tcase_add_test(t, silence_is_a_timeout);
    tcase_add_loop_test(t, cancelling_is_silent_and_quick, 0, 2);
    tcase_add_test(t, a_source_address);
    tcase_add_loop_test(t, through_a_proxy, 0, 4);
    tcase_add_loop_test(t, through_a_socks_proxy, 0, 2);
    tcase_add_test(t, a_dead_proxy);
    tcase_add_test(t, the_environment_has_no_say);
    tcase_add_test(t, out_of_descriptors);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
