/* fakeproof: a faithful fake of the Proof partner API, for tests, the demo and app developers. See README.md. */
#include "api.h"
#include "control.h"
#include "ws.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define STACK_SIZE (256u * 1024)

struct listener {
    struct fake *fake;
    int fd;
    bool control;
};

static void on_signal(int number)
{
    (void)number; /* only there to end a wait */
}

static int tls_version(const char *text)
{
    static const struct {
        const char *text;
        int version;
    } table[] = {{"1.0", TLS1_VERSION}, {"1.1", TLS1_1_VERSION}, {"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].text, text) == 0)
            return table[i].version;
    fprintf(stderr, "fakeproof: TLS version %s: expected 1.0, 1.1, 1.2 or 1.3\n", text);
    exit(2);
}

static SSL_CTX *tls_context(const struct options *o)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int least = tls_version(o->tls_min);

    if (context == NULL)
        return NULL;
    if (least < TLS1_2_VERSION)
        SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    if (SSL_CTX_set_min_proto_version(context, least) == 1 &&
        SSL_CTX_set_max_proto_version(context, tls_version(o->tls_max)) == 1 &&
        (least >= TLS1_2_VERSION || SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0") == 1) &&
        SSL_CTX_use_certificate_chain_file(context, o->cert) == 1 &&
        SSL_CTX_use_PrivateKey_file(context, o->key, SSL_FILETYPE_PEM) == 1)
        return context;
    ERR_print_errors_fp(stderr);
    SSL_CTX_free(context);
    return NULL;
}

/* Answers one request. Returns what the connection does next. */
static enum after serve_request(struct connection *c, struct http_request *r)
{
    char fingerprint[FINGERPRINT_SIZE];
    struct answer a;
    bool known = api_authenticate(c, r, fingerprint, &a);
    json_t *fault;
    enum after after;

    record_request(c->fake, r, fingerprint);
    fault = take_fault(c->fake, r, fingerprint);
    if (fault != NULL && fault_perform(c, r, fault, &after)) {
        if (!known)
            answer_free(&a);
    } else if (!known) {
        if (drain_body(c, r)) {
            after = answer_send(c, r, &a, fault);
        } else {
            answer_free(&a);
            after = AFTER_RESET;
        }
    } else if (strcmp(r->path, "/ws") == 0) {
        after = ws_serve(c, r, fault, fingerprint);
    } else if (api_answer(c, r, &a)) {
        after = answer_send(c, r, &a, fault);
    } else {
        count(c->fake, COUNT_ABORTED, 1);
        after = AFTER_RESET;
    }
    json_decref(fault);
    return after;
}

/* Waits for a next request. False when the connection is to end: the peer left, it idled too long, or control said so.
 */
static bool wait_request(struct connection *c)
{
    struct fake *f = c->fake;
    enum stream_wait woken;
    bool close_now;
    int patience;

    pthread_mutex_lock(&f->lock);
    c->state = CONNECTION_IDLE;
    patience = f->options.keep_alive_ms;
    count_locked(f, COUNT_IDLE, 1);
    pthread_mutex_unlock(&f->lock);
    do {
        woken = stream_wait(&c->stream, patience);
        pthread_mutex_lock(&f->lock);
        close_now = c->close_now;
        pthread_mutex_unlock(&f->lock);
    } while (woken == STREAM_SIGNAL && !close_now);
    pthread_mutex_lock(&f->lock);
    c->state = CONNECTION_BUSY;
    count_locked(f, COUNT_IDLE, -1);
    pthread_mutex_unlock(&f->lock);
    return woken == STREAM_READY && !close_now;
}

static enum after serve_api(struct connection *c)
{
    enum after after = AFTER_KEEP;

    while (after == AFTER_KEEP) {
        struct http_request r;
        const char *what = NULL;
        enum http_read got;
        if (!wait_request(c))
            return AFTER_CLOSE;
        got = http_read_head(&c->stream, &r, &what);
        if (got == HTTP_MALFORMED) {
            struct answer a;
            record_request(c->fake, &r, "");
            count(c->fake, COUNT_MALFORMED, 1);
            r.method = "GET";
            r.keep_alive = false;
            answer_error(&a, 400, "invalid_request", "decode_error", what);
            after = answer_send(c, &r, &a, NULL);
        } else if (got == HTTP_OK) {
            after = serve_request(c, &r);
        } else {
            after = AFTER_CLOSE;
        }
        http_request_free(&r);
    }
    return after;
}

static bool start_tls(struct connection *c, SSL **out)
{
    SSL *ssl = SSL_new(c->fake->tls);

    if (ssl == NULL)
        return false;
    if (SSL_set_fd(ssl, c->fd) != 1 || SSL_accept(ssl) != 1) {
        SSL_free(ssl);
        return false;
    }
    if (SSL_session_reused(ssl))
        count(c->fake, COUNT_RESUMED, 1);
    *out = ssl;
    return true;
}

static void connection_unlink(struct connection *c)
{
    struct fake *f = c->fake;

    pthread_mutex_lock(&f->lock);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else if (f->connections == c)
        f->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    count_locked(f, COUNT_OPEN, -1);
    pthread_mutex_unlock(&f->lock);
}

static void *api_thread(void *argument)
{
    struct connection *c = argument;
    struct fake *f = c->fake;
    enum after after = AFTER_RESET;
    SSL *ssl = NULL;

    pthread_mutex_lock(&f->lock);
    c->thread = pthread_self();
    c->next = f->connections;
    if (c->next != NULL)
        c->next->prev = c;
    f->connections = c;
    f->counters[COUNT_CONNECTIONS]++;
    count_locked(f, COUNT_OPEN, 1);
    pthread_mutex_unlock(&f->lock);
    if (!f->options.plain && !start_tls(c, &ssl)) {
        count(f, COUNT_HANDSHAKES_FAILED, 1);
        close(c->fd);
    } else if (stream_init(&c->stream, c->fd, ssl)) {
        after = serve_api(c);
        stream_close(&c->stream, after == AFTER_RESET      ? STREAM_RESET
                                 : after == AFTER_TRUNCATE ? STREAM_TRUNCATE
                                                           : STREAM_ORDERLY);
    }
    connection_unlink(c);
    free(c->queue);
    free(c);
    return NULL;
}

static void *control_thread(void *argument)
{
    struct connection *c = argument;

    if (stream_init(&c->stream, c->fd, NULL)) {
        control_serve(c);
        stream_close(&c->stream, STREAM_ORDERLY);
    }
    free(c);
    return NULL;
}

static void *accept_thread(void *argument)
{
    struct listener *l = argument;
    pthread_attr_t small;
    int one = 1;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_SIZE);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (;;) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        pthread_t thread;
        struct connection *c;
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
        if (fd < 0) {
            usleep(errno == EMFILE || errno == ENFILE ? 10000 : 0);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c = calloc(1, sizeof *c);
        if (c != NULL) {
            c->fake = l->fake;
            c->fd = fd;
            c->peer = peer;
        }
        if (c == NULL || pthread_create(&thread, &small, l->control ? control_thread : api_thread, c) != 0) {
            close(fd);
            free(c);
        }
    }
    return NULL;
}

/* Opens a listening socket; the port chosen goes to *port. */
static int open_listener(const char *host, int *port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *address;
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    char service[16], chosen[16];
    int fd, one = 1;

    snprintf(service, sizeof service, "%d", *port);
    if (getaddrinfo(host, service, &hints, &address) != 0)
        return -1;
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        /* The kernel's memory for a thousand unread answers would be missing to all others on this host. */
        int unsent = 128 * 1024;
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
        if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 4096) != 0 ||
            getsockname(fd, (struct sockaddr *)&bound, &length) != 0 ||
            getnameinfo((struct sockaddr *)&bound, length, NULL, 0, chosen, sizeof chosen, NI_NUMERICSERV) != 0) {
            close(fd);
            fd = -1;
        } else {
            *port = (int)strtol(chosen, NULL, 10);
        }
    }
    freeaddrinfo(address);
    return fd;
}

