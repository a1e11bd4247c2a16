/* The pool of one worker for one environment: who gets a connection, which are opened ahead, which are let go. */
#include "net/upstream.h"

#include "base/crypto.h"
#include "base/log.h"
#include "net/upstream_list.h"

#include <stdlib.h>

#define IDLE_LIMIT       50000 /* ms; Proof's own keep-alive is 60 s or more */
#define IDLE_LIMIT_LEAST 1000
#define LIFE_LIMIT       3600000 /* ms: a new one looks at the name, the certificate and the way again */
#define IDLE_TRUSTED     1000    /* ms: one idle for longer may have died unseen, and counts as used */
#define WAIT_GRACE       50 /* ms beyond connect_timeout: the attempt's own timeout knows more and should speak first */
#define BACKOFF_FIRST    100u
#define BACKOFF_LIMIT    30000u
#define LEARNT_FOR       600000 /* ms after which a learnt idle limit is tried to be raised again, by 2 % at a time */
#define WARN_INTERVAL    60000
#define SHORT_LIFE       5000 /* a connection closed unused within this counts as a failure to keep one warm */

struct upstream_pool {
    struct connection_home home; /* first: connections lead back here */
    struct upstream_settings settings;
    char *environment, *host, *proxy, *interface; /* what settings refers to */
    struct upstream_waiter *first_waiter, *last_waiter;
    unsigned waiters, content;      /* content: those of them that take a used connection too */
    struct connection_list idle;    /* newest first */
    struct connection_list opening; /* oldest first */
    unsigned busy;
    unsigned retiring; /* of the idle ones: to be replaced */
    unsigned spare;    /* of the opening ones: for no waiter */
    msec learnt_at;
    msec idle_limit; /* learnt from when this upstream closes idle connections */
    unsigned warm_failures;
    msec warm_not_before;
    struct log_limit failing; /* of the warning that warm ones fail */
    bool said_failing;
    struct timer timer;
    struct deferred work;
    bool closing;
    struct upstream_pool_stats stats;
};

static struct upstream_pool *pool_of(const struct upstream_connection *c)
{
    return (struct upstream_pool *)(void *)c->home;
}

/* --- the queue of waiters --- */

static void enqueue(struct upstream_pool *pool, struct upstream_waiter *w)
{
    w->next = NULL;
    w->prev = pool->last_waiter;
    if (w->prev != NULL)
        w->prev->next = w;
    else
        pool->first_waiter = w;
    pool->last_waiter = w;
    w->waiting = true;
    pool->waiters++;
    pool->content += !w->fresh;
}

static void dequeue(struct upstream_pool *pool, struct upstream_waiter *w)
{
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        pool->last_waiter = w->prev;
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        pool->first_waiter = w->next;
    w->next = w->prev = NULL;
    w->waiting = false;
    pool->waiters--;
    pool->content -= !w->fresh;
}

/* --- the tie between a waiter and the connection being opened for it --- */

static void tie(struct upstream_pool *pool, struct upstream_waiter *w, struct upstream_connection *c)
{
    w->attempt = c;
    c->waiter = w;
    pool->spare--;
}

static void untie(struct upstream_pool *pool, struct upstream_waiter *w)
{
    if (w->attempt == NULL)
        return;
    w->attempt->waiter = NULL;
    w->attempt = NULL;
    pool->spare++;
}

static void pool_work(struct deferred *d);

static void want_work(struct upstream_pool *pool)
{
    loop_defer(pool->home.loop, &pool->work, pool_work);
}

/* --- opening --- */

static enum pp_result open_one(struct upstream_pool *pool)
{
    struct upstream_connection *c = NULL;
    enum pp_result rc = connection_open(&pool->home, &c);
    if (rc != PP_OK) {
        pool->stats.failed++;
        return rc;
    }
    connection_list_push(&pool->opening, c, false);
    pool->spare++;
    return PP_OK;
}

