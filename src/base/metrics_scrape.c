/* Reading: adds the shards up, for the text format and for figures the status page shows. */
#include "base/metrics_shard.h"
#include "base/metrics_text.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)counter, memory_order_relaxed);
}

static int64_t get_signed(const _Atomic int64_t *gauge)
{
    return atomic_load_explicit((_Atomic int64_t *)(uintptr_t)gauge, memory_order_relaxed);
}

static const char *environment_name(const struct metrics *m, unsigned environment)
{
    return environment < m->count ? m->names[environment] : "other";
}

/* Environments to show: 0..count-1, then "other" if it was ever needed. Returns false when `*i` has passed them all. */
static bool next_environment(const struct metrics *m, unsigned *i)
{
    if (*i >= m->count && *i < LIMIT_ENVIRONMENTS && m->other_used)
        *i = LIMIT_ENVIRONMENTS;
    return *i < m->count || (*i == LIMIT_ENVIRONMENTS && m->other_used);
}

uint64_t metrics_histogram_count(const struct metrics_histogram *h)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        n += h->buckets[i];
    return n;
}

int64_t metrics_quantile(const struct metrics_histogram *h, double fraction)
{
    uint64_t n = metrics_histogram_count(h);
    if (n == 0)
        return -1;
    double rank = fraction * (double)n, below = 0;
    for (unsigned i = 0; i < METRICS_BUCKETS - 1; i++) {
        double here = (double)h->buckets[i];
        if (here > 0 && below + here >= rank) {
            double low = i == 0 ? 0 : (double)metrics_bounds[i - 1];
            double part = rank <= below ? 0 : (rank - below) / here;
            return (int64_t)(low + ((double)metrics_bounds[i] - low) * part);
        }
        below += here;
    }
    return metrics_bounds[METRICS_BUCKETS - 2];
}

static void sum_histogram(struct metrics_histogram *into, const struct shard_histogram *h)
{
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        into->buckets[i] += get(&h->buckets[i]);
    into->sum_usec += get(&h->sum_usec);
}

static void sum_shard(struct metrics_totals *out, const struct shard_environment *e)
{
    for (unsigned i = 0; i < SHARD_SERIES; i++) {
        uint32_t key = atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)&e->series[i].key, memory_order_acquire);
        unsigned method, status, token;
        if (key == 0)
            continue;
        shard_key_split(key, &method, &status, &token);
        out->by_class[status / 100] += get(&e->series[i].count);
    }
    out->requests += get(&e->overflow);
    sum_histogram(&out->total, &e->total);
    sum_histogram(&out->upstream, &e->upstream);
    for (unsigned c = 0; c < METRICS_COUNTERS; c++)
        for (unsigned r = 0; r <= METRICS_REASONS; r++)
            out->counters[c] += get(&e->counters[c][r]);
    for (unsigned g = 0; g < METRICS_GAUGES; g++)
        out->gauges[g] += get_signed(&e->gauges[g]);
    out->websockets += get_signed(&e->websockets_other);
    for (unsigned t = 0; t < METRICS_TOKENS; t++)
        out->websockets += get_signed(&e->tokens[t].websockets);
    out->pool.idle += get(&e->pool[0]);
    out->pool.busy += get(&e->pool[1]);
    out->pool.opening += get(&e->pool[2]);
    out->pool.opened += get(&e->pool[3]);
    out->pool.reused += get(&e->pool[4]);
    out->pool.failed += get(&e->pool[5]);
    out->pool.tls_resumed += get(&e->pool[6]);
}

void metrics_totals(struct metrics *m, unsigned environment, struct metrics_totals *out)
{
    *out = (struct metrics_totals){0};
    if (environment > LIMIT_ENVIRONMENTS)
        environment = LIMIT_ENVIRONMENTS;
    for (struct metrics_shard *s = m->shards; s != NULL; s = s->next) {
        pthread_mutex_lock(&s->lock);
        sum_shard(out, &s->environments[environment]);
        pthread_mutex_unlock(&s->lock);
    }
    for (unsigned i = 0; i < 6; i++)
        out->requests += out->by_class[i];
}

/* --- requests_total: series of all shards, merged by their labels --- */

struct row {
    unsigned environment, method, status;
    char token[16];
    uint64_t count;
};

struct rows {
    struct row *items;
    size_t count, size;
};

