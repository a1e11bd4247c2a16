/* One answer: composed, then sent well or, when a fault says so, badly. */
#include "answer.h"

#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

long long fault_number(const json_t *fault, const char *key, long long otherwise)
{
    const json_t *value = json_object_get(fault, key);

    if (json_is_boolean(value))
        return json_is_true(value);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

const char *fault_text(const json_t *fault, const char *key, const char *otherwise)
{
    const json_t *value = json_object_get(fault, key);

    return json_is_string(value) ? json_string_value(value) : otherwise;
}

void pattern_fill(unsigned long long offset, char *out, size_t n)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++, offset++) {
        unsigned column = (unsigned)(offset % 16);
        out[i] = column == 15 ? '\n' : hex[((offset / 16) >> (4 * (14 - column))) & 15];
    }
}

void answer_json(struct answer *a, int status, json_t *body)
{
    *a = (struct answer){.status = status, .content_type = "application/json"};
    a->body = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (a->body == NULL) {
        a->status = 500;
        a->body = strdup("{\"error\":\"internal_error\",\"code\":\"db_error\",\"message\":\"no memory\"}");
    }
    a->length = a->body == NULL ? 0 : strlen(a->body);
}

void answer_error(struct answer *a, int status, const char *error, const char *code, const char *message)
{
    static const struct {
        int status;
        const char *error, *code, *message;
    } table[] = {
        {400, "invalid_request", "validation_error", "the request is not valid"},
        {401, "unauthorised", "invalid_token", "the client token is unknown or inactive"},
        {403, "forbidden", "forbidden", "the source address is not on the allowlist"},
        {404, "not_found", "not_found", "no such resource"},
        {409, "session_already_used", "session_already_used", "the session was used before"},
        {422, "kyc_required", "kyc_required", "the user has to pass verification first"},
        {429, "rate_limit_exceeded", "rate_limit_exceeded", "too many requests"},
        {500, "internal_error", "db_error", "an internal fault"},
        {502, "upstream_error", "provider_error", "a service behind Proof failed"},
        {503, "upstream_unavailable", "upstream_unavailable", "a service behind Proof is unreachable"},
    };
    size_t i = 0;

    while (i + 1 < sizeof table / sizeof table[0] && table[i].status != status)
        i++;
    answer_json(a, status,
                json_pack("{s:s, s:s, s:s}", "error", error != NULL ? error : table[i].error, "code",
                          code != NULL ? code : table[i].code, "message",
                          message != NULL ? message : table[i].message));
}

void answer_free(struct answer *a)
{
    free(a->body);
    a->body = NULL;
}

bool drain_body(struct connection *c, struct http_request *r)
{
    char scrap[16384];
    ssize_t n;

    do
        n = http_read_body(&c->stream, r, scrap, sizeof scrap);
    while (n > 0);
    return n == 0;
}

/* --- heads --- */
struct head {
    char text[16384];
    size_t n;
};

static void head_add(struct head *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void head_add(struct head *h, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(h->text + h->n, sizeof h->text - h->n, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < sizeof h->text - h->n)
        h->n += (size_t)n;
}

static void head_lines(struct head *h, const json_t *lines)
{
    size_t i;
    json_t *line;

    json_array_foreach(lines, i, line) if (json_is_string(line)) head_add(h, "%s\r\n", json_string_value(line));
}

/* Status line and the lines every answer has. */
static void head_start(struct head *h, int status, const char *content_type, const json_t *lines, bool close)
{
    static const char format[] = "%a, %d %b %Y %H:%M:%S GMT";
    unsigned char id[8];
    char date[64];
    time_t now = time(NULL);
    struct tm utc;

    h->n = 0;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, format, &utc);
    if (RAND_bytes(id, sizeof id) != 1)
        memset(id, 0, sizeof id);
    head_add(h, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_reason(status), date);
    head_add(h, "X-Request-Id: req_%02x%02x%02x%02x%02x%02x%02x%02x\r\n", id[0], id[1], id[2], id[3], id[4], id[5],
             id[6], id[7]);
    if (content_type != NULL)
        head_add(h, "Content-Type: %s\r\n", content_type);
    head_lines(h, lines);
    if (close)
        head_add(h, "Connection: close\r\n");
}

