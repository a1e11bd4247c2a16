/* The access log's lines. */
#include "proxy/access_log.h"

#include "proxy/exchange.h"

void access_log_begin(struct log_fields *f, struct worker *w, const char *environment)
{
    log_fields_begin(f, &w->log, LOG_LEVEL_INFO, clock_wall_now());
    log_field_str(f, "component", STR("access"));
    log_field_str(f, "environment", str_of(environment));
}

void access_log_peer(struct log_fields *f, bool known, uint32_t uid, pid_t pid)
{
    if (!known)
        return;
    log_field_int(f, "uid", (int64_t)uid);
    if (pid > 0)
        log_field_int(f, "pid", (int64_t)pid);
}

/* What a client wrote: one that knows a token and puts it there does not bring it into the log. */
static void log_words(struct log_fields *f, const struct exchange *ex, const char *name, struct str text)
{
    struct token *held[LIMIT_TOKENS_HELD];
    size_t count = token_store_tokens(ex->settings->tokens, held);
    for (size_t i = 0; i < count; i++)
        if (token_find(held[i], text) != SIZE_MAX)
            text = STR("(left out: it held a client_token)");
    log_field_str(f, name, text);
}

void access_log_write(struct exchange *ex, int64_t now)
{
    struct log_fields f;
    int64_t done = ex->upstream_done_usec > 0 ? ex->upstream_done_usec : now;
    access_log_begin(&f, ex->worker, ex->environment->name);
    log_words(&f, ex, "method", ex->method);
    log_words(&f, ex, "path", ex->admission.target.path);
    log_field_int(&f, "status", ex->status);
    log_field_int(&f, "bytes_in", (int64_t)ex->bytes_in);
    log_field_int(&f, "bytes_out", (int64_t)ex->bytes_out);
    log_field_usec(&f, "duration_ms", now - ex->started_usec);
    if (ex->upstream_usec >= 0)
        log_field_usec(&f, "upstream_ms", done - ex->upstream_usec);
    if (ex->token != NULL)
        log_field_str(&f, "token", str_of(token_fingerprint(ex->token)));
    log_field_int(&f, "attempts", (int64_t)ex->attempts + ex->replays);
    access_log_peer(&f, ex->client->peer.known, ex->client->peer.uid, ex->client->peer.pid);
    if (ex->request_id[0] != '\0')
        log_field_str(&f, "request_id", str_of(ex->request_id));
    log_field_str(&f, "sent", str_of(sent_name(exchange_sent(ex))));
    if (ex->refusal != REFUSAL_NONE)
        log_field_str(&f, "reason", str_of(reply_rule(ex->refusal)->reason));
    log_field_str(&f, "end", str_of(exchange_reason_name(ex->reason)));
    log_fields_end(&f);
}

void access_log_turned_away(const struct client *client, const struct server_end *end)
{
    struct log_fields f;
    const struct reply_rule *rule = reply_rule(end->refused);
    bool answered = end->request_id[0] != '\0';
    access_log_begin(&f, client->environment->worker, client->environment->name);
    log_field_int(&f, "status", answered ? rule->status : 0);
    access_log_peer(&f, client->peer.known, client->peer.uid, client->peer.pid);
    if (answered)
        log_field_str(&f, "request_id", str_of(end->request_id));
    log_field_str(&f, "sent", str_of(sent_name(SENT_NO)));
    log_field_str(&f, "reason", str_of(rule->reason));
    log_field_str(&f, "end", str_of(exchange_reason_name(end->evicted ? EXCHANGE_EVICTED : EXCHANGE_REFUSED)));
    log_fields_end(&f);
}
