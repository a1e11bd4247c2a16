/* The snapshot as one self-contained HTML page. */
#include "config.h"

#include "base/crypto.h"
#include "base/span.h"
#include "daemon/page_assets.h"
#include "daemon/page_chart.h"
#include "daemon/pages.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* Text from outside: &, <, > and both quotes; control bytes become blanks. */
static void text(struct buf *out, const char *s)
{
    for (; s != NULL && *s != '\0'; s++) {
        switch (*s) {
        case '&':
            buf_append_str(out, STR("&amp;"));
            break;
        case '<':
            buf_append_str(out, STR("&lt;"));
            break;
        case '>':
            buf_append_str(out, STR("&gt;"));
            break;
        case '"':
            buf_append_str(out, STR("&quot;"));
            break;
        case '\'':
            buf_append_str(out, STR("&#39;"));
            break;
        default:
            buf_append_char(out, (unsigned char)*s < 0x20 || *s == 0x7f ? ' ' : *s);
        }
    }
}

/* "12 s ago" with the exact time in its title; "never" for 0. */
static void ago(struct buf *out, int64_t now, int64_t when)
{
    char span[SPAN_SIZE], exact[25];
    if (when <= 0) {
        buf_append_str(out, STR("never"));
        return;
    }
    clock_format_wall(when, exact);
    buf_printf(out,
               when > now ? "<time datetime=\"%s\" title=\"%s\">in %s</time>"
                          : "<time datetime=\"%s\" title=\"%s\">%s ago</time>",
               exact, exact, span_text(when > now ? when - now : now - when, span));
}

static void lines_as_list(struct buf *out, const char *lines)
{
    buf_append_str(out, STR("<ul>"));
    for (const char *line = lines; *line != '\0';) {
        char one[1024];
        size_t n = strcspn(line, "\n");
        (void)snprintf(one, sizeof one, "%.*s", (int)n, line);
        buf_append_str(out, STR("<li>"));
        text(out, one);
        buf_append_str(out, STR("</li>"));
        line += n + (line[n] == '\n');
    }
    buf_append_str(out, STR("</ul>"));
}

static void problems(struct buf *out, const struct status_snapshot *s)
{
    struct buf lines;
    buf_init(&lines, 64u * 1024);
    size_t count = status_problems(s, &lines);
    buf_append_char(&lines, '\0');
    const char *all = buf_str(&lines).p;
    out->failed = out->failed || lines.failed; /* a page without its problems would be a lie */
    if (count > 0 && !lines.failed && all != NULL) {
        buf_printf(out, "<section class=\"problems\" role=\"alert\"><h2>%zu %s</h2>", count,
                   count == 1 ? "problem" : "problems");
        lines_as_list(out, all);
        buf_append_str(out, STR("</section>"));
    }
    buf_free(&lines);
}

/* --- one environment --- */

static const char *verdict_class(const struct status_token *t)
{
    switch (t->verdict) { /* no default: the compiler reports a missing verdict */
    case TOKEN_ACCEPTED:
        return "ok";
    case TOKEN_UNTESTED:
        return "soft";
    case TOKEN_REFUSED:
        return t->in_file ? "bad" : "soft";
    case TOKEN_EXPIRED:
        return "warn";
    }
    return "";
}

static void token_row(struct buf *out, const struct status_snapshot *s, const struct status_token *t)
{
    buf_printf(out, "<tr><td><code>%s</code></td><td>%s</td><td class=\"%s\">%s", t->fingerprint,
               token_role_name(t->role), verdict_class(t), token_verdict_name(t->verdict));
    if (t->since > 0) {
        char span[SPAN_SIZE];
        buf_printf(out, " <span class=\"soft\">for %s</span>", span_text(s->now - t->since, span));
    }
    buf_append_str(out, STR("</td><td>"));
    ago(out, s->now, t->last_used);
    buf_printf(out,
               "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRId64
               "</td><td>",
               t->requests, t->refusals, t->websockets);
    if (t->expires > 0)
        ago(out, s->now, t->expires);
    else
        buf_append_str(out, STR("not known"));
    if (t->grace_ends > 0) {
        buf_append_str(out, STR(", forgotten "));
        ago(out, s->now, t->grace_ends);
    }
    buf_append_str(out, STR("</td></tr>"));
}

