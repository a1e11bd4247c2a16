/* Judgements on a snapshot: what is wrong, whether the daemon is alive, ready, and upstream reachable. */
#include "daemon/status.h"

#include "base/span.h"

#include <stdio.h>

#define EXPIRY_WARNING INT64_C(259200000) /* 3 days: a token that carries traffic should have a successor by then */
#define PROBE_LATE     3                  /* probe intervals after which the last verdict says nothing any more */
#define PROBE_SLACK    10000              /* ms for the probe itself */

static void say(struct buf *out, const char *environment, const char *format, ...) PP_PRINTF(3, 4);
static void say(struct buf *out, const char *environment, const char *format, ...)
{
    char text[640];
    va_list args;
    if (out == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (environment != NULL)
        buf_printf(out, "%s: ", environment);
    buf_append_str(out, str_of(text));
    buf_append_char(out, '\n');
}

/* --- upstream --- */

enum upstream_state { UPSTREAM_OK, UPSTREAM_OFF, UPSTREAM_NOT_YET, UPSTREAM_LATE, UPSTREAM_NO_ANSWER, UPSTREAM_BAD };

static enum upstream_state upstream_state(const struct status_snapshot *s, const struct status_environment *e)
{
    const struct status_upstream *u = &e->upstream;
    if (u->when == 0)
        return u->probing_is_off ? UPSTREAM_OFF : UPSTREAM_NOT_YET;
    if (u->status == 0)
        return UPSTREAM_NO_ANSWER;
    if (u->status == 403 || u->status >= 500)
        return UPSTREAM_BAD;
    if (!u->probing_is_off && s->now - u->when > PROBE_LATE * e->config->probe_interval + PROBE_SLACK)
        return UPSTREAM_LATE;
    return UPSTREAM_OK;
}

void status_upstream_text(const struct status_snapshot *s, const struct status_environment *e, struct buf *out)
{
    const struct status_upstream *u = &e->upstream;
    char ago[SPAN_SIZE], took[SPAN_SIZE];
    (void)span_text(s->now - u->when, ago);
    (void)span_text(u->usec / 1000, took);
    switch (upstream_state(s, e)) { /* no default: the compiler reports a missing state */
    case UPSTREAM_OK:
        buf_printf(out, "answers (%d in %s, %s ago)", u->status, took, ago);
        return;
    case UPSTREAM_OFF:
        buf_append_str(out, STR("not probed (probe_interval is 0)"));
        return;
    case UPSTREAM_NOT_YET:
        buf_append_str(out,
                       e->token_count > 0 ? STR("not probed yet") : STR("not probed: there is no token to do it with"));
        return;
    case UPSTREAM_LATE:
        buf_printf(out, "not heard of for %s (the last answer was %d)", ago, u->status);
        return;
    case UPSTREAM_NO_ANSWER:
        buf_printf(out, "no answer %s ago: %s; run \"proofproxy doctor %s\"", ago,
                   u->failure[0] == '\0' ? "unknown reason" : u->failure, e->config->name);
        return;
    case UPSTREAM_BAD:
        if (u->status == 403)
            buf_printf(out, "answered 403 %s ago: this host's address is not on Proof's allowlist", ago);
        else
            buf_printf(out, "answered %d %s ago: a fault at Proof", u->status, ago);
        return;
    }
}

static bool wanted(const struct status_environment *e, const char *environment)
{
    return environment == NULL || strcmp(e->config->name, environment) == 0;
}

bool status_upstream_ok(const struct status_snapshot *s, const char *environment, struct buf *out)
{
    bool ok = true, any = false;
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        if (!wanted(e, environment))
            continue;
        enum upstream_state state = upstream_state(s, e);
        any = true;
        ok = ok && (state == UPSTREAM_OK || state == UPSTREAM_OFF);
        if (out != NULL) {
            buf_printf(out, "%s: ", e->config->name);
            status_upstream_text(s, e, out);
            buf_append_char(out, '\n');
        }
    }
    if (!any)
        say(out, environment, "no such environment");
    return ok && any;
}

/* --- alive, ready --- */

bool status_alive(const struct status_snapshot *s, struct buf *out)
{
    if (s->stalled_workers > 0)
        say(out, NULL, "%u of %u workers have not turned their loop for seconds: restart the daemon",
            s->stalled_workers, s->workers);
    return s->stalled_workers == 0;
}