static void usage(void)
{
    fputs("usage: fakeproof [--host ADDRESS] [--port N] [--control-port N] --cert FILE --key FILE | --plain\n"
          "                 [--tokens FILE] [--progress MS] [--keep-alive MS] [--keep-alive-requests N]\n"
          "                 [--tls-min VERSION] [--tls-max VERSION]\n",
          stderr);
    exit(2);
}

static void parse_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {"control-port", required_argument, NULL, 'c'},
        {"cert", required_argument, NULL, 'e'},
        {"key", required_argument, NULL, 'k'},
        {"tokens", required_argument, NULL, 't'},
        {"progress", required_argument, NULL, 'g'},
        {"keep-alive", required_argument, NULL, 'a'},
        {"keep-alive-requests", required_argument, NULL, 'r'},
        {"tls-min", required_argument, NULL, 'm'},
        {"tls-max", required_argument, NULL, 'x'},
        {"plain", no_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    int option;

    *o = (struct options){.host = "127.0.0.1", .tls_min = "1.2", .tls_max = "1.3", .progress_ms = 2000};
    o->keep_alive_ms = 75000;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'h':
            o->host = optarg;
            break;
        case 'p':
            o->port = (int)strtol(optarg, NULL, 10);
            break;
        case 'c':
            o->control_port = (int)strtol(optarg, NULL, 10);
            break;
        case 'e':
            o->cert = optarg;
            break;
        case 'k':
            o->key = optarg;
            break;
        case 't':
            o->tokens_file = optarg;
            break;
        case 'g':
            o->progress_ms = (int)strtol(optarg, NULL, 10);
            break;
        case 'a':
            o->keep_alive_ms = (int)strtol(optarg, NULL, 10);
            break;
        case 'r':
            o->keep_alive_requests = (int)strtol(optarg, NULL, 10);
            break;
        case 'm':
            o->tls_min = optarg;
            break;
        case 'x':
            o->tls_max = optarg;
            break;
        case 'n':
            o->plain = true;
            break;
        default:
            usage();
        }
    }
    if (optind != argc || (!o->plain && (o->cert == NULL || o->key == NULL)))
        usage();
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static struct fake fake;
    static struct listener listeners[2];
    struct sigaction wake = {.sa_handler = on_signal};
    struct options options;
    sigset_t blocked, stop;
    pthread_t thread;
    int number;

    parse_options(argc, argv, &options);
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGUSR1, &wake, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    json_object_seed(0);
    if (!state_init(&fake, &options)) {
        fprintf(stderr, "fakeproof: cannot read the tokens file or get random bytes\n");
        return 1;
    }
    if (!options.plain && (fake.tls = tls_context(&options)) == NULL) {
        fprintf(stderr, "fakeproof: cannot use %s with %s\n", options.cert, options.key);
        return 1;
    }
    listeners[0] = (struct listener){&fake, open_listener(options.host, &options.port), false};
    listeners[1] = (struct listener){&fake, open_listener("127.0.0.1", &options.control_port), true};
    for (size_t i = 0; i < 2; i++) {
        if (listeners[i].fd < 0) {
            fprintf(stderr, "fakeproof: cannot listen: %m\n");
            return 1;
        }
        if (pthread_create(&thread, NULL, accept_thread, &listeners[i]) != 0)
            return 1;
    }
    printf("{\"port\": %d, \"control_port\": %d, \"pid\": %d}\n", options.port, options.control_port, (int)getpid());
    fflush(stdout);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigwait(&stop, &number);
    /* The threads are not joined: nothing they hold outlives the process. */
    _exit(0);
}
