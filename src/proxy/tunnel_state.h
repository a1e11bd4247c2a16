/* The inside of one tunnel. Private to tunnel.c (its life and its times), tunnel_relay.c (bytes both ways) and
 * tunnel_close.c (the polite end). Worker's thread. */
#ifndef PP_PROXY_TUNNEL_STATE_H
#define PP_PROXY_TUNNEL_STATE_H

#include "proxy/tunnel.h"

#include "http/wsframe.h"

#define TUNNEL_READ        (16u * 1024) /* bytes read at once, and so kept at most per direction: one TLS record */
#define TUNNEL_TURN        (64u * 1024) /* bytes relayed per direction in one turn of the loop */
#define TUNNEL_ANSWER_WAIT 5000         /* ms a peer has to answer a Close, or a stream to reach a frame's end */
#define TUNNEL_LINGER      10000        /* ms for what is left when one side is wholly gone, or both said Close */
#define TUNNEL_HALF_OPEN   60000        /* ms of silence when upstream has ended and the client has not */

/* Indexes of a tunnel's streams: the same as the metric's directions. */
enum { TO_UPSTREAM = METRICS_TO_UPSTREAM, TO_CLIENT = METRICS_TO_CLIENT };

enum tunnel_phase {
    TUNNEL_OPEN,    /* bytes go both ways */
    TUNNEL_SEEKING, /* the same, but a Close of ours waits for the end of the frame that is on its way to the client */
    TUNNEL_WAITING, /* a side has said Close by itself; it only gets a deadline */
    TUNNEL_CLOSING, /* our Close is out: upstream's bytes are dropped, the client's are relayed up to its own Close */
    TUNNEL_ENDED    /* memory goes soon */
};

enum tunnel_reason {                       /* the access log's `end` */
                     TUNNEL_CLIENT_CLOSED, /* in an orderly way, by whichever side was the first to end */
                     TUNNEL_UPSTREAM_CLOSED,
                     TUNNEL_CLIENT_GONE,    /* reset, or no answer to keepalive */
                     TUNNEL_UPSTREAM_BROKE, /* reset, or TLS cut without its own end */
                     TUNNEL_IDLE,           /* websocket_idle_timeout */
                     TUNNEL_STALLED,        /* the client took nothing of what waited for it, for client_idle_timeout */
                     TUNNEL_DRAINED,
                     TUNNEL_TOKEN_RETIRED,
                     TUNNEL_CUT, /* the worker ended with it open */
                     TUNNEL_NO_MEMORY,
                     TUNNEL_REASON_COUNT
};

/* One direction. */
struct tunnel_stream {
    char *pending; /* bytes the sink did not take yet; NULL when there are none */
    uint32_t pending_at, pending_end;
    bool readable;         /* the source has not said PP_AGAIN since it was last ready */
    bool ended;            /* the source sends no more; */
    bool broken;           /* and that not in an orderly way */
    bool done;             /* its end was passed on, or there is nobody left to tell */
    bool lost;             /* the sink takes no more: what comes is dropped */
    bool drop;             /* a Close of ours was the last thing to go this way */
    struct wsframe frames; /* of the bytes taken from the source */
    uint64_t bytes;        /* relayed */
};

/* A worker's tunnels. */
struct tunnel_set {
    struct worker *worker;
    struct tunnel *tunnels; /* the one begun last first */
    size_t count;
    bool draining;
};

struct tunnel {
    struct watch watch; /* the client's descriptor */
    struct upstream_user user;
    struct timer timer;
    struct deferred later; /* the next run, or the freeing */
    struct tunnel *next, *prev;
    struct tunnel_set *set;
    struct environment *environment;   /* a reference */
    struct environment_shared *shared; /* a reference; where it is counted */
    struct token *token;               /* a reference */
    struct upstream_connection *upstream;
    struct tunnel_stream streams[2];

    enum tunnel_phase phase;
    enum tunnel_reason reason; /* settled once: by what ends it first */
    bool reason_known;
    enum tunnel_reason asked; /* why tunnel_close was called */
    bool client_hung_up;      /* EPOLLRDHUP, EPOLLHUP or EPOLLERR was seen: reads go on to the very end */
    bool client_hup;          /* EPOLLHUP: on a Unix socket that means that the client closed it altogether */
    bool unix_socket;
    bool same_host; /* TCP over loopback: the kernel knows whether the client closed its socket altogether */
    bool peer_known;
    bool close_sent, close_answered;
    uint16_t jitter; /* 0 to 1023: its place within a spread */
    unsigned metrics_handle;
    uint32_t uid;
    pid_t pid;

    msec idle_timeout; /* 0: none */
    msec stall_timeout;
    msec taken;       /* when the client last took something, or something began to wait for it */
    msec active;      /* when a byte last came, either way */
    msec deadline;    /* of the phase; MSEC_NEVER: none */
    msec drain_at;    /* MSEC_NEVER: no drain */
    msec retired;     /* since when its token is retired; MSEC_NEVER: it is not */
    msec retire_seen; /* when that was heard here */

    int64_t started_usec;
    uint16_t path_length, request_id_length;
    char text[]; /* path, then request id */
};

/* --- tunnel.c --- */
/* The one end. Both descriptors are closed; `reset`: so that the client sees a reset and not an orderly end. */
void tunnel_end(struct tunnel *t, bool reset);
/* Notes why it will end; the first reason stays. */
void tunnel_because(struct tunnel *t, enum tunnel_reason reason);
/* Arms the timer for whatever is due first. May end the tunnel (no memory). */
void tunnel_arm(struct tunnel *t);
/* When the client has taken nothing for too long; MSEC_NEVER: nothing waits for it. */
msec tunnel_stall_due(const struct tunnel *t);
/* Runs the relay at the end of this turn, or of the next one. */
void tunnel_run_soon(struct tunnel *t);
void tunnel_run_next(struct tunnel *t);

/* --- tunnel_relay.c --- */
/* Moves what can be moved, within a turn's share. May end the tunnel. */
void tunnel_relay(struct tunnel *t);
/* Sends, or keeps what the sink does not take. False: the tunnel ended for want of memory. */
bool tunnel_send(struct tunnel *t, unsigned direction, const char *bytes, size_t n);
/* No more bytes can go this way. */
void tunnel_lose(struct tunnel *t, unsigned direction);

/* --- tunnel_close.c --- */
/* Begins the polite end, for this reason. May end the tunnel. */
void tunnel_close(struct tunnel *t, enum tunnel_reason reason);
/* While SEEKING, with bytes for the client not accounted for yet: how many of them are still relayed before the Close,
 * which is sent by tunnel_close_here then. n: all of them, and no boundary yet. */
size_t tunnel_close_seek(const struct tunnel *t, const char *bytes, size_t n);
void tunnel_close_here(struct tunnel *t);
/* While CLOSING: what follows from what came in. May end the tunnel. */
void tunnel_close_step(struct tunnel *t);
/* The deadline of the phase passed: the end. */
void tunnel_close_late(struct tunnel *t);

#endif
