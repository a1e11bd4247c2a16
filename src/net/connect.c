/* libcurl as a way to connect: a multi handle driven by our loop, one CONNECT_ONLY easy handle per attempt. */
#include "net/connect.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPALIVE_IDLE_SECONDS     30
#define KEEPALIVE_INTERVAL_SECONDS 10
#define LOOK_AGAIN                 20 /* milliseconds */

/* A descriptor libcurl asked us to watch; in the connector's list until libcurl says remove. */
struct curl_watch {
    struct watch watch;
    struct connector *connector;
    struct curl_watch *next;
    struct deferred free_later;
};

struct connector {
    struct loop *loop;
    const struct upstream_settings *settings;
    CURLM *multi;
    char *url;
    char *source;            /* CURLOPT_INTERFACE, or NULL */
    struct timer timer;      /* libcurl's one timeout */
    struct deferred at_once; /* a timeout of 0 */
    struct timer look_again; /* after a call of libcurl that failed: it may not know its sockets any more */
    uint64_t turn;           /* in which at_once ran last, and how often */
    unsigned kicks;
    struct curl_watch *watches;
    int taking;         /* the descriptor being taken over from libcurl, -1 = none */
    bool taking_closed; /* libcurl has let go of it */
};

static pthread_once_t curl_ready = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    (void)unsetenv("SSLKEYLOGFILE"); /* libcurl would create that file, whether it ever speaks TLS or not */
    (void)curl_global_init(CURL_GLOBAL_NOTHING);
    (void)res_init(); /* no memory with a process's first lookup, and glibc 2.36 lets all later ones wait for a lock */
}

void connect_init(void)
{
    (void)pthread_once(&curl_ready, init_curl);
}

/* --- what libcurl calls --- */

static void finish_attempts(struct connector *c);

static void look_again(struct timer *t);

/* Where there is no memory to watch a socket or to keep a time, libcurl is asked now and then instead. It is never told
 * of the failure: a multi handle that a callback gave up reads attempts that have no connection yet. */
static void look_soon(struct connector *c)
{
    if (!timer_armed(&c->look_again) &&
        timer_set(c->loop, &c->look_again, clock_now() + LOOK_AGAIN, look_again) != PP_OK)
        log_warning("upstream", c->settings->environment,
                    "out of memory: what is being connected now may end by its deadline only");
}

static void look_again(struct timer *t)
{
    struct connector *c = (struct connector *)((char *)t - offsetof(struct connector, look_again));
    int running = 0;
    CURLMcode code = curl_multi_perform(c->multi, &running); /* looks at every attempt by itself */
    finish_attempts(c);
    if (code != CURLM_OK || running > 0)
        look_soon(c);
}

static void took(struct connector *c, CURLMcode code)
{
    finish_attempts(c);
    if (code != CURLM_OK)
        look_soon(c);
}

static void socket_ready(struct watch *w, uint32_t events)
{
    struct curl_watch *cw = (struct curl_watch *)w;
    struct connector *c = cw->connector;
    int running, mask = 0;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP)) != 0)
        mask |= CURL_CSELECT_IN;
    if ((events & EPOLLOUT) != 0)
        mask |= CURL_CSELECT_OUT;
    if ((events & EPOLLERR) != 0)
        mask |= CURL_CSELECT_ERR;
    took(c, curl_multi_socket_action(c->multi, w->fd, mask, &running));
}

static void time_out(struct connector *c)
{
    int running;
    took(c, curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running));
}

static void timer_fired(struct timer *t)
{
    time_out((struct connector *)((char *)t - offsetof(struct connector, timer)));
}

static void run_at_once(struct deferred *d)
{
    time_out((struct connector *)((char *)d - offsetof(struct connector, at_once)));
}