static enum pp_result rows_add(struct rows *rows, const struct row *row)
{
    if (rows->count == rows->size) {
        size_t size = rows->size == 0 ? 64 : rows->size * 2;
        struct row *items = realloc(rows->items, size * sizeof *items);
        if (items == NULL)
            return PP_NOMEM;
        rows->items = items;
        rows->size = size;
    }
    rows->items[rows->count++] = *row;
    return PP_OK;
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    if (a->environment != b->environment)
        return a->environment < b->environment ? -1 : 1;
    if (a->method != b->method)
        return a->method < b->method ? -1 : 1;
    if (a->status != b->status)
        return a->status < b->status ? -1 : 1;
    return strcmp(a->token, b->token);
}

static void token_label(const struct shard_environment *e, unsigned token, char out[static 16])
{
    const char *text = token == SHARD_TOKEN_NONE    ? "none"
                       : token == SHARD_TOKEN_OTHER ? "other"
                                                    : e->tokens[token].fingerprint;
    (void)snprintf(out, 16, "%.15s", text);
}

/* `websockets`: rows of the tunnels per token instead of the requests. */
static enum pp_result collect(struct metrics_shard *s, unsigned environment, bool websockets, struct rows *rows)
{
    struct shard_environment *e = &s->environments[environment];
    enum pp_result rc = PP_OK;
    struct row row = {.environment = environment};
    pthread_mutex_lock(&s->lock);
    for (unsigned t = 0; websockets && t <= METRICS_TOKENS && rc == PP_OK; t++) {
        bool other = t == METRICS_TOKENS;
        int64_t now = get_signed(other ? &e->websockets_other : &e->tokens[t].websockets);
        if (other ? now == 0 : e->tokens[t].fingerprint[0] == '\0')
            continue;
        token_label(e, t, row.token);
        row.count = now > 0 ? (uint64_t)now : 0;
        rc = rows_add(rows, &row);
    }
    for (unsigned i = 0; !websockets && i < SHARD_SERIES && rc == PP_OK; i++) {
        uint32_t key = atomic_load_explicit(&e->series[i].key, memory_order_acquire);
        unsigned token;
        row.count = get(&e->series[i].count);
        if (key == 0 || row.count == 0)
            continue;
        shard_key_split(key, &row.method, &row.status, &token);
        token_label(e, token, row.token);
        rc = rows_add(rows, &row);
    }
    row.count = get(&e->overflow);
    if (!websockets && rc == PP_OK && row.count > 0) {
        row.method = METRICS_OTHER_METHOD;
        row.status = SHARD_STATUSES; /* label "other" */
        token_label(e, SHARD_TOKEN_OTHER, row.token);
        rc = rows_add(rows, &row);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum pp_result merged_rows(struct metrics *m, bool websockets, struct rows *rows)
{
    for (unsigned e = 0; next_environment(m, &e); e++)
        for (struct metrics_shard *s = m->shards; s != NULL; s = s->next)
            if (collect(s, e, websockets, rows) != PP_OK)
                return PP_NOMEM;
    size_t kept = 0;
    if (rows->count > 0)
        qsort(rows->items, rows->count, sizeof *rows->items, compare_rows);
    for (size_t i = 0; i < rows->count; i++) {
        if (kept > 0 && compare_rows(&rows->items[kept - 1], &rows->items[i]) == 0)
            rows->items[kept - 1].count += rows->items[i].count;
        else
            rows->items[kept++] = rows->items[i];
    }
    rows->count = kept;
    return PP_OK;
}

static enum pp_result write_requests(struct metrics *m, struct buf *out)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"};
    struct rows rows = {0};
    enum pp_result rc = merged_rows(m, false, &rows);
    if (rc != PP_OK)
        goto out;
    metrics_text_family(out, "proofproxy_requests_total", "counter",
                        "Finished requests by the status the app was sent and the token upstream answered to.");
    for (size_t i = 0; i < rows.count; i++) {
        const struct row *row = &rows.items[i];
        char code[16];
        if (row->status == 0 || row->status == SHARD_STATUSES)
            (void)snprintf(code, sizeof code, "%s", row->status == 0 ? "aborted" : "other");
        else
            (void)snprintf(code, sizeof code, "%u", row->status);
        struct metrics_label labels[] = {{"environment", environment_name(m, row->environment)},
                                         {"method", methods[row->method]},
                                         {"code", code},
                                         {"token", row->token}};
        metrics_text_count(out, "proofproxy_requests_total", labels, 4, row->count);
    }
out:
    free(rows.items);
    return rc;
}

static enum pp_result write_websockets(struct metrics *m, struct buf *out)
{
    struct rows rows = {0};
    enum pp_result rc = merged_rows(m, true, &rows);
    if (rc != PP_OK)
        goto out;
    metrics_text_family(out, "proofproxy_websocket_sessions", "gauge",
                        "Open WebSocket tunnels by the token they were opened with.");
    for (size_t i = 0; i < rows.count; i++) {
        struct metrics_label labels[] = {{"environment", environment_name(m, rows.items[i].environment)},
                                         {"token", rows.items[i].token}};
        metrics_text_count(out, "proofproxy_websocket_sessions", labels, 2, rows.items[i].count);
    }
out:
    free(rows.items);
    return rc;
}

/* --- the other families --- */

static void write_histogram(struct buf *out, const char *name, const char *environment,
                            const struct metrics_histogram *h)
{
    char series[96], bound[32];
    uint64_t below = 0;
    struct metrics_label labels[] = {{"environment", environment}, {"le", bound}};
    (void)snprintf(series, sizeof series, "%s_bucket", name);
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        below += h->buckets[i];
        if (i < METRICS_BUCKETS - 1)
            (void)snprintf(bound, sizeof bound, "%g", (double)metrics_bounds[i] / 1e6);
        else
            (void)snprintf(bound, sizeof bound, "+Inf");
        metrics_text_count(out, series, labels, 2, below);
    }
    (void)snprintf(series, sizeof series, "%s_sum", name);
    metrics_text_sample(out, series, labels, 1, (double)h->sum_usec / 1e6);
    (void)snprintf(series, sizeof series, "%s_count", name);
    metrics_text_count(out, series, labels, 1, below);
}

