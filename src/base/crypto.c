/* Digests, random bytes, constant-time compare and secret memory, by OpenSSL. */
#include "base/crypto.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdlib.h>

/* --- OpenSSL's allocations that were denied: it does not always say so --- */

static _Thread_local unsigned long denied;

static void *take(size_t n, const char *file, int line)
{
    void *block = n == 0 ? NULL : malloc(n);
    (void)file;
    (void)line;
    denied += n > 0 && block == NULL;
    return block;
}

static void give_back(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    free(block);
}

static void *resize(void *block, size_t n, const char *file, int line)
{
    if (n == 0) {
        give_back(block, file, line);
        return NULL;
    }
    void *moved = realloc(block, n);
    denied += moved == NULL;
    return moved;
}

void crypto_init(void)
{
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer does not see OpenSSL's atomics, and is told to overlook what OpenSSL itself allocates. */
    (void)take, (void)resize, (void)give_back;
#else
    (void)CRYPTO_set_mem_functions(take, resize, give_back); /* refused only when it holds memory already */
#endif
}

unsigned long crypto_denied(void)
{
    return denied;
}

/* --- secret memory --- */

/* Powers of two, as the secure heap wants them. */
#define HEAP_SIZE_MOST  ((size_t)2 * 1024 * 1024)
#define HEAP_SIZE_LEAST ((size_t)64 * 1024)
#define HEAP_PIECE      ((size_t)32)

static size_t heap_size; /* 0: no heap */
static bool heap_locked;

enum pp_result secret_memory_init(void)
{
    /* 1 = protected in every way; 2 = usable, but a lock, a guard page or the dump mark was refused. */
    for (size_t size = HEAP_SIZE_MOST; size >= HEAP_SIZE_LEAST; size /= 2) {
        int made = CRYPTO_secure_malloc_init(size, HEAP_PIECE);
        if (made == 1) {
            heap_size = size;
            heap_locked = true;
            return PP_OK;
        }
        if (made == 2)
            (void)CRYPTO_secure_malloc_done();
    }
    /* Not locked, but still guarded and left out of core dumps. */
    heap_size = CRYPTO_secure_malloc_init(HEAP_SIZE_MOST, HEAP_PIECE) != 0 ? HEAP_SIZE_MOST : 0;
    heap_locked = false;
    errno = ENOMEM;
    return PP_SYSTEM;
}

bool secret_memory_locked(void)
{
    return heap_locked;
}

void secret_memory_fini(void)
{
    if (heap_size != 0 && CRYPTO_secure_malloc_done() != 0) {
        heap_size = 0;
        heap_locked = false;
    }
}

void *secret_alloc(size_t n)
{
    if (heap_size != 0 && n <= heap_size / 2 && CRYPTO_secure_used() <= heap_size / 2 - n) {
        void *secret = OPENSSL_secure_malloc(n);
        if (secret != NULL)
            return secret;
    }
    return OPENSSL_malloc(n);
}

void secret_free(void *secret, size_t n)
{
    OPENSSL_secure_clear_free(secret, n); /* tells by the address where it belongs */
}

void secret_wipe(void *bytes, size_t n)
{
    OPENSSL_cleanse(bytes, n);
}

enum pp_result crypto_prepare(void)
{
    unsigned char byte;
    unsigned long before = denied;
    (void)RAND_bytes(&byte, sizeof byte);
    EVP_MD_free(EVP_MD_fetch(NULL, "SHA256", NULL));
    EVP_CIPHER_free(EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL));
    EVP_MAC_free(EVP_MAC_fetch(NULL, "HMAC", NULL));
    EVP_KDF_free(EVP_KDF_fetch(NULL, "HKDF", NULL));
    EVP_RAND_free(EVP_RAND_fetch(NULL, "CTR-DRBG", NULL));
    EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(NULL, "EC", NULL));
    EVP_KEYEXCH_free(EVP_KEYEXCH_fetch(NULL, "ECDH", NULL));
    EVP_KEM_free(EVP_KEM_fetch(NULL, "RSA", NULL));
    EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(NULL, "ECDSA", NULL));
    EVP_ASYM_CIPHER_free(EVP_ASYM_CIPHER_fetch(NULL, "RSA", NULL));
    OSSL_DECODER_free(OSSL_DECODER_fetch(NULL, "EC", NULL));
    ERR_clear_error(); /* one that a build of OpenSSL leaves out is nobody's loss */
    return denied == before ? PP_OK : PP_NOMEM;
}

static enum pp_result digest(const void *bytes, size_t n, const EVP_MD *kind, unsigned char *out)
{
    return EVP_Digest(bytes, n, out, NULL, kind, NULL) == 1 ? PP_OK : PP_NOMEM;
}

enum pp_result crypto_sha256(const void *bytes, size_t n, unsigned char out[static 32])
{
    return digest(bytes, n, EVP_sha256(), out);
}

enum pp_result crypto_sha1(const void *bytes, size_t n, unsigned char out[static 20])
{
    return digest(bytes, n, EVP_sha1(), out);
}

void crypto_hex(const unsigned char *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

void crypto_base64(const void *bytes, size_t n, char *out)
{
    const unsigned char *from = bytes;
    unsigned char *to = (unsigned char *)out;
    *to = '\0';
    while (n > 0) { /* pieces of a multiple of three bytes need no padding, and fit the library's int */
        size_t piece = n < 3072 ? n : 3072;
        to += EVP_EncodeBlock(to, from, (int)piece);
        from += piece;
        n -= piece;
    }
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

enum pp_result crypto_random(void *out, size_t n)
{
    unsigned char *at = out;
    while (n > 0) {
        size_t piece = n < INT32_MAX ? n : INT32_MAX;
        if (RAND_bytes(at, (int)piece) != 1)
            return PP_SYSTEM;
        at += piece;
        n -= piece;
    }
    return PP_OK;
}

unsigned crypto_jitter(unsigned bound)
{
    static _Thread_local uint64_t state;
    if (state == 0 && (crypto_random(&state, sizeof state) != PP_OK || state == 0))
        state = (uint64_t)(uintptr_t)&state | 1; /* threads still differ */
    state ^= state >> 12; /* xorshift64*, S. Vigna: An experimental exploration of Marsaglia's xorshift generators */
    state ^= state << 25;
    state ^= state >> 27;
    uint64_t number = (state * UINT64_C(2685821657736338717)) >> 32;
    return (unsigned)((number * bound) >> 32);
}

const char *crypto_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
