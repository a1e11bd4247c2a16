/* Which requests may leave with the credential: the checks of a request head in their fixed order. Pure.
 *
 * The order is the contract (first failure wins): peer, Host, Origin and Sec-Fetch-Site, forwarded headers, the
 * required header, a client's Authorization, method, target, header lines and framing, version, sizes, Expect, upgrade.
 * Capacity comes last and is the caller's. A line whose name is not a token takes part in no check by name; since it is
 * refused in any case, it can't be used to get past one. */
#ifndef PP_HTTP_ADMISSION_H
#define PP_HTTP_ADMISSION_H

#include "http/headers.h"
#include "http/reply.h"
#include "http/target.h"

/* What an environment's config says about its clients. Views live as long as the config. */
struct admission_policy {
    const struct str *allowed_paths;
    size_t allowed_paths_count;
    const struct str *allowed_hosts; /* names besides localhost, 127.0.0.1, [::1] */
    size_t allowed_hosts_count;
    const struct str *allowed_origins;
    size_t allowed_origins_count;
    struct str require_name; /* n is 0: no header required */
    struct str require_value;
    bool refuse_forwarded;
    bool reject_authorization; /* client_authorization = "reject" */
    int64_t max_body;          /* bytes */
};

struct admission_request {
    bool peer_allowed;
    bool unix_socket; /* any Host is fine then, and HTTP/1.0 needs none */
    struct str method;
    struct str target;  /* raw */
    struct str version; /* "HTTP/1.1" */
    /* As the front parser understood them. It trims blanks or doesn't; they are not trimmed again where that parser
     * framed the body by them: `Transfer-Encoding: chunked` with a blank left behind it is refused, not repaired. */
    const struct header_list *headers;
    bool headers_cut; /* there were more lines than the list holds: refused whatever they are */
};

enum body_framing { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };

struct admission {
    enum refusal refusal; /* REFUSAL_NONE: admitted, the rest is set */
    struct target target;
    enum body_framing framing;
    int64_t content_length; /* bytes, with BODY_LENGTH */
    bool in_doubt; /* refused, for whatever reason, and where the request ends is not certain: nothing may follow it */
    bool head;     /* method is HEAD */
    bool http10;
    bool websocket;           /* a complete and valid upgrade request (RFC 6455 4.2.1) */
    bool authorization_given; /* the client sent its own, which is dropped: counted and warned of */
    char detail[160];         /* with a refusal: what exactly, and what would be right; never a header's value */
};

/* Fills *out. Never fails: what cannot be understood is a refusal.
 *
 * Host: exactly one line (400 otherwise), naming an allowed host with or without a port (421). Over a Unix socket its
 * value is free, and HTTP/1.0 may leave it out (RFC 9112 3.2); over TCP HTTP/1.0 needs it too, for the check's sake.
 * Origin: each line must be listed; Sec-Fetch-Site: each must be `none` or `same-origin`, listed Origin or not.
 * require_header: exactly one line of that name with exactly that value.
 * Upgrade: `h2c` and the like are ignored as RFC 9110 7.8 allows (the field is hop-by-hop and dropped). `websocket`
 * asked for wrongly (no key, wrong version, a body, HTTP/1.0, not GET) is a refusal, and so is one on a path that only
 * a prefix of allowed_paths allows: a tunnel needs `/ws` or a path that is listed exactly. */
void admission_check(const struct admission_policy *policy, const struct admission_request *request,
                     struct admission *out);

#endif