/* CURLMOPT_TIMERFUNCTION(3): one-shot, -1 deletes; libcurl must not be called from here. */
static int set_timer(CURLM *multi, long timeout, void *owner)
{
    struct connector *c = owner;
    (void)multi;
    if (timeout < 0) {
        timer_stop(c->loop, &c->timer);
        return 0;
    }
    if (timeout == 0) {
        if (c->turn != loop_turns(c->loop)) {
            c->turn = loop_turns(c->loop);
            c->kicks = 0;
        }
        if (c->kicks++ < 16) { /* libcurl may ask again and again: the loop has other work too */
            loop_defer(c->loop, &c->at_once, run_at_once);
            return 0;
        }
        timeout = 1;
    }
    if (timer_set(c->loop, &c->timer, clock_now() + timeout, timer_fired) != PP_OK)
        look_soon(c);
    return 0;
}

static void free_watch(struct deferred *d)
{
    free((char *)d - offsetof(struct curl_watch, free_later));
}

static void drop_watch(struct connector *c, struct curl_watch *cw)
{
    loop_unwatch(c->loop, &cw->watch);
    for (struct curl_watch **at = &c->watches; *at != NULL; at = &(*at)->next)
        if (*at == cw) {
            *at = cw->next;
            break;
        }
    loop_defer(c->loop, &cw->free_later, free_watch);
}

/* CURLMOPT_SOCKETFUNCTION(3) */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *assigned)
{
    struct connector *c = owner;
    struct curl_watch *cw = assigned;
    uint32_t events = 0;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (cw != NULL)
            drop_watch(c, cw);
        (void)curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= EPOLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= EPOLLOUT;
    if (cw != NULL && cw->watch.fd == fd && loop_rewatch(c->loop, &cw->watch, events) == PP_OK)
        return 0;
    if (cw == NULL) {
        cw = calloc(1, sizeof *cw);
        if (cw == NULL) {
            look_soon(c);
            return 0;
        }
        cw->connector = c;
        cw->watch.fd = -1;
        cw->next = c->watches;
        c->watches = cw;
        (void)curl_multi_assign(c->multi, fd, cw);
    }
    loop_forget(c->loop, &cw->watch); /* another socket had this number, and went without a word */
    if (loop_watch(c->loop, &cw->watch, fd, events, socket_ready) != PP_OK)
        look_soon(c);
    return 0;
}

/* CURLOPT_OPENSOCKETFUNCTION(3) */
static curl_socket_t open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct connect_attempt *a = owner;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    if (fd < 0) {
        a->system_error = errno;
        return CURL_SOCKET_BAD;
    }
    return fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION(3): closes the losers of happy eyeballs and failed attempts, but not the descriptor we
 * take over. */
static int close_socket(void *owner, curl_socket_t fd)
{
    struct connector *c = owner;
    if (fd == c->taking) {
        c->taking_closed = true;
        return 0;
    }
    for (struct curl_watch *cw = c->watches; cw != NULL; cw = cw->next)
        if (cw->watch.fd == fd)
            loop_unwatch(c->loop, &cw->watch); /* libcurl does not always say CURL_POLL_REMOVE */
    return close(fd);
}

static size_t discard(char *bytes, size_t size, size_t count, void *owner)
{
    (void)bytes;
    (void)owner;
    return size * count;
}

/* --- the result of an attempt --- */

static bool out_of_descriptors(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE;
    (void)close(fd);
    return false;
}

static enum upstream_failure classify(const struct connect_attempt *a, CURLcode code)
{
    if (a->system_error == EMFILE || a->system_error == ENFILE || a->system_error == ENOMEM ||
        a->system_error == ENOBUFS)
        return UPSTREAM_FAILURE_LOCAL;
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return UPSTREAM_FAILURE_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
        /* The resolver needs descriptors too, and does not say so. */
        return out_of_descriptors() ? UPSTREAM_FAILURE_LOCAL : UPSTREAM_FAILURE_DNS;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return UPSTREAM_FAILURE_LOCAL;
    default:
        return UPSTREAM_FAILURE_CONNECT;
    }
}

