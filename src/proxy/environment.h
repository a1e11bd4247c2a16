/* One environment as one worker sees it: its config, its pool, its replica of the token store, what is under way.
 *
 * Lives as long as the worker knows the name; a reload replaces its `settings`, and exchanges keep those they began
 * with. Tokens belong to the upstream they are for: where a reload names another scheme, host or port, the environment
 * begins anew with others, and what is under way ends with the old ones. Worker's thread only, but for the counters
 * shared among workers. */
#ifndef PP_PROXY_ENVIRONMENT_H
#define PP_PROXY_ENVIRONMENT_H

#include "config/config.h"
#include "http/admission.h"
#include "net/server.h"
#include "net/upstream.h"
#include "proxy/retry.h"
#include "token/store.h"

#include <stdatomic.h>

struct worker;

#define ENVIRONMENT_WARM 2u /* upstream connections kept open ahead of need, per worker */

/* What all workers together count, so that max_inflight and max_websockets hold for the environment. Any thread. */
struct environment_shared {
    atomic_uint refs;
    unsigned places;       /* for clients, of all workers and environments together */
    atomic_uint inflight;  /* Proof is or was asked, and the answer is not delivered yet */
    atomic_uint receiving; /* the body is not here yet, and Proof was not asked; as many as of those at most */
    atomic_uint websockets;
};
struct environment_shared *environment_shared_new(unsigned places) PP_MUST_CHECK;
struct environment_shared *environment_shared_ref(struct environment_shared *s);
void environment_shared_unref(struct environment_shared **s);

/* One generation of an environment's config in one worker; counted by the exchanges that use it. */
struct environment_settings {
    unsigned refs;
    struct config *config; /* a reference */
    const struct environment_config *e;
    struct admission_policy policy;
    struct server_timeouts timeouts;
    unsigned max_inflight;             /* environment_max_inflight */
    struct environment_shared *shared; /* a reference */
    struct token_holder *token_holder; /* a reference */
    struct token_store *tokens;        /* the holder's: what exchanges of these settings are sent with */
    struct pool_holder *holder;
    struct upstream_pool *pool; /* the holder's */
};

struct environment {
    struct worker *worker;
    char *name;
    unsigned refs;           /* its clients', and the worker's own while it is configured */
    bool removed;            /* no longer configured: each of its clients gets one more answer */
    unsigned generation;     /* of settings: counts the reloads */
    unsigned listeners_lost; /* by reloads: each client that came before the last of them gets one more answer */
    unsigned metrics_index;  /* base/metrics.h */
    struct environment_settings *settings;
    struct environment_shared *shared; /* a reference; as in the settings now */
    struct token_holder *token_holder;
    struct token_store *tokens;
    struct retry_budget budget;
    struct server_group clients;
    struct environment *next;
};

/* The requests under way at once that an environment may really have: max_inflight, but where there are several
 * environments no more than half of all clients' places, so that one whose upstream is stuck leaves room for the
 * others.
 */
unsigned environment_max_inflight(const struct environment_config *e, const struct config *config, unsigned places);

/* Does the way upstream stay as it was, so that what was learnt of it, and warm connections, can stay too? What the CA
 * file holds is another question (upstream_tls_same_trust). */
bool environment_same_road(const struct environment_config *a, const struct environment_config *b);

struct environment_settings *environment_settings_ref(struct environment_settings *s);
void environment_settings_unref(struct environment_settings **s);
struct environment *environment_ref(struct environment *e);
void environment_unref(struct environment **e);

/* A new environment without tokens and settings. NULL: out of memory. */
struct environment *environment_new(struct worker *worker, const char *name, unsigned metrics_index,
                                    struct environment_shared *shared,
                                    const struct environment_config *config) PP_MUST_CHECK;

/* Takes up a config: new settings, a new pool if the way upstream or whom it trusts changed, and another store of
 * tokens, with none in it, if `shared` is another one. The old settings go when their last exchange ends. PP_NOMEM
 * changes nothing. */
enum pp_result environment_configure(struct environment *e, struct loop *loop, struct config *config,
                                     const struct environment_config *ec, struct environment_shared *shared,
                                     struct upstream_tls *tls) PP_MUST_CHECK;

#endif