static bool has_no_body(int status)
{
    return status == 204 || status == 304;
}

/* Writes one piece of a body, in chunked framing if wanted. */
static bool write_piece(struct connection *c, const char *bytes, size_t n, bool chunked)
{
    char size[24];
    int length = snprintf(size, sizeof size, "%zx\r\n", n);

    if (n == 0)
        return true;
    if (chunked && !stream_write(&c->stream, size, (size_t)length))
        return false;
    if (!stream_write(&c->stream, bytes, n))
        return false;
    return !chunked || stream_write(&c->stream, "\r\n", 2);
}

static enum after cut_end(const json_t *fault)
{
    const char *how = fault_text(fault, "how", "reset");

    if (strcmp(how, "truncate") == 0)
        return AFTER_TRUNCATE;
    return strcmp(how, "orderly") == 0 ? AFTER_CLOSE : AFTER_RESET;
}

static enum after gone(struct connection *c)
{
    count(c->fake, COUNT_ABORTED, 1);
    return AFTER_RESET;
}

/* Holds the connection until the peer leaves it, at most `ms`. */
static enum after stall(struct connection *c, long long ms)
{
    count(c->fake, COUNT_STALLED, 1);
    if (stream_wait_gone(&c->stream, (int)ms))
        return gone(c);
    return AFTER_RESET;
}