/* Finds or opens a connection for a waiter that has none coming. PP_AGAIN: too many are being opened, later. */
static enum pp_result provide(struct upstream_pool *pool, struct upstream_waiter *w)
{
    if (pool->spare == 0) {
        if (pool->opening.count >= UPSTREAM_OPENING_AT_ONCE)
            return PP_AGAIN;
        enum pp_result rc = open_one(pool);
        if (rc != PP_OK)
            return rc;
    }
    for (struct upstream_connection *c = pool->opening.first; c != NULL; c = c->next)
        if (c->waiter == NULL) {
            tie(pool, w, c);
            break;
        }
    return PP_OK;
}

static void fail_waiter(struct upstream_pool *pool, struct upstream_waiter *w, enum upstream_failure why,
                        const char *detail)
{
    dequeue(pool, w);
    untie(pool, w);
    w->failed(w, why, detail);
}

/* Failed attempts, and warm connections nobody could use, slow down the opening of warm ones only. */
static void back_off(struct upstream_pool *pool)
{
    msec now = clock_now();
    if (now < pool->warm_not_before)
        return; /* one of several that failed together */
    unsigned shift = pool->warm_failures < 9 ? pool->warm_failures : 9;
    unsigned delay = BACKOFF_FIRST << shift;
    if (delay > BACKOFF_LIMIT)
        delay = BACKOFF_LIMIT;
    pool->warm_failures++;
    pool->warm_not_before = now + delay * 3 / 4 + crypto_jitter(delay / 2);
}

/* --- idle --- */

static bool may_use(const struct upstream_connection *c, bool fresh)
{
    return !fresh || (!c->used && clock_now() - c->idle_since <= IDLE_TRUSTED);
}

static void leave_idle(struct upstream_pool *pool, struct upstream_connection *c)
{
    connection_list_remove(&pool->idle, c);
    if (c->retiring)
        pool->retiring--;
    c->retiring = false;
    if (clock_now() - c->idle_since >= SHORT_LIFE)
        pool->warm_failures = 0;
}

/* The other side closed an idle connection, or sent what nobody asked for. */
static void lost_idle(struct upstream_pool *pool, struct upstream_connection *c)
{
    msec age = clock_now() - c->idle_since;
    leave_idle(pool, c);
    if (c->peer_ended && age >= IDLE_LIMIT_LEAST && age * 8 / 10 < pool->idle_limit) {
        pool->idle_limit = age * 8 / 10 > IDLE_LIMIT_LEAST ? age * 8 / 10 : IDLE_LIMIT_LEAST;
        pool->learnt_at = clock_now();
        log_debug("upstream", pool->settings.environment,
                  "%s:%u closes idle connections after %lld ms: kept for %lld ms", pool->settings.host,
                  pool->settings.port, (long long)age, (long long)pool->idle_limit);
    }
    if (!c->used && age < SHORT_LIFE)
        back_off(pool);
    connection_close(c);
    want_work(pool);
}

/* One has reached its age in peace: what was learnt long ago may have been only a restart of the upstream. */
static void expire_idle(struct upstream_pool *pool, struct upstream_connection *c)
{
    leave_idle(pool, c);
    connection_close(c);
    if (clock_now() - pool->learnt_at > LEARNT_FOR)
        pool->idle_limit += pool->idle_limit / 50;
    if (pool->idle_limit > IDLE_LIMIT)
        pool->idle_limit = IDLE_LIMIT;
}

static void enter_idle(struct upstream_pool *pool, struct upstream_connection *c, msec keep_alive)
{
    msec limit = pool->idle_limit;
    if (keep_alive > 0 && keep_alive * 8 / 10 < limit)
        limit = keep_alive * 8 / 10;
    c->state = CONNECTION_IDLE;
    c->idle_since = clock_now();
    c->drop_at = c->idle_since + limit;
    c->retire_at = c->drop_at - limit * (10 + c->jitter / 5) / 100; /* 10 to 30 % earlier: not all at once */
    connection_list_push(&pool->idle, c, true);
    if (!timer_armed(&pool->timer) || pool->timer.due > c->retire_at)
        want_work(pool);
}

/* The newest idle connection that is still good, or NULL. Each is looked at, however short it was idle and whatever is
 * to be sent: what came in since the loop last waited is not told yet, and must never be taken for an answer. */
