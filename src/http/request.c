/* The request head as it goes upstream: measured and checked first, then written in one piece. */
#include "http/request.h"

#include "http/chars.h"

#define VERSION_LINE_END " HTTP/1.1\r\n"
#define VIA_LINE         "Via: 1.1 proofproxy\r\n"
#define UPGRADE_LINES    "Connection: Upgrade\r\nUpgrade: websocket\r\n"

/* What becomes of the client's lines and of the body's framing, and how long the whole is. */
struct plan {
    bool dropped[LIMIT_HEADERS];
    char length[24]; /* of Content-Length, decimal */
    struct str framing_name, framing_value;
    size_t size;
};

static bool value_clean(struct str s)
{
    return chars_value_span(s.p, s.n) == s.n;
}

/* No blank either: it would end the target. */
static bool target_clean(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!chars_is(s.p[i], CHARS_QUERY) && s.p[i] != '%')
            return false;
    }
    return true;
}

static bool inputs_clean(const struct request_head *head)
{
    return http_token_valid(head->method) && head->target.n > 0 && target_clean(head->prefix) &&
           target_clean(head->target) && head->host.n > 0 && target_clean(head->host) && value_clean(head->origin) &&
           head->authorization.n > 0 && value_clean(head->authorization);
}

/* Room for "Name: value" and the line's end. */
static size_t line_size(struct str name, struct str value)
{
    return name.n + 2 + value.n + 2;
}

/* Decides which of the client's lines travel. False when one that does holds what no line may hold. */
static bool plan_headers(struct plan *plan, const struct request_head *head)
{
    headers_mark_not_forwarded(head->headers, plan->dropped);
    for (size_t i = 0; i < head->headers->count; i++) {
        const struct header *line = &head->headers->items[i];
        if (head->require_name.n > 0 && header_names_alike(line->name, head->require_name))
            plan->dropped[i] = true;
        if (plan->dropped[i])
            continue;
        if (!http_token_valid(line->name) || !value_clean(line->value))
            return false;
        plan->size += line_size(line->name, line->value);
    }
    return true;
}

/* A POST, PUT or PATCH without a body says so, as servers expect (RFC 9110 8.6). */
static bool announces_empty_body(struct str method)
{
    return str_equal(method, STR("POST")) || str_equal(method, STR("PUT")) || str_equal(method, STR("PATCH"));
}

/* Decimal digits, written backwards from the end of plan->length. */
static struct str decimal(struct plan *plan, int64_t n)
{
    size_t at = sizeof plan->length;
    do {
        plan->length[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return (struct str){plan->length + at, sizeof plan->length - at};
}

static bool plan_framing(struct plan *plan, const struct request_head *head)
{
    if (head->framing == BODY_CHUNKED) {
        plan->framing_name = STR("Transfer-Encoding");
        plan->framing_value = STR("chunked");
    } else if (head->framing == BODY_LENGTH || announces_empty_body(head->method)) {
        int64_t length = head->framing == BODY_LENGTH ? head->content_length : 0;
        if (length < 0)
            return false;
        plan->framing_name = STR("Content-Length");
        plan->framing_value = decimal(plan, length);
    }
    return true;
}

static char *put(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_line(char *at, struct str name, struct str value)
{
    at = put(at, name);
    *at++ = ':';
    *at++ = ' ';
    at = put(at, value);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static char *write_head(char *at, const struct plan *plan, const struct request_head *head)
{
    at = put(at, head->method);
    *at++ = ' ';
    at = put(at, head->prefix);
    at = put(at, head->target);
    at = put(at, STR(VERSION_LINE_END));
    for (size_t i = 0; i < head->headers->count; i++) {
        if (!plan->dropped[i])
            at = put_line(at, head->headers->items[i].name, head->headers->items[i].value);
    }
    at = put_line(at, STR("Host"), head->host);
    at = put(at, STR(VIA_LINE));
    if (head->origin.n > 0)
        at = put_line(at, STR("Origin"), head->origin);
    if (head->websocket)
        at = put(at, STR(UPGRADE_LINES));
    if (plan->framing_name.n > 0)
        at = put_line(at, plan->framing_name, plan->framing_value);
    at = put_line(at, STR("Authorization"), head->authorization);
    return put(at, STR("\r\n"));
}

enum pp_result request_write_head(struct buf *out, const struct request_head *head)
{
    struct plan plan;
    plan.framing_name = STR_NONE;
    plan.size = 0;
    if (!inputs_clean(head) || !plan_headers(&plan, head) || !plan_framing(&plan, head))
        return PP_INVALID;
    plan.size += head->method.n + 1 + head->prefix.n + head->target.n + sizeof VERSION_LINE_END - 1;
    plan.size += line_size(STR("Host"), head->host) + sizeof VIA_LINE - 1;
    plan.size += head->origin.n > 0 ? line_size(STR("Origin"), head->origin) : 0;
    plan.size += head->websocket ? sizeof UPGRADE_LINES - 1 : 0;
    plan.size += plan.framing_name.n > 0 ? line_size(plan.framing_name, plan.framing_value) : 0;
    plan.size += line_size(STR("Authorization"), head->authorization) + 2;

    char *at;
    size_t room;
    enum pp_result rc = buf_reserve(out, plan.size, &at, &room);
    if (rc != PP_OK)
        return rc;
    buf_added(out, (size_t)(write_head(at, &plan, head) - at));
    return PP_OK;
}

size_t request_chunk_prefix(size_t bytes, char out[static 20])
{
    size_t digits = 1, n = 0;
    for (size_t rest = bytes >> 4; rest > 0; rest >>= 4)
        digits++;
    while (digits-- > 0)
        out[n++] = "0123456789abcdef"[bytes >> (4 * digits) & 15];
    out[n++] = '\r';
    out[n++] = '\n';
    return n;
}
