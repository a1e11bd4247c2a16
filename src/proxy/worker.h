/* One worker: a thread with its own loop, clients, upstream connections and tunnels, sharing nothing on the hot path.
 *
 * What it owns: one loop, one acceptor, one server (libmicrohttpd), for each environment a pool of upstream connections
 * and a replica of the token store, its exchanges and its tunnels. What others tell it arrives as messages, what it
 * learns leaves through hooks. */
#ifndef PP_PROXY_WORKER_H
#define PP_PROXY_WORKER_H

#include "base/metrics.h"
#include "net/acceptor.h"
#include "net/listener.h"
#include "net/peer.h"
#include "proxy/environment.h"

#include <pthread.h>

/* Called on the worker's thread; must not block. */
struct worker_hooks {
    /* An answer changed what this worker knows of a token: the main thread merges it and tells the others. The token is
     * borrowed. */
    void (*learned)(void *owner, const char *environment, struct token *token, const struct token_knowledge *knowledge);
    /* Draining, and the last client and tunnel are gone. Once. */
    void (*drained)(void *owner, unsigned index);
    void *owner;
};

/* One generation of the whole configuration as all workers use it: immutable, counted atomically, made by the main
 * thread. */
struct worker_setup {
    atomic_uint refs;
    struct config *config; /* a reference */
    size_t environment_count;
    struct worker_setup_environment {
        const struct environment_config *config;
        unsigned metrics_index;
        struct environment_shared *shared; /* a reference; the same one across reloads while the upstream is the same */
        struct upstream_tls *tls;          /* a reference; NULL for plain http */
        struct listener *listeners[LIMIT_LISTENERS * 2];
        size_t listener_count;
    } environments[LIMIT_ENVIRONMENTS];
};
/* An empty one with a reference on `config`; the caller fills it before it hands it out. */
struct worker_setup *worker_setup_new(struct config *config) PP_MUST_CHECK;
struct worker_setup *worker_setup_ref(struct worker_setup *s);
void worker_setup_unref(struct worker_setup **s);

/* A client's connection: what the gate found out about it when it came, or with its first request after a reload. */
struct client {
    struct environment *environment; /* a reference */
    struct peer peer;
    bool allowed;            /* by allow_users and allow_groups */
    unsigned generation;     /* the environment's, when that was judged */
    unsigned listeners_lost; /* the environment's, when it came */
};

struct worker {
    unsigned index;
    struct loop *loop;
    struct acceptor *acceptor;
    struct server *server;
    struct environment *environments;
    struct worker_setup *setup;
    struct worker_hooks hooks;
    struct metrics_shard *metrics;
    struct exchange *spare_exchanges;
    unsigned spare_exchange_count;
    struct tunnel_set *tunnels;
    struct buf log; /* access log lines not written yet */
    struct timer log_due;
    msec pools_published; /* when the pools' figures were last put into the metrics */
    char *scratch;        /* WORKER_SCRATCH bytes, for whoever reads right now */
    bool log_access;
    struct timer setup_again;    /* armed: some part of `setup` could not be taken up */
    struct message *late_tokens; /* of environments, or upstreams of theirs, that are not there yet; in order */
    bool draining, drained_said;
    pthread_t thread;
    bool running;
};
#define WORKER_SCRATCH (32u * 1024)

/* A worker with no configuration; its thread is not running. `connections`: clients at once. NULL: out of memory or
 * descriptors. Main thread, as all below. */
struct worker *worker_new(unsigned index, unsigned connections, const struct worker_hooks *hooks,
                          struct metrics_shard *metrics) PP_MUST_CHECK;
/* Signals are blocked in the new thread. */
enum pp_result worker_start(struct worker *w) PP_MUST_CHECK;

/* These post a message and return at once. PP_NOMEM: nothing was posted. */
enum pp_result worker_configure(struct worker *w, struct worker_setup *setup) PP_MUST_CHECK; /* takes a reference */
/* Copies. `shared` names the upstream they are for: they may come before the setup that says so, and wait for it. */
enum pp_result worker_tokens(struct worker *w, const char *environment, struct environment_shared *shared,
                             const struct token_snapshot *snapshot) PP_MUST_CHECK;
/* No new client is accepted; idle ones are let go; exchanges finish; tunnels get their Close. */
enum pp_result worker_drain(struct worker *w) PP_MUST_CHECK;

/* Ends the thread, cutting whatever is still open, and frees it all. */
void worker_free(struct worker *w);

/* The turns of its loop so far, for the watchdog. */
uint64_t worker_turns(const struct worker *w);
/* Has its loop something to turn for? A loop that waits is not stuck: this wakes it, so that it turns. */
void worker_nudge(struct worker *w);

/* --- for proxy/ itself, on the worker's thread --- */
/* Who is at the other end of `fd`, and may it come, as the environment's settings say now? */
void worker_judge(struct worker *w, struct client *c, int fd);
void worker_drop_late_tokens(struct worker *w);
void worker_learn(struct worker *w, struct environment *e, struct token *t, int status, msec sent);

#endif
