/* One connection to an upstream, from its first SYN to its close. Private to net/upstream.c, which decides when one is
 * opened, who gets it and how long it may lie idle. */
#ifndef PP_NET_UPSTREAM_CONNECTION_H
#define PP_NET_UPSTREAM_CONNECTION_H

#include "net/connect.h"
#include "net/upstream.h"

struct ssl_st;

enum connection_state {
    CONNECTION_CONNECTING,
    CONNECTION_SECURING,
    CONNECTION_IDLE,
    CONNECTION_BUSY,
    CONNECTION_CLOSED
};

/* What all connections of a pool share, and what they report to it. */
struct connection_home {
    struct loop *loop;
    const struct upstream_settings *settings;
    struct upstream_tls *tls; /* NULL: plain TCP */
    struct connector *connector;
    void (*opened)(struct upstream_connection *c); /* in state CONNECTION_IDLE, on no list */
    /* Closed already; freed at the end of the turn. */
    void (*failed)(struct upstream_connection *c, enum upstream_failure why, const char *detail);
    void (*disturbed)(struct upstream_connection *c); /* something came in while it was idle */
};

struct upstream_connection {
    struct watch watch;
    struct connection_home *home;
    enum connection_state state;
    struct ssl_st *tls;
    struct upstream_user *user;

    bool write_blocked;    /* a write said PP_AGAIN */
    bool read_wants_write; /* TLS: the read goes on when the socket is writable, */
    bool write_wants_read; /* and the other way round */
    bool edge_unread;      /* an edge was told, and no read followed */
    bool missed_readable;  /* edges that came while there was no user */
    bool missed_writable;
    bool more_in_socket; /* plain TCP: the last read filled its room */
    bool peer_ended;     /* it closed, or the connection broke: no use for anybody else */
    bool broken;
    bool write_ended; /* we closed our side */
    bool write_end_pending;
    bool detached;
    bool resumed;           /* TLS session */
    uint64_t quiet_at_wire; /* TLS: bytes from the socket when it was last known to be empty */

    /* for the pool */
    struct upstream_connection *next, *prev; /* in its list of opening or of idle ones */
    struct upstream_waiter *waiter;          /* whom it is being opened for */
    bool used, retiring;
    unsigned char jitter; /* spreads the life of idle ones: 0 to 99 */
    msec opened_at, idle_since, retire_at, drop_at;

    struct connect_attempt attempt;
    struct timer deadline;
    struct deferred redeliver, free_later;
};

/* Begins opening one. Afterwards either opened or failed is called, never from inside. PP_LIMIT: out of descriptors. */
enum pp_result connection_open(struct connection_home *home, struct upstream_connection **out) PP_MUST_CHECK;

/* Nothing has come in and the other end is still there, as far as the socket tells: one system call. Only TLS records
 * without data (session tickets) are taken in. */
bool connection_is_quiet(struct upstream_connection *c);

/* After an exchange: quiet, judged without a system call where possible. */
bool connection_is_settled(struct upstream_connection *c);

/* Ends it in whatever state; freed at the end of the turn. */
void connection_close(struct upstream_connection *c);

#endif