static void tokens(struct buf *out, const struct status_snapshot *s, const struct status_environment *e)
{
    if (e->token_count == 0) {
        buf_append_str(out, STR("<p class=\"bad\">No token is held.</p>"));
        return;
    }
    buf_append_str(out, STR("<div class=\"scroll\"><table><thead><tr><th>Token</th><th>Role</th><th>Verdict</th>"
                            "<th>Last used</th><th class=\"n\">Requests</th><th class=\"n\">Refused</th>"
                            "<th class=\"n\">WebSockets</th><th>Expires</th></tr></thead><tbody>"));
    for (size_t i = 0; i < e->token_count; i++)
        token_row(out, s, &e->tokens[i]);
    buf_append_str(out, STR("</tbody></table></div>"));
    if (e->retire_sentence[0] != '\0') {
        buf_append_str(out, STR("<p class=\"retire\">"));
        text(out, e->retire_sentence);
        buf_append_str(out, STR("</p>"));
    }
}

static void figure(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, "<div><b>%" PRIu64 "</b>%s</div>", value, name);
}

static uint64_t positive(int64_t value)
{
    return value > 0 ? (uint64_t)value : 0;
}

static void figures(struct buf *out, const struct metrics_totals *t)
{
    buf_append_str(out, STR("<div class=\"figures\">"));
    figure(out, "in flight", positive(t->gauges[METRICS_INFLIGHT]));
    figure(out, "WebSockets", positive(t->websockets));
    figure(out, "apps' connections", positive(t->gauges[METRICS_CONNECTIONS]));
    figure(out, "upstream connections", t->pool.idle + t->pool.busy);
    figure(out, "requests since start", t->requests);
    figure(out, "refused here", t->counters[METRICS_LOCAL_REJECTIONS]);
    figure(out, "upstream errors", t->counters[METRICS_UPSTREAM_ERRORS]);
    figure(out, "token fallbacks", t->counters[METRICS_TOKEN_FALLBACKS]);
    buf_append_str(out, STR("</div>"));
}

static void listeners(struct buf *out, const struct listen_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        buf_append_str(out, i == 0 ? STR("<code>") : STR(", <code>"));
        text(out, list->items[i].text);
        buf_append_str(out, STR("</code>"));
    }
}

static void names(struct buf *out, const struct id_list *list, const char *what)
{
    for (size_t i = 0; i < list->count; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "%.*s", (int)list->names[i].n, list->names[i].p);
        buf_printf(out, "%s%s ", i == 0 ? "" : ", ", what);
        text(out, name);
    }
}

static void environment(struct buf *out, const struct status_snapshot *s, const struct status_environment *e)
{
    const struct environment_config *c = e->config;
    bool ready = status_ready(s, c->name, NULL), ok = status_upstream_ok(s, c->name, NULL);
    buf_append_str(out, STR("<section class=\"environment\"><div class=\"head\"><h2>"));
    text(out, c->name);
    buf_printf(out, "</h2><span class=\"pill %s\">%s</span><code class=\"soft\">", ready ? "ok" : "bad",
               ready ? "ready" : "not ready");
    text(out, c->base_url.text);
    buf_printf(out, "</code></div><dl><dt>Upstream</dt><dd class=\"%s\">", ok ? "ok" : "bad");
    struct buf sentence;
    buf_init(&sentence, 1024);
    status_upstream_text(s, e, &sentence);
    buf_append_char(&sentence, '\0');
    out->failed = out->failed || sentence.failed;
    text(out, sentence.failed ? "" : buf_str(&sentence).p);
    buf_free(&sentence);
    buf_append_str(out, STR("</dd><dt>Listens on</dt><dd>"));
    listeners(out, &c->listen);
    buf_append_str(out, STR("</dd><dt>Who may connect</dt><dd>"));
    if (c->allow_users.count == 0 && c->allow_groups.count == 0)
        buf_append_str(out, STR("everyone on this host who can reach the listener"));
    names(out, &c->allow_users, "user");
    if (c->allow_users.count > 0 && c->allow_groups.count > 0)
        buf_append_str(out, STR(", "));
    names(out, &c->allow_groups, "group");
    buf_append_str(out, STR("</dd><dt>Token file</dt><dd>"));
    text(out, c->token_source == TOKEN_SOURCE_INLINE ? "in the config file" : c->token_file);
    if (e->stale_since > 0) {
        char span[SPAN_SIZE];
        buf_printf(out, " <span class=\"bad\">unusable for %s</span>", span_text(s->now - e->stale_since, span));
    }
    buf_append_str(out, STR("</dd></dl>"));
    tokens(out, s, e);
    figures(out, &e->totals);
    buf_append_str(out, STR("<div class=\"charts\">"));
    page_chart_requests(out, e->history);
    page_chart_latency(out, e->history);
    buf_append_str(out, STR("</div></section>"));
}

