/* Clients' connections and requests by libmicrohttpd, in external epoll mode on the worker's loop. */
#include "net/server_private.h"

#include "base/limits.h"
#include "base/log.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_RUNS_PER_TURN  4 /* of libmicrohttpd, before the loop's other work gets its turn */
#define SERVER_SPARE_REQUESTS 64u

/* --- requests --- */

static struct server_request *request_new(struct server *s)
{
    struct server_request *r = s->spare;
    if (r != NULL) {
        s->spare = r->next_spare;
        s->spare_count--;
        memset(r, 0, offsetof(struct server_request, short_target));
        r->headers.count = 0;
        return r;
    }
    return calloc(1, sizeof *r);
}

static void request_free(struct server *s, struct server_request *r)
{
    if (r->pending != NULL)
        MHD_destroy_response(r->pending);
    if (r->tunnel_fd > 0) /* it went before it was upgraded */
        (void)close(r->tunnel_fd);
    if (r->target.p != r->short_target)
        free((void *)(uintptr_t)r->target.p);
    if (s->spare_count < SERVER_SPARE_REQUESTS) {
        r->next_spare = s->spare;
        s->spare = r;
        s->spare_count++;
        return;
    }
    free(r);
}

static struct server_connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* The request line was parsed; `uri` is the raw target, about to be decoded in place elsewhere. */
static void *request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct server_connection *c = connection_of(mhd);
    (void)cls;
    if (c == NULL || c->request != NULL)
        return NULL;
    struct server_request *r = request_new(c->server);
    if (r == NULL)
        return NULL;
    r->connection = c;
    r->line_round = c->server->round;
    r->started_usec = clock_usec();
    r->raw = uri == NULL ? "" : uri;
    r->raw_length = strlen(r->raw);
    size_t n =
        r->raw_length <= LIMIT_TARGET ? r->raw_length : LIMIT_TARGET + 1; /* enough to be refused for its length */
    char *copy = n <= sizeof r->short_target ? r->short_target : malloc(n);
    if (copy == NULL) {
        request_free(c->server, r);
        return NULL;
    }
    memcpy(copy, r->raw, n);
    r->target = (struct str){copy, n};
    c->request = r;
    if (c->phase != PHASE_HEAD)
        connection_expect(c, PHASE_HEAD, c->timeouts.header);
    return r;
}

struct head_scan {
    struct server_request *request;
    const char *expected; /* where the next line must begin for the head to be exact */
    size_t cookie_bytes;
    bool exact, full;
};

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                   const char *value, size_t value_size)
{
    struct head_scan *scan = cls;
    (void)kind;
    if (name == NULL)
        return MHD_YES;
    struct str v = {value, value == NULL ? 0 : value_size};
    if (name != scan->expected || value == NULL) {
        scan->exact = false;
    } else {
        const char *p = name + name_size + 1; /* past the colon, which was made a NUL */
        while (p < value && (*p == ' ' || *p == '\t'))
            p++;
        if (p != value || value[value_size + 1] != '\0')
            scan->exact = false;
        scan->expected = value + value_size + 2; /* past CR and LF, which were made NULs */
    }
    if (name_size == 6 && strncasecmp(name, "cookie", 6) == 0)
        scan->cookie_bytes += value_size + SERVER_HEADER_RECORD;
    /* Not trimmed: a blank left behind `Transfer-Encoding: chunked` is why libmicrohttpd did not take it for one. */
    if (!headers_add(&scan->request->headers, (struct str){name, name_size}, v))
        scan->full = true;
    return MHD_YES;
}

/* libmicrohttpd 0.9.75 parses in place and alters heads silently: it ends values at a NUL, glues folded lines to the
 * header's name, takes bare LF and runs of blanks. Each such step leaves a gap: in an exactly understood head, method,
 * target, version and every line follow each other at the distance HTTP/1.1 prescribes, up to the head's very end. Only
 * pointers that the library hands out are compared; a library that lays them out otherwise makes every head inexact, so
 * that the tests fail and nothing slips through. */
