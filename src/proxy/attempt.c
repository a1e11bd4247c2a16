/* One try upstream: a token, a connection, the request out, the answer in. */
#include "proxy/exchange.h"

#include "base/crypto.h"

#include <stdlib.h>

#define ATTEMPT_ONE_RECORD (16u * 1024) /* head and body up to this size leave in one TLS record */
#define ATTEMPT_CHUNK      (16u * 1024)

static void ask(struct exchange *ex);
static void read_answer(struct exchange *ex);
static void ended(struct exchange *ex, bool orderly);

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

static bool retry(struct exchange *ex, enum retry_reason reason)
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
static void failed(struct exchange *ex, enum refusal why, bool transient, const char *detail)
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
    if (ex->state == EXCHANGE_COLLECTING || !transient || !retry(ex, RETRY_REASON_CONNECT))
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
        failed(ex, REFUSAL_UPSTREAM_TIMEOUT, false, "the answer stood still");
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

/* --- out --- */

static enum pp_result write_head(struct exchange *ex)
{
    const struct environment_config *e = ex->settings->e;
    const struct admission *a = &ex->admission;
    struct request_head head = {
        .method = ex->method,
        .target = a->target.raw,
        .prefix = str_of(e->base_url.prefix),
        .host = str_of(e->base_url.authority),
        .origin = str_of(e->origin),
        .authorization = token_authorization(ex->token),
        .headers = ex->headers,
        .require_name = e->require_name,
        .framing = a->framing,
        .content_length = a->content_length,
        .websocket = a->websocket,
    };
    if (a->framing == BODY_CHUNKED && ex->body_complete) { /* all of it is here: its length is known now */
        head.framing = BODY_LENGTH;
        head.content_length = (int64_t)buf_len(&ex->body);
    }
    ex->chunked_up = head.framing == BODY_CHUNKED;
    buf_clear(&ex->out);
    return request_write_head(&ex->out, &head);
}

/* What of the body has not been handed on. */
static struct str body_left(const struct exchange *ex)
{
    struct str all = buf_str(&ex->body);
    return all.n == 0 ? STR_NONE : (struct str){all.p + ex->body_sent, all.n - ex->body_sent};
}

/* Moves more of the body into `out`, as far as framing or smallness ask for a copy. */
static void frame_body(struct exchange *ex)
{
    size_t left = buf_len(&ex->body) - ex->body_sent;
    const char *from = body_left(ex).p;
    if (!ex->chunked_up) {
        if (left > 0 && buf_len(&ex->out) + left <= ATTEMPT_ONE_RECORD) {
            buf_append(&ex->out, from, left);
            ex->body_sent += left;
        }
        return;
    }
    if (left > 0 && buf_len(&ex->out) < ATTEMPT_CHUNK) {
        char prefix[20];
        size_t n = left < ATTEMPT_CHUNK ? left : ATTEMPT_CHUNK;
        buf_append(&ex->out, prefix, request_chunk_prefix(n, prefix));
        buf_append(&ex->out, from, n);
        buf_append_str(&ex->out, STR("\r\n"));
        ex->body_sent += n;
        left -= n;
    }
    if (left == 0 && ex->body_complete && !ex->body_ended) {
        buf_append_str(&ex->out, STR(REQUEST_LAST_CHUNK));
        ex->body_ended = true;
    }
}

static bool request_written(const struct exchange *ex)
{
    return buf_len(&ex->out) == 0 && ex->body_complete && ex->body_sent == buf_len(&ex->body) &&
           (!ex->chunked_up || ex->body_ended);
}

/* Writes until the connection takes no more or there is nothing to write. False: the connection broke. */
static bool write_request(struct exchange *ex)
{
    for (;;) {
        frame_body(ex);
        if (ex->out.failed)
            return false;
        struct str from = buf_str(&ex->out);
        bool plain_body = from.n == 0 && !ex->chunked_up;
        if (plain_body)
            from = body_left(ex);
        if (from.n == 0)
            return true;
        size_t done = 0;
        enum pp_result rc = upstream_write(ex->upstream, from.p, from.n, &done);
        if (rc == PP_AGAIN)
            return true;
        if (rc != PP_OK)
            return false;
        if (ex->sent == SENT_NO)
            ex->sent = SENT_MAYBE;
        if (plain_body)
            ex->body_sent += done;
        else
            buf_consume_wipe(&ex->out, done); /* the credential is not left lying there while the answer is awaited */
    }
}

