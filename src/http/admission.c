/* The checks of a request head: one pass over its lines, then the verdicts in their order. */
#include "http/admission.h"

#include "http/upgrade.h"

#include <stdio.h>

/* The header lines whose number and first value matter. */
enum { SEEN_IDS = HEADER_VIA + 1 };

/* What one pass over the lines found. */
struct lines {
    unsigned char count[SEEN_IDS];  /* of lines with exactly that name; at most LIMIT_HEADERS */
    struct str value[SEEN_IDS];     /* of the first of them */
    const struct header *bad_value; /* the first line with a good name and a bad value */
    bool bad_name;
    bool origin_refused, fetch_site_refused, forwarded, authorization, expect_other;
    bool connection_upgrade, upgrade_websocket;
    unsigned required_right, required_wrong; /* lines of the required name, by their value */
    size_t size;                             /* bytes of all lines on the wire */
};

struct check {
    const struct admission_policy *policy;
    const struct admission_request *request;
    struct lines lines;
    struct admission *out;
};

static enum refusal refuse(struct check *c, enum refusal refusal, const char *detail)
{
    snprintf(c->out->detail, sizeof c->out->detail, "%s", detail);
    return refusal;
}

/* --- the pass over the lines --- */

static bool origin_listed(const struct admission_policy *policy, struct str value)
{
    for (size_t i = 0; i < policy->allowed_origins_count; i++) {
        if (str_equal(value, policy->allowed_origins[i]))
            return true;
    }
    return false;
}

/* A line whose name is exactly one of those the daemon knows. */
static void note_known(struct check *c, enum header_id id, struct str value)
{
    struct lines *lines = &c->lines;
    if (lines->count[id]++ == 0)
        lines->value[id] = value;
    switch (id) {
    case HEADER_ORIGIN:
        lines->origin_refused |= !origin_listed(c->policy, value);
        break;
    case HEADER_SEC_FETCH_SITE:
        lines->fetch_site_refused |= !str_equal(value, STR("none")) && !str_equal(value, STR("same-origin"));
        break;
    case HEADER_CONNECTION:
        lines->connection_upgrade |= header_list_has(value, STR("upgrade"));
        break;
    case HEADER_UPGRADE:
        lines->upgrade_websocket |= header_list_has(value, STR("websocket"));
        break;
    case HEADER_EXPECT:
        lines->expect_other |= !str_equal_nocase(value, STR("100-continue"));
        break;
    default:
        break;
    }
}

/* Time depends on the lengths alone: the value may serve as a shared secret. */
static bool required_value_is(struct str value, struct str wanted)
{
    unsigned char difference = 0;
    for (size_t i = 0; i < value.n && i < wanted.n; i++)
        difference |= (unsigned char)(value.p[i] ^ wanted.p[i]);
    return value.n == wanted.n && difference == 0;
}

static void note_line(struct check *c, const struct header *line)
{
    struct lines *lines = &c->lines;
    lines->size += line->name.n + line->value.n + 4;
    if (!http_token_valid(line->name)) {
        lines->bad_name = true;
        return;
    }
    if (lines->bad_value == NULL && !header_value_valid(line->value))
        lines->bad_value = line;
    if (c->policy->require_name.n > 0 && str_equal_nocase(line->name, c->policy->require_name)) {
        if (required_value_is(str_trim(line->value), c->policy->require_value))
            lines->required_right++;
        else
            lines->required_wrong++;
    }
    bool exact;
    enum header_id id = header_identify(line->name, &exact);
    if (id == HEADER_OTHER)
        return;
    lines->forwarded |= id == HEADER_FORWARDED;
    lines->authorization |= id == HEADER_AUTHORIZATION;
    bool framing = id == HEADER_CONTENT_LENGTH || id == HEADER_TRANSFER_ENCODING;
    if (exact)
        note_known(c, id, framing ? line->value : str_trim(line->value));
}

/* --- who calls, and from where --- */