static bool scan_head(struct MHD_Connection *mhd, struct server_request *r, const char *method, const char *version,
                      struct server_head *head)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct head_scan scan = {.request = r, .expected = version + strlen(version) + 2, .exact = true};
    size_t size = info == NULL ? 0 : info->header_size;
    scan.exact =
        r->raw == method + strlen(method) + 1 && version == r->raw + r->raw_length + 1 && scan.expected[-1] == '\0';
    (void)MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, take_header, &scan);
    if (scan.expected + 2 != method + size || scan.expected[0] != '\0' || scan.expected[1] != '\0')
        scan.exact = false;

    size_t arguments = 0;
    for (size_t i = 0; i < r->target.n; i++)
        arguments += r->target.p[i] == '&' || r->target.p[i] == '?';
    r->head_bytes = size + (r->headers.count + arguments) * SERVER_HEADER_RECORD + scan.cookie_bytes * 2;
    head->too_large = scan.full || size > LIMIT_REQUEST_HEAD;
    return scan.exact;
}

static enum MHD_Result first_call(struct MHD_Connection *mhd, struct server_request *r, const char *method,
                                  const char *version)
{
    struct server_connection *c = r->connection;
    struct server_head head = {.method = str_of(method), .version = str_of(version)};
    r->begun = true;
    head.exact = scan_head(mhd, r, method, version, &head);
    head.target = r->target;
    head.headers = &r->headers;
    head.started_usec = r->started_usec;
    head.body_follows = head.too_large || headers_count(&r->headers, STR("transfer-encoding")) > 0;
    const struct header *length = headers_find(&r->headers, STR("content-length"), 0);
    if (length != NULL && !str_equal(length->value, STR("0")))
        head.body_follows = true;
    connection_expect(c, PHASE_BODY, c->timeouts.body);
    r->exchange = c->server->handlers.begin(r, &head);
    if (r->exchange == NULL)
        return MHD_NO;
    if (r->pending != NULL && head.body_follows) { /* refused before its body: answer now, take nothing of it, close */
        enum MHD_Result queued = MHD_queue_response(mhd, r->status, r->pending);
        return queued;
    }
    return MHD_YES; /* without a body the last call follows at once; an answer queued here would cost the connection */
}

static enum MHD_Result last_call(struct MHD_Connection *mhd, struct server_request *r)
{
    struct server_connection *c = r->connection;
    if (!r->complete) {
        r->complete = true;
        if (!r->answered)
            connection_expect(c, PHASE_WAIT, 0);
        if (!r->answered)
            c->server->handlers.complete(r->exchange);
        if (r->cut)
            return MHD_NO;
    }
    if (r->pending != NULL) {
        connection_expect(c, PHASE_REPLY, c->timeouts.idle);
        return MHD_queue_response(mhd, r->status, r->pending);
    }
    park_soon(c); /* suspended here and now, it would be read once more, in vain, before its answer goes out */
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request)
{
    struct server_request *r = *request;
    (void)cls;
    (void)url;
    if (r == NULL || r->cut)
        return MHD_NO;
    if (!r->begun)
        return first_call(mhd, r, method, version);
    if (*upload_size > 0) {
        struct str bytes = {upload, *upload_size};
        *upload_size = 0;
        if (!r->answered)
            r->connection->server->handlers.body(r->exchange, bytes);
        return r->cut ? MHD_NO : MHD_YES;
    }
    if (r->connection->phase == PHASE_LINGER)
        return MHD_NO; /* refused and read to the end: close */
    return last_call(mhd, r);
}

/* libmicrohttpd is about to answer a malformed request by itself: in plain text, and twice over for a bad
 * Content-Length. Its log line is the only notice given, and does not say whose request it is; where just one client
 * can be meant, that one gets our own answer instead, and the other goes nowhere. */