struct counter_family {
    const char *name, *label, *help;
};
static const struct counter_family counter_families[METRICS_COUNTERS] = {
    [METRICS_UPSTREAM_ERRORS] = {"proofproxy_upstream_errors_total", "reason",
                                 "Tries that got no usable answer from upstream, by reason."},
    [METRICS_LOCAL_REJECTIONS] = {"proofproxy_local_rejections_total", "reason",
                                  "Requests answered by proofproxy itself before upstream was asked, by reason."},
    [METRICS_RETRIES] = {"proofproxy_retries_total", "reason",
                         "Requests sent to upstream once more, by the failure that caused it; 401s are counted as "
                         "token fallbacks."},
    [METRICS_TOKEN_FALLBACKS] = {"proofproxy_token_fallbacks_total", NULL,
                                 "Answers 401 from upstream that were replayed with another held token."},
    [METRICS_LEAKS_MASKED] = {"proofproxy_response_leaks_masked_total", NULL,
                              "Responses in which upstream echoed a held token, which was masked."},
    [METRICS_AUTHORIZATION_STRIPPED] = {"proofproxy_client_authorization_stripped_total", NULL,
                                        "Requests whose own Authorization header was dropped."},
    [METRICS_WEBSOCKET_BYTES] = {"proofproxy_websocket_bytes_total", "direction",
                                 "Bytes passed through WebSocket tunnels after the handshake."},
};

static uint64_t counter_sum(const struct metrics *m, unsigned environment, enum metrics_counter counter, size_t from,
                            size_t to)
{
    uint64_t n = 0;
    for (const struct metrics_shard *s = m->shards; s != NULL; s = s->next)
        for (size_t r = from; r < to; r++)
            n += get(&s->environments[environment].counters[counter][r]);
    return n;
}

/* The usual reasons are always shown; what has no name is "other". */
static void write_counter(struct metrics *m, enum metrics_counter counter, struct buf *out)
{
    const struct counter_family *family = &counter_families[counter];
    const struct metrics_reasons *reasons = &m->reasons[counter];
    metrics_text_family(out, family->name, "counter", family->help);
    for (unsigned e = 0; next_environment(m, &e); e++) {
        struct metrics_label labels[] = {{"environment", environment_name(m, e)}, {family->label, NULL}};
        if (family->label == NULL) {
            metrics_text_count(out, family->name, labels, 1, counter_sum(m, e, counter, 0, METRICS_REASONS + 1));
            continue;
        }
        for (size_t r = 0; r <= reasons->count; r++) {
            bool named = r < reasons->count;
            uint64_t n = counter_sum(m, e, counter, r, named ? r + 1 : METRICS_REASONS + 1);
            labels[1].value = named ? reasons->names[r] : "other";
            bool always =
                named && (counter == METRICS_WEBSOCKET_BYTES || (r >= reasons->always && r < reasons->always_end));
            if (n > 0 || always)
                metrics_text_count(out, family->name, labels, 2, n);
        }
    }
}

