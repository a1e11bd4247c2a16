/* The tunnels of a worker: each one's beginning, its times and its end. */
#include "proxy/tunnel_state.h"

#include "base/crypto.h"
#include "proxy/access_log.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUNNEL_EVENTS     (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) /* registered once */
#define JITTER_STEPS      1024u
#define RETIRE_SPREAD_MIN 1000  /* ms; the tunnels of a retired token end over a tenth of websocket_retire_delay, */
#define RETIRE_SPREAD_MAX 60000 /* within these bounds, so that their clients do not all reconnect at once */

/* A client that is silent for a minute is asked whether it is there, and taken for gone a minute later. */
#define KEEPALIVE_IDLE_SECONDS     60
#define KEEPALIVE_INTERVAL_SECONDS 15
#define KEEPALIVE_PROBES           4

static struct tunnel *of_watch(struct watch *w)
{
    return (struct tunnel *)(void *)((char *)w - offsetof(struct tunnel, watch));
}

static struct tunnel *of_user(struct upstream_user *u)
{
    return (struct tunnel *)(void *)((char *)u - offsetof(struct tunnel, user));
}

static struct tunnel *of_timer(struct timer *t)
{
    return (struct tunnel *)(void *)((char *)t - offsetof(struct tunnel, timer));
}

static struct tunnel *of_later(struct deferred *d)
{
    return (struct tunnel *)(void *)((char *)d - offsetof(struct tunnel, later));
}

/* --- its end --- */

static const char *reason_name(enum tunnel_reason reason)
{
    static const char *const names[TUNNEL_REASON_COUNT] = {
        "client_closed", "upstream_closed", "client_gone", "upstream_broke", "idle", "client_stalled",
        "drained",       "token_retired",   "cut",         "no_memory"};
    return names[reason];
}

static void write_log(const struct tunnel *t)
{
    struct worker *w = t->set->worker;
    struct log_fields f;
    access_log_begin(&f, w, t->environment->name);
    log_field_str(&f, "event", STR("websocket_end"));
    log_field_str(&f, "path", (struct str){t->text, t->path_length});
    log_field_int(&f, "bytes_in", (int64_t)t->streams[TO_UPSTREAM].bytes);
    log_field_int(&f, "bytes_out", (int64_t)t->streams[TO_CLIENT].bytes);
    log_field_usec(&f, "duration_ms", clock_usec() - t->started_usec);
    log_field_str(&f, "token", str_of(token_fingerprint(t->token)));
    access_log_peer(&f, t->peer_known, t->uid, t->pid);
    if (t->request_id_length > 0)
        log_field_str(&f, "request_id", (struct str){t->text + t->path_length, t->request_id_length});
    if (t->close_sent)
        log_field_str(&f, "close", t->close_answered ? STR("answered") : STR("unanswered"));
    log_field_str(&f, "end", str_of(reason_name(t->reason)));
    log_fields_end(&f);
}

static void run_later(struct deferred *d)
{
    struct tunnel *t = of_later(d);
    if (t->phase == TUNNEL_ENDED)
        free(t);
    else
        tunnel_relay(t);
}

void tunnel_run_soon(struct tunnel *t)
{
    loop_defer(t->set->worker->loop, &t->later, run_later);
}

void tunnel_run_next(struct tunnel *t)
{
    loop_later(t->set->worker->loop, &t->later, run_later);
}

void tunnel_because(struct tunnel *t, enum tunnel_reason reason)
{
    if (t->reason_known)
        return;
    t->reason_known = true;
    t->reason = reason;
}

static void close_client(struct tunnel *t, bool reset)
{
    int fd = t->watch.fd;
    if (fd < 0)
        return;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    loop_unwatch(t->set->worker->loop, &t->watch);
    (void)close(fd);
}

void tunnel_end(struct tunnel *t, bool reset)
{
    struct worker *w = t->set->worker;
    if (t->phase == TUNNEL_ENDED)
        return;
    tunnel_because(t, t->streams[TO_CLIENT].lost ? TUNNEL_CLIENT_GONE : TUNNEL_UPSTREAM_BROKE);
    t->phase = TUNNEL_ENDED;
    close_client(t, reset);
    upstream_set_user(t->upstream, NULL);
    upstream_release(t->upstream, false, 0);
    t->upstream = NULL;
    timer_stop(w->loop, &t->timer);
    if (w->log_access)
        write_log(t);
    for (unsigned i = 0; i < 2; i++) {
        free(t->streams[i].pending);
        t->streams[i].pending = NULL;
    }
    metrics_websocket_close(w->metrics, t->environment->metrics_index, t->metrics_handle);
    atomic_fetch_sub_explicit(&token_use(t->token)->websockets, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&t->shared->websockets, 1, memory_order_relaxed);
    environment_shared_unref(&t->shared);
    token_unref(&t->token);
    environment_unref(&t->environment);
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        t->set->tunnels = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    t->set->count--;
    acceptor_count(w->acceptor, -1);
    /* In the next turn, so that there is one: the worker looks there whether the last tunnel went, and writes the log.
     */
    loop_later(w->loop, &t->later, run_later);
}

/* --- its times --- */

