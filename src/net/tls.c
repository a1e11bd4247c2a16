/* The verified, resumable road to one upstream: rules, trust anchors, sessions, and one connection's TLS. */
#include "net/tls.h"

#include "base/crypto.h"
#include "net/tls_explain.h"
#include "net/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS_KEPT       8    /* tickets; a TLS 1.3 server usually sends one or two per connection */
#define SESSION_MAX_SECONDS 3600 /* a full handshake, with a full look at the chain, at least this often */
#define CHAIN_DEPTH         8
#define PIN_TEXT            45 /* base64 of 32 bytes with its NUL */
#define TRUST_DIGEST        32 /* bytes: SHA-256 */

/* Bytes of a connection: OpenSSL's own with the server's certificates, and a buffer for one record each way. */
#define TLS_STATE  (24u * 1024)
#define TLS_RECORD (17u * 1024)

/* AEAD with forward secrecy only; TLS 1.3 has nothing else anyway. */
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20"

struct upstream_tls {
    atomic_uint references;
    SSL_CTX *context;
    char *host; /* without a trailing dot */
    bool host_is_address;
    char (*pins)[PIN_TEXT];
    size_t pin_count;
    unsigned char trust[TRUST_DIGEST];    /* of all trust anchors, in whatever order */
    pthread_mutex_t lock;                 /* of what follows */
    SSL_SESSION *sessions[SESSIONS_KEPT]; /* newest last; owned */
    size_t session_count;
};

/* --- trust anchors --- */

static enum pp_result load_file(SSL_CTX *context, const char *file, struct problem *problem)
{
    if (access(file, R_OK) != 0)
        return problem_set(problem, PP_INVALID, "the CA certificates in %s can't be read: %m", file);
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(context, file) != 1) {
        unsigned long first = ERR_peek_error();
        errno = ERR_SYSTEM_ERROR(first) ? ERR_GET_REASON(first) : 0;
        ERR_clear_error();
        if (errno == ENOMEM || errno == EMFILE || errno == ENFILE) /* no fault of the file's */
            return problem_set(problem, PP_SYSTEM, "the CA certificates in %s can't be read: %m", file);
        return problem_set(problem, PP_INVALID, "%s holds no CA certificates in PEM form (-----BEGIN CERTIFICATE-----)",
                           file);
    }
    return PP_OK;
}

/* The system's store by its known places: OpenSSL's own lookup would obey SSL_CERT_FILE and SSL_CERT_DIR. */
static enum pp_result load_system(SSL_CTX *context, struct problem *problem)
{
    const char *files[] = {"/etc/ssl/certs/ca-certificates.crt", X509_get_default_cert_file(),
                           "/etc/pki/tls/certs/ca-bundle.crt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (access(files[i], R_OK) == 0)
            return load_file(context, files[i], problem);
    return problem_set(problem, PP_INVALID,
                       "the system's CA certificates are not in %s: install ca-certificates, or set tls.ca_file",
                       files[0]);
}

/* Digests of all certificates, folded into one. */
static enum pp_result digest_trust(struct upstream_tls *t, struct problem *problem)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(t->context));
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        unsigned char digest[TRUST_DIGEST];
        if (certificate == NULL) /* a revocation list */
            continue;
        /* OpenSSL looks into a certificate's extensions once: now, and not when the first handshake has no memory. */
        (void)X509_check_purpose(certificate, -1, 0);
        if (X509_digest(certificate, EVP_sha256(), digest, NULL) != 1)
            return problem_set(problem, PP_NOMEM, "out of memory");
        for (size_t n = 0; n < TRUST_DIGEST; n++)
            t->trust[n] ^= digest[n];
    }
    return PP_OK;
}

bool upstream_tls_same_trust(const struct upstream_tls *a, const struct upstream_tls *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return memcmp(a->trust, b->trust, TRUST_DIGEST) == 0;
}

/* --- memory --- */

/* After the handshake, a connection's app data says that a ticket was taken in since: OpenSSL then holds a write buffer
 * of 16 KiB until the next write, which a tunnel that only listens never does. */
static char ticket_taken;

/* SSL_free_buffers(3) forgets a record of which only the head is there in versions before CVE-2024-4741 was fixed. */
static bool can_free_buffers(void)
{
    unsigned minor = OPENSSL_version_minor(), patch = OPENSSL_version_patch();
    static const unsigned fixed[] = {14, 6, 2, 1}; /* 3.0.14, 3.1.6, 3.2.2, 3.3.1 */
    return OPENSSL_version_major() > 3 || minor >= sizeof fixed / sizeof fixed[0] || patch >= fixed[minor];
}

