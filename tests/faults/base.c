/* Workloads of base/: buffers, log lines, metrics and their scrape, JSON texts, secrets. */
#include "base/crypto.h"
#include "base/json_text.h"
#include "base/log.h"
#include "base/metrics.h"
#include "workload.h"

#include <stdlib.h>

/* Without memory an append leaves the buffer as it was, marked as failed. */
static enum outcome buffers(void)
{
    static const char line[] = "0123456789abcdef";
    enum outcome outcome = DONE;
    struct buf b;
    buf_init(&b, 8192);
    for (size_t i = 0; i < 8192 / 16 && outcome == DONE; i++) {
        if (ok(i % 3 == 0 ? buf_printf(&b, "%s", line) : buf_append(&b, line, 16))) {
            must(buf_len(&b) == (i + 1) * 16);
        } else {
            must(b.failed && buf_len(&b) == i * 16);
            outcome = REFUSED;
        }
    }
    struct str all = buf_str(&b);
    must(all.n == 0 || all.p != NULL);
    for (size_t i = 0; i < all.n; i++)
        must(all.p[i] == line[i % 16]);
    buf_wipe(&b);
    if (!ok(buf_printf(&b, "%600d", 1)))
        outcome = REFUSED;
    must(buf_len(&b) == (outcome == DONE || !b.failed ? 600 : 0));
    buf_free(&b);
    return outcome;
}

static size_t lines_seen;
static void see_line(void *owner, const char *line, size_t n)
{
    (void)owner;
    must(n > 0 && line[n - 1] == '\n' && memchr(line, '\n', n) == line + n - 1);
    must(line[0] == '{' && n > 2 && line[n - 2] == '}');
    lines_seen++;
}

/* A log line comes whole or not at all, and never costs anybody their errno. */
static enum outcome logging(void)
{
    char text[3000];
    memset(text, '\x01', sizeof text);
    text[sizeof text - 1] = '\0';
    lines_seen = 0;
    log_set_sink(see_line, NULL);
    log_info("main", "production", "short");
    log_info("main", NULL, "%s", text);
    log_set_sink(see_line, NULL);
    return lines_seen == 2 ? DONE : REFUSED;
}

static enum outcome metrics(void)
{
    static char *kept;
    static const char *const names[] = {"none", "host", "peer"};
    const struct metrics_reasons reasons[METRICS_RETRIES + 1] = {
        {.names = names, .count = 3}, {.names = names, .count = 3}, {.names = names, .count = 3}};
    struct metrics *m = metrics_new(reasons);
    struct buf out;
    enum outcome outcome = REFUSED;
    buf_init(&out, 1u << 20);
    if (m == NULL)
        return REFUSED;
    unsigned first = metrics_environment(m, "production"), second = metrics_environment(m, "sandbox");
    struct metrics_shard *shard = metrics_shard_new(m);
    if (shard != NULL) {
        metrics_request(shard, first, metrics_method(str_of("GET")), 200, "0123456789ab", 1000, 900);
        metrics_request(shard, second, metrics_method(str_of("BREW")), 0, NULL, 1000, -1);
        metrics_count(shard, first, METRICS_RETRIES, 1, 1);
        if (ok(metrics_write(m, &out))) {
            if (first == 0 && second == 1) { /* without memory for its name an environment is "other" */
                workload_same(&kept, &out);
                outcome = DONE;
            }
        }
    }
    buf_free(&out);
    metrics_free(m);
    return outcome;
}

static enum outcome texts(void)
{
    json_t *all = json_array();
    enum outcome outcome = DONE;
    json_t *made[] = {json_text(str_of("plain")), json_text(str_of("not \xff UTF-8")), json_text_or_null(""),
                      json_text_lines("one\ntwo\n\nthree"), json_text_lines(NULL)};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        if (made[i] == NULL)
            outcome = REFUSED;
        else if (all == NULL)
            json_decref(made[i]);
        else if (json_array_append_new(all, made[i]) != 0)
            outcome = REFUSED;
    }
    char *text = all == NULL || outcome == REFUSED ? NULL : json_dumps(all, 0);
    if (text == NULL)
        outcome = REFUSED;
    else
        must(strcmp(text, "[\"plain\", \"not ? UTF-8\", null, [\"one\", \"two\", \"three\"], []]") == 0);
    free(text);
    json_decref(all);
    return outcome;
}

static enum outcome secrets(void)
{
    char *small = secret_alloc(40), *large = secret_alloc(4u << 20); /* the second is more than the heap holds */
    unsigned char digest[32];
    enum outcome outcome = small != NULL && large != NULL ? DONE : REFUSED;
    if (small != NULL)
        memset(small, 'x', 40);
    if (crypto_sha256("abc", 3, digest) != PP_OK)
        outcome = REFUSED;
    else
        must(digest[0] == 0xba && digest[31] == 0xad);
    if (crypto_sha1("abc", 3, digest) != PP_OK)
        outcome = REFUSED;
    else
        must(digest[0] == 0xa9);
    secret_free(small, 40);
    secret_free(large, 4u << 20);
    return outcome;
}

static void with_secret_memory(void)
{
    (void)!secret_memory_init();
}

const struct workload base_workloads[] = {
    {"base-buffers", buffers, NULL, 0, 6},
    {"base-log", logging, NULL, 0, 1},
    {"base-metrics", metrics, NULL, 0, 5},
    {"base-json-text", texts, NULL, 0, 10},
    {"base-secrets", secrets, with_secret_memory, 0, 1},
    {0},
};
