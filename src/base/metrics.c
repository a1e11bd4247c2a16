/* Counting: what a worker does to its own shard, and how shards come to be. */
#include "base/metrics_shard.h"

#include <stdlib.h>

static const struct metrics_reasons directions = {(const char *const[]){"to_upstream", "to_client"}, 2, 0, 2};

/* Proof's API answers in 20 to 500 ms, a local refusal in some 100 us: fine steps there, and one at each default
 * timeout (3 s, 30 s). */
const int64_t metrics_bounds[METRICS_BUCKETS - 1] = {500,     1000,    2500,    5000,     10000,   25000,  50000,
                                                     75000,   100000,  150000,  200000,   300000,  500000, 750000,
                                                     1000000, 1500000, 3000000, 10000000, 30000000};

struct metrics *metrics_new(const struct metrics_reasons reasons[static METRICS_RETRIES + 1])
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    for (unsigned i = 0; i <= METRICS_RETRIES; i++) {
        m->reasons[i] = reasons[i];
        if (reasons[i].count > METRICS_REASONS)
            m->reasons[i].count = METRICS_REASONS;
    }
    m->reasons[METRICS_WEBSOCKET_BYTES] = directions;
    return m;
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    while (m->shards != NULL) {
        struct metrics_shard *s = m->shards;
        m->shards = s->next;
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
    for (unsigned i = 0; i < m->count; i++)
        free(m->names[i]);
    free(m);
}

unsigned metrics_environment(struct metrics *m, const char *name)
{
    for (unsigned i = 0; i < m->count; i++)
        if (strcmp(m->names[i], name) == 0)
            return i;
    if (m->count < LIMIT_ENVIRONMENTS) {
        m->names[m->count] = strdup(name);
        if (m->names[m->count] != NULL)
            return m->count++;
    }
    m->other_used = true;
    return LIMIT_ENVIRONMENTS;
}

struct metrics_shard *metrics_shard_new(struct metrics *m)
{
    /* Some 500 KiB of address space; pages of environments that do not exist are never touched. */
    struct metrics_shard *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        free(s);
        return NULL;
    }
    s->next = m->shards;
    m->shards = s;
    return s;
}

unsigned metrics_method(struct str method)
{
    static const struct str names[] = {STR("GET"),   STR("HEAD"),   STR("POST"),   STR("PUT"),
                                       STR("PATCH"), STR("DELETE"), STR("OPTIONS")};
    for (unsigned i = 0; i < METRICS_OTHER_METHOD; i++)
        if (str_equal(method, names[i]))
            return i;
    return METRICS_OTHER_METHOD;
}

/* One writer: no read-modify-write instruction is needed, a scrape sees either value. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void add_signed(_Atomic int64_t *gauge, int64_t n)
{
    atomic_store_explicit(gauge, atomic_load_explicit(gauge, memory_order_relaxed) + n, memory_order_relaxed);
}

static struct shard_environment *environment_of(struct metrics_shard *s, unsigned environment)
{
    return &s->environments[environment < LIMIT_ENVIRONMENTS ? environment : LIMIT_ENVIRONMENTS];
}

/* Takes slot `i` from its fingerprint: what was counted under it ends, as that token is long out of use. */
static void token_slot_assign(struct metrics_shard *s, struct shard_environment *e, unsigned i, const char *token)
{
    pthread_mutex_lock(&s->lock);
    for (unsigned n = 0; n < SHARD_SERIES && e->tokens[i].fingerprint[0] != '\0'; n++) {
        uint32_t key = atomic_load_explicit(&e->series[n].key, memory_order_relaxed);
        if (key != 0 && (key - 1) % SHARD_TOKEN_LABELS == i)
            atomic_store_explicit(&e->series[n].count, 0, memory_order_relaxed);
    }
    size_t length = strnlen(token, sizeof e->tokens[i].fingerprint - 1);
    memcpy(e->tokens[i].fingerprint, token, length);
    e->tokens[i].fingerprint[length] = '\0';
    pthread_mutex_unlock(&s->lock);
}

/* Index of the token's label; finds a slot for one not seen before: a free one, else the one used longest ago that no
 * tunnel rides. */