static msec retire_due(const struct tunnel *t)
{
    if (t->retired == MSEC_NEVER)
        return MSEC_NEVER;
    msec delay = t->environment->settings->e->websocket_retire_delay;
    msec spread = delay / 10;
    spread = spread < RETIRE_SPREAD_MIN ? RETIRE_SPREAD_MIN : spread > RETIRE_SPREAD_MAX ? RETIRE_SPREAD_MAX : spread;
    msec earliest = t->retired + delay > t->retire_seen ? t->retired + delay : t->retire_seen;
    return earliest + spread * t->jitter / (msec)JITTER_STEPS;
}

static msec idle_due(const struct tunnel *t)
{
    msec patience = t->idle_timeout;
    if (t->streams[TO_CLIENT].ended && (patience == 0 || patience > TUNNEL_HALF_OPEN))
        patience = TUNNEL_HALF_OPEN;
    return patience == 0 ? MSEC_NEVER : t->active + patience;
}

msec tunnel_stall_due(const struct tunnel *t)
{
    return t->streams[TO_CLIENT].pending == NULL ? MSEC_NEVER : t->taken + t->stall_timeout;
}

static msec earlier(msec a, msec b)
{
    return a < b ? a : b;
}

static void time_came(struct timer *timer)
{
    struct tunnel *t = of_timer(timer);
    msec now = clock_now();
    if (t->deadline <= now && t->phase != TUNNEL_OPEN)
        tunnel_close_late(t);
    else if (t->deadline <= now)
        tunnel_end(t, false);
    else if (t->phase == TUNNEL_OPEN && t->drain_at <= now)
        tunnel_close(t, TUNNEL_DRAINED);
    else if (t->phase == TUNNEL_OPEN && retire_due(t) <= now)
        tunnel_close(t, TUNNEL_TOKEN_RETIRED);
    else if (t->phase == TUNNEL_OPEN && tunnel_stall_due(t) <= now) {
        tunnel_because(t, TUNNEL_STALLED);
        tunnel_end(t, true);
    } else if (t->phase == TUNNEL_OPEN && idle_due(t) <= now)
        tunnel_close(t, TUNNEL_IDLE);
    else
        tunnel_arm(t);
}

/* Bytes move the idle time without touching the timer: it fires early, then, and is armed anew. */
void tunnel_arm(struct tunnel *t)
{
    struct loop *loop = t->set->worker->loop;
    msec due = t->deadline;
    if (t->phase == TUNNEL_ENDED)
        return;
    if (t->phase == TUNNEL_OPEN)
        due = earlier(earlier(earlier(due, t->drain_at), tunnel_stall_due(t)), earlier(retire_due(t), idle_due(t)));
    if (due == MSEC_NEVER) {
        timer_stop(loop, &t->timer);
        return;
    }
    if (timer_set(loop, &t->timer, due, time_came) == PP_OK)
        return;
    tunnel_because(t, TUNNEL_NO_MEMORY);
    tunnel_end(t, true);
}

/* --- its events --- */

static void client_ready(struct watch *w, uint32_t events)
{
    struct tunnel *t = of_watch(w);
    struct tunnel_stream *up = &t->streams[TO_UPSTREAM], *down = &t->streams[TO_CLIENT];
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        t->client_hung_up = true;
    if ((events & EPOLLHUP) != 0)
        t->client_hup = true;
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        up->readable = true;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && up->ended && !down->lost) /* no read will tell */
        tunnel_lose(t, TO_CLIENT);
    if (events != EPOLLOUT || down->pending != NULL)
        tunnel_run_soon(t);
}

static void upstream_readable(struct upstream_user *u)
{
    struct tunnel *t = of_user(u);
    t->streams[TO_CLIENT].readable = true;
    tunnel_run_soon(t);
}

static void upstream_writable(struct upstream_user *u)
{
    tunnel_run_soon(of_user(u));
}

/* --- its beginning --- */

static bool is_loopback(int fd)
{
    struct sockaddr_storage peer;
    socklen_t n = sizeof peer;
    memset(&peer, 0, sizeof peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &n) != 0)
        return false;
    if (peer.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)&peer)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)&peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
}

static void prepare_socket(struct tunnel *t, int fd)
{
    int domain = AF_UNIX, on = 1;
    socklen_t n = sizeof domain;
    (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n);
    t->unix_socket = domain == AF_UNIX;
    if (t->unix_socket)
        return;
    t->same_host = is_loopback(fd);
    int idle = KEEPALIVE_IDLE_SECONDS, interval = KEEPALIVE_INTERVAL_SECONDS, probes = KEEPALIVE_PROBES;
    /* Should the kernel refuse any of it, the tunnel works all the same. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void heed_token(struct tunnel *t)
{
    msec since = token_store_retired_since(t->environment->tokens, t->token);
    if (since == MSEC_NEVER) {
        t->retired = MSEC_NEVER;
    } else if (t->retired == MSEC_NEVER) { /* 0: it was let go altogether, and when is not known any more */
        t->retire_seen = clock_now();
        t->retired = since > 0 ? since : t->retire_seen;
    }
}