bool status_ready(const struct status_snapshot *s, const char *environment, struct buf *out)
{
    bool ready = true, any = false;
    if (s->draining) {
        say(out, NULL, "draining: the daemon is about to stop");
        ready = false;
    }
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        if (!wanted(e, environment))
            continue;
        any = true;
        if (!e->usable) {
            say(out, e->config->name, "no usable token is held%s%s", e->stale_reason[0] == '\0' ? "" : ": ",
                e->stale_reason);
            ready = false;
        }
    }
    if (!any)
        say(out, environment, environment == NULL ? "no environment is configured" : "no such environment");
    return ready && any;
}

/* --- problems --- */

static size_t token_problems(const struct status_snapshot *s, const struct status_environment *e, struct buf *out)
{
    size_t count = 0, accepted = 0, refused = 0;
    char span[SPAN_SIZE];
    for (size_t i = 0; i < e->token_count; i++) {
        accepted += e->tokens[i].verdict == TOKEN_ACCEPTED;
        refused += e->tokens[i].verdict == TOKEN_REFUSED;
    }
    if (e->token_count == 0) {
        say(out, e->config->name, "no token is held, apps get 503%s%s", e->stale_reason[0] == '\0' ? "" : ": ",
            e->stale_reason);
        count++;
    } else if (refused == e->token_count) {
        say(out, e->config->name,
            "Proof refuses every held token: apps get its 401; get a new token and \"proofproxy token add %s\"",
            e->config->name);
        count++;
    }
    for (size_t i = 0; i < e->token_count; i++) {
        const struct status_token *t = &e->tokens[i];
        if (t->role == TOKEN_NEXT && t->verdict == TOKEN_REFUSED && accepted > 0) {
            say(out, e->config->name, "token %s is refused for %s: not active at Proof yet, or not the token they gave",
                t->fingerprint, span_text(s->now - t->since, span));
            count++;
        }
        if (t->verdict == TOKEN_EXPIRED && t->role == TOKEN_CURRENT) {
            say(out, e->config->name, "token %s carries the traffic and is past its expires=", t->fingerprint);
            count++;
        } else if (t->expires > 0 && t->role == TOKEN_CURRENT && t->expires - s->now < EXPIRY_WARNING) {
            say(out, e->config->name, "token %s expires in %s and still carries the traffic", t->fingerprint,
                span_text(t->expires - s->now, span));
            count++;
        }
    }
    return count;
}

size_t status_problems(const struct status_snapshot *s, struct buf *out)
{
    size_t count = 0;
    char span[SPAN_SIZE];
    if (!status_alive(s, out))
        count++;
    if (!s->reload.ok) {
        const char *first = s->reload.problems == NULL ? "" : s->reload.problems;
        say(out, NULL, "the reload %s ago failed, the config before it stays in force: %.*s",
            span_text(s->now - s->reload.when, span), (int)strcspn(first, "\n"), first);
        count++;
    }
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        if (e->stale_since > 0 && e->token_count > 0) {
            say(out, e->config->name,
                "the token file has been unusable for %s, the tokens read before stay in force: %s",
                span_text(s->now - e->stale_since, span), e->stale_reason);
            count++;
        }
        count += token_problems(s, e, out);
        enum upstream_state state = upstream_state(s, e);
        if (state == UPSTREAM_LATE || state == UPSTREAM_NO_ANSWER || state == UPSTREAM_BAD) {
            if (out != NULL) {
                buf_printf(out, "%s: upstream: ", e->config->name);
                status_upstream_text(s, e, out);
                buf_append_char(out, '\n');
            }
            count++;
        }
    }
    return count;
}

void status_line(const struct status_snapshot *s, struct buf *out)
{
    bool ready = status_ready(s, NULL, NULL);
    buf_append_str(out, s->draining ? STR("draining") : ready ? STR("ready") : STR("not ready"));
    for (size_t i = 0; i < s->environment_count; i++) {
        const struct status_environment *e = &s->environments[i];
        const struct status_token *current = NULL;
        for (size_t t = 0; t < e->token_count && current == NULL; t++)
            if (e->tokens[t].role == TOKEN_CURRENT)
                current = &e->tokens[t];
        buf_printf(out, "%s %s ", i == 0 ? ":" : ",", e->config->name);
        if (current == NULL)
            buf_append_str(out, STR("without a token"));
        else
            buf_printf(out, "%s %s", current->fingerprint, token_verdict_name(current->verdict));
    }
    if (!s->reload.ok)
        buf_append_str(out, STR("; the last reload FAILED, see \"proofproxy status\""));
    size_t problems = status_problems(s, NULL);
    if (s->reload.ok && problems > 0)
        buf_printf(out, "; %zu %s, see \"proofproxy status\"", problems, problems == 1 ? "problem" : "problems");
}
