/* A worker without a thread, with one tunnel between two sockets of the test: a client's and an upstream's. */
#ifndef PP_TESTS_UNIT_TUNNEL_RIG_H
#define PP_TESTS_UNIT_TUNNEL_RIG_H

#include "proxy/tunnel_state.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOKEN_OLD   "old-token-for-the-tunnel-tests"
#define TOKEN_NEW   "new-token-for-the-tunnel-tests"
#define RIG_START   1000000 /* fake clock, ms */
#define RIG_PENDING (TUNNEL_READ + 256u)

struct rig {
    struct worker *worker;
    struct metrics *metrics;
    struct config *config;
    struct environment *environment;
    struct environment_shared *shared;
    struct upstream_pool *pool;
    struct token *old_token, *new_token;
    struct client client;
    int listener;
    struct sockaddr_in address;
    msec now;
    unsigned learned, drained;
};

/* One tunnel of the rig and its two far ends. */
struct ends {
    struct tunnel *tunnel;
    int client, upstream;
};

static inline msec rig_no_wait(void *owner)
{
    (void)owner;
    return 0;
}

static inline void rig_turn(struct rig *r)
{
    struct loop_hooks hooks = {.before_wait = rig_no_wait};
    loop_turn(r->worker->loop, &hooks);
}

/* What the kernel hands over on loopback is there at once; a few turns let everything follow from it. */
static inline void rig_settle(struct rig *r)
{
    for (int i = 0; i < 20; i++)
        rig_turn(r);
}

static inline void rig_pass(struct rig *r, msec time)
{
    r->now += time;
    clock_fake(r->now, 0);
    rig_settle(r);
}

static inline void rig_drop_line(void *owner, const char *line, size_t n)
{
    (void)owner;
    (void)line;
    (void)n;
}

static inline void rig_learned(void *owner, const char *environment, struct token *token,
                               const struct token_knowledge *knowledge)
{
    (void)environment;
    (void)token;
    (void)knowledge;
    ((struct rig *)owner)->learned++;
}

static inline void rig_drained(void *owner, unsigned index)
{
    (void)index;
    ((struct rig *)owner)->drained++;
}

static inline void rig_hold_tokens(struct rig *r, bool old_one, bool new_one)
{
    struct token *tokens[2];
    size_t count = 0;
    if (new_one)
        tokens[count++] = r->new_token;
    if (old_one)
        tokens[count++] = r->old_token;
    ck_assert_int_eq(token_store_replace(r->environment->tokens, tokens, count, r->now, 0), PP_OK);
}

/* Small kernel buffers: a few hundred KiB stall a tunnel. Accepted sockets inherit them. */
static inline void bounded(int fd)
{
    int size = 64 * 1024;
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
}

static inline int rig_listen(struct sockaddr_in *address)
{
    socklen_t n = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bounded(fd);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)address, n), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &n), 0);
    return fd;
}

static inline void rig_configure(struct rig *r, const char *keys)
{
    char text[1024];
    struct config_problems problems;
    config_problems_init(&problems);
    (void)snprintf(text, sizeof text,
                   "environments = { test = { base_url = \"http://127.0.0.1:%u\"; listen = [ \"127.0.0.1:8780\" ];\n"
                   "token_file = \"/nowhere/test.token\"; %s }; };",
                   (unsigned)ntohs(r->address.sin_port), keys);
    config_unref(&r->config);
    enum pp_result rc = config_load_text(str_of(text), "test.conf", 0100600, &r->config, &problems);
    ck_assert_msg(rc == PP_OK, "%.*s", (int)buf_len(&problems.text), buf_str(&problems.text).p);
    config_problems_free(&problems);
    const struct environment_config *ec = &r->config->environments[0];
    if (r->environment == NULL)
        r->environment = environment_new(r->worker, "test", metrics_environment(r->metrics, "test"), r->shared, ec);
    ck_assert_ptr_nonnull(r->environment);
    ck_assert_int_eq(environment_configure(r->environment, r->worker->loop, r->config, ec, r->shared, NULL), PP_OK);
}

