/* One try upstream: a token, a connection, the request sent over it; and what a failure leads to. */
#include "proxy/exchange.h"

#include "base/crypto.h"

static void ask(struct exchange *ex);

static struct exchange *of_user(struct upstream_user *u)
{
    return (struct exchange *)((char *)u - offsetof(struct exchange, user));
}

static struct exchange *of_waiter(struct upstream_waiter *w)
{
    return (struct exchange *)((char *)w - offsetof(struct exchange, waiter));
}

void attempt_drop(struct exchange *ex, bool reusable)
{
    if (ex->state == EXCHANGE_CONNECTING)
        upstream_cancel(&ex->waiter);
    if (ex->upstream == NULL)
        return;
    msec keep_alive = 0;
    for (size_t i = 0; i < ex->response.keep_alive_timeout.n && i < 6; i++)
        keep_alive = keep_alive * 10 + (ex->response.keep_alive_timeout.p[i] - '0');
    upstream_set_user(ex->upstream, NULL);
    upstream_release(ex->upstream, reusable, keep_alive * 1000);
    ex->upstream = NULL;
}

/* --- the end of a try that brought no answer --- */

static void count_upstream_error(struct exchange *ex, enum refusal why)
{
    metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_UPSTREAM_ERRORS, why, 1);
}

static void pause_over(struct timer *t)
{
    struct exchange *ex = (struct exchange *)((char *)t - offsetof(struct exchange, timer));
    attempt_start(ex, true);
}

bool attempt_retry(struct exchange *ex, enum retry_reason reason)
{
    struct retry_question q = {
        .policy = &ex->settings->e->retries,
        .method = ex->method,
        .reason = reason,
        .sent = exchange_sent(ex),
        .attempts = ex->attempts,
        .now = clock_now(),
        .deadline = ex->deadline,
    };
    bool told = ex->admission.websocket && reason != RETRY_REASON_CONNECT; /* a handshake's answer is handed on */
    if (told || !retry_allowed(&ex->environment->budget, &q))
        return false;
    msec due = q.now + retry_delay(ex->attempts, crypto_jitter(1024));
    if (timer_set(ex->worker->loop, &ex->timer, due, pause_over) != PP_OK)
        return false;
    metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_RETRIES, reason, 1);
    ex->sent_before = exchange_sent(ex);
    exchange_enter(ex, EXCHANGE_PAUSING);
    return true;
}

/* Nothing usable came back. `detail` is for the log. */
void attempt_failed(struct exchange *ex, enum refusal why, bool transient, const char *detail)
{
    if (ex->got_bytes)
        ex->sent = SENT_YES;
    count_upstream_error(ex, why);
    log_debug("upstream", ex->environment->name, "try %u failed: %s (%s)", ex->attempts, reply_rule(why)->reason,
              detail);
    attempt_drop(ex, false);
    if (ex->state == EXCHANGE_RELAYING) {
        ex->broken = true; /* what arrived is handed on, then the client's connection is cut */
        server_wake(ex->request);
        return;
    }
    if (ex->state == EXCHANGE_COLLECTING || !transient || !attempt_retry(ex, RETRY_REASON_CONNECT))
        answer_refuse(ex, why, "");
}

static void deadline_passed(struct timer *t)
{
    struct exchange *ex = (struct exchange *)((char *)t - offsetof(struct exchange, timer));
    msec now = clock_now(), timeout = ex->settings->e->request_timeout;
    switch (ex->state) {
    case EXCHANGE_RELAYING: /* a long answer may take its time, but not stand still */
        if (ex->upstream == NULL)
            return;
        if (ex->paused)
            ex->progress = now;
        if (now < ex->progress + timeout) {
            if (timer_set(ex->worker->loop, t, ex->progress + timeout, deadline_passed) == PP_OK)
                return;
        }
        attempt_failed(ex, REFUSAL_UPSTREAM_TIMEOUT, false, "the answer stood still");
        return;
    case EXCHANGE_CONNECTING:
    case EXCHANGE_ASKING:
    case EXCHANGE_COLLECTING:
        if (ex->state == EXCHANGE_ASKING && ex->got_bytes)
            ex->sent = SENT_YES;
        count_upstream_error(ex, REFUSAL_UPSTREAM_TIMEOUT);
        attempt_drop(ex, false);
        answer_refuse(ex, REFUSAL_UPSTREAM_TIMEOUT, "");
        return;
    case EXCHANGE_RECEIVING:
    case EXCHANGE_PAUSING:
    case EXCHANGE_UPGRADING:
    case EXCHANGE_ANSWERED:
        return;
    }
}
/* --- asking --- */

