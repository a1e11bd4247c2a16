/* One request's states: admitted, received, asked upstream, answered, ended. */
#include "proxy/exchange.h"

#include "base/crypto.h"
#include "proxy/access_log.h"
#include "proxy/tunnel.h"

#include <stdio.h>
#include <stdlib.h>

#define EXCHANGE_STREAM_UP  (64u * 1024) /* a body still coming is sent on once this much of it is here */
#define EXCHANGE_SPARE      256u
#define EVICTIONS           16u   /* slow clients that may go for one request; some of them held no place themselves */
#define KEPT_BUFFER         2048u /* bytes of a buffer a spare exchange keeps for the next request */
#define EXCHANGE_OUT_LIMIT  (LIMIT_REQUEST_HEAD + LIMIT_TOKEN_LENGTH + 64u * 1024)
#define PATH_REFUSED_LOGGED 256u /* bytes */

const char *exchange_reason_name(enum exchange_reason reason)
{
    static const char *const names[EXCHANGE_REASON_COUNT] = {"ok",       "refused", "client_gone", "upstream_broke",
                                                             "upgraded", "evicted"};
    return names[reason];
}

void exchange_enter(struct exchange *ex, enum exchange_state state)
{
    ex->state = state;
}

static struct exchange *exchange_new(struct worker *w)
{
    struct exchange *ex = w->spare_exchanges;
    if (ex != NULL) {
        w->spare_exchanges = ex->next_spare;
        w->spare_exchange_count--;
        struct buf body = ex->body, out = ex->out, in = ex->in, answer = ex->answer; /* their storage is kept */
        memset(ex, 0, sizeof *ex);
        ex->body = body, ex->out = out, ex->in = in, ex->answer = answer;
        return ex;
    }
    ex = calloc(1, sizeof *ex);
    if (ex != NULL) {
        buf_init(&ex->out, EXCHANGE_OUT_LIMIT);
        buf_init(&ex->in, LIMIT_RESPONSE_HEAD + WORKER_SCRATCH);
        buf_init(&ex->answer, LIMIT_STREAM_BUFFER);
    }
    return ex;
}

static void keep_or_free(struct buf *b)
{
    if (b->size > KEPT_BUFFER)
        buf_free(b);
    else
        buf_clear(b);
}

static void wipe_and_keep(struct buf *b)
{
    if (b->size > KEPT_BUFFER) {
        buf_wipe(b);
        return;
    }
    if (b->data != NULL)
        explicit_bzero(b->data, b->size);
    buf_clear(b);
}

void exchange_dispose(struct exchange *ex)
{
    buf_wipe(&ex->out);
    buf_free(&ex->in);
    buf_free(&ex->answer);
    free(ex);
}

static void exchange_free(struct exchange *ex)
{
    struct worker *w = ex->worker;
    buf_free(&ex->body);
    wipe_and_keep(&ex->out); /* it held the credential */
    keep_or_free(&ex->in);
    keep_or_free(&ex->answer);
    if (w->spare_exchange_count < EXCHANGE_SPARE) {
        ex->next_spare = w->spare_exchanges;
        w->spare_exchanges = ex;
        w->spare_exchange_count++;
        return;
    }
    exchange_dispose(ex);
}

/* Takes one of `limit` places counted by all workers together. */
static bool take_place(atomic_uint *count, unsigned limit)
{
    if (atomic_fetch_add_explicit(count, 1, memory_order_relaxed) < limit)
        return true;
    atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
    return false;
}

/* One of max_inflight places, if need be that of a client that is slow. */
static bool take_or_make_place(struct exchange *ex, atomic_uint *count, bool receiving)
{
    unsigned limit = ex->settings->max_inflight;
    bool taken = take_place(count, limit);
    for (unsigned i = 0; i < EVICTIONS && !taken && server_make_way(&ex->environment->clients, receiving); i++)
        taken = take_place(count, limit);
    return taken;
}

