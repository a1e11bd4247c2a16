/* Measures the resident memory of one upstream connection held as a tunnel: over TLS 1.3 and 1.2, resumed and not.
 *
 * upstream_memory [CONNECTIONS]   prints KiB per connection; the server is a process of its own. */
#include "net/upstream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "upstream_memory: %s\n", what);
    exit(1);
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (e == NULL || X509_add_ext(x, e, -1) != 1)
        die("can't extend a certificate");
    X509_EXTENSION_free(e);
}

/* RSA 2048, as long as what public authorities issue. */
static struct identity issue(const struct identity *by, const char *name, bool authority)
{
    struct identity id = {X509_new(), EVP_RSA_gen(2048)};
    if (id.certificate == NULL || id.key == NULL)
        die("out of memory");
    const struct identity *issuer = by == NULL ? &id : by;
    X509_set_version(id.certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(id.certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(id.certificate), 3600);
    X509_set_pubkey(id.certificate, id.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.certificate), "CN", MBSTRING_ASC, (const unsigned char *)name,
                               -1, -1, 0);
    X509_set_issuer_name(id.certificate, X509_get_subject_name(issuer->certificate));
    extend(id.certificate, issuer->certificate, NID_subject_key_identifier, "hash");
    if (authority)
        extend(id.certificate, issuer->certificate, NID_basic_constraints, "critical,CA:TRUE");
    else
        extend(id.certificate, issuer->certificate, NID_subject_alt_name,
               "DNS:localhost,DNS:api.example,DNS:www.example,IP:127.0.0.1");
    if (X509_sign(id.certificate, issuer->key, EVP_sha256()) <= 0)
        die("can't sign");
    return id;
}

/* Accepts for ever and answers nothing. */
static void serve(int listener, const struct identity *leaf, const struct identity *middle, int version, bool tickets)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    X509_up_ref(middle->certificate);
    if (context == NULL || SSL_CTX_use_certificate(context, leaf->certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, leaf->key) != 1 ||
        SSL_CTX_add_extra_chain_cert(context, middle->certificate) != 1)
        die("can't set up the server");
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (!tickets) {
        SSL_CTX_set_num_tickets(context, 0);
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        SSL *s = SSL_new(context);
        if (fd < 0 || s == NULL || SSL_set_fd(s, fd) != 1 || SSL_accept(s) != 1)
            die("the server failed to accept");
    }
}

static long resident_kib(void)
{
    char line[128], *end = line;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL || fgets(line, sizeof line, f) == NULL)
        die("can't read /proc/self/statm");
    (void)fclose(f);
    (void)strtol(line, &end, 10); /* the total comes first (proc(5)) */
    return strtol(end, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
}

struct client {
    struct upstream_waiter waiter;
    struct upstream_connection *connection;
};

static void ready(struct upstream_waiter *w, struct upstream_connection *c)
{
    ((struct client *)w)->connection = c;
    upstream_detach(c);
}

static void failed(struct upstream_waiter *w, enum upstream_failure why, const char *detail)
{
    (void)w;
    (void)why;
    die(detail);
}

static void open_one(struct loop *loop, struct upstream_pool *pool, struct client *k)
{
    k->waiter.ready = ready;
    k->waiter.failed = failed;
    struct upstream_connection *c = upstream_acquire(pool, &k->waiter, true);
    if (c != NULL)
        ready(&k->waiter, c);
    while (k->connection == NULL)
        loop_turn(loop, NULL);
    for (int i = 0; i < 2; i++) { /* take in the tickets, as the first read of a tunnel does */
        char byte;
        size_t n;
        (void)!upstream_read(k->connection, &byte, 1, &n);
    }
}

static void measure(const char *what, int version, bool tickets, size_t count, const char *ca_file,
                    const struct identity *leaf, const struct identity *middle)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) != 0)
        die("can't listen");
    (void)fflush(stdout);
    pid_t server = fork();
    if (server == 0)
        serve(listener, leaf, middle, version, tickets);
    (void)close(listener);

    /* In a process of its own, so that nothing measured before is in the figure. */
    pid_t client = fork();
    if (client == 0) {
        struct problem p = {""};
        struct upstream_tls *tls = NULL;
        struct upstream_settings settings = {.environment = "bench",
                                             .host = "localhost",
                                             .port = ntohs(at.sin_port),
                                             .tls = true,
                                             .ca_file = ca_file,
                                             .tls_min_version = "1.2",
                                             .proxy = "",
                                             .interface = "",
                                             .connect_timeout = 10000};
        struct client *clients = calloc(count, sizeof *clients);
        struct loop *loop = loop_new();
        if (clients == NULL || loop == NULL || upstream_tls_new(&settings, &tls, &p) != PP_OK)
            die(p.text);
        struct upstream_pool *pool = upstream_pool_new(loop, &settings, tls);
        size_t warm_up = count / 10;
        for (size_t i = 0; i < warm_up; i++)
            open_one(loop, pool, &clients[i]);
        long before = resident_kib();
        for (size_t i = warm_up; i < count; i++)
            open_one(loop, pool, &clients[i]);
        struct upstream_pool_stats stats;
        upstream_pool_stats(pool, &stats);
        (void)printf("%-28s %6.1f KiB per connection (%zu open, %lu resumed)\n", what,
                     (double)(resident_kib() - before) / (double)(count - warm_up), count,
                     (unsigned long)stats.tls_resumed);
        (void)fflush(stdout);
        _exit(0);
    }
    int status;
    (void)waitpid(client, &status, 0);
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    if (status != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    char ca_file[] = "/tmp/upstream_memory_XXXXXX";
    int fd = mkstemp(ca_file);
    if (fd < 0 || count < 10)
        die("usage: upstream_memory [CONNECTIONS], at least 10");
    struct identity root = issue(NULL, "Bench Root", true), middle = issue(&root, "Bench Intermediate", true),
                    leaf = issue(&middle, "localhost", false);
    FILE *f = fdopen(fd, "w");
    if (f == NULL || PEM_write_X509(f, root.certificate) != 1 || fclose(f) != 0)
        die("can't write the CA file");
    (void)signal(SIGPIPE, SIG_IGN);
    measure("TLS 1.3, resumed", TLS1_3_VERSION, true, count, ca_file, &leaf, &middle);
    measure("TLS 1.3, full handshakes", TLS1_3_VERSION, false, count, ca_file, &leaf, &middle);
    measure("TLS 1.2, resumed", TLS1_2_VERSION, true, count, ca_file, &leaf, &middle);
    measure("TLS 1.2, full handshakes", TLS1_2_VERSION, false, count, ca_file, &leaf, &middle);
    (void)unlink(ca_file);
    return 0;
}
