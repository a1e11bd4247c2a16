/* The life of one upstream connection: connecting, securing, idle or busy, closed. */
#include "net/upstream_connection.h"

#include "base/crypto.h"
#include "net/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Registered once, for good. Edge-triggered, so that a busy socket costs no epoll_ctl(2) ever again. */
#define CONNECTION_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define READING_EVENTS    (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define END_EVENTS        (EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define WRITING_EVENTS    (EPOLLOUT | EPOLLHUP | EPOLLERR)

/* libcurl's own timeout should speak first, since it knows more. */
#define CONNECT_GRACE 20

/* A TLS read asks the socket for a whole record (16 KiB and more). As long as fewer bytes than this came since the
 * socket was known to be empty, none of those reads was filled, so the last one emptied it. */
#define TLS_SURELY_EMPTY 8192u

#define CONNECTION_OF(member, pointer)                                                                                 \
    ((struct upstream_connection *)(void *)((char *)(pointer)-offsetof(struct upstream_connection, member)))

static void free_connection(struct deferred *d)
{
    free(CONNECTION_OF(free_later, d));
}

void connection_close(struct upstream_connection *c)
{
    if (c->state == CONNECTION_CLOSED)
        return;
    struct loop *loop = c->home->loop;
    connect_cancel(&c->attempt);
    timer_stop(loop, &c->deadline);
    tls_free(&c->tls, !c->broken && !c->peer_ended);
    if (c->watch.fd >= 0) {
        int fd = c->watch.fd;
        loop_forget(loop, &c->watch);
        (void)close(fd);
    }
    c->state = CONNECTION_CLOSED;
    c->user = NULL;
    loop_defer(loop, &c->free_later, free_connection);
}

size_t upstream_connection_cost(bool tls, bool idle)
{
    return sizeof(struct upstream_connection) + (tls ? tls_cost(idle) : 0);
}

/* --- opening --- */

static void open_failed(struct upstream_connection *c, enum upstream_failure why, const char *detail)
{
    c->broken = true;
    connection_close(c);
    c->home->failed(c, why, detail);
}

static void open_done(struct upstream_connection *c)
{
    timer_stop(c->home->loop, &c->deadline);
    c->state = CONNECTION_IDLE;
    c->home->opened(c);
}

static void handshake_step(struct upstream_connection *c)
{
    struct problem why;
    enum pp_result rc = tls_handshake(c->home->tls, c->tls, &why);
    if (rc == PP_AGAIN)
        return;
    if (rc != PP_OK) {
        open_failed(c, rc == PP_END ? UPSTREAM_FAILURE_TLS_CUT : UPSTREAM_FAILURE_TLS, why.text);
        return;
    }
    c->resumed = tls_resumed(c->tls);
    if (tls_has_pending(c->tls) && !connection_is_quiet(c)) { /* takes in tickets, for the next connection */
        open_failed(c, UPSTREAM_FAILURE_TLS_CUT,
                    "the server closed or spoke out of turn right after the TLS handshake");
        return;
    }
    open_done(c);
}

static void out_of_time(struct timer *t)
{
    struct upstream_connection *c = CONNECTION_OF(deadline, t);
    char detail[128];
    (void)snprintf(detail, sizeof detail, "no connection within %lld ms, waiting for %s",
                   (long long)c->home->settings->connect_timeout,
                   c->state == CONNECTION_CONNECTING ? connect_phase(&c->attempt) : "the TLS handshake");
    open_failed(c, UPSTREAM_FAILURE_TIMEOUT, detail);
}

static void deliver(struct upstream_connection *c, bool readable, bool writable)
{
    struct upstream_user *user = c->user;
    if (user == NULL) {
        c->missed_readable |= readable;
        c->missed_writable |= writable;
        return;
    }
    if (readable) {
        c->edge_unread = true;
        user->readable(user);
    }
    /* It may have been given back, or passed on, from in there. */
    if (writable && c->state == CONNECTION_BUSY && c->user == user && c->write_blocked) {
        c->write_blocked = false;
        user->writable(user);
    }
}