static const char no_place[] = "max_inflight requests are under way; try again in a moment";

static enum refusal take_capacity(struct exchange *ex, bool body_follows, const char **detail)
{
    const struct environment_config *e = ex->settings->e;
    struct environment_shared *shared = ex->settings->shared;
    if (!token_store_usable(ex->settings->tokens))
        return REFUSAL_NO_TOKEN;
    if (body_follows)
        ex->counted_receiving = take_or_make_place(ex, &shared->receiving, true);
    else
        ex->counted_inflight = take_or_make_place(ex, &shared->inflight, false);
    if (!ex->counted_inflight && !ex->counted_receiving) {
        *detail = no_place;
        return REFUSAL_OVERLOADED;
    }
    ex->admitted = true;
    metrics_gauge(ex->worker->metrics, ex->environment->metrics_index, METRICS_INFLIGHT, 1);
    if (!ex->admission.websocket)
        return REFUSAL_NONE;
    ex->counted_websocket = take_place(&shared->websockets, e->max_websockets);
    if (!ex->counted_websocket)
        *detail = "max_websockets WebSockets are open; close one, or try again later";
    return ex->counted_websocket ? REFUSAL_NONE : REFUSAL_OVERLOADED;
}

static void give_receiving_back(struct exchange *ex)
{
    if (ex->counted_receiving)
        atomic_fetch_sub_explicit(&ex->settings->shared->receiving, 1, memory_order_relaxed);
    ex->counted_receiving = false;
}

static void give_places_back(struct exchange *ex)
{
    give_receiving_back(ex);
    if (ex->counted_inflight)
        atomic_fetch_sub_explicit(&ex->settings->shared->inflight, 1, memory_order_relaxed);
    ex->counted_inflight = false;
    if (ex->admitted)
        metrics_gauge(ex->worker->metrics, ex->environment->metrics_index, METRICS_INFLIGHT, -1);
    ex->admitted = false;
}

/* The checks of a head in their order; an inexact or oversized head is not worth reading beyond the peer's right to
 * speak at all. */
static enum refusal admit(struct exchange *ex, const struct server_head *head, const char **detail)
{
    struct admission_request request = {
        .peer_allowed = ex->client->allowed,
        .unix_socket = server_is_unix(ex->request),
        .method = head->method,
        .target = head->target,
        .version = head->version,
        .headers = head->headers,
    };
    if (ex->client->allowed && head->too_large)
        return head->target.n > LIMIT_TARGET ? REFUSAL_TARGET_TOO_LONG : REFUSAL_HEADERS_TOO_LARGE;
    if (ex->client->allowed && !head->exact) {
        *detail = "the request head holds a NUL byte, a folded line, a bare line feed or needless blanks";
        return REFUSAL_FRAMING;
    }
    admission_check(&ex->settings->policy, &request, &ex->admission);
    *detail = ex->admission.detail;
    if (ex->admission.refusal != REFUSAL_NONE)
        return ex->admission.refusal;
    if (ex->admission.authorization_given)
        metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_AUTHORIZATION_STRIPPED, 0, 1);
    *detail = "";
    return take_capacity(ex, head->body_follows, detail);
}

/* For the access log: the path of a target that was refused before it was looked at. Never its query. */
static struct str path_refused(struct str target)
{
    size_t n = 0;
    while (n < target.n && n < PATH_REFUSED_LOGGED && target.p[n] != '?' && target.p[n] != '#')
        n++;
    return (struct str){target.p, n};
}

