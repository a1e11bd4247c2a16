/* TLS to an upstream: who passes, who doesn't and in which words; ends, truncation, resumption. */
#include "net/tls.h"

#include "net/upstream.h"
#include "tls_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static char folder[] = "/tmp/test_tls_XXXXXX";
static char ca_file[64], other_ca_file[64];
static struct identity ca, other_ca, good;

static void make_certificates(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(ca_file, sizeof ca_file, "%s/ca.pem", folder);
    (void)snprintf(other_ca_file, sizeof other_ca_file, "%s/other.pem", folder);
    ca = make_identity(NULL, "Test CA", NULL, -3600, 86400);
    other_ca = make_identity(NULL, "Other CA", NULL, -3600, 86400);
    good = make_identity(&ca, "upstream", "DNS:localhost,DNS:api.example,IP:127.0.0.1,IP:::1", -3600, 86400);
    write_pem(&ca, ca_file);
    write_pem(&other_ca, other_ca_file);
}

static void remove_certificates(void)
{
    free_identity(&ca);
    free_identity(&other_ca);
    free_identity(&good);
    (void)unlink(ca_file);
    (void)unlink(other_ca_file);
    (void)rmdir(folder);
}

static struct upstream_settings settings_for(const char *host, const char *cas)
{
    return (struct upstream_settings){.environment = "test",
                                      .host = host,
                                      .tls = true,
                                      .ca_file = cas,
                                      .tls_min_version = "1.2",
                                      .proxy = "",
                                      .interface = "",
                                      .connect_timeout = 3000};
}

static struct upstream_tls *context_for(const struct upstream_settings *settings)
{
    struct upstream_tls *t = NULL;
    struct problem p = {""};
    enum pp_result rc = upstream_tls_new(settings, &t, &p);
    ck_assert_msg(rc == PP_OK, "%s", p.text);
    return t;
}

static int connect_to(const struct peer_server *server)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)server->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
}

static enum pp_result shake(struct upstream_tls *t, struct ssl_st *s, int fd, struct problem *why)
{
    enum pp_result rc;
    while ((rc = tls_handshake(t, s, why)) == PP_AGAIN)
        wait_for(fd, POLLIN);
    return rc;
}

static void write_all(struct ssl_st *s, int fd, const char *text)
{
    size_t n = strlen(text), done = 0;
    bool other_way = false;
    while (n > 0) {
        enum pp_result rc = tls_write(s, text, n, &done, &other_way);
        if (rc == PP_AGAIN) {
            wait_for(fd, POLLOUT);
            continue;
        }
        ck_assert_int_eq(rc, PP_OK);
        text += done;
        n -= done;
    }
}

/* Reads until something else than bytes comes, or `enough` bytes were read. */
static enum pp_result read_all(struct ssl_st *s, int fd, size_t enough, size_t *total)
{
    char bytes[4096];
    *total = 0;
    while (*total < enough) {
        size_t done = 0;
        bool other_way = false;
        enum pp_result rc = tls_read(s, bytes, sizeof bytes, &done, &other_way);
        if (rc == PP_AGAIN)
            wait_for(fd, POLLIN);
        else if (rc != PP_OK)
            return rc;
        *total += done;
    }
    return PP_OK;
}

/* --- who passes --- */

enum certificate { GOOD, EXPIRED, EARLY, WRONG_NAME, NO_NAME, FOREIGN, SELF_SIGNED, WILDCARD, CN_ONLY };

