/* How a shard lies in memory: shared by the two halves of the metrics module (metrics.c writes, metrics_scrape.c
 * reads) and nobody else.
 *
 * Counting is a relaxed load and store by the one writer. What changes the meaning of a count (a token slot given to
 * another fingerprint) happens under the shard's lock, which a scrape holds while it copies; that is rare. */
#ifndef PP_BASE_METRICS_SHARD_H
#define PP_BASE_METRICS_SHARD_H

#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHARD_ENVIRONMENTS (LIMIT_ENVIRONMENTS + 1) /* the last one is "other" */
#define SHARD_SERIES       1024u                    /* label sets of requests_total per environment, a power of two */
#define SHARD_SERIES_MAX   (SHARD_SERIES / 4 * 3)   /* beyond: one series of "other" labels */
#define SHARD_TOKEN_OTHER  METRICS_TOKENS           /* every slot was taken by a token that cannot be moved out */
#define SHARD_TOKEN_NONE   (METRICS_TOKENS + 1)
#define SHARD_TOKEN_LABELS (METRICS_TOKENS + 2)
#define SHARD_STATUSES     600u
#define SHARD_METHODS      (METRICS_OTHER_METHOD + 1)

struct shard_token {
    char fingerprint[16]; /* NUL-terminated, empty: free; written under the lock */
    uint64_t last_used;   /* of the shard's sequence; the writer's alone */
    _Atomic int64_t websockets;
};

struct shard_series {
    _Atomic uint32_t key; /* 0: free; else 1 + shard_key() */
    _Atomic uint64_t count;
};

struct shard_histogram {
    _Atomic uint64_t buckets[METRICS_BUCKETS];
    _Atomic uint64_t sum_usec;
};

struct shard_environment {
    struct shard_token tokens[METRICS_TOKENS];
    _Atomic int64_t websockets_other;
    struct shard_series series[SHARD_SERIES];
    unsigned series_used;
    _Atomic uint64_t overflow;
    struct shard_histogram total, upstream;
    _Atomic uint64_t counters[METRICS_COUNTERS][METRICS_REASONS + 1]; /* the last one is "other" */
    _Atomic int64_t gauges[METRICS_GAUGES];
    _Atomic uint64_t pool[sizeof(struct metrics_pool) / sizeof(uint64_t)];
};

struct metrics_shard {
    pthread_mutex_t lock;
    uint64_t sequence;
    struct metrics_shard *next;
    struct shard_environment environments[SHARD_ENVIRONMENTS];
};

struct metrics {
    struct metrics_reasons reasons[METRICS_COUNTERS];
    char *names[LIMIT_ENVIRONMENTS];
    unsigned count;
    bool other_used;
    struct metrics_shard *shards;
};

static inline uint32_t shard_key(unsigned method, unsigned status, unsigned token)
{
    return 1 + (method * SHARD_STATUSES + status) * SHARD_TOKEN_LABELS + token;
}

static inline void shard_key_split(uint32_t key, unsigned *method, unsigned *status, unsigned *token)
{
    key -= 1;
    *token = key % SHARD_TOKEN_LABELS;
    *status = key / SHARD_TOKEN_LABELS % SHARD_STATUSES;
    *method = key / SHARD_TOKEN_LABELS / SHARD_STATUSES;
}

#endif