/* --- the daemon itself --- */

static void head(struct buf *out, const struct status_snapshot *s)
{
    bool ready = status_ready(s, NULL, NULL);
    char span[SPAN_SIZE], exact[25];
    clock_format_wall(s->now, exact);
    buf_printf(out,
               "<header><h1>proofproxy</h1><span class=\"pill %s\">%s</span>"
               "<span class=\"soft\">version %s, pid %d, up %s</span>"
               "<span id=\"fresh\" class=\"soft\">as of %s</span></header>",
               ready ? "ok" : "bad",
               s->draining ? "draining"
               : ready     ? "ready"
                           : "not ready",
               PACKAGE_VERSION, (int)getpid(), span_text(s->now - s->started, span), exact);
}

static void configuration(struct buf *out, const struct status_snapshot *s)
{
    buf_append_str(out, STR("<section><h2>Configuration</h2><dl><dt>File</dt><dd><code>"));
    text(out, s->config->path);
    buf_printf(out, "</code></dd><dt>Last load</dt><dd class=\"%s\">", s->reload.ok ? "ok" : "bad");
    buf_append_str(out, s->reload.ok ? STR("succeeded ") : STR("failed "));
    ago(out, s->now, s->reload.when);
    if (!s->reload.ok) {
        buf_append_str(out, STR("; in force is the one of "));
        ago(out, s->now, s->reload.success_when);
        lines_as_list(out, s->reload.problems == NULL ? "" : s->reload.problems);
    }
    buf_append_str(out, STR("</dd>"));
    if (s->reload.restart != NULL && s->reload.restart[0] != '\0') {
        buf_append_str(out, STR("<dt>Waits for a restart</dt><dd class=\"warn\">"));
        lines_as_list(out, s->reload.restart);
        buf_append_str(out, STR("</dd>"));
    }
    buf_printf(out, "<dt>Workers</dt><dd>%u", s->workers);
    if (s->stalled_workers > 0)
        buf_printf(out, " <span class=\"bad\">(%u stalled)</span>", s->stalled_workers);
    buf_append_str(out, STR("</dd><dt>Posture</dt><dd>"));
    text(out, s->posture);
    buf_append_str(out, STR("</dd></dl></section>"));
}

enum pp_result pages_html(const struct status_snapshot *s, struct buf *out)
{
    buf_append_str(out, STR("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                            "<noscript><meta http-equiv=\"refresh\" content=\"15\"></noscript>"
                            "<link rel=\"icon\" href=\"data:,\"><title>proofproxy</title><style>"));
    buf_append_str(out, str_of(page_style));
    buf_append_str(out, STR("</style></head>\n<body><main>"));
    head(out, s);
    problems(out, s);
    for (size_t i = 0; i < s->environment_count; i++)
        environment(out, s, &s->environments[i]);
    configuration(out, s);
    buf_append_str(out, STR("</main>\n<script>"));
    buf_append_str(out, str_of(page_script));
    buf_append_str(out, STR("</script></body></html>\n"));
    return out->failed ? PP_NOMEM : PP_OK;
}

static void hash_of(const char *asset, char out[static 64])
{
    unsigned char digest[32];
    char base64[48];
    if (crypto_sha256(asset, strlen(asset), digest) != PP_OK) {
        (void)snprintf(out, 64, "'none'"); /* the page then works without it */
        return;
    }
    crypto_base64(digest, sizeof digest, base64);
    (void)snprintf(out, 64, "'sha256-%s'", base64);
}

const char *pages_html_policy(void)
{
    static char policy[400];
    char style[64], script[64];
    if (policy[0] != '\0')
        return policy;
    hash_of(page_style, style);
    hash_of(page_script, script);
    (void)snprintf(policy, sizeof policy,
                   "default-src 'none'; style-src %s; script-src %s; connect-src 'self'; img-src data:; "
                   "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                   style, script);
    return policy;
}