static struct upstream_connection *take_idle(struct upstream_pool *pool, bool fresh)
{
    struct upstream_connection *c = pool->idle.first;
    msec now = clock_now();
    while (c != NULL) {
        struct upstream_connection *next = c->next;
        if (may_use(c, fresh)) {
            if (now < c->drop_at && connection_is_quiet(c)) {
                leave_idle(pool, c);
                c->used |= now - c->idle_since > IDLE_TRUSTED;
                c->state = CONNECTION_BUSY;
                pool->busy++;
                pool->stats.reused++;
                return c;
            }
            lost_idle(pool, c);
        }
        c = next;
    }
    return NULL;
}

static void disturbed(struct upstream_connection *c)
{
    if (!connection_is_quiet(c)) /* else it was a session ticket */
        lost_idle(pool_of(c), c);
}

/* --- what connections report --- */

static void opened(struct upstream_connection *c)
{
    struct upstream_pool *pool = pool_of(c);
    struct upstream_waiter *asked = c->waiter, *w = pool->first_waiter;
    if (asked != NULL)
        untie(pool, asked);
    connection_list_remove(&pool->opening, c);
    pool->spare--;
    pool->stats.opened++;
    pool->stats.tls_resumed += c->resumed;
    c->opened_at = clock_now();
    pool->warm_not_before = 0;
    if (pool->said_failing) {
        pool->said_failing = false;
        log_info("upstream", pool->settings.environment, "connections to %s:%u work again", pool->settings.host,
                 pool->settings.port);
    }
    if (w == NULL) {
        enter_idle(pool, c, 0);
        want_work(pool);
        return;
    }
    /* The one that waits longest gets it; the attempt made for that one is now for the one who asked for this. */
    struct upstream_connection *other = w->attempt;
    dequeue(pool, w);
    untie(pool, w);
    if (asked != NULL && asked != w && other != NULL)
        tie(pool, asked, other);
    if (pool->waiters > 0 || pool->idle.count < pool->settings.warm)
        want_work(pool);
    c->state = CONNECTION_BUSY;
    pool->busy++;
    w->ready(w, c);
}

/* A failure no request has met yet: the first sign of trouble where there is little traffic. */
static void warn_failing(struct upstream_pool *pool, const char *detail)
{
    if (!log_allowed(&pool->failing, WARN_INTERVAL))
        return;
    pool->said_failing = true;
    log_warning("upstream", pool->settings.environment,
                "no connection to %s:%u (not for a request, ahead of need): %s%s", pool->settings.host,
                pool->settings.port, detail, pool->failing.note);
}

static void failed(struct upstream_connection *c, enum upstream_failure why, const char *detail)
{
    struct upstream_pool *pool = pool_of(c);
    struct upstream_waiter *w = c->waiter;
    if (w != NULL)
        untie(pool, w);
    connection_list_remove(&pool->opening, c);
    pool->spare--;
    pool->stats.failed++;
    back_off(pool);
    want_work(pool);
    if (w != NULL)
        fail_waiter(pool, w, why, detail);
    else
        warn_failing(pool, detail);
}

/* --- the pool's own work, at the end of a turn --- */

/* Waiters nothing could be opened for, and those whose time is over. */
static void serve_waiters(struct upstream_pool *pool)
{
    msec now = clock_now();
    struct upstream_waiter *w = pool->first_waiter;
    while (w != NULL && !pool->closing) {
        struct upstream_waiter *next = w->next;
        struct upstream_connection *c = take_idle(pool, w->fresh);
        if (c != NULL) {
            dequeue(pool, w);
            untie(pool, w);
            w->ready(w, c);
            w = pool->first_waiter; /* anything may have happened in there */
            continue;
        }
        enum pp_result rc = w->attempt != NULL ? PP_OK : provide(pool, w);
        if (rc == PP_AGAIN && pool->idle.count == 0 && now < w->deadline)
            return; /* nothing for those behind it either, and their time ends later */
        if (rc == PP_LIMIT || rc == PP_NOMEM) {
            fail_waiter(pool, w, UPSTREAM_FAILURE_LOCAL,
                        rc == PP_LIMIT ? "out of file descriptors here" : "out of memory here");
            w = pool->first_waiter;
            continue;
        }
        if (now >= w->deadline) {
            fail_waiter(pool, w, UPSTREAM_FAILURE_TIMEOUT,
                        rc == PP_AGAIN ? "no connection in time: too many others are being opened to this upstream"
                                       : "no connection in time");
            w = pool->first_waiter;
            continue;
        }
        w = next;
    }
}