static bool send_interim(struct connection *c, const json_t *fault)
{
    long long times = fault_number(fault, "times", 1);
    int status = (int)fault_number(fault, "status", 103);
    struct head h;

    h.n = 0;
    head_add(&h, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
    head_lines(&h, json_object_get(fault, "headers"));
    head_add(&h, "\r\n");
    while (times-- > 0)
        if (!stream_write(&c->stream, h.text, h.n))
            return false;
    return true;
}

/* The body in small steps, each after a pause. */
static bool drip(struct connection *c, const struct answer *a, const json_t *fault)
{
    size_t step = (size_t)fault_number(fault, "step", 1);
    struct timespec pause = {.tv_nsec = (long)fault_number(fault, "ms", 1) * 1000000L};

    for (size_t at = 0; at < a->length; at += step) {
        size_t n = a->length - at < step ? a->length - at : step;
        if (!stream_write(&c->stream, a->body + at, n))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

enum after answer_send(struct connection *c, struct http_request *r, struct answer *a, const json_t *fault)
{
    const char *kind = fault_text(fault, "kind", "");
    bool chunked = strcmp(kind, "chunked") == 0 && !r->http10;
    bool head_only = strcmp(r->method, "HEAD") == 0;
    enum after next = AFTER_KEEP;
    struct head h;
    size_t n = a->length;
    bool ok;

    c->requests++;
    if (!r->keep_alive ||
        (c->fake->options.keep_alive_requests > 0 && c->requests >= (unsigned)c->fake->options.keep_alive_requests))
        a->close = true;
    if (strcmp(kind, "interim") == 0 && !send_interim(c, fault)) {
        answer_free(a);
        return gone(c);
    }
    head_start(&h, a->status, a->content_type, a->headers, a->close);
    if (chunked)
        head_add(&h, "Transfer-Encoding: chunked\r\n");
    else if (!has_no_body(a->status))
        head_add(&h, "Content-Length: %zu\r\n", a->length);
    head_add(&h, "\r\n");
    if (strcmp(kind, "cut") == 0 || strcmp(kind, "stall_body") == 0) {
        size_t after = (size_t)fault_number(fault, "after", (long long)n / 2);
        n = after < n ? after : n;
        next = cut_end(fault);
    }
    if (head_only || has_no_body(a->status)) {
        ok = stream_write(&c->stream, h.text, h.n);
    } else if (strcmp(kind, "drip") == 0) {
        ok = stream_write(&c->stream, h.text, h.n) && drip(c, a, fault);
    } else if (!chunked && h.n + n <= sizeof h.text) {
        memcpy(h.text + h.n, a->body, n); /* one record, one segment */
        ok = stream_write(&c->stream, h.text, h.n + n);
    } else {
        ok = stream_write(&c->stream, h.text, h.n) && write_piece(c, a->body, n, chunked) &&
             (!chunked || stream_write(&c->stream, "0\r\n\r\n", 5));
    }
    if (ok && strcmp(kind, "stall_body") == 0)
        next = stall(c, fault_number(fault, "ms", 60000));
    if (next == AFTER_KEEP && a->close)
        next = AFTER_CLOSE;
    answer_free(a);
    return ok ? next : gone(c);
}

/* --- faults that answer by themselves --- */
static enum after send_large(struct connection *c, struct http_request *r, const json_t *fault)
{
    unsigned long long bytes = (unsigned long long)fault_number(fault, "bytes", 1 << 20);
    unsigned long long cut = (unsigned long long)fault_number(fault, "after", -1);
    bool chunked = fault_number(fault, "chunked", 0) != 0;
    bool until_close = fault_number(fault, "until_close", 0) != 0;
    bool close = until_close || !r->keep_alive;
    char piece[16384];
    struct head h;

    if (!drain_body(c, r))
        return gone(c);
    head_start(&h, 200, "application/octet-stream", json_object_get(fault, "headers"), close);
    if (chunked)
        head_add(&h, "Transfer-Encoding: chunked\r\n");
    else if (!until_close)
        head_add(&h, "Content-Length: %llu\r\n", bytes);
    head_add(&h, "\r\n");
    if (!stream_write(&c->stream, h.text, h.n))
        return gone(c);
    if (strcmp(r->method, "HEAD") == 0)
        return close ? AFTER_CLOSE : AFTER_KEEP;
    for (unsigned long long at = 0; at < bytes;) {
        unsigned long long end = cut < bytes ? cut : bytes;
        size_t n = end - at < sizeof piece ? (size_t)(end - at) : sizeof piece;
        if (n == 0)
            return cut_end(fault);
        pattern_fill(at, piece, n);
        if (!write_piece(c, piece, n, chunked))
            return gone(c);
        at += n;
    }
    if (chunked && !stream_write(&c->stream, "0\r\n\r\n", 5))
        return gone(c);
    return close ? AFTER_CLOSE : AFTER_KEEP;
}

/* The request's body back to its sender, in the same framing, while it still comes in. */
static enum after send_echo(struct connection *c, struct http_request *r)
{
    const char *type = http_header(r, "Content-Type");
    char piece[16384];
    struct head h;
    ssize_t n;

    head_start(&h, 200, type != NULL ? type : "application/octet-stream", NULL, !r->keep_alive);
    if (r->chunked)
        head_add(&h, "Transfer-Encoding: chunked\r\n");
    else
        head_add(&h, "Content-Length: %lld\r\n", r->content_length < 0 ? 0 : r->content_length);
    head_add(&h, "\r\n");
    /* The body's first piece is read before the head goes out: 100 Continue has to come before it. */
    n = http_read_body(&c->stream, r, piece, sizeof piece);
    if (n < 0 || !stream_write(&c->stream, h.text, h.n))
        return gone(c);
    while (n > 0) {
        if (!write_piece(c, piece, (size_t)n, r->chunked))
            return gone(c);
        n = http_read_body(&c->stream, r, piece, sizeof piece);
    }
    if (n < 0 || (r->chunked && !stream_write(&c->stream, "0\r\n\r\n", 5)))
        return gone(c);
    return r->keep_alive ? AFTER_KEEP : AFTER_CLOSE;
}

static enum after send_digest(struct connection *c, struct http_request *r)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char digest[32];
    char hex[65] = "";
    char piece[16384];
    struct answer a;
    ssize_t n = -1;

    if (context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1) {
        while ((n = http_read_body(&c->stream, r, piece, sizeof piece)) > 0)
            if (EVP_DigestUpdate(context, piece, (size_t)n) != 1)
                break;
    }
    if (n != 0 || EVP_DigestFinal_ex(context, digest, NULL) != 1) {
        EVP_MD_CTX_free(context);
        return gone(c);
    }
    EVP_MD_CTX_free(context);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    answer_json(&a, 200, json_pack("{s:I, s:s}", "bytes", (json_int_t)r->body_bytes, "sha256", hex));
    return answer_send(c, r, &a, NULL);
}

/* Exactly these bytes: code points up to U+00FF stand for themselves. */
static enum after send_raw(struct connection *c, const json_t *fault)
{
    const json_t *text = json_object_get(fault, "bytes");
    const char *p = json_string_value(text);
    size_t n = json_string_length(text);
    const char *then = fault_text(fault, "then", "close");
    char *out = malloc(n + 1);
    size_t used = 0;
    bool ok;

    if (out == NULL || p == NULL) {
        free(out);
        return AFTER_RESET;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char lead = (unsigned char)p[i];
        if (lead >= 0xc2 && lead <= 0xc3 && i + 1 < n)
            out[used++] = (char)((lead << 6) | ((unsigned char)p[++i] & 0x3f));
        else
            out[used++] = (char)lead;
    }
    ok = stream_write(&c->stream, out, used);
    free(out);
    if (!ok)
        return gone(c);
    if (strcmp(then, "stall") == 0)
        return stall(c, fault_number(fault, "ms", 60000));
    if (strcmp(then, "keep") == 0)
        return AFTER_KEEP;
    if (strcmp(then, "truncate") == 0)
        return AFTER_TRUNCATE;
    return strcmp(then, "reset") == 0 ? AFTER_RESET : AFTER_CLOSE;
}

static enum after send_status(struct connection *c, struct http_request *r, const json_t *fault)
{
    struct answer a;
    const char *body = fault_text(fault, "body", NULL);
    int status = (int)fault_number(fault, "status", 502);

    answer_error(&a, status, fault_text(fault, "error", NULL), fault_text(fault, "code", NULL),
                 fault_text(fault, "message", NULL));
    if (body != NULL) {
        answer_free(&a);
        a.body = strdup(body);
        a.length = a.body == NULL ? 0 : strlen(a.body);
        a.content_type = fault_text(fault, "content_type", "application/json");
    }
    a.headers = json_object_get(fault, "headers");
    if (fault_number(fault, "early", 0) != 0) {
        a.close = true;
    } else if (!drain_body(c, r)) {
        answer_free(&a);
        return gone(c);
    }
    return answer_send(c, r, &a, NULL);
}

bool fault_perform(struct connection *c, struct http_request *r, const json_t *fault, enum after *next)
{
    static const char garbage[] = "\x16\x03\x01 this is not HTTP \x00\xff\xfe\r\n\r\n";
    const char *kind = fault_text(fault, "kind", "");
    long long delay = fault_number(fault, strcmp(kind, "delay") == 0 ? "ms" : "delay_ms", 0);

    if (delay > 0 && stream_wait_gone(&c->stream, (int)delay)) {
        *next = gone(c);
        return true;
    }
    if (strcmp(kind, "status") == 0) {
        *next = send_status(c, r, fault);
    } else if (strcmp(kind, "large") == 0) {
        *next = send_large(c, r, fault);
    } else if (strcmp(kind, "echo") == 0) {
        *next = send_echo(c, r);
    } else if (strcmp(kind, "digest") == 0) {
        *next = send_digest(c, r);
    } else if (strcmp(kind, "raw") == 0) {
        *next = drain_body(c, r) ? send_raw(c, fault) : gone(c);
    } else if (strcmp(kind, "garbage") == 0) {
        *next = stream_write(&c->stream, garbage, sizeof garbage - 1) ? AFTER_CLOSE : gone(c);
    } else if (strcmp(kind, "end") == 0) {
        *next = cut_end(fault);
    } else if (strcmp(kind, "stall") == 0) {
        *next = stall(c, fault_number(fault, "ms", 60000));
    } else {
        return false;
    }
    return true;
}
