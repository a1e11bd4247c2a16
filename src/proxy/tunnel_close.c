/* A tunnel's polite end: our own Close frames, between frames, and what follows from them (RFC 6455 5.5.1 and 7). */
#include "proxy/tunnel_state.h"

#include "base/crypto.h"

#include <sys/socket.h>

#define CLOSE_GOING_AWAY      1001u /* RFC 6455 7.4.1 */
#define CLOSE_SERVICE_RESTART 1012u /* IANA's registry of close codes: the client is to reconnect */
#define CLOSE_FRAME_MAX       256u

/* Only where the stream that way stands between frames. False: the tunnel ended. */
static bool send_close(struct tunnel *t, unsigned direction)
{
    struct tunnel_stream *s = &t->streams[direction];
    unsigned char mask[4];
    unsigned code = t->asked == TUNNEL_IDLE ? CLOSE_GOING_AWAY : CLOSE_SERVICE_RESTART;
    struct str text = t->asked == TUNNEL_IDLE            ? STR("idle timeout")
                      : t->asked == TUNNEL_TOKEN_RETIRED ? STR("token retired")
                                                         : STR("service restart");
    struct buf frame;
    bool alive = true;
    if (direction == TO_UPSTREAM && crypto_random(mask, sizeof mask) != PP_OK)
        return true; /* a Close that cannot be masked may not be sent (RFC 6455 5.3) */
    buf_init(&frame, CLOSE_FRAME_MAX);
    if (wsframe_write_close(&frame, code, text, direction == TO_UPSTREAM ? mask : NULL) == PP_OK) {
        struct str bytes = buf_str(&frame);
        alive = tunnel_send(t, direction, bytes.p, bytes.n);
        s->drop = true;
    }
    buf_free(&frame);
    return alive;
}

static void set_deadline(struct tunnel *t)
{
    t->deadline = clock_now() + TUNNEL_ANSWER_WAIT;
    tunnel_arm(t);
}

void tunnel_close_here(struct tunnel *t)
{
    if (!wsframe_at_boundary(&t->streams[TO_CLIENT].frames)) { /* the frame that just ended was upstream's own Close */
        t->phase = TUNNEL_WAITING;
        set_deadline(t);
        return;
    }
    t->phase = TUNNEL_CLOSING;
    t->close_sent = true;
    tunnel_because(t, t->asked);
    if (!send_close(t, TO_CLIENT))
        return;
    set_deadline(t);
    if (t->phase != TUNNEL_ENDED)
        tunnel_run_soon(t);
}

size_t tunnel_close_seek(const struct tunnel *t, const char *bytes, size_t n)
{
    return wsframe_to_boundary(&t->streams[TO_CLIENT].frames, bytes, n);
}

void tunnel_close(struct tunnel *t, enum tunnel_reason reason)
{
    struct tunnel_stream *up = &t->streams[TO_UPSTREAM], *down = &t->streams[TO_CLIENT];
    if (t->phase != TUNNEL_OPEN)
        return;
    t->asked = reason;
    if (up->frames.broken || down->frames.broken || down->done || down->lost) {
        tunnel_because(t, reason); /* no frame of ours has a place there, or nobody is left to answer it */
        tunnel_end(t, false);
        return;
    }
    if (up->frames.closed || down->frames.closed) {
        t->phase = TUNNEL_WAITING;
        set_deadline(t);
    } else if (wsframe_at_boundary(&down->frames)) {
        tunnel_close_here(t);
    } else {
        t->phase = TUNNEL_SEEKING;
        set_deadline(t);
    }
}

/* The client left without saying Close: upstream hears it from us. */
static bool tell_upstream(struct tunnel *t)
{
    struct tunnel_stream *up = &t->streams[TO_UPSTREAM];
    if (up->lost || up->drop || up->done || !wsframe_at_boundary(&up->frames))
        return true;
    return send_close(t, TO_UPSTREAM);
}

void tunnel_close_step(struct tunnel *t)
{
    struct tunnel_stream *up = &t->streams[TO_UPSTREAM], *down = &t->streams[TO_CLIENT];
    bool answered = up->frames.closed || up->ended || down->lost;
    if (!answered || up->pending != NULL || down->pending != NULL)
        return;
    t->close_answered = true;
    if (!down->done) {
        down->done = true;
        if (!down->lost)
            (void)shutdown(t->watch.fd, SHUT_WR); /* the server ends the connection first (RFC 6455 7.1.1) */
    }
    if (!tell_upstream(t))
        return;
    if (up->pending == NULL && (down->frames.closed || down->ended || up->lost || up->frames.broken))
        tunnel_end(t, false);
}

void tunnel_close_late(struct tunnel *t)
{
    tunnel_because(t, t->asked);
    if (t->phase == TUNNEL_SEEKING || t->phase == TUNNEL_CLOSING)
        if (!tell_upstream(t))
            return;
    tunnel_end(t, false);
}