static const struct {
    enum certificate certificate;
    const char *host;
    const char *min_version;
    int max_version; /* of the server */
    const char *alpn;
    enum pp_result rc;
    const char *says[3];
} matrix[] = {
    {GOOD, "localhost", "1.2", 0, NULL, PP_OK, {""}},
    {GOOD, "localhost.", "1.2", 0, NULL, PP_OK, {""}},
    {GOOD, "LOCALHOST", "1.2", 0, NULL, PP_OK, {""}},
    {GOOD, "127.0.0.1", "1.2", 0, NULL, PP_OK, {""}},
    {GOOD, "::1", "1.2", 0, NULL, PP_OK, {""}},
    {GOOD, "localhost", "1.3", 0, NULL, PP_OK, {""}},
    {GOOD, "localhost", "1.2", TLS1_2_VERSION, NULL, PP_OK, {""}},
    {GOOD, "localhost", "1.2", 0, "http/1.1", PP_OK, {""}},
    {WILDCARD, "api.wild.example", "1.2", 0, NULL, PP_OK, {""}},
    {GOOD, "localhost", "1.2", 0, "h2", PP_BROKEN, {"ALPN", "http/1.1"}},
    {EXPIRED, "localhost", "1.2", 0, NULL, PP_BROKEN, {"\"expired-leaf\" expired on 20", " UTC", "clock"}},
    {EARLY, "localhost", "1.2", 0, NULL, PP_BROKEN, {"valid only from 20", "clock"}},
    {WRONG_NAME,
     "localhost",
     "1.2",
     0,
     NULL,
     PP_BROKEN,
     {"not for localhost", "www.other.example, 192.0.2.7", "base_url"}},
    {WRONG_NAME, "127.0.0.1", "1.2", 0, NULL, PP_BROKEN, {"not for 127.0.0.1", "www.other.example, 192.0.2.7"}},
    {NO_NAME, "localhost", "1.2", 0, NULL, PP_BROKEN, {"not for localhost", "subjectAltName is missing"}},
    {CN_ONLY, "localhost", "1.2", 0, NULL, PP_BROKEN, {"not for localhost", "subjectAltName is missing"}},
    {WILDCARD, "a.b.wild.example", "1.2", 0, NULL, PP_BROKEN, {"not for a.b.wild.example", "*.wild.example"}},
    {FOREIGN, "localhost", "1.2", 0, NULL, PP_BROKEN, {"issued by \"Other CA\"", "not trusted", "ca_file"}},
    {SELF_SIGNED, "localhost", "1.2", 0, NULL, PP_BROKEN, {"not trusted", "ca_file"}},
    {GOOD, "localhost", "1.2", TLS1_1_VERSION, NULL, PP_BROKEN, {"TLS version", "tls.min_version"}},
    {GOOD, "localhost", "1.3", TLS1_2_VERSION, NULL, PP_BROKEN, {"TLS version", "tls.min_version"}},
};

static struct identity identity_of(enum certificate which)
{
    switch (which) {
    case GOOD:
        X509_up_ref(good.certificate);
        EVP_PKEY_up_ref(good.key);
        return good;
    case EXPIRED:
        return make_identity(&ca, "expired-leaf", "DNS:localhost", -7200, -3600);
    case EARLY:
        return make_identity(&ca, "early-leaf", "DNS:localhost", 3600, 7200);
    case WRONG_NAME:
        return make_identity(&ca, "localhost", "DNS:www.other.example,IP:192.0.2.7", -3600, 3600);
    case NO_NAME:
        return make_identity(&ca, "nobody", NULL, -3600, 3600);
    case CN_ONLY:
        return make_identity(&ca, "localhost", NULL, -3600, 3600);
    case FOREIGN:
        return make_identity(&other_ca, "localhost", "DNS:localhost", -3600, 3600);
    case SELF_SIGNED:
        return make_identity(NULL, "localhost", "DNS:localhost", -3600, 3600);
    case WILDCARD:
        return make_identity(&ca, "wild", "DNS:*.wild.example", -3600, 3600);
    }
    ck_abort();
}

START_TEST(certificates)
{
    struct identity id = identity_of(matrix[_i].certificate);
    struct peer_server server = {.identity = &id, .max_version = matrix[_i].max_version, .alpn = matrix[_i].alpn};
    struct upstream_settings settings = settings_for(matrix[_i].host, ca_file);
    settings.tls_min_version = matrix[_i].min_version;
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    enum pp_result rc = shake(t, s, fd, &why);
    ck_assert_msg(rc == matrix[_i].rc, "%s: %s", matrix[_i].host, why.text);
    for (size_t i = 0; i < 3 && matrix[_i].says[i] != NULL; i++)
        ck_assert_msg(strstr(why.text, matrix[_i].says[i]) != NULL, "\"%s\" lacks \"%s\"", why.text,
                      matrix[_i].says[i]);
    if (rc == PP_OK) { /* and bytes flow */
        size_t total;
        write_all(s, fd, "echo\n");
        ck_assert_int_eq(read_all(s, fd, 5, &total), PP_OK);
    }
    tls_free(&s, rc == PP_OK);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
    free_identity(&id);
}
END_TEST

