/* The snapshot as JSON: /status. */
#include "config.h"

#include "base/json_text.h"
#include "daemon/pages.h"

#include <stdlib.h>
#include <unistd.h>

#define POINTS_MERGE 6 /* steps of history per point: one minute */

/* RFC 3339, or null for 0. */
static json_t *moment(int64_t wall)
{
    char text[25];
    if (wall <= 0)
        return json_null();
    clock_format_wall(wall, text);
    return json_string(text);
}

static json_t *seconds(int64_t usec)
{
    return usec < 0 ? json_null() : json_real((double)usec / 1e6);
}

static json_t *integer(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *names_of(const struct str *items, size_t count)
{
    json_t *names = json_array();
    for (size_t i = 0; i < count; i++)
        json_text_append(&names, json_text(items[i]));
    return names;
}

static json_t *token_object(const struct status_token *t)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "fingerprint", t->fingerprint,
                     "role", token_role_name(t->role), "verdict", token_verdict_name(t->verdict), "in_file",
                     t->in_file ? 1 : 0, "since", moment(t->since), "expires", moment(t->expires), "grace_ends",
                     moment(t->grace_ends), "next_try", moment(t->next_try), "last_used", moment(t->last_used),
                     "requests", integer(t->requests), "refusals", integer(t->refusals), "websockets",
                     json_integer(t->websockets));
}

static json_t *upstream_object(const struct status_snapshot *s, const struct status_environment *e)
{
    struct buf text;
    buf_init(&text, 1024);
    status_upstream_text(s, e, &text);
    json_t *shown = text.failed ? NULL : json_text(buf_str(&text));
    json_t *object = json_pack(
        "{s:b, s:o, s:i, s:o, s:o, s:o}", "ok", status_upstream_ok(s, e->config->name, NULL) ? 1 : 0, "text", shown,
        "status", e->upstream.status, "when", moment(e->upstream.when), "seconds",
        seconds(e->upstream.when == 0 ? -1 : e->upstream.usec), "failure", json_text_or_null(e->upstream.failure));
    buf_free(&text);
    return object;
}

static json_t *history_array(const struct history *h)
{
    struct history_point *points = h == NULL ? NULL : calloc(HISTORY_STEPS, sizeof *points);
    json_t *array = h != NULL && points == NULL ? NULL : json_array();
    size_t count = points == NULL ? 0 : history_points(h, POINTS_MERGE, points);
    for (size_t i = 0; i < count; i++)
        json_text_append(&array, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "time", moment(points[i].when), "requests",
                                           integer(points[i].requests), "errors", integer(points[i].errors),
                                           "p50_seconds", seconds(points[i].p50), "p99_seconds", seconds(points[i].p99),
                                           "websockets", integer(points[i].websockets)));
    free(points);
    return array;
}

static json_t *counters_object(const struct metrics_totals *t)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "total", integer(t->requests),
                     "1xx", integer(t->by_class[1]), "2xx", integer(t->by_class[2]), "3xx", integer(t->by_class[3]),
                     "4xx", integer(t->by_class[4]), "5xx", integer(t->by_class[5]), "aborted", integer(t->by_class[0]),
                     "local_rejections", integer(t->counters[METRICS_LOCAL_REJECTIONS]), "upstream_errors",
                     integer(t->counters[METRICS_UPSTREAM_ERRORS]), "retries", integer(t->counters[METRICS_RETRIES]),
                     "token_fallbacks", integer(t->counters[METRICS_TOKEN_FALLBACKS]), "leaks_masked",
                     integer(t->counters[METRICS_LEAKS_MASKED]));
}

static json_t *pool_object(const struct metrics_pool *p)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "idle", integer(p->idle), "busy", integer(p->busy),
                     "opening", integer(p->opening), "opened", integer(p->opened), "reused", integer(p->reused),
                     "failed", integer(p->failed), "tls_resumed", integer(p->tls_resumed));
}

static json_t *listen_array(const struct listen_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_text_append(&array, json_text(str_of(list->items[i].text)));
    return array;
}

static const char *token_source(const struct environment_config *c)
{
    return c->token_source == TOKEN_SOURCE_INLINE ? "inline" : c->token_file;
}

