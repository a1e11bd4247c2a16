/* One worker: its thread, its loop's turns, its clients. */
#include "proxy/worker.h"

#include "proxy/exchange.h"
#include "proxy/tunnel.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKER_LOG_LIMIT (1024u * 1024) /* access log lines of one turn; beyond, lines are lost and that is logged */
#define WORKER_LOG_BATCH (32u * 1024)   /* bytes that are written without waiting for more */
#define WORKER_LOG_DELAY 10             /* ms a line waits at most for others */
#define POOL_INTERVAL    1000           /* ms between two looks at the pools for the metrics */

/* --- clients --- */

void worker_judge(struct worker *w, struct client *c, int fd)
{
    const struct environment_config *ec = c->environment->settings->e;
    bool gate = ec->allow_users.count > 0 || ec->allow_groups.count > 0;
    c->generation = c->environment->generation;
    c->allowed = !gate;
    if (gate || (w->log_access && !c->peer.known)) { /* who it is costs a question to the kernel, once per connection */
        enum pp_result rc = peer_lookup(fd, &ec->allow_groups, &c->peer);
        if (gate)
            c->allowed = rc == PP_OK && peer_allowed(&c->peer, &ec->allow_users, &ec->allow_groups);
    }
}

static void accepted(void *owner, void *tag, int fd)
{
    struct worker *w = owner;
    struct environment *e = tag;
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    c->environment = environment_ref(e);
    c->listeners_lost = e->listeners_lost;
    metrics_gauge(w->metrics, e->metrics_index, METRICS_CONNECTIONS, 1);
    acceptor_count(w->acceptor, 1);
    int domain = AF_UNIX;
    socklen_t n = sizeof domain;
    (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n);
    worker_judge(w, c, fd);
    server_add(w->server, fd, domain == AF_UNIX, &e->settings->timeouts, &e->clients, c);
}

static bool room(void *owner)
{
    struct worker *w = owner;
    return server_has_room(w->server);
}

static bool starved(void *owner)
{
    struct worker *w = owner;
    return server_make_room(w->server);
}

/* --- what requests teach about tokens --- */

void worker_learn(struct worker *w, struct environment *e, struct token *t, int status, msec sent)
{
    struct token_fact fact = {token_answer_of(status), sent, clock_now()};
    struct token_knowledge known;
    if (fact.answer == TOKEN_ANSWER_REFUSED)
        atomic_fetch_add_explicit(&token_use(t)->refusals, 1, memory_order_relaxed);
    if (token_store_learn(e->tokens, t, &fact) && token_store_knowledge(e->tokens, t, &known))
        w->hooks.learned(w->hooks.owner, e->name, t, &known);
}

/* --- turning --- */

static msec before_wait(void *owner)
{
    struct worker *w = owner;
    return server_before_wait(w->server);
}

/* What did not fit, or had no memory, is lost from there on: whole lines alone are written. */
static void cut_log(struct str *lines)
{
    static _Thread_local struct log_limit limit;
    const char *end = lines->n == 0 ? NULL : memrchr(lines->p, '\n', lines->n);
    lines->n = end == NULL ? 0 : (size_t)(end - lines->p) + 1;
    if (log_allowed(&limit, 5000))
        log_warning("access", NULL, "access log lines were lost: out of memory, or more than %u bytes in one turn%s",
                    WORKER_LOG_LIMIT, limit.note);
}

static void write_log(struct worker *w)
{
    struct str lines = buf_str(&w->log);
    timer_stop(w->loop, &w->log_due);
    if (w->log.failed)
        cut_log(&lines);
    if (lines.n > 0)
        log_write(lines.p, lines.n);
    buf_clear(&w->log);
}

static void log_is_due(struct timer *t)
{
    write_log((struct worker *)(void *)((char *)t - offsetof(struct worker, log_due)));
}

/* Many lines in one write, off the requests' path: as many as a moment brings, which no reader of a log notices. */
static void gather_log(struct worker *w)
{
    size_t n = buf_len(&w->log);
    bool at_once = n >= WORKER_LOG_BATCH || w->log.failed;
    if (!at_once && (n == 0 || timer_armed(&w->log_due)))
        return;
    if (at_once || timer_set(w->loop, &w->log_due, clock_now() + WORKER_LOG_DELAY, log_is_due) != PP_OK)
        write_log(w);
}