/* The connection takes no more. It may have said why before it closed; if it has not begun to, it never will. */
static void write_broke(struct exchange *ex)
{
    unsigned replays = ex->replays;
    read_answer(ex);
    if (ex->replays != replays)
        return; /* it had said 401: the request is on its way over another connection already */
    if (ex->upstream != NULL && ex->state == EXCHANGE_ASKING && !ex->got_bytes)
        ended(ex, false);
}

void attempt_more_body(struct exchange *ex)
{
    if (ex->upstream == NULL)
        return;
    if (!write_request(ex))
        write_broke(ex);
}

static void writable(struct upstream_user *u)
{
    attempt_more_body(of_user(u));
}

static void readable(struct upstream_user *u)
{
    read_answer(of_user(u));
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
    unsigned held_back;
    static _Thread_local struct log_limit limit;
    if (log_allowed(&limit, 5000, &held_back))
        log_warning("upstream", ex->environment->name, "no connection to %s: %s (%u such warnings held back)",
                    ex->settings->e->base_url.authority, detail, held_back);
    exchange_enter(ex, EXCHANGE_ASKING); /* it waits no longer: there is nothing to cancel */
    failed(ex, refusals[why], why != UPSTREAM_FAILURE_TLS, detail);
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
    if (write_head(ex) != PP_OK) {
        failed(ex, REFUSAL_INTERNAL, false, "the request head could not be written");
        return;
    }
    if (!write_request(ex))
        write_broke(ex);
}

void attempt_start(struct exchange *ex, bool fresh)
{
    /* A retry after a failure keeps its token: it was not the token's fault. */
    if (ex->plan.count == 0 || ex->token == NULL) {
        struct token *t = token_store_next(ex->environment->tokens, &ex->plan, clock_now());
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
        failed(ex, REFUSAL_INTERNAL, false, "out of memory");
        return;
    }
    ex->waiter = (struct upstream_waiter){.ready = connected, .failed = not_connected};
    struct upstream_connection *c = upstream_acquire(ex->settings->pool, &ex->waiter, fresh);
    if (c != NULL) {
        ex->upstream = c;
        ask(ex);
    }
}

/* --- in --- */

/* Takes payload from *in into `answer`. PP_OK: all taken, more to come. PP_END: the body is complete. */
static enum pp_result take_body(struct exchange *ex, struct str *in)
{
    while (in->n > 0 || ex->reader.framing == RESPONSE_NO_BODY) {
        struct str data = STR_NONE;
        enum pp_result rc = body_reader_next(&ex->reader, in, &data);
        if (data.n > 0 && buf_append_str(&ex->answer, data) != PP_OK)
            return PP_NOMEM;
        if (rc == PP_END)
            return PP_END;
        if (rc == PP_AGAIN)
            return PP_OK;
        if (rc != PP_OK)
            return rc;
    }
    return ex->reader.framing == RESPONSE_LENGTH && ex->reader.left == 0 ? PP_END : PP_OK;
}

/* The answer's end is certain: the connection may serve the next request. */
static void body_done(struct exchange *ex, size_t left_over)
{
    ex->answer_complete = true;
    ex->upstream_done_usec = clock_usec();
    attempt_drop(ex, ex->response.keep_alive && left_over == 0 && request_written(ex));
}

/* The views of a head parsed from the worker's scratch memory move to a copy of our own. */
static enum pp_result keep_head(struct exchange *ex, struct str head)
{
    const char *base = head.p;
    if (buf_str(&ex->in).p == base)
        return PP_OK;
    buf_clear(&ex->in);
    if (buf_append_str(&ex->in, head) != PP_OK)
        return PP_NOMEM;
    const char *kept = buf_str(&ex->in).p;
    for (size_t i = 0; i < ex->response.headers.count; i++) {
        struct header *h = &ex->response.headers.items[i];
        h->name.p = kept + (h->name.p - base);
        h->value.p = kept + (h->value.p - base);
    }
    if (ex->response.keep_alive_timeout.n > 0)
        ex->response.keep_alive_timeout.p = kept + (ex->response.keep_alive_timeout.p - base);
    return PP_OK;
}

