/* One credential: immutable, reference-counted, in secret memory, wiped when the last holder lets go.
 *
 * Nothing can print it: logs, status and metrics get its fingerprint. Any thread. Beside the secret it carries what is
 * said and counted about it: the expires= of its line and the use counters. */
#ifndef PP_TOKEN_TOKEN_H
#define PP_TOKEN_TOKEN_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"

#include <stdatomic.h>

#define TOKEN_FINGERPRINT_SIZE 13u /* 12 hex digits and a NUL */

struct token;

/* Counters every worker writes and status reads; relaxed atomics, no lock. */
struct token_use {
    atomic_uint_fast64_t requests;  /* tries at upstream that carried it; probes are none */
    atomic_uint_fast64_t refusals;  /* of which were answered 401 */
    atomic_int_fast64_t last_used;  /* wall ms; 0 = never */
    atomic_int_fast32_t websockets; /* open tunnels riding it */
};

/* Copies and keeps `n` bytes (1 to LIMIT_TOKEN_LENGTH, already checked by token/file). `expires` is wall ms, 0 =
 * unknown. NULL when out of memory, or when `n` is out of range. */
struct token *token_new(const char *bytes, size_t n, int64_t expires) PP_MUST_CHECK;

struct token *token_ref(struct token *t);
/* Lets go and clears the caller's pointer. NULL inside is fine. */
void token_unref(struct token **t);

/* First 12 hex digits of SHA-256 over the token; NUL-terminated, lives as long as the token. */
const char *token_fingerprint(const struct token *t);
/* The same for the same secret, in whatever object: the first 64 bits of the digest the fingerprint is from. */
uint64_t token_identity(const struct token *t);
/* Wall ms, 0 = unknown. Set when the token's line in the file says something new; the store notices by itself. */
int64_t token_expires(const struct token *t);
void token_set_expires(struct token *t, int64_t expires);
struct token_use *token_use(struct token *t);

/* Same secret? Constant time for equal lengths. */
bool token_equal(const struct token *a, const struct token *b);

/* "Bearer <token>", for the request writer alone; lives as long as the token, in secret memory. */
struct str token_authorization(const struct token *t);

/* Where the bare token occurs in `hay`: the offset, or SIZE_MAX. For the leak guard. */
size_t token_find(const struct token *t, struct str hay);
/* How many bytes at the end of `hay` could be the beginning of the token, whose rest is still to come. */
size_t token_begun(const struct token *t, struct str hay);
/* Its length in bytes. */
size_t token_length(const struct token *t);

#endif