static void give_back_buffers(SSL *s)
{
    if (SSL_get_app_data(s) != &ticket_taken)
        return;
    SSL_set_app_data(s, NULL);
    if (can_free_buffers())
        (void)SSL_free_buffers(s); /* refused: something is in them */
}

/* --- sessions --- */

static bool session_usable(const SSL_SESSION *session)
{
    long age = (long)time(NULL) - (long)SSL_SESSION_get_time(session);
    long lifetime = (long)SSL_SESSION_get_timeout(session);
    return SSL_SESSION_is_resumable(session) == 1 && age >= 0 && age < lifetime && age < SESSION_MAX_SECONDS;
}

/* OpenSSL's callback: a ticket came in. Returning 1 keeps the reference we are given. */
static int session_arrived(SSL *s, SSL_SESSION *session)
{
    struct upstream_tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(s));
    SSL_SESSION *oldest = NULL;
    pthread_mutex_lock(&t->lock);
    if (t->session_count == SESSIONS_KEPT) {
        oldest = t->sessions[0];
        memmove(t->sessions, t->sessions + 1, sizeof t->sessions[0] * (SESSIONS_KEPT - 1));
        t->session_count--;
    }
    t->sessions[t->session_count++] = session;
    pthread_mutex_unlock(&t->lock);
    SSL_SESSION_free(oldest);
    if (SSL_get_app_data(s) == NULL)
        SSL_set_app_data(s, &ticket_taken);
    return 1;
}

/* A copy of the newest session, the caller's own: other connections, maybe of other threads, may still refer to the
 * original. A TLS 1.3 ticket should be used once (RFC 8446 C.4), so it leaves the cache, but for the last one: resuming
 * saves the upstream more than a linkable ticket costs us. */
static SSL_SESSION *session_take(struct upstream_tls *t)
{
    SSL_SESSION *session = NULL;
    pthread_mutex_lock(&t->lock);
    while (t->session_count > 0 && !session_usable(t->sessions[t->session_count - 1]))
        SSL_SESSION_free(t->sessions[--t->session_count]);
    if (t->session_count > 0)
        session = SSL_SESSION_dup(t->sessions[t->session_count - 1]); /* NULL: no memory: a full handshake then */
    if (t->session_count > 1)
        SSL_SESSION_free(t->sessions[--t->session_count]);
    pthread_mutex_unlock(&t->lock);
    return session;
}

static void sessions_drop(struct upstream_tls *t)
{
    pthread_mutex_lock(&t->lock);
    while (t->session_count > 0)
        SSL_SESSION_free(t->sessions[--t->session_count]);
    pthread_mutex_unlock(&t->lock);
}

/* --- the shared context --- */

static enum pp_result set_rules(SSL_CTX *context, const struct upstream_settings *settings, struct problem *problem)
{
    bool only_13 = strcmp(settings->tls_min_version, "1.3") == 0;
    static const unsigned char alpn[] = "\x08http/1.1";
    if (SSL_CTX_set_min_proto_version(context, only_13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, 0) != 1 || SSL_CTX_set_cipher_list(context, CIPHERS_TLS12) != 1 ||
        SSL_CTX_set_alpn_protos(context, alpn, sizeof alpn - 1) != 0)
        return problem_set(problem, PP_INVALID,
                           "OpenSSL refuses the TLS settings; its own configuration (openssl.cnf) may "
                           "forbid them");
    SSL_CTX_set_security_level(context, 2);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF); /* a cut stream must look like one */
    /* AUTO_RETRY: a read goes on past records without data (tickets), so that PP_AGAIN means an empty socket. */
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, tls_explain_verify);
    SSL_CTX_set_verify_depth(context, CHAIN_DEPTH);
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);
    /* Any certificate in ca_file is an anchor by the operator's word, also an intermediate one. */
    if (X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN) != 1)
        return problem_set(problem, PP_NOMEM, "out of memory");
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, session_arrived);
    SSL_CTX_set_keylog_callback(context, NULL); /* later versions of OpenSSL may obey SSLKEYLOGFILE */
    return PP_OK;
}