/* Tries again instead of handing this answer on? True: done, the next try is under way. */
static bool try_again(struct exchange *ex, struct str rest)
{
    int status = ex->response.status;
    bool reusable = ex->response.keep_alive && request_written(ex) &&
                    ((ex->response.framing == RESPONSE_NO_BODY && rest.n == 0) ||
                     (ex->response.framing == RESPONSE_LENGTH && ex->response.content_length == (int64_t)rest.n));
    if (status == 401) {
        struct token *next = token_store_next(ex->environment->tokens, &ex->plan, clock_now());
        if (next == NULL)
            return false;
        metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_TOKEN_FALLBACKS, 0, 1);
        attempt_drop(ex, reusable && rest.n <= WORKER_SCRATCH);
        token_unref(&ex->token);
        ex->token = token_ref(next);
        ex->replays++;
        ex->attempts--;     /* a replay is not a retry */
        ex->sent = SENT_NO; /* 401: nothing was done with it */
        attempt_start(ex, false);
        return true;
    }
    if (status != 502 && status != 503 && status != 504)
        return false;
    enum retry_reason reason = status == 502 ? RETRY_REASON_502 : status == 503 ? RETRY_REASON_503 : RETRY_REASON_504;
    ex->sent = SENT_YES;
    if (!retry(ex, reason))
        return false;
    attempt_drop(ex, reusable);
    return true;
}

/* Is the answer small enough to be collected, so that a fault in its midst can still become a 502? */
static bool goes_out_whole(const struct exchange *ex)
{
    return ex->response.framing == RESPONSE_LENGTH && ex->response.content_length <= (int64_t)LIMIT_STREAM_BUFFER;
}

/* A final head is here; `rest` is what followed it. */
static void head_done(struct exchange *ex, struct str head, struct str rest)
{
    worker_learn(ex->worker, ex->environment, ex->token, ex->response.status, ex->asked);
    if (try_again(ex, rest))
        return;
    ex->sent = SENT_YES;
    buf_clear(&ex->answer);
    body_reader_init(&ex->reader, ex->response.framing, ex->response.content_length);

    /* The common case first: all of it is here already, in one run. */
    if (ex->response.framing == RESPONSE_NO_BODY ||
        (ex->response.framing == RESPONSE_LENGTH && ex->response.content_length <= (int64_t)rest.n)) {
        size_t n = ex->response.framing == RESPONSE_NO_BODY ? 0 : (size_t)ex->response.content_length;
        body_done(ex, rest.n - n);
        answer_whole(ex, (struct str){rest.p, n});
        return;
    }
    enum pp_result rc = take_body(ex, &rest);
    if (rc == PP_END) {
        body_done(ex, rest.n);
        answer_whole(ex, buf_str(&ex->answer));
    } else if (rc != PP_OK || keep_head(ex, head) != PP_OK) {
        failed(ex, rc == PP_INVALID || rc == PP_LIMIT ? REFUSAL_PROTOCOL : REFUSAL_INTERNAL, false,
               "the answer's body is malformed");
    } else if (goes_out_whole(ex) || !ex->body_complete) {
        exchange_enter(ex, EXCHANGE_COLLECTING);
    } else {
        exchange_enter(ex, EXCHANGE_RELAYING);
        answer_stream(ex);
    }
}

/* A server may answer while it still reads, but libmicrohttpd takes no more of a body once an answer is given. */
void attempt_request_complete(struct exchange *ex)
{
    if (!goes_out_whole(ex)) {
        exchange_enter(ex, EXCHANGE_RELAYING);
        answer_stream(ex);
    }
    if (ex->state == EXCHANGE_COLLECTING || ex->state == EXCHANGE_RELAYING)
        attempt_more_body(ex);
}

/* The peer answered 101 to a WebSocket handshake, or without having been asked. */
static void switching(struct exchange *ex, struct str head, struct str rest)
{
    const char *what = "101 without a WebSocket handshake";
    if (!ex->admission.websocket || wsframe_check_101(&ex->response, ex->headers, &what) != PP_OK) {
        failed(ex, REFUSAL_PROTOCOL, false, what);
        return;
    }
    worker_learn(ex->worker, ex->environment, ex->token, 101, ex->asked);
    ex->sent = SENT_YES;
    if (keep_head(ex, head) != PP_OK || buf_append_str(&ex->answer, rest) != PP_OK) {
        failed(ex, REFUSAL_INTERNAL, false, "out of memory");
        return;
    }
    upstream_set_user(ex->upstream, NULL); /* what comes next is the tunnel's */
    exchange_enter(ex, EXCHANGE_UPGRADING);
    answer_upgrade(ex);
}