static void on_log(void *cls, const char *format, va_list args)
{
    struct server *s = cls;
    if (strncmp(format, "Error processing request", 24) != 0)
        return;
    unsigned status = va_arg(args, unsigned);
    struct server_connection *c = server_at_fault(s);
    if (c == NULL)
        return;
    if (connection_body_awaited(c)) {
        s->handlers.malformed(c->request->exchange);
        return;
    }
    connection_turn_away(c->watch.fd, &c->end,
                         status == 413   ? REFUSAL_BODY_TOO_LARGE
                         : status == 414 ? REFUSAL_TARGET_TOO_LONG
                         : status == 431 ? REFUSAL_HEADERS_TOO_LARGE
                         : status == 505 ? REFUSAL_VERSION
                                         : REFUSAL_FRAMING);
    connection_end_after_refusal(c);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **request, enum MHD_RequestTerminationCode why)
{
    struct server_request *r = *request;
    (void)cls;
    (void)mhd;
    if (r == NULL)
        return;
    struct server_connection *c = r->connection;
    *request = NULL;
    c->request = NULL;
    if (r->exchange != NULL)
        c->server->handlers.finished(r->exchange, why == MHD_REQUEST_TERMINATED_COMPLETED_OK && r->answered && !r->cut);
    request_free(c->server, r);
    c->uploading = false;
    connection_expect(c, PHASE_IDLE, c->timeouts.idle);
    c->heard = false;
    c->told_turn = 0;
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        c->server->ready = true; /* the connection ends, but only libmicrohttpd's next run closes it */
    else if (c->watch.fd >= 0)   /* not upgraded */
        park_soon(c);
    if (c->server->draining)
        connection_end_reading(c);
}

/* --- connections --- */

/* Its manual names the access handler as the only safe place. What makes others unsafe is its own loop being in the
 * midst of a list; on one thread, between two runs, nothing is (so it says of internal_suspend_connection_). */
void connection_suspend(struct server_connection *c)
{
    MHD_suspend_connection(c->mhd);
}

void connection_resume(struct server_connection *c)
{
    MHD_resume_connection(c->mhd);
    c->server->ready = true;
}

static void connection_close(struct server *s, struct server_connection *c)
{
    void *context = c->context;
    struct server_end end = c->end;
    park_forget(c);
    server_unlink(s, c);
    free(c);
    s->handlers.closed(context, &end);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *s = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = s->adding;
        s->adding->mhd = mhd;
        s->adding->memory = slot_taken_last(); /* just now, for it */
        return;
    }
    struct server_connection *c = *context;
    /* A request line it can make nothing of libmicrohttpd closes without a word, and by now the way out is shut. */
    if (c->phase == PHASE_HEAD && c->request == NULL && c->end.refused == REFUSAL_NONE && !c->client_ended &&
        (c->heard || connection_is_open(c)))
        c->end.refused = REFUSAL_FRAMING;
    if (c == s->adding)
        s->adding = NULL;
    loop_unwatch(s->loop, &c->watch);
    timer_stop(s->loop, &c->timer);
    connection_close(s, c);
}

void server_add(struct server *s, int fd, bool unix_socket, const struct server_timeouts *timeouts,
                struct server_group *group, void *context)
{
    bool room = !server_is_full(s) || server_make_room(s);
    struct server_connection *c = room ? calloc(1, sizeof *c) : NULL;
    if (c == NULL || s->draining) {
        struct server_end end = {0};
        connection_turn_away(fd, &end, s->draining ? REFUSAL_DRAINING : REFUSAL_OVERLOADED);
        free(c);
        close(fd);
        s->handlers.closed(context, &end);
        return;
    }
    c->server = s;
    c->unix_socket = unix_socket;
    c->timeouts = *timeouts;
    c->context = context;
    c->group = group;
    s->added_turn = loop_turns(s->loop);
    c->queued = QUEUE_NONE;
    c->readable_round = s->round; /* its first bytes may be there already */
    server_link(s, c);
    if (park_watch(c, fd) != PP_OK) {
        close(fd);
        connection_close(s, c);
        return;
    }
    connection_expect(c, PHASE_HEAD, timeouts->header);
    /* The address is not used: who the peer is was asked before. A failure closes the descriptor, and is told by
     * MHD_CONNECTION_NOTIFY_CLOSED only if the connection had got so far. */
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    s->adding = c;
    if (MHD_add_connection(s->mhd, fd, (struct sockaddr *)&address, sizeof(sa_family_t)) != MHD_YES &&
        s->adding != NULL) {
        loop_forget(s->loop, &c->watch);
        timer_stop(s->loop, &c->timer);
        connection_close(s, c);
    }
    s->adding = NULL;
    s->ready = true;
}

/* --- answers --- */