static void write_value(struct metrics *m, struct buf *out, const char *name, const char *type, const char *help,
                        uint64_t (*value)(const struct metrics_totals *))
{
    metrics_text_family(out, name, type, help);
    for (unsigned e = 0; next_environment(m, &e); e++) {
        struct metrics_totals totals;
        struct metrics_label label = {"environment", environment_name(m, e)};
        metrics_totals(m, e, &totals);
        metrics_text_count(out, name, &label, 1, value(&totals));
    }
}

static uint64_t inflight(const struct metrics_totals *t)
{
    return t->gauges[METRICS_INFLIGHT] > 0 ? (uint64_t)t->gauges[METRICS_INFLIGHT] : 0;
}

static uint64_t connections(const struct metrics_totals *t)
{
    return t->gauges[METRICS_CONNECTIONS] > 0 ? (uint64_t)t->gauges[METRICS_CONNECTIONS] : 0;
}

static uint64_t opened(const struct metrics_totals *t)
{
    return t->pool.opened;
}

static uint64_t reused(const struct metrics_totals *t)
{
    return t->pool.reused;
}

static uint64_t failed(const struct metrics_totals *t)
{
    return t->pool.failed;
}

static uint64_t resumed(const struct metrics_totals *t)
{
    return t->pool.tls_resumed;
}

static void write_pool(struct metrics *m, struct buf *out)
{
    metrics_text_family(out, "proofproxy_upstream_connections", "gauge", "Connections to upstream by state.");
    for (unsigned e = 0; next_environment(m, &e); e++) {
        struct metrics_totals t;
        struct metrics_label labels[] = {{"environment", environment_name(m, e)}, {"state", "idle"}};
        metrics_totals(m, e, &t);
        metrics_text_count(out, "proofproxy_upstream_connections", labels, 2, t.pool.idle);
        labels[1].value = "busy";
        metrics_text_count(out, "proofproxy_upstream_connections", labels, 2, t.pool.busy);
        labels[1].value = "opening";
        metrics_text_count(out, "proofproxy_upstream_connections", labels, 2, t.pool.opening);
    }
    write_value(m, out, "proofproxy_upstream_connections_opened_total", "counter", "Connections to upstream opened.",
                opened);
    write_value(m, out, "proofproxy_upstream_connections_reused_total", "counter",
                "Times a kept connection to upstream served a further request.", reused);
    write_value(m, out, "proofproxy_upstream_connections_failed_total", "counter",
                "Connections to upstream that could not be opened.", failed);
    write_value(m, out, "proofproxy_upstream_tls_resumed_total", "counter",
                "TLS handshakes with upstream that resumed a session.", resumed);
}

enum pp_result metrics_write(struct metrics *m, struct buf *out)
{
    enum pp_result rc = write_requests(m, out);
    if (rc != PP_OK)
        return rc;
    metrics_text_family(out, "proofproxy_request_duration_seconds", "histogram",
                        "Time from a request's first byte to the last of its answer; of a WebSocket, its handshake.");
    for (unsigned e = 0; next_environment(m, &e); e++) {
        struct metrics_totals t;
        metrics_totals(m, e, &t);
        write_histogram(out, "proofproxy_request_duration_seconds", environment_name(m, e), &t.total);
    }
    metrics_text_family(out, "proofproxy_upstream_duration_seconds", "histogram",
                        "Of the request's time, what passed while upstream was asked, retries included.");
    for (unsigned e = 0; next_environment(m, &e); e++) {
        struct metrics_totals t;
        metrics_totals(m, e, &t);
        write_histogram(out, "proofproxy_upstream_duration_seconds", environment_name(m, e), &t.upstream);
    }
    for (unsigned c = 0; c < METRICS_COUNTERS; c++)
        write_counter(m, (enum metrics_counter)c, out);
    rc = write_websockets(m, out);
    if (rc != PP_OK)
        return rc;
    write_value(m, out, "proofproxy_inflight", "gauge", "Requests being served now, tunnels not counted.", inflight);
    write_value(m, out, "proofproxy_connections", "gauge", "Connections of apps now.", connections);
    write_pool(m, out);
    return out->failed ? PP_NOMEM : PP_OK;
}