static void describe(const struct connect_attempt *a, CURLcode code, enum upstream_failure why, char *out, size_t size)
{
    const struct upstream_settings *s = a->connector->settings;
    long answer = 0, system_error = 0;
    (void)curl_easy_getinfo(a->easy, CURLINFO_OS_ERRNO, &system_error);
    (void)curl_easy_getinfo(a->easy, CURLINFO_HTTP_CONNECTCODE, &answer);
    const char *proxy = s->proxy[0] != '\0' ? "egress proxy: " : "";
    if (why == UPSTREAM_FAILURE_LOCAL) {
        errno = a->system_error != 0 ? a->system_error : code == CURLE_OUT_OF_MEMORY ? ENOMEM : EMFILE;
        (void)snprintf(out, size, "no socket could be opened here: %m");
    } else if (answer >= 300) {
        (void)snprintf(out, size, "egress proxy answered CONNECT %s:%u with status %ld", s->host, s->port, answer);
    } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
        (void)snprintf(out, size, "the name %s could not be resolved", s->host);
    } else if (code == CURLE_COULDNT_RESOLVE_PROXY) {
        (void)snprintf(out, size, "egress proxy: its name could not be resolved");
    } else if (code == CURLE_INTERFACE_FAILED) {
        (void)snprintf(out, size,
                       "egress.interface \"%s\" can't be used as the source: is it an interface or address of "
                       "this host?",
                       s->interface);
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        (void)snprintf(out, size, "%sno connection within %lld ms, waiting for %s", proxy,
                       (long long)s->connect_timeout, connect_phase(a));
    } else if (code == CURLE_COULDNT_CONNECT && system_error != 0) {
        errno = (int)system_error;
        (void)snprintf(out, size, "%scan't connect: %m", proxy);
    } else {
        (void)snprintf(out, size, "%scan't connect: %s", proxy, curl_easy_strerror(code));
    }
}

/* Removes the easy handle; the descriptor in c->taking survives. */
static void dispose(struct connect_attempt *a)
{
    CURL *easy = a->easy;
    a->easy = NULL;
    (void)curl_multi_remove_handle(a->connector->multi, easy);
    curl_easy_cleanup(easy);
}

/* The descriptor of a finished attempt, out of libcurl's hands; -1 if there is none. */
static int take_over(struct connect_attempt *a)
{
    struct connector *c = a->connector;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(a->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD) {
        dispose(a);
        return -1;
    }
    c->taking = fd;
    c->taking_closed = false;
    dispose(a);
    c->taking = -1;
    for (struct curl_watch *cw = c->watches; cw != NULL; cw = cw->next)
        if (cw->watch.fd == fd)
            loop_unwatch(c->loop, &cw->watch);
    if (c->taking_closed)
        return fd;
    /* libcurl still counts it among its own and will close that number one day: ours needs another one. */
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static void attempt_done(struct connect_attempt *a, CURLcode code)
{
    char detail[256];
    if (code == CURLE_OK) {
        int fd = take_over(a);
        if (fd >= 0)
            a->opened(a, fd);
        else
            a->failed(a, UPSTREAM_FAILURE_LOCAL, "the connection could not be taken over: out of descriptors");
        return;
    }
    enum upstream_failure why = classify(a, code);
    describe(a, code, why, detail, sizeof detail);
    dispose(a);
    a->failed(a, why, detail);
}

static void finish_attempts(struct connector *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
        char *private = NULL;
        CURLcode code = message->data.result; /* the message is gone after the next call */
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        attempt_done((struct connect_attempt *)(void *)private, code);
    }
}

/* --- one attempt --- */

