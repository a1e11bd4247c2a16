/* The daemon's state at one moment, for everything that shows it. */
#include "daemon/daemon.h"

#include <stdio.h>

static const char *text_of(struct buf *b)
{
    if (buf_len(b) == 0)
        return "";
    char *at;
    size_t room;
    if (buf_reserve(b, 1, &at, &room) != PP_OK)
        return "";
    *at = '\0'; /* behind the contents, not part of them */
    return buf_str(b).p;
}

static void fill_environment(const struct daemon *d, const struct daemon_environment *e, struct status_environment *out)
{
    struct token_manager_state state;
    out->config = e->config;
    out->metrics_index = e->metrics_index;
    out->history = e->history;
    metrics_totals(d->metrics, e->metrics_index, &out->totals);
    status_fill_tokens(out, token_manager_store(e->tokens), clock_now(), clock_wall());
    token_manager_state(e->tokens, &state);
    out->stale_since = state.stale ? state.stale_since : 0;
    (void)snprintf(out->stale_reason, sizeof out->stale_reason, "%s", state.stale ? state.problem : "");
    out->upstream.when = state.probed ? state.probed_at : 0;
    out->upstream.status = state.probe_status;
    out->upstream.usec = state.probe_usec;
    out->upstream.probing_is_off = e->config->probe_interval == 0;
    (void)snprintf(out->upstream.failure, sizeof out->upstream.failure, "%s", state.probe_failure);
}

void daemon_snapshot(void *daemon, struct status_snapshot *out)
{
    struct daemon *d = daemon;
    memset(out, 0, sizeof *out);
    out->now = clock_wall();
    out->started = d->started;
    out->config = d->config;
    out->draining = d->draining;
    out->workers = d->worker_count;
    out->stalled_workers = d->stalled_workers;
    for (unsigned i = 0; i < d->worker_count; i++)
        out->worker_clients[i] = atomic_load_explicit(&d->clients.clients[i], memory_order_relaxed);
    out->reload.ok = d->reload.ok;
    out->reload.when = d->reload.when;
    out->reload.success_when = d->reload.success_when;
    out->reload.problems = text_of(&d->reload.problems);
    out->reload.restart = text_of(&d->reload.restart);
    out->posture = text_of(&d->posture);
    out->memory = d->memory;
    out->environment_count = d->environment_count;
    for (size_t i = 0; i < d->environment_count; i++)
        fill_environment(d, &d->environments[i], &out->environments[i]);
}
