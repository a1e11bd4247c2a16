/* The daemon's own answers: every local error, its status, body and Proxy-Status, in one table. Pure.
 *
 * Bodies have Proof's shape plus `sent`: {"error":…,"code":…,"message":…,"sent":"no"|"maybe"|"yes"}. */
#ifndef PP_HTTP_REPLY_H
#define PP_HTTP_REPLY_H

#include "base/buf.h"

/* Why a request ended with an answer of ours. One row of the table in reply.c each; also the label `reason` of
 * proofproxy_local_rejections_total and proofproxy_upstream_errors_total. */
enum refusal {
    REFUSAL_NONE,
    /* admission, in its order */
    REFUSAL_PEER,              /* 403 forbidden */
    REFUSAL_HOST,              /* 421 */
    REFUSAL_ORIGIN,            /* 403 */
    REFUSAL_FORWARDED,         /* 403 */
    REFUSAL_REQUIRED_HEADER,   /* 403 */
    REFUSAL_AUTHORIZATION,     /* 400: client_authorization = "reject" */
    REFUSAL_METHOD,            /* 405, with Allow */
    REFUSAL_TARGET,            /* 400 */
    REFUSAL_TARGET_TOO_LONG,   /* 400 */
    REFUSAL_PATH,              /* 404 */
    REFUSAL_FRAMING,           /* 400 */
    REFUSAL_HEADER,            /* 400 */
    REFUSAL_VERSION,           /* 505 */
    REFUSAL_BODY_TOO_LARGE,    /* 413 */
    REFUSAL_HEADERS_TOO_LARGE, /* 431 */
    REFUSAL_EXPECT,            /* 417 */
    REFUSAL_UPGRADE,           /* 400; 426 with Upgrade and Sec-WebSocket-Version for another version */
    REFUSAL_UPGRADE_VERSION,
    REFUSAL_TIMEOUT, /* 408: header_timeout or body_timeout passed */
    /* capacity and state */
    REFUSAL_OVERLOADED, /* 503 proxy_overloaded */
    REFUSAL_DRAINING,   /* 503 proxy_draining */
    REFUSAL_NO_TOKEN,   /* 503 proxy_no_token */
    REFUSAL_INTERNAL,   /* 500 proxy_internal_error: out of memory and the like */
    /* upstream */
    REFUSAL_CONNECT,  /* 502 upstream_unavailable, proxy_connect_failed */
    REFUSAL_TLS,      /* 502 proxy_tls_failed */
    REFUSAL_DNS,      /* 502 proxy_dns_failed */
    REFUSAL_PROTOCOL, /* 502 proxy_protocol_error: malformed answer, or the connection died before a whole one */
    REFUSAL_UPSTREAM_TIMEOUT, /* 504 proxy_timeout */
    REFUSAL_COUNT
};

/* Had any byte of the request left this host when it ended? What an app needs to know before it repeats a payment. */
enum sent { SENT_NO, SENT_MAYBE, SENT_YES };
const char *sent_name(enum sent sent);

#define REPLY_LINES 3 /* at most this many further header lines */
struct reply_line {
    const char *name, *value;
};

struct reply_rule {
    int status;
    const char *reason;             /* metric and log label: "host", "body_too_large" */
    const char *error;              /* Proof's slug: "forbidden", "upstream_unavailable" */
    const char *code;               /* "proxy_host_not_allowed" */
    const char *proxy_status;       /* RFC 9209 error type: "http_request_denied", "dns_error" … */
    const char *message;            /* the sentence, when no detail is given */
    const struct reply_line *lines; /* further header lines up to one without a name, or NULL: none */
    bool close;                     /* the client's connection is closed after it */
};
const struct reply_rule *reply_rule(enum refusal refusal);

/* The JSON body, newline at its end. `detail` replaces the table's message when not empty. PP_NOMEM or PP_LIMIT leave
 * `out` failed. */
enum pp_result reply_body(struct buf *out, enum refusal refusal, const char *detail, enum sent sent) PP_MUST_CHECK;

/* Value of the Proxy-Status line (RFC 9209): "proofproxy; error=http_response_timeout". A timeout before anything was
 * sent is the connection's. */
void reply_proxy_status(enum refusal refusal, enum sent sent, char out[static 96]);

#endif
