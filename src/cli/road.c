/* A blocking walk along the daemon's own road. */
#include "cli/road.h"

#include "base/crypto.h"
#include "http/request.h"
#include "http/wsframe.h"
#include "net/connect.h"
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX (64u * 1024)

/* --- TCP --- */

struct opening {
    struct connect_attempt attempt;
    bool done;
    int fd;
    enum upstream_failure why;
    struct problem problem;
};

static struct opening *opening_of(struct connect_attempt *a)
{
    return (struct opening *)(void *)((char *)a - offsetof(struct opening, attempt));
}

static void opened(struct connect_attempt *a, int fd)
{
    struct opening *o = opening_of(a);
    o->fd = fd;
    o->done = true;
}

static void failed(struct connect_attempt *a, enum upstream_failure why, const char *detail)
{
    struct opening *o = opening_of(a);
    o->why = why;
    (void)problem_set(&o->problem, PP_BROKEN, "%s", detail);
    o->done = true;
}

static msec short_wait(void *owner)
{
    (void)owner;
    return 50; /* so that the deadline is looked at */
}

static void address_text(int fd, int (*name)(int, struct sockaddr *, socklen_t *), bool with_port,
                         char out[static ROAD_ADDRESS_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char text[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (name(fd, (struct sockaddr *)&address, &size) == 0) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&address;
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&address;
        bool six = address.ss_family == AF_INET6;
        (void)inet_ntop(address.ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, text,
                        sizeof text);
        port = ntohs(six ? v6->sin6_port : v4->sin_port);
    }
    if (with_port)
        (void)snprintf(out, ROAD_ADDRESS_SIZE, strchr(text, ':') == NULL ? "%s:%u" : "[%s]:%u", text, port);
    else
        (void)snprintf(out, ROAD_ADDRESS_SIZE, "%s", text);
}

enum pp_result road_connect(const struct environment_config *e, struct road *out, enum upstream_failure *why,
                            struct problem *problem)
{
    struct upstream_settings settings;
    struct opening o = {.fd = -1};
    struct loop_hooks hooks = {.before_wait = short_wait};
    *out = (struct road){.environment = e, .fd = -1};
    *why = UPSTREAM_FAILURE_LOCAL;
    o.attempt.opened = opened;
    o.attempt.failed = failed;
    upstream_settings_of(e, 0, &settings);
    struct loop *loop = loop_new();
    struct connector *connector = loop == NULL ? NULL : connector_new(loop, &settings);
    enum pp_result rc = connector == NULL ? PP_NOMEM : connector_start(connector, &o.attempt);
    if (rc != PP_OK)
        (void)problem_set(problem, rc, "out of memory or descriptors");
    msec deadline = clock_tick() + e->connect_timeout;
    while (rc == PP_OK && !o.done && clock_now() < deadline)
        loop_turn(loop, &hooks);
    if (rc == PP_OK && !o.done) {
        *why = UPSTREAM_FAILURE_TIMEOUT;
        rc = problem_set(problem, PP_BROKEN, "no connection within connect_timeout: the %s takes too long",
                         connect_phase(&o.attempt));
        connect_cancel(&o.attempt);
    } else if (rc == PP_OK && o.fd < 0) {
        *why = o.why;
        *problem = o.problem;
        rc = PP_BROKEN;
    }
    if (connector != NULL)
        connector_free(&connector);
    if (loop != NULL)
        loop_free(loop);
    if (rc != PP_OK)
        return rc;
    out->fd = o.fd;
    address_text(o.fd, getpeername, true, out->peer);
    address_text(o.fd, getsockname, false, out->source);
    return PP_OK;
}

/* --- TLS and bytes --- */

/* PP_OK, or PP_TIMEOUT when the deadline came first. */
static enum pp_result wait_for(const struct road *r, short events, msec deadline)
{
    struct pollfd p = {.fd = r->fd, .events = events};
    for (;;) {
        msec left = deadline - clock_tick();
        if (left <= 0)
            return PP_TIMEOUT;
        int n = poll(&p, 1, (int)(left > 60000 ? 60000 : left));
        if (n > 0)
            return PP_OK;
        if (n < 0 && errno != EINTR)
            return PP_SYSTEM;
    }
}

enum pp_result road_secure(struct road *r, struct upstream_tls *tls, struct problem *problem)
{
    msec deadline = clock_tick() + r->environment->connect_timeout;
    enum pp_result rc = tls_new(tls, r->fd, &r->tls);
    if (rc != PP_OK)
        return problem_set(problem, rc, "out of memory");
    while ((rc = tls_handshake(tls, r->tls, problem)) == PP_AGAIN)
        if (wait_for(r, POLLIN, deadline) != PP_OK)
            return problem_set(problem, PP_TIMEOUT, "the TLS handshake did not end within connect_timeout");
    return rc;
}

static enum pp_result read_some(struct road *r, struct buf *into, msec deadline)
{
    char *at;
    size_t room, done = 0;
    enum pp_result rc = buf_reserve(into, 1, &at, &room);
    if (rc != PP_OK)
        return rc;
    for (;;) {
        bool other_way = false;
        if (r->tls != NULL) {
            rc = tls_read(r->tls, at, room, &done, &other_way);
        } else {
            ssize_t n = recv(r->fd, at, room, 0);
            rc = n > 0 ? PP_OK : n == 0 ? PP_END : errno == EAGAIN || errno == EINTR ? PP_AGAIN : PP_BROKEN;
            done = n > 0 ? (size_t)n : 0;
        }
        if (rc == PP_OK)
            buf_added(into, done);
        if (rc != PP_AGAIN)
            return rc;
        rc = wait_for(r, other_way ? POLLOUT : POLLIN, deadline);
        if (rc != PP_OK)
            return rc;
    }
}

static enum pp_result write_all(struct road *r, struct buf *from, msec deadline)
{
    while (buf_len(from) > 0) {
        struct str left = buf_str(from);
        size_t done = 0;
        bool other_way = false;
        enum pp_result rc;
        if (r->tls != NULL) {
            rc = tls_write(r->tls, left.p, left.n, &done, &other_way);
        } else {
            ssize_t n = send(r->fd, left.p, left.n, MSG_NOSIGNAL);
            rc = n >= 0 ? PP_OK : errno == EAGAIN || errno == EINTR ? PP_AGAIN : PP_BROKEN;
            done = n > 0 ? (size_t)n : 0;
        }
        if (rc == PP_AGAIN)
            rc = wait_for(r, other_way ? POLLIN : POLLOUT, deadline);
        if (rc != PP_OK)
            return rc;
        buf_consume(from, done);
    }
    return PP_OK;
}

/* --- a request --- */

static enum pp_result write_request(struct road *r, const struct road_request *q, struct header_list *headers,
                                    char key[static 32], msec deadline)
{
    const struct base_url *u = &r->environment->base_url;
    unsigned char random[16];
    struct buf out;
    bool ok = headers_add(headers, STR("User-Agent"), STR("proofproxy-command"));
    ok = ok && headers_add(headers, STR("Accept"), STR("application/json"));
    if (q->websocket) {
        if (crypto_random(random, sizeof random) != PP_OK)
            return PP_SYSTEM;
        crypto_base64(random, sizeof random, key);
        ok = ok && headers_add(headers, STR("Connection"), STR("Upgrade")) &&
             headers_add(headers, STR("Upgrade"), STR("websocket")) &&
             headers_add(headers, STR("Sec-WebSocket-Version"), STR("13")) &&
             headers_add(headers, STR("Sec-WebSocket-Key"), str_of(key));
    }
    if (!ok)
        return PP_LIMIT;
    struct request_head head = {.method = STR("GET"),
                                .target = str_of(q->path),
                                .prefix = str_of(u->prefix),
                                .host = str_of(u->authority),
                                .origin = str_of(r->environment->origin),
                                .authorization = q->authorization,
                                .headers = headers,
                                .framing = BODY_NONE,
                                .websocket = q->websocket};
    buf_init(&out, LIMIT_REQUEST_HEAD + LIMIT_TOKEN_LENGTH);
    enum pp_result rc = request_write_head(&out, &head);
    if (rc == PP_OK)
        rc = write_all(r, &out, deadline);
    buf_wipe(&out);
    return rc;
}

/* The final head, interim ones skipped. */
static enum pp_result read_head(struct road *r, struct road_answer *a, msec deadline, const char **what)
{
    size_t consumed;
    for (unsigned interim = 0; interim <= LIMIT_INTERIM_RESPONSES;) {
        enum pp_result rc =
            buf_len(&a->raw) == 0 ? PP_AGAIN : response_parse_head(buf_str(&a->raw), false, &a->head, &consumed, what);
        if (rc == PP_AGAIN) {
            rc = read_some(r, &a->raw, deadline);
            if (rc == PP_OK)
                continue;
            *what = rc == PP_TIMEOUT ? "no answer within request_timeout" : "the connection ended before an answer";
            return rc == PP_END ? PP_BROKEN : rc;
        }
        if (rc != PP_OK)
            return rc;
        if (a->head.status >= 200 || a->head.status == 101) {
            struct str rest = buf_str(&a->raw);
            rest.p += consumed;
            rest.n -= consumed;
            return buf_append_str(&a->body, rest); /* raw bytes behind the head, decoded by read_body */
        }
        buf_consume(&a->raw, consumed);
        interim++;
    }
    *what = "too many interim answers";
    return PP_INVALID;
}

/* Decodes what came and what still comes. A body cut short is no failure: what is looked for stands at its front. */
static void read_body(struct road *r, struct road_answer *a, msec deadline)
{
    struct body_reader reader;
    struct buf raw = a->body, decoded;
    enum pp_result rc = PP_AGAIN;
    buf_init(&decoded, ANSWER_MAX);
    body_reader_init(&reader, a->head.framing, a->head.content_length);
    do {
        struct str in = buf_str(&raw), data;
        size_t had = in.n;
        while ((rc = body_reader_next(&reader, &in, &data)) == PP_OK || rc == PP_END || rc == PP_AGAIN) {
            buf_append_str(&decoded, data);
            if (rc != PP_OK || in.n == 0)
                break;
        }
        buf_consume(&raw, had - in.n);
    } while ((rc == PP_AGAIN || rc == PP_OK) && !decoded.failed && read_some(r, &raw, deadline) == PP_OK);
    buf_free(&raw);
    a->body = decoded;
}

enum pp_result road_ask(struct road *r, const struct road_request *request, struct road_answer *out,
                        struct problem *problem)
{
    msec deadline = clock_tick() + r->environment->request_timeout;
    struct header_list headers = {0};
    char key[32];
    const char *what = "the connection broke while the request was sent";
    int64_t began = clock_usec();
    *out = (struct road_answer){0};
    buf_init(&out->raw, LIMIT_RESPONSE_HEAD + 16384);
    buf_init(&out->body, ANSWER_MAX);
    enum pp_result rc = write_request(r, request, &headers, key, deadline);
    if (rc == PP_OK)
        rc = read_head(r, out, deadline, &what);
    if (rc != PP_OK) {
        road_answer_free(out);
        return problem_set(problem, rc, "%s", what);
    }
    out->usec = clock_usec() - began;
    if (request->websocket && out->head.status == 101)
        out->upgraded = wsframe_check_101(&out->head, &headers, &out->upgrade_fault) == PP_OK;
    else
        read_body(r, out, deadline);
    return PP_OK;
}

void road_answer_free(struct road_answer *a)
{
    buf_free(&a->raw);
    buf_free(&a->body);
}

void road_answer_code(const struct road_answer *a, char out[static 64])
{
    struct str body = buf_str(&a->body);
    json_t *root = json_loadb(body.n == 0 ? "" : body.p, body.n, 0, NULL);
    const char *code = json_string_value(json_object_get(root, "code"));
    (void)snprintf(out, 64, "%s", code == NULL ? "" : code);
    for (char *p = out; *p != '\0'; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    json_decref(root);
}

void road_close(struct road *r)
{
    if (r->tls != NULL)
        tls_free(&r->tls, true);
    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
}