static enum pp_result copy_pins(struct upstream_tls *t, const struct upstream_settings *settings,
                                struct problem *problem)
{
    if (settings->pinned_count == 0)
        return PP_OK;
    t->pins = calloc(settings->pinned_count, sizeof *t->pins);
    if (t->pins == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    for (size_t i = 0; i < settings->pinned_count; i++) {
        struct str pin = settings->pinned_spki[i];
        if (pin.n != PIN_TEXT - 1)
            return problem_set(problem, PP_INVALID,
                               "pinned_spki: \"%.*s\" is not the base64 form of a SHA-256 digest (44 characters)",
                               (int)(pin.n > 100 ? 100 : pin.n), pin.p);
        memcpy(t->pins[t->pin_count++], pin.p, PIN_TEXT - 1);
    }
    return PP_OK;
}

static bool is_address(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

enum pp_result upstream_tls_new(const struct upstream_settings *settings, struct upstream_tls **out,
                                struct problem *problem)
{
    struct upstream_tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    atomic_init(&t->references, 1);
    (void)pthread_mutex_init(&t->lock, NULL); /* cannot fail with default attributes on Linux */
    enum pp_result rc = problem_set(problem, PP_NOMEM, "out of memory");
    unsigned long denied = crypto_denied();
    size_t n = strlen(settings->host);
    t->host_is_address = is_address(settings->host);
    if (n > 1 && settings->host[n - 1] == '.')
        n--; /* the root's dot is no part of the name in a certificate or in SNI (RFC 6066 3) */
    t->host = strndup(settings->host, n);
    t->context = SSL_CTX_new(TLS_client_method());
    if (t->host == NULL || t->context == NULL)
        goto out;
    SSL_CTX_set_app_data(t->context, t);
    rc = set_rules(t->context, settings, problem);
    if (rc == PP_OK)
        rc = copy_pins(t, settings, problem);
    if (rc == PP_OK)
        rc = settings->ca_file[0] != '\0' ? load_file(t->context, settings->ca_file, problem)
                                          : load_system(t->context, problem);
    if (rc == PP_OK)
        rc = digest_trust(t, problem);
out:
    ERR_clear_error();
    if (crypto_denied() != denied) /* it may lack algorithms or authorities for good, or seem to have a bad file */
        rc = problem_set(problem, PP_NOMEM, "out of memory");
    if (rc == PP_OK)
        *out = t;
    else
        upstream_tls_unref(&t);
    return rc;
}

struct upstream_tls *upstream_tls_ref(struct upstream_tls *t)
{
    atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

void upstream_tls_unref(struct upstream_tls **t)
{
    struct upstream_tls *last = *t;
    *t = NULL;
    if (last == NULL || atomic_fetch_sub_explicit(&last->references, 1, memory_order_acq_rel) != 1)
        return;
    sessions_drop(last);
    SSL_CTX_free(last->context);
    (void)pthread_mutex_destroy(&last->lock);
    free(last->host);
    free(last->pins);
    free(last);
}

/* --- one connection --- */

/* SSL_get_error(3) looks at the thread's error queue: it must be empty before each operation. */
static void clear_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

static bool expect_host(const struct upstream_tls *t, SSL *s)
{
    if (t->host_is_address) /* no SNI for addresses (RFC 6066 3) */
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s), t->host) == 1;
    return SSL_set1_host(s, t->host) == 1 && SSL_set_tlsext_host_name(s, t->host) == 1;
}

enum pp_result tls_new(struct upstream_tls *t, int fd, struct ssl_st **out)
{
    clear_errors();
    SSL *s = SSL_new(t->context);
    if (s == NULL || SSL_set_fd(s, fd) != 1 || !expect_host(t, s)) {
        SSL_free(s);
        clear_errors();
        return PP_NOMEM;
    }
    SSL_set_connect_state(s);
    SSL_SESSION *session = session_take(t);
    if (session != NULL) {
        (void)SSL_set_session(s, session); /* refused: a full handshake */
        SSL_SESSION_free(session);
    }
    *out = s;
    return PP_OK;
}

static enum pp_result check_pin(const struct upstream_tls *t, X509 *leaf, struct problem *why)
{
    unsigned char *der = NULL, digest[32];
    char text[PIN_TEXT];
    if (t->pin_count == 0)
        return PP_OK;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    enum pp_result rc = n <= 0 ? PP_NOMEM : crypto_sha256(der, (size_t)n, digest);
    OPENSSL_free(der);
    if (rc != PP_OK)
        return problem_set(why, PP_BROKEN, "the server's key could not be compared with pinned_spki: out of memory");
    crypto_base64(digest, sizeof digest, text);
    for (size_t i = 0; i < t->pin_count; i++)
        if (strcmp(text, t->pins[i]) == 0)
            return PP_OK;
    return problem_set(why, PP_BROKEN,
                       "the server's key is none of pinned_spki: it has %s (the chain itself is good; was the key "
                       "replaced, or is something in between?)",
                       text);
}

/* What OpenSSL does not check, or not for resumed sessions. */
static enum pp_result check_peer(struct upstream_tls *t, SSL *s, struct problem *why)
{
    const unsigned char *protocol = NULL;
    unsigned n = 0;
    X509 *leaf = SSL_get0_peer_certificate(s);
    SSL_get0_alpn_selected(s, &protocol, &n);
    if (n > 0 && (n != 8 || memcmp(protocol, "http/1.1", 8) != 0))
        return problem_set(why, PP_BROKEN,
                           "the server chose a protocol that was not offered (ALPN): expected http/1.1");
    if (leaf == NULL || SSL_get_verify_result(s) != X509_V_OK)
        return problem_set(why, PP_BROKEN, "the server has shown no certificate");
    if (SSL_session_reused(s) && X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
        sessions_drop(t);
        return problem_set(why, PP_BROKEN,
                           "the server's certificate has expired since the session being resumed began");
    }
    return check_pin(t, leaf, why);
}

#define INTERRUPTED_MOST 8u

/* Was a system call interrupted before it did anything? OpenSSL then asks to be called again like for a socket that is
 * not ready; but the socket may be, and no edge will tell. errno must be 0 before the operation. */
static bool interrupted(int result, unsigned *times)
{
    return result <= 0 && errno == EINTR && (*times)++ < INTERRUPTED_MOST;
}

enum pp_result tls_handshake(struct upstream_tls *t, struct ssl_st *s, struct problem *why)
{
    int result;
    unsigned times = 0;
    why->text[0] = '\0';
    SSL_set_app_data(s, why); /* for tls_explain_verify */
    do {
        clear_errors();
        errno = 0;
        result = SSL_do_handshake(s);
    } while (interrupted(result, &times));
    int system_error = errno;
    SSL_set_app_data(s, NULL);
    if (result == 1) {
        enum pp_result rc = check_peer(t, s, why);
        clear_errors();
        return rc;
    }
    int error = SSL_get_error(s, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return PP_AGAIN;
    enum pp_result rc = PP_BROKEN;
    if (why->text[0] == '\0')
        rc = tls_explain_handshake(ERR_peek_error(), system_error, why);
    clear_errors();
    return rc;
}

bool tls_resumed(const struct ssl_st *s)
{
    return SSL_session_reused(s) == 1;
}

/* PP_AGAIN, PP_END or PP_BROKEN for an operation that moved nothing. */
static enum pp_result stopped(SSL *s, int result, int other_way_error, bool *other_way)
{
    int error = SSL_get_error(s, result);
    clear_errors();
    switch (error) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        *other_way = error == other_way_error;
        return PP_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return PP_END;
    default: /* reset, end without close_notify, a record that doesn't decrypt, a fatal alert */
        return PP_BROKEN;
    }
}

enum pp_result tls_read(struct ssl_st *s, void *into, size_t room, size_t *done, bool *other_way)
{
    int result;
    unsigned times = 0;
    do {
        clear_errors();
        errno = 0;
        result = SSL_read_ex(s, into, room, done);
    } while (interrupted(result, &times));
    if (result == 1)
        return PP_OK;
    enum pp_result rc = stopped(s, result, SSL_ERROR_WANT_WRITE, other_way);
    if (rc == PP_AGAIN)
        give_back_buffers(s);
    return rc;
}

enum pp_result tls_write(struct ssl_st *s, const void *bytes, size_t n, size_t *done, bool *other_way)
{
    int result;
    unsigned times = 0;
    do {
        clear_errors();
        errno = 0;
        result = SSL_write_ex(s, bytes, n, done);
    } while (interrupted(result, &times));
    if (result == 1)
        return PP_OK;
    enum pp_result rc = stopped(s, result, SSL_ERROR_WANT_READ, other_way);
    return rc == PP_AGAIN ? PP_AGAIN : PP_BROKEN;
}

enum pp_result tls_shutdown_write(struct ssl_st *s)
{
    int result;
    unsigned times = 0;
    do {
        clear_errors();
        errno = 0;
        result = SSL_shutdown(s);
    } while (result < 0 && interrupted(result, &times));
    if (result >= 0) /* sent; 1 = the peer's was here before */
        return PP_OK;
    bool unused;
    enum pp_result rc = stopped(s, result, SSL_ERROR_WANT_READ, &unused);
    return rc == PP_AGAIN ? PP_AGAIN : PP_BROKEN;
}

uint64_t tls_wire_bytes(struct ssl_st *s)
{
    return BIO_number_read(SSL_get_rbio(s));
}

bool tls_has_pending(const struct ssl_st *s)
{
    return SSL_has_pending(s) == 1;
}

size_t tls_cost(bool idle)
{
    return TLS_STATE + (idle ? 0 : 2 * TLS_RECORD);
}

void tls_free(struct ssl_st **s, bool polite)
{
    if (*s == NULL)
        return;
    clear_errors();
    if (polite && SSL_is_init_finished(*s) && (SSL_get_shutdown(*s) & SSL_SENT_SHUTDOWN) == 0)
        (void)SSL_shutdown(*s);
    /* Freed without both, OpenSSL would mark the session, which the cache shares, as not resumable. */
    SSL_set_shutdown(*s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(*s);
    clear_errors();
    *s = NULL;
}
