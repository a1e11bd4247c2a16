/* Connections to Proof: opened by libcurl, secured by OpenSSL, pooled per worker and environment.
 *
 * Three files behind this header: net/connect.c (libcurl: DNS, happy eyeballs, egress proxy, source address, to the
 * bare TCP level), net/tls.c (OpenSSL: one verified, resumable context per environment), net/upstream.c (the pool and
 * the connection's life). All of it on one loop's thread, except upstream_tls, which is shared and thread-safe. */
#ifndef PP_NET_UPSTREAM_H
#define PP_NET_UPSTREAM_H

#include "base/buf.h"
#include "config/config.h"
#include "net/loop.h"

/* --- how to reach one environment --- */
struct upstream_tls; /* shared SSL_CTX with its session cache; reference-counted */

struct upstream_settings { /* views live as long as the config they come from */
    const char *environment;
    const char *host;
    unsigned port;
    bool tls;
    const char *ca_file;         /* "" = the system's store */
    const char *tls_min_version; /* "1.2" or "1.3" */
    const struct str *pinned_spki;
    size_t pinned_count;
    const char *proxy;     /* "" = none */
    const char *interface; /* "" = the kernel's choice; name or address */
    msec connect_timeout;  /* TCP, proxy and TLS together */
    unsigned warm;         /* connections kept open ahead of need */
};

/* The way to one environment as its config says it; `out` holds views into the config. `warm` is the caller's own. */
void upstream_settings_of(const struct environment_config *e, unsigned warm, struct upstream_settings *out);

/* Loads the trust anchors once. PP_INVALID with the problem said (file, reason) when they cannot be read; PP_NOMEM or
 * PP_SYSTEM when it was for want of memory or descriptors, at whatever place of it. */
enum pp_result upstream_tls_new(const struct upstream_settings *settings, struct upstream_tls **out,
                                struct problem *problem) PP_MUST_CHECK;
/* Do both trust the same certificates? Contexts for the same settings need not: the file may have been replaced in
 * between. Two NULLs do. */
bool upstream_tls_same_trust(const struct upstream_tls *a, const struct upstream_tls *b);
struct upstream_tls *upstream_tls_ref(struct upstream_tls *t);
void upstream_tls_unref(struct upstream_tls **t);

/* --- the pool of one worker for one environment --- */
struct upstream_pool;

/* Copies what it needs of the settings; takes its own reference on `tls` (NULL for plain http to loopback). */
struct upstream_pool *upstream_pool_new(struct loop *loop, const struct upstream_settings *settings,
                                        struct upstream_tls *tls) PP_MUST_CHECK;
/* Idle connections close now, busy ones when they are given back; waiters fail at the end of the turn
 * (UPSTREAM_FAILURE_LOCAL). Memory goes at the end of the turn in which the last connection went. */
void upstream_pool_close(struct upstream_pool *pool);

enum upstream_failure { /* why no connection came, or why one broke */
                        UPSTREAM_FAILURE_NONE,
                        UPSTREAM_FAILURE_DNS,
                        UPSTREAM_FAILURE_CONNECT, /* refused, unreachable, reset, egress proxy said no */
                        UPSTREAM_FAILURE_TLS,     /* something in the handshake was wrong, or verification failed */
                        UPSTREAM_FAILURE_TLS_CUT, /* the connection was closed or lost within the handshake */
                        UPSTREAM_FAILURE_TIMEOUT,
                        UPSTREAM_FAILURE_LOCAL /* out of descriptors or memory here */
};

struct upstream_connection;

/* A request for a connection, embedded in the exchange. */
struct upstream_waiter {
    /* Exactly one of them is called, never from inside upstream_acquire: */
    void (*ready)(struct upstream_waiter *w, struct upstream_connection *c);                  /* it is yours now */
    void (*failed)(struct upstream_waiter *w, enum upstream_failure why, const char *detail); /* detail: for the log */
    /* All that follows is private; zero before the first use. */
    struct upstream_waiter *next, *prev;
    struct upstream_pool *pool;
    struct upstream_connection *attempt; /* being opened for it */
    msec deadline;
    bool waiting, fresh;
};

/* The newest idle connection that is still open and on which nothing has come in, looked at now (one recv(2)), at once
 * as the return value; else NULL and the waiter hears later: when one was opened or given back (first come, first
 * served), or why the attempt made for it failed, at the latest connect_timeout from now. `fresh`: never a used one
 * (the retry after a stale connection). */
struct upstream_connection *upstream_acquire(struct upstream_pool *pool, struct upstream_waiter *w, bool fresh);
/* The waiter hears nothing any more. A connection being opened for it is kept for the pool. */
void upstream_cancel(struct upstream_waiter *w);

/* Connections being opened at once, per pool: more would only starve each other. */
#define UPSTREAM_OPENING_AT_ONCE 64u
/* The most bytes of memory an open connection takes; `idle`: while nothing is on its way. */
size_t upstream_connection_cost(bool tls, bool idle);

/* --- one connection, held by one user at a time --- */
struct upstream_user {
    /* Edge-triggered: `readable` means read until PP_AGAIN, `writable` that a write that said PP_AGAIN may go on. An
     * error or end shows as readable. Not called while the user is NULL; what happened meanwhile is told to the next
     * one at the end of the turn. Who takes a connection over without having seen PP_AGAIN tries first. */
    void (*readable)(struct upstream_user *u);
    void (*writable)(struct upstream_user *u);
};
void upstream_set_user(struct upstream_connection *c, struct upstream_user *user);

/* PP_OK: *done > 0 bytes. PP_AGAIN: nothing now. PP_END: orderly end (TLS close_notify, or FIN on plain TCP).
 * PP_BROKEN: reset, or a TLS stream cut without close_notify: what came before may be incomplete. */
enum pp_result upstream_read(struct upstream_connection *c, void *into, size_t room, size_t *done) PP_MUST_CHECK;
/* PP_OK: *done > 0 bytes taken, maybe fewer than n. PP_AGAIN or PP_BROKEN otherwise. After PP_AGAIN the same bytes must
 * be offered again, from wherever they are then, and more may follow them: TLS may hold the first of them already. */
enum pp_result upstream_write(struct upstream_connection *c, const void *bytes, size_t n, size_t *done) PP_MUST_CHECK;
/* Sends close_notify (TLS) or FIN (plain): no more writes follow. For tunnels' half-close. */
void upstream_shutdown_write(struct upstream_connection *c);

/* True when some request was answered on it before, or it lay idle: it may have died without our knowing. */
bool upstream_is_reused(const struct upstream_connection *c);

/* Gives it back. `reusable` only after an answer whose end was certain, with nothing left over, keep-alive on both
 * sides; `keep_alive` is the server's own Keep-Alive: timeout in ms, 0 if it named none: an idle connection is dropped
 * well before it, or before the time after which this upstream was seen to close idle ones. Otherwise it is closed. */
void upstream_release(struct upstream_connection *c, bool reusable, msec keep_alive);

/* For tunnels: out of the pool's idle accounting, buffers held while idle are given back (SSL_MODE_RELEASE_BUFFERS and
 * the like). Ended by upstream_release(c, false, 0). */
void upstream_detach(struct upstream_connection *c);

/* For status and metrics. */
struct upstream_pool_stats {
    unsigned idle, busy, opening;
    uint64_t opened, reused, failed, tls_resumed;
};
void upstream_pool_stats(const struct upstream_pool *pool, struct upstream_pool_stats *out);

#endif