static ssize_t read_stream(void *cls, uint64_t at, char *into, size_t room)
{
    struct server_request *r = cls;
    struct server_connection *c = r->connection;
    (void)at;
    if (r->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    connection_expect(c, PHASE_REPLY, c->timeouts.idle);
    ssize_t n = c->server->handlers.read(r->exchange, into, room);
    if (n > 0)
        return n;
    if (n == SERVER_LATER && !r->cut) {
        connection_expect(c, PHASE_WAIT, 0); /* it is not the client that is waited for */
        connection_suspend(c);
        r->suspended = true;
        if (c->client_ended)
            connection_check_client(c);
        return 0;
    }
    return n == SERVER_END ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* One header line of an answer. libmicrohttpd takes no empty value; a blank one reads the same (RFC 9110 5.5). */
static bool add_line(struct MHD_Response *response, struct str name, struct str value, size_t *bytes)
{
    char text[LIMIT_RESPONSE_HEAD + 2];
    if (name.n + value.n + 2 >= sizeof text)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    char *v = text + name.n + 1;
    memcpy(v, value.n == 0 ? " " : value.p, value.n == 0 ? 1 : value.n);
    v[value.n == 0 ? 1 : value.n] = '\0';
    *bytes += name.n + value.n + 4;
    return MHD_add_response_header(response, text, v) == MHD_YES;
}

static enum pp_result add_lines(struct MHD_Response *response, const struct server_request *r,
                                const struct server_reply *reply)
{
    size_t bytes = 256; /* status line, Date, Connection, framing */
    bool fine = true;
    for (size_t i = 0; reply->headers != NULL && i < reply->headers->count && fine; i++) {
        const struct header *h = &reply->headers->items[i];
        if ((reply->skip == NULL || !reply->skip[i]) && !str_equal_nocase(h->name, STR("content-length")))
            fine = add_line(response, h->name, h->value, &bytes);
    }
    for (size_t i = 0; i < SERVER_EXTRA && reply->extra[i].name.n > 0 && fine; i++)
        fine = add_line(response, reply->extra[i].name, reply->extra[i].value, &bytes);
    if (fine && (reply->close || r->connection->server->draining))
        fine = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    if (!fine)
        return PP_NOMEM;
    /* Beyond its memory libmicrohttpd closes without a word: refuse while there is still something to say. */
    return bytes + r->head_bytes + SERVER_HEADER_RECORD > SERVER_CONNECTION_MEMORY ? PP_LIMIT : PP_OK;
}

static void answer(struct server_request *r)
{
    r->answered = true;
    if (r->suspended) {
        r->suspended = false;
        connection_resume(r->connection); /* the last call comes again and queues it */
    }
}

enum pp_result server_reply(struct server_request *r, const struct server_reply *reply)
{
    struct MHD_Response *response;
    bool no_body = reply->status == 204 || reply->status == 304; /* and HEAD, which libmicrohttpd knows */
    if (reply->stream || (no_body && reply->status == 304))
        response = MHD_create_response_from_callback(reply->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)reply->length,
                                                     SERVER_STREAM_BLOCK, read_stream, r, NULL);
    else
        response =
            MHD_create_response_from_buffer(reply->body.n, (void *)(uintptr_t)reply->body.p, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return PP_NOMEM;
    enum pp_result rc = add_lines(response, r, reply);
    /* Of a bodiless answer without a length libmicrohttpd would make a chunked one, its last chunk included. */
    if (rc == PP_OK && reply->bodiless && reply->length < 0 &&
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END) != MHD_YES)
        rc = PP_NOMEM;
    if (rc != PP_OK) {
        MHD_destroy_response(response);
        return rc;
    }
    r->pending = response;
    r->status = (unsigned)reply->status;
    answer(r);
    return PP_OK;
}

void server_wake(struct server_request *r)
{
    if (!r->suspended || r->cut)
        return;
    r->suspended = false;
    connection_resume(r->connection);
}

void server_cut(struct server_request *r)
{
    if (r->cut)
        return;
    r->cut = true;
    (void)shutdown(r->connection->watch.fd, SHUT_RDWR);
    r->connection->server->ready = true;
    if (r->suspended) {
        r->suspended = false;
        connection_resume(r->connection);
    }
}

static void on_upgrade(void *cls, struct MHD_Connection *mhd, void *request, const char *early, size_t early_size,
                       MHD_socket socket, struct MHD_UpgradeResponseHandle *handle)
{
    struct server_request *r = cls;
    struct server_connection *c = r->connection;
    int fd = r->tunnel_fd;
    (void)mhd, (void)request, (void)socket;
    loop_unwatch(c->server->loop, &c->watch);
    r->tunnel_fd = 0; /* the tunnel's now */
    r->upgraded(r->upgrade_owner, fd, (struct str){early, early_size});
    (void)MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    c->server->ready = true;
}

enum pp_result server_upgrade(struct server_request *r, const struct server_reply *reply,
                              void (*upgraded)(void *owner, int fd, struct str early), void *owner)
{
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, r);
    if (response == NULL)
        return PP_NOMEM;
    enum pp_result rc = add_lines(response, r, reply);
    /* libmicrohttpd closes its own descriptor; ours lives on without it. Before 101 is said, for there may be none. */
    if (rc == PP_OK && (r->tunnel_fd = fcntl(r->connection->watch.fd, F_DUPFD_CLOEXEC, 3)) < 0)
        rc = PP_LIMIT;
    if (rc == PP_OK && MHD_add_response_header(response, "Upgrade", "websocket") != MHD_YES)
        rc = PP_NOMEM;
    if (rc != PP_OK) {
        MHD_destroy_response(response);
        return rc;
    }
    r->upgraded = upgraded;
    r->upgrade_owner = owner;
    r->pending = response;
    r->status = MHD_HTTP_SWITCHING_PROTOCOLS;
    answer(r);
    return PP_OK;
}

