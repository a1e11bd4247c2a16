/* The life of one probe: connection, request, answer, result. */
#include "proxy/probe.h"

#include "base/crypto.h"
#include "http/request.h"
#include "http/response.h"

#include <stdio.h>
#include <stdlib.h>

#define PROBE_BODY_MOST (64u * 1024) /* a longer answer costs the connection, not the result */

struct probe {
    struct loop *loop;
    struct upstream_pool *pool;
    struct token *token;
    probe_done done;
    void *owner;
    struct upstream_waiter waiter;
    struct upstream_user user;
    struct upstream_connection *upstream; /* NULL: none yet, or given back */
    struct timer deadline;
    struct deferred end;
    char *out; /* the request, in secret memory: it waits there for the answer, to be sent once more */
    size_t size, written;
    struct buf in;
    bool repeated; /* a used connection was dead, this is a fresh one */
    bool got_bytes;
    bool ended, cancelled;
    int status;
    unsigned interim; /* 1xx answers so far */
    struct response_head head;
    struct body_reader body;
    msec keep_alive;
    size_t body_bytes;
    msec sent, arrived;
    int64_t started;
    const char *failure;
    char detail[160];
};

static void begin(struct probe *p, bool fresh);

static void drop_connection(struct probe *p, bool reusable)
{
    if (p->upstream == NULL)
        return;
    upstream_set_user(p->upstream, NULL);
    upstream_release(p->upstream, reusable, p->keep_alive);
    p->upstream = NULL;
}

static void free_probe(struct deferred *d)
{
    struct probe *p = (struct probe *)((char *)d - offsetof(struct probe, end));
    if (!p->cancelled) {
        struct probe_result result = {.status = p->status,
                                      .failure = p->status != 0 ? "" : p->failure,
                                      .detail = p->detail,
                                      .sent = p->sent,
                                      .arrived = p->arrived,
                                      .usec = clock_usec() - p->started};
        p->done(p->owner, &result);
    }
    secret_free(p->out, p->size);
    buf_free(&p->in);
    token_unref(&p->token);
    free(p);
}

/* The result is told at the end of the turn: from here on nothing happens to the probe any more. */
static void end(struct probe *p, const char *failure, const char *detail, bool reusable)
{
    if (p->ended)
        return;
    p->ended = true;
    p->failure = failure;
    (void)snprintf(p->detail, sizeof p->detail, "%s", detail);
    timer_stop(p->loop, &p->deadline);
    upstream_cancel(&p->waiter);
    drop_connection(p, reusable);
    loop_defer(p->loop, &p->end, free_probe);
}

static void broken(struct probe *p, const char *detail)
{
    if (upstream_is_reused(p->upstream) && !p->got_bytes && !p->repeated) {
        drop_connection(p, false);
        p->repeated = true;
        begin(p, true);
        return;
    }
    end(p, "broken", detail, false);
}

/* --- the answer --- */

/* The final head, once it is whole. */
static enum pp_result read_head(struct probe *p, const char **what)
{
    for (; p->interim <= LIMIT_INTERIM_RESPONSES; p->interim++) {
        size_t consumed;
        enum pp_result rc = response_parse_head(buf_str(&p->in), false, &p->head, &consumed, what);
        if (rc != PP_OK)
            return rc;
        struct str timeout = p->head.keep_alive_timeout;
        p->keep_alive = 0;
        for (size_t i = 0; i < timeout.n && i < 6; i++)
            p->keep_alive = p->keep_alive * 10 + (timeout.p[i] - '0') * 1000;
        buf_consume(&p->in, consumed);
        if (p->head.status == 101)
            break;
        if (p->head.status >= 200) {
            p->status = p->head.status;
            p->arrived = clock_now();
            body_reader_init(&p->body, p->head.framing, p->head.content_length);
            return PP_OK;
        }
    }
    *what = "interim answers without end, or a change of protocol nobody asked for";
    return PP_INVALID;
}

/* PP_END when the answer is complete. */
static enum pp_result read_body(struct probe *p)
{
    struct str in = buf_str(&p->in), data;
    enum pp_result rc;
    do {
        rc = body_reader_next(&p->body, &in, &data);
        p->body_bytes += data.n;
    } while (rc == PP_OK && in.n > 0 && p->body_bytes <= PROBE_BODY_MOST);
    buf_consume(&p->in, buf_len(&p->in) - in.n);
    return p->body_bytes > PROBE_BODY_MOST ? PP_LIMIT : rc;
}

/* True when the probe has ended. */
static bool take_input(struct probe *p)
{
    const char *what = "";
    enum pp_result rc = PP_OK;
    if (p->status == 0)
        rc = read_head(p, &what);
    if (rc == PP_AGAIN)
        return false;
    if (rc != PP_OK) {
        end(p, "protocol", what, false);
        return true;
    }
    rc = read_body(p);
    if (rc == PP_OK || rc == PP_AGAIN)
        return false;
    end(p, "", "", rc == PP_END && p->head.keep_alive && buf_len(&p->in) == 0);
    return true;
}

