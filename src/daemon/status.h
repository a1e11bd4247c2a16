/* What the daemon knows, at one moment, in one plain struct: the source of /status, /metrics, the status page, the
 * health endpoints and systemd's STATUS line. Filled by daemon/run on the main thread; everything that shows it is a
 * pure function of it. No secret can be in it. */
#ifndef PP_DAEMON_STATUS_H
#define PP_DAEMON_STATUS_H

#include "base/metrics.h"
#include "config/config.h"
#include "daemon/history.h"
#include "daemon/memory_bound.h"
#include "token/store.h"

/* One held token. Points in time are wall ms, 0 = never or unknown. */
struct status_token {
    char fingerprint[TOKEN_FINGERPRINT_SIZE];
    enum token_role role;
    enum token_verdict verdict;
    bool in_file;
    int64_t since;      /* when the verdict was reached */
    int64_t expires;    /* of expires= */
    int64_t grace_ends; /* retiring: when it is forgotten */
    int64_t next_try;   /* refused: not asked again before */
    int64_t last_used;
    uint64_t requests, refusals;
    int64_t websockets;
};

/* What the last probe of an environment said. */
struct status_upstream {
    int64_t when;        /* wall ms of its end; 0 = none yet */
    int status;          /* of the answer; 0 = none came */
    int64_t usec;        /* how long it took */
    char failure[160];   /* why no answer came: "connect: connection refused by 192.0.2.7:443"; else "" */
    bool probing_is_off; /* probe_interval = 0 */
};

struct status_environment {
    const struct environment_config *config;
    struct status_token tokens[LIMIT_TOKENS_HELD];
    size_t token_count;
    bool usable;               /* a request could be sent with one of them */
    char retire_sentence[256]; /* token_store_retire_sentence */
    int64_t stale_since;       /* wall ms since when the token file is not what is in force; 0 = it is */
    char stale_reason[256];    /* why: the problem of the last read */
    struct status_upstream upstream;
    unsigned metrics_index; /* metrics_environment() */
    struct metrics_totals totals;
    const struct history *history; /* NULL: none */
};

struct status_snapshot {
    int64_t now;                 /* wall ms */
    int64_t started;             /* wall ms */
    const struct config *config; /* in force */
    bool draining;
    unsigned workers, stalled_workers; /* stalled: the loop has not turned for seconds */
    unsigned worker_clients[LIMIT_WORKERS];
    struct {
        bool ok;              /* the last (re)load succeeded */
        int64_t when;         /* wall ms of the last try */
        int64_t success_when; /* wall ms of the last good one; the start counts */
        const char *problems; /* not ok: lines as of config_problems; else "" */
        const char *restart;  /* keys changed in the file that wait for a restart, lines of config_diff; else "" */
    } reload;
    const char *posture; /* daemon/posture.h */
    struct memory_bound memory;
    struct status_environment environments[LIMIT_ENVIRONMENTS];
    size_t environment_count;
};

/* The tokens of a store: fills tokens, token_count, usable and retire_sentence. `now` is monotonic. */
void status_fill_tokens(struct status_environment *e, const struct token_store *store, msec now, int64_t wall);

/* --- judgements; each problem is a sentence, appended as a line to `out` (may be NULL) --- */

/* Problems an operator should act on: stale token file, refused or expiring tokens, upstream not answering, a failed
 * reload, stalled workers. Returns how many; 0 = all is well. `proofproxy status` exits 3 on any. */
size_t status_problems(const struct status_snapshot *s, struct buf *out);
/* /livez: false when a worker is stalled. */
bool status_alive(const struct status_snapshot *s, struct buf *out);
/* /readyz: config in force, a usable token in each environment (or in the one named), not draining. */
bool status_ready(const struct status_snapshot *s, const char *environment, struct buf *out);
/* /upstreamz: the last probe of each environment (or of the one named) was answered, and neither by 403 nor by 5xx, and
 * is not older than three intervals. Where probing is off: true. */
bool status_upstream_ok(const struct status_snapshot *s, const char *environment, struct buf *out);
/* One environment's upstream in some words: "answers (404 in 23 ms, 12 s ago)". */
void status_upstream_text(const struct status_snapshot *s, const struct status_environment *e, struct buf *out);

/* One line for systemd's STATUS=: "ready: production 3f2a… accepted, sandbox … ; last reload failed: …". */
void status_line(const struct status_snapshot *s, struct buf *out);

#endif
