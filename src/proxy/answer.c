/* What the client gets: upstream's answer as it is, or one of ours. */
#include "proxy/exchange.h"

#include "base/crypto.h"
#include "proxy/tunnel.h"

#include <stdio.h>
#include <stdlib.h>

/* --- the leak guard: an answer that holds one of our tokens does not carry it to an app --- */

static bool mask_token(const struct token *t, struct str text)
{
    bool found = false;
    for (size_t at; (at = token_find(t, text)) != SIZE_MAX; found = true)
        memset((char *)(uintptr_t)text.p + at, '*', token_length(t)); /* our own buffers, all of them */
    return found;
}

/* From the first line's name to the last one's value: they lie in one buffer, in order. */
static struct str all_lines(const struct header_list *list)
{
    if (list->count == 0)
        return STR_NONE;
    const struct header *first = &list->items[0], *last = &list->items[list->count - 1];
    return (struct str){first->name.p, (size_t)(last->value.p + last->value.n - first->name.p)};
}

static void tell_of_leak(struct exchange *ex)
{
    if (ex->leak_told)
        return;
    ex->leak_told = true;
    metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_LEAKS_MASKED, 0, 1);
    log_warning("exchange", ex->environment->name,
                "an answer of upstream held a client_token (status %d); it was masked before the app could see it",
                ex->response.status);
}

static void mask_leaks(struct exchange *ex, struct str body)
{
    struct token *held[LIMIT_TOKENS_HELD];
    size_t count = token_store_tokens(ex->settings->tokens, held);
    struct str lines = all_lines(&ex->response.headers);
    bool masked = false;
    for (size_t i = 0; i < count; i++) {
        bool somewhere = token_find(held[i], lines) != SIZE_MAX;
        for (size_t h = 0; somewhere && h < ex->response.headers.count; h++) {
            masked |= mask_token(held[i], ex->response.headers.items[h].name); /* `*` may stand in a name */
            masked |= mask_token(held[i], ex->response.headers.items[h].value);
        }
        masked |= mask_token(held[i], body);
    }
    if (masked)
        tell_of_leak(ex);
}

/* A body of unknown length is guarded as it streams, while it is small. */
static bool streams_guarded(const struct exchange *ex)
{
    return ex->response.framing != RESPONSE_LENGTH && ex->bytes_out + buf_len(&ex->answer) <= LIMIT_STREAM_BUFFER;
}

void answer_guard(struct exchange *ex, size_t had)
{
    struct token *held[LIMIT_TOKENS_HELD];
    struct str body = buf_str(&ex->answer);
    bool masked = false;
    if (!streams_guarded(ex))
        return;
    size_t count = token_store_tokens(ex->settings->tokens, held);
    for (size_t i = 0; i < count; i++) {
        size_t before = token_length(held[i]) - 1, from = had > before ? had - before : 0;
        masked |= mask_token(held[i], (struct str){body.p + from, body.n - from});
    }
    if (masked)
        tell_of_leak(ex);
}

/* How much of `answer` can be handed on: what may become a token waits for what comes next. */
static size_t ready(const struct exchange *ex)
{
    struct token *held[LIMIT_TOKENS_HELD];
    struct str body = buf_str(&ex->answer);
    size_t waits = 0;
    if (body.n == 0 || ex->answer_complete || ex->broken || !streams_guarded(ex))
        return body.n;
    size_t count = token_store_tokens(ex->settings->tokens, held);
    for (size_t i = 0; i < count; i++) {
        size_t begun = token_begun(held[i], body);
        waits = begun > waits ? begun : waits;
    }
    return body.n - waits;
}

/* --- upstream's answer --- */

/* Hop-by-hop lines stay here, and so does a Proxy-Status that claims to be ours (RFC 9209 2: the last member is the
 * proxy nearest to the client, and only we may speak for ourselves). */
static void relay_headers(struct exchange *ex, struct server_reply *reply, bool skip[static LIMIT_HEADERS])
{
    const struct header_list *list = &ex->response.headers;
    memset(skip, 0, LIMIT_HEADERS * sizeof *skip);
    headers_mark_hop_by_hop(list, skip);
    for (size_t i = 0; i < list->count; i++) {
        struct str name = list->items[i].name;
        if (str_equal_nocase(name, STR("proxy-status")) &&
            memmem(list->items[i].value.p, list->items[i].value.n, "proofproxy", 10) != NULL)
            skip[i] = true;
        if (str_equal_nocase(name, STR("x-request-id"))) {
            size_t n =
                list->items[i].value.n < sizeof ex->request_id ? list->items[i].value.n : sizeof ex->request_id - 1;
            memcpy(ex->request_id, list->items[i].value.p, n);
            ex->request_id[n] = '\0';
        }
    }
    reply->headers = list;
    reply->skip = skip;
}

static void reply_or_fail(struct exchange *ex, const struct server_reply *reply)
{
    enum pp_result rc = server_reply(ex->request, reply);
    if (rc == PP_OK)
        return;
    attempt_drop(ex, false);
    answer_refuse(ex, rc == PP_LIMIT ? REFUSAL_PROTOCOL : REFUSAL_INTERNAL,
                  rc == PP_LIMIT ? "upstream's answer has more header lines than can be handed on" : "");
}

void answer_whole(struct exchange *ex, struct str body)
{
    bool skip[LIMIT_HEADERS];
    struct server_reply reply = {.status = ex->response.status, .body = body, .close = exchange_is_last(ex)};
    timer_stop(ex->worker->loop, &ex->timer);
    mask_leaks(ex, body);
    relay_headers(ex, &reply, skip);
    ex->status = ex->response.status;
    ex->bytes_out = body.n;
    if (ex->admission.head || ex->status == 304) { /* no body, but its length is told if upstream told it */
        reply.stream = true;
        reply.bodiless = true;
        reply.length = ex->response.content_length;
    }
    exchange_enter(ex, EXCHANGE_ANSWERED);
    reply_or_fail(ex, &reply);
}

