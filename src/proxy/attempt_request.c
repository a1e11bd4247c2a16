/* A try's request on its way out: its head with the credential, its body framed, as much as the connection takes. */
#include "proxy/exchange.h"

#define ATTEMPT_ONE_RECORD (16u * 1024) /* head and body up to this size leave in one TLS record */
#define ATTEMPT_CHUNK      (16u * 1024)

enum pp_result attempt_write_head(struct exchange *ex)
{
    const struct environment_config *e = ex->settings->e;
    const struct admission *a = &ex->admission;
    struct request_head head = {
        .method = ex->method,
        .target = a->target.raw,
        .prefix = str_of(e->base_url.prefix),
        .host = str_of(e->base_url.authority),
        .origin = str_of(e->origin),
        .authorization = token_authorization(ex->token),
        .headers = ex->headers,
        .require_name = e->require_name,
        .framing = a->framing,
        .content_length = a->content_length,
        .websocket = a->websocket,
    };
    if (a->framing == BODY_CHUNKED && ex->body_complete) { /* all of it is here: its length is known now */
        head.framing = BODY_LENGTH;
        head.content_length = (int64_t)buf_len(&ex->body);
    }
    ex->chunked_up = head.framing == BODY_CHUNKED;
    buf_clear(&ex->out);
    return request_write_head(&ex->out, &head);
}

/* What of the body has not been handed on. */
static struct str body_left(const struct exchange *ex)
{
    struct str all = buf_str(&ex->body);
    return all.n == 0 ? STR_NONE : (struct str){all.p + ex->body_sent, all.n - ex->body_sent};
}

/* Moves more of the body into `out`, as far as framing or smallness ask for a copy. */
static void frame_body(struct exchange *ex)
{
    size_t left = buf_len(&ex->body) - ex->body_sent;
    const char *from = body_left(ex).p;
    if (!ex->chunked_up) {
        if (left > 0 && buf_len(&ex->out) + left <= ATTEMPT_ONE_RECORD) {
            buf_append(&ex->out, from, left);
            ex->body_sent += left;
        }
        return;
    }
    if (left > 0 && buf_len(&ex->out) < ATTEMPT_CHUNK) {
        char prefix[20];
        size_t n = left < ATTEMPT_CHUNK ? left : ATTEMPT_CHUNK;
        size_t prefix_length = request_chunk_prefix(n, prefix);
        buf_append(&ex->out, prefix, prefix_length);
        buf_append(&ex->out, from, n);
        buf_append_str(&ex->out, STR("\r\n"));
        ex->body_sent += n;
        left -= n;
    }
    if (left == 0 && ex->body_complete && !ex->body_ended) {
        buf_append_str(&ex->out, STR(REQUEST_LAST_CHUNK));
        ex->body_ended = true;
    }
}

bool attempt_request_written(const struct exchange *ex)
{
    return buf_len(&ex->out) == 0 && ex->body_complete && ex->body_sent == buf_len(&ex->body) &&
           (!ex->chunked_up || ex->body_ended);
}

bool attempt_write_request(struct exchange *ex)
{
    for (;;) {
        frame_body(ex);
        if (ex->out.failed)
            return false;
        struct str from = buf_str(&ex->out);
        bool plain_body = from.n == 0 && !ex->chunked_up;
        if (plain_body)
            from = body_left(ex);
        if (from.n == 0)
            return true;
        size_t done = 0;
        enum pp_result rc = upstream_write(ex->upstream, from.p, from.n, &done);
        if (rc == PP_AGAIN)
            return true;
        if (rc != PP_OK)
            return false;
        if (ex->sent == SENT_NO)
            ex->sent = SENT_MAYBE;
        if (plain_body)
            ex->body_sent += done;
        else
            buf_consume_wipe(&ex->out, done); /* the credential is not left lying there while the answer is awaited */
    }
}
