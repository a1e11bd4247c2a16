/* The WebSocket side: handshake, events of one transaction, echo, and closing as told (RFC 6455). */
#ifndef PP_TESTS_FAKEPROOF_WS_H
#define PP_TESTS_FAKEPROOF_WS_H

#include "answer.h"

/* Serves GET /ws of an authenticated caller until the end. `fault` may be NULL. */
enum after ws_serve(struct connection *c, struct http_request *r, const json_t *fault, const char *fingerprint);

/* One server frame, appended to what the connection's thread will send. Wants the lock held. */
bool ws_queue(struct connection *c, unsigned opcode, const void *payload, size_t n);

#endif
