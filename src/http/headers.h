/* Header fields: what is a valid one, which are hop-by-hop, which are ours alone. Pure (RFC 9110 5, 7.6; RFC 9112 5).
 */
#ifndef PP_HTTP_HEADERS_H
#define PP_HTTP_HEADERS_H

#include "base/limits.h"
#include "base/str.h"

#include <stdint.h>

/* Views into memory of whoever received the message. */
struct header {
    struct str name;
    struct str value; /* of a request as its parser left it (admission.h); of a response without surrounding blanks */
};

struct header_list {
    size_t count;
    struct header items[LIMIT_HEADERS];
};

/* False when the list is full. */
bool headers_add(struct header_list *list, struct str name, struct str value);

/* RFC 9110 5.6.2 token, at least one character. Also right for methods. */
bool http_token_valid(struct str s);

/* RFC 9110 5.5: visible ASCII, obs-text, space and tab; no other control byte, no CR, LF, NUL or DEL. May be empty. */
bool header_value_valid(struct str value);

/* The n-th line of that name (0 first), case-insensitive; NULL if there is none. */
const struct header *headers_find(const struct header_list *list, struct str name, size_t nth);

/* How many lines have that name. */
size_t headers_count(const struct header_list *list, struct str name);

/* Takes the next member from the front of a comma-separated list (RFC 9110 5.6.1), without blanks around it; empty
 * members are skipped. False at the end. Not for lists whose members may be quoted strings. */
bool header_list_next(struct str *rest, struct str *member);

/* True when the comma-separated list holds `member`, case-insensitive. */
bool header_list_has(struct str rest, struct str member);

/* True when the comma-separated lists of all lines of that name (RFC 9110 5.6.1) hold `member`, case-insensitive. */
bool headers_list_has(const struct header_list *list, struct str name, struct str member);

/* The names the daemon treats specially. Everything else is HEADER_OTHER and travels. */
enum header_id {
    HEADER_OTHER,
    HEADER_AUTHORIZATION,
    HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH,
    HEADER_EXPECT,
    HEADER_FORWARDED, /* Forwarded, X-Forwarded and every X-Forwarded-* */
    HEADER_HOST,
    HEADER_HTTP2_SETTINGS,
    HEADER_KEEP_ALIVE,
    HEADER_ORIGIN,
    HEADER_PROXY_AUTHENTICATE,
    HEADER_PROXY_AUTHENTICATION_INFO,
    HEADER_PROXY_AUTHORIZATION,
    HEADER_PROXY_CONNECTION,
    HEADER_SEC_FETCH_SITE,
    HEADER_SEC_WEBSOCKET_ACCEPT,
    HEADER_SEC_WEBSOCKET_EXTENSIONS,
    HEADER_SEC_WEBSOCKET_KEY,
    HEADER_SEC_WEBSOCKET_PROTOCOL,
    HEADER_SEC_WEBSOCKET_VERSION,
    HEADER_TE,
    HEADER_TRAILER,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    HEADER_VIA
};

/* Which of them a name is, compared case-insensitively and after mapping `_` to `-`. *exact is false when only that
 * mapping made it one: a look-alike, which must not be believed. Cheap: most names cost one or two comparisons of a
 * byte. */
enum header_id header_identify(struct str name, bool *exact);

/* True when two names are one after ignoring case and mapping `_` to `-`. */
bool header_names_alike(struct str a, struct str b);

/* One pass over a request's or response's lines: dropped[i] is set for each hop-by-hop line (Connection, Keep-Alive,
 * Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, Proxy-Authentication-Info, TE, Trailer, Transfer-Encoding,
 * Upgrade, HTTP2-Settings; RFC 9110 7.6.1) and each line named in Connection. What is not dropped is end-to-end. */
void headers_mark_hop_by_hop(const struct header_list *list, bool dropped[static LIMIT_HEADERS]);

/* The same for a client's lines on their way upstream: dropped[i] is set as well for each line that the daemon alone
 * writes: Authorization, Host, Content-Length, Origin, Via, Expect, Forwarded, X-Forwarded-* and every hop-by-hop name
 * (Cookie is not one). Compared after mapping `_` to `-`, so that no look-alike slips through to a server that folds
 * the two. */
void headers_mark_not_forwarded(const struct header_list *list, bool dropped[static LIMIT_HEADERS]);

/* Content-Length (RFC 9110 8.6): digits only, no sign, no blank, no list, fits 63 bits. False otherwise. */
bool http_parse_content_length(struct str value, int64_t *length);

#endif
