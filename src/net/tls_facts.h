/* What was agreed in a finished TLS handshake, for people who look for a fault. */
#ifndef PP_NET_TLS_FACTS_H
#define PP_NET_TLS_FACTS_H

#include <stdbool.h>
#include <stdint.h>

struct ssl_st;

struct tls_facts {
    const char *version; /* "TLSv1.3" */
    const char *cipher;
    bool alpn;                    /* the server chose http/1.1 by ALPN; false: it left the choice open */
    unsigned chain;               /* certificates it sent */
    char subject[80], issuer[80]; /* common names of its own certificate; printable */
    int64_t not_after;            /* wall ms; the earliest end in the chain; 0 = unreadable */
};

/* Only after tls_handshake said PP_OK. Static texts live for ever. */
void tls_facts(const struct ssl_st *s, struct tls_facts *out);

#endif
