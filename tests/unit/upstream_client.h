/* For tests of the upstream: a pool in front of a server, and clients that ask it for connections. */
#ifndef PP_TESTS_UNIT_UPSTREAM_CLIENT_H
#define PP_TESTS_UNIT_UPSTREAM_CLIENT_H

#include "net/upstream.h"

#include "tls_peer.h"

#include <dirent.h>
#include <signal.h>

/* --- fixture: a CA, a server identity, a loop, a server, a pool --- */

static char ca_file[] = "/tmp/test_upstream_XXXXXX";
static struct identity ca, good;
static struct peer_server server;
static struct loop *loop;
static struct upstream_tls *tls;
static struct upstream_pool *pool;

static inline void set_up(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    memcpy(ca_file + sizeof ca_file - 7, "XXXXXX", 6);
    int fd = mkstemp(ca_file);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    ca = make_identity(NULL, "Test CA", NULL, -3600, 86400);
    good = make_identity(&ca, "upstream", "DNS:localhost,IP:127.0.0.1", -3600, 86400);
    write_pem(&ca, ca_file);
    server = (struct peer_server){.identity = &good};
    loop = loop_new();
    ck_assert_ptr_nonnull(loop);
    pool = NULL;
    tls = NULL;
}

static inline msec often(void *unused)
{
    (void)unused;
    return 5;
}

static const struct loop_hooks hooks = {.before_wait = often};

static inline void turn_for(int ms)
{
    for (int64_t until = clock_usec() + (int64_t)ms * 1000; clock_usec() < until;)
        loop_turn(loop, &hooks);
}

static inline void tear_down(void)
{
    if (pool != NULL) {
        upstream_pool_close(pool);
        loop_turn(loop, &hooks);
    }
    upstream_tls_unref(&tls);
    loop_free(loop);
    if (server.listener > 0)
        peer_stop(&server);
    free_identity(&ca);
    free_identity(&good);
    (void)unlink(ca_file);
}

static inline void make_pool(unsigned port, bool with_tls, unsigned warm, msec connect_timeout)
{
    struct problem p = {""};
    struct upstream_settings settings = {.environment = "test",
                                         .host = "localhost",
                                         .port = port,
                                         .tls = with_tls,
                                         .ca_file = ca_file,
                                         .tls_min_version = "1.2",
                                         .proxy = "",
                                         .interface = "",
                                         .connect_timeout = connect_timeout,
                                         .warm = warm};
    if (with_tls)
        ck_assert_int_eq(upstream_tls_new(&settings, &tls, &p), PP_OK);
    pool = upstream_pool_new(loop, &settings, tls);
    ck_assert_ptr_nonnull(pool);
}

static inline void start(bool with_tls, unsigned warm)
{
    if (!with_tls)
        server.identity = NULL;
    peer_start(&server);
    make_pool(server.port, with_tls, warm, 2000);
}

static inline struct upstream_pool_stats stats(void)
{
    struct upstream_pool_stats s;
    upstream_pool_stats(pool, &s);
    return s;
}

/* Turns until so many connections are idle; false when that takes more than ten seconds. */
static inline bool turn_until_idle(unsigned count)
{
    for (int64_t until = clock_usec() + 10000000; clock_usec() < until;) {
        if (stats().idle == count)
            return true;
        loop_turn(loop, &hooks);
    }
    return false;
}

static inline unsigned count_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

/* --- a client: waits for a connection, then exchanges lines over it --- */

struct client {
    struct upstream_waiter waiter;
    struct upstream_user user;
    struct upstream_connection *connection;
    enum upstream_failure why;
    char detail[256];
    bool failed;
    size_t received;
    char first[16];
    enum pp_result end; /* of the last read */
    unsigned readable, writable;
    int order; /* in which clients were served */
};

static int served;

static inline void client_ready(struct upstream_waiter *w, struct upstream_connection *c)
{
    struct client *k = (struct client *)w;
    ck_assert_ptr_null(k->connection);
    k->connection = c;
    k->order = ++served;
}

static inline void client_failed(struct upstream_waiter *w, enum upstream_failure why, const char *detail)
{
    struct client *k = (struct client *)w;
    k->failed = true;
    k->why = why;
    (void)snprintf(k->detail, sizeof k->detail, "%s", detail);
}

static inline void client_read(struct client *k)
{
    char bytes[4096];
    size_t n = 0;
    while ((k->end = upstream_read(k->connection, bytes, sizeof bytes, &n)) == PP_OK) {
        if (k->received == 0)
            memcpy(k->first, bytes, n < sizeof k->first ? n : sizeof k->first - 1);
        k->received += n;
    }
}

static inline void client_readable(struct upstream_user *u)
{
    struct client *k = (struct client *)((char *)u - offsetof(struct client, user));
    k->readable++;
    client_read(k);
}

static inline void client_writable(struct upstream_user *u)
{
    ((struct client *)((char *)u - offsetof(struct client, user)))->writable++;
}

static inline struct client new_client(void)
{
    return (struct client){.waiter = {.ready = client_ready, .failed = client_failed},
                           .user = {.readable = client_readable, .writable = client_writable},
                           .end = PP_AGAIN};
}

static inline void get(struct client *k, bool fresh)
{
    struct upstream_connection *c = upstream_acquire(pool, &k->waiter, fresh);
    ck_assert(k->connection == NULL && !k->failed); /* no call from inside */
    if (c != NULL)
        k->connection = c;
}

static inline void until_served(struct client *k)
{
    for (int i = 0; i < 1000 && k->connection == NULL && !k->failed; i++)
        loop_turn(loop, &hooks);
    ck_assert_msg(k->connection != NULL, "%s", k->failed ? k->detail : "nothing came");
}

static inline void until_failed(struct client *k)
{
    for (int i = 0; i < 3000 && !k->failed; i++)
        loop_turn(loop, &hooks);
    ck_assert(k->failed);
    ck_assert_ptr_null(k->connection);
}

static inline void say(struct client *k, const char *line)
{
    size_t done = 0;
    k->received = 0;
    k->end = PP_AGAIN;
    upstream_set_user(k->connection, &k->user);
    ck_assert_int_eq(upstream_write(k->connection, line, strlen(line), &done), PP_OK);
    ck_assert_uint_eq(done, strlen(line));
}

static inline void until_received(struct client *k, size_t n)
{
    for (int i = 0; i < 1000 && k->received < n && k->end == PP_AGAIN; i++)
        loop_turn(loop, &hooks);
    ck_assert_uint_ge(k->received, n);
}

static inline void exchange(struct client *k, const char *line)
{
    say(k, line);
    until_received(k, strlen(line));
    ck_assert_int_eq(strncmp(k->first, line, strlen(line)), 0);
}

static inline void give_back(struct client *k, bool reusable)
{
    struct upstream_connection *c = k->connection;
    k->connection = NULL;
    upstream_release(c, reusable, 0);
}

static inline void one_exchange(void)
{
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, "echo\n");
    give_back(&k, true);
}

#endif
