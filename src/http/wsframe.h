/* WebSocket: the handshake's checks, frame boundaries in a byte stream, and Close frames. Pure (RFC 6455). */
#ifndef PP_HTTP_WSFRAME_H
#define PP_HTTP_WSFRAME_H

#include "base/buf.h"
#include "http/response.h"

/* Follows one direction of a tunnel. Payloads are skipped, never looked at or changed. */
struct wsframe {
    uint64_t payload_left;
    unsigned char header[14];
    unsigned char have; /* header bytes so far */
    bool in_payload;
    bool broken;          /* not WebSocket framing: bytes still pass, but no frame may be inserted any more */
    bool closed;          /* a Close frame went by completely */
    unsigned char opcode; /* of the frame at hand */
};
void wsframe_init(struct wsframe *f);

/* Accounts for bytes about to be relayed. A reserved opcode, a control frame longer than 125 or fragmented, or a 64-bit
 * length with its top bit set marks it broken. */
void wsframe_feed(struct wsframe *f, const void *bytes, size_t n);

/* How many of these bytes may be relayed so that the stream stands at a frame boundary; 0 when it stands at one
 * already. n or more means: no boundary in sight. */
size_t wsframe_to_boundary(const struct wsframe *f, const void *bytes, size_t n);

/* True when a frame of ours may be inserted now. */
bool wsframe_at_boundary(const struct wsframe *f);

/* Appends a Close frame with this code (RFC 6455 7.4). `mask` is NULL towards a client, 4 random bytes towards a
 * server. */
enum pp_result wsframe_write_close(struct buf *out, unsigned code, struct str reason,
                                   const unsigned char *mask) PP_MUST_CHECK;

/* base64(SHA-1(key + GUID)) for the 24-character Sec-WebSocket-Key; `accept` gets 28 characters and a NUL. */
enum pp_result wsframe_accept(struct str key, char accept[static 29]) PP_MUST_CHECK;

/* Is this a 101 that may start a tunnel? Upgrade: websocket once, Connection with upgrade, exactly one
 * Sec-WebSocket-Accept that matches, no body framing, extensions and subprotocol only if the client offered some.
 * PP_INVALID with *what set otherwise. */
enum pp_result wsframe_check_101(const struct response_head *head, const struct header_list *request_headers,
                                 const char **what) PP_MUST_CHECK;

#endif