static void let_go(struct upstream_pool *pool)
{
    msec now = clock_now();
    struct upstream_connection *c = pool->idle.first;
    while (c != NULL) {
        struct upstream_connection *next = c->next;
        unsigned lasting = pool->idle.count - pool->retiring;
        if (now >= c->drop_at || (now >= c->retire_at && !c->retiring && lasting > pool->settings.warm)) {
            expire_idle(pool, c);
        } else if (now >= c->retire_at && !c->retiring) {
            c->retiring = true; /* usable until its replacement is there */
            pool->retiring++;
        }
        c = next;
    }
    for (c = pool->idle.last; c != NULL && pool->retiring > 0 && pool->idle.count > pool->settings.warm;) {
        struct upstream_connection *before = c->prev;
        if (c->retiring)
            expire_idle(pool, c);
        c = before;
    }
}

/* Opens warm connections. True if some have to wait until warm_not_before. */
static bool refill(struct upstream_pool *pool)
{
    unsigned there = pool->idle.count - pool->retiring + pool->spare;
    if (there >= pool->settings.warm)
        return false;
    if (clock_now() < pool->warm_not_before)
        return true;
    /* After a failure one tries for all. */
    unsigned wanted = pool->warm_failures > 0 ? 1 : pool->settings.warm - there;
    while (wanted-- > 0 && pool->opening.count < UPSTREAM_OPENING_AT_ONCE)
        if (open_one(pool) != PP_OK) {
            back_off(pool);
            return true;
        }
    return false;
}

static void timer_fired(struct timer *t)
{
    want_work((struct upstream_pool *)(void *)((char *)t - offsetof(struct upstream_pool, timer)));
}

static void arm_timer(struct upstream_pool *pool, bool warm_waits)
{
    msec due = MSEC_NEVER;
    for (const struct upstream_connection *c = pool->idle.first; c != NULL; c = c->next) {
        msec next = c->retiring ? c->drop_at : c->retire_at;
        if (next < due)
            due = next;
    }
    if (pool->first_waiter != NULL && pool->first_waiter->deadline < due) /* they wait in order */
        due = pool->first_waiter->deadline;
    if (warm_waits && pool->warm_not_before < due)
        due = pool->warm_not_before;
    if (due == MSEC_NEVER)
        timer_stop(pool->home.loop, &pool->timer);
    else if (timer_set(pool->home.loop, &pool->timer, due, timer_fired) != PP_OK)
        log_warning("upstream", pool->settings.environment, "out of memory for a timer: idle connections are kept");
}

static void pool_free(struct upstream_pool *pool)
{
    timer_stop(pool->home.loop, &pool->timer);
    connector_free(&pool->home.connector);
    upstream_tls_unref(&pool->home.tls);
    free(pool->environment);
    free(pool->host);
    free(pool->proxy);
    free(pool->interface);
    free(pool);
}

static void pool_work(struct deferred *d)
{
    struct upstream_pool *pool = (struct upstream_pool *)(void *)((char *)d - offsetof(struct upstream_pool, work));
    if (pool->closing) {
        while (pool->first_waiter != NULL)
            fail_waiter(pool, pool->first_waiter, UPSTREAM_FAILURE_LOCAL, "the environment was removed or changed");
        if (pool->busy == 0)
            pool_free(pool);
        return;
    }
    serve_waiters(pool);
    if (pool->closing) /* by a waiter */
        return;
    let_go(pool);
    arm_timer(pool, refill(pool));
}

/* --- the public side --- */