static json_t *environment_object(const struct status_snapshot *s, const struct status_environment *e)
{
    const struct environment_config *c = e->config;
    const struct metrics_totals *t = &e->totals;
    json_t *tokens = json_array();
    for (size_t i = 0; i < e->token_count; i++)
        json_text_append(&tokens, token_object(&e->tokens[i]));
    return json_pack("{s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:b, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:I, s:I, s:I, s:o, "
                     "s:{s:o, s:o, s:o}, s:o, s:o}",
                     "name", json_text(str_of(c->name)), "base_url", json_text(str_of(c->base_url.text)), "listen",
                     listen_array(&c->listen), "access", "users", names_of(c->allow_users.names, c->allow_users.count),
                     "groups", names_of(c->allow_groups.names, c->allow_groups.count), "require_header",
                     c->require_name.n == 0 ? json_null() : json_text(c->require_name), "ready",
                     status_ready(s, c->name, NULL) ? 1 : 0, "tokens", tokens, "retire",
                     json_text_or_null(e->retire_sentence), "token_file", "source", json_text(str_of(token_source(c))),
                     "stale_since", moment(e->stale_since), "problem", json_text_or_null(e->stale_reason), "upstream",
                     upstream_object(s, e), "inflight", (json_int_t)t->gauges[METRICS_INFLIGHT], "connections",
                     (json_int_t)t->gauges[METRICS_CONNECTIONS], "websockets", (json_int_t)t->websockets, "requests",
                     counters_object(t), "latency_seconds", "p50", seconds(metrics_quantile(&t->total, 0.5)), "p90",
                     seconds(metrics_quantile(&t->total, 0.9)), "p99", seconds(metrics_quantile(&t->total, 0.99)),
                     "pool", pool_object(&t->pool), "history", history_array(e->history));
}

static json_t *memory_object(const struct memory_bound *b)
{
    struct buf text;
    json_t *parts = json_object();
    bool whole = true;
    for (size_t i = 0; i < MEMORY_PARTS && b->parts[i].name != NULL; i++)
        whole = json_object_set_new(parts, b->parts[i].name,
                                    json_pack("{s:o, s:o, s:s}", "count", integer(b->parts[i].count), "bytes",
                                              integer(b->parts[i].bytes), "keys", b->parts[i].keys)) == 0 &&
                whole;
    buf_init(&text, 2048);
    memory_bound_text(b, &text);
    json_t *shown = text.failed || !whole ? NULL : json_text(buf_str(&text));
    json_t *object = json_pack("{s:o, s:o, s:o}", "bound_bytes", integer(b->bytes), "text", shown, "parts", parts);
    buf_free(&text);
    return object;
}

static json_t *problems_array(const struct status_snapshot *s)
{
    struct buf text;
    buf_init(&text, 64u * 1024);
    (void)status_problems(s, &text);
    buf_append_char(&text, '\0');
    json_t *array = text.failed ? NULL : json_text_lines(buf_str(&text).p);
    buf_free(&text);
    return array;
}

enum pp_result pages_status_json(const struct status_snapshot *s, struct buf *out)
{
    json_t *environments = json_array();
    for (size_t i = 0; i < s->environment_count; i++)
        json_text_append(&environments, environment_object(s, &s->environments[i]));
    const char *state = s->draining ? "draining" : status_ready(s, NULL, NULL) ? "ready" : "not_ready";
    json_t *root = json_pack(
        "{s:s, s:i, s:o, s:o, s:s, s:o, s:{s:o, s:b, s:o, s:o, s:o, s:o}, s:{s:i, s:i}, s:o, s:o, s:o, s:o}", "version",
        PACKAGE_VERSION, "pid", (int)getpid(), "time", moment(s->now), "started", moment(s->started), "state", state,
        "problems", problems_array(s), "config", "path", json_text(str_of(s->config->path)), "ok", s->reload.ok ? 1 : 0,
        "last_try", moment(s->reload.when), "last_success", moment(s->reload.success_when), "problems",
        json_text_lines(s->reload.problems), "restart_needed", json_text_lines(s->reload.restart), "workers", "count",
        (int)s->workers, "stalled", (int)s->stalled_workers, "admin_listen", listen_array(&s->config->admin_listen),
        "posture", json_text_or_null(s->posture), "memory", memory_object(&s->memory), "environments", environments);
    enum pp_result rc = json_text_dump(root, JSON_INDENT(2), out);
    if (rc == PP_OK)
        rc = buf_append_char(out, '\n');
    json_decref(root);
    return rc;
}
