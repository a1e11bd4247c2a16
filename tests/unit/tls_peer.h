/* For tests: certificates made on the spot, and a server in a thread (TLS or plain TCP) that obeys one-line commands.
 */
#ifndef PP_TESTS_UNIT_TLS_PEER_H
#define PP_TESTS_UNIT_TLS_PEER_H

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* --- certificates --- */

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

static inline void add_extension(X509 *to, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, to, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ck_assert_ptr_nonnull(e);
    ck_assert_int_eq(X509_add_ext(to, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* Valid from now + from to now + until, in seconds. issuer NULL: a self-signed CA. `names`: subjectAltName, or NULL. */
static inline struct identity make_identity(const struct identity *issuer, const char *common_name, const char *names,
                                            long from, long until)
{
    static long serial = 1;
    struct identity id = {X509_new(), EVP_EC_gen("P-256")};
    const struct identity *by = issuer == NULL ? &id : issuer;
    ck_assert(id.certificate != NULL && id.key != NULL);
    X509_set_version(id.certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id.certificate), from);
    X509_gmtime_adj(X509_getm_notAfter(id.certificate), until);
    X509_set_pubkey(id.certificate, id.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(id.certificate, X509_get_subject_name(by->certificate));
    if (issuer == NULL) {
        add_extension(id.certificate, by->certificate, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(id.certificate, by->certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    }
    if (names != NULL)
        add_extension(id.certificate, by->certificate, NID_subject_alt_name, names);
    ck_assert_int_gt(X509_sign(id.certificate, by->key, EVP_sha256()), 0);
    return id;
}

static inline void free_identity(struct identity *id)
{
    X509_free(id->certificate);
    EVP_PKEY_free(id->key);
    *id = (struct identity){NULL, NULL};
}

static inline void write_pem(const struct identity *id, const char *path)
{
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(PEM_write_X509(f, id->certificate), 1);
    ck_assert_int_eq(fclose(f), 0);
}

/* The pin of an identity: base64 of SHA-256 over its SubjectPublicKeyInfo. */
static inline void pin_of(const struct identity *id, char out[static 48])
{
    unsigned char *der = NULL, digest[32];
    unsigned n = 0;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(id->certificate), &der);
    ck_assert_int_gt(length, 0);
    ck_assert_int_eq(EVP_Digest(der, (size_t)length, digest, &n, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    (void)EVP_EncodeBlock((unsigned char *)out, digest, 32);
}

/* --- the server --- */

struct peer_server {
    /* set before peer_start */
    const struct identity *identity; /* NULL: plain TCP */
    int max_version;                 /* 0, or e.g. TLS1_1_VERSION */
    const char *ciphers;             /* of TLS 1.2; NULL: OpenSSL's choice */
    const char *alpn;                /* selected whatever the client offers; NULL: none */
    atomic_int stall_ms;             /* before the handshake */
    int close_idle_ms;               /* closes a connection that was idle so long; 0: never */
    int family;                      /* 0: AF_INET */
    /* afterwards */
    unsigned port;
    atomic_int accepted, resumed, open;
    int listener;
    SSL_CTX *context;
    pthread_t thread;
    atomic_bool stopping;
};

struct peer_connection {
    struct peer_server *server;
    SSL *tls;
    int fd;
};

static inline void peer_sleep(int ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

static inline int peer_read(struct peer_connection *c, char *into, int room)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    for (int waited = 0;; waited += 10) {
        if ((c->tls != NULL && SSL_pending(c->tls) > 0) || poll(&p, 1, 10) > 0)
            break;
        if (atomic_load(&c->server->stopping) || (c->server->close_idle_ms > 0 && waited >= c->server->close_idle_ms))
            return 0;
    }
    return c->tls != NULL ? SSL_read(c->tls, into, room) : (int)recv(c->fd, into, (size_t)room, 0);
}

static inline void peer_write(struct peer_connection *c, const char *bytes, size_t n)
{
    while (n > 0) {
        int sent = c->tls != NULL ? SSL_write(c->tls, bytes, (int)n) : (int)send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        bytes += sent;
        n -= (size_t)sent;
    }
}

/* False: the connection ends. */
static inline bool peer_obey(struct peer_connection *c, const char *command)
{
    if (strcmp(command, "big\n") == 0) {
        char *megabyte = malloc(1 << 20);
        ck_assert_ptr_nonnull(megabyte);
        memset(megabyte, 'x', 1 << 20);
        peer_write(c, megabyte, 1 << 20);
        free(megabyte);
        return true;
    }
    peer_write(c, command, strlen(command));
    if (strcmp(command, "close\n") == 0) {
        if (c->tls != NULL)
            (void)SSL_shutdown(c->tls);
        return false;
    }
    if (strcmp(command, "cut\n") == 0)
        return false;
    if (strcmp(command, "stop\n") == 0) { /* reads nothing for a while, then throws everything away */
        char waste[16384];
        peer_sleep(500);
        while (peer_read(c, waste, sizeof waste) > 0)
            continue;
        return false;
    }
    if (strcmp(command, "reset\n") == 0) {
        struct linger hard = {1, 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        return false;
    }
    if (strcmp(command, "junk\n") == 0) { /* speaks again, unasked */
        peer_sleep(50);
        peer_write(c, "junk", 4);
    }
    if (strcmp(command, "die\n") == 0) {
        peer_sleep(50);
        if (c->tls != NULL)
            (void)SSL_shutdown(c->tls);
        return false;
    }
    return true;
}

static inline void peer_talk(struct peer_connection *c)
{
    char line[256];
    size_t have = 0;
    int n;
    while ((n = peer_read(c, line + have, (int)(sizeof line - 1 - have))) > 0) {
        have += (size_t)n;
        line[have] = '\0';
        if (line[have - 1] != '\n')
            continue;
        have = 0;
        if (!peer_obey(c, line))
            return;
    }
    if (c->tls == NULL || (SSL_get_shutdown(c->tls) & SSL_RECEIVED_SHUTDOWN) != 0)
        peer_write(c, "seen\n", 5); /* the other side's end was noticed; it may still read */
    if (c->tls != NULL)
        (void)SSL_shutdown(c->tls);
}

static inline void *peer_serve(void *owner)
{
    struct peer_connection *c = owner;
    peer_sleep(c->server->stall_ms);
    bool up = true;
    if (c->server->context != NULL) {
        c->tls = SSL_new(c->server->context);
        up = SSL_set_fd(c->tls, c->fd) == 1 && SSL_accept(c->tls) == 1;
        if (up && SSL_session_reused(c->tls))
            atomic_fetch_add(&c->server->resumed, 1);
    }
    if (up)
        peer_talk(c);
    SSL_free(c->tls);
    ERR_clear_error();
    (void)close(c->fd);
    atomic_fetch_sub(&c->server->open, 1);
    free(c);
    return NULL;
}

static inline void *peer_accept(void *owner)
{
    struct peer_server *server = owner;
    struct pollfd p = {.fd = server->listener, .events = POLLIN};
    while (!atomic_load(&server->stopping)) {
        if (poll(&p, 1, 10) <= 0)
            continue;
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct peer_connection *c = calloc(1, sizeof *c);
        pthread_t thread;
        ck_assert_ptr_nonnull(c);
        *c = (struct peer_connection){.server = server, .fd = fd};
        atomic_fetch_add(&server->accepted, 1);
        atomic_fetch_add(&server->open, 1);
        ck_assert_int_eq(pthread_create(&thread, NULL, peer_serve, c), 0);
        (void)pthread_detach(thread);
    }
    return NULL;
}

static inline int peer_select_alpn(SSL *s, const unsigned char **out, unsigned char *n, const unsigned char *in,
                                   unsigned in_length, void *owner)
{
    const struct peer_server *server = owner;
    (void)s;
    (void)in;
    (void)in_length;
    *out = (const unsigned char *)server->alpn;
    *n = (unsigned char)strlen(server->alpn);
    return SSL_TLSEXT_ERR_OK;
}

/* Listens without a thread, for servers that never answer. */
static inline void peer_listen(struct peer_server *server)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in6 bound;
    socklen_t n = sizeof bound;
    bool six = server->family == AF_INET6;
    server->listener = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(server->listener, 0);
    ck_assert_int_eq(
        bind(server->listener, six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, six ? sizeof v6 : sizeof v4), 0);
    ck_assert_int_eq(listen(server->listener, 1024), 0);
    ck_assert_int_eq(getsockname(server->listener, (struct sockaddr *)&bound, &n), 0);
    server->port = ntohs(bound.sin6_port); /* at the same place in both families */
}

static inline void peer_start(struct peer_server *server)
{
    peer_listen(server);
    if (server->identity != NULL) {
        server->context = SSL_CTX_new(TLS_server_method());
        ck_assert_ptr_nonnull(server->context);
        ck_assert_int_eq(SSL_CTX_use_certificate(server->context, server->identity->certificate), 1);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey(server->context, server->identity->key), 1);
        if (server->max_version != 0) {
            SSL_CTX_set_security_level(server->context, 0);
            SSL_CTX_set_min_proto_version(server->context, TLS1_VERSION);
            SSL_CTX_set_max_proto_version(server->context, server->max_version);
        }
        if (server->ciphers != NULL)
            ck_assert_int_eq(SSL_CTX_set_cipher_list(server->context, server->ciphers), 1);
        if (server->alpn != NULL)
            SSL_CTX_set_alpn_select_cb(server->context, peer_select_alpn, server);
    }
    ck_assert_int_eq(pthread_create(&server->thread, NULL, peer_accept, server), 0);
}

static inline void peer_stop(struct peer_server *server)
{
    atomic_store(&server->stopping, true);
    (void)pthread_join(server->thread, NULL);
    for (int i = 0; i < 500 && atomic_load(&server->open) > 0; i++)
        peer_sleep(10);
    ck_assert_int_eq(atomic_load(&server->open), 0);
    (void)close(server->listener);
    SSL_CTX_free(server->context);
    server->context = NULL;
}

#endif
