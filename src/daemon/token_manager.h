/* The tokens of one environment on the main thread: the master store, the file watch, the probes, and word of changes.
 *
 * Everything here runs on the main thread's loop. Workers hold replicas (token/store.h): what they need travels in
 * snapshots, what they learn comes back as knowledge.
 *
 *   worker starts          token_manager_snapshot -> token_store_adopt on its own new store
 *   master changes         callback `changed` -> post a copy of the snapshot to each worker -> token_store_adopt; for
 *                          each bit in *behind: post token_store_knowledge of that item's token back
 *   worker's learn says    post token_store_knowledge of that token to the main thread -> token_manager_merge
 *   "verdict changed" */
#ifndef PP_DAEMON_TOKEN_MANAGER_H
#define PP_DAEMON_TOKEN_MANAGER_H

#include "config/config.h"
#include "net/upstream.h"
#include "token/store.h"

struct token_manager;

struct token_manager_callbacks {
    /* Replicas are to adopt this. `snapshot` is borrowed: token_snapshot_copy it into each message. Not called from
     * inside token_manager_new. May be called from inside the other functions. */
    void (*changed)(void *owner, const char *environment, const struct token_snapshot *snapshot);
    void *owner;
};

/* What the probes need besides the config. `settings` are copied as upstream_pool_new copies them; `tls` gets a
 * reference (NULL for plain http to loopback). */
struct token_manager_road {
    const struct upstream_settings *settings;
    struct upstream_tls *tls;
};

/* Reads the token source, starts watch and probes. A missing or bad source is no failure here: the manager then holds
 * no token, says so in its state, and takes a good file up as soon as there is one (the caller decides whether that is
 * fatal at start). `config` gets a reference; `environment` is part of it. PP_NOMEM otherwise. */
enum pp_result token_manager_new(struct loop *loop, struct config *config, const struct environment_config *environment,
                                 const struct token_manager_road *road, const struct token_manager_callbacks *callbacks,
                                 struct token_manager **out) PP_MUST_CHECK;
/* Stops watch and probes. NULL is fine. The memory goes when the last probe's connection has gone: turn the loop. */
void token_manager_free(struct token_manager *m);

/* The config was swapped: new policy, source and road. The source is read again; tokens held stay. On PP_NOMEM the old
 * road and source stay in force. */
enum pp_result token_manager_reload(struct token_manager *m, struct config *config,
                                    const struct environment_config *environment,
                                    const struct token_manager_road *road) PP_MUST_CHECK;

/* Drain: no more probes. */
void token_manager_quiesce(struct token_manager *m);

/* What a worker knows of `t`; leads to `changed` when that moves a verdict here, or when the worker is behind. */
void token_manager_merge(struct token_manager *m, const struct token *t, const struct token_knowledge *theirs);

/* The caller clears it. */
void token_manager_snapshot(const struct token_manager *m, struct token_snapshot *out);

/* The master, for token_store_list, token_store_usable and token_store_retire_sentence. Valid until the next turn. */
const struct token_store *token_manager_store(const struct token_manager *m);

/* For status, metrics and /upstreamz. */
struct token_manager_state {
    bool stale;          /* the source on disk is missing or bad; what is held is older */
    int64_t stale_since; /* wall ms */
    const char *problem; /* why, "" when not stale; lives until the next turn */
    bool probed;         /* some probe has ended */
    int64_t probed_at;   /* wall ms of the last probe's end */
    int probe_status;    /* its HTTP status; 0 = no answer */
    const char
        *probe_failure; /* why not, "" when it was answered: "dns", "connect", "tls", "timeout", "protocol" ... */
    int64_t probe_usec; /* how long it took */
};
void token_manager_state(const struct token_manager *m, struct token_manager_state *out);

#endif
