/* Digests, random bytes, constant-time compare and secret memory: the one file that uses OpenSSL's crypto headers. */
#ifndef PP_BASE_CRYPTO_H
#define PP_BASE_CRYPTO_H

#include "base/result.h"

#include <stdbool.h>
#include <stddef.h>

/* Call first of all in this header. */
void crypto_init(void);
/* How many allocations OpenSSL was denied on this thread, since crypto_init. What it makes then may look whole and lack
 * a part for good. */
unsigned long crypto_denied(void);

/* Sets up memory for secrets: OpenSSL's secure heap (OPENSSL_secure_malloc(3)), locked against swapping, left out of
 * core dumps, between guard pages. As much is locked as RLIMIT_MEMLOCK allows, 2 MiB at most, 64 KiB at least; with
 * less PP_SYSTEM is returned, secrets then live in memory that may be swapped, and secret_memory_locked says so. Call
 * once, before the first secret and the first thread. secret_memory_fini when no secret is left. */
enum pp_result secret_memory_init(void) PP_MUST_CHECK;
bool secret_memory_locked(void);
void secret_memory_fini(void);

/* NULL when there is no memory. Contents are undefined. Half of the heap is left to OpenSSL's own keys, whose
 * handshakes would fail without it; secrets beyond the other half, and all of them without secret_memory_init, get
 * ordinary memory. secret_free takes the size that was asked for and overwrites before it releases; NULL is fine. Any
 * thread; takes a lock, so not for the hot path. */
void *secret_alloc(size_t n) PP_MUST_CHECK;
void secret_free(void *secret, size_t n);

/* Overwrites; the compiler does not remove it. */
void secret_wipe(void *bytes, size_t n);

/* Call once, before the first thread. When the first algorithm of a kind is wanted, OpenSSL asks its providers for all
 * of that kind, once and for good: what it had no memory for in that moment would be "unsupported" for the rest of the
 * process's life, and every handshake fail. So the kinds TLS needs are wanted here, before there is a crowd. PP_NOMEM:
 * some of them lack something now. */
enum pp_result crypto_prepare(void) PP_MUST_CHECK;

enum pp_result crypto_sha256(const void *bytes, size_t n, unsigned char out[static 32]) PP_MUST_CHECK;
enum pp_result crypto_sha1(const void *bytes, size_t n, unsigned char out[static 20]) PP_MUST_CHECK;

/* Lower-case hexadecimal and a final NUL: out holds 2 * n + 1 bytes. */
void crypto_hex(const unsigned char *bytes, size_t n, char *out);

/* Base64 with padding (RFC 4648 4) and a final NUL: out holds 4 * ((n + 2) / 3) + 1 bytes. */
void crypto_base64(const void *bytes, size_t n, char *out);

/* Time depends on n alone. */
bool crypto_equal(const void *a, const void *b, size_t n);

/* Unpredictable bytes (RAND_bytes(3)). */
enum pp_result crypto_random(void *out, size_t n) PP_MUST_CHECK;

/* Cheap jitter, not for secrets: a number from 0 to bound - 1 (0 when bound is 0). Thread-local state. */
unsigned crypto_jitter(unsigned bound);

/* "3.0.17": of the OpenSSL in use. */
const char *crypto_library_version(void);

#endif