static struct tunnel *tunnel_new(const struct tunnel_start *start)
{
    size_t id_length = strlen(start->request_id);
    struct tunnel *t = calloc(1, sizeof *t + start->path.n + id_length);
    if (t == NULL)
        return NULL;
    t->set = start->worker->tunnels;
    t->environment = environment_ref(start->environment);
    t->shared = environment_shared_ref(start->settings->shared);
    t->token = token_ref(start->token);
    t->upstream = start->upstream;
    t->watch.fd = -1;
    t->user = (struct upstream_user){upstream_readable, upstream_writable};
    for (unsigned i = 0; i < 2; i++) {
        wsframe_init(&t->streams[i].frames);
        t->streams[i].readable = true;
    }
    const struct peer *peer = &start->client->peer;
    t->peer_known = peer->known;
    t->uid = peer->uid;
    t->pid = peer->pid;
    t->jitter = (uint16_t)crypto_jitter(JITTER_STEPS);
    t->idle_timeout = start->settings->e->websocket_idle_timeout;
    t->stall_timeout = start->settings->e->client_idle_timeout;
    t->active = clock_now();
    t->deadline = MSEC_NEVER;
    t->drain_at = t->set->draining ? t->active : MSEC_NEVER;
    t->retired = MSEC_NEVER;
    t->started_usec = clock_usec();
    t->path_length = (uint16_t)start->path.n; /* at most LIMIT_TARGET */
    t->request_id_length = (uint16_t)id_length;
    memcpy(t->text, start->path.p, start->path.n);
    memcpy(t->text + start->path.n, start->request_id, id_length);
    return t;
}

static void count_in(struct tunnel *t)
{
    struct worker *w = t->set->worker;
    t->next = t->set->tunnels;
    if (t->next != NULL)
        t->next->prev = t;
    t->set->tunnels = t;
    t->set->count++;
    acceptor_count(w->acceptor, 1); /* it was counted as a connection until now */
    t->metrics_handle = metrics_websocket_open(w->metrics, t->environment->metrics_index, token_fingerprint(t->token));
    atomic_fetch_add_explicit(&token_use(t->token)->websockets, 1, memory_order_relaxed);
}

static bool send_early(struct tunnel *t, unsigned direction, struct str bytes)
{
    wsframe_feed(&t->streams[direction].frames, bytes.p, bytes.n);
    return bytes.n == 0 || tunnel_send(t, direction, bytes.p, bytes.n);
}

void tunnel_begin(const struct tunnel_start *start)
{
    struct tunnel *t = tunnel_new(start);
    if (t == NULL) {
        (void)close(start->client_fd);
        upstream_release(start->upstream, false, 0);
        atomic_fetch_sub_explicit(&start->settings->shared->websockets, 1, memory_order_relaxed);
        log_error("tunnel", start->environment->name, "out of memory for a WebSocket; it was closed at once");
        return;
    }
    count_in(t);
    heed_token(t);
    prepare_socket(t, start->client_fd);
    upstream_detach(t->upstream);
    upstream_set_user(t->upstream, &t->user);
    if (loop_watch(start->worker->loop, &t->watch, start->client_fd, TUNNEL_EVENTS, client_ready) != PP_OK) {
        (void)close(start->client_fd);
        tunnel_because(t, TUNNEL_NO_MEMORY);
        tunnel_end(t, true);
        return;
    }
    if (!send_early(t, TO_UPSTREAM, start->from_client) || !send_early(t, TO_CLIENT, start->from_upstream))
        return;
    tunnel_arm(t);
    if (t->phase != TUNNEL_ENDED)
        tunnel_run_soon(t);
}

size_t tunnel_cost(void)
{
    /* What may wait for upstream at the beginning came in a client's memory, what waits for the client in one read. */
    size_t early = server_client_cost() + WORKER_SCRATCH, later = 2 * TUNNEL_READ;
    return sizeof(struct tunnel) + LIMIT_TARGET + (early > later ? early : later);
}

/* --- all of them --- */

struct tunnel_set *tunnel_set_new(struct worker *worker)
{
    struct tunnel_set *s = calloc(1, sizeof *s);
    if (s != NULL)
        s->worker = worker;
    return s;
}

void tunnel_set_free(struct tunnel_set *s)
{
    while (s->tunnels != NULL) {
        tunnel_because(s->tunnels, TUNNEL_CUT);
        tunnel_end(s->tunnels, false);
    }
    free(s);
}

size_t tunnel_set_count(const struct tunnel_set *s)
{
    return s->count;
}

void tunnel_set_drain(struct tunnel_set *s, msec spread)
{
    msec now = clock_now();
    s->draining = true;
    for (struct tunnel *t = s->tunnels, *next; t != NULL; t = next) {
        next = t->next;
        t->drain_at = now + spread * t->jitter / (msec)JITTER_STEPS;
        tunnel_arm(t);
    }
}

void tunnel_set_tokens_changed(struct tunnel_set *s, struct environment *e)
{
    for (struct tunnel *t = s->tunnels, *next; t != NULL; t = next) {
        next = t->next;
        if (t->environment != e)
            continue;
        heed_token(t);
        tunnel_arm(t);
    }
}