static void take_head(struct exchange *ex, struct str bytes)
{
    bool kept = buf_len(&ex->in) > 0;
    const char *what = "";
    if (kept && buf_append_str(&ex->in, bytes) != PP_OK) {
        failed(ex, REFUSAL_PROTOCOL, false, "the answer's head is too large");
        return;
    }
    struct str in = kept ? buf_str(&ex->in) : bytes;
    for (;;) {
        size_t used = 0;
        enum pp_result rc = response_parse_head(in, ex->admission.head, &ex->response, &used, &what);
        if (rc == PP_AGAIN) {
            if (!kept)
                rc = buf_append_str(&ex->in, in);
            else
                buf_consume(&ex->in, buf_len(&ex->in) - in.n), rc = PP_OK;
            if (rc != PP_OK)
                failed(ex, REFUSAL_INTERNAL, false, "out of memory");
            return;
        }
        if (rc != PP_OK) {
            ex->sent = SENT_YES;
            failed(ex, REFUSAL_PROTOCOL, false, what);
            return;
        }
        struct str head = {in.p, used};
        in = (struct str){in.p + used, in.n - used};
        if (ex->response.status == 101) {
            switching(ex, head, in);
            return;
        }
        if (ex->response.status >= 200) {
            head_done(ex, head, in);
            return;
        }
        if (++ex->interims >
            LIMIT_INTERIM_RESPONSES) { /* interim answers are ours to swallow: clients got their own 100 */
            failed(ex, REFUSAL_PROTOCOL, false, "too many interim answers");
            return;
        }
    }
}

static void take_more_body(struct exchange *ex, struct str bytes)
{
    enum pp_result rc = take_body(ex, &bytes);
    if (rc == PP_END)
        body_done(ex, bytes.n);
    else if (rc != PP_OK) {
        failed(ex, rc == PP_NOMEM ? REFUSAL_INTERNAL : REFUSAL_PROTOCOL, false, "the answer's body is malformed");
        return;
    }
    if (ex->state == EXCHANGE_RELAYING)
        server_wake(ex->request);
    else if (ex->answer_complete)
        answer_whole(ex, buf_str(&ex->answer));
}

/* The connection ended. `orderly`: by close_notify or FIN, so that an answer without a length is complete. */
static void ended(struct exchange *ex, bool orderly)
{
    bool in_body = ex->state == EXCHANGE_RELAYING || ex->state == EXCHANGE_COLLECTING;
    if (in_body && orderly && body_reader_eof(&ex->reader) == PP_END) {
        ex->response.keep_alive = false;
        body_done(ex, 0);
        if (ex->state == EXCHANGE_RELAYING)
            server_wake(ex->request);
        else
            answer_whole(ex, buf_str(&ex->answer));
        return;
    }
    if (in_body) {
        failed(ex, REFUSAL_PROTOCOL, false, "the connection ended within the answer's body");
        return;
    }
    bool silent = !ex->got_bytes;
    failed(ex, REFUSAL_PROTOCOL, silent, silent ? "the connection ended without an answer" : "it ended within a head");
}

static void read_answer(struct exchange *ex)
{
    struct worker *w = ex->worker;
    while (ex->upstream != NULL) {
        bool in_body = ex->state == EXCHANGE_RELAYING || ex->state == EXCHANGE_COLLECTING;
        size_t room = in_body ? buf_room(&ex->answer) : WORKER_SCRATCH, n = 0;
        if (!in_body && ex->state != EXCHANGE_ASKING)
            return;
        if (room == 0) {
            ex->paused = true;
            return;
        }
        enum pp_result rc = upstream_read(ex->upstream, w->scratch, room < WORKER_SCRATCH ? room : WORKER_SCRATCH, &n);
        if (rc == PP_AGAIN)
            return;
        if (rc != PP_OK) {
            ended(ex, rc == PP_END);
            return;
        }
        ex->got_bytes = true;
        ex->progress = clock_now();
        if (in_body)
            take_more_body(ex, (struct str){w->scratch, n});
        else
            take_head(ex, (struct str){w->scratch, n});
    }
}

void attempt_resume(struct exchange *ex)
{
    if (!ex->paused)
        return;
    ex->paused = false;
    read_answer(ex);
}
