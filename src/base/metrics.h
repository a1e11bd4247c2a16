/* Counters and histograms: each worker writes its own shard without lock or allocation, a scrape adds the shards up.
 *
 * The label space is bounded: environments and methods are indexes, codes are three digits, tokens are fingerprints of
 * which each shard knows the METRICS_TOKENS used last, reasons are indexes into tables given at creation. What does not
 * fit is counted under "other", never dropped. No label holds an id, a path or a token.
 *
 * base/ knows nothing of HTTP or tokens: names come from the caller. */
#ifndef PP_BASE_METRICS_H
#define PP_BASE_METRICS_H

#include "base/buf.h"
#include "base/limits.h"

#include <stdint.h>

#define METRICS_TOKENS       16u /* fingerprints a shard tells apart per environment */
#define METRICS_REASONS      64u /* reasons of one counter */
#define METRICS_BUCKETS      20u /* of a histogram, the one without upper bound included */
#define METRICS_OTHER_METHOD 7u

struct metrics;       /* the process's: owned by the main thread */
struct metrics_shard; /* one worker's: written by that thread alone */

/* What happens and is counted, per environment. The comment names the metric and what `reason` is. */
enum metrics_counter {
    METRICS_UPSTREAM_ERRORS,        /* proofproxy_upstream_errors_total{reason} */
    METRICS_LOCAL_REJECTIONS,       /* proofproxy_local_rejections_total{reason} */
    METRICS_RETRIES,                /* proofproxy_retries_total{reason} */
    METRICS_TOKEN_FALLBACKS,        /* proofproxy_token_fallbacks_total: 401s replayed with another token */
    METRICS_LEAKS_MASKED,           /* proofproxy_response_leaks_masked_total */
    METRICS_AUTHORIZATION_STRIPPED, /* proofproxy_client_authorization_stripped_total */
    METRICS_WEBSOCKET_BYTES,        /* proofproxy_websocket_bytes_total{direction}: enum metrics_direction; n = bytes */
    METRICS_COUNTERS
};
enum metrics_direction { METRICS_TO_UPSTREAM, METRICS_TO_CLIENT };

/* What there is now, per environment. */
enum metrics_gauge {
    METRICS_INFLIGHT, /* proofproxy_inflight: HTTP exchanges between first byte and end; tunnels are not among them */
    METRICS_CONNECTIONS, /* proofproxy_connections: clients' connections */
    METRICS_GAUGES
};

/* Label values of the reasons 0..count-1 of one counter; kept by pointer, so of static life. An index beyond the table
 * is counted as "other". Those from `always` up to `always_end` are shown before they happen too, so that an alert sees
 * the first time as an increase; others only when they did. */
struct metrics_reasons {
    const char *const *names;
    size_t count;
    size_t always, always_end;
};

/* `reasons` is indexed by METRICS_UPSTREAM_ERRORS, _LOCAL_REJECTIONS and _RETRIES; the others have none. NULL when out
 * of memory. */
struct metrics *metrics_new(const struct metrics_reasons reasons[static METRICS_RETRIES + 1]) PP_MUST_CHECK;
/* Frees the shards too: only when their threads have ended. */
void metrics_free(struct metrics *m);

/* The index of an environment for the life of the process; the same name gets the same one, also after a reload. When
 * LIMIT_ENVIRONMENTS names were seen, further ones share one index named "other". Main thread. */
unsigned metrics_environment(struct metrics *m, const char *name);

/* A new shard for a worker about to start. NULL when out of memory. Main thread. */
struct metrics_shard *metrics_shard_new(struct metrics *m) PP_MUST_CHECK;

/* --- hot path: the shard's own thread, some twenty nanoseconds each --- */

/* Index of a method for the label; METRICS_OTHER_METHOD for what is none of the seven. */
unsigned metrics_method(struct str method);

/* One finished exchange. `status`: what the client was sent, 0 if it went away before that (label "aborted"). `token`:
 * fingerprint of the token whose answer it got, NULL if none was sent (label "none"). `total_usec`: from the first byte
 * of the request to the last of the answer (for a tunnel: to the end of the handshake). `upstream_usec`: of that, from
 * the first try to get an upstream connection to the end of upstream's answer; -1 if upstream was not asked. */
void metrics_request(struct metrics_shard *s, unsigned environment, unsigned method, int status, const char *token,
                     int64_t total_usec, int64_t upstream_usec);

/* `n` more of a counter (1 but for bytes). `reason` is 0 where the counter has none. */
void metrics_count(struct metrics_shard *s, unsigned environment, enum metrics_counter counter, unsigned reason,
                   uint64_t n);

/* One more (+1) or one less (-1). */
void metrics_gauge(struct metrics_shard *s, unsigned environment, enum metrics_gauge gauge, int change);

/* A tunnel begins to ride the token of that fingerprint; the return value names it at its end. */
unsigned metrics_websocket_open(struct metrics_shard *s, unsigned environment, const char *token);
void metrics_websocket_close(struct metrics_shard *s, unsigned environment, unsigned handle);

/* Figures of the worker's connection pool, set now and then (at the end of a turn, at most once a second). */
struct metrics_pool {
    uint64_t idle, busy, opening;                 /* now */
    uint64_t opened, reused, failed, tls_resumed; /* since start */
};
void metrics_set_pool(struct metrics_shard *s, unsigned environment, const struct metrics_pool *pool);

/* --- reading: main thread --- */

struct metrics_histogram {
    uint64_t buckets[METRICS_BUCKETS]; /* not cumulative */
    uint64_t sum_usec;
};
/* Upper bounds in microseconds of all buckets but the last. */
extern const int64_t metrics_bounds[METRICS_BUCKETS - 1];

uint64_t metrics_histogram_count(const struct metrics_histogram *h);
/* The duration in microseconds below which `fraction` (0 to 1) of the observations lie, interpolated within the bucket;
 * -1 if there are none. What lies beyond the last bound counts as that bound. */
int64_t metrics_quantile(const struct metrics_histogram *h, double fraction);

/* Everything of one environment, all shards added up, all reasons of a counter together. */
struct metrics_totals {
    uint64_t requests;
    uint64_t by_class[6]; /* [0] aborted, [1] 1xx ... [5] 5xx */
    struct metrics_histogram total, upstream;
    uint64_t counters[METRICS_COUNTERS];
    int64_t gauges[METRICS_GAUGES];
    int64_t websockets;
    struct metrics_pool pool;
};
void metrics_totals(struct metrics *m, unsigned environment, struct metrics_totals *out);

/* Appends every family the shards feed, in the Prometheus text format, for environments that have an index. */
enum pp_result metrics_write(struct metrics *m, struct buf *out) PP_MUST_CHECK;

#endif