/* Only AEAD ciphers with forward secrecy; TLS 1.2 knows others. */
static const struct {
    const char *ciphers;
    enum pp_result rc;
} cipher_cases[] = {
    {"ECDHE-ECDSA-AES128-GCM-SHA256", PP_OK},
    {"ECDHE-ECDSA-CHACHA20-POLY1305", PP_OK},
    {"ECDHE-ECDSA-AES128-SHA256", PP_BROKEN},
    {"ECDHE-ECDSA-AES256-SHA", PP_BROKEN},
};

START_TEST(ciphers)
{
    struct peer_server server = {.identity = &good, .max_version = TLS1_2_VERSION, .ciphers = cipher_cases[_i].ciphers};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    enum pp_result rc = shake(t, s, fd, &why);
    ck_assert_msg(rc == cipher_cases[_i].rc, "%s: %s", cipher_cases[_i].ciphers, why.text);
    if (rc != PP_OK)
        ck_assert_msg(strstr(why.text, "nothing in common") != NULL, "%s", why.text);
    tls_free(&s, false);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

START_TEST(pins)
{
    struct peer_server server = {.identity = &good};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    char right[48], wrong[48];
    pin_of(&good, right);
    pin_of(&ca, wrong);
    struct str only_wrong[] = {str_of(wrong)}, both[] = {str_of(wrong), str_of(right)};
    settings.pinned_spki = _i == 0 ? both : only_wrong;
    settings.pinned_count = _i == 0 ? 2 : 1;
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), _i == 0 ? PP_OK : PP_BROKEN);
    if (_i == 1) {
        ck_assert_ptr_nonnull(strstr(why.text, "pinned_spki"));
        ck_assert_ptr_nonnull(strstr(why.text, right)); /* what to pin, if it was meant so */
    }
    tls_free(&s, false);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

START_TEST(a_malformed_pin_is_an_error)
{
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct str pin = STR("AAAA");
    struct upstream_tls *t = NULL;
    struct problem p;
    settings.pinned_spki = &pin;
    settings.pinned_count = 1;
    ck_assert_int_eq(upstream_tls_new(&settings, &t, &p), PP_INVALID);
    ck_assert_ptr_nonnull(strstr(p.text, "44 characters"));
}
END_TEST

static void copy_behind(int to, const char *path)
{
    char bytes[4096];
    int from = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(from, bytes, sizeof bytes);
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(write(to, bytes, (size_t)n), n);
    (void)close(from);
}

/* Whatever the host, and also with one of them twice. */
START_TEST(the_same_trust_is_that_of_the_same_certificates)
{
    char file[80];
    (void)snprintf(file, sizeof file, "%s/both.pem", folder);
    struct upstream_settings one = settings_for("localhost", ca_file), other = settings_for("127.0.0.1", other_ca_file);
    struct upstream_settings two = settings_for("127.0.0.1", file);
    struct upstream_tls *t[] = {context_for(&one), context_for(&other), NULL, NULL};
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    copy_behind(fd, ca_file);
    copy_behind(fd, other_ca_file);
    t[2] = context_for(&two);
    copy_behind(fd, ca_file);
    t[3] = context_for(&two);
    (void)close(fd);
    (void)unlink(file);
    ck_assert(upstream_tls_same_trust(t[2], t[3]) && upstream_tls_same_trust(NULL, NULL));
    ck_assert(!upstream_tls_same_trust(t[0], t[1]) && !upstream_tls_same_trust(t[0], t[2]));
    ck_assert(!upstream_tls_same_trust(t[1], t[3]) && !upstream_tls_same_trust(t[0], NULL));
    for (size_t i = 0; i < 4; i++)
        upstream_tls_unref(&t[i]);
}
END_TEST