static bool copy_settings(struct upstream_pool *pool, const struct upstream_settings *from)
{
    struct upstream_settings *to = &pool->settings;
    *to = *from;
    to->ca_file = to->tls_min_version = ""; /* the context's business */
    to->pinned_spki = NULL;
    to->pinned_count = 0;
    to->environment = pool->environment = strdup(from->environment);
    to->host = pool->host = strdup(from->host);
    to->proxy = pool->proxy = strdup(from->proxy);
    to->interface = pool->interface = strdup(from->interface);
    return to->environment != NULL && to->host != NULL && to->proxy != NULL && to->interface != NULL;
}

struct upstream_pool *upstream_pool_new(struct loop *loop, const struct upstream_settings *settings,
                                        struct upstream_tls *tls)
{
    struct upstream_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->home = (struct connection_home){.loop = loop,
                                          .settings = &pool->settings,
                                          .tls = tls == NULL ? NULL : upstream_tls_ref(tls),
                                          .opened = opened,
                                          .failed = failed,
                                          .disturbed = disturbed};
    pool->idle_limit = IDLE_LIMIT;
    if (copy_settings(pool, settings))
        pool->home.connector = connector_new(loop, &pool->settings);
    if (pool->home.connector == NULL) {
        pool_free(pool);
        return NULL;
    }
    want_work(pool);
    return pool;
}

void upstream_pool_close(struct upstream_pool *pool)
{
    pool->closing = true;
    timer_stop(pool->home.loop, &pool->timer);
    while (pool->idle.first != NULL) {
        struct upstream_connection *c = pool->idle.first;
        leave_idle(pool, c);
        connection_close(c);
    }
    while (pool->opening.first != NULL) {
        struct upstream_connection *c = pool->opening.first;
        if (c->waiter != NULL)
            untie(pool, c->waiter);
        connection_list_remove(&pool->opening, c);
        pool->spare--;
        connection_close(c);
    }
    want_work(pool);
}

struct upstream_connection *upstream_acquire(struct upstream_pool *pool, struct upstream_waiter *w, bool fresh)
{
    /* Nobody overtakes those who wait. */
    struct upstream_connection *c = pool->closing || pool->content > 0 ? NULL : take_idle(pool, fresh);
    if (c != NULL) {
        if (pool->idle.count - pool->retiring + pool->spare < pool->settings.warm)
            want_work(pool);
        return c;
    }
    w->pool = pool;
    w->fresh = fresh;
    w->attempt = NULL;
    w->deadline = clock_now() + pool->settings.connect_timeout + WAIT_GRACE;
    enqueue(pool, w);
    if (!timer_armed(&pool->timer) || pool->timer.due > w->deadline)
        want_work(pool);
    if (pool->closing || provide(pool, w) != PP_OK)
        want_work(pool);
    return NULL;
}

void upstream_cancel(struct upstream_waiter *w)
{
    if (!w->waiting)
        return;
    bool others = w->attempt != NULL && w->pool->waiters > 1;
    dequeue(w->pool, w);
    untie(w->pool, w);
    if (others)
        want_work(w->pool);
}

/* 80 to 100 % of the limit, so that connections opened together do not end together. */
static bool too_old(const struct upstream_connection *c)
{
    return clock_now() - c->opened_at > LIFE_LIMIT / 100 * (80 + c->jitter / 5);
}

void upstream_release(struct upstream_connection *c, bool reusable, msec keep_alive)
{
    struct upstream_pool *pool = pool_of(c);
    c->user = NULL;
    pool->busy--;
    if (reusable && !pool->closing && !c->detached && !too_old(c) && connection_is_settled(c)) {
        c->used = true;
        pool->warm_failures = 0;
        enter_idle(pool, c, keep_alive);
        if (pool->waiters > 0)
            want_work(pool);
        return;
    }
    connection_close(c);
    if (pool->closing)
        want_work(pool);
}

void upstream_pool_stats(const struct upstream_pool *pool, struct upstream_pool_stats *out)
{
    *out = pool->stats;
    out->idle = pool->idle.count;
    out->busy = pool->busy;
    out->opening = pool->opening.count;
}
