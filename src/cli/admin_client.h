/* Talks to the running daemon over its admin listener: one request, one answer, blocking. */
#ifndef PP_CLI_ADMIN_CLIENT_H
#define PP_CLI_ADMIN_CLIENT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/result.h"

#include <jansson.h>

#define ADMIN_ADDRESS_SIZE 160u

/* Where the daemon's admin interface is: `given` ("unix:PATH" or "HOST:PORT", of --admin) if not NULL; else the first
 * of admin.listen that can be reached by its address alone, or "" if none can; where the config does not load, looked
 * for by its words, else the default. So a broken config file does not keep anybody from asking the daemon about it.
 * (admin_address.c) */
void admin_client_address(const char *config_path, const char *given, char out[static ADMIN_ADDRESS_SIZE]);

/* `address` as admin_client_address gives it. PP_OK: *status and `body` (initialised by the caller, who frees it) are
 * the answer's. PP_NOT_FOUND: no daemon is there; PP_DENIED: it may not be asked by this user; PP_TIMEOUT; PP_BROKEN;
 * PP_INVALID: the address or the answer. The problem says what to do. `timeout` in ms, at least 1, for the connection
 * and again for the exchange on it. */
enum pp_result admin_client_request(const char *address, const char *method, const char *path, msec timeout,
                                    int *status, struct buf *body, struct problem *problem) PP_MUST_CHECK;

/* The same for an answer that is a JSON object; the caller decrefs *out. */
enum pp_result admin_client_json(const char *address, const char *method, const char *path, msec timeout, int *status,
                                 json_t **out, struct problem *problem) PP_MUST_CHECK;

#endif
