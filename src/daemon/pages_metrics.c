/* /metrics: the shards' families and those that come from the snapshot. */
#include "config.h"

#include "base/metrics_text.h"
#include "daemon/pages.h"
#include "daemon/process_metrics.h"

#include <stdio.h>

static void write_daemon(const struct status_snapshot *s, struct buf *out)
{
    struct metrics_label version = {"version", PACKAGE_VERSION};
    metrics_text_family(out, "proofproxy_build_info", "gauge", "Always 1; the label says which version runs.");
    metrics_text_count(out, "proofproxy_build_info", &version, 1, 1);
    metrics_text_gauge(out, "proofproxy_ready", "1 when /readyz says so.", status_ready(s, NULL, NULL) ? 1 : 0);
    metrics_text_gauge(out, "proofproxy_config_last_reload_successful",
                       "1 when the last load of the configuration succeeded.", s->reload.ok ? 1 : 0);
    metrics_text_gauge(out, "proofproxy_config_last_reload_success_timestamp_seconds",
                       "When the configuration was last loaded successfully.", (double)s->reload.success_when / 1e3);
    metrics_text_gauge(out, "proofproxy_config_restart_needed",
                       "1 when the file holds changes that wait for a restart.",
                       s->reload.restart != NULL && s->reload.restart[0] != '\0' ? 1 : 0);
    metrics_text_gauge(out, "proofproxy_workers", "Event-loop threads.", s->workers);
    metrics_text_gauge(out, "proofproxy_workers_stalled", "Of them, those whose loop has not turned for seconds.",
                       s->stalled_workers);
    metrics_text_family(out, "proofproxy_worker_clients", "gauge", "Connections and WebSockets of apps, by worker.");
    for (unsigned i = 0; i < s->workers; i++) {
        char worker[16];
        (void)snprintf(worker, sizeof worker, "%u", i);
        struct metrics_label label = {"worker", worker};
        metrics_text_count(out, "proofproxy_worker_clients", &label, 1, s->worker_clients[i]);
    }
}

/* One sample per held token; a negative value leaves it out. */
static void write_token_gauge(const struct status_snapshot *s, struct buf *out, const char *name, const char *help,
                              double (*value)(const struct status_token *))
{
    metrics_text_family(out, name, "gauge", help);
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        for (size_t t = 0; t < e->token_count; t++) {
            struct metrics_label labels[] = {{"environment", e->config->name},
                                             {"role", token_role_name(e->tokens[t].role)},
                                             {"fingerprint", e->tokens[t].fingerprint}};
            if (value(&e->tokens[t]) >= 0)
                metrics_text_sample(out, name, labels, 3, value(&e->tokens[t]));
        }
    }
}

static double one(const struct status_token *t)
{
    (void)t;
    return 1;
}

static double accepted(const struct status_token *t)
{
    return t->verdict == TOKEN_ACCEPTED ? 1 : 0;
}

static double expiry(const struct status_token *t)
{
    return t->expires > 0 ? (double)t->expires / 1e3 : -1;
}

static double last_used(const struct status_token *t)
{
    return (double)t->last_used / 1e3;
}

static void write_tokens(const struct status_snapshot *s, struct buf *out)
{
    write_token_gauge(s, out, "proofproxy_token_info", "Always 1; one series for each held token.", one);
    write_token_gauge(s, out, "proofproxy_token_accepted", "1 while Proof accepts the token.", accepted);
    write_token_gauge(s, out, "proofproxy_token_expiry_timestamp_seconds",
                      "When the token ends by its expires=; absent without one.", expiry);
    write_token_gauge(s, out, "proofproxy_token_last_used_timestamp_seconds",
                      "When a request last carried the token, probes not counted; 0 if never.", last_used);
    metrics_text_family(out, "proofproxy_token_file_stale_seconds", "gauge",
                        "How long the token file has been unusable; 0 while what it holds is in force.");
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        struct metrics_label label = {"environment", e->config->name};
        int64_t stale = e->stale_since > 0 && s->now > e->stale_since ? s->now - e->stale_since : 0;
        metrics_text_sample(out, "proofproxy_token_file_stale_seconds", &label, 1,
                            e->stale_since > 0 && stale == 0 ? 0.001 : (double)stale / 1e3);
    }
}

static void write_probe(const struct status_snapshot *s, struct buf *out, const char *name, const char *help,
                        double (*value)(const struct status_snapshot *, const struct status_environment *))
{
    metrics_text_family(out, name, "gauge", help);
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        struct metrics_label label = {"environment", e->config->name};
        if (e->upstream.when > 0)
            metrics_text_sample(out, name, &label, 1, value(s, e));
    }
}

static double probe_ok(const struct status_snapshot *s, const struct status_environment *e)
{
    return status_upstream_ok(s, e->config->name, NULL) ? 1 : 0;
}

static double probe_when(const struct status_snapshot *s, const struct status_environment *e)
{
    (void)s;
    return (double)e->upstream.when / 1e3;
}

static double probe_duration(const struct status_snapshot *s, const struct status_environment *e)
{
    (void)s;
    return (double)e->upstream.usec / 1e6;
}

enum pp_result pages_metrics(const struct status_snapshot *s, struct metrics *m, struct buf *out)
{
    write_daemon(s, out);
    write_tokens(s, out);
    write_probe(s, out, "proofproxy_upstream_probe_success", "1 when /upstreamz says so of the last probe.", probe_ok);
    write_probe(s, out, "proofproxy_upstream_probe_timestamp_seconds", "When the last probe ended.", probe_when);
    write_probe(s, out, "proofproxy_upstream_probe_duration_seconds", "How long the last probe took.", probe_duration);
    enum pp_result rc = metrics_write(m, out);
    if (rc != PP_OK)
        return rc;
    process_metrics_write(out, s->started);
    return out->failed ? PP_NOMEM : PP_OK;
}