/* `keys` are further ones of the environment. */
static inline void rig_open(struct rig *r, const char *keys)
{
    static const struct metrics_reasons reasons[METRICS_RETRIES + 1];
    (void)signal(SIGPIPE, SIG_IGN);
    clock_fake(-1, 0);
    log_set_sink(rig_drop_line, NULL);
    *r = (struct rig){.now = RIG_START};
    struct worker_hooks hooks = {rig_learned, rig_drained, r};
    r->metrics = metrics_new(reasons);
    r->worker = worker_new(0, 16, &hooks, metrics_shard_new(r->metrics));
    r->worker->log_access = true;
    r->shared = environment_shared_new(16);
    r->listener = rig_listen(&r->address);
    rig_configure(r, keys);
    struct upstream_settings road = {.environment = "test",
                                     .host = "127.0.0.1",
                                     .port = ntohs(r->address.sin_port),
                                     .ca_file = "",
                                     .tls_min_version = "1.2",
                                     .proxy = "",
                                     .interface = "",
                                     .connect_timeout = 3000};
    r->pool = upstream_pool_new(r->worker->loop, &road, NULL);
    ck_assert_ptr_nonnull(r->pool);
    r->old_token = token_new(TOKEN_OLD, sizeof TOKEN_OLD - 1, 0);
    r->new_token = token_new(TOKEN_NEW, sizeof TOKEN_NEW - 1, 0);
    rig_hold_tokens(r, true, false);
    r->client.environment = r->environment;
    r->client.peer = (struct peer){.known = true, .uid = 1234, .pid = 4321};
}

static inline void rig_close(struct rig *r)
{
    upstream_pool_close(r->pool);
    environment_unref(&r->environment);
    worker_free(r->worker);
    token_unref(&r->old_token);
    token_unref(&r->new_token);
    config_unref(&r->config);
    ck_assert_uint_eq(atomic_load(&r->shared->websockets), 0);
    environment_shared_unref(&r->shared);
    metrics_free(r->metrics);
    (void)close(r->listener);
    clock_fake(-1, 0);
}

struct rig_waiter {
    struct upstream_waiter waiter;
    struct upstream_connection *connection;
};

static inline void rig_ready(struct upstream_waiter *w, struct upstream_connection *c)
{
    ((struct rig_waiter *)(void *)w)->connection = c;
}

static inline void rig_failed(struct upstream_waiter *w, enum upstream_failure why, const char *detail)
{
    (void)w;
    ck_abort_msg("no upstream connection: %d %s", (int)why, detail);
}

