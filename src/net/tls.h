/* TLS of one upstream connection, over a non-blocking socket: OpenSSL behind six calls.
 *
 * A `struct ssl_st` is OpenSSL's SSL; nobody outside tls.c looks inside. It belongs to one thread at a time. The shared
 * context (struct upstream_tls, made by upstream_tls_new of net/upstream.h) holds trust anchors, the rules, and the
 * sessions to resume; it is safe to use from every thread. */
#ifndef PP_NET_TLS_H
#define PP_NET_TLS_H

#include "base/result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct upstream_tls;
struct ssl_st;

/* A client side on the connected socket `fd` (which stays the caller's to close), expecting the host the context was
 * made for, with a session to resume if there is one. PP_NOMEM otherwise. */
enum pp_result tls_new(struct upstream_tls *t, int fd, struct ssl_st **out) PP_MUST_CHECK;

/* One step. PP_AGAIN: call again when the socket is readable or writable. PP_OK: the peer is who it should be: chain,
 * name, dates, pin and protocol were checked, for a resumed session too. PP_BROKEN: *why says in words what failed.
 * PP_END: nothing did, but the connection was closed or lost before the handshake was over; *why says which. */
enum pp_result tls_handshake(struct upstream_tls *t, struct ssl_st *s, struct problem *why) PP_MUST_CHECK;
bool tls_resumed(const struct ssl_st *s);

/* As upstream_read and upstream_write. With PP_AGAIN, *other_way says that the socket must become writable for the read
 * to go on, or readable for the write. A read that said PP_AGAIN has taken everything out of the socket. */
enum pp_result tls_read(struct ssl_st *s, void *into, size_t room, size_t *done, bool *other_way) PP_MUST_CHECK;
enum pp_result tls_write(struct ssl_st *s, const void *bytes, size_t n, size_t *done, bool *other_way) PP_MUST_CHECK;

/* Sends close_notify (RFC 8446 6.1): nothing can be written afterwards, reading goes on. PP_AGAIN: call again when
 * writable. PP_BROKEN: the connection is gone. */
enum pp_result tls_shutdown_write(struct ssl_st *s) PP_MUST_CHECK;

/* Bytes taken from the socket so far, records and all; and whether any of them still wait inside. */
uint64_t tls_wire_bytes(struct ssl_st *s);
bool tls_has_pending(const struct ssl_st *s);

/* The most bytes of memory one takes; `idle`: with no record on its way. */
size_t tls_cost(bool idle);

/* Frees it; the socket is left alone. `polite`: try to say close_notify first. */
void tls_free(struct ssl_st **s, bool polite);

#endif