static void *begin(struct server_request *request, const struct server_head *head)
{
    struct client *client = server_context(request);
    struct worker *w = client->environment->worker;
    struct exchange *ex = exchange_new(w);
    const char *detail = "";
    if (ex == NULL)
        return NULL;
    if (client->generation != client->environment->generation) {
        worker_judge(w, client, server_descriptor(request));
        server_set_timeouts(request, &client->environment->settings->timeouts);
    }
    ex->worker = w;
    ex->client = client;
    ex->environment = client->environment;
    ex->settings = environment_settings_ref(client->environment->settings);
    ex->request = request;
    ex->method = head->method;
    ex->headers = head->headers;
    ex->started_usec = head->started_usec;
    ex->upstream_usec = -1;
    if (ex->body.limit != (size_t)ex->settings->e->max_body + 1) {
        buf_free(&ex->body);
        buf_init(&ex->body, (size_t)ex->settings->e->max_body + 1);
    }
    enum refusal refusal = admit(ex, head, &detail);
    if (ex->admission.target.path.n == 0)
        ex->admission.target.path = path_refused(head->target);
    if (refusal != REFUSAL_NONE)
        answer_refuse(ex, refusal, detail);
    else
        retry_count_request(&ex->environment->budget, clock_now());
    return ex;
}

/* Proof is asked: the body is here, or enough of it. */
static void start(struct exchange *ex)
{
    if (!ex->counted_inflight) {
        ex->counted_inflight = take_or_make_place(ex, &ex->settings->shared->inflight, false);
        if (!ex->counted_inflight) {
            answer_refuse(ex, REFUSAL_OVERLOADED, no_place);
            return;
        }
        give_receiving_back(ex);
    }
    if (!ex->body_complete)
        server_uploading(ex->request);
    ex->deadline = clock_now() + ex->settings->e->request_timeout;
    attempt_start(ex, false);
}

static void body(void *exchange, struct str bytes)
{
    struct exchange *ex = exchange;
    ex->bytes_in += bytes.n;
    enum pp_result rc = PP_LIMIT;
    if (buf_len(&ex->body) + bytes.n <= (size_t)ex->settings->e->max_body)
        rc = buf_append_str(&ex->body, bytes);
    if (rc != PP_OK) {
        answer_refuse(ex, rc == PP_LIMIT ? REFUSAL_BODY_TOO_LARGE : REFUSAL_INTERNAL, "");
        return;
    }
    if (ex->state == EXCHANGE_RECEIVING && buf_len(&ex->body) >= EXCHANGE_STREAM_UP && ex->attempts == 0)
        start(ex);
    else if (ex->state == EXCHANGE_ASKING || ex->state == EXCHANGE_COLLECTING)
        attempt_more_body(ex);
}

static void complete(void *exchange)
{
    struct exchange *ex = exchange;
    ex->body_complete = true;
    if (ex->state == EXCHANGE_RECEIVING)
        start(ex);
    else if (ex->state == EXCHANGE_ASKING)
        attempt_more_body(ex);
    else if (ex->state == EXCHANGE_COLLECTING)
        attempt_request_complete(ex);
}

/* The body's end will never come. A refusal that has been waiting for it is the better one to give; an answer of
 * upstream's that has been waiting cannot be given any more, but that there was one, `sent` tells. */
static void refuse_in_body(struct exchange *ex, enum refusal refusal)
{
    if (ex->refusal != REFUSAL_NONE)
        server_refuse(ex->request, ex->refusal, exchange_sent(ex), ex->request_id);
    else
        answer_refuse(ex, refusal, "");
}

static void late(void *exchange)
{
    refuse_in_body(exchange, REFUSAL_TIMEOUT);
}

static void malformed(void *exchange)
{
    refuse_in_body(exchange, REFUSAL_FRAMING);
}

static void gone(void *exchange)
{
    struct exchange *ex = exchange;
    ex->reason = EXCHANGE_CLIENT_GONE;
    timer_stop(ex->worker->loop, &ex->timer); /* no retry for nobody */
    attempt_drop(ex, false);
}