static void finish_write_end(struct upstream_connection *c)
{
    c->write_end_pending = tls_shutdown_write(c->tls) == PP_AGAIN;
}

static void connection_ready(struct watch *w, uint32_t events)
{
    struct upstream_connection *c = CONNECTION_OF(watch, w);
    switch (c->state) {
    case CONNECTION_SECURING:
        handshake_step(c);
        break;
    case CONNECTION_IDLE:
        if ((events & END_EVENTS) != 0)
            c->peer_ended = true;
        if ((events & READING_EVENTS) != 0)
            c->home->disturbed(c);
        break;
    case CONNECTION_BUSY: {
        if ((events & END_EVENTS) != 0)
            c->peer_ended = true;
        if (c->write_end_pending && (events & EPOLLOUT) != 0)
            finish_write_end(c);
        bool in = (events & READING_EVENTS) != 0, out = (events & WRITING_EVENTS) != 0;
        deliver(c, in || (out && c->read_wants_write), c->write_blocked && (out || (in && c->write_wants_read)));
        break;
    }
    case CONNECTION_CONNECTING: /* not watched by us yet */
    case CONNECTION_CLOSED:
        break;
    }
}

static void connected(struct connect_attempt *a, int fd)
{
    struct upstream_connection *c = CONNECTION_OF(attempt, a);
    struct connection_home *home = c->home;
    if (loop_watch(home->loop, &c->watch, fd, CONNECTION_EVENTS, connection_ready) != PP_OK) {
        (void)close(fd);
        open_failed(c, UPSTREAM_FAILURE_LOCAL, "the kernel refuses to watch another descriptor (epoll_ctl)");
        return;
    }
    if (home->tls == NULL) {
        open_done(c);
        return;
    }
    c->state = CONNECTION_SECURING;
    msec due = c->deadline.due - CONNECT_GRACE;
    if (tls_new(home->tls, fd, &c->tls) != PP_OK || timer_set(home->loop, &c->deadline, due, out_of_time) != PP_OK) {
        open_failed(c, UPSTREAM_FAILURE_LOCAL, "out of memory for a TLS connection");
        return;
    }
    handshake_step(c);
}

static void connect_failed(struct connect_attempt *a, enum upstream_failure why, const char *detail)
{
    open_failed(CONNECTION_OF(attempt, a), why, detail);
}

enum pp_result connection_open(struct connection_home *home, struct upstream_connection **out)
{
    struct upstream_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return PP_NOMEM;
    c->home = home;
    c->watch.fd = -1;
    c->attempt.opened = connected;
    c->attempt.failed = connect_failed;
    c->jitter = (unsigned char)crypto_jitter(100);
    msec due = clock_now() + home->settings->connect_timeout + CONNECT_GRACE;
    enum pp_result rc = timer_set(home->loop, &c->deadline, due, out_of_time);
    if (rc == PP_OK)
        rc = connector_start(home->connector, &c->attempt);
    if (rc != PP_OK) {
        timer_stop(home->loop, &c->deadline);
        free(c);
        return rc;
    }
    *out = c;
    return PP_OK;
}

/* --- use --- */

static void redeliver(struct deferred *d)
{
    struct upstream_connection *c = CONNECTION_OF(redeliver, d);
    if (c->state != CONNECTION_BUSY || c->user == NULL)
        return;
    bool readable = c->missed_readable, writable = c->missed_writable;
    c->missed_readable = c->missed_writable = false;
    deliver(c, readable, writable);
}

void upstream_set_user(struct upstream_connection *c, struct upstream_user *user)
{
    c->user = user;
    if (user != NULL && (c->missed_readable || c->missed_writable))
        loop_defer(c->home->loop, &c->redeliver, redeliver);
}