/* --- the server --- */

static void mhd_ready(struct watch *w, uint32_t events)
{
    struct server *s = (struct server *)((char *)w - offsetof(struct server, mhd_watch));
    (void)events;
    s->ready = true;
}

msec server_before_wait(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG wait;
    if (s->ready)
        return 0;
    return MHD_get_timeout(s->mhd, &wait) == MHD_YES ? (msec)wait : -1;
}

void server_turn(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG wait = 1;
    /* Its own events are edge-triggered inside ours: what it has pending shows only when asked. Clients that send all
     * the time would keep it busy for ever; what is left then, server_before_wait finds. */
    int runs = 0;
    for (; runs < SERVER_RUNS_PER_TURN; runs++) {
        if (!s->ready && (MHD_get_timeout(s->mhd, &wait) != MHD_YES || wait != 0))
            break;
        s->ready = false;
        wait = 1;
        (void)MHD_run(s->mhd);
        park_all(s);
        if (s->ready)
            break; /* resumed within this turn: next turn, so that others get theirs */
    }
    s->round += runs < SERVER_RUNS_PER_TURN;
}

static void on_panic(void *cls, const char *file, unsigned line, const char *reason)
{
    (void)cls;
    (void)file;
    log_error("server", NULL, "libmicrohttpd gave up at its line %u: %s", line,
              reason == NULL ? "no reason given" : reason);
    abort();
}

struct server *server_new(struct loop *loop, const struct server_limits *limits, const struct server_handlers *handlers)
{
    struct server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->loop = loop;
    s->limits = *limits;
    s->round = 1;
    s->handlers = *handlers;
    s->mhd_watch.fd = -1;
    MHD_set_panic_func(on_panic, NULL);
    s->mhd = MHD_start_daemon(
        MHD_USE_ERROR_LOG | MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE, 0,
        NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, s, MHD_OPTION_CONNECTION_LIMIT,
        limits->connections + SERVER_LEAVING_AT_ONCE, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)SERVER_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_URI_LOG_CALLBACK, request_line, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = s->mhd == NULL ? NULL : MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || loop_watch(loop, &s->mhd_watch, info->epoll_fd, EPOLLIN, mhd_ready) != PP_OK) {
        server_free(s);
        return NULL;
    }
    return s;
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    for (struct server_connection *c = s->connections; c != NULL; c = c->next) {
        if (c->request != NULL)
            server_cut(c->request); /* MHD_stop_daemon aborts the process when a connection is suspended */
        else
            (void)shutdown(c->watch.fd, SHUT_RDWR);
    }
    if (s->mhd != NULL) {
        park_none(s);
        (void)MHD_run(s->mhd);
        loop_unwatch(s->loop, &s->mhd_watch);
        MHD_stop_daemon(s->mhd);
    }
    timer_stop(s->loop, &s->calm);
    for (struct server_request *r; (r = s->spare) != NULL; free(r))
        s->spare = r->next_spare;
    free(s);
}

const char *server_library_version(void)
{
    return MHD_get_version();
}