/* Once a second, if the loop turns at all: the watchdog sees to that. */
static void publish_pools(struct worker *w)
{
    if (clock_now() - w->pools_published < POOL_INTERVAL)
        return;
    w->pools_published = clock_now();
    for (const struct environment *e = w->environments; e != NULL; e = e->next) {
        struct upstream_pool_stats now;
        if (e->settings == NULL)
            continue;
        upstream_pool_stats(e->settings->pool, &now);
        metrics_set_pool(w->metrics, e->metrics_index,
                         &(struct metrics_pool){.idle = now.idle,
                                                .busy = now.busy,
                                                .opening = now.opening,
                                                .opened = now.opened,
                                                .reused = now.reused,
                                                .failed = now.failed,
                                                .tls_resumed = now.tls_resumed});
    }
}

static void after_turn(void *owner)
{
    struct worker *w = owner;
    server_turn(w->server);
    gather_log(w);
    publish_pools(w);
    if (w->draining && !w->drained_said && server_connections(w->server) == 0 && tunnel_set_count(w->tunnels) == 0) {
        w->drained_said = true;
        w->hooks.drained(w->hooks.owner, w->index);
    }
}

static void *run(void *arg)
{
    struct worker *w = arg;
    struct loop_hooks hooks = {before_wait, after_turn, w};
    loop_run(w->loop, &hooks);
    return NULL;
}

/* --- life --- */

struct worker *worker_new(unsigned index, unsigned connections, const struct worker_hooks *hooks,
                          struct metrics_shard *metrics)
{
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    struct acceptor_handlers acceptor = {accepted, room, starved, w};
    struct server_limits limits = {connections};
    w->index = index;
    w->hooks = *hooks;
    w->metrics = metrics;
    buf_init(&w->log, WORKER_LOG_LIMIT);
    w->scratch = malloc(WORKER_SCRATCH);
    w->loop = loop_new();
    if (w->loop != NULL) {
        w->acceptor = acceptor_new(w->loop, &acceptor);
        w->server = server_new(w->loop, &limits, &exchange_handlers);
        w->tunnels = tunnel_set_new(w);
    }
    if (w->scratch == NULL || w->acceptor == NULL || w->server == NULL || w->tunnels == NULL) {
        worker_free(w);
        return NULL;
    }
    return w;
}

enum pp_result worker_start(struct worker *w)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    w->running = pthread_create(&w->thread, NULL, run, w) == 0;
    char name[16]; /* what top and ps show, for people alone: it may fail */
    (void)snprintf(name, sizeof name, "worker %u", w->index);
    if (w->running)
        (void)pthread_setname_np(w->thread, name);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return w->running ? PP_OK : PP_SYSTEM;
}

void worker_free(struct worker *w)
{
    if (w == NULL)
        return;
    if (w->running) {
        loop_stop(w->loop);
        (void)pthread_join(w->thread, NULL);
    }
    if (w->loop != NULL) {
        loop_settle(w->loop); /* messages that came too late still find everything in place */
        timer_stop(w->loop, &w->setup_again);
    }
    worker_drop_late_tokens(w);
    server_free(w->server);
    if (w->tunnels != NULL)
        tunnel_set_free(w->tunnels);
    acceptor_free(w->acceptor); /* it was told of each client that went just now */
    write_log(w);               /* about what was cut just now */
    while (w->environments != NULL) {
        struct environment *e = w->environments;
        w->environments = e->next;
        environment_unref(&e);
    }
    if (w->loop != NULL) {
        loop_settle(w->loop); /* what was put off, e.g. by closing pools */
        loop_free(w->loop);
    }
    worker_setup_unref(&w->setup);
    while (w->spare_exchanges != NULL) {
        struct exchange *ex = w->spare_exchanges;
        w->spare_exchanges = ex->next_spare;
        exchange_dispose(ex);
    }
    buf_free(&w->log);
    free(w->scratch);
    free(w);
}

uint64_t worker_turns(const struct worker *w)
{
    return loop_turns(w->loop);
}
