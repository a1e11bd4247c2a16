/* The daemon's own answers: one table, and its two renderings. */
#include "http/reply.h"

#include "base/json_text.h"

#include <stdio.h>

/* Slugs of the API's own errors, so that an app's error handling needs no new branch. */
#define INVALID     "invalid_request"
#define FORBIDDEN   "forbidden"
#define NOT_FOUND   "not_found"
#define INTERNAL    "internal_error"
#define UNAVAILABLE "upstream_unavailable"

/* Registered error types of RFC 9209 2.3. */
#define DENIED      "http_request_denied"
#define REQUEST_ERR "http_request_error"

/* Further header lines, ended by a NULL. */
static const struct reply_line allow[] = {{"Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}, {NULL, NULL}};
static const struct reply_line retry_after[] = {{"Retry-After", "1"}, {NULL, NULL}};
/* RFC 6455 4.4 asks for the version, RFC 9110 15.5.22 for the protocol, and its 7.8 for the connection option. */
static const struct reply_line websocket_version[] = {
    {"Sec-WebSocket-Version", "13"}, {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {NULL, NULL}};

static const struct reply_rule rules[REFUSAL_COUNT] = {
    [REFUSAL_NONE] = {500, "none", INTERNAL, "proxy_internal_error", "proxy_internal_error",
                      "The proxy failed without naming a reason.", NULL, true},
    [REFUSAL_PEER] = {403, "peer", FORBIDDEN, "proxy_peer_not_allowed", DENIED,
                      "This user may not use the proxy: see allow_users and allow_groups in its configuration.", NULL,
                      true},
    [REFUSAL_HOST] =
        {421, "host", FORBIDDEN, "proxy_host_not_allowed", DENIED,
         "The Host header names another host: use localhost, 127.0.0.1 or [::1], or add the name to allowed_hosts.",
         NULL, false},
    [REFUSAL_ORIGIN] = {403, "origin", FORBIDDEN, "proxy_origin_not_allowed", DENIED,
                        "Requests from web pages are refused: leave out Origin and Sec-Fetch-Site, or list the origin "
                        "in allowed_origins.",
                        NULL, false},
    [REFUSAL_FORWARDED] =
        {403, "forwarded", FORBIDDEN, "proxy_forwarded_not_allowed", DENIED,
         "The request came through another proxy: call directly, without Forwarded or X-Forwarded-* headers.", NULL,
         false},
    [REFUSAL_REQUIRED_HEADER] = {403, "required_header", FORBIDDEN, "proxy_required_header_missing", DENIED,
                                 "A header that require_header demands is missing or has another value.", NULL, false},
    [REFUSAL_AUTHORIZATION] = {400, "authorization", INVALID, "proxy_authorization_not_allowed", DENIED,
                               "The proxy attaches the credential itself: send no Authorization header.", NULL, false},
    [REFUSAL_METHOD] = {405, "method", INVALID, "proxy_method_not_allowed", REQUEST_ERR,
                        "The method is not allowed: use one of those that Allow names.", allow, false},
    [REFUSAL_TARGET] = {400, "target", INVALID, "proxy_target_invalid", REQUEST_ERR,
                        "The request target is not one that can be forwarded unchanged.", NULL, true},
    [REFUSAL_TARGET_TOO_LONG] = {400, "target_too_long", INVALID, "proxy_target_too_long", REQUEST_ERR,
                                 "The request target is longer than 8192 bytes.", NULL, true},
    [REFUSAL_PATH] = {404, "path", NOT_FOUND, "proxy_path_not_allowed", DENIED,
                      "No entry of allowed_paths matches the path.", NULL, false},
    [REFUSAL_FRAMING] = {400, "framing", INVALID, "proxy_framing_invalid", REQUEST_ERR,
                         "The request's framing is ambiguous or malformed.", NULL, true},
    [REFUSAL_HEADER] = {400, "header", INVALID, "proxy_header_invalid", REQUEST_ERR,
                        "A header name is not a token, or a value holds a control byte.", NULL, true},
    [REFUSAL_VERSION] = {505, "version", INVALID, "proxy_version_not_supported", REQUEST_ERR,
                         "Only HTTP/1.0 and HTTP/1.1 are spoken here.", NULL, true},
    [REFUSAL_BODY_TOO_LARGE] = {413, "body_too_large", INVALID, "proxy_body_too_large", REQUEST_ERR,
                                "The body is larger than max_body.", NULL, true},
    [REFUSAL_HEADERS_TOO_LARGE] = {431, "headers_too_large", INVALID, "proxy_headers_too_large", REQUEST_ERR,
                                   "The headers are over 16 KiB or over 100 lines.", NULL, true},
    [REFUSAL_EXPECT] = {417, "expect", INVALID, "proxy_expectation_failed", REQUEST_ERR,
                        "The only expectation understood is 100-continue.", NULL, true},
    [REFUSAL_UPGRADE] = {400, "upgrade", INVALID, "proxy_upgrade_invalid", REQUEST_ERR,
                         "The WebSocket handshake is malformed (RFC 6455 4.1).", NULL, true},
    [REFUSAL_UPGRADE_VERSION] = {426, "upgrade_version", INVALID, "proxy_upgrade_version_not_supported", REQUEST_ERR,
                                 "Only version 13 of the WebSocket protocol is spoken.", websocket_version, true},
    [REFUSAL_TIMEOUT] = {408, "timeout", INVALID, "proxy_request_timeout", REQUEST_ERR,
                         "The request did not arrive in time.", NULL, true},
    [REFUSAL_OVERLOADED] = {503, "overloaded", UNAVAILABLE, "proxy_overloaded", "connection_limit_reached",
                            "Too many calls are in progress: repeat after a moment.", retry_after, false},
    [REFUSAL_DRAINING] = {503, "draining", UNAVAILABLE, "proxy_draining", "proxy_internal_response",
                          "The proxy is stopping: repeat after a moment.", retry_after, true},
    [REFUSAL_NO_TOKEN] = {503, "no_token", UNAVAILABLE, "proxy_no_token", "proxy_configuration_error",
                          "The proxy holds no token for this environment: check its token_file.", NULL, false},
    [REFUSAL_INTERNAL] = {500, "internal", INTERNAL, "proxy_internal_error", "proxy_internal_error",
                          "The proxy failed internally, for example for lack of memory.", NULL, true},
    [REFUSAL_CONNECT] = {502, "connect", UNAVAILABLE, "proxy_connect_failed", "destination_unavailable",
                         "No connection to the upstream could be made.", NULL, false},
    [REFUSAL_TLS] = {502, "tls", UNAVAILABLE, "proxy_tls_failed", "tls_protocol_error",
                     "The upstream could not be verified over TLS.", NULL, false},
    [REFUSAL_DNS] = {502, "dns", UNAVAILABLE, "proxy_dns_failed", "dns_error",
                     "The upstream's name could not be resolved.", NULL, false},
    [REFUSAL_PROTOCOL] = {502, "protocol", UNAVAILABLE, "proxy_protocol_error", "http_protocol_error",
                          "The upstream's answer was malformed or incomplete.", NULL, false},
    [REFUSAL_UPSTREAM_TIMEOUT] = {504, "upstream_timeout", UNAVAILABLE, "proxy_timeout", "http_response_timeout",
                                  "The upstream did not answer in time.", NULL, false},
};

const char *sent_name(enum sent sent)
{
    switch (sent) {
    case SENT_NO:
        return "no";
    case SENT_MAYBE:
        return "maybe";
    case SENT_YES:
        return "yes";
    }
    return "maybe";
}

const struct reply_rule *reply_rule(enum refusal refusal)
{
    return &rules[(unsigned)refusal < REFUSAL_COUNT ? refusal : REFUSAL_INTERNAL];
}

enum pp_result reply_body(struct buf *out, enum refusal refusal, const char *detail, enum sent sent)
{
    const struct reply_rule *rule = reply_rule(refusal);
    enum pp_result rc = PP_NOMEM;
    json_t *body = json_object();
    /* json_string refuses what is not UTF-8: then the table's sentence serves. */
    json_t *message = json_string(detail == NULL || detail[0] == 0 ? rule->message : detail);
    if (message == NULL)
        message = json_string(rule->message);
    if (body == NULL || message == NULL)
        goto out;
    if (json_object_set_new(body, "error", json_string(rule->error)) != 0 ||
        json_object_set_new(body, "code", json_string(rule->code)) != 0 ||
        json_object_set(body, "message", message) != 0 ||
        json_object_set_new(body, "sent", json_string(sent_name(sent))) != 0)
        goto out;
    rc = json_text_dump(body, JSON_COMPACT | JSON_PRESERVE_ORDER, out);
    if (rc == PP_OK)
        rc = buf_append_char(out, '\n');
out:
    if (rc != PP_OK)
        out->failed = true;
    json_decref(message);
    json_decref(body);
    return rc;
}

void reply_proxy_status(enum refusal refusal, enum sent sent, char out[static 96])
{
    bool connecting = refusal == REFUSAL_UPSTREAM_TIMEOUT && sent == SENT_NO;
    snprintf(out, 96, "proofproxy; error=%s", connecting ? "connection_timeout" : reply_rule(refusal)->proxy_status);
}
