/* A tunnel's bytes both ways, with back-pressure: what one side does not take stops the reading of the other. */
#include "proxy/tunnel_state.h"

#include "net/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* --- the two ends --- */

static enum pp_result client_read(struct tunnel *t, char *into, size_t room, size_t *done)
{
    ssize_t n;
    do
        n = recv(t->watch.fd, into, room, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        /* A read that was not filled has emptied the socket (epoll(7)), unless its end is waiting behind. */
        if ((size_t)n < room && !t->client_hung_up)
            t->streams[TO_UPSTREAM].readable = false;
        *done = (size_t)n;
        return PP_OK;
    }
    if (n == 0)
        return PP_END;
    return errno == EAGAIN ? PP_AGAIN : PP_BROKEN;
}

static enum pp_result client_write(struct tunnel *t, const char *bytes, size_t n, size_t *done)
{
    ssize_t sent;
    do
        sent = send(t->watch.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *done = (size_t)sent;
        return PP_OK;
    }
    return errno == EAGAIN ? PP_AGAIN : PP_BROKEN;
}

static enum pp_result source_read(struct tunnel *t, unsigned direction, char *into, size_t room, size_t *done)
{
    return direction == TO_CLIENT ? upstream_read(t->upstream, into, room, done) : client_read(t, into, room, done);
}

static enum pp_result sink_write(struct tunnel *t, unsigned direction, const char *bytes, size_t n, size_t *done)
{
    return direction == TO_CLIENT ? client_write(t, bytes, n, done) : upstream_write(t->upstream, bytes, n, done);
}

/* --- one direction --- */

static void forget_pending(struct tunnel_stream *s)
{
    free(s->pending);
    s->pending = NULL;
    s->pending_at = s->pending_end = 0;
}

void tunnel_lose(struct tunnel *t, unsigned direction)
{
    struct tunnel_stream *s = &t->streams[direction];
    s->lost = true;
    forget_pending(s);
    /* Who takes nothing may have said something before, and that it is gone: the other direction finds out. */
    t->streams[!direction].readable = true;
}

/* Writes as much as the sink takes and says how much that was. */
static size_t write_some(struct tunnel *t, unsigned direction, const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n) {
        size_t done = 0;
        enum pp_result rc = sink_write(t, direction, bytes + at, n - at, &done);
        if (rc == PP_OK) {
            at += done;
            continue;
        }
        if (rc != PP_AGAIN)
            tunnel_lose(t, direction);
        break;
    }
    if (at > 0) {
        t->streams[direction].bytes += at;
        if (direction == TO_CLIENT)
            t->taken = clock_now();
        metrics_count(t->environment->worker->metrics, t->environment->metrics_index, METRICS_WEBSOCKET_BYTES,
                      direction, at);
    }
    return at;
}

/* Behind what is pending already. */
static bool keep(struct tunnel *t, unsigned direction, const char *bytes, size_t n)
{
    struct tunnel_stream *s = &t->streams[direction];
    size_t held = s->pending_end - s->pending_at;
    if (direction == TO_CLIENT && held == 0)
        t->taken = clock_now();
    char *all = malloc(held + n);
    if (all == NULL) {
        tunnel_because(t, TUNNEL_NO_MEMORY);
        tunnel_end(t, true);
        return false;
    }
    if (held > 0)
        memcpy(all, s->pending + s->pending_at, held);
    memcpy(all + held, bytes, n);
    free(s->pending);
    s->pending = all;
    s->pending_at = 0;
    s->pending_end = (uint32_t)(held + n);
    return true;
}

bool tunnel_send(struct tunnel *t, unsigned direction, const char *bytes, size_t n)
{
    struct tunnel_stream *s = &t->streams[direction];
    size_t done = s->pending == NULL && !s->lost ? write_some(t, direction, bytes, n) : 0;
    return done == n || s->lost || keep(t, direction, bytes + done, n - done);
}

/* False while something is left. */
static bool flush(struct tunnel *t, unsigned direction)
{
    struct tunnel_stream *s = &t->streams[direction];
    if (s->pending == NULL)
        return true;
    size_t done = write_some(t, direction, s->pending + s->pending_at, s->pending_end - s->pending_at);
    if (s->pending == NULL) /* lost */
        return true;
    s->pending_at += (uint32_t)done;
    if (s->pending_at < s->pending_end)
        return false;
    forget_pending(s);
    return true;
}

static void take(struct tunnel *t, unsigned direction, const char *bytes, size_t n)
{
    struct tunnel_stream *s = &t->streams[direction];
    size_t relayed = n;
    bool close_here = false;
    if (direction == TO_CLIENT && t->phase == TUNNEL_SEEKING) {
        relayed = tunnel_close_seek(t, bytes, n);
        close_here = relayed < n;
    }
    wsframe_feed(&s->frames, bytes, relayed);
    if (!s->drop && !s->lost && !tunnel_send(t, direction, bytes, relayed))
        return;
    if (direction == TO_CLIENT && t->phase == TUNNEL_SEEKING && (close_here || wsframe_at_boundary(&s->frames)))
        tunnel_close_here(t);
    wsframe_feed(&s->frames, bytes + relayed, n - relayed);
}

