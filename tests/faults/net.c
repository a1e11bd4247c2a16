/* Workloads of net/: loop, listeners, TLS contexts, connectors and pools, the gate's questions, servers. */
#include "allocation.h"
#include "net/acceptor.h"
#include "net/connect.h"
#include "net/listener.h"
#include "net/local_server.h"
#include "net/peer.h"
#include "net/server.h"
#include "net/tls.h"
#include "net/upstream.h"
#include "workload.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- loop --- */

static unsigned fired;
static void fire(struct timer *t)
{
    (void)t;
    fired++;
}

static void delivered(struct message *m)
{
    free(m);
    fired++;
}

static enum outcome loops(void)
{
    static struct timer timers[200];
    enum outcome outcome = DONE;
    unsigned armed = 0;
    struct loop *l = loop_new();
    if (l == NULL)
        return REFUSED;
    fired = 0;
    for (size_t i = 0; i < 200; i++) {
        timers[i] = (struct timer){0};
        if (ok(timer_set(l, &timers[i], 0, fire))) {
            armed++;
        } else {
            must(!timer_armed(&timers[i]));
            outcome = REFUSED;
        }
    }
    struct message *m = calloc(1, sizeof *m);
    if (m != NULL) {
        *m = (struct message){.deliver = delivered};
        loop_post(l, m);
        armed++;
    } else {
        outcome = REFUSED;
    }
    loop_settle(l);
    must(fired == armed);
    loop_free(l);
    return outcome;
}

/* --- listeners --- */

static char unix_text[128];
static struct listen_address addresses[] = {
    {.kind = LISTEN_TCP, .text = "127.0.0.1:0", .host = "127.0.0.1", .loopback = true},
    {.kind = LISTEN_TCP, .text = "[::1]:0", .host = "::1", .loopback = true},
    {.kind = LISTEN_UNIX},
};
static const struct unix_access mode = {.mode = 0600, .owner_name = "", .group_name = ""};

static void name_socket(void)
{
    (void)chmod(workload_folder(), 0700);
    (void)snprintf(unix_text, sizeof unix_text, "unix:%s/a.sock", workload_folder());
    addresses[2].text = unix_text;
    addresses[2].path = unix_text + 5;
}

/* All or nothing; a set opened against another one takes over its sockets, and leaves it whole when it fails. */
static enum outcome listeners(void)
{
    const struct listen_list one = {&addresses[2], 1}, two = {addresses, 3};
    const struct listener_request first_request = {"a", &one, &mode};
    const struct listener_request requests[] = {{"a", &one, &mode}, {"b", &(struct listen_list){addresses, 2}, &mode}};
    struct listener_set *first = NULL, *second = NULL;
    struct problem problem = {""};
    enum outcome outcome = DONE;
    (void)two;
    if (!ok(listener_set_open(&first_request, 1, NULL, &first, &problem))) {
        must(first == NULL && problem.text[0] != '\0' && access(addresses[2].path, F_OK) != 0);
        return REFUSED;
    }
    must(listener_set_count(first) == 1);
    struct listener *kept = listener_set_at(first, 0, NULL);
    if (ok(listener_set_open(requests, 2, first, &second, &problem))) {
        must(listener_set_count(second) == 3 && listener_set_has(second, kept));
        listener_set_close(&first, second);
    } else {
        must(second == NULL && problem.text[0] != '\0' && listener_set_count(first) == 1);
        outcome = REFUSED;
    }
    must(fcntl(kept->fd, F_GETFD) >= 0 && access(addresses[2].path, F_OK) == 0);
    if (first != NULL)
        listener_set_close(&first, NULL);
    if (second != NULL)
        listener_set_close(&second, NULL);
    must(access(addresses[2].path, F_OK) != 0);
    return outcome;
}

/* --- the way upstream --- */

static const struct upstream_settings road = {.environment = "a",
                                              .host = "127.0.0.1",
                                              .port = 1, /* nobody listens there */
                                              .tls = true,
                                              .ca_file = "",
                                              .tls_min_version = "1.2",
                                              .proxy = "",
                                              .interface = "127.0.0.1",
                                              .connect_timeout = 3000,
                                              .warm = 0};