START_TEST(trust_anchors_that_cannot_be_loaded)
{
    char file[80];
    struct upstream_tls *t = NULL;
    struct problem p;
    (void)snprintf(file, sizeof file, "%s/none.pem", folder);
    struct upstream_settings settings = settings_for("localhost", file);
    ck_assert_int_eq(upstream_tls_new(&settings, &t, &p), PP_INVALID);
    ck_assert_ptr_nonnull(strstr(p.text, "can't be read"));
    ck_assert_ptr_nonnull(strstr(p.text, file));
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "hello\n", 6), 6);
    (void)close(fd);
    ck_assert_int_eq(upstream_tls_new(&settings, &t, &p), PP_INVALID);
    ck_assert_ptr_nonnull(strstr(p.text, "no CA certificates"));
    (void)unlink(file);
    ck_assert_ptr_null(t);
}
END_TEST

/* With no ca_file, it is the system's store: our CA is not in it, whatever the environment says. */
START_TEST(the_environment_adds_no_trust)
{
    (void)setenv("SSL_CERT_FILE", ca_file, 1);
    (void)setenv("SSL_CERT_DIR", folder, 1);
    struct peer_server server = {.identity = &good};
    struct upstream_settings settings = settings_for("localhost", "");
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), PP_BROKEN);
    ck_assert_ptr_nonnull(strstr(why.text, "not trusted"));
    tls_free(&s, false);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

START_TEST(no_key_log)
{
    char log[80];
    (void)snprintf(log, sizeof log, "%s/keys", folder);
    (void)setenv("SSLKEYLOGFILE", log, 1);
    struct peer_server server = {.identity = &good};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), PP_OK);
    ck_assert_int_eq(access(log, F_OK), -1);
    tls_free(&s, true);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

/* --- what is not TLS, or not for long --- */

START_TEST(a_server_without_tls)
{
    struct peer_server server = {0};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_listen(&server);
    int fd = connect_to(&server);
    int other = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(other, 0);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(tls_handshake(t, s, &why), PP_AGAIN);
    if (_i == 0)
        ck_assert_int_eq(send(other, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, 0), 28);
    else
        (void)close(other);
    ck_assert_int_eq(shake(t, s, fd, &why), _i == 0 ? PP_BROKEN : PP_END);
    ck_assert_msg(strstr(why.text, _i == 0 ? "does not speak TLS" : "during the TLS handshake") != NULL, "%s",
                  why.text);
    tls_free(&s, false);
    (void)close(fd);
    if (_i == 0)
        (void)close(other);
    (void)close(server.listener);
    upstream_tls_unref(&t);
}
END_TEST

static const struct {
    const char *command;
    int max_version;
    enum pp_result rc;
} ends[] = {
    {"close\n", 0, PP_END},    {"close\n", TLS1_2_VERSION, PP_END},
    {"cut\n", 0, PP_BROKEN},   {"cut\n", TLS1_2_VERSION, PP_BROKEN},
    {"reset\n", 0, PP_BROKEN},
};

/* An orderly end and a truncated stream look different. */
START_TEST(how_a_stream_ends)
{
    struct peer_server server = {.identity = &good, .max_version = ends[_i].max_version};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    size_t total;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), PP_OK);
    write_all(s, fd, ends[_i].command);
    ck_assert_int_eq(read_all(s, fd, 100, &total), ends[_i].rc);
    if (strcmp(ends[_i].command, "reset\n") != 0)
        ck_assert_uint_eq(total, strlen(ends[_i].command));
    tls_free(&s, false);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

START_TEST(our_half_close_is_seen_and_answers_still_come)
{
    struct peer_server server = {.identity = &good};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    size_t total;
    bool other_way;
    peer_start(&server);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), PP_OK);
    ck_assert_int_eq(tls_shutdown_write(s), PP_OK);
    ck_assert_int_eq(tls_write(s, "x", 1, &total, &other_way), PP_BROKEN);
    ck_assert_int_eq(read_all(s, fd, 100, &total), PP_END);
    ck_assert_uint_eq(total, 5); /* "seen\n" */
    tls_free(&s, true);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

/* --- resumption --- */

