/* The request as it goes upstream: a checked head, our own framing, the credential last. Pure (RFC 9112 3, 6). */
#ifndef PP_HTTP_REQUEST_H
#define PP_HTTP_REQUEST_H

#include "base/buf.h"
#include "http/admission.h"

struct request_head {
    struct str method;
    struct str target;                 /* raw, as admitted; the base URL's path prefix, if any, is written before it */
    struct str prefix;                 /* path of base_url without a trailing slash; usually empty */
    struct str host;                   /* upstream's authority */
    struct str origin;                 /* n is 0: none */
    struct str authorization;          /* "Bearer …": the one secret here; the caller wipes `out` afterwards */
    const struct header_list *headers; /* the client's */
    struct str require_name;           /* stripped */
    enum body_framing framing;
    int64_t content_length;
    bool websocket; /* Connection: Upgrade, Upgrade: websocket and the Sec-WebSocket-* lines are kept */
};

/* Appends the whole head including the empty line. What travels: end-to-end lines of the client that are not controlled
 * (headers.h), unchanged and in order; then ours: Host, Via, Origin, framing, Authorization. Content-Length is written
 * as `0` for a POST, PUT or PATCH without a body. Names and values were checked at admission; a CR, LF or NUL in any
 * input here is a bug and PP_INVALID, with nothing usable in `out`. */
enum pp_result request_write_head(struct buf *out, const struct request_head *head) PP_MUST_CHECK;

/* Chunked framing for a body streamed upward: "1a2b\r\n" before the bytes, CRLF after them; the last chunk ends it. */
size_t request_chunk_prefix(size_t bytes, char out[static 20]);
#define REQUEST_LAST_CHUNK "0\r\n\r\n"

#endif
