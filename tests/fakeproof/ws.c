/* The WebSocket side: handshake, events of one transaction, echo, and closing as told (RFC 6455). */
#include "ws.h"

#include "api.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUEUE_MAX (64u * 1024 * 1024)

enum opcode { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static size_t frame_head(unsigned char out[static 10], unsigned first, unsigned long long n)
{
    size_t bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;

    out[0] = (unsigned char)first;
    out[1] = (unsigned char)(bytes == 0 ? n : bytes == 2 ? 126 : 127);
    for (size_t i = 0; i < bytes; i++)
        out[2 + i] = (unsigned char)(n >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

static bool send_frame(struct connection *c, unsigned first, const void *payload, size_t n)
{
    unsigned char head[10];
    char small[1500];
    size_t head_length = frame_head(head, first, n);

    if (head_length + n <= sizeof small) {
        memcpy(small, head, head_length);
        if (n > 0)
            memcpy(small + head_length, payload, n);
        return stream_write(&c->stream, small, head_length + n);
    }
    return stream_write(&c->stream, head, head_length) && stream_write(&c->stream, payload, n);
}

bool ws_queue(struct connection *c, unsigned opcode, const void *payload, size_t n)
{
    unsigned char head[10];
    size_t head_length = frame_head(head, 0x80u | opcode, n);
    char *grown;

    if (c->queued + head_length + n > QUEUE_MAX)
        return false;
    grown = realloc(c->queue, c->queued + head_length + n);
    if (grown == NULL)
        return false;
    memcpy(grown + c->queued, head, head_length);
    if (n > 0)
        memcpy(grown + c->queued + head_length, payload, n);
    c->queue = grown;
    c->queued += head_length + n;
    return true;
}

static bool accept_value(const char *key, char out[static 32])
{
    unsigned char digest[20];
    char text[128];
    int n = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);

    if (n <= 0 || (size_t)n >= sizeof text || EVP_Digest(text, (size_t)n, digest, NULL, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
    return true;
}

static bool handshake_is_right(const struct http_request *r)
{
    const char *upgrade = http_header(r, "Upgrade");
    const char *connection = http_header(r, "Connection");
    const char *version = http_header(r, "Sec-WebSocket-Version");
    const char *key = http_header(r, "Sec-WebSocket-Key");

    return strcmp(r->method, "GET") == 0 && !r->http10 && upgrade != NULL && strcasecmp(upgrade, "websocket") == 0 &&
           connection != NULL && strcasestr(connection, "upgrade") != NULL && version != NULL &&
           strcmp(version, "13") == 0 && key != NULL && strlen(key) == 24;
}

/* The 101, spoilt where a fault says so, and bytes right behind it in the same write. */
static bool send_101(struct connection *c, const struct http_request *r, const json_t *fault)
{
    const char *spoil = fault_text(fault, "accept", "right");
    const char *behind = fault_text(fault, "behind", NULL);
    const json_t *lines = json_object_get(fault, "headers");
    char accept[32], out[8192];
    size_t n, i;
    json_t *line;

    if (!accept_value(http_header(r, "Sec-WebSocket-Key"), accept))
        return false;
    if (strcmp(spoil, "wrong") == 0)
        accept[0] = accept[0] == 'A' ? 'B' : 'A';
    n = (size_t)snprintf(out, sizeof out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: %s\r\n",
                         fault_text(fault, "upgrade", "websocket"), fault_text(fault, "connection", "Upgrade"));
    for (int times = strcmp(spoil, "missing") == 0 ? 0 : strcmp(spoil, "double") == 0 ? 2 : 1; times > 0; times--)
        n += (size_t)snprintf(out + n, sizeof out - n, "Sec-WebSocket-Accept: %s\r\n", accept);
    json_array_foreach(lines, i, line) if (json_is_string(line) && json_string_length(line) < 1024 && n < 4096) n +=
        (size_t)snprintf(out + n, sizeof out - n, "%s\r\n", json_string_value(line));
    n += (size_t)snprintf(out + n, sizeof out - n, "\r\n");
    if (behind != NULL && strlen(behind) < 2000) {
        n += frame_head((unsigned char *)out + n, 0x80u | OP_TEXT, strlen(behind));
        memcpy(out + n, behind, strlen(behind));
        n += strlen(behind);
    }
    return stream_write(&c->stream, out, n);
}

/* --- one session --- */
struct session {
    struct connection *c;
    bool echo;
    unsigned seen; /* statuses of the transaction already told */
    bool ended;
};

static bool read_exactly(struct connection *c, void *into, size_t n)
{
    char *p = into;

    while (n > 0) {
        ssize_t got = stream_read(&c->stream, p, n);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static void close_with(struct session *s, unsigned code)
{
    unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};

    send_frame(s->c, 0x80u | OP_CLOSE, payload, 2);
    s->ended = true;
}

/* A data frame's payload: back to the sender in echo mode, else dropped. */
static bool take_payload(struct session *s, unsigned first, unsigned long long n, const unsigned char mask[static 4])
{
    unsigned char head[10];
    char piece[8192];
    size_t at = 0;

    if (s->echo && !stream_write(&s->c->stream, head, frame_head(head, first, n)))
        return false;
    while (n > 0) {
        ssize_t got = stream_read(&s->c->stream, piece, n < sizeof piece ? (size_t)n : sizeof piece);
        if (got <= 0)
            return false;
        for (ssize_t i = 0; i < got; i++, at++)
            piece[i] = (char)(piece[i] ^ (char)mask[at % 4]);
        if (s->echo && !stream_write(&s->c->stream, piece, (size_t)got))
            return false;
        count(s->c->fake, COUNT_WEBSOCKET_BYTES, got);
        n -= (unsigned long long)got;
    }
    return true;
}

static bool take_control(struct session *s, unsigned opcode, size_t n, const unsigned char mask[static 4])
{
    unsigned char payload[125];

    if (!read_exactly(s->c, payload, n))
        return false;
    for (size_t i = 0; i < n; i++)
        payload[i] ^= mask[i % 4];
    if (opcode == OP_PING)
        return send_frame(s->c, 0x80u | OP_PONG, payload, n);
    if (opcode == OP_CLOSE) {
        pthread_mutex_lock(&s->c->fake->lock);
        s->c->fake->last_close_code = n >= 2 ? payload[0] * 256 + payload[1] : 1005;
        count_locked(s->c->fake, COUNT_WEBSOCKET_CLOSES, 1);
        pthread_mutex_unlock(&s->c->fake->lock);
        send_frame(s->c, 0x80u | OP_CLOSE, payload, n >= 2 ? 2 : 0);
        s->ended = true;
    }
    return true;
}

/* One frame of the client. False when the connection broke. */
static bool take_frame(struct session *s)
{
    unsigned char b[8];
    unsigned char mask[4];
    unsigned first, opcode;
    unsigned long long n;
    size_t more;

    if (!read_exactly(s->c, b, 2))
        return false;
    first = b[0];
    opcode = first & 0x0f;
    n = b[1] & 0x7f;
    if ((b[1] & 0x80) == 0 || (first & 0x70) != 0 || (opcode >= OP_CLOSE && (n > 125 || (first & 0x80) == 0)) ||
        (opcode > OP_BINARY && opcode < OP_CLOSE) || opcode > OP_PONG) {
        close_with(s, 1002);
        return true;
    }
    more = n == 126 ? 2 : n == 127 ? 8 : 0;
    if (!read_exactly(s->c, b, more))
        return false;
    for (size_t i = 0, clear = 1; i < more; i++, clear = 0)
        n = (clear ? 0 : n << 8) | b[i];
    if (!read_exactly(s->c, mask, 4))
        return false;
    count(s->c->fake, COUNT_WEBSOCKET_FRAMES, 1);
    if (opcode >= OP_CLOSE)
        return take_control(s, opcode, (size_t)n, mask);
    return take_payload(s, first, n, mask);
}

static bool send_flood(struct connection *c, unsigned long long bytes)
{
    unsigned char head[10];
    char piece[16384];

    if (!stream_write(&c->stream, head, frame_head(head, 0x80u | OP_BINARY, bytes)))
        return false;
    for (unsigned long long at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof piece ? (size_t)(bytes - at) : sizeof piece;
        pattern_fill(at, piece, n);
        if (!stream_write(&c->stream, piece, n))
            return false;
        at += n;
    }
    return true;
}

/* Sends what is due: events, control's frames, floods. *wait becomes the time to the next status change. */
static bool send_due(struct session *s, int *wait)
{
    struct connection *c = s->c;
    struct fake *f = c->fake;
    char *events[HISTORY_MAX];
    size_t event_count = 0;
    char *queue;
    size_t queued;
    unsigned long long flood;
    struct transaction *t;
    bool ok = true;

    *wait = -1;
    pthread_mutex_lock(&f->lock);
    t = transaction_find(f, c->transaction);
    if (t != NULL) {
        transaction_advance(f, t);
        for (; s->seen < t->history_count; s->seen++)
            events[event_count++] = api_event(t, s->seen);
        if (t->next_change != INT64_MAX) {
            int64_t left = t->next_change - now_monotonic();
            *wait = left <= 0 ? 0 : (int)left;
        }
    }
    queue = c->queue;
    queued = c->queued;
    flood = c->flood;
    c->queue = NULL;
    c->queued = 0;
    c->flood = 0;
    pthread_mutex_unlock(&f->lock);
    for (size_t i = 0; i < event_count; i++) {
        ok = ok && events[i] != NULL && send_frame(c, 0x80u | OP_TEXT, events[i], strlen(events[i]));
        free(events[i]);
    }
    if (queued > 0)
        ok = ok && stream_write(&c->stream, queue, queued);
    free(queue);
    return ok && (flood == 0 || send_flood(c, flood));
}

static enum after run(struct session *s)
{
    struct connection *c = s->c;

    while (!s->ended) {
        int wait;
        bool end_asked;
        enum stream_end how;
        if (!send_due(s, &wait))
            return AFTER_RESET;
        pthread_mutex_lock(&c->fake->lock);
        end_asked = c->end_asked;
        how = c->end_how;
        pthread_mutex_unlock(&c->fake->lock);
        if (end_asked)
            return how == STREAM_RESET ? AFTER_RESET : how == STREAM_TRUNCATE ? AFTER_TRUNCATE : AFTER_CLOSE;
        if (stream_wait(&c->stream, wait) == STREAM_READY && !take_frame(s))
            return c->stream.dead ? AFTER_TRUNCATE : AFTER_CLOSE;
    }
    return AFTER_CLOSE;
}

enum after ws_serve(struct connection *c, struct http_request *r, const json_t *fault, const char *fingerprint)
{
    struct fake *f = c->fake;
    struct session s = {.c = c, .echo = fault_number(fault, "echo", 0) != 0};
    struct transaction *t;
    struct answer a;
    char id[TRANSACTION_ID] = "";
    enum after after;

    if (!handshake_is_right(r)) {
        answer_error(&a, 400, "invalid_request", "validation_error",
                     "this endpoint speaks WebSocket, version 13, only");
        return answer_send(c, r, &a, NULL);
    }
    if (!http_query(r, "tx_id", id, sizeof id) && !s.echo) {
        answer_error(&a, 400, "invalid_request", "missing_param", "tx_id is missing");
        return answer_send(c, r, &a, NULL);
    }
    pthread_mutex_lock(&f->lock);
    t = transaction_find(f, id);
    if (t != NULL) {
        transaction_advance(f, t);
        s.seen = t->history_count;
    }
    if (t != NULL || s.echo) {
        memcpy(c->transaction, id, sizeof id);
        memcpy(c->fingerprint, fingerprint, strnlen(fingerprint, FINGERPRINT_SIZE - 1) + 1);
        c->state = CONNECTION_WEBSOCKET;
    }
    pthread_mutex_unlock(&f->lock);
    if (t == NULL && !s.echo) {
        answer_error(&a, 404, "not_found", "not_found", "no such transaction");
        return answer_send(c, r, &a, NULL);
    }
    if (!send_101(c, r, fault))
        return AFTER_RESET;
    pthread_mutex_lock(&f->lock);
    f->counters[COUNT_WEBSOCKETS_OPENED]++;
    count_locked(f, COUNT_WEBSOCKETS_OPEN, 1);
    pthread_mutex_unlock(&f->lock);
    after = run(&s);
    pthread_mutex_lock(&f->lock);
    c->state = CONNECTION_BUSY;
    count_locked(f, COUNT_WEBSOCKETS_OPEN, -1);
    pthread_mutex_unlock(&f->lock);
    return after;
}