static enum pp_result plain_read(struct upstream_connection *c, void *into, size_t room, size_t *done)
{
    ssize_t n;
    do
        n = recv(c->watch.fd, into, room, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    c->more_in_socket = n > 0 && (size_t)n == room;
    if (n > 0) {
        *done = (size_t)n;
        return PP_OK;
    }
    if (n == 0)
        return PP_END;
    return errno == EAGAIN ? PP_AGAIN : PP_BROKEN;
}

enum pp_result upstream_read(struct upstream_connection *c, void *into, size_t room, size_t *done)
{
    enum pp_result rc;
    c->edge_unread = false;
    if (c->tls == NULL) {
        rc = plain_read(c, into, room, done);
    } else {
        c->read_wants_write = false;
        rc = tls_read(c->tls, into, room, done, &c->read_wants_write);
        if (rc == PP_AGAIN)
            c->quiet_at_wire = tls_wire_bytes(c->tls);
    }
    if (rc == PP_END || rc == PP_BROKEN)
        c->peer_ended = true;
    if (rc == PP_BROKEN)
        c->broken = true;
    return rc;
}

static enum pp_result plain_write(struct upstream_connection *c, const void *bytes, size_t n, size_t *done)
{
    ssize_t sent;
    do
        sent = send(c->watch.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *done = (size_t)sent;
        return PP_OK;
    }
    return errno == EAGAIN ? PP_AGAIN : PP_BROKEN;
}

enum pp_result upstream_write(struct upstream_connection *c, const void *bytes, size_t n, size_t *done)
{
    enum pp_result rc;
    if (n == 0) {
        *done = 0;
        return PP_OK;
    }
    if (c->write_ended || c->broken)
        return PP_BROKEN;
    if (c->tls == NULL) {
        rc = plain_write(c, bytes, n, done);
    } else {
        c->write_wants_read = false;
        rc = tls_write(c->tls, bytes, n, done, &c->write_wants_read);
    }
    c->write_blocked = rc == PP_AGAIN;
    if (rc == PP_BROKEN)
        c->broken = true; /* what the other side said before may still be read */
    return rc;
}

void upstream_shutdown_write(struct upstream_connection *c)
{
    if (c->write_ended || c->broken)
        return;
    c->write_ended = true;
    c->write_blocked = false;
    if (c->tls != NULL)
        finish_write_end(c);
    else
        (void)shutdown(c->watch.fd, SHUT_WR); /* fails only where there is nobody left to tell */
}

/* PP_AGAIN: the socket is empty and open. PP_OK: something lies there, and is left there. */
static enum pp_result look_at_socket(struct upstream_connection *c)
{
    char byte;
    ssize_t n;
    do
        n = recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return PP_OK;
    if (n < 0 && errno == EAGAIN)
        return PP_AGAIN;
    c->peer_ended = true;
    return PP_END;
}

bool connection_is_quiet(struct upstream_connection *c)
{
    char byte;
    size_t n;
    if (c->peer_ended)
        return false;
    c->edge_unread = false;
    enum pp_result rc = c->tls != NULL && tls_has_pending(c->tls) ? PP_OK : look_at_socket(c);
    if (rc == PP_AGAIN && c->tls != NULL)
        c->quiet_at_wire = tls_wire_bytes(c->tls);
    else if (rc == PP_OK && c->tls != NULL) /* maybe but a record without data: only reading it tells */
        rc = upstream_read(c, &byte, 1, &n);
    return rc == PP_AGAIN && !c->read_wants_write;
}

bool connection_is_settled(struct upstream_connection *c)
{
    if (c->peer_ended || c->broken || c->write_ended || c->write_blocked)
        return false;
    if (c->edge_unread || c->missed_readable) {
        c->missed_readable = false;
        return connection_is_quiet(c);
    }
    if (c->tls == NULL)
        return !c->more_in_socket || connection_is_quiet(c);
    bool surely = !tls_has_pending(c->tls) && tls_wire_bytes(c->tls) - c->quiet_at_wire < TLS_SURELY_EMPTY;
    return surely || connection_is_quiet(c);
}

bool upstream_is_reused(const struct upstream_connection *c)
{
    return c->used;
}

void upstream_detach(struct upstream_connection *c)
{
    c->detached = true;
}