void answer_stream(struct exchange *ex)
{
    bool skip[LIMIT_HEADERS];
    struct server_reply reply = {
        .status = ex->response.status,
        .stream = true,
        .length = ex->response.framing == RESPONSE_LENGTH ? ex->response.content_length : -1,
        .close = exchange_is_last(ex),
    };
    mask_leaks(ex, streams_guarded(ex) ? buf_str(&ex->answer) : STR_NONE);
    relay_headers(ex, &reply, skip);
    ex->status = ex->response.status;
    reply_or_fail(ex, &reply);
}

ssize_t answer_read(void *exchange, char *into, size_t room)
{
    struct exchange *ex = exchange;
    if (ready(ex) == 0)
        attempt_resume(ex);
    struct str have = {buf_str(&ex->answer).p, ready(ex)};
    if (have.n > 0) {
        size_t n = have.n < room ? have.n : room;
        memcpy(into, have.p, n);
        buf_consume(&ex->answer, n);
        ex->bytes_out += n;
        return (ssize_t)n;
    }
    if (ex->answer_complete) {
        exchange_enter(ex, EXCHANGE_ANSWERED);
        return SERVER_END;
    }
    return ex->broken ? SERVER_CUT : SERVER_LATER;
}

static void upgraded(void *owner, int fd, struct str early)
{
    struct exchange *ex = owner;
    struct tunnel_start start = {
        .worker = ex->worker,
        .environment = ex->environment,
        .settings = ex->settings,
        .client = ex->client,
        .token = ex->token,
        .client_fd = fd,
        .upstream = ex->upstream,
        .from_client = early,
        .from_upstream = buf_str(&ex->answer),
        .path = ex->admission.target.path,
        .request_id = ex->request_id,
    };
    ex->upstream = NULL; /* the tunnel's now, as is its place among max_websockets */
    ex->counted_websocket = false;
    ex->reason = EXCHANGE_UPGRADED;
    tunnel_begin(&start);
}

void answer_upgrade(struct exchange *ex)
{
    bool skip[LIMIT_HEADERS];
    struct server_reply reply = {.status = 101};
    mask_leaks(ex, STR_NONE);
    relay_headers(ex, &reply, skip);
    timer_stop(ex->worker->loop, &ex->timer);
    ex->status = 101;
    enum pp_result rc = server_upgrade(ex->request, &reply, upgraded, ex);
    if (rc != PP_OK) {
        attempt_drop(ex, false);
        exchange_enter(ex, EXCHANGE_ASKING);
        answer_refuse(ex, rc == PP_LIMIT ? REFUSAL_OVERLOADED : REFUSAL_INTERNAL,
                      rc == PP_LIMIT ? "No file descriptor is left for another WebSocket: raise LimitNOFILE." : "");
    }
}

/* --- ours --- */

static void new_request_id(struct exchange *ex)
{
    unsigned char random[8] = {0};
    if (crypto_random(random, sizeof random) != PP_OK)
        return;
    (void)snprintf(ex->request_id, sizeof ex->request_id, "pp-%02x%02x%02x%02x%02x%02x%02x%02x", random[0], random[1],
                   random[2], random[3], random[4], random[5], random[6], random[7]);
}

void answer_refuse(struct exchange *ex, enum refusal refusal, const char *detail)
{
    const struct reply_rule *rule = reply_rule(refusal);
    struct buf body;
    char proxy_status[96];
    timer_stop(ex->worker->loop, &ex->timer);
    attempt_drop(ex, false);
    exchange_enter(ex, EXCHANGE_ANSWERED);
    ex->refusal = refusal;
    ex->reason = EXCHANGE_REFUSED;
    ex->status = rule->status;
    if (refusal < REFUSAL_CONNECT)
        metrics_count(ex->worker->metrics, ex->environment->metrics_index, METRICS_LOCAL_REJECTIONS, refusal, 1);
    new_request_id(ex);
    bool of_body = refusal == REFUSAL_BODY_TOO_LARGE || refusal == REFUSAL_TIMEOUT || refusal == REFUSAL_FRAMING ||
                   (refusal == REFUSAL_OVERLOADED && ex->counted_receiving);
    if (ex->admitted && !ex->body_complete && of_body) {
        /* in the midst of the body: it does not wait for its end */
        server_refuse(ex->request, refusal, exchange_sent(ex), ex->request_id);
        return;
    }
    buf_init(&body, 4096);
    enum pp_result rc = reply_body(&body, refusal, detail, exchange_sent(ex));
    reply_proxy_status(refusal, exchange_sent(ex), proxy_status);
    struct server_reply reply = {
        .status = rule->status,
        .body = buf_str(&body),
        .close = rule->close || ex->admission.in_doubt || exchange_is_last(ex),
        .extra = {{STR("Content-Type"), STR("application/json")},
                  {STR("X-Request-Id"), str_of(ex->request_id)},
                  {STR("Proxy-Status"), str_of(proxy_status)}},
    };
    for (size_t i = 0; rule->lines != NULL && i < REPLY_LINES && rule->lines[i].name != NULL; i++)
        reply.extra[3 + i] = (struct header){str_of(rule->lines[i].name), str_of(rule->lines[i].value)};
    ex->bytes_out = reply.body.n;
    if (rc == PP_OK)
        rc = server_reply(ex->request, &reply);
    buf_free(&body);
    if (rc != PP_OK)
        server_cut(ex->request); /* no memory left even to say so */
}