static unsigned token_slot(struct metrics_shard *s, struct shard_environment *e, const char *token)
{
    if (token == NULL)
        return SHARD_TOKEN_NONE;
    unsigned best = SHARD_TOKEN_OTHER;
    for (unsigned i = 0; i < METRICS_TOKENS; i++) {
        struct shard_token *t = &e->tokens[i];
        if (strncmp(t->fingerprint, token, sizeof t->fingerprint - 1) == 0) {
            t->last_used = ++s->sequence;
            return i;
        }
        if (atomic_load_explicit(&t->websockets, memory_order_relaxed) == 0 &&
            (best == SHARD_TOKEN_OTHER || t->last_used < e->tokens[best].last_used))
            best = i;
        if (t->fingerprint[0] == '\0')
            break; /* slots fill from the front: this one was never used, and so is the best */
    }
    if (best == SHARD_TOKEN_OTHER)
        return best;
    token_slot_assign(s, e, best, token);
    e->tokens[best].last_used = ++s->sequence;
    return best;
}

static _Atomic uint64_t *series_of(struct shard_environment *e, uint32_t key)
{
    uint32_t hash = key * 2654435761u; /* multiplicative hashing: neighbouring keys spread over the table */
    for (uint32_t i = hash >> 16;; i++) {
        struct shard_series *series = &e->series[i & (SHARD_SERIES - 1)];
        uint32_t there = atomic_load_explicit(&series->key, memory_order_relaxed);
        if (there == key)
            return &series->count;
        if (there == 0) {
            if (e->series_used >= SHARD_SERIES_MAX)
                return &e->overflow;
            e->series_used++;
            atomic_store_explicit(&series->key, key, memory_order_release);
            return &series->count;
        }
    }
}

static void observe(struct shard_histogram *h, int64_t usec)
{
    unsigned i = 0;
    if (usec < 0)
        usec = 0;
    while (i < METRICS_BUCKETS - 1 && usec > metrics_bounds[i])
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum_usec, (uint64_t)usec);
}

void metrics_request(struct metrics_shard *s, unsigned environment, unsigned method, int status, const char *token,
                     int64_t total_usec, int64_t upstream_usec)
{
    struct shard_environment *e = environment_of(s, environment);
    unsigned code = status < 100 || status >= (int)SHARD_STATUSES ? 0 : (unsigned)status;
    unsigned label = method < SHARD_METHODS ? method : METRICS_OTHER_METHOD;
    add(series_of(e, shard_key(label, code, token_slot(s, e, token))), 1);
    observe(&e->total, total_usec);
    if (upstream_usec >= 0)
        observe(&e->upstream, upstream_usec);
}

void metrics_count(struct metrics_shard *s, unsigned environment, enum metrics_counter counter, unsigned reason,
                   uint64_t n)
{
    struct shard_environment *e = environment_of(s, environment);
    add(&e->counters[counter][reason < METRICS_REASONS ? reason : METRICS_REASONS], n);
}

void metrics_gauge(struct metrics_shard *s, unsigned environment, enum metrics_gauge gauge, int change)
{
    add_signed(&environment_of(s, environment)->gauges[gauge], change);
}

unsigned metrics_websocket_open(struct metrics_shard *s, unsigned environment, const char *token)
{
    struct shard_environment *e = environment_of(s, environment);
    unsigned handle = token_slot(s, e, token);
    add_signed(handle < METRICS_TOKENS ? &e->tokens[handle].websockets : &e->websockets_other, 1);
    return handle;
}

void metrics_websocket_close(struct metrics_shard *s, unsigned environment, unsigned handle)
{
    struct shard_environment *e = environment_of(s, environment);
    add_signed(handle < METRICS_TOKENS ? &e->tokens[handle].websockets : &e->websockets_other, -1);
}

void metrics_set_pool(struct metrics_shard *s, unsigned environment, const struct metrics_pool *pool)
{
    struct shard_environment *e = environment_of(s, environment);
    const uint64_t figures[] = {pool->idle,   pool->busy,   pool->opening,    pool->opened,
                                pool->reused, pool->failed, pool->tls_resumed};
    _Static_assert(sizeof figures == sizeof e->pool, "one place for every figure of the pool");
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        atomic_store_explicit(&e->pool[i], figures[i], memory_order_relaxed);
}