static void on_readable(struct upstream_user *u)
{
    struct probe *p = (struct probe *)((char *)u - offsetof(struct probe, user));
    for (;;) {
        char *at;
        size_t room, done = 0;
        if (buf_reserve(&p->in, 1, &at, &room) != PP_OK) {
            end(p, "protocol", "an answer larger than expected", false);
            return;
        }
        enum pp_result rc = upstream_read(p->upstream, at, room, &done);
        if (rc == PP_AGAIN)
            return;
        if (rc != PP_OK) {
            if (p->status != 0)
                end(p, "", "", false);
            else
                broken(p, rc == PP_END ? "closed before an answer" : "reset before an answer");
            return;
        }
        p->got_bytes = true;
        buf_added(&p->in, done);
        if (take_input(p))
            return;
    }
}

/* --- the request --- */

static void on_writable(struct upstream_user *u)
{
    struct probe *p = (struct probe *)((char *)u - offsetof(struct probe, user));
    while (p->written < p->size) {
        size_t done = 0;
        enum pp_result rc = upstream_write(p->upstream, p->out + p->written, p->size - p->written, &done);
        if (rc == PP_AGAIN)
            return;
        if (rc != PP_OK) {
            broken(p, "reset while the request was written");
            return;
        }
        p->written += done;
    }
}

static void use_connection(struct probe *p, struct upstream_connection *c)
{
    p->upstream = c;
    p->written = 0;
    p->got_bytes = false;
    p->interim = 0;
    p->sent = clock_now();
    p->user = (struct upstream_user){.readable = on_readable, .writable = on_writable};
    upstream_set_user(c, &p->user);
    on_writable(&p->user);
}

static void on_ready(struct upstream_waiter *w, struct upstream_connection *c)
{
    use_connection((struct probe *)((char *)w - offsetof(struct probe, waiter)), c);
}

static void on_failed(struct upstream_waiter *w, enum upstream_failure why, const char *detail)
{
    static const char *const names[] = {"", "dns", "connect", "tls", "tls", "timeout", "local"};
    end((struct probe *)((char *)w - offsetof(struct probe, waiter)), names[why], detail, false);
}

static void on_deadline(struct timer *t)
{
    end((struct probe *)((char *)t - offsetof(struct probe, deadline)), "timeout", "no answer in time", false);
}

static void begin(struct probe *p, bool fresh)
{
    p->waiter = (struct upstream_waiter){.ready = on_ready, .failed = on_failed};
    struct upstream_connection *c = upstream_acquire(p->pool, &p->waiter, fresh);
    if (c != NULL)
        use_connection(p, c);
}

static enum pp_result write_request(struct probe *p, const struct probe_question *question)
{
    static const struct header_list headers = {
        .count = 2, .items = {{{"User-Agent", 10}, {"proofproxy-probe", 16}}, {{"Accept", 6}, {"*/*", 3}}}};
    const struct request_head head = {.method = STR("GET"),
                                      .target = STR(PROBE_TARGET),
                                      .prefix = question->prefix,
                                      .host = question->host,
                                      .origin = question->origin,
                                      .authorization = token_authorization(p->token),
                                      .headers = &headers,
                                      .framing = BODY_NONE};
    struct buf out;
    buf_init(&out, LIMIT_REQUEST_HEAD);
    enum pp_result rc = request_write_head(&out, &head);
    p->out = rc == PP_OK ? secret_alloc(buf_len(&out)) : NULL;
    if (p->out != NULL) {
        p->size = buf_len(&out);
        memcpy(p->out, buf_str(&out).p, p->size);
    } else if (rc == PP_OK) {
        rc = PP_NOMEM;
    }
    buf_wipe(&out);
    return rc;
}

struct probe *probe_start(struct loop *loop, struct upstream_pool *pool, const struct probe_question *question,
                          probe_done done, void *owner)
{
    struct probe *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (struct probe){.loop = loop, .pool = pool, .done = done, .owner = owner, .failure = ""};
    p->started = clock_usec();
    p->sent = p->arrived = clock_now();
    p->token = token_ref(question->token);
    buf_init(&p->in, LIMIT_RESPONSE_HEAD + PROBE_BODY_MOST);
    if (write_request(p, question) != PP_OK ||
        timer_set(loop, &p->deadline, clock_now() + question->timeout, on_deadline) != PP_OK) {
        secret_free(p->out, p->size);
        token_unref(&p->token);
        free(p);
        return NULL;
    }
    begin(p, false);
    return p;
}

void probe_cancel(struct probe *p)
{
    p->cancelled = true;
    end(p, "", "", false);
}