static void source_ended(struct tunnel *t, unsigned direction, bool broken)
{
    struct tunnel_stream *s = &t->streams[direction];
    bool client = direction == TO_UPSTREAM;
    s->ended = true;
    s->readable = false;
    /* Many servers hang up after their Close frame without the end that TLS asks for: nothing was lost by that. */
    s->broken = broken && !s->frames.closed;
    if (!s->broken)
        tunnel_because(t, client ? TUNNEL_CLIENT_CLOSED : TUNNEL_UPSTREAM_CLOSED);
    else if (!t->streams[!direction].ended) /* else it only confirms an end that was announced */
        tunnel_because(t, client ? TUNNEL_CLIENT_GONE : TUNNEL_UPSTREAM_BROKE);
    /* One that closed its socket altogether waits for nothing: no need to learn that from the answer to a write. */
    bool gone = broken || (client && (t->unix_socket ? t->client_hup : t->same_host && peer_is_gone(t->watch.fd)));
    if (gone && !t->streams[!direction].lost)
        tunnel_lose(t, !direction);
}

/* True when there is more to do than this turn's share. */
static bool pump(struct tunnel *t, unsigned direction)
{
    struct tunnel_stream *s = &t->streams[direction];
    size_t budget = TUNNEL_TURN;
    char *scratch = t->environment->worker->scratch;
    if (!flush(t, direction))
        return false;
    while (t->phase != TUNNEL_ENDED && s->readable && !s->ended && s->pending == NULL) {
        size_t n = 0;
        if (budget == 0)
            return true;
        enum pp_result rc = source_read(t, direction, scratch, budget < TUNNEL_READ ? budget : TUNNEL_READ, &n);
        if (rc == PP_AGAIN) {
            s->readable = false;
        } else if (rc != PP_OK) {
            source_ended(t, direction, rc != PP_END);
        } else {
            budget -= n;
            t->active = clock_now();
            take(t, direction, scratch, n);
        }
    }
    return false;
}

/* --- both --- */

/* The source ended and all it said was handed over: the sink hears of it. */
static void pass_end_on(struct tunnel *t, unsigned direction)
{
    struct tunnel_stream *s = &t->streams[direction];
    if (s->done || s->pending != NULL || !(s->ended || s->lost))
        return;
    s->done = true;
    if (s->lost || s->broken)
        return;
    if (direction == TO_UPSTREAM)
        upstream_shutdown_write(t->upstream);
    else
        (void)shutdown(t->watch.fd, SHUT_WR); /* fails only when there is nobody left to tell */
}

static void settle(struct tunnel *t)
{
    struct tunnel_stream *up = &t->streams[TO_UPSTREAM], *down = &t->streams[TO_CLIENT];
    pass_end_on(t, TO_UPSTREAM);
    pass_end_on(t, TO_CLIENT);
    if (up->done && down->done) {
        tunnel_end(t, down->broken);
        return;
    }
    if (down->ended || tunnel_stall_due(t) < t->timer.due || (down->pending != NULL && !timer_armed(&t->timer)))
        tunnel_arm(t); /* its patience is shorter now */
    bool goodbye = up->frames.closed && down->frames.closed;
    if (goodbye && t->phase == TUNNEL_WAITING && up->pending == NULL && down->pending == NULL) {
        tunnel_end(t, false); /* all was said, and this worker wants to be done */
        return;
    }
    bool over = (up->ended || down->ended) && (up->frames.closed || down->frames.closed);
    if ((goodbye || over || up->lost || down->lost) && t->deadline == MSEC_NEVER && t->phase != TUNNEL_ENDED) {
        t->deadline = clock_now() + TUNNEL_LINGER; /* what is left has a moment */
        tunnel_arm(t);
    }
}

void tunnel_relay(struct tunnel *t)
{
    bool more = pump(t, TO_UPSTREAM);
    if (t->phase != TUNNEL_ENDED)
        more |= pump(t, TO_CLIENT);
    /* The second may have found the first one's sink gone, and more to read from it. */
    if (t->phase != TUNNEL_ENDED && t->streams[TO_CLIENT].lost)
        more |= pump(t, TO_UPSTREAM);
    if (t->phase == TUNNEL_CLOSING)
        tunnel_close_step(t);
    else if (t->phase != TUNNEL_ENDED)
        settle(t);
    if (more && t->phase != TUNNEL_ENDED)
        tunnel_run_next(t);
}