static enum sent evicted(void *exchange, const char *request_id)
{
    struct exchange *ex = exchange;
    if (request_id != NULL)
        (void)snprintf(ex->request_id, sizeof ex->request_id, "%s", request_id);
    if (ex->reason == EXCHANGE_OK || ex->reason == EXCHANGE_REFUSED)
        ex->reason = EXCHANGE_EVICTED;
    if (ex->status == 0)
        ex->status = reply_rule(REFUSAL_OVERLOADED)->status;
    metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_LOCAL_REJECTIONS, REFUSAL_OVERLOADED, 1);
    timer_stop(ex->worker->loop, &ex->timer);
    attempt_drop(ex, false);
    exchange_enter(ex, EXCHANGE_ANSWERED);
    give_places_back(ex); /* at once: it is what the other one needs */
    buf_free(&ex->body);
    return exchange_sent(ex);
}

/* The one end. Whatever is still held is let go here, whichever way it came about. */
static void exchange_end(struct exchange *ex, enum exchange_reason reason)
{
    struct worker *w = ex->worker;
    ex->reason = reason;
    attempt_drop(ex, false);
    timer_stop(w->loop, &ex->timer);
    int64_t now = clock_usec();
    int64_t upstream = ex->upstream_usec < 0        ? -1
                       : ex->upstream_done_usec > 0 ? ex->upstream_done_usec - ex->upstream_usec
                                                    : now - ex->upstream_usec;
    metrics_request(w->metrics, ex->environment->metrics_index, metrics_method(ex->method),
                    reason == EXCHANGE_CLIENT_GONE ? 0 : ex->status,
                    ex->token == NULL ? NULL : token_fingerprint(ex->token), now - ex->started_usec, upstream);
    if (w->log_access)
        access_log_write(ex, now);
    give_places_back(ex);
    if (ex->counted_websocket)
        atomic_fetch_sub_explicit(&ex->settings->shared->websockets, 1, memory_order_relaxed);
    token_unref(&ex->token);
    environment_settings_unref(&ex->settings);
    exchange_free(ex);
}

static void finished(void *exchange, bool delivered)
{
    struct exchange *ex = exchange;
    enum exchange_reason reason = ex->reason;
    if (reason == EXCHANGE_OK && ex->broken)
        reason = EXCHANGE_UPSTREAM_BROKE;
    else if (reason == EXCHANGE_OK && !delivered)
        reason = EXCHANGE_CLIENT_GONE;
    exchange_end(ex, reason);
}

static void closed(void *context, const struct server_end *end)
{
    struct client *c = context;
    struct worker *w = c->environment->worker;
    metrics_gauge(w->metrics, c->environment->metrics_index, METRICS_CONNECTIONS, -1);
    acceptor_count(w->acceptor, -1);
    if (end->refused != REFUSAL_NONE) {
        metrics_count(w->metrics, c->environment->metrics_index, METRICS_LOCAL_REJECTIONS, end->refused, 1);
        if (w->log_access)
            access_log_turned_away(c, end);
    }
    environment_unref(&c->environment);
    free(c);
}

const struct server_handlers exchange_handlers = {
    .begin = begin,
    .body = body,
    .complete = complete,
    .late = late,
    .malformed = malformed,
    .gone = gone,
    .evicted = evicted,
    .read = answer_read,
    .finished = finished,
    .closed = closed,
};

/* --- what it costs --- */

size_t exchange_cost(void)
{
    return sizeof(struct exchange);
}

size_t exchange_request_cost(const struct environment_config *e)
{
    return (size_t)e->max_body + 1 + EXCHANGE_OUT_LIMIT + LIMIT_RESPONSE_HEAD + WORKER_SCRATCH + LIMIT_STREAM_BUFFER +
           server_answer_cost(LIMIT_STREAM_BUFFER);
}

size_t exchange_body_cost(const struct environment_config *e)
{
    return (size_t)e->max_body + 1 < EXCHANGE_STREAM_UP ? (size_t)e->max_body + 1 : EXCHANGE_STREAM_UP;
}
