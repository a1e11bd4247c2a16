/* Digests, random bytes, constant-time compare and secret memory: the one file that uses OpenSSL's crypto headers. */
#ifndef PP_BASE_CRYPTO_H
#define PP_BASE_CRYPTO_H

#include "base/result.h"

#include <stdbool.h>
#include <stddef.h>

/* Sets up locked, non-dumpable memory for secrets (OpenSSL's secure heap, OPENSSL_secure_malloc(3): mlock and
 * MADV_DONTDUMP). Call once before the first secret. PP_SYSTEM when it cannot be locked; secret_alloc then still works,
 * on ordinary memory, and secret_memory_locked says so. */
enum pp_result secret_memory_init(void) PP_MUST_CHECK;
bool secret_memory_locked(void);
void secret_memory_fini(void);

/* NULL when there is no memory. secret_free overwrites before it releases. Any thread. */
void *secret_alloc(size_t n) PP_MUST_CHECK;
void secret_free(void *secret, size_t n);

enum pp_result crypto_sha256(const void *bytes, size_t n, unsigned char out[static 32]) PP_MUST_CHECK;
enum pp_result crypto_sha1(const void *bytes, size_t n, unsigned char out[static 20]) PP_MUST_CHECK;

/* Base64 with padding (RFC 4648 4) and a final NUL: out holds 4 * ((n + 2) / 3) + 1 bytes. */
void crypto_base64(const void *bytes, size_t n, char *out);

/* Time depends on n alone. */
bool crypto_equal(const void *a, const void *b, size_t n);

/* Unpredictable bytes (RAND_bytes(3)). */
enum pp_result crypto_random(void *out, size_t n) PP_MUST_CHECK;

/* Cheap jitter, not for secrets: a number from 0 to bound - 1 (0 when bound is 0). Thread-local state. */
unsigned crypto_jitter(unsigned bound);

#endif