/* One authority instead of the system's many: their certificates are read with thousands of allocations, all alike. */
static const char authority[] = "-----BEGIN CERTIFICATE-----\n"
                                "MIIBkTCCATegAwIBAgIURiVQJxPZcb6TrPpiFREqT7DTbCUwCgYIKoZIzj0EAwIw\n"
                                "HTEbMBkGA1UEAwwSbm9ib2R5J3MgYXV0aG9yaXR5MCAXDTI2MTEyMjIwNTM0M1oY\n"
                                "DzIxMjYxMDI5MjA1MzQzWjAdMRswGQYDVQQDDBJub2JvZHkncyBhdXRob3JpdHkw\n"
                                "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASl/70MKiRs3B3qFuQ9EfWZUyxIOo2p\n"
                                "bjz7nrrgIcR0Z4OlwuZIZrf+TwvIyRr6EUUMM2ENSf2AaJyetUN40Eivo1MwUTAd\n"
                                "BgNVHQ4EFgQUHLDCl19fmibb4YncF8peFcbZVt8wHwYDVR0jBBgwFoAUHLDCl19f\n"
                                "mibb4YncF8peFcbZVt8wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBF\n"
                                "AiAYBvpa4HFbv+0n94uCy52MQ2zgyhTJRAkB9ckWD+M/aAIhAOIx+6fUlra1gYYz\n"
                                "Up91GEIEF9NH5999ma+60oZ7l/p9\n"
                                "-----END CERTIFICATE-----\n";
static char ca_file[128];

static void make_ca_file(void)
{
    (void)snprintf(ca_file, sizeof ca_file, "%s/ca.crt", workload_folder());
    int fd = open(ca_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, authority, sizeof authority - 1) == (ssize_t)(sizeof authority - 1));
    (void)close(fd);
}

/* A pair of sockets instead of a network: the first flight is written, whoever should answer does not. */
static enum outcome tls(void)
{
    static const struct str pins[] = {{"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", 44}};
    struct upstream_settings settings = road;
    struct upstream_tls *shared = NULL;
    struct ssl_st *connection = NULL;
    struct problem problem = {""};
    enum outcome outcome = DONE;
    int pair[2];
    settings.ca_file = ca_file;
    settings.pinned_spki = pins;
    settings.pinned_count = 1;
    enum pp_result rc = upstream_tls_new(&settings, &shared, &problem);
    if (rc != PP_OK) {
        must(workload_starved() && shared == NULL && problem.text[0] != '\0');
        must(rc == PP_NOMEM || rc == PP_SYSTEM);
        return REFUSED;
    }
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    if (ok(tls_new(shared, pair[0], &connection))) {
        rc = tls_handshake(shared, connection, &problem);
        must(rc == PP_AGAIN || (workload_starved() && rc == PP_BROKEN && problem.text[0] != '\0'));
        outcome = rc == PP_AGAIN ? DONE : REFUSED;
        tls_free(&connection, true);
    } else {
        must(connection == NULL);
        outcome = REFUSED;
    }
    upstream_tls_unref(&shared);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return outcome;
}

/* --- a context outlives the handshakes that have no memory --- */

static in_port_t server_port;

static X509 *make_certificate(EVP_PKEY *key, X509 *issuer, EVP_PKEY *by, int extension, const char *value)
{
    X509 *c = X509_new();
    X509 *issued_by = issuer == NULL ? c : issuer;
    X509V3_CTX context;
    must(c != NULL && X509_set_version(c, 2) == 1 && X509_set_pubkey(c, key) == 1);
    must(ASN1_INTEGER_set(X509_get_serialNumber(c), issuer == NULL ? 1 : 2) == 1);
    must(X509_gmtime_adj(X509_getm_notBefore(c), -3600) != NULL &&
         X509_gmtime_adj(X509_getm_notAfter(c), 3600) != NULL);
    must(X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC,
                                    (const unsigned char *)(issuer == NULL ? "authority" : "server"), -1, -1, 0) == 1);
    must(X509_set_issuer_name(c, X509_get_subject_name(issued_by)) == 1);
    X509V3_set_ctx(&context, issued_by, c, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, extension, value);
    must(e != NULL && X509_add_ext(c, e, -1) == 1 && X509_sign(c, by, EVP_sha256()) > 0);
    X509_EXTENSION_free(e);
    return c;
}

/* In a process of its own, which has memory always and ends with this one. */
static void serve_hands(int listening, X509 *certificate, EVP_PKEY *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)alarm(0);
    must(SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1);
    for (;;) {
        int fd = accept(listening, NULL, NULL);
        SSL *s = SSL_new(context);
        must(fd >= 0 && s != NULL && SSL_set_fd(s, fd) == 1);
        (void)SSL_accept(s);
        SSL_free(s);
        (void)close(fd);
    }
}