/* ":1" to ":65535", or nothing. */
static bool port_valid(struct str s)
{
    unsigned port = 0;
    if (s.n == 0)
        return true;
    if (s.n < 2 || s.n > 6 || s.p[0] != ':')
        return false;
    for (size_t i = 1; i < s.n; i++) {
        if (!ascii_is_digit(s.p[i]))
            return false;
        port = port * 10 + (unsigned)(s.p[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

static bool host_allowed(const struct admission_policy *policy, struct str value)
{
    static const struct str always[] = {STR("localhost"), STR("127.0.0.1"), STR("[::1]")};
    const char *end = value.n == 0 ? NULL : memchr(value.p, value.p[0] == '[' ? ']' : ':', value.n);
    size_t n = end == NULL ? value.n : (size_t)(end - value.p) + (value.p[0] == '[' ? 1 : 0);
    struct str name = {value.p, n};
    if (name.n == 0 || !port_valid((struct str){value.p + n, value.n - n}))
        return false;
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        if (str_equal_nocase(name, always[i]))
            return true;
    }
    for (size_t i = 0; i < policy->allowed_hosts_count; i++) {
        if (str_equal_nocase(name, policy->allowed_hosts[i]))
            return true;
    }
    return false;
}

static enum refusal check_required(struct check *c)
{
    const struct lines *lines = &c->lines;
    if (c->policy->require_name.n == 0 || (lines->required_right == 1 && lines->required_wrong == 0))
        return REFUSAL_NONE;
    struct str name = c->policy->require_name;
    int shown = name.n > 64 ? 64 : (int)name.n;
    bool missing = lines->required_right + lines->required_wrong == 0;
    snprintf(c->out->detail, sizeof c->out->detail,
             "The header %.*s %s once, with the value that require_header names.", shown, name.p,
             missing ? "is missing: send it" : "must be sent");
    return REFUSAL_REQUIRED_HEADER;
}

/* Everything that asks whether this caller may call at all. */
static enum refusal check_caller(struct check *c)
{
    const struct lines *lines = &c->lines;
    if (!c->request->peer_allowed)
        return REFUSAL_PEER;
    if (!c->request->unix_socket && lines->count[HEADER_HOST] == 1 &&
        !host_allowed(c->policy, lines->value[HEADER_HOST]))
        return REFUSAL_HOST;
    if (lines->origin_refused)
        return refuse(c, REFUSAL_ORIGIN, "Requests with an Origin header are refused unless allowed_origins lists it.");
    if (lines->fetch_site_refused)
        return refuse(c, REFUSAL_ORIGIN, "Sec-Fetch-Site shows that another site's page made this request.");
    if (c->policy->refuse_forwarded && lines->forwarded)
        return REFUSAL_FORWARDED;
    enum refusal refusal = check_required(c);
    if (refusal == REFUSAL_NONE && c->policy->reject_authorization && lines->authorization)
        refusal = REFUSAL_AUTHORIZATION;
    return refusal;
}

/* --- what is asked for --- */

static bool method_allowed(struct str m)
{
    switch (m.n) {
    case 3:
        return str_equal(m, STR("GET")) || str_equal(m, STR("PUT"));
    case 4:
        return str_equal(m, STR("POST")) || str_equal(m, STR("HEAD"));
    case 5:
        return str_equal(m, STR("PATCH"));
    case 6:
        return str_equal(m, STR("DELETE"));
    case 7:
        return str_equal(m, STR("OPTIONS"));
    default:
        return false;
    }
}

static enum refusal check_target(struct check *c)
{
    enum target_verdict verdict =
        target_check(c->request->target, c->policy->allowed_paths, c->policy->allowed_paths_count, &c->out->target);
    switch (verdict) {
    case TARGET_OK:
        return REFUSAL_NONE;
    case TARGET_NOT_ALLOWED:
        return REFUSAL_PATH;
    case TARGET_TOO_LONG:
        return REFUSAL_TARGET_TOO_LONG;
    default:
        snprintf(c->out->detail, sizeof c->out->detail, "The request target is refused: %s.",
                 target_verdict_text(verdict));
        return REFUSAL_TARGET;
    }
}

/* --- where the request ends --- */

static enum refusal check_lines(struct check *c)
{
    const struct lines *lines = &c->lines;
    if (lines->bad_name)
        return refuse(c, REFUSAL_HEADER,
                      "A header name is not a token (RFC 9110 5.6.2): no blank may stand before the colon.");
    if (lines->bad_value != NULL) {
        struct str name = lines->bad_value->name;
        snprintf(c->out->detail, sizeof c->out->detail, "The value of the header %.*s holds a control byte.",
                 name.n > 64 ? 64 : (int)name.n, name.p);
        return REFUSAL_HEADER;
    }
    if (lines->count[HEADER_HOST] > 1)
        return refuse(c, REFUSAL_FRAMING, "There is more than one Host header.");
    if (lines->count[HEADER_HOST] == 0 && !(c->out->http10 && c->request->unix_socket))
        return refuse(c, REFUSAL_FRAMING, "There is no Host header.");
    return REFUSAL_NONE;
}

static enum refusal check_framing(struct check *c)
{
    const struct lines *lines = &c->lines;
    struct admission *out = c->out;
    unsigned lengths = lines->count[HEADER_CONTENT_LENGTH], codings = lines->count[HEADER_TRANSFER_ENCODING];
    if (lengths > 0 && codings > 0)
        return refuse(c, REFUSAL_FRAMING, "Transfer-Encoding and Content-Length exclude each other.");
    if (lengths > 1)
        return refuse(c, REFUSAL_FRAMING, "There is more than one Content-Length.");
    if (lengths == 1) {
        if (!http_parse_content_length(lines->value[HEADER_CONTENT_LENGTH], &out->content_length))
            return refuse(c, REFUSAL_FRAMING, "Content-Length is not a decimal number.");
        out->framing = out->content_length > 0 ? BODY_LENGTH : BODY_NONE;
    }
    if (codings > 0) {
        if (codings > 1 || !str_equal_nocase(lines->value[HEADER_TRANSFER_ENCODING], STR("chunked")))
            return refuse(c, REFUSAL_FRAMING, "The only Transfer-Encoding understood is chunked, once.");
        if (out->http10)
            return refuse(c, REFUSAL_FRAMING, "HTTP/1.0 has no Transfer-Encoding.");
        out->framing = BODY_CHUNKED;
    }
    return REFUSAL_NONE;
}

static enum refusal check_sizes(struct check *c)
{
    if (c->out->framing == BODY_LENGTH && c->out->content_length > c->policy->max_body) {
        snprintf(c->out->detail, sizeof c->out->detail, "The body is larger than max_body, which is %lld bytes.",
                 (long long)c->policy->max_body);
        return REFUSAL_BODY_TOO_LARGE;
    }
    if (c->request->headers_cut || c->lines.size > LIMIT_REQUEST_HEAD)
        return REFUSAL_HEADERS_TOO_LARGE;
    return REFUSAL_NONE;
}

static enum refusal check_expect(struct check *c)
{
    const struct lines *lines = &c->lines;
    if (lines->count[HEADER_EXPECT] == 0 || c->out->http10) /* RFC 9110 10.1.1: HTTP/1.0 has no expectations */
        return REFUSAL_NONE;
    return lines->expect_other ? REFUSAL_EXPECT : REFUSAL_NONE;
}

static enum refusal check_upgrade(struct check *c)
{
    const struct lines *lines = &c->lines;
    if (!lines->upgrade_websocket)
        return REFUSAL_NONE;
    struct upgrade_request upgrade = {
        .upgrades = lines->count[HEADER_UPGRADE],
        .keys = lines->count[HEADER_SEC_WEBSOCKET_KEY],
        .versions = lines->count[HEADER_SEC_WEBSOCKET_VERSION],
        .upgrade = lines->value[HEADER_UPGRADE],
        .key = lines->value[HEADER_SEC_WEBSOCKET_KEY],
        .version = lines->value[HEADER_SEC_WEBSOCKET_VERSION],
        .connection_upgrade = lines->connection_upgrade,
        .get = str_equal(c->request->method, STR("GET")),
        .http10 = c->out->http10,
        .has_body = c->out->framing != BODY_NONE,
        .path = c->out->target.path,
    };
    const char *detail;
    enum refusal refusal = upgrade_check(c->policy, &upgrade, &detail);
    c->out->websocket = refusal == REFUSAL_NONE;
    return detail == NULL ? refusal : refuse(c, refusal, detail);
}

static enum refusal check_all(struct check *c)
{
    bool http11 = str_equal(c->request->version, STR("HTTP/1.1"));
    c->out->http10 = str_equal(c->request->version, STR("HTTP/1.0"));
    c->out->head = str_equal(c->request->method, STR("HEAD"));
    c->out->authorization_given = c->lines.authorization;
    enum refusal refusal = check_caller(c);
    if (refusal == REFUSAL_NONE && !method_allowed(c->request->method))
        refusal = REFUSAL_METHOD;
    if (refusal == REFUSAL_NONE)
        refusal = check_target(c);
    if (refusal == REFUSAL_NONE)
        refusal = check_lines(c);
    if (refusal == REFUSAL_NONE)
        refusal = check_framing(c);
    if (refusal == REFUSAL_NONE && !http11 && !c->out->http10)
        refusal = REFUSAL_VERSION;
    if (refusal == REFUSAL_NONE)
        refusal = check_sizes(c);
    if (refusal == REFUSAL_NONE)
        refusal = check_expect(c);
    if (refusal == REFUSAL_NONE)
        refusal = check_upgrade(c);
    return refusal;
}

static bool visible(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
            return false;
    return true;
}

/* The reason for a refusal may come before the framing is looked at; what a later request is depends on it all the same
 * (RFC 9112 11.2). */
static bool in_doubt(const struct check *c)
{
    struct admission scratch = *c->out;
    struct check again = *c;
    again.out = &scratch; /* the sentence stays the one about the refusal */
    bool known_version = c->out->http10 || str_equal(c->request->version, STR("HTTP/1.1"));
    return !known_version || !http_token_valid(c->request->method) || !visible(c->request->target) ||
           c->request->headers_cut || check_lines(&again) != REFUSAL_NONE || check_framing(&again) != REFUSAL_NONE;
}

void admission_check(const struct admission_policy *policy, const struct admission_request *request,
                     struct admission *out)
{
    struct check c = {.policy = policy, .request = request, .out = out};
    *out = (struct admission){.refusal = REFUSAL_NONE};
    for (size_t i = 0; i < request->headers->count; i++)
        note_line(&c, &request->headers->items[i]);
    out->refusal = check_all(&c);
    if (out->refusal != REFUSAL_NONE)
        out->in_doubt = in_doubt(&c);
}