static int set_options(CURL *easy, struct connect_attempt *a)
{
    struct connector *c = a->connector;
    const struct upstream_settings *s = c->settings;
    int failures = 0;
#define SET(option, value) failures += curl_easy_setopt(easy, option, value) != CURLE_OK
    SET(CURLOPT_URL, c->url);
    SET(CURLOPT_PROTOCOLS_STR, "http");
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* don't wait for the resolver's thread when dropped */
    SET(CURLOPT_FRESH_CONNECT, 1L);
    SET(CURLOPT_PROXY, s->proxy); /* "" also means: not the environment's */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_HTTPPROXYTUNNEL, s->proxy[0] != '\0' ? 1L : 0L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_WRITEFUNCTION, discard);
    SET(CURLOPT_HEADERFUNCTION, discard);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_SECONDS);
    SET(CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_SECONDS);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)s->connect_timeout);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, a);
    SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, c); /* outlives the attempt */
    SET(CURLOPT_PRIVATE, a);
    if (c->source != NULL)
        SET(CURLOPT_INTERFACE, c->source);
#undef SET
    return failures;
}

enum pp_result connector_start(struct connector *c, struct connect_attempt *a)
{
    a->connector = c;
    a->system_error = 0;
    a->easy = NULL;
    if (out_of_descriptors())
        return PP_LIMIT;
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        return PP_NOMEM;
    if (set_options(easy, a) != 0 || curl_multi_add_handle(c->multi, easy) != CURLM_OK) {
        curl_easy_cleanup(easy);
        return PP_NOMEM;
    }
    a->easy = easy;
    return PP_OK;
}

void connect_cancel(struct connect_attempt *a)
{
    if (a->easy != NULL)
        dispose(a);
}

const char *connect_phase(const struct connect_attempt *a)
{
    curl_off_t looked_up = 0, connected = 0;
    if (a->easy == NULL)
        return "TCP";
    (void)curl_easy_getinfo(a->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
    (void)curl_easy_getinfo(a->easy, CURLINFO_CONNECT_TIME_T, &connected);
    return looked_up == 0 ? "name lookup" : connected == 0 ? "TCP" : "egress proxy";
}

/* --- the connector --- */

/* Says which kind it is: without that, libcurl would take the name of an interface that is down for a host's, and wait
 * for its lookup inside the loop. */
static bool name_source(struct connector *c, const char *interface)
{
    unsigned char bytes[16];
    bool address = inet_pton(AF_INET, interface, bytes) == 1 || inet_pton(AF_INET6, interface, bytes) == 1;
    if (interface[0] == '\0')
        return true;
    if (asprintf(&c->source, "%s!%s", address ? "host" : "if", interface) < 0)
        c->source = NULL;
    return c->source != NULL;
}

struct connector *connector_new(struct loop *loop, const struct upstream_settings *settings)
{
    connect_init();
    struct connector *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->loop = loop;
    c->settings = settings;
    c->taking = -1;
    c->multi = curl_multi_init();
    bool brackets = strchr(settings->host, ':') != NULL; /* an IPv6 address */
    if (asprintf(&c->url, "http://%s%s%s:%u/", brackets ? "[" : "", settings->host, brackets ? "]" : "",
                 settings->port) < 0)
        c->url = NULL;
    if (c->multi == NULL || c->url == NULL || !name_source(c, settings->interface) ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) != CURLM_OK)
        connector_free(&c);
    return c;
}

static void free_connector(struct deferred *d)
{
    free((char *)d - offsetof(struct connector, at_once));
}

void connector_free(struct connector **connector)
{
    struct connector *c = *connector;
    *connector = NULL;
    if (c == NULL)
        return;
    if (c->multi != NULL)
        (void)curl_multi_cleanup(c->multi);
    while (c->watches != NULL)
        drop_watch(c, c->watches);
    timer_stop(c->loop, &c->timer);
    timer_stop(c->loop, &c->look_again);
    free(c->url);
    free(c->source);
    if (c->at_once.queued)
        c->at_once.run = free_connector;
    else
        free(c);
}

const char *connect_library_version(void)
{
    return curl_version_info(CURLVERSION_NOW)->version;
}