static bool once(struct upstream_tls *t, const struct peer_server *server, const char *command)
{
    struct ssl_st *s = NULL;
    struct problem why;
    size_t total;
    int fd = connect_to(server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    enum pp_result rc = shake(t, s, fd, &why);
    ck_assert_msg(rc == PP_OK, "%s", why.text);
    bool resumed = tls_resumed(s);
    write_all(s, fd, command);
    (void)read_all(s, fd, strlen(command), &total);
    tls_free(&s, false); /* not even a polite end spoils the session */
    (void)close(fd);
    return resumed;
}

START_TEST(sessions_are_resumed)
{
    struct peer_server server = {.identity = &good, .max_version = _i == 0 ? 0 : TLS1_2_VERSION};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    peer_start(&server);
    ck_assert(!once(t, &server, "echo\n"));
    for (int i = 0; i < 20; i++)
        ck_assert(once(t, &server, i % 2 == 0 ? "echo\n" : "cut\n"));
    ck_assert_int_eq(atomic_load(&server.resumed), 20);
    peer_stop(&server);
    upstream_tls_unref(&t);
}
END_TEST

/* Many threads share one context. */
static struct upstream_tls *shared;
static struct peer_server shared_server;

static void *many_times(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20; i++)
        (void)once(shared, &shared_server, "echo\n");
    return NULL;
}

START_TEST(a_context_serves_many_threads)
{
    struct upstream_settings settings = settings_for("localhost", ca_file);
    pthread_t threads[4];
    shared_server.identity = &good;
    shared = context_for(&settings);
    peer_start(&shared_server);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, many_times, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    ck_assert_int_ge(atomic_load(&shared_server.resumed), 60);
    peer_stop(&shared_server);
    upstream_tls_unref(&shared);
}
END_TEST

/* A resumed session skips the chain, but never the pin, nor the date of the certificate. */
START_TEST(a_resumed_session_is_not_above_expiry)
{
    struct identity id = make_identity(&ca, "brief", "DNS:localhost", -3600, 2);
    struct peer_server server = {.identity = &id};
    struct upstream_settings settings = settings_for("localhost", ca_file);
    struct upstream_tls *t = context_for(&settings);
    struct ssl_st *s = NULL;
    struct problem why;
    peer_start(&server);
    (void)once(t, &server, "echo\n");
    peer_sleep(3100);
    int fd = connect_to(&server);
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), PP_BROKEN);
    ck_assert_msg(strstr(why.text, "expired since") != NULL, "%s", why.text);
    tls_free(&s, false);
    (void)close(fd);
    fd = connect_to(&server); /* the session is gone: the chain is looked at again */
    ck_assert_int_eq(tls_new(t, fd, &s), PP_OK);
    ck_assert_int_eq(shake(t, s, fd, &why), PP_BROKEN);
    ck_assert_msg(strstr(why.text, "\"brief\" expired on") != NULL, "%s", why.text);
    tls_free(&s, false);
    (void)close(fd);
    peer_stop(&server);
    upstream_tls_unref(&t);
    free_identity(&id);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls");
    TCase *t = tcase_create("tls");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, make_certificates, remove_certificates);
    tcase_add_loop_test(t, certificates, 0, (int)(sizeof matrix / sizeof matrix[0]));
    tcase_add_loop_test(t, ciphers, 0, (int)(sizeof cipher_cases / sizeof cipher_cases[0]));
    tcase_add_loop_test(t, pins, 0, 2);
    tcase_add_test(t, a_malformed_pin_is_an_error);
    tcase_add_test(t, the_same_trust_is_that_of_the_same_certificates);
    tcase_add_test(t, trust_anchors_that_cannot_be_loaded);
    tcase_add_test(t, the_environment_adds_no_trust);
    tcase_add_test(t, no_key_log);
    tcase_add_loop_test(t, a_server_without_tls, 0, 2);
    tcase_add_loop_test(t, how_a_stream_ends, 0, (int)(sizeof ends / sizeof ends[0]));
    tcase_add_test(t, our_half_close_is_seen_and_answers_still_come);
    tcase_add_loop_test(t, sessions_are_resumed, 0, 2);
    tcase_add_test(t, a_context_serves_many_threads);
    tcase_add_test(t, a_resumed_session_is_not_above_expiry);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