static inline void nonblocking(int fd)
{
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* An upstream connection and its far end. The clock is the real one for that. */
static inline struct upstream_connection *rig_connect(struct rig *r, int *far)
{
    struct rig_waiter w = {.waiter = {.ready = rig_ready, .failed = rig_failed}};
    clock_fake(-1, 0);
    struct upstream_connection *c = upstream_acquire(r->pool, &w.waiter, true);
    struct loop_hooks hooks = {0};
    while (c == NULL) {
        loop_turn(r->worker->loop, &hooks);
        c = w.connection;
    }
    clock_fake(r->now, 0);
    size_t done = 0;
    char mark;
    ck_assert_int_eq(upstream_write(c, "!", 1, &done), PP_OK);
    for (;;) { /* the environment's own pool connects here too, to keep connections warm */
        *far = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
        struct timeval patience = {.tv_usec = 50000};
        (void)setsockopt(*far, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (recv(*far, &mark, 1, 0) == 1)
            break;
        (void)close(*far);
    }
    nonblocking(*far);
    return c;
}

/* A tunnel with these bytes behind its handshakes; `tcp`: the client is a TCP one. */
static inline struct ends rig_tunnel(struct rig *r, bool tcp, struct str from_client, struct str from_upstream)
{
    struct ends e = {NULL, -1, -1};
    int pair[2];
    struct upstream_connection *c = rig_connect(r, &e.upstream);
    if (tcp) {
        struct sockaddr_in address;
        int listener = rig_listen(&address);
        pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bounded(pair[0]);
        ck_assert_int_eq(connect(pair[0], (struct sockaddr *)&address, sizeof address), 0);
        pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        (void)close(listener);
    } else {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    }
    nonblocking(pair[0]);
    nonblocking(pair[1]);
    e.client = pair[0];
    atomic_fetch_add(&r->shared->websockets, 1);
    struct tunnel_start start = {
        .worker = r->worker,
        .environment = r->environment,
        .settings = r->environment->settings,
        .client = &r->client,
        .token = r->old_token,
        .client_fd = pair[1],
        .upstream = c,
        .from_client = from_client,
        .from_upstream = from_upstream,
        .path = STR("/ws"),
        .request_id = "request-17",
    };
    size_t before = tunnel_set_count(r->worker->tunnels);
    tunnel_begin(&start);
    ck_assert_uint_eq(tunnel_set_count(r->worker->tunnels), before + 1);
    e.tunnel = r->worker->tunnels->tunnels;
    rig_settle(r);
    return e;
}

static inline void ends_close(struct ends *e)
{
    if (e->client >= 0)
        (void)close(e->client);
    if (e->upstream >= 0)
        (void)close(e->upstream);
}

static inline void say(struct rig *r, int fd, struct str bytes)
{
    ck_assert_int_eq(send(fd, bytes.p, bytes.n, MSG_NOSIGNAL), (ssize_t)bytes.n);
    rig_settle(r);
}

/* Exactly these bytes wait there. */
static inline void hears_at(int line, int fd, struct str expected)
{
    char got[4096];
    ssize_t n = recv(fd, got, sizeof got, 0);
    ck_assert_msg(n == (ssize_t)expected.n && memcmp(got, expected.p, expected.n) == 0,
                  "line %d: %zd bytes instead of %zu, errno %d", line, n, expected.n, n < 0 ? errno : 0);
}
#define hears(fd, expected) hears_at(__LINE__, fd, expected)

static inline void hears_nothing_at(int line, int fd)
{
    char got;
    ssize_t n = recv(fd, &got, 1, MSG_PEEK);
    ck_assert_msg(n < 0 && errno == EAGAIN, "line %d: recv says %zd, errno %d", line, n, n < 0 ? errno : 0);
}
#define hears_nothing(fd) hears_nothing_at(__LINE__, fd)

static inline void hears_end_at(int line, int fd)
{
    char got;
    ssize_t n = recv(fd, &got, 1, 0);
    ck_assert_msg(n == 0, "line %d: recv says %zd, errno %d", line, n, n < 0 ? errno : 0);
}
#define hears_end(fd) hears_end_at(__LINE__, fd)

static inline void hears_reset_at(int line, int fd)
{
    char got;
    ssize_t n = recv(fd, &got, 1, 0);
    ck_assert_msg(n < 0 && errno == ECONNRESET, "line %d: recv says %zd, errno %d", line, n, n < 0 ? errno : 0);
}
#define hears_reset(fd) hears_reset_at(__LINE__, fd)

static inline size_t tunnels(struct rig *r)
{
    return tunnel_set_count(r->worker->tunnels);
}

/* The lines of the access log so far have this text. */
static inline void log_has_at(int line, struct rig *r, const char *text)
{
    struct str log = buf_str(&r->worker->log);
    ck_assert_msg(memmem(log.p, log.n, text, strlen(text)) != NULL, "line %d: no %s in %.*s", line, text, (int)log.n,
                  log.p);
}
#define log_has(rig, text) log_has_at(__LINE__, rig, text)

#endif
