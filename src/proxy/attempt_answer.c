/* A try's answer on its way in: its head, what that means, its body, and its end. */
#include "proxy/exchange.h"

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
    attempt_drop(ex, ex->response.keep_alive && left_over == 0 && attempt_request_written(ex));
}

/* The views of a head parsed from the worker's scratch memory move to a copy of our own. One that came in pieces lies
 * in `in` already, maybe behind interim ones. */
static enum pp_result keep_head(struct exchange *ex, struct str head)
{
    const char *base = head.p;
    if (buf_len(&ex->in) > 0)
        return PP_OK;
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
    bool reusable = ex->response.keep_alive && attempt_request_written(ex) &&
                    ((ex->response.framing == RESPONSE_NO_BODY && rest.n == 0) ||
                     (ex->response.framing == RESPONSE_LENGTH && ex->response.content_length == (int64_t)rest.n));
    if (status == 401) {
        struct token *next = token_store_next(ex->settings->tokens, &ex->plan, clock_now());
        if (next == NULL)
            return false;
        metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_TOKEN_FALLBACKS, 0, 1);
        attempt_drop(ex, reusable);
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
    if (!attempt_retry(ex, reason))
        return false;
    attempt_drop(ex, reusable);
    return true;
}

/* Is the answer small enough to be collected, so that a fault in its midst can still become a 502? */
static bool goes_out_whole(const struct exchange *ex)
{
    return ex->response.framing == RESPONSE_LENGTH && ex->response.content_length <= (int64_t)LIMIT_STREAM_BUFFER;
}

/* For all of the body at once: growing with it would copy it again and again. */
static enum pp_result make_room(struct exchange *ex)
{
    char *at;
    size_t room;
    return buf_reserve(&ex->answer, (size_t)ex->response.content_length, &at, &room);
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
    enum pp_result rc = goes_out_whole(ex) ? make_room(ex) : PP_OK;
    if (rc == PP_OK)
        rc = take_body(ex, &rest);
    if (rc == PP_END) {
        body_done(ex, rest.n);
        answer_whole(ex, buf_str(&ex->answer));
    } else if (rc != PP_OK || keep_head(ex, head) != PP_OK) {
        attempt_failed(ex, rc == PP_INVALID || rc == PP_LIMIT ? REFUSAL_PROTOCOL : REFUSAL_INTERNAL, false,
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
        attempt_failed(ex, REFUSAL_PROTOCOL, false, what);
        return;
    }
    worker_learn(ex->worker, ex->environment, ex->token, 101, ex->asked);
    ex->sent = SENT_YES;
    if (keep_head(ex, head) != PP_OK || buf_append_str(&ex->answer, rest) != PP_OK) {
        attempt_failed(ex, REFUSAL_INTERNAL, false, "out of memory");
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
        attempt_failed(ex, REFUSAL_PROTOCOL, false, "the answer's head is too large");
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
                attempt_failed(ex, REFUSAL_INTERNAL, false, "out of memory");
            return;
        }
        if (rc != PP_OK) {
            ex->sent = SENT_YES;
            attempt_failed(ex, REFUSAL_PROTOCOL, false, what);
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
            attempt_failed(ex, REFUSAL_PROTOCOL, false, "too many interim answers");
            return;
        }
    }
}

static void take_more_body(struct exchange *ex, struct str bytes)
{
    size_t had = buf_len(&ex->answer);
    enum pp_result rc = take_body(ex, &bytes);
    if (ex->state == EXCHANGE_RELAYING)
        answer_guard(ex, had);
    if (rc == PP_END)
        body_done(ex, bytes.n);
    else if (rc != PP_OK) {
        attempt_failed(ex, rc == PP_NOMEM ? REFUSAL_INTERNAL : REFUSAL_PROTOCOL, false,
                       "the answer's body is malformed");
        return;
    }
    if (ex->state == EXCHANGE_RELAYING)
        server_wake(ex->request);
    else if (ex->answer_complete)
        answer_whole(ex, buf_str(&ex->answer));
}

void attempt_ended(struct exchange *ex, bool orderly)
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
        attempt_failed(ex, REFUSAL_PROTOCOL, false, "the connection ended within the answer's body");
        return;
    }
    bool silent = !ex->got_bytes;
    attempt_failed(ex, REFUSAL_PROTOCOL, silent,
                   silent ? "the connection ended without an answer" : "it ended within a head");
}

void attempt_read_answer(struct exchange *ex)
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
            attempt_ended(ex, rc == PP_END);
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
    attempt_read_answer(ex);
}
