/* The life of one token: made, counted, named by its fingerprint, wiped. */
#include "token/token.h"

#include "base/crypto.h"

#include <stdlib.h>

#define SCHEME "Bearer "

struct token {
    atomic_uint references;
    uint64_t identity;
    _Atomic int64_t expires;
    struct token_use use;
    char fingerprint[TOKEN_FINGERPRINT_SIZE];
    size_t n;     /* bytes of the authorization, the scheme included */
    char *secret; /* the authorization, in secret memory */
};

struct token *token_new(const char *bytes, size_t n, int64_t expires)
{
    unsigned char digest[32];
    if (n == 0 || n > LIMIT_TOKEN_LENGTH || crypto_sha256(bytes, n, digest) != PP_OK)
        return NULL;
    struct token *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->n = sizeof SCHEME - 1 + n;
    t->secret = secret_alloc(t->n);
    if (t->secret == NULL) {
        free(t);
        return NULL;
    }
    memcpy(t->secret, SCHEME, sizeof SCHEME - 1);
    memcpy(t->secret + sizeof SCHEME - 1, bytes, n);
    crypto_hex(digest, (TOKEN_FINGERPRINT_SIZE - 1) / 2, t->fingerprint);
    memcpy(&t->identity, digest, sizeof t->identity);
    atomic_init(&t->expires, expires);
    atomic_init(&t->references, 1);
    return t;
}

struct token *token_ref(struct token *t)
{
    atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

void token_unref(struct token **token)
{
    struct token *t = *token;
    *token = NULL;
    /* Release: our use is over before the count falls. Acquire: so is everybody's before the bytes go. */
    if (t == NULL || atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) != 1)
        return;
    secret_free(t->secret, t->n);
    free(t);
}

const char *token_fingerprint(const struct token *t)
{
    return t->fingerprint;
}

uint64_t token_identity(const struct token *t)
{
    return t->identity;
}

int64_t token_expires(const struct token *t)
{
    return atomic_load_explicit(&t->expires, memory_order_relaxed);
}

void token_set_expires(struct token *t, int64_t expires)
{
    atomic_store_explicit(&t->expires, expires, memory_order_relaxed);
}

struct token_use *token_use(struct token *t)
{
    return &t->use;
}

bool token_equal(const struct token *a, const struct token *b)
{
    return a->n == b->n && crypto_equal(a->secret, b->secret, a->n);
}

struct str token_authorization(const struct token *t)
{
    return (struct str){t->secret, t->n};
}

size_t token_find(const struct token *t, struct str hay)
{
    size_t n = token_length(t);
    if (hay.n < n)
        return SIZE_MAX;
    const char *at = memmem(hay.p, hay.n, t->secret + sizeof SCHEME - 1, n);
    return at == NULL ? SIZE_MAX : (size_t)(at - hay.p);
}

size_t token_begun(const struct token *t, struct str hay)
{
    size_t n = token_length(t) - 1; /* all of it is no beginning */
    if (n > hay.n)
        n = hay.n;
    while (n > 0 && memcmp(hay.p + hay.n - n, t->secret + sizeof SCHEME - 1, n) != 0)
        n--;
    return n;
}

size_t token_length(const struct token *t)
{
    return t->n - (sizeof SCHEME - 1);
}