static void make_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *server_key = EVP_EC_gen("P-256");
    X509 *anchor = make_certificate(key, NULL, key, NID_basic_constraints, "critical,CA:TRUE");
    X509 *leaf = make_certificate(server_key, anchor, key, NID_subject_alt_name, "IP:127.0.0.1");
    (void)snprintf(ca_file, sizeof ca_file, "%s/ca.crt", workload_folder());
    FILE *f = fopen(ca_file, "we");
    must(f != NULL && PEM_write_X509(f, anchor) == 1 && fclose(f) == 0);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(listening, (struct sockaddr *)&address, size) == 0 && listen(listening, 1) == 0);
    must(getsockname(listening, (struct sockaddr *)&address, &size) == 0);
    server_port = address.sin_port;
    pid_t server = fork();
    must(server >= 0);
    if (server == 0)
        serve_hands(listening, leaf, server_key);
    (void)close(listening);
    X509_free(anchor);
    X509_free(leaf);
    EVP_PKEY_free(key);
    EVP_PKEY_free(server_key);
}

static bool shakes_hands(struct upstream_tls *shared, struct problem *why)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = server_port};
    struct ssl_st *connection = NULL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    enum pp_result rc = tls_new(shared, fd, &connection);
    if (rc == PP_OK) {
        struct pollfd heard = {.fd = fd, .events = POLLIN};
        while ((rc = tls_handshake(shared, connection, why)) == PP_AGAIN)
            must(poll(&heard, 1, 5000) == 1);
        tls_free(&connection, false);
    }
    (void)close(fd);
    return rc == PP_OK;
}

/* What OpenSSL finds out about trust anchors it keeps: it must not be what it made of them without memory. */
static enum outcome trust(void)
{
    struct upstream_settings settings = road;
    struct upstream_tls *shared = NULL;
    struct problem problem = {""};
    settings.ca_file = ca_file;
    enum pp_result rc = upstream_tls_new(&settings, &shared, &problem);
    if (rc != PP_OK) {
        must(workload_starved() && (rc == PP_NOMEM || rc == PP_SYSTEM));
        return REFUSED;
    }
    bool well = shakes_hands(shared, &problem);
    must(well || workload_starved());
    workload_memory_is_back();
    must(shakes_hands(shared, &problem));
    upstream_tls_unref(&shared);
    return well ? DONE : REFUSED;
}

struct asker {
    struct upstream_waiter waiter;
    bool failed;
    enum upstream_failure why;
};

static void nobody_comes(struct upstream_waiter *w, struct upstream_connection *c)
{
    bool came = w != NULL || c != NULL; /* a connection to a port nobody listens on */
    must(!came);
}

static void came_to_nothing(struct upstream_waiter *w, enum upstream_failure why, const char *detail)
{
    struct asker *a = (struct asker *)(void *)w;
    must(!a->failed && detail != NULL);
    a->failed = true;
    a->why = why;
}

/* Each waiter hears of its attempt, once, whatever the attempt died of. */
static enum outcome pool(void)
{
    struct asker asker = {.waiter = {.ready = nobody_comes, .failed = came_to_nothing}};
    struct upstream_settings settings = road;
    struct loop *l = loop_new();
    struct upstream_pool *p = NULL;
    enum outcome outcome = REFUSED;
    settings.tls = false;
    if (l == NULL)
        return REFUSED;
    p = upstream_pool_new(l, &settings, NULL);
    if (p != NULL) {
        msec begin = clock_tick();
        must(upstream_acquire(p, &asker.waiter, false) == NULL);
        for (int i = 0; i < 500 && !asker.failed; i++)
            loop_turn(l, NULL);
        must(asker.failed && clock_tick() < begin + 1000); /* at once, and not by its deadline */
        must(asker.why == UPSTREAM_FAILURE_CONNECT || workload_starved());
        outcome = asker.why == UPSTREAM_FAILURE_CONNECT ? DONE : REFUSED;
        upstream_pool_close(p);
    }
    loop_settle(l);
    loop_free(l);
    return outcome;
}

/* --- the gate --- */

static msec now;
static int client_fd = -1, accepted_fd = -1;

static enum outcome peer(void);

static void make_clients_socket(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(listening, (struct sockaddr *)&address, size) == 0 && listen(listening, 1) == 0);
    must(getsockname(listening, (struct sockaddr *)&address, &size) == 0);
    client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(client_fd, (struct sockaddr *)&address, sizeof address) == 0);
    accepted_fd = accept(listening, NULL, NULL);
    must(accepted_fd >= 0);
    (void)close(listening);
}