/* The connection takes no more. It may have said why before it closed; if it has not begun to, it never will. */
static void write_broke(struct exchange *ex)
{
    unsigned replays = ex->replays;
    attempt_read_answer(ex);
    if (ex->replays != replays)
        return; /* it had said 401: the request is on its way over another connection already */
    if (ex->upstream != NULL && ex->state == EXCHANGE_ASKING && !ex->got_bytes)
        attempt_ended(ex, false);
}

void attempt_more_body(struct exchange *ex)
{
    if (ex->upstream == NULL)
        return;
    if (!attempt_write_request(ex))
        write_broke(ex);
}

static void writable(struct upstream_user *u)
{
    attempt_more_body(of_user(u));
}

static void readable(struct upstream_user *u)
{
    attempt_read_answer(of_user(u));
}

static void connected(struct upstream_waiter *w, struct upstream_connection *c)
{
    struct exchange *ex = of_waiter(w);
    ex->upstream = c;
    ask(ex);
}

static void not_connected(struct upstream_waiter *w, enum upstream_failure why, const char *detail)
{
    static const enum refusal refusals[] = {
        [UPSTREAM_FAILURE_NONE] = REFUSAL_CONNECT,     [UPSTREAM_FAILURE_DNS] = REFUSAL_DNS,
        [UPSTREAM_FAILURE_CONNECT] = REFUSAL_CONNECT,  [UPSTREAM_FAILURE_TLS] = REFUSAL_TLS,
        [UPSTREAM_FAILURE_TLS_CUT] = REFUSAL_TLS,      [UPSTREAM_FAILURE_TIMEOUT] = REFUSAL_UPSTREAM_TIMEOUT,
        [UPSTREAM_FAILURE_LOCAL] = REFUSAL_OVERLOADED,
    };
    struct exchange *ex = of_waiter(w);
    static _Thread_local struct log_limit limit;
    if (log_allowed(&limit, 5000))
        log_warning("upstream", ex->environment->name, "no connection to %s: %s%s", ex->settings->e->base_url.authority,
                    detail, limit.note);
    exchange_enter(ex, EXCHANGE_ASKING); /* it waits no longer: there is nothing to cancel */
    attempt_failed(ex, refusals[why], why != UPSTREAM_FAILURE_TLS, detail);
}

/* The connection is there: the request goes out, in one record if it is small. */
static void ask(struct exchange *ex)
{
    exchange_enter(ex, EXCHANGE_ASKING);
    ex->user = (struct upstream_user){readable, writable};
    ex->body_sent = 0;
    ex->body_ended = false;
    ex->got_bytes = false;
    ex->interims = 0;
    ex->asked = clock_now();
    buf_clear(&ex->in);
    upstream_set_user(ex->upstream, &ex->user);
    atomic_fetch_add_explicit(&token_use(ex->token)->requests, 1, memory_order_relaxed);
    atomic_store_explicit(&token_use(ex->token)->last_used, clock_wall_now(), memory_order_relaxed);
    if (attempt_write_head(ex) != PP_OK) {
        attempt_failed(ex, REFUSAL_INTERNAL, false, "the request head could not be written");
        return;
    }
    if (!attempt_write_request(ex))
        write_broke(ex);
}

void attempt_start(struct exchange *ex, bool fresh)
{
    /* A retry after a failure keeps its token: it was not the token's fault. */
    if (ex->plan.count == 0 || ex->token == NULL) {
        struct token *t = token_store_next(ex->settings->tokens, &ex->plan, clock_now());
        if (t == NULL) {
            answer_refuse(ex, REFUSAL_NO_TOKEN, "");
            return;
        }
        token_unref(&ex->token);
        ex->token = token_ref(t);
    }
    if (ex->upstream_usec < 0)
        ex->upstream_usec = clock_usec();
    ex->attempts++;
    ex->sent = SENT_NO;
    exchange_enter(ex, EXCHANGE_CONNECTING);
    if (timer_set(ex->worker->loop, &ex->timer, ex->deadline, deadline_passed) != PP_OK) {
        exchange_enter(ex, EXCHANGE_ASKING);
        attempt_failed(ex, REFUSAL_INTERNAL, false, "out of memory");
        return;
    }
    ex->waiter = (struct upstream_waiter){.ready = connected, .failed = not_connected};
    struct upstream_connection *c = upstream_acquire(ex->settings->pool, &ex->waiter, fresh);
    if (c != NULL) {
        ex->upstream = c;
        ask(ex);
    }
}