static void make_connection(void)
{
    make_clients_socket();
    for (int i = 0; i < 100; i++) /* more accounts than are remembered */
        must(peer() == DONE);
}

/* Who could not be looked up is nobody, and in no group. */
static enum outcome peer(void)
{
    static uint32_t ids[] = {0, 65534};
    const struct id_list groups = {.items = ids, .count = 2}, none = {0};
    enum outcome outcome = DONE;
    int pair[2];
    struct peer who = {0};
    clock_fake(now += 60000, 0); /* what is remembered of an account is forgotten by then */
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    const int fds[] = {accepted_fd, pair[0]};
    for (size_t i = 0; i < 2; i++) {
        enum pp_result rc = peer_lookup(fds[i], &groups, &who);
        if (rc == PP_OK) {
            must(who.known && who.uid == getuid());
            must(!who.in_groups || peer_allowed(&who, &none, &groups));
            if (!who.in_groups && getgid() == 0)
                outcome = REFUSED;
        } else {
            must(workload_starved() && (rc == PP_NOMEM || rc == PP_SYSTEM));
            must(!who.known && !peer_allowed(&who, &none, &groups));
            outcome = REFUSED;
        }
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
    return outcome;
}

/* --- what the C library sets up with its first lookups, for good --- */

static bool look_up(void)
{
    static uint32_t own[1];
    const struct id_list groups = {.items = own, .count = 1};
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    struct peer who;
    own[0] = getgid();
    clock_fake(now += 1000, 0); /* a refusal is forgotten by then */
    bool account = peer_lookup(accepted_fd, &groups, &who) == PP_OK && who.in_groups;
    bool name = getaddrinfo("localhost", NULL, &hints, &found) == 0;
    if (name)
        freeaddrinfo(found);
    return account && name;
}

/* Each time in a process in which nothing was looked up yet: with memory again, it finds everything. */
static enum outcome first_lookups(void)
{
    enum { WELL, STARVED, BAD };
    int status = 0;
    uint64_t nth = atomic_load(&allocation->fail_at);
    bool all_after = atomic_load(&allocation->all_after) != 0;
    (void)allocation_allow();
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        (void)alarm(10);
        connect_init();
        peer_prepare(true);
        allocation_refuse(nth, all_after);
        bool looked_up = look_up(), starved = allocation_allow() > 0;
        _exit(!look_up() || (!looked_up && !starved) ? BAD : starved ? STARVED : WELL);
    }
    must(waitpid(child, &status, 0) == child);
    must(WIFEXITED(status) && WEXITSTATUS(status) != BAD);
    atomic_store(&allocation->refused, WEXITSTATUS(status) == STARVED);
    return WEXITSTATUS(status) == STARVED ? REFUSED : DONE;
}

/* --- accepting --- */

static unsigned arrived;
static void arrives(void *owner, void *tag, int fd)
{
    (void)owner;
    (void)tag;
    arrived++;
    (void)close(fd);
}

static bool always(void *owner)
{
    (void)owner;
    return true;
}

static bool never(void *owner)
{
    (void)owner;
    return false;
}

static enum outcome accepting(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const struct acceptor_handlers handlers = {.accepted = arrives, .room = always, .starved = never};
    struct loop *l = loop_new();
    struct acceptor *a = l == NULL ? NULL : acceptor_new(l, &handlers);
    enum outcome outcome = REFUSED;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 4) == 0);
    must(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    arrived = 0;
    if (a != NULL && ok(acceptor_add(a, fd, NULL))) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
        for (int i = 0; i < 100 && arrived == 0; i++)
            loop_turn(l, NULL);
        must(arrived == 1);
        (void)close(client);
        outcome = DONE;
    }
    acceptor_free(a);
    if (l != NULL)
        loop_free(l);
    (void)close(fd);
    return outcome;
}

const struct workload net_workloads[] = {
    {"net-loop", loops, NULL, 0, 4},
    {"net-listeners", listeners, name_socket, 0, 20},
    {"net-tls", tls, make_ca_file, 0, 500},
    {"net-trust", trust, make_server, 3, 300},
    {"net-pool", pool, NULL, 0, 20},
    {"net-peer", peer, make_connection, 0, 3},
    {"net-first", first_lookups, make_clients_socket, 0, 0},
    {"net-acceptor", accepting, NULL, 0, 3},
    {0},
};
